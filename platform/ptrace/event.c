/*
 * What a stop means that is not a plain system call.
 *
 * The host tells of a fault only its address and whether anything was mapped there; what kind of
 * access it was must be found out. What may be wrong must be wrong on the safe side: a read that
 * was a write comes back as one, while a write that was a read would kill an innocent program.
 */
#include "platform/ptrace/ptrace.h"
#include <errno.h>
#include <linux/audit.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define VSYSCALL_PAGE 0xffffffffff600000ul
#define MAX_INSTRUCTION 15
#define MAX_BUS_RETRIES 4

/* One word of the stopped thread's memory, whatever its protection. */
static bool peek(struct ptrace_context *c, gva_t addr, uint64_t *word)
{
    errno = 0;
    *word = (uint64_t)ptrace(PTRACE_PEEKDATA, c->stub->tid, addr, NULL);
    return errno == 0;
}

static bool writes(struct ptrace_context *c, const struct arch_context *ac, gva_t addr)
{
    uint64_t word;
    if (!peek(c, ac->regs.rip, &word))
        return false;
    uint8_t code[sizeof(word)];
    memcpy(code, &word, sizeof(word));
    return instruction_writes(code, sizeof(code), &ac->regs, addr);
}

/* May the instruction at rip begin on one page and go on at addr, on the next? */
static bool may_cross(gva_t rip, gva_t addr)
{
    return addr > rip && addr - rip < MAX_INSTRUCTION && page_aligned(addr);
}

/* Nothing is mapped at addr. */
static access_t missing_access(struct ptrace_context *c, const struct arch_context *ac, gva_t addr)
{
    /* Whoever got as far as touching data had its instruction, so this is not data. */
    if (page_down(addr) == page_down(ac->regs.rip))
        return ACCESS_EXEC;
    /* The rest of the instruction, or data? Once something is there, denied_access() can tell. */
    if (may_cross(ac->regs.rip, addr))
        return ACCESS_READ;
    return writes(c, ac, addr) ? ACCESS_WRITE : ACCESS_READ;
}

/*
 * Something is mapped at addr, so it is readable: was it a write, or an instruction fetch? Where
 * it may be either (code that writes to itself, an instruction across two pages), the guess is one
 * that a wrong answer cannot hurt: if it was wrong, the same fault comes again.
 */
static access_t denied_access(struct ptrace_context *c, const struct arch_context *ac, gva_t addr)
{
    gva_t rip = ac->regs.rip;
    bool crossing = may_cross(rip, addr);
    if (likely(addr != rip && !crossing))
        return ACCESS_WRITE;
    access_t guess = crossing && writes(c, ac, addr) ? ACCESS_WRITE : ACCESS_EXEC;
    if (c->guess_rip == rip && c->guess_addr == addr && c->guess == guess)
        guess = guess == ACCESS_WRITE ? ACCESS_EXEC : ACCESS_WRITE;
    c->guess_rip = rip;
    c->guess_addr = addr;
    c->guess = guess;
    return guess;
}

static int vsyscall_number(gva_t rip)
{
    switch (rip - VSYSCALL_PAGE) {
    case 0:
        return SYS_gettimeofday;
    case 0x400:
        return SYS_time;
    case 0x800:
        return SYS_getcpu;
    }
    return -1;
}

static enum switch_reason vsyscall(struct arch_context *ac, int nr)
{
    ac->regs.orig_rax = (unsigned long)nr;
    ac->regs.rax = (unsigned long)-ENOSYS;
    return SWITCH_SYSCALL;
}

/* The host has no vsyscall page, or does not run it: the call is a return with a result. */
static bool emulate_vsyscall(struct ptrace_context *c, struct arch_context *ac)
{
    int nr = vsyscall_number(ac->regs.rip);
    uint64_t caller;
    if (nr < 0 || !peek(c, ac->regs.rsp, &caller))
        return false;
    ac->regs.rip = caller;
    ac->regs.rsp += sizeof(caller);
    vsyscall(ac, nr);
    return true;
}

static enum switch_reason segv(struct ptrace_context *c, struct arch_context *ac,
                               struct switch_event *ev)
{
    if (ev->info.si_code != SEGV_MAPERR && ev->info.si_code != SEGV_ACCERR)
        return SWITCH_SIGNAL;
    ev->addr = (gva_t)ev->info.si_addr;
    if (ev->addr == ac->regs.rip && page_down(ev->addr) == VSYSCALL_PAGE && emulate_vsyscall(c, ac))
        return SWITCH_SYSCALL;
    ev->not_present = ev->info.si_code == SEGV_MAPERR;
    ev->access = ev->not_present ? missing_access(c, ac, ev->addr) : denied_access(c, ac, ev->addr);
    return SWITCH_FAULT;
}

/*
 * A page that park.c has closed, or that was open and got lost: nothing is there.
 *
 * A write to a page that guard.c has closed: a fault, also if it was opened since, for then mm
 * shows it once more. Or guard.c had closed it and no longer guards it: the access must be tried
 * again. Or the host has no page to show: then it fails again.
 */
