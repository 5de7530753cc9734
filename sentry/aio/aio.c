/*
 * AIO contexts: their lives, what is submitted to them, and taking events.
 */
#include "sentry/aio/aio.h"
#include "sentry/aio/internal.h"
#include "sentry/vfs/eventfd.h"
#include "sentry/vfs/internal.h"
#include <stdlib.h>

#define GET_BATCH 32

int aio_create(struct aio **out)
{
    struct aio *aio = calloc(1, sizeof *aio);
    if (!aio)
        return -ENOMEM;
    mutex_init(&aio->lock, LOCK_LEAF);
    list_init(&aio->fired);
    *out = aio;
    return 0;
}

void aio_destroy(struct aio *aio)
{
    if (!aio)
        return;
    aio_worker_stop(aio);
    mutex_destroy(&aio->lock);
    free(aio);
}

unsigned aio_nr(const struct aio *aio)
{
    return aio->nr;
}

/* ---- contexts ---- */

static bool charge(struct aio *aio, unsigned nr)
{
    unsigned have = aio->nr;
    do {
        if (nr > AIO_MAX_NR - have)
            return false;
    } while (!atomic_compare_exchange_weak(&aio->nr, &have, have + nr));
    return true;
}

void aio_put(struct aio_context *ctx)
{
    if (!ctx || !ref_put(&ctx->ref))
        return;
    atomic_fetch_sub(&ctx->kernel->vfs->aio->nr, ctx->asked);
    aio_ring_put(ctx);
    wait_queue_destroy(&ctx->arrived);
    mutex_destroy(&ctx->read_lock);
    mutex_destroy(&ctx->lock);
    free(ctx);
}

int aio_setup(struct task *t, unsigned nr, gva_t *id)
{
    struct aio *aio = t->kernel->vfs->aio;
    struct aio_context *ctx = calloc(1, sizeof *ctx);
    int err = !ctx ? -ENOMEM : charge(aio, nr) ? 0 : -EAGAIN;
    if (!err) {
        err = aio_ring_create(ctx, t, nr);
        if (err)
            atomic_fetch_sub(&aio->nr, nr);
    }
    if (err) {
        free(ctx);
        return err;
    }
    ref_init(&ctx->ref);
    ctx->kernel = t->kernel;
    ctx->asked = nr;
    mutex_init(&ctx->lock, LOCK_LEAF);
    mutex_init(&ctx->read_lock, LOCK_FILE_POS);
    wait_queue_init(&ctx->arrived);
    list_init(&ctx->polls);
    *id = ctx->id;
    MUTEX_GUARD(&t->tg->limits_lock);
    list_add(&t->tg->aio, &ctx->link);
    return 0;
}

struct aio_context *aio_find(struct task *t, gva_t id)
{
    struct aio_context *ctx;
    MUTEX_GUARD(&t->tg->limits_lock);
    list_for_each (ctx, &t->tg->aio, link) {
        if (ctx->id == id) {
            ref_get(&ctx->ref);
            return ctx;
        }
    }
    return NULL;
}

/* ctx, which is off the list: nothing happens in it any more. Drops the list's reference. */
static void context_end(struct aio_context *ctx)
{
    {
        MUTEX_GUARD(&ctx->lock);
        ctx->closed = true;
    }
    aio_poll_forget_all(ctx);
    wait_wake(&ctx->arrived, POLLHUP);
    aio_put(ctx);
}

int aio_close(struct task *t, gva_t id)
{
    struct aio_context *ctx = aio_find(t, id);
    bool mine = false;
    if (!ctx)
        return -EINVAL;
    {
        MUTEX_GUARD(&t->tg->limits_lock);
        mine = !list_empty(&ctx->link); /* or somebody was faster */
        list_del(&ctx->link);
    }
    if (mine) {
        aio_ring_unmap(ctx, t);
        context_end(ctx);
    }
    aio_put(ctx);
    return mine ? 0 : -EINVAL;
}

static struct aio_context *take_context(struct thread_group *tg)
{
    MUTEX_GUARD(&tg->limits_lock);
    struct aio_context *ctx = list_first(&tg->aio, struct aio_context, link);
    if (ctx)
        list_del(&ctx->link);
    return ctx;
}

