/*
 * Regular files and symbolic links of the host.
 */
#include "sentry/fs/host/host.h"
#include <errno.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BOUNCE_BYTES 2048 /* up to here, copying is cheaper than pinning pages */

static int host_open(struct inode *i, struct file *f, UNUSED struct task *t)
{
    struct host_slot *s;
    int err = host_slot_get(i, f->writable ? SLOT_WRITE : SLOT_READ, &s);
    if (!err)
        f->priv = s;
    return err == -ENOENT ? -ESTALE : err; /* i was found, and has lost its name since */
}

static void host_release(struct file *f)
{
    if (f->priv)
        host_slot_put(f->inode, f->priv);
}

static int fd_of(const struct file *f)
{
    return ((const struct host_slot *)f->priv)->fd;
}

static ssize_t read_small(struct file *f, struct uio *u, int64_t pos, int rwf)
{
    char buf[BOUNCE_BYTES];
    struct iovec iov = {buf, u->resid};
    ssize_t n = door_read(fd_of(f), &iov, 1, pos, rwf);
    return n > 0 ? uio_copy_to(u, buf, (size_t)n) : n;
}

static ssize_t read_pinned(struct file *f, struct uio *u, int64_t pos, int rwf, uint64_t *asked)
{
    struct uio_pin pin;
    ssize_t n = uio_pin(u, &pin, u->resid, ACCESS_WRITE);
    if (n <= 0)
        return n;
    *asked = (uint64_t)n;
    n = door_read(fd_of(f), pin.blocks, pin.nblocks, pos, rwf);
    uio_unpin(&pin);
    if (n > 0)
        uio_skip(u, (uint64_t)n);
    return n;
}

#define HOST_RWF (RWF_HIPRI | RWF_NOWAIT)

static ssize_t host_read(struct file *f, struct uio *u, int64_t *pos, int rwf)
{
    ssize_t total = 0;
    rwf &= HOST_RWF;
    while (u->resid) {
        uint64_t asked = u->resid;
        ssize_t n = u->resid <= BOUNCE_BYTES ? read_small(f, u, *pos, rwf)
                                             : read_pinned(f, u, *pos, rwf, &asked);
        if (n <= 0)
            return total ? total : n;
        *pos += n;
        total += n;
        if ((uint64_t)n < asked)
            break;
    }
    return total;
}

static ssize_t write_small(struct file *f, struct uio *u, int64_t pos, int rwf)
{
    char buf[BOUNCE_BYTES];
    struct uio before = *u;
    ssize_t n = uio_copy_from(u, buf, u->resid);
    if (n <= 0)
        return n;
    struct iovec iov = {buf, (size_t)n};
    ssize_t r = door_write(&host_super(f->inode->sb)->door, fd_of(f), &iov, 1, pos, rwf);
    if (r < n) {
        before.owned = u->owned;
        *u = before;
        if (r > 0)
            uio_skip(u, (uint64_t)r);
    }
    return r;
}

static ssize_t write_pinned(struct file *f, struct uio *u, uint64_t limit, int64_t pos, int rwf)
{
    struct uio_pin pin;
    ssize_t n = uio_pin(u, &pin, limit, ACCESS_READ);
    if (n <= 0)
        return n;
    n = door_write(&host_super(f->inode->sb)->door, fd_of(f), pin.blocks, pin.nblocks, pos, rwf);
    uio_unpin(&pin);
    if (n > 0)
        uio_skip(u, (uint64_t)n);
    return n;
}

static ssize_t write_locked(struct file *f, struct uio *u, int64_t *pos, int rwf, uint64_t left)
{
    struct inode *i = f->inode;
    ssize_t total = 0, n = 0;
    while (left) {
        uint64_t before = u->resid;
        n = left <= BOUNCE_BYTES && left == u->resid ? write_small(f, u, *pos, rwf)
                                                     : write_pinned(f, u, left, *pos, rwf);
        if (n <= 0)
            break;
        *pos += n;
        total += n;
        left -= (uint64_t)n;
        if ((uint64_t)*pos > i->size)
            i->size = (uint64_t)*pos;
        if (before - u->resid != (uint64_t)n)
            break;
    }
    return total ? total : n;
}

