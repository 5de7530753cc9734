/*
 * The page-table library against a naive model: an array with one word a page. The tables live in
 * an arena whose operations refuse every address that is not a table, and which (in one of the
 * runs) moves a table whenever it is written.
 */
#include "platform/kvm/pagetables/pagetables.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_TABLES 8192
#define ARENA_BASE 0x100000000ull

struct arena {
    uint64_t (*tables)[PT_ENTRIES];
    bool used[ARENA_TABLES];
    unsigned count, limit, next;
    unsigned move_one_in; /* 0: tables stay */
    bool read_only;
    uint64_t random;
};

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static const uint64_t *arena_read(void *arg, pt_phys_t pa)
{
    struct arena *a = arg;
    uint64_t i = (pa - ARENA_BASE) >> 12;
    return pa < ARENA_BASE || i >= ARENA_TABLES || !a->used[i] ? NULL : a->tables[i];
}
static pt_phys_t arena_alloc(void *arg)
{
    struct arena *a = arg;
    if (a->count >= a->limit)
        return 0;
    while (a->used[a->next])
        a->next = (a->next + 1) % ARENA_TABLES;
    a->used[a->next] = true;
    a->count++;
    memset(a->tables[a->next], 0, sizeof a->tables[a->next]);
    return ARENA_BASE + ((pt_phys_t)a->next << 12);
}
static void arena_free(void *arg, pt_phys_t pa)
{
    struct arena *a = arg;
    ck_assert_ptr_nonnull(arena_read(a, pa));
    a->used[(pa - ARENA_BASE) >> 12] = false;
    a->count--;
}
static uint64_t *arena_write(void *arg, pt_phys_t *pa)
{
    struct arena *a = arg;
    const uint64_t *old = arena_read(a, *pa);
    if (!old || a->read_only)
        return NULL;
    if (a->move_one_in && next_random(&a->random) % a->move_one_in == 0) {
        pt_phys_t moved = arena_alloc(a);
        if (moved) {
            memcpy(a->tables[(moved - ARENA_BASE) >> 12], old, 4096);
            arena_free(a, *pa);
            *pa = moved;
        }
    }
    return a->tables[(*pa - ARENA_BASE) >> 12];
}
static const struct pt_ops arena_ops = {arena_read, arena_write, arena_alloc, arena_free};

static struct arena A;
static struct pt P;
static void setup(void)
{
    memset(&A, 0, sizeof A);
    A.tables = calloc(ARENA_TABLES, sizeof *A.tables);
    A.limit = ARENA_TABLES;
    A.random = 88172645463325252ull;
    ck_assert_ptr_nonnull(A.tables);
    ck_assert_int_eq(pt_init(&P, &arena_ops, &A), PT_OK);
}
static void teardown(void)
{
    free(A.tables);
}

/* Shorthands whose obligations no processor needs. */
static enum pt_error do_map(struct pt *pt, pt_virt_t va, uint64_t len, pt_phys_t pa, uint64_t flags,
                            uint64_t max)
{
    struct pt_status st;
    pt_flush_ignore(pt_map(pt, va, len, pa, flags, max, &st));
    return st.err;
}
static enum pt_error do_page(pt_virt_t va, pt_phys_t pa, uint64_t size)
{
    struct pt_status st;
    pt_flush_ignore(pt_map_page(&P, va, pa, size, PT_WRITE, PT_WRITE | PT_USER, &st));
    return st.err;
}

/* TEST_STEPS in the environment makes the random runs shorter or longer. */
static unsigned steps_of(unsigned otherwise)
{
    const char *given = getenv("TEST_STEPS");
    return given ? (unsigned)strtoul(given, NULL, 0) : otherwise;
}

/* ---- named failures ---- */

START_TEST(single_entries_fail_by_name)
{
    struct pt_status st;
    pt_phys_t pa;
    ck_assert_int_eq(do_page(0x200000, 0x400000, PT_SIZE_2M), PT_OK);
    ck_assert_int_eq(do_page(0x200000, 0x400000, PT_SIZE_2M), PT_ALREADY_MAPPED);
    ck_assert_int_eq(do_page(0x201000, 0x400000, PT_SIZE_4K), PT_PARENT_HUGE);
    ck_assert_int_eq(do_page(0x400000, 0x401000, PT_SIZE_2M), PT_BAD_FRAME);
    ck_assert_int_eq(do_page(0x401000, 0x400000, PT_SIZE_2M), PT_BAD_ADDRESS);
    ck_assert_int_eq(do_page(0x400000, 1ull << 52, PT_SIZE_4K), PT_BAD_FRAME);
    ck_assert_int_eq(do_page(0x800000000000ull, 0, PT_SIZE_4K), PT_BAD_ADDRESS);
    ck_assert_int_eq(do_page(0x1000, 0, 0x3000), PT_BAD_ADDRESS);
    pt_flush_ignore(pt_unmap_page(&P, 0x600000, PT_SIZE_2M, &pa, &st));
    ck_assert_int_eq(st.err, PT_NOT_MAPPED);
    pt_flush_ignore(pt_unmap_page(&P, 0x200000, PT_SIZE_4K, &pa, &st));
    ck_assert_int_eq(st.err, PT_PARENT_HUGE);
    pt_flush_ignore(pt_unmap_page(&P, 0x200000, PT_SIZE_2M, &pa, &st));
    ck_assert_int_eq(st.err, PT_OK);
    ck_assert_uint_eq(pa, 0x400000);
    A.limit = A.count;
    ck_assert_int_eq(do_page(0x40000000, 0, PT_SIZE_4K), PT_NO_TABLE);
    A.limit = A.count + 1;
    unsigned before = A.count;
    ck_assert_int_eq(do_page(0x8000000000ull, 0, PT_SIZE_4K), PT_NO_TABLE);
    ck_assert_uint_eq(A.count, before);
    A.read_only = true;
    ck_assert_int_eq(do_page(0x200000, 0x400000, PT_SIZE_2M), PT_READ_ONLY);
}
END_TEST

