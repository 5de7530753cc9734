/*
 * Signals that are read. What a signalfd shows depends on who looks: every task sees its own
 * pending signals and its process's.
 *
 *     process.signal_wait --relay--> signalfd.queue --> pollers
 *
 * So whoever polls one needs to hear of the signals of its own process. A relay for each process
 * that ever polled the signalfd passes them on; it keeps the process's structure, not the process.
 */
#include "sentry/vfs/signalfd.h"
#include "sentry/kernel/posix_timers.h"
#include "sentry/kernel/task.h"
#include "sentry/vfs/internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

struct relay {
    struct list_head link;
    struct thread_group *tg; /* referenced */
    struct wait_entry entry;
};

struct signalfd {
    _Atomic sigset64_t mask;
    struct mutex lock; /* TIMERFD: relays */
    struct list_head relays;
    struct wait_queue queue;
};

/* ---- relays ---- */

static bool relay_wake(struct wait_entry *e, uint32_t events)
{
    struct signalfd *s = e->owner;
    return wait_wake_nested(&s->queue, events);
}

static struct relay *relay_find(struct signalfd *s, const struct thread_group *tg)
{
    struct relay *r;
    list_for_each (r, &s->relays, link)
        if (r->tg == tg)
            return r;
    return NULL;
}

/* Makes sure that pollers hear of the signals of tg. */
static void relay_ensure(struct signalfd *s, struct thread_group *tg)
{
    MUTEX_GUARD(&s->lock);
    if (relay_find(s, tg))
        return;
    struct relay *r = calloc(1, sizeof *r);
    if (!r)
        return;
    r->tg = thread_group_get(tg);
    r->entry = (struct wait_entry){.mask = POLLIN, .wake = relay_wake, .owner = s};
    list_add(&s->relays, &r->link);
    wait_add(&tg->signal_wait, &r->entry);
}

static void signalfd_free(struct signalfd *s)
{
    struct relay *r, *next;
    list_for_each_safe (r, next, &s->relays, link) {
        wait_remove(&r->tg->signal_wait, &r->entry);
        thread_group_put(r->tg);
        free(r);
    }
    wait_queue_destroy(&s->queue);
    mutex_destroy(&s->lock);
    free(s);
}

/* ---- reading ---- */

/* See signalfd(2): which fields mean something depends on the signal and its origin. */
static void describe(struct signalfd_siginfo *out, const siginfo_t *in)
{
    memset(out, 0, sizeof *out);
    out->ssi_signo = (uint32_t)in->si_signo;
    out->ssi_errno = in->si_errno;
    out->ssi_code = in->si_code;
    bool from_kernel = in->si_code > 0 && in->si_code != SI_KERNEL;
    int sig = in->si_signo;
    if (in->si_code == SI_TIMER) {
        out->ssi_tid = (uint32_t)in->si_timerid;
        out->ssi_overrun = (uint32_t)in->si_overrun;
    } else if (from_kernel && (sig == SIGIO || sig == SIGURG)) {
        out->ssi_band = (uint32_t)in->si_band;
        out->ssi_fd = in->si_fd;
    } else if (from_kernel && (sig == SIGSEGV || sig == SIGBUS || sig == SIGILL || sig == SIGFPE ||
                               sig == SIGTRAP)) {
        out->ssi_addr = (uint64_t)(uintptr_t)in->si_addr;
    } else {
        out->ssi_pid = (uint32_t)in->si_pid;
        out->ssi_uid = in->si_uid;
    }
    if (sig == SIGCHLD && from_kernel) {
        out->ssi_status = in->si_status;
        out->ssi_utime = (uint64_t)in->si_utime;
        out->ssi_stime = (uint64_t)in->si_stime;
    }
    if (in->si_code == SI_TIMER || in->si_code == SI_QUEUE || in->si_code == SI_MESGQ) {
        out->ssi_int = in->si_value.sival_int;
        out->ssi_ptr = (uint64_t)(uintptr_t)in->si_value.sival_ptr;
    }
}

