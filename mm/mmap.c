/*
 * mmap, munmap, mprotect and brk.
 */
#include "mm/mm_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

/* ---- munmap ---- */

static int unmap_pmas(struct mm *mm, gva_t start, gva_t end)
{
    struct batch b;
    rwlock_write(&mm->active);
    int err = pma_isolate(mm, start, end);
    if (!err) {
        batch_init(&b, mm);
        pma_remove(mm, start, end, &b);
        int ignored = batch_flush(&b); /* an error means that nothing at all is shown */
        (void)ignored;
    }
    rwlock_unlock(&mm->active);
    return err;
}

static void take_out(struct mm *mm, struct vma *v, struct vma_drop *drop)
{
    if (v->mappable)
        v->mappable->ops->remove_mapping(v->mappable, &mm->ms, node_range(&v->node), v->offset,
                                         vma_writable_mapping(v));
    vma_account(mm, v, node_length(&v->node), false);
    if (v->flags & VMA_ACCOUNT)
        mm_uncommit(mm->cfg, node_length(&v->node));
    range_set_remove(&mm->vmas, &v->node);
    v->drop_next = drop->first;
    drop->first = v;
}

int mm_unmap_locked(struct mm *mm, gva_t start, gva_t end, struct vma_drop *drop)
{
    struct vma *v = vma_lower_bound(mm, start);
    if (!v || v->node.start >= end)
        return 0;
    int err = vma_isolate(mm, start, end, 1);
    if (!err)
        err = unmap_pmas(mm, start, end);
    if (err) {
        vma_merge(mm, start, end);
        return err;
    }
    v = vma_lower_bound(mm, start);
    while (v && v->node.start < end) {
        struct vma *n = vma_next(v);
        take_out(mm, v, drop);
        v = n;
    }
    return 0;
}

int mm_munmap(struct mm *mm, gva_t addr, uint64_t length)
{
    struct vma_drop drop = {NULL};

    if (!page_aligned(addr) || length == 0 || !page_up(length, &length) || length == 0 ||
        !mm_range_ok(mm, addr, length))
        return -EINVAL;
    rwlock_write(&mm->mapping);
    int err = mm_unmap_locked(mm, addr, addr + length, &drop);
    rwlock_unlock(&mm->mapping);
    vma_drop_all(&drop);
    return err;
}

/* Whether v is a piece of what was attached at addr. */
static bool attached_at(const struct vma *v, gva_t addr, const struct mapping_identity_ops *ops)
{
    return v->id && v->id->ops == ops && v->node.start - addr == v->offset;
}

int mm_detach(struct mm *mm, gva_t addr, const struct mapping_identity_ops *ops)
{
    struct vma_drop drop = {NULL};
    const struct mapping_identity *id = NULL;
    int err = 0;

    rwlock_write(&mm->mapping);
    struct vma *v = vma_lower_bound(mm, addr), *next;
    for (; v && !err; v = next) {
        next = vma_next(v);
        if (v->node.start < addr || !attached_at(v, addr, ops) || (id && v->id != id))
            continue;
        id = v->id;
        err = mm_unmap_locked(mm, v->node.start, v->node.end, &drop);
    }
    rwlock_unlock(&mm->mapping);
    vma_drop_all(&drop);
    return id ? err : -EINVAL;
}

/* ---- mmap ---- */

static uint32_t vma_flags_of(struct mm *mm, const struct mmap_opts *o)
{
    uint32_t f = 0;
    bool strict = atomic_load(&mm->cfg->overcommit) == 2;
    if (o->is_private)
        f |= VMA_PRIVATE;
    if (o->grows_down)
        f |= VMA_GROWS_DOWN;
    if (o->is_vdso)
        f |= VMA_SPECIAL;
    if (o->noreserve && !strict)
        f |= VMA_NORESERVE;
    if (o->is_private && (o->perms & ACCESS_WRITE) && !(f & (VMA_NORESERVE | VMA_SPECIAL)))
        f |= VMA_ACCOUNT;
    return f;
}

/* Finds where the mapping goes. */
static int mmap_place(struct mm *mm, const struct mmap_opts *o, uint64_t length, gva_t *addr)
{
    if (!o->fixed) {
        struct gap_request rq = {
            .hint = o->addr,
            .length = length,
            .map_32bit = o->map_32bit,
            .huge = !o->mappable && length >= HUGE_PAGE_SIZE && length % HUGE_PAGE_SIZE == 0,
        };
        return vma_find_gap(mm, &rq, addr);
    }
    *addr = o->addr;
    if (!page_aligned(o->addr))
        return -EINVAL;
    if (!mm_range_ok(mm, o->addr, length))
        return -ENOMEM;
    if (!o->force && o->addr < mm->min_addr)
        return -EPERM;
    if (!o->unmap && range_set_intersects(&mm->vmas, o->addr, o->addr + length))
        return -EEXIST;
    return 0;
}

