/*
 * Scheduling: affinity, policies and priorities are kept and told, as on a machine whose scheduler
 * has nothing to decide between; the host's scheduler runs the threads as it sees fit.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/syscalls/time_args.h"
#include <linux/capability.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RT_PRIORITY_MAX 99
#define POLICY_DEADLINE 6
#define FLAG_RESET_ON_FORK 1u
#define RR_INTERVAL_NS 100000000
#define SCHED_FLAG_KNOWN 0x7f
#define SCHED_FLAG_KEEP_POLICY 0x08u
#define SCHED_FLAG_KEEP_PARAMS 0x10u
#define SCHED_FLAG_UTIL_CLAMP 0x60u
#define SCHED_ATTR_V0 48u

/* As sched_setattr(2) lays it out. */
struct sched_attr {
    uint32_t size, sched_policy;
    uint64_t sched_flags;
    int32_t sched_nice;
    uint32_t sched_priority;
    uint64_t sched_runtime, sched_deadline, sched_period;
    uint32_t sched_util_min, sched_util_max;
};

SYSCALL(sched_yield)
{
    if (t->context->ops->yield)
        t->context->ops->yield(t->context);
    else
        sched_yield();
    return 0;
}

/* Task `pid` (0: our own), referenced. */
static struct task *find(struct task *t, pid_t pid)
{
    return pid == 0 ? task_get(t) : task_find_for(t, pid);
}

/* Whether t may change the other's scheduling. */
static bool may_change(struct task *t, struct task *other)
{
    const struct cred *theirs = task_get_cred(other);
    bool ok = t->cred->euid == theirs->euid || t->cred->euid == theirs->uid ||
              cred_capable_in(t->cred, theirs->user_ns, CAP_SYS_NICE);
    cred_put(theirs);
    return ok;
}

/* ---- affinity ---- */

SYSCALL(sched_setaffinity)
{
    uint64_t mask[TASK_CPUSET_WORDS] = {0};
    size_t length = MIN((uint64_t)ARG_UINT(a, 1), (uint64_t)sizeof(mask));
    int err = mm_copy_in(t->mm, mask, ARG_GVA(a, 2), length);
    if (err)
        return err;
    struct task *other = find(t, ARG_INT(a, 0));
    if (!other)
        return -ESRCH;
    uint64_t any = 0;
    for (int i = 0; i < TASK_CPUSET_WORDS; i++) {
        int left = t->kernel->ncpus - i * 64;
        mask[i] &= left >= 64 ? ~0ull : left > 0 ? (1ull << left) - 1 : 0;
        any |= mask[i];
    }
    if (!may_change(t, other))
        err = -EPERM;
    else if (!any)
        err = -EINVAL;
    for (int i = 0; i < TASK_CPUSET_WORDS && !err; i++)
        atomic_store(&other->cpuset[i], mask[i]);
    if (!err)
        task_apply_cpuset(other);
    task_put(other);
    return err;
}

SYSCALL(sched_getaffinity)
{
    unsigned length = ARG_UINT(a, 1);
    uint64_t mask[TASK_CPUSET_WORDS];
    size_t words = (size_t)(t->kernel->ncpus + 63) / 64;
    if (length < words * sizeof(uint64_t) || length % sizeof(uint64_t))
        return -EINVAL;
    struct task *other = find(t, ARG_INT(a, 0));
    if (!other)
        return -ESRCH;
    for (int i = 0; i < TASK_CPUSET_WORDS; i++)
        mask[i] = atomic_load(&other->cpuset[i]);
    task_put(other);
    size_t n = MIN((size_t)length, words * sizeof(uint64_t));
    int err = mm_copy_out(t->mm, ARG_GVA(a, 2), mask, n);
    return err ? err : (long)n;
}

SYSCALL(getcpu)
{
    unsigned cpu = 0, node = 0;
    syscall(SYS_getcpu, &cpu, &node, NULL);
    cpu %= (unsigned)t->kernel->ncpus;
    node = 0;
    int err = a->a[0] ? MM_COPY_OUT(t->mm, ARG_GVA(a, 0), &cpu) : 0;
    if (!err && a->a[1])
        err = MM_COPY_OUT(t->mm, ARG_GVA(a, 1), &node);
    return err;
}

