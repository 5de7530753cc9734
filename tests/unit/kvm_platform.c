/*
 * What only the KVM platform must show: that no processor keeps what was unmapped, that tables and
 * vCPUs that are too few are shared out, and that nothing stays behind.
 */
#include "platform/kvm/kvm.h"
#include "tests/unit/platform_world.h"
#include <dirent.h>

#define AREA 0x10000000ul
#define READERS 3

static struct kvm_vm *vm(void)
{
    return container_of(w.p, struct kvm_vm, base);
}

static void fill_file_page(unsigned page, uint64_t value)
{
    uint64_t *words = (uint64_t *)(w.file.window + page * PAGE_SIZE);
    for (unsigned i = 0; i < PAGE_SIZE / 8; i++)
        words[i] = value;
}

/* --- nothing stale --- */

struct reader {
    pthread_t thread;
    struct context *c;
    _Atomic long loops;
};
static struct reader readers[READERS];
static _Atomic bool stop_reading;
/* What may be seen now: low is raised after old pages went, high before new ones come. */
static _Atomic uint64_t lowest, highest;

/* 0: mov (%rdi),%rax; syscall; jmp 0 */
#define READ_LOOP 0x48, 0x8b, 0x07, 0x0f, 0x05, 0xeb, 0xf9

static void *read_area(void *arg)
{
    struct reader *r = arg;
    struct arch_context ac = {0};
    struct switch_event ev;
    r->c = new_context_in(w.as);
    start(&ac, CODE);
    ac.regs.rdi = AREA + (unsigned)(r - readers) * 8;
    while (!atomic_load(&stop_reading)) {
        uint64_t low = atomic_load(&lowest);
        enum switch_reason reason = run(r->c, &ac, &ev);
        uint64_t high = atomic_load(&highest);
        ck_assert_msg(reason == SWITCH_SYSCALL || reason == SWITCH_FAULT,
                      "reason %d, signal %d at %#llx", reason, ev.info.si_signo, ac.regs.rip);
        if (reason == SWITCH_SYSCALL) {
            uint64_t seen = ac.regs.orig_rax;
            ck_assert_msg(seen >= low && seen <= high, "%lu is not in [%lu, %lu]",
                          (unsigned long)seen, (unsigned long)low, (unsigned long)high);
            atomic_fetch_add(&r->loops, 1);
        }
        ac.regs.rip = CODE;
    }
    r->c->ops->release(r->c);
    return NULL;
}

/* Shows page n in the area, in one of the ways in which one page comes to take another's place. */
static void show_next(uint64_t n)
{
    unsigned page = 100 + (unsigned)(n % 50);
    struct as_op ops[] = {{.kind = AS_UNMAP, .ar = {AREA, AREA + PAGE_SIZE}},
                          map_op(AREA, 1, page, ACCESS_READ)};
    fill_file_page(page, n);
    atomic_store(&highest, n);
    if (n % 3 == 0) {
        const struct as_op hide = {.kind = AS_PROTECT, .ar = {AREA, AREA + PAGE_SIZE}};
        ck_assert_int_eq(w.as->ops->apply(w.as, &hide, 1), 0);
    }
    ck_assert_int_eq(w.as->ops->apply(w.as, n % 2 ? ops : ops + 1, n % 2 ? 2 : 1), 0);
    atomic_store(&lowest, n);
}

START_TEST(nothing_stale)
{
    PUT_CODE(READ_LOOP);
    atomic_store(&lowest, 1);
    show_next(1);
    for (int i = 0; i < READERS; i++)
        pthread_create(&readers[i].thread, NULL, read_area, &readers[i]);
    for (uint64_t n = 2; n < 3000; n++)
        show_next(n);
    for (int i = 0; i < READERS; i++)
        wait_until(&readers[i].loops, 100);
    atomic_store(&stop_reading, true);
    for (int i = 0; i < READERS; i++)
        pthread_join(readers[i].thread, NULL);
}
END_TEST

static struct context *counter;
static _Atomic bool stop_counting, interrupted;

