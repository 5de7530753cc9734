/*
 * How Unix sockets meet and part.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/socket/unix/unix.h"
#include <asm/ioctls.h>
#include <limits.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>

#define SOMAXCONN_DEFAULT 4096 /* net.core.somaxconn */

static const struct socket_ops unix_ops;

/* ---- life ---- */

struct unix_sock *unix_create(struct kernel *k, int type)
{
    struct unix_sock *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    socket_init(&s->sock, &unix_ops, k, AF_UNIX, type, 0);
    ref_init(&s->ref);
    list_init(&s->name_link);
    list_init(&s->msgs);
    list_init(&s->embryos);
    list_init(&s->accept_link);
    list_init(&s->senders);
    list_init(&s->sender_link);
    list_init(&s->gc.link);
    list_init(&s->gc.work);
    mutex_init(&s->recv_lock, LOCK_SOCKET_RECV);
    wait_queue_init(&s->room);
    s->peer_cred = (struct ucred){0, (uid_t)-1, (gid_t)-1};
    return s;
}

struct unix_sock *unix_get(struct unix_sock *s)
{
    ref_get(&s->ref);
    return s;
}

void unix_put(struct unix_sock *s)
{
    if (!s || !ref_put(&s->ref))
        return;
    unix_addr_put(s->addr);
    wait_queue_destroy(&s->room);
    mutex_destroy(&s->recv_lock);
    socket_fini(&s->sock);
    free(s);
}

void unix_set_cred(struct ucred *c, const struct task *t)
{
    *c = (struct ucred){t->tg->tgid, t->cred->euid, t->cred->egid};
}

struct unix_sock *unix_peer_get(struct unix_sock *s)
{
    MUTEX_GUARD(&s->sock.lock);
    return s->peer ? unix_get(s->peer) : NULL;
}

int unix_socket_create(struct task *t, int type, int protocol, struct socket **out,
                       struct socket **pair)
{
    if (protocol && protocol != PF_UNIX)
        return -EPROTONOSUPPORT;
    if (type == SOCK_RAW)
        type = SOCK_DGRAM;
    if (type != SOCK_STREAM && type != SOCK_DGRAM && type != SOCK_SEQPACKET)
        return -ESOCKTNOSUPPORT;
    struct unix_sock *a = unix_create(t->kernel, type);
    struct unix_sock *b = pair ? unix_create(t->kernel, type) : NULL;
    if (!a || (pair && !b)) {
        unix_put(a);
        unix_put(b);
        return -ENOMEM;
    }
    *out = &a->sock;
    if (!pair)
        return 0;
    *pair = &b->sock;
    a->peer = unix_get(b);
    b->peer = unix_get(a);
    a->state = b->state = UNIX_CONNECTED;
    unix_set_cred(&a->cred, t);
    a->peer_cred = b->cred = b->peer_cred = a->cred;
    return 0;
}

/* The other end of s is gone: nothing will come, and nothing can be sent. */
static void peer_hang_up(struct unix_sock *s, int err)
{
    mutex_lock(&s->sock.lock);
    s->rcv_shut = s->snd_shut = true;
    if (err)
        s->err = err;
    mutex_unlock(&s->sock.lock);
    wait_wake_n(&s->sock.queue, READABLE | WRITABLE | POLLHUP | POLLRDHUP | POLLERR, INT_MAX);
    wait_wake_n(&s->room, WRITABLE, INT_MAX);
}

static void drop_messages(struct list_head *msgs)
{
    struct unix_msg *m, *next;
    list_for_each_safe (m, next, msgs, link) {
        list_del(&m->link);
        unix_msg_free(m);
    }
}

static void list_move_all(struct list_head *from, struct list_head *to)
{
    list_init(to);
    if (list_empty(from))
        return;
    list_insert_between(to, from->prev, from);
    list_del(from);
}

