/*
 * ptrace(2): the requests.
 */
#include "sentry/kernel/ptrace.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include "sentry/kernel/ptrace_regs.h"
#include "sentry/syscalls/syscalls.h"
#include <elf.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/ptrace.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/user.h>

#define PTRACE_GETREGS 12
#define PTRACE_SETREGS 13
#define PTRACE_GETFPREGS 14
#define PTRACE_SETFPREGS 15
#define PTRACE_ARCH_PRCTL 30
#define PTRACE_SYSEMU 31
#define PTRACE_SYSEMU_SINGLESTEP 32

#define ARCH_SET_GS 0x1001
#define ARCH_SET_FS 0x1002
#define ARCH_GET_FS 0x1003
#define ARCH_GET_GS 0x1004

/* One request: child is traced by t, and stopped unless the row says otherwise. */
typedef long (*request_fn)(struct task *t, struct task *child, uint64_t addr, uint64_t data);

/* ---- memory ---- */

static long peek_data(struct task *t, struct task *child, uint64_t addr, uint64_t data)
{
    uint64_t word;
    struct mm *mm = task_get_mm(child);
    size_t n = mm ? mm_copy_in_force(mm, &word, addr, sizeof(word)) : 0;
    mm_user_put(mm);
    return n == sizeof(word) ? MM_COPY_OUT(t->mm, data, &word) : -EIO;
}

static long poke_data(UNUSED struct task *t, struct task *child, uint64_t addr, uint64_t data)
{
    struct mm *mm = task_get_mm(child);
    size_t n = mm ? mm_copy_out_force(mm, addr, &data, sizeof(data)) : 0;
    mm_user_put(mm);
    return n == sizeof(data) ? 0 : -EIO;
}

/* ---- registers ---- */

static long peek_user(struct task *t, struct task *child, uint64_t addr, uint64_t data)
{
    uint64_t word;
    int err;
    {
        MUTEX_GUARD(&child->tg->sighand_lock);
        err = ptrace_is_stopped(t, child) ? ptrace_peek_user(child, addr, &word) : -ESRCH;
    }
    return err ? err : MM_COPY_OUT(t->mm, data, &word);
}

static long poke_user(struct task *t, struct task *child, uint64_t addr, uint64_t data)
{
    MUTEX_GUARD(&child->tg->sighand_lock);
    return ptrace_is_stopped(t, child) ? ptrace_poke_user(child, addr, data) : -ESRCH;
}

static int get_set(struct task *t, struct task *child, const struct ptrace_regset *rs, gva_t addr,
                   uint32_t n)
{
    uint8_t buf[PTRACE_XSTATE_MAX];
    {
        MUTEX_GUARD(&child->tg->sighand_lock);
        if (!ptrace_is_stopped(t, child))
            return -ESRCH;
        rs->get(child, buf);
    }
    return mm_copy_out(t->mm, addr, buf, n);
}

static int set_set(struct task *t, struct task *child, const struct ptrace_regset *rs, gva_t addr,
                   uint32_t n)
{
    uint8_t buf[PTRACE_XSTATE_MAX];
    int err = mm_copy_in(t->mm, buf, addr, n);
    if (err)
        return err;
    MUTEX_GUARD(&child->tg->sighand_lock);
    return ptrace_is_stopped(t, child) ? rs->set(child, buf, n) : -ESRCH;
}

static long get_whole(struct task *t, struct task *child, unsigned type, gva_t addr)
{
    const struct ptrace_regset *rs = ptrace_regset_find(type);
    return get_set(t, child, rs, addr, rs->size(child));
}

static long set_whole(struct task *t, struct task *child, unsigned type, gva_t addr)
{
    const struct ptrace_regset *rs = ptrace_regset_find(type);
    return set_set(t, child, rs, addr, rs->size(child));
}

static long get_regs(struct task *t, struct task *child, UNUSED uint64_t addr, uint64_t data)
{
    return get_whole(t, child, NT_PRSTATUS, data);
}

static long set_regs(struct task *t, struct task *child, UNUSED uint64_t addr, uint64_t data)
{
    return set_whole(t, child, NT_PRSTATUS, data);
}

static long get_fpregs(struct task *t, struct task *child, UNUSED uint64_t addr, uint64_t data)
{
    return get_whole(t, child, NT_PRFPREG, data);
}

static long set_fpregs(struct task *t, struct task *child, UNUSED uint64_t addr, uint64_t data)
{
    return set_whole(t, child, NT_PRFPREG, data);
}

