/*
 * The timer service: random arming, re-arming and cancelling against a plain record of what should
 * have happened.
 */
#include "sentry/kernel/timer.h"
#include "sentry/kernel/kernel.h"
#include "tests/unit/random.h"
#include <check.h>
#include <stdlib.h>
#include <time.h>

#define TIMERS 200
#define STEPS 20000
#define SPREAD_NS 20000000

struct probe {
    struct ktimer timer;
    _Atomic int fired;
    _Atomic int64_t expected; /* no call before this */
    _Atomic bool early;
    int armed; /* how often it was armed and not disarmed: calls that must come */
};

static struct kernel kernel;

static void on_timer(struct ktimer *timer)
{
    struct probe *p = container_of(timer, struct probe, timer);
    if (ktime_now() < atomic_load(&p->expected))
        atomic_store(&p->early, true);
    atomic_fetch_add(&p->fired, 1);
}

static void setup(void)
{
    ck_assert_int_eq(timer_service_create(&kernel, &kernel.timers), 0);
    ck_assert_int_eq(ktimer_prepare(&kernel), 0);
}

static void teardown(void)
{
    timer_service_destroy(kernel.timers);
}

static void arm(struct probe *p, struct rng *rng)
{
    /* What was armed before and has not fired yet is replaced. */
    if (ktimer_cancel(&p->timer))
        p->armed--;
    ktime_t at = ktime_after((int64_t)(rng_next(rng) % SPREAD_NS));
    atomic_store(&p->expected, at);
    p->armed++;
    ktimer_arm(&p->timer, at);
}

START_TEST(every_timer_fires_once_and_not_early)
{
    static struct probe probes[TIMERS];
    struct rng rng = rng_seed("timer");
    for (int i = 0; i < TIMERS; i++)
        ktimer_init(&probes[i].timer, &kernel, on_timer);
    for (int step = 0; step < STEPS; step++) {
        struct probe *p = &probes[rng_next(&rng) % TIMERS];
        if (rng_next(&rng) % 4)
            arm(p, &rng);
        else if (ktimer_cancel(&p->timer))
            p->armed--;
    }
    nanosleep(&(struct timespec){.tv_nsec = 3 * SPREAD_NS}, NULL);
    for (int i = 0; i < TIMERS; i++) {
        ck_assert(!ktimer_cancel(&probes[i].timer));
        ck_assert_int_eq(atomic_load(&probes[i].fired), probes[i].armed);
        ck_assert(!atomic_load(&probes[i].early));
    }
}
END_TEST

static struct ktimer order_timers[64];
static _Atomic int order_next;
static int order_seen[64];

static void on_order(struct ktimer *timer)
{
    order_seen[order_next] = (int)(timer - order_timers);
    order_next++; /* only after that is it seen: timers fire on one thread */
}

START_TEST(timers_fire_in_the_order_of_their_deadlines)
{
    ktime_t base = ktime_after(30000000);
    for (int i = 0; i < 64; i++)
        ktimer_init(&order_timers[i], &kernel, on_order);
    for (int i = 0; i < 64; i++) {
        int n = i * 37 % 64;
        ktimer_arm(&order_timers[n], base + n * 1000);
    }
    while (atomic_load(&order_next) < 64)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    for (int i = 0; i < 64; i++)
        ck_assert_int_eq(order_seen[i], i);
}
END_TEST

static void on_slow(struct ktimer *timer)
{
    struct probe *p = container_of(timer, struct probe, timer);
    atomic_store(&p->early, true);
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    atomic_store(&p->fired, 1);
}

START_TEST(cancel_waits_for_a_running_callback)
{
    static struct probe p;
    ktimer_init(&p.timer, &kernel, on_slow);
    ktimer_arm(&p.timer, 0);
    while (!atomic_load(&p.early))
        nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    ck_assert(!ktimer_cancel(&p.timer));
    ck_assert_int_eq(atomic_load(&p.fired), 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("timer");
    TCase *tc = tcase_create("timer");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, every_timer_fires_once_and_not_early);
    tcase_add_test(tc, timers_fire_in_the_order_of_their_deadlines);
    tcase_add_test(tc, cancel_waits_for_a_running_callback);
    tcase_set_timeout(tc, 60);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
