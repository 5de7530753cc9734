#include "platform/ptrace/placement.h"
#include <errno.h>
#include <linux/futex.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define TICK_MS 4
#define LONELY_TICK_MS 10 /* one task at most: there is nothing to balance */
#define IDLE_TICKS 3
#define ASLEEP_SHARE 0.01
/* What it costs a task to have a CPU of its own, each time it wakes: the CPU wakes, too. */
#define WAKE_COST_NS 100000.0
/* A move must save a task this part of its time. */
#define WORTHWHILE 0.15
/* Tasks that wake more often than this, and run more briefly, are chatty: waking costs them more
 * than waiting. They gather if they have enough of one CPU. */
#define CHATTY_WAKES_PER_TICK 4
#define CHATTY_STRETCH_NS 250000
#define GATHER_LOAD 1.3
#define GATHER_AFTER_TICKS 8 /* after the last move */

/* A task that yielded so lately is not left to the host, which would not know when it waits. */
#define RECENT_TICKS 8
/* How long a task that yields lets others go first; less than a tick. */
#define YIELD_MAX_NS 2000000

/* Busy tasks may look for a better CPU. */
#define BUSY_SHARE 0.5
#define BUSY_STRETCH_NS 2000000
#define RECONSIDER_TICKS 32

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int placement_init(struct placement *pl)
{
    mutex_init(&pl->lock, LOCK_PLATFORM_CPU);
    list_init(&pl->all);
    pl->wake_fd = -1;
    if (sched_getaffinity(0, sizeof(pl->allowed), &pl->allowed) < 0)
        CPU_ZERO(&pl->allowed); /* a machine too large for us: nothing is pinned */
    pl->ncpus = CPU_COUNT(&pl->allowed);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET((size_t)cpu, &pl->allowed))
            pl->cpu_limit = cpu + 1;
    mutex_init(&pl->turn_lock, LOCK_LEAF);
    pl->load = calloc((size_t)pl->cpu_limit + 1, sizeof(*pl->load));
    pl->turns = calloc((size_t)pl->cpu_limit + 1, sizeof(*pl->turns));
    for (int cpu = 0; pl->turns && cpu <= pl->cpu_limit; cpu++)
        list_init(&pl->turns[cpu].waiting);
    return pl->load && pl->turns ? 0 : -ENOMEM;
}

void placement_destroy(struct placement *pl)
{
    free(pl->load);
    free(pl->turns);
    mutex_destroy(&pl->turn_lock);
    mutex_destroy(&pl->lock);
}

int placement_pin(struct placement *pl, pid_t tid, int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (cpu >= 0)
        CPU_SET((size_t)cpu, &set);
    return sched_setaffinity(tid, sizeof(set), cpu >= 0 ? &set : &pl->allowed) < 0 ? -errno : 0;
}

void placement_arm(struct placement *pl)
{
    if (atomic_load_explicit(&pl->ticking, memory_order_relaxed) ||
        atomic_exchange(&pl->ticking, true))
        return;
    uint64_t one = 1;
    if (write(pl->wake_fd, &one, sizeof(one)) < 0)
        atomic_store(&pl->ticking, false);
}

/* Where the calling thread is, if it may be pinned there. */
static int current_cpu(struct placement *pl)
{
    if (pl->ncpus < 2)
        return -1;
    int cpu = sched_getcpu();
    return cpu >= 0 && cpu < pl->cpu_limit && CPU_ISSET((size_t)cpu, &pl->allowed) ? cpu : -1;
}

/* ---- taking turns ---- */

static void futex(_Atomic uint32_t *word, int op, uint32_t value, const struct timespec *timeout)
{
    syscall(SYS_futex, word, op, value, timeout, NULL, 0);
}

/* Whoever it was who may go on is told so without the lock: it would run at once, and want it. */
static void wake(struct placed *pd)
{
    if (pd)
        futex(&pd->may_go, FUTEX_WAKE_PRIVATE, 1, NULL);
}

/* pd is awake on cpu, and has not yielded there yet. turn_lock held, as for all up to wake's calls.
 */
