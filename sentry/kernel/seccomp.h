/*
 * seccomp(2): which system calls a task may make. A task has a chain of filters, newest first, and
 * shares its older part with whoever it was inherited from:
 *
 *      task --> filter 3 --> filter 2 --> filter 1
 *                              ^
 *      its child --------------+            a listener belongs to one filter of a chain
 *
 * task.seccomp changes under SIGHAND, by its own thread or by a sibling's
 * SECCOMP_FILTER_FLAG_TSYNC; the new chain always ends in the old one, so the own thread may follow
 * it without a lock. A filter never changes. `users` counts what can still run it, `ref` also who
 * only knows it.
 */
#ifndef PICKET_SENTRY_KERNEL_SECCOMP_H
#define PICKET_SENTRY_KERNEL_SECCOMP_H

#include "base/bpf.h"
#include "base/refcount.h"
#include "sentry/kernel/task.h"
#include <linux/seccomp.h>

#define SECCOMP_CACHE_WORDS 8 /* system calls 0 to 511 */

struct seccomp_listener;

struct seccomp_filter {
    struct refcount ref;
    _Atomic int users;           /* tasks, and filters above */
    struct seccomp_filter *prev; /* referenced, and used */
    struct bpf_program *program;
    struct seccomp_listener *listener; /* owned, or NULL: seccomp_notify.c */
    bool log;
    bool wait_killable;
    uint64_t always[SECCOMP_CACHE_WORDS]; /* calls that this filter and all below allow anyhow */
};

/* ---- seccomp.c ---- */

/* SECCOMP_SET_MODE_STRICT, SECCOMP_SET_MODE_FILTER: 0, a descriptor, a thread id, or -errno. */
long seccomp_set_strict(struct task *t);
/* Takes over insns[n]; they are the application's and unchecked. */
long seccomp_set_filter(struct task *t, uint32_t flags, const struct sock_filter *insns, size_t n);
/* What the syscall path asks: may the call in t's registers happen? False: it may not, and the
 * registers hold what it returns. A tracer may have changed the call. Own thread. */
bool seccomp_allows(struct task *t);
/* clone: the child gets the parent's filters. SIGHAND of the parent held. */
void seccomp_inherit(struct task *child, struct task *parent);
/* The task will make no more calls. Own thread, no lock held. */
void seccomp_exit(struct task *t);
void seccomp_filter_put(struct seccomp_filter *f);
/* Names of the actions in `set` (bit n: the n-th row), for /proc/sys. */
const char *seccomp_action_name(unsigned n);
#define SECCOMP_ACTIONS 8
#define SECCOMP_LOGGED_DEFAULT 0x7fu /* all but allow, the last */
/* Whether SECCOMP_RET_x is known. */
bool seccomp_action_known(uint32_t action);

/* ---- seccomp_notify.c ---- */

/* Gives f a listener and opens it: the descriptor, or -errno. */
int seccomp_listener_create(struct task *t, struct seccomp_filter *f);
void seccomp_listener_free(struct seccomp_listener *l);
/* Nobody runs the filter any more. */
void seccomp_listener_orphaned(struct seccomp_listener *l);
/* SECCOMP_RET_USER_NOTIF: asks f's listener. True: the call shall happen. False: *result is what it
 * returns. Own thread. */
bool seccomp_notify(struct task *t, struct seccomp_filter *f, const struct seccomp_data *data,
                    long *result);

#endif
