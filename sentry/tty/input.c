/*
 * The line discipline's input side: from what the master wrote to what the slave reads. See
 * termios(3).
 *
 *   input:  in_tail ... lines ... in_lines ... line being typed ... in_head
 *
 * In canonical mode a bit in line_ends marks each byte that ends a line; VEOF is such a byte, 0,
 * that readers do not get to see.
 */
#include "sentry/tty/tty.h"
#include <ctype.h>
#include <string.h>

#define NO_CHAR 0u /* _POSIX_VDISABLE */

static bool iflag(const struct tty *tty, tcflag_t bit)
{
    return tty->termios.c_iflag & bit;
}
static bool lflag(const struct tty *tty, tcflag_t bit)
{
    return tty->termios.c_lflag & bit;
}
static bool is_cc(const struct tty *tty, int which, unsigned char c)
{
    return c != NO_CHAR && tty->termios.c_cc[which] == c;
}
static bool is_control(unsigned char c)
{
    return c < 32 || c == 127;
}
/* A later byte of a multi-byte character. */
static bool is_continuation(const struct tty *tty, unsigned char c)
{
    return iflag(tty, IUTF8) && (c & 0xc0) == 0x80;
}
static unsigned char *slot(struct tty *tty, unsigned at)
{
    return &tty->input[at % TTY_INPUT_SIZE];
}

static void mark(struct tty *tty, unsigned at, bool on)
{
    uint64_t bit = 1ull << at % 64, *word = &tty->line_ends[at % TTY_INPUT_SIZE / 64];
    *word = on ? *word | bit : *word & ~bit;
}
static bool is_marked(const struct tty *tty, unsigned at)
{
    return tty->line_ends[at % TTY_INPUT_SIZE / 64] >> at % 64 & 1;
}

void tty_input_init(struct tty *tty)
{
    tty->termios = (struct termios2){
        .c_iflag = ICRNL | IXON,
        .c_oflag = OPOST | ONLCR,
        .c_cflag = B38400 | CS8 | CREAD,
        .c_lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
        .c_cc = {[VINTR] = 003,
                 [VQUIT] = 034,
                 [VERASE] = 0177,
                 [VKILL] = 025,
                 [VEOF] = 004,
                 [VMIN] = 1,
                 [VSTART] = 021,
                 [VSTOP] = 023,
                 [VSUSP] = 032,
                 [VREPRINT] = 022,
                 [VDISCARD] = 017,
                 [VWERASE] = 027,
                 [VLNEXT] = 026},
        .c_ispeed = 38400,
        .c_ospeed = 38400,
    };
}

/* ---- putting ---- */

static void put(struct tty *tty, unsigned char c)
{
    mark(tty, tty->in_head, false);
    *slot(tty, tty->in_head++) = c;
}

/* With PARMRK, 0377 is an escape and is doubled. */
static void put_data(struct tty *tty, unsigned char c)
{
    if (c == 0377 && iflag(tty, PARMRK))
        put(tty, c);
    put(tty, c);
}

static void end_line(struct tty *tty, unsigned char c)
{
    put(tty, c);
    mark(tty, tty->in_head - 1, true);
    tty->in_lines = tty->in_head;
    tty->pushed = false;
}

/* ---- echoing and erasing ---- */

static void finish_erasing(struct tty *tty)
{
    if (tty->erasing)
        tty_echo_raw(tty, '/');
    tty->erasing = false;
}

static void echo_typed(struct tty *tty, unsigned char c)
{
    finish_erasing(tty);
    if (tty->in_lines == tty->in_head)
        tty->line_column = tty->column;
    tty_echo_char(tty, c);
}

static void rub_out(struct tty *tty, unsigned columns)
{
    while (columns--) {
        tty_echo_raw(tty, '\b');
        tty_echo_raw(tty, ' ');
        tty_echo_raw(tty, '\b');
    }
}

