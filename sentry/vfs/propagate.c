/*
 * Shared subtrees: which mounts see what is mounted and unmounted in others. See mount.h for the
 * picture, and mount_namespaces(7).
 */
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/internal.h"
#include <stdlib.h>

/* ---- groups ---- */

static int group_create(struct vfs *v, struct mount *m)
{
    struct peer_group *g = calloc(1, sizeof *g);
    if (!g)
        return -ENOMEM;
    g->id = ++v->next_peer_group;
    list_init(&g->members);
    list_init(&g->slaves);
    list_add(&g->members, &m->peer);
    m->group = g;
    return 0;
}

static void set_master(struct mount *m, struct peer_group *master)
{
    list_del(&m->slave);
    m->master = master;
    if (master)
        list_add_tail(&master->slaves, &m->slave);
}

static void group_leave(struct mount *m)
{
    struct peer_group *g = m->group;
    if (!g)
        return;
    list_del(&m->peer);
    m->group = NULL;
    if (!list_empty(&g->members))
        return;
    while (!list_empty(&g->slaves))
        set_master(list_first(&g->slaves, struct mount, slave), m->master);
    free(g);
}

void mount_make_private(struct mount *m)
{
    group_leave(m);
    set_master(m, NULL);
}

static void make_slave(struct mount *m)
{
    struct peer_group *g = m->group;
    bool alone = g && g->members.next == &m->peer && g->members.prev == &m->peer;
    group_leave(m);
    if (g && !alone)
        set_master(m, g);
}

int mount_set_propagation(struct mount *m, unsigned kind)
{
    if (kind == MS_SHARED) {
        m->unbindable = false;
        return m->group ? 0 : group_create(m->sb->kernel->vfs, m);
    }
    make_slave(m);
    if (kind != MS_SLAVE) {
        set_master(m, NULL);
        m->unbindable = kind == MS_UNBINDABLE;
    }
    return 0;
}

void mount_join(struct mount *m, const struct mount *other)
{
    m->group = other->group;
    if (m->group)
        list_add_tail(&m->group->members, &m->peer);
    set_master(m, other->master);
}

/* ---- copies ---- */

int mount_copy(const struct mount *m, struct dentry *root, unsigned how, struct mount **out)
{
    struct vfs *v = m->sb->kernel->vfs;
    struct mount *copy;
    int err = mount_alloc(v, m->sb, root, m->flags, m->source, &copy);
    if (err)
        return err;
    copy->unbindable = m->unbindable;
    if (how & MOUNT_COPY_SLAVE && m->group) {
        set_master(copy, m->group);
    } else {
        mount_join(copy, m);
    }
    if (how & MOUNT_COPY_SHARED)
        err = mount_set_propagation(copy, MS_SHARED);
    if (err) {
        mount_make_private(copy);
        mount_put(copy);
        return err;
    }
    *out = copy;
    return 0;
}

static bool is_skipped(const struct mount *m, const struct mount *top, const struct dentry *root,
                       unsigned how)
{
    if (m->parent == top && !d_is_ancestor(root, m->mountpoint))
        return true;
    return m->unbindable && !(how & MOUNT_COPY_UNBINDABLE);
}

int mount_copy_tree(struct mount *top, struct dentry *root, unsigned how, struct mount **out)
{
    struct mount *copy, *last = top, *last_copy; /* the mount before, and its copy */
    int err = mount_copy(top, root, how, &copy);
    last_copy = copy;
    struct mount *m = err ? NULL : mount_next(top, top);
    while (m) {
        if (is_skipped(m, top, root, how)) {
            m = mount_next_skip(m, top);
            continue;
        }
        for (; last != m->parent; last = last->parent)
            last_copy = last_copy->parent;
        struct path_ref at = {.mnt = last_copy, .dentry = m->mountpoint};
        err = mount_copy(m, m->root, how, &last_copy);
        if (err) {
            mount_unlink(copy);
            return err;
        }
        mount_link(last_copy, &at);
        last = m;
        m = mount_next(m, top);
    }
    if (!err)
        *out = copy;
    return err;
}

/* ---- who hears of it ---- */

/*
 * All mounts that an event in a mount of `group` reaches: its members, then its slaves, then the
 * peers of those, and so on. A group is visited when the first slave that is in it is met.
 */
struct reach {
    struct peer_group *first, *group;
    struct mount *at;
    bool slaves; /* the group's members are done: `at` is one of its slaves */
};

static struct mount *member_after(struct peer_group *g, struct mount *m)
{
    struct list_head *next = m ? m->peer.next : g->members.next;
    return next == &g->members ? NULL : list_entry(next, struct mount, peer);
}
static struct mount *slave_after(struct peer_group *g, struct mount *m)
{
    struct list_head *next = m ? m->slave.next : g->slaves.next;
    return next == &g->slaves ? NULL : list_entry(next, struct mount, slave);
}

