/*
 * Sending and receiving.
 *
 * The sender copies the data into a message before it takes any lock, the receiver copies it out
 * while it holds only its recv_lock.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/socket/unix/unix.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define STREAM_CHUNK (64u * 1024)
/* What a message costs beyond its data, as far as the sender's buffer is concerned. */
#define OVERHEAD 576u

static size_t cost(const struct unix_msg *m)
{
    return m->len + OVERHEAD;
}

bool unix_writable(struct unix_sock *s)
{
    return atomic_load(&s->sent) * 4 <= s->sock.sndbuf;
}

static bool has_room(struct unix_sock *s)
{
    return atomic_load(&s->sent) < s->sock.sndbuf;
}

/* ---- messages ---- */

/* A message of n bytes from u. */
static int msg_create(struct unix_sock *s, struct uio *u, size_t n, const struct sock_msg *m,
                      struct unix_msg **out)
{
    struct unix_msg *msg = malloc(sizeof *msg + n);
    if (!msg)
        return -ENOMEM;
    if (n && uio_copy_from(u, msg->data, n) != (ssize_t)n) {
        free(msg);
        return -EFAULT;
    }
    list_init(&msg->link);
    msg->sender = unix_get(s);
    mutex_lock(&s->sock.lock);
    msg->from = s->addr;
    if (msg->from)
        ref_get(&msg->from->ref);
    mutex_unlock(&s->sock.lock);
    msg->files = NULL;
    msg->creds = m->creds;
    msg->stamp = 0;
    msg->len = n;
    msg->off = 0;
    atomic_fetch_add(&s->sent, cost(msg));
    *out = msg;
    return 0;
}

/* The sender gets its room back. */
void unix_msg_free(struct unix_msg *msg)
{
    struct unix_sock *s = msg->sender;
    atomic_fetch_sub(&s->sent, cost(msg));
    if (unix_writable(s))
        wait_wake(&s->sock.queue, WRITABLE);
    scm_files_free(msg->files);
    unix_addr_put(msg->from);
    free(msg);
    unix_put(s);
}

/* other->sock.lock held. The files of m go with it. */
static void enqueue(struct unix_sock *other, struct unix_msg *msg, struct sock_msg *m)
{
    if (other->sock.stamp_as && other->sock.type != SOCK_STREAM)
        msg->stamp = clock_realtime(&other->sock.kernel->clock);
    msg->files = m->files;
    m->files = NULL;
    list_add_tail(&other->msgs, &msg->link);
    other->nmsgs++;
    other->bytes += msg->len;
}

bool unix_dgram_full(const struct unix_sock *other, const struct unix_sock *s)
{
    return other->peer != s && other->nmsgs >= UNIX_DGRAM_QUEUE;
}

static void dequeue(struct unix_sock *s, struct unix_msg *msg)
{
    MUTEX_GUARD(&s->sock.lock);
    if (s->nmsgs == UNIX_DGRAM_QUEUE) {
        struct unix_sock *sender;
        list_for_each (sender, &s->senders, sender_link)
            wait_wake(&sender->sock.queue, WRITABLE);
    }
    list_del(&msg->link);
    s->nmsgs--;
    s->bytes -= msg->len - msg->off;
}

/* ---- sending ---- */

/* Sleeps until s has room for more. */
static int wait_room(struct unix_sock *s, struct task *t, bool nonblock)
{
    struct wait_entry w;
    ktime_t at;
    int err = 0;
    if (has_room(s))
        return 0;
    atomic_store(&s->sock.out_missed, true);
    if (nonblock)
        return -EAGAIN;
    const ktime_t *deadline = socket_deadline(&s->sock, true, &at);
    wait_entry_init_task(&w, t, POLLOUT);
    wait_add(&s->sock.queue, &w);
    while (!has_room(s) && !s->snd_shut && !err)
        err = task_block(t, deadline);
    wait_remove(&s->sock.queue, &w);
    if (s->err) {
        MUTEX_GUARD(&s->sock.lock);
        if (s->err)
            return unix_take_error(s);
    }
    if (has_room(s))
        return 0;
    if (err == -ETIMEDOUT)
        return -EAGAIN;
    return err && deadline ? -EINTR : err;
}