START_TEST(flags_of_pages_and_parents)
{
    struct pt_status st;
    struct pt_translation t;
    uint64_t flags;
    ck_assert_int_eq(do_page(0x1000, 0x5000, PT_SIZE_4K), PT_OK);
    ck_assert_int_eq(pt_translate(&P, 0x1234, &t), PT_OK);
    ck_assert_uint_eq(t.frame, 0x5000);
    ck_assert_uint_eq(t.offset, 0x234);
    ck_assert_uint_eq(t.size, PT_SIZE_4K);
    ck_assert_uint_eq(t.effective, PT_WRITE);
    pt_flush_ignore(pt_update_flags(&P, 0x1000, PT_SIZE_4K, PT_WRITE | PT_USER | PT_NO_EXEC, &st));
    ck_assert_int_eq(st.err, PT_OK);
    ck_assert_int_eq(pt_translate(&P, 0x1000, &t), PT_OK);
    ck_assert_uint_eq(t.effective, PT_WRITE | PT_USER | PT_NO_EXEC);
    for (int level = 4; level >= 2; level--) {
        pt_flush_ignore(pt_update_parent_flags(&P, 0x1000, level, PT_USER, &st));
        ck_assert_int_eq(st.err, PT_OK);
        ck_assert_int_eq(pt_parent_flags(&P, 0x1000, level, &flags), PT_OK);
        ck_assert_uint_eq(flags, PT_USER | PT_PRESENT);
        ck_assert_int_eq(pt_translate(&P, 0x1000, &t), PT_OK);
        ck_assert_uint_eq(t.effective, PT_USER | PT_NO_EXEC);
    }
    pt_flush_ignore(pt_update_parent_flags(&P, 0x1000, 1, PT_USER, &st));
    ck_assert_int_eq(st.err, PT_BAD_ADDRESS);
    pt_flush_ignore(pt_update_parent_flags(&P, 0x40000000, 2, PT_USER, &st));
    ck_assert_int_eq(st.err, PT_NOT_MAPPED);
    /* A neighbour in the same table brings the parents' flags back. */
    ck_assert_int_eq(do_page(0x2000, 0x6000, PT_SIZE_4K), PT_OK);
    ck_assert_int_eq(pt_parent_flags(&P, 0x1000, 3, &flags), PT_OK);
    ck_assert_uint_eq(flags, PT_USER | PT_WRITE | PT_PRESENT);
}
END_TEST

START_TEST(sizes_follow_alignment_and_split)
{
    struct pt_translation t;
    struct pt_status st;
    const uint64_t gib = PT_SIZE_1G;
    ck_assert_int_eq(do_map(&P, gib, 2 * gib, 4 * gib, PT_WRITE, gib), PT_OK);
    ck_assert_int_eq(pt_translate(&P, gib + 5, &t), PT_OK);
    ck_assert_uint_eq(t.size, gib);
    struct pt_obligation o = pt_unmap(&P, gib + PT_SIZE_2M + 0x1000, 0x1000, &st);
    ck_assert(st.replaced);
    ck_assert(o.tables && o.start <= gib + PT_SIZE_2M + 0x1000 && o.end > o.start);
    pt_flush_ignore(o);
    ck_assert_int_eq(pt_translate(&P, gib + PT_SIZE_2M + 0x1000, &t), PT_NOT_MAPPED);
    ck_assert_int_eq(pt_translate(&P, gib + PT_SIZE_2M + 0x2000, &t), PT_OK);
    ck_assert_uint_eq(t.size, PT_SIZE_4K);
    ck_assert_uint_eq(t.frame, 4 * gib + PT_SIZE_2M + 0x2000);
    ck_assert_int_eq(pt_translate(&P, gib + 2 * PT_SIZE_2M, &t), PT_OK);
    ck_assert_uint_eq(t.size, PT_SIZE_2M);
    ck_assert_int_eq(pt_translate(&P, 2 * gib, &t), PT_OK);
    ck_assert_uint_eq(t.size, gib);
    ck_assert_int_eq(do_map(&P, 0x1000, PT_SIZE_2M, 0x3000, 0, gib), PT_OK);
    ck_assert_int_eq(pt_translate(&P, 0x1000, &t), PT_OK);
    ck_assert_uint_eq(t.size, PT_SIZE_4K);
    ck_assert_int_eq(do_map(&P, 0x1000, 0x1000, PT_FRAME_MASK, 0, gib), PT_OK);
    ck_assert_int_eq(do_map(&P, 0x1000, 0x2000, PT_FRAME_MASK, 0, gib), PT_BAD_FRAME);
}
END_TEST

