/*
 * The platforms without a kernel on top: what applications and the sentry do with them.
 */
#include "tests/unit/platform_world.h"

/* --- running --- */

START_TEST(syscalls)
{
    PUT_CODE(0x0f, 0x05, 0xeb, 0xfc); /* syscall; jmp 0 */
    struct context *c = new_context_in(w.as);
    struct arch_context ac = {0};
    struct switch_event ev;
    start(&ac, CODE);
    ac.regs.rax = 1234;
    ac.regs.rdi = 1;
    ac.regs.r9 = 0x1122334455667788;
    ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SYSCALL);
    ck_assert_uint_eq(ac.regs.orig_rax, 1234);
    ck_assert_uint_eq(ac.regs.rax, (unsigned long)-ENOSYS);
    ck_assert_uint_eq(ac.regs.rip, CODE + 2);
    ck_assert_uint_eq(ac.regs.rcx, CODE + 2);
    ck_assert_uint_eq(ac.regs.rdi, 1);
    ck_assert_uint_eq(ac.regs.r9, 0x1122334455667788);
    for (long i = 0; i < 100; i++) {
        /* Among them what a host kernel would take for "restart this call". */
        arch_set_return(&ac, -450 - i);
        ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SYSCALL);
        ck_assert_int_eq((long)ac.regs.orig_rax, -450 - i);
    }
    c->ops->release(c);
}
END_TEST

