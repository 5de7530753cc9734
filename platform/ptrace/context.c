/*
 * Contexts: running application code in a stub thread until it stops.
 *
 * interrupt() and run() meet in two flags. `kicked` is the truth: an interruption was asked for and
 * not yet reported. `running` says that only a signal can end the run:
 *
 *      run:        running = tid;   look at kicked;  resume, wait;  running = 0
 *      interrupt:  kicked = true;   look at running; send the signal
 *
 * Each side writes before it looks (sequentially consistent), so at least one sees the other: a
 * kick is either seen before the resume or followed by a signal. A signal that comes too late, when
 * the thread has stopped for another reason, stays pending in it; the next run reports the kick
 * before it resumes, and a later one swallows the signal, because `kicked` is false by then.
 */
#include "platform/ptrace/ptrace.h"
#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef PTRACE_SYSEMU
#define PTRACE_SYSEMU 31
#endif

static struct ptrace_context *context_of(struct context *base)
{
    return container_of(base, struct ptrace_context, base);
}

/* From now on the death watch knows whose thread it is (NULL: nobody's). */
static void set_user(struct stub_thread *st, struct ptrace_context *user)
{
    MUTEX_GUARD(&st->process->lock);
    st->user = user;
}

static void drop_stub(struct ptrace_context *c, bool last)
{
    if (c->stub) {
        set_user(c->stub, NULL);
        cpu_time_detach(c, last);
        stub_thread_recycle(c->host, c->stub);
    }
    c->stub = NULL;
    c->seen_valid = false;
}

static enum switch_reason stub_died(struct ptrace_context *c)
{
    set_user(c->stub, NULL);
    cpu_time_detach(c, false);
    placement_detach(&c->platform->placement, &c->host->placed, &c->stub->cpu);
    stub_thread_died(c->stub);
    c->stub = NULL;
    c->seen_valid = false;
    return SWITCH_DEAD;
}

/* The first run, or the first after exec. */
static int move_to(struct ptrace_context *c, struct stub_process *sp)
{
    drop_stub(c, false);
    int err = stub_thread_get(c->host, sp, &c->stub);
    if (!err) {
        atomic_store(&c->process, sp->pid);
        set_user(c->stub, c);
        cpu_time_attach(c);
    }
    return err;
}

/* The host did not take the registers: they are impossible, or the thread was killed meanwhile. */
static enum switch_reason not_loaded(struct ptrace_context *c, int err, struct switch_event *ev)
{
    if (err == -ESRCH) {
        stub_reap(c->stub->tid);
        return stub_died(c);
    }
    *ev = (struct switch_event){.info = {.si_signo = SIGSEGV, .si_code = SI_KERNEL}};
    return SWITCH_SIGNAL;
}

/* The size that the host insists on may be larger than what the platform shows (AMX, which
 * applications must ask for). */
static int set_xstate(struct ptrace_context *c, const void *state, size_t size)
{
    struct iovec iov = {.iov_base = (void *)state, .iov_len = size};
    if (size != c->platform->host_xstate_size) {
        memset(c->host->xstate, 0, c->platform->host_xstate_size);
        memcpy(c->host->xstate, state, size);
        iov = (struct iovec){c->host->xstate, c->platform->host_xstate_size};
    }
    return ptrace(PTRACE_SETREGSET, c->stub->tid, NT_X86_XSTATE, &iov) < 0 ? -errno : 0;
}

/* Makes the thread's FPU what the task's is to be. */
static int load_fpu(struct ptrace_context *c, struct arch_context *ac)
{
    int err = 0;
    if (ac->fpu_dirty && ac->xstate)
        err = set_xstate(c, ac->xstate, c->platform->base.xstate_size);
    else if (c->stub->used)
        err = set_xstate(c, c->platform->initial_xstate, c->platform->host_xstate_size);
    ac->fpu_dirty = false;
    c->stub->used = false;
    return err;
}

/* Values that the host takes for "restart this call", where it thinks that there was one. */
static bool looks_like_restart(uint64_t rax)
{
    return rax >= (uint64_t)-516 && rax <= (uint64_t)-512;
}

