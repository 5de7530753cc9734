/*
 * System calls about signals.
 */
#include "sentry/fs/proc/proc.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/pidfd.h"
#include "sentry/kernel/posix_timers.h"
#include "sentry/kernel/process.h"
#include "sentry/kernel/timer.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/syscalls/time_args.h"
#include "sentry/vfs/vfs.h"
#include <linux/capability.h>
#include <string.h>

static int copy_in_sigset(struct task *t, gva_t addr, uint64_t size, sigset64_t *out)
{
    if (size != sizeof(*out))
        return -EINVAL;
    return MM_COPY_IN(t->mm, out, addr);
}

/* ---- actions and masks ---- */

SYSCALL(rt_sigaction)
{
    struct {
        uint64_t handler, flags, restorer, mask;
    } user;
    struct k_sigaction act, old;
    if (a->a[3] != sizeof(sigset64_t))
        return -EINVAL;
    if (a->a[1]) {
        int err = MM_COPY_IN(t->mm, &user, ARG_GVA(a, 1));
        if (err)
            return err;
        act = (struct k_sigaction){user.handler, user.flags, user.restorer, user.mask};
    }
    int err = signal_set_action(t, ARG_INT(a, 0), a->a[1] ? &act : NULL, &old);
    if (err || !a->a[2])
        return err;
    user.handler = old.handler;
    user.flags = old.flags;
    user.restorer = old.restorer;
    user.mask = old.mask;
    return MM_COPY_OUT(t->mm, ARG_GVA(a, 2), &user);
}

SYSCALL(rt_sigprocmask)
{
    sigset64_t set, old = t->blocked;
    if (a->a[3] != sizeof(set))
        return -EINVAL;
    if (a->a[1]) {
        int err = MM_COPY_IN(t->mm, &set, ARG_GVA(a, 1));
        if (err)
            return err;
        switch (ARG_INT(a, 0)) {
        case SIG_BLOCK:
            signal_set_blocked(t, old | set);
            break;
        case SIG_UNBLOCK:
            signal_set_blocked(t, old & ~set);
            break;
        case SIG_SETMASK:
            signal_set_blocked(t, set);
            break;
        default:
            return -EINVAL;
        }
    }
    return a->a[2] ? MM_COPY_OUT(t->mm, ARG_GVA(a, 2), &old) : 0;
}

SYSCALL(rt_sigpending)
{
    if (a->a[1] > sizeof(sigset64_t))
        return -EINVAL;
    sigset64_t set;
    {
        MUTEX_GUARD(&t->tg->sighand_lock);
        set = signal_pending_set(t) & t->blocked;
    }
    return mm_copy_out(t->mm, ARG_GVA(a, 0), &set, a->a[1]);
}

SYSCALL(rt_sigsuspend)
{
    sigset64_t set;
    int err = copy_in_sigset(t, ARG_GVA(a, 0), a->a[1], &set);
    if (err)
        return err;
    signal_set_temporary_mask(t, set);
    while (task_block(t, NULL) == 0) {
    }
    return -ERESTARTNOHAND;
}

SYSCALL(pause)
{
    while (task_block(t, NULL) == 0) {
    }
    return -ERESTARTNOHAND;
}

#define SS_AUTODISARM_FLAG (1u << 31)

