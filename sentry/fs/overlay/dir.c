/*
 * Directories of the overlay: names from the upper directory, then those of the lower one that the
 * upper does not mention.
 *
 * Positions in a listing: 0 and 1 are the dots, then the upper directory's cookies, then
 * LOWER_BASE plus the lower directory's own positions.
 */
#include "sentry/fs/overlay/overlay.h"
#include "sentry/kernel/cred.h"
#include <dirent.h>
#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LOWER_BASE (1ll << 62)

/* ---- looking up ---- */

static bool is_whiteout(const struct inode *dir, const struct inode *i)
{
    return i == ovl_super(dir->sb)->whiteout;
}

/* A dentry that is in no tree, to carry a name into the lower file system and an inode out. */
static void carrier(struct dentry *c, struct inode *dir, const char *name, size_t len)
{
    memset(c, 0, sizeof(*c));
    ref_init(&c->ref);
    c->sb = dir->sb;
    c->parent = c;
    c->name = (char *)name;
    c->name_len = (uint32_t)len;
    list_init(&c->children);
    list_init(&c->sibling);
    list_init(&c->lru);
}

/* The lower inode by that name, with a reference, or NULL. */
static int lower_lookup(struct inode *dir, const struct dentry *d, struct inode **out)
{
    struct inode *lower = ovl_node(dir)->lower;
    struct dentry c;
    *out = NULL;
    if (!lower)
        return 0;
    carrier(&c, lower, d->name, d->name_len);
    rwlock_write_nested(&lower->dir_lock);
    int err = lower->ops->lookup(lower, &c);
    rwlock_unlock(&lower->dir_lock);
    if (!err)
        *out = c.inode;
    return err;
}

static int ovl_lookup(struct inode *dir, struct dentry *d)
{
    struct inode *upper_dir = ovl_upper(dir), *lower = NULL, *upper = NULL, *i;
    if (d->name_len > NAME_MAX)
        return -ENAMETOOLONG;
    if (upper_dir)
        upper = tmpfs_dir_find(upper_dir, d->name, d->name_len);
    if (upper && is_whiteout(dir, upper))
        return 0;
    int err = 0;
    if (upper)
        inode_get(upper);
    else
        err = lower_lookup(dir, d, &lower);
    if (err || (!upper && !lower))
        return err;
    err = ovl_get_inode(dir->sb, lower, upper, &i);
    if (!err)
        d_instantiate(d, i);
    return err;
}

static bool ovl_revalidate(struct inode *dir, struct dentry *d, const char *name, size_t len)
{
    struct inode *lower_dir = ovl_node(dir)->lower, *i = d->inode;
    if (i && ovl_upper(i))
        return true;
    if (!i && ovl_upper(dir)) /* hidden by a whiteout, perhaps: look again */
        return false;
    struct dentry c;
    carrier(&c, lower_dir, name, len);
    c.inode = i ? ovl_node(i)->lower : NULL;
    if (!lower_dir->ops->revalidate(lower_dir, &c, name, len))
        return false;
    if (i && !ovl_node(i)->pinned)
        ovl_sync(i, false);
    return true;
}

/* ---- changing ---- */

/* dir's upper inode changed: so did its times, and what the VFS sees of it. */
static void touched(struct inode *dir)
{
    struct inode *upper = ovl_upper(dir);
    tmpfs_touch(upper, true);
    ovl_sync(dir, false);
}

static void changed_ctime(struct inode *i)
{
    if (ovl_upper(i))
        tmpfs_touch(ovl_upper(i), false);
}

static int set_name(struct inode *dir, const struct dentry *d, struct inode *upper)
{
    return tmpfs_dir_set(ovl_upper(dir), d->name, d->name_len, upper);
}

/* The name goes: hidden if there is one below, forgotten otherwise. */
static int drop_name(struct inode *dir, const struct dentry *d)
{
    struct inode *lower;
    int err = lower_lookup(dir, d, &lower);
    if (err)
        return err;
    if (!lower) {
        tmpfs_dir_remove(ovl_upper(dir), d->name, d->name_len);
        return 0;
    }
    inode_put(lower);
    return set_name(dir, d, ovl_super(dir->sb)->whiteout);
}

