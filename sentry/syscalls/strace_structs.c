/*
 * The strace printer: structures. Each formatter reads its structure from the application once;
 * where it cannot, it prints the address.
 */
#include "sentry/syscalls/strace_format.h"

#include <linux/capability.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#define VALUE (c->args->a[i])

/* Reads *(p) from addr, or prints addr and leaves the formatter. */
#define READ_OR_ADDRESS(p, addr)                                                                   \
    do {                                                                                           \
        gva_t from_ = (addr);                                                                      \
        if (!from_ || !c->mm || MM_COPY_IN(c->mm, p, from_) != 0) {                                \
            strace_pointer(o, from_);                                                              \
            return;                                                                                \
        }                                                                                          \
    } while (0)

void strace_pointer(struct strace_out *o, uint64_t addr)
{
    if (addr)
        strace_printf(o, "0x%lx", addr);
    else
        strace_printf(o, "NULL");
}

/* ---- files ---- */

void strace_file_mode(struct strace_out *o, unsigned mode)
{
    if (mode & S_IFMT) {
        strace_kind(o, T_FILE_TYPE, mode & S_IFMT);
        strace_printf(o, "|");
    }
    strace_printf(o, "0%03o", mode & ~(unsigned)S_IFMT);
}

STRACE_FORMATTER(strace_stat)
{
    struct stat st;
    READ_OR_ADDRESS(&st, VALUE);
    strace_printf(o, "{st_mode=");
    strace_file_mode(o, st.st_mode);
    if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
        strace_printf(o, ", st_rdev=makedev(0x%x, 0x%x)", major(st.st_rdev), minor(st.st_rdev));
    else
        strace_printf(o, ", st_size=%ld", st.st_size);
    strace_printf(o, ", ...}");
}

STRACE_FORMATTER(strace_statx)
{
    struct statx stx;
    READ_OR_ADDRESS(&stx, VALUE);
    strace_printf(o, "{stx_mask=");
    strace_kind(o, T_STATX_MASK, stx.stx_mask);
    strace_printf(o, ", stx_attributes=0x%llx, stx_mode=", stx.stx_attributes);
    strace_file_mode(o, stx.stx_mode);
    strace_printf(o, ", stx_size=%llu, ...}", stx.stx_size);
}

STRACE_FORMATTER(strace_statfs)
{
    struct statfs sf;
    READ_OR_ADDRESS(&sf, VALUE);
    strace_printf(o, "{f_type=0x%lx, f_bsize=%ld, f_blocks=%lu, f_bfree=%lu, f_bavail=%lu, ",
                  sf.f_type, sf.f_bsize, sf.f_blocks, sf.f_bfree, sf.f_bavail);
    strace_printf(o, "f_files=%lu, f_ffree=%lu, f_namelen=%ld, f_frsize=%ld, f_flags=0x%lx}",
                  sf.f_files, sf.f_ffree, sf.f_namelen, sf.f_frsize, sf.f_flags);
}

STRACE_FORMATTER(strace_open_how)
{
    struct open_how how;
    READ_OR_ADDRESS(&how, VALUE);
    strace_printf(o, "{flags=");
    strace_kind(o, T_OPEN_FLAGS, how.flags);
    strace_printf(o, ", mode=0%llo, resolve=", how.mode);
    strace_kind(o, T_RESOLVE_FLAGS, how.resolve);
    strace_printf(o, "}");
}

/* ---- poll, select, epoll ---- */

static void print_poll(struct strace_out *o, const struct strace_call *c, bool result)
{
    struct pollfd p;
    uint64_t n = (uint32_t)c->args->a[1], shown = 0;
    gva_t at = c->args->a[0];
    strace_printf(o, "[");
    for (uint64_t k = 0; k < n; k++) {
        if (shown == STRACE_ARRAY_MAX || MM_COPY_IN(c->mm, &p, at + k * sizeof(p)) != 0) {
            strace_printf(o, ", ...");
            break;
        }
        if (result && !p.revents)
            continue;
        strace_printf(o, "%s{fd=%d, %s=", shown++ ? ", " : "", p.fd, result ? "revents" : "events");
        strace_kind(o, T_POLL_EVENTS, (uint16_t)(result ? p.revents : p.events));
        strace_printf(o, "}");
    }
    strace_printf(o, "]");
}

