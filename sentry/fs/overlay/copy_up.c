/*
 * Copying up: what is about to change gets an inode in memory, with the attributes, extended
 * attributes and contents of the lower one.
 */
#include "sentry/fs/overlay/overlay.h"
#include "sentry/kernel/cred.h"
#include <errno.h>
#include <limits.h>
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_UNIT (2ull << 20)

static int copy_xattr(struct inode *lower, struct inode *upper, const char *name)
{
    ssize_t n = lower->ops->getxattr(lower, name, NULL, 0);
    if (n < 0)
        return 0; /* not for us to read: not for the sandbox either */
    if (n > XATTR_SIZE_MAX)
        return -E2BIG;
    char *value = malloc((size_t)n + 1);
    if (!value)
        return -ENOMEM;
    n = n ? lower->ops->getxattr(lower, name, value, (size_t)n) : 0;
    int err = n < 0 ? (int)n : tmpfs_setxattr(upper, name, value, (size_t)n, 0);
    free(value);
    return err == -EOPNOTSUPP ? 0 : err; /* ACLs and the like */
}

static int copy_xattrs(struct inode *lower, struct inode *upper)
{
    if (!lower->ops->listxattr || !lower->ops->getxattr)
        return 0;
    ssize_t n = lower->ops->listxattr(lower, NULL, 0);
    if (n <= 0 || n > XATTR_LIST_MAX)
        return 0;
    char *list = malloc((size_t)n);
    if (!list)
        return -ENOMEM;
    n = lower->ops->listxattr(lower, list, (size_t)n);
    int err = 0;
    for (ssize_t at = 0; at < n && !err;) {
        size_t len = strnlen(list + at, (size_t)(n - at));
        if (at + (ssize_t)len == n)
            break;
        err = copy_xattr(lower, upper, list + at);
        at += (ssize_t)len + 1;
    }
    free(list);
    return err;
}

/* One stretch of data, straight into the memory file. */
static int copy_range(struct file *from, struct inode *upper, int64_t pos, int64_t end)
{
    struct tmpfs_file *tf = tmpfs_file(upper);
    while (pos < end) {
        uint64_t stop = MIN((uint64_t)end, ((uint64_t)pos / COPY_UNIT + 1) * COPY_UNIT), done, len;
        mutex_lock(&tf->data_lock);
        int err = tmpfs_reserve(tf, page_down((uint64_t)pos), page_down(stop + PAGE_SIZE - 1),
                                false, &done, NULL);
        mutex_unlock(&tf->data_lock);
        if (err)
            return err;
        char *p;
        tmpfs_find(tf, (uint64_t)pos, &p, &len);
        struct uio u;
        uio_init_kernel(&u, p, MIN(len, stop - (uint64_t)pos));
        ssize_t n = from->ops->read(from, &u, &pos, 0);
        uio_release(&u);
        if (n < 0)
            return (int)n;
        if (n == 0)
            break; /* it is shorter than it was */
    }
    return 0;
}

static int64_t seek(struct file *f, int64_t offset, int whence)
{
    int64_t r = f->ops->llseek ? f->ops->llseek(f, offset, whence) : -EINVAL;
    if (r >= 0 || r == -ENXIO)
        return r;
    return whence == SEEK_DATA ? offset : (int64_t)f->inode->size;
}

static int copy_data(struct inode *lower, struct inode *upper, const struct cred *cred)
{
    struct file *from;
    int err = ovl_open_real(lower, NULL, cred, NULL, &from);
    if (err)
        return err;
    int64_t size = (int64_t)lower->size, at = 0;
    while (!err && at < size) {
        int64_t data = seek(from, at, SEEK_DATA);
        if (data < 0 || data >= size)
            break;
        int64_t hole = seek(from, data, SEEK_HOLE);
        if (hole <= data)
            hole = size;
        at = MIN(hole, size);
        err = copy_range(from, upper, data, at);
    }
    file_put(from);
    if (!err)
        upper->size = (uint64_t)size;
    return err;
}

static int make_upper(struct inode *i, bool data, struct inode **out)
{
    struct ovl_super *os = ovl_super(i->sb);
    struct inode *lower = ovl_node(i)->lower, *upper;
    char target[PATH_MAX] = "";
    if (S_ISLNK(i->mode)) {
        ssize_t n = lower->ops->readlink(lower, NULL, target, sizeof(target));
        if (n < 0)
            return (int)n;
    }
    int err = tmpfs_new_inode(os->upper, NULL, i->mode, i->rdev, target, NULL, &upper);
    if (err)
        return err;
    upper->uid = i->uid;
    upper->gid = i->gid;
    err = copy_xattrs(lower, upper);
    if (!err && data && S_ISREG(i->mode))
        err = copy_data(lower, upper, os->cred);
    rwlock_read(&lower->lock);
    upper->atime = lower->atime;
    upper->mtime = lower->mtime;
    upper->btime = lower->btime;
    rwlock_unlock(&lower->lock);
    if (err) {
        inode_put(upper);
        return err;
    }
    *out = upper;
    return 0;
}

int ovl_copy_up(struct inode *i, bool data)
{
    struct ovl_node *n = ovl_node(i);
    if (n->upper)
        return 0;
    mutex_lock_nested(&n->copy_lock);
    struct inode *upper;
    int err = n->upper ? 0 : make_upper(i, data, &upper);
    if (!err && !n->upper) {
        if (S_ISREG(i->mode))
            err = ovl_map_copied_up(n, upper);
        if (err)
            inode_put(upper);
        else
            ovl_publish(i, upper);
    }
    mutex_unlock(&n->copy_lock);
    return err;
}
