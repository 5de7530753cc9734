/*
 * The root: making it, running process 1, taking it apart.
 */
#include "sentry/kernel/kernel.h"
#include "base/log.h"
#include "sentry/fs/host/client.h"
#include "sentry/fs/hostfd/hostfd.h"
#include "sentry/kernel/futex.h"
#include "sentry/kernel/host_events.h"
#include "sentry/kernel/host_futex.h"
#include "sentry/kernel/host_thread.h"
#include "sentry/kernel/ns.h"
#include "sentry/kernel/process.h"
#include "sentry/kernel/seccomp.h"
#include "sentry/kernel/timer.h"
#include "sentry/loader/loader.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/tty/console.h"
#include "sentry/vfs/vfs.h"
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define STACK_LIMIT_DEFAULT (8ull << 20)
#define NOFILE_SOFT_DEFAULT 1024
#define NOFILE_HARD_DEFAULT (1u << 20)
#define MAX_TASKS (KERNEL_PID_MAX - 1000)
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static int fail(char *why, size_t size, int err, const char *what)
{
    if (why[0] == '\0')
        snprintf(why, size, "%s: %s", what, strerror(-err));
    return err;
}

/* ---- parts that stand alone ---- */

static void init_mm_config(struct kernel *k)
{
    struct mm_config *c = &k->mm_config;
    c->platform = k->platform;
    c->memory = k->memory;
    c->max_map_count = 65530;
    c->overcommit = 0;
    c->min_addr = MAX(k->platform->min_addr, (gva_t)65536);
    uint64_t total = (uint64_t)sysconf(_SC_PHYS_PAGES) * PAGE_SIZE;
    if (k->config->memory_limit && k->config->memory_limit < total)
        total = k->config->memory_limit;
    c->total_memory = total;
}

static uint64_t read_number(const char *path, uint64_t otherwise)
{
    FILE *f = fopen(path, "re");
    unsigned long long n;
    if (!f)
        return otherwise;
    if (fscanf(f, "%llu", &n) != 1)
        n = otherwise;
    fclose(f);
    return n;
}

/* How many threads of the host the sandbox may use: three quarters of what the host allows, so that
 * a fork bomb inside ends in EAGAIN inside. */
static int host_thread_budget(void)
{
    struct rlimit nproc;
    uint64_t limit = read_number("/proc/sys/kernel/pid_max", KERNEL_PID_MAX);
    limit = MIN(limit, read_number("/proc/sys/kernel/threads-max", limit));
    if (getrlimit(RLIMIT_NPROC, &nproc) == 0)
        limit = MIN(limit, (uint64_t)nproc.rlim_cur);
    limit = MIN(limit, (uint64_t)INT32_MAX);
    return (int)MAX(limit / 4 * 3, (uint64_t)64);
}

static int create_services(struct kernel *k)
{
    k->boot_monotonic = ktime_now();
    k->seccomp_logged = SECCOMP_LOGGED_DEFAULT;
    if (getrandom(k->boot_id, sizeof(k->boot_id), 0) != (ssize_t)sizeof(k->boot_id))
        return -EIO;
    k->ncpus = get_nprocs();
    if (sched_getaffinity(0, sizeof(k->host_cpus), &k->host_cpus) < 0)
        return -errno;
    k->max_host_threads = host_thread_budget();
    k->max_tasks = MIN(k->max_host_threads / 2, MAX_TASKS);
    int err = user_ns_boot(k, k->max_tasks / 2);
    if (!err)
        err = pid_ns_boot(k);
    if (!err)
        err = ns_set_boot(k);
    if (!err)
        err = host_threads_create(&k->threads);
    if (!err)
        err = timer_service_create(k, &k->timers);
    if (!err)
        err = host_events_create(&k->events);
    if (!err)
        err = futex_table_create(&k->futexes);
    return err;
}

static int create_memory(struct kernel *k, char *why, size_t why_size)
{
    int err = k->config->platform->create(&k->platform, why, why_size);
    if (err)
        return fail(why, why_size, err, "cannot start the platform");
    err = memory_file_create(&k->memory, 0, k->config->memory_limit);
    if (err)
        return fail(why, why_size, err, "cannot make the memory file");
    init_mm_config(k);
    err = clock_init(&k->clock, k->memory);
    if (err)
        return fail(why, why_size, err, "cannot start the clock");
    if (k->platform->cpu_hidden)
        clock_hide_cpu(&k->clock);
    return 0;
}

