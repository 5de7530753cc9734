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

struct kernel;
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

/* Drops everything that is queued. */
void sigpending_flush(struct kernel *k, struct sigpending *sp);

#define SIG_MASK_UNBLOCKABLE (SIG_BIT(SIGKILL) | SIG_BIT(SIGSTOP))
#define SIG_MASK_STOP (SIG_BIT(SIGSTOP) | SIG_BIT(SIGTSTP) | SIG_BIT(SIGTTIN) | SIG_BIT(SIGTTOU))
#define SIG_MASK_DEFAULT_IGNORE                                                                    \
    (SIG_BIT(SIGCONT) | SIG_BIT(SIGCHLD) | SIG_BIT(SIGWINCH) | SIG_BIT(SIGURG))

/* Sends to one thread / to a process / to all of a process group. Checks no permission. Returns 0,
 * or -EAGAIN if the queue limit is met (real-time signals), or -ESRCH. Any thread. */
int signal_send_task(struct task *t, int sig, const siginfo_t *info);
int signal_send_group(struct thread_group *tg, int sig, const siginfo_t *info);
int signal_send_pgrp(struct process_group *pg, int sig, const siginfo_t *info);
/* A fault or trap of t itself: cannot be blocked or ignored (then it kills). Own thread. */
void signal_force(struct task *t, const siginfo_t *info);
/* SIGPIPE, SIGXFSZ and the like, from the task's own system call. */
void signal_send_self(struct task *t, int sig);
/* For the own thread: what is blocked from now on. */
void signal_set_blocked(struct task *t, sigset64_t mask);
/* The mask of ppoll, sigsuspend and so on: in force until the call is over, or a handler returns.
 * signal_restore_mask undoes it at once where no signal came. */
void signal_set_temporary_mask(struct task *t, sigset64_t mask);
void signal_restore_mask(struct task *t);
/* Takes the next pending signal out of `set`. 0: none. SIGHAND held. *timer: to be given to
 * posix_timer_taken once the lock is released, with a reference, or NULL. */
int signal_dequeue(struct task *t, sigset64_t set, siginfo_t *info, struct posix_timer **timer);
/* Pending for t, its own and its process's. SIGHAND held. */
sigset64_t signal_pending_set(struct task *t);
/* Sets or clears TASK_WORK_SIGNAL after blocked or pending changed. SIGHAND held. */
void signal_recalc(struct task *t);
/* rt_sigaction. 0 or -EINVAL. */
int signal_set_action(struct task *t, int sig, const struct k_sigaction *act,
                      struct k_sigaction *old);
/* exec: handlers become SIG_DFL. */
void signal_reset_actions(struct task *t);
/* Whether the default action of sig does nothing because tg is the init of a pid namespace. */
bool signal_spares(const struct thread_group *tg, int sig);
/* Whether t may send sig to another: 0, -EPERM. */
int signal_permission(struct task *t, struct task *target, int sig);
/* Before the return to the application: acts on everything that is pending. Returns false if the
 * task has to exit. Own thread (signal_deliver.c). */
bool signal_deliver(struct task *t);
/* sigaltstack(2) without the copying. */
int signal_set_altstack(struct task *t, const stack_t *ss, gva_t sp);
bool signal_on_altstack(const struct task *t, gva_t sp);
/* The frame (sigframe.c): 0, or -EFAULT. */
int sigframe_setup(struct task *t, int sig, const struct k_sigaction *act, const siginfo_t *info,
                   sigset64_t mask);
/* rt_sigreturn: 0, or -EFAULT for a frame that must not be restored. */
int sigframe_restore(struct task *t);

/* A user id as the user namespace of a process shows it. TASK_TREE or SIGHAND held. */
uid_t signal_uid_for(struct thread_group *tg, uid_t uid);
/* Fills a siginfo for a signal that the kernel itself sends (SI_KERNEL), or on behalf of t. */
void siginfo_kernel(siginfo_t *info, int sig);
void siginfo_user(siginfo_t *info, int sig, struct task *sender, int code);
/* Terminates the process of t, with a wait status, as exit_group(2) does. */
void group_exit(struct thread_group *tg, int wait_status);
/* As group_exit, with SIGHAND held. */
void group_exit_locked(struct thread_group *tg, int wait_status);
/* As signal_send_task and signal_send_group, with SIGHAND held. t: NULL for the process. */
int signal_send_locked(struct thread_group *tg, struct task *t, int sig, const siginfo_t *info);

#endif
