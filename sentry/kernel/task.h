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
#include "sentry/kernel/ptrace.h"
#include "sentry/kernel/signal.h"
#include "sentry/kernel/wait.h"
#include <sys/resource.h>
#include <sys/time.h>

struct kernel;
struct fd_table;
struct fs_context;
struct file;
struct ns_set;
struct tty;
struct timer_set;
struct cpu_limit;
struct host_thread;
struct vfork_wait;
struct seccomp_filter;
struct sem_undo_list;

/*
 * The numbers of something (pid.c), and all that goes by them. They are taken as long as one of
 * these does; the structure lives as long as somebody refers to it.
 */
struct pid {
    struct refcount ref;
    pid_t nr;          /* in the first pid namespace */
    struct pid_ns *ns; /* the deepest one that it has a number in (referenced) */
    /* TASK_TREE. */
    struct task *task;          /* with this thread id */
    struct thread_group *group; /* with this process id, zombies included */
    struct process_group *pgrp;
    struct session *session;
    pid_t numbers[]; /* by level: numbers[0] is nr, numbers[ns->level] its own */
};

/* Process groups and sessions: reference counted by their members (TASK_TREE). */
struct session {
    struct pid *pid;
    int pgrps;             /* process groups in it */
    struct tty *tty;       /* the controlling terminal (referenced), or NULL */
    pid_t hung_foreground; /* foreground group of the terminal that was hung up, or 0 */
};
struct process_group {
    struct pid *pid;
    struct session *session;
    struct list_head members; /* thread_group.pgrp_link */
};

enum stop_state { STOP_NONE, STOP_STOPPING, STOP_STOPPED };

struct thread_group {
    struct refcount ref;
    struct kernel *kernel;
    struct pid *pid; /* referenced; with tgid and own_tgid, never changes */
    pid_t tgid;      /* in the first pid namespace */
    pid_t own_tgid;  /* in its own: getpid() */

    /* TASK_TREE. The list of tasks changes under TASK_TREE and SIGHAND: either is enough to read.
     */
    struct list_head tasks; /* task.group_link: tasks that have not left, and a zombie leader */
    struct task *leader;
    int ntasks;                  /* that have not left (a zombie leader has) */
    struct thread_group *parent; /* NULL for init */
    struct task *parent_task;    /* the thread that made us: compared, never followed */
    struct list_head children;   /* sibling */
    struct list_head sibling;
    struct process_group *pgrp;
    struct list_head pgrp_link;
    struct list_head all_link; /* kernel.groups */
    bool is_child_subreaper;
    bool has_child_subreaper; /* an ancestor may be one */
    bool did_exec;
    bool gave_up_tty; /* TIOCNOTTY: the session's terminal is not ours any more */
    bool zombie;      /* every task has left: can be waited for */
    bool reaped;      /* waited for (or never to be): off the tree */
    int exit_signal;  /* clone(2) takes any byte: 0 and what is no signal are not sent */
    /* Of tasks and waited-for children that are gone. */
    struct rusage dead_usage, child_usage;

    /* SIGHAND. Actions have their own lock, since CLONE_SIGHAND shares them between processes. */
    struct mutex sighand_lock;
    struct sighand *sighand;
    struct sigpending shared_pending;
    int live_tasks;         /* not yet exiting */
    bool mortal;            /* init of a pid namespace that a fault is killing */
    bool group_exit;        /* every task is to leave, with exit_code */
    int exit_code;          /* wait status */
    struct task *exec_task; /* the task that execs and waits for the others to leave */
    enum stop_state stop_state;
    int stop_signal;
    int stop_count;     /* STOP_STOPPING: tasks that have yet to stop */
    bool stop_unwaited; /* stopped, and wait4 has not said so yet; likewise continued */
    bool cont_unwaited;
    int notify_parent; /* CLD_STOPPED, CLD_CONTINUED: the next task to look tells the parent */

    struct wait_queue signal_wait; /* woken when a signal is queued: signalfds poll it */
    struct wait_queue child_wait;  /* woken when a child changes state */
    struct wait_queue exit_wait;   /* woken when this group is a zombie: pidfds poll it */

    struct mutex limits_lock; /* LEAF */
    struct rlimit limits[RLIM_NLIMITS];
    struct mm_limits mm_limits;
    struct thread_group
        *mm_limits_owner;        /* whose mm_limits the mm reads (CLONE_VM), or NULL: ours */
    struct list_head aio;        /* contexts (limits_lock): sentry/aio */
    struct cpu_limit *cpu_limit; /* SIGHAND: once RLIMIT_CPU was finite */
    struct timer_set *timers;    /* itimers and POSIX timers: posix_timers.c */
    _Atomic uint64_t max_rss;    /* bytes: the largest of the address spaces that are gone */
    _Atomic int oom_score_adj;
    _Atomic bool dumpable;
    _Atomic bool membarrier_registered;
    _Atomic uint8_t mce_kill; /* PR_MCE_KILL_* */
    int64_t start_time;       /* ns of CLOCK_BOOTTIME */
};

