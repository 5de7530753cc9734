/*
 * madvise(2), row by row, and names of anonymous memory.
 */
#include "mm/mm_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_COLD
#define MADV_COLD 20
#define MADV_PAGEOUT 21
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

/* ---- giving memory back ---- */

/* Private pages that nobody shares are emptied where they are: the platform goes on showing them,
 * and they read as zero. Others are let go. */
static void discard_pma(struct mm *mm, struct pma *p, struct batch *b)
{
    struct file_range fr = pma_file_range(p, p->node.start, p->node.end);
    if (p->is_private && !p->need_cow && memory_file_exclusive(mm_memory(mm), fr))
        memory_file_decommit(mm_memory(mm), fr);
    else
        pma_remove(mm, p->node.start, p->node.end, b);
}

static int discard(struct mm *mm, const struct vma *v, gva_t start, gva_t end)
{
    struct batch b;
    rwlock_write(&mm->active);
    batch_init(&b, mm);
    int err = pma_isolate(mm, start, end);
    struct pma *p = err ? NULL : pma_lower_bound(mm, start);
    while (p && p->node.start < end) {
        struct pma *n = pma_next(p);
        if (v->mappable)
            pma_remove(mm, p->node.start, p->node.end, &b);
        else
            discard_pma(mm, p, &b);
        p = n;
    }
    int ignored = batch_flush(&b); /* an error means that nothing is shown at all */
    (void)ignored;
    pma_merge(mm, start, end);
    rwlock_unlock(&mm->active);
    return err;
}

/* ---- the rows ---- */

/* Applies advice to [start, end), a part of v. Called with MM_MAPPING held for reading. */
typedef int (*advice_fn)(struct mm *mm, struct vma *v, gva_t start, gva_t end);

static int advise_nothing(UNUSED struct mm *mm, UNUSED struct vma *v, UNUSED gva_t start,
                          UNUSED gva_t end)
{
    return 0;
}

static int advise_dontneed(struct mm *mm, struct vma *v, gva_t start, gva_t end)
{
    if (v->mlock != MLOCK_NONE || (v->flags & VMA_SPECIAL))
        return -EINVAL;
    return discard(mm, v, start, end);
}

static int advise_dontneed_locked(struct mm *mm, struct vma *v, gva_t start, gva_t end)
{
    return v->flags & VMA_SPECIAL ? -EINVAL : discard(mm, v, start, end);
}

/* "The kernel may free the pages at any time": now. */
static int advise_free(struct mm *mm, struct vma *v, gva_t start, gva_t end)
{
    if (v->mappable || v->mlock != MLOCK_NONE || (v->flags & VMA_SPECIAL))
        return -EINVAL;
    return discard(mm, v, start, end);
}

static int advise_cold(UNUSED struct mm *mm, struct vma *v, UNUSED gva_t start, UNUSED gva_t end)
{
    return v->mlock != MLOCK_NONE || (v->flags & VMA_SPECIAL) ? -EINVAL : 0;
}

struct advice {
    int advice;
    advice_fn fn;        /* NULL: changes flags */
    uint32_t set, clear; /* VMA_* */
    bool anon_only;      /* -EINVAL on mappings of files */
};

static const struct advice advices[] = {
    {MADV_NORMAL, NULL, 0, VMA_RANDOM | VMA_SEQUENTIAL, false},
    {MADV_RANDOM, NULL, VMA_RANDOM, VMA_SEQUENTIAL, false},
    {MADV_SEQUENTIAL, NULL, VMA_SEQUENTIAL, VMA_RANDOM, false},
    {MADV_WILLNEED, advise_nothing, 0, 0, false},
    {MADV_DONTNEED, advise_dontneed, 0, 0, false},
    {MADV_DONTNEED_LOCKED, advise_dontneed_locked, 0, 0, false},
    {MADV_FREE, advise_free, 0, 0, false},
    {MADV_DONTFORK, NULL, VMA_DONT_FORK, 0, false},
    {MADV_DOFORK, NULL, 0, VMA_DONT_FORK, false},
    {MADV_WIPEONFORK, NULL, VMA_WIPE_ON_FORK, 0, true},
    {MADV_KEEPONFORK, NULL, 0, VMA_WIPE_ON_FORK, false},
    {MADV_DONTDUMP, NULL, VMA_DONT_DUMP, 0, false},
    {MADV_DODUMP, NULL, 0, VMA_DONT_DUMP, false},
    {MADV_HUGEPAGE, NULL, VMA_HUGEPAGE, VMA_NOHUGEPAGE, false},
    {MADV_NOHUGEPAGE, NULL, VMA_NOHUGEPAGE, VMA_HUGEPAGE, false},
    {MADV_COLD, advise_cold, 0, 0, false},
    {MADV_PAGEOUT, advise_cold, 0, 0, false},
};

static const struct advice *find_advice(int advice)
{
    for (size_t i = 0; i < ARRAY_SIZE(advices); i++)
        if (advices[i].advice == advice)
            return &advices[i];
    return NULL;
}

static int advise_flags(struct vma *v, const struct advice *ad)
{
    if (ad->anon_only && v->mappable)
        return -EINVAL;
    if ((v->flags & VMA_SPECIAL) && (ad->clear & (VMA_DONT_FORK | VMA_DONT_DUMP)))
        return -EINVAL;
    v->flags = (v->flags & ~ad->clear) | ad->set;
    return 0;
}