START_TEST(faults)
{
    PUT_CODE(0x48, 0x8b, 0x07, /* 0: mov (%rdi),%rax */
             0x48, 0x89, 0x07, /* 3: mov %rax,(%rdi) */
             0xff, 0xe7,       /* 6: jmp *%rdi */
             0xf3, 0xa4,       /* 8: rep movsb */
             0x57);            /* 10: push %rdi */
    struct context *c = new_context_in(w.as);
    struct arch_context ac = {0};
    struct switch_event ev;

    const struct {
        unsigned at;
        gva_t rdi, rsi, rsp, addr;
        access_t access;
        bool not_present;
    } cases[] = {
        {0, 0x900000, 0, STACK, 0x900000, ACCESS_READ, true},
        {0, 0x900ffd, 0, STACK, 0x900ffd, ACCESS_READ, true},
        {3, 0x900008, 0, STACK, 0x900008, ACCESS_WRITE, true},
        {3, CODE + 100, 0, STACK, CODE + 100, ACCESS_WRITE, false},
        {6, 0x900010, 0, STACK, 0x900010, ACCESS_EXEC, true},
        {6, DATA + 16, 0, STACK, DATA + 16, ACCESS_EXEC, false},
        {8, 0x900000, DATA, STACK, 0x900000, ACCESS_WRITE, true},
        {8, DATA, 0x900000, STACK, 0x900000, ACCESS_READ, true},
        {10, 0, 0, 0x900010, 0x900008, ACCESS_WRITE, true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        start(&ac, CODE + cases[i].at);
        ac.regs.rdi = cases[i].rdi;
        ac.regs.rsi = cases[i].rsi;
        ac.regs.rsp = cases[i].rsp;
        ac.regs.rcx = 1;
        ck_assert_int_eq(run(c, &ac, &ev), SWITCH_FAULT);
        ck_assert_uint_eq(ev.addr, cases[i].addr);
        ck_assert_msg(ev.access == cases[i].access, "case %zu: access %d", i, ev.access);
        ck_assert_int_eq(ev.not_present, cases[i].not_present);
        ck_assert_int_eq(ev.info.si_signo, SIGSEGV);
    }
    /* Serve one, and go on: the same instruction runs again. */
    start(&ac, CODE);
    ac.regs.rdi = 0x900000;
    ck_assert_int_eq(run(c, &ac, &ev), SWITCH_FAULT);
    *(uint64_t *)(w.file.window + 5 * PAGE_SIZE) = 42;
    ck_assert_int_eq(map_in(w.as, 0x900000, 1, 5, ACCESS_READ), 0);
    ck_assert_int_eq(run(c, &ac, &ev), SWITCH_FAULT);
    ck_assert_uint_eq(ac.regs.rax, 42);
    ck_assert_uint_eq(ac.regs.rip, CODE + 3);
    ck_assert_int_eq(ev.access, ACCESS_WRITE);
    ck_assert(!ev.not_present);
    c->ops->release(c);
}
END_TEST

START_TEST(exceptions)
{
    PUT_CODE(0xcc,             /* 0: int3 */
             0x0f, 0x0b,       /* 1: ud2 */
             0x48, 0xf7, 0xf7, /* 3: div %rdi */
             0x48, 0x8b, 0x07, /* 6: mov (%rdi),%rax */
             0xf4,             /* 9: hlt */
             0xcd, 0x80,       /* 10: int $0x80 */
             0xf1,             /* 12: int1 */
             0x90, 0x90);      /* 13: nop; nop */
    struct context *c = new_context_in(w.as);
    struct arch_context ac = {0};
    struct switch_event ev;
    const struct {
        unsigned at;
        uint64_t rdi;
        int sig, code;
        unsigned rip;
    } cases[] = {
        {0, 0, SIGTRAP, SI_KERNEL, 1}, {1, 0, SIGILL, ILL_ILLOPN, 1},
        {3, 0, SIGFPE, FPE_INTDIV, 3}, {6, 1ul << 62, SIGSEGV, SI_KERNEL, 6},
        {9, 0, SIGSEGV, SI_KERNEL, 9}, {10, 0, SIGSEGV, SI_KERNEL, 10},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        start(&ac, CODE + cases[i].at);
        ac.regs.rax = 20;
        ac.regs.rdi = cases[i].rdi;
        ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SIGNAL);
        ck_assert_int_eq(ev.info.si_signo, cases[i].sig);
        ck_assert_msg(ev.info.si_code == cases[i].code, "case %zu: code %d", i, ev.info.si_code);
        ck_assert_uint_eq(ac.regs.rip, CODE + cases[i].rip);
    }
    start(&ac, CODE + 13);
    ac.regs.eflags |= 0x100; /* TF */
    ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SIGNAL);
    ck_assert_int_eq(ev.info.si_signo, SIGTRAP);
    ck_assert_int_eq(ev.info.si_code, TRAP_TRACE);
    ck_assert_uint_eq(ac.regs.rip, CODE + 14);

    /* What a hostile sigreturn may put there. */
    start(&ac, CODE);
    ac.regs.cs = 0x10;
    ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SIGNAL);
    ck_assert_int_eq(ev.info.si_signo, SIGSEGV);
    start(&ac, CODE);
    ac.regs.fs_base = 0xffff800000000000;
    ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SIGNAL);
    start(&ac, 0xffff800000000000);
    ck_assert_int_ne(run(c, &ac, &ev), SWITCH_SYSCALL);
    c->ops->release(c);
}
END_TEST

START_TEST(vsyscall)
{
    PUT_CODE(0xff, 0xd0, 0x0f, 0x05); /* call *%rax; syscall */
    struct context *c = new_context_in(w.as);
    struct arch_context ac = {0};
    struct switch_event ev;
    const struct {
        gva_t addr;
        unsigned long nr;
    } cases[] = {{0xffffffffff600000, SYS_gettimeofday},
                 {0xffffffffff600400, SYS_time},
                 {0xffffffffff600800, SYS_getcpu}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        start(&ac, CODE);
        ac.regs.rax = cases[i].addr;
        ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SYSCALL);
        ck_assert_uint_eq(ac.regs.orig_rax, cases[i].nr);
        /* Either the platform has done the return, or it is yet to come. */
        if (ac.regs.rip != cases[i].addr + 9) {
            ck_assert_uint_eq(ac.regs.rip, CODE + 2);
            ck_assert_uint_eq(ac.regs.rsp, STACK);
        }
        arch_set_return(&ac, 77);
        ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SYSCALL);
        ck_assert_uint_eq(ac.regs.orig_rax, 77);
        ck_assert_uint_eq(ac.regs.rsp, STACK);
    }
    start(&ac, 0xffffffffff600123);
    enum switch_reason r = run(c, &ac, &ev);
    ck_assert(r == SWITCH_FAULT || r == SWITCH_SIGNAL);
    ck_assert_int_eq(ev.info.si_signo, SIGSEGV);
    c->ops->release(c);
}
END_TEST

