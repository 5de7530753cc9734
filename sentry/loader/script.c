/*
 * Interpreter scripts. For `./run a b`, whose first line is "#!/bin/sh -eu", what is loaded is
 *
 *      /bin/sh   "-eu"   ./run   a   b
 *      argv[0]   argv[1] argv[2] ...
 *
 * argv[0] as the caller gave it is lost; the rest of the line is one argument.
 */
#include "sentry/loader/script.h"
#include "sentry/loader/strings.h"
#include <errno.h>
#include <string.h>

/* argv becomes: interpreter, its argument if there is one, the script, the old argv from 1 on. */
static int rewrite_argv(struct exec_strings *argv, const struct script_line *line,
                        const char *script)
{
    exec_strings_drop_first(argv);
    int err = exec_strings_prepend(argv, script);
    if (!err && line->has_arg)
        err = exec_strings_prepend(argv, line->arg);
    if (!err)
        err = exec_strings_prepend(argv, line->interp);
    return err;
}

static int read_start(struct file *f, char buf[SCRIPT_LINE_SIZE])
{
    memset(buf, 0, SCRIPT_LINE_SIZE);
    ssize_t n = file_read_kernel(f, buf, SCRIPT_LINE_SIZE, 0);
    return n < 0 ? (int)n : 0;
}

/* No name at all is the working directory to Linux, which is no program. */
static int open_interpreter(struct load_request *rq, const char *name, struct file **out)
{
    return *name ? vfs_open_exec(rq->task, AT_FDCWD, name, 0, out) : -EACCES;
}

int script_resolve(struct load_request *rq, struct file **program)
{
    char buf[SCRIPT_LINE_SIZE];
    struct script_line line;
    char name[SCRIPT_LINE_SIZE]; /* of the interpreter that turned out to be a script */
    const char *script = rq->name.path;
    struct file *f = file_get(rq->file);
    int err;

    for (int depth = 0;; depth++) {
        err = depth > SCRIPT_MAX_DEPTH ? -ELOOP : read_start(f, buf);
        if (err || !script_is(buf))
            break;
        err = script_parse(buf, &line);
        if (!err && rq->name.inaccessible)
            err = -ENOENT;
        if (!err)
            err = rewrite_argv(&rq->argv, &line, script);
        if (err)
            break;
        file_put(f);
        f = NULL;
        err = open_interpreter(rq, line.interp, &f);
        if (err)
            break;
        memcpy(name, line.interp, sizeof(name));
        script = name;
    }
    if (!err) {
        *program = f;
        return 0;
    }
    if (f)
        file_put(f);
    return err;
}
