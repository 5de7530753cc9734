/*
 * What becomes of a signal: on the way back to the application, each task looks at what is pending
 * and acts on it, until a handler's frame is set up or nothing is left.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/posix_timers.h"
#include "sentry/kernel/process.h"
#include "sentry/kernel/signal.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/fasync.h"
#include <asm/unistd_64.h>
#include <string.h>

#define SYSCALL_INSTRUCTION_SIZE 2
#define SA_AUTODISARM_FLAG (1u << 31)
#define KERNEL_MINSIGSTKSZ 2048

static void restart_syscall(struct task *t, uint64_t nr)
{
    t->arch.regs.rax = nr;
    t->arch.regs.rip -= SYSCALL_INSTRUCTION_SIZE;
}

/* A handler is going to run: what does the interrupted call return after it? */
static void resolve_with_handler(struct task *t, uint64_t sa_flags)
{
    if (!t->in_syscall)
        return;
    t->in_syscall = false;
    switch ((long)t->arch.regs.rax) {
    case -ERESTARTSYS:
        if (!(sa_flags & SA_RESTART))
            break;
        /* fallthrough */
    case -ERESTARTNOINTR:
        restart_syscall(t, t->syscall_nr);
        return;
    case -ERESTARTNOHAND:
    case -ERESTART_RESTARTBLOCK:
        break;
    default:
        return;
    }
    arch_set_return(&t->arch, -EINTR);
}

/* No handler runs: the call starts again as if nothing had happened. */
static void resolve_without_handler(struct task *t)
{
    if (!t->in_syscall)
        return;
    t->in_syscall = false;
    switch ((long)t->arch.regs.rax) {
    case -ERESTARTSYS:
    case -ERESTARTNOHAND:
    case -ERESTARTNOINTR:
        restart_syscall(t, t->syscall_nr);
        break;
    case -ERESTART_RESTARTBLOCK:
        restart_syscall(t, __NR_restart_syscall);
        break;
    }
}

static void run_handler(struct task *t, int sig, const struct k_sigaction *act,
                        const siginfo_t *info)
{
    bool stepping = ptrace_step_end(t);
    resolve_with_handler(t, act->flags);
    sigset64_t mask = t->restore_mask ? t->saved_mask : t->blocked;
    t->restore_mask = false;
    if (sigframe_setup(t, sig, act, info, mask) != 0) {
        /* As Linux: a SIGSEGV, and death if that was what could not be delivered. */
        if (sig == SIGSEGV) {
            MUTEX_GUARD(&t->tg->sighand->lock);
            t->tg->sighand->action[SIGSEGV - 1].handler = 0;
        }
        siginfo_t segv;
        siginfo_kernel(&segv, SIGSEGV);
        signal_force(t, &segv);
        return;
    }
    sigset64_t blocked = t->blocked | act->mask;
    if (!(act->flags & SA_NODEFER))
        blocked |= SIG_BIT(sig);
    signal_set_blocked(t, blocked);
    if (stepping)
        ptrace_stepped_into_handler(t);
}

/* Stops the process unless it is a terminal's stop signal to an orphaned group. SIGHAND is held,
 * and released for a moment. */
static void act_stop(struct task *t, int sig)
{
    struct thread_group *tg = t->tg;
    if (sig != SIGSTOP) {
        mutex_unlock(&tg->sighand_lock);
        mutex_lock(&t->kernel->tree_lock);
        bool orphaned = tg->pgrp && pgrp_is_orphaned(tg->pgrp, NULL);
        mutex_unlock(&t->kernel->tree_lock);
        mutex_lock(&tg->sighand_lock);
        if (orphaned)
            return;
    }
    /* A SIGCONT that came in between has cancelled the stop. */
    if (t->stop_signal_taken)
        stop_begin(t, sig);
}

enum outcome { NOTHING_LEFT, LOOK_AGAIN, MUST_EXIT, HAVE_HANDLER };

/* Takes one signal off the queues, which a tracer may change or swallow. Returns it, 0 if there is
 * none, -EAGAIN if it is gone. */
