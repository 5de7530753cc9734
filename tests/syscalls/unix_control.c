/* unix(7): what goes beside the data: descriptors and credentials. */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/uio.h>

static int sv[2];
static char buf[1024];
static void *volatile bad_address = (void *)8;

static void pair(int type)
{
    EXPECT_OK(socketpair(AF_UNIX, type, 0, sv));
}

static int option(int fd, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);
    EXPECT_OK(getsockopt(fd, SOL_SOCKET, name, &value, &len));
    EXPECT_EQ(len, sizeof(value));
    return value;
}

static void set_option(int fd, int name, int value)
{
    EXPECT_OK(setsockopt(fd, SOL_SOCKET, name, &value, sizeof(value)));
}

union control {
    char space[2048];
    struct cmsghdr align;
};

static ssize_t send_fds(int sock, const char *text, const int *fds, size_t n)
{
    union control c = {{0}};
    struct iovec iov = {(char *)text, strlen(text)};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c};
    m.msg_controllen = CMSG_SPACE(n * sizeof(int));
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(h), fds, n * sizeof(int));
    return sendmsg(sock, &m, 0);
}

/* Receives up to `room` descriptors; how many came. */
static size_t recv_fds(int sock, int *fds, size_t room, int flags, int *out_flags)
{
    union control c;
    struct iovec iov = {buf, 100};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c};
    m.msg_controllen = room ? CMSG_SPACE(room * sizeof(int)) : 0;
    if (room % 2)
        m.msg_controllen = CMSG_LEN(room * sizeof(int));
    EXPECT_GT(recvmsg(sock, &m, flags), 0);
    *out_flags = m.msg_flags;
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    if (!h)
        return 0;
    EXPECT_EQ(h->cmsg_level, SOL_SOCKET);
    EXPECT_EQ(h->cmsg_type, SCM_RIGHTS);
    size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(fds, CMSG_DATA(h), n * sizeof(int));
    return n;
}

CASE(passing_descriptors)
{
    int p[2], got[4], flags;
    pair(SOCK_STREAM);
    EXPECT_OK(pipe(p));
    EXPECT_EQ(send_fds(sv[0], "take", p, 2), 4);
    close(p[0]);
    EXPECT_EQ(recv_fds(sv[1], got, 2, 0, &flags), 2);
    EXPECT_EQ(flags, 0);
    EXPECT_MEMEQ(buf, "take", 4);
    EXPECT_EQ(write(got[1], "through", 7), 7);
    EXPECT_EQ(read(got[0], buf, 10), 7);
    EXPECT_EQ(fcntl(got[0], F_GETFD), 0);
    EXPECT_EQ(send_fds(sv[0], "x", p + 1, 1), 1);
    EXPECT_EQ(recv_fds(sv[1], got, 1, MSG_CMSG_CLOEXEC, &flags), 1);
    EXPECT_EQ(fcntl(got[0], F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(flags & MSG_CMSG_CLOEXEC, MSG_CMSG_CLOEXEC);
    int bad[1] = {999};
    EXPECT_ERRNO(EBADF, send_fds(sv[0], "x", bad, 1));
    EXPECT_ERRNO(EAGAIN, recv(sv[1], buf, 1, MSG_DONTWAIT));
}

CASE(descriptors_truncated)
{
    int p[2], got[4], flags, next;
    pair(SOCK_DGRAM);
    EXPECT_OK(pipe(p));
    int three[3] = {p[0], p[1], p[0]};
    EXPECT_EQ(send_fds(sv[0], "x", three, 3), 1);
    EXPECT_EQ(recv_fds(sv[1], got, 1, 0, &flags), 1);
    EXPECT_EQ(flags, MSG_CTRUNC);
    EXPECT_EQ(send_fds(sv[0], "x", three, 3), 1);
    EXPECT_EQ(recv_fds(sv[1], got, 0, 0, &flags), 0);
    EXPECT_EQ(flags, MSG_CTRUNC);
    /* What did not fit is closed, not leaked. */
    close(p[0]);
    close(got[0]);
    signal(SIGPIPE, SIG_IGN);
    EXPECT_ERRNO(EPIPE, write(p[1], "x", 1));
    next = EXPECT_OK(dup(0));
    EXPECT_LE(next, p[1] + 1);
}

/* Descriptors are a barrier in a stream: a read does not go past them. */
CASE(descriptors_in_a_stream)
{
    int p[2], got[4], flags;
    pair(SOCK_STREAM);
    EXPECT_OK(pipe(p));
    EXPECT_EQ(write(sv[0], "aa", 2), 2);
    EXPECT_EQ(send_fds(sv[0], "bb", p, 1), 2);
    EXPECT_EQ(write(sv[0], "cc", 2), 2);
    union control c;
    struct iovec iov = {buf, 100};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = 100};
    EXPECT_EQ(recvmsg(sv[1], &m, 0), 4);
    EXPECT_NE(m.msg_controllen, 0);
    EXPECT_EQ(read(sv[1], buf, 100), 2);
    /* A plain read drops them. */
    EXPECT_EQ(send_fds(sv[0], "dd", p, 2), 2);
    EXPECT_EQ(read(sv[1], buf, 100), 2);
    (void)got, (void)flags;
}

CASE(descriptors_peeked)
{
    int p[2], got[4], flags;
    pair(SOCK_STREAM);
    EXPECT_OK(pipe(p));
    EXPECT_EQ(send_fds(sv[0], "x", p, 2), 1);
    EXPECT_EQ(recv_fds(sv[1], got, 2, MSG_PEEK, &flags), 2);
    EXPECT_EQ(recv_fds(sv[1], got + 2, 2, 0, &flags), 2);
    EXPECT_EQ(write(got[1], "y", 1), 1);
    EXPECT_EQ(read(got[2], buf, 1), 1);
}

/* Closing a socket closes what is in its queue, however deep it is nested. */
CASE(descriptors_nested)
{
    int p[2], keep[2];
    EXPECT_OK(pipe(p));
    pair(SOCK_STREAM);
    EXPECT_EQ(send_fds(sv[0], "x", &p[1], 1), 1);
    close(p[1]);
    for (int i = 0; i < 200; i++) {
        keep[0] = sv[0];
        keep[1] = sv[1];
        pair(SOCK_STREAM);
        if (send_fds(sv[0], "x", keep, 2) < 0) {
            EXPECT_EQ(errno, ETOOMANYREFS);
            break;
        }
        close(keep[0]);
        close(keep[1]);
    }
    close(sv[0]);
    close(sv[1]);
    close(keep[0]);
    close(keep[1]);
    struct pollfd end = {.fd = p[0], .events = POLLIN};
    EXPECT_EQ(poll(&end, 1, 5000), 1);
    EXPECT_EQ(read(p[0], buf, 1), 0);
}

static ssize_t send_cred(int sock, struct ucred cred)
{
    union control c = {{0}};
    struct iovec iov = {"x", 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c};
    m.msg_controllen = CMSG_SPACE(sizeof(cred));
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_CREDENTIALS;
    h->cmsg_len = CMSG_LEN(sizeof(cred));
    memcpy(CMSG_DATA(h), &cred, sizeof(cred));
    return sendmsg(sock, &m, 0);
}

static struct ucred recv_cred(int sock)
{
    union control c;
    struct ucred cred;
    struct iovec iov = {buf, 100};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c};
    m.msg_controllen = sizeof(c);
    EXPECT_GT(recvmsg(sock, &m, 0), 0);
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    EXPECT(h != NULL);
    EXPECT_EQ(h->cmsg_type, SCM_CREDENTIALS);
    EXPECT_EQ(h->cmsg_len, CMSG_LEN(sizeof(cred)));
    memcpy(&cred, CMSG_DATA(h), sizeof(cred));
    return cred;
}