/* Back over a tab: to the column where what precedes it ends. */
static void rub_out_tab(struct tty *tty)
{
    unsigned columns = 0, at = tty->in_head;
    bool after_tab = false;
    while (at != tty->in_lines && !after_tab) {
        unsigned char c = *slot(tty, --at);
        if (c == '\t')
            after_tab = true;
        else if (is_control(c))
            columns += lflag(tty, ECHOCTL) ? 2 : 0;
        else if (!is_continuation(tty, c))
            columns++;
    }
    if (!after_tab)
        columns += tty->line_column;
    for (unsigned n = 8 - (columns & 7); n; n--)
        tty_echo_raw(tty, '\b');
}

/* What the screen shows of an erased character of n bytes, which is still behind in_head. */
static void echo_erased(struct tty *tty, unsigned char c, unsigned n, bool one)
{
    if (lflag(tty, ECHOPRT)) {
        if (!tty->erasing)
            tty_echo_raw(tty, '\\');
        tty->erasing = true;
        tty_echo_char(tty, c);
        for (unsigned k = 1; k < n; k++)
            tty_echo_verbatim(tty, *slot(tty, tty->in_head + k));
    } else if (one && !lflag(tty, ECHOE)) {
        tty_echo_char(tty, tty->termios.c_cc[VERASE]);
    } else if (c == '\t') {
        rub_out_tab(tty);
    } else if (is_control(c)) {
        rub_out(tty, lflag(tty, ECHOCTL) ? 2 : 0);
    } else {
        rub_out(tty, 1);
    }
}

enum erase { ERASE_CHAR, ERASE_WORD, ERASE_LINE };

static void erase(struct tty *tty, enum erase what)
{
    bool in_word = false;
    while (tty->in_head != tty->in_lines) {
        unsigned at = tty->in_head;
        unsigned char c;
        do
            c = *slot(tty, --at);
        while (is_continuation(tty, c) && at != tty->in_lines);
        if (is_continuation(tty, c))
            break;
        if (what == ERASE_WORD) {
            bool word = isalnum(c) || c == '_';
            if (!word && in_word)
                break;
            in_word |= word;
        }
        unsigned n = tty->in_head - at;
        tty->in_head = at;
        if (lflag(tty, ECHO))
            echo_erased(tty, c, n, what == ERASE_CHAR);
        if (what == ERASE_CHAR)
            break;
    }
    if (tty->in_head == tty->in_lines && lflag(tty, ECHO))
        finish_erasing(tty);
}

static void kill_line(struct tty *tty)
{
    if (tty->in_head == tty->in_lines)
        return;
    bool visibly = lflag(tty, ECHOK) && lflag(tty, ECHOKE) && lflag(tty, ECHOE);
    if (lflag(tty, ECHO) && visibly) {
        erase(tty, ERASE_LINE);
        return;
    }
    tty->in_head = tty->in_lines;
    if (!lflag(tty, ECHO))
        return;
    finish_erasing(tty);
    tty_echo_char(tty, tty->termios.c_cc[VKILL]);
    if (lflag(tty, ECHOK))
        tty_echo_raw(tty, '\n');
}

static void reprint(struct tty *tty, unsigned char c)
{
    finish_erasing(tty);
    tty_echo_char(tty, c);
    tty_echo_raw(tty, '\n');
    for (unsigned at = tty->in_lines; at != tty->in_head; at++)
        tty_echo_char(tty, *slot(tty, at));
}

/* ---- one character ---- */

static void plain(struct tty *tty, unsigned char c)
{
    if (lflag(tty, ECHO))
        echo_typed(tty, c);
    put_data(tty, c);
}

static bool flow_control(struct tty *tty, unsigned char c)
{
    if (is_cc(tty, VSTART, c)) {
        tty_start(tty);
        return true;
    }
    if (!is_cc(tty, VSTOP, c))
        return false;
    tty_stop(tty);
    return true;
}

