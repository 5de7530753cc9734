/*
 * The strace printer: one row for each kind of argument. Application memory is read through mm, and
 * what cannot be read is printed as an address.
 */
#include "sentry/syscalls/strace_format.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>

#define FORMATTER(name) static STRACE_FORMATTER(name)
#define VALUE (c->args->a[i])

/* ---- numbers ---- */

FORMATTER(fmt_int)
{
    strace_printf(o, "%d", (int)VALUE);
}
FORMATTER(fmt_uint)
{
    strace_printf(o, "%u", (unsigned)VALUE);
}
FORMATTER(fmt_long)
{
    strace_printf(o, "%ld", (long)VALUE);
}
FORMATTER(fmt_ulong)
{
    strace_printf(o, "%lu", VALUE);
}
FORMATTER(fmt_hex)
{
    strace_printf(o, VALUE ? "0x%lx" : "0", VALUE);
}
FORMATTER(fmt_pointer)
{
    strace_pointer(o, VALUE);
}
FORMATTER(fmt_mode)
{
    strace_printf(o, (unsigned)VALUE ? "0%03o" : "000", (unsigned)VALUE);
}
FORMATTER(fmt_id)
{
    strace_printf(o, (unsigned)VALUE == (unsigned)-1 ? "-1" : "%u", (unsigned)VALUE);
}
FORMATTER(fmt_mknod_mode)
{
    strace_file_mode(o, (unsigned)VALUE);
}
FORMATTER(fmt_dev)
{
    strace_printf(o, "makedev(0x%x, 0x%x)", major(VALUE), minor(VALUE));
}
FORMATTER(fmt_dirfd)
{
    if ((int)VALUE == AT_FDCWD)
        strace_printf(o, "AT_FDCWD");
    else
        fmt_int(o, c, i, data);
}
FORMATTER(fmt_signal)
{
    strace_signal_name(o, (int)VALUE);
}

/* ---- strings and data ---- */

/* A NUL-terminated string; `max` bytes of it are shown. */
static void strace_string(struct strace_out *o, struct mm *mm, gva_t addr, size_t max)
{
    char buf[PATH_MAX];
    ssize_t n = addr && mm ? mm_copy_in_string(mm, buf, addr, sizeof(buf)) : -EFAULT;
    if (n == -ENAMETOOLONG) {
        n = (ssize_t)mm_copy_in_partial(mm, buf, addr, max + 1);
    }
    if (n < 0)
        strace_pointer(o, addr);
    else
        strace_quote(o, buf, MIN((size_t)n, max), (size_t)n > max);
}

void strace_data(struct strace_out *o, struct mm *mm, gva_t addr, uint64_t length)
{
    char buf[STRACE_STRING_MAX];
    size_t n = MIN(length, sizeof(buf));
    if (!addr || !mm || mm_copy_in(mm, buf, addr, n) != 0)
        strace_pointer(o, addr);
    else
        strace_quote(o, buf, n, length > n);
}

FORMATTER(fmt_path)
{
    strace_string(o, c->mm, VALUE, PATH_MAX - 1);
}
FORMATTER(fmt_string)
{
    strace_string(o, c->mm, VALUE, STRACE_STRING_MAX);
}
/* A buffer; its length is the next argument. */
FORMATTER(fmt_in_buf)
{
    strace_data(o, c->mm, VALUE, c->args->a[i + 1]);
}
/* A buffer of which the call filled as many bytes as it returned. */
FORMATTER(fmt_out_buf)
{
    strace_data(o, c->mm, VALUE, (uint64_t)MAX(c->result, 0L));
}

FORMATTER(fmt_argv)
{
    gva_t p = VALUE;
    gva_t s;
    if (!p || !c->mm || MM_COPY_IN(c->mm, &s, p) != 0) {
        strace_pointer(o, p);
        return;
    }
    strace_printf(o, "[");
    for (unsigned n = 0; MM_COPY_IN(c->mm, &s, p) == 0 && s; n++, p += sizeof(s)) {
        strace_printf(o, n ? ", " : "");
        if (n == STRACE_ARRAY_MAX) {
            strace_printf(o, "...");
            break;
        }
        strace_string(o, c->mm, s, STRACE_STRING_MAX);
    }
    strace_printf(o, "]");
}

FORMATTER(fmt_envp)
{
    unsigned n = 0;
    gva_t s;
    strace_pointer(o, VALUE);
    if (!VALUE || !c->mm)
        return;
    for (gva_t p = VALUE; n < 100000 && MM_COPY_IN(c->mm, &s, p) == 0 && s; p += sizeof(s))
        n++;
    strace_printf(o, " /* %u var%s */", n, n == 1 ? "" : "s");
}

