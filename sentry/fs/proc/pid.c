/*
 * /proc/PID: the small files, and the table.
 */
#include "sentry/fs/proc/proc.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- links ---- */

/* Where one of the task's own paths leads, with references. */
static int task_path(struct pseudo_ctx *c, struct path_ref *out)
{
    struct task *t = proc_task(c);
    if (!t)
        return -ENOENT;
    const char *which = c->node->row->name;
    int err = -ENOENT;
    if (which[0] == 'e') {
        mutex_lock(&t->lock);
        struct file *exe = t->exe ? file_get(t->exe) : NULL;
        mutex_unlock(&t->lock);
        if (exe) {
            *out = exe->path;
            path_get(out);
            file_put(exe);
            err = 0;
        }
    } else {
        struct fs_context *fs = task_get_fs(t);
        if (fs) {
            mutex_lock(&fs->lock);
            *out = which[0] == 'r' ? fs->root : fs->cwd;
            path_get(out);
            mutex_unlock(&fs->lock);
            fs_context_put(fs);
            err = 0;
        }
    }
    task_put(t);
    return err;
}

static int show_task_path(struct pseudo_ctx *c, struct text *out)
{
    struct path_ref p;
    int err = task_path(c, &p);
    if (err)
        return err;
    err = proc_text_path(c, &p, out);
    path_put(&p);
    return err;
}

/* ---- mounts ---- */

static int show_mounts(struct pseudo_ctx *c, struct text *out)
{
    struct task *t = proc_task(c);
    struct fs_context *fs = t ? task_get_fs(t) : NULL;
    if (t)
        task_put(t);
    if (!fs)
        return -EINVAL;
    mutex_lock(&fs->lock);
    struct path_ref root = fs->root;
    path_get(&root);
    struct mount_ns *ns = mount_ns_get(fs->ns);
    mutex_unlock(&fs->lock);
    fs_context_put(fs);
    char *s;
    size_t n;
    enum mounts_format format = (enum mounts_format)(uintptr_t)c->node->row->arg;
    int err = vfs_mounts_text(ns, &root, format, &s, &n);
    path_put(&root);
    mount_ns_put(ns);
    if (err)
        return err;
    text_bytes(out, s, n);
    free(s);
    return 0;
}

/* ---- small values ---- */

static int show_comm(struct pseudo_ctx *c, struct text *out)
{
    struct task *t = proc_task(c);
    if (!t)
        return -ESRCH;
    mutex_lock(&t->lock);
    text_add(out, "%.15s\n", t->comm);
    mutex_unlock(&t->lock);
    task_put(t);
    return 0;
}

static int store_comm(struct pseudo_ctx *c, const char *data, size_t n)
{
    struct task *t = proc_task(c);
    if (!t)
        return -ESRCH;
    int err = c->reader && t->tg == c->reader->tg ? 0 : -EINVAL;
    if (!err) {
        mutex_lock(&t->lock);
        memset(t->comm, 0, sizeof(t->comm));
        memcpy(t->comm, data, MIN(n, sizeof(t->comm) - 1));
        mutex_unlock(&t->lock);
    }
    task_put(t);
    return err;
}

static int show_oom_adj(struct pseudo_ctx *c, struct text *out)
{
    text_add(out, "%d\n", (int)c->node->tg->oom_score_adj);
    return 0;
}

static int store_oom_adj(struct pseudo_ctx *c, const char *data, UNUSED size_t n)
{
    char *end;
    long v = strtol(data, &end, 10);
    if (end == data || (*end && *end != '\n') || v < -1000 || v > 1000)
        return -EINVAL;
    if (v < c->node->tg->oom_score_adj && c->reader && !task_capable(c->reader, CAP_SYS_RESOURCE))
        return -EACCES;
    c->node->tg->oom_score_adj = (int)v;
    return 0;
}

static int show_personality(struct pseudo_ctx *c, struct text *out)
{
    struct task *t = proc_task(c);
    if (!t)
        return -ESRCH;
    text_add(out, "%08x\n", t->personality);
    task_put(t);
    return 0;
}

/* A task that runs has no registers to show, but for the reader's own. One that sleeps must still
 * be asleep when they have been read. */
