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

const struct platform_type *platform_type_choose(char *why, size_t why_size)
{
    /* With a single candidate the measurement decides nothing, and costs every start. */
    if (ARRAY_SIZE(platform_types) == 1)
        return platform_types[0];

    const struct platform_type *best = NULL;
    uint64_t best_ns = 0;
    for (size_t i = 0; i < ARRAY_SIZE(platform_types); i++) {
        const struct platform_type *type = platform_types[i];
        uint64_t ns;
        if (platform_measure(type, &ns, why, why_size) != 0) {
            log_debug("platform %s does not work here: %s", type->name, why);
            continue;
        }
        log_debug("platform %s: %llu ns a system call", type->name, (unsigned long long)ns);
        if (!best || ns < best_ns) {
            best = type;
            best_ns = ns;
        }
    }
    if (best)
        log_debug("platform %s is the fastest that works", best->name);
    return best;
}
