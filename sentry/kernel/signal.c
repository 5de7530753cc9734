/*
 * Signals: actions, queues, sending. What happens to a signal that is taken off a queue is in
 * signal_deliver.c.
 *
 * A signal sent to a process waits in tg->shared_pending for any of its tasks; one sent to a task
 * waits in task.pending. TASK_WORK_SIGNAL is set on the task that should look. All of it is guarded
 * by SIGHAND of the receiving process.
 */
#include "sentry/kernel/signal.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/posix_timers.h"
#include "sentry/kernel/process.h"
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>

#define SIG_REALTIME_FIRST 32
#define SIG_MASK_SYNCHRONOUS                                                                       \
    (SIG_BIT(SIGSEGV) | SIG_BIT(SIGBUS) | SIG_BIT(SIGILL) | SIG_BIT(SIGTRAP) | SIG_BIT(SIGFPE) |   \
     SIG_BIT(SIGSYS))
#define HANDLER_DFL 0
#define HANDLER_IGN 1

/* ---- actions ---- */

struct sighand *sighand_create(void)
{
    struct sighand *sh = calloc(1, sizeof(*sh));
    if (sh) {
        ref_init(&sh->ref);
        mutex_init(&sh->lock, LOCK_LEAF);
    }
    return sh;
}

struct sighand *sighand_copy(struct sighand *old)
{
    struct sighand *sh = sighand_create();
    if (sh) {
        MUTEX_GUARD(&old->lock);
        memcpy(sh->action, old->action, sizeof(sh->action));
    }
    return sh;
}

void sighand_put(struct sighand *sh)
{
    if (!sh || !ref_put(&sh->ref))
        return;
    mutex_destroy(&sh->lock);
    free(sh);
}

static gva_t handler_of(struct thread_group *tg, int sig)
{
    MUTEX_GUARD(&tg->sighand->lock);
    return tg->sighand->action[sig - 1].handler;
}

static bool action_ignores(gva_t handler, int sig)
{
    return handler == HANDLER_IGN ||
           (handler == HANDLER_DFL && (SIG_BIT(sig) & SIG_MASK_DEFAULT_IGNORE));
}

/* ---- queues ---- */

static void sigqueue_free(struct kernel *k, struct sigqueue *q)
{
    if (q->timer) {
        posix_timer_discard(q->timer);
    } else {
        atomic_fetch_sub_explicit(&k->sigqueued, 1, memory_order_relaxed);
        free(q);
    }
}

/* Drops what is pending of `set`. */
static void sigpending_drop(struct kernel *k, struct sigpending *sp, sigset64_t set)
{
    if (!(sp->set & set))
        return;
    sp->set &= ~set;
    struct sigqueue *q, *next;
    list_for_each_safe (q, next, &sp->queue, link) {
        if (SIG_BIT(q->info.si_signo) & set) {
            list_del(&q->link);
            sigqueue_free(k, q);
        }
    }
}

void sigpending_flush(struct kernel *k, struct sigpending *sp)
{
    sigpending_drop(k, sp, ~0ull);
}

static void drop_everywhere(struct thread_group *tg, sigset64_t set)
{
    sigpending_drop(tg->kernel, &tg->shared_pending, set);
    struct task *t;
    list_for_each (t, &tg->tasks, group_link) {
        sigpending_drop(tg->kernel, &t->pending, set);
    }
}

/* Takes the oldest entry of sig off sp. */
static void take(struct kernel *k, struct sigpending *sp, int sig, siginfo_t *info,
                 struct posix_timer **timer)
{
    struct sigqueue *q, *found = NULL;
    bool more = false;
    list_for_each (q, &sp->queue, link) {
        if (q->info.si_signo != sig)
            continue;
        if (found) {
            more = true;
            break;
        }
        found = q;
    }
    if (!more)
        sp->set &= ~SIG_BIT(sig);
    if (!found) {
        /* It was sent when the queue was full. */
        memset(info, 0, sizeof(*info));
        info->si_signo = sig;
        info->si_code = SI_USER;
        return;
    }
    *info = found->info;
    list_del(&found->link);
    if (found->timer)
        *timer = found->timer;
    else
        sigqueue_free(k, found);
}