/* Whether m is the first of its group among the slaves: the one that stands for it. */
static bool stands_for_group(const struct mount *m)
{
    struct mount *i = NULL;
    while ((i = slave_after(m->master, i)) != m)
        if (i->group == m->group)
            return false;
    return true;
}

/* The group of m, if its peers are to hear of anything now. */
static struct peer_group *group_in_force(const struct mount *m)
{
    return m->group && !m->group->fresh ? m->group : NULL;
}

static struct mount *reach_next(struct reach *r)
{
    if (!r->slaves) {
        r->at = member_after(r->group, r->at);
        if (r->at)
            return r->at;
        r->slaves = true;
    }
    for (;;) {
        r->at = slave_after(r->group, r->at);
        if (r->at && !group_in_force(r->at))
            return r->at;
        if (r->at && stands_for_group(r->at)) { /* down */
            r->group = r->at->group;
            r->slaves = false;
            return r->at = member_after(r->group, NULL);
        }
        if (!r->at) { /* up: to the slave through which we came */
            if (r->group == r->first)
                return NULL;
            struct peer_group *g = r->group;
            r->group = member_after(g, NULL)->master;
            do
                r->at = slave_after(r->group, r->at);
            while (r->at->group != g);
        }
    }
}

/* ---- attaching ---- */

struct pending {
    struct list_head link;
    struct mount *copy, *on;
};

struct graft {
    struct mount *tree;
    struct path_ref at;
    struct list_head pending; /* in the order in which they were made */
};

/* The tree of which `on` gets a copy: that of its group if there is one already, else that of its
 * master group, or of the next one above that has one. */
static struct mount *graft_source(struct graft *g, const struct mount *on, bool *peer)
{
    struct pending *p;
    struct peer_group *group = group_in_force(on), *master = on->master;
    for (*peer = true;; *peer = false) {
        if (group && group == g->at.mnt->group)
            return g->tree;
        list_for_each (p, &g->pending, link)
            if (group && p->on->group == group)
                return p->copy;
        if (*peer)
            group = master;
        else
            group = list_first(&group->members, struct mount, peer)->master;
    }
}

static int graft_prepare_on(struct graft *g, struct mount *on)
{
    if (on == g->at.mnt || !on->ns || !d_is_ancestor(on->root, g->at.dentry))
        return 0;
    struct pending *p = calloc(1, sizeof *p);
    if (!p)
        return -ENOMEM;
    bool peer;
    struct mount *source = graft_source(g, on, &peer);
    unsigned how = peer ? 0 : MOUNT_COPY_SLAVE | (group_in_force(on) ? MOUNT_COPY_SHARED : 0);
    int err = mount_copy_tree(source, source->root, how, &p->copy);
    if (err) {
        free(p);
        return err;
    }
    p->on = on;
    list_add_tail(&g->pending, &p->link);
    return 0;
}

static int graft_prepare(struct graft *g)
{
    struct peer_group *group = g->at.mnt->group;
    int err = 0;
    for (struct mount *m = g->tree; m && !err; m = mount_next(m, g->tree)) {
        bool shared = m->group != NULL;
        err = mount_set_propagation(m, MS_SHARED);
        if (!err && !shared)
            m->group->fresh = true;
    }
    struct reach r = {.first = group, .group = group};
    struct mount *on;
    while (!err && (on = reach_next(&r)))
        err = graft_prepare_on(g, on);
    return err;
}

/* Hangs the copies where they belong, or lets go of them. */
static void graft_finish(struct graft *g, bool commit)
{
    while (!list_empty(&g->pending)) {
        struct pending *p = list_first(&g->pending, struct pending, link);
        struct path_ref at = {.mnt = p->on, .dentry = g->at.dentry};
        list_del(&p->link);
        if (commit) {
            mount_set_ns(p->copy, p->on->ns);
            mount_link_beneath(p->copy, &at);
        } else {
            mount_unlink(p->copy);
        }
        free(p);
    }
}

int mount_graft(struct mount *m, const struct path_ref *at)
{
    struct graft g = {.tree = m, .at = *at};
    list_init(&g.pending);
    int err = at->mnt->group ? graft_prepare(&g) : 0;
    for (struct mount *i = m; i; i = mount_next(i, m))
        if (i->group)
            i->group->fresh = false;
    graft_finish(&g, err == 0);
    if (err)
        return err;
    mount_set_ns(m, at->mnt->ns);
    mount_link(m, at);
    return 0;
}

/* ---- detaching ---- */

/* The mount that `on` has where m is in its own parent, or NULL. */
static struct mount *twin_of(const struct mount *m, struct mount *on)
{
    struct path_ref p = {.mnt = on, .dentry = m->mountpoint};
    return on == m->parent || !on->ns ? NULL : mount_over(&p);
}

