/*
 * Walks over several roots at once, which see that sub-tables are shared: what a checkpoint needs
 * to keep the sharing, and a clone to make it again.
 */
#include "platform/kvm/pagetables/internal.h"
#include <string.h>

/* The tables met so far: open addressing in the caller's memory. A free slot has level 0. */
struct seen_set {
    struct pt_seen *slots;
    size_t size, used;
};

static void seen_init(struct seen_set *s, struct pt_seen *slots, size_t size)
{
    memset(slots, 0, size * sizeof *slots);
    *s = (struct seen_set){slots, size, 0};
}

/* The slot of a table at a level: one that holds it, or a free one; NULL if all are taken. */
static struct pt_seen *seen_slot(struct seen_set *s, pt_phys_t table, int level)
{
    uint64_t hash = ((table >> 12) + (uint64_t)level) * 0x9e3779b97f4a7c15ull;
    for (size_t probe = 0; probe < s->size; probe++) {
        struct pt_seen *slot = &s->slots[(hash + probe) % s->size];
        if (!slot->level || (slot->table == table && slot->level == level))
            return slot;
    }
    return NULL;
}

struct roots_walk {
    const struct pt *pt;
    struct seen_set seen;
    const struct pt_roots_visitor *v;
    unsigned root;
    bool stopped;
};

static enum pt_error walk_table(struct roots_walk *w, pt_phys_t table, int level, pt_virt_t va,
                                uint64_t above);

static enum pt_error walk_entry(struct roots_walk *w, uint64_t e, int level, pt_virt_t va,
                                uint64_t above)
{
    if (!(e & PT_PRESENT))
        return PT_OK;
    if (level == 4 && (e & PT_HUGE))
        return PT_CORRUPT;
    if (!is_leaf(e, level))
        return walk_table(w, e & PT_FRAME_MASK, level - 1, va, combine_flags(above, e));
    struct pt_translation page;
    pt_describe(e, level, va, above, &page);
    w->stopped = w->v->page && !w->v->page(w->v->arg, w->root, &page);
    return PT_OK;
}

static enum pt_error walk_table(struct roots_walk *w, pt_phys_t table, int level, pt_virt_t va,
                                uint64_t above)
{
    struct pt_seen *slot = seen_slot(&w->seen, table, level);
    if (!slot)
        return PT_NO_TABLE;
    if (slot->level) {
        w->stopped = w->v->shared && !w->v->shared(w->v->arg, w->root, va, level, slot);
        return PT_OK;
    }
    const uint64_t *r = w->pt->ops->read(w->pt->arg, table);
    if (!r)
        return PT_CORRUPT;
    *slot = (struct pt_seen){table, va, (uint16_t)w->root, (uint8_t)level};
    for (unsigned i = 0; i < PT_ENTRIES && !w->stopped; i++) {
        pt_virt_t at = va + i * entry_span(level);
        if (level == 4 && i >= PT_ENTRIES / 2)
            at |= 0xffff000000000000ull;
        enum pt_error err = walk_entry(w, r[i], level, at, above);
        if (err)
            return err;
    }
    return PT_OK;
}

enum pt_error pt_walk_roots(const struct pt *roots, unsigned n, struct pt_seen *seen,
                            size_t max_seen, const struct pt_roots_visitor *v)
{
    struct roots_walk w = {.v = v};
    if (n > UINT16_MAX)
        return PT_BAD_ADDRESS;
    seen_init(&w.seen, seen, max_seen);
    for (unsigned i = 0; i < n && !w.stopped; i++) {
        w.pt = &roots[i];
        w.root = i;
        enum pt_error err = walk_table(&w, roots[i].root, 4, 0, PT_TOP_EFFECTIVE);
        if (err)
            return err;
    }
    return PT_OK;
}