/* embryo: nobody has accepted it. Takes the reference of the file. */
static void unix_close(struct unix_sock *s, bool embryo)
{
    struct list_head msgs, embryos;
    unix_unname(s);
    if (unix_is_dgram(s))
        unix_set_dgram_peer(s, NULL, UNIX_DEAD);
    mutex_lock(&s->sock.lock);
    s->state = UNIX_DEAD;
    s->rcv_shut = s->snd_shut = true;
    struct unix_sock *peer = s->peer;
    s->peer = NULL;
    bool unread = s->nmsgs > 0;
    list_move_all(&s->msgs, &msgs);
    list_move_all(&s->embryos, &embryos);
    s->nmsgs = 0;
    s->bytes = 0;
    s->oob = NULL;
    s->nembryos = 0;
    mutex_unlock(&s->sock.lock);
    wait_wake_n(&s->room, WRITABLE, INT_MAX);

    if (peer)
        peer_hang_up(peer, unread || embryo ? ECONNRESET : 0);
    unix_put(peer);
    drop_messages(&msgs);
    struct unix_sock *e, *next;
    list_for_each_safe (e, next, &embryos, accept_link) {
        list_del(&e->accept_link);
        unix_close(e, true); /* has no embryos of its own */
    }
    unix_put(s);
}

void unix_release(struct socket *sock)
{
    struct kernel *k = sock->kernel;
    unix_close(unix_of(sock), false);
    if (!scm_files_freeing())
        unix_collect(k);
}

/* ---- connecting ---- */

/* s has another peer now, or none: what it had not read of the old one is lost, which the old one
 * hears if it was connected to s. */
static void forget_old_peer(struct unix_sock *s, struct unix_sock *old)
{
    if (!unix_purge(s))
        return;
    mutex_lock(&old->sock.lock);
    bool tell = old->peer == s && old->state != UNIX_DEAD;
    if (tell)
        old->err = ECONNRESET;
    mutex_unlock(&old->sock.lock);
    if (tell)
        wait_wake_n(&old->sock.queue, POLLERR, INT_MAX);
}

/* Gives a datagram socket another peer (a reference is taken over), or none. */
void unix_set_dgram_peer(struct unix_sock *s, struct unix_sock *other, enum unix_state state)
{
    unix_names_lock(s); /* one change of peers at a time, so that sender_link agrees with peer */
    mutex_lock(&s->sock.lock);
    struct unix_sock *old = s->peer;
    s->peer = other;
    s->state = state;
    mutex_unlock(&s->sock.lock);
    if (old) {
        mutex_lock(&old->sock.lock);
        list_del(&s->sender_link);
        mutex_unlock(&old->sock.lock);
    }
    if (other) {
        mutex_lock(&other->sock.lock);
        list_add(&other->senders, &s->sender_link);
        mutex_unlock(&other->sock.lock);
    }
    unix_names_unlock(s);
    if (old && old != other && state != UNIX_DEAD)
        forget_old_peer(s, old);
    unix_put(old);
}

/* A datagram socket's default destination; AF_UNSPEC takes it away. */
static int connect_dgram(struct unix_sock *s, struct task *t, const struct sockaddr_storage *a,
                         socklen_t len)
{
    struct unix_sock *other = NULL;
    if (a->ss_family != AF_UNSPEC) {
        int err = unix_lookup(t, a, len, s->sock.type, &other);
        if (err)
            return err;
        mutex_lock(&other->sock.lock);
        bool may = !other->peer || other->peer == s;
        mutex_unlock(&other->sock.lock);
        if (!may) {
            unix_put(other);
            return -EPERM;
        }
    }
    if (other && s->passcred) {
        int err = unix_autobind(s);
        if (err) {
            unix_put(other);
            return err;
        }
    }
    unix_set_dgram_peer(s, other, other ? UNIX_CONNECTED : UNIX_CLOSE);
    return 0;
}

