/*
 * inotify: watches on inodes, and queues of what happened to them. See inotify(7).
 *
 *      inode ---watches--> watch --next--> watch        one for each instance that watches it
 *                            |
 *      instance --hash[wd]---+
 *      instance --events--> event -> event              oldest first
 *
 * One lock (INOTIFY) for all of it: whoever watches files is no hot path, and whoever does not
 * never takes it. A watch holds its inode, not its dentry; the cache keeps the dentries of watched
 * inodes, so that an inode does not come back as another one.
 *
 * The order of events follows Linux: first to the directory, then to the file itself.
 */
#include "sentry/vfs/inotify.h"
#include "sentry/kernel/task.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/internal.h"
#include "sentry/vfs/notify.h"
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

/* As /proc/sys/fs/inotify says. */
#define MAX_EVENTS 16384
#define MAX_INSTANCES 128
#define MAX_WATCHES 65536

#define WD_BUCKETS 256u
#define WATCH_MASK (IN_ALL_EVENTS | IN_ONESHOT | IN_EXCL_UNLINK)

struct inotify_watch {
    struct inotify_watch *next; /* of the same inode */
    struct inotify_watch *wd_next;
    struct inotify *in;
    struct inode *inode; /* referenced */
    int wd;
    uint32_t mask;
};

struct event {
    struct list_head link;
    int wd;
    uint32_t mask, cookie;
    uint32_t name_len; /* without NUL */
    char name[];
};

struct inotify {
    struct vfs *vfs;
    struct list_head link; /* vfs.inotify_instances */
    uid_t uid;
    uint32_t nwatches, nevents;
    int last_wd;
    struct inotify_watch *watches[WD_BUCKETS]; /* by wd */
    struct list_head events;
    struct wait_queue queue;
    struct event overflow; /* on the list when events were lost; last: it could have a name */
};

/* ---- the queue of an instance (INOTIFY held) ---- */

static uint32_t padded_name(const struct event *e)
{
    uint32_t unit = sizeof(struct inotify_event);
    return e->name_len ? (e->name_len + 1 + unit - 1) / unit * unit : 0;
}

static void append(struct inotify *in, struct event *e)
{
    list_add_tail(&in->events, &e->link);
    in->nevents++;
    wait_wake(&in->queue, EPOLLIN | EPOLLRDNORM);
}

static void append_overflow(struct inotify *in)
{
    if (list_empty(&in->overflow.link))
        append(in, &in->overflow);
}

/* Whether the newest event says the same already. */
static bool repeats(const struct inotify *in, int wd, uint32_t mask, const char *name, size_t len)
{
    if (list_empty(&in->events) || mask & IN_IGNORED)
        return false;
    const struct event *e = list_entry(in->events.prev, struct event, link);
    return e->wd == wd && e->mask == mask && e->name_len == len && memcmp(e->name, name, len) == 0;
}

static void queue_event(struct inotify *in, int wd, uint32_t mask, uint32_t cookie,
                        const char *name, size_t len)
{
    if (repeats(in, wd, mask, name, len))
        return;
    struct event *e = in->nevents < MAX_EVENTS ? malloc(sizeof *e + len + 1) : NULL;
    if (!e) {
        append_overflow(in);
        return;
    }
    list_init(&e->link);
    e->wd = wd;
    e->mask = mask;
    e->cookie = cookie;
    e->name_len = (uint32_t)len;
    memcpy(e->name, name, len);
    e->name[len] = 0;
    append(in, e);
}

/* Takes the oldest event off. */
static void take_event(struct inotify *in, struct event *e)
{
    list_del(&e->link);
    in->nevents--;
}
static void free_event(struct inotify *in, struct event *e)
{
    if (e != &in->overflow)
        free(e);
}

/* ---- watches (INOTIFY held) ---- */

static struct inotify_watch **wd_slot(struct inotify *in, int wd)
{
    struct inotify_watch **pp = &in->watches[(unsigned)wd % WD_BUCKETS];
    while (*pp && (*pp)->wd != wd)
        pp = &(*pp)->wd_next;
    return pp;
}

static struct inotify_watch *find_watch(const struct inotify *in, const struct inode *i)
{
    struct inotify_watch *w = i->watches;
    while (w && w->in != in)
        w = w->next;
    return w;
}

/* Ends a watch; what it held of the inode is the caller's to put, without the lock. */
static struct inode *end_watch(struct inotify_watch *w, bool tell)
{
    struct inotify *in = w->in;
    struct inode *i = w->inode;
    struct inotify_watch *p = i->watches;
    if (p == w) {
        i->watches = w->next;
    } else {
        while (p->next != w)
            p = p->next;
        p->next = w->next;
    }
    struct inotify_watch **slot = wd_slot(in, w->wd);
    *slot = w->wd_next;
    in->nwatches--;
    atomic_fetch_sub(&in->vfs->nwatches, 1);
    if (tell)
        queue_event(in, w->wd, IN_IGNORED, 0, "", 0);
    free(w);
    return i;
}

