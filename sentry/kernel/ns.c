#include "sentry/kernel/ns.h"
#include "sentry/ipc/ipc.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first namespace of each type has the number that it has on every Linux. */
static const struct {
    const char *name;
    uint64_t flag;
    unsigned number;
} types[NS_TYPES] = {
    [NS_CGROUP] = {"cgroup", CLONE_NEWCGROUP, 0xeffffffbu},
    [NS_IPC] = {"ipc", CLONE_NEWIPC, 0xefffffffu},
    [NS_MNT] = {"mnt", CLONE_NEWNS, 0xf0000001u},
    [NS_NET] = {"net", CLONE_NEWNET, 0xf0000000u},
    [NS_PID] = {"pid", CLONE_NEWPID, 0xeffffffcu},
    [NS_TIME] = {"time", CLONE_NEWTIME, 0xeffffffau},
    [NS_USER] = {"user", CLONE_NEWUSER, 0xeffffffdu},
    [NS_UTS] = {"uts", CLONE_NEWUTS, 0xeffffffeu},
};
#define FIRST_NUMBER 0xf0000002u

const char *ns_type_name(enum ns_type type)
{
    return types[type].name;
}

uint64_t ns_type_flag(enum ns_type type)
{
    return types[type].flag;
}

void ns_init_first(struct kernel *k, struct ns_common *ns, enum ns_type type,
                   void (*destroy)(struct ns_common *ns))
{
    *ns = (struct ns_common){.type = type, .number = types[type].number, .destroy = destroy};
    ref_init(&ns->ref);
    if (type != NS_USER)
        ns->owner = user_ns_get(k->user_ns);
}

int ns_init(struct kernel *k, struct ns_common *ns, enum ns_type type, struct user_ns *owner,
            uid_t creator, void (*destroy)(struct ns_common *ns))
{
    int err = user_ns_charge(owner, creator, type);
    if (err)
        return err;
    *ns = (struct ns_common){
        .type = type,
        .number = FIRST_NUMBER + atomic_fetch_add(&k->namespaces, 1),
        .owner = user_ns_get(owner),
        .counted = true,
        .counted_uid = creator,
        .destroy = destroy,
    };
    ref_init(&ns->ref);
    return 0;
}

void ns_put(struct ns_common *ns)
{
    /* The end of a namespace may be the end of its owner, and of that one's: no recursion. */
    while (ns && ref_put(&ns->ref)) {
        struct user_ns *owner = ns->owner;
        if (ns->counted)
            user_ns_uncharge(owner, ns->counted_uid, ns->type);
        ns->destroy(ns);
        ns = owner ? &owner->common : NULL;
    }
}

/* ---- uts ---- */

static void uts_destroy(struct ns_common *ns)
{
    struct uts_ns *uts = container_of(ns, struct uts_ns, common);
    mutex_destroy(&uts->lock);
    free(uts);
}

static int uts_clone(struct kernel *k, struct uts_ns *old, const struct cred *maker,
                     struct uts_ns **out)
{
    struct uts_ns *uts = calloc(1, sizeof(*uts));
    if (!uts)
        return -ENOMEM;
    int err = ns_init(k, &uts->common, NS_UTS, maker->user_ns, maker->euid, uts_destroy);
    if (err) {
        free(uts);
        return err;
    }
    mutex_init(&uts->lock, LOCK_LEAF);
    MUTEX_GUARD(&old->lock);
    memcpy(uts->nodename, old->nodename, sizeof(uts->nodename));
    memcpy(uts->domainname, old->domainname, sizeof(uts->domainname));
    *out = uts;
    return 0;
}

static int boot_uts(struct kernel *k, struct ns_set *set)
{
    struct uts_ns *uts = set->uts = calloc(1, sizeof(*uts));
    if (!uts)
        return -ENOMEM;
    ns_init_first(k, &uts->common, NS_UTS, uts_destroy);
    mutex_init(&uts->lock, LOCK_LEAF);
    const char *name = k->config->hostname ? k->config->hostname : "picket";
    snprintf(uts->nodename, sizeof(uts->nodename), "%s", name);
    snprintf(uts->domainname, sizeof(uts->domainname), "(none)");
    return 0;
}

/* ---- those that cannot be made ---- */

static void plain_destroy(struct ns_common *ns)
{
    free(ns);
}

static int boot_plain(struct kernel *k, enum ns_type type, struct ns_common **out)
{
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return -ENOMEM;
    ns_init_first(k, *out, type, plain_destroy);
    return 0;
}

/* ---- sets ---- */

