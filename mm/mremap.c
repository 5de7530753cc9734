/*
 * mremap(2) in all its forms. Pages are never copied: their PMAs move.
 */
#include "mm/mm_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

struct remap {
    gva_t old_start;
    uint64_t old_size, new_size; /* in whole pages */
    int flags;
    gva_t new_addr; /* the place, for MREMAP_FIXED; then the result */
    struct vma_drop drop;
    struct addr_range populate; /* of a locked mapping that grew */
};

/* Charges what a mapping that grows by `grow` bytes costs. */
static int remap_charge(struct mm *mm, const struct vma *v, uint64_t grow)
{
    if (!mm_may_expand(mm, vma_is_data(v->flags, v->perms), grow))
        return -ENOMEM;
    if (v->mlock != MLOCK_NONE && !mm_may_lock(mm, grow))
        return -EAGAIN;
    return v->flags & VMA_ACCOUNT ? mm_commit(mm->cfg, grow) : 0;
}

/* ---- moving ---- */

/* Enters a VMA at [start, start + size) that continues what v has at old_start. */
static int enter_copy(struct mm *mm, const struct vma *v, const struct remap *r, gva_t start)
{
    struct vma *c = vma_clone(v);
    if (!c)
        return -ENOMEM;
    c->node.start = start;
    c->node.end = start + r->new_size;
    c->offset = vma_offset(v, r->old_start);
    if (c->mappable) {
        struct addr_range src = {r->old_start, r->old_start + r->old_size};
        int err = c->mappable->ops->copy_mapping(c->mappable, &mm->ms, src, node_range(&c->node),
                                                 c->offset, vma_writable_mapping(c));
        if (err) {
            vma_close(c); /* not the last: v holds one */
            vma_free(c);
            return err;
        }
    }
    range_set_insert(&mm->vmas, &c->node);
    vma_account(mm, c, r->new_size, true);
    return 0;
}

/* Carries one PMA over to its new address. What the platform showed it shows there again. */
static void move_pma(struct mm *mm, struct pma *p, uint64_t delta, struct batch *b)
{
    bool shown = pma_pushed(mm, p);
    range_set_remove(&mm->pmas, &p->node);
    p->node.start += delta;
    p->node.end += delta;
    p->pushed = 0;
    range_set_insert(&mm->pmas, &p->node);
    if (shown && p->effective)
        batch_map(b, p, p->node.start, p->node.end, 0);
}

/* Pre: PMAs are isolated at both ends of the old range; nothing is at the new one. */
static void move_pmas(struct mm *mm, gva_t start, uint64_t length, gva_t to)
{
    struct batch b;
    batch_init(&b, mm);
    for (struct pma *p = pma_lower_bound(mm, start); p && p->node.start < start + length;
         p = pma_next(p))
        if (pma_pushed(mm, p))
            batch_unmap(&b, p->node.start, p->node.end);
    struct pma *p;
    while ((p = pma_lower_bound(mm, start)) && p->node.start < start + length)
        move_pma(mm, p, to - start, &b);
    int ignored = batch_flush(&b); /* an error means that nothing is shown at all */
    (void)ignored;
}

/*
 * The mapping [old_start, old_start + old_size) moves to new_addr, where room was made. With
 * MREMAP_DONTUNMAP the old mapping stays, empty; with an old_size of 0 it stays as it is.
 */