static long regset(struct task *t, struct task *child, uint64_t type, gva_t addr, bool set)
{
    struct iovec iov;
    int err = MM_COPY_IN(t->mm, &iov, addr);
    if (err)
        return err;
    const struct ptrace_regset *rs = ptrace_regset_find((unsigned)type);
    if (!rs || iov.iov_len % sizeof(uint64_t))
        return -EINVAL;
    iov.iov_len = MIN(iov.iov_len, (size_t)rs->size(child));
    gva_t base = (gva_t)(uintptr_t)iov.iov_base;
    err = (set ? set_set : get_set)(t, child, rs, base, (uint32_t)iov.iov_len);
    return err ? err : MM_COPY_OUT(t->mm, addr + offsetof(struct iovec, iov_len), &iov.iov_len);
}

static long get_regset(struct task *t, struct task *child, uint64_t addr, uint64_t data)
{
    return regset(t, child, addr, data, false);
}

static long set_regset(struct task *t, struct task *child, uint64_t addr, uint64_t data)
{
    return regset(t, child, addr, data, true);
}

/* data is the operation, and addr its argument: a value, or where it goes in our own memory. */
static long arch_prctl_of(struct task *t, struct task *child, uint64_t addr, uint64_t data)
{
    bool fs = data == ARCH_SET_FS || data == ARCH_GET_FS;
    uint64_t offset = fs ? offsetof(struct user_regs_struct, fs_base)
                         : offsetof(struct user_regs_struct, gs_base);
    switch (data) {
    case ARCH_SET_FS:
    case ARCH_SET_GS: {
        long err = poke_user(t, child, offset, addr);
        return err == -EIO ? -EPERM : err;
    }
    case ARCH_GET_FS:
    case ARCH_GET_GS:
        return peek_user(t, child, offset, addr);
    default:
        return -EINVAL;
    }
}

/* ---- the stop itself ---- */

static long get_event_message(struct task *t, struct task *child, UNUSED uint64_t addr,
                              uint64_t data)
{
    uint64_t message;
    {
        MUTEX_GUARD(&child->tg->sighand_lock);
        message = child->ptrace.message;
    }
    return MM_COPY_OUT(t->mm, data, &message);
}

static long get_siginfo(struct task *t, struct task *child, UNUSED uint64_t addr, uint64_t data)
{
    siginfo_t info;
    {
        MUTEX_GUARD(&child->tg->sighand_lock);
        if (!ptrace_is_stopped(t, child))
            return -ESRCH;
        if (!child->ptrace.has_info)
            return -EINVAL;
        info = child->ptrace.info;
    }
    return MM_COPY_OUT(t->mm, data, &info);
}

static long set_siginfo(struct task *t, struct task *child, UNUSED uint64_t addr, uint64_t data)
{
    siginfo_t info;
    int err = MM_COPY_IN(t->mm, &info, data);
    if (err)
        return err;
    MUTEX_GUARD(&child->tg->sighand_lock);
    if (!ptrace_is_stopped(t, child))
        return -ESRCH;
    if (!child->ptrace.has_info)
        return -EINVAL;
    child->ptrace.info = info;
    return 0;
}

/* Entry number `index` of a queue. */
static bool peek_queued(struct task *child, bool shared, uint64_t index, siginfo_t *info)
{
    MUTEX_GUARD(&child->tg->sighand_lock);
    struct sigpending *sp = shared ? &child->tg->shared_pending : &child->pending;
    struct sigqueue *q;
    list_for_each (q, &sp->queue, link) {
        if (index-- == 0) {
            *info = q->info;
            return true;
        }
    }
    return false;
}

static long peek_siginfo(struct task *t, struct task *child, uint64_t addr, uint64_t data)
{
    struct ptrace_peeksiginfo_args args;
    int err = MM_COPY_IN(t->mm, &args, addr);
    if (err)
        return err;
    if ((args.flags & ~(unsigned)PTRACE_PEEKSIGINFO_SHARED) || args.nr < 0)
        return -EINVAL;
    long done = 0;
    siginfo_t info;
    for (; done < args.nr && !task_interrupted(t); done++) {
        uint64_t index = args.off + (uint64_t)done;
        if (index < args.off ||
            !peek_queued(child, args.flags & PTRACE_PEEKSIGINFO_SHARED, index, &info))
            break;
        err = MM_COPY_OUT(t->mm, data + (uint64_t)done * sizeof(info), &info);
        if (err)
            return done ? done : err;
    }
    return done;
}

static long get_sigmask(struct task *t, struct task *child, uint64_t addr, uint64_t data)
{
    sigset64_t mask;
    if (addr != sizeof(mask))
        return -EINVAL;
    {
        MUTEX_GUARD(&child->tg->sighand_lock);
        if (!ptrace_is_stopped(t, child))
            return -ESRCH;
        mask = child->restore_mask ? child->saved_mask : child->blocked;
    }
    return MM_COPY_OUT(t->mm, data, &mask);
}

