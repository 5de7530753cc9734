/*
 * The life of a terminal, and its two files.
 */
#include "sentry/tty/tty.h"
#include "sentry/fs/devpts/devpts.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/timer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CHUNK 1024u /* bytes moved at a time between user memory and the terminal */
/* There is room for writers: for the longest that output processing makes of a character. */
#define OUTPUT_LOW (TTY_OUTPUT_LIMIT - 8)

#define READABLE (POLLIN | POLLRDNORM)
#define WRITABLE (POLLOUT | POLLWRNORM)

/* ---- life ---- */

static bool ring_create(struct tty_ring *r, unsigned size)
{
    r->data = malloc(size);
    r->size = size;
    return r->data;
}

static void destroy(struct tty *tty)
{
    free(tty->pending.data);
    free(tty->output.data);
    free(tty->echo.data);
    wait_queue_destroy(&tty->slave_queue);
    wait_queue_destroy(&tty->master_queue);
    mutex_destroy(&tty->lock);
    free(tty);
}

struct tty *tty_create(struct kernel *k)
{
    struct tty *tty = calloc(1, sizeof(*tty));
    if (!tty)
        return NULL;
    ref_init(&tty->ref);
    tty->kernel = k;
    mutex_init(&tty->lock, LOCK_TTY);
    wait_queue_init(&tty->slave_queue);
    wait_queue_init(&tty->master_queue);
    tty_input_init(tty);
    tty->master_open = tty->locked = true;
    bool pending = ring_create(&tty->pending, TTY_PENDING_SIZE);
    bool output = ring_create(&tty->output, TTY_OUTPUT_SIZE);
    bool echo = ring_create(&tty->echo, TTY_ECHO_SIZE);
    if (pending && output && echo)
        return tty;
    destroy(tty);
    return NULL;
}

struct tty *tty_get(struct tty *tty)
{
    ref_get(&tty->ref);
    return tty;
}

void tty_put(struct tty *tty)
{
    if (tty && ref_put(&tty->ref))
        destroy(tty);
}

int tty_slave_open(struct tty *tty, struct file *f, struct task *t, bool no_ctty)
{
    {
        MUTEX_GUARD(&tty->lock);
        if (!tty->master_open || tty->locked)
            return -EIO;
        if (tty->exclusive && !task_capable(t, CAP_SYS_ADMIN))
            return -EBUSY;
        tty->slaves++;
        tty->slave_seen = true;
    }
    f->ops = &tty_slave_fops;
    f->priv = tty_get(tty);
    f->stream = true;
    if (!no_ctty && f->readable)
        tty_acquire_at_open(tty, t);
    return 0;
}

static void slave_release(struct file *f)
{
    struct tty *tty = f->priv;
    {
        MUTEX_GUARD(&tty->lock);
        if (--tty->slaves == 0) {
            tty->exclusive = false;
            wait_wake(&tty->master_queue, READABLE | WRITABLE | POLLHUP);
        }
    }
    tty_put(tty);
}

void tty_master_close(struct tty *tty)
{
    {
        MUTEX_GUARD(&tty->lock);
        tty->master_open = tty->packet = false;
        tty_input_flush(tty);
        wait_wake(&tty->slave_queue, READABLE | WRITABLE | POLLHUP | POLLERR);
    }
    tty_hang_up_session(tty);
}

/* ---- the master ---- */

static bool no_slave(const struct tty *tty)
{
    return tty->slave_seen && tty->slaves == 0;
}

/* Input was processed up to a character that sends a signal: sends it, and goes on. */
static void process_input(struct tty *tty)
{
    int sig;
    do {
        mutex_lock(&tty->lock);
        sig = tty_input_process(tty);
        mutex_unlock(&tty->lock);
        if (sig)
            tty_signal_foreground(tty, sig);
    } while (sig);
}

size_t tty_master_write(struct tty *tty, const void *buf, size_t n)
{
    mutex_lock(&tty->lock);
    size_t done = ring_write(&tty->pending, buf, n, TTY_PENDING_SIZE);
    mutex_unlock(&tty->lock);
    if (done)
        process_input(tty);
    return done;
}

