/* unix(7): socketpair, stream, datagram and seqpacket sockets, and their names. */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>

static int sv[2];
static char buf[512 * 1024];
static void *volatile bad_address = (void *)8;

static void pair(int type)
{
    EXPECT_OK(socketpair(AF_UNIX, type, 0, sv));
}

static short ready(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};
    EXPECT_OK(poll(&p, 1, 0));
    return p.revents;
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

/* name: a file in test_dir(), or an abstract name if it begins with "@". */
static struct sockaddr_un address(const char *name, socklen_t *len)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    if (name[0] == '@') {
        int n =
            snprintf(un.sun_path + 1, sizeof(un.sun_path) - 1, "%s.%d", name + 1, test_case_pid);
        *len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    } else {
        snprintf(un.sun_path, sizeof(un.sun_path), "%s", test_path(name));
        *len = sizeof(un);
    }
    return un;
}

static int bound(int type, const char *name)
{
    socklen_t len;
    struct sockaddr_un un = address(name, &len);
    int fd = EXPECT_OK(socket(AF_UNIX, type, 0));
    EXPECT_OK(bind(fd, (struct sockaddr *)&un, len));
    return fd;
}

static int listener(int type, const char *name, int backlog)
{
    int fd = bound(type, name);
    EXPECT_OK(listen(fd, backlog));
    return fd;
}

static int try_connect(int fd, const char *name)
{
    socklen_t len;
    struct sockaddr_un un = address(name, &len);
    return connect(fd, (struct sockaddr *)&un, len);
}

static int connected(int type, const char *name)
{
    int fd = EXPECT_OK(socket(AF_UNIX, type, 0));
    EXPECT_OK(try_connect(fd, name));
    return fd;
}

/* ---- making ---- */

CASE(families_and_types)
{
    EXPECT_ERRNO(EAFNOSUPPORT, socket(-1, SOCK_STREAM, 0));
    EXPECT_ERRNO(EAFNOSUPPORT, socket(AF_MAX + 1, SOCK_STREAM, 0));
    EXPECT_ERRNO(EINVAL, socket(AF_UNIX, 11, 0));
    EXPECT_ERRNO(EINVAL, socket(AF_UNIX, SOCK_STREAM | 0x10000, 0));
    EXPECT_ERRNO(ESOCKTNOSUPPORT, socket(AF_UNIX, SOCK_RDM, 0));
    EXPECT_ERRNO(EPROTONOSUPPORT, socket(AF_UNIX, SOCK_STREAM, 77));
    int fd = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, PF_UNIX));
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(fd, F_GETFL), O_RDWR | O_NONBLOCK);
    struct stat st;
    EXPECT_OK(fstat(fd, &st));
    EXPECT(S_ISSOCK(st.st_mode));
    EXPECT_EQ(option(fd, SO_TYPE), SOCK_STREAM);
    EXPECT_EQ(option(fd, SO_DOMAIN), AF_UNIX);
    EXPECT_EQ(option(fd, SO_PROTOCOL), 0);
    EXPECT_EQ(option(fd, SO_ERROR), 0);
    EXPECT_EQ(option(fd, SO_ACCEPTCONN), 0);
    EXPECT_ERRNO(ESPIPE, lseek(fd, 0, SEEK_CUR));
    EXPECT_ERRNO(EFAULT, syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, bad_address));
    EXPECT_EQ(dup(0), fd + 1); /* the failure left nothing open */
}

CASE(not_sockets)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int null = EXPECT_OK(open("/dev/null", O_RDWR));
    EXPECT_ERRNO(ENOTSOCK, send(null, "x", 1, 0));
    EXPECT_ERRNO(ENOTSOCK, recv(null, buf, 1, 0));
    EXPECT_ERRNO(ENOTSOCK, listen(null, 1));
    EXPECT_ERRNO(ENOTSOCK, shutdown(null, SHUT_RD));
    EXPECT_ERRNO(ENOTSOCK, bind(null, (struct sockaddr *)&un, sizeof(un)));
    EXPECT_ERRNO(EBADF, send(999, "x", 1, 0));
    EXPECT_ERRNO(EBADF, accept(999, NULL, NULL));
}

/* ---- streams ---- */

