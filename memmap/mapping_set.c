/*
 * ranges:   [0, 4000)            [4000, 6000)              [9000, a000)
 *              |                    |                         |
 *           (A at 7000)          (A at 7000) (B at 3000)   (B at 8000, writable)
 *
 * Every entry of a segment maps the segment's first offset at `base` and the rest in step. Adding
 * or removing a mapping splits segments at its ends and changes the lists in between; neighbours
 * with equal lists merge again.
 */
#include "memmap/mapping_set.h"
#include "base/list.h"
#include "base/log.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct segment {
    struct range_node node;
    struct list_head entries;
};

struct entry {
    struct list_head link;
    struct mapping_space *ms;
    gva_t base; /* where the segment's first offset is mapped */
    bool writable;
};

static struct segment *segment_of(struct range_node *n)
{
    return n ? container_of(n, struct segment, node) : NULL;
}

static struct segment *segment_next(const struct segment *seg)
{
    return segment_of(range_node_next(&seg->node));
}

static void segment_free(struct segment *seg)
{
    struct entry *e, *tmp;
    list_for_each_safe (e, tmp, &seg->entries, link)
        free(e);
    free(seg);
}

static struct segment *segment_create(uint64_t start, uint64_t end)
{
    struct segment *seg = malloc(sizeof(*seg));
    if (!seg)
        return NULL;
    list_init(&seg->entries);
    seg->node.start = start;
    seg->node.end = end;
    return seg;
}

static struct range_node *segment_split(struct range_node *n, uint64_t key, UNUSED void *arg)
{
    struct segment *low = segment_of(n);
    struct segment *high = segment_create(key, n->end);
    if (!high)
        return NULL;
    struct entry *e;
    list_for_each (e, &low->entries, link) {
        struct entry *copy = malloc(sizeof(*copy));
        if (!copy) {
            segment_free(high);
            return NULL;
        }
        *copy = *e;
        copy->base += key - n->start;
        list_add_tail(&high->entries, &copy->link);
    }
    return &high->node;
}

static bool entry_is(const struct entry *e, const struct mapping_space *ms, gva_t base,
                     bool writable)
{
    return e->ms == ms && e->base == base && e->writable == writable;
}

static int entry_add(struct segment *seg, struct mapping_space *ms, gva_t base, bool writable)
{
    struct entry *e = malloc(sizeof(*e));
    if (!e)
        return -ENOMEM;
    *e = (struct entry){.ms = ms, .base = base, .writable = writable};
    list_add_tail(&seg->entries, &e->link);
    return 0;
}

/* Newest first: short-lived mappings come and go at the end of the list. */
static void entry_drop(struct segment *seg, const struct mapping_space *ms, gva_t base,
                       bool writable)
{
    for (struct list_head *l = seg->entries.prev; l != &seg->entries; l = l->prev) {
        struct entry *e = list_entry(l, struct entry, link);
        if (!entry_is(e, ms, base, writable))
            continue;
        list_del(&e->link);
        free(e);
        return;
    }
    panic("mapping set: no mapping of %#lx at %#lx", seg->node.start, base);
}

/* Whether b continues a: the same mappings in step, and in the same order (after a split they
 * are, and where they are not, nothing is lost but a merge). */
static bool segments_match(const struct segment *a, const struct segment *b)
{
    if (a->node.end != b->node.start)
        return false;
    uint64_t step = RANGE_LENGTH(a->node);
    const struct list_head *la = a->entries.next, *lb = b->entries.next;
    for (; la != &a->entries && lb != &b->entries; la = la->next, lb = lb->next) {
        const struct entry *e = list_entry(la, struct entry, link);
        if (!entry_is(list_entry(lb, struct entry, link), e->ms, e->base + step, e->writable))
            return false;
    }
    return la == &a->entries && lb == &b->entries;
}

