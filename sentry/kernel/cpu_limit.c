#include "sentry/kernel/cpu_limit.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include "sentry/kernel/timer.h"
#include <stdlib.h>

#define NSEC_PER_SEC 1000000000ull
/* Between two looks at the clock, at least. */
#define LOOK_MIN_NS 1000000ull

struct cpu_limit {
    struct ktimer ktimer;
    struct thread_group *tg;
};

static uint64_t used_ns(struct thread_group *tg)
{
    struct rusage u;
    thread_group_usage(tg, &u);
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * NSEC_PER_SEC +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000;
}

static uint64_t in_ns(rlim_t seconds)
{
    return seconds < UINT64_MAX / NSEC_PER_SEC ? seconds * NSEC_PER_SEC : UINT64_MAX;
}

/* What is due after `used`: SIGKILL, SIGXCPU (the soft limit moves on then) or 0. next: of the two
 * limits, the one that comes first. */
static int take_due(struct thread_group *tg, uint64_t used, uint64_t *next)
{
    MUTEX_GUARD(&tg->limits_lock);
    struct rlimit *limit = &tg->limits[RLIMIT_CPU];
    int sig = 0;
    *next = UINT64_MAX;
    if (limit->rlim_cur == RLIM_INFINITY)
        return 0;
    if (limit->rlim_max != RLIM_INFINITY && used >= in_ns(limit->rlim_max))
        return SIGKILL;
    if (used >= in_ns(limit->rlim_cur)) {
        limit->rlim_cur++;
        sig = SIGXCPU;
    }
    *next = MIN(in_ns(limit->rlim_cur), in_ns(limit->rlim_max));
    return sig;
}

/* SIGHAND held. The clock cannot run faster than the process has threads. */
static void arm(struct cpu_limit *c, uint64_t used, uint64_t next)
{
    uint64_t left = next > used ? MAX(next - used, LOOK_MIN_NS) : LOOK_MIN_NS;
    left = MIN(left, (uint64_t)INT64_MAX / 2);
    ktimer_arm(&c->ktimer, ktime_after((int64_t)left / MAX(c->tg->live_tasks, 1)));
}

static void fire(struct ktimer *kt)
{
    struct cpu_limit *c = container_of(kt, struct cpu_limit, ktimer);
    struct thread_group *tg = c->tg;
    uint64_t used = used_ns(tg), next;
    MUTEX_GUARD(&tg->sighand_lock);
    if (tg->live_tasks == 0)
        return;
    int sig = take_due(tg, used, &next);
    if (sig) {
        siginfo_t info;
        siginfo_kernel(&info, sig);
        (void)signal_send_locked(tg, NULL, sig, &info);
    }
    if (next != UINT64_MAX)
        arm(c, used, next);
}

static bool is_limited(struct thread_group *tg)
{
    MUTEX_GUARD(&tg->limits_lock);
    return tg->limits[RLIMIT_CPU].rlim_cur != RLIM_INFINITY;
}

int cpu_limit_prepare(struct thread_group *tg)
{
    if (!is_limited(tg))
        return 0;
    int err = ktimer_prepare(tg->kernel);
    struct cpu_limit *c = err ? NULL : calloc(1, sizeof(*c));
    if (!c)
        return err ? err : -ENOMEM;
    ktimer_init(&c->ktimer, tg->kernel, fire);
    c->tg = tg;
    MUTEX_GUARD(&tg->sighand_lock);
    if (tg->cpu_limit)
        free(c);
    else
        tg->cpu_limit = c;
    return 0;
}

void cpu_limit_arm(struct thread_group *tg)
{
    if (!is_limited(tg))
        return;
    uint64_t used = used_ns(tg);
    MUTEX_GUARD(&tg->sighand_lock);
    /* At once: the limit may be used up already. */
    if (tg->cpu_limit && tg->live_tasks > 0)
        arm(tg->cpu_limit, used, used);
}

void cpu_limit_exit(struct thread_group *tg)
{
    struct cpu_limit *c;
    {
        MUTEX_GUARD(&tg->sighand_lock);
        c = tg->cpu_limit;
    }
    if (c)
        ktimer_cancel(&c->ktimer);
}

void cpu_limit_free(struct thread_group *tg)
{
    free(tg->cpu_limit);
}