CASE(stream_pair)
{
    pair(SOCK_STREAM);
    EXPECT_EQ(ready(sv[0]), POLLOUT);
    EXPECT_EQ(write(sv[0], "hello ", 6), 6);
    EXPECT_EQ(send(sv[0], "world", 5, 0), 5);
    EXPECT_EQ(ready(sv[1]), POLLIN | POLLOUT);
    int n;
    EXPECT_OK(ioctl(sv[1], FIONREAD, &n));
    EXPECT_EQ(n, 11);
    EXPECT_EQ(recv(sv[1], buf, 3, MSG_PEEK), 3);
    EXPECT_MEMEQ(buf, "hel", 3);
    EXPECT_EQ(read(sv[1], buf, 100), 11); /* no boundaries */
    EXPECT_MEMEQ(buf, "hello world", 11);
    EXPECT_ERRNO(EAGAIN, recv(sv[1], buf, 1, MSG_DONTWAIT));
    EXPECT_EQ(write(sv[1], "back", 4), 4);
    EXPECT_EQ(recv(sv[0], buf, 2, 0), 2);
    EXPECT_EQ(recv(sv[0], buf, 2, 0), 2);
    EXPECT_MEMEQ(buf, "ck", 2);
    EXPECT_ERRNO(EISCONN, sendto(sv[0], "x", 1, 0,
                                 (struct sockaddr *)&(struct sockaddr_un){AF_UNIX, "x"}, 4));
}

CASE(stream_vectors)
{
    struct iovec out[3] = {{"ab", 2}, {"cde", 3}, {"", 0}};
    char x[4], y[10];
    struct iovec in[2] = {{x, 4}, {y, 10}};
    pair(SOCK_STREAM);
    EXPECT_EQ(writev(sv[0], out, 3), 5);
    EXPECT_EQ(readv(sv[1], in, 2), 5);
    EXPECT_MEMEQ(x, "abcd", 4);
    EXPECT_EQ(y[0], 'e');
}

CASE(stream_end)
{
    pair(SOCK_STREAM);
    EXPECT_EQ(write(sv[1], "last", 4), 4);
    close(sv[1]);
    EXPECT_EQ(ready(sv[0]), POLLIN | POLLOUT | POLLHUP | POLLRDHUP);
    EXPECT_EQ(read(sv[0], buf, 100), 4);
    EXPECT_EQ(read(sv[0], buf, 100), 0);
    EXPECT_EQ(read(sv[0], buf, 100), 0);
    EXPECT_ERRNO(EPIPE, send(sv[0], "x", 1, MSG_NOSIGNAL));
    EXPECT_KILLED(FORK({
                      signal(SIGPIPE, SIG_DFL);
                      write(sv[0], "x", 1);
                  }),
                  SIGPIPE);
}

/* Unread data at the time of closing is an error for the other side. */
CASE(stream_reset)
{
    pair(SOCK_STREAM);
    EXPECT_EQ(write(sv[0], "x", 1), 1);
    close(sv[1]);
    EXPECT(ready(sv[0]) & POLLERR);
    EXPECT_ERRNO(ECONNRESET, read(sv[0], buf, 1));
    EXPECT_EQ(read(sv[0], buf, 1), 0);
    pair(SOCK_STREAM);
    EXPECT_EQ(write(sv[0], "x", 1), 1);
    close(sv[1]);
    EXPECT_EQ(option(sv[0], SO_ERROR), ECONNRESET);
    EXPECT_EQ(option(sv[0], SO_ERROR), 0);
}

CASE(stream_full)
{
    pair(SOCK_STREAM | SOCK_NONBLOCK);
    size_t total = 0;
    ssize_t n;
    while ((n = write(sv[0], buf, 4096)) > 0)
        total += (size_t)n;
    EXPECT_EQ(errno, EAGAIN);
    EXPECT_GT(total, 64 * 1024);
    EXPECT_EQ(ready(sv[0]), 0);
    EXPECT_EQ(ready(sv[1]), POLLIN | POLLOUT); /* the other way is free */
    int queued;
    EXPECT_OK(ioctl(sv[1], FIONREAD, &queued));
    EXPECT_EQ(queued, total);
    size_t got = 0;
    while ((n = read(sv[1], buf, sizeof(buf))) > 0)
        got += (size_t)n;
    EXPECT_EQ(got, total);
    EXPECT_EQ(ready(sv[0]), POLLOUT);
    EXPECT_OK(ioctl(sv[0], SIOCOUTQ, &queued));
    EXPECT_EQ(queued, 0);
}

