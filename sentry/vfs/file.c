/*
 * File descriptions: what descriptors name, and reading and writing through them.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/fasync.h"
#include "sentry/vfs/internal.h"
#include "sentry/vfs/notify.h"
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#ifndef RWF_NOAPPEND
#define RWF_NOAPPEND 0x20
#endif
#define RWF_KNOWN (RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND | RWF_NOAPPEND)

/* ---- as a mapping's identity ---- */

static struct file *identity_file(struct mapping_identity *id)
{
    return container_of(id, struct file, identity);
}
static void identity_get(struct mapping_identity *id)
{
    file_get(identity_file(id));
}
static void identity_put(struct mapping_identity *id)
{
    file_put(identity_file(id));
}
static int identity_name(struct mapping_identity *id, char *buf, size_t size)
{
    char path[PATH_MAX];
    int n = vfs_path_string(NULL, &identity_file(id)->path, path, sizeof path);
    return snprintf(buf, size, "%s", n < 0 ? "(too long)" : path);
}
static dev_t identity_device(struct mapping_identity *id)
{
    return identity_file(id)->inode->sb->dev;
}
static uint64_t identity_inode(struct mapping_identity *id)
{
    return identity_file(id)->inode->ino;
}
static int identity_msync(struct mapping_identity *id, struct mappable_range mr)
{
    struct file *f = identity_file(id);
    return f->ops->fsync ? f->ops->fsync(f, (int64_t)mr.start, (int64_t)mr.end, true) : 0;
}
static int identity_punch(struct mapping_identity *id, struct mappable_range mr)
{
    struct file *f = identity_file(id);
    if (!f->ops->fallocate)
        return -EOPNOTSUPP;
    return f->ops->fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (int64_t)mr.start,
                             (int64_t)RANGE_LENGTH(mr));
}
static const struct mapping_identity_ops file_identity_ops = {
    .get = identity_get,
    .put = identity_put,
    .name = identity_name,
    .device = identity_device,
    .inode = identity_inode,
    .msync = identity_msync,
    .punch = identity_punch,
};

/* ---- life ---- */

struct file *file_create(struct kernel *k, struct mount *mnt, struct dentry *d, unsigned flags,
                         const struct file_ops *ops, void *priv, const struct cred *cred)
{
    struct file *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    ref_init(&f->ref);
    f->identity.ops = &file_identity_ops;
    f->ops = ops;
    f->path = (struct path_ref){.mnt = mnt, .dentry = d};
    path_get(&f->path);
    /* Its own reference: an unlink may take the inode away from the dentry of an O_PATH file. */
    inode_get(d->inode);
    f->inode = d->inode;
    f->kernel = k;
    f->flags = flags;
    if (!(flags & O_PATH)) {
        unsigned mode = flags & O_ACCMODE;
        f->readable = mode == O_RDONLY || mode == O_RDWR;
        f->writable = mode == O_WRONLY || mode == O_RDWR;
    }
    mutex_init(&f->pos_lock, LOCK_FILE_POS);
    mutex_init(&f->lock, LOCK_FILE);
    f->cred = cred ? cred_get(cred) : NULL;
    list_init(&f->epolls);
    f->priv = priv;
    return f;
}

int file_create_anon(struct kernel *k, const char *name, unsigned flags, const struct file_ops *ops,
                     void *priv, const struct cred *cred, struct file **out)
{
    struct vfs *v = k->vfs;
    static const struct inode_ops anon_inode_ops;
    struct inode *i = inode_create(v->anon_sb, 1, 0600, &anon_inode_ops, NULL);
    if (!i)
        return -ENOMEM;
    struct dentry *d = d_make_anon(v->anon_sb, name, i);
    if (!d)
        return -ENOMEM;
    struct file *f = file_create(k, v->anon_mnt, d, flags, ops, priv, cred);
    dentry_put(d);
    if (!f)
        return -ENOMEM;
    f->stream = true;
    *out = f;
    return 0;
}

struct file *file_get(struct file *f)
{
    ref_get(&f->ref);
    return f;
}

