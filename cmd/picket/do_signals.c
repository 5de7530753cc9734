/*
 * Signals from outside.
 *
 * SIGINT, SIGTERM, SIGHUP and SIGQUIT go to the sandbox's first process (Ctrl-C and Ctrl-\ to the
 * terminal's foreground, if a shell inside manages one). It may tidy up, or dies of it, and with it
 * everything else in the sandbox. The same signal three times within two seconds kills; if that
 * has not ended it a few seconds later, Picket leaves at once, and the host kills what it traced.
 *
 * Ctrl-Z goes the same way; if it stops process 1's group, Picket stops as well, for the caller's
 * shell to see, and wakes the group when it is continued. A new window size is told to the
 * foreground.
 *
 * The same thread sees the gofer end, which ends the sandbox.
 */
#include "cmd/picket/command.h"
#include "cmd/picket/do.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 3 /* signals of one kind... */
#define WITHIN_NS 2000000000ll
#define KILL_TAKES_MS 5000
#define GOFER_ENDS_MS 1000

static const int forwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGWINCH};

static int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

void do_signals_gofer_lost(void *arg)
{
    struct do_signals *s = arg;
    siginfo_t info = {0};
    if (atomic_exchange(&s->lost, true)) {
        for (;;)
            pause(); /* another thread is about to end us */
    }
    do_terminal_restore(s->terminal);
    /* Its channels may be closed a moment before it is gone. */
    struct pollfd end = {.fd = s->gofer_fd, .events = POLLIN};
    poll(&end, 1, GOFER_ENDS_MS);
    waitid(P_PID, (id_t)s->gofer, &info, WEXITED | WNOHANG | WNOWAIT);
    if (info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED)
        fail("the file server process (gofer) was killed by signal %d: the sandbox is over",
             info.si_status);
    else
        fail("the file server process (gofer) failed: the sandbox is over");
    _exit(STATUS_PICKET_FAILED);
}

/* The next signal, or 0 if do_signals_stop was called or the time is over. */
static int next_signal(struct do_signals *s, int timeout_ms)
{
    struct pollfd fds[] = {{.fd = s->signal_fd, .events = POLLIN},
                           {.fd = s->stop_fd, .events = POLLIN},
                           {.fd = s->gofer_fd, .events = POLLIN}};
    struct signalfd_siginfo info;
    int n;
    do
        n = poll(fds, ARRAY_SIZE(fds), timeout_ms);
    while (n < 0 && errno == EINTR);
    if (n <= 0 || fds[1].revents)
        return 0;
    if (fds[2].revents)
        do_signals_gofer_lost(s);
    return read(s->signal_fd, &info, sizeof(info)) == sizeof(info) ? (int)info.ssi_signo : 0;
}

static bool stopped(const struct do_signals *s)
{
    struct pollfd fd = {.fd = s->stop_fd, .events = POLLIN};
    return poll(&fd, 1, 0) == 1;
}

static void leave(struct do_signals *s, int sig)
{
    do_terminal_restore(s->terminal);
    _exit(128 + sig);
}

/* SIGKILL for everything; leaves hard if that does not end it, or if one more signal comes. */
static void end_sandbox(struct do_signals *s, struct kernel *k, int sig)
{
    kernel_signal(k, SIGKILL);
    next_signal(s, KILL_TAKES_MS);
    if (!stopped(s))
        leave(s, sig);
}

/* Notes the time of one more signal; whether it was one too many. */
static bool too_many(int64_t times[PATIENCE], int64_t now)
{
    memmove(times, times + 1, (PATIENCE - 1) * sizeof(*times));
    times[PATIENCE - 1] = now;
    return times[0] && now - times[0] < WITHIN_NS;
}

/* What ends nothing. */
static void forward_harmless(struct do_signals *s, struct kernel *k, int sig)
{
    if (sig == SIGWINCH) {
        kernel_resize_terminal(k);
    } else if (s->terminal) {
        /* Ctrl-Z is for those inside: somebody stops Picket itself. */
        do_terminal_restore(s->terminal);
        raise(SIGSTOP);
        do_terminal_resume(s->terminal);
    } else if (kernel_signal(k, sig)) {
        raise(SIGSTOP);
        kernel_signal(k, SIGCONT);
    }
}

static void *forward(void *arg)
{
    struct do_signals *s = arg;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL); /* what it wants it reads from signal_fd */
    int64_t times[NSIG][PATIENCE] = {0};
    while (!stopped(s)) {
        int sig = next_signal(s, -1);
        struct kernel *k = atomic_load(&s->kernel);
        bool harmless = sig == SIGTSTP || sig == SIGWINCH;
        if (!sig || (harmless && !k))
            continue;
        if (!k)
            leave(s, sig);
        if (harmless) {
            forward_harmless(s, k, sig);
            continue;
        }
        if (kernel_signal(k, sig) && too_many(times[sig], now_ns()))
            end_sandbox(s, k, sig);
    }
    return NULL;
}

static void close_fds(struct do_signals *s)
{
    if (s->signal_fd >= 0)
        close(s->signal_fd);
    if (s->stop_fd >= 0)
        close(s->stop_fd);
    if (s->gofer_fd >= 0)
        close(s->gofer_fd);
}

int do_signals_start(struct do_signals *s)
{
    sigset_t set;
    atomic_store(&s->kernel, NULL);
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_SIZE(forwarded); i++) {
        struct sigaction sa;
        /* What the caller ignores (nohup) stays ignored. */
        if (sigaction(forwarded[i], NULL, &sa) == 0 && sa.sa_handler != SIG_IGN)
            sigaddset(&set, forwarded[i]);
    }
    s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
    s->stop_fd = eventfd(0, EFD_CLOEXEC);
    s->gofer_fd = pidfd_open(s->gofer, 0);
    int err = s->signal_fd < 0 || s->stop_fd < 0 || s->gofer_fd < 0
                  ? errno
                  : pthread_sigmask(SIG_BLOCK, &set, NULL);
    if (!err)
        err = pthread_create(&s->thread, NULL, forward, s);
    if (err)
        close_fds(s);
    return -err;
}

void do_signals_stop(struct do_signals *s)
{
    eventfd_write(s->stop_fd, 1);
    pthread_join(s->thread, NULL);
    close_fds(s);
}
