/*
 * The KVM platform as the rest of the house sees it, and its self-test.
 */
#include "base/log.h"
#include "memmap/memory_file.h"
#include "platform/kvm/kvm.h"
#include <cpuid.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

static struct kvm_vm *vm_of(struct platform *p)
{
    return container_of(p, struct kvm_vm, base);
}

static int new_address_space(struct platform *p, struct address_space **out)
{
    return kvm_space_create(vm_of(p), out);
}
static int new_context(struct platform *p, UNUSED struct address_space *as, struct context **out)
{
    return kvm_context_create(vm_of(p), out);
}
static void release(struct platform *p)
{
    kvm_vm_destroy(vm_of(p));
}
static const struct platform_ops kvm_platform_ops = {
    .new_address_space = new_address_space, .new_context = new_context, .release = release};

static void on_kick(UNUSED int sig)
{
}

static uint64_t host_xcr0(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

/* ---- the self-test: a system call and a fault, in ring 3 ---- */

static const unsigned char test_code[] = {
    0xb8, 0x27, 0x00, 0x00, 0x00,                   /* mov $39, %eax */
    0x0f, 0x05,                                     /* syscall */
    0xc6, 0x04, 0x25, 0x00, 0x00, 0x50, 0x00, 0x00, /* movb $0, 0x500000 */
};
#define TEST_VA 0x400000ull
#define TEST_TARGET 0x500000ull

static bool test_steps(struct context *c, struct address_space *as, char *why, size_t why_size)
{
    struct arch_context ac = {
        .regs = {.rip = TEST_VA, .rsp = TEST_VA + PAGE_SIZE, .cs = 0x33, .ss = 0x2b}};
    struct switch_event ev;
    enum switch_reason r = c->ops->run(c, as, &ac, &ev);
    if (r != SWITCH_SYSCALL || ac.regs.orig_rax != 39 || ac.regs.rip != TEST_VA + 7) {
        snprintf(why, why_size, "a system call in the virtual machine is not seen (%d at %#llx)",
                 (int)r, ac.regs.rip);
        return false;
    }
    r = c->ops->run(c, as, &ac, &ev);
    if (r != SWITCH_FAULT || ev.addr != TEST_TARGET || ev.access != ACCESS_WRITE) {
        snprintf(why, why_size, "a page fault in the virtual machine is not seen (%d at %#lx)",
                 (int)r, (unsigned long)ev.addr);
        return false;
    }
    return true;
}

static int test_in_vm(struct kvm_vm *vm, char *why, size_t why_size)
{
    struct memory_file *mf;
    struct file_range fr;
    struct address_space *as;
    struct context *c;
    int err = memory_file_create(&mf, 64ull << 20, 0);
    if (err)
        return err;
    err = memory_file_alloc(mf, PAGE_SIZE, 0, &fr);
    if (!err)
        err = new_address_space(&vm->base, &as);
    if (err) {
        memory_file_destroy(mf);
        return err;
    }
    memcpy(mf->file.window + fr.start, test_code, sizeof(test_code));
    const struct as_op map = {.kind = AS_MAP,
                              .ar = {TEST_VA, TEST_VA + PAGE_SIZE},
                              .file = &mf->file,
                              .offset = fr.start,
                              .perms = ACCESS_READ | ACCESS_EXEC};
    err = as->ops->apply(as, &map, 1);
    if (!err)
        err = new_context(&vm->base, as, &c);
    if (!err) {
        if (!test_steps(c, as, why, why_size))
            err = -ENOTSUP;
        c->ops->release(c);
    }
    as->ops->release(as);
    memory_file_put(mf, fr);
    memory_file_destroy(mf);
    return err;
}

static uint32_t xstate_bytes(uint64_t features)
{
    uint32_t size = 576, a, b, c, d;
    for (uint32_t i = 2; i < 63; i++) {
        if (features >> i & 1) {
            __cpuid_count(0xd, i, a, b, c, d);
            size = MAX(size, a + b);
        }
    }
    return size;
}

static int machine_create(struct kvm_vm **out, char *why, size_t why_size)
{
    struct kvm_vm *vm;
    struct sigaction kick = {.sa_handler = on_kick};
    int err = kvm_vm_create(&vm, why, why_size);
    if (err)
        return err;
    vm->base.ops = &kvm_platform_ops;
    vm->base.name = "kvm";
    vm->base.min_addr = PAGE_SIZE;
    vm->base.max_addr = 0x7ffffffff000ull;
    /* x87, SSE, AVX, AVX-512: what KVM_SET_XCRS takes everywhere. */
    vm->base.xfeatures = host_xcr0() & 0xe7;
    vm->base.xstate_size = MIN(xstate_bytes(vm->base.xfeatures), (uint32_t)vm->xsave_size);
    sigaction(KVM_KICK_SIGNAL, &kick, NULL);
    *out = vm;
    return 0;
}

/* Tries a machine of its own, and says which kind of hypervisor this is. */
static int probe(bool *syscall_keeps_cpl, char *why, size_t why_size)
{
    struct kvm_vm *vm;
    int err = machine_create(&vm, why, why_size);
    if (err)
        return err;
    vm->syscall_keeps_cpl = true;
    err = test_in_vm(vm, why, why_size);
    *syscall_keeps_cpl = vm->saw_ring3_syscall;
    kvm_vm_destroy(vm);
    return err;
}

static int kvm_create(struct platform **out, char *why, size_t why_size)
{
    struct kvm_vm *vm;
    bool keeps;
    int err = probe(&keeps, why, why_size);
    if (!err)
        err = machine_create(&vm, why, why_size);
    if (err)
        return err;
    vm->syscall_keeps_cpl = keeps;
    /* Hardware switches that register too, and a vCPU is no CPU: it says 0 for ever. */
    vm->base.cpu_hidden = !keeps;
    log_debug("kvm: SYSCALL arrives in ring %d", keeps ? 3 : 0);
    *out = &vm->base;
    return 0;
}

static int kvm_self_test(char *why, size_t why_size)
{
    bool keeps;
    return probe(&keeps, why, why_size);
}

/* Without VMX or SVM, /dev/kvm is a hypervisor in software, whose exits cost more than any trap. */
static bool kvm_worth_measuring(void)
{
    uint32_t a, b, c, d;
    bool vmx = __get_cpuid(1, &a, &b, &c, &d) && (c & 1u << 5);
    bool svm = __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & 1u << 2);
    return vmx || svm;
}

const struct platform_type kvm_platform_type = {.name = "kvm",
                                                .self_test = kvm_self_test,
                                                .create = kvm_create,
                                                .worth_measuring = kvm_worth_measuring};