CASE(stream_blocking)
{
    pair(SOCK_STREAM);
    pid_t child = FORK({
        close(sv[0]);
        size_t got = 0;
        ssize_t n;
        usleep(30000);
        while ((n = read(sv[1], buf, 10000)) > 0)
            for (ssize_t i = 0; i < n; i++, got++)
                EXPECT_EQ((unsigned char)buf[i], (unsigned char)(got % 251));
        EXPECT_EQ(got, sizeof(buf));
    });
    close(sv[1]);
    for (size_t i = 0; i < sizeof(buf); i++)
        buf[i] = (char)(i % 251);
    EXPECT_EQ(write(sv[0], buf, sizeof(buf)), sizeof(buf));
    close(sv[0]);
    EXPECT_EXITED(child, 0);
}

CASE(stream_waitall)
{
    pair(SOCK_STREAM);
    pid_t child = FORK({
        write(sv[0], "abc", 3);
        usleep(50000);
        write(sv[0], "def", 3);
    });
    EXPECT_EQ(recv(sv[1], buf, 6, MSG_WAITALL), 6);
    EXPECT_MEMEQ(buf, "abcdef", 6);
    EXPECT_EXITED(child, 0);
}

CASE(shutdowns)
{
    pair(SOCK_STREAM);
    EXPECT_ERRNO(EINVAL, shutdown(sv[0], 3));
    EXPECT_EQ(write(sv[0], "x", 1), 1);
    EXPECT_OK(shutdown(sv[0], SHUT_WR));
    EXPECT_ERRNO(EPIPE, send(sv[0], "x", 1, MSG_NOSIGNAL));
    EXPECT_EQ(ready(sv[1]), POLLIN | POLLOUT | POLLRDHUP);
    EXPECT_EQ(read(sv[1], buf, 10), 1);
    EXPECT_EQ(read(sv[1], buf, 10), 0);
    EXPECT_EQ(write(sv[1], "y", 1), 1); /* the other direction lives */
    EXPECT_EQ(read(sv[0], buf, 10), 1);
    EXPECT_OK(shutdown(sv[0], SHUT_RD));
    EXPECT_ERRNO(EPIPE, send(sv[1], "x", 1, MSG_NOSIGNAL));
    EXPECT(ready(sv[0]) & POLLHUP);
    int fd = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_ERRNO(ENOTCONN, send(fd, "x", 1, MSG_NOSIGNAL));
    EXPECT_ERRNO(EINVAL, recv(fd, buf, 1, 0));
    EXPECT_EQ(ready(fd), POLLOUT | POLLHUP);
}

static void on_signal(int sig)
{
    (void)sig;
}

