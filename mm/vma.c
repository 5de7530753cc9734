/*
 * VMAs: what should be where.
 *
 * Adjacent VMAs merge when nothing tells them apart, so that a program that maps page by page does
 * not run into vm.max_map_count, and /proc/PID/maps reads as Linux's.
 */
#include "mm/mm_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void anon_name_put(struct anon_name *n)
{
    if (n && ref_put(&n->ref))
        free(n);
}

void vma_free(struct vma *v)
{
    anon_name_put(v->name);
    free(v);
}

void vma_open(struct vma *v)
{
    if (!v->id)
        return;
    v->id->ops->get(v->id);
    if (v->id->ops->vma_open)
        v->id->ops->vma_open(v->id);
}

void vma_close(struct vma *v)
{
    if (!v->id)
        return;
    if (v->id->ops->vma_close)
        v->id->ops->vma_close(v->id);
    v->id->ops->put(v->id);
}

struct vma *vma_clone(const struct vma *v)
{
    struct vma *c = malloc(sizeof(*c));
    if (!c)
        return NULL;
    *c = *v;
    vma_open(c);
    if (c->name)
        ref_get(&c->name->ref);
    return c;
}

void vma_drop_all(struct vma_drop *d)
{
    while (d->first) {
        struct vma *v = d->first;
        d->first = v->drop_next;
        vma_close(v);
        vma_free(v);
    }
}

static struct range_node *vma_split_cb(struct range_node *n, uint64_t key, UNUSED void *arg)
{
    const struct vma *v = vma_of(n);
    struct vma *upper = vma_clone(v);
    if (!upper)
        return NULL;
    upper->offset = vma_offset(v, key);
    return &upper->node;
}

int vma_isolate(struct mm *mm, gva_t start, gva_t end, unsigned leaving)
{
    const struct vma *a = vma_find(mm, start), *b = vma_find(mm, end);
    size_t splits = (a && a->node.start < start) + (b && b->node.start < end);
    if (splits > leaving &&
        mm->vmas.count + splits - leaving > atomic_load(&mm->cfg->max_map_count))
        return -ENOMEM;
    return range_set_isolate(&mm->vmas, start, end, vma_split_cb, NULL);
}

bool vma_can_merge(const struct vma *a, const struct vma *b)
{
    if (a->node.end != b->node.start || a->mappable != b->mappable || a->id != b->id ||
        a->flags != b->flags || a->perms != b->perms || a->max != b->max || a->mlock != b->mlock ||
        a->hint != b->hint || (a->flags & VMA_SPECIAL) || !vma_same_policy(a, b))
        return false;
    if (a->id && a->id->ops->vma_close)
        return false;
    if (a->name != b->name && !(a->name && b->name && strcmp(a->name->text, b->name->text) == 0))
        return false;
    return !a->mappable || vma_offset(a, a->node.end) == b->offset;
}

void vma_merge(struct mm *mm, gva_t start, gva_t end)
{
    struct vma *v = vma_lower_bound(mm, start ? start - 1 : 0);
    while (v) {
        struct vma *n = vma_next(v);
        if (!n || n->node.start > end)
            return;
        if (!vma_can_merge(v, n)) {
            v = n;
            continue;
        }
        range_set_remove(&mm->vmas, &n->node);
        range_set_resize(&mm->vmas, &v->node, v->node.start, n->node.end);
        vma_close(n); /* v holds another reference: never the last */
        vma_free(n);
    }
}

/* ---- sums and limits ---- */

void vma_account(struct mm *mm, const struct vma *v, uint64_t length, bool add)
{
    uint64_t d = add ? length : -length;
    mm->total_vm += d;
    if (vma_is_data(v->flags, v->perms))
        mm->data_vm += d;
    if (v->flags & VMA_GROWS_DOWN)
        mm->stack_vm += d;
    else if ((v->perms & (ACCESS_EXEC | ACCESS_WRITE)) == ACCESS_EXEC)
        mm->exec_vm += d;
    if (v->mlock != MLOCK_NONE)
        mm->locked_vm += d;
    if (mm->total_vm > mm->peak_vm)
        mm->peak_vm = mm->total_vm;
}

bool mm_may_expand(struct mm *mm, bool data, uint64_t grow)
{
    const struct mm_limits *l = mm_limits(mm);
    uint64_t sum;
    if (__builtin_add_overflow(mm->total_vm, grow, &sum) || sum > atomic_load(&l->as))
        return false;
    if (!data)
        return true;
    return !__builtin_add_overflow(mm->data_vm, grow, &sum) && sum <= atomic_load(&l->data);
}

bool mm_may_lock(struct mm *mm, uint64_t more)
{
    const struct mm_limits *l = mm_limits(mm);
    uint64_t sum;
    if (atomic_load(&l->may_lock_any))
        return true;
    return !__builtin_add_overflow(mm->locked_vm, more, &sum) && sum <= atomic_load(&l->memlock);
}

