/*
 * mlock and its family, msync and mincore. Locking is bookkeeping and eager faults: what the host
 * does with the sandbox's memory is the host's affair.
 */
#include "mm/mm_internal.h"
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif

/* The page-rounded range of a call whose address need not be aligned. */
static int round_range(struct mm *mm, gva_t addr, uint64_t length, gva_t *start, gva_t *end)
{
    uint64_t sum;
    *start = page_down(addr);
    if (__builtin_add_overflow(length, addr - *start, &sum) || !page_up(sum, &sum) ||
        __builtin_add_overflow(*start, sum, end))
        return -EINVAL;
    return mm_range_ok(mm, *start, sum) ? 0 : -ENOMEM;
}

static void set_mlock(struct mm *mm, struct vma *v, enum mlock_mode mode)
{
    if (v->flags & VMA_SPECIAL)
        return;
    vma_account(mm, v, node_length(&v->node), false);
    v->mlock = (uint8_t)mode;
    vma_account(mm, v, node_length(&v->node), true);
}

static int mlock_locked(struct mm *mm, gva_t start, gva_t end, enum mlock_mode mode)
{
    if (start == end)
        return 0;
    if (!vma_find(mm, start))
        return -ENOMEM;
    int err = vma_isolate(mm, start, end, 0);
    gva_t addr = start;
    for (struct vma *v = vma_find(mm, start); !err && addr < end; v = vma_next(v)) {
        if (!v || v->node.start != addr) {
            err = -ENOMEM; /* what precedes the hole is locked, as in Linux */
            break;
        }
        addr = v->node.end;
        set_mlock(mm, v, mode);
    }
    vma_merge(mm, start, end);
    return err;
}

int mm_mlock(struct mm *mm, gva_t addr, uint64_t length, enum mlock_mode mode)
{
    const struct mm_limits *l = mm_limits(mm);
    gva_t start, end;

    if (!atomic_load(&l->may_lock_any) && atomic_load(&l->memlock) == 0)
        return -EPERM;
    int err = round_range(mm, addr, length, &start, &end);
    if (err)
        return err;
    rwlock_write(&mm->mapping);
    uint64_t more = end - start;
    if (!mm_may_lock(mm, more)) /* what is locked already does not count twice */
        more -= vma_locked_bytes(mm, start, end);
    err = mm_may_lock(mm, more) ? mlock_locked(mm, start, end, mode) : -ENOMEM;
    rwlock_unlock(&mm->mapping);
    if (!err && mode == MLOCK_EAGER) {
        err = mm_populate(mm, start, end, 0);
        if (err == -EINVAL) /* PROT_NONE: Linux's mlock says ENOMEM */
            err = -ENOMEM;
        else if (err)
            err = err == -ENOMEM ? -EAGAIN : -ENOMEM;
    }
    return err;
}

int mm_munlock(struct mm *mm, gva_t addr, uint64_t length)
{
    gva_t start, end;
    int err = round_range(mm, addr, length, &start, &end);
    if (err)
        return err;
    rwlock_write(&mm->mapping);
    err = mlock_locked(mm, start, end, MLOCK_NONE);
    rwlock_unlock(&mm->mapping);
    return err;
}

int mm_mlockall(struct mm *mm, int flags)
{
    const struct mm_limits *l = mm_limits(mm);
    enum mlock_mode mode = flags & MCL_ONFAULT ? MLOCK_LAZY : MLOCK_EAGER;

    if (flags == 0 || flags == MCL_ONFAULT || (flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)))
        return -EINVAL;
    if (!atomic_load(&l->may_lock_any) && atomic_load(&l->memlock) == 0)
        return -EPERM;
    rwlock_write(&mm->mapping);
    if ((flags & MCL_CURRENT) && !atomic_load(&l->may_lock_any) &&
        mm->total_vm > atomic_load(&l->memlock)) {
        rwlock_unlock(&mm->mapping);
        return -ENOMEM;
    }
    mm->def_mlock = flags & MCL_FUTURE ? mode : MLOCK_NONE;
    if (flags & MCL_CURRENT) {
        for (struct vma *v = vma_of(range_set_first(&mm->vmas)); v; v = vma_next(v))
            set_mlock(mm, v, mode);
        vma_merge(mm, 0, mm->max_addr);
    }
    rwlock_unlock(&mm->mapping);
    if ((flags & MCL_CURRENT) && mode == MLOCK_EAGER)
        mm_populate_all(mm);
    return 0;
}

void mm_munlockall(struct mm *mm)
{
    rwlock_write(&mm->mapping);
    mm->def_mlock = MLOCK_NONE;
    for (struct vma *v = vma_of(range_set_first(&mm->vmas)); v; v = vma_next(v))
        set_mlock(mm, v, MLOCK_NONE);
    vma_merge(mm, 0, mm->max_addr);
    rwlock_unlock(&mm->mapping);
}

/* ---- msync ---- */

