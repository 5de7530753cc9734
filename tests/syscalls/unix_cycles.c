/* unix(7): sockets that only messages refer to; limits on descriptors in messages. */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

union control {
    char space[CMSG_SPACE(253 * sizeof(int))];
    struct cmsghdr align;
};

static int send_fds(int sock, const int *fds, size_t n)
{
    union control c = {{0}};
    struct iovec iov = {"x", 1};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c};
    m.msg_controllen = CMSG_SPACE(n * sizeof(int));
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(h), fds, n * sizeof(int));
    return (int)sendmsg(sock, &m, MSG_NOSIGNAL);
}

static int recv_fd(int sock)
{
    union control c;
    char data[8];
    struct iovec iov = {data, sizeof(data)};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c};
    m.msg_controllen = sizeof(c);
    if (recvmsg(sock, &m, 0) != 1)
        return -1;
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    int fd = -1;
    if (h && h->cmsg_type == SCM_RIGHTS)
        memcpy(&fd, CMSG_DATA(h), sizeof(fd));
    return fd;
}

static void pair(int s[2])
{
    EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
}

/* The read end of a pipe whose write end is left only in messages: it is hung up when they are
 * gone. */
static int witness(int *write_end)
{
    int p[2];
    EXPECT_OK(pipe(p));
    *write_end = p[1];
    return p[0];
}

static bool hung_up(int fd)
{
    struct pollfd pfd = {.fd = fd, .events = POLLIN};
    return poll(&pfd, 1, 0) == 1 && (pfd.revents & POLLHUP);
}

/* Closing any socket makes the kernel look for garbage; it may take a moment. */
static void expect_collected(int fd)
{
    for (int i = 0; i < 1000 && !hung_up(fd); i++) {
        int s[2];
        pair(s);
        int sent = send_fds(s[0], &s[0], 1);
        close(s[0]);
        close(s[1]);
        EXPECT_EQ(sent, 1);
        usleep(1000);
    }
    EXPECT(hung_up(fd));
}

static void expect_alive(int fd)
{
    int s[2];
    pair(s);
    close(s[0]);
    close(s[1]);
    usleep(20000);
    EXPECT(!hung_up(fd));
}

CASE(socket_in_its_own_queue)
{
    int s[2], w, r = witness(&w);
    pair(s);
    EXPECT_EQ(send_fds(s[0], &w, 1), 1);    /* in s[1]'s queue */
    EXPECT_EQ(send_fds(s[0], &s[1], 1), 1); /* and s[1] itself */
    close(w);
    close(s[1]);
    close(s[0]);
    expect_collected(r);
}

CASE(two_in_each_others_queues)
{
    int a[2], b[2], w, r = witness(&w);
    pair(a);
    pair(b);
    EXPECT_EQ(send_fds(a[0], (int[]){b[1], w}, 2), 1); /* a[1] holds b[1] */
    EXPECT_EQ(send_fds(b[0], (int[]){a[1], w}, 2), 1); /* b[1] holds a[1] */
    close(w);
    close(a[1]);
    close(b[1]);
    close(a[0]);
    close(b[0]);
    expect_collected(r);
}

CASE(long_cycle)
{
    enum { N = 50 };
    int s[N][2], w, r = witness(&w);
    for (int i = 0; i < N; i++)
        pair(s[i]);
    for (int i = 0; i < N; i++)
        EXPECT_EQ(send_fds(s[i][0], (int[]){s[(i + 1) % N][1], w}, 2), 1);
    close(w);
    for (int i = 0; i < N; i++) {
        close(s[i][1]);
        close(s[i][0]);
    }
    expect_collected(r);
}

CASE(what_can_be_received_is_kept)
{
    int a[2], b[2], w, r = witness(&w);
    pair(a);
    pair(b);
    /* a[1] is open, and holds b[1], which holds itself and the witness. */
    EXPECT_EQ(send_fds(b[0], (int[]){b[1], w}, 2), 1);
    EXPECT_EQ(send_fds(a[0], &b[1], 1), 1);
    close(w);
    close(b[1]);
    close(b[0]);
    expect_alive(r);
    int got = recv_fd(a[1]);
    EXPECT(got >= 0);
    expect_alive(r);
    int again = recv_fd(got); /* and now both are here */
    EXPECT(again >= 0);
    close(again);
    close(got);
    for (int fd = 3; fd < 60; fd++) /* the witness came along */
        if (fd != r && fd != a[0] && fd != a[1])
            close(fd);
    EXPECT(hung_up(r));
}

