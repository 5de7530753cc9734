/*
 * Walks that change tables: one recursive function for each kind of change, a level a call. A table
 * that moves when it is written has its new address stored by its parent's call, which may move in
 * turn: that is how a change reaches the root.
 */
#include "platform/kvm/pagetables/internal.h"
#include <string.h>

struct change {
    struct pt *pt;
    uint64_t flags;
    uint64_t parent_flags; /* of fresh parents */
    uint64_t parent_add;   /* added to parents that exist */
    uint64_t max_size;
    uint64_t pa_minus_va; /* map: what to add to an address to get its frame */
    struct pt_obligation must;
    bool hit; /* something present was met */
    uint64_t done;
};

/* What the entry of a page gets: one that must be copied before it is written is never writable. */
static uint64_t page_flags(uint64_t flags)
{
    uint64_t refused = flags & PT_COW ? PT_WRITE : 0;
    return (flags & PT_FLAGS_MASK & ~refused) | PT_PRESENT;
}

/* A table in a walk: its entries for reading, and for writing once somebody asked. */
struct table {
    pt_phys_t *pa;
    const uint64_t *r;
    uint64_t *w;
};

static enum pt_error table_open(struct change *c, pt_phys_t *pa, struct table *t)
{
    t->pa = pa;
    t->w = NULL;
    t->r = c->pt->ops->read(c->pt->arg, *pa);
    return t->r ? PT_OK : PT_CORRUPT;
}

static bool table_writable(struct change *c, struct table *t)
{
    if (likely(t->w != NULL))
        return true;
    t->w = c->pt->ops->write(c->pt->arg, t->pa);
    if (!t->w)
        return false;
    t->r = t->w;
    return true;
}

static void entry_store(struct table *t, unsigned i, uint64_t value)
{
    __atomic_store_n(&t->w[i], value, __ATOMIC_RELEASE);
}

static void must_flush(struct change *c, pt_virt_t first, pt_virt_t last)
{
    pt_virt_t end = last == UINT64_MAX ? UINT64_MAX : last + 1;
    if (c->must.start == c->must.end) {
        c->must.start = first;
        c->must.end = end;
    } else {
        c->must.start = MIN(c->must.start, first);
        c->must.end = MAX(c->must.end, end);
    }
}

/* Frees the table at pa and all below it; what is no table (a corrupt entry) is left alone. It goes
 * before its children: if one of them leads back to it, it is a table no more. */
static void free_tables(struct pt *pt, pt_phys_t pa, int level)
{
    uint64_t entries[PT_ENTRIES];
    const uint64_t *r = pt->ops->read(pt->arg, pa);
    if (!r)
        return;
    if (level > 1)
        memcpy(entries, r, sizeof entries);
    pt->ops->free(pt->arg, pa);
    for (unsigned i = 0; level > 1 && i < PT_ENTRIES; i++) {
        uint64_t e = entries[i];
        if ((e & PT_PRESENT) && !is_leaf(e, level))
            free_tables(pt, e & PT_FRAME_MASK, level - 1);
    }
}

/* Whether any page is mapped below entry e of a table at this level. */
static bool maps_something(const struct pt *pt, uint64_t e, int level)
{
    if (!(e & PT_PRESENT))
        return false;
    if (is_leaf(e, level))
        return true;
    const uint64_t *r = pt->ops->read(pt->arg, e & PT_FRAME_MASK);
    for (unsigned i = 0; r && i < PT_ENTRIES; i++) {
        if (maps_something(pt, r[i], level - 1))
            return true;
    }
    return false;
}

/* A child table that says in 512 entries what the large page e says in one. 0: no table left. */
static pt_phys_t split_entry(struct change *c, uint64_t e, int level)
{
    pt_phys_t child = c->pt->ops->alloc(c->pt->arg);
    if (!child)
        return 0;
    uint64_t *w = c->pt->ops->write(c->pt->arg, &child);
    if (!w) {
        c->pt->ops->free(c->pt->arg, child);
        return 0;
    }
    uint64_t flags = e & ~PT_FRAME_MASK;
    if (level - 1 == 1)
        flags &= ~PT_HUGE;
    for (unsigned i = 0; i < PT_ENTRIES; i++)
        w[i] = ((e & PT_FRAME_MASK) + i * entry_span(level - 1)) | flags;
    return child;
}

