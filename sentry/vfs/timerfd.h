/*
 * timerfd_create(2).
 */
#ifndef PICKET_SENTRY_VFS_TIMERFD_H
#define PICKET_SENTRY_VFS_TIMERFD_H

#include "sentry/vfs/vfs.h"
#include <time.h>

/* flags: O_NONBLOCK. The clock is one that clock_now knows. */
int timerfd_create_file(struct task *t, clockid_t clock, unsigned flags, struct file **out);
/* Times in ns. value 0 disarms. -EINVAL if f is something else. */
int timerfd_set(struct file *f, bool absolute, int64_t value, int64_t interval, int64_t *old_value,
                int64_t *old_interval);
int timerfd_get(struct file *f, int64_t *value, int64_t *interval);

#endif
