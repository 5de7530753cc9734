/*
 * Namespaces: what each of them has in common, and which ones a task is in. See namespaces(7).
 *
 *      task.ns ---> ns_set --+--> uts, ipc, mount namespace, pid namespace of children to come
 *      task.cred ------------+--> user namespace (user_ns.h)
 *      task.tg->pid ---------+--> pid namespace: never changes (process.h)
 *
 * A set is immutable and shared by all tasks that are in the same namespaces, threads and processes
 * alike; unshare, setns and clone give the task another set. Every namespace begins with a struct
 * ns_common, which counts its references and knows how to end it: ns_get and ns_put work on all.
 */
#ifndef PICKET_SENTRY_KERNEL_NS_H
#define PICKET_SENTRY_KERNEL_NS_H

#include "base/compiler.h"
#include "base/lock.h"
#include "base/refcount.h"
#include "sentry/kernel/task.h"

struct user_ns;
struct ipc_ns;
struct mount_ns;
struct pid_ns;

enum ns_type { NS_CGROUP, NS_IPC, NS_MNT, NS_NET, NS_PID, NS_TIME, NS_USER, NS_UTS, NS_TYPES };

struct ns_common {
    struct refcount ref;
    enum ns_type type;
    unsigned number;       /* "uts:[4026531838]"; the inode number of its file */
    struct user_ns *owner; /* whose privileges count in it (referenced; for a user namespace: its
                              parent); NULL: the first user namespace */
    /* The last reference is gone: frees the namespace. ns_put has dropped `owner`. */
    void (*destroy)(struct ns_common *ns);
};

/* Fills ns: one reference, a number of its own (the well-known one if owner is NULL). Takes a
 * reference on owner. */
void ns_init(struct kernel *k, struct ns_common *ns, enum ns_type type, struct user_ns *owner,
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

struct uts_ns {
    struct ns_common common;
    struct mutex lock; /* LEAF */
    char nodename[65];
    char domainname[65];
};

struct ns_set {
    struct refcount ref;
    /* Referenced. */
    struct uts_ns *uts;
    struct ipc_ns *ipc;
    struct mount_ns *mnt;
    struct pid_ns *pid_for_children;
    struct ns_common *cgroup, *net, *time; /* there is but one of each */
};

/* The namespaces of process 1, in k->ns. 0 or -ENOMEM. */
int ns_set_boot(struct kernel *k);
struct ns_set *ns_set_get(struct ns_set *set);
void ns_set_put(struct ns_set *set);
/* A set of its own for a caller who wants to change it before anybody sees it. NULL: no memory. */
struct ns_set *ns_set_copy(const struct ns_set *set);
/* The set of another task, referenced; NULL if it is exiting. */
struct ns_set *task_get_ns(struct task *t);
/* Gives the calling task another set, whose reference is taken over (NULL when it exits). */
void task_set_ns(struct task *t, struct ns_set *set);

/* Of the calling task, without a reference. */
static inline struct uts_ns *task_uts_ns(const struct task *t)
{
    return t->ns->uts;
}
static inline struct ipc_ns *task_ipc_ns(const struct task *t)
{
    return t->ns->ipc;
}
static inline struct mount_ns *task_mount_ns(const struct task *t)
{
    return t->ns->mnt;
}

#endif