/*
 * The child table of entry i: the one that is there, the halves of a large page, or (create) a
 * fresh one. *link says whether the entry must be written once the child is ready.
 */
static enum pt_error child_table(struct change *c, struct table *t, unsigned i, int level,
                                 pt_phys_t *child, bool *fresh)
{
    uint64_t e = t->r[i];
    *fresh = false;
    if ((e & PT_PRESENT) && (e & PT_HUGE) && level == 4)
        return PT_CORRUPT;
    if (!(e & PT_PRESENT)) {
        *child = c->pt->ops->alloc(c->pt->arg);
        *fresh = true;
    } else if (is_leaf(e, level)) {
        *child = split_entry(c, e, level);
        *fresh = true;
    } else {
        *child = e & PT_FRAME_MASK;
    }
    return *child ? PT_OK : PT_NO_TABLE;
}

/* After a walk below entry i: stores the child's address if it is new or moved. */
static enum pt_error link_child(struct change *c, struct table *t, unsigned i, int level,
                                pt_virt_t va, pt_phys_t child, bool fresh)
{
    uint64_t e = t->r[i];
    bool was_leaf = (e & PT_PRESENT) && is_leaf(e, level);
    if (!fresh && child == (e & PT_FRAME_MASK) && (e & c->parent_add) == c->parent_add)
        return PT_OK;
    if (!table_writable(c, t))
        return PT_READ_ONLY;
    uint64_t flags = fresh ? c->parent_flags | PT_PRESENT : (e & ~PT_FRAME_MASK) | c->parent_add;
    entry_store(t, i, child | flags);
    if (was_leaf || (!fresh && child != (e & PT_FRAME_MASK))) {
        pt_virt_t start = va & ~(entry_span(level) - 1);
        must_flush(c, start, start | (entry_span(level) - 1));
        c->must.tables = true;
    }
    return PT_OK;
}

typedef enum pt_error (*level_fn)(struct change *c, int level, pt_phys_t *pa, pt_virt_t va,
                                  pt_virt_t last);

/* Goes on below entry i, which [va, last] lies in, with a table of its own if it has none. */
static enum pt_error descend(struct change *c, struct table *t, unsigned i, int level, pt_virt_t va,
                             pt_virt_t last, level_fn below)
{
    pt_phys_t child;
    bool fresh;
    enum pt_error err = child_table(c, t, i, level, &child, &fresh);
    if (err)
        return err;
    uint64_t before = c->done;
    err = below(c, level - 1, &child, va, last);
    if (fresh && c->done == before && !(t->r[i] & PT_PRESENT)) {
        free_tables(c->pt, child, level - 1);
        return err;
    }
    enum pt_error linked = link_child(c, t, i, level, va, child, fresh);
    return err ? err : linked;
}

/* ---- map ---- */

static enum pt_error map_pages(struct change *c, pt_phys_t *pa, pt_virt_t va, pt_virt_t last)
{
    struct table t;
    enum pt_error err = table_open(c, pa, &t);
    if (err)
        return err;
    if (!table_writable(c, &t))
        return PT_READ_ONLY;
    unsigned first = entry_index(va, 1), end = entry_index(last, 1);
    uint64_t value = (va + c->pa_minus_va) | c->flags;
    for (unsigned i = first; i <= end; i++, value += PT_SIZE_4K) {
        uint64_t old = t.w[i];
        if (old & PT_PRESENT) {
            c->hit = true;
            if ((old ^ value) & ~(PT_ACCESSED | PT_DIRTY)) {
                pt_virt_t at = va + (uint64_t)(i - first) * PT_SIZE_4K;
                must_flush(c, at, at + PT_SIZE_4K - 1);
            }
        }
        entry_store(&t, i, value);
    }
    c->done += (uint64_t)(end - first + 1) * PT_SIZE_4K;
    return PT_OK;
}