/* Counts in ring 3 without an exit; a fault only makes it try again. */
static void *count_in_memory(void *arg)
{
    struct arch_context ac = {0};
    struct switch_event ev;
    counter = new_context_in(w.as);
    atomic_store((_Atomic int *)arg, 1);
    start(&ac, CODE);
    ac.regs.rdi = AREA;
    while (!atomic_load(&stop_counting)) {
        enum switch_reason r = run(counter, &ac, &ev);
        ck_assert_msg(r == SWITCH_FAULT || r == SWITCH_INTERRUPTED, "reason %d, signal %d at %#llx",
                      r, ev.info.si_signo, ac.regs.rip);
    }
    while (!atomic_load(&interrupted))
        usleep(100);
    counter->ops->release(counter);
    return NULL;
}

START_TEST(no_write_after_protect)
{
    PUT_CODE(0x48, 0xff, 0x07, 0xeb, 0xfb); /* 0: incq (%rdi); jmp 0 */
    volatile uint64_t *count = (volatile uint64_t *)(void *)(w.file.window + 100 * PAGE_SIZE);
    const struct as_op protect = {
        .kind = AS_PROTECT, .ar = {AREA, AREA + PAGE_SIZE}, .perms = ACCESS_READ};
    const struct as_op unmap = {.kind = AS_UNMAP, .ar = {AREA, AREA + PAGE_SIZE}};
    _Atomic int ready = 0;
    pthread_t t;
    pthread_create(&t, NULL, count_in_memory, &ready);
    while (!atomic_load(&ready))
        usleep(100);
    for (int i = 0; i < 500; i++) {
        uint64_t before = *count;
        ck_assert_int_eq(map_in(w.as, AREA, 1, 100, ACCESS_READ | ACCESS_WRITE), 0);
        for (int k = 0; *count == before; k++) {
            ck_assert_int_lt(k, 100000);
            usleep(20);
        }
        ck_assert_int_eq(w.as->ops->apply(w.as, i % 2 ? &protect : &unmap, 1), 0);
        uint64_t after = *count;
        usleep(200);
        ck_assert_uint_eq(*count, after);
    }
    atomic_store(&stop_counting, true);
    counter->ops->interrupt(counter);
    atomic_store(&interrupted, true);
    pthread_join(t, NULL);
}
END_TEST

/* --- more contexts than vCPUs --- */

#define CROWD 70

static void *one_of_the_crowd(void *arg)
{
    uint64_t id = (uintptr_t)arg;
    struct context *c = new_context_in(w.as);
    struct arch_context ac = {0};
    struct switch_event ev;
    start(&ac, CODE);
    ac.regs.rdi = id;
    ac.regs.rax = id;
    for (int i = 0; i < 60; i++) {
        ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SYSCALL);
        ck_assert_uint_eq(ac.regs.orig_rax, id);
        arch_set_return(&ac, (long)id);
    }
    c->ops->release(c);
    return NULL;
}

static void crowd(int vcpus)
{
    /* movq %rdi,%xmm5 once; then: spin; movq %xmm5,%rax; syscall */
    PUT_CODE(0x66, 0x48, 0x0f, 0x6e, 0xef, /* 0: movq %rdi,%xmm5 */
             0xb9, 0x00, 0x10, 0, 0,       /* 5: mov $4096,%ecx */
             0xff, 0xc9, 0x75, 0xfc,       /* 10: dec %ecx; jnz 10 */
             0x66, 0x48, 0x0f, 0x7e, 0xe8, /* 14: movq %xmm5,%rax */
             0x0f, 0x05, 0xeb, 0xee);      /* 19: syscall; jmp 5 */
    pthread_t t[CROWD];
    vm()->max_vcpus = MIN(vcpus, vm()->max_vcpus);
    for (uintptr_t i = 0; i < CROWD; i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, one_of_the_crowd, (void *)(i + 1000)), 0);
    for (int i = 0; i < CROWD; i++)
        pthread_join(t[i], NULL);
    ck_assert_int_le(vm()->nvcpus, vcpus);
    ck_assert(list_empty(&vm()->waiting));
}

START_TEST(crowd_on_two_vcpus)
{
    crowd(2);
}
END_TEST
START_TEST(crowd_on_all_vcpus)
{
    crowd(MAX_VCPUS);
}
END_TEST

