/*
 * Trees of mounts that a description holds, and what can be done to mounts by descriptor.
 *
 * A detached tree is a namespace of its own, without users (mount_ns.anonymous): walks work in it,
 * and move_mount takes it elsewhere.
 */
#include "sentry/vfs/mount_fd.h"
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/internal.h"

/* ---- detached trees ---- */

static void tree_release(struct file *f)
{
    mount_ns_put(f->priv);
}
static const struct file_ops tree_ops = {.release = tree_release};

/* A description of the tree m, which hangs nowhere and is in no namespace; takes it over. */
static int tree_open(struct task *t, struct mount *m, struct file **out)
{
    struct vfs *v = t->kernel->vfs;
    struct mount_ns *ns;
    int err = mount_ns_create(v, true, NULL, &ns);
    if (err) {
        MUTEX_GUARD(&v->mount_lock);
        mount_unlink(m);
        return err;
    }
    {
        MUTEX_GUARD(&v->mount_lock);
        ns->root = m;
        mount_set_ns(m, ns);
        *out = file_create(t->kernel, m, m->root, O_PATH, &tree_ops, ns, t->cred);
    }
    if (*out)
        return 0;
    mount_ns_put(ns);
    return -ENOMEM;
}

/* MOUNT_ATTR_* and the MS_* flags of a mount. */
static const struct {
    uint64_t attr;
    unsigned flag;
} attr_flags[] = {
    {MOUNT_ATTR_RDONLY, MS_RDONLY},         {MOUNT_ATTR_NOSUID, MS_NOSUID},
    {MOUNT_ATTR_NODEV, MS_NODEV},           {MOUNT_ATTR_NOEXEC, MS_NOEXEC},
    {MOUNT_ATTR_NODIRATIME, MS_NODIRATIME}, {MOUNT_ATTR_NOSYMFOLLOW, MS_NOSYMFOLLOW},
    {MOUNT_ATTR_NOATIME, MS_NOATIME},       {MOUNT_ATTR_STRICTATIME, MS_STRICTATIME},
};
#define ATTR_KNOWN                                                                                 \
    ((uint64_t)(MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |     \
                MOUNT_ATTR_NODIRATIME | MOUNT_ATTR_NOSYMFOLLOW | MOUNT_ATTR__ATIME))
#define ATIME_FLAGS (MS_NOATIME | MS_STRICTATIME | MS_RELATIME)

static bool atime_valid(uint64_t attr)
{
    attr &= MOUNT_ATTR__ATIME;
    return attr == MOUNT_ATTR_RELATIME || attr == MOUNT_ATTR_NOATIME ||
           attr == MOUNT_ATTR_STRICTATIME;
}

static unsigned flags_of_attr(uint64_t attr)
{
    unsigned flags = 0;
    for (size_t i = 0; i < ARRAY_SIZE(attr_flags); i++)
        if (attr & attr_flags[i].attr)
            flags |= attr_flags[i].flag;
    return flags;
}

bool mount_attr_valid(uint64_t attr)
{
    return !(attr & ~ATTR_KNOWN) && atime_valid(attr);
}

int vfs_fsmount(struct task *t, struct super_block *sb, const char *source, uint64_t attr,
                struct file **out)
{
    struct mount *m;
    unsigned flags = mount_flags(flags_of_attr(attr));
    int err = mount_alloc(t->kernel->vfs, sb, sb->root, flags, source, &m);
    return err ? err : tree_open(t, m, out);
}

int vfs_clone_tree(struct task *t, const struct path_ref *p, bool recursive, struct file **out)
{
    struct mount *m;
    int err;
    {
        MUTEX_GUARD(&t->kernel->vfs->mount_lock);
        if (p->mnt->ns != t->fs->ns || p->mnt->unbindable)
            return -EINVAL;
        err = recursive ? mount_copy_tree(p->mnt, p->dentry, 0, &m)
                        : mount_copy(p->mnt, p->dentry, 0, &m);
    }
    return err ? err : tree_open(t, m, out);
}

