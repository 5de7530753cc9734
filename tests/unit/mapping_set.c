/*
 * Mapping sets: invalidation reaches exactly the addresses that map the offsets concerned. By hand,
 * and against a plain list of mappings, page by page.
 */
#include "memmap/mapping_set.h"
#include "tests/unit/random.h"
#include <check.h>
#include <string.h>

#define SPACES 3
#define ADDR_PAGES 64
#define OFFSET_PAGES 24
#define STEPS 100000

/* Counts how often each page of its addresses was invalidated. */
struct space {
    struct mapping_space ms;
    unsigned hits[ADDR_PAGES];
    bool private;
};

static struct space spaces[SPACES];
static struct mapping_set set;

static void note_invalidate(struct mapping_space *ms, struct addr_range ar,
                            const struct invalidate_opts *opts)
{
    struct space *s = container_of(ms, struct space, ms);
    HOLDS(page_aligned(ar.start) && page_aligned(ar.end) && ar.start < ar.end);
    s->private = opts->invalidate_private;
    for (gva_t a = ar.start; a < ar.end; a += PAGE_SIZE)
        s->hits[a / PAGE_SIZE]++;
}

static const struct mapping_space_ops space_ops = {.invalidate = note_invalidate};

static void reset(void)
{
    memset(spaces, 0, sizeof(spaces));
    for (int i = 0; i < SPACES; i++)
        spaces[i].ms.ops = &space_ops;
}

static void setup(void)
{
    reset();
    mapping_set_init(&set);
}

static struct addr_range pages_at(uint64_t page, uint64_t n)
{
    return (struct addr_range){page * PAGE_SIZE, (page + n) * PAGE_SIZE};
}

static void add(int space, uint64_t page, uint64_t n, uint64_t offset, bool writable)
{
    HOLDS(mapping_set_add(&set, &spaces[space].ms, pages_at(page, n), offset * PAGE_SIZE,
                          writable) == 0);
}

static void del(int space, uint64_t page, uint64_t n, uint64_t offset, bool writable)
{
    mapping_set_remove(&set, &spaces[space].ms, pages_at(page, n), offset * PAGE_SIZE, writable);
}

static struct mappable_range offsets(uint64_t page, uint64_t n)
{
    return (struct mappable_range){page * PAGE_SIZE, (page + n) * PAGE_SIZE};
}

static void invalidate(uint64_t page, uint64_t n, bool private)
{
    struct invalidate_opts opts = {.invalidate_private = private};
    reset();
    mapping_set_invalidate(&set, offsets(page, n), &opts);
}

START_TEST(by_hand)
{
    setup();
    ck_assert(mapping_set_empty(&set));
    add(0, 10, 8, 0, false); /* offsets 0-8 at 10-18 */
    add(1, 30, 4, 2, true);  /* offsets 2-6 at 30-34 */
    add(0, 40, 4, 2, false); /* the same again, elsewhere in the first space */
    ck_assert(!mapping_set_empty(&set));

    invalidate(3, 2, true);
    for (uint64_t p = 0; p < ADDR_PAGES; p++) {
        ck_assert_uint_eq(spaces[0].hits[p], (p >= 13 && p < 15) || (p >= 41 && p < 43));
        ck_assert_uint_eq(spaces[1].hits[p], p >= 31 && p < 33);
    }
    ck_assert(spaces[0].private);
    invalidate(7, 10, false);
    ck_assert_uint_eq(spaces[0].hits[17], 1);
    ck_assert_uint_eq(spaces[1].hits[33], 0);
    ck_assert(!spaces[0].private);

    ck_assert(mapping_set_has_writable(&set, offsets(5, 9)));
    ck_assert(!mapping_set_has_writable(&set, offsets(0, 2)));
    ck_assert(!mapping_set_has_writable(&set, offsets(6, 9)));

    del(1, 31, 2, 3, true); /* a hole in the middle */
    invalidate(0, 24, false);
    ck_assert_uint_eq(spaces[1].hits[30], 1);
    ck_assert_uint_eq(spaces[1].hits[31], 0);
    ck_assert_uint_eq(spaces[1].hits[33], 1);
    del(1, 30, 1, 2, true);
    del(1, 33, 1, 5, true);
    ck_assert(!mapping_set_has_writable(&set, offsets(0, 24)));
    del(0, 40, 4, 2, false);
    ck_assert_uint_eq(set.ranges.count, 1); /* what was split has merged */
    del(0, 10, 8, 0, false);
    ck_assert(mapping_set_empty(&set));
    mapping_set_destroy(&set);
}
END_TEST