static int next_signal(sigset64_t ready)
{
    sigset64_t synchronous = ready & SIG_MASK_SYNCHRONOUS;
    return __builtin_ctzll(synchronous ? synchronous : ready) + 1;
}

int signal_dequeue(struct task *t, sigset64_t set, siginfo_t *info, struct posix_timer **timer)
{
    *timer = NULL;
    struct sigpending *sp = &t->pending;
    if (!(sp->set & set))
        sp = &t->tg->shared_pending;
    if (!(sp->set & set))
        return 0;
    int sig = next_signal(sp->set & set);
    take(t->kernel, sp, sig, info, timer);
    if (sig == SIGALRM && t->tg->timers)
        posix_timers_alarm_taken(t->tg);
    signal_recalc(t);
    return sig;
}

sigset64_t signal_pending_set(struct task *t)
{
    return t->pending.set | t->tg->shared_pending.set;
}

void signal_recalc(struct task *t)
{
    lock_assert_held(&t->tg->sighand_lock);
    if (signal_pending_set(t) & ~t->blocked)
        atomic_fetch_or(&t->work, TASK_WORK_SIGNAL);
    else
        atomic_fetch_and(&t->work, ~TASK_WORK_SIGNAL);
}

/* ---- sending ---- */

/* Process 1 of a pid namespace other than the first, whose process 1 is an ordinary command. */
static bool is_spared_init(const struct thread_group *tg)
{
    const struct pid_ns *ns = tg->pid->ns;
    return unlikely(ns->level > 0) && ns->init == tg && !tg->mortal;
}

bool signal_spares(const struct thread_group *tg, int sig)
{
    return is_spared_init(tg) && !(SIG_BIT(sig) & SIG_MASK_UNBLOCKABLE);
}

static bool is_ignored(struct thread_group *tg, struct task *t, int sig, bool forced)
{
    /* A blocked signal may be wanted by the time it is taken. */
    if (t && ((t->blocked | t->real_blocked) & SIG_BIT(sig)))
        return false;
    /* A tracer hears even of those. */
    if (t && t->ptrace.tracer && sig != SIGKILL)
        return false;
    gva_t handler = handler_of(tg, sig);
    /* Nothing in a pid namespace ends or stops its init, unless init asked for it. */
    bool unblockable = SIG_BIT(sig) & SIG_MASK_UNBLOCKABLE;
    if (handler == HANDLER_DFL && is_spared_init(tg) && !(forced && unblockable))
        return true;
    return action_ignores(handler, sig);
}

/* Stop and continue cancel each other at once, whatever becomes of the signal itself. */
static bool prepare(struct thread_group *tg, struct task *t, int sig, bool forced)
{
    if (tg->group_exit)
        return false;
    if (SIG_BIT(sig) & SIG_MASK_STOP) {
        drop_everywhere(tg, SIG_BIT(SIGCONT));
    } else if (sig == SIGCONT) {
        drop_everywhere(tg, SIG_MASK_STOP);
        stop_continue(tg, true);
    }
    return !is_ignored(tg, t ? t : tg->leader, sig, forced);
}

static int enqueue(struct thread_group *tg, struct sigpending *sp, int sig, const siginfo_t *info)
{
    struct kernel *k = tg->kernel;
    uint64_t limit;
    {
        MUTEX_GUARD(&tg->limits_lock);
        limit = tg->limits[RLIMIT_SIGPENDING].rlim_cur;
    }
    int count = atomic_fetch_add_explicit(&k->sigqueued, 1, memory_order_relaxed);
    struct sigqueue *q = NULL;
    /* A signal that the kernel or kill(2) sends gets through without its details. */
    if (sig < SIG_REALTIME_FIRST || (uint64_t)count < limit)
        q = calloc(1, sizeof(*q));
    if (!q) {
        atomic_fetch_sub_explicit(&k->sigqueued, 1, memory_order_relaxed);
        if (sig >= SIG_REALTIME_FIRST && info->si_code != SI_USER)
            return -EAGAIN;
        return 0;
    }
    q->info = *info;
    list_add_tail(&sp->queue, &q->link);
    return 0;
}

