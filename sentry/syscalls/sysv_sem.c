/*
 * semget, semop, semtimedop, semctl.
 */
#include "sentry/ipc/ipc.h"
#include "sentry/kernel/timer.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/syscalls/time_args.h"
#include <stdlib.h>

#define FAST_OPS 16 /* as many are kept on the stack */

SYSCALL(semget)
{
    return sem_get(t, (key_t)a->a[0], ARG_INT(a, 1), ARG_INT(a, 2));
}

static long operate(struct task *t, int id, gva_t addr, unsigned n, struct sembuf *ops,
                    gva_t timeout)
{
    const ktime_t *deadline = NULL;
    ktime_t at;
    int64_t ns;
    if (mm_copy_in(t->mm, ops, addr, n * sizeof *ops))
        return -EFAULT;
    if (timeout) {
        int err = copy_in_timespec(t, timeout, &ns);
        if (err)
            return err;
        at = ktime_after(ns);
        deadline = &at;
    }
    return sem_op(t, id, ops, n, deadline);
}

static long do_semtimedop(struct task *t, int id, gva_t addr, unsigned n, gva_t timeout)
{
    struct sembuf fast[FAST_OPS];
    if (n < 1 || id < 0)
        return -EINVAL;
    if (n > task_ipc_ns(t)->limits[IPC_SEMOPM])
        return -E2BIG;
    if (n <= FAST_OPS)
        return operate(t, id, addr, n, fast, timeout);
    struct sembuf *ops = malloc(n * sizeof *ops);
    if (!ops)
        return -ENOMEM;
    long r = operate(t, id, addr, n, ops, timeout);
    free(ops);
    return r;
}

SYSCALL(semop)
{
    return do_semtimedop(t, ARG_INT(a, 0), ARG_GVA(a, 1), ARG_UINT(a, 2), 0);
}

SYSCALL(semtimedop)
{
    return do_semtimedop(t, ARG_INT(a, 0), ARG_GVA(a, 1), ARG_UINT(a, 2), ARG_GVA(a, 3));
}

/* ---- semctl ---- */

static long info_out(struct task *t, bool usage, gva_t buf)
{
    struct seminfo info;
    long r = sem_info(task_ipc_ns(t), usage, &info);
    return MM_COPY_OUT(t->mm, buf, &info) ? -EFAULT : r;
}

static long stat_out(struct task *t, int id, enum ipc_stat_how how, gva_t buf)
{
    struct semid_ds ds;
    long r = sem_stat(task_ipc_ns(t), t, id, how, &ds);
    return r >= 0 && MM_COPY_OUT(t->mm, buf, &ds) ? -EFAULT : r;
}

static long set_in(struct task *t, int id, gva_t buf)
{
    struct semid_ds ds;
    return MM_COPY_IN(t->mm, &ds, buf) ? -EFAULT : sem_set_perm(t, id, &ds);
}

static long all_values(struct task *t, int id, bool set, gva_t buf)
{
    long n = sem_count(t, id, set);
    if (n < 0)
        return n;
    size_t bytes = (size_t)n * sizeof(uint16_t);
    uint16_t *values = malloc(bytes);
    if (!values)
        return -ENOMEM;
    long r;
    if (set)
        r = mm_copy_in(t->mm, values, buf, bytes) ? -EFAULT : sem_set_all(t, id, values);
    else if (!(r = sem_get_all(t, id, values)))
        r = mm_copy_out(t->mm, buf, values, bytes) ? -EFAULT : 0;
    free(values);
    return r;
}

static long last_pid(struct task *t, int id, int num)
{
    long pid = sem_get_one(t, id, num, GETPID);
    return pid > 0 ? pid_out(t, (pid_t)pid) : pid;
}

SYSCALL(semctl)
{
    int id = ARG_INT(a, 0), num = ARG_INT(a, 1), cmd = ARG_INT(a, 2);
    gva_t arg = ARG_GVA(a, 3);
    if (id < 0)
        return -EINVAL;
    switch (cmd) {
    case IPC_INFO:
    case SEM_INFO:
        return info_out(t, cmd == SEM_INFO, arg);
    case IPC_STAT:
        return stat_out(t, id, IPC_BY_ID, arg);
    case SEM_STAT:
        return stat_out(t, id, IPC_BY_INDEX, arg);
    case SEM_STAT_ANY:
        return stat_out(t, id, IPC_BY_INDEX_ANY, arg);
    case GETALL:
    case SETALL:
        return all_values(t, id, cmd == SETALL, arg);
    case GETPID:
        return last_pid(t, id, num);
    case GETVAL:
    case GETNCNT:
    case GETZCNT:
        return sem_get_one(t, id, num, cmd);
    case SETVAL:
        return sem_set_value(t, id, num, (int)arg);
    case IPC_SET:
        return set_in(t, id, arg);
    case IPC_RMID:
        return sem_remove(t, id);
    default:
        return -EINVAL;
    }
}