/* The limits of the process, for a mapping that replaces what is at [addr, addr + length). */
static int mmap_check_limits(struct mm *mm, const struct mmap_opts *o, uint32_t flags, gva_t addr,
                             uint64_t length, enum mlock_mode mlock)
{
    uint64_t replaced = o->unmap ? vma_mapped_bytes(mm, addr, addr + length) : 0;
    if (mm->vmas.count > atomic_load(&mm->cfg->max_map_count))
        return -ENOMEM;
    if (flags & VMA_SPECIAL)
        return 0;
    if (!mm_may_expand(mm, vma_is_data(flags, o->perms), length - replaced))
        return -ENOMEM;
    if (mlock != MLOCK_NONE && !mm_may_lock(mm, length))
        return -EAGAIN;
    return 0;
}

static struct vma *vma_create(const struct mmap_opts *o, uint32_t flags, enum mlock_mode mlock)
{
    struct vma *v = calloc(1, sizeof(*v));
    if (!v)
        return NULL;
    v->mappable = o->mappable;
    v->id = o->identity;
    v->offset = o->mappable ? o->offset : 0;
    v->flags = flags;
    v->perms = o->perms;
    v->effective = access_effective(o->perms);
    v->max = access_effective(o->max_perms);
    v->mlock = mlock;
    v->hint = o->hint;
    return v;
}

/* Enters v at [addr, addr + length); the references that v names are taken here. */
static int mmap_enter(struct mm *mm, struct vma *v, gva_t addr, uint64_t length)
{
    v->node.start = addr;
    v->node.end = addr + length;
    if (v->mappable) {
        int err = v->mappable->ops->add_mapping(v->mappable, &mm->ms, node_range(&v->node),
                                                v->offset, vma_writable_mapping(v));
        if (err)
            return err;
    }
    vma_open(v);
    range_set_insert(&mm->vmas, &v->node);
    vma_account(mm, v, length, true);
    vma_merge(mm, addr, addr + length);
    return 0;
}

static int mmap_locked(struct mm *mm, const struct mmap_opts *o, uint64_t length,
                       enum mlock_mode mlock, gva_t *addr, struct vma_drop *drop)
{
    uint32_t flags = vma_flags_of(mm, o);
    int err = mmap_place(mm, o, length, addr);
    if (!err)
        err = mmap_check_limits(mm, o, flags, *addr, length, mlock);
    if (err)
        return err;
    struct vma *v = vma_create(o, flags, mlock);
    if (!v)
        return -ENOMEM;
    if (flags & VMA_ACCOUNT)
        err = mm_commit(mm->cfg, length);
    if (!err) {
        if (o->unmap)
            err = mm_unmap_locked(mm, *addr, *addr + length, drop);
        if (!err)
            err = mmap_enter(mm, v, *addr, length);
        if (err && (flags & VMA_ACCOUNT))
            mm_uncommit(mm->cfg, length);
    }
    if (err)
        free(v);
    return err;
}

/* Shared anonymous memory is a mapping of an object of its own. */
static int mmap_shared_anon(struct mm *mm, const struct mmap_opts *opts, gva_t *addr)
{
    struct mmap_opts o = *opts;
    uint64_t length;
    if (!page_up(o.length, &length))
        return -ENOMEM;
    bool account = !o.noreserve || atomic_load(&mm->cfg->overcommit) == 2;
    int err = shared_anon_create(mm->cfg, length, account, &o.mappable, &o.identity);
    if (err)
        return err;
    o.offset = 0;
    err = mm_mmap(mm, &o, addr);
    o.identity->ops->put(o.identity);
    return err;
}

int mm_mmap(struct mm *mm, const struct mmap_opts *o, gva_t *addr)
{
    struct vma_drop drop = {NULL};
    uint64_t length = 0, end_offset;

    if (o->length == 0)
        return -EINVAL;
    if (!page_up(o->length, &length) || length > mm->max_addr)
        return -ENOMEM;
    if (o->mappable && !page_aligned(o->offset))
        return -EINVAL;
    if (o->mappable && __builtin_add_overflow(o->offset, length, &end_offset))
        return -EOVERFLOW;
    if (!o->mappable && !o->is_private)
        return mmap_shared_anon(mm, o, addr);

    rwlock_write(&mm->mapping);
    enum mlock_mode mlock = o->is_vdso ? MLOCK_NONE : MAX(o->mlock, mm->def_mlock);
    int err = mmap_locked(mm, o, length, mlock, addr, &drop);
    if (!err && !o->precommit && mlock != MLOCK_EAGER)
        mm_map_ahead(mm, *addr, *addr + length);
    rwlock_unlock(&mm->mapping);
    vma_drop_all(&drop);
    if (!err && (o->precommit || mlock == MLOCK_EAGER)) {
        int ignored = mm_populate(mm, *addr, *addr + length, 0); /* as MAP_POPULATE promises */
        (void)ignored;
    }
    return err;
}

