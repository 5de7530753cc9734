/*
 * epoll_create, epoll_ctl, epoll_wait and their variants.
 */
#include "sentry/vfs/epoll.h"
#include "sentry/kernel/timer.h"
#include "sentry/syscalls/poll.h"
#include "sentry/syscalls/syscalls.h"

#define MAX_EVENTS (INT32_MAX / (int)sizeof(struct epoll_event))

static long do_create(struct task *t, bool cloexec)
{
    struct file *f;
    int err = epoll_create_file(t, &f);
    if (err)
        return err;
    int fd = fd_install(t, f, 0, cloexec);
    file_put(f);
    return fd;
}

SYSCALL(epoll_create)
{
    return ARG_INT(a, 0) <= 0 ? -EINVAL : do_create(t, false);
}
SYSCALL(epoll_create1)
{
    unsigned flags = ARG_UINT(a, 0);
    return flags & ~(unsigned)EPOLL_CLOEXEC ? -EINVAL : do_create(t, flags);
}

SYSCALL(epoll_ctl)
{
    struct epoll_event ev = {0};
    int op = ARG_INT(a, 1), fd = ARG_INT(a, 2);
    if (op != EPOLL_CTL_DEL && MM_COPY_IN(t->mm, &ev, ARG_GVA(a, 3)))
        return -EFAULT;
    struct file *epf = fd_get(t, ARG_INT(a, 0));
    struct file *f = epf ? fd_get(t, fd) : NULL;
    long r = f ? epoll_control(epf, op, fd, f, &ev) : -EBADF;
    file_put(f);
    file_put(epf);
    return r;
}

static long do_wait(struct task *t, const struct sysargs *a, const ktime_t *deadline)
{
    int max = ARG_INT(a, 2);
    gva_t events = ARG_GVA(a, 1);
    struct file *epf = fd_get(t, ARG_INT(a, 0));
    struct uio u; /* for its check: addresses that nothing could be at are refused at once */
    if (!epf)
        return -EBADF;
    long r = -EINVAL;
    if (max > 0 && max <= MAX_EVENTS)
        r = uio_init_user(&u, t->mm, events, (uint64_t)max * sizeof(struct epoll_event));
    if (!r)
        r = file_is_epoll(epf) ? epoll_collect(t, epf, events, max, deadline) : -EINVAL;
    file_put(epf);
    return r == -ERESTARTSYS ? -EINTR : r;
}

static long wait_masked(struct task *t, const struct sysargs *a, const ktime_t *deadline)
{
    int err = poll_set_mask(t, ARG_GVA(a, 4), a->a[5]);
    if (err)
        return err;
    long r = do_wait(t, a, deadline);
    if (r != -EINTR)
        signal_restore_mask(t);
    return r;
}

SYSCALL(epoll_wait)
{
    ktime_t deadline;
    return do_wait(t, a, poll_deadline_ms(ARG_INT(a, 3), &deadline));
}
SYSCALL(epoll_pwait)
{
    ktime_t deadline;
    return wait_masked(t, a, poll_deadline_ms(ARG_INT(a, 3), &deadline));
}
SYSCALL(epoll_pwait2)
{
    ktime_t deadline;
    const ktime_t *d = &deadline;
    int err = poll_deadline_timespec(t, ARG_GVA(a, 3), &d);
    return err ? err : wait_masked(t, a, d);
}
