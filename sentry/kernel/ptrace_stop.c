/*
 * The stops of a traced task, and how it goes on after them. All of it runs on the task's own
 * thread.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include "sentry/kernel/ptrace.h"
#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/ptrace.h>

#define SYSCALL_STOP 0x80

/* ---- single steps ---- */

static void step_begin(struct task *t)
{
    t->ptrace.own_trap = t->arch.regs.eflags & EFLAGS_TF;
    t->ptrace.stepping = true;
    t->arch.regs.eflags |= EFLAGS_TF;
    atomic_fetch_or(&t->syscall_work, SYSCALL_WORK_STEP);
}

bool ptrace_step_end(struct task *t)
{
    if (!t->ptrace.stepping)
        return false;
    t->ptrace.stepping = false;
    if (!t->ptrace.own_trap)
        t->arch.regs.eflags &= ~(unsigned long)EFLAGS_TF;
    atomic_fetch_and(&t->syscall_work, ~SYSCALL_WORK_STEP);
    return true;
}

/* ---- stopping ---- */

/* Tells the tracer. TASK_TREE held. */
static void notify_tracer(struct task *t, struct task *tracer, int code)
{
    struct thread_group *tg = tracer->tg;
    struct k_sigaction act;
    {
        MUTEX_GUARD(&tg->sighand->lock);
        act = tg->sighand->action[SIGCHLD - 1];
    }
    if (act.handler != (gva_t)SIG_IGN && !(act.flags & SA_NOCLDSTOP)) {
        siginfo_t info;
        memset(&info, 0, sizeof(info));
        info.si_signo = SIGCHLD;
        info.si_code = CLD_TRAPPED;
        info.si_pid = pid_nr_in(t->pid, tg->pid->ns);
        info.si_uid = t->cred->uid;
        info.si_status = code & 0x7f;
        (void)signal_send_group(tg, SIGCHLD, &info);
    }
    wait_wake(&tg->child_wait, POLLIN);
}

struct stop_reason {
    int code;
    siginfo_t *info;
    uint64_t message;
    bool dying;      /* PTRACE_EVENT_EXIT: only the tracer ends it */
    bool group_stop; /* it counts as this task's part of one */
};

static bool must_leave(struct task *t, const struct stop_reason *r)
{
    if (r->dying)
        return t->kernel->ending;
    return atomic_load(&t->work) & TASK_WORK_EXIT;
}

/* False: nobody traces us, or there is no time for it. */
static bool enter_stop(struct task *t, const struct stop_reason *r)
{
    struct task_ptrace *p = &t->ptrace;
    MUTEX_GUARD(&t->kernel->tree_lock);
    struct task *tracer = p->tracer;
    if (!tracer)
        return false;
    {
        MUTEX_GUARD(&t->tg->sighand_lock);
        if (must_leave(t, r))
            return false;
        p->state = PTRACE_STOPPED;
        p->code = r->code;
        p->unwaited = true;
        p->message = r->message;
        p->resume = PTRACE_RESUME_CONT;
        p->inject = 0;
        p->has_info = r->info != NULL;
        if (r->info)
            p->info = *r->info;
        if (r->group_stop) {
            atomic_fetch_and(&t->work, ~TASK_WORK_TRAP);
            stop_participate(t);
        }
    }
    notify_tracer(t, tracer, r->code);
    return true;
}

/* Whether the stop is over. */
static bool left_stop(struct task *t, const struct stop_reason *r)
{
    struct task_ptrace *p = &t->ptrace;
    MUTEX_GUARD(&t->tg->sighand_lock);
    if (p->state != PTRACE_RUNNING) {
        if (must_leave(t, r)) {
            p->resume = PTRACE_RESUME_CONT;
            p->inject = 0;
        } else if (p->state != PTRACE_LISTENING || !(atomic_load(&t->work) & TASK_WORK_TRAP)) {
            return false;
        }
        p->state = PTRACE_RUNNING;
        p->unwaited = false;
    }
    if (r->info)
        *r->info = p->info;
    p->has_info = false;
    p->message = 0;
    return true;
}

