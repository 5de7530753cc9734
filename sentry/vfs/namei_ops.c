/*
 * Changes to directories: making, removing and moving names. See mkdir(2), unlink(2), rename(2)...
 */
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/notify.h"
#include "sentry/vfs/walk.h"
#include <string.h>

/* ---- who may ---- */

static int may_create(struct inode *dir, const struct cred *cred)
{
    if (dir->dead)
        return -ENOENT;
    return inode_permission(dir, cred, MAY_WRITE | MAY_EXEC);
}

static int may_delete(struct inode *dir, struct dentry *victim, const struct cred *cred,
                      bool want_dir)
{
    int err = inode_permission(dir, cred, MAY_WRITE | MAY_EXEC);
    if (err)
        return err;
    struct inode *i = victim->inode;
    if (dir->mode & S_ISVTX && i->uid != cred->fsuid && dir->uid != cred->fsuid &&
        !inode_capable(i, cred, CAP_FOWNER))
        return -EPERM;
    if (want_dir && !S_ISDIR(i->mode))
        return -ENOTDIR;
    if (!want_dir && S_ISDIR(i->mode))
        return -EISDIR;
    return dir->dead ? -ENOENT : 0;
}

/* ---- making a name ---- */

struct creation {
    struct path_ref parent;
    struct dentry *d; /* negative */
};

/* On 0 the parent's dir_lock is held, and the caller may make c->d. */
static int create_begin(struct task *t, int dfd, const char *path, bool is_dir, struct creation *c)
{
    struct last_name last;
    struct walk w;
    if (!*path)
        return -ENOENT;
    int err = walk_start(&w, t, dfd, path, 0);
    if (err)
        return err;
    err = walk_run(&w, &last);
    if (!err)
        err = walk_take(&w, &c->parent);
    walk_end(&w);
    if (err)
        return err;
    struct inode *dir = c->parent.dentry->inode;
    if (last.len == 0 || last.is_dot) {
        path_put(&c->parent);
        return -EEXIST;
    }
    rwlock_write(&dir->dir_lock);
    err = lookup_one_locked(c->parent.dentry, last.name, last.len, &c->d);
    if (!err) {
        if (c->d->inode)
            err = -EEXIST;
        else if (last.slash && !is_dir)
            err = -ENOENT;
        if (!err)
            err = mount_want_write(c->parent.mnt);
        if (!err)
            err = may_create(dir, t->cred);
        if (err)
            dentry_put(c->d);
    }
    if (err) {
        rwlock_unlock(&dir->dir_lock);
        path_put(&c->parent);
    }
    return err;
}

static void create_end(struct creation *c, int err)
{
    if (!err)
        notify_name(c->parent.dentry->inode, IN_CREATE | notify_isdir(c->d->inode), c->d);
    rwlock_unlock(&c->parent.dentry->inode->dir_lock);
    dentry_put(c->d);
    path_put(&c->parent);
}

static uint32_t apply_umask(struct task *t, uint32_t mode)
{
    return mode & ~t->fs->umask;
}

int vfs_mkdir(struct task *t, int dfd, const char *path, uint32_t mode)
{
    struct creation c;
    int err = create_begin(t, dfd, path, true, &c);
    if (err)
        return err;
    struct inode *dir = c.parent.dentry->inode;
    mode = S_IFDIR | apply_umask(t, mode & (0777 | S_ISVTX));
    err = dir->ops->mkdir ? dir->ops->mkdir(dir, c.d, mode, t->cred) : -EPERM;
    create_end(&c, err);
    return err;
}

int vfs_mknod(struct task *t, int dfd, const char *path, uint32_t mode, dev_t dev)
{
    struct creation c;
    uint32_t type = mode & S_IFMT;
    if (type == S_IFDIR)
        return -EPERM;
    if (type == 0)
        type = S_IFREG;
    if (type != S_IFREG && type != S_IFCHR && type != S_IFBLK && type != S_IFIFO &&
        type != S_IFSOCK)
        return -EINVAL;
    int err = create_begin(t, dfd, path, false, &c);
    if (err)
        return err;
    struct inode *dir = c.parent.dentry->inode;
    mode = inode_strip_foreign_sgid(dir, type | apply_umask(t, mode & 07777), t->cred);
    /* A whiteout, 0/0, is no device: everybody may make one. */
    bool device = (type == S_IFCHR && dev != 0) || type == S_IFBLK;
    if (device && !task_capable(t, CAP_MKNOD))
        err = -EPERM;
    else if (type == S_IFREG)
        err = dir->ops->create ? dir->ops->create(dir, c.d, mode, t->cred) : -EACCES;
    else
        err = dir->ops->mknod ? dir->ops->mknod(dir, c.d, mode, dev, t->cred) : -EPERM;
    create_end(&c, err);
    return err;
}

