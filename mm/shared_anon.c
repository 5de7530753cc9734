/*
 * Shared anonymous memory (MAP_SHARED | MAP_ANONYMOUS): an object over the memory file, that lives
 * as long as something maps it. Its pages come in units, on demand, and never move, so nobody has
 * to be told of invalidation and no mapping set is kept.
 */
#include "mm/mm_internal.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

struct chunk {
    struct range_node node; /* over offsets */
    uint64_t file_offset;
};

struct shared_anon {
    struct mappable mappable;
    struct mapping_identity id;
    struct refcount ref;
    struct mm_config *cfg;
    uint64_t length;
    uint64_t number; /* shown as the inode */
    bool accounted;
    struct mutex lock; /* MAPPABLE_DATA: the chunks */
    struct range_set chunks;
};

static struct shared_anon *of_mappable(struct mappable *m)
{
    return container_of(m, struct shared_anon, mappable);
}

static struct shared_anon *of_id(struct mapping_identity *id)
{
    return container_of(id, struct shared_anon, id);
}

static int sa_add_mapping(UNUSED struct mappable *m, UNUSED struct mapping_space *ms,
                          UNUSED struct addr_range ar, UNUSED uint64_t offset, UNUSED bool writable)
{
    return 0;
}

static void sa_remove_mapping(UNUSED struct mappable *m, UNUSED struct mapping_space *ms,
                              UNUSED struct addr_range ar, UNUSED uint64_t offset,
                              UNUSED bool writable)
{
}

static int sa_copy_mapping(UNUSED struct mappable *m, UNUSED struct mapping_space *ms,
                           UNUSED struct addr_range src, UNUSED struct addr_range dst,
                           UNUSED uint64_t offset, UNUSED bool writable)
{
    return 0;
}

/* Makes the unit that holds `offset`, as far as no chunk is there yet. */
static int sa_fill(struct shared_anon *sa, uint64_t offset, uint64_t want_end)
{
    struct range_node *next = range_set_lower_bound(&sa->chunks, offset);
    struct range_node *prev = next ? range_node_prev(next) : range_set_last(&sa->chunks);
    uint64_t start = offset & ~(HUGE_PAGE_SIZE - 1), end = start + HUGE_PAGE_SIZE;
    struct file_range fr;

    end = MIN(MAX(end, want_end), sa->length);
    if (prev)
        start = MAX(start, prev->end);
    if (next)
        end = MIN(end, next->start);
    struct chunk *c = malloc(sizeof(*c));
    if (!c)
        return -ENOMEM;
    int err = memory_file_alloc(sa->cfg->memory, end - start,
                                end - start >= HUGE_PAGE_SIZE ? MEMORY_FILE_HUGE : 0, &fr);
    if (err) {
        free(c);
        return err;
    }
    c->node.start = start;
    c->node.end = end;
    c->file_offset = fr.start;
    range_set_insert(&sa->chunks, &c->node);
    return 0;
}

static int sa_translate(struct mappable *m, struct mappable_range required,
                        struct mappable_range optional, UNUSED access_t at, struct translation *ts,
                        int max, int *n)
{
    struct shared_anon *sa = of_mappable(m);
    uint64_t end = MIN(required.end, sa->length);
    MUTEX_GUARD(&sa->lock);

    *n = 0;
    optional.end = MIN(optional.end, sa->length);
    for (uint64_t o = required.start; o < end;) {
        struct range_node *r = range_set_find(&sa->chunks, o);
        if (!r) {
            int err = sa_fill(sa, o, end);
            if (err)
                return err;
            continue;
        }
        if (*n == max)
            return -EAGAIN;
        const struct chunk *c = container_of(r, struct chunk, node);
        uint64_t from = *n ? r->start : MAX(r->start, optional.start);
        ts[(*n)++] = (struct translation){
            .source = {from, MIN(r->end, optional.end)},
            .file = &sa->cfg->memory->file,
            .offset = c->file_offset + (from - r->start),
            .perms = ACCESS_ANY,
        };
        o = r->end;
    }
    return end == required.end ? 0 : -EBUSERR;
}

static int sa_invalidate_unsavable(UNUSED struct mappable *m)
{
    return 0;
}

static const struct mappable_ops sa_mappable_ops = {
    .add_mapping = sa_add_mapping,
    .remove_mapping = sa_remove_mapping,
    .copy_mapping = sa_copy_mapping,
    .translate = sa_translate,
    .invalidate_unsavable = sa_invalidate_unsavable,
};

static void sa_destroy(struct shared_anon *sa)
{
    struct range_node *n;
    while ((n = range_set_first(&sa->chunks))) {
        struct chunk *c = container_of(n, struct chunk, node);
        range_set_remove(&sa->chunks, n);
        memory_file_put(sa->cfg->memory,
                        (struct file_range){c->file_offset, c->file_offset + (n->end - n->start)});
        free(c);
    }
    if (sa->accounted)
        mm_uncommit(sa->cfg, sa->length);
    mutex_destroy(&sa->lock);
    free(sa);
}

static void sa_get(struct mapping_identity *id)
{
    ref_get(&of_id(id)->ref);
}

static void sa_put(struct mapping_identity *id)
{
    if (ref_put(&of_id(id)->ref))
        sa_destroy(of_id(id));
}

static int sa_name(UNUSED struct mapping_identity *id, char *buf, size_t size)
{
    return snprintf(buf, size, "/dev/zero (deleted)");
}

static dev_t sa_device(UNUSED struct mapping_identity *id)
{
    return makedev(0, 1);
}

static uint64_t sa_inode(struct mapping_identity *id)
{
    return of_id(id)->number;
}

static int sa_msync(UNUSED struct mapping_identity *id, UNUSED struct mappable_range mr)
{
    return 0;
}

static int sa_punch(struct mapping_identity *id, struct mappable_range mr)
{
    struct shared_anon *sa = of_id(id);
    uint64_t start = mr.start, end = mr.end;
    MUTEX_GUARD(&sa->lock);
    for (struct range_node *n = range_set_lower_bound(&sa->chunks, start); n && n->start < end;
         n = range_node_next(n)) {
        const struct chunk *c = container_of(n, struct chunk, node);
        uint64_t a = MAX(start, n->start), b = MIN(end, n->end);
        memory_file_decommit(sa->cfg->memory, (struct file_range){c->file_offset + (a - n->start),
                                                                  c->file_offset + (b - n->start)});
    }
    return 0;
}

static const struct mapping_identity_ops sa_identity_ops = {
    .get = sa_get,
    .put = sa_put,
    .name = sa_name,
    .device = sa_device,
    .inode = sa_inode,
    .msync = sa_msync,
    .punch = sa_punch,
};

int shared_anon_create(struct mm_config *cfg, uint64_t length, bool account, struct mappable **m,
                       struct mapping_identity **id)
{
    int err = account ? mm_commit(cfg, length) : 0;
    if (err)
        return err;
    struct shared_anon *sa = calloc(1, sizeof(*sa));
    if (!sa) {
        if (account)
            mm_uncommit(cfg, length);
        return -ENOMEM;
    }
    sa->mappable.ops = &sa_mappable_ops;
    sa->id.ops = &sa_identity_ops;
    ref_init(&sa->ref);
    sa->cfg = cfg;
    sa->length = length;
    sa->number = atomic_fetch_add(&cfg->next_anon_inode, 1) + 1024;
    sa->accounted = account;
    mutex_init(&sa->lock, LOCK_MAPPABLE_DATA);
    range_set_init(&sa->chunks);
    *m = &sa->mappable;
    *id = &sa->id;
    return 0;
}
