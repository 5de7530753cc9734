/*
 * What every namespace begins with: references, its number, whose it is.
 */
#ifndef PICKET_SENTRY_KERNEL_NS_COMMON_H
#define PICKET_SENTRY_KERNEL_NS_COMMON_H

#include "base/compiler.h"
#include "base/refcount.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct kernel;
struct user_ns;

enum ns_type { NS_CGROUP, NS_IPC, NS_MNT, NS_NET, NS_PID, NS_TIME, NS_USER, NS_UTS, NS_TYPES };

struct ns_common {
    struct refcount ref;
    enum ns_type type;
    unsigned number;       /* "uts:[4026531838]"; the inode number of its file */
    struct user_ns *owner; /* whose privileges count in it (referenced); of a user namespace: its
                              parent; NULL only for the first user namespace */
    bool counted;          /* against the limits of owner, for this user */
    uid_t counted_uid;
    /* The last reference is gone: frees the namespace. ns_put drops `owner` afterwards. */
    void (*destroy)(struct ns_common *ns);
};

/*
 * Fills ns: one reference, a number of its own. Takes a reference on owner. creator: the user that
 * it is counted for, against /proc/sys/user/max_*_namespaces of owner and all above; -ENOSPC if
 * that is too many (nothing is to be put then).
 */
MUST_CHECK int ns_init(struct kernel *k, struct ns_common *ns, enum ns_type type,
                       struct user_ns *owner, uid_t creator, void (*destroy)(struct ns_common *ns));
/* Fills the first namespace of a type: with its well-known number, of the first user namespace. */
void ns_init_first(struct kernel *k, struct ns_common *ns, enum ns_type type,
                   void (*destroy)(struct ns_common *ns));
static inline void ns_get(struct ns_common *ns)
{
    ref_get(&ns->ref);
}
/* NULL is harmless. May run wherever a last reference is dropped: destroy takes no lock that
 * precedes MAPPABLE_MAPS. */
void ns_put(struct ns_common *ns);

/* "uts", and the CLONE_NEW* flag that names the type. */
const char *ns_type_name(enum ns_type type);
uint64_t ns_type_flag(enum ns_type type);

#endif
