/*
 * Host threads: one serves one task. A thread whose task has left parks itself and takes the next
 * new task, so that what the platform keeps for a host thread stays warm.
 */
#ifndef PICKET_SENTRY_KERNEL_HOST_THREAD_H
#define PICKET_SENTRY_KERNEL_HOST_THREAD_H

#include "base/compiler.h"
#include <pthread.h>

struct kernel;
struct task;
struct host_thread;
struct host_threads;

int host_threads_create(struct host_threads **out);
/* Ends and joins all threads. Pre: every task has left. */
void host_threads_destroy(struct host_threads *hts);

/* A thread for a new task: parked or fresh. Returns 0 or -EAGAIN. */
MUST_CHECK int host_thread_reserve(struct host_threads *hts, struct host_thread **out);
/* Gives an unused reservation back. */
void host_thread_cancel(struct host_threads *hts, struct host_thread *ht);
/* Lets ht run the task (task_run) until it has left. */
void host_thread_start(struct host_thread *ht, struct task *t);
pthread_t host_thread_id(const struct host_thread *ht);

/* A joinable thread of the sentry that serves no task: small stack, every signal blocked but those
 * of broken memory, on any CPU.
 * Returns 0 or -EAGAIN. */
MUST_CHECK int host_thread_spawn(pthread_t *out, void *(*fn)(void *), void *arg);

#endif
