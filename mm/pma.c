/*
 * PMAs: what is there now.
 *
 * A PMA comes about when its page is first needed (pma_ensure), in one of two ways: pages of the
 * memory file for anonymous memory, or what the mappable's translate() names. A private mapping of
 * a file shows the file's own pages until the first write (need_cow); fork shares pages between two
 * mms in the same manner. Whoever writes to such a page first copies it, unless nobody shares it
 * any more: then it is taken over.
 */
#include "mm/mm_internal.h"
#include "mm/safe_copy.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

/* Offsets in the memory file are free until touched, so anonymous memory gets them in units that
 * make few PMAs and few host mappings; a mapping that is filled from front to back gets ever larger
 * ones. */
#define ANON_UNIT HUGE_PAGE_SIZE
#define ANON_RUN_MAX (64ul << 20)
/* Copy-on-write copies a little more than the page that was written, for one more fault costs more
 * than three more pages; more again where writes go upwards. */
#define COW_BLOCK (4 * PAGE_SIZE)
#define COW_BLOCK_MAX (128 * PAGE_SIZE)
#define MAX_PIECES 16

access_t pma_effective(const struct vma *v, const struct pma *p)
{
    access_t a = v->effective & p->translate_perms;
    return p->need_cow ? a & (access_t)~ACCESS_WRITE : a;
}

/* ---- splitting and merging ---- */

static struct range_node *pma_split_cb(struct range_node *n, uint64_t key, UNUSED void *arg)
{
    const struct pma *p = pma_of(n);
    struct pma *upper = malloc(sizeof(*upper));
    if (!upper)
        return NULL;
    *upper = *p;
    upper->offset += key - p->node.start;
    return &upper->node;
}

int pma_isolate(struct mm *mm, gva_t start, gva_t end)
{
    return range_set_isolate(&mm->pmas, start, end, pma_split_cb, NULL);
}

static bool pma_can_merge(const struct mm *mm, const struct pma *a, const struct pma *b)
{
    return a->node.end == b->node.start && a->file == b->file &&
           a->offset + node_length(&a->node) == b->offset &&
           a->translate_perms == b->translate_perms && a->effective == b->effective &&
           a->is_private == b->is_private && a->need_cow == b->need_cow &&
           pma_pushed(mm, a) == pma_pushed(mm, b);
}

void pma_merge(struct mm *mm, gva_t start, gva_t end)
{
    struct pma *p = pma_lower_bound(mm, start ? start - 1 : 0);
    while (p) {
        struct pma *n = pma_next(p);
        if (!n || n->node.start > end)
            return;
        if (!pma_can_merge(mm, p, n)) {
            p = n;
            continue;
        }
        range_set_remove(&mm->pmas, &n->node);
        range_set_resize(&mm->pmas, &p->node, p->node.start, n->node.end);
        free(n);
    }
}

/* A PMA over [start, end), whose pages have a reference that it takes over. */
static struct pma *pma_insert(struct mm *mm, const struct pma *proto, gva_t start, gva_t end)
{
    struct pma *p = malloc(sizeof(*p));
    if (!p)
        return NULL;
    *p = *proto;
    p->node.start = start;
    p->node.end = end;
    range_set_insert(&mm->pmas, &p->node);
    return p;
}

/* ---- taking out ---- */

static bool cow_exclusive(struct mm *mm, const struct pma *p, gva_t start, gva_t end)
{
    return memory_file_exclusive(mm_memory(mm), pma_file_range(p, start, end));
}

/* Whether the platform has let go of p without a trip; then its pages are empty. */
static bool pma_drop(struct mm *mm, const struct pma *p)
{
    struct address_space *as = mm->as;
    const struct as_op op = {
        .kind = AS_MAP,
        .ar = node_range(&p->node),
        .file = p->file,
        .offset = p->offset,
        .perms = p->effective,
    };
    return as && as->ops->drop && as->ops->drop(as, &op);
}