void strace_iovec(struct strace_out *o, struct mm *mm, gva_t addr, uint64_t count, uint64_t filled)
{
    struct iovec iov;
    if (!addr || !mm || (count && MM_COPY_IN(mm, &iov, addr) != 0)) {
        strace_pointer(o, addr);
        return;
    }
    strace_printf(o, "[");
    for (uint64_t n = 0; n < count; n++) {
        strace_printf(o, n ? ", " : "");
        if (n == STRACE_ARRAY_MAX || MM_COPY_IN(mm, &iov, addr + n * sizeof(iov)) != 0) {
            strace_printf(o, "...");
            break;
        }
        uint64_t here = MIN(filled, (uint64_t)iov.iov_len);
        strace_printf(o, "{iov_base=");
        strace_data(o, mm, (gva_t)(uintptr_t)iov.iov_base, here);
        strace_printf(o, ", iov_len=%zu}", iov.iov_len);
        filled -= here;
    }
    strace_printf(o, "]");
}

/* Vectors; their count is the next argument. */
FORMATTER(fmt_in_iovec)
{
    strace_iovec(o, c->mm, VALUE, c->args->a[i + 1], UINT64_MAX);
}
FORMATTER(fmt_out_iovec)
{
    strace_iovec(o, c->mm, VALUE, c->args->a[i + 1], (uint64_t)MAX(c->result, 0L));
}

/* linux_dirent64 records: only their number. */
FORMATTER(fmt_dirents)
{
    uint64_t off = 0, end = (uint64_t)MAX(c->result, 0L);
    unsigned n = 0;
    uint16_t reclen;
    while (off < end && c->mm && MM_COPY_IN(c->mm, &reclen, VALUE + off + 16) == 0 && reclen) {
        off += reclen;
        n++;
    }
    strace_pointer(o, VALUE);
    strace_printf(o, " /* %u entr%s */", n, n == 1 ? "y" : "ies");
}

/* ---- flags ---- */

FORMATTER(fmt_flags)
{
    strace_kind(o, c->row->args[i], VALUE);
}

/* The signal that the parent gets is in the lowest byte. */
FORMATTER(fmt_clone_flags)
{
    unsigned sig = VALUE & 0xff;
    if ((VALUE & ~0xfful) || !sig)
        strace_kind(o, T_CLONE_FLAGS, VALUE & ~0xfful);
    if (!sig)
        return;
    strace_printf(o, VALUE & ~0xfful ? "|" : "");
    strace_signal_name(o, (int)sig);
}

FORMATTER(fmt_sock_proto)
{
    bool inet = c->args->a[0] == AF_INET || c->args->a[0] == AF_INET6;
    if (inet)
        fmt_flags(o, c, i, data);
    else
        fmt_int(o, c, i, data);
}
FORMATTER(fmt_sock_opt)
{
    if (c->args->a[1] == SOL_SOCKET)
        fmt_flags(o, c, i, data);
    else
        fmt_int(o, c, i, data);
}

FORMATTER(fmt_fcntl_arg)
{
    switch ((int)c->args->a[1]) {
    case F_SETFD:
        strace_printf(o, VALUE == FD_CLOEXEC ? "FD_CLOEXEC" : "0x%lx", VALUE);
        return;
    case F_SETFL:
        strace_kind(o, T_OPEN_FLAGS, VALUE);
        return;
    case F_GETLK:
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_GETLK:
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
        strace_pointer(o, VALUE);
        return;
    }
    fmt_int(o, c, i, data);
}

/* The fourth argument of futex is a timeout or a count, by operation. */
#define FUTEX_COMMAND(c) ((c)->args->a[1] & 0x7f)
static bool futex_waits(const struct strace_call *c)
{
    uint64_t cmd = FUTEX_COMMAND(c);
    return cmd == FUTEX_WAIT || cmd == FUTEX_WAIT_BITSET || cmd == FUTEX_LOCK_PI ||
           cmd == FUTEX_LOCK_PI2 || cmd == FUTEX_WAIT_REQUEUE_PI;
}
FORMATTER(fmt_futex_arg4)
{
    if (futex_waits(c))
        strace_timespec(o, c, i, data);
    else
        fmt_uint(o, c, i, data);
}