STRACE_FORMATTER(strace_pollfds)
{
    struct pollfd p;
    READ_OR_ADDRESS(&p, VALUE);
    print_poll(o, c, false);
}

void strace_poll_result(struct strace_out *o, const struct strace_call *c)
{
    if (c->result == 0) {
        strace_printf(o, " (Timeout)");
        return;
    }
    if (!c->mm)
        return;
    strace_printf(o, " (");
    print_poll(o, c, true);
    strace_printf(o, ")");
}

/* Reads the set at addr, of which the call's first argument says how many bits count. */
static bool read_fdset(const struct strace_call *c, gva_t addr, fd_set *set, int *n)
{
    memset(set, 0, sizeof(*set));
    *n = MIN(MAX((int)c->args->a[0], 0), FD_SETSIZE);
    size_t bytes = ((size_t)*n + 63) / 64 * 8;
    return addr && c->mm && mm_copy_in(c->mm, set, addr, bytes) == 0;
}

static void print_fdset(struct strace_out *o, const fd_set *set, int n)
{
    unsigned shown = 0;
    strace_printf(o, "[");
    for (int fd = 0; fd < n; fd++)
        if (FD_ISSET(fd, set))
            strace_printf(o, "%s%d", shown++ ? " " : "", fd);
    strace_printf(o, "]");
}

STRACE_FORMATTER(strace_fdset)
{
    fd_set set;
    int n;
    if (read_fdset(c, VALUE, &set, &n))
        print_fdset(o, &set, n);
    else
        strace_pointer(o, VALUE);
}

void strace_select_result(struct strace_out *o, const struct strace_call *c)
{
    static const char *const names[] = {"in", "out", "except"};
    unsigned shown = 0;
    if (c->result == 0) {
        strace_printf(o, " (Timeout)");
        return;
    }
    for (unsigned k = 0; k < 3; k++) {
        fd_set set;
        int n;
        if (!read_fdset(c, c->args->a[1 + k], &set, &n))
            continue;
        strace_printf(o, "%s%s ", shown++ ? ", " : " (", names[k]);
        print_fdset(o, &set, n);
    }
    strace_printf(o, shown ? ")" : "");
}

static void print_epoll_event(struct strace_out *o, const struct epoll_event *ev)
{
    strace_printf(o, "{events=");
    strace_kind(o, T_EPOLL_EVENTS, ev->events);
    strace_printf(o, ", data={u32=%u, u64=%lu}}", ev->data.u32, ev->data.u64);
}

STRACE_FORMATTER(strace_epoll_event)
{
    struct epoll_event ev;
    READ_OR_ADDRESS(&ev, VALUE);
    print_epoll_event(o, &ev);
}

/* As many as the call returned. */
STRACE_FORMATTER(strace_epoll_events)
{
    strace_printf(o, "[");
    for (long k = 0; c->mm && k < c->result; k++) {
        struct epoll_event ev;
        strace_printf(o, k ? ", " : "");
        if (k == STRACE_ARRAY_MAX ||
            MM_COPY_IN(c->mm, &ev, VALUE + (uint64_t)k * sizeof(ev)) != 0) {
            strace_printf(o, "...");
            break;
        }
        print_epoll_event(o, &ev);
    }
    strace_printf(o, "]");
}

/* ---- time ---- */

static void print_timespec(struct strace_out *o, const struct timespec *ts)
{
    if (ts->tv_nsec == UTIME_NOW)
        strace_printf(o, "UTIME_NOW");
    else if (ts->tv_nsec == UTIME_OMIT)
        strace_printf(o, "UTIME_OMIT");
    else
        strace_printf(o, "{tv_sec=%ld, tv_nsec=%ld}", ts->tv_sec, ts->tv_nsec);
}

static void print_timeval(struct strace_out *o, const struct timeval *tv)
{
    strace_printf(o, "{tv_sec=%ld, tv_usec=%ld}", tv->tv_sec, tv->tv_usec);
}

STRACE_FORMATTER(strace_timespec)
{
    struct timespec ts;
    READ_OR_ADDRESS(&ts, VALUE);
    print_timespec(o, &ts);
}

/* The time left of a sleep, which is there only if a signal came. */
STRACE_FORMATTER(strace_timespec_if_interrupted)
{
    if (c->result == -EINTR || c->result == -ERESTART_RESTARTBLOCK)
        strace_timespec(o, c, i, data);
    else
        strace_pointer(o, VALUE);
}

