/*
 * Terminals: pairs of a master, which a terminal emulator holds, and a slave, which looks like a
 * terminal to programs.
 *
 *   master write --> pending --> line discipline --> input ------> slave read
 *                                      | echo
 *   master read <--- output <----------+<---- output processing <- slave write
 *
 * What comes in is processed at once, in the writer's thread; what the line discipline has no room
 * for waits in `pending`. A full `output` makes slave writers wait; echoes may use the rest of it.
 *
 * User memory is never touched with a terminal's lock held (TTY comes after the locks of mm).
 * Whose controlling terminal it is, is guarded by TASK_TREE; everything else by tty.lock.
 */
#ifndef PICKET_SENTRY_TTY_TTY_H
#define PICKET_SENTRY_TTY_TTY_H

#include "sentry/kernel/task.h"
#include "sentry/kernel/wait.h"
#include "sentry/vfs/vfs.h"
#include <asm/ioctls.h>
#include <asm/termbits.h>

#define TTY_INPUT_SIZE 4096u    /* what the line discipline keeps, as Linux */
#define TTY_PENDING_SIZE 8192u  /* before it */
#define TTY_OUTPUT_SIZE 16384u  /* towards the master */
#define TTY_OUTPUT_LIMIT 12288u /* that writers fill; the rest is for echoes */
#define TTY_ECHO_SIZE 4096u     /* echoes while output is stopped */
#define TTY_SLAVE_MAJOR 136u
#define TTY_MAX 4096

struct tty_ring {
    unsigned char *data;
    unsigned size; /* a power of 2 */
    unsigned head, tail;
};

struct tty_winsize {
    uint16_t rows, cols, xpixel, ypixel;
};

struct tty {
    struct refcount ref;
    struct kernel *kernel;
    unsigned index; /* N of /dev/pts/N */

    /* TASK_TREE */
    struct session *session; /* whose controlling terminal it is, or NULL */
    pid_t foreground;        /* its foreground process group, or 0 */

    struct mutex lock; /* TTY: all below */
    struct termios2 termios;
    struct tty_winsize winsize;
    bool master_open; /* once false, never true again: the slave is hung up */
    bool slave_seen;  /* it was open before */
    int slaves;       /* descriptions of the slave */
    bool locked;      /* TIOCSPTLCK */
    bool exclusive;   /* TIOCEXCL */
    bool packet;      /* TIOCPKT */
    uint8_t packet_status;
    bool stopped; /* by VSTOP or TCXONC */
    bool held;    /* ... by TCXONC, so that no character starts it */
    bool writing; /* a slave writer is at work: others wait */

    /* The line discipline: see input.c. Positions count up and wrap. */
    unsigned char input[TTY_INPUT_SIZE];
    uint64_t line_ends[TTY_INPUT_SIZE / 64];
    unsigned in_head, in_tail;
    unsigned in_lines; /* end of the last complete line */
    bool pushed;       /* the last "line" is one only because ICANON was set meanwhile */
    bool literal_next, erasing;
    unsigned column, line_column; /* of the cursor; where the line being typed begins */

    struct tty_ring pending, output, echo;
    struct wait_queue slave_queue, master_queue;
    struct inode *node; /* of the slave, in a devpts; as long as the master is open */
};

/* ---- tty.c: life ---- */

/* A terminal with an open master. NULL: no memory. */
struct tty *tty_create(struct kernel *k);
struct tty *tty_get(struct tty *tty);
void tty_put(struct tty *tty);
/* A description of the slave is opened, closed. -EIO: locked, or no master; -EBUSY. */
int tty_slave_open(struct tty *tty, struct file *f, struct task *t, bool no_ctty);
/* The master is gone: hangs up. */
void tty_master_close(struct tty *tty);
/* The master's side, for files and for the sandbox's own console. Bytes moved, 0 if there is
 * nothing (no room), -EIO if no slave is open any more. */
ssize_t tty_master_read(struct tty *tty, void *buf, size_t n);
size_t tty_master_write(struct tty *tty, const void *buf, size_t n);
uint32_t tty_master_ready(struct tty *tty);
void tty_set_winsize(struct tty *tty, const struct tty_winsize *ws);