/* Whether the listener takes s now; -EAGAIN if its queue is full. e: the other end. */
static int join_queue(struct unix_sock *listener, struct unix_sock *s, struct unix_sock *e)
{
    MUTEX_GUARD(&listener->sock.lock);
    if (listener->state != UNIX_LISTEN || listener->rcv_shut)
        return -ECONNREFUSED;
    if (listener->nembryos > listener->backlog)
        return -EAGAIN;
    e->state = UNIX_CONNECTED;
    e->peer = unix_get(s);
    e->cred = listener->cred;
    e->peer_cred = s->cred;
    e->passcred = listener->passcred;
    e->sock.sndbuf = listener->sock.sndbuf;
    e->addr = listener->addr;
    ref_get(&e->addr->ref);
    mutex_lock_nested(&s->sock.lock);
    s->peer = unix_get(e);
    s->peer_cred = listener->cred;
    s->state = UNIX_CONNECTED;
    mutex_unlock(&s->sock.lock);
    list_add_tail(&listener->embryos, &e->accept_link);
    listener->nembryos++;
    return 0;
}

static int join_or_wait(struct unix_sock *listener, struct unix_sock *s, struct unix_sock *e,
                        struct task *t, bool nonblock)
{
    struct wait_entry w;
    ktime_t at;
    int err = join_queue(listener, s, e);
    if (err != -EAGAIN || nonblock)
        return err;
    const ktime_t *deadline = socket_deadline(&s->sock, true, &at);
    wait_entry_init_task(&w, t, POLLOUT);
    wait_add(&listener->room, &w);
    int slept = 0;
    while ((err = join_queue(listener, s, e)) == -EAGAIN && !slept)
        slept = task_block(t, deadline);
    wait_remove(&listener->room, &w);
    if (err != -EAGAIN || slept == -ETIMEDOUT)
        return err;
    return deadline ? -EINTR : slept;
}

static int begin_connect(struct unix_sock *s, struct task *t)
{
    MUTEX_GUARD(&s->sock.lock);
    if (s->state == UNIX_CONNECTED)
        return -EISCONN;
    if (s->state == UNIX_CONNECTING)
        return -EALREADY;
    if (s->state != UNIX_CLOSE)
        return -EINVAL;
    s->state = UNIX_CONNECTING;
    unix_set_cred(&s->cred, t);
    return 0;
}

static int connect_stream(struct unix_sock *s, struct task *t, const struct sockaddr_storage *a,
                          socklen_t len, bool nonblock)
{
    struct unix_sock *listener = NULL, *e = NULL;
    int err = unix_lookup(t, a, len, s->sock.type, &listener);
    if (!err)
        err = begin_connect(s, t);
    if (err) {
        unix_put(listener);
        return err;
    }
    e = unix_create(t->kernel, s->sock.type);
    if (!e)
        err = -ENOMEM;
    if (!err && s->passcred)
        err = unix_autobind(s);
    if (!err)
        err = join_or_wait(listener, s, e, t, nonblock);
    if (err) {
        unix_put(e);
        MUTEX_GUARD(&s->sock.lock);
        s->state = UNIX_CLOSE;
    } else {
        wait_wake(&listener->sock.queue, READABLE);
    }
    unix_put(listener);
    return err;
}

int unix_connect(struct socket *sock, struct task *t, const struct sockaddr_storage *a,
                 socklen_t len, bool nonblock)
{
    struct unix_sock *s = unix_of(sock);
    return unix_is_dgram(s) ? connect_dgram(s, t, a, len) : connect_stream(s, t, a, len, nonblock);
}

int unix_listen(struct socket *sock, struct task *t, int backlog)
{
    struct unix_sock *s = unix_of(sock);
    if (unix_is_dgram(s))
        return -EOPNOTSUPP;
    mutex_lock(&s->sock.lock);
    int err = 0;
    if (!s->addr || (s->state != UNIX_CLOSE && s->state != UNIX_LISTEN)) {
        err = -EINVAL;
    } else {
        s->state = UNIX_LISTEN;
        s->backlog = (unsigned)backlog > SOMAXCONN_DEFAULT ? SOMAXCONN_DEFAULT : backlog;
        unix_set_cred(&s->cred, t);
    }
    mutex_unlock(&s->sock.lock);
    if (!err)
        wait_wake_n(&s->room, WRITABLE, INT_MAX);
    return err;
}

