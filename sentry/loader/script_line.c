/*
 * The first line of a script, which anybody may have written:
 *
 *      #! <blanks> interpreter <blanks> argument, which may contain blanks <blanks> newline
 */
#include "sentry/loader/script.h"
#include <errno.h>
#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* The index of the first non-blank in [i, end], or end + 1. */
static size_t skip_blanks(const char *buf, size_t i, size_t end)
{
    while (i <= end && is_blank(buf[i]))
        i++;
    return i;
}

/* The index of the first blank or NUL in [i, end], or end + 1. */
static size_t skip_word(const char *buf, size_t i, size_t end)
{
    while (i <= end && !is_blank(buf[i]) && buf[i] != '\0')
        i++;
    return i;
}

/* Where the line ends: at its newline, or with the buffer if the file has no (near) newline. */
static int line_end(const char *buf, size_t *end)
{
    const size_t last = SCRIPT_LINE_SIZE - 1;
    size_t line = strnlen(buf, SCRIPT_LINE_SIZE);
    const char *newline = memchr(buf, '\n', line);

    if (newline) {
        *end = (size_t)(newline - buf);
    } else {
        size_t name = skip_blanks(buf, 2, last);
        /* A name that runs out of the buffer is cut off: running its beginning would be wrong. */
        if (name > last || skip_word(buf, name, last) > last)
            return -ENOEXEC;
        *end = last;
    }
    while (is_blank(buf[*end - 1]))
        --*end;
    return 0;
}

/* buf[from, to) up to its first NUL, as a string. */
static void copy_word(char *dst, const char *buf, size_t from, size_t to)
{
    size_t n = strnlen(buf + from, to - from);
    memcpy(dst, buf + from, n);
    dst[n] = '\0';
}

int script_parse(const char buf[SCRIPT_LINE_SIZE], struct script_line *out)
{
    size_t end;
    int err = line_end(buf, &end);
    if (err)
        return err;

    size_t name = skip_blanks(buf, 2, end);
    if (name >= end)
        return -ENOEXEC;
    size_t sep = skip_word(buf, name, end);
    copy_word(out->interp, buf, name, MIN(sep, end));

    size_t arg = sep < end && buf[sep] != '\0' ? skip_blanks(buf, sep, end) : end;
    out->has_arg = arg < end;
    if (out->has_arg)
        copy_word(out->arg, buf, arg, end);
    return 0;
}
