/*
 * io_setup, io_destroy, io_submit, io_cancel, io_getevents, io_pgetevents.
 */
#include "sentry/aio/aio.h"
#include "sentry/kernel/signal.h"
#include "sentry/syscalls/poll.h"
#include "sentry/syscalls/syscalls.h"

#define NR_LIMIT (0x10000000u / sizeof(struct io_event))

SYSCALL(io_setup)
{
    unsigned nr = ARG_UINT(a, 0);
    gva_t id;
    if (MM_COPY_IN(t->mm, &id, ARG_GVA(a, 1)))
        return -EFAULT;
    if (id || nr == 0 || nr > NR_LIMIT)
        return -EINVAL;
    int err = aio_setup(t, nr, &id);
    if (err)
        return err;
    if (MM_COPY_OUT(t->mm, ARG_GVA(a, 1), &id)) {
        aio_close(t, id);
        return -EFAULT;
    }
    return 0;
}

SYSCALL(io_destroy)
{
    return aio_close(t, ARG_GVA(a, 0));
}

SYSCALL(io_submit)
{
    long nr = (long)a->a[1], done = 0;
    int err = 0;
    if (nr < 0)
        return -EINVAL;
    struct aio_context *ctx = aio_find(t, ARG_GVA(a, 0));
    if (!ctx)
        return -EINVAL;
    for (; done < nr && !err; done += err ? 0 : 1) {
        gva_t user;
        if (MM_COPY_IN(t->mm, &user, ARG_GVA(a, 2) + (uint64_t)done * sizeof user))
            err = -EFAULT;
        else
            err = aio_submit_one(t, ctx, user);
    }
    aio_put(ctx);
    return done ? done : err;
}

SYSCALL(io_cancel)
{
    struct aio_context *ctx = aio_find(t, ARG_GVA(a, 0));
    if (!ctx)
        return -EINVAL;
    int err = aio_cancel(t, ctx, ARG_GVA(a, 1));
    aio_put(ctx);
    return err;
}

static long get_events(struct task *t, const struct sysargs *a, const ktime_t *deadline)
{
    long min = (long)a->a[1], nr = (long)a->a[2];
    struct aio_context *ctx = aio_find(t, ARG_GVA(a, 0));
    if (!ctx)
        return -EINVAL;
    long r =
        min < 0 || min > nr ? -EINVAL : aio_get_events(t, ctx, min, nr, ARG_GVA(a, 3), deadline);
    aio_put(ctx);
    return r;
}

SYSCALL(io_getevents)
{
    ktime_t at;
    const ktime_t *deadline = &at;
    int err = poll_deadline_timespec(t, ARG_GVA(a, 4), &deadline);
    return err ? err : get_events(t, a, deadline);
}

SYSCALL(io_pgetevents)
{
    struct {
        gva_t mask;
        uint64_t size;
    } sig = {0};
    ktime_t at;
    const ktime_t *deadline = &at;
    int err = poll_deadline_timespec(t, ARG_GVA(a, 4), &deadline);
    if (err)
        return err;
    if (a->a[5] && MM_COPY_IN(t->mm, &sig, ARG_GVA(a, 5)))
        return -EFAULT;
    err = poll_set_mask(t, sig.mask, sig.size);
    if (err)
        return err;
    long r = get_events(t, a, deadline);
    if (r != -EINTR)
        signal_restore_mask(t);
    return r;
}
