/*
 * Credentials: immutable once shared. To change them, copy, edit, and install the copy
 * (cred_copy, task_set_cred). See credentials(7), capabilities(7).
 */
#ifndef PICKET_SENTRY_KERNEL_CRED_H
#define PICKET_SENTRY_KERNEL_CRED_H

#include "base/refcount.h"
#include "sentry/kernel/user_ns.h"
#include <linux/capability.h>
#include <sys/types.h>

struct cred {
    struct refcount ref;
    uid_t uid, euid, suid, fsuid;
    gid_t gid, egid, sgid, fsgid;
    uint64_t cap_inheritable, cap_permitted, cap_effective, cap_bounding, cap_ambient;
    uint32_t securebits;
    struct user_ns *user_ns; /* referenced; the capabilities count in it and below */
    uint32_t ngroups;
    gid_t groups[]; /* sorted */
};

/* Ids are those of the first user namespace: see user_ns.h. Full capabilities iff uid is 0. Takes a
 * reference on ns. Returns NULL for lack of memory. */
struct cred *cred_create(struct user_ns *ns, uid_t uid, gid_t gid, const gid_t *groups,
                         uint32_t ngroups);
/* A private copy with room for ngroups groups (those of c are copied as far as they fit). */
struct cred *cred_copy(const struct cred *c, uint32_t ngroups);
/* After the groups of a copy were written. */
void cred_sort_groups(struct cred *c);
struct cred *cred_get(const struct cred *c);
void cred_put(const struct cred *c);

#define CAP_ALL ((1ull << (CAP_LAST_CAP + 1)) - 1)
/* In the first user namespace: for what concerns the whole sandbox. */
static inline bool cred_capable(const struct cred *c, int cap)
{
    return (c->cap_effective >> cap & 1) && c->user_ns->level == 0;
}
/* In c's own user namespace. */
static inline bool cred_capable_here(const struct cred *c, int cap)
{
    return c->cap_effective >> cap & 1;
}
/* In ns, which may be any: in c's own, or one below it, or made by c's user in c's own. */
bool cred_capable_in(const struct cred *c, const struct user_ns *ns, int cap);
/* All capabilities in a new namespace (takes its reference), none in the one before: a copy of c
 * that clone and unshare install. */
void cred_enter_user_ns(struct cred *c, struct user_ns *ns);
bool cred_in_group(const struct cred *c, gid_t g); /* fsgid or a supplementary group */

#endif
