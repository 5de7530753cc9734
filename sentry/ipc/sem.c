/*
 * Semaphore sets: semget(2), semop(2), semctl(2).
 *
 * The operations of one call happen all or not at all. Who cannot go on sleeps on the set with its
 * operations; whoever changes the set performs them on its behalf, the longest sleeper first, so
 * that nobody overtakes and nobody wakes in vain.
 */
#include "sentry/ipc/ipc.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define SEMVMX 32767 /* also of an adjustment */

struct sem {
    int value;
    pid_t pid; /* who changed it last */
};

struct sem_set {
    struct ipc_object obj;
    int64_t otime, ctime;
    int n;
    struct list_head zero_waiters; /* sem_waiter.link: of calls that change nothing */
    struct list_head waiters;      /* of the others */
    struct list_head undos;        /* sem_undo.set_link */
    struct sem sems[];
};

/* What a process (or those that share its list) has to give back to one set. */
struct sem_undo {
    struct list_head list_link, set_link;
    struct sem_set *set; /* on the table: undos go with it */
    int16_t adj[];
};

/* Everything below: sem.lock of ns. */
struct sem_undo_list {
    struct refcount ref;
    struct ipc_ns *ns; /* referenced */
    struct list_head undos;
};

enum { WAITING = 1 };

struct sem_waiter {
    struct list_head link;
    struct task *task;
    struct sembuf *ops;
    unsigned n;
    struct sem_undo *undo;         /* NULL: no operation has SEM_UNDO */
    const struct sembuf *blocking; /* the operation that could not be done */
    long result;                   /* WAITING, or what the call returns (off the list then) */
};

static struct sem_set *set_of(struct ipc_object *o)
{
    return container_of(o, struct sem_set, obj);
}

/* ---- life ---- */

static uint64_t set_bytes(uint64_t n)
{
    return sizeof(struct sem_set) + n * sizeof(struct sem);
}

static uint64_t undo_bytes(const struct sem_set *set)
{
    return sizeof(struct sem_undo) + (uint64_t)set->n * sizeof(int16_t);
}

static int create(struct ipc_ns *ns, struct task *t, key_t key, int flags, uint64_t n,
                  struct ipc_object **out)
{
    if (n == 0)
        return -EINVAL;
    int err = ipc_charge(ns, set_bytes(n));
    if (err)
        return err;
    struct sem_set *set = calloc(1, set_bytes(n));
    if (!set) {
        ipc_uncharge(ns, set_bytes(n));
        return -ENOMEM;
    }
    ipc_object_init(&set->obj, t, key, flags);
    set->n = (int)n;
    set->ctime = ipc_now(ns);
    list_init(&set->zero_waiters);
    list_init(&set->waiters);
    list_init(&set->undos);
    *out = &set->obj;
    return 0;
}

static void put(struct ipc_ns *ns, struct sem_set *set)
{
    if (!ref_put(&set->obj.ref))
        return;
    ipc_uncharge(ns, set_bytes((uint64_t)set->n));
    free(set);
}

static void discard(struct ipc_ns *ns, struct ipc_object *o)
{
    put(ns, set_of(o));
}

static int enter(struct ipc_ns *ns, struct ipc_object *o)
{
    uint64_t n = (uint64_t)set_of(o)->n;
    if (ns->sems + n > ns->limits[IPC_SEMMNS])
        return -ENOSPC;
    ns->sems += n;
    return 0;
}

static int check(const struct ipc_object *o, uint64_t n)
{
    return n > (uint64_t)container_of(o, const struct sem_set, obj)->n ? -EINVAL : 0;
}

long sem_get(struct task *t, key_t key, int nsems, int flags)
{
    static const struct ipc_kind kind = {
        .create = create, .free = discard, .enter = enter, .check = check, .limit = IPC_SEMMNI};
    struct ipc_ns *ns = task_ipc_ns(t);
    if (nsems < 0 || (uint64_t)nsems > ns->limits[IPC_SEMMSL])
        return -EINVAL;
    return ipc_get(ns, &ns->sem, &kind, t, key, flags, (uint64_t)nsems);
}