void aio_exit(struct thread_group *tg)
{
    struct aio_context *ctx;
    while ((ctx = take_context(tg)))
        context_end(ctx);
}

/* ---- requests ---- */

struct request {
    struct task *t;
    struct aio_context *ctx;
    struct iocb cb;
    struct file *file, *resfd;
    struct io_event ev;
};

/* Ends a request that is done. */
static int done(struct request *rq, ssize_t result)
{
    /* Nothing restarts one of many. */
    if (result == -ERESTARTSYS || result == -ERESTARTNOINTR || result == -ERESTARTNOHAND ||
        result == -ERESTART_RESTARTBLOCK)
        result = -EINTR;
    rq->ev.res = result;
    aio_complete(rq->ctx, &rq->ev, rq->resfd);
    rq->resfd = NULL;
    return 0;
}

static int buffer(struct request *rq, bool vector, struct uio *u)
{
    struct mm *mm = rq->t->mm;
    return vector ? uio_init_iovec(u, mm, rq->cb.aio_buf, rq->cb.aio_nbytes)
                  : uio_init_user(u, mm, rq->cb.aio_buf, rq->cb.aio_nbytes);
}

static bool is_plain(const struct file *f)
{
    return f->stream || !S_ISDIR(f->inode->mode);
}

static int do_read(struct request *rq, bool vector)
{
    struct file *f = rq->file;
    struct uio u;
    int rwf = (int)rq->cb.aio_rw_flags;
    if (!f->readable)
        return -EBADF;
    if (!f->ops->read || !is_plain(f) || (rq->cb.aio_offset < 0 && !f->stream))
        return -EINVAL;
    int err = buffer(rq, vector, &u);
    if (err)
        return err;
    ssize_t n = f->stream ? file_read_rwf(f, &u, rwf) : file_pread(f, &u, rq->cb.aio_offset, rwf);
    uio_release(&u);
    return done(rq, n);
}

static int do_write(struct request *rq, bool vector)
{
    struct file *f = rq->file;
    struct uio u;
    int rwf = (int)rq->cb.aio_rw_flags;
    if (!f->writable)
        return -EBADF;
    if (!f->ops->write || (rq->cb.aio_offset < 0 && !f->stream))
        return -EINVAL;
    int err = buffer(rq, vector, &u);
    if (err)
        return err;
    ssize_t n = f->stream ? file_write_task(rq->t, f, &u, rwf)
                          : file_pwrite_task(rq->t, f, &u, rq->cb.aio_offset, rwf);
    uio_release(&u);
    return done(rq, n);
}

static int do_sync(struct request *rq, bool data_only)
{
    const struct iocb *cb = &rq->cb;
    struct file *f = rq->file;
    if (cb->aio_buf || cb->aio_offset || cb->aio_nbytes || cb->aio_rw_flags || !f->ops->fsync)
        return -EINVAL;
    return done(rq, f->ops->fsync(f, 0, INT64_MAX, data_only));
}

static int do_poll(struct request *rq, UNUSED bool unused)
{
    const struct iocb *cb = &rq->cb;
    if (cb->aio_buf > UINT16_MAX || cb->aio_offset || cb->aio_nbytes || cb->aio_rw_flags ||
        !rq->file->ops->poll)
        return -EINVAL;
    struct file *f = rq->file, *resfd = rq->resfd;
    rq->file = rq->resfd = NULL;
    return aio_poll_begin(rq->ctx, f, resfd, (uint16_t)cb->aio_buf, &rq->ev);
}

static const struct {
    int (*run)(struct request *rq, bool variant);
    bool variant;
} commands[] = {
    [IOCB_CMD_PREAD] = {do_read, false},   [IOCB_CMD_PREADV] = {do_read, true},
    [IOCB_CMD_PWRITE] = {do_write, false}, [IOCB_CMD_PWRITEV] = {do_write, true},
    [IOCB_CMD_FSYNC] = {do_sync, false},   [IOCB_CMD_FDSYNC] = {do_sync, true},
    [IOCB_CMD_POLL] = {do_poll, false},
};

