/*
 * What mount(2), umount2(2) and pivot_root(2) do to the trees.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/internal.h"
#include <stdlib.h>
#include <string.h>

/* The flags of a mount; the others of mount(2) say what to do. */
#define MOUNT_FLAGS                                                                                \
    (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME | MS_RELATIME |     \
     MS_STRICTATIME | MS_NOSYMFOLLOW)
#define ATIME_FLAGS (MS_NOATIME | MS_NODIRATIME | MS_RELATIME | MS_STRICTATIME)
#define PROPAGATION_FLAGS (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE)
#ifndef MS_NOUSER
#define MS_NOUSER (1ul << 31)
#endif

bool vfs_may_mount(struct task *t)
{
    return task_capable_in(t, t->fs->ns->common.owner, CAP_SYS_ADMIN);
}

unsigned mount_flags(unsigned long flags)
{
    unsigned f = (unsigned)flags & MOUNT_FLAGS & ~(unsigned)MS_RELATIME;
    if (f & MS_STRICTATIME)
        return f & ~(unsigned)MS_NOATIME;
    return f & MS_NOATIME ? f : f | MS_RELATIME;
}

/* ---- places ---- */

int mount_place_lock(struct vfs *v, struct path_ref *p)
{
    struct path_ref top = *p;
    mutex_lock(&v->mount_lock);
    rwlock_read(&v->dcache->lock);
    bool dead = p->dentry->parent != p->dentry && !p->dentry->hashed;
    bool covered = mount_cross_down(&top);
    if (covered)
        path_get(&top);
    rwlock_unlock(&v->dcache->lock);
    if (covered) {
        path_put(p);
        *p = top;
    }
    if (dead)
        mutex_unlock(&v->mount_lock);
    return dead ? -ENOENT : 0;
}

static bool same_kind(const struct path_ref *at, const struct mount *m)
{
    return d_is_dir(at->dentry) == d_is_dir(m->root);
}

static bool has_unbindable(struct mount *m)
{
    for (struct mount *i = m; i; i = mount_next(i, m))
        if (i->unbindable)
            return true;
    return false;
}

/* ---- mount: something new ---- */

/* Takes over the reference on m, a new tree. ns: whose place `at` must be in. */
static int attach_new(struct mount_ns *ns, struct mount *m, struct path_ref *at)
{
    struct vfs *v = ns->vfs;
    int err = mount_place_lock(v, at);
    if (err) {
        mount_put(m);
        return err;
    }
    if (at->mnt->ns != ns)
        err = -EINVAL;
    else if (!same_kind(at, m))
        err = -ENOTDIR;
    else
        err = mount_graft(m, at);
    if (err)
        mount_unlink(m);
    mutex_unlock(&v->mount_lock);
    return err;
}

int vfs_mount_at(struct mount_ns *ns, struct super_block *sb, struct dentry *root,
                 const struct path_ref *mountpoint, unsigned flags, const char *source)
{
    struct mount *m;
    int err = mount_alloc(ns->vfs, sb, root, flags, source, &m);
    super_put(sb);
    if (err)
        return err;
    if (mountpoint) {
        struct path_ref at = *mountpoint;
        path_get(&at);
        err = attach_new(ns, m, &at);
        path_put(&at);
        return err;
    }
    MUTEX_GUARD(&ns->vfs->mount_lock);
    ns->root = m;
    mount_set_ns(m, ns);
    return 0;
}

int vfs_mount(struct mount_ns *ns, struct super_block *sb, struct path_ref *mountpoint,
              unsigned flags, const char *source)
{
    return vfs_mount_at(ns, sb, sb->root, mountpoint, flags, source);
}

static int mount_new(struct task *t, const char *source, struct path_ref *at, const char *type,
                     unsigned long flags, const char *data)
{
    const struct file_system_type *fs = file_system_find(type);
    struct super_block *sb;
    struct mount *m;
    if (!fs)
        return -ENODEV;
    int err = fs->mount(t->kernel, source, data, &sb);
    if (err)
        return err;
    if (flags & MS_RDONLY) /* it may have other mounts already */
        sb->read_only = true;
    err = mount_alloc(t->kernel->vfs, sb, sb->root, mount_flags(flags), source, &m);
    super_put(sb);
    return err ? err : attach_new(t->fs->ns, m, at);
}

