/*
 * signalfd(2).
 */
#ifndef PICKET_SENTRY_VFS_SIGNALFD_H
#define PICKET_SENTRY_VFS_SIGNALFD_H

#include "sentry/kernel/signal.h"
#include "sentry/vfs/vfs.h"

/* flags: O_NONBLOCK. */
int signalfd_create_file(struct task *t, sigset64_t mask, unsigned flags, struct file **out);
/* -EINVAL if f is something else. */
int signalfd_set_mask(struct file *f, sigset64_t mask);

#endif