static int make(struct inode *dir, struct dentry *d, uint32_t mode, dev_t rdev, const char *target,
                const struct cred *cred)
{
    struct inode *upper, *i;
    int err = ovl_copy_up(dir, true);
    if (!err)
        err = tmpfs_new_inode(ovl_super(dir->sb)->upper, ovl_upper(dir), mode, rdev, target, cred,
                              &upper);
    if (err)
        return err;
    err = set_name(dir, d, upper);
    if (err) {
        inode_put(upper);
        return err;
    }
    err = ovl_get_inode(dir->sb, NULL, upper, &i);
    if (err) {
        (void)drop_name(dir, d);
        return err;
    }
    if (S_ISDIR(mode))
        ovl_set_nlink(dir, dir->nlink + 1);
    touched(dir);
    d_instantiate(d, i);
    return 0;
}

static int ovl_create(struct inode *dir, struct dentry *d, uint32_t mode, const struct cred *cred)
{
    return make(dir, d, S_IFREG | (mode & 07777), 0, NULL, cred);
}

static int ovl_mkdir(struct inode *dir, struct dentry *d, uint32_t mode, const struct cred *cred)
{
    return make(dir, d, S_IFDIR | (mode & 07777), 0, NULL, cred);
}

static int ovl_mknod(struct inode *dir, struct dentry *d, uint32_t mode, dev_t rdev,
                     const struct cred *cred)
{
    if ((mode & S_IFMT) == 0)
        mode |= S_IFREG;
    if (S_ISDIR(mode) || S_ISLNK(mode))
        return -EINVAL;
    return make(dir, d, mode, rdev, NULL, cred);
}

static int ovl_symlink(struct inode *dir, struct dentry *d, const char *target,
                       const struct cred *cred)
{
    return make(dir, d, S_IFLNK | 0777, 0, target, cred);
}

static int ovl_link(struct dentry *old, struct inode *dir, struct dentry *d)
{
    struct inode *i = old->inode;
    int err = ovl_copy_up(dir, true);
    if (!err)
        err = ovl_copy_up(i, true);
    if (!err)
        err = set_name(dir, d, ovl_upper(i));
    if (err)
        return err;
    ovl_set_nlink(i, i->nlink + 1);
    if (ovl_node(i)->lower)
        ovl_pin(i);
    changed_ctime(i);
    touched(dir);
    inode_get(i);
    d_instantiate(d, i);
    return 0;
}

static int ovl_unlink(struct inode *dir, struct dentry *d)
{
    struct inode *i = d->inode;
    int err = ovl_copy_up(dir, true);
    if (!err)
        err = drop_name(dir, d);
    if (err)
        return err;
    if (i->nlink)
        ovl_set_nlink(i, i->nlink - 1);
    changed_ctime(i);
    touched(dir);
    return 0;
}

/* ---- listing ---- */

struct filter {
    struct dir_emitter e;
    struct dir_emitter *to; /* NULL: only look whether there is anything */
    struct inode *upper;
    int64_t *pos;
    bool any;
};

/* An entry of the lower directory: shown unless it is a dot or the upper directory knows the name.
 */
static bool emit_lower(struct dir_emitter *e, const char *name, size_t len, uint64_t ino,
                       uint8_t type, int64_t next)
{
    struct filter *f = container_of(e, struct filter, e);
    bool dots = name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'));
    if (!dots && !(f->upper && tmpfs_dir_find(f->upper, name, len))) {
        f->any = true;
        if (!f->to || !f->to->emit(f->to, name, len, ino, type, LOWER_BASE + next))
            return false;
    }
    if (f->pos)
        *f->pos = LOWER_BASE + next;
    return true;
}

/* 0, -ENOTEMPTY or another errno. */
static int check_empty(struct inode *dir)
{
    struct inode *upper = ovl_upper(dir), *lower = ovl_node(dir)->lower;
    struct tmpfs_dirent *de = upper ? tmpfs_dir_next(upper, 0) : NULL;
    for (; de; de = tmpfs_dir_next(upper, de->by_cookie.end)) {
        if (!is_whiteout(dir, de->inode))
            return -ENOTEMPTY;
    }
    if (!lower)
        return 0;
    struct file *f;
    int err = ovl_open_real(lower, NULL, ovl_super(dir->sb)->cred, NULL, &f);
    if (err)
        return err;
    struct filter filter = {.e.emit = emit_lower, .upper = upper};
    int64_t pos = 0;
    err = f->ops->iterate(f, &filter.e, &pos);
    file_put(f);
    return filter.any ? -ENOTEMPTY : err;
}

