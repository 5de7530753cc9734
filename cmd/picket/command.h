/*
 * The command line: one object for each subcommand, in a file of its name.
 */
#ifndef PICKET_CMD_COMMAND_H
#define PICKET_CMD_COMMAND_H

#include "base/compiler.h"

/* Exit statuses of Picket's own; any other is the command's. (As docker and podman have them.) */
#define STATUS_PICKET_FAILED 125
#define STATUS_CANNOT_EXECUTE 126
#define STATUS_NOT_FOUND 127

struct command {
    const char *name;
    const char *summary; /* one line for "picket help" */
    const char *help;    /* the whole text of "picket help NAME" */
    /* argv[0] is the subcommand's name. Returns the exit status. */
    int (*run)(int argc, char **argv);
};

extern const struct command do_command;
extern const struct command help_command;
extern const struct command version_command;

/* All of them, ended by NULL. */
extern const struct command *const commands[];
const struct command *command_find(const char *name);

/* "picket: ..." and a newline on stderr. Returns STATUS_PICKET_FAILED. */
int fail(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif
