/*
 * Who traces whom. The stops themselves are in ptrace_stop.c.
 */
#include "sentry/kernel/ptrace.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/ptrace.h>

static void link_tracer(struct task *tracer, struct task *t, bool seized, uint32_t options)
{
    lock_assert_held(&t->kernel->tree_lock);
    t->ptrace.tracer = tracer;
    t->ptrace.seized = seized;
    atomic_store(&t->ptrace.options, options);
    list_add_tail(&tracer->tracees, &task_get(t)->ptrace.link);
    atomic_fetch_or(&t->syscall_work, SYSCALL_WORK_PTRACED);
}

struct task *ptrace_unlink(struct task *t)
{
    struct task_ptrace *p = &t->ptrace;
    lock_assert_held(&t->kernel->tree_lock);
    lock_assert_held(&t->tg->sighand_lock);
    if (!p->tracer)
        return NULL;
    list_del(&p->link);
    p->tracer = NULL;
    p->seized = false;
    p->unwaited = false;
    atomic_store(&p->options, 0);
    atomic_fetch_and(&t->syscall_work,
                     ~(SYSCALL_WORK_PTRACED | SYSCALL_WORK_TRACE | SYSCALL_WORK_EMULATE));
    atomic_fetch_and(&t->work, ~TASK_WORK_TRAP);
    if (p->state != PTRACE_RUNNING) {
        p->resume = PTRACE_RESUME_CONT;
        p->state = PTRACE_RUNNING;
    }
    /* Its process is stopped: so is it, from now on. */
    if (t->tg->stop_state != STOP_NONE && !t->exiting)
        task_kick(t, TASK_WORK_STOP);
    task_wake(t);
    return t;
}

pid_t ptrace_tracer_tid(struct task *t)
{
    MUTEX_GUARD(&t->kernel->tree_lock);
    return t->ptrace.tracer ? t->ptrace.tracer->tid : 0;
}

pid_t ptrace_nr_for_tracer(struct task *t, const struct pid *pid)
{
    MUTEX_GUARD(&t->kernel->tree_lock);
    return t->ptrace.tracer ? pid_nr_in(pid, task_pid_ns(t->ptrace.tracer)) : 0;
}

bool ptrace_is_stopped(struct task *t, struct task *child)
{
    lock_assert_held(&child->tg->sighand_lock);
    return child->ptrace.tracer == t && child->ptrace.state == PTRACE_STOPPED;
}

/* ---- beginning ---- */

/* What the parent may see anyhow, or may always see. */
static bool parent_may_trace(struct task *parent, struct task *t)
{
    const struct cred *cred = task_get_cred(parent);
    bool ok = (t->cred->user_ns == cred->user_ns &&
               (t->cred->cap_permitted & ~cred->cap_permitted) == 0) ||
              cred_capable_in(cred, t->cred->user_ns, CAP_SYS_PTRACE);
    cred_put(cred);
    return ok;
}

int ptrace_traceme(struct task *t)
{
    MUTEX_GUARD(&t->kernel->tree_lock);
    struct thread_group *parent = t->tg->parent;
    if (!parent || t->ptrace.tracer)
        return -EPERM;
    struct task *tracer = t->tg->parent_task ? t->tg->parent_task : parent->leader;
    if (!tracer || tracer->left)
        return 0;
    if (!parent_may_trace(tracer, t))
        return -EPERM;
    MUTEX_GUARD(&t->tg->sighand_lock);
    link_tracer(tracer, t, false, 0);
    return 0;
}

int ptrace_attach(struct task *t, struct task *child, bool seize, uint32_t options)
{
    if (t->tg == child->tg || !task_may_attach(t, child))
        return -EPERM;
    MUTEX_GUARD(&t->kernel->tree_lock);
    MUTEX_GUARD(&child->tg->sighand_lock);
    if (child->ptrace.tracer || child->exiting || child->left)
        return -EPERM;
    link_tracer(t, child, seize, options);
    if (!seize) {
        siginfo_t info;
        siginfo_kernel(&info, SIGSTOP);
        (void)signal_send_locked(child->tg, child, SIGSTOP, &info);
    }
    /* One that is stopped already stops anew, for its tracer. */
    if (child->tg->stop_state != STOP_NONE)
        task_kick(child, TASK_WORK_TRAP);
    return 0;
}

void ptrace_inherit(struct task *child, struct task *t, uint64_t clone_flags, int event)
{
    struct task *tracer = t->ptrace.tracer;
    if (!tracer || (!event && !(clone_flags & CLONE_PTRACE)))
        return;
    link_tracer(tracer, child, t->ptrace.seized, atomic_load(&t->ptrace.options));
    if (t->ptrace.seized) {
        atomic_fetch_or(&child->work, TASK_WORK_TRAP);
    } else {
        child->pending.set |= SIG_BIT(SIGSTOP);
        atomic_fetch_or(&child->work, TASK_WORK_SIGNAL);
    }
}

/* ---- going on ---- */

int ptrace_resume(struct task *t, struct task *child, enum ptrace_resume how, int sig)
{
    MUTEX_GUARD(&child->tg->sighand_lock);
    if (!ptrace_is_stopped(t, child))
        return -ESRCH;
    child->ptrace.resume = how;
    child->ptrace.inject = sig;
    child->ptrace.unwaited = false;
    child->ptrace.state = PTRACE_RUNNING;
    task_wake(child);
    return 0;
}

int ptrace_interrupt(struct task *t, struct task *child)
{
    MUTEX_GUARD(&child->tg->sighand_lock);
    if (child->ptrace.tracer != t)
        return -ESRCH;
    if (!child->ptrace.seized)
        return -EIO;
    if (!child->exiting)
        task_kick(child, TASK_WORK_TRAP);
    return 0;
}

int ptrace_listen(struct task *t, struct task *child)
{
    struct task_ptrace *p = &child->ptrace;
    MUTEX_GUARD(&child->tg->sighand_lock);
    if (!ptrace_is_stopped(t, child))
        return -ESRCH;
    if (!p->seized || !p->has_info || p->info.si_code >> 8 != PTRACE_EVENT_STOP)
        return -EIO;
    p->state = PTRACE_LISTENING;
    p->unwaited = false;
    /* Something may have happened since it stopped. */
    task_wake(child);
    return 0;
}

void ptrace_continued(struct task *t)
{
    if (t->ptrace.tracer && t->ptrace.seized)
        task_kick(t, TASK_WORK_TRAP);
}

/* ---- ending ---- */

/* Nobody traces t any more: if it has left, its number goes, or its parent hears of its end. */
static void settle(struct task *t, struct task *former_tracer)
{
    if (!t->left)
        return;
    struct thread_group *tg = t->tg;
    if (tg->leader != t)
        task_reap_thread(t);
    else if (tg->zombie && tg->parent != former_tracer->tg)
        thread_group_notify_exit(tg);
}

int ptrace_detach(struct task *t, struct task *child, int sig)
{
    struct task *unlinked;
    MUTEX_GUARD(&t->kernel->tree_lock);
    {
        MUTEX_GUARD(&child->tg->sighand_lock);
        if (!ptrace_is_stopped(t, child))
            return -ESRCH;
        child->ptrace.inject = sig;
        unlinked = ptrace_unlink(child);
    }
    settle(child, t);
    task_put(unlinked);
    return 0;
}

void ptrace_tracer_exit(struct task *t)
{
    struct task *child, *next;
    list_for_each_safe (child, next, &t->tracees, ptrace.link) {
        struct task *unlinked;
        {
            MUTEX_GUARD(&child->tg->sighand_lock);
            if (atomic_load(&child->ptrace.options) & PTRACE_O_EXITKILL) {
                siginfo_t info;
                siginfo_kernel(&info, SIGKILL);
                (void)signal_send_locked(child->tg, child, SIGKILL, &info);
            }
            child->ptrace.inject = 0;
            unlinked = ptrace_unlink(child);
        }
        settle(child, t);
        task_put(unlinked);
    }
}

static bool ignores_children(struct thread_group *tg)
{
    MUTEX_GUARD(&tg->sighand->lock);
    const struct k_sigaction *act = &tg->sighand->action[SIGCHLD - 1];
    return act->handler == (gva_t)SIG_IGN || (act->flags & SA_NOCLDWAIT);
}

bool ptrace_keeps_zombie(struct task *t)
{
    struct task *tracer = t->ptrace.tracer;
    return tracer && !ignores_children(tracer->tg);
}

struct task *ptrace_foreign_tracer(struct task *leader)
{
    struct task *tracer = leader ? leader->ptrace.tracer : NULL;
    return tracer && tracer->tg != leader->tg->parent && !ignores_children(tracer->tg) ? tracer
                                                                                       : NULL;
}
