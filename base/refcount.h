/*
 * Reference counts. Taking a reference needs one already held, except through
 * ref_get_unless_zero, which is for weak lookups (a table that does not own).
 * Overflow and underflow end the sentry: both are bugs that an attacker would use.
 */
#ifndef PICKET_BASE_REFCOUNT_H
#define PICKET_BASE_REFCOUNT_H

#include "base/compiler.h"
#include <stdatomic.h>
#include <stdlib.h>

struct refcount {
    atomic_int n;
};

static inline void ref_init(struct refcount *r)
{
    atomic_store_explicit(&r->n, 1, memory_order_relaxed);
}
static inline void ref_get(struct refcount *r)
{
    if (unlikely(atomic_fetch_add_explicit(&r->n, 1, memory_order_relaxed) <= 0))
        abort();
}
MUST_CHECK static inline bool ref_get_unless_zero(struct refcount *r)
{
    int n = atomic_load_explicit(&r->n, memory_order_relaxed);
    do {
        if (n == 0)
            return false;
        if (unlikely(n < 0 || n == INT32_MAX))
            abort();
    } while (!atomic_compare_exchange_weak_explicit(&r->n, &n, n + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}
/* True if that was the last reference: the caller frees the object. */
MUST_CHECK static inline bool ref_put(struct refcount *r)
{
    int n = atomic_fetch_sub_explicit(&r->n, 1, memory_order_acq_rel);
    if (unlikely(n <= 0))
        abort();
    return n == 1;
}
static inline int ref_read(const struct refcount *r)
{
    return atomic_load_explicit(&r->n, memory_order_relaxed);
}

#endif