static int ovl_rmdir(struct inode *dir, struct dentry *d)
{
    int err = check_empty(d->inode);
    if (!err)
        err = ovl_copy_up(dir, true);
    if (!err)
        err = drop_name(dir, d);
    if (err)
        return err;
    ovl_set_nlink(d->inode, 0);
    ovl_set_nlink(dir, dir->nlink - 1);
    changed_ctime(d->inode);
    touched(dir);
    return 0;
}

/* A directory's ".." counts for the directory it is in. */
static void moved(struct inode *i, struct inode *from, struct inode *to)
{
    if (i && S_ISDIR(i->mode) && from != to) {
        ovl_set_nlink(from, from->nlink - 1);
        ovl_set_nlink(to, to->nlink + 1);
    }
}

static int exchange(struct inode *old_dir, struct dentry *old, struct inode *new_dir,
                    struct dentry *new_d)
{
    struct inode *a = ovl_upper(old->inode), *b = ovl_upper(new_d->inode);
    int err = set_name(new_dir, new_d, a);
    if (err)
        return err;
    err = set_name(old_dir, old, b);
    if (err) {
        (void)set_name(new_dir, new_d, b);
        return err;
    }
    moved(old->inode, old_dir, new_dir);
    moved(new_d->inode, new_dir, old_dir);
    changed_ctime(new_d->inode);
    return 0;
}

static int move(struct inode *old_dir, struct dentry *old, struct inode *new_dir,
                struct dentry *new_d)
{
    struct inode *target = new_d->inode;
    if (target && S_ISDIR(target->mode)) {
        int err = check_empty(target);
        if (err)
            return err;
    }
    int err = set_name(new_dir, new_d, ovl_upper(old->inode));
    if (err)
        return err;
    err = drop_name(old_dir, old);
    if (err) {
        if (target && ovl_upper(target))
            (void)set_name(new_dir, new_d, ovl_upper(target));
        else
            tmpfs_dir_remove(ovl_upper(new_dir), new_d->name, new_d->name_len);
        return err;
    }
    moved(old->inode, old_dir, new_dir);
    if (target && S_ISDIR(target->mode)) {
        ovl_set_nlink(target, 0);
        ovl_set_nlink(new_dir, new_dir->nlink - 1);
    } else if (target && target->nlink) {
        ovl_set_nlink(target, target->nlink - 1);
    }
    if (target)
        changed_ctime(target);
    return 0;
}

static int ovl_rename(struct inode *old_dir, struct dentry *old, struct inode *new_dir,
                      struct dentry *new_d, unsigned flags)
{
    if (flags & RENAME_WHITEOUT)
        return -EINVAL;
    bool swap = flags & RENAME_EXCHANGE;
    int err = ovl_copy_up(old_dir, true);
    if (!err)
        err = ovl_copy_up(new_dir, true);
    if (!err)
        err = ovl_copy_up(old->inode, true);
    if (!err && swap)
        err = ovl_copy_up(new_d->inode, true);
    if (!err)
        err = swap ? exchange(old_dir, old, new_dir, new_d) : move(old_dir, old, new_dir, new_d);
    if (err)
        return err;
    changed_ctime(old->inode);
    touched(old_dir);
    if (new_dir != old_dir)
        touched(new_dir);
    return 0;
}

static int ovl_tmpfile(struct inode *dir, uint32_t mode, const struct cred *cred,
                       struct inode **out)
{
    struct inode *upper;
    int err = tmpfs_new_inode(ovl_super(dir->sb)->upper, dir, S_IFREG | (mode & 07777), 0, NULL,
                              cred, &upper);
    if (err)
        return err;
    upper->nlink = 0;
    return ovl_get_inode(dir->sb, NULL, upper, out);
}

static uint64_t parent_ino(struct file *f)
{
    struct dentry *d = f->path.dentry;
    return d->parent && d->parent->inode ? d->parent->inode->ino : f->inode->ino;
}

