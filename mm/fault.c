/*
 * Faults. A fault costs two trips through the platform, some ten microseconds; telling the platform
 * of one more mapping on the way costs one. So each fault maps what is known around it as well.
 */
#include "mm/mm_internal.h"
#include "mm/safe_copy.h"
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>

#define AROUND_PMAS 24 /* on each side of the fault */
#define AROUND_BYTES (32ul << 20)
#define AROUND_VMAS 3 /* segments of the same file, on each side */
#define REPUSH_BLOCK (16 * PAGE_SIZE)
#define POPULATE_CHUNK (32ul << 20)
/* The last pages of the unit before: if the host has them all, memory is being filled upwards. */
#define SEQUENTIAL_PROBE (16 * PAGE_SIZE)

/* ---- growing stacks ---- */

/* 0 if v may grow down to the page of addr, as mmap(2) says of MAP_GROWSDOWN. */
static int grow_check(struct mm *mm, const struct vma *v, gva_t start)
{
    const struct mm_limits *l = mm_limits(mm);
    uint64_t grow = v->node.start - start;
    const struct vma *below = vma_of(range_node_prev(&v->node));

    if (start < mm->min_addr)
        return -ENOMEM;
    if (below && !(below->flags & VMA_GROWS_DOWN) && below->effective &&
        start < below->node.end + STACK_GUARD_GAP)
        return -ENOMEM;
    if (below && start < below->node.end)
        return -ENOMEM;
    if (v->node.end - start > atomic_load(&l->stack) || !mm_may_expand(mm, false, grow))
        return -ENOMEM;
    if (v->mlock != MLOCK_NONE && !mm_may_lock(mm, grow))
        return -ENOMEM;
    return 0;
}

/* The main stack grows by more than the page that was touched, where nothing forbids it: each step
 * costs a fault. */
static gva_t grow_target(struct mm *mm, const struct vma *v, gva_t addr)
{
    gva_t page = page_down(addr);
    mutex_lock(&mm->info_lock);
    gva_t stack = mm->info.start_stack;
    mutex_unlock(&mm->info_lock);
    if (stack - v->node.start >= node_length(&v->node))
        return page;
    gva_t more = page & ~(REPUSH_BLOCK - 1);
    return grow_check(mm, v, more) == 0 ? more : page;
}

static int vma_grow_down(struct mm *mm, struct vma *v, gva_t addr)
{
    gva_t start = grow_target(mm, v, addr);
    uint64_t grow = v->node.start - start;
    int err = grow_check(mm, v, start);
    if (err)
        return err;
    if (v->flags & VMA_ACCOUNT) {
        err = mm_commit(mm->cfg, grow);
        if (err)
            return err;
    }
    range_set_resize(&mm->vmas, &v->node, start, v->node.end);
    vma_account(mm, v, grow, true);
    return 0;
}

struct vma *mm_lock_vma(struct mm *mm, gva_t addr)
{
    rwlock_read(&mm->mapping);
    struct vma *v = vma_lower_bound(mm, addr);
    if (!v || v->node.start <= addr)
        return v;
    if (!(v->flags & VMA_GROWS_DOWN) || addr >= mm->max_addr || v->mappable)
        return NULL;

    rwlock_unlock(&mm->mapping);
    rwlock_write(&mm->mapping);
    v = vma_lower_bound(mm, addr);
    if (!v || v->node.start <= addr)
        return v;
    if (!(v->flags & VMA_GROWS_DOWN) || vma_grow_down(mm, v, addr))
        return NULL;
    return v;
}

/* ---- how much to show ---- */

/* Fresh anonymous memory of more than a unit is shown unit by unit, see push_fresh. */
static bool pma_is_large_fresh(const struct pma *p)
{
    return p->is_private && !p->need_cow && node_length(&p->node) > HUGE_PAGE_SIZE;
}

/* Whether the 2 MiB from start, which are in p, can be one page of the host's. */
static bool pma_may_be_huge(struct mm *mm, const struct vma *v, const struct pma *p, gva_t start)
{
    uint64_t offset = p->offset + (start - p->node.start);
    return mm_memory(mm)->huge && !(v->flags & (VMA_NOHUGEPAGE | VMA_RANDOM)) &&
           start % HUGE_PAGE_SIZE == 0 && offset % HUGE_PAGE_SIZE == 0 && start >= p->node.start &&
           p->node.end - start >= HUGE_PAGE_SIZE;
}

