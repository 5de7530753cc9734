/*
 * The clock: fitted to made-up hosts, where time may do what it likes, and to the real one.
 */
#include "sentry/kernel/clock.h"
#include "sentry/loader/vdso/params.h"
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define MS 1000000ll
#define SEC 1000000000ll

/* ---- a host of our own ---- */

struct host {
    struct clock clock;
    struct vdso_params params;
    double hz; /* ticks per second of CLOCK_MONOTONIC */
    uint64_t tsc;
    double monotonic, raw; /* ns */
    int64_t realtime_offset;
};

static struct clock_sample look(const struct host *h)
{
    return (struct clock_sample){
        .tsc = h->tsc,
        .monotonic = (int64_t)h->monotonic,
        .raw = (int64_t)h->raw,
        .realtime = (int64_t)h->monotonic + h->realtime_offset,
        .tai_offset = 37,
        .spread = 100,
    };
}

static void pass(struct host *h, int64_t ns)
{
    h->monotonic += (double)ns;
    h->raw += (double)ns * 1.00001;
    h->tsc += (uint64_t)((double)ns * h->hz / 1e9);
}

static void host_init(struct host *h, double hz)
{
    *h = (struct host){.hz = hz, .tsc = 1000, .monotonic = 5e12, .raw = 5e12};
    h->realtime_offset = 1700000000 * SEC;
    h->clock.params = &h->params;
    h->clock.anchor = look(h);
    h->clock.zero[0] = h->clock.anchor.monotonic;
    h->clock.zero[1] = h->clock.anchor.raw;
    h->clock.realtime_offset = h->clock.anchor.realtime;
}

/* What a reader would be told at this counter. */
static int64_t told(const struct host *h, enum vdso_line which, uint64_t tsc)
{
    const struct vdso_params *p = &h->params;
    ck_assert_uint_le(tsc - p->tsc_base, p->max_delta);
    return (int64_t)p->line[which].sec * SEC + (int64_t)p->line[which].nsec +
           (int64_t)vdso_scale(tsc - p->tsc_base, p->line[which].mult);
}

static int64_t told_last(const struct host *h, enum vdso_line which)
{
    return told(h, which, h->params.tsc_base + h->params.max_delta);
}

static void fit(struct host *h)
{
    struct clock_sample now = look(h);
    clock_fit(&h->clock, &now);
    ck_assert_int_eq(h->params.seq % 2, 0);
}

/* Lets the period pass (and a microsecond more), and fits again; time must not go back. */
static void next_period(struct host *h)
{
    int64_t monotonic = told_last(h, VDSO_MONOTONIC), raw = told_last(h, VDSO_RAW);
    pass(h, h->clock.period + 1000);
    fit(h);
    ck_assert_int_ge(told(h, VDSO_MONOTONIC, h->tsc), monotonic);
    ck_assert_int_ge(told(h, VDSO_RAW, h->tsc), raw);
}

static int64_t error_of(const struct host *h)
{
    return told(h, VDSO_MONOTONIC, h->tsc) - (int64_t)(h->monotonic - 5e12);
}

START_TEST(test_follows_a_steady_host)
{
    static const double rates[] = {4.1e6, 25e6, 999999999, 2.6e9, 5.8e9};
    for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
        struct host h;
        host_init(&h, rates[i]);
        pass(&h, MS);
        fit(&h);
        for (int n = 0; n < 20; n++) {
            next_period(&h);
            ck_assert_int_le(llabs(error_of(&h)), 1000);
        }
        ck_assert_int_eq(h.clock.period, SEC);
        ck_assert_int_eq(h.params.tai_offset, 37);
    }
}
END_TEST

START_TEST(test_follows_a_host_that_is_slewed)
{
    struct host h;
    host_init(&h, 2.6e9);
    pass(&h, MS);
    fit(&h);
    for (int n = 0; n < 400; n++) {
        h.hz = 2.6e9 * (1 + (double)(random() % 1000 - 500) * 1e-6); /* ntpd's utmost */
        next_period(&h);
        ck_assert_int_le(llabs(error_of(&h)), 1100000); /* 1000 ppm of a second */
    }
    h.hz = 2.6e9;
    for (int n = 0; n < 5; n++)
        next_period(&h);
    ck_assert_int_le(llabs(error_of(&h)), 100);
}
END_TEST

START_TEST(test_a_pause_is_a_jump_forward)
{
    struct host h;
    host_init(&h, 2.6e9);
    pass(&h, MS);
    fit(&h);
    for (int n = 0; n < 5; n++)
        next_period(&h);
    pass(&h, 3600 * SEC);
    fit(&h);
    ck_assert_int_le(llabs(error_of(&h)), 10);
}
END_TEST

