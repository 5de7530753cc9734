/*
 * Tasks and thread groups: making, finding, counting.
 */
#include "sentry/kernel/task.h"
#include "sentry/ipc/ipc.h"
#include "sentry/kernel/cpu_limit.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/ns.h"
#include "sentry/kernel/posix_timers.h"
#include "sentry/kernel/process.h"
#include "sentry/kernel/timer.h"
#include "sentry/vfs/vfs.h"
#include <linux/capability.h>
#include <linux/prctl.h>
#include <sched.h>
#include <stdlib.h>

/* ---- thread groups ---- */

struct thread_group *thread_group_create(struct kernel *k, struct sighand *sighand)
{
    struct thread_group *tg = calloc(1, sizeof(*tg));
    if (!tg)
        return NULL;
    ref_init(&tg->ref);
    tg->kernel = k;
    tg->sighand = sighand;
    tg->exit_signal = SIGCHLD;
    tg->dumpable = true;
    tg->mce_kill = PR_MCE_KILL_DEFAULT;
    list_init(&tg->tasks);
    list_init(&tg->children);
    list_init(&tg->sibling);
    list_init(&tg->pgrp_link);
    list_init(&tg->all_link);
    list_init(&tg->shared_pending.queue);
    mutex_init(&tg->sighand_lock, LOCK_SIGHAND);
    mutex_init(&tg->limits_lock, LOCK_LEAF);
    list_init(&tg->aio);
    wait_queue_init(&tg->signal_wait);
    wait_queue_init(&tg->child_wait);
    wait_queue_init(&tg->exit_wait);
    tg->start_time = ktime_now() - k->boot_monotonic;
    return tg;
}

struct thread_group *thread_group_get(struct thread_group *tg)
{
    ref_get(&tg->ref);
    return tg;
}

void thread_group_put(struct thread_group *tg)
{
    if (!tg || !ref_put(&tg->ref))
        return;
    sigpending_flush(tg->kernel, &tg->shared_pending);
    posix_timers_free(tg->timers);
    cpu_limit_free(tg);
    sighand_put(tg->sighand);
    thread_group_put(tg->mm_limits_owner);
    pid_put(tg->pid);
    wait_queue_destroy(&tg->signal_wait);
    wait_queue_destroy(&tg->child_wait);
    wait_queue_destroy(&tg->exit_wait);
    mutex_destroy(&tg->limits_lock);
    mutex_destroy(&tg->sighand_lock);
    free(tg);
}

struct thread_group *thread_group_next(struct kernel *k, pid_t from)
{
    MUTEX_GUARD(&k->tree_lock);
    struct pid *pid;
    for (; (pid = pid_next(k->pid_ns, from)) != NULL; from = pid->nr + 1) {
        if (pid->group)
            return thread_group_get(pid->group);
    }
    return NULL;
}

struct task *thread_group_task(struct thread_group *tg)
{
    MUTEX_GUARD(&tg->kernel->tree_lock);
    struct task *t = tg->leader ? tg->leader : list_first(&tg->tasks, struct task, group_link);
    return t ? task_get(t) : NULL;
}

pid_t thread_group_ppid(struct thread_group *tg)
{
    MUTEX_GUARD(&tg->kernel->tree_lock);
    return tg->parent ? tg->parent->tgid : 0;
}

pid_t thread_group_pgid(struct thread_group *tg)
{
    MUTEX_GUARD(&tg->kernel->tree_lock);
    return tg->pgrp ? tg->pgrp->pid->nr : 0;
}

pid_t thread_group_sid(struct thread_group *tg)
{
    MUTEX_GUARD(&tg->kernel->tree_lock);
    return tg->pgrp ? tg->pgrp->session->pid->nr : 0;
}

/* ---- tasks ---- */

struct task *task_create(struct thread_group *tg)
{
    struct task *t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    ref_init(&t->ref);
    t->kernel = tg->kernel;
    t->tg = thread_group_get(tg);
    list_init(&t->group_link);
    list_init(&t->pending.queue);
    list_init(&t->ptrace.link);
    list_init(&t->tracees);
    mutex_init(&t->lock, LOCK_TASK_WAKE);
    t->altstack.ss_flags = SS_DISABLE;
    t->sched_policy = SCHED_OTHER;
    t->timer_slack_ns = t->default_timer_slack_ns = 50000;
    t->start_time = ktime_now() - tg->kernel->boot_monotonic;
    return t;
}

struct task *task_get(struct task *t)
{
    ref_get(&t->ref);
    return t;
}

void task_put(struct task *t)
{
    if (!t || !ref_put(&t->ref))
        return;
    sigpending_flush(t->kernel, &t->pending);
    if (t->exe)
        file_put(t->exe);
    if (t->files)
        fd_table_put(t->files);
    if (t->fs)
        fs_context_put(t->fs);
    if (t->mm)
        mm_user_put(t->mm);
    sem_exit(t);
    ns_set_put(t->ns);
    pid_put(t->pid);
    cred_put(t->cred);
    free(t->arch.xstate);
    mutex_destroy(&t->lock);
    thread_group_put(t->tg);
    free(t);
}

