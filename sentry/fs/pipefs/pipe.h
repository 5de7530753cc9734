/*
 * Pipes: a ring of buffers of at most a page each. See pipe(7).
 *
 *     tail                          head            slots: a power of two, 16 unless F_SETPIPE_SZ
 *      |                             |
 *   [page|off|len] [page|off|len] ... (free) (free)
 *
 * The oldest buffer is read from its front, the newest is filled at its end; neither splits:
 * that is why writes of up to PIPE_BUF bytes are atomic.
 */
#ifndef PICKET_SENTRY_FS_PIPEFS_PIPE_H
#define PICKET_SENTRY_FS_PIPEFS_PIPE_H

#include "sentry/vfs/vfs.h"

struct pipe_buf {
    char *page;
    uint32_t off, len;
    bool packet; /* O_DIRECT: one read takes it, and what does not fit is lost */
};

struct pipe {
    struct mutex lock; /* PIPE: everything below */
    struct pipe_buf *bufs;
    uint32_t slots, head, tail; /* head and tail count up for ever */
    uint32_t held;              /* slots that splice will come back to */
    char *spare;                /* a page kept for the next write */
    unsigned readers, writers;  /* open descriptions */
    unsigned reader_opens, writer_opens;
    unsigned users; /* descriptions, and those being opened */
    unsigned sleeping_readers, sleeping_writers;
    struct wait_queue queue;
};

#define PIPE_SLOTS_DEFAULT 16u
#define PIPE_SIZE_MAX (1u << 20) /* fs.pipe-max-size */

/* One user. NULL: no memory. */
struct pipe *pipe_alloc(void);
void pipe_free(struct pipe *p);
/* The pipe of a description, or NULL if it is something else. */
struct pipe *file_pipe(const struct file *f);
extern const struct file_ops pipe_file_ops;

static inline uint32_t pipe_used(const struct pipe *p)
{
    return p->head - p->tail;
}
static inline struct pipe_buf *pipe_slot(struct pipe *p, uint32_t n)
{
    return &p->bufs[n & (p->slots - 1)];
}

static inline bool pipe_full(const struct pipe *p)
{
    return p->head - p->tail + p->held >= p->slots;
}

/* A page with undefined contents, or NULL; and back. Lock held. */
char *pipe_page_get(struct pipe *p);
void pipe_page_put(struct pipe *p, char *page);
/*
 * Sleeps until the pipe may have become readable (POLLIN) or writable (POLLOUT), or -EAGAIN if
 * nonblock, or -ERESTARTSYS. Lock held before and after, not in between.
 */
MUST_CHECK int pipe_wait(struct pipe *p, uint32_t event, bool nonblock);
/* Unlocks, and announces `events`, and what is left for sleepers. */
void pipe_leave(struct pipe *p, uint32_t events);
/* For a writer: 0 if a slot is free; -EPIPE (SIGPIPE is sent) if nobody reads; else as pipe_wait.
 */
MUST_CHECK int pipe_wait_slot(struct pipe *p, bool nonblock);
/* For a reader: 1 if there is something, 0 at the end, else as pipe_wait. */
MUST_CHECK int pipe_wait_data(struct pipe *p, bool nonblock);
/* After the change: tells pollers and one sleeper; all sleepers. Lock not held. */
void pipe_announce(struct pipe *p, uint32_t events);
void pipe_announce_all(struct pipe *p, uint32_t events);

#define PIPE_READABLE (POLLIN | POLLRDNORM)
#define PIPE_WRITABLE (POLLOUT | POLLWRNORM)

/*
 * splice(2), tee(2). Up to n bytes; block says whether to wait for a pipe. Positions: NULL for the
 * description's own. Return bytes, 0 at the end of input, or -errno.
 */
ssize_t splice_pipe_to_pipe(struct pipe *in, struct pipe *out, uint64_t n, bool block, bool tee);
ssize_t splice_pipe_to_file(struct task *t, struct pipe *in, struct file *out, int64_t *pos,
                            uint64_t n, bool block);
ssize_t splice_file_to_pipe(struct task *t, struct file *in, int64_t *pos, struct pipe *out,
                            uint64_t n, bool block);

#endif
