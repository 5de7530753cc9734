/*
 * What the gofer gives up: all it does afterwards is serve files.
 */
#include "gofer/gofer.h"
#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef SYS_getxattrat
#define SYS_getxattrat 464
#define SYS_listxattrat 465
#endif

/* Any file, whoever owns it; FSETID and FOWNER for modes and times of others' files. */
#define KEPT_CAPABILITIES                                                                          \
    (1u << CAP_CHOWN | 1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH | 1u << CAP_FOWNER |     \
     1u << CAP_FSETID)

static int drop_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[2];
    if (syscall(SYS_capget, &header, caps) < 0)
        return -errno;
    caps[0].effective &= KEPT_CAPABILITIES;
    caps[0].permitted = caps[0].effective;
    caps[1].effective = caps[1].permitted = 0;
    caps[0].inheritable = caps[1].inheritable = 0;
    return syscall(SYS_capset, &header, caps) < 0 ? -errno : 0;
}

/* Serving files; threads; memory. Neither programs, nor sockets, nor other processes. */
static const int allowed[] = {
    SYS_openat2,
    SYS_statx,
    SYS_fstatfs,
    SYS_getdents64,
    SYS_lseek,
    SYS_readlinkat,
    SYS_mkdirat,
    SYS_mknodat,
    SYS_symlinkat,
    SYS_linkat,
    SYS_unlinkat,
    SYS_renameat2,
    SYS_fchmod,
    SYS_fchmodat2,
    SYS_fchownat,
    SYS_utimensat,
    SYS_fgetxattr,
    SYS_flistxattr,
    SYS_getxattrat,
    SYS_listxattrat,
    SYS_fsetxattr,
    SYS_fremovexattr,
    SYS_fsync,
    SYS_fdatasync,
    SYS_syncfs,
    SYS_close,
    SYS_fcntl,
    SYS_recvfrom,
    SYS_sendmsg,
    SYS_poll,
    SYS_restart_syscall,
    /* the C library's */
    SYS_clone,
    SYS_clone3,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_futex,
    SYS_mmap,
    SYS_munmap,
    SYS_mprotect,
    SYS_madvise,
    SYS_mremap,
    SYS_brk,
    SYS_rt_sigprocmask,
    SYS_rt_sigaction,
    SYS_rt_sigreturn,
    SYS_sched_setaffinity,
    SYS_sched_getaffinity,
    SYS_sched_yield,
    SYS_sigaltstack,
    SYS_gettid,
    SYS_getpid,
    SYS_getrandom,
    SYS_clock_gettime,
    SYS_exit,
    SYS_exit_group,
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    /* the sanitizers' own: they read /proc/self/maps, and report */
    SYS_open,
    SYS_openat,
    SYS_read,
    SYS_write,
    SYS_readlink,
    SYS_prctl,
    SYS_nanosleep,
    SYS_prlimit64,
    SYS_getrlimit,
    SYS_fstat,
    SYS_stat,
    SYS_newfstatat,
    SYS_gettimeofday,
    SYS_ioctl,
    SYS_tgkill,
#endif
};

static struct sock_filter load(uint32_t offset)
{
    return (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset);
}

static struct sock_filter give(uint32_t action)
{
    return (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
}

/* The next `skip` instructions are left out unless the value is k. */
static struct sock_filter unless(uint32_t k, uint8_t skip)
{
    return (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, 0, skip);
}

/* The host looks once at what is allowed whatever the arguments are, so the order costs nothing. */
static int filter_calls(void)
{
    struct sock_filter f[4 + 2 * ARRAY_SIZE(allowed) + 1];
    uint16_t n = 0;
    f[n++] = load(offsetof(struct seccomp_data, arch));
    f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
    f[n++] = give(SECCOMP_RET_KILL_PROCESS);
    f[n++] = load(offsetof(struct seccomp_data, nr));
    for (size_t k = 0; k < ARRAY_SIZE(allowed); k++) {
        f[n++] = unless((uint32_t)allowed[k], 1);
        f[n++] = give(SECCOMP_RET_ALLOW);
    }
    f[n++] = give(SECCOMP_RET_KILL_PROCESS);
    struct sock_fprog prog = {.len = n, .filter = f};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) < 0 ? -errno : 0;
}

int gofer_confine(void)
{
    int err = drop_capabilities();
    return err ? err : filter_calls();
}
