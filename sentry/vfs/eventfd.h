/*
 * eventfd(2).
 */
#ifndef PICKET_SENTRY_VFS_EVENTFD_H
#define PICKET_SENTRY_VFS_EVENTFD_H

#include "sentry/vfs/vfs.h"

/* flags: EFD_SEMAPHORE, EFD_NONBLOCK. */
int eventfd_create_file(struct task *t, uint32_t count, int flags, struct file **out);

#endif
