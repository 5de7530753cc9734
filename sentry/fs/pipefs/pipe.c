/*
 * Reading, writing and polling pipes.
 */
#include "sentry/fs/pipefs/pipe.h"
#include "sentry/kernel/task.h"
#include <asm/ioctls.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

/* ---- life ---- */

struct pipe *pipe_alloc(void)
{
    struct pipe *p = calloc(1, sizeof *p);
    struct pipe_buf *bufs = calloc(PIPE_SLOTS_DEFAULT, sizeof *bufs);
    if (!p || !bufs) {
        free(p);
        free(bufs);
        return NULL;
    }
    mutex_init(&p->lock, LOCK_PIPE);
    wait_queue_init(&p->queue);
    p->bufs = bufs;
    p->slots = PIPE_SLOTS_DEFAULT;
    p->users = 1;
    return p;
}

void pipe_free(struct pipe *p)
{
    for (; p->tail != p->head; p->tail++)
        free(pipe_slot(p, p->tail)->page);
    free(p->spare);
    free(p->bufs);
    wait_queue_destroy(&p->queue);
    mutex_destroy(&p->lock);
    free(p);
}

char *pipe_page_get(struct pipe *p)
{
    char *page = p->spare;
    p->spare = NULL;
    return page ? page : malloc(PAGE_SIZE);
}

void pipe_page_put(struct pipe *p, char *page)
{
    if (p->spare)
        free(page);
    else
        p->spare = page;
}

/* ---- waiting ---- */

void pipe_announce(struct pipe *p, uint32_t events)
{
    wait_wake(&p->queue, events);
}

void pipe_announce_all(struct pipe *p, uint32_t events)
{
    wait_wake_n(&p->queue, events, INT_MAX);
}

int pipe_wait(struct pipe *p, uint32_t event, bool nonblock)
{
    struct task *t = task_current();
    struct wait_entry w;
    if (nonblock || !t)
        return -EAGAIN;
    wait_entry_init_task(&w, t, event);
    w.exclusive = true; /* many readers of one pipe: a byte is for one of them */
    wait_add(&p->queue, &w);
    unsigned *sleeping = event == POLLIN ? &p->sleeping_readers : &p->sleeping_writers;
    ++*sleeping;
    mutex_unlock(&p->lock);
    int err = task_block(t, NULL);
    wait_remove(&p->queue, &w);
    mutex_lock(&p->lock);
    --*sleeping;
    return err;
}

int pipe_wait_slot(struct pipe *p, bool nonblock)
{
    for (;;) {
        if (p->readers == 0) {
            signal_send_self(task_current(), SIGPIPE);
            return -EPIPE;
        }
        if (!pipe_full(p))
            return 0;
        int err = pipe_wait(p, POLLOUT, nonblock);
        if (err)
            return err;
    }
}

int pipe_wait_data(struct pipe *p, bool nonblock)
{
    for (;;) {
        if (pipe_used(p))
            return 1;
        if (p->writers == 0)
            return 0;
        int err = pipe_wait(p, POLLIN, nonblock);
        if (err)
            return err;
    }
}

/* Sleepers are woken one at a time, so whoever leaves wakes the next one if there is something left
 * for it. */
void pipe_leave(struct pipe *p, uint32_t events)
{
    if (p->sleeping_readers && pipe_used(p))
        events |= PIPE_READABLE;
    if (p->sleeping_writers && !pipe_full(p))
        events |= PIPE_WRITABLE;
    mutex_unlock(&p->lock);
    if (events)
        pipe_announce(p, events);
}

static bool no_wait(const struct file *f, int rwf)
{
    return f->flags & O_NONBLOCK || rwf & RWF_NOWAIT;
}

/* ---- reading ---- */