/* ---- remap_file_pages ---- */

/* The request for a mapping like v, with a reference on v's identity. */
static struct mmap_opts opts_like(const struct vma *v)
{
    struct mmap_opts o = {
        .mappable = v->mappable,
        .identity = v->id,
        .perms = v->perms,
        .max_perms = v->max,
        .fixed = true,
        .unmap = true,
        .precommit = true,
        .mlock = v->mlock,
        .hint = v->hint,
    };
    if (o.identity)
        o.identity->ops->get(o.identity);
    return o;
}

/* Whether [addr, end) is one mapping of one file, if in several VMAs. */
static bool same_file(struct mm *mm, const struct vma *v, gva_t addr, gva_t end)
{
    if (!vma_covers(mm, addr, end))
        return false;
    for (struct vma *n = vma_find(mm, addr); n && n->node.start < end; n = vma_next(n))
        if (n->mappable != v->mappable || n->id != v->id || n->flags != v->flags)
            return false;
    return true;
}

int mm_remap_file_pages(struct mm *mm, gva_t addr, uint64_t length, uint64_t offset)
{
    struct mmap_opts o;
    gva_t ignored;

    if (!mm_range_ok(mm, addr, length))
        return -EINVAL;
    rwlock_read(&mm->mapping);
    const struct vma *v = vma_find(mm, addr);
    bool ok =
        v && !(v->flags & (VMA_PRIVATE | VMA_SPECIAL)) && same_file(mm, v, addr, addr + length);
    if (ok)
        o = opts_like(v);
    rwlock_unlock(&mm->mapping);
    if (!ok)
        return -EINVAL;
    o.addr = addr;
    o.length = length;
    o.offset = offset;
    int err = mm_mmap(mm, &o, &ignored);
    if (o.identity)
        o.identity->ops->put(o.identity);
    return err;
}

/* ---- mprotect ---- */

/* Whether v may get `perms`, and what it costs: charges Committed_AS for private pages that become
 * writable. */
static int protect_check(struct mm *mm, struct vma *v, access_t perms)
{
    if (v->flags & VMA_SPECIAL)
        return v->perms == perms ? 0 : -EACCES;
    if (access_effective(perms) & ~v->max)
        return -EACCES;
    bool becomes_data = !vma_is_data(v->flags, v->perms) && vma_is_data(v->flags, perms);
    uint64_t length = node_length(&v->node), sum;
    if (becomes_data && (__builtin_add_overflow(mm->data_vm, length, &sum) ||
                         sum > atomic_load(&mm_limits(mm)->data)))
        return -ENOMEM;
    if ((v->flags & VMA_PRIVATE) && (perms & ACCESS_WRITE) &&
        !(v->flags & (VMA_ACCOUNT | VMA_NORESERVE))) {
        int err = mm_commit(mm->cfg, length);
        if (err)
            return err;
        v->flags |= VMA_ACCOUNT;
    }
    return 0;
}

static void protect_vma(struct mm *mm, struct vma *v, access_t perms, struct batch *b)
{
    vma_account(mm, v, node_length(&v->node), false);
    v->perms = perms;
    v->effective = access_effective(perms);
    vma_account(mm, v, node_length(&v->node), true);
    pma_update(mm, v, v->node.start, v->node.end, b);
}

/* Changes VMA by VMA, as Linux does: what precedes the first bad one stays changed. */
static int protect_locked(struct mm *mm, gva_t start, gva_t end, access_t perms)
{
    struct batch b;
    int err = vma_isolate(mm, start, end, 0);
    if (err)
        return err;
    rwlock_write(&mm->active);
    batch_init(&b, mm);
    err = pma_isolate(mm, start, end);
    gva_t addr = start;
    for (struct vma *v = vma_find(mm, start); !err && addr < end; v = vma_next(v)) {
        if (!v || v->node.start != addr) {
            err = -ENOMEM;
            break;
        }
        addr = v->node.end;
        if (v->perms == perms)
            continue;
        err = protect_check(mm, v, perms);
        if (!err && addr < end) /* the PMAs of this VMA alone */
            err = pma_isolate(mm, v->node.start, addr);
        if (!err)
            protect_vma(mm, v, perms, &b);
    }
    int ignored = batch_flush(&b); /* an error means that nothing is shown at all */
    (void)ignored;
    pma_merge(mm, start, end);
    rwlock_unlock(&mm->active);
    return err;
}