static bool filled_upwards_to(struct mm *mm, gva_t addr)
{
    struct pma *p = addr ? pma_find(mm, addr - 1) : NULL;
    if (!p || !p->is_private || node_length(&p->node) < SEQUENTIAL_PROBE)
        return false;
    return pma_resident(p, addr - SEQUENTIAL_PROBE, addr) == SEQUENTIAL_PROBE;
}

/*
 * Shows fresh memory around addr: its unit, no more, so that the next unit faults too, and tells
 * how memory is used. If it is being filled from below, or the application asked for them, huge
 * pages are worth their size, for all that the PMA has; where there are none, the host is at least
 * told to make the unit's pages all at once, instead of one by one as they are touched.
 */
static void push_fresh(struct mm *mm, const struct vma *v, struct pma *p, gva_t addr, access_t at,
                       struct batch *b)
{
    gva_t unit = addr & ~(HUGE_PAGE_SIZE - 1);
    gva_t start = MAX(p->node.start, unit);
    gva_t end = MIN(p->node.end, unit + HUGE_PAGE_SIZE);
    unsigned how = 0;

    if ((at & ACCESS_WRITE) && end - start == HUGE_PAGE_SIZE && filled_upwards_to(mm, start))
        how = MAP_PRECOMMIT;
    if (pma_may_be_huge(mm, v, p, start) && ((v->flags & VMA_HUGEPAGE) || how)) {
        how = MAP_HUGE;
        end = p->node.end & ~(HUGE_PAGE_SIZE - 1);
    }
    if ((start != p->node.start || end != p->node.end) && pma_isolate(mm, start, end) == 0)
        p = pma_find(mm, addr);
    batch_map(b, p, p->node.start, p->node.end, how);
}

static void push_page(struct mm *mm, const struct vma *v, gva_t addr, access_t at, struct batch *b)
{
    struct pma *p = pma_find(mm, addr);
    if (!pma_pushed(mm, p)) {
        if (p->is_private && !p->need_cow)
            push_fresh(mm, v, p, addr, at, b);
        else
            batch_map(b, p, p->node.start, p->node.end, 0);
    } else if (!batch_shows(b, addr)) {
        /* Another thread was faster, or the platform lost it: we cannot know. Show a little. */
        gva_t block = addr & ~(REPUSH_BLOCK - 1);
        batch_map(b, p, MAX(p->node.start, block), MIN(p->node.end, block + REPUSH_BLOCK), 0);
    }
}

static bool push_neighbour(struct mm *mm, struct pma *p, gva_t addr, struct batch *b)
{
    uint64_t distance = p->node.start > addr ? p->node.start - addr : addr - (p->node.end - 1);
    if (distance > AROUND_BYTES || b->nops >= BATCH_OPS - 2)
        return false;
    if (p->effective && !pma_pushed(mm, p) && !pma_is_large_fresh(p))
        batch_map(b, p, p->node.start, p->node.end, 0);
    return true;
}

static void push_around(struct mm *mm, gva_t addr, struct batch *b)
{
    struct pma *p = pma_find(mm, addr), *first = p;
    int n = 0;
    /* Upwards, in address order, so that the batch can join neighbours. */
    for (n = 0; n < AROUND_PMAS && pma_prev(first); n++)
        first = pma_prev(first);
    for (; first != p; first = pma_next(first))
        push_neighbour(mm, first, addr, b);
    for (n = 0, p = pma_next(p); p && n < AROUND_PMAS; n++, p = pma_next(p))
        if (!push_neighbour(mm, p, addr, b))
            break;
}

/* The segments of a program or library are mapped side by side, and used together: when one is
 * first touched, the others are asked for as well. Failure only means a fault later. */
static void fill_around(struct mm *mm, struct vma *v, struct batch *b)
{
    for (int dir = 0; dir < 2; dir++) {
        struct vma *n = v;
        for (int i = 0; i < AROUND_VMAS; i++) {
            n = dir ? vma_next(n) : vma_prev(n);
            if (!n || n->mappable != v->mappable)
                break;
            const struct pma *p = pma_lower_bound(mm, n->node.start);
            if (!n->effective || (p && p->node.start < n->node.end))
                continue;
            if (pma_ensure(mm, n, n->node.start, n->node.start + PAGE_SIZE, ACCESS_READ, b))
                return;
        }
    }
}