static void join(struct placement *pl, struct placed *pd, int cpu)
{
    lock_assert_held(&pl->turn_lock);
    pd->turn_cpu = cpu;
    if (cpu < 0)
        return;
    struct turns *t = &pl->turns[cpu];
    pd->round = t->round - 1;
    t->awake++;
    t->pending++;
}

/* pd waits no longer. Returns it, to be woken. */
static struct placed *give_turn(struct placement *pl, struct placed *pd)
{
    list_del(&pd->turn_link);
    join(pl, pd, placed_cpu(pd));
    atomic_store(&pd->may_go, 1);
    return pd;
}

/* If all who are awake have yielded, a new round begins, with one more of those who wait. Returns
 * whom to wake, or NULL. */
static struct placed *end_round(struct placement *pl, struct turns *t)
{
    if (t->pending > 0)
        return NULL;
    t->round++;
    t->pending = t->awake;
    return list_empty(&t->waiting)
               ? NULL
               : give_turn(pl, list_first(&t->waiting, struct placed, turn_link));
}

/* Returns whom to wake, or NULL. */
static struct placed *leave(struct placement *pl, struct placed *pd)
{
    lock_assert_held(&pl->turn_lock);
    if (pd->turn_cpu < 0)
        return NULL;
    struct turns *t = &pl->turns[pd->turn_cpu];
    pd->turn_cpu = -1;
    t->awake--;
    if (pd->round != t->round)
        t->pending--;
    return end_round(pl, t);
}

/* pd is awake on cpu from now on (-1: nowhere); where it was, somebody may have to go on. */
static void count_awake(struct placement *pl, struct placed *pd, int cpu)
{
    struct placed *next = NULL;
    mutex_lock(&pl->turn_lock);
    if (pd->turn_cpu != cpu) {
        next = leave(pl, pd);
        join(pl, pd, cpu);
    }
    mutex_unlock(&pl->turn_lock);
    wake(next);
}

/* It goes to another CPU, awake or not. */
static void count_moved(struct placement *pl, struct placed *pd, int cpu)
{
    struct placed *next = NULL;
    mutex_lock(&pl->turn_lock);
    if (pd->turn_cpu >= 0 && pd->turn_cpu != cpu) {
        next = leave(pl, pd);
        join(pl, pd, cpu);
    }
    mutex_unlock(&pl->turn_lock);
    wake(next);
}

/* True: pd has yielded twice while somebody else there has not even once; now it is in the queue.
 */
static bool queue_up(struct placement *pl, struct placed *pd)
{
    struct placed *next = NULL;
    bool queued = false;
    int cpu = placed_cpu(pd);
    mutex_lock(&pl->turn_lock);
    if (pd->turn_cpu != cpu) { /* it was let go, or has just been moved */
        next = leave(pl, pd);
        join(pl, pd, cpu);
    } else if (cpu >= 0) {
        struct turns *t = &pl->turns[pd->turn_cpu];
        queued = pd->round == t->round;
        if (queued) {
            t->awake--;
            pd->turn_cpu = -1;
            atomic_store(&pd->may_go, 0);
            list_add_tail(&t->waiting, &pd->turn_link);
        } else {
            pd->round = t->round;
            t->pending--;
            next = end_round(pl, t);
        }
    }
    mutex_unlock(&pl->turn_lock);
    wake(next);
    return queued;
}

void placement_yield(struct placement *pl, struct placed *pd)
{
    static const struct timespec limit = {.tv_nsec = YIELD_MAX_NS};
    if (!queue_up(pl, pd)) {
        atomic_store_explicit(&pd->turn_since, now_ns(), memory_order_relaxed);
        sched_yield();
        return;
    }
    atomic_store_explicit(&pd->turn_since, UINT64_MAX, memory_order_relaxed);
    futex(&pd->may_go, FUTEX_WAIT_PRIVATE, 0, &limit);
    atomic_store_explicit(&pd->turn_since, now_ns(), memory_order_relaxed);
    if (!atomic_load(&pd->may_go))
        placement_hurry(pl, pd);
}