void file_put(struct file *f)
{
    if (!f || !ref_put(&f->ref))
        return;
    if (f->opened)
        notify_dentry(f->path.dentry, f->writable ? IN_CLOSE_WRITE : IN_CLOSE_NOWRITE);
    locks_release(f);
    if (!list_empty(&f->epolls))
        epoll_forget(f);
    file_release_owner(f);
    if (f->ops->release)
        f->ops->release(f);
    if (f->holds_write) {
        inode_put_write(f->inode);
        atomic_fetch_sub(&f->path.mnt->writers, 1);
    }
    if (f->denies_write)
        inode_allow_write(f->inode);
    inode_put(f->inode);
    path_put(&f->path);
    if (f->cred)
        cred_put(f->cred);
    mutex_destroy(&f->pos_lock);
    mutex_destroy(&f->lock);
    free(f);
}

/* ---- reading ---- */

static int check_position(int64_t pos, uint64_t n)
{
    int64_t end;
    if (pos < 0 || __builtin_add_overflow(pos, (int64_t)MIN(n, (uint64_t)INT64_MAX), &end))
        return -EINVAL;
    return 0;
}

static int check_read(const struct file *f)
{
    if (!f->readable)
        return -EBADF;
    if (!f->ops->read)
        return S_ISDIR(f->inode->mode) ? -EISDIR : -EINVAL;
    return 0;
}

static ssize_t do_read(struct file *f, struct uio *u, int64_t *pos, int rwf)
{
    if (!f->stream) {
        int err = check_position(*pos, u->resid);
        if (err)
            return err;
    }
    ssize_t n = f->ops->read(f, u, pos, rwf);
    if (n > 0)
        notify_dentry(f->path.dentry, IN_ACCESS);
    if (n >= 0 && !f->stream)
        file_accessed(f);
    return n;
}

ssize_t file_read_rwf(struct file *f, struct uio *u, int rwf)
{
    int err = check_read(f);
    if (!err && rwf & ~RWF_KNOWN)
        err = -EOPNOTSUPP;
    if (err)
        return err;
    if (f->stream) {
        int64_t none = 0;
        return do_read(f, u, &none, rwf);
    }
    MUTEX_GUARD(&f->pos_lock);
    return do_read(f, u, &f->pos, rwf);
}

ssize_t file_read(struct file *f, struct uio *u)
{
    return file_read_rwf(f, u, 0);
}

ssize_t file_pread(struct file *f, struct uio *u, int64_t pos, int rwf)
{
    if (pos < 0)
        return -EINVAL;
    if (f->stream)
        return -ESPIPE;
    int err = check_read(f);
    if (!err && rwf & ~RWF_KNOWN)
        err = -EOPNOTSUPP;
    return err ? err : do_read(f, u, &pos, rwf);
}

