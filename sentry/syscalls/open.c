/*
 * Descriptors: opening, closing, duplicating.
 */
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/internal.h"
#include <linux/close_range.h>
#include <string.h>

#define O_TMPFILE_BIT ((uint64_t)(O_TMPFILE & ~O_DIRECTORY))
/* O_SYNC and O_TMPFILE contain O_DSYNC and O_DIRECTORY. */
#define VALID_OPEN_FLAGS                                                                           \
    ((uint64_t)(O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK |        \
                O_SYNC | O_ASYNC | O_DIRECT | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC |   \
                O_PATH | O_TMPFILE) |                                                              \
     KERNEL_O_LARGEFILE)
#define VALID_RESOLVE_FLAGS                                                                        \
    (RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH |             \
     RESOLVE_IN_ROOT | RESOLVE_CACHED)

/* What openat2 refuses; openat has dropped most of it before. */
static int check_how(const struct open_how *how)
{
    if (how->flags & ~VALID_OPEN_FLAGS || how->resolve & ~(uint64_t)VALID_RESOLVE_FLAGS)
        return -EINVAL;
    if ((how->resolve & RESOLVE_BENEATH) && (how->resolve & RESOLVE_IN_ROOT))
        return -EINVAL;
    bool creates = how->flags & (O_CREAT | O_TMPFILE_BIT);
    if (how->mode & ~07777ull || (!creates && how->mode))
        return -EINVAL;
    if ((how->flags & (O_DIRECTORY | O_CREAT)) == (O_DIRECTORY | O_CREAT))
        return -EINVAL;
    if (how->flags & O_TMPFILE_BIT &&
        (!(how->flags & O_DIRECTORY) || (how->flags & O_ACCMODE) == O_RDONLY))
        return -EINVAL;
    if (how->flags & O_PATH &&
        how->flags & ~(uint64_t)(O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC))
        return -EINVAL;
    if (how->resolve & RESOLVE_CACHED && how->flags & (O_TRUNC | O_CREAT | O_TMPFILE_BIT))
        return -EAGAIN;
    return 0;
}

static long do_open(struct task *t, int dfd, gva_t path, const struct open_how *how)
{
    struct pathbuf name;
    struct file *f;
    int err = check_how(how);
    if (!err)
        err = getname(t, path, 0, &name);
    if (!err)
        err = fd_room(t); /* before anything is created or truncated */
    if (!err)
        err = vfs_open(t, dfd, name.s, how, &f);
    if (err)
        return err;
    int fd = fd_install(t, f, 0, how->flags & O_CLOEXEC);
    file_put(f);
    return fd;
}

static long open_legacy(struct task *t, int dfd, gva_t path, uint64_t flags, uint64_t mode)
{
    struct open_how how = {.flags = flags & VALID_OPEN_FLAGS, .mode = mode & 07777};
    if (how.flags & O_PATH)
        how.flags &= O_DIRECTORY | O_NOFOLLOW | O_PATH | O_CLOEXEC;
    if (!(how.flags & (O_CREAT | O_TMPFILE_BIT)))
        how.mode = 0;
    return do_open(t, dfd, path, &how);
}

SYSCALL(open)
{
    return open_legacy(t, AT_FDCWD, ARG_GVA(a, 0), ARG_UINT(a, 1), a->a[2]);
}

SYSCALL(creat)
{
    return open_legacy(t, AT_FDCWD, ARG_GVA(a, 0), O_CREAT | O_WRONLY | O_TRUNC, a->a[1]);
}

SYSCALL(openat)
{
    return open_legacy(t, ARG_INT(a, 0), ARG_GVA(a, 1), ARG_UINT(a, 2), a->a[3]);
}

int copy_in_struct(struct task *t, gva_t addr, uint64_t size, void *out, size_t known)
{
    char extra[256];
    if (size < known)
        return -EINVAL;
    if (size > PAGE_SIZE)
        return -E2BIG;
    if (mm_copy_in(t->mm, out, addr, known))
        return -EFAULT;
    for (uint64_t done = known; done < size;) {
        size_t n = MIN(size - done, sizeof extra);
        if (mm_copy_in(t->mm, extra, addr + done, n))
            return -EFAULT;
        for (size_t i = 0; i < n; i++)
            if (extra[i])
                return -E2BIG;
        done += n;
    }
    return 0;
}

SYSCALL(openat2)
{
    struct open_how how;
    int err = copy_in_struct(t, ARG_GVA(a, 2), a->a[3], &how, sizeof how);
    return err ? err : do_open(t, ARG_INT(a, 0), ARG_GVA(a, 1), &how);
}

SYSCALL(close)
{
    int err = fd_close(t, ARG_INT(a, 0));
    /* The descriptor is gone: nothing can be restarted. */
    return err == -ERESTARTSYS || err == -ERESTARTNOINTR ? -EINTR : err;
}

SYSCALL(close_range)
{
    unsigned first = ARG_UINT(a, 0), last = ARG_UINT(a, 1), flags = ARG_UINT(a, 2);
    if (flags & ~(unsigned)(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) || first > last)
        return -EINVAL;
    if (flags & CLOSE_RANGE_UNSHARE) {
        int err = fd_table_unshare(t);
        if (err)
            return err;
    }
    return fd_close_range(t, first, last, flags & CLOSE_RANGE_CLOEXEC);
}

/* ---- duplicates ---- */

SYSCALL(dup)
{
    struct file *f = fd_get_path(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    int fd = fd_install(t, f, 0, false);
    file_put(f);
    return fd;
}

static long dup_to(struct task *t, int oldfd, int newfd, bool cloexec)
{
    struct file *f = fd_get_path(t, oldfd);
    if (!f)
        return -EBADF;
    int fd = fd_install_at(t, f, newfd, cloexec);
    file_put(f);
    return fd;
}

SYSCALL(dup2)
{
    int oldfd = ARG_INT(a, 0), newfd = ARG_INT(a, 1);
    if (oldfd != newfd)
        return dup_to(t, oldfd, newfd, false);
    return fd_get_cloexec(t, oldfd) < 0 ? -EBADF : newfd;
}

SYSCALL(dup3)
{
    int oldfd = ARG_INT(a, 0), newfd = ARG_INT(a, 1), flags = ARG_INT(a, 2);
    if (flags & ~O_CLOEXEC || oldfd == newfd)
        return -EINVAL;
    return dup_to(t, oldfd, newfd, flags & O_CLOEXEC);
}

SYSCALL(umask)
{
    MUTEX_GUARD(&t->fs->lock);
    uint32_t old = t->fs->umask;
    t->fs->umask = ARG_UINT(a, 0) & 0777;
    return old;
}
