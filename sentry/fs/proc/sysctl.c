/*
 * /proc/sys.
 */
#include "sentry/aio/aio.h"
#include "sentry/fs/mqueue/mqueue.h"
#include "sentry/fs/proc/proc.h"
#include "sentry/ipc/ipc.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/ns.h"
#include "sentry/kernel/seccomp.h"
#include <errno.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

static void put_uuid(struct text *out, const uint8_t b[16])
{
    for (int k = 0; k < 16; k++)
        text_add(out, k == 4 || k == 6 || k == 8 || k == 10 ? "-%02x" : "%02x",
                 k == 6   ? (b[k] & 0x0f) | 0x40
                 : k == 8 ? (b[k] & 0x3f) | 0x80
                          : b[k]);
    text_add(out, "\n");
}

static int show_boot_id(struct pseudo_ctx *c, struct text *out)
{
    put_uuid(out, c->k->boot_id);
    return 0;
}

static int show_uuid(UNUSED struct pseudo_ctx *c, struct text *out)
{
    uint8_t b[16];
    if (getrandom(b, sizeof(b), 0) != (ssize_t)sizeof(b))
        return -EIO;
    put_uuid(out, b);
    return 0;
}

/* The names belong to the uts namespace of who looks. */
static struct ns_set *reader_ns(struct pseudo_ctx *c)
{
    return c->reader ? task_get_ns(c->reader) : ns_set_get(c->k->ns);
}

static char *uts_field(struct pseudo_ctx *c, struct uts_ns *uts)
{
    return c->node->row->name[0] == 'd' ? uts->domainname : uts->nodename;
}

static int show_hostname(struct pseudo_ctx *c, struct text *out)
{
    struct ns_set *set = reader_ns(c);
    if (!set)
        return -ESRCH;
    {
        MUTEX_GUARD(&set->uts->lock);
        text_add(out, "%s\n", uts_field(c, set->uts));
    }
    ns_set_put(set);
    return 0;
}

static int store_hostname(struct pseudo_ctx *c, const char *data, size_t n)
{
    struct ns_set *set = reader_ns(c);
    if (!set)
        return -ESRCH;
    if (c->reader && !task_capable_in(c->reader, set->uts->common.owner, CAP_SYS_ADMIN)) {
        ns_set_put(set);
        return -EPERM;
    }
    if (n && data[n - 1] == '\n')
        n--;
    {
        char *to = uts_field(c, set->uts);
        MUTEX_GUARD(&set->uts->lock);
        memset(to, 0, sizeof(set->uts->nodename));
        memcpy(to, data, MIN(n, sizeof(set->uts->nodename) - 1));
    }
    ns_set_put(set);
    return 0;
}

static int show_threads_max(struct pseudo_ctx *c, struct text *out)
{
    text_add(out, "%d\n", c->k->max_tasks);
    return 0;
}

/* ---- seccomp ---- */

static int show_seccomp_actions(struct pseudo_ctx *c, struct text *out)
{
    bool all = c->node->row->arg != NULL, first = true;
    uint32_t logged = atomic_load(&c->k->seccomp_logged);
    for (unsigned n = 0; n < SECCOMP_ACTIONS; n++) {
        if (!all && !(logged >> n & 1))
            continue;
        text_add(out, first ? "%s" : " %s", seccomp_action_name(n));
        first = false;
    }
    text_add(out, "\n");
    return 0;
}

static int seccomp_action_named(const char *name)
{
    /* The last one, allow, is never logged. */
    for (int n = 0; n < SECCOMP_ACTIONS - 1; n++) {
        if (strcmp(name, seccomp_action_name((unsigned)n)) == 0)
            return n;
    }
    return -EINVAL;
}

static int store_seccomp_logged(struct pseudo_ctx *c, const char *data, size_t n)
{
    char names[256], *save;
    uint32_t logged = 0;
    if (c->reader && !task_capable(c->reader, CAP_SYS_ADMIN))
        return -EPERM;
    if (n >= sizeof(names))
        return -EINVAL;
    memcpy(names, data, n);
    names[n] = '\0';
    for (char *name = strtok_r(names, " \n", &save); name; name = strtok_r(NULL, " \n", &save)) {
        int action = seccomp_action_named(name);
        if (action < 0)
            return action;
        logged |= 1u << action;
    }
    atomic_store(&c->k->seccomp_logged, logged);
    return 0;
}

/* ---- vm: what the memory managers look at ---- */

static int store_number(const char *data, unsigned long max, unsigned long *out)
{
    char *end;
    errno = 0;
    unsigned long v = strtoul(data, &end, 10);
    if (end == data || errno || (*end && *end != '\n') || v > max)
        return -EINVAL;
    *out = v;
    return 0;
}

