/*
 * Timers: a function called at a host CLOCK_MONOTONIC instant, on the timer thread.
 *
 * The thread is made by the first ktimer_prepare and sleeps as long as nothing is due; an idle
 * sandbox has no ticks. Timers wait in a pairing heap under one lock (TIMER).
 */
#ifndef PICKET_SENTRY_KERNEL_TIMER_H
#define PICKET_SENTRY_KERNEL_TIMER_H

#include "sentry/kernel/wait.h"

struct kernel;
struct timer_service;

struct ktimer {
    struct timer_service *service;
    /* Called with no lock held; may arm the timer again, may not sleep. */
    void (*fn)(struct ktimer *timer);
    /* Private to timer.c. */
    ktime_t deadline;
    struct ktimer *child, *next, *prev; /* prev: the parent for a first child */
    bool armed;
};

/* Makes sure that the timer thread runs: before the first ktimer_arm of whoever creates timers.
 * Returns 0 or -EAGAIN. */
MUST_CHECK int ktimer_prepare(struct kernel *k);
void ktimer_init(struct ktimer *timer, struct kernel *k, void (*fn)(struct ktimer *timer));
/* Calls fn once, at or after the deadline. Replaces an earlier deadline. Never fails. */
void ktimer_arm(struct ktimer *timer, ktime_t deadline);
/* Afterwards fn neither runs nor will run, unless armed again. Waits for an fn that is running: the
 * caller holds no lock that fn takes. Returns whether it was armed. */
bool ktimer_cancel(struct ktimer *timer);
/* As ktimer_cancel without waiting: fn may still be running. Any lock before TIMER may be held. */
bool ktimer_disarm(struct ktimer *timer);

/* Host CLOCK_MONOTONIC now. */
ktime_t ktime_now(void);
/* now + ns, saturating. Pre: ns >= 0. */
ktime_t ktime_after(int64_t ns);

int timer_service_create(struct kernel *k, struct timer_service **out);
/* Ends the thread. Pre: no timer is armed. */
void timer_service_destroy(struct timer_service *s);

#endif
