/*
 * RLIMIT_CPU: SIGXCPU when the soft limit is used up and each second after, SIGKILL at the hard
 * limit. As timers on CPU clocks, it looks when the time could have been used up, at the earliest.
 */
#ifndef PICKET_SENTRY_KERNEL_CPU_LIMIT_H
#define PICKET_SENTRY_KERNEL_CPU_LIMIT_H

#include "base/compiler.h"

struct thread_group;
struct cpu_limit;

/* Makes what a finite limit of tg needs, before it counts; nothing without one. 0 or -errno. */
MUST_CHECK int cpu_limit_prepare(struct thread_group *tg);
/* The limit is new, or the process begins: counts from now on. No lock held. */
void cpu_limit_arm(struct thread_group *tg);
/* The process ends (no task of it is live), and is freed. */
void cpu_limit_exit(struct thread_group *tg);
void cpu_limit_free(struct thread_group *tg);

#endif
