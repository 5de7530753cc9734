/* timerfd_create(2). */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>

static void *volatile bad_address = (void *)8;

static struct itimerspec ms(long value, long interval)
{
    return (struct itimerspec){.it_value = {value / 1000, value % 1000 * 1000000},
                               .it_interval = {interval / 1000, interval % 1000 * 1000000}};
}

static void set(int fd, int flags, struct itimerspec it)
{
    EXPECT_OK(timerfd_settime(fd, flags, &it, NULL));
}

static uint64_t ticks(int fd)
{
    uint64_t n = 0;
    EXPECT_EQ(read(fd, &n, sizeof(n)), sizeof(n));
    return n;
}

static int64_t now_ms(clockid_t clock)
{
    struct timespec ts;
    EXPECT_OK(clock_gettime(clock, &ts));
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static short ready(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
    EXPECT_OK(poll(&p, 1, 0));
    return p.revents;
}

CASE(errors)
{
    uint64_t n;
    struct itimerspec it = ms(1, 0);
    EXPECT_ERRNO(EINVAL, timerfd_create(77, 0));
    EXPECT_ERRNO(EINVAL, timerfd_create(CLOCK_PROCESS_CPUTIME_ID, 0));
    EXPECT_ERRNO(EINVAL, timerfd_create(CLOCK_MONOTONIC, 1));
    int fd = EXPECT_OK(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    EXPECT_ERRNO(EAGAIN, read(fd, &n, 8));
    EXPECT_ERRNO(EINVAL, read(fd, &n, 7));
    EXPECT_ERRNO(EINVAL, write(fd, &n, 8));
    EXPECT_ERRNO(EINVAL, timerfd_settime(fd, 8, &it, NULL));
    it.it_value.tv_nsec = 1000000000;
    EXPECT_ERRNO(EINVAL, timerfd_settime(fd, 0, &it, NULL));
    it.it_value = (struct timespec){-1, 0};
    EXPECT_ERRNO(EINVAL, timerfd_settime(fd, 0, &it, NULL));
    EXPECT_ERRNO(EFAULT, timerfd_settime(fd, 0, bad_address, NULL));
    EXPECT_ERRNO(EFAULT, timerfd_gettime(fd, bad_address));
    EXPECT_ERRNO(EINVAL, timerfd_gettime(0, &it));
    EXPECT_ERRNO(EBADF, timerfd_gettime(999, &it));
}

CASE(one_shot)
{
    static const clockid_t clocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME};
    for (int i = 0; i < 3; i++) {
        struct itimerspec left;
        int fd = EXPECT_OK(timerfd_create(clocks[i], 0));
        EXPECT_OK(timerfd_gettime(fd, &left));
        EXPECT_EQ(left.it_value.tv_sec + left.it_value.tv_nsec, 0);
        int64_t start = now_ms(CLOCK_MONOTONIC);
        set(fd, 0, ms(300, 0));
        EXPECT_EQ(ready(fd), 0);
        EXPECT_OK(timerfd_gettime(fd, &left));
        EXPECT_GT(left.it_value.tv_nsec, 0);
        EXPECT_LE(left.it_value.tv_nsec, 300000000);
        EXPECT_EQ(ticks(fd), 1);
        EXPECT_GE(now_ms(CLOCK_MONOTONIC) - start, 299);
        EXPECT_EQ(ready(fd), 0);
        EXPECT_OK(timerfd_gettime(fd, &left));
        EXPECT_EQ(left.it_value.tv_sec + left.it_value.tv_nsec, 0);
        /* An instant instead of a span; one that has passed fires at once. */
        set(fd, TFD_TIMER_ABSTIME, ms(now_ms(clocks[i]) + 30, 0));
        EXPECT_EQ(ticks(fd), 1);
        set(fd, TFD_TIMER_ABSTIME, ms(1, 0));
        EXPECT_EQ(ticks(fd), 1);
        close(fd);
    }
}

CASE(periodic)
{
    struct itimerspec left;
    int fd = EXPECT_OK(timerfd_create(CLOCK_MONOTONIC, 0));
    int64_t start = now_ms(CLOCK_MONOTONIC);
    set(fd, 0, ms(10, 20));
    uint64_t n = ticks(fd);
    EXPECT_GE(n, 1);
    usleep(100000);
    EXPECT_EQ(ready(fd), POLLIN);
    n += ticks(fd);
    int64_t passed = now_ms(CLOCK_MONOTONIC) - start;
    EXPECT_GE(n, 5);
    EXPECT_LE(n, (uint64_t)passed / 20 + 1);
    EXPECT_GE(ticks(fd), 1);
    EXPECT_OK(timerfd_gettime(fd, &left));
    EXPECT_EQ(left.it_interval.tv_nsec, 20000000);
    EXPECT_LE(left.it_value.tv_nsec, 20000000);
    set(fd, 0, ms(0, 0));
    EXPECT_EQ(ready(fd), 0);
}

CASE(setting_again)
{
    struct itimerspec old, it = ms(1, 0);
    int fd = EXPECT_OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    set(fd, 0, ms(100000, 5000));
    EXPECT_OK(timerfd_settime(fd, 0, &it, &old));
    EXPECT_EQ(old.it_interval.tv_sec, 5);
    EXPECT_GE(old.it_value.tv_sec, 98);
    usleep(20000);
    EXPECT_EQ(ready(fd), POLLIN);
    set(fd, 0, ms(100000, 0)); /* forgets what was not read */
    EXPECT_EQ(ready(fd), 0);
    uint64_t n;
    EXPECT_ERRNO(EAGAIN, read(fd, &n, 8));
}

CASE(waiting)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
    int fd = EXPECT_OK(timerfd_create(CLOCK_MONOTONIC, 0)), ep = EXPECT_OK(epoll_create1(0));
    EXPECT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
    set(fd, 0, ms(20, 0));
    EXPECT_EQ(epoll_wait(ep, &ev, 1, 5000), 1);
    EXPECT_EQ(epoll_wait(ep, &ev, 1, 0), 0);
    set(fd, 0, ms(20, 0));
    EXPECT_EQ(epoll_wait(ep, &ev, 1, 5000), 1);
    set(fd, 0, ms(30, 0));
    struct pollfd p = {.fd = fd, .events = POLLIN};
    EXPECT_EQ(poll(&p, 1, 5000), 1);
    /* A child shares the timer. */
    set(fd, 0, ms(30, 0));
    EXPECT_EXITED(FORK({ EXPECT_EQ(ticks(fd), 1); }), 0);
}

TEST_MAIN
