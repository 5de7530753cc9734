/*
 * The mount tree of a namespace.
 *
 *      mount (root fs)                    A mount point is a dentry; the mount on it hangs in its
 *        |- mount at /proc                parent mount's list of children. A path is (mount,
 *        |- mount at /dev                 dentry): crossing goes from (parent, mount point) to
 *        |    `- mount at /dev/shm        (child, child's root) and back.
 *
 * A mount holds its super block (active), root and mount point, and its parent; the tree holds one
 * reference on each mount that is attached. Links change with mount_lock and the dcache lock held,
 * and are read with either. See mount_calls.c for mount(2) and its kin.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/internal.h"
#include <stdlib.h>
#include <string.h>

/* As the sysctl fs.mount-max: recursive binds double what is there. */
#define MOUNT_MAX 100000

void mount_get(struct mount *m)
{
    ref_get(&m->ref);
}

void mount_put(struct mount *m)
{
    while (m && ref_put(&m->ref)) {
        struct mount *parent = m->parent;
        if (m->mountpoint)
            dentry_put(m->mountpoint);
        dentry_put(m->root);
        super_put(m->sb);
        free(m->source);
        free(m);
        m = parent;
    }
}

void path_get(const struct path_ref *p)
{
    mount_get(p->mnt);
    dentry_get(p->dentry);
}

void path_put(struct path_ref *p)
{
    struct path_ref old = *p;
    *p = (struct path_ref){0};
    if (old.dentry)
        dentry_put(old.dentry);
    if (old.mnt)
        mount_put(old.mnt);
}

struct mount *mount_alloc(struct vfs *v, struct super_block *sb, struct dentry *root,
                          unsigned flags, const char *source)
{
    struct mount *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->source = strdup(source ? source : "none");
    if (!m->source) {
        free(m);
        return NULL;
    }
    ref_init(&m->ref);
    m->sb = super_get(sb);
    dentry_get(root);
    m->root = root;
    m->flags = flags;
    m->id = (int)(atomic_fetch_add(&v->next_mount_id, 1) + 1);
    list_init(&m->children);
    list_init(&m->sibling);
    return m;
}

int mount_ns_create(struct vfs *v, struct mount_ns **out)
{
    struct mount_ns *ns = calloc(1, sizeof *ns);
    if (!ns)
        return -ENOMEM;
    ref_init(&ns->ref);
    ns->vfs = v;
    *out = ns;
    return 0;
}

static struct mount *mount_at(const struct path_ref *p)
{
    struct mount *m;
    if (!p->dentry->mounts)
        return NULL;
    list_for_each (m, &p->mnt->children, sibling)
        if (m->mountpoint == p->dentry)
            return m;
    return NULL;
}

bool mount_cross_down(struct path_ref *p)
{
    bool crossed = false;
    struct mount *m;
    while ((m = mount_at(p))) {
        p->mnt = m;
        p->dentry = m->root;
        crossed = true;
    }
    return crossed;
}

bool mount_cross_up(struct path_ref *p)
{
    bool crossed = false;
    while (p->dentry == p->mnt->root && p->mnt->mountpoint) {
        p->dentry = p->mnt->mountpoint;
        p->mnt = p->mnt->parent;
        crossed = true;
    }
    return crossed;
}

int mount_want_write(const struct mount *m)
{
    return m && m->flags & MS_RDONLY ? -EROFS : 0;
}

/* Pre: mount_lock held. */
int mount_attach(struct mount_ns *ns, struct mount *m, const struct path_ref *at)
{
    struct dcache *dc = ns->vfs->dcache;
    if (ns->vfs->nmounts >= MOUNT_MAX)
        return -ENOSPC;
    if (!at) {
        m->ns = ns;
        ns->root = m;
        ns->vfs->nmounts++;
        return 0;
    }
    if (d_is_dir(at->dentry) != d_is_dir(m->root))
        return -ENOTDIR;
    path_get(at);
    rwlock_write(&dc->lock);
    ns->vfs->nmounts++;
    m->ns = ns;
    m->parent = at->mnt;
    m->mountpoint = at->dentry;
    at->dentry->mounts++;
    list_add(&at->mnt->children, &m->sibling);
    rwlock_unlock(&dc->lock);
    return 0;
}

struct mount *mount_next_skip(const struct mount *m, const struct mount *top)
{
    for (; m != top; m = m->parent)
        if (m->sibling.prev != &m->parent->children)
            return list_entry(m->sibling.prev, struct mount, sibling);
    return NULL;
}

struct mount *mount_next(const struct mount *m, const struct mount *top)
{
    if (!list_empty(&m->children))
        return list_entry(m->children.prev, struct mount, sibling);
    return mount_next_skip(m, top);
}

/* Pre: no children. */
static void unlink_leaf(struct mount *m)
{
    struct vfs *v = m->ns->vfs;
    rwlock_write(&v->dcache->lock);
    struct path_ref at = {.mnt = m->parent, .dentry = m->mountpoint};
    list_del(&m->sibling);
    if (m->mountpoint)
        m->mountpoint->mounts--;
    m->parent = NULL;
    m->mountpoint = NULL;
    m->ns = NULL;
    rwlock_unlock(&v->dcache->lock);
    v->nmounts--;
    path_put(&at);
    mount_put(m);
}

void mount_unlink(struct mount *m)
{
    struct mount *leaf;
    do {
        for (leaf = m; !list_empty(&leaf->children);)
            leaf = list_first(&leaf->children, struct mount, sibling);
        unlink_leaf(leaf);
    } while (leaf != m);
}

void mount_ns_destroy(struct mount_ns *ns)
{
    if (ns->root)
        mount_unlink(ns->root);
    free(ns);
}

int vfs_mount_at(struct mount_ns *ns, struct super_block *sb, struct dentry *root,
                 const struct path_ref *mountpoint, unsigned flags, const char *source)
{
    struct mount *m = mount_alloc(ns->vfs, sb, root, flags, source);
    super_put(sb);
    if (!m)
        return -ENOMEM;
    mutex_lock(&ns->vfs->mount_lock);
    int err = mount_attach(ns, m, mountpoint);
    mutex_unlock(&ns->vfs->mount_lock);
    if (err)
        mount_put(m);
    return err;
}

int vfs_mount(struct mount_ns *ns, struct super_block *sb, struct path_ref *mountpoint,
              unsigned flags, const char *source)
{
    return vfs_mount_at(ns, sb, sb->root, mountpoint, flags, source);
}
