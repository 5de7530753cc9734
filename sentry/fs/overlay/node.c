/*
 * Overlay nodes and the two tables they are found by.
 */
#include "sentry/fs/overlay/overlay.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#define MIN_BUCKETS 256

static size_t bucket(const struct ovl_table *t, const struct inode *key)
{
    uint64_t h = (uint64_t)(uintptr_t)key * 0x9e3779b97f4a7c15ull;
    return (size_t)(h >> 32) & (t->nbuckets - 1);
}

/* Both tables are alike but for the members they use. */
static const struct inode *key_of(const struct ovl_node *n, bool upper)
{
    return upper ? n->upper : n->lower;
}
static struct ovl_node **next_of(struct ovl_node *n, bool upper)
{
    return upper ? &n->upper_next : &n->lower_next;
}
static struct ovl_table *table_of(struct ovl_super *os, bool upper)
{
    return upper ? &os->by_upper : &os->by_lower;
}

static void grow(struct ovl_table *t, bool upper)
{
    struct ovl_table fresh = {.nbuckets = t->nbuckets ? t->nbuckets * 2 : MIN_BUCKETS,
                              .count = t->count};
    fresh.buckets = calloc(fresh.nbuckets, sizeof(struct ovl_node *));
    if (!fresh.buckets)
        return;
    for (size_t k = 0; k < t->nbuckets; k++) {
        struct ovl_node *n = t->buckets[k], *next;
        for (; n; n = next) {
            next = *next_of(n, upper);
            size_t b = bucket(&fresh, key_of(n, upper));
            *next_of(n, upper) = fresh.buckets[b];
            fresh.buckets[b] = n;
        }
    }
    free(t->buckets);
    *t = fresh;
}

static struct ovl_node *find(struct ovl_super *os, const struct inode *key, bool upper)
{
    struct ovl_table *t = table_of(os, upper);
    struct ovl_node *n = t->nbuckets ? t->buckets[bucket(t, key)] : NULL;
    while (n && key_of(n, upper) != key)
        n = *next_of(n, upper);
    return n;
}

/* os->lock held, the table has buckets. */
static void insert(struct ovl_super *os, struct ovl_node *n, bool upper)
{
    struct ovl_table *t = table_of(os, upper);
    if (t->count >= t->nbuckets)
        grow(t, upper);
    size_t b = bucket(t, key_of(n, upper));
    *next_of(n, upper) = t->buckets[b];
    t->buckets[b] = n;
    t->count++;
    if (upper)
        n->in_upper = true;
    else
        n->in_lower = true;
}

static void take_out(struct ovl_super *os, struct ovl_node *n, bool upper)
{
    struct ovl_table *t = table_of(os, upper);
    struct ovl_node **p = &t->buckets[bucket(t, key_of(n, upper))];
    while (*p != n)
        p = next_of(*p, upper);
    *p = *next_of(n, upper);
    t->count--;
}

static struct inode *find_live(struct ovl_super *os, struct inode *key, bool upper)
{
    struct ovl_node *n = find(os, key, upper);
    return n && ref_get_unless_zero(&n->inode->ref) ? n->inode : NULL;
}

void ovl_sync(struct inode *i, bool with_atime)
{
    struct inode *real = ovl_real(i);
    rwlock_read(&real->lock);
    uint32_t mode = real->mode;
    uid_t uid = real->uid;
    gid_t gid = real->gid;
    uint64_t size = real->size;
    struct timestamp atime = real->atime, mtime = real->mtime, ctime = real->ctime;
    rwlock_unlock(&real->lock);
    rwlock_write(&i->lock);
    i->mode = (i->mode & S_IFMT) | (mode & 07777);
    i->uid = uid;
    i->gid = gid;
    i->size = size;
    if (with_atime)
        i->atime = atime;
    i->mtime = mtime;
    i->ctime = ctime;
    rwlock_unlock(&i->lock);
}

static const struct inode_ops *dir_ops(const struct inode *lower)
{
    return lower && lower->ops->revalidate ? &ovl_shared_dir_ops : &ovl_dir_ops;
}

