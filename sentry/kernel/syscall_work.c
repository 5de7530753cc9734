#include "sentry/kernel/syscall_work.h"
#include "sentry/kernel/seccomp.h"
#include <asm/unistd_64.h>

/* Whether the call is made: the tracer comes first, and may have made another call of it. */
static bool enter(struct task *t, uint32_t work)
{
    if (work & (SYSCALL_WORK_TRACE | SYSCALL_WORK_EMULATE)) {
        ptrace_syscall_stop(t, PTRACE_WHY_SYSCALL_ENTRY);
        if ((work & SYSCALL_WORK_EMULATE) || (atomic_load(&t->work) & TASK_WORK_EXIT))
            return false;
    }
    if ((work & SYSCALL_WORK_SECCOMP) && !seccomp_allows(t))
        return false;
    t->syscall_nr = t->arch.regs.orig_rax;
    return (int)t->syscall_nr != -1;
}

/* The registers as they are shown after the call: rt_sigreturn's say that there was none. */
static void leave(struct task *t, uint64_t nr)
{
    struct user_regs_struct *regs = &t->arch.regs;
    uint32_t work = atomic_load(&t->syscall_work);
    if (work & SYSCALL_WORK_TRACE) {
        regs->orig_rax = !t->in_syscall && nr == __NR_rt_sigreturn ? (unsigned long)-1 : nr;
        ptrace_syscall_stop(t, PTRACE_WHY_SYSCALL_EXIT);
        if (t->in_syscall) {
            t->in_syscall = (int)regs->orig_rax != -1;
            t->syscall_nr = regs->orig_rax;
        }
    } else if (work & SYSCALL_WORK_STEP) {
        ptrace_stepped_syscall(t);
    }
}

void syscall_watched(struct task *t)
{
    if (enter(t, atomic_load(&t->syscall_work)))
        syscall_make(t);
    leave(t, t->syscall_nr);
}
