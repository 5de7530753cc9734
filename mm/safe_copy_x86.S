/*
 * The only instructions of the sentry that may fault on application pages. Each routine lies between
 * two labels; the signal handler in safe_copy.c sends a fault between them to the fixup.
 */
#include <cet.h>

        .text

/* size_t safe_copy_asm(void *dst, const void *src, size_t n): bytes not copied */
        .globl safe_copy_asm, safe_copy_asm_end, safe_copy_asm_fixup
        .hidden safe_copy_asm, safe_copy_asm_end, safe_copy_asm_fixup
        .type safe_copy_asm, @function
        .balign 16
safe_copy_asm:
        _CET_ENDBR
        movq %rdx, %rcx
        cmpq $64, %rcx
        jae 2f
1:      /* small: words, then bytes */
        cmpq $8, %rcx
        jb 2f
        movq (%rsi), %rax
        movq %rax, (%rdi)
        addq $8, %rsi
        addq $8, %rdi
        subq $8, %rcx
        jmp 1b
2:      rep movsb
safe_copy_asm_end:
safe_copy_asm_fixup:
        movq %rcx, %rax
        ret
        .size safe_copy_asm, . - safe_copy_asm

/* size_t safe_zero_asm(void *dst, size_t n): bytes not done */
        .globl safe_zero_asm, safe_zero_asm_end, safe_zero_asm_fixup
        .hidden safe_zero_asm, safe_zero_asm_end, safe_zero_asm_fixup
        .type safe_zero_asm, @function
        .balign 16
safe_zero_asm:
        _CET_ENDBR
        movq %rsi, %rcx
        xorl %eax, %eax
        rep stosb
safe_zero_asm_end:
safe_zero_asm_fixup:
        movq %rcx, %rax
        ret
        .size safe_zero_asm, . - safe_zero_asm

/* int safe_load32_asm(const uint32_t *p, uint32_t *out): 0, or 1 after a fault */
        .globl safe_load32_asm, safe_load32_asm_end, safe_load32_asm_fixup
        .hidden safe_load32_asm, safe_load32_asm_end, safe_load32_asm_fixup
        .type safe_load32_asm, @function
        .balign 16
safe_load32_asm:
        _CET_ENDBR
        movl (%rdi), %ecx
safe_load32_asm_end:
        movl %ecx, (%rsi)
        xorl %eax, %eax
        ret
safe_load32_asm_fixup:
        movl $1, %eax
        ret
        .size safe_load32_asm, . - safe_load32_asm

/* int safe_cmpxchg32_asm(uint32_t *p, uint32_t expected, uint32_t desired, uint32_t *old): same */
        .globl safe_cmpxchg32_asm, safe_cmpxchg32_asm_end, safe_cmpxchg32_asm_fixup
        .hidden safe_cmpxchg32_asm, safe_cmpxchg32_asm_end, safe_cmpxchg32_asm_fixup
        .type safe_cmpxchg32_asm, @function
        .balign 16
safe_cmpxchg32_asm:
        _CET_ENDBR
        movl %esi, %eax
        lock cmpxchgl %edx, (%rdi)
safe_cmpxchg32_asm_end:
        movl %eax, (%rcx)
        xorl %eax, %eax
        ret
safe_cmpxchg32_asm_fixup:
        movl $1, %eax
        ret
        .size safe_cmpxchg32_asm, . - safe_cmpxchg32_asm

        .section .note.GNU-stack, "", @progbits
