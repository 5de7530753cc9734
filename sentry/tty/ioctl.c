/*
 * What terminals are asked by ioctl. See ioctl_tty(2).
 */
#include "sentry/fs/devpts/devpts.h"
#include "sentry/kernel/kernel.h"
#include "sentry/tty/tty.h"
#include <linux/capability.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>

#define OLD_TERMIOS_SIZE 36 /* struct termios: a termios2 without the speeds */

/* ---- modes ---- */

static const speed_t speeds[] = {0,   50,   75,   110,  134,  150,  200,   300,
                                 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400};
static const speed_t high_speeds[] = {0,       57600,   115200,  230400,  460800,  500000,
                                      576000,  921600,  1000000, 1152000, 1500000, 2000000,
                                      2500000, 3000000, 3500000, 4000000};

static speed_t speed_of(tcflag_t bits, speed_t other)
{
    bits &= CBAUD;
    if (bits == BOTHER)
        return other;
    return bits & CBAUDEX ? high_speeds[bits & 15] : speeds[bits & 15];
}

static void settle_speeds(struct termios2 *tio)
{
    tcflag_t in = tio->c_cflag >> IBSHIFT & CBAUD;
    speed_t out = speed_of(tio->c_cflag, tio->c_ospeed);
    tio->c_ispeed = in == B0 ? out : speed_of(in, tio->c_ispeed);
    tio->c_ospeed = out;
}

static bool has_flow_control(const struct termios2 *tio)
{
    return tio->c_iflag & IXON && tio->c_cc[VSTOP] == 023 && tio->c_cc[VSTART] == 021;
}

static void apply_modes(struct tty *tty, const struct termios2 *new)
{
    struct termios2 old = tty->termios;
    tty->termios = *new;
    tty->termios.c_cflag = (new->c_cflag & ~(tcflag_t)(CSIZE | PARENB)) | CS8 | CREAD;
    settle_speeds(&tty->termios);
    tty_input_changed(tty, &old);
    bool flow = has_flow_control(&tty->termios);
    if (flow != has_flow_control(&old))
        tty_packet_event(tty, flow ? TIOCPKT_DOSTOP : TIOCPKT_NOSTOP,
                         TIOCPKT_DOSTOP | TIOCPKT_NOSTOP);
    if ((old.c_lflag | new->c_lflag) & EXTPROC)
        tty_packet_event(tty, TIOCPKT_IOCTL, 0);
    wait_wake(&tty->slave_queue, POLLIN | POLLRDNORM);
}

static long set_modes(struct tty *tty, struct task *t, uint64_t arg, size_t size, bool flush)
{
    struct termios2 new;
    int err = tty_check_change(tty, t, SIGTTOU);
    if (err)
        return err;
    {
        MUTEX_GUARD(&tty->lock);
        new = tty->termios;
    }
    if (mm_copy_in(t->mm, &new, arg, size))
        return -EFAULT;
    MUTEX_GUARD(&tty->lock);
    if (flush)
        tty_input_flush(tty);
    apply_modes(tty, &new);
    return 0;
}

static long get_modes(struct tty *tty, struct task *t, uint64_t arg, size_t size)
{
    struct termios2 now;
    {
        MUTEX_GUARD(&tty->lock);
        now = tty->termios;
    }
    return mm_copy_out(t->mm, arg, &now, size);
}

/* ---- size ---- */

void tty_set_winsize(struct tty *tty, const struct tty_winsize *ws)
{
    {
        MUTEX_GUARD(&tty->lock);
        if (memcmp(&tty->winsize, ws, sizeof(*ws)) == 0)
            return;
        tty->winsize = *ws;
    }
    tty_signal_foreground(tty, SIGWINCH);
}

static long winsize(struct tty *tty, struct task *t, unsigned cmd, uint64_t arg)
{
    struct tty_winsize ws;
    if (cmd == TIOCSWINSZ) {
        if (MM_COPY_IN(t->mm, &ws, arg))
            return -EFAULT;
        tty_set_winsize(tty, &ws);
        return 0;
    }
    {
        MUTEX_GUARD(&tty->lock);
        ws = tty->winsize;
    }
    return MM_COPY_OUT(t->mm, arg, &ws);
}

/* ---- flow and flushing ---- */

static long flush(struct tty *tty, struct task *t, bool master, uint64_t what)
{
    int err = tty_check_change(tty, t, SIGTTOU);
    if (err)
        return err;
    if (what > TCIOFLUSH)
        return -EINVAL;
    bool in = what != TCOFLUSH, out = what != TCIFLUSH;
    MUTEX_GUARD(&tty->lock);
    if (master) {
        if (in)
            tty->output.tail = tty->output.head;
        if (out)
            tty->pending.tail = tty->pending.head;
        wait_wake(&tty->slave_queue, POLLOUT | POLLWRNORM);
    } else {
        if (in)
            tty_input_flush(tty);
        if (out)
            tty_output_flush(tty);
    }
    wait_wake(&tty->master_queue, POLLOUT | POLLWRNORM);
    return 0;
}

static long flow(struct tty *tty, struct task *t, uint64_t what)
{
    int err = tty_check_change(tty, t, SIGTTOU);
    if (err)
        return err;
    MUTEX_GUARD(&tty->lock);
    unsigned char c = 0;
    switch (what) {
    case TCOOFF:
        tty_stop(tty);
        tty->held = true;
        return 0;
    case TCOON:
        if (tty->held)
            tty_start(tty);
        return 0;
    case TCIOFF:
    case TCION:
        c = tty->termios.c_cc[what == TCIOFF ? VSTOP : VSTART];
        if (c && ring_room(&tty->output)) {
            ring_put(&tty->output, c);
            wait_wake(&tty->master_queue, POLLIN | POLLRDNORM);
        }
        return 0;
    default:
        return -EINVAL;
    }
}

