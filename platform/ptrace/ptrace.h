/*
 * The ptrace platform from the inside.
 *
 *   sentry                                    stub process (one per address space)
 *   +--------------------------+              +-------------------------------+
 *   | task's host thread  ----ptrace(SYSEMU)---> stub thread (one per context) |
 *   | apply(): command page  ---futex-------->   keeper (group leader)         |
 *   |          event fd     <--write----------   does mmap, munmap, clone, ...  |
 *   | service thread                          +-------------------------------+
 *   |   parent of all stubs, death watch, placement
 *   +--------------------------+              master: a keeper whose only work is to fork
 *
 * Stub threads run application code and are only ever resumed with PTRACE_SYSEMU. The keeper runs
 * stub.S and nothing else, untraced; so any thread of the sentry may give it work, and the
 * application, which shares its memory but cannot write what it reads, cannot. A batch costs a
 * futex hand-over, half of what a ptrace stop costs.
 *
 * Nothing outlives the sentry: stub threads are traced with EXITKILL, keepers have a parent-death
 * signal (of the service thread, which lives as long as the platform).
 *
 * Locks: stub_process.lock (PLATFORM) > report_lock (PLATFORM_REPORT) > lock (PLATFORM_POOL) >
 * placement.lock (PLATFORM_CPU).
 */
#ifndef PICKET_PLATFORM_PTRACE_PTRACE_H
#define PICKET_PLATFORM_PTRACE_PTRACE_H

#include "base/list.h"
#include "base/lock.h"
#include "base/range_set.h"
#include "base/refcount.h"
#include "platform/platform.h"
#include "platform/ptrace/placement.h"
#include "platform/ptrace/stub_layout.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

/* The signal that interrupt() sends to a running stub thread. One that does nothing by default:
 * fatal signals to a process whose first thread is not traced kill it before any tracer is asked.
 */
#define KICK_SIGNAL SIGURG

/* One host call for a keeper. */
struct stub_op {
    uint64_t nr;
    uint64_t args[6];
    uint64_t flags;
};
#define STUB_MAX_OPS ((STUB_PAGE_SIZE - STUB_OPS) / STUB_OP_SIZE)

/* The command page, as stub_layout.h has it. */
struct stub_page {
    _Atomic uint32_t generation;
    uint32_t count;
    int32_t event_fd;
    int32_t report_fd;
    uint8_t reserved[STUB_OPS - 16];
    struct stub_op ops[STUB_MAX_OPS];
};

/* The part of an address space whose protection the sentry changes itself: see guard.c. */
struct guard {
    struct range_set ranges; /* guarded_range */
    struct addr_range recent[16];
};

/* What a part of an address space shows: see park.c. */
struct shown {
    struct addr_range ar;
    struct memmap_file *file;
    uint64_t offset;
    access_t perms;
};

/* Mappings that are opened and closed without the keeper. */
struct park {
    struct range_set ranges; /* parked_range */
    struct addr_range recent[16];
};

struct stub_process {
    struct ptrace_platform *platform;
    struct refcount ref;
    struct mutex lock;
    pid_t pid; /* also the keeper's tid */
    int pidfd;
    int event_fd;
    _Atomic int uffd;           /* see guard.c; -1: none yet; changes under lock */
    struct guard guard;         /* under lock */
    struct park park;           /* under lock */
    uint32_t slot;              /* which command page */
    struct stub_page *page;     /* under lock */
    int cpu;                    /* where the keeper is pinned, or -1; under lock */
    _Atomic bool dead;          /* killed; no command will ever be answered */
    _Atomic bool waiting;       /* for the keeper's answer */
    int waited;                 /* ticks; the service thread's */
    struct list_head threads;   /* stub_thread.process_link; under lock */
    struct list_head pool_link; /* platform->idle; under platform->lock */
};

/* A thread in a stub process, traced by one host thread of the sentry until it exits. */
struct stub_thread {
    struct stub_process *process; /* a reference */
    pid_t tid;
    _Atomic bool gone;           /* exited and reaped: tid means nothing any more */
    bool used;                   /* registers and FPU are what some application left there */
    int cpu;                     /* where it is pinned, or -1 */
    uint64_t cpu_used;           /* ns that earlier contexts used in it */
    struct ptrace_context *user; /* whose thread it is now, or NULL; under process->lock */
    struct list_head process_link;
    struct list_head idle_link; /* host_thread.idle */
};

struct ptrace_space {
    struct address_space base;
    struct stub_process *process;
    struct range_set mapped; /* mapped_range; under process->lock */
};

