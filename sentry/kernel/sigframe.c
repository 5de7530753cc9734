/*
 * Signal frames, as the x86-64 ABI of Linux lays them out:
 *
 *      high    | XSAVE area, 64-byte aligned; its software-reserved bytes say how large it is,
 *              |   and FP_XSTATE_MAGIC2 follows it
 *              | struct sigframe: return address (the restorer), ucontext, siginfo
 *      rsp ->  | (16-byte aligned, less 8, as after a call)
 *
 * What rt_sigreturn reads back is the application's word. Nothing of it reaches the platform
 * unchecked: segments are fixed, flags masked, the instruction pointer confined to user space, and
 * the XSAVE header may claim only what the machine has.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include "sentry/kernel/signal.h"
#include <string.h>

#define FP_MAGIC1 0x46505853u
#define FP_MAGIC2 0x46505845u
#define UC_FP_XSTATE_FLAG 1u
#define UC_SIGCONTEXT_SS_FLAG 2u
#define UC_STRICT_RESTORE_SS_FLAG 4u
#define SA_RESTORER_FLAG 0x04000000u
#define SS_AUTODISARM_FLAG (1u << 31)

#define RED_ZONE 128
#define FXSAVE_SIZE 512
#define XSAVE_HEADER_SIZE 64
#define XSTATE_MIN (FXSAVE_SIZE + XSAVE_HEADER_SIZE)
#define SW_RESERVED_OFFSET 464
#define XSTATE_LEGACY 3ull /* x87 and SSE */
#define MXCSR_OFFSET 24
#define MXCSR_MASK_OFFSET 28
#define MXCSR_DEFAULT 0x1f80u
#define FCW_DEFAULT 0x37fu

#define USER_CS 0x33
#define USER_DS 0x2b
#define EFLAGS_RF 0x10000u
#define EFLAGS_DF 0x400u
/* What sigreturn may change: AC OF DF TF SF ZF AF PF CF RF. */
#define EFLAGS_USER 0x50dd5u

struct fp_sw_bytes {
    uint32_t magic1, extended_size;
    uint64_t xfeatures;
    uint32_t xstate_size, padding[7];
};

struct sigcontext64 {
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
    uint16_t cs, gs, fs, ss;
    uint64_t err, trapno, oldmask, cr2, fpstate, reserved[8];
};
_Static_assert(sizeof(struct sigcontext64) == 256, "ABI");

struct ucontext64 {
    uint64_t flags, link;
    uint64_t stack_sp;
    uint32_t stack_flags, stack_pad;
    uint64_t stack_size;
    struct sigcontext64 mcontext;
    uint64_t sigmask;
};
_Static_assert(sizeof(struct ucontext64) == 304, "ABI");

struct sigframe {
    uint64_t restorer;
    struct ucontext64 uc;
    siginfo_t info;
};

#define COPY_REGISTERS(X)                                                                          \
    X(r8)                                                                                          \
    X(r9)                                                                                          \
    X(r10)                                                                                         \
    X(r11)                                                                                         \
    X(r12) X(r13) X(r14) X(r15) X(rdi) X(rsi) X(rbp) X(rbx) X(rdx) X(rax) X(rcx) X(rsp) X(rip)

static void fill_context(struct task *t, struct ucontext64 *uc, gva_t fpstate, sigset64_t mask)
{
    const struct user_regs_struct *regs = &t->arch.regs;
    struct sigcontext64 *sc = &uc->mcontext;
    uc->flags = UC_FP_XSTATE_FLAG | UC_SIGCONTEXT_SS_FLAG | UC_STRICT_RESTORE_SS_FLAG;
    uc->stack_sp = (gva_t)(uintptr_t)t->altstack.ss_sp;
    uc->stack_flags = (uint32_t)t->altstack.ss_flags;
    uc->stack_size = t->altstack.ss_size;
#define X(r) sc->r = regs->r;
    COPY_REGISTERS(X)
#undef X
    sc->eflags = regs->eflags;
    sc->cs = USER_CS;
    sc->ss = USER_DS;
    sc->err = t->trap_error;
    sc->trapno = t->trap_nr;
    sc->cr2 = t->trap_addr;
    sc->oldmask = mask;
    sc->fpstate = fpstate;
    uc->sigmask = mask;
}

