#include "sentry/kernel/futex.h"
#include "sentry/kernel/futex_internal.h"
#include "sentry/kernel/kernel.h"
#include <linux/futex.h>
#include <stdlib.h>

/* ---- the table ---- */

int futex_table_create(struct futex_table **out)
{
    struct futex_table *ft = calloc(1, sizeof(*ft));
    if (!ft)
        return -ENOMEM;
    for (int i = 0; i < FUTEX_BUCKETS; i++) {
        mutex_init(&ft->buckets[i].lock, LOCK_FUTEX_BUCKET);
        list_init(&ft->buckets[i].waiters);
    }
    *out = ft;
    return 0;
}

void futex_table_destroy(struct futex_table *ft)
{
    for (int i = 0; i < FUTEX_BUCKETS; i++)
        mutex_destroy(&ft->buckets[i].lock);
    free(ft);
}

struct futex_bucket *futex_bucket(struct task *t, const struct mm_futex_key *key)
{
    uint64_t h = ((uint64_t)(uintptr_t)key->object >> 4) ^ (key->offset >> 2);
    h *= 0x9e3779b97f4a7c15ull;
    return &t->kernel->futexes->buckets[h >> 56];
}
_Static_assert(FUTEX_BUCKETS == 256, "the hash's top 8 bits");

bool futex_key_equal(const struct mm_futex_key *a, const struct mm_futex_key *b)
{
    return a->object == b->object && a->offset == b->offset;
}

void futex_key_put(struct mm_futex_key *key)
{
    if (key->identity)
        key->identity->ops->put(key->identity);
    key->identity = NULL;
}

void futex_lock_two(struct futex_bucket *a, struct futex_bucket *b)
{
    if (a > b) {
        struct futex_bucket *swap = a;
        a = b;
        b = swap;
    }
    mutex_lock(&a->lock);
    if (a != b)
        mutex_lock_nested(&b->lock);
}

void futex_unlock_two(struct futex_bucket *a, struct futex_bucket *b)
{
    mutex_unlock(&a->lock);
    if (a != b)
        mutex_unlock(&b->lock);
}

/* ---- waiters ---- */

void futex_enqueue(struct futex_bucket *b, struct futex_waiter *w)
{
    list_add_tail(&b->waiters, &w->link);
    atomic_store(&w->bucket, b);
}

void futex_wake_one(struct futex_bucket *b, struct futex_waiter *w)
{
    struct task *t = task_get(w->task);
    list_del(&w->link);
    atomic_fetch_sub(&b->count, 1);
    /* From here the sleeper may return, and w with its stack. */
    atomic_store(&w->bucket, NULL);
    task_wake(t);
    task_put(t);
}

void futex_move(struct futex_bucket *b, struct futex_waiter *w, struct futex_bucket *target,
                const struct mm_futex_key *key)
{
    futex_key_put(&w->key);
    w->key = *key;
    if (key->identity)
        key->identity->ops->get(key->identity);
    list_del(&w->link);
    atomic_fetch_sub(&b->count, 1);
    atomic_fetch_add(&target->count, 1);
    futex_enqueue(target, w);
}

/* Takes w off whatever bucket it is on by now. False: it was woken already. */
static bool dequeue(struct futex_waiter *w)
{
    struct futex_bucket *b;
    while ((b = atomic_load(&w->bucket)) != NULL) {
        MUTEX_GUARD(&b->lock);
        if (atomic_load(&w->bucket) != b)
            continue;
        list_del(&w->link);
        atomic_fetch_sub(&b->count, 1);
        atomic_store(&w->bucket, NULL);
        return true;
    }
    return false;
}

long futex_sleep(struct futex_waiter *w, const ktime_t *deadline)
{
    int err = 0;
    while (atomic_load(&w->bucket) && !err)
        err = task_block(w->task, deadline);
    if (!dequeue(w))
        err = 0;
    return err;
}

/* ---- waiting ---- */

