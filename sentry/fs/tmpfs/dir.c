/*
 * tmpfs directories. An entry is in a hash table (lookup) and in a range set ordered by its cookie
 * (listing): a cookie never changes and is never used again, so a listing that goes on after
 * entries came and went misses and repeats nothing else. All of it is O(log n) at most.
 */
#include "sentry/fs/tmpfs/tmpfs.h"
#include "sentry/kernel/cred.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FIRST_COOKIE 2 /* 0 is ".", 1 is ".." */
#define DIRENT_SIZE 20 /* what an entry adds to st_size, as on Linux */
#define MIN_BUCKETS 8

static uint32_t hash_name(const char *name, size_t n)
{
    uint64_t h = 0xcbf29ce484222325ull;
    for (size_t k = 0; k < n; k++)
        h = (h ^ (unsigned char)name[k]) * 0x100000001b3ull;
    return (uint32_t)(h ^ (h >> 32));
}

void tmpfs_dir_init(struct tmpfs_dir *d)
{
    range_set_init(&d->order);
    d->next_cookie = FIRST_COOKIE;
}

static struct tmpfs_dirent *dirent_of(struct range_node *n)
{
    return container_of(n, struct tmpfs_dirent, by_cookie);
}

/* Puts inodes that a dying directory held onto the super block's list; the outermost call lets them
 * go, one after the other, however deep the tree is. */
static void doom(struct tmpfs_super *ts, struct list_head *inodes)
{
    mutex_lock(&ts->doom_lock);
    struct tmpfs_node *n, *tmp;
    list_for_each_safe (n, tmp, inodes, doomed) {
        list_del(&n->doomed);
        list_add_tail(&ts->doomed, &n->doomed);
    }
    bool drain = !ts->draining;
    ts->draining = true;
    while (drain && !list_empty(&ts->doomed)) {
        n = list_first(&ts->doomed, struct tmpfs_node, doomed);
        list_del(&n->doomed);
        mutex_unlock(&ts->doom_lock);
        inode_put(n->inode);
        mutex_lock(&ts->doom_lock);
    }
    if (drain)
        ts->draining = false;
    mutex_unlock(&ts->doom_lock);
}

void tmpfs_dir_release(struct tmpfs_dir *d, struct tmpfs_super *ts)
{
    struct list_head inodes;
    list_init(&inodes);
    struct range_node *n;
    while ((n = range_set_first(&d->order))) {
        struct tmpfs_dirent *e = dirent_of(n);
        range_set_remove(&d->order, n);
        /* A second link to the same inode is not the last reference: put it at once. */
        if (list_empty(&tmpfs_node(e->inode)->doomed))
            list_add_tail(&inodes, &tmpfs_node(e->inode)->doomed);
        else
            inode_put(e->inode);
        free(e);
    }
    free(d->buckets);
    if (!list_empty(&inodes))
        doom(ts, &inodes);
}

/* ---- entries ---- */

static struct tmpfs_dirent *find(const struct tmpfs_dir *d, const char *name, size_t len)
{
    if (!d->count)
        return NULL;
    uint32_t h = hash_name(name, len);
    struct tmpfs_dirent *e = d->buckets[h & (d->nbuckets - 1)];
    while (e && !(e->hash == h && e->name_len == len && memcmp(e->name, name, len) == 0))
        e = e->hash_next;
    return e;
}

static int grow(struct tmpfs_dir *d)
{
    size_t n = d->nbuckets ? d->nbuckets * 2 : MIN_BUCKETS;
    struct tmpfs_dirent **b = calloc(n, sizeof(*b));
    if (!b)
        return -ENOMEM;
    for (size_t k = 0; k < d->nbuckets; k++) {
        struct tmpfs_dirent *e = d->buckets[k], *next;
        for (; e; e = next) {
            next = e->hash_next;
            e->hash_next = b[e->hash & (n - 1)];
            b[e->hash & (n - 1)] = e;
        }
    }
    free(d->buckets);
    d->buckets = b;
    d->nbuckets = n;
    return 0;
}

