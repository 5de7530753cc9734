/*
 * System calls about time: clocks, sleeping, timers.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/posix_timers.h"
#include "sentry/kernel/process.h"
#include "sentry/kernel/timer.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/syscalls/time_args.h"
#include <linux/capability.h>
#include <string.h>
#include <sys/times.h>
#include <sys/timex.h>

#define NSEC_PER_SEC 1000000000ll
#define NSEC_PER_USEC 1000ll
#define NSEC_PER_TICK 10000000ll
#define LAST_CLOCK CLOCK_TAI

/* ---- arguments ---- */

int ns_from_parts(int64_t seconds, int64_t fraction, int64_t per_second, int64_t *ns)
{
    if (seconds < 0 || fraction < 0 || fraction >= per_second)
        return -EINVAL;
    if (seconds >= TIME_LIMIT_NS / NSEC_PER_SEC)
        *ns = TIME_LIMIT_NS;
    else
        *ns = seconds * NSEC_PER_SEC + fraction * (NSEC_PER_SEC / per_second);
    return 0;
}

int copy_in_timespec(struct task *t, gva_t addr, int64_t *ns)
{
    struct timespec ts;
    int err = MM_COPY_IN(t->mm, &ts, addr);
    return err ? err : ns_from_parts(ts.tv_sec, ts.tv_nsec, NSEC_PER_SEC, ns);
}

int copy_in_timeval(struct task *t, gva_t addr, int64_t *ns)
{
    struct timeval tv;
    int err = MM_COPY_IN(t->mm, &tv, addr);
    return err ? err : ns_from_parts(tv.tv_sec, tv.tv_usec, 1000000, ns);
}

int copy_out_timespec(struct task *t, gva_t addr, int64_t ns)
{
    struct timespec ts = {.tv_sec = ns / NSEC_PER_SEC, .tv_nsec = ns % NSEC_PER_SEC};
    return MM_COPY_OUT(t->mm, addr, &ts);
}

int copy_out_timeval(struct task *t, gva_t addr, int64_t ns)
{
    struct timeval tv = {.tv_sec = ns / NSEC_PER_SEC, .tv_usec = ns % NSEC_PER_SEC / NSEC_PER_USEC};
    return MM_COPY_OUT(t->mm, addr, &tv);
}

/* ---- clocks ---- */

SYSCALL(clock_gettime)
{
    int64_t ns = task_clock_now(t, ARG_INT(a, 0));
    return ns < 0 ? ns : copy_out_timespec(t, ARG_GVA(a, 1), ns);
}

static int64_t resolution(struct task *t, clockid_t id)
{
    if (id < 0 || id == CLOCK_PROCESS_CPUTIME_ID || id == CLOCK_THREAD_CPUTIME_ID) {
        int64_t now = task_clock_now(t, id);
        /* The clocks of user and of all time go by ticks, the third one exactly. */
        bool ticks = id < 0 && (id & 3) != 2;
        return now < 0 ? now : ticks ? clock_resolution(CLOCK_MONOTONIC_COARSE) : 1;
    }
    return clock_resolution(id);
}

SYSCALL(clock_getres)
{
    int64_t ns = resolution(t, ARG_INT(a, 0));
    if (ns < 0)
        return ns;
    return a->a[1] ? copy_out_timespec(t, ARG_GVA(a, 1), ns) : 0;
}

/* The clocks are the host's: nobody in the sandbox may set them. */
SYSCALL(clock_settime)
{
    int id = ARG_INT(a, 0);
    int64_t ns;
    if (id < 0 ? resolution(t, id) < 0 : id != CLOCK_REALTIME)
        return -EINVAL;
    int err = copy_in_timespec(t, ARG_GVA(a, 1), &ns);
    return err ? err : -EPERM;
}

SYSCALL(settimeofday)
{
    if (a->a[0]) {
        int64_t ns;
        int err = copy_in_timeval(t, ARG_GVA(a, 0), &ns);
        if (err)
            return err;
    }
    struct timezone tz;
    if (a->a[1] && MM_COPY_IN(t->mm, &tz, ARG_GVA(a, 1)) != 0)
        return -EFAULT;
    return a->a[0] || a->a[1] ? -EPERM : 0;
}

SYSCALL(gettimeofday)
{
    if (a->a[0]) {
        int err = copy_out_timeval(t, ARG_GVA(a, 0), clock_realtime(&t->kernel->clock));
        if (err)
            return err;
    }
    if (!a->a[1])
        return 0;
    struct timezone tz = {0};
    return MM_COPY_OUT(t->mm, ARG_GVA(a, 1), &tz);
}

SYSCALL(time)
{
    int64_t seconds = clock_realtime(&t->kernel->clock) / NSEC_PER_SEC;
    if (a->a[0]) {
        int err = MM_COPY_OUT(t->mm, ARG_GVA(a, 0), &seconds);
        if (err)
            return err;
    }
    return seconds;
}