START_TEST(identity_and_clean_up)
{
    struct pt_status st;
    struct pt_translation t;
    pt_flush_ignore(pt_identity_map(&P, 3 * PT_SIZE_1G, PT_SIZE_1G, PT_WRITE, &st));
    ck_assert_int_eq(st.err, PT_OK);
    ck_assert_int_eq(pt_translate(&P, 3 * PT_SIZE_1G + 12345, &t), PT_OK);
    ck_assert_uint_eq(t.frame + t.offset, 3 * PT_SIZE_1G + 12345);
    pt_flush_ignore(pt_identity_map(&P, 3 * PT_SIZE_1G, PT_SIZE_4K, PT_WRITE, &st));
    ck_assert_int_eq(st.err, PT_PARENT_HUGE);
    pt_flush_ignore(pt_identity_map(&P, 1ull << 47, PT_SIZE_4K, PT_WRITE, &st));
    ck_assert_int_eq(st.err, PT_BAD_ADDRESS);
    unsigned with_the_large = A.count;
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(do_page(i * PT_SIZE_2M, 0x5000, PT_SIZE_4K), PT_OK);
    unsigned before = A.count;
    for (unsigned i = 0; i < 2; i++) {
        pt_flush_ignore(pt_unmap(&P, i * PT_SIZE_2M, PT_SIZE_4K, &st));
        ck_assert_int_eq(st.err, PT_OK);
    }
    ck_assert_uint_eq(A.count, before);
    struct pt_obligation o = pt_clean_up_range(&P, PT_SIZE_2M, PT_SIZE_4K, &st);
    ck_assert_int_eq(st.err, PT_OK);
    ck_assert(o.tables && o.start <= PT_SIZE_2M && o.end > PT_SIZE_2M);
    pt_flush_ignore(o);
    ck_assert_uint_eq(A.count, before - 1);
    pt_flush_ignore(pt_clean_up(&P, &st));
    ck_assert_uint_eq(A.count, before - 2);
    pt_flush_ignore(pt_unmap(&P, 2 * PT_SIZE_2M, PT_SIZE_4K, &st));
    pt_flush_ignore(pt_clean_up(&P, &st));
    ck_assert_uint_eq(A.count, with_the_large);
    ck_assert_int_eq(pt_translate(&P, 3 * PT_SIZE_1G, &t), PT_OK);
}
END_TEST

START_TEST(upper_half_is_shared_and_untouchable)
{
    struct pt low;
    struct pt_status st;
    struct pt_translation t;
    const pt_virt_t kernel = 0xffff800000000000ull;
    ck_assert_int_eq(do_map(&P, kernel, 0x10000, 0x70000, PT_WRITE, PT_SIZE_4K), PT_OK);
    ck_assert_int_eq(do_map(&P, -4096ull, 4096, 0x90000, PT_WRITE, PT_SIZE_4K), PT_OK);
    ck_assert_int_eq(pt_init(&low, &arena_ops, &A), PT_OK);
    ck_assert_int_eq(pt_share_upper(&low, &P, kernel + 4096), PT_BAD_ADDRESS);
    ck_assert_int_eq(pt_share_upper(&low, &P, kernel), PT_OK);
    ck_assert_int_eq(pt_translate(&low, kernel + 0x1000, &t), PT_OK);
    ck_assert_uint_eq(t.frame, 0x71000);
    ck_assert_int_eq(pt_find_first(&low, kernel + 0x10000, &t), PT_OK);
    ck_assert_uint_eq(t.va, -4096ull);
    ck_assert_int_eq(do_map(&low, kernel, 0x1000, 0x1000, 0, PT_SIZE_4K), PT_SHARED);
    pt_flush_ignore(pt_unmap(&low, kernel, 0x1000, &st));
    ck_assert_int_eq(st.err, PT_SHARED);
    pt_flush_ignore(pt_update_parent_flags(&low, kernel, 4, 0, &st));
    ck_assert_int_eq(st.err, PT_SHARED);
    ck_assert_int_eq(do_map(&low, 0x1000, 0x1000, 0x1000, 0, PT_SIZE_4K), PT_OK);
    pt_flush_ignore(pt_clean_up(&low, &st));
    ck_assert_int_eq(st.err, PT_OK);
    unsigned before = A.count;
    pt_destroy(&low);
    ck_assert_uint_eq(A.count, before - 4);
    ck_assert_int_eq(pt_translate(&P, kernel + 0x1000, &t), PT_OK);
}
END_TEST

