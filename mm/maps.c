/*
 * What /proc and getrusage tell of an address space.
 */
#include "base/log.h"
#include "mm/mm_internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* By mincore(2) on the sentry's view, a piece at a time. */
void pma_mincore(struct pma *p, gva_t start, gva_t end, unsigned char *vec)
{
    for (gva_t a = start; a < end;) {
        size_t n;
        int err;
        char *ptr = pma_pointer(p, a, end - a, ACCESS_READ, &n, &err);
        if (!ptr || mincore(ptr, n, vec)) {
            memset(vec, 0, (end - a) >> PAGE_SHIFT);
            return;
        }
        for (size_t i = 0; i < n >> PAGE_SHIFT; i++)
            *vec++ &= 1;
        a += n;
    }
}

uint64_t pma_resident(struct pma *p, gva_t start, gva_t end)
{
    unsigned char vec[1024];
    uint64_t sum = 0;
    while (start < end) {
        gva_t stop = MIN(end, start + sizeof(vec) * PAGE_SIZE);
        pma_mincore(p, start, stop, vec);
        for (size_t i = 0; i < (stop - start) >> PAGE_SHIFT; i++)
            sum += vec[i] * PAGE_SIZE;
        start = stop;
    }
    return sum;
}

struct rss {
    uint64_t anon, file, shmem;
};

/* Files' pages are in the host's cache or not whatever we do: all that is mapped counts. */
static void rss_add(struct mm *mm, struct pma *p, gva_t start, gva_t end, struct rss *r)
{
    if (p->is_private)
        r->anon += pma_resident(p, start, end);
    else if (p->file == &mm_memory(mm)->file)
        r->shmem += pma_resident(p, start, end);
    else
        r->file += end - start;
}

static struct rss rss_of(struct mm *mm, gva_t start, gva_t end)
{
    struct rss r = {0};
    for (struct pma *p = pma_lower_bound(mm, start); p && p->node.start < end; p = pma_next(p))
        rss_add(mm, p, MAX(p->node.start, start), MIN(p->node.end, end), &r);
    return r;
}

void mm_get_stats(struct mm *mm, struct mm_stats *out)
{
    rwlock_read(&mm->mapping);
    *out = (struct mm_stats){
        .vm_size = mm->total_vm,
        .vm_peak = mm->peak_vm,
        .vm_locked = mm->locked_vm,
        .vm_data = mm->data_vm,
        .vm_stack = mm->stack_vm,
        .vm_exec = mm->exec_vm,
        .vmas = mm->vmas.count,
        .minor_faults = atomic_load_explicit(&mm->minor_faults, memory_order_relaxed),
    };
    rwlock_write(&mm->active);
    struct rss r = rss_of(mm, 0, mm->max_addr);
    mm->peak_rss = MAX(mm->peak_rss, r.anon + r.file + r.shmem);
    out->rss_anon = r.anon;
    out->rss_file = r.file;
    out->rss_shmem = r.shmem;
    out->rss_peak = mm->peak_rss;
    rwlock_unlock(&mm->active);
    rwlock_unlock(&mm->mapping);
}

/* How much memory that is shared since a fork mm_peak_rss looks at: bytes. */
#define PEAK_SHARED_MAX (8ull << 20)

uint64_t mm_peak_rss(struct mm *mm)
{
    struct rss r = {0};
    uint64_t patience = PEAK_SHARED_MAX;
    rwlock_write(&mm->active);
    for (struct pma *p = pma_lower_bound(mm, 0); p; p = pma_next(p)) {
        uint64_t length = node_length(&p->node);
        if (p->need_cow && length > patience)
            continue;
        patience -= p->need_cow ? length : 0;
        rss_add(mm, p, p->node.start, p->node.end, &r);
    }
    mm->peak_rss = MAX(mm->peak_rss, r.anon + r.file + r.shmem);
    uint64_t peak = mm->peak_rss;
    rwlock_unlock(&mm->active);
    return peak;
}

static void vma_name(struct mm *mm, const struct vma *v, char *buf, size_t size)
{
    mutex_lock(&mm->info_lock);
    gva_t start_brk = mm->info.start_brk, brk = mm->info.brk, stack = mm->info.start_stack;
    mutex_unlock(&mm->info_lock);

    buf[0] = 0;
    if (v->hint)
        snprintf(buf, size, "%s", v->hint);
    else if (v->id)
        v->id->ops->name(v->id, buf, size);
    else if (brk > start_brk && v->node.start < brk && v->node.end > start_brk)
        snprintf(buf, size, "[heap]");
    else if (RANGE_CONTAINS(v->node, stack))
        snprintf(buf, size, "[stack]");
    else if (v->name)
        snprintf(buf, size, "[anon:%s]", v->name->text);
}

