/*
 * Contexts: running ring 3 until something happens, and saying what it was.
 *
 * Every exit that matters is the `out` of a stub, so rip tells the vector. What the processor
 * pushed for an exception is on the stack in the vCPU's page. A system call differs with the
 * hypervisor:
 *
 *   hardware     SYSCALL enters ring 0 at LSTAR; the stub there exits. rcx and r11 are the user's.
 *   software     SYSCALL goes to LSTAR *in ring 3*. The page is not ring 3's, so the fetch faults,
 * and the exit is that of a page fault at LSTAR. (So does a jump to that address, which then is a
 * system call that returns to rcx: no harm that the caller could not do itself.)
 *
 * To go back, registers and code and stack segments are simply set to ring 3's.
 */
#include "base/log.h"
#include "platform/kvm/kvm.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#define RFLAGS_USER 0x244dd5ull /* CF PF AF ZF SF TF DF OF AC ID, and NT */
#define RFLAGS_FIXED 0x202ull   /* IF, and the bit that is always set */
#define VECTOR_PAGE_FAULT 14
/* A fault that was served so often without a step of the program is a fault of ours. */
#define SAME_FAULT_MAX 1000

struct exception_frame {
    uint64_t error, rip, cs, rflags, rsp, ss;
};

static struct kvm_context *context_of(struct context *c)
{
    return container_of(c, struct kvm_context, base);
}

/* ---- registers ---- */

static void load_registers(struct vcpu *v, const struct kvm_space *s,
                           const struct user_regs_struct *r)
{
    struct kvm_sync_regs *to = &v->run->s.regs;
    to->regs = (struct kvm_regs){.rax = r->rax,
                                 .rbx = r->rbx,
                                 .rcx = r->rcx,
                                 .rdx = r->rdx,
                                 .rsi = r->rsi,
                                 .rdi = r->rdi,
                                 .rsp = r->rsp,
                                 .rbp = r->rbp,
                                 .r8 = r->r8,
                                 .r9 = r->r9,
                                 .r10 = r->r10,
                                 .r11 = r->r11,
                                 .r12 = r->r12,
                                 .r13 = r->r13,
                                 .r14 = r->r14,
                                 .r15 = r->r15,
                                 .rip = r->rip,
                                 .rflags = (r->eflags & RFLAGS_USER) | RFLAGS_FIXED};
    kvm_user_segments(&to->sregs);
    to->sregs.fs.base = r->fs_base;
    to->sregs.gs.base = r->gs_base;
    to->sregs.cr3 = s->pt.root;
    v->run->kvm_dirty_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
}

static void store_registers(const struct vcpu *v, struct user_regs_struct *r)
{
    const struct kvm_regs *from = &v->run->s.regs.regs;
    r->rax = from->rax;
    r->rbx = from->rbx;
    r->rcx = from->rcx;
    r->rdx = from->rdx;
    r->rsi = from->rsi;
    r->rdi = from->rdi;
    r->rsp = from->rsp;
    r->rbp = from->rbp;
    r->r8 = from->r8;
    r->r9 = from->r9;
    r->r10 = from->r10;
    r->r11 = from->r11;
    r->r12 = from->r12;
    r->r13 = from->r13;
    r->r14 = from->r14;
    r->r15 = from->r15;
    r->rip = from->rip;
    r->eflags = from->rflags;
    r->fs_base = v->run->s.regs.sregs.fs.base;
    r->gs_base = v->run->s.regs.sregs.gs.base;
    r->cs = SEL_USER_CS;
    r->ss = SEL_USER_DS;
    r->orig_rax = -1ul;
}

/* ---- what happened ---- */

static enum switch_reason as_syscall(struct arch_context *ac)
{
    struct user_regs_struct *r = &ac->regs;
    r->orig_rax = r->rax;
    r->rax = -(unsigned long)ENOSYS;
    r->rip = r->rcx;
    r->eflags = r->r11;
    return SWITCH_SYSCALL;
}

