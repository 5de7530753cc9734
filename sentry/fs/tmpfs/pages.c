/*
 * The contents of tmpfs files: extents of the memory file, holes between them.
 *
 *    offset   0        64K             1M    1M+64K        size   ahead_end
 *             [extent  ][extent        ] hole [extent         |....]
 *                                                             ^ ahead_start
 *
 * A file that grows by writing gets its next pages in units that double with it (up to 2 MiB), so
 * that it ends up in few long runs. What is allocated ahead is not charged, not part of st_blocks,
 * and invisible to SEEK_DATA; it goes when the file is closed.
 */
#include "mm/safe_copy.h"
#include "sentry/fs/tmpfs/tmpfs.h"
#include <errno.h>
#include <stdlib.h>

#define AHEAD_MIN (64u << 10)
#define AHEAD_MAX (2u << 20)

static struct tmpfs_super *file_super(const struct tmpfs_file *tf)
{
    return tmpfs_super(tf->node.inode->sb);
}

static struct tmpfs_extent *extent_of(struct range_node *n)
{
    return n ? container_of(n, struct tmpfs_extent, n) : NULL;
}

static uint64_t charge(struct tmpfs_super *ts, uint64_t pages)
{
    uint64_t used = atomic_load(&ts->used_pages), max = ts->max_pages, take;
    do {
        uint64_t room = max ? max - MIN(used, max) : UINT64_MAX;
        take = MIN(pages, room);
        if (take == 0)
            return 0;
    } while (!atomic_compare_exchange_weak(&ts->used_pages, &used, used + take));
    return take;
}

static void uncharge(struct tmpfs_super *ts, uint64_t bytes)
{
    atomic_fetch_sub(&ts->used_pages, bytes >> PAGE_SHIFT);
}

/* Adds [start, end) at `place`, joining it to the extent before it where both run on. */
static int add_extent(struct tmpfs_file *tf, uint64_t start, uint64_t end, uint64_t place)
{
    struct tmpfs_extent *prev = start ? extent_of(range_set_find(&tf->extents, start - 1)) : NULL;
    if (prev && prev->place + (start - prev->n.start) == place) {
        range_set_resize(&tf->extents, &prev->n, prev->n.start, end);
        return 0;
    }
    struct tmpfs_extent *e = calloc(1, sizeof(*e));
    if (!e)
        return -ENOMEM;
    e->n.start = start;
    e->n.end = end;
    e->place = place;
    range_set_insert(&tf->extents, &e->n);
    return 0;
}

static struct range_node *split_extent(struct range_node *n, uint64_t key, UNUSED void *arg)
{
    struct tmpfs_extent *e = extent_of(n), *upper = calloc(1, sizeof(*upper));
    if (!upper)
        return NULL;
    upper->place = e->place + (key - n->start);
    return &upper->n;
}

/* Takes the extents inside [start, end) off the set; their pages are still held. */
static int detach(struct tmpfs_file *tf, uint64_t start, uint64_t end, struct tmpfs_extent **list)
{
    int err = range_set_isolate(&tf->extents, start, end, split_extent, NULL);
    if (err)
        return err;
    struct range_node *n = range_set_lower_bound(&tf->extents, start);
    while (n && n->start < end) {
        struct range_node *next = range_node_next(n);
        range_set_remove(&tf->extents, n);
        extent_of(n)->next_detached = *list;
        *list = extent_of(n);
        n = next;
    }
    return 0;
}

static uint64_t put_detached(struct tmpfs_file *tf, struct tmpfs_extent *list)
{
    uint64_t bytes = 0;
    while (list) {
        struct tmpfs_extent *next = list->next_detached;
        uint64_t length = list->n.end - list->n.start;
        memory_file_put(file_super(tf)->memory,
                        (struct file_range){list->place, list->place + length});
        bytes += length;
        free(list);
        list = next;
    }
    return bytes;
}

/* data_lock held. 0 or -ENOMEM: then the pages stay ahead. */
static int drop_ahead(struct tmpfs_file *tf)
{
    struct tmpfs_extent *list = NULL;
    if (tf->ahead_start == tf->ahead_end)
        return 0;
    int err = detach(tf, tf->ahead_start, tf->ahead_end, &list);
    if (err)
        return err;
    put_detached(tf, list);
    tf->ahead_start = tf->ahead_end = 0;
    return 0;
}

