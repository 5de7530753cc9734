/*
 * picket version
 */
#include "cmd/picket/command.h"

#include <stdio.h>

static int version_run(int argc, char **argv)
{
    if (argc > 1)
        return fail("%s takes no argument", argv[0]);
    printf("picket %s\n", PICKET_VERSION);
    return fflush(stdout) == 0 ? 0 : STATUS_PICKET_FAILED;
}

const struct command version_command = {
    .name = "version",
    .summary = "print Picket's version",
    .help = "Usage: picket version\n"
            "\n"
            "Prints Picket's version.\n",
    .run = version_run,
};
