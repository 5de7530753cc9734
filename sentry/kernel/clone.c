/*
 * fork, vfork, clone, clone3: a new task, in this process or in a new one.
 *
 * Everything that can fail happens on objects that nobody else sees; then, under TASK_TREE, the
 * child appears in the tree and its host thread is let go.
 */
#include "sentry/ipc/ipc.h"
#include "sentry/kernel/cpu_limit.h"
#include "sentry/kernel/host_thread.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/ns.h"
#include "sentry/kernel/pidfd.h"
#include "sentry/kernel/process.h"
#include "sentry/kernel/seccomp.h"
#include "sentry/vfs/vfs.h"
#include <linux/capability.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>

#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ull
#endif

/* The parent that sleeps until its child has let go of the address space. */
struct vfork_wait {
    struct refcount ref; /* parent and child */
    struct task *parent; /* referenced */
    _Atomic bool done;
};

static void vfork_wait_put(struct vfork_wait *v)
{
    if (!ref_put(&v->ref))
        return;
    task_put(v->parent);
    free(v);
}

static struct vfork_wait *vfork_wait_create(struct task *parent)
{
    struct vfork_wait *v = calloc(1, sizeof(*v));
    if (v) {
        ref_init(&v->ref);
        v->parent = task_get(parent);
    }
    return v;
}

void vfork_release(struct task *t)
{
    struct vfork_wait *v = t->vfork;
    if (!v)
        return;
    t->vfork = NULL;
    atomic_store(&v->done, true);
    task_wake(v->parent);
    vfork_wait_put(v);
}

static int check_flags(struct task *t, const struct clone_request *rq)
{
    uint64_t f = rq->flags;
    if ((f & (CLONE_NEWNS | CLONE_FS)) == (CLONE_NEWNS | CLONE_FS) ||
        (f & (CLONE_NEWUSER | CLONE_FS)) == (CLONE_NEWUSER | CLONE_FS) ||
        ((f & CLONE_THREAD) && !(f & CLONE_SIGHAND)) || ((f & CLONE_SIGHAND) && !(f & CLONE_VM)) ||
        ((f & CLONE_THREAD) && (f & (CLONE_NEWUSER | CLONE_NEWPID))) ||
        ((f & CLONE_PARENT) && (t->tg == task_pid_ns(t)->init)) ||
        ((f & CLONE_THREAD) && t->ns->pid_for_children != task_pid_ns(t)) ||
        ((f & CLONE_NEWIPC) && (f & CLONE_SYSVSEM)))
        return -EINVAL;
    if ((f & CLONE_SETTLS) && rq->tls >= t->kernel->platform->max_addr)
        return -EPERM;
    return 0;
}

static struct sighand *clone_sighand(struct task *t, uint64_t flags)
{
    struct sighand *old = t->tg->sighand;
    if (flags & CLONE_SIGHAND) {
        ref_get(&old->ref);
        return old;
    }
    struct sighand *sh = sighand_copy(old);
    if (sh && (flags & CLONE_CLEAR_SIGHAND)) {
        for (int i = 0; i < SIG_MAX; i++) {
            if (sh->action[i].handler != (gva_t)SIG_IGN)
                sh->action[i] = (struct k_sigaction){0};
        }
    }
    return sh;
}

static struct thread_group *clone_group(struct task *t, const struct clone_request *rq)
{
    struct thread_group *parent = t->tg;
    if (rq->flags & CLONE_THREAD)
        return thread_group_get(parent);
    struct sighand *sh = clone_sighand(t, rq->flags);
    if (!sh)
        return NULL;
    struct thread_group *tg = thread_group_create(t->kernel, sh);
    if (!tg) {
        sighand_put(sh);
        return NULL;
    }
    tg->exit_signal = rq->exit_signal;
    tg->oom_score_adj = atomic_load(&parent->oom_score_adj);
    tg->dumpable = atomic_load(&parent->dumpable);
    tg->mce_kill = atomic_load(&parent->mce_kill);
    MUTEX_GUARD(&parent->limits_lock);
    memcpy(tg->limits, parent->limits, sizeof(tg->limits));
    tg->mm_limits.as = atomic_load(&parent->mm_limits.as);
    tg->mm_limits.data = atomic_load(&parent->mm_limits.data);
    tg->mm_limits.stack = atomic_load(&parent->mm_limits.stack);
    tg->mm_limits.memlock = atomic_load(&parent->mm_limits.memlock);
    tg->mm_limits.may_lock_any = atomic_load(&parent->mm_limits.may_lock_any);
    return tg;
}

