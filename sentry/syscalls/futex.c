/*
 * System calls about futexes.
 */
#include "sentry/kernel/futex.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/timer.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/syscalls/time_args.h"
#include <linux/futex.h>
#include <stdlib.h>

#ifndef FUTEX_LOCK_PI2
#define FUTEX_LOCK_PI2 13
#endif

/* A wait with a timeout goes on until the same instant. a: address, value, shared, bitset. */
static long restart_wait(struct task *t, struct restart_block *rb)
{
    long r =
        futex_wait(t, rb->a[0], rb->a[2], (uint32_t)rb->a[1], (uint32_t)rb->a[3], &rb->deadline);
    return r == -ERESTARTSYS ? -ERESTART_RESTARTBLOCK : r;
}

/* The host instant of a futex timeout. */
static int futex_deadline(struct task *t, gva_t addr, bool relative, clockid_t clock,
                          ktime_t *deadline)
{
    int64_t ns;
    int err = copy_in_timespec(t, addr, &ns);
    if (err)
        return err;
    *deadline = relative ? ktime_after(ns) : clock_host_monotonic(&t->kernel->clock, clock, ns);
    return 0;
}

static long do_wait(struct task *t, const struct sysargs *a, bool shared, uint32_t bitset,
                    const ktime_t *deadline)
{
    long r = futex_wait(t, a->a[0], shared, ARG_UINT(a, 2), bitset, deadline);
    if (r != -ERESTARTSYS || !deadline)
        return r;
    t->restart = (struct restart_block){
        .fn = restart_wait,
        .a = {a->a[0], ARG_UINT(a, 2), shared, bitset},
        .deadline = *deadline,
        .has_deadline = true,
    };
    return -ERESTART_RESTARTBLOCK;
}

static bool takes_timeout(int cmd)
{
    return cmd == FUTEX_WAIT || cmd == FUTEX_WAIT_BITSET || cmd == FUTEX_LOCK_PI ||
           cmd == FUTEX_LOCK_PI2 || cmd == FUTEX_WAIT_REQUEUE_PI;
}

SYSCALL(futex)
{
    int op = ARG_INT(a, 1), cmd = op & FUTEX_CMD_MASK;
    bool shared = !(op & FUTEX_PRIVATE_FLAG), realtime = op & FUTEX_CLOCK_REALTIME;
    gva_t addr = a->a[0], addr2 = a->a[4];
    uint32_t val = ARG_UINT(a, 2), val2 = ARG_UINT(a, 3), val3 = ARG_UINT(a, 5);
    if (realtime && cmd != FUTEX_WAIT_BITSET && cmd != FUTEX_WAIT_REQUEUE_PI &&
        cmd != FUTEX_LOCK_PI2 && cmd != FUTEX_WAIT)
        return -ENOSYS;
    ktime_t deadline, *limit = NULL;
    if (a->a[3] && takes_timeout(cmd)) {
        clockid_t clock = realtime || cmd == FUTEX_LOCK_PI ? CLOCK_REALTIME : CLOCK_MONOTONIC;
        int err = futex_deadline(t, a->a[3], cmd == FUTEX_WAIT, clock, &deadline);
        if (err)
            return err;
        limit = &deadline;
    }
    switch (cmd) {
    case FUTEX_WAIT:
        return do_wait(t, a, shared, FUTEX_ANY_BIT, limit);
    case FUTEX_WAIT_BITSET:
        return do_wait(t, a, shared, val3, limit);
    case FUTEX_WAKE:
        return futex_wake(t, addr, shared, (int)val, FUTEX_ANY_BIT);
    case FUTEX_WAKE_BITSET:
        return futex_wake(t, addr, shared, (int)val, val3);
    case FUTEX_REQUEUE:
        return futex_requeue(t, addr, addr2, shared, (int)val, (int)val2, NULL);
    case FUTEX_CMP_REQUEUE:
        return futex_requeue(t, addr, addr2, shared, (int)val, (int)val2, &val3);
    case FUTEX_WAKE_OP:
        return futex_wake_op(t, addr, addr2, shared, (int)val, (int)val2, val3);
    case FUTEX_LOCK_PI:
    case FUTEX_LOCK_PI2:
        return futex_lock_pi(t, addr, shared, limit, false);
    case FUTEX_TRYLOCK_PI:
        return futex_lock_pi(t, addr, shared, NULL, true);
    case FUTEX_UNLOCK_PI:
        return futex_unlock_pi(t, addr, shared);
    case FUTEX_WAIT_REQUEUE_PI:
        return futex_wait_requeue_pi(t, addr, shared, val, val3 ? val3 : FUTEX_ANY_BIT, addr2,
                                     limit);
    case FUTEX_CMP_REQUEUE_PI:
        return val == 1 ? futex_cmp_requeue_pi(t, addr, addr2, shared, (int)val2, val3) : -EINVAL;
    default:
        return -ENOSYS;
    }
}

struct waitv_user {
    uint64_t value, addr;
    uint32_t flags, reserved;
};
#define WAITV_SIZE_32 2u
#define WAITV_PRIVATE 128u

static int copy_in_waitv(struct task *t, gva_t addr, unsigned n, struct futex_waitv_entry *entries)
{
    for (unsigned i = 0; i < n; i++) {
        struct waitv_user w;
        int err = MM_COPY_IN(t->mm, &w, addr + i * sizeof(w));
        if (err)
            return err;
        if (w.reserved || (w.flags & ~(WAITV_SIZE_32 | WAITV_PRIVATE)) ||
            !(w.flags & WAITV_SIZE_32) || w.value > UINT32_MAX)
            return -EINVAL;
        entries[i].addr = w.addr;
        entries[i].value = (uint32_t)w.value;
        entries[i].shared = !(w.flags & WAITV_PRIVATE);
    }
    return 0;
}

SYSCALL(futex_waitv)
{
    uint64_t n = ARG_UINT(a, 1);
    clockid_t clock = ARG_INT(a, 4);
    ktime_t deadline, *limit = NULL;
    if (a->a[2] || n == 0 || n > FUTEX_WAITV_LIMIT || !a->a[0])
        return -EINVAL;
    if (a->a[3]) {
        if (clock != CLOCK_MONOTONIC && clock != CLOCK_REALTIME)
            return -EINVAL;
        int err = futex_deadline(t, a->a[3], false, clock, &deadline);
        if (err)
            return err;
        limit = &deadline;
    }
    struct futex_waitv_entry entries[FUTEX_WAITV_LIMIT];
    int err = copy_in_waitv(t, a->a[0], (unsigned)n, entries);
    return err ? err : futex_wait_many(t, entries, (unsigned)n, limit);
}

SYSCALL(set_robust_list)
{
    if (a->a[1] != 24)
        return -EINVAL;
    t->robust_list = a->a[0];
    return 0;
}

SYSCALL(get_robust_list)
{
    int pid = ARG_INT(a, 0);
    struct task *other = pid == 0 ? task_get(t) : task_find_for(t, pid);
    if (!other)
        return -ESRCH;
    uint64_t head = 0, length = 24;
    int err = task_may_access(t, other, false) ? 0 : -EPERM;
    if (!err)
        head = other->robust_list;
    task_put(other);
    if (!err)
        err = MM_COPY_OUT(t->mm, ARG_GVA(a, 2), &length);
    return err ? err : MM_COPY_OUT(t->mm, ARG_GVA(a, 1), &head);
}

SYSCALL(set_tid_address)
{
    t->clear_child_tid = a->a[0];
    return t->own_tid;
}
