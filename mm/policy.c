/*
 * NUMA memory policies of ranges, for a machine with one node: they are kept with the VMAs and
 * told; every page is on that node whatever they say.
 */
#include "mm/mm_internal.h"
#include <errno.h>

static bool policy_equal(struct mm_policy a, struct mm_policy b)
{
    return a.mode == b.mode && a.flags == b.flags && a.nodes == b.nodes;
}

bool vma_same_policy(const struct vma *a, const struct vma *b)
{
    return policy_equal(a->policy, b->policy);
}

/* Whether VMAs cover all of [start, end). MM_MAPPING held. */
static bool fully_mapped(struct mm *mm, gva_t start, gva_t end)
{
    while (start < end) {
        struct vma *v = vma_find(mm, start);
        if (!v)
            return false;
        start = v->node.end;
    }
    return true;
}

static int set_range(struct mm *mm, gva_t start, gva_t end, struct mm_policy policy)
{
    if (!fully_mapped(mm, start, end))
        return -EFAULT;
    int err = vma_isolate(mm, start, end, 0);
    if (!err) {
        for (struct vma *v = vma_lower_bound(mm, start); v && v->node.start < end; v = vma_next(v))
            v->policy = policy;
    }
    vma_merge(mm, start, end);
    return err;
}

int mm_set_policy(struct mm *mm, gva_t addr, uint64_t length, struct mm_policy policy)
{
    if (!mm_range_ok(mm, addr, length))
        return -EFAULT;
    rwlock_write(&mm->mapping);
    int err = set_range(mm, addr, addr + length, policy);
    rwlock_unlock(&mm->mapping);
    return err;
}

int mm_get_policy(struct mm *mm, gva_t addr, struct mm_policy *out)
{
    rwlock_read(&mm->mapping);
    const struct vma *v = vma_find(mm, addr);
    if (v)
        *out = v->policy;
    rwlock_unlock(&mm->mapping);
    return v ? 0 : -EFAULT;
}

int mm_check_policies(struct mm *mm, gva_t addr, uint64_t length, bool (*ok)(struct mm_policy))
{
    if (!mm_range_ok(mm, addr, length))
        return -ENOENT;
    int err = -ENOENT;
    rwlock_read(&mm->mapping);
    struct vma *v = vma_lower_bound(mm, addr);
    for (; v && v->node.start < addr + length && err != -EOPNOTSUPP; v = vma_next(v)) {
        if (v->policy.mode)
            err = ok(v->policy) ? 0 : -EOPNOTSUPP;
    }
    rwlock_unlock(&mm->mapping);
    return err;
}

int mm_page_there(struct mm *mm, gva_t addr)
{
    int err = -ENOENT;
    rwlock_read(&mm->mapping);
    if (!vma_find(mm, addr)) {
        err = -EFAULT;
    } else {
        gva_t page = page_down(addr);
        unsigned char there = 0;
        rwlock_write(&mm->active);
        struct pma *p = pma_find(mm, page);
        if (p)
            pma_mincore(p, page, page + PAGE_SIZE, &there);
        rwlock_unlock(&mm->active);
        if (there)
            err = 0;
    }
    rwlock_unlock(&mm->mapping);
    return err;
}
