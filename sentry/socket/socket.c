/*
 * Sockets as files.
 */
#include "sentry/socket/socket.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/timer.h"
#include "sentry/vfs/fasync.h"
#include <asm/sockios.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

void socket_init(struct socket *s, const struct socket_ops *ops, struct kernel *k, int family,
                 int type, int protocol)
{
    s->ops = ops;
    s->kernel = k;
    s->family = family;
    s->type = type;
    s->protocol = protocol;
    s->sndbuf = s->rcvbuf = 212992; /* net.core.wmem_default, rmem_default */
    s->rcvlowat = 1;
    s->peek_off = -1;
    wait_queue_init(&s->queue);
    mutex_init(&s->lock, LOCK_SOCKET);
}

void socket_fini(struct socket *s)
{
    wait_queue_destroy(&s->queue);
    mutex_destroy(&s->lock);
}

const ktime_t *socket_deadline(struct socket *s, bool send, ktime_t *at)
{
    mutex_lock(&s->lock);
    struct timeval timeout = send ? s->snd_timeout : s->rcv_timeout;
    mutex_unlock(&s->lock);
    if (timeout.tv_sec == 0 && timeout.tv_usec == 0)
        return NULL;
    int64_t ns;
    if (timeout.tv_sec < 0) {
        *at = 0;
        return at;
    }
    if (__builtin_mul_overflow((int64_t)timeout.tv_sec, (int64_t)1000000000, &ns) ||
        __builtin_add_overflow(ns, (int64_t)timeout.tv_usec * 1000, &ns))
        ns = INT64_MAX;
    *at = ktime_after(ns);
    return at;
}

static int message_flags(const struct file *f, int rwf)
{
    return f->flags & O_NONBLOCK || rwf & RWF_NOWAIT ? MSG_DONTWAIT : 0;
}

static ssize_t socket_read(struct file *f, struct uio *u, UNUSED int64_t *pos, int rwf)
{
    struct socket *s = f->priv;
    struct sock_msg m = {.flags = message_flags(f, rwf)};
    if (u->resid == 0)
        return 0;
    ssize_t n = s->ops->recvmsg(s, task_current(), u, &m);
    scm_files_free(m.files);
    return n;
}

static ssize_t socket_write(struct file *f, struct uio *u, UNUSED int64_t *pos, int rwf)
{
    struct socket *s = f->priv;
    struct sock_msg m = {.flags = message_flags(f, rwf)};
    return s->ops->sendmsg(s, task_current(), u, &m);
}

static uint32_t socket_poll(struct file *f, UNUSED uint32_t events)
{
    struct socket *s = f->priv;
    return s->ops->poll(s);
}

static struct wait_queue *socket_poll_queue(struct file *f)
{
    struct socket *s = f->priv;
    return &s->queue;
}

/* FIOSETOWN, SIOCSPGRP: F_SETOWN, with the number in memory. */
static long set_owner(struct file *f, struct task *t, gva_t arg)
{
    int nr;
    if (MM_COPY_IN(t->mm, &nr, arg))
        return -EFAULT;
    if (nr == INT_MIN)
        return -EINVAL;
    return nr < 0 ? file_set_owner(f, t, F_OWNER_PGRP, -nr) : file_set_owner(f, t, F_OWNER_PID, nr);
}

static long get_owner(struct file *f, struct task *t, gva_t arg)
{
    struct owner_info o;
    file_get_owner(f, t, &o);
    int nr = o.type == F_OWNER_PGRP ? -o.pid : o.pid;
    return MM_COPY_OUT(t->mm, arg, &nr);
}

static long socket_ioctl(struct file *f, struct task *t, unsigned cmd, uint64_t arg)
{
    struct socket *s = f->priv;
    if (cmd == FIOSETOWN || cmd == SIOCSPGRP)
        return set_owner(f, t, arg);
    if (cmd == FIOGETOWN || cmd == SIOCGPGRP)
        return get_owner(f, t, arg);
    return s->ops->ioctl ? s->ops->ioctl(s, t, cmd, arg) : -ENOTTY;
}

static void socket_release(struct file *f)
{
    struct socket *s = f->priv;
    s->ops->release(s);
}

static _Atomic bool *socket_async_out(struct file *f)
{
    struct socket *s = f->priv;
    return &s->out_missed;
}

static const struct file_ops socket_file_ops = {
    .read = socket_read,
    .write = socket_write,
    .poll = socket_poll,
    .poll_queue = socket_poll_queue,
    .ioctl = socket_ioctl,
    .release = socket_release,
    .can_async = true,
    .async_urgent = true,
    .async_out = socket_async_out,
};

struct socket *file_socket(const struct file *f)
{
    return f->ops == &socket_file_ops ? f->priv : NULL;
}

static struct dentry *socket_dentry(struct vfs *v, const struct cred *cred)
{
    static const struct inode_ops socket_inode_ops = {.setattr = inode_simple_setattr};
    char name[32];
    uint64_t ino = atomic_fetch_add(&v->next_anon_ino, 1) + 2;
    struct inode *i = inode_create(v->sock_sb, ino, S_IFSOCK | 0777, &socket_inode_ops, NULL);
    if (!i)
        return NULL;
    i->uid = cred->fsuid;
    i->gid = cred->fsgid;
    i->atime = i->mtime = i->ctime = vfs_now(v->sock_sb);
    snprintf(name, sizeof name, "socket:[%lu]", (unsigned long)ino);
    return d_make_anon(v->sock_sb, name, i);
}

int socket_file_create(struct kernel *k, struct socket *s, unsigned flags, const struct cred *cred,
                       struct file **out)
{
    struct dentry *d = socket_dentry(k->vfs, cred);
    struct file *f = NULL;
    if (d) {
        f = file_create(k, k->vfs->anon_mnt, d, O_RDWR | (flags & O_NONBLOCK), &socket_file_ops, s,
                        cred);
        dentry_put(d);
    }
    if (!f) {
        s->ops->release(s);
        return -ENOMEM;
    }
    f->stream = true;
    *out = f;
    return 0;
}

struct ucred socket_cred_out(const struct task *t, const struct ucred *c)
{
    const struct user_ns *ns = t->cred->user_ns;
    return (struct ucred){
        .pid = pid_out(t, c->pid),
        .uid = id_shown(ns, ID_UID, c->uid),
        .gid = id_shown(ns, ID_GID, c->gid),
    };
}
