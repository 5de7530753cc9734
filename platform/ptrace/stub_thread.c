/*
 * Stub threads, and the host threads that trace them.
 *
 * Only the thread that traces may act on a tracee, so a stub thread belongs to one host thread from
 * its birth to its death. When its context is released it stays, stopped, for the next context that
 * this host thread makes in the same process: kernels that keep host threads in a pool get their
 * stub threads for nothing.
 */
#include "platform/ptrace/ptrace.h"
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_IDLE_THREADS 2

extern const char ptrace_stub_exit[];

struct host_thread *host_thread_current(struct ptrace_platform *p)
{
    return pthread_getspecific(p->host_thread_key);
}

struct host_thread *host_thread_get(struct ptrace_platform *p)
{
    struct host_thread *h = host_thread_current(p);
    if (h)
        return h;
    h = calloc(1, sizeof(*h));
    if (!h)
        return NULL;
    h->platform = p;
    list_init(&h->idle);
    if (p->host_xstate_size != p->base.xstate_size) {
        h->xstate = calloc(1, p->host_xstate_size);
        if (!h->xstate) {
            free(h);
            return NULL;
        }
    }
    if (pthread_setspecific(p->host_thread_key, h) != 0) {
        free(h->xstate);
        free(h);
        return NULL;
    }
    mutex_lock(&p->lock);
    list_add_tail(&p->host_threads, &h->link);
    mutex_unlock(&p->lock);
    placement_add(&p->placement, &h->placed);
    return h;
}

static void stub_thread_free(struct stub_thread *st)
{
    struct stub_process *sp = st->process;
    mutex_lock(&sp->lock);
    list_del(&st->process_link);
    mutex_unlock(&sp->lock);
    stub_process_put(sp);
    free(st);
}

/* Lets go of a stopped thread, which ends itself; the kernel needs no one to wait for it. */
static void stub_thread_dismiss(struct stub_thread *st)
{
    if (!atomic_load(&st->gone)) {
        struct user_regs_struct regs = {
            .rip = stub_address(ptrace_stub_exit),
            .cs = 0x33,
            .ss = 0x2b,
            .eflags = 0x202,
            .orig_rax = (unsigned long)-1,
        };
        sigset_t all;
        sigfillset(&all);
        if (ptrace(PTRACE_SETREGS, st->tid, NULL, &regs) < 0 ||
            ptrace(PTRACE_SETSIGMASK, st->tid, _NSIG / 8, &all) < 0 ||
            ptrace(PTRACE_DETACH, st->tid, NULL, NULL) < 0)
            stub_reap(st->tid); /* somebody has killed it */
    }
    stub_thread_free(st);
}

void stub_thread_died(struct stub_thread *st)
{
    atomic_store(&st->gone, true);
    stub_thread_free(st);
}

static void host_thread_free(struct host_thread *h)
{
    struct ptrace_platform *p = h->platform;
    placement_remove(&p->placement, &h->placed);
    mutex_lock(&p->lock);
    list_del(&h->link);
    mutex_unlock(&p->lock);
    free(h->xstate);
    free(h);
}

void host_thread_exit(void *host_thread)
{
    struct host_thread *h = host_thread;
    struct stub_thread *st, *tmp;
    list_for_each_safe (st, tmp, &h->idle, idle_link)
        stub_thread_dismiss(st);
    host_thread_free(h);
}

void host_thread_forget(struct host_thread *h)
{
    struct stub_thread *st, *tmp;
    list_for_each_safe (st, tmp, &h->idle, idle_link)
        stub_thread_free(st);
    if (host_thread_current(h->platform) == h)
        pthread_setspecific(h->platform->host_thread_key, NULL);
    host_thread_free(h);
}

/* Becomes the tracer of a parked thread, and stops it. */
static int seize(pid_t tid)
{
    const long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL | PTRACE_O_TRACESECCOMP;
    if (ptrace(PTRACE_SEIZE, tid, NULL, options) < 0 ||
        ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) < 0)
        return -errno;
    int status;
    while (waitpid(tid, &status, __WALL) < 0)
        if (errno != EINTR)
            return -errno;
    if (!WIFSTOPPED(status))
        return -ESRCH;

    sigset_t blocked;
    sigfillset(&blocked);
    static const int wanted[] = {KICK_SIGNAL, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
        sigdelset(&blocked, wanted[i]);
    return ptrace(PTRACE_SETSIGMASK, tid, _NSIG / 8, &blocked) < 0 ? -errno : 0;
}

static int stub_thread_create(struct stub_process *sp, struct stub_thread **out)
{
    static const struct stub_op op = {
        .nr = SYS_clone,
        .args = {CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM},
        .flags = STUB_OP_REPORT | STUB_OP_THREAD,
    };
    struct stub_thread *st = calloc(1, sizeof(*st));
    if (!st)
        return -ENOMEM;
    MUTEX_GUARD(&sp->lock);
    int err = stub_process_report(sp, &op, &st->tid);
    if (!err)
        err = seize(st->tid);
    if (err) {
        /* If it is there at all, it is parked, and goes with its process. */
        free(st);
        return err;
    }
    st->process = sp;
    st->cpu = sp->cpu;
    stub_process_hold(sp);
    list_init(&st->idle_link);
    list_add(&sp->threads, &st->process_link);
    *out = st;
    return 0;
}

int stub_thread_get(struct host_thread *h, struct stub_process *sp, struct stub_thread **out)
{
    struct stub_thread *st, *tmp, *found = NULL;
    list_for_each_safe (st, tmp, &h->idle, idle_link) {
        bool gone = atomic_load(&st->gone);
        if (!gone && (st->process != sp || found))
            continue;
        list_del(&st->idle_link);
        h->nidle--;
        if (gone)
            stub_thread_free(st);
        else
            found = st;
    }
    if (!found) {
        int err = stub_thread_create(sp, &found);
        if (err)
            return err;
    }
    placement_attach(&h->platform->placement, &h->placed, found->tid, &found->cpu);
    *out = found;
    return 0;
}

void stub_thread_recycle(struct host_thread *h, struct stub_thread *st)
{
    placement_detach(&h->platform->placement, &h->placed, &st->cpu);
    st->used = true;
    if (atomic_load(&st->process->dead) || h->nidle == MAX_IDLE_THREADS) {
        stub_thread_dismiss(st);
        return;
    }
    list_add(&h->idle, &st->idle_link);
    h->nidle++;
}