static enum switch_reason bus(struct ptrace_context *c, const struct arch_context *ac,
                              struct switch_event *ev)
{
    ev->addr = (gva_t)ev->info.si_addr;
    if (ev->info.si_code != BUS_ADRERR || atomic_load(&c->stub->process->uffd) < 0)
        return SWITCH_SIGNAL;
    if (park_has(c->stub->process, ev->addr)) {
        ev->not_present = true;
        ev->access = missing_access(c, ac, ev->addr);
        return SWITCH_FAULT;
    }
    ev->access = ACCESS_WRITE;
    if (guard_has(c->stub->process, ev->addr))
        return SWITCH_FAULT;
    uint64_t stop = atomic_load_explicit(&c->host->placed.stops, memory_order_relaxed);
    bool again = c->bus_rip == ac->regs.rip && c->bus_addr == ev->addr && stop == c->bus_stop + 1;
    c->bus_rip = ac->regs.rip;
    c->bus_addr = ev->addr;
    c->bus_stop = stop;
    c->bus_count = again ? c->bus_count + 1 : 0;
    return c->bus_count < MAX_BUS_RETRIES ? SWITCH_NOTHING : SWITCH_SIGNAL;
}

static enum switch_reason signal_stop(struct ptrace_context *c, struct arch_context *ac,
                                      struct switch_event *ev)
{
    *ev = (struct switch_event){0};
    if (ptrace(PTRACE_GETSIGINFO, c->stub->tid, NULL, &ev->info) < 0)
        return errno == ESRCH ? SWITCH_NOTHING : SWITCH_DEAD;
    int sig = ev->info.si_signo;
    if (sig == KICK_SIGNAL)
        return atomic_exchange(&c->kicked, false) ? SWITCH_INTERRUPTED : SWITCH_NOTHING;
    if (ev->info.si_code <= 0) /* sent by somebody: not the application's doing */
        return SWITCH_NOTHING;
    switch (sig) {
    case SIGSEGV:
        return segv(c, ac, ev);
    case SIGBUS:
        return bus(c, ac, ev);
    case SIGFPE:
    case SIGILL:
    case SIGTRAP:
        return SWITCH_SIGNAL;
    }
    return SWITCH_NOTHING;
}

/*
 * int $0x80, or a call in 32-bit mode: there is no 32-bit kernel here. As where the host was built
 * without one, that is a general protection fault at the instruction.
 */
static enum switch_reason odd_syscall(struct ptrace_context *c, struct arch_context *ac,
                                      struct switch_event *ev)
{
    struct __ptrace_syscall_info si;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, c->stub->tid, sizeof(si), &si) > 0 &&
        si.arch == AUDIT_ARCH_X86_64)
        return SWITCH_SYSCALL;
    ac->regs.rax = ac->regs.orig_rax;
    ac->regs.orig_rax = (unsigned long)-1;
    ac->regs.rip -= 2;
    *ev = (struct switch_event){.info = {.si_signo = SIGSEGV, .si_code = SI_KERNEL}};
    return SWITCH_SIGNAL;
}

/* The host is about to serve a call of the vsyscall page: it is made to skip it, and to stop again
 * where the page would have returned to. */
static enum switch_reason seccomp_stop(struct ptrace_context *c, struct arch_context *ac)
{
    pid_t tid = c->stub->tid;
    int nr = (int)ac->regs.orig_rax, status;
    ac->regs.orig_rax = (unsigned long)-1;
    if (ptrace(PTRACE_SETREGS, tid, NULL, &ac->regs) < 0 ||
        ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0)
        return SWITCH_NOTHING;
    do {
        if (ptrace(PTRACE_SYSEMU, tid, NULL, NULL) < 0)
            return SWITCH_NOTHING;
        while (waitpid(tid, &status, __WALL | __WNOTHREAD) < 0)
            if (errno != EINTR)
                return SWITCH_DEAD;
        if (!WIFSTOPPED(status))
            return SWITCH_DEAD;
    } while (status >> 16 != PTRACE_EVENT_STOP);
    if (ptrace(PTRACE_GETREGS, tid, NULL, &ac->regs) < 0)
        return SWITCH_NOTHING;
    return vsyscall(ac, nr);
}

enum switch_reason ptrace_decode_stop(struct ptrace_context *c, int status, struct arch_context *ac,
                                      struct switch_event *ev)
{
    switch (status >> 16) {
    case 0:
        break;
    case PTRACE_EVENT_SECCOMP:
        return seccomp_stop(c, ac);
    case PTRACE_EVENT_STOP:
        /* A trap that we asked for and no longer need, or somebody has stopped the process. */
        if (WSTOPSIG(status) != SIGTRAP)
            kill(c->stub->process->pid, SIGCONT);
        return SWITCH_NOTHING;
    default:
        return SWITCH_NOTHING;
    }
    if (WSTOPSIG(status) == (SIGTRAP | 0x80))
        return odd_syscall(c, ac, ev);
    return signal_stop(c, ac, ev);
}