/* The connected peer with a reference. */
static int stream_peer(struct unix_sock *s, struct unix_sock **other)
{
    MUTEX_GUARD(&s->sock.lock);
    if (s->snd_shut)
        return -EPIPE;
    if (s->state != UNIX_CONNECTED || !s->peer)
        return -ENOTCONN;
    *other = unix_get(s->peer);
    return 0;
}

/* Puts msg in other's queue, with the files of m. An urgent message is one byte; the one before it,
 * if nobody has read it, becomes a byte like others. */
static int deliver(struct unix_sock *other, struct unix_msg *msg, struct sock_msg *m, bool urgent)
{
    mutex_lock(&other->sock.lock);
    bool open = other->state != UNIX_DEAD && !other->rcv_shut;
    if (open) {
        enqueue(other, msg, m);
        if (urgent)
            other->oob = msg;
    }
    mutex_unlock(&other->sock.lock);
    if (!open) {
        unix_msg_free(msg);
        return -EPIPE;
    }
    wait_wake(&other->sock.queue, READABLE | (urgent ? POLLPRI : 0));
    return 0;
}

/* Cuts what u has into messages for other. Returns the bytes sent, or an error if there are none.
 */
static ssize_t stream_send_to(struct unix_sock *s, struct unix_sock *other, struct task *t,
                              struct uio *u, struct sock_msg *m)
{
    ssize_t done = 0;
    int err = 0;
    while (u->resid && !err) {
        struct unix_msg *msg;
        bool urgent = m->flags & MSG_OOB && u->resid == 1; /* the last byte */
        uint64_t left = m->flags & MSG_OOB && !urgent ? u->resid - 1 : u->resid;
        size_t n = MIN(left, MIN((uint64_t)STREAM_CHUNK, (uint64_t)s->sock.sndbuf / 2));
        err = wait_room(s, t, m->flags & MSG_DONTWAIT);
        if (!err)
            err = msg_create(s, u, n, m, &msg);
        if (!err)
            err = deliver(other, msg, m, urgent);
        if (!err)
            done += (ssize_t)n;
    }
    return done ? done : err;
}

static ssize_t stream_send(struct unix_sock *s, struct task *t, struct uio *u, struct sock_msg *m)
{
    struct unix_sock *other = NULL;
    if (m->flags & MSG_OOB && u->resid == 0)
        return -EOPNOTSUPP;
    ssize_t n = stream_peer(s, &other);
    if (m->name_len)
        n = n == -ENOTCONN ? -EOPNOTSUPP : -EISCONN;
    if (!n)
        n = stream_send_to(s, other, t, u, m);
    unix_put(other);
    if (n == -EPIPE && !(m->flags & MSG_NOSIGNAL))
        signal_send_self(t, SIGPIPE);
    return n;
}

/* Where a datagram goes, with a reference. */
static int dgram_target(struct unix_sock *s, struct task *t, const struct sock_msg *m,
                        struct unix_sock **other)
{
    if (m->name_len && unix_is_dgram(s))
        return unix_lookup(t, &m->name, m->name_len, s->sock.type, other);
    mutex_lock(&s->sock.lock);
    int err = s->snd_shut ? -EPIPE : 0;
    *other = s->peer ? unix_get(s->peer) : NULL;
    mutex_unlock(&s->sock.lock);
    if (!*other && !err)
        err = -ENOTCONN;
    if (err) {
        unix_put(*other);
        *other = NULL;
    }
    return err;
}