static void vma_sizes(struct mm *mm, const struct vma *v, struct mm_vma_info *out)
{
    rwlock_read(&mm->active);
    struct rss r = rss_of(mm, v->node.start, v->node.end);
    rwlock_unlock(&mm->active);
    out->rss = r.anon + r.file + r.shmem;
    out->anonymous = r.anon;
    out->shared = r.file + r.shmem;
    out->pss = out->rss;
    out->locked_bytes = v->mlock != MLOCK_NONE ? out->rss : 0;
}

bool mm_next_vma(struct mm *mm, gva_t addr, bool sizes, struct mm_vma_info *out)
{
    rwlock_read(&mm->mapping);
    const struct vma *v = vma_lower_bound(mm, addr);
    if (v) {
        out->ar = node_range(&v->node);
        out->perms = v->perms;
        out->max_perms = v->max;
        out->is_private = v->flags & VMA_PRIVATE;
        out->grows_down = v->flags & VMA_GROWS_DOWN;
        out->special = v->flags & VMA_SPECIAL;
        out->locked = v->mlock != MLOCK_NONE;
        out->offset = v->offset;
        out->device = v->id ? v->id->ops->device(v->id) : 0;
        out->inode = v->id ? v->id->ops->inode(v->id) : 0;
        out->rss = out->anonymous = out->shared = out->swap = out->pss = out->locked_bytes = 0;
        vma_name(mm, v, out->name, sizeof(out->name));
        if (sizes)
            vma_sizes(mm, v, out);
    }
    rwlock_unlock(&mm->mapping);
    return v != NULL;
}

#ifdef PICKET_DEBUG
#define MM_ASSERT(cond)                                                                            \
    do {                                                                                           \
        if (!(cond))                                                                               \
            panic("mm_check: %s", #cond);                                                          \
    } while (0)

static void check_vmas(struct mm *mm)
{
    uint64_t total = 0, locked = 0;
    for (struct vma *v = vma_of(range_set_first(&mm->vmas)); v; v = vma_next(v)) {
        MM_ASSERT(page_aligned(v->node.start) && page_aligned(v->node.end));
        MM_ASSERT(v->node.end <= mm->max_addr);
        MM_ASSERT(v->effective == access_effective(v->perms));
        MM_ASSERT((v->flags & VMA_SPECIAL) || !(v->effective & ~v->max));
        MM_ASSERT(v->mappable || (v->flags & VMA_PRIVATE));
        MM_ASSERT(!vma_next(v) || !vma_can_merge(v, vma_next(v)));
        total += node_length(&v->node);
        locked += v->mlock != MLOCK_NONE ? node_length(&v->node) : 0;
    }
    MM_ASSERT(total == mm->total_vm && total == mm->vmas.span);
    MM_ASSERT(locked == mm->locked_vm);
}

static void check_pma(struct mm *mm, struct pma *p)
{
    MM_ASSERT(page_aligned(p->node.start) && page_aligned(p->offset));
    for (gva_t a = p->node.start; a < p->node.end;) {
        struct vma *v = vma_find(mm, a);
        MM_ASSERT(v);
        MM_ASSERT(p->effective == pma_effective(v, p));
        MM_ASSERT(!p->is_private || (v->flags & VMA_PRIVATE));
        MM_ASSERT(p->is_private || p->need_cow == !!(v->flags & VMA_PRIVATE));
        a = v->node.end;
    }
    if (p->file == &mm_memory(mm)->file)
        for (uint64_t o = 0; o < node_length(&p->node); o += HUGE_PAGE_SIZE)
            MM_ASSERT(memory_file_refs(mm_memory(mm), p->offset + o) > 0);
}

void mm_check(struct mm *mm)
{
    rwlock_read(&mm->mapping);
    rwlock_read(&mm->active);
    range_set_check(&mm->vmas);
    range_set_check(&mm->pmas);
    check_vmas(mm);
    for (struct pma *p = pma_of(range_set_first(&mm->pmas)); p; p = pma_next(p))
        check_pma(mm, p);
    rwlock_unlock(&mm->active);
    rwlock_unlock(&mm->mapping);
}
#endif