/* Those that never leave ring 3 give way, too, and hear every interruption. */
START_TEST(spinners_share_one_vcpu)
{
    PUT_CODE(0xeb, 0xfe);
    struct spinner s[3] = {0};
    pthread_t t[3];
    vm()->max_vcpus = 1;
    for (int i = 0; i < 3; i++)
        pthread_create(&t[i], NULL, spin, &s[i]);
    for (int i = 0; i < 3; i++)
        while (!atomic_load(&s[i].ready))
            usleep(100);
    for (long n = 0; n < 20; n++)
        for (int i = 0; i < 3; i++) {
            s[i].c->ops->interrupt(s[i].c);
            wait_until(&s[i].interrupted, n + 1);
        }
    for (int i = 0; i < 3; i++)
        finish(&s[i], t[i]);
}
END_TEST

/* --- tables --- */

static uint64_t read_at(struct context *c, struct address_space *as, gva_t addr)
{
    struct arch_context ac = {0};
    struct switch_event ev;
    start(&ac, CODE);
    ac.regs.rdi = addr;
    enum switch_reason r = c->ops->run(c, as, &ac, &ev);
    ck_assert_msg(r == SWITCH_SYSCALL, "reason %d at %#lx", r, (unsigned long)addr);
    return ac.regs.orig_rax;
}

START_TEST(tables_of_the_dead_are_used_again)
{
    PUT_CODE(READ_LOOP);
    struct context *c = new_context_in(w.as);
    /* Each has tables of its own for every address; the pages differ. */
    for (unsigned i = 0; i < 700; i++) {
        struct address_space *as;
        ck_assert_int_eq(w.p->ops->new_address_space(w.p, &as), 0);
        map_code_and_data(as);
        for (unsigned k = 0; k < 4; k++) {
            unsigned page = 10 + (i * 4 + k) % 500;
            gva_t at = ((gva_t)(i * 7 + k) % 250 + 1) << 39 | (gva_t)k << 30;
            fill_file_page(page, i * 1000 + k);
            ck_assert_int_eq(map_in(as, at, 1, page, ACCESS_READ), 0);
            ck_assert_uint_eq(read_at(c, as, at), i * 1000 + k);
        }
        as->ops->release(as);
    }
    ck_assert_uint_lt(vm()->arena_used, 6000);
    c->ops->release(c);
}
END_TEST

START_TEST(sparse_mappings_use_up_no_table_of_others)
{
    PUT_CODE(READ_LOOP);
    enum { SPREAD = 400 };
    struct context *c = new_context_in(w.as);
    struct address_space *hog;
    ck_assert_int_eq(w.p->ops->new_address_space(w.p, &hog), 0);
    map_code_and_data(hog);
    vm()->arena_pages = vm()->arena_used + 100;
    for (unsigned k = 0; k < SPREAD; k++) {
        fill_file_page(10 + k, k);
        ck_assert_int_eq(map_in(hog, (gva_t)(k + 1) << 32, 1, 10 + k, ACCESS_READ), 0);
    }
    fill_file_page(1, 4711);
    for (unsigned round = 0; round < 3; round++)
        for (unsigned k = 0; k < SPREAD; k++) {
            ck_assert_uint_eq(read_at(c, hog, (gva_t)(k + 1) << 32), k);
            ck_assert_uint_eq(read_at(c, w.as, DATA), 4711);
        }
    /* A new space finds room as well, and the hog's pages that were unmapped are gone. */
    struct address_space *late;
    ck_assert_int_eq(w.p->ops->new_address_space(w.p, &late), 0);
    map_code_and_data(late);
    ck_assert_uint_eq(read_at(c, late, DATA), 4711);
    const struct as_op unmap = {.kind = AS_UNMAP, .ar = {1ul << 32, 200ul << 32}};
    ck_assert_int_eq(hog->ops->apply(hog, &unmap, 1), 0);
    struct arch_context ac = {0};
    struct switch_event ev;
    start(&ac, CODE);
    ac.regs.rdi = 5ul << 32;
    ck_assert_int_eq(c->ops->run(c, hog, &ac, &ev), SWITCH_FAULT);
    late->ops->release(late);
    hog->ops->release(hog);
    c->ops->release(c);
}
END_TEST

struct hog {
    pthread_t thread;
    unsigned first;
};

static void *be_a_hog(void *arg)
{
    struct hog *h = arg;
    struct context *c = new_context_in(w.as);
    struct address_space *as = w.as;
    for (unsigned round = 0; round < 3; round++)
        for (unsigned k = 0; k < 100; k++) {
            unsigned n = (h->first + k) % 300;
            ck_assert_uint_eq(read_at(c, as, (gva_t)(n + 1) << 32), n);
        }
    c->ops->release(c);
    return NULL;
}

