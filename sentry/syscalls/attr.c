/*
 * Changing what is known about files: mode, owner, times, size.
 */
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/internal.h"
#include "sentry/vfs/notify.h"
#include <sys/time.h>
#include <utime.h>

/* ---- mode and owner ---- */

static long chmod_at(struct task *t, int dfd, gva_t path, uint32_t mode, int flags)
{
    struct path_ref p;
    if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    int err = user_path_at(t, dfd, path, flags, &p);
    if (err)
        return err;
    err = vfs_chmod(t, &p, mode);
    path_put(&p);
    return err;
}
SYSCALL(chmod)
{
    return chmod_at(t, AT_FDCWD, ARG_GVA(a, 0), ARG_UINT(a, 1), 0);
}
SYSCALL(fchmodat)
{
    return chmod_at(t, ARG_INT(a, 0), ARG_GVA(a, 1), ARG_UINT(a, 2), 0);
}
SYSCALL(fchmodat2)
{
    return chmod_at(t, ARG_INT(a, 0), ARG_GVA(a, 1), ARG_UINT(a, 2), ARG_INT(a, 3));
}
SYSCALL(fchmod)
{
    struct file *f = fd_get(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    int err = vfs_chmod(t, &f->path, ARG_UINT(a, 1));
    file_put(f);
    return err;
}

/* The caller's ids: one that means nobody is refused. */
static int chown_path(struct task *t, const struct path_ref *p, uid_t uid, gid_t gid)
{
    const struct user_ns *ns = t->cred->user_ns;
    uid_t owner = id_in(ns, ID_UID, uid);
    gid_t group = id_in(ns, ID_GID, gid);
    if ((uid != ID_INVALID && owner == ID_INVALID) || (gid != ID_INVALID && group == ID_INVALID))
        return -EINVAL;
    return vfs_chown(t, p, owner, group);
}

static long chown_at(struct task *t, int dfd, gva_t path, uid_t uid, gid_t gid, int flags)
{
    struct path_ref p;
    if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    int err = user_path_at(t, dfd, path, flags, &p);
    if (err)
        return err;
    err = chown_path(t, &p, uid, gid);
    path_put(&p);
    return err;
}
SYSCALL(chown)
{
    return chown_at(t, AT_FDCWD, ARG_GVA(a, 0), ARG_UINT(a, 1), ARG_UINT(a, 2), 0);
}
SYSCALL(lchown)
{
    return chown_at(t, AT_FDCWD, ARG_GVA(a, 0), ARG_UINT(a, 1), ARG_UINT(a, 2),
                    AT_SYMLINK_NOFOLLOW);
}
SYSCALL(fchownat)
{
    return chown_at(t, ARG_INT(a, 0), ARG_GVA(a, 1), ARG_UINT(a, 2), ARG_UINT(a, 3), ARG_INT(a, 4));
}
SYSCALL(fchown)
{
    struct file *f = fd_get(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    int err = chown_path(t, &f->path, ARG_UINT(a, 1), ARG_UINT(a, 2));
    file_put(f);
    return err;
}

/* ---- times ---- */

static long utimes_fd(struct task *t, int fd, const struct timespec *times)
{
    struct file *f = fd_get(t, fd);
    if (!f)
        return -EBADF;
    int err = vfs_utimes(t, &f->path, times);
    file_put(f);
    return err;
}

/* path NULL: dfd itself. */
static long utimes_at(struct task *t, int dfd, gva_t path, const struct timespec *times, int flags)
{
    struct path_ref p;
    if (!path && dfd != AT_FDCWD)
        return flags & ~AT_EMPTY_PATH ? -EINVAL : utimes_fd(t, dfd, times);
    if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    int err = user_path_at(t, dfd, path, flags, &p);
    if (err)
        return err;
    err = vfs_utimes(t, &p, times);
    path_put(&p);
    return err;
}

SYSCALL(utimensat)
{
    struct timespec times[2];
    gva_t addr = ARG_GVA(a, 2);
    if (addr && mm_copy_in(t->mm, times, addr, sizeof times))
        return -EFAULT;
    /* Nothing to do, whatever the path. */
    if (addr && times[0].tv_nsec == UTIME_OMIT && times[1].tv_nsec == UTIME_OMIT)
        return 0;
    return utimes_at(t, ARG_INT(a, 0), ARG_GVA(a, 1), addr ? times : NULL, ARG_INT(a, 3));
}

static long utimes_timeval(struct task *t, int dfd, gva_t path, gva_t addr)
{
    struct timeval tv[2];
    struct timespec times[2];
    if (!addr)
        return utimes_at(t, dfd, path, NULL, 0);
    if (mm_copy_in(t->mm, tv, addr, sizeof tv))
        return -EFAULT;
    for (int i = 0; i < 2; i++) {
        if (tv[i].tv_usec < 0 || tv[i].tv_usec >= 1000000)
            return -EINVAL;
        times[i] = (struct timespec){.tv_sec = tv[i].tv_sec, .tv_nsec = tv[i].tv_usec * 1000};
    }
    return utimes_at(t, dfd, path, times, 0);
}
SYSCALL(utimes)
{
    return utimes_timeval(t, AT_FDCWD, ARG_GVA(a, 0), ARG_GVA(a, 1));
}
SYSCALL(futimesat)
{
    return utimes_timeval(t, ARG_INT(a, 0), ARG_GVA(a, 1), ARG_GVA(a, 2));
}

SYSCALL(utime)
{
    struct utimbuf buf;
    gva_t addr = ARG_GVA(a, 1);
    if (!addr)
        return utimes_at(t, AT_FDCWD, ARG_GVA(a, 0), NULL, 0);
    if (MM_COPY_IN(t->mm, &buf, addr))
        return -EFAULT;
    struct timespec times[2] = {{.tv_sec = buf.actime}, {.tv_sec = buf.modtime}};
    return utimes_at(t, AT_FDCWD, ARG_GVA(a, 0), times, 0);
}

/* ---- size ---- */

SYSCALL(truncate)
{
    struct path_ref p;
    int64_t size = (int64_t)a->a[1];
    if (size < 0)
        return -EINVAL;
    int err = user_path_at(t, AT_FDCWD, ARG_GVA(a, 0), 0, &p);
    if (err)
        return err;
    err = vfs_truncate(t, &p, (uint64_t)size);
    path_put(&p);
    return err;
}

SYSCALL(ftruncate)
{
    int64_t size = (int64_t)a->a[1];
    if (size < 0)
        return -EINVAL;
    struct file *f = fd_get(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    int err = file_truncate(t, f, (uint64_t)size);
    file_put(f);
    return err;
}

static int check_fallocate(struct task *t, struct file *f, int mode, int64_t offset, int64_t length)
{
    int64_t end;
    if (offset < 0 || length <= 0)
        return -EINVAL;
    if (!f->writable)
        return -EBADF;
    if (f->stream)
        return S_ISFIFO(f->inode->mode) ? -ESPIPE : -ENODEV;
    if (S_ISDIR(f->inode->mode))
        return -EISDIR;
    if (!S_ISREG(f->inode->mode) && !S_ISBLK(f->inode->mode))
        return -ENODEV;
    if (__builtin_add_overflow(offset, length, &end))
        return -EFBIG;
    if (!(mode & FALLOC_FL_KEEP_SIZE) && (uint64_t)end > f->inode->size &&
        (uint64_t)end > task_rlimit(t, RLIMIT_FSIZE)) {
        signal_send_self(t, SIGXFSZ);
        return -EFBIG;
    }
    return f->ops->fallocate ? 0 : -EOPNOTSUPP;
}

SYSCALL(fallocate)
{
    int mode = ARG_INT(a, 1);
    int64_t offset = (int64_t)a->a[2], length = (int64_t)a->a[3];
    struct file *f = fd_get(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    int err = check_fallocate(t, f, mode, offset, length);
    if (!err)
        err = file_remove_privs(f);
    if (!err)
        err = f->ops->fallocate(f, mode, offset, length);
    if (!err)
        notify_dentry(f->path.dentry, IN_MODIFY);
    file_put(f);
    return err;
}