/* Reading is allowed, changing anything is not. */
static long do_adjtimex(struct task *t, gva_t addr)
{
    struct timex tx;
    int err = MM_COPY_IN(t->mm, &tx, addr);
    if (err)
        return err;
    if (tx.modes && !(tx.modes == 0x8000 /* ADJ_ADJTIME */ || tx.modes == 0xa001))
        return -EPERM;
    memset(&tx, 0, sizeof(tx));
    int64_t now = clock_realtime(&t->kernel->clock);
    tx.time.tv_sec = now / NSEC_PER_SEC;
    tx.time.tv_usec = now % NSEC_PER_SEC / NSEC_PER_USEC;
    tx.tick = 10000;
    tx.status = STA_UNSYNC;
    tx.maxerror = tx.esterror = 16000000;
    tx.constant = 7;
    tx.precision = 1;
    tx.tolerance = 32768000;
    err = MM_COPY_OUT(t->mm, addr, &tx);
    return err ? err : TIME_ERROR;
}

SYSCALL(adjtimex)
{
    return do_adjtimex(t, ARG_GVA(a, 0));
}

SYSCALL(clock_adjtime)
{
    int id = ARG_INT(a, 0);
    if (id > LAST_CLOCK || resolution(t, id) < 0)
        return -EINVAL;
    return id == CLOCK_REALTIME ? do_adjtimex(t, ARG_GVA(a, 1)) : -EOPNOTSUPP;
}

SYSCALL(times)
{
    struct rusage self, children;
    thread_group_usage(t->tg, &self);
    {
        MUTEX_GUARD(&t->kernel->tree_lock);
        children = t->tg->child_usage;
    }
#define TICKS(tv) ((tv).tv_sec * 100 + (tv).tv_usec / 10000)
    struct tms tms = {
        .tms_utime = TICKS(self.ru_utime),
        .tms_stime = TICKS(self.ru_stime),
        .tms_cutime = TICKS(children.ru_utime),
        .tms_cstime = TICKS(children.ru_stime),
    };
    if (a->a[0]) {
        int err = MM_COPY_OUT(t->mm, ARG_GVA(a, 0), &tms);
        if (err)
            return err;
    }
    return clock_monotonic(&t->kernel->clock) / NSEC_PER_TICK;
}

/* ---- sleeping ---- */

/*
 * restart.a: 0 the clock, 1 where the rest of a relative sleep goes (0: nowhere), 2 whether the
 * clock is a CPU clock, 3 its deadline in that clock's ns. restart.deadline: host monotonic.
 */
static long sleep_on(struct task *t, struct restart_block *rb);

static int64_t time_left(struct task *t, const struct restart_block *rb)
{
    if (rb->a[2])
        return (int64_t)rb->a[3] - task_clock_now(t, (clockid_t)rb->a[0]);
    return rb->deadline - ktime_now();
}

/* Sleeps on a CPU clock by looking at it when the time could be used up. */
static int sleep_on_cpu_clock(struct task *t, struct restart_block *rb)
{
    for (;;) {
        int64_t left = time_left(t, rb);
        if (left <= 0)
            return -ETIMEDOUT;
        ktime_t until = ktime_after(MAX(left / MAX(t->tg->live_tasks, 1), (int64_t)1000000));
        int err = task_block(t, &until);
        if (err == -ERESTARTSYS)
            return err;
    }
}

static long sleep_on(struct task *t, struct restart_block *rb)
{
    int err = 0;
    if (rb->a[2])
        err = sleep_on_cpu_clock(t, rb);
    while (!err)
        err = task_block(t, &rb->deadline);
    if (err == -ETIMEDOUT)
        return 0;
    if (!rb->fn)
        return -ERESTARTNOHAND;
    int64_t left = MAX(time_left(t, rb), (int64_t)0);
    if (rb->a[1] && copy_out_timespec(t, rb->a[1], left) != 0)
        return -EFAULT;
    return -ERESTART_RESTARTBLOCK;
}

/* clock_nanosleep and nanosleep. ns: relative or absolute. */
static long do_sleep(struct task *t, clockid_t clock, int64_t ns, bool absolute, gva_t rest)
{
    struct restart_block *rb = &t->restart;
    bool cpu = clock < 0 || clock == CLOCK_PROCESS_CPUTIME_ID;
    *rb = (struct restart_block){.a = {(uint64_t)clock, rest, cpu, 0}};
    /* An absolute sleep is simply made again. */
    rb->fn = absolute ? NULL : sleep_on;
    if (cpu)
        rb->a[3] = (uint64_t)(absolute ? ns : task_clock_now(t, clock) + ns);
    else if (absolute)
        rb->deadline = clock_host_monotonic(&t->kernel->clock, clock, ns);
    else
        rb->deadline = ktime_after(ns);
    return sleep_on(t, rb);
}