/* Where the frame goes; false if it does not fit. */
static bool place_frame(struct task *t, const struct k_sigaction *act, gva_t *frame, gva_t *fpstate)
{
    uint64_t sp = t->arch.regs.rsp;
    bool on_alt = signal_on_altstack(t, sp), entering = false;
    gva_t alt = (gva_t)(uintptr_t)t->altstack.ss_sp;
    if ((act->flags & SA_ONSTACK) && t->altstack.ss_size && !on_alt) {
        sp = alt + t->altstack.ss_size;
        entering = true;
    } else {
        sp -= RED_ZONE;
    }
    uint64_t fp_size = t->kernel->platform->xstate_size + sizeof(uint32_t);
    sp = (sp - fp_size) & ~63ull;
    *fpstate = sp;
    sp = ((sp - sizeof(struct sigframe)) & ~15ull) - 8;
    *frame = sp;
    /* A handler that overflows its alternate stack must not trample on what is below it. */
    if ((on_alt || entering) && !(sp > alt && sp - alt <= t->altstack.ss_size))
        return false;
    return sp < t->kernel->platform->max_addr;
}

static int write_fpstate(struct task *t, gva_t fpstate)
{
    struct platform *p = t->kernel->platform;
    if (!t->arch.fpu_valid && !t->arch.fpu_dirty) {
        int err = t->context->ops->pull_fpu(t->context, &t->arch);
        if (err)
            return err;
    }
    uint32_t size = p->xstate_size;
    uint8_t *area = t->arch.xstate;
    struct fp_sw_bytes sw = {
        .magic1 = FP_MAGIC1,
        .extended_size = size + (uint32_t)sizeof(uint32_t),
        .xfeatures = p->xfeatures,
        .xstate_size = size,
    };
    memcpy(area + SW_RESERVED_OFFSET, &sw, sizeof(sw));
    /* A handler that edits x87 or SSE registers need not know of this bit vector. */
    uint64_t xstate_bv;
    memcpy(&xstate_bv, area + FXSAVE_SIZE, sizeof(xstate_bv));
    xstate_bv |= XSTATE_LEGACY;
    memcpy(area + FXSAVE_SIZE, &xstate_bv, sizeof(xstate_bv));
    uint32_t magic2 = FP_MAGIC2;
    int err = mm_copy_out(t->mm, fpstate, area, size);
    return err ? err : MM_COPY_OUT(t->mm, fpstate + size, &magic2);
}

void fpu_reset(struct task *t)
{
    uint8_t *area = t->arch.xstate;
    uint32_t mxcsr_mask;
    memcpy(&mxcsr_mask, area + MXCSR_MASK_OFFSET, sizeof(mxcsr_mask));
    memset(area, 0, t->kernel->platform->xstate_size);
    uint16_t fcw = FCW_DEFAULT;
    uint32_t mxcsr = MXCSR_DEFAULT;
    memcpy(area, &fcw, sizeof(fcw));
    memcpy(area + MXCSR_OFFSET, &mxcsr, sizeof(mxcsr));
    memcpy(area + MXCSR_MASK_OFFSET, &mxcsr_mask, sizeof(mxcsr_mask));
    uint64_t xstate_bv = XSTATE_LEGACY; /* everything else is in its initial state */
    memcpy(area + FXSAVE_SIZE, &xstate_bv, sizeof(xstate_bv));
    t->arch.fpu_valid = true;
    t->arch.fpu_dirty = true;
}

int sigframe_setup(struct task *t, int sig, const struct k_sigaction *act, const siginfo_t *info,
                   sigset64_t mask)
{
    gva_t frame, fpstate;
    if (!(act->flags & SA_RESTORER_FLAG) || !place_frame(t, act, &frame, &fpstate))
        return -EFAULT;
    if (write_fpstate(t, fpstate) != 0)
        return -EFAULT;
    struct sigframe f;
    memset(&f, 0, sizeof(f));
    f.restorer = act->restorer;
    fill_context(t, &f.uc, fpstate, mask);
    f.info = *info;
    if (MM_COPY_OUT(t->mm, frame, &f) != 0)
        return -EFAULT;

    struct user_regs_struct *regs = &t->arch.regs;
    regs->rdi = (unsigned long)sig;
    regs->rsi = frame + offsetof(struct sigframe, info);
    regs->rdx = frame + offsetof(struct sigframe, uc);
    regs->rax = 0;
    regs->rsp = frame;
    regs->rip = act->handler;
    regs->cs = USER_CS;
    regs->ss = USER_DS;
    regs->eflags &= ~(uint64_t)(EFLAGS_DF | EFLAGS_RF | EFLAGS_TF);
    fpu_reset(t);
    if ((uint32_t)t->altstack.ss_flags & SS_AUTODISARM_FLAG)
        t->altstack = (stack_t){.ss_flags = SS_DISABLE};
    return 0;
}

/* ---- the way back ---- */