ssize_t tty_master_read(struct tty *tty, void *buf, size_t n)
{
    MUTEX_GUARD(&tty->lock);
    unsigned char *to = buf;
    if (n && tty->packet && tty->packet_status) {
        *to = tty->packet_status;
        tty->packet_status = 0;
        return 1;
    }
    if (!ring_used(&tty->output))
        return no_slave(tty) ? -EIO : 0;
    size_t head = tty->packet && n ? 1 : 0;
    if (head)
        *to = TIOCPKT_DATA;
    n = ring_read(&tty->output, to + head, n - head);
    if (n && ring_used(&tty->output) <= OUTPUT_LOW)
        wait_wake(&tty->slave_queue, WRITABLE);
    return (ssize_t)(n + head);
}

uint32_t tty_master_ready(struct tty *tty)
{
    MUTEX_GUARD(&tty->lock);
    uint32_t r = 0;
    if (ring_used(&tty->output))
        r |= READABLE;
    if (tty->packet && tty->packet_status)
        r |= READABLE | POLLPRI;
    if (ring_room(&tty->pending))
        r |= WRITABLE;
    return no_slave(tty) ? r | POLLHUP : r;
}

/* Sleeps on q until `ready` says something else than 0 for tty: a count, or -errno. */
static ssize_t wait_until(struct tty *tty, struct wait_queue *q, uint32_t events,
                          const ktime_t *deadline, ssize_t (*ready)(struct tty *tty))
{
    struct task *t = task_current();
    struct wait_entry w;
    ssize_t r;
    if (!t)
        return -EAGAIN;
    wait_entry_init_task(&w, t, events);
    wait_add(q, &w);
    while ((r = ready(tty)) == 0) {
        r = task_block(t, deadline);
        if (r)
            break;
    }
    wait_remove(q, &w);
    return r;
}

static ssize_t master_readable(struct tty *tty)
{
    return tty_master_ready(tty) & (READABLE | POLLHUP) ? 1 : 0;
}

static ssize_t master_writable(struct tty *tty)
{
    return tty_master_ready(tty) & WRITABLE ? 1 : 0;
}

static bool no_wait(const struct file *f, int rwf)
{
    return f->flags & O_NONBLOCK || rwf & RWF_NOWAIT;
}

static ssize_t master_read(struct file *f, struct uio *u, UNUSED int64_t *pos, int rwf)
{
    struct tty *tty = f->priv;
    unsigned char buf[CHUNK];
    ssize_t done = 0;
    while (u->resid) {
        ssize_t n = tty_master_read(tty, buf, MIN(u->resid, sizeof(buf)));
        if (n > 0) {
            ssize_t moved = uio_copy_to(u, buf, (size_t)n);
            if (moved < 0)
                return done ? done : moved;
            done += moved;
            MUTEX_GUARD(&tty->lock);
            if (tty->packet || moved < n)
                break;
            continue;
        }
        if (done)
            break;
        if (!n)
            n = no_wait(f, rwf)
                    ? -EAGAIN
                    : wait_until(tty, &tty->master_queue, POLLIN, NULL, master_readable);
        if (n < 0)
            return n;
    }
    return done;
}

static ssize_t master_write(struct file *f, struct uio *u, UNUSED int64_t *pos, int rwf)
{
    struct tty *tty = f->priv;
    unsigned char buf[CHUNK];
    ssize_t done = 0;
    while (u->resid) {
        ssize_t n = uio_copy_from(u, buf, MIN(u->resid, sizeof(buf)));
        if (n <= 0)
            return done ? done : n;
        for (ssize_t moved = 0; moved < n;) {
            size_t part = tty_master_write(tty, buf + moved, (size_t)(n - moved));
            moved += (ssize_t)part;
            done += (ssize_t)part;
            if (part)
                continue;
            ssize_t r = no_wait(f, rwf)
                            ? -EAGAIN
                            : wait_until(tty, &tty->master_queue, POLLOUT, NULL, master_writable);
            if (r < 0)
                return done ? done : r;
        }
    }
    return done;
}

