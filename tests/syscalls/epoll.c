/* epoll(7), epoll_create(2), epoll_ctl(2), epoll_wait(2). */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <time.h>

static void *volatile bad_address = (void *)8;

static int fds[2], ep;
static struct epoll_event got[64];

static void setup(void)
{
    EXPECT_OK(pipe2(fds, O_NONBLOCK));
    ep = EXPECT_OK(epoll_create1(0));
}

static int ctl(int epfd, int op, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event ev = {.events = events, .data.u64 = data};
    return epoll_ctl(epfd, op, fd, &ev);
}

static int add(int fd, uint32_t events)
{
    return ctl(ep, EPOLL_CTL_ADD, fd, events, (uint64_t)fd | 0xabcd00000000);
}

static int wait_now(void)
{
    memset(got, 0, sizeof(got));
    return epoll_wait(ep, got, 64, 0);
}

static void put_byte(void)
{
    EXPECT_EQ(write(fds[1], "x", 1), 1);
}

static void drain(void)
{
    char buf[100];
    while (read(fds[0], buf, sizeof(buf)) > 0)
        ;
}

static void on_signal(int sig)
{
    (void)sig;
}

CASE(creating)
{
    EXPECT_ERRNO(EINVAL, epoll_create(0));
    EXPECT_ERRNO(EINVAL, epoll_create(-1));
    EXPECT_ERRNO(EINVAL, epoll_create1(1));
    EXPECT_EQ(fcntl(EXPECT_OK(epoll_create(1)), F_GETFD), 0);
    ep = EXPECT_OK(epoll_create1(EPOLL_CLOEXEC));
    EXPECT_EQ(fcntl(ep, F_GETFD), FD_CLOEXEC);
    EXPECT_ERRNO(EINVAL, read(ep, got, 8));
    EXPECT_EQ(wait_now(), 0);
}

CASE(errors)
{
    setup();
    int file = EXPECT_OK(open(test_path("f"), O_CREAT | O_RDWR, 0600));
    struct epoll_event ev = {.events = EPOLLIN};
    EXPECT_ERRNO(EPERM, add(file, EPOLLIN));
    EXPECT_ERRNO(EBADF, add(999, EPOLLIN));
    EXPECT_ERRNO(EBADF, epoll_ctl(999, EPOLL_CTL_ADD, fds[0], &ev));
    EXPECT_ERRNO(EINVAL, epoll_ctl(fds[1], EPOLL_CTL_ADD, fds[0], &ev));
    EXPECT_ERRNO(EINVAL, epoll_ctl(ep, EPOLL_CTL_ADD, ep, &ev));
    EXPECT_ERRNO(EINVAL, epoll_ctl(ep, 77, fds[0], &ev));
    EXPECT_ERRNO(EFAULT, epoll_ctl(ep, EPOLL_CTL_ADD, fds[0], bad_address));
    EXPECT_ERRNO(ENOENT, ctl(ep, EPOLL_CTL_MOD, fds[0], EPOLLIN, 0));
    EXPECT_ERRNO(ENOENT, ctl(ep, EPOLL_CTL_DEL, fds[0], EPOLLIN, 0));
    EXPECT_OK(add(fds[0], EPOLLIN));
    EXPECT_ERRNO(EEXIST, add(fds[0], EPOLLIN));
    EXPECT_OK(epoll_ctl(ep, EPOLL_CTL_DEL, fds[0], NULL));
    EXPECT_ERRNO(EINVAL, epoll_wait(ep, got, 0, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_epoll_wait, ep, got, -1, 0));
    EXPECT_ERRNO(EINVAL, epoll_wait(fds[0], got, 1, 0));
    EXPECT_ERRNO(EBADF, epoll_wait(999, got, 1, 0));
    EXPECT_OK(add(fds[1], EPOLLOUT));
    EXPECT_ERRNO(EFAULT, epoll_wait(ep, bad_address, 1, 0));
}

CASE(level)
{
    setup();
    EXPECT_OK(add(fds[0], EPOLLIN));
    EXPECT_EQ(wait_now(), 0);
    put_byte();
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(wait_now(), 1);
        EXPECT_EQ(got[0].events, EPOLLIN);
        EXPECT_EQ(got[0].data.u64, (uint64_t)fds[0] | 0xabcd00000000);
    }
    drain();
    EXPECT_EQ(wait_now(), 0);
    EXPECT_OK(add(fds[1], EPOLLOUT | EPOLLIN));
    EXPECT_EQ(wait_now(), 1);
    EXPECT_EQ(got[0].events, EPOLLOUT);
    EXPECT_OK(ctl(ep, EPOLL_CTL_DEL, fds[1], 0, 0));
    EXPECT_EQ(wait_now(), 0);
    close(fds[1]);
    EXPECT_EQ(wait_now(), 1);
    EXPECT_EQ(got[0].events, EPOLLHUP);
}

