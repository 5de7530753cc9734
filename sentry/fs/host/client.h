/*
 * The sentry's end of the protocol with the gofer (gofer/protocol.h).
 */
#ifndef PICKET_SENTRY_FS_HOST_CLIENT_H
#define PICKET_SENTRY_FS_HOST_CLIENT_H

#include "base/lock.h"
#include "gofer/gofer.h"
#include "gofer/protocol.h"

struct gofer_client;

/* Takes over the link's channels (not its process). lost: called by a thread that finds the gofer
 * gone or talking nonsense; if it returns, calls end with -EIO. 0 or -ENOMEM. */
MUST_CHECK int gofer_client_create(const struct gofer_link *link, void (*lost)(void *), void *arg,
                                   struct gofer_client **out);
void gofer_client_destroy(struct gofer_client *gc);

/* One request and its answer. */
struct gofer_msg {
    struct gofer_request rq; /* op and what it needs; the rest is filled in */
    const void *name[2];     /* rq.len bytes each */
    void *data;              /* where at most rq.size bytes of the answer go */
    bool wants_fd;           /* a descriptor may come; others are an error of the gofer's */
    int *fds;                /* GOFER_BATCH: where so many go; the array has GOFER_BATCH_MAX */
    struct gofer_reply reply;
    int fd;        /* that came, of a regular file; the caller's. -1: none */
    unsigned nfds; /* in fds; fewer than the reply tells of if the table of descriptors is full */
};
/*
 * reply.error, or -EIO. Waits for the gofer, as a call of the host would; any thread. Called with
 * any lock but leaves held.
 */
MUST_CHECK int gofer_call(struct gofer_client *gc, struct gofer_msg *m);
/* The node is closed, with the next request. */
void gofer_close_node(struct gofer_client *gc, uint32_t node);

#endif
