/*
 * The strace printer: one row for each kind of argument. Application memory is read through mm, and
 * what cannot be read is printed as an address.
 */
#include "sentry/syscalls/strace_format.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

void strace_pointer(struct strace_out *o, uint64_t addr)
{
    if (addr)
        strace_printf(o, "0x%lx", addr);
    else
        strace_printf(o, "NULL");
}

#define FORMATTER(name)                                                                            \
    static void name(UNUSED struct strace_out *o, UNUSED const struct strace_call *c,              \
                     UNUSED unsigned i, UNUSED const void *data)
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

static void strace_data(struct strace_out *o, struct mm *mm, gva_t addr, uint64_t length)
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

/* [{iov_base="...", iov_len=3}, ...]: data is not NULL if the result says how much is there. */
FORMATTER(fmt_iovec)
{
    uint64_t count = c->args->a[i + 1], left = data ? (uint64_t)MAX(c->result, 0L) : UINT64_MAX;
    struct iovec iov;
    if (!VALUE || !c->mm || (count && MM_COPY_IN(c->mm, &iov, VALUE) != 0)) {
        strace_pointer(o, VALUE);
        return;
    }
    strace_printf(o, "[");
    for (uint64_t n = 0; n < count; n++) {
        strace_printf(o, n ? ", " : "");
        if (n == STRACE_ARRAY_MAX || MM_COPY_IN(c->mm, &iov, VALUE + n * sizeof(iov)) != 0) {
            strace_printf(o, "...");
            break;
        }
        uint64_t here = MIN(left, (uint64_t)iov.iov_len);
        strace_printf(o, "{iov_base=");
        strace_data(o, c->mm, (gva_t)(uintptr_t)iov.iov_base, here);
        strace_printf(o, ", iov_len=%zu}", iov.iov_len);
        left -= here;
    }
    strace_printf(o, "]");
}

/* ---- flags ---- */

FORMATTER(fmt_flags)
{
    strace_flags(o, strace_flag_set(c->row->args[i]), VALUE);
}

/* The addresses of two out-parameters differ only in what strace_structs.c reads there. */
#define BEFORE(kind, f) [T_##kind] = {.fn = f}
#define AFTER(kind, f) [T_##kind] = {.fn = f, .after = true}
#define FLAGS(kind) BEFORE(kind, fmt_flags)

const struct strace_format strace_formats[STRACE_ARG_COUNT] = {
    BEFORE(INT, fmt_int),
    BEFORE(UINT, fmt_uint),
    BEFORE(LONG, fmt_long),
    BEFORE(ULONG, fmt_ulong),
    BEFORE(SIZE, fmt_ulong),
    BEFORE(HEX, fmt_hex),
    BEFORE(PTR, fmt_pointer),
    BEFORE(MODE, fmt_mode),
    BEFORE(ID, fmt_id),
    BEFORE(DEV, fmt_dev),
    BEFORE(FD, fmt_int),
    BEFORE(DIRFD, fmt_dirfd),
    BEFORE(PATH, fmt_path),
    BEFORE(STRING, fmt_string),
    BEFORE(ARGV, fmt_argv),
    BEFORE(ENVP, fmt_envp),
    BEFORE(SIGNAL, fmt_signal),
    BEFORE(IN_BUF, fmt_in_buf),
    AFTER(OUT_BUF, fmt_out_buf),
    BEFORE(IN_IOVEC, fmt_iovec),
    [T_OUT_IOVEC] = {.fn = fmt_iovec, .data = "", .after = true},
    FLAGS(OPEN_FLAGS),
};
