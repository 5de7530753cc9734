/*
 * Timers that are read. A periodic timer is armed again when it is read, not when it fires: nobody
 * hears of the expirations in between, and their number follows from the clock.
 */
#include "sentry/vfs/timerfd.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/timer.h"
#include "sentry/vfs/internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

struct timerfd {
    struct mutex lock; /* TIMERFD: everything below but the clock */
    struct kernel *kernel;
    clockid_t clock;
    struct ktimer ktimer;
    bool armed;                /* the ktimer is */
    int64_t expires, interval; /* on `clock`; expires is 0 if disarmed */
    uint64_t ticks;            /* expirations that nobody has read */
    struct wait_queue queue;
};

static int64_t now_of(struct timerfd *tf)
{
    return clock_now(&tf->kernel->clock, tf->clock);
}

/* Lock held. */
static void arm(struct timerfd *tf)
{
    tf->armed = true;
    ktimer_arm(&tf->ktimer, clock_host_monotonic(&tf->kernel->clock, tf->clock, tf->expires));
}

static void fire(struct ktimer *timer)
{
    struct timerfd *tf = container_of(timer, struct timerfd, ktimer);
    mutex_lock(&tf->lock);
    bool fired = tf->armed && now_of(tf) >= tf->expires;
    if (fired) {
        tf->armed = false;
        tf->ticks++;
    } else if (tf->armed) {
        arm(tf); /* set anew meanwhile, or early by a rounding */
    }
    mutex_unlock(&tf->lock);
    if (fired)
        wait_wake(&tf->queue, EPOLLIN | EPOLLRDNORM);
}

/* Counts the periods that went by since a periodic timer fired, and arms it. Lock held. */
static void forward(struct timerfd *tf)
{
    if (tf->armed || !tf->interval || !tf->expires)
        return;
    int64_t missed = MAX(now_of(tf) - tf->expires, (int64_t)0) / tf->interval;
    tf->ticks += (uint64_t)missed;
    if (__builtin_add_overflow(tf->expires, (missed + 1) * tf->interval, &tf->expires))
        tf->expires = INT64_MAX;
    arm(tf);
}

static bool take(struct timerfd *tf, uint64_t *ticks)
{
    MUTEX_GUARD(&tf->lock);
    if (!tf->ticks)
        return false;
    forward(tf);
    *ticks = tf->ticks;
    tf->ticks = 0;
    return true;
}

static int wait_take(struct timerfd *tf, bool nonblock, uint64_t *ticks)
{
    struct task *t = task_current();
    struct wait_entry w;
    bool taken = take(tf, ticks);
    int err = 0;
    if (taken || nonblock || !t)
        return taken ? 0 : -EAGAIN;
    wait_entry_init_task(&w, t, POLLIN);
    wait_add(&tf->queue, &w);
    while (!(taken = take(tf, ticks)) && !err)
        err = task_block(t, NULL);
    wait_remove(&tf->queue, &w);
    return taken ? 0 : err;
}

static ssize_t timerfd_read(struct file *f, struct uio *u, UNUSED int64_t *pos, int rwf)
{
    uint64_t ticks;
    if (u->resid < sizeof ticks)
        return -EINVAL;
    int err = wait_take(f->priv, f->flags & O_NONBLOCK || rwf & RWF_NOWAIT, &ticks);
    if (err)
        return err;
    return uio_copy_to(u, &ticks, sizeof ticks) == sizeof ticks ? (ssize_t)sizeof ticks : -EFAULT;
}

static uint32_t timerfd_poll(struct file *f, UNUSED uint32_t events)
{
    struct timerfd *tf = f->priv;
    MUTEX_GUARD(&tf->lock);
    return tf->ticks ? EPOLLIN : 0;
}

static struct wait_queue *timerfd_poll_queue(struct file *f)
{
    struct timerfd *tf = f->priv;
    return &tf->queue;
}

static void timerfd_free(struct timerfd *tf)
{
    ktimer_cancel(&tf->ktimer);
    wait_queue_destroy(&tf->queue);
    mutex_destroy(&tf->lock);
    free(tf);
}

static void timerfd_release(struct file *f)
{
    timerfd_free(f->priv);
}

/* What is left. Lock held. */
static void remaining(struct timerfd *tf, int64_t *value, int64_t *interval)
{
    forward(tf);
    *interval = tf->interval;
    *value = tf->armed ? MAX(tf->expires - now_of(tf), (int64_t)1) : 0;
}

static int timerfd_show_fdinfo(struct file *f, char *buf, size_t size)
{
    struct timerfd *tf = f->priv;
    int64_t value, interval;
    MUTEX_GUARD(&tf->lock);
    remaining(tf, &value, &interval);
    return snprintf(buf, size,
                    "clockid: %d\nticks: %llu\nsettime flags: 00\nit_value: (%lld, %lld)\n"
                    "it_interval: (%lld, %lld)\n",
                    (int)tf->clock, (unsigned long long)tf->ticks, (long long)(value / 1000000000),
                    (long long)(value % 1000000000), (long long)(interval / 1000000000),
                    (long long)(interval % 1000000000));
}

static const struct file_ops timerfd_ops = {
    .llseek = file_seek_nowhere,
    .read = timerfd_read,
    .poll = timerfd_poll,
    .poll_queue = timerfd_poll_queue,
    .release = timerfd_release,
    .show_fdinfo = timerfd_show_fdinfo,
};

int timerfd_create_file(struct task *t, clockid_t clock, unsigned flags, struct file **out)
{
    int err = ktimer_prepare(t->kernel);
    if (err)
        return err;
    struct timerfd *tf = calloc(1, sizeof *tf);
    if (!tf)
        return -ENOMEM;
    mutex_init(&tf->lock, LOCK_TIMERFD);
    wait_queue_init(&tf->queue);
    ktimer_init(&tf->ktimer, t->kernel, fire);
    tf->kernel = t->kernel;
    tf->clock = clock;
    err = file_create_anon(t->kernel, "anon_inode:[timerfd]", O_RDWR | (flags & O_NONBLOCK),
                           &timerfd_ops, tf, t->cred, out);
    if (err)
        timerfd_free(tf);
    return err;
}

int timerfd_set(struct file *f, bool absolute, int64_t value, int64_t interval, int64_t *old_value,
                int64_t *old_interval)
{
    struct timerfd *tf = f->priv;
    if (f->ops != &timerfd_ops)
        return -EINVAL;
    MUTEX_GUARD(&tf->lock);
    remaining(tf, old_value, old_interval);
    ktimer_disarm(&tf->ktimer);
    tf->armed = false;
    tf->ticks = 0;
    tf->interval = interval;
    tf->expires = 0;
    if (!value)
        return 0;
    tf->expires = value;
    if (!absolute && __builtin_add_overflow(now_of(tf), value, &tf->expires))
        tf->expires = INT64_MAX;
    arm(tf);
    return 0;
}

int timerfd_get(struct file *f, int64_t *value, int64_t *interval)
{
    struct timerfd *tf = f->priv;
    if (f->ops != &timerfd_ops)
        return -EINVAL;
    MUTEX_GUARD(&tf->lock);
    remaining(tf, value, interval);
    return 0;
}
