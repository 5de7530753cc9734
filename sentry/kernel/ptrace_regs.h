/*
 * The registers of a stopped tracee, as ptrace(2) shows them. All functions: SIGHAND of the tracee
 * held, and it is stopped for the caller.
 */
#ifndef PICKET_SENTRY_KERNEL_PTRACE_REGS_H
#define PICKET_SENTRY_KERNEL_PTRACE_REGS_H

#include "sentry/kernel/task.h"

#define PTRACE_XSTATE_MAX ARCH_XSTATE_MAX

/* One word of struct user at a multiple of 8. 0 or -EIO; -ENOSPC for a hardware breakpoint, of
 * which there are none. */
int ptrace_peek_user(struct task *t, uint64_t offset, uint64_t *value);
int ptrace_poke_user(struct task *t, uint64_t offset, uint64_t value);

/* A register set: NT_PRSTATUS, NT_PRFPREG, NT_X86_XSTATE. */
struct ptrace_regset {
    unsigned type;
    /* Bytes; for NT_X86_XSTATE what the platform says. */
    uint32_t (*size)(struct task *t);
    void (*get)(struct task *t, void *buf);
    /* The first n bytes of a set (a multiple of 8). 0, -EINVAL, -EFAULT or -EIO. */
    int (*set)(struct task *t, const void *buf, uint32_t n);
};
/* NULL: there is no such set. */
const struct ptrace_regset *ptrace_regset_find(unsigned type);

#endif