/* An entry that is in no directory yet, so that insertion cannot fail. Takes no reference. */
static struct tmpfs_dirent *prepare(struct tmpfs_dir *d, const char *name, size_t len,
                                    struct inode *i)
{
    if (d->count >= d->nbuckets && grow(d))
        return NULL;
    struct tmpfs_dirent *e = calloc(1, sizeof(*e) + len + 1);
    if (!e)
        return NULL;
    e->name_len = (uint16_t)len;
    memcpy(e->name, name, len);
    e->hash = hash_name(name, len);
    e->inode = i;
    return e;
}

static void insert(struct inode *dir, struct tmpfs_dirent *e)
{
    struct tmpfs_dir *d = tmpfs_dir(dir);
    e->by_cookie.start = d->next_cookie++;
    e->by_cookie.end = d->next_cookie;
    range_set_insert(&d->order, &e->by_cookie);
    struct tmpfs_dirent **b = &d->buckets[e->hash & (d->nbuckets - 1)];
    e->hash_next = *b;
    *b = e;
    d->count++;
    dir->size += DIRENT_SIZE;
}

/* Takes e off and frees it; the reference on its inode is the caller's now. */
static struct inode *take(struct inode *dir, struct tmpfs_dirent *e)
{
    struct tmpfs_dir *d = tmpfs_dir(dir);
    struct tmpfs_dirent **p = &d->buckets[e->hash & (d->nbuckets - 1)];
    while (*p != e)
        p = &(*p)->hash_next;
    *p = e->hash_next;
    range_set_remove(&d->order, &e->by_cookie);
    d->count--;
    dir->size -= DIRENT_SIZE;
    struct inode *i = e->inode;
    free(e);
    return i;
}

struct inode *tmpfs_dir_find(struct inode *dir, const char *name, size_t len)
{
    struct tmpfs_dirent *e = find(tmpfs_dir(dir), name, len);
    return e ? e->inode : NULL;
}

int tmpfs_dir_set(struct inode *dir, const char *name, size_t len, struct inode *i)
{
    struct tmpfs_dirent *e = find(tmpfs_dir(dir), name, len);
    inode_get(i);
    if (e) {
        struct inode *old = e->inode;
        e->inode = i;
        inode_put(old);
        return 0;
    }
    e = prepare(tmpfs_dir(dir), name, len, i);
    if (!e) {
        inode_put(i);
        return -ENOMEM;
    }
    insert(dir, e);
    return 0;
}

void tmpfs_dir_remove(struct inode *dir, const char *name, size_t len)
{
    struct tmpfs_dirent *e = find(tmpfs_dir(dir), name, len);
    if (e)
        inode_put(take(dir, e));
}

struct tmpfs_dirent *tmpfs_dir_next(struct inode *dir, uint64_t from)
{
    struct range_node *n = range_set_lower_bound(&tmpfs_dir(dir)->order, from);
    return n ? dirent_of(n) : NULL;
}

/* ---- operations ---- */

static int tmpfs_lookup(struct inode *dir, struct dentry *d)
{
    struct tmpfs_dirent *e = find(tmpfs_dir(dir), d->name, d->name_len);
    if (e) {
        inode_get(e->inode);
        d_instantiate(d, e->inode);
    }
    return 0;
}

static int make(struct inode *dir, struct dentry *d, uint32_t mode, dev_t rdev, const char *target,
                const struct cred *cred)
{
    struct inode *i;
    int err = tmpfs_new_inode(dir->sb, dir, mode, rdev, target, cred, &i);
    if (err)
        return err;
    struct tmpfs_dirent *e = prepare(tmpfs_dir(dir), d->name, d->name_len, i);
    if (!e) {
        inode_put(i);
        return -ENOMEM;
    }
    insert(dir, e);
    if (S_ISDIR(mode))
        dir->nlink++;
    tmpfs_touch(dir, true);
    inode_get(i);
    d_instantiate(d, i);
    return 0;
}

static int tmpfs_create_file(struct inode *dir, struct dentry *d, uint32_t mode,
                             const struct cred *cred)
{
    return make(dir, d, (mode & 07777) | S_IFREG, 0, NULL, cred);
}