static bool wants(struct task *t, int sig)
{
    if (t->exiting || (t->blocked & SIG_BIT(sig)))
        return false;
    return sig == SIGKILL || !(atomic_load(&t->work) & TASK_WORK_SIGNAL);
}

static struct task *choose(struct thread_group *tg, struct task *t, int sig)
{
    if (t)
        return !t->exiting && !(t->blocked & SIG_BIT(sig)) ? t : NULL;
    if (tg->leader && wants(tg->leader, sig))
        return tg->leader;
    struct task *other, *second = NULL;
    list_for_each (other, &tg->tasks, group_link) {
        if (wants(other, sig))
            return other;
        if (!second && !other->exiting && !(other->blocked & SIG_BIT(sig)))
            second = other;
    }
    /* All who could are busy with another signal: they come round. */
    return second;
}

static bool is_fatal_at_once(struct thread_group *tg, struct task *t, int sig)
{
    if (sig == SIGKILL)
        return true;
    if (t->ptrace.tracer)
        return false;
    if (handler_of(tg, sig) != HANDLER_DFL || (t->real_blocked & SIG_BIT(sig)))
        return false;
    const sigset64_t dumps_core = SIG_MASK_SYNCHRONOUS | SIG_BIT(SIGQUIT) | SIG_BIT(SIGABRT) |
                                  SIG_BIT(SIGXCPU) | SIG_BIT(SIGXFSZ);
    return !(SIG_BIT(sig) & (SIG_MASK_DEFAULT_IGNORE | SIG_MASK_STOP | dumps_core));
}

static void complete(struct thread_group *tg, struct task *t, int sig)
{
    struct task *chosen = choose(tg, t, sig);
    if (!chosen)
        return;
    if (is_fatal_at_once(tg, chosen, sig))
        group_exit_locked(tg, sig);
    else
        task_kick(chosen, TASK_WORK_SIGNAL);
}

uid_t signal_uid_for(struct thread_group *tg, uid_t uid)
{
    struct kernel *k = tg->kernel;
    struct task *any = tg->leader ? tg->leader : list_first(&tg->tasks, struct task, group_link);
    if (likely(atomic_load(&k->namespaces) == 0) || !any)
        return uid;
    const struct cred *cred = task_get_cred(any);
    uid = id_shown(cred->user_ns, ID_UID, uid);
    cred_put(cred);
    return uid;
}

/* What the receiver calls the sender, where they live in different namespaces. Returns whether the
 * signal comes from outside: the kernel, or a pid namespace above. */
static bool translate_sender(struct thread_group *tg, siginfo_t *info)
{
    struct task *me = task_current();
    if (info->si_code == SI_KERNEL)
        return true;
    bool named = info->si_code == SI_USER || info->si_code == SI_QUEUE || info->si_code == SI_TKILL;
    if (likely(atomic_load(&tg->kernel->namespaces) == 0) || !me)
        return !me;
    bool outside = pid_nr_in(me->tg->pid, tg->pid->ns) == 0;
    if (named) {
        uid_t uid = id_in(me->cred->user_ns, ID_UID, info->si_uid);
        info->si_uid = signal_uid_for(tg, uid);
        if (outside)
            info->si_pid = 0;
    }
    return outside;
}

int signal_send_locked(struct thread_group *tg, struct task *t, int sig, const siginfo_t *given)
{
    lock_assert_held(&tg->sighand_lock);
    siginfo_t copy = *given, *info = &copy;
    bool forced = translate_sender(tg, info);
    if (!prepare(tg, t, sig, forced))
        return 0;
    struct sigpending *sp = t ? &t->pending : &tg->shared_pending;
    if (sig < SIG_REALTIME_FIRST && (sp->set & SIG_BIT(sig)))
        return 0;
    int err = enqueue(tg, sp, sig, info);
    if (err)
        return err;
    sp->set |= SIG_BIT(sig);
    wait_wake(&tg->signal_wait, POLLIN);
    complete(tg, t, sig);
    return 0;
}