static ssize_t host_write(struct file *f, struct uio *u, int64_t *pos, int rwf)
{
    struct inode *i = f->inode;
    bool append = ((f->flags & O_APPEND) && !(rwf & RWF_NOAPPEND)) || (rwf & RWF_APPEND);
    int host_rwf = (rwf & (HOST_RWF | RWF_DSYNC | RWF_SYNC)) | (append ? RWF_APPEND : 0);
    if (f->flags & O_DSYNC)
        host_rwf |= (f->flags & O_SYNC) == O_SYNC ? RWF_SYNC : RWF_DSYNC;
    rwlock_write(&i->lock);
    struct statx stx;
    if (append) {
        if (!host_super(i->sb)->exclusive && door_stat_fd(fd_of(f), &stx) == 0)
            i->size = stx.stx_size;
        *pos = (int64_t)i->size;
    }
    uint64_t n = u->resid;
    ssize_t r = vfs_write_limit(f, *pos, &n);
    if (!r)
        r = write_locked(f, u, pos, host_rwf, n);
    if (r > 0)
        host_node(i)->stale = true;
    rwlock_unlock(&i->lock);
    return r;
}

static int64_t host_llseek(struct file *f, int64_t offset, int whence)
{
    struct inode *i = f->inode;
    int64_t base = 0;
    int err = 0;
    switch (whence) {
    case SEEK_SET:
        break;
    case SEEK_CUR:
        base = f->pos;
        break;
    case SEEK_END:
        err = host_refresh(i, false);
        base = (int64_t)i->size;
        break;
    case SEEK_DATA:
    case SEEK_HOLE:
        offset = door_seek(fd_of(f), offset, whence);
        if (offset < 0)
            return offset;
        break;
    default:
        return -EINVAL;
    }
    if (err)
        return err;
    if (__builtin_add_overflow(base, offset, &offset) || offset < 0)
        return -EINVAL;
    f->pos = offset;
    return offset;
}

static int host_fsync(struct file *f, UNUSED int64_t start, UNUSED int64_t end, bool data_only)
{
    if (host_super(f->inode->sb)->door.read_only)
        return 0;
    return door_sync(fd_of(f), data_only);
}

static int host_fallocate(struct file *f, int mode, int64_t offset, int64_t length)
{
    struct inode *i = f->inode;
    if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        return -EOPNOTSUPP;
    rwlock_write(&i->lock);
    int err = door_fallocate(&host_super(i->sb)->door, fd_of(f), mode, offset, length);
    if (!err && !(mode & FALLOC_FL_KEEP_SIZE))
        i->size = MAX((uint64_t)i->size, (uint64_t)offset + (uint64_t)length);
    host_node(i)->stale = true;
    rwlock_unlock(&i->lock);
    return err;
}

const struct file_ops host_file_fops = {
    .read = host_read,
    .write = host_write,
    .llseek = host_llseek,
    .mmap = host_mmap,
    .fsync = host_fsync,
    .fallocate = host_fallocate,
    .release = host_release,
};

#define COMMON_OPS                                                                                 \
    .getattr = host_getattr, .setattr = host_setattr, .getxattr = host_getxattr,                   \
    .setxattr = host_setxattr, .listxattr = host_listxattr, .removexattr = host_removexattr,       \
    .evict = host_evict

const struct inode_ops host_file_ops = {
    .open = host_open,
    COMMON_OPS,
};

static ssize_t host_readlink(struct inode *i, UNUSED struct task *t, char *buf, size_t size)
{
    struct host_place p;
    const char *target = host_node(i)->target;
    if (!size)
        return -EINVAL;
    if (target) {
        size_t len = strnlen(target, size - 1);
        memcpy(buf, target, len);
        buf[len] = 0;
        return (ssize_t)len;
    }
    int err = host_place(i, &p);
    if (err)
        return err;
    ssize_t n = door_readlink(&host_super(i->sb)->door, p.at, buf, size - 1);
    host_unplace(&p);
    if (n >= 0)
        buf[n] = 0;
    return n;
}

const struct inode_ops host_link_ops = {
    .readlink = host_readlink,
    COMMON_OPS,
};

/* Devices of the host stay on the host. FIFOs are the sandbox's own (the VFS makes them). */
static int host_special_open(struct inode *i, UNUSED struct file *f, UNUSED struct task *t)
{
    if (S_ISCHR(i->mode) || S_ISBLK(i->mode))
        return -EACCES;
    return S_ISSOCK(i->mode) ? -ENXIO : 0;
}

const struct inode_ops host_special_ops = {
    .open = host_special_open,
    COMMON_OPS,
};
