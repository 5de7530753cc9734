/*
 * The dentry cache: names that were looked up, and what they are, missing ones included.
 *
 * A hashed dentry has a reference that is the cache's own, so whoever holds the lock for reading
 * may take another without asking. Finding, using and putting back a cached name writes nothing
 * but that count. A dentry in use also holds its parent, so directories above it stay.
 *
 * When there are more than `limit`, each addition looks at a few of the oldest and drops those that
 * only the cache holds.
 */
#include "base/log.h"
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/internal.h"
#include "sentry/vfs/notify.h"
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define SHRINK_BATCH 64

int dcache_create(struct dcache **out, size_t limit)
{
    struct dcache *dc = calloc(1, sizeof *dc);
    if (!dc)
        return -ENOMEM;
    size_t n = 1024;
    while (n < limit / 2)
        n *= 2;
    dc->buckets = calloc(n, sizeof *dc->buckets);
    if (!dc->buckets) {
        free(dc);
        return -ENOMEM;
    }
    dc->mask = (uint32_t)n - 1;
    dc->limit = limit;
    /* An application that could predict buckets could make all its names meet in one. */
    if (getrandom(&dc->seed, sizeof dc->seed, GRND_NONBLOCK) != sizeof dc->seed)
        dc->seed = (uint32_t)((uintptr_t)dc >> 4);
    rwlock_init(&dc->lock, LOCK_DCACHE);
    list_init(&dc->lru);
    *out = dc;
    return 0;
}

void dcache_destroy(struct dcache *dc)
{
    rwlock_destroy(&dc->lock);
    free(dc->buckets);
    free(dc);
}

struct dcache *dcache_of(const struct super_block *sb)
{
    return sb->kernel->vfs->dcache;
}

static uint64_t mix(uint64_t h, uint64_t w)
{
    h = (h ^ w) * 0x9e3779b97f4a7c15ull;
    return h ^ (h >> 32);
}

uint32_t d_hash(const struct dcache *dc, const struct dentry *parent, const char *name, size_t len)
{
    uint64_t h = mix(dc->seed, (uintptr_t)parent);
    uint64_t w;
    for (; len >= 8; len -= 8, name += 8) {
        memcpy(&w, name, 8);
        h = mix(h, w);
    }
    w = len;
    for (size_t i = 0; i < len; i++)
        w = w << 8 | (unsigned char)name[i];
    h = mix(h, w);
    return (uint32_t)(h ^ (h >> 29));
}

struct dentry *d_find_locked(const struct dcache *dc, const struct dentry *parent, const char *name,
                             size_t len)
{
    uint32_t hash = d_hash(dc, parent, name, len);
    for (struct dentry *d = dc->buckets[hash & dc->mask]; d; d = d->hash_next)
        if (d->hash == hash && d->parent == parent && d->name_len == len &&
            memcmp(d->name, name, len) == 0)
            return d;
    return NULL;
}

struct dentry *d_find(struct dentry *parent, const char *name, size_t len)
{
    struct dcache *dc = dcache_of(parent->sb);
    rwlock_read(&dc->lock);
    struct dentry *d = d_find_locked(dc, parent, name, len);
    if (d)
        dentry_get(d);
    rwlock_unlock(&dc->lock);
    return d;
}

/* A name that fits is kept behind the dentry; a longer one that a rename brings is its own. */
static char *d_inline_name(struct dentry *d)
{
    return (char *)(d + 1);
}

struct dentry *d_alloc(struct super_block *sb, struct dentry *parent, const char *name, size_t len)
{
    struct dentry *d = malloc(sizeof *d + len + 1);
    if (!d)
        return NULL;
    memset(d, 0, sizeof *d);
    ref_init(&d->ref);
    d->sb = sb;
    d->parent = parent ? parent : d;
    if (parent)
        dentry_get(parent);
    d->name = d_inline_name(d);
    memcpy(d->name, name, len);
    d->name[len] = 0;
    d->name_len = (uint32_t)len;
    list_init(&d->children);
    list_init(&d->sibling);
    list_init(&d->lru);
    return d;
}