static int tmpfs_mkdir(struct inode *dir, struct dentry *d, uint32_t mode, const struct cred *cred)
{
    return make(dir, d, (mode & 07777) | S_IFDIR, 0, NULL, cred);
}

static int tmpfs_mknod(struct inode *dir, struct dentry *d, uint32_t mode, dev_t rdev,
                       const struct cred *cred)
{
    switch (mode & S_IFMT) {
    case 0:
        mode |= S_IFREG;
        break;
    case S_IFREG:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK:
        break;
    default:
        return -EINVAL;
    }
    return make(dir, d, mode, rdev, NULL, cred);
}

static int tmpfs_symlink(struct inode *dir, struct dentry *d, const char *target,
                         const struct cred *cred)
{
    return make(dir, d, 0777 | S_IFLNK, 0, target, cred);
}

static int tmpfs_link_op(struct dentry *old, struct inode *dir, struct dentry *d)
{
    struct inode *i = old->inode;
    struct tmpfs_dirent *e = prepare(tmpfs_dir(dir), d->name, d->name_len, i);
    if (!e)
        return -ENOMEM;
    inode_get(i);
    insert(dir, e);
    i->nlink++;
    tmpfs_touch(i, false);
    tmpfs_touch(dir, true);
    inode_get(i);
    d_instantiate(d, i);
    return 0;
}

static int remove_name(struct inode *dir, struct dentry *d, bool want_dir)
{
    struct tmpfs_dirent *e = find(tmpfs_dir(dir), d->name, d->name_len);
    if (!e)
        return -ENOENT;
    struct inode *i = e->inode;
    if (want_dir && tmpfs_dir(i)->count)
        return -ENOTEMPTY;
    take(dir, e);
    if (want_dir) {
        dir->nlink--;
        i->nlink = 0;
    } else {
        i->nlink--;
    }
    tmpfs_touch(i, false);
    tmpfs_touch(dir, true);
    inode_put(i);
    return 0;
}

static int tmpfs_unlink(struct inode *dir, struct dentry *d)
{
    return remove_name(dir, d, false);
}

static int tmpfs_rmdir(struct inode *dir, struct dentry *d)
{
    return remove_name(dir, d, true);
}

static void adopt(struct inode *i, struct inode *from, struct inode *to)
{
    if (!S_ISDIR(i->mode) || from == to)
        return;
    tmpfs_dir(i)->parent_ino = to->ino;
    from->nlink--;
    to->nlink++;
}

static int exchange(struct inode *old_dir, struct tmpfs_dirent *a, struct inode *new_dir,
                    struct tmpfs_dirent *b)
{
    struct inode *i = a->inode, *j = b->inode;
    a->inode = j;
    b->inode = i;
    adopt(i, old_dir, new_dir);
    adopt(j, new_dir, old_dir);
    tmpfs_touch(i, false);
    tmpfs_touch(j, false);
    return 0;
}

/* The target's name goes to the source's inode; what was there loses a link. */
static void replace(struct inode *new_dir, struct tmpfs_dirent *target)
{
    struct inode *i = take(new_dir, target);
    if (S_ISDIR(i->mode)) {
        i->nlink = 0;
        new_dir->nlink--;
    } else {
        i->nlink--;
    }
    tmpfs_touch(i, false);
    inode_put(i);
}

static int make_whiteout(struct inode *dir, const struct dentry *old, struct tmpfs_dirent **out)
{
    struct inode *i;
    int err = tmpfs_new_inode(dir->sb, NULL, S_IFCHR, 0, NULL, NULL, &i);
    if (err)
        return err;
    *out = prepare(tmpfs_dir(dir), old->name, old->name_len, i);
    if (!*out) {
        inode_put(i);
        return -ENOMEM;
    }
    return 0;
}