/* 0 if the datagram is in the queue, -EAGAIN if it has no place there yet. */
static int dgram_try(struct unix_sock *s, struct unix_sock *other, struct unix_msg *msg,
                     struct sock_msg *m)
{
    MUTEX_GUARD(&other->sock.lock);
    if (other->state == UNIX_DEAD)
        return unix_is_dgram(s) ? -ECONNREFUSED : -EPIPE;
    if (other->rcv_shut)
        return -EPIPE;
    if (unix_is_dgram(s) && other->peer && other->peer != s)
        return -EPERM;
    if (unix_dgram_full(other, s))
        return -EAGAIN;
    enqueue(other, msg, m);
    return 0;
}

static int dgram_try_or_wait(struct unix_sock *s, struct unix_sock *other, struct task *t,
                             struct unix_msg *msg, struct sock_msg *m)
{
    struct wait_entry w;
    ktime_t at;
    int err = dgram_try(s, other, msg, m), slept = 0;
    if (err != -EAGAIN || m->flags & MSG_DONTWAIT)
        return err;
    const ktime_t *deadline = socket_deadline(&s->sock, true, &at);
    wait_entry_init_task(&w, t, POLLOUT);
    wait_add(&other->room, &w);
    while ((err = dgram_try(s, other, msg, m)) == -EAGAIN && !slept)
        slept = task_block(t, deadline);
    wait_remove(&other->room, &w);
    if (err != -EAGAIN || slept == -ETIMEDOUT)
        return err;
    return deadline ? -EINTR : slept;
}

static ssize_t dgram_send(struct unix_sock *s, struct task *t, struct uio *u, struct sock_msg *m)
{
    struct unix_sock *other = NULL;
    struct unix_msg *msg = NULL;
    size_t n = u->resid;
    if (n > s->sock.sndbuf - 32)
        return -EMSGSIZE;
    int err = s->passcred ? unix_autobind(s) : 0;
    if (!err)
        err = dgram_target(s, t, m, &other);
    if (err)
        return err;
    err = wait_room(s, t, m->flags & MSG_DONTWAIT);
    if (!err)
        err = msg_create(s, u, n, m, &msg);
    if (!err) {
        err = dgram_try_or_wait(s, other, t, msg, m);
        if (err)
            unix_msg_free(msg);
        else
            wait_wake(&other->sock.queue, READABLE);
        if (err == -ECONNREFUSED && !m->name_len)
            unix_set_dgram_peer(s, NULL, UNIX_CLOSE);
    }
    unix_put(other);
    return err ? err : (ssize_t)n;
}

ssize_t unix_sendmsg(struct socket *sock, struct task *t, struct uio *u, struct sock_msg *m)
{
    struct unix_sock *s = unix_of(sock);
    if (m->flags & MSG_OOB && sock->type != SOCK_STREAM)
        return -EOPNOTSUPP;
    if (sock->type == SOCK_SEQPACKET && s->err) {
        MUTEX_GUARD(&sock->lock);
        if (s->err)
            return unix_take_error(s);
    }
    if (!m->has_creds)
        m->creds = (struct ucred){t->tg->tgid, t->cred->uid, t->cred->gid};
    int err = unix_files_launch(t->kernel, m->files, t->cred->uid);
    if (err)
        return err;
    return sock->type == SOCK_STREAM ? stream_send(s, t, u, m) : dgram_send(s, t, u, m);
}

/* ---- receiving ---- */

/* Where a reader stands. */
struct look {
    bool peek;
    bool copied;                  /* it has something already */
    const struct unix_msg *after; /* go on behind this one (peek) */
    size_t skip;                  /* SO_PEEK_OFF: bytes to pass over; then, of the message found */
    bool at_mark;                 /* out: what is urgent comes next, and ends this call */
};

static void look_begin(struct look *k, const struct unix_sock *s, const struct sock_msg *m)
{
    int off = s->sock.peek_off;
    *k = (struct look){.peek = m->flags & MSG_PEEK};
    if (k->peek && off > 0)
        k->skip = (size_t)off;
}