START_TEST(corrupt_tables_end_the_walk)
{
    struct pt_translation t;
    struct pt_status st;
    bool empty;
    ck_assert_int_eq(do_map(&P, 0x1000, 0x1000, 0x1000, 0, PT_SIZE_4K), PT_OK);
    uint64_t *root = A.tables[(P.root - ARENA_BASE) >> 12];
    uint64_t good = root[0];
    const uint64_t bad[] = {0x7000 | PT_PRESENT, ~0ull, PT_FRAME_MASK | PT_PRESENT, good | PT_HUGE,
                            (ARENA_BASE + (ARENA_TABLES << 12)) | PT_PRESENT};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        root[0] = bad[i];
        ck_assert_int_eq(pt_translate(&P, 0x1000, &t), PT_CORRUPT);
        ck_assert_int_eq(pt_find_first(&P, 0, &t), PT_CORRUPT);
        ck_assert_int_eq(pt_is_empty(&P, 0, 1ull << 40, &empty), PT_CORRUPT);
        pt_flush_ignore(pt_unmap(&P, 0x1000, 0x1000, &st));
        ck_assert_int_eq(st.err, PT_CORRUPT);
        ck_assert_int_eq(do_map(&P, 0x1000, 0x1000, 0x1000, 0, PT_SIZE_4K), PT_CORRUPT);
        pt_flush_ignore(pt_unmap(&P, 0, 1ull << 39, &st));
    }
}
END_TEST

/* The address of a random table that is in use. */
static pt_phys_t any_table(uint64_t *random)
{
    unsigned i = (unsigned)(next_random(random) % ARENA_TABLES);
    while (!A.used[i])
        i = (i + 1) % ARENA_TABLES;
    return ARENA_BASE + ((pt_phys_t)i << 12);
}

/* What an attacker might write into a table: any number, a large page, another table or the table
 * itself, at a level where it does not belong. */
static void corrupt_an_entry(uint64_t *random)
{
    uint64_t *table = A.tables[(any_table(random) - ARENA_BASE) >> 12];
    uint64_t value = next_random(random);
    switch (next_random(random) % 4) {
    case 0:
        break;
    case 1:
        value = (value & PT_FRAME_MASK) | PT_PRESENT | PT_HUGE;
        break;
    case 2:
        value = any_table(random) | PT_PRESENT | (value & PT_WRITE);
        break;
    default:
        value = (ARENA_BASE + (uint64_t)((char *)table - (char *)A.tables)) | PT_PRESENT;
    }
    table[next_random(random) % 8] = value;
}

static bool look_at(void *arg, const struct pt_translation *page)
{
    *(uint64_t *)arg += page->frame + page->size;
    return true;
}

/* The frames of what is hostile are not ours to know. */
static pt_phys_t no_frame(UNUSED void *arg, UNUSED pt_phys_t frame, UNUSED uint64_t size)
{
    return 0;
}

static enum pt_error rebuild_hostile(void)
{
    static struct pt_seen seen[256];
    static pt_phys_t made[256];
    struct pt copy;
    unsigned before = A.count;
    enum pt_error err =
        pt_rebuild_roots(&P, 1, &copy, &arena_ops, &A, no_frame, NULL, seen, made, 256);
    if (err == PT_OK)
        pt_destroy(&copy);
    else
        ck_assert_uint_eq(A.count, before);
    return err;
}

static void any_call(uint64_t *random)
{
    static struct pt_seen seen[256];
    const struct pt_roots_visitor nothing = {NULL, NULL, NULL};
    struct pt_status st = {.err = PT_OK};
    struct pt_translation t;
    uint64_t flags, sum = 0, sizes[] = {PT_SIZE_4K, PT_SIZE_2M, PT_SIZE_1G};
    pt_phys_t pa;
    /* In the first eight entries of each level, where the corruption is. */
    pt_virt_t va = (next_random(random) % 8) << 39 | (next_random(random) % 8) << 30 |
                   (next_random(random) % 8) << 21 | (next_random(random) % 8) << 12;
    uint64_t length = ((next_random(random) % (1ull << 26)) & PAGE_MASK) + 4096;
    uint64_t size = sizes[next_random(random) % 3];
    bool empty;
    enum pt_error err = PT_OK;
    switch (next_random(random) % 15) {
    case 0:
        err = do_map(&P, va, length, va, PT_WRITE, size);
        break;
    case 1:
        pt_flush_ignore(pt_unmap(&P, va, length, &st));
        break;
    case 2:
        pt_flush_ignore(pt_protect(&P, va, length, PT_USER, &st));
        break;
    case 3:
        pt_flush_ignore(pt_map_page(&P, va & ~(size - 1), 0, size, 0, 0, &st));
        break;
    case 4:
        pt_flush_ignore(pt_unmap_page(&P, va & ~(size - 1), size, &pa, &st));
        break;
    case 5:
        pt_flush_ignore(pt_update_flags(&P, va & ~(size - 1), size, PT_WRITE, &st));
        break;
    case 6:
        err = pt_translate(&P, va, &t);
        break;
    case 7:
        err = pt_walk(&P, va, length, look_at, &sum);
        break;
    case 8:
        err = pt_is_empty(&P, va, length, &empty);
        break;
    case 9:
        pt_flush_ignore(pt_clean_up_range(&P, va, length, &st));
        break;
    case 10:
        err = pt_parent_flags(&P, va, 2, &flags);
        break;
    case 11:
        err = pt_find_first(&P, va, &t);
        break;
    case 12:
        err = pt_walk_roots(&P, 1, seen, 256, &nothing);
        break;
    case 13:
        err = rebuild_hostile();
        break;
    default:
        pt_flush_ignore(pt_update_parent_flags(&P, va, 3, PT_WRITE | PT_USER, &st));
    }
    ck_assert_int_le(err, PT_READ_ONLY);
    ck_assert_int_le(st.err, PT_READ_ONLY);
}

