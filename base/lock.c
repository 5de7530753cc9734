#include "base/lock.h"
#include "base/log.h"

#ifdef __SANITIZE_THREAD__
/*
 * Of two directories that neither holds the other, a rename locks the one with the lower address
 * first; when one comes to hold the other, that order may turn. Nobody moves a directory while a
 * rename has locked two (super_block.rename_lock), so no two threads ever see both orders at once.
 */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "deadlock:rename_lock\n";
}
#endif

static void must(int err, const char *what)
{
    if (err)
        panic("%s: error %d", what, err);
}

void mutex_init(struct mutex *m, UNUSED enum lock_rank rank)
{
    must(pthread_mutex_init(&m->m, NULL), "pthread_mutex_init");
#ifdef PICKET_DEBUG
    m->rank = rank;
#endif
}

void mutex_destroy(struct mutex *m)
{
    must(pthread_mutex_destroy(&m->m), "pthread_mutex_destroy");
}

void rwlock_init(struct rwlock *l, UNUSED enum lock_rank rank)
{
    must(pthread_rwlock_init(&l->l, NULL), "pthread_rwlock_init");
#ifdef PICKET_DEBUG
    l->rank = rank;
#endif
}

void rwlock_destroy(struct rwlock *l)
{
    must(pthread_rwlock_destroy(&l->l), "pthread_rwlock_destroy");
}

#ifdef PICKET_DEBUG

#define LOCKS_HELD_MAX 64

static const struct {
    const char *name, *what;
} rank_info[] = {
#define LOCK_RANK_INFO(name, what) {#name, what},
    LOCK_RANKS(LOCK_RANK_INFO)
#undef LOCK_RANK_INFO
};

/* What this thread holds, oldest first. Diagnostics only: no kernel state lives here. */
static _Thread_local struct {
    unsigned n;
    struct {
        const void *lock;
        enum lock_rank rank;
    } at[LOCKS_HELD_MAX];
} held;

void lock_check_acquire(const void *lock, enum lock_rank rank, enum lock_how how)
{
    if ((unsigned)rank >= LOCK_RANK_COUNT)
        panic("lock %p was never initialised (rank %d)", lock, (int)rank);
    if (held.n == LOCKS_HELD_MAX)
        panic("a thread holds %d locks and takes %s", LOCKS_HELD_MAX, rank_info[rank].name);
    for (unsigned i = 0; i < held.n; i++) {
        enum lock_rank have = held.at[i].rank;
        if (held.at[i].lock == lock)
            panic("lock %p of rank %s (%s) is already held by this thread", lock,
                  rank_info[rank].name, rank_info[rank].what);
        if (how == LOCK_TRIED || have < rank || (have == rank && how == LOCK_NESTED))
            continue;
        panic("lock order: %s (%s) taken while %s (%s) is held", rank_info[rank].name,
              rank_info[rank].what, rank_info[have].name, rank_info[have].what);
    }
    held.at[held.n].lock = lock;
    held.at[held.n++].rank = rank;
}

/* Locks may be released in any order. */
void lock_check_release(const void *lock)
{
    for (unsigned i = held.n; i-- > 0;) {
        if (held.at[i].lock != lock)
            continue;
        for (held.n--; i < held.n; i++)
            held.at[i] = held.at[i + 1];
        return;
    }
    panic("lock %p released by a thread that does not hold it", lock);
}

void lock_assert_held(const void *lock)
{
    for (unsigned i = 0; i < held.n; i++)
        if (held.at[i].lock == lock)
            return;
    panic("lock %p should be held here", lock);
}

#endif
