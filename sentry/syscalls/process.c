/*
 * The life of processes: fork, clone, execve, exit, wait.
 */
#include "sentry/kernel/process.h"
#include "sentry/ipc/ipc.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/pidfd.h"
#include "sentry/loader/loader.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/vfs.h"
#include <limits.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* ---- making ---- */

SYSCALL(fork)
{
    struct clone_request rq = {.exit_signal = SIGCHLD};
    return task_clone(t, &rq);
}

SYSCALL(vfork)
{
    struct clone_request rq = {.flags = CLONE_VFORK | CLONE_VM, .exit_signal = SIGCHLD};
    return task_clone(t, &rq);
}

SYSCALL(clone)
{
    uint64_t flags = (uint32_t)a->a[0];
    struct clone_request rq = {
        .flags = flags & ~(uint64_t)CSIGNAL,
        .exit_signal = (int)(flags & CSIGNAL),
        .stack = a->a[1],
        .parent_tid = a->a[2],
        .pidfd = a->a[2],
        .child_tid = a->a[3],
        .tls = a->a[4],
    };
    /* The old CLONE_DETACHED means nothing, but was never to be combined with a pidfd. */
    if ((flags & CLONE_PIDFD) && (flags & (CLONE_DETACHED | CLONE_PARENT_SETTID)))
        return -EINVAL;
    rq.flags &= ~(uint64_t)CLONE_DETACHED;
    return task_clone(t, &rq);
}

struct clone_args_v2 {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
    uint64_t set_tid, set_tid_size, cgroup;
};
#define CLONE_ARGS_V0 64u
#define CLONE_INTO_CGROUP_FLAG 0x200000000ull
#define CLONE_CLEAR_SIGHAND_FLAG 0x100000000ull

static int check_clone_args(struct task *t, const struct clone_args_v2 *c, uint64_t size)
{
    uint64_t valid = 0xffffffffull | CLONE_CLEAR_SIGHAND_FLAG | CLONE_INTO_CGROUP_FLAG;
    if ((c->flags & ~valid) || (c->flags & (CLONE_DETACHED | (CSIGNAL & ~0x80u))))
        return -EINVAL;
    if (c->exit_signal > SIG_MAX || ((c->flags & (CLONE_THREAD | CLONE_PARENT)) && c->exit_signal))
        return -EINVAL;
    if ((c->flags & CLONE_SIGHAND) && (c->flags & CLONE_CLEAR_SIGHAND_FLAG))
        return -EINVAL;
    if ((c->stack == 0) != (c->stack_size == 0))
        return -EINVAL;
    uint64_t end;
    if (__builtin_add_overflow(c->stack, c->stack_size, &end) ||
        end > t->kernel->platform->max_addr)
        return -EINVAL;
    if (c->set_tid_size > PID_NS_MAX_LEVEL || (c->set_tid == 0) != (c->set_tid_size == 0))
        return -EINVAL;
    /* Both would be written to the same place. */
    if ((c->flags & CLONE_PIDFD) && (c->flags & CLONE_PARENT_SETTID) && c->pidfd == c->parent_tid)
        return -EINVAL;
    if (!(c->flags & CLONE_INTO_CGROUP_FLAG))
        return 0;
    /* There are no cgroups to clone into. */
    return c->cgroup > INT32_MAX || size < sizeof(*c) ? -EINVAL : -EBADF;
}

/* A structure that may be longer than we know, if the rest is zero. */
static int copy_in_extensible(struct task *t, void *dst, size_t known, gva_t src, uint64_t size)
{
    memset(dst, 0, known);
    int err = mm_copy_in(t->mm, dst, src, MIN(size, (uint64_t)known));
    if (err || size <= known)
        return err;
    uint8_t rest[PAGE_SIZE];
    err = mm_copy_in(t->mm, rest, src + known, size - known);
    if (err)
        return err;
    for (size_t i = 0; i < size - known; i++) {
        if (rest[i])
            return -E2BIG;
    }
    return 0;
}

