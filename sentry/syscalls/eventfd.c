/*
 * eventfd, eventfd2.
 */
#include "sentry/vfs/eventfd.h"
#include "sentry/syscalls/syscalls.h"
#include <sys/eventfd.h>

static long do_eventfd(struct task *t, uint32_t count, int flags)
{
    struct file *f;
    if (flags & ~(EFD_SEMAPHORE | EFD_CLOEXEC | EFD_NONBLOCK))
        return -EINVAL;
    int err = eventfd_create_file(t, count, flags, &f);
    if (err)
        return err;
    int fd = fd_install(t, f, 0, flags & EFD_CLOEXEC);
    file_put(f);
    return fd;
}

SYSCALL(eventfd)
{
    return do_eventfd(t, ARG_UINT(a, 0), 0);
}
SYSCALL(eventfd2)
{
    return do_eventfd(t, ARG_UINT(a, 0), ARG_INT(a, 1));
}
