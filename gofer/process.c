/*
 * The gofer's process: how it starts, a worker for each channel, and its end.
 */
#include "gofer/server.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WORKER_STACK_BYTES (256u << 10)
#define PRIMARY_MAX (GOFER_CHANNELS_MAX / 2)

struct gofer {
    struct gofer_server *server;
    struct gofer_link link; /* our end of the channels */
};

struct worker {
    struct gofer *gofer;
    unsigned channel;
};

/* ---- where ---- */

void gofer_channels(const struct gofer_link *link, uint8_t channel_of[CPU_SETSIZE])
{
    unsigned before = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        channel_of[cpu] = (uint8_t)(before % link->nprimary);
        before += CPU_ISSET(cpu, &link->cpus) != 0;
    }
}

/* Waking a thread on another CPU takes ten times as long as switching to it on this one. */
static void settle_down(const struct gofer_link *link, unsigned channel)
{
    uint8_t channel_of[CPU_SETSIZE];
    cpu_set_t set;
    CPU_ZERO(&set);
    gofer_channels(link, channel_of);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, &link->cpus) && channel_of[cpu] == channel % link->nprimary)
            CPU_SET(cpu, &set);
    }
    sched_setaffinity(0, sizeof(set), &set); /* without it all is slower, and right */
}

/* ---- a worker ---- */

static bool reply(int socket, struct gofer_answer *a)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(a->fds))];
    } control;
    size_t size = a->reply.nfds * sizeof(int);
    struct iovec iov[2] = {{&a->reply, sizeof(a->reply)}, {a->data, a->reply.len}};
    struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};
    if (size) {
        memset(&control, 0, CMSG_SPACE(size));
        m.msg_control = &control;
        m.msg_controllen = CMSG_SPACE(size);
        control.header = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(size), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), a->fds, size);
    }
    ssize_t n;
    do
        n = sendmsg(socket, &m, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    for (uint32_t k = 0; k < a->reply.nfds; k++)
        close(a->fds[k]);
    return n >= 0;
}

/* What a message may be at most, and a byte more that tells of a longer one. */
#define MESSAGE_BYTES (sizeof(struct gofer_request) + GOFER_DATA_MAX + 1)

static void *work(void *arg)
{
    struct worker w = *(struct worker *)arg;
    int socket = w.gofer->link.channels[w.channel];
    free(arg);
    settle_down(&w.gofer->link, w.channel);
    uint8_t *message = malloc(MESSAGE_BYTES);
    struct gofer_answer *a = malloc(sizeof(*a));
    while (message && a) {
        /* Descriptors that came along are dropped by the host: there is no room for them. */
        ssize_t n = recv(socket, message, MESSAGE_BYTES, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        gofer_server_answer(w.gofer->server, message, (size_t)n, a);
        if (!reply(socket, a))
            break;
    }
    /* The sentry is gone, or nothing can be done for it. */
    _exit(!message || !a);
}

static int start_worker(struct gofer *g, unsigned channel)
{
    struct worker *w = malloc(sizeof(*w));
    pthread_attr_t attr;
    pthread_t thread;
    if (!w)
        return ENOMEM;
    *w = (struct worker){g, channel};
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, WORKER_STACK_BYTES);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int err = pthread_create(&thread, &attr, work, w);
    pthread_attr_destroy(&attr);
    if (err)
        free(w);
    return err;
}

/* Starts the workers as they are needed. */
static NORETURN void serve(struct gofer *g)
{
    struct pollfd fds[GOFER_CHANNELS_MAX];
    unsigned n = g->link.nchannels;
    for (unsigned k = 0; k < n; k++)
        fds[k] = (struct pollfd){.fd = g->link.channels[k], .events = POLLIN};
    for (;;) {
        if (poll(fds, n, -1) < 0 && errno != EINTR)
            _exit(1);
        for (unsigned k = 0; k < n; k++) {
            if (!fds[k].revents)
                continue;
            if (fds[k].revents & (POLLHUP | POLLERR | POLLNVAL))
                _exit(0);
            if (start_worker(g, k))
                _exit(1);
            fds[k].fd = -1; /* its worker sees the end */
        }
    }
}

/* ---- the start ---- */

/*
 * A view of the export with rights of its own: a descriptor that the sentry got from it cannot be
 * opened anew with more, and nothing below it is a device. Needs to be root; without, what the
 * gofer opens is what the sentry gets, and no more holds.
 */