static int clone_memory(struct task *t, struct task *child, uint64_t flags)
{
    if (!(flags & CLONE_VM)) {
        int err = mm_fork(t->mm, &child->tg->mm_limits, &child->mm);
        /* Whatever the host ran out of (descriptors, say), fork(2) knows but two errors. */
        return err && err != -ENOMEM ? -EAGAIN : err;
    }
    mm_user_get(t->mm);
    child->mm = t->mm;
    if (child->tg != t->tg) {
        struct thread_group *owner = t->tg->mm_limits_owner ? t->tg->mm_limits_owner : t->tg;
        child->tg->mm_limits_owner = thread_group_get(owner);
    }
    return 0;
}

static int clone_files(struct task *t, struct task *child, uint64_t flags)
{
    if (flags & CLONE_FILES) {
        child->files = fd_table_get(t->files);
    } else {
        int err = fd_table_copy(t->files, &child->files);
        if (err)
            return err;
    }
    child->fs = flags & CLONE_FS ? fs_context_get(t->fs) : fs_context_copy(t->fs);
    if (!child->fs)
        return -ENOMEM;
    return flags & CLONE_NEWNS ? mount_ns_unshare(child->fs, child->cred) : 0;
}

static int clone_registers(struct task *t, struct task *child, const struct clone_request *rq)
{
    struct arch_context *from = &t->arch, *to = &child->arch;
    if (!from->fpu_valid && !from->fpu_dirty) {
        int err = t->context->ops->pull_fpu(t->context, from);
        if (err)
            return err;
    }
    to->xstate = malloc(from->xstate_size);
    if (!to->xstate)
        return -ENOMEM;
    memcpy(to->xstate, from->xstate, from->xstate_size);
    to->xstate_size = from->xstate_size;
    to->fpu_valid = to->fpu_dirty = true;
    to->regs = from->regs;
    to->regs.orig_rax = (unsigned long)-1;
    if (t->ptrace.stepping && !t->ptrace.own_trap)
        to->regs.eflags &= ~(unsigned long)EFLAGS_TF;
    arch_set_return(to, 0);
    if (rq->stack)
        to->regs.rsp = rq->stack;
    if (rq->flags & CLONE_SETTLS)
        to->regs.fs_base = rq->tls;
    return 0;
}

static void clone_attributes(struct task *t, struct task *child, const struct clone_request *rq)
{
    uint64_t flags = rq->flags;
    child->exe = t->exe ? file_get(t->exe) : NULL;
    memcpy(child->comm, t->comm, sizeof(child->comm));
    child->blocked = t->blocked;
    child->no_new_privs = atomic_load(&t->no_new_privs);
    child->personality = t->personality;
    child->nice = atomic_load(&t->nice);
    child->io_flusher = t->io_flusher;
    child->mempolicy = t->mempolicy;
    child->ioprio = atomic_load(&t->ioprio);
    child->timer_slack_ns = child->default_timer_slack_ns = t->timer_slack_ns;
    if (!atomic_load(&t->sched_reset_on_fork)) {
        child->sched_policy = atomic_load(&t->sched_policy);
        child->sched_priority = atomic_load(&t->sched_priority);
    } else {
        child->nice = MAX(atomic_load(&child->nice), 0);
    }
    for (int i = 0; i < TASK_CPUSET_WORDS; i++)
        child->cpuset[i] = atomic_load(&t->cpuset[i]);
    /* A thread gets a fresh alternate stack, and so does a process that shares our memory, unless
     * we sleep meanwhile. */
    if ((flags & (CLONE_VM | CLONE_VFORK)) != CLONE_VM)
        child->altstack = t->altstack;
    if (flags & CLONE_CHILD_SETTID)
        child->set_child_tid = rq->child_tid;
    if (flags & CLONE_CHILD_CLEARTID)
        child->clear_child_tid = rq->child_tid;
}

