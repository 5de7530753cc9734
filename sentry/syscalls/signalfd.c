/*
 * signalfd, signalfd4.
 */
#include "sentry/vfs/signalfd.h"
#include "sentry/syscalls/syscalls.h"
#include <sys/signalfd.h>

static long do_signalfd(struct task *t, const struct sysargs *a, int flags)
{
    sigset64_t mask;
    int fd = ARG_INT(a, 0);
    struct file *f;
    if (a->a[2] != sizeof mask || flags & ~(SFD_CLOEXEC | SFD_NONBLOCK))
        return -EINVAL;
    if (MM_COPY_IN(t->mm, &mask, ARG_GVA(a, 1)))
        return -EFAULT;
    if (fd != -1) {
        f = fd_get(t, fd);
        int err = f ? signalfd_set_mask(f, mask) : -EBADF;
        file_put(f);
        return err ? err : fd;
    }
    int err = signalfd_create_file(t, mask, (unsigned)flags, &f);
    if (err)
        return err;
    fd = fd_install(t, f, 0, flags & SFD_CLOEXEC);
    file_put(f);
    return fd;
}

SYSCALL(signalfd)
{
    return do_signalfd(t, a, 0);
}
SYSCALL(signalfd4)
{
    return do_signalfd(t, a, ARG_INT(a, 3));
}
