/*
 * The table of what is open for the sentry. A node in use by one worker outlives its number:
 * another worker may be told to close it meanwhile.
 */
#include "gofer/internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define SPARE_FDS 64 /* for what is open only during a request */

static bool table_grow(struct gofer_server *s)
{
    uint32_t room = s->room ? MIN(s->room * 2, s->limit) : MIN(64u, s->limit);
    struct gofer_node **nodes = reallocarray(s->nodes, room, sizeof(*nodes));
    if (nodes)
        s->nodes = nodes;
    uint32_t *ids = reallocarray(s->free_ids, room, sizeof(*ids));
    if (ids)
        s->free_ids = ids;
    if (!nodes || !ids)
        return false;
    s->room = room;
    return true;
}

/* A place in the table, or UINT32_MAX. Lock held. */
static uint32_t table_place(struct gofer_server *s)
{
    if (s->nfree)
        return s->free_ids[--s->nfree];
    if (s->nnodes == s->limit || (s->nnodes == s->room && !table_grow(s)))
        return UINT32_MAX;
    return s->nnodes++;
}

uint32_t node_add(struct gofer_server *s, int fd, const struct gofer_node *like, bool is_file)
{
    struct gofer_node *n = malloc(sizeof(*n));
    uint32_t at = UINT32_MAX;
    if (n) {
        *n = *like;
        n->fd = fd;
        n->is_file = is_file;
        ref_init(&n->ref);
        mutex_lock(&s->lock);
        at = table_place(s);
        if (at != UINT32_MAX)
            s->nodes[at] = n;
        mutex_unlock(&s->lock);
    }
    if (at != UINT32_MAX)
        return at + 1;
    free(n);
    close(fd);
    return 0;
}

struct gofer_node *node_get(struct gofer_server *s, uint32_t id)
{
    MUTEX_GUARD(&s->lock);
    struct gofer_node *n = id - 1 < s->nnodes ? s->nodes[id - 1] : NULL;
    if (n)
        ref_get(&n->ref);
    return n;
}

void node_put(struct gofer_node *n)
{
    if (!n || !ref_put(&n->ref))
        return;
    close(n->fd);
    free(n);
}

void node_close(struct gofer_server *s, uint32_t id)
{
    struct gofer_node *n = NULL;
    mutex_lock(&s->lock);
    if (id > s->nexports && id - 1 < s->nnodes) {
        n = s->nodes[id - 1];
        s->nodes[id - 1] = NULL;
        if (n)
            s->free_ids[s->nfree++] = id - 1;
    }
    mutex_unlock(&s->lock);
    node_put(n);
}

size_t gofer_server_nodes(struct gofer_server *s)
{
    MUTEX_GUARD(&s->lock);
    return s->nnodes - s->nfree;
}

static uint32_t node_limit(size_t nexports)
{
    struct rlimit rl;
    rlim_t fds = getrlimit(RLIMIT_NOFILE, &rl) == 0 ? rl.rlim_cur : 1024;
    fds = fds > 2 * SPARE_FDS ? fds - SPARE_FDS : SPARE_FDS;
    return (uint32_t)MIN((rlim_t)GOFER_NODES_MAX, fds) + (uint32_t)nexports;
}

int gofer_server_create(const struct gofer_export *exports, size_t n, struct gofer_server **out)
{
    struct gofer_server *s = calloc(1, sizeof(*s));
    bool ok = s;
    if (s) {
        mutex_init(&s->lock, LOCK_LEAF);
        s->privileged = geteuid() == 0;
        s->limit = node_limit(n);
        s->only = calloc(n, sizeof(*s->only));
        s->nexports = (uint32_t)n;
        ok = s->only;
    }
    for (size_t k = 0; k < n; k++) {
        struct gofer_node like = {.export = (uint32_t)k, .read_only = exports[k].read_only};
        if (ok && exports[k].only)
            ok = (like.only = s->only[k] = strdup(exports[k].only)) != NULL;
        if (ok)
            ok = node_add(s, exports[k].fd, &like, false) == k + 1;
        else
            close(exports[k].fd);
    }
    if (!ok) {
        gofer_server_destroy(s);
        return -ENOMEM;
    }
    *out = s;
    return 0;
}

void gofer_server_destroy(struct gofer_server *s)
{
    if (!s)
        return;
    for (uint32_t k = 0; k < s->nnodes; k++)
        node_put(s->nodes[k]);
    for (uint32_t k = 0; s->only && k < s->nexports; k++)
        free(s->only[k]);
    mutex_destroy(&s->lock);
    free(s->only);
    free(s->nodes);
    free(s->free_ids);
    free(s);
}
