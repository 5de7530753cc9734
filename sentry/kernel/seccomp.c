#include "sentry/kernel/seccomp.h"
#include "base/log.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/vfs.h"
#include <asm/unistd_64.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MAX_INSNS 32768 /* of all filters of a chain, each with a penalty */
#define FILTER_PENALTY 4
#define ERRNO_MAX 4095

/* ---- actions ---- */

static const struct {
    uint32_t action;
    const char *name;
} actions[SECCOMP_ACTIONS] = {
    {SECCOMP_RET_KILL_PROCESS, "kill_process"},
    {SECCOMP_RET_KILL_THREAD, "kill_thread"},
    {SECCOMP_RET_TRAP, "trap"},
    {SECCOMP_RET_ERRNO, "errno"},
    {SECCOMP_RET_USER_NOTIF, "user_notif"},
    {SECCOMP_RET_TRACE, "trace"},
    {SECCOMP_RET_LOG, "log"},
    {SECCOMP_RET_ALLOW, "allow"},
};

const char *seccomp_action_name(unsigned n)
{
    return actions[n].name;
}

static int action_index(uint32_t action)
{
    for (unsigned n = 0; n < SECCOMP_ACTIONS; n++) {
        if (actions[n].action == action)
            return (int)n;
    }
    return -1;
}

bool seccomp_action_known(uint32_t action)
{
    return action_index(action) >= 0;
}

/* ---- filters ---- */

void seccomp_filter_put(struct seccomp_filter *f)
{
    while (f && ref_put(&f->ref)) {
        struct seccomp_filter *prev = f->prev;
        if (f->listener)
            seccomp_listener_free(f->listener);
        bpf_program_free(f->program);
        free(f);
        f = prev;
    }
}

static void filter_use(struct seccomp_filter *f)
{
    ref_get(&f->ref);
    atomic_fetch_add(&f->users, 1);
}

/* Ends a use (not the reference): the last one leaves a listener, and what is below, alone. */
static void filter_unuse(struct seccomp_filter *f)
{
    while (f && atomic_fetch_sub(&f->users, 1) == 1) {
        if (f->listener)
            seccomp_listener_orphaned(f->listener);
        f = f->prev;
    }
}

