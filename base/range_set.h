/*
 * Range sets: disjoint, non-empty, half-open ranges of uint64_t keys in a balanced
 * binary tree, augmented with the largest gap of each subtree.
 *
 *              [40,50)                 gap_before(node) = node.start - previous.end
 *             /       \                max_gap(node)    = max gap_before in its subtree
 *        [10,20)     [80,90)
 *
 * Nodes are intrusive: the owner embeds a range_node and allocates it. No function here allocates
 * except through the owner's split callback. find, insert, remove and both gap searches are
 * O(log n); next and prev are amortised O(1). The set takes no lock; its owner does.
 */
#ifndef PICKET_BASE_RANGE_SET_H
#define PICKET_BASE_RANGE_SET_H

#include "base/compiler.h"

struct range_node {
    struct range_node *parent, *child[2];
    int balance; /* private to range_set.c */
    uint64_t start, end;
    uint64_t gap_before; /* private: distance to the previous node's end, or to 0 */
    uint64_t max_gap;    /* private: largest gap_before in this subtree */
};

struct range_set {
    struct range_node *root;
    size_t count;  /* nodes */
    uint64_t span; /* sum of their lengths */
};

void range_set_init(struct range_set *s);

/* The node that contains key, or NULL. */
struct range_node *range_set_find(const struct range_set *s, uint64_t key);
/* The first node with end > key (it contains key, or lies above it), or NULL. */
struct range_node *range_set_lower_bound(const struct range_set *s, uint64_t key);
struct range_node *range_set_first(const struct range_set *s);
struct range_node *range_set_last(const struct range_set *s);
struct range_node *range_node_next(const struct range_node *n);
struct range_node *range_node_prev(const struct range_node *n);
/* Whether any node intersects [start, end). */
bool range_set_intersects(const struct range_set *s, uint64_t start, uint64_t end);

/* Pre: n->start < n->end; n intersects no node of the set. */
void range_set_insert(struct range_set *s, struct range_node *n);
/* Pre: n is in the set. Its links are dead afterwards; its bounds are kept. */
void range_set_remove(struct range_set *s, struct range_node *n);
/* Changes a node's bounds in place. Pre: the new range is not empty and meets no other node. */
void range_set_resize(struct range_set *s, struct range_node *n, uint64_t start, uint64_t end);

/*
 * The lowest (up) or highest (down) start of a free range [start, start + length) within [lo, hi)
 * with start % align == 0. False if there is none.
 * Pre: length > 0; align is a power of two.
 */
MUST_CHECK bool range_set_gap_up(const struct range_set *s, uint64_t lo, uint64_t hi,
                                 uint64_t length, uint64_t align, uint64_t *start);
MUST_CHECK bool range_set_gap_down(const struct range_set *s, uint64_t lo, uint64_t hi,
                                   uint64_t length, uint64_t align, uint64_t *start);

/*
 * Splits n at key (start < key < end): n keeps [start, key); the node that `split` returns is
 * inserted as [key, end). `split` allocates and fills the owner's part of the upper half (its
 * bounds are set by the set), or returns NULL for lack of memory, and then nothing changes. Returns
 * 0 or -ENOMEM.
 */
typedef struct range_node *(*range_split_fn)(struct range_node *n, uint64_t key, void *arg);
MUST_CHECK int range_set_split(struct range_set *s, struct range_node *n, uint64_t key,
                               range_split_fn split, void *arg);
/* Splits, where needed, so that no node crosses start or end. Returns 0 or -ENOMEM (then some
 * splits may have happened, which is harmless). */
MUST_CHECK int range_set_isolate(struct range_set *s, uint64_t start, uint64_t end,
                                 range_split_fn split, void *arg);

#ifdef PICKET_DEBUG
/* Checks order, balance and augmentation of the whole tree; aborts if one is broken. */
void range_set_check(const struct range_set *s);
#endif

#endif
