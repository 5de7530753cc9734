/*
 * picket do: one command in a sandbox of its own.
 */
#include "cmd/picket/do.h"
#include "cmd/picket/command.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static int find_platform(const char *name, const struct platform_type **out)
{
    char why[256] = "";
    bool choose = strcmp(name, "auto") == 0;
    *out = choose ? platform_type_choose(why, sizeof(why)) : platform_type_find(name);
    if (*out)
        return 0;
    if (choose)
        return fail("no platform works here: %s", why);
    return fail("--platform %s: there are auto, ptrace and kvm", name);
}

static int open_log(const struct do_options *o)
{
    enum log_level level = o->debug ? LOG_DEBUG : LOG_INFO;
    if (!o->log && !o->debug)
        return 0;
    int fd = o->log ? open(o->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644)
                    : fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return fail("--log: cannot open %s: %s", o->log ? o->log : "stderr", strerror(errno));
    log_open(fd, o->log_format, level);
    return 0;
}

static void raise_limit(int which)
{
    struct rlimit rl;
    if (getrlimit(which, &rl) == 0 && rl.rlim_cur < rl.rlim_max) {
        rl.rlim_cur = rl.rlim_max;
        setrlimit(which, &rl);
    }
}

/* The sentry holds a descriptor for each one of its applications, and more; and the limit on the
 * size of files would be one on the sandbox's memory. (A hard limit is reported, not died of.) */
static void raise_limits(void)
{
    raise_limit(RLIMIT_NOFILE);
    raise_limit(RLIMIT_FSIZE);
    signal(SIGXFSZ, SIG_IGN);
}

/*
 * Duplicates the standard streams for the sandbox, before anything else is opened. One that is
 * closed is -1 there, and its number is taken here, lest something else get it.
 */
static int take_streams(int stdio[3])
{
    for (int fd = 0; fd < 3; fd++) {
        stdio[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (stdio[fd] >= 0)
            continue;
        if (errno != EBADF || open("/dev/null", O_RDWR | O_CLOEXEC) != fd)
            return fail("cannot pass on the standard streams: %s", strerror(errno));
    }
    return 0;
}

/* From now on the streams are the sandbox's alone: a pipe's other end sees when it closes them.
 * Stderr stays ours too, for a last word. */
static int leave_streams(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
        return fail("cannot open /dev/null: %s", strerror(errno));
    close(null);
    return 0;
}

static int open_root(const struct do_options *o)
{
    const char *root = o->rootfs ? o->rootfs : "/";
    o->exports[0] = (struct gofer_export){.fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC),
                                          .read_only = true};
    if (o->exports[0].fd < 0)
        return fail("--rootfs: cannot open %s: %s", root, strerror(errno));
    return 0;
}

/* From here on it alone has the directories. */
static int start_gofer(const struct do_options *o, struct gofer_link *out)
{
    int err = gofer_start(o->exports, o->nvolumes + 1, out);
    for (size_t k = 0; k <= o->nvolumes; k++)
        close(o->exports[k].fd);
    return err ? fail("cannot start the file server process: %s", strerror(-err)) : 0;
}

/* Where the command starts: as given, or where the caller is, if that is in the sandbox too. */
static const char *start_directory(const struct do_options *o, char *buf, size_t size)
{
    if (o->cwd)
        return o->cwd;
    if (!o->rootfs && getcwd(buf, size) && buf[0] == '/')
        return buf;
    return "/";
}

