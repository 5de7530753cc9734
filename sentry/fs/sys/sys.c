/*
 * sysfs: what glibc, the JVM, Go, lscpu and nproc read: processors, one memory node, huge pages,
 * and the directory where cgroup2 is mounted.
 */
#include "sentry/fs/pseudo/pseudo.h"
#include "sentry/kernel/kernel.h"
#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int cpus(const struct pseudo_ctx *c)
{
    return MAX(c->k->ncpus, 1);
}

static int show_range(struct pseudo_ctx *c, struct text *out)
{
    int n = cpus(c);
    text_add(out, n > 1 ? "0-%d\n" : "%d\n", n - 1);
    return 0;
}

/* A bit mask of processors, 32 bits a group: those from `from` to `to`. */
static void put_mask(struct text *out, int n, int from, int to)
{
    for (int w = (n - 1) / 32; w >= 0; w--) {
        uint32_t bits = 0;
        for (int k = 0; k < 32; k++) {
            int cpu = w * 32 + k;
            if (cpu >= from && cpu <= to && cpu < n)
                bits |= 1u << k;
        }
        int width = w == (n - 1) / 32 ? (n - w * 32 + 3) / 4 : 8;
        text_add(out, "%0*x%s", width, bits, w ? "," : "\n");
    }
}

static int show_mask_all(struct pseudo_ctx *c, struct text *out)
{
    put_mask(out, cpus(c), 0, cpus(c) - 1);
    return 0;
}

static int show_mask_own(struct pseudo_ctx *c, struct text *out)
{
    put_mask(out, cpus(c), c->node->number, c->node->number);
    return 0;
}

static int show_own(struct pseudo_ctx *c, struct text *out)
{
    text_add(out, "%d\n", c->node->number);
    return 0;
}

static int show_kernel_max(struct pseudo_ctx *c, struct text *out)
{
    text_add(out, "%d\n", cpus(c) - 1);
    return 0;
}

/* One socket, a core for each processor. */
static const struct pseudo_row topology_rows[] = {
    PSEUDO_FILE("core_cpus", show_mask_own),
    PSEUDO_FILE("core_cpus_list", show_own),
    PSEUDO_FILE("core_id", show_own),
    PSEUDO_FILE("core_siblings", show_mask_all),
    PSEUDO_FILE("core_siblings_list", show_range),
    PSEUDO_CONST("die_id", "0\n"),
    PSEUDO_FILE("package_cpus", show_mask_all),
    PSEUDO_FILE("package_cpus_list", show_range),
    PSEUDO_CONST("physical_package_id", "0\n"),
    PSEUDO_FILE("thread_siblings", show_mask_own),
    PSEUDO_FILE("thread_siblings_list", show_own),
    {.name = NULL},
};

static const struct pseudo_row cpu_rows[] = {
    PSEUDO_CONST("online", "1\n"),
    PSEUDO_DIR("topology", topology_rows),
    {.name = NULL},
};

static const struct pseudo_row cpu_row = {.name = "", .mode = S_IFDIR | 0755, .children = cpu_rows};

static int find_cpu(struct pseudo_ctx *c, const char *name, struct pseudo_node *out)
{
    int n;
    if (strncmp(name, "cpu", 3) != 0 || !pseudo_number(name + 3, &n) || n >= cpus(c))
        return -ENOENT;
    *out = (struct pseudo_node){.row = &cpu_row, .number = n};
    return 0;
}

static bool next_cpu(struct pseudo_ctx *c, uint64_t from, struct pseudo_node *out, char name[32],
                     uint64_t *number)
{
    if (from >= (uint64_t)cpus(c))
        return false;
    *out = (struct pseudo_node){.row = &cpu_row, .number = (int)from};
    *number = from;
    snprintf(name, 32, "cpu%d", (int)from);
    return true;
}

static const struct pseudo_names cpu_names = {find_cpu, next_cpu, NULL};

static const struct pseudo_row smt_rows[] = {
    PSEUDO_CONST("active", "0\n"),
    PSEUDO_CONST("control", "notsupported\n"),
    {.name = NULL},
};

static const struct pseudo_row cpu_dir_rows[] = {
    PSEUDO_CONST("isolated", "\n"),      PSEUDO_FILE("kernel_max", show_kernel_max),
    PSEUDO_CONST("offline", "\n"),       PSEUDO_FILE("online", show_range),
    PSEUDO_FILE("possible", show_range), PSEUDO_FILE("present", show_range),
    PSEUDO_DIR("smt", smt_rows),         {.name = NULL},
};

