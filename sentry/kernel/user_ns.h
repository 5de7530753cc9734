/*
 * User namespaces: whose ids mean what, and where a capability counts. See user_namespaces(7).
 *
 * The sentry keeps all ids as they are in the first user namespace (as Linux keeps kuid_t); calls
 * translate them where they come in (id_in) and go out (id_out). So does everything that shows ids
 * to the application: stat, SCM_CREDENTIALS, siginfo, /proc.
 */
#ifndef PICKET_SENTRY_KERNEL_USER_NS_H
#define PICKET_SENTRY_KERNEL_USER_NS_H

#include "base/list.h"
#include "base/lock.h"
#include "sentry/kernel/ns_common.h"
#include <stdatomic.h>
#include <stddef.h>

struct cred;
struct task;

#define USER_NS_MAX_LEVEL 33
#define ID_INVALID UINT32_MAX
#define ID_OVERFLOW 65534u /* what an id without a mapping is shown as */

enum id_kind { ID_UID, ID_GID, ID_PROJECT, ID_KINDS };

struct id_extent {
    uint32_t first; /* in the namespace */
    uint32_t lower; /* in the first namespace */
    uint32_t count;
};
#define ID_MAP_EXTENTS 340
/* Written once, then immutable. */
struct id_map {
    uint32_t n;
    struct id_extent extents[];
};

struct user_ns {
    struct ns_common common; /* owner: the parent */
    int level;               /* of the first one: 0 */
    uid_t creator_uid;       /* effective ids of its maker: that user has all capabilities in it */
    gid_t creator_gid;
    bool creator_could_setfcap;              /* CAP_SETFCAP, in the parent */
    _Atomic(struct id_map *) maps[ID_KINDS]; /* NULL: nothing is mapped; level 0: everything */
    struct mutex lock; /* LEAF: maps while they are written, setgroups_denied, users */
    bool setgroups_denied;
    struct list_head users;       /* user_count: namespaces that exist, by user and type */
    _Atomic int limits[NS_TYPES]; /* /proc/sys/user/max_*_namespaces */
};

/* The first one, in k->user_ns. limit: of every type. 0 or -ENOMEM. */
int user_ns_boot(struct kernel *k, int limit);
/* A child of maker's namespace. 0, -ENOSPC (too deep, too many), -EPERM (maker's ids are not
 * mapped), -ENOMEM. */
int user_ns_create(struct kernel *k, const struct cred *maker, struct user_ns **out);
/* t's credentials in a new user namespace, for t itself or its child. As user_ns_create; -EPERM
 * also for who lives in a chroot. */
int cred_unshare_user_ns(struct task *t, struct cred **out);
static inline struct user_ns *user_ns_get(struct user_ns *ns)
{
    ns_get(&ns->common);
    return ns;
}
static inline void user_ns_put(struct user_ns *ns)
{
    if (ns)
        ns_put(&ns->common);
}
static inline struct user_ns *user_ns_parent(const struct user_ns *ns)
{
    return ns->common.owner;
}
/* Whether ns is `above` or below it. */
bool user_ns_is_below(const struct user_ns *ns, const struct user_ns *above);

/* One more namespace of a type for `uid`, here and above: 0 or -ENOSPC, -ENOMEM. */
int user_ns_charge(struct user_ns *ns, uid_t uid, enum ns_type type);
void user_ns_uncharge(struct user_ns *ns, uid_t uid, enum ns_type type);

/* An id of ns as the sentry keeps it, and back: ID_INVALID if it has no mapping. */
uint32_t id_map_in(const struct user_ns *ns, enum id_kind kind, uint32_t id);
uint32_t id_map_out(const struct user_ns *ns, enum id_kind kind, uint32_t id);
static inline uint32_t id_in(const struct user_ns *ns, enum id_kind kind, uint32_t id)
{
    return ns->level == 0 ? id : id_map_in(ns, kind, id);
}
static inline uint32_t id_out(const struct user_ns *ns, enum id_kind kind, uint32_t id)
{
    return ns->level == 0 ? id : id_map_out(ns, kind, id);
}
/* For showing: the overflow id instead of none. */
static inline uint32_t id_shown(const struct user_ns *ns, enum id_kind kind, uint32_t id)
{
    uint32_t shown = id_out(ns, kind, id);
    return shown == ID_INVALID && ns->level ? ID_OVERFLOW : shown;
}

/*
 * A write to /proc/PID/uid_map (gid_map, projid_map) of a process in ns: the whole text. writer:
 * the calling task's credentials; opener: those of who opened the file. 0, -EINVAL, -EPERM.
 */
int user_ns_write_map(struct user_ns *ns, enum id_kind kind, const char *text, size_t n,
                      const struct cred *writer, const struct cred *opener);
/* /proc/PID/setgroups. */
int user_ns_write_setgroups(struct user_ns *ns, const char *text, size_t n,
                            const struct cred *opener);
/* Whether setgroups(2) may be called in it at all. */
bool user_ns_may_setgroups(struct user_ns *ns);

#endif
