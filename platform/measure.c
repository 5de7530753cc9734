/*
 * The start-up test of a platform, through the one interface: a page of code is mapped, runs,
 * faults and is interrupted; and the time of a system call, for the choice.
 */
#include "platform/platform.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define ROUND_TRIPS 100
/* Enough of a platform that is slow: every start of a sandbox pays for this. */
#define ENOUGH_NS 1000000u
#define CODE_ADDR 0x10000000ul
#define HOLE_ADDR 0x20000000ul

/* 0: syscall; jmp 0      4: mov (%rdi), %rax */
static const uint8_t program[] = {0x0f, 0x05, 0xeb, 0xfc, 0x48, 0x8b, 0x07};
enum { AT_SYSCALL = 0, AT_LOAD = 4 };

static void no_references(UNUSED struct memmap_file *f, UNUSED struct file_range fr)
{
}
static const struct memmap_file_ops file_ops = {
    .inc_ref = no_references,
    .dec_ref = no_references,
};

struct trial {
    struct platform *platform;
    struct address_space *space;
    struct context *context;
    struct memmap_file file;
    struct arch_context arch;
};

static int trial_begin(struct trial *t)
{
    t->file =
        (struct memmap_file){.ops = &file_ops, .fd = memfd_create("picket-self-test", MFD_CLOEXEC)};
    if (t->file.fd < 0 || write(t->file.fd, program, sizeof(program)) != sizeof(program))
        return -errno;
    int err = t->platform->ops->new_address_space(t->platform, &t->space);
    if (!err)
        err = t->platform->ops->new_context(t->platform, t->space, &t->context);
    if (err)
        return err;
    const struct as_op map = {
        .kind = AS_MAP,
        .ar = {CODE_ADDR, CODE_ADDR + PAGE_SIZE},
        .file = &t->file,
        .perms = ACCESS_READ | ACCESS_EXEC,
    };
    return t->space->ops->apply(t->space, &map, 1);
}

static void trial_end(struct trial *t)
{
    if (t->context)
        t->context->ops->release(t->context);
    if (t->space)
        t->space->ops->release(t->space);
    if (t->file.fd >= 0)
        close(t->file.fd);
    free(t->arch.xstate);
}

static void start_at(struct trial *t, unsigned offset)
{
    t->arch.regs = (struct user_regs_struct){
        .rip = CODE_ADDR + offset,
        .rdi = HOLE_ADDR,
        .cs = 0x33,
        .ss = 0x2b,
        .eflags = 0x202,
        .orig_rax = (unsigned long)-1,
    };
}

static enum switch_reason run(struct trial *t, struct switch_event *ev)
{
    return t->context->ops->run(t->context, t->space, &t->arch, ev);
}

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Returns what went wrong, or NULL. */
static const char *trial_run(struct trial *t, uint64_t *round_trip_ns)
{
    struct switch_event ev;
    start_at(t, AT_SYSCALL);
    t->arch.regs.rax = 39;
    if (run(t, &ev) != SWITCH_SYSCALL || t->arch.regs.orig_rax != 39)
        return "a system call did not arrive";

    uint64_t start = now_ns(), n = 0, spent = 0;
    for (; n < ROUND_TRIPS && spent < ENOUGH_NS; n++, spent = now_ns() - start) {
        arch_set_return(&t->arch, (long)n);
        if (run(t, &ev) != SWITCH_SYSCALL || t->arch.regs.orig_rax != n)
            return "the result of a system call did not arrive";
    }
    *round_trip_ns = spent / n;

    start_at(t, AT_LOAD);
    if (run(t, &ev) != SWITCH_FAULT || ev.addr != HOLE_ADDR || !(ev.access & ACCESS_READ))
        return "a fault did not arrive";

    start_at(t, AT_SYSCALL);
    t->context->ops->interrupt(t->context);
    if (run(t, &ev) != SWITCH_INTERRUPTED)
        return "an interruption did not arrive";
    return NULL;
}

int platform_measure(const struct platform_type *type, uint64_t *round_trip_ns, char *why,
                     size_t why_size)
{
    struct trial t = {.file.fd = -1};
    int err = type->create(&t.platform, why, why_size);
    if (err)
        return err;
    const char *problem = "no address space";
    err = trial_begin(&t);
    if (!err && (problem = trial_run(&t, round_trip_ns)))
        err = -EIO;
    trial_end(&t);
    t.platform->ops->release(t.platform);
    if (err)
        snprintf(why, why_size, "platform %s: %s: %s", type->name, problem, strerror(-err));
    return err;
}
