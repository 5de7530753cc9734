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

/* Prints argument i of c. `data` is the row's. */
typedef void (*strace_fn)(struct strace_out *o, const struct strace_call *c, unsigned i,
                          const void *data);
struct strace_format {
    strace_fn fn;
    const void *data;
    bool after; /* to be printed when the call has returned; on failure only its address */
};
extern const struct strace_format strace_formats[STRACE_ARG_COUNT];

/* Strings longer than this are cut (paths are not). */
#define STRACE_STRING_MAX 32
/* Elements of an array that are shown. */
#define STRACE_ARRAY_MAX 32

/*
 * Flags, or the names of numbers. A row stands if (value & mask) == row.value, and takes these bits
 * away; what no row takes is printed as a number.
 */
struct strace_flag {
    uint64_t value, mask;
    const char *name;
};
struct strace_flag_set {
    const struct strace_flag *rows;
    size_t nrows;
    bool wide; /* 64 bits count; otherwise the lower 32 */
};
void strace_flags(struct strace_out *o, const struct strace_flag_set *set, uint64_t value);
/* The set that belongs to an argument kind, or NULL. */
const struct strace_flag_set *strace_flag_set(enum strace_arg kind);

void strace_signal_name(struct strace_out *o, int sig);
void strace_sigset(struct strace_out *o, sigset64_t set);
void strace_siginfo(struct strace_out *o, const siginfo_t *info);
void strace_pointer(struct strace_out *o, uint64_t addr);
/* The descriptors that poll found, behind its result. */
void strace_poll_result(struct strace_out *o, const struct strace_call *c);

#endif
