/*
 * Sockets: everything but messages, which are in sockmsg.c.
 */
#include "sentry/socket/socket.h"
#include "sentry/syscalls/socket.h"
#include "sentry/syscalls/syscalls.h"

#define TYPE_MASK 0xf
#define TYPE_FLAGS (SOCK_CLOEXEC | SOCK_NONBLOCK)

struct socket *socket_of_fd(struct task *t, int fd, struct file **f, int *err)
{
    *f = fd_get(t, fd);
    struct socket *s = *f ? file_socket(*f) : NULL;
    *err = s ? 0 : *f ? -ENOTSOCK : -EBADF;
    if (!s) {
        file_put(*f);
        *f = NULL;
    }
    return s;
}

int socket_addr_in(struct task *t, gva_t addr, int len, struct sockaddr_storage *out)
{
    if (len < 0 || (size_t)len > sizeof *out)
        return -EINVAL;
    out->ss_family = AF_UNSPEC;
    return len && mm_copy_in(t->mm, out, addr, (size_t)len) ? -EFAULT : 0;
}

int socket_addr_out(struct task *t, gva_t addr, gva_t len_addr, const struct sockaddr_storage *a,
                    socklen_t len)
{
    int room;
    if (MM_COPY_IN(t->mm, &room, len_addr))
        return -EFAULT;
    if (room < 0)
        return -EINVAL;
    size_t n = MIN(MIN((size_t)room, (size_t)len), sizeof *a);
    if (n && mm_copy_out(t->mm, addr, a, n))
        return -EFAULT;
    return MM_COPY_OUT(t->mm, len_addr, &len);
}

/* ---- making ---- */

static int check_family(int family, int type)
{
    if (type & ~(TYPE_MASK | TYPE_FLAGS))
        return -EINVAL;
    if (family < 0 || family >= AF_MAX)
        return -EAFNOSUPPORT;
    if ((type & TYPE_MASK) > SOCK_PACKET)
        return -EINVAL;
    return family == AF_UNIX ? 0 : -EAFNOSUPPORT;
}

/* A descriptor for s, which is released on failure. */
static int socket_install(struct task *t, struct socket *s, int flags)
{
    struct file *f;
    int err = socket_file_create(t->kernel, s, flags & SOCK_NONBLOCK ? O_NONBLOCK : 0, t->cred, &f);
    if (err)
        return err;
    int fd = fd_install(t, f, 0, flags & SOCK_CLOEXEC);
    file_put(f);
    return fd;
}

SYSCALL(socket)
{
    int type = ARG_INT(a, 1);
    struct socket *s;
    int err = check_family(ARG_INT(a, 0), type);
    if (!err)
        err = unix_socket_create(t, type & TYPE_MASK, ARG_INT(a, 2), &s, NULL);
    return err ? err : socket_install(t, s, type);
}

SYSCALL(socketpair)
{
    int type = ARG_INT(a, 1), fds[2];
    struct socket *s[2];
    int err = check_family(ARG_INT(a, 0), type);
    if (!err)
        err = unix_socket_create(t, type & TYPE_MASK, ARG_INT(a, 2), &s[0], &s[1]);
    if (err)
        return err;
    fds[0] = socket_install(t, s[0], type);
    if (fds[0] < 0) {
        s[1]->ops->release(s[1]);
        return fds[0];
    }
    fds[1] = socket_install(t, s[1], type);
    err = MIN(fds[1], 0);
    if (!err)
        err = MM_COPY_OUT(t->mm, ARG_GVA(a, 3), &fds);
    for (int i = 0; err && i < 2; i++)
        if (fds[i] >= 0)
            fd_close(t, fds[i]);
    return err;
}

/* ---- connecting ---- */

SYSCALL(bind)
{
    struct sockaddr_storage addr;
    struct file *f;
    int err, len = ARG_INT(a, 2);
    struct socket *s = socket_of_fd(t, ARG_INT(a, 0), &f, &err);
    if (!err)
        err = socket_addr_in(t, ARG_GVA(a, 1), len, &addr);
    if (!err)
        err = s->ops->bind(s, t, &addr, (socklen_t)len);
    file_put(f);
    return err;
}

SYSCALL(connect)
{
    struct sockaddr_storage addr;
    struct file *f;
    int err, len = ARG_INT(a, 2);
    struct socket *s = socket_of_fd(t, ARG_INT(a, 0), &f, &err);
    if (!err)
        err = socket_addr_in(t, ARG_GVA(a, 1), len, &addr);
    if (!err && (size_t)len < sizeof addr.ss_family)
        err = -EINVAL;
    if (!err)
        err = s->ops->connect(s, t, &addr, (socklen_t)len, f->flags & O_NONBLOCK);
    file_put(f);
    return err;
}

