/*
 * Unix sockets. See unix(7).
 *
 *   sock --peer--> sock            what is sent goes into the peer's queue,
 *    |              |              and counts against the sender until it is read
 *   queue          queue
 *
 * Stream and seqpacket pairs are made by connect: it creates the accepting side at once, and
 * leaves it on the listener's queue for accept. Datagram sockets keep a peer as default
 * destination.
 *
 * Locks: unix_names.lock (UNIX_NAMES) for names; socket.lock (SOCKET) for a socket's state and
 * queue, nested only listener before connecting socket; recv_lock (SOCKET_RECV) makes readers take
 * turns, so that a message can be copied out while it stays at the head of the queue.
 */
#ifndef PICKET_SENTRY_SOCKET_UNIX_UNIX_H
#define PICKET_SENTRY_SOCKET_UNIX_UNIX_H

#include "sentry/kernel/task.h"
#include "sentry/socket/socket.h"
#include <sys/un.h>

/* Immutable. */
struct unix_addr {
    struct refcount ref;
    socklen_t len; /* of un, sun_family included */
    struct sockaddr_un un;
};

enum unix_state { UNIX_CLOSE, UNIX_CONNECTING, UNIX_LISTEN, UNIX_CONNECTED, UNIX_DEAD };

struct unix_msg {
    struct list_head link;
    struct unix_sock *sender; /* referenced: what it costs is the sender's */
    struct unix_addr *from;   /* referenced, or NULL */
    struct scm_files *files;
    struct ucred creds;
    int64_t stamp;   /* when it came, in ns since 1970; 0: nobody asked */
    size_t len, off; /* off: what was read of a stream message */
    char data[];
};

struct unix_sock {
    struct socket sock;
    struct refcount ref; /* its file, peers, messages it sent */

    /* UNIX_NAMES */
    struct unix_addr *addr;     /* also read under sock.lock: set once */
    struct path_ref path;       /* bound to a file, or empty */
    struct list_head name_link; /* abstract names */

    /* sock.lock */
    enum unix_state state;
    struct unix_sock *peer; /* referenced */
    _Atomic bool rcv_shut, snd_shut;
    _Atomic int err; /* SO_ERROR: positive */
    struct list_head msgs;
    unsigned nmsgs;
    size_t bytes;
    struct unix_msg *oob; /* the message in msgs that is one urgent byte, until it is read */
    int backlog;
    struct list_head embryos; /* accept_link */
    int nembryos;
    struct ucred cred, peer_cred;
    _Atomic bool passcred;
    struct list_head senders; /* sender_link of datagram sockets that have this one as their peer */

    /* UNIX_GC: see gc.c. */
    struct {
        unsigned inflight;     /* references of our file that messages hold */
        struct list_head link; /* while there are any */
        struct file *file;     /* likewise */
        bool suspect;          /* the rest: during a search */
        unsigned outside;
        struct list_head work;
    } gc;

    struct list_head accept_link; /* the listener's lock */
    struct list_head sender_link; /* the peer's lock */
    struct mutex recv_lock;       /* SOCKET_RECV */
    struct wait_queue room;       /* who waits for a place in this queue */
    _Atomic size_t sent;          /* bytes that sit in others' queues */
};

#define UNIX_DGRAM_QUEUE 11u /* a datagram socket takes no more than this many messages */
#define READABLE (POLLIN | POLLRDNORM)
#define WRITABLE (POLLOUT | POLLWRNORM | POLLWRBAND)

static inline struct unix_sock *unix_of(struct socket *s)
{
    return container_of(s, struct unix_sock, sock);
}
static inline bool unix_is_dgram(const struct unix_sock *s)
{
    return s->sock.type == SOCK_DGRAM;
}
/* The error that waits, negative: told once. s->sock.lock held. */
static inline int unix_take_error(struct unix_sock *s)
{
    return -atomic_exchange(&s->err, 0);
}
struct unix_sock *unix_create(struct kernel *k, int type);
struct unix_sock *unix_get(struct unix_sock *s);
void unix_put(struct unix_sock *s);
void unix_set_cred(struct ucred *c, const struct task *t);

/* ---- names.c ---- */

void unix_names_lock(const struct unix_sock *s);
void unix_names_unlock(const struct unix_sock *s);
void unix_addr_put(struct unix_addr *a);
/* The socket that a names, with a reference; -ECONNREFUSED, -EPROTOTYPE if its type is another, or
 * what the path walk says. */
int unix_lookup(struct task *t, const struct sockaddr_storage *a, socklen_t len, int type,
                struct unix_sock **out);
int unix_bind(struct socket *sock, struct task *t, const struct sockaddr_storage *a, socklen_t len);
/* Gives s an abstract name of its own if it has none. */
int unix_autobind(struct unix_sock *s);
/* s goes: nobody finds it any more. */
void unix_unname(struct unix_sock *s);
int unix_getname(struct socket *sock, bool peer, struct sockaddr_storage *a, socklen_t *len);

/* ---- connect.c ---- */

int unix_connect(struct socket *sock, struct task *t, const struct sockaddr_storage *a,
                 socklen_t len, bool nonblock);
int unix_listen(struct socket *sock, struct task *t, int backlog);
int unix_accept(struct socket *sock, struct task *t, bool nonblock, struct socket **out);
int unix_shutdown(struct socket *sock, int how);
void unix_release(struct socket *sock);
void unix_set_dgram_peer(struct unix_sock *s, struct unix_sock *other, enum unix_state state);
/* The peer with a reference, or NULL. */
struct unix_sock *unix_peer_get(struct unix_sock *s);

/* ---- gc.c ---- */

/* Files leave for a queue, on behalf of a user; before any socket's lock is taken. NULL is
 * harmless. 0 or -ENOMEM. */
int unix_files_launch(struct kernel *k, struct scm_files *files, uid_t uid);
/* Frees the sockets that only each other's messages refer to. No lock held. */
void unix_collect(struct kernel *k);

/* ---- message.c ---- */

ssize_t unix_sendmsg(struct socket *sock, struct task *t, struct uio *u, struct sock_msg *m);
ssize_t unix_recvmsg(struct socket *sock, struct task *t, struct uio *u, struct sock_msg *m);
void unix_msg_free(struct unix_msg *msg);
/* Whether s may send more before it has to wait. */
bool unix_writable(struct unix_sock *s);
/* Whether the next byte of a stream to be read is urgent, or was. */
bool unix_at_mark(struct unix_sock *s);
/* Throws away all messages in the queue of s. No lock held. Returns whether there were any. */
bool unix_purge(struct unix_sock *s);
/* other->sock.lock held: whether other takes no more datagrams from s. */
bool unix_dgram_full(const struct unix_sock *other, const struct unix_sock *s);

#endif
