/*
 * Credentials: immutable once shared. To change them, copy, edit, and install the copy
 * (cred_copy, task_set_cred). See credentials(7), capabilities(7).
 */
#ifndef PICKET_SENTRY_KERNEL_CRED_H
#define PICKET_SENTRY_KERNEL_CRED_H

#include "base/refcount.h"
#include <linux/capability.h>
#include <sys/types.h>

struct user_ns;

struct cred {
    struct refcount ref;
    uid_t uid, euid, suid, fsuid;
    gid_t gid, egid, sgid, fsgid;
    uint64_t cap_inheritable, cap_permitted, cap_effective, cap_bounding, cap_ambient;
    uint32_t securebits;
    struct user_ns *user_ns;
    uint32_t ngroups;
    gid_t groups[]; /* sorted */
};

/* Full capabilities iff uid is 0. Returns NULL for lack of memory. */
struct cred *cred_create(struct user_ns *ns, uid_t uid, gid_t gid, const gid_t *groups,
                         uint32_t ngroups);
/* A private copy with room for ngroups groups (those of c are copied as far as they fit). */
struct cred *cred_copy(const struct cred *c, uint32_t ngroups);
/* After the groups of a copy were written. */
void cred_sort_groups(struct cred *c);
struct cred *cred_get(const struct cred *c);
void cred_put(const struct cred *c);

#define CAP_ALL ((1ull << (CAP_LAST_CAP + 1)) - 1)
static inline bool cred_capable(const struct cred *c, int cap)
{
    return (c->cap_effective >> cap) & 1;
}
bool cred_in_group(const struct cred *c, gid_t g); /* fsgid or a supplementary group */

#endif
