/*
 * Leaving: what a task gives back, whom it tells, and who inherits its children. Waiting for
 * children is in wait_child.c.
 *
 *   running --task_exit--> left (a thread: gone; a leader: keeps its number)
 *   all have left --------> the process is a zombie --wait4, or nobody wants to know--> reaped
 */
#include "sentry/aio/aio.h"
#include "sentry/ipc/ipc.h"
#include "sentry/kernel/cpu_limit.h"
#include "sentry/kernel/host_futex.h"
#include "sentry/kernel/host_thread.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/ns.h"
#include "sentry/kernel/posix_timers.h"
#include "sentry/kernel/process.h"
#include "sentry/kernel/seccomp.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/tty/tty.h"
#include "sentry/vfs/fasync.h"
#include "sentry/vfs/vfs.h"
#include <string.h>

/* ---- the tree; TASK_TREE held ---- */

static void detach_task(struct task *t)
{
    struct pid *pid = t->pid;
    {
        MUTEX_GUARD(&t->tg->sighand_lock);
        list_del(&t->group_link);
        if (t->tg->leader == t)
            t->tg->leader = NULL;
    }
    if (pid->task == t) {
        pid->task = NULL;
        pid_release(pid);
    }
    struct task *unlinked;
    {
        MUTEX_GUARD(&t->tg->sighand_lock);
        unlinked = ptrace_unlink(t);
    }
    if (unlinked)
        task_put(unlinked);
    task_put(t);
}

void task_reap_thread(struct task *t)
{
    atomic_store(&t->state, TASK_DEAD);
    detach_task(t);
}

void task_take_over_leader(struct task *t)
{
    struct thread_group *tg = t->tg;
    struct task *old = tg->leader;
    if (old == t)
        return;
    struct pid *mine = t->pid;
    {
        MUTEX_GUARD(&tg->sighand_lock);
        tg->leader = t;
        t->pid = pid_get(tg->pid);
        t->tid = tg->tgid;
        t->own_tid = tg->own_tgid;
    }
    tg->pid->task = t;
    mine->task = NULL;
    pid_release(mine);
    pid_put(mine);
    if (!old)
        return;
    /* Its tracer will not hear of its end: there may be nobody left to wait for. */
    if (old->ptrace.tracer)
        wait_wake(&old->ptrace.tracer->tg->child_wait, POLLIN);
    detach_task(old);
}

/* A process has left ns for good. Its init, which was the first to exit, can do so now if it is
 * alone. */
static void leave_pid_ns(struct pid_ns *ns, struct thread_group *tg)
{
    ns->nprocesses--;
    struct thread_group *init = ns->init;
    if (init == tg)
        ns->init = NULL;
    else if (ns->dead && ns->nprocesses == 1 && init && init->ntasks == 0 && !init->zombie) {
        init->zombie = true;
        thread_group_notify_exit(init);
    }
}

void thread_group_reap(struct thread_group *tg)
{
    tg->reaped = true;
    if (tg->parent)
        list_del(&tg->sibling);
    tg->parent = NULL;
    list_del(&tg->all_link);
    pgrp_leave(tg);
    struct task *leader = tg->leader;
    if (leader) {
        atomic_store(&leader->state, TASK_DEAD);
        detach_task(leader);
    }
    struct pid *pid = pid_get(tg->pid);
    pid->group = NULL;
    pid_release(pid);
    for (struct pid_ns *ns = pid->ns; ns; ns = ns->parent)
        leave_pid_ns(ns, tg);
    thread_group_put(tg);
    pid_put(pid);
}

static void fill_status(int status, siginfo_t *info)
{
    if (status & 0x7f) {
        info->si_code = status & 0x80 ? CLD_DUMPED : CLD_KILLED;
        info->si_status = status & 0x7f;
    } else {
        info->si_code = CLD_EXITED;
        info->si_status = status >> 8;
    }
}

static void fill_exit_info(struct thread_group *tg, int sig, struct thread_group *to,
                           siginfo_t *info)
{
    memset(info, 0, sizeof(*info));
    info->si_signo = sig;
    info->si_pid = pid_nr_in(tg->pid, to->pid->ns);
    if (tg->leader)
        info->si_uid = signal_uid_for(to, tg->leader->cred->uid);
    info->si_utime =
        (clock_t)(tg->dead_usage.ru_utime.tv_sec * 100 + tg->dead_usage.ru_utime.tv_usec / 10000);
    info->si_stime =
        (clock_t)(tg->dead_usage.ru_stime.tv_sec * 100 + tg->dead_usage.ru_stime.tv_usec / 10000);
    fill_status(tg->exit_code, info);
}