#define DROP_MAX (4 * PAGE_SIZE) /* larger ones come back elsewhere */

static bool pma_may_drop(struct mm *mm, const struct pma *p)
{
    return node_length(&p->node) <= DROP_MAX && p->is_private && !p->need_cow &&
           p->effective == (ACCESS_READ | ACCESS_WRITE) && pma_pushed(mm, p) &&
           cow_exclusive(mm, p, p->node.start, p->node.end);
}

static void pma_remove_one(struct mm *mm, struct pma *p, struct batch *b)
{
    struct file_range fr = pma_file_range(p, p->node.start, p->node.end);
    if (b->nops == 0 && pma_may_drop(mm, p) && pma_drop(mm, p)) {
        memory_file_put_emptied(mm_memory(mm), fr);
    } else {
        if (pma_pushed(mm, p))
            batch_unmap(b, p->node.start, p->node.end);
        batch_put(b, p->file, fr);
    }
    range_set_remove(&mm->pmas, &p->node);
    free(p);
}

void pma_remove(struct mm *mm, gva_t start, gva_t end, struct batch *b)
{
    struct pma *p = pma_lower_bound(mm, start);
    while (p && p->node.start < end) {
        struct pma *n = pma_next(p);
        pma_remove_one(mm, p, b);
        p = n;
    }
}

void pma_update(struct mm *mm, struct vma *v, gva_t start, gva_t end, struct batch *b)
{
    for (struct pma *p = pma_lower_bound(mm, start); p && p->node.start < end; p = pma_next(p)) {
        access_t was = p->effective, e = pma_effective(v, p);
        if (e == was)
            continue;
        p->effective = e;
        if (!pma_pushed(mm, p))
            continue;
        if (e) {
            batch_protect(b, p->node.start, p->node.end, was, e);
        } else {
            batch_unmap(b, p->node.start, p->node.end);
            p->pushed = 0;
        }
    }
}

/* ---- reaching the pages ---- */

char *pma_pointer(struct pma *p, gva_t addr, size_t max, access_t at, size_t *n, int *err)
{
    size_t length = MIN(max, p->node.end - addr);
    uint64_t offset = p->offset + (addr - p->node.start);
    struct iovec block;

    if (p->file->window) {
        *n = length;
        return p->file->window + offset;
    }
    int got = p->file->ops->map_internal(p->file, (struct file_range){offset, offset + length}, at,
                                         &block, 1);
    if (got < 1) {
        *err = got < 0 ? got : -EFAULT;
        return NULL;
    }
    *n = MIN(length, block.iov_len);
    return block.iov_base;
}

/* ---- filling: anonymous memory ---- */

struct window {
    gva_t start, end;
};

/* How much of the hole `gap` around addr to fill at once; at least [addr, want_end). */
static struct window anon_window(struct mm *mm, const struct vma *v, struct window gap, gva_t addr,
                                 gva_t want_end)
{
    gva_t start = MAX(gap.start, addr & ~(ANON_UNIT - 1));
    gva_t end = (addr & ~(ANON_UNIT - 1)) + ANON_UNIT;

    if (start % ANON_UNIT)
        return (struct window){start,
                               MIN(end, gap.end)}; /* the next one is aligned for huge pages */
    if (start == gap.start && !(v->flags & VMA_RANDOM)) {
        const struct pma *before = start ? pma_find(mm, start - 1) : NULL;
        if (before && before->is_private && !before->need_cow &&
            node_length(&before->node) >= ANON_UNIT)
            end = MAX(end,
                      start + (MIN(node_length(&before->node), ANON_RUN_MAX) & ~(ANON_UNIT - 1)));
    }
    end = MAX(end, want_end);
    return (struct window){start, MIN(end, gap.end)};
}

