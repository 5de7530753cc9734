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
    R_FCNTL,  /* flags, for some commands */
    R_SIGNAL, /* and its name */
    R_SCHED,  /* and the policy */
};

/*
 * How strace prints an argument: one row each in strace_args.c. IN and plain kinds are read and
 * printed before the call, OUT kinds after it.
 */
#define STRACE_ARGS(X)                                                                             \
    /* numbers */                                                                                  \
    X(INT)                                                                                         \
    X(UINT)                                                                                        \
    X(LONG)                                                                                        \
    X(ULONG) X(SIZE) X(HEX) X(PTR) X(MODE) X(ID) X(DEV)            /* descriptors and names */     \
        X(FD) X(DIRFD) X(PATH) X(STRING) X(ARGV) X(ENVP) X(SIGNAL) /* data */                      \
        X(IN_BUF) X(OUT_BUF) X(IN_IOVEC) X(OUT_IOVEC)                                              \
            X(OUT_DIRENTS) /* flags and names of numbers: strace_flags.c */                        \
        X(OPEN_FLAGS) X(OPEN_MODE) X(MKNOD_MODE) X(AT_FLAGS) X(UNLINKAT_FLAGS) X(FACCESSAT_FLAGS)  \
            X(STATX_FLAGS) X(STATX_MASK) X(ACCESS_MODE) X(WHENCE) X(PROT) X(MMAP_FLAGS) X(         \
                MREMAP_FLAGS) X(MSYNC_FLAGS) X(MADVICE) X(MLOCKALL_FLAGS) X(MLOCK2_FLAGS)          \
                X(SIG_HOW) X(IOCTL) X(FCNTL_CMD) X(FCNTL_ARG) X(FLOCK_OP) X(CLONE_FLAGS) X(        \
                    UNSHARE_FLAGS) X(WAIT_OPTIONS) X(WAITID_TYPE) X(FUTEX_OP) X(FUTEX_ARG4)        \
                    X(FUTEX_ARG5) X(FUTEX_ARG6) X(RLIMIT) X(RUSAGE_WHO) X(ITIMER) X(CLOCK) X(      \
                        TIMER_FLAGS) X(TIMERFD_FLAGS) X(SOCK_DOMAIN) X(SOCK_TYPE) X(SOCK_PROTO)    \
                        X(SOCK_FLAGS) X(SOCK_LEVEL) X(SOCK_OPT) X(MSG_FLAGS) X(SHUTDOWN_HOW)       \
                            X(EPOLL_OP) X(EPOLL_FLAGS) X(EVENTFD_FLAGS) X(SIGNALFD_FLAGS) X(       \
                                PIPE_FLAGS) X(INOTIFY_MASK) X(INOTIFY_FLAGS) X(PRCTL_OP)           \
                                X(ARCH_PRCTL_OP) X(PTRACE_OP) X(PERSONALITY) X(PRIO_WHICH) X(      \
                                    SCHED_POLICY) X(MOUNT_FLAGS) X(UMOUNT_FLAGS) X(XATTR_FLAGS)    \
                                    X(FADVICE) X(FALLOC_FLAGS) X(SPLICE_FLAGS) X(RENAME_FLAGS)     \
                                        X(SECCOMP_OP) X(GETRANDOM_FLAGS) X(MEMFD_FLAGS)            \
                                            X(MEMBARRIER_CMD) X(RWF_FLAGS) X(CLOSE_RANGE_FLAGS) X( \
                                                IPC_KEY) X(IPC_FLAGS) X(IPC_CMD)                   \
                                                X(SHMAT_FLAGS) /* structures: strace_structs.c */  \
        X(OUT_STAT) X(OUT_STATX) X(OUT_STATFS) X(IN_POLLFDS) X(IN_FDSET) X(IN_TIMESPEC)            \
            X(OUT_TIMESPEC) X(OUT_TIMESPEC_EINTR) X(IN_TIMEVAL) X(OUT_TIMEVAL) X(IN_TIMEVALS)      \
                X(IN_UTIMENS) X(IN_ITIMERVAL) X(OUT_ITIMERVAL) X(IN_ITIMERSPEC) X(OUT_ITIMERSPEC)  \
                    X(IN_SIGACTION) X(OUT_SIGACTION) X(IN_SIGSET) X(OUT_SIGSET) X(IN_SIGINFO)      \
                        X(OUT_SIGINFO) X(IN_STACK) X(OUT_STACK) X(IN_SIGEVENT) X(OUT_FD_PAIR)      \
                            X(IN_INT) X(OUT_INT) X(IN_LONG) X(IN_IDS) X(OUT_IDS) X(IN_SOCKADDR)    \
                                X(OUT_SOCKADDR) X(IN_SOCKOPT) X(IN_MSGHDR) X(OUT_MSGHDR)           \
                                    X(OUT_WAIT_STATUS) X(OUT_RUSAGE) X(OUT_UTSNAME) X(IN_RLIMIT)   \
                                        X(OUT_RLIMIT) X(OUT_SYSINFO) X(IN_CAP_HEADER)              \
                                            X(IN_CAP_DATA) X(OUT_CAP_DATA) X(IN_CPUSET)            \
                                                X(OUT_CPUSET) X(IN_EPOLL_EVENT)                    \
                                                    X(OUT_EPOLL_EVENTS) X(IN_CLONE_ARGS)           \
                                                        X(IN_OPEN_HOW)

enum strace_arg {
#define STRACE_ARG_ENUM(name) T_##name,
    STRACE_ARGS(STRACE_ARG_ENUM)
#undef STRACE_ARG_ENUM
        STRACE_ARG_COUNT
};

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