#define REGS_EQUAL(a, b, from, to)                                                                 \
    (memcmp(&(a)->from, &(b)->from,                                                                \
            offsetof(struct user_regs_struct, to) - offsetof(struct user_regs_struct, from)) == 0)

/* Whether the stopped thread has these registers already, but for rax. */
static bool has_registers(const struct ptrace_context *c, const struct user_regs_struct *regs)
{
    const struct user_regs_struct *has = &c->seen;
    return c->seen_valid && REGS_EQUAL(has, regs, r15, rax) &&
           REGS_EQUAL(has, regs, rcx, orig_rax) && REGS_EQUAL(has, regs, rip, gs) &&
           has->gs == regs->gs;
}

/*
 * Puts ac's general registers into the stopped thread. The host must not take it for a thread in a
 * system call: it would restart those that return -ERESTART*. After most stops rax alone is new,
 * and to write one register costs half of what it costs to write all.
 */
static int load_registers(struct ptrace_context *c, struct arch_context *ac)
{
    if (likely(has_registers(c, &ac->regs) && !looks_like_restart(ac->regs.rax))) {
        if (ac->regs.rax == c->seen.rax)
            return 0;
        return ptrace(PTRACE_POKEUSER, c->stub->tid, offsetof(struct user, regs.rax),
                      ac->regs.rax) < 0
                   ? -errno
                   : 0;
    }
    unsigned long orig_rax = ac->regs.orig_rax;
    ac->regs.orig_rax = (unsigned long)-1;
    long ret = ptrace(PTRACE_SETREGS, c->stub->tid, NULL, &ac->regs);
    ac->regs.orig_rax = orig_rax;
    return ret < 0 ? -errno : 0;
}

static int wait_stop(pid_t tid, int *status)
{
    while (waitpid(tid, status, __WALL | __WNOTHREAD) < 0)
        if (errno != EINTR)
            return -errno;
    return 0;
}

/* From one stop to the next. False: interrupted before it began. */
static bool resume(struct ptrace_context *c, int *status)
{
    pid_t tid = c->stub->tid;
    atomic_store(&c->running, tid);
    if (unlikely(atomic_load(&c->kicked))) {
        atomic_store_explicit(&c->running, 0, memory_order_relaxed);
        return false;
    }
    if (unlikely((ptrace(PTRACE_SYSEMU, tid, NULL, NULL) < 0 && errno != ESRCH) ||
                 wait_stop(tid, status) < 0))
        *status = SIGKILL; /* as if killed; ESRCH: it was, and waiting has told how */
    atomic_store_explicit(&c->running, 0, memory_order_release);
    return true;
}

static enum switch_reason context_run(struct context *base, struct address_space *as,
                                      struct arch_context *ac, struct switch_event *ev)
{
    struct ptrace_context *c = context_of(base);
    struct stub_process *sp = container_of(as, struct ptrace_space, base)->process;
    if (unlikely(!c->stub || c->stub->process != sp) && move_to(c, sp) < 0)
        return SWITCH_DEAD;

    int err = unlikely(ac->fpu_dirty || c->stub->used) ? load_fpu(c, ac) : 0;
    ac->fpu_valid = false;
    if (!err)
        err = load_registers(c, ac);
    c->seen_valid = false;
    if (unlikely(err))
        return not_loaded(c, err, ev);

    enum switch_reason reason;
    do {
        int status;
        if (!resume(c, &status)) {
            atomic_store(&c->kicked, false);
            return SWITCH_INTERRUPTED;
        }
        placed_stopped(&c->platform->placement, &c->host->placed);
        if (unlikely(!WIFSTOPPED(status)))
            return stub_died(c);
        if (unlikely(ptrace(PTRACE_GETREGS, c->stub->tid, NULL, &ac->regs) < 0)) {
            /* Killed between its stop and now. */
            stub_reap(c->stub->tid);
            return stub_died(c);
        }
        if (likely(WSTOPSIG(status) == (SIGTRAP | 0x80) && ac->regs.rcx == ac->regs.rip &&
                   ac->regs.cs == 0x33)) {
            c->seen = ac->regs;
            c->seen_valid = true;
            return SWITCH_SYSCALL;
        }
        c->seen = ac->regs;
        reason = ptrace_decode_stop(c, status, ac, ev);
        c->seen_valid = (reason == SWITCH_FAULT || reason == SWITCH_SIGNAL) &&
                        c->seen.orig_rax == (unsigned long)-1;
    } while (reason == SWITCH_NOTHING);
    return reason == SWITCH_DEAD ? stub_died(c) : reason;
}

