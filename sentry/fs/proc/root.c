/*
 * The root of /proc.
 */
#include "sentry/fs/proc/proc.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/stat.h>

struct task *proc_task(struct pseudo_ctx *c)
{
    if (c->node->task)
        return task_get(c->node->task);
    return c->node->tg ? thread_group_task(c->node->tg) : NULL;
}

pid_t proc_nr(struct pseudo_ctx *c, pid_t nr)
{
    return pid_number_in(c->k, c->pid_ns, nr);
}

const struct user_ns *proc_user_ns(struct pseudo_ctx *c)
{
    const struct cred *cred = c->file ? c->file->cred : c->reader ? c->reader->cred : NULL;
    return cred ? cred->user_ns : c->k->user_ns;
}

struct mm *proc_mm(struct pseudo_ctx *c)
{
    struct task *t = proc_task(c);
    struct mm *mm = t ? task_get_mm(t) : NULL;
    if (t)
        task_put(t);
    return mm;
}

int proc_text_path(struct pseudo_ctx *c, const struct path_ref *p, struct text *out)
{
    char buf[PATH_MAX];
    int n = vfs_path_string(c->reader, p, buf, sizeof(buf));
    if (n < 0)
        return n;
    text_add(out, "%s", buf);
    return 0;
}

/* ---- processes ---- */

static const struct pseudo_row pid_row = {
    .name = "", .mode = S_IFDIR | 0555, .children = proc_pid_rows};

struct thread_group *proc_dir_group(const struct file *f)
{
    const struct pseudo_node *n = pseudo_dir_node(f);
    return n && n->row == &pid_row ? n->tg : NULL;
}

static int find_pid(struct pseudo_ctx *c, const char *name, struct pseudo_node *out)
{
    int pid;
    if (!pseudo_number(name, &pid))
        return -ENOENT;
    struct thread_group *tg = thread_group_find_in(c->k, c->pid_ns, pid);
    if (!tg) {
        /* A thread's id works as well, though no listing shows it. */
        struct task *t = task_find_in(c->k, c->pid_ns, pid);
        if (!t)
            return -ENOENT;
        tg = thread_group_get(t->tg);
        task_put(t);
    }
    *out = (struct pseudo_node){.row = &pid_row, .tg = tg};
    return 0;
}

static bool next_pid(struct pseudo_ctx *c, uint64_t from, struct pseudo_node *out, char name[32],
                     uint64_t *number)
{
    pid_t nr;
    struct thread_group *tg =
        from > INT32_MAX ? NULL : thread_group_next_in(c->k, c->pid_ns, (pid_t)from, &nr);
    if (!tg)
        return false;
    *out = (struct pseudo_node){.row = &pid_row, .tg = tg};
    *number = (uint64_t)nr;
    snprintf(name, 32, "%d", nr);
    return true;
}

static bool pid_valid(const struct pseudo_node *n)
{
    return !n->tg || !n->tg->reaped;
}

static const struct pseudo_names pid_names = {find_pid, next_pid, pid_valid};

/* ---- links to the reader ---- */

/* The reader's own number here: it may live where this proc does not look. */
static pid_t reader_nr(struct pseudo_ctx *c)
{
    return c->reader ? pid_nr_in(c->reader->tg->pid, c->pid_ns) : 0;
}

static int show_self(struct pseudo_ctx *c, struct text *out)
{
    pid_t nr = reader_nr(c);
    if (!nr)
        return -ENOENT;
    text_add(out, "%d", nr);
    return 0;
}

static int show_thread_self(struct pseudo_ctx *c, struct text *out)
{
    pid_t nr = reader_nr(c);
    if (!nr)
        return -ENOENT;
    text_add(out, "%d/task/%d", nr, pid_nr_in(c->reader->pid, c->pid_ns));
    return 0;
}

static int show_mounts_link(UNUSED struct pseudo_ctx *c, struct text *out)
{
    text_add(out, "self/mounts");
    return 0;
}

static int show_cmdline(UNUSED struct pseudo_ctx *c, struct text *out)
{
    text_add(out, "picket\n");
    return 0;
}

static const char filesystems[] =
    "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tcgroup2\nnodev\tdevtmpfs\nnodev\tdevpts\n"
    "nodev\tpipefs\nnodev\tsockfs\nnodev\tmqueue\nnodev\toverlay\nnodev\thostfs\n";

static const struct pseudo_row root_rows[] = {
    PSEUDO_LINK("self", show_self),
    PSEUDO_LINK("thread-self", show_thread_self),
    PSEUDO_LINK("mounts", show_mounts_link),
    PSEUDO_FILE("cmdline", show_cmdline),
    PSEUDO_FILE("cpuinfo", proc_show_cpuinfo),
    PSEUDO_CONST("devices",
                 "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n"
                 "136 pts\n\nBlock devices:\n"),
    PSEUDO_CONST("filesystems", filesystems),
    PSEUDO_FILE("loadavg", proc_show_loadavg),
    PSEUDO_FILE("meminfo", proc_show_meminfo),
    PSEUDO_CONST("modules", ""),
    PSEUDO_CONST("partitions", "major minor  #blocks  name\n\n"),
    PSEUDO_FILE("stat", proc_show_stat),
    PSEUDO_CONST("swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
    PSEUDO_DIR("sys", proc_sys_rows),
    PSEUDO_DIR("sysvipc", proc_sysvipc_rows),
    PSEUDO_FILE("uptime", proc_show_uptime),
    PSEUDO_FILE("version", proc_show_version),
    PSEUDO_FILE("vmstat", proc_show_vmstat),
    {.name = NULL},
};

static const struct pseudo_row root_row = {
    .name = "", .mode = S_IFDIR | 0555, .children = root_rows, .names = &pid_names};

int procfs_create(struct kernel *k, struct super_block **out)
{
    struct task *t = task_current();
    return pseudo_create(k, "proc", PROC_SUPER_MAGIC, &root_row, t ? task_pid_ns(t) : k->pid_ns,
                         out);
}
