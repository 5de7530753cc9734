/*
 * Inside the gofer: nodes (nodes.c), paths (resolve.c), one function for each operation (ops.c).
 */
#ifndef PICKET_GOFER_INTERNAL_H
#define PICKET_GOFER_INTERNAL_H

#include "base/lock.h"
#include "base/refcount.h"
#include "gofer/server.h"

/* A directory, or a file that has no name yet, open here. */
struct gofer_node {
    struct refcount ref;
    int fd;
    uint32_t export;
    bool read_only;
    bool is_file;
    const char *only; /* of the export, or NULL */
};

#define GOFER_NODES_MAX 65536u

struct gofer_server {
    bool privileged; /* may give files away */
    uint32_t nexports;
    char **only;       /* of each export */
    struct mutex lock; /* LEAF: the table */
    struct gofer_node **nodes;
    uint32_t nnodes, room, limit; /* nodes[0..nnodes) were ever used */
    uint32_t *free_ids;
    uint32_t nfree;
};

/* ---- nodes.c ---- */

/* Takes over fd, also on failure. The number, or 0: there are too many. */
uint32_t node_add(struct gofer_server *s, int fd, const struct gofer_node *like, bool is_file);
/* With a reference; NULL if there is none of that number. */
struct gofer_node *node_get(struct gofer_server *s, uint32_t id);
void node_put(struct gofer_node *n);
/* Exports stay. */
void node_close(struct gofer_server *s, uint32_t id);

/* ---- resolve.c ---- */

/* openat2 below dirfd, strictly; never waits for anybody. A descriptor or -errno. */
int open_beneath(int dirfd, const char *path, int flags, mode_t mode);

/* A directory, and a single name in it ("": the directory itself). */
struct place {
    int fd;
    bool owned;
    const char *name;
};
int place_find(const struct gofer_node *n, const char *path, struct place *out);
void place_drop(struct place *p);
int place_stat(const struct place *p, struct statx *out);
int stat_fd(int fd, struct statx *out);
/* Whether stx is what the request means (dev and ino; ino 0: anything): 0 or -ESTALE. */
int check_identity(const struct gofer_request *rq, const struct statx *stx);

bool name_ok(const char *name); /* one component */
bool path_ok(const char *path); /* several, or none */

/* ---- ops.c ---- */

struct call {
    struct gofer_server *server;
    const struct gofer_request *rq;
    const char *name[2];
    struct gofer_node *node[2];
    struct gofer_answer *answer;
    size_t room; /* of the data in the answer */
};

/* What has to hold before an operation's function sees the request. */
enum name_kind {
    NAME_NONE,  /* no bytes */
    NAME_ONE,   /* a single name */
    NAME_PATH,  /* a path, not "" */
    NAME_PLACE, /* a path or "" */
    NAME_TEXT,  /* a string, shorter than PATH_MAX */
    NAME_BYTES, /* anything */
};
struct op {
    int (*run)(struct call *c);
    enum name_kind name[2];
    uint8_t nodes;
    bool changes; /* refused with -EROFS below a read-only export */
    bool file;    /* node[0] is one of GOFER_TMPFILE */
    bool single;  /* may be done to the one file of an export that has no more */
};
extern const struct op gofer_ops[GOFER_OPS];

#endif
