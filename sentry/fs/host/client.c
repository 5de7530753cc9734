/*
 * Talking to the gofer: channels, and checking what comes back. The gofer is trusted with files,
 * but an answer that is not what the protocol says ends the sandbox instead of being guessed at.
 */
#include "sentry/fs/host/client.h"
#include "sentry/kernel/host_futex.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLOSES_MAX 64

struct channel {
    int fd;
    bool busy; /* client.lock */
    uint32_t seq;
};

struct gofer_client {
    struct gofer_link link;
    uint8_t channel_of[CPU_SETSIZE];
    void (*lost)(void *);
    void *arg;
    struct mutex lock; /* LEAF: which channels are busy, and closes */
    struct channel channels[GOFER_CHANNELS_MAX];
    _Atomic uint32_t freed; /* counts, while somebody waits */
    unsigned waiting;
    uint32_t closes[CLOSES_MAX];
    unsigned ncloses;
};

int gofer_client_create(const struct gofer_link *link, void (*lost)(void *), void *arg,
                        struct gofer_client **out)
{
    struct gofer_client *gc = calloc(1, sizeof(*gc));
    if (!gc)
        return -ENOMEM;
    gc->link = *link;
    gc->lost = lost;
    gc->arg = arg;
    mutex_init(&gc->lock, LOCK_LEAF);
    for (unsigned k = 0; k < link->nchannels; k++)
        gc->channels[k].fd = link->channels[k];
    gofer_channels(link, gc->channel_of);
    *out = gc;
    return 0;
}

void gofer_client_destroy(struct gofer_client *gc)
{
    for (unsigned k = 0; k < gc->link.nchannels; k++)
        close(gc->channels[k].fd);
    mutex_destroy(&gc->lock);
    free(gc);
}

/* ---- channels ---- */

/* The channel of this CPU, or any that is free. Lock held. */
static struct channel *pick(struct gofer_client *gc)
{
    int cpu = sched_getcpu();
    unsigned first = cpu >= 0 && cpu < CPU_SETSIZE ? gc->channel_of[cpu] : 0;
    unsigned n = gc->link.nchannels, step = gc->link.nprimary;
    for (unsigned round = 0; round < step; round++) {
        for (unsigned k = (first + round) % step; k < n; k += step) {
            if (!gc->channels[k].busy)
                return &gc->channels[k];
        }
    }
    return NULL;
}

/* Moves what is to be closed into the request. Lock held. */
static void add_closes(struct gofer_client *gc, struct gofer_request *rq)
{
    rq->nclose = MIN(gc->ncloses, (unsigned)GOFER_CLOSE_MAX);
    gc->ncloses -= rq->nclose;
    memcpy(rq->close, gc->closes + gc->ncloses, rq->nclose * sizeof(rq->close[0]));
}

static struct channel *channel_get(struct gofer_client *gc, struct gofer_request *rq)
{
    for (;;) {
        uint32_t seen = atomic_load(&gc->freed);
        mutex_lock(&gc->lock);
        struct channel *ch = pick(gc);
        if (ch) {
            ch->busy = true;
            add_closes(gc, rq);
        } else {
            gc->waiting++;
        }
        mutex_unlock(&gc->lock);
        if (ch)
            return ch;
        host_futex_wait(&gc->freed, seen, NULL);
        mutex_lock(&gc->lock);
        gc->waiting--;
        mutex_unlock(&gc->lock);
    }
}

static void channel_put(struct gofer_client *gc, struct channel *ch)
{
    mutex_lock(&gc->lock);
    ch->busy = false;
    bool wake = gc->waiting;
    if (wake)
        atomic_fetch_add(&gc->freed, 1);
    mutex_unlock(&gc->lock);
    if (wake)
        host_futex_wake(&gc->freed, 1);
}

void gofer_close_node(struct gofer_client *gc, uint32_t node)
{
    for (;;) {
        struct gofer_msg m = {.rq.op = GOFER_CLOSE};
        mutex_lock(&gc->lock);
        bool room = gc->ncloses < CLOSES_MAX;
        if (room)
            gc->closes[gc->ncloses++] = node;
        mutex_unlock(&gc->lock);
        if (room)
            return;
        IGNORE(gofer_call(gc, &m)); /* takes some along */
    }
}

