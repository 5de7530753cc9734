/*
 * What the files of AIO know of each other.
 */
#ifndef PICKET_SENTRY_AIO_INTERNAL_H
#define PICKET_SENTRY_AIO_INTERNAL_H

#include "sentry/aio/aio.h"
#include "sentry/kernel/kernel.h"
#include <pthread.h>

/* As libaio knows it. */
struct aio_ring {
    uint32_t id;
    uint32_t nr; /* events that there is room for, plus one */
    _Atomic uint32_t head, tail;
    uint32_t magic, compat_features, incompat_features, header_length;
    struct io_event events[];
};

struct aio {
    _Atomic unsigned nr;    /* asked for */
    struct mutex lock;      /* LEAF: fired, started, quit */
    struct list_head fired; /* aio_poll.fired: something happened to their files */
    bool started, quit;
    _Atomic uint32_t work; /* futex: counts additions to `fired` */
    pthread_t worker;
};

struct aio_context {
    struct refcount ref;
    struct list_head link; /* thread_group.aio (its limits_lock) */
    struct kernel *kernel;
    gva_t id;
    unsigned asked;            /* counted in aio.nr */
    struct aio_pages *pages;   /* of the ring: ring.c */
    struct aio_ring *ring;     /* the sentry's view: the application writes there at any time */
    uint32_t nr;               /* ring->nr, which may be overwritten */
    struct mutex lock;         /* LEAF */
    uint32_t tail;             /* lock */
    uint32_t pending;          /* lock: slots that requests in work will need */
    bool closed;               /* lock */
    struct list_head polls;    /* lock: aio_poll.link */
    struct mutex read_lock;    /* FILE_POS: who takes events; held while user memory is copied */
    struct wait_queue arrived; /* woken when there is an event, and at the end */
};

/* ---- ring.c ---- */

/* Room for at least `slots` events, mapped into t's memory. */
int aio_ring_create(struct aio_context *ctx, struct task *t, unsigned slots);
void aio_ring_unmap(struct aio_context *ctx, struct task *t);
void aio_ring_put(struct aio_context *ctx);
/* A slot for the event that a request will give; -EAGAIN: the ring is full. */
int aio_ring_reserve(struct aio_context *ctx);
void aio_ring_cancel(struct aio_context *ctx);
/* Puts the event into the ring, where a slot is reserved for it. */
void aio_ring_put_event(struct aio_context *ctx, const struct io_event *ev);
/* Copies at most n events, of those from the head on, and says in *head where it began. */
unsigned aio_ring_peek(struct aio_context *ctx, struct io_event *out, unsigned n, uint32_t *head);
/* They are read: the head moves. */
void aio_ring_advance(struct aio_context *ctx, uint32_t head, unsigned n);

/* ---- poll.c ---- */

/* The event of a request, and whom it is told to (reference taken over; may be NULL). */
void aio_complete(struct aio_context *ctx, const struct io_event *ev, struct file *resfd);
/* Begins; takes over the references on f and resfd in any case. */
int aio_poll_begin(struct aio_context *ctx, struct file *f, struct file *resfd, uint16_t mask,
                   const struct io_event *ev);
/* The poll of the iocb at `user` ends. false: there is none. */
bool aio_poll_cancel(struct aio_context *ctx, gva_t user);
/* All end; without events. */
void aio_poll_forget_all(struct aio_context *ctx);
void aio_worker_stop(struct aio *aio);

#endif
