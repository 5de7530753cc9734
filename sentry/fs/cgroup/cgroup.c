/*
 * cgroup2, read only: the sandbox is one group, and this is what its processes see of it: who is in
 * it, what it used, and its limits. See the kernel's Documentation/admin-guide/cgroup-v2.rst; as in
 * a cgroup namespace, the root that is shown is not the root of a hierarchy, and has all files.
 */
#include "sentry/fs/pseudo/pseudo.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include <linux/magic.h>
#include <sys/stat.h>

static const struct pid_ns *reader_ns(const struct pseudo_ctx *c)
{
    return c->reader ? task_pid_ns(c->reader) : c->k->pid_ns;
}

static int show_procs(struct pseudo_ctx *c, struct text *out)
{
    pid_t nr;
    struct thread_group *tg = thread_group_next_in(c->k, reader_ns(c), 1, &nr);
    while (tg) {
        text_add(out, "%d\n", nr);
        thread_group_put(tg);
        tg = thread_group_next_in(c->k, reader_ns(c), nr + 1, &nr);
    }
    return 0;
}

static int show_threads(struct pseudo_ctx *c, struct text *out)
{
    pid_t nr;
    struct thread_group *tg = thread_group_next_in(c->k, reader_ns(c), 1, &nr);
    while (tg) {
        for (struct task *t = task_next(tg, 1); t;) {
            pid_t tid = t->tid, own = pid_number_in(c->k, reader_ns(c), tid);
            if (own)
                text_add(out, "%d\n", own);
            task_put(t);
            t = task_next(tg, tid + 1);
        }
        thread_group_put(tg);
        tg = thread_group_next_in(c->k, reader_ns(c), nr + 1, &nr);
    }
    return 0;
}

static uint64_t microseconds(const struct timeval *tv)
{
    return (uint64_t)tv->tv_sec * 1000000u + (uint64_t)tv->tv_usec;
}

static int show_cpu_stat(struct pseudo_ctx *c, struct text *out)
{
    uint64_t user = microseconds(&c->k->init->child_usage.ru_utime);
    uint64_t system = microseconds(&c->k->init->child_usage.ru_stime);
    for (struct thread_group *tg = thread_group_next(c->k, 1); tg;) {
        struct rusage ru;
        pid_t tgid = tg->tgid;
        thread_group_usage(tg, &ru);
        user += microseconds(&ru.ru_utime);
        system += microseconds(&ru.ru_stime);
        thread_group_put(tg);
        tg = thread_group_next(c->k, tgid + 1);
    }
    text_add(out, "usage_usec %lu\nuser_usec %lu\nsystem_usec %lu\n",
             (unsigned long)(user + system), (unsigned long)user, (unsigned long)system);
    text_add(out, "nr_periods 0\nnr_throttled 0\nthrottled_usec 0\n");
    return 0;
}

static unsigned long resident(const struct pseudo_ctx *c)
{
    struct memory_file_stats ms = {0};
    memory_file_stats(c->k->memory, &ms);
    return ms.resident;
}

static int show_memory_current(struct pseudo_ctx *c, struct text *out)
{
    text_add(out, "%lu\n", resident(c));
    return 0;
}

static int show_memory_stat(struct pseudo_ctx *c, struct text *out)
{
    text_add(out, "anon %lu\nfile 0\nkernel_stack 0\npagetables 0\nsock 0\nshmem 0\n", resident(c));
    text_add(out, "file_mapped 0\nfile_dirty 0\nfile_writeback 0\ninactive_anon 0\n");
    text_add(out, "active_anon %lu\ninactive_file 0\nactive_file 0\nunevictable 0\n", resident(c));
    return 0;
}

static int show_pids_current(struct pseudo_ctx *c, struct text *out)
{
    mutex_lock(&c->k->tree_lock);
    int n = c->k->ntasks;
    mutex_unlock(&c->k->tree_lock);
    text_add(out, "%d\n", n);
    return 0;
}

static int show_pids_max(struct pseudo_ctx *c, struct text *out)
{
    text_add(out, "%d\n", c->k->max_tasks);
    return 0;
}

static const struct pseudo_row root_rows[] = {
    PSEUDO_CONST("cgroup.controllers", "cpu memory pids\n"),
    PSEUDO_CONST("cgroup.events", "populated 1\nfrozen 0\n"),
    PSEUDO_CONST("cgroup.freeze", "0\n"),
    PSEUDO_CONST("cgroup.max.depth", "max\n"),
    PSEUDO_CONST("cgroup.max.descendants", "max\n"),
    PSEUDO_FILE("cgroup.procs", show_procs),
    PSEUDO_CONST("cgroup.stat", "nr_descendants 0\nnr_dying_descendants 0\n"),
    PSEUDO_CONST("cgroup.subtree_control", ""),
    PSEUDO_FILE("cgroup.threads", show_threads),
    PSEUDO_CONST("cgroup.type", "domain\n"),
    PSEUDO_CONST("cpu.max", "max 100000\n"),
    PSEUDO_FILE("cpu.stat", show_cpu_stat),
    PSEUDO_CONST("cpu.weight", "100\n"),
    PSEUDO_FILE("memory.current", show_memory_current),
    PSEUDO_CONST("memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n"),
    PSEUDO_CONST("memory.high", "max\n"),
    PSEUDO_CONST("memory.low", "0\n"),
    PSEUDO_CONST("memory.max", "max\n"),
    PSEUDO_CONST("memory.min", "0\n"),
    PSEUDO_FILE("memory.stat", show_memory_stat),
    PSEUDO_CONST("memory.swap.current", "0\n"),
    PSEUDO_CONST("memory.swap.max", "max\n"),
    PSEUDO_FILE("pids.current", show_pids_current),
    PSEUDO_CONST("pids.events", "max 0\n"),
    PSEUDO_FILE("pids.max", show_pids_max),
    {.name = NULL},
};

static const struct pseudo_row root_row = {
    .name = "", .mode = S_IFDIR | 0555, .children = root_rows};

int cgroupfs_create(struct kernel *k, struct super_block **out)
{
    return pseudo_create(k, "cgroup2", CGROUP2_SUPER_MAGIC, &root_row, NULL, out);
}