ssize_t file_read_kernel(struct file *f, void *buf, size_t n, int64_t pos)
{
    size_t done = 0;
    if (!f->ops->read)
        return -EINVAL;
    while (done < n) {
        struct uio u;
        uio_init_kernel(&u, (char *)buf + done, n - done);
        ssize_t got = f->ops->read(f, &u, &pos, 0);
        uio_release(&u);
        if (got < 0)
            return done ? (ssize_t)done : got;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    if (done)
        notify_dentry(f->path.dentry, IN_ACCESS);
    return (ssize_t)done;
}

/* ---- writing ---- */

int vfs_write_limit(UNUSED struct file *f, int64_t pos, uint64_t *n)
{
    if (*n == 0)
        return 0;
    if (pos < 0 || pos == INT64_MAX)
        return -EFBIG;
    *n = MIN(*n, (uint64_t)(INT64_MAX - pos));
    return 0;
}

/* RLIMIT_FSIZE: shortens u, or sends the signal. */
static int limit_file_size(struct task *t, struct file *f, struct uio *u, int64_t pos)
{
    if (!t || !S_ISREG(f->inode->mode) || u->resid == 0)
        return 0;
    uint64_t limit = task_rlimit(t, RLIMIT_FSIZE);
    if (limit == RLIM_INFINITY)
        return 0;
    if ((uint64_t)pos >= limit) {
        signal_send_self(t, SIGXFSZ);
        return -EFBIG;
    }
    u->resid = MIN(u->resid, limit - (uint64_t)pos);
    return 0;
}

static int check_write(const struct file *f, int rwf)
{
    if (!f->writable)
        return -EBADF;
    if (!f->ops->write)
        return -EINVAL;
    if (rwf & ~RWF_KNOWN || (rwf & RWF_APPEND && rwf & RWF_NOAPPEND))
        return rwf & ~RWF_KNOWN ? -EOPNOTSUPP : -EINVAL;
    return 0;
}

static int sync_written(struct file *f, int64_t end, ssize_t n, int rwf)
{
    bool sync = f->flags & O_DSYNC || rwf & (RWF_SYNC | RWF_DSYNC);
    bool data_only = (f->flags & O_SYNC) != O_SYNC && !(rwf & RWF_SYNC);
    if (!sync || n <= 0 || !f->ops->fsync || f->stream)
        return 0;
    return f->ops->fsync(f, end - n, end, data_only);
}

static ssize_t do_write(struct task *t, struct file *f, struct uio *u, int64_t *pos, int rwf)
{
    if (f->stream) {
        ssize_t put = f->ops->write(f, u, pos, rwf);
        if (put > 0)
            notify_dentry(f->path.dentry, IN_MODIFY);
        return put;
    }
    int err = check_position(*pos, u->resid);
    bool append = (f->flags & O_APPEND || rwf & RWF_APPEND) && !(rwf & RWF_NOAPPEND);
    if (!err)
        err = limit_file_size(t, f, u, append ? (int64_t)f->inode->size : *pos);
    if (!err && u->resid)
        err = file_remove_privs(f);
    if (err)
        return err;
    int64_t before = *pos;
    ssize_t n = f->ops->write(f, u, pos, rwf);
    if (n > 0)
        notify_dentry(f->path.dentry, IN_MODIFY);
    else
        *pos = before; /* it may have gone to the end, to append */
    err = sync_written(f, *pos, n, rwf);
    return err ? err : n;
}

ssize_t file_write_task(struct task *t, struct file *f, struct uio *u, int rwf)
{
    int err = check_write(f, rwf);
    if (err)
        return err;
    if (f->stream) {
        int64_t none = 0;
        return do_write(t, f, u, &none, rwf);
    }
    MUTEX_GUARD(&f->pos_lock);
    return do_write(t, f, u, &f->pos, rwf);
}

ssize_t file_pwrite_task(struct task *t, struct file *f, struct uio *u, int64_t pos, int rwf)
{
    if (pos < 0)
        return -EINVAL;
    if (f->stream)
        return -ESPIPE;
    int err = check_write(f, rwf);
    return err ? err : do_write(t, f, u, &pos, rwf);
}

ssize_t file_write(struct file *f, struct uio *u)
{
    return file_write_task(NULL, f, u, 0);
}

ssize_t file_pwrite(struct file *f, struct uio *u, int64_t pos, int rwf)
{
    return file_pwrite_task(NULL, f, u, pos, rwf);
}

/* ---- readiness ---- */

uint32_t file_poll(struct file *f, uint32_t events)
{
    if (!f->ops->poll)
        return (EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM) & events;
    return f->ops->poll(f, events);
}

struct wait_queue *file_poll_queue(struct file *f)
{
    return f->ops->poll_queue ? f->ops->poll_queue(f) : NULL;
}

/* ---- seeking ---- */

static int64_t seek_target(struct file *f, int64_t offset, int whence, int64_t *base)
{
    int64_t size = (int64_t)f->inode->size;
    switch (whence) {
    case SEEK_SET:
        *base = 0;
        return 0;
    case SEEK_CUR:
        *base = f->pos;
        return 0;
    case SEEK_END:
        *base = size;
        return 0;
    case SEEK_DATA: /* all is data, with one hole at the end */
    case SEEK_HOLE:
        if (offset < 0 || offset >= size)
            return -ENXIO;
        *base = whence == SEEK_HOLE ? size - offset : 0;
        return 0;
    default:
        return -EINVAL;
    }
}

int64_t file_seek_nowhere(struct file *f, UNUSED int64_t offset, UNUSED int whence)
{
    return f->pos;
}

int64_t file_seek(struct file *f, int64_t offset, int whence)
{
    if (f->stream && !f->ops->llseek)
        return -ESPIPE;
    MUTEX_GUARD(&f->pos_lock);
    if (f->ops->llseek)
        return f->ops->llseek(f, offset, whence);
    int64_t base, pos;
    int64_t err = seek_target(f, offset, whence, &base);
    if (err)
        return err;
    if (__builtin_add_overflow(base, offset, &pos))
        return offset < 0 ? -EINVAL : -EOVERFLOW;
    if (pos < 0)
        return -EINVAL;
    f->pos = pos;
    return pos;
}
