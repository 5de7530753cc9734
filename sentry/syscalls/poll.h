/*
 * What the calls that wait for several files have in common: deadlines and signal masks.
 */
#ifndef PICKET_SENTRY_SYSCALLS_POLL_H
#define PICKET_SENTRY_SYSCALLS_POLL_H

#include "sentry/kernel/task.h"

/* A timeout in milliseconds as a deadline in *at, or NULL if it is negative: for ever. 0 becomes
 * the deadline 0: do not wait. */
const ktime_t *poll_deadline_ms(int ms, ktime_t *at);
/* The same for a struct timespec of the application. *at points to room for the deadline, and
 * becomes NULL for ever. 0, -EFAULT or -EINVAL. */
int poll_deadline_timespec(struct task *t, gva_t addr, const ktime_t **at);
/* The signal mask of ppoll and others, until signal_restore_mask. 0, -EFAULT or -EINVAL. */
int poll_set_mask(struct task *t, gva_t addr, uint64_t size);

#endif
