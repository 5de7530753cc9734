/*
 * prctl(2), arch_prctl(2), personality(2).
 */
#include "sentry/syscalls/prctl.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include "sentry/syscalls/syscalls.h"
#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/securebits.h>
#include <string.h>

#define ARCH_SET_GS 0x1001
#define ARCH_SET_FS 0x1002
#define ARCH_GET_FS 0x1003
#define ARCH_GET_GS 0x1004
#define ARCH_GET_CPUID 0x1011
#define ARCH_SET_CPUID 0x1012
#define ARCH_GET_XCOMP_SUPP 0x1021
#define ARCH_GET_XCOMP_PERM 0x1022
#define ANON_NAME_MAX 80

static long set_name(struct task *t, gva_t addr)
{
    char name[16] = {0};
    /* Longer names are cut, without reading beyond the end of shorter ones. */
    ssize_t n = mm_copy_in_string(t->mm, name, addr, sizeof(name));
    if (n < 0 && n != -ENAMETOOLONG)
        return n;
    if (n == -ENAMETOOLONG) {
        int err = mm_copy_in(t->mm, name, addr, sizeof(name) - 1);
        if (err)
            return err;
    }
    name[15] = '\0';
    MUTEX_GUARD(&t->lock);
    memset(t->comm, 0, sizeof(t->comm));
    memcpy(t->comm, name, strlen(name));
    return 0;
}

static long get_name(struct task *t, gva_t addr)
{
    char name[16];
    {
        MUTEX_GUARD(&t->lock);
        memcpy(name, t->comm, sizeof(name));
    }
    return mm_copy_out(t->mm, addr, name, sizeof(name));
}

/* The address is all the application's word; so are the length and the name. */
static long set_vma_name(struct task *t, const struct sysargs *a)
{
    if (a->a[1] != PR_SET_VMA_ANON_NAME)
        return -EINVAL;
    char name[ANON_NAME_MAX];
    if (a->a[4]) {
        ssize_t n = mm_copy_in_string(t->mm, name, ARG_GVA(a, 4), sizeof(name));
        if (n < 0)
            return n == -ENAMETOOLONG ? -EINVAL : n;
        for (ssize_t i = 0; i < n; i++) {
            if (name[i] < 0x20 || name[i] > 0x7e || strchr("\\`$[]", name[i]))
                return -EINVAL;
        }
    }
    return mm_set_anon_name(t->mm, ARG_GVA(a, 2), a->a[3], a->a[4] ? name : NULL);
}

static struct cred *begin_change(struct task *t)
{
    return cred_copy(t->cred, t->cred->ngroups);
}

static long drop_bounding(struct task *t, uint64_t cap)
{
    if (cap > CAP_LAST_CAP)
        return -EINVAL;
    if (!task_capable_here(t, CAP_SETPCAP))
        return -EPERM;
    struct cred *c = begin_change(t);
    if (!c)
        return -ENOMEM;
    c->cap_bounding &= ~(1ull << cap);
    task_set_cred(t, c);
    return 0;
}

static long set_keepcaps(struct task *t, uint64_t on)
{
    if (on > 1)
        return -EINVAL;
    if (t->cred->securebits & SECBIT_KEEP_CAPS_LOCKED)
        return -EPERM;
    struct cred *c = begin_change(t);
    if (!c)
        return -ENOMEM;
    c->securebits &= ~(uint32_t)SECBIT_KEEP_CAPS;
    if (on)
        c->securebits |= SECBIT_KEEP_CAPS;
    task_set_cred(t, c);
    return 0;
}

static long set_securebits(struct task *t, uint64_t bits)
{
    uint32_t old = t->cred->securebits;
    const uint32_t locks = SECURE_ALL_LOCKS, settings = SECURE_ALL_BITS;
    uint32_t locked = (old & locks) >> 1;
    if (((old & settings) ^ bits) & locked || (old & locks & ~bits) ||
        (bits & ~(uint64_t)(locks | settings)) || !task_capable_here(t, CAP_SETPCAP))
        return -EPERM;
    struct cred *c = begin_change(t);
    if (!c)
        return -ENOMEM;
    c->securebits = (uint32_t)bits;
    task_set_cred(t, c);
    return 0;
}