static int fill_anon(struct mm *mm, const struct vma *v, struct window gap, gva_t addr,
                     gva_t want_end)
{
    struct memory_file *mf = mm_memory(mm);
    struct window w = anon_window(mm, v, gap, addr, want_end);
    struct file_range fr;
    unsigned flags = w.end - w.start >= HUGE_PAGE_SIZE ? MEMORY_FILE_HUGE : 0;
    int err = memory_file_alloc(mf, w.end - w.start, flags, &fr);

    if (err) { /* offset space is short: just the page */
        w = (struct window){addr, addr + PAGE_SIZE};
        err = memory_file_alloc(mf, PAGE_SIZE, 0, &fr);
        if (err)
            return err;
    }
    struct pma proto = {
        .file = &mf->file,
        .offset = fr.start,
        .translate_perms = ACCESS_ANY,
        .effective = v->effective,
        .is_private = true,
    };
    if (pma_insert(mm, &proto, w.start, w.end))
        return 0;
    memory_file_put(mf, fr);
    return -ENOMEM;
}

/* ---- filling: mappables ---- */

/* Enters one piece of a translation, replacing what is in its range. */
static int enter_translation(struct mm *mm, struct vma *v, const struct translation *t,
                             struct batch *b)
{
    gva_t start = v->node.start + (t->source.start - v->offset);
    gva_t end = start + RANGE_LENGTH(t->source);
    struct file_range fr = {t->offset, t->offset + (end - start)};
    int err = pma_isolate(mm, start, end);
    if (err)
        return err;

    struct pma proto = {
        .file = t->file,
        .offset = t->offset,
        .translate_perms = access_effective(t->perms),
        .need_cow = v->flags & VMA_PRIVATE,
    };
    proto.effective = pma_effective(v, &proto);
    t->file->ops->inc_ref(t->file, fr);
    pma_remove(mm, start, end, b);
    if (pma_insert(mm, &proto, start, end))
        return 0;
    t->file->ops->dec_ref(t->file, fr);
    return -ENOMEM;
}

/* Asks the mappable for [addr, want_end), and for as much of `around` as it likes to give. */
static int fill_mappable(struct mm *mm, struct vma *v, struct window around, gva_t addr,
                         gva_t want_end, access_t at, struct batch *b)
{
    struct translation ts[MAX_PIECES];
    struct mappable_range required = {vma_offset(v, addr), vma_offset(v, want_end)};
    struct mappable_range optional = {vma_offset(v, around.start), vma_offset(v, around.end)};
    int n = 0;

    if (v->flags & VMA_RANDOM)
        optional = required;
    int err = v->mappable->ops->translate(v->mappable, required, optional, at, ts, MAX_PIECES, &n);
    check_translate_result(required, optional, at, ts, n, err);
    for (int i = 0; i < n; i++) {
        int e = enter_translation(mm, v, &ts[i], b);
        if (e)
            return e;
    }
    return n > 0 ? 0 : err; /* a prefix is progress: the caller comes back for the rest */
}

static int fill(struct mm *mm, struct vma *v, gva_t addr, gva_t want_end, access_t at,
                struct pma *next, struct batch *b)
{
    struct window gap = {v->node.start, v->node.end};
    const struct pma *before = next ? pma_prev(next) : pma_of(range_set_last(&mm->pmas));
    if (next)
        gap.end = MIN(gap.end, next->node.start);
    if (before)
        gap.start = MAX(gap.start, before->node.end);
    want_end = MIN(want_end, gap.end);
    if (!v->mappable)
        return fill_anon(mm, v, gap, addr, want_end);
    if (v->flags & VMA_PRIVATE)
        at &= (access_t)~ACCESS_WRITE; /* copied before it is written */
    return fill_mappable(mm, v, gap, addr, want_end, at ? at : ACCESS_READ, b);
}

/* ---- copy-on-write ---- */