static bool is_asleep(struct pseudo_ctx *c, struct task *t)
{
    return t == c->reader || atomic_load(&t->state) == TASK_SLEEPING;
}

static int show_syscall(struct pseudo_ctx *c, struct text *out)
{
    struct task *t = proc_task(c);
    if (!t)
        return -ESRCH;
    bool asleep = is_asleep(c, t);
    uint64_t switches = atomic_load(&t->nvcsw);
    const struct user_regs_struct r = asleep ? t->arch.regs : (struct user_regs_struct){0};
    if (!asleep || !is_asleep(c, t) || atomic_load(&t->nvcsw) != switches)
        text_add(out, "running\n");
    else if ((int)r.orig_rax == -1)
        text_add(out, "-1 0x%llx 0x%llx\n", r.rsp, r.rip);
    else
        text_add(out, "%d 0x%llx 0x%llx 0x%llx 0x%llx 0x%llx 0x%llx 0x%llx 0x%llx\n",
                 (int)r.orig_rax, r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9, r.rsp, r.rip);
    task_put(t);
    return 0;
}

static int show_timerslack(struct pseudo_ctx *c, struct text *out)
{
    struct task *t = proc_task(c);
    if (!t)
        return -ESRCH;
    text_add(out, "%llu\n", (unsigned long long)t->timer_slack_ns);
    task_put(t);
    return 0;
}

static int show_children(struct pseudo_ctx *c, struct text *out)
{
    struct kernel *k = c->k;
    for (struct thread_group *tg = thread_group_next(k, 1); tg;) {
        pid_t tgid = tg->tgid;
        pid_t nr = pid_nr_in(tg->pid, c->pid_ns);
        if (nr && thread_group_ppid(tg) == c->node->tg->tgid)
            text_add(out, "%d ", nr);
        thread_group_put(tg);
        tg = thread_group_next(k, tgid + 1);
    }
    return 0;
}

static const char io_text[] = "rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\n"
                              "write_bytes: 0\ncancelled_write_bytes: 0\n";

/* ---- threads ---- */

static const struct pseudo_row task_row = {
    .name = "", .mode = S_IFDIR | 0555, .children = proc_task_rows};

static int find_task(struct pseudo_ctx *c, const char *name, struct pseudo_node *out)
{
    int tid;
    struct task *t = pseudo_number(name, &tid) ? task_find_in(c->k, c->pid_ns, tid) : NULL;
    if (!t)
        return -ENOENT;
    if (t->tg != c->node->tg) {
        task_put(t);
        return -ENOENT;
    }
    *out = (struct pseudo_node){.row = &task_row, .tg = thread_group_get(t->tg), .task = t};
    return 0;
}

static bool next_task(struct pseudo_ctx *c, uint64_t from, struct pseudo_node *out, char name[32],
                      uint64_t *number)
{
    struct task *t = from > INT32_MAX ? NULL : task_next(c->node->tg, (pid_t)from);
    if (!t)
        return false;
    *out = (struct pseudo_node){.row = &task_row, .tg = thread_group_get(t->tg), .task = t};
    *number = (uint64_t)t->tid;
    snprintf(name, 32, "%d", proc_nr(c, t->tid));
    return true;
}

static bool task_valid(const struct pseudo_node *n)
{
    return !n->task || n->task->state != TASK_DEAD;
}

static const struct pseudo_names task_names = {find_task, next_task, task_valid};

/* ---- the tables ---- */

#define ROW_PATH(n)                                                                                \
    {                                                                                              \
        .name = n, .mode = S_IFLNK | 0777, .show = show_task_path, .follow = task_path,            \
        .flags = PSEUDO_ACCESS                                                                     \
    }
#define ROW_MOUNTS(n, m, f)                                                                        \
    {                                                                                              \
        .name = n, .mode = S_IFREG | m, .show = show_mounts, .flags = PSEUDO_AT_OPEN,              \
        .arg = (const void *)(uintptr_t)f                                                          \
    }
#define ROW_PRIVATE(n, m, s)                                                                       \
    {                                                                                              \
        .name = n, .mode = S_IFREG | m, .show = s, .flags = PSEUDO_ACCESS                          \
    }

