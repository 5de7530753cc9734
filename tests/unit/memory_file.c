/*
 * The memory file: allocation, contents, reference counts and what the host holds, by hand and
 * against a naive model with one count and one byte for each page.
 */
#include "memmap/memory_file.h"
#include "tests/unit/random.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB (1ull << 20)
#define PAGES 4096
#define FILE_SIZE (PAGES * PAGE_SIZE)
#define STEPS 300000

static struct memory_file *mf;

static void create(uint64_t size, uint64_t limit)
{
    ck_assert_int_eq(memory_file_create(&mf, size, limit), 0);
}

static void check(void)
{
#ifdef PICKET_DEBUG
    memory_file_check(mf);
#endif
}

static void destroy(void)
{
    check();
    memory_file_destroy(mf);
}

static struct file_range alloc(uint64_t length, unsigned flags)
{
    struct file_range fr;
    HOLDS(memory_file_alloc(mf, length, flags, &fr) == 0);
    HOLDS(RANGE_LENGTH(fr) == length);
    HOLDS(page_aligned(fr.start));
    HOLDS(fr.end <= mf->size);
    return fr;
}

static char *view(uint64_t offset)
{
    return mf->file.window + offset;
}

static bool reads_zero(struct file_range fr)
{
    for (uint64_t at = fr.start; at < fr.end; at += sizeof(uint64_t))
        if (*(uint64_t *)(void *)view(at))
            return false;
    return true;
}

static struct memory_file_stats stats(void)
{
    struct memory_file_stats st;
    memory_file_stats(mf, &st);
    return st;
}

/* ---- by hand ---- */

START_TEST(default_size)
{
    create(0, 0);
    uint64_t ram = (uint64_t)sysconf(_SC_PHYS_PAGES) * PAGE_SIZE;
    ck_assert_uint_ge(mf->size, 2 * ram);
    ck_assert_uint_eq(mf->size % HUGE_PAGE_SIZE, 0);
    ck_assert_uint_eq(stats().resident, 0);
    struct file_range fr = alloc(8ull << 30, MEMORY_FILE_HUGE);
    *view(fr.end - 1) = 1;
    memory_file_put(mf, fr);
    ck_assert_uint_eq(stats().resident, 0);
    destroy();
}
END_TEST

START_TEST(bad_arguments)
{
    struct file_range fr;
    ck_assert_int_eq(memory_file_create(&mf, 4097, 0), -EINVAL);
    create(MIB, 0);
    ck_assert_int_eq(memory_file_alloc(mf, 0, 0, &fr), -EINVAL);
    ck_assert_int_eq(memory_file_alloc(mf, 100, 0, &fr), -EINVAL);
    ck_assert_int_eq(memory_file_alloc(mf, 2 * MIB, 0, &fr), -ENOMEM);
    ck_assert_int_eq(memory_file_alloc(mf, UINT64_MAX & PAGE_MASK, 0, &fr), -ENOMEM);
    destroy();
}
END_TEST

START_TEST(both_ends)
{
    create(64 * MIB, 0);
    struct file_range a = alloc(PAGE_SIZE, 0), b = alloc(PAGE_SIZE * 3, 0);
    struct file_range h = alloc(2 * MIB, MEMORY_FILE_HUGE), g = alloc(4 * MIB, MEMORY_FILE_HUGE);
    ck_assert_uint_eq(a.start, 0);
    ck_assert_uint_eq(b.start, a.end);
    ck_assert_uint_eq(h.end, mf->size);
    ck_assert_uint_eq(g.end, h.start);
    memory_file_put(mf, h);
    h = alloc(2 * MIB, MEMORY_FILE_HUGE);
    ck_assert_uint_eq(h.end, mf->size);
    /* A huge request still succeeds where no aligned place is left. */
    struct file_range rest = alloc(56 * MIB, 0);
    ck_assert_uint_eq(rest.start, b.end);
    struct file_range last = alloc(2 * MIB - 4 * PAGE_SIZE, MEMORY_FILE_HUGE);
    ck_assert_uint_eq(last.start, rest.end);
    ck_assert_int_eq(memory_file_alloc(mf, PAGE_SIZE, 0, &a), -ENOMEM);
    destroy();
}
END_TEST

