/*
 * An AVL tree with parent pointers. `balance` holds the height of the subtree. Both it and max_gap
 * are functions of a node's own gap and its children's values, so that one walk towards the root
 * (fix_up) repairs them, and may stop at the first node that it leaves unchanged.
 */
#include "base/range_set.h"
#include <assert.h>
#include <errno.h>

enum { LEFT, RIGHT };

static int height(const struct range_node *n)
{
    return n ? n->balance : 0;
}

static uint64_t max_gap(const struct range_node *n)
{
    return n ? n->max_gap : 0;
}

static void recompute(struct range_node *n)
{
    const struct range_node *l = n->child[LEFT], *r = n->child[RIGHT];
    n->balance = 1 + MAX(height(l), height(r));
    uint64_t children = MAX(max_gap(l), max_gap(r));
    n->max_gap = MAX(n->gap_before, children);
}

/* Puts `new` where `old` hangs. */
static void replace_child(struct range_set *s, struct range_node *old, struct range_node *new)
{
    struct range_node *p = old->parent;
    if (!p)
        s->root = new;
    else
        p->child[p->child[RIGHT] == old] = new;
    if (new)
        new->parent = p;
}

/*
 *       n                c
 *      / \              / \        rotate(n, RIGHT): the left child c rises;
 *     c   z    ->      x   n       LEFT is the mirror image.
 *    / \                  / \
 *   x   y                y   z
 */
static struct range_node *rotate(struct range_set *s, struct range_node *n, int dir)
{
    struct range_node *c = n->child[!dir];
    struct range_node *y = c->child[dir];
    replace_child(s, n, c);
    n->child[!dir] = y;
    if (y)
        y->parent = n;
    c->child[dir] = n;
    n->parent = c;
    recompute(n);
    recompute(c);
    return c;
}

/* Repairs n's height, gap and balance. Returns the root of what was n's subtree. */
static struct range_node *repair(struct range_set *s, struct range_node *n)
{
    int lean = height(n->child[RIGHT]) - height(n->child[LEFT]);
    if (lean >= -1 && lean <= 1) {
        recompute(n);
        return n;
    }
    int heavy = lean > 0 ? RIGHT : LEFT;
    struct range_node *c = n->child[heavy];
    if (height(c->child[!heavy]) > height(c->child[heavy]))
        rotate(s, c, heavy);
    return rotate(s, n, !heavy);
}

static void fix_up(struct range_set *s, struct range_node *n)
{
    while (n) {
        int old_height = n->balance;
        uint64_t old_gap = n->max_gap;
        n = repair(s, n);
        if (n->balance == old_height && n->max_gap == old_gap)
            return;
        n = n->parent;
    }
}

void range_set_init(struct range_set *s)
{
    s->root = NULL;
    s->count = 0;
    s->span = 0;
}

struct range_node *range_set_lower_bound(const struct range_set *s, uint64_t key)
{
    struct range_node *n = s->root, *best = NULL;
    while (n) {
        if (n->end > key) {
            best = n;
            n = n->child[LEFT];
        } else {
            n = n->child[RIGHT];
        }
    }
    return best;
}

struct range_node *range_set_find(const struct range_set *s, uint64_t key)
{
    struct range_node *n = s->root;
    while (n) {
        if (key < n->start)
            n = n->child[LEFT];
        else if (key >= n->end)
            n = n->child[RIGHT];
        else
            return n;
    }
    return NULL;
}

static struct range_node *extreme(struct range_node *n, int dir)
{
    while (n && n->child[dir])
        n = n->child[dir];
    return n;
}

struct range_node *range_set_first(const struct range_set *s)
{
    return extreme(s->root, LEFT);
}

struct range_node *range_set_last(const struct range_set *s)
{
    return extreme(s->root, RIGHT);
}

static struct range_node *neighbour(const struct range_node *n, int dir)
{
    if (n->child[dir])
        return extreme(n->child[dir], !dir);
    while (n->parent && n->parent->child[dir] == n)
        n = n->parent;
    return n->parent;
}

struct range_node *range_node_next(const struct range_node *n)
{
    return neighbour(n, RIGHT);
}

struct range_node *range_node_prev(const struct range_node *n)
{
    return neighbour(n, LEFT);
}

bool range_set_intersects(const struct range_set *s, uint64_t start, uint64_t end)
{
    const struct range_node *n = range_set_lower_bound(s, start);
    return start < end && n && n->start < end;
}

static void set_gap(struct range_set *s, struct range_node *n, const struct range_node *prev)
{
    uint64_t gap = n->start - (prev ? prev->end : 0);
    if (gap != n->gap_before) {
        n->gap_before = gap;
        fix_up(s, n);
    }
}

