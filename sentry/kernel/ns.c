#include "sentry/kernel/ns.h"
#include "sentry/ipc/ipc.h"
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

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

void ns_init(struct kernel *k, struct ns_common *ns, enum ns_type type, struct user_ns *owner,
             void (*destroy)(struct ns_common *ns))
{
    ref_init(&ns->ref);
    ns->type = type;
    ns->owner = owner;
    ns->destroy = destroy;
    ns->number = owner ? FIRST_NUMBER + atomic_fetch_add(&k->namespaces, 1) : types[type].number;
}

void ns_put(struct ns_common *ns)
{
    if (ns && ref_put(&ns->ref))
        ns->destroy(ns);
}

/* ---- uts ---- */

static void uts_destroy(struct ns_common *ns)
{
    struct uts_ns *uts = container_of(ns, struct uts_ns, common);
    mutex_destroy(&uts->lock);
    free(uts);
}

static struct uts_ns *uts_create(struct kernel *k, struct user_ns *owner)
{
    struct uts_ns *uts = calloc(1, sizeof(*uts));
    if (!uts)
        return NULL;
    ns_init(k, &uts->common, NS_UTS, owner, uts_destroy);
    mutex_init(&uts->lock, LOCK_LEAF);
    return uts;
}

static int boot_uts(struct kernel *k, struct ns_set *set)
{
    struct uts_ns *uts = set->uts = uts_create(k, NULL);
    if (!uts)
        return -ENOMEM;
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
    ns_init(k, *out, type, NULL, plain_destroy);
    return 0;
}

/* ---- sets ---- */

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
    ns_put(set->uts ? &set->uts->common : NULL);
    ns_put(set->ipc ? &set->ipc->common : NULL);
    ns_put(set->cgroup);
    ns_put(set->net);
    ns_put(set->time);
    free(set);
}

struct ns_set *ns_set_copy(const struct ns_set *old)
{
    struct ns_set *set = set_alloc();
    if (!set)
        return NULL;
    *set = *old;
    ref_init(&set->ref);
    ns_get(&set->uts->common);
    ns_get(&set->ipc->common);
    ns_get(set->cgroup);
    ns_get(set->net);
    ns_get(set->time);
    return set;
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