CASE(interrupted_and_timed_out)
{
    struct sigaction sa = {.sa_handler = on_signal};
    struct itimerval it = {.it_value = {0, 50000}};
    pair(SOCK_STREAM);
    EXPECT_OK(sigaction(SIGALRM, &sa, NULL));
    EXPECT_OK(setitimer(ITIMER_REAL, &it, NULL));
    EXPECT_ERRNO(EINTR, recv(sv[0], buf, 1, 0));
    struct timeval tv = {0, 30000}, got;
    socklen_t len = sizeof(got);
    EXPECT_OK(setsockopt(sv[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
    EXPECT_OK(getsockopt(sv[0], SOL_SOCKET, SO_RCVTIMEO, &got, &len));
    EXPECT_EQ(len, sizeof(got));
    EXPECT_EQ(got.tv_sec, 0);
    EXPECT_GE(got.tv_usec, 30000);
    EXPECT_ERRNO(EAGAIN, recv(sv[0], buf, 1, 0));
    EXPECT_OK(setsockopt(sv[0], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)));
    ssize_t n = send(sv[0], buf, sizeof(buf), 0);
    EXPECT(n > 0 && n < (ssize_t)sizeof(buf));
    EXPECT_ERRNO(EAGAIN, send(sv[0], buf, sizeof(buf), 0));
}

/* ---- connections ---- */

CASE(path_names)
{
    struct sockaddr_un un;
    socklen_t len = sizeof(un);
    struct stat st;
    int l = bound(SOCK_STREAM, "sock");
    EXPECT_OK(stat(test_path("sock"), &st));
    EXPECT(S_ISSOCK(st.st_mode));
    EXPECT_ERRNO(ENXIO, open(test_path("sock"), O_RDWR));
    EXPECT_OK(getsockname(l, (struct sockaddr *)&un, &len));
    EXPECT_EQ(un.sun_family, AF_UNIX);
    EXPECT_STREQ(un.sun_path, test_path("sock"));
    EXPECT_EQ(len, offsetof(struct sockaddr_un, sun_path) + strlen(un.sun_path) + 1);
    int c = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_ERRNO(ECONNREFUSED, try_connect(c, "sock")); /* nobody listens */
    EXPECT_ERRNO(ENOENT, try_connect(c, "other"));
    close(EXPECT_OK(open(test_path("file"), O_CREAT | O_RDWR, 0600)));
    EXPECT_ERRNO(ECONNREFUSED, try_connect(c, "file"));
    struct sockaddr_un in_use = address("sock", &len);
    EXPECT_ERRNO(EADDRINUSE, bind(c, (struct sockaddr *)&in_use, len));
    struct sockaddr_un nowhere = address("no/where", &len);
    EXPECT_ERRNO(ENOENT, bind(c, (struct sockaddr *)&nowhere, len));
    struct sockaddr_un again = address("again", &len);
    EXPECT_ERRNO(EINVAL, bind(l, (struct sockaddr *)&again, len));
    EXPECT_OK(listen(l, 5));
    EXPECT_EQ(option(l, SO_ACCEPTCONN), 1);
    EXPECT_OK(try_connect(c, "sock"));
    close(l);
    int d = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_ERRNO(ECONNREFUSED, try_connect(d, "sock")); /* the file stays, the socket is gone */
    EXPECT_OK(unlink(test_path("sock")));
    EXPECT_ERRNO(ENOENT, try_connect(d, "sock"));
}

CASE(renamed_socket)
{
    int l = listener(SOCK_STREAM, "a", 5);
    EXPECT_OK(rename(test_path("a"), test_path("b")));
    connected(SOCK_STREAM, "b");
    EXPECT_OK(link(test_path("b"), test_path("c")));
    connected(SOCK_STREAM, "c");
    EXPECT_OK(symlink("c", test_path("d")));
    connected(SOCK_STREAM, "d");
    for (int i = 0; i < 3; i++)
        EXPECT_OK(accept(l, NULL, NULL));
}

CASE(permissions)
{
    if (geteuid() != 0)
        SKIP("needs root");
    listener(SOCK_STREAM, "sock", 5);
    EXPECT_OK(chmod(test_path("sock"), 0600));
    EXPECT_OK(chmod(test_dir(), 0755));
    EXPECT_EXITED(FORK({
                      EXPECT_OK(setuid(1234));
                      int c = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
                      EXPECT_ERRNO(EACCES, try_connect(c, "sock"));
                  }),
                  0);
}

CASE(abstract_names)
{
    struct sockaddr_un un, want;
    socklen_t len = sizeof(un), want_len;
    int l = listener(SOCK_STREAM, "@name", 5);
    want = address("@name", &want_len);
    EXPECT_OK(getsockname(l, (struct sockaddr *)&un, &len));
    EXPECT_EQ(len, want_len);
    EXPECT_MEMEQ(&un, &want, len);
    int c = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_ERRNO(EADDRINUSE, bind(c, (struct sockaddr *)&want, want_len));
    EXPECT_ERRNO(ECONNREFUSED, connect(c, (struct sockaddr *)&want, want_len - 1));
    EXPECT_OK(connect(c, (struct sockaddr *)&want, want_len));
    close(l);
    int d = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_ERRNO(ECONNREFUSED, try_connect(d, "@name"));
    EXPECT_OK(bind(d, (struct sockaddr *)&want, want_len)); /* the name is free again */
    /* A name of the kernel's choice. */
    int e = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_OK(bind(e, (struct sockaddr *)&(struct sockaddr_un){AF_UNIX, ""}, 2));
    len = sizeof(un);
    EXPECT_OK(getsockname(e, (struct sockaddr *)&un, &len));
    EXPECT_EQ(len, 8);
    EXPECT_EQ(un.sun_path[0], 0);
}

CASE(bad_addresses)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "x"};
    int fd = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_ERRNO(EINVAL, bind(fd, (struct sockaddr *)&un, 1));
    EXPECT_ERRNO(EINVAL, bind(fd, (struct sockaddr *)&un, 111));
    EXPECT_ERRNO(EINVAL, bind(fd, (struct sockaddr *)&un, 200));
    EXPECT_ERRNO(EINVAL, connect(fd, (struct sockaddr *)&un, 2));
    EXPECT_ERRNO(EFAULT, bind(fd, bad_address, sizeof(un)));
    un.sun_family = AF_INET;
    EXPECT_ERRNO(EINVAL, bind(fd, (struct sockaddr *)&un, sizeof(un)));
    EXPECT_ERRNO(EINVAL, connect(fd, (struct sockaddr *)&un, sizeof(un)));
    EXPECT_ERRNO(EINVAL, listen(fd, 5)); /* it has no name */
    EXPECT_ERRNO(EINVAL, accept(fd, NULL, NULL));
    socklen_t len = sizeof(un);
    EXPECT_ERRNO(ENOTCONN, getpeername(fd, (struct sockaddr *)&un, &len));
    EXPECT_OK(getsockname(fd, (struct sockaddr *)&un, &len));
    EXPECT_EQ(len, 2);
    len = (socklen_t)-1;
    EXPECT_ERRNO(EINVAL, getsockname(fd, (struct sockaddr *)&un, &len));
}

