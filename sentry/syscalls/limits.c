/*
 * Resource limits and usage.
 */
#include "sentry/kernel/cpu_limit.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include "sentry/syscalls/syscalls.h"
#include <linux/capability.h>
#include <string.h>

#define NR_OPEN_MAX (1u << 20)

static int check_new_limit(struct task *t, int which, const struct rlimit *old,
                           const struct rlimit *new)
{
    if (new->rlim_cur > new->rlim_max)
        return -EINVAL;
    if (which == RLIMIT_NOFILE && new->rlim_max > NR_OPEN_MAX)
        return -EPERM;
    if (new->rlim_max > old->rlim_max && !task_capable(t, CAP_SYS_RESOURCE))
        return -EPERM;
    return 0;
}

/* Swaps in a new limit; either may be NULL. */
static int do_prlimit(struct task *t, struct thread_group *tg, unsigned which,
                      const struct rlimit *new, struct rlimit *old)
{
    if (which >= RLIM_NLIMITS)
        return -EINVAL;
    {
        MUTEX_GUARD(&tg->limits_lock);
        struct rlimit *limit = &tg->limits[which];
        struct rlimit was = *limit;
        if (new) {
            int err = check_new_limit(t, (int)which, limit, new);
            if (err)
                return err;
            *limit = *new;
        }
        if (old)
            *old = was;
    }
    if (!new)
        return 0;
    limits_apply(tg);
    int err = which == RLIMIT_CPU ? cpu_limit_prepare(tg) : 0;
    if (!err && which == RLIMIT_CPU)
        cpu_limit_arm(tg);
    return err;
}

SYSCALL(getrlimit)
{
    struct rlimit old;
    int err = do_prlimit(t, t->tg, ARG_UINT(a, 0), NULL, &old);
    return err ? err : MM_COPY_OUT(t->mm, ARG_GVA(a, 1), &old);
}

SYSCALL(setrlimit)
{
    struct rlimit new;
    int err = MM_COPY_IN(t->mm, &new, ARG_GVA(a, 1));
    return err ? err : do_prlimit(t, t->tg, ARG_UINT(a, 0), &new, NULL);
}

static int may_prlimit(struct task *t, struct task *other)
{
    if (other->tg == t->tg)
        return 0;
    const struct cred *mine = t->cred, *theirs = task_get_cred(other);
    bool same = mine->uid == theirs->euid && mine->uid == theirs->suid &&
                mine->uid == theirs->uid && mine->gid == theirs->egid &&
                mine->gid == theirs->sgid && mine->gid == theirs->gid;
    same = same || cred_capable_in(mine, theirs->user_ns, CAP_SYS_RESOURCE);
    cred_put(theirs);
    return same ? 0 : -EPERM;
}

SYSCALL(prlimit64)
{
    int pid = ARG_INT(a, 0);
    struct rlimit new, old;
    if (ARG_UINT(a, 1) >= RLIM_NLIMITS)
        return -EINVAL;
    if (a->a[2]) {
        int err = MM_COPY_IN(t->mm, &new, ARG_GVA(a, 2));
        if (err)
            return err;
    }
    struct task *other = pid == 0 ? task_get(t) : task_find_for(t, pid);
    if (!other)
        return -ESRCH;
    int err = may_prlimit(t, other);
    if (!err)
        err = do_prlimit(t, other->tg, ARG_UINT(a, 1), a->a[2] ? &new : NULL, &old);
    task_put(other);
    if (err || !a->a[3])
        return err;
    return MM_COPY_OUT(t->mm, ARG_GVA(a, 3), &old);
}

/* What the address space has seen at most, in KiB, as ru_maxrss wants it. */
static long max_rss_kib(struct task *t)
{
    struct mm_stats stats;
    mm_get_stats(t->mm, &stats);
    return (long)(stats.rss_peak / 1024);
}

SYSCALL(getrusage)
{
    struct rusage usage;
    switch (ARG_INT(a, 0)) {
    case RUSAGE_SELF:
        thread_group_usage(t->tg, &usage);
        usage.ru_maxrss = MAX(usage.ru_maxrss, max_rss_kib(t));
        break;
    case RUSAGE_THREAD:
        task_usage(t, &usage);
        usage.ru_maxrss = MAX(usage.ru_maxrss, max_rss_kib(t));
        break;
    case RUSAGE_CHILDREN: {
        MUTEX_GUARD(&t->kernel->tree_lock);
        usage = t->tg->child_usage;
        break;
    }
    default:
        return -EINVAL;
    }
    return MM_COPY_OUT(t->mm, ARG_GVA(a, 1), &usage);
}