int vfs_symlink(struct task *t, const char *target, int dfd, const char *path)
{
    struct creation c;
    if (!*target)
        return -ENOENT;
    int err = create_begin(t, dfd, path, false, &c);
    if (err)
        return err;
    struct inode *dir = c.parent.dentry->inode;
    err = dir->ops->symlink ? dir->ops->symlink(dir, c.d, target, t->cred) : -EPERM;
    create_end(&c, err);
    return err;
}

static int link_locked(const struct path_ref *old, const struct creation *c)
{
    struct inode *i = old->dentry->inode, *dir = c->parent.dentry->inode;
    if (S_ISDIR(i->mode))
        return -EPERM;
    if (!dir->ops->link)
        return -EPERM;
    if (i->nlink == 0 && !i->linkable)
        return -ENOENT;
    int err = dir->ops->link(old->dentry, dir, c->d);
    if (!err) {
        i->linkable = false;
        notify_inode(i, IN_ATTRIB); /* the number of links */
    }
    return err;
}

/* As with the sysctl fs.protected_hardlinks: who does not own a file gives it a name only if it is
 * a plain one that he may read and write. Otherwise a set-user-id program would outlive its update.
 */
static int may_link(struct task *t, struct inode *i)
{
    bool gives_group = (i->mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP);
    if (inode_owner_or_capable(i, t->cred))
        return 0;
    if (!S_ISREG(i->mode) || i->mode & S_ISUID || gives_group)
        return -EPERM;
    return inode_permission(i, t->cred, MAY_READ | MAY_WRITE) ? -EPERM : 0;
}

