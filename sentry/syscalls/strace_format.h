/*
 * Inside the strace printer: strace.c puts lines together, strace_args.c has a row for each kind of
 * argument, strace_flags.c the names of flags, strace_structs.c the structures.
 */
#ifndef PICKET_SENTRY_SYSCALLS_STRACE_FORMAT_H
#define PICKET_SENTRY_SYSCALLS_STRACE_FORMAT_H

#include "sentry/syscalls/syscall_table.h"

/* A line that is being written. What does not fit is dropped. */
struct strace_out {
    char *buf;
    size_t size, len;
};
void strace_printf(struct strace_out *o, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Quoted and escaped as strace does; "..." behind it if `cut`. */
void strace_quote(struct strace_out *o, const char *s, size_t n, bool cut);

/* The call whose argument is printed. */
struct strace_call {
    struct task *task;
    struct mm *mm; /* may be NULL: pointers stay numbers */
    const struct syscall_row *row;
    const struct sysargs *args;
    long result;
};

/* A formatter prints argument i of c. `data` is its row's. */
#define STRACE_FORMATTER(name)                                                                     \
    void name(UNUSED struct strace_out *o, UNUSED const struct strace_call *c, UNUSED unsigned i,  \
              UNUSED const void *data)
typedef void (*strace_fn)(struct strace_out *o, const struct strace_call *c, unsigned i,
                          const void *data);

struct strace_format {
    strace_fn fn;
    const void *data;
    bool after;    /* printed when the call has returned; only its address if it failed, */
    bool on_error; /* unless this is set */
    /* Whether this argument and those behind it mean nothing here. NULL: never. */
    bool (*omit)(const struct strace_call *c);
};
extern const struct strace_format strace_formats[STRACE_ARG_COUNT];

/* Strings longer than this are cut (paths are not). */
#define STRACE_STRING_MAX 32
/* Elements of an array that are shown. */
#define STRACE_ARRAY_MAX 32

/*
 * Flags, or the names of numbers. A row stands if (value & mask) == row.value, and takes these bits
 * away; what no row takes is printed as a number. The lower 32 bits of a value count.
 */
struct strace_flag {
    uint64_t value, mask;
    const char *name;
};
struct strace_flag_set {
    const struct strace_flag *rows;
    size_t nrows;
};
void strace_flags(struct strace_out *o, const struct strace_flag_set *set, uint64_t value);
/* The set that belongs to a kind of argument; no rows if it has none. */
const struct strace_flag_set *strace_flag_set(enum strace_arg kind);
/* Both in one. */
void strace_kind(struct strace_out *o, enum strace_arg kind, uint64_t value);

void strace_pointer(struct strace_out *o, uint64_t addr);
void strace_signal_name(struct strace_out *o, int sig);
void strace_sigset(struct strace_out *o, sigset64_t set);
void strace_siginfo(struct strace_out *o, const siginfo_t *info);
void strace_file_mode(struct strace_out *o, unsigned mode);
/* At most STRACE_STRING_MAX of `length` bytes at addr. */
void strace_data(struct strace_out *o, struct mm *mm, gva_t addr, uint64_t length);
/* An array of struct iovec, whose buffers hold `filled` bytes in all. */
void strace_iovec(struct strace_out *o, struct mm *mm, gva_t addr, uint64_t count, uint64_t filled);
/* What poll and select found, behind their result. */
void strace_poll_result(struct strace_out *o, const struct strace_call *c);
void strace_select_result(struct strace_out *o, const struct strace_call *c);

/* Formatters of strace_structs.c and strace_sockets.c: `data` is not NULL for arrays and variants
 * as they say. */
STRACE_FORMATTER(strace_stat);
STRACE_FORMATTER(strace_statx);
STRACE_FORMATTER(strace_statfs);
STRACE_FORMATTER(strace_pollfds);
STRACE_FORMATTER(strace_fdset);
STRACE_FORMATTER(strace_timespec);
STRACE_FORMATTER(strace_timespec_if_interrupted);
STRACE_FORMATTER(strace_timespec_pair);
STRACE_FORMATTER(strace_timeval);
STRACE_FORMATTER(strace_timeval_pair);
STRACE_FORMATTER(strace_itimerval);
STRACE_FORMATTER(strace_itimerspec);
STRACE_FORMATTER(strace_sigaction);
STRACE_FORMATTER(strace_sigset_at);
STRACE_FORMATTER(strace_siginfo_at);
STRACE_FORMATTER(strace_stack);
STRACE_FORMATTER(strace_sigevent);
STRACE_FORMATTER(strace_int_pair);
STRACE_FORMATTER(strace_int_at);
STRACE_FORMATTER(strace_long_at);
STRACE_FORMATTER(strace_ids);
STRACE_FORMATTER(strace_wait_status);
STRACE_FORMATTER(strace_rusage);
STRACE_FORMATTER(strace_utsname);
STRACE_FORMATTER(strace_rlimit);
STRACE_FORMATTER(strace_sysinfo);
STRACE_FORMATTER(strace_cap_header);
STRACE_FORMATTER(strace_cap_data);
STRACE_FORMATTER(strace_cpuset);
STRACE_FORMATTER(strace_epoll_event);
STRACE_FORMATTER(strace_epoll_events);
STRACE_FORMATTER(strace_clone_args);
STRACE_FORMATTER(strace_open_how);
STRACE_FORMATTER(strace_sockaddr);
STRACE_FORMATTER(strace_sockopt);
STRACE_FORMATTER(strace_msghdr);

#endif
