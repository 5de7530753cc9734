/*
 * Sockets: what all families have in common.
 *
 *   descriptor -> struct file -> struct socket --ops--> family (unix/)
 *
 * A socket lives and dies with its file description. socket_ops see sentry memory only, but for the
 * data itself (struct uio).
 */
#ifndef PICKET_SENTRY_SOCKET_SOCKET_H
#define PICKET_SENTRY_SOCKET_SOCKET_H

#include "sentry/vfs/vfs.h"
#include <sys/socket.h>

struct socket;

/* Open files on their way (SCM_RIGHTS): a reference on each. */
#define SCM_MAX_FILES 253u
struct scm_files {
    struct scm_files *next;  /* private to scm.c */
    struct kernel *flying;   /* while they are in a queue: socket/unix/gc.c */
    uid_t uid;               /* whose they are then */
    struct list_head seized; /* private to gc.c */
    unsigned n;
    struct file *files[];
};
struct scm_files *scm_files_create(unsigned n);
struct scm_files *scm_files_copy(const struct scm_files *s);
/* Drops the references. Closing a socket may drop more such sets: they are done one by one, however
 * deep they are nested. Harmless on NULL. */
void scm_files_free(struct scm_files *s);

/* One message, as sendmsg and recvmsg have it. */
struct sock_msg {
    /* Destination; or source, filled in by recvmsg. */
    struct sockaddr_storage name;
    socklen_t name_len; /* 0: none */
    int flags;          /* MSG_*; O_NONBLOCK is MSG_DONTWAIT here */
    /* To be sent (taken over if they were), or received (the caller's then). */
    struct scm_files *files;
    struct ucred creds; /* of the first namespaces: socket_cred_out shows them */
    bool has_creds;
    int out_flags; /* recvmsg: MSG_TRUNC, MSG_OOB */
    int stamp_as;  /* recvmsg: the option of SO_TIMESTAMP's kind that asked for stamp, or 0 */
    int64_t stamp; /* ns since 1970 */
};

struct socket_ops {
    /* The file is gone. */
    void (*release)(struct socket *s);
    int (*bind)(struct socket *s, struct task *t, const struct sockaddr_storage *a, socklen_t len);
    int (*connect)(struct socket *s, struct task *t, const struct sockaddr_storage *a,
                   socklen_t len, bool nonblock);
    int (*listen)(struct socket *s, struct task *t, int backlog);
    /* *out: a new socket, for socket_file_create. */
    int (*accept)(struct socket *s, struct task *t, bool nonblock, struct socket **out);
    /* Its own name or its peer's. Fills *len. */
    int (*getname)(struct socket *s, bool peer, struct sockaddr_storage *a, socklen_t *len);
    /* Return bytes or -errno. u == NULL is not allowed; resid may be 0. */
    ssize_t (*sendmsg)(struct socket *s, struct task *t, struct uio *u, struct sock_msg *m);
    ssize_t (*recvmsg)(struct socket *s, struct task *t, struct uio *u, struct sock_msg *m);
    int (*shutdown)(struct socket *s, int how);
    /* *len: room in val, then bytes used. val holds at most SOCKOPT_MAX bytes. */
    int (*getsockopt)(struct socket *s, int level, int name, void *val, socklen_t *len);
    int (*setsockopt)(struct socket *s, struct task *t, int level, int name, const void *val,
                      socklen_t len);
    uint32_t (*poll)(struct socket *s);
    long (*ioctl)(struct socket *s, struct task *t, unsigned cmd, uint64_t arg);
};
#define SOCKOPT_MAX 256

struct socket {
    const struct socket_ops *ops;
    struct kernel *kernel;
    int family, type, protocol;
    struct wait_queue queue; /* poll, and sleepers */
    _Atomic bool out_missed; /* somebody found no room to send: O_ASYNC tells when there is */
    struct mutex lock;       /* SOCKET */
    /* SOL_SOCKET options that only have to be remembered (lock). */
    uint64_t option_bits;
    int priority, mark;
    struct linger linger;
    struct timeval rcv_timeout, snd_timeout; /* 0: none; less: over before it began */
    _Atomic unsigned sndbuf, rcvbuf;
    _Atomic int rcvlowat, peek_off; /* SO_RCVLOWAT; SO_PEEK_OFF, off if negative */
    _Atomic int stamp_as;           /* as in struct sock_msg */
    _Atomic bool oob_inline;
};

void socket_init(struct socket *s, const struct socket_ops *ops, struct kernel *k, int family,
                 int type, int protocol);
void socket_fini(struct socket *s);
/* A description for s, which dies with it; on failure s is released. flags: O_NONBLOCK. */
int socket_file_create(struct kernel *k, struct socket *s, unsigned flags, const struct cred *cred,
                       struct file **out);
/* NULL: not a socket. */
struct socket *file_socket(const struct file *f);
/* The deadline of a call that blocks, by SO_SNDTIMEO or SO_RCVTIMEO, in *at; or NULL. */
const ktime_t *socket_deadline(struct socket *s, bool send, ktime_t *at);

/* Somebody's credentials as t sees them; a process that t does not see, or that is gone and lived
 * in another pid namespace than the first, has the number 0. */
struct ucred socket_cred_out(const struct task *t, const struct ucred *c);

/* SOL_SOCKET, for families to fall back on. -ENOPROTOOPT if the option is not a common one. */
int socket_getsockopt(struct socket *s, int name, void *val, socklen_t *len);
int socket_setsockopt(struct socket *s, struct task *t, int name, const void *val, socklen_t len);

/* *from becomes *to, and is in no queue any more. */
void unix_files_land(struct scm_files **from, struct scm_files **to);
/* Whether t's user has more files in queues than RLIMIT_NOFILE allows. */
bool unix_too_many_in_flight(struct task *t);
/* Whether this thread is freeing files right now. */
bool scm_files_freeing(void);

/* ---- families ---- */

/* Two of them, connected, if pair is not NULL. -EPROTONOSUPPORT, -ESOCKTNOSUPPORT. */
int unix_socket_create(struct task *t, int type, int protocol, struct socket **out,
                       struct socket **pair);
struct unix_gc *unix_gc_create(void);
void unix_gc_destroy(struct unix_gc *gc);
struct unix_names *unix_names_create(void);
void unix_names_destroy(struct unix_names *n);

#endif