static int tmpfs_rename(struct inode *old_dir, struct dentry *old, struct inode *new_dir,
                        struct dentry *new_d, unsigned flags)
{
    struct tmpfs_dirent *src = find(tmpfs_dir(old_dir), old->name, old->name_len);
    struct tmpfs_dirent *dst = find(tmpfs_dir(new_dir), new_d->name, new_d->name_len);
    if (!src || ((flags & RENAME_EXCHANGE) && !dst))
        return -ENOENT;
    int err = 0;
    if (flags & RENAME_EXCHANGE) {
        err = exchange(old_dir, src, new_dir, dst);
    } else {
        if (dst && S_ISDIR(dst->inode->mode) && tmpfs_dir(dst->inode)->count)
            return -ENOTEMPTY;
        struct inode *i = src->inode;
        struct tmpfs_dirent *whiteout = NULL;
        struct tmpfs_dirent *e = prepare(tmpfs_dir(new_dir), new_d->name, new_d->name_len, i);
        if (!e)
            return -ENOMEM;
        if ((flags & RENAME_WHITEOUT) && (err = make_whiteout(old_dir, old, &whiteout))) {
            free(e);
            return err;
        }
        if (dst)
            replace(new_dir, dst);
        take(old_dir, src);
        insert(new_dir, e);
        if (whiteout)
            insert(old_dir, whiteout);
        adopt(i, old_dir, new_dir);
        tmpfs_touch(i, false);
    }
    tmpfs_touch(old_dir, true);
    if (new_dir != old_dir)
        tmpfs_touch(new_dir, true);
    return err;
}

static int tmpfs_tmpfile(struct inode *dir, uint32_t mode, const struct cred *cred,
                         struct inode **out)
{
    int err = tmpfs_new_inode(dir->sb, dir, (mode & 07777) | S_IFREG, 0, NULL, cred, out);
    if (!err)
        (*out)->nlink = 0;
    return err;
}

static int tmpfs_iterate(struct file *f, struct dir_emitter *e, int64_t *pos)
{
    struct inode *dir = f->inode;
    struct tmpfs_dir *d = tmpfs_dir(dir);
    if (*pos < 0)
        return -EINVAL;
    if (*pos == 0) {
        if (!e->emit(e, ".", 1, dir->ino, DT_DIR, 1))
            return 0;
        *pos = 1;
    }
    if (*pos == 1) {
        if (!e->emit(e, "..", 2, d->parent_ino, DT_DIR, FIRST_COOKIE))
            return 0;
        *pos = FIRST_COOKIE;
    }
    struct range_node *n = range_set_lower_bound(&d->order, (uint64_t)*pos);
    for (; n; n = range_node_next(n)) {
        struct tmpfs_dirent *de = dirent_of(n);
        if (!e->emit(e, de->name, de->name_len, de->inode->ino, IFTODT(de->inode->mode),
                     (int64_t)n->end))
            return 0;
        *pos = (int64_t)n->end;
    }
    return 0;
}

static int64_t tmpfs_dir_llseek(struct file *f, int64_t offset, int whence)
{
    if (whence == SEEK_CUR && __builtin_add_overflow(offset, f->pos, &offset))
        return -EOVERFLOW;
    if ((whence != SEEK_SET && whence != SEEK_CUR) || offset < 0)
        return -EINVAL;
    f->pos = offset;
    return offset;
}

const struct inode_ops tmpfs_dir_ops = {
    .lookup = tmpfs_lookup,
    .create = tmpfs_create_file,
    .mkdir = tmpfs_mkdir,
    .mknod = tmpfs_mknod,
    .symlink = tmpfs_symlink,
    .link = tmpfs_link_op,
    .unlink = tmpfs_unlink,
    .rmdir = tmpfs_rmdir,
    .rename = tmpfs_rename,
    .tmpfile = tmpfs_tmpfile,
    .getattr = tmpfs_getattr,
    .setattr = tmpfs_setattr,
    .getxattr = tmpfs_getxattr,
    .setxattr = tmpfs_setxattr,
    .listxattr = tmpfs_listxattr,
    .removexattr = tmpfs_removexattr,
    .evict = tmpfs_evict,
};

static int no_sync(UNUSED struct file *f, UNUSED int64_t start, UNUSED int64_t end,
                   UNUSED bool data_only)
{
    return 0;
}

const struct file_ops tmpfs_dir_fops = {
    .iterate = tmpfs_iterate,
    .llseek = tmpfs_dir_llseek,
    .fsync = no_sync,
};