static void forget_input(struct tty *tty)
{
    tty->in_tail = tty->in_lines = tty->in_head;
    memset(tty->line_ends, 0, sizeof(tty->line_ends));
    tty->literal_next = tty->erasing = tty->pushed = false;
    tty_packet_event(tty, TIOCPKT_FLUSHREAD, 0);
}

static int signal_char(struct tty *tty, unsigned char c)
{
    int sig = is_cc(tty, VINTR, c)   ? SIGINT
              : is_cc(tty, VQUIT, c) ? SIGQUIT
              : is_cc(tty, VSUSP, c) ? SIGTSTP
                                     : 0;
    if (!sig)
        return 0;
    if (!lflag(tty, NOFLSH)) {
        tty->echo.tail = tty->echo.head;
        tty_output_flush(tty);
        forget_input(tty);
    }
    if (iflag(tty, IXON))
        tty_start(tty);
    if (lflag(tty, ECHO))
        tty_echo_char(tty, c);
    return sig;
}

/* What edits or ends a line. False: it is an ordinary character. */
static bool edit(struct tty *tty, unsigned char c)
{
    bool extended = lflag(tty, IEXTEN);
    if (is_cc(tty, VERASE, c)) {
        erase(tty, ERASE_CHAR);
    } else if (is_cc(tty, VKILL, c)) {
        kill_line(tty);
    } else if (extended && is_cc(tty, VWERASE, c)) {
        erase(tty, ERASE_WORD);
    } else if (extended && is_cc(tty, VLNEXT, c)) {
        tty->literal_next = true;
        if (lflag(tty, ECHO)) {
            finish_erasing(tty);
            if (lflag(tty, ECHOCTL)) {
                tty_echo_raw(tty, '^');
                tty_echo_raw(tty, '\b');
            }
        }
    } else if (extended && lflag(tty, ECHO) && is_cc(tty, VREPRINT, c)) {
        reprint(tty, c);
    } else if (c == '\n') {
        if (lflag(tty, ECHO) || lflag(tty, ECHONL))
            tty_echo_raw(tty, '\n');
        end_line(tty, c);
    } else if (is_cc(tty, VEOF, c)) {
        end_line(tty, NO_CHAR);
    } else if (is_cc(tty, VEOL, c) || (extended && is_cc(tty, VEOL2, c))) {
        if (lflag(tty, ECHO))
            echo_typed(tty, c);
        if (c == 0377 && iflag(tty, PARMRK))
            put(tty, c);
        end_line(tty, c);
    } else {
        return false;
    }
    return true;
}

/* Returns a signal to send, or 0. */
static int receive(struct tty *tty, unsigned char c)
{
    if (iflag(tty, ISTRIP))
        c &= 0x7f;
    if (iflag(tty, IUCLC) && lflag(tty, IEXTEN))
        c = (unsigned char)tolower(c);
    if (lflag(tty, EXTPROC)) {
        put(tty, c);
        return 0;
    }
    if (tty->literal_next) {
        tty->literal_next = false;
        plain(tty, c);
        return 0;
    }
    if (iflag(tty, IXON) && flow_control(tty, c))
        return 0;
    int sig = lflag(tty, ISIG) ? signal_char(tty, c) : 0;
    if (sig)
        return sig;
    if (tty->stopped && !tty->held && iflag(tty, IXON) && iflag(tty, IXANY))
        tty_start(tty);
    if (c == '\r') {
        if (iflag(tty, IGNCR))
            return 0;
        if (iflag(tty, ICRNL))
            c = '\n';
    } else if (c == '\n' && iflag(tty, INLCR)) {
        c = '\r';
    }
    if (lflag(tty, ICANON) && edit(tty, c))
        return 0;
    if (c == '\n' && lflag(tty, ECHO)) {
        finish_erasing(tty);
        tty_echo_raw(tty, '\n');
        put_data(tty, c);
    } else {
        plain(tty, c);
    }
    return 0;
}

/*
 * Room for one more character (two, if it may be doubled). A line that fills the buffer keeps its
 * last place for the character that ends it: what is typed meanwhile replaces what was there.
 */
