#include "sentry/kernel/syscall_work.h"
#include "sentry/kernel/seccomp.h"

void syscall_watched(struct task *t)
{
    if (seccomp_allows(t))
        syscall_make(t);
}
