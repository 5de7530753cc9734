/*
 * Answering requests, without the process around it: what tests and the fuzzer call.
 */
#ifndef PICKET_GOFER_SERVER_H
#define PICKET_GOFER_SERVER_H

#include "gofer/gofer.h"
#include "gofer/protocol.h"

struct gofer_server;

/* Takes over the exports' descriptors, also on failure. 0 or -errno. */
MUST_CHECK int gofer_server_create(const struct gofer_export *exports, size_t n,
                                   struct gofer_server **out);
void gofer_server_destroy(struct gofer_server *s);

/* Where an answer is made. */
struct gofer_answer {
    struct gofer_reply reply;
    uint8_t data[GOFER_DATA_MAX];
    int fds[GOFER_BATCH_MAX]; /* reply.nfds of them go with it; the caller closes them */
};

/*
 * Answers a message of n bytes. `message` has room for one byte more. Any thread; each with an
 * answer of its own.
 */
void gofer_server_answer(struct gofer_server *s, const void *message, size_t n,
                         struct gofer_answer *a);
/* Nodes in use, the exports included. */
size_t gofer_server_nodes(struct gofer_server *s);

#endif
