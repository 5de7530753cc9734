/* What the tests of terminals share: pairs, modes, reading with a limit. */
#ifndef PICKET_TESTS_SYSCALLS_PTY_H
#define PICKET_TESTS_SYSCALLS_PTY_H

#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>

struct pty {
    int master, slave, number;
};

TEST_UNUSED static const char *pty_name(int number)
{
    static char name[32];
    snprintf(name, sizeof(name), "/dev/pts/%d", number);
    return name;
}

TEST_UNUSED static struct pty pty_open_flags(int flags)
{
    struct pty p;
    int unlock = 0;
    p.master = EXPECT_OK(open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC));
    EXPECT_OK(ioctl(p.master, TIOCGPTN, &p.number));
    EXPECT_OK(ioctl(p.master, TIOCSPTLCK, &unlock));
    p.slave = EXPECT_OK(open(pty_name(p.number), flags | O_CLOEXEC));
    return p;
}

TEST_UNUSED static struct pty pty_open(void)
{
    return pty_open_flags(O_RDWR | O_NOCTTY);
}

TEST_UNUSED static void pty_modes(int fd, tcflag_t i_off, tcflag_t i_on, tcflag_t l_off,
                                  tcflag_t l_on)
{
    struct termios tio;
    EXPECT_OK(tcgetattr(fd, &tio));
    tio.c_iflag = (tio.c_iflag & ~i_off) | i_on;
    tio.c_lflag = (tio.c_lflag & ~l_off) | l_on;
    EXPECT_OK(tcsetattr(fd, TCSANOW, &tio));
}

TEST_UNUSED static void pty_raw(int fd, int vmin, int vtime)
{
    struct termios tio;
    EXPECT_OK(tcgetattr(fd, &tio));
    cfmakeraw(&tio);
    tio.c_cc[VMIN] = (cc_t)vmin;
    tio.c_cc[VTIME] = (cc_t)vtime;
    EXPECT_OK(tcsetattr(fd, TCSANOW, &tio));
}

TEST_UNUSED static void pty_type(int fd, const char *text)
{
    size_t n = strlen(text);
    EXPECT_EQ(write(fd, text, n), n);
}

TEST_UNUSED static int pty_ready(int fd, short events, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = events};
    EXPECT_OK(poll(&p, 1, timeout_ms));
    return p.revents;
}

/* Reads until `want` has come, which must be all that comes. */
#define PTY_EXPECT(fd, want)                                                                       \
    do {                                                                                           \
        char pty_buf_[8192];                                                                       \
        const char *pty_want_ = (want);                                                            \
        size_t pty_len_ = 0, pty_need_ = strlen(pty_want_);                                        \
        while (pty_len_ < pty_need_ && pty_ready(fd, POLLIN, 3000) & POLLIN) {                     \
            ssize_t pty_n_ = read(fd, pty_buf_ + pty_len_, sizeof(pty_buf_) - 1 - pty_len_);       \
            if (pty_n_ <= 0)                                                                       \
                break;                                                                             \
            pty_len_ += (size_t)pty_n_;                                                            \
        }                                                                                          \
        pty_buf_[pty_len_] = 0;                                                                    \
        EXPECT_STREQ(pty_buf_, pty_want_);                                                         \
    } while (0)

/* Nothing comes for a while. */
#define PTY_SILENT(fd) EXPECT_EQ(pty_ready(fd, POLLIN, 60) & POLLIN, 0)

TEST_UNUSED static long pty_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

#endif