/* A host thread of the sentry that has, or had, contexts. Its stub threads stay with it. */
struct host_thread {
    struct ptrace_platform *platform;
    struct list_head link; /* platform->host_threads; under platform->lock */
    struct list_head idle; /* stub_thread.idle_link; own thread only */
    int nidle;
    void *xstate; /* scratch, if the host's XSAVE area is larger than the platform's */
    struct placed placed;
};

struct ptrace_context {
    struct context base;
    struct ptrace_platform *platform;
    struct host_thread *host;
    struct stub_thread *stub;     /* NULL: none yet, or dead */
    struct user_regs_struct seen; /* what the stopped thread has, if seen_valid */
    bool seen_valid;
    _Atomic bool kicked;         /* interrupt() was called and no run has said so yet */
    _Atomic pid_t running;       /* the thread that a kick must signal, or 0 */
    _Atomic pid_t process;       /* and its process */
    void (*on_death)(void *arg); /* or NULL; under the lock of stub's process, as is the next */
    void *on_death_arg;
    struct mutex cpu_lock;       /* LEAF: CPU time, see cpu_time.c */
    pid_t cpu_process, cpu_tid;  /* the thread that is counted, or 0 */
    uint64_t cpu_seen, cpu_used; /* ns: what it had used when we last looked; what is ours */
    uint64_t cpu_since;          /* ns, monotonic: when it became ours */
    gva_t guess_rip, guess_addr; /* the last fault that was a guess, and the guess */
    access_t guess;
    gva_t bus_rip, bus_addr; /* the last SIGBUS, at which stop, and how often in a row */
    uint64_t bus_stop;
    int bus_count;
};

struct ptrace_platform {
    struct platform base;
    pid_t pid;      /* the sentry */
    int command_fd; /* memfd: the stub's code, then command pages */
    char *commands; /* all of it */
    uint32_t nslots;
    uint32_t slots_used; /* slots at and above were never handed out; under lock */
    int report_fd;       /* memfd whose position carries results */
    struct mutex report_lock;
    _Atomic bool no_uffd;    /* the host lets nobody have a userfaultfd */
    size_t host_xstate_size; /* what PTRACE_SETREGSET insists on */
    void *initial_xstate;

    struct mutex lock;
    struct stub_process **by_slot;
    uint32_t *free_slots; /* a stack */
    uint32_t nfree;
    struct list_head idle; /* stub processes with nothing mapped */
    int nidle;
    struct list_head host_threads;
    struct stub_process *master;

    pthread_key_t host_thread_key;
    struct placement placement;

    /* The service thread. */
    bool service_started, key_made;
    pthread_t service;
    int epoll_fd, wake_fd, signal_fd;
    _Atomic bool stopping;
    pthread_mutex_t boot_lock; /* the two of them: starting the service thread and masters */
    pthread_cond_t boot_cond;
    bool want_master;
    int boot_result;
    const char *boot_step; /* what failed, for a person */
};

/* stub_master.c: forks the first stub from the calling thread (the service thread). The command
 * page of p's slot is ready. Returns the pid or -errno, and what was tried last in *step. */
pid_t stub_master_fork(struct ptrace_platform *p, uint32_t slot, const char **step);
/* Address in a stub of a label of stub.S. */
uint64_t stub_address(const char *label);

/* service.c */
int service_start(struct ptrace_platform *p);
void service_stop(struct ptrace_platform *p);
/* A new master if the old one is dead. 0 or -errno. */
int service_make_master(struct ptrace_platform *p);

/* stub_process.c */
void stub_process_noticed_dead(struct ptrace_platform *p, uint32_t slot);
/* A traced thread was killed. The host says so before it says it of the process, and says that only
 * when the tracer, who may be asleep, has waited for the thread. */
void stub_process_noticed_kill(struct ptrace_platform *p, pid_t tid);
/* Called at each tick: keepers that somebody has stopped go on. False: nobody waits for any. */
bool stub_process_unstick_all(struct ptrace_platform *p);
/* On the service thread. It has been forked; whether it lives, its first answer tells. */
int stub_process_new_master(struct ptrace_platform *p, struct stub_process **out);
/* With a reference. */
struct stub_process *stub_process_master(struct ptrace_platform *p);
/* A process with nothing mapped; the caller's reference. */
int stub_process_get(struct ptrace_platform *p, struct stub_process **out);
/* Gives the process back: nothing is mapped, no context runs there. */
void stub_process_recycle(struct stub_process *sp);
void stub_process_kill(struct stub_process *sp);
/* Waits until a traced thread or a process of ours has exited. */
void stub_reap(pid_t tid);
void stub_process_hold(struct stub_process *sp);
void stub_process_put(struct stub_process *sp);
/* The keeper does the first n ops of the page. 0, -errno of the first that failed, or -ESRCH.
 * sp->lock held. */
