/*
 * The system-call table, and the way in. A handler that exists somewhere as sys_NAME is found by
 * the linker; one that does not leaves its row's fn NULL.
 */
#include "sentry/syscalls/syscall_table.h"

#include "base/log.h"
#include "sentry/kernel/kernel.h"

#define ROW(nr, name, ...) SYSCALL(name) __attribute__((weak));
#include "sentry/syscalls/syscall_list.h"
#undef ROW

#define ROW_NARGS(...) (sizeof((uint8_t[]){0, ##__VA_ARGS__}) - 1)
#define ROW(nr, call, err, class, res, ...)                                                        \
    [nr] = {.name = #call,                                                                         \
            .fn = sys_##call,                                                                      \
            .classes = class,                                                                      \
            .missing = err,                                                                        \
            .result = res,                                                                         \
            .nargs = ROW_NARGS(__VA_ARGS__),                                                       \
            .args = {__VA_ARGS__}},

const struct syscall_row syscall_table[SYSCALL_COUNT] = {
#include "sentry/syscalls/syscall_list.h"
};

const char *syscall_name(uint64_t nr)
{
    const struct syscall_row *row = syscall_row(nr);
    return row ? row->name : NULL;
}

/* A call without a handler: says so once for each number. */
static long syscall_missing(struct task *t, uint32_t nr)
{
    const struct syscall_row *row = syscall_row(nr);
    _Atomic uint64_t *seen = t->kernel->unimplemented_seen;
    if (nr / 64 < ARRAY_SIZE(t->kernel->unimplemented_seen)) {
        uint64_t bit = 1ull << (nr % 64);
        if (!(atomic_fetch_or_explicit(&seen[nr / 64], bit, memory_order_relaxed) & bit))
            log_warn("system call %u (%s) is not implemented; first called by %s[%d]", nr,
                     row ? row->name : "unknown", t->comm, t->tid);
    }
    return row ? -(long)row->missing : -ENOSYS;
}

static inline long syscall_call(struct task *t, uint32_t nr, const struct sysargs *a)
{
    if (likely(nr < SYSCALL_COUNT)) {
        syscall_fn fn = syscall_table[nr].fn;
        if (likely(fn != NULL))
            return fn(t, a);
    }
    return syscall_missing(t, nr);
}

static __attribute__((noinline)) long syscall_traced(struct task *t, uint32_t nr,
                                                     const struct sysargs *a)
{
    if (!strace_wants(t->kernel->strace, nr))
        return syscall_call(t, nr, a);
    strace_enter(t, nr, a);
    long result = syscall_call(t, nr, a);
    strace_exit(t, nr, a, result);
    return result;
}

long syscall_dispatch(struct task *t, uint64_t nr, const struct sysargs *a)
{
    if (unlikely(t->kernel->strace != NULL))
        return syscall_traced(t, (uint32_t)nr, a);
    return syscall_call(t, (uint32_t)nr, a);
}