/* Queues w if the word at addr still has the value. */
int futex_queue_if_equal(struct task *t, gva_t addr, bool shared, uint32_t value,
                         struct futex_waiter *w)
{
    int err = mm_futex_key(t->mm, addr, shared, ACCESS_READ, &w->key);
    if (err)
        return err;
    struct futex_bucket *b = futex_bucket(t, &w->key);
    atomic_fetch_add(&b->count, 1);
    {
        MUTEX_GUARD(&b->lock);
        uint32_t now;
        err = mm_atomic_load32(t->mm, addr, &now);
        if (!err && now != value)
            err = -EAGAIN;
        if (!err)
            futex_enqueue(b, w);
    }
    if (err) {
        atomic_fetch_sub(&b->count, 1);
        futex_key_put(&w->key);
    }
    return err;
}

long futex_wait(struct task *t, gva_t addr, bool shared, uint32_t value, uint32_t bitset,
                const ktime_t *deadline)
{
    if (bitset == 0)
        return -EINVAL;
    struct futex_waiter w = {.task = t, .bitset = bitset};
    int err = futex_queue_if_equal(t, addr, shared, value, &w);
    if (err)
        return err;
    long r = futex_sleep(&w, deadline);
    futex_key_put(&w.key);
    return r;
}

long futex_wait_many(struct task *t, const struct futex_waitv_entry *entries, unsigned n,
                     const ktime_t *deadline)
{
    struct futex_waiter *w = calloc(n, sizeof(*w));
    if (!w)
        return -ENOMEM;
    long r = 0;
    unsigned queued = 0;
    for (; queued < n && !r; queued++) {
        w[queued].task = t;
        w[queued].bitset = FUTEX_ANY_BIT;
        r = futex_queue_if_equal(t, entries[queued].addr, entries[queued].shared,
                                 entries[queued].value, &w[queued]);
        if (r)
            break;
    }
    while (!r) {
        bool all_asleep = true;
        for (unsigned i = 0; i < n; i++)
            all_asleep = all_asleep && atomic_load(&w[i].bucket);
        if (!all_asleep)
            break;
        r = task_block(t, deadline);
    }
    /* One that was woken counts, even if an error came as well. */
    for (unsigned i = 0; i < queued; i++) {
        if (!dequeue(&w[i]))
            r = (long)i;
        futex_key_put(&w[i].key);
    }
    free(w);
    return r;
}

/* ---- waking ---- */

/* Pre: b locked. Returns how many, or -EINVAL if somebody waits there in the PI way. */
static long wake_matching(struct futex_bucket *b, const struct mm_futex_key *key, int n,
                          uint32_t bitset)
{
    long woken = 0;
    struct futex_waiter *w, *next;
    list_for_each_safe (w, next, &b->waiters, link) {
        if (woken >= n)
            break;
        if (!futex_key_equal(&w->key, key))
            continue;
        if (w->pi || w->requeue_pi)
            return -EINVAL;
        if (!(w->bitset & bitset))
            continue;
        futex_wake_one(b, w);
        woken++;
    }
    return woken;
}

long futex_wake(struct task *t, gva_t addr, bool shared, int n, uint32_t bitset)
{
    if (bitset == 0)
        return -EINVAL;
    struct mm_futex_key key;
    int err = mm_futex_key(t->mm, addr, shared, ACCESS_READ, &key);
    if (err)
        return err;
    struct futex_bucket *b = futex_bucket(t, &key);
    long r = 0;
    if (atomic_load(&b->count) > 0) {
        MUTEX_GUARD(&b->lock);
        r = wake_matching(b, &key, MAX(n, 1), bitset);
    }
    futex_key_put(&key);
    return r;
}

/* ---- two futexes ---- */

static int two_keys(struct task *t, gva_t addr, gva_t addr2, bool shared, struct mm_futex_key *k1,
                    struct mm_futex_key *k2)
{
    int err = mm_futex_key(t->mm, addr, shared, ACCESS_READ, k1);
    if (err)
        return err;
    err = mm_futex_key(t->mm, addr2, shared, ACCESS_WRITE, k2);
    if (err)
        futex_key_put(k1);
    return err;
}

static long requeue_locked(struct futex_bucket *b1, struct futex_bucket *b2,
                           const struct mm_futex_key *k1, const struct mm_futex_key *k2, int nwake,
                           int nrequeue)
{
    long done = 0;
    struct futex_waiter *w, *next;
    list_for_each_safe (w, next, &b1->waiters, link) {
        if (done >= (long)nwake + nrequeue)
            break;
        if (!futex_key_equal(&w->key, k1))
            continue;
        if (w->pi || w->requeue_pi)
            return -EINVAL;
        if (done < nwake)
            futex_wake_one(b1, w);
        else if (!futex_key_equal(k1, k2))
            futex_move(b1, w, b2, k2);
        done++;
    }
    return done;
}