static void free_undo(struct ipc_ns *ns, struct sem_undo *u)
{
    list_del(&u->list_link);
    list_del(&u->set_link);
    ipc_uncharge(ns, undo_bytes(u->set));
    free(u);
}

static void finish(struct sem_waiter *w, long result)
{
    list_del(&w->link);
    w->result = result;
    task_wake(w->task);
}

static void finish_all(struct list_head *waiters, long result)
{
    struct sem_waiter *w, *next;
    list_for_each_safe (w, next, waiters, link)
        finish(w, result);
}

/* Lock held; the table's reference goes. */
static void destroy(struct ipc_ns *ns, struct sem_set *set)
{
    struct sem_undo *u, *next;
    ipc_remove(&ns->sem, &set->obj);
    ns->sems -= (uint64_t)set->n;
    finish_all(&set->zero_waiters, -EIDRM);
    finish_all(&set->waiters, -EIDRM);
    list_for_each_safe (u, next, &set->undos, set_link)
        free_undo(ns, u);
    put(ns, set);
}

void sem_ns_clear(struct ipc_ns *ns)
{
    MUTEX_GUARD(&ns->sem.lock);
    for (int i = 0; i < ns->sem.nslots; i++)
        if (ns->sem.slots[i])
            destroy(ns, set_of(ns->sem.slots[i]));
}

/* ---- operations; lock held ---- */

static void take_back(struct sem_set *set, struct sem_waiter *w, unsigned done)
{
    while (done-- > 0) {
        const struct sembuf *op = &w->ops[done];
        set->sems[op->sem_num].value -= op->sem_op;
        if (op->sem_flg & SEM_UNDO)
            w->undo->adj[op->sem_num] = (int16_t)(w->undo->adj[op->sem_num] + op->sem_op);
    }
}

/* One operation: 0, WAITING, -EAGAIN or -ERANGE. */
static long try_one(struct sem_set *set, struct sem_waiter *w, const struct sembuf *op)
{
    int value = set->sems[op->sem_num].value + op->sem_op;
    if (value < 0 || (op->sem_op == 0 && value != 0)) {
        w->blocking = op;
        return op->sem_flg & IPC_NOWAIT ? -EAGAIN : WAITING;
    }
    if (value > SEMVMX)
        return -ERANGE;
    if (op->sem_flg & SEM_UNDO) {
        int adj = w->undo->adj[op->sem_num] - op->sem_op;
        if (adj < -SEMVMX - 1 || adj > SEMVMX)
            return -ERANGE;
        w->undo->adj[op->sem_num] = (int16_t)adj;
    }
    set->sems[op->sem_num].value = value;
    return 0;
}

/* All of w's operations, in their order: 0, or why not (nothing has changed then). */
static long try_all(struct ipc_ns *ns, struct sem_set *set, struct sem_waiter *w)
{
    for (unsigned i = 0; i < w->n; i++) {
        long r = try_one(set, w, &w->ops[i]);
        if (r) {
            take_back(set, w, i);
            return r;
        }
    }
    for (unsigned i = 0; i < w->n; i++)
        set->sems[w->ops[i].sem_num].pid = w->task->tg->tgid;
    set->otime = ipc_now(ns);
    return 0;
}

/* Lets the first of the list that can go on do so. Whether one did. */
static bool run_first(struct ipc_ns *ns, struct sem_set *set, struct list_head *waiters)
{
    struct sem_waiter *w, *next;
    list_for_each_safe (w, next, waiters, link) {
        long r = try_all(ns, set, w);
        if (r == WAITING)
            continue;
        finish(w, r);
        if (r == 0)
            return true;
    }
    return false;
}

