/*
 * File systems whose files are computed: proc and sys.
 *
 * A tree is a table of rows: a directory row has children (a table), or names that come and go, or
 * both; a file row has one function that writes its text; a link row one that writes its target. A
 * new file is one row and one function.
 *
 * What a file is about (which process, which descriptor) is in its inode's pseudo_node, and comes
 * to the functions in a pseudo_ctx.
 */
#ifndef PICKET_SENTRY_FS_PSEUDO_PSEUDO_H
#define PICKET_SENTRY_FS_PSEUDO_PSEUDO_H

#include "sentry/kernel/task.h"
#include "sentry/vfs/vfs.h"

/* Text that grows. After a failed allocation everything added is lost, and `failed` says so. */
struct text {
    char *data;
    size_t length, room;
    bool failed;
};
void text_add(struct text *x, const char *fmt, ...) PRINTF_LIKE(2, 3);
void text_bytes(struct text *x, const void *data, size_t n);

struct pseudo_row;

/* What a row is about. Everything referenced, or NULL, 0. */
struct pseudo_node {
    const struct pseudo_row *row;
    struct thread_group *tg; /* /proc/PID and below */
    struct task *task;       /* /proc/PID/task/TID and below */
    int number;              /* a descriptor, a CPU, ... */
};

struct pseudo_ctx {
    struct kernel *k;
    struct task *reader; /* who looks, or NULL */
    const struct pseudo_node *node;
    const struct file *file; /* that is being read or written, or NULL */
    struct pid_ns *pid_ns;   /* proc: whose processes it shows */
};

struct pseudo_names {
    /* Fills *out (with references of its own) for a name. 0 or -ENOENT. */
    int (*find)(struct pseudo_ctx *c, const char *name, struct pseudo_node *out);
    /* The first name with a number of at least `from`: fills *out and name. False: none left. */
    bool (*next)(struct pseudo_ctx *c, uint64_t from, struct pseudo_node *out, char name[32],
                 uint64_t *number);
    /* Whether a node that was found is still there. NULL: always. */
    bool (*valid)(const struct pseudo_node *node);
};

struct pseudo_row {
    const char *name; /* NULL ends a table */
    uint32_t mode;
    /* The text of a file, or the target of a link (no newline). 0 or -errno. */
    int (*show)(struct pseudo_ctx *c, struct text *out);
    /* A write: the whole buffer at once, NUL-terminated. 0 or -errno. NULL: not writable. */
    int (*store)(struct pseudo_ctx *c, const char *data, size_t n);
    const struct pseudo_row *children;
    const struct pseudo_names *names;
    /* Magic links: where to. */
    int (*follow)(struct pseudo_ctx *c, struct path_ref *out);
    /* Files that are no text (mem): their own operations; f->priv is NULL. */
    const struct file_ops *fops;
    unsigned flags;
    const void *arg; /* the function's own */
};
#define PSEUDO_AT_OPEN 1u /* show takes locks that precede FILE_POS: called by open, once */
#define PSEUDO_ACCESS 2u  /* only for who may look into the process (ptrace rules) */
#define PSEUDO_ATTACH 4u  /* only for who may change it */
#define PSEUDO_DIR_NLINK 8u
#define PSEUDO_OWN 16u /* a directory that is open to the process that it is about */

#define PSEUDO_FILE(n, s)                                                                          \
    {                                                                                              \
        .name = n, .mode = S_IFREG | 0444, .show = s                                               \
    }
#define PSEUDO_DIR(n, c)                                                                           \
    {                                                                                              \
        .name = n, .mode = S_IFDIR | 0555, .children = c                                           \
    }
/* A text that is always the same. */
int pseudo_show_const(struct pseudo_ctx *c, struct text *out);
#define PSEUDO_CONST(n, s)                                                                         \
    {                                                                                              \
        .name = n, .mode = S_IFREG | 0444, .show = pseudo_show_const, .arg = s                     \
    }
#define PSEUDO_LINK(n, s)                                                                          \
    {                                                                                              \
        .name = n, .mode = S_IFLNK | 0777, .show = s                                               \
    }

/* A super block whose root is `root`. pid_ns: NULL, or that of pseudo_ctx (a reference is taken);
 * then dentries are not kept, for processes come and go. */
int pseudo_create(struct kernel *k, const char *type, uint64_t magic, const struct pseudo_row *root,
                  struct pid_ns *pid_ns, struct super_block **out);
/* The context of an inode's functions. */
void pseudo_ctx_init(struct pseudo_ctx *c, struct inode *i, struct task *reader);
/* The node behind an inode of a pseudo file system. */
struct pseudo_node *pseudo_node(const struct inode *i);
/* The node behind an open directory; NULL if f is not a directory of a pseudo file system. */
struct pseudo_node *pseudo_dir_node(const struct file *f);
/* A number as a name: digits without leading zeroes, at most INT32_MAX. False if it is none. */
bool pseudo_number(const char *name, int *out);

#endif