SYSCALL(listen)
{
    struct file *f;
    int err;
    struct socket *s = socket_of_fd(t, ARG_INT(a, 0), &f, &err);
    if (!err)
        err = s->ops->listen(s, t, ARG_INT(a, 1));
    file_put(f);
    return err;
}

static long accept_on(struct task *t, struct socket *s, struct file *f, const struct sysargs *a,
                      int flags)
{
    struct socket *new;
    int err = s->ops->accept(s, t, f->flags & O_NONBLOCK, &new);
    if (err)
        return err;
    struct sockaddr_storage addr;
    socklen_t len = 0;
    if (a->a[1]) {
        err = new->ops->getname(new, true, &addr, &len);
        /* The peer may be gone already; then it has no name. */
        if (err == -ENOTCONN)
            err = -ECONNABORTED;
        if (!err)
            err = socket_addr_out(t, ARG_GVA(a, 1), ARG_GVA(a, 2), &addr, len);
        if (err) {
            new->ops->release(new);
            return err;
        }
    }
    return socket_install(t, new, flags);
}

static long do_accept(struct task *t, const struct sysargs *a, int flags)
{
    struct file *f;
    int err;
    struct socket *s = socket_of_fd(t, ARG_INT(a, 0), &f, &err);
    if (flags & ~TYPE_FLAGS && err != -EBADF)
        err = -EINVAL;
    long r = err ? err : accept_on(t, s, f, a, flags);
    file_put(f);
    return r;
}

SYSCALL(accept)
{
    return do_accept(t, a, 0);
}
SYSCALL(accept4)
{
    return do_accept(t, a, ARG_INT(a, 3));
}

SYSCALL(shutdown)
{
    struct file *f;
    int err;
    struct socket *s = socket_of_fd(t, ARG_INT(a, 0), &f, &err);
    if (!err)
        err = s->ops->shutdown(s, ARG_INT(a, 1));
    file_put(f);
    return err;
}

/* ---- asking ---- */

static long name_of(struct task *t, const struct sysargs *a, bool peer)
{
    struct sockaddr_storage addr;
    socklen_t len;
    struct file *f;
    int err;
    struct socket *s = socket_of_fd(t, ARG_INT(a, 0), &f, &err);
    if (!err)
        err = s->ops->getname(s, peer, &addr, &len);
    if (!err)
        err = socket_addr_out(t, ARG_GVA(a, 1), ARG_GVA(a, 2), &addr, len);
    file_put(f);
    return err;
}

SYSCALL(getsockname)
{
    return name_of(t, a, false);
}
SYSCALL(getpeername)
{
    return name_of(t, a, true);
}

static long option_out(struct task *t, struct socket *s, const struct sysargs *a)
{
    char val[SOCKOPT_MAX];
    int room;
    if (MM_COPY_IN(t->mm, &room, ARG_GVA(a, 4)))
        return -EFAULT;
    if (room < 0)
        return -EINVAL;
    socklen_t len = MIN((socklen_t)room, (socklen_t)sizeof val);
    int err = s->ops->getsockopt(s, ARG_INT(a, 1), ARG_INT(a, 2), val, &len);
    if (!err && len && mm_copy_out(t->mm, ARG_GVA(a, 3), val, len))
        err = -EFAULT;
    return err ? err : MM_COPY_OUT(t->mm, ARG_GVA(a, 4), &len);
}

SYSCALL(getsockopt)
{
    struct file *f;
    int err;
    struct socket *s = socket_of_fd(t, ARG_INT(a, 0), &f, &err);
    long r = err ? err : option_out(t, s, a);
    file_put(f);
    return r;
}

static long option_in(struct task *t, struct socket *s, const struct sysargs *a)
{
    char val[SOCKOPT_MAX] = {0};
    int len = ARG_INT(a, 4);
    if (len < 0)
        return -EINVAL;
    size_t n = MIN((size_t)len, sizeof val);
    if (n && mm_copy_in(t->mm, val, ARG_GVA(a, 3), n))
        return -EFAULT;
    return s->ops->setsockopt(s, t, ARG_INT(a, 1), ARG_INT(a, 2), val, (socklen_t)n);
}

SYSCALL(setsockopt)
{
    struct file *f;
    int err;
    struct socket *s = socket_of_fd(t, ARG_INT(a, 0), &f, &err);
    long r = err ? err : option_in(t, s, a);
    file_put(f);
    return r;
}
