/*
 * Process descriptors: pidfd_open(2), CLONE_PIDFD.
 */
#ifndef PICKET_SENTRY_KERNEL_PIDFD_H
#define PICKET_SENTRY_KERNEL_PIDFD_H

struct file;
struct task;
struct thread_group;

/* A new descriptor (close-on-exec) of t for tg. flags: O_NONBLOCK or 0. Returns it or -errno. */
int pidfd_create(struct task *t, struct thread_group *tg, unsigned flags);
/* The process that a descriptor stands for, or NULL if it is none; no reference is taken. */
struct thread_group *pidfd_group(struct file *f);

#endif
