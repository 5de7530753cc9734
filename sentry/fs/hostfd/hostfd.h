/*
 * Host descriptors that were passed through: standard input, output and error.
 *
 * The caller of the sandbox shares the host's file description with us, so its flags are left
 * alone. To be able to wait without blocking a host thread, pipes and terminals are opened once
 * more (through /proc/self/fd, when the sandbox starts) for a description of our own that does not
 * block; where that fails, poll comes before each call, and writes are cut to what cannot block.
 *
 * A file that is opened again inside (/dev/stdout) gets a position of its own, but no more access
 * than the host's description has; and if that appends, so does the new one.
 */
#ifndef PICKET_SENTRY_FS_HOSTFD_HOSTFD_H
#define PICKET_SENTRY_FS_HOSTFD_HOSTFD_H

#include "sentry/kernel/wait.h"
#include "sentry/vfs/vfs.h"
#include <stdatomic.h>

enum hostfd_kind { HOSTFD_FILE, HOSTFD_PIPE, HOSTFD_SOCKET, HOSTFD_TTY, HOSTFD_OTHER };

struct hostfd {
    struct refcount ref; /* the inode, and open files */
    struct kernel *kernel;
    int fd;
    enum hostfd_kind kind;
    bool own_description; /* ours alone, O_NONBLOCK */
    struct wait_queue queue;
    struct mutex watch_lock; /* FILE */
    struct host_watch *_Atomic watch;
    _Atomic bool watch_failed;
};

/*
 * The terminal of the sandbox. Its process groups are the sandbox's: the host's never learns of
 * them. (TTY)
 */
struct host_tty {
    struct mutex lock;
    struct hostfd *h;
    pid_t session;    /* whose controlling terminal it is, 0: nobody's */
    pid_t foreground; /* process group */
};

/* The kernel is at its end: no task is left. */
void hostfd_release_tty(struct kernel *k);
/* Opens the controlling terminal of t for f. -ENXIO if it has none. */
int hostfd_open_tty(struct file *f, struct task *t);
/* What /proc/PID/stat says for a process of that session: the device number and the foreground
 * process group, or 0 and -1. */
void hostfd_tty_of(struct kernel *k, pid_t session, unsigned *device, pid_t *foreground);
/* The process group that the terminal's signals (Ctrl-C) are for, or 0. */
pid_t hostfd_foreground(struct kernel *k);

/* hostfd.c, for tty.c */
extern const struct file_ops hostfd_fops;
struct hostfd *hostfd_get(struct hostfd *h);
void hostfd_put(struct hostfd *h);
/* tty.c */
int hostfd_register_tty(struct kernel *k, struct hostfd *h);
long hostfd_tty_ioctl(struct hostfd *h, struct task *t, unsigned cmd, uint64_t arg);

#endif