enum task_state { TASK_RUNNING, TASK_SLEEPING, TASK_ZOMBIE, TASK_DEAD };

/* How nanosleep, poll, futex and clock_nanosleep go on after a signal (restart_syscall). */
struct restart_block {
    long (*fn)(struct task *t, struct restart_block *rb);
    uint64_t a[6];
    ktime_t deadline;
    bool has_deadline;
};

#define TASK_CPUSET_WORDS 16

struct task {
    struct refcount ref;
    struct kernel *kernel;
    struct thread_group *tg; /* referenced */
    struct pid *pid; /* referenced; these three change only in an exec that takes over the leader's
                        (TASK_TREE) */
    pid_t tid;       /* in the first pid namespace */
    pid_t own_tid;   /* in its own: gettid() */
    struct list_head group_link; /* tg->tasks */

    /* What it works with. Own thread writes, under task.lock; others read under task.lock. */
    struct mutex lock; /* TASK_WAKE */
    struct mm *mm;     /* NULL when exiting */
    struct fd_table *files;
    struct fs_context *fs;
    const struct cred *cred;
    struct ns_set *ns; /* ns.h; NULL when exiting */
    struct file *exe;
    char comm[16];

    /* Running. */
    struct host_thread *host;
    struct context *context; /* under task.lock */
    struct arch_context arch;
    _Atomic uint32_t work; /* TASK_WORK_* : looked at before each return to the application */
    _Atomic uint32_t syscall_work; /* SYSCALL_WORK_* : looked at before each system call */
    _Atomic int state;             /* enum task_state */
    _Atomic bool stopped;          /* asleep because the process is stopped */

    /* Sleeping: see wait.c. */
    _Atomic uint32_t wake_token;

    /* Signals (SIGHAND unless own thread). */
    sigset64_t blocked;
    sigset64_t real_blocked; /* sigtimedwait: what is blocked besides, while it waits */
    sigset64_t saved_mask;   /* restored after sigsuspend, ppoll, ... (own thread) */
    bool restore_mask;
    struct sigpending pending;
    stack_t altstack;
    struct restart_block restart;
    uint64_t trap_nr, trap_error; /* of the last exception, for sigcontext (own thread) */
    gva_t trap_addr;
    uint64_t syscall_nr;    /* of the call in progress */
    bool in_syscall;        /* the registers are those of a system call that may be restarted */
    bool stop_signal_taken; /* SIGHAND: no SIGCONT came since this task dequeued a stop signal */
    bool stop_counted;      /* this task still has to stop (tg->stop_count counts it) */

    gva_t set_child_tid;   /* CLONE_CHILD_SETTID: written by the new task itself */
    gva_t clear_child_tid; /* CLONE_CHILD_CLEARTID, set_tid_address */
    gva_t robust_list;
    struct vfork_wait *vfork; /* the parent sleeps until we exec or exit: clone.c */
    _Atomic int pi_waiters;   /* tasks that wait for a PI futex of ours */
    bool exiting;             /* SIGHAND */
    bool left;                /* TASK_TREE: gone but for its number */
    int exit_code;            /* wait status */
    int pdeath_signal;        /* TASK_TREE */
    _Atomic bool no_new_privs;
    uint32_t personality;
    _Atomic int nice;
    _Atomic int sched_policy, sched_priority;
    _Atomic bool sched_reset_on_fork;
    bool io_flusher;            /* prctl(PR_SET_IO_FLUSHER): kept, and told */
    struct mm_policy mempolicy; /* set_mempolicy(2): kept, and told */
    _Atomic int ioprio;         /* as ioprio_set(2) takes it */
    uint64_t timer_slack_ns, default_timer_slack_ns;
    _Atomic uint64_t cpuset[TASK_CPUSET_WORDS];
    _Atomic(struct seccomp_filter *) seccomp; /* SIGHAND, see seccomp.h; so the next two */
    _Atomic int seccomp_mode;                 /* SECCOMP_MODE_* */
    _Atomic int seccomp_filters;              /* how many */
    struct task_ptrace ptrace;                /* who traces us */
    struct list_head tracees;                 /* task.ptrace.link: whom we trace (TASK_TREE) */
    void *strace;                             /* state of the strace printer for this task */
    struct sem_undo_list *sem_undo;           /* what exit gives back (own thread): ipc/sem.c */

    /* Accounting. Own thread writes, anyone reads. */
    int64_t start_time;                        /* ns of CLOCK_BOOTTIME */
    _Atomic uint64_t sys_base;                 /* ns the host thread had used before us */
    _Atomic uint64_t final_utime, final_stime; /* ns, of a task that has left */
    _Atomic uint64_t min_faults, maj_faults, nvcsw, nivcsw; /* counts */
};

