/*
 * What a thread's memory still owes to others when it leaves: robust futexes (set_robust_list(2))
 * and the word that pthread_join waits for. The list is the application's: it may be long, circular
 * or broken, and then we stop.
 */
#include "sentry/kernel/futex.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include <linux/futex.h>

struct robust_head {
    uint64_t next;
    int64_t futex_offset;
    uint64_t pending;
};

#define PI_BIT 1ull

/* The word at addr belonged to t, perhaps. */
static void futex_death(struct task *t, gva_t addr, bool pi, bool pending)
{
    uint32_t word, old;
    if ((addr & 3) || mm_atomic_load32(t->mm, addr, &word) != 0)
        return;
    /* Ended between unlocking and waking: the next waiter must not sleep for ever. */
    if (pending && !pi && !(word & FUTEX_TID_MASK)) {
        (void)futex_wake(t, addr, true, 1, FUTEX_ANY_BIT);
        return;
    }
    do {
        if ((word & FUTEX_TID_MASK) != (uint32_t)t->own_tid)
            return;
        uint32_t want = (word & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
        if (mm_atomic_cmpxchg32(t->mm, addr, word, want, &old) != 0)
            return;
        if (old == word)
            break;
        word = old;
    } while (true);
    if (!pi && (word & FUTEX_WAITERS))
        (void)futex_wake(t, addr, true, 1, FUTEX_ANY_BIT);
}

static void walk_robust_list(struct task *t)
{
    struct robust_head head;
    if (MM_COPY_IN(t->mm, &head, t->robust_list) != 0)
        return;
    uint64_t entry = head.next;
    for (int i = 0; i < ROBUST_LIST_LIMIT; i++) {
        gva_t at = entry & ~PI_BIT;
        if (at == t->robust_list)
            break;
        uint64_t next;
        bool more = MM_COPY_IN(t->mm, &next, at) == 0;
        if (entry != head.pending)
            futex_death(t, at + (uint64_t)head.futex_offset, entry & PI_BIT, false);
        if (!more)
            break;
        entry = next;
    }
    if (head.pending) {
        gva_t at = (head.pending & ~PI_BIT) + (uint64_t)head.futex_offset;
        futex_death(t, at, head.pending & PI_BIT, true);
    }
}

void task_release_user_state(struct task *t)
{
    if (!t->mm)
        return;
    futex_exit_pi(t);
    if (t->robust_list)
        walk_robust_list(t);
    t->robust_list = 0;
    if (t->clear_child_tid) {
        uint32_t zero = 0;
        if (MM_COPY_OUT(t->mm, t->clear_child_tid, &zero) == 0)
            (void)futex_wake(t, t->clear_child_tid, true, 1, FUTEX_ANY_BIT);
    }
    t->clear_child_tid = 0;
}
