/*
 * The one door through which application code runs. mm and the sentry know this file and nothing
 * below platform/.
 *
 *   platform       one per sandbox: what this way of running can do; makes the other two
 *   address_space  one per mm: a cache of its PMAs. May be emptied (unmap of everything) at any
 * time; the next fault fills it again context        one per task: runs application code until
 * something happens
 *
 * A context is bound to the host thread that calls its switch: create it, use it and release it on
 * that thread. interrupt() alone may come from any thread.
 */
#ifndef PICKET_PLATFORM_PLATFORM_H
#define PICKET_PLATFORM_PLATFORM_H

#include "memmap/memmap.h"
#include "platform/arch.h"
#include <sched.h>
#include <signal.h>

struct platform;
struct address_space;
struct context;

/* What ended a switch. */
enum switch_reason {
    SWITCH_SYSCALL, /* see struct arch_context */
    SWITCH_FAULT,   /* event.addr, event.access; event.info if it must become a signal */
    SWITCH_SIGNAL,  /* a synchronous exception: event.info (SIGFPE, SIGILL, SIGTRAP, SIGSEGV with
                       no address (general protection), SIGBUS for alignment) */
    SWITCH_INTERRUPTED, /* interrupt() was called, or the platform wants the task loop to look round
                         */
    SWITCH_DEAD, /* the host killed the application thread (somebody's SIGKILL): the task dies */
};

struct switch_event {
    gva_t addr;       /* SWITCH_FAULT: the address that was touched */
    access_t access;  /* what was tried; may be only ACCESS_READ where the platform cannot tell a
                         first read from a first write: a second fault then says ACCESS_WRITE */
    bool not_present; /* the platform had no mapping there (SEGV_MAPERR as far as it knows) */
    siginfo_t info;
};

/* One piece of work for an address space. */
enum as_op_kind { AS_MAP, AS_UNMAP, AS_PROTECT };
struct as_op {
    enum as_op_kind kind;
    struct addr_range ar;
    /* AS_MAP: ar shows file from offset, with perms (already effective; not empty). The caller
     * holds a reference on those pages until it has unmapped them. Replaces what was there. */
    struct memmap_file *file;
    uint64_t offset;
    access_t perms; /* AS_MAP, AS_PROTECT (may be empty: no access) */
    access_t was;   /* AS_PROTECT: what all that is mapped of ar has allowed so far */
    bool precommit; /* AS_MAP: the host's page tables should be filled now */
    bool huge; /* AS_MAP: ask the host for 2 MiB pages; address and offset are in step for them */
};

struct address_space_ops {
    /*
     * Does n operations in order. A host call costs little beside the switch into the stub: hand
     * over many at once. Thread-safe; the caller (mm) serialises with MM_ACTIVE. May be called from
     * threads that have no context in this space. Returns 0; -ENOMEM if a host limit was
     * met, and then the space has been emptied entirely (it is a cache: fault again); any other
     * -errno means that the space is dead (its host process was killed).
     * AS_PROTECT touches only what is mapped; ranges without a mapping are not an error.
     */
    int (*apply)(struct address_space *as, const struct as_op *ops, size_t n);
    /*
     * Takes out of the space what op, an AS_MAP, has shown in it, at once, and drops the contents
     * of those pages: they read as zero then. Pre: nobody else uses them, and the file outlives the
     * space. False: there is no way to do that which is cheaper than AS_UNMAP; nothing has
     * happened. NULL: there never is.
     */
    bool (*drop)(struct address_space *as, const struct as_op *op);
    /* Forgets everything. The address space object stays usable. */
    void (*clear)(struct address_space *as);
    /* The last call. No context may be running in it. */
    void (*release)(struct address_space *as);
};
struct address_space {
    const struct address_space_ops *ops;
    struct platform *platform;
};

struct context_ops {
    /*
     * Runs application code in `as` with the registers in ac until something happens. Loads
     * ac->xstate first if fpu_dirty; clears fpu_valid. `as` may differ from the last call's (exec).
     */
    enum switch_reason (*run)(struct context *c, struct address_space *as, struct arch_context *ac,
                              struct switch_event *ev);
    /* Makes ac->xstate valid (allocating it at first use). Returns 0 or -ENOMEM. */
    int (*pull_fpu)(struct context *c, struct arch_context *ac);
    /* Ends the current run, or the next one at once, with SWITCH_INTERRUPTED. Any thread, cheap if
     * the context is not running. */
    void (*interrupt)(struct context *c);
    /* The task is about to sleep in the sentry / woke up: for the platform's choice of CPUs. */
    void (*will_block)(struct context *c);
    void (*did_unblock)(struct context *c);
    /* sched_yield: others go first. Ends early when interrupted. NULL: the host's will do. */
    void (*yield)(struct context *c);
    /* Application code runs only on these of the host's CPUs from now on; there is one among them
     * that the sentry may use. Any thread. At first, all that the sentry was given. */
    void (*set_cpus)(struct context *c, const cpu_set_t *cpus);
    /* Nanoseconds of CPU that application code used in this context so far. Any thread, while the
     * context lives. May be NULL: not known. */
    uint64_t (*cpu_time)(struct context *c);
    /* fn(arg) is called when the host has killed what the context runs in, so that a task that
     * sleeps hears of it: the next run says SWITCH_DEAD. Not after release; by any thread, under
     * locks of the platform, so fn takes none. Once, after new_context. NULL: that cannot happen.
     */
    void (*on_death)(struct context *c, void (*fn)(void *arg), void *arg);
    void (*release)(struct context *c);
};
struct context {
    const struct context_ops *ops;
};

struct platform_ops {
    /* A new empty address space. Any thread. Returns 0, -ENOMEM, or -EAGAIN (a limit of the host).
     */
    int (*new_address_space)(struct platform *p, struct address_space **out);
    /* A context for the calling thread. `as`: where it will first run (a hint that may save work).
     * Returns 0 or -errno (-EAGAIN: no more host threads). */
    int (*new_context)(struct platform *p, struct address_space *as, struct context **out);
    void (*release)(struct platform *p);
};
struct platform {
    const struct platform_ops *ops;
    const char *name;
    gva_t min_addr; /* the application's addresses are within [min_addr, max_addr) */
    gva_t max_addr;
    uint32_t xstate_size; /* bytes of the XSAVE area in signal frames and in arch_context */
    uint64_t xfeatures;   /* XCR0 */
    bool cpu_hidden;      /* rdpid, rdtscp and segment limits do not tell the host's CPU */
    bool lazy_faults_ok;  /* false: a fault is so dear that mm should map ahead eagerly */
};

struct platform_type {
    const char *name;
    /* Whether it works here: runs a small program through it. 0, or -errno with a clear sentence.
     */
    int (*self_test)(char *why, size_t why_size);
    int (*create)(struct platform **out, char *why, size_t why_size);
    /* Whether it could be the fastest here at all. Costs next to nothing; NULL: yes. */
    bool (*worth_measuring)(void);
};
extern const struct platform_type ptrace_platform_type;
extern const struct platform_type kvm_platform_type;

/* The type with that name; NULL if there is none. */
const struct platform_type *platform_type_find(const char *name);
/* The fastest type that works here (the log says why); NULL, and a sentence in why, if none does.
 */
const struct platform_type *platform_type_choose(char *why, size_t why_size);
/* Runs a small program through a platform of that type: system calls, a fault, an interruption.
 * Returns 0 and what a system call costs, or -errno and a sentence. */
int platform_measure(const struct platform_type *type, uint64_t *round_trip_ns, char *why,
                     size_t why_size);

#endif
