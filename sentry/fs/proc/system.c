/*
 * What /proc says of the whole machine.
 */
#include "sentry/fs/proc/proc.h"
#include "sentry/kernel/kernel.h"
#include <sys/stat.h>
#include <time.h>

static void text_kb(struct text *out, const char *name, uint64_t bytes)
{
    text_add(out, "%-16s%8llu kB\n", name, (unsigned long long)bytes / 1024);
}

int proc_show_meminfo(struct pseudo_ctx *c, struct text *out)
{
    struct memory_file_stats ms = {0};
    uint64_t total = c->k->mm_config.total_memory;
    memory_file_stats(c->k->memory, &ms);
    uint64_t used = MIN(ms.resident, total), rest = total - used;
    const struct {
        const char *name;
        uint64_t bytes;
    } rows[] = {
        {"MemTotal:", total},
        {"MemFree:", rest},
        {"MemAvailable:", rest},
        {"Buffers:", 0},
        {"Cached:", 0},
        {"SwapCached:", 0},
        {"Active:", used},
        {"Inactive:", 0},
        {"Active(anon):", used},
        {"Inactive(anon):", 0},
        {"Active(file):", 0},
        {"Inactive(file):", 0},
        {"Unevictable:", 0},
        {"Mlocked:", 0},
        {"SwapTotal:", 0},
        {"SwapFree:", 0},
        {"Dirty:", 0},
        {"Writeback:", 0},
        {"AnonPages:", used},
        {"Mapped:", 0},
        {"Shmem:", 0},
        {"KReclaimable:", 0},
        {"Slab:", 0},
        {"SReclaimable:", 0},
        {"SUnreclaim:", 0},
        {"KernelStack:", 0},
        {"PageTables:", 0},
        {"NFS_Unstable:", 0},
        {"Bounce:", 0},
        {"WritebackTmp:", 0},
        {"CommitLimit:", total / 2},
        {"Committed_AS:", c->k->mm_config.committed_as},
        {"VmallocTotal:", 0x7fffffffffffull},
        {"VmallocUsed:", 0},
        {"VmallocChunk:", 0},
        {"Percpu:", 0},
        {"AnonHugePages:", 0},
        {"ShmemHugePages:", 0},
        {"ShmemPmdMapped:", 0},
    };
    for (size_t k = 0; k < ARRAY_SIZE(rows); k++)
        text_kb(out, rows[k].name, rows[k].bytes);
    text_add(out, "HugePages_Total:       0\nHugePages_Free:        0\n"
                  "HugePages_Rsvd:        0\nHugePages_Surp:        0\n"
                  "Hugepagesize:       2048 kB\nHugetlb:               0 kB\n");
    return 0;
}

struct busy {
    uint64_t user, system; /* ns */
    unsigned tasks, running;
};

static void count_tasks(struct thread_group *tg, struct busy *b)
{
    for (struct task *t = task_next(tg, 1); t;) {
        pid_t tid = t->tid;
        b->tasks++;
        if (task_state_char(t) == 'R')
            b->running++;
        task_put(t);
        t = task_next(tg, tid + 1);
    }
}

static uint64_t of_timeval(const struct timeval *tv)
{
    return (uint64_t)tv->tv_sec * 1000000000ull + (uint64_t)tv->tv_usec * 1000ull;
}

static void count_all(struct kernel *k, struct busy *b)
{
    *b = (struct busy){0};
    for (struct thread_group *tg = thread_group_next(k, 1); tg;) {
        struct rusage ru;
        pid_t tgid = tg->tgid;
        thread_group_usage(tg, &ru);
        b->user += of_timeval(&ru.ru_utime);
        b->system += of_timeval(&ru.ru_stime);
        if (tg == k->init) { /* what was waited for, in the end by init */
            b->user += of_timeval(&tg->child_usage.ru_utime);
            b->system += of_timeval(&tg->child_usage.ru_stime);
        }
        count_tasks(tg, b);
        thread_group_put(tg);
        tg = thread_group_next(k, tgid + 1);
    }
}

static unsigned long long ticks(uint64_t ns)
{
    return ns / (1000000000ull / PROC_HZ);
}

int proc_show_stat(struct pseudo_ctx *c, struct text *out)
{
    struct kernel *k = c->k;
    struct busy b;
    count_all(k, &b);
    uint64_t up = (uint64_t)clock_monotonic(&k->clock), n = (uint64_t)MAX(k->ncpus, 1);
    uint64_t busy = b.user + b.system, idle = up * n > busy ? up * n - busy : 0;
    text_add(out, "cpu  %llu 0 %llu %llu 0 0 0 0 0 0\n", ticks(b.user), ticks(b.system),
             ticks(idle));
    for (uint64_t i = 0; i < n; i++)
        text_add(out, "cpu%u %llu 0 %llu %llu 0 0 0 0 0 0\n", (unsigned)i, ticks(b.user / n),
                 ticks(b.system / n), ticks(idle / n));
    int64_t boot = clock_realtime(&k->clock) - (int64_t)up;
    text_add(out, "intr 0\nctxt 0\nbtime %lld\nprocesses %llu\n", (long long)(boot / 1000000000),
             (unsigned long long)k->forks);
    text_add(out, "procs_running %u\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n",
             MAX(b.running, 1u));
    return 0;
}

int proc_show_uptime(struct pseudo_ctx *c, struct text *out)
{
    struct busy b;
    count_all(c->k, &b);
    uint64_t up = (uint64_t)clock_monotonic(&c->k->clock) / 10000000;
    uint64_t all = up * (uint64_t)MAX(c->k->ncpus, 1), busy = (b.user + b.system) / 10000000;
    uint64_t idle = all > busy ? all - busy : 0;
    text_add(out, "%llu.%02llu %llu.%02llu\n", (unsigned long long)up / 100,
             (unsigned long long)up % 100, (unsigned long long)idle / 100,
             (unsigned long long)idle % 100);
    return 0;
}

int proc_show_loadavg(struct pseudo_ctx *c, struct text *out)
{
    struct busy b;
    count_all(c->k, &b);
    text_add(out, "0.00 0.00 0.00 %u/%u %llu\n", MAX(b.running, 1u), b.tasks,
             (unsigned long long)c->k->forks + 1);
    return 0;
}

int proc_show_version(UNUSED struct pseudo_ctx *c, struct text *out)
{
    text_add(out, "%s version %s (picket@picket) (cc) %s\n", KERNEL_SYSNAME, KERNEL_RELEASE,
             KERNEL_VERSION);
    return 0;
}

int proc_show_vmstat(struct pseudo_ctx *c, struct text *out)
{
    struct memory_file_stats ms = {0};
    memory_file_stats(c->k->memory, &ms);
    uint64_t total = c->k->mm_config.total_memory, used = MIN(ms.resident, total);
    text_add(out, "nr_free_pages %llu\nnr_inactive_anon 0\nnr_active_anon %llu\n",
             (unsigned long long)(total - used) >> PAGE_SHIFT,
             (unsigned long long)used >> PAGE_SHIFT);
    text_add(out, "nr_inactive_file 0\nnr_active_file 0\nnr_dirty 0\nnr_writeback 0\n");
    text_add(out, "pgpgin 0\npgpgout 0\npswpin 0\npswpout 0\npgfault 0\npgmajfault 0\n");
    return 0;
}