START_TEST(limit)
{
    struct file_range fr;
    create(64 * MIB, MIB);
    struct file_range a = alloc(MIB - PAGE_SIZE, 0);
    ck_assert_int_eq(memory_file_alloc(mf, 2 * PAGE_SIZE, 0, &fr), -ENOMEM);
    struct file_range b = alloc(PAGE_SIZE, 0);
    ck_assert_int_eq(memory_file_alloc(mf, PAGE_SIZE, 0, &fr), -ENOMEM);
    memory_file_get(mf, a); /* a reference more is no page more */
    memory_file_put(mf, a);
    ck_assert_uint_eq(stats().allocated, MIB);
    memory_file_put(mf, b);
    memory_file_put(mf, a);
    ck_assert_uint_eq(stats().allocated, 0);
    alloc(MIB, 0);
    destroy();
}
END_TEST

/* Every size class gives its pages back, and gives zeroes out again. */
START_TEST(freed_pages_are_zero)
{
    static const uint64_t sizes[] = {PAGE_SIZE,      2 * PAGE_SIZE,  4 * PAGE_SIZE,  5 * PAGE_SIZE,
                                     16 * PAGE_SIZE, 17 * PAGE_SIZE, HUGE_PAGE_SIZE, MIB};
    create(64 * MIB, 0);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
            struct file_range fr = alloc(sizes[i], sizes[i] >= MIB ? MEMORY_FILE_HUGE : 0);
            ck_assert(reads_zero(fr));
            memset(view(fr.start), 0x5a, sizes[i]);
            memory_file_put(mf, fr);
        }
    }
    ck_assert_uint_le(stats().resident, MIB);
    destroy();
}
END_TEST

START_TEST(what_waits_is_bounded)
{
    enum { N = 4096 };
    static struct file_range fr[N];
    create(64 * MIB, 0);
    for (int i = 0; i < N; i++) {
        fr[i] = alloc(PAGE_SIZE, 0);
        *view(fr[i].start) = 1;
    }
    ck_assert_uint_ge(stats().resident, N * PAGE_SIZE);
    for (int i = 0; i < N; i++) /* scattered, so that nothing merges at first */
        memory_file_put(mf, fr[(i * 1531) % N]);
    ck_assert_uint_le(stats().resident, MIB);
    ck_assert_uint_eq(stats().allocated, 0);
    /* Pages that wait do not stand in the way of a request for everything. */
    struct file_range all = alloc(64 * MIB, 0);
    ck_assert(reads_zero(all));
    destroy();
}
END_TEST

START_TEST(commit_and_decommit)
{
    create(64 * MIB, 0);
    struct file_range fr = alloc(MIB, 0);
    ck_assert_uint_eq(stats().resident, 0);
    ck_assert_int_eq(memory_file_commit(mf, fr), 0);
    ck_assert_uint_eq(stats().resident, MIB);
    ck_assert(reads_zero(fr));
    memset(view(fr.start), 1, MIB);
    ck_assert_int_eq(memory_file_commit(mf, fr), 0); /* keeps what is there */
    ck_assert_int_eq(*view(fr.start + 5), 1);
    memory_file_decommit(mf, (struct file_range){fr.start + PAGE_SIZE, fr.end});
    ck_assert_uint_eq(stats().resident, PAGE_SIZE);
    ck_assert_int_eq(*view(fr.start + 5), 1);
    ck_assert(reads_zero((struct file_range){fr.start + PAGE_SIZE, fr.end}));
    destroy();
}
END_TEST

START_TEST(references)
{
    create(64 * MIB, 0);
    struct file_range fr = alloc(8 * PAGE_SIZE, 0);
    struct file_range mid = {fr.start + 2 * PAGE_SIZE, fr.start + 5 * PAGE_SIZE};
    ck_assert(memory_file_exclusive(mf, fr));
    mf->file.ops->inc_ref(&mf->file, mid);
    ck_assert(!memory_file_exclusive(mf, fr));
    ck_assert(!memory_file_exclusive(mf, mid));
    ck_assert(memory_file_exclusive(mf, (struct file_range){fr.start, mid.start}));
    memset(view(fr.start), 7, RANGE_LENGTH(fr));
    memory_file_put(mf, fr);
    ck_assert_uint_eq(stats().allocated, 3 * PAGE_SIZE);
    ck_assert(memory_file_exclusive(mf, mid));
    ck_assert(!memory_file_exclusive(mf, fr));
    ck_assert_int_eq(*view(mid.start), 7);
    ck_assert_int_eq(*view(mid.end - 1), 7);
    mf->file.ops->dec_ref(&mf->file, mid);
    ck_assert_uint_eq(stats().allocated, 0);
    destroy();
}
END_TEST

