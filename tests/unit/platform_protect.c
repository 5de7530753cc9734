/*
 * Protection that changes again and again, as collectors and compilers do it: what the application
 * may do with a page is at any time exactly what it was last given.
 */
#include "tests/unit/platform_world.h"
#include "tests/unit/random.h"

#define AREA 0xa00000ul
#define PAGES 12
#define FIRST_FILE_PAGE 64ul
#define STEPS 6000

/* Where in the program each kind of access is. */
enum { READ_AT = 0, WRITE_AT = 5, ODD_WRITE_AT = 10 };
static const uint8_t program[] = {
    0x48, 0x8b, 0x07, 0x0f, 0x05, /* 0: mov (%rdi),%rax; syscall */
    0x48, 0x89, 0x07, 0x0f, 0x05, /* 5: mov %rax,(%rdi); syscall */
    0xd9, 0x37, 0x0f, 0x05,       /* 10: fnstenv (%rdi); syscall */
};

/* What the application may do, by page; 0: nothing is mapped. */
struct model {
    access_t perms[PAGES];
    uint64_t file_page[PAGES];
};

static gva_t page_address(unsigned page)
{
    return AREA + page * PAGE_SIZE;
}

static void show(struct model *m, unsigned page)
{
    ck_assert_int_eq(map_in(w.as, page_address(page), 1, m->file_page[page], m->perms[page]), 0);
}

/* Whether the access succeeds. As mm does, a fault that should not be is answered by showing the
 * page once more. */
static bool may(struct context *c, struct model *m, unsigned page, unsigned at)
{
    struct arch_context ac = {0};
    struct switch_event ev;
    start(&ac, CODE + at);
    ac.regs.rdi = page_address(page) + 128;
    ac.regs.rax = page;
    for (int tries = 0; tries < 5; tries++) {
        enum switch_reason r = run(c, &ac, &ev);
        if (r == SWITCH_SYSCALL)
            return true;
        ck_assert_int_eq(r, SWITCH_FAULT);
        ck_assert_uint_eq(ev.addr, page_address(page) + 128);
        if (!m->perms[page] || (ev.access & ~m->perms[page]))
            return false;
        show(m, page);
    }
    ck_abort_msg("page %u: it never ends", page);
    return false;
}

static void look_at(struct context *c, struct model *m, unsigned page)
{
    ck_assert_msg(may(c, m, page, READ_AT) == !!(m->perms[page] & ACCESS_READ), "read of %u", page);
    bool writable = m->perms[page] & ACCESS_WRITE;
    ck_assert_msg(may(c, m, page, ODD_WRITE_AT) == writable, "odd write to %u", page);
    uint64_t *there = (uint64_t *)(void *)(w.file.window + m->file_page[page] * PAGE_SIZE + 128);
    *there = UINT64_MAX;
    ck_assert_msg(may(c, m, page, WRITE_AT) == writable, "write to %u", page);
    ck_assert_uint_eq(*there, writable ? page : UINT64_MAX);
}

/* Gives pages [page, page + n) the rights `perms`: an operation for each run of those that had the
 * same. */
static void protect(struct model *m, unsigned page, unsigned n, access_t perms)
{
    struct as_op ops[PAGES];
    size_t count = 0;
    for (unsigned i = page; i < page + n; i++) {
        if (!m->perms[i])
            continue;
        struct as_op *last = count ? &ops[count - 1] : NULL;
        if (last && last->was == m->perms[i] && last->ar.end == page_address(i))
            last->ar.end += PAGE_SIZE;
        else
            ops[count++] = (struct as_op){.kind = AS_PROTECT,
                                          .ar = {page_address(i), page_address(i + 1)},
                                          .was = m->perms[i],
                                          .perms = perms};
        m->perms[i] = perms;
    }
    if (count)
        ck_assert_int_eq(w.as->ops->apply(w.as, ops, count), 0);
}

static void unmap(struct model *m, unsigned page, unsigned n)
{
    struct as_op op = {.kind = AS_UNMAP, .ar = {page_address(page), page_address(page + n)}};
    ck_assert_int_eq(w.as->ops->apply(w.as, &op, 1), 0);
    memset(m->perms + page, 0, n * sizeof(m->perms[0]));
}

static void map(struct model *m, unsigned page, unsigned n, uint64_t file_page, access_t perms)
{
    ck_assert_int_eq(map_in(w.as, page_address(page), n, file_page, perms), 0);
    for (unsigned i = 0; i < n; i++) {
        m->perms[page + i] = perms;
        m->file_page[page + i] = file_page + i;
    }
}

