/*
 * Which CPU a task runs on.
 *
 * A task is two host threads that never run at the same time: the sentry's, and the stub thread
 * that it traces. On one CPU a round trip between them costs 4 us, on two 60, because the other CPU
 * sleeps and must be woken; and left alone the host's scheduler chooses two. So both are pinned to
 * one CPU, and spreading tasks over CPUs is our affair. The service thread looks every few
 * milliseconds while something runs, and never while nothing does. It
 *
 *   - spreads: moves a task from a crowded CPU to a free one if the time that it saves waiting is
 *     more than waking the other CPU costs it;
 *   - gathers: tasks that keep waking each other and hardly run go to one CPU;
 *   - lets go: a task that has been in application code for a whole period needs no partner; the
 *     host may run it where it likes, until it stops again. So may busy tasks now and then, for a
 *     moment.
 *
 * Tasks that spin, yielding their CPU while they wait for others, would get as much of it as those
 * others, because here a turn is two host threads and four host calls, and the host knows nothing
 * of the whole. So a task that yields for the second time while somebody else who is awake on its
 * CPU has not yielded once sleeps until all have; at most for YIELD_MAX_NS. Where all yield, nobody
 * has to.
 *
 * What a task does is averaged over a few periods: a short disturbance moves nobody.
 */
#ifndef PICKET_PLATFORM_PTRACE_PLACEMENT_H
#define PICKET_PLATFORM_PTRACE_PLACEMENT_H

#include "base/list.h"
#include "base/lock.h"
#include <sched.h>
#include <stdatomic.h>
#include <sys/types.h>

/*
 * The tasks of one CPU that are awake, and those that have yielded to them, longest ago first.
 * A round ends when all who are awake have yielded, or sleep; `pending` of them have not.
 */
struct turns {
    int awake, pending;
    uint32_t round;
    struct list_head waiting; /* placed.turn_link */
};

struct placement {
    struct mutex lock; /* PLATFORM_CPU */
    struct list_head all;
    cpu_set_t allowed; /* what the sentry was given */
    int ncpus;         /* in allowed */
    int cpu_limit;     /* all of them are below */
    int wake_fd;       /* an eventfd that wakes the service thread */
    _Atomic bool ticking;
    /* The service thread's. */
    int idle_ticks;
    uint64_t ticks;
    uint64_t last_tick;     /* ns, or 0 */
    struct mutex turn_lock; /* LEAF */
    struct turns *turns;    /* by CPU number; under turn_lock, as is what is called so in placed */
    double *load; /* by CPU number: how many tasks wanted it, on average, since the last tick */
};

/* A task's host thread, and the stub thread that it uses now. */
struct placed {
    struct list_head link; /* placement.all */
    pid_t tid;
    pid_t stub;          /* or 0; under placement.lock */
    _Atomic int cpu;     /* where both are pinned, or -1 */
    _Atomic bool let_go; /* neither is pinned at the moment */
    cpu_set_t cpus;      /* where both may be, all of them in allowed; under placement.lock */
    int turn_cpu;        /* where it counts as awake, or -1 */
    uint32_t round;      /* in which it has last yielded there */
    struct list_head turn_link;
    _Atomic uint32_t may_go; /* futex: 0 while it waits for its turn */
    /* Own thread writes, the service thread reads. */
    _Atomic uint64_t awake_since; /* ns, or 0 while it sleeps */
    _Atomic uint64_t awake_time;  /* ns, without the current stretch */
    _Atomic uint64_t wakes;
    _Atomic uint64_t stops;
    _Atomic uint64_t turn_since; /* ns: when it last came back from waiting for its turn */
    /* The service thread's: what it saw at the last tick, and what happened since. */
    uint64_t seen_awake, seen_wakes, seen_stops;
    double share;      /* of its time that it is awake: 0 to 1 */
    double woken;      /* times a period */
    double stretch;    /* ns that it stays awake */
    bool takes_turns;  /* it has yielded lately */
    bool computes;     /* it was in the application all the time */
    uint64_t moved_at; /* tick */
};

/* 0 or -ENOMEM. wake_fd is still to be set. */
int placement_init(struct placement *pl);
void placement_destroy(struct placement *pl);
/* The calling thread becomes one that is placed, where it is now. */
void placement_add(struct placement *pl, struct placed *pd);
/* By any thread. It may run anywhere again. */
void placement_remove(struct placement *pl, struct placed *pd);
/* The calling thread uses the stopped stub thread `tid`, pinned to *cpu (-1: not) so far. */
void placement_attach(struct placement *pl, struct placed *pd, pid_t tid, int *cpu);
/* It no longer does; *cpu: where the stub thread is pinned. */
void placement_detach(struct placement *pl, struct placed *pd, int *cpu);
/* Whether it uses the stub thread `tid` now. Any thread. */
bool placement_uses(struct placement *pl, struct placed *pd, pid_t tid);
/* From now on both stay on those of the CPUs that are allowed. Any thread. */
void placement_restrict(struct placement *pl, struct placed *pd, const cpu_set_t *cpus);
/* The calling thread sleeps, or runs again. */
void placement_sleep(struct placement *pl, struct placed *pd);
void placement_wake(struct placement *pl, struct placed *pd);
/* The calling thread lets others on its CPU go first. */
void placement_yield(struct placement *pl, struct placed *pd);
/* Ends that. Any thread. */
void placement_hurry(struct placement *pl, struct placed *pd);
/* Pins both to where the calling thread is now, after they were let go. */
void placement_return(struct placement *pl, struct placed *pd);
/* 0 or -errno. cpu -1: anywhere. */
int placement_pin(struct placement *pl, pid_t tid, int cpu);
/* Makes the service thread tick. */
void placement_arm(struct placement *pl);
/* Looks round and moves tasks. Returns the milliseconds until the next tick, or -1 if nothing runs
 * (`needed`: tick on nevertheless). */
int placement_tick(struct placement *pl, bool needed);

static inline int placed_cpu(struct placed *pd)
{
    return atomic_load_explicit(&pd->cpu, memory_order_relaxed);
}
/* The calling thread's stub thread has stopped. */
static inline void placed_stopped(struct placement *pl, struct placed *pd)
{
    uint64_t n = atomic_load_explicit(&pd->stops, memory_order_relaxed);
    atomic_store_explicit(&pd->stops, n + 1, memory_order_relaxed);
    if (unlikely(atomic_load_explicit(&pd->let_go, memory_order_relaxed)))
        placement_return(pl, pd);
}

#endif