/* [start, end) of p is ours alone: no copy is needed. */
static int cow_take_over(struct mm *mm, struct vma *v, gva_t start, gva_t end, struct batch *b)
{
    int err = pma_isolate(mm, start, end);
    if (err)
        return err;
    struct pma *p = pma_find(mm, start);
    p->need_cow = false;
    pma_update(mm, v, start, end, b);
    return 0;
}

/* Copies p's [start, end) to the memory file at `to`. */
static int cow_copy_bytes(struct mm *mm, struct pma *p, gva_t start, gva_t end, uint64_t to)
{
    char *dst = mm_memory(mm)->file.window + to;
    for (gva_t a = start; a < end;) {
        size_t n;
        int err;
        char *src = pma_pointer(p, a, end - a, ACCESS_READ, &n, &err);
        if (!src)
            return err;
        if (safe_copy(dst + (a - start), src, n) != n)
            return -EBUSERR;
        a += n;
    }
    return 0;
}

static int cow_copy(struct mm *mm, struct vma *v, struct pma *p, gva_t start, gva_t end,
                    struct batch *b)
{
    struct memory_file *mf = mm_memory(mm);
    struct file_range fr;
    int err = memory_file_alloc(mf, end - start, MEMORY_FILE_NOZERO, &fr);
    if (err)
        return err;
    err = cow_copy_bytes(mm, p, start, end, fr.start);
    if (!err)
        err = pma_isolate(mm, start, end);
    if (err) {
        memory_file_put(mf, fr);
        return err;
    }
    p = pma_find(mm, start);
    struct memmap_file *old_file = p->file;
    struct file_range old = pma_file_range(p, start, end);
    p->file = &mf->file;
    p->offset = fr.start;
    p->translate_perms = ACCESS_ANY;
    p->is_private = true;
    p->need_cow = false;
    p->effective = pma_effective(v, p);
    if (pma_pushed(mm, p)) {
        if (p->effective) {
            batch_map(b, p, start, end, 0);
        } else {
            batch_unmap(b, start, end);
            p->pushed = 0;
        }
    }
    batch_put(b, old_file, old);
    return 0;
}

/* How much to copy for a write to [addr, want_end), within [lo, hi). */
static struct window cow_window(struct mm *mm, const struct vma *v, gva_t lo, gva_t hi, gva_t addr,
                                gva_t want_end)
{
    uint64_t block = COW_BLOCK;
    if (v->flags & VMA_RANDOM)
        block = PAGE_SIZE;
    else if (addr == lo) {
        const struct pma *before = lo ? pma_find(mm, lo - 1) : NULL;
        if (before && before->is_private && !before->need_cow)
            while (block < COW_BLOCK_MAX && block * 2 <= node_length(&before->node))
                block *= 2;
    }
    struct window w = {addr & ~(COW_BLOCK - 1), addr + block};
    if (!(v->flags & VMA_RANDOM))
        w.end &= ~(COW_BLOCK - 1);
    w.end = MAX(w.end, MIN(want_end, addr + COW_BLOCK_MAX));
    if (v->flags & VMA_RANDOM)
        w.start = addr;
    return (struct window){MAX(w.start, lo), MIN(w.end, hi)};
}

static int cow_break(struct mm *mm, struct vma *v, struct pma *p, gva_t addr, gva_t want_end,
                     struct batch *b)
{
    gva_t lo = MAX(p->node.start, v->node.start), hi = MIN(p->node.end, v->node.end);
    struct window w = cow_window(mm, v, lo, hi, addr, want_end);