/* ---- process 1 ---- */

static void init_limits(struct thread_group *tg)
{
    for (int i = 0; i < RLIM_NLIMITS; i++)
        tg->limits[i] = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY};
    tg->limits[RLIMIT_STACK].rlim_cur = STACK_LIMIT_DEFAULT;
    tg->limits[RLIMIT_CORE].rlim_cur = 0;
    tg->limits[RLIMIT_NOFILE] = (struct rlimit){NOFILE_SOFT_DEFAULT, NOFILE_HARD_DEFAULT};
    tg->limits[RLIMIT_MEMLOCK] = (struct rlimit){8u << 20, 8u << 20};
    tg->limits[RLIMIT_MSGQUEUE] = (struct rlimit){819200, 819200};
    tg->limits[RLIMIT_NICE] = (struct rlimit){0, 0};
    tg->limits[RLIMIT_RTPRIO] = (struct rlimit){0, 0};
    rlim_t tasks = (rlim_t)tg->kernel->max_tasks;
    tg->limits[RLIMIT_NPROC] = (struct rlimit){tasks, tasks};
    tg->limits[RLIMIT_SIGPENDING] = (struct rlimit){tasks, tasks};
    limits_apply(tg);
}

static void init_cpuset(struct task *t)
{
    for (int cpu = 0; cpu < MIN(t->kernel->ncpus, TASK_CPUSET_WORDS * 64); cpu++)
        t->cpuset[cpu / 64] |= 1ull << (cpu % 64);
}

static struct task *create_init_task(struct kernel *k)
{
    const struct kernel_config *c = k->config;
    struct sighand *sh = sighand_create();
    struct thread_group *tg = sh ? thread_group_create(k, sh) : NULL;
    if (!tg) {
        sighand_put(sh);
        return NULL;
    }
    init_limits(tg);
    struct task *t = task_create(tg);
    thread_group_put(tg);
    if (!t)
        return NULL;
    t->cred = cred_create(k->user_ns, c->uid, c->gid, c->groups, (uint32_t)c->ngroups);
    t->files = fd_table_create();
    if (!t->cred || !t->files) {
        task_put(t);
        return NULL;
    }
    atomic_store(&tg->mm_limits.may_lock_any, cred_capable(t->cred, CAP_IPC_LOCK));
    t->ns = ns_set_get(k->ns);
    init_cpuset(t);
    return t;
}

static int attach_init(struct kernel *k, struct task *t)
{
    MUTEX_GUARD(&k->tree_lock);
    struct pid *pid;
    int err = pid_alloc(k->pid_ns, NULL, 0, &pid);
    if (err)
        return err;
    {
        MUTEX_GUARD(&t->tg->sighand_lock);
        task_attach(t, pid);
    }
    k->init = thread_group_get(t->tg);
    return session_create(t->tg);
}

static int open_stdio(struct kernel *k, struct task *t)
{
    if (k->config->tty)
        return console_create(k, t, &k->console);
    for (int fd = 0; fd < 3; fd++) {
        if (k->config->stdio[fd] < 0)
            continue;
        struct file *f;
        int err = hostfd_create(k, k->config->stdio[fd], t->cred, &f);
        if (err)
            return err;
        int at = fd_install_at(t, f, fd, false);
        file_put(f);
        if (at < 0)
            return at;
    }
    return 0;
}

/* ---- the first program ---- */

static const char *find_env(char *const *envp, const char *name)
{
    size_t n = strlen(name);
    for (; envp && *envp; envp++) {
        if (strncmp(*envp, name, n) == 0 && (*envp)[n] == '=')
            return *envp + n + 1;
    }
    return NULL;
}