/* How many bytes of extended state the frame has: 0 if it is a plain FXSAVE image. */
static int frame_xstate_size(struct task *t, gva_t fpstate, uint64_t *xfeatures, uint32_t *size)
{
    struct platform *p = t->kernel->platform;
    struct fp_sw_bytes sw;
    *size = 0;
    if (MM_COPY_IN(t->mm, &sw, fpstate + SW_RESERVED_OFFSET) != 0)
        return -EFAULT;
    if (sw.magic1 != FP_MAGIC1 || sw.xstate_size < XSTATE_MIN || sw.xstate_size > p->xstate_size ||
        sw.xstate_size > sw.extended_size)
        return 0;
    uint32_t magic2;
    if (MM_COPY_IN(t->mm, &magic2, fpstate + sw.xstate_size) != 0)
        return -EFAULT;
    if (magic2 != FP_MAGIC2)
        return 0;
    *size = sw.xstate_size;
    *xfeatures = sw.xfeatures & p->xfeatures;
    return 0;
}

/* As XRSTOR would: reserved bits are an error. */
bool fpu_state_valid(struct task *t, const uint8_t *area)
{
    uint64_t xfeatures = t->kernel->platform->xfeatures;
    uint32_t mxcsr_mask;
    memcpy(&mxcsr_mask, area + MXCSR_MASK_OFFSET, sizeof(mxcsr_mask));
    uint32_t mxcsr;
    memcpy(&mxcsr, area + MXCSR_OFFSET, sizeof(mxcsr));
    if (mxcsr & ~(mxcsr_mask ? mxcsr_mask : 0xffbfu))
        return false;
    uint64_t header[XSAVE_HEADER_SIZE / 8];
    memcpy(header, area + FXSAVE_SIZE, sizeof(header));
    if (header[0] & ~xfeatures)
        return false;
    for (size_t i = 1; i < ARRAY_SIZE(header); i++) {
        if (header[i])
            return false;
    }
    return true;
}

static int restore_fpstate(struct task *t, gva_t fpstate)
{
    struct platform *p = t->kernel->platform;
    if (!t->arch.xstate) {
        int err = t->context->ops->pull_fpu(t->context, &t->arch);
        if (err)
            return err;
    }
    uint8_t *area = t->arch.xstate;
    uint32_t mxcsr_mask;
    memcpy(&mxcsr_mask, area + MXCSR_MASK_OFFSET, sizeof(mxcsr_mask));
    if (!fpstate) {
        fpu_reset(t);
        return 0;
    }
    if (fpstate & 63)
        return -EFAULT;
    uint64_t xfeatures = 0;
    uint32_t size;
    int err = frame_xstate_size(t, fpstate, &xfeatures, &size);
    if (err)
        return err;
    t->arch.fpu_valid = t->arch.fpu_dirty = true;
    memset(area, 0, p->xstate_size);
    err = mm_copy_in(t->mm, area, fpstate, size ? size : FXSAVE_SIZE);
    uint64_t in_frame;
    memcpy(&in_frame, area + FXSAVE_SIZE, sizeof(in_frame));
    if (!size)
        in_frame = XSTATE_LEGACY;
    else if (!(in_frame & ~p->xfeatures))
        in_frame &= xfeatures; /* the frame may say that it cares only for some */
    memcpy(area + FXSAVE_SIZE, &in_frame, sizeof(in_frame));
    memcpy(area + MXCSR_MASK_OFFSET, &mxcsr_mask, sizeof(mxcsr_mask));
    if (err || !fpu_state_valid(t, area)) {
        fpu_reset(t);
        return -EFAULT;
    }
    return 0;
}

int sigframe_restore(struct task *t)
{
    struct user_regs_struct *regs = &t->arch.regs;
    struct ucontext64 uc;
    /* The handler's `ret` has taken the restorer's address off the stack. */
    if (MM_COPY_IN(t->mm, &uc, regs->rsp) != 0)
        return -EFAULT;
    const struct sigcontext64 *sc = &uc.mcontext;
    signal_set_blocked(t, uc.sigmask);
    if ((sc->cs | 3) != USER_CS || ((uc.flags & UC_SIGCONTEXT_SS_FLAG) && (sc->ss | 3) != USER_DS))
        return -EFAULT;
    if (sc->rip >= t->kernel->platform->max_addr)
        return -EFAULT;
#define X(r) regs->r = sc->r;
    COPY_REGISTERS(X)
#undef X
    regs->cs = USER_CS;
    regs->ss = USER_DS;
    regs->eflags = (regs->eflags & ~(uint64_t)EFLAGS_USER) | (sc->eflags & EFLAGS_USER);
    int err = restore_fpstate(t, sc->fpstate);
    if (err)
        return err;
    /* As sigaltstack(2) would; its errors do not matter here. */
    stack_t ss = {
        .ss_sp = (void *)(uintptr_t)uc.stack_sp,
        .ss_flags = (int)uc.stack_flags,
        .ss_size = uc.stack_size,
    };
    (void)signal_set_altstack(t, &ss, regs->rsp);
    return 0;
}
