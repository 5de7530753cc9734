/*
 * picket: finds the subcommand and runs it.
 */
#include "cmd/picket/command.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 * jemalloc reads this by name before main. A sandbox's sentry should be small: few arenas, small
 * thread caches, freed pages given back soon, and no thread that wakes up to do so.
 */
extern const char *malloc_conf;
const char *malloc_conf = "narenas:2,lg_tcache_max:12,background_thread:false,"
                          "dirty_decay_ms:1000,muzzy_decay_ms:0,metadata_thp:disabled";

const struct command *const commands[] = {&do_command, &help_command, &version_command, NULL};

const struct command *command_find(const char *name)
{
    for (const struct command *const *c = commands; *c; c++)
        if (strcmp((*c)->name, name) == 0)
            return *c;
    return NULL;
}

int fail(const char *fmt, ...)
{
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    fprintf(stderr, "picket: %s\n", line);
    return STATUS_PICKET_FAILED;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    if (!name)
        return fail("no command given. Try: picket do -- COMMAND, or picket --help");
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        name = help_command.name;
    else if (strcmp(name, "--version") == 0)
        name = version_command.name;
    const struct command *c = command_find(name);
    if (!c)
        return fail("there is no command \"%s\". picket --help lists them", name);
    return c->run(argc - 1, argv + 1);
}
