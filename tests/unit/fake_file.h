/*
 * A mappable for tests of mm: a file of pages in the memory file, that can be truncated, and whose
 * pages can be moved elsewhere, as a cache under pressure does.
 */
#ifndef PICKET_TESTS_FAKE_FILE_H
#define PICKET_TESTS_FAKE_FILE_H

#include "base/lock.h"
#include "base/refcount.h"
#include "memmap/mapping_set.h"
#include "memmap/memory_file.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FAKE_FILE_PAGES 2048
#define FAKE_NONE UINT64_MAX

struct fake_file {
    struct mappable mappable;
    struct mapping_identity id;
    struct refcount ref;
    struct memory_file *memory;
    struct mutex maps_lock, data_lock;
    struct mapping_set maps;
    uint64_t inode;
    uint64_t size;                    /* pages */
    uint64_t offset[FAKE_FILE_PAGES]; /* in the memory file, or FAKE_NONE */
    bool stingy;                      /* grants no more access than was asked for */
    unsigned run;                     /* pages allocated together */
    unsigned long translations, msyncs;
};

static inline struct fake_file *fake_file_of(struct mappable *m)
{
    return container_of(m, struct fake_file, mappable);
}
static inline struct fake_file *fake_file_of_id(struct mapping_identity *id)
{
    return container_of(id, struct fake_file, id);
}

static inline int ff_add(struct mappable *m, struct mapping_space *ms, struct addr_range ar,
                         uint64_t offset, bool writable)
{
    struct fake_file *f = fake_file_of(m);
    MUTEX_GUARD(&f->maps_lock);
    return mapping_set_add(&f->maps, ms, ar, offset, writable);
}

static inline void ff_remove(struct mappable *m, struct mapping_space *ms, struct addr_range ar,
                             uint64_t offset, bool writable)
{
    struct fake_file *f = fake_file_of(m);
    MUTEX_GUARD(&f->maps_lock);
    mapping_set_remove(&f->maps, ms, ar, offset, writable);
}

static inline int ff_copy(struct mappable *m, struct mapping_space *ms,
                          UNUSED struct addr_range src, struct addr_range dst, uint64_t offset,
                          bool writable)
{
    return ff_add(m, ms, dst, offset, writable);
}

static inline int ff_fill(struct fake_file *f, uint64_t page)
{
    uint64_t n = 1;
    struct file_range fr;
    while (n < f->run && page + n < f->size && f->offset[page + n] == FAKE_NONE)
        n++;
    int err = memory_file_alloc(f->memory, n * PAGE_SIZE, 0, &fr);
    for (uint64_t i = 0; !err && i < n; i++)
        f->offset[page + i] = fr.start + i * PAGE_SIZE;
    return err;
}

static inline int ff_translate(struct mappable *m, struct mappable_range required,
                               struct mappable_range optional, access_t at, struct translation *ts,
                               int max, int *n)
{
    struct fake_file *f = fake_file_of(m);
    MUTEX_GUARD(&f->data_lock);
    uint64_t end = MIN(required.end >> PAGE_SHIFT, f->size);
    uint64_t opt_end = MIN(optional.end >> PAGE_SHIFT, f->size);

    f->translations++;
    *n = 0;
    for (uint64_t p = required.start >> PAGE_SHIFT; p < end;) {
        if (f->offset[p] == FAKE_NONE) {
            int err = ff_fill(f, p);
            if (err)
                return err;
        }
        if (*n == max)
            return -EAGAIN;
        uint64_t start = p, stop = p + 1;
        while (stop < opt_end && f->offset[stop] == f->offset[stop - 1] + PAGE_SIZE)
            stop++;
        while (*n == 0 && start > optional.start >> PAGE_SHIFT &&
               f->offset[start - 1] + PAGE_SIZE == f->offset[start])
            start--;
        ts[(*n)++] = (struct translation){
            .source = {start << PAGE_SHIFT, stop << PAGE_SHIFT},
            .file = &f->memory->file,
            .offset = f->offset[start],
            .perms = f->stingy ? access_effective(at) : ACCESS_ANY,
        };
        p = stop;
    }
    return end == required.end >> PAGE_SHIFT ? 0 : -EBUSERR;
}

static inline int ff_unsavable(UNUSED struct mappable *m)
{
    return 0;
}