/* The arena refuses what is no table, and aborts when one is freed that is none. */
START_TEST(hostile_tables)
{
    uint64_t random = 0x2545f4914f6cdd1dull + (unsigned)_i;
    for (unsigned i = 0; i < 40; i++)
        (void)do_map(&P, (uint64_t)(i % 8) << 39 | (uint64_t)(i % 5) << 30 | i << 21, 0x8000, 0,
                     PT_WRITE, PT_SIZE_4K);
    A.move_one_in = _i % 2 ? 4 : 0;
    A.limit = A.count + 200;
    for (unsigned step = 0; step < steps_of(4000); step++) {
        if (step % 8 == 0)
            corrupt_an_entry(&random);
        any_call(&random);
    }
    P.upper_start = 0;
    pt_destroy(&P);
}
END_TEST

START_TEST(reserve_estimate_is_enough)
{
    uint64_t random = 42;
    for (int i = 0; i < 300; i++) {
        pt_virt_t va = (next_random(&random) % (1ull << 34)) & PAGE_MASK;
        uint64_t length = ((next_random(&random) % (1ull << 24)) & PAGE_MASK) + 4096;
        A.limit = A.count + (unsigned)pt_tables_needed(va, length);
        ck_assert_int_eq(do_map(&P, va, length, va, PT_WRITE, PT_SIZE_1G), PT_OK);
        if (A.count > ARENA_TABLES / 2) {
            struct pt_status st;
            pt_flush_ignore(pt_unmap(&P, 0, 1ull << 35, &st));
            ck_assert_int_eq(st.err, PT_OK);
        }
    }
}
END_TEST

/* ---- several roots ---- */

struct count {
    unsigned pages, shared;
};
static bool count_page(void *arg, UNUSED unsigned root, UNUSED const struct pt_translation *page)
{
    ((struct count *)arg)->pages++;
    return true;
}
static bool count_shared(void *arg, UNUSED unsigned root, UNUSED pt_virt_t va, UNUSED int level,
                         UNUSED const struct pt_seen *first)
{
    ((struct count *)arg)->shared++;
    return true;
}
static pt_phys_t same_frame(UNUSED void *arg, pt_phys_t frame, UNUSED uint64_t size)
{
    return frame;
}
static pt_phys_t shift_frame(UNUSED void *arg, pt_phys_t frame, UNUSED uint64_t size)
{
    return frame + PT_SIZE_1G;
}

START_TEST(shared_tables_are_seen_and_rebuilt)
{
    static struct pt_seen seen[64];
    static pt_phys_t made[64];
    struct pt roots[3], copies[3], failed[3];
    struct count n = {0, 0};
    struct pt_translation t;
    ck_assert_int_eq(do_map(&P, -(1ull << 40), 0x8000, 0x1000, PT_COW, PT_SIZE_4K), PT_OK);
    roots[0] = P;
    for (unsigned i = 1; i < 3; i++) {
        ck_assert_int_eq(pt_init(&roots[i], &arena_ops, &A), PT_OK);
        ck_assert_int_eq(pt_share_upper(&roots[i], &roots[0], 0xffff800000000000ull), PT_OK);
        ck_assert_int_eq(do_map(&roots[i], 0x1000, 0x1000, 0x1000u * i, 0, PT_SIZE_4K), PT_OK);
    }
    const struct pt_roots_visitor v = {count_page, count_shared, &n};
    ck_assert_int_eq(pt_walk_roots(roots, 3, seen, 64, &v), PT_OK);
    ck_assert_uint_eq(n.pages, 8 + 2);
    ck_assert_uint_eq(n.shared, 2);
    ck_assert_int_eq(pt_walk_roots(roots, 3, seen, 3, &v), PT_NO_TABLE);
    unsigned originals = A.count;
    ck_assert_int_eq(
        pt_rebuild_roots(roots, 3, copies, &arena_ops, &A, shift_frame, NULL, seen, made, 64),
        PT_OK);
    ck_assert_uint_eq(A.count, 2 * originals);
    ck_assert_int_eq(pt_translate(&copies[2], 0x1000, &t), PT_OK);
    ck_assert_uint_eq(t.frame, 0x2000 + PT_SIZE_1G);
    ck_assert_int_eq(pt_translate(&copies[2], -(1ull << 40) + 0x3000, &t), PT_OK);
    ck_assert_uint_eq(t.frame, 0x4000 + PT_SIZE_1G);
    ck_assert_int_eq(t.kind, PT_COPY_ON_WRITE);
    A.limit = A.count + 5;
    unsigned before = A.count;
    ck_assert_int_eq(
        pt_rebuild_roots(roots, 3, failed, &arena_ops, &A, shift_frame, NULL, seen, made, 64),
        PT_NO_TABLE);
    ck_assert_uint_eq(A.count, before);
    ck_assert_int_eq(pt_destroy_roots(copies, 3, seen, 64), PT_OK);
    ck_assert_uint_eq(A.count, originals);
}
END_TEST

