/*
 * The sentry's way into application memory: translate, fault in what is missing, and touch it where
 * it lies in the memory file's window.
 *
 * The usual case (io_present) needs only MM_ACTIVE, shared: the PMA says it all. What it cannot do
 * (io_absent) it leaves to the same code that serves faults.
 */
#include "mm/mm_internal.h"
#include "mm/safe_copy.h"
#include <errno.h>
#include <string.h>

/* As much as io_absent faults in at once. */
#define IO_CHUNK (1ul << 20)

/* A run of bytes that lie together in the sentry. */
struct io_piece {
    char *p;
    size_t n;
    const struct pma *pma;
    gva_t addr;
};

/* Does its work; returns how many bytes it did. Less than all ends the transfer. */
typedef size_t (*io_fn)(const struct io_piece *piece, void *arg);

struct io {
    access_t at;
    bool force; /* permissions of private mappings do not matter: ptrace */
    io_fn fn;
    void *arg;
};

/* Works on [addr, addr + length) as far as PMAs with enough permissions reach. *stop: the page
 * failed, do not go on. */
static size_t io_pmas(struct mm *mm, gva_t addr, size_t length, const struct io *io,
                      access_t required, bool *stop)
{
    size_t done = 0;
    struct pma *p = pma_find(mm, addr);

    while (done < length) {
        gva_t a = addr + done;
        struct io_piece piece = {.addr = a};
        int err;
        if (p && a >= p->node.end)
            p = pma_next(p);
        if (!p || a < p->node.start || (required & ~p->effective))
            break;
        if ((io->at & ACCESS_WRITE) && p->need_cow)
            break;
        piece.pma = p;
        piece.p = pma_pointer(p, a, length - done, io->at, &piece.n, &err);
        size_t did = piece.p ? io->fn(&piece, io->arg) : 0;
        done += did;
        if (!piece.p || did < piece.n) {
            *stop = true;
            break;
        }
    }
    return done;
}

/* Whether v lets this access happen. */
static bool io_allowed(const struct vma *v, const struct io *io)
{
    if (!(io->at & ~v->effective))
        return true;
    if (!io->force)
        return false;
    if (io->at & ACCESS_WRITE) /* breaks copy-on-write: the file is not changed */
        return (v->flags & VMA_PRIVATE) && (v->max & ACCESS_WRITE);
    return v->max & ACCESS_READ;
}

static size_t io_absent(struct mm *mm, gva_t addr, size_t length, const struct io *io, bool *stop)
{
    size_t done = 0;
    struct vma *v = mm_lock_vma(mm, addr);

    if (v && io_allowed(v, io)) {
        struct batch b;
        gva_t end = MIN(addr + MIN(length, IO_CHUNK), v->node.end), last;
        rwlock_write(&mm->active);
        batch_init(&b, mm);
        if (!page_up(end, &last))
            last = v->node.end;
        /* An error may concern only a later page: io_pmas does what is there. */
        int err = pma_ensure(mm, v, page_down(addr), last, io->at, &b);
        int ignored = batch_flush(&b); /* the platform's copy is not our affair here */
        (void)ignored;
        done = io_pmas(mm, addr, end - addr, io, 0, stop);
        if (err || done == 0)
            *stop = true;
        pma_merge(mm, page_down(addr), last);
        rwlock_unlock(&mm->active);
    } else {
        *stop = true;
    }
    rwlock_unlock(&mm->mapping);
    return done;
}

/* Returns the bytes done. */
static size_t mm_io(struct mm *mm, gva_t addr, size_t length, const struct io *io)
{
    size_t done = 0;
    bool stop = false;

    if (addr >= mm->max_addr)
        return 0;
    length = MIN(length, mm->max_addr - addr);
    while (done < length && !stop) {
        if (!io->force) {
            rwlock_read(&mm->active);
            done += io_pmas(mm, addr + done, length - done, io, io->at, &stop);
            rwlock_unlock(&mm->active);
        }
        if (done < length && !stop)
            done += io_absent(mm, addr + done, length - done, io, &stop);
    }
    return done;
}

/* ---- copying ---- */

struct io_buffer {
    char *at;
};

static size_t io_copy_in(const struct io_piece *piece, void *arg)
{
    struct io_buffer *b = arg;
    size_t did = safe_copy(b->at, piece->p, piece->n);
    b->at += did;
    return did;
}

static size_t io_copy_out(const struct io_piece *piece, void *arg)
{
    struct io_buffer *b = arg;
    size_t did = safe_copy(piece->p, b->at, piece->n);
    b->at += did;
    return did;
}

static size_t io_zero(const struct io_piece *piece, UNUSED void *arg)
{
    return safe_zero(piece->p, piece->n);
}

static size_t copy_in(struct mm *mm, void *dst, gva_t src, size_t length, bool force)
{
    struct io_buffer b = {dst};
    struct io io = {ACCESS_READ, force, io_copy_in, &b};
    return mm_io(mm, src, length, &io);
}

static size_t copy_out(struct mm *mm, gva_t dst, const void *src, size_t length, bool force)
{
    struct io_buffer b = {(char *)(uintptr_t)src};
    struct io io = {ACCESS_WRITE, force, io_copy_out, &b};
    return mm_io(mm, dst, length, &io);
}

size_t mm_copy_in_partial(struct mm *mm, void *dst, gva_t src, size_t length)
{
    return copy_in(mm, dst, src, length, false);
}

size_t mm_copy_out_partial(struct mm *mm, gva_t dst, const void *src, size_t length)
{
    return copy_out(mm, dst, src, length, false);
}