static struct inode *new_inode(struct super_block *sb, struct inode *lower, struct inode *upper)
{
    struct inode *real = upper ? upper : lower;
    uint32_t mode = real->mode;
    const struct inode_ops *ops = S_ISREG(mode)   ? &ovl_file_ops
                                  : S_ISDIR(mode) ? dir_ops(lower)
                                  : S_ISLNK(mode) ? &ovl_link_ops
                                                  : &ovl_special_ops;
    const struct file_ops *fops = S_ISREG(mode)   ? &ovl_file_fops
                                  : S_ISDIR(mode) ? &ovl_dir_fops
                                                  : NULL;
    struct ovl_node *n = calloc(1, sizeof(*n));
    if (!n)
        return NULL;
    struct inode *i =
        inode_create(sb, upper ? upper->ino + OVL_UPPER_INO : lower->ino, mode, ops, fops);
    if (!i) {
        free(n);
        return NULL;
    }
    n->inode = i;
    n->lower = lower;
    n->upper = upper;
    n->dev = sb->dev;
    mutex_init(&n->copy_lock, LOCK_INODE_DIR);
    if (S_ISREG(mode))
        ovl_map_init(n);
    i->priv = n;
    i->nlink = real->nlink;
    i->rdev = real->rdev;
    i->btime = real->btime;
    ovl_sync(i, true);
    struct kstat st;
    if (lower && lower->ops->getattr && lower->ops->getattr(lower, &st) == 0 &&
        st.dev != lower->sb->dev)
        n->dev = st.dev;
    return i;
}

int ovl_get_inode(struct super_block *sb, struct inode *lower, struct inode *upper,
                  struct inode **out)
{
    struct ovl_super *os = ovl_super(sb);
    struct inode *key = upper ? upper : lower;
    mutex_lock(&os->lock);
    struct inode *i = find_live(os, key, upper != NULL);
    mutex_unlock(&os->lock);
    if (i) {
        inode_put(key);
        *out = i;
        return 0;
    }
    struct inode *fresh = new_inode(sb, lower, upper);
    if (!fresh) {
        inode_put(key);
        return -ENOMEM;
    }
    mutex_lock(&os->lock);
    i = find_live(os, key, upper != NULL);
    if (!i)
        insert(os, ovl_node(fresh), upper != NULL);
    mutex_unlock(&os->lock);
    if (i)
        inode_put(fresh);
    *out = i ? i : fresh;
    return 0;
}

void ovl_evict(struct inode *i)
{
    struct ovl_super *os = ovl_super(i->sb);
    struct ovl_node *n = ovl_node(i);
    mutex_lock(&os->lock);
    if (n->in_lower)
        take_out(os, n, false);
    if (n->in_upper)
        take_out(os, n, true);
    mutex_unlock(&os->lock);
    if (S_ISREG(i->mode))
        ovl_map_release(n);
    if (n->upper) {
        struct inode *upper = n->upper;
        rwlock_write_nested(&upper->lock);
        upper->atime = i->atime;
        rwlock_unlock(&upper->lock);
        inode_put(n->upper);
    }
    if (n->lower)
        inode_put(n->lower);
    mutex_destroy(&n->copy_lock);
    free(n);
}

uint64_t ovl_upper_ino(struct super_block *sb, struct inode *upper)
{
    struct ovl_super *os = ovl_super(sb);
    MUTEX_GUARD(&os->lock);
    struct ovl_node *n = find(os, upper, true);
    return n ? n->inode->ino : upper->ino + OVL_UPPER_INO;
}

void ovl_pin(struct inode *i)
{
    struct ovl_super *os = ovl_super(i->sb);
    MUTEX_GUARD(&os->lock);
    if (!ovl_node(i)->pinned) {
        ovl_node(i)->pinned = true;
        inode_get(i);
    }
}

void ovl_unpin(struct inode *i)
{
    struct ovl_super *os = ovl_super(i->sb);
    mutex_lock(&os->lock);
    bool was = ovl_node(i)->pinned;
    ovl_node(i)->pinned = false;
    mutex_unlock(&os->lock);
    if (was)
        inode_put(i);
}

void ovl_publish(struct inode *i, struct inode *upper)
{
    struct ovl_super *os = ovl_super(i->sb);
    upper->nlink = i->nlink;
    mutex_lock(&os->lock);
    ovl_node(i)->upper = upper;
    insert(os, ovl_node(i), true);
    mutex_unlock(&os->lock);
    if (i->nlink)
        ovl_pin(i);
}

static struct inode *any_pinned(struct ovl_super *os)
{
    MUTEX_GUARD(&os->lock);
    for (int k = 0; k < 2; k++) {
        struct ovl_table *t = table_of(os, k);
        for (size_t b = 0; b < t->nbuckets; b++) {
            for (struct ovl_node *n = t->buckets[b]; n; n = *next_of(n, k)) {
                if (n->pinned)
                    return n->inode;
            }
        }
    }
    return NULL;
}

void ovl_unpin_all(struct ovl_super *os)
{
    struct inode *i;
    while ((i = any_pinned(os)))
        ovl_unpin(i);
}

void ovl_set_nlink(struct inode *i, uint32_t nlink)
{
    struct inode *upper = ovl_upper(i);
    i->nlink = nlink;
    if (upper)
        upper->nlink = nlink;
    if (!nlink)
        ovl_unpin(i);
    else if (ovl_node(i)->lower && !upper)
        ovl_pin(i); /* the count is ours now, not the lower inode's */
}