int vfs_link(struct task *t, int old_dfd, const char *old, int dfd, const char *path, int flags)
{
    struct path_ref from;
    struct creation c;
    if (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    if (flags & AT_EMPTY_PATH && !*old && !task_capable(t, CAP_DAC_READ_SEARCH))
        return -ENOENT;
    unsigned lookup = (flags & AT_SYMLINK_FOLLOW ? LOOKUP_FOLLOW : 0) |
                      (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY_PATH : 0);
    int err = vfs_lookup(t, old_dfd, old, lookup, &from);
    if (err)
        return err;
    err = create_begin(t, dfd, path, false, &c);
    if (!err) {
        err = from.mnt != c.parent.mnt ? -EXDEV : may_link(t, from.dentry->inode);
        if (!err)
            err = link_locked(&from, &c);
        create_end(&c, err);
    }
    path_put(&from);
    return err;
}

/* ---- removing a name ---- */

/* The parent and last component of a name that is to go, or to be replaced. */
static int parent_of(struct task *t, int dfd, const char *path, struct path_ref *parent,
                     struct last_name *last)
{
    struct walk w;
    if (!*path)
        return -ENOENT;
    int err = walk_start(&w, t, dfd, path, 0);
    if (err)
        return err;
    err = walk_run(&w, last);
    if (!err)
        err = walk_take(&w, parent);
    walk_end(&w);
    return err;
}

static int unlink_locked(struct task *t, const struct path_ref *parent, struct dentry *d,
                         const struct last_name *last)
{
    struct inode *dir = parent->dentry->inode;
    if (!d->inode)
        return -ENOENT;
    if (last->slash)
        return S_ISDIR(d->inode->mode) ? -EISDIR : -ENOTDIR;
    int err = may_delete(dir, d, t->cred, false);
    if (!err && mount_is_local_point(t, d))
        err = -EBUSY;
    if (!err)
        err = dir->ops->unlink ? dir->ops->unlink(dir, d) : -EPERM;
    if (!err) {
        notify_inode(d->inode, IN_ATTRIB);
        mount_detach_all(d);
        d_delete(d);
        notify_name(dir, IN_DELETE, d);
    }
    return err;
}

static int rmdir_locked(struct task *t, const struct path_ref *parent, struct dentry *d)
{
    struct inode *dir = parent->dentry->inode;
    if (!d->inode)
        return -ENOENT;
    int err = may_delete(dir, d, t->cred, true);
    if (!err && mount_is_local_point(t, d))
        err = -EBUSY;
    if (!err && !dir->ops->rmdir)
        err = -EPERM;
    if (err)
        return err;
    struct inode *victim = d->inode;
    rwlock_write_nested(&victim->dir_lock);
    err = dir->ops->rmdir(dir, d);
    if (!err)
        victim->dead = true;
    rwlock_unlock(&victim->dir_lock);
    if (!err) {
        mount_detach_all(d);
        d_drop_children(d);
        d_delete(d);
        notify_name(dir, IN_DELETE | IN_ISDIR, d);
    }
    return err;
}

int vfs_unlink(struct task *t, int dfd, const char *path, int flags)
{
    struct path_ref parent;
    struct last_name last;
    bool rmdir = flags & AT_REMOVEDIR;
    if (flags & ~AT_REMOVEDIR)
        return -EINVAL;
    int err = parent_of(t, dfd, path, &parent, &last);
    if (err)
        return err;
    if (last.len == 0 || last.is_dot) {
        path_put(&parent);
        if (!rmdir)
            return -EISDIR;
        return last.len == 0 ? -EBUSY : last.len == 1 ? -EINVAL : -ENOTEMPTY;
    }
    err = mount_want_write(parent.mnt); /* before it is seen whether the name is there */
    if (err) {
        path_put(&parent);
        return err;
    }
    struct dentry *d;
    struct inode *dir = parent.dentry->inode, *victim = NULL;
    rwlock_write(&dir->dir_lock);
    err = lookup_one_locked(parent.dentry, last.name, last.len, &d);
    if (!err) {
        /* Freeing the file may take long: not with the directory locked. */
        victim = d->inode;
        if (victim)
            inode_get(victim);
        err = rmdir ? rmdir_locked(t, &parent, d) : unlink_locked(t, &parent, d, &last);
        dentry_put(d);
    }
    rwlock_unlock(&dir->dir_lock);
    if (victim)
        inode_put(victim);
    path_put(&parent);
    return err;
}

/* ---- moving a name ---- */

struct renaming {
    struct task *t;
    unsigned flags;
    struct path_ref old_parent, new_parent;
    struct last_name old_last, new_last;
    struct dentry *old, *new;
};

/* Both parents, a directory before what is below it; otherwise by address. Where others change a
 * tree between two walks, one directory may have two dentries. */
static void rename_lock(struct renaming *r)
{
    struct dentry *a = r->old_parent.dentry, *b = r->new_parent.dentry;
    if (a->inode == b->inode) {
        rwlock_write(&a->inode->dir_lock);
        return;
    }
    mutex_lock(&a->sb->rename_lock);
    if (d_is_ancestor(b, a) || (!d_is_ancestor(a, b) && b < a)) {
        struct dentry *tmp = a;
        a = b;
        b = tmp;
    }
    rwlock_write(&a->inode->dir_lock);
    rwlock_write_nested(&b->inode->dir_lock);
}

static void rename_unlock(struct renaming *r)
{
    struct dentry *a = r->old_parent.dentry, *b = r->new_parent.dentry;
    rwlock_unlock(&a->inode->dir_lock);
    if (a->inode == b->inode)
        return;
    rwlock_unlock(&b->inode->dir_lock);
    mutex_unlock(&a->sb->rename_lock);
}

/* What the names are, and whether they fit together. */
static int rename_check_names(struct renaming *r)
{
    bool exchange = r->flags & RENAME_EXCHANGE;
    struct inode *old_dir = r->old_parent.dentry->inode, *new_dir = r->new_parent.dentry->inode;
    if (!r->old->inode)
        return -ENOENT;
    if (r->flags & RENAME_NOREPLACE && r->new->inode)
        return -EEXIST;
    if (exchange && !r->new->inode)
        return -ENOENT;
    if (exchange && !d_is_dir(r->new) && r->new_last.slash)
        return -ENOTDIR;
    if (!d_is_dir(r->old) && (r->old_last.slash || (!exchange && r->new_last.slash)))
        return -ENOTDIR;
    if (d_is_dir(r->old) &&
        (r->old->inode == new_dir || d_is_ancestor(r->old, r->new_parent.dentry)))
        return -EINVAL;
    if (r->new->inode && d_is_dir(r->new) &&
        (r->new->inode == old_dir || d_is_ancestor(r->new, r->old_parent.dentry)))
        return exchange ? -EINVAL : -ENOTEMPTY;
    return 0;
}

static int rename_check_permissions(struct renaming *r)
{
    const struct cred *cred = r->t->cred;
    struct inode *old_dir = r->old_parent.dentry->inode, *new_dir = r->new_parent.dentry->inode;
    bool is_dir = d_is_dir(r->old), exchange = r->flags & RENAME_EXCHANGE;
    int err = may_delete(old_dir, r->old, cred, is_dir);
    if (!err && !r->new->inode)
        err = may_create(new_dir, cred);
    else if (!err)
        err = may_delete(new_dir, r->new, cred, exchange ? d_is_dir(r->new) : is_dir);
    /* A directory that gets another parent is written to: its ".." changes. */
    if (!err && old_dir != new_dir && is_dir)
        err = inode_permission(r->old->inode, cred, MAY_WRITE);
    if (!err && old_dir != new_dir && exchange && d_is_dir(r->new))
        err = inode_permission(r->new->inode, cred, MAY_WRITE);
    if (!err && (mount_is_local_point(r->t, r->old) || mount_is_local_point(r->t, r->new)))
        err = -EBUSY;
    if (!err && !old_dir->ops->rename)
        err = -EPERM;
    return err;
}

/* i went from one name to another; what was replaced has a link less. */
static void notify_moved(struct inode *i, struct inode *from_dir, const struct last_name *from,
                         struct inode *to_dir, const struct last_name *to, struct inode *victim)
{
    uint32_t cookie = notify_cookie(i->sb), dir = notify_isdir(i);
    notify_name_slow(from_dir, IN_MOVED_FROM | dir, cookie, from->name, from->len);
    notify_name_slow(to_dir, IN_MOVED_TO | dir, cookie, to->name, to->len);
    if (victim)
        notify_inode_slow(victim, IN_ATTRIB);
    notify_inode_slow(i, IN_MOVE_SELF);
}

static void notify_renamed(struct renaming *r, struct inode *moved, struct inode *other)
{
    struct inode *old_dir = r->old_parent.dentry->inode, *new_dir = r->new_parent.dentry->inode;
    bool exchange = r->flags & RENAME_EXCHANGE;
    if (!notify_wanted(old_dir->sb))
        return;
    notify_moved(moved, old_dir, &r->old_last, new_dir, &r->new_last, exchange ? NULL : other);
    if (exchange)
        notify_moved(other, new_dir, &r->new_last, old_dir, &r->old_last, NULL);
}

static int rename_locked(struct renaming *r)
{
    int err = rename_check_names(r);
    if (err)
        return err;
    if (r->old->inode == r->new->inode)
        return 0;
    err = rename_check_permissions(r);
    if (err)
        return err;
    struct inode *old_dir = r->old_parent.dentry->inode, *new_dir = r->new_parent.dentry->inode;
    bool exchange = r->flags & RENAME_EXCHANGE;
    struct inode *victim = !exchange && d_is_dir(r->new) ? r->new->inode : NULL;
    if (victim)
        rwlock_write_nested(&victim->dir_lock);
    err = old_dir->ops->rename(old_dir, r->old, new_dir, r->new, r->flags);
    if (!err && victim)
        victim->dead = true;
    if (victim)
        rwlock_unlock(&victim->dir_lock);
    if (err)
        return err;
    if (!exchange)
        mount_detach_all(r->new);
    if (victim)
        d_drop_children(r->new);
    if (d_move(r->old, r->new, exchange) < 0) {
        /* No memory for the names: forget them, and let the file system tell anew. */
        d_drop(r->old);
        d_drop(r->new);
    }
    notify_renamed(r, r->old->inode, r->new->inode);
    return 0;
}

static int rename_lookup(struct renaming *r)
{
    int err = lookup_one_locked(r->old_parent.dentry, r->old_last.name, r->old_last.len, &r->old);
    if (err)
        return err;
    err = lookup_one_locked(r->new_parent.dentry, r->new_last.name, r->new_last.len, &r->new);
    if (!err) {
        struct inode *victim = r->new->inode;
        if (victim)
            inode_get(victim);
        err = rename_locked(r);
        dentry_put(r->new);
        if (victim)
            inode_put(victim);
    }
    dentry_put(r->old);
    return err;
}

static int rename_parents(struct renaming *r)
{
    if (r->old_parent.mnt != r->new_parent.mnt)
        return -EXDEV;
    if (r->old_last.len == 0 || r->old_last.is_dot)
        return -EBUSY;
    if (r->new_last.len == 0 || r->new_last.is_dot)
        return r->flags & RENAME_NOREPLACE ? -EEXIST : -EBUSY;
    int err = mount_want_write(r->old_parent.mnt);
    if (err)
        return err;
    rename_lock(r);
    err = rename_lookup(r);
    rename_unlock(r);
    return err;
}

int vfs_rename(struct task *t, int old_dfd, const char *old, int new_dfd, const char *path,
               unsigned flags)
{
    struct renaming r = {.t = t, .flags = flags};
    if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT))
        return -EINVAL;
    if (flags & RENAME_EXCHANGE && flags & (RENAME_NOREPLACE | RENAME_WHITEOUT))
        return -EINVAL;
    if (flags & RENAME_WHITEOUT && !task_capable(t, CAP_MKNOD))
        return -EPERM;
    int err = parent_of(t, old_dfd, old, &r.old_parent, &r.old_last);
    if (err)
        return err;
    err = parent_of(t, new_dfd, path, &r.new_parent, &r.new_last);
    if (!err) {
        err = rename_parents(&r);
        path_put(&r.new_parent);
    }
    path_put(&r.old_parent);
    return err;
}
