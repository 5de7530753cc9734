/*
 * Range sets: the corner cases by hand, and random operations against an array with one entry a
 * key.
 */
#include "base/range_set.h"
#include "tests/unit/random.h"
#include <check.h>
#include <errno.h>
#include <string.h>

#define KEYS 256
#define STEPS 1000000

struct item {
    struct range_node node;
    unsigned id;
};

static struct range_set set;
static unsigned model[KEYS]; /* 0: free, else the id of the item there */
static unsigned last_id;

static void check_set(void)
{
#ifdef PICKET_DEBUG
    range_set_check(&set);
#endif
}

static struct item *add(uint64_t start, uint64_t end)
{
    struct item *it = malloc(sizeof(*it));
    it->node.start = start;
    it->node.end = end;
    it->id = ++last_id;
    range_set_insert(&set, &it->node);
    for (uint64_t k = start; k < MIN(end, (uint64_t)KEYS); k++)
        model[k] = it->id;
    return it;
}

static struct item *item_of(struct range_node *n)
{
    return container_of(n, struct item, node);
}

static void drop(struct range_node *n)
{
    for (uint64_t k = n->start; k < MIN(n->end, (uint64_t)KEYS); k++)
        model[k] = 0;
    range_set_remove(&set, n);
    free(item_of(n));
}

static void reset(void)
{
    while (set.root)
        drop(set.root);
    range_set_init(&set);
    memset(model, 0, sizeof(model));
    last_id = 0;
}

/* arg: not NULL if there is to be no memory. */
static struct range_node *split_item(struct range_node *n, uint64_t key, void *arg)
{
    if (arg)
        return NULL;
    struct item *it = malloc(sizeof(*it));
    it->id = ++last_id;
    for (uint64_t k = key; k < n->end; k++)
        model[k] = it->id;
    return &it->node;
}

static bool model_free(uint64_t start, uint64_t end)
{
    for (uint64_t k = start; k < end; k++)
        if (model[k])
            return false;
    return true;
}

static bool model_gap(bool up, uint64_t lo, uint64_t hi, uint64_t length, uint64_t align,
                      uint64_t *out)
{
    bool found = false;
    for (uint64_t s = 0; s + length <= hi; s += align) {
        if (s < lo || !model_free(s, s + length))
            continue;
        *out = s;
        found = true;
        if (up)
            break;
    }
    return found;
}

static void check_gaps(struct rng *r)
{
    uint64_t lo = rng_below(r, KEYS), hi = rng_below(r, KEYS + 1);
    uint64_t length = 1 + rng_below(r, rng_below(r, 2) ? 8 : 64), align = 1u << rng_below(r, 6);
    for (int up = 0; up < 2; up++) {
        uint64_t want = 0, got = 0;
        bool found = up ? range_set_gap_up(&set, lo, hi, length, align, &got)
                        : range_set_gap_down(&set, lo, hi, length, align, &got);
        HOLDS(found == model_gap(up, lo, hi, length, align, &want));
        if (found)
            HOLDS(got == want);
    }
}

static void check_find(struct rng *r)
{
    uint64_t k = rng_below(r, KEYS);
    struct range_node *n = range_set_find(&set, k);
    HOLDS((n ? item_of(n)->id : 0) == model[k]);

    uint64_t at = k;
    while (at < KEYS && !model[at])
        at++;
    n = range_set_lower_bound(&set, k);
    HOLDS((n ? item_of(n)->id : 0) == (at < KEYS ? model[at] : 0));

    uint64_t end = k + rng_below(r, KEYS - k + 1);
    HOLDS(range_set_intersects(&set, k, end) == !model_free(k, end));
}

/* Walks both ways and compares every node with the model. */
static void check_walk(void)
{
    uint64_t at = 0;
    size_t count = 0;
    for (struct range_node *n = range_set_first(&set); n; n = range_node_next(n)) {
        HOLDS(model_free(at, n->start));
        for (uint64_t k = n->start; k < n->end; k++)
            HOLDS(model[k] == item_of(n)->id);
        at = n->end;
        count++;
    }
    HOLDS(model_free(at, KEYS));
    HOLDS(count == set.count);
    for (struct range_node *n = range_set_last(&set); n; n = range_node_prev(n)) {
        HOLDS(n->end <= at);
        at = n->start;
        count--;
    }
    HOLDS(count == 0);
}

static void step_insert(struct rng *r)
{
    uint64_t start = rng_below(r, KEYS), end = start + 1 + rng_below(r, 12);
    if (end <= KEYS && model_free(start, end))
        add(start, end);
}

static void step_remove(struct rng *r)
{
    struct range_node *n = range_set_lower_bound(&set, rng_below(r, KEYS));
    if (n)
        drop(n);
}

static void step_resize(struct rng *r)
{
    struct range_node *n = range_set_lower_bound(&set, rng_below(r, KEYS));
    if (!n)
        return;
    const struct range_node *prev = range_node_prev(n), *next = range_node_next(n);
    uint64_t lo = prev ? prev->end : 0, hi = next ? next->start : KEYS;
    uint64_t start = lo + rng_below(r, hi - lo), end = start + 1 + rng_below(r, hi - start);
    unsigned id = item_of(n)->id;
    for (uint64_t k = n->start; k < n->end; k++)
        model[k] = 0;
    range_set_resize(&set, n, start, end);
    for (uint64_t k = start; k < end; k++)
        model[k] = id;
}