static int context_pull_fpu(struct context *base, struct arch_context *ac)
{
    struct ptrace_context *c = context_of(base);
    size_t size = c->platform->base.xstate_size;
    if (ac->fpu_valid || ac->fpu_dirty)
        return 0;
    if (!ac->xstate && !(ac->xstate = calloc(1, size)))
        return -ENOMEM;
    ac->xstate_size = (uint32_t)size;
    struct iovec iov = {.iov_base = ac->xstate, .iov_len = size};
    if (!c->stub || c->stub->used ||
        ptrace(PTRACE_GETREGSET, c->stub->tid, NT_X86_XSTATE, &iov) < 0)
        memcpy(ac->xstate, c->platform->initial_xstate, size);
    ac->fpu_valid = true;
    return 0;
}

static void context_interrupt(struct context *base)
{
    struct ptrace_context *c = context_of(base);
    atomic_store(&c->kicked, true);
    placement_hurry(&c->platform->placement, &c->host->placed);
    pid_t tid = atomic_load(&c->running);
    /* If the thread dies just now, the signal goes to nobody: the pid of its process is not free
     * before the address space is released. */
    if (tid)
        syscall(SYS_tgkill, atomic_load(&c->process), tid, KICK_SIGNAL);
}

static void context_will_block(struct context *base)
{
    struct ptrace_context *c = context_of(base);
    placement_sleep(&c->platform->placement, &c->host->placed);
}

static void context_did_unblock(struct context *base)
{
    struct ptrace_context *c = context_of(base);
    placement_wake(&c->platform->placement, &c->host->placed);
}

static void context_yield(struct context *base)
{
    struct ptrace_context *c = context_of(base);
    if (!atomic_load(&c->kicked))
        placement_yield(&c->platform->placement, &c->host->placed);
}

static void context_set_cpus(struct context *base, const cpu_set_t *cpus)
{
    struct ptrace_context *c = context_of(base);
    placement_restrict(&c->platform->placement, &c->host->placed, cpus);
}

static void context_on_death(struct context *base, void (*fn)(void *arg), void *arg)
{
    struct ptrace_context *c = context_of(base);
    struct stub_process *sp = c->stub ? c->stub->process : NULL;
    if (sp)
        mutex_lock(&sp->lock);
    c->on_death = fn;
    c->on_death_arg = arg;
    if (sp)
        mutex_unlock(&sp->lock);
}

static void context_release(struct context *base)
{
    struct ptrace_context *c = context_of(base);
    drop_stub(c, true);
    placement_sleep(&c->platform->placement, &c->host->placed);
    mutex_destroy(&c->cpu_lock);
    free(c);
}

static const struct context_ops context_ops = {
    .run = context_run,
    .pull_fpu = context_pull_fpu,
    .interrupt = context_interrupt,
    .will_block = context_will_block,
    .did_unblock = context_did_unblock,
    .yield = context_yield,
    .set_cpus = context_set_cpus,
    .cpu_time = ptrace_context_cpu_time,
    .on_death = context_on_death,
    .release = context_release,
};

int ptrace_new_context(struct platform *base, struct address_space *as, struct context **out)
{
    struct ptrace_platform *p = container_of(base, struct ptrace_platform, base);
    struct ptrace_context *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->base.ops = &context_ops;
    mutex_init(&c->cpu_lock, LOCK_LEAF);
    c->platform = p;
    c->host = host_thread_get(p);
    int err = c->host ? 0 : -ENOMEM;
    if (!err)
        placement_wake(&p->placement, &c->host->placed);
    if (!err && as)
        err = move_to(c, container_of(as, struct ptrace_space, base)->process);
    if (err) {
        mutex_destroy(&c->cpu_lock);
        free(c);
        return err == -ENOMEM ? err : -EAGAIN;
    }
    *out = &c->base;
    return 0;
}