    if (p->is_private) {
        gva_t unit_lo = MAX(lo, addr & ~(ANON_UNIT - 1));
        gva_t unit_hi = MIN(hi, (addr & ~(ANON_UNIT - 1)) + ANON_UNIT);
        if (cow_exclusive(mm, p, lo, hi))
            return cow_take_over(mm, v, lo, hi, b);
        if ((unit_lo != lo || unit_hi != hi) && cow_exclusive(mm, p, unit_lo, unit_hi))
            return cow_take_over(mm, v, unit_lo, unit_hi, b);
        if (cow_exclusive(mm, p, w.start, w.end))
            return cow_take_over(mm, v, w.start, w.end, b);
        if (cow_exclusive(mm, p, addr, addr + PAGE_SIZE))
            return cow_take_over(mm, v, addr, addr + PAGE_SIZE, b);
    }
    int err = cow_copy(mm, v, p, w.start, w.end, b);
    if (err && (w.start != addr || w.end != addr + PAGE_SIZE))
        err = cow_copy(mm, v, p, addr, addr + PAGE_SIZE, b); /* only a neighbour was bad? */
    return err;
}

#define TAKE_OVER_PMAS 24 /* looked at on each side */

/* Whether p, with a VMA that lets it be written, is ours alone now; then it is taken over. */
static void take_over_if_alone(struct mm *mm, struct pma *p, struct batch *b)
{
    gva_t start = p->node.start, end = p->node.end;
    if (!p->is_private || !p->need_cow)
        return;
    struct vma *v = vma_find(mm, start);
    if (v && end <= v->node.end && (v->effective & ACCESS_WRITE) &&
        cow_exclusive(mm, p, start, end))
        p->need_cow = false;
    if (!p->need_cow)
        pma_update(mm, v, start, end, b);
}

void pma_take_over_around(struct mm *mm, gva_t addr, struct batch *b)
{
    struct pma *p = pma_find(mm, addr), *first = p;
    int below = 0;
    for (; first && below < TAKE_OVER_PMAS && pma_prev(first); below++)
        first = pma_prev(first);
    for (int n = 0; first && n < below + TAKE_OVER_PMAS; n++, first = pma_next(first))
        if (first != p)
            take_over_if_alone(mm, first, b);
}

/* ---- the door ---- */

int pma_ensure(struct mm *mm, struct vma *v, gva_t start, gva_t end, access_t at, struct batch *b)
{
    for (gva_t addr = start; addr < end;) {
        struct pma *p = pma_lower_bound(mm, addr);
        int err;
        if (!p || p->node.start > addr) {
            err = fill(mm, v, addr, end, at, p, b);
        } else if ((at & ACCESS_WRITE) && p->need_cow) {
            err = cow_break(mm, v, p, addr, end, b);
        } else if (at & ~p->translate_perms) {
            struct window around = {MAX(p->node.start, v->node.start),
                                    MIN(p->node.end, v->node.end)};
            err = p->is_private ? -EFAULT
                                : fill_mappable(mm, v, around, addr, MIN(end, around.end), at, b);
        } else {
            addr = p->node.end;
            continue;
        }
        if (err)
            return err;
    }
    return 0;
}

/* ---- invalidation ---- */

/* Called by a mappable, under its own lock: takes MM_ACTIVE and nothing that precedes it. */
static void mm_invalidate(struct mapping_space *ms, struct addr_range ar,
                          const struct invalidate_opts *opts)
{
    struct mm *mm = container_of(ms, struct mm, ms);
    struct batch b;

    rwlock_write(&mm->active);
    batch_init(&b, mm);
    /* If splitting fails for lack of memory, whole PMAs go: pages of the mappable are found again.
     * Private pages would be lost, so those that stick out stay. */
    bool split = pma_isolate(mm, ar.start, ar.end) == 0;
    struct pma *p = pma_lower_bound(mm, ar.start);
    while (p && p->node.start < ar.end) {
        struct pma *n = pma_next(p);
        bool sticks_out = p->node.start < ar.start || p->node.end > ar.end;
        if (!p->is_private || (opts->invalidate_private && (split || !sticks_out)))
            pma_remove_one(mm, p, &b);
        p = n;
    }
    if (batch_flush(&b)) {
        /* Emptied or dead: in either case nothing is shown any more. */
    }
    rwlock_unlock(&mm->active);
}

const struct mapping_space_ops mm_mapping_space_ops = {.invalidate = mm_invalidate};