size_t mm_copy_in_force(struct mm *mm, void *dst, gva_t src, size_t length)
{
    return copy_in(mm, dst, src, length, true);
}

size_t mm_copy_out_force(struct mm *mm, gva_t dst, const void *src, size_t length)
{
    return copy_out(mm, dst, src, length, true);
}

int mm_copy_in(struct mm *mm, void *dst, gva_t src, size_t length)
{
    return copy_in(mm, dst, src, length, false) == length ? 0 : -EFAULT;
}

int mm_copy_out(struct mm *mm, gva_t dst, const void *src, size_t length)
{
    return copy_out(mm, dst, src, length, false) == length ? 0 : -EFAULT;
}

size_t mm_zero_out_partial(struct mm *mm, gva_t dst, size_t length)
{
    struct io io = {ACCESS_WRITE, false, io_zero, NULL};
    return mm_io(mm, dst, length, &io);
}

int mm_zero_out(struct mm *mm, gva_t dst, size_t length)
{
    return mm_zero_out_partial(mm, dst, length) == length ? 0 : -EFAULT;
}

ssize_t mm_copy_in_string(struct mm *mm, char *buf, gva_t src, size_t size)
{
    size_t done = 0;
    while (done < size) {
        /* Up to the end of a page, so that a string before a hole can be read. */
        size_t chunk = MIN(size - done, PAGE_SIZE - ((src + done) & (PAGE_SIZE - 1)));
        size_t n = copy_in(mm, buf + done, src + done, chunk, false);
        const char *nul = memchr(buf + done, 0, n);
        if (nul)
            return nul - buf;
        done += n;
        if (n < chunk)
            return -EFAULT;
    }
    return -ENAMETOOLONG;
}

/* ---- visiting ---- */

struct io_visit {
    visit_fn fn;
    void *arg;
};

static size_t io_visit(const struct io_piece *piece, void *arg)
{
    const struct io_visit *v = arg;
    gva_t first = page_down(piece->addr);
    gva_t last = page_down(piece->addr + piece->n - 1) + PAGE_SIZE;
    struct file_range fr = pma_file_range(piece->pma, first, last);
    return v->fn(v->arg, piece->pma->file, fr, piece->p, piece->n) ? piece->n : 0;
}

size_t mm_visit_pages(struct mm *mm, gva_t addr, size_t length, access_t at, visit_fn fn, void *arg)
{
    struct io_visit v = {fn, arg};
    struct io io = {at, false, io_visit, &v};
    return mm_io(mm, addr, length, &io);
}

/* ---- words ---- */

struct io_word {
    uint32_t expected, desired, old;
    int err;
};

static size_t io_load(const struct io_piece *piece, void *arg)
{
    struct io_word *w = arg;
    w->err = safe_load32((const uint32_t *)(void *)piece->p, &w->old);
    return w->err ? 0 : sizeof(uint32_t);
}

static size_t io_cmpxchg(const struct io_piece *piece, void *arg)
{
    struct io_word *w = arg;
    w->err = safe_cmpxchg32((uint32_t *)(void *)piece->p, w->expected, w->desired, &w->old);
    return w->err ? 0 : sizeof(uint32_t);
}

static int io_word_do(struct mm *mm, gva_t addr, access_t at, io_fn fn, struct io_word *w)
{
    struct io io = {at, false, fn, w};
    if (addr % sizeof(uint32_t))
        return -EINVAL;
    return mm_io(mm, addr, sizeof(uint32_t), &io) == sizeof(uint32_t) ? 0 : -EFAULT;
}

int mm_atomic_load32(struct mm *mm, gva_t addr, uint32_t *out)
{
    struct io_word w = {0};
    int err = io_word_do(mm, addr, ACCESS_READ, io_load, &w);
    if (!err)
        *out = w.old;
    return err;
}

int mm_atomic_cmpxchg32(struct mm *mm, gva_t addr, uint32_t expected, uint32_t desired,
                        uint32_t *old)
{
    struct io_word w = {.expected = expected, .desired = desired};
    int err = io_word_do(mm, addr, ACCESS_READ | ACCESS_WRITE, io_cmpxchg, &w);
    if (!err)
        *old = w.old;
    return err;
}

int mm_atomic_rmw32(struct mm *mm, gva_t addr, uint32_t (*fn)(uint32_t, uint32_t), uint32_t arg,
                    uint32_t *old)
{
    uint32_t seen;
    int err = mm_atomic_load32(mm, addr, &seen);
    while (!err) {
        uint32_t expected = seen;
        err = mm_atomic_cmpxchg32(mm, addr, expected, fn(expected, arg), &seen);
        if (!err && seen == expected) {
            *old = seen;
            return 0;
        }
    }
    return err;
}

/* ---- futexes ---- */

int mm_futex_key(struct mm *mm, gva_t addr, bool shared, access_t at, struct mm_futex_key *key)
{
    if (addr % sizeof(uint32_t))
        return -EINVAL;
    if (!mm_range_ok(mm, addr, sizeof(uint32_t)))
        return -EFAULT;
    *key = (struct mm_futex_key){.object = mm, .offset = addr};
    if (!shared)
        return 0;

    int err = 0;
    struct vma *v = mm_lock_vma(mm, addr);
    if (!v || (at & ~v->effective) || !v->effective) {
        err = -EFAULT;
    } else if (!(v->flags & VMA_PRIVATE)) {
        key->object = v->mappable;
        key->offset = vma_offset(v, addr);
        key->identity = v->id;
        if (v->id)
            v->id->ops->get(v->id);
    }
    rwlock_unlock(&mm->mapping);
    return err;
}