START_TEST(segment_bases)
{
    PUT_CODE(0x64, 0x48, 0x8b, 0x04, 0x25, 8, 0, 0, 0,  /* mov %fs:8,%rax */
             0x65, 0x48, 0x8b, 0x1c, 0x25, 16, 0, 0, 0, /* mov %gs:16,%rbx */
             0x0f, 0x05);                               /* syscall */
    struct context *c = new_context_in(w.as);
    struct arch_context ac = {0};
    struct switch_event ev;
    uint64_t *data = (uint64_t *)(w.file.window + PAGE_SIZE);
    data[1] = 111;
    data[34] = 222;
    start(&ac, CODE);
    ac.regs.fs_base = DATA;
    ac.regs.gs_base = DATA + 256;
    ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SYSCALL);
    ck_assert_uint_eq(ac.regs.orig_rax, 111);
    ck_assert_uint_eq(ac.regs.rbx, 222);
    ck_assert_uint_eq(ac.regs.fs_base, DATA);
    ck_assert_uint_eq(ac.regs.gs_base, DATA + 256);
    c->ops->release(c);
}
END_TEST

START_TEST(self_modifying_code)
{
    /* Page writable and executable: patches the immediate of the mov that follows. */
    PUT_CODE(0x40, 0x88, 0x3d, 1, 0, 0, 0,        /* mov %dil,1(%rip) */
             0xb8, 0, 0, 0, 0,                    /* mov $0,%eax */
             0x0f, 0x05, 0xff, 0xc7, 0xeb, 0xee); /* syscall; inc %edi; jmp 0 */
    ck_assert_int_eq(map_in(w.as, CODE, 1, 0, ACCESS_ANY), 0);
    struct context *c = new_context_in(w.as);
    struct arch_context ac = {0};
    struct switch_event ev;
    start(&ac, CODE);
    for (unsigned i = 0; i < 20; i++) {
        if (i == 0)
            w.file.window[3] = 1;
        ac.regs.rdi = i + 5;
        ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SYSCALL);
        ck_assert_uint_eq(ac.regs.orig_rax, i + 5);
        ac.regs.rip = CODE;
    }
    /* The same with the page read-only: the write faults, and it is told apart from a fetch. */
    ck_assert_int_eq(map_in(w.as, CODE, 1, 0, ACCESS_READ | ACCESS_EXEC), 0);
    ck_assert_int_eq(run(c, &ac, &ev), SWITCH_FAULT);
    ck_assert_int_eq(ev.access, ACCESS_WRITE);
    ck_assert_uint_eq(ev.addr, CODE + 8);
    /* An instruction that writes to itself: it may look like a fetch, but not twice. */
    PUT_CODE(0x88, 0x05, 0xfa, 0xff, 0xff, 0xff, 0x0f, 0x05); /* mov %al,-6(%rip) */
    start(&ac, CODE);
    for (int i = 0; i < 2 && (i == 0 || ev.access != ACCESS_WRITE); i++) {
        ck_assert_int_eq(run(c, &ac, &ev), SWITCH_FAULT);
        ck_assert_uint_eq(ev.addr, CODE);
    }
    ck_assert_int_eq(ev.access, ACCESS_WRITE);
    c->ops->release(c);
}
END_TEST

/* --- FPU --- */