/* Writes one shared file mapping back, without our lock: a file system may take any of its own. */
static int msync_vma(struct mm *mm, struct vma *v, gva_t start, gva_t end)
{
    struct mapping_identity *id = v->id;
    struct mappable_range mr = {vma_offset(v, start), vma_offset(v, start) + (end - start)};
    id->ops->get(id);
    rwlock_unlock(&mm->mapping);
    int err = id->ops->msync(id, mr);
    id->ops->put(id);
    rwlock_read(&mm->mapping);
    return err;
}

int mm_msync(struct mm *mm, gva_t addr, uint64_t length, int flags)
{
    bool hole = false;
    int err = 0;

    if (flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC) ||
        (flags & (MS_ASYNC | MS_SYNC)) == (MS_ASYNC | MS_SYNC) || !page_aligned(addr))
        return -EINVAL;
    if (!page_up(length, &length) || addr + length < addr)
        return -ENOMEM;
    if (length == 0)
        return 0;

    gva_t end = addr + length;
    rwlock_read(&mm->mapping);
    while (addr < end && !err) {
        struct vma *v = vma_lower_bound(mm, addr);
        if (!v || v->node.start >= end) {
            hole = true;
            break;
        }
        if (v->node.start > addr) {
            hole = true;
            addr = v->node.start;
        }
        gva_t stop = MIN(v->node.end, end);
        if ((flags & MS_INVALIDATE) && v->mlock != MLOCK_NONE)
            err = -EBUSY;
        else if ((flags & MS_SYNC) && v->id && !(v->flags & VMA_PRIVATE))
            err = msync_vma(mm, v, addr, stop);
        addr = stop;
    }
    rwlock_unlock(&mm->mapping);
    return err ? err : hole ? -ENOMEM : 0;
}

/* ---- mincore ---- */

#define MINCORE_CHUNK 1024 /* pages at a time */

/* A stand-in for a PMA of what the mappable has at addr, as far as one piece reaches: pages of the
 * cache that nobody mapped yet. */
static bool mappable_look(struct vma *v, gva_t addr, gva_t end, struct pma *out)
{
    struct mappable_range required = {vma_offset(v, addr), vma_offset(v, addr) + PAGE_SIZE};
    struct mappable_range optional = {required.start, vma_offset(v, end)};
    struct translation t;
    int n = 0;
    int err = v->mappable->ops->translate(v->mappable, required, optional, ACCESS_READ, &t, 1, &n);
    check_translate_result(required, optional, ACCESS_READ, &t, n, err);
    if (n != 1)
        return false;
    *out = (struct pma){
        .node = {.start = addr, .end = addr + RANGE_LENGTH(t.source)},
        .file = t.file,
        .offset = t.offset,
    };
    return true;
}

/* Run by run of pages that a PMA covers, or none. */
static void mincore_vma(struct mm *mm, struct vma *v, gva_t start, gva_t end, unsigned char *vec)
{
    for (gva_t a = start, stop; a < end; vec += (stop - a) >> PAGE_SHIFT, a = stop) {
        struct pma *p = pma_lower_bound(mm, a), look;
        if (p && p->node.start <= a) {
            stop = MIN(p->node.end, end);
        } else {
            stop = p ? MIN(p->node.start, end) : end;
            p = NULL;
            if (v->mappable && mappable_look(v, a, stop, &look)) {
                stop = look.node.end;
                p = &look;
            } else if (v->mappable) {
                stop = a + PAGE_SIZE;
            }
        }
        if (p)
            pma_mincore(p, a, stop, vec);
        else
            memset(vec, 0, (stop - a) >> PAGE_SHIFT);
    }
}

/* Fills vec for [addr, end) as far as it goes; 0, or -ENOMEM at a hole. */
static int mincore_chunk(struct mm *mm, gva_t addr, gva_t end, unsigned char *vec)
{
    int err = 0;
    rwlock_read(&mm->mapping);
    rwlock_write(&mm->active);
    while (addr < end) {
        struct vma *v = vma_find(mm, addr);
        if (!v) {
            err = -ENOMEM;
            break;
        }
        gva_t stop = MIN(v->node.end, end);
        mincore_vma(mm, v, addr, stop, vec);
        vec += (stop - addr) >> PAGE_SHIFT;
        addr = stop;
    }
    rwlock_unlock(&mm->active);
    rwlock_unlock(&mm->mapping);
    return err;
}

int mm_mincore(struct mm *mm, gva_t addr, uint64_t length, gva_t vec)
{
    unsigned char buf[MINCORE_CHUNK];

    if (!page_aligned(addr))
        return -EINVAL;
    if (!mm_range_ok(mm, addr, length))
        return -ENOMEM;
    uint64_t pages = (length + PAGE_SIZE - 1) >> PAGE_SHIFT;
    if (!mm_range_ok(mm, vec, pages))
        return -EFAULT;
    while (pages) {
        uint64_t n = MIN(pages, (uint64_t)MINCORE_CHUNK);
        int err = mincore_chunk(mm, addr, addr + (n << PAGE_SHIFT), buf);
        if (!err)
            err = mm_copy_out(mm, vec, buf, n);
        if (err)
            return err;
        pages -= n;
        addr += n << PAGE_SHIFT;
        vec += n;
    }
    return 0;
}