static bool take(struct signalfd *s, struct task *t, siginfo_t *info)
{
    struct posix_timer *timer = NULL;
    mutex_lock(&t->tg->sighand_lock);
    int sig = signal_dequeue(t, s->mask, info, &timer);
    mutex_unlock(&t->tg->sighand_lock);
    if (timer)
        posix_timer_taken(timer, info);
    return sig;
}

static int wait_take(struct file *f, struct task *t, bool nonblock, siginfo_t *info)
{
    struct signalfd *s = f->priv;
    int err = 0;
    bool taken = take(s, t, info);
    if (taken || nonblock)
        return taken ? 0 : -EAGAIN;
    struct wait_entry w;
    wait_entry_init_task(&w, t, POLLIN);
    wait_add(&t->tg->signal_wait, &w);
    while (!(taken = take(s, t, info)) && !err)
        err = task_block(t, NULL);
    wait_remove(&t->tg->signal_wait, &w);
    return taken ? 0 : err;
}

static ssize_t signalfd_read(struct file *f, struct uio *u, UNUSED int64_t *pos, int rwf)
{
    struct task *t = task_current();
    ssize_t done = 0;
    bool nonblock = f->flags & O_NONBLOCK || rwf & RWF_NOWAIT;
    struct signalfd_siginfo out;
    if (u->resid < sizeof out)
        return -EINVAL;
    while (u->resid >= sizeof out) {
        siginfo_t info;
        int err = wait_take(f, t, nonblock || done, &info);
        if (err)
            return done ? done : err;
        describe(&out, &info);
        if (uio_copy_to(u, &out, sizeof out) != sizeof out)
            return done ? done : -EFAULT;
        done += (ssize_t)sizeof out;
    }
    return done;
}

static uint32_t signalfd_poll(struct file *f, UNUSED uint32_t events)
{
    struct signalfd *s = f->priv;
    struct task *t = task_current();
    if (!t)
        return 0;
    MUTEX_GUARD(&t->tg->sighand_lock);
    return signal_pending_set(t) & s->mask ? EPOLLIN : 0;
}

static struct wait_queue *signalfd_poll_queue(struct file *f)
{
    struct signalfd *s = f->priv;
    if (task_current())
        relay_ensure(s, task_current()->tg);
    return &s->queue;
}

static void signalfd_release(struct file *f)
{
    signalfd_free(f->priv);
}

static int signalfd_show_fdinfo(struct file *f, char *buf, size_t size)
{
    struct signalfd *s = f->priv;
    return snprintf(buf, size, "sigmask:\t%016llx\n", (unsigned long long)s->mask);
}

static const struct file_ops signalfd_ops = {
    .llseek = file_seek_nowhere,
    .read = signalfd_read,
    .poll = signalfd_poll,
    .poll_queue = signalfd_poll_queue,
    .release = signalfd_release,
    .show_fdinfo = signalfd_show_fdinfo,
};

static sigset64_t catchable(sigset64_t mask)
{
    return mask & ~(SIG_BIT(SIGKILL) | SIG_BIT(SIGSTOP));
}

int signalfd_create_file(struct task *t, sigset64_t mask, unsigned flags, struct file **out)
{
    struct signalfd *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    mutex_init(&s->lock, LOCK_TIMERFD);
    list_init(&s->relays);
    wait_queue_init(&s->queue);
    s->mask = catchable(mask);
    int err = file_create_anon(t->kernel, "anon_inode:[signalfd]", O_RDWR | (flags & O_NONBLOCK),
                               &signalfd_ops, s, t->cred, out);
    if (err)
        signalfd_free(s);
    return err;
}

int signalfd_set_mask(struct file *f, sigset64_t mask)
{
    struct signalfd *s = f->priv;
    if (f->ops != &signalfd_ops)
        return -EINVAL;
    s->mask = catchable(mask);
    wait_wake(&s->queue, EPOLLIN | EPOLLRDNORM);
    return 0;
}
