/*
 * inotify(7).
 */
#ifndef PICKET_SENTRY_VFS_INOTIFY_H
#define PICKET_SENTRY_VFS_INOTIFY_H

#include "sentry/vfs/vfs.h"

/* flags: IN_NONBLOCK. -EMFILE: the user has as many as he may. */
int inotify_create_file(struct task *t, unsigned flags, struct file **out);
bool file_is_inotify(const struct file *f);
/* mask as inotify_add_watch(2) takes it. Pre: f is inotify's. Returns the watch descriptor. */
int inotify_add(struct file *f, struct inode *i, uint32_t mask);
/* -EINVAL: no such watch. */
int inotify_remove(struct file *f, int wd);

#endif