CASE(edge)
{
    setup();
    EXPECT_OK(add(fds[0], EPOLLIN | EPOLLET));
    put_byte();
    EXPECT_EQ(wait_now(), 1);
    EXPECT_EQ(wait_now(), 0);
    put_byte(); /* news, though it was readable before */
    EXPECT_EQ(wait_now(), 1);
    EXPECT_EQ(wait_now(), 0);
    drain();
    EXPECT_EQ(wait_now(), 0);
    put_byte();
    EXPECT_OK(ctl(ep, EPOLL_CTL_MOD, fds[0], EPOLLIN | EPOLLET, 1));
    EXPECT_EQ(wait_now(), 1);
    EXPECT_OK(ctl(ep, EPOLL_CTL_MOD, fds[0], EPOLLIN | EPOLLET, 1)); /* arms it anew */
    EXPECT_EQ(wait_now(), 1);
    EXPECT_EQ(wait_now(), 0);
    /* The writing end: once at first, then only when room appears. */
    EXPECT_OK(add(fds[1], EPOLLOUT | EPOLLET));
    EXPECT_EQ(wait_now(), 1);
    put_byte();
    EXPECT_EQ(wait_now(), 1);
    EXPECT_EQ(got[0].data.u64, 1);
    char page[4096] = {0};
    while (write(fds[1], page, sizeof(page)) > 0)
        ;
    wait_now();
    drain();
    int n = wait_now();
    EXPECT_EQ(n, 1);
    EXPECT_EQ(got[0].events, EPOLLOUT);
}

CASE(oneshot)
{
    setup();
    put_byte();
    EXPECT_OK(add(fds[0], EPOLLIN | EPOLLONESHOT));
    EXPECT_EQ(wait_now(), 1);
    EXPECT_EQ(wait_now(), 0);
    put_byte();
    EXPECT_EQ(wait_now(), 0);
    close(fds[1]);
    EXPECT_EQ(wait_now(), 0); /* not even hang-ups */
    EXPECT_OK(ctl(ep, EPOLL_CTL_MOD, fds[0], EPOLLIN | EPOLLONESHOT, 4));
    EXPECT_EQ(wait_now(), 1);
    EXPECT_EQ(got[0].events, EPOLLIN | EPOLLHUP);
    EXPECT_EQ(got[0].data.u64, 4);
}

CASE(no_events_but_errors)
{
    setup();
    EXPECT_OK(add(fds[0], 0));
    put_byte();
    EXPECT_EQ(wait_now(), 0);
    close(fds[1]);
    EXPECT_EQ(wait_now(), 1);
    EXPECT_EQ(got[0].events, EPOLLHUP);
}

CASE(closing_removes)
{
    setup();
    put_byte();
    EXPECT_OK(add(fds[0], EPOLLIN));
    int copy = EXPECT_OK(dup(fds[0]));
    EXPECT_OK(add(copy, EPOLLIN)); /* another descriptor is another item */
    EXPECT_EQ(wait_now(), 2);
    close(fds[0]);
    EXPECT_EQ(wait_now(), 2); /* the description is still open */
    close(copy);
    EXPECT_EQ(wait_now(), 0);
    /* The number can be used again. */
    int again = EXPECT_OK(eventfd(1, 0));
    EXPECT_OK(add(again, EPOLLIN));
    EXPECT_EQ(wait_now(), 1);
}

CASE(many_and_fair)
{
    enum { N = 50 };
    int e[N], seen[N] = {0};
    setup();
    for (int i = 0; i < N; i++) {
        e[i] = EXPECT_OK(eventfd(1, 0));
        EXPECT_OK(ctl(ep, EPOLL_CTL_ADD, e[i], EPOLLIN, (uint64_t)i));
    }
    EXPECT_EQ(epoll_wait(ep, got, 64, 0), N);
    for (int round = 0; round < 10; round++) {
        EXPECT_EQ(epoll_wait(ep, got, 10, 0), 10);
        for (int i = 0; i < 10; i++)
            seen[got[i].data.u64]++;
    }
    for (int i = 0; i < N; i++)
        EXPECT_EQ(seen[i], 2); /* in turn */
    struct epoll_event big[N];
    EXPECT_EQ(epoll_wait(ep, big, N, 0), N);
}

