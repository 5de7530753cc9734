/*
 * Mapping host files: the pages are the host's own page cache.
 */
#include "sentry/fs/host/host.h"
#include <errno.h>

static struct host_node *node_of(struct mappable *m)
{
    return container_of(m, struct host_node, mappable);
}

static int host_add_mapping(struct mappable *m, struct mapping_space *ms, struct addr_range ar,
                            uint64_t offset, bool writable)
{
    struct host_node *n = node_of(m);
    MUTEX_GUARD(&n->maps_lock);
    return mapping_set_add(&n->maps, ms, ar, offset, writable);
}

static void host_remove_mapping(struct mappable *m, struct mapping_space *ms, struct addr_range ar,
                                uint64_t offset, bool writable)
{
    struct host_node *n = node_of(m);
    MUTEX_GUARD(&n->maps_lock);
    mapping_set_remove(&n->maps, ms, ar, offset, writable);
}

static int host_copy_mapping(struct mappable *m, struct mapping_space *ms,
                             UNUSED struct addr_range src, struct addr_range dst, uint64_t offset,
                             bool writable)
{
    return host_add_mapping(m, ms, dst, offset, writable);
}

/* The end of the file in whole pages; asks the host if `need` lies beyond what is known. */
static uint64_t end_of_file(struct host_node *n, uint64_t need)
{
    uint64_t eof = page_down(n->inode->size + PAGE_SIZE - 1);
    struct statx stx;
    if (need <= eof || host_super(n->inode->sb)->exclusive)
        return eof;
    for (int k = 0; k < 2; k++) {
        if (n->slots[k].mapped && door_stat_fd(n->slots[k].fd, &stx) == 0)
            return page_down(stx.stx_size + PAGE_SIZE - 1);
    }
    return eof;
}

static int host_translate(struct mappable *m, struct mappable_range required,
                          struct mappable_range optional, access_t at, struct translation *ts,
                          int max, int *count)
{
    struct host_node *n = node_of(m);
    MUTEX_GUARD(&n->data_lock);
    *count = 0;
    struct host_slot *s = &n->slots[SLOT_WRITE];
    if (!s->mapped && !(at & ACCESS_WRITE))
        s = &n->slots[SLOT_READ];
    if (!s->mapped || max < 1)
        return -EBUSERR;
    uint64_t eof = end_of_file(n, required.end);
    if (required.start >= eof)
        return -EBUSERR;
    uint64_t end = MIN(optional.end, eof);
    *count = 1;
    ts[0] = (struct translation){
        .source = {optional.start, end},
        .file = host_file_memmap(s->mapped),
        .offset = optional.start,
        .perms = s == &n->slots[SLOT_WRITE] ? ACCESS_ANY : ACCESS_READ | ACCESS_EXEC,
    };
    return end < required.end ? -EBUSERR : 0;
}

static int host_invalidate_unsavable(struct mappable *m)
{
    struct host_node *n = node_of(m);
    struct invalidate_opts opts = {0};
    MUTEX_GUARD(&n->maps_lock);
    mapping_set_invalidate_all(&n->maps, &opts);
    return 0;
}

static const struct mappable_ops host_mappable_ops = {
    .add_mapping = host_add_mapping,
    .remove_mapping = host_remove_mapping,
    .copy_mapping = host_copy_mapping,
    .translate = host_translate,
    .invalidate_unsavable = host_invalidate_unsavable,
};

void host_node_init_map(struct host_node *n)
{
    n->mappable.ops = &host_mappable_ops;
    mutex_init(&n->maps_lock, LOCK_MAPPABLE_MAPS);
    mutex_init(&n->data_lock, LOCK_MAPPABLE_DATA);
    mapping_set_init(&n->maps);
}

void host_node_release_map(struct host_node *n)
{
    mapping_set_destroy(&n->maps);
    mutex_destroy(&n->maps_lock);
    mutex_destroy(&n->data_lock);
}

int host_mmap(struct file *f, struct mmap_opts *opts)
{
    struct host_node *n = host_node(f->inode);
    struct host_slot *s = f->priv;
    MUTEX_GUARD(&n->data_lock);
    if (!s->mapped) {
        int fd = door_dup(s->fd);
        if (fd < 0)
            return fd == -EMFILE ? -ENFILE : fd;
        int err = host_file_create(fd, s == &n->slots[SLOT_WRITE], &s->mapped);
        if (err) {
            door_close(fd);
            return err;
        }
        s->noexec = door_noexec(s->fd);
    }
    /* The host would refuse to show such a file for execution, however it is asked. */
    if (s->noexec && (opts->perms & ACCESS_EXEC))
        return -EPERM;
    if (s->noexec)
        opts->max_perms &= (access_t)~ACCESS_EXEC;
    opts->mappable = &n->mappable;
    return 0;
}

int host_resize(struct inode *i, uint64_t size)
{
    struct host_node *n = host_node(i);
    const struct door *door = &host_super(i->sb)->door;
    struct host_slot *s;
    uint64_t from;
    if (size > INT64_MAX || !page_up(size, &from))
        return -EFBIG;
    int err = host_slot_get(i, SLOT_WRITE, &s);
    if (err)
        return err;
    rwlock_write(&i->lock);
    uint64_t old = i->size;
    mutex_lock(&n->maps_lock);
    mutex_lock(&n->data_lock);
    i->size = size;
    mutex_unlock(&n->data_lock);
    if (size < old && !mapping_set_empty(&n->maps)) {
        struct invalidate_opts opts = {.invalidate_private = true};
        mapping_set_invalidate(&n->maps, (struct mappable_range){from, page_down(UINT64_MAX)},
                               &opts);
    }
    err = door_truncate(door, s->fd, size);
    if (err)
        i->size = old;
    mutex_unlock(&n->maps_lock);
    n->stale = true;
    rwlock_unlock(&i->lock);
    host_slot_put(i, s);
    return err;
}
