/*
 * What mount(2), umount2(2) and pivot_root(2) do to the tree. All mounts are private: nothing
 * propagates.
 */
#include "sentry/fs/devpts/devpts.h"
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/internal.h"
#include <stdlib.h>
#include <string.h>

/* The flags of a mount; the others of mount(2) say what to do. */
#define MOUNT_FLAGS                                                                                \
    (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_RELATIME |     \
     MS_STRICTATIME | MS_NOSYMFOLLOW)
#define PROPAGATION_FLAGS (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE)

static unsigned mount_flags(unsigned long flags)
{
    unsigned f = (unsigned)flags & MOUNT_FLAGS;
    return f & (MS_NOATIME | MS_STRICTATIME) ? f & ~(unsigned)MS_RELATIME : f | MS_RELATIME;
}

/* ---- file systems by name ---- */

/* "size=10%" or "size=64m" of tmpfs; 0 if not given. */
static int parse_size(const char *s, uint64_t total, uint64_t *out)
{
    char *end;
    if (*s < '0' || *s > '9')
        return -EINVAL;
    errno = 0;
    uint64_t n = strtoull(s, &end, 0);
    unsigned shift = 0;
    if (*end == '%') {
        *out = n <= 1000 ? total / 100 * n : 0;
        return n <= 1000 && !end[1] ? 0 : -EINVAL;
    }
    if (*end) {
        const char *units = "kmgt", *u = strchr(units, *end | 0x20);
        if (!u || end[1])
            return -EINVAL;
        shift = 10 * (unsigned)(u - units + 1);
    }
    if (errno || n > UINT64_MAX >> shift)
        return -EINVAL;
    *out = n << shift;
    return 0;
}

struct tmpfs_options {
    uint64_t size;
    uint32_t mode;
};

static int parse_tmpfs_option(struct kernel *k, const char *option, struct tmpfs_options *o)
{
    if (strncmp(option, "size=", 5) == 0)
        return parse_size(option + 5, k->mm_config.total_memory, &o->size);
    if (strncmp(option, "mode=", 5) == 0) {
        char *end;
        unsigned long mode = strtoul(option + 5, &end, 8);
        o->mode = (uint32_t)mode & 07777;
        return *end || end == option + 5 ? -EINVAL : 0;
    }
    /* Limits that we do not have, and what tmpfs does anyway. */
    static const char *const known[] = {"nr_inodes=", "nr_blocks=", "uid=0", "gid=", "huge="};
    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (strncmp(option, known[i], strlen(known[i])) == 0)
            return 0;
    return -EINVAL;
}

static int mount_tmpfs(struct kernel *k, UNUSED const char *source, const char *data,
                       struct super_block **out)
{
    struct tmpfs_options o = {.size = k->mm_config.total_memory / 2, .mode = 01777};
    char *copy = strdup(data ? data : ""), *save = NULL;
    if (!copy)
        return -ENOMEM;
    int err = 0;
    for (char *s = strtok_r(copy, ",", &save); s && !err; s = strtok_r(NULL, ",", &save))
        err = parse_tmpfs_option(k, s, &o);
    free(copy);
    return err ? err : tmpfs_create(k, o.mode, o.size, out);
}

static int mount_proc(struct kernel *k, UNUSED const char *source, UNUSED const char *data,
                      struct super_block **out)
{
    return procfs_create(k, out);
}
static int mount_sysfs(struct kernel *k, UNUSED const char *source, UNUSED const char *data,
                       struct super_block **out)
{
    return sysfs_create(k, out);
}
static int mount_devtmpfs(struct kernel *k, UNUSED const char *source, UNUSED const char *data,
                          struct super_block **out)
{
    return devfs_create(k, out);
}

static int mount_devpts(struct kernel *k, UNUSED const char *source, UNUSED const char *data,
                        struct super_block **out)
{
    return devpts_create(k, out);
}

static const struct file_system_type types[] = {
    {"tmpfs", mount_tmpfs, true},       {"ramfs", mount_tmpfs, true},
    {"proc", mount_proc, true},         {"sysfs", mount_sysfs, true},
    {"devtmpfs", mount_devtmpfs, true}, {"devpts", mount_devpts, true},
};

