#include "sentry/vfs/fasync.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include "sentry/vfs/vfs.h"
#include <stdlib.h>
#include <sys/epoll.h>

#define BAND (EPOLLIN | EPOLLOUT) /* what O_ASYNC listens to */

struct file_owner {
    struct refcount ref; /* the file, and a thread that has it to flush */
    struct kernel *kernel;
    struct mutex lock; /* LEAF: down to fd */
    int type, sig;     /* as struct owner_info has them */
    struct pid *pid;   /* referenced, or NULL */
    uid_t uid, euid;
    int fd;
    struct wait_queue *queue; /* that entry is in (the file's FILE lock), or NULL */
    struct wait_entry entry;
    _Atomic bool *out_missed; /* see file_ops.async_out; constant while entry is queued */
    _Atomic uint32_t events;  /* noted, and not sent: if not 0, on some thread's list */
    struct file_owner *next;  /* on it */
};

/* The owners that this thread has to send to. */
static _Thread_local struct file_owner *todo;

static void owner_put(struct file_owner *o)
{
    if (!ref_put(&o->ref))
        return;
    pid_put(o->pid);
    mutex_destroy(&o->lock);
    free(o);
}

/* f->lock held. NULL: no memory. */
static struct file_owner *get_locked(struct file *f)
{
    struct file_owner *o = f->owner;
    if (o)
        return o;
    o = calloc(1, sizeof(*o));
    if (!o)
        return NULL;
    ref_init(&o->ref);
    mutex_init(&o->lock, LOCK_LEAF);
    o->kernel = f->kernel;
    o->type = F_OWNER_PID;
    f->owner = o;
    return o;
}

void file_get_owner(struct file *f, const struct task *t, struct owner_info *out)
{
    MUTEX_GUARD(&f->lock);
    *out = (struct owner_info){.type = F_OWNER_PID};
    struct file_owner *o = f->owner;
    if (!o)
        return;
    MUTEX_GUARD(&o->lock);
    *out = (struct owner_info){
        .type = o->type,
        .pid = o->pid ? pid_nr_in(o->pid, task_pid_ns(t)) : 0,
        .sig = o->sig,
    };
}

/* A wake-up, with the queue's lock held. Takes nothing away from others who wait. */
static bool note(struct wait_entry *e, uint32_t events)
{
    struct file_owner *o = e->owner;
    struct task *t = task_current();
    events &= e->mask | (e->mask & BAND ? EPOLLERR | EPOLLHUP : 0u);
    if ((events & EPOLLOUT) && o->out_missed && !atomic_exchange(o->out_missed, false))
        events &= ~(uint32_t)(EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND);
    if (!events || atomic_fetch_or(&o->events, events))
        return false;
    ref_get(&o->ref);
    o->next = todo;
    todo = o;
    if (t)
        atomic_fetch_or(&t->work, TASK_WORK_ASYNC);
    return false;
}

/* Makes o hear of these events, or of none. f->lock held. */
static void owner_listen(struct file_owner *o, struct file *f, uint32_t events)
{
    if (o->queue)
        wait_remove(o->queue, &o->entry);
    o->queue = events ? file_poll_queue(f) : NULL;
    if (!o->queue)
        return;
    o->out_missed = f->ops->async_out ? f->ops->async_out(f) : NULL;
    o->entry = (struct wait_entry){.mask = events, .wake = note, .owner = o};
    list_init(&o->entry.link);
    wait_add(o->queue, &o->entry);
}

/* Takes over the reference on pid. */
static int set_owner(struct file *f, const struct task *t, int type, struct pid *pid)
{
    MUTEX_GUARD(&f->lock);
    struct file_owner *o = get_locked(f);
    if (!o) {
        pid_put(pid);
        return -ENOMEM;
    }
    struct pid *old;
    {
        MUTEX_GUARD(&o->lock);
        old = o->pid;
        o->type = type;
        o->pid = pid;
        o->uid = t->cred->uid;
        o->euid = t->cred->euid;
    }
    pid_put(old);
    if (f->ops->async_urgent && !o->queue)
        owner_listen(o, f, EPOLLPRI);
    return 0;
}

int file_set_owner(struct file *f, const struct task *t, int type, pid_t nr)
{
    struct pid *pid = NULL;
    if (nr) {
        MUTEX_GUARD(&t->kernel->tree_lock);
        pid = pid_lookup(task_pid_ns(t), nr);
        if (!pid)
            return -ESRCH;
        pid_get(pid);
    }
    return set_owner(f, t, type, pid);
}

int file_set_signal(struct file *f, int sig)
{
    MUTEX_GUARD(&f->lock);
    struct file_owner *o = get_locked(f);
    if (!o)
        return -ENOMEM;
    MUTEX_GUARD(&o->lock);
    o->sig = sig;
    return 0;
}

