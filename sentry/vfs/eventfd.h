/*
 * eventfd(2).
 */
#ifndef PICKET_SENTRY_VFS_EVENTFD_H
#define PICKET_SENTRY_VFS_EVENTFD_H

#include "sentry/vfs/vfs.h"

/* flags: EFD_SEMAPHORE, EFD_NONBLOCK. */
int eventfd_create_file(struct task *t, uint32_t count, int flags, struct file **out);
bool file_is_eventfd(const struct file *f);
/* Adds n to f, an eventfd, as far as there is room. Any thread; no lock held that precedes
 * WAIT_QUEUE's wake-ups. */
void eventfd_signal(struct file *f, uint64_t n);

#endif