/* The set has changed: everybody who can go on does, and those who wait for zero come first. */
static void run_waiters(struct ipc_ns *ns, struct sem_set *set)
{
    do {
        while (run_first(ns, set, &set->zero_waiters))
            ;
    } while (run_first(ns, set, &set->waiters));
}

static bool alters(const struct sembuf *ops, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (ops[i].sem_op)
            return true;
    return false;
}

static bool wants_undo(const struct sembuf *ops, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (ops[i].sem_flg & SEM_UNDO)
            return true;
    return false;
}

static int check_ops(const struct sem_set *set, const struct task *t, const struct sembuf *ops,
                     unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (ops[i].sem_num >= set->n)
            return -EFBIG;
    return ipc_permission(&set->obj, t, alters(ops, n) ? 0222 : 0444);
}

static long wait_for_change(struct ipc_ns *ns, struct sem_set *set, struct sem_waiter *w,
                            const ktime_t *deadline)
{
    w->result = WAITING;
    list_add_tail(alters(w->ops, w->n) ? &set->waiters : &set->zero_waiters, &w->link);
    while (w->result == WAITING) {
        mutex_unlock(&ns->sem.lock);
        int err = task_block(w->task, deadline);
        mutex_lock(&ns->sem.lock);
        if (err && w->result == WAITING) {
            list_del(&w->link);
            return err == -ETIMEDOUT ? -EAGAIN : -EINTR;
        }
    }
    return w->result;
}

/* ---- what is undone; lock held unless said otherwise ---- */

static struct sem_undo *find_undo(const struct sem_undo_list *list, const struct sem_set *set)
{
    struct sem_undo *u;
    list_for_each (u, &list->undos, list_link) {
        if (u->set == set)
            return u;
    }
    return NULL;
}

/* No lock held: t has a list afterwards. */
static int need_list(struct task *t)
{
    if (t->sem_undo)
        return 0;
    struct sem_undo_list *list = calloc(1, sizeof(*list));
    if (!list)
        return -ENOMEM;
    ref_init(&list->ref);
    list->ns = task_ipc_ns(t);
    ns_get(&list->ns->common);
    list_init(&list->undos);
    t->sem_undo = list;
    return 0;
}

/* t's undo of the set. */
static int get_undo(struct ipc_ns *ns, struct task *t, struct sem_set *set, struct sem_undo **out)
{
    *out = find_undo(t->sem_undo, set);
    if (*out)
        return 0;
    if (ipc_charge(ns, undo_bytes(set)))
        return -ENOMEM;
    struct sem_undo *u = calloc(1, undo_bytes(set));
    if (!u) {
        ipc_uncharge(ns, undo_bytes(set));
        return -ENOMEM;
    }
    u->set = set;
    list_add(&t->sem_undo->undos, &u->list_link);
    list_add(&set->undos, &u->set_link);
    *out = u;
    return 0;
}

int sem_share_undo(struct task *parent, struct task *child)
{
    int err = need_list(parent);
    if (err)
        return err;
    ref_get(&parent->sem_undo->ref);
    child->sem_undo = parent->sem_undo;
    return 0;
}

static void apply_undo(struct ipc_ns *ns, struct sem_undo *u, pid_t pid)
{
    struct sem_set *set = u->set;
    for (int i = 0; i < set->n; i++) {
        if (!u->adj[i])
            continue;
        struct sem *s = &set->sems[i];
        s->value = MIN(MAX(s->value + u->adj[i], 0), SEMVMX);
        s->pid = pid;
    }
    set->otime = ipc_now(ns);
    free_undo(ns, u);
    run_waiters(ns, set);
}

void sem_exit(struct task *t)
{
    struct sem_undo_list *list = t->sem_undo;
    t->sem_undo = NULL;
    if (!list || !ref_put(&list->ref))
        return;
    struct ipc_ns *ns = list->ns;
    mutex_lock(&ns->sem.lock);
    struct sem_undo *u;
    while ((u = list_first(&list->undos, struct sem_undo, list_link)))
        apply_undo(ns, u, t->tg->tgid);
    mutex_unlock(&ns->sem.lock);
    ns_put(&ns->common);
    free(list);
}