/* A thread that its tracer may still wait for: it keeps its number. */
static void keep_zombie(struct task *t)
{
    struct thread_group *tracer = t->ptrace.tracer->tg;
    siginfo_t info;
    {
        MUTEX_GUARD(&t->tg->sighand_lock);
        list_del(&t->group_link);
    }
    memset(&info, 0, sizeof(info));
    info.si_signo = SIGCHLD;
    info.si_pid = pid_nr_in(t->pid, tracer->pid->ns);
    info.si_uid = signal_uid_for(tracer, t->cred->uid);
    fill_status(t->exit_code, &info);
    (void)signal_send_group(tracer, SIGCHLD, &info);
    wait_wake(&tracer->child_wait, POLLIN);
}

/* Tells the parent of a new zombie, or reaps it where nobody wants to know. A tracer that is not
 * the parent comes first; the parent hears of it when that one has let go. */
void thread_group_notify_exit(struct thread_group *tg)
{
    wait_wake(&tg->exit_wait, POLLIN);
    struct task *tracer = ptrace_foreign_tracer(tg->leader);
    if (tracer) {
        siginfo_t info;
        fill_exit_info(tg, SIGCHLD, tracer->tg, &info);
        (void)signal_send_group(tracer->tg, SIGCHLD, &info);
        wait_wake(&tracer->tg->child_wait, POLLIN);
        return;
    }
    struct thread_group *parent = tg->parent;
    if (!parent) {
        if (tg != tg->kernel->init)
            thread_group_reap(tg);
        return;
    }
    bool reap = false, tell = tg->exit_signal > 0 && tg->exit_signal <= SIG_MAX;
    if (tg->exit_signal == SIGCHLD) {
        MUTEX_GUARD(&parent->sighand->lock);
        const struct k_sigaction *act = &parent->sighand->action[SIGCHLD - 1];
        bool ignored = act->handler == (gva_t)SIG_IGN;
        reap = ignored || (act->flags & SA_NOCLDWAIT);
        tell = !ignored;
    }
    if (tell) {
        siginfo_t info;
        fill_exit_info(tg, tg->exit_signal, parent, &info);
        (void)signal_send_group(parent, tg->exit_signal, &info);
    }
    wait_wake(&parent->child_wait, POLLIN);
    if (reap)
        thread_group_reap(tg);
}

static bool is_dying(struct thread_group *tg)
{
    return tg->zombie || tg->ntasks == 0;
}

/* Who inherits the children of a process: the nearest subreaper above it in its pid namespace, or
 * that one's init. */
static struct thread_group *find_reaper(struct thread_group *tg)
{
    struct pid_ns *ns = tg->pid->ns;
    struct thread_group *init = ns->init;
    if (init == tg)
        return NULL;
    for (struct thread_group *p = tg->parent; p && p->pid->ns == ns; p = p->parent) {
        if (p->is_child_subreaper && !is_dying(p))
            return p;
    }
    return init && !is_dying(init) ? init : NULL;
}

static void send_parent_death(struct thread_group *child)
{
    struct task *t;
    list_for_each (t, &child->tasks, group_link) {
        if (!t->pdeath_signal)
            continue;
        siginfo_t info = {.si_signo = t->pdeath_signal, .si_code = SI_USER};
        (void)signal_send_group(child, t->pdeath_signal, &info);
    }
}

static struct task *other_task(struct task *t)
{
    struct task *other;
    list_for_each (other, &t->tg->tasks, group_link) {
        if (other != t && !other->left)
            return other;
    }
    return NULL;
}

static void give_children_away(struct task *t, bool last)
{
    struct thread_group *tg = t->tg, *child, *next;
    struct task *heir = last ? NULL : other_task(t);
    struct thread_group *reaper = last ? find_reaper(tg) : tg;
    list_for_each_safe (child, next, &tg->children, sibling) {
        if (!last && child->parent_task != t)
            continue;
        child->parent_task = last ? (reaper ? reaper->leader : NULL) : heir;
        send_parent_death(child);
        if (!last)
            continue;
        list_del(&child->sibling);
        child->parent = reaper;
        if (reaper) {
            list_add_tail(&reaper->children, &child->sibling);
            child->exit_signal = SIGCHLD;
        }
        pgrp_check_reparented(child, tg);
        if (child->zombie)
            thread_group_notify_exit(child);
    }
}

/* ---- the task ---- */

