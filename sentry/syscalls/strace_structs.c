/*
 * The strace printer: structures.
 */
#include "sentry/syscalls/strace_format.h"

void strace_siginfo(struct strace_out *o, const siginfo_t *info)
{
    strace_printf(o, "{si_signo=");
    strace_signal_name(o, info->si_signo);
    strace_printf(o, ", si_code=%d}", info->si_code);
}

void strace_poll_result(UNUSED struct strace_out *o, UNUSED const struct strace_call *c)
{
}
