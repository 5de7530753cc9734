/*
 * The service thread: the parent of all stub processes for as long as the platform lives. It makes
 * the first one, notices when one dies, and moves tasks between CPUs. Asleep unless one of these
 * is due.
 */
#include "platform/ptrace/ptrace.h"
#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define WAKE_EVENT UINT64_MAX
#define SIGNAL_EVENT (UINT64_MAX - 1)

/* If it was asked for. */
static void make_master(struct ptrace_platform *p)
{
    pthread_mutex_lock(&p->boot_lock);
    bool wanted = p->want_master;
    pthread_mutex_unlock(&p->boot_lock);
    if (!wanted)
        return;

    struct stub_process *fresh = NULL;
    int err = stub_process_new_master(p, &fresh);
    mutex_lock(&p->lock);
    struct stub_process *old = p->master;
    if (!err)
        p->master = fresh;
    mutex_unlock(&p->lock);
    if (!err && old)
        stub_process_kill(old);

    pthread_mutex_lock(&p->boot_lock);
    p->want_master = false;
    p->boot_result = err;
    pthread_cond_broadcast(&p->boot_cond);
    pthread_mutex_unlock(&p->boot_lock);
}

static void handle_signal(struct ptrace_platform *p)
{
    struct signalfd_siginfo info;
    while (read(p->signal_fd, &info, sizeof(info)) == sizeof(info))
        if (info.ssi_code == CLD_KILLED)
            stub_process_noticed_kill(p, (pid_t)info.ssi_pid);
}

static void handle_event(struct ptrace_platform *p, uint64_t what)
{
    if (what == SIGNAL_EVENT) {
        handle_signal(p);
        return;
    }
    if (what != WAKE_EVENT) {
        stub_process_noticed_dead(p, (uint32_t)what);
        return;
    }
    uint64_t count;
    if (read(p->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN && errno != EINTR)
        atomic_store(&p->stopping, true);
}

static void *service_main(void *arg)
{
    struct ptrace_platform *p = arg;
    prctl(PR_SET_NAME, "picket-service");
    int timeout = -1;
    while (!atomic_load(&p->stopping)) {
        struct epoll_event events[16];
        int n = epoll_wait(p->epoll_fd, events, ARRAY_SIZE(events), timeout);
        for (int i = 0; i < n; i++)
            handle_event(p, events[i].data.u64);
        make_master(p);
        timeout = -1;
        if (atomic_load(&p->placement.ticking))
            timeout = placement_tick(&p->placement, stub_process_unstick_all(p));
    }
    return NULL;
}

/* Called by everyone else. That the new master lives is found out here, not on the service thread,
 * which must be free to notice that it doesn't. */
int service_make_master(struct ptrace_platform *p)
{
    uint64_t one = 1;
    pthread_mutex_lock(&p->boot_lock);
    p->want_master = true;
    int err = write(p->wake_fd, &one, sizeof(one)) < 0 ? -errno : 0;
    while (!err && p->want_master)
        pthread_cond_wait(&p->boot_cond, &p->boot_lock);
    if (!err)
        err = p->boot_result;
    pthread_mutex_unlock(&p->boot_lock);
    if (err)
        return err;

    struct stub_process *master = stub_process_master(p);
    mutex_lock(&master->lock);
    err = stub_process_run(master, 0);
    mutex_unlock(&master->lock);
    stub_process_put(master);
    return err;
}

int service_start(struct ptrace_platform *p)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = WAKE_EVENT};
    struct epoll_event signal = {.events = EPOLLIN, .data.u64 = SIGNAL_EVENT};
    if (epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->wake_fd, &ev) < 0 ||
        epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->signal_fd, &signal) < 0)
        return -errno;
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int err = -pthread_create(&p->service, NULL, service_main, p);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return err;
}

void service_stop(struct ptrace_platform *p)
{
    uint64_t one = 1;
    atomic_store(&p->stopping, true);
    while (write(p->wake_fd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
    pthread_join(p->service, NULL);
}