void placement_hurry(struct placement *pl, struct placed *pd)
{
    struct placed *next = NULL;
    mutex_lock(&pl->turn_lock);
    if (!list_empty(&pd->turn_link))
        next = give_turn(pl, pd);
    mutex_unlock(&pl->turn_lock);
    wake(next);
}

/* ---- what tasks do ---- */

void placement_add(struct placement *pl, struct placed *pd)
{
    list_init(&pd->turn_link);
    pd->turn_cpu = -1;
    pd->tid = gettid();
    pd->cpus = pl->allowed;
    int cpu = current_cpu(pl);
    if (cpu >= 0 && placement_pin(pl, pd->tid, cpu) < 0)
        cpu = -1;
    atomic_store(&pd->cpu, cpu);
    MUTEX_GUARD(&pl->lock);
    list_add_tail(&pl->all, &pd->link);
}

void placement_remove(struct placement *pl, struct placed *pd)
{
    count_awake(pl, pd, -1);
    MUTEX_GUARD(&pl->lock);
    list_del(&pd->link);
    if (placed_cpu(pd) >= 0)
        placement_pin(pl, pd->tid, -1);
}

void placement_attach(struct placement *pl, struct placed *pd, pid_t tid, int *cpu)
{
    MUTEX_GUARD(&pl->lock);
    int home = placed_cpu(pd);
    if (*cpu != home && placement_pin(pl, tid, home) == 0)
        *cpu = home;
    pd->stub = tid;
}

void placement_detach(struct placement *pl, struct placed *pd, int *cpu)
{
    MUTEX_GUARD(&pl->lock);
    pd->stub = 0;
    *cpu = placed_cpu(pd);
}

bool placement_uses(struct placement *pl, struct placed *pd, pid_t tid)
{
    MUTEX_GUARD(&pl->lock);
    return pd->stub == tid;
}

void placement_sleep(struct placement *pl, struct placed *pd)
{
    count_awake(pl, pd, -1);
    uint64_t since = atomic_load_explicit(&pd->awake_since, memory_order_relaxed);
    if (!since)
        return;
    uint64_t total = atomic_load_explicit(&pd->awake_time, memory_order_relaxed);
    atomic_store_explicit(&pd->awake_time, total + now_ns() - since, memory_order_relaxed);
    atomic_store_explicit(&pd->awake_since, 0, memory_order_relaxed);
}

void placement_wake(struct placement *pl, struct placed *pd)
{
    uint64_t n = atomic_load_explicit(&pd->wakes, memory_order_relaxed);
    atomic_store_explicit(&pd->awake_since, now_ns(), memory_order_relaxed);
    atomic_store_explicit(&pd->wakes, n + 1, memory_order_relaxed);
    count_awake(pl, pd, placed_cpu(pd));
    placement_arm(pl);
}

/* Both go to cpu. */
static void move(struct placement *pl, struct placed *pd, int cpu)
{
    lock_assert_held(&pl->lock);
    if (placement_pin(pl, pd->tid, cpu) < 0)
        return; /* it has exited, or may not run there any more */
    if (pd->stub)
        placement_pin(pl, pd->stub, cpu);
    atomic_store_explicit(&pd->cpu, cpu, memory_order_relaxed);
    pd->moved_at = pl->ticks;
    count_moved(pl, pd, cpu);
}

static void let_go(struct placement *pl, struct placed *pd)
{
    lock_assert_held(&pl->lock);
    if (!pd->stub)
        return;
    sched_setaffinity(pd->tid, sizeof(pd->cpus), &pd->cpus);
    sched_setaffinity(pd->stub, sizeof(pd->cpus), &pd->cpus);
    count_awake(pl, pd, -1);
    atomic_store_explicit(&pd->let_go, true, memory_order_relaxed);
}

/* The one of its CPUs that has least to do. */
static int idlest_of(struct placement *pl, struct placed *pd)
{
    int best = -1;
    for (int cpu = 0; cpu < pl->cpu_limit; cpu++) {
        if (CPU_ISSET((size_t)cpu, &pd->cpus) && (best < 0 || pl->load[cpu] < pl->load[best]))
            best = cpu;
    }
    return best;
}

