/*
 * The listener of a filter: calls that SECCOMP_RET_USER_NOTIF stopped wait here for a supervisor.
 *
 *   INIT --SECCOMP_IOCTL_NOTIF_RECV--> SENT --SECCOMP_IOCTL_NOTIF_SEND--> REPLIED
 *
 * A request lies on the stack of the task that waits in it; it is on the list exactly as long, and
 * the list's lock guards it. Descriptors that the supervisor adds are installed by that task
 * itself.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include "sentry/kernel/seccomp.h"
#include "sentry/vfs/vfs.h"
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/random.h>

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS _IOW('!', 4, uint64_t)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP 1u
#endif
#define SECCOMP_ADDFD_SIZE_VER0 24u

enum notify_state { NOTIFY_INIT, NOTIFY_SENT, NOTIFY_REPLIED };

struct addfd {
    struct list_head link;
    struct file *file;
    struct task *supervisor;
    int newfd;
    bool set, cloexec, send;
    bool done;
    int result;
};

struct request {
    struct list_head link;
    struct task *task;
    uint64_t id;
    enum notify_state state;
    const struct seccomp_data *data;
    long result;
    bool go_on;
    struct list_head addfds;
};

struct seccomp_listener {
    struct mutex lock; /* SECCOMP_NOTIFY */
    struct list_head requests;
    struct wait_queue queue;
    uint64_t next_id;
    bool closed;
    bool orphaned;
};

static struct request *find_request(struct seccomp_listener *l, uint64_t id)
{
    struct request *r;
    list_for_each (r, &l->requests, link) {
        if (r->id == id)
            return r;
    }
    return NULL;
}

static struct request *find_state(struct seccomp_listener *l, enum notify_state state)
{
    struct request *r;
    list_for_each (r, &l->requests, link) {
        if (r->state == state)
            return r;
    }
    return NULL;
}

/* ---- the task that asks ---- */

static void finish_addfd(struct addfd *a, int result)
{
    list_del(&a->link);
    a->result = result;
    a->done = true;
    task_wake(a->supervisor);
}

/* Lock held, released in between. */
static void serve_addfds(struct seccomp_listener *l, struct request *r)
{
    struct addfd *a;
    while ((a = list_first(&r->addfds, struct addfd, link)) != NULL) {
        struct file *f = file_get(a->file);
        int newfd = a->newfd;
        bool set = a->set, cloexec = a->cloexec;
        mutex_unlock(&l->lock);
        int fd =
            set ? fd_install_at(r->task, f, newfd, cloexec) : fd_install(r->task, f, 0, cloexec);
        file_put(f);
        mutex_lock(&l->lock);
        /* It may have been interrupted, and given up, meanwhile. */
        if (list_first(&r->addfds, struct addfd, link) != a)
            continue;
        if (a->send) {
            r->state = fd < 0 ? NOTIFY_SENT : NOTIFY_REPLIED;
            r->result = fd;
        }
        finish_addfd(a, fd);
    }
}

/* Lock held, released to sleep. */
static int wait_for_reply(struct seccomp_listener *l, struct request *r, bool wait_killable)
{
    for (;;) {
        serve_addfds(l, r);
        if (r->state == NOTIFY_REPLIED)
            return 0;
        bool killable = wait_killable && r->state == NOTIFY_SENT;
        mutex_unlock(&l->lock);
        int err = killable ? task_block_killable(r->task, NULL) : task_block(r->task, NULL);
        mutex_lock(&l->lock);
        if (err && r->state == NOTIFY_REPLIED && list_empty(&r->addfds))
            return 0;
        /* A signal that came while it was being received waits for the reply. */
        if (err && !killable && wait_killable && r->state == NOTIFY_SENT)
            continue;
        if (err)
            return err;
    }
}

bool seccomp_notify(struct task *t, struct seccomp_filter *f, const struct seccomp_data *data,
                    long *result)
{
    struct seccomp_listener *l = f->listener;
    struct request r = {.task = t, .state = NOTIFY_INIT, .data = data};
    *result = -ENOSYS;
    if (!l)
        return false;
    list_init(&r.addfds);
    MUTEX_GUARD(&l->lock);
    if (l->closed)
        return false;
    r.id = l->next_id++;
    list_add_tail(&l->requests, &r.link);
    wait_wake(&l->queue, EPOLLIN | EPOLLRDNORM);
    int err = wait_for_reply(l, &r, f->wait_killable);
    list_del(&r.link);
    struct addfd *a, *next;
    list_for_each_safe (a, next, &r.addfds, link)
        finish_addfd(a, -ESRCH);
    *result = err ? err : r.result;
    return !err && r.go_on;
}

void seccomp_listener_orphaned(struct seccomp_listener *l)
{
    MUTEX_GUARD(&l->lock);
    l->orphaned = true;
    wait_wake(&l->queue, EPOLLHUP);
}

void seccomp_listener_free(struct seccomp_listener *l)
{
    wait_queue_destroy(&l->queue);
    mutex_destroy(&l->lock);
    free(l);
}

