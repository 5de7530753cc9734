/*
 * Walks that only look, and what every walk has in common.
 */
#include "platform/kvm/pagetables/internal.h"

const char *pt_error_name(enum pt_error e)
{
    static const char *const names[] = {
        [PT_OK] = "ok",
        [PT_NO_TABLE] = "no table left in the reserve",
        [PT_PARENT_HUGE] = "a larger page maps the address",
        [PT_ALREADY_MAPPED] = "already mapped",
        [PT_NOT_MAPPED] = "not mapped",
        [PT_BAD_FRAME] = "invalid frame address",
        [PT_BAD_ADDRESS] = "invalid virtual address",
        [PT_SHARED] = "in the shared upper half",
        [PT_CORRUPT] = "an entry names no table",
        [PT_READ_ONLY] = "the tables cannot be written",
    };
    return (unsigned)e < ARRAY_SIZE(names) ? names[e] : "?";
}

enum pt_error pt_check_range(pt_virt_t va, uint64_t length, pt_virt_t *last)
{
    if (length == 0 || !page_aligned(va) || !page_aligned(length) || !is_canonical(va))
        return PT_BAD_ADDRESS;
    *last = va + (length - 1);
    /* Both ends in one half of the space: nothing wraps, nothing crosses the hole. */
    if (*last < va || !is_canonical(*last) || (va >> 63) != (*last >> 63))
        return PT_BAD_ADDRESS;
    return PT_OK;
}

void pt_flush(struct pt_obligation o, pt_flush_fn fn, void *arg)
{
    if (o.start != o.end)
        fn(arg, o.start, o.end, o.tables);
}

void pt_flush_ignore(UNUSED struct pt_obligation o)
{
}

struct pt_obligation pt_flush_merge(struct pt_obligation a, struct pt_obligation b)
{
    if (a.start == a.end)
        return b;
    if (b.start == b.end)
        return a;
    return (struct pt_obligation){MIN(a.start, b.start), MAX(a.end, b.end), a.tables || b.tables};
}

uint64_t pt_tables_needed(pt_virt_t va, uint64_t length)
{
    pt_virt_t last;
    uint64_t n = 0;
    if (pt_check_range(va, length, &last))
        return 0;
    for (int level = 2; level <= 4; level++)
        n += last / entry_span(level) - va / entry_span(level) + 1;
    return n;
}

/* Its levels are constants once the loop is unrolled, which halves the time of a look-up. */
enum pt_error pt_translate(const struct pt *pt, pt_virt_t va, struct pt_translation *out)
{
    const uint64_t *(*read)(void *, pt_phys_t) = pt->ops->read;
    pt_phys_t table = pt->root;
    uint64_t above = PT_TOP_EFFECTIVE, e = 0;
    int level;
    if (!is_canonical(va))
        return PT_BAD_ADDRESS;
#pragma GCC unroll 4
    for (level = 4; level > 0; level--) {
        const uint64_t *r = read(pt->arg, table);
        if (!r)
            return PT_CORRUPT;
        e = __atomic_load_n(&r[entry_index(va, level)], __ATOMIC_ACQUIRE);
        if (!(e & PT_PRESENT))
            return PT_NOT_MAPPED;
        if (level == 4 && (e & PT_HUGE))
            return PT_CORRUPT;
        if (is_leaf(e, level))
            break;
        above = combine_flags(above, e);
        table = e & PT_FRAME_MASK;
    }
    if ((e & PT_FRAME_MASK) & (entry_span(level) - 1))
        return PT_BAD_FRAME;
    pt_describe(e, level, va, above, out);
    return PT_OK;
}

enum pt_error pt_parent_flags(const struct pt *pt, pt_virt_t va, int level, uint64_t *flags)
{
    pt_phys_t table = pt->root;
    if (level < 2 || level > 4 || !is_canonical(va))
        return PT_BAD_ADDRESS;
    for (int at = 4;; at--) {
        const uint64_t *r = pt->ops->read(pt->arg, table);
        if (!r)
            return PT_CORRUPT;
        uint64_t e = r[entry_index(va, at)];
        if (!(e & PT_PRESENT))
            return PT_NOT_MAPPED;
        if (is_leaf(e, at))
            return PT_PARENT_HUGE;
        if (at == level) {
            *flags = e & ~PT_FRAME_MASK;
            return PT_OK;
        }
        table = e & PT_FRAME_MASK;
    }
}

struct visit {
    const struct pt *pt;
    pt_visit_fn fn;
    void *arg;
    bool stopped;
};

static enum pt_error visit_level(struct visit *v, int level, pt_phys_t table, pt_virt_t va,
                                 pt_virt_t last, uint64_t above)
{
    const uint64_t *r = v->pt->ops->read(v->pt->arg, table);
    if (!r)
        return PT_CORRUPT;
    for (;;) {
        pt_virt_t entry_end = entry_last(va, last, level);
        uint64_t e = __atomic_load_n(&r[entry_index(va, level)], __ATOMIC_ACQUIRE);
        if (e & PT_PRESENT) {
            if (level == 4 && (e & PT_HUGE))
                return PT_CORRUPT;
            if (is_leaf(e, level)) {
                struct pt_translation page;
                pt_describe(e, level, va, above, &page);
                v->stopped = !v->fn(v->arg, &page);
            } else {
                enum pt_error err = visit_level(v, level - 1, e & PT_FRAME_MASK, va, entry_end,
                                                combine_flags(above, e));
                if (err)
                    return err;
            }
            if (v->stopped)
                return PT_OK;
        }
        if (entry_end == last)
            return PT_OK;
        va = entry_end + 1;
    }
}

enum pt_error pt_walk(const struct pt *pt, pt_virt_t va, uint64_t length, pt_visit_fn fn, void *arg)
{
    struct visit v = {.pt = pt, .fn = fn, .arg = arg};
    pt_virt_t last;
    enum pt_error err = pt_check_range(va, length, &last);
    return err ? err : visit_level(&v, 4, pt->root, va, last, PT_TOP_EFFECTIVE);
}

static bool take_first(void *arg, const struct pt_translation *page)
{
    *(struct pt_translation *)arg = *page;
    return false;
}

enum pt_error pt_find_first(const struct pt *pt, pt_virt_t va, struct pt_translation *out)
{
    struct pt_translation found = {.size = 0};
    if (!is_canonical(va))
        return PT_BAD_ADDRESS;
    struct visit v = {.pt = pt, .fn = take_first, .arg = &found};
    pt_virt_t last = va >> 63 ? UINT64_MAX : (1ull << 47) - 1;
    enum pt_error err = visit_level(&v, 4, pt->root, va & PAGE_MASK, last, PT_TOP_EFFECTIVE);
    if (err)
        return err;
    if (!found.size)
        return PT_NOT_MAPPED;
    if (found.frame & (found.size - 1))
        return PT_BAD_FRAME;
    found.offset = va > found.va ? va - found.va : 0;
    *out = found;
    return PT_OK;
}

enum pt_error pt_is_empty(const struct pt *pt, pt_virt_t va, uint64_t length, bool *empty)
{
    struct pt_translation found = {.size = 0};
    enum pt_error err = pt_walk(pt, va, length, take_first, &found);
    if (err == PT_OK)
        *empty = found.size == 0;
    return err;
}
