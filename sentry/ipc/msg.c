/*
 * Message queues: msgget(2), msgop(2), msgctl(2).
 *
 * A message goes straight to the receiver that has waited longest and wants it; only what nobody
 * waits for is queued.
 */
#include "sentry/ipc/ipc.h"
#include <limits.h>
#include <stdlib.h>

struct msg {
    struct list_head link;
    long type;
    uint64_t size;
    char text[];
};

struct msg_queue {
    struct ipc_object obj;
    int64_t stime, rtime, ctime;
    uint64_t bytes, count, max_bytes;
    pid_t last_sender, last_receiver;
    struct list_head messages;           /* msg.link, oldest first */
    struct list_head receivers, senders; /* who sleeps, longest first */
};

enum search { SEARCH_ANY, SEARCH_EQUAL, SEARCH_NOT_EQUAL, SEARCH_LESS_EQUAL, SEARCH_NUMBER };

struct receiver {
    struct list_head link;
    struct task *task;
    enum search search;
    long type;
    uint64_t max; /* longer ones are refused with -E2BIG */
    struct msg *msg;
    int err;
    bool done; /* off the list, with msg or err */
};

struct sender {
    struct list_head link;
    struct task *task;
    uint64_t size;
};

static struct msg_queue *queue_of(struct ipc_object *o)
{
    return container_of(o, struct msg_queue, obj);
}

/* ---- messages ---- */

int msg_create(struct task *t, long type, gva_t text, uint64_t size, struct msg **out)
{
    struct ipc_ns *ns = task_ipc_ns(t);
    int err = ipc_charge(ns, sizeof(struct msg) + size);
    if (err)
        return err;
    struct msg *m = malloc(sizeof(*m) + size);
    if (m) {
        m->type = type;
        m->size = size;
        list_init(&m->link);
        if (!size || mm_copy_in(t->mm, m->text, text, size) == 0) {
            *out = m;
            return 0;
        }
    }
    err = m ? -EFAULT : -ENOMEM;
    ipc_uncharge(ns, sizeof(*m) + size);
    free(m);
    return err;
}

static struct msg *copy_message(struct ipc_ns *ns, const struct msg *m)
{
    size_t n = sizeof(*m) + m->size;
    if (ipc_charge(ns, n))
        return NULL;
    struct msg *copy = malloc(n);
    if (!copy) {
        ipc_uncharge(ns, n);
        return NULL;
    }
    __builtin_memcpy(copy, m, n);
    list_init(&copy->link);
    return copy;
}

void msg_free(struct ipc_ns *ns, struct msg *m)
{
    ipc_uncharge(ns, sizeof(*m) + m->size);
    free(m);
}

long msg_type(const struct msg *m)
{
    return m->type;
}
uint64_t msg_size(const struct msg *m)
{
    return m->size;
}
const void *msg_text(const struct msg *m)
{
    return m->text;
}

/* ---- life ---- */

static int create(struct ipc_ns *ns, struct task *t, key_t key, int flags, UNUSED uint64_t size,
                  struct ipc_object **out)
{
    int err = ipc_charge(ns, sizeof(struct msg_queue));
    if (err)
        return err;
    struct msg_queue *q = calloc(1, sizeof(*q));
    if (!q) {
        ipc_uncharge(ns, sizeof(*q));
        return -ENOMEM;
    }
    ipc_object_init(&q->obj, t, key, flags);
    q->ctime = ipc_now(ns);
    q->max_bytes = ns->limits[IPC_MSGMNB];
    list_init(&q->messages);
    list_init(&q->receivers);
    list_init(&q->senders);
    *out = &q->obj;
    return 0;
}

static void put(struct ipc_ns *ns, struct msg_queue *q)
{
    if (!ref_put(&q->obj.ref))
        return;
    ipc_uncharge(ns, sizeof(*q));
    free(q);
}

static void discard(struct ipc_ns *ns, struct ipc_object *o)
{
    put(ns, queue_of(o));
}

long msg_get(struct task *t, key_t key, int flags)
{
    static const struct ipc_kind kind = {.create = create, .free = discard, .limit = IPC_MSGMNI};
    struct ipc_ns *ns = task_ipc_ns(t);
    return ipc_get(ns, &ns->msg, &kind, t, key, flags, 0);
}

static void finish(struct receiver *r, struct msg *m, int err)
{
    list_del(&r->link);
    r->msg = m;
    r->err = err;
    r->done = true;
    task_wake(r->task);
}

static void take_off(struct ipc_ns *ns, struct msg_queue *q, struct msg *m)
{
    list_del(&m->link);
    q->count--;
    q->bytes -= m->size;
    ns->msg_count--;
    ns->msg_bytes -= m->size;
}

/* Lock held; the table's reference goes. */
static void destroy(struct ipc_ns *ns, struct msg_queue *q)
{
    struct receiver *r, *next;
    struct sender *s;
    struct msg *m;
    ipc_remove(&ns->msg, &q->obj);
    list_for_each_safe (r, next, &q->receivers, link)
        finish(r, NULL, -EIDRM);
    list_for_each (s, &q->senders, link)
        task_wake(s->task);
    while ((m = list_first(&q->messages, struct msg, link))) {
        take_off(ns, q, m);
        msg_free(ns, m);
    }
    put(ns, q);
}