static enum switch_reason as_signal(struct switch_event *ev, int sig, int code, uint64_t addr)
{
    memset(&ev->info, 0, sizeof(ev->info));
    ev->info.si_signo = sig;
    ev->info.si_code = code;
    ev->info.si_addr = (void *)(uintptr_t)addr;
    return SWITCH_SIGNAL;
}

static int x87_code(unsigned pending)
{
    if (pending & 0x01)
        return FPE_FLTINV;
    if (pending & 0x04)
        return FPE_FLTDIV;
    if (pending & 0x08)
        return FPE_FLTOVF;
    if (pending & 0x12)
        return FPE_FLTUND;
    return pending & 0x20 ? FPE_FLTRES : FPE_FLTUNK;
}

/* SIGFPE's code: which unmasked exception the FPU or SSE status shows. */
static int float_code(struct kvm_context *c, unsigned vector)
{
    const uint16_t *legacy = c->xsave;
    if (kvm_vcpu_get_fpu(c->vm, c->vcpu, c->xsave))
        return FPE_FLTUNK;
    if (vector == 16)
        return x87_code((unsigned)legacy[1] & ~(unsigned)legacy[0] & 0x3f);
    uint32_t mxcsr;
    memcpy(&mxcsr, (const char *)c->xsave + 24, sizeof(mxcsr));
    return x87_code(~(mxcsr >> 7) & mxcsr & 0x3f);
}

static enum switch_reason as_exception(struct kvm_context *c, struct kvm_space *s, unsigned vector,
                                       const struct arch_context *ac, struct switch_event *ev)
{
    uint64_t rip = ac->regs.rip;
    switch (vector) {
    case 0:
        return as_signal(ev, SIGFPE, FPE_INTDIV, rip);
    case 1:
        return as_signal(ev, SIGTRAP, TRAP_TRACE, rip);
    case 3:
        return as_signal(ev, SIGTRAP, SI_KERNEL, 0);
    case 6: {
        /* A software hypervisor may take `int n` for an invalid instruction; a processor says #GP.
         */
        uint8_t opcode = 0;
        if (kvm_space_peek(s, rip, &opcode) && opcode == 0xcd)
            return as_signal(ev, SIGSEGV, SI_KERNEL, 0);
        return as_signal(ev, SIGILL, ILL_ILLOPN, rip);
    }
    case 12:
        return as_signal(ev, SIGBUS, SI_KERNEL, 0);
    case 16:
    case 19:
        return as_signal(ev, SIGFPE, float_code(c, vector), rip);
    case 17:
        return as_signal(ev, SIGBUS, BUS_ADRALN, 0);
    default:
        return as_signal(ev, SIGSEGV, SI_KERNEL, 0);
    }
}

static bool pushes_error(unsigned vector)
{
    return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 ||
           vector == 29 || vector == 30;
}

/* The stub whose `out` was (or, on VMX, is about to be) executed; -1 if rip is elsewhere. */
static int stub_vector(uint64_t rip)
{
    uint64_t offset = rip - CODE_VA;
    return offset < (SYSCALL_VECTOR + 1) * STUB_SIZE ? (int)(offset / STUB_SIZE) : -1;
}

/* What to do after an exit; RUN_AGAIN: the platform dealt with it. */
#define RUN_AGAIN ((enum switch_reason) - 1)
/* The same, once there are tables for it. */
#define RUN_WITH_TABLES ((enum switch_reason) - 2)