static int show_max_map_count(struct pseudo_ctx *c, struct text *out)
{
    text_add(out, "%u\n", (unsigned)c->k->mm_config.max_map_count);
    return 0;
}

static int store_max_map_count(struct pseudo_ctx *c, const char *data, UNUSED size_t n)
{
    unsigned long v;
    int err = store_number(data, INT32_MAX, &v);
    if (!err)
        c->k->mm_config.max_map_count = (uint32_t)v;
    return err;
}

static int show_overcommit(struct pseudo_ctx *c, struct text *out)
{
    text_add(out, "%u\n", (unsigned)c->k->mm_config.overcommit);
    return 0;
}

static int store_overcommit(struct pseudo_ctx *c, const char *data, UNUSED size_t n)
{
    unsigned long v;
    int err = store_number(data, 2, &v);
    if (!err)
        c->k->mm_config.overcommit = (uint32_t)v;
    return err;
}

static int show_min_addr(struct pseudo_ctx *c, struct text *out)
{
    text_add(out, "%llu\n", (unsigned long long)c->k->mm_config.min_addr);
    return 0;
}

static const struct pseudo_row random_rows[] = {
    PSEUDO_FILE("boot_id", show_boot_id),
    PSEUDO_CONST("entropy_avail", "256\n"),
    PSEUDO_CONST("poolsize", "256\n"),
    PSEUDO_CONST("urandom_min_reseed_secs", "60\n"),
    PSEUDO_FILE("uuid", show_uuid),
    PSEUDO_CONST("write_wakeup_threshold", "256\n"),
    {.name = NULL},
};

static const struct pseudo_row seccomp_rows[] = {
    {.name = "actions_avail", .mode = S_IFREG | 0444, .show = show_seccomp_actions, .arg = "all"},
    {.name = "actions_logged",
     .mode = S_IFREG | 0644,
     .show = show_seccomp_actions,
     .store = store_seccomp_logged},
    {.name = NULL},
};

#define TEXT(x) TEXT_(x)
#define TEXT_(x) #x
#define ROW_RW(n, s, st)                                                                           \
    {                                                                                              \
        .name = n, .mode = S_IFREG | 0644, .show = s, .store = st                                  \
    }

/* ---- System V IPC: sysvipc.c ---- */

static const uint8_t msgmax[] = {IPC_MSGMAX, PROC_IPC_END};
static const uint8_t msgmnb[] = {IPC_MSGMNB, PROC_IPC_END};
static const uint8_t msgmni[] = {IPC_MSGMNI, PROC_IPC_END};
static const uint8_t sem[] = {IPC_SEMMSL, IPC_SEMMNS, IPC_SEMOPM, IPC_SEMMNI, PROC_IPC_END};
static const uint8_t shmall[] = {IPC_SHMALL, PROC_IPC_END};
static const uint8_t shmmax[] = {IPC_SHMMAX, PROC_IPC_END};
static const uint8_t shmmni[] = {IPC_SHMMNI, PROC_IPC_END};

#define ROW_IPC(n, limits)                                                                         \
    {                                                                                              \
        .name = n, .mode = S_IFREG | 0644, .show = proc_show_ipc_limits,                           \
        .store = proc_store_ipc_limits, .arg = limits                                              \
    }
#define ROW_NEXT_ID(n) ROW_RW(n, proc_show_ipc_next_id, proc_store_ipc_next_id)

static const struct pseudo_row kernel_rows[] = {
    PSEUDO_CONST("cap_last_cap", TEXT(CAP_LAST_CAP) "\n"),
    PSEUDO_CONST("core_pattern", "core\n"),
    PSEUDO_CONST("core_uses_pid", "0\n"),
    PSEUDO_CONST("dmesg_restrict", "1\n"),
    ROW_RW("domainname", show_hostname, store_hostname),
    ROW_RW("hostname", show_hostname, store_hostname),
    PSEUDO_CONST("io_uring_disabled", "2\n"),
    PSEUDO_CONST("kptr_restrict", "2\n"),
    ROW_NEXT_ID("msg_next_id"),
    ROW_IPC("msgmax", msgmax),
    ROW_IPC("msgmnb", msgmnb),
    ROW_IPC("msgmni", msgmni),
    PSEUDO_CONST("ngroups_max", "65536\n"),
    PSEUDO_CONST("osrelease", KERNEL_RELEASE "\n"),
    PSEUDO_CONST("ostype", KERNEL_SYSNAME "\n"),
    PSEUDO_CONST("overflowgid", "65534\n"),
    PSEUDO_CONST("overflowuid", "65534\n"),
    PSEUDO_CONST("pid_max", TEXT(KERNEL_PID_MAX) "\n"),
    PSEUDO_CONST("printk", "4\t4\t1\t7\n"),
    PSEUDO_DIR("random", random_rows),
    PSEUDO_CONST("randomize_va_space", "2\n"),
    PSEUDO_CONST("sched_child_runs_first", "0\n"),
    PSEUDO_DIR("seccomp", seccomp_rows),
    ROW_IPC("sem", sem),
    ROW_NEXT_ID("sem_next_id"),
    ROW_NEXT_ID("shm_next_id"),
    PSEUDO_CONST("shm_rmid_forced", "0\n"),
    ROW_IPC("shmall", shmall),
    ROW_IPC("shmmax", shmmax),
    ROW_IPC("shmmni", shmmni),
    PSEUDO_CONST("tainted", "0\n"),
    PSEUDO_FILE("threads-max", show_threads_max),
    PSEUDO_CONST("version", KERNEL_VERSION "\n"),
    {.name = NULL},
};

