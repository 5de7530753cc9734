/*
 * poll(2), select(2), epoll(7) over everything that has a descriptor: no wake-up is lost. Writers
 * send a number of tokens, one at a time; readers sleep without a time limit whenever there are
 * none, and a reader that is forgotten never ends.
 */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <time.h>

#define WRITERS 2
#define READERS 3
#define TOKENS 120 /* of each writer */

/* ---- kinds of descriptors: where tokens go in and come out ---- */

static int in_fd, out_fd;
static size_t token; /* bytes */

static void make_pipe(void)
{
    int p[2];
    EXPECT_OK(pipe2(p, O_NONBLOCK));
    out_fd = p[0];
    in_fd = p[1];
    token = 1;
}

static void make_fifo(void)
{
    EXPECT_OK(mkfifo(test_path("fifo"), 0600));
    out_fd = EXPECT_OK(open(test_path("fifo"), O_RDONLY | O_NONBLOCK));
    in_fd = EXPECT_OK(open(test_path("fifo"), O_WRONLY | O_NONBLOCK));
    token = 1;
}

static void make_sockets(int type)
{
    int s[2];
    EXPECT_OK(socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, s));
    out_fd = s[0];
    in_fd = s[1];
    token = 1;
}

static void make_stream(void)
{
    make_sockets(SOCK_STREAM);
}
static void make_dgram(void)
{
    make_sockets(SOCK_DGRAM);
}
static void make_seqpacket(void)
{
    make_sockets(SOCK_SEQPACKET);
}

static void make_eventfd(void)
{
    in_fd = out_fd = EXPECT_OK(eventfd(0, EFD_NONBLOCK | EFD_SEMAPHORE));
    token = 8;
}

static void make_terminal(void)
{
    struct termios t;
    in_fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (in_fd < 0)
        SKIP("no terminals");
    EXPECT_OK(grantpt(in_fd));
    EXPECT_OK(unlockpt(in_fd));
    out_fd = EXPECT_OK(open(ptsname(in_fd), O_RDWR | O_NOCTTY | O_NONBLOCK));
    EXPECT_OK(tcgetattr(out_fd, &t));
    cfmakeraw(&t);
    EXPECT_OK(tcsetattr(out_fd, TCSANOW, &t));
    token = 1;
}

static void make_queue(void)
{
    char name[64];
    struct mq_attr a = {.mq_maxmsg = 3, .mq_msgsize = 1};
    snprintf(name, sizeof(name), "/picket-ready.%d", (int)getpid());
    in_fd = mq_open(name, O_CREAT | O_RDWR | O_NONBLOCK, 0600, &a);
    if (in_fd < 0)
        SKIP("no message queues");
    EXPECT_OK(mq_unlink(name));
    out_fd = in_fd;
    token = 0; /* messages */
}

static bool put(void)
{
    static const uint64_t one = 1;
    ssize_t n = token ? write(in_fd, &one, token) : mq_send(in_fd, "x", 1, 0);
    if (n < 0)
        EXPECT_EQ(errno, EAGAIN);
    return n >= 0;
}

static bool get(void)
{
    uint64_t buf;
    ssize_t n = token ? read(out_fd, &buf, token) : mq_receive(out_fd, (char *)&buf, 1, NULL);
    if (n < 0)
        EXPECT_EQ(errno, EAGAIN);
    return n >= 0;
}

/* ---- ways to wait ---- */

static int ep; /* of all readers */
static void (*wait_ready)(int slot);

static void by_poll(int slot)
{
    struct pollfd p = {out_fd, POLLIN, 0};
    (void)slot;
    EXPECT_EQ(poll(&p, 1, -1), 1);
}

static void by_select(int slot)
{
    fd_set set;
    (void)slot;
    FD_ZERO(&set);
    FD_SET(out_fd, &set);
    EXPECT_EQ(select(out_fd + 1, &set, NULL, NULL, NULL), 1);
}

static void epoll_on(int epfd, int op, int fd, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.fd = fd};
    EXPECT_OK(epoll_ctl(epfd, op, fd, &ev));
}

static void by_epoll(int slot)
{
    struct epoll_event ev;
    (void)slot;
    EXPECT_EQ(epoll_wait(ep, &ev, 1, -1), 1);
}

static void by_oneshot(int slot)
{
    by_epoll(slot);
    /* Armed again at once: what is left wakes the next. */
    epoll_on(ep, EPOLL_CTL_MOD, out_fd, EPOLLIN | EPOLLONESHOT);
}

static int own_ep[READERS];
static void by_own_epoll(int slot)
{
    struct epoll_event ev;
    EXPECT_EQ(epoll_wait(own_ep[slot], &ev, 1, -1), 1);
}

/* ---- the race ---- */

static int left; /* tokens to be read */
static pthread_barrier_t begin;
static bool drains;

static void *writer(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    pthread_barrier_wait(&begin);
    for (int i = 0; i < TOKENS;) {
        if (!put()) {
            struct pollfd p = {in_fd, POLLOUT, 0};
            EXPECT_EQ(poll(&p, 1, -1), 1);
            continue;
        }
        i++;
        if (rand_r(&seed) % 8 == 0)
            sched_yield();
        if (rand_r(&seed) % 64 == 0)
            usleep(50);
    }
    return NULL;
}