static bool fits_large(const struct change *c, pt_virt_t va, pt_virt_t entry_end, int level)
{
    uint64_t span = entry_span(level);
    return level <= 3 && span <= c->max_size && (va & (span - 1)) == 0 &&
           entry_end - va == span - 1 && ((va + c->pa_minus_va) & (span - 1)) == 0;
}

static enum pt_error map_large(struct change *c, struct table *t, unsigned i, int level,
                               pt_virt_t va)
{
    uint64_t old = t->r[i];
    if (!table_writable(c, t))
        return PT_READ_ONLY;
    bool had_table = (old & PT_PRESENT) && !is_leaf(old, level);
    bool had_pages = maps_something(c->pt, old, level);
    entry_store(t, i, (va + c->pa_minus_va) | c->flags | PT_HUGE);
    if (had_pages || had_table)
        must_flush(c, va, va | (entry_span(level) - 1));
    c->hit |= had_pages;
    if (had_table) {
        c->must.tables = true;
        free_tables(c->pt, old & PT_FRAME_MASK, level - 1);
    }
    c->done += entry_span(level);
    return PT_OK;
}

static enum pt_error map_level(struct change *c, int level, pt_phys_t *pa, pt_virt_t va,
                               pt_virt_t last)
{
    if (level == 1)
        return map_pages(c, pa, va, last);
    struct table t;
    enum pt_error err = table_open(c, pa, &t);
    while (err == PT_OK) {
        unsigned i = entry_index(va, level);
        pt_virt_t entry_end = entry_last(va, last, level);
        if (fits_large(c, va, entry_end, level)) {
            err = map_large(c, &t, i, level, va);
        } else {
            err = descend(c, &t, i, level, va, entry_end, map_level);
        }
        if (entry_end == last)
            break;
        va = entry_end + 1;
    }
    return err;
}

/* ---- unmap and protect ---- */

static enum pt_error unmap_pages(struct change *c, pt_phys_t *pa, pt_virt_t va, pt_virt_t last)
{
    struct table t;
    enum pt_error err = table_open(c, pa, &t);
    if (err)
        return err;
    unsigned first = entry_index(va, 1), end = entry_index(last, 1);
    for (unsigned i = first; i <= end; i++) {
        if (!(t.r[i] & PT_PRESENT))
            continue;
        if (!table_writable(c, &t))
            return PT_READ_ONLY;
        pt_virt_t at = va + (uint64_t)(i - first) * PT_SIZE_4K;
        entry_store(&t, i, 0);
        must_flush(c, at, at + PT_SIZE_4K - 1);
        c->hit = true;
    }
    c->done += (uint64_t)(end - first + 1) * PT_SIZE_4K;
    return PT_OK;
}

/* Forgets entry i, which lies wholly in the range, with everything below it. */
static enum pt_error unmap_entry(struct change *c, struct table *t, unsigned i, int level,
                                 pt_virt_t va)
{
    uint64_t old = t->r[i];
    if (!table_writable(c, t))
        return PT_READ_ONLY;
    c->hit |= maps_something(c->pt, old, level);
    entry_store(t, i, 0);
    must_flush(c, va, va | (entry_span(level) - 1));
    if (!is_leaf(old, level)) {
        c->must.tables = true;
        free_tables(c->pt, old & PT_FRAME_MASK, level - 1);
    }
    c->done += entry_span(level);
    return PT_OK;
}

