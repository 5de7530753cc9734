/*
 * Other namespaces for the calling task: unshare(2), setns(2).
 */
#include "sentry/kernel/ns.h"
#include "sentry/fs/nsfs/nsfs.h"
#include "sentry/ipc/ipc.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/pidfd.h"
#include "sentry/kernel/process.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/vfs.h"
#include <linux/capability.h>

static void install_fs(struct task *t, struct fs_context *fs)
{
    struct fs_context *old;
    {
        MUTEX_GUARD(&t->lock);
        old = t->fs;
        t->fs = fs;
    }
    fs_context_put(old);
}

/* A file-system context for nobody but t, with mounts of its own if flags say so. */
static int copy_fs(struct task *t, uint64_t flags, const struct cred *maker,
                   struct fs_context **out)
{
    struct fs_context *copy = fs_context_copy(t->fs);
    int err = copy ? 0 : -ENOMEM;
    if (!err && (flags & CLONE_NEWNS))
        err = mount_ns_unshare(copy, maker);
    if (err)
        fs_context_put(copy);
    else
        *out = copy;
    return err;
}

static bool is_alone(struct task *t)
{
    MUTEX_GUARD(&t->tg->sighand_lock);
    return t->tg->live_tasks == 1;
}

/* What the given flags imply, and whether this process may do it. */
static int check_unshare(struct task *t, uint64_t *flags)
{
    const uint64_t process = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM;
    if (*flags & ~(NS_FLAGS | process | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM))
        return -EINVAL;
    if (*flags & CLONE_NEWUSER)
        *flags |= CLONE_THREAD | CLONE_FS;
    if (*flags & CLONE_NEWNS)
        *flags |= CLONE_FS;
    return (*flags & process) && !is_alone(t) ? -EINVAL : 0;
}

SYSCALL(unshare)
{
    uint64_t flags = a->a[0];
    int err = check_unshare(t, &flags);
    if (err)
        return err;
    struct cred *cred = NULL;
    struct ns_set *set = NULL;
    struct fs_context *fs = NULL;
    if (flags & CLONE_NEWUSER)
        err = cred_unshare_user_ns(t, &cred);
    const struct cred *maker = cred ? cred : t->cred;
    if (!err)
        err = ns_set_clone(t, flags, maker, &set);
    if (!err && (flags & CLONE_FS))
        err = copy_fs(t, flags, maker, &fs);
    if (!err && (flags & CLONE_FILES))
        err = fd_table_unshare(t);
    if (err) {
        fs_context_put(fs);
        cred_put(cred);
        ns_set_put(set);
        return err;
    }
    if (fs)
        install_fs(t, fs);
    /* What semaphores are to be undone belongs to the old namespace. */
    if (flags & (CLONE_NEWIPC | CLONE_SYSVSEM))
        sem_exit(t);
    if (cred)
        task_set_cred(t, cred);
    task_set_ns(t, set);
    return 0;
}

/* ---- setns ---- */

/* What a setns is about to change: nothing is seen of it until all of it is allowed. */
struct entry {
    struct task *t;
    struct cred *cred;    /* of t, or a new one; referenced */
    struct ns_set *set;   /* a copy of t's */
    struct mount_ns *mnt; /* to enter; referenced, or NULL */
};

static int may_enter(struct entry *e, const struct ns_common *ns)
{
    return cred_capable_in(e->cred, ns->owner, CAP_SYS_ADMIN) &&
                   cred_capable_here(e->cred, CAP_SYS_ADMIN)
               ? 0
               : -EPERM;
}

static int enter_user(struct entry *e, struct ns_common *ns)
{
    struct user_ns *user = container_of(ns, struct user_ns, common);
    if (user == e->cred->user_ns || !is_alone(e->t) || ref_read(&e->t->fs->ref) != 1)
        return -EINVAL;
    if (!cred_capable_in(e->cred, user, CAP_SYS_ADMIN))
        return -EPERM;
    struct cred *c = cred_copy(e->cred, e->cred->ngroups);
    if (!c)
        return -ENOMEM;
    cred_enter_user_ns(c, user_ns_get(user));
    cred_put(e->cred);
    e->cred = c;
    return 0;
}

static int enter_ipc(struct entry *e, struct ns_common *ns)
{
    int err = may_enter(e, ns);
    if (err)
        return err;
    ns_get(ns);
    ns_put(&e->set->ipc->common);
    e->set->ipc = container_of(ns, struct ipc_ns, common);
    return 0;
}