/* ---- mount: the same elsewhere ---- */

static int bind_locked(struct mount_ns *ns, const struct path_ref *from, const struct path_ref *at,
                       bool recursive)
{
    struct mount *m;
    if (from->mnt->ns != ns || at->mnt->ns != ns || from->mnt->unbindable)
        return -EINVAL;
    if (from->dentry->parent != from->dentry && !from->dentry->hashed)
        return -ENOENT;
    int err = recursive ? mount_copy_tree(from->mnt, from->dentry, 0, &m)
                        : mount_copy(from->mnt, from->dentry, 0, &m);
    if (err)
        return err;
    err = same_kind(at, m) ? mount_graft(m, at) : -ENOTDIR;
    if (err)
        mount_unlink(m);
    return err;
}

static int mount_bind(struct task *t, const char *source, struct path_ref *at, bool recursive)
{
    struct vfs *v = t->kernel->vfs;
    struct path_ref from;
    if (!source || !*source)
        return -EINVAL;
    int err = vfs_lookup(t, AT_FDCWD, source, LOOKUP_FOLLOW, &from);
    if (err)
        return err;
    err = mount_place_lock(v, at);
    if (!err) {
        err = bind_locked(t->fs->ns, &from, at, recursive);
        mutex_unlock(&v->mount_lock);
    }
    path_put(&from);
    return err;
}

int mount_move_locked(struct mount_ns *ns, const struct path_ref *from, const struct path_ref *at)
{
    struct mount *m = from->mnt;
    if (!mount_is_root(from, ns) || !m->parent || at->mnt->ns != ns || !same_kind(at, m))
        return -EINVAL;
    if (m->parent->group || (at->mnt->group && has_unbindable(m)))
        return -EINVAL;
    if (mount_is_below(at->mnt, m))
        return -ELOOP;
    struct path_ref old = {.mnt = m->parent, .dentry = m->mountpoint};
    path_get(&old);
    mount_unhang(m);
    int err = mount_graft(m, at);
    if (err)
        mount_link(m, &old);
    path_put(&old);
    return err;
}

static int mount_move(struct task *t, const char *source, struct path_ref *at)
{
    struct vfs *v = t->kernel->vfs;
    struct path_ref from;
    if (!source || !*source)
        return -EINVAL;
    int err = vfs_lookup(t, AT_FDCWD, source, LOOKUP_FOLLOW, &from);
    if (err)
        return err;
    err = mount_place_lock(v, at);
    if (!err) {
        err = mount_move_locked(t->fs->ns, &from, at);
        mutex_unlock(&v->mount_lock);
    }
    path_put(&from);
    return err;
}

/* ---- mount: other flags ---- */

int mount_change_flags(struct mount *m, unsigned flags)
{
    unsigned old = m->flags;
    m->flags = flags;
    /* Who opens for writing counts itself first and looks at the flag then. */
    if (!(flags & MS_RDONLY) || old & MS_RDONLY || !m->writers)
        return 0;
    m->flags = old;
    return -EBUSY;
}

/* Whether any file of sb is open for writing, through any mount. */
static bool super_has_writers(struct vfs *v, const struct super_block *sb)
{
    struct mount_ns *ns;
    list_for_each (ns, &v->mount_namespaces, link)
        for (struct mount *m = ns->root; m; m = mount_next(m, ns->root))
            if (m->sb == sb && m->writers)
                return true;
    return false;
}

int super_change(struct vfs *v, struct super_block *sb, bool read_only, const char *data)
{
    if (read_only && !sb->read_only && super_has_writers(v, sb))
        return -EBUSY;
    int err = sb->ops->reconfigure ? sb->ops->reconfigure(sb, data) : 0;
    if (!err)
        sb->read_only = read_only;
    return err;
}