/* An event for all who watch i. Returns how many references on i are to be put. */
static unsigned deliver(struct inode *i, uint32_t mask, uint32_t cookie, const char *name,
                        size_t len, bool unlinked)
{
    struct inotify_watch *w = i->watches, *next;
    unsigned ended = 0;
    for (; w; w = next) {
        next = w->next;
        if (!(w->mask & mask & IN_ALL_EVENTS))
            continue;
        if (unlinked && w->mask & IN_EXCL_UNLINK)
            continue;
        queue_event(w->in, w->wd, mask, cookie, name, len);
        if (w->mask & IN_ONESHOT) {
            end_watch(w, true);
            ended++;
        }
    }
    return ended;
}

static void put_times(struct inode *i, unsigned n)
{
    while (n--)
        inode_put(i);
}

/* ---- what the VFS tells ---- */

void notify_inode_slow(struct inode *i, uint32_t mask)
{
    struct vfs *v = i->sb->kernel->vfs;
    if (!i->watches)
        return;
    /* inotify has never said so in these two, though they are directories' as well. */
    if (!(mask & (IN_MOVE_SELF | IN_DELETE_SELF)))
        mask |= notify_isdir(i);
    mutex_lock(&v->inotify_lock);
    unsigned ended = deliver(i, mask, 0, "", 0, false);
    mutex_unlock(&v->inotify_lock);
    put_times(i, ended);
}

void notify_name_slow(struct inode *dir, uint32_t mask, uint32_t cookie, const char *name,
                      size_t len)
{
    struct vfs *v = dir->sb->kernel->vfs;
    if (!dir->watches)
        return;
    mutex_lock(&v->inotify_lock);
    unsigned ended = deliver(dir, mask, cookie, name, len, false);
    mutex_unlock(&v->inotify_lock);
    put_times(dir, ended);
}

void notify_dentry_slow(struct dentry *d, uint32_t mask)
{
    struct vfs *v = d->sb->kernel->vfs;
    struct dcache *dc = v->dcache;
    struct inode *i = d->inode, *dir = NULL;
    char name[NAME_MAX + 1];
    size_t len = 0;
    if (!i)
        return;
    rwlock_read(&dc->lock);
    bool unlinked = !d->hashed;
    if (d->parent != d && d->parent->inode && d->parent->inode->watches) {
        dir = d->parent->inode;
        inode_get(dir);
        len = MIN((size_t)d->name_len, (size_t)NAME_MAX);
        memcpy(name, d->name, len);
    }
    rwlock_unlock(&dc->lock);
    if (dir) {
        mutex_lock(&v->inotify_lock);
        unsigned ended = deliver(dir, mask | notify_isdir(i), 0, name, len, unlinked);
        mutex_unlock(&v->inotify_lock);
        put_times(dir, ended + 1);
    }
    notify_inode_slow(i, mask);
}

void notify_gone_slow(struct inode *i)
{
    struct vfs *v = i->sb->kernel->vfs;
    unsigned ended = 0;
    if (!i->watches)
        return;
    notify_inode_slow(i, IN_DELETE_SELF);
    mutex_lock(&v->inotify_lock);
    for (; i->watches; ended++)
        end_watch(i->watches, true);
    mutex_unlock(&v->inotify_lock);
    put_times(i, ended);
}

/* One watch of a file system that goes; the reference on its inode is the caller's then. */
static struct inode *end_one_of(struct vfs *v, const struct super_block *sb)
{
    struct inotify *in;
    MUTEX_GUARD(&v->inotify_lock);
    list_for_each (in, &v->inotify_instances, link) {
        for (unsigned b = 0; b < WD_BUCKETS; b++) {
            for (struct inotify_watch *w = in->watches[b]; w; w = w->wd_next) {
                if (w->inode->sb != sb)
                    continue;
                queue_event(in, w->wd, IN_UNMOUNT | notify_isdir(w->inode), 0, "", 0);
                return end_watch(w, true);
            }
        }
    }
    return NULL;
}

void notify_unmount_slow(struct super_block *sb)
{
    struct inode *i;
    while ((i = end_one_of(sb->kernel->vfs, sb)))
        inode_put(i);
}

uint32_t notify_cookie(struct super_block *sb)
{
    uint32_t c;
    do
        c = atomic_fetch_add(&sb->kernel->vfs->inotify_cookie, 1) + 1;
    while (!c);
    return c;
}