/* ---- the model ---- */

#define WINDOW_BASE ((1ull << 39) - PT_SIZE_1G)
#define WINDOW_PAGES (1u << 19)      /* 2 GiB, across a level-4 boundary */
static uint64_t model[WINDOW_PAGES]; /* frame | flags, or 0 */
static uint32_t span[WINDOW_PAGES];  /* pages that the entry has: 1, 512 or 512 * 512; or 0 */
#define MODEL_FLAGS (PT_WRITE | PT_USER | PT_NO_EXEC | PT_COW)

static bool compare_page(void *arg, const struct pt_translation *page)
{
    uint64_t *seen = arg;
    for (uint64_t off = 0; off < page->size; off += 4096) {
        uint64_t i = (page->va + off - WINDOW_BASE) >> 12;
        if (i >= WINDOW_PAGES || (uint64_t)span[i] << 12 != page->size ||
            model[i] != ((page->frame + off) | (page->flags & MODEL_FLAGS) | PT_PRESENT))
            ck_abort_msg("page %#lx differs from the model", (unsigned long)(page->va + off));
        (*seen)++;
    }
    return true;
}

static void compare_tables(const struct pt *pt)
{
    uint64_t seen = 0, expected = 0;
    for (unsigned i = 0; i < WINDOW_PAGES; i++)
        expected += model[i] != 0;
    ck_assert_int_eq(pt_walk(pt, WINDOW_BASE, (uint64_t)WINDOW_PAGES << 12, compare_page, &seen),
                     PT_OK);
    ck_assert_uint_eq(seen, expected);
}

static void compare_all(void)
{
    compare_tables(&P);
}

static void random_range(uint64_t *random, unsigned *first, unsigned *n)
{
    static const unsigned lengths[] = {1, 3, 20, 512, 1024, 5000, 262144};
    unsigned most = lengths[next_random(random) % (next_random(random) % 16 ? 5 : 7)];
    *n = 1 + (unsigned)(next_random(random) % most);
    *first = (unsigned)(next_random(random) % (WINDOW_PAGES - *n));
    if (next_random(random) % 3 == 0) {
        *first &= ~511u;
        *n = MAX(*n & ~511u, 512u);
    }
}

static uint64_t model_flags(uint64_t flags)
{
    return (flags & PT_COW ? flags & ~PT_WRITE : flags) | PT_PRESENT;
}

/* A change begins or ends at page i: a large entry around it falls into smaller ones. */
static void model_split(unsigned i)
{
    static const unsigned sizes[] = {512 * 512, 512};
    for (unsigned k = 0; k < 2 && i < WINDOW_PAGES; k++) {
        unsigned start = i & ~(sizes[k] - 1);
        for (unsigned at = start; i != start && span[i] == sizes[k] && at < start + sizes[k]; at++)
            if (at != i)
                span[at] = sizes[k] / 512;
        if (i != start && span[i] == sizes[k])
            span[i] = sizes[k] / 512;
    }
}

static void model_map(unsigned first, unsigned n, pt_phys_t pa, uint64_t flags)
{
    model_split(first);
    model_split(first + n);
    for (unsigned i = 0, size; i < n; i += size) {
        unsigned frame = (unsigned)((pa >> 12) % (512 * 512)) + i;
        for (size = 512 * 512; size > 1; size /= 512)
            if ((first + i) % size == 0 && frame % size == 0 && n - i >= size)
                break;
        for (unsigned k = i; k < i + size; k++) {
            model[first + k] = (pa + ((uint64_t)k << 12)) | model_flags(flags);
            span[first + k] = size;
        }
    }
}

static void model_unmap(unsigned first, unsigned n)
{
    model_split(first);
    model_split(first + n);
    memset(model + first, 0, n * sizeof *model);
    memset(span + first, 0, n * sizeof *span);
}

static void model_protect(unsigned first, unsigned n, uint64_t flags)
{
    model_split(first);
    model_split(first + n);
    for (unsigned i = first; i < first + n; i++)
        if (model[i])
            model[i] = (model[i] & PT_FRAME_MASK) | model_flags(flags);
}

