/*
 * fcntl, ioctl: what is asked of a description.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/internal.h"
#include <asm/ioctls.h>
#include <linux/fs.h>

#define SETTABLE_FLAGS (O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT | O_NOATIME)

static long dup_from(struct task *t, struct file *f, uint64_t arg, bool cloexec)
{
    if (arg >= (uint64_t)task_rlimit(t, RLIMIT_NOFILE) || arg > INT32_MAX)
        return -EINVAL;
    return fd_install(t, f, (int)arg, cloexec);
}

static long set_flags(struct task *t, struct file *f, unsigned flags)
{
    unsigned old = f->flags;
    if (flags & O_NOATIME && !(old & O_NOATIME) && !inode_owner_or_capable(f->inode, t->cred))
        return -EPERM;
    unsigned new = (old & ~(unsigned)SETTABLE_FLAGS) | (flags & SETTABLE_FLAGS);
    if (f->ops->set_flags) {
        int err = f->ops->set_flags(f, new);
        if (err)
            return err;
    }
    f->flags = new;
    return 0;
}

/* The commands that a description opened with O_PATH allows as well. */
static bool fcntl_path_ok(unsigned cmd)
{
    return cmd == F_DUPFD || cmd == F_DUPFD_CLOEXEC || cmd == F_GETFD || cmd == F_SETFD ||
           cmd == F_GETFL;
}

static long fcntl_object(struct task *t, struct file *f, unsigned cmd, uint64_t arg)
{
    if (f->ops->fcntl)
        return f->ops->fcntl(f, t, cmd, arg);
    return cmd == F_SETPIPE_SZ || cmd == F_GETPIPE_SZ ? -EBADF : -EINVAL;
}

static long do_fcntl(struct task *t, int fd, struct file *f, unsigned cmd, uint64_t arg)
{
    switch (cmd) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
        return dup_from(t, f, arg, cmd == F_DUPFD_CLOEXEC);
    case F_GETFD:
        return fd_get_cloexec(t, fd);
    case F_SETFD:
        return fd_set_cloexec(t, fd, arg & FD_CLOEXEC);
    case F_GETFL:
        return f->flags;
    case F_SETFL:
        return set_flags(t, f, (unsigned)arg);
    case F_ADD_SEALS:
    case F_GET_SEALS:
    case F_SETPIPE_SZ:
    case F_GETPIPE_SZ:
        return fcntl_object(t, f, cmd, arg);
    default:
        return -EINVAL;
    }
}

SYSCALL(fcntl)
{
    int fd = ARG_INT(a, 0);
    unsigned cmd = ARG_UINT(a, 1);
    struct file *f = fd_get_path(t, fd);
    if (!f)
        return -EBADF;
    long r = -EBADF;
    if (!(f->flags & O_PATH) || fcntl_path_ok(cmd))
        r = do_fcntl(t, fd, f, cmd, a->a[2]);
    file_put(f);
    return r;
}

/* ---- ioctl ---- */

static long ioctl_fionbio(struct task *t, struct file *f, gva_t arg, unsigned flag)
{
    int on;
    if (MM_COPY_IN(t->mm, &on, arg))
        return -EFAULT;
    return set_flags(t, f, on ? f->flags | flag : f->flags & ~flag);
}

/* What the bytes left in a regular file are. */
static long ioctl_fionread(struct task *t, struct file *f, gva_t arg)
{
    int left = (int)((int64_t)f->inode->size - f->pos);
    return MM_COPY_OUT(t->mm, arg, &left);
}

static long do_ioctl(struct task *t, int fd, struct file *f, unsigned cmd, uint64_t arg)
{
    switch (cmd) {
    case FIOCLEX:
        return fd_set_cloexec(t, fd, true);
    case FIONCLEX:
        return fd_set_cloexec(t, fd, false);
    case FIONBIO:
        return ioctl_fionbio(t, f, arg, O_NONBLOCK);
    case FIOASYNC:
        return ioctl_fionbio(t, f, arg, O_ASYNC);
    case FIGETBSZ:
        if (S_ISREG(f->inode->mode) || S_ISDIR(f->inode->mode)) {
            int size = PAGE_SIZE;
            return MM_COPY_OUT(t->mm, arg, &size);
        }
        break;
    case FIONREAD:
        if (S_ISREG(f->inode->mode))
            return ioctl_fionread(t, f, arg);
        break;
    default:
        break;
    }
    return f->ops->ioctl ? f->ops->ioctl(f, t, cmd, arg) : -ENOTTY;
}

SYSCALL(ioctl)
{
    int fd = ARG_INT(a, 0);
    struct file *f = fd_get(t, fd);
    if (!f)
        return -EBADF;
    long r = do_ioctl(t, fd, f, ARG_UINT(a, 1), a->a[2]);
    file_put(f);
    return r;
}