SYSCALL(clone3)
{
    uint64_t size = a->a[1];
    struct clone_args_v2 c;
    if (size > PAGE_SIZE)
        return -E2BIG;
    if (size < CLONE_ARGS_V0)
        return -EINVAL;
    int err = copy_in_extensible(t, &c, sizeof(c), ARG_GVA(a, 0), size);
    if (!err)
        err = check_clone_args(t, &c, size);
    if (err)
        return err;
    struct clone_request rq = {
        .flags = c.flags,
        .exit_signal = (int)c.exit_signal,
        .stack = c.stack + c.stack_size,
        .parent_tid = c.parent_tid,
        .child_tid = c.child_tid,
        .pidfd = c.pidfd,
        .tls = c.tls,
    };
    pid_t set_tid[PID_NS_MAX_LEVEL];
    if (c.set_tid_size) {
        err = mm_copy_in(t->mm, set_tid, c.set_tid, c.set_tid_size * sizeof(pid_t));
        if (err)
            return err;
        rq.set_tid = set_tid;
        rq.nset_tid = c.set_tid_size;
    }
    return task_clone(t, &rq);
}

/* ---- another program ---- */

/* A program that was found from a descriptor has a path of its own: AT_EXECFN, and what the
 * interpreter of a script opens. */
static long exec_named(struct task *t, struct file *file, int dfd, const char *path,
                       struct exec_strings *argv, struct exec_strings *envp)
{
    char fd_path[32 + PATH_MAX];
    struct exec_name name = {.path = path};

    if (dfd != AT_FDCWD && path[0] != '/') {
        snprintf(fd_path, sizeof(fd_path), "/dev/fd/%d%s%s", dfd, path[0] ? "/" : "", path);
        name.path = fd_path;
        name.inaccessible = fd_get_cloexec(t, dfd) > 0;
        name.nameless = path[0] == '\0';
    }
    return task_exec(t, file, &name, argv, envp);
}