static bool model_has(unsigned first, unsigned n)
{
    bool any = false;
    for (unsigned i = first; i < first + n; i++)
        any |= model[i] != 0;
    return any;
}

static void model_step(uint64_t *random)
{
    unsigned first, n;
    struct pt_status st;
    bool empty;
    random_range(random, &first, &n);
    pt_virt_t va = WINDOW_BASE + ((uint64_t)first << 12);
    uint64_t length = (uint64_t)n << 12;
    uint64_t flags = next_random(random) & MODEL_FLAGS;
    bool had = model_has(first, n);
    ck_assert_int_eq(pt_is_empty(&P, va, length, &empty), PT_OK);
    ck_assert_int_eq(empty, !had);
    switch (next_random(random) % 4) {
    case 0:
    case 1: {
        pt_phys_t pa = (next_random(random) % (1ull << 36)) & PAGE_MASK;
        if (next_random(random) % 2)
            pa = (pa & ~(PT_SIZE_1G - 1)) | (va & (PT_SIZE_1G - 1));
        pt_flush_ignore(pt_map(&P, va, length, pa, flags, PT_SIZE_1G, &st));
        model_map(first, n, pa, flags);
        break;
    }
    case 2: {
        struct pt_obligation o = pt_unmap(&P, va, length, &st);
        ck_assert(!had || o.start < o.end);
        pt_flush_ignore(o);
        model_unmap(first, n);
        break;
    }
    default:
        pt_flush_ignore(pt_protect(&P, va, length, flags, &st));
        model_protect(first, n, flags);
    }
    ck_assert_int_eq(st.err, PT_OK);
    ck_assert_uint_eq(st.done, length);
    ck_assert_int_eq(st.replaced, had);
}

/* What a call for the one entry of `size` pages at page i answers. */
static enum pt_error model_error(unsigned i, unsigned size)
{
    if (span[i] > size)
        return PT_PARENT_HUGE;
    return span[i] == size ? PT_OK : PT_NOT_MAPPED;
}

static void model_map_page(unsigned i, unsigned size, pt_phys_t pa, uint64_t flags)
{
    pt_virt_t va = WINDOW_BASE + ((uint64_t)i << 12);
    uint64_t length = (uint64_t)size << 12;
    struct pt_status st;
    enum pt_error expected = span[i] > size       ? PT_PARENT_HUGE
                             : model_has(i, size) ? PT_ALREADY_MAPPED
                                                  : PT_OK;
    for (int tries = 0; tries < 2; tries++) {
        if (pa == va)
            pt_flush_ignore(pt_identity_map(&P, pa, length, flags, &st));
        else
            pt_flush_ignore(pt_map_page(&P, va, pa, length, flags, PT_PARENT_DEFAULT, &st));
        if (st.err == expected || tries)
            break;
        /* An empty table is in the way of a large page, until somebody cleans up. */
        ck_assert(st.err == PT_ALREADY_MAPPED && size > 1);
        pt_flush_ignore(pt_clean_up_range(&P, va, length, &st));
        ck_assert_int_eq(st.err, PT_OK);
    }
    ck_assert_int_eq(st.err, expected);
    if (expected == PT_OK)
        model_map(i, size, pa, flags);
}

/* The calls for single entries, and for those of tables. */
static void single_step(uint64_t *random)
{
    static const unsigned sizes[] = {1, 512, 512 * 512};
    unsigned size = sizes[next_random(random) % 3];
    unsigned i = (unsigned)(next_random(random) % WINDOW_PAGES) & ~(size - 1);
    pt_virt_t va = WINDOW_BASE + ((uint64_t)i << 12);
    uint64_t length = (uint64_t)size << 12, flags = next_random(random) & MODEL_FLAGS, got = 0;
    pt_phys_t pa = (next_random(random) % (1ull << 36)) & ~(length - 1);
    struct pt_status st;
    enum pt_error expected = model_error(i, size);
    int level;
    switch (next_random(random) % 6) {
    case 0:
        model_map_page(i, size, pa, flags);
        break;
    case 1:
        model_map_page(i, size, va, flags);
        break;
    case 2:
        pt_flush_ignore(pt_unmap_page(&P, va, length, &pa, &st));
        ck_assert_int_eq(st.err, expected);
        if (expected == PT_OK) {
            ck_assert_uint_eq(pa, model[i] & PT_FRAME_MASK);
            model_unmap(i, size);
        }
        break;
    case 3:
        pt_flush_ignore(pt_update_flags(&P, va, length, flags, &st));
        ck_assert_int_eq(st.err, expected);
        if (expected == PT_OK)
            model_protect(i, size, flags);
        break;
    case 4:
        level = 2 + (int)(next_random(random) % 3);
        pt_flush_ignore(pt_update_parent_flags(&P, va, level, PT_USER | PT_ACCESSED, &st));
        ck_assert_int_eq(st.err, pt_parent_flags(&P, va, level, &got));
        if (st.err == PT_OK) {
            ck_assert_uint_eq(got, PT_USER | PT_ACCESSED | PT_PRESENT);
            pt_flush_ignore(pt_update_parent_flags(&P, va, level, PT_PARENT_DEFAULT, &st));
            ck_assert_int_eq(st.err, PT_OK);
        }
        break;
    default:
        pt_flush_ignore(pt_clean_up_range(&P, va, length, &st));
        ck_assert_int_eq(st.err, PT_OK);
    }
}

