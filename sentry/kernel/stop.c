/*
 * Stopping and continuing a process.
 *
 *   STOP_NONE --a stop signal is taken--> STOP_STOPPING --every task has stopped--> STOP_STOPPED
 *       ^                                      |                                         |
 *       +--------------- SIGCONT or SIGKILL is sent -------------------------------------+
 *
 * Each task stops itself on its way back to the application; the last one tells the parent. So that
 * a sender of SIGCONT needs no lock beside SIGHAND, it only leaves a note (notify_parent), and the
 * first task that goes on delivers it.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include <string.h>

void stop_begin(struct task *t, int sig)
{
    struct thread_group *tg = t->tg;
    lock_assert_held(&tg->sighand_lock);
    if (tg->group_exit || tg->exec_task)
        return;
    if (tg->stop_state != STOP_NONE) {
        /* A tracer has let t go on while the others stay stopped. */
        if (t->ptrace.tracer)
            task_kick(t, TASK_WORK_STOP);
        return;
    }
    tg->stop_state = STOP_STOPPING;
    tg->stop_signal = sig;
    tg->stop_count = 0;
    tg->stop_unwaited = tg->cont_unwaited = false;
    struct task *other;
    list_for_each (other, &tg->tasks, group_link) {
        if (other->exiting)
            continue;
        other->stop_counted = true;
        tg->stop_count++;
        task_kick(other, TASK_WORK_STOP);
    }
}

/* One task less to wait for. SIGHAND held. */
void stop_participate(struct task *t)
{
    struct thread_group *tg = t->tg;
    if (!t->stop_counted)
        return;
    t->stop_counted = false;
    if (--tg->stop_count > 0 || tg->stop_state != STOP_STOPPING)
        return;
    tg->stop_state = STOP_STOPPED;
    tg->stop_unwaited = true;
    tg->notify_parent = CLD_STOPPED;
}

void stop_forget(struct task *t)
{
    stop_participate(t);
}

/* Waits for SIGCONT, SIGKILL, or a tracer. Returns whether one came. */
static bool sleep_stopped(struct task *t)
{
    struct thread_group *tg = t->tg;
    for (;;) {
        {
            MUTEX_GUARD(&tg->sighand_lock);
            bool traced = t->ptrace.tracer != NULL;
            if (tg->stop_state == STOP_NONE || tg->group_exit || traced) {
                atomic_fetch_and(&t->work, ~TASK_WORK_STOP);
                return traced;
            }
        }
        atomic_store(&t->stopped, true);
        (void)task_block_killable(t, NULL);
        atomic_store(&t->stopped, false);
    }
}

void stop_wait(struct task *t)
{
    struct thread_group *tg = t->tg;
    {
        MUTEX_GUARD(&tg->sighand_lock);
        if (tg->stop_state == STOP_NONE) {
            atomic_fetch_and(&t->work, ~TASK_WORK_STOP);
            return;
        }
        if (!t->ptrace.tracer)
            stop_participate(t);
    }
    stop_notify(tg);
    if (sleep_stopped(t))
        ptrace_trap(t);
    stop_notify(tg);
}

void stop_continue(struct thread_group *tg, bool notify)
{
    lock_assert_held(&tg->sighand_lock);
    struct task *t;
    list_for_each (t, &tg->tasks, group_link) {
        t->stop_signal_taken = false;
        if (notify)
            ptrace_continued(t);
    }
    if (tg->stop_state == STOP_NONE)
        return;
    bool was_stopped = tg->stop_state == STOP_STOPPED;
    tg->stop_state = STOP_NONE;
    tg->stop_unwaited = false;
    if (notify) {
        tg->cont_unwaited = was_stopped;
        tg->notify_parent = was_stopped ? CLD_CONTINUED : CLD_STOPPED;
    }
    list_for_each (t, &tg->tasks, group_link) {
        t->stop_counted = false;
        task_kick(t, notify ? TASK_WORK_NOTIFY : 0);
    }
}

static void fill_info(struct thread_group *tg, int why, siginfo_t *info)
{
    memset(info, 0, sizeof(*info));
    info->si_signo = SIGCHLD;
    info->si_code = why;
    info->si_pid = pid_nr_in(tg->pid, tg->parent->pid->ns);
    info->si_status = why == CLD_CONTINUED ? SIGCONT : tg->stop_signal;
    const struct cred *cred = tg->leader ? task_get_cred(tg->leader) : NULL;
    if (cred)
        info->si_uid = signal_uid_for(tg->parent, cred->uid);
    cred_put(cred);
}

void stop_notify(struct thread_group *tg)
{
    struct kernel *k = tg->kernel;
    int why;
    {
        MUTEX_GUARD(&tg->sighand_lock);
        why = tg->notify_parent;
        tg->notify_parent = 0;
    }
    if (!why)
        return;
    MUTEX_GUARD(&k->tree_lock);
    struct thread_group *parent = tg->parent;
    if (!parent)
        return;
    /* A parent that traces hears of its tracee's stops, not of its child's. */
    struct task *tracer = tg->leader ? tg->leader->ptrace.tracer : NULL;
    if (tracer && tracer->tg == parent)
        return;
    struct k_sigaction act;
    {
        MUTEX_GUARD(&parent->sighand->lock);
        act = parent->sighand->action[SIGCHLD - 1];
    }
    if (act.handler != (gva_t)SIG_IGN && !(act.flags & SA_NOCLDSTOP)) {
        siginfo_t info;
        fill_info(tg, why, &info);
        (void)signal_send_group(parent, SIGCHLD, &info);
    }
    wait_wake(&parent->child_wait, POLLIN);
}