static long do_execve(struct task *t, int dfd, gva_t path_addr, gva_t argv_addr, gva_t envp_addr,
                      int flags)
{
    if (flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
        return -EINVAL;
    char *path;
    struct exec_strings argv = {0}, envp = {0};
    struct file *file = NULL;
    uint64_t stack = task_rlimit(t, RLIMIT_STACK);
    long err = vfs_getname(t, path_addr, flags & AT_EMPTY_PATH ? LOOKUP_EMPTY_PATH : 0, &path);
    if (err)
        return err;
    err = vfs_open_exec(t, dfd, path, flags, &file);
    if (!err)
        err = exec_strings_copy_in(&argv, t->mm, argv_addr, stack);
    if (!err)
        err = exec_strings_copy_in(&envp, t->mm, envp_addr, stack);
    if (!err)
        err = exec_named(t, file, dfd, path, &argv, &envp);
    if (file)
        file_put(file);
    exec_strings_release(&argv);
    exec_strings_release(&envp);
    free(path);
    return err;
}

SYSCALL(execve)
{
    return do_execve(t, AT_FDCWD, ARG_GVA(a, 0), ARG_GVA(a, 1), ARG_GVA(a, 2), 0);
}

SYSCALL(execveat)
{
    return do_execve(t, ARG_INT(a, 0), ARG_GVA(a, 1), ARG_GVA(a, 2), ARG_GVA(a, 3), ARG_INT(a, 4));
}

/* ---- ending ---- */

SYSCALL(exit)
{
    t->exit_code = (ARG_INT(a, 0) & 0xff) << 8;
    atomic_fetch_or(&t->work, TASK_WORK_EXIT);
    return 0;
}

SYSCALL(exit_group)
{
    group_exit(t->tg, (ARG_INT(a, 0) & 0xff) << 8);
    return 0;
}

/* ---- waiting ---- */

SYSCALL(wait4)
{
    int pid = ARG_INT(a, 0), options = ARG_INT(a, 2);
    if (options & ~(WNOHANG | WUNTRACED | WCONTINUED | __WNOTHREAD | __WCLONE | __WALL))
        return -EINVAL;
    if (pid == INT32_MIN)
        return -ESRCH;
    struct wait_request rq = {.which = P_ALL, .options = options | WEXITED};
    if (pid > 0) {
        rq.which = P_PID;
        rq.id = pid_in(t, pid);
    } else if (pid != -1) {
        rq.which = P_PGID;
        rq.id = pid ? pid_in(t, -pid) : thread_group_pgid(t->tg);
    }
    struct wait_result result;
    long r = task_wait(t, &rq, &result);
    if (r <= 0)
        return r;
    int err = 0;
    if (a->a[1])
        err = MM_COPY_OUT(t->mm, ARG_GVA(a, 1), &result.status);
    if (!err && a->a[3])
        err = MM_COPY_OUT(t->mm, ARG_GVA(a, 3), &result.usage);
    return err ? err : result.pid;
}

/* The process behind P_PIDFD, referenced. */
static int resolve_pidfd(struct task *t, int fd, struct wait_request *rq, bool *nonblock)
{
    struct file *f = fd_get(t, fd);
    if (!f)
        return -EBADF;
    struct thread_group *tg = pidfd_group(f);
    if (tg) {
        rq->which = P_PID;
        rq->group = thread_group_get(tg);
        *nonblock = atomic_load(&f->flags) & O_NONBLOCK;
    }
    file_put(f);
    return tg ? 0 : -EBADF;
}

static void fill_waitid(siginfo_t *info, const struct wait_result *result)
{
    memset(info, 0, sizeof(*info));
    info->si_signo = SIGCHLD;
    info->si_code = result->code;
    info->si_pid = result->pid;
    info->si_uid = result->uid;
    if (result->code == CLD_EXITED || result->code == CLD_STOPPED)
        info->si_status = result->status >> 8 & 0xff;
    else if (result->code == CLD_TRAPPED)
        info->si_status = result->status >> 8;
    else if (result->code == CLD_CONTINUED)
        info->si_status = SIGCONT;
    else
        info->si_status = result->status & 0x7f;
}

SYSCALL(waitid)
{
    int which = ARG_INT(a, 0), id = ARG_INT(a, 1), options = ARG_INT(a, 3);
    const int states = WEXITED | WSTOPPED | WCONTINUED;
    if ((options & ~(states | WNOHANG | WNOWAIT | __WNOTHREAD | __WCLONE | __WALL)) ||
        !(options & states))
        return -EINVAL;
    struct wait_request rq = {.which = which, .id = id, .options = options};
    bool nonblock = false;
    int err = 0;
    switch (which) {
    case P_ALL:
        break;
    case P_PID:
        err = id <= 0 ? -EINVAL : 0;
        break;
    case P_PGID:
        err = id < 0 ? -EINVAL : 0;
        rq.id = id ? id : thread_group_pgid(t->tg);
        break;
    case P_PIDFD:
        err = id < 0 ? -EINVAL : resolve_pidfd(t, id, &rq, &nonblock);
        break;
    default:
        err = -EINVAL;
    }
    if (err)
        return err;
    if (nonblock)
        rq.options |= WNOHANG;
    struct wait_result result;
    long r = task_wait(t, &rq, &result);
    thread_group_put(rq.group);
    if (r == 0 && nonblock && !(options & WNOHANG))
        r = -EAGAIN;
    siginfo_t info = {0};
    if (r > 0)
        fill_waitid(&info, &result);
    if (r >= 0 && a->a[2])
        err = MM_COPY_OUT(t->mm, ARG_GVA(a, 2), &info);
    if (r > 0 && !err && a->a[4])
        err = MM_COPY_OUT(t->mm, ARG_GVA(a, 4), &result.usage);
    return r < 0 ? r : err;
}
