/*
 * The ring of events: pages of the memory file that the sentry writes and the application maps.
 */
#include "mm/mm.h"
#include "sentry/aio/internal.h"
#include <stdlib.h>
#include <string.h>

#define RING_MAGIC 0xa10a10a1u

/* The mapping may outlive the context, and the other way round. */
struct aio_pages {
    struct refcount ref;
    struct mappable mappable;
    struct mapping_identity identity;
    struct memory_file *memory;
    struct file_range range;
};

static void pages_put(struct aio_pages *p)
{
    if (!ref_put(&p->ref))
        return;
    memory_file_put(p->memory, p->range);
    free(p);
}

/* ---- as a mappable: pages that never change ---- */

static int pages_add(UNUSED struct mappable *m, UNUSED struct mapping_space *ms,
                     UNUSED struct addr_range ar, UNUSED uint64_t offset, UNUSED bool writable)
{
    return 0;
}
static void pages_remove(UNUSED struct mappable *m, UNUSED struct mapping_space *ms,
                         UNUSED struct addr_range ar, UNUSED uint64_t offset, UNUSED bool writable)
{
}
static int pages_copy(UNUSED struct mappable *m, UNUSED struct mapping_space *ms,
                      UNUSED struct addr_range src, UNUSED struct addr_range dst,
                      UNUSED uint64_t offset, UNUSED bool writable)
{
    return 0;
}
static int pages_translate(struct mappable *m, struct mappable_range required,
                           struct mappable_range optional, access_t at, struct translation *ts,
                           UNUSED int max, int *n)
{
    struct aio_pages *p = container_of(m, struct aio_pages, mappable);
    uint64_t end = RANGE_LENGTH(p->range);
    *n = 0;
    if (at & ACCESS_EXEC)
        return -EACCES;
    if (required.start >= end)
        return -EBUSERR;
    ts[0] = (struct translation){.source = {optional.start, MIN(optional.end, end)},
                                 .file = &p->memory->file,
                                 .offset = p->range.start + optional.start,
                                 .perms = ACCESS_READ | ACCESS_WRITE};
    *n = 1;
    return required.end <= end ? 0 : -EBUSERR;
}
static int pages_invalidate(UNUSED struct mappable *m)
{
    return 0;
}
static const struct mappable_ops pages_mappable_ops = {
    .add_mapping = pages_add,
    .remove_mapping = pages_remove,
    .copy_mapping = pages_copy,
    .translate = pages_translate,
    .invalidate_unsavable = pages_invalidate,
};

static struct aio_pages *of_identity(struct mapping_identity *id)
{
    return container_of(id, struct aio_pages, identity);
}
static void identity_get(struct mapping_identity *id)
{
    ref_get(&of_identity(id)->ref);
}
static void identity_put(struct mapping_identity *id)
{
    pages_put(of_identity(id));
}
static int identity_name(UNUSED struct mapping_identity *id, char *buf, size_t size)
{
    return snprintf(buf, size, "/[aio] (deleted)");
}
static dev_t identity_device(UNUSED struct mapping_identity *id)
{
    return 0;
}
static uint64_t identity_inode(UNUSED struct mapping_identity *id)
{
    return 0;
}
static int identity_msync(UNUSED struct mapping_identity *id, UNUSED struct mappable_range mr)
{
    return 0;
}
static const struct mapping_identity_ops pages_identity_ops = {
    .get = identity_get,
    .put = identity_put,
    .name = identity_name,
    .device = identity_device,
    .inode = identity_inode,
    .msync = identity_msync,
};

/* ---- making ---- */

static int pages_create(struct memory_file *mf, uint64_t length, struct aio_pages **out)
{
    struct aio_pages *p = calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    int err = memory_file_alloc(mf, length, 0, &p->range);
    if (!err) {
        err = memory_file_commit(mf, p->range);
        if (err)
            memory_file_put(mf, p->range);
    }
    if (err) {
        free(p);
        return err;
    }
    ref_init(&p->ref);
    p->mappable.ops = &pages_mappable_ops;
    p->identity.ops = &pages_identity_ops;
    p->memory = mf;
    *out = p;
    return 0;
}

int aio_ring_create(struct aio_context *ctx, struct task *t, unsigned slots)
{
    struct memory_file *mf = t->kernel->memory;
    uint64_t size = sizeof(struct aio_ring) + ((uint64_t)slots + 1) * sizeof(struct io_event);
    size = (size + PAGE_SIZE - 1) & PAGE_MASK;
    int err = pages_create(mf, size, &ctx->pages);
    if (err)
        return err;
    ctx->nr = (uint32_t)((size - sizeof(struct aio_ring)) / sizeof(struct io_event));
    ctx->ring = (struct aio_ring *)(mf->file.window + ctx->pages->range.start);
    *ctx->ring = (struct aio_ring){.nr = ctx->nr,
                                   .magic = RING_MAGIC,
                                   .compat_features = 1,
                                   .header_length = sizeof(struct aio_ring)};
    struct mmap_opts opts = {.length = size,
                             .mappable = &ctx->pages->mappable,
                             .identity = &ctx->pages->identity,
                             .perms = ACCESS_READ | ACCESS_WRITE,
                             .max_perms = ACCESS_READ | ACCESS_WRITE};
    err = mm_mmap(t->mm, &opts, &ctx->id);
    if (err)
        pages_put(ctx->pages);
    return err;
}

void aio_ring_unmap(struct aio_context *ctx, struct task *t)
{
    /* Wherever the ring went since: nothing to say if it is not there. */
    (void)!mm_munmap(t->mm, ctx->id, RANGE_LENGTH(ctx->pages->range));
}

void aio_ring_put(struct aio_context *ctx)
{
    pages_put(ctx->pages);
}

/* ---- using ---- */

/* Where the application says that it stopped reading, made harmless. */
static uint32_t head_of(const struct aio_context *ctx)
{
    return ctx->ring->head % ctx->nr;
}

int aio_ring_reserve(struct aio_context *ctx)
{
    MUTEX_GUARD(&ctx->lock);
    uint32_t unread = (ctx->tail + ctx->nr - head_of(ctx)) % ctx->nr;
    if (ctx->closed)
        return -EINVAL;
    if (unread + ctx->pending >= ctx->nr - 1)
        return -EAGAIN;
    ctx->pending++;
    return 0;
}

void aio_ring_cancel(struct aio_context *ctx)
{
    MUTEX_GUARD(&ctx->lock);
    ctx->pending--;
}

void aio_ring_put_event(struct aio_context *ctx, const struct io_event *ev)
{
    MUTEX_GUARD(&ctx->lock);
    ctx->ring->events[ctx->tail] = *ev;
    ctx->tail = (ctx->tail + 1) % ctx->nr;
    ctx->ring->tail = ctx->tail;
    ctx->pending--;
}

unsigned aio_ring_peek(struct aio_context *ctx, struct io_event *out, unsigned n, uint32_t *head)
{
    MUTEX_GUARD(&ctx->lock);
    *head = head_of(ctx);
    n = MIN(n, (ctx->tail + ctx->nr - *head) % ctx->nr);
    for (unsigned i = 0; i < n; i++)
        out[i] = ctx->ring->events[(*head + i) % ctx->nr];
    return n;
}

void aio_ring_advance(struct aio_context *ctx, uint32_t head, unsigned n)
{
    ctx->ring->head = (head + n) % ctx->nr;
}