/* A copy of all says what the model does. */
static void compare_rebuilt(void)
{
    static struct pt_seen seen[2 * ARENA_TABLES];
    static pt_phys_t made[2 * ARENA_TABLES];
    struct pt copy;
    unsigned before = A.count, moves = A.move_one_in;
    A.move_one_in = 0;
    ck_assert_int_eq(pt_rebuild_roots(&P, 1, &copy, &arena_ops, &A, same_frame, NULL, seen, made,
                                      ARRAY_SIZE(seen)),
                     PT_OK);
    compare_tables(&copy);
    pt_destroy(&copy);
    A.move_one_in = moves;
    ck_assert_uint_eq(A.count, before);
}

static void probe(uint64_t *random)
{
    unsigned i = (unsigned)(next_random(random) % WINDOW_PAGES);
    pt_virt_t va = WINDOW_BASE + ((uint64_t)i << 12);
    struct pt_translation t;
    enum pt_error err = pt_translate(&P, va, &t);
    ck_assert_int_eq(err, model[i] ? PT_OK : PT_NOT_MAPPED);
    ck_assert(err || (t.size == (uint64_t)span[i] << 12 && t.va + t.offset == va &&
                      ((t.frame + t.offset) | (t.flags & MODEL_FLAGS) | PT_PRESENT) == model[i] &&
                      t.kind == (model[i] & PT_COW ? PT_COPY_ON_WRITE : PT_BASIC)));
    err = pt_find_first(&P, va, &t);
    unsigned next = i;
    while (next < WINDOW_PAGES && !model[next])
        next++;
    if (next == WINDOW_PAGES) {
        ck_assert_int_eq(err, PT_NOT_MAPPED);
        return;
    }
    ck_assert_int_eq(err, PT_OK);
    ck_assert_uint_eq(t.va + t.offset, WINDOW_BASE + ((uint64_t)next << 12));
    ck_assert_uint_eq(t.frame + t.offset, model[next] & PT_FRAME_MASK);
}

/* Tables that are in use are exactly those that a walk reaches. */
static void check_no_leak(void)
{
    static struct pt_seen seen[2 * ARENA_TABLES];
    const struct pt_roots_visitor nothing = {NULL, NULL, NULL};
    unsigned reached = 0;
    ck_assert_int_eq(pt_walk_roots(&P, 1, seen, ARRAY_SIZE(seen), &nothing), PT_OK);
    for (size_t i = 0; i < ARRAY_SIZE(seen); i++)
        reached += seen[i].level != 0;
    ck_assert_uint_eq(reached, A.count);
}

START_TEST(agrees_with_the_model)
{
    const char *given = getenv("TEST_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 0) : 0x9e3779b97f4a7c15ull + (unsigned)_i;
    fprintf(stderr, "TEST_SEED=%#lx\n", (unsigned long)seed);
    uint64_t random = seed;
    struct pt_status st;
    A.move_one_in = _i == 0 ? 0 : 3;
    memset(model, 0, sizeof model);
    memset(span, 0, sizeof span);
    for (unsigned step = 0; step < steps_of(12000); step++) {
        model_step(&random);
        single_step(&random);
        probe(&random);
        if (step % 400 == 0) {
            compare_all();
            compare_rebuilt();
            check_no_leak();
            pt_flush_ignore(pt_clean_up(&P, &st));
            ck_assert_int_eq(st.err, PT_OK);
            compare_all();
        }
    }
    compare_all();
    pt_flush_ignore(pt_unmap(&P, WINDOW_BASE, (uint64_t)WINDOW_PAGES << 12, &st));
    ck_assert_int_eq(st.err, PT_OK);
    pt_flush_ignore(pt_clean_up(&P, &st));
    ck_assert_uint_eq(A.count, 1);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pagetables");
    TCase *tc = tcase_create("all");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, single_entries_fail_by_name);
    tcase_add_test(tc, flags_of_pages_and_parents);
    tcase_add_test(tc, sizes_follow_alignment_and_split);
    tcase_add_test(tc, identity_and_clean_up);
    tcase_add_test(tc, upper_half_is_shared_and_untouchable);
    tcase_add_test(tc, corrupt_tables_end_the_walk);
    tcase_add_loop_test(tc, hostile_tables, 0, 20);
    tcase_add_test(tc, reserve_estimate_is_enough);
    tcase_add_test(tc, shared_tables_are_seen_and_rebuilt);
    tcase_add_loop_test(tc, agrees_with_the_model, 0, 2);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
