/*
 * IOCB_CMD_POLL: the one request that waits, and how requests end.
 *
 * A wake-up comes with locks held and may come from the very eventfd that the event is to be told
 * to, so all it does is to put the poll on a list. A thread of the sentry, started with the first
 * poll, looks at the file and ends the request.
 */
#include "sentry/aio/internal.h"
#include "sentry/kernel/host_futex.h"
#include "sentry/kernel/host_thread.h"
#include "sentry/vfs/eventfd.h"
#include <stdlib.h>
#include <sys/epoll.h>

struct aio_poll {
    struct refcount ref; /* the context's list; `fired` or who took it from there */
    struct list_head link, fired;
    struct aio_context *ctx;
    struct file *file, *resfd;
    uint32_t mask;
    struct io_event ev;
    struct wait_queue *queue;
    struct wait_entry wait;
};

void aio_complete(struct aio_context *ctx, const struct io_event *ev, struct file *resfd)
{
    aio_ring_put_event(ctx, ev);
    wait_wake(&ctx->arrived, POLLIN);
    if (resfd) {
        eventfd_signal(resfd, 1);
        file_put(resfd);
    }
}

/* ---- the life of a poll ---- */

static void poll_put(struct aio_poll *p)
{
    if (!ref_put(&p->ref))
        return;
    aio_put(p->ctx);
    free(p);
}

/* Off the context's list: for one caller only. Its reference on p is the caller's. */
static bool poll_claim(struct aio_poll *p)
{
    MUTEX_GUARD(&p->ctx->lock);
    bool was = !list_empty(&p->link);
    list_del(&p->link);
    return was;
}

/* Pre: claimed. Lets go of everything; with an event unless events is -1. */
static void poll_end(struct aio_poll *p, int64_t events)
{
    if (p->queue)
        wait_remove(p->queue, &p->wait);
    p->ev.res = events;
    if (events >= 0) {
        aio_complete(p->ctx, &p->ev, p->resfd);
    } else {
        aio_ring_cancel(p->ctx);
        file_put(p->resfd);
    }
    file_put(p->file);
    poll_put(p);
}

static struct aio *aio_of(const struct aio_poll *p)
{
    return p->ctx->kernel->vfs->aio;
}

static bool poll_wake(struct wait_entry *e, UNUSED uint32_t events)
{
    struct aio_poll *p = e->owner;
    struct aio *aio = aio_of(p);
    MUTEX_GUARD(&aio->lock);
    if (list_empty(&p->fired)) {
        ref_get(&p->ref);
        list_add_tail(&aio->fired, &p->fired);
        atomic_fetch_add(&aio->work, 1);
        host_futex_wake(&aio->work, 1);
    }
    return true;
}

/* Ends p if its file is ready. */
static void poll_look(struct aio_poll *p)
{
    uint32_t ready = file_poll(p->file, p->mask) & p->mask;
    if (ready && poll_claim(p))
        poll_end(p, ready);
}

/* ---- the thread ---- */

static struct aio_poll *next_fired(struct aio *aio)
{
    MUTEX_GUARD(&aio->lock);
    struct aio_poll *p = list_first(&aio->fired, struct aio_poll, fired);
    if (p)
        list_del(&p->fired);
    return p;
}

static bool is_over(struct aio *aio)
{
    MUTEX_GUARD(&aio->lock);
    return aio->quit;
}

static void *worker(void *arg)
{
    struct aio *aio = arg;
    while (!is_over(aio)) {
        uint32_t work = aio->work;
        struct aio_poll *p = next_fired(aio);
        if (!p) {
            host_futex_wait(&aio->work, work, NULL);
            continue;
        }
        poll_look(p);
        poll_put(p);
    }
    return NULL;
}

static int worker_start(struct aio *aio)
{
    MUTEX_GUARD(&aio->lock);
    int err = aio->started ? 0 : host_thread_spawn(&aio->worker, worker, aio);
    aio->started = aio->started || !err;
    return err;
}

void aio_worker_stop(struct aio *aio)
{
    {
        MUTEX_GUARD(&aio->lock);
        if (!aio->started)
            return;
        aio->quit = true;
        atomic_fetch_add(&aio->work, 1);
    }
    host_futex_wake(&aio->work, 1);
    pthread_join(aio->worker, NULL);
}

/* ---- begin, cancel ---- */

int aio_poll_begin(struct aio_context *ctx, struct file *f, struct file *resfd, uint16_t mask,
                   const struct io_event *ev)
{
    struct aio_poll *p = calloc(1, sizeof *p);
    int err = p ? worker_start(ctx->kernel->vfs->aio) : -ENOMEM;
    if (err) {
        free(p);
        file_put(f);
        file_put(resfd);
        return err;
    }
    ref_init(&p->ref);
    ref_get(&p->ref); /* ours, until the end of this function */
    ref_get(&ctx->ref);
    list_init(&p->link);
    list_init(&p->fired);
    p->ctx = ctx;
    p->file = f;
    p->resfd = resfd;
    p->mask = mask | EPOLLERR | EPOLLHUP;
    p->ev = *ev;
    p->queue = file_poll_queue(f);
    p->wait = (struct wait_entry){.mask = p->mask, .wake = poll_wake, .owner = p};
    bool closed;
    {
        MUTEX_GUARD(&ctx->lock);
        closed = ctx->closed;
        list_add_tail(&ctx->polls, &p->link);
    }
    if (p->queue)
        wait_add(p->queue, &p->wait);
    if (!closed)
        poll_look(p);
    else if (poll_claim(p))
        poll_end(p, -1);
    poll_put(p);
    return 0;
}

static struct aio_poll *take_poll(struct aio_context *ctx, bool any, gva_t user)
{
    struct aio_poll *p;
    MUTEX_GUARD(&ctx->lock);
    list_for_each (p, &ctx->polls, link) {
        if (any || p->ev.obj == user) {
            list_del(&p->link);
            return p;
        }
    }
    return NULL;
}

bool aio_poll_cancel(struct aio_context *ctx, gva_t user)
{
    struct aio_poll *p = take_poll(ctx, false, user);
    if (p)
        poll_end(p, 0);
    return p != NULL;
}

void aio_poll_forget_all(struct aio_context *ctx)
{
    struct aio_poll *p;
    while ((p = take_poll(ctx, true, 0)))
        poll_end(p, -1);
}
