/*
 * timerfd_create, timerfd_settime, timerfd_gettime.
 */
#include "sentry/vfs/timerfd.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/syscalls/time_args.h"
#include <sys/timerfd.h>

/* struct itimerspec: the interval first. */
#define VALUE_OFFSET sizeof(struct timespec)

SYSCALL(timerfd_create)
{
    clockid_t clock = ARG_INT(a, 0);
    unsigned flags = ARG_UINT(a, 1);
    bool alarm = clock == CLOCK_REALTIME_ALARM || clock == CLOCK_BOOTTIME_ALARM;
    if (flags & ~(unsigned)(TFD_CLOEXEC | TFD_NONBLOCK))
        return -EINVAL;
    if (!alarm && clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC && clock != CLOCK_BOOTTIME)
        return -EINVAL;
    if (alarm && !task_capable(t, CAP_WAKE_ALARM))
        return -EPERM;
    struct file *f;
    int err = timerfd_create_file(t, clock, flags, &f);
    if (err)
        return err;
    int fd = fd_install(t, f, 0, flags & TFD_CLOEXEC);
    file_put(f);
    return fd;
}

static int copy_out_setting(struct task *t, gva_t addr, int64_t value, int64_t interval)
{
    int err = copy_out_timespec(t, addr, interval);
    return err ? err : copy_out_timespec(t, addr + VALUE_OFFSET, value);
}

SYSCALL(timerfd_settime)
{
    int flags = ARG_INT(a, 1);
    int64_t value, interval, old_value, old_interval;
    int err = copy_in_timespec(t, ARG_GVA(a, 2), &interval);
    if (!err)
        err = copy_in_timespec(t, ARG_GVA(a, 2) + VALUE_OFFSET, &value);
    if (!err && flags & ~(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET))
        err = -EINVAL;
    if (err)
        return err;
    struct file *f = fd_get(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    err = timerfd_set(f, flags & TFD_TIMER_ABSTIME, value, interval, &old_value, &old_interval);
    file_put(f);
    if (!err && a->a[3])
        err = copy_out_setting(t, ARG_GVA(a, 3), old_value, old_interval);
    return err;
}

SYSCALL(timerfd_gettime)
{
    int64_t value, interval;
    struct file *f = fd_get(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    int err = timerfd_get(f, &value, &interval);
    file_put(f);
    return err ? err : copy_out_setting(t, ARG_GVA(a, 1), value, interval);
}
