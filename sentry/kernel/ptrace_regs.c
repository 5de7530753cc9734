#include "sentry/kernel/ptrace_regs.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/user.h>

#define EFLAGS_SETTABLE 0x50dd5u /* AC RF OF DF TF SF ZF AF PF CF */
#define FXSAVE_SIZE 512u
#define XSTATE_BV_OFFSET 512u
#define XSTATE_SOFTWARE_OFFSET 464u
#define XSTATE_SOFTWARE_SIZE 48u
#define XSTATE_LEGACY 3ull
#define MXCSR_MASK_OFFSET 28u
/* Two words follow the debug registers in the kernel's structure. */
#define USER_SIZE (sizeof(struct user) + 16)
#define REGISTER(name) offsetof(struct user_regs_struct, name)

/* ---- general registers ---- */

static unsigned long *slot(struct task *t, uint64_t offset)
{
    return (unsigned long *)(void *)((char *)&t->arch.regs + offset);
}

static int set_eflags(struct task *t, uint64_t value)
{
    unsigned long *eflags = slot(t, REGISTER(eflags));
    *eflags = (*eflags & ~(unsigned long)EFLAGS_SETTABLE) | (value & EFLAGS_SETTABLE);
    return 0;
}

/* Flat 64-bit segments are all there are. */
static int keep_segment(struct task *t, uint64_t offset, uint64_t value)
{
    return value == *slot(t, offset) ? 0 : -EIO;
}

static int set_register(struct task *t, uint64_t offset, uint64_t value)
{
    switch (offset) {
    case REGISTER(cs):
    case REGISTER(ss):
    case REGISTER(ds):
    case REGISTER(es):
    case REGISTER(fs):
    case REGISTER(gs):
        return keep_segment(t, offset, value);
    case REGISTER(eflags):
        return set_eflags(t, value);
    case REGISTER(fs_base):
    case REGISTER(gs_base):
        if (value >= t->kernel->platform->max_addr)
            return -EIO;
        break;
    }
    *slot(t, offset) = value;
    return 0;
}

int ptrace_peek_user(struct task *t, uint64_t offset, uint64_t *value)
{
    if (offset % sizeof(*value) || offset >= USER_SIZE)
        return -EIO;
    *value = offset < sizeof(struct user_regs_struct) ? *slot(t, offset) : 0;
    return 0;
}

int ptrace_poke_user(struct task *t, uint64_t offset, uint64_t value)
{
    const uint64_t debug = offsetof(struct user, u_debugreg);
    if (offset % sizeof(value))
        return -EIO;
    if (offset < sizeof(struct user_regs_struct))
        return set_register(t, offset, value);
    if (offset < debug || offset >= sizeof(struct user))
        return -EIO;
    return value ? -ENOSPC : 0;
}

static uint32_t general_size(UNUSED struct task *t)
{
    return sizeof(struct user_regs_struct);
}

static void general_get(struct task *t, void *buf)
{
    memcpy(buf, &t->arch.regs, sizeof(t->arch.regs));
}

static int general_set(struct task *t, const void *buf, uint32_t n)
{
    for (uint32_t offset = 0; offset + sizeof(uint64_t) <= n; offset += sizeof(uint64_t)) {
        uint64_t value;
        memcpy(&value, (const char *)buf + offset, sizeof(value));
        int err = set_register(t, offset, value);
        if (err)
            return err;
    }
    return 0;
}

/* ---- floating point ---- */

static uint32_t legacy_size(UNUSED struct task *t)
{
    return FXSAVE_SIZE;
}

static void legacy_get(struct task *t, void *buf)
{
    memcpy(buf, t->arch.xstate, FXSAVE_SIZE);
    memset((char *)buf + XSTATE_SOFTWARE_OFFSET, 0, XSTATE_SOFTWARE_SIZE);
}

static uint32_t extended_size(struct task *t)
{
    return t->kernel->platform->xstate_size;
}

static void extended_get(struct task *t, void *buf)
{
    legacy_get(t, buf);
    /* What the kernel leaves to software says which features there are. */
    uint64_t features = t->kernel->platform->xfeatures;
    memcpy((char *)buf + XSTATE_SOFTWARE_OFFSET, &features, sizeof(features));
    memcpy((char *)buf + FXSAVE_SIZE, (const char *)t->arch.xstate + FXSAVE_SIZE,
           extended_size(t) - FXSAVE_SIZE);
}

static int load(struct task *t, const uint8_t *area, uint32_t n, uint64_t xstate_bv)
{
    uint8_t *to = t->arch.xstate;
    uint32_t mxcsr_mask;
    uint8_t old[PTRACE_XSTATE_MAX];
    memcpy(old, to, extended_size(t));
    memcpy(&mxcsr_mask, to + MXCSR_MASK_OFFSET, sizeof(mxcsr_mask));
    memcpy(to, area, n);
    memcpy(to + MXCSR_MASK_OFFSET, &mxcsr_mask, sizeof(mxcsr_mask));
    memcpy(to + XSTATE_BV_OFFSET, &xstate_bv, sizeof(xstate_bv));
    if (!fpu_state_valid(t, to)) {
        memcpy(to, old, extended_size(t));
        return -EINVAL;
    }
    t->arch.fpu_valid = t->arch.fpu_dirty = true;
    return 0;
}

static int legacy_set(struct task *t, const void *buf, uint32_t n)
{
    uint64_t xstate_bv;
    if (n != FXSAVE_SIZE)
        return -EINVAL;
    memcpy(&xstate_bv, (const char *)t->arch.xstate + XSTATE_BV_OFFSET, sizeof(xstate_bv));
    return load(t, buf, n, xstate_bv | XSTATE_LEGACY);
}

static int extended_set(struct task *t, const void *buf, uint32_t n)
{
    uint64_t xstate_bv;
    if (n != extended_size(t))
        return -EFAULT;
    memcpy(&xstate_bv, (const char *)buf + XSTATE_BV_OFFSET, sizeof(xstate_bv));
    return load(t, buf, n, xstate_bv);
}

static const struct ptrace_regset regsets[] = {
    {NT_PRSTATUS, general_size, general_get, general_set},
    {NT_PRFPREG, legacy_size, legacy_get, legacy_set},
    {NT_X86_XSTATE, extended_size, extended_get, extended_set},
};

const struct ptrace_regset *ptrace_regset_find(unsigned type)
{
    for (size_t i = 0; i < ARRAY_SIZE(regsets); i++) {
        if (regsets[i].type == type)
            return &regsets[i];
    }
    return NULL;
}