SYSCALL(nanosleep)
{
    int64_t ns;
    int err = copy_in_timespec(t, ARG_GVA(a, 0), &ns);
    return err ? err : do_sleep(t, CLOCK_MONOTONIC, ns, false, a->a[1]);
}

SYSCALL(clock_nanosleep)
{
    clockid_t clock = ARG_INT(a, 0);
    bool absolute = a->a[1] & TIMER_ABSTIME;
    if (clock < 0 && (clock & 4) && (~(clock >> 3) == 0 || ~(clock >> 3) == t->own_tid))
        return -EINVAL;
    if (clock == CLOCK_THREAD_CPUTIME_ID || clock == CLOCK_MONOTONIC_RAW ||
        clock == CLOCK_REALTIME_COARSE || clock == CLOCK_MONOTONIC_COARSE)
        return -EOPNOTSUPP;
    int64_t now = task_clock_now(t, clock), ns;
    if (now < 0)
        return now;
    int err = copy_in_timespec(t, ARG_GVA(a, 2), &ns);
    return err ? err : do_sleep(t, clock, ns, absolute, absolute ? 0 : a->a[3]);
}

/* ---- interval timers ---- */

SYSCALL(alarm)
{
    int64_t old, old_interval;
    int err =
        itimer_set(t, ITIMER_REAL, (int64_t)ARG_UINT(a, 0) * NSEC_PER_SEC, 0, &old, &old_interval);
    if (err)
        return err;
    /* Rounded, but never to 0 while an alarm is pending. */
    return old == 0 ? 0 : MAX((old + NSEC_PER_SEC / 2) / NSEC_PER_SEC, 1ll);
}

static int copy_out_itimerval(struct task *t, gva_t addr, int64_t value, int64_t interval)
{
    int err = copy_out_timeval(t, addr, interval);
    return err ? err : copy_out_timeval(t, addr + sizeof(struct timeval), value);
}

SYSCALL(setitimer)
{
    int which = ARG_INT(a, 0);
    int64_t value = 0, interval = 0, old, old_interval;
    if (which < ITIMER_REAL || which > ITIMER_PROF)
        return -EINVAL;
    int err = 0;
    if (a->a[1]) {
        err = copy_in_timeval(t, ARG_GVA(a, 1), &interval);
        if (!err)
            err = copy_in_timeval(t, ARG_GVA(a, 1) + sizeof(struct timeval), &value);
    }
    if (!err)
        err = itimer_set(t, which, value, interval, &old, &old_interval);
    if (err || !a->a[2])
        return err;
    return copy_out_itimerval(t, ARG_GVA(a, 2), old, old_interval);
}

SYSCALL(getitimer)
{
    int which = ARG_INT(a, 0);
    int64_t value, interval;
    if (which < ITIMER_REAL || which > ITIMER_PROF)
        return -EINVAL;
    itimer_get(t, which, &value, &interval);
    return copy_out_itimerval(t, ARG_GVA(a, 1), value, interval);
}

/* ---- POSIX timers ---- */

SYSCALL(timer_create)
{
    struct sigevent ev;
    if (a->a[1]) {
        int err = MM_COPY_IN(t->mm, &ev, ARG_GVA(a, 1));
        if (err)
            return err;
    }
    int id;
    long err = posix_timer_create(t, ARG_INT(a, 0), a->a[1] ? &ev : NULL, &id);
    if (err)
        return err;
    err = MM_COPY_OUT(t->mm, ARG_GVA(a, 2), &id);
    if (err)
        (void)posix_timer_delete(t, id);
    return err;
}

SYSCALL(timer_delete)
{
    return posix_timer_delete(t, ARG_INT(a, 0));
}

static int copy_out_itimerspec(struct task *t, gva_t addr, int64_t value, int64_t interval)
{
    int err = copy_out_timespec(t, addr, interval);
    return err ? err : copy_out_timespec(t, addr + sizeof(struct timespec), value);
}

SYSCALL(timer_settime)
{
    int64_t value, interval, old, old_interval;
    if (!a->a[2])
        return -EINVAL;
    long err = copy_in_timespec(t, ARG_GVA(a, 2), &interval);
    if (!err)
        err = copy_in_timespec(t, ARG_GVA(a, 2) + sizeof(struct timespec), &value);
    if (!err)
        err = posix_timer_set(t, ARG_INT(a, 0), ARG_INT(a, 1) & TIMER_ABSTIME, value, interval,
                              &old, &old_interval);
    if (err || !a->a[3])
        return err;
    return copy_out_itimerspec(t, ARG_GVA(a, 3), old, old_interval);
}

SYSCALL(timer_gettime)
{
    int64_t value, interval;
    long err = posix_timer_get(t, ARG_INT(a, 0), &value, &interval);
    return err ? err : copy_out_itimerspec(t, ARG_GVA(a, 1), value, interval);
}

SYSCALL(timer_getoverrun)
{
    return posix_timer_overrun(t, ARG_INT(a, 0));
}