START_TEST(window_and_descriptor)
{
    struct iovec block;
    create(64 * MIB, 0);
    struct file_range fr = alloc(3 * PAGE_SIZE, 0);
    struct file_range part = {fr.start + 100, fr.end - 1};
    ck_assert_int_eq(mf->file.ops->map_internal(&mf->file, part, ACCESS_WRITE, &block, 1), 1);
    ck_assert_ptr_eq(block.iov_base, view(part.start));
    ck_assert_uint_eq(block.iov_len, RANGE_LENGTH(part));
    ck_assert_int_lt(mf->file.ops->map_internal(&mf->file, part, ACCESS_WRITE, &block, 0), 0);
    /* Another mapping of the descriptor, executable too, shows the same pages. */
    unsigned char *p =
        mmap(NULL, PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, mf->file.fd, (off_t)fr.start);
    ck_assert_ptr_ne(p, MAP_FAILED);
    memcpy(view(fr.start), "\xb8\x2a\x00\x00\x00\xc3", 6); /* mov $42, %eax; ret */
    ck_assert_int_eq(((int (*)(void))(void *)p)(), 42);
    munmap(p, PAGE_SIZE);
    /* Nobody changes the size, where the host can see to that. */
    if (!mf->huge) {
        ck_assert_int_lt(ftruncate(mf->file.fd, 0), 0);
        ck_assert_int_lt(ftruncate(mf->file.fd, (off_t)mf->size * 2), 0);
    }
    ck_assert_int_eq(fcntl(mf->file.fd, F_GETFD), FD_CLOEXEC);
    destroy();
}
END_TEST

/* ---- against the model ---- */

static unsigned refs[PAGES];
static unsigned char content[PAGES]; /* the first and the last byte of each page in use */

/* (Looking at a page makes the host provide it, which is what costs time here: so not at all.) */
static void expect_page(uint64_t page)
{
    HOLDS((unsigned char)*view(page * PAGE_SIZE) == content[page]);
    HOLDS((unsigned char)*view((page + 1) * PAGE_SIZE - 1) == content[page]);
}

static void write_pages(struct rng *r, uint64_t page, uint64_t end)
{
    for (; page < end; page++) {
        if (rng_below(r, 2))
            continue;
        content[page] = (unsigned char)(1 + rng_below(r, 255));
        *view(page * PAGE_SIZE) = (char)content[page];
        *view((page + 1) * PAGE_SIZE - 1) = (char)content[page];
    }
}

static uint64_t model_used(void)
{
    uint64_t n = 0;
    for (int i = 0; i < PAGES; i++)
        n += refs[i] > 0;
    return n;
}

/* A random run of pages in use of at most `max`; false if the place that was tried is free. */
static bool pick_used(struct rng *r, uint64_t max, struct file_range *fr)
{
    uint64_t page = rng_below(r, PAGES), end = page;
    for (int probes = 0; !refs[page] && probes < 64; probes++)
        page = (page + 1) % PAGES;
    for (end = page; end < PAGES && refs[end] && end - page < max;)
        end++;
    *fr = (struct file_range){page * PAGE_SIZE, end * PAGE_SIZE};
    return end > page;
}

static void step_alloc(struct rng *r)
{
    bool huge = rng_below(r, 40) == 0;
    uint64_t pages =
        huge ? 512 * (1 + rng_below(r, 2)) : 1 + rng_below(r, rng_below(r, 2) ? 5 : 40);
    struct file_range fr;
    if (memory_file_alloc(mf, pages * PAGE_SIZE, huge ? MEMORY_FILE_HUGE : 0, &fr)) {
        uint64_t run = 0;
        for (int i = 0; i < PAGES; i++) {
            run = refs[i] ? 0 : run + 1;
            HOLDS(run < pages); /* else it would have fitted */
        }
        return;
    }
    for (uint64_t page = fr.start / PAGE_SIZE; page < fr.end / PAGE_SIZE; page++) {
        HOLDS(refs[page] == 0);
        refs[page] = 1;
        content[page] = 0;
    }
    uint64_t first = fr.start / PAGE_SIZE;
    if (pages <= 4)
        HOLDS(reads_zero(fr));
    expect_page(first + rng_below(r, pages));
    expect_page(first + rng_below(r, pages));
    write_pages(r, first, first + MIN(pages, 6ul));
}

static void step_count(struct rng *r, bool get)
{
    struct file_range fr;
    if (!pick_used(r, 1 + rng_below(r, rng_below(r, 4) ? 16 : 600), &fr))
        return;
    for (uint64_t page = fr.start / PAGE_SIZE; page < fr.end / PAGE_SIZE; page++) {
        if (content[page] && rng_below(r, 4) == 0)
            expect_page(page);
        refs[page] += get ? 1 : -1u;
    }
    if (get)
        memory_file_get(mf, fr);
    else
        memory_file_put(mf, fr);
}

