/* What futex.c and futex_pi.c share. */
#ifndef PICKET_SENTRY_KERNEL_FUTEX_INTERNAL_H
#define PICKET_SENTRY_KERNEL_FUTEX_INTERNAL_H

#include "base/list.h"
#include "base/lock.h"
#include "mm/mm.h"
#include "sentry/kernel/futex.h"

#define FUTEX_BUCKETS 256

struct futex_bucket {
    struct mutex lock; /* FUTEX_BUCKET */
    struct list_head waiters;
    _Atomic int count; /* raised before the word is read: 0 means that nobody can be missed */
};

struct futex_table {
    struct futex_bucket buckets[FUTEX_BUCKETS];
};

/* Lives on the sleeper's stack. */
struct futex_waiter {
    struct list_head link;
    _Atomic(struct futex_bucket *) bucket; /* NULL: woken */
    struct mm_futex_key key;               /* owns a reference on key.identity */
    struct task *task;
    uint32_t bitset;
    /* PI: what we wait for is owned by `owner` (its pi_waiters counts us). */
    bool pi;
    struct task *owner; /* referenced */
    gva_t addr;         /* in the waiter's mm */
    /* FUTEX_WAIT_REQUEUE_PI: the only futex that we may be moved to. */
    const struct mm_futex_key *requeue_pi;
    gva_t requeue_addr;
};

struct futex_bucket *futex_bucket(struct task *t, const struct mm_futex_key *key);
bool futex_key_equal(const struct mm_futex_key *a, const struct mm_futex_key *b);
void futex_key_put(struct mm_futex_key *key);
/* Both buckets, in order; they may be the same. */
void futex_lock_two(struct futex_bucket *a, struct futex_bucket *b);
void futex_unlock_two(struct futex_bucket *a, struct futex_bucket *b);
void futex_enqueue(struct futex_bucket *b, struct futex_waiter *w);
/* Takes w off its bucket, whose lock is held, and wakes its task; w is gone afterwards. */
void futex_wake_one(struct futex_bucket *b, struct futex_waiter *w);
/* Moves w from b to target (both locked) under a new key. */
void futex_move(struct futex_bucket *b, struct futex_waiter *w, struct futex_bucket *target,
                const struct mm_futex_key *key);
/* Queues w if the word at addr still has the value; otherwise -EAGAIN. */
int futex_queue_if_equal(struct task *t, gva_t addr, bool shared, uint32_t value,
                         struct futex_waiter *w);
/* Sleeps until woken: 0 if so; otherwise -errno, and w is off its bucket. */
long futex_sleep(struct futex_waiter *w, const ktime_t *deadline);

#endif
