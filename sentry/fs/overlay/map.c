/*
 * Mapping files of the overlay. The overlay's node is the mappable, so that a mapping made before
 * the file was copied up shows the copy afterwards.
 *
 *      mm --maps--> ovl_node.maps --translate--> lower mappable, then (copied up) upper mappable
 *       ^                |                              |
 *       `--invalidate----+<------------ proxy ----------'
 *
 * To the real mappable the node is one mapping space, the proxy, that maps all of it at address 0;
 * what the real one invalidates is passed on. Copying up moves the proxy from the lower to the
 * upper mappable, and drops what was translated.
 */
#include "sentry/fs/overlay/overlay.h"
#include <errno.h>

/* Everything a file can have, in whole pages. */
#define ALL ((struct addr_range){0, page_down(INT64_MAX)})

static struct ovl_node *node_of(struct mappable *m)
{
    return container_of(m, struct ovl_node, mappable);
}

static int ovl_add_mapping(struct mappable *m, struct mapping_space *ms, struct addr_range ar,
                           uint64_t offset, bool writable)
{
    struct ovl_node *n = node_of(m);
    MUTEX_GUARD(&n->maps_lock);
    return mapping_set_add(&n->maps, ms, ar, offset, writable);
}

static void ovl_remove_mapping(struct mappable *m, struct mapping_space *ms, struct addr_range ar,
                               uint64_t offset, bool writable)
{
    struct ovl_node *n = node_of(m);
    MUTEX_GUARD(&n->maps_lock);
    mapping_set_remove(&n->maps, ms, ar, offset, writable);
}

static int ovl_copy_mapping(struct mappable *m, struct mapping_space *ms,
                            UNUSED struct addr_range src, struct addr_range dst, uint64_t offset,
                            bool writable)
{
    return ovl_add_mapping(m, ms, dst, offset, writable);
}

/* Which mappable is real may change at any moment: whoever changes it invalidates after, and that
 * waits for the caller's MM_ACTIVE. */
static int ovl_translate(struct mappable *m, struct mappable_range required,
                         struct mappable_range optional, access_t at, struct translation *ts,
                         int max, int *count)
{
    struct mappable *real = node_of(m)->real_map;
    return real->ops->translate(real, required, optional, at, ts, max, count);
}

static int ovl_invalidate_unsavable(struct mappable *m)
{
    struct mappable *real = node_of(m)->real_map;
    return real ? real->ops->invalidate_unsavable(real) : 0;
}

static const struct mappable_ops ovl_mappable_ops = {
    .add_mapping = ovl_add_mapping,
    .remove_mapping = ovl_remove_mapping,
    .copy_mapping = ovl_copy_mapping,
    .translate = ovl_translate,
    .invalidate_unsavable = ovl_invalidate_unsavable,
};

/* The real mappable's lock is held: the overlay's comes after it. */
static void proxy_invalidate(struct mapping_space *ms, struct addr_range ar,
                             const struct invalidate_opts *opts)
{
    struct ovl_node *n = container_of(ms, struct ovl_node, proxy);
    mutex_lock_nested(&n->maps_lock);
    mapping_set_invalidate(&n->maps, (struct mappable_range){ar.start, ar.end}, opts);
    mutex_unlock(&n->maps_lock);
}

static const struct mapping_space_ops proxy_ops = {.invalidate = proxy_invalidate};

void ovl_map_init(struct ovl_node *n)
{
    n->mappable.ops = &ovl_mappable_ops;
    n->proxy.ops = &proxy_ops;
    mutex_init(&n->maps_lock, LOCK_MAPPABLE_MAPS);
    mapping_set_init(&n->maps);
}

void ovl_map_release(struct ovl_node *n)
{
    struct mappable *real = n->real_map;
    if (real)
        real->ops->remove_mapping(real, &n->proxy, ALL, 0, true);
    mapping_set_destroy(&n->maps);
    mutex_destroy(&n->maps_lock);
}

/* copy_lock held. */
static int map_real(struct ovl_node *n, struct mappable *real)
{
    if (n->real_map == real)
        return 0;
    int err = real->ops->add_mapping(real, &n->proxy, ALL, 0, true);
    if (!err)
        n->real_map = real;
    return err;
}

int ovl_map_copied_up(struct ovl_node *n, struct inode *upper)
{
    struct mappable *lower = n->real_map;
    if (!lower)
        return 0; /* nobody ever mapped it */
    int err = map_real(n, &tmpfs_file(upper)->mappable);
    if (err)
        return err;
    struct invalidate_opts opts = {0};
    mutex_lock(&n->maps_lock);
    mapping_set_invalidate_all(&n->maps, &opts);
    mutex_unlock(&n->maps_lock);
    lower->ops->remove_mapping(lower, &n->proxy, ALL, 0, true);
    return 0;
}

int ovl_mmap(struct file *f, struct mmap_opts *opts)
{
    struct ovl_node *n = ovl_node(f->inode);
    mutex_lock_nested(&n->copy_lock);
    struct file *real = ovl_real_file(f);
    int err = real->ops->mmap ? real->ops->mmap(real, opts) : -ENODEV;
    struct inode *upper = n->upper;
    if (!err)
        err = map_real(n, upper ? &tmpfs_file(upper)->mappable : opts->mappable);
    mutex_unlock(&n->copy_lock);
    opts->mappable = err ? NULL : &n->mappable;
    return err;
}
