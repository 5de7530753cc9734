/* poll(2), ppoll, select(2), pselect6. */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/time.h>
#include <time.h>

static void *volatile bad_address = (void *)8;

static int fds[2];
static volatile int caught;

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void on_signal(int sig)
{
    caught = sig;
}

static void alarm_in_ms(int ms, int flags)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = flags};
    struct itimerval it = {.it_value = {ms / 1000, ms % 1000 * 1000}};
    EXPECT_OK(sigaction(SIGALRM, &sa, NULL));
    EXPECT_OK(setitimer(ITIMER_REAL, &it, NULL));
}

CASE(nothing)
{
    int64_t start = now_ms();
    EXPECT_EQ(poll(NULL, 0, 0), 0);
    EXPECT_EQ(poll(NULL, 0, 60), 0);
    EXPECT_GE(now_ms() - start, 60);
    EXPECT_LT(now_ms() - start, 5000);
}

CASE(several)
{
    EXPECT_OK(pipe(fds));
    int null = EXPECT_OK(open("/dev/null", O_RDWR));
    struct pollfd p[5] = {{.fd = fds[0], .events = POLLIN},
                          {.fd = -1, .events = POLLIN, .revents = 77},
                          {.fd = fds[1], .events = POLLOUT},
                          {.fd = 5000, .events = POLLIN},
                          {.fd = null, .events = POLLIN | POLLPRI}};
    EXPECT_EQ(poll(p, 5, -1), 3);
    EXPECT_EQ(p[0].revents, 0);
    EXPECT_EQ(p[1].revents, 0);
    EXPECT_EQ(p[2].revents, POLLOUT);
    EXPECT_EQ(p[3].revents, POLLNVAL);
    EXPECT_EQ(p[4].revents, POLLIN);
    EXPECT_EQ(write(fds[1], "x", 1), 1);
    p[0].events = POLLRDNORM;
    EXPECT_EQ(poll(p, 1, -1), 1);
    EXPECT_EQ(p[0].revents, POLLRDNORM);
    p[0].events = 0;
    EXPECT_EQ(poll(p, 1, 0), 0);
    close(fds[1]);
    EXPECT_EQ(poll(p, 1, 0), 1); /* hang-ups come unasked */
    EXPECT_EQ(p[0].revents, POLLHUP);
}

CASE(errors)
{
    struct pollfd p = {.fd = 0, .events = POLLIN};
    EXPECT_ERRNO(EFAULT, poll(bad_address, 1, 0));
    struct rlimit rl;
    EXPECT_OK(getrlimit(RLIMIT_NOFILE, &rl));
    EXPECT_ERRNO(EINVAL, syscall(SYS_poll, &p, rl.rlim_cur + 1, 0));
    struct timespec bad = {0, 1000000000};
    EXPECT_ERRNO(EINVAL, ppoll(&p, 1, &bad, NULL));
    bad = (struct timespec){-1, 0};
    EXPECT_ERRNO(EINVAL, ppoll(&p, 1, &bad, NULL));
    EXPECT_ERRNO(EFAULT, syscall(SYS_ppoll, &p, 1, 8L, NULL, 8));
    sigset_t none;
    sigemptyset(&none);
    EXPECT_ERRNO(EINVAL, syscall(SYS_ppoll, &p, 1, NULL, &none, 9));
}

CASE(many)
{
    enum { N = 200 };
    struct pollfd p[N];
    EXPECT_OK(pipe(fds));
    for (int i = 0; i < N; i++)
        p[i] = (struct pollfd){.fd = fds[i % 2], .events = POLLIN | POLLOUT};
    EXPECT_EQ(poll(p, N, -1), N / 2);
    EXPECT_EQ(write(fds[1], "x", 1), 1);
    EXPECT_EQ(poll(p, N, -1), N);
}

CASE(wakes_up)
{
    EXPECT_OK(pipe(fds));
    struct pollfd p = {.fd = fds[0], .events = POLLIN};
    pid_t child = FORK({
        usleep(50000);
        write(fds[1], "x", 1);
    });
    EXPECT_EQ(poll(&p, 1, -1), 1);
    EXPECT_EQ(p.revents, POLLIN);
    EXPECT_EXITED(child, 0);
}