START_TEST(fpu)
{
    PUT_CODE(0x62, 0xf1, 0xfe, 0x48, 0x6f, 0x07,       /* 0: vmovdqu64 (%rdi),%zmm0 */
             0x62, 0xe1, 0xfe, 0x48, 0x6f, 0x4f, 0x01, /* 6: vmovdqu64 64(%rdi),%zmm17 */
             0xc5, 0xf8, 0x92, 0xcf,                   /* 13: kmovw %edi,%k1 */
             0xd9, 0xe8,                               /* 17: fld1 */
             0x0f, 0x05,                               /* 19: syscall */
             0x62, 0xe1, 0xfe, 0x48, 0x7f, 0x4f, 0x02, /* 21: vmovdqu64 %zmm17,128(%rdi) */
             0x0f, 0x05);                              /* 28: syscall */
    if (!__builtin_cpu_supports("avx512f"))
        return;
    struct context *c = new_context_in(w.as);
    struct arch_context ac = {0};
    struct switch_event ev;
    char *data = w.file.window + PAGE_SIZE;
    for (int i = 0; i < 128; i++)
        data[i] = (char)(i + 1);
    start(&ac, CODE);
    ac.regs.rdi = DATA;
    ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SYSCALL);
    ck_assert_int_eq(c->ops->pull_fpu(c, &ac), 0);
    ck_assert(ac.fpu_valid);
    ck_assert_uint_eq(ac.xstate_size, w.p->xstate_size);
    ck_assert_int_eq(memcmp((char *)ac.xstate + 160, data, 16), 0); /* xmm0 */
    uint64_t bv = *(uint64_t *)((char *)ac.xstate + 512);
    ck_assert_uint_eq(bv & 0xe7, 0xe7);
    ck_assert_uint_eq(bv & ~w.p->xfeatures, 0);

    /* It stays in the thread without being moved. */
    ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SYSCALL);
    ck_assert(!ac.fpu_valid);
    ck_assert_int_eq(memcmp(data + 128, data + 64, 64), 0);

    /* Changed from outside: Hi16_ZMM holds zmm17 in its second 64 bytes. */
    ck_assert_int_eq(c->ops->pull_fpu(c, &ac), 0);
    char *hi16 = memmem(ac.xstate, ac.xstate_size, data + 64, 64);
    ck_assert_ptr_nonnull(hi16);
    memset(hi16, 0x5a, 64);
    ac.fpu_dirty = true;
    ac.regs.rip = CODE + 21;
    ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SYSCALL);
    ck_assert(!ac.fpu_dirty);
    char expected[64];
    memset(expected, 0x5a, 64);
    ck_assert_int_eq(memcmp(data + 128, expected, 64), 0);

    /* The next life of the thread begins with a clean one. */
    c->ops->release(c);
    c = new_context_in(w.as);
    struct arch_context fresh = {0};
    start(&fresh, CODE + 21);
    fresh.regs.rdi = DATA;
    ck_assert_int_eq(c->ops->pull_fpu(c, &fresh), 0);
    ck_assert_uint_eq(*(uint64_t *)((char *)fresh.xstate + 512) & ~(1ull << 9), 0);
    ck_assert_int_eq(run(c, &fresh, &ev), SWITCH_SYSCALL);
    memset(expected, 0, 64);
    ck_assert_int_eq(memcmp(data + 128, expected, 64), 0);
    ck_assert_int_eq(c->ops->pull_fpu(c, &fresh), 0);
    ck_assert_uint_eq(*(uint16_t *)fresh.xstate, 0x37f);
    ck_assert_uint_eq(*(uint32_t *)((char *)fresh.xstate + 24), 0x1f80);

    /* A state that the host refuses. */
    *(uint64_t *)((char *)fresh.xstate + 520) = 1;
    *(uint32_t *)((char *)fresh.xstate + 24) = 0xffffffff;
    fresh.fpu_dirty = true;
    ck_assert_int_eq(run(c, &fresh, &ev), SWITCH_SIGNAL);
    ck_assert_int_eq(ev.info.si_signo, SIGSEGV);
    fresh.regs.rip = CODE + 21;
    ck_assert_int_eq(run(c, &fresh, &ev), SWITCH_SYSCALL);
    free(ac.xstate);
    free(fresh.xstate);
    c->ops->release(c);
}
END_TEST

