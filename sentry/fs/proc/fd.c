/*
 * /proc/PID/fd and fdinfo.
 */
#include "sentry/fs/proc/proc.h"
#include "sentry/kernel/kernel.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/* The description behind the node's number, with a reference, or NULL. */
static struct file *file_of(struct pseudo_ctx *c, const struct pseudo_node *n)
{
    struct pseudo_ctx at = *c;
    at.node = n;
    struct task *t = proc_task(&at);
    struct fd_table *ft = t ? task_get_files(t) : NULL;
    if (t)
        task_put(t);
    if (!ft)
        return NULL;
    struct file *f;
    int fd = fd_table_next(ft, n->number, &f);
    fd_table_put(ft);
    if (fd < 0)
        return NULL;
    if (fd == n->number)
        return f;
    file_put(f);
    return NULL;
}

static int show_fd(struct pseudo_ctx *c, struct text *out)
{
    struct file *f = file_of(c, c->node);
    if (!f)
        return -ENOENT;
    int err = proc_text_path(c, &f->path, out);
    file_put(f);
    return err;
}

static int follow_fd(struct pseudo_ctx *c, struct path_ref *out)
{
    struct file *f = file_of(c, c->node);
    if (!f)
        return -ENOENT;
    *out = f->path;
    path_get(out);
    file_put(f);
    return 0;
}

static int show_fdinfo(struct pseudo_ctx *c, struct text *out)
{
    struct file *f = file_of(c, c->node);
    if (!f)
        return -ENOENT;
    struct kstat st;
    unsigned flags = f->flags;
    if (vfs_getattr(&f->path, &st))
        st.ino = f->inode->ino;
    if (c->reader && c->node->tg == c->reader->tg && fd_get_cloexec(c->reader, c->node->number) > 0)
        flags |= O_CLOEXEC;
    text_add(out, "pos:\t%lld\nflags:\t0%o\nmnt_id:\t%d\nino:\t%llu\n", (long long)f->pos, flags,
             f->path.mnt ? f->path.mnt->id : 0, (unsigned long long)st.ino);
    if (f->ops->show_fdinfo) {
        char buf[4096];
        int n = f->ops->show_fdinfo(f, buf, sizeof(buf));
        if (n > 0)
            text_bytes(out, buf, MIN((size_t)n, sizeof(buf) - 1));
    }
    file_put(f);
    return 0;
}

/* The permission bits of the link say how the descriptor was opened. */
#define FD_ROW(m)                                                                                  \
    {                                                                                              \
        .name = "", .mode = S_IFLNK | (m), .show = show_fd, .follow = follow_fd,                   \
        .flags = PSEUDO_ACCESS                                                                     \
    }
static const struct pseudo_row fd_rows[4] = {FD_ROW(0000), FD_ROW(0500), FD_ROW(0300),
                                             FD_ROW(0700)};
static const struct pseudo_row fdinfo_row = {
    .name = "", .mode = S_IFREG | 0444, .show = show_fdinfo, .flags = PSEUDO_ACCESS};

static void fill(struct pseudo_ctx *c, const struct file *f, int fd, bool info,
                 struct pseudo_node *out)
{
    const struct pseudo_node *n = c->node;
    *out = (struct pseudo_node){
        .row = info ? &fdinfo_row : &fd_rows[(f->readable ? 1 : 0) + (f->writable ? 2 : 0)],
        .tg = n->tg ? thread_group_get(n->tg) : NULL,
        .task = n->task ? task_get(n->task) : NULL,
        .number = fd,
    };
}

static int find(struct pseudo_ctx *c, const char *name, bool info, struct pseudo_node *out)
{
    struct pseudo_node n = *c->node;
    if (!pseudo_number(name, &n.number))
        return -ENOENT;
    struct file *f = file_of(c, &n);
    if (!f)
        return -ENOENT;
    fill(c, f, n.number, info, out);
    file_put(f);
    return 0;
}

static bool next(struct pseudo_ctx *c, uint64_t from, bool info, struct pseudo_node *out,
                 char name[32], uint64_t *number)
{
    struct task *t = from > INT32_MAX ? NULL : proc_task(c);
    struct fd_table *ft = t ? task_get_files(t) : NULL;
    if (t)
        task_put(t);
    if (!ft)
        return false;
    struct file *f;
    int fd = fd_table_next(ft, (int)from, &f);
    fd_table_put(ft);
    if (fd < 0)
        return false;
    fill(c, f, fd, info, out);
    file_put(f);
    *number = (uint64_t)fd;
    snprintf(name, 32, "%d", fd);
    return true;
}

static int find_fd(struct pseudo_ctx *c, const char *name, struct pseudo_node *out)
{
    return find(c, name, false, out);
}
static int find_fdinfo(struct pseudo_ctx *c, const char *name, struct pseudo_node *out)
{
    return find(c, name, true, out);
}
static bool next_fd(struct pseudo_ctx *c, uint64_t from, struct pseudo_node *out, char name[32],
                    uint64_t *number)
{
    return next(c, from, false, out, name, number);
}
static bool next_fdinfo(struct pseudo_ctx *c, uint64_t from, struct pseudo_node *out, char name[32],
                        uint64_t *number)
{
    return next(c, from, true, out, name, number);
}

/* A descriptor number may mean another file by now: ask again each time. */
static bool never(UNUSED const struct pseudo_node *n)
{
    return false;
}

const struct pseudo_names proc_fd_names = {find_fd, next_fd, never};
const struct pseudo_names proc_fdinfo_names = {find_fdinfo, next_fdinfo, never};
