/*
 * Wait queues, and the one way to sleep.
 *
 * Anything that a task can wait for has a wait_queue. To wait: put an entry on the queue, look
 * whether the condition holds, task_block if not, look again, take the entry off:
 *
 *      struct wait_entry w;
 *      wait_entry_init_task(&w, t, POLLIN);
 *      wait_add(q, &w);
 *      while (!(condition)) {
 *              err = task_block(t, deadline);
 *              if (err) break;
 *      }
 *      wait_remove(q, &w);
 *
 * A wake-up between the look and task_block is not lost: it leaves a token that task_block takes.
 * Events are poll(2) masks.
 */
#ifndef PICKET_SENTRY_KERNEL_WAIT_H
#define PICKET_SENTRY_KERNEL_WAIT_H

#include "base/list.h"
#include "base/lock.h"
#include <poll.h>

struct task;

struct wait_entry {
    struct list_head link;
    uint32_t mask;  /* events that wake; POLLERR and POLLHUP always do */
    bool exclusive; /* wait_wake stops after one such entry that took the wake-up */
    /* Called with the queue's lock held: may not sleep, may not touch the queue. Returns whether
     * the wake-up was of use (for exclusive entries). */
    bool (*wake)(struct wait_entry *e, uint32_t events);
    void *owner;
};

struct wait_queue {
    struct mutex lock;
    struct list_head entries;
};

void wait_queue_init(struct wait_queue *q);
/* Pre: no entries. */
void wait_queue_destroy(struct wait_queue *q);
/* An entry that wakes t out of task_block. */
void wait_entry_init_task(struct wait_entry *e, struct task *t, uint32_t mask);
void wait_add(struct wait_queue *q, struct wait_entry *e);
void wait_remove(struct wait_queue *q, struct wait_entry *e);
void wait_wake(struct wait_queue *q, uint32_t events);
/* At most n exclusive entries. */
void wait_wake_n(struct wait_queue *q, uint32_t events, int n);
/* From within a wake-up: q is the queue of something that watches the one being woken (epoll; the
 * watching has no loops). Returns whether anybody was there. */
bool wait_wake_nested(struct wait_queue *q, uint32_t events);

/* Absolute host CLOCK_MONOTONIC in nanoseconds; NULL pointers mean "no deadline". */
typedef int64_t ktime_t;

/*
 * Sleeps until task_wake(t) (0), the deadline (-ETIMEDOUT), or a signal or kill that must be looked
 * at
 * (-ERESTARTSYS; callers turn it into -EINTR where Linux does). Only on t's own thread, with no
 * lock held. A pending wake-up makes it return at once.
 */
int task_block(struct task *t, const ktime_t *deadline);
/* As task_block, but only SIGKILL (or the end of the thread group) interrupts. */
int task_block_killable(struct task *t, const ktime_t *deadline);
/* Only task_wake ends it: for a task that dies already. */
void task_block_uninterruptible(struct task *t);
/* Any thread. */
void task_wake(struct task *t);
/* Whether task_block would return -ERESTARTSYS now. */
bool task_interrupted(struct task *t);

/*
 * Host descriptors that can block (terminals, pipes, sockets): the host-event thread wakes q with
 * the poll events of fd, edge-triggered, until unwatched. Returns 0, or -EPERM for descriptors that
 * never block (regular files).
 */
struct kernel;
struct host_watch;
int host_watch_add(struct kernel *k, int fd, struct wait_queue *q, struct host_watch **out);
void host_watch_remove(struct kernel *k, struct host_watch *w);

#endif
