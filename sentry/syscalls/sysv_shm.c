/*
 * shmget, shmat, shmdt, shmctl.
 */
#include "sentry/ipc/ipc.h"
#include "sentry/syscalls/syscalls.h"

SYSCALL(shmget)
{
    return shm_get(t, (key_t)a->a[0], a->a[1], ARG_INT(a, 2));
}

SYSCALL(shmat)
{
    return ARG_INT(a, 0) < 0 ? -EINVAL : shm_attach(t, ARG_INT(a, 0), ARG_GVA(a, 1), ARG_INT(a, 2));
}

SYSCALL(shmdt)
{
    return shm_detach(t, ARG_GVA(a, 0));
}

static long limits_out(struct task *t, gva_t buf)
{
    struct shminfo info;
    long r = shm_limits(task_ipc_ns(t), &info);
    return MM_COPY_OUT(t->mm, buf, &info) ? -EFAULT : r;
}

static long usage_out(struct task *t, gva_t buf)
{
    struct shm_info info;
    long r = shm_usage(task_ipc_ns(t), &info);
    return MM_COPY_OUT(t->mm, buf, &info) ? -EFAULT : r;
}

static long stat_out(struct task *t, int id, enum ipc_stat_how how, gva_t buf)
{
    struct shmid_ds ds;
    long r = shm_stat(task_ipc_ns(t), t, id, how, &ds, NULL);
    if (r < 0)
        return r;
    ds.shm_cpid = pid_out(t, ds.shm_cpid);
    ds.shm_lpid = pid_out(t, ds.shm_lpid);
    return MM_COPY_OUT(t->mm, buf, &ds) ? -EFAULT : r;
}

static long set_in(struct task *t, int id, gva_t buf)
{
    struct shmid_ds ds;
    return MM_COPY_IN(t->mm, &ds, buf) ? -EFAULT : shm_set(t, id, &ds);
}

SYSCALL(shmctl)
{
    int id = ARG_INT(a, 0), cmd = ARG_INT(a, 1);
    gva_t buf = ARG_GVA(a, 2);
    if (id < 0)
        return -EINVAL;
    switch (cmd) {
    case IPC_INFO:
        return limits_out(t, buf);
    case SHM_INFO:
        return usage_out(t, buf);
    case IPC_STAT:
        return stat_out(t, id, IPC_BY_ID, buf);
    case SHM_STAT:
        return stat_out(t, id, IPC_BY_INDEX, buf);
    case SHM_STAT_ANY:
        return stat_out(t, id, IPC_BY_INDEX_ANY, buf);
    case IPC_SET:
        return set_in(t, id, buf);
    case IPC_RMID:
        return shm_remove(t, id);
    case SHM_LOCK:
    case SHM_UNLOCK:
        return shm_lock(t, id, cmd == SHM_LOCK);
    default:
        return -EINVAL;
    }
}