/*
 * The score goes up when a small mapping is touched for the first time, and down when one is made
 * and left to its fate. While it is high, new ones are shown at once, but for one in a while, which
 * is the probe that keeps the score honest.
 */
#define AHEAD_BYTES HUGE_PAGE_SIZE
#define SCORE_MAX 8
#define SCORE_AHEAD 3
#define AHEAD_PROBE 16

static void score_add(struct mm *mm, int d)
{
    int s = atomic_load_explicit(&mm->touch_score, memory_order_relaxed) + d;
    s = MAX(MIN(s, SCORE_MAX), -SCORE_MAX);
    atomic_store_explicit(&mm->touch_score, s, memory_order_relaxed);
}

void mm_map_ahead(struct mm *mm, gva_t start, gva_t end)
{
    struct vma *v = vma_find(mm, start);
    struct batch b;

    if (end - start > AHEAD_BYTES || v->mappable || !(v->perms & ACCESS_WRITE) ||
        (v->flags & (VMA_GROWS_DOWN | VMA_NORESERVE | VMA_SPECIAL)))
        return;
    if (atomic_load_explicit(&mm->touch_score, memory_order_relaxed) < SCORE_AHEAD ||
        ++mm->mapped_ahead % AHEAD_PROBE == 0) {
        score_add(mm, -1);
        return;
    }
    rwlock_write(&mm->active);
    batch_init(&b, mm);
    if (pma_ensure(mm, v, start, start + PAGE_SIZE, ACCESS_WRITE, &b) == 0) {
        struct pma *p = pma_find(mm, start);
        if (!pma_pushed(mm, p) && !pma_is_large_fresh(p))
            batch_map(&b, p, p->node.start, p->node.end, 0);
    }
    int ignored = batch_flush(&b); /* it will fault */
    (void)ignored;
    pma_merge(mm, start, end);
    rwlock_unlock(&mm->active);
}

/* Does what is in the batch. If the platform ran out of room and forgot everything, the page alone
 * will fit. */
static int show(struct mm *mm, gva_t addr, struct batch *b)
{
    int err = batch_flush(b);
    if (err != -ENOMEM)
        return err;
    struct pma *p = pma_find(mm, addr);
    if (!p || !p->effective)
        return 0;
    batch_map(b, p, p->node.start, p->node.end, 0);
    return batch_flush(b);
}

/* Where in the memory file a page lies that is shared after a fork; else NOWHERE. */
#define NOWHERE UINT64_MAX
static uint64_t shared_place(struct mm *mm, gva_t page)
{
    const struct pma *p = pma_find(mm, page);
    return p && p->is_private && p->need_cow ? p->offset + (page - p->node.start) : NOWHERE;
}

static bool lies_at(struct mm *mm, gva_t page, uint64_t place)
{
    const struct pma *p = pma_find(mm, page);
    return p->is_private && p->offset + (page - p->node.start) == place;
}

static int fault_locked(struct mm *mm, struct vma *v, gva_t addr, access_t at)
{
    gva_t page = page_down(addr);
    uint64_t was = at & ACCESS_WRITE ? shared_place(mm, page) : NOWHERE;
    bool absent = !pma_find(mm, page);
    struct batch b;

    batch_init(&b, mm);
    if (absent && !v->mappable && node_length(&v->node) <= AHEAD_BYTES)
        score_add(mm, 2);
    int err = pma_ensure(mm, v, page, page + PAGE_SIZE, at, &b);
    if (err) {
        int ignored = batch_flush(&b);
        (void)ignored;
        return err;
    }
    if (absent && v->mappable && !(v->flags & VMA_RANDOM))
        fill_around(mm, v, &b);
    if (was != NOWHERE && lies_at(mm, page, was)) /* not copied: the other side is gone */
        pma_take_over_around(mm, page, &b);
    push_page(mm, v, page, at, &b);
    push_around(mm, page, &b);
    err = show(mm, page, &b);
    gva_t lo = page > AROUND_BYTES ? page - AROUND_BYTES : 0;
    pma_merge(mm, MAX(lo, v->node.start), MIN(page + AROUND_BYTES, v->node.end));
    return err ? -ESRCH : 0;
}

