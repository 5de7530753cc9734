/*
 * Nodes: the table by identity, attributes as the host tells them, and where a node is called.
 */
#include "sentry/fs/host/host.h"
#include "sentry/kernel/kernel.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define MIN_BUCKETS 256

static size_t bucket(const struct host_super *hs, dev_t dev, uint64_t ino)
{
    uint64_t h = (ino ^ (dev * 0x9e3779b97f4a7c15ull)) * 0x9e3779b97f4a7c15ull;
    return (size_t)(h >> 32) & (hs->nbuckets - 1);
}

/* Best effort: a full table is slow, not wrong. */
static void grow(struct host_super *hs)
{
    size_t old = hs->nbuckets, n = old ? old * 2 : MIN_BUCKETS;
    struct host_node **from = hs->buckets, **to = calloc(n, sizeof(struct host_node *));
    if (!to)
        return;
    hs->buckets = to;
    hs->nbuckets = n;
    for (size_t k = 0; k < old; k++) {
        struct host_node *p = from[k], *next;
        for (; p; p = next) {
            next = p->hash_next;
            size_t b = bucket(hs, p->host_dev, p->inode->ino);
            p->hash_next = to[b];
            to[b] = p;
        }
    }
    free(from);
}

/* The host gives a number away again once its file is gone: what was born at another time, or is of
 * another type, is another file. */
static bool same_file(const struct host_node *n, const struct statx *stx)
{
    const struct inode *i = n->inode;
    if ((i->mode ^ stx->stx_mode) & S_IFMT)
        return false;
    return !n->has_btime || !(stx->stx_mask & STATX_BTIME) ||
           (i->btime.sec == stx->stx_btime.tv_sec && i->btime.nsec == stx->stx_btime.tv_nsec);
}

static struct inode *table_find(struct host_super *hs, dev_t dev, const struct statx *stx)
{
    if (!hs->nbuckets)
        return NULL;
    for (struct host_node *n = hs->buckets[bucket(hs, dev, stx->stx_ino)]; n; n = n->hash_next) {
        struct inode *i = n->inode;
        if (i->ino == stx->stx_ino && n->host_dev == dev && same_file(n, stx) &&
            ref_get_unless_zero(&i->ref))
            return i;
    }
    return NULL;
}

static int table_insert(struct host_super *hs, struct host_node *n)
{
    if (hs->count >= hs->nbuckets)
        grow(hs);
    if (!hs->nbuckets)
        return -ENOMEM;
    size_t b = bucket(hs, n->host_dev, n->inode->ino);
    n->hash_next = hs->buckets[b];
    hs->buckets[b] = n;
    n->in_table = true;
    hs->count++;
    return 0;
}

static void table_remove(struct host_super *hs, struct host_node *n)
{
    struct host_node **p = &hs->buckets[bucket(hs, n->host_dev, n->inode->ino)];
    while (*p != n)
        p = &(*p)->hash_next;
    *p = n->hash_next;
    n->in_table = false;
    hs->count--;
}

/* What the sandbox calls a host device. The root's is the super block's own. */
static dev_t map_dev(struct host_super *hs, dev_t host)
{
    MUTEX_GUARD(&hs->lock);
    for (unsigned k = 0; k < hs->ndevs; k++) {
        if (hs->host_devs[k] == host)
            return hs->devs[k];
    }
    dev_t dev = hs->ndevs == 0 ? hs->sb->dev : vfs_new_dev(hs->sb->kernel->vfs);
    if (hs->ndevs < HOST_DEVS) {
        hs->host_devs[hs->ndevs] = host;
        hs->devs[hs->ndevs++] = dev;
    }
    return dev;
}

void host_forget(struct inode *i)
{
    struct host_super *hs = host_super(i->sb);
    MUTEX_GUARD(&hs->lock);
    if (host_node(i)->in_table)
        table_remove(hs, host_node(i));
}

static struct timestamp stamp(const struct statx_timestamp *t)
{
    return (struct timestamp){t->tv_sec, t->tv_nsec};
}

void host_fill(struct inode *i, const struct statx *stx)
{
    struct host_node *n = host_node(i);
    i->mode = (i->mode & S_IFMT) | (stx->stx_mode & 07777);
    i->nlink = stx->stx_nlink;
    i->uid = stx->stx_uid;
    i->gid = stx->stx_gid;
    i->size = stx->stx_size;
    i->atime = stamp(&stx->stx_atime);
    i->mtime = stamp(&stx->stx_mtime);
    i->ctime = stamp(&stx->stx_ctime);
    n->blocks = stx->stx_blocks;
    n->blksize = stx->stx_blksize;
    n->attributes = stx->stx_attributes & ~(uint64_t)STATX_ATTR_MOUNT_ROOT;
    n->attributes_mask = stx->stx_attributes_mask & ~(uint64_t)STATX_ATTR_MOUNT_ROOT;
}

static struct inode *new_inode(struct super_block *sb, const struct statx *stx, dev_t host_dev)
{
    uint32_t mode = stx->stx_mode;
    const struct inode_ops *ops =
        S_ISREG(mode)   ? &host_file_ops
        : S_ISDIR(mode) ? host_super(sb)->exclusive ? &host_dir_ops : &host_shared_dir_ops
        : S_ISLNK(mode) ? &host_link_ops
                        : &host_special_ops;
    const struct file_ops *fops = S_ISREG(mode)   ? &host_file_fops
                                  : S_ISDIR(mode) ? &host_dir_fops
                                                  : NULL;
    struct host_node *n = calloc(1, sizeof(*n));
    if (!n)
        return NULL;
    struct inode *i = inode_create(sb, stx->stx_ino, mode, ops, fops);
    if (!i) {
        free(n);
        return NULL;
    }
    n->inode = i;
    i->priv = n;
    n->host_dev = host_dev;
    n->dev = map_dev(host_super(sb), host_dev);
    host_slots_init(n);
    mutex_init(&n->list_lock, LOCK_LEAF);
    mutex_init(&n->read_lock, LOCK_HOST_DIR);
    host_node_init_map(n);
    i->rdev = makedev(stx->stx_rdev_major, stx->stx_rdev_minor);
    n->has_btime = stx->stx_mask & STATX_BTIME;
    if (n->has_btime)
        i->btime = stamp(&stx->stx_btime);
    host_fill(i, stx);
    return i;
}

