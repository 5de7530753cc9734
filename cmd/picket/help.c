/*
 * picket help [COMMAND]
 */
#include "cmd/picket/command.h"

#include <stdio.h>

static const char overview[] =
    "picket runs Linux programs in a sandbox. Their system calls, page faults and signals never\n"
    "reach the host's kernel: Picket is a Linux kernel itself, an ordinary program that answers\n"
    "them, and asks the host for very little.\n"
    "\n"
    "Usage: picket COMMAND [ARGUMENT...]\n"
    "\n"
    "Commands:\n";

static const char overview_end[] =
    "\n"
    "picket help COMMAND tells more about one of them.\n"
    "\n"
    "Examples:\n"
    "  picket do -- ls -la /                 a program of the host, on a copy-on-write root\n"
    "  picket do --volume .:/src -- make -C /src\n"
    "                                        ... that may write to one host directory\n"
    "  picket do --rootfs ./alpine -- sh     a shell in another root\n"
    "  picket do --strace=%file -- cat x     the system calls that it makes\n";

static int help_run(int argc, char **argv)
{
    if (argc > 2)
        return fail("help takes one command. Try: picket help do");
    if (argc == 2) {
        const struct command *c = command_find(argv[1]);
        if (!c)
            return fail("there is no command \"%s\". picket --help lists them", argv[1]);
        fputs(c->help, stdout);
    } else {
        fputs(overview, stdout);
        for (const struct command *const *c = commands; *c; c++)
            printf("  %-10s %s\n", (*c)->name, (*c)->summary);
        fputs(overview_end, stdout);
    }
    return fflush(stdout) == 0 ? 0 : STATUS_PICKET_FAILED;
}

const struct command help_command = {
    .name = "help",
    .summary = "explain a command",
    .help = "Usage: picket help [COMMAND]\n"
            "\n"
            "Explains a command, or lists them all.\n",
    .run = help_run,
};