static void mark_exiting(struct task *t)
{
    struct thread_group *tg = t->tg;
    bool last;
    {
        MUTEX_GUARD(&tg->sighand_lock);
        t->exiting = true;
        last = --tg->live_tasks == 0;
        stop_forget(t);
        if (tg->group_exit)
            t->exit_code = tg->exit_code;
        else if (last)
            tg->exit_code = t->exit_code;
        if (last)
            tg->group_exit = true;
        /* Somebody else has to take what was meant for us. */
        struct task *other;
        if (!last && tg->shared_pending.set) {
            list_for_each (other, &tg->tasks, group_link) {
                if (!other->exiting && (tg->shared_pending.set & ~other->blocked))
                    task_kick(other, TASK_WORK_SIGNAL);
            }
        }
    }
    stop_notify(tg);
    if (t->kernel->strace)
        strace_task_exit(t, t->exit_code);
    if (last) {
        if (!t->vfork)
            rusage_note_memory(tg, t->mm);
        posix_timers_exit(tg);
        cpu_limit_exit(tg);
        aio_exit(tg);
    }
}

static void release_context(struct task *t)
{
    struct context *c;
    {
        MUTEX_GUARD(&t->lock);
        c = t->context;
        t->context = NULL;
    }
    if (!c)
        return;
    if (!task_runs_anywhere(t)) /* its thread serves others after us */
        c->ops->set_cpus(c, &t->kernel->host_cpus);
    c->ops->release(c);
}

static void release_memory(struct task *t)
{
    struct mm *mm;
    {
        MUTEX_GUARD(&t->lock);
        mm = t->mm;
        t->mm = NULL;
    }
    mm_user_put(mm);
}

static void release_files(struct task *t)
{
    fd_table_exit(t);
    struct fs_context *fs;
    struct file *exe;
    {
        MUTEX_GUARD(&t->lock);
        fs = t->fs;
        exe = t->exe;
        t->fs = NULL;
        t->exe = NULL;
    }
    if (fs)
        fs_context_put(fs);
    if (exe)
        file_put(exe);
    task_set_ns(t, NULL);
}

/* A namespace ends with its init: everybody in it is killed, and it becomes a zombie when they are
 * gone (leave_pid_ns). Returns whether it is alone already. */
static bool end_pid_ns(struct pid_ns *ns)
{
    ns->dead = true;
    struct pid *pid;
    for (pid_t nr = 2; (pid = pid_next(ns, nr)) != NULL; nr = pid->numbers[ns->level] + 1) {
        if (pid->group && !pid->group->zombie)
            group_exit(pid->group, SIGKILL);
    }
    return ns->nprocesses == 1;
}

static void leave_tree(struct task *t)
{
    struct kernel *k = t->kernel;
    struct thread_group *tg = t->tg;
    bool init_gone = false;
    {
        MUTEX_GUARD(&k->tree_lock);
        struct rusage usage;
        task_usage(t, &usage);
        rusage_add(&tg->dead_usage, &usage);
        bool last = --tg->ntasks == 0;
        k->ntasks--;
        t->left = true;
        atomic_store(&t->state, TASK_ZOMBIE);
        if (last) {
            tty_leader_exits(tg);
            pgrp_check_leaving(tg);
        }
        ptrace_tracer_exit(t);
        give_children_away(t, last);
        struct task *exec_task;
        {
            MUTEX_GUARD(&tg->sighand_lock);
            exec_task = tg->exec_task;
        }
        if (exec_task)
            task_wake(exec_task);
        if (t != tg->leader) {
            if (ptrace_keeps_zombie(t))
                keep_zombie(t);
            else
                detach_task(t);
        }
        if (last) {
            k->nprocesses--;
            init_gone = tg == k->init;
            if (init_gone)
                k->ending = true;
            struct pid_ns *ns = tg->pid->ns;
            bool wait = ns->init == tg && !init_gone && !end_pid_ns(ns);
            if (ns->init == tg && ns->reboot_signal)
                tg->exit_code = ns->reboot_signal;
            tg->zombie = !wait;
            if (!wait)
                thread_group_notify_exit(tg);
        }
        if (init_gone || k->ending) {
            atomic_fetch_add(&k->ended, 1);
            host_futex_wake(&k->ended, 1);
        }
    }
}

void task_exit(struct task *t)
{
    ptrace_exit_event(t);
    mark_exiting(t);
    task_release_user_state(t);
    vfork_release(t);
    seccomp_exit(t);
    task_usage_end(t);
    release_context(t);
    release_memory(t);
    sem_exit(t);
    release_files(t);
    fasync_flush();
    leave_tree(t);
    task_put(t);
}
