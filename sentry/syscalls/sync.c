/*
 * Getting data to where it is safe, and hints about what will be needed.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/internal.h"

static long do_fsync(struct task *t, int fd, bool data_only)
{
    struct file *f = fd_get(t, fd);
    if (!f)
        return -EBADF;
    int err = -EINVAL;
    if (f->ops->fsync)
        err = f->ops->fsync(f, 0, INT64_MAX, data_only);
    file_put(f);
    return err;
}
SYSCALL(fsync)
{
    return do_fsync(t, ARG_INT(a, 0), false);
}
SYSCALL(fdatasync)
{
    return do_fsync(t, ARG_INT(a, 0), true);
}

SYSCALL(sync)
{
    vfs_sync_all(t->kernel->vfs);
    return 0;
}

SYSCALL(syncfs)
{
    struct file *f = fd_get(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    struct super_block *sb = f->inode->sb;
    int err = sb->ops->sync ? sb->ops->sync(sb) : 0;
    file_put(f);
    return err;
}

SYSCALL(sync_file_range)
{
    const unsigned known =
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
    int64_t offset = (int64_t)a->a[1], length = (int64_t)a->a[2], end;
    unsigned flags = ARG_UINT(a, 3);
    struct file *f = fd_get(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    int err = 0;
    if (flags & ~known || offset < 0 || length < 0 || __builtin_add_overflow(offset, length, &end))
        err = -EINVAL;
    else if (f->stream || S_ISCHR(f->inode->mode))
        err = -ESPIPE;
    else if (flags && f->ops->fsync)
        err = f->ops->fsync(f, offset, length ? end : INT64_MAX, true);
    file_put(f);
    return err;
}

/* ---- hints: nothing is prefetched, and nothing was promised ---- */

SYSCALL(fadvise64)
{
    int advice = ARG_INT(a, 3);
    struct file *f = fd_get(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    int err = 0;
    if (S_ISFIFO(f->inode->mode))
        err = -ESPIPE;
    else if ((int64_t)a->a[2] < 0 || advice < POSIX_FADV_NORMAL || advice > POSIX_FADV_NOREUSE)
        err = -EINVAL;
    file_put(f);
    return err;
}

SYSCALL(readahead)
{
    struct file *f = fd_get(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    int err = 0;
    if (!f->readable)
        err = -EBADF;
    else if (!S_ISREG(f->inode->mode) && !S_ISBLK(f->inode->mode))
        err = -EINVAL;
    file_put(f);
    return err;
}