enum timer_sent signal_send_timer(struct thread_group *tg, struct task *t, struct sigqueue *q)
{
    lock_assert_held(&tg->sighand_lock);
    int sig = q->info.si_signo;
    if (!list_empty(&q->link))
        return TIMER_STILL_QUEUED;
    if (!prepare(tg, t, sig, false))
        return TIMER_IGNORED;
    struct sigpending *sp = t ? &t->pending : &tg->shared_pending;
    list_add_tail(&sp->queue, &q->link);
    sp->set |= SIG_BIT(sig);
    wait_wake(&tg->signal_wait, POLLIN);
    complete(tg, t, sig);
    return TIMER_QUEUED;
}

bool signal_unqueue_timer(struct thread_group *tg, struct task *t, struct sigqueue *q)
{
    lock_assert_held(&tg->sighand_lock);
    if (list_empty(&q->link))
        return false;
    struct sigpending *sp = t ? &t->pending : &tg->shared_pending;
    list_del(&q->link);
    struct sigqueue *other;
    list_for_each (other, &sp->queue, link) {
        if (other->info.si_signo == q->info.si_signo)
            return true;
    }
    sp->set &= ~SIG_BIT(q->info.si_signo);
    return true;
}

int signal_send_task(struct task *t, int sig, const siginfo_t *info)
{
    MUTEX_GUARD(&t->tg->sighand_lock);
    if (t->exiting && list_empty(&t->group_link))
        return -ESRCH;
    return signal_send_locked(t->tg, t, sig, info);
}

int signal_send_group(struct thread_group *tg, int sig, const siginfo_t *info)
{
    MUTEX_GUARD(&tg->sighand_lock);
    return signal_send_locked(tg, NULL, sig, info);
}

int signal_send_pgrp(struct process_group *pg, int sig, const siginfo_t *info)
{
    int err = -ESRCH;
    struct thread_group *tg;
    list_for_each (tg, &pg->members, pgrp_link) {
        int e = signal_send_group(tg, sig, info);
        if (err)
            err = e;
    }
    return err;
}

void signal_force(struct task *t, const siginfo_t *info)
{
    struct thread_group *tg = t->tg;
    int sig = info->si_signo;
    MUTEX_GUARD(&tg->sighand_lock);
    bool blocked = t->blocked & SIG_BIT(sig);
    {
        MUTEX_GUARD(&tg->sighand->lock);
        struct k_sigaction *act = &tg->sighand->action[sig - 1];
        if (blocked || act->handler == HANDLER_IGN)
            act->handler = HANDLER_DFL;
        if (act->handler == HANDLER_DFL)
            tg->mortal = true;
    }
    t->blocked &= ~SIG_BIT(sig);
    signal_send_locked(tg, t, sig, info);
    signal_recalc(t);
}

void signal_send_self(struct task *t, int sig)
{
    siginfo_t info;
    siginfo_user(&info, sig, t, SI_USER);
    signal_send_task(t, sig, &info);
}

void siginfo_kernel(siginfo_t *info, int sig)
{
    memset(info, 0, sizeof(*info));
    info->si_signo = sig;
    info->si_code = SI_KERNEL;
}

void siginfo_user(siginfo_t *info, int sig, struct task *sender, int code)
{
    memset(info, 0, sizeof(*info));
    info->si_signo = sig;
    info->si_code = code;
    info->si_pid = sender->tg->own_tgid;
    info->si_uid = id_shown(sender->cred->user_ns, ID_UID, sender->cred->uid);
}

int signal_permission(struct task *t, struct task *target, int sig)
{
    if (t->tg == target->tg)
        return 0;
    const struct cred *mine = t->cred, *theirs = task_get_cred(target);
    bool ok = mine->euid == theirs->suid || mine->euid == theirs->uid ||
              mine->uid == theirs->suid || mine->uid == theirs->uid ||
              cred_capable_in(mine, theirs->user_ns, CAP_KILL);
    cred_put(theirs);
    if (ok)
        return 0;
    if (sig == SIGCONT && thread_group_sid(t->tg) == thread_group_sid(target->tg))
        return 0;
    return -EPERM;
}

