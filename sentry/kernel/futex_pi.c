/*
 * PI futexes. The word is 0, or the owner's thread id with FUTEX_WAITERS if somebody sleeps here,
 * and FUTEX_OWNER_DIED if an owner ended without unlocking. Ownership is always handed over under
 * the bucket's lock: a woken waiter is the owner.
 */
#include "sentry/kernel/futex_internal.h"
#include "sentry/kernel/kernel.h"
#include <linux/futex.h>

static struct futex_waiter *first_pi_waiter(struct futex_bucket *b, const struct mm_futex_key *key)
{
    struct futex_waiter *w;
    list_for_each (w, &b->waiters, link) {
        if (w->pi && futex_key_equal(&w->key, key))
            return w;
    }
    return NULL;
}

static int count_pi_waiters(struct futex_bucket *b, const struct mm_futex_key *key)
{
    struct futex_waiter *w;
    int n = 0;
    list_for_each (w, &b->waiters, link) {
        n += w->pi && futex_key_equal(&w->key, key);
    }
    return n;
}

/* Both with the bucket locked. */
static void set_owner(struct futex_waiter *w, struct task *owner)
{
    if (owner)
        atomic_fetch_add(&task_get(owner)->pi_waiters, 1);
    struct task *old = w->owner;
    w->owner = owner;
    if (old) {
        atomic_fetch_sub(&old->pi_waiters, 1);
        task_put(old);
    }
}

static void set_owner_of_all(struct futex_bucket *b, const struct mm_futex_key *key,
                             struct task *owner)
{
    struct futex_waiter *w;
    list_for_each (w, &b->waiters, link) {
        if (w->pi && futex_key_equal(&w->key, key))
            set_owner(w, owner);
    }
}

/*
 * Takes the futex for t, or finds its owner. Bucket locked. Returns 1: t owns it; 0: *owner has it,
 * (reference taken), and FUTEX_WAITERS is set; -errno.
 */
static long acquire_or_find(struct task *t, struct mm *mm, gva_t addr, bool others, bool try,
                            struct task **owner)
{
    for (;;) {
        uint32_t word, old, want;
        int err = mm_atomic_load32(mm, addr, &word);
        if (err)
            return err;
        uint32_t tid = word & FUTEX_TID_MASK;
        if (tid == (uint32_t)t->own_tid)
            return -EDEADLK;
        struct task *found = NULL;
        if (tid == 0) {
            want = (uint32_t)t->own_tid | (word & FUTEX_OWNER_DIED) | (others ? FUTEX_WAITERS : 0);
        } else {
            if (try)
                return -EAGAIN;
            found = task_find_for(t, (pid_t)tid);
            if (!found)
                return -ESRCH;
            want = word | FUTEX_WAITERS;
        }
        err = mm_atomic_cmpxchg32(mm, addr, word, want, &old);
        if (!err && old == word) {
            *owner = found;
            return found ? 0 : 1;
        }
        task_put(found);
        if (err)
            return err;
    }
}

long futex_lock_pi(struct task *t, gva_t addr, bool shared, const ktime_t *deadline, bool try)
{
    struct futex_waiter w = {.task = t, .bitset = FUTEX_ANY_BIT, .pi = true, .addr = addr};
    int err = mm_futex_key(t->mm, addr, shared, ACCESS_WRITE, &w.key);
    if (err)
        return err;
    struct futex_bucket *b = futex_bucket(t, &w.key);
    struct task *owner = NULL;
    long r;
    atomic_fetch_add(&b->count, 1);
    {
        MUTEX_GUARD(&b->lock);
        bool others = first_pi_waiter(b, &w.key) != NULL;
        r = acquire_or_find(t, t->mm, addr, others, try, &owner);
        if (r == 0) {
            set_owner(&w, owner);
            futex_enqueue(b, &w);
        }
    }
    task_put(owner);
    if (r != 0) {
        atomic_fetch_sub(&b->count, 1);
        futex_key_put(&w.key);
        return r == 1 ? 0 : r;
    }
    r = futex_sleep(&w, deadline);
    set_owner(&w, NULL);
    futex_key_put(&w.key);
    return r == -ERESTARTSYS ? -ERESTARTNOINTR : r;
}

/* Hands the futex to its first waiter, or frees it. Bucket locked. */
static long hand_over(struct task *t, struct mm *mm, struct futex_bucket *b,
                      const struct mm_futex_key *key, gva_t addr, uint32_t died)
{
    for (;;) {
        uint32_t word, old;
        int err = mm_atomic_load32(mm, addr, &word);
        if (err)
            return err;
        if ((word & FUTEX_TID_MASK) != (uint32_t)t->own_tid)
            return -EPERM;
        struct futex_waiter *w = first_pi_waiter(b, key);
        uint32_t want = died;
        if (w)
            want |= (uint32_t)w->task->own_tid | (count_pi_waiters(b, key) > 1 ? FUTEX_WAITERS : 0);
        err = mm_atomic_cmpxchg32(mm, addr, word, want, &old);
        if (err)
            return err;
        if (old != word)
            continue;
        if (w) {
            set_owner_of_all(b, key, w->task);
            futex_wake_one(b, w);
        }
        return 0;
    }
}

