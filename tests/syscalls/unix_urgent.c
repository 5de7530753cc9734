/* Urgent data (MSG_OOB) of Unix stream sockets. See unix(7), recv(2), fcntl(2). */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/socket.h>

#ifndef SIOCATMARK
#define SIOCATMARK 0x8905
#endif

static int from, to;

static void connected(void)
{
    int sv[2];
    EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
    from = sv[0];
    to = sv[1];
}

static void say(const char *s, int flags)
{
    EXPECT_EQ(send(from, s, strlen(s), flags), strlen(s));
}

/* What recv returns now; "" at the end of file. */
static const char *hear(size_t n, int flags)
{
    static char buf[64];
    memset(buf, 0, sizeof buf);
    EXPECT_OK(recv(to, buf, n, flags | MSG_DONTWAIT));
    return buf;
}

static int at_mark(void)
{
    int is = -1;
    EXPECT_OK(ioctl(to, SIOCATMARK, &is));
    return is;
}

static int readiness(void)
{
    struct pollfd p = {.fd = to, .events = POLLIN | POLLPRI};
    poll(&p, 1, 0);
    return p.revents;
}

CASE(last_byte_is_urgent)
{
    connected();
    EXPECT_EQ(readiness(), 0);
    EXPECT_EQ(at_mark(), 0);
    say("abc", MSG_OOB);
    EXPECT_EQ(readiness(), POLLIN | POLLPRI);
    EXPECT_EQ(at_mark(), 0);
    EXPECT_STREQ(hear(9, MSG_OOB | MSG_PEEK), "c");
    EXPECT_STREQ(hear(9, MSG_OOB), "c");
    EXPECT_EQ(readiness(), POLLIN);
    EXPECT_ERRNO(EINVAL, recv(to, &(char){0}, 1, MSG_OOB));
    EXPECT_STREQ(hear(9, 0), "ab");
    EXPECT_EQ(at_mark(), 1);
}

CASE(flag_comes_back)
{
    char c;
    struct iovec iov = {&c, 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    connected();
    say("u", MSG_OOB);
    EXPECT_EQ(recvmsg(to, &m, MSG_OOB), 1);
    EXPECT_EQ(c, 'u');
    EXPECT_EQ(m.msg_flags, MSG_OOB);
}

CASE(read_stops_at_the_mark)
{
    connected();
    say("ab", 0);
    say("!", MSG_OOB);
    say("cd", 0);
    EXPECT_STREQ(hear(9, MSG_PEEK), "ab");
    EXPECT_STREQ(hear(9, MSG_WAITALL), "ab");
    EXPECT_EQ(at_mark(), 1);
    EXPECT_STREQ(hear(9, MSG_PEEK), "cd");
    EXPECT_STREQ(hear(1, MSG_OOB), "!");
    EXPECT_STREQ(hear(9, 0), "cd");
    EXPECT_EQ(at_mark(), 0);
}

CASE(passed_over_if_not_asked_for)
{
    connected();
    say("ab", 0);
    say("!", MSG_OOB);
    say("cd", 0);
    EXPECT_STREQ(hear(9, 0), "ab");
    EXPECT_STREQ(hear(9, 0), "cd");
    EXPECT_ERRNO(EINVAL, recv(to, &(char){0}, 1, MSG_OOB));
    say("?", MSG_OOB);
    EXPECT_ERRNO(EAGAIN, recv(to, &(char){0}, 1, MSG_DONTWAIT));
    EXPECT_EQ(readiness() & POLLPRI, 0);
}

CASE(newer_replaces_older)
{
    connected();
    say("1", MSG_OOB);
    say("2", MSG_OOB);
    EXPECT_STREQ(hear(1, MSG_OOB), "2");
    EXPECT_STREQ(hear(9, 0), "1");
}

CASE(in_line)
{
    int on = 1;
    connected();
    EXPECT_OK(setsockopt(to, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on));
    say("ab", 0);
    say("!", MSG_OOB);
    say("cd", 0);
    EXPECT_EQ(readiness(), POLLIN | POLLPRI);
    EXPECT_ERRNO(EINVAL, recv(to, &(char){0}, 1, MSG_OOB));
    EXPECT_STREQ(hear(9, 0), "ab");
    EXPECT_EQ(at_mark(), 1);
    EXPECT_STREQ(hear(9, 0), "!cd");
    EXPECT_EQ(at_mark(), 0);
}

CASE(errors)
{
    int sv[2], n;
    connected();
    EXPECT_ERRNO(EINVAL, recv(to, &n, 1, MSG_OOB));
    EXPECT_ERRNO(EOPNOTSUPP, send(from, "", 0, MSG_OOB));
    say("x", MSG_OOB);
    EXPECT_ERRNO(EFAULT, recv(to, (void *)1, 1, MSG_OOB));
    close(to);
    EXPECT_ERRNO(EPIPE, send(from, "x", 1, MSG_OOB | MSG_NOSIGNAL));
    EXPECT_ERRNO(EINVAL, recv(EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0)), &n, 1, MSG_OOB));
    for (int type = SOCK_DGRAM; type <= SOCK_SEQPACKET; type += SOCK_SEQPACKET - SOCK_DGRAM) {
        EXPECT_OK(socketpair(AF_UNIX, type, 0, sv));
        EXPECT_ERRNO(EOPNOTSUPP, send(sv[0], "x", 1, MSG_OOB));
        EXPECT_ERRNO(EOPNOTSUPP, recv(sv[0], &n, 1, MSG_OOB | MSG_DONTWAIT));
        EXPECT_ERRNO(EOPNOTSUPP, ioctl(sv[0], SIOCATMARK, &n));
    }
}