/* ---- policies ---- */

static bool is_realtime(int policy)
{
    return policy == SCHED_FIFO || policy == SCHED_RR;
}

static int check_policy(int policy, int priority)
{
    switch (policy) {
    case SCHED_OTHER:
    case SCHED_BATCH:
    case SCHED_IDLE:
        return priority == 0 ? 0 : -EINVAL;
    case SCHED_FIFO:
    case SCHED_RR:
        return priority >= 1 && priority <= RT_PRIORITY_MAX ? 0 : -EINVAL;
    default:
        return -EINVAL;
    }
}

static int may_set_policy(struct task *t, struct task *other, int policy, int priority)
{
    if (task_capable(t, CAP_SYS_NICE))
        return 0;
    if (!may_change(t, other))
        return -EPERM;
    if (is_realtime(policy)) {
        uint64_t limit = task_rlimit(other, RLIMIT_RTPRIO);
        int now = atomic_load(&other->sched_priority);
        bool same = policy == atomic_load(&other->sched_policy);
        if ((!same && !limit) || (priority > now && (uint64_t)priority > limit))
            return -EPERM;
    }
    /* To leave SCHED_IDLE is to ask for more. */
    uint64_t limit = task_rlimit(other, RLIMIT_NICE);
    if (atomic_load(&other->sched_policy) == SCHED_IDLE && policy != SCHED_IDLE &&
        limit != RLIM_INFINITY && 20 - (int64_t)limit > atomic_load(&other->nice))
        return -EPERM;
    return 0;
}

static long set_policy(struct task *t, pid_t pid, int policy, int priority, bool reset_on_fork)
{
    struct task *other = find(t, pid);
    if (!other)
        return -ESRCH;
    int err = check_policy(policy, priority);
    if (!err)
        err = may_set_policy(t, other, policy, priority);
    if (!err && !reset_on_fork && atomic_load(&other->sched_reset_on_fork) &&
        !task_capable(t, CAP_SYS_NICE))
        err = -EPERM;
    if (!err) {
        atomic_store(&other->sched_policy, policy);
        atomic_store(&other->sched_priority, priority);
        atomic_store(&other->sched_reset_on_fork, reset_on_fork);
    }
    task_put(other);
    return err;
}

SYSCALL(sched_setscheduler)
{
    int pid = ARG_INT(a, 0), policy = ARG_INT(a, 1), priority;
    if (pid < 0 || policy < 0 || !a->a[2])
        return -EINVAL;
    int err = MM_COPY_IN(t->mm, &priority, ARG_GVA(a, 2));
    if (err)
        return err;
    return set_policy(t, pid, policy & ~SCHED_RESET_ON_FORK, priority,
                      policy & SCHED_RESET_ON_FORK);
}

SYSCALL(sched_getscheduler)
{
    if (ARG_INT(a, 0) < 0)
        return -EINVAL;
    struct task *other = find(t, ARG_INT(a, 0));
    if (!other)
        return -ESRCH;
    long r = atomic_load(&other->sched_policy);
    if (atomic_load(&other->sched_reset_on_fork))
        r |= SCHED_RESET_ON_FORK;
    task_put(other);
    return r;
}

SYSCALL(sched_setparam)
{
    int pid = ARG_INT(a, 0), priority;
    if (pid < 0 || !a->a[1])
        return -EINVAL;
    int err = MM_COPY_IN(t->mm, &priority, ARG_GVA(a, 1));
    if (err)
        return err;
    struct task *other = find(t, pid);
    if (!other)
        return -ESRCH;
    int policy = atomic_load(&other->sched_policy);
    bool reset = atomic_load(&other->sched_reset_on_fork);
    task_put(other);
    return set_policy(t, pid, policy, priority, reset);
}