extern const struct file_ops tty_slave_fops, tty_master_fops;

/* ---- rings ---- */

static inline unsigned ring_used(const struct tty_ring *r)
{
    return r->head - r->tail;
}
static inline unsigned ring_room(const struct tty_ring *r)
{
    return r->size - ring_used(r);
}
/* Pre: there is room. */
static inline void ring_put(struct tty_ring *r, unsigned char c)
{
    r->data[r->head++ & (r->size - 1)] = c;
}
/* Pre: not empty. */
static inline unsigned char ring_take(struct tty_ring *r)
{
    return r->data[r->tail++ & (r->size - 1)];
}
size_t ring_write(struct tty_ring *r, const void *buf, size_t n, unsigned limit);
size_t ring_read(struct tty_ring *r, void *buf, size_t n);

/* ---- input.c: the line discipline. tty->lock held ---- */

void tty_input_init(struct tty *tty);
/* Processes what is pending, as far as there is room; stops behind a character that sends a signal,
 * which it returns (0: none). */
int tty_input_process(struct tty *tty);
/* Whether a read of the slave would find something; want: VMIN matters (poll). */
bool tty_input_available(const struct tty *tty, bool want_minimum);
/* Takes bytes out. *line_end: a line's end (or a VEOF) was among them. */
size_t tty_input_read(struct tty *tty, void *buf, size_t n, bool *line_end);
/* As FIONREAD tells. */
unsigned tty_input_count(const struct tty *tty);
void tty_input_flush(struct tty *tty);
/* After tty->termios changed from *old. */
void tty_input_changed(struct tty *tty, const struct termios2 *old);

/* ---- output.c. tty->lock held ---- */

/* One byte through output processing. False: no room below `limit`. */
bool tty_output_char(struct tty *tty, unsigned char c, struct tty_ring *to, unsigned limit);
/* What the slave writes: as much as there is room for. */
size_t tty_output_write(struct tty *tty, const unsigned char *buf, size_t n);
void tty_echo_raw(struct tty *tty, unsigned char c);      /* through output processing */
void tty_echo_char(struct tty *tty, unsigned char c);     /* with ECHOCTL: ^X */
void tty_echo_verbatim(struct tty *tty, unsigned char c); /* untouched */
void tty_stop(struct tty *tty);
void tty_start(struct tty *tty);
/* Discards what a slow reader of the master has not come to yet. */
void tty_output_flush(struct tty *tty);
void tty_packet_event(struct tty *tty, uint8_t set, uint8_t clear);

/* ---- jobs.c: controlling terminals ---- */

/* The controlling terminal of t's process, with a reference, or NULL. */
struct tty *tty_of_task(struct task *t);
/* The device number and foreground process group for /proc/PID/stat; false: it has none of ours. */
bool tty_of_group(struct thread_group *tg, unsigned *device, pid_t *foreground);
/* For a background process: sig (SIGTTIN, SIGTTOU) to its group and -ERESTARTSYS, or -EIO; 0 if it
 * may go on. */
int tty_check_change(struct tty *tty, struct task *t, int sig);
void tty_signal_foreground(struct tty *tty, int sig);
/* A session leader without a terminal opened it. */
void tty_acquire_at_open(struct tty *tty, struct task *t);
long tty_set_controlling(struct tty *tty, struct task *t, const struct file *f, uint64_t arg);
long tty_give_up(struct tty *tty, struct task *t);
long tty_get_group(struct tty *tty, struct task *t, bool master, unsigned cmd, uint64_t arg);
long tty_set_group(struct tty *tty, struct task *t, uint64_t arg);
/* The master closed: SIGHUP and SIGCONT to the session's leader, which loses its terminal. */
void tty_hang_up_session(struct tty *tty);
/* TASK_TREE held: a session's leader exits; its last process is gone. */
void tty_leader_exits(struct thread_group *tg);
void tty_session_gone(struct session *s);

/* ---- ioctl.c ---- */

long tty_ioctl(struct tty *tty, struct file *f, struct task *t, bool master, unsigned cmd,
               uint64_t arg);

#endif
