/*
 * Who is who: process ids, process groups, sessions.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include "sentry/syscalls/syscalls.h"

SYSCALL(getpid)
{
    return t->tg->own_tgid;
}

SYSCALL(gettid)
{
    return t->own_tid;
}

SYSCALL(getppid)
{
    return pid_out(t, thread_group_ppid(t->tg));
}

SYSCALL(getpgrp)
{
    return pid_out(t, thread_group_pgid(t->tg));
}

/* Process `pid` (0: our own). TASK_TREE held. */
static struct thread_group *find_group(struct task *t, pid_t pid)
{
    if (pid == 0)
        return t->tg;
    struct pid *p = pid_lookup(task_pid_ns(t), pid);
    return p ? (p->group ? p->group : p->task ? p->task->tg : NULL) : NULL;
}

SYSCALL(getpgid)
{
    MUTEX_GUARD(&t->kernel->tree_lock);
    struct thread_group *tg = find_group(t, ARG_INT(a, 0));
    return tg && tg->pgrp ? pid_nr_in(tg->pgrp->pid, task_pid_ns(t)) : -ESRCH;
}

SYSCALL(getsid)
{
    MUTEX_GUARD(&t->kernel->tree_lock);
    struct thread_group *tg = find_group(t, ARG_INT(a, 0));
    return tg && tg->pgrp ? pid_nr_in(tg->pgrp->session->pid, task_pid_ns(t)) : -ESRCH;
}

/* Whether t may move tg at all. TASK_TREE held. */
static int check_setpgid(struct task *t, struct thread_group *tg)
{
    if (!tg || !tg->pgrp)
        return -ESRCH;
    if (tg != t->tg) {
        if (tg->parent != t->tg)
            return -ESRCH;
        if (tg->pgrp->session != t->tg->pgrp->session)
            return -EPERM;
        if (tg->did_exec)
            return -EACCES;
    }
    if (tg->pgrp->session->pid->nr == tg->tgid)
        return -EPERM;
    return 0;
}

SYSCALL(setpgid)
{
    int pid = ARG_INT(a, 0), pgid = ARG_INT(a, 1);
    if (pgid < 0 || (pgid == 0 && pid < 0))
        return -EINVAL;
    MUTEX_GUARD(&t->kernel->tree_lock);
    struct pid *p = pid ? pid_lookup(task_pid_ns(t), pid) : NULL;
    struct thread_group *tg = pid ? (p ? p->group : NULL) : t->tg;
    /* A thread that leads no process is none. */
    if (pid && p && !p->group && p->task)
        return -EINVAL;
    int err = check_setpgid(t, tg);
    if (err)
        return err;
    pgid = pgid ? pid_in_locked(t, pgid) : tg->tgid;
    if (tg->pgrp->pid->nr == pgid)
        return 0;
    struct process_group *pg = pgrp_find(t->kernel, pgid);
    if (pgid != tg->tgid && (!pg || pg->session != tg->pgrp->session))
        return -EPERM;
    pgrp_check_leaving(tg);
    if (!pg)
        return pgrp_create(tg->pgrp->session, tg);
    pgrp_leave(tg);
    pgrp_join(pg, tg);
    return 0;
}

SYSCALL(setsid)
{
    MUTEX_GUARD(&t->kernel->tree_lock);
    struct thread_group *tg = t->tg;
    if (pgrp_find(t->kernel, tg->tgid) || tg->pgrp->session->pid->nr == tg->tgid)
        return -EPERM;
    int err = session_create(tg);
    return err ? err : tg->own_tgid;
}
