/*
 * The strace printer: signals.
 */
#include "sentry/syscalls/strace_format.h"

#include "sentry/kernel/signal.h"

#define VALUE (c->args->a[i])
#define SIGNALS_HALF 32

/* [INT TERM]; a set with more than half of them is shown as what it lacks: ~[KILL]. */
void strace_sigset(struct strace_out *o, sigset64_t set)
{
    bool inverse = __builtin_popcountll(set) > SIGNALS_HALF;
    unsigned shown = 0;
    strace_printf(o, inverse ? "~[" : "[");
    for (int sig = 1; sig <= SIG_MAX; sig++) {
        if (!!(set & SIG_BIT(sig)) == inverse)
            continue;
        char name[32] = "";
        struct strace_out n = {.buf = name, .size = sizeof(name)};
        strace_signal_name(&n, sig);
        strace_printf(o, "%s%s", shown++ ? " " : "", n.len > 3 ? name + 3 : name);
    }
    strace_printf(o, "]");
}

STRACE_FORMATTER(strace_sigset_at)
{
    sigset64_t set;
    if (VALUE && c->mm && MM_COPY_IN(c->mm, &set, VALUE) == 0)
        strace_sigset(o, set);
    else
        strace_pointer(o, VALUE);
}

STRACE_FORMATTER(strace_sigaction)
{
    struct {
        uint64_t handler, flags, restorer;
        sigset64_t mask;
    } sa;
    if (!VALUE || !c->mm || MM_COPY_IN(c->mm, &sa, VALUE) != 0) {
        strace_pointer(o, VALUE);
        return;
    }
    if (sa.handler <= 1)
        strace_printf(o, "{sa_handler=%s, sa_mask=", sa.handler ? "SIG_IGN" : "SIG_DFL");
    else
        strace_printf(o, "{sa_%s=0x%lx, sa_mask=", sa.flags & SA_SIGINFO ? "sigaction" : "handler",
                      sa.handler);
    strace_sigset(o, sa.mask);
    strace_printf(o, ", sa_flags=");
    strace_kind(o, T_SA_FLAGS, sa.flags);
    if (sa.restorer)
        strace_printf(o, ", sa_restorer=0x%lx", sa.restorer);
    strace_printf(o, "}");
}

STRACE_FORMATTER(strace_stack)
{
    stack_t ss;
    if (!VALUE || !c->mm || MM_COPY_IN(c->mm, &ss, VALUE) != 0) {
        strace_pointer(o, VALUE);
        return;
    }
    strace_printf(o, "{ss_sp=");
    strace_pointer(o, (uint64_t)(uintptr_t)ss.ss_sp);
    strace_printf(o, ", ss_flags=");
    strace_kind(o, T_SS_FLAGS, (unsigned)ss.ss_flags);
    strace_printf(o, ", ss_size=%zu}", ss.ss_size);
}

STRACE_FORMATTER(strace_sigevent)
{
    struct sigevent ev;
    if (!VALUE || !c->mm || MM_COPY_IN(c->mm, &ev, VALUE) != 0) {
        strace_pointer(o, VALUE);
        return;
    }
    strace_printf(o, "{sigev_value={sival_int=%d, sival_ptr=%p}, sigev_signo=",
                  ev.sigev_value.sival_int, ev.sigev_value.sival_ptr);
    strace_signal_name(o, ev.sigev_signo);
    strace_printf(o, ", sigev_notify=");
    strace_kind(o, T_SIGEV_NOTIFY, (unsigned)ev.sigev_notify);
    if (ev.sigev_notify == SIGEV_THREAD_ID)
        strace_printf(o, ", sigev_notify_thread_id=%d", ev._sigev_un._tid);
    strace_printf(o, "}");
}

/* ---- siginfo ---- */

#define CODE(sig, code)                                                                            \
    {                                                                                              \
        sig, code, #code                                                                           \
    }
