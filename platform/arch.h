/*
 * The register state of one application thread on x86-64, as the kernel sees it between switches.
 */
#ifndef PICKET_PLATFORM_ARCH_H
#define PICKET_PLATFORM_ARCH_H

#include "base/compiler.h"
#include <sys/user.h>

/* Largest XSAVE area that we carry (CPUID 0xD of today's machines says 11008 with AMX). */
#define ARCH_XSTATE_MAX 16384u

#define EFLAGS_TF 0x100u /* trap after each instruction */

struct arch_context {
    /* fs_base and gs_base included. After a system call: orig_rax is its number, rax is -ENOSYS,
     * rip is behind the instruction, rcx and r11 as the instruction left them. */
    struct user_regs_struct regs;
    /*
     * The XSAVE area in standard (not compacted) format, or NULL until first pulled; xstate_size
     * bytes, from context_ops.pull_fpu. Most switches never touch it: the state lives in the
     * platform's thread.
     */
    void *xstate;
    uint32_t xstate_size;
    bool fpu_valid; /* xstate is what the thread has: set by pull_fpu, cleared by switch */
    bool fpu_dirty; /* xstate was changed: switch must load it first */
};

static inline void arch_set_return(struct arch_context *ac, long value)
{
    ac->regs.rax = (unsigned long)value;
}

#endif
