/*
 * SIGIO: the owner of a description (F_SETOWN, F_SETSIG) hears when it becomes ready (O_ASYNC).
 *
 * While O_ASYNC is on, the owner has an entry in the queue that the description is polled by.
 * Wake-ups come with locks held under which no signal can be sent; so they only note what happened,
 * and the thread sends when it holds none: a task before it sleeps or returns to the application.
 */
#ifndef PICKET_SENTRY_VFS_FASYNC_H
#define PICKET_SENTRY_VFS_FASYNC_H

#include "sentry/kernel/wait.h"
#include <sys/types.h>

struct task;
struct file;

/* What fcntl(2) tells of an owner. */
struct owner_info {
    int type;  /* F_OWNER_TID, F_OWNER_PID, F_OWNER_PGRP */
    pid_t pid; /* as the asker's pid namespace has it */
    int sig;   /* 0: SIGIO, without details */
};
void file_get_owner(struct file *f, const struct task *t, struct owner_info *out);
/* nr 0: nobody. t's credentials are what the signal is sent with. 0, -ESRCH or -ENOMEM. */
int file_set_owner(struct file *f, const struct task *t, int type, pid_t nr);
int file_set_signal(struct file *f, int sig);
/* O_ASYNC, through descriptor fd. Pre: f->ops->can_async. 0 or -ENOMEM. */
int file_set_async(struct file *f, int fd, bool on);
/* The end of f: before f->ops->release. */
void file_release_owner(struct file *f);

/* Sends what this thread's wake-ups have noted. No lock held. */
void fasync_flush(void);

#endif
