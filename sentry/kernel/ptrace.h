/*
 * ptrace(2): one task watches another and changes it.
 *
 *      tracer.tracees --> tracee.ptrace.link --> ...        tracee.ptrace.tracer --> tracer
 *
 * Both directions change under TASK_TREE and the tracee's SIGHAND; either is enough to read. A
 * tracee stops itself, always on its own thread:
 *
 *      RUNNING --ptrace_stop--> STOPPED --PTRACE_LISTEN--> LISTENING
 *         ^                        |                           |
 *         +-- resumed, detached ---+------- something new -----+        SIGKILL: from anywhere
 *
 * While it is STOPPED, and only then, its tracer may look at its registers and change them, with
 * the tracee's SIGHAND held; the tracee leaves that state under SIGHAND too.
 */
#ifndef PICKET_SENTRY_KERNEL_PTRACE_H
#define PICKET_SENTRY_KERNEL_PTRACE_H

#include "base/list.h"
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct task;
struct pid;

enum ptrace_state { PTRACE_RUNNING, PTRACE_STOPPED, PTRACE_LISTENING };
enum ptrace_resume {
    PTRACE_RESUME_CONT,
    PTRACE_RESUME_SYSCALL,
    PTRACE_RESUME_STEP,
    PTRACE_RESUME_EMULATE,
    PTRACE_RESUME_EMULATE_STEP,
};

struct task_ptrace {
    struct task *tracer;   /* lets go before it leaves; NULL: not traced */
    struct list_head link; /* tracer.tracees: holds a reference to us */
    /* SIGHAND */
    bool seized;
    _Atomic uint32_t options; /* PTRACE_O_* */
    _Atomic int state;        /* enum ptrace_state */
    int code;                 /* why it stopped: signal, and event << 8 */
    bool unwaited;            /* wait4 has not said so yet */
    bool has_info;            /* info belongs to this stop */
    siginfo_t info;
    uint64_t message;
    enum ptrace_resume resume; /* how the tracer wants it to go on */
    int inject;                /* with which signal */
    /* Own thread. */
    bool stepping; /* the trap flag is set for the tracer */
    bool own_trap; /* the application had set it itself */
};

/* ---- the tracer's side; t is the calling task, with no lock held ---- */

/* PTRACE_TRACEME, PTRACE_ATTACH and PTRACE_SEIZE: 0, -EPERM, or -EIO for unknown options. */
int ptrace_traceme(struct task *t);
int ptrace_attach(struct task *t, struct task *child, bool seize, uint32_t options);
/* -ESRCH if child is not stopped for t. */
int ptrace_detach(struct task *t, struct task *child, int sig);
int ptrace_resume(struct task *t, struct task *child, enum ptrace_resume how, int sig);
int ptrace_interrupt(struct task *t, struct task *child);
int ptrace_listen(struct task *t, struct task *child);
/* Who traces t: a thread id, or 0. */
pid_t ptrace_tracer_tid(struct task *t);
/* A number as t's tracer sees it; 0: there is none. */
pid_t ptrace_nr_for_tracer(struct task *t, const struct pid *pid);
/* SIGHAND of child held. */
bool ptrace_is_stopped(struct task *t, struct task *child);

/* ---- the tree; TASK_TREE held ---- */

/* A task leaves, and lets go of all that it traces. */
void ptrace_tracer_exit(struct task *t);
/* t (SIGHAND held too) is traced no longer. The caller puts the reference that this returns, after
 * it has released SIGHAND; NULL if t was not traced. */
struct task *ptrace_unlink(struct task *t);
/* clone: whether t's tracer gets the child too, which nobody knows yet. SIGHAND of t held. event:
 * what it is told, or 0. */
void ptrace_inherit(struct task *child, struct task *t, uint64_t clone_flags, int event);
/* Whether a thread that left stays, for its tracer to wait for. Otherwise it is nobody's. */
bool ptrace_keeps_zombie(struct task *t);
/* The task whose tracer is to hear of the end of t's process instead of its parent, or NULL. */
struct task *ptrace_foreign_tracer(struct task *leader);
/* SIGHAND held: seized tasks hear of SIGCONT. */
void ptrace_continued(struct task *t);

/* ---- the tracee's side; own thread, no lock held ---- */

#define PTRACE_WHY_SYSCALL_ENTRY 1
#define PTRACE_WHY_SYSCALL_EXIT 2

/* A signal was taken: the tracer decides. Returns the signal to deliver (info is changed if it is
 * another), or 0. */
int ptrace_signal(struct task *t, int sig, siginfo_t *info);
/* TASK_WORK_TRAP, or a group stop. */
void ptrace_trap(struct task *t);
void ptrace_syscall_stop(struct task *t, int why);
/* PTRACE_EVENT_x. Nothing, unless the tracer asked for it. */
void ptrace_event(struct task *t, int event, uint64_t message);
/* Whether the tracer wants event. */
bool ptrace_wants(struct task *t, int event);
/* SECCOMP_RET_TRACE: false if nobody wants to know. */
bool ptrace_seccomp_stop(struct task *t, unsigned data);
bool ptrace_suspends_seccomp(struct task *t);
/* A program was executed; old_tid: of the thread that did it, for the tracer. */
void ptrace_exec(struct task *t, pid_t old_tid);
void ptrace_exit_event(struct task *t);
/* Whether the tracer's powers forbid to gain any by exec. */
bool ptrace_forbids_privileges(struct task *t);
/* Takes back the trap flag. Returns whether it was set for the tracer. */
bool ptrace_step_end(struct task *t);
/* A step has come to its end, in a handler or in a system call. */
void ptrace_stepped_into_handler(struct task *t);
void ptrace_stepped_syscall(struct task *t);

#endif
