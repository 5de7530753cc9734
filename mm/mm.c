/*
 * The life of an address space: made, copied by fork, ended with its last user.
 */
#include "base/log.h"
#include "mm/mm_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>

int mm_create(struct mm_config *cfg, const struct mm_limits *limits, struct mm **out)
{
    struct platform *pl = cfg->platform;
    struct mm *mm = calloc(1, sizeof(*mm));
    if (!mm)
        return -ENOMEM;
    int err = pl->ops->new_address_space(pl, &mm->as);
    if (err) {
        free(mm);
        return err;
    }
    mm->ms.ops = &mm_mapping_space_ops;
    ref_init(&mm->ref);
    atomic_init(&mm->users, 1);
    mm->cfg = cfg;
    atomic_init(&mm->limits, limits);
    mm->min_addr = MAX(pl->min_addr, page_down(cfg->min_addr + PAGE_SIZE - 1));
    mm->max_addr = pl->max_addr;
    mm->layout = (struct mm_layout){
        .mmap_top = mm->max_addr, .mmap_floor = mm->min_addr, .stack_top = mm->max_addr};
    rwlock_init(&mm->pinned, LOCK_MM_PINNED);
    rwlock_init(&mm->mapping, LOCK_MM_MAPPING);
    rwlock_init(&mm->active, LOCK_MM_ACTIVE);
    mutex_init(&mm->info_lock, LOCK_LEAF);
    range_set_init(&mm->vmas);
    range_set_init(&mm->pmas);
    mm->as_gen = 1;
    *out = mm;
    return 0;
}

/* ---- fork ---- */

/* Copies v into the child and tells its mappable. */
static int fork_vma(struct mm *child, const struct vma *v)
{
    struct vma *c = vma_clone(v);
    if (!c)
        return -ENOMEM;
    int err = 0;
    bool charged = c->flags & VMA_ACCOUNT;
    c->mlock = MLOCK_NONE;
    if (charged)
        err = mm_commit(child->cfg, node_length(&c->node));
    if (!err && c->mappable) {
        err = c->mappable->ops->add_mapping(c->mappable, &child->ms, node_range(&c->node),
                                            c->offset, vma_writable_mapping(c));
        if (err && charged)
            mm_uncommit(child->cfg, node_length(&c->node));
    }
    if (err) {
        vma_close(c); /* not the last: v holds one */
        vma_free(c);
        return err;
    }
    range_set_insert(&child->vmas, &c->node);
    vma_account(child, c, node_length(&c->node), true);
    return 0;
}

/* The part [start, end) of the parent's p, shared with the child; private pages become
 * copy-on-write in both. */
static int fork_pma(struct mm *child, struct vma *v, struct pma *p, gva_t start, gva_t end)
{
    struct pma *c = malloc(sizeof(*c));
    if (!c)
        return -ENOMEM;
    *c = *p;
    c->node.start = start;
    c->node.end = end;
    c->offset = p->offset + (start - p->node.start);
    c->pushed = 0;
    if (c->is_private) {
        c->need_cow = true;
        c->effective = pma_effective(v, c);
    }
    c->file->ops->inc_ref(c->file, pma_file_range(c, start, end));
    range_set_insert(&child->pmas, &c->node);
    return 0;
}

static void fork_protect_parent(struct mm *mm, struct vma *v, struct pma *p, struct batch *b)
{
    if (!p->is_private || p->need_cow)
        return;
    p->need_cow = true;
    access_t was = p->effective, e = pma_effective(v, p);
    if (e == was)
        return;
    p->effective = e;
    if (pma_pushed(mm, p))
        batch_protect(b, p->node.start, p->node.end, was, e);
}

static int fork_pmas_of(struct mm *mm, struct mm *child, struct vma *v, struct batch *b)
{
    /* PMAs may reach over the edge of a VMA; what is done to them here must not. */
    int err = pma_isolate(mm, v->node.start, v->node.end);
    for (struct pma *p = pma_lower_bound(mm, v->node.start);
         !err && p && p->node.start < v->node.end; p = pma_next(p)) {
        err = fork_pma(child, v, p, p->node.start, p->node.end);
        if (!err)
            fork_protect_parent(mm, v, p, b);
    }
    return err;
}

static int fork_copy(struct mm *mm, struct mm *child)
{
    int err = 0;
    for (struct vma *v = vma_of(range_set_first(&mm->vmas)); v && !err; v = vma_next(v))
        if (!(v->flags & VMA_DONT_FORK))
            err = fork_vma(child, v);
    if (err)
        return err;
    vma_merge(child, 0, child->max_addr); /* what only a lock kept apart */

    struct batch b;
    rwlock_write(&mm->active);
    rwlock_write_nested(&child->active);
    batch_init(&b, mm);
    for (struct vma *v = vma_of(range_set_first(&mm->vmas)); v && !err; v = vma_next(v))
        if (!(v->flags & (VMA_DONT_FORK | VMA_WIPE_ON_FORK)))
            err = fork_pmas_of(mm, child, v, &b);
    pma_merge(child, 0, child->max_addr);
    int flushed = batch_flush(&b); /* forgotten is as good as protected */
    pma_merge(mm, 0, mm->max_addr);
    rwlock_unlock(&child->active);
    rwlock_unlock(&mm->active);
    return err ? err : flushed == -ENOMEM ? 0 : flushed;
}