CASE(accepting)
{
    struct sockaddr_un un;
    socklen_t len = sizeof(un);
    int l = listener(SOCK_STREAM, "sock", 5);
    EXPECT_OK(fcntl(l, F_SETFL, O_NONBLOCK));
    EXPECT_ERRNO(EAGAIN, accept(l, NULL, NULL));
    EXPECT_EQ(ready(l), 0);
    int c = connected(SOCK_STREAM, "sock");
    EXPECT_EQ(write(c, "early", 5), 5); /* before anybody accepts */
    EXPECT_EQ(ready(l), POLLIN);
    int s = EXPECT_OK(accept4(l, (struct sockaddr *)&un, &len, SOCK_CLOEXEC | SOCK_NONBLOCK));
    EXPECT_EQ(len, 2); /* the client has no name */
    EXPECT_EQ(fcntl(s, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(s, F_GETFL), O_RDWR | O_NONBLOCK);
    EXPECT_EQ(read(s, buf, 10), 5);
    EXPECT_EQ(write(s, "reply", 5), 5);
    EXPECT_EQ(read(c, buf, 10), 5);
    len = sizeof(un);
    EXPECT_OK(getsockname(s, (struct sockaddr *)&un, &len));
    EXPECT_STREQ(un.sun_path, test_path("sock"));
    len = sizeof(un);
    EXPECT_OK(getpeername(c, (struct sockaddr *)&un, &len));
    EXPECT_STREQ(un.sun_path, test_path("sock"));
    EXPECT_ERRNO(EISCONN, try_connect(c, "sock"));
    EXPECT_ERRNO(EINVAL, try_connect(l, "sock"));
    EXPECT_ERRNO(EINVAL, accept4(l, NULL, NULL, 1));
    EXPECT_ERRNO(EINVAL, accept(s, NULL, NULL));
    EXPECT_ERRNO(ENOTCONN, send(l, "x", 1, MSG_NOSIGNAL));
}

CASE(backlog)
{
    listener(SOCK_STREAM, "sock", 1);
    connected(SOCK_STREAM, "sock");
    connected(SOCK_STREAM, "sock");
    int c = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
    EXPECT_ERRNO(EAGAIN, try_connect(c, "sock"));
}

CASE(blocking_connect_and_accept)
{
    int l = listener(SOCK_STREAM, "sock", 0);
    connected(SOCK_STREAM, "sock");
    pid_t child = FORK({
        usleep(50000);
        EXPECT_OK(accept(l, NULL, NULL));
    });
    connected(SOCK_STREAM, "sock");
    EXPECT_EXITED(child, 0);
    EXPECT_OK(accept(l, NULL, NULL));
    child = FORK({
        usleep(50000);
        int c = connected(SOCK_STREAM, "sock");
        EXPECT_EQ(write(c, "z", 1), 1);
    });
    int s = EXPECT_OK(accept(l, NULL, NULL));
    EXPECT_EQ(read(s, buf, 1), 1);
    EXPECT_EXITED(child, 0);
}

/* Whoever waits in the queue of a listener that goes away is reset. */
CASE(listener_closes)
{
    int l = listener(SOCK_STREAM, "sock", 5);
    int c = connected(SOCK_STREAM, "sock");
    close(l);
    EXPECT_ERRNO(ECONNRESET, read(c, buf, 1));
    EXPECT_ERRNO(EPIPE, send(c, "x", 1, MSG_NOSIGNAL));
}

CASE(peer_credentials)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);
    int l = listener(SOCK_STREAM, "sock", 5);
    pid_t child = FORK({
        int c = connected(SOCK_STREAM, "sock");
        EXPECT_OK(getsockopt(c, SOL_SOCKET, SO_PEERCRED, &cred, &len));
        EXPECT_EQ(cred.pid, getppid());
        read(c, buf, 1);
    });
    int s = EXPECT_OK(accept(l, NULL, NULL));
    EXPECT_OK(getsockopt(s, SOL_SOCKET, SO_PEERCRED, &cred, &len));
    EXPECT_EQ(len, sizeof(cred));
    EXPECT_EQ(cred.pid, child);
    EXPECT_EQ(cred.uid, geteuid());
    EXPECT_EQ(cred.gid, getegid());
    close(s);
    EXPECT_EXITED(child, 0);
    pair(SOCK_STREAM);
    EXPECT_OK(getsockopt(sv[0], SOL_SOCKET, SO_PEERCRED, &cred, &len));
    EXPECT_EQ(cred.pid, getpid());
    int fd = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_OK(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len));
    EXPECT_EQ(cred.pid, 0);
    EXPECT_EQ(cred.uid, -1u);
}