/* Goes through [start, end); holes are skipped, and reported at the end, as Linux does. */
static int advise_range(struct mm *mm, gva_t start, gva_t end, const struct advice *ad)
{
    bool hole = false;
    int err = 0;
    gva_t addr = start;

    if (!ad->fn)
        err = vma_isolate(mm, start, end, 0);
    for (struct vma *v = vma_lower_bound(mm, start); !err && addr < end; v = vma_next(v)) {
        if (!v || v->node.start >= end) {
            hole = true;
            break;
        }
        hole = hole || v->node.start > addr;
        gva_t from = MAX(v->node.start, addr);
        addr = MIN(v->node.end, end);
        err = ad->fn ? ad->fn(mm, v, from, addr) : advise_flags(v, ad);
    }
    if (!ad->fn)
        vma_merge(mm, start, end);
    return err ? err : hole ? -ENOMEM : 0;
}

/* Frees what a shared mapping shows, without our lock: a file system may take any of its own. */
static int remove_vma(struct mm *mm, struct vma *v, gva_t start, gva_t end)
{
    struct mapping_identity *id = v->id;
    uint64_t offset = vma_offset(v, start);

    if (v->mlock != MLOCK_NONE || !id)
        return -EINVAL;
    if ((v->flags & VMA_PRIVATE) || !(v->max & ACCESS_WRITE))
        return -EACCES;
    if (!id->ops->punch)
        return -EOPNOTSUPP;
    id->ops->get(id);
    rwlock_unlock(&mm->mapping);
    int err = id->ops->punch(id, (struct mappable_range){offset, offset + (end - start)});
    id->ops->put(id);
    rwlock_read(&mm->mapping);
    return err;
}

static int advise_remove(struct mm *mm, gva_t start, gva_t end)
{
    bool hole = false;
    int err = 0;
    gva_t addr = start;

    rwlock_read(&mm->mapping);
    while (!err && addr < end) {
        struct vma *v = vma_lower_bound(mm, addr);
        if (!v || v->node.start >= end) {
            hole = true;
            break;
        }
        hole = hole || v->node.start > addr;
        gva_t from = MAX(v->node.start, addr);
        addr = MIN(v->node.end, end);
        err = remove_vma(mm, v, from, addr);
    }
    rwlock_unlock(&mm->mapping);
    return err ? err : hole ? -ENOMEM : 0;
}

static int advise_populate(struct mm *mm, gva_t start, gva_t end, access_t at)
{
    int err = mm_populate(mm, start, end, at);
    return err == -EBUSERR ? -EFAULT : err;
}

int mm_madvise(struct mm *mm, gva_t addr, uint64_t length, int advice)
{
    const struct advice *ad = find_advice(advice);
    bool populate = advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE;
    bool known = ad || populate || advice == MADV_REMOVE;
    uint64_t rounded;

    if (!known || !page_aligned(addr) || !page_up(length, &rounded) || addr + rounded < addr)
        return -EINVAL;
    if (rounded == 0)
        return 0;
    if (!mm_range_ok(mm, addr, rounded))
        return -ENOMEM;
    if (populate)
        return advise_populate(mm, addr, addr + rounded,
                               advice == MADV_POPULATE_READ ? ACCESS_READ : ACCESS_WRITE);
    if (advice == MADV_REMOVE)
        return advise_remove(mm, addr, addr + rounded);
    if (ad->fn)
        rwlock_read(&mm->mapping);
    else
        rwlock_write(&mm->mapping);
    int err = advise_range(mm, addr, addr + rounded, ad);
    rwlock_unlock(&mm->mapping);
    return err;
}

/* ---- names ---- */

static struct anon_name *anon_name_create(const char *name)
{
    size_t n = strlen(name) + 1;
    struct anon_name *an = malloc(sizeof(*an) + n);
    if (!an)
        return NULL;
    ref_init(&an->ref);
    memcpy(an->text, name, n);
    return an;
}

static void anon_name_set(struct vma *v, struct anon_name *name)
{
    struct anon_name *old = v->name;
    if (name)
        ref_get(&name->ref);
    v->name = name;
    anon_name_put(old);
}

static int name_range(struct mm *mm, gva_t start, gva_t end, struct anon_name *name)
{
    bool hole = false;
    gva_t addr = start;
    int err = vma_isolate(mm, start, end, 0);
    for (struct vma *v = vma_lower_bound(mm, start); !err && addr < end; v = vma_next(v)) {
        if (!v || v->node.start >= end) {
            hole = true;
            break;
        }
        hole = hole || v->node.start > addr;
        addr = v->node.end;
        if (v->mappable)
            err = -EBADF;
        else
            anon_name_set(v, name);
    }
    vma_merge(mm, start, end);
    return err ? err : hole ? -ENOMEM : 0;
}

int mm_set_anon_name(struct mm *mm, gva_t addr, uint64_t length, const char *name)
{
    struct anon_name *an = NULL;

    if (!page_aligned(addr) || !page_up(length, &length))
        return -EINVAL;
    if (length == 0)
        return 0;
    if (!mm_range_ok(mm, addr, length))
        return -ENOMEM;
    if (name) {
        an = anon_name_create(name);
        if (!an)
            return -ENOMEM;
    }
    rwlock_write(&mm->mapping);
    int err = name_range(mm, addr, addr + length, an);
    rwlock_unlock(&mm->mapping);
    anon_name_put(an);
    return err;
}
