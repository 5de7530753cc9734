/*
 * The task loop: the one way into the kernel and out of it.
 */
#include "base/log.h"
#include "sentry/kernel/host_thread.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include "sentry/kernel/signal.h"
#include "sentry/kernel/syscall_work.h"
#include "sentry/syscalls/syscalls.h"
#include <string.h>
#include <time.h>

#define TRAP_PAGE_FAULT 14
#define TRAP_GENERAL_PROTECTION 13
#define PF_PRESENT 1u
#define PF_WRITE 2u
#define PF_USER 4u
#define PF_INSTRUCTION 16u

static void handle_syscall(struct task *t)
{
    struct user_regs_struct *regs = &t->arch.regs;
    t->syscall_nr = regs->orig_rax;
    t->in_syscall = true;
    if (unlikely(atomic_load_explicit(&t->syscall_work, memory_order_relaxed)))
        syscall_watched(t);
    else
        syscall_make(t);
    /* The platform's host must not take this for a system call of its own to restart. */
    regs->orig_rax = (unsigned long)-1;
}

static void record_trap(struct task *t, uint64_t nr, uint64_t error, gva_t addr)
{
    t->trap_nr = nr;
    t->trap_error = error;
    t->trap_addr = addr;
}

static void handle_fault(struct task *t, const struct switch_event *ev)
{
    struct mm_fault fault;
    atomic_fetch_add_explicit(&t->min_faults, 1, memory_order_relaxed);
    if (mm_handle_fault(t->mm, ev->addr, ev->access, t->arch.regs.rsp, &fault) == 0)
        return;
    if (fault.signo == SIGKILL) {
        group_exit(t->tg, SIGKILL);
        return;
    }
    uint64_t error = PF_USER | (fault.code == SEGV_ACCERR ? PF_PRESENT : 0) |
                     (ev->access & ACCESS_WRITE ? PF_WRITE : 0) |
                     (ev->access & ACCESS_EXEC ? PF_INSTRUCTION : 0);
    record_trap(t, TRAP_PAGE_FAULT, error, ev->addr);
    siginfo_t info;
    memset(&info, 0, sizeof(info));
    info.si_signo = fault.signo;
    info.si_code = fault.code;
    info.si_addr = (void *)(uintptr_t)ev->addr;
    signal_force(t, &info);
}

static uint64_t trap_of_signal(const siginfo_t *info)
{
    switch (info->si_signo) {
    case SIGFPE:
        return info->si_code == FPE_INTDIV ? 0 : 19;
    case SIGTRAP:
        return info->si_code == TRAP_TRACE ? 1 : 3;
    case SIGILL:
        return 6;
    case SIGBUS:
        return 17;
    default:
        return TRAP_GENERAL_PROTECTION;
    }
}

static void handle_exception(struct task *t, const struct switch_event *ev)
{
    /* A step that was begun for a tracer which is gone. */
    if (unlikely(ev->info.si_signo == SIGTRAP && t->ptrace.stepping && !t->ptrace.tracer)) {
        ptrace_step_end(t);
        return;
    }
    record_trap(t, trap_of_signal(&ev->info), 0, t->trap_addr);
    signal_force(t, &ev->info);
}

static bool is_restart(const struct task *t)
{
    long result = (long)t->arch.regs.rax;
    return t->in_syscall && result <= -ERESTARTSYS && result >= -ERESTART_RESTARTBLOCK;
}

static void run_once(struct task *t)
{
    struct switch_event ev;
    switch (t->context->ops->run(t->context, mm_address_space(t->mm), &t->arch, &ev)) {
    case SWITCH_SYSCALL:
        handle_syscall(t);
        break;
    case SWITCH_FAULT:
        handle_fault(t, &ev);
        break;
    case SWITCH_SIGNAL:
        handle_exception(t, &ev);
        break;
    case SWITCH_INTERRUPTED:
        atomic_fetch_add_explicit(&t->nivcsw, 1, memory_order_relaxed);
        break;
    case SWITCH_DEAD:
        group_exit(t->tg, SIGKILL);
        break;
    }
}

/* The host has killed the process in which t runs; t is to go and see. */
static void look_round(void *arg)
{
    struct task *t = arg;
    atomic_fetch_or(&t->work, TASK_WORK_SIGNAL);
    task_wake(t);
}

bool task_runs_anywhere(struct task *t)
{
    int n = 0;
    for (int i = 0; i < TASK_CPUSET_WORDS; i++)
        n += __builtin_popcountll(atomic_load_explicit(&t->cpuset[i], memory_order_relaxed));
    return n >= MIN(t->kernel->ncpus, TASK_CPUSET_WORDS * 64);
}

void task_apply_cpuset(struct task *t)
{
    const struct kernel *k = t->kernel;
    cpu_set_t set;
    CPU_ZERO(&set);
    MUTEX_GUARD(&t->lock);
    for (int host = 0; host < CPU_SETSIZE; host++) {
        int cpu = host % k->ncpus;
        if (CPU_ISSET((size_t)host, &k->host_cpus) && cpu < TASK_CPUSET_WORDS * 64 &&
            atomic_load(&t->cpuset[cpu / 64]) >> (cpu % 64) & 1)
            CPU_SET((size_t)host, &set);
    }
    if (t->context)
        t->context->ops->set_cpus(t->context, CPU_COUNT(&set) ? &set : &k->host_cpus);
}

/* A context for this thread. The host may be short of processes for a moment. */
static bool make_context(struct task *t)
{
    struct platform *p = t->kernel->platform;
    struct context *c = NULL;
    int err = 0;
    for (int attempt = 0; attempt < 20; attempt++) {
        err = p->ops->new_context(p, mm_address_space(t->mm), &c);
        if (err != -EAGAIN && err != -ENOMEM)
            break;
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    if (err) {
        log_warn("task %d: no host resources to run it: %s", t->tid, strerror(-err));
        return false;
    }
    if (c->ops->on_death)
        c->ops->on_death(c, look_round, t);
    {
        MUTEX_GUARD(&t->lock);
        t->context = c;
    }
    if (!task_runs_anywhere(t))
        task_apply_cpuset(t);
    /* The platform's thread has served others before: what is in its FPU is not ours. */
    if (!t->arch.fpu_dirty) {
        if (c->ops->pull_fpu(c, &t->arch) != 0)
            return false;
        fpu_reset(t);
    }
    return true;
}

void task_run(struct task *t)
{
    task_set_current(t);
    task_usage_begin(t);
    if (make_context(t)) {
        if (t->set_child_tid) {
            uint32_t tid = (uint32_t)t->own_tid;
            IGNORE(MM_COPY_OUT(t->mm, t->set_child_tid, &tid));
        }
        for (;;) {
            if (unlikely(atomic_load(&t->work) || is_restart(t)) && !signal_deliver(t))
                break;
            t->in_syscall = false;
            run_once(t);
        }
    } else {
        group_exit(t->tg, SIGKILL);
    }
    task_exit(t);
    task_set_current(NULL);
}
