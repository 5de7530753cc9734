/*
 * Opening: from a path and flags to a file description. See open(2), openat2(2).
 */
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/notify.h"
#include "sentry/vfs/walk.h"
#include <string.h>

#define O_TMPFILE_BIT (O_TMPFILE & ~O_DIRECTORY)
#define STALE_TRIES 32
#define OPEN_ONLY_FLAGS (O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC)

static int acc_mode(unsigned flags)
{
    static const uint8_t masks[4] = {MAY_READ, MAY_WRITE, MAY_READ | MAY_WRITE,
                                     MAY_READ | MAY_WRITE};
    return masks[flags & O_ACCMODE] | (flags & O_TRUNC ? MAY_WRITE : 0);
}

int vfs_permission(const struct path_ref *p, const struct cred *cred, int mask)
{
    struct inode *i = p->dentry->inode;
    uint32_t type = i->mode & S_IFMT;
    if (mask & MAY_WRITE && (type == S_IFREG || type == S_IFDIR || type == S_IFLNK)) {
        int err = mount_want_write(p->mnt);
        if (err)
            return err;
    }
    if (mask & MAY_EXEC && type == S_IFREG && p->mnt->flags & MS_NOEXEC)
        return -EACCES;
    return inode_permission(i, cred, mask);
}

/* Whether t may open p so. created: it has just made it, and the mode asks nothing of its maker. */
static int may_open(struct task *t, const struct path_ref *p, unsigned flags, bool created)
{
    struct inode *i = p->dentry->inode;
    uint32_t type = i->mode & S_IFMT;
    if (type == S_IFLNK)
        return -ELOOP;
    if (type == S_IFDIR && (acc_mode(flags) & MAY_WRITE || flags & O_CREAT))
        return -EISDIR;
    if ((type == S_IFCHR || type == S_IFBLK) && p->mnt->flags & MS_NODEV)
        return -EACCES;
    if (!created) {
        int err = vfs_permission(p, t->cred, acc_mode(flags));
        if (err)
            return err;
    }
    if (flags & O_NOATIME && !inode_owner_or_capable(i, t->cred))
        return -EPERM;
    return type == S_IFSOCK ? -ENXIO : 0;
}

static int open_path_only(struct task *t, const struct path_ref *p, unsigned flags,
                          struct file **out)
{
    static const struct file_ops path_ops;
    flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW;
    if (flags & O_DIRECTORY && !d_is_dir(p->dentry))
        return -ENOTDIR;
    *out = file_create(t->kernel, p->mnt, p->dentry, flags, &path_ops, NULL, t->cred);
    return *out ? 0 : -ENOMEM;
}

/* A file that is open for writing keeps its inode from being executed, and its mount writable. */
static int file_get_write(struct file *f)
{
    struct mount *m = f->path.mnt;
    int err = inode_get_write(f->inode);
    if (err)
        return err;
    atomic_fetch_add(&m->writers, 1);
    f->holds_write = true;
    return mount_want_write(m);
}

/* O_TRUNC, which writes even if the file is opened for reading alone. */
static int open_truncate(struct task *t, struct file *f)
{
    int err = f->holds_write ? 0 : inode_get_write(f->inode);
    if (err)
        return err;
    err = vfs_truncate_inode(t, f->inode, 0);
    if (!f->holds_write)
        inode_put_write(f->inode);
    if (!err)
        notify_dentry(f->path.dentry, IN_MODIFY);
    return err;
}

/* Lets the file system open f. On failure f is gone. */
static int file_open(struct task *t, struct file *f, unsigned transient)
{
    static const struct file_ops failed_ops;
    struct inode *i = f->inode;
    int err = 0;
    if (f->writable && S_ISREG(i->mode)) {
        err = file_get_write(f);
    }
    /* For the length of open: an overlay need not copy what is about to go, and a terminal may
     * become the controlling one. */
    f->flags |= transient;
    if (!err && S_ISFIFO(i->mode))
        err = fifo_open(i, f, t);
    else if (!err && i->ops->open)
        err = i->ops->open(i, f, t);
    else if (!err && !i->fops) /* an eventfd, say, through /proc/PID/fd */
        err = -ENXIO;
    f->flags &= ~transient;
    if (err)
        f->ops = &failed_ops; /* never opened: nothing to release */
    f->opened = err == 0;
    if (!err)
        notify_dentry(f->path.dentry, IN_OPEN);
    if (!err && transient & O_TRUNC && S_ISREG(i->mode))
        err = open_truncate(t, f);
    if (err)
        file_put(f);
    return err;
}