/* As execvp: a name without a slash is looked for along PATH. */
static int open_program(struct task *t, const char *name, char *path, size_t size,
                        struct file **out)
{
    if (strchr(name, '/')) {
        if ((size_t)snprintf(path, size, "%s", name) >= size)
            return -ENAMETOOLONG;
        return vfs_open_exec(t, AT_FDCWD, path, 0, out);
    }
    const char *dirs = find_env(t->kernel->config->envp, "PATH");
    int result = -ENOENT;
    for (const char *d = dirs ? dirs : DEFAULT_PATH; d;) {
        const char *colon = strchr(d, ':');
        int len = colon ? (int)(colon - d) : (int)strlen(d);
        int n = snprintf(path, size, "%.*s%s%s", len, d, len ? "/" : "./", name);
        d = colon ? colon + 1 : NULL;
        if (n < 0 || (size_t)n >= size)
            continue;
        int err = vfs_open_exec(t, AT_FDCWD, path, 0, out);
        if (err == 0)
            return 0;
        if (err == -EACCES)
            result = err;
        else if (err != -ENOENT && err != -ENOTDIR)
            return err;
    }
    return result;
}

static int load_program(struct task *t, struct file *file, const char *path)
{
    struct kernel *k = t->kernel;
    struct load_request rq = {
        .task = t,
        .cred = t->cred,
        .file = file,
        .name = {.path = path},
        .limits = &t->tg->mm_limits,
        .stack_limit = task_rlimit(t, RLIMIT_STACK),
        .randomize = true,
    };
    int err = exec_strings_from(&rq.argv, k->config->argv);
    if (!err)
        err = exec_strings_from(&rq.envp, k->config->envp);
    struct load_result result = {0};
    if (!err)
        err = loader_load(k->loader, &rq, &result);
    exec_strings_release(&rq.argv);
    exec_strings_release(&rq.envp);
    if (err)
        return err;
    t->mm = result.mm;
    t->arch = result.arch;
    t->exe = result.exe;
    memcpy(t->comm, result.comm, sizeof(t->comm));
    return 0;
}

int kernel_load(struct kernel *k, char *why, size_t why_size)
{
    struct task *t = k->init_task;
    const char *name = k->config->argv[0];
    char path[4096];
    struct file *file;
    int err = open_program(t, name, path, sizeof(path), &file);
    if (!err) {
        err = load_program(t, file, path);
        file_put(file);
    }
    why[0] = '\0';
    return err ? fail(why, why_size, err, name) : 0;
}

static int make_init(struct kernel *k, struct path_ref *root, struct path_ref *cwd, char *why,
                     size_t why_size)
{
    struct task *t = create_init_task(k);
    if (!t)
        return fail(why, why_size, -ENOMEM, "cannot make process 1");
    k->init_task = t;
    t->fs = fs_context_create(root, cwd);
    int err = t->fs ? attach_init(k, t) : -ENOMEM;
    if (!err)
        err = open_stdio(k, t);
    return err ? fail(why, why_size, err, "cannot make process 1") : 0;
}

static int boot(struct kernel *k, char *why, size_t why_size)
{
    int err = create_services(k);
    if (err)
        return fail(why, why_size, err, "cannot start the kernel");
    err = create_memory(k, why, why_size);
    if (err)
        return err;
    const struct kernel_config *c = k->config;
    if (c->strace) {
        err = strace_config_create(c->strace_list, &k->strace, why, why_size);
        if (err)
            return fail(why, why_size, err, "strace");
    }
    err = gofer_client_create(c->gofer, c->gofer_lost, c->gofer_lost_arg, &k->gofer);
    if (err)
        return fail(why, why_size, err, "cannot set up the file systems");
    struct path_ref root = {0}, cwd = {0};
    err = vfs_boot(k, &root, &cwd, why, why_size);
    if (err)
        return fail(why, why_size, err, "cannot set up the file systems");
    err = loader_create(k, &k->loader);
    if (err)
        err = fail(why, why_size, err, "cannot set up the loader");
    else
        err = make_init(k, &root, &cwd, why, why_size);
    path_put(&root);
    path_put(&cwd);
    return err;
}

int kernel_boot(const struct kernel_config *config, struct kernel **out, char *why, size_t why_size)
{
    if (why_size)
        why[0] = '\0';
    struct kernel *k = calloc(1, sizeof(*k));
    if (!k)
        return fail(why, why_size, -ENOMEM, "cannot start the kernel");
    k->config = config;
    mutex_init(&k->tree_lock, LOCK_TASK_TREE);
    list_init(&k->groups);
    int err = boot(k, why, why_size);
    if (err) {
        kernel_destroy(k);
        return err;
    }
    *out = k;
    return 0;
}