/* All in one space: it is stopped under those that run in it. */
START_TEST(hogs_in_one_space)
{
    PUT_CODE(READ_LOOP);
    struct hog hogs[4];
    for (unsigned k = 0; k < 300; k++) {
        fill_file_page(10 + k, k);
        ck_assert_int_eq(map_in(w.as, (gva_t)(k + 1) << 32, 1, 10 + k, ACCESS_READ), 0);
    }
    w.as->ops->clear(w.as);
    map_code_and_data(w.as);
    vm()->arena_pages = vm()->arena_used;
    for (unsigned k = 0; k < 300; k++)
        ck_assert_int_eq(map_in(w.as, (gva_t)(k + 1) << 32, 1, 10 + k, ACCESS_READ), 0);
    vm()->arena_pages = vm()->arena_used + 20;
    for (unsigned i = 0; i < 4; i++) {
        hogs[i].first = i * 70;
        pthread_create(&hogs[i].thread, NULL, be_a_hog, &hogs[i]);
    }
    for (unsigned i = 0; i < 4; i++)
        pthread_join(hogs[i].thread, NULL);
}
END_TEST

/* Where one range of pages was shown, the owner is not asked again, and who goes through it in
 * order meets fewer and fewer faults. */
static uint64_t faults_of(struct context *c)
{
    return container_of(c, struct kvm_context, base)->faults;
}

START_TEST(faults_fill_ahead)
{
    PUT_CODE(READ_LOOP);
    enum { BLOCKS = 8 };
    const gva_t at = 1ul << 32, block = 2ul << 20;
    struct context *c = new_context_in(w.as);
    for (unsigned i = 0; i < BLOCKS; i++)
        fill_file_page(i * 512 + 5, i + 100);
    for (int tight = 0; tight < 2; tight++) {
        ck_assert_int_eq(map_in(w.as, at, BLOCKS * 512, 0, ACCESS_READ), 0);
        (void)read_at(c, w.as, DATA);
        uint64_t before = faults_of(c);
        if (tight)
            vm()->arena_pages = vm()->arena_used + 2;
        for (unsigned i = 0; i < BLOCKS; i++)
            ck_assert_uint_eq(read_at(c, w.as, at + i * block + 5 * PAGE_SIZE), i + 100);
        ck_assert_uint_le(faults_of(c) - before, tight ? 3 * BLOCKS : 4);
        for (unsigned i = BLOCKS; i-- > 0;)
            ck_assert_uint_eq(read_at(c, w.as, at + i * block + 5 * PAGE_SIZE), i + 100);
        const struct as_op unmap = {.kind = AS_UNMAP, .ar = {at, at + BLOCKS * block}};
        ck_assert_int_eq(w.as->ops->apply(w.as, &unmap, 1), 0);
        w.as->ops->clear(w.as);
        map_code_and_data(w.as);
    }
    /* Backwards, each block is a fault. */
    vm()->arena_pages = ARENA_SIZE / PAGE_SIZE;
    ck_assert_int_eq(map_in(w.as, at, BLOCKS * 512, 0, ACCESS_READ), 0);
    uint64_t before = faults_of(c);
    for (unsigned i = BLOCKS; i-- > 0;)
        ck_assert_uint_eq(read_at(c, w.as, at + i * block + 5 * PAGE_SIZE), i + 100);
    ck_assert_uint_le(faults_of(c) - before, BLOCKS + 1);
    c->ops->release(c);
}
END_TEST

/* --- the rest --- */

START_TEST(time_stamp_counter)
{
    PUT_CODE(0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0, 0x0f, 0x05);
    struct context *c = new_context_in(w.as);
    struct arch_context ac = {0};
    struct switch_event ev;
    for (int i = 0; i < 100; i++) {
        start(&ac, CODE); /* rdtsc; shl $32,%rdx; or %rdx,%rax; syscall */
        uint64_t before = __builtin_ia32_rdtsc();
        ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SYSCALL);
        uint64_t after = __builtin_ia32_rdtsc(), seen = ac.regs.orig_rax;
        ck_assert_msg(seen >= before && seen <= after, "%lu is not in [%lu, %lu]", seen, before,
                      after);
    }
    c->ops->release(c);
}
END_TEST