/* The machine was moved to one with another counter, which starts elsewhere. */
START_TEST(test_another_counter)
{
    static const uint64_t starts[] = {0, 1, 1ull << 40, 1ull << 62, UINT64_MAX / 2, UINT64_MAX - 1};
    for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
        struct host h;
        host_init(&h, 2.6e9);
        pass(&h, MS);
        fit(&h);
        for (int n = 0; n < 6; n++)
            next_period(&h);
        h.tsc = starts[i];
        h.hz = 3.1e9;
        next_period(&h);
        for (int n = 0; n < 12; n++)
            next_period(&h);
        ck_assert_int_le(llabs(error_of(&h)), 100);
    }
}
END_TEST

/* We are told to be far ahead: slow down, never back. */
START_TEST(test_host_falls_back)
{
    struct host h;
    host_init(&h, 2.6e9);
    pass(&h, MS);
    fit(&h);
    for (int n = 0; n < 6; n++)
        next_period(&h);
    h.monotonic -= 3e9;
    h.raw -= 3e9;
    for (int n = 0; n < 60; n++)
        next_period(&h);
    ck_assert_int_le(llabs(error_of(&h)), 100);
}
END_TEST

START_TEST(test_realtime_is_set)
{
    struct host h;
    host_init(&h, 2.6e9);
    pass(&h, MS);
    fit(&h);
    next_period(&h);
    int64_t offset = told(&h, VDSO_REALTIME, h.tsc) - told(&h, VDSO_MONOTONIC, h.tsc);
    h.realtime_offset += 60; /* within the error of the sample: no change */
    next_period(&h);
    ck_assert_int_eq(told(&h, VDSO_REALTIME, h.tsc) - told(&h, VDSO_MONOTONIC, h.tsc), offset);
    h.realtime_offset -= 3600 * SEC;
    next_period(&h);
    ck_assert_int_eq(told(&h, VDSO_REALTIME, h.tsc) - told(&h, VDSO_MONOTONIC, h.tsc),
                     offset + 60 - 3600 * SEC);
}
END_TEST

START_TEST(test_no_slope_from_nothing)
{
    struct host h;
    host_init(&h, 2.6e9);
    fit(&h); /* no time has passed */
    ck_assert(!h.clock.fitted);
    pass(&h, MS);
    fit(&h);
    ck_assert(h.clock.fitted);
}
END_TEST

/* ---- the real host ---- */

static struct memory_file *memory;
static struct clock clk;

static void set_up(void)
{
    ck_assert_int_eq(memory_file_create(&memory, 64 << 20, 0), 0);
    ck_assert_int_eq(clock_init(&clk, memory), 0);
}

static void tear_down(void)
{
    clock_destroy(&clk, memory);
    memory_file_destroy(memory);
}

static int64_t host_ns(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return ts.tv_sec * SEC + ts.tv_nsec;
}

/* The reading lies between two of the host's, give or take `tolerance`. */
static void check_agreement(clockid_t id, int64_t zero, int64_t tolerance)
{
    int64_t before = host_ns(id);
    int64_t ours = clock_now(&clk, id) + zero;
    int64_t after = host_ns(id);
    ck_assert_int_ge(ours, before - tolerance);
    ck_assert_int_le(ours, after + tolerance);
}

static void check_all(int64_t tolerance)
{
    check_agreement(CLOCK_MONOTONIC, clk.zero[0], tolerance);
    check_agreement(CLOCK_MONOTONIC_RAW, clk.zero[1], tolerance);
    check_agreement(CLOCK_REALTIME, 0, tolerance);
    check_agreement(CLOCK_TAI, 0, tolerance);
}

START_TEST(test_agrees_with_the_host)
{
    int64_t start = host_ns(CLOCK_MONOTONIC);
    while (host_ns(CLOCK_MONOTONIC) - start < 30 * MS)
        check_all(50000);
    usleep(100000);
    check_all(50000); /* fits for a second, from a baseline of more than 100 ms */
    for (int i = 0; i < 100; i++) {
        check_all(5000);
        usleep(1000);
    }
}
END_TEST

START_TEST(test_starts_near_zero)
{
    ck_assert_int_ge(clock_monotonic(&clk), 0);
    ck_assert_int_lt(clock_monotonic(&clk), 60 * SEC);
    ck_assert_int_lt(clock_now(&clk, CLOCK_BOOTTIME), 60 * SEC);
    ck_assert_int_lt(clock_now(&clk, CLOCK_MONOTONIC_RAW), 60 * SEC);
}
END_TEST

