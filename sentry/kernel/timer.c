/*
 * The timer thread and its heap.
 *
 * A pairing heap: the root has the earliest deadline; every timer has a list of children that are
 * due no earlier. Arming is O(1); taking the root or any other timer out is O(log n) amortised.
 *
 *          root(5)
 *           | child
 *          (9) -next-> (7) -next-> (6)
 *           | child
 *          (12)
 */
#include "sentry/kernel/timer.h"
#include "sentry/kernel/errno.h"
#include "sentry/kernel/host_futex.h"
#include "sentry/kernel/host_thread.h"
#include "sentry/kernel/kernel.h"
#include <stdlib.h>
#include <time.h>

struct timer_service {
    struct mutex lock; /* TIMER */
    struct ktimer *root;
    struct ktimer *running;       /* whose fn is being called */
    _Atomic uint32_t running_seq; /* futex: counts the ends of calls */
    bool started, quit;
    _Atomic uint32_t wake_seq; /* futex: the earliest deadline changed */
    pthread_t thread;
};

ktime_t ktime_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

ktime_t ktime_after(int64_t ns)
{
    ktime_t r;
    return __builtin_add_overflow(ktime_now(), ns, &r) ? INT64_MAX : r;
}

/* ---- the heap ---- */

static struct ktimer *meld(struct ktimer *a, struct ktimer *b)
{
    if (!a)
        return b;
    if (!b)
        return a;
    if (b->deadline < a->deadline) {
        struct ktimer *swap = a;
        a = b;
        b = swap;
    }
    b->prev = a;
    b->next = a->child;
    if (a->child)
        a->child->prev = b;
    a->child = b;
    return a;
}

/* Melds a list of siblings into one heap: pairs from the left, then everything from the right. */
static struct ktimer *meld_siblings(struct ktimer *first)
{
    struct ktimer *pairs = NULL;
    while (first) {
        struct ktimer *a = first, *b = a->next;
        first = b ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b)
            b->next = b->prev = NULL;
        struct ktimer *pair = meld(a, b);
        pair->next = pairs;
        pairs = pair;
    }
    struct ktimer *root = NULL;
    while (pairs) {
        struct ktimer *next = pairs->next;
        pairs->next = NULL;
        root = meld(root, pairs);
        pairs = next;
    }
    return root;
}

static void heap_remove(struct timer_service *s, struct ktimer *t)
{
    struct ktimer *children = meld_siblings(t->child);
    t->child = NULL;
    if (t == s->root) {
        s->root = children;
    } else {
        if (t->prev->child == t)
            t->prev->child = t->next;
        else
            t->prev->next = t->next;
        if (t->next)
            t->next->prev = t->prev;
        s->root = meld(s->root, children);
    }
    t->next = t->prev = NULL;
    t->armed = false;
}

/* ---- the thread ---- */

static void kick_thread(struct timer_service *s)
{
    atomic_fetch_add(&s->wake_seq, 1);
    host_futex_wake(&s->wake_seq, 1);
}

/* Calls what is due. Returns with *deadline the next one; false: none. */
static bool run_due(struct timer_service *s, ktime_t *deadline)
{
    mutex_lock(&s->lock);
    while (s->root && !s->quit) {
        struct ktimer *t = s->root;
        if (t->deadline > ktime_now()) {
            *deadline = t->deadline;
            mutex_unlock(&s->lock);
            return true;
        }
        heap_remove(s, t);
        s->running = t;
        mutex_unlock(&s->lock);
        t->fn(t);
        /* t may be gone now, unless somebody waits for it in ktimer_cancel. */
        mutex_lock(&s->lock);
        s->running = NULL;
        atomic_fetch_add(&s->running_seq, 1);
        host_futex_wake(&s->running_seq, INT32_MAX);
    }
    mutex_unlock(&s->lock);
    return false;
}

static void *timer_thread(void *arg)
{
    struct timer_service *s = arg;
    for (;;) {
        uint32_t seq = atomic_load(&s->wake_seq);
        ktime_t deadline;
        bool have = run_due(s, &deadline);
        {
            MUTEX_GUARD(&s->lock);
            if (s->quit)
                return NULL;
        }
        host_futex_wait(&s->wake_seq, seq, have ? &deadline : NULL);
    }
}

int ktimer_prepare(struct kernel *k)
{
    struct timer_service *s = k->timers;
    MUTEX_GUARD(&s->lock);
    if (s->started)
        return 0;
    int err = host_thread_spawn(&s->thread, timer_thread, s);
    s->started = err == 0;
    return err;
}

void ktimer_init(struct ktimer *timer, struct kernel *k, void (*fn)(struct ktimer *timer))
{
    *timer = (struct ktimer){.service = k->timers, .fn = fn};
}

void ktimer_arm(struct ktimer *timer, ktime_t deadline)
{
    struct timer_service *s = timer->service;
    bool first;
    {
        MUTEX_GUARD(&s->lock);
        if (timer->armed)
            heap_remove(s, timer);
        timer->deadline = deadline;
        timer->armed = true;
        s->root = meld(s->root, timer);
        first = s->root == timer;
    }
    if (first)
        kick_thread(s);
}

bool ktimer_disarm(struct ktimer *timer)
{
    struct timer_service *s = timer->service;
    MUTEX_GUARD(&s->lock);
    bool armed = timer->armed;
    if (armed)
        heap_remove(s, timer);
    return armed;
}

bool ktimer_cancel(struct ktimer *timer)
{
    struct timer_service *s = timer->service;
    bool armed = false;
    for (;;) {
        uint32_t seq;
        {
            MUTEX_GUARD(&s->lock);
            if (timer->armed) {
                heap_remove(s, timer);
                armed = true;
            }
            if (s->running != timer)
                return armed;
            seq = atomic_load(&s->running_seq);
        }
        host_futex_wait(&s->running_seq, seq, NULL);
    }
}

int timer_service_create(UNUSED struct kernel *k, struct timer_service **out)
{
    struct timer_service *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    mutex_init(&s->lock, LOCK_TIMER);
    *out = s;
    return 0;
}

void timer_service_destroy(struct timer_service *s)
{
    bool started;
    {
        MUTEX_GUARD(&s->lock);
        s->quit = true;
        started = s->started;
    }
    if (started) {
        kick_thread(s);
        pthread_join(s->thread, NULL);
    }
    mutex_destroy(&s->lock);
    free(s);
}