static uint32_t master_poll(struct file *f, UNUSED uint32_t events)
{
    return tty_master_ready(f->priv);
}

static struct wait_queue *master_poll_queue(struct file *f)
{
    return &((struct tty *)f->priv)->master_queue;
}

static long master_ioctl(struct file *f, struct task *t, unsigned cmd, uint64_t arg)
{
    return tty_ioctl(f->priv, f, t, true, cmd, arg);
}

static void master_release(struct file *f)
{
    struct tty *tty = f->priv;
    devpts_remove(tty);
    tty_master_close(tty);
    tty_put(tty);
}

static int master_fdinfo(struct file *f, char *buf, size_t size)
{
    return snprintf(buf, size, "tty-index:\t%u\n", ((struct tty *)f->priv)->index);
}

const struct file_ops tty_master_fops = {
    .read = master_read,
    .write = master_write,
    .poll = master_poll,
    .poll_queue = master_poll_queue,
    .ioctl = master_ioctl,
    .release = master_release,
    .show_fdinfo = master_fdinfo,
    .can_async = true,
};

/* ---- the slave: reading ---- */

static ssize_t slave_readable(struct tty *tty)
{
    MUTEX_GUARD(&tty->lock);
    return !tty->master_open || tty_input_available(tty, false);
}

/* What a read is to come back with, by VMIN and VTIME. */
struct read_rule {
    size_t minimum;
    int64_t first, between; /* ns to wait for the first byte, for each further one; < 0: for ever */
};

static struct read_rule rule_of(struct tty *tty)
{
    MUTEX_GUARD(&tty->lock);
    struct read_rule r = {.minimum = 1, .first = -1, .between = -1};
    int64_t time = tty->termios.c_cc[VTIME] * 100000000ll;
    if (tty->termios.c_lflag & ICANON)
        return r;
    if (tty->termios.c_cc[VMIN] == 0) {
        r.first = time;
    } else {
        r.minimum = tty->termios.c_cc[VMIN];
        r.between = time ? time : -1;
    }
    return r;
}

/* One piece. Bytes, 0 if there are none; *end: the read is over. A terminal that was hung up is at
 * its end, but who waits hears of an error. */
static ssize_t take(struct tty *tty, unsigned char *buf, size_t n, bool waited, bool *end)
{
    {
        MUTEX_GUARD(&tty->lock);
        if (!tty->master_open) {
            *end = true;
            return waited ? -EIO : 0;
        }
        if (!tty_input_available(tty, false))
            return 0;
        n = tty_input_read(tty, buf, n, end);
        wait_wake(&tty->master_queue, WRITABLE);
    }
    process_input(tty);
    return (ssize_t)n;
}

static ssize_t slave_read(struct file *f, struct uio *u, UNUSED int64_t *pos, int rwf)
{
    struct tty *tty = f->priv;
    struct read_rule rule = rule_of(tty);
    unsigned char buf[CHUNK];
    size_t done = 0;
    bool end = false, waited = false;
    ssize_t n = task_current() ? tty_check_change(tty, task_current(), SIGTTIN) : 0;
    if (n)
        return n;
    while (u->resid && !end) {
        n = take(tty, buf, MIN(u->resid, sizeof(buf)), waited, &end);
        if (n > 0) {
            ssize_t moved = uio_copy_to(u, buf, (size_t)n);
            if (moved < 0)
                return done ? (ssize_t)done : moved;
            done += (size_t)moved;
            continue;
        }
        if (n < 0)
            return done ? (ssize_t)done : n;
        int64_t patience = done ? rule.between : rule.first;
        if (end || done >= rule.minimum || patience == 0)
            break;
        n = -EAGAIN;
        if (!no_wait(f, rwf)) {
            ktime_t deadline = patience > 0 ? ktime_after(patience) : 0;
            waited = true;
            n = wait_until(tty, &tty->slave_queue, POLLIN, patience > 0 ? &deadline : NULL,
                           slave_readable);
        }
        if (n == -ETIMEDOUT)
            break;
        if (n < 0)
            return done ? (ssize_t)done : n;
    }
    return (ssize_t)done;
}