/* ---- the description ---- */

/* What the first event takes in a buffer; 0: none. */
static size_t first_size(struct inotify *in)
{
    MUTEX_GUARD(&in->vfs->inotify_lock);
    struct event *e = list_first(&in->events, struct event, link);
    return e ? sizeof(struct inotify_event) + padded_name(e) : 0;
}

/* The first event, off the queue, if it fits in room. *needs: what it takes, 0 for none. */
static struct event *take_first(struct inotify *in, size_t room, size_t *needs)
{
    MUTEX_GUARD(&in->vfs->inotify_lock);
    struct event *e = list_first(&in->events, struct event, link);
    *needs = e ? sizeof(struct inotify_event) + padded_name(e) : 0;
    if (!e || *needs > room)
        return NULL;
    take_event(in, e);
    return e;
}

static int copy_event(struct uio *u, const struct event *e)
{
    struct inotify_event head = {
        .wd = e->wd, .mask = e->mask, .cookie = e->cookie, .len = padded_name(e)};
    char name[NAME_MAX + 1 + sizeof head] = {0};
    memcpy(name, e->name, e->name_len);
    if (uio_copy_to(u, &head, sizeof head) != sizeof head ||
        uio_copy_to(u, name, head.len) != (ssize_t)head.len)
        return -EFAULT;
    return 0;
}

/* As many events as fit: bytes, 0 for an empty queue, -EINVAL if the first does not fit. */
static ssize_t read_events(struct inotify *in, struct uio *u)
{
    size_t done = 0, needs;
    struct event *e;
    while ((e = take_first(in, u->resid, &needs))) {
        int err = copy_event(u, e);
        free_event(in, e);
        if (err)
            return err;
        done += needs;
    }
    return done ? (ssize_t)done : needs ? -EINVAL : 0;
}

static ssize_t inotify_read(struct file *f, struct uio *u, UNUSED int64_t *pos, int rwf)
{
    struct inotify *in = f->priv;
    struct task *t = task_current();
    ssize_t n = read_events(in, u);
    if (n)
        return n;
    if (f->flags & O_NONBLOCK || rwf & RWF_NOWAIT || !t)
        return -EAGAIN;
    struct wait_entry w;
    int err = 0;
    wait_entry_init_task(&w, t, POLLIN);
    wait_add(&in->queue, &w);
    while ((n = read_events(in, u)) == 0 && !err)
        err = task_block(t, NULL);
    wait_remove(&in->queue, &w);
    return n ? n : err;
}

static uint32_t inotify_poll(struct file *f, UNUSED uint32_t events)
{
    return first_size(f->priv) ? EPOLLIN | EPOLLRDNORM : 0;
}

static struct wait_queue *inotify_poll_queue(struct file *f)
{
    struct inotify *in = f->priv;
    return &in->queue;
}

static long inotify_ioctl(struct file *f, struct task *t, unsigned cmd, uint64_t arg)
{
    struct inotify *in = f->priv;
    struct event *e;
    int bytes = 0;
    if (cmd != FIONREAD)
        return -ENOTTY;
    mutex_lock(&in->vfs->inotify_lock);
    list_for_each (e, &in->events, link)
        bytes += (int)(sizeof(struct inotify_event) + padded_name(e));
    mutex_unlock(&in->vfs->inotify_lock);
    return MM_COPY_OUT(t->mm, arg, &bytes);
}

/* Any watch, ended; NULL: there is none. */
static struct inode *end_any(struct inotify *in)
{
    MUTEX_GUARD(&in->vfs->inotify_lock);
    for (unsigned b = 0; b < WD_BUCKETS; b++)
        if (in->watches[b])
            return end_watch(in->watches[b], false);
    return NULL;
}

static void inotify_free(struct inotify *in)
{
    struct inode *i;
    struct event *e;
    while (in->nwatches && (i = end_any(in)))
        inode_put(i);
    mutex_lock(&in->vfs->inotify_lock);
    list_del(&in->link);
    mutex_unlock(&in->vfs->inotify_lock);
    while ((e = list_first(&in->events, struct event, link))) {
        take_event(in, e);
        free_event(in, e);
    }
    wait_queue_destroy(&in->queue);
    free(in);
}

static void inotify_release(struct file *f)
{
    inotify_free(f->priv);
}

