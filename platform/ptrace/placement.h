/*
 * Which CPU a task runs on.
 *
 * A task is two host threads that never run at the same time: the sentry's, and the stub thread
 * that it traces. On one CPU a round trip between them costs 4 us, on two 60, and the host's
 * scheduler would choose two. So both are pinned to one CPU, and spreading tasks over the CPUs is
 * our affair: the service thread looks every few milliseconds while something runs, and not at all
 * while nothing does.
 */
#ifndef PICKET_PLATFORM_PTRACE_PLACEMENT_H
#define PICKET_PLATFORM_PTRACE_PLACEMENT_H

#include "base/list.h"
#include "base/lock.h"
#include <sched.h>
#include <stdatomic.h>
#include <sys/types.h>

struct placement {
    struct mutex lock; /* PLATFORM_CPU */
    struct list_head all;
    cpu_set_t allowed; /* what the sentry was given */
    int ncpus;         /* in allowed */
    int wake_fd;       /* an eventfd that wakes the service thread */
    _Atomic bool ticking;
    int idle_ticks;
};

/* A task's host thread, and the stub thread that it uses now. */
struct placed {
    struct list_head link; /* placement.all */
    pid_t tid;
    _Atomic pid_t stub; /* or 0 */
    _Atomic int cpu;    /* where both are pinned, or -1 */
    /* Own thread writes, the service thread reads. */
    _Atomic uint64_t runnable_since; /* ns, or 0 while it sleeps */
    _Atomic uint64_t runnable_time;  /* ns, without the current stretch */
    _Atomic uint64_t wakes;
    _Atomic uint64_t stops;
};

/* wake_fd is still to be set. */
void placement_init(struct placement *pl);
void placement_destroy(struct placement *pl);
/* The calling thread becomes one that is placed; it is runnable. */
void placement_add(struct placement *pl, struct placed *pd);
/* By any thread. It may run anywhere again. */
void placement_remove(struct placement *pl, struct placed *pd);
/* The calling thread sleeps, or runs again. */
void placement_sleep(struct placement *pl, struct placed *pd);
void placement_wake(struct placement *pl, struct placed *pd);
/* 0 or -errno. */
int placement_pin(struct placement *pl, pid_t tid, int cpu);
/* Makes the service thread tick. */
void placement_arm(struct placement *pl);
/* Looks round and moves tasks. False: nothing runs, no need to tick (`needed`: there is another).
 */
bool placement_tick(struct placement *pl, bool needed);

static inline int placed_cpu(struct placed *pd)
{
    return atomic_load_explicit(&pd->cpu, memory_order_relaxed);
}

#endif