/* poll is never restarted after a handler, SA_RESTART or not. */
CASE(interrupted)
{
    EXPECT_OK(pipe(fds));
    struct pollfd p = {.fd = fds[0], .events = POLLIN};
    alarm_in_ms(50, SA_RESTART);
    EXPECT_ERRNO(EINTR, poll(&p, 1, -1));
    EXPECT_EQ(caught, SIGALRM);
    caught = 0;
    alarm_in_ms(50, 0);
    struct timespec ts = {5, 0};
    EXPECT_ERRNO(EINTR, syscall(SYS_ppoll, &p, 1, &ts, NULL, 8));
    EXPECT_EQ(caught, SIGALRM);
    EXPECT_EQ(ts.tv_sec, 4); /* the time left */
}

/* A stop and continue is not seen. */
CASE(stopped)
{
    EXPECT_OK(pipe(fds));
    pid_t child = FORK({
        struct pollfd p = {.fd = fds[0], .events = POLLIN};
        int64_t start = now_ms();
        EXPECT_EQ(poll(&p, 1, 300), 0);
        EXPECT_GE(now_ms() - start, 300);
    });
    usleep(50000);
    EXPECT_OK(kill(child, SIGSTOP));
    usleep(50000);
    EXPECT_OK(kill(child, SIGCONT));
    EXPECT_EXITED(child, 0);
}

/* The mask is in force while the call waits, and only then. */
CASE(mask)
{
    sigset_t block, open_mask, now;
    EXPECT_OK(pipe(fds));
    struct pollfd p = {.fd = fds[0], .events = POLLIN};
    struct sigaction sa = {.sa_handler = on_signal};
    EXPECT_OK(sigaction(SIGUSR1, &sa, NULL));
    sigemptyset(&block);
    sigaddset(&block, SIGUSR1);
    EXPECT_OK(sigprocmask(SIG_BLOCK, &block, &open_mask));
    raise(SIGUSR1);
    EXPECT_EQ(caught, 0);
    struct timespec ts = {0, 0};
    EXPECT_EQ(ppoll(&p, 1, &ts, NULL), 0);
    EXPECT_EQ(caught, 0);
    EXPECT_ERRNO(EINTR, ppoll(&p, 1, NULL, &open_mask));
    EXPECT_EQ(caught, SIGUSR1);
    EXPECT_OK(sigprocmask(SIG_BLOCK, NULL, &now));
    EXPECT(sigismember(&now, SIGUSR1));
    caught = 0;
    raise(SIGUSR1);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fds[0], &set);
    EXPECT_ERRNO(EINTR, pselect(fds[0] + 1, &set, NULL, NULL, NULL, &open_mask));
    EXPECT_EQ(caught, SIGUSR1);
    EXPECT_OK(sigprocmask(SIG_BLOCK, NULL, &now));
    EXPECT(sigismember(&now, SIGUSR1));
}

CASE(select_sets)
{
    fd_set in, out, ex;
    EXPECT_OK(pipe(fds));
    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_ZERO(&ex);
    FD_SET(fds[0], &in);
    FD_SET(fds[1], &out);
    FD_SET(fds[0], &ex);
    EXPECT_EQ(select(fds[1] + 1, &in, &out, &ex, NULL), 1);
    EXPECT(!FD_ISSET(fds[0], &in));
    EXPECT(FD_ISSET(fds[1], &out));
    EXPECT(!FD_ISSET(fds[0], &ex));
    EXPECT_EQ(write(fds[1], "x", 1), 1);
    FD_SET(fds[0], &in);
    FD_SET(fds[1], &out);
    EXPECT_EQ(select(fds[1] + 1, &in, &out, NULL, NULL), 2);
    /* Only what lies below n is looked at, and what lies above is cleared. */
    FD_SET(fds[0], &in);
    FD_SET(fds[1], &in);
    int low = fds[0] < fds[1] ? fds[0] : fds[1];
    EXPECT_EQ(select(low + 1, &in, NULL, NULL, NULL), 1);
    /* The end of a pipe is readable. */
    EXPECT_EQ(read(fds[0], &(char){0}, 1), 1);
    close(fds[1]);
    FD_ZERO(&in);
    FD_SET(fds[0], &in);
    EXPECT_EQ(select(fds[0] + 1, &in, NULL, NULL, NULL), 1);
}