static enum pt_error unmap_level(struct change *c, int level, pt_phys_t *pa, pt_virt_t va,
                                 pt_virt_t last)
{
    if (level == 1)
        return unmap_pages(c, pa, va, last);
    struct table t;
    enum pt_error err = table_open(c, pa, &t);
    while (err == PT_OK) {
        unsigned i = entry_index(va, level);
        pt_virt_t entry_end = entry_last(va, last, level);
        if (!(t.r[i] & PT_PRESENT)) {
            c->done += entry_end - va + 1;
        } else if (entry_end - va == entry_span(level) - 1 &&
                   (is_leaf(t.r[i], level) || !c->pt->keep_tables)) {
            err = unmap_entry(c, &t, i, level, va);
        } else {
            err = descend(c, &t, i, level, va, entry_end, unmap_level);
        }
        if (entry_end == last)
            break;
        va = entry_end + 1;
    }
    return err;
}

static uint64_t with_flags(uint64_t entry, uint64_t flags, int level)
{
    uint64_t kept = PT_FRAME_MASK | PT_ACCESSED | PT_DIRTY | (level > 1 ? PT_HUGE : 0);
    return (entry & kept) | flags;
}

static enum pt_error protect_level(struct change *c, int level, pt_phys_t *pa, pt_virt_t va,
                                   pt_virt_t last)
{
    struct table t;
    enum pt_error err = table_open(c, pa, &t);
    while (err == PT_OK) {
        unsigned i = entry_index(va, level);
        pt_virt_t entry_end = entry_last(va, last, level);
        uint64_t old = t.r[i];
        if (!(old & PT_PRESENT)) {
            c->done += entry_end - va + 1;
        } else if (is_leaf(old, level) && entry_end - va == entry_span(level) - 1) {
            uint64_t value = with_flags(old, c->flags, level);
            c->hit = true;
            c->done += entry_span(level);
            if (value != old) {
                if (!table_writable(c, &t))
                    return PT_READ_ONLY;
                entry_store(&t, i, value);
                must_flush(c, va, entry_end);
            }
        } else {
            err = descend(c, &t, i, level, va, entry_end, protect_level);
        }
        if (entry_end == last)
            break;
        va = entry_end + 1;
    }
    return err;
}

/* ---- clean-up ---- */

static bool table_empty(const uint64_t *r)
{
    for (unsigned i = 0; i < PT_ENTRIES; i++) {
        if (r[i] & PT_PRESENT)
            return false;
    }
    return true;
}

static enum pt_error clean_level(struct change *c, int level, pt_phys_t *pa, pt_virt_t va,
                                 pt_virt_t last)
{
    struct table t;
    enum pt_error err = table_open(c, pa, &t);
    while (err == PT_OK) {
        unsigned i = entry_index(va, level);
        pt_virt_t entry_end = entry_last(va, last, level);
        uint64_t e = t.r[i];
        if (level > 1 && (e & PT_PRESENT) && !is_leaf(e, level)) {
            pt_phys_t child = e & PT_FRAME_MASK;
            if (level > 2)
                err = clean_level(c, level - 1, &child, va, entry_end);
            const uint64_t *r = c->pt->ops->read(c->pt->arg, child);
            if (!r)
                return PT_CORRUPT;
            if (err == PT_OK && table_empty(r)) {
                if (!table_writable(c, &t))
                    return PT_READ_ONLY;
                entry_store(&t, i, 0);
                c->hit = true;
                pt_virt_t start = va & ~(entry_span(level) - 1);
                must_flush(c, start, start | (entry_span(level) - 1));
                c->must.tables = true;
                c->pt->ops->free(c->pt->arg, child);
            } else {
                enum pt_error linked = link_child(c, &t, i, level, va, child, false);
                err = err ? err : linked;
            }
        }
        if (entry_end == last)
            break;
        va = entry_end + 1;
    }
    return err;
}

/* ---- the public range calls ---- */

static struct pt_obligation run(struct change *c, level_fn fn, pt_virt_t va, uint64_t length,
                                struct pt_status *st)
{
    pt_virt_t last;
    enum pt_error err = pt_check_range(va, length, &last);
    if (err == PT_OK && c->pt->upper_start && last >= c->pt->upper_start)
        err = PT_SHARED;
    if (err == PT_OK)
        err = fn(c, 4, &c->pt->root, va, last);
    *st = (struct pt_status){.err = err, .replaced = c->hit, .done = err ? c->done : length};
    return c->must;
}