int host_get_inode(struct super_block *sb, const struct statx *stx, struct inode *parent,
                   const char *name, struct inode **out)
{
    struct host_super *hs = host_super(sb);
    dev_t dev = makedev(stx->stx_dev_major, stx->stx_dev_minor);
    mutex_lock(&hs->lock);
    struct inode *i = table_find(hs, dev, stx);
    mutex_unlock(&hs->lock);
    if (!i) {
        struct inode *fresh = new_inode(sb, stx, dev);
        if (!fresh)
            return -ENOMEM;
        mutex_lock(&hs->lock);
        i = table_find(hs, dev, stx);
        int err = i ? 0 : table_insert(hs, host_node(fresh));
        mutex_unlock(&hs->lock);
        if (i || err)
            inode_put(fresh);
        if (err)
            return err;
        if (!i)
            i = fresh;
    } else if (!hs->exclusive) {
        rwlock_write_nested(&i->lock);
        host_fill(i, stx);
        rwlock_unlock(&i->lock);
    }
    int err = parent ? host_set_place(i, parent, name) : 0;
    if (err) {
        inode_put(i);
        return err;
    }
    *out = i;
    return 0;
}

void host_evict(struct inode *i)
{
    struct host_node *n = host_node(i);
    host_forget(i);
    host_ahead_stop(n);
    host_slots_close(n);
    if (n->listing)
        host_listing_put(n->listing);
    host_node_release_map(n);
    mutex_destroy(&n->list_lock);
    mutex_destroy(&n->read_lock);
    if (n->parent)
        inode_put(n->parent);
    free(n->name);
    free(n->target);
    free(n);
}

bool host_is_at(struct inode *i, struct inode *parent, const char *name)
{
    struct host_node *n = host_node(i);
    MUTEX_GUARD(&host_super(i->sb)->lock);
    return n->parent == parent && n->name && strcmp(n->name, name) == 0;
}

int host_set_place(struct inode *i, struct inode *parent, const char *name)
{
    struct host_node *n = host_node(i);
    if (parent && host_is_at(i, parent, name))
        return 0;
    char *copy = parent ? strdup(name) : NULL;
    if (parent && !copy)
        return -ENOMEM;
    if (parent)
        inode_get(parent);
    mutex_lock(&host_super(i->sb)->lock);
    struct inode *old = n->parent;
    char *old_name = n->name;
    n->parent = parent;
    n->name = copy;
    mutex_unlock(&host_super(i->sb)->lock);
    if (old)
        inode_put(old);
    free(old_name);
    return 0;
}

/* An open directory is its own place. */
static bool place_itself(struct inode *i, struct host_place *out)
{
    struct host_node *n = host_node(i);
    if (!S_ISDIR(i->mode))
        return false;
    out->slot = host_slot_peek_dir(i);
    if (!out->slot)
        return false;
    inode_get(i);
    out->from = i;
    out->at = (struct door_at){(uint32_t)out->slot->fd, "", n->host_dev, i->ino};
    return true;
}

int host_place(struct inode *i, struct host_place *out)
{
    struct host_node *n = host_node(i);
    struct host_super *hs = host_super(i->sb);
    if (place_itself(i, out))
        return 0;
    mutex_lock(&hs->lock);
    out->from = n->parent;
    if (out->from) {
        inode_get(out->from);
        strncpy(out->name, n->name, sizeof(out->name) - 1);
        out->name[sizeof(out->name) - 1] = 0;
    }
    mutex_unlock(&hs->lock);
    if (!out->from)
        return -ENOENT;
    int err = host_slot_get(out->from, SLOT_READ, &out->slot);
    if (err) {
        inode_put(out->from);
        return err;
    }
    out->at = (struct door_at){(uint32_t)out->slot->fd, out->name, n->host_dev, i->ino};
    return 0;
}

void host_unplace(struct host_place *p)
{
    host_slot_put(p->from, p->slot);
    inode_put(p->from);
}

static int ask(struct inode *i, struct statx *stx)
{
    struct host_slot *s = host_slot_peek(i);
    if (s) {
        int err = door_stat_fd(s->fd, stx);
        host_slot_put(i, s);
        return err;
    }
    struct host_place p;
    int err = host_place(i, &p);
    if (err)
        return err;
    err = door_stat_at(&host_super(i->sb)->door, p.at, stx);
    host_unplace(&p);
    return err;
}

int host_refresh(struct inode *i, bool force)
{
    struct host_node *n = host_node(i);
    if (!force && host_super(i->sb)->exclusive && !n->stale)
        return 0;
    struct statx stx;
    n->stale = false;
    int err = ask(i, &stx);
    if (err == -ENOENT || err == -ESTALE)
        return 0; /* gone: what we knew last is the best answer */
    if (err)
        return err;
    rwlock_write_nested(&i->lock);
    host_fill(i, &stx);
    rwlock_unlock(&i->lock);
    return 0;
}
