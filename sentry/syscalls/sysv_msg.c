/*
 * msgget, msgsnd, msgrcv, msgctl.
 */
#include "sentry/ipc/ipc.h"
#include "sentry/syscalls/syscalls.h"
#include <limits.h>

SYSCALL(msgget)
{
    return msg_get(t, (key_t)a->a[0], ARG_INT(a, 1));
}

SYSCALL(msgsnd)
{
    struct ipc_ns *ns = task_ipc_ns(t);
    int id = ARG_INT(a, 0);
    gva_t buf = ARG_GVA(a, 1);
    uint64_t size = a->a[2];
    struct msg *m;
    long type;
    if (MM_COPY_IN(t->mm, &type, buf))
        return -EFAULT;
    if (size > LONG_MAX || size > ns->limits[IPC_MSGMAX] || id < 0 || type < 1)
        return -EINVAL;
    long r = msg_create(t, type, buf + sizeof type, size, &m);
    if (r)
        return r;
    r = msg_send(t, id, m, ARG_INT(a, 3));
    if (r)
        msg_free(ns, m);
    return r;
}

static long message_out(struct task *t, gva_t buf, uint64_t size, const struct msg *m)
{
    long type = msg_type(m);
    uint64_t n = MIN(size, msg_size(m));
    if (MM_COPY_OUT(t->mm, buf, &type))
        return -EFAULT;
    if (n && mm_copy_out(t->mm, buf + sizeof type, msg_text(m), n))
        return -EFAULT;
    return (long)n;
}

SYSCALL(msgrcv)
{
    struct ipc_ns *ns = task_ipc_ns(t);
    int id = ARG_INT(a, 0), flags = ARG_INT(a, 4);
    uint64_t size = a->a[2];
    struct msg *m;
    if (id < 0 || size > LONG_MAX)
        return -EINVAL;
    if ((flags & MSG_COPY) && ((flags & MSG_EXCEPT) || !(flags & IPC_NOWAIT)))
        return -EINVAL;
    long r = msg_receive(t, id, size, (long)a->a[3], flags, &m);
    if (r)
        return r;
    r = message_out(t, ARG_GVA(a, 1), size, m);
    msg_free(ns, m);
    return r;
}

static long info_out(struct task *t, bool usage, gva_t buf)
{
    struct msginfo info;
    long r = msg_info(task_ipc_ns(t), usage, &info);
    return MM_COPY_OUT(t->mm, buf, &info) ? -EFAULT : r;
}

static long stat_out(struct task *t, int id, enum ipc_stat_how how, gva_t buf)
{
    struct msqid_ds ds;
    long r = msg_stat(task_ipc_ns(t), t, id, how, &ds);
    if (r < 0)
        return r;
    ds.msg_lspid = pid_out(t, ds.msg_lspid);
    ds.msg_lrpid = pid_out(t, ds.msg_lrpid);
    return MM_COPY_OUT(t->mm, buf, &ds) ? -EFAULT : r;
}

static long set_in(struct task *t, int id, gva_t buf)
{
    struct msqid_ds ds;
    return MM_COPY_IN(t->mm, &ds, buf) ? -EFAULT : msg_set(t, id, &ds);
}

SYSCALL(msgctl)
{
    int id = ARG_INT(a, 0), cmd = ARG_INT(a, 1);
    gva_t buf = ARG_GVA(a, 2);
    if (id < 0)
        return -EINVAL;
    switch (cmd) {
    case IPC_INFO:
    case MSG_INFO:
        return info_out(t, cmd == MSG_INFO, buf);
    case IPC_STAT:
        return stat_out(t, id, IPC_BY_ID, buf);
    case MSG_STAT:
        return stat_out(t, id, IPC_BY_INDEX, buf);
    case MSG_STAT_ANY:
        return stat_out(t, id, IPC_BY_INDEX_ANY, buf);
    case IPC_SET:
        return set_in(t, id, buf);
    case IPC_RMID:
        return msg_remove(t, id);
    default:
        return -EINVAL;
    }
}