CASE(blocking)
{
    setup();
    EXPECT_OK(add(fds[0], EPOLLIN));
    pid_t child = FORK({
        usleep(50000);
        put_byte();
    });
    EXPECT_EQ(epoll_wait(ep, got, 1, -1), 1);
    EXPECT_EXITED(child, 0);
    drain();
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    EXPECT_EQ(epoll_wait(ep, got, 1, 60), 0);
    clock_gettime(CLOCK_MONOTONIC, &b);
    EXPECT_GE((b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec, 60000000);
    /* An item that is added while somebody waits counts. */
    int e = EXPECT_OK(eventfd(1, 0));
    child = FORK({
        usleep(50000);
        EXPECT_OK(add(e, EPOLLIN));
    });
    EXPECT_EQ(epoll_wait(ep, got, 1, -1), 1);
    EXPECT_EXITED(child, 0);
}

CASE(interrupted)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct itimerval it = {.it_value = {0, 50000}};
    setup();
    EXPECT_OK(sigaction(SIGALRM, &sa, NULL));
    EXPECT_OK(setitimer(ITIMER_REAL, &it, NULL));
    EXPECT_ERRNO(EINTR, epoll_wait(ep, got, 1, -1));
    sigset_t mask, old, now;
    sigemptyset(&mask);
    sigaddset(&mask, SIGALRM);
    EXPECT_OK(sigprocmask(SIG_BLOCK, &mask, &old));
    raise(SIGALRM);
    EXPECT_EQ(epoll_wait(ep, got, 1, 10), 0);
    EXPECT_ERRNO(EINTR, epoll_pwait(ep, got, 1, -1, &old));
    EXPECT_OK(sigprocmask(SIG_BLOCK, NULL, &now));
    EXPECT(sigismember(&now, SIGALRM));
    EXPECT_ERRNO(EINVAL, syscall(SYS_epoll_pwait, ep, got, 1, 0, &mask, 7));
}

CASE(pwait2)
{
    setup();
    EXPECT_OK(add(fds[0], EPOLLIN));
    struct timespec ts = {0, 2000000};
    if (syscall(SYS_epoll_pwait2, ep, got, 1, &ts, NULL, 8) < 0 && errno == ENOSYS)
        SKIP("no epoll_pwait2 here");
    EXPECT_EQ(syscall(SYS_epoll_pwait2, ep, got, 1, &ts, NULL, 8), 0);
    put_byte();
    EXPECT_EQ(syscall(SYS_epoll_pwait2, ep, got, 1, NULL, NULL, 8), 1);
    ts.tv_nsec = 1000000000;
    EXPECT_ERRNO(EINVAL, syscall(SYS_epoll_pwait2, ep, got, 1, &ts, NULL, 8));
}

CASE(nested)
{
    setup();
    int outer = EXPECT_OK(epoll_create1(0));
    EXPECT_OK(add(fds[0], EPOLLIN));
    EXPECT_OK(ctl(outer, EPOLL_CTL_ADD, ep, EPOLLIN, 5));
    EXPECT_EQ(epoll_wait(outer, got, 1, 0), 0);
    struct pollfd p = {.fd = outer, .events = POLLIN};
    EXPECT_EQ(poll(&p, 1, 0), 0);
    pid_t child = FORK({
        usleep(50000);
        put_byte();
    });
    EXPECT_EQ(epoll_wait(outer, got, 1, -1), 1);
    EXPECT_EXITED(child, 0);
    EXPECT_EQ(got[0].data.u64, 5);
    EXPECT_EQ(got[0].events, EPOLLIN);
    EXPECT_EQ(poll(&p, 1, 0), 1);
    drain();
    EXPECT_EQ(poll(&p, 1, 0), 0);
    EXPECT_EQ(epoll_wait(outer, got, 1, 0), 0);
    close(ep);
    put_byte();
    EXPECT_EQ(epoll_wait(outer, got, 1, 0), 0);
}

CASE(loops)
{
    int e[7];
    for (int i = 0; i < 7; i++)
        e[i] = EXPECT_OK(epoll_create1(0));
    EXPECT_OK(ctl(e[0], EPOLL_CTL_ADD, e[1], EPOLLIN, 0));
    EXPECT_ERRNO(ELOOP, ctl(e[1], EPOLL_CTL_ADD, e[0], EPOLLIN, 0));
    EXPECT_OK(ctl(e[1], EPOLL_CTL_ADD, e[2], EPOLLIN, 0));
    EXPECT_ERRNO(ELOOP, ctl(e[2], EPOLL_CTL_ADD, e[0], EPOLLIN, 0));
    EXPECT_OK(ctl(e[0], EPOLL_CTL_DEL, e[1], 0, 0));
    EXPECT_OK(ctl(e[1], EPOLL_CTL_DEL, e[2], 0, 0));
    /* Five in a row are the most, however they came about. */
    for (int i = 6; i > 2; i--)
        EXPECT_OK(ctl(e[i - 1], EPOLL_CTL_ADD, e[i], EPOLLIN, 0));
    EXPECT_ERRNO(ELOOP, ctl(e[1], EPOLL_CTL_ADD, e[2], EPOLLIN, 0));
    close(e[6]);
    EXPECT_OK(ctl(e[1], EPOLL_CTL_ADD, e[2], EPOLLIN, 0));
}