static void narrow(struct gofer_export *e)
{
    struct mount_attr attr = {.attr_set =
                                  MOUNT_ATTR_NODEV | (e->read_only ? MOUNT_ATTR_RDONLY : 0)};
    int fd = (int)syscall(SYS_open_tree, e->fd, "",
                          AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (fd < 0)
        return;
    if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0) {
        close(fd);
        return;
    }
    close(e->fd);
    e->fd = fd;
}

static int compare_ints(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

/* Closes all descriptors but these (which are sorted), and 0 to 2, which become /dev/null. */
static int close_others(int *keep, size_t n)
{
    unsigned from = 3;
    qsort(keep, n, sizeof(*keep), compare_ints);
    for (size_t k = 0; k < n; k++) {
        if ((unsigned)keep[k] > from)
            close_range(from, (unsigned)keep[k] - 1, 0);
        from = (unsigned)keep[k] + 1;
    }
    close_range(from, ~0u, 0);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3; fd++) {
        if (null < 0 || dup2(null, fd) < 0)
            return -EMFILE;
    }
    close(null);
    return 0;
}

static int close_foreign(const struct gofer *g, const struct gofer_export *exports, size_t n)
{
    int *keep = calloc(n + GOFER_CHANNELS_MAX, sizeof(*keep));
    size_t count = 0;
    if (!keep)
        return -ENOMEM;
    for (size_t k = 0; k < n; k++)
        keep[count++] = exports[k].fd;
    for (unsigned k = 0; k < g->link.nchannels; k++)
        keep[count++] = g->link.channels[k];
    int err = close_others(keep, count);
    free(keep);
    return err;
}

/* The sentry's end is ours; signals are not for us; the sentry, who may be the same user, has no
 * business in our memory. */
static int take_part(pid_t parent)
{
    sigset_t all;
    struct rlimit rl;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        return -ESRCH;
    prctl(PR_SET_NAME, "picket-gofer");
    prctl(PR_SET_DUMPABLE, 0);
    umask(0);
    if (getrlimit(RLIMIT_NOFILE, &rl) == 0) {
        rl.rlim_cur = rl.rlim_max;
        setrlimit(RLIMIT_NOFILE, &rl);
    }
    return 0;
}

static NORETURN void run_gofer(struct gofer *g, const struct gofer_export *given, size_t n,
                               pid_t parent)
{
    struct gofer_export *exports = calloc(n, sizeof(*exports));
    if (!exports || take_part(parent))
        _exit(1);
    memcpy(exports, given, n * sizeof(*exports));
    if (close_foreign(g, exports, n))
        _exit(1);
    for (size_t k = 0; k < n; k++)
        narrow(&exports[k]);
    if (gofer_server_create(exports, n, &g->server) || gofer_confine())
        _exit(1);
    free(exports);
    serve(g);
}

static void close_channels(const struct gofer_link *link)
{
    for (unsigned k = 0; k < link->nchannels; k++)
        close(link->channels[k]);
}

/* The sentry's ends in *out, ours in *own. */
static int open_channels(struct gofer_link *own, struct gofer_link *out)
{
    for (; out->nchannels < MAX(out->nprimary * 2, 4u); out->nchannels++, own->nchannels++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
            int err = -errno;
            close_channels(out);
            close_channels(own);
            return err;
        }
        out->channels[out->nchannels] = pair[0];
        own->channels[own->nchannels] = pair[1];
    }
    return 0;
}

int gofer_start(const struct gofer_export *exports, size_t n, struct gofer_link *out)
{
    struct gofer g = {0};
    pid_t self = getpid();
    CPU_ZERO(&out->cpus);
    sched_getaffinity(0, sizeof(out->cpus), &out->cpus);
    out->nchannels = 0;
    out->nprimary = MIN(MAX((unsigned)CPU_COUNT(&out->cpus), 1u), (unsigned)PRIMARY_MAX);
    g.link = *out;
    int err = open_channels(&g.link, out);
    if (err)
        return err;
    out->pid = fork();
    err = out->pid < 0 ? -errno : 0;
    if (out->pid == 0)
        run_gofer(&g, exports, n, self);
    close_channels(&g.link);
    if (err)
        close_channels(out);
    return err;
}