static bool omit_open_mode(const struct strace_call *c)
{
    unsigned at = c->row->args[0] == T_DIRFD ? 2 : 1;
    return !(c->args->a[at] & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)));
}
static bool omit_fcntl_arg(const struct strace_call *c)
{
    switch ((int)c->args->a[1]) {
    case F_GETFD:
    case F_GETFL:
    case F_GETOWN:
    case F_GETSIG:
    case F_GETLEASE:
    case F_GETPIPE_SZ:
    case F_GET_SEALS:
        return true;
    }
    return false;
}
static bool omit_futex_arg4(const struct strace_call *c)
{
    uint64_t cmd = FUTEX_COMMAND(c);
    return cmd == FUTEX_WAKE || cmd == FUTEX_UNLOCK_PI || cmd == FUTEX_TRYLOCK_PI;
}
static bool omit_futex_arg5(const struct strace_call *c)
{
    uint64_t cmd = FUTEX_COMMAND(c);
    return cmd == FUTEX_WAIT || cmd == FUTEX_LOCK_PI || cmd == FUTEX_LOCK_PI2;
}

#define BEFORE(kind, f) [T_##kind] = {.fn = f}
#define AFTER(kind, f) [T_##kind] = {.fn = f, .after = true}
#define FLAGS(kind) [T_##kind] = {.fn = fmt_flags}