static int take_one(struct task *t, siginfo_t *info)
{
    struct thread_group *tg = t->tg;
    struct posix_timer *timer;
    bool traced;
    int sig;
    {
        MUTEX_GUARD(&tg->sighand_lock);
        sig = signal_dequeue(t, ~t->blocked, info, &timer);
        if (!sig)
            signal_recalc(t);
        traced = t->ptrace.tracer != NULL;
        /* Which signal it will be in the end, only the tracer knows. */
        if (traced || (sig && (SIG_BIT(sig) & SIG_MASK_STOP)))
            t->stop_signal_taken = true;
    }
    if (timer)
        posix_timer_taken(timer, info);
    if (!sig || !traced || sig == SIGKILL)
        return sig;
    sig = ptrace_signal(t, sig, info);
    return sig ? sig : -EAGAIN;
}

/* Does what the signal's action says, or leaves the handler to the caller. */
static enum outcome act_on(struct task *t, int sig, struct k_sigaction *act)
{
    struct thread_group *tg = t->tg;
    MUTEX_GUARD(&tg->sighand_lock);
    {
        MUTEX_GUARD(&tg->sighand->lock);
        *act = tg->sighand->action[sig - 1];
        if (act->handler > 1 && (act->flags & SA_RESETHAND))
            tg->sighand->action[sig - 1].handler = 0;
    }
    if (act->handler == (gva_t)SIG_IGN)
        return LOOK_AGAIN;
    if (act->handler != (gva_t)SIG_DFL)
        return HAVE_HANDLER;
    if ((SIG_BIT(sig) & SIG_MASK_DEFAULT_IGNORE) || signal_spares(tg, sig))
        return LOOK_AGAIN;
    if (SIG_BIT(sig) & SIG_MASK_STOP) {
        act_stop(t, sig);
        return LOOK_AGAIN;
    }
    group_exit_locked(tg, sig);
    return MUST_EXIT;
}

static enum outcome look(struct task *t)
{
    struct thread_group *tg = t->tg;
    uint32_t work = atomic_load(&t->work);
    if (work & TASK_WORK_NOTIFY) {
        atomic_fetch_and(&t->work, ~TASK_WORK_NOTIFY);
        stop_notify(tg);
    }
    if (work & TASK_WORK_ASYNC) {
        fasync_flush();
        return LOOK_AGAIN;
    }
    if (work & TASK_WORK_EXIT)
        return MUST_EXIT;
    if (work & TASK_WORK_STOP) {
        stop_wait(t);
        return LOOK_AGAIN;
    }
    if (work & TASK_WORK_TRAP) {
        ptrace_trap(t);
        return LOOK_AGAIN;
    }
    siginfo_t info;
    struct k_sigaction act;
    int sig = take_one(t, &info);
    if (sig <= 0)
        return sig ? LOOK_AGAIN : NOTHING_LEFT;
    enum outcome outcome = act_on(t, sig, &act);
    if ((outcome == HAVE_HANDLER || outcome == MUST_EXIT) && t->kernel->strace)
        strace_signal(t, &info);
    if (outcome == HAVE_HANDLER)
        run_handler(t, info.si_signo, &act, &info);
    return outcome;
}

bool signal_deliver(struct task *t)
{
    enum outcome outcome;
    do {
        outcome = look(t);
        /* Several handlers may be due: their frames nest, the last one runs first. */
    } while (outcome == LOOK_AGAIN || outcome == HAVE_HANDLER);
    if (outcome == MUST_EXIT)
        return false;
    resolve_without_handler(t);
    signal_restore_mask(t);
    return true;
}

/* ---- alternate stacks ---- */

bool signal_on_altstack(const struct task *t, gva_t sp)
{
    if (t->altstack.ss_flags & SA_AUTODISARM_FLAG)
        return false;
    gva_t base = (gva_t)(uintptr_t)t->altstack.ss_sp;
    return sp > base && sp - base <= t->altstack.ss_size;
}

int signal_set_altstack(struct task *t, const stack_t *ss, gva_t sp)
{
    if (signal_on_altstack(t, sp))
        return -EPERM;
    uint32_t flags = (uint32_t)ss->ss_flags;
    uint32_t mode = flags & ~SA_AUTODISARM_FLAG;
    if (mode != SS_DISABLE && mode != SS_ONSTACK && mode != 0)
        return -EINVAL;
    if (mode == SS_DISABLE) {
        t->altstack = (stack_t){.ss_flags = (int)flags};
        return 0;
    }
    if (ss->ss_size < KERNEL_MINSIGSTKSZ)
        return -ENOMEM;
    t->altstack = *ss;
    return 0;
}