static void go_on(struct task *t)
{
    static const uint32_t work[] = {
        [PTRACE_RESUME_CONT] = 0,
        [PTRACE_RESUME_SYSCALL] = SYSCALL_WORK_TRACE,
        [PTRACE_RESUME_STEP] = 0,
        [PTRACE_RESUME_EMULATE] = SYSCALL_WORK_EMULATE,
        [PTRACE_RESUME_EMULATE_STEP] = SYSCALL_WORK_EMULATE,
    };
    enum ptrace_resume how = t->ptrace.resume;
    MUTEX_GUARD(&t->tg->sighand_lock);
    atomic_fetch_and(&t->syscall_work, ~(SYSCALL_WORK_TRACE | SYSCALL_WORK_EMULATE));
    if (!t->ptrace.tracer)
        return;
    atomic_fetch_or(&t->syscall_work, work[how]);
    if (how == PTRACE_RESUME_STEP || how == PTRACE_RESUME_EMULATE_STEP)
        step_begin(t);
}

/* Stops for the tracer. Returns the signal it wants us to get; -ESRCH if there is no tracer, -EINTR
 * if the task has to die first. */
static int stop(struct task *t, const struct stop_reason *r)
{
    ptrace_step_end(t);
    /* The tracer may want to see the FPU, and only this thread can get it. */
    if (!t->arch.fpu_valid && !t->arch.fpu_dirty)
        (void)t->context->ops->pull_fpu(t->context, &t->arch);
    if (!enter_stop(t, r))
        return atomic_load(&t->work) & TASK_WORK_EXIT ? -EINTR : -ESRCH;
    stop_notify(t->tg);
    while (!left_stop(t, r)) {
        if (r->dying)
            task_block_uninterruptible(t);
        else
            (void)task_block_killable(t, NULL);
    }
    go_on(t);
    return t->ptrace.inject;
}

static int stop_with_info(struct task *t, struct stop_reason *r)
{
    siginfo_t info;
    memset(&info, 0, sizeof(info));
    info.si_signo = SIGTRAP;
    info.si_code = r->code;
    info.si_pid = t->own_tid;
    info.si_uid = id_shown(t->cred->user_ns, ID_UID, t->cred->uid);
    if (r->group_stop)
        info.si_signo = r->code & 0x7f;
    r->info = &info;
    return stop(t, r);
}

/* ---- reasons ---- */

/* Outside of a call the number in the registers says none, unless one is being restarted. */
static void show_call(struct task *t)
{
    t->arch.regs.orig_rax = t->in_syscall ? t->syscall_nr : (unsigned long)-1;
}
static void take_call(struct task *t)
{
    t->in_syscall = (int)t->arch.regs.orig_rax != -1;
    if (t->in_syscall)
        t->syscall_nr = t->arch.regs.orig_rax;
    t->arch.regs.orig_rax = (unsigned long)-1;
}

int ptrace_signal(struct task *t, int sig, siginfo_t *info)
{
    struct stop_reason r = {.code = sig, .info = info};
    show_call(t);
    int new = stop(t, &r);
    take_call(t);
    if (new == -ESRCH)
        return sig;
    if (new <= 0)
        return 0;
    if (new != info->si_signo) {
        memset(info, 0, sizeof(*info));
        info->si_signo = new;
        info->si_code = SI_USER;
        MUTEX_GUARD(&t->kernel->tree_lock);
        if (t->ptrace.tracer) {
            info->si_pid = pid_nr_in(t->ptrace.tracer->tg->pid, task_pid_ns(t));
            const struct cred *cred = task_get_cred(t->ptrace.tracer);
            info->si_uid = id_shown(t->cred->user_ns, ID_UID, cred->uid);
            cred_put(cred);
        }
    }
    MUTEX_GUARD(&t->tg->sighand_lock);
    if (!(t->blocked & SIG_BIT(new)))
        return new;
    (void)signal_send_locked(t->tg, t, new, info);
    return 0;
}