CASE(exclusive)
{
    setup();
    int other = EXPECT_OK(epoll_create1(0));
    EXPECT_ERRNO(EINVAL, add(fds[0], EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT));
    EXPECT_ERRNO(EINVAL, add(other, EPOLLIN | EPOLLEXCLUSIVE));
    EXPECT_OK(add(fds[0], EPOLLIN | EPOLLEXCLUSIVE));
    EXPECT_ERRNO(EINVAL, ctl(ep, EPOLL_CTL_MOD, fds[0], EPOLLIN, 0));
    EXPECT_ERRNO(EINVAL, ctl(ep, EPOLL_CTL_MOD, fds[0], EPOLLIN | EPOLLEXCLUSIVE, 0));
    put_byte();
    EXPECT_EQ(wait_now(), 1);
    EXPECT_EQ(got[0].events, EPOLLIN);
}

static void *churn(void *arg)
{
    int fd = (int)(long)arg;
    for (int i = 0; i < 3000; i++) {
        struct epoll_event ev = {.events = EPOLLIN | (i % 2 ? EPOLLET : 0), .data.fd = fd};
        EXPECT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
        if (i % 3 == 0) {
            close(fd); /* instead of EPOLL_CTL_DEL */
            EXPECT_OK(dup2(fds[0], fd + 100));
            fd = EXPECT_OK(eventfd(1, 0));
        } else {
            EXPECT_OK(epoll_ctl(ep, EPOLL_CTL_DEL, fd, &ev));
        }
    }
    return NULL;
}

static void *collect(void *arg)
{
    struct epoll_event ev[8];
    for (int i = 0; i < 3000; i++)
        EXPECT_OK(epoll_wait(ep, ev, 8, 0));
    return arg;
}

/* Items come and go while others wait for them. */
CASE(threads)
{
    pthread_t t[4];
    setup();
    for (long i = 0; i < 2; i++)
        EXPECT_EQ(pthread_create(&t[i], NULL, churn, (void *)(long)EXPECT_OK(eventfd(1, 0))), 0);
    for (long i = 2; i < 4; i++)
        EXPECT_EQ(pthread_create(&t[i], NULL, collect, NULL), 0);
    for (long i = 0; i < 4; i++)
        EXPECT_EQ(pthread_join(t[i], NULL), 0);
}

static _Atomic int woken;

static void *waiter(void *arg)
{
    struct epoll_event ev;
    EXPECT_EQ(epoll_wait(ep, &ev, 1, 15000), 1);
    woken++;
    return arg;
}

/* One edge wakes one waiter. */
CASE(waiters)
{
    pthread_t t[3];
    setup();
    int e = EXPECT_OK(eventfd(0, EFD_SEMAPHORE));
    EXPECT_OK(ctl(ep, EPOLL_CTL_ADD, e, EPOLLIN | EPOLLET, 0));
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(pthread_create(&t[i], NULL, waiter, NULL), 0);
    for (int i = 0; i < 3; i++) {
        usleep(50000);
        EXPECT_EQ(woken, i);
        EXPECT_OK(eventfd_write(e, 1));
        while (woken == i) /* two edges that nobody saw in between are one */
            usleep(1000);
    }
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(pthread_join(t[i], NULL), 0);
}

CASE(bad_addresses)
{
    struct epoll_event ev[2];
    int ep = EXPECT_OK(epoll_create1(0));
    EXPECT_ERRNO(EFAULT, syscall(SYS_epoll_wait, ep, -4096L, 1, 0));
    EXPECT_ERRNO(EFAULT, syscall(SYS_epoll_wait, ep, 0x7ffffffffff0, 2, 0));
    EXPECT_EQ(syscall(SYS_epoll_wait, ep, 1L, 1, 0), 0); /* there is nothing to tell */
    EXPECT_ERRNO(EINVAL, syscall(SYS_epoll_wait, ep, ev, INT32_MAX, 0));
}

CASE(random_is_pollable)
{
    struct epoll_event ev = {.events = EPOLLIN};
    int ep = EXPECT_OK(epoll_create1(0)), fd = EXPECT_OK(open("/dev/random", O_RDONLY));
    EXPECT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
    EXPECT_EQ(epoll_wait(ep, &ev, 1, 0), 1);
    fd = EXPECT_OK(open("/dev/urandom", O_RDONLY));
    EXPECT_ERRNO(EPERM, epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
}

TEST_MAIN
