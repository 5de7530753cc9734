/*
 * mq_open, mq_unlink, mq_timedsend, mq_timedreceive, mq_notify, mq_getsetattr.
 */
#include "sentry/fs/mqueue/mqueue.h"
#include "sentry/kernel/timer.h"
#include "sentry/socket/socket.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/syscalls/time_args.h"
#include <stdlib.h>

static long open_named(struct task *t, const char *name, int flags, uint32_t mode,
                       const struct mq_attr *attr)
{
    struct file *f;
    int err = mqueue_open(t, name, flags, mode & ~t->fs->umask, attr, &f);
    if (err)
        return err;
    int fd = fd_install(t, f, 0, true);
    file_put(f);
    return fd;
}

SYSCALL(mq_open)
{
    struct mq_attr attr;
    char *name;
    gva_t addr = ARG_GVA(a, 3);
    if (addr && MM_COPY_IN(t->mm, &attr, addr))
        return -EFAULT;
    int err = vfs_getname(t, ARG_GVA(a, 0), 0, &name);
    if (err)
        return err;
    long r = open_named(t, name, ARG_INT(a, 1), ARG_UINT(a, 2), addr ? &attr : NULL);
    free(name);
    return r;
}

SYSCALL(mq_unlink)
{
    char *name;
    int err = vfs_getname(t, ARG_GVA(a, 0), 0, &name);
    if (err)
        return err;
    err = mqueue_unlink(t, name);
    free(name);
    return err;
}

/* A time of CLOCK_REALTIME as a deadline in *at; *deadline stays NULL if there is none. */
static int get_deadline(struct task *t, gva_t addr, ktime_t *at, const ktime_t **deadline)
{
    int64_t ns;
    if (!addr)
        return 0;
    int err = copy_in_timespec(t, addr, &ns);
    if (err)
        return err;
    *at = clock_host_monotonic(&t->kernel->clock, CLOCK_REALTIME, ns);
    *deadline = at;
    return 0;
}

/* The description of a queue, open for reading (or writing). */
static int queue_of_fd(struct task *t, int fd, bool write, struct file **out)
{
    struct file *f = fd_get(t, fd);
    if (!f || !file_mqueue(f) || !(write ? f->writable : f->readable)) {
        file_put(f);
        return -EBADF;
    }
    *out = f;
    return 0;
}

SYSCALL(mq_timedsend)
{
    unsigned priority = ARG_UINT(a, 3);
    const ktime_t *deadline = NULL;
    struct file *f;
    ktime_t at;
    int err = get_deadline(t, ARG_GVA(a, 4), &at, &deadline);
    if (!err && priority >= MQUEUE_PRIORITIES)
        err = -EINVAL;
    if (!err)
        err = queue_of_fd(t, ARG_INT(a, 0), true, &f);
    if (err)
        return err;
    long r = mqueue_send(t, f, ARG_GVA(a, 1), a->a[2], priority, deadline);
    file_put(f);
    return r;
}

SYSCALL(mq_timedreceive)
{
    const ktime_t *deadline = NULL;
    unsigned priority;
    struct file *f;
    ktime_t at;
    int err = get_deadline(t, ARG_GVA(a, 4), &at, &deadline);
    if (!err)
        err = queue_of_fd(t, ARG_INT(a, 0), false, &f);
    if (err)
        return err;
    long r = mqueue_receive(t, f, ARG_GVA(a, 1), a->a[2], &priority, deadline);
    file_put(f);
    if (r >= 0 && a->a[3] && MM_COPY_OUT(t->mm, ARG_GVA(a, 3), &priority))
        r = -EFAULT;
    return r;
}

/* SIGEV_THREAD comes as a netlink socket in sigev_signo: there are none. */
static int refuse_thread(struct task *t, int fd)
{
    struct file *f = fd_get(t, fd);
    int err = !f ? -EBADF : file_socket(f) ? -EINVAL : -ENOTSOCK;
    file_put(f);
    return err;
}

static int check_event(struct task *t, const struct sigevent *sev)
{
    switch (sev->sigev_notify) {
    case SIGEV_NONE:
        return 0;
    case SIGEV_SIGNAL:
        return (unsigned)sev->sigev_signo > SIG_MAX ? -EINVAL : 0;
    case SIGEV_THREAD:
        return refuse_thread(t, sev->sigev_signo);
    default:
        return -EINVAL;
    }
}

SYSCALL(mq_notify)
{
    struct sigevent sev;
    gva_t addr = ARG_GVA(a, 1);
    if (addr && MM_COPY_IN(t->mm, &sev, addr))
        return -EFAULT;
    int err = addr ? check_event(t, &sev) : 0;
    if (err)
        return err;
    struct file *f = fd_get(t, ARG_INT(a, 0));
    struct mqueue *q = f ? file_mqueue(f) : NULL;
    err = q ? mqueue_notify(t, q, addr ? &sev : NULL) : -EBADF;
    file_put(f);
    return err;
}

SYSCALL(mq_getsetattr)
{
    struct mq_attr new, old;
    gva_t in = ARG_GVA(a, 1), out = ARG_GVA(a, 2);
    if (in && MM_COPY_IN(t->mm, &new, in))
        return -EFAULT;
    if (in && new.mq_flags & ~(long)O_NONBLOCK)
        return -EINVAL;
    struct file *f = fd_get(t, ARG_INT(a, 0));
    struct mqueue *q = f ? file_mqueue(f) : NULL;
    if (!q) {
        file_put(f);
        return -EBADF;
    }
    mqueue_getattr(q, f, &old);
    if (in)
        f->flags = (f->flags & ~(unsigned)O_NONBLOCK) | ((unsigned)new.mq_flags &O_NONBLOCK);
    file_put(f);
    return out && MM_COPY_OUT(t->mm, out, &old) ? -EFAULT : 0;
}
