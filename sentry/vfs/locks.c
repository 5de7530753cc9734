/*
 * File locks: POSIX record locks (owned by a process: its descriptor table), OFD record locks and
 * flock locks (owned by a description). See fcntl_locking(2), flock(2).
 *
 *   inode.locks -> context { records: [owner, type, first..last] ...    POSIX and OFD together
 *                            flocks:  [owner, type] ...
 *                            queue:   those who wait for any of them to go }
 *
 * One owner's records never overlap, and two of the same type never touch. A waiter sleeps on the
 * queue and looks again when anything was released. Who waits for whom is kept in one list for the
 * whole VFS, so that a circle is seen before it closes (POSIX locks only, as on Linux).
 */
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/internal.h"
#include <stdlib.h>
#include <sys/file.h>

#define MAX_RECORDS (1u << 18) /* of one inode: a list that long is an attack */

struct record {
    struct list_head link;
    const void *owner;
    pid_t pid;  /* for F_GETLK; -1: OFD */
    short type; /* F_RDLCK, F_WRLCK */
    int64_t first, last;
};

struct file_lock_context {
    struct mutex lock; /* LEAF */
    struct list_head records, flocks;
    unsigned nrecords;
    struct wait_queue queue;
};

/* ---- who waits for whom ---- */

struct lock_wait {
    struct list_head link;
    const void *waiter, *holder;
};
struct lock_waits {
    struct mutex lock; /* LEAF */
    struct list_head list;
};

int lock_waits_create(struct lock_waits **out)
{
    struct lock_waits *w = calloc(1, sizeof *w);
    if (!w)
        return -ENOMEM;
    mutex_init(&w->lock, LOCK_LEAF);
    list_init(&w->list);
    *out = w;
    return 0;
}

void lock_waits_destroy(struct lock_waits *w)
{
    if (!w)
        return;
    mutex_destroy(&w->lock);
    free(w);
}

/* Whom `owner` waits for. Two threads of a process may both wait: the first is followed, as a
 * deadlock through the other is no deadlock of the process. */
static const void *waits_for(const struct lock_waits *w, const void *owner)
{
    struct lock_wait *e;
    list_for_each (e, &w->list, link)
        if (e->waiter == owner)
            return e->holder;
    return NULL;
}

/* Enters e, unless its holder waits for its waiter, perhaps over others. */
static int lock_waits_add(struct lock_waits *w, struct lock_wait *e)
{
    MUTEX_GUARD(&w->lock);
    const void *owner = e->holder;
    for (int steps = 0; owner && steps < 1000; steps++) {
        if (owner == e->waiter)
            return -EDEADLK;
        owner = waits_for(w, owner);
    }
    list_add(&w->list, &e->link);
    return 0;
}

static void lock_waits_remove(struct lock_waits *w, struct lock_wait *e)
{
    MUTEX_GUARD(&w->lock);
    list_del(&e->link);
}

/* ---- contexts ---- */

