/*
 * The C side of safe_copy_x86.S: a table of where faults are expected, and the handler that looks
 * them up. A word-wise copy may report up to seven bytes less than it could have done; nobody may
 * rely on more, since the page behind the fault is bad in any case.
 */
#include "mm/safe_copy.h"
#include <errno.h>
#include <signal.h>
#include <ucontext.h>

size_t safe_copy_asm(void *dst, const void *src, size_t n);
size_t safe_zero_asm(void *dst, size_t n);
int safe_load32_asm(const uint32_t *p, uint32_t *out);
int safe_cmpxchg32_asm(uint32_t *p, uint32_t expected, uint32_t desired, uint32_t *old);

extern const char safe_copy_asm_end[], safe_copy_asm_fixup[];
extern const char safe_zero_asm_end[], safe_zero_asm_fixup[];
extern const char safe_load32_asm_end[], safe_load32_asm_fixup[];
extern const char safe_cmpxchg32_asm_end[], safe_cmpxchg32_asm_fixup[];

size_t safe_copy(void *dst, const void *src, size_t n)
{
    return n - safe_copy_asm(dst, src, n);
}

size_t safe_zero(void *dst, size_t n)
{
    return n - safe_zero_asm(dst, n);
}

int safe_load32(const uint32_t *p, uint32_t *out)
{
    return safe_load32_asm(p, out) ? -EFAULT : 0;
}

int safe_cmpxchg32(uint32_t *p, uint32_t expected, uint32_t desired, uint32_t *old)
{
    return safe_cmpxchg32_asm(p, expected, desired, old) ? -EFAULT : 0;
}

static uintptr_t fixup_of(uintptr_t rip)
{
    const struct {
        uintptr_t start, end, fixup;
    } table[] = {
        {(uintptr_t)safe_copy_asm, (uintptr_t)safe_copy_asm_end, (uintptr_t)safe_copy_asm_fixup},
        {(uintptr_t)safe_zero_asm, (uintptr_t)safe_zero_asm_end, (uintptr_t)safe_zero_asm_fixup},
        {(uintptr_t)safe_load32_asm, (uintptr_t)safe_load32_asm_end,
         (uintptr_t)safe_load32_asm_fixup},
        {(uintptr_t)safe_cmpxchg32_asm, (uintptr_t)safe_cmpxchg32_asm_end,
         (uintptr_t)safe_cmpxchg32_asm_fixup},
    };
    for (size_t i = 0; i < ARRAY_SIZE(table); i++)
        if (rip >= table[i].start && rip < table[i].end)
            return table[i].fixup;
    return 0;
}

/* Who handled these signals before us (a sanitizer, or nobody): set once, by safe_copy_init. */
static struct sigaction old_segv, old_bus;

static void on_fault(int sig, UNUSED siginfo_t *info, void *ctx)
{
    ucontext_t *uc = ctx;
    uintptr_t fixup = fixup_of((uintptr_t)uc->uc_mcontext.gregs[REG_RIP]);
    if (fixup) {
        uc->uc_mcontext.gregs[REG_RIP] = (greg_t)fixup;
        return;
    }
    /* Not ours: put the former handler back and let the instruction fault again. */
    sigaction(sig, sig == SIGSEGV ? &old_segv : &old_bus, NULL);
}

int safe_copy_init(void)
{
    struct sigaction sa = {.sa_sigaction = on_fault,
                           .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    sigset_t faults;

    sigemptyset(&sa.sa_mask);
    sigemptyset(&faults);
    sigaddset(&faults, SIGSEGV);
    sigaddset(&faults, SIGBUS);
    if (sigaction(SIGSEGV, &sa, &old_segv) || sigaction(SIGBUS, &sa, &old_bus) ||
        sigprocmask(SIG_UNBLOCK, &faults, NULL))
        return -errno;
    return 0;
}
