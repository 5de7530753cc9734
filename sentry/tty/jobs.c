/*
 * Controlling terminals: which session a terminal belongs to, and who may use it. See
 * credentials(7), tty_ioctl(4), "General Terminal Interface" in POSIX. All state here is
 * TASK_TREE's.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include "sentry/tty/tty.h"
#include <linux/capability.h>
#include <sys/ioctl.h>

/* TASK_TREE held. */
static struct tty *controlling(const struct thread_group *tg)
{
    return tg->pgrp && !tg->gave_up_tty ? tg->pgrp->session->tty : NULL;
}

static bool is_leader(const struct thread_group *tg)
{
    return tg->pgrp && tg->pgrp->session->pid->nr == tg->tgid;
}

struct tty *tty_of_task(struct task *t)
{
    MUTEX_GUARD(&t->kernel->tree_lock);
    struct tty *tty = controlling(t->tg);
    return tty ? tty_get(tty) : NULL;
}

bool tty_of_group(struct thread_group *tg, unsigned *device, pid_t *foreground)
{
    MUTEX_GUARD(&tg->kernel->tree_lock);
    struct tty *tty = controlling(tg);
    if (!tty)
        return false;
    *device = (tty->index & 0xff) | TTY_SLAVE_MAJOR << 8 | (tty->index & ~0xffu) << 12;
    *foreground = tty->foreground ? tty->foreground : -1;
    return true;
}

/* The foreground group, if it still has members. TASK_TREE held. */
static struct process_group *foreground_group(struct tty *tty)
{
    struct process_group *pg = tty->foreground ? pgrp_find(tty->kernel, tty->foreground) : NULL;
    return pg && pg->session == tty->session ? pg : NULL;
}

static void send_pgrp(struct process_group *pg, int sig)
{
    siginfo_t info;
    siginfo_kernel(&info, sig);
    (void)signal_send_pgrp(pg, sig, &info);
}

void tty_signal_foreground(struct tty *tty, int sig)
{
    MUTEX_GUARD(&tty->kernel->tree_lock);
    struct process_group *pg = foreground_group(tty);
    if (pg)
        send_pgrp(pg, sig);
}

static bool takes_no_notice(struct task *t, int sig)
{
    struct thread_group *tg = t->tg;
    MUTEX_GUARD(&tg->sighand_lock);
    if (t->blocked & SIG_BIT(sig))
        return true;
    MUTEX_GUARD(&tg->sighand->lock);
    return tg->sighand->action[sig - 1].handler == (gva_t)SIG_IGN;
}

int tty_check_change(struct tty *tty, struct task *t, int sig)
{
    MUTEX_GUARD(&t->kernel->tree_lock);
    struct process_group *pg = t->tg->pgrp;
    if (controlling(t->tg) != tty || !tty->foreground || pg->pid->nr == tty->foreground)
        return 0;
    if (takes_no_notice(t, sig))
        return sig == SIGTTIN ? -EIO : 0;
    if (pgrp_is_orphaned(pg, NULL))
        return -EIO;
    send_pgrp(pg, sig);
    return -ERESTARTSYS;
}

/* ---- getting and losing one ---- */

/* TASK_TREE held. */
static void attach(struct tty *tty, struct thread_group *tg)
{
    struct session *s = tg->pgrp->session;
    s->tty = tty_get(tty);
    s->hung_foreground = 0;
    tty->session = s;
    tty->foreground = tg->pgrp->pid->nr;
    tg->gave_up_tty = false;
}

/* TASK_TREE held. */
static void detach(struct session *s)
{
    struct tty *tty = s->tty;
    if (!tty)
        return;
    s->tty = NULL;
    tty->session = NULL;
    tty->foreground = 0;
    tty_put(tty);
}

void tty_acquire_at_open(struct tty *tty, struct task *t)
{
    MUTEX_GUARD(&t->kernel->tree_lock);
    if (is_leader(t->tg) && !t->tg->pgrp->session->tty && !tty->session)
        attach(tty, t->tg);
}