/* SO_PEEK_OFF goes on with what was looked at, and back with what is taken. */
static void move_peek_off(struct unix_sock *s, bool peek, size_t n)
{
    int off = s->sock.peek_off;
    if (off < 0)
        return;
    int64_t moved = peek ? (int64_t)off + (int64_t)n : (int64_t)off - (int64_t)n;
    s->sock.peek_off = (int)MIN(MAX(moved, (int64_t)0), (int64_t)INT32_MAX);
}

/* Off the queue, onto `dropped`. sock.lock held. */
static void drop_locked(struct unix_sock *s, struct unix_msg *msg, struct list_head *dropped)
{
    if (s->oob == msg)
        s->oob = NULL;
    list_del(&msg->link);
    s->nmsgs--;
    s->bytes -= msg->len - msg->off;
    list_add_tail(dropped, &msg->link);
}

/* Whether msg marks the place of urgent data: that byte itself, or what MSG_OOB left of it. A read
 * that has something ends there (*end); one that begins there passes over it. */
static bool is_mark(struct unix_sock *s, const struct look *k, const struct unix_msg *msg,
                    bool *end)
{
    bool unread = msg == s->oob;
    if (s->sock.type != SOCK_STREAM || (!unread && msg->off < msg->len))
        return false;
    *end = k->copied && (unread || !s->oob);
    return *end || !unread || !s->sock.oob_inline;
}

/* The next message for this reader, or NULL. sock.lock held. */
static struct unix_msg *look_for(struct unix_sock *s, struct look *k, struct list_head *dropped)
{
    struct unix_msg *msg, *next;
    bool behind = !k->after;
    list_for_each_safe (msg, next, &s->msgs, link) {
        size_t left = msg->len - msg->off;
        if (!behind) {
            behind = msg == k->after;
            continue;
        }
        if (is_mark(s, k, msg, &k->at_mark)) {
            if (k->at_mark)
                return NULL;
            if (!k->peek)
                drop_locked(s, msg, dropped);
            continue;
        }
        if (k->skip >= left && (left || k->skip)) {
            k->skip -= left;
            continue;
        }
        if (!k->peek && msg == s->oob)
            s->oob = NULL; /* SO_OOBINLINE: read like any other */
        return msg;
    }
    return NULL;
}

static void free_all(struct list_head *msgs)
{
    struct unix_msg *msg, *next;
    list_for_each_safe (msg, next, msgs, link) {
        list_del(&msg->link);
        unix_msg_free(msg);
    }
}

/* Why there is no message: an error, 0 at the end of file or at a mark, or -EAGAIN. */
static int look_status(struct unix_sock *s, const struct look *k)
{
    if (k->at_mark)
        return 0;
    if (s->err)
        return unix_take_error(s);
    if (s->rcv_shut)
        return 0;
    if (!unix_is_dgram(s) && s->state != UNIX_CONNECTED)
        return s->sock.type == SOCK_STREAM ? -EINVAL : -ENOTCONN;
    return -EAGAIN;
}

/*
 * The next message, which stays in the queue; NULL at the end of file. -EAGAIN if there is
 * neither. recv_lock held, so nobody else takes it off.
 */
static int try_look(struct unix_sock *s, struct look *k, struct unix_msg **out)
{
    struct list_head dropped;
    size_t skip = k->skip;
    list_init(&dropped);
    mutex_lock(&s->sock.lock);
    *out = look_for(s, k, &dropped);
    int err = *out ? 0 : look_status(s, k);
    mutex_unlock(&s->sock.lock);
    if (!*out)
        k->skip = skip;
    free_all(&dropped);
    return err;
}