/* Pre: no reference, no list. Returns the parent, whose reference the caller must put: a chain of
 * directories must not become a chain of calls. */
static struct dentry *d_free(struct dentry *d)
{
    struct dentry *parent = d->parent == d ? NULL : d->parent;
    if (d->inode) {
        notify_gone(d->inode);
        inode_put(d->inode);
    }
    if (d->name != d_inline_name(d))
        free(d->name);
    free(d);
    return parent;
}

void dentry_get(struct dentry *d)
{
    ref_get(&d->ref);
}

/* Takes d out of the cache. Pre: lock held for writing, hashed. The cache's reference is now the
 * caller's. */
static void d_unhash_locked(struct dcache *dc, struct dentry *d)
{
    struct dentry **pp = &dc->buckets[d->hash & dc->mask];
    while (*pp != d)
        pp = &(*pp)->hash_next;
    *pp = d->hash_next;
    d->hash_next = NULL;
    d->hashed = false;
    dc->count--;
    list_del(&d->lru);
    list_del(&d->sibling);
}

static void d_hash_locked(struct dcache *dc, struct dentry *d)
{
    d->hash = d_hash(dc, d->parent, d->name, d->name_len);
    struct dentry **b = &dc->buckets[d->hash & dc->mask];
    d->hash_next = *b;
    *b = d;
    d->hashed = true;
    dc->count++;
    list_add(&dc->lru, &d->lru);
    list_add(&d->parent->children, &d->sibling);
}

/* A cached dentry of a file system that wants none kept has lost its last user. */
static bool d_forget_unused(struct dentry *d)
{
    struct dcache *dc = dcache_of(d->sb);
    rwlock_write(&dc->lock);
    bool unused = d->hashed && ref_read(&d->ref) == 2;
    if (unused)
        d_unhash_locked(dc, d);
    rwlock_unlock(&dc->lock);
    return unused;
}

void dentry_put(struct dentry *d)
{
    while (d) {
        if (d->sb->no_dentry_cache && ref_read(&d->ref) == 2 && d_forget_unused(d)) {
            if (ref_put(&d->ref)) /* the cache's; ours is still there */
                panic("dcache: dentry of nobody");
        }
        if (!ref_put(&d->ref))
            return;
        d = d_free(d);
    }
}

/* Moves up to `want` unused dentries among the `scan` oldest to `victims`. Lock held for writing.
 */
static void d_collect_old(struct dcache *dc, size_t want, size_t scan, struct list_head *victims)
{
    while (want && scan-- && !list_empty(&dc->lru)) {
        struct dentry *d = list_entry(dc->lru.prev, struct dentry, lru);
        list_del(&d->lru);
        if (ref_read(&d->ref) > 1 || (d->inode && d->inode->watches)) {
            list_add(&dc->lru, &d->lru);
            continue;
        }
        d_unhash_locked(dc, d);
        list_add_tail(victims, &d->lru);
        want--;
    }
}

static void d_put_all(struct list_head *victims)
{
    while (!list_empty(victims)) {
        struct dentry *d = list_first(victims, struct dentry, lru);
        list_del(&d->lru);
        dentry_put(d);
    }
}

void d_add(struct dentry *d)
{
    struct dcache *dc = dcache_of(d->sb);
    struct list_head victims;
    list_init(&victims);
    dentry_get(d);
    rwlock_write(&dc->lock);
    d_hash_locked(dc, d);
    if (dc->count > dc->limit)
        d_collect_old(dc, 2, SHRINK_BATCH, &victims);
    rwlock_unlock(&dc->lock);
    d_put_all(&victims);
}

void d_instantiate(struct dentry *d, struct inode *i)
{
    struct dcache *dc = dcache_of(d->sb);
    rwlock_write(&dc->lock);
    d->inode = i;
    rwlock_unlock(&dc->lock);
}

struct dentry *d_make_root(struct super_block *sb, struct inode *i)
{
    return d_make_anon(sb, "/", i);
}

struct dentry *d_make_anon(struct super_block *sb, const char *name, struct inode *i)
{
    struct dentry *d = d_alloc(sb, NULL, name, strlen(name));
    if (!d) {
        inode_put(i);
        return NULL;
    }
    d->inode = i;
    return d;
}