static long cap_ambient(struct task *t, const struct sysargs *a)
{
    uint64_t what = a->a[1], cap = a->a[2];
    if (a->a[3] || a->a[4])
        return -EINVAL;
    if (what == PR_CAP_AMBIENT_CLEAR_ALL ? cap != 0 : cap > CAP_LAST_CAP)
        return -EINVAL;
    uint64_t bit = 1ull << (cap & 63);
    const struct cred *old = t->cred;
    if (what == PR_CAP_AMBIENT_IS_SET)
        return !!(old->cap_ambient & bit);
    if (what == PR_CAP_AMBIENT_RAISE && (!(old->cap_permitted & old->cap_inheritable & bit) ||
                                         (old->securebits & SECBIT_NO_CAP_AMBIENT_RAISE)))
        return -EPERM;
    if (what < PR_CAP_AMBIENT_IS_SET || what > PR_CAP_AMBIENT_CLEAR_ALL)
        return -EINVAL;
    struct cred *c = begin_change(t);
    if (!c)
        return -ENOMEM;
    if (what == PR_CAP_AMBIENT_RAISE)
        c->cap_ambient |= bit;
    else if (what == PR_CAP_AMBIENT_LOWER)
        c->cap_ambient &= ~bit;
    else
        c->cap_ambient = 0;
    task_set_cred(t, c);
    return 0;
}

static long set_pdeathsig(struct task *t, uint64_t sig)
{
    if (sig > SIG_MAX)
        return -EINVAL;
    MUTEX_GUARD(&t->kernel->tree_lock);
    t->pdeath_signal = (int)sig;
    return 0;
}

static long set_subreaper(struct task *t, bool on)
{
    MUTEX_GUARD(&t->kernel->tree_lock);
    t->tg->is_child_subreaper = on;
    return 0;
}

static long copy_out_int(struct task *t, gva_t addr, int value)
{
    return MM_COPY_OUT(t->mm, addr, &value);
}

/* No memory of ours ever fails as hardware does: the wish is kept, and told. */
static long set_mce_kill(struct task *t, const struct sysargs *a)
{
    uint64_t policy = a->a[2];
    if (a->a[3] || a->a[4])
        return -EINVAL;
    if (a->a[1] == PR_MCE_KILL_CLEAR && policy == 0)
        policy = PR_MCE_KILL_DEFAULT;
    else if (a->a[1] != PR_MCE_KILL_SET || policy > PR_MCE_KILL_DEFAULT)
        return -EINVAL;
    atomic_store(&t->tg->mce_kill, (uint8_t)policy);
    return 0;
}

static long io_flusher(struct task *t, const struct sysargs *a, bool set)
{
    if (!task_capable(t, CAP_SYS_RESOURCE))
        return -EPERM;
    for (int i = set ? 2 : 1; i < 5; i++) {
        if (a->a[i])
            return -EINVAL;
    }
    if (!set)
        return t->io_flusher;
    if (a->a[1] > 1)
        return -EINVAL;
    t->io_flusher = a->a[1];
    return 0;
}

static bool rest_is_zero(const struct sysargs *a, int from)
{
    for (int i = from; i < 5; i++) {
        if (a->a[i])
            return false;
    }
    return true;
}

