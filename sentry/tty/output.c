/*
 * The line discipline's output side, and echoes. See termios(3).
 */
#include "sentry/tty/tty.h"
#include <ctype.h>
#include <string.h>

/* Linux hands the first bytes to the master at once, where nothing can take them back. */
#define OUTPUT_BEYOND_FLUSH 4096u

size_t ring_write(struct tty_ring *r, const void *buf, size_t n, unsigned limit)
{
    unsigned used = ring_used(r);
    size_t room = used < limit ? limit - used : 0;
    n = MIN(n, room);
    for (size_t done = 0; done < n;) {
        unsigned at = r->head & (r->size - 1);
        size_t part = MIN(n - done, (size_t)(r->size - at));
        memcpy(r->data + at, (const char *)buf + done, part);
        r->head += (unsigned)part;
        done += part;
    }
    return n;
}

size_t ring_read(struct tty_ring *r, void *buf, size_t n)
{
    n = MIN(n, (size_t)ring_used(r));
    for (size_t done = 0; done < n;) {
        unsigned at = r->tail & (r->size - 1);
        size_t part = MIN(n - done, (size_t)(r->size - at));
        memcpy((char *)buf + done, r->data + at, part);
        r->tail += (unsigned)part;
        done += part;
    }
    return n;
}

static bool put(struct tty_ring *to, unsigned limit, const char *s, unsigned n)
{
    if (ring_used(to) + n > limit)
        return false;
    while (n--)
        ring_put(to, (unsigned char)*s++);
    return true;
}

static bool put_newline(struct tty *tty, struct tty_ring *to, unsigned limit)
{
    tcflag_t o = tty->termios.c_oflag;
    bool pair = o & ONLCR;
    if (!put(to, limit, pair ? "\r\n" : "\n", pair ? 2 : 1))
        return false;
    if (o & (ONLRET | ONLCR))
        tty->column = 0;
    tty->line_column = tty->column;
    return true;
}

static bool put_return(struct tty *tty, struct tty_ring *to, unsigned limit)
{
    tcflag_t o = tty->termios.c_oflag;
    if (o & ONOCR && tty->column == 0)
        return true;
    if (!put(to, limit, o & OCRNL ? "\n" : "\r", 1))
        return false;
    if (!(o & OCRNL) || o & ONLRET)
        tty->column = tty->line_column = 0;
    return true;
}

static bool put_tab(struct tty *tty, struct tty_ring *to, unsigned limit)
{
    unsigned columns = 8 - (tty->column & 7);
    bool spaces = (tty->termios.c_oflag & TABDLY) == XTABS;
    if (!put(to, limit, spaces ? "        " : "\t", spaces ? columns : 1))
        return false;
    tty->column += columns;
    return true;
}

bool tty_output_char(struct tty *tty, unsigned char c, struct tty_ring *to, unsigned limit)
{
    if (tty->termios.c_oflag & OPOST) {
        if (c == '\n')
            return put_newline(tty, to, limit);
        if (c == '\r')
            return put_return(tty, to, limit);
        if (c == '\t')
            return put_tab(tty, to, limit);
        if (tty->termios.c_oflag & OLCUC)
            c = (unsigned char)toupper(c);
    }
    if (!put(to, limit, (const char *)&c, 1))
        return false;
    if (!(tty->termios.c_oflag & OPOST))
        return true;
    bool continues = tty->termios.c_iflag & IUTF8 && (c & 0xc0) == 0x80;
    if (c == '\b')
        tty->column -= tty->column > 0;
    else if (c >= 32 && c != 127 && !continues)
        tty->column++;
    return true;
}

size_t tty_output_write(struct tty *tty, const unsigned char *buf, size_t n)
{
    size_t done = 0;
    if (tty->stopped)
        return 0;
    if (!(tty->termios.c_oflag & OPOST))
        done = ring_write(&tty->output, buf, n, TTY_OUTPUT_LIMIT);
    else
        while (done < n && tty_output_char(tty, buf[done], &tty->output, TTY_OUTPUT_LIMIT))
            done++;
    if (done)
        wait_wake(&tty->master_queue, POLLIN | POLLRDNORM);
    return done;
}

/* ---- echoes: what finds no room is lost ---- */

static struct tty_ring *echo_to(struct tty *tty)
{
    return tty->stopped ? &tty->echo : &tty->output;
}

static void echoed(struct tty *tty)
{
    if (!tty->stopped)
        wait_wake(&tty->master_queue, POLLIN | POLLRDNORM);
}

void tty_echo_verbatim(struct tty *tty, unsigned char c)
{
    struct tty_ring *to = echo_to(tty);
    if (ring_room(to))
        ring_put(to, c);
    echoed(tty);
}

void tty_echo_raw(struct tty *tty, unsigned char c)
{
    struct tty_ring *to = echo_to(tty);
    (void)tty_output_char(tty, c, to, to->size);
    echoed(tty);
}

void tty_echo_char(struct tty *tty, unsigned char c)
{
    bool control = c < 32 || c == 127;
    if (!(tty->termios.c_lflag & ECHOCTL) || !control || c == '\t') {
        tty_echo_raw(tty, c);
        return;
    }
    tty_echo_verbatim(tty, '^');
    tty_echo_verbatim(tty, c ^ 0100);
    tty->column += 2;
}

/* ---- stopping and flushing ---- */

void tty_packet_event(struct tty *tty, uint8_t set, uint8_t clear)
{
    if (!tty->packet)
        return;
    tty->packet_status = (uint8_t)((tty->packet_status & ~clear) | set);
    wait_wake(&tty->master_queue, POLLIN | POLLRDNORM | POLLPRI);
}

void tty_stop(struct tty *tty)
{
    if (tty->stopped)
        return;
    tty->stopped = true;
    tty_packet_event(tty, TIOCPKT_STOP, TIOCPKT_START);
}

void tty_start(struct tty *tty)
{
    if (!tty->stopped)
        return;
    tty->stopped = tty->held = false;
    tty_packet_event(tty, TIOCPKT_START, TIOCPKT_STOP);
    while (ring_used(&tty->echo) && ring_room(&tty->output))
        ring_put(&tty->output, ring_take(&tty->echo));
    tty->echo.tail = tty->echo.head;
    wait_wake(&tty->master_queue, POLLIN | POLLRDNORM);
    wait_wake(&tty->slave_queue, POLLOUT | POLLWRNORM);
}

void tty_output_flush(struct tty *tty)
{
    if (ring_used(&tty->output) > OUTPUT_BEYOND_FLUSH)
        tty->output.head = tty->output.tail + OUTPUT_BEYOND_FLUSH;
    tty_packet_event(tty, TIOCPKT_FLUSHWRITE, 0);
    wait_wake(&tty->slave_queue, POLLOUT | POLLWRNORM);
}