/* The same mapping twice (one replaced by itself) needs removing twice. */
START_TEST(twice)
{
    setup();
    add(0, 1, 4, 0, false);
    add(0, 1, 4, 0, false);
    del(0, 1, 4, 0, false);
    invalidate(0, 1, false);
    ck_assert_uint_eq(spaces[0].hits[1], 1);
    del(0, 1, 4, 0, false);
    ck_assert(mapping_set_empty(&set));
}
END_TEST

START_TEST(end_of_offsets)
{
    setup();
    uint64_t offset = UINT64_MAX - 2 * PAGE_SIZE + 1;
    struct addr_range ar = pages_at(1, 1);
    ck_assert_int_eq(mapping_set_add(&set, &spaces[0].ms, ar, offset, false), 0);
    struct invalidate_opts opts = {0};
    mapping_set_invalidate_all(&set, &opts);
    ck_assert_uint_eq(spaces[0].hits[1], 1);
    mapping_set_remove(&set, &spaces[0].ms, ar, offset, false);
    ck_assert(mapping_set_empty(&set));
}
END_TEST

/* model[s][p]: 1 + the offset page that page p of space s maps; 0: none. */
static struct {
    uint64_t offset1;
    bool writable;
} model[SPACES][ADDR_PAGES];

static void step_map(struct rng *r)
{
    int s = (int)rng_below(r, SPACES);
    uint64_t n = 1 + rng_below(r, 6), page = rng_below(r, ADDR_PAGES - n);
    uint64_t offset = rng_below(r, OFFSET_PAGES - n);
    bool writable = rng_below(r, 2);
    for (uint64_t i = 0; i < n; i++)
        if (model[s][page + i].offset1)
            return;
    add(s, page, n, offset, writable);
    for (uint64_t i = 0; i < n; i++) {
        model[s][page + i].offset1 = offset + i + 1;
        model[s][page + i].writable = writable;
    }
}

static void step_unmap(struct rng *r)
{
    int s = (int)rng_below(r, SPACES);
    uint64_t page = rng_below(r, ADDR_PAGES), n = 0, max = 1 + rng_below(r, 6);
    if (!model[s][page].offset1)
        return;
    uint64_t offset = model[s][page].offset1 - 1;
    bool writable = model[s][page].writable;
    while (n < max && page + n < ADDR_PAGES && model[s][page + n].offset1 == offset + n + 1 &&
           model[s][page + n].writable == writable)
        model[s][page + n++].offset1 = 0;
    del(s, page, n, offset, writable);
}

static void step_compare(struct rng *r)
{
    uint64_t from = rng_below(r, OFFSET_PAGES), n = 1 + rng_below(r, OFFSET_PAGES - from);
    bool writable = false;
    invalidate(from, n, false);
    for (int s = 0; s < SPACES; s++) {
        for (uint64_t p = 0; p < ADDR_PAGES; p++) {
            uint64_t o1 = model[s][p].offset1;
            bool meets = o1 > from && o1 <= from + n;
            HOLDS(spaces[s].hits[p] == meets);
            writable |= meets && model[s][p].writable;
        }
    }
    HOLDS(mapping_set_has_writable(&set, offsets(from, n)) == writable);
#ifdef PICKET_DEBUG
    range_set_check(&set.ranges);
#endif
}

START_TEST(random_against_model)
{
    struct rng r = rng_seed("mapping_set");
    setup();
    for (int i = 0; i < STEPS; i++) {
        if (rng_below(&r, 5) < 2)
            step_map(&r);
        else
            step_unmap(&r);
        if (i % 4 == 0)
            step_compare(&r);
    }
    for (int s = 0; s < SPACES; s++)
        for (uint64_t p = 0; p < ADDR_PAGES; p++)
            if (model[s][p].offset1)
                del(s, p, 1, model[s][p].offset1 - 1, model[s][p].writable);
    ck_assert(mapping_set_empty(&set));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("mapping_set");
    TCase *t = tcase_create("mapping_set");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, by_hand);
    tcase_add_test(t, twice);
    tcase_add_test(t, end_of_offsets);
    tcase_add_test(t, random_against_model);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
