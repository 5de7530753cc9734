/*
 * Signals. See signal(7), sigaction(2), rt_sigqueueinfo(2).
 */
#ifndef PICKET_SENTRY_KERNEL_SIGNAL_H
#define PICKET_SENTRY_KERNEL_SIGNAL_H

#include "base/list.h"
#include "base/lock.h"
#include "base/refcount.h"
#include "memmap/memmap.h"
#include <signal.h>

struct task;
struct thread_group;
struct process_group;
struct posix_timer;

typedef uint64_t sigset64_t; /* bit n - 1 is signal n */
#define SIG_BIT(sig) (1ull << ((sig)-1))
#define SIG_MAX 64

/* As the application passes it to rt_sigaction. */
struct k_sigaction {
    gva_t handler; /* 0: SIG_DFL, 1: SIG_IGN */
    uint64_t flags;
    gva_t restorer;
    sigset64_t mask;
};

struct sigqueue {
    struct list_head link;
    siginfo_t info;
    struct posix_timer *timer; /* owns this entry; NULL: freed when it is taken off */
};

struct sigpending {
    sigset64_t set;
    struct list_head queue; /* sigqueue, oldest first */
};

/* The actions. Locked for themselves: CLONE_SIGHAND without CLONE_THREAD shares them. */
struct sighand {
    struct refcount ref;
    struct mutex lock; /* LEAF */
    struct k_sigaction action[SIG_MAX];
};
struct sighand *sighand_create(void);
struct sighand *sighand_copy(struct sighand *sh);
void sighand_put(struct sighand *sh);

/* Sends to one thread / to a process / to all of a process group. Checks no permission. Returns 0,
 * or -EAGAIN if the queue limit is met (real-time signals), or -ESRCH. Any thread. */
int signal_send_task(struct task *t, int sig, const siginfo_t *info);
int signal_send_group(struct thread_group *tg, int sig, const siginfo_t *info);
int signal_send_pgrp(struct process_group *pg, int sig, const siginfo_t *info);
/* A fault or trap of t itself: cannot be blocked or ignored (then it kills). Own thread. */
void signal_force(struct task *t, const siginfo_t *info);
/* SIGPIPE, SIGXFSZ and the like, from the task's own system call. */
void signal_send_self(struct task *t, int sig);
/* Fills a siginfo for a signal that the kernel itself sends (SI_KERNEL), or on behalf of t. */
void siginfo_kernel(siginfo_t *info, int sig);
void siginfo_user(siginfo_t *info, int sig, struct task *sender, int code);
/* Terminates the process of t, with a wait status, as exit_group(2) does. */
void group_exit(struct thread_group *tg, int wait_status);

#endif
