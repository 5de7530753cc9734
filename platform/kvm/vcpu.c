/*
 * Virtual CPUs: how one is set up, and which context has one.
 *
 * A vCPU holds the state of its owner (floating point, segment bases) between runs, so that a run
 * costs no call but KVM_RUN. When there are more contexts than vCPUs, one that is not running is
 * taken from its owner, whose floating-point state is saved first.
 */
#include "base/log.h"
#include "platform/kvm/kvm.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CR0_VALUE 0x80050033ull /* PE MP ET NE WP AM PG */
#define CR4_VALUE 0x506e0ull    /* PAE MCE PGE OSFXSR OSXMMEXCPT FSGSBASE OSXSAVE */
#define CR4_BASE 0x50620ull     /* the same without MCE and PGE */
#define EFER_VALUE 0xd01ull     /* SCE LME LMA NXE */
#define MSR_TSC 0x10u
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_CSTAR 0xc0000083u
#define MSR_FMASK 0xc0000084u
#define FMASK_VALUE 0x47700ull /* TF IF DF IOPL NT AC */

#define XSAVE_HEADER 512 /* the bits of the components that follow */

/* How long a context that waits for a vCPU lets others run. */
#define TURN_NS 2000000

static struct kvm_segment segment(uint16_t selector, uint8_t type, uint8_t dpl, bool code)
{
    return (struct kvm_segment){.limit = 0xffffffff,
                                .selector = selector,
                                .type = type,
                                .present = 1,
                                .dpl = dpl,
                                .db = !code,
                                .s = 1,
                                .l = code,
                                .g = 1};
}

void kvm_user_segments(struct kvm_sregs *s)
{
    s->cs = segment(SEL_USER_CS, 0xb, 3, true);
    s->ss = segment(SEL_USER_DS, 0x3, 3, false);
}

static void fill_page(struct vcpu *v)
{
    uint64_t *gdt = (uint64_t *)(void *)(v->page + VCPU_GDT);
    uint64_t tss = VCPU_VA(v->index) + VCPU_TSS;
    gdt[2] = 0x00af9b000000ffffull; /* 0x10 kernel code */
    gdt[3] = 0x00cf93000000ffffull; /* 0x18 kernel data */
    gdt[4] = 0x00cffb000000ffffull; /* 0x23 user code, 32 bits */
    gdt[5] = 0x00cff3000000ffffull; /* 0x2b user data */
    gdt[6] = 0x00affb000000ffffull; /* 0x33 user code */
    gdt[8] = 0x67 | (tss & 0xffffff) << 16 | 0x89ull << 40 | (tss >> 24 & 0xff) << 56;
    gdt[9] = tss >> 32;
    char *t = v->page + VCPU_TSS;
    uint64_t rsp0 = VCPU_VA(v->index) + VCPU_STACK_TOP;
    uint16_t iomap = 0x68; /* beyond the limit: ring 3 has no ports */
    memcpy(t + 4, &rsp0, sizeof(rsp0));
    memcpy(t + 0x66, &iomap, sizeof(iomap));
}

static int set_sregs(struct kvm_vm *vm, struct vcpu *v)
{
    struct kvm_sregs s;
    if (ioctl(v->fd, KVM_GET_SREGS, &s))
        return -errno;
    kvm_user_segments(&s);
    s.ds = s.es = s.fs = s.gs = segment(0, 0x3, 3, false);
    s.ldt.unusable = 1;
    s.ldt.present = 0;
    s.tr = (struct kvm_segment){.base = VCPU_VA(v->index) + VCPU_TSS,
                                .limit = 0x67,
                                .selector = SEL_TSS,
                                .type = 0xb,
                                .present = 1};
    s.gdt.base = VCPU_VA(v->index) + VCPU_GDT;
    s.gdt.limit = 10 * 8 - 1;
    s.idt.base = IDT_VA;
    s.idt.limit = 32 * 16 - 1;
    s.cr0 = CR0_VALUE;
    s.cr3 = vm->upper.root;
    s.cr4 = CR4_VALUE;
    s.efer = EFER_VALUE;
    if (ioctl(v->fd, KVM_SET_SREGS, &s) == 0)
        return 0;
    s.cr4 = CR4_BASE;
    return ioctl(v->fd, KVM_SET_SREGS, &s) ? -errno : 0;
}

