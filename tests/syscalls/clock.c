/*
 * clock_gettime(2), clock_getres(2), gettimeofday(2), time(2), as system calls and through the C
 * library.
 */
#include "tests/syscalls/test.h"
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

#define SEC 1000000000ll

static int64_t ns_of(const struct timespec *ts)
{
    EXPECT(ts->tv_nsec >= 0 && ts->tv_nsec < SEC);
    return ts->tv_sec * SEC + ts->tv_nsec;
}

static int64_t raw(clockid_t id)
{
    struct timespec ts = {-1, -1};
    EXPECT_OK(syscall(SYS_clock_gettime, id, &ts));
    return ns_of(&ts);
}

static int64_t libc(clockid_t id)
{
    struct timespec ts = {-1, -1};
    EXPECT_OK(clock_gettime(id, &ts));
    return ns_of(&ts);
}

static const clockid_t wall_clocks[] = {CLOCK_REALTIME,
                                        CLOCK_MONOTONIC,
                                        CLOCK_MONOTONIC_RAW,
                                        CLOCK_REALTIME_COARSE,
                                        CLOCK_MONOTONIC_COARSE,
                                        CLOCK_BOOTTIME,
                                        CLOCK_TAI};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

CASE(all_clocks)
{
    for (size_t i = 0; i < COUNT(wall_clocks); i++) {
        int64_t first = raw(wall_clocks[i]);
        EXPECT_GE(first, 0);
        int64_t second = libc(wall_clocks[i]);
        EXPECT_GE(second, first);
        EXPECT_LT(second - first, 10 * SEC);
    }
}

CASE(interleaved)
{
    static const clockid_t strict[] = {CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME};
    for (size_t i = 0; i < COUNT(strict); i++) {
        int64_t last = 0;
        for (int n = 0; n < 3000; n++) {
            int64_t now = n % 2 ? raw(strict[i]) : libc(strict[i]);
            EXPECT_GE(now, last);
            last = now;
        }
    }
}

/* From the very first reading of a program on. */
CASE(realtime_is_today)
{
    EXPECT_GT(libc(CLOCK_REALTIME), 1600000000 * SEC);
    EXPECT_LT(libc(CLOCK_REALTIME), 4102444800 * SEC);
}

CASE(tai_is_whole_seconds_away)
{
    int64_t before = raw(CLOCK_REALTIME), tai = raw(CLOCK_TAI), after = raw(CLOCK_REALTIME);
    int64_t offset = (tai - before + SEC / 2) / SEC;
    EXPECT_GE(offset, 0);
    EXPECT_LE(offset, 60);
    EXPECT_LE(before, tai - offset * SEC);
    EXPECT_LE(tai - offset * SEC, after);
}

CASE(boottime_is_not_behind_monotonic)
{
    int64_t monotonic = raw(CLOCK_MONOTONIC);
    EXPECT_GE(raw(CLOCK_BOOTTIME), monotonic);
}

CASE(coarse_is_not_ahead)
{
    for (int n = 0; n < 1000; n++) {
        int64_t coarse = raw(CLOCK_MONOTONIC_COARSE);
        EXPECT_LE(coarse, libc(CLOCK_MONOTONIC));
    }
}

CASE(cpu_clocks)
{
    int64_t process = raw(CLOCK_PROCESS_CPUTIME_ID), thread = raw(CLOCK_THREAD_CPUTIME_ID);
    int64_t start = libc(CLOCK_MONOTONIC);
    while (libc(CLOCK_MONOTONIC) - start < SEC / 20)
        ;
    EXPECT_GT(raw(CLOCK_PROCESS_CPUTIME_ID), process);
    EXPECT_GT(raw(CLOCK_THREAD_CPUTIME_ID), thread);
}

CASE(bad_clocks)
{
    struct timespec ts;
    EXPECT_ERRNO(EINVAL, syscall(SYS_clock_gettime, 10, &ts));
    EXPECT_ERRNO(EINVAL, syscall(SYS_clock_gettime, 12, &ts));
    EXPECT_ERRNO(EINVAL, syscall(SYS_clock_gettime, 1000, &ts));
    EXPECT_ERRNO(EINVAL, syscall(SYS_clock_getres, 1000, &ts));
    EXPECT_ERRNO(EINVAL, syscall(SYS_clock_gettime, INT32_MAX, &ts));
    EXPECT_ERRNO(EINVAL, syscall(SYS_clock_gettime, 1000, NULL)); /* the clock is looked at first */
}

CASE(bad_pointers)
{
    void *none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *ro = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_ERRNO(EFAULT, syscall(SYS_clock_gettime, CLOCK_REALTIME, none));
    EXPECT_ERRNO(EFAULT, syscall(SYS_clock_gettime, CLOCK_MONOTONIC, ro));
    EXPECT_ERRNO(EFAULT, syscall(SYS_clock_gettime, CLOCK_REALTIME, NULL));
    EXPECT_ERRNO(EFAULT, syscall(SYS_clock_getres, CLOCK_REALTIME, none));
    EXPECT_ERRNO(EFAULT, syscall(SYS_gettimeofday, none, NULL));
    EXPECT_ERRNO(EFAULT, syscall(SYS_gettimeofday, NULL, none));
    EXPECT_ERRNO(EFAULT, syscall(SYS_time, none));
    EXPECT_ERRNO(EFAULT, syscall(SYS_clock_gettime, CLOCK_REALTIME, -8l));
}