START_TEST(hostile_registers)
{
    PUT_CODE(0x0f, 0x05, 0xeb, 0xfc);
    struct context *c = new_context_in(w.as);
    struct arch_context ac = {0};
    struct switch_event ev;
    const uint64_t rips[] = {CODE_VA,       CODE_VA + 14 * STUB_SIZE, LSTAR_VA,   IDT_VA,
                             VCPU_VA(0),    VSYSCALL_VA + 1,          1ull << 47, ~0ull,
                             0x7ffffffff000};
    for (size_t i = 0; i < ARRAY_SIZE(rips); i++)
        for (int k = 0; k < 3; k++) {
            start(&ac, rips[i]);
            ac.regs.rsp = k == 0 ? VCPU_VA(0) + 0x800 : k == 1 ? 0 : ~0ul;
            ac.regs.eflags = ~0ul;
            enum switch_reason r = run(c, &ac, &ev);
            ck_assert_msg(r == SWITCH_FAULT || r == SWITCH_SIGNAL || r == SWITCH_SYSCALL,
                          "reason %d for rip %#lx", r, (unsigned long)rips[i]);
        }
    const uint16_t selectors[] = {0, 0x10, 0x18, 0x23, 0x33, 0x2b, 0x40, 0xffff};
    for (size_t i = 0; i < ARRAY_SIZE(selectors); i++) {
        start(&ac, CODE);
        ac.regs.cs = selectors[i];
        ac.regs.ds = ac.regs.es = ac.regs.fs = ac.regs.gs = selectors[i];
        ck_assert_int_eq(run(c, &ac, &ev), selectors[i] == 0x33 ? SWITCH_SYSCALL : SWITCH_SIGNAL);
    }
    start(&ac, CODE);
    ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SYSCALL);
    c->ops->release(c);
}
END_TEST

/* A host file that somebody makes shorter: the signal says where, also for the second operand of an
 * instruction, and other pages stay. */
START_TEST(lost_pages)
{
    PUT_CODE(0xf3, 0xa4, 0x0f, 0x05,                     /* 0: rep movsb; syscall */
             0xff, 0xe7);                                /* 4: jmp *%rdi */
    static struct memmap_file file = {.ops = &file_ops}; /* its window outlives the test */
    struct context *c = new_context_in(w.as);
    struct arch_context ac = {0};
    struct switch_event ev;
    file.fd = memfd_create("host", MFD_CLOEXEC);
    const struct as_op map = {
        .kind = AS_MAP, .ar = {AREA, AREA + 8 * PAGE_SIZE}, .file = &file, .perms = ACCESS_ANY};
    ck_assert_int_eq(ftruncate(file.fd, 8 * PAGE_SIZE), 0);
    ck_assert_int_eq(w.as->ops->apply(w.as, &map, 1), 0);
    for (int lost = 0; lost < 3; lost++) {
        const struct {
            gva_t from, to, at;
            unsigned offset;
        } cases[] = {{AREA, DATA, 0, 0},
                     {AREA + 5 * PAGE_SIZE + 123, DATA, AREA + 5 * PAGE_SIZE + 123, 0},
                     {AREA, AREA + 6 * PAGE_SIZE + 7, AREA + 6 * PAGE_SIZE + 7, 0},
                     {AREA + 2 * PAGE_SIZE - 8, AREA + 4 * PAGE_SIZE - 8, AREA + 4 * PAGE_SIZE, 0},
                     {0, AREA + 7 * PAGE_SIZE, AREA + 7 * PAGE_SIZE, 4}};
        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
            if (!lost && cases[i].offset)
                continue; /* zeros are instructions of a kind */
            start(&ac, CODE + cases[i].offset);
            ac.regs.rsi = cases[i].from;
            ac.regs.rdi = cases[i].to;
            ac.regs.rcx = 16;
            enum switch_reason r = run(c, &ac, &ev);
            bool signal = lost && cases[i].at;
            ck_assert_msg(r == (signal ? SWITCH_SIGNAL : SWITCH_SYSCALL), "case %zu: %d", i, r);
            if (!signal)
                continue;
            ck_assert_int_eq(ev.info.si_signo, SIGBUS);
            ck_assert_int_eq(ev.info.si_code, BUS_ADRERR);
            ck_assert_uint_eq((uintptr_t)ev.info.si_addr, cases[i].at);
        }
        ck_assert_int_eq(ftruncate(file.fd, 4 * PAGE_SIZE), 0);
    }
    c->ops->release(c);
}
END_TEST