/* Fields that say nothing of the operation. */
static int check_iocb(const struct iocb *cb)
{
    if (cb->aio_reserved2 || cb->aio_flags & ~(uint32_t)(IOCB_FLAG_RESFD | IOCB_FLAG_IOPRIO))
        return -EINVAL;
    if ((int64_t)cb->aio_nbytes < 0)
        return -EINVAL;
    if (cb->aio_lio_opcode >= ARRAY_SIZE(commands) || !commands[cb->aio_lio_opcode].run)
        return -EINVAL;
    if ((int)cb->aio_rw_flags & ~(RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND))
        return -EOPNOTSUPP;
    return 0;
}

static int open_files(struct request *rq)
{
    rq->file = fd_get(rq->t, (int)rq->cb.aio_fildes);
    if (!rq->file)
        return -EBADF;
    if (!(rq->cb.aio_flags & IOCB_FLAG_RESFD))
        return 0;
    rq->resfd = fd_get(rq->t, (int)rq->cb.aio_resfd);
    if (!rq->resfd)
        return -EBADF;
    return file_is_eventfd(rq->resfd) ? 0 : -EINVAL;
}

int aio_submit_one(struct task *t, struct aio_context *ctx, gva_t user)
{
    const uint32_t key = 0;
    struct request rq = {.t = t, .ctx = ctx};
    if (MM_COPY_IN(t->mm, &rq.cb, user))
        return -EFAULT;
    rq.ev = (struct io_event){.data = rq.cb.aio_data, .obj = user};
    int err = check_iocb(&rq.cb);
    if (err)
        return err;
    err = aio_ring_reserve(ctx);
    if (err)
        return err;
    err = open_files(&rq);
    if (!err && MM_COPY_OUT(t->mm, user + offsetof(struct iocb, aio_key), &key))
        err = -EFAULT;
    if (!err)
        err = commands[rq.cb.aio_lio_opcode].run(&rq, commands[rq.cb.aio_lio_opcode].variant);
    if (err)
        aio_ring_cancel(ctx);
    file_put(rq.file);
    file_put(rq.resfd);
    return err;
}

int aio_cancel(struct task *t, struct aio_context *ctx, gva_t user)
{
    uint32_t key;
    if (MM_COPY_IN(t->mm, &key, user + offsetof(struct iocb, aio_key)))
        return -EFAULT;
    return key == 0 && aio_poll_cancel(ctx, user) ? -EINPROGRESS : -EINVAL;
}

/* ---- events ---- */

/* Up to nr events that are there. */
static long take_events(struct task *t, struct aio_context *ctx, long nr, gva_t out)
{
    struct io_event batch[GET_BATCH];
    long got = 0;
    MUTEX_GUARD(&ctx->read_lock);
    while (got < nr) {
        uint32_t head;
        unsigned n = aio_ring_peek(ctx, batch, (unsigned)MIN(nr - got, (long)GET_BATCH), &head);
        if (n == 0)
            break;
        if (mm_copy_out(t->mm, out + (uint64_t)got * sizeof *batch, batch, n * sizeof *batch))
            return got ? got : -EFAULT;
        aio_ring_advance(ctx, head, n);
        got += n;
    }
    return got;
}

static bool is_closed(struct aio_context *ctx)
{
    MUTEX_GUARD(&ctx->lock);
    return ctx->closed;
}

long aio_get_events(struct task *t, struct aio_context *ctx, long min, long nr, gva_t events,
                    const ktime_t *deadline)
{
    struct wait_entry w;
    long got = take_events(t, ctx, nr, events);
    if (got < 0 || got >= min || (deadline && *deadline == 0))
        return got;
    wait_entry_init_task(&w, t, POLLIN);
    wait_add(&ctx->arrived, &w);
    long more = 0;
    int err = 0;
    do {
        got += more;
        more = take_events(t, ctx, nr - got, events + (uint64_t)got * sizeof(struct io_event));
        if (more < 0 || got + more >= min || is_closed(ctx))
            break;
        err = task_block(t, deadline);
    } while (!err);
    wait_remove(&ctx->arrived, &w);
    if (more > 0)
        got += more;
    if (got)
        return got;
    return more < 0 ? more : err == -ERESTARTSYS ? -EINTR : 0;
}
