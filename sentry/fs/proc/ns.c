/*
 * /proc/PID/ns, and the id maps of a process's user namespace.
 */
#include "sentry/kernel/ns.h"
#include "sentry/fs/nsfs/nsfs.h"
#include "sentry/fs/proc/proc.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* ---- links ---- */

/* The user namespace of the node's process, referenced; NULL if it is gone. */
static struct user_ns *user_ns_of(struct pseudo_ctx *c)
{
    struct task *t = proc_task(c);
    if (!t)
        return NULL;
    const struct cred *cred = task_get_cred(t);
    struct user_ns *ns = user_ns_get(cred->user_ns);
    cred_put(cred);
    task_put(t);
    return ns;
}

/* A member of the process's set, referenced; NULL if it has left, or the member has no init yet. */
static struct ns_common *set_member(struct pseudo_ctx *c, enum ns_type type)
{
    struct task *t = proc_task(c);
    struct ns_set *set = t ? task_get_ns(t) : NULL;
    struct ns_common *members[NS_TYPES] = {0}, *ns = NULL;
    if (set) {
        MUTEX_GUARD(&c->k->tree_lock);
        ns_set_members(set, members);
        if (type != NS_PID || set->pid_for_children->init)
            ns = members[type];
        if (ns)
            ns_get(ns);
    }
    ns_set_put(set);
    task_put(t);
    return ns;
}

static struct ns_common *mount_ns_of_task(struct pseudo_ctx *c)
{
    struct task *t = proc_task(c);
    struct fs_context *fs = t ? task_get_fs(t) : NULL;
    struct ns_common *ns = NULL;
    if (fs) {
        MUTEX_GUARD(&fs->lock);
        ns = mount_ns_common(mount_ns_get(fs->ns));
    }
    fs_context_put(fs);
    task_put(t);
    return ns;
}

/* The namespace that a link is about, referenced, or NULL. */
static struct ns_common *find(struct pseudo_ctx *c)
{
    enum ns_type type = (enum ns_type)(uintptr_t)c->node->row->arg;
    bool own = !strchr(c->node->row->name, '_');
    if (type == NS_USER) {
        struct user_ns *ns = user_ns_of(c);
        return ns ? &ns->common : NULL;
    }
    if (type == NS_MNT)
        return mount_ns_of_task(c);
    if (type != NS_PID || !own)
        return set_member(c, type);
    if (c->node->tg->reaped)
        return NULL;
    return &pid_ns_get(c->node->tg->pid->ns)->common;
}

static int show_ns(struct pseudo_ctx *c, struct text *out)
{
    struct ns_common *ns = find(c);
    if (!ns)
        return -ENOENT;
    text_add(out, "%s:[%u]", ns_type_name(ns->type), ns->number);
    ns_put(ns);
    return 0;
}

static int follow_ns(struct pseudo_ctx *c, struct path_ref *out)
{
    struct ns_common *ns = find(c);
    return ns ? nsfs_path(c->k, ns, out) : -ENOENT;
}

#define ROW_NS(n, type)                                                                            \
    {                                                                                              \
        .name = n, .mode = S_IFLNK | 0777, .show = show_ns, .follow = follow_ns,                   \
        .flags = PSEUDO_ACCESS, .arg = (const void *)(uintptr_t)(type)                             \
    }

const struct pseudo_row proc_ns_rows[] = {
    ROW_NS("cgroup", NS_CGROUP),
    ROW_NS("ipc", NS_IPC),
    ROW_NS("mnt", NS_MNT),
    ROW_NS("net", NS_NET),
    ROW_NS("pid", NS_PID),
    ROW_NS("pid_for_children", NS_PID),
    ROW_NS("time", NS_TIME),
    ROW_NS("time_for_children", NS_TIME),
    ROW_NS("user", NS_USER),
    ROW_NS("uts", NS_UTS),
    {.name = NULL},
};

/* ---- maps ---- */

static enum id_kind kind_of(struct pseudo_ctx *c)
{
    return (enum id_kind)(uintptr_t)c->node->row->arg;
}

static void put_extent(struct text *out, uint32_t first, uint32_t lower, uint32_t count)
{
    text_add(out, "%10u %10u %10u\n", first, lower, count);
}

static void put_map(struct text *out, const struct user_ns *ns, enum id_kind kind,
                    const struct user_ns *seen_from)
{
    const struct id_map *map = atomic_load_explicit(&ns->maps[kind], memory_order_acquire);
    if (ns->level == 0)
        put_extent(out, 0, 0, ID_INVALID);
    for (uint32_t i = 0; map && i < map->n; i++) {
        const struct id_extent *e = &map->extents[i];
        put_extent(out, e->first, id_out(seen_from, kind, e->lower), e->count);
    }
}

int proc_pid_show_map(struct pseudo_ctx *c, struct text *out)
{
    struct user_ns *ns = user_ns_of(c);
    if (!ns)
        return -ESRCH;
    const struct user_ns *reader = proc_user_ns(c);
    /* In one's own namespace, the lower ids are the parent's. */
    bool own = reader == ns && ns->level > 0;
    put_map(out, ns, kind_of(c), own ? user_ns_parent(ns) : reader);
    user_ns_put(ns);
    return 0;
}

int proc_pid_store_map(struct pseudo_ctx *c, const char *data, size_t n)
{
    struct user_ns *ns = user_ns_of(c);
    if (!ns)
        return -ESRCH;
    int err = user_ns_write_map(ns, kind_of(c), data, n, c->reader->cred, c->file->cred);
    user_ns_put(ns);
    return err;
}

int proc_pid_show_setgroups(struct pseudo_ctx *c, struct text *out)
{
    struct user_ns *ns = user_ns_of(c);
    if (!ns)
        return -ESRCH;
    {
        MUTEX_GUARD(&ns->lock);
        text_add(out, ns->setgroups_denied ? "deny\n" : "allow\n");
    }
    user_ns_put(ns);
    return 0;
}

int proc_pid_store_setgroups(struct pseudo_ctx *c, const char *data, size_t n)
{
    struct user_ns *ns = user_ns_of(c);
    if (!ns)
        return -ESRCH;
    int err = user_ns_write_setgroups(ns, data, n, c->file->cred);
    user_ns_put(ns);
    return err;
}