static const struct pseudo_row vm_rows[] = {
    PSEUDO_CONST("dirty_background_ratio", "10\n"),
    PSEUDO_CONST("dirty_ratio", "20\n"),
    ROW_RW("max_map_count", show_max_map_count, store_max_map_count),
    PSEUDO_CONST("min_free_kbytes", "67584\n"),
    PSEUDO_FILE("mmap_min_addr", show_min_addr),
    PSEUDO_CONST("nr_hugepages", "0\n"),
    PSEUDO_CONST("nr_overcommit_hugepages", "0\n"),
    PSEUDO_CONST("overcommit_kbytes", "0\n"),
    ROW_RW("overcommit_memory", show_overcommit, store_overcommit),
    PSEUDO_CONST("overcommit_ratio", "50\n"),
    PSEUDO_CONST("swappiness", "60\n"),
    PSEUDO_CONST("unprivileged_userfaultfd", "0\n"),
    PSEUDO_CONST("vfs_cache_pressure", "100\n"),
    PSEUDO_CONST("zone_reclaim_mode", "0\n"),
    {.name = NULL},
};

static const struct pseudo_row inotify_rows[] = {
    PSEUDO_CONST("max_queued_events", "16384\n"),
    PSEUDO_CONST("max_user_instances", "128\n"),
    PSEUDO_CONST("max_user_watches", "65536\n"),
    {.name = NULL},
};
static const struct pseudo_row epoll_rows[] = {
    PSEUDO_CONST("max_user_watches", "1048576\n"),
    {.name = NULL},
};
/* ---- POSIX message queues ---- */

static const struct {
    const char *name;
    enum mqueue_limit which;
    unsigned long min, max;
} mqueue_numbers[] = {
    {"msg_default", MQUEUE_MSG_DEFAULT, 1, MQUEUE_HARD_MSG_MAX},
    {"msg_max", MQUEUE_MSG_MAX, 1, MQUEUE_HARD_MSG_MAX},
    {"msgsize_default", MQUEUE_MSGSIZE_DEFAULT, 128, MQUEUE_HARD_MSGSIZE_MAX},
    {"msgsize_max", MQUEUE_MSGSIZE_MAX, 128, MQUEUE_HARD_MSGSIZE_MAX},
    {"queues_max", MQUEUE_QUEUES_MAX, 0, INT32_MAX},
};

/* The index in mqueue_numbers of the file, and the file system that it is about. */
static int find_mqueue_number(struct pseudo_ctx *c, struct super_block **sb)
{
    const struct task *t = c->reader ? c->reader : task_current();
    int err = mqueue_super_of(t ? task_ipc_ns(t) : c->k->ns->ipc, sb);
    if (err)
        return err;
    int i = 0;
    while (strcmp(mqueue_numbers[i].name, c->node->row->name) != 0)
        i++;
    return i;
}

static int show_mqueue(struct pseudo_ctx *c, struct text *out)
{
    struct super_block *sb;
    int i = find_mqueue_number(c, &sb);
    if (i < 0)
        return i;
    text_add(out, "%llu\n", (unsigned long long)*mqueue_limit(sb, mqueue_numbers[i].which));
    return 0;
}

static int store_mqueue(struct pseudo_ctx *c, const char *data, UNUSED size_t n)
{
    struct super_block *sb;
    unsigned long v;
    int i = find_mqueue_number(c, &sb);
    if (i < 0)
        return i;
    int err = store_number(data, mqueue_numbers[i].max, &v);
    if (err || v < mqueue_numbers[i].min)
        return -EINVAL;
    *mqueue_limit(sb, mqueue_numbers[i].which) = v;
    return 0;
}

static const struct pseudo_row mqueue_rows[] = {
    ROW_RW("msg_default", show_mqueue, store_mqueue),
    ROW_RW("msg_max", show_mqueue, store_mqueue),
    ROW_RW("msgsize_default", show_mqueue, store_mqueue),
    ROW_RW("msgsize_max", show_mqueue, store_mqueue),
    ROW_RW("queues_max", show_mqueue, store_mqueue),
    {.name = NULL},
};