CASE(cycle_through_a_listener)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(addr);
    int w, r = witness(&w);
    int l = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    int c = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_OK(bind(l, (void *)&addr, sizeof(addr.sun_family)));
    EXPECT_OK(getsockname(l, (void *)&addr, &len));
    EXPECT_OK(listen(l, 5));
    EXPECT_OK(connect(c, (void *)&addr, len));
    /* Nobody has accepted: the message sits with the listener. */
    EXPECT_EQ(send_fds(c, (int[]){l, w}, 2), 1);
    close(w);
    expect_alive(r);
    close(l);
    close(c);
    expect_collected(r);
}

CASE(datagrams)
{
    int s[2], w, r = witness(&w);
    EXPECT_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    EXPECT_EQ(send_fds(s[0], (int[]){s[1], w}, 2), 1);
    EXPECT_EQ(send_fds(s[1], (int[]){s[0], w}, 2), 1);
    close(w);
    close(s[0]);
    close(s[1]);
    expect_collected(r);
}

CASE(epoll_in_the_cycle)
{
    int s[2], w, r = witness(&w), ep = EXPECT_OK(epoll_create1(0));
    struct epoll_event ev = {.events = EPOLLIN};
    pair(s);
    EXPECT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, s[1], &ev));
    EXPECT_EQ(send_fds(s[0], (int[]){s[1], ep, w}, 3), 1);
    close(w);
    close(ep);
    close(s[1]);
    close(s[0]);
    expect_collected(r);
}

CASE(ten_thousand_cycles)
{
    int w, r = witness(&w);
    for (int i = 0; i < 10000; i++) {
        int s[2];
        pair(s);
        EXPECT_EQ(send_fds(s[0], (int[]){s[1], w}, 2), 1);
        close(s[1]);
        close(s[0]);
    }
    close(w);
    expect_collected(r);
}

CASE(all_at_once)
{
    enum { N = 400 };
    static int s[N][2];
    struct rlimit lim;
    int w, r = witness(&w);
    EXPECT_OK(getrlimit(RLIMIT_NOFILE, &lim));
    if (lim.rlim_cur < 2 * N + 20)
        SKIP("too few descriptors");
    for (int i = 0; i < N; i++) {
        pair(s[i]);
        EXPECT_EQ(send_fds(s[i][0], (int[]){s[i][1], w}, 2), 1);
    }
    close(w);
    for (int i = 0; i < N; i++)
        close(s[i][1]);
    for (int i = 0; i < N; i++)
        close(s[i][0]);
    expect_collected(r);
}

CASE(limit_in_flight)
{
    if (geteuid() != 0)
        SKIP("needs another user");
    EXPECT_EXITED(FORK({
                      struct rlimit lim = {50, 50};
                      int s[2], fds[20], err = 0;
                      EXPECT_OK(setrlimit(RLIMIT_NOFILE, &lim));
                      EXPECT_OK(setresuid(54322, 54322, 54322));
                      pair(s);
                      for (int i = 0; i < 20; i++)
                          fds[i] = s[0];
                      for (int i = 0; i < 10 && !err; i++)
                          err = send_fds(s[0], fds, 20) == 1 ? 0 : errno;
                      EXPECT_EQ(err, ETOOMANYREFS);
                      int got = recv_fd(s[1]);
                      EXPECT(got >= 0);
                  }),
                  0);
}

/* Sockets go into messages and out of them while garbage is looked for. */
static volatile bool stop;
static void *collector(void *arg)
{
    while (!stop) {
        int s[2];
        pair(s);
        EXPECT_EQ(send_fds(s[0], &s[1], 1), 1);
        close(s[1]);
        close(s[0]);
    }
    return arg;
}

static void *juggler(void *arg)
{
    for (int i = 0; i < 1500; i++) {
        int a[2], b[2];
        pair(a);
        pair(b);
        EXPECT_EQ(send_fds(a[0], &b[1], 1), 1);
        close(b[1]);
        int got = recv_fd(a[1]);
        EXPECT(got >= 0);
        EXPECT_EQ(write(b[0], "y", 1), 1);
        char c = 0;
        EXPECT_EQ(read(got, &c, 1), 1);
        EXPECT_EQ(c, 'y');
        close(got);
        close(b[0]);
        close(a[0]);
        close(a[1]);
    }
    return arg;
}

CASE(receiving_while_garbage_is_collected)
{
    pthread_t c, j[2];
    EXPECT_EQ(pthread_create(&c, NULL, collector, NULL), 0);
    for (int i = 0; i < 2; i++)
        EXPECT_EQ(pthread_create(&j[i], NULL, juggler, NULL), 0);
    for (int i = 0; i < 2; i++)
        EXPECT_EQ(pthread_join(j[i], NULL), 0);
    stop = true;
    EXPECT_EQ(pthread_join(c, NULL), 0);
}

TEST_MAIN