/* What is there, as far as u goes. Returns bytes, or -EFAULT. */
static ssize_t pipe_drain(struct pipe *p, struct uio *u)
{
    ssize_t done = 0;
    while (u->resid && pipe_used(p)) {
        struct pipe_buf *b = pipe_slot(p, p->tail);
        size_t want = MIN((size_t)b->len, u->resid);
        ssize_t n = uio_copy_to(u, b->page + b->off, want);
        if (n < 0)
            return done ? done : n;
        b->off += (uint32_t)n;
        b->len -= (uint32_t)n;
        done += n;
        if ((size_t)n < want)
            break;
        bool packet = b->packet;
        if (b->len == 0 || packet) {
            pipe_page_put(p, b->page);
            p->tail++;
        }
        if (packet)
            break;
    }
    return done;
}

static ssize_t pipe_read(struct file *f, struct uio *u, UNUSED int64_t *pos, int rwf)
{
    struct pipe *p = file_pipe(f);
    if (u->resid == 0)
        return 0;
    mutex_lock(&p->lock);
    ssize_t n = pipe_wait_data(p, no_wait(f, rwf));
    bool was_full = pipe_full(p);
    if (n > 0)
        n = pipe_drain(p, u);
    pipe_leave(p, was_full && !pipe_full(p) ? PIPE_WRITABLE : 0);
    return n;
}

/* ---- writing ---- */

/* Appends to the newest buffer what fits it wholly: the odd end of u, as Linux does, so that what
 * follows is whole pages. Returns bytes, or -EFAULT. */
static ssize_t pipe_merge(struct pipe *p, struct uio *u)
{
    size_t odd = u->resid & (PAGE_SIZE - 1);
    if (odd == 0 || pipe_used(p) == 0)
        return 0;
    struct pipe_buf *b = pipe_slot(p, p->head - 1);
    if (b->packet || b->off + b->len + odd > PAGE_SIZE)
        return 0;
    ssize_t n = uio_copy_from(u, b->page + b->off + b->len, odd);
    if (n < 0 || (size_t)n < odd)
        return -EFAULT;
    b->len += (uint32_t)n;
    return n;
}

/* Fills one free slot. Returns bytes, or -EFAULT or -ENOMEM. */
static ssize_t pipe_fill(struct pipe *p, struct uio *u, bool packet)
{
    char *page = pipe_page_get(p);
    if (!page)
        return -ENOMEM;
    size_t want = MIN(u->resid, PAGE_SIZE);
    ssize_t n = uio_copy_from(u, page, want);
    if (n < 0 || (size_t)n < want) {
        pipe_page_put(p, page);
        return -EFAULT;
    }
    *pipe_slot(p, p->head++) =
        (struct pipe_buf){.page = page, .len = (uint32_t)n, .packet = packet};
    return n;
}

static ssize_t pipe_write_locked(struct pipe *p, struct uio *u, bool nonblock, bool packet)
{
    ssize_t done = 0, n = 0;
    if (p->readers && !packet)
        n = done = pipe_merge(p, u);
    while (n >= 0 && u->resid) {
        if (pipe_full(p) && done && !nonblock) {
            mutex_unlock(&p->lock);
            pipe_announce(p, PIPE_READABLE);
            mutex_lock(&p->lock);
        }
        n = pipe_wait_slot(p, nonblock);
        if (n == 0)
            n = pipe_fill(p, u, packet);
        if (n > 0)
            done += n;
    }
    return done > 0 ? done : n;
}

static ssize_t pipe_write(struct file *f, struct uio *u, UNUSED int64_t *pos, int rwf)
{
    struct pipe *p = file_pipe(f);
    if (u->resid == 0)
        return 0;
    mutex_lock(&p->lock);
    ssize_t n = pipe_write_locked(p, u, no_wait(f, rwf), f->flags & O_DIRECT);
    pipe_leave(p, n > 0 ? PIPE_READABLE : 0);
    return n;
}

/* ---- the rest ---- */

