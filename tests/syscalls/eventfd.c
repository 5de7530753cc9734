/* eventfd(2). */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>

static void *volatile bad_address = (void *)8;

static short ready(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
    EXPECT_OK(poll(&p, 1, 0));
    return p.revents;
}

CASE(counter)
{
    uint64_t v = 0;
    int fd = EXPECT_OK(eventfd(3, EFD_NONBLOCK));
    EXPECT_EQ(ready(fd), POLLIN | POLLOUT);
    EXPECT_EQ(read(fd, &v, 8), 8);
    EXPECT_EQ(v, 3);
    EXPECT_EQ(ready(fd), POLLOUT);
    EXPECT_ERRNO(EAGAIN, read(fd, &v, 8));
    v = 5;
    EXPECT_EQ(write(fd, &v, 8), 8);
    v = 7;
    EXPECT_EQ(write(fd, &v, 8), 8);
    char wide[16];
    EXPECT_EQ(read(fd, wide, 16), 8);
    memcpy(&v, wide, 8);
    EXPECT_EQ(v, 12);
}

CASE(semaphore)
{
    uint64_t v = 0;
    int fd = EXPECT_OK(eventfd(2, EFD_NONBLOCK | EFD_SEMAPHORE));
    for (int i = 0; i < 2; i++) {
        EXPECT_EQ(read(fd, &v, 8), 8);
        EXPECT_EQ(v, 1);
    }
    EXPECT_ERRNO(EAGAIN, read(fd, &v, 8));
}

CASE(errors)
{
    uint64_t v = UINT64_MAX;
    int fd = EXPECT_OK(eventfd(0, EFD_NONBLOCK));
    EXPECT_ERRNO(EINVAL, read(fd, &v, 7));
    EXPECT_ERRNO(EINVAL, write(fd, &v, 7));
    EXPECT_ERRNO(EINVAL, write(fd, &v, 8));
    EXPECT_ERRNO(EFAULT, write(fd, bad_address, 8));
    EXPECT_ERRNO(EINVAL, eventfd(0, 0x10000000));
    EXPECT_EQ(fcntl(EXPECT_OK(eventfd(0, EFD_CLOEXEC)), F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(fd, F_GETFD), 0);
    EXPECT_EQ(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDWR | O_NONBLOCK);
}

CASE(full)
{
    uint64_t v = UINT64_MAX - 1;
    int fd = EXPECT_OK(eventfd(0, EFD_NONBLOCK));
    EXPECT_EQ(write(fd, &v, 8), 8);
    EXPECT_EQ(ready(fd), POLLIN);
    v = 1;
    EXPECT_ERRNO(EAGAIN, write(fd, &v, 8));
    v = 0;
    EXPECT_EQ(write(fd, &v, 8), 8);
    EXPECT_EQ(read(fd, &v, 8), 8);
    EXPECT_EQ(v, UINT64_MAX - 1);
}

CASE(blocking)
{
    uint64_t v = 0;
    int fd = EXPECT_OK(eventfd(0, 0));
    pid_t child = FORK({
        uint64_t one = 1;
        usleep(50000);
        EXPECT_EQ(write(fd, &one, 8), 8);
    });
    EXPECT_EQ(read(fd, &v, 8), 8);
    EXPECT_EQ(v, 1);
    EXPECT_EXITED(child, 0);
    v = UINT64_MAX - 1;
    EXPECT_EQ(write(fd, &v, 8), 8);
    child = FORK({
        usleep(50000);
        EXPECT_EQ(read(fd, &v, 8), 8);
    });
    v = 9;
    EXPECT_EQ(write(fd, &v, 8), 8);
    EXPECT_EXITED(child, 0);
    EXPECT_EQ(read(fd, &v, 8), 8);
    EXPECT_EQ(v, 9);
}

/* No driver stands behind the inode, so that there is nothing to open a second time. */
CASE(not_opened_again)
{
    char path[64];
    int fds[] = {EXPECT_OK(eventfd(1, 0)), EXPECT_OK(epoll_create1(0)),
                 EXPECT_OK(timerfd_create(CLOCK_MONOTONIC, 0)), EXPECT_OK(inotify_init())};
    for (unsigned i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fds[i]);
        EXPECT_ERRNO(ENXIO, open(path, O_RDONLY));
        EXPECT_ERRNO(ENXIO, open(path, O_RDWR));
        close(EXPECT_OK(open(path, O_PATH)));
        EXPECT_EQ(lseek(fds[i], 5, SEEK_SET), 0);
    }
}

CASE(plain_readiness)
{
    struct pollfd p = {.fd = EXPECT_OK(eventfd(1, 0)), .events = POLLIN | POLLOUT};
    p.events |= POLLRDNORM | POLLWRNORM;
    EXPECT_EQ(poll(&p, 1, 0), 1);
    EXPECT_EQ(p.revents, POLLIN | POLLOUT);
}

TEST_MAIN