/* As try_look, but waits. */
static int wait_first(struct unix_sock *s, struct task *t, bool nonblock, const ktime_t *deadline,
                      struct look *k, struct unix_msg **out)
{
    int err = try_look(s, k, out), slept = 0;
    if (!err && !*out && unix_is_dgram(s) && nonblock)
        return -EAGAIN; /* datagrams have no end */
    if (err != -EAGAIN || nonblock)
        return err;
    struct wait_entry w;
    wait_entry_init_task(&w, t, POLLIN);
    wait_add(&s->sock.queue, &w);
    while ((err = try_look(s, k, out)) == -EAGAIN && !slept) {
        mutex_unlock(&s->recv_lock);
        slept = task_block(t, deadline);
        mutex_lock(&s->recv_lock);
    }
    wait_remove(&s->sock.queue, &w);
    if (err != -EAGAIN || slept == -ETIMEDOUT)
        return err;
    return deadline ? -EINTR : slept;
}

static void take_name(struct sock_msg *m, const struct unix_msg *msg)
{
    m->name_len = 0;
    if (!msg->from)
        return;
    m->name_len = msg->from->len;
    memcpy(&m->name, &msg->from->un, sizeof msg->from->un);
}

/* The files of msg: moved, or copied by MSG_PEEK. */
static void take_files(struct sock_msg *m, struct unix_msg *msg)
{
    if (!msg->files)
        return;
    if (m->flags & MSG_PEEK) {
        m->files = scm_files_copy(msg->files);
        return;
    }
    unix_files_land(&msg->files, &m->files);
}

static void take_stamp(struct unix_sock *s, struct sock_msg *m, const struct unix_msg *msg)
{
    m->stamp_as = s->sock.stamp_as;
    if (m->stamp_as)
        m->stamp = msg->stamp ? msg->stamp : clock_realtime(&s->sock.kernel->clock);
}

/* A message is out of the queue. */
static void consumed(struct unix_sock *s, struct unix_msg *msg)
{
    dequeue(s, msg);
    unix_msg_free(msg);
    if (s->sock.type != SOCK_STREAM)
        wait_wake(&s->room, WRITABLE);
}

static ssize_t dgram_recv(struct unix_sock *s, struct task *t, struct uio *u, struct sock_msg *m)
{
    struct unix_msg *msg;
    struct look k;
    ktime_t at;
    MUTEX_GUARD(&s->recv_lock);
    const ktime_t *deadline = socket_deadline(&s->sock, false, &at);
    look_begin(&k, s, m);
    int err = wait_first(s, t, m->flags & MSG_DONTWAIT, deadline, &k, &msg);
    if (err || !msg)
        return err;
    take_name(m, msg);
    m->creds = msg->creds;
    m->has_creds = s->passcred;
    take_stamp(s, m, msg);
    take_files(m, msg);
    size_t whole = msg->len - k.skip, n = MIN(whole, u->resid);
    bool faulted = n && uio_copy_to(u, msg->data + k.skip, n) != (ssize_t)n;
    move_peek_off(s, k.peek, k.peek ? n : msg->len);
    if (n < whole)
        m->out_flags |= MSG_TRUNC;
    if (m->flags & MSG_TRUNC)
        n = whole;
    if (!k.peek)
        consumed(s, msg);
    return faulted ? -EFAULT : (ssize_t)n;
}

static bool same_creds(const struct ucred *a, const struct ucred *b)
{
    return a->pid == b->pid && a->uid == b->uid && a->gid == b->gid;
}

/* Takes n bytes off the front of msg. Returns whether that was all of it. */
static bool advance(struct unix_sock *s, struct unix_msg *msg, size_t n)
{
    mutex_lock(&s->sock.lock);
    msg->off += n;
    s->bytes -= n;
    bool all = msg->off == msg->len;
    mutex_unlock(&s->sock.lock);
    if (all)
        consumed(s, msg);
    return all;
}

/* One message, or a part, is looked at or taken. Returns bytes; *stop: nothing may be joined to it.
 */