void placement_restrict(struct placement *pl, struct placed *pd, const cpu_set_t *cpus)
{
    MUTEX_GUARD(&pl->lock);
    CPU_AND(&pd->cpus, cpus, &pl->allowed);
    if (!CPU_COUNT(&pd->cpus))
        pd->cpus = pl->allowed;
    int cpu = placed_cpu(pd);
    if (cpu < 0)
        return; /* there is only one */
    if (!CPU_ISSET((size_t)cpu, &pd->cpus))
        cpu = idlest_of(pl, pd);
    if (atomic_load_explicit(&pd->let_go, memory_order_relaxed))
        let_go(pl, pd);
    else if (cpu != placed_cpu(pd))
        move(pl, pd, cpu);
}

void placement_return(struct placement *pl, struct placed *pd)
{
    MUTEX_GUARD(&pl->lock);
    int cpu = current_cpu(pl);
    if (cpu < 0)
        cpu = placed_cpu(pd);
    move(pl, pd, CPU_ISSET((size_t)cpu, &pd->cpus) ? cpu : idlest_of(pl, pd));
    atomic_store_explicit(&pd->let_go, false, memory_order_relaxed);
    count_awake(pl, pd, placed_cpu(pd));
}

/* What the task did since the last tick, `period` ns ago. */
static void sample(struct placed *pd, uint64_t now, uint64_t period)
{
    uint64_t since = atomic_load_explicit(&pd->awake_since, memory_order_relaxed);
    uint64_t awake = atomic_load_explicit(&pd->awake_time, memory_order_relaxed);
    uint64_t wakes = atomic_load_explicit(&pd->wakes, memory_order_relaxed);
    uint64_t stops = atomic_load_explicit(&pd->stops, memory_order_relaxed);
    uint64_t turn = atomic_load_explicit(&pd->turn_since, memory_order_relaxed);
    if (since && now > since)
        awake += now - since;
    /* The two were not read at one moment: a stretch may have been counted twice, or not at all. */
    uint64_t ran = awake > pd->seen_awake ? awake - pd->seen_awake : 0;
    ran = MIN(ran, period);
    pd->share = (pd->share + (double)ran / (double)period) / 2;
    pd->woken = (pd->woken + (double)(wakes - pd->seen_wakes)) / 2;
    pd->stretch = pd->share * (double)period / MAX(pd->woken, 1.0);
    pd->computes = since && stops == pd->seen_stops && ran == period;
    pd->takes_turns = turn >= now - RECENT_TICKS * period;
    pd->seen_awake = awake;
    pd->seen_wakes = wakes;
    pd->seen_stops = stops;
}

/* Returns how many tasks were awake. */
static int sample_all(struct placement *pl, uint64_t now, uint64_t period)
{
    int awake = 0;
    double floating = 0;
    for (int cpu = 0; cpu < pl->cpu_limit; cpu++)
        pl->load[cpu] = 0;
    struct placed *pd;
    list_for_each (pd, &pl->all, link) {
        sample(pd, now, period);
        awake += pd->share > ASLEEP_SHARE;
        int cpu = placed_cpu(pd);
        if (cpu < 0 || atomic_load_explicit(&pd->let_go, memory_order_relaxed))
            floating += pd->share;
        else
            pl->load[cpu] += pd->share;
    }
    for (int cpu = 0; cpu < pl->cpu_limit; cpu++)
        pl->load[cpu] += floating / pl->ncpus;
    return awake;
}

static void find_extremes(struct placement *pl, int *busiest, int *idlest)
{
    *busiest = *idlest = -1;
    for (int cpu = 0; cpu < pl->cpu_limit; cpu++) {
        if (!CPU_ISSET((size_t)cpu, &pl->allowed))
            continue;
        if (*busiest < 0 || pl->load[cpu] > pl->load[*busiest])
            *busiest = cpu;
        if (*idlest < 0 || pl->load[cpu] < pl->load[*idlest])
            *idlest = cpu;
    }
}

