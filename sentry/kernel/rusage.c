/*
 * CPU time and resource usage. Nothing is counted while a task runs: the host keeps the time of the
 * task's two threads (the sentry's, and the one that runs application code), and is asked when the
 * application asks.
 */
#include "sentry/kernel/host_thread.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include <string.h>
#include <time.h>

static uint64_t host_thread_cpu(struct task *t)
{
    clockid_t clock;
    struct timespec ts;
    if (pthread_getcpuclockid(host_thread_id(t->host), &clock) != 0 ||
        clock_gettime(clock, &ts) != 0)
        return 0;
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t context_cpu(struct task *t)
{
    return t->context && t->context->ops->cpu_time ? t->context->ops->cpu_time(t->context) : 0;
}

static uint64_t above(uint64_t now, uint64_t base)
{
    return now > base ? now - base : 0;
}

void task_usage_begin(struct task *t)
{
    atomic_store(&t->sys_base, host_thread_cpu(t));
}

void task_cpu_time(struct task *t, uint64_t *user, uint64_t *system)
{
    MUTEX_GUARD(&t->lock);
    if (!t->context) {
        *user = atomic_load(&t->final_utime);
        *system = atomic_load(&t->final_stime);
        return;
    }
    *user = context_cpu(t);
    *system = above(host_thread_cpu(t), atomic_load(&t->sys_base));
}

void task_usage_end(struct task *t)
{
    uint64_t user, system;
    task_cpu_time(t, &user, &system);
    atomic_store(&t->final_utime, user);
    atomic_store(&t->final_stime, system);
}

static struct timeval timeval_of(uint64_t ns)
{
    return (struct timeval){.tv_sec = (time_t)(ns / 1000000000u),
                            .tv_usec = (suseconds_t)(ns % 1000000000u / 1000)};
}

static void timeval_add(struct timeval *to, const struct timeval *from)
{
    to->tv_sec += from->tv_sec;
    to->tv_usec += from->tv_usec;
    if (to->tv_usec >= 1000000) {
        to->tv_usec -= 1000000;
        to->tv_sec++;
    }
}

void rusage_add(struct rusage *to, const struct rusage *from)
{
    timeval_add(&to->ru_utime, &from->ru_utime);
    timeval_add(&to->ru_stime, &from->ru_stime);
    to->ru_maxrss = MAX(to->ru_maxrss, from->ru_maxrss);
    to->ru_minflt += from->ru_minflt;
    to->ru_majflt += from->ru_majflt;
    to->ru_inblock += from->ru_inblock;
    to->ru_oublock += from->ru_oublock;
    to->ru_nvcsw += from->ru_nvcsw;
    to->ru_nivcsw += from->ru_nivcsw;
}

void rusage_note_memory(struct thread_group *tg, struct mm *mm)
{
    uint64_t peak = mm_peak_rss(mm);
    if (peak > atomic_load(&tg->max_rss))
        atomic_store(&tg->max_rss, peak);
}

void task_usage(struct task *t, struct rusage *out)
{
    uint64_t user, system;
    task_cpu_time(t, &user, &system);
    memset(out, 0, sizeof(*out));
    out->ru_utime = timeval_of(user);
    out->ru_stime = timeval_of(system);
    out->ru_minflt = (long)atomic_load(&t->min_faults);
    out->ru_majflt = (long)atomic_load(&t->maj_faults);
    out->ru_nvcsw = (long)atomic_load(&t->nvcsw);
    out->ru_nivcsw = (long)atomic_load(&t->nivcsw);
    out->ru_maxrss = (long)(atomic_load(&t->tg->max_rss) / 1024);
}

void thread_group_usage(struct thread_group *tg, struct rusage *out)
{
    MUTEX_GUARD(&tg->kernel->tree_lock);
    *out = tg->dead_usage;
    struct task *t;
    list_for_each (t, &tg->tasks, group_link) {
        if (t->left)
            continue;
        struct rusage one;
        task_usage(t, &one);
        rusage_add(out, &one);
    }
}