/* ---- datagrams ---- */

CASE(dgram_pair)
{
    pair(SOCK_DGRAM);
    EXPECT_EQ(send(sv[0], "one", 3, 0), 3);
    EXPECT_EQ(send(sv[0], "", 0, 0), 0);
    EXPECT_EQ(send(sv[0], "three", 5, 0), 5);
    EXPECT_EQ(recv(sv[1], buf, 100, MSG_PEEK), 3);
    EXPECT_EQ(recv(sv[1], buf, 100, 0), 3);
    EXPECT_EQ(recv(sv[1], buf, 100, 0), 0); /* an empty one, not the end */
    int n;
    EXPECT_OK(ioctl(sv[1], FIONREAD, &n));
    EXPECT_EQ(n, 5);
    struct iovec iov = {buf, 2};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    EXPECT_EQ(recvmsg(sv[1], &m, 0), 2);
    EXPECT_EQ(m.msg_flags, MSG_TRUNC);
    EXPECT_ERRNO(EAGAIN, recv(sv[1], buf, 1, MSG_DONTWAIT)); /* the rest is lost */
    EXPECT_EQ(send(sv[0], "longer", 6, 0), 6);
    EXPECT_EQ(recv(sv[1], buf, 2, MSG_TRUNC), 6);
    close(sv[1]);
    EXPECT_ERRNO(ECONNREFUSED, send(sv[0], "x", 1, MSG_NOSIGNAL));
    EXPECT_ERRNO(ENOTCONN, send(sv[0], "x", 1, MSG_NOSIGNAL));
}

CASE(dgram_names)
{
    struct sockaddr_un un, from;
    socklen_t len, from_len = sizeof(from);
    int a = bound(SOCK_DGRAM, "a"), b = bound(SOCK_DGRAM, "@b");
    int c = EXPECT_OK(socket(AF_UNIX, SOCK_DGRAM, 0));
    un = address("a", &len);
    EXPECT_EQ(sendto(b, "hi", 2, 0, (struct sockaddr *)&un, len), 2);
    EXPECT_EQ(recvfrom(a, buf, 10, 0, (struct sockaddr *)&from, &from_len), 2);
    EXPECT_EQ(sendto(a, "yo", 2, 0, (struct sockaddr *)&from, from_len), 2); /* an answer */
    EXPECT_EQ(recv(b, buf, 10, 0), 2);
    EXPECT_EQ(sendto(c, "anon", 4, 0, (struct sockaddr *)&un, len), 4);
    from_len = sizeof(from);
    EXPECT_EQ(recvfrom(a, buf, 10, 0, (struct sockaddr *)&from, &from_len), 4);
    EXPECT_EQ(from_len, 0);
    EXPECT_ERRNO(ENOTCONN, send(c, "x", 1, 0));
    EXPECT_OK(try_connect(c, "a"));
    EXPECT_EQ(send(c, "x", 1, 0), 1);
    EXPECT_EQ(recv(a, buf, 10, 0), 1);
    /* Connected elsewhere, a takes nothing from c. */
    EXPECT_OK(try_connect(a, "@b"));
    EXPECT_ERRNO(EPERM, send(c, "x", 1, 0));
    EXPECT_ERRNO(EPERM, try_connect(c, "a"));
    EXPECT_OK(connect(a, &(struct sockaddr){.sa_family = AF_UNSPEC}, sizeof(sa_family_t)));
    EXPECT_EQ(send(c, "x", 1, 0), 1);
    int s = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_ERRNO(EPROTOTYPE, try_connect(s, "a"));
    EXPECT_ERRNO(EOPNOTSUPP, listen(a, 1));
    EXPECT_ERRNO(EOPNOTSUPP, accept(a, NULL, NULL));
}