CASE(select_errors)
{
    fd_set in;
    FD_ZERO(&in);
    EXPECT_ERRNO(EINVAL, select(-1, &in, NULL, NULL, NULL));
    struct timeval tv = {-1, 0};
    EXPECT_ERRNO(EINVAL, select(0, NULL, NULL, NULL, &tv));
    tv = (struct timeval){INT64_MAX, 5000000};
    EXPECT_ERRNO(EINVAL, syscall(SYS_select, 0, NULL, NULL, NULL, &tv));
    FD_SET(50, &in);
    tv = (struct timeval){0, 0};
    close(50);
    EXPECT_ERRNO(EBADF, select(51, &in, NULL, NULL, &tv));
    EXPECT_ERRNO(EFAULT, syscall(SYS_select, 51, bad_address, NULL, NULL, &tv));
    EXPECT_ERRNO(EFAULT, syscall(SYS_select, 0, NULL, NULL, NULL, bad_address));
}

CASE(select_timeouts)
{
    int64_t start = now_ms();
    struct timeval tv = {0, 60000};
    EXPECT_EQ(syscall(SYS_select, 0, NULL, NULL, NULL, &tv), 0);
    EXPECT_GE(now_ms() - start, 60);
    EXPECT_EQ(tv.tv_sec, 0);
    EXPECT_EQ(tv.tv_usec, 0);
    fd_set out;
    EXPECT_OK(pipe(fds));
    FD_ZERO(&out);
    FD_SET(fds[1], &out);
    tv = (struct timeval){10, 0};
    EXPECT_EQ(syscall(SYS_select, fds[1] + 1, NULL, &out, NULL, &tv), 1);
    EXPECT_EQ(tv.tv_sec, 9);
}

static void *writer(void *arg)
{
    for (int i = 0; i < 2000; i++)
        EXPECT_EQ(write(fds[1], "x", 1), 1);
    return arg;
}

/* No wake-up is lost between looking and sleeping. */
CASE(no_lost_wakeups)
{
    char c;
    pthread_t thread;
    EXPECT_OK(pipe(fds));
    EXPECT_OK(fcntl(fds[0], F_SETFL, O_NONBLOCK));
    EXPECT_EQ(pthread_create(&thread, NULL, writer, NULL), 0);
    for (int got = 0; got < 2000;) {
        struct pollfd p = {.fd = fds[0], .events = POLLIN};
        EXPECT_EQ(poll(&p, 1, 5000), 1);
        while (read(fds[0], &c, 1) == 1)
            got++;
        EXPECT_EQ(errno, EAGAIN);
    }
    pthread_join(thread, NULL);
}

static void ignore_it(int sig)
{
    (void)sig;
}

/* A signal that the mask lets in ends a call that would not wait; what is ready comes first. */
CASE(signal_without_waiting)
{
    sigset_t blocked, none, pending;
    struct timespec zero = {0, 0};
    int p[2];
    fd_set set;
    signal(SIGUSR1, ignore_it);
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    EXPECT_OK(sigprocmask(SIG_BLOCK, &blocked, NULL));
    EXPECT_OK(kill(getpid(), SIGUSR1));
    EXPECT_ERRNO(EINTR, ppoll(NULL, 0, &zero, &none));
    EXPECT_EQ(ppoll(NULL, 0, &zero, &none), 0);
    EXPECT_OK(kill(getpid(), SIGUSR1));
    EXPECT_ERRNO(EINTR, pselect(0, NULL, NULL, NULL, &zero, &none));
    EXPECT_OK(kill(getpid(), SIGUSR1));
    EXPECT_OK(pipe(p));
    FD_ZERO(&set);
    FD_SET(p[1], &set);
    EXPECT_EQ(pselect(p[1] + 1, NULL, &set, NULL, &zero, &none), 1);
    struct pollfd f = {.fd = p[1], .events = POLLOUT};
    EXPECT_EQ(ppoll(&f, 1, &zero, &none), 1);
    EXPECT_OK(sigpending(&pending));
    EXPECT_EQ(sigismember(&pending, SIGUSR1), 1);
}
TEST_MAIN