static ssize_t stream_take(struct unix_sock *s, struct look *k, struct unix_msg *msg, struct uio *u,
                           struct sock_msg *m, bool *stop)
{
    size_t left = msg->len - msg->off - k->skip;
    ssize_t copied = uio_copy_to(u, msg->data + msg->off + k->skip, MIN(left, u->resid));
    if (copied < 0)
        return copied;
    take_files(m, msg);
    move_peek_off(s, k->peek, (size_t)copied);
    bool all = (size_t)copied == left;
    if (k->peek) {
        k->after = msg;
        k->skip = 0;
    } else {
        all = advance(s, msg, (size_t)copied);
    }
    *stop = !all || m->files;
    return copied;
}

static ssize_t stream_recv(struct unix_sock *s, struct task *t, struct uio *u, struct sock_msg *m)
{
    ktime_t at;
    ssize_t done = 0, n = 0;
    bool stop = false, nonblock = m->flags & MSG_DONTWAIT;
    uint64_t low = m->flags & MSG_WAITALL ? u->resid : MIN(u->resid, (uint64_t)s->sock.rcvlowat);
    struct look k;
    MUTEX_GUARD(&s->recv_lock);
    const ktime_t *deadline = socket_deadline(&s->sock, false, &at);
    look_begin(&k, s, m);
    do {
        struct unix_msg *msg;
        k.copied = done > 0;
        bool enough = done && (k.peek || (uint64_t)done >= low);
        n = wait_first(s, t, nonblock || enough, deadline, &k, &msg);
        if (n || !msg)
            break;
        if (done && s->passcred && !same_creds(&m->creds, &msg->creds))
            break;
        if (!done)
            take_name(m, msg);
        m->creds = msg->creds;
        m->has_creds = s->passcred;
        n = stream_take(s, &k, msg, u, m, &stop);
        if (n < 0)
            break;
        done += n;
    } while (u->resid && !stop);
    return done ? done : n;
}

/* MSG_OOB: the urgent byte. Its place in the stream stays marked. */
static ssize_t urgent_recv(struct unix_sock *s, struct uio *u, struct sock_msg *m)
{
    char byte;
    MUTEX_GUARD(&s->recv_lock);
    {
        MUTEX_GUARD(&s->sock.lock);
        struct unix_msg *msg = s->oob;
        if (s->state != UNIX_CONNECTED || s->sock.oob_inline || !msg)
            return -EINVAL;
        byte = msg->data[msg->off];
        if (!(m->flags & MSG_PEEK)) {
            s->oob = NULL;
            msg->off++;
            s->bytes--;
        }
    }
    m->out_flags |= MSG_OOB;
    return uio_copy_to(u, &byte, 1) == 1 ? 1 : -EFAULT;
}

ssize_t unix_recvmsg(struct socket *sock, struct task *t, struct uio *u, struct sock_msg *m)
{
    struct unix_sock *s = unix_of(sock);
    if (m->flags & MSG_OOB)
        return sock->type == SOCK_STREAM ? urgent_recv(s, u, m) : -EOPNOTSUPP;
    return sock->type == SOCK_STREAM ? stream_recv(s, t, u, m) : dgram_recv(s, t, u, m);
}

/* Whether the next byte to be read is behind urgent data, or is that. */
bool unix_at_mark(struct unix_sock *s)
{
    MUTEX_GUARD(&s->sock.lock);
    const struct unix_msg *msg = list_first(&s->msgs, struct unix_msg, link);
    return msg && (msg == s->oob || (!s->oob && msg->off == msg->len));
}

/* Throws away what a datagram socket has; returns whether there was anything. */
bool unix_purge(struct unix_sock *s)
{
    struct list_head msgs;
    list_init(&msgs);
    MUTEX_GUARD(&s->recv_lock);
    mutex_lock(&s->sock.lock);
    struct unix_msg *msg, *next;
    list_for_each_safe (msg, next, &s->msgs, link)
        drop_locked(s, msg, &msgs);
    mutex_unlock(&s->sock.lock);
    bool any = !list_empty(&msgs);
    free_all(&msgs);
    if (any)
        wait_wake_n(&s->room, WRITABLE, INT_MAX);
    return any;
}