/* ---- the end of a process ---- */

void group_exit_locked(struct thread_group *tg, int wait_status)
{
    lock_assert_held(&tg->sighand_lock);
    if (!tg->group_exit) {
        tg->group_exit = true;
        tg->exit_code = wait_status;
        stop_continue(tg, false);
    }
    struct task *t;
    list_for_each (t, &tg->tasks, group_link) {
        if (!t->exiting)
            task_kick(t, TASK_WORK_EXIT);
    }
}

void group_exit(struct thread_group *tg, int wait_status)
{
    MUTEX_GUARD(&tg->sighand_lock);
    group_exit_locked(tg, wait_status);
}

/* ---- masks and actions of the own thread ---- */

/* A newly blocked signal of the process may have been meant for us: somebody else takes it. */
static void retarget(struct task *t, sigset64_t newly_blocked)
{
    sigset64_t moved = t->tg->shared_pending.set & newly_blocked;
    struct task *other;
    list_for_each (other, &t->tg->tasks, group_link) {
        if (!moved)
            break;
        if (other == t || other->exiting || !(moved & ~other->blocked))
            continue;
        moved &= other->blocked;
        task_kick(other, TASK_WORK_SIGNAL);
    }
}

static void set_blocked_locked(struct task *t, sigset64_t mask)
{
    mask &= ~SIG_MASK_UNBLOCKABLE;
    sigset64_t newly = mask & ~t->blocked;
    t->blocked = mask;
    if (newly && t->tg->live_tasks > 1)
        retarget(t, newly);
    signal_recalc(t);
}

void signal_set_blocked(struct task *t, sigset64_t mask)
{
    MUTEX_GUARD(&t->tg->sighand_lock);
    set_blocked_locked(t, mask);
}

void signal_set_temporary_mask(struct task *t, sigset64_t mask)
{
    MUTEX_GUARD(&t->tg->sighand_lock);
    t->saved_mask = t->blocked;
    t->restore_mask = true;
    set_blocked_locked(t, mask);
}

void signal_restore_mask(struct task *t)
{
    if (!t->restore_mask)
        return;
    MUTEX_GUARD(&t->tg->sighand_lock);
    t->restore_mask = false;
    set_blocked_locked(t, t->saved_mask);
}

#define SA_KERNEL_FLAGS                                                                            \
    (SA_NOCLDSTOP | SA_NOCLDWAIT | SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER |             \
     SA_RESETHAND | 0x04000000 /* SA_RESTORER */ | 0x00000800 /* SA_EXPOSE_TAGBITS */)

int signal_set_action(struct task *t, int sig, const struct k_sigaction *act,
                      struct k_sigaction *old)
{
    if (sig < 1 || sig > SIG_MAX || (act && (SIG_BIT(sig) & SIG_MASK_UNBLOCKABLE)))
        return -EINVAL;
    struct thread_group *tg = t->tg;
    MUTEX_GUARD(&tg->sighand_lock);
    bool ignores = false;
    {
        MUTEX_GUARD(&tg->sighand->lock);
        struct k_sigaction *slot = &tg->sighand->action[sig - 1];
        if (old)
            *old = *slot;
        if (act) {
            *slot = *act;
            slot->flags &= (uint32_t)SA_KERNEL_FLAGS;
            slot->mask &= ~SIG_MASK_UNBLOCKABLE;
            ignores = action_ignores(act->handler, sig);
        }
    }
    /* POSIX: setting a signal to be ignored discards it, blocked or not. */
    if (ignores) {
        drop_everywhere(tg, SIG_BIT(sig));
        signal_recalc(t);
    }
    return 0;
}

void signal_reset_actions(struct task *t)
{
    struct sighand *sh = t->tg->sighand;
    MUTEX_GUARD(&sh->lock);
    for (int i = 0; i < SIG_MAX; i++) {
        gva_t handler = sh->action[i].handler == HANDLER_IGN ? HANDLER_IGN : HANDLER_DFL;
        sh->action[i] = (struct k_sigaction){.handler = handler};
    }
}