/* Credentials and namespaces. */
static int clone_identity(struct task *t, struct task *child, uint64_t flags)
{
    if (!(flags & CLONE_NEWUSER)) {
        child->cred = cred_get(t->cred);
    } else {
        struct cred *c;
        int err = cred_unshare_user_ns(t, &c);
        if (err)
            return err;
        child->cred = c;
    }
    return ns_set_clone(t, flags, child->cred, &child->ns);
}

/* A complete child that nobody sees yet. */
static int make_child(struct task *t, const struct clone_request *rq, struct task **out)
{
    struct thread_group *tg = clone_group(t, rq);
    if (!tg)
        return -ENOMEM;
    struct task *child = task_create(tg);
    thread_group_put(tg);
    if (!child)
        return -ENOMEM;
    clone_attributes(t, child, rq);
    int err = clone_identity(t, child, rq->flags);
    if (!err && tg != t->tg)
        err = cpu_limit_prepare(tg);
    if (!err)
        err = clone_registers(t, child, rq);
    if (!err)
        err = clone_files(t, child, rq->flags);
    if (!err && (rq->flags & CLONE_SYSVSEM))
        err = sem_share_undo(t, child);
    if (!err)
        err = clone_memory(t, child, rq->flags);
    if (err)
        task_put(child);
    else
        *out = child;
    return err;
}

/* RLIMIT_NPROC counts the threads of a real user. TASK_TREE held. */
static bool too_many(struct task *t)
{
    struct kernel *k = t->kernel;
    if (k->ntasks >= k->max_tasks || 2 * k->ntasks + k->nprocesses + 3 > k->max_host_threads)
        return true;
    uint64_t limit = task_rlimit(t, RLIMIT_NPROC);
    if (limit >= (uint64_t)k->ntasks || t->cred->uid == 0 || task_capable(t, CAP_SYS_RESOURCE) ||
        task_capable(t, CAP_SYS_ADMIN))
        return false;
    uint64_t mine = 0;
    struct thread_group *tg;
    list_for_each (tg, &k->groups, all_link) {
        struct task *any =
            tg->leader ? tg->leader : list_first(&tg->tasks, struct task, group_link);
        const struct cred *cred = any ? task_get_cred(any) : NULL;
        if (cred && cred->uid == t->cred->uid)
            mine += (uint64_t)tg->ntasks;
        cred_put(cred);
    }
    return mine >= limit;
}

static void link_to_parent(struct task *t, struct thread_group *tg, uint64_t flags)
{
    struct thread_group *parent = flags & CLONE_PARENT ? t->tg->parent : t->tg;
    tg->parent_task = flags & CLONE_PARENT ? t->tg->parent_task : t;
    if (flags & CLONE_PARENT)
        tg->exit_signal = t->tg->exit_signal;
    tg->parent = parent;
    list_add_tail(&parent->children, &tg->sibling);
    pgrp_join(t->tg->pgrp, tg);
    tg->gave_up_tty = t->tg->gave_up_tty;
}

/* Whether t may choose the child's numbers. */
static int check_set_tid(struct task *t, struct pid_ns *ns, size_t n)
{
    if (n > (size_t)ns->level + 1)
        return -EINVAL;
    for (size_t i = 0; i < n; i++, ns = ns->parent) {
        if (!task_capable_in(t, ns->common.owner, CAP_CHECKPOINT_RESTORE) &&
            !task_capable_in(t, ns->common.owner, CAP_SYS_ADMIN))
            return -EPERM;
    }
    return 0;
}