SYSCALL(sched_getparam)
{
    if (ARG_INT(a, 0) < 0 || !a->a[1])
        return -EINVAL;
    struct task *other = find(t, ARG_INT(a, 0));
    if (!other)
        return -ESRCH;
    int priority = atomic_load(&other->sched_priority);
    task_put(other);
    return MM_COPY_OUT(t->mm, ARG_GVA(a, 1), &priority);
}

SYSCALL(sched_get_priority_max)
{
    int policy = ARG_INT(a, 0);
    if (is_realtime(policy))
        return RT_PRIORITY_MAX;
    return policy == SCHED_OTHER || policy == SCHED_BATCH || policy == SCHED_IDLE ||
                   policy == POLICY_DEADLINE
               ? 0
               : -EINVAL;
}

SYSCALL(sched_get_priority_min)
{
    int policy = ARG_INT(a, 0);
    if (is_realtime(policy))
        return 1;
    return policy == SCHED_OTHER || policy == SCHED_BATCH || policy == SCHED_IDLE ||
                   policy == POLICY_DEADLINE
               ? 0
               : -EINVAL;
}

SYSCALL(sched_rr_get_interval)
{
    if (ARG_INT(a, 0) < 0)
        return -EINVAL;
    struct task *other = find(t, ARG_INT(a, 0));
    if (!other)
        return -ESRCH;
    int policy = atomic_load(&other->sched_policy);
    task_put(other);
    int64_t ns = policy == SCHED_RR ? RR_INTERVAL_NS : policy == SCHED_FIFO ? 0 : 4000000;
    return copy_out_timespec(t, ARG_GVA(a, 1), ns);
}

SYSCALL(sched_getattr)
{
    unsigned size = ARG_UINT(a, 2);
    if (!a->a[1] || ARG_INT(a, 0) < 0 || size > PAGE_SIZE || size < SCHED_ATTR_V0 || a->a[3])
        return -EINVAL;
    struct task *other = find(t, ARG_INT(a, 0));
    if (!other)
        return -ESRCH;
    struct sched_attr attr = {
        .size = MIN(size, (unsigned)sizeof(attr)),
        .sched_policy = (uint32_t)atomic_load(&other->sched_policy),
        .sched_flags = atomic_load(&other->sched_reset_on_fork) ? FLAG_RESET_ON_FORK : 0,
        .sched_nice = atomic_load(&other->nice),
        .sched_priority = (uint32_t)atomic_load(&other->sched_priority),
    };
    if (is_realtime((int)attr.sched_policy))
        attr.sched_nice = 0;
    task_put(other);
    return mm_copy_out(t->mm, ARG_GVA(a, 1), &attr, attr.size);
}

/* ---- nice values ---- */

static bool may_nice(struct task *t, struct task *other, int nice)
{
    if (nice >= atomic_load(&other->nice) || task_capable(t, CAP_SYS_NICE))
        return true;
    uint64_t limit = task_rlimit(other, RLIMIT_NICE);
    return limit == RLIM_INFINITY || 20 - (int64_t)limit <= nice;
}

/* The structure, as long as the caller says; a size that we cannot take is told ours. */
static int copy_in_attr(struct task *t, gva_t addr, struct sched_attr *attr)
{
    uint32_t size;
    int err = MM_COPY_IN(t->mm, &size, addr);
    if (err)
        return err;
    if (size == 0)
        size = SCHED_ATTR_V0;
    if (size < SCHED_ATTR_V0 || size > PAGE_SIZE)
        err = -E2BIG;
    else if (size < sizeof(*attr))
        err = mm_copy_in(t->mm, attr, addr, size);
    else
        err = copy_in_struct(t, addr, size, attr, sizeof(*attr));
    if (err == -E2BIG) {
        size = sizeof(*attr);
        IGNORE(MM_COPY_OUT(t->mm, addr, &size));
    }
    return err;
}