/*
 * What part of each of its stretches a task saves by moving. Of `stretch`, it has run only one part
 * in load(from); there it would be one part in load(to) + its own share, and wake up later.
 */
static double gain_of_moving(struct placement *pl, struct placed *pd, int from, int to)
{
    double there = MAX(pl->load[to] + pd->share, 1.0);
    return 1 - there / MAX(pl->load[from], 1.0) - WAKE_COST_NS / MAX(pd->stretch, 1.0);
}

static bool spread_one(struct placement *pl)
{
    int from, to;
    find_extremes(pl, &from, &to);
    if (from < 0 || from == to)
        return false;
    struct placed *pd, *best = NULL;
    double best_gain = WORTHWHILE;
    list_for_each (pd, &pl->all, link) {
        if (placed_cpu(pd) != from || pd->share < ASLEEP_SHARE ||
            !CPU_ISSET((size_t)to, &pd->cpus) ||
            atomic_load_explicit(&pd->let_go, memory_order_relaxed))
            continue;
        double gain = gain_of_moving(pl, pd, from, to);
        if (gain > best_gain) {
            best = pd;
            best_gain = gain;
        }
    }
    if (!best)
        return false;
    move(pl, best, to);
    pl->load[from] -= best->share;
    pl->load[to] += best->share;
    return true;
}

static bool is_chatty(struct placement *pl, struct placed *pd)
{
    return placed_cpu(pd) >= 0 && pd->woken >= CHATTY_WAKES_PER_TICK &&
           pd->stretch < CHATTY_STRETCH_NS && pl->ticks - pd->moved_at > GATHER_AFTER_TICKS;
}

/* Moves one chatty task to the CPU of another, if both CPUs together have time for it. */
static void gather_one(struct placement *pl)
{
    struct placed *pd, *first = NULL;
    list_for_each (pd, &pl->all, link) {
        if (!is_chatty(pl, pd))
            continue;
        if (!first) {
            first = pd;
            continue;
        }
        int here = placed_cpu(pd), there = placed_cpu(first);
        if (here != there && CPU_ISSET((size_t)there, &pd->cpus) &&
            pl->load[here] + pl->load[there] < GATHER_LOAD) {
            move(pl, pd, there);
            return;
        }
    }
}

/*
 * Tasks that compute, until they stop again; and busy ones for a moment from time to time: when the
 * stub thread next wakes its tracer, the host finds that an idle CPU, if there is one. We see only
 * our own tasks, and somebody else may be busy where they are.
 */
static void let_some_go(struct placement *pl)
{
    struct placed *pd;
    list_for_each (pd, &pl->all, link) {
        if (pd->takes_turns)
            continue;
        bool busy = pd->share > BUSY_SHARE && pd->stretch > BUSY_STRETCH_NS &&
                    pl->ticks - pd->moved_at > RECONSIDER_TICKS;
        if ((pd->computes || busy) && placed_cpu(pd) >= 0 &&
            !atomic_load_explicit(&pd->let_go, memory_order_relaxed))
            let_go(pl, pd);
    }
}

int placement_tick(struct placement *pl, bool needed)
{
    MUTEX_GUARD(&pl->lock);
    uint64_t now = now_ns();
    uint64_t period = pl->last_tick ? now - pl->last_tick : (uint64_t)TICK_MS * 1000000;
    pl->last_tick = now;
    pl->ticks++;
    int awake = sample_all(pl, now, period ? period : 1);
    if (pl->ncpus > 1 && awake > 1) {
        bool moved = false;
        for (int i = 0; i < 4 * pl->ncpus && spread_one(pl); i++)
            moved = true;
        if (!moved)
            gather_one(pl);
    }
    if (pl->ncpus > 1)
        let_some_go(pl);

    pl->idle_ticks = awake > 0 || needed ? 0 : pl->idle_ticks + 1;
    if (pl->idle_ticks < IDLE_TICKS)
        return awake > 1 ? TICK_MS : LONELY_TICK_MS;
    pl->idle_ticks = 0;
    pl->last_tick = 0;
    atomic_store(&pl->ticking, false);
    return -1;
}