SYSCALL(sigaltstack)
{
    stack_t new, old = t->altstack;
    struct {
        uint64_t sp;
        int32_t flags, pad;
        uint64_t size;
    } user;
    gva_t sp = t->arch.regs.rsp;
    if (a->a[0]) {
        int err = MM_COPY_IN(t->mm, &user, ARG_GVA(a, 0));
        if (err)
            return err;
        new = (stack_t){
            .ss_sp = (void *)(uintptr_t)user.sp, .ss_flags = user.flags, .ss_size = user.size};
        err = signal_set_altstack(t, &new, sp);
        if (err)
            return err;
    }
    if (!a->a[1])
        return 0;
    memset(&user, 0, sizeof(user));
    user.sp = (gva_t)(uintptr_t)old.ss_sp;
    user.size = old.ss_size;
    user.flags = old.ss_flags;
    if (!(user.flags & SS_DISABLE) && old.ss_size) {
        /* One that disarms itself is never in use. */
        bool disarms = (uint32_t)user.flags & SS_AUTODISARM_FLAG;
        bool on = !disarms && sp > user.sp && sp - user.sp <= user.size;
        user.flags = on ? SS_ONSTACK : user.flags & (int)SS_AUTODISARM_FLAG;
    }
    return MM_COPY_OUT(t->mm, ARG_GVA(a, 1), &user);
}

SYSCALL(rt_sigreturn)
{
    /* The registers are the frame's, whatever happens to the result. */
    t->in_syscall = false;
    /* As Linux: the program counter where it ends is unimportant, the SIGSEGV is not. */
    if (sigframe_restore(t) != 0) {
        siginfo_t info;
        siginfo_kernel(&info, SIGSEGV);
        signal_force(t, &info);
    }
    return (long)t->arch.regs.rax;
}

SYSCALL(restart_syscall)
{
    struct restart_block *rb = &t->restart;
    if (!rb->fn)
        return -EINTR;
    long (*fn)(struct task *, struct restart_block *) = rb->fn;
    return fn(t, rb);
}

/* ---- waiting for signals ---- */

static int take_wanted(struct task *t, sigset64_t wanted, siginfo_t *info)
{
    struct posix_timer *timer = NULL;
    int sig;
    {
        MUTEX_GUARD(&t->tg->sighand_lock);
        sig = signal_dequeue(t, wanted, info, &timer);
    }
    if (timer)
        posix_timer_taken(timer, info);
    return sig;
}

/* While we sleep, the wanted signals are not blocked, so that senders choose and wake us; and not
 * ignored either (real_blocked). */
static void begin_wait(struct task *t, sigset64_t wanted)
{
    MUTEX_GUARD(&t->tg->sighand_lock);
    t->real_blocked = t->blocked;
    t->blocked &= ~wanted;
    signal_recalc(t);
}

static void end_wait(struct task *t)
{
    MUTEX_GUARD(&t->tg->sighand_lock);
    t->blocked = t->real_blocked;
    t->real_blocked = 0;
    signal_recalc(t);
}

SYSCALL(rt_sigtimedwait)
{
    sigset64_t wanted;
    ktime_t deadline, *limit = NULL;
    int err = copy_in_sigset(t, ARG_GVA(a, 0), a->a[3], &wanted);
    if (err)
        return err;
    wanted &= ~SIG_MASK_UNBLOCKABLE;
    int64_t ns = 0;
    if (a->a[2]) {
        err = copy_in_timespec(t, ARG_GVA(a, 2), &ns);
        if (err)
            return err;
        deadline = ktime_after(ns);
        limit = &deadline;
    }
    siginfo_t info;
    int sig = take_wanted(t, wanted, &info);
    if (!sig && !(limit && ns == 0)) {
        begin_wait(t, wanted);
        do {
            err = task_block(t, limit);
            sig = take_wanted(t, wanted, &info);
        } while (!sig && !err);
        end_wait(t);
    }
    if (!sig)
        return err == -ERESTARTSYS ? -EINTR : -EAGAIN;
    if (a->a[1] && MM_COPY_OUT(t->mm, ARG_GVA(a, 1), &info) != 0)
        return -EFAULT;
    return sig;
}

/* ---- sending ---- */

static bool valid_signal(int sig)
{
    return sig >= 0 && sig <= SIG_MAX;
}

/* Permission, and the signal itself unless it is 0. */
static int send_to_group(struct task *t, struct thread_group *tg, int sig, const siginfo_t *info)
{
    struct task *any = thread_group_task(tg);
    if (!any)
        return -ESRCH;
    int err = signal_permission(t, any, sig);
    if (!err && sig)
        err = signal_send_group(tg, sig, info);
    task_put(any);
    return err;
}