void tmpfs_trim_ahead(struct tmpfs_file *tf)
{
    MUTEX_GUARD(&tf->data_lock);
    (void)drop_ahead(tf);
}

/* Pages at the head of what lies ahead become part of the file. */
static int use_ahead(struct tmpfs_file *tf, uint64_t end)
{
    uint64_t upto = MIN(end, tf->ahead_end);
    uint64_t want = (upto - tf->ahead_start) >> PAGE_SHIFT;
    uint64_t got = charge(file_super(tf), want);
    tf->ahead_start += got << PAGE_SHIFT;
    if (tf->ahead_start == tf->ahead_end)
        tf->ahead_start = tf->ahead_end = 0;
    return got < want ? -ENOSPC : 0;
}

/* How much to allocate beyond a hole that ends the file. */
static uint64_t ahead_unit(uint64_t end)
{
    if (end < AHEAD_MIN)
        return 0;
    uint64_t unit = MIN(end, (uint64_t)AHEAD_MAX);
    return page_down(unit);
}

static int fill_hole(struct tmpfs_file *tf, uint64_t start, uint64_t end, uint64_t ahead)
{
    struct tmpfs_super *ts = file_super(tf);
    uint64_t pages = charge(ts, (end - start) >> PAGE_SHIFT);
    if (pages == 0)
        return -ENOSPC;
    bool cut = pages < (end - start) >> PAGE_SHIFT;
    uint64_t length = pages << PAGE_SHIFT;
    if (cut)
        ahead = 0;
    struct file_range fr;
    unsigned flags = length + ahead >= HUGE_PAGE_SIZE ? MEMORY_FILE_HUGE : 0;
    int err = memory_file_alloc(ts->memory, length + ahead, flags, &fr);
    if (err && ahead) {
        ahead = 0;
        err = memory_file_alloc(ts->memory, length, 0, &fr);
    }
    if (!err) {
        err = add_extent(tf, start, start + length + ahead, fr.start);
        if (err)
            memory_file_put(ts->memory, fr);
    }
    if (err) {
        uncharge(ts, length);
        return err;
    }
    if (ahead) {
        tf->ahead_start = start + length;
        tf->ahead_end = tf->ahead_start + ahead;
    }
    return cut ? -ENOSPC : 0;
}

/* data_lock held: where n's data ends (its start: it holds none). */
static uint64_t data_end(struct tmpfs_file *tf, const struct range_node *n)
{
    if (tf->ahead_start < tf->ahead_end && n->end > tf->ahead_start)
        return MAX(n->start, tf->ahead_start);
    return n->end;
}

/* First offset in [start, end) without a page, and where that hole ends. False: none. */
static bool next_hole(struct tmpfs_file *tf, uint64_t start, uint64_t end, uint64_t *from,
                      uint64_t *to, bool *last)
{
    struct range_node *n = range_set_lower_bound(&tf->extents, start);
    while (n && n->start <= start) {
        start = n->end;
        n = range_node_next(n);
    }
    if (start >= end)
        return false;
    *from = start;
    *to = n ? MIN(n->start, end) : end;
    *last = !n;
    return true;
}

/* The end of the last page in [start, end) that is in use, or start. */
static uint64_t last_used(struct tmpfs_file *tf, uint64_t start, uint64_t end)
{
    struct range_node *n = range_set_lower_bound(&tf->extents, end - 1);
    if (!n || n->start >= end)
        n = n ? range_node_prev(n) : range_set_last(&tf->extents);
    return n ? MAX(start, MIN(end, data_end(tf, n))) : start;
}

int tmpfs_reserve(struct tmpfs_file *tf, uint64_t start, uint64_t end, bool grow, uint64_t *done,
                  uint64_t *fresh)
{
    int err = 0;
    *done = start;
    if (fresh)
        *fresh = last_used(tf, start, end);
    if (tf->ahead_start < tf->ahead_end && end > tf->ahead_start) {
        err = start <= tf->ahead_start ? use_ahead(tf, end) : drop_ahead(tf);
        if (tf->ahead_start < tf->ahead_end && end > tf->ahead_start)
            end = tf->ahead_start;
    }
    uint64_t from, to;
    bool last;
    int hole_err = 0;
    while (!hole_err && next_hole(tf, start, end, &from, &to, &last)) {
        bool ends = last && to == end && grow && tf->ahead_start == tf->ahead_end;
        hole_err = fill_hole(tf, from, to, ends ? ahead_unit(end) : 0);
    }
    if (next_hole(tf, start, end, &from, &to, &last))
        *done = from;
    else
        *done = end;
    return hole_err ? hole_err : err;
}