void d_drop(struct dentry *d)
{
    struct dcache *dc = dcache_of(d->sb);
    rwlock_write(&dc->lock);
    bool was = d->hashed;
    if (was)
        d_unhash_locked(dc, d);
    rwlock_unlock(&dc->lock);
    if (was)
        dentry_put(d);
}

void d_delete(struct dentry *d)
{
    struct dcache *dc = dcache_of(d->sb);
    struct inode *gone = NULL;
    rwlock_write(&dc->lock);
    bool drop = d->hashed && (ref_read(&d->ref) > 2 || d->sb->no_dentry_cache);
    if (drop) {
        d_unhash_locked(dc, d);
    } else if (d->hashed) {
        gone = d->inode;
        d->inode = NULL;
    }
    rwlock_unlock(&dc->lock);
    if (gone) {
        notify_gone(gone);
        inode_put(gone);
    }
    if (drop)
        dentry_put(d);
}

/* Gives d the name of `from`. Lock held for writing; spare is used if it does not fit. */
static void d_set_name(struct dentry *d, char *name, uint32_t len)
{
    if (d->name != d_inline_name(d))
        free(d->name);
    d->name = name;
    d->name_len = len;
}

int d_move(struct dentry *d, struct dentry *target, bool exchange)
{
    struct dcache *dc = dcache_of(d->sb);
    char *name = strndup(target->name, target->name_len);
    char *other = strndup(d->name, d->name_len);
    if (!name || !other) {
        free(name);
        free(other);
        return -ENOMEM;
    }
    uint32_t target_len = target->name_len, d_len = d->name_len;
    struct dentry *old_parent = d->parent, *new_parent = target->parent;
    rwlock_write(&dc->lock);
    bool d_hashed = d->hashed, t_hashed = target->hashed;
    if (d_hashed)
        d_unhash_locked(dc, d);
    if (t_hashed)
        d_unhash_locked(dc, target);
    d_set_name(d, name, target_len);
    d->parent = new_parent;
    if (exchange) {
        /* Each takes over the reference that the other had on its parent. */
        target->parent = old_parent;
        d_set_name(target, other, d_len);
        other = NULL;
    } else {
        dentry_get(new_parent); /* target keeps its name, for those who have it open */
    }
    if (d_hashed)
        d_hash_locked(dc, d);
    if (exchange && t_hashed)
        d_hash_locked(dc, target);
    rwlock_unlock(&dc->lock);
    free(other);
    if (!exchange) {
        dentry_put(old_parent);
        if (t_hashed)
            dentry_put(target);
    }
    return 0;
}

void d_drop_children(struct dentry *dir)
{
    struct dcache *dc = dcache_of(dir->sb);
    struct list_head victims;
    list_init(&victims);
    rwlock_write(&dc->lock);
    while (!list_empty(&dir->children)) {
        struct dentry *d = list_first(&dir->children, struct dentry, sibling);
        d_unhash_locked(dc, d);
        list_add_tail(&victims, &d->lru);
    }
    rwlock_unlock(&dc->lock);
    d_put_all(&victims);
}

/* The unused dentries of sb. Putting one may free its parent for the next round. */
void d_shrink(struct super_block *sb)
{
    struct dcache *dc = dcache_of(sb);
    struct list_head victims;
    list_init(&victims);
    do {
        struct dentry *d, *tmp;
        d_put_all(&victims);
        rwlock_write(&dc->lock);
        list_for_each_safe (d, tmp, &dc->lru, lru) {
            if (d->sb != sb || ref_read(&d->ref) > 1)
                continue;
            d_unhash_locked(dc, d);
            list_add_tail(&victims, &d->lru);
        }
        rwlock_unlock(&dc->lock);
    } while (!list_empty(&victims));
}

bool d_is_ancestor(const struct dentry *a, const struct dentry *d)
{
    struct dcache *dc = dcache_of(d->sb);
    rwlock_read(&dc->lock);
    while (d != a && d->parent != d)
        d = d->parent;
    rwlock_unlock(&dc->lock);
    return d == a;
}
