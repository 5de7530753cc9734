/*
 * The strace printer: names of flags and of numbers. One table for each set, one row for each kind
 * of argument that uses it.
 */
#include "sentry/syscalls/strace_format.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>

#define F(name)                                                                                    \
    {                                                                                              \
        name, name, #name                                                                          \
    }
/* A value of a field of several bits. */
#define FIELD(name, mask)                                                                          \
    {                                                                                              \
        name, mask, #name                                                                          \
    }
/* One of a list: the whole number. */
#define ONE(name)                                                                                  \
    {                                                                                              \
        (uint64_t)(uint32_t)(name), UINT64_MAX, #name                                              \
    }

static const struct strace_flag open_flags[] = {
    FIELD(O_RDONLY, O_ACCMODE),
    FIELD(O_WRONLY, O_ACCMODE),
    FIELD(O_RDWR, O_ACCMODE),
    F(O_CREAT),
    F(O_EXCL),
    F(O_NOCTTY),
    F(O_TRUNC),
    F(O_APPEND),
    F(O_NONBLOCK),
    F(O_SYNC),
    F(O_DSYNC),
    F(O_ASYNC),
    F(O_DIRECT),
    {0100000, 0100000, "O_LARGEFILE"},
    F(O_TMPFILE),
    F(O_DIRECTORY),
    F(O_NOFOLLOW),
    F(O_NOATIME),
    F(O_CLOEXEC),
    F(O_PATH),
};

#define SET(rows)                                                                                  \
    {                                                                                              \
        rows, ARRAY_SIZE(rows), false                                                              \
    }
static const struct strace_flag_set flag_sets[STRACE_ARG_COUNT] = {
    [T_OPEN_FLAGS] = SET(open_flags),
};

const struct strace_flag_set *strace_flag_set(enum strace_arg kind)
{
    return &flag_sets[kind];
}

void strace_flags(struct strace_out *o, const struct strace_flag_set *set, uint64_t value)
{
    uint64_t rest = set->wide ? value : (uint32_t)value;
    bool any = false;
    for (size_t i = 0; i < set->nrows; i++) {
        const struct strace_flag *f = &set->rows[i];
        if ((rest & f->mask) != f->value)
            continue;
        strace_printf(o, "%s%s", any ? "|" : "", f->name);
        rest &= ~f->mask;
        any = true;
        if (f->mask == UINT64_MAX)
            return;
    }
    if (rest || !any)
        strace_printf(o, any ? "|0x%lx" : rest ? "0x%lx" : "0", rest);
}

void strace_signal_name(struct strace_out *o, int sig)
{
    const char *name = sigabbrev_np(sig);
    if (name)
        strace_printf(o, "SIG%s", name);
    else if (sig >= 32 && sig <= SIG_MAX)
        strace_printf(o, sig == 32 ? "SIGRTMIN" : "SIGRT_%d", sig - 32);
    else
        strace_printf(o, "%d", sig);
}
