/*
 * epoll(7).
 */
#ifndef PICKET_SENTRY_VFS_EPOLL_H
#define PICKET_SENTRY_VFS_EPOLL_H

#include "sentry/vfs/vfs.h"
#include <sys/epoll.h>

int epoll_create_file(struct task *t, struct file **out);
/* -EINVAL if epf is no epoll instance. ev: NULL for EPOLL_CTL_DEL. */
int epoll_control(struct file *epf, int op, int fd, struct file *f, const struct epoll_event *ev);
/*
 * Waits for events and writes up to `max` of them to the application at `events`. A deadline in the
 * past means "do not wait", NULL for ever. Returns their number, or -EFAULT, -ERESTARTSYS.
 */
long epoll_collect(struct task *t, struct file *epf, gva_t events, int max,
                   const ktime_t *deadline);
bool file_is_epoll(const struct file *f);

#endif