/* A number that ring 3 reads is that of the host's CPU, or the platform says that it is not. */
START_TEST(number_of_the_cpu)
{
    PUT_CODE(0x0f, 0x01, 0xf9, 0x89, 0xc8, 0x0f, 0x05); /* rdtscp; mov %ecx,%eax; syscall */
    struct context *c = new_context_in(w.as);
    struct arch_context ac = {0};
    struct switch_event ev;
    for (int cpu = 0; cpu < 2; cpu++) {
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET((size_t)cpu, &set);
        if (sched_setaffinity(0, sizeof(set), &set))
            continue;
        start(&ac, CODE);
        ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SYSCALL);
        if (!w.p->cpu_hidden)
            ck_assert_uint_eq(ac.regs.orig_rax & 0xfff, (unsigned)cpu);
    }
    c->ops->release(c);
}
END_TEST

START_TEST(lowest_page)
{
    PUT_CODE(0x48, 0x8b, 0x07, 0x0f, 0x05); /* mov (%rdi),%rax; syscall */
    struct context *c = new_context_in(w.as);
    struct arch_context ac = {0};
    struct switch_event ev;
    fill_file_page(9, 4711);
    ck_assert_int_eq(map_in(w.as, w.p->min_addr, 1, 9, ACCESS_READ), 0);
    start(&ac, CODE);
    ac.regs.rdi = w.p->min_addr;
    ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SYSCALL);
    ck_assert_uint_eq(ac.regs.orig_rax, 4711);
    const gva_t below[] = {0, w.p->min_addr - 8};
    for (size_t i = 0; i < ARRAY_SIZE(below); i++) {
        start(&ac, CODE);
        ac.regs.rdi = below[i];
        ck_assert_int_eq(run(c, &ac, &ev), SWITCH_FAULT);
        ck_assert_uint_eq(ev.addr, below[i]);
    }
    c->ops->release(c);
}
END_TEST

/* Debug registers are ring 0's, and none of the host's shows. */
START_TEST(debug_registers)
{
    PUT_CODE(0x0f, 0x21, 0xc0, /* 0: mov %db0,%rax */
             0x0f, 0x23, 0xc0, /* 3: mov %rax,%db0 */
             0x0f, 0x21, 0xf8, /* 6: mov %db7,%rax */
             0x0f, 0x23, 0xf8, /* 9: mov %rax,%db7 */
             0x0f, 0x05);
    struct context *c = new_context_in(w.as);
    struct arch_context ac = {0};
    struct switch_event ev;
    for (unsigned at = 0; at < 12; at += 3) {
        start(&ac, CODE + at);
        ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SIGNAL);
        ck_assert_int_eq(ev.info.si_signo, SIGSEGV);
        ck_assert_int_eq(ev.info.si_code, SI_KERNEL);
        ck_assert_uint_eq(ac.regs.rip, CODE + at);
    }
    c->ops->release(c);
}
END_TEST

/* A task whose vCPU is lost takes nobody with it: here, there is no way to tell of a fault. */
START_TEST(lost_vcpu)
{
    PUT_CODE(0x48, 0x8b, 0x07, 0x0f, 0x05); /* mov (%rdi),%rax; syscall */
    vm()->max_vcpus = 1;
    for (int i = 0; i < 3; i++) {
        struct context *c = new_context_in(w.as);
        struct arch_context ac = {0};
        struct switch_event ev;
        start(&ac, CODE);
        ac.regs.rdi = DATA;
        ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SYSCALL);
        char *idt = vm()->vcpus[0].page - PAGE_SIZE, saved[PAGE_SIZE];
        memcpy(saved, idt, sizeof(saved));
        memset(idt, 0, sizeof(saved));
        start(&ac, CODE);
        ac.regs.rdi = AREA;
        ck_assert_int_eq(run(c, &ac, &ev), SWITCH_DEAD);
        memcpy(idt, saved, sizeof(saved));
        c->ops->release(c);
    }
    struct context *c = new_context_in(w.as);
    struct arch_context ac = {0};
    struct switch_event ev;
    start(&ac, CODE);
    ac.regs.rdi = DATA;
    ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SYSCALL);
    c->ops->release(c);
}
END_TEST