/* What the flags say is to stay as it is. */
static void keep_attributes(struct task *other, struct sched_attr *attr)
{
    if (attr->sched_flags & SCHED_FLAG_KEEP_PARAMS) {
        attr->sched_priority = (uint32_t)atomic_load(&other->sched_priority);
        attr->sched_nice = atomic_load(&other->nice);
    }
    if (attr->sched_flags & (SCHED_FLAG_KEEP_POLICY | SCHED_FLAG_KEEP_PARAMS))
        attr->sched_policy = (uint32_t)atomic_load(&other->sched_policy);
}

static int set_nice(struct task *t, struct task *other, int nice)
{
    if (!may_nice(t, other, nice))
        return -EPERM;
    atomic_store(&other->nice, nice);
    return 0;
}

SYSCALL(sched_setattr)
{
    struct sched_attr attr = {0};
    if (!a->a[1] || ARG_INT(a, 0) < 0 || a->a[2])
        return -EINVAL;
    int err = copy_in_attr(t, ARG_GVA(a, 1), &attr);
    if (err)
        return err;
    if ((int)attr.sched_policy < 0 || (attr.sched_flags & ~(uint64_t)SCHED_FLAG_KNOWN))
        return -EINVAL;
    if (attr.sched_flags & SCHED_FLAG_UTIL_CLAMP)
        return -EOPNOTSUPP;
    struct task *other = find(t, ARG_INT(a, 0));
    if (!other)
        return -ESRCH;
    keep_attributes(other, &attr);
    long r = set_policy(t, ARG_INT(a, 0), (int)attr.sched_policy, (int)attr.sched_priority,
                        attr.sched_flags & FLAG_RESET_ON_FORK);
    if (!r && !is_realtime((int)attr.sched_policy))
        r = set_nice(t, other, MAX(-20, MIN(19, attr.sched_nice)));
    task_put(other);
    return r;
}

/* Calls fn on every task that (which, who) names. Returns what fn made of them, or -ESRCH. */
static long for_each_named(struct task *t, int which, int who,
                           long (*fn)(struct task *t, struct task *other, long result, int arg),
                           int arg)
{
    struct kernel *k = t->kernel;
    long result = -ESRCH;
    if (which == PRIO_PROCESS) {
        struct task *other = find(t, who);
        if (other)
            result = fn(t, other, result, arg);
        task_put(other);
        return result;
    }
    uid_t uid = who ? id_in(t->cred->user_ns, ID_UID, (uid_t)who) : t->cred->uid;
    for (pid_t from = 1;;) {
        struct thread_group *tg = thread_group_next(k, from);
        if (!tg)
            return result;
        from = tg->tgid + 1;
        pid_t pgid = who ? who : thread_group_pgid(t->tg);
        struct task *other;
        for (pid_t tid = 1; (other = task_next(tg, tid)) != NULL; task_put(other)) {
            tid = other->tid + 1;
            const struct cred *c = task_get_cred(other);
            bool wanted = which == PRIO_USER ? c->uid == uid : thread_group_pgid(tg) == pgid;
            cred_put(c);
            if (wanted)
                result = fn(t, other, result, arg);
        }
        thread_group_put(tg);
    }
}

/* The highest priority: 40 - 1 for nice -20 to 19. */
static long best_priority(UNUSED struct task *t, struct task *other, long result, UNUSED int arg)
{
    return MAX(result, 20l - atomic_load(&other->nice));
}

SYSCALL(getpriority)
{
    int which = ARG_INT(a, 0);
    if (which < PRIO_PROCESS || which > PRIO_USER)
        return -EINVAL;
    return for_each_named(t, which, ARG_INT(a, 1), best_priority, 0);
}

static long change_priority(struct task *t, struct task *other, long result, int nice)
{
    const struct cred *theirs = task_get_cred(other);
    bool mine = t->cred->euid == theirs->euid || t->cred->euid == theirs->uid ||
                cred_capable_in(t->cred, theirs->user_ns, CAP_SYS_NICE);
    cred_put(theirs);
    if (!mine)
        return -EPERM;
    if (!may_nice(t, other, nice))
        return -EACCES;
    atomic_store(&other->nice, nice);
    return result == -ESRCH ? 0 : result;
}