/*
 * Everything with kill(-1) or a group: the members are collected under the tree lock and sent to
 * without it. Members that appear meanwhile may be missed by neither: fork looks at pending signals
 * under the same lock.
 */
static long send_to_many(struct task *t, pid_t pgid, int sig, const siginfo_t *info)
{
    struct kernel *k = t->kernel;
    long result = -ESRCH;
    bool denied = false;
    for (pid_t from = 1;;) {
        struct thread_group *tg = thread_group_next(k, from);
        if (!tg)
            break;
        from = tg->tgid + 1;
        /* All that t sees, but process 1. */
        bool wanted = pgid ? thread_group_pgid(tg) == pgid
                           : tg != t->tg && pid_nr_in(tg->pid, task_pid_ns(t)) > 1;
        if (wanted) {
            int err = send_to_group(t, tg, sig, info);
            if (!err)
                result = 0;
            else if (err == -EPERM)
                denied = true;
            else if (result)
                result = err;
        }
        thread_group_put(tg);
    }
    return result == -ESRCH && denied ? -EPERM : result;
}

/* kill with a pid of 0 (our own process group), -1 (everybody), or a group's. */
static long send_to_group_of(struct task *t, pid_t pid, int sig, const siginfo_t *info)
{
    if (pid == -1)
        return send_to_many(t, 0, sig, info);
    pid_t pgid = pid ? pid_in(t, -pid) : thread_group_pgid(t->tg);
    return pgid ? send_to_many(t, pgid, sig, info) : -ESRCH;
}

SYSCALL(kill)
{
    int pid = ARG_INT(a, 0), sig = ARG_INT(a, 1);
    if (!valid_signal(sig))
        return -EINVAL;
    if (pid == INT32_MIN)
        return -ESRCH;
    siginfo_t info;
    siginfo_user(&info, sig, t, SI_USER);
    if (pid <= 0)
        return send_to_group_of(t, pid, sig, &info);
    /* A thread's id names its process too. */
    struct task *target = task_find_for(t, pid);
    if (!target)
        return -ESRCH;
    long r = send_to_group(t, target->tg, sig, &info);
    task_put(target);
    return r;
}

static long send_to_thread(struct task *t, pid_t tgid, pid_t tid, int sig, const siginfo_t *info)
{
    struct task *target = task_find_for(t, tid);
    if (!target || (tgid > 0 && pid_nr_in(target->tg->pid, task_pid_ns(t)) != tgid)) {
        task_put(target);
        return -ESRCH;
    }
    int err = signal_permission(t, target, sig);
    if (!err && sig)
        err = signal_send_task(target, sig, info);
    task_put(target);
    return err;
}

SYSCALL(tkill)
{
    int tid = ARG_INT(a, 0), sig = ARG_INT(a, 1);
    if (tid <= 0 || !valid_signal(sig))
        return -EINVAL;
    siginfo_t info;
    siginfo_user(&info, sig, t, SI_TKILL);
    return send_to_thread(t, 0, tid, sig, &info);
}

SYSCALL(tgkill)
{
    int tgid = ARG_INT(a, 0), tid = ARG_INT(a, 1), sig = ARG_INT(a, 2);
    if (tgid <= 0 || tid <= 0 || !valid_signal(sig))
        return -EINVAL;
    siginfo_t info;
    siginfo_user(&info, sig, t, SI_TKILL);
    return send_to_thread(t, tgid, tid, sig, &info);
}

/* A siginfo that the application made up: it may not pass for one of the kernel's or of kill(2),
 * except to itself. */
static int copy_in_siginfo(struct task *t, gva_t addr, int sig, pid_t target, siginfo_t *info)
{
    int err = MM_COPY_IN(t->mm, info, addr);
    if (err)
        return err;
    info->si_signo = sig;
    if ((info->si_code >= 0 || info->si_code == SI_TKILL) && target != t->tg->own_tgid &&
        target != t->own_tid)
        return -EPERM;
    return 0;
}