void tmpfs_find(struct tmpfs_file *tf, uint64_t off, char **p, uint64_t *len)
{
    MUTEX_GUARD(&tf->data_lock);
    struct range_node *n = range_set_lower_bound(&tf->extents, off);
    if (n && n->start <= off) {
        *p = file_super(tf)->memory->file.window + extent_of(n)->place + (off - n->start);
        *len = n->end - off;
    } else {
        *p = NULL;
        *len = (n ? n->start : UINT64_MAX) - off;
    }
}

void tmpfs_zero(struct tmpfs_file *tf, uint64_t start, uint64_t end)
{
    while (start < end) {
        char *p;
        uint64_t len;
        tmpfs_find(tf, start, &p, &len);
        len = MIN(len, end - start);
        if (p)
            safe_zero(p, len);
        start += len;
    }
}

int tmpfs_drop(struct tmpfs_file *tf, uint64_t start, uint64_t end, uint64_t new_size,
               bool private_too)
{
    struct tmpfs_extent *list = NULL;
    MUTEX_GUARD(&tf->maps_lock);
    mutex_lock(&tf->data_lock);
    int err = drop_ahead(tf);
    if (!err && start < end)
        err = detach(tf, start, end, &list);
    if (!err && new_size != UINT64_MAX)
        tf->node.inode->size = new_size;
    mutex_unlock(&tf->data_lock);
    if (err)
        return err;
    if (start < end && !mapping_set_empty(&tf->maps)) {
        struct invalidate_opts opts = {.invalidate_private = private_too};
        mapping_set_invalidate(&tf->maps, (struct mappable_range){start, page_down(end)}, &opts);
    }
    uncharge(file_super(tf), put_detached(tf, list));
    return 0;
}

int tmpfs_truncate(struct inode *i, uint64_t size)
{
    struct tmpfs_file *tf = tmpfs_file(i);
    uint64_t old = i->size, from;
    if (size > INT64_MAX || !page_up(size, &from))
        return -EFBIG;
    unsigned seals = tf->seals;
    if ((size < old && (seals & F_SEAL_SHRINK)) || (size > old && (seals & F_SEAL_GROW)))
        return -EPERM;
    if (size >= old) {
        /* What a mapping left behind the end must not appear in the file. */
        uint64_t tail = page_down(old) + PAGE_SIZE;
        if (!page_aligned(old))
            tmpfs_zero(tf, old, MIN(tail, size));
        i->size = size;
        return 0;
    }
    int err = tmpfs_drop(tf, from, page_down(UINT64_MAX), size, true);
    if (!err && from > size)
        tmpfs_zero(tf, size, from);
    return err;
}

uint64_t tmpfs_blocks(struct tmpfs_file *tf)
{
    MUTEX_GUARD(&tf->data_lock);
    return (tf->extents.span - (tf->ahead_end - tf->ahead_start)) / 512;
}

uint64_t tmpfs_next_data(struct tmpfs_file *tf, uint64_t off)
{
    MUTEX_GUARD(&tf->data_lock);
    struct range_node *n = range_set_lower_bound(&tf->extents, off);
    if (!n || data_end(tf, n) <= MAX(off, n->start))
        return UINT64_MAX;
    return MAX(off, n->start);
}

uint64_t tmpfs_next_hole(struct tmpfs_file *tf, uint64_t off)
{
    MUTEX_GUARD(&tf->data_lock);
    struct range_node *n = range_set_lower_bound(&tf->extents, off);
    while (n && n->start <= off) {
        off = MAX(off, data_end(tf, n));
        if (off < n->end)
            break;
        n = range_node_next(n);
    }
    return off;
}

/* ---- the mappable ---- */

static struct tmpfs_file *file_of(struct mappable *m)
{
    return container_of(m, struct tmpfs_file, mappable);
}

static int tmpfs_add_mapping(struct mappable *m, struct mapping_space *ms, struct addr_range ar,
                             uint64_t offset, bool writable)
{
    struct tmpfs_file *tf = file_of(m);
    MUTEX_GUARD(&tf->maps_lock);
    /* A seal may have come between mmap's check and here. */
    if (writable && (tf->seals & F_SEAL_WRITE))
        return -EPERM;
    return mapping_set_add(&tf->maps, ms, ar, offset, writable);
}