CASE(dgram_queue)
{
    int a = bound(SOCK_DGRAM, "a"), n = 0;
    int c = connected(SOCK_DGRAM, "a"), d = connected(SOCK_DGRAM, "a");
    EXPECT_EQ(ready(c), POLLOUT);
    while (send(c, "x", 1, MSG_DONTWAIT) == 1)
        n++;
    EXPECT_EQ(errno, EAGAIN);
    EXPECT(n >= 10 && n < 600);
    EXPECT_EQ(ready(c), 0);
    EXPECT_EQ(ready(d), 0);
    pid_t child = FORK({
        usleep(50000);
        EXPECT_EQ(recv(a, buf, 1, 0), 1);
    });
    struct pollfd p = {.fd = d, .events = POLLOUT};
    EXPECT_EQ(poll(&p, 1, 5000), 1);
    EXPECT_EQ(send(d, "y", 1, 0), 1);
    EXPECT_EXITED(child, 0);
    EXPECT_ERRNO(EMSGSIZE, send(c, buf, sizeof(buf), 0));
}

CASE(seqpacket)
{
    int l = listener(SOCK_SEQPACKET, "sock", 5);
    int c = connected(SOCK_SEQPACKET, "sock"), s = EXPECT_OK(accept(l, NULL, NULL));
    EXPECT_EQ(send(c, "first", 5, 0), 5);
    EXPECT_EQ(send(c, "second", 6, 0), 6);
    struct iovec iov = {buf, 100};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    EXPECT_EQ(recvmsg(s, &m, 0), 5);
    EXPECT_EQ(m.msg_flags, 0);
    EXPECT_EQ(read(s, buf, 3), 3);
    close(c);
    EXPECT_EQ(recv(s, buf, 100, 0), 0);
    EXPECT_ERRNO(EPIPE, send(s, "x", 1, MSG_NOSIGNAL));
    int u = EXPECT_OK(socket(AF_UNIX, SOCK_SEQPACKET, 0));
    EXPECT_ERRNO(ENOTCONN, send(u, "x", 1, MSG_NOSIGNAL));
    EXPECT_ERRNO(ENOTCONN, recv(u, buf, 1, 0));
}

/* ---- the rest ---- */

CASE(options)
{
    int v = 1;
    socklen_t len = 2;
    short half = -1;
    pair(SOCK_STREAM);
    set_option(sv[0], SO_SNDBUF, 10000);
    EXPECT_EQ(option(sv[0], SO_SNDBUF), 20000);
    set_option(sv[0], SO_SNDBUF, 1);
    EXPECT_GE(option(sv[0], SO_SNDBUF), 2048);
    set_option(sv[0], SO_REUSEADDR, 5);
    EXPECT_EQ(option(sv[0], SO_REUSEADDR), 1);
    EXPECT_OK(getsockopt(sv[0], SOL_SOCKET, SO_REUSEADDR, &half, &len));
    EXPECT_EQ(len, 2);
    EXPECT_EQ(half, 1);
    EXPECT_ERRNO(EINVAL, setsockopt(sv[0], SOL_SOCKET, SO_REUSEADDR, &v, 3));
    EXPECT_ERRNO(ENOPROTOOPT, setsockopt(sv[0], SOL_SOCKET, 9999, &v, sizeof(v)));
    len = sizeof(v);
    EXPECT_ERRNO(ENOPROTOOPT, getsockopt(sv[0], SOL_SOCKET, 9999, &v, &len));
    EXPECT_ERRNO(EOPNOTSUPP, getsockopt(sv[0], 6, 1, &v, &len));
    EXPECT_ERRNO(EFAULT, getsockopt(sv[0], SOL_SOCKET, SO_TYPE, bad_address, &len));
}

