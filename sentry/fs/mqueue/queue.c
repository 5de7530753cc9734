/*
 * One message queue: sending, receiving, notification, and what its file does.
 *
 * A message goes straight to whoever has waited longest for one; a sender that waits for room has
 * its message put into the queue by the receiver that makes it. So nobody is overtaken.
 */
#include "base/range_set.h"
#include "sentry/fs/mqueue/mqueue.h"
#include "sentry/kernel/process.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

struct mq_msg {
    struct range_node node; /* one key: see key_of */
    unsigned priority;
    uint64_t size;
    char text[];
};

struct waiter {
    struct list_head link;
    struct task *task;
    struct mq_msg *msg; /* to be sent; or what was received */
    bool done;          /* off the list */
};

struct mqueue {
    struct mqueue_super *super;
    struct mutex lock; /* IPC: what follows */
    struct range_set msgs;
    uint64_t next; /* numbers the messages */
    uint64_t bytes;
    struct list_head senders, receivers;
    struct thread_group *notify; /* who wants to hear of a message in an empty queue (referenced) */
    struct sigevent event;

    struct mq_attr attr; /* constant */
    uint64_t charged;
    uid_t uid;
    struct wait_queue queue;
};

static struct mq_msg *msg_of(struct range_node *n)
{
    return container_of(n, struct mq_msg, node);
}

struct mqueue *file_mqueue(const struct file *f)
{
    return f->ops == &mqueue_file_ops ? f->priv : NULL;
}

/* ---- life ---- */

struct mqueue *mqueue_create(struct mqueue_super *ms, const struct mq_attr *attr, uid_t uid,
                             uint64_t charged)
{
    struct mqueue *q = calloc(1, sizeof(*q));
    if (!q)
        return NULL;
    q->super = ms;
    q->attr = *attr;
    q->uid = uid;
    q->charged = charged;
    mutex_init(&q->lock, LOCK_IPC);
    range_set_init(&q->msgs);
    list_init(&q->senders);
    list_init(&q->receivers);
    wait_queue_init(&q->queue);
    return q;
}

uint64_t mqueue_charge(const struct mqueue *q, uid_t *uid)
{
    *uid = q->uid;
    return q->charged;
}

static void free_message(struct mqueue *q, struct mq_msg *m)
{
    mqueue_uncharge_memory(q->super, sizeof(*m) + m->size);
    free(m);
}

void mqueue_free(struct mqueue *q)
{
    struct range_node *n;
    while ((n = range_set_first(&q->msgs))) {
        range_set_remove(&q->msgs, n);
        free_message(q, msg_of(n));
    }
    thread_group_put(q->notify);
    wait_queue_destroy(&q->queue);
    mutex_destroy(&q->lock);
    free(q);
}

/* ---- messages; lock held ---- */

/* Higher priorities first, then the older ones. */
static uint64_t key_of(struct mqueue *q, unsigned priority)
{
    return (uint64_t)(MQUEUE_PRIORITIES - priority) << 47 | q->next++;
}

static void insert(struct mqueue *q, struct mq_msg *m)
{
    m->node.start = key_of(q, m->priority);
    m->node.end = m->node.start + 1;
    range_set_insert(&q->msgs, &m->node);
    q->bytes += m->size;
}

static struct mq_msg *take_first(struct mqueue *q)
{
    struct mq_msg *m = msg_of(range_set_first(&q->msgs));
    range_set_remove(&q->msgs, &m->node);
    q->bytes -= m->size;
    return m;
}

static bool full(const struct mqueue *q)
{
    return q->msgs.count >= (size_t)q->attr.mq_maxmsg;
}

static struct waiter *first_waiter(struct list_head *list)
{
    struct waiter *w = list_first(list, struct waiter, link);
    if (w) {
        list_del(&w->link);
        w->done = true;
    }
    return w;
}

/* Nobody waited for the first message of an empty queue: tells who asked for it, once. */
static void notify(struct mqueue *q, const struct task *sender)
{
    struct thread_group *tg = q->notify;
    if (!tg || q->msgs.count != 1)
        return;
    if (q->event.sigev_notify == SIGEV_SIGNAL && q->event.sigev_signo) {
        siginfo_t info = {0};
        info.si_signo = q->event.sigev_signo;
        info.si_code = SI_MESGQ;
        info.si_value = q->event.sigev_value;
        info.si_pid = pid_nr_in(sender->tg->pid, tg->pid->ns);
        info.si_uid = sender->cred->uid;
        (void)signal_send_group(tg, info.si_signo, &info);
    }
    q->notify = NULL;
    thread_group_put(tg);
}

/* Sleeps on a list until somebody has served w. */
static int wait_turn(struct mqueue *q, struct list_head *list, struct waiter *w,
                     const ktime_t *deadline)
{
    int err = 0;
    list_add_tail(list, &w->link);
    while (!w->done && !err) {
        mutex_unlock(&q->lock);
        err = task_block(w->task, deadline);
        mutex_lock(&q->lock);
    }
    if (w->done)
        return 0;
    list_del(&w->link);
    return err;
}

/* ---- sending ---- */

static int make_message(struct task *t, struct mqueue *q, gva_t text, uint64_t size,
                        unsigned priority, struct mq_msg **out)
{
    int err = mqueue_charge_memory(q->super, sizeof(struct mq_msg) + size);
    if (err)
        return err;
    struct mq_msg *m = malloc(sizeof(*m) + size);
    if (m && (!size || mm_copy_in(t->mm, m->text, text, size) == 0)) {
        m->priority = priority;
        m->size = size;
        *out = m;
        return 0;
    }
    err = m ? -EFAULT : -ENOMEM;
    mqueue_uncharge_memory(q->super, sizeof(*m) + size);
    free(m);
    return err;
}