void range_set_insert(struct range_set *s, struct range_node *n)
{
    assert(n->start < n->end);
    struct range_node *parent = NULL, *prev = NULL, *next = NULL;
    struct range_node **link = &s->root;
    while (*link) {
        parent = *link;
        if (n->start < parent->start) {
            next = parent;
            link = &parent->child[LEFT];
        } else {
            prev = parent;
            link = &parent->child[RIGHT];
        }
    }
    assert(!prev || prev->end <= n->start);
    assert(!next || n->end <= next->start);

    n->parent = parent;
    n->child[LEFT] = n->child[RIGHT] = NULL;
    n->gap_before = n->start - (prev ? prev->end : 0);
    recompute(n);
    *link = n;
    fix_up(s, parent);
    if (next)
        set_gap(s, next, n);
    s->count++;
    s->span += n->end - n->start;
}

/* Takes n out of the tree. Returns the lowest node whose subtree changed. */
static struct range_node *unlink_node(struct range_set *s, struct range_node *n,
                                      struct range_node *next)
{
    if (!n->child[LEFT] || !n->child[RIGHT]) {
        replace_child(s, n, n->child[n->child[LEFT] ? LEFT : RIGHT]);
        return n->parent;
    }
    /* The next node is the leftmost of the right subtree. It takes n's place, and with it the
     * values that the nodes above have seen there. */
    struct range_node *lowest = next->parent == n ? next : next->parent;
    replace_child(s, next, next->child[RIGHT]);
    for (int dir = LEFT; dir <= RIGHT; dir++) {
        next->child[dir] = n->child[dir];
        if (next->child[dir])
            next->child[dir]->parent = next;
    }
    next->balance = n->balance;
    next->max_gap = n->max_gap;
    replace_child(s, n, next);
    return lowest;
}

void range_set_remove(struct range_set *s, struct range_node *n)
{
    struct range_node *prev = range_node_prev(n), *next = range_node_next(n);
    s->count--;
    s->span -= n->end - n->start;
    if (next)
        next->gap_before = next->start - (prev ? prev->end : 0);
    struct range_node *lowest = unlink_node(s, n, next);
    fix_up(s, lowest);
    if (next)
        fix_up(s, next);
    n->parent = n->child[LEFT] = n->child[RIGHT] = NULL;
}

void range_set_resize(struct range_set *s, struct range_node *n, uint64_t start, uint64_t end)
{
    assert(start < end);
    s->span += (end - start) - (n->end - n->start);
    bool moved_start = start != n->start, moved_end = end != n->end;
    n->start = start;
    n->end = end;
    if (moved_start) {
        const struct range_node *prev = range_node_prev(n);
        assert(!prev || prev->end <= start);
        set_gap(s, n, prev);
    }
    if (moved_end) {
        struct range_node *next = range_node_next(n);
        assert(!next || end <= next->start);
        if (next)
            set_gap(s, next, n);
    }
}

/* ---- gaps ---- */

/* The first node in direction dir (RIGHT: lowest first) of n's subtree with a gap of length, which
 * the subtree is known to have. */
static struct range_node *first_gap_below(struct range_node *n, uint64_t length, int dir)
{
    for (;;) {
        if (max_gap(n->child[!dir]) >= length)
            n = n->child[!dir];
        else if (n->gap_before >= length)
            return n;
        else
            n = n->child[dir];
    }
}

/* The next node after n in direction dir whose gap is at least length, or NULL. */
static struct range_node *next_gap(struct range_node *n, uint64_t length, int dir)
{
    if (max_gap(n->child[dir]) >= length)
        return first_gap_below(n->child[dir], length, dir);
    for (; n->parent; n = n->parent) {
        struct range_node *p = n->parent;
        if (p->child[dir] == n)
            continue;
        if (p->gap_before >= length)
            return p;
        if (max_gap(p->child[dir]) >= length)
            return first_gap_below(p->child[dir], length, dir);
    }
    return NULL;
}

static uint64_t gap_start(const struct range_node *n)
{
    return n->start - n->gap_before;
}

/* The lowest aligned place in [lo, hi). */
static bool fit_up(uint64_t lo, uint64_t hi, uint64_t length, uint64_t align, uint64_t *start)
{
    uint64_t s;
    if (lo >= hi || __builtin_add_overflow(lo, align - 1, &s))
        return false;
    s &= ~(align - 1);
    *start = s;
    return s < hi && hi - s >= length;
}