/* ---- the slave: writing ---- */

static ssize_t slave_writable(struct tty *tty)
{
    MUTEX_GUARD(&tty->lock);
    if (!tty->master_open)
        return -EIO;
    return !tty->stopped && ring_used(&tty->output) <= OUTPUT_LOW;
}

static ssize_t may_write(struct tty *tty)
{
    MUTEX_GUARD(&tty->lock);
    if (!tty->master_open)
        return -EIO;
    return !tty->writing;
}

/* One writer at a time: what a program writes with one call stays together. */
static ssize_t begin_write(struct tty *tty, bool nonblock)
{
    for (;;) {
        {
            MUTEX_GUARD(&tty->lock);
            if (!tty->writing) {
                tty->writing = true;
                return 0;
            }
        }
        ssize_t r =
            nonblock ? -EAGAIN : wait_until(tty, &tty->slave_queue, POLLOUT, NULL, may_write);
        if (r < 0)
            return r;
    }
}

static void end_write(struct tty *tty)
{
    MUTEX_GUARD(&tty->lock);
    tty->writing = false;
    wait_wake(&tty->slave_queue, POLLOUT);
}

/* All of buf, waiting for room. Bytes taken; *err says why not all. */
static size_t write_chunk(struct tty *tty, const unsigned char *buf, size_t n, bool nonblock,
                          ssize_t *err)
{
    size_t done = 0;
    for (;;) {
        {
            MUTEX_GUARD(&tty->lock);
            if (!tty->master_open) {
                *err = -EIO;
                return done;
            }
            size_t part = tty_output_write(tty, buf + done, n - done);
            done += part;
            if (done == n)
                return done;
            if (part)
                continue;
        }
        *err =
            nonblock ? -EAGAIN : wait_until(tty, &tty->slave_queue, POLLOUT, NULL, slave_writable);
        if (*err < 0)
            return done;
        *err = 0;
    }
}

static ssize_t slave_write(struct file *f, struct uio *u, UNUSED int64_t *pos, int rwf)
{
    struct tty *tty = f->priv;
    unsigned char buf[CHUNK];
    bool nonblock = no_wait(f, rwf);
    ssize_t done = 0, err = 0;
    bool tostop;
    {
        MUTEX_GUARD(&tty->lock);
        tostop = tty->termios.c_lflag & TOSTOP;
    }
    if (tostop && task_current())
        err = tty_check_change(tty, task_current(), SIGTTOU);
    if (!err)
        err = begin_write(tty, nonblock);
    if (err)
        return err;
    while (u->resid && !err) {
        ssize_t n = uio_copy_from(u, buf, MIN(u->resid, sizeof(buf)));
        if (n <= 0)
            err = n ? n : -EFAULT;
        else
            done += (ssize_t)write_chunk(tty, buf, (size_t)n, nonblock, &err);
    }
    end_write(tty);
    return done ? done : err;
}

/* ---- the slave: the rest ---- */

static uint32_t slave_poll(struct file *f, UNUSED uint32_t events)
{
    struct tty *tty = f->priv;
    MUTEX_GUARD(&tty->lock);
    if (!tty->master_open)
        return READABLE | WRITABLE | POLLERR | POLLHUP;
    uint32_t r = tty_input_available(tty, true) ? READABLE : 0;
    if (!tty->stopped && ring_used(&tty->output) <= OUTPUT_LOW)
        r |= WRITABLE;
    return r;
}

static struct wait_queue *slave_poll_queue(struct file *f)
{
    return &((struct tty *)f->priv)->slave_queue;
}

static long slave_ioctl(struct file *f, struct task *t, unsigned cmd, uint64_t arg)
{
    return tty_ioctl(f->priv, f, t, false, cmd, arg);
}

const struct file_ops tty_slave_fops = {
    .read = slave_read,
    .write = slave_write,
    .poll = slave_poll,
    .poll_queue = slave_poll_queue,
    .ioctl = slave_ioctl,
    .release = slave_release,
    .can_async = true,
};
