/* signalfd(2). */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

static void *volatile bad_address = (void *)8;

static sigset_t block(int sig1, int sig2)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, sig1);
    sigaddset(&set, sig2);
    EXPECT_OK(sigprocmask(SIG_BLOCK, &set, NULL));
    return set;
}

static short ready(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
    EXPECT_OK(poll(&p, 1, 0));
    return p.revents;
}

CASE(reading)
{
    struct signalfd_siginfo si[4];
    sigset_t set = block(SIGUSR1, SIGUSR2);
    int fd = EXPECT_OK(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    EXPECT_ERRNO(EAGAIN, read(fd, si, sizeof(si)));
    EXPECT_EQ(ready(fd), 0);
    EXPECT_OK(kill(getpid(), SIGUSR2));
    EXPECT_EQ(ready(fd), POLLIN);
    union sigval v = {.sival_int = 42};
    EXPECT_OK(sigqueue(getpid(), SIGUSR1, v));
    EXPECT_ERRNO(EINVAL, read(fd, si, sizeof(si[0]) - 1));
    EXPECT_EQ(read(fd, si, sizeof(si)), 2 * sizeof(si[0]));
    EXPECT_EQ(si[0].ssi_signo, SIGUSR1);
    EXPECT_EQ(si[0].ssi_code, SI_QUEUE);
    EXPECT_EQ(si[0].ssi_int, 42);
    EXPECT_EQ(si[1].ssi_signo, SIGUSR2);
    EXPECT_EQ(si[1].ssi_code, SI_USER);
    EXPECT_EQ(si[1].ssi_pid, getpid());
    EXPECT_EQ(si[1].ssi_uid, getuid());
    EXPECT_EQ(ready(fd), 0);
    sigset_t pending;
    EXPECT_OK(sigpending(&pending));
    EXPECT(!sigismember(&pending, SIGUSR1)); /* read is taken */
}

CASE(errors)
{
    sigset_t set;
    sigemptyset(&set);
    EXPECT_ERRNO(EINVAL, signalfd(0, &set, 0));
    EXPECT_ERRNO(EBADF, signalfd(999, &set, 0));
    EXPECT_ERRNO(EINVAL, signalfd(-1, &set, 1));
    EXPECT_ERRNO(EINVAL, syscall(SYS_signalfd4, -1, &set, 9, 0));
    EXPECT_ERRNO(EFAULT, syscall(SYS_signalfd4, -1, bad_address, 8, 0));
}

CASE(mask_changes)
{
    struct signalfd_siginfo si;
    sigset_t set = block(SIGUSR1, SIGUSR2), one;
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    int fd = EXPECT_OK(signalfd(-1, &one, SFD_NONBLOCK));
    raise(SIGUSR2);
    EXPECT_ERRNO(EAGAIN, read(fd, &si, sizeof(si)));
    EXPECT_EQ(signalfd(fd, &set, 0), fd);
    EXPECT_EQ(read(fd, &si, sizeof(si)), sizeof(si));
    EXPECT_EQ(si.ssi_signo, SIGUSR2);
}

CASE(children)
{
    struct signalfd_siginfo si;
    sigset_t set = block(SIGCHLD, SIGUSR1);
    int fd = EXPECT_OK(signalfd(-1, &set, 0));
    pid_t child = FORK({
        usleep(50000);
        _exit(7);
    });
    EXPECT_EQ(read(fd, &si, sizeof(si)), sizeof(si)); /* waits */
    EXPECT_EQ(si.ssi_signo, SIGCHLD);
    EXPECT_EQ(si.ssi_code, CLD_EXITED);
    EXPECT_EQ(si.ssi_pid, child);
    EXPECT_EQ(si.ssi_status, 7);
    EXPECT_EXITED(child, 7);
}

CASE(waiting)
{
    sigset_t set = block(SIGUSR1, SIGUSR2);
    struct epoll_event ev = {.events = EPOLLIN};
    int fd = EXPECT_OK(signalfd(-1, &set, 0)), ep = EXPECT_OK(epoll_create1(0));
    EXPECT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
    EXPECT_EQ(epoll_wait(ep, &ev, 1, 0), 0);
    pid_t parent = getpid();
    pid_t child = FORK({
        usleep(50000);
        kill(parent, SIGUSR1);
    });
    EXPECT_EQ(epoll_wait(ep, &ev, 1, 5000), 1);
    EXPECT_EXITED(child, 0);
    struct signalfd_siginfo si;
    EXPECT_EQ(read(fd, &si, sizeof(si)), sizeof(si));
    child = FORK({
        usleep(50000);
        kill(parent, SIGUSR2);
    });
    struct pollfd p = {.fd = fd, .events = POLLIN};
    EXPECT_EQ(poll(&p, 1, 5000), 1);
    EXPECT_EXITED(child, 0);
}

/* A child that inherits the descriptor reads its own signals, not its parent's. */
CASE(inherited)
{
    struct signalfd_siginfo si;
    sigset_t set = block(SIGUSR1, SIGUSR2);
    int fd = EXPECT_OK(signalfd(-1, &set, SFD_NONBLOCK));
    raise(SIGUSR1);
    EXPECT_EXITED(FORK({
                      EXPECT_EQ(ready(fd), 0);
                      EXPECT_ERRNO(EAGAIN, read(fd, &si, sizeof(si)));
                      raise(SIGUSR2);
                      EXPECT_EQ(ready(fd), POLLIN);
                      EXPECT_EQ(read(fd, &si, sizeof(si)), sizeof(si));
                      EXPECT_EQ(si.ssi_signo, SIGUSR2);
                  }),
                  0);
    EXPECT_EQ(read(fd, &si, sizeof(si)), sizeof(si));
    EXPECT_EQ(si.ssi_signo, SIGUSR1);
}

TEST_MAIN