struct pt_obligation pt_map(struct pt *pt, pt_virt_t va, uint64_t length, pt_phys_t pa,
                            uint64_t flags, uint64_t max_size, struct pt_status *st)
{
    struct change c = {.pt = pt,
                       .flags = page_flags(flags),
                       .parent_flags = PT_PARENT_DEFAULT,
                       .parent_add = PT_PARENT_DEFAULT,
                       .max_size = max_size,
                       .pa_minus_va = pa - va};
    uint64_t end;
    if ((pa & (PT_SIZE_4K - 1)) || __builtin_add_overflow(pa, length, &end) ||
        end > PT_FRAME_MASK + PT_SIZE_4K) {
        *st = (struct pt_status){.err = PT_BAD_FRAME};
        return c.must;
    }
    return run(&c, map_level, va, length, st);
}

struct pt_obligation pt_unmap(struct pt *pt, pt_virt_t va, uint64_t length, struct pt_status *st)
{
    struct change c = {.pt = pt, .parent_flags = PT_PARENT_DEFAULT};
    return run(&c, unmap_level, va, length, st);
}

struct pt_obligation pt_protect(struct pt *pt, pt_virt_t va, uint64_t length, uint64_t flags,
                                struct pt_status *st)
{
    struct change c = {.pt = pt, .flags = page_flags(flags), .parent_flags = PT_PARENT_DEFAULT};
    return run(&c, protect_level, va, length, st);
}

struct pt_obligation pt_clean_up_range(struct pt *pt, pt_virt_t va, uint64_t length,
                                       struct pt_status *st)
{
    struct change c = {.pt = pt};
    return run(&c, clean_level, va, length, st);
}

struct pt_obligation pt_clean_up(struct pt *pt, struct pt_status *st)
{
    const uint64_t half = 1ull << 47;
    pt_virt_t low_end = pt->upper_start && pt->upper_start < half ? pt->upper_start : half;
    struct pt_obligation o = pt_clean_up_range(pt, 0, low_end, st);
    pt_virt_t high = -half;
    uint64_t high_length = pt->upper_start ? pt->upper_start - high : half;
    if (st->err || (pt->upper_start && pt->upper_start <= high) || high_length == 0)
        return o;
    return pt_flush_merge(o, pt_clean_up_range(pt, high, high_length, st));
}

/* ---- single entries ---- */

struct single {
    struct change c;
    pt_virt_t va;
    int target; /* level of the entry */
    bool create;
    enum pt_error (*edit)(struct single *s, struct table *t, unsigned i);
    pt_phys_t frame; /* map: in; unmap: out */
};

static enum pt_error single_level(struct single *s, int level, pt_phys_t *pa)
{
    struct table t;
    enum pt_error err = table_open(&s->c, pa, &t);
    if (err)
        return err;
    unsigned i = entry_index(s->va, level);
    if (level == s->target)
        return s->edit(s, &t, i);
    uint64_t e = t.r[i];
    if (!(e & PT_PRESENT) && !s->create)
        return PT_NOT_MAPPED;
    if ((e & PT_PRESENT) && is_leaf(e, level))
        return PT_PARENT_HUGE;
    pt_phys_t child;
    bool fresh;
    err = child_table(&s->c, &t, i, level, &child, &fresh);
    if (err)
        return err;
    err = single_level(s, level - 1, &child);
    if (err && fresh) {
        free_tables(s->c.pt, child, level - 1);
        return err;
    }
    enum pt_error linked = link_child(&s->c, &t, i, level, s->va, child, fresh);
    return err ? err : linked;
}