SYSCALL(setpriority)
{
    int which = ARG_INT(a, 0), nice = MAX(-20, MIN(19, ARG_INT(a, 2)));
    if (which < PRIO_PROCESS || which > PRIO_USER)
        return -EINVAL;
    return for_each_named(t, which, ARG_INT(a, 1), change_priority, nice);
}

/* ---- input and output priorities: kept and told; there is no queue that they would order ---- */

/* IOPRIO_WHO_PROCESS, _PGRP and _USER are PRIO_PROCESS, _PGRP and _USER and one more. */
#define IOPRIO_WHO(which) ((int)((unsigned)(which)-1))
#define IOPRIO_CLASS(prio) ((prio) >> 13 & 7)
#define IOPRIO_DATA(prio) ((prio)&0x1fff)
#define IOPRIO_LEVELS 8

enum { IOPRIO_CLASS_NONE, IOPRIO_CLASS_RT, IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE };

static int check_ioprio(struct task *t, int prio)
{
    switch (IOPRIO_CLASS(prio)) {
    case IOPRIO_CLASS_RT:
        if (!task_capable(t, CAP_SYS_ADMIN) && !task_capable(t, CAP_SYS_NICE))
            return -EPERM;
        return IOPRIO_DATA(prio) < IOPRIO_LEVELS ? 0 : -EINVAL;
    case IOPRIO_CLASS_BE:
        return IOPRIO_DATA(prio) < IOPRIO_LEVELS ? 0 : -EINVAL;
    case IOPRIO_CLASS_IDLE:
        return 0;
    case IOPRIO_CLASS_NONE:
        return IOPRIO_DATA(prio) ? -EINVAL : 0;
    default:
        return -EINVAL;
    }
}

static long change_ioprio(struct task *t, struct task *other, long result, int prio)
{
    if (result < 0 && result != -ESRCH)
        return result;
    const struct cred *theirs = task_get_cred(other);
    bool ok = theirs->uid == t->cred->euid || theirs->uid == t->cred->uid ||
              task_capable(t, CAP_SYS_NICE);
    cred_put(theirs);
    if (!ok)
        return -EPERM;
    atomic_store(&other->ioprio, prio);
    return 0;
}

SYSCALL(ioprio_set)
{
    int which = IOPRIO_WHO(ARG_INT(a, 0)), prio = ARG_INT(a, 2);
    int err = check_ioprio(t, prio);
    if (err)
        return err;
    if (which < PRIO_PROCESS || which > PRIO_USER)
        return -EINVAL;
    return for_each_named(t, which, ARG_INT(a, 1), change_ioprio, prio);
}

/* Who has set none gets one by policy and nice value. */
static int effective_ioprio(struct task *other)
{
    int prio = atomic_load(&other->ioprio), policy = atomic_load(&other->sched_policy);
    if (IOPRIO_CLASS(prio) != IOPRIO_CLASS_NONE)
        return prio;
    int class = policy == SCHED_IDLE  ? IOPRIO_CLASS_IDLE
                : is_realtime(policy) ? IOPRIO_CLASS_RT
                                      : IOPRIO_CLASS_BE;
    return class << 13 | (atomic_load(&other->nice) + 20) / 5;
}

static long best_ioprio(UNUSED struct task *t, struct task *other, long result, UNUSED int arg)
{
    long prio = effective_ioprio(other);
    return result == -ESRCH ? prio : MIN(result, prio);
}

static long own_ioprio(UNUSED struct task *t, struct task *other, UNUSED long result,
                       UNUSED int arg)
{
    return atomic_load(&other->ioprio);
}

SYSCALL(ioprio_get)
{
    int which = IOPRIO_WHO(ARG_INT(a, 0));
    if (which < PRIO_PROCESS || which > PRIO_USER)
        return -EINVAL;
    return for_each_named(t, which, ARG_INT(a, 1), which == PRIO_PROCESS ? own_ioprio : best_ioprio,
                          0);
}