static int enter_uts(struct entry *e, struct ns_common *ns)
{
    int err = may_enter(e, ns);
    if (err)
        return err;
    ns_get(ns);
    ns_put(&e->set->uts->common);
    e->set->uts = container_of(ns, struct uts_ns, common);
    return 0;
}

static int enter_mnt(struct entry *e, struct ns_common *ns)
{
    int err = may_enter(e, ns);
    if (!err && !cred_capable_here(e->cred, CAP_SYS_CHROOT))
        err = -EPERM;
    if (!err && ref_read(&e->t->fs->ref) != 1)
        err = -EINVAL;
    if (err)
        return err;
    mount_ns_put(e->mnt);
    e->mnt = mount_ns_get(mount_ns_of(ns));
    return 0;
}

/* Children will be in it: only downwards, so that nobody leaves the sight of his ancestors. */
static int enter_pid(struct entry *e, struct ns_common *ns)
{
    struct pid_ns *pid = container_of(ns, struct pid_ns, common);
    int err = may_enter(e, ns);
    if (err)
        return err;
    if (!pid_ns_is_below(pid, task_pid_ns(e->t)))
        return -EINVAL;
    ns_get(ns);
    ns_put(&e->set->pid_for_children->common);
    e->set->pid_for_children = pid;
    return 0;
}

/* There is but one, and we are in it. */
static int enter_only(struct entry *e, struct ns_common *ns)
{
    return may_enter(e, ns);
}

static int (*const enter[NS_TYPES])(struct entry *e, struct ns_common *ns) = {
    [NS_CGROUP] = enter_only, [NS_IPC] = enter_ipc,   [NS_MNT] = enter_mnt,   [NS_NET] = enter_only,
    [NS_PID] = enter_pid,     [NS_TIME] = enter_only, [NS_USER] = enter_user, [NS_UTS] = enter_uts,
};

static int enter_one(struct entry *e, struct ns_common *ns)
{
    return enter[ns->type] ? enter[ns->type](e, ns) : -EINVAL;
}

/* The namespaces of another process that `flags` name. */
static int enter_process(struct entry *e, struct thread_group *tg, uint64_t flags)
{
    struct task *other = thread_group_task(tg);
    struct ns_set *set = other ? task_get_ns(other) : NULL;
    struct fs_context *fs = other ? task_get_fs(other) : NULL;
    int err = set && fs ? 0 : -ESRCH;
    if (!err && !task_may_access(e->t, other, false))
        err = -EPERM;
    if (!err && (flags & CLONE_NEWUSER)) {
        const struct cred *theirs = task_get_cred(other);
        err = enter_user(e, &theirs->user_ns->common);
        cred_put(theirs);
    }
    struct ns_common *members[NS_TYPES] = {0};
    if (set)
        ns_set_members(set, members);
    if (!err) {
        members[NS_PID] = &tg->pid->ns->common;
        members[NS_MNT] = mount_ns_common(fs->ns);
    }
    for (int type = 0; type < NS_TYPES && !err; type++) {
        if (type != NS_USER && (flags & ns_type_flag((enum ns_type)type)))
            err = members[type] ? enter_one(e, members[type]) : -EINVAL;
    }
    ns_set_put(set);
    fs_context_put(fs);
    task_put(other);
    return err;
}

/* f: an open namespace or a pidfd. */
static int enter_file(struct entry *e, struct file *f, uint64_t flags)
{
    struct ns_common *ns = nsfs_namespace(f);
    struct thread_group *tg = pidfd_group(f);
    if (ns)
        return flags && flags != ns_type_flag(ns->type) ? -EINVAL : enter_one(e, ns);
    if (!tg || !flags || (flags & ~NS_FLAGS))
        return -EINVAL;
    return enter_process(e, tg, flags);
}

SYSCALL(setns)
{
    struct file *f = fd_get(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    struct entry e = {.t = t, .cred = cred_get(t->cred), .set = ns_set_copy(t->ns)};
    int err = e.set ? enter_file(&e, f, ARG_UINT(a, 1)) : -ENOMEM;
    file_put(f);
    if (!err && e.mnt)
        err = mount_ns_enter(t->fs, e.mnt);
    mount_ns_put(e.mnt);
    if (err) {
        cred_put(e.cred);
        ns_set_put(e.set);
        return err;
    }
    if (e.set->ipc != t->ns->ipc)
        sem_exit(t);
    task_set_cred(t, e.cred);
    task_set_ns(t, e.set);
    return 0;
}