#define TASK_WORK_SIGNAL 1u /* a signal may be deliverable */
#define TASK_WORK_STOP 2u
#define TASK_WORK_EXIT 4u   /* the group is ending, or another task execs */
#define TASK_WORK_NOTIFY 8u /* the parent must hear of a stop or continue */
#define TASK_WORK_TRAP 16u  /* stop for the tracer */
#define TASK_WORK_ASYNC 32u /* wake-ups are to be told by SIGIO: vfs/fasync.h */

#define SYSCALL_WORK_SECCOMP 1u
#define SYSCALL_WORK_PTRACED 2u /* somebody traces the task */
#define SYSCALL_WORK_TRACE 4u   /* stop before and after the call */
#define SYSCALL_WORK_EMULATE 8u /* stop before it, and leave it undone */
#define SYSCALL_WORK_STEP 16u   /* trap after it */

/*
 * The task that the calling host thread serves; NULL on other threads (timers, boot). For what
 * blocks below an interface that names no task (file_ops.read, ...); everybody else is told.
 */
struct task *task_current(void);
/* First thing on a task's host thread, and with NULL the last. */
void task_set_current(struct task *t);

/* Another reference, which the caller must put. */
struct task *task_get(struct task *t);
void task_put(struct task *t);
/* By a number as t's pid namespace has it: referenced, or NULL. */
struct task *task_find_for(const struct task *t, pid_t nr);
struct thread_group *thread_group_find_for(const struct task *t, pid_t nr);
/* A number of t's pid namespace as the sentry has it, and back; 0: t sees nobody of that number.
 * Of tasks, processes, groups and sessions alike. */
pid_t pid_in(const struct task *t, pid_t nr);
pid_t pid_out(const struct task *t, pid_t nr);
/* With TASK_TREE held. */
pid_t pid_in_locked(const struct task *t, pid_t nr);
pid_t pid_out_locked(const struct task *t, pid_t nr);
struct thread_group *thread_group_get(struct thread_group *tg);
void thread_group_put(struct thread_group *tg);

/* For /proc: the first process (task of tg) with an id of at least `from`, reference taken. */
struct thread_group *thread_group_next(struct kernel *k, pid_t from);
struct task *task_next(struct thread_group *tg, pid_t from);
/* Any task of tg (the leader if it is there), reference taken; NULL if all have left. */
struct task *thread_group_task(struct thread_group *tg);
pid_t thread_group_ppid(struct thread_group *tg);
pid_t thread_group_pgid(struct thread_group *tg);
pid_t thread_group_sid(struct thread_group *tg);
/* "RSTZX", as in /proc/PID/stat. */
char task_state_char(struct task *t);
/* CPU time of t in ns. Any thread. */
void task_cpu_time(struct task *t, uint64_t *user, uint64_t *system);
/* Of the whole process, threads that have left included (RUSAGE_SELF). */
void thread_group_usage(struct thread_group *tg, struct rusage *out);

/* Parts of another task, with a reference (a user, for the mm), or NULL if it is gone. */
struct mm *task_get_mm(struct task *t);
struct fd_table *task_get_files(struct task *t);
struct fs_context *task_get_fs(struct task *t);
const struct cred *task_get_cred(struct task *t);

/* Installs c (takes the caller's reference) on the calling task. */
void task_set_cred(struct task *t, struct cred *c);
/* In the first user namespace, in the task's own, in one that the thing in question belongs to. */
static inline bool task_capable(const struct task *t, int cap)
{
    return cred_capable(t->cred, cap);
}
static inline bool task_capable_here(const struct task *t, int cap)
{
    return cred_capable_here(t->cred, cap);
}
static inline bool task_capable_in(const struct task *t, const struct user_ns *ns, int cap)
{
    return cred_capable_in(t->cred, ns, cap);
}
/* RLIMIT_x of the task's process (soft limit). */
uint64_t task_rlimit(struct task *t, int which);
/* After tg->limits changed: tells the mm. */
void limits_apply(struct thread_group *tg);
/* Makes t look at its work bits soon, wherever it is. */
void task_kick(struct task *t, uint32_t work);

/* As ptrace_may_access: whether t may look into (attach: change) the other's memory and such. */
bool task_may_access(struct task *t, struct task *other, bool attach);
/* The same for becoming its tracer: t's real ids count, not those for file access. */
bool task_may_attach(struct task *t, struct task *other);

/* Tells the platform where t may run, after cpuset has changed. Any thread. */
void task_apply_cpuset(struct task *t);
/* Whether that is everywhere. */
bool task_runs_anywhere(struct task *t);
/* The task loop (task_run.c): runs until the task has exited. */
void task_run(struct task *t);

#endif
