/*
 * What the tests of the platforms share: a platform with one address space, small
 * machine-code programs in pages of a memfd, and a runner of suites.
 */
#ifndef PICKET_TESTS_PLATFORM_WORLD_H
#define PICKET_TESTS_PLATFORM_WORLD_H

#include "platform/platform.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CODE 0x400000ul
#define DATA 0x600000ul
#define STACK 0x700000ul
#define FILE_PAGES 4096ul

static inline void no_references(struct memmap_file *f, struct file_range fr)
{
    (void)f;
    (void)fr;
}
static const struct memmap_file_ops file_ops = {.inc_ref = no_references, .dec_ref = no_references};

/* A sandbox's worth: platform, one space, pages. Page 0 of the file is code, page 1 data. */
struct world {
    struct platform *p;
    struct address_space *as;
    struct memmap_file file;
};

static struct world w;
static const struct platform_type *world_type = &ptrace_platform_type;

/* Whether the test program may go on with that type: it says why not. */
static inline bool use_platform(const struct platform_type *type)
{
    char why[200] = "";
    world_type = type;
    if (type->self_test(why, sizeof(why)) == 0)
        return true;
    printf("skipped: %s\n", why);
    return false;
}

static inline struct context *new_context_in(struct address_space *as)
{
    struct context *c = NULL;
    ck_assert_int_eq(w.p->ops->new_context(w.p, as, &c), 0);
    return c;
}

static inline struct as_op map_op(gva_t addr, uint64_t pages, uint64_t file_page, access_t perms)
{
    return (struct as_op){.kind = AS_MAP,
                          .ar = {addr, addr + pages * PAGE_SIZE},
                          .file = &w.file,
                          .offset = file_page * PAGE_SIZE,
                          .perms = perms};
}

static inline int map_in(struct address_space *as, gva_t addr, uint64_t pages, uint64_t file_page,
                         access_t perms)
{
    struct as_op op = map_op(addr, pages, file_page, perms);
    return as->ops->apply(as, &op, 1);
}

static inline void map_code_and_data(struct address_space *as)
{
    struct as_op ops[] = {
        map_op(CODE, 1, 0, ACCESS_READ | ACCESS_EXEC),
        map_op(DATA, 1, 1, ACCESS_READ | ACCESS_WRITE),
        map_op(STACK - PAGE_SIZE, 1, 2, ACCESS_READ | ACCESS_WRITE),
    };
    ck_assert_int_eq(as->ops->apply(as, ops, ARRAY_SIZE(ops)), 0);
}

static inline void set_up(void)
{
    char why[200] = "";
    const char *slow = getenv("CK_TIMEOUT_MULTIPLIER"); /* as for Check's own limits */
    alarm(slow ? 240 * (unsigned)atoi(slow) : 240);
    memset(&w, 0, sizeof(w));
    ck_assert_msg(world_type->create(&w.p, why, sizeof(why)) == 0, "%s", why);
    w.file.ops = &file_ops;
    w.file.fd = memfd_create("test", MFD_CLOEXEC);
    ck_assert_int_ge(w.file.fd, 0);
    ck_assert_int_eq(ftruncate(w.file.fd, (off_t)(FILE_PAGES * PAGE_SIZE)), 0);
    w.file.window =
        mmap(NULL, FILE_PAGES * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, w.file.fd, 0);
    ck_assert_ptr_ne(w.file.window, MAP_FAILED);
    ck_assert_int_eq(w.p->ops->new_address_space(w.p, &w.as), 0);
    map_code_and_data(w.as);
}

static inline void tear_down(void)
{
    w.as->ops->release(w.as);
    w.p->ops->release(w.p);
    munmap(w.file.window, FILE_PAGES * PAGE_SIZE);
    close(w.file.fd);
}

static inline void put_code(const void *code, size_t n)
{
    memset(w.file.window, 0xcc, PAGE_SIZE);
    memcpy(w.file.window, code, n);
}
#define PUT_CODE(...)                                                                              \
    do {                                                                                           \
        static const uint8_t code_[] = {__VA_ARGS__};                                              \
        put_code(code_, sizeof(code_));                                                            \
    } while (0)

static inline void start(struct arch_context *ac, gva_t rip)
{
    free(ac->xstate);
    *ac = (struct arch_context){.regs = {
                                    .rip = rip,
                                    .rsp = STACK,
                                    .cs = 0x33,
                                    .ss = 0x2b,
                                    .eflags = 0x202,
                                    .orig_rax = (unsigned long)-1,
                                }};
}

static inline enum switch_reason run(struct context *c, struct arch_context *ac,
                                     struct switch_event *ev)
{
    return c->ops->run(c, w.as, ac, ev);
}

static inline void *count_with_syscalls(void *arg)
{
    long id = (long)arg;
    struct context *c = new_context_in(w.as);
    struct arch_context ac = {0};
    struct switch_event ev;
    start(&ac, CODE);
    ac.regs.rbx = (unsigned long)id;
    for (long i = 0; i < 2000; i++) {
        arch_set_return(&ac, i);
        ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SYSCALL);
        ck_assert_uint_eq(ac.regs.orig_rax, (unsigned long)i);
        ck_assert_uint_eq(ac.regs.rbx, (unsigned long)id);
    }
    c->ops->release(c);
    return NULL;
}

struct spinner {
    struct context *c;
    _Atomic int ready;
    _Atomic long interrupted, syscalls;
    _Atomic bool stop;
};

static inline void *spin(void *arg)
{
    struct spinner *s = arg;
    struct arch_context ac = {0};
    struct switch_event ev;
    s->c = new_context_in(w.as);
    start(&ac, CODE);
    atomic_store(&s->ready, 1);
    while (!atomic_load(&s->stop)) {
        enum switch_reason r = run(s->c, &ac, &ev);
        if (r == SWITCH_INTERRUPTED)
            atomic_fetch_add(&s->interrupted, 1);
        else if (r == SWITCH_SYSCALL)
            atomic_fetch_add(&s->syscalls, 1);
        else
            ck_abort_msg("reason %d", r);
    }
    atomic_store(&s->ready, 2);
    while (atomic_load(&s->ready) == 2)
        sched_yield();
    s->c->ops->release(s->c);
    return NULL;
}

static inline void wait_until(_Atomic long *what, long at_least)
{
    for (int i = 0; atomic_load(what) < at_least; i++) {
        ck_assert_msg(i < 20000, "waited too long");
        usleep(100);
    }
}

static inline void finish(struct spinner *s, pthread_t t)
{
    atomic_store(&s->stop, true);
    while (atomic_load(&s->ready) != 2) {
        s->c->ops->interrupt(s->c);
        sched_yield();
    }
    atomic_store(&s->ready, 3);
    pthread_join(t, NULL);
}

struct test_case {
    const char *name;
    const TTest *tests[12];
};

/* How many tests failed. */
static inline int run_suite(const char *name, const struct test_case *cases, size_t n)
{
    Suite *s = suite_create(name);
    for (size_t i = 0; i < n; i++) {
        TCase *tc = tcase_create(cases[i].name);
        tcase_set_timeout(tc, 240);
        tcase_add_checked_fixture(tc, set_up, tear_down);
        for (size_t k = 0; k < ARRAY_SIZE(cases[i].tests) && cases[i].tests[k]; k++)
            tcase_add_test(tc, cases[i].tests[k]);
        suite_add_tcase(s, tc);
    }
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed;
}

#endif