/* The highest aligned place in [lo, hi). */
static bool fit_down(uint64_t lo, uint64_t hi, uint64_t length, uint64_t align, uint64_t *start)
{
    if (lo >= hi || hi - lo < length)
        return false;
    *start = (hi - length) & ~(align - 1);
    return *start >= lo;
}

bool range_set_gap_up(const struct range_set *s, uint64_t lo, uint64_t hi, uint64_t length,
                      uint64_t align, uint64_t *start)
{
    if (lo >= hi || hi - lo < length)
        return false;
    /* The first node whose gap reaches far enough beyond lo. */
    struct range_node *n = NULL;
    for (struct range_node *at = s->root; at;) {
        if (at->start >= lo + length) {
            n = at;
            at = at->child[LEFT];
        } else {
            at = at->child[RIGHT];
        }
    }
    for (; n; n = next_gap(n, length, RIGHT)) {
        if (gap_start(n) >= hi)
            return false;
        if (fit_up(MAX(gap_start(n), lo), MIN(n->start, hi), length, align, start))
            return true;
    }
    const struct range_node *last = range_set_last(s);
    return fit_up(last ? MAX(last->end, lo) : lo, hi, length, align, start);
}

bool range_set_gap_down(const struct range_set *s, uint64_t lo, uint64_t hi, uint64_t length,
                        uint64_t align, uint64_t *start)
{
    if (lo >= hi || hi - lo < length)
        return false;
    const struct range_node *last = range_set_last(s);
    if (fit_down(last ? MAX(last->end, lo) : lo, hi, length, align, start))
        return true;
    /* The last node whose gap begins early enough below hi. */
    struct range_node *n = NULL;
    for (struct range_node *at = s->root; at;) {
        if (gap_start(at) <= hi - length) {
            n = at;
            at = at->child[RIGHT];
        } else {
            at = at->child[LEFT];
        }
    }
    for (; n; n = next_gap(n, length, LEFT)) {
        if (n->start <= lo)
            return false;
        if (fit_down(MAX(gap_start(n), lo), MIN(n->start, hi), length, align, start))
            return true;
    }
    return false;
}

/* ---- splitting ---- */

int range_set_split(struct range_set *s, struct range_node *n, uint64_t key, range_split_fn split,
                    void *arg)
{
    assert(n->start < key && key < n->end);
    struct range_node *upper = split(n, key, arg);
    if (!upper)
        return -ENOMEM;
    upper->start = key;
    upper->end = n->end;
    range_set_resize(s, n, n->start, key);
    range_set_insert(s, upper);
    return 0;
}

static int split_at(struct range_set *s, uint64_t key, range_split_fn split, void *arg)
{
    struct range_node *n = range_set_find(s, key);
    return n && n->start < key ? range_set_split(s, n, key, split, arg) : 0;
}

int range_set_isolate(struct range_set *s, uint64_t start, uint64_t end, range_split_fn split,
                      void *arg)
{
    int err = split_at(s, start, split, arg);
    return err ? err : split_at(s, end, split, arg);
}

#ifdef PICKET_DEBUG

#include "base/log.h"

static void check_node(const struct range_node *n, const struct range_node *parent)
{
    int lean = height(n->child[RIGHT]) - height(n->child[LEFT]);
    uint64_t children = MAX(max_gap(n->child[LEFT]), max_gap(n->child[RIGHT]));
    if (n->parent != parent)
        panic("range set: bad parent at %#lx", n->start);
    if (lean < -1 || lean > 1 ||
        n->balance != 1 + MAX(height(n->child[LEFT]), height(n->child[RIGHT])))
        panic("range set: bad balance at %#lx", n->start);
    if (n->max_gap != MAX(n->gap_before, children))
        panic("range set: bad max_gap at %#lx", n->start);
    for (int dir = LEFT; dir <= RIGHT; dir++)
        if (n->child[dir])
            check_node(n->child[dir], n); /* the tree is at most 1.45 log2(count) deep */
}

void range_set_check(const struct range_set *s)
{
    if (s->root)
        check_node(s->root, NULL);
    uint64_t end = 0, span = 0;
    size_t count = 0;
    for (const struct range_node *n = range_set_first(s); n; n = range_node_next(n)) {
        if (n->start >= n->end || n->start < end)
            panic("range set: bad order at %#lx", n->start);
        if (n->gap_before != n->start - end)
            panic("range set: bad gap at %#lx", n->start);
        end = n->end;
        span += n->end - n->start;
        count++;
    }
    if (count != s->count || span != s->span)
        panic("range set: %zu nodes of %#lx counted as %zu of %#lx", count, span, s->count,
              s->span);
}

#endif