/* ---- the supervisor ---- */

/* Waits for a request to be received; lock held, released to sleep. NULL: nobody will ask again. */
static struct request *wait_request(struct seccomp_listener *l, struct task *t, int *err)
{
    struct wait_entry w;
    struct request *r;
    *err = 0;
    wait_entry_init_task(&w, t, EPOLLIN);
    wait_add(&l->queue, &w);
    while (!(r = find_state(l, NOTIFY_INIT)) && !l->orphaned && !*err) {
        mutex_unlock(&l->lock);
        *err = task_block(t, NULL);
        mutex_lock(&l->lock);
    }
    wait_remove(&l->queue, &w);
    if (r)
        *err = 0;
    else if (!*err)
        *err = -ENOENT;
    return r;
}

static long ioctl_recv(struct seccomp_filter *f, struct task *t, gva_t arg)
{
    static const struct seccomp_notif zero;
    struct seccomp_listener *l = f->listener;
    struct seccomp_notif n;
    int err = MM_COPY_IN(t->mm, &n, arg);
    if (err)
        return err;
    if (memcmp(&n, &zero, sizeof(n)) != 0)
        return -EINVAL;
    {
        MUTEX_GUARD(&l->lock);
        struct request *r = wait_request(l, t, &err);
        if (!r)
            return err;
        n.id = r->id;
        n.pid = (uint32_t)pid_nr_in(r->task->pid, task_pid_ns(t));
        n.data = *r->data;
        r->state = NOTIFY_SENT;
        if (f->wait_killable)
            task_wake(r->task);
        wait_wake(&l->queue, EPOLLOUT | EPOLLWRNORM);
    }
    err = MM_COPY_OUT(t->mm, arg, &n);
    if (err) {
        /* Nobody has seen it: it is as before. */
        MUTEX_GUARD(&l->lock);
        struct request *r = find_request(l, n.id);
        if (r && r->state == NOTIFY_SENT) {
            r->state = NOTIFY_INIT;
            wait_wake(&l->queue, EPOLLIN | EPOLLRDNORM);
        }
    }
    return err;
}

/* The request that a supervisor may answer now. Lock held. */
static int find_sent(struct seccomp_listener *l, uint64_t id, struct request **out)
{
    *out = find_request(l, id);
    if (!*out)
        return -ENOENT;
    return (*out)->state == NOTIFY_SENT ? 0 : -EINPROGRESS;
}

static long ioctl_send(struct seccomp_filter *f, struct task *t, gva_t arg)
{
    struct seccomp_notif_resp resp;
    struct request *r;
    int err = MM_COPY_IN(t->mm, &resp, arg);
    if (err)
        return err;
    bool go_on = resp.flags & SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    if ((resp.flags & ~SECCOMP_USER_NOTIF_FLAG_CONTINUE) || (go_on && (resp.error || resp.val)))
        return -EINVAL;
    MUTEX_GUARD(&f->listener->lock);
    err = find_sent(f->listener, resp.id, &r);
    if (err)
        return err;
    r->state = NOTIFY_REPLIED;
    r->result = resp.error ? resp.error : (long)resp.val;
    r->go_on = go_on;
    task_wake(r->task);
    return 0;
}

static long ioctl_id_valid(struct seccomp_filter *f, struct task *t, gva_t arg)
{
    uint64_t id;
    struct request *r;
    int err = MM_COPY_IN(t->mm, &id, arg);
    if (err)
        return err;
    MUTEX_GUARD(&f->listener->lock);
    return find_sent(f->listener, id, &r) ? -ENOENT : 0;
}

static long ioctl_set_flags(UNUSED struct seccomp_filter *f, UNUSED struct task *t, gva_t arg)
{
    return arg & ~(gva_t)SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP ? -EINVAL : 0;
}

/* Lock held, released to sleep. */
static long add_and_wait(struct seccomp_listener *l, struct request *r, struct addfd *a)
{
    if (a->send) {
        if (!list_empty(&r->addfds))
            return -EBUSY;
        r->state = NOTIFY_REPLIED;
    }
    list_add_tail(&r->addfds, &a->link);
    task_wake(r->task);
    while (!a->done) {
        mutex_unlock(&l->lock);
        int err = task_block(a->supervisor, NULL);
        mutex_lock(&l->lock);
        if (err && !a->done) {
            list_del(&a->link);
            if (a->send)
                r->state = NOTIFY_SENT;
            return -EINTR;
        }
    }
    return a->result;
}

static int copy_in_addfd(struct task *t, gva_t arg, unsigned size, struct seccomp_notif_addfd *out)
{
    uint8_t rest[PAGE_SIZE];
    if (size < SECCOMP_ADDFD_SIZE_VER0 || size >= PAGE_SIZE)
        return -EINVAL;
    int err = mm_copy_in(t->mm, rest, arg, size);
    if (err)
        return err;
    for (unsigned i = sizeof(*out); i < size; i++) {
        if (rest[i])
            return -E2BIG;
    }
    memcpy(out, rest, sizeof(*out));
    if ((out->newfd_flags & ~(unsigned)O_CLOEXEC) ||
        (out->flags & ~(unsigned)(SECCOMP_ADDFD_FLAG_SETFD | SECCOMP_ADDFD_FLAG_SEND)) ||
        (out->newfd && !(out->flags & SECCOMP_ADDFD_FLAG_SETFD)))
        return -EINVAL;
    return 0;
}