static struct pt_obligation run_single(struct single *s, uint64_t size, struct pt_status *st)
{
    pt_virt_t last;
    enum pt_error err = pt_check_range(s->va, size, &last);
    if (err == PT_OK && (s->va & (size - 1)))
        err = PT_BAD_ADDRESS;
    if (err == PT_OK && s->c.pt->upper_start && last >= s->c.pt->upper_start)
        err = PT_SHARED;
    if (err == PT_OK)
        err = single_level(s, 4, &s->c.pt->root);
    *st = (struct pt_status){.err = err, .replaced = s->c.hit, .done = err ? 0 : size};
    return s->c.must;
}

static enum pt_error edit_map(struct single *s, struct table *t, unsigned i)
{
    if (t->r[i] & PT_PRESENT)
        return PT_ALREADY_MAPPED;
    if (!table_writable(&s->c, t))
        return PT_READ_ONLY;
    entry_store(t, i, s->frame | s->c.flags | (s->target > 1 ? PT_HUGE : 0));
    return PT_OK;
}

struct pt_obligation pt_map_page(struct pt *pt, pt_virt_t va, pt_phys_t pa, uint64_t size,
                                 uint64_t flags, uint64_t parent_flags, struct pt_status *st)
{
    struct single s = {.c = {.pt = pt,
                             .flags = page_flags(flags),
                             .parent_flags = (parent_flags & PT_FLAGS_MASK) | PT_PRESENT,
                             .parent_add = parent_flags & PT_FLAGS_MASK},
                       .va = va,
                       .target = level_of_size(size),
                       .create = true,
                       .edit = edit_map,
                       .frame = pa};
    if (!s.target || (pa & (size - 1)) || (pa & ~PT_FRAME_MASK)) {
        *st = (struct pt_status){.err = s.target ? PT_BAD_FRAME : PT_BAD_ADDRESS};
        return s.c.must;
    }
    return run_single(&s, size, st);
}

struct pt_obligation pt_identity_map(struct pt *pt, pt_phys_t pa, uint64_t size, uint64_t flags,
                                     struct pt_status *st)
{
    return pt_map_page(pt, pa, pa, size, flags, PT_PARENT_DEFAULT, st);
}

/* The entry must be a page of the target's size, with a frame that can be. */
static enum pt_error check_page(const struct single *s, uint64_t e)
{
    if (!(e & PT_PRESENT) || !is_leaf(e, s->target))
        return PT_NOT_MAPPED;
    if ((e & PT_FRAME_MASK) & (entry_span(s->target) - 1))
        return PT_BAD_FRAME;
    return PT_OK;
}

static enum pt_error edit_unmap(struct single *s, struct table *t, unsigned i)
{
    enum pt_error err = check_page(s, t->r[i]);
    if (err)
        return err;
    if (!table_writable(&s->c, t))
        return PT_READ_ONLY;
    s->frame = t->r[i] & PT_FRAME_MASK;
    entry_store(t, i, 0);
    s->c.hit = true;
    must_flush(&s->c, s->va, s->va + entry_span(s->target) - 1);
    return PT_OK;
}

struct pt_obligation pt_unmap_page(struct pt *pt, pt_virt_t va, uint64_t size, pt_phys_t *pa,
                                   struct pt_status *st)
{
    struct single s = {
        .c = {.pt = pt}, .va = va, .target = level_of_size(size), .edit = edit_unmap};
    if (!s.target) {
        *st = (struct pt_status){.err = PT_BAD_ADDRESS};
        return s.c.must;
    }
    struct pt_obligation o = run_single(&s, size, st);
    if (st->err == PT_OK)
        *pa = s.frame;
    return o;
}

static enum pt_error edit_flags(struct single *s, struct table *t, unsigned i)
{
    enum pt_error err = check_page(s, t->r[i]);
    if (err)
        return err;
    if (!table_writable(&s->c, t))
        return PT_READ_ONLY;
    uint64_t frame = t->r[i] & (PT_FRAME_MASK | (s->target > 1 ? PT_HUGE : 0));
    entry_store(t, i, frame | s->c.flags);
    s->c.hit = true;
    must_flush(&s->c, s->va, s->va + entry_span(s->target) - 1);
    return PT_OK;
}

