/*
 * The terminal: its modes are the host's, its session and process groups are the sandbox's.
 */
#include "sentry/fs/dev/drivers.h"
#include "sentry/fs/hostfd/hostfd.h"
#include "sentry/kernel/kernel.h"
#include <asm/termbits.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

int hostfd_register_tty(struct kernel *k, struct hostfd *h)
{
    struct host_tty *tty = calloc(1, sizeof(*tty)), *none = NULL;
    if (!tty)
        return -ENOMEM;
    mutex_init(&tty->lock, LOCK_TTY);
    tty->h = hostfd_get(h);
    if (!atomic_compare_exchange_strong(&k->tty, &none, tty)) {
        /* The first of the three standard streams that is a terminal is the controlling one. */
        hostfd_put(tty->h);
        mutex_destroy(&tty->lock);
        free(tty);
    }
    return 0;
}

void hostfd_release_tty(struct kernel *k)
{
    struct host_tty *tty = atomic_exchange(&k->tty, NULL);
    if (!tty)
        return;
    hostfd_put(tty->h);
    mutex_destroy(&tty->lock);
    free(tty);
}

/* The terminal begins as that of the first process's session. */
static void tty_state(struct kernel *k, struct host_tty *tty, pid_t *session, pid_t *foreground)
{
    mutex_lock(&tty->lock);
    bool fresh = !tty->session && !tty->foreground;
    *session = tty->session;
    *foreground = tty->foreground;
    mutex_unlock(&tty->lock);
    if (!fresh || !k->init)
        return;
    /* TASK_TREE comes before TTY. */
    pid_t sid = thread_group_sid(k->init), pgid = thread_group_pgid(k->init);
    mutex_lock(&tty->lock);
    if (!tty->session && !tty->foreground) {
        tty->session = sid;
        tty->foreground = pgid;
    }
    *session = tty->session;
    *foreground = tty->foreground;
    mutex_unlock(&tty->lock);
}

void hostfd_tty_of(struct kernel *k, pid_t session, unsigned *device, pid_t *foreground)
{
    struct host_tty *tty = k->tty;
    pid_t sid = 0, fg = -1;
    *device = 0;
    *foreground = -1;
    if (!tty)
        return;
    tty_state(k, tty, &sid, &fg);
    if (sid != session)
        return;
    *device = DEV_PTS_MAJOR << 8; /* /dev/pts/0, whatever the host calls it */
    *foreground = fg;
}

pid_t hostfd_foreground(struct kernel *k)
{
    struct host_tty *tty = k->tty;
    pid_t sid, fg;
    if (!tty)
        return 0;
    tty_state(k, tty, &sid, &fg);
    return fg;
}

int hostfd_open_tty(struct file *f, struct task *t)
{
    struct host_tty *tty = t->kernel->tty;
    pid_t sid, fg;
    if (!tty)
        return -ENXIO;
    tty_state(t->kernel, tty, &sid, &fg);
    if (thread_group_sid(t->tg) != sid)
        return -ENXIO;
    f->priv = hostfd_get(tty->h);
    f->ops = &hostfd_fops;
    f->stream = true;
    return 0;
}

/* ---- ioctls ---- */

/* Whether pgid is a process group of session sid that has members. */
static bool group_in_session(struct kernel *k, pid_t pgid, pid_t sid)
{
    bool found = false;
    struct thread_group *tg = thread_group_next(k, 1);
    while (tg && !found) {
        pid_t tgid = tg->tgid;
        found = thread_group_pgid(tg) == pgid && thread_group_sid(tg) == sid;
        thread_group_put(tg);
        tg = found ? NULL : thread_group_next(k, tgid + 1);
    }
    return found;
}

static long set_foreground(struct host_tty *tty, struct task *t, uint64_t arg)
{
    pid_t pgid, sid, fg;
    if (MM_COPY_IN(t->mm, &pgid, arg))
        return -EFAULT;
    tty_state(t->kernel, tty, &sid, &fg);
    if (thread_group_sid(t->tg) != sid)
        return -ENOTTY;
    if (pgid < 0)
        return -EINVAL;
    pgid = pid_in(t, pgid);
    if (!group_in_session(t->kernel, pgid, sid))
        return -EPERM;
    mutex_lock(&tty->lock);
    tty->foreground = pgid;
    mutex_unlock(&tty->lock);
    return 0;
}

