/*
 * One request: everything in it is checked here, before an operation sees it.
 */
#include "gofer/internal.h"
#include <errno.h>
#include <limits.h>
#include <string.h>

static int check_text(const char *s, size_t len)
{
    if (!len || s[len - 1] || memchr(s, 0, len - 1))
        return -EINVAL;
    return len > PATH_MAX ? -ENAMETOOLONG : 0;
}

static int check_name(enum name_kind kind, const char *s, size_t len)
{
    if (kind == NAME_BYTES)
        return 0;
    if (kind == NAME_NONE)
        return len ? -EINVAL : 0;
    int err = check_text(s, len);
    if (err || kind == NAME_TEXT)
        return err;
    bool ok = kind == NAME_ONE ? name_ok(s) : path_ok(s) && (*s || kind == NAME_PLACE);
    return ok ? 0 : -EINVAL;
}

static int check_header(const struct gofer_request *rq, size_t data)
{
    if (rq->version != GOFER_VERSION)
        return -EPROTO;
    if (rq->op >= GOFER_OPS || rq->nclose > GOFER_CLOSE_MAX || rq->reserved ||
        (uint64_t)rq->len[0] + rq->len[1] != data)
        return -EINVAL;
    return 0;
}

static int get_nodes(struct call *c, const struct op *op)
{
    for (int k = 0; k < op->nodes; k++) {
        c->node[k] = node_get(c->server, c->rq->node[k]);
        if (!c->node[k])
            return -EBADF;
        if (op->changes && c->node[k]->read_only)
            return -EROFS;
        if (c->node[k]->is_file != (op->file && k == 0))
            return -EINVAL;
    }
    /* What is in one export does not get into another, which may have other rights. */
    if (op->nodes == 2 && c->node[0]->export != c->node[1]->export)
        return -EXDEV;
    return 0;
}

/* Of an export that is one file, the directory around it is nobody's business. */
static int check_only(const struct call *c, const struct op *op)
{
    const char *only = op->nodes ? c->node[0]->only : NULL;
    if (!only)
        return 0;
    if (op->name[0] == NAME_NONE || !op->single)
        return op->single ? 0 : -EPERM;
    bool walk = c->rq->op == GOFER_LOOKUP || c->rq->op == GOFER_OPEN;
    return strcmp(c->name[0], only) == 0 || (walk && !*c->name[0]) ? 0 : -EPERM;
}

static int run(struct call *c)
{
    const struct gofer_request *rq = c->rq;
    const struct op *op = &gofer_ops[rq->op];
    for (uint32_t k = 0; k < rq->nclose; k++)
        node_close(c->server, rq->close[k]);
    for (int k = 0; k < 2; k++) {
        int err = check_name(op->name[k], c->name[k], rq->len[k]);
        if (err)
            return err;
    }
    int err = get_nodes(c, op);
    if (!err)
        err = check_only(c, op);
    if (!err)
        err = op->run(c);
    node_put(c->node[0]);
    node_put(c->node[1]);
    return err;
}

void gofer_server_answer(struct gofer_server *s, const void *message, size_t n,
                         struct gofer_answer *a)
{
    struct gofer_request rq;
    a->reply = (struct gofer_reply){.version = GOFER_VERSION, .error = -EPROTO};
    if (n < sizeof(rq))
        return;
    memcpy(&rq, message, sizeof(rq));
    a->reply.op = rq.op;
    a->reply.seq = rq.seq;
    int err = check_header(&rq, n - sizeof(rq));
    if (!err) {
        const char *data = (const char *)message + sizeof(rq);
        struct call c = {
            .server = s,
            .rq = &rq,
            .name = {data, data + rq.len[0]},
            .answer = a,
            .room = MIN(rq.size, GOFER_DATA_MAX),
        };
        err = run(&c);
    }
    a->reply.error = err;
    if (err)
        a->reply.len = 0;
}