/* ---- messages ---- */

static int send_request(const struct channel *ch, struct gofer_msg *m)
{
    struct iovec iov[3] = {{&m->rq, sizeof(m->rq)},
                           {(void *)(uintptr_t)m->name[0], m->rq.len[0]},
                           {(void *)(uintptr_t)m->name[1], m->rq.len[1]}};
    struct msghdr h = {.msg_iov = iov, .msg_iovlen = 3};
    ssize_t n;
    do
        n = sendmsg(ch->fd, &h, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -EIO : 0;
}

/* How many may come. */
static unsigned fds_max(const struct gofer_msg *m)
{
    return m->fds ? GOFER_BATCH_MAX : m->wants_fd;
}

/* The descriptors that came are in fds; any more are too many. */
static int take_descriptors(struct msghdr *h, struct gofer_msg *m, int *fds)
{
    int err = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            return -EIO;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t k = 0; k < n; k++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + k * sizeof(int), sizeof(int));
            if (m->nfds < fds_max(m)) {
                fds[m->nfds++] = fd;
            } else {
                close(fd);
                err = -EIO;
            }
        }
    }
    return err;
}

/* A directory's descriptor would be a way out of the exports: none gets past here. */
static int check_descriptors(const struct gofer_msg *m, const int *fds, bool dropped)
{
    struct stat st;
    if (dropped ? m->reply.nfds <= m->nfds : m->reply.nfds != m->nfds)
        return -EIO;
    for (unsigned k = 0; k < m->nfds; k++) {
        if (fstat(fds[k], &st) || !S_ISREG(st.st_mode))
            return -EIO;
    }
    return m->reply.nfds > fds_max(m) ? -EIO : 0;
}

static int check_reply(const struct gofer_msg *m, const int *fds, size_t n, bool dropped)
{
    const struct gofer_reply *r = &m->reply;
    if (n < sizeof(*r) || r->version != GOFER_VERSION || r->op != m->rq.op || r->seq != m->rq.seq ||
        r->error > 0 || r->error < -4095 || r->len != n - sizeof(*r) || r->len > m->rq.size)
        return -EIO;
    return check_descriptors(m, fds, dropped);
}

static int receive_reply(const struct channel *ch, struct gofer_msg *m, int *fds)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE((GOFER_BATCH_MAX + 2) * sizeof(int))];
    } control;
    struct iovec iov[2] = {{&m->reply, sizeof(m->reply)}, {m->data, m->rq.size}};
    struct msghdr h = {.msg_iov = iov,
                       .msg_iovlen = 2,
                       .msg_control = &control,
                       .msg_controllen = CMSG_SPACE((fds_max(m) + 2) * sizeof(int))};
    ssize_t n;
    do
        n = recvmsg(ch->fd, &h, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return -EIO;
    int err = take_descriptors(&h, m, fds);
    /* With our table of descriptors full, the host drops what came. */
    bool dropped = h.msg_flags & MSG_CTRUNC;
    if (err || (h.msg_flags & MSG_TRUNC))
        return -EIO;
    return check_reply(m, fds, (size_t)n, dropped);
}

int gofer_call(struct gofer_client *gc, struct gofer_msg *m)
{
    int *fds = m->fds ? m->fds : &m->fd;
    m->fd = -1;
    m->nfds = 0;
    struct channel *ch = channel_get(gc, &m->rq);
    m->rq.version = GOFER_VERSION;
    m->rq.seq = ++ch->seq;
    int err = send_request(ch, m);
    if (!err)
        err = receive_reply(ch, m, fds);
    channel_put(gc, ch);
    if (!err)
        err = m->reply.error;
    else
        gc->lost(gc->arg);
    if (err) {
        while (m->nfds)
            close(fds[--m->nfds]);
        m->fd = -1;
    }
    return err;
}