SYSCALL(rt_sigqueueinfo)
{
    int pid = ARG_INT(a, 0), sig = ARG_INT(a, 1);
    siginfo_t info;
    int err = copy_in_siginfo(t, ARG_GVA(a, 2), sig, pid, &info);
    if (err)
        return err;
    if (!valid_signal(sig))
        return -EINVAL;
    struct task *target = task_find_for(t, pid);
    if (!target)
        return -ESRCH;
    err = send_to_group(t, target->tg, sig, &info);
    task_put(target);
    return err;
}

SYSCALL(rt_tgsigqueueinfo)
{
    int tgid = ARG_INT(a, 0), tid = ARG_INT(a, 1), sig = ARG_INT(a, 2);
    siginfo_t info;
    if (tgid <= 0 || tid <= 0)
        return -EINVAL;
    int err = copy_in_siginfo(t, ARG_GVA(a, 3), sig, tid, &info);
    if (err)
        return err;
    if (!valid_signal(sig))
        return -EINVAL;
    return send_to_thread(t, tgid, tid, sig, &info);
}

/* ---- process descriptors ---- */

SYSCALL(pidfd_open)
{
    int pid = ARG_INT(a, 0);
    unsigned flags = ARG_UINT(a, 1);
    if (flags & ~(unsigned)O_NONBLOCK || pid <= 0)
        return -EINVAL;
    struct thread_group *tg = thread_group_find_for(t, pid);
    if (!tg) {
        struct task *thread = task_find_for(t, pid);
        task_put(thread);
        return thread ? -ENOENT : -ESRCH;
    }
    long fd = pidfd_create(t, tg, flags);
    thread_group_put(tg);
    return fd;
}

SYSCALL(pidfd_send_signal)
{
    int fd = ARG_INT(a, 0), sig = ARG_INT(a, 1);
    if (a->a[3])
        return -EINVAL;
    struct file *f = fd_get(t, fd);
    if (!f)
        return -EBADF;
    /* A directory of /proc will do as well: that is how it was before pidfd_open. */
    struct thread_group *tg = pidfd_group(f);
    if (!tg)
        tg = proc_dir_group(f);
    long r = -EBADF;
    siginfo_t info;
    if (tg) {
        siginfo_user(&info, sig, t, SI_USER);
        r = 0;
        if (a->a[2]) {
            r = copy_in_siginfo(t, ARG_GVA(a, 2), sig, pid_nr_in(tg->pid, task_pid_ns(t)), &info);
            siginfo_t given;
            if (!r && MM_COPY_IN(t->mm, &given, ARG_GVA(a, 2)) == 0 && given.si_signo != sig)
                r = -EINVAL;
        }
        if (!r)
            r = valid_signal(sig) ? send_to_group(t, tg, sig, &info) : -EINVAL;
    }
    file_put(f);
    return r;
}

SYSCALL(pidfd_getfd)
{
    struct file *f = fd_get(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    struct thread_group *tg = pidfd_group(f);
    struct task *other = tg ? thread_group_task(tg) : NULL;
    long r = !tg ? -EBADF : !other ? -ESRCH : 0;
    if (!r && a->a[2])
        r = -EINVAL;
    if (!r && !task_may_access(t, other, true))
        r = -EPERM;
    struct fd_table *files = r ? NULL : task_get_files(other);
    struct file *found = NULL;
    if (!r && (!files || fd_table_next(files, ARG_INT(a, 1), &found) != ARG_INT(a, 1)))
        r = files ? -EBADF : -ESRCH;
    if (!r)
        r = fd_install(t, found, 0, true);
    if (found)
        file_put(found);
    if (files)
        fd_table_put(files);
    task_put(other);
    file_put(f);
    return r;
}