static access_t access_of_prot(int prot)
{
    return (access_t)((prot & PROT_READ ? ACCESS_READ : 0) |
                      (prot & PROT_WRITE ? ACCESS_WRITE : 0) |
                      (prot & PROT_EXEC ? ACCESS_EXEC : 0));
}

int mm_mprotect(struct mm *mm, gva_t addr, uint64_t length, int prot)
{
    int grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);
    access_t perms = access_of_prot(prot);
    gva_t start = addr;

    if (grows == (PROT_GROWSDOWN | PROT_GROWSUP) || !page_aligned(addr))
        return -EINVAL;
    if (length == 0)
        return 0;
    if (!page_up(length, &length) || length == 0 || !mm_range_ok(mm, addr, length))
        return -ENOMEM;
    if (prot & ~(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_GROWSDOWN | PROT_GROWSUP | 0x8))
        return -EINVAL;

    rwlock_write(&mm->mapping);
    int err = 0;
    if (grows) {
        struct vma *v = vma_lower_bound(mm, addr);
        if (!v || v->node.start >= addr + length)
            err = -ENOMEM;
        else if (grows == PROT_GROWSUP || !(v->flags & VMA_GROWS_DOWN))
            err = -EINVAL;
        else
            start = v->node.start;
    } else if (!vma_find(mm, addr)) {
        err = -ENOMEM;
    }
    if (!err)
        err = protect_locked(mm, start, addr + length, perms);
    vma_merge(mm, start, addr + length);
    rwlock_unlock(&mm->mapping);
    return err;
}

/* ---- brk ---- */

void mm_set_brk(struct mm *mm, gva_t start)
{
    mutex_lock(&mm->info_lock);
    mm->info.start_brk = mm->info.brk = start;
    mutex_unlock(&mm->info_lock);
}

/* Whether the heap may reach up to `end`: RLIMIT_DATA counts the program's data segment too. */
static bool brk_allowed(struct mm *mm, gva_t start_brk, gva_t end)
{
    uint64_t limit = atomic_load(&mm_limits(mm)->data);
    uint64_t data =
        mm->info.end_data > mm->info.start_data ? mm->info.end_data - mm->info.start_data : 0;
    return limit == UINT64_MAX || (end - start_brk <= limit && data <= limit - (end - start_brk));
}

static int brk_grow(struct mm *mm, gva_t old_end, gva_t new_end, struct vma_drop *drop)
{
    struct mmap_opts o = {
        .length = new_end - old_end,
        .addr = old_end,
        .perms = ACCESS_READ | ACCESS_WRITE,
        .max_perms = ACCESS_ANY,
        .is_private = true,
        .fixed = true,
    };
    const struct vma *next = vma_lower_bound(mm, old_end);
    gva_t claim = next ? vma_guarded_start(next) : mm->max_addr;
    gva_t ignored;

    if (claim < new_end || claim - new_end < PAGE_SIZE) /* a page stays free, as in Linux */
        return -ENOMEM;
    return mmap_locked(mm, &o, o.length, mm->def_mlock, &ignored, drop);
}

static int brk_move(struct mm *mm, gva_t old_end, gva_t new_end, struct vma_drop *drop)
{
    if (new_end > old_end)
        return brk_grow(mm, old_end, new_end, drop);
    if (new_end < old_end)
        return mm_unmap_locked(mm, new_end, old_end, drop);
    return 0;
}

gva_t mm_brk(struct mm *mm, gva_t addr)
{
    struct vma_drop drop = {NULL};
    uint64_t old_end, new_end;
    bool populate = false;

    rwlock_write(&mm->mapping);
    mutex_lock(&mm->info_lock);
    gva_t start = mm->info.start_brk, brk = mm->info.brk;
    bool ok = addr >= start && addr <= mm->max_addr && brk_allowed(mm, start, addr);
    mutex_unlock(&mm->info_lock);

    if (ok && page_up(brk, &old_end) && page_up(addr, &new_end) &&
        brk_move(mm, old_end, new_end, &drop) == 0) {
        mutex_lock(&mm->info_lock);
        mm->info.brk = brk = addr;
        mutex_unlock(&mm->info_lock);
        populate = new_end > old_end && mm->def_mlock == MLOCK_EAGER;
    }
    rwlock_unlock(&mm->mapping);
    vma_drop_all(&drop);
    if (populate) {
        int ignored = mm_populate(mm, old_end, new_end, 0);
        (void)ignored;
    }
    return brk;
}
