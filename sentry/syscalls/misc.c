/*
 * What belongs to no family: the names of the machine, its size, randomness, memory barriers,
 * looking into other processes.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/ns.h"
#include "sentry/kernel/process.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/vfs.h"
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <linux/membarrier.h>
#include <linux/random.h>
#include <linux/reboot.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

/* ---- names ---- */

SYSCALL(uname)
{
    struct utsname u;
    memset(&u, 0, sizeof(u));
    strcpy(u.sysname, KERNEL_SYSNAME);
    strcpy(u.release, KERNEL_RELEASE);
    strcpy(u.version, KERNEL_VERSION);
    strcpy(u.machine, KERNEL_MACHINE);
    {
        struct uts_ns *uts = task_uts_ns(t);
        MUTEX_GUARD(&uts->lock);
        memcpy(u.nodename, uts->nodename, sizeof(u.nodename));
        memcpy(u.domainname, uts->domainname, sizeof(u.domainname));
    }
    return MM_COPY_OUT(t->mm, ARG_GVA(a, 0), &u);
}

static long set_uts_name(struct task *t, char *name, gva_t addr, int length)
{
    char new[65] = {0};
    if (!task_capable_in(t, task_uts_ns(t)->common.owner, CAP_SYS_ADMIN))
        return -EPERM;
    if (length < 0 || length > 64)
        return -EINVAL;
    int err = mm_copy_in(t->mm, new, addr, (size_t)length);
    if (err)
        return err;
    MUTEX_GUARD(&task_uts_ns(t)->lock);
    memcpy(name, new, sizeof(new));
    return 0;
}

SYSCALL(sethostname)
{
    return set_uts_name(t, task_uts_ns(t)->nodename, ARG_GVA(a, 0), ARG_INT(a, 1));
}

SYSCALL(setdomainname)
{
    return set_uts_name(t, task_uts_ns(t)->domainname, ARG_GVA(a, 0), ARG_INT(a, 1));
}

/* ---- size ---- */

SYSCALL(sysinfo)
{
    struct sysinfo info;
    struct kernel *k = t->kernel;
    struct memory_file_stats stats;
    memory_file_stats(k->memory, &stats);
    memset(&info, 0, sizeof(info));
    info.uptime = clock_monotonic(&k->clock) / 1000000000;
    info.totalram = k->mm_config.total_memory;
    info.freeram = info.totalram - MIN(info.totalram, stats.resident);
    {
        MUTEX_GUARD(&k->tree_lock);
        info.procs = (unsigned short)MIN(k->ntasks, UINT16_MAX);
    }
    info.mem_unit = 1;
    return MM_COPY_OUT(t->mm, ARG_GVA(a, 0), &info);
}

/* ---- randomness ---- */

SYSCALL(getrandom)
{
    unsigned flags = ARG_UINT(a, 2);
    uint64_t length = MIN(a->a[1], (uint64_t)INT32_MAX), done = 0;
    if ((flags & ~(unsigned)(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE)) ||
        (flags & (GRND_INSECURE | GRND_RANDOM)) == (GRND_INSECURE | GRND_RANDOM))
        return -EINVAL;
    uint8_t buf[4096];
    while (done < length) {
        size_t n = MIN(length - done, (uint64_t)sizeof(buf));
        if (getrandom(buf, n, 0) != (ssize_t)n)
            continue; /* a big request cut short by a signal of the sentry's */
        size_t copied = mm_copy_out_partial(t->mm, ARG_GVA(a, 0) + done, buf, n);
        done += copied;
        if (copied < n)
            return done ? (long)done : -EFAULT;
        if (task_interrupted(t) && done < length)
            break;
    }
    return (long)done;
}

/* ---- barriers ---- */

#define MEMBARRIER_KNOWN                                                                           \
    (MEMBARRIER_CMD_GLOBAL | MEMBARRIER_CMD_GLOBAL_EXPEDITED |                                     \
     MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED | MEMBARRIER_CMD_PRIVATE_EXPEDITED |                 \
     MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)

static bool host_barrier_works(void)
{
    long known = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);
    return known > 0 && (known & MEMBARRIER_CMD_GLOBAL);
}

/*
 * Application threads belong to host processes of their own, which the host's expedited barriers
 * cannot be asked to reach. Its global one reaches every thread of the machine; slow, and right.
 */