static bool make_room(struct tty *tty)
{
    unsigned used = tty->in_head - tty->in_tail, need = iflag(tty, PARMRK) ? 2 : 1;
    if (used + need < TTY_INPUT_SIZE)
        return true;
    if (!lflag(tty, ICANON) || tty->in_lines != tty->in_tail)
        return false;
    while (tty->in_head - tty->in_tail + need > TTY_INPUT_SIZE)
        tty->in_head--;
    return true;
}

int tty_input_process(struct tty *tty)
{
    int sig = 0;
    while (!sig && ring_used(&tty->pending) && make_room(tty))
        sig = receive(tty, ring_take(&tty->pending));
    if (tty_input_available(tty, false))
        wait_wake(&tty->slave_queue, POLLIN | POLLRDNORM);
    return sig;
}

/* ---- reading ---- */

static bool by_line(const struct tty *tty)
{
    return lflag(tty, ICANON) && !lflag(tty, EXTPROC);
}

bool tty_input_available(const struct tty *tty, bool want_minimum)
{
    if (by_line(tty))
        return tty->in_lines != tty->in_tail;
    unsigned minimum = tty->termios.c_cc[VMIN];
    if (!want_minimum || tty->termios.c_cc[VTIME] || !minimum)
        minimum = 1;
    return tty->in_head - tty->in_tail >= minimum;
}

/* A byte that a reader does not see: VEOF. */
static bool is_end_of_file(const struct tty *tty, unsigned at)
{
    bool pushed = tty->pushed && at + 1 == tty->in_lines;
    return is_marked(tty, at) && !pushed && tty->input[at % TTY_INPUT_SIZE] == NO_CHAR;
}

static size_t read_line(struct tty *tty, unsigned char *buf, size_t n, bool *line_end)
{
    size_t done = 0;
    while (tty->in_tail != tty->in_lines && !*line_end) {
        bool end = is_marked(tty, tty->in_tail), eof = is_end_of_file(tty, tty->in_tail);
        /* A VEOF right behind what was asked for goes with it. */
        if (done == n && !eof)
            break;
        if (!eof)
            buf[done++] = *slot(tty, tty->in_tail);
        mark(tty, tty->in_tail++, false);
        *line_end = end;
    }
    return done;
}

size_t tty_input_read(struct tty *tty, void *buf, size_t n, bool *line_end)
{
    size_t done = 0;
    *line_end = false;
    if (by_line(tty))
        return read_line(tty, buf, n, line_end);
    while (done < n && tty->in_tail != tty->in_head) {
        mark(tty, tty->in_tail, false);
        ((unsigned char *)buf)[done++] = *slot(tty, tty->in_tail++);
    }
    if ((int)(tty->in_lines - tty->in_tail) < 0)
        tty->in_lines = tty->in_tail;
    return done;
}

unsigned tty_input_count(const struct tty *tty)
{
    if (!by_line(tty))
        return tty->in_head - tty->in_tail;
    unsigned n = 0;
    for (unsigned at = tty->in_tail; at != tty->in_lines; at++)
        n += !is_end_of_file(tty, at);
    return n;
}

void tty_input_flush(struct tty *tty)
{
    tty->pending.tail = tty->pending.head;
    forget_input(tty);
}

void tty_input_changed(struct tty *tty, const struct termios2 *old)
{
    if ((old->c_lflag ^ tty->termios.c_lflag) & (ICANON | EXTPROC)) {
        memset(tty->line_ends, 0, sizeof(tty->line_ends));
        tty->in_lines = tty->in_tail;
        tty->pushed = tty->erasing = tty->literal_next = false;
        if (lflag(tty, ICANON) && tty->in_head != tty->in_tail) {
            mark(tty, tty->in_head - 1, true);
            tty->in_lines = tty->in_head;
            tty->pushed = true;
        }
    }
    if (!iflag(tty, IXON) && (old->c_iflag & IXON) && !tty->held)
        tty_start(tty);
}
