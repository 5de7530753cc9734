/*
 * seccomp(2), and the same through prctl(2).
 */
#include "sentry/kernel/seccomp.h"
#include "sentry/kernel/kernel.h"
#include "sentry/syscalls/prctl.h"
#include "sentry/syscalls/syscalls.h"
#include <linux/capability.h>
#include <linux/prctl.h>
#include <stdlib.h>

#define FILTER_FLAGS                                                                               \
    (SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW |        \
     SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_TSYNC_ESRCH |                          \
     SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)

/* struct sock_fprog, as the application lays it out. */
struct user_fprog {
    uint16_t len, padding[3];
    gva_t filter;
};

static int check_filter_flags(uint64_t flags)
{
    const uint64_t listener = SECCOMP_FILTER_FLAG_NEW_LISTENER;
    if (flags & ~FILTER_FLAGS)
        return -EINVAL;
    /* Both have a positive result to give. */
    if ((flags & SECCOMP_FILTER_FLAG_TSYNC) && (flags & listener) &&
        !(flags & SECCOMP_FILTER_FLAG_TSYNC_ESRCH))
        return -EINVAL;
    return (flags & SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) && !(flags & listener) ? -EINVAL : 0;
}

static long set_filter(struct task *t, uint64_t flags, gva_t addr)
{
    struct user_fprog prog;
    int err = check_filter_flags(flags);
    if (!err)
        err = MM_COPY_IN(t->mm, &prog, addr);
    if (err)
        return err;
    if (prog.len == 0 || prog.len > BPF_MAXINSNS)
        return -EINVAL;
    if (!atomic_load(&t->no_new_privs) && !task_capable_here(t, CAP_SYS_ADMIN))
        return -EACCES;
    if (!prog.filter)
        return -EINVAL;
    size_t size = prog.len * sizeof(struct sock_filter);
    struct sock_filter *insns = malloc(size);
    if (!insns)
        return -ENOMEM;
    long r = mm_copy_in(t->mm, insns, prog.filter, size);
    if (!r)
        r = seccomp_set_filter(t, (uint32_t)flags, insns, prog.len);
    free(insns);
    return r;
}

static long action_avail(struct task *t, gva_t addr)
{
    uint32_t action;
    int err = MM_COPY_IN(t->mm, &action, addr);
    if (err)
        return err;
    return seccomp_action_known(action) ? 0 : -EOPNOTSUPP;
}

static long notif_sizes(struct task *t, gva_t addr)
{
    const struct seccomp_notif_sizes sizes = {
        .seccomp_notif = sizeof(struct seccomp_notif),
        .seccomp_notif_resp = sizeof(struct seccomp_notif_resp),
        .seccomp_data = sizeof(struct seccomp_data),
    };
    return MM_COPY_OUT(t->mm, addr, &sizes);
}

SYSCALL(seccomp)
{
    unsigned flags = ARG_UINT(a, 1);
    gva_t addr = ARG_GVA(a, 2);
    switch (ARG_UINT(a, 0)) {
    case SECCOMP_SET_MODE_STRICT:
        return flags || addr ? -EINVAL : seccomp_set_strict(t);
    case SECCOMP_SET_MODE_FILTER:
        return set_filter(t, flags, addr);
    case SECCOMP_GET_ACTION_AVAIL:
        return flags ? -EINVAL : action_avail(t, addr);
    case SECCOMP_GET_NOTIF_SIZES:
        return flags ? -EINVAL : notif_sizes(t, addr);
    default:
        return -EINVAL;
    }
}

long prctl_set_seccomp(struct task *t, uint64_t mode, gva_t filter)
{
    switch (mode) {
    case SECCOMP_MODE_STRICT:
        return seccomp_set_strict(t);
    case SECCOMP_MODE_FILTER:
        return set_filter(t, 0, filter);
    default:
        return -EINVAL;
    }
}