CASE(select_calls_it_exceptional)
{
    fd_set set;
    struct timeval none = {0};
    connected();
    say("x", MSG_OOB);
    FD_ZERO(&set);
    FD_SET(to, &set);
    EXPECT_EQ(select(to + 1, NULL, NULL, &set, &none), 1);
    EXPECT(FD_ISSET(to, &set));
    hear(1, MSG_OOB);
    EXPECT_EQ(select(to + 1, NULL, NULL, &set, &none), 0);
}

static volatile sig_atomic_t urgent, io;

static void on_signal(int sig)
{
    if (sig == SIGURG)
        urgent++;
    else
        io++;
}

CASE(sigurg)
{
    signal(SIGURG, on_signal);
    signal(SIGIO, on_signal);
    connected();
    say("x", MSG_OOB);
    EXPECT_EQ(urgent, 0); /* nobody owns it */
    EXPECT_OK(fcntl(to, F_SETOWN, getpid()));
    say("x", MSG_OOB);
    EXPECT_EQ(urgent, 1);
    say("x", 0);
    EXPECT_EQ(urgent, 1);
    EXPECT_EQ(io, 0);
    EXPECT_OK(fcntl(to, F_SETFL, O_ASYNC));
    say("x", MSG_OOB);
    EXPECT_EQ(urgent, 2);
    EXPECT_GE(io, 1);
    int before = io;
    EXPECT_OK(fcntl(to, F_SETFL, 0));
    say("x", MSG_OOB);
    EXPECT_EQ(urgent, 3);
    EXPECT_EQ(io, before);
    close(from);
    EXPECT_EQ(io, before);
}

CASE(wakes_a_sleeper)
{
    connected();
    pid_t child = FORK({
        struct pollfd p = {.fd = to, .events = POLLPRI};
        EXPECT_EQ(poll(&p, 1, -1), 1);
        EXPECT_EQ(p.revents, POLLPRI);
    });
    usleep(20000);
    say("plain", 0);
    usleep(20000);
    say("!", MSG_OOB);
    EXPECT_EXITED(child, 0);
}
TEST_MAIN