STRACE_FORMATTER(strace_timespec_pair)
{
    struct timespec ts[2];
    READ_OR_ADDRESS(&ts, VALUE);
    strace_printf(o, "[");
    print_timespec(o, &ts[0]);
    strace_printf(o, ", ");
    print_timespec(o, &ts[1]);
    strace_printf(o, "]");
}

STRACE_FORMATTER(strace_timeval)
{
    struct timeval tv;
    READ_OR_ADDRESS(&tv, VALUE);
    print_timeval(o, &tv);
}

STRACE_FORMATTER(strace_timeval_pair)
{
    struct timeval tv[2];
    READ_OR_ADDRESS(&tv, VALUE);
    strace_printf(o, "[");
    print_timeval(o, &tv[0]);
    strace_printf(o, ", ");
    print_timeval(o, &tv[1]);
    strace_printf(o, "]");
}

STRACE_FORMATTER(strace_itimerval)
{
    struct itimerval it;
    READ_OR_ADDRESS(&it, VALUE);
    strace_printf(o, "{it_interval=");
    print_timeval(o, &it.it_interval);
    strace_printf(o, ", it_value=");
    print_timeval(o, &it.it_value);
    strace_printf(o, "}");
}

STRACE_FORMATTER(strace_itimerspec)
{
    struct itimerspec it;
    READ_OR_ADDRESS(&it, VALUE);
    strace_printf(o, "{it_interval=");
    print_timespec(o, &it.it_interval);
    strace_printf(o, ", it_value=");
    print_timespec(o, &it.it_value);
    strace_printf(o, "}");
}

/* ---- processes ---- */

STRACE_FORMATTER(strace_wait_status)
{
    int s;
    READ_OR_ADDRESS(&s, VALUE);
    strace_printf(o, "[{");
    if (c->result == 0) {
        strace_printf(o, "0x%x", s); /* WNOHANG, and nobody to report */
    } else if (WIFEXITED(s)) {
        strace_printf(o, "WIFEXITED(s) && WEXITSTATUS(s) == %d", WEXITSTATUS(s));
    } else if (WIFSTOPPED(s)) {
        strace_printf(o, "WIFSTOPPED(s) && WSTOPSIG(s) == ");
        strace_signal_name(o, WSTOPSIG(s));
    } else if (WIFCONTINUED(s)) {
        strace_printf(o, "WIFCONTINUED(s)");
    } else {
        strace_printf(o, "WIFSIGNALED(s) && WTERMSIG(s) == ");
        strace_signal_name(o, WTERMSIG(s));
        strace_printf(o, WCOREDUMP(s) ? " && WCOREDUMP(s)" : "");
    }
    strace_printf(o, "}]");
}

STRACE_FORMATTER(strace_rusage)
{
    struct rusage ru;
    READ_OR_ADDRESS(&ru, VALUE);
    strace_printf(o, "{ru_utime=");
    print_timeval(o, &ru.ru_utime);
    strace_printf(o, ", ru_stime=");
    print_timeval(o, &ru.ru_stime);
    strace_printf(o, ", ...}");
}

STRACE_FORMATTER(strace_clone_args)
{
    struct clone_args ca;
    READ_OR_ADDRESS(&ca, VALUE);
    strace_printf(o, "{flags=");
    strace_kind(o, T_CLONE_FLAGS, ca.flags);
    strace_printf(o, ", child_tid=");
    strace_pointer(o, ca.child_tid);
    strace_printf(o, ", parent_tid=");
    strace_pointer(o, ca.parent_tid);
    strace_printf(o, ", exit_signal=");
    strace_signal_name(o, (int)ca.exit_signal);
    strace_printf(o, ", stack=");
    strace_pointer(o, ca.stack);
    strace_printf(o, ", stack_size=0x%llx, tls=", ca.stack_size);
    strace_pointer(o, ca.tls);
    strace_printf(o, "}");
}

static void print_limit(struct strace_out *o, uint64_t limit)
{
    if (limit == RLIM_INFINITY)
        strace_printf(o, "RLIM64_INFINITY");
    else if (limit > 1024 && limit % 1024 == 0)
        strace_printf(o, "%lu*1024", limit / 1024);
    else
        strace_printf(o, "%lu", limit);
}

