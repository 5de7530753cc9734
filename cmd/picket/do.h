/*
 * Inside "picket do": the options as given (do_options.c), who the program runs as (do_user.c), and
 * signals from outside (do_signals.c).
 */
#ifndef PICKET_CMD_DO_H
#define PICKET_CMD_DO_H

#include "base/log.h"
#include "gofer/gofer.h"
#include "sentry/kernel/kernel.h"

struct do_options {
    const char *rootfs; /* NULL: the host's root */
    struct kernel_volume *volumes;
    struct gofer_export *exports; /* the root's (-1 yet), and one for each volume */
    size_t nvolumes;
    const char *cwd;
    char **env; /* ended by NULL */
    size_t nenv;
    const char *user;
    const char *hostname;
    const char *platform;
    bool strace;
    const char *strace_list;
    const char *log;
    enum log_format log_format;
    bool debug;
    bool tty;
    bool help;
    uint64_t memory_limit;
    char **command; /* ended by NULL */
};

/* Reads argv; o starts out as the defaults. Returns 0, or an exit status after having said why. */
MUST_CHECK int do_options_parse(struct do_options *o, int argc, char **argv);
void do_options_release(struct do_options *o);

/* uid, gid and supplementary groups of a sandbox process. */
struct do_user {
    uid_t uid;
    gid_t gid;
    gid_t *groups;
    size_t ngroups;
};
/*
 * `spec`: UID[:GID], NAME[:GROUP], looked up in the sandbox's /etc/passwd and /etc/group (below
 * root_fd); NULL: the caller's. Returns 0, or an exit status after having said why.
 */
MUST_CHECK int do_user_resolve(struct do_user *u, const char *spec, int root_fd);
void do_user_release(struct do_user *u);

/*
 * The host's terminal, in raw mode while a terminal of the sandbox is shown on it (do_terminal.c).
 */
struct do_terminal;
/* fd: a terminal, which stays the caller's. 0 or -errno. */
MUST_CHECK int do_terminal_start(struct do_terminal **out, int fd);
/* Its modes are as they were. Any thread; harmless on NULL. */
void do_terminal_restore(struct do_terminal *dt);
void do_terminal_resume(struct do_terminal *dt); /* raw again */
void do_terminal_stop(struct do_terminal *dt);

/*
 * Signals that end a sandbox from outside: SIGINT, SIGTERM, SIGHUP, SIGQUIT. A thread of its own
 * takes them and passes them on; and SIGWINCH, which tells of a new size.
 */
struct do_signals {
    pthread_t thread;
    int signal_fd;
    int stop_fd;                     /* an eventfd: the thread is to leave */
    _Atomic(struct kernel *) kernel; /* NULL until it is up: then they end Picket itself */
    struct do_terminal *terminal;    /* to be restored before, or NULL */
    pid_t gofer;
    int gofer_fd; /* a pidfd */
    _Atomic bool lost;
};
/* Before any other thread is started: blocks the signals in all of them. 0 or -errno. */
MUST_CHECK int do_signals_start(struct do_signals *s);
void do_signals_stop(struct do_signals *s);
/* The gofer is gone, and with it the sandbox's files: ends Picket with a line that says so. Any
 * thread; arg: the struct do_signals. */
void do_signals_gofer_lost(void *arg);

#endif
