/*
 * eventfd(2): a counter that can be waited for.
 */
#include "sentry/vfs/eventfd.h"
#include "sentry/kernel/task.h"
#include "sentry/vfs/internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

struct eventfd {
    struct mutex lock; /* LEAF: count */
    uint64_t count;
    bool semaphore;
    struct wait_queue queue;
};

/* Takes what a read takes. False if the counter is zero. */
static bool take(struct eventfd *e, uint64_t *value)
{
    MUTEX_GUARD(&e->lock);
    if (e->count == 0)
        return false;
    *value = e->semaphore ? 1 : e->count;
    e->count -= *value;
    return true;
}

/* False if the counter would reach its end. */
static bool add(struct eventfd *e, uint64_t *value)
{
    MUTEX_GUARD(&e->lock);
    if (UINT64_MAX - e->count <= *value)
        return false;
    e->count += *value;
    return true;
}

/* Tries until it works, which it may after `event`. */
static int attempt(struct file *f, int rwf, bool (*act)(struct eventfd *e, uint64_t *value),
                   uint64_t *value, uint32_t event)
{
    struct eventfd *e = f->priv;
    struct task *t = task_current();
    if (act(e, value))
        return 0;
    if (f->flags & O_NONBLOCK || rwf & RWF_NOWAIT || !t)
        return -EAGAIN;
    struct wait_entry w;
    int err = 0;
    wait_entry_init_task(&w, t, event);
    w.exclusive = event == POLLIN; /* one reader takes all; there may be room for many writers */
    wait_add(&e->queue, &w);
    bool done;
    while (!(done = act(e, value)) && !err)
        err = task_block(t, NULL);
    wait_remove(&e->queue, &w);
    return done ? 0 : err;
}

static uint32_t eventfd_poll(struct file *f, UNUSED uint32_t events)
{
    struct eventfd *e = f->priv;
    MUTEX_GUARD(&e->lock);
    return (e->count > 0 ? EPOLLIN : 0) | (e->count < UINT64_MAX - 1 ? EPOLLOUT : 0) |
           (e->count == UINT64_MAX ? EPOLLERR : 0);
}

static ssize_t eventfd_file_read(struct file *f, struct uio *u, UNUSED int64_t *pos, int rwf)
{
    struct eventfd *e = f->priv;
    uint64_t value;
    if (u->resid < sizeof value)
        return -EINVAL;
    int err = attempt(f, rwf, take, &value, POLLIN);
    if (err)
        return err;
    /* A semaphore may have more for the next reader. */
    uint32_t more = eventfd_poll(f, 0) & EPOLLIN;
    wait_wake(&e->queue, EPOLLOUT | EPOLLWRNORM);
    if (more && e->semaphore)
        wait_wake(&e->queue, EPOLLIN | EPOLLRDNORM);
    ssize_t n = uio_copy_to(u, &value, sizeof value);
    return n == sizeof value ? n : -EFAULT;
}

static ssize_t eventfd_file_write(struct file *f, struct uio *u, UNUSED int64_t *pos, int rwf)
{
    struct eventfd *e = f->priv;
    uint64_t value;
    if (u->resid < sizeof value)
        return -EINVAL;
    if (uio_copy_from(u, &value, sizeof value) != sizeof value)
        return -EFAULT;
    if (value == UINT64_MAX)
        return -EINVAL;
    int err = attempt(f, rwf, add, &value, POLLOUT);
    if (err)
        return err;
    wait_wake(&e->queue, EPOLLIN | EPOLLRDNORM);
    return sizeof value;
}

static struct wait_queue *eventfd_poll_queue(struct file *f)
{
    struct eventfd *e = f->priv;
    return &e->queue;
}

static void eventfd_free(struct eventfd *e)
{
    wait_queue_destroy(&e->queue);
    mutex_destroy(&e->lock);
    free(e);
}

static void eventfd_release(struct file *f)
{
    eventfd_free(f->priv);
}

static int eventfd_show_fdinfo(struct file *f, char *buf, size_t size)
{
    struct eventfd *e = f->priv;
    MUTEX_GUARD(&e->lock);
    return snprintf(buf, size, "eventfd-count: %16llx\neventfd-semaphore: %d\n",
                    (unsigned long long)e->count, e->semaphore);
}

static const struct file_ops eventfd_ops = {
    .llseek = file_seek_nowhere,
    .read = eventfd_file_read,
    .write = eventfd_file_write,
    .poll = eventfd_poll,
    .poll_queue = eventfd_poll_queue,
    .release = eventfd_release,
    .show_fdinfo = eventfd_show_fdinfo,
};

int eventfd_create_file(struct task *t, uint32_t count, int flags, struct file **out)
{
    struct eventfd *e = calloc(1, sizeof *e);
    if (!e)
        return -ENOMEM;
    mutex_init(&e->lock, LOCK_LEAF);
    wait_queue_init(&e->queue);
    e->count = count;
    e->semaphore = flags & EFD_SEMAPHORE;
    int err =
        file_create_anon(t->kernel, "anon_inode:[eventfd]", O_RDWR | ((unsigned)flags & O_NONBLOCK),
                         &eventfd_ops, e, t->cred, out);
    if (err)
        eventfd_free(e);
    return err;
}

bool file_is_eventfd(const struct file *f)
{
    return f->ops == &eventfd_ops;
}

void eventfd_signal(struct file *f, uint64_t n)
{
    struct eventfd *e = f->priv;
    {
        MUTEX_GUARD(&e->lock);
        e->count += MIN(n, UINT64_MAX - e->count);
    }
    wait_wake(&e->queue, EPOLLIN | EPOLLRDNORM);
}
