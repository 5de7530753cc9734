/*
 * Attributes: stat, chmod, chown, utimensat, truncate. The rules who may change what are here; file
 * systems only store.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/internal.h"
#include "sentry/vfs/notify.h"
#include <sys/stat.h>

int vfs_getattr(const struct path_ref *p, struct kstat *out)
{
    struct inode *i = p->dentry->inode;
    int err = 0;
    if (i->ops->getattr)
        err = i->ops->getattr(i, out);
    else
        inode_fill_stat(i, out);
    if (!err && p->mnt && p->mnt->root == p->dentry && p->mnt->mountpoint) {
        out->attributes |= STATX_ATTR_MOUNT_ROOT;
    }
    out->attributes_mask |= STATX_ATTR_MOUNT_ROOT;
    return err;
}

/* What inotify says of a change. Both times together mean utime(2). */
static uint32_t change_event(uint32_t valid)
{
    uint32_t times = valid & (ATTR_ATIME | ATTR_MTIME);
    if (valid & (ATTR_UID | ATTR_GID | ATTR_MODE) || times == (ATTR_ATIME | ATTR_MTIME))
        return IN_ATTRIB;
    return (times & ATTR_ATIME ? IN_ACCESS : 0) | (times & ATTR_MTIME ? IN_MODIFY : 0);
}

int vfs_setattr(struct task *t, const struct path_ref *p, const struct iattr *attr)
{
    struct inode *i = p->dentry->inode;
    int err = mount_want_write(p->mnt);
    if (err)
        return err;
    if (!i->ops->setattr)
        return -EPERM;
    struct iattr a = *attr;
    if (!(a.valid & ATTR_CTIME)) {
        a.valid |= ATTR_CTIME;
        a.ctime = vfs_now(i->sb);
    }
    (void)t;
    err = i->ops->setattr(i, &a);
    if (!err && change_event(attr->valid))
        notify_dentry(p->dentry, change_event(attr->valid));
    return err;
}

int vfs_chmod(struct task *t, const struct path_ref *p, uint32_t mode)
{
    struct inode *i = p->dentry->inode;
    int err = mount_want_write(p->mnt);
    if (err)
        return err;
    if (S_ISLNK(i->mode))
        return -EOPNOTSUPP;
    if (!inode_owner_or_capable(i, t->cred))
        return -EPERM;
    mode &= 07777;
    if (mode & S_ISGID && !cred_in_group(t->cred, i->gid) && !inode_capable(i, t->cred, CAP_FSETID))
        mode &= ~(uint32_t)S_ISGID;
    struct iattr a = {.valid = ATTR_MODE, .mode = mode};
    return vfs_setattr(t, p, &a);
}

/* An owner may give a file to a group of his; all else needs CAP_CHOWN. */
static bool may_chown(struct task *t, const struct inode *i, const struct iattr *a)
{
    bool owner = i->uid == t->cred->fsuid;
    if (inode_capable(i, t->cred, CAP_CHOWN))
        return true;
    if (a->valid & ATTR_UID && !(owner && a->uid == i->uid))
        return false;
    if (a->valid & ATTR_GID && !(owner && (a->gid == i->gid || cred_in_group(t->cred, a->gid))))
        return false;
    return true;
}

int vfs_chown(struct task *t, const struct path_ref *p, uid_t uid, gid_t gid)
{
    struct inode *i = p->dentry->inode;
    struct iattr a = {.uid = uid, .gid = gid};
    int err = mount_want_write(p->mnt);
    if (err)
        return err;
    if (uid != (uid_t)-1)
        a.valid |= ATTR_UID;
    if (gid != (gid_t)-1)
        a.valid |= ATTR_GID;
    if (!may_chown(t, i, &a))
        return -EPERM;
    if (!S_ISDIR(i->mode) && inode_strip_privs(i->mode) != i->mode) {
        a.valid |= ATTR_MODE;
        a.mode = inode_strip_privs(i->mode) & 07777;
    }
    return vfs_setattr(t, p, &a);
}

static bool nsec_valid(long nsec)
{
    return nsec == UTIME_NOW || nsec == UTIME_OMIT || (nsec >= 0 && nsec < 1000000000);
}

static struct timestamp to_timestamp(const struct timespec *ts, struct timestamp now)
{
    if (ts->tv_nsec == UTIME_NOW)
        return now;
    return (struct timestamp){.sec = ts->tv_sec, .nsec = (uint32_t)ts->tv_nsec};
}

int vfs_utimes(struct task *t, const struct path_ref *p, const struct timespec times[2])
{
    static const struct timespec both_now[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};
    struct inode *i = p->dentry->inode;
    if (!times)
        times = both_now;
    if (!nsec_valid(times[0].tv_nsec) || !nsec_valid(times[1].tv_nsec))
        return -EINVAL;
    bool omit_a = times[0].tv_nsec == UTIME_OMIT, omit_m = times[1].tv_nsec == UTIME_OMIT;
    if (omit_a && omit_m)
        return 0;
    int err = mount_want_write(p->mnt);
    if (err)
        return err;
    bool now_only = times[0].tv_nsec == UTIME_NOW && times[1].tv_nsec == UTIME_NOW;
    if (!inode_owner_or_capable(i, t->cred)) {
        if (!now_only)
            return -EPERM;
        err = inode_permission(i, t->cred, MAY_WRITE);
        if (err)
            return err;
    }
    struct timestamp now = vfs_now(i->sb);
    struct iattr a = {.valid = (omit_a ? 0 : ATTR_ATIME) | (omit_m ? 0 : ATTR_MTIME) | ATTR_CTIME,
                      .atime = to_timestamp(&times[0], now),
                      .mtime = to_timestamp(&times[1], now),
                      .ctime = now};
    return vfs_setattr(t, p, &a);
}

/* ---- size ---- */

int vfs_truncate_inode(struct task *t, struct inode *i, uint64_t size)
{
    if (size > i->size && t && size > task_rlimit(t, RLIMIT_FSIZE)) {
        signal_send_self(t, SIGXFSZ);
        return -EFBIG;
    }
    if (!i->ops->setattr)
        return -EINVAL;
    struct timestamp now = vfs_now(i->sb);
    struct iattr a = {
        .valid = ATTR_SIZE | ATTR_MTIME | ATTR_CTIME, .size = size, .mtime = now, .ctime = now};
    if (inode_strip_privs(i->mode) != i->mode && !(t && inode_capable(i, t->cred, CAP_FSETID))) {
        a.valid |= ATTR_MODE;
        a.mode = inode_strip_privs(i->mode) & 07777;
    }
    return i->ops->setattr(i, &a);
}

int vfs_truncate(struct task *t, const struct path_ref *p, uint64_t size)
{
    struct inode *i = p->dentry->inode;
    if (S_ISDIR(i->mode))
        return -EISDIR;
    if (!S_ISREG(i->mode))
        return -EINVAL;
    int err = vfs_permission(p, t->cred, MAY_WRITE);
    if (!err)
        err = inode_get_write(i);
    if (err)
        return err;
    err = vfs_truncate_inode(t, i, size);
    inode_put_write(i);
    if (!err)
        notify_dentry(p->dentry, IN_MODIFY);
    return err;
}

int file_truncate(struct task *t, struct file *f, uint64_t size)
{
    if (!f->writable || !S_ISREG(f->inode->mode))
        return -EINVAL;
    int err = vfs_truncate_inode(t, f->inode, size);
    if (!err)
        notify_dentry(f->path.dentry, IN_MODIFY);
    return err;
}