long futex_unlock_pi(struct task *t, gva_t addr, bool shared)
{
    struct mm_futex_key key;
    int err = mm_futex_key(t->mm, addr, shared, ACCESS_WRITE, &key);
    if (err)
        return err;
    struct futex_bucket *b = futex_bucket(t, &key);
    long r;
    {
        MUTEX_GUARD(&b->lock);
        r = hand_over(t, t->mm, b, &key, addr, 0);
    }
    futex_key_put(&key);
    return r;
}

/* ---- requeueing onto a PI futex ---- */

long futex_wait_requeue_pi(struct task *t, gva_t addr, bool shared, uint32_t value, uint32_t bitset,
                           gva_t addr2, const ktime_t *deadline)
{
    if (bitset == 0 || addr == addr2)
        return -EINVAL;
    struct mm_futex_key target;
    int err = mm_futex_key(t->mm, addr2, shared, ACCESS_WRITE, &target);
    if (err)
        return err;
    struct futex_waiter w = {
        .task = t, .bitset = bitset, .addr = addr2, .requeue_pi = &target, .requeue_addr = addr2};
    err = futex_queue_if_equal(t, addr, shared, value, &w);
    if (err) {
        futex_key_put(&target);
        return err;
    }
    long r = futex_sleep(&w, deadline);
    set_owner(&w, NULL);
    /* Woken, but never moved: the futex is not ours. */
    if (r == 0 && w.requeue_pi)
        r = -EAGAIN;
    futex_key_put(&w.key);
    futex_key_put(&target);
    return r == -ERESTARTSYS ? (w.requeue_pi ? -ERESTARTNOINTR : -EAGAIN) : r;
}

/* Gives the target to w, or lets it wait there. Both buckets locked. 1: w owns it and runs. */
static long requeue_one(struct task *t, struct futex_bucket *b1, struct futex_bucket *b2,
                        struct futex_waiter *w, const struct mm_futex_key *k2, gva_t addr2)
{
    struct task *owner = NULL;
    bool others = first_pi_waiter(b2, k2) != NULL;
    long r = acquire_or_find(w->task, t->mm, addr2, others, false, &owner);
    if (r < 0)
        return r;
    w->requeue_pi = NULL;
    if (r == 1) {
        set_owner_of_all(b2, k2, w->task);
        futex_wake_one(b1, w);
        return 1;
    }
    w->pi = true;
    futex_move(b1, w, b2, k2);
    set_owner(w, owner);
    task_put(owner);
    return 0;
}

long futex_cmp_requeue_pi(struct task *t, gva_t addr, gva_t addr2, bool shared, int nrequeue,
                          uint32_t expected)
{
    if (nrequeue < 0 || addr == addr2)
        return -EINVAL;
    struct mm_futex_key k1, k2;
    int err = mm_futex_key(t->mm, addr, shared, ACCESS_READ, &k1);
    if (err)
        return err;
    err = mm_futex_key(t->mm, addr2, shared, ACCESS_WRITE, &k2);
    if (err) {
        futex_key_put(&k1);
        return err;
    }
    struct futex_bucket *b1 = futex_bucket(t, &k1), *b2 = futex_bucket(t, &k2);
    uint32_t now;
    futex_lock_two(b1, b2);
    long done = 0, r = mm_atomic_load32(t->mm, addr, &now);
    if (!r && now != expected)
        r = -EAGAIN;
    struct futex_waiter *w, *next;
    list_for_each_safe (w, next, &b1->waiters, link) {
        if (r < 0 || done > nrequeue)
            break;
        if (!futex_key_equal(&w->key, &k1))
            continue;
        if (!w->requeue_pi || !futex_key_equal(w->requeue_pi, &k2)) {
            r = -EINVAL;
            break;
        }
        r = requeue_one(t, b1, b2, w, &k2, addr2);
        if (r >= 0)
            done++;
    }
    futex_unlock_two(b1, b2);
    futex_key_put(&k1);
    futex_key_put(&k2);
    return r < 0 && !done ? r : done;
}

/* ---- an owner ends ---- */

/* One futex of b that t owns and others wait for. False: none. */
static bool inherit_one(struct task *t, struct futex_bucket *b)
{
    MUTEX_GUARD(&b->lock);
    struct futex_waiter *w;
    list_for_each (w, &b->waiters, link) {
        if (!w->pi || w->owner != t)
            continue;
        struct mm_futex_key key = w->key;
        struct mm *mm = task_get_mm(w->task);
        if (!mm || hand_over(t, mm, b, &key, w->addr, FUTEX_OWNER_DIED) != 0)
            set_owner_of_all(b, &key, NULL);
        if (mm)
            mm_user_put(mm);
        return true;
    }
    return false;
}

void futex_exit_pi(struct task *t)
{
    if (atomic_load(&t->pi_waiters) == 0)
        return;
    for (int i = 0; i < FUTEX_BUCKETS; i++) {
        while (inherit_one(t, &t->kernel->futexes->buckets[i])) {
        }
    }
}