static int show_aio_nr(struct pseudo_ctx *c, struct text *out)
{
    text_add(out, "%u\n", aio_nr(c->k->vfs->aio));
    return 0;
}

static const struct pseudo_row fs_rows[] = {
    PSEUDO_CONST("aio-max-nr", "65536\n"),
    {.name = "aio-nr", .mode = S_IFREG | 0444, .show = show_aio_nr},
    PSEUDO_DIR("epoll", epoll_rows),
    PSEUDO_CONST("file-max", "9223372036854775807\n"),
    PSEUDO_CONST("file-nr", "0\t0\t9223372036854775807\n"),
    PSEUDO_DIR("inotify", inotify_rows),
    PSEUDO_CONST("lease-break-time", "45\n"),
    PSEUDO_DIR("mqueue", mqueue_rows),
    PSEUDO_CONST("nr_open", "1048576\n"),
    PSEUDO_CONST("overflowgid", "65534\n"),
    PSEUDO_CONST("overflowuid", "65534\n"),
    PSEUDO_CONST("pipe-max-size", "1048576\n"),
    PSEUDO_CONST("pipe-user-pages-hard", "0\n"),
    PSEUDO_CONST("pipe-user-pages-soft", "16384\n"),
    PSEUDO_CONST("protected_fifos", "0\n"),
    PSEUDO_CONST("protected_hardlinks", "1\n"),
    PSEUDO_CONST("protected_regular", "0\n"),
    PSEUDO_CONST("protected_symlinks", "0\n"),
    PSEUDO_CONST("suid_dumpable", "0\n"),
    {.name = NULL},
};

static const struct pseudo_row core_rows[] = {
    PSEUDO_CONST("rmem_default", "212992\n"), PSEUDO_CONST("rmem_max", "212992\n"),
    PSEUDO_CONST("somaxconn", "4096\n"),      PSEUDO_CONST("wmem_default", "212992\n"),
    PSEUDO_CONST("wmem_max", "212992\n"),     {.name = NULL},
};
static const struct pseudo_row unix_rows[] = {
    PSEUDO_CONST("max_dgram_qlen", "512\n"),
    {.name = NULL},
};
static const struct pseudo_row net_rows[] = {
    PSEUDO_DIR("core", core_rows),
    PSEUDO_DIR("unix", unix_rows),
    {.name = NULL},
};

/* ---- user: limits of the reader's user namespace ---- */

static struct user_ns *reader_user_ns(struct pseudo_ctx *c)
{
    return c->reader ? c->reader->cred->user_ns : c->k->user_ns;
}

static int show_max_namespaces(struct pseudo_ctx *c, struct text *out)
{
    enum ns_type type = (enum ns_type)(uintptr_t)c->node->row->arg;
    text_add(out, "%d\n", atomic_load(&reader_user_ns(c)->limits[type]));
    return 0;
}

static int store_max_namespaces(struct pseudo_ctx *c, const char *data, UNUSED size_t n)
{
    enum ns_type type = (enum ns_type)(uintptr_t)c->node->row->arg;
    unsigned long v;
    int err = store_number(data, INT32_MAX, &v);
    if (!err && c->reader && !task_capable_here(c->reader, CAP_SYS_RESOURCE))
        err = -EPERM;
    if (!err)
        atomic_store(&reader_user_ns(c)->limits[type], (int)v);
    return err;
}

#define ROW_MAX(n, type)                                                                           \
    {                                                                                              \
        .name = n, .mode = S_IFREG | 0644, .show = show_max_namespaces,                            \
        .store = store_max_namespaces, .arg = (const void *)(uintptr_t)(type)                      \
    }

static const struct pseudo_row user_rows[] = {
    ROW_MAX("max_cgroup_namespaces", NS_CGROUP),
    ROW_MAX("max_ipc_namespaces", NS_IPC),
    ROW_MAX("max_mnt_namespaces", NS_MNT),
    ROW_MAX("max_net_namespaces", NS_NET),
    ROW_MAX("max_pid_namespaces", NS_PID),
    ROW_MAX("max_time_namespaces", NS_TIME),
    ROW_MAX("max_user_namespaces", NS_USER),
    ROW_MAX("max_uts_namespaces", NS_UTS),
    {.name = NULL},
};

static const struct pseudo_row empty_rows[] = {{.name = NULL}};

const struct pseudo_row proc_sys_rows[] = {
    PSEUDO_DIR("debug", empty_rows), PSEUDO_DIR("dev", empty_rows),
    PSEUDO_DIR("fs", fs_rows),       PSEUDO_DIR("kernel", kernel_rows),
    PSEUDO_DIR("net", net_rows),     PSEUDO_DIR("user", user_rows),
    PSEUDO_DIR("vm", vm_rows),       {.name = NULL},
};