int mm_commit(struct mm_config *cfg, uint64_t bytes)
{
    uint32_t mode = atomic_load(&cfg->overcommit);
    uint64_t sum = atomic_fetch_add(&cfg->committed_as, bytes) + bytes;
    bool ok;
    if (mode == 1 || cfg->total_memory == 0)
        ok = true;
    else if (mode == 2)
        ok = sum <= cfg->total_memory / 2;
    else
        ok = bytes <= cfg->total_memory; /* refuses only what can never be */
    if (ok)
        return 0;
    mm_uncommit(cfg, bytes);
    return -ENOMEM;
}

void mm_uncommit(struct mm_config *cfg, uint64_t bytes)
{
    atomic_fetch_sub(&cfg->committed_as, bytes);
}

bool vma_covers(struct mm *mm, gva_t start, gva_t end)
{
    for (struct vma *v = vma_find(mm, start); v; v = vma_next(v)) {
        if (v->node.end >= end)
            return true;
        struct vma *n = vma_next(v);
        if (!n || n->node.start != v->node.end)
            return false;
    }
    return false;
}

uint64_t vma_mapped_bytes(struct mm *mm, gva_t start, gva_t end)
{
    uint64_t sum = 0;
    for (struct vma *v = vma_lower_bound(mm, start); v && v->node.start < end; v = vma_next(v))
        sum += MIN(v->node.end, end) - MAX(v->node.start, start);
    return sum;
}

uint64_t vma_locked_bytes(struct mm *mm, gva_t start, gva_t end)
{
    uint64_t sum = 0;
    for (struct vma *v = vma_lower_bound(mm, start); v && v->node.start < end; v = vma_next(v))
        if (v->mlock != MLOCK_NONE)
            sum += MIN(v->node.end, end) - MAX(v->node.start, start);
    return sum;
}

/* ---- gaps ---- */

gva_t vma_guarded_start(const struct vma *v)
{
    if (!(v->flags & VMA_GROWS_DOWN))
        return v->node.start;
    return v->node.start > STACK_GUARD_GAP ? v->node.start - STACK_GUARD_GAP : 0;
}

static bool gap_is_free(struct mm *mm, gva_t start, gva_t end)
{
    const struct vma *next = vma_lower_bound(mm, start);
    return !next || vma_guarded_start(next) >= end;
}

/* The set knows nothing of guard gaps: a gap whose upper end is one is cut, and searched again. */
static bool gap_down(struct mm *mm, gva_t lo, gva_t hi, uint64_t length, uint64_t align, gva_t *out)
{
    while (range_set_gap_down(&mm->vmas, lo, hi, length, align, out)) {
        if (gap_is_free(mm, *out, *out + length))
            return true;
        hi = vma_guarded_start(vma_lower_bound(mm, *out));
        if (hi <= lo)
            return false;
    }
    return false;
}

static bool gap_up(struct mm *mm, gva_t lo, gva_t hi, uint64_t length, uint64_t align, gva_t *out)
{
    while (range_set_gap_up(&mm->vmas, lo, hi, length, align, out)) {
        if (gap_is_free(mm, *out, *out + length))
            return true;
        lo = vma_lower_bound(mm, *out)->node.end;
        if (lo >= hi)
            return false;
    }
    return false;
}

int vma_find_gap(struct mm *mm, const struct gap_request *rq, gva_t *out)
{
    gva_t floor = MAX(mm->min_addr, mm->layout.mmap_floor);
    gva_t limit = rq->map_32bit ? MIN(mm->max_addr, 1ull << 31) : mm->max_addr;
    gva_t top = MIN(mm->layout.mmap_top, limit);
    gva_t hint = page_down(rq->hint);
    uint64_t length = rq->length;

    if (length > limit - MIN(limit, floor))
        return -ENOMEM;
    if (hint) {
        hint = MAX(hint, mm->min_addr);
        if (hint <= limit - length && gap_is_free(mm, hint, hint + length)) {
            *out = hint;
            return 0;
        }
    }
    if (rq->map_32bit) /* Linux searches the second GiB, upwards */
        return gap_up(mm, MAX(floor, 1ull << 30), limit, length, PAGE_SIZE, out) ||
                       gap_down(mm, floor, limit, length, PAGE_SIZE, out)
                   ? 0
                   : -ENOMEM;
    if (top > floor) {
        if (rq->huge && gap_down(mm, floor, top, length, HUGE_PAGE_SIZE, out))
            return 0;
        if (gap_down(mm, floor, top, length, PAGE_SIZE, out))
            return 0;
    }
    return gap_up(mm, floor, limit, length, PAGE_SIZE, out) ? 0 : -ENOMEM;
}
