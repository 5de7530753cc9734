/*
 * Mounts, and the trees that they form.
 *
 *      mount (root fs)                    A mount point is a dentry; the mount on it hangs in its
 *        |- mount at /proc                parent mount's list of children. A path is (mount,
 *        |- mount at /dev                 dentry): crossing goes from (parent, mount point) to
 *        |    `- mount at /dev/shm        (child, child's root) and back.
 *
 * A mount holds its super block (active), root and mount point, and its parent; the tree holds one
 * reference on each mount that is in it. See mount_calls.c for mount(2) and its kin.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/internal.h"
#include <stdlib.h>
#include <string.h>

/* As the sysctl fs.mount-max: recursive binds and propagation double what is there. */
#define MOUNT_MAX 100000

void mount_get(struct mount *m)
{
    ref_get(&m->ref);
}

void mount_put(struct mount *m)
{
    if (m && unlikely(m->expiring))
        m->expiring = false;
    while (m && ref_put(&m->ref)) {
        struct mount *parent = m->parent;
        atomic_fetch_sub(&m->sb->kernel->vfs->nmounts, 1);
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

int mount_alloc(struct vfs *v, struct super_block *sb, struct dentry *root, unsigned flags,
                const char *source, struct mount **out)
{
    struct mount *m = calloc(1, sizeof *m);
    char *name = strdup(source ? source : "none");
    if (!m || !name) {
        free(name);
        free(m);
        return -ENOMEM;
    }
    if (atomic_fetch_add(&v->nmounts, 1) >= MOUNT_MAX) {
        atomic_fetch_sub(&v->nmounts, 1);
        free(name);
        free(m);
        return -ENOSPC;
    }
    ref_init(&m->ref);
    m->source = name;
    m->sb = super_get(sb);
    dentry_get(root);
    m->root = root;
    m->flags = flags;
    m->id = (int)(atomic_fetch_add(&v->next_mount_id, 1) + 1);
    list_init(&m->children);
    list_init(&m->sibling);
    list_init(&m->peer);
    list_init(&m->slave);
    list_init(&m->work);
    *out = m;
    return 0;
}

/* ---- crossing ---- */

struct mount *mount_over(const struct path_ref *p)
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
    while ((m = mount_over(p))) {
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

/* ---- walking a tree ---- */

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

bool mount_is_below(const struct mount *m, const struct mount *top)
{
    while (m && m != top)
        m = m->parent;
    return m == top;
}

bool mount_is_root(const struct path_ref *p, const struct mount_ns *ns)
{
    return p->mnt->ns == ns && p->dentry == p->mnt->root;
}

/* ---- links ---- */

static struct dcache *dcache_of_mount(const struct mount *m)
{
    return m->sb->kernel->vfs->dcache;
}

/* Pre: dcache lock held for writing. m takes references on `at`. */
static void link_locked(struct mount *m, const struct path_ref *at)
{
    path_get(at);
    m->parent = at->mnt;
    m->mountpoint = at->dentry;
    at->dentry->mounts++;
    list_add(&at->mnt->children, &m->sibling);
}

/* Pre: as above. Returns the references that m held. */
static struct path_ref unlink_locked(struct mount *m)
{
    struct path_ref at = {.mnt = m->parent, .dentry = m->mountpoint};
    list_del(&m->sibling);
    if (m->mountpoint)
        m->mountpoint->mounts--;
    m->parent = NULL;
    m->mountpoint = NULL;
    return at;
}

void mount_link(struct mount *m, const struct path_ref *at)
{
    struct dcache *dc = dcache_of_mount(m);
    rwlock_write(&dc->lock);
    link_locked(m, at);
    rwlock_unlock(&dc->lock);
}

void mount_link_beneath(struct mount *m, const struct path_ref *at)
{
    struct dcache *dc = dcache_of_mount(m);
    struct path_ref top = {.mnt = m, .dentry = m->root}, old = {0};
    rwlock_write(&dc->lock);
    struct mount *cover = mount_over(at);
    if (cover)
        old = unlink_locked(cover);
    link_locked(m, at);
    if (cover) {
        mount_cross_down(&top);
        link_locked(cover, &top);
    }
    rwlock_unlock(&dc->lock);
    path_put(&old);
}

void mount_unhang(struct mount *m)
{
    struct dcache *dc = dcache_of_mount(m);
    rwlock_write(&dc->lock);
    struct path_ref at = unlink_locked(m);
    rwlock_unlock(&dc->lock);
    path_put(&at);
}

void mount_set_ns(struct mount *m, struct mount_ns *ns)
{
    for (struct mount *i = m; i; i = mount_next(i, m))
        i->ns = ns;
}

void mount_unlink(struct mount *m)
{
    struct mount *leaf;
    do {
        for (leaf = m; !list_empty(&leaf->children);)
            leaf = list_first(&leaf->children, struct mount, sibling);
        if (leaf->ns && leaf->ns->root == leaf)
            leaf->ns->root = NULL;
        leaf->ns = NULL;
        leaf->prune = 0;
        list_del(&leaf->work);
        mount_make_private(leaf);
        mount_unhang(leaf);
        mount_put(leaf); /* m itself lives on for the comparison: it is not touched after */
    } while (leaf != m);
}

/* ---- namespaces ---- */

static void mount_ns_destroy(struct ns_common *common)
{
    struct mount_ns *ns = container_of(common, struct mount_ns, common);
    mount_ns_empty(ns);
    {
        MUTEX_GUARD(&ns->vfs->mount_lock);
        list_del(&ns->link);
    }
    free(ns);
}

int mount_ns_create(struct vfs *v, bool anonymous, const struct cred *maker, struct mount_ns **out)
{
    struct mount_ns *ns = calloc(1, sizeof *ns);
    if (!ns)
        return -ENOMEM;
    int err = 0;
    if (!maker || anonymous)
        ns_init_first(v->kernel, &ns->common, NS_MNT, mount_ns_destroy);
    else
        err =
            ns_init(v->kernel, &ns->common, NS_MNT, maker->user_ns, maker->euid, mount_ns_destroy);
    if (err) {
        free(ns);
        return err;
    }
    ns->vfs = v;
    ns->anonymous = anonymous;
    list_init(&ns->link);
    if (!anonymous) {
        MUTEX_GUARD(&v->mount_lock);
        list_add_tail(&v->mount_namespaces, &ns->link);
    }
    *out = ns;
    return 0;
}

struct ns_common *mount_ns_common(struct mount_ns *ns)
{
    return &ns->common;
}

struct mount_ns *mount_ns_of(struct ns_common *ns)
{
    return container_of(ns, struct mount_ns, common);
}

struct mount_ns *mount_ns_get(struct mount_ns *ns)
{
    ns_get(&ns->common);
    return ns;
}

void mount_ns_empty(struct mount_ns *ns)
{
    MUTEX_GUARD(&ns->vfs->mount_lock);
    if (ns->root)
        mount_unlink(ns->root);
}

void mount_ns_put(struct mount_ns *ns)
{
    if (ns)
        ns_put(&ns->common);
}

/* The copy of m in the tree `copy`, which has the shape of the tree `from`. */
static struct mount *counterpart(struct mount *m, struct mount *from, struct mount *copy)
{
    struct mount *c = copy;
    for (struct mount *i = from; i && c; i = mount_next(i, from), c = mount_next(c, copy))
        if (i == m)
            return c;
    return NULL;
}

/* The path in the copied tree; where the mount was not copied, its root. */
static struct path_ref moved_path(const struct path_ref *p, struct mount *from, struct mount *copy)
{
    struct mount *m = counterpart(p->mnt, from, copy);
    struct path_ref to = {.mnt = m ? m : p->mnt, .dentry = p->dentry};
    path_get(&to);
    return to;
}

static void fs_context_stand(struct fs_context *fs, struct mount_ns *ns, struct path_ref root,
                             struct path_ref cwd)
{
    struct path_ref old_root, old_cwd;
    struct mount_ns *old;
    mutex_lock(&fs->lock);
    old_root = fs->root;
    old_cwd = fs->cwd;
    old = fs->ns;
    fs->root = root;
    fs->cwd = cwd;
    fs->ns = ns;
    mutex_unlock(&fs->lock);
    path_put(&old_root);
    path_put(&old_cwd);
    mount_ns_put(old);
}

int mount_ns_unshare(struct fs_context *fs, const struct cred *maker)
{
    struct mount_ns *ns, *old = fs->ns;
    struct vfs *v = old->vfs;
    struct mount *copy = NULL;
    struct path_ref root = {0}, cwd = {0};
    bool slave = maker->user_ns != old->common.owner;
    int err = mount_ns_create(v, false, maker, &ns);
    if (err)
        return err;
    {
        MUTEX_GUARD(&v->mount_lock);
        unsigned how = MOUNT_COPY_UNBINDABLE | (slave ? MOUNT_COPY_SLAVE : 0);
        err = old->root ? mount_copy_tree(old->root, old->root->root, how, &copy) : -EINVAL;
        if (!err) {
            mount_set_ns(copy, ns);
            ns->root = copy;
            root = moved_path(&fs->root, old->root, copy);
            cwd = moved_path(&fs->cwd, old->root, copy);
        }
    }
    if (err)
        mount_ns_put(ns);
    else
        fs_context_stand(fs, ns, root, cwd);
    return err;
}

int mount_ns_enter(struct fs_context *fs, struct mount_ns *ns)
{
    struct vfs *v = ns->vfs;
    struct path_ref root;
    {
        MUTEX_GUARD(&v->mount_lock);
        if (!ns->root)
            return -EINVAL;
        root = (struct path_ref){.mnt = ns->root, .dentry = ns->root->root};
        rwlock_read(&v->dcache->lock);
        mount_cross_down(&root);
        path_get(&root);
        path_get(&root);
        rwlock_unlock(&v->dcache->lock);
    }
    fs_context_stand(fs, mount_ns_get(ns), root, root);
    return 0;
}

bool vfs_is_chrooted(struct task *t)
{
    struct path_ref root;
    {
        MUTEX_GUARD(&t->fs->lock);
        root = t->fs->root;
        path_get(&root);
    }
    struct dcache *dc = t->kernel->vfs->dcache;
    rwlock_read(&dc->lock);
    struct mount *top = root.mnt->ns ? root.mnt->ns->root : NULL;
    struct path_ref first = {.mnt = top, .dentry = top ? top->root : NULL};
    if (top)
        mount_cross_down(&first);
    bool same = top && first.mnt == root.mnt && first.dentry == root.dentry;
    rwlock_unlock(&dc->lock);
    path_put(&root);
    return !same;
}
