/*
 * Directories of the host: names, listings, and changes where the door allows them.
 */
#include "sentry/fs/host/host.h"
#include "sentry/kernel/cred.h"
#include <dirent.h>
#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- lookup ---- */

/* Without opening the directory, where names stay what they are. */
static int find_by_way(struct inode *dir, const char *name, unsigned want, struct door_found *out)
{
    struct host_way w;
    int err = host_way(dir, name, &w);
    if (err)
        return err;
    err = door_lookup(&host_super(dir->sb)->door, w.at, want, out);
    host_way_end(&w);
    return err;
}

static int find(struct inode *dir, const char *name, unsigned want, struct door_found *out)
{
    struct host_slot *s;
    if (host_super(dir->sb)->may_ask_ahead)
        return find_by_way(dir, name, want, out);
    int err = host_slot_get(dir, SLOT_READ, &s);
    if (err)
        return err;
    struct door_at at = {.node = (uint32_t)s->fd, .path = name};
    err = door_lookup(&host_super(dir->sb)->door, at, want, out);
    host_slot_put(dir, s);
    return err;
}

/* What came open with the answer stays so, for the call that is likely to follow. */
static void keep_open(struct inode *i, const struct door_found *f)
{
    struct host_slot *s;
    int fd = S_ISDIR(i->mode) && f->node ? (int)f->node : f->fd;
    if (fd < 0)
        return;
    host_slot_install(i, SLOT_READ, fd, &s);
    host_slot_put(i, s);
}

static void drop_open(struct inode *dir, const struct door_found *f)
{
    if (f->node)
        door_close_node(&host_super(dir->sb)->door, f->node);
    if (f->fd >= 0)
        door_close(f->fd);
}

static int found(struct inode *dir, const char *name, const struct door_found *f,
                 struct inode **out)
{
    int err = host_get_inode(dir->sb, &f->stx, dir, name, out);
    if (err)
        drop_open(dir, f);
    else
        keep_open(*out, f);
    return err;
}

/* What the gofer told of i when it was asked for another. */
static void keep_entry(struct inode *i, struct host_entry *e)
{
    struct host_super *hs = host_super(i->sb);
    struct host_node *n = host_node(i);
    struct host_slot *s;
    if (e->fd >= 0) {
        host_slot_install(i, SLOT_READ, e->fd, &s);
        mutex_lock(&hs->lock);
        s->ahead = true;
        hs->unused_ahead++;
        mutex_unlock(&hs->lock);
        host_slot_put(i, s);
        e->fd = -1;
    }
    mutex_lock(&n->list_lock);
    if (!n->listing) {
        n->listing = e->listing;
        e->listing = NULL;
    }
    if (!n->target) {
        n->target = e->target;
        e->target = NULL;
    }
    mutex_unlock(&n->list_lock);
}

/* As host_ahead_lookup. */
static int lookup_ahead(struct inode *dir, struct dentry *d)
{
    struct host_entry e;
    struct inode *i;
    if (!host_super(dir->sb)->may_ask_ahead)
        return 0;
    int r = host_ahead_lookup(dir, d->name, d->name_len, &e);
    if (r <= 0)
        return r;
    int err = host_get_inode(dir->sb, &e.stx, dir, d->name, &i);
    if (!err)
        keep_entry(i, &e);
    host_entry_drop(&e);
    if (!err)
        d_instantiate(d, i);
    return err ? err : 1;
}

static int host_lookup(struct inode *dir, struct dentry *d)
{
    struct door_found f = {.fd = -1};
    struct inode *i;
    if (d->name_len > NAME_MAX)
        return -ENAMETOOLONG;
    int r = lookup_ahead(dir, d);
    if (r)
        return r > 0 || r == -ENOENT ? 0 : r;
    int err = find(dir, d->name, GOFER_WANT_NODE, &f);
    if (err == -ENOENT)
        return 0;
    if (!err)
        err = found(dir, d->name, &f, &i);
    if (!err)
        d_instantiate(d, i);
    return err;
}

