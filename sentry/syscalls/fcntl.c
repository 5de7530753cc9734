/*
 * fcntl, flock, ioctl: what is asked of a description.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/fasync.h"
#include "sentry/vfs/internal.h"
#include <asm/ioctls.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/file.h>

#define SETTABLE_FLAGS (O_APPEND | O_NONBLOCK | O_ASYNC | O_DIRECT | O_NOATIME)

static long dup_from(struct task *t, struct file *f, uint64_t arg, bool cloexec)
{
    if (arg >= (uint64_t)task_rlimit(t, RLIMIT_NOFILE) || arg > INT32_MAX)
        return -EINVAL;
    return fd_install(t, f, (int)arg, cloexec);
}

static long set_flags(struct task *t, int fd, struct file *f, unsigned flags)
{
    unsigned old = f->flags;
    if (flags & O_NOATIME && !(old & O_NOATIME) && !inode_owner_or_capable(f->inode, t->cred))
        return -EPERM;
    unsigned settable = SETTABLE_FLAGS & ~(f->ops->can_async ? 0 : (unsigned)O_ASYNC);
    unsigned new = (old & ~settable) | (flags & settable);
    if (new &O_DIRECT && S_ISDIR(f->inode->mode))
        return -EINVAL;
    if (f->ops->set_flags) {
        int err = f->ops->set_flags(f, new);
        if (err)
            return err;
    }
    if ((old ^ new) & O_ASYNC) {
        int err = file_set_async(f, fd, new &O_ASYNC);
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
    long r = f->ops->fcntl ? f->ops->fcntl(f, t, cmd, arg) : -EINVAL;
    if (r != -EINVAL || S_ISFIFO(f->inode->mode))
        return r;
    if (cmd == F_ADD_SEALS && !f->writable)
        return -EPERM;
    return cmd == F_SETPIPE_SZ || cmd == F_GETPIPE_SZ ? -EBADF : -EINVAL;
}

/* How long what is written is expected to live. Nothing here makes use of it, but it is kept. */
static long fcntl_write_hint(struct task *t, struct file *f, unsigned cmd, gva_t arg)
{
    uint64_t hint = f->inode->write_hint;
    if (cmd == F_GET_RW_HINT)
        return MM_COPY_OUT(t->mm, arg, &hint);
    if (!inode_owner_or_capable(f->inode, t->cred))
        return -EPERM;
    if (MM_COPY_IN(t->mm, &hint, arg))
        return -EFAULT;
    if (hint > RWH_WRITE_LIFE_EXTREME)
        return -EINVAL;
    f->inode->write_hint = (uint8_t)hint;
    return 0;
}

/* ---- record locks ---- */

static bool is_lock_command(unsigned cmd)
{
    return cmd == F_GETLK || cmd == F_SETLK || cmd == F_SETLKW || cmd == F_OFD_GETLK ||
           cmd == F_OFD_SETLK || cmd == F_OFD_SETLKW;
}

static long fcntl_lock(struct task *t, int fd, struct file *f, unsigned cmd, gva_t arg)
{
    struct flock fl;
    if (MM_COPY_IN(t->mm, &fl, arg))
        return -EFAULT;
    bool get = cmd == F_GETLK || cmd == F_OFD_GETLK;
    short type = fl.l_type;
    int err = locks_fcntl(t, f, cmd, &fl);
    if (err)
        return err;
    if (get)
        return MM_COPY_OUT(t->mm, arg, &fl);
    if (type == F_UNLCK)
        return 0;
    /* Another thread may have closed the descriptor meanwhile, and its close found no lock yet. */
    struct file *now = fd_get_path(t, fd);
    if (now == f) {
        file_put(now);
        return 0;
    }
    file_put(now);
    if (cmd == F_SETLK || cmd == F_SETLKW)
        locks_close(t->files, f);
    return -EBADF;
}

/* ---- owners ---- */

static long fcntl_setown(struct task *t, struct file *f, int arg)
{
    if (arg == INT32_MIN)
        return -EINVAL;
    int type = arg < 0 ? F_OWNER_PGRP : F_OWNER_PID;
    pid_t pid = arg < 0 ? -arg : arg;
    return file_set_owner(f, t, type, pid);
}

static long fcntl_setown_ex(struct task *t, struct file *f, gva_t arg)
{
    struct f_owner_ex ex;
    if (MM_COPY_IN(t->mm, &ex, arg))
        return -EFAULT;
    if (ex.type != F_OWNER_TID && ex.type != F_OWNER_PID && ex.type != F_OWNER_PGRP)
        return -EINVAL;
    return file_set_owner(f, t, ex.type, ex.pid);
}

static long fcntl_getown_ex(struct task *t, struct file *f, gva_t arg)
{
    struct owner_info o;
    file_get_owner(f, t, &o);
    struct f_owner_ex ex = {.type = o.type, .pid = o.pid};
    return MM_COPY_OUT(t->mm, arg, &ex);
}