void ptrace_trap(struct task *t)
{
    struct stop_reason r = {.group_stop = true};
    bool seized;
    {
        MUTEX_GUARD(&t->tg->sighand_lock);
        seized = t->ptrace.seized;
        bool stopped = t->tg->stop_state != STOP_NONE;
        if (!t->ptrace.tracer || (!seized && !stopped)) {
            atomic_fetch_and(&t->work, ~TASK_WORK_TRAP);
            return;
        }
        r.code = stopped ? t->tg->stop_signal : SIGTRAP;
    }
    show_call(t);
    if (seized) {
        r.code |= PTRACE_EVENT_STOP << 8;
        (void)stop_with_info(t, &r);
    } else {
        (void)stop(t, &r);
    }
    take_call(t);
}

void ptrace_syscall_stop(struct task *t, int why)
{
    bool marked = atomic_load(&t->ptrace.options) & PTRACE_O_TRACESYSGOOD;
    struct stop_reason r = {.code = SIGTRAP | (marked ? SYSCALL_STOP : 0),
                            .message = (uint64_t)why};
    int sig = stop_with_info(t, &r);
    if (sig > 0)
        signal_send_self(t, sig);
}

bool ptrace_wants(struct task *t, int event)
{
    return atomic_load_explicit(&t->ptrace.options, memory_order_relaxed) >> event & 1;
}

void ptrace_event(struct task *t, int event, uint64_t message)
{
    if (!ptrace_wants(t, event))
        return;
    struct stop_reason r = {.code = SIGTRAP | event << 8, .message = message};
    (void)stop_with_info(t, &r);
}

bool ptrace_seccomp_stop(struct task *t, unsigned data)
{
    if (!ptrace_wants(t, PTRACE_EVENT_SECCOMP))
        return false;
    ptrace_event(t, PTRACE_EVENT_SECCOMP, data);
    return true;
}

bool ptrace_suspends_seccomp(struct task *t)
{
    return atomic_load_explicit(&t->ptrace.options, memory_order_relaxed) &
           PTRACE_O_SUSPEND_SECCOMP;
}

void ptrace_exec(struct task *t, pid_t old_tid)
{
    bool plain;
    {
        MUTEX_GUARD(&t->tg->sighand_lock);
        plain = t->ptrace.tracer && !t->ptrace.seized;
    }
    t->arch.regs.orig_rax = t->syscall_nr;
    if (ptrace_wants(t, PTRACE_EVENT_EXEC))
        ptrace_event(t, PTRACE_EVENT_EXEC, (uint64_t)old_tid);
    else if (plain)
        signal_send_self(t, SIGTRAP);
}

void ptrace_exit_event(struct task *t)
{
    if (!ptrace_wants(t, PTRACE_EVENT_EXIT))
        return;
    struct stop_reason r = {.code = SIGTRAP | PTRACE_EVENT_EXIT << 8, .dying = true};
    {
        MUTEX_GUARD(&t->tg->sighand_lock);
        r.message = (uint64_t)(t->tg->group_exit ? t->tg->exit_code : t->exit_code);
    }
    (void)stop_with_info(t, &r);
}

bool ptrace_forbids_privileges(struct task *t)
{
    MUTEX_GUARD(&t->kernel->tree_lock);
    struct task *tracer = t->ptrace.tracer;
    if (!tracer)
        return false;
    const struct cred *cred = task_get_cred(tracer);
    bool trusted = cred_capable_in(cred, t->cred->user_ns, CAP_SYS_PTRACE);
    cred_put(cred);
    return !trusted;
}

void ptrace_stepped_into_handler(struct task *t)
{
    struct stop_reason r = {.code = SIGTRAP};
    show_call(t);
    (void)stop_with_info(t, &r);
    take_call(t);
}

void ptrace_stepped_syscall(struct task *t)
{
    siginfo_t info;
    ptrace_step_end(t);
    memset(&info, 0, sizeof(info));
    info.si_signo = SIGTRAP;
    info.si_code = TRAP_BRKPT;
    info.si_addr = (void *)(uintptr_t)t->arch.regs.rip;
    signal_force(t, &info);
}