static int mount_remount(struct task *t, const struct path_ref *at, unsigned long flags,
                         const char *data)
{
    struct mount *m = at->mnt;
    MUTEX_GUARD(&t->kernel->vfs->mount_lock);
    if (!mount_is_root(at, t->fs->ns))
        return -EINVAL;
    unsigned f = mount_flags(flags);
    if (!(flags & ATIME_FLAGS))
        f = (f & ~(unsigned)ATIME_FLAGS) | (m->flags & ATIME_FLAGS);
    if (flags & MS_BIND)
        return mount_change_flags(m, f);
    int err = super_change(t->kernel->vfs, m->sb, flags & MS_RDONLY, data);
    if (!err)
        m->flags = f;
    return err;
}

static int mount_propagation(struct task *t, const struct path_ref *at, unsigned long flags)
{
    unsigned kind = (unsigned)flags & PROPAGATION_FLAGS;
    if (flags & ~(unsigned long)(PROPAGATION_FLAGS | MS_REC | MS_SILENT) || kind & (kind - 1))
        return -EINVAL;
    MUTEX_GUARD(&t->kernel->vfs->mount_lock);
    if (!mount_is_root(at, t->fs->ns))
        return -EINVAL;
    int err = 0;
    for (struct mount *m = at->mnt; m && !err; m = flags & MS_REC ? mount_next(m, at->mnt) : NULL)
        err = mount_set_propagation(m, kind);
    return err;
}