static uint32_t pipe_poll(struct file *f, UNUSED uint32_t events)
{
    struct pipe *p = file_pipe(f);
    uint32_t ready = 0;
    MUTEX_GUARD(&p->lock);
    if (f->readable) {
        ready |= pipe_used(p) ? PIPE_READABLE : 0;
        /* A FIFO opened for reading before any writer came is not hung up yet. */
        if (p->writers == 0 && f->pos != (int64_t)p->writer_opens + 1)
            ready |= EPOLLHUP;
    }
    if (f->writable) {
        ready |= pipe_full(p) ? 0 : PIPE_WRITABLE;
        ready |= p->readers == 0 ? EPOLLERR : 0;
    }
    return ready;
}

static struct wait_queue *pipe_poll_queue(struct file *f)
{
    return &file_pipe(f)->queue;
}

static long pipe_ioctl(struct file *f, struct task *t, unsigned cmd, uint64_t arg)
{
    struct pipe *p = file_pipe(f);
    int bytes = 0;
    if (cmd != FIONREAD)
        return -ENOTTY;
    mutex_lock(&p->lock);
    for (uint32_t i = p->tail; i != p->head; i++)
        bytes += (int)pipe_slot(p, i)->len;
    mutex_unlock(&p->lock);
    return MM_COPY_OUT(t->mm, arg, &bytes);
}

static long pipe_resize(struct pipe *p, struct task *t, uint64_t arg)
{
    if ((uint32_t)arg > 1u << 31)
        return -EINVAL;
    uint32_t slots = 1;
    while ((uint64_t)slots * PAGE_SIZE < (uint32_t)arg)
        slots *= 2;
    MUTEX_GUARD(&p->lock);
    if (slots > p->slots && slots > PIPE_SIZE_MAX / PAGE_SIZE && !task_capable(t, CAP_SYS_RESOURCE))
        return -EPERM;
    if (slots < pipe_used(p) + p->held)
        return -EBUSY;
    struct pipe_buf *bufs = calloc(slots, sizeof *bufs);
    if (!bufs)
        return -ENOMEM;
    uint32_t used = pipe_used(p);
    for (uint32_t i = 0; i < used; i++)
        bufs[i] = *pipe_slot(p, p->tail + i);
    free(p->bufs);
    p->bufs = bufs;
    p->slots = slots;
    p->tail = 0;
    p->head = used;
    return (long)slots * (long)PAGE_SIZE;
}

static long pipe_fcntl(struct file *f, struct task *t, unsigned cmd, uint64_t arg)
{
    struct pipe *p = file_pipe(f);
    if (cmd == F_SETPIPE_SZ) {
        long r = pipe_resize(p, t, arg);
        if (r > 0)
            pipe_announce(p, PIPE_WRITABLE);
        return r;
    }
    if (cmd != F_GETPIPE_SZ)
        return -EINVAL;
    MUTEX_GUARD(&p->lock);
    return (long)p->slots * (long)PAGE_SIZE;
}

static void pipe_release(struct file *f)
{
    struct pipe *p = f->priv;
    struct inode *i = f->inode;
    rwlock_write(&i->lock);
    mutex_lock(&p->lock);
    p->readers -= f->readable;
    p->writers -= f->writable;
    bool last = --p->users == 0;
    if (last)
        i->pipe = NULL;
    mutex_unlock(&p->lock);
    /* Before the inode is unlocked: the last user may free the pipe from then on. */
    if (!last)
        pipe_announce_all(p, PIPE_READABLE | PIPE_WRITABLE | EPOLLHUP | EPOLLERR);
    rwlock_unlock(&i->lock);
    if (last)
        pipe_free(p);
}

const struct file_ops pipe_file_ops = {
    .read = pipe_read,
    .write = pipe_write,
    .ioctl = pipe_ioctl,
    .poll = pipe_poll,
    .poll_queue = pipe_poll_queue,
    .release = pipe_release,
    .fcntl = pipe_fcntl,
    .can_async = true,
};

struct pipe *file_pipe(const struct file *f)
{
    return f->ops == &pipe_file_ops ? f->priv : NULL;
}
