/*
 * Open files of the overlay hold the same file opened below and hand every call on. A file that was
 * opened for reading before its inode was copied up switches to the copy at its next call, so that
 * all descriptors of a file agree.
 */
#include "sentry/fs/overlay/overlay.h"
#include "sentry/kernel/kernel.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* `like`: whose flags and mount the new description has; NULL: for reading. */
int ovl_open_real(struct inode *real, const struct file *like, const struct cred *cred,
                  struct task *t, struct file **out)
{
    struct kernel *k = real->sb->kernel;
    unsigned flags = like ? like->flags & ~(unsigned)(O_CREAT | O_EXCL | O_TRUNC) : O_RDONLY;
    inode_get(real);
    struct dentry *d = d_make_anon(real->sb, "", real);
    if (!d)
        return -ENOMEM;
    struct file *f =
        file_create(k, like ? like->path.mnt : k->vfs->anon_mnt, d, flags, real->fops, NULL, cred);
    dentry_put(d);
    if (!f)
        return -ENOMEM;
    int err = real->ops->open ? real->ops->open(real, f, t) : 0;
    if (err) {
        file_put(f);
        return err;
    }
    *out = f;
    return 0;
}

int ovl_open(struct inode *i, struct file *f, struct task *t)
{
    int err = f->writable ? ovl_copy_up(i, !(f->flags & O_TRUNC)) : 0;
    if (err)
        return err;
    struct ovl_file *of = calloc(1, sizeof(*of));
    struct file *real;
    if (!of)
        return -ENOMEM;
    err = ovl_open_real(ovl_real(i), f, f->cred, t, &real);
    if (err) {
        free(of);
        return err;
    }
    mutex_init(&of->lock, LOCK_LEAF);
    of->real = real;
    f->priv = of;
    return 0;
}

void ovl_release(struct file *f)
{
    struct ovl_file *of = f->priv;
    if (!of)
        return;
    if (of->before)
        file_put(of->before);
    file_put(of->real);
    mutex_destroy(&of->lock);
    free(of);
}

/* The inode was copied up after f was opened. On failure the lower file goes on to serve. */
static struct file *switch_over(struct file *f, struct inode *upper)
{
    struct ovl_file *of = f->priv;
    struct file *fresh = NULL;
    if (ovl_open_real(upper, f, f->cred, NULL, &fresh))
        return of->real;
    mutex_lock(&of->lock);
    bool first = !of->before;
    if (first) {
        of->before = of->real; /* others may be using it: it goes when f goes */
        of->real = fresh;
    }
    mutex_unlock(&of->lock);
    if (!first)
        file_put(fresh);
    return of->real;
}

struct file *ovl_real_file(struct file *f)
{
    struct ovl_file *of = f->priv;
    struct file *real = of->real;
    struct inode *upper = ovl_upper(f->inode);
    if (unlikely(upper && real->inode != upper))
        real = switch_over(f, upper);
    if (unlikely(real->flags != f->flags))
        real->flags = (unsigned)f->flags;
    return real;
}

static ssize_t ovl_read(struct file *f, struct uio *u, int64_t *pos, int rwf)
{
    struct file *real = ovl_real_file(f);
    return real->ops->read(real, u, pos, rwf);
}

static ssize_t ovl_write(struct file *f, struct uio *u, int64_t *pos, int rwf)
{
    struct file *real = ovl_real_file(f);
    ssize_t n = real->ops->write(real, u, pos, rwf);
    if (n > 0)
        ovl_sync(f->inode, false);
    return n;
}

static int64_t ovl_llseek(struct file *f, int64_t offset, int whence)
{
    struct file *real = ovl_real_file(f);
    real->pos = f->pos;
    int64_t r = real->ops->llseek(real, offset, whence);
    if (r >= 0)
        f->pos = r;
    return r;
}

static int ovl_fsync(struct file *f, int64_t start, int64_t end, bool data_only)
{
    struct file *real = ovl_real_file(f);
    return real->ops->fsync ? real->ops->fsync(real, start, end, data_only) : 0;
}

static int ovl_fallocate(struct file *f, int mode, int64_t offset, int64_t length)
{
    struct file *real = ovl_real_file(f);
    if (!real->ops->fallocate)
        return -EOPNOTSUPP;
    int err = real->ops->fallocate(real, mode, offset, length);
    ovl_sync(f->inode, false);
    return err;
}

const struct file_ops ovl_file_fops = {
    .read = ovl_read,
    .write = ovl_write,
    .llseek = ovl_llseek,
    .mmap = ovl_mmap,
    .fsync = ovl_fsync,
    .fallocate = ovl_fallocate,
    .release = ovl_release,
};

#define COMMON_OPS                                                                                 \
    .getattr = ovl_getattr, .setattr = ovl_setattr, .getxattr = ovl_getxattr,                      \
    .setxattr = ovl_setxattr, .listxattr = ovl_listxattr, .removexattr = ovl_removexattr,          \
    .evict = ovl_evict

const struct inode_ops ovl_file_ops = {
    .open = ovl_open,
    COMMON_OPS,
};

static ssize_t ovl_readlink(struct inode *i, struct task *t, char *buf, size_t size)
{
    struct inode *real = ovl_real(i);
    return real->ops->readlink(real, t, buf, size);
}

const struct inode_ops ovl_link_ops = {
    .readlink = ovl_readlink,
    COMMON_OPS,
};

static int ovl_special_open(struct inode *i, struct file *f, struct task *t)
{
    struct inode *real = ovl_real(i);
    return real->ops->open ? real->ops->open(real, f, t) : 0;
}

const struct inode_ops ovl_special_ops = {
    .open = ovl_special_open,
    COMMON_OPS,
};
