/*
 * Operations of prctl(2) that belong to other files.
 */
#ifndef PICKET_SENTRY_SYSCALLS_PRCTL_H
#define PICKET_SENTRY_SYSCALLS_PRCTL_H

#include "sentry/kernel/task.h"

long prctl_set_seccomp(struct task *t, uint64_t mode, gva_t filter);

#endif