/* What was pulled can be changed and given back, on any processor. */
START_TEST(fpu_comes_back)
{
    PUT_CODE(0xf3, 0x0f, 0x7f, 0x07, 0x0f, 0x05, 0xeb,
             0xf8); /* 0: movdqu %xmm0,(%rdi); syscall; jmp 0 */
    struct context *c = new_context_in(w.as);
    struct arch_context ac = {0};
    struct switch_event ev;
    const char *data = w.file.window + PAGE_SIZE;
    start(&ac, CODE);
    ac.regs.rdi = DATA;
    for (char i = 1; i < 5; i++) {
        char expected[16];
        memset(expected, i, sizeof(expected));
        ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SYSCALL);
        ck_assert_int_eq(c->ops->pull_fpu(c, &ac), 0);
        uint64_t *components = (uint64_t *)((char *)ac.xstate + 512);
        ck_assert_uint_eq(*components & ~w.p->xfeatures, 0);
        *components |= 3;
        memset((char *)ac.xstate + 160, i, 16); /* xmm0 */
        ac.fpu_dirty = true;
        ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SYSCALL);
        ck_assert_int_eq(memcmp(data, expected, sizeof(expected)), 0);
    }
    free(ac.xstate);
    c->ops->release(c);
}
END_TEST

/* --- several threads --- */

#define NTHREADS 6

START_TEST(threads_in_one_space)
{
    PUT_CODE(0x0f, 0x05, 0xeb, 0xfc);
    pthread_t t[NTHREADS];
    for (long i = 0; i < NTHREADS; i++)
        pthread_create(&t[i], NULL, count_with_syscalls, (void *)i);
    for (int i = 0; i < NTHREADS; i++)
        pthread_join(t[i], NULL);
}
END_TEST

static _Atomic bool stop_mapping;

static void *map_and_unmap(void *arg)
{
    (void)arg;
    unsigned n = 0;
    while (!atomic_load(&stop_mapping)) {
        struct as_op ops[] = {
            map_op(0xa00000 + n % 64 * PAGE_SIZE, 2, n % 128 + 8, ACCESS_READ),
            {.kind = AS_PROTECT,
             .ar = {0xa00000, 0xa80000},
             .was = ACCESS_READ,
             .perms = ACCESS_READ | ACCESS_WRITE},
            {.kind = AS_UNMAP, .ar = {0xa00000 + n % 32 * PAGE_SIZE, 0xa40000}},
        };
        ck_assert_int_eq(w.as->ops->apply(w.as, ops, ARRAY_SIZE(ops)), 0);
        n++;
    }
    return NULL;
}

START_TEST(apply_beside_running)
{
    PUT_CODE(0x0f, 0x05, 0xeb, 0xfc);
    pthread_t mapper, runner;
    atomic_store(&stop_mapping, false);
    pthread_create(&mapper, NULL, map_and_unmap, NULL);
    pthread_create(&runner, NULL, count_with_syscalls, (void *)1);
    pthread_join(runner, NULL);
    atomic_store(&stop_mapping, true);
    pthread_join(mapper, NULL);
}
END_TEST

/* --- the address space is a cache --- */

static bool readable(struct context *c, gva_t addr)
{
    struct arch_context ac = {0};
    struct switch_event ev;
    start(&ac, CODE);
    ac.regs.rdi = addr;
    enum switch_reason r = run(c, &ac, &ev);
    ck_assert(r == SWITCH_SYSCALL || (r == SWITCH_FAULT && ev.addr == addr));
    return r == SWITCH_SYSCALL;
}