/* Puts the child into the tree. Returns its thread id, as the parent sees it, or -errno. */
static long enter_tree(struct task *t, struct task *child, const struct clone_request *rq,
                       int event)
{
    struct kernel *k = t->kernel;
    uint64_t flags = rq->flags;
    MUTEX_GUARD(&k->tree_lock);
    if (k->ending || too_many(t) || ((flags & CLONE_PARENT) && !t->tg->parent))
        return -EAGAIN;
    /* A signal that is under way goes to parent and child, or comes first: here it comes first. A
     * process that is being killed or stopped gets no new members. */
    MUTEX_GUARD(&t->tg->sighand_lock);
    if (task_interrupted(t))
        return -ERESTARTNOINTR;
    struct pid *pid;
    int err = check_set_tid(t, child->ns->pid_for_children, rq->nset_tid);
    if (!err)
        err = pid_alloc(child->ns->pid_for_children, rq->set_tid, rq->nset_tid, &pid);
    if (err)
        return err;
    bool is_process = child->tg != t->tg;
    seccomp_inherit(child, t);
    task_attach(child, pid);
    if (is_process)
        link_to_parent(t, child->tg, flags);
    ptrace_inherit(child, t, flags, event);
    atomic_fetch_add(&k->forks, 1);
    return pid_nr_in(pid, task_pid_ns(t));
}

/* Sleeps until the child has let go; a dying parent does not wait. Returns whether it has. */
static bool wait_for_vfork(struct task *t, struct vfork_wait *v)
{
    while (!atomic_load(&v->done)) {
        if (task_block_killable(t, NULL) != 0)
            break;
    }
    bool done = atomic_load(&v->done);
    vfork_wait_put(v);
    return done;
}

/* What a tracer that wants to hear of new tasks calls this one; 0: it does not want to. */
static int clone_event(struct task *t, const struct clone_request *rq)
{
    int event = rq->flags & CLONE_VFORK      ? PTRACE_EVENT_VFORK
                : rq->exit_signal != SIGCHLD ? PTRACE_EVENT_CLONE
                                             : PTRACE_EVENT_FORK;
    return !(rq->flags & CLONE_UNTRACED) && ptrace_wants(t, event) ? event : 0;
}

static long start_child(struct task *t, struct task *child, const struct clone_request *rq)
{
    struct kernel *k = t->kernel;
    struct vfork_wait *v = NULL;
    if (rq->flags & CLONE_VFORK) {
        v = vfork_wait_create(t);
        if (!v)
            return -ENOMEM;
    }
    struct host_thread *ht;
    int err = host_thread_reserve(k->threads, &ht);
    if (err) {
        if (v)
            vfork_wait_put(v);
        return err;
    }
    child->host = ht;
    if (v) {
        ref_get(&v->ref);
        child->vfork = v;
    }
    int event = clone_event(t, rq);
    long tid = enter_tree(t, child, rq, event);
    if (tid < 0) {
        child->vfork = NULL;
        host_thread_cancel(k->threads, ht);
        if (v) {
            vfork_wait_put(v);
            vfork_wait_put(v);
        }
        return tid;
    }
    uint32_t tid32 = (uint32_t)tid;
    if (rq->flags & CLONE_PARENT_SETTID)
        IGNORE(MM_COPY_OUT(t->mm, rq->parent_tid, &tid32));
    bool tell = event || (v && ptrace_wants(t, PTRACE_EVENT_VFORK_DONE));
    pid_t told = tell ? ptrace_nr_for_tracer(t, child->pid) : 0;
    if (!(rq->flags & CLONE_THREAD))
        cpu_limit_arm(child->tg);
    host_thread_start(ht, child);
    if (event)
        ptrace_event(t, event, (uint64_t)told);
    if (v && wait_for_vfork(t, v))
        ptrace_event(t, PTRACE_EVENT_VFORK_DONE, (uint64_t)told);
    return tid;
}

long task_clone(struct task *t, const struct clone_request *rq)
{
    int err = check_flags(t, rq);
    if (err)
        return err;
    struct task *child = NULL;
    err = make_child(t, rq, &child);
    if (err)
        return err;
    int pidfd = -1;
    if (rq->flags & CLONE_PIDFD) {
        pidfd = pidfd_create(t, child->tg, 0);
        uint32_t fd32 = (uint32_t)pidfd;
        err = pidfd < 0 ? pidfd : MM_COPY_OUT(t->mm, rq->pidfd, &fd32);
    }
    long tid = err ? err : start_child(t, child, rq);
    if (tid < 0) {
        if (pidfd >= 0)
            (void)fd_close(t, pidfd);
        task_put(child);
    }
    return tid;
}