SYSCALL(membarrier)
{
    int cmd = ARG_INT(a, 0);
    if (a->a[1])
        return -EINVAL;
    if (cmd == MEMBARRIER_CMD_QUERY)
        return host_barrier_works() ? MEMBARRIER_KNOWN : 0;
    if ((cmd & ~MEMBARRIER_KNOWN) || (cmd & (cmd - 1)) || !host_barrier_works())
        return -EINVAL;
    if (cmd == MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED)
        return 0;
    if (cmd == MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) {
        atomic_store(&t->tg->membarrier_registered, true);
        return 0;
    }
    if (cmd == MEMBARRIER_CMD_PRIVATE_EXPEDITED) {
        if (!atomic_load(&t->tg->membarrier_registered))
            return -EPERM;
        if (t->tg->live_tasks == 1)
            return 0;
    }
    return syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) < 0 ? -errno : 0;
}

/* ---- other processes ---- */

/* Task `pid`, referenced, if t may look into it. */
static int find_accessible(struct task *t, pid_t pid, bool attach, struct task **out)
{
    struct task *other = task_find_for(t, pid);
    if (!other)
        return -ESRCH;
    if (!task_may_access(t, other, attach)) {
        task_put(other);
        return -EPERM;
    }
    *out = other;
    return 0;
}

/* An order of pointers that tells nothing about their values. */
static long compare_objects(struct task *t, const void *x, const void *y)
{
    uint64_t secret = (uint64_t)(uintptr_t)t->kernel * 0x9e3779b97f4a7c15ull | 1;
    uint64_t a = (uint64_t)(uintptr_t)x * secret, b = (uint64_t)(uintptr_t)y * secret;
    return a == b ? 0 : a < b ? 1 : 2;
}

/* Descriptor fd of another task, referenced, or NULL. */
static struct file *get_file_of(struct task *other, uint64_t fd)
{
    struct fd_table *files = fd <= INT32_MAX ? task_get_files(other) : NULL;
    struct file *f = NULL;
    if (files && fd_table_next(files, (int)fd, &f) != (int)fd && f) {
        file_put(f);
        f = NULL;
    }
    if (files)
        fd_table_put(files);
    return f;
}

static long compare_files(struct task *t, struct task *t1, struct task *t2, uint64_t fd1,
                          uint64_t fd2)
{
    struct file *f1 = get_file_of(t1, fd1), *f2 = get_file_of(t2, fd2);
    long r = f1 && f2 ? compare_objects(t, f1, f2) : -EBADF;
    if (f1)
        file_put(f1);
    if (f2)
        file_put(f2);
    return r;
}

static long compare_parts(struct task *t, struct task *t1, struct task *t2, int type,
                          const struct sysargs *a)
{
    const void *x = NULL, *y = NULL;
    switch (type) {
    case KCMP_FILE:
        return compare_files(t, t1, t2, a->a[3], a->a[4]);
#define PART(kind, field)                                                                          \
    case kind: {                                                                                   \
        {                                                                                          \
            MUTEX_GUARD(&t1->lock);                                                                \
            x = t1->field;                                                                         \
        }                                                                                          \
        MUTEX_GUARD(&t2->lock);                                                                    \
        y = t2->field;                                                                             \
        break;                                                                                     \
    }
        PART(KCMP_VM, mm)
        PART(KCMP_FILES, files)
        PART(KCMP_FS, fs)
#undef PART
    case KCMP_SIGHAND:
        x = t1->tg->sighand;
        y = t2->tg->sighand;
        break;
    case KCMP_IO:
    case KCMP_SYSVSEM:
        break;
    default:
        return -EINVAL;
    }
    return compare_objects(t, x, y);
}

SYSCALL(kcmp)
{
    struct task *t1, *t2;
    int err = find_accessible(t, ARG_INT(a, 0), false, &t1);
    if (err)
        return err;
    err = find_accessible(t, ARG_INT(a, 1), false, &t2);
    long r = err ? err : compare_parts(t, t1, t2, ARG_INT(a, 2), a);
    if (!err)
        task_put(t2);
    task_put(t1);
    return r;
}

