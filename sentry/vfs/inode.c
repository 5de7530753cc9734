/*
 * Super blocks and inodes: their lives, their attributes, who may do what.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/internal.h"
#include "sentry/vfs/notify.h"
#include <stdlib.h>
#include <string.h>

/* ---- super blocks ---- */

struct super_block *super_create(struct kernel *k, const char *type, uint64_t magic,
                                 const struct super_ops *ops, void *priv)
{
    struct super_block *sb = calloc(1, sizeof *sb);
    if (!sb)
        return NULL;
    ref_init(&sb->ref);
    ref_init(&sb->active);
    sb->ops = ops;
    sb->kernel = k;
    sb->type = type;
    sb->magic = magic;
    sb->dev = vfs_new_dev(k->vfs);
    sb->priv = priv;
    mutex_init(&sb->rename_lock, LOCK_RENAME);
    return sb;
}

struct super_block *super_get(struct super_block *sb)
{
    ref_get(&sb->active);
    return sb;
}

static void super_unref(struct super_block *sb)
{
    if (!ref_put(&sb->ref))
        return;
    if (sb->ops->destroy)
        sb->ops->destroy(sb);
    mutex_destroy(&sb->rename_lock);
    free(sb);
}

void super_put(struct super_block *sb)
{
    if (!ref_put(&sb->active))
        return;
    notify_unmount(sb);
    if (sb->ops->shutdown)
        sb->ops->shutdown(sb);
    d_shrink(sb);
    struct dentry *root = sb->root;
    sb->root = NULL;
    if (root)
        dentry_put(root);
    super_unref(sb);
}

struct timestamp vfs_now(struct super_block *sb)
{
    int64_t ns = clock_realtime(&sb->kernel->clock);
    int64_t sec = ns / 1000000000;
    int64_t rest = ns % 1000000000;
    if (rest < 0) {
        rest += 1000000000;
        sec--;
    }
    return (struct timestamp){.sec = sec, .nsec = (uint32_t)rest};
}

/* ---- inodes ---- */

struct inode *inode_create(struct super_block *sb, uint64_t ino, uint32_t mode,
                           const struct inode_ops *ops, const struct file_ops *fops)
{
    struct inode *i = calloc(1, sizeof *i);
    if (!i)
        return NULL;
    ref_init(&i->ref);
    i->ops = ops;
    i->fops = fops;
    ref_get(&sb->ref);
    i->sb = sb;
    rwlock_init(&i->dir_lock, LOCK_INODE_DIR);
    rwlock_init(&i->lock, LOCK_INODE);
    i->ino = ino;
    i->mode = mode;
    i->nlink = 1;
    return i;
}

void inode_get(struct inode *i)
{
    ref_get(&i->ref);
}

void inode_put(struct inode *i)
{
    if (!i || !ref_put(&i->ref))
        return;
    if (i->ops->evict)
        i->ops->evict(i);
    if (i->locks)
        locks_free_context(i->locks);
    free(i->link_body);
    rwlock_destroy(&i->dir_lock);
    rwlock_destroy(&i->lock);
    super_unref(i->sb);
    free(i);
}

bool inode_capable(const struct inode *i, const struct cred *cred, int cap)
{
    const struct user_ns *ns = cred->user_ns;
    return cred_capable_here(cred, cap) && id_out(ns, ID_UID, i->uid) != ID_INVALID &&
           id_out(ns, ID_GID, i->gid) != ID_INVALID;
}

uint32_t inode_strip_foreign_sgid(const struct inode *dir, uint32_t mode, const struct cred *cred)
{
    bool program = (mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP);
    if (!program || S_ISDIR(mode) || !(dir->mode & S_ISGID) || cred_in_group(cred, dir->gid) ||
        inode_capable(dir, cred, CAP_FSETID))
        return mode;
    return mode & ~(uint32_t)S_ISGID;
}

void inode_init_owner(struct inode *i, const struct inode *dir, uint32_t mode,
                      const struct cred *cred)
{
    i->uid = cred->fsuid;
    i->gid = cred->fsgid;
    if (dir && dir->mode & S_ISGID) {
        i->gid = dir->gid;
        if (S_ISDIR(mode))
            mode |= S_ISGID;
    }
    i->mode = mode;
}

int inode_permission_generic(struct inode *i, const struct cred *cred, int mask)
{
    uint32_t mode = i->mode;
    uint32_t bits = mode & 7;
    if (i->uid == cred->fsuid)
        bits = mode >> 6 & 7;
    else if (((mode >> 3 ^ mode) & 7) != 0 && cred_in_group(cred, i->gid))
        bits = mode >> 3 & 7;
    if (((uint32_t)mask & ~bits) == 0)
        return 0;
    if (S_ISDIR(mode)) {
        if (!(mask & MAY_WRITE) && inode_capable(i, cred, CAP_DAC_READ_SEARCH))
            return 0;
        return inode_capable(i, cred, CAP_DAC_OVERRIDE) ? 0 : -EACCES;
    }
    if (mask == MAY_READ && inode_capable(i, cred, CAP_DAC_READ_SEARCH))
        return 0;
    /* Nobody executes what nobody may execute. */
    if ((!(mask & MAY_EXEC) || mode & 0111) && inode_capable(i, cred, CAP_DAC_OVERRIDE))
        return 0;
    return -EACCES;
}

