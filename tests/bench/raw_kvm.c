/*
 * The floor of the KVM platform: ring 3 makes a system call, the vCPU exits, and is sent back with
 * new registers, with nothing done between. The machine is the platform's own; the loop is bare.
 * Prints nanoseconds a round trip: the best of several stretches. Exits with 77 without KVM.
 */
#include "platform/kvm/kvm.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define STRETCHES 7
#define ROUND_TRIPS 1000
#define CODE 0x400000ul

static const uint8_t program[] = {0x0f, 0x05, 0xeb, 0xfc}; /* 0: syscall; jmp 0 */

static void no_references(UNUSED struct memmap_file *f, UNUSED struct file_range fr)
{
}
static const struct memmap_file_ops file_ops = {.inc_ref = no_references, .dec_ref = no_references};

static double now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void bare_round_trip(struct vcpu *v, const struct kvm_sync_regs *start)
{
    v->run->s.regs.regs = start->regs;
    v->run->s.regs.sregs.cs = start->sregs.cs;
    v->run->s.regs.sregs.ss = start->sregs.ss;
    v->run->kvm_dirty_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
    if (ioctl(v->fd, KVM_RUN, 0) || v->run->exit_reason != KVM_EXIT_IO) {
        fprintf(stderr, "raw_kvm: an exit that is none of ours\n");
        exit(1);
    }
}

int main(void)
{
    struct platform *p;
    struct address_space *as;
    struct context *c;
    char why[200] = "";
    if (kvm_platform_type.create(&p, why, sizeof(why))) {
        fprintf(stderr, "raw_kvm: %s\n", why);
        return 77;
    }
    struct memmap_file file = {.ops = &file_ops, .fd = memfd_create("raw", MFD_CLOEXEC)};
    const struct as_op map = {.kind = AS_MAP,
                              .ar = {CODE, CODE + PAGE_SIZE},
                              .file = &file,
                              .perms = ACCESS_READ | ACCESS_EXEC};
    struct arch_context ac = {.regs = {.rip = CODE, .cs = 0x33, .ss = 0x2b, .rsp = CODE}};
    struct switch_event ev;
    if (file.fd < 0 || write(file.fd, program, sizeof(program)) != sizeof(program) ||
        p->ops->new_address_space(p, &as) || as->ops->apply(as, &map, 1) ||
        p->ops->new_context(p, as, &c) || c->ops->run(c, as, &ac, &ev) != SWITCH_SYSCALL)
        return 1;
    struct vcpu *v = container_of(c, struct kvm_context, base)->vcpu;
    /* What the platform sets to go back to ring 3 after that call. */
    struct kvm_sync_regs start = {.regs = {.rip = CODE, .rflags = 0x202, .rsp = CODE}};
    kvm_user_segments(&start.sregs);
    double best = 1e12;
    for (int i = 0; i < STRETCHES; i++) {
        double begin = now_ns();
        for (int k = 0; k < ROUND_TRIPS; k++)
            bare_round_trip(v, &start);
        best = MIN(best, (now_ns() - begin) / ROUND_TRIPS);
    }
    printf("%.1f\n", best);
    c->ops->release(c);
    as->ops->release(as);
    p->ops->release(p);
    return 0;
}