static int set_msrs(struct vcpu *v)
{
    static const struct kvm_msr_entry values[] = {
        {.index = MSR_STAR, .data = 0x0023001000000000ull},
        {.index = MSR_LSTAR, .data = LSTAR_VA},
        {.index = MSR_CSTAR, .data = LSTAR_VA},
        {.index = MSR_FMASK, .data = FMASK_VALUE}};
    struct kvm_msrs *m = calloc(1, sizeof(*m) + sizeof(values));
    if (!m)
        return -ENOMEM;
    m->nmsrs = ARRAY_SIZE(values);
    memcpy(m->entries, values, sizeof(values));
    int set = ioctl(v->fd, KVM_SET_MSRS, m);
    free(m);
    return set == (int)ARRAY_SIZE(values) ? 0 : -EIO;
}

/* The clock in the vDSO reads the counter, so the guest's must be the host's. */
static int set_tsc(struct vcpu *v)
{
    uint64_t offset = 0;
    struct kvm_device_attr attr = {
        .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)&offset};
    if (ioctl(v->fd, KVM_SET_DEVICE_ATTR, &attr) == 0)
        return 0;
    union {
        struct kvm_msrs head;
        char room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
    } m = {.head.nmsrs = 1};
    m.head.entries[0] = (struct kvm_msr_entry){.index = MSR_TSC, .data = __builtin_ia32_rdtsc()};
    return ioctl(v->fd, KVM_SET_MSRS, &m) == 1 ? 0 : -EIO;
}

/* All of its registers but the general ones, as a context expects them. */
static int set_up(struct kvm_vm *vm, struct vcpu *v)
{
    struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = vm->base.xfeatures}}};
    int err = set_sregs(vm, v);
    if (!err)
        err = set_msrs(v);
    if (!err)
        err = set_tsc(v);
    if (!err && ioctl(v->fd, KVM_SET_XCRS, &xcrs))
        err = -errno;
    if (!err && ioctl(v->fd, KVM_GET_SREGS, &v->run->s.regs.sregs))
        err = -errno;
    if (err)
        log_error("kvm: cannot set a vCPU up: %s", strerror(-err));
    return err;
}

int kvm_vcpu_create(struct kvm_vm *vm)
{
    struct vcpu *v = &vm->vcpus[vm->nvcpus];
    v->index = vm->nvcpus;
    v->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, v->index);
    if (v->fd < 0)
        return -errno;
    v->run = mmap(NULL, vm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fd, 0);
    if (v->run == MAP_FAILED) {
        close(v->fd);
        return -ENOMEM;
    }
    fill_page(v);
    int err = ioctl(v->fd, KVM_SET_CPUID2, vm->cpuid) ? -errno : set_up(vm, v);
    if (err) {
        kvm_vcpu_destroy(v, vm->run_size);
        return err;
    }
    v->run->kvm_valid_regs =
        KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | (vm->sync_events ? KVM_SYNC_X86_EVENTS : 0);
    vm->nvcpus++;
    return 0;
}

void kvm_vcpu_reset(struct kvm_vm *vm, struct vcpu *v)
{
    struct kvm_vcpu_events events;
    struct kvm_mp_state state = {.mp_state = KVM_MP_STATE_RUNNABLE};
    if (ioctl(v->fd, KVM_GET_VCPU_EVENTS, &events) == 0) {
        memset(&events.exception, 0, sizeof(events.exception));
        memset(&events.interrupt, 0, sizeof(events.interrupt));
        memset(&events.nmi, 0, sizeof(events.nmi));
        events.flags = 0;
        (void)ioctl(v->fd, KVM_SET_VCPU_EVENTS, &events);
    }
    (void)ioctl(v->fd, KVM_SET_MP_STATE, &state);
    (void)set_up(vm, v);
}

void kvm_vcpu_destroy(struct vcpu *v, size_t run_size)
{
    munmap(v->run, run_size);
    close(v->fd);
}

int kvm_vcpu_get_fpu(const struct kvm_vm *vm, struct vcpu *v, void *xsave)
{
    uint64_t components;
    if (ioctl(v->fd, KVM_GET_XSAVE, xsave))
        return -errno;
    memcpy(&components, (char *)xsave + XSAVE_HEADER, sizeof(components));
    components &= vm->base.xfeatures;
    memcpy((char *)xsave + XSAVE_HEADER, &components, sizeof(components));
    return 0;
}

/* ---- who has one ---- */

/* Takes v away from its owner, which is not running. */
static int evict_owner(struct vcpu *v)
{
    struct kvm_context *owner = v->owner;
    if (!owner)
        return 0;
    int err = kvm_vcpu_get_fpu(owner->vm, v, owner->xsave);
    if (err)
        return err;
    owner->vcpu = NULL;
    v->owner = NULL;
    return 0;
}