/* clang-format off */
const struct strace_format strace_formats[STRACE_ARG_COUNT] = {
    BEFORE(INT, fmt_int), BEFORE(UINT, fmt_uint), BEFORE(LONG, fmt_long), BEFORE(ULONG, fmt_ulong),
    BEFORE(SIZE, fmt_ulong), BEFORE(HEX, fmt_hex), BEFORE(PTR, fmt_pointer),
    BEFORE(MODE, fmt_mode), BEFORE(ID, fmt_id), BEFORE(DEV, fmt_dev),
    BEFORE(FD, fmt_int), BEFORE(DIRFD, fmt_dirfd), BEFORE(PATH, fmt_path),
    BEFORE(STRING, fmt_string), BEFORE(ARGV, fmt_argv), BEFORE(ENVP, fmt_envp),
    BEFORE(SIGNAL, fmt_signal),
    BEFORE(IN_BUF, fmt_in_buf), AFTER(OUT_BUF, fmt_out_buf), AFTER(OUT_PATH, fmt_path),
    BEFORE(IN_IOVEC, fmt_in_iovec), AFTER(OUT_IOVEC, fmt_out_iovec),
    AFTER(OUT_DIRENTS, fmt_dirents),

    [T_OPEN_MODE] = {.fn = fmt_mode, .omit = omit_open_mode},
    [T_FCNTL_ARG] = {.fn = fmt_fcntl_arg, .omit = omit_fcntl_arg},
    [T_FUTEX_ARG4] = {.fn = fmt_futex_arg4, .omit = omit_futex_arg4},
    [T_FUTEX_ARG5] = {.fn = fmt_pointer, .omit = omit_futex_arg5},
    BEFORE(FUTEX_ARG6, fmt_hex), BEFORE(CLONE_FLAGS, fmt_clone_flags),
    BEFORE(SOCK_PROTO, fmt_sock_proto), BEFORE(SOCK_OPT, fmt_sock_opt),
    BEFORE(MKNOD_MODE, fmt_mknod_mode),

    FLAGS(OPEN_FLAGS), FLAGS(AT_FLAGS), FLAGS(UNLINKAT_FLAGS), FLAGS(FACCESSAT_FLAGS),
    FLAGS(STATX_FLAGS), FLAGS(STATX_MASK), FLAGS(ACCESS_MODE), FLAGS(WHENCE), FLAGS(PROT),
    FLAGS(MMAP_FLAGS), FLAGS(MREMAP_FLAGS), FLAGS(MSYNC_FLAGS), FLAGS(MADVICE),
    FLAGS(MLOCKALL_FLAGS), FLAGS(MLOCK2_FLAGS), FLAGS(SIG_HOW), FLAGS(IOCTL), FLAGS(FCNTL_CMD),
    FLAGS(FLOCK_OP), FLAGS(UNSHARE_FLAGS), FLAGS(WAIT_OPTIONS), FLAGS(WAITID_TYPE),
    FLAGS(FUTEX_OP), FLAGS(RLIMIT), FLAGS(RUSAGE_WHO), FLAGS(ITIMER), FLAGS(CLOCK),
    FLAGS(TIMER_FLAGS), FLAGS(TIMERFD_FLAGS), FLAGS(SOCK_DOMAIN), FLAGS(SOCK_TYPE),
    FLAGS(SOCK_FLAGS), FLAGS(SOCK_LEVEL), FLAGS(MSG_FLAGS), FLAGS(SHUTDOWN_HOW), FLAGS(EPOLL_OP),
    FLAGS(EPOLL_FLAGS), FLAGS(EVENTFD_FLAGS), FLAGS(SIGNALFD_FLAGS), FLAGS(PIPE_FLAGS),
    FLAGS(INOTIFY_MASK), FLAGS(INOTIFY_FLAGS), FLAGS(PRCTL_OP), FLAGS(ARCH_PRCTL_OP),
    FLAGS(PTRACE_OP), FLAGS(PERSONALITY), FLAGS(PRIO_WHICH), FLAGS(SCHED_POLICY),
    FLAGS(MOUNT_FLAGS), FLAGS(UMOUNT_FLAGS), FLAGS(XATTR_FLAGS), FLAGS(FADVICE),
    FLAGS(FALLOC_FLAGS), FLAGS(SPLICE_FLAGS), FLAGS(RENAME_FLAGS), FLAGS(SECCOMP_OP),
    FLAGS(GETRANDOM_FLAGS), FLAGS(MEMFD_FLAGS), FLAGS(MEMBARRIER_CMD), FLAGS(RWF_FLAGS),
    FLAGS(CLOSE_RANGE_FLAGS), FLAGS(IPC_KEY), FLAGS(IPC_FLAGS), FLAGS(IPC_CMD),
    FLAGS(SHMAT_FLAGS), FLAGS(SA_FLAGS), FLAGS(SS_FLAGS), FLAGS(POLL_EVENTS), FLAGS(EPOLL_EVENTS),
    FLAGS(FILE_TYPE), FLAGS(SIGEV_NOTIFY), FLAGS(RESOLVE_FLAGS),

    AFTER(OUT_STAT, strace_stat), AFTER(OUT_STATX, strace_statx), AFTER(OUT_STATFS, strace_statfs),
    BEFORE(IN_POLLFDS, strace_pollfds), BEFORE(IN_FDSET, strace_fdset),
    BEFORE(IN_TIMESPEC, strace_timespec), AFTER(OUT_TIMESPEC, strace_timespec),
    [T_OUT_TIMESPEC_EINTR] = {.fn = strace_timespec_if_interrupted, .after = true, .on_error = true},
    BEFORE(IN_TIMEVAL, strace_timeval), AFTER(OUT_TIMEVAL, strace_timeval),
    BEFORE(IN_TIMEVALS, strace_timeval_pair), BEFORE(IN_UTIMENS, strace_timespec_pair),
    BEFORE(IN_ITIMERVAL, strace_itimerval), AFTER(OUT_ITIMERVAL, strace_itimerval),
    BEFORE(IN_ITIMERSPEC, strace_itimerspec), AFTER(OUT_ITIMERSPEC, strace_itimerspec),
    BEFORE(IN_SIGACTION, strace_sigaction), AFTER(OUT_SIGACTION, strace_sigaction),
    BEFORE(IN_SIGSET, strace_sigset_at), AFTER(OUT_SIGSET, strace_sigset_at),
    BEFORE(IN_SIGINFO, strace_siginfo_at), AFTER(OUT_SIGINFO, strace_siginfo_at),
    BEFORE(IN_STACK, strace_stack), AFTER(OUT_STACK, strace_stack),
    BEFORE(IN_SIGEVENT, strace_sigevent), AFTER(OUT_FD_PAIR, strace_int_pair),
    BEFORE(IN_INT, strace_int_at), AFTER(OUT_INT, strace_int_at), BEFORE(IN_LONG, strace_long_at),
    BEFORE(IN_IDS, strace_ids), AFTER(OUT_IDS, strace_ids),
    BEFORE(IN_SOCKADDR, strace_sockaddr), AFTER(OUT_SOCKADDR, strace_sockaddr),
    BEFORE(IN_SOCKOPT, strace_sockopt), BEFORE(IN_MSGHDR, strace_msghdr),
    AFTER(OUT_MSGHDR, strace_msghdr), AFTER(OUT_WAIT_STATUS, strace_wait_status),
    AFTER(OUT_RUSAGE, strace_rusage), AFTER(OUT_UTSNAME, strace_utsname),
    BEFORE(IN_RLIMIT, strace_rlimit), AFTER(OUT_RLIMIT, strace_rlimit),
    AFTER(OUT_SYSINFO, strace_sysinfo), BEFORE(IN_CAP_HEADER, strace_cap_header),
    BEFORE(IN_CAP_DATA, strace_cap_data), AFTER(OUT_CAP_DATA, strace_cap_data),
    BEFORE(IN_CPUSET, strace_cpuset), AFTER(OUT_CPUSET, strace_cpuset),
    BEFORE(IN_EPOLL_EVENT, strace_epoll_event), AFTER(OUT_EPOLL_EVENTS, strace_epoll_events),
    BEFORE(IN_CLONE_ARGS, strace_clone_args), BEFORE(IN_OPEN_HOW, strace_open_how),
};
/* clang-format on */