static bool host_revalidate(struct inode *dir, struct dentry *d, const char *name, size_t len)
{
    char copy[NAME_MAX + 1];
    struct inode *known = d->inode, *i;
    struct door_found f = {.fd = -1};
    if (len > NAME_MAX)
        return !known;
    memcpy(copy, name, len);
    copy[len] = 0;
    int err = find(dir, copy, 0, &f);
    if (err || !known)
        return err == -ENOENT && !known;
    if (host_get_inode(dir->sb, &f.stx, dir, copy, &i))
        return false;
    bool same = i == known;
    inode_put(i);
    return same;
}

/* ---- changes ---- */

/* The directory is not what it was. */
static void changed(struct inode *dir)
{
    struct host_node *n = host_node(dir);
    n->stale = true;
    mutex_lock(&n->list_lock);
    struct host_listing *l = n->listing;
    n->listing = NULL;
    mutex_unlock(&n->list_lock);
    if (l)
        host_listing_put(l);
}

/* Owner and permissions of something new, as Linux gives them. */
static struct door_new new_in(const struct inode *dir, uint32_t mode, const struct cred *cred)
{
    bool setgid = dir->mode & S_ISGID;
    if (S_ISDIR(mode) && setgid)
        mode |= S_ISGID;
    return (struct door_new){mode, cred->fsuid, setgid ? dir->gid : cred->fsgid};
}

/* What was just made at dir/d becomes d's inode. `fd`: open for writing, or -1. */
static int adopt(struct inode *dir, struct host_slot *at, struct dentry *d, const struct statx *stx,
                 int fd)
{
    struct inode *i;
    int err = host_get_inode(dir->sb, stx, dir, d->name, &i);
    if (err) {
        if (fd >= 0)
            door_close(fd);
        door_unlink(&host_super(dir->sb)->door, (uint32_t)at->fd, d->name, S_ISDIR(stx->stx_mode));
        return err;
    }
    if (fd >= 0) {
        struct host_slot *s;
        host_slot_install(i, SLOT_WRITE, fd, &s);
        host_slot_put(i, s);
    }
    changed(dir);
    d_instantiate(d, i);
    return 0;
}

static int host_create(struct inode *dir, struct dentry *d, uint32_t mode, const struct cred *cred)
{
    const struct door *door = &host_super(dir->sb)->door;
    struct door_new new = new_in(dir, S_IFREG | (mode & 07777), cred);
    struct host_slot *s;
    struct statx stx;
    int fd, err = host_slot_get(dir, SLOT_READ, &s);
    if (err)
        return err;
    err = door_create(door, (uint32_t)s->fd, d->name, &new, &stx, &fd);
    if (!err)
        err = adopt(dir, s, d, &stx, fd);
    host_slot_put(dir, s);
    return err;
}

static int make(struct inode *dir, struct dentry *d, uint32_t mode, const char *target,
                const struct cred *cred)
{
    const struct door *door = &host_super(dir->sb)->door;
    struct door_new new = new_in(dir, mode, cred);
    struct host_slot *s;
    struct statx stx;
    int err = host_slot_get(dir, SLOT_READ, &s);
    if (err)
        return err;
    err = door_make(door, (uint32_t)s->fd, d->name, target, &new, &stx);
    if (!err)
        err = adopt(dir, s, d, &stx, -1);
    host_slot_put(dir, s);
    return err;
}

static int host_mkdir(struct inode *dir, struct dentry *d, uint32_t mode, const struct cred *cred)
{
    return make(dir, d, S_IFDIR | (mode & 07777), NULL, cred);
}

static int host_symlink(struct inode *dir, struct dentry *d, const char *target,
                        const struct cred *cred)
{
    return make(dir, d, S_IFLNK | 0777, target, cred);
}

static int host_mknod(struct inode *dir, struct dentry *d, uint32_t mode, UNUSED dev_t rdev,
                      const struct cred *cred)
{
    if ((mode & S_IFMT) == 0 || S_ISREG(mode))
        return host_create(dir, d, mode, cred);
    return make(dir, d, mode, NULL, cred);
}

/* A file that never had a name gets one: the gofer still has it from when it was made. */
static int link_nameless(struct inode *i, const struct host_slot *to, struct inode *dir,
                         const char *name)
{
    const struct door *door = &host_super(dir->sb)->door;
    uint32_t file = host_node(i)->nameless;
    int err = file ? door_link_file(door, file, (uint32_t)to->fd, name) : -ENOENT;
    return err ? err : host_set_place(i, dir, name);
}

