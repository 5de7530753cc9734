/*
 * The root: everything the sandbox's kernel knows hangs from one struct kernel.
 */
#ifndef PICKET_SENTRY_KERNEL_KERNEL_H
#define PICKET_SENTRY_KERNEL_KERNEL_H

#include "base/list.h"
#include "base/lock.h"
#include "memmap/memory_file.h"
#include "mm/mm.h"
#include "platform/platform.h"
#include "sentry/kernel/clock.h"
#include "sentry/kernel/task.h"

struct vfs;
struct gofer_link;
struct gofer_client;
struct host_tty;
struct console;
struct host_events;
struct timer_service;
struct host_threads;
struct futex_table;
struct pid_ns;
struct loader;
struct ns_set;

/* What uname(2) tells; applications may build for what release says. */
#define KERNEL_SYSNAME "Linux"
#define KERNEL_RELEASE "6.1.0"
#define KERNEL_VERSION "#1 SMP PREEMPT_DYNAMIC Picket " PICKET_VERSION
#define KERNEL_MACHINE "x86_64"
#define KERNEL_PID_MAX 32768

/* What the command line decided. Strings live as long as the kernel. */
struct kernel_volume {
    unsigned export;  /* which directory of the gofer's */
    const char *file; /* not NULL: only this file in it is shown */
    const char *source;
    const char *target; /* in the sandbox */
    bool read_only;
};
struct kernel_config {
    const struct platform_type *platform;
    const struct gofer_link *gofer; /* its first export becomes the root */
    void (*gofer_lost)(void *);     /* it is gone: does not return */
    void *gofer_lost_arg;
    bool overlay_root; /* writes to the root stay in memory */
    const struct kernel_volume *volumes;
    size_t nvolumes;
    const char *hostname;
    const char *cwd;
    char *const *argv;
    char *const *envp;
    uid_t uid;
    gid_t gid;
    const gid_t *groups;
    size_t ngroups;
    int stdio[3]; /* host descriptors passed through, or -1 */
    bool tty;     /* not passed through: a terminal of the sandbox in between */
    bool strace;
    const char *strace_list; /* NULL: all */
    uint64_t memory_limit;   /* bytes, 0: none */
};

struct kernel {
    const struct kernel_config *config;
    struct platform *platform;
    struct memory_file *memory;
    struct mm_config mm_config;
    struct clock clock;

    struct mutex tree_lock;     /* TASK_TREE */
    struct list_head groups;    /* thread_group.all_link */
    struct pid_ns *pid_ns;      /* the first one */
    struct thread_group *init;  /* referenced */
    struct task *init_task;     /* until kernel_run: process 1, loaded */
    int ntasks;                 /* that have not left */
    int max_tasks;              /* more are refused with -EAGAIN */
    int nprocesses;             /* that are no zombies */
    int max_host_threads;       /* a task is two threads of the host; a process one more */
    bool ending;                /* init has exited: everything else is being killed */
    _Atomic uint32_t ended;     /* futex: counts the exits that kernel_run may be waiting for */
    _Atomic int sigqueued;      /* signals queued in all of the sandbox */
    _Atomic uint32_t klog_read; /* bytes of the kernel's log that syslog(2) has given away */
    _Atomic bool klog_cleared;
    _Atomic uint64_t forks; /* since boot, for /proc/stat */
    struct host_threads *threads;

    struct gofer_client *gofer;
    struct vfs *vfs;
    _Atomic(struct host_tty *) tty; /* the terminal that was passed through: fs/hostfd */
    struct console *console;        /* with config->tty: tty/console.c */
    struct host_events *events;
    struct timer_service *timers;
    struct futex_table *futexes;
    struct loader *loader;
    struct user_ns *user_ns;     /* the first one */
    struct ns_set *ns;           /* the first namespaces */
    _Atomic unsigned namespaces; /* made since, for their numbers */
    uint8_t boot_id[16];         /* random: /proc/sys/kernel/random/boot_id */
    int64_t boot_monotonic;      /* host ns at boot: CLOCK_BOOTTIME of the sandbox starts here */
    int ncpus;                   /* that applications see */
    cpu_set_t host_cpus; /* that we were given; the application's number N is N modulo ncpus */
    struct strace_config *strace;
    _Atomic uint32_t seccomp_logged;        /* actions that may be logged: seccomp.h */
    _Atomic uint64_t unimplemented_seen[8]; /* bitmap: a call that is missing is logged once */
};

/*
 * Makes a kernel, mounts the root, makes process 1, with nothing to run yet. On failure returns
 * -errno and a sentence for a person in why.
 */
MUST_CHECK int kernel_boot(const struct kernel_config *config, struct kernel **out, char *why,
                           size_t why_size);
/* Loads config->argv into process 1: -errno if there is no such command (-ENOENT) or it cannot be
 * executed, and a sentence in why. */
MUST_CHECK int kernel_load(struct kernel *k, char *why, size_t why_size);
/* Pre: loaded. Runs until process 1 has exited and everything else was killed. Returns its wait
 * status. */
int kernel_run(struct kernel *k);
/*
 * A signal from outside, for process 1; what a terminal sends at a key (SIGINT, SIGQUIT...) is for
 * the terminal's foreground process group. Returns whether process 1's group was meant: false if a
 * shell in the sandbox has put another one in the foreground. Any thread, not a signal handler.
 */
bool kernel_signal(struct kernel *k, int sig);
/* The host's terminal has a new size. Any thread. */
void kernel_resize_terminal(struct kernel *k);
void kernel_destroy(struct kernel *k);

#endif