CASE(passing_credentials)
{
    pair(SOCK_STREAM);
    EXPECT_EQ(option(sv[1], SO_PASSCRED), 0);
    set_option(sv[1], SO_PASSCRED, 1);
    EXPECT_EQ(option(sv[1], SO_PASSCRED), 1);
    struct ucred me = {getpid(), getuid(), getgid()};
    EXPECT_EQ(write(sv[0], "x", 1), 1); /* attached unasked */
    struct ucred got = recv_cred(sv[1]);
    EXPECT_MEMEQ(&got, &me, sizeof(me));
    EXPECT_EQ(send_cred(sv[0], me), 1);
    got = recv_cred(sv[1]);
    EXPECT_MEMEQ(&got, &me, sizeof(me));
    pid_t child = FORK({ EXPECT_EQ(write(sv[0], "x", 1), 1); });
    EXPECT_EQ(recv_cred(sv[1]).pid, child);
    EXPECT_EXITED(child, 0);
    if (geteuid() != 0)
        return;
    EXPECT_EXITED(FORK({
                      EXPECT_OK(setresuid(1234, 1234, 1234));
                      struct ucred other = {getpid(), 1235, getgid()};
                      EXPECT_ERRNO(EPERM, send_cred(sv[0], other));
                      other.uid = 1234;
                      other.pid = 1;
                      EXPECT_ERRNO(EPERM, send_cred(sv[0], other));
                  }),
                  0);
}

CASE(bad_control)
{
    union control c = {{0}};
    struct iovec iov = {"x", 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c};
    struct cmsghdr *h = &c.align;
    pair(SOCK_STREAM);
    m.msg_controllen = CMSG_SPACE(4);
    *h = (struct cmsghdr){.cmsg_len = 3, .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    EXPECT_ERRNO(EINVAL, sendmsg(sv[0], &m, 0));
    h->cmsg_len = 4000;
    EXPECT_ERRNO(EINVAL, sendmsg(sv[0], &m, 0));
    h->cmsg_len = CMSG_LEN(4);
    h->cmsg_type = 99;
    EXPECT_ERRNO(EINVAL, sendmsg(sv[0], &m, 0));
    m.msg_control = bad_address;
    EXPECT_ERRNO(EFAULT, sendmsg(sv[0], &m, 0));
    int many[254];
    for (int i = 0; i < 254; i++)
        many[i] = sv[0];
    EXPECT_ERRNO(EINVAL, send_fds(sv[0], "x", many, 254));
    EXPECT_EQ(send_fds(sv[0], "x", many, 253), 1);
}

TEST_MAIN