long tty_set_controlling(struct tty *tty, struct task *t, const struct file *f, uint64_t arg)
{
    struct thread_group *tg = t->tg;
    MUTEX_GUARD(&t->kernel->tree_lock);
    if (is_leader(tg) && tg->pgrp->session == tty->session)
        return 0;
    if (!is_leader(tg) || tg->pgrp->session->tty)
        return -EPERM;
    bool admin = task_capable(t, CAP_SYS_ADMIN);
    if (tty->session && !(arg == 1 && admin))
        return -EPERM;
    if (!f->readable && !admin)
        return -EPERM;
    if (tty->session)
        detach(tty->session);
    attach(tty, tg);
    return 0;
}

/* The leader lets go of its terminal, or is gone. TASK_TREE held. */
static void leave_terminal(struct session *s, bool exits)
{
    struct process_group *pg = foreground_group(s->tty);
    if (pg)
        send_pgrp(pg, SIGHUP);
    if (pg && !exits)
        send_pgrp(pg, SIGCONT);
    detach(s);
}

long tty_give_up(struct tty *tty, struct task *t)
{
    MUTEX_GUARD(&t->kernel->tree_lock);
    if (controlling(t->tg) != tty)
        return -ENOTTY;
    if (is_leader(t->tg))
        leave_terminal(t->tg->pgrp->session, false);
    else
        t->tg->gave_up_tty = true;
    return 0;
}

void tty_leader_exits(struct thread_group *tg)
{
    if (!is_leader(tg))
        return;
    struct session *s = tg->pgrp->session;
    if (s->tty) {
        leave_terminal(s, true);
        return;
    }
    struct process_group *pg =
        s->hung_foreground ? pgrp_find(tg->kernel, s->hung_foreground) : NULL;
    s->hung_foreground = 0;
    if (!pg || pg->session != s)
        return;
    send_pgrp(pg, SIGHUP);
    send_pgrp(pg, SIGCONT);
}

void tty_session_gone(struct session *s)
{
    detach(s);
}

void tty_hang_up_session(struct tty *tty)
{
    MUTEX_GUARD(&tty->kernel->tree_lock);
    struct session *s = tty->session;
    if (!s)
        return;
    struct thread_group *leader = s->pid->group;
    s->hung_foreground = tty->foreground;
    if (leader && !leader->zombie) {
        siginfo_t info;
        siginfo_kernel(&info, SIGHUP);
        (void)signal_send_group(leader, SIGHUP, &info);
        siginfo_kernel(&info, SIGCONT);
        (void)signal_send_group(leader, SIGCONT, &info);
    }
    detach(s);
}

/* ---- asking for groups ---- */

long tty_get_group(struct tty *tty, struct task *t, bool master, unsigned cmd, uint64_t arg)
{
    pid_t nr;
    {
        MUTEX_GUARD(&t->kernel->tree_lock);
        if (!master && controlling(t->tg) != tty)
            return -ENOTTY;
        if (cmd == TIOCGSID && !tty->session)
            return -ENOTTY;
        nr = pid_out_locked(t, cmd == TIOCGSID ? tty->session->pid->nr : tty->foreground);
    }
    return MM_COPY_OUT(t->mm, arg, &nr);
}

long tty_set_group(struct tty *tty, struct task *t, uint64_t arg)
{
    pid_t nr;
    int err = tty_check_change(tty, t, SIGTTOU);
    if (err)
        return err == -EIO ? -ENOTTY : err;
    if (MM_COPY_IN(t->mm, &nr, arg))
        return -EFAULT;
    if (nr < 0)
        return -EINVAL;
    MUTEX_GUARD(&t->kernel->tree_lock);
    if (controlling(t->tg) != tty)
        return -ENOTTY;
    struct pid *pid = pid_lookup(task_pid_ns(t), nr);
    if (!pid)
        return -ESRCH;
    struct process_group *pg = pid->pgrp;
    if (!pg || pg->session != t->tg->pgrp->session)
        return -EPERM;
    tty->foreground = pid->nr;
    return 0;
}
