/*
 * Namespaces: what each of them has in common, and which ones a task is in. See namespaces(7).
 *
 *      task.ns ---> ns_set --+--> uts, ipc, pid namespace of children to come
 *      task.fs --------------+--> mount namespace (vfs.h): fs_context.ns
 *      task.cred ------------+--> user namespace (user_ns.h)
 *      task.tg->pid ---------+--> pid namespace: never changes (process.h)
 *
 * A set is immutable and shared by all tasks that are in the same namespaces, threads and processes
 * alike; unshare, setns and clone give the task another set.
 */
#ifndef PICKET_SENTRY_KERNEL_NS_H
#define PICKET_SENTRY_KERNEL_NS_H

#include "base/lock.h"
#include "sentry/kernel/ns_common.h"
#include "sentry/kernel/task.h"
#include <sched.h>

struct ipc_ns;
struct pid_ns;

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
    struct pid_ns *pid_for_children;
    struct ns_common *cgroup, *net, *time; /* there is but one of each */
};

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif
/* All CLONE_NEW* flags, and those that need CAP_SYS_ADMIN. */
#define NS_SET_FLAGS                                                                               \
    ((uint64_t)(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID |       \
                CLONE_NEWNET | CLONE_NEWTIME))
#define NS_FLAGS (NS_SET_FLAGS | CLONE_NEWUSER)

/* The namespaces of process 1, in k->ns. 0 or -ENOMEM. */
int ns_set_boot(struct kernel *k);
struct ns_set *ns_set_get(struct ns_set *set);
void ns_set_put(struct ns_set *set);
/* A set of its own for a caller who wants to change it before anybody sees it. NULL: no memory. */
struct ns_set *ns_set_copy(const struct ns_set *set);
/* t's set with new namespaces where flags (CLONE_NEW*) say so, made with maker's rights, for t or
 * its child: -EPERM without CAP_SYS_ADMIN, -EINVAL for types that are missing, -ENOSPC, -ENOMEM. */
int ns_set_clone(struct task *t, uint64_t flags, const struct cred *maker, struct ns_set **out);
/* What a set holds, by type (not referenced; NULL: NS_USER, NS_MNT, and what is missing). */
void ns_set_members(const struct ns_set *set, struct ns_common *out[NS_TYPES]);
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

#endif