int mm_fork(struct mm *mm, const struct mm_limits *limits, struct mm **out)
{
    struct mm *child;
    int err = mm_create(mm->cfg, limits, &child);
    if (err)
        return err;
    rwlock_write(&mm->pinned);
    rwlock_read(&mm->mapping);
    child->layout = mm->layout;
    err = fork_copy(mm, child);
    mutex_lock(&mm->info_lock);
    child->info = mm->info;
    mutex_unlock(&mm->info_lock);
    rwlock_unlock(&mm->mapping);
    rwlock_unlock(&mm->pinned);
    if (err) {
        mm_user_put(child);
        return err;
    }
    *out = child;
    return 0;
}

/* ---- references ---- */

void mm_get(struct mm *mm)
{
    ref_get(&mm->ref);
}

void mm_put(struct mm *mm)
{
    if (!ref_put(&mm->ref))
        return;
    rwlock_destroy(&mm->pinned);
    rwlock_destroy(&mm->mapping);
    rwlock_destroy(&mm->active);
    mutex_destroy(&mm->info_lock);
    free(mm);
}

void mm_user_get(struct mm *mm)
{
    atomic_fetch_add(&mm->users, 1);
    mm_get(mm);
}

bool mm_user_get_unless_zero(struct mm *mm)
{
    int n = atomic_load(&mm->users);
    do {
        if (n == 0)
            return false;
    } while (!atomic_compare_exchange_weak(&mm->users, &n, n + 1));
    mm_get(mm);
    return true;
}

/* The stub goes first: as long as it lives, it may show the pages. */
static void mm_end(struct mm *mm)
{
    struct vma_drop drop = {NULL};

    log_debug("mm: %lu faults; %lu trips to the platform, with %lu operations",
              atomic_load(&mm->minor_faults), mm->trips, mm->trip_ops);
    rwlock_write(&mm->mapping);
    rwlock_write(&mm->active);
    struct address_space *as = mm->as;
    mm->as = NULL;
    mm_platform_emptied(mm);
    rwlock_unlock(&mm->active);
    if (as)
        as->ops->release(as);
    if (mm_unmap_locked(mm, 0, mm->max_addr, &drop)) {
        /* Cannot fail: nothing has to be split. */
    }
    rwlock_unlock(&mm->mapping);
    vma_drop_all(&drop);
}

void mm_user_put(struct mm *mm)
{
    if (atomic_fetch_sub(&mm->users, 1) == 1)
        mm_end(mm);
    mm_put(mm);
}

struct address_space *mm_address_space(struct mm *mm)
{
    return mm->as;
}

void mm_drop_platform_mappings(struct mm *mm)
{
    rwlock_write(&mm->active);
    if (mm->as) {
        mm->as->ops->clear(mm->as);
        mm_platform_emptied(mm);
    }
    rwlock_unlock(&mm->active);
}

/* ---- layout ---- */

static uint64_t random_pages(unsigned bits)
{
    uint64_t r = 0;
    if (getrandom(&r, sizeof(r), 0) != (ssize_t)sizeof(r))
        r = 0;
    return (r & ((1ull << bits) - 1)) << PAGE_SHIFT;
}

/* As arch/x86/mm/mmap.c and fs/binfmt_elf.c of Linux lay things out. */
#define STACK_RANDOM_BITS 22
#define MMAP_RANDOM_BITS 28
#define MIN_STACK_GAP (128ull << 20)

void mm_pick_layout(struct mm *mm, uint64_t stack_limit, bool randomize, struct mm_layout *out)
{
    uint64_t size = page_down(mm->max_addr);
    uint64_t gap = stack_limit, pad = STACK_GUARD_GAP, rnd = 0, stack_rnd = 0;

    if (randomize) {
        pad += (1ull << STACK_RANDOM_BITS) << PAGE_SHIFT;
        rnd = random_pages(MMAP_RANDOM_BITS);
        stack_rnd = random_pages(STACK_RANDOM_BITS);
    }
    if (gap < UINT64_MAX - pad)
        gap += pad;
    gap = MAX(gap, MIN_STACK_GAP);
    gap = MIN(gap, size / 6 * 5);
    rwlock_write(&mm->mapping);
    mm->layout = (struct mm_layout){
        .mmap_top = page_down(size - gap - MIN(rnd, (size - gap) / 2)),
        .mmap_floor = mm->min_addr,
        .stack_top = size - MIN(stack_rnd, size / 2),
        .randomize = randomize,
    };
    *out = mm->layout;
    rwlock_unlock(&mm->mapping);
}

struct mm_info *mm_info(struct mm *mm)
{
    return &mm->info;
}

void mm_info_lock(struct mm *mm)
{
    mutex_lock(&mm->info_lock);
}

void mm_info_unlock(struct mm *mm)
{
    mutex_unlock(&mm->info_lock);
}

void mm_set_limits(struct mm *mm, const struct mm_limits *limits)
{
    atomic_store_explicit(&mm->limits, limits, memory_order_release);
}
