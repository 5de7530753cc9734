/*
 * /proc/sysvipc, and the numbers of /proc/sys/kernel that belong to it. They are those of the
 * reader's namespace.
 */
#include "sentry/fs/proc/proc.h"
#include "sentry/ipc/ipc.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static struct ipc_ns *reader_ns(struct pseudo_ctx *c)
{
    const struct task *t = c->reader ? c->reader : task_current();
    return t ? task_ipc_ns(t) : c->k->ns->ipc;
}

/* ---- tables ---- */

static void show_owner(struct text *out, const struct ipc_perm *p)
{
    text_add(out, " %5u %5u %5u %5u", p->uid, p->gid, p->cuid, p->cgid);
}

static int show_msg(struct pseudo_ctx *c, struct text *out)
{
    struct ipc_ns *ns = reader_ns(c);
    struct msqid_ds ds;
    text_add(out, "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid"
                  "  cgid      stime      rtime      ctime\n");
    for (int i = 0; i < IPC_SLOTS; i++) {
        long id = msg_stat(ns, NULL, i, IPC_BY_INDEX_ANY, &ds);
        if (id < 0)
            continue;
        text_add(out, "%10d %10ld  %4o  %10lu %10lu %5u %5u", ds.msg_perm.__key, id,
                 ds.msg_perm.mode, ds.__msg_cbytes, ds.msg_qnum, (unsigned)ds.msg_lspid,
                 (unsigned)ds.msg_lrpid);
        show_owner(out, &ds.msg_perm);
        text_add(out, " %10lld %10lld %10lld\n", (long long)ds.msg_stime, (long long)ds.msg_rtime,
                 (long long)ds.msg_ctime);
    }
    return 0;
}

static int show_sem(struct pseudo_ctx *c, struct text *out)
{
    struct ipc_ns *ns = reader_ns(c);
    struct semid_ds ds;
    text_add(out, "       key      semid perms      nsems   uid   gid  cuid  cgid      otime"
                  "      ctime\n");
    for (int i = 0; i < IPC_SLOTS; i++) {
        long id = sem_stat(ns, NULL, i, IPC_BY_INDEX_ANY, &ds);
        if (id < 0)
            continue;
        text_add(out, "%10d %10ld  %4o %10lu", ds.sem_perm.__key, id, ds.sem_perm.mode,
                 ds.sem_nsems);
        show_owner(out, &ds.sem_perm);
        text_add(out, " %10lld %10lld\n", (long long)ds.sem_otime, (long long)ds.sem_ctime);
    }
    return 0;
}

static int show_shm(struct pseudo_ctx *c, struct text *out)
{
    struct ipc_ns *ns = reader_ns(c);
    struct shmid_ds ds;
    uint64_t resident;
    text_add(out, "       key      shmid perms                  size  cpid  lpid nattch   uid   gid"
                  "  cuid  cgid      atime      dtime      ctime                   rss"
                  "                  swap\n");
    for (int i = 0; i < IPC_SLOTS; i++) {
        long id = shm_stat(ns, NULL, i, IPC_BY_INDEX_ANY, &ds, &resident);
        if (id < 0)
            continue;
        text_add(out, "%10d %10ld  %4o %21lu %5u %5u  %5lu", ds.shm_perm.__key, id,
                 ds.shm_perm.mode, ds.shm_segsz, (unsigned)ds.shm_cpid, (unsigned)ds.shm_lpid,
                 ds.shm_nattch);
        show_owner(out, &ds.shm_perm);
        text_add(out, " %10lld %10lld %10lld %21llu %21u\n", (long long)ds.shm_atime,
                 (long long)ds.shm_dtime, (long long)ds.shm_ctime, (unsigned long long)resident, 0);
    }
    return 0;
}

const struct pseudo_row proc_sysvipc_rows[] = {
    PSEUDO_FILE("msg", show_msg),
    PSEUDO_FILE("sem", show_sem),
    PSEUDO_FILE("shm", show_shm),
    {.name = NULL},
};

/* ---- limits ---- */

static const uint64_t most[IPC_LIMITS] = {
    [IPC_MSGMAX] = INT_MAX,   [IPC_MSGMNB] = INT_MAX,   [IPC_MSGMNI] = IPC_SLOTS,
    [IPC_SEMMSL] = INT_MAX,   [IPC_SEMMNS] = INT_MAX,   [IPC_SEMOPM] = INT_MAX,
    [IPC_SEMMNI] = IPC_SLOTS, [IPC_SHMMAX] = ULONG_MAX, [IPC_SHMALL] = ULONG_MAX,
    [IPC_SHMMNI] = IPC_SLOTS,
};

/* The limits that a file is about: arg is a string of them, and '\377' ends it. */
static const uint8_t *limits_of(struct pseudo_ctx *c)
{
    return c->node->row->arg;
}

int proc_show_ipc_limits(struct pseudo_ctx *c, struct text *out)
{
    struct ipc_ns *ns = reader_ns(c);
    const char *before = "";
    for (const uint8_t *l = limits_of(c); *l != PROC_IPC_END; l++, before = "\t")
        text_add(out, "%s%llu", before, (unsigned long long)ns->limits[*l]);
    text_add(out, "\n");
    return 0;
}

int proc_store_ipc_limits(struct pseudo_ctx *c, const char *data, UNUSED size_t n)
{
    struct ipc_ns *ns = reader_ns(c);
    for (const uint8_t *l = limits_of(c); *l != PROC_IPC_END; l++) {
        char *end;
        data += strspn(data, " \t");
        if (!*data || *data == '\n')
            return 0;
        errno = 0;
        unsigned long v = strtoul(data, &end, 10);
        if (end == data || *data == '-' || errno || v > most[*l])
            return -EINVAL;
        ns->limits[*l] = v;
        data = end;
    }
    return 0;
}

/* ---- the next identifier ---- */

static _Atomic int *next_id(struct pseudo_ctx *c)
{
    struct ipc_ns *ns = reader_ns(c);
    switch (c->node->row->name[1]) {
    case 's':
        return &ns->msg.next_id;
    case 'e':
        return &ns->sem.next_id;
    default:
        return &ns->shm.next_id;
    }
}

int proc_show_ipc_next_id(struct pseudo_ctx *c, struct text *out)
{
    text_add(out, "%d\n", *next_id(c));
    return 0;
}

int proc_store_ipc_next_id(struct pseudo_ctx *c, const char *data, UNUSED size_t n)
{
    char *end;
    errno = 0;
    long v = strtol(data, &end, 10);
    if (end == data || errno || (*end && *end != '\n') || v < 0 || v > INT_MAX)
        return -EINVAL;
    *next_id(c) = (int)v;
    return 0;
}