int inode_permission(struct inode *i, const struct cred *cred, int mask)
{
    if (i->ops->permission)
        return i->ops->permission(i, cred, mask);
    return inode_permission_generic(i, cred, mask);
}

bool inode_owner_or_capable(const struct inode *i, const struct cred *cred)
{
    return i->uid == cred->fsuid || inode_capable(i, cred, CAP_FOWNER);
}

void inode_copy_attr(struct inode *i, const struct iattr *attr)
{
    if (attr->valid & ATTR_MODE)
        i->mode = (i->mode & S_IFMT) | (attr->mode & 07777);
    if (attr->valid & ATTR_UID)
        i->uid = attr->uid;
    if (attr->valid & ATTR_GID)
        i->gid = attr->gid;
    if (attr->valid & ATTR_ATIME)
        i->atime = attr->atime;
    if (attr->valid & ATTR_MTIME)
        i->mtime = attr->mtime;
}

int inode_simple_setattr(struct inode *i, const struct iattr *attr)
{
    if (attr->valid & ATTR_SIZE)
        return -EINVAL;
    rwlock_write(&i->lock);
    inode_copy_attr(i, attr);
    i->ctime = attr->valid & ATTR_CTIME ? attr->ctime : vfs_now(i->sb);
    rwlock_unlock(&i->lock);
    return 0;
}

void inode_fill_stat(struct inode *i, struct kstat *out)
{
    memset(out, 0, sizeof *out);
    rwlock_read(&i->lock);
    out->ino = i->ino;
    out->dev = i->sb->dev;
    out->rdev = i->rdev;
    out->mode = i->mode;
    out->nlink = i->nlink;
    out->uid = i->uid;
    out->gid = i->gid;
    out->size = i->size;
    out->blocks = (i->size + 511) / 512;
    out->blksize = PAGE_SIZE;
    out->atime = i->atime;
    out->mtime = i->mtime;
    out->ctime = i->ctime;
    out->btime = i->btime;
    out->has_btime = i->btime.sec != 0;
    rwlock_unlock(&i->lock);
}

int inode_get_write(struct inode *i)
{
    int n = atomic_load(&i->write_count);
    do {
        if (n < 0)
            return -ETXTBSY;
    } while (!atomic_compare_exchange_weak(&i->write_count, &n, n + 1));
    return 0;
}

void inode_put_write(struct inode *i)
{
    atomic_fetch_sub(&i->write_count, 1);
}

int inode_deny_write(struct inode *i)
{
    int n = atomic_load(&i->write_count);
    do {
        if (n > 0)
            return -ETXTBSY;
    } while (!atomic_compare_exchange_weak(&i->write_count, &n, n - 1));
    return 0;
}

void inode_allow_write(struct inode *i)
{
    atomic_fetch_add(&i->write_count, 1);
}

uint32_t inode_strip_privs(uint32_t mode)
{
    mode &= ~(uint32_t)S_ISUID;
    /* Set-gid without group execute means mandatory locking, not privilege. */
    if (mode & S_IXGRP)
        mode &= ~(uint32_t)S_ISGID;
    return mode;
}

int file_remove_privs(struct file *f)
{
    struct inode *i = f->inode;
    uint32_t mode = i->mode;
    if (!S_ISREG(mode) || inode_strip_privs(mode) == mode || !f->cred ||
        inode_capable(i, f->cred, CAP_FSETID))
        return 0;
    if (!i->ops->setattr)
        return 0;
    struct iattr attr = {.valid = ATTR_MODE | ATTR_CTIME,
                         .mode = inode_strip_privs(mode) & 07777,
                         .ctime = vfs_now(i->sb)};
    int err = i->ops->setattr(i, &attr);
    if (!err)
        notify_dentry(f->path.dentry, IN_ATTRIB);
    return err;
}

/* relatime: often enough that "was it read since it changed" has the right answer. */
static bool atime_is_stale(const struct inode *i, struct timestamp now)
{
    struct timestamp a = i->atime;
    if (a.sec < i->mtime.sec || (a.sec == i->mtime.sec && a.nsec <= i->mtime.nsec))
        return true;
    if (a.sec < i->ctime.sec || (a.sec == i->ctime.sec && a.nsec <= i->ctime.nsec))
        return true;
    return now.sec - a.sec >= 24 * 60 * 60;
}

void file_accessed(struct file *f)
{
    struct inode *i = f->inode;
    if (f->flags & O_NOATIME || !f->path.mnt || f->path.mnt->flags & (MS_NOATIME | MS_RDONLY))
        return;
    if (S_ISDIR(i->mode) && f->path.mnt->flags & MS_NODIRATIME)
        return;
    struct timestamp now = vfs_now(i->sb);
    rwlock_read(&i->lock);
    bool stale = f->path.mnt->flags & MS_STRICTATIME || atime_is_stale(i, now);
    rwlock_unlock(&i->lock);
    if (!stale)
        return;
    rwlock_write(&i->lock);
    i->atime = now;
    rwlock_unlock(&i->lock);
}