/* Moves bytes between our vector and another process's, through a buffer. */
static long copy_between(struct task *t, struct uio *local, struct uio *remote, bool write)
{
    enum { CHUNK = 64 << 10 };
    char *buf = malloc(CHUNK);
    if (!buf)
        return -ENOMEM;
    long done = 0;
    while (local->resid && remote->resid) {
        size_t n = MIN(MIN(local->resid, remote->resid), (uint64_t)CHUNK);
        struct uio *from = write ? local : remote, *to = write ? remote : local;
        ssize_t got = uio_copy_from(from, buf, n);
        ssize_t put = got > 0 ? uio_copy_to(to, buf, (size_t)got) : got;
        if (put > 0)
            done += put;
        if (put < (ssize_t)n) {
            if (!done)
                done = put < 0 ? put : -EFAULT;
            break;
        }
        /* Signals do not cut it short, but for the end of the process. */
        if (atomic_load(&t->work) & TASK_WORK_EXIT)
            break;
    }
    free(buf);
    return done;
}

static long process_vm_copy(struct task *t, const struct sysargs *a, bool write)
{
    if (a->a[5])
        return -EINVAL;
    struct task *other;
    struct uio local, remote;
    int err = uio_init_iovec(&local, t->mm, ARG_GVA(a, 1), a->a[2]);
    if (err)
        return err;
    /* The remote vector's array is in our memory; what it names is in the other's. */
    err = uio_init_iovec(&remote, t->mm, ARG_GVA(a, 3), a->a[4]);
    if (err) {
        uio_release(&local);
        return err;
    }
    long r = find_accessible(t, ARG_INT(a, 0), true, &other);
    if (!r) {
        struct mm *mm = task_get_mm(other);
        r = -ESRCH;
        if (mm) {
            remote.mm = mm;
            r = copy_between(t, &local, &remote, write);
            mm_user_put(mm);
        }
        task_put(other);
    }
    uio_release(&local);
    uio_release(&remote);
    return r;
}

SYSCALL(process_vm_readv)
{
    return process_vm_copy(t, a, false);
}

SYSCALL(process_vm_writev)
{
    return process_vm_copy(t, a, true);
}

/* ---- refused ---- */

SYSCALL(acct)
{
    return task_capable(t, CAP_SYS_PACCT) ? -ENOSYS : -EPERM;
}

#define IO_PORTS 65536

/* What process 1 of a pid namespace seems to die of. */
static const struct {
    unsigned command;
    int signal;
} reboots[] = {
    {LINUX_REBOOT_CMD_RESTART, SIGHUP},
    {LINUX_REBOOT_CMD_RESTART2, SIGHUP},
    {LINUX_REBOOT_CMD_POWER_OFF, SIGINT},
    {LINUX_REBOOT_CMD_HALT, SIGINT},
};

/* The end of a pid namespace. The first one ends with the sandbox, which is not for those inside to
 * say. */
static long reboot_namespace(struct task *t, struct pid_ns *ns, unsigned command)
{
    int sig = 0;
    for (size_t i = 0; i < ARRAY_SIZE(reboots); i++) {
        if (reboots[i].command == command)
            sig = reboots[i].signal;
    }
    if (!sig)
        return -EINVAL;
    MUTEX_GUARD(&t->kernel->tree_lock);
    ns->reboot_signal = sig;
    if (ns->init)
        group_exit(ns->init, SIGKILL);
    return 0;
}

SYSCALL(reboot)
{
    struct pid_ns *ns = task_pid_ns(t);
    unsigned magic = ARG_UINT(a, 1);
    if (ns->level == 0 || !task_capable_in(t, ns->common.owner, CAP_SYS_BOOT))
        return -EPERM;
    if (ARG_UINT(a, 0) != LINUX_REBOOT_MAGIC1 ||
        (magic != LINUX_REBOOT_MAGIC2 && magic != LINUX_REBOOT_MAGIC2A &&
         magic != LINUX_REBOOT_MAGIC2B && magic != LINUX_REBOOT_MAGIC2C))
        return -EINVAL;
    return reboot_namespace(t, ns, ARG_UINT(a, 2));
}

/* No ports of the host's: as on a kernel that is locked down. */
SYSCALL(ioperm)
{
    uint64_t from = a->a[0], count = a->a[1];
    if (from + count <= from || from + count > IO_PORTS)
        return -EINVAL;
    return ARG_INT(a, 2) ? -EPERM : 0;
}

SYSCALL(iopl)
{
    if (ARG_UINT(a, 0) > 3)
        return -EINVAL;
    return ARG_UINT(a, 0) ? -EPERM : 0;
}

SYSCALL(vhangup)
{
    return task_capable(t, CAP_SYS_TTY_CONFIG) ? 0 : -EPERM;
}