static void step_isolate(struct rng *r)
{
    uint64_t start = rng_below(r, KEYS), end = start + rng_below(r, KEYS - start);
    bool no_memory = rng_below(r, 8) == 0;
    int err = range_set_isolate(&set, start, end, split_item, no_memory ? &no_memory : NULL);
    if (no_memory)
        return;
    HOLDS(err == 0);
    const struct range_node *n = range_set_find(&set, start);
    HOLDS(!n || n->start == start);
    n = range_set_find(&set, end);
    HOLDS(!n || n->start == end);
}

START_TEST(random_against_model)
{
    struct rng r = rng_seed("range_set");
    reset();
    for (int i = 0; i < STEPS; i++) {
        /* The bias swings between filling and emptying, so that both ends are seen. */
        uint64_t kind = rng_below(&r, 10), bias = (uint64_t)(i / 5000) % 2;
        if (kind < 3 + 2 * bias)
            step_insert(&r);
        else if (kind < 7)
            step_remove(&r);
        else if (kind < 9)
            step_resize(&r);
        else
            step_isolate(&r);
        check_find(&r);
        check_gaps(&r);
        if (i % 32 == 0) {
            check_walk();
            check_set();
        }
    }
    reset();
}
END_TEST

START_TEST(empty_set)
{
    uint64_t at;
    reset();
    ck_assert_ptr_null(range_set_first(&set));
    ck_assert_ptr_null(range_set_last(&set));
    ck_assert_ptr_null(range_set_find(&set, 0));
    ck_assert_ptr_null(range_set_lower_bound(&set, 0));
    ck_assert(range_set_gap_up(&set, 5, 10, 5, 1, &at));
    ck_assert_uint_eq(at, 5);
    ck_assert(range_set_gap_down(&set, 5, 10, 3, 1, &at));
    ck_assert_uint_eq(at, 7);
    ck_assert(!range_set_gap_up(&set, 5, 10, 6, 1, &at));
    ck_assert(!range_set_gap_down(&set, 5, 10, 6, 1, &at));
    ck_assert(!range_set_gap_up(&set, 10, 5, 1, 1, &at));
    ck_assert(range_set_gap_down(&set, 0, UINT64_MAX, 1ull << 63, 1ull << 63, &at));
    ck_assert_uint_eq(at, 0);
}
END_TEST

/* Numbers near the end of the key space must not wrap. */
START_TEST(huge_keys)
{
    uint64_t at;
    reset();
    add(UINT64_MAX - 10, UINT64_MAX);
    ck_assert_ptr_nonnull(range_set_find(&set, UINT64_MAX - 1));
    ck_assert_ptr_null(range_set_find(&set, UINT64_MAX));
    ck_assert(range_set_gap_down(&set, 0, UINT64_MAX, 4096, 4096, &at));
    ck_assert_uint_eq(at, ((UINT64_MAX - 10) & ~4095ull) - 4096);
    ck_assert(range_set_gap_up(&set, UINT64_MAX - 20, UINT64_MAX, 10, 1, &at));
    ck_assert_uint_eq(at, UINT64_MAX - 20);
    ck_assert(!range_set_gap_up(&set, UINT64_MAX - 15, UINT64_MAX, 10, 1, &at));
    ck_assert(!range_set_gap_up(&set, UINT64_MAX - 20, UINT64_MAX, 1, 4096, &at));
    ck_assert(!range_set_gap_up(&set, 1, UINT64_MAX, UINT64_MAX - 2, 1, &at));
    ck_assert_uint_eq(set.span, 10);
    check_set();
    reset();
}
END_TEST

START_TEST(split_without_memory)
{
    bool no_memory = true;
    reset();
    struct item *it = add(10, 20);
    ck_assert_int_eq(range_set_split(&set, &it->node, 15, split_item, &no_memory), -ENOMEM);
    ck_assert_uint_eq(it->node.end, 20);
    ck_assert_uint_eq(set.count, 1);
    ck_assert_int_eq(range_set_split(&set, &it->node, 15, split_item, NULL), 0);
    ck_assert_uint_eq(it->node.end, 15);
    ck_assert_uint_eq(range_node_next(&it->node)->start, 15);
    ck_assert_uint_eq(range_node_next(&it->node)->end, 20);
    ck_assert_uint_eq(set.span, 10);
    check_set();
    reset();
}
END_TEST

static unsigned depth(const struct range_node *n)
{
    return n ? 1 + MAX(depth(n->child[0]), depth(n->child[1])) : 0;
}

/* Ascending, descending and inside-out insertion all stay balanced. */
START_TEST(stays_flat)
{
    enum { N = 1 << 14 };
    for (int order = 0; order < 3; order++) {
        reset();
        for (uint64_t i = 0; i < N; i++) {
            uint64_t k = order == 0 ? i : order == 1 ? N - 1 - i : (i * 6151) % N;
            add(KEYS + k * 4, KEYS + k * 4 + 3);
        }
        ck_assert_uint_le(depth(set.root), 20); /* 1.4405 log2(n + 2) */
        for (uint64_t k = 0; k < N; k += 2)
            drop(range_set_find(&set, KEYS + k * 4));
        ck_assert_uint_le(depth(set.root), 19);
        uint64_t at;
        ck_assert(range_set_gap_up(&set, KEYS + 4, UINT64_MAX, 5, 1, &at));
        ck_assert_uint_eq(at, KEYS + 7);
        check_set();
    }
    reset();
}
END_TEST

int main(void)
{
    Suite *s = suite_create("range_set");
    TCase *t = tcase_create("range_set");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, empty_set);
    tcase_add_test(t, huge_keys);
    tcase_add_test(t, split_without_memory);
    tcase_add_test(t, stays_flat);
    tcase_add_test(t, random_against_model);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