static enum switch_reason page_fault(struct kvm_context *c, struct kvm_space *s, uint64_t error,
                                     struct switch_event *ev)
{
    gva_t addr = c->vcpu->run->s.regs.sregs.cr2;
    ev->addr = addr;
    ev->access = error & 0x10 ? ACCESS_EXEC : error & 2 ? ACCESS_WRITE : ACCESS_READ;
    ev->not_present = !(error & 1);
    c->same_fault = addr == c->last_fault ? c->same_fault + 1 : 0;
    c->last_fault = addr;
    c->faults++;
    enum fault_result r =
        addr < c->vm->base.max_addr ? kvm_space_fault(s, addr, ev->access) : FAULT_UNKNOWN;
    if (r == FAULT_NO_TABLE && c->same_fault < SAME_FAULT_MAX)
        return RUN_WITH_TABLES;
    if (r == FAULT_BUS)
        return as_signal(ev, SIGBUS, BUS_ADRERR, addr);
    if (r == FAULT_SERVED && c->same_fault < SAME_FAULT_MAX)
        return RUN_AGAIN;
    if (r != FAULT_UNKNOWN) {
        log_error("kvm: a fault at %#lx does not go away; the task is killed", addr);
        return SWITCH_DEAD;
    }
    memset(&ev->info, 0, sizeof(ev->info));
    ev->info.si_signo = SIGSEGV;
    ev->info.si_code = ev->not_present ? SEGV_MAPERR : SEGV_ACCERR;
    ev->info.si_addr = (void *)(uintptr_t)addr;
    return SWITCH_FAULT;
}

static enum switch_reason explain(struct kvm_context *c, struct kvm_space *s,
                                  struct arch_context *ac, struct switch_event *ev)
{
    struct vcpu *v = c->vcpu;
    struct user_regs_struct *r = &ac->regs;
    bool ring3 = (v->run->s.regs.sregs.cs.selector & 3) == 3;
    int vector = stub_vector(r->rip);
    if (vector < 0 && ring3)
        return SWITCH_INTERRUPTED;
    if (vector == SYSCALL_VECTOR)
        return as_syscall(ac);
    struct exception_frame f;
    uint64_t at = r->rsp - VCPU_VA(v->index);
    size_t size = sizeof(f) - (vector >= 0 && pushes_error((unsigned)vector) ? 0 : 8);
    if (vector < 0 || ring3 || at > PAGE_SIZE - size) {
        log_error("kvm: the vCPU is lost at rip %#llx, cs %#x, rsp %#llx; the task is killed",
                  r->rip, v->run->s.regs.sregs.cs.selector, r->rsp);
        return SWITCH_DEAD;
    }
    f.error = 0;
    memcpy((char *)&f + (sizeof(f) - size), v->page + at, size);
    if ((f.cs & 3) != 3) {
        log_error("kvm: exception %d in ring 0 at %#lx, address %#llx; the task is killed", vector,
                  f.rip, v->run->s.regs.sregs.cr2);
        return SWITCH_DEAD;
    }
    r->rip = f.rip;
    r->rsp = f.rsp;
    r->eflags = f.rflags;
    if (vector != VECTOR_PAGE_FAULT)
        return as_exception(c, s, (unsigned)vector, ac, ev);
    if (c->vm->syscall_keeps_cpl && f.rip == LSTAR_VA && v->run->s.regs.sregs.cr2 == LSTAR_VA) {
        if (!c->vm->saw_ring3_syscall)
            c->vm->saw_ring3_syscall = true;
        return as_syscall(ac);
    }
    return page_fault(c, s, f.error, ev);
}

/* ---- running ---- */

/* Whether the vCPU was stopped between an exception and its first instruction in ring 0. The
 * exception belongs to the registers that it has, so it must go on with just those. */
static bool halfway(const struct vcpu *v)
{
    const struct kvm_sync_regs *r = &v->run->s.regs;
    if (r->events.exception.injected || r->events.exception.pending)
        return true;
    return (r->sregs.cs.selector & 3) == 3 && r->regs.rip == LSTAR_VA;
}

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* The time in the guest, as near as the host tells without a call: what another thread took from us
 * on this CPU is counted in. */
static uint64_t context_cpu_time(struct context *base)
{
    struct kvm_context *c = context_of(base);
    uint64_t entered = atomic_load(&c->entered);
    uint64_t now = entered ? now_ns() : 0;
    return atomic_load(&c->cpu_ns) + (now > entered ? now - entered : 0);
}

/* Several, for other threads may see their entries come back before this one runs on. */
#define LOST_PAGES_MAX 100

/* The host has no page where the guest went, so ring 3 has not moved. It tries once more with no
 * entry there: then the fault says the address, and that the page is lost. */