void ns_set_members(const struct ns_set *set, struct ns_common *out[NS_TYPES])
{
    memset(out, 0, NS_TYPES * sizeof(out[0]));
    out[NS_CGROUP] = set->cgroup;
    out[NS_NET] = set->net;
    out[NS_TIME] = set->time;
    if (set->uts)
        out[NS_UTS] = &set->uts->common;
    if (set->ipc)
        out[NS_IPC] = &set->ipc->common;
    if (set->pid_for_children)
        out[NS_PID] = &set->pid_for_children->common;
}

static struct ns_set *set_alloc(void)
{
    struct ns_set *set = calloc(1, sizeof(*set));
    if (set)
        ref_init(&set->ref);
    return set;
}

int ns_set_boot(struct kernel *k)
{
    struct ns_set *set = k->ns = set_alloc();
    int err = set ? boot_uts(k, set) : -ENOMEM;
    if (!err)
        set->pid_for_children = pid_ns_get(k->pid_ns);
    if (!err)
        err = ipc_ns_create(k, NULL, &set->ipc);
    if (!err)
        err = boot_plain(k, NS_CGROUP, &set->cgroup);
    if (!err)
        err = boot_plain(k, NS_NET, &set->net);
    if (!err)
        err = boot_plain(k, NS_TIME, &set->time);
    return err;
}

struct ns_set *ns_set_get(struct ns_set *set)
{
    ref_get(&set->ref);
    return set;
}

void ns_set_put(struct ns_set *set)
{
    if (!set || !ref_put(&set->ref))
        return;
    struct ns_common *members[NS_TYPES];
    ns_set_members(set, members);
    for (int type = 0; type < NS_TYPES; type++)
        ns_put(members[type]);
    free(set);
}

struct ns_set *ns_set_copy(const struct ns_set *old)
{
    struct ns_set *set = set_alloc();
    if (!set)
        return NULL;
    *set = *old;
    ref_init(&set->ref);
    struct ns_common *members[NS_TYPES];
    ns_set_members(set, members);
    for (int type = 0; type < NS_TYPES; type++) {
        if (members[type])
            ns_get(members[type]);
    }
    return set;
}

/* ---- new ones ---- */

static int clone_uts(struct task *t, struct ns_set *set, const struct cred *maker)
{
    struct uts_ns *new;
    int err = uts_clone(t->kernel, set->uts, maker, &new);
    if (err)
        return err;
    ns_put(&set->uts->common);
    set->uts = new;
    return 0;
}

static int clone_ipc(struct task *t, struct ns_set *set, const struct cred *maker)
{
    struct ipc_ns *new;
    int err = ipc_ns_create(t->kernel, maker, &new);
    if (err)
        return err;
    ns_put(&set->ipc->common);
    set->ipc = new;
    return 0;
}

static int clone_pid(struct task *t, struct ns_set *set, const struct cred *maker)
{
    struct pid_ns *new;
    /* One at a time: the next is for the children to make. */
    if (set->pid_for_children != task_pid_ns(t))
        return -EINVAL;
    int err = pid_ns_create(t->kernel, set->pid_for_children, maker, &new);
    if (err)
        return err;
    ns_put(&set->pid_for_children->common);
    set->pid_for_children = new;
    return 0;
}

/* In the order in which Linux makes them, which says what fails first. */
static const struct {
    uint64_t flag;
    int (*clone)(struct task *t, struct ns_set *set, const struct cred *maker);
} makers[] = {
    {CLONE_NEWUTS, clone_uts},
    {CLONE_NEWIPC, clone_ipc},
    {CLONE_NEWPID, clone_pid},
};

int ns_set_clone(struct task *t, uint64_t flags, const struct cred *maker, struct ns_set **out)
{
    flags &= NS_SET_FLAGS;
    if (!flags) {
        *out = ns_set_get(t->ns);
        return 0;
    }
    if (!cred_capable_here(maker, CAP_SYS_ADMIN))
        return -EPERM;
    struct ns_set *set = ns_set_copy(t->ns);
    if (!set)
        return -ENOMEM;
    uint64_t left = flags & ~(uint64_t)CLONE_NEWNS; /* the file-system context's */
    int err = 0;
    for (size_t i = 0; i < ARRAY_SIZE(makers) && !err; i++) {
        if (!(flags & makers[i].flag))
            continue;
        left &= ~makers[i].flag;
        err = makers[i].clone(t, set, maker);
    }
    /* As a kernel that was built without them. */
    if (!err && left)
        err = -EINVAL;
    if (err)
        ns_set_put(set);
    else
        *out = set;
    return err;
}

struct ns_set *task_get_ns(struct task *t)
{
    MUTEX_GUARD(&t->lock);
    return t->ns ? ns_set_get(t->ns) : NULL;
}

void task_set_ns(struct task *t, struct ns_set *set)
{
    struct ns_set *old;
    {
        MUTEX_GUARD(&t->lock);
        old = t->ns;
        t->ns = set;
    }
    ns_set_put(old);
}