/* 0 and an embryo, or -EAGAIN if there is none; -EINVAL if that stays so. */
static int take_embryo(struct unix_sock *s, bool nonblock, struct unix_sock **out)
{
    MUTEX_GUARD(&s->sock.lock);
    if (s->state != UNIX_LISTEN)
        return -EINVAL;
    struct unix_sock *e = list_first(&s->embryos, struct unix_sock, accept_link);
    if (!e)
        return s->rcv_shut && !nonblock ? -EINVAL : -EAGAIN;
    list_del(&e->accept_link);
    s->nembryos--;
    *out = e;
    return 0;
}

int unix_accept(struct socket *sock, struct task *t, bool nonblock, struct socket **out)
{
    struct unix_sock *s = unix_of(sock), *e = NULL;
    if (unix_is_dgram(s))
        return -EOPNOTSUPP;
    int err = take_embryo(s, nonblock, &e);
    if (err == -EAGAIN && !nonblock) {
        struct wait_entry w;
        ktime_t at;
        const ktime_t *deadline = socket_deadline(&s->sock, false, &at);
        int slept = 0;
        wait_entry_init_task(&w, t, POLLIN);
        w.exclusive = true;
        wait_add(&s->sock.queue, &w);
        while ((err = take_embryo(s, nonblock, &e)) == -EAGAIN && !slept)
            slept = task_block(t, deadline);
        wait_remove(&s->sock.queue, &w);
        if (err == -EAGAIN && slept != -ETIMEDOUT)
            err = deadline ? -EINTR : slept;
    }
    if (err)
        return err;
    wait_wake(&s->room, WRITABLE);
    *out = &e->sock;
    return 0;
}

int unix_shutdown(struct socket *sock, int how)
{
    struct unix_sock *s = unix_of(sock);
    bool rcv = how == SHUT_RD || how == SHUT_RDWR, snd = how == SHUT_WR || how == SHUT_RDWR;
    if (!rcv && !snd)
        return -EINVAL;
    mutex_lock(&s->sock.lock);
    s->rcv_shut |= rcv;
    s->snd_shut |= snd;
    struct unix_sock *peer = s->peer && !unix_is_dgram(s) ? unix_get(s->peer) : NULL;
    mutex_unlock(&s->sock.lock);
    if (peer) {
        mutex_lock(&peer->sock.lock);
        peer->snd_shut |= rcv;
        peer->rcv_shut |= snd;
        mutex_unlock(&peer->sock.lock);
        wait_wake_n(&peer->sock.queue, READABLE | WRITABLE | POLLHUP | POLLRDHUP, INT_MAX);
        unix_put(peer);
    }
    wait_wake_n(&s->sock.queue, READABLE | WRITABLE | POLLHUP | POLLRDHUP, INT_MAX);
    wait_wake_n(&s->room, WRITABLE, INT_MAX);
    return 0;
}

/* ---- the rest of a socket ---- */

static uint32_t unix_poll(struct socket *sock)
{
    struct unix_sock *s = unix_of(sock);
    uint32_t ready = 0;
    mutex_lock(&s->sock.lock);
    if (s->err)
        ready |= POLLERR;
    if (s->rcv_shut && s->snd_shut)
        ready |= POLLHUP;
    if (s->rcv_shut)
        ready |= POLLRDHUP | READABLE;
    if (s->nmsgs || s->nembryos)
        ready |= READABLE;
    if (s->oob)
        ready |= POLLPRI;
    if (!unix_is_dgram(s) && (s->state == UNIX_CLOSE || s->state == UNIX_CONNECTING))
        ready |= POLLHUP;
    bool may_write = s->state != UNIX_LISTEN && unix_writable(s);
    struct unix_sock *dest = unix_is_dgram(s) && s->peer ? unix_get(s->peer) : NULL;
    mutex_unlock(&s->sock.lock);
    if (dest) {
        mutex_lock(&dest->sock.lock);
        may_write &= !unix_dgram_full(dest, s);
        mutex_unlock(&dest->sock.lock);
        unix_put(dest);
    }
    if (!may_write)
        atomic_store(&s->sock.out_missed, true);
    return ready | (may_write ? WRITABLE : 0);
}

