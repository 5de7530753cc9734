#include "sentry/kernel/cred.h"
#include <stdlib.h>
#include <string.h>

static int compare_gid(const void *a, const void *b)
{
    gid_t x = *(const gid_t *)a, y = *(const gid_t *)b;
    return x < y ? -1 : x > y;
}

static struct cred *cred_alloc(uint32_t ngroups)
{
    struct cred *c = calloc(1, sizeof(*c) + ngroups * sizeof(gid_t));
    if (c) {
        ref_init(&c->ref);
        c->ngroups = ngroups;
    }
    return c;
}

struct cred *cred_create(struct user_ns *ns, uid_t uid, gid_t gid, const gid_t *groups,
                         uint32_t ngroups)
{
    struct cred *c = cred_alloc(ngroups);
    if (!c)
        return NULL;
    c->uid = c->euid = c->suid = c->fsuid = uid;
    c->gid = c->egid = c->sgid = c->fsgid = gid;
    c->cap_bounding = CAP_ALL;
    if (uid == 0)
        c->cap_permitted = c->cap_effective = CAP_ALL;
    c->user_ns = user_ns_get(ns);
    if (ngroups)
        memcpy(c->groups, groups, ngroups * sizeof(gid_t));
    cred_sort_groups(c);
    return c;
}

struct cred *cred_copy(const struct cred *old, uint32_t ngroups)
{
    struct cred *c = cred_alloc(ngroups);
    if (!c)
        return NULL;
    /* All but the count, which others may be changing. */
    const size_t first = offsetof(struct cred, uid);
    memcpy((char *)c + first, (const char *)old + first, sizeof(*c) - first);
    user_ns_get(c->user_ns);
    c->ngroups = ngroups;
    uint32_t copied = MIN(ngroups, old->ngroups);
    if (copied)
        memcpy(c->groups, old->groups, copied * sizeof(gid_t));
    return c;
}

struct cred *cred_get(const struct cred *c)
{
    struct cred *counted = (struct cred *)c;
    ref_get(&counted->ref);
    return counted;
}

void cred_put(const struct cred *c)
{
    struct cred *counted = (struct cred *)c;
    if (!counted || !ref_put(&counted->ref))
        return;
    user_ns_put(counted->user_ns);
    free(counted);
}

bool cred_capable_in(const struct cred *c, const struct user_ns *ns, int cap)
{
    const struct user_ns *mine = c->user_ns;
    while (ns != mine) {
        if (ns->level <= mine->level)
            return false;
        /* Who made it has every capability in it. */
        if (user_ns_parent(ns) == mine && ns->creator_uid == c->euid)
            return true;
        ns = user_ns_parent(ns);
    }
    return cred_capable_here(c, cap);
}

void cred_enter_user_ns(struct cred *c, struct user_ns *ns)
{
    user_ns_put(c->user_ns);
    c->user_ns = ns;
    c->securebits = 0;
    c->cap_inheritable = c->cap_ambient = 0;
    c->cap_permitted = c->cap_effective = c->cap_bounding = CAP_ALL;
}

void cred_sort_groups(struct cred *c)
{
    if (c->ngroups)
        qsort(c->groups, c->ngroups, sizeof(gid_t), compare_gid);
}

bool cred_in_group(const struct cred *c, gid_t g)
{
    if (g == c->fsgid)
        return true;
    return c->ngroups && bsearch(&g, c->groups, c->ngroups, sizeof(gid_t), compare_gid) != NULL;
}