/* ---- running ---- */

static void kill_everything(struct kernel *k)
{
    struct thread_group *tg;
    list_for_each (tg, &k->groups, all_link) {
        if (!tg->zombie)
            group_exit(tg, SIGKILL);
    }
}

/* Sleeps until nothing runs any more; what appears meanwhile is killed. */
static void wait_for_end(struct kernel *k)
{
    for (;;) {
        uint32_t seq = atomic_load(&k->ended);
        {
            MUTEX_GUARD(&k->tree_lock);
            if (k->ending) {
                kill_everything(k);
                if (k->ntasks == 0)
                    return;
            }
        }
        host_futex_wait(&k->ended, seq, NULL);
    }
}

int kernel_run(struct kernel *k)
{
    struct task *t = k->init_task;
    int err = host_thread_reserve(k->threads, &t->host);
    if (err) {
        log_error("no host thread for process 1: %s", strerror(-err));
        return SIGKILL;
    }
    k->init_task = NULL;
    host_thread_start(t->host, t);
    wait_for_end(k);
    return k->init->exit_code;
}

bool kernel_signal(struct kernel *k, int sig)
{
    siginfo_t info;
    siginfo_kernel(&info, sig);
    bool typed = sig == SIGINT || sig == SIGQUIT || sig == SIGTSTP || sig == SIGWINCH;
    bool hung_up = sig == SIGHUP || sig == SIGCONT;
    pid_t foreground = typed ? hostfd_foreground(k) : 0;
    MUTEX_GUARD(&k->tree_lock);
    struct thread_group *init = k->init;
    if (!init || init->zombie)
        return true;
    struct process_group *pg = foreground ? pgrp_find(k, foreground) : NULL;
    if (!pg && (typed || hung_up))
        pg = init->pgrp;
    if (pg)
        (void)signal_send_pgrp(pg, sig, &info);
    else
        (void)signal_send_group(init, sig, &info);
    return !pg || pg == init->pgrp;
}

void kernel_resize_terminal(struct kernel *k)
{
    if (k->console)
        console_resize(k->console);
    else
        kernel_signal(k, SIGWINCH);
}

/* ---- the end ---- */

/* Process 1 that never ran: boot failed. */
static void discard_init_task(struct kernel *k)
{
    struct task *t = k->init_task;
    if (!t)
        return;
    fd_table_exit(t);
    k->init_task = NULL;
    if (k->init) {
        MUTEX_GUARD(&k->tree_lock);
        t->left = true;
        k->init->ntasks--;
        k->ntasks--;
        k->nprocesses--;
    }
    task_put(t);
}

static void reap_everything(struct kernel *k)
{
    MUTEX_GUARD(&k->tree_lock);
    struct thread_group *tg;
    while ((tg = list_first(&k->groups, struct thread_group, all_link)) != NULL)
        thread_group_reap(tg);
}

void kernel_destroy(struct kernel *k)
{
    discard_init_task(k);
    if (k->console)
        console_destroy(k->console);
    if (k->threads)
        host_threads_destroy(k->threads);
    reap_everything(k);
    thread_group_put(k->init);
    if (k->loader)
        loader_destroy(k->loader);
    ns_set_put(k->ns); /* before the file systems: shared memory is files */
    if (k->vfs)
        vfs_destroy(k->vfs);
    if (k->gofer)
        gofer_client_destroy(k->gofer);
    hostfd_release_tty(k);
    if (k->futexes)
        futex_table_destroy(k->futexes);
    if (k->events)
        host_events_destroy(k->events);
    if (k->timers)
        timer_service_destroy(k->timers);
    if (k->strace)
        strace_config_destroy(k->strace);
    if (k->clock.params)
        clock_destroy(&k->clock, k->memory);
    if (k->memory)
        memory_file_destroy(k->memory);
    if (k->platform)
        k->platform->ops->release(k->platform);
    if (k->pid_ns)
        ns_put(&k->pid_ns->common);
    user_ns_put(k->user_ns);
    mutex_destroy(&k->tree_lock);
    free(k);
}