SYSCALL(prctl)
{
    uint64_t arg = a->a[1];
    switch (ARG_INT(a, 0)) {
    case PR_SET_PDEATHSIG:
        return set_pdeathsig(t, arg);
    case PR_GET_PDEATHSIG:
        return copy_out_int(t, arg, t->pdeath_signal);
    case PR_GET_DUMPABLE:
        return atomic_load(&t->tg->dumpable);
    case PR_SET_DUMPABLE:
        if (arg > 1)
            return -EINVAL;
        atomic_store(&t->tg->dumpable, arg != 0);
        return 0;
    case PR_SET_NAME:
        return set_name(t, arg);
    case PR_GET_NAME:
        return get_name(t, arg);
    case PR_GET_KEEPCAPS:
        return !!(t->cred->securebits & SECBIT_KEEP_CAPS);
    case PR_SET_KEEPCAPS:
        return set_keepcaps(t, arg);
    case PR_GET_SECUREBITS:
        return t->cred->securebits;
    case PR_SET_SECUREBITS:
        return set_securebits(t, arg);
    case PR_CAPBSET_READ:
        return arg > CAP_LAST_CAP ? -EINVAL : (long)(t->cred->cap_bounding >> arg & 1);
    case PR_CAPBSET_DROP:
        return drop_bounding(t, arg);
    case PR_CAP_AMBIENT:
        return cap_ambient(t, a);
    case PR_SET_TIMERSLACK:
        t->timer_slack_ns = (int64_t)arg <= 0 ? t->default_timer_slack_ns : arg;
        return 0;
    case PR_GET_TIMERSLACK:
        return (long)t->timer_slack_ns;
    case PR_SET_CHILD_SUBREAPER:
        return set_subreaper(t, arg != 0);
    case PR_GET_CHILD_SUBREAPER:
        return copy_out_int(t, arg, t->tg->is_child_subreaper);
    case PR_SET_NO_NEW_PRIVS:
        if (arg != 1 || !rest_is_zero(a, 2))
            return -EINVAL;
        t->no_new_privs = true;
        return 0;
    case PR_GET_NO_NEW_PRIVS:
        return rest_is_zero(a, 1) ? t->no_new_privs : -EINVAL;
    case PR_GET_SECCOMP:
        return atomic_load(&t->seccomp_mode);
    case PR_SET_SECCOMP:
        return prctl_set_seccomp(t, arg, ARG_GVA(a, 2));
    case PR_GET_TSC:
        return copy_out_int(t, arg, PR_TSC_ENABLE);
    case PR_SET_TSC:
        return arg == PR_TSC_ENABLE ? 0 : -EINVAL;
    case PR_GET_TIMING:
        return PR_TIMING_STATISTICAL;
    case PR_SET_TIMING:
        return arg == PR_TIMING_STATISTICAL ? 0 : -EINVAL;
    case PR_GET_TID_ADDRESS:
        return MM_COPY_OUT(t->mm, arg, &t->clear_child_tid);
    case PR_MCE_KILL_GET:
        return rest_is_zero(a, 1) ? atomic_load(&t->tg->mce_kill) : -EINVAL;
    case PR_MCE_KILL:
        return set_mce_kill(t, a);
    case PR_SET_IO_FLUSHER:
        return io_flusher(t, a, true);
    case PR_GET_IO_FLUSHER:
        return io_flusher(t, a, false);
    case PR_GET_THP_DISABLE:
        return rest_is_zero(a, 1) ? 0 : -EINVAL;
    case PR_SET_VMA:
        return set_vma_name(t, a);
    case PR_SET_MM:
        return task_capable(t, CAP_SYS_RESOURCE) ? -EINVAL : -EPERM;
    default:
        return -EINVAL;
    }
}

SYSCALL(arch_prctl)
{
    struct user_regs_struct *regs = &t->arch.regs;
    uint64_t addr = a->a[1];
    switch (ARG_INT(a, 0)) {
    case ARCH_SET_FS:
    case ARCH_SET_GS:
        if (addr >= t->kernel->platform->max_addr)
            return -EPERM;
        if (ARG_INT(a, 0) == ARCH_SET_FS)
            regs->fs_base = addr;
        else
            regs->gs_base = addr;
        return 0;
    case ARCH_GET_FS: {
        uint64_t base = regs->fs_base;
        return MM_COPY_OUT(t->mm, addr, &base);
    }
    case ARCH_GET_GS: {
        uint64_t base = regs->gs_base;
        return MM_COPY_OUT(t->mm, addr, &base);
    }
    case ARCH_GET_CPUID:
        return 1;
    case ARCH_SET_CPUID:
        return -ENODEV;
    case ARCH_GET_XCOMP_SUPP:
    case ARCH_GET_XCOMP_PERM:
        return MM_COPY_OUT(t->mm, addr, &t->kernel->platform->xfeatures);
    default:
        return -EINVAL;
    }
}

SYSCALL(personality)
{
    uint32_t old = t->personality, new = ARG_UINT(a, 0);
    if (new != 0xffffffff)
        t->personality = new;
    return old;
}
