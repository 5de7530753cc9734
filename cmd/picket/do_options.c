/*
 * The options of "picket do".
 */
#include "cmd/picket/command.h"
#include "cmd/picket/do.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int out_of_memory(void)
{
    return fail("out of memory");
}

/* A directory is opened itself; anything else is a name in its directory. False: see errno. */
static bool open_volume(struct kernel_volume *v, struct gofer_export *e)
{
    char *path = realpath(v->source, NULL);
    struct stat st;
    bool ok = path && stat(path, &st) == 0;
    if (ok && S_ISDIR(st.st_mode)) {
        e->fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    } else if (ok) {
        char *slash = strrchr(path, '/');
        v->file = strdup(slash + 1);
        slash[1] = '\0';
        e->only = v->file;
        e->fd = v->file ? open(path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    }
    free(path);
    return e->fd >= 0;
}

/* Room for the root's and one more volume's. */
static bool grow_exports(struct do_options *o)
{
    struct gofer_export *more = reallocarray(o->exports, o->nvolumes + 2, sizeof(*more));
    if (more)
        o->exports = more;
    return more;
}

/* SRC:DST[:ro|:rw] */
static int add_volume(struct do_options *o, char *arg)
{
    struct kernel_volume v = {.source = arg};
    char *target = strchr(arg, ':');
    if (!target || target == arg || target[1] != '/')
        return fail("--volume %s: give it as SOURCE:/TARGET or SOURCE:/TARGET:ro", arg);
    *target++ = '\0';
    char *mode = strchr(target, ':');
    if (mode) {
        *mode++ = '\0';
        v.read_only = strcmp(mode, "ro") == 0;
        if (!v.read_only && strcmp(mode, "rw") != 0)
            return fail("--volume %s:%s: the mode is ro or rw, not \"%s\"", arg, target, mode);
    }
    v.target = target;
    struct gofer_export e = {.fd = -1, .read_only = v.read_only};
    struct kernel_volume *more = reallocarray(o->volumes, o->nvolumes + 1, sizeof(*more));
    if (!more)
        return out_of_memory();
    o->volumes = more;
    if (!grow_exports(o))
        return out_of_memory();
    if (!open_volume(&v, &e))
        return fail("--volume: cannot open %s: %s", v.source, strerror(errno));
    v.export = (unsigned)o->nvolumes + 1;
    o->exports[v.export] = e;
    o->volumes[o->nvolumes++] = v;
    return 0;
}

static bool env_same_name(const char *a, const char *b)
{
    size_t n = strcspn(a, "=");
    return strncmp(a, b, n) == 0 && b[n] == '=';
}

/* Sets `entry` (K=V), in place of what has its name. */
static int put_env(struct do_options *o, char *entry)
{
    for (size_t i = 0; i < o->nenv; i++) {
        if (!env_same_name(entry, o->env[i]))
            continue;
        o->env[i] = entry;
        return 0;
    }
    char **more = reallocarray(o->env, o->nenv + 2, sizeof(*more));
    if (!more)
        return out_of_memory();
    o->env = more;
    o->env[o->nenv++] = entry;
    o->env[o->nenv] = NULL;
    return 0;
}

static int add_env(struct do_options *o, char *arg)
{
    if (arg[0] == '=' || !strchr(arg, '='))
        return fail("--env %s: give it as NAME=VALUE", arg);
    return put_env(o, arg);
}

static int set_memory(struct do_options *o, const char *arg)
{
    static const char units[] = "kmgt";
    char *end;
    errno = 0;
    unsigned long long n = strtoull(arg, &end, 10);
    bool ok = errno == 0 && end != arg && arg[0] != '-';
    unsigned shift = 0;
    if (ok && *end) {
        const char *unit = strchr(units, *end | 0x20);
        shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
        ok = unit && end[1] == '\0';
    }
    if (!ok || n == 0 || n > UINT64_MAX >> shift)
        return fail("--memory %s: give a number of bytes, or one with K, M, G or T behind it", arg);
    o->memory_limit = (uint64_t)n << shift;
    return 0;
}

static int set_hostname(struct do_options *o, const char *arg)
{
    size_t n = strlen(arg);
    if (n == 0 || n > 64)
        return fail("--hostname: a name has 1 to 64 characters");
    o->hostname = arg;
    return 0;
}

static int set_cwd(struct do_options *o, const char *arg)
{
    if (arg[0] != '/')
        return fail("--cwd %s: give an absolute path (in the sandbox)", arg);
    o->cwd = arg;
    return 0;
}

static int set_log_format(struct do_options *o, const char *arg)
{
    if (strcmp(arg, "text") != 0 && strcmp(arg, "json") != 0)
        return fail("--log-format %s: there are text and json", arg);
    o->log_format = arg[0] == 'j' ? LOG_JSON : LOG_TEXT;
    return 0;
}

enum {
    OPT_ROOTFS = 256,
    OPT_VOLUME,
    OPT_CWD,
    OPT_ENV,
    OPT_USER,
    OPT_HOSTNAME,
    OPT_PLATFORM,
    OPT_STRACE,
    OPT_LOG,
    OPT_LOG_FORMAT,
    OPT_DEBUG,
    OPT_MEMORY,
};

static const struct option long_options[] = {
    {"rootfs", required_argument, NULL, OPT_ROOTFS},
    {"volume", required_argument, NULL, OPT_VOLUME},
    {"cwd", required_argument, NULL, OPT_CWD},
    {"env", required_argument, NULL, OPT_ENV},
    {"user", required_argument, NULL, OPT_USER},
    {"hostname", required_argument, NULL, OPT_HOSTNAME},
    {"platform", required_argument, NULL, OPT_PLATFORM},
    {"strace", optional_argument, NULL, OPT_STRACE},
    {"log", required_argument, NULL, OPT_LOG},
    {"log-format", required_argument, NULL, OPT_LOG_FORMAT},
    {"debug", no_argument, NULL, OPT_DEBUG},
    {"memory", required_argument, NULL, OPT_MEMORY},
    {"tty", no_argument, NULL, 't'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static int take_option(struct do_options *o, int opt, char *arg)
{
    switch (opt) {
    case OPT_ROOTFS:
        o->rootfs = arg;
        return 0;
    case OPT_VOLUME:
        return add_volume(o, arg);
    case OPT_CWD:
        return set_cwd(o, arg);
    case OPT_ENV:
        return add_env(o, arg);
    case OPT_USER:
        o->user = arg;
        return 0;
    case OPT_HOSTNAME:
        return set_hostname(o, arg);
    case OPT_PLATFORM:
        o->platform = arg;
        return 0;
    case OPT_STRACE:
        o->strace = true;
        o->strace_list = arg;
        return 0;
    case OPT_LOG:
        o->log = arg;
        return 0;
    case OPT_LOG_FORMAT:
        return set_log_format(o, arg);
    case OPT_DEBUG:
        o->debug = true;
        return 0;
    case OPT_MEMORY:
        return set_memory(o, arg);
    case 't':
        o->tty = true;
        return 0;
    case 'h':
        o->help = true;
        return 0;
    }
    return STATUS_PICKET_FAILED;
}

static int bad_option(char **argv, int opt)
{
    const char letter[] = {'-', (char)optopt, '\0'};
    const char *given = optopt > 0 && optopt < 128 ? letter : argv[optind - 1];
    if (opt == ':')
        return fail("do: %s needs a value. picket help do explains it", given);
    return fail("do: there is no option %s. picket help do lists them", given);
}

static int copy_environment(struct do_options *o)
{
    for (char **e = environ; *e; e++)
        if (strchr(*e, '=') && put_env(o, *e) != 0)
            return STATUS_PICKET_FAILED;
    if (!o->env)
        o->env = calloc(1, sizeof(*o->env));
    return o->env ? 0 : out_of_memory();
}

int do_options_parse(struct do_options *o, int argc, char **argv)
{
    *o = (struct do_options){.hostname = "picket", .platform = "auto"};
    int status = grow_exports(o) ? copy_environment(o) : out_of_memory(), opt;
    opterr = 0;
    /* '+': options end where the command begins. */
    while (status == 0 && !o->help &&
           (opt = getopt_long(argc, argv, "+:ht", long_options, NULL)) != -1) {
        if (opt == '?' || opt == ':')
            return bad_option(argv, opt);
        status = take_option(o, opt, optarg);
    }
    if (status != 0 || o->help)
        return status;
    o->command = argv + optind;
    if (!*o->command)
        return fail("do: no command given. Try: picket do -- ls /");
    return 0;
}

void do_options_release(struct do_options *o)
{
    for (size_t i = 0; i < o->nvolumes; i++)
        free((void *)o->volumes[i].file);
    free(o->volumes);
    free(o->exports);
    free(o->env);
}
