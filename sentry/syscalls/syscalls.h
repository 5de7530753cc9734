/*
 * System calls: one table, indexed by number, one handler a row. A handler is a function
 *
 *      long sys_name(struct task *t, const struct sysargs *a);
 *
 * defined in the file of its family. It returns the result or a negative errno (the restart errnos
 * of kernel/errno.h included). table.c declares every sys_* weak: a call whose handler does not
 * exist answers with its row's errno, and is logged once.
 */
#ifndef PICKET_SENTRY_SYSCALLS_SYSCALLS_H
#define PICKET_SENTRY_SYSCALLS_SYSCALLS_H

#include "sentry/kernel/task.h"

struct sysargs {
    uint64_t a[6];
};
#define ARG_INT(args, i) ((int)(args)->a[i])
#define ARG_UINT(args, i) ((unsigned)(args)->a[i])
#define ARG_GVA(args, i) ((gva_t)(args)->a[i])

typedef long (*syscall_fn)(struct task *t, const struct sysargs *a);

#define SYSCALL(name)                                                                              \
    long sys_##name(struct task *t, const struct sysargs *a);                                      \
    long sys_##name(UNUSED struct task *t, UNUSED const struct sysargs *a)

/* Runs call `nr`: looks it up, prints it if strace is on, returns the result. */
long syscall_dispatch(struct task *t, uint64_t nr, const struct sysargs *a);
/* "openat", or NULL. */
const char *syscall_name(uint64_t nr);

/* An extensible structure of the application (open.c): `size` bytes as it says, of which we know
 * the first `known`; the others must be zero (-E2BIG). */
int copy_in_struct(struct task *t, gva_t addr, uint64_t size, void *out, size_t known);

/*
 * strace.c: one line for a call, when it has returned; a call that sleeps shows its first half
 * before ("<unfinished ...>"). Lines go to the log if it is open at LOG_INFO, else to stderr.
 *
 * `list`: as strace -e trace= takes it, or NULL for all: names of calls and classes (%file,
 * %process, %memory, %network, %signal, %desc, %ipc, %creds, %clock), comma-separated. A '!' in
 * front of the list means all but these, in front of a later item that it is left out. "+time" adds
 * the time that each call took.
 * Returns 0, or -EINVAL with a sentence.
 */
struct strace_config;
int strace_config_create(const char *list, struct strace_config **out, char *why, size_t why_size);
void strace_config_destroy(struct strace_config *c);
bool strace_wants(const struct strace_config *c, uint64_t nr);
void strace_enter(struct task *t, uint64_t nr, const struct sysargs *a);
void strace_exit(struct task *t, uint64_t nr, const struct sysargs *a, long result);
/* t is about to sleep in a call: task_block says so if t->strace is set. */
void strace_block(struct task *t);
/* "--- SIGSEGV {...} ---" and "+++ exited with 0 +++"; nothing if strace is off. The latter is the
 * last word on t, and frees its printer. */
void strace_signal(struct task *t, const siginfo_t *info);
void strace_task_exit(struct task *t, int wait_status);

#endif