static long ioctl_addfd(struct seccomp_filter *f, struct task *t, gva_t arg, unsigned size)
{
    struct seccomp_notif_addfd in;
    struct request *r;
    int err = copy_in_addfd(t, arg, size, &in);
    if (err)
        return err;
    struct addfd a = {
        .supervisor = t,
        .newfd = (int)in.newfd,
        .set = in.flags & SECCOMP_ADDFD_FLAG_SETFD,
        .send = in.flags & SECCOMP_ADDFD_FLAG_SEND,
        .cloexec = in.newfd_flags & O_CLOEXEC,
    };
    list_init(&a.link);
    a.file = fd_get(t, (int)in.srcfd);
    if (!a.file)
        return -EBADF;
    long result;
    mutex_lock(&f->listener->lock);
    result = find_sent(f->listener, in.id, &r);
    if (!result)
        result = add_and_wait(f->listener, r, &a);
    mutex_unlock(&f->listener->lock);
    file_put(a.file);
    return result;
}

static const struct {
    unsigned cmd;
    long (*fn)(struct seccomp_filter *f, struct task *t, gva_t arg);
} ioctls[] = {
    {SECCOMP_IOCTL_NOTIF_RECV, ioctl_recv},
    {SECCOMP_IOCTL_NOTIF_SEND, ioctl_send},
    {SECCOMP_IOCTL_NOTIF_ID_VALID, ioctl_id_valid},
    /* The number as it was before its direction was mended. */
    {SECCOMP_IOR(2, uint64_t), ioctl_id_valid},
    {SECCOMP_IOCTL_NOTIF_SET_FLAGS, ioctl_set_flags},
};

static long listener_ioctl(struct file *file, struct task *t, unsigned cmd, uint64_t arg)
{
    for (size_t i = 0; i < ARRAY_SIZE(ioctls); i++) {
        if (ioctls[i].cmd == cmd)
            return ioctls[i].fn(file->priv, t, arg);
    }
    /* The structure may grow: its size is part of the number. */
    const unsigned size_bits = (unsigned)_IOC_SIZEMASK << _IOC_SIZESHIFT;
    if ((cmd & ~size_bits) == (SECCOMP_IOCTL_NOTIF_ADDFD & ~size_bits))
        return ioctl_addfd(file->priv, t, arg, _IOC_SIZE(cmd));
    return -EINVAL;
}

static uint32_t listener_poll(struct file *file, UNUSED uint32_t events)
{
    struct seccomp_filter *f = file->priv;
    struct seccomp_listener *l = f->listener;
    MUTEX_GUARD(&l->lock);
    uint32_t ready = 0;
    if (find_state(l, NOTIFY_INIT))
        ready |= EPOLLIN | EPOLLRDNORM;
    if (find_state(l, NOTIFY_SENT))
        ready |= EPOLLOUT | EPOLLWRNORM;
    return l->orphaned ? ready | EPOLLHUP : ready;
}

static struct wait_queue *listener_poll_queue(struct file *file)
{
    struct seccomp_filter *f = file->priv;
    return &f->listener->queue;
}

static void listener_release(struct file *file)
{
    struct seccomp_filter *f = file->priv;
    {
        MUTEX_GUARD(&f->listener->lock);
        struct request *r;
        f->listener->closed = true;
        list_for_each (r, &f->listener->requests, link) {
            if (r->state == NOTIFY_REPLIED)
                continue;
            r->state = NOTIFY_REPLIED;
            r->result = -ENOSYS;
            task_wake(r->task);
        }
    }
    seccomp_filter_put(f);
}

static const struct file_ops listener_ops = {
    .ioctl = listener_ioctl,
    .poll = listener_poll,
    .poll_queue = listener_poll_queue,
    .release = listener_release,
};

int seccomp_listener_create(struct task *t, struct seccomp_filter *f)
{
    struct seccomp_listener *l = calloc(1, sizeof(*l));
    struct file *file;
    if (!l)
        return -ENOMEM;
    mutex_init(&l->lock, LOCK_SECCOMP_NOTIFY);
    list_init(&l->requests);
    wait_queue_init(&l->queue);
    /* Not to be guessed by one who was not told. */
    if (getrandom(&l->next_id, sizeof(l->next_id), 0) != (ssize_t)sizeof(l->next_id))
        l->next_id = 0;
    f->listener = l;
    ref_get(&f->ref);
    int err = file_create_anon(t->kernel, "anon_inode:seccomp notify", O_RDWR, &listener_ops, f,
                               t->cred, &file);
    if (err) {
        seccomp_filter_put(f);
        return err;
    }
    file->stream = true;
    int fd = fd_install(t, file, 0, true);
    file_put(file);
    return fd;
}
