/*
 * Moving what is in pipes without the application. Between pipes, pages change hands; to and from
 * other files they are what is written and read, with the pipe unlocked: the slots concerned are
 * `held` meanwhile, so that there is room to put back what a file did not take.
 */
#include "sentry/fs/pipefs/pipe.h"
#include "sentry/vfs/internal.h"
#include <stdlib.h>
#include <string.h>

#define READ_AHEAD 16u /* pages */

/* ---- pipe to pipe ---- */

static void lock_both(struct pipe *a, struct pipe *b)
{
    mutex_lock(a < b ? &a->lock : &b->lock);
    mutex_lock_nested(a < b ? &b->lock : &a->lock);
}

/* Copies the first n bytes of b into a new page of `to`. */
static int copy_part(struct pipe *to, const struct pipe_buf *b, uint32_t n)
{
    char *page = pipe_page_get(to);
    if (!page)
        return -ENOMEM;
    memcpy(page, b->page + b->off, n);
    *pipe_slot(to, to->head++) = (struct pipe_buf){.page = page, .len = n, .packet = b->packet};
    return 0;
}

/* Both locked. Moves as much as there is and fits. */
static ssize_t move_buffers(struct pipe *in, struct pipe *out, uint64_t n, bool tee)
{
    ssize_t done = 0;
    for (uint32_t at = in->tail; (uint64_t)done < n && at != in->head && !pipe_full(out); at++) {
        struct pipe_buf *b = pipe_slot(in, at);
        uint32_t part = (uint32_t)MIN((uint64_t)b->len, n - (uint64_t)done);
        if (!tee && part == b->len) {
            *pipe_slot(out, out->head++) = *b;
            in->tail++;
        } else if (copy_part(out, b, part)) {
            return done ? done : -ENOMEM;
        } else if (!tee) {
            b->off += part;
            b->len -= part;
        }
        done += part;
    }
    return done;
}

ssize_t splice_pipe_to_pipe(struct pipe *in, struct pipe *out, uint64_t n, bool block, bool tee)
{
    for (;;) {
        mutex_lock(&in->lock);
        int ready = pipe_wait_data(in, !block);
        mutex_unlock(&in->lock);
        if (ready <= 0)
            return ready;
        mutex_lock(&out->lock);
        int err = pipe_wait_slot(out, !block);
        mutex_unlock(&out->lock);
        if (err)
            return err;
        lock_both(in, out);
        bool was_full = pipe_full(in);
        ssize_t done = out->readers ? move_buffers(in, out, n, tee) : 0;
        pipe_leave(out, done > 0 ? PIPE_READABLE : 0);
        pipe_leave(in, was_full && !tee ? PIPE_WRITABLE : 0);
        if (done)
            return done;
        /* Others were faster: look again. */
    }
}

/* ---- pipe to file ---- */

/* A buffer on its way out. Its slot is held. */
struct taken {
    struct pipe_buf buf;
    const char *rest; /* the page that it is the first part of, or NULL */
};

/* Takes the oldest buffer out, or as much of it as n. As pipe_wait_data. */
static int take_buffer(struct pipe *p, uint64_t n, bool block, struct taken *out)
{
    MUTEX_GUARD(&p->lock);
    int ready = pipe_wait_data(p, !block);
    if (ready <= 0)
        return ready;
    struct pipe_buf *b = pipe_slot(p, p->tail);
    *out = (struct taken){.buf = *b};
    if (b->len > n) {
        char *page = pipe_page_get(p);
        if (!page)
            return -ENOMEM;
        memcpy(page, b->page + b->off, n);
        out->buf.page = page;
        out->buf.off = 0;
        out->buf.len = (uint32_t)n;
        out->rest = b->page;
        b->off += (uint32_t)n;
        b->len -= (uint32_t)n;
    } else {
        p->tail++;
    }
    p->held++;
    return ready;
}

