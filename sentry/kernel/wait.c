/*
 * Wait queues and the one way to sleep.
 *
 * task.wake_token has three values. A waker leaves WOKEN; only if the sleeper had announced itself
 * (ASLEEP) does that cost a host call:
 *
 *      AWAKE --task_wake--> WOKEN --task_block--> AWAKE
 *      AWAKE --task_block--> ASLEEP --task_wake--> WOKEN (and a host wake-up)
 *
 * What interrupts a sleep is announced in task.work before the token is left, and task_block looks
 * at work after it has announced itself: one of the two sees the other.
 */
#include "sentry/kernel/wait.h"
#include "sentry/kernel/host_futex.h"
#include "sentry/kernel/task.h"
#include "sentry/kernel/timer.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/fasync.h"
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { TOKEN_AWAKE, TOKEN_WOKEN, TOKEN_ASLEEP };

#define INTERRUPTING (TASK_WORK_SIGNAL | TASK_WORK_STOP | TASK_WORK_EXIT | TASK_WORK_TRAP)
#define NSEC_PER_SEC 1000000000ll

int host_futex_wait(_Atomic uint32_t *word, uint32_t value, const ktime_t *deadline)
{
    struct timespec ts;
    if (deadline) {
        ktime_t at = MAX(*deadline, (ktime_t)0);
        ts.tv_sec = at / NSEC_PER_SEC;
        ts.tv_nsec = at % NSEC_PER_SEC;
    }
    long r = syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value, deadline ? &ts : NULL, NULL,
                     FUTEX_BITSET_MATCH_ANY);
    return r < 0 && errno == ETIMEDOUT ? -ETIMEDOUT : 0;
}

void host_futex_wake(_Atomic uint32_t *word, int n)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

void wait_queue_init(struct wait_queue *q)
{
    mutex_init(&q->lock, LOCK_WAIT_QUEUE);
    list_init(&q->entries);
}

void wait_queue_destroy(struct wait_queue *q)
{
    mutex_destroy(&q->lock);
}

static bool wake_task_entry(struct wait_entry *e, UNUSED uint32_t events)
{
    task_wake(e->owner);
    return true;
}

void wait_entry_init_task(struct wait_entry *e, struct task *t, uint32_t mask)
{
    *e = (struct wait_entry){.mask = mask, .wake = wake_task_entry, .owner = t};
    list_init(&e->link);
}

void wait_add(struct wait_queue *q, struct wait_entry *e)
{
    MUTEX_GUARD(&q->lock);
    /* Exclusive entries go last, so that everybody who shares a wake-up gets it. */
    if (e->exclusive)
        list_add_tail(&q->entries, &e->link);
    else
        list_add(&q->entries, &e->link);
}

void wait_remove(struct wait_queue *q, struct wait_entry *e)
{
    MUTEX_GUARD(&q->lock);
    list_del(&e->link);
}

/* q->lock held. Returns whether any entry took the wake-up. */
static bool wake_entries(struct wait_queue *q, uint32_t events, int n)
{
    struct wait_entry *e, *next;
    bool taken = false;
    list_for_each_safe (e, next, &q->entries, link) {
        if (!(events & (e->mask | POLLERR | POLLHUP)) || !e->wake(e, events))
            continue;
        taken = true;
        if (e->exclusive && --n <= 0)
            break;
    }
    return taken;
}

void wait_wake_n(struct wait_queue *q, uint32_t events, int n)
{
    MUTEX_GUARD(&q->lock);
    wake_entries(q, events, n);
}

void wait_wake(struct wait_queue *q, uint32_t events)
{
    wait_wake_n(q, events, 1);
}

bool wait_wake_nested(struct wait_queue *q, uint32_t events)
{
    mutex_lock_nested(&q->lock);
    bool taken = wake_entries(q, events, 1);
    mutex_unlock(&q->lock);
    return taken;
}

void task_wake(struct task *t)
{
    if (atomic_exchange(&t->wake_token, TOKEN_WOKEN) == TOKEN_ASLEEP)
        host_futex_wake(&t->wake_token, 1);
}

bool task_interrupted(struct task *t)
{
    return atomic_load(&t->work) & INTERRUPTING;
}

static int sleep_on_host(struct task *t, const ktime_t *deadline, uint32_t interrupts)
{
    if (t->context && t->context->ops->will_block)
        t->context->ops->will_block(t->context);
    atomic_store(&t->state, TASK_SLEEPING);
    int err = 0;
    while (atomic_load(&t->wake_token) == TOKEN_ASLEEP && !err) {
        if (atomic_load(&t->work) & interrupts)
            break;
        err = host_futex_wait(&t->wake_token, TOKEN_ASLEEP, deadline);
    }
    atomic_store(&t->state, TASK_RUNNING);
    if (t->context && t->context->ops->did_unblock)
        t->context->ops->did_unblock(t->context);
    return err;
}

static int block(struct task *t, const ktime_t *deadline, uint32_t interrupts)
{
    uint32_t awake = TOKEN_AWAKE;
    int err = 0;
    if (unlikely(atomic_load(&t->work) & TASK_WORK_ASYNC))
        fasync_flush();
    if (atomic_compare_exchange_strong(&t->wake_token, &awake, TOKEN_ASLEEP)) {
        if (unlikely(t->strace != NULL))
            strace_block(t);
        err = sleep_on_host(t, deadline, interrupts);
        atomic_fetch_add_explicit(&t->nvcsw, 1, memory_order_relaxed);
    }
    /* A wake-up beats the deadline; an interruption beats neither. */
    if (atomic_exchange(&t->wake_token, TOKEN_AWAKE) == TOKEN_WOKEN)
        err = 0;
    if (!err && atomic_load(&t->work) & interrupts)
        return -ERESTARTSYS;
    return err;
}

int task_block(struct task *t, const ktime_t *deadline)
{
    return block(t, deadline, INTERRUPTING);
}

int task_block_killable(struct task *t, const ktime_t *deadline)
{
    return block(t, deadline, TASK_WORK_EXIT);
}

void task_block_uninterruptible(struct task *t)
{
    (void)block(t, NULL, 0);
}

void task_kick(struct task *t, uint32_t work)
{
    atomic_fetch_or(&t->work, work);
    task_wake(t);
    MUTEX_GUARD(&t->lock);
    if (t->context)
        t->context->ops->interrupt(t->context);
}
