/*
 * tmpfs inodes: making, attributes, letting go.
 */
#include "sentry/fs/tmpfs/tmpfs.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void *new_node(uint32_t mode, const char *target)
{
    struct tmpfs_node *n;
    if (S_ISREG(mode)) {
        struct tmpfs_file *tf = calloc(1, sizeof(*tf));
        if (tf) {
            tmpfs_file_init(tf);
            tf->seals = F_SEAL_SEAL; /* only memfd_create makes files that can be sealed */
        }
        n = tf ? &tf->node : NULL;
    } else if (S_ISDIR(mode)) {
        struct tmpfs_dir *td = calloc(1, sizeof(*td));
        if (td)
            tmpfs_dir_init(td);
        n = td ? &td->node : NULL;
    } else if (S_ISLNK(mode)) {
        size_t length = strlen(target);
        struct tmpfs_link *tl = calloc(1, sizeof(*tl) + length + 1);
        if (tl) {
            tl->length = length;
            memcpy(tl->target, target, length);
        }
        n = tl ? &tl->node : NULL;
    } else {
        n = calloc(1, sizeof(*n));
    }
    if (n) {
        list_init(&n->doomed);
        list_init(&n->xattrs);
    }
    return n;
}

static const struct inode_ops *ops_for(uint32_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return &tmpfs_file_ops;
    case S_IFDIR:
        return &tmpfs_dir_ops;
    case S_IFLNK:
        return &tmpfs_link_ops;
    default:
        return &tmpfs_special_ops;
    }
}

static void free_node(struct tmpfs_node *n, uint32_t mode, struct tmpfs_super *ts)
{
    tmpfs_xattrs_release(n);
    if (S_ISREG(mode))
        tmpfs_file_release((struct tmpfs_file *)n, ts);
    else if (S_ISDIR(mode))
        tmpfs_dir_release((struct tmpfs_dir *)n, ts);
    free(n);
}

static bool charge_inode(struct tmpfs_super *ts)
{
    if (atomic_fetch_add(&ts->used_inodes, 1) < ts->max_inodes)
        return true;
    atomic_fetch_sub(&ts->used_inodes, 1);
    return false;
}

int tmpfs_new_inode(struct super_block *sb, const struct inode *dir, uint32_t mode, dev_t rdev,
                    const char *target, const struct cred *cred, struct inode **out)
{
    struct tmpfs_super *ts = tmpfs_super(sb);
    if (!charge_inode(ts))
        return -ENOSPC;
    struct tmpfs_node *n = new_node(mode, target);
    struct inode *i = n ? inode_create(sb, atomic_fetch_add(&ts->next_ino, 1), mode, ops_for(mode),
                                       S_ISREG(mode)   ? &tmpfs_file_fops
                                       : S_ISDIR(mode) ? &tmpfs_dir_fops
                                                       : NULL)
                        : NULL;
    if (!i) {
        if (n)
            free_node(n, mode, ts);
        atomic_fetch_sub(&ts->used_inodes, 1);
        return -ENOMEM;
    }
    n->inode = i;
    i->priv = n;
    i->rdev = rdev;
    if (dir)
        inode_init_owner(i, dir, mode, cred);
    i->atime = i->mtime = i->ctime = i->btime = vfs_now(sb);
    i->nlink = S_ISDIR(mode) ? 2 : 1;
    if (S_ISDIR(mode))
        i->size = 2 * 20;
    else if (S_ISLNK(mode))
        i->size = ((struct tmpfs_link *)n)->length;
    if (S_ISDIR(mode))
        tmpfs_dir(i)->parent_ino = dir ? dir->ino : i->ino;
    *out = i;
    return 0;
}

void tmpfs_evict(struct inode *i)
{
    struct tmpfs_super *ts = tmpfs_super(i->sb);
    free_node(tmpfs_node(i), i->mode, ts);
    atomic_fetch_sub(&ts->used_inodes, 1);
}

int tmpfs_getattr(struct inode *i, struct kstat *out)
{
    inode_fill_stat(i, out);
    out->blocks = S_ISREG(i->mode) ? tmpfs_blocks(tmpfs_file(i)) : 0;
    out->blksize = PAGE_SIZE;
    out->btime = i->btime;
    out->has_btime = true;
    return 0;
}

int tmpfs_setattr(struct inode *i, const struct iattr *attr)
{
    rwlock_write(&i->lock);
    int err = 0;
    struct timestamp now = vfs_now(i->sb);
    if (attr->valid & ATTR_SIZE) {
        err = S_ISREG(i->mode) ? tmpfs_truncate(i, attr->size) : -EINVAL;
        if (!err && !(attr->valid & ATTR_MTIME))
            i->mtime = now;
    }
    if (!err) {
        inode_copy_attr(i, attr);
        /* A pure access time change by read leaves ctime alone. */
        if (attr->valid & ATTR_CTIME)
            i->ctime = attr->ctime;
        else if (attr->valid & ~ATTR_ATIME)
            i->ctime = now;
    }
    rwlock_unlock(&i->lock);
    return err;
}

/* A change of a directory or of links to an inode. */
void tmpfs_touch(struct inode *i, bool modified)
{
    rwlock_write_nested(&i->lock);
    i->ctime = vfs_now(i->sb);
    if (modified)
        i->mtime = i->ctime;
    rwlock_unlock(&i->lock);
}