/* A vCPU that nobody runs: one without an owner, a new one, or one that is taken away; else NULL.
 */
static struct vcpu *find_vcpu(struct kvm_vm *vm)
{
    struct vcpu *idle = NULL;
    for (int i = 0; i < vm->nvcpus; i++) {
        struct vcpu *v = &vm->vcpus[i];
        if (!v->owner)
            return v;
        if (!v->running)
            idle = v;
    }
    if (vm->nvcpus < vm->max_vcpus && kvm_vcpu_create(vm) == 0)
        return &vm->vcpus[vm->nvcpus - 1];
    return idle && evict_owner(idle) == 0 ? idle : NULL;
}

static int take_over(struct kvm_context *c, struct vcpu *v)
{
    if (ioctl(v->fd, KVM_SET_XSAVE, c->xsave))
        return -errno;
    v->owner = c;
    c->vcpu = v;
    return 0;
}

void kvm_vcpu_kick(struct vcpu *v)
{
    atomic_store((_Atomic uint8_t *)&v->run->immediate_exit, 1);
    if (v->owner)
        pthread_kill(v->owner->thread, KVM_KICK_SIGNAL);
}

static void wait_until_turn(struct kvm_vm *vm, pthread_cond_t *cond)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += TURN_NS;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    LOCK_RELEASED(&vm->lock);
    pthread_cond_timedwait(cond, &vm->lock.m, &until);
    LOCK_ACQUIRED(&vm->lock, false);
}

/* Gives a vCPU that nobody runs to the first who waits. */
static void hand_over(struct kvm_vm *vm, struct vcpu *v)
{
    struct kvm_context *c = list_entry(vm->waiting.next, struct kvm_context, waiting);
    v->wanted = false;
    if (evict_owner(v))
        return;
    list_del(&c->waiting);
    c->hand_over_error = take_over(c, v);
    v->running = !c->hand_over_error; /* nobody takes it before c has woken up */
    pthread_cond_signal(&c->turn);
}

/* Somebody has waited for a turn: a vCPU that nobody runs changes hands, or one is asked for. */
static void next_turn(struct kvm_vm *vm)
{
    unsigned first = (unsigned)random(), n = (unsigned)vm->nvcpus;
    for (unsigned i = 0; i < n; i++) {
        struct vcpu *v = &vm->vcpus[(first + i) % n];
        if (!v->running) {
            hand_over(vm, v);
            return;
        }
    }
    vm->vcpus[first % n].wanted = true;
    kvm_vcpu_kick(&vm->vcpus[first % n]);
}

static int wait_for_vcpu(struct kvm_context *c)
{
    struct kvm_vm *vm = c->vm;
    c->hand_over_error = 0;
    list_add_tail(&vm->waiting, &c->waiting);
    while (!c->vcpu && !c->hand_over_error) {
        wait_until_turn(vm, &c->turn);
        if (!c->vcpu && !c->hand_over_error && vm->waiting.next == &c->waiting)
            next_turn(vm);
    }
    return c->hand_over_error;
}

static int get_vcpu(struct kvm_context *c)
{
    /* Those who wait come first. */
    struct vcpu *v = list_empty(&c->vm->waiting) ? find_vcpu(c->vm) : NULL;
    if (v)
        return take_over(c, v);
    return c->vm->nvcpus ? wait_for_vcpu(c) : -EIO;
}

int kvm_vcpu_acquire(struct kvm_context *c, struct kvm_space *s)
{
    struct kvm_vm *vm = c->vm;
    MUTEX_GUARD(&vm->lock);
    while (!c->vcpu || s->stopped) {
        int err = 0;
        if (s->stopped)
            wait_until_turn(vm, &vm->changed);
        else
            err = get_vcpu(c);
        if (err)
            return err;
    }
    c->vcpu->running = true;
    c->vcpu->space = s;
    s->running++;
    s->last_run = ++vm->run_clock;
    return 0;
}

void kvm_vcpu_release(struct kvm_context *c)
{
    struct kvm_vm *vm = c->vm;
    struct vcpu *v = c->vcpu;
    MUTEX_GUARD(&vm->lock);
    struct kvm_space *s = v->space;
    v->running = false;
    v->space = NULL;
    if (--s->running == 0 && s->stopped)
        pthread_cond_broadcast(&vm->changed);
    if (v->wanted && !list_empty(&vm->waiting))
        hand_over(vm, v);
}