static int open_checked(struct task *t, const struct path_ref *p, unsigned flags, bool truncate,
                        struct file **out)
{
    struct inode *i = p->dentry->inode;
    unsigned transient = (flags & O_NOCTTY) | (truncate ? O_TRUNC : 0);
    flags = (flags & ~(unsigned)OPEN_ONLY_FLAGS) | KERNEL_O_LARGEFILE;
    struct file *f = file_create(t->kernel, p->mnt, p->dentry, flags, i->fops, NULL, t->cred);
    if (!f)
        return -ENOMEM;
    int err = file_open(t, f, transient);
    if (!err)
        *out = f;
    return err;
}

int vfs_open_path(struct task *t, const struct path_ref *p, int oflags, struct file **out)
{
    unsigned flags = (unsigned)oflags;
    if (flags & O_PATH)
        return open_path_only(t, p, flags, out);
    if (flags & O_DIRECTORY && !d_is_dir(p->dentry))
        return -ENOTDIR;
    int err = may_open(t, p, flags, false);
    return err ? err : open_checked(t, p, flags, flags & O_TRUNC, out);
}

/* ---- O_CREAT ---- */

/* Makes a regular file in the walk's directory, unless somebody was faster (then *d is positive).
 * d: a new reference. */
static int create_in(struct walk *w, const struct last_name *last, uint32_t mode, bool *created,
                     struct dentry **d)
{
    struct task *t = w->t;
    struct dentry *parent = w->path.dentry;
    struct inode *dir = parent->inode;
    mode = inode_strip_foreign_sgid(dir, mode, t->cred);
    rwlock_write(&dir->dir_lock);
    int err = lookup_one_locked(parent, last->name, last->len, d);
    if (!err && !(*d)->inode) {
        err = mount_want_write(w->path.mnt);
        if (!err && dir->dead)
            err = -ENOENT;
        if (!err)
            err = inode_permission(dir, t->cred, MAY_WRITE | MAY_EXEC);
        if (!err)
            err = dir->ops->create ? dir->ops->create(dir, *d, mode, t->cred) : -EACCES;
        if (err) {
            dentry_put(*d);
        } else {
            *created = true;
            notify_name(dir, IN_CREATE, *d);
        }
    }
    rwlock_unlock(&dir->dir_lock);
    return err;
}

/*
 * One round: the walk stands in the parent of `last`. Opens or makes the file; or, if it is a link
 * to be followed, makes the walk continue with its target (*again).
 */
static int open_last(struct walk *w, const struct last_name *last, const struct open_how *how,
                     bool *again, struct file **out)
{
    struct task *t = w->t;
    unsigned flags = (unsigned)how->flags;
    bool created = false;
    struct dentry *d;
    int err = lookup_one(w->path.dentry, last->name, last->len, &d);
    if (!err && !d->inode) {
        dentry_put(d);
        uint32_t mode = S_IFREG | ((uint32_t)how->mode & 07777 & ~t->fs->umask);
        err = create_in(w, last, mode, &created, &d);
    }
    if (err)
        return err;
    if (!created && flags & O_EXCL) {
        err = -EEXIST;
    } else if (!created && S_ISLNK(d->inode->mode) && !(flags & O_NOFOLLOW)) {
        *again = true;
        err = walk_follow(w, d->inode);
    } else {
        err = walk_step(w, d);
        if (!err)
            err = may_open(t, &w->path, flags, created);
        if (!err)
            err = open_checked(t, &w->path, flags, flags & O_TRUNC && !created, out);
    }
    dentry_put(d);
    return err;
}

/* A path that ends in "/", "." or "..": a directory, and not to be created. */
static int open_directory_last(const struct open_how *how)
{
    return how->flags & O_EXCL ? -EEXIST : -EISDIR;
}

static int open_create(struct task *t, int dfd, const char *path, const struct open_how *how,
                       unsigned lookup, struct file **out)
{
    struct walk w;
    struct last_name last;
    bool again;
    if (how->resolve & RESOLVE_CACHED)
        return -EAGAIN;
    int err = walk_start(&w, t, dfd, path, lookup);
    if (err)
        return err;
    do { /* once for each link that the last component turns out to be */
        again = false;
        err = walk_run(&w, &last);
        if (err)
            break;
        walk_unlazy(&w);
        if (last.len == 0 && w.jumped) {
            err = may_open(t, &w.path, (unsigned)how->flags, false);
            if (!err)
                err = open_checked(t, &w.path, (unsigned)how->flags, how->flags & O_TRUNC, out);
        } else if (last.len == 0 || last.is_dot) {
            err = open_directory_last(how);
        } else if (last.slash) {
            err = -EISDIR;
        } else {
            err = open_last(&w, &last, how, &again, out);
        }
    } while (!err && again);
    walk_end(&w);
    return err;
}