enum pt_error pt_destroy_roots(struct pt *roots, unsigned n, struct pt_seen *seen, size_t max_seen)
{
    const struct pt_roots_visitor nothing = {NULL, NULL, NULL};
    enum pt_error err = pt_walk_roots(roots, n, seen, max_seen, &nothing);
    if (err)
        return err;
    for (size_t i = 0; i < max_seen; i++) {
        if (seen[i].level)
            roots[seen[i].root].ops->free(roots[seen[i].root].arg, seen[i].table);
    }
    for (unsigned i = 0; i < n; i++)
        roots[i].root = 0;
    return PT_OK;
}

struct rebuild {
    const struct pt *src;
    const struct pt_ops *ops;
    void *arg;
    pt_frame_fn frame;
    void *frame_arg;
    struct seen_set seen;
    pt_phys_t *made; /* made[i]: the copy of seen.slots[i] */
};

static enum pt_error rebuild_table(struct rebuild *b, pt_phys_t table, int level, pt_phys_t *out);

static enum pt_error rebuild_entry(struct rebuild *b, uint64_t e, int level, uint64_t *out)
{
    pt_phys_t target;
    enum pt_error err = PT_OK;
    if (!(e & PT_PRESENT)) {
        *out = 0;
        return PT_OK;
    }
    if (level == 4 && (e & PT_HUGE))
        return PT_CORRUPT;
    if (!is_leaf(e, level)) {
        err = rebuild_table(b, e & PT_FRAME_MASK, level - 1, &target);
    } else {
        target = b->frame(b->frame_arg, e & PT_FRAME_MASK, entry_span(level));
        if (target & (~PT_FRAME_MASK | (entry_span(level) - 1)))
            err = PT_BAD_FRAME;
    }
    if (err == PT_OK)
        *out = target | (e & ~PT_FRAME_MASK);
    return err;
}

static enum pt_error rebuild_table(struct rebuild *b, pt_phys_t table, int level, pt_phys_t *out)
{
    struct pt_seen *slot = seen_slot(&b->seen, table, level);
    if (!slot)
        return PT_NO_TABLE;
    size_t index = (size_t)(slot - b->seen.slots);
    if (slot->level) {
        *out = b->made[index];
        return PT_OK;
    }
    const uint64_t *r = b->src->ops->read(b->src->arg, table);
    if (!r)
        return PT_CORRUPT;
    uint64_t entries[PT_ENTRIES];
    for (unsigned i = 0; i < PT_ENTRIES; i++) {
        enum pt_error err = rebuild_entry(b, r[i], level, &entries[i]);
        if (err)
            return err;
    }
    pt_phys_t copy = b->ops->alloc(b->arg);
    if (!copy)
        return PT_NO_TABLE;
    uint64_t *w = b->ops->write(b->arg, &copy);
    /* The children above may have taken the slot we were given: look again. */
    slot = w ? seen_slot(&b->seen, table, level) : NULL;
    if (!slot) {
        b->ops->free(b->arg, copy);
        return w ? PT_NO_TABLE : PT_READ_ONLY;
    }
    memcpy(w, entries, sizeof entries);
    slot->table = table;
    slot->level = (uint8_t)level;
    b->made[slot - b->seen.slots] = copy;
    *out = copy;
    return PT_OK;
}

enum pt_error pt_rebuild_roots(const struct pt *roots, unsigned n, struct pt *dst,
                               const struct pt_ops *dst_ops, void *dst_arg, pt_frame_fn frame,
                               void *frame_arg, struct pt_seen *seen, pt_phys_t *seen_dst,
                               size_t max_seen)
{
    struct rebuild b = {
        .ops = dst_ops, .arg = dst_arg, .frame = frame, .frame_arg = frame_arg, .made = seen_dst};
    enum pt_error err = PT_OK;
    seen_init(&b.seen, seen, max_seen);
    for (unsigned i = 0; i < n && err == PT_OK; i++) {
        pt_phys_t root = 0;
        b.src = &roots[i];
        err = rebuild_table(&b, roots[i].root, 4, &root);
        pt_attach(&dst[i], dst_ops, dst_arg, root);
        dst[i].upper_start = roots[i].upper_start;
    }
    for (size_t i = 0; err != PT_OK && i < max_seen; i++) {
        if (seen[i].level)
            dst_ops->free(dst_arg, seen_dst[i]);
    }
    return err;
}