static void tmpfs_remove_mapping(struct mappable *m, struct mapping_space *ms, struct addr_range ar,
                                 uint64_t offset, bool writable)
{
    struct tmpfs_file *tf = file_of(m);
    MUTEX_GUARD(&tf->maps_lock);
    mapping_set_remove(&tf->maps, ms, ar, offset, writable);
}

static int tmpfs_copy_mapping(struct mappable *m, struct mapping_space *ms,
                              UNUSED struct addr_range src, struct addr_range dst, uint64_t offset,
                              bool writable)
{
    struct tmpfs_file *tf = file_of(m);
    MUTEX_GUARD(&tf->maps_lock);
    return mapping_set_add(&tf->maps, ms, dst, offset, writable);
}

/* Fills ts with extents that run on from the one that holds required.start, each of them needed. */
static int emit_extents(struct tmpfs_file *tf, struct mappable_range required,
                        struct mappable_range optional, struct translation *ts, int max, int *n)
{
    struct range_node *node = range_set_find(&tf->extents, required.start);
    uint64_t at = node ? MAX(node->start, optional.start) : 0;
    while (node && node->start <= at && (*n == 0 || at < required.end) && *n < max) {
        uint64_t end = MIN(data_end(tf, node), optional.end);
        if (end <= at)
            break;
        ts[(*n)++] = (struct translation){
            .source = {at, end},
            .file = &file_super(tf)->memory->file,
            .offset = extent_of(node)->place + (at - node->start),
            .perms = ACCESS_ANY,
        };
        at = end;
        if (at < node->end)
            break;
        node = range_node_next(node);
    }
    if (*n && ts[*n - 1].source.end >= required.end)
        return 0;
    return *n == max ? -EAGAIN : -EBUSERR;
}

static int tmpfs_translate(struct mappable *m, struct mappable_range required,
                           struct mappable_range optional, UNUSED access_t at,
                           struct translation *ts, int max, int *n)
{
    struct tmpfs_file *tf = file_of(m);
    MUTEX_GUARD(&tf->data_lock);
    uint64_t eof = page_down(tf->node.inode->size + PAGE_SIZE - 1), done;
    *n = 0;
    if (required.start >= eof)
        return -EBUSERR;
    bool cut = required.end > eof;
    required.end = MIN(required.end, eof);
    optional.end = MIN(optional.end, eof);
    struct mappable_range want = tf->shared_anon ? optional : required;
    int err = tmpfs_reserve(tf, want.start, want.end, false, &done, NULL);
    if (err && tf->shared_anon)
        err = tmpfs_reserve(tf, required.start, required.end, false, &done, NULL);
    if (err && done <= required.start)
        return err == -ENOMEM ? err : -EBUSERR;
    int r = emit_extents(tf, required, optional, ts, max, n);
    return r ? r : cut || (err && done < required.end) ? -EBUSERR : 0;
}

/* The memory file is saved whole. */
static int tmpfs_invalidate_unsavable(UNUSED struct mappable *m)
{
    return 0;
}

static const struct mappable_ops tmpfs_mappable_ops = {
    .add_mapping = tmpfs_add_mapping,
    .remove_mapping = tmpfs_remove_mapping,
    .copy_mapping = tmpfs_copy_mapping,
    .translate = tmpfs_translate,
    .invalidate_unsavable = tmpfs_invalidate_unsavable,
};

void tmpfs_file_init(struct tmpfs_file *tf)
{
    tf->mappable.ops = &tmpfs_mappable_ops;
    mutex_init(&tf->maps_lock, LOCK_MAPPABLE_MAPS);
    mutex_init(&tf->data_lock, LOCK_MAPPABLE_DATA);
    mapping_set_init(&tf->maps);
    range_set_init(&tf->extents);
}

void tmpfs_file_release(struct tmpfs_file *tf, struct tmpfs_super *ts)
{
    struct tmpfs_extent *list = NULL;
    uint64_t ahead = tf->ahead_end - tf->ahead_start;
    struct range_node *n;
    while ((n = range_set_first(&tf->extents))) {
        range_set_remove(&tf->extents, n);
        extent_of(n)->next_detached = list;
        list = extent_of(n);
    }
    uncharge(ts, put_detached(tf, list) - ahead);
    mapping_set_destroy(&tf->maps);
    mutex_destroy(&tf->maps_lock);
    mutex_destroy(&tf->data_lock);
}
