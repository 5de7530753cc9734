/*
 * The life of tasks, for the files of kernel/ and for the system calls about processes:
 * task.c (numbers, groups, sessions), clone.c, exec.c, exit.c (leaving and waiting), stop.c.
 */
#ifndef PICKET_SENTRY_KERNEL_PROCESS_H
#define PICKET_SENTRY_KERNEL_PROCESS_H

#include "sentry/kernel/ns_common.h"
#include "sentry/kernel/task.h"

/* ---- pid namespaces and numbers (pid.c) ---- */

#define PID_NS_MAX_LEVEL 32

struct pid_ns {
    struct ns_common common;
    struct pid_ns *parent; /* referenced; NULL: this is the first one */
    int level;             /* of the first one: 0 */
    /* TASK_TREE. */
    struct pid **by_nr; /* of `capacity` */
    pid_t capacity;
    pid_t last;                /* the number that was handed out last */
    struct thread_group *init; /* process 1, until it is reaped */
    int nprocesses;            /* in it and below, zombies and process 1 included */
    bool dead;                 /* process 1 is exiting: nobody else begins */
    int reboot_signal;         /* what process 1 seems to die of after reboot(2), or 0 */
};

/* The first one, in k->pid_ns. 0 or -ENOMEM. */
int pid_ns_boot(struct kernel *k);
/* 0; -ENOSPC: too deep, too many; -EINVAL: maker's user namespace is not below the parent's owner;
 * -ENOMEM. */
int pid_ns_create(struct kernel *k, struct pid_ns *parent, const struct cred *maker,
                  struct pid_ns **out);
static inline struct pid_ns *pid_ns_get(struct pid_ns *ns)
{
    ns_get(&ns->common);
    return ns;
}
/* Whether ns is `above` or below it. */
bool pid_ns_is_below(const struct pid_ns *ns, const struct pid_ns *above);
static inline struct pid_ns *task_pid_ns(const struct task *t)
{
    return t->tg->pid->ns;
}

/*
 * Free numbers in ns and everywhere above, with nothing that goes by them; wanted: the numbers to
 * take, deepest namespace first, where they are given. -EAGAIN (none left), -ENOMEM (also if ns is
 * dead), -EINVAL, -EEXIST. TASK_TREE held.
 */
int pid_alloc(struct pid_ns *ns, const pid_t *wanted, size_t nwanted, struct pid **out);
/* Not referenced. TASK_TREE held. */
struct pid *pid_lookup(const struct pid_ns *ns, pid_t nr);
bool pid_in_use(const struct pid *pid);
/* Frees the numbers if nothing goes by them any more. TASK_TREE held. */
void pid_release(struct pid *pid);
/* The first with a number >= from in ns. TASK_TREE held. */
struct pid *pid_next(const struct pid_ns *ns, pid_t from);
struct pid *pid_get(struct pid *pid);
void pid_put(struct pid *pid);
/* Its number as seen in ns, or 0. No lock. */
pid_t pid_nr_in(const struct pid *pid, const struct pid_ns *ns);
/* A number of the first pid namespace as seen in ns, or 0. */
pid_t pid_number_in(struct kernel *k, const struct pid_ns *ns, pid_t nr);
/* By a number of ns, referenced, or NULL. */
struct task *task_find_in(struct kernel *k, const struct pid_ns *ns, pid_t nr);
struct thread_group *thread_group_find_in(struct kernel *k, const struct pid_ns *ns, pid_t nr);
/* The next process with a number of at least `from` in ns, referenced, and its number there. */
struct thread_group *thread_group_next_in(struct kernel *k, const struct pid_ns *ns, pid_t from,
                                          pid_t *nr);

/* ---- objects (task.c) ---- */

/* A process without tasks, on no list. NULL: no memory. */
struct thread_group *thread_group_create(struct kernel *k, struct sighand *sighand);
/* A task of tg (reference taken), on no list, without mm, files and so on. NULL: no memory. */
struct task *task_create(struct thread_group *tg);
/* Enters t (and tg, if t is its first task) into the tree under pid. TASK_TREE and tg's SIGHAND. */
void task_attach(struct task *t, struct pid *pid);

/* ---- process groups and sessions (pgrp.c); all with TASK_TREE held ---- */

struct process_group *pgrp_find(struct kernel *k, pid_t nr);
/* Puts tg (which is in no group) into pg. */
void pgrp_join(struct process_group *pg, struct thread_group *tg);
/* Takes tg out of its group, which goes when it was the last. */
void pgrp_leave(struct thread_group *tg);
/* A new group (and session) led by tg, which is in none. 0 or -ENOMEM. */
int pgrp_create(struct session *s, struct thread_group *tg);
int session_create(struct thread_group *tg);
/* SIGHUP and SIGCONT to a group with stopped members that becomes orphaned (setpgid(2)), because
 * tg is about to leave it, or got a new parent. */