int mm_handle_fault(struct mm *mm, gva_t addr, access_t at, UNUSED gva_t sp, struct mm_fault *out)
{
    int err;
    struct vma *v = mm_lock_vma(mm, addr);

    atomic_fetch_add_explicit(&mm->minor_faults, 1, memory_order_relaxed);
    if (!v) {
        *out = (struct mm_fault){SIGSEGV, SEGV_MAPERR};
        err = -EFAULT;
    } else if ((at & ~v->effective) || !v->effective) {
        *out = (struct mm_fault){SIGSEGV, SEGV_ACCERR};
        err = -EFAULT;
    } else {
        rwlock_write(&mm->active);
        err = fault_locked(mm, v, addr, at);
        rwlock_unlock(&mm->active);
        if (err == -EBUSERR)
            *out = (struct mm_fault){SIGBUS, BUS_ADRERR};
        else if (err == -ENOMEM || err == -ESRCH)
            *out = (struct mm_fault){SIGKILL, SI_KERNEL};
        else if (err)
            *out = (struct mm_fault){SIGBUS, BUS_ADRERR};
    }
    rwlock_unlock(&mm->mapping);
    return err;
}

/* ---- populate ---- */

/* Shows all of p, with its pages made now. */
static void push_whole(struct mm *mm, const struct vma *v, struct pma *p, struct batch *b)
{
    gva_t start = p->node.start, end = p->node.end;
    if (p->is_private && !p->need_cow && pma_may_be_huge(mm, v, p, start)) {
        gva_t middle = end & ~(HUGE_PAGE_SIZE - 1);
        batch_map(b, p, start, middle, MAP_PRECOMMIT | MAP_HUGE);
        start = middle;
    }
    if (start < end)
        batch_map(b, p, start, end, MAP_PRECOMMIT);
}

/* Faults in and shows [start, end) of v. */
static int populate_vma(struct mm *mm, struct vma *v, gva_t start, gva_t end, access_t at)
{
    struct batch b;
    rwlock_write(&mm->active);
    batch_init(&b, mm);
    int err = pma_ensure(mm, v, start, end, at, &b);
    if (!err && pma_isolate(mm, start, end) == 0) {
        for (struct pma *p = pma_lower_bound(mm, start); p && p->node.start < end; p = pma_next(p))
            if (p->effective && (p->is_private || !pma_pushed(mm, p)))
                push_whole(mm, v, p, &b);
    }
    int shown = batch_flush(&b); /* -ENOMEM: forgotten, so they will fault */
    pma_merge(mm, start, end);
    rwlock_unlock(&mm->active);
    return err ? err : shown == -ENOMEM ? 0 : shown;
}

int mm_populate(struct mm *mm, gva_t start, gva_t end, access_t at)
{
    gva_t addr = start;
    while (addr < end) {
        rwlock_read(&mm->mapping);
        struct vma *v = vma_find(mm, addr);
        access_t want = at;
        int err = 0;
        if (v && !at) /* what a first touch would do: write if private and writable */
            want = (v->flags & VMA_PRIVATE) ? v->effective & (ACCESS_READ | ACCESS_WRITE)
                                            : v->effective & ACCESS_READ;
        gva_t stop = v ? MIN(MIN(v->node.end, end), addr + POPULATE_CHUNK) : end;
        if (!v)
            err = -ENOMEM;
        else if (!want || (want & ~v->effective))
            err = -EINVAL;
        else
            err = populate_vma(mm, v, addr, stop, want);
        rwlock_unlock(&mm->mapping);
        if (err)
            return err;
        addr = stop;
    }
    return 0;
}

void mm_populate_all(struct mm *mm)
{
    gva_t addr = 0;
    for (;;) {
        rwlock_read(&mm->mapping);
        const struct vma *v = vma_lower_bound(mm, addr);
        struct addr_range ar = {0, 0};
        if (v)
            ar = (struct addr_range){MAX(addr, v->node.start), v->node.end};
        rwlock_unlock(&mm->mapping);
        if (!v)
            return;
        int ignored = mm_populate(mm, ar.start, ar.end, 0);
        (void)ignored;
        addr = ar.end;
    }
}