static const struct {
    int sig; /* 0: any */
    int code;
    const char *name;
} codes[] = {
    CODE(0, SI_USER),           CODE(0, SI_KERNEL),         CODE(0, SI_QUEUE),
    CODE(0, SI_TIMER),          CODE(0, SI_MESGQ),          CODE(0, SI_ASYNCIO),
    CODE(0, SI_SIGIO),          CODE(0, SI_TKILL),          CODE(SIGSEGV, SEGV_MAPERR),
    CODE(SIGSEGV, SEGV_ACCERR), CODE(SIGSEGV, SEGV_BNDERR), CODE(SIGSEGV, SEGV_PKUERR),
    CODE(SIGBUS, BUS_ADRALN),   CODE(SIGBUS, BUS_ADRERR),   CODE(SIGBUS, BUS_OBJERR),
    CODE(SIGFPE, FPE_INTDIV),   CODE(SIGFPE, FPE_INTOVF),   CODE(SIGFPE, FPE_FLTDIV),
    CODE(SIGFPE, FPE_FLTOVF),   CODE(SIGFPE, FPE_FLTUND),   CODE(SIGFPE, FPE_FLTRES),
    CODE(SIGFPE, FPE_FLTINV),   CODE(SIGFPE, FPE_FLTSUB),   CODE(SIGILL, ILL_ILLOPC),
    CODE(SIGILL, ILL_ILLOPN),   CODE(SIGILL, ILL_ILLADR),   CODE(SIGILL, ILL_PRVOPC),
    CODE(SIGTRAP, TRAP_BRKPT),  CODE(SIGTRAP, TRAP_TRACE),  CODE(SIGTRAP, TRAP_HWBKPT),
    CODE(SIGCHLD, CLD_EXITED),  CODE(SIGCHLD, CLD_KILLED),  CODE(SIGCHLD, CLD_DUMPED),
    CODE(SIGCHLD, CLD_TRAPPED), CODE(SIGCHLD, CLD_STOPPED), CODE(SIGCHLD, CLD_CONTINUED),
};

static void print_code(struct strace_out *o, const siginfo_t *info)
{
    for (size_t k = 0; k < ARRAY_SIZE(codes); k++) {
        if (codes[k].code != info->si_code || (codes[k].sig && codes[k].sig != info->si_signo))
            continue;
        strace_printf(o, "%s", codes[k].name);
        return;
    }
    strace_printf(o, "%d", info->si_code);
}

static void print_child(struct strace_out *o, const siginfo_t *info)
{
    strace_printf(o, ", si_pid=%d, si_uid=%u, si_status=", info->si_pid, info->si_uid);
    if (info->si_code == CLD_EXITED)
        strace_printf(o, "%d", info->si_status);
    else
        strace_signal_name(o, info->si_status);
    strace_printf(o, ", si_utime=%ld, si_stime=%ld", info->si_utime, info->si_stime);
}

static bool is_fault(int sig)
{
    return sig == SIGSEGV || sig == SIGBUS || sig == SIGFPE || sig == SIGILL || sig == SIGTRAP;
}

void strace_siginfo(struct strace_out *o, const siginfo_t *info)
{
    strace_printf(o, "{si_signo=");
    strace_signal_name(o, info->si_signo);
    strace_printf(o, ", si_code=");
    print_code(o, info);
    if (info->si_code == SI_TIMER) {
        strace_printf(o, ", si_timerid=%#x, si_overrun=%d, si_int=%d, si_ptr=%p", info->si_timerid,
                      info->si_overrun, info->si_int, info->si_ptr);
    } else if (info->si_code <= 0) {
        strace_printf(o, ", si_pid=%d, si_uid=%u", info->si_pid, info->si_uid);
        if (info->si_code == SI_QUEUE)
            strace_printf(o, ", si_int=%d, si_ptr=%p", info->si_int, info->si_ptr);
    } else if (info->si_code != SI_KERNEL && info->si_signo == SIGCHLD) {
        print_child(o, info);
    } else if (info->si_code != SI_KERNEL && is_fault(info->si_signo)) {
        strace_printf(o, ", si_addr=");
        strace_pointer(o, (uint64_t)(uintptr_t)info->si_addr);
    }
    strace_printf(o, "}");
}

STRACE_FORMATTER(strace_siginfo_at)
{
    siginfo_t info;
    if (!VALUE || !c->mm || MM_COPY_IN(c->mm, &info, VALUE) != 0)
        strace_pointer(o, VALUE);
    else
        strace_siginfo(o, &info);
}