int vfs_do_mount(struct task *t, const char *source, const char *target, const char *type,
                 unsigned long flags, const char *data)
{
    struct path_ref at;
    int err = vfs_lookup(t, AT_FDCWD, target, LOOKUP_FOLLOW, &at);
    if (err)
        return err;
    if (!vfs_may_mount(t))
        err = -EPERM;
    else if (flags & MS_NOUSER)
        err = -EINVAL;
    else if (flags & MS_REMOUNT)
        err = mount_remount(t, &at, flags, data);
    else if (flags & MS_BIND)
        err = mount_bind(t, source, &at, flags & MS_REC);
    else if (flags & PROPAGATION_FLAGS)
        err = mount_propagation(t, &at, flags);
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

static int umount_locked(struct task *t, const struct path_ref *p, int flags)
{
    struct mount *m = p->mnt;
    if (!vfs_may_mount(t))
        return -EPERM;
    if (!mount_is_root(p, t->fs->ns) || (flags & MNT_EXPIRE && flags & (MNT_FORCE | MNT_DETACH)))
        return -EINVAL;
    if (!m->parent)
        return flags & MNT_DETACH ? -EINVAL : -EBUSY;
    if (flags & MNT_EXPIRE && m == t->fs->root.mnt)
        return -EINVAL;
    if (!(flags & MNT_DETACH) && mount_is_busy(m))
        return -EBUSY;
    if (flags & MNT_EXPIRE && !m->expiring)
        return -EAGAIN;
    mount_prune(m);
    return 0;
}

int vfs_umount(struct task *t, const char *target, int flags)
{
    struct vfs *v = t->kernel->vfs;
    struct path_ref p;
    if (flags & ~(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW))
        return -EINVAL;
    int err = vfs_lookup(t, AT_FDCWD, target, flags & UMOUNT_NOFOLLOW ? 0 : LOOKUP_FOLLOW, &p);
    if (err)
        return err;
    mutex_lock(&v->mount_lock);
    err = umount_locked(t, &p, flags);
    struct mount *m = p.mnt;
    path_put(&p);
    if (err == -EAGAIN)
        m->expiring = true; /* after our own letting go; the tree still holds it */
    mutex_unlock(&v->mount_lock);
    return err;
}

/* ---- pivot_root ---- */

/* Puts `root` where the old root was, and the old root on `put_old`. Pre: mount_lock held. */
static void pivot_locked(struct mount *old, struct mount *root, const struct path_ref *put_old)
{
    struct mount_ns *ns = old->ns;
    struct path_ref place = {.mnt = old->parent, .dentry = old->mountpoint}, top = *put_old;
    bool hangs = place.mnt != NULL;
    if (hangs)
        path_get(&place);
    mount_unhang(root);
    if (hangs) {
        mount_unhang(old);
        mount_link(root, &place);
        path_put(&place);
    } else {
        ns->root = root;
    }
    rwlock_read(&ns->vfs->dcache->lock);
    mount_cross_down(&top);
    rwlock_unlock(&ns->vfs->dcache->lock);
    mount_link(old, &top);
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

static void pivot_contexts(struct kernel *k, const struct path_ref *old,
                           const struct path_ref *root)
{
    struct thread_group *tg;
    struct task *t;
    for (pid_t tgid = 1; (tg = thread_group_next(k, tgid)); thread_group_put(tg)) {
        tgid = tg->tgid + 1;
        for (pid_t tid = 1; (t = task_next(tg, tid)); task_put(t)) {
            struct fs_context *fs = task_get_fs(t);
            tid = t->tid + 1;
            if (fs)
                pivot_context(fs, old, root);
            fs_context_put(fs);
        }
    }
}

static bool is_shared_parent(const struct mount *m)
{
    return m->parent && m->parent->group;
}

static int pivot_check(struct mount_ns *ns, const struct path_ref *old, const struct path_ref *root,
                       const struct path_ref *put_old)
{
    if (root->mnt == old->mnt || put_old->mnt == old->mnt)
        return -EBUSY;
    if (!mount_is_root(root, ns) || !mount_is_root(old, ns) || put_old->mnt->ns != ns)
        return -EINVAL;
    if (put_old->mnt->group || is_shared_parent(root->mnt) || is_shared_parent(old->mnt))
        return -EINVAL;
    if (!root->mnt->parent || !mount_is_below(put_old->mnt, root->mnt) ||
        !mount_is_below(root->mnt, old->mnt))
        return -EINVAL;
    return 0;
}

static int pivot(struct task *t, const struct path_ref *root, struct path_ref *put_old)
{
    struct vfs *v = t->kernel->vfs;
    struct path_ref old;
    mutex_lock(&t->fs->lock);
    old = t->fs->root;
    path_get(&old);
    mutex_unlock(&t->fs->lock);
    mutex_lock(&v->mount_lock);
    int err = pivot_check(t->fs->ns, &old, root, put_old);
    if (!err)
        pivot_locked(old.mnt, root->mnt, put_old);
    mutex_unlock(&v->mount_lock);
    if (!err)
        pivot_contexts(t->kernel, &old, root);
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

/* All mounts of all namespaces, with references: malloc'ed. NULL: no memory. */
static struct mount **all_mounts(struct vfs *v, size_t *n)
{
    MUTEX_GUARD(&v->mount_lock);
    struct mount_ns *ns;
    size_t max = v->nmounts; /* only grows while others wait for the lock */
    struct mount **all = malloc(max * sizeof *all);
    *n = 0;
    list_for_each (ns, &v->mount_namespaces, link)
        for (struct mount *m = ns->root; all && m && *n < max; m = mount_next(m, ns->root)) {
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

/* The first mount of the tree below top that hangs on d, or NULL. */
static struct mount *find_on_dentry(struct mount *top, const struct dentry *d)
{
    struct mount *m = top;
    while (m && m->mountpoint != d)
        m = mount_next(m, top);
    return m;
}

bool mount_is_local_point(struct task *t, const struct dentry *d)
{
    if (!d->mounts)
        return false;
    MUTEX_GUARD(&t->kernel->vfs->mount_lock);
    return find_on_dentry(t->fs->ns->root, d) != NULL;
}

void mount_detach_all(struct dentry *d)
{
    struct vfs *v = d->sb->kernel->vfs;
    struct mount_ns *ns;
    struct mount *m;
    if (!d->mounts)
        return;
    MUTEX_GUARD(&v->mount_lock);
    list_for_each (ns, &v->mount_namespaces, link)
        while ((m = find_on_dentry(ns->root, d)))
            mount_unlink(m);
}