static int remap_move(struct mm *mm, struct remap *r, struct vma *v)
{
    bool keep = (r->flags & MREMAP_DONTUNMAP) || r->old_size == 0;
    uint64_t length = MIN(r->old_size, r->new_size);
    uint64_t grow = keep ? r->new_size : r->new_size - length;
    int err = remap_charge(mm, v, grow);
    if (err)
        return err;
    rwlock_write(&mm->active);
    if (length)
        err = pma_isolate(mm, r->old_start, r->old_start + length);
    rwlock_unlock(&mm->active);
    if (!err)
        err = enter_copy(mm, v, r, r->new_addr);
    if (err) {
        if (v->flags & VMA_ACCOUNT)
            mm_uncommit(mm->cfg, grow);
        return err;
    }
    if (length) {
        rwlock_write(&mm->active);
        move_pmas(mm, r->old_start, length, r->new_addr);
        pma_merge(mm, r->new_addr, r->new_addr + length);
        rwlock_unlock(&mm->active);
    }
    if (!keep) {
        if (v->flags &
            VMA_ACCOUNT) /* the new mapping carries the charge on: unmapping gives it up */
            atomic_fetch_add(&mm->cfg->committed_as, length);
        err = mm_unmap_locked(mm, r->old_start, r->old_start + r->old_size, &r->drop);
        if (err) /* the old mapping stays, empty: no memory for a split */
            err = 0;
    } else if (r->old_size && v->mlock != MLOCK_NONE) {
        vma_account(mm, v, node_length(&v->node), false);
        v->mlock = MLOCK_NONE;
        vma_account(mm, v, node_length(&v->node), true);
    }
    vma_merge(mm, r->new_addr, r->new_addr + r->new_size);
    return err;
}

/* ---- the forms ---- */

static int remap_shrink(struct mm *mm, struct remap *r)
{
    r->new_addr = r->old_start;
    return mm_unmap_locked(mm, r->old_start + r->new_size, r->old_start + r->old_size, &r->drop);
}

/* Grows in place if the range ends its VMA and nothing follows. */
static bool remap_extend(struct mm *mm, struct remap *r, struct vma *v, int *err)
{
    gva_t old_end = r->old_start + r->old_size, new_end = r->old_start + r->new_size;
    const struct vma *next = vma_next(v);
    gva_t room = next ? vma_guarded_start(next) : mm->max_addr;
    uint64_t grow = r->new_size - r->old_size;

    if (v->node.end != old_end || new_end > mm->max_addr || room < new_end)
        return false;
    *err = remap_charge(mm, v, grow);
    if (!*err && v->mappable) {
        *err = v->mappable->ops->add_mapping(v->mappable, &mm->ms,
                                             (struct addr_range){old_end, new_end},
                                             vma_offset(v, old_end), vma_writable_mapping(v));
        if (*err && (v->flags & VMA_ACCOUNT))
            mm_uncommit(mm->cfg, grow);
    }
    if (*err)
        return true;
    range_set_resize(&mm->vmas, &v->node, v->node.start, new_end);
    vma_account(mm, v, grow, true);
    r->new_addr = r->old_start;
    if (v->mlock == MLOCK_EAGER)
        r->populate = (struct addr_range){old_end, new_end};
    vma_merge(mm, r->old_start, new_end);
    return true;
}

/* The VMA that the old range lies in, if all of it does. */
static int remap_source(struct mm *mm, const struct remap *r, struct vma **out)
{
    struct vma *v = vma_find(mm, r->old_start);
    if (!v)
        return -EFAULT;
    if (r->old_size == 0 && (v->flags & VMA_PRIVATE))
        return -EINVAL; /* only what is shared can be had twice */
    if ((r->flags & MREMAP_DONTUNMAP) && (v->flags & VMA_SPECIAL))
        return -EINVAL;
    /* A tail that is cut off may belong to other VMAs. */
    if (MIN(r->old_size, r->new_size) > v->node.end - r->old_start)
        return -EFAULT;
    uint64_t end;
    if (v->mappable && __builtin_add_overflow(vma_offset(v, r->old_start), r->new_size, &end))
        return -EINVAL;
    if ((v->flags & VMA_SPECIAL) && r->new_size > r->old_size)
        return -EFAULT;
    *out = v;
    return 0;
}

/* Makes the old range a VMA of its own where it is to move. */
static int remap_cut(struct mm *mm, struct remap *r, struct vma **v)
{
    /* Linux asks for room for the splits in the middle, and the moves, beforehand. */
    if (mm->vmas.count + 4 > atomic_load(&mm->cfg->max_map_count))
        return -ENOMEM;
    if (r->old_size == 0)
        return 0;
    int err = vma_isolate(mm, r->old_start, r->old_start + r->old_size, 0);
    if (!err)
        *v = vma_find(mm, r->old_start);
    return err;
}