START_TEST(mappings)
{
    PUT_CODE(0x48, 0x8b, 0x07, 0x0f, 0x05); /* mov (%rdi),%rax; syscall */
    struct context *c = new_context_in(w.as);
    gva_t a = 0xb00000;
    /* Holes do not stop what comes after them. */
    ck_assert_int_eq(map_in(w.as, a, 2, 10, ACCESS_READ), 0);
    ck_assert_int_eq(map_in(w.as, a + 4 * PAGE_SIZE, 2, 10, ACCESS_READ), 0);
    struct as_op protect = {.kind = AS_PROTECT, .ar = {a - PAGE_SIZE, a + 10 * PAGE_SIZE}};
    ck_assert(readable(c, a) && readable(c, a + 5 * PAGE_SIZE) && !readable(c, a + 3 * PAGE_SIZE));
    protect.was = ACCESS_READ;
    protect.perms = ACCESS_READ | ACCESS_WRITE;
    ck_assert_int_eq(w.as->ops->apply(w.as, &protect, 1), 0);
    ck_assert(readable(c, a + 5 * PAGE_SIZE));
    protect.was = protect.perms;
    protect.perms = 0;
    ck_assert_int_eq(w.as->ops->apply(w.as, &protect, 1), 0);
    ck_assert(!readable(c, a) && !readable(c, a + 5 * PAGE_SIZE));

    /* Unmapping the middle leaves the ends. */
    ck_assert_int_eq(map_in(w.as, a, 5, 10, ACCESS_READ), 0);
    struct as_op unmap = {.kind = AS_UNMAP, .ar = {a + 2 * PAGE_SIZE, a + 3 * PAGE_SIZE}};
    ck_assert_int_eq(w.as->ops->apply(w.as, &unmap, 1), 0);
    ck_assert(readable(c, a + PAGE_SIZE) && !readable(c, a + 2 * PAGE_SIZE) &&
              readable(c, a + 3 * PAGE_SIZE));

    /* A batch larger than the command page. */
    enum { MANY = 1000 };
    struct as_op *ops = calloc(MANY, sizeof(*ops));
    for (unsigned i = 0; i < MANY; i++)
        ops[i] = map_op(0x10000000 + i * 2 * PAGE_SIZE, 1, i, ACCESS_READ);
    ck_assert_int_eq(w.as->ops->apply(w.as, ops, MANY), 0);
    for (unsigned i = 0; i < MANY; i += 111)
        ck_assert(readable(c, 0x10000000 + i * 2 * PAGE_SIZE) &&
                  !readable(c, 0x10000000 + (i * 2 + 1) * PAGE_SIZE));
    free(ops);

    /* Filling in advance is a wish: what lies behind the end of the file cannot be filled. */
    struct as_op wish = map_op(a, 2, FILE_PAGES - 1, ACCESS_READ | ACCESS_WRITE);
    wish.precommit = true;
    ck_assert_int_eq(w.as->ops->apply(w.as, &wish, 1), 0);
    wish.huge = true;
    ck_assert_int_eq(w.as->ops->apply(w.as, &wish, 1), 0);
    ck_assert(readable(c, a));

    w.as->ops->clear(w.as);
    struct arch_context ac = {0};
    struct switch_event ev;
    start(&ac, CODE);
    ck_assert_int_eq(run(c, &ac, &ev), SWITCH_FAULT);
    ck_assert_int_eq(ev.access, ACCESS_EXEC);
    ck_assert(ev.not_present);
    map_code_and_data(w.as);
    ck_assert(readable(c, DATA));
    /* Above the application's part: refused. */
    ck_assert_int_ne(map_in(w.as, w.p->max_addr, 1, 0, ACCESS_READ), 0);
    c->ops->release(c);
}
END_TEST

START_TEST(host_mapping_limit)
{
    PUT_CODE(0x48, 0x8b, 0x07, 0x0f, 0x05);
    struct context *c = new_context_in(w.as);
    int err = 0;
    unsigned i;
    for (i = 0; i < 70 && !err; i++) {
        struct as_op ops[1000];
        for (unsigned k = 0; k < 1000; k++)
            ops[k] = map_op(0x10000000 + (i * 1000 + k) * 2 * PAGE_SIZE, 1, k, ACCESS_READ);
        err = w.as->ops->apply(w.as, ops, 1000);
    }
    ck_assert_int_eq(err, -ENOMEM);
    ck_assert_uint_gt(i, 60);
    /* Empty, and as good as new. */
    struct arch_context ac = {0};
    struct switch_event ev;
    start(&ac, CODE);
    ck_assert_int_eq(run(c, &ac, &ev), SWITCH_FAULT);
    map_code_and_data(w.as);
    ck_assert(readable(c, DATA));
    ck_assert(!readable(c, 0x10000000));
    c->ops->release(c);
}
END_TEST