static enum switch_reason lost_page(struct kvm_context *c, struct kvm_space *s, uint64_t rip,
                                    struct switch_event *ev)
{
    if (c->lost_pages++ < LOST_PAGES_MAX && kvm_space_hide_files(s))
        return RUN_AGAIN;
    log_warn("kvm: the host has no page for the instruction at %#lx", (unsigned long)rip);
    return as_signal(ev, SIGBUS, BUS_ADRERR, rip);
}

static enum switch_reason run_once(struct kvm_context *c, struct kvm_space *s,
                                   struct arch_context *ac, struct switch_event *ev)
{
    struct vcpu *v = c->vcpu;
    int err;
    load_registers(v, s, &ac->regs);
    uint64_t entered = now_ns();
    atomic_store_explicit(&c->entered, entered, memory_order_relaxed);
    do {
        err = ioctl(v->fd, KVM_RUN, 0) ? errno : 0;
        v->run->kvm_dirty_regs = 0;
        if (err == EINTR)
            atomic_store((_Atomic uint8_t *)&v->run->immediate_exit, 0);
    } while (err == EAGAIN || (err == EINTR && halfway(v)));
    atomic_store_explicit(&c->entered, 0, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->cpu_ns, now_ns() - entered, memory_order_relaxed);
    store_registers(v, &ac->regs);
    if (err == EINTR || (!err && v->run->exit_reason == KVM_EXIT_IO))
        return explain(c, s, ac, ev);
    if (err == EFAULT)
        return lost_page(c, s, ac->regs.rip, ev);
    log_error("kvm: KVM_RUN ended with %s, exit reason %u, at rip %#llx; the task is killed",
              err ? strerror(err) : "no error", v->run->exit_reason, ac->regs.rip);
    kvm_vcpu_reset(c->vm, v);
    return SWITCH_DEAD;
}

/* Registers that a processor would refuse to leave ring 0 with. (A wrong instruction pointer in the
 * upper half is no such case: it faults.) */
static bool canonical(uint64_t x)
{
    return (uint64_t)((int64_t)(x << 16) >> 16) == x;
}
static bool runnable(const struct user_regs_struct *r)
{
    return r->cs == SEL_USER_CS && r->ss == SEL_USER_DS && canonical(r->rip) &&
           canonical(r->fs_base) && canonical(r->gs_base);
}

/* Loads a floating-point state that somebody changed. One that the processor refuses is replaced by
 * what was there before. */
static int load_fpu(struct kvm_context *c, struct arch_context *ac, bool *refused)
{
    memcpy(c->xsave, ac->xstate, MIN(ac->xstate_size, c->vm->xsave_size));
    ac->fpu_dirty = false;
    if (ioctl(c->vcpu->fd, KVM_SET_XSAVE, c->xsave) == 0)
        return 0;
    if (errno != EINVAL)
        return -errno;
    *refused = true;
    return 0;
}

static enum switch_reason run_on_vcpu(struct kvm_context *c, struct kvm_space *s,
                                      struct arch_context *ac, struct switch_event *ev)
{
    bool refused = false;
    /* From here on interrupt() kicks; what came before must be seen now. */
    if (atomic_load(&c->interrupted))
        return SWITCH_INTERRUPTED;
    int err = ac->fpu_dirty ? load_fpu(c, ac, &refused) : 0;
    if (err) {
        log_error("kvm: cannot load a floating-point state: %s", strerror(-err));
        return SWITCH_DEAD;
    }
    return refused ? as_signal(ev, SIGSEGV, SI_KERNEL, 0) : run_once(c, s, ac, ev);
}