/* Nobody undoes what somebody set. */
static void forget_undos(struct sem_set *set, int first, int n)
{
    struct sem_undo *u;
    list_for_each (u, &set->undos, set_link)
        memset(&u->adj[first], 0, (size_t)n * sizeof(u->adj[0]));
}

/* ---- semop ---- */

static long op_locked(struct ipc_ns *ns, struct sem_set *set, struct sem_waiter *w,
                      const ktime_t *deadline)
{
    int err = check_ops(set, w->task, w->ops, w->n);
    if (!err && wants_undo(w->ops, w->n))
        err = get_undo(ns, w->task, set, &w->undo);
    if (err)
        return err;
    long r = try_all(ns, set, w);
    if (r == 0 && alters(w->ops, w->n))
        run_waiters(ns, set);
    return r == WAITING ? wait_for_change(ns, set, w, deadline) : r;
}

long sem_op(struct task *t, int id, struct sembuf *ops, unsigned n, const ktime_t *deadline)
{
    struct ipc_ns *ns = task_ipc_ns(t);
    struct sem_waiter w = {.task = t, .ops = ops, .n = n};
    if (wants_undo(ops, n) && need_list(t))
        return -ENOMEM;
    list_init(&w.link);
    MUTEX_GUARD(&ns->sem.lock);
    struct ipc_object *o = ipc_find(&ns->sem, id);
    if (!o)
        return -EINVAL;
    ref_get(&o->ref);
    long r = op_locked(ns, set_of(o), &w, deadline);
    put(ns, set_of(o));
    return r;
}

/* ---- control ---- */

long sem_stat(struct ipc_ns *ns, const struct task *t, int id, enum ipc_stat_how how,
              struct semid_ds *out)
{
    struct ipc_object *o;
    MUTEX_GUARD(&ns->sem.lock);
    int err = ipc_find_stat(&ns->sem, t, id, how, &o);
    if (err)
        return err;
    const struct sem_set *set = set_of(o);
    *out = (struct semid_ds){
        .sem_otime = set->otime,
        .sem_ctime = set->ctime,
        .sem_nsems = (unsigned long)set->n,
    };
    ipc_fill_perm(o, &out->sem_perm);
    return how == IPC_BY_ID ? 0 : o->id;
}

long sem_set_perm(struct task *t, int id, const struct semid_ds *ds)
{
    struct ipc_ns *ns = task_ipc_ns(t);
    MUTEX_GUARD(&ns->sem.lock);
    struct ipc_object *o = ipc_find(&ns->sem, id);
    int err = o ? ipc_may_control(o, t) : -EINVAL;
    if (!err)
        err = ipc_set_perm(o, &ds->sem_perm);
    if (!err)
        set_of(o)->ctime = ipc_now(ns);
    return err;
}

long sem_remove(struct task *t, int id)
{
    struct ipc_ns *ns = task_ipc_ns(t);
    MUTEX_GUARD(&ns->sem.lock);
    struct ipc_object *o = ipc_find(&ns->sem, id);
    int err = o ? ipc_may_control(o, t) : -EINVAL;
    if (!err)
        destroy(ns, set_of(o));
    return err;
}

long sem_info(struct ipc_ns *ns, bool usage, struct seminfo *out)
{
    MUTEX_GUARD(&ns->sem.lock);
    int most = (int)ns->limits[IPC_SEMMNS];
    *out = (struct seminfo){
        .semmap = most,
        .semmni = (int)ns->limits[IPC_SEMMNI],
        .semmns = most,
        .semmnu = most,
        .semmsl = (int)ns->limits[IPC_SEMMSL],
        .semopm = (int)ns->limits[IPC_SEMOPM],
        .semume = (int)ns->limits[IPC_SEMOPM],
        .semusz = usage ? ns->sem.in_use : 20,
        .semvmx = SEMVMX,
        .semaem = usage ? (int)MIN(ns->sems, (uint64_t)INT_MAX) : SEMVMX,
    };
    return ipc_max_index(&ns->sem);
}

