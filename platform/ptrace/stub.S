/*
 * All code that ever runs natively in a stub process.
 *
 * It lives in the same address space as hostile code. So it uses registers only: no stack, no
 * write to memory, nothing read but the command page and itself, both read-only here. Jumping into
 * it wins an application nothing: its threads are resumed with PTRACE_SYSEMU, always, and their
 * system calls go to the sentry wherever the instruction is.
 *
 *      r12d  generation of the last batch done         r14  next op
 *      r13   parent's pid (fork), scratch              r15d ops left
 *      rbx   the command page
 */
#include "platform/ptrace/stub_layout.h"
#include <asm/unistd.h>
#include <cet.h>

#define FUTEX_WAIT 0
#define SEEK_SET 0
#define PROT_READ 1
#define MAP_SHARED_FIXED 0x11
#define PR_SET_PDEATHSIG 1
#define SIGKILL 9
#define MXCSR_DEFAULT 0x1f80
#define XFEATURES_BUT_PKRU 0xfffffdff

        .section .rodata
        .balign 64
        .globl  ptrace_stub_begin, ptrace_stub_master, ptrace_stub_exit, ptrace_stub_end
ptrace_stub_begin:

/* The first stub: a copy of the sentry until here. Forget all of it, the registers included. */
ptrace_stub_master:
        xorl    %edi, %edi
        movabsq $STUB_CODE, %rsi
        movl    $__NR_munmap, %eax
        syscall
        testq   %rax, %rax
        jnz     die
        movl    $XFEATURES_BUT_PKRU, %eax
        movl    $0xffffffff, %edx
        xrstor64 initial_xstate(%rip)
        xorl    %r12d, %r12d

/* Sleeps until the generation changes, does what the page says, and tells the sentry. */
keeper:
        movabsq $STUB_PAGE, %rbx
        movl    STUB_GENERATION(%rbx), %eax
        cmpl    %r12d, %eax
        jne     work
        leaq    STUB_GENERATION(%rbx), %rdi
        movl    $FUTEX_WAIT, %esi
        movl    %r12d, %edx
        xorl    %r10d, %r10d
        movl    $__NR_futex, %eax
        syscall
        jmp     keeper

work:
        movl    %eax, %r12d
        movl    STUB_COUNT(%rbx), %r15d
        leaq    STUB_OPS(%rbx), %r14
1:      xorl    %eax, %eax
        testl   %r15d, %r15d
        jz      answer
        movq    STUB_OP_NR(%r14), %rax
        movq    STUB_OP_ARGS+0(%r14), %rdi
        movq    STUB_OP_ARGS+8(%r14), %rsi
        movq    STUB_OP_ARGS+16(%r14), %rdx
        movq    STUB_OP_ARGS+24(%r14), %r10
        movq    STUB_OP_ARGS+32(%r14), %r8
        movq    STUB_OP_ARGS+40(%r14), %r9
        movq    STUB_OP_FLAGS(%r14), %r13
        syscall
        testq   %r13, %r13
        jnz     special
2:      cmpq    $-4095, %rax
        jae     answer
next:   addq    $STUB_OP_SIZE, %r14
        decl    %r15d
        jmp     1b

special:
        testq   %rax, %rax
        jnz     3f
        testl   $STUB_OP_FORK, %r13d
        jnz     forked
        testl   $STUB_OP_THREAD, %r13d
        jnz     park
3:      testl   $STUB_OP_ADVICE, %r13d
        jnz     next
        testl   $STUB_OP_REPORT, %r13d
        jz      2b
        cmpq    $-4095, %rax
        jae     answer
        movl    STUB_REPORT_FD(%rbx), %edi
        movq    %rax, %rsi
        movl    $SEEK_SET, %edx
        movl    $__NR_lseek, %eax
        syscall
        jmp     2b

/* rax: 0 or -errno. The event descriptor is told 1 + errno, from a table that no one can write. */
answer:
        negq    %rax
        cmpq    $255, %rax
        jbe     4f
        movl    $255, %eax
4:      leaq    numbers(%rip), %rsi
        leaq    (%rsi,%rax,8), %rsi
        movl    STUB_EVENT_FD(%rbx), %edi
        movl    $8, %edx
        movl    $__NR_write, %eax
        syscall
        jmp     keeper

/* A new process: r8 has the offset of its own command page in the file r9d, r9's upper half the
 * process id of the sentry, without which it must not live. */
forked:
        movq    %r9, %r13
        movabsq $STUB_PAGE, %rdi
        movl    $STUB_PAGE_SIZE, %esi
        movl    $PROT_READ, %edx
        movl    $MAP_SHARED_FIXED, %r10d
        movq    %r8, %r9
        movl    %r13d, %r8d
        movl    $__NR_mmap, %eax
        syscall
        cmpq    %rdi, %rax
        jne     die
        movl    $PR_SET_PDEATHSIG, %edi
        movl    $SIGKILL, %esi
        movl    $__NR_prctl, %eax
        syscall
        movl    $__NR_getppid, %eax
        syscall
        shrq    $32, %r13
        cmpl    %r13d, %eax
        jne     die
        xorl    %r12d, %r12d
        jmp     keeper

/* A new thread: waits for its tracer. */
park:
        movl    $__NR_pause, %eax
        syscall
        jmp     park

ptrace_stub_exit:
        xorl    %edi, %edi
        movl    $__NR_exit, %eax
        syscall
        ud2

die:
        movl    $1, %edi
        movl    $__NR_exit_group, %eax
        syscall
        ud2

/* An XSAVE area that says "everything in its initial state". */
        .balign 64
initial_xstate:
        .fill   24, 1, 0
        .long   MXCSR_DEFAULT
        .fill   576 - 28, 1, 0

numbers:
        .set    i, 1
        .rept   256
        .quad   i
        .set    i, i + 1
        .endr
        .org    ptrace_stub_begin + STUB_CODE_SIZE /* an error if there is more than a page */
ptrace_stub_end:

        .section .note.GNU-stack, "", @progbits
