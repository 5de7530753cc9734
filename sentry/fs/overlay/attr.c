/*
 * Attributes: those of the real inode, under the overlay's own name.
 */
#include "sentry/fs/overlay/overlay.h"
#include <errno.h>
#include <sys/stat.h>

int ovl_getattr(struct inode *i, struct kstat *out)
{
    struct ovl_node *n = ovl_node(i);
    struct inode *real = ovl_real(i);
    int err = 0;
    if (real->ops->getattr)
        err = real->ops->getattr(real, out);
    else
        inode_fill_stat(real, out);
    if (err)
        return err;
    out->ino = i->ino;
    out->dev = n->dev;
    rwlock_read(&i->lock);
    out->atime = i->atime; /* the VFS moves it here when files are read */
    rwlock_unlock(&i->lock);
    if (n->upper || n->pinned)
        out->nlink = i->nlink;
    return 0;
}

int ovl_setattr(struct inode *i, const struct iattr *attr)
{
    int err = ovl_copy_up(i, !((attr->valid & ATTR_SIZE) && attr->size == 0));
    if (err)
        return err;
    struct inode *upper = ovl_upper(i);
    err = upper->ops->setattr(upper, attr);
    ovl_sync(i, attr->valid & ATTR_ATIME);
    return err;
}

ssize_t ovl_getxattr(struct inode *i, const char *name, void *value, size_t size)
{
    struct inode *real = ovl_real(i);
    return real->ops->getxattr ? real->ops->getxattr(real, name, value, size) : -EOPNOTSUPP;
}

ssize_t ovl_listxattr(struct inode *i, char *list, size_t size)
{
    struct inode *real = ovl_real(i);
    return real->ops->listxattr ? real->ops->listxattr(real, list, size) : 0;
}

int ovl_setxattr(struct inode *i, const char *name, const void *value, size_t size, int flags)
{
    int err = ovl_copy_up(i, true);
    return err ? err : tmpfs_setxattr(ovl_upper(i), name, value, size, flags);
}

int ovl_removexattr(struct inode *i, const char *name)
{
    ssize_t n = ovl_getxattr(i, name, NULL, 0);
    if (n < 0)
        return (int)n;
    int err = ovl_copy_up(i, true);
    return err ? err : tmpfs_removexattr(ovl_upper(i), name);
}