bool mount_is_busy(struct mount *m)
{
    /* The tree's reference and that of the caller's own path. Every open file, working directory
     * and root holds its mount. */
    if (!list_empty(&m->children) || ref_read(&m->ref) > 2)
        return true;
    struct peer_group *g = m->parent ? m->parent->group : NULL;
    struct reach r = {.first = g, .group = g};
    struct mount *on, *twin;
    while (g && (on = reach_next(&r)))
        if ((twin = twin_of(m, on)) && list_empty(&twin->children) && ref_read(&twin->ref) > 1)
            return true;
    return false;
}

/*
 * A tree goes, and wherever its mounts were propagated to, what is there (their twins) goes too,
 * but only what nothing else depends on: a twin stays if anything that stays is mounted inside of
 * it. What merely covers the whole of a twin does not keep it, but takes its place.
 */
enum {
    PRUNE_TREE = 1,   /* in the tree that goes */
    PRUNE_TWIN = 2,   /* found as a twin */
    PRUNE_STAYS = 4,  /* a twin that is needed */
    PRUNE_PASSED = 8, /* a twin with something below it that stays; those above it know */
};

static bool goes(const struct mount *m)
{
    return m->prune & PRUNE_TREE || (m->prune & (PRUNE_TWIN | PRUNE_STAYS)) == PRUNE_TWIN;
}

static struct mount *cover_of(struct mount *m)
{
    struct path_ref top = {.mnt = m, .dentry = m->root};
    return mount_over(&top);
}

/* The twins of m join the list. A mount that is a twin itself adds none: whom its parent reaches,
 * the parent of the other has reached. */
static void find_twins(struct mount *m, struct list_head *twins)
{
    struct peer_group *g = m->parent ? m->parent->group : NULL;
    struct reach r = {.first = g, .group = g};
    struct mount *on, *twin;
    if (!g || m->prune & PRUNE_TWIN)
        return;
    m->prune |= PRUNE_TWIN;
    while ((on = reach_next(&r))) {
        if (!(twin = twin_of(m, on)) || twin->prune & PRUNE_TWIN)
            continue;
        twin->prune |= PRUNE_TWIN;
        if (!(twin->prune & PRUNE_TREE))
            list_add_tail(twins, &twin->work);
    }
}

static bool is_twin_only(const struct mount *m)
{
    return m && (m->prune & (PRUNE_TREE | PRUNE_TWIN)) == PRUNE_TWIN;
}

/* m is no twin, and stays: so do the twins above it, but for those whose whole it covers. */
static void keep_above(struct mount *m)
{
    for (struct mount *p = m->parent; is_twin_only(p); m = p, p = p->parent) {
        if (m->prune & PRUNE_PASSED)
            return;
        if (m->prune)
            m->prune |= PRUNE_PASSED;
        if (m != cover_of(p))
            p->prune |= PRUNE_STAYS;
    }
}

/* What covers m and stays moves to the place of the lowest mount of the pile that goes. */
static void drop_cover(struct mount *m)
{
    struct mount *cover = cover_of(m);
    struct path_ref at;
    if (!cover || goes(cover))
        return;
    do {
        at = (struct path_ref){.mnt = m->parent, .dentry = m->mountpoint};
        m = m->parent;
    } while (goes(m));
    path_get(&at);
    mount_unhang(cover);
    mount_link(cover, &at);
    path_put(&at);
}

static void unlink_twins(struct list_head *twins)
{
    struct mount *twin;
    while ((twin = list_first(twins, struct mount, work))) {
        bool gone = goes(twin);
        list_del(&twin->work);
        twin->prune = 0;
        if (gone)
            mount_unlink(twin);
    }
}

void mount_prune(struct mount *m)
{
    struct mount *i, *child;
    struct list_head twins;
    list_init(&twins);
    for (i = m; i; i = mount_next(i, m))
        i->prune = PRUNE_TREE;
    for (i = m; i; i = mount_next(i, m))
        find_twins(i, &twins);
    list_for_each (i, &twins, work)
        list_for_each (child, &i->children, sibling)
            if (!child->prune)
                keep_above(child);
    list_for_each (i, &twins, work)
        if (goes(i))
            drop_cover(i);
    mount_unlink(m); /* first: it may be on a twin */
    unlink_twins(&twins);
}

/* ---- for mountinfo ---- */

/* Whether m is seen from root. */
static bool is_under(const struct mount *m, const struct path_ref *root)
{
    for (; m && m != root->mnt; m = m->parent)
        ;
    return m != NULL;
}

int mount_dominating_group(const struct mount *m, const struct path_ref *root)
{
    const struct peer_group *g = m->master;
    while (g) {
        const struct mount *i;
        list_for_each (i, &g->members, peer)
            if (i->ns == m->ns && is_under(i, root))
                return g == m->master ? 0 : g->id;
        g = list_first(&g->members, struct mount, peer)->master;
    }
    return 0;
}