/* ---- moving ---- */

/* Pre: mount_lock held. */
static int attach_detached(struct task *t, const struct path_ref *from, const struct path_ref *to)
{
    struct mount *m = from->mnt;
    struct mount_ns *ns = m->ns;
    if (!ns->anonymous || ns->root != m || from->dentry != m->root || to->mnt->ns != t->fs->ns ||
        d_is_dir(to->dentry) != d_is_dir(m->root))
        return -EINVAL;
    int err = mount_graft(m, to);
    if (!err)
        ns->root = NULL;
    return err;
}

int vfs_move_mount(struct task *t, const struct path_ref *from, struct path_ref *to)
{
    struct vfs *v = t->kernel->vfs;
    int err = mount_place_lock(v, to);
    if (err)
        return err;
    if (from->mnt->ns && from->mnt->ns->anonymous)
        err = attach_detached(t, from, to);
    else
        err = mount_move_locked(t->fs->ns, from, to);
    mutex_unlock(&v->mount_lock);
    return err;
}

int vfs_set_group(struct task *t, const struct path_ref *from, const struct path_ref *to)
{
    struct mount *m = to->mnt;
    MUTEX_GUARD(&t->kernel->vfs->mount_lock);
    if (!mount_is_root(from, t->fs->ns) || !mount_is_root(to, t->fs->ns) || m->group || m->master)
        return -EINVAL;
    if (from->mnt->sb != m->sb || !d_is_ancestor(from->mnt->root, m->root))
        return -EINVAL;
    mount_join(m, from->mnt);
    return 0;
}

/* ---- mount_setattr ---- */

static int setattr_check(const struct mount_attr *a)
{
    const uint64_t kinds = MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE;
    if (a->propagation & ~kinds || a->propagation & (a->propagation - 1))
        return -EINVAL;
    if ((a->attr_set | a->attr_clr) & ~ATTR_KNOWN || a->userns_fd)
        return -EINVAL;
    uint64_t atime = a->attr_clr & MOUNT_ATTR__ATIME;
    if (atime ? atime != MOUNT_ATTR__ATIME || !atime_valid(a->attr_set)
              : (a->attr_set & MOUNT_ATTR__ATIME) != 0)
        return -EINVAL;
    return 0;
}

static unsigned changed_flags(const struct mount *m, const struct mount_attr *a)
{
    unsigned flags = m->flags & ~flags_of_attr(a->attr_clr);
    if (a->attr_clr & MOUNT_ATTR__ATIME)
        flags &= ~(unsigned)ATIME_FLAGS;
    flags |= flags_of_attr(a->attr_set);
    return flags & (MS_NOATIME | MS_STRICTATIME) ? flags : flags | MS_RELATIME;
}

/* The next mount that the call is about. */
static struct mount *setattr_next(struct mount *m, struct mount *top, bool recursive)
{
    return recursive ? mount_next(m, top) : NULL;
}

int vfs_mount_setattr(struct task *t, const struct path_ref *p, bool recursive,
                      const struct mount_attr *attr)
{
    struct mount *top = p->mnt, *m;
    int err = setattr_check(attr);
    if (err)
        return err;
    MUTEX_GUARD(&t->kernel->vfs->mount_lock);
    bool known = top->ns && (top->ns == t->fs->ns || top->ns->anonymous);
    if (!known || p->dentry != top->root)
        return -EINVAL;
    for (m = top; m && !err; m = setattr_next(m, top, recursive))
        if (changed_flags(m, attr) & MS_RDONLY && !(m->flags & MS_RDONLY) && m->writers)
            err = -EBUSY; /* of all, or of none */
    for (m = top; m && !err; m = setattr_next(m, top, recursive)) {
        err = mount_change_flags(m, changed_flags(m, attr));
        if (!err && attr->propagation)
            err = mount_set_propagation(m, (unsigned)attr->propagation);
    }
    return err;
}