CASE(many_at_once)
{
    struct mmsghdr m[3];
    struct iovec iov[3];
    char in[3][10];
    pair(SOCK_DGRAM);
    memset(m, 0, sizeof(m));
    for (int i = 0; i < 3; i++) {
        iov[i] = (struct iovec){&"abc"[i], (size_t)(3 - i)};
        m[i].msg_hdr.msg_iov = &iov[i];
        m[i].msg_hdr.msg_iovlen = 1;
    }
    EXPECT_EQ(sendmmsg(sv[0], m, 3, 0), 3);
    EXPECT_EQ(m[1].msg_len, 2);
    for (int i = 0; i < 3; i++)
        iov[i] = (struct iovec){in[i], 10};
    EXPECT_EQ(recvmmsg(sv[1], m, 2, 0, NULL), 2);
    EXPECT_EQ(m[0].msg_len, 3);
    EXPECT_EQ(recvmmsg(sv[1], m, 3, MSG_WAITFORONE, NULL), 1);
    EXPECT_EQ(m[0].msg_len, 1);
    EXPECT_ERRNO(EAGAIN, recvmmsg(sv[1], m, 3, MSG_DONTWAIT, NULL));
}

CASE(bad_memory)
{
    pair(SOCK_STREAM);
    EXPECT_ERRNO(EFAULT, syscall(SYS_sendto, sv[0], bad_address, 5, 0, NULL, 0));
    EXPECT_EQ(write(sv[0], "abc", 3), 3);
    EXPECT_ERRNO(EFAULT, syscall(SYS_recvfrom, sv[1], bad_address, 3, 0, NULL, NULL));
    EXPECT_EQ(read(sv[1], buf, 10), 3); /* it is still there */
    EXPECT_ERRNO(EFAULT, syscall(SYS_sendmsg, sv[0], bad_address, 0));
    EXPECT_ERRNO(EFAULT, syscall(SYS_recvmsg, sv[1], bad_address, 0));
}

static void *read_two(void *arg)
{
    char b[2];
    EXPECT_EQ(read(sv[1], b, 2), 2);
    return arg;
}

/* One message may be enough for several readers. */
CASE(many_readers)
{
    pthread_t t[4];
    pair(SOCK_STREAM);
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(pthread_create(&t[i], NULL, read_two, NULL), 0);
    usleep(50000);
    EXPECT_EQ(write(sv[0], "12345678", 8), 8);
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(pthread_join(t[i], NULL), 0);
}

static void *write_much(void *arg)
{
    static char block[50000];
    for (int i = 0; i < 20; i++)
        EXPECT_EQ(write(sv[0], block, sizeof(block)), sizeof(block));
    return arg;
}

CASE(many_writers)
{
    pthread_t t[4];
    size_t got = 0;
    pair(SOCK_STREAM);
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(pthread_create(&t[i], NULL, write_much, NULL), 0);
    while (got < 4 * 20 * 50000u)
        got += (size_t)EXPECT_OK(read(sv[1], buf, 30000));
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(pthread_join(t[i], NULL), 0);
}

static void *echo(void *arg)
{
    int fd = (int)(long)arg;
    char b[1000];
    ssize_t n;
    while ((n = read(fd, b, sizeof(b))) > 0)
        EXPECT_EQ(write(fd, b, (size_t)n), n);
    return NULL;
}

CASE(ping_pong)
{
    pthread_t t;
    char c = 0;
    pair(SOCK_STREAM);
    EXPECT_EQ(pthread_create(&t, NULL, echo, (void *)(long)sv[1]), 0);
    for (int i = 0; i < 5000; i++) {
        char x = (char)i;
        EXPECT_EQ(write(sv[0], &x, 1), 1);
        EXPECT_EQ(read(sv[0], &c, 1), 1);
        EXPECT_EQ(c, x);
    }
    EXPECT_OK(shutdown(sv[0], SHUT_WR));
    EXPECT_EQ(pthread_join(t, NULL), 0);
}

TEST_MAIN