/* Whether the platform drops what page shows; then the file has nothing there any more. */
static bool drop(struct model *m, unsigned page)
{
    struct as_op op = map_op(page_address(page), 1, m->file_page[page], m->perms[page]);
    if (!w.as->ops->drop || !w.as->ops->drop(w.as, &op))
        return false;
    const uint64_t *there = (uint64_t *)(void *)(w.file.window + op.offset);
    for (size_t i = 0; i < PAGE_SIZE / sizeof(*there); i++)
        ck_assert_uint_eq(there[i], 0);
    m->perms[page] = 0;
    return true;
}

/* As allocators do: the same page goes and comes. In between, it is not there, not even if the file
 * has contents again. Returns how often the platform dropped it. */
static int go_and_come(struct rng *rng, struct context *c, struct model *m, unsigned page)
{
    const access_t rw = ACCESS_READ | ACCESS_WRITE;
    int dropped = 0;
    if (m->perms[page] != rw)
        map(m, page, 1, FIRST_FILE_PAGE + rng_below(rng, 20), rw);
    for (int i = 0; i < 4; i++) {
        bool did = drop(m, page);
        dropped += did;
        if (!did)
            unmap(m, page, 1);
        if (rng_below(rng, 2))
            look_at(c, m, page);
        if (rng_below(rng, 8) == 0)
            return dropped;
        map(m, page, 1, m->file_page[page], rw);
        if (rng_below(rng, 2))
            look_at(c, m, page);
    }
    return dropped;
}

static void random_step(struct rng *rng, struct context *c, struct model *m)
{
    static const access_t rights[] = {ACCESS_READ, ACCESS_READ | ACCESS_WRITE,
                                      ACCESS_READ | ACCESS_WRITE | ACCESS_EXEC,
                                      ACCESS_READ | ACCESS_EXEC, 0};
    unsigned page = (unsigned)rng_below(rng, PAGES);
    unsigned n = 1 + (unsigned)rng_below(rng, rng_below(rng, 3) ? 2 : PAGES);
    n = MIN(n, PAGES - page);
    switch (rng_below(rng, 16)) {
    case 0:
        map(m, page, n, FIRST_FILE_PAGE + rng_below(rng, 20), rights[rng_below(rng, 4)]);
        break;
    case 1:
        unmap(m, page, n);
        break;
    case 2:
        if (rng_below(rng, 20) == 0) {
            w.as->ops->clear(w.as);
            memset(m->perms, 0, sizeof(m->perms));
            map_code_and_data(w.as);
        }
        break;
    case 3:
    case 4:
    case 5:
        look_at(c, m, page);
        break;
    case 6:
        go_and_come(rng, c, m, page);
        break;
    default:
        protect(m, page, n, rights[rng_below(rng, rng_below(rng, 8) ? 2 : 5)]);
    }
}

START_TEST(model)
{
    put_code(program, sizeof(program));
    struct rng rng = rng_seed("protection");
    struct context *c = new_context_in(w.as);
    struct model m = {0};
    for (int i = 0; i < STEPS; i++)
        random_step(&rng, c, &m);
    c->ops->release(c);
}
END_TEST

/* More pages go and come than the platform can keep in mind; and it does keep some. */
START_TEST(many_go_and_come)
{
    put_code(program, sizeof(program));
    struct rng rng = rng_seed("many");
    struct context *c = new_context_in(w.as);
    struct model m = {0};
    int dropped = 0;
    for (int i = 0; i < 40; i++) {
        gva_t other = AREA + (gva_t)(PAGES + 2 * i) * PAGE_SIZE;
        for (int k = 0; k < 4; k++) {
            struct as_op op = map_op(other, 1, FIRST_FILE_PAGE, ACCESS_READ | ACCESS_WRITE);
            ck_assert_int_eq(w.as->ops->apply(w.as, &op, 1), 0);
            bool did = w.as->ops->drop && w.as->ops->drop(w.as, &op);
            op.kind = AS_UNMAP;
            if (!did)
                ck_assert_int_eq(w.as->ops->apply(w.as, &op, 1), 0);
        }
        dropped += go_and_come(&rng, c, &m, (unsigned)i % PAGES);
    }
    ck_assert(!w.as->ops->drop || dropped > 10);
    c->ops->release(c);
}
END_TEST

