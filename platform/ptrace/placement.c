#include "platform/ptrace/placement.h"
#include <errno.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#define IDLE_TICKS 3

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void placement_init(struct placement *pl)
{
    mutex_init(&pl->lock, LOCK_PLATFORM_CPU);
    list_init(&pl->all);
    pl->wake_fd = -1;
    if (sched_getaffinity(0, sizeof(pl->allowed), &pl->allowed) < 0)
        CPU_ZERO(&pl->allowed);
    pl->ncpus = CPU_COUNT(&pl->allowed);
}

void placement_destroy(struct placement *pl)
{
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

void placement_add(struct placement *pl, struct placed *pd)
{
    pd->tid = gettid();
    int cpu = pl->ncpus > 1 ? sched_getcpu() : -1;
    if (cpu >= 0 && placement_pin(pl, 0, cpu) < 0)
        cpu = -1;
    atomic_store(&pd->cpu, cpu);
    mutex_lock(&pl->lock);
    list_add_tail(&pl->all, &pd->link);
    mutex_unlock(&pl->lock);
}

void placement_remove(struct placement *pl, struct placed *pd)
{
    MUTEX_GUARD(&pl->lock);
    list_del(&pd->link);
    if (placed_cpu(pd) >= 0)
        placement_pin(pl, pd->tid, -1);
}

void placement_sleep(struct placement *pl, struct placed *pd)
{
    (void)pl;
    uint64_t since = atomic_load_explicit(&pd->runnable_since, memory_order_relaxed);
    uint64_t total = atomic_load_explicit(&pd->runnable_time, memory_order_relaxed);
    if (since)
        total += now_ns() - since;
    atomic_store_explicit(&pd->runnable_time, total, memory_order_relaxed);
    atomic_store_explicit(&pd->runnable_since, 0, memory_order_relaxed);
}

void placement_wake(struct placement *pl, struct placed *pd)
{
    atomic_store_explicit(&pd->runnable_since, now_ns(), memory_order_relaxed);
    atomic_fetch_add_explicit(&pd->wakes, 1, memory_order_relaxed);
    placement_arm(pl);
}

bool placement_tick(struct placement *pl, bool needed)
{
    MUTEX_GUARD(&pl->lock);
    bool active = needed;
    struct placed *pd;
    list_for_each (pd, &pl->all, link)
        active |= atomic_load_explicit(&pd->runnable_since, memory_order_relaxed) != 0;
    pl->idle_ticks = active ? 0 : pl->idle_ticks + 1;
    if (pl->idle_ticks < IDLE_TICKS)
        return true;
    pl->idle_ticks = 0;
    atomic_store(&pl->ticking, false);
    return false;
}