static void fill_cache(struct seccomp_filter *f)
{
    for (uint32_t nr = 0; nr < SECCOMP_CACHE_WORDS * 64; nr++) {
        uint64_t bit = 1ull << (nr % 64);
        uint32_t result;
        const uint32_t known[] = {nr, AUDIT_ARCH_X86_64};
        _Static_assert(offsetof(struct seccomp_data, nr) == 0, "ABI");
        _Static_assert(offsetof(struct seccomp_data, arch) == 4, "ABI");
        if (f->prev && !(f->prev->always[nr / 64] & bit))
            continue;
        if (bpf_is_constant(f->program, known, ARRAY_SIZE(known), &result) &&
            (result & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ALLOW)
            f->always[nr / 64] |= bit;
    }
}

static int filter_create(uint32_t flags, const struct sock_filter *insns, size_t n,
                         struct seccomp_filter **out)
{
    struct seccomp_filter *f = calloc(1, sizeof(*f));
    if (!f)
        return -ENOMEM;
    int err = bpf_program_create(insns, n, sizeof(struct seccomp_data), &f->program);
    if (err) {
        free(f);
        return err;
    }
    ref_init(&f->ref);
    f->users = 1;
    f->log = flags & SECCOMP_FILTER_FLAG_LOG;
    f->wait_killable = flags & SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    *out = f;
    return 0;
}

/* ---- installing ---- */

static void set_mode(struct task *t, int mode)
{
    atomic_store(&t->seccomp_mode, mode);
    atomic_fetch_or(&t->syscall_work, SYSCALL_WORK_SECCOMP);
}

long seccomp_set_strict(struct task *t)
{
    MUTEX_GUARD(&t->tg->sighand_lock);
    int mode = atomic_load(&t->seccomp_mode);
    if (mode && mode != SECCOMP_MODE_STRICT)
        return -EINVAL;
    set_mode(t, SECCOMP_MODE_STRICT);
    return 0;
}

static bool is_below(const struct seccomp_filter *f, const struct seccomp_filter *top)
{
    if (!f)
        return true;
    for (; top; top = top->prev) {
        if (top == f)
            return true;
    }
    return false;
}

/* The first thread that cannot take over t's filters, because it has others: its id, or 0. */
static pid_t cannot_sync(struct task *t)
{
    struct task *other;
    list_for_each (other, &t->tg->tasks, group_link) {
        if (other == t || other->exiting)
            continue;
        int mode = atomic_load(&other->seccomp_mode);
        if (mode == SECCOMP_MODE_DISABLED ||
            (mode == SECCOMP_MODE_FILTER && is_below(other->seccomp, t->seccomp)))
            continue;
        return other->tid;
    }
    return 0;
}

static void give_filters(struct task *to, struct task *from)
{
    struct seccomp_filter *old = to->seccomp, *new = from->seccomp;
    if (new)
        filter_use(new);
    atomic_store(&to->seccomp, new);
    atomic_store(&to->seccomp_filters, atomic_load(&from->seccomp_filters));
    if (atomic_load(&from->no_new_privs))
        atomic_store(&to->no_new_privs, true);
    filter_unuse(old);
    seccomp_filter_put(old);
}

static void sync_threads(struct task *t)
{
    struct task *other;
    list_for_each (other, &t->tg->tasks, group_link) {
        if (other == t || other->exiting)
            continue;
        give_filters(other, t);
        set_mode(other, SECCOMP_MODE_FILTER);
    }
}

/* SIGHAND held. f's references go to t if it succeeds. */
static long attach(struct task *t, uint32_t flags, struct seccomp_filter *f)
{
    struct seccomp_filter *old = t->seccomp;
    int mode = atomic_load(&t->seccomp_mode);
    if (mode && mode != SECCOMP_MODE_FILTER)
        return -EINVAL;
    uint32_t total = f->program->length;
    for (struct seccomp_filter *p = old; p; p = p->prev) {
        if (f->listener && p->listener)
            return -EBUSY;
        total += p->program->length + FILTER_PENALTY;
    }
    if (total > PATH_MAX_INSNS)
        return -ENOMEM;
    if (flags & SECCOMP_FILTER_FLAG_TSYNC) {
        pid_t tid = cannot_sync(t);
        if (tid)
            return flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH ? -ESRCH : tid;
    }
    f->prev = old; /* with what t held of it */
    fill_cache(f);
    atomic_store(&t->seccomp, f);
    atomic_fetch_add(&t->seccomp_filters, 1);
    set_mode(t, SECCOMP_MODE_FILTER);
    if (flags & SECCOMP_FILTER_FLAG_TSYNC)
        sync_threads(t);
    return 0;
}

long seccomp_set_filter(struct task *t, uint32_t flags, const struct sock_filter *insns, size_t n)
{
    struct seccomp_filter *f;
    int fd = -1, err = filter_create(flags, insns, n, &f);
    if (err)
        return err;
    if (flags & SECCOMP_FILTER_FLAG_NEW_LISTENER) {
        fd = seccomp_listener_create(t, f);
        if (fd < 0) {
            seccomp_filter_put(f);
            return fd;
        }
    }
    long r;
    {
        MUTEX_GUARD(&t->tg->sighand_lock);
        r = attach(t, flags, f);
    }
    if (r) {
        if (fd >= 0)
            (void)fd_close(t, fd);
        seccomp_filter_put(f);
        return r;
    }
    return fd >= 0 ? fd : 0;
}

void seccomp_inherit(struct task *child, struct task *parent)
{
    lock_assert_held(&parent->tg->sighand_lock);
    int mode = atomic_load(&parent->seccomp_mode);
    give_filters(child, parent);
    if (mode)
        set_mode(child, mode);
}

void seccomp_exit(struct task *t)
{
    struct seccomp_filter *f;
    if (!atomic_load(&t->seccomp))
        return;
    {
        MUTEX_GUARD(&t->tg->sighand_lock);
        f = t->seccomp;
        atomic_store(&t->seccomp, NULL);
    }
    filter_unuse(f);
    seccomp_filter_put(f);
}

/* ---- running ---- */

/* The lowest action of the chain, newest filter first among equals. */
static uint32_t run_filters(struct seccomp_filter *top, const struct seccomp_data *data,
                            struct seccomp_filter **match)
{
    uint32_t result = SECCOMP_RET_ALLOW;
    for (struct seccomp_filter *f = top; f; f = f->prev) {
        uint32_t r = bpf_run(f->program, data, sizeof(*data));
        if ((int32_t)(r & SECCOMP_RET_ACTION_FULL) < (int32_t)(result & SECCOMP_RET_ACTION_FULL)) {
            result = r;
            *match = f;
        }
    }
    return result;
}

static void note(struct task *t, const struct seccomp_filter *match, uint32_t action, int nr)
{
    int index = action_index(action);
    bool wanted = action == SECCOMP_RET_KILL_PROCESS || action == SECCOMP_RET_KILL_THREAD ||
                  action == SECCOMP_RET_LOG || (match && match->log);
    if (!wanted || index < 0 || !(atomic_load(&t->kernel->seccomp_logged) >> index & 1))
        return;
    const char *name = syscall_name((uint64_t)nr);
    log_info("seccomp: %s[%d]: system call %d (%s): %s", t->comm, t->tid, nr,
             name ? name : "unknown", actions[index].name);
}

static void kill_thread(struct task *t, int sig)
{
    t->exit_code = sig;
    atomic_fetch_or(&t->work, TASK_WORK_EXIT);
}

static void send_sigsys(struct task *t, int nr, int reason)
{
    siginfo_t info;
    memset(&info, 0, sizeof(info));
    info.si_signo = SIGSYS;
    info.si_code = 1; /* SYS_SECCOMP */
    info.si_errno = reason;
    info.si_call_addr = (void *)(uintptr_t)t->arch.regs.rip;
    info.si_syscall = nr;
    info.si_arch = AUDIT_ARCH_X86_64;
    signal_force(t, &info);
}

/* As if the call had never been made, but for the instruction pointer. */
static void roll_back(struct task *t)
{
    t->arch.regs.rax = t->arch.regs.orig_rax;
    t->in_syscall = false;
}

static bool allow(UNUSED struct task *t, UNUSED struct seccomp_filter *match, UNUSED int reason,
                  UNUSED const struct seccomp_data *data)
{
    return true;
}

static bool act_errno(struct task *t, UNUSED struct seccomp_filter *match, int reason,
                      UNUSED const struct seccomp_data *data)
{
    arch_set_return(&t->arch, -MIN(reason, ERRNO_MAX));
    return false;
}

static bool act_trap(struct task *t, UNUSED struct seccomp_filter *match, int reason,
                     const struct seccomp_data *data)
{
    roll_back(t);
    send_sigsys(t, data->nr, reason);
    return false;
}

static bool act_trace(struct task *t, UNUSED struct seccomp_filter *match, int reason,
                      UNUSED const struct seccomp_data *data)
{
    if (ptrace_seccomp_stop(t, (unsigned)reason))
        return true;
    arch_set_return(&t->arch, -ENOSYS);
    return false;
}

static bool act_notify(struct task *t, struct seccomp_filter *match, UNUSED int reason,
                       const struct seccomp_data *data)
{
    long result;
    if (seccomp_notify(t, match, data, &result))
        return true;
    arch_set_return(&t->arch, result);
    return false;
}

static bool act_kill_thread(struct task *t, UNUSED struct seccomp_filter *match, UNUSED int reason,
                            UNUSED const struct seccomp_data *data)
{
    kill_thread(t, SIGSYS);
    return false;
}

static bool act_kill_process(struct task *t, UNUSED struct seccomp_filter *match, UNUSED int reason,
                             UNUSED const struct seccomp_data *data)
{
    group_exit(t->tg, SIGSYS);
    return false;
}

/* In the order of actions[]; unknown actions kill the process. */
static bool (*const handlers[SECCOMP_ACTIONS])(struct task *t, struct seccomp_filter *match,
                                               int reason, const struct seccomp_data *data) = {
    act_kill_process, act_kill_thread, act_trap, act_errno, act_notify, act_trace, allow, allow,
};

static void fill_data(const struct task *t, struct seccomp_data *data)
{
    const struct user_regs_struct *r = &t->arch.regs;
    *data = (struct seccomp_data){
        .nr = (int)r->orig_rax,
        .arch = AUDIT_ARCH_X86_64,
        .instruction_pointer = r->rip,
        .args = {r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9},
    };
}

static bool filter_allows(struct task *t, bool traced)
{
    struct seccomp_filter *top = atomic_load_explicit(&t->seccomp, memory_order_acquire);
    uint32_t nr = (uint32_t)t->arch.regs.orig_rax;
    if (nr < SECCOMP_CACHE_WORDS * 64 && (top->always[nr / 64] >> (nr % 64) & 1))
        return true;
    struct seccomp_data data;
    struct seccomp_filter *match = NULL;
    fill_data(t, &data);
    uint32_t result = run_filters(top, &data, &match);
    uint32_t action = result & SECCOMP_RET_ACTION_FULL;
    int index = action_index(action);
    note(t, match, action, data.nr);
    if (action == SECCOMP_RET_TRACE && traced)
        return true;
    if (!handlers[MAX(index, 0)](t, match, (int)(result & SECCOMP_RET_DATA), &data))
        return false;
    if (action != SECCOMP_RET_TRACE)
        return true;
    /* The tracer may have skipped the call, or made another of it: that one is looked at anew. */
    if ((int)t->arch.regs.orig_rax < 0 || (atomic_load(&t->work) & TASK_WORK_EXIT))
        return false;
    return filter_allows(t, true);
}

static bool strict_allows(struct task *t)
{
    static const int allowed[] = {__NR_read, __NR_write, __NR_exit, __NR_rt_sigreturn};
    for (size_t i = 0; i < ARRAY_SIZE(allowed); i++) {
        if ((int)t->arch.regs.orig_rax == allowed[i])
            return true;
    }
    note(t, NULL, SECCOMP_RET_KILL_THREAD, (int)t->arch.regs.orig_rax);
    kill_thread(t, SIGKILL);
    return false;
}

bool seccomp_allows(struct task *t)
{
    if (ptrace_suspends_seccomp(t))
        return true;
    if (atomic_load_explicit(&t->seccomp_mode, memory_order_relaxed) == SECCOMP_MODE_STRICT)
        return strict_allows(t);
    return filter_allows(t, false);
}