/* ---- the memory node ---- */

static int show_node_meminfo(struct pseudo_ctx *c, struct text *out)
{
    struct memory_file_stats ms = {0};
    uint64_t total = c->k->mm_config.total_memory;
    memory_file_stats(c->k->memory, &ms);
    uint64_t used = MIN(ms.resident, total);
    text_add(out, "Node 0 MemTotal:       %llu kB\nNode 0 MemFree:        %llu kB\n",
             (unsigned long long)total / 1024, (unsigned long long)(total - used) / 1024);
    text_add(out, "Node 0 MemUsed:        %llu kB\n", (unsigned long long)used / 1024);
    return 0;
}

static const struct pseudo_row node0_rows[] = {
    PSEUDO_FILE("cpulist", show_range),
    PSEUDO_FILE("cpumap", show_mask_all),
    PSEUDO_CONST("distance", "10\n"),
    PSEUDO_FILE("meminfo", show_node_meminfo),
    {.name = NULL},
};

static const struct pseudo_row node_rows[] = {
    PSEUDO_CONST("has_cpu", "0\n"),
    PSEUDO_CONST("has_memory", "0\n"),
    PSEUDO_CONST("has_normal_memory", "0\n"),
    PSEUDO_DIR("node0", node0_rows),
    PSEUDO_CONST("online", "0\n"),
    PSEUDO_CONST("possible", "0\n"),
    {.name = NULL},
};

static const struct pseudo_row system_rows[] = {
    {.name = "cpu", .mode = S_IFDIR | 0755, .children = cpu_dir_rows, .names = &cpu_names},
    PSEUDO_DIR("node", node_rows),
    {.name = NULL},
};

static const struct pseudo_row devices_rows[] = {
    PSEUDO_DIR("system", system_rows),
    {.name = NULL},
};

/* ---- the rest ---- */

static const struct pseudo_row thp_rows[] = {
    PSEUDO_CONST("defrag", "always defer defer+madvise madvise [never]\n"),
    PSEUDO_CONST("enabled", "always madvise [never]\n"),
    PSEUDO_CONST("hpage_pmd_size", "2097152\n"),
    PSEUDO_CONST("shmem_enabled", "always within_size advise [never] deny force\n"),
    PSEUDO_CONST("use_zero_page", "0\n"),
    {.name = NULL},
};

static const struct pseudo_row empty_rows[] = {{.name = NULL}};

static const struct pseudo_row kernel_mm_rows[] = {
    PSEUDO_DIR("hugepages", empty_rows),
    PSEUDO_DIR("transparent_hugepage", thp_rows),
    {.name = NULL},
};

static const struct pseudo_row kernel_rows[] = {
    PSEUDO_DIR("mm", kernel_mm_rows),
    {.name = NULL},
};

static const struct pseudo_row fs_rows[] = {
    PSEUDO_DIR("cgroup", empty_rows),
    {.name = NULL},
};

static const struct pseudo_row class_rows[] = {
    PSEUDO_DIR("block", empty_rows),
    PSEUDO_DIR("net", empty_rows),
    {.name = NULL},
};

/* Links to devices, by number: there are none. */
static const struct pseudo_row dev_rows[] = {
    PSEUDO_DIR("block", empty_rows),
    PSEUDO_DIR("char", empty_rows),
    {.name = NULL},
};

static const struct pseudo_row root_rows[] = {
    PSEUDO_DIR("block", empty_rows),
    PSEUDO_DIR("bus", empty_rows),
    PSEUDO_DIR("class", class_rows),
    PSEUDO_DIR("dev", dev_rows),
    PSEUDO_DIR("devices", devices_rows),
    PSEUDO_DIR("firmware", empty_rows),
    PSEUDO_DIR("fs", fs_rows),
    PSEUDO_DIR("kernel", kernel_rows),
    PSEUDO_DIR("module", empty_rows),
    PSEUDO_DIR("power", empty_rows),
    {.name = NULL},
};

static const struct pseudo_row root_row = {
    .name = "", .mode = S_IFDIR | 0555, .children = root_rows};

int sysfs_create(struct kernel *k, struct super_block **out)
{
    return pseudo_create(k, "sysfs", SYSFS_MAGIC, &root_row, NULL, out);
}