/* How many sleep because of one semaphore: until it is zero, or until it grows. */
static long count_waiters(const struct list_head *waiters, int num, bool zero)
{
    const struct sem_waiter *w;
    long n = 0;
    list_for_each (w, waiters, link)
        n += w->blocking->sem_num == num && (w->blocking->sem_op == 0) == zero;
    return n;
}

static long get_one(const struct sem_set *set, int num, int cmd)
{
    bool zero = cmd == GETZCNT;
    switch (cmd) {
    case GETVAL:
        return set->sems[num].value;
    case GETPID:
        return set->sems[num].pid;
    default:
        return count_waiters(&set->zero_waiters, num, zero) +
               count_waiters(&set->waiters, num, zero);
    }
}

long sem_get_one(struct task *t, int id, int num, int cmd)
{
    struct ipc_ns *ns = task_ipc_ns(t);
    MUTEX_GUARD(&ns->sem.lock);
    struct ipc_object *o = ipc_find(&ns->sem, id);
    int err = o ? ipc_permission(o, t, 0444) : -EINVAL;
    if (err)
        return err;
    if (num < 0 || num >= set_of(o)->n)
        return -EINVAL;
    return get_one(set_of(o), num, cmd);
}

long sem_set_value(struct task *t, int id, int num, int value)
{
    struct ipc_ns *ns = task_ipc_ns(t);
    if (value < 0 || value > SEMVMX)
        return -ERANGE;
    MUTEX_GUARD(&ns->sem.lock);
    struct ipc_object *o = ipc_find(&ns->sem, id);
    if (!o || num < 0 || num >= set_of(o)->n)
        return -EINVAL;
    int err = ipc_permission(o, t, 0222);
    if (err)
        return err;
    struct sem_set *set = set_of(o);
    forget_undos(set, num, 1);
    set->sems[num] = (struct sem){value, t->tg->tgid};
    set->ctime = ipc_now(ns);
    run_waiters(ns, set);
    return 0;
}

long sem_count(struct task *t, int id, bool write)
{
    struct ipc_ns *ns = task_ipc_ns(t);
    MUTEX_GUARD(&ns->sem.lock);
    struct ipc_object *o = ipc_find(&ns->sem, id);
    int err = o ? ipc_permission(o, t, write ? 0222 : 0444) : -EINVAL;
    return err ? err : set_of(o)->n;
}

long sem_get_all(struct task *t, int id, uint16_t *values)
{
    struct ipc_ns *ns = task_ipc_ns(t);
    MUTEX_GUARD(&ns->sem.lock);
    struct ipc_object *o = ipc_find(&ns->sem, id);
    if (!o)
        return -EIDRM;
    for (int i = 0; i < set_of(o)->n; i++)
        values[i] = (uint16_t)set_of(o)->sems[i].value;
    return 0;
}

long sem_set_all(struct task *t, int id, const uint16_t *values)
{
    struct ipc_ns *ns = task_ipc_ns(t);
    MUTEX_GUARD(&ns->sem.lock);
    struct ipc_object *o = ipc_find(&ns->sem, id);
    if (!o)
        return -EIDRM;
    struct sem_set *set = set_of(o);
    for (int i = 0; i < set->n; i++)
        if (values[i] > SEMVMX)
            return -ERANGE;
    for (int i = 0; i < set->n; i++)
        set->sems[i] = (struct sem){values[i], t->tg->tgid};
    forget_undos(set, 0, set->n);
    set->ctime = ipc_now(ns);
    run_waiters(ns, set);
    return 0;
}