START_TEST(other_space)
{
    /* exec: the same context goes on elsewhere. */
    PUT_CODE(0x48, 0x8b, 0x07, 0x0f, 0x05);
    struct context *c = new_context_in(w.as);
    ck_assert(readable(c, DATA));
    struct address_space *other, *first = w.as;
    ck_assert_int_eq(w.p->ops->new_address_space(w.p, &other), 0);
    w.as = other;
    struct arch_context ac = {0};
    struct switch_event ev;
    start(&ac, CODE);
    ck_assert_int_eq(run(c, &ac, &ev), SWITCH_FAULT);
    ck_assert_int_eq(map_in(other, CODE, 1, 0, ACCESS_READ | ACCESS_EXEC), 0);
    ck_assert(!readable(c, DATA));
    w.as = first;
    ck_assert(readable(c, DATA));
    w.as = other;
    ck_assert(!readable(c, DATA));
    w.as = first;
    c->ops->release(c);
    other->ops->release(other);
}
END_TEST

/* --- interrupt --- */

START_TEST(interrupt_a_busy_loop)
{
    PUT_CODE(0xeb, 0xfe); /* jmp . */
    struct spinner s = {0};
    pthread_t t;
    pthread_create(&t, NULL, spin, &s);
    while (!atomic_load(&s.ready))
        usleep(100);
    /* Each is answered: none lost, none reported twice. */
    for (long i = 0; i < 500; i++) {
        s.c->ops->interrupt(s.c);
        wait_until(&s.interrupted, i + 1);
        if (i % 50 == 0) {
            usleep(2000);
            ck_assert_int_eq(atomic_load(&s.interrupted), i + 1);
        }
    }
    ck_assert_int_eq(atomic_load(&s.syscalls), 0);
    finish(&s, t);
}
END_TEST

START_TEST(interrupt_between_calls)
{
    PUT_CODE(0x0f, 0x05, 0xeb, 0xfc); /* syscall; jmp 0 */
    struct spinner s = {0};
    pthread_t t;
    pthread_create(&t, NULL, spin, &s);
    while (!atomic_load(&s.ready))
        usleep(100);
    for (long i = 0; i < 2000; i++) {
        s.c->ops->interrupt(s.c);
        wait_until(&s.interrupted, i + 1);
    }
    ck_assert_int_eq(atomic_load(&s.interrupted), 2000);
    finish(&s, t);
}
END_TEST

START_TEST(interrupt_before)
{
    PUT_CODE(0x0f, 0x05, 0xeb, 0xfc);
    struct context *c = new_context_in(w.as);
    struct arch_context ac = {0};
    struct switch_event ev;
    start(&ac, CODE);
    for (int i = 0; i < 3; i++)
        c->ops->interrupt(c);
    ck_assert_int_eq(run(c, &ac, &ev), SWITCH_INTERRUPTED);
    ck_assert_uint_eq(ac.regs.rip, CODE);
    ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SYSCALL);
    ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SYSCALL);
    c->ops->release(c);
}
END_TEST

int main(void)
{
    const struct test_case cases[] = {
        {"running",
         {syscalls, faults, exceptions, vsyscall, segment_bases, self_modifying_code, fpu,
          fpu_comes_back}},
        {"threads", {threads_in_one_space, apply_beside_running}},
        {"spaces", {mappings, other_space}},
        {"interrupt", {interrupt_a_busy_loop, interrupt_between_calls, interrupt_before}},
        {"limits of the host", {host_mapping_limit}}, /* ptrace alone has them */
    };
    int failed = run_suite("ptrace", cases, ARRAY_SIZE(cases));
    if (use_platform(&kvm_platform_type))
        failed += run_suite("kvm", cases, ARRAY_SIZE(cases) - 1);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