static int host_link(struct dentry *old, struct inode *dir, struct dentry *d)
{
    const struct door *door = &host_super(dir->sb)->door;
    struct inode *i = old->inode;
    struct host_slot *s;
    struct host_place p;
    int err = host_slot_get(dir, SLOT_READ, &s);
    if (err)
        return err;
    err = host_place(i, &p);
    if (!err) {
        err = door_link(door, p.at, (uint32_t)s->fd, d->name);
        host_unplace(&p);
    } else if (err == -ENOENT) {
        err = link_nameless(i, s, dir, d->name);
    }
    host_slot_put(dir, s);
    if (err)
        return err;
    changed(dir);
    i->nlink++;
    host_node(i)->stale = true;
    inode_get(i);
    d_instantiate(d, i);
    return 0;
}

/* dir/name is no longer i. */
static void left(struct inode *i, struct inode *dir, const char *name)
{
    if (S_ISDIR(i->mode))
        i->nlink = 0;
    else if (i->nlink)
        i->nlink--;
    host_node(i)->stale = i->nlink > 0;
    if (host_is_at(i, dir, name))
        (void)host_set_place(i, NULL, NULL);
    if (!i->nlink)
        host_forget(i);
}

static int remove_name(struct inode *dir, struct dentry *d, bool directory)
{
    struct host_slot *s;
    int err = host_slot_get(dir, SLOT_READ, &s);
    if (err)
        return err;
    err = door_unlink(&host_super(dir->sb)->door, (uint32_t)s->fd, d->name, directory);
    host_slot_put(dir, s);
    if (err)
        return err;
    changed(dir);
    left(d->inode, dir, d->name);
    return 0;
}

static int host_unlink(struct inode *dir, struct dentry *d)
{
    return remove_name(dir, d, false);
}

static int host_rmdir(struct inode *dir, struct dentry *d)
{
    return remove_name(dir, d, true);
}

static int host_rename(struct inode *old_dir, struct dentry *old, struct inode *new_dir,
                       struct dentry *new_d, unsigned flags)
{
    struct host_slot *from, *to;
    if (flags & RENAME_WHITEOUT)
        return -EINVAL;
    int err = host_slot_get(old_dir, SLOT_READ, &from);
    if (err)
        return err;
    err = host_slot_get(new_dir, SLOT_READ, &to);
    if (!err) {
        err = door_rename(&host_super(old_dir->sb)->door, (uint32_t)from->fd, old->name,
                          (uint32_t)to->fd, new_d->name, flags);
        host_slot_put(new_dir, to);
    }
    host_slot_put(old_dir, from);
    if (err)
        return err;
    changed(old_dir);
    changed(new_dir);
    if (new_d->inode && !(flags & RENAME_EXCHANGE) && new_d->inode != old->inode)
        left(new_d->inode, new_dir, new_d->name);
    err = host_set_place(old->inode, new_dir, new_d->name);
    if (!err && (flags & RENAME_EXCHANGE))
        err = host_set_place(new_d->inode, old_dir, old->name);
    host_node(old->inode)->stale = true;
    return err;
}

static int host_tmpfile(struct inode *dir, uint32_t mode, const struct cred *cred,
                        struct inode **out)
{
    const struct door *door = &host_super(dir->sb)->door;
    struct door_new new = new_in(dir, S_IFREG | (mode & 07777), cred);
    struct host_slot *s;
    struct statx stx;
    uint32_t node = 0;
    int err = host_slot_get(dir, SLOT_READ, &s);
    if (err)
        return err;
    int fd = door_tmpfile(door, (uint32_t)s->fd, &new, &stx, &node);
    host_slot_put(dir, s);
    if (fd < 0)
        return fd;
    err = host_get_inode(dir->sb, &stx, NULL, NULL, out);
    if (err) {
        door_close(fd);
        door_close_node(door, node);
        return err;
    }
    host_node(*out)->nameless = node;
    host_slot_install(*out, SLOT_WRITE, fd, &s);
    host_slot_put(*out, s);
    return 0;
}

/* ---- listings ---- */

void host_listing_put(struct host_listing *l)
{
    if (!ref_put(&l->ref))
        return;
    free(l->at);
    free(l->data);
    free(l);
}

