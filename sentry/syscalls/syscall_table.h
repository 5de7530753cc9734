/*
 * The rows behind syscall_dispatch, for it and for the strace printer.
 */
#ifndef PICKET_SENTRY_SYSCALLS_SYSCALL_TABLE_H
#define PICKET_SENTRY_SYSCALLS_SYSCALL_TABLE_H

#include "sentry/syscalls/syscalls.h"

#define SYSCALL_COUNT 463
#define SYSCALL_MAX_ARGS 6

/* Classes of calls, as --strace=%class names them. */
enum syscall_class {
    C_FILE = 1,    /* takes a path */
    C_DESC = 2,    /* makes or uses a descriptor */
    C_PROCESS = 4, /* process life */
    C_MEMORY = 8,
    C_NETWORK = 16,
    C_SIGNAL = 32,
    C_IPC = 64,
    C_CREDS = 128,
    C_CLOCK = 256,
};

/* How strace prints a result that is not an error. */
enum strace_result {
    R_DEC,
    R_HEX,
    R_OCT,
    R_NONE,   /* the call does not return: "?" */
    R_POLL,   /* and which descriptors are ready */
    R_SELECT, /* likewise */
    R_FCNTL,  /* flags, for some commands */
    R_SIGNAL, /* and its name */
    R_SCHED,  /* and the policy */
};

/*
 * How strace prints an argument: one row each in strace_args.c. IN and plain kinds are read and
 * printed before the call, OUT kinds after it.
 */
/* clang-format off */
enum strace_arg {
    /* numbers */
    T_INT, T_UINT, T_LONG, T_ULONG, T_SIZE, T_HEX, T_PTR, T_MODE, T_ID, T_DEV,
    /* descriptors and names */
    T_FD, T_DIRFD, T_PATH, T_STRING, T_ARGV, T_ENVP, T_SIGNAL,
    /* data */
    T_IN_BUF, T_OUT_BUF, T_IN_IOVEC, T_OUT_IOVEC, T_OUT_DIRENTS, T_OUT_PATH,
    /* flags and names of numbers: strace_flags.c */
    T_OPEN_FLAGS, T_OPEN_MODE, T_MKNOD_MODE, T_AT_FLAGS, T_UNLINKAT_FLAGS, T_FACCESSAT_FLAGS,
    T_STATX_FLAGS, T_STATX_MASK, T_ACCESS_MODE, T_WHENCE, T_PROT, T_MMAP_FLAGS,
    T_MREMAP_FLAGS, T_UNSHARE_FLAGS, T_TIMER_FLAGS, T_PIPE_FLAGS, T_SCHED_POLICY, T_IPC_KEY,
    T_MSYNC_FLAGS,
    T_MADVICE, T_MLOCKALL_FLAGS, T_MLOCK2_FLAGS, T_SIG_HOW, T_IOCTL, T_FCNTL_CMD, T_FCNTL_ARG,
    T_FLOCK_OP, T_CLONE_FLAGS, T_WAIT_OPTIONS, T_WAITID_TYPE, T_FUTEX_OP, T_FUTEX_ARG4,
    T_FUTEX_ARG5, T_FUTEX_ARG6, T_RLIMIT, T_RUSAGE_WHO, T_ITIMER, T_CLOCK, T_TIMERFD_FLAGS,
    T_SOCK_DOMAIN, T_SOCK_TYPE, T_SOCK_PROTO, T_SOCK_FLAGS, T_SOCK_LEVEL, T_SOCK_OPT,
    T_MSG_FLAGS, T_SHUTDOWN_HOW, T_EPOLL_OP, T_EPOLL_FLAGS, T_EVENTFD_FLAGS, T_SIGNALFD_FLAGS,
    T_INOTIFY_MASK, T_INOTIFY_FLAGS, T_PRCTL_OP, T_ARCH_PRCTL_OP, T_PTRACE_OP, T_PERSONALITY,
    T_PRIO_WHICH, T_MOUNT_FLAGS, T_UMOUNT_FLAGS, T_XATTR_FLAGS, T_FADVICE, T_FALLOC_FLAGS,
    T_SPLICE_FLAGS, T_RENAME_FLAGS, T_SECCOMP_OP, T_GETRANDOM_FLAGS, T_MEMFD_FLAGS,
    T_MEMBARRIER_CMD, T_RWF_FLAGS, T_CLOSE_RANGE_FLAGS, T_IPC_FLAGS, T_IPC_CMD, T_SHMAT_FLAGS,
    /* structures: strace_structs.c */
    T_OUT_STAT, T_OUT_STATX, T_OUT_STATFS, T_IN_POLLFDS, T_IN_FDSET, T_IN_TIMESPEC,
    T_OUT_TIMESPEC, T_OUT_TIMESPEC_EINTR, T_IN_TIMEVAL, T_OUT_TIMEVAL, T_IN_TIMEVALS,
    T_IN_UTIMENS, T_IN_ITIMERVAL, T_OUT_ITIMERVAL, T_IN_ITIMERSPEC, T_OUT_ITIMERSPEC,
    T_IN_SIGACTION, T_OUT_SIGACTION, T_IN_SIGSET, T_OUT_SIGSET, T_IN_SIGINFO, T_OUT_SIGINFO,
    T_IN_STACK, T_OUT_STACK, T_IN_SIGEVENT, T_OUT_FD_PAIR, T_IN_INT, T_OUT_INT, T_IN_LONG,
    T_IN_IDS, T_OUT_IDS, T_IN_SOCKADDR, T_OUT_SOCKADDR, T_IN_SOCKOPT, T_IN_MSGHDR,
    T_OUT_MSGHDR, T_OUT_WAIT_STATUS, T_OUT_RUSAGE, T_OUT_UTSNAME, T_IN_RLIMIT, T_OUT_RLIMIT,
    T_OUT_SYSINFO, T_IN_CAP_HEADER, T_IN_CAP_DATA, T_OUT_CAP_DATA, T_IN_CPUSET, T_OUT_CPUSET,
    T_IN_EPOLL_EVENT, T_OUT_EPOLL_EVENTS, T_IN_CLONE_ARGS, T_IN_OPEN_HOW,
    /* flags inside structures */
    T_SA_FLAGS, T_SS_FLAGS, T_POLL_EVENTS, T_EPOLL_EVENTS, T_FILE_TYPE, T_SIGEV_NOTIFY,
    T_RESOLVE_FLAGS,
    STRACE_ARG_COUNT
};
/* clang-format on */

struct syscall_row {
    const char *name; /* NULL: a number that Linux does not use */
    syscall_fn fn;    /* NULL: no handler in this build */
    uint16_t classes;
    uint16_t missing; /* errno without a handler */
    uint8_t result;   /* enum strace_result */
    uint8_t nargs;
    uint8_t args[SYSCALL_MAX_ARGS]; /* enum strace_arg */
};
extern const struct syscall_row syscall_table[SYSCALL_COUNT];

/* The row of `nr`, or NULL. Linux looks only at the lower half of the register. */
static inline const struct syscall_row *syscall_row(uint64_t nr)
{
    uint32_t n = (uint32_t)nr;
    return n < SYSCALL_COUNT && syscall_table[n].name ? &syscall_table[n] : NULL;
}

#endif
