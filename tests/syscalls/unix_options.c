/* Options of Unix sockets, and what they do. See socket(7), unix(7). */
#include "tests/syscalls/test.h"
#include <asm/sockios.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>

#ifndef SO_PEEK_OFF
#define SO_PEEK_OFF 42
#endif

static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
#define EACH_TYPE(t) (unsigned t##_i = 0, t = 0; t##_i < 3 && (t = (unsigned)types[t##_i]); t##_i++)

static void pair(unsigned type, int sv[2])
{
    EXPECT_OK(socketpair(AF_UNIX, (int)type, 0, sv));
}

static int get(int fd, int name)
{
    int v = -99;
    socklen_t len = sizeof v;
    EXPECT_OK(getsockopt(fd, SOL_SOCKET, name, &v, &len));
    EXPECT_EQ(len, sizeof v);
    return v;
}

static int set(int fd, int name, int value)
{
    return setsockopt(fd, SOL_SOCKET, name, &value, sizeof value);
}

CASE(remembered)
{
    static const int names[] = {SO_REUSEADDR, SO_DONTROUTE, SO_BROADCAST, SO_KEEPALIVE,
                                SO_NO_CHECK,  SO_OOBINLINE, SO_TIMESTAMP, SO_TIMESTAMPNS};
    int s = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        EXPECT_EQ(get(s, names[i]), 0);
        EXPECT_OK(set(s, names[i], 7));
        EXPECT_EQ(get(s, names[i]), 1);
        EXPECT_OK(set(s, names[i], 0));
        EXPECT_EQ(get(s, names[i]), 0);
    }
    EXPECT_ERRNO(EOPNOTSUPP, set(s, SO_REUSEPORT, 1));
}

CASE(numbers)
{
    int s = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_EQ(get(s, SO_RCVLOWAT), 1);
    EXPECT_OK(set(s, SO_RCVLOWAT, 5));
    EXPECT_EQ(get(s, SO_RCVLOWAT), 5);
    EXPECT_OK(set(s, SO_RCVLOWAT, 0));
    EXPECT_EQ(get(s, SO_RCVLOWAT), 1);
    EXPECT_OK(set(s, SO_RCVLOWAT, -1));
    EXPECT_EQ(get(s, SO_RCVLOWAT), INT32_MAX);
    EXPECT_ERRNO(ENOPROTOOPT, set(s, SO_SNDLOWAT, 1));
    EXPECT_OK(set(s, SO_PRIORITY, 6));
    EXPECT_EQ(get(s, SO_PRIORITY), 6);
    EXPECT_EQ(get(s, SO_PEEK_OFF), -1);
    EXPECT_ERRNO(ENOPROTOOPT, set(s, SO_TYPE, 1));
    EXPECT_ERRNO(ENOPROTOOPT, set(s, SO_ERROR, 1));
    EXPECT_ERRNO(ENOPROTOOPT, set(s, SO_ACCEPTCONN, 1));
}

CASE(privileged)
{
    if (geteuid() != 0)
        SKIP("needs root, to become somebody else");
    int s = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_OK(set(s, SO_MARK, 77));
    EXPECT_EQ(get(s, SO_MARK), 77);
    EXPECT_OK(set(s, SO_PRIORITY, 100));
    EXPECT_OK(setresuid(1000, 1000, 1000));
    EXPECT_ERRNO(EPERM, set(s, SO_MARK, 78));
    EXPECT_ERRNO(EPERM, set(s, SO_PRIORITY, 7));
    EXPECT_ERRNO(EPERM, set(s, SO_PRIORITY, -1));
    EXPECT_ERRNO(EPERM, set(s, SO_SNDBUFFORCE, 10000));
    EXPECT_ERRNO(EACCES, set(s, SO_DEBUG, 1));
    EXPECT_OK(set(s, SO_DEBUG, 0));
}

CASE(linger)
{
    struct linger l = {.l_onoff = 5, .l_linger = 9};
    socklen_t len = sizeof l;
    int s = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_OK(setsockopt(s, SOL_SOCKET, SO_LINGER, &l, sizeof l));
    EXPECT_OK(getsockopt(s, SOL_SOCKET, SO_LINGER, &l, &len));
    EXPECT_EQ(l.l_onoff, 1);
    EXPECT_EQ(l.l_linger, 9);
    EXPECT_ERRNO(EINVAL, setsockopt(s, SOL_SOCKET, SO_LINGER, &l, 4));
}