static enum switch_reason context_run(struct context *base, struct address_space *as,
                                      struct arch_context *ac, struct switch_event *ev)
{
    struct kvm_context *c = context_of(base);
    struct kvm_space *s = container_of(as, struct kvm_space, base);
    enum switch_reason reason;
    ac->fpu_valid = false;
    c->same_fault = 0;
    c->lost_pages = 0;
    c->last_fault = UINT64_MAX;
    if (!runnable(&ac->regs))
        return as_signal(ev, SIGSEGV, SI_KERNEL, 0);
    do {
        int err = kvm_vcpu_acquire(c, s);
        if (err) {
            log_error("kvm: no vCPU to run on: %s", strerror(-err));
            return SWITCH_DEAD;
        }
        reason = run_on_vcpu(c, s, ac, ev);
        kvm_vcpu_release(c);
        if (reason == RUN_WITH_TABLES) {
            kvm_reclaim_tables(c->vm);
            reason = RUN_AGAIN;
        }
        /* A kick may be meant for another task that wants the vCPU: look, and go on. */
        if (reason == SWITCH_INTERRUPTED && !atomic_load(&c->interrupted))
            reason = RUN_AGAIN;
    } while (reason == RUN_AGAIN);
    if (reason == SWITCH_INTERRUPTED)
        atomic_store(&c->interrupted, false);
    return reason;
}

static int context_pull_fpu(struct context *base, struct arch_context *ac)
{
    struct kvm_context *c = context_of(base);
    if (ac->fpu_valid || ac->fpu_dirty)
        return 0;
    if (!ac->xstate) {
        ac->xstate_size = c->vm->base.xstate_size;
        ac->xstate = calloc(1, ac->xstate_size);
        if (!ac->xstate)
            return -ENOMEM;
    }
    MUTEX_GUARD(&c->vm->lock);
    if (c->vcpu && kvm_vcpu_get_fpu(c->vm, c->vcpu, c->xsave))
        return -EIO;
    memcpy(ac->xstate, c->xsave, MIN(ac->xstate_size, c->vm->xsave_size));
    ac->fpu_valid = true;
    return 0;
}

static void context_interrupt(struct context *base)
{
    struct kvm_context *c = context_of(base);
    if (atomic_exchange(&c->interrupted, true))
        return;
    MUTEX_GUARD(&c->vm->lock);
    if (c->vcpu && c->vcpu->running)
        kvm_vcpu_kick(c->vcpu);
}

static void context_idle(UNUSED struct context *base)
{
    /* A vCPU whose owner does not run can be taken: nothing to tell anyone. */
}

static void context_release(struct context *base)
{
    struct kvm_context *c = context_of(base);
    log_debug("kvm: a context ends after %lu page faults", (unsigned long)c->faults);
    mutex_lock(&c->vm->lock);
    if (c->vcpu)
        c->vcpu->owner = NULL;
    mutex_unlock(&c->vm->lock);
    pthread_cond_destroy(&c->turn);
    free(c->xsave);
    free(c);
}

static void context_set_cpus(struct context *base, const cpu_set_t *cpus)
{
    pthread_setaffinity_np(context_of(base)->thread, sizeof(*cpus), cpus);
}

static const struct context_ops context_operations = {.run = context_run,
                                                      .pull_fpu = context_pull_fpu,
                                                      .interrupt = context_interrupt,
                                                      .will_block = context_idle,
                                                      .did_unblock = context_idle,
                                                      .set_cpus = context_set_cpus,
                                                      .cpu_time = context_cpu_time,
                                                      .release = context_release};

int kvm_context_create(struct kvm_vm *vm, struct context **out)
{
    sigset_t kick;
    struct kvm_context *c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->xsave = calloc(1, vm->xsave_size);
    if (!c->xsave) {
        free(c);
        return -ENOMEM;
    }
    /* The state after FNINIT: control word 0x37f, MXCSR 0x1f80, everything else initial. */
    const uint16_t control = 0x37f;
    const uint32_t mxcsr = 0x1f80;
    memcpy(c->xsave, &control, sizeof(control));
    memcpy((char *)c->xsave + 24, &mxcsr, sizeof(mxcsr));
    c->base.ops = &context_operations;
    c->vm = vm;
    c->thread = pthread_self();
    pthread_cond_init(&c->turn, NULL);
    c->last_fault = UINT64_MAX;
    sigemptyset(&kick);
    sigaddset(&kick, KVM_KICK_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
    *out = &c->base;
    return 0;
}
