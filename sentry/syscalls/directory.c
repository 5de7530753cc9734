/*
 * Directories and names: listing, making, removing, moving; where a process stands.
 */
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/internal.h"
#include "sentry/vfs/notify.h"
#include <string.h>

/* ---- getdents ---- */

/* Entries are gathered here and copied out together: a directory is locked while it is read, and a
 * copy may fault. */
struct dirents {
    struct dir_emitter emitter;
    bool legacy; /* struct linux_dirent */
    char *buf;
    size_t size, used;
    size_t last; /* offset of the last entry */
    bool full;
};

static size_t dirent_header(const struct dirents *b)
{
    return b->legacy ? 18 : 19;
}

/* An entry that did not fit, or a kind that is always there. */
static bool emit_dirent(struct dir_emitter *e, const char *name, size_t len, uint64_t ino,
                        uint8_t type, int64_t next)
{
    struct dirents *b = container_of(e, struct dirents, emitter);
    size_t need = dirent_header(b) + len + 1 + (b->legacy ? 1 : 0);
    need = (need + 7) & ~(size_t)7;
    if (need > b->size - b->used) {
        b->full = true;
        return false;
    }
    char *p = b->buf + b->used;
    uint16_t reclen = (uint16_t)need;
    memset(p, 0, need);
    memcpy(p, &ino, 8);
    memcpy(p + 8, &next, 8);
    memcpy(p + 16, &reclen, 2);
    if (b->legacy)
        p[need - 1] = (char)type;
    else
        p[18] = (char)type;
    memcpy(p + dirent_header(b), name, len);
    b->last = b->used;
    b->used += need;
    return true;
}

static int iterate(struct file *f, struct dirents *b)
{
    struct inode *dir = f->inode;
    if (!f->ops->iterate)
        return -ENOTDIR;
    MUTEX_GUARD(&f->pos_lock);
    rwlock_read(&dir->dir_lock);
    int err = dir->dead ? -ENOENT : f->ops->iterate(f, &b->emitter, &f->pos);
    rwlock_unlock(&dir->dir_lock);
    if (!err) {
        notify_dentry(f->path.dentry, IN_ACCESS);
        file_accessed(f);
    }
    return err;
}