struct builder {
    struct host_listing *l;
    size_t bytes, room;
    uint32_t entries;
};

static int add_entry(struct builder *b, const struct dirent64 *e)
{
    size_t len = strlen(e->d_name), need = sizeof(struct host_dirent) + len + 1;
    if (b->l->count == b->entries) {
        uint32_t n = b->entries ? b->entries * 2 : 32;
        uint32_t *at = realloc(b->l->at, n * sizeof(*at));
        if (!at)
            return -ENOMEM;
        b->l->at = at;
        b->entries = n;
    }
    if (b->room - b->bytes < need) {
        size_t n = MAX(b->room * 2, (size_t)1024);
        char *data = n <= UINT32_MAX ? realloc(b->l->data, n) : NULL;
        if (!data)
            return -ENOMEM;
        b->l->data = data;
        b->room = n;
    }
    struct host_dirent *out = (struct host_dirent *)(b->l->data + b->bytes);
    out->ino = e->d_ino;
    out->type = e->d_type;
    out->name_len = (uint16_t)len;
    memcpy(out->name, e->d_name, len + 1);
    b->l->at[b->l->count++] = (uint32_t)b->bytes;
    b->bytes += need;
    return 0;
}

static bool is_dots(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

static int add_records(struct builder *b, const char *buf, size_t size)
{
    int err = 0;
    for (size_t at = 0; at < size && !err;) {
        const struct dirent64 *e = (const struct dirent64 *)(buf + at);
        if (!is_dots(e->d_name))
            err = add_entry(b, e);
        at += e->d_reclen;
    }
    return err;
}

static bool start_listing(struct builder *b)
{
    *b = (struct builder){.l = calloc(1, sizeof(*b->l))};
    if (b->l)
        ref_init(&b->l->ref);
    return b->l;
}

struct host_listing *host_listing_of(const void *records, size_t size)
{
    struct builder b;
    if (!start_listing(&b))
        return NULL;
    if (!add_records(&b, records, size))
        return b.l;
    host_listing_put(b.l);
    return NULL;
}

static int read_all(const struct door *door, struct door_at at, struct builder *b)
{
    struct door_list list = {.buf = malloc(GOFER_DATA_MAX)};
    uint32_t own = 0; /* a node that was made for this */
    int err = list.buf ? 0 : -ENOMEM;
    for (bool first = true; !err && !list.end; first = false) {
        ssize_t n = door_list(door, at, first, &list);
        err = n < 0 ? (int)n : add_records(b, list.buf, (size_t)n);
        if (n >= 0 && list.node && !own) {
            own = list.node;
            at = (struct door_at){.node = own, .path = ""};
        }
        if (!err && !n)
            break;
    }
    free(list.buf);
    if (own)
        door_close_node(door, own);
    return err;
}

/* From what is open, or, where names stay what they are, without opening it. */
static int place_to_list(struct inode *dir, struct host_way *w)
{
    if (host_super(dir->sb)->may_ask_ahead) {
        int err = host_way(dir, "", w);
        w->at.dev = *w->at.path ? host_node(dir)->host_dev : 0;
        w->at.ino = *w->at.path ? dir->ino : 0;
        return err;
    }
    int err = host_slot_get(dir, SLOT_READ, &w->slot);
    if (err)
        return err;
    inode_get(dir);
    w->from = dir;
    w->at = (struct door_at){.node = (uint32_t)w->slot->fd, .path = ""};
    return 0;
}

static int read_listing(struct inode *dir, struct host_listing **out)
{
    struct host_way w;
    struct builder b;
    int err = place_to_list(dir, &w);
    if (err)
        return err;
    err = start_listing(&b) ? 0 : -ENOMEM;
    if (!err) {
        /* The position that the gofer reads at is everybody's. */
        mutex_lock(&host_node(dir)->read_lock);
        err = read_all(&host_super(dir->sb)->door, w.at, &b);
        mutex_unlock(&host_node(dir)->read_lock);
        if (err)
            host_listing_put(b.l);
    }
    host_way_end(&w);
    if (err)
        return err == -EBADF ? -EACCES : err; /* may be walked, not read */
    *out = b.l;
    return 0;
}

static int get_listing(struct inode *dir, struct host_listing **out)
{
    struct host_node *n = host_node(dir);
    int err = 0;
    mutex_lock(&n->list_lock);
    struct host_listing *l = n->listing;
    if (l)
        ref_get(&l->ref);
    mutex_unlock(&n->list_lock);
    if (!l) {
        err = read_listing(dir, &l);
        if (!err && host_super(dir->sb)->exclusive && l->count <= HOST_CACHED_ENTRIES_MAX) {
            mutex_lock(&n->list_lock);
            if (!n->listing) {
                ref_get(&l->ref);
                n->listing = l;
            }
            mutex_unlock(&n->list_lock);
        }
    }
    if (!err)
        *out = l;
    return err;
}

static uint64_t parent_ino(struct inode *dir)
{
    MUTEX_GUARD(&host_super(dir->sb)->lock);
    struct host_node *n = host_node(dir);
    return n->parent ? n->parent->ino : dir->ino;
}

static bool emit_dots(struct inode *dir, struct dir_emitter *e, int64_t *pos)
{
    if (*pos == 0) {
        if (!e->emit(e, ".", 1, dir->ino, DT_DIR, 1))
            return false;
        *pos = 1;
    }
    if (*pos == 1) {
        if (!e->emit(e, "..", 2, parent_ino(dir), DT_DIR, 2))
            return false;
        *pos = 2;
    }
    return true;
}

static int host_iterate(struct file *f, struct dir_emitter *e, int64_t *pos)
{
    struct host_listing *l = f->priv;
    if (*pos < 0)
        return -EINVAL;
    if (*pos == 0 && l) {
        f->priv = NULL;
        host_listing_put(l);
        l = NULL;
    }
    if (!l) {
        int err = get_listing(f->inode, &l);
        if (err)
            return err;
        f->priv = l;
        host_ahead_start(f->inode, l);
    }
    if (!emit_dots(f->inode, e, pos))
        return 0;
    for (; *pos - 2 < (int64_t)l->count; (*pos)++) {
        struct host_dirent *d = (struct host_dirent *)(l->data + l->at[*pos - 2]);
        if (!e->emit(e, d->name, d->name_len, d->ino, d->type, *pos + 1))
            break;
    }
    return 0;
}

static int64_t host_dir_llseek(struct file *f, int64_t offset, int whence)
{
    if (whence == SEEK_CUR && __builtin_add_overflow(offset, f->pos, &offset))
        return -EOVERFLOW;
    if ((whence != SEEK_SET && whence != SEEK_CUR) || offset < 0)
        return -EINVAL;
    f->pos = offset;
    return offset;
}

static void host_dir_release(struct file *f)
{
    if (f->priv)
        host_listing_put(f->priv);
}

static int host_dir_fsync(struct file *f, UNUSED int64_t start, UNUSED int64_t end, bool data_only)
{
    struct host_slot *s;
    if (host_super(f->inode->sb)->door.read_only)
        return 0;
    int err = host_slot_get(f->inode, SLOT_READ, &s);
    if (err)
        return err;
    err = door_sync_dir(&host_super(f->inode->sb)->door, (uint32_t)s->fd, data_only);
    host_slot_put(f->inode, s);
    return err;
}

#define HOST_DIR_OPS                                                                               \
    .lookup = host_lookup, .create = host_create, .mkdir = host_mkdir, .mknod = host_mknod,        \
    .symlink = host_symlink, .link = host_link, .unlink = host_unlink, .rmdir = host_rmdir,        \
    .rename = host_rename, .tmpfile = host_tmpfile, .getattr = host_getattr,                       \
    .setattr = host_setattr, .getxattr = host_getxattr, .setxattr = host_setxattr,                 \
    .listxattr = host_listxattr, .removexattr = host_removexattr, .evict = host_evict

/* Without revalidate, walks trust the cache. */
const struct inode_ops host_dir_ops = {HOST_DIR_OPS};
const struct inode_ops host_shared_dir_ops = {.revalidate = host_revalidate, HOST_DIR_OPS};

const struct file_ops host_dir_fops = {
    .iterate = host_iterate,
    .llseek = host_dir_llseek,
    .release = host_dir_release,
    .fsync = host_dir_fsync,
};