/* ---- O_TMPFILE ---- */

static int open_tmpfile(struct task *t, int dfd, const char *path, const struct open_how *how,
                        unsigned lookup, struct file **out)
{
    struct path_ref dir;
    unsigned flags = (unsigned)how->flags;
    int err = vfs_lookup(t, dfd, path, lookup | LOOKUP_DIRECTORY, &dir);
    if (err)
        return err;
    struct inode *i = NULL, *parent = dir.dentry->inode;
    err = mount_want_write(dir.mnt);
    if (!err)
        err = inode_permission(parent, t->cred, MAY_WRITE | MAY_EXEC);
    uint32_t mode = S_IFREG | ((uint32_t)how->mode & 07777 & ~t->fs->umask);
    mode = inode_strip_foreign_sgid(parent, mode, t->cred);
    if (!err)
        err = parent->ops->tmpfile ? parent->ops->tmpfile(parent, mode, t->cred, &i) : -EOPNOTSUPP;
    if (!err) {
        char name[24];
        snprintf(name, sizeof name, "#%llu", (unsigned long long)i->ino);
        i->linkable = !(flags & O_EXCL);
        struct dentry *d = d_alloc(dir.dentry->sb, dir.dentry, name, strlen(name));
        if (d) {
            d->inode = i;
            struct path_ref p = {.mnt = dir.mnt, .dentry = d};
            err = open_checked(t, &p, flags & ~(unsigned)O_TMPFILE_BIT, false, out);
            dentry_put(d);
        } else {
            inode_put(i);
            err = -ENOMEM;
        }
    }
    path_put(&dir);
    return err;
}

/* ---- the door ---- */

static int open_once(struct task *t, int dfd, const char *path, const struct open_how *how,
                     struct file **out)
{
    unsigned flags = (unsigned)how->flags;
    unsigned lookup = (unsigned)how->resolve << LOOKUP_RESOLVE_SHIFT;
    if (!(flags & O_NOFOLLOW))
        lookup |= LOOKUP_FOLLOW;
    if (!*path)
        return -ENOENT;
    if (!(flags & O_PATH)) {
        if (flags & O_TMPFILE_BIT)
            return open_tmpfile(t, dfd, path, how, lookup, out);
        if (flags & O_CREAT)
            return open_create(t, dfd, path, how, lookup, out);
    }
    struct path_ref p;
    int err = vfs_lookup(t, dfd, path, lookup, &p);
    if (err)
        return err;
    if (S_ISLNK(p.dentry->inode->mode) && !(flags & O_PATH))
        err = flags & O_DIRECTORY ? -ENOTDIR : -ELOOP;
    else
        err = vfs_open_path(t, &p, (int)flags, out);
    path_put(&p);
    return err;
}

/* A file that somebody removed between the walk and the opening is not the file of that name. */
int vfs_open(struct task *t, int dfd, const char *path, const struct open_how *how,
             struct file **out)
{
    int err, tries = 0;
    do
        err = open_once(t, dfd, path, how, out);
    while (err == -ESTALE && ++tries < STALE_TRIES);
    return err;
}

/* ---- programs ---- */

int vfs_open_exec(struct task *t, int dfd, const char *path, int flags, struct file **out)
{
    struct path_ref p;
    if (flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
        return -EINVAL;
    unsigned lookup = (flags & AT_EMPTY_PATH ? LOOKUP_EMPTY_PATH : 0) |
                      (flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW);
    int err = vfs_lookup(t, dfd, path, lookup, &p);
    if (err)
        return err;
    struct inode *i = p.dentry->inode;
    struct file *f = NULL;
    if (S_ISLNK(i->mode))
        err = -ELOOP;
    else if (!S_ISREG(i->mode))
        err = -EACCES;
    else
        err = vfs_permission(&p, t->cred, MAY_EXEC);
    if (!err)
        err = open_checked(t, &p, O_RDONLY, false, &f);
    path_put(&p);
    if (err)
        return err;
    err = inode_deny_write(f->inode);
    f->denies_write = err == 0;
    if (err)
        file_put(f);
    else
        *out = f;
    return err;
}