int file_set_async(struct file *f, int fd, bool on)
{
    MUTEX_GUARD(&f->lock);
    struct file_owner *o = get_locked(f);
    if (!o)
        return -ENOMEM;
    {
        MUTEX_GUARD(&o->lock);
        o->fd = fd;
    }
    uint32_t events = f->ops->async_urgent ? EPOLLPRI : 0;
    if (on)
        events |= (f->readable ? EPOLLIN : 0u) | (f->writable ? EPOLLOUT : 0u);
    if (!o->queue || o->entry.mask != events)
        owner_listen(o, f, events);
    return 0;
}

void file_release_owner(struct file *f)
{
    struct file_owner *o = f->owner;
    if (!o)
        return;
    if (o->queue)
        wait_remove(o->queue, &o->entry);
    f->owner = NULL;
    owner_put(o);
}

/* ---- sending ---- */

struct sending {
    int type;
    struct pid *pid;
    uid_t uid, euid;
    siginfo_t info;
};

/* As kill(2), by whoever set the owner. */
static bool may_signal(const struct sending *s, struct task *t)
{
    if (s->euid == 0)
        return true;
    const struct cred *c = task_get_cred(t);
    bool ok =
        c && (s->euid == c->suid || s->euid == c->uid || s->uid == c->suid || s->uid == c->uid);
    cred_put(c);
    return ok;
}

static void plain(siginfo_t *info)
{
    siginfo_kernel(info, SIGIO);
}

/* TASK_TREE held, as for the next. */
static void send_to_task(const struct sending *s, struct task *t)
{
    siginfo_t sigio;
    if (!may_signal(s, t))
        return;
    if (signal_send_task(t, s->info.si_signo, &s->info) == -EAGAIN) {
        plain(&sigio);
        (void)signal_send_task(t, SIGIO, &sigio);
    }
}

static void send_to_group(const struct sending *s, struct thread_group *tg)
{
    siginfo_t sigio;
    if (!tg->leader || !may_signal(s, tg->leader))
        return;
    if (signal_send_group(tg, s->info.si_signo, &s->info) == -EAGAIN) {
        plain(&sigio);
        (void)signal_send_group(tg, SIGIO, &sigio);
    }
}

static void send_to_owner(struct kernel *k, const struct sending *s)
{
    MUTEX_GUARD(&k->tree_lock);
    if (s->type == F_OWNER_PGRP) {
        struct thread_group *tg;
        if (!s->pid->pgrp)
            return;
        list_for_each (tg, &s->pid->pgrp->members, pgrp_link)
            send_to_group(s, tg);
    } else if (s->type == F_OWNER_TID) {
        if (s->pid->task)
            send_to_task(s, s->pid->task);
    } else if (s->pid->group) {
        send_to_group(s, s->pid->group);
    } else if (s->pid->task) {
        send_to_group(s, s->pid->task->tg);
    }
}

/* Signals for which POLL_IN and its like mean something else: their si_code says SI_SIGIO. */
static bool has_codes_of_its_own(int sig)
{
    return sig == SIGILL || sig == SIGFPE || sig == SIGSEGV || sig == SIGBUS || sig == SIGTRAP ||
           sig == SIGCHLD || sig == SIGSYS;
}

/* sig: of its own, whatever F_SETSIG says; or 0. */
static void send_band(struct file_owner *o, int sig, int code, long band)
{
    struct sending s = {0};
    {
        MUTEX_GUARD(&o->lock);
        if (!o->pid)
            return;
        s.type = o->type;
        s.pid = pid_get(o->pid);
        s.uid = o->uid;
        s.euid = o->euid;
        s.info.si_signo = o->sig;
        s.info.si_fd = o->fd;
    }
    if (sig) {
        siginfo_kernel(&s.info, sig);
    } else if (s.info.si_signo) {
        s.info.si_code = has_codes_of_its_own(s.info.si_signo) ? SI_SIGIO : code;
        s.info.si_band = band;
    } else {
        plain(&s.info);
    }
    send_to_owner(o->kernel, &s);
    pid_put(s.pid);
}

static void send_events(struct file_owner *o, uint32_t events)
{
    if (events & EPOLLPRI)
        send_band(o, SIGURG, 0, 0);
    if (events & EPOLLHUP)
        send_band(o, 0, POLL_HUP, EPOLLHUP | EPOLLERR);
    else if (events & EPOLLERR)
        send_band(o, 0, POLL_ERR, EPOLLERR);
    else if (events & EPOLLIN)
        send_band(o, 0, POLL_IN, EPOLLIN | EPOLLRDNORM);
    if (events & EPOLLOUT)
        send_band(o, 0, POLL_OUT, EPOLLOUT | EPOLLWRNORM | EPOLLWRBAND);
}

void fasync_flush(void)
{
    struct task *t = task_current();
    if (t)
        atomic_fetch_and(&t->work, ~TASK_WORK_ASYNC);
    while (todo) {
        struct file_owner *o = todo;
        todo = o->next;
        send_events(o, atomic_exchange(&o->events, 0));
        owner_put(o);
    }
}