static void *reader(void *arg)
{
    int slot = (int)(intptr_t)arg;
    pthread_barrier_wait(&begin);
    while (__atomic_load_n(&left, __ATOMIC_SEQ_CST) > 0) {
        wait_ready(slot);
        while (get()) {
            __atomic_sub_fetch(&left, 1, __ATOMIC_SEQ_CST);
            if (!drains)
                break;
        }
    }
    /* The others may sleep: one more token for each tells them. */
    for (int i = 0; i < READERS; i++)
        put();
    return NULL;
}

static void race(void)
{
    pthread_t t[WRITERS + READERS];
    int n = 0;
    left = WRITERS * TOKENS;
    pthread_barrier_init(&begin, NULL, WRITERS + READERS);
    for (intptr_t i = 0; i < WRITERS; i++)
        EXPECT_EQ(pthread_create(&t[n++], NULL, writer, (void *)(i + 1)), 0);
    for (intptr_t i = 0; i < READERS; i++)
        EXPECT_EQ(pthread_create(&t[n++], NULL, reader, (void *)i), 0);
    while (n-- > 0)
        EXPECT_EQ(pthread_join(t[n], NULL), 0);
}

static void race_poll(void (*make)(void))
{
    make();
    wait_ready = by_poll;
    race();
}

static void race_select(void (*make)(void))
{
    make();
    wait_ready = by_select;
    race();
}

static void race_epoll(void (*make)(void), uint32_t events)
{
    make();
    ep = EXPECT_OK(epoll_create1(0));
    epoll_on(ep, EPOLL_CTL_ADD, out_fd, events);
    wait_ready = events & EPOLLONESHOT ? by_oneshot : by_epoll;
    drains = events & EPOLLET;
    race();
}

static void race_own_epolls(void (*make)(void), uint32_t events)
{
    make();
    for (int i = 0; i < READERS; i++) {
        own_ep[i] = EXPECT_OK(epoll_create1(0));
        epoll_on(own_ep[i], EPOLL_CTL_ADD, out_fd, events);
    }
    wait_ready = by_own_epoll;
    drains = events & EPOLLET;
    race();
}

static void race_nested(void (*make)(void))
{
    make();
    ep = EXPECT_OK(epoll_create1(0));
    epoll_on(ep, EPOLL_CTL_ADD, out_fd, EPOLLIN);
    for (int i = 0; i < READERS; i++) {
        own_ep[i] = EXPECT_OK(epoll_create1(0));
        epoll_on(own_ep[i], EPOLL_CTL_ADD, ep, EPOLLIN);
    }
    wait_ready = by_own_epoll;
    race();
}

#define KIND(name, make)                                                                           \
    CASE(name##_poll)                                                                              \
    {                                                                                              \
        race_poll(make);                                                                           \
    }                                                                                              \
    CASE(name##_select)                                                                            \
    {                                                                                              \
        race_select(make);                                                                         \
    }                                                                                              \
    CASE(name##_level)                                                                             \
    {                                                                                              \
        race_epoll(make, EPOLLIN);                                                                 \
    }                                                                                              \
    CASE(name##_oneshot)                                                                           \
    {                                                                                              \
        race_epoll(make, EPOLLIN | EPOLLONESHOT);                                                  \
    }                                                                                              \
    CASE(name##_level_each)                                                                        \
    {                                                                                              \
        race_own_epolls(make, EPOLLIN);                                                            \
    }                                                                                              \
    CASE(name##_edge_each)                                                                         \
    {                                                                                              \
        race_own_epolls(make, EPOLLIN | EPOLLET);                                                  \
    }                                                                                              \
    CASE(name##_exclusive)                                                                         \
    {                                                                                              \
        race_own_epolls(make, EPOLLIN | EPOLLEXCLUSIVE);                                           \
    }                                                                                              \
    CASE(name##_nested)                                                                            \
    {                                                                                              \
        race_nested(make);                                                                         \
    }

KIND(pipe, make_pipe)
KIND(fifo, make_fifo)
KIND(stream, make_stream)
KIND(dgram, make_dgram)
KIND(seqpacket, make_seqpacket)
KIND(eventfd, make_eventfd)
KIND(terminal, make_terminal)
KIND(queue, make_queue)

/* Ticks are for one reader each, and never stop. */
CASE(timers)
{
    struct itimerspec its = {{0, 300000}, {0, 300000}};
    ep = EXPECT_OK(epoll_create1(0));
    for (int i = 0; i < 20; i++) {
        int fd = EXPECT_OK(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
        EXPECT_OK(timerfd_settime(fd, 0, &its, NULL));
        epoll_on(ep, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET);
    }
    for (int i = 0; i < 2000;) {
        struct epoll_event ev[8];
        uint64_t ticks;
        int n = EXPECT_OK(epoll_wait(ep, ev, 8, -1));
        for (int k = 0; k < n; k++)
            i += read(ev[k].data.fd, &ticks, sizeof(ticks)) == sizeof(ticks);
    }
}

TEST_MAIN