void task_attach(struct task *t, struct pid *pid)
{
    struct thread_group *tg = t->tg;
    t->pid = pid_get(pid);
    t->tid = pid->nr;
    t->own_tid = pid->numbers[pid->ns->level];
    pid->task = t;
    if (tg->ntasks++ == 0) {
        tg->pid = pid_get(pid);
        tg->tgid = pid->nr;
        tg->own_tgid = t->own_tid;
        for (struct pid_ns *ns = pid->ns; ns; ns = ns->parent)
            ns->nprocesses++;
        if (tg->own_tgid == 1)
            pid->ns->init = tg;
        tg->leader = t;
        pid->group = thread_group_get(tg);
        list_add_tail(&tg->kernel->groups, &tg->all_link);
        tg->kernel->nprocesses++;
    }
    list_add_tail(&tg->tasks, &task_get(t)->group_link);
    tg->live_tasks++;
    tg->kernel->ntasks++;
}

struct task *task_next(struct thread_group *tg, pid_t from)
{
    MUTEX_GUARD(&tg->kernel->tree_lock);
    struct task *t, *best = NULL;
    list_for_each (t, &tg->tasks, group_link) {
        if (t->tid >= from && (!best || t->tid < best->tid))
            best = t;
    }
    return best ? task_get(best) : NULL;
}

struct mm *task_get_mm(struct task *t)
{
    MUTEX_GUARD(&t->lock);
    return t->mm && mm_user_get_unless_zero(t->mm) ? t->mm : NULL;
}

struct fd_table *task_get_files(struct task *t)
{
    MUTEX_GUARD(&t->lock);
    return t->files ? fd_table_get(t->files) : NULL;
}

struct fs_context *task_get_fs(struct task *t)
{
    MUTEX_GUARD(&t->lock);
    return t->fs ? fs_context_get(t->fs) : NULL;
}

const struct cred *task_get_cred(struct task *t)
{
    MUTEX_GUARD(&t->lock);
    return cred_get(t->cred);
}

void task_set_cred(struct task *t, struct cred *c)
{
    const struct cred *old;
    {
        MUTEX_GUARD(&t->lock);
        old = t->cred;
        t->cred = c;
    }
    atomic_store(&t->tg->mm_limits.may_lock_any, cred_capable(c, CAP_IPC_LOCK));
    cred_put(old);
}

uint64_t task_rlimit(struct task *t, int which)
{
    MUTEX_GUARD(&t->tg->limits_lock);
    return t->tg->limits[which].rlim_cur;
}

void limits_apply(struct thread_group *tg)
{
    MUTEX_GUARD(&tg->limits_lock);
    atomic_store(&tg->mm_limits.as, tg->limits[RLIMIT_AS].rlim_cur);
    atomic_store(&tg->mm_limits.data, tg->limits[RLIMIT_DATA].rlim_cur);
    atomic_store(&tg->mm_limits.stack, tg->limits[RLIMIT_STACK].rlim_cur);
    atomic_store(&tg->mm_limits.memlock, tg->limits[RLIMIT_MEMLOCK].rlim_cur);
}

char task_state_char(struct task *t)
{
    if (atomic_load(&t->ptrace.state) != PTRACE_RUNNING)
        return 't';
    if (atomic_load(&t->stopped))
        return 'T';
    switch (atomic_load(&t->state)) {
    case TASK_SLEEPING:
        return 'S';
    case TASK_ZOMBIE:
        return 'Z';
    case TASK_DEAD:
        return 'X';
    default:
        return 'R';
    }
}

static bool may_access(struct task *t, struct task *other, uid_t uid, gid_t gid)
{
    if (t->tg == other->tg)
        return true;
    const struct cred *mine = t->cred, *theirs = task_get_cred(other);
    bool same = uid == theirs->uid && uid == theirs->euid && uid == theirs->suid &&
                gid == theirs->gid && gid == theirs->egid && gid == theirs->sgid;
    bool subset =
        theirs->user_ns == mine->user_ns && (theirs->cap_permitted & ~mine->cap_permitted) == 0;
    bool capable = cred_capable_in(mine, theirs->user_ns, CAP_SYS_PTRACE);
    cred_put(theirs);
    return capable || (same && subset && atomic_load(&other->tg->dumpable));
}

bool task_may_access(struct task *t, struct task *other, UNUSED bool attach)
{
    return may_access(t, other, t->cred->fsuid, t->cred->fsgid);
}

bool task_may_attach(struct task *t, struct task *other)
{
    return may_access(t, other, t->cred->uid, t->cred->gid);
}