static long count(struct tty *tty, struct task *t, bool master, uint64_t arg)
{
    int n;
    {
        MUTEX_GUARD(&tty->lock);
        n = (int)(master ? ring_used(&tty->output) : tty_input_count(tty));
    }
    return MM_COPY_OUT(t->mm, arg, &n);
}

/* ---- flags ---- */

/* A bool of the terminal's, read or set by the application. */
static long get_flag(struct tty *tty, struct task *t, const bool *flag, uint64_t arg)
{
    int on;
    {
        MUTEX_GUARD(&tty->lock);
        on = *flag;
    }
    return MM_COPY_OUT(t->mm, arg, &on);
}

static long set_flag(struct tty *tty, struct task *t, bool *flag, uint64_t arg)
{
    int on;
    if (MM_COPY_IN(t->mm, &on, arg))
        return -EFAULT;
    MUTEX_GUARD(&tty->lock);
    if (flag == &tty->packet && on && !tty->packet)
        tty->packet_status = 0;
    *flag = on;
    return 0;
}

static long set_exclusive(struct tty *tty, bool on)
{
    MUTEX_GUARD(&tty->lock);
    tty->exclusive = on;
    return 0;
}

static long master_signal(struct tty *tty, uint64_t sig)
{
    if (sig != SIGINT && sig != SIGQUIT && sig != SIGTSTP)
        return -EINVAL;
    tty_signal_foreground(tty, (int)sig);
    return 0;
}

static long master_only(struct tty *tty, struct task *t, unsigned cmd, uint64_t arg)
{
    unsigned n = tty->index;
    switch (cmd) {
    case TIOCSPTLCK:
        return set_flag(tty, t, &tty->locked, arg);
    case TIOCGPTLCK:
        return get_flag(tty, t, &tty->locked, arg);
    case TIOCPKT:
        return set_flag(tty, t, &tty->packet, arg);
    case TIOCGPKT:
        return get_flag(tty, t, &tty->packet, arg);
    case TIOCGPTN:
        return MM_COPY_OUT(t->mm, arg, &n);
    case TIOCSIG:
        return master_signal(tty, arg);
    default:
        return -ENOTTY;
    }
}

static long put_int(struct task *t, uint64_t arg, unsigned value)
{
    return MM_COPY_OUT(t->mm, arg, &value);
}

static long line_number(struct task *t, uint64_t arg)
{
    int n;
    if (MM_COPY_IN(t->mm, &n, arg))
        return -EFAULT;
    return n == 0 ? 0 : -EINVAL;
}

static bool hung_up(struct tty *tty)
{
    MUTEX_GUARD(&tty->lock);
    return !tty->master_open;
}

long tty_ioctl(struct tty *tty, struct file *f, struct task *t, bool master, unsigned cmd,
               uint64_t arg)
{
    if (!master && hung_up(tty))
        return cmd == TIOCSPGRP ? -ENOTTY : -EIO;
    switch (cmd) {
    case TCGETS:
        return get_modes(tty, t, arg, OLD_TERMIOS_SIZE);
    case TCGETS2:
        return get_modes(tty, t, arg, sizeof(struct termios2));
    case TCSETS:
    case TCSETSW:
    case TCSETSF:
        return set_modes(tty, t, arg, OLD_TERMIOS_SIZE, cmd == TCSETSF);
    case TCSETS2:
    case TCSETSW2:
    case TCSETSF2:
        return set_modes(tty, t, arg, sizeof(struct termios2), cmd == TCSETSF2);
    case TIOCGWINSZ:
    case TIOCSWINSZ:
        return winsize(tty, t, cmd, arg);
    case TCFLSH:
        return flush(tty, t, master, arg);
    case TCXONC:
        return flow(tty, t, arg);
    case TCSBRK: /* output is never behind, and there is no line to break */
    case TCSBRKP:
        return tty_check_change(tty, t, SIGTTOU);
    case FIONREAD:
        return count(tty, t, master, arg);
    case TIOCOUTQ:
        return put_int(t, arg, 0);
    case TIOCGPGRP:
    case TIOCGSID:
        return tty_get_group(tty, t, master, cmd, arg);
    case TIOCSPGRP:
        return tty_set_group(tty, t, arg);
    case TIOCSCTTY:
        return tty_set_controlling(tty, t, f, arg);
    case TIOCNOTTY:
        return master ? -ENOTTY : tty_give_up(tty, t);
    case TIOCEXCL:
    case TIOCNXCL:
        return set_exclusive(tty, cmd == TIOCEXCL);
    case TIOCGEXCL:
        return get_flag(tty, t, &tty->exclusive, arg);
    case TIOCGETD:
        return put_int(t, arg, 0);
    case TIOCSETD:
        return line_number(t, arg);
    case TIOCGDEV:
        return put_int(t, arg, (unsigned)makedev(TTY_SLAVE_MAJOR, tty->index));
    case TIOCSTI: /* as with dev.tty.legacy_tiocsti = 0 */
        return -EIO;
    case TIOCGPTPEER:
        return master ? devpts_open_peer(tty, f, t, (int)arg) : -EIO;
    default:
        return master ? master_only(tty, t, cmd, arg) : -ENOTTY;
    }
}
