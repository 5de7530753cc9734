/*
 * Times as applications pass them, and as the kernel keeps them: signed 64-bit nanoseconds.
 */
#ifndef PICKET_SENTRY_SYSCALLS_TIME_ARGS_H
#define PICKET_SENTRY_SYSCALLS_TIME_ARGS_H

#include "sentry/kernel/task.h"

/* Longer times are cut to this, about 146 years, so that sums of two do not overflow. */
#define TIME_LIMIT_NS (INT64_MAX / 2)

/* struct timespec and struct timeval. 0, -EFAULT, or -EINVAL for negative or malformed times. */
MUST_CHECK int copy_in_timespec(struct task *t, gva_t addr, int64_t *ns);
MUST_CHECK int copy_in_timeval(struct task *t, gva_t addr, int64_t *ns);
MUST_CHECK int copy_out_timespec(struct task *t, gva_t addr, int64_t ns);
MUST_CHECK int copy_out_timeval(struct task *t, gva_t addr, int64_t ns);
/* A validated pair: -EINVAL for seconds < 0 or a fraction outside [0, per_second). */
MUST_CHECK int ns_from_parts(int64_t seconds, int64_t fraction, int64_t per_second, int64_t *ns);

#endif
