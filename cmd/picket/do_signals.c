/*
 * Signals from outside.
 *
 * The first SIGINT, SIGTERM, SIGHUP or SIGQUIT goes to the sandbox's first process, which may tidy
 * up, or dies of it, and everything else in the sandbox with it. The same signal once more within
 * two seconds kills; after that, or if nothing has happened a few seconds later, Picket leaves at
 * once, and the host kills what it traced.
 */
#include "cmd/picket/do.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SECOND_WITHIN_NS 2000000000ll
#define KILL_TAKES_SECONDS 5

static const int forwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};

static int64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

/* SIGKILL for everything; leaves hard if that does not end it. Does not return. */
static NORETURN void end_sandbox(struct do_signals *s, struct kernel *k, int sig)
{
    const struct timespec timeout = {.tv_sec = KILL_TAKES_SECONDS};
    kernel_signal(k, SIGKILL);
    /* do_signals_stop cancels us here when the kernel has come to its end. */
    while (sigtimedwait(&s->set, NULL, &timeout) < 0 && errno == EINTR)
        ;
    _exit(128 + sig);
}

static void *forward(void *arg)
{
    struct do_signals *s = arg;
    int64_t last[NSIG] = {0};
    for (;;) {
        int sig = sigwaitinfo(&s->set, NULL);
        if (sig < 0)
            continue;
        struct kernel *k = atomic_load(&s->kernel);
        if (!k)
            _exit(128 + sig);
        int64_t now = now_ns();
        if (last[sig] && now - last[sig] < SECOND_WITHIN_NS)
            end_sandbox(s, k, sig);
        last[sig] = now;
        kernel_signal(k, sig);
    }
}

int do_signals_start(struct do_signals *s)
{
    atomic_store(&s->kernel, NULL);
    sigemptyset(&s->set);
    for (size_t i = 0; i < ARRAY_SIZE(forwarded); i++) {
        struct sigaction sa;
        /* What the caller ignores (nohup) stays ignored. */
        if (sigaction(forwarded[i], NULL, &sa) == 0 && sa.sa_handler != SIG_IGN)
            sigaddset(&s->set, forwarded[i]);
    }
    int err = pthread_sigmask(SIG_BLOCK, &s->set, NULL);
    return err ? -err : -pthread_create(&s->thread, NULL, forward, s);
}

void do_signals_stop(struct do_signals *s)
{
    pthread_cancel(s->thread);
    pthread_join(s->thread, NULL);
}