long futex_requeue(struct task *t, gva_t addr, gva_t addr2, bool shared, int nwake, int nrequeue,
                   const uint32_t *expected)
{
    if (nwake < 0 || nrequeue < 0)
        return -EINVAL;
    struct mm_futex_key k1, k2;
    int err = two_keys(t, addr, addr2, shared, &k1, &k2);
    if (err)
        return err;
    struct futex_bucket *b1 = futex_bucket(t, &k1), *b2 = futex_bucket(t, &k2);
    long r = 0;
    futex_lock_two(b1, b2);
    if (expected) {
        uint32_t now;
        r = mm_atomic_load32(t->mm, addr, &now);
        if (!r && now != *expected)
            r = -EAGAIN;
    }
    if (!r)
        r = requeue_locked(b1, b2, &k1, &k2, nwake, nrequeue);
    futex_unlock_two(b1, b2);
    futex_key_put(&k1);
    futex_key_put(&k2);
    return r;
}

static uint32_t op_set(UNUSED uint32_t word, uint32_t arg)
{
    return arg;
}
static uint32_t op_add(uint32_t word, uint32_t arg)
{
    return word + arg;
}
static uint32_t op_or(uint32_t word, uint32_t arg)
{
    return word | arg;
}
static uint32_t op_andn(uint32_t word, uint32_t arg)
{
    return word & ~arg;
}
static uint32_t op_xor(uint32_t word, uint32_t arg)
{
    return word ^ arg;
}

static bool compare_op(uint32_t cmp, int32_t old, int32_t arg)
{
    switch (cmp) {
    case FUTEX_OP_CMP_EQ:
        return old == arg;
    case FUTEX_OP_CMP_NE:
        return old != arg;
    case FUTEX_OP_CMP_LT:
        return old < arg;
    case FUTEX_OP_CMP_LE:
        return old <= arg;
    case FUTEX_OP_CMP_GT:
        return old > arg;
    default:
        return old >= arg;
    }
}

static int32_t sign_extend12(uint32_t v)
{
    return (int32_t)(v << 20) >> 20;
}

/* Does what `op` encodes to the word, and tells whether its comparison holds for the old value. */
static int apply_op(struct task *t, gva_t addr, uint32_t op, bool *holds)
{
    static uint32_t (*const functions[])(uint32_t, uint32_t) = {op_set, op_add, op_or, op_andn,
                                                                op_xor};
    uint32_t kind = op >> 28 & 7, cmp = op >> 24 & 15;
    uint32_t arg = (uint32_t)sign_extend12(op >> 12 & 0xfff), old;
    if (kind >= ARRAY_SIZE(functions) || cmp > FUTEX_OP_CMP_GE)
        return -ENOSYS;
    if (op >> 28 & FUTEX_OP_OPARG_SHIFT)
        arg = 1u << (arg & 31);
    int err = mm_atomic_rmw32(t->mm, addr, functions[kind], arg, &old);
    if (!err)
        *holds = compare_op(cmp, (int32_t)old, sign_extend12(op & 0xfff));
    return err;
}

long futex_wake_op(struct task *t, gva_t addr, gva_t addr2, bool shared, int n1, int n2,
                   uint32_t op)
{
    struct mm_futex_key k1, k2;
    int err = two_keys(t, addr, addr2, shared, &k1, &k2);
    if (err)
        return err;
    struct futex_bucket *b1 = futex_bucket(t, &k1), *b2 = futex_bucket(t, &k2);
    bool holds = false;
    futex_lock_two(b1, b2);
    long r = apply_op(t, addr2, op, &holds);
    if (!r)
        r = wake_matching(b1, &k1, MAX(n1, 1), FUTEX_ANY_BIT);
    if (r >= 0 && holds) {
        long more = wake_matching(b2, &k2, MAX(n2, 1), FUTEX_ANY_BIT);
        r = more < 0 ? more : r + more;
    }
    futex_unlock_two(b1, b2);
    futex_key_put(&k1);
    futex_key_put(&k2);
    return r;
}