#define ROW_MAP(n, k)                                                                              \
    {                                                                                              \
        .name = n, .mode = S_IFREG | 0644, .show = proc_pid_show_map, .store = proc_pid_store_map, \
        .arg = (const void *)(uintptr_t)k                                                          \
    }

/* What processes and threads both have. */
#define COMMON_ROWS                                                                                \
    ROW_PRIVATE("auxv", 0400, proc_pid_auxv), PSEUDO_CONST("cgroup", "0::/\n"),                    \
        PSEUDO_FILE("cmdline", proc_pid_cmdline),                                                  \
        {.name = "comm", .mode = S_IFREG | 0644, .show = show_comm, .store = store_comm},          \
        ROW_PATH("cwd"), ROW_PRIVATE("environ", 0400, proc_pid_environ), ROW_PATH("exe"),          \
        {.name = "fd",                                                                             \
         .mode = S_IFDIR | 0500,                                                                   \
         .names = &proc_fd_names,                                                                  \
         .flags = PSEUDO_ACCESS | PSEUDO_OWN},                                                     \
        {.name = "fdinfo",                                                                         \
         .mode = S_IFDIR | 0555,                                                                   \
         .names = &proc_fdinfo_names,                                                              \
         .flags = PSEUDO_ACCESS},                                                                  \
        ROW_MAP("gid_map", ID_GID),                                                                \
        {.name = "io",                                                                             \
         .mode = S_IFREG | 0400,                                                                   \
         .show = pseudo_show_const,                                                                \
         .arg = io_text,                                                                           \
         .flags = PSEUDO_ACCESS},                                                                  \
        PSEUDO_FILE("limits", proc_pid_limits), ROW_PRIVATE("maps", 0444, proc_pid_maps),          \
        {.name = "mem", .mode = S_IFREG | 0600, .fops = &proc_mem_fops, .flags = PSEUDO_ATTACH},   \
        ROW_MOUNTS("mountinfo", 0444, MOUNTS_INFO), ROW_MOUNTS("mounts", 0444, MOUNTS_TAB),        \
        {.name = "ns", .mode = S_IFDIR | 0511, .children = proc_ns_rows, .flags = PSEUDO_ACCESS},  \
        PSEUDO_CONST("oom_adj", "0\n"), PSEUDO_CONST("oom_score", "0\n"),                          \
        {.name = "oom_score_adj",                                                                  \
         .mode = S_IFREG | 0644,                                                                   \
         .show = show_oom_adj,                                                                     \
         .store = store_oom_adj},                                                                  \
        ROW_PRIVATE("personality", 0400, show_personality), ROW_MAP("projid_map", ID_PROJECT),     \
        ROW_PATH("root"), PSEUDO_FILE("schedstat", proc_pid_schedstat),                            \
        {.name = "setgroups",                                                                      \
         .mode = S_IFREG | 0644,                                                                   \
         .show = proc_pid_show_setgroups,                                                          \
         .store = proc_pid_store_setgroups},                                                       \
        ROW_PRIVATE("smaps", 0444, proc_pid_smaps),                                                \
        ROW_PRIVATE("smaps_rollup", 0444, proc_pid_smaps_rollup),                                  \
        PSEUDO_FILE("stat", proc_pid_stat), PSEUDO_FILE("statm", proc_pid_statm),                  \
        PSEUDO_FILE("status", proc_pid_status),                                                    \
        {.name = "syscall",                                                                        \
         .mode = S_IFREG | 0400,                                                                   \
         .show = show_syscall,                                                                     \
         .flags = PSEUDO_ACCESS | PSEUDO_ATTACH},                                                  \
        ROW_MAP("uid_map", ID_UID), PSEUDO_CONST("wchan", "0")

const struct pseudo_row proc_task_rows[] = {
    COMMON_ROWS,
    PSEUDO_FILE("children", show_children),
    {.name = NULL},
};

const struct pseudo_row proc_pid_rows[] = {
    COMMON_ROWS,
    {.name = "coredump_filter",
     .mode = S_IFREG | 0644,
     .show = pseudo_show_const,
     .arg = "00000033\n"},
    {.name = "task", .mode = S_IFDIR | 0555, .names = &task_names},
    {.name = "timerslack_ns", .mode = S_IFREG | 0666, .show = show_timerslack},
    {.name = NULL},
};