static int exit_status(int wait_status)
{
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

/* The exit status of the command, or what stands for its failure to start. */
static int run_command(struct kernel *k)
{
    char why[512];
    int err = kernel_load(k, why, sizeof(why));
    if (!err)
        return exit_status(kernel_run(k));
    fail("%s", why);
    return err == -ENOENT ? STATUS_NOT_FOUND : STATUS_CANNOT_EXECUTE;
}

static int run_sandbox(struct kernel_config *config, struct do_terminal *terminal)
{
    struct do_signals signals = {.terminal = terminal, .gofer = config->gofer->pid};
    config->gofer_lost = do_signals_gofer_lost;
    config->gofer_lost_arg = &signals;
    struct kernel *k;
    char why[512];
    int err = do_signals_start(&signals);
    if (err)
        return fail("cannot start a thread: %s", strerror(-err));
    err = kernel_boot(config, &k, why, sizeof(why));
    if (err) {
        do_signals_stop(&signals);
        return fail("%s", why);
    }
    atomic_store(&signals.kernel, k);
    int status = run_command(k);
    do_signals_stop(&signals);
    kernel_destroy(k);
    return status;
}

static int do_sandbox(const struct do_options *o, const int stdio[3])
{
    char here[PATH_MAX];
    struct do_user user;
    struct gofer_link gofer;
    struct kernel_config config = {
        .gofer = &gofer,
        .overlay_root = true,
        .volumes = o->volumes,
        .nvolumes = o->nvolumes,
        .hostname = o->hostname,
        .cwd = start_directory(o, here, sizeof(here)),
        .argv = o->command,
        .envp = o->env,
        .strace = o->strace,
        .strace_list = o->strace_list,
        .memory_limit = o->memory_limit,
        .stdio = {stdio[0], stdio[1], stdio[2]},
        .tty = o->tty,
    };
    if (o->tty && (!isatty(stdio[0]) || stdio[1] < 0))
        return fail("--tty: standard input is not a terminal");
    int status = open_root(o);
    if (status == 0)
        status = do_user_resolve(&user, o->user, o->exports[0].fd);
    if (status == 0)
        status = start_gofer(o, &gofer);
    if (status == 0)
        status = open_log(o);
    if (status == 0)
        status = find_platform(o->platform, &config.platform);
    if (status == 0)
        status = leave_streams();
    if (status != 0)
        return status;
    config.uid = user.uid;
    config.gid = user.gid;
    config.groups = user.groups;
    config.ngroups = user.ngroups;
    raise_limits();
    struct do_terminal *terminal = NULL;
    int err = o->tty ? do_terminal_start(&terminal, stdio[0]) : 0;
    status = err ? fail("--tty: cannot change the terminal's modes: %s", strerror(-err))
                 : run_sandbox(&config, terminal);
    do_terminal_stop(terminal);
    do_user_release(&user);
    /* It has answered all that it was asked, and would end by itself only if we closed its
     * channels, which a boot that failed may not have come to have. */
    kill(gofer.pid, SIGKILL);
    waitpid(gofer.pid, NULL, 0);
    return status;
}

static int do_run(int argc, char **argv)
{
    struct do_options o;
    int stdio[3];
    int status = take_streams(stdio);
    if (status != 0)
        return status;
    status = do_options_parse(&o, argc, argv);
    if (status == 0 && o.help) {
        fputs(do_command.help, stdout);
        status = fflush(stdout) == 0 ? 0 : STATUS_PICKET_FAILED;
    } else if (status == 0) {
        status = do_sandbox(&o, stdio);
    }
    do_options_release(&o);
    return status;
}

const struct command do_command = {
    .name = "do",
    .summary = "run a command in a sandbox of its own",
    .help =
        "Usage: picket do [FLAG...] [--] COMMAND [ARGUMENT...]\n"
        "\n"
        "Runs COMMAND in a new sandbox and waits for it. The sandbox sees the host's files\n"
        "read-only, under a layer in memory that takes all writes and is gone at the end. It has\n"
        "processes of its own and no network. Standard input, output and error are passed "
        "through.\n"
        "\n"
        "Files:\n"
        "  --rootfs DIR            take DIR as the root instead of / (also under a layer in "
        "memory)\n"
        "  --volume SRC:DST[:ro]   show the host's SRC at DST. Writes go to the host, unless :ro.\n"
        "                          May be given several times\n"
        "  --cwd DIR               start in DIR. Default: here; / with --rootfs\n"
        "\n"
        "The process:\n"
        "  --env NAME=VALUE        set a variable, beside those that picket was called with. May "
        "be\n"
        "                          given several times\n"
        "  --user USER[:GROUP]     run as this user: numbers, or names that the sandbox's\n"
        "                          /etc/passwd and /etc/group know. Default: as the caller\n"
        "  -t, --tty               a terminal of the sandbox's own, shown on this one: for shells "
        "and\n"
        "                          editors\n"
        "  --hostname NAME         what uname says. Default: picket\n"
        "\n"
        "The sandbox:\n"
        "  --memory LIMIT          at most so much memory, files in memory included: bytes, or a\n"
        "                          number with K, M, G or T. Default: no limit\n"
        "  --platform NAME         how application code runs: ptrace, kvm, or auto (the default):\n"
        "                          the faster of those that work here\n"
        "\n"
        "Looking inside:\n"
        "  --strace[=LIST]         print system calls as strace -f does. LIST: names and classes\n"
        "                          (%file %process %memory %network %signal %desc %ipc %creds\n"
        "                          %clock), comma-separated; ! in front means all but these;\n"
        "                          +time adds the time that each took. Goes to stderr, or to the "
        "log\n"
        "  --log FILE              append a log to FILE\n"
        "  --log-format FORMAT     text (the default) or json, one object a line\n"
        "  --debug                 say more in the log; without --log, on stderr\n"
        "  -h, --help              this text\n"
        "\n"
        "Ctrl-C, SIGTERM, SIGHUP and SIGQUIT go to COMMAND; three times the same within two "
        "seconds\n"
        "kills it. When COMMAND ends, so does everything that it started.\n"
        "\n"
        "Exit status: that of COMMAND, or 128 + N if signal N killed it; 127 if COMMAND was not\n"
        "found, 126 if it cannot be executed, 125 if Picket itself failed.\n"
        "\n"
        "Examples:\n"
        "  picket do -- sh -c 'rm -rf /usr; ls /usr'        /usr of the host stays as it is\n"
        "  picket do --volume $PWD:/work --cwd /work -- make\n"
        "  picket do --rootfs ./debian --user nobody -- id\n"
        "  picket do -t -- bash                             Ctrl-C, Ctrl-Z, fg, vi work inside\n"
        "  picket do --strace=openat,%process -- python3 -c 'import json'\n",
    .run = do_run,
};
