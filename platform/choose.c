/*
 * The list of platforms, and the choice among them.
 */
#include "base/log.h"
#include "platform/platform.h"
#include <stdio.h>
#include <string.h>

static const struct platform_type *const platform_types[] = {
    &ptrace_platform_type,
    &kvm_platform_type,
};

const struct platform_type *platform_type_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(platform_types); i++)
        if (strcmp(platform_types[i]->name, name) == 0)
            return platform_types[i];
    return NULL;
}

/* Those that may be chosen: their number. */
static size_t candidates(const struct platform_type **out)
{
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_SIZE(platform_types); i++) {
        const struct platform_type *type = platform_types[i];
        if (!type->worth_measuring || type->worth_measuring())
            out[n++] = type;
        else
            log_debug("platform %s cannot be the fastest here", type->name);
    }
    return n;
}

const struct platform_type *platform_type_choose(char *why, size_t why_size)
{
    const struct platform_type *types[ARRAY_SIZE(platform_types)], *best = NULL;
    size_t n = candidates(types);
    /* A measurement would decide nothing, and every start pays for it. */
    if (n == 1)
        return types[0];

    uint64_t best_ns = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t ns;
        if (platform_measure(types[i], &ns, why, why_size) != 0) {
            log_debug("platform %s does not work here: %s", types[i]->name, why);
            continue;
        }
        log_debug("platform %s: %llu ns a system call", types[i]->name, (unsigned long long)ns);
        if (!best || ns < best_ns) {
            best = types[i];
            best_ns = ns;
        }
    }
    if (best)
        log_debug("platform %s is the fastest that works", best->name);
    return best;
}