STRACE_FORMATTER(strace_rlimit)
{
    struct rlimit rl;
    READ_OR_ADDRESS(&rl, VALUE);
    strace_printf(o, "{rlim_cur=");
    print_limit(o, rl.rlim_cur);
    strace_printf(o, ", rlim_max=");
    print_limit(o, rl.rlim_max);
    strace_printf(o, "}");
}

STRACE_FORMATTER(strace_cap_header)
{
    struct __user_cap_header_struct h;
    READ_OR_ADDRESS(&h, VALUE);
    if (h.version == _LINUX_CAPABILITY_VERSION_3)
        strace_printf(o, "{version=_LINUX_CAPABILITY_VERSION_3, pid=%d}", h.pid);
    else
        strace_printf(o, "{version=0x%x, pid=%d}", h.version, h.pid);
}

STRACE_FORMATTER(strace_cap_data)
{
    struct __user_cap_data_struct d[2];
    READ_OR_ADDRESS(&d, VALUE);
    strace_printf(o, "{effective=0x%x%08x, permitted=0x%x%08x, inheritable=0x%x%08x}",
                  d[1].effective, d[0].effective, d[1].permitted, d[0].permitted, d[1].inheritable,
                  d[0].inheritable);
}

/* The second argument is the size in bytes; the result may say how many are filled. */
STRACE_FORMATTER(strace_cpuset)
{
    uint8_t bytes[128] = {0};
    uint64_t size = c->row->args[i] == T_OUT_CPUSET ? (uint64_t)MAX(c->result, 0L) : c->args->a[1];
    size = MIN(size, sizeof(bytes));
    if (!VALUE || !c->mm || mm_copy_in(c->mm, bytes, VALUE, size) != 0) {
        strace_pointer(o, VALUE);
        return;
    }
    unsigned shown = 0;
    strace_printf(o, "[");
    for (unsigned cpu = 0; cpu < 8 * size; cpu++)
        if (bytes[cpu / 8] & (1u << (cpu % 8)))
            strace_printf(o, "%s%u", shown++ ? " " : "", cpu);
    strace_printf(o, "]");
}

/* ---- the system ---- */

STRACE_FORMATTER(strace_utsname)
{
    struct utsname u;
    READ_OR_ADDRESS(&u, VALUE);
    strace_printf(o, "{sysname=\"%.64s\", nodename=\"%.64s\", ...}", u.sysname, u.nodename);
}

STRACE_FORMATTER(strace_sysinfo)
{
    struct sysinfo si;
    READ_OR_ADDRESS(&si, VALUE);
    strace_printf(o, "{uptime=%ld, loads=[%lu, %lu, %lu], totalram=%lu, freeram=%lu, ", si.uptime,
                  si.loads[0], si.loads[1], si.loads[2], si.totalram, si.freeram);
    strace_printf(o, "totalswap=%lu, freeswap=%lu, procs=%u, mem_unit=%u}", si.totalswap,
                  si.freeswap, si.procs, si.mem_unit);
}

/* ---- plain numbers in memory ---- */

STRACE_FORMATTER(strace_int_at)
{
    int n;
    READ_OR_ADDRESS(&n, VALUE);
    strace_printf(o, "[%d]", n);
}

STRACE_FORMATTER(strace_long_at)
{
    long n;
    READ_OR_ADDRESS(&n, VALUE);
    strace_printf(o, "[%ld]", n);
}

STRACE_FORMATTER(strace_int_pair)
{
    int n[2];
    READ_OR_ADDRESS(&n, VALUE);
    strace_printf(o, "[%d, %d]", n[0], n[1]);
}

/* User or group numbers; the argument before (or the result) says how many. */
STRACE_FORMATTER(strace_ids)
{
    long n = c->row->args[i] == T_OUT_IDS ? c->result : (int)c->args->a[i - 1];
    uint32_t id;
    if (n > 0)
        READ_OR_ADDRESS(&id, VALUE);
    strace_printf(o, "[");
    for (long k = 0; k < n && k < STRACE_ARRAY_MAX; k++)
        if (MM_COPY_IN(c->mm, &id, VALUE + (uint64_t)k * sizeof(id)) == 0)
            strace_printf(o, "%s%u", k ? ", " : "", id);
    strace_printf(o, n > STRACE_ARRAY_MAX ? ", ...]" : "]");
}
