/*
 * Errnos that never reach the application: what a system call returns when a signal cut it short
 * (the numbers are Linux's, as ptrace shows them).
 */
#ifndef PICKET_SENTRY_KERNEL_ERRNO_H
#define PICKET_SENTRY_KERNEL_ERRNO_H

#include <errno.h>

#define ERESTARTSYS 512           /* restart if SA_RESTART, or if no handler runs; else EINTR */
#define ERESTARTNOINTR 513        /* always restart */
#define ERESTARTNOHAND 514        /* restart only if no handler runs */
#define ERESTART_RESTARTBLOCK 516 /* restart through restart_syscall(2) */

#endif