START_TEST(test_unknown_clocks)
{
    static const clockid_t bad[] = {
        CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, 10, 12, -1, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        ck_assert_int_eq(clock_now(&clk, bad[i]), -EINVAL);
        ck_assert_int_eq(clock_resolution(bad[i]), -EINVAL);
    }
    ck_assert_int_eq(clock_resolution(CLOCK_REALTIME), 1);
}
END_TEST

START_TEST(test_host_deadlines)
{
    int64_t now = clock_monotonic(&clk), host = host_ns(CLOCK_MONOTONIC);
    int64_t deadline = clock_host_monotonic(&clk, CLOCK_MONOTONIC, now + SEC);
    ck_assert_int_ge(deadline, host + SEC - 50000);
    ck_assert_int_le(deadline, host_ns(CLOCK_MONOTONIC) + SEC + 50000);

    now = clock_realtime(&clk);
    deadline = clock_host_monotonic(&clk, CLOCK_REALTIME, now - 10 * SEC);
    ck_assert_int_le(deadline, host_ns(CLOCK_MONOTONIC) - 9 * SEC);
    ck_assert_int_eq(clock_host_monotonic(&clk, CLOCK_MONOTONIC, INT64_MAX), INT64_MAX);
    ck_assert_int_eq(clock_host_monotonic(&clk, CLOCK_REALTIME, INT64_MIN), 0);
    ck_assert_int_eq(clock_host_monotonic(&clk, CLOCK_REALTIME, 0), 0);
}
END_TEST

/* The counter cannot be used: everything still holds. */
START_TEST(test_without_counter)
{
    clk.use_tsc = false;
    int64_t last = 0;
    for (int i = 0; i < 1000; i++) {
        check_all(0);
        int64_t now = clock_monotonic(&clk);
        ck_assert_int_ge(now, last);
        last = now;
    }
    ck_assert(!clk.fitted);
}
END_TEST

struct racers {
    atomic_bool stop;
    _Atomic int64_t latest[2];
    atomic_long reads;
};

static void *race(void *arg)
{
    struct racers *r = arg;
    static const clockid_t ids[] = {CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW};
    while (!r->stop) {
        for (int i = 0; i < 2; i++) {
            int64_t latest = r->latest[i];
            int64_t now = clock_now(&clk, ids[i]);
            if (now < latest)
                return "time went back";
            /* Whoever is last to write need not be the greatest: only ever raise it. */
            while (latest < now && !atomic_compare_exchange_weak(&r->latest[i], &latest, now))
                ;
        }
        r->reads++;
    }
    return NULL;
}

/* Periods of 10 us, with slopes that are wrong by up to a few percent, so that the threads meet
 * thousands of corrections that matter. */
START_TEST(test_monotonic_among_threads)
{
    struct racers r = {0};
    pthread_t threads[4];
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, race, &r), 0);
    uint32_t seq = VDSO_LOAD(clk.params->seq);
    int64_t start = host_ns(CLOCK_MONOTONIC);
    while (host_ns(CLOCK_MONOTONIC) - start < 300 * MS) {
        mutex_lock(&clk.lock);
        clk.period = 1000;
        clk.anchor.tsc = vdso_read_tsc();
        clk.anchor.monotonic = host_ns(CLOCK_MONOTONIC) + random() % 2000 - 1000;
        clk.anchor.raw = host_ns(CLOCK_MONOTONIC_RAW) + random() % 2000 - 1000;
        mutex_unlock(&clk.lock);
        usleep(50);
    }
    r.stop = true;
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        void *complaint;
        pthread_join(threads[i], &complaint);
        ck_assert_ptr_null(complaint);
    }
    if (clk.use_tsc)
        ck_assert_uint_gt(VDSO_LOAD(clk.params->seq) - seq, 200);
    ck_assert_int_gt(r.reads, 1000);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("clock");
    TCase *tc = tcase_create("fit");
    tcase_add_test(tc, test_follows_a_steady_host);
    tcase_add_test(tc, test_follows_a_host_that_is_slewed);
    tcase_add_test(tc, test_a_pause_is_a_jump_forward);
    tcase_add_test(tc, test_another_counter);
    tcase_add_test(tc, test_host_falls_back);
    tcase_add_test(tc, test_realtime_is_set);
    tcase_add_test(tc, test_no_slope_from_nothing);
    suite_add_tcase(s, tc);
    tc = tcase_create("host");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, test_agrees_with_the_host);
    tcase_add_test(tc, test_starts_near_zero);
    tcase_add_test(tc, test_unknown_clocks);
    tcase_add_test(tc, test_host_deadlines);
    tcase_add_test(tc, test_without_counter);
    tcase_add_test(tc, test_monotonic_among_threads);
    suite_add_tcase(s, tc);

    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
