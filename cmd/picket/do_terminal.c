/*
 * The host's terminal in raw mode, and back.
 *
 * Whatever happens to Picket, SIGKILL included, the person at the terminal gets it back as it was:
 * a small process of its own waits for the end of a pipe that only Picket holds open.
 */
#include "cmd/picket/do.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

struct do_terminal {
    int fd;       /* the terminal */
    int guard_fd; /* the pipe to the guardian */
    struct termios saved;
};

static void set_modes(int fd, const struct termios *modes)
{
    /* From a background process group too. */
    sigset_t ttou, old;
    sigemptyset(&ttou);
    sigaddset(&ttou, SIGTTOU);
    pthread_sigmask(SIG_BLOCK, &ttou, &old);
    (void)tcsetattr(fd, TCSANOW, modes);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* In the guardian: waits for the end of Picket, which writes a byte if all is well. */
static _Noreturn void guard(const struct do_terminal *dt, int pipe_fd)
{
    sigset_t all;
    char byte;
    ssize_t n;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    /* Nobody is to wait for us to close a pipe: all but these two. */
    int terminal = dup2(dt->fd, 0), end = dup2(pipe_fd, 1);
    close_range(2, ~0u, 0);
    if (terminal < 0 || end < 0)
        _exit(1);
    do
        n = read(end, &byte, 1);
    while (n < 0 && errno == EINTR);
    if (n == 0)
        set_modes(terminal, &dt->saved);
    _exit(0);
}

/* The guardian is nobody's child, lest anything here wait for it. */
static int start_guardian(struct do_terminal *dt)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[1]);
        pid = fork();
        if (pid == 0)
            guard(dt, fds[0]);
        _exit(pid < 0);
    }
    int status = 1, err = pid < 0 ? -errno : 0;
    close(fds[0]);
    if (!err && (waitpid(pid, &status, 0) != pid || status != 0))
        err = -EAGAIN;
    if (err)
        close(fds[1]);
    else
        dt->guard_fd = fds[1];
    return err;
}

int do_terminal_start(struct do_terminal **out, int fd)
{
    struct do_terminal *dt = calloc(1, sizeof(*dt));
    if (!dt)
        return -ENOMEM;
    int err = 0;
    dt->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (dt->fd < 0 || tcgetattr(dt->fd, &dt->saved) < 0)
        err = -errno;
    if (!err)
        err = start_guardian(dt);
    if (err) {
        if (dt->fd >= 0)
            close(dt->fd);
        free(dt);
        return err;
    }
    do_terminal_resume(dt);
    *out = dt;
    return 0;
}

void do_terminal_resume(struct do_terminal *dt)
{
    struct termios raw = dt->saved;
    cfmakeraw(&raw);
    set_modes(dt->fd, &raw);
}

void do_terminal_restore(struct do_terminal *dt)
{
    if (dt)
        set_modes(dt->fd, &dt->saved);
}

void do_terminal_stop(struct do_terminal *dt)
{
    if (!dt)
        return;
    do_terminal_restore(dt);
    (void)!write(dt->guard_fd, "", 1);
    close(dt->guard_fd);
    close(dt->fd);
    free(dt);
}