static long do_fcntl(struct task *t, int fd, struct file *f, unsigned cmd, uint64_t arg)
{
    struct owner_info o;
    if (is_lock_command(cmd))
        return fcntl_lock(t, fd, f, cmd, arg);
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
        return set_flags(t, fd, f, (unsigned)arg);
    case F_SETOWN:
        return fcntl_setown(t, f, (int)arg);
    case F_GETOWN:
        file_get_owner(f, t, &o);
        return o.type == F_OWNER_PGRP ? -o.pid : o.pid;
    case F_SETOWN_EX:
        return fcntl_setown_ex(t, f, arg);
    case F_GETOWN_EX:
        return fcntl_getown_ex(t, f, arg);
    case F_SETSIG:
        return arg > SIG_MAX ? -EINVAL : file_set_signal(f, (int)arg);
    case F_GETSIG:
        file_get_owner(f, t, &o);
        return o.sig;
    case F_GET_RW_HINT:
    case F_SET_RW_HINT:
        return fcntl_write_hint(t, f, cmd, arg);
    case F_GETLEASE:
        return F_UNLCK; /* nobody can take one */
    default:
        return fcntl_object(t, f, cmd, arg);
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

SYSCALL(flock)
{
    int op = ARG_INT(a, 1), kind = op & ~LOCK_NB;
    if (kind != LOCK_SH && kind != LOCK_EX && kind != LOCK_UN)
        return -EINVAL;
    struct file *f = fd_get(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    int err = locks_flock(t, f, op);
    file_put(f);
    return err;
}

/* ---- ioctl ---- */

static long ioctl_fionbio(struct task *t, int fd, struct file *f, gva_t arg, unsigned flag)
{
    int on;
    if (MM_COPY_IN(t->mm, &on, arg))
        return -EFAULT;
    if (flag == O_ASYNC && !f->ops->can_async && !on != !(f->flags & O_ASYNC))
        return -ENOTTY;
    return set_flags(t, fd, f, on ? f->flags | flag : f->flags & ~flag);
}

/* What the bytes left in a regular file are. */
static long ioctl_fionread(struct task *t, struct file *f, gva_t arg)
{
    int left = (int)((int64_t)f->inode->size - f->pos);
    return MM_COPY_OUT(t->mm, arg, &left);
}

static long ioctl_fioqsize(struct task *t, struct file *f, gva_t arg)
{
    struct kstat st;
    int err = vfs_getattr(&f->path, &st);
    int64_t bytes = (int64_t)st.blocks * 512;
    return err ? err : MM_COPY_OUT(t->mm, arg, &bytes);
}

/* FICLONE: no file system here shares blocks between files, but errors of the caller come first. */
static long ioctl_clone(struct task *t, struct file *f, int source)
{
    struct file *from = fd_get(t, source);
    long r = -EOPNOTSUPP;
    if (!from)
        return -EBADF;
    if (from->inode->sb != f->inode->sb)
        r = -EXDEV;
    else if (S_ISDIR(from->inode->mode) || S_ISDIR(f->inode->mode))
        r = -EISDIR;
    else if (!S_ISREG(from->inode->mode) || !S_ISREG(f->inode->mode))
        r = -EINVAL;
    else if (!from->readable || !f->writable || f->flags & O_APPEND)
        r = -EBADF;
    file_put(from);
    return r;
}

static long ioctl_clone_range(struct task *t, struct file *f, gva_t arg)
{
    struct file_clone_range range;
    if (MM_COPY_IN(t->mm, &range, arg))
        return -EFAULT;
    return ioctl_clone(t, f, (int)range.src_fd);
}

static bool has_blocks(const struct file *f)
{
    return S_ISREG(f->inode->mode) || S_ISDIR(f->inode->mode);
}

static long do_ioctl(struct task *t, int fd, struct file *f, unsigned cmd, uint64_t arg)
{
    switch (cmd) {
    case FIOCLEX:
        return fd_set_cloexec(t, fd, true);
    case FIONCLEX:
        return fd_set_cloexec(t, fd, false);
    case FIONBIO:
        return ioctl_fionbio(t, fd, f, arg, O_NONBLOCK);
    case FIOASYNC:
        return ioctl_fionbio(t, fd, f, arg, O_ASYNC);
    case FIGETBSZ:
        if (has_blocks(f)) {
            int size = PAGE_SIZE;
            return MM_COPY_OUT(t->mm, arg, &size);
        }
        break;
    case FIOQSIZE:
        if (has_blocks(f))
            return ioctl_fioqsize(t, f, arg);
        break;
    case FICLONE:
        return ioctl_clone(t, f, (int)arg);
    case FICLONERANGE:
        return ioctl_clone_range(t, f, arg);
    case FS_IOC_FIEMAP:
        return -EOPNOTSUPP; /* nobody tells where blocks lie */
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
