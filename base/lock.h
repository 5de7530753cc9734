/*
 * Mutexes and reader-writer locks that know their place in lock_order.h.
 * Release builds compile the rank away. Locks are not recursive.
 */
#ifndef PICKET_BASE_LOCK_H
#define PICKET_BASE_LOCK_H

#include "base/compiler.h"
#include "base/lock_order.h"
#include <pthread.h>

struct mutex {
    pthread_mutex_t m;
#ifdef PICKET_DEBUG
    enum lock_rank rank;
#endif
};

struct rwlock {
    pthread_rwlock_t l;
#ifdef PICKET_DEBUG
    enum lock_rank rank;
#endif
};

void mutex_init(struct mutex *m, enum lock_rank rank);
void mutex_destroy(struct mutex *m);
void rwlock_init(struct rwlock *l, enum lock_rank rank);
void rwlock_destroy(struct rwlock *l);

#ifdef PICKET_DEBUG
enum lock_how {
    LOCK_IN_ORDER, /* every held lock has a lower rank */
    LOCK_NESTED,   /* held locks of the same rank are allowed too */
    LOCK_TRIED,    /* did not wait, so it may be out of order */
};
/* Bookkeeping of this thread's held locks; a violation aborts and names both ranks. */
void lock_check_acquire(const void *lock, enum lock_rank rank, enum lock_how how);
void lock_check_release(const void *lock);
/* Aborts unless this thread holds the lock. */
void lock_assert_held(const void *lock);
#define LOCK_ACQUIRED(l, how) lock_check_acquire(l, (l)->rank, how)
#define LOCK_RELEASED(l) lock_check_release(l)
#else
#define LOCK_ACQUIRED(l, how) ((void)0)
#define LOCK_RELEASED(l) ((void)0)
static inline void lock_assert_held(UNUSED const void *lock)
{
}
#endif

static inline void mutex_lock(struct mutex *m)
{
    LOCK_ACQUIRED(m, LOCK_IN_ORDER);
    pthread_mutex_lock(&m->m);
}
/* A second lock of a rank already held; the caller states the order between the two. */
static inline void mutex_lock_nested(struct mutex *m)
{
    LOCK_ACQUIRED(m, LOCK_NESTED);
    pthread_mutex_lock(&m->m);
}
MUST_CHECK static inline bool mutex_trylock(struct mutex *m)
{
    if (pthread_mutex_trylock(&m->m) != 0)
        return false;
    LOCK_ACQUIRED(m, LOCK_TRIED);
    return true;
}
static inline void mutex_unlock(struct mutex *m)
{
    LOCK_RELEASED(m);
    pthread_mutex_unlock(&m->m);
}
static inline void rwlock_read(struct rwlock *l)
{
    LOCK_ACQUIRED(l, LOCK_IN_ORDER);
    pthread_rwlock_rdlock(&l->l);
}
static inline void rwlock_write(struct rwlock *l)
{
    LOCK_ACQUIRED(l, LOCK_IN_ORDER);
    pthread_rwlock_wrlock(&l->l);
}
static inline void rwlock_write_nested(struct rwlock *l)
{
    LOCK_ACQUIRED(l, LOCK_NESTED);
    pthread_rwlock_wrlock(&l->l);
}
static inline void rwlock_unlock(struct rwlock *l)
{
    LOCK_RELEASED(l);
    pthread_rwlock_unlock(&l->l);
}

static inline void mutex_unlock_cleanup(struct mutex **m)
{
    if (*m)
        mutex_unlock(*m);
}
/* Holds the mutex until the end of the enclosing block. */
#define MUTEX_GUARD(mutex_ptr)                                                                     \
    struct mutex *CONCAT(guard_, __LINE__) CLEANUP(mutex_unlock_cleanup) UNUSED =                  \
        (mutex_lock(mutex_ptr), (mutex_ptr))

#endif
