/*
 * The terminal of a sandbox that was asked for one: a terminal inside, whose master is a thread
 * that copies between it and the terminal of the host.
 */
#ifndef PICKET_SENTRY_TTY_CONSOLE_H
#define PICKET_SENTRY_TTY_CONSOLE_H

struct console;
struct kernel;
struct task;
struct tty;

/* Makes it the standard streams, and the controlling terminal, of t: process 1, a session leader.
 * Takes over the host's descriptors of config->stdio. 0 or -errno. */
int console_create(struct kernel *k, struct task *t, struct console **out);
/* Shows what is still to be shown; hangs up. No task is left. */
void console_destroy(struct console *c);
/* Takes the size over from the host's terminal. Any thread. */
void console_resize(struct console *c);
struct tty *console_tty(struct console *c);

#endif