static const struct file_system_type *find_type(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (types[i].user_mountable && strcmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}

/* ---- the tree ---- */

/* Whether p is the root of a mount of the tree. */
static bool is_mount_root(const struct path_ref *p)
{
    return p->mnt->ns && p->dentry == p->mnt->root;
}

static bool mount_is_below(const struct mount *m, const struct mount *top)
{
    while (m && m != top)
        m = m->parent;
    return m == top;
}

/* A directory that was removed can carry nothing. */
static bool is_dead(const struct path_ref *p)
{
    return p->dentry->parent != p->dentry && !p->dentry->hashed;
}

static int attach(struct task *t, struct mount *m, const struct path_ref *at)
{
    struct vfs *v = t->kernel->vfs;
    mutex_lock(&v->mount_lock);
    int err = -EINVAL;
    if (is_dead(at))
        err = -ENOENT;
    else if (at->mnt->ns)
        err = mount_attach(at->mnt->ns, m, at);
    mutex_unlock(&v->mount_lock);
    return err;
}

static int mount_new(struct task *t, const char *source, const struct path_ref *at,
                     const char *type, unsigned long flags, const char *data)
{
    const struct file_system_type *fs = find_type(type);
    struct super_block *sb;
    if (!fs)
        return -ENODEV;
    int err = fs->mount(t->kernel, source, data, &sb);
    if (err)
        return err;
    struct mount *m = mount_alloc(t->kernel->vfs, sb, sb->root, mount_flags(flags), source);
    super_put(sb);
    if (!m)
        return -ENOMEM;
    err = attach(t, m, at);
    if (err)
        mount_put(m);
    return err;
}

/* Puts a copy of m on the same place of `parent`. */
static int copy_mount(struct vfs *v, const struct mount *m, struct mount *parent,
                      struct mount **out)
{
    struct mount *copy = mount_alloc(v, m->sb, m->root, m->flags, m->source);
    if (!copy)
        return -ENOMEM;
    struct path_ref at = {.mnt = parent, .dentry = m->mountpoint};
    int err = mount_attach(parent->ns, copy, &at);
    if (err)
        mount_put(copy);
    else
        *out = copy;
    return err;
}

/* Copies what is mounted on `from` at or below top onto its copy `to`, which may itself be below
 * `from` and is left out. Pre: mount_lock held. */
static int copy_below(struct vfs *v, struct mount *from, const struct dentry *top, struct mount *to)
{
    struct mount *last = from, *last_copy = to; /* the mount before, and its copy */
    struct mount *m = mount_next(from, from);
    while (m) {
        if (m == to || (m->parent == from && !d_is_ancestor(top, m->mountpoint))) {
            m = mount_next_skip(m, from);
            continue;
        }
        for (; last != m->parent; last = last->parent)
            last_copy = last_copy->parent;
        int err = copy_mount(v, m, last_copy, &last_copy);
        if (err)
            return err;
        last = m;
        m = mount_next(m, from);
    }
    return 0;
}

static int mount_bind(struct task *t, const char *source, const struct path_ref *at, bool recursive)
{
    struct vfs *v = t->kernel->vfs;
    struct path_ref from;
    if (!source || !*source)
        return -EINVAL;
    int err = vfs_lookup(t, AT_FDCWD, source, LOOKUP_FOLLOW, &from);
    if (err)
        return err;
    struct mount *m =
        mount_alloc(v, from.dentry->sb, from.dentry, from.mnt->flags, from.mnt->source);
    mutex_lock(&v->mount_lock);
    if (!m)
        err = -ENOMEM;
    else if (!from.mnt->ns || !at->mnt->ns)
        err = -EINVAL;
    else if (is_dead(at) || is_dead(&from))
        err = -ENOENT;
    else
        err = mount_attach(at->mnt->ns, m, at);
    if (!err && recursive) {
        err = copy_below(v, from.mnt, from.dentry, m);
        if (err) {
            mount_unlink(m);
            m = NULL;
        }
    }
    mutex_unlock(&v->mount_lock);
    if (err)
        mount_put(m);
    path_put(&from);
    return err;
}

static int mount_remount(struct task *t, const struct path_ref *at, unsigned long flags)
{
    struct vfs *v = t->kernel->vfs;
    if (!is_mount_root(at))
        return -EINVAL;
    mutex_lock(&v->mount_lock);
    at->mnt->flags = mount_flags(flags);
    mutex_unlock(&v->mount_lock);
    return 0;
}

/* Takes m from where it is and puts it on `at`. Pre: mount_lock held; m is attached. */
static int move_locked(struct vfs *v, struct mount *m, const struct path_ref *at)
{
    if (d_is_dir(at->dentry) != d_is_dir(m->root))
        return -ENOTDIR;
    path_get(at);
    rwlock_write(&v->dcache->lock);
    struct path_ref old = {.mnt = m->parent, .dentry = m->mountpoint};
    list_del(&m->sibling);
    if (m->mountpoint)
        m->mountpoint->mounts--;
    m->parent = at->mnt;
    m->mountpoint = at->dentry;
    m->mountpoint->mounts++;
    list_add(&at->mnt->children, &m->sibling);
    rwlock_unlock(&v->dcache->lock);
    path_put(&old);
    return 0;
}

static int mount_move(struct task *t, const char *source, const struct path_ref *at)
{
    struct vfs *v = t->kernel->vfs;
    struct path_ref from;
    if (!source || !*source)
        return -EINVAL;
    int err = vfs_lookup(t, AT_FDCWD, source, LOOKUP_FOLLOW, &from);
    if (err)
        return err;
    mutex_lock(&v->mount_lock);
    if (!is_mount_root(&from) || !from.mnt->parent || !at->mnt->ns)
        err = -EINVAL;
    else if (mount_is_below(at->mnt, from.mnt))
        err = -ELOOP;
    else
        err = move_locked(v, from.mnt, at);
    mutex_unlock(&v->mount_lock);
    path_put(&from);
    return err;
}

/* Everything is private already, and a slave of nobody. */
static int mount_propagation(const struct path_ref *at, unsigned long flags)
{
    unsigned long kind = flags & PROPAGATION_FLAGS;
    if (flags & ~(unsigned long)(PROPAGATION_FLAGS | MS_REC | MS_SILENT) || kind & (kind - 1))
        return -EINVAL;
    if (!is_mount_root(at))
        return -EINVAL;
    return kind == MS_PRIVATE || kind == MS_SLAVE ? 0 : -EINVAL;
}

int vfs_do_mount(struct task *t, const char *source, const char *target, const char *type,
                 unsigned long flags, const char *data)
{
    struct path_ref at;
    int err = vfs_lookup(t, AT_FDCWD, target, LOOKUP_FOLLOW, &at);
    if (err)
        return err;
    if (flags & MS_REMOUNT)
        err = mount_remount(t, &at, flags);
    else if (flags & MS_BIND)
        err = mount_bind(t, source, &at, flags & MS_REC);
    else if (flags & PROPAGATION_FLAGS)
        err = mount_propagation(&at, flags);
    else if (flags & MS_MOVE)
        err = mount_move(t, source, &at);
    else if (!type)
        err = -EINVAL;
    else
        err = mount_new(t, source, &at, type, flags, data);
    path_put(&at);
    return err;
}

/* ---- umount ---- */

/* Whether anybody but the tree and the caller's own path uses m. Every open file, working
 * directory and root holds its mount. */
static bool mount_is_busy(const struct mount *m)
{
    return !list_empty(&m->children) || ref_read(&m->ref) > 2;
}

int vfs_umount(struct task *t, const char *target, int flags)
{
    struct vfs *v = t->kernel->vfs;
    struct path_ref p;
    if (flags & ~(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW) ||
        (flags & MNT_EXPIRE && flags & (MNT_FORCE | MNT_DETACH)))
        return -EINVAL;
    int err = vfs_lookup(t, AT_FDCWD, target, flags & UMOUNT_NOFOLLOW ? 0 : LOOKUP_FOLLOW, &p);
    if (err)
        return err;
    mutex_lock(&v->mount_lock);
    if (!is_mount_root(&p) || !p.mnt->parent)
        err = -EINVAL;
    else if (!(flags & MNT_DETACH) && mount_is_busy(p.mnt))
        err = -EBUSY;
    else if (flags & MNT_EXPIRE)
        err = -EAGAIN; /* marked; a second call would have to find it unused since */
    else
        mount_unlink(p.mnt);
    mutex_unlock(&v->mount_lock);
    path_put(&p);
    return err;
}

/* ---- pivot_root ---- */

/* Puts `root` where the old root was, and the old root on `old_at`. Pre: mount_lock held. */
static void pivot_locked(struct vfs *v, struct mount *old, struct mount *root,
                         const struct path_ref *old_at)
{
    struct mount_ns *ns = old->ns;
    path_get(old_at);
    rwlock_write(&v->dcache->lock);
    struct path_ref freed = {.mnt = root->parent, .dentry = root->mountpoint};
    list_del(&root->sibling);
    root->mountpoint->mounts--;
    root->parent = NULL;
    root->mountpoint = NULL;
    old->parent = old_at->mnt;
    old->mountpoint = old_at->dentry;
    old_at->dentry->mounts++;
    list_add(&old_at->mnt->children, &old->sibling);
    ns->root = root;
    rwlock_unlock(&v->dcache->lock);
    path_put(&freed);
}

/* Those who stood at the old root stand at the new one. */
static void pivot_context(struct fs_context *fs, const struct path_ref *old,
                          const struct path_ref *root)
{
    struct path_ref *slots[] = {&fs->root, &fs->cwd};
    struct path_ref gone[2] = {{0}};
    mutex_lock(&fs->lock);
    for (size_t i = 0; i < 2; i++) {
        if (slots[i]->mnt != old->mnt || slots[i]->dentry != old->dentry)
            continue;
        gone[i] = *slots[i];
        path_get(root);
        *slots[i] = *root;
    }
    mutex_unlock(&fs->lock);
    path_put(&gone[0]);
    path_put(&gone[1]);
}

static int pivot(struct task *t, const struct path_ref *root, const struct path_ref *put_old)
{
    struct vfs *v = t->kernel->vfs;
    struct path_ref old;
    mutex_lock(&t->fs->lock);
    old = t->fs->root;
    path_get(&old);
    mutex_unlock(&t->fs->lock);
    int err = 0;
    mutex_lock(&v->mount_lock);
    if (root->mnt == old.mnt || put_old->mnt == old.mnt)
        err = -EBUSY;
    else if (!is_mount_root(root) || !is_mount_root(&old) || !root->mnt->parent ||
             old.mnt->parent || !mount_is_below(put_old->mnt, root->mnt))
        err = -EINVAL;
    else
        pivot_locked(v, old.mnt, root->mnt, put_old);
    mutex_unlock(&v->mount_lock);
    if (!err)
        pivot_context(t->fs, &old, root);
    path_put(&old);
    return err;
}

int vfs_pivot_root(struct task *t, const char *new_root, const char *put_old)
{
    struct path_ref root, old;
    int err = vfs_lookup(t, AT_FDCWD, new_root, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &root);
    if (err)
        return err;
    err = vfs_lookup(t, AT_FDCWD, put_old, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &old);
    if (!err) {
        err = pivot(t, &root, &old);
        path_put(&old);
    }
    path_put(&root);
    return err;
}

/* ---- all of them ---- */

/* All mounts, with references: malloc'ed. NULL: no memory. */
static struct mount **all_mounts(struct vfs *v, size_t *n)
{
    MUTEX_GUARD(&v->mount_lock);
    struct mount **all = malloc(v->nmounts * sizeof *all);
    *n = 0;
    for (struct mount *m = v->root_ns->root; all && m; m = mount_next(m, v->root_ns->root)) {
        mount_get(m);
        all[(*n)++] = m;
    }
    return all;
}

static void put_mounts(struct mount **all, size_t n)
{
    for (size_t i = 0; i < n; i++)
        mount_put(all[i]);
    free(all);
}

void vfs_sync_all(struct vfs *v)
{
    size_t n;
    struct mount **all = all_mounts(v, &n);
    for (size_t i = 0; i < n; i++)
        if (all[i]->sb->ops->sync)
            all[i]->sb->ops->sync(all[i]->sb);
    put_mounts(all, n);
}

int vfs_find_dev(struct vfs *v, dev_t dev, struct path_ref *out)
{
    size_t n;
    struct mount **all = all_mounts(v, &n);
    int err = all ? -EINVAL : -ENOMEM;
    for (size_t i = 0; i < n && err; i++) {
        if (all[i]->sb->dev != dev)
            continue;
        *out = (struct path_ref){.mnt = all[i], .dentry = all[i]->root};
        path_get(out);
        err = 0;
    }
    put_mounts(all, n);
    return err;
}
