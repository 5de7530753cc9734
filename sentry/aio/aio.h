/*
 * Linux native AIO: io_setup(2) and its kin.
 *
 *      thread group --aio--> context --+--> ring: pages that the application maps too
 *                                      `--> polls that wait
 *
 * Reads, writes and syncs are done while io_submit runs, as Linux does them for files in its page
 * cache; only polls wait. All that a request leaves is an event in the ring:
 *
 *      header | event 0 | event 1 | ... | event nr - 1         head: the next one to be read
 *                                                              tail: where the next one goes
 *
 * The application may read events by itself and move head; tail is ours, and what the application
 * writes over it is not looked at.
 */
#ifndef PICKET_SENTRY_AIO_AIO_H
#define PICKET_SENTRY_AIO_AIO_H

#include "sentry/vfs/vfs.h"
#include <linux/aio_abi.h>

struct thread_group;
struct aio;
struct aio_context;

/* For the whole sandbox; hangs from struct vfs. */
int aio_create(struct aio **out);
/* Pre: no contexts. */
void aio_destroy(struct aio *aio);
/* How many events all contexts together may have asked for, and have. */
#define AIO_MAX_NR 65536u
unsigned aio_nr(const struct aio *aio);

/* A context for `nr` events; *id is where its ring is mapped. -EAGAIN: too many. */
int aio_setup(struct task *t, unsigned nr, gva_t *id);
/* A reference, or NULL. */
struct aio_context *aio_find(struct task *t, gva_t id);
void aio_put(struct aio_context *ctx);
/* io_destroy(2); -EINVAL if there is none. */
int aio_close(struct task *t, gva_t id);
/* All contexts of a process that ends, or is about to become another program. */
void aio_exit(struct thread_group *tg);

/* Does or begins what the iocb at `user` says. 0 if there will be an event, or -errno. */
int aio_submit_one(struct task *t, struct aio_context *ctx, gva_t user);
/* -EINPROGRESS: cancelled, with an event to come; -EINVAL: it cannot be. */
int aio_cancel(struct task *t, struct aio_context *ctx, gva_t user);
/* Events for the application, at least `min` unless time or a signal ends the wait. */
long aio_get_events(struct task *t, struct aio_context *ctx, long min, long nr, gva_t events,
                    const ktime_t *deadline);

#endif