static int list_upper(struct file *f, struct dir_emitter *e, int64_t *pos, bool *full)
{
    struct inode *dir = f->inode, *upper = ovl_upper(dir);
    *full = true;
    if (*pos == 0) {
        if (!e->emit(e, ".", 1, dir->ino, DT_DIR, 1))
            return 0;
        *pos = 1;
    }
    if (*pos == 1) {
        if (!e->emit(e, "..", 2, parent_ino(f), DT_DIR, 2))
            return 0;
        *pos = 2;
    }
    struct tmpfs_dirent *de = upper ? tmpfs_dir_next(upper, (uint64_t)*pos) : NULL;
    for (; de; de = tmpfs_dir_next(upper, (uint64_t)*pos)) {
        if (!is_whiteout(dir, de->inode) &&
            !e->emit(e, de->name, de->name_len, ovl_upper_ino(dir->sb, de->inode),
                     IFTODT(de->inode->mode), (int64_t)de->by_cookie.end))
            return 0;
        *pos = (int64_t)de->by_cookie.end;
    }
    *full = false;
    return 0;
}

static int ovl_iterate(struct file *f, struct dir_emitter *e, int64_t *pos)
{
    struct ovl_file *of = f->priv;
    struct file *real = of->real;
    struct inode *dir = f->inode, *upper = ovl_upper(dir);
    if (*pos < 0)
        return -EINVAL;
    /* The same positions with and without an upper directory: it may appear in mid-listing. */
    if (*pos < LOWER_BASE) {
        bool full;
        int err = list_upper(f, e, pos, &full);
        if (err || full || !ovl_node(dir)->lower)
            return err;
        *pos = LOWER_BASE;
    }
    if (real->inode != ovl_node(dir)->lower)
        return 0;
    struct filter filter = {.e.emit = emit_lower, .to = e, .upper = upper, .pos = pos};
    int64_t lower_pos = *pos - LOWER_BASE;
    return real->ops->iterate(real, &filter.e, &lower_pos);
}

/* Directories are opened below where there is a lower one: the upper needs no opening. */
static int ovl_dir_open(struct inode *i, struct file *f, struct task *t)
{
    struct ovl_file *of = calloc(1, sizeof(*of));
    struct file *real;
    if (!of)
        return -ENOMEM;
    struct inode *lower = ovl_node(i)->lower;
    int err = ovl_open_real(lower ? lower : ovl_upper(i), f, f->cred, t, &real);
    if (err) {
        free(of);
        return err;
    }
    mutex_init(&of->lock, LOCK_LEAF);
    of->real = real;
    f->priv = of;
    return 0;
}

static int64_t ovl_dir_llseek(struct file *f, int64_t offset, int whence)
{
    if (whence == SEEK_CUR && __builtin_add_overflow(offset, f->pos, &offset))
        return -EOVERFLOW;
    if ((whence != SEEK_SET && whence != SEEK_CUR) || offset < 0)
        return -EINVAL;
    f->pos = offset;
    return offset;
}

static int ovl_dir_fsync(UNUSED struct file *f, UNUSED int64_t start, UNUSED int64_t end,
                         UNUSED bool data_only)
{
    return 0;
}

#define OVL_DIR_OPS                                                                                \
    .lookup = ovl_lookup, .create = ovl_create, .mkdir = ovl_mkdir, .mknod = ovl_mknod,            \
    .symlink = ovl_symlink, .link = ovl_link, .unlink = ovl_unlink, .rmdir = ovl_rmdir,            \
    .rename = ovl_rename, .tmpfile = ovl_tmpfile, .open = ovl_dir_open, .getattr = ovl_getattr,    \
    .setattr = ovl_setattr, .getxattr = ovl_getxattr, .setxattr = ovl_setxattr,                    \
    .listxattr = ovl_listxattr, .removexattr = ovl_removexattr, .evict = ovl_evict

/* Without revalidate, walks trust the cache: where the lower tree never changes. */
const struct inode_ops ovl_dir_ops = {OVL_DIR_OPS};
const struct inode_ops ovl_shared_dir_ops = {.revalidate = ovl_revalidate, OVL_DIR_OPS};

const struct file_ops ovl_dir_fops = {
    .iterate = ovl_iterate,
    .llseek = ovl_dir_llseek,
    .fsync = ovl_dir_fsync,
    .release = ovl_release,
};