static int inotify_show_fdinfo(struct file *f, char *buf, size_t size)
{
    struct inotify *in = f->priv;
    size_t n = 0;
    MUTEX_GUARD(&in->vfs->inotify_lock);
    for (unsigned b = 0; b < WD_BUCKETS; b++)
        for (struct inotify_watch *w = in->watches[b]; w; w = w->wd_next)
            n += (size_t)snprintf(n < size ? buf + n : NULL, n < size ? size - n : 0,
                                  "inotify wd:%x ino:%llx sdev:%llx mask:%x ignored_mask:0\n",
                                  (unsigned)w->wd, (unsigned long long)w->inode->ino,
                                  (unsigned long long)w->inode->sb->dev, w->mask & IN_ALL_EVENTS);
    return (int)MIN(n, (size_t)INT32_MAX);
}

static const struct file_ops inotify_ops = {
    .llseek = file_seek_nowhere,
    .read = inotify_read,
    .ioctl = inotify_ioctl,
    .poll = inotify_poll,
    .poll_queue = inotify_poll_queue,
    .release = inotify_release,
    .show_fdinfo = inotify_show_fdinfo,
    .can_async = true,
};

bool file_is_inotify(const struct file *f)
{
    return f->ops == &inotify_ops;
}

/* What uid has: instances, and watches of all of them. INOTIFY held. */
static void count_user(struct vfs *v, uid_t uid, unsigned *instances, unsigned *watches)
{
    struct inotify *in;
    *instances = *watches = 0;
    list_for_each (in, &v->inotify_instances, link) {
        if (in->uid != uid)
            continue;
        ++*instances;
        *watches += in->nwatches;
    }
}

static bool enlist(struct inotify *in)
{
    unsigned instances, watches;
    MUTEX_GUARD(&in->vfs->inotify_lock);
    count_user(in->vfs, in->uid, &instances, &watches);
    if (instances >= MAX_INSTANCES)
        return false;
    list_add(&in->vfs->inotify_instances, &in->link);
    return true;
}

int inotify_create_file(struct task *t, unsigned flags, struct file **out)
{
    struct inotify *in = calloc(1, sizeof *in);
    if (!in)
        return -ENOMEM;
    in->vfs = t->kernel->vfs;
    in->uid = t->cred->uid;
    list_init(&in->link);
    list_init(&in->events);
    list_init(&in->overflow.link);
    in->overflow.wd = -1;
    in->overflow.mask = IN_Q_OVERFLOW;
    wait_queue_init(&in->queue);
    int err = enlist(in) ? 0 : -EMFILE;
    if (!err)
        err = file_create_anon(t->kernel, "anon_inode:inotify", O_RDONLY | (flags & O_NONBLOCK),
                               &inotify_ops, in, t->cred, out);
    if (err)
        inotify_free(in);
    return err;
}

/* ---- adding and removing ---- */

static int change_watch(struct inotify_watch *w, uint32_t mask)
{
    if (mask & IN_MASK_CREATE)
        return -EEXIST;
    w->mask = (mask & IN_MASK_ADD ? w->mask : 0) | (mask & WATCH_MASK);
    return w->wd;
}

/* Makes w the watch of i, unless there is one or the user has too many. INOTIFY held. */
static int attach_watch(struct inotify *in, struct inode *i, uint32_t mask,
                        struct inotify_watch **w)
{
    struct inotify_watch *have = find_watch(in, i), *fresh = *w;
    unsigned instances, watches;
    if (have)
        return change_watch(have, mask);
    count_user(in->vfs, in->uid, &instances, &watches);
    if (watches >= MAX_WATCHES || in->last_wd == INT32_MAX)
        return -ENOSPC;
    *w = NULL;
    inode_get(i);
    *fresh = (struct inotify_watch){
        .next = i->watches, .in = in, .inode = i, .wd = ++in->last_wd, .mask = mask & WATCH_MASK};
    struct inotify_watch **slot = &in->watches[(unsigned)fresh->wd % WD_BUCKETS];
    fresh->wd_next = *slot;
    *slot = fresh;
    i->watches = fresh;
    in->nwatches++;
    atomic_fetch_add(&in->vfs->nwatches, 1);
    return fresh->wd;
}

int inotify_add(struct file *f, struct inode *i, uint32_t mask)
{
    struct inotify *in = f->priv;
    struct inotify_watch *w = malloc(sizeof *w);
    if (!w)
        return -ENOMEM;
    mutex_lock(&in->vfs->inotify_lock);
    int wd = attach_watch(in, i, mask, &w);
    mutex_unlock(&in->vfs->inotify_lock);
    free(w);
    return wd;
}

int inotify_remove(struct file *f, int wd)
{
    struct inotify *in = f->priv;
    mutex_lock(&in->vfs->inotify_lock);
    struct inotify_watch *w = *wd_slot(in, wd);
    struct inode *i = w ? end_watch(w, true) : NULL;
    mutex_unlock(&in->vfs->inotify_lock);
    if (!i)
        return -EINVAL;
    inode_put(i);
    return 0;
}