static struct file_lock_context *context_of(struct inode *i)
{
    struct file_lock_context *c = __atomic_load_n(&i->locks, __ATOMIC_ACQUIRE), *none = NULL;
    if (c)
        return c;
    c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    mutex_init(&c->lock, LOCK_LEAF);
    list_init(&c->records);
    list_init(&c->flocks);
    wait_queue_init(&c->queue);
    if (__atomic_compare_exchange_n(&i->locks, &none, c, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return c;
    locks_free_context(c);
    return none;
}

static void free_records(struct list_head *list)
{
    while (!list_empty(list)) {
        struct record *r = list_first(list, struct record, link);
        list_del(&r->link);
        free(r);
    }
}

void locks_free_context(struct file_lock_context *c)
{
    free_records(&c->records);
    free_records(&c->flocks);
    wait_queue_destroy(&c->queue);
    mutex_destroy(&c->lock);
    free(c);
}

/* ---- records ---- */

static bool conflict(const struct record *a, const struct record *b)
{
    return a->owner != b->owner && a->first <= b->last && b->first <= a->last &&
           (a->type == F_WRLCK || b->type == F_WRLCK);
}

static struct record *find_conflict(struct list_head *list, const struct record *want)
{
    struct record *r;
    list_for_each (r, list, link)
        if (conflict(r, want))
            return r;
    return NULL;
}

static bool touches(const struct record *a, const struct record *b)
{
    int64_t a_next = a->last == INT64_MAX ? INT64_MAX : a->last + 1;
    int64_t b_next = b->last == INT64_MAX ? INT64_MAX : b->last + 1;
    return a->first <= b_next && b->first <= a_next;
}

/*
 * Takes [want->first, want->last] out of the owner's records, joining those of the same type into
 * *want. spare serves if one record falls in two; returns whether it was used.
 */
static bool carve(struct file_lock_context *c, struct record *want, struct record *spare)
{
    struct record *r, *tmp;
    list_for_each_safe (r, tmp, &c->records, link) {
        if (r->owner != want->owner)
            continue;
        if (r->type == want->type) {
            if (!touches(r, want))
                continue;
            want->first = MIN(want->first, r->first);
            want->last = MAX(want->last, r->last);
        } else if (r->first > want->last || want->first > r->last) {
            continue;
        } else if (r->first < want->first && r->last > want->last) {
            *spare = *r;
            spare->first = want->last + 1;
            r->last = want->first - 1;
            list_add_tail(&c->records, &spare->link);
            c->nrecords++;
            return true; /* nothing else of this owner is in the range */
        } else if (r->first < want->first) {
            r->last = want->first - 1;
            continue;
        } else if (r->last > want->last) {
            r->first = want->last + 1;
            continue;
        }
        list_del(&r->link);
        c->nrecords--;
        free(r);
    }
    return false;
}

/* Sets or (F_UNLCK) removes. -EAGAIN: *holder has a conflicting lock. */
static int set_record(struct file_lock_context *c, const struct record *want, const void **holder)
{
    struct record *new = malloc(sizeof *new), *spare = malloc(sizeof *spare);
    int err = new &&spare ? 0 : -ENOMEM;
    mutex_lock(&c->lock);
    if (!err && want->type != F_UNLCK) {
        struct record *other = find_conflict(&c->records, want);
        if (other) {
            *holder = other->owner;
            err = -EAGAIN;
        } else if (c->nrecords >= MAX_RECORDS) {
            err = -ENOLCK;
        }
    }
    if (!err) {
        *new = *want;
        if (carve(c, new, spare))
            spare = NULL;
        if (want->type != F_UNLCK) {
            list_add_tail(&c->records, &new->link);
            c->nrecords++;
            new = NULL;
        }
    }
    mutex_unlock(&c->lock);
    free(new);
    free(spare);
    /* A lock may also have become weaker. */
    if (!err)
        wait_wake(&c->queue, POLLOUT);
    return err;
}

/* Sleeps until something was released. posix: watch for circles. */
static int wait_for_holder(struct task *t, const struct record *want, const void *holder,
                           bool posix)
{
    struct lock_waits *waits = t->kernel->vfs->lock_waits;
    struct lock_wait e = {.waiter = want->owner, .holder = holder};
    if (posix) {
        int err = lock_waits_add(waits, &e);
        if (err)
            return err;
    }
    int err = task_block(t, NULL);
    if (posix)
        lock_waits_remove(waits, &e);
    return err;
}

static int set_record_wait(struct task *t, struct file_lock_context *c, const struct record *want,
                           bool posix)
{
    struct wait_entry w;
    const void *holder = NULL;
    int err;
    wait_entry_init_task(&w, t, POLLOUT);
    wait_add(&c->queue, &w);
    while ((err = set_record(c, want, &holder)) == -EAGAIN) {
        err = wait_for_holder(t, want, holder, posix);
        if (err)
            break;
    }
    wait_remove(&c->queue, &w);
    return err;
}

/* ---- fcntl ---- */

/* The range of a struct flock, as offsets. */
static int flock_range(struct file *f, const struct flock *fl, int64_t *first, int64_t *last)
{
    int64_t base, start, end;
    if (fl->l_whence == SEEK_SET)
        base = 0;
    else if (fl->l_whence == SEEK_CUR)
        base = f->pos;
    else if (fl->l_whence == SEEK_END)
        base = (int64_t)f->inode->size;
    else
        return -EINVAL;
    if (__builtin_add_overflow(base, fl->l_start, &start))
        return -EOVERFLOW;
    if (start < 0)
        return -EINVAL;
    if (fl->l_len > 0) {
        if (__builtin_add_overflow(start, fl->l_len - 1, &end))
            return -EOVERFLOW;
    } else if (fl->l_len < 0) {
        end = start - 1;
        if (start + fl->l_len < 0)
            return -EINVAL;
        start += fl->l_len;
    } else {
        end = INT64_MAX;
    }
    *first = start;
    *last = end;
    return 0;
}

static bool is_ofd(unsigned cmd)
{
    return cmd == F_OFD_GETLK || cmd == F_OFD_SETLK || cmd == F_OFD_SETLKW;
}

static int get_record(struct file_lock_context *c, const struct record *want, struct flock *fl)
{
    MUTEX_GUARD(&c->lock);
    const struct record *r = find_conflict(&c->records, want);
    if (!r) {
        fl->l_type = F_UNLCK;
        return 0;
    }
    *fl = (struct flock){.l_type = r->type,
                         .l_whence = SEEK_SET,
                         .l_start = r->first,
                         .l_len = r->last == INT64_MAX ? 0 : r->last - r->first + 1,
                         .l_pid = r->pid};
    return 0;
}

int locks_fcntl(struct task *t, struct file *f, unsigned cmd, struct flock *fl)
{
    bool ofd = is_ofd(cmd), get = cmd == F_GETLK || cmd == F_OFD_GETLK;
    struct record want = {.type = fl->l_type};
    if (fl->l_type != F_RDLCK && fl->l_type != F_WRLCK && (get || fl->l_type != F_UNLCK))
        return -EINVAL;
    if (ofd && fl->l_pid != 0)
        return -EINVAL;
    int err = flock_range(f, fl, &want.first, &want.last);
    if (err)
        return err;
    if (!get &&
        ((fl->l_type == F_RDLCK && !f->readable) || (fl->l_type == F_WRLCK && !f->writable)))
        return -EBADF;
    want.owner = ofd ? (const void *)f : (const void *)t->files;
    want.pid = ofd ? -1 : t->tg->tgid;
    struct file_lock_context *c = context_of(f->inode);
    if (!c)
        return -ENOLCK;
    const void *holder;
    if (get)
        return get_record(c, &want, fl);
    if (cmd == F_SETLKW || cmd == F_OFD_SETLKW)
        return set_record_wait(t, c, &want, !ofd);
    return set_record(c, &want, &holder);
}

/* Removes every lock of owner from list. Returns whether there were any. */
static bool remove_owner(struct file_lock_context *c, struct list_head *list, const void *owner)
{
    struct record *r, *tmp;
    bool any = false;
    MUTEX_GUARD(&c->lock);
    list_for_each_safe (r, tmp, list, link) {
        if (r->owner != owner)
            continue;
        if (list == &c->records)
            c->nrecords--;
        list_del(&r->link);
        free(r);
        any = true;
    }
    return any;
}

void locks_close(const struct fd_table *owner, struct file *f)
{
    struct file_lock_context *c = __atomic_load_n(&f->inode->locks, __ATOMIC_ACQUIRE);
    if (c && remove_owner(c, &c->records, owner))
        wait_wake(&c->queue, POLLOUT);
}

void locks_release(struct file *f)
{
    struct file_lock_context *c = __atomic_load_n(&f->inode->locks, __ATOMIC_ACQUIRE);
    if (!c)
        return;
    bool any = remove_owner(c, &c->records, f);
    if (remove_owner(c, &c->flocks, f) || any)
        wait_wake(&c->queue, POLLOUT);
}

/* ---- flock ---- */

/* 0, or -EAGAIN. A lock of f of the other kind is given up first, also if the new one is refused:
 * flock(2) says that a conversion is not atomic. */
static int try_flock(struct file_lock_context *c, struct file *f, short type, bool *released)
{
    struct record want = {.owner = f, .type = type, .last = INT64_MAX};
    struct record *new = malloc(sizeof *new), *r, *tmp;
    int err = new ? 0 : -ENOMEM;
    *released = false;
    mutex_lock(&c->lock);
    if (!err) {
        list_for_each_safe (r, tmp, &c->flocks, link) {
            if (r->owner != f)
                continue;
            if (r->type == type) {
                mutex_unlock(&c->lock);
                free(new);
                return 0;
            }
            list_del(&r->link);
            free(r);
            *released = true;
        }
        if (find_conflict(&c->flocks, &want))
            err = -EAGAIN;
    }
    if (!err) {
        *new = want;
        list_add_tail(&c->flocks, &new->link);
        new = NULL;
    }
    mutex_unlock(&c->lock);
    free(new);
    return err;
}

static int flock_wait(struct task *t, struct file_lock_context *c, struct file *f, short type)
{
    struct wait_entry w;
    bool released;
    int err;
    wait_entry_init_task(&w, t, POLLOUT);
    wait_add(&c->queue, &w);
    while ((err = try_flock(c, f, type, &released)) == -EAGAIN) {
        if (released)
            wait_wake(&c->queue, POLLOUT);
        err = task_block(t, NULL);
        if (err)
            break;
    }
    wait_remove(&c->queue, &w);
    return err;
}

int locks_flock(struct task *t, struct file *f, int op)
{
    struct file_lock_context *c = context_of(f->inode);
    bool released;
    if (!c)
        return -ENOLCK;
    if ((op & ~LOCK_NB) == LOCK_UN) {
        if (remove_owner(c, &c->flocks, f))
            wait_wake(&c->queue, POLLOUT);
        return 0;
    }
    short type = (op & ~LOCK_NB) == LOCK_EX ? F_WRLCK : F_RDLCK;
    int err = try_flock(c, f, type, &released);
    if (err == -EAGAIN && released)
        wait_wake(&c->queue, POLLOUT);
    return err == -EAGAIN && !(op & LOCK_NB) ? flock_wait(t, c, f, type) : err;
}