/* The first n bytes of it are done; the others go back to the front. */
static void return_buffer(struct pipe *p, struct taken *taken, size_t n)
{
    struct pipe_buf *b = &taken->buf;
    b->off += (uint32_t)n;
    b->len -= (uint32_t)n;
    mutex_lock(&p->lock);
    p->held--;
    struct pipe_buf *front = pipe_slot(p, p->tail);
    if (b->len && pipe_used(p) && front->page == taken->rest) {
        /* The page that it came from is still the first, and what was taken left room there. */
        front->off -= b->len;
        front->len += b->len;
        memcpy(front->page + front->off, b->page + b->off, b->len);
        b->len = 0;
    }
    if (b->len)
        *pipe_slot(p, --p->tail) = *b;
    else
        pipe_page_put(p, b->page);
    pipe_leave(p, PIPE_WRITABLE);
}

static ssize_t write_out(struct task *t, struct file *f, int64_t *pos, void *data, size_t n)
{
    struct uio u;
    uio_init_kernel(&u, data, n);
    ssize_t r = pos ? file_pwrite_task(t, f, &u, *pos, 0) : file_write_task(t, f, &u, 0);
    if (r > 0 && pos)
        *pos += r;
    return r;
}

ssize_t splice_pipe_to_file(struct task *t, struct pipe *in, struct file *out, int64_t *pos,
                            uint64_t n, bool block)
{
    ssize_t done = 0, r = 0;
    while ((uint64_t)done < n) {
        struct taken taken;
        r = take_buffer(in, n - (uint64_t)done, block && !done, &taken);
        if (r <= 0)
            break;
        uint32_t len = taken.buf.len;
        r = write_out(t, out, pos, taken.buf.page + taken.buf.off, len);
        return_buffer(in, &taken, (size_t)MAX(r, (ssize_t)0));
        if (r <= 0)
            break;
        done += r;
        if ((uint32_t)r < len)
            break;
    }
    return done ? done : r;
}

/* ---- file to pipe ---- */

/* Pages for up to n bytes, as far as the pipe has slots for them, which are held. */
static int hold_pages(struct pipe *p, uint64_t n, bool block, struct uio_seg *segs)
{
    MUTEX_GUARD(&p->lock);
    int err = pipe_wait_slot(p, !block);
    if (err)
        return err;
    unsigned k = 0;
    for (; k < READ_AHEAD && n > 0 && !pipe_full(p); k++) {
        char *page = pipe_page_get(p);
        if (!page)
            return k ? (int)k : -ENOMEM;
        segs[k] = (struct uio_seg){(uint64_t)(uintptr_t)page, MIN(n, PAGE_SIZE)};
        n -= segs[k].length;
        p->held++;
    }
    return (int)k;
}

/* Puts the pages that got data into the pipe. */
static void fill_slots(struct pipe *p, const struct uio_seg *segs, int k, uint64_t n)
{
    mutex_lock(&p->lock);
    p->held -= (uint32_t)k;
    for (int i = 0; i < k; i++) {
        char *page = (char *)(uintptr_t)segs[i].base;
        uint32_t len = (uint32_t)MIN(n, segs[i].length);
        n -= len;
        if (len)
            *pipe_slot(p, p->head++) = (struct pipe_buf){.page = page, .len = len};
        else
            pipe_page_put(p, page);
    }
    pipe_leave(p, PIPE_READABLE);
}

ssize_t splice_file_to_pipe(struct task *t, struct file *in, int64_t *pos, struct pipe *out,
                            uint64_t n, bool block)
{
    struct uio_seg segs[READ_AHEAD];
    ssize_t done = 0, r = 0;
    while ((uint64_t)done < n) {
        int k = hold_pages(out, n - (uint64_t)done, block && !done, segs);
        if (k < 0) {
            r = k;
            break;
        }
        struct uio u = {.segs = segs, .nsegs = (unsigned)k};
        for (int i = 0; i < k; i++)
            u.resid += segs[i].length;
        uint64_t want = u.resid;
        /* SPLICE_F_NONBLOCK is for the pipe, but sockets heed it as well. */
        int rwf = S_ISSOCK(in->inode->mode) && (!block || done) ? RWF_NOWAIT : 0;
        r = pos ? file_pread(in, &u, *pos, 0) : file_read_rwf(in, &u, rwf);
        fill_slots(out, segs, k, (uint64_t)MAX(r, (ssize_t)0));
        if (r <= 0)
            break;
        done += r;
        if (pos)
            *pos += r;
        if ((uint64_t)r < want || task_interrupted(t))
            break;
    }
    return done ? done : r;
}