static const struct mappable_ops fake_file_ops = {.add_mapping = ff_add,
                                                  .remove_mapping = ff_remove,
                                                  .copy_mapping = ff_copy,
                                                  .translate = ff_translate,
                                                  .invalidate_unsavable = ff_unsavable};

static inline void ff_get(struct mapping_identity *id)
{
    ref_get(&fake_file_of_id(id)->ref);
}

static inline void ff_put(struct mapping_identity *id)
{
    if (ref_put(&fake_file_of_id(id)->ref))
        abort(); /* the test holds one */
}

static inline int ff_name(struct mapping_identity *id, char *buf, size_t size)
{
    return snprintf(buf, size, "/file%lu", fake_file_of_id(id)->inode);
}

static inline dev_t ff_device(UNUSED struct mapping_identity *id)
{
    return 77;
}

static inline uint64_t ff_inode(struct mapping_identity *id)
{
    return fake_file_of_id(id)->inode;
}

static inline int ff_msync(struct mapping_identity *id, UNUSED struct mappable_range mr)
{
    fake_file_of_id(id)->msyncs++;
    return 0;
}

static const struct mapping_identity_ops fake_identity_ops = {.get = ff_get,
                                                              .put = ff_put,
                                                              .name = ff_name,
                                                              .device = ff_device,
                                                              .inode = ff_inode,
                                                              .msync = ff_msync};

static inline struct fake_file *fake_file_create(struct memory_file *mf, uint64_t inode,
                                                 uint64_t pages, unsigned run, bool stingy)
{
    struct fake_file *f = calloc(1, sizeof(*f));
    if (!f)
        abort();
    f->mappable.ops = &fake_file_ops;
    f->id.ops = &fake_identity_ops;
    ref_init(&f->ref);
    f->memory = mf;
    f->inode = inode;
    f->size = pages;
    f->run = run;
    f->stingy = stingy;
    for (size_t i = 0; i < FAKE_FILE_PAGES; i++)
        f->offset[i] = FAKE_NONE;
    mutex_init(&f->maps_lock, LOCK_MAPPABLE_MAPS);
    mutex_init(&f->data_lock, LOCK_MAPPABLE_DATA);
    mapping_set_init(&f->maps);
    return f;
}

static inline struct file_range ff_page(uint64_t offset)
{
    return (struct file_range){offset, offset + PAGE_SIZE};
}

static inline void fake_file_truncate(struct fake_file *f, uint64_t pages)
{
    struct invalidate_opts opts = {.invalidate_private = true};
    MUTEX_GUARD(&f->maps_lock);
    mutex_lock(&f->data_lock);
    uint64_t old = f->size;
    f->size = pages;
    mutex_unlock(&f->data_lock);
    if (pages >= old)
        return;
    struct mappable_range mr = {pages << PAGE_SHIFT, old << PAGE_SHIFT};
    mapping_set_invalidate(&f->maps, mr, &opts);
    for (uint64_t p = pages; p < old; p++) {
        if (f->offset[p] != FAKE_NONE)
            memory_file_put(f->memory, ff_page(f->offset[p]));
        f->offset[p] = FAKE_NONE;
    }
}

/* Moves the pages to other places; their contents stay. */
static inline void fake_file_evict(struct fake_file *f, uint64_t first, uint64_t n)
{
    struct invalidate_opts opts = {.invalidate_private = false};
    MUTEX_GUARD(&f->maps_lock);
    struct mappable_range mr = {first << PAGE_SHIFT, (first + n) << PAGE_SHIFT};
    mapping_set_invalidate(&f->maps, mr, &opts);
    for (uint64_t p = first; p < first + n && p < f->size; p++) {
        struct file_range fr;
        if (f->offset[p] == FAKE_NONE)
            continue;
        if (memory_file_alloc(f->memory, PAGE_SIZE, 0, &fr))
            abort();
        memcpy(f->memory->file.window + fr.start, f->memory->file.window + f->offset[p], PAGE_SIZE);
        memory_file_put(f->memory, ff_page(f->offset[p]));
        f->offset[p] = fr.start;
    }
}

static inline void fake_file_destroy(struct fake_file *f)
{
    fake_file_truncate(f, 0);
    if (!mapping_set_empty(&f->maps) || ref_read(&f->ref) != 1)
        abort();
    mapping_set_destroy(&f->maps);
    mutex_destroy(&f->maps_lock);
    mutex_destroy(&f->data_lock);
    free(f);
}

#endif
