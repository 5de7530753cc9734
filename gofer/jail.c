/*
 * What the gofer gives up: all it does afterwards is serve files.
 */
#include "gofer/gofer.h"
#include <errno.h>
#include <linux/capability.h>
#include <seccomp.h>
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

static int add_rules(scmp_filter_ctx f)
{
    int err = 0;
    for (size_t k = 0; !err && k < ARRAY_SIZE(allowed); k++)
        err = seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed[k], 0);
    return err;
}

int gofer_confine(void)
{
    int err = drop_capabilities();
    if (err)
        return err;
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!f)
        return -ENOMEM;
    seccomp_attr_set(f, SCMP_FLTATR_CTL_NNP, 1);
    err = add_rules(f);
    if (!err)
        err = seccomp_load(f);
    seccomp_release(f);
    return err;
}