static int remap_fixed(struct mm *mm, struct remap *r, struct vma *v)
{
    int err = mm_unmap_locked(mm, r->new_addr, r->new_addr + r->new_size, &r->drop);
    if (!err && r->old_size > r->new_size) { /* the tail goes first */
        err = mm_unmap_locked(mm, r->old_start + r->new_size, r->old_start + r->old_size, &r->drop);
        r->old_size = r->new_size;
    }
    v = vma_find(mm, r->old_start); /* it may have been split */
    if (!err)
        err = remap_cut(mm, r, &v);
    if (!err)
        err = remap_move(mm, r, v);
    return err;
}

static int remap_anywhere(struct mm *mm, struct remap *r, struct vma *v)
{
    struct gap_request rq = {.hint = r->flags & MREMAP_DONTUNMAP ? r->new_addr : 0,
                             .length = r->new_size};
    int err = vma_find_gap(mm, &rq, &r->new_addr);
    if (!err)
        err = remap_cut(mm, r, &v);
    if (!err)
        err = remap_move(mm, r, v);
    return err;
}

static int remap_locked(struct mm *mm, struct remap *r)
{
    bool at_new = r->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP);
    struct vma *v;

    if (!at_new && r->old_size && r->old_size >= r->new_size) /* may reach over several VMAs */
        return vma_find(mm, r->old_start) ? remap_shrink(mm, r) : -EFAULT;
    int err = remap_source(mm, r, &v);
    if (err)
        return err;
    if (r->flags & MREMAP_FIXED)
        return remap_fixed(mm, r, v);
    if (!at_new && r->old_size && remap_extend(mm, r, v, &err))
        return err;
    return r->flags & MREMAP_MAYMOVE ? remap_anywhere(mm, r, v) : -ENOMEM;
}

static int remap_check(struct mm *mm, const struct remap *r)
{
    if ((r->flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)) ||
        ((r->flags & MREMAP_FIXED) && !(r->flags & MREMAP_MAYMOVE)) ||
        !page_aligned(r->old_start) || r->new_size == 0)
        return -EINVAL;
    if ((r->flags & MREMAP_DONTUNMAP) &&
        (!(r->flags & MREMAP_MAYMOVE) || r->old_size != r->new_size))
        return -EINVAL;
    if (!(r->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)))
        return 0;
    if (!page_aligned(r->new_addr) || !mm_range_ok(mm, r->new_addr, r->new_size))
        return -EINVAL;
    if ((r->flags & MREMAP_FIXED) && r->new_addr < r->old_start + r->old_size &&
        r->old_start < r->new_addr + r->new_size)
        return -EINVAL;
    if ((r->flags & MREMAP_FIXED) && r->new_addr < mm->min_addr)
        return -EPERM;
    return 0;
}

int mm_mremap(struct mm *mm, gva_t old_addr, uint64_t old_size, uint64_t new_size, int flags,
              gva_t new_addr, gva_t *out)
{
    struct remap r = {.old_start = old_addr, .flags = flags, .new_addr = new_addr};

    if (!page_up(old_size, &r.old_size) || !page_up(new_size, &r.new_size))
        return -EINVAL;
    int err = remap_check(mm, &r);
    if (err)
        return err;
    if (r.new_size > mm->max_addr || !mm_range_ok(mm, r.old_start, r.old_size))
        return -EINVAL;
    rwlock_write(&mm->mapping);
    err = remap_locked(mm, &r);
    vma_merge(mm, r.old_start, r.old_start + r.old_size); /* what was split and did not move */
    rwlock_unlock(&mm->mapping);
    vma_drop_all(&r.drop);
    if (err)
        return err;
    if (r.populate.end > r.populate.start) {
        int ignored = mm_populate(mm, r.populate.start, r.populate.end, 0);
        (void)ignored;
    }
    *out = r.new_addr;
    return 0;
}