/* What was dropped in a space is not there when another space has the process. */
START_TEST(dropped_before_release)
{
    put_code(program, sizeof(program));
    struct rng rng = rng_seed("release");
    struct context *c = new_context_in(w.as);
    struct model m = {0};
    for (int i = 0; i < 20; i++)
        go_and_come(&rng, c, &m, (unsigned)i % 3);
    c->ops->release(c);
    w.as->ops->release(w.as);
    memset(w.file.window + FIRST_FILE_PAGE * PAGE_SIZE, 1, 20 * PAGE_SIZE);
    ck_assert_int_eq(w.p->ops->new_address_space(w.p, &w.as), 0);
    map_code_and_data(w.as);
    c = new_context_in(w.as);
    memset(&m, 0, sizeof(m));
    for (unsigned page = 0; page < PAGES; page++) {
        ck_assert(!may(c, &m, page, READ_AT));
        go_and_come(&rng, c, &m, page);
    }
    c->ops->release(c);
}
END_TEST

/* One thread writes while another takes the right away and gives it back: no write gets lost, and
 * no fault is anything but a fault. */
struct writer {
    _Atomic int ready;
    _Atomic bool stop;
    _Atomic long writes;
};

static void *write_on(void *arg)
{
    struct writer *wr = arg;
    struct context *c = new_context_in(w.as);
    struct arch_context ac = {0};
    struct switch_event ev;
    atomic_store(&wr->ready, 1);
    while (!atomic_load(&wr->stop)) {
        start(&ac, CODE + WRITE_AT);
        ac.regs.rdi = AREA;
        long n = atomic_load(&wr->writes) + 1;
        ac.regs.rax = (unsigned long)n;
        enum switch_reason r;
        while ((r = run(c, &ac, &ev)) != SWITCH_SYSCALL) {
            ck_assert_int_eq(r, SWITCH_FAULT);
            ck_assert_int_eq(ev.access, ACCESS_WRITE);
            sched_yield();
        }
        ck_assert_int_eq(*(long *)(void *)(w.file.window + FIRST_FILE_PAGE * PAGE_SIZE), n);
        atomic_store(&wr->writes, n);
    }
    c->ops->release(c);
    return NULL;
}

START_TEST(beside_a_writer)
{
    put_code(program, sizeof(program));
    struct writer wr = {0};
    struct model m = {0};
    map(&m, 0, 1, FIRST_FILE_PAGE, ACCESS_READ | ACCESS_WRITE);
    pthread_t t;
    pthread_create(&t, NULL, write_on, &wr);
    while (!atomic_load(&wr.ready))
        usleep(100);
    for (int i = 0; i < 3000 || atomic_load(&wr.writes) < 100; i++) {
        protect(&m, 0, 1, ACCESS_READ);
        protect(&m, 0, 1, ACCESS_READ | ACCESS_WRITE);
    }
    atomic_store(&wr.stop, true);
    pthread_join(t, NULL);
}
END_TEST

/* A page that the host cannot give is a bus error, also where others are protected. */
START_TEST(no_page)
{
    put_code(program, sizeof(program));
    struct context *c = new_context_in(w.as);
    struct model m = {0};
    map(&m, 0, 4, FIRST_FILE_PAGE, ACCESS_READ | ACCESS_WRITE);
    for (int i = 0; i < 8; i++)
        protect(&m, 0, 1, i % 2 ? ACCESS_READ | ACCESS_WRITE : ACCESS_READ);
    map(&m, 4, 1, FILE_PAGES, ACCESS_READ | ACCESS_WRITE);
    for (unsigned at = READ_AT; at <= ODD_WRITE_AT; at += WRITE_AT) {
        struct arch_context ac = {0};
        struct switch_event ev;
        enum switch_reason r;
        int faults = 0;
        start(&ac, CODE + at);
        ac.regs.rdi = page_address(4);
        while ((r = run(c, &ac, &ev)) == SWITCH_FAULT && faults++ < 10)
            show(&m, 4);
        ck_assert_int_eq(r, SWITCH_SIGNAL);
        ck_assert_int_eq(ev.info.si_signo, SIGBUS);
        ck_assert_int_eq(ev.info.si_code, BUS_ADRERR);
        ck_assert_uint_eq(ev.addr, page_address(4));
    }
    c->ops->release(c);
}
END_TEST

int main(void)
{
    const struct test_case cases[] = {
        {"protection", {model, many_go_and_come, dropped_before_release, beside_a_writer}},
        {"host", {no_page}}, /* kvm finds out in another way */
    };
    int failed = run_suite("ptrace", cases, ARRAY_SIZE(cases));
    if (use_platform(&kvm_platform_type))
        failed += run_suite("kvm", cases, ARRAY_SIZE(cases) - 1);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