void msg_ns_clear(struct ipc_ns *ns)
{
    MUTEX_GUARD(&ns->msg.lock);
    for (int i = 0; i < ns->msg.nslots; i++)
        if (ns->msg.slots[i])
            destroy(ns, queue_of(ns->msg.slots[i]));
}

/* ---- sending; lock held ---- */

static bool matches(const struct msg *m, enum search search, long type)
{
    switch (search) {
    case SEARCH_EQUAL:
        return m->type == type;
    case SEARCH_NOT_EQUAL:
        return m->type != type;
    case SEARCH_LESS_EQUAL:
        return m->type <= type;
    default:
        return true;
    }
}

/* Gives m to somebody who waits for it. */
static bool hand_over(struct ipc_ns *ns, struct msg_queue *q, struct msg *m)
{
    struct receiver *r, *next;
    list_for_each_safe (r, next, &q->receivers, link) {
        if (!matches(m, r->search, r->type))
            continue;
        if (r->max < m->size) {
            finish(r, NULL, -E2BIG);
            continue;
        }
        q->last_receiver = r->task->tg->tgid;
        q->rtime = ipc_now(ns);
        finish(r, m, 0);
        return true;
    }
    return false;
}

static bool fits(const struct msg_queue *q, uint64_t size)
{
    return size + q->bytes <= q->max_bytes && 1 + q->count <= q->max_bytes;
}

static void deliver(struct ipc_ns *ns, struct task *t, struct msg_queue *q, struct msg *m)
{
    q->last_sender = t->tg->tgid;
    q->stime = ipc_now(ns);
    if (hand_over(ns, q, m))
        return;
    list_add_tail(&q->messages, &m->link);
    q->count++;
    q->bytes += m->size;
    ns->msg_count++;
    ns->msg_bytes += m->size;
}

/* Sleeps until there may be room. */
static int wait_for_room(struct ipc_ns *ns, struct task *t, struct msg_queue *q, uint64_t size)
{
    struct sender s = {.task = t, .size = size};
    list_add_tail(&q->senders, &s.link);
    mutex_unlock(&ns->msg.lock);
    int err = task_block(t, NULL);
    mutex_lock(&ns->msg.lock);
    list_del(&s.link);
    if (q->obj.removed)
        return -EIDRM;
    return err ? -ERESTARTNOHAND : 0;
}

static long send_locked(struct ipc_ns *ns, struct task *t, struct msg_queue *q, struct msg *m,
                        int flags)
{
    for (;;) {
        int err = ipc_permission(&q->obj, t, 0222);
        if (err)
            return err;
        if (fits(q, m->size))
            break;
        err = flags & IPC_NOWAIT ? -EAGAIN : wait_for_room(ns, t, q, m->size);
        if (err)
            return err;
    }
    deliver(ns, t, q, m);
    return 0;
}

long msg_send(struct task *t, int id, struct msg *m, int flags)
{
    struct ipc_ns *ns = task_ipc_ns(t);
    MUTEX_GUARD(&ns->msg.lock);
    struct ipc_object *o = ipc_find(&ns->msg, id);
    if (!o)
        return -EINVAL;
    ref_get(&o->ref);
    long r = send_locked(ns, t, queue_of(o), m, flags);
    put(ns, queue_of(o));
    return r;
}

/* ---- receiving; lock held ---- */

static enum search search_of(long *type, int flags)
{
    if (flags & MSG_COPY)
        return SEARCH_NUMBER;
    if (*type == 0)
        return SEARCH_ANY;
    if (*type < 0) {
        *type = *type == LONG_MIN ? LONG_MAX : -*type;
        return SEARCH_LESS_EQUAL;
    }
    return flags & MSG_EXCEPT ? SEARCH_NOT_EQUAL : SEARCH_EQUAL;
}

static struct msg *find_message(struct msg_queue *q, enum search search, long type)
{
    struct msg *m, *best = NULL;
    long number = 0;
    list_for_each (m, &q->messages, link) {
        if (search == SEARCH_NUMBER ? number++ != type : !matches(m, search, type))
            continue;
        if (search != SEARCH_LESS_EQUAL)
            return m;
        if (!best || m->type < best->type)
            best = m;
    }
    return best;
}

static void wake_senders(struct msg_queue *q)
{
    struct sender *s;
    list_for_each (s, &q->senders, link) {
        if (fits(q, s->size))
            task_wake(s->task);
    }
}

static long receive_copy(struct ipc_ns *ns, const struct msg *m, uint64_t size, struct msg **out)
{
    if (m->size > size)
        return -EINVAL;
    *out = copy_message(ns, m);
    return *out ? 0 : -ENOMEM;
}

static int wait_for_message(struct ipc_ns *ns, struct task *t, struct msg_queue *q,
                            struct receiver *r)
{
    int err = 0;
    list_add_tail(&q->receivers, &r->link);
    while (!r->done && !err) {
        mutex_unlock(&ns->msg.lock);
        err = task_block(t, NULL);
        mutex_lock(&ns->msg.lock);
    }
    if (r->done)
        return r->err;
    list_del(&r->link);
    return -ERESTARTNOHAND;
}

