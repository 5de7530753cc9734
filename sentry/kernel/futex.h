/*
 * Futexes. A futex is a key (mm_futex_key) that hashes to a bucket; a bucket has a lock and a list
 * of waiters. The word is compared under the bucket's lock, so a waker that has changed the word
 * finds every waiter that saw the old value. Waking where nobody waits takes no lock.
 *
 * Priority inheritance: priorities mean nothing between sentry threads, so what is left of PI
 * futexes is their protocol: the word holds the owner's thread id, and the kernel hands ownership
 * over to the first waiter.
 */
#ifndef PICKET_SENTRY_KERNEL_FUTEX_H
#define PICKET_SENTRY_KERNEL_FUTEX_H

#include "memmap/memmap.h"
#include "sentry/kernel/wait.h"

struct task;
struct futex_table;

int futex_table_create(struct futex_table **out);
void futex_table_destroy(struct futex_table *ft);

#define FUTEX_ANY_BIT 0xffffffffu

/* 0, -EAGAIN (the word differs), -ETIMEDOUT, -ERESTARTSYS, -EFAULT, -EINVAL. */
long futex_wait(struct task *t, gva_t addr, bool shared, uint32_t value, uint32_t bitset,
                const ktime_t *deadline);
/* The number of waiters woken, or -errno. */
long futex_wake(struct task *t, gva_t addr, bool shared, int n, uint32_t bitset);
/* expected: NULL for plain FUTEX_REQUEUE. */
long futex_requeue(struct task *t, gva_t addr, gva_t addr2, bool shared, int nwake, int nrequeue,
                   const uint32_t *expected);
long futex_wake_op(struct task *t, gva_t addr, gva_t addr2, bool shared, int n1, int n2,
                   uint32_t op);
struct futex_waitv_entry {
    gva_t addr;
    uint32_t value;
    bool shared;
};
#define FUTEX_WAITV_LIMIT 128
/* The index of a futex that was woken, or -errno. */
long futex_wait_many(struct task *t, const struct futex_waitv_entry *entries, unsigned n,
                     const ktime_t *deadline);

long futex_lock_pi(struct task *t, gva_t addr, bool shared, const ktime_t *deadline, bool try);
long futex_unlock_pi(struct task *t, gva_t addr, bool shared);
/* Waits at addr until requeued to the PI futex addr2 and owner of it. */
long futex_wait_requeue_pi(struct task *t, gva_t addr, bool shared, uint32_t value, uint32_t bitset,
                           gva_t addr2, const ktime_t *deadline);
long futex_cmp_requeue_pi(struct task *t, gva_t addr, gva_t addr2, bool shared, int nrequeue,
                          uint32_t expected);
/* t ends and owns PI futexes that others wait for: they inherit them. */
void futex_exit_pi(struct task *t);

#endif