static long set_sigmask(struct task *t, struct task *child, uint64_t addr, uint64_t data)
{
    sigset64_t mask;
    if (addr != sizeof(mask))
        return -EINVAL;
    int err = MM_COPY_IN(t->mm, &mask, data);
    if (err)
        return err;
    MUTEX_GUARD(&child->tg->sighand_lock);
    if (!ptrace_is_stopped(t, child))
        return -ESRCH;
    child->restore_mask = false;
    child->blocked = mask & ~SIG_MASK_UNBLOCKABLE;
    signal_recalc(child);
    return 0;
}

/* ---- what the stop has to do with a system call ---- */

static uint8_t syscall_op(const struct task *child)
{
    if (!child->ptrace.has_info)
        return PTRACE_SYSCALL_INFO_NONE;
    switch (child->ptrace.info.si_code) {
    case SIGTRAP | 0x80:
        return child->ptrace.message == PTRACE_EVENTMSG_SYSCALL_ENTRY  ? PTRACE_SYSCALL_INFO_ENTRY
               : child->ptrace.message == PTRACE_EVENTMSG_SYSCALL_EXIT ? PTRACE_SYSCALL_INFO_EXIT
                                                                       : PTRACE_SYSCALL_INFO_NONE;
    case SIGTRAP | PTRACE_EVENT_SECCOMP << 8:
        return PTRACE_SYSCALL_INFO_SECCOMP;
    default:
        return PTRACE_SYSCALL_INFO_NONE;
    }
}

static void fill_call(const struct task *child, struct ptrace_syscall_info *si)
{
    const struct user_regs_struct *r = &child->arch.regs;
    const uint64_t args[] = {r->rdi, r->rsi, r->rdx, r->r10, r->r8, r->r9};
    si->entry.nr = r->orig_rax;
    memcpy(si->entry.args, args, sizeof(args));
}

/* Returns how much of the structure means something. */
static size_t fill_syscall_info(const struct task *child, struct ptrace_syscall_info *si)
{
    const struct user_regs_struct *r = &child->arch.regs;
    memset(si, 0, sizeof(*si));
    si->op = syscall_op(child);
    si->arch = AUDIT_ARCH_X86_64;
    si->instruction_pointer = r->rip;
    si->stack_pointer = r->rsp;
    switch (si->op) {
    case PTRACE_SYSCALL_INFO_ENTRY:
        fill_call(child, si);
        return offsetof(struct ptrace_syscall_info, entry) + sizeof(si->entry);
    case PTRACE_SYSCALL_INFO_SECCOMP:
        fill_call(child, si);
        si->seccomp.ret_data = (uint32_t)child->ptrace.message;
        return offsetof(struct ptrace_syscall_info, seccomp.ret_data) + sizeof(uint32_t);
    case PTRACE_SYSCALL_INFO_EXIT:
        si->exit.rval = (int64_t)r->rax;
        si->exit.is_error = r->rax >= -4095ul;
        return offsetof(struct ptrace_syscall_info, exit.is_error) + sizeof(uint8_t);
    default:
        return offsetof(struct ptrace_syscall_info, entry);
    }
}

static long get_syscall_info(struct task *t, struct task *child, uint64_t addr, uint64_t data)
{
    struct ptrace_syscall_info si;
    size_t size;
    {
        MUTEX_GUARD(&child->tg->sighand_lock);
        if (!ptrace_is_stopped(t, child))
            return -ESRCH;
        size = fill_syscall_info(child, &si);
    }
    int err = mm_copy_out(t->mm, data, &si, MIN(size, addr));
    return err ? err : (long)size;
}

/* ---- options and going on ---- */

static int check_options(struct task *t, uint64_t options)
{
    if (options & ~(uint64_t)PTRACE_O_MASK)
        return -EINVAL;
    if (!(options & PTRACE_O_SUSPEND_SECCOMP))
        return 0;
    return !task_capable(t, CAP_SYS_ADMIN) || atomic_load(&t->seccomp_mode) ||
                   ptrace_suspends_seccomp(t)
               ? -EPERM
               : 0;
}

static long set_options(struct task *t, struct task *child, UNUSED uint64_t addr, uint64_t data)
{
    int err = check_options(t, data);
    if (err)
        return err;
    MUTEX_GUARD(&child->tg->sighand_lock);
    if (!ptrace_is_stopped(t, child))
        return -ESRCH;
    atomic_store(&child->ptrace.options, (uint32_t)data);
    return 0;
}

static long go_on(struct task *t, struct task *child, enum ptrace_resume how, uint64_t sig)
{
    return sig > SIG_MAX ? -EIO : ptrace_resume(t, child, how, (int)sig);
}

#define RESUME(name, how)                                                                          \
    static long name(struct task *t, struct task *child, UNUSED uint64_t addr, uint64_t data)      \
    {                                                                                              \
        return go_on(t, child, how, data);                                                         \
    }
