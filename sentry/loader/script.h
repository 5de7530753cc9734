/*
 * Interpreter scripts: "#!interpreter [argument]". See execve(2).
 */
#ifndef PICKET_SENTRY_LOADER_SCRIPT_H
#define PICKET_SENTRY_LOADER_SCRIPT_H

#include "sentry/loader/loader.h"

/* How much of a file Linux looks at. */
#define SCRIPT_LINE_SIZE 256
/* A script's interpreter may be a script: this many times. */
#define SCRIPT_MAX_DEPTH 5

struct script_line {
    char interp[SCRIPT_LINE_SIZE];
    char arg[SCRIPT_LINE_SIZE]; /* may contain blanks: all of the rest of the line */
    bool has_arg;
};

static inline bool script_is(const char buf[SCRIPT_LINE_SIZE])
{
    return buf[0] == '#' && buf[1] == '!';
}
/*
 * Parses the start of a file, filled up with zeros. Returns 0, or -ENOEXEC if there is no
 * interpreter's name in it, or if the name does not end within it. Pre: script_is(buf).
 */
MUST_CHECK int script_parse(const char buf[SCRIPT_LINE_SIZE], struct script_line *out);

/*
 * Follows #! lines from rq->file to the program that will really be loaded, and rewrites rq->argv
 * on the way. *program: a reference for the caller. Returns 0, -ELOOP if there are too many,
 * -E2BIG, -ENOMEM, or why a file could not be opened for execution.
 */
MUST_CHECK int script_resolve(struct load_request *rq, struct file **program);

#endif