static void step_decommit(struct rng *r)
{
    struct file_range fr;
    if (!pick_used(r, 1 + rng_below(r, 8), &fr))
        return;
    memory_file_decommit(mf, fr);
    memset(&content[fr.start / PAGE_SIZE], 0, RANGE_LENGTH(fr) / PAGE_SIZE);
    expect_page(fr.start / PAGE_SIZE);
}

static void step_put_emptied(struct rng *r)
{
    struct file_range fr;
    if (!pick_used(r, 1 + rng_below(r, 4), &fr) || !memory_file_exclusive(mf, fr))
        return;
    memory_file_decommit(mf, fr);
    memory_file_put_emptied(mf, fr);
    for (uint64_t page = fr.start / PAGE_SIZE; page < fr.end / PAGE_SIZE; page++)
        refs[page] = 0;
}

static void step_query(struct rng *r)
{
    uint64_t page = rng_below(r, PAGES), end = page + 1 + rng_below(r, MIN(PAGES - page, 8ul));
    bool exclusive = true;
    for (uint64_t p = page; p < end; p++) {
        exclusive &= refs[p] == 1;
#ifdef PICKET_DEBUG
        HOLDS(memory_file_refs(mf, p * PAGE_SIZE) == refs[p]);
#endif
    }
    struct file_range fr = {page * PAGE_SIZE, end * PAGE_SIZE};
    HOLDS(memory_file_exclusive(mf, fr) == exclusive);
}

START_TEST(random_against_model)
{
    struct rng r = rng_seed("memory_file");
    create(FILE_SIZE, 0);
    for (int i = 0; i < STEPS; i++) {
        uint64_t kind = rng_below(&r, 20), filling = (uint64_t)(i / 3000) % 2;
        if (kind < 3 + 4 * filling)
            step_alloc(&r);
        else if (kind < 9 + filling)
            step_count(&r, true);
        else if (kind < 17)
            step_count(&r, false);
        else if (kind == 17)
            step_decommit(&r);
        else if (kind == 18)
            step_put_emptied(&r);
        else
            step_query(&r);
        if (i % 500 == 0) {
            check();
            HOLDS(stats().allocated == model_used() * PAGE_SIZE);
            for (uint64_t p = 0; p < PAGES; p++)
                if (refs[p] && content[p])
                    expect_page(p);
        }
    }
    for (uint64_t p = 0; p < PAGES; p++)
        while (refs[p] && refs[p]--)
            memory_file_put(mf, (struct file_range){p * PAGE_SIZE, (p + 1) * PAGE_SIZE});
    HOLDS(stats().allocated == 0);
    HOLDS(stats().resident <= MIB);
    destroy();
}
END_TEST

/* Threads that allocate, check for zeroes, share, scribble and free: nobody sees another's data. */
static void *worker(void *arg)
{
    struct rng r = {(uintptr_t)arg};
    struct file_range held[16] = {{0, 0}};
    for (int i = 0; i < 4000; i++) {
        struct file_range *fr = &held[rng_below(&r, ARRAY_SIZE(held))];
        if (fr->end) {
            HOLDS(*view(fr->start) == (char)(uintptr_t)arg);
            memory_file_get(mf, *fr);
            memory_file_put(mf, *fr);
            memory_file_put(mf, *fr);
            fr->end = 0;
            continue;
        }
        *fr = alloc(PAGE_SIZE << rng_below(&r, 7), 0);
        HOLDS(*view(fr->start) == 0 && *view(fr->end - 1) == 0);
        *view(fr->start) = (char)(uintptr_t)arg;
    }
    for (size_t i = 0; i < ARRAY_SIZE(held); i++)
        if (held[i].end)
            memory_file_put(mf, held[i]);
    return NULL;
}

START_TEST(threads)
{
    pthread_t t[4];
    create(256 * MIB, 0);
    for (uintptr_t i = 0; i < ARRAY_SIZE(t); i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, worker, (void *)(i + 1)), 0);
    for (size_t i = 0; i < ARRAY_SIZE(t); i++)
        pthread_join(t[i], NULL);
    ck_assert_uint_eq(stats().allocated, 0);
    destroy();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("memory_file");
    TCase *t = tcase_create("memory_file");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, default_size);
    tcase_add_test(t, bad_arguments);
    tcase_add_test(t, both_ends);
    tcase_add_test(t, limit);
    tcase_add_test(t, freed_pages_are_zero);
    tcase_add_test(t, what_waits_is_bounded);
    tcase_add_test(t, commit_and_decommit);
    tcase_add_test(t, references);
    tcase_add_test(t, window_and_descriptor);
    tcase_add_test(t, random_against_model);
    tcase_add_test(t, threads);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