static long do_getdents(struct task *t, const struct sysargs *a, bool legacy)
{
    /* One round of a large buffer is enough: callers come back for more. */
    char local[16384];
    struct dirents b = {.emitter = {.emit = emit_dirent},
                        .legacy = legacy,
                        .buf = local,
                        .size = MIN((size_t)ARG_UINT(a, 2), sizeof local)};
    struct file *f = fd_get(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    int64_t before = f->pos;
    long r = iterate(f, &b);
    if (b.used == 0 && b.full && r == 0)
        r = -EINVAL;
    if (b.used > 0) {
        r = (long)b.used;
        if (mm_copy_out(t->mm, ARG_GVA(a, 1), local, b.used)) {
            f->pos = before;
            r = -EFAULT;
        }
    }
    file_put(f);
    return r;
}

SYSCALL(getdents)
{
    return do_getdents(t, a, true);
}
SYSCALL(getdents64)
{
    return do_getdents(t, a, false);
}

/* ---- where a process stands ---- */

SYSCALL(getcwd)
{
    char buf[PATH_MAX];
    struct path_ref cwd;
    mutex_lock(&t->fs->lock);
    cwd = t->fs->cwd;
    path_get(&cwd);
    mutex_unlock(&t->fs->lock);
    int n = cwd.dentry->inode->dead ? -ENOENT : vfs_path_string(t, &cwd, buf, sizeof buf);
    path_put(&cwd);
    if (n < 0)
        return n;
    if ((uint64_t)n > a->a[1])
        return -ERANGE;
    return mm_copy_out(t->mm, ARG_GVA(a, 0), buf, (size_t)n) ? -EFAULT : n;
}

/* p's reference is taken over. */
static void set_path(struct fs_context *fs, struct path_ref *slot, struct path_ref p)
{
    mutex_lock(&fs->lock);
    struct path_ref old = *slot;
    *slot = p;
    mutex_unlock(&fs->lock);
    path_put(&old);
}

SYSCALL(chdir)
{
    struct pathbuf name;
    struct path_ref p;
    int err = getname(t, ARG_GVA(a, 0), 0, &name);
    if (!err)
        err = vfs_lookup(t, AT_FDCWD, name.s, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &p);
    if (err)
        return err;
    err = inode_permission(p.dentry->inode, t->cred, MAY_EXEC);
    if (err)
        path_put(&p);
    else
        set_path(t->fs, &t->fs->cwd, p);
    return err;
}

SYSCALL(fchdir)
{
    struct file *f = fd_get_path(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    int err = -ENOTDIR;
    if (d_is_dir(f->path.dentry))
        err = inode_permission(f->inode, t->cred, MAY_EXEC);
    if (!err) {
        path_get(&f->path);
        set_path(t->fs, &t->fs->cwd, f->path);
    }
    file_put(f);
    return err;
}

SYSCALL(chroot)
{
    struct pathbuf name;
    struct path_ref p;
    int err = getname(t, ARG_GVA(a, 0), 0, &name);
    if (!err)
        err = vfs_lookup(t, AT_FDCWD, name.s, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &p);
    if (err)
        return err;
    err = inode_permission(p.dentry->inode, t->cred, MAY_EXEC);
    if (!err && !task_capable_here(t, CAP_SYS_CHROOT))
        err = -EPERM;
    if (err)
        path_put(&p);
    else
        set_path(t->fs, &t->fs->root, p);
    return err;
}

/* ---- making and removing names ---- */

static long do_mkdir(struct task *t, int dfd, gva_t path, uint32_t mode)
{
    struct pathbuf name;
    int err = getname(t, path, 0, &name);
    return err ? err : vfs_mkdir(t, dfd, name.s, mode);
}
SYSCALL(mkdir)
{
    return do_mkdir(t, AT_FDCWD, ARG_GVA(a, 0), ARG_UINT(a, 1));
}
SYSCALL(mkdirat)
{
    return do_mkdir(t, ARG_INT(a, 0), ARG_GVA(a, 1), ARG_UINT(a, 2));
}

static long do_mknod(struct task *t, int dfd, gva_t path, uint32_t mode, uint32_t dev)
{
    struct pathbuf name;
    int err = getname(t, path, 0, &name);
    /* The 32-bit device number of the system call: 12 bits of major, 20 of minor. */
    dev_t d = makedev((dev & 0xfff00) >> 8, (dev & 0xff) | (dev >> 12 & 0xfff00));
    return err ? err : vfs_mknod(t, dfd, name.s, mode, d);
}
SYSCALL(mknod)
{
    return do_mknod(t, AT_FDCWD, ARG_GVA(a, 0), ARG_UINT(a, 1), ARG_UINT(a, 2));
}
SYSCALL(mknodat)
{
    return do_mknod(t, ARG_INT(a, 0), ARG_GVA(a, 1), ARG_UINT(a, 2), ARG_UINT(a, 3));
}

static long do_unlink(struct task *t, int dfd, gva_t path, int flags)
{
    struct pathbuf name;
    if (flags & ~AT_REMOVEDIR)
        return -EINVAL;
    int err = getname(t, path, 0, &name);
    return err ? err : vfs_unlink(t, dfd, name.s, flags);
}
SYSCALL(unlink)
{
    return do_unlink(t, AT_FDCWD, ARG_GVA(a, 0), 0);
}
SYSCALL(rmdir)
{
    return do_unlink(t, AT_FDCWD, ARG_GVA(a, 0), AT_REMOVEDIR);
}
SYSCALL(unlinkat)
{
    return do_unlink(t, ARG_INT(a, 0), ARG_GVA(a, 1), ARG_INT(a, 2));
}

static long do_symlink(struct task *t, gva_t target, int dfd, gva_t path)
{
    struct pathbuf to, name;
    int err = getname(t, target, 0, &to);
    if (!err)
        err = getname(t, path, 0, &name);
    return err ? err : vfs_symlink(t, to.s, dfd, name.s);
}
SYSCALL(symlink)
{
    return do_symlink(t, ARG_GVA(a, 0), AT_FDCWD, ARG_GVA(a, 1));
}
SYSCALL(symlinkat)
{
    return do_symlink(t, ARG_GVA(a, 0), ARG_INT(a, 1), ARG_GVA(a, 2));
}

static long do_link(struct task *t, int old_dfd, gva_t old, int dfd, gva_t path, int flags)
{
    struct pathbuf from, to;
    if (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    int err = getname(t, old, flags & AT_EMPTY_PATH ? LOOKUP_EMPTY_PATH : 0, &from);
    if (!err)
        err = getname(t, path, 0, &to);
    return err ? err : vfs_link(t, old_dfd, from.s, dfd, to.s, flags);
}
SYSCALL(link)
{
    return do_link(t, AT_FDCWD, ARG_GVA(a, 0), AT_FDCWD, ARG_GVA(a, 1), 0);
}
SYSCALL(linkat)
{
    return do_link(t, ARG_INT(a, 0), ARG_GVA(a, 1), ARG_INT(a, 2), ARG_GVA(a, 3), ARG_INT(a, 4));
}

static long do_rename(struct task *t, int old_dfd, gva_t old, int dfd, gva_t path, unsigned flags)
{
    struct pathbuf from, to;
    int err = getname(t, old, 0, &from);
    if (!err)
        err = getname(t, path, 0, &to);
    return err ? err : vfs_rename(t, old_dfd, from.s, dfd, to.s, flags);
}
SYSCALL(rename)
{
    return do_rename(t, AT_FDCWD, ARG_GVA(a, 0), AT_FDCWD, ARG_GVA(a, 1), 0);
}
SYSCALL(renameat)
{
    return do_rename(t, ARG_INT(a, 0), ARG_GVA(a, 1), ARG_INT(a, 2), ARG_GVA(a, 3), 0);
}
SYSCALL(renameat2)
{
    return do_rename(t, ARG_INT(a, 0), ARG_GVA(a, 1), ARG_INT(a, 2), ARG_GVA(a, 3), ARG_UINT(a, 4));
}
