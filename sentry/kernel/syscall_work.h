/*
 * From the registers of a task to its system call and back.
 */
#ifndef PICKET_SENTRY_KERNEL_SYSCALL_WORK_H
#define PICKET_SENTRY_KERNEL_SYSCALL_WORK_H

#include "sentry/syscalls/syscalls.h"

/* Makes the call that t's registers ask for. Own thread. */
static inline void syscall_make(struct task *t)
{
    const struct user_regs_struct *regs = &t->arch.regs;
    struct sysargs args = {{regs->rdi, regs->rsi, regs->rdx, regs->r10, regs->r8, regs->r9}};
    long result = syscall_dispatch(t, t->syscall_nr, &args);
    /* rt_sigreturn and exec have set all registers themselves. */
    if (t->in_syscall)
        arch_set_return(&t->arch, result);
}

/* The same where somebody wants to know, or to refuse (task.syscall_work). */
void syscall_watched(struct task *t);

#endif