static long unix_ioctl(struct socket *sock, struct task *t, unsigned cmd, uint64_t arg)
{
    struct unix_sock *s = unix_of(sock);
    int n = 0;
    if (cmd == SIOCATMARK && s->sock.type == SOCK_STREAM) {
        n = unix_at_mark(s);
        return MM_COPY_OUT(t->mm, arg, &n);
    }
    if (cmd != SIOCINQ && cmd != SIOCOUTQ)
        return cmd == SIOCATMARK ? -EOPNOTSUPP : -ENOTTY;
    mutex_lock(&s->sock.lock);
    bool listening = s->state == UNIX_LISTEN;
    if (cmd == SIOCOUTQ) {
        n = (int)atomic_load(&s->sent);
    } else if (s->sock.type == SOCK_STREAM) {
        n = (int)s->bytes;
    } else if (s->nmsgs) {
        n = (int)list_first(&s->msgs, struct unix_msg, link)->len;
    }
    mutex_unlock(&s->sock.lock);
    return listening ? -EINVAL : MM_COPY_OUT(t->mm, arg, &n);
}

static int give(void *val, socklen_t *len, const void *from, size_t n)
{
    *len = MIN(*len, (socklen_t)n);
    memcpy(val, from, *len);
    return 0;
}

static int unix_getsockopt(struct socket *sock, int level, int name, void *val, socklen_t *len)
{
    struct unix_sock *s = unix_of(sock);
    if (level != SOL_SOCKET)
        return -EOPNOTSUPP;
    mutex_lock(&sock->lock);
    int value = 0, err = 0;
    struct ucred cred = s->peer_cred;
    bool plain = true;
    switch (name) {
    case SO_ERROR:
        value = -unix_take_error(s);
        break;
    case SO_PASSCRED:
        value = s->passcred;
        break;
    case SO_ACCEPTCONN:
        value = s->state == UNIX_LISTEN;
        break;
    default:
        plain = false;
    }
    mutex_unlock(&sock->lock);
    if (name == SO_PEERCRED) {
        cred = socket_cred_out(task_current(), &cred);
        err = give(val, len, &cred, sizeof cred);
    } else if (plain)
        err = give(val, len, &value, sizeof value);
    else
        err = socket_getsockopt(sock, name, val, len);
    return err;
}

static int unix_setsockopt(struct socket *sock, struct task *t, int level, int name,
                           const void *val, socklen_t len)
{
    struct unix_sock *s = unix_of(sock);
    int value;
    if (level != SOL_SOCKET)
        return -EOPNOTSUPP;
    if (name != SO_PASSCRED)
        return socket_setsockopt(sock, t, name, val, len);
    if (len < sizeof value)
        return -EINVAL;
    memcpy(&value, val, sizeof value);
    MUTEX_GUARD(&sock->lock);
    s->passcred = value;
    return 0;
}

static const struct socket_ops unix_ops = {
    .release = unix_release,
    .bind = unix_bind,
    .connect = unix_connect,
    .listen = unix_listen,
    .accept = unix_accept,
    .getname = unix_getname,
    .sendmsg = unix_sendmsg,
    .recvmsg = unix_recvmsg,
    .shutdown = unix_shutdown,
    .getsockopt = unix_getsockopt,
    .setsockopt = unix_setsockopt,
    .poll = unix_poll,
    .ioctl = unix_ioctl,
};