/* Merges or removes segments from the one before `start` to the one at `end`. */
static void tidy(struct mapping_set *s, uint64_t start, uint64_t end)
{
    struct segment *seg = segment_of(range_set_lower_bound(&s->ranges, start ? start - 1 : 0));
    while (seg && seg->node.start <= end) {
        struct segment *next = segment_next(seg);
        if (list_empty(&seg->entries)) {
            range_set_remove(&s->ranges, &seg->node);
            segment_free(seg);
        } else if (next && segments_match(seg, next)) {
            uint64_t new_end = next->node.end;
            range_set_remove(&s->ranges, &next->node);
            segment_free(next);
            range_set_resize(&s->ranges, &seg->node, seg->node.start, new_end);
            continue;
        }
        seg = next;
    }
}

void mapping_set_init(struct mapping_set *s)
{
    range_set_init(&s->ranges);
}

void mapping_set_destroy(struct mapping_set *s)
{
    assert(mapping_set_empty(s));
    (void)s;
}

bool mapping_set_empty(const struct mapping_set *s)
{
    return s->ranges.count == 0;
}

/* Makes segments cover all of [start, end) and end there. */
static int cover(struct mapping_set *s, uint64_t start, uint64_t end)
{
    int err = range_set_isolate(&s->ranges, start, end, segment_split, NULL);
    if (err)
        return err;
    while (start < end) {
        struct range_node *n = range_set_lower_bound(&s->ranges, start);
        if (!n || n->start > start) {
            struct segment *seg = segment_create(start, n ? MIN(n->start, end) : end);
            if (!seg)
                return -ENOMEM;
            range_set_insert(&s->ranges, &seg->node);
            n = &seg->node;
        }
        start = n->end;
    }
    return 0;
}

int mapping_set_add(struct mapping_set *s, struct mapping_space *ms, struct addr_range ar,
                    uint64_t offset, bool writable)
{
    uint64_t end = offset + RANGE_LENGTH(ar);
    assert(ar.start < ar.end && end > offset);
    int err = cover(s, offset, end);
    uint64_t done = offset;
    while (!err && done < end) {
        struct segment *seg = segment_of(range_set_find(&s->ranges, done));
        err = entry_add(seg, ms, ar.start + (done - offset), writable);
        if (!err)
            done = seg->node.end;
    }
    if (err && done > offset)
        mapping_set_remove(s, ms, (struct addr_range){ar.start, ar.start + (done - offset)}, offset,
                           writable);
    tidy(s, offset, end);
    return err;
}

void mapping_set_remove(struct mapping_set *s, struct mapping_space *ms, struct addr_range ar,
                        uint64_t offset, bool writable)
{
    uint64_t end = offset + RANGE_LENGTH(ar);
    /* An entry that outlives its space would be called after the space is freed, so there is no
     * going on without memory for a split. */
    if (range_set_isolate(&s->ranges, offset, end, segment_split, NULL))
        panic("mapping set: out of memory");
    struct segment *seg = segment_of(range_set_lower_bound(&s->ranges, offset));
    for (; seg && seg->node.start < end; seg = segment_next(seg))
        entry_drop(seg, ms, ar.start + (seg->node.start - offset), writable);
    tidy(s, offset, end);
}

void mapping_set_invalidate(struct mapping_set *s, struct mappable_range mr,
                            const struct invalidate_opts *opts)
{
    struct segment *seg = segment_of(range_set_lower_bound(&s->ranges, mr.start));
    for (; seg && seg->node.start < mr.end; seg = segment_next(seg)) {
        uint64_t from = MAX(mr.start, seg->node.start), to = MIN(mr.end, seg->node.end);
        struct entry *e;
        list_for_each (e, &seg->entries, link) {
            gva_t at = e->base + (from - seg->node.start);
            e->ms->ops->invalidate(e->ms, (struct addr_range){at, at + (to - from)}, opts);
        }
    }
}

void mapping_set_invalidate_all(struct mapping_set *s, const struct invalidate_opts *opts)
{
    mapping_set_invalidate(s, (struct mappable_range){0, UINT64_MAX}, opts);
}

bool mapping_set_has_writable(const struct mapping_set *s, struct mappable_range mr)
{
    const struct segment *seg = segment_of(range_set_lower_bound(&s->ranges, mr.start));
    for (; seg && seg->node.start < mr.end; seg = segment_next(seg)) {
        const struct entry *e;
        list_for_each (e, &seg->entries, link)
            if (e->writable)
                return true;
    }
    return false;
}