struct pt_obligation pt_update_flags(struct pt *pt, pt_virt_t va, uint64_t size, uint64_t flags,
                                     struct pt_status *st)
{
    struct single s = {.c = {.pt = pt, .flags = page_flags(flags)},
                       .va = va,
                       .target = level_of_size(size),
                       .edit = edit_flags};
    if (!s.target) {
        *st = (struct pt_status){.err = PT_BAD_ADDRESS};
        return s.c.must;
    }
    return run_single(&s, size, st);
}

static enum pt_error edit_parent(struct single *s, struct table *t, unsigned i)
{
    uint64_t e = t->r[i];
    if (!(e & PT_PRESENT))
        return PT_NOT_MAPPED;
    if (is_leaf(e, s->target))
        return PT_PARENT_HUGE;
    if (!table_writable(&s->c, t))
        return PT_READ_ONLY;
    entry_store(t, i, (e & PT_FRAME_MASK) | s->c.flags);
    s->c.hit = true;
    must_flush(&s->c, s->va, s->va | (entry_span(s->target) - 1));
    s->c.must.tables = true;
    return PT_OK;
}

struct pt_obligation pt_update_parent_flags(struct pt *pt, pt_virt_t va, int level, uint64_t flags,
                                            struct pt_status *st)
{
    struct single s = {.c = {.pt = pt, .flags = (flags & PT_FLAGS_MASK) | PT_PRESENT},
                       .target = level,
                       .edit = edit_parent};
    if (level < 2 || level > 4 || !is_canonical(va)) {
        *st = (struct pt_status){.err = PT_BAD_ADDRESS};
        return s.c.must;
    }
    uint64_t span = entry_span(level);
    s.va = va & ~(span - 1);
    if (pt->upper_start && s.va >= pt->upper_start) {
        *st = (struct pt_status){.err = PT_SHARED};
        return s.c.must;
    }
    enum pt_error err = single_level(&s, 4, &pt->root);
    *st = (struct pt_status){.err = err, .replaced = s.c.hit, .done = err ? 0 : span};
    return s.c.must;
}

/* ---- roots ---- */

enum pt_error pt_init(struct pt *pt, const struct pt_ops *ops, void *arg)
{
    pt_phys_t root = ops->alloc(arg);
    if (!root)
        return PT_NO_TABLE;
    pt_attach(pt, ops, arg, root);
    return PT_OK;
}

void pt_attach(struct pt *pt, const struct pt_ops *ops, void *arg, pt_phys_t root)
{
    *pt = (struct pt){.ops = ops, .arg = arg, .root = root};
}

enum pt_error pt_share_upper(struct pt *pt, const struct pt *upper, pt_virt_t start)
{
    if (!is_canonical(start) || (start & (entry_span(4) - 1)) || start == 0)
        return PT_BAD_ADDRESS;
    const uint64_t *from = upper->ops->read(upper->arg, upper->root);
    uint64_t *to = pt->ops->write(pt->arg, &pt->root);
    if (!from || !to)
        return from ? PT_READ_ONLY : PT_CORRUPT;
    unsigned first = entry_index(start, 4);
    memcpy(to + first, from + first, (PT_ENTRIES - first) * sizeof *to);
    pt->upper_start = start;
    return PT_OK;
}

void pt_destroy(struct pt *pt)
{
    uint64_t entries[PT_ENTRIES];
    const uint64_t *r = pt->ops->read(pt->arg, pt->root);
    unsigned end = pt->upper_start ? entry_index(pt->upper_start, 4) : PT_ENTRIES;
    if (r) {
        memcpy(entries, r, sizeof entries);
        pt->ops->free(pt->arg, pt->root);
    }
    for (unsigned i = 0; r && i < end; i++) {
        if (entries[i] & PT_PRESENT)
            free_tables(pt, entries[i] & PT_FRAME_MASK, 3);
    }
    pt->root = 0;
}
