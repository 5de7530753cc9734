/*
 * Tasks and thread groups: who runs.
 *
 * A task is one application thread, served by one host thread, which runs task_run until the task
 * exits. A thread group is a process. The tree of groups, the pid tables, process groups and
 * sessions are guarded by kernel.tree_lock (TASK_TREE); signal state by thread_group.sighand_lock
 * (SIGHAND); the rest of a task belongs to its own thread unless a field says otherwise.
 */
#ifndef PICKET_SENTRY_KERNEL_TASK_H
#define PICKET_SENTRY_KERNEL_TASK_H

#include "base/list.h"
#include "base/lock.h"
#include "base/refcount.h"
#include "mm/mm.h"
#include "mm/uio.h"
#include "sentry/kernel/cred.h"
#include "sentry/kernel/errno.h"
#include "sentry/kernel/signal.h"
#include "sentry/kernel/wait.h"
#include <pthread.h>
#include <sys/resource.h>
#include <sys/time.h>

struct kernel;
struct fd_table;
struct fs_context;
struct file;
struct session;
struct process_group;
struct ns_set;
struct tty;
struct timer_set;
struct seccomp_filter;

struct thread_group {
    struct refcount ref;
    struct kernel *kernel;
    pid_t tgid; /* in the root pid namespace */
    /* TASK_TREE */
    struct task *leader;
    struct list_head tasks; /* task.group_link */
    int live_tasks;         /* not yet exiting */
    struct thread_group *parent;
    struct list_head children; /* sibling */
    struct list_head sibling;
    struct process_group *pgrp;
    struct list_head pgrp_link;
    struct list_head all_link; /* kernel.groups */
    bool is_child_subreaper;
    bool did_exec;
    int exit_signal;
    /* SIGHAND */
    struct mutex sighand_lock;
    struct sighand *sighand; /* actions: shared by CLONE_SIGHAND */
    struct sigpending shared_pending;
    bool group_exit;        /* every task is to leave, with exit_code */
    int exit_code;          /* wait status */
    struct task *exec_task; /* the task that execs and waits for the others to leave */
    int stop_state;         /* see signal.c */
    int stop_code;
    int stop_count;
    uint32_t wait_flags; /* what waitid would report now: stopped, continued */

    struct wait_queue child_wait; /* woken when a child changes state */
    struct wait_queue exit_wait;  /* woken when this group is a zombie: pidfds poll it */

    struct mutex limits_lock; /* LEAF */
    struct rlimit limits[RLIM_NLIMITS];
    struct mm_limits mm_limits;
    struct timer_set *timers; /* itimers and POSIX timers */
    int oom_score_adj;
    bool dumpable;
    /* Accumulated from tasks and waited-for children that are gone (TASK_TREE). */
    struct rusage dead_usage, child_usage;
    int64_t start_time; /* ns of CLOCK_BOOTTIME */
};

enum task_state { TASK_RUNNING, TASK_SLEEPING, TASK_STOPPED, TASK_ZOMBIE, TASK_DEAD };

/* How nanosleep, poll, futex and clock_nanosleep go on after a signal (restart_syscall). */
struct restart_block {
    long (*fn)(struct task *t, struct restart_block *rb);
    uint64_t a[6];
    ktime_t deadline;
    bool has_deadline;
};

struct task {
    struct refcount ref;
    struct kernel *kernel;
    struct thread_group *tg;
    pid_t tid;
    struct list_head group_link; /* tg->tasks */

    /* What it works with. Own thread writes, under task.lock; others read under task.lock. */
    struct mutex lock; /* TASK_WAKE */
    struct mm *mm;     /* NULL when exiting */
    struct fd_table *files;
    struct fs_context *fs;
    const struct cred *cred;
    struct ns_set *ns;
    struct file *exe;
    char comm[16];

    /* Running. */
    pthread_t thread;
    struct context *context;
    struct arch_context arch;
    _Atomic uint32_t work; /* TASK_WORK_* : looked at before each return to the application */
    _Atomic int state;     /* enum task_state */

    /* Sleeping: see wait.c. */
    _Atomic uint32_t wake_token;

    /* Signals (SIGHAND unless own thread). */
    sigset64_t blocked;
    sigset64_t saved_mask; /* restored after sigsuspend, ppoll, ... */
    bool restore_mask;
    struct sigpending pending;
    stack_t altstack;
    struct restart_block restart;
    uint64_t syscall_nr; /* of the call in progress */
    bool in_syscall;

    gva_t clear_child_tid; /* CLONE_CHILD_CLEARTID, set_tid_address */
    gva_t robust_list;
    gva_t rseq;
    uint32_t rseq_len, rseq_sig;
    struct task *vfork_parent_done; /* see clone.c */
    int exit_code;
    int pdeath_signal;
    bool no_new_privs;
    bool dead_by_exec;
    uint32_t personality;
    int nice;
    uint64_t timer_slack_ns;
    struct seccomp_filter *seccomp;
    void *strace; /* state of the strace printer for this task */

    /* Accounting, ns and counts; own thread writes, anyone reads. */
    _Atomic uint64_t utime, stime, min_faults, maj_faults, nvcsw, nivcsw;
};

#define TASK_WORK_SIGNAL 1u /* a signal may be deliverable */
#define TASK_WORK_STOP 2u
#define TASK_WORK_EXIT 4u /* the group is ending, or another task execs */
#define TASK_WORK_TIMER 8u

/* The reference that the caller must put. */
struct task *task_get(struct task *t);
void task_put(struct task *t);
struct task *task_find(struct kernel *k, pid_t tid);                  /* reference taken, or NULL */
struct thread_group *thread_group_find(struct kernel *k, pid_t tgid); /* likewise */
struct thread_group *thread_group_get(struct thread_group *tg);
void thread_group_put(struct thread_group *tg);

/* Parts of another task, with a reference (a user, for the mm), or NULL if it is gone. */
struct mm *task_get_mm(struct task *t);
struct fd_table *task_get_files(struct task *t);
struct fs_context *task_get_fs(struct task *t);
const struct cred *task_get_cred(struct task *t);

/* Installs c (takes the caller's reference) on the calling task. */
void task_set_cred(struct task *t, struct cred *c);
static inline bool task_capable(const struct task *t, int cap)
{
    return cred_capable(t->cred, cap);
}
/* RLIMIT_x of the task's process (soft limit). */
uint64_t task_rlimit(struct task *t, int which);
/* Makes t look at its work bits soon, wherever it is. */
void task_kick(struct task *t, uint32_t work);

/* The task loop (task_run.c): runs until the task has exited. The host thread's main function. */
void *task_run(void *task);

#endif
