/*
 * execve: the process stays, everything in it is new.
 *
 * The new program is loaded beside the old one. Only when that has succeeded do the other threads
 * have to leave (dethread); from then on nothing can fail.
 */
#include "sentry/aio/aio.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/posix_timers.h"
#include "sentry/kernel/process.h"
#include "sentry/loader/loader.h"
#include "sentry/vfs/vfs.h"
#include <linux/capability.h>
#include <linux/securebits.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/personality.h>

/* ---- credentials ---- */

static void apply_file_ids(struct task *t, struct file *file, struct cred *c)
{
    uint32_t mode = file->inode->mode;
    if (t->no_new_privs || (file->path.mnt->flags & MS_NOSUID) || ptrace_forbids_privileges(t))
        return;
    /* Ids that mean nobody in this user namespace are not to be had. */
    if (id_out(c->user_ns, ID_UID, file->inode->uid) == ID_INVALID ||
        id_out(c->user_ns, ID_GID, file->inode->gid) == ID_INVALID)
        return;
    if (mode & S_ISUID)
        c->euid = file->inode->uid;
    if ((mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP))
        c->egid = file->inode->gid;
}

/* capabilities(7), "Transformation of capabilities during execve": files have none of their own,
 * but root's programs count as having all. */
static void transform_capabilities(struct cred *c)
{
    uint64_t file_permitted = 0;
    bool effective = false;
    if (!(c->securebits & SECBIT_NOROOT)) {
        uid_t root = id_in(c->user_ns, ID_UID, 0);
        if (c->euid == root || c->uid == root)
            file_permitted = CAP_ALL;
        effective = c->euid == root;
    }
    uint64_t inheritable = file_permitted ? c->cap_inheritable : 0;
    c->cap_permitted = (file_permitted & c->cap_bounding) | inheritable | c->cap_ambient;
    c->cap_effective = effective ? c->cap_permitted : c->cap_ambient;
}

/* The credentials that the program runs with. *secure: they are more than the caller had. */
static struct cred *exec_cred(struct task *t, struct file *file, bool *secure)
{
    struct cred *c = cred_copy(t->cred, t->cred->ngroups);
    if (!c)
        return NULL;
    apply_file_ids(t, file, c);
    bool changed = c->euid != t->cred->euid || c->egid != t->cred->egid;
    if (changed)
        c->cap_ambient = 0;
    c->suid = c->fsuid = c->euid;
    c->sgid = c->fsgid = c->egid;
    transform_capabilities(c);
    c->securebits &= ~(uint32_t)SECBIT_KEEP_CAPS;
    *secure = c->uid != c->euid || c->gid != c->egid;
    return c;
}

/* ---- the other threads ---- */

static int dethread(struct task *t)
{
    struct thread_group *tg = t->tg;
    struct kernel *k = t->kernel;
    {
        MUTEX_GUARD(&tg->sighand_lock);
        /* Somebody else was faster: we are to leave. */
        if (tg->group_exit || tg->exec_task)
            return -ERESTARTNOINTR;
        if (tg->live_tasks == 1 && tg->leader == t)
            return 0;
        tg->exec_task = t;
        struct task *other;
        list_for_each (other, &tg->tasks, group_link) {
            if (other != t && !other->exiting)
                task_kick(other, TASK_WORK_EXIT);
        }
    }
    int err = 0;
    for (;;) {
        {
            MUTEX_GUARD(&k->tree_lock);
            if (tg->ntasks == 1) {
                task_take_over_leader(t);
                break;
            }
        }
        err = task_block_killable(t, NULL);
        if (err)
            break;
    }
    MUTEX_GUARD(&tg->sighand_lock);
    tg->exec_task = NULL;
    return err;
}

/* ---- the exchange ---- */

static int unshare_sighand(struct thread_group *tg)
{
    if (ref_read(&tg->sighand->ref) == 1)
        return 0;
    struct sighand *sh = sighand_copy(tg->sighand);
    if (!sh)
        return -ENOMEM;
    struct sighand *old;
    {
        MUTEX_GUARD(&tg->sighand_lock);
        old = tg->sighand;
        tg->sighand = sh;
    }
    sighand_put(old);
    return 0;
}

static void install_memory(struct task *t, struct load_result *new)
{
    struct mm *old_mm;
    struct file *old_exe;
    {
        MUTEX_GUARD(&t->lock);
        old_mm = t->mm;
        old_exe = t->exe;
        t->mm = new->mm;
        t->exe = new->exe;
        memcpy(t->comm, new->comm, sizeof(t->comm));
    }
    if (old_exe)
        file_put(old_exe);
    aio_exit(t->tg);
    if (old_mm) {
        if (!t->vfork)
            rusage_note_memory(t->tg, old_mm);
        mm_user_put(old_mm);
    }
    struct thread_group *owner = t->tg->mm_limits_owner;
    t->tg->mm_limits_owner = NULL;
    thread_group_put(owner);
}

static void reset_task(struct task *t, bool secure)
{
    t->altstack = (stack_t){.ss_flags = SS_DISABLE};
    t->clear_child_tid = t->set_child_tid = t->robust_list = 0;
    t->restart.fn = NULL;
    t->in_syscall = false;
    if (secure) {
        MUTEX_GUARD(&t->kernel->tree_lock);
        t->pdeath_signal = 0;
    }
    MUTEX_GUARD(&t->kernel->tree_lock);
    t->tg->did_exec = true;
    t->tg->exit_signal = SIGCHLD;
}

static void install(struct task *t, struct load_result *new, struct cred *cred, bool secure)
{
    task_release_user_state(t);
    install_memory(t, new);
    vfork_release(t);
    task_set_cred(t, cred);
    signal_reset_actions(t);
    posix_timers_exec(t->tg);
    reset_task(t, secure);
    atomic_store(&t->tg->dumpable, !secure);
    fd_table_do_cloexec(t);
    void *xstate = t->arch.xstate;
    uint32_t xstate_size = t->arch.xstate_size;
    t->arch = new->arch;
    t->arch.xstate = xstate;
    t->arch.xstate_size = xstate_size;
    fpu_reset(t);
}

long task_exec(struct task *t, struct file *file, const struct exec_name *name,
               struct exec_strings *argv, struct exec_strings *envp)
{
    bool secure;
    struct cred *cred = exec_cred(t, file, &secure);
    if (!cred)
        return -ENOMEM;
    struct load_request rq = {
        .task = t,
        .cred = cred,
        .file = file,
        .name = *name,
        .argv = *argv,
        .envp = *envp,
        .limits = &t->tg->mm_limits,
        .stack_limit = task_rlimit(t, RLIMIT_STACK),
        .randomize = secure || !(t->personality & ADDR_NO_RANDOMIZE),
    };
    struct load_result new = {.secure = secure};
    int err = loader_load(t->kernel->loader, &rq, &new);
    *argv = rq.argv;
    *envp = rq.envp;
    if (err) {
        cred_put(cred);
        return err;
    }
    pid_t old_tid = ptrace_nr_for_tracer(t, t->pid);
    err = fd_table_unshare(t);
    if (!err)
        err = dethread(t);
    if (!err)
        err = unshare_sighand(t->tg);
    if (err) {
        mm_user_put(new.mm);
        file_put(new.exe);
        cred_put(cred);
        return err;
    }
    install(t, &new, cred, secure);
    ptrace_exec(t, old_tid);
    return 0;
}