int stub_process_run(struct stub_process *sp, size_t n);
/* As above, for one op that reports; *result is what it returned. sp->lock held. */
int stub_process_report(struct stub_process *sp, const struct stub_op *op, int *result);

/*
 * guard.c. sp->lock held, but for the last.
 *
 * Does an AS_PROTECT that only gives or takes the right to write, if it can be done without the
 * keeper. False: the keeper must do it. `alone`: it is all there is to do, and the keeper's page
 * is free.
 */
bool guard_protect(struct stub_process *sp, const struct as_op *op, bool alone);
/* Whether any of it is guarded. */
bool guard_covers(const struct stub_process *sp, struct addr_range ar);
/* It is, or will be, mapped anew or unmapped. 0 or -ENOMEM. */
int guard_forget(struct stub_process *sp, uint64_t start, uint64_t end);
/* Its mapping has the protection that it is to have: nothing is closed any more. 0 or -ENOMEM. */
int guard_open(struct stub_process *sp, uint64_t start, uint64_t end);
/* Nothing is mapped. */
void guard_clear(struct stub_process *sp);
/* Whether a write to addr may fail because of us. sp->lock not held. */
bool guard_has(struct stub_process *sp, gva_t addr);

/* The keeper's page is free. Whether the process has a userfaultfd now. */
bool guard_ready(struct stub_process *sp);

/*
 * park.c. sp->lock held, but for the last.
 *
 * Takes what is shown out of sight, and its contents out of the file. False: the keeper must do it.
 * The keeper's page is free.
 */
bool park_close(struct stub_process *sp, const struct shown *s);
/* Shows it again, if that is what was closed there. False: it must be mapped anew. */
bool park_open(struct stub_process *sp, const struct shown *s);
/* No more ranges can be parked; forgets a closed one, which the caller unmaps (empty: none is
 * closed). */
bool park_is_full(const struct stub_process *sp);
struct addr_range park_pop_closed(struct stub_process *sp);
/* It is, or will be, mapped anew or unmapped. 0 or -ENOMEM. */
int park_forget(struct stub_process *sp, uint64_t start, uint64_t end);
/* What is open of it becomes an ordinary mapping. 0 or -ENOMEM. */
int park_release(struct stub_process *sp, uint64_t start, uint64_t end);
/* Nothing is mapped. */
void park_clear(struct stub_process *sp);
/* Whether an access to addr may fail because of us. sp->lock not held. */
bool park_has(struct stub_process *sp, gva_t addr);

/* space.c */
int ptrace_new_address_space(struct platform *base, struct address_space **out);

/* stub_thread.c */
struct host_thread *host_thread_current(struct ptrace_platform *p);
/* NULL if memory is short. */
struct host_thread *host_thread_get(struct ptrace_platform *p);
void host_thread_exit(void *host_thread);
/* At the end of the platform, for threads that live on: their stub threads are dead. */
void host_thread_forget(struct host_thread *h);
/* A stopped stub thread of the calling host thread in sp. 0 or -errno. */
int stub_thread_get(struct host_thread *h, struct stub_process *sp, struct stub_thread **out);
void stub_thread_recycle(struct host_thread *h, struct stub_thread *st);
/* The thread was seen to die: forgets it. */
void stub_thread_died(struct stub_thread *st);

/* cpu_time.c: around the time that a context has c->stub. */
void cpu_time_attach(struct ptrace_context *c);
/* `last`: the context ends, and whoever wanted to know has asked. (What it used since then goes to
 * the stub thread's next context: next to nothing, and cheaper than to ask the host.) */
void cpu_time_detach(struct ptrace_context *c, bool last);
uint64_t ptrace_context_cpu_time(struct context *base);

/* context.c */
int ptrace_new_context(struct platform *base, struct address_space *as, struct context **out);

/* event.c: what a stop that is no system call means. ac->regs is current. SWITCH_NOTHING: resume.
 */
#define SWITCH_NOTHING ((enum switch_reason) - 1)
enum switch_reason ptrace_decode_stop(struct ptrace_context *c, int status, struct arch_context *ac,
                                      struct switch_event *ev);

/*
 * instruction.c: whether the instruction at code, of which n bytes are known, certainly writes to
 * memory at addr.
 */
bool instruction_writes(const uint8_t *code, size_t n, const struct user_regs_struct *regs,
                        gva_t addr);

#endif