static long get_group(struct host_tty *tty, struct task *t, unsigned cmd, uint64_t arg)
{
    pid_t sid, fg;
    tty_state(t->kernel, tty, &sid, &fg);
    if (thread_group_sid(t->tg) != sid)
        return -ENOTTY;
    pid_t nr = pid_out(t, cmd == TIOCGSID ? sid : fg);
    return MM_COPY_OUT(t->mm, arg, &nr);
}

static long set_controlling(struct host_tty *tty, struct task *t, uint64_t arg)
{
    pid_t sid, fg, own = thread_group_sid(t->tg);
    tty_state(t->kernel, tty, &sid, &fg);
    if (own != t->tg->tgid)
        return -EPERM;
    if (sid == own)
        return 0;
    if (sid && !(arg == 1 && task_capable(t, CAP_SYS_ADMIN)))
        return -EPERM;
    pid_t pgid = thread_group_pgid(t->tg);
    mutex_lock(&tty->lock);
    tty->session = own;
    tty->foreground = pgid;
    mutex_unlock(&tty->lock);
    return 0;
}

static long give_up(struct host_tty *tty, struct task *t)
{
    pid_t sid, fg;
    tty_state(t->kernel, tty, &sid, &fg);
    if (thread_group_sid(t->tg) != sid)
        return -ENOTTY;
    if (t->tg->tgid != sid)
        return 0; /* only this process loses it; the session keeps it */
    mutex_lock(&tty->lock);
    tty->session = 0;
    mutex_unlock(&tty->lock);
    return 0;
}

/* What is simply handed on: a structure read from or written to the application. */
static const struct {
    unsigned cmd;
    uint8_t size;
    bool in;
} forwarded[] = {
    {TCGETS, 36, false},
    {TCSETS, 36, true},
    {TCSETSW, 36, true},
    {TCSETSF, 36, true},
    {TCGETS2, sizeof(struct termios2), false},
    {TCSETS2, sizeof(struct termios2), true},
    {TCSETSW2, sizeof(struct termios2), true},
    {TCSETSF2, sizeof(struct termios2), true},
    {TIOCGWINSZ, 8, false},
    {TIOCSWINSZ, 8, true},
    {TIOCGETD, 4, false},
    {TIOCMGET, 4, false},
    {TIOCGEXCL, 4, false},
};

static long forward(struct hostfd *h, struct task *t, size_t row, uint64_t arg)
{
    char buf[64];
    if (forwarded[row].in && mm_copy_in(t->mm, buf, arg, forwarded[row].size))
        return -EFAULT;
    if (ioctl(h->fd, forwarded[row].cmd, buf) < 0)
        return -errno;
    return forwarded[row].in ? 0 : mm_copy_out(t->mm, arg, buf, forwarded[row].size);
}

long hostfd_tty_ioctl(struct hostfd *h, struct task *t, unsigned cmd, uint64_t arg)
{
    struct host_tty *tty = t->kernel->tty;
    for (size_t k = 0; k < ARRAY_SIZE(forwarded); k++) {
        if (forwarded[k].cmd == cmd)
            return forward(h, t, k, arg);
    }
    switch (cmd) {
    case TCSBRK:
    case TCSBRKP:
    case TCXONC:
    case TCFLSH:
        return ioctl(h->fd, cmd, arg) < 0 ? -errno : 0;
    case TIOCGPGRP:
    case TIOCGSID:
        return tty ? get_group(tty, t, cmd, arg) : -ENOTTY;
    case TIOCSPGRP:
        return tty ? set_foreground(tty, t, arg) : -ENOTTY;
    case TIOCSCTTY:
        return tty ? set_controlling(tty, t, arg) : -EPERM;
    case TIOCNOTTY:
        return tty ? give_up(tty, t) : -ENOTTY;
    case TIOCSTI: /* would type into the caller's shell */
        return -EPERM;
    default:
        return -ENOTTY;
    }
}
