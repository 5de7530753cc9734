#include "sentry/kernel/host_thread.h"
#include "base/list.h"
#include "base/lock.h"
#include "sentry/kernel/host_futex.h"
#include "sentry/kernel/task.h"
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

/* Deep enough for the longest path of the sentry (overlay over host files, printing). */
#define STACK_SIZE (256u << 10)
/* Threads kept for tasks to come; the rest end, and are joined by the next one that looks. */
#define MAX_PARKED 64

enum { HT_PARKED, HT_GO, HT_QUIT };

struct host_thread {
    struct host_threads *pool;
    pthread_t thread;
    _Atomic uint32_t command; /* futex */
    struct task *task;
    struct list_head link; /* parked or finished */
};

struct host_threads {
    struct mutex lock;         /* LEAF */
    struct list_head parked;   /* most recently used first */
    struct list_head finished; /* ended, to be joined */
    int nparked;
    int nlive;                 /* created and not yet joined */
    _Atomic uint32_t idle_seq; /* futex: a thread parked or finished */
};

/* The CPUs of the thread's creator are what the platform has chosen for a task; a thread that
 * serves none of them goes where the process may go. */
static void free_from_cpu(pthread_attr_t *attr)
{
    cpu_set_t cpus;
    if (sched_getaffinity(getpid(), sizeof(cpus), &cpus) == 0)
        pthread_attr_setaffinity_np(attr, sizeof(cpus), &cpus);
}

static int spawn(pthread_t *out, void *(*fn)(void *), void *arg, bool anywhere)
{
    sigset_t blocked, old;
    sigfillset(&blocked);
    sigdelset(&blocked, SIGSEGV);
    sigdelset(&blocked, SIGBUS);
    sigdelset(&blocked, SIGABRT);
    sigdelset(&blocked, SIGFPE);
    sigdelset(&blocked, SIGILL);
    pthread_attr_t attr;
    if (pthread_attr_init(&attr) != 0)
        return -EAGAIN;
    pthread_attr_setstacksize(&attr, STACK_SIZE);
    if (anywhere)
        free_from_cpu(&attr);
    /* The new thread inherits the mask; setting it here leaves no moment in between. */
    pthread_sigmask(SIG_SETMASK, &blocked, &old);
    int err = pthread_create(out, &attr, fn, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    return err ? -EAGAIN : 0;
}

int host_thread_spawn(pthread_t *out, void *(*fn)(void *), void *arg)
{
    return spawn(out, fn, arg, true);
}

/* Parks ht, or tells it to end. */
static bool park(struct host_thread *ht)
{
    struct host_threads *hts = ht->pool;
    bool stay;
    {
        MUTEX_GUARD(&hts->lock);
        stay = hts->nparked < MAX_PARKED;
        if (stay) {
            atomic_store(&ht->command, HT_PARKED);
            list_add(&hts->parked, &ht->link);
            hts->nparked++;
        } else {
            list_add(&hts->finished, &ht->link);
        }
    }
    return stay;
}

static void announce_idle(struct host_threads *hts)
{
    atomic_fetch_add(&hts->idle_seq, 1);
    host_futex_wake(&hts->idle_seq, 1);
}

static void *host_thread_main(void *arg)
{
    struct host_thread *ht = arg;
    for (;;) {
        uint32_t command;
        while ((command = atomic_load(&ht->command)) == HT_PARKED)
            host_futex_wait(&ht->command, HT_PARKED, NULL);
        if (command == HT_QUIT)
            break;
        task_run(ht->task);
        ht->task = NULL;
        struct host_threads *hts = ht->pool;
        if (!park(ht)) {
            announce_idle(hts);
            break;
        }
        announce_idle(hts);
    }
    return NULL;
}

static void join_finished(struct host_threads *hts)
{
    for (;;) {
        struct host_thread *ht;
        {
            MUTEX_GUARD(&hts->lock);
            ht = list_first(&hts->finished, struct host_thread, link);
            if (!ht)
                return;
            list_del(&ht->link);
            hts->nlive--;
        }
        pthread_join(ht->thread, NULL);
        free(ht);
    }
}

int host_thread_reserve(struct host_threads *hts, struct host_thread **out)
{
    struct host_thread *ht;
    {
        MUTEX_GUARD(&hts->lock);
        ht = list_first(&hts->parked, struct host_thread, link);
        if (ht) {
            list_del(&ht->link);
            hts->nparked--;
        } else {
            hts->nlive++;
        }
    }
    if (ht) {
        *out = ht;
        return 0;
    }
    join_finished(hts);
    ht = calloc(1, sizeof(*ht));
    if (ht) {
        ht->pool = hts;
        list_init(&ht->link);
        if (spawn(&ht->thread, host_thread_main, ht, false) == 0) {
            *out = ht;
            return 0;
        }
        free(ht);
    }
    MUTEX_GUARD(&hts->lock);
    hts->nlive--;
    return -EAGAIN;
}

void host_thread_cancel(struct host_threads *hts, struct host_thread *ht)
{
    MUTEX_GUARD(&hts->lock);
    list_add(&hts->parked, &ht->link);
    hts->nparked++;
}

void host_thread_start(struct host_thread *ht, struct task *t)
{
    ht->task = t;
    atomic_store(&ht->command, HT_GO);
    host_futex_wake(&ht->command, 1);
}

pthread_t host_thread_id(const struct host_thread *ht)
{
    return ht->thread;
}

int host_threads_create(struct host_threads **out)
{
    struct host_threads *hts = calloc(1, sizeof(*hts));
    if (!hts)
        return -ENOMEM;
    mutex_init(&hts->lock, LOCK_LEAF);
    list_init(&hts->parked);
    list_init(&hts->finished);
    *out = hts;
    return 0;
}

void host_threads_destroy(struct host_threads *hts)
{
    for (;;) {
        uint32_t seq = atomic_load(&hts->idle_seq);
        struct host_thread *ht;
        bool done;
        join_finished(hts);
        {
            MUTEX_GUARD(&hts->lock);
            ht = list_first(&hts->parked, struct host_thread, link);
            if (ht) {
                list_del(&ht->link);
                hts->nparked--;
                hts->nlive--;
            }
            done = hts->nlive == 0;
        }
        if (ht) {
            atomic_store(&ht->command, HT_QUIT);
            host_futex_wake(&ht->command, 1);
            pthread_join(ht->thread, NULL);
            free(ht);
        } else if (done) {
            break;
        } else {
            host_futex_wait(&hts->idle_seq, seq, NULL);
        }
    }
    mutex_destroy(&hts->lock);
    free(hts);
}