RESUME(cont, PTRACE_RESUME_CONT)
RESUME(cont_syscall, PTRACE_RESUME_SYSCALL)
RESUME(single_step, PTRACE_RESUME_STEP)
RESUME(sysemu, PTRACE_RESUME_EMULATE)
RESUME(sysemu_step, PTRACE_RESUME_EMULATE_STEP)

static long detach(struct task *t, struct task *child, UNUSED uint64_t addr, uint64_t data)
{
    return data > SIG_MAX ? -EIO : ptrace_detach(t, child, (int)data);
}

static long kill_child(UNUSED struct task *t, struct task *child, UNUSED uint64_t addr,
                       UNUSED uint64_t data)
{
    siginfo_t info;
    siginfo_user(&info, SIGKILL, t, SI_USER);
    (void)signal_send_task(child, SIGKILL, &info);
    return 0;
}

static long interrupt(struct task *t, struct task *child, UNUSED uint64_t addr,
                      UNUSED uint64_t data)
{
    return ptrace_interrupt(t, child);
}

static long listen_only(struct task *t, struct task *child, UNUSED uint64_t addr,
                        UNUSED uint64_t data)
{
    return ptrace_listen(t, child);
}

static const struct {
    int request;
    request_fn fn;
    bool while_running;
} requests[] = {
    {PTRACE_PEEKTEXT, peek_data, false},
    {PTRACE_PEEKDATA, peek_data, false},
    {PTRACE_PEEKUSR, peek_user, false},
    {PTRACE_POKETEXT, poke_data, false},
    {PTRACE_POKEDATA, poke_data, false},
    {PTRACE_POKEUSR, poke_user, false},
    {PTRACE_CONT, cont, false},
    {PTRACE_KILL, kill_child, true},
    {PTRACE_SINGLESTEP, single_step, false},
    {PTRACE_GETREGS, get_regs, false},
    {PTRACE_SETREGS, set_regs, false},
    {PTRACE_GETFPREGS, get_fpregs, false},
    {PTRACE_SETFPREGS, set_fpregs, false},
    {PTRACE_DETACH, detach, false},
    {PTRACE_SYSCALL, cont_syscall, false},
    {PTRACE_ARCH_PRCTL, arch_prctl_of, false},
    {PTRACE_SYSEMU, sysemu, false},
    {PTRACE_SYSEMU_SINGLESTEP, sysemu_step, false},
    {PTRACE_SETOPTIONS, set_options, false},
    {PTRACE_GETEVENTMSG, get_event_message, false},
    {PTRACE_GETSIGINFO, get_siginfo, false},
    {PTRACE_SETSIGINFO, set_siginfo, false},
    {PTRACE_GETREGSET, get_regset, false},
    {PTRACE_SETREGSET, set_regset, false},
    {PTRACE_INTERRUPT, interrupt, true},
    {PTRACE_LISTEN, listen_only, false},
    {PTRACE_PEEKSIGINFO, peek_siginfo, false},
    {PTRACE_GETSIGMASK, get_sigmask, false},
    {PTRACE_SETSIGMASK, set_sigmask, false},
    {PTRACE_GET_SYSCALL_INFO, get_syscall_info, false},
};

/* -ESRCH unless child is t's, and as the request wants it. */
static int check_traced(struct task *t, struct task *child, bool while_running)
{
    MUTEX_GUARD(&child->tg->sighand_lock);
    bool ok = while_running ? child->ptrace.tracer == t : ptrace_is_stopped(t, child);
    return ok ? 0 : -ESRCH;
}

static long request(struct task *t, struct task *child, int nr, uint64_t addr, uint64_t data)
{
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        if (requests[i].request != nr)
            continue;
        int err = check_traced(t, child, requests[i].while_running);
        return err ? err : requests[i].fn(t, child, addr, data);
    }
    int err = check_traced(t, child, false);
    return err ? err : -EIO;
}

static long attach(struct task *t, struct task *child, bool seize, uint64_t addr, uint64_t options)
{
    if (!seize)
        return ptrace_attach(t, child, false, 0);
    if (addr || (options & ~(uint64_t)PTRACE_O_MASK))
        return -EIO;
    int err = check_options(t, options);
    return err ? err : ptrace_attach(t, child, true, (uint32_t)options);
}

SYSCALL(ptrace)
{
    uint64_t nr = a->a[0];
    if (nr == PTRACE_TRACEME)
        return ptrace_traceme(t);
    struct task *child = task_find_for(t, ARG_INT(a, 1));
    if (!child)
        return -ESRCH;
    bool attaches = nr == PTRACE_ATTACH || nr == PTRACE_SEIZE;
    long r = attaches ? attach(t, child, nr == PTRACE_SEIZE, a->a[2], a->a[3])
                      : request(t, child, nr > INT32_MAX ? -1 : (int)nr, a->a[2], a->a[3]);
    task_put(child);
    return r;
}