static int send_locked(struct task *t, struct mqueue *q, struct mq_msg *m, bool nonblock,
                       const ktime_t *deadline)
{
    if (full(q)) {
        struct waiter w = {.task = t, .msg = m};
        return nonblock ? -EAGAIN : wait_turn(q, &q->senders, &w, deadline);
    }
    struct waiter *r = first_waiter(&q->receivers);
    if (r) {
        r->msg = m;
        task_wake(r->task);
    } else {
        insert(q, m);
        notify(q, t);
    }
    return 0;
}

static void stamp(struct file *f, bool read)
{
    struct inode *i = f->inode;
    rwlock_write(&i->lock);
    i->ctime = vfs_now(i->sb);
    if (read)
        i->atime = i->ctime;
    else
        i->mtime = i->ctime;
    rwlock_unlock(&i->lock);
}

long mqueue_send(struct task *t, struct file *f, gva_t text, uint64_t size, unsigned priority,
                 const ktime_t *deadline)
{
    struct mqueue *q = file_mqueue(f);
    struct mq_msg *m;
    if (size > (uint64_t)q->attr.mq_msgsize)
        return -EMSGSIZE;
    int err = make_message(t, q, text, size, priority, &m);
    if (err)
        return err;
    mutex_lock(&q->lock);
    err = send_locked(t, q, m, f->flags & O_NONBLOCK, deadline);
    mutex_unlock(&q->lock);
    if (err) {
        free_message(q, m);
        return err;
    }
    wait_wake(&q->queue, EPOLLIN | EPOLLRDNORM);
    stamp(f, false);
    return 0;
}

/* ---- receiving ---- */

static int receive_locked(struct task *t, struct mqueue *q, bool nonblock, const ktime_t *deadline,
                          struct mq_msg **out)
{
    if (q->msgs.count == 0) {
        struct waiter w = {.task = t};
        int err = nonblock ? -EAGAIN : wait_turn(q, &q->receivers, &w, deadline);
        *out = w.msg;
        return err;
    }
    *out = take_first(q);
    struct waiter *s = first_waiter(&q->senders);
    if (s) {
        insert(q, s->msg);
        task_wake(s->task);
    }
    return 0;
}

long mqueue_receive(struct task *t, struct file *f, gva_t text, uint64_t size, unsigned *priority,
                    const ktime_t *deadline)
{
    struct mqueue *q = file_mqueue(f);
    struct mq_msg *m;
    if (size < (uint64_t)q->attr.mq_msgsize)
        return -EMSGSIZE;
    mutex_lock(&q->lock);
    int err = receive_locked(t, q, f->flags & O_NONBLOCK, deadline, &m);
    mutex_unlock(&q->lock);
    if (err)
        return err;
    wait_wake(&q->queue, EPOLLOUT | EPOLLWRNORM);
    stamp(f, true);
    long r = (long)m->size;
    *priority = m->priority;
    if (m->size && mm_copy_out(t->mm, text, m->text, m->size))
        r = -EFAULT;
    free_message(q, m);
    return r;
}

/* ---- notification and attributes ---- */

int mqueue_notify(struct task *t, struct mqueue *q, const struct sigevent *sev)
{
    struct thread_group *gone = NULL;
    int err = 0;
    mutex_lock(&q->lock);
    if (!sev) {
        if (q->notify == t->tg) {
            gone = q->notify;
            q->notify = NULL;
        }
    } else if (q->notify) {
        err = -EBUSY;
    } else {
        q->notify = thread_group_get(t->tg);
        q->event = *sev;
    }
    mutex_unlock(&q->lock);
    thread_group_put(gone);
    return err;
}

void mqueue_getattr(struct mqueue *q, const struct file *f, struct mq_attr *out)
{
    MUTEX_GUARD(&q->lock);
    *out = q->attr;
    out->mq_flags = f->flags & O_NONBLOCK;
    out->mq_curmsgs = (long)q->msgs.count;
}

/* ---- the file ---- */

static int show(struct mqueue *q, char *buf, size_t size)
{
    MUTEX_GUARD(&q->lock);
    bool signal = q->notify && q->event.sigev_notify == SIGEV_SIGNAL;
    return snprintf(buf, size, "QSIZE:%-10llu NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:%-6d\n",
                    (unsigned long long)q->bytes, q->notify ? q->event.sigev_notify : 0,
                    signal ? q->event.sigev_signo : 0, q->notify ? q->notify->tgid : 0);
}

static ssize_t mqueue_read(struct file *f, struct uio *u, int64_t *pos, UNUSED int rwf)
{
    char line[128];
    int n = show(file_mqueue(f), line, sizeof(line));
    if (*pos < 0 || *pos >= n)
        return 0;
    ssize_t got = uio_copy_to(u, line + *pos, MIN((size_t)(n - *pos), u->resid));
    if (got > 0)
        *pos += got;
    return got;
}

static uint32_t mqueue_poll(struct file *f, UNUSED uint32_t events)
{
    struct mqueue *q = file_mqueue(f);
    MUTEX_GUARD(&q->lock);
    return (q->msgs.count ? EPOLLIN | EPOLLRDNORM : 0) | (full(q) ? 0 : EPOLLOUT | EPOLLWRNORM);
}

static struct wait_queue *mqueue_poll_queue(struct file *f)
{
    return &file_mqueue(f)->queue;
}

/* Whoever closes the queue hears of it no more. */
static int mqueue_flush(struct file *f, struct task *t)
{
    IGNORE(mqueue_notify(t, file_mqueue(f), NULL));
    return 0;
}

const struct file_ops mqueue_file_ops = {
    .read = mqueue_read,
    .poll = mqueue_poll,
    .poll_queue = mqueue_poll_queue,
    .flush = mqueue_flush,
};