CASE(timeouts)
{
    int sv[2];
    struct timeval tv = {-1, 0};
    socklen_t len = sizeof tv;
    char c;
    pair(SOCK_STREAM, sv);
    EXPECT_OK(setsockopt(sv[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
    EXPECT_ERRNO(EAGAIN, read(sv[0], &c, 1)); /* at once */
    EXPECT_OK(getsockopt(sv[0], SOL_SOCKET, SO_RCVTIMEO, &tv, &len));
    EXPECT_EQ(tv.tv_sec, 0);
    EXPECT_EQ(tv.tv_usec, 0);
    tv = (struct timeval){0, 1000000};
    EXPECT_ERRNO(EDOM, setsockopt(sv[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
    EXPECT_ERRNO(EINVAL, setsockopt(sv[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv - 1));
}

CASE(negative_buffer_is_the_largest)
{
    int s = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_OK(set(s, SO_SNDBUF, INT32_MAX));
    int largest = get(s, SO_SNDBUF);
    EXPECT_OK(set(s, SO_SNDBUF, 0));
    EXPECT_LT(get(s, SO_SNDBUF), 10000);
    EXPECT_OK(set(s, SO_SNDBUF, -1));
    EXPECT_EQ(get(s, SO_SNDBUF), largest);
}

static const char *peek(int fd, size_t n)
{
    static char buf[64];
    memset(buf, 0, sizeof buf);
    EXPECT_OK(recv(fd, buf, n, MSG_PEEK | MSG_DONTWAIT));
    return buf;
}

CASE(peek_offset_of_streams)
{
    int sv[2];
    char buf[64] = "";
    pair(SOCK_STREAM, sv);
    EXPECT_OK(set(sv[1], SO_PEEK_OFF, 1));
    EXPECT_EQ(write(sv[0], "hello", 5), 5);
    EXPECT_EQ(write(sv[0], "world", 5), 5);
    EXPECT_STREQ(peek(sv[1], 3), "ell");
    EXPECT_EQ(get(sv[1], SO_PEEK_OFF), 4);
    EXPECT_STREQ(peek(sv[1], 3), "owo");
    EXPECT_STREQ(peek(sv[1], 9), "rld");
    EXPECT_EQ(get(sv[1], SO_PEEK_OFF), 10);
    EXPECT_ERRNO(EAGAIN, recv(sv[1], buf, 1, MSG_PEEK | MSG_DONTWAIT));
    EXPECT_EQ(read(sv[1], buf, 2), 2);
    EXPECT_EQ(get(sv[1], SO_PEEK_OFF), 8);
    EXPECT_EQ(read(sv[1], buf, 64), 8);
    EXPECT_STREQ(buf, "lloworld");
    EXPECT_EQ(get(sv[1], SO_PEEK_OFF), 0);
    /* What is behind the offset is waited for. */
    EXPECT_OK(set(sv[1], SO_PEEK_OFF, 2));
    EXPECT_EQ(write(sv[0], "ab", 2), 2);
    pid_t child = FORK({
        usleep(30000);
        EXPECT_EQ(write(sv[0], "cd", 2), 2);
    });
    EXPECT_EQ(recv(sv[1], buf, 9, MSG_PEEK), 2);
    EXPECT_MEMEQ(buf, "cd", 2);
    EXPECT_EXITED(child, 0);
}

CASE(peek_offset_of_packets)
{
    for
        EACH_TYPE(type)
        {
            int sv[2];
            char buf[64] = "";
            if (type == SOCK_STREAM)
                continue;
            pair(type, sv);
            EXPECT_OK(set(sv[1], SO_PEEK_OFF, 1));
            EXPECT_EQ(write(sv[0], "hello", 5), 5);
            EXPECT_EQ(write(sv[0], "world", 5), 5);
            EXPECT_STREQ(peek(sv[1], 3), "ell");
            EXPECT_STREQ(peek(sv[1], 3), "o");
            EXPECT_EQ(recv(sv[1], buf, 1, MSG_PEEK | MSG_TRUNC), 5);
            EXPECT_STREQ(peek(sv[1], 9), "orld");
            EXPECT_EQ(get(sv[1], SO_PEEK_OFF), 10);
            EXPECT_EQ(read(sv[1], buf, 2), 2);
            EXPECT_MEMEQ(buf, "he", 2);
            EXPECT_EQ(get(sv[1], SO_PEEK_OFF), 5);
        }
}

CASE(low_water)
{
    int sv[2];
    char buf[64];
    pair(SOCK_STREAM, sv);
    EXPECT_OK(set(sv[1], SO_RCVLOWAT, 4));
    pid_t child = FORK({
        EXPECT_EQ(write(sv[0], "ab", 2), 2);
        usleep(30000);
        EXPECT_EQ(write(sv[0], "cde", 3), 3);
    });
    EXPECT_EQ(recv(sv[1], buf, sizeof buf, 0), 5);
    EXPECT_EXITED(child, 0);
    EXPECT_EQ(write(sv[0], "xy", 2), 2);
    EXPECT_EQ(recv(sv[1], buf, sizeof buf, MSG_DONTWAIT), 2);
    EXPECT_EQ(write(sv[0], "xy", 2), 2);
    EXPECT_EQ(recv(sv[1], buf, 2, 0), 2); /* no more than was asked for */
}

static ssize_t receive_stamp(int fd, int *type, struct timespec *ts)
{
    char c, control[128];
    struct iovec iov = {&c, 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    m.msg_control = control;
    m.msg_controllen = sizeof control;
    ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT);
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    *type = 0;
    if (!h)
        return n;
    EXPECT_EQ(h->cmsg_level, SOL_SOCKET);
    EXPECT_EQ(h->cmsg_len, CMSG_LEN(sizeof *ts));
    *type = h->cmsg_type;
    memcpy(ts, CMSG_DATA(h), sizeof *ts);
    return n;
}

CASE(timestamps)
{
    for
        EACH_TYPE(type)
        {
            int sv[2], kind;
            struct timespec ts, before, after;
            pair(type, sv);
            EXPECT_OK(set(sv[1], SO_TIMESTAMPNS, 1));
            EXPECT_OK(clock_gettime(CLOCK_REALTIME, &before));
            EXPECT_EQ(write(sv[0], "x", 1), 1);
            EXPECT_OK(clock_gettime(CLOCK_REALTIME, &after));
            EXPECT_EQ(receive_stamp(sv[1], &kind, &ts), 1);
            if (type == SOCK_STREAM) {
                EXPECT_EQ(kind, 0);
                continue;
            }
            EXPECT_EQ(kind, SO_TIMESTAMPNS);
            int64_t at = ts.tv_sec * 1000000000 + ts.tv_nsec;
            EXPECT_GE(at, before.tv_sec * 1000000000 + before.tv_nsec);
            EXPECT_LE(at, after.tv_sec * 1000000000 + after.tv_nsec);
            EXPECT_OK(set(sv[1], SO_TIMESTAMP, 1));
            EXPECT_EQ(get(sv[1], SO_TIMESTAMPNS), 0);
            EXPECT_EQ(write(sv[0], "x", 1), 1);
            EXPECT_EQ(receive_stamp(sv[1], &kind, &ts), 1);
            EXPECT_EQ(kind, SO_TIMESTAMP);
            EXPECT_LT(ts.tv_nsec, 1000000);
            EXPECT_OK(set(sv[1], SO_TIMESTAMP, 0));
            EXPECT_EQ(write(sv[0], "x", 1), 1);
            EXPECT_EQ(receive_stamp(sv[1], &kind, &ts), 1);
            EXPECT_EQ(kind, 0);
        }
}

CASE(owner_by_ioctl)
{
    int sv[2], pid = getpid(), out = -1;
    pair(SOCK_STREAM, sv);
    EXPECT_OK(ioctl(sv[0], FIOSETOWN, &pid));
    EXPECT_OK(ioctl(sv[0], FIOGETOWN, &out));
    EXPECT_EQ(out, pid);
    EXPECT_EQ(fcntl(sv[0], F_GETOWN), pid);
    pid = -getpgrp();
    EXPECT_OK(ioctl(sv[0], SIOCSPGRP, &pid));
    EXPECT_OK(ioctl(sv[0], SIOCGPGRP, &out));
    EXPECT_EQ(out, pid);
    pid = INT32_MAX;
    EXPECT_ERRNO(ESRCH, ioctl(sv[0], SIOCSPGRP, &pid));
    pid = INT32_MIN;
    EXPECT_ERRNO(EINVAL, ioctl(sv[0], SIOCSPGRP, &pid));
    EXPECT_ERRNO(EFAULT, ioctl(sv[0], SIOCSPGRP, (void *)1));
    EXPECT_ERRNO(EFAULT, ioctl(sv[0], SIOCGPGRP, (void *)1));
}

/* Nothing to read is EAGAIN also for no bytes; read(2) of none says nothing. */
CASE(empty_receive)
{
    for
        EACH_TYPE(type)
        {
            int sv[2];
            char c;
            pair(type, sv);
            EXPECT_ERRNO(EAGAIN, recv(sv[1], &c, 0, MSG_DONTWAIT));
            EXPECT_EQ(read(sv[1], &c, 0), 0);
            EXPECT_EQ(write(sv[0], "x", 1), 1);
            EXPECT_EQ(recv(sv[1], &c, 0, MSG_DONTWAIT), 0);
            ssize_t n = recv(sv[1], &c, 1, MSG_DONTWAIT);
            EXPECT_EQ(n, type == SOCK_STREAM ? 1 : -1);
        }
}

CASE(shut_reading)
{
    for
        EACH_TYPE(type)
        {
            int sv[2];
            char c;
            pair(type, sv);
            EXPECT_OK(shutdown(sv[1], SHUT_RD));
            if (type == SOCK_DGRAM)
                EXPECT_ERRNO(EAGAIN, recv(sv[1], &c, 1, MSG_DONTWAIT));
            else
                EXPECT_EQ(recv(sv[1], &c, 1, MSG_DONTWAIT), 0);
            EXPECT_EQ(recv(sv[1], &c, 1, 0), 0);
        }
}

/* A datagram socket that gets another peer forgets what the old one sent. */
CASE(new_peer)
{
    int sv[2];
    char c;
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    pair(SOCK_DGRAM, sv);
    EXPECT_EQ(write(sv[0], "x", 1), 1);
    EXPECT_OK(connect(sv[1], &none, sizeof none));
    EXPECT_ERRNO(EAGAIN, recv(sv[1], &c, 1, MSG_DONTWAIT));
    EXPECT_EQ(get(sv[0], SO_ERROR), ECONNRESET);
    pair(SOCK_DGRAM, sv);
    EXPECT_EQ(write(sv[0], "x", 1), 1);
    close(sv[0]);
    EXPECT_ERRNO(ECONNREFUSED, write(sv[1], "x", 1));
    EXPECT_ERRNO(EAGAIN, recv(sv[1], &c, 1, MSG_DONTWAIT));
    EXPECT_ERRNO(ENOTCONN, write(sv[1], "x", 1));
}

CASE(seqpacket_tells_the_reset_first)
{
    int sv[2];
    pair(SOCK_SEQPACKET, sv);
    EXPECT_EQ(write(sv[0], "x", 1), 1);
    close(sv[1]);
    EXPECT_ERRNO(ECONNRESET, send(sv[0], "x", 1, MSG_NOSIGNAL));
    EXPECT_ERRNO(EPIPE, send(sv[0], "x", 1, MSG_NOSIGNAL));
}

CASE(which_error_first)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", test_path("s"));
    int s = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0)), sv[2];
    EXPECT_OK(bind(s, (void *)&a, sizeof a));
    EXPECT_ERRNO(EADDRINUSE, bind(s, (void *)&a, sizeof a));
    EXPECT_ERRNO(EBADF, accept4(-1, NULL, NULL, 1));
    EXPECT_ERRNO(EINVAL, accept4(s, NULL, NULL, 1));
    EXPECT_OK(listen(s, 1));
    EXPECT_OK(fcntl(s, F_SETFL, O_NONBLOCK));
    EXPECT_OK(shutdown(s, SHUT_RD));
    EXPECT_ERRNO(EAGAIN, accept(s, NULL, NULL));
    EXPECT_OK(fcntl(s, F_SETFL, 0));
    EXPECT_ERRNO(EINVAL, accept(s, NULL, NULL));
    snprintf(a.sun_path, sizeof a.sun_path, "%s", test_path("other"));
    EXPECT_ERRNO(EINVAL, bind(s, (void *)&a, sizeof a));
    pair(SOCK_STREAM, sv);
    EXPECT_ERRNO(ENOENT, connect(sv[0], (void *)&a, sizeof a));
    /* The type is part of an abstract name. */
    memset(a.sun_path, 0, sizeof a.sun_path);
    snprintf(a.sun_path + 1, 30, "picket-%d", getpid());
    s = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_OK(bind(s, (void *)&a, 40));
    int d = EXPECT_OK(socket(AF_UNIX, SOCK_DGRAM, 0));
    EXPECT_ERRNO(ECONNREFUSED, connect(d, (void *)&a, 40));
    EXPECT_OK(bind(d, (void *)&a, 40));
}

CASE(many_messages_and_their_time)
{
    int sv[2];
    char c;
    struct iovec iov = {&c, 1};
    struct mmsghdr m[2];
    struct timespec ts = {5, 0};
    pair(SOCK_DGRAM, sv);
    memset(m, 0, sizeof m);
    for (int i = 0; i < 2; i++)
        m[i].msg_hdr = (struct msghdr){.msg_iov = &iov, .msg_iovlen = 1};
    EXPECT_ERRNO(EINVAL, sendmmsg(sv[0], m, 2, (int)0x80000000));
    EXPECT_EQ(sendmmsg(sv[0], m, 2, 0), 2);
    EXPECT_EQ(recvmmsg(sv[1], m, 2, 0, &ts), 2);
    EXPECT_EQ(ts.tv_sec, 4);
    EXPECT_GT(ts.tv_nsec, 0);
}

/* Data arrives though control messages cannot be written. */
CASE(bad_control_buffer)
{
    int sv[2], on = 1;
    char c;
    struct iovec iov = {&c, 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = (void *)16};
    m.msg_controllen = 64;
    pair(SOCK_STREAM, sv);
    EXPECT_OK(set(sv[1], SO_PASSCRED, on));
    EXPECT_EQ(write(sv[0], "x", 1), 1);
    EXPECT_EQ(recvmsg(sv[1], &m, 0), 1);
    EXPECT_EQ(m.msg_controllen, 0);
}
/* SCM_CREDENTIALS tells the real ids, SO_PEERCRED the effective ones. */
CASE(ids_of_a_sender)
{
    int sv[2], on = 1;
    char c, control[CMSG_SPACE(sizeof(struct ucred))];
    struct iovec iov = {&c, 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control};
    struct ucred u;
    socklen_t len = sizeof u;
    if (geteuid() != 0)
        SKIP("needs root, to become somebody else");
    EXPECT_OK(setresgid(0, 2000, 0));
    EXPECT_OK(setresuid(0, 1000, 0));
    pair(SOCK_STREAM, sv);
    EXPECT_OK(set(sv[1], SO_PASSCRED, on));
    EXPECT_EQ(write(sv[0], "x", 1), 1);
    m.msg_controllen = sizeof control;
    EXPECT_EQ(recvmsg(sv[1], &m, 0), 1);
    memcpy(&u, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof u);
    EXPECT_EQ(u.pid, getpid());
    EXPECT_EQ(u.uid, 0);
    EXPECT_EQ(u.gid, 0);
    EXPECT_OK(getsockopt(sv[1], SOL_SOCKET, SO_PEERCRED, &u, &len));
    EXPECT_EQ(u.uid, 1000);
    EXPECT_EQ(u.gid, 2000);
}

static void *close_soon(void *fd)
{
    usleep(50000);
    close((int)(long)fd);
    return NULL;
}

CASE(reset_wakes_the_sender)
{
    int sv[2];
    static char data[4096];
    pthread_t t;
    pair(SOCK_STREAM, sv);
    while (send(sv[0], data, sizeof data, MSG_DONTWAIT) > 0)
        ;
    EXPECT_EQ(errno, EAGAIN);
    EXPECT_EQ(pthread_create(&t, NULL, close_soon, (void *)(long)sv[1]), 0);
    EXPECT_ERRNO(ECONNRESET, send(sv[0], data, sizeof data, MSG_NOSIGNAL));
    EXPECT_ERRNO(EPIPE, send(sv[0], data, sizeof data, MSG_NOSIGNAL));
    EXPECT_EQ(pthread_join(t, NULL), 0);
}
TEST_MAIN