CASE(resolution)
{
    struct timespec ts;
    static const clockid_t fine[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW,
                                     CLOCK_BOOTTIME, CLOCK_TAI};
    for (size_t i = 0; i < COUNT(fine); i++) {
        EXPECT_OK(syscall(SYS_clock_getres, fine[i], &ts));
        EXPECT_EQ(ns_of(&ts), 1);
        EXPECT_OK(clock_getres(fine[i], &ts));
        EXPECT_EQ(ns_of(&ts), 1);
        EXPECT_OK(syscall(SYS_clock_getres, fine[i], NULL));
    }
    struct timespec libc_ts;
    EXPECT_OK(syscall(SYS_clock_getres, CLOCK_MONOTONIC_COARSE, &ts));
    EXPECT_OK(clock_getres(CLOCK_MONOTONIC_COARSE, &libc_ts));
    EXPECT_EQ(ns_of(&ts), ns_of(&libc_ts));
    EXPECT_GE(ns_of(&ts), 1000000);
    EXPECT_LE(ns_of(&ts), 10000000);
}

CASE(gettimeofday_and_time)
{
    struct timeval tv;
    int64_t before = raw(CLOCK_REALTIME) / 1000;
    EXPECT_OK(syscall(SYS_gettimeofday, &tv, NULL));
    int64_t now = tv.tv_sec * 1000000ll + tv.tv_usec;
    EXPECT_GE(now, before);
    EXPECT_OK(gettimeofday(&tv, NULL));
    EXPECT_GE(tv.tv_sec * 1000000ll + tv.tv_usec, now);
    EXPECT_LE(tv.tv_sec * 1000000ll + tv.tv_usec, raw(CLOCK_REALTIME) / 1000);
    struct timezone tz = {-7, -7};
    EXPECT_OK(syscall(SYS_gettimeofday, NULL, &tz));
    EXPECT_NE(tz.tz_minuteswest, -7);

    time_t stored, t = syscall(SYS_time, &stored);
    EXPECT_EQ(t, stored);
    EXPECT_LE(llabs(t - (long long)(raw(CLOCK_REALTIME) / SEC)), 1);
    EXPECT_GE(time(NULL), t - 1);
}

/* Sleeping until a time, then looking: the time has come. */
CASE(sleep_until)
{
    static const clockid_t ids[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME};
    for (size_t i = 0; i < COUNT(ids); i++)
        for (int n = 0; n < 20; n++) {
            int64_t until = libc(ids[i]) + SEC / 500;
            struct timespec ts = {until / SEC, until % SEC};
            EXPECT_EQ(clock_nanosleep(ids[i], TIMER_ABSTIME, &ts, NULL), 0);
            EXPECT_GE(libc(ids[i]), until);
        }
}

CASE(sleep_for)
{
    struct timespec ts = {0, 3000000};
    for (int n = 0; n < 20; n++) {
        int64_t start = libc(CLOCK_MONOTONIC);
        EXPECT_OK(nanosleep(&ts, NULL));
        EXPECT_GE(libc(CLOCK_MONOTONIC) - start, 3000000);
    }
}

/* Parent and child, before and after exec, live in one time. */
CASE(one_time_for_all)
{
    int64_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int64_t before = libc(CLOCK_MONOTONIC);
    pid_t pid = FORK({ shared[0] = libc(CLOCK_MONOTONIC); });
    EXPECT_EXITED(pid, 0);
    EXPECT_LE(before, shared[0]);
    EXPECT_LE(shared[0], libc(CLOCK_MONOTONIC));

    int fds[2];
    int64_t theirs;
    EXPECT_OK(pipe(fds));
    pid = FORK({
        dup2(fds[1], 200);
        setenv("PICKET_TEST_CLOCK_FD", "200", 1);
        execl("/proc/self/exe", "clock", "--no-fork", "helper_clock", NULL);
        _exit(1);
    });
    close(fds[1]);
    EXPECT_EQ(read(fds[0], &theirs, sizeof(theirs)), sizeof(theirs));
    EXPECT_EXITED(pid, 0);
    EXPECT_LE(shared[0], theirs);
    EXPECT_LE(theirs, libc(CLOCK_MONOTONIC));
}

CASE(helper_clock)
{
    if (!getenv("PICKET_TEST_CLOCK_FD"))
        return;
    int64_t now = libc(CLOCK_MONOTONIC);
    EXPECT_EQ(write(200, &now, sizeof(now)), sizeof(now));
}

CASE(nothing_to_set)
{
    EXPECT_EQ(syscall(SYS_settimeofday, NULL, NULL), 0);
    EXPECT_ERRNO(EFAULT, syscall(SYS_settimeofday, NULL, (void *)8));
}

CASE(cpu_clocks_cannot_be_set)
{
    struct timespec ts = {0, 0};
    clockid_t mine;
    EXPECT_EQ(clock_getcpuclockid(0, &mine), 0);
    EXPECT_ERRNO(EPERM, clock_settime(mine, &ts));
    EXPECT_ERRNO(EINVAL, clock_settime(CLOCK_PROCESS_CPUTIME_ID, &ts));
    EXPECT_EQ(clock_getres(mine, &ts), 0);
    EXPECT_EQ(ts.tv_nsec, 1);
    /* The clock of user time of the same process goes by ticks. */
    EXPECT_EQ(syscall(SYS_clock_getres, (mine & ~3) | 1, &ts), 0);
    EXPECT_GE(ts.tv_nsec, 1000000);
}

TEST_MAIN
