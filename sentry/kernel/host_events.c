/*
 * One thread sleeps in epoll_wait on all host descriptors that tasks wait for, and wakes their
 * queues. Edge-triggered: a descriptor that stays ready costs nothing.
 *
 * epoll hands us a watch that may be going away: each watch has an id, and an event counts only if
 * the id is still in the table when the lock is taken.
 */
#include "sentry/kernel/host_events.h"
#include "base/list.h"
#include "base/log.h"
#include "sentry/kernel/errno.h"
#include "sentry/kernel/host_thread.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/wait.h"
#include "sentry/vfs/fasync.h"
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WATCH_BUCKETS 64
#define EVENTS_AT_ONCE 64
#define ID_QUIT 0

struct host_watch {
    struct list_head link;
    uint64_t id;
    int fd;
    struct wait_queue *queue;
};

struct host_events {
    struct mutex lock; /* HOST_EVENTS: held while queues are woken */
    struct list_head buckets[WATCH_BUCKETS];
    uint64_t next_id;
    bool started;
    int epoll_fd, quit_fd;
    pthread_t thread;
};

static struct host_watch *find(struct host_events *he, uint64_t id)
{
    struct host_watch *w;
    list_for_each (w, &he->buckets[id % WATCH_BUCKETS], link) {
        if (w->id == id)
            return w;
    }
    return NULL;
}

static void *event_thread(void *arg)
{
    struct host_events *he = arg;
    struct epoll_event events[EVENTS_AT_ONCE];
    for (;;) {
        int n = epoll_wait(he->epoll_fd, events, EVENTS_AT_ONCE, -1);
        if (n < 0 && errno != EINTR)
            panic("epoll_wait on host descriptors: errno %d", errno);
        for (int i = 0; i < n; i++) {
            if (events[i].data.u64 == ID_QUIT)
                return NULL;
            MUTEX_GUARD(&he->lock);
            struct host_watch *w = find(he, events[i].data.u64);
            if (w)
                wait_wake(w->queue, events[i].events);
        }
        fasync_flush();
    }
}

int host_events_create(struct host_events **out)
{
    struct host_events *he = calloc(1, sizeof(*he));
    if (!he)
        return -ENOMEM;
    mutex_init(&he->lock, LOCK_HOST_EVENTS);
    for (int i = 0; i < WATCH_BUCKETS; i++)
        list_init(&he->buckets[i]);
    he->next_id = ID_QUIT + 1;
    he->epoll_fd = he->quit_fd = -1;
    *out = he;
    return 0;
}

static void close_fds(struct host_events *he)
{
    if (he->epoll_fd >= 0)
        close(he->epoll_fd);
    if (he->quit_fd >= 0)
        close(he->quit_fd);
    he->epoll_fd = he->quit_fd = -1;
}

static int start(struct host_events *he)
{
    if (he->started)
        return 0;
    he->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    he->quit_fd = eventfd(0, EFD_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = ID_QUIT};
    int err = -EMFILE;
    if (he->epoll_fd >= 0 && he->quit_fd >= 0 &&
        epoll_ctl(he->epoll_fd, EPOLL_CTL_ADD, he->quit_fd, &ev) == 0)
        err = host_thread_spawn(&he->thread, event_thread, he);
    if (err)
        close_fds(he);
    he->started = err == 0;
    return err;
}

int host_watch_add(struct kernel *k, int fd, struct wait_queue *q, struct host_watch **out)
{
    struct host_events *he = k->events;
    struct host_watch *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->fd = fd;
    w->queue = q;
    MUTEX_GUARD(&he->lock);
    int err = start(he);
    if (err) {
        free(w);
        return err;
    }
    w->id = he->next_id++;
    struct epoll_event ev = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI | EPOLLET,
        .data.u64 = w->id,
    };
    if (epoll_ctl(he->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
        err = -errno;
        free(w);
        return err;
    }
    list_add(&he->buckets[w->id % WATCH_BUCKETS], &w->link);
    *out = w;
    return 0;
}

void host_watch_remove(struct kernel *k, struct host_watch *w)
{
    struct host_events *he = k->events;
    {
        MUTEX_GUARD(&he->lock);
        epoll_ctl(he->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
        list_del(&w->link);
    }
    free(w);
}

void host_events_destroy(struct host_events *he)
{
    if (he->started) {
        uint64_t one = 1;
        if (write(he->quit_fd, &one, sizeof(one)) != sizeof(one))
            panic("cannot end the host-event thread");
        pthread_join(he->thread, NULL);
        close_fds(he);
    }
    mutex_destroy(&he->lock);
    free(he);
}
