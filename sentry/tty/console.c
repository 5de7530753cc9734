/*
 * Between the host's terminal and the sandbox's. See console.h.
 */
#include "sentry/tty/console.h"
#include "sentry/fs/devpts/devpts.h"
#include "sentry/kernel/kernel.h"
#include "sentry/tty/tty.h"
#include "sentry/vfs/fasync.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define LAST_WORDS_MS                                                                              \
    1000 /* how long a host terminal that takes nothing is waited for at the end */

struct console {
    struct tty *tty;
    int in, out; /* the host's */
    bool in_ended;
    int wake_fd; /* an eventfd: there is something to show, room for input, or an end */
    struct wait_entry entry;
    pthread_t thread;
    _Atomic bool stop;
    char to_host[4096], from_host[4096];
    size_t out_at, out_end, in_at, in_end;
};

static bool on_event(struct wait_entry *e, UNUSED uint32_t events)
{
    struct console *c = e->owner;
    (void)eventfd_write(c->wake_fd, 1);
    return true;
}

/* ---- copying: where they can, both descriptors do not block ---- */

/* Terminal to host. Whether anything moved. */
static bool show(struct console *c)
{
    if (c->out_at == c->out_end) {
        ssize_t n = tty_master_read(c->tty, c->to_host, sizeof(c->to_host));
        c->out_at = 0;
        c->out_end = n > 0 ? (size_t)n : 0;
    }
    if (c->out_at == c->out_end)
        return false;
    size_t want = c->out_end - c->out_at;
    ssize_t n = write(c->out, c->to_host + c->out_at, want);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        n = (ssize_t)want; /* nobody looks any more */
    if (n > 0)
        c->out_at += (size_t)n;
    return n > 0;
}

static bool has_input(struct console *c)
{
    struct pollfd fd = {.fd = c->in, .events = POLLIN};
    return !c->in_ended && poll(&fd, 1, 0) == 1;
}

/* Host to terminal. */
static bool take_input(struct console *c)
{
    if (c->in_at == c->in_end && has_input(c)) {
        ssize_t n = read(c->in, c->from_host, sizeof(c->from_host));
        c->in_at = 0;
        c->in_end = n > 0 ? (size_t)n : 0;
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
            /* The host's terminal has hung up: so does ours. */
            c->in_ended = true;
            tty_master_close(c->tty);
        }
    }
    if (c->in_at == c->in_end)
        return false;
    size_t n = tty_master_write(c->tty, c->from_host + c->in_at, c->in_end - c->in_at);
    c->in_at += n;
    return n > 0;
}

/* Waits until one of the two may have more to do. */
static bool sleep_until_ready(struct console *c, int timeout_ms)
{
    struct pollfd fds[] = {
        {.fd = c->wake_fd, .events = POLLIN},
        {.fd = c->in_at == c->in_end && !c->in_ended ? c->in : -1, .events = POLLIN},
        {.fd = c->out_at != c->out_end ? c->out : -1, .events = POLLOUT},
    };
    int n = poll(fds, ARRAY_SIZE(fds), timeout_ms);
    eventfd_t count;
    if (fds[0].revents)
        (void)eventfd_read(c->wake_fd, &count);
    return n != 0;
}

static void *copy(void *arg)
{
    struct console *c = arg;
    while (!atomic_load(&c->stop)) {
        bool moved = show(c);
        moved |= take_input(c);
        fasync_flush();
        if (!moved)
            sleep_until_ready(c, -1);
    }
    do
        while (show(c))
            ;
    while (c->out_at != c->out_end && sleep_until_ready(c, LAST_WORDS_MS));
    return NULL;
}

/* ---- life ---- */

/* The description of fd is shared with whoever called us: one of our own may be non-blocking. */
static int reopen(int fd, int flags)
{
    char path[32];
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -1;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    bool may_block = isatty(fd) || S_ISFIFO(st.st_mode);
    int own = may_block ? open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC) : -1;
    return own >= 0 ? own : fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

static int open_host(struct console *c, const struct kernel_config *config)
{
    c->in = reopen(config->stdio[0], O_RDONLY);
    c->out = reopen(config->stdio[1], O_WRONLY);
    int err = c->in < 0 || c->out < 0 ? -errno : 0;
    for (int i = 0; i < 3; i++)
        if (config->stdio[i] >= 0)
            close(config->stdio[i]);
    return err;
}

/* As login does: opened by the leader of a session without one, it is the controlling terminal. */
static int open_streams(struct console *c, struct task *t)
{
    char path[32];
    struct open_how how = {.flags = O_RDWR};
    struct file *f;
    snprintf(path, sizeof(path), "/dev/pts/%u", c->tty->index);
    int err = vfs_open(t, AT_FDCWD, path, &how, &f);
    if (err)
        return err;
    for (int fd = 0; fd < 3 && err >= 0; fd++)
        err = fd_install_at(t, f, fd, false);
    file_put(f);
    return err < 0 ? err : 0;
}

static int start(struct console *c)
{
    c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->wake_fd < 0)
        return -errno;
    c->entry = (struct wait_entry){.mask = POLLIN | POLLOUT, .wake = on_event, .owner = c};
    wait_add(&c->tty->master_queue, &c->entry);
    int err = pthread_create(&c->thread, NULL, copy, c);
    if (!err)
        return 0;
    wait_remove(&c->tty->master_queue, &c->entry);
    close(c->wake_fd);
    return -err;
}

static void release(struct console *c)
{
    devpts_remove(c->tty);
    tty_master_close(c->tty);
    tty_put(c->tty);
    if (c->out >= 0)
        close(c->out);
    if (c->in >= 0)
        close(c->in);
    free(c);
}

int console_create(struct kernel *k, struct task *t, struct console **out)
{
    struct console *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->in = c->out = -1;
    int err = devpts_new(k->vfs->devpts, t->cred, &c->tty);
    if (err) {
        free(c);
        return err;
    }
    c->tty->locked = false;
    err = open_host(c, k->config);
    if (!err) {
        console_resize(c);
        err = open_streams(c, t);
    }
    if (!err)
        err = start(c);
    if (err)
        release(c);
    else
        *out = c;
    return err;
}

void console_destroy(struct console *c)
{
    atomic_store(&c->stop, true);
    (void)eventfd_write(c->wake_fd, 1);
    pthread_join(c->thread, NULL);
    wait_remove(&c->tty->master_queue, &c->entry);
    close(c->wake_fd);
    release(c);
}

void console_resize(struct console *c)
{
    struct tty_winsize ws;
    if (ioctl(c->in, TIOCGWINSZ, &ws) == 0)
        tty_set_winsize(c->tty, &ws);
}

struct tty *console_tty(struct console *c)
{
    return c->tty;
}