static int entries_of(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static int lines_of(const char *path)
{
    int n = 0, ch;
    FILE *f = fopen(path, "r");
    while ((ch = getc(f)) != EOF)
        n += ch == '\n';
    fclose(f);
    return n;
}

START_TEST(five_hundred_lives)
{
    char why[200];
    int files = entries_of("/proc/self/fd"), threads = entries_of("/proc/self/task");
    int mappings = lines_of("/proc/self/maps");
    PUT_CODE(0x0f, 0x05, 0xeb, 0xfc);
    for (int i = 0; i < 500; i++) {
        struct world other = w;
        ck_assert_msg(world_type->create(&other.p, why, sizeof(why)) == 0, "%s", why);
        ck_assert_int_eq(other.p->ops->new_address_space(other.p, &other.as), 0);
        map_code_and_data(other.as);
        struct context *c;
        ck_assert_int_eq(other.p->ops->new_context(other.p, other.as, &c), 0);
        struct arch_context ac = {0};
        struct switch_event ev;
        start(&ac, CODE);
        ck_assert_int_eq(c->ops->run(c, other.as, &ac, &ev), SWITCH_SYSCALL);
        c->ops->release(c);
        other.as->ops->release(other.as);
        other.p->ops->release(other.p);
    }
    ck_assert_int_eq(entries_of("/proc/self/fd"), files);
    ck_assert_int_eq(entries_of("/proc/self/task"), threads);
    ck_assert_int_le(lines_of("/proc/self/maps"), mappings + 50);
}
END_TEST

static int file_references;
static void count_up(UNUSED struct memmap_file *f, UNUSED struct file_range fr)
{
    file_references++;
}
static void count_down(struct memmap_file *f, UNUSED struct file_range fr)
{
    file_references--;
    close(f->fd);
}

/* Five hundred address spaces that map a host file each leave no slot but those that are cached. */
START_TEST(slots_are_used_again)
{
    static const struct memmap_file_ops counting = {.inc_ref = count_up, .dec_ref = count_down};
    static struct memmap_file files[500];
    PUT_CODE(READ_LOOP);
    struct context *c = new_context_in(w.as);
    unsigned before = vm()->next_slot;
    for (uint64_t i = 0; i < ARRAY_SIZE(files); i++) {
        struct address_space *as;
        files[i].ops = &counting;
        files[i].fd = memfd_create("host", MFD_CLOEXEC);
        ck_assert_int_eq(ftruncate(files[i].fd, PAGE_SIZE), 0);
        ck_assert_int_eq(pwrite(files[i].fd, &i, sizeof(i), 0), sizeof(i));
        ck_assert_int_eq(w.p->ops->new_address_space(w.p, &as), 0);
        map_code_and_data(as);
        const struct as_op map = {.kind = AS_MAP,
                                  .ar = {AREA, AREA + PAGE_SIZE},
                                  .file = &files[i],
                                  .perms = ACCESS_READ};
        ck_assert_int_eq(as->ops->apply(as, &map, 1), 0);
        ck_assert_uint_eq(read_at(c, as, AREA), i);
        as->ops->release(as);
        ck_assert_int_le(file_references, WINDOWS_CACHED);
    }
    ck_assert_uint_le(vm()->next_slot, before + WINDOWS_CACHED + 2);
    c->ops->release(c);
}
END_TEST

int main(void)
{
    const struct test_case cases[] = {
        {"stale", {nothing_stale, no_write_after_protect}},
        {"crowds", {crowd_on_two_vcpus, crowd_on_all_vcpus, spinners_share_one_vcpu, lost_vcpu}},
        {"tables",
         {tables_of_the_dead_are_used_again, sparse_mappings_use_up_no_table_of_others,
          hogs_in_one_space, faults_fill_ahead}},
        {"the rest",
         {time_stamp_counter, hostile_registers, five_hundred_lives, slots_are_used_again,
          lost_pages, number_of_the_cpu, lowest_page, debug_registers}},
    };
    if (!use_platform(&kvm_platform_type))
        return EXIT_SUCCESS;
    return run_suite("kvm", cases, ARRAY_SIZE(cases)) ? EXIT_FAILURE : EXIT_SUCCESS;
}