void pgrp_check_leaving(struct thread_group *tg);
void pgrp_check_reparented(struct thread_group *tg, struct thread_group *old_parent);
bool pgrp_is_orphaned(struct process_group *pg, struct thread_group *ignored);

/* ---- clone.c ---- */

struct clone_request {
    uint64_t flags; /* CLONE_*, without the signal */
    int exit_signal;
    gva_t stack; /* the new stack pointer, or 0: as the parent's */
    gva_t tls, parent_tid, child_tid, pidfd;
    const pid_t *set_tid; /* the numbers that it is to have, its deepest pid namespace first */
    size_t nset_tid;
};
/* Returns the new thread id or -errno. */
long task_clone(struct task *t, const struct clone_request *rq);
/* Lets the parent that waits for vfork go on. Own thread. */
void vfork_release(struct task *t);

/* ---- exec.c ---- */

struct load_request;
/* Path, argv and envp were copied in; takes over nothing. Does not return to the old program if it
 * succeeds (returns 0 with new registers). */
struct exec_strings;
struct exec_name;
long task_exec(struct task *t, struct file *file, const struct exec_name *name,
               struct exec_strings *argv, struct exec_strings *envp);

/* ---- exit.c ---- */

/* exec: t, the only one left, becomes the leader and takes its number. TASK_TREE held. */
void task_take_over_leader(struct task *t);
/* The FPU state in which a program or a signal handler begins. Pre: arch.xstate is allocated. */
void fpu_reset(struct task *t);
/* Whether the processor would take an XSAVE area whose MXCSR mask is its own. */
bool fpu_state_valid(struct task *t, const uint8_t *area);
/* Takes a zombie off the tree; drops its references. TASK_TREE held. */
void thread_group_reap(struct thread_group *tg);
/* A process whose last task has left: its parent, or a tracer, hears of it. TASK_TREE held. */
void thread_group_notify_exit(struct thread_group *tg);
/* A thread that was kept for its tracer: its number goes. TASK_TREE held. */
void task_reap_thread(struct task *t);
/* The way out: gives everything back and tells the relatives. Own thread; t has left afterwards. */
void task_exit(struct task *t);
/* What wait4 and waitid found. */
struct wait_request {
    int which;                  /* P_PID, P_PGID, P_ALL, P_PIDFD resolved to P_PID */
    pid_t id;                   /* of the first pid namespace */
    struct thread_group *group; /* with P_PIDFD: this very process */
    int options;
};
struct wait_result {
    pid_t pid; /* as the waiting task sees them */
    uid_t uid;
    int status; /* wait status */
    int code;   /* CLD_* */
    struct rusage usage;
};
/* Returns 1 with a result, 0 if WNOHANG and none is ready, or -errno. */
long task_wait(struct task *t, const struct wait_request *rq, struct wait_result *out);

/* ---- stop.c ---- */

/* A stop signal was taken: stops the whole process. SIGHAND held. */
void stop_begin(struct task *t, int sig);
/* TASK_WORK_STOP was seen: sleeps until continued or killed. No lock held. */
void stop_wait(struct task *t);
/* The task has stopped, for a tracer: one less to wait for. SIGHAND held. */
void stop_participate(struct task *t);
/* SIGCONT was sent (or SIGKILL): stopped tasks go on. SIGHAND held. */
void stop_continue(struct thread_group *tg, bool notify);
/* An exiting task that a stop in progress counts. SIGHAND held. */
void stop_forget(struct task *t);
/* Tells the parent what stop_begin and stop_continue left in tg->notify_parent. No lock held. */
void stop_notify(struct thread_group *tg);

/* ---- usage (rusage.c) ---- */

void rusage_add(struct rusage *to, const struct rusage *from);
/* A process leaves mm: the most that was resident there counts for its ru_maxrss. */
void rusage_note_memory(struct thread_group *tg, struct mm *mm);
/* What t used so far. */
void task_usage(struct task *t, struct rusage *out);
/* Around the life of a task, on its own thread. */
void task_usage_begin(struct task *t);
void task_usage_end(struct task *t);

/* ---- robust.c ---- */

/* The application's memory is about to go: robust futexes and CLONE_CHILD_CLEARTID. Own thread. */
void task_release_user_state(struct task *t);

#endif
