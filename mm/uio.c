/*
 * Reads and writes as file systems see them: a cursor over segments of application or sentry
 * memory.
 */
#include "mm/uio.h"
#include "mm/mm_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int uio_init_user(struct uio *u, struct mm *mm, gva_t base, uint64_t length)
{
    *u = (struct uio){.mm = mm, .nsegs = 1};
    if (length > mm->max_addr || base > mm->max_addr - length)
        return -EFAULT;
    u->one = (struct uio_seg){base, MIN(length, UIO_MAX_BYTES)};
    u->segs = &u->one;
    u->resid = u->one.length;
    return 0;
}

void uio_init_kernel(struct uio *u, void *base, uint64_t length)
{
    *u = (struct uio){.nsegs = 1, .resid = length};
    u->one = (struct uio_seg){(uint64_t)(uintptr_t)base, length};
    u->segs = &u->one;
}

/* Checks the copied vector; lengths are cut so that the sum fits UIO_MAX_BYTES. */
static int check_segs(struct mm *mm, struct uio_seg *segs, uint64_t count, uint64_t *total)
{
    *total = 0;
    for (uint64_t i = 0; i < count; i++) {
        if ((int64_t)segs[i].length < 0)
            return -EINVAL;
        if (segs[i].length > mm->max_addr || segs[i].base > mm->max_addr - segs[i].length)
            return -EFAULT;
        segs[i].length = MIN(segs[i].length, UIO_MAX_BYTES - *total);
        *total += segs[i].length;
    }
    return 0;
}

int uio_init_iovec(struct uio *u, struct mm *mm, gva_t iov, uint64_t count)
{
    _Static_assert(sizeof(struct uio_seg) == sizeof(struct iovec), "read in one piece");
    *u = (struct uio){.mm = mm};
    if (count > UIO_MAX_SEGS)
        return -EINVAL;
    if (count == 0)
        return 0;
    struct uio_seg *segs = &u->one;
    if (count > 1) {
        segs = malloc(count * sizeof(*segs));
        if (!segs)
            return -ENOMEM;
        u->owned = segs;
    }
    int err = mm_copy_in(mm, segs, iov, count * sizeof(*segs));
    if (!err)
        err = check_segs(mm, segs, count, &u->resid);
    if (err) {
        uio_release(u);
        return err;
    }
    u->segs = segs;
    u->nsegs = (unsigned)count;
    return 0;
}

void uio_release(struct uio *u)
{
    free(u->owned);
    u->owned = NULL;
    u->segs = NULL;
    u->nsegs = u->seg = 0;
    u->resid = 0;
}

/* Steps over segments that are used up. */
static void uio_settle(struct uio *u)
{
    while (u->seg < u->nsegs && u->off == u->segs[u->seg].length) {
        u->seg++;
        u->off = 0;
    }
}

void uio_skip(struct uio *u, uint64_t n)
{
    u->resid -= n;
    while (n) {
        uio_settle(u);
        uint64_t step = MIN(n, u->segs[u->seg].length - u->off);
        u->off += step;
        n -= step;
    }
}

/* What a transfer does with one piece. Returns the bytes it did. */
typedef size_t (*piece_fn)(struct uio *u, uint64_t base, size_t n, char *buf);

static size_t piece_to(struct uio *u, uint64_t base, size_t n, char *buf)
{
    if (u->mm)
        return mm_copy_out_partial(u->mm, base, buf, n);
    memcpy((void *)(uintptr_t)base, buf, n);
    return n;
}

static size_t piece_from(struct uio *u, uint64_t base, size_t n, char *buf)
{
    if (u->mm)
        return mm_copy_in_partial(u->mm, buf, base, n);
    memcpy(buf, (const void *)(uintptr_t)base, n);
    return n;
}

static size_t piece_zero(struct uio *u, uint64_t base, size_t n, UNUSED char *buf)
{
    if (!u->mm) {
        memset((void *)(uintptr_t)base, 0, n);
        return n;
    }
    return mm_zero_out_partial(u->mm, base, n);
}

static ssize_t uio_move(struct uio *u, piece_fn fn, char *buf, size_t n)
{
    size_t done = 0;
    n = MIN(n, u->resid);
    while (done < n) {
        uio_settle(u);
        const struct uio_seg *s = &u->segs[u->seg];
        size_t step = MIN(n - done, s->length - u->off);
        size_t did = fn(u, s->base + u->off, step, buf ? buf + done : NULL);
        u->off += did;
        u->resid -= did;
        done += did;
        if (did < step)
            break;
    }
    return done || n == 0 ? (ssize_t)done : -EFAULT;
}

ssize_t uio_copy_to(struct uio *u, const void *src, size_t n)
{
    return uio_move(u, piece_to, (char *)(uintptr_t)src, n);
}

ssize_t uio_copy_from(struct uio *u, void *dst, size_t n)
{
    return uio_move(u, piece_from, dst, n);
}

ssize_t uio_zero_to(struct uio *u, size_t n)
{
    return uio_move(u, piece_zero, NULL, n);
}

/* ---- pinning ---- */

void uio_unpin(struct uio_pin *pin)
{
    for (int i = 0; i < pin->nheld; i++)
        pin->held[i].file->ops->dec_ref(pin->held[i].file, pin->held[i].fr);
    pin->nheld = pin->nblocks = 0;
    if (pin->written)
        rwlock_unlock(&pin->written->pinned);
    pin->written = NULL;
}

static void pin_add_block(struct uio_pin *pin, char *p, size_t n)
{
    if (pin->nblocks) {
        struct iovec *last = &pin->blocks[pin->nblocks - 1];
        if ((char *)last->iov_base + last->iov_len == p) {
            last->iov_len += n;
            return;
        }
    }
    pin->blocks[pin->nblocks++] = (struct iovec){p, n};
}

static bool pin_page_run(void *arg, struct memmap_file *file, struct file_range fr, char *p,
                         size_t n)
{
    struct uio_pin *pin = arg;
    if (pin->nblocks == UIO_PIN_BLOCKS || pin->nheld == UIO_PIN_BLOCKS)
        return false;
    file->ops->inc_ref(file, fr);
    pin->held[pin->nheld].file = file;
    pin->held[pin->nheld].fr = fr;
    pin->nheld++;
    pin_add_block(pin, p, n);
    return true;
}

ssize_t uio_pin(struct uio *u, struct uio_pin *pin, uint64_t limit, access_t at)
{
    uint64_t want = MIN(limit, u->resid), done = 0;

    pin->nblocks = pin->nheld = 0;
    pin->written = at & ACCESS_WRITE ? u->mm : NULL;
    if (pin->written)
        rwlock_read(&pin->written->pinned);
    uio_settle(u);
    for (unsigned i = u->seg; done < want && i < u->nsegs; i++) {
        uint64_t skip = i == u->seg ? u->off : 0;
        uint64_t n = MIN(want - done, u->segs[i].length - skip);
        size_t did = n;
        if (n == 0)
            continue;
        if (pin->nblocks == UIO_PIN_BLOCKS)
            break;
        if (u->mm)
            did = mm_visit_pages(u->mm, u->segs[i].base + skip, n, at, pin_page_run, pin);
        else
            pin_add_block(pin, (char *)(uintptr_t)u->segs[i].base + skip, n);
        done += did;
        if (did < n)
            break;
    }
    if (!done)
        uio_unpin(pin);
    return done || want == 0 ? (ssize_t)done : -EFAULT;
}