static long receive_locked(struct ipc_ns *ns, struct task *t, struct msg_queue *q, uint64_t size,
                           long type, int flags, struct msg **out)
{
    enum search search = search_of(&type, flags);
    uint64_t max = flags & MSG_NOERROR ? UINT64_MAX : size;
    for (;;) {
        int err = ipc_permission(&q->obj, t, 0444);
        if (err)
            return err;
        struct msg *m = find_message(q, search, type);
        if (m && m->size > max)
            return -E2BIG;
        if (m && flags & MSG_COPY)
            return receive_copy(ns, m, size, out);
        if (m) {
            take_off(ns, q, m);
            q->rtime = ipc_now(ns);
            q->last_receiver = t->tg->tgid;
            wake_senders(q);
            *out = m;
            return 0;
        }
        if (flags & IPC_NOWAIT)
            return -ENOMSG;
        struct receiver r = {.task = t, .search = search, .type = type, .max = max};
        err = wait_for_message(ns, t, q, &r);
        if (err != -EAGAIN) { /* IPC_SET: look again */
            *out = r.msg;
            return err;
        }
    }
}

long msg_receive(struct task *t, int id, uint64_t size, long type, int flags, struct msg **out)
{
    struct ipc_ns *ns = task_ipc_ns(t);
    MUTEX_GUARD(&ns->msg.lock);
    struct ipc_object *o = ipc_find(&ns->msg, id);
    if (!o)
        return -EINVAL;
    ref_get(&o->ref);
    long r = receive_locked(ns, t, queue_of(o), size, type, flags, out);
    put(ns, queue_of(o));
    return r;
}

/* ---- control ---- */

long msg_stat(struct ipc_ns *ns, const struct task *t, int id, enum ipc_stat_how how,
              struct msqid_ds *out)
{
    struct ipc_object *o;
    MUTEX_GUARD(&ns->msg.lock);
    int err = ipc_find_stat(&ns->msg, t, id, how, &o);
    if (err)
        return err;
    const struct msg_queue *q = queue_of(o);
    *out = (struct msqid_ds){
        .msg_stime = q->stime,
        .msg_rtime = q->rtime,
        .msg_ctime = q->ctime,
        .__msg_cbytes = q->bytes,
        .msg_qnum = q->count,
        .msg_qbytes = q->max_bytes,
        .msg_lspid = q->last_sender,
        .msg_lrpid = q->last_receiver,
    };
    ipc_fill_perm(o, &out->msg_perm);
    return how == IPC_BY_ID ? 0 : o->id;
}

/* Permissions and room have changed: everybody who sleeps looks again. */
static void wake_all(struct msg_queue *q)
{
    struct receiver *r, *next;
    struct sender *s;
    list_for_each_safe (r, next, &q->receivers, link)
        finish(r, NULL, -EAGAIN);
    list_for_each (s, &q->senders, link)
        task_wake(s->task);
}

long msg_set(struct task *t, int id, const struct msqid_ds *ds)
{
    struct ipc_ns *ns = task_ipc_ns(t);
    MUTEX_GUARD(&ns->msg.lock);
    struct ipc_object *o = ipc_find(&ns->msg, id);
    int err = o ? ipc_may_control(o, t) : -EINVAL;
    if (!err && ds->msg_qbytes > ns->limits[IPC_MSGMNB] && !task_capable(t, CAP_SYS_RESOURCE))
        err = -EPERM;
    if (!err)
        err = ipc_set_perm(o, &ds->msg_perm);
    if (err)
        return err;
    struct msg_queue *q = queue_of(o);
    q->max_bytes = ds->msg_qbytes;
    q->ctime = ipc_now(ns);
    wake_all(q);
    return 0;
}

long msg_remove(struct task *t, int id)
{
    struct ipc_ns *ns = task_ipc_ns(t);
    MUTEX_GUARD(&ns->msg.lock);
    struct ipc_object *o = ipc_find(&ns->msg, id);
    int err = o ? ipc_may_control(o, t) : -EINVAL;
    if (!err)
        destroy(ns, queue_of(o));
    return err;
}

long msg_info(struct ipc_ns *ns, bool usage, struct msginfo *out)
{
    MUTEX_GUARD(&ns->msg.lock);
    *out = (struct msginfo){
        .msgmax = (int)ns->limits[IPC_MSGMAX],
        .msgmnb = (int)ns->limits[IPC_MSGMNB],
        .msgmni = (int)ns->limits[IPC_MSGMNI],
        /* These mean nothing; the values are Linux's. */
        .msgpool = 512000,
        .msgmap = 16384,
        .msgtql = 16384,
        .msgssz = 16,
        .msgseg = 0xffff,
    };
    if (usage) {
        out->msgpool = ns->msg.in_use;
        out->msgmap = (int)MIN(ns->msg_count, (uint64_t)INT_MAX);
        out->msgtql = (int)MIN(ns->msg_bytes, (uint64_t)INT_MAX);
    }
    return ipc_max_index(&ns->msg);
}
