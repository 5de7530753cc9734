/*
 * /proc/PID/{stat,status,statm,limits,schedstat}.
 */
#include "sentry/fs/hostfd/hostfd.h"
#include "sentry/fs/proc/proc.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include "sentry/tty/tty.h"
#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <string.h>

/* Everything about signals, taken under the locks, printed after. */
struct signals {
    uint64_t pending, shared, blocked, ignored, caught;
    unsigned queued;
};

static void get_signals(struct task *t, struct signals *s)
{
    struct thread_group *tg = t->tg;
    memset(s, 0, sizeof(*s));
    mutex_lock(&tg->sighand_lock);
    s->pending = t->pending.set;
    s->shared = tg->shared_pending.set;
    s->blocked = t->blocked;
    struct sighand *sh = tg->sighand;
    if (sh) {
        mutex_lock(&sh->lock);
        for (int k = 0; k < SIG_MAX; k++) {
            if (sh->action[k].handler == 1)
                s->ignored |= SIG_BIT(k + 1);
            else if (sh->action[k].handler > 1)
                s->caught |= SIG_BIT(k + 1);
        }
        mutex_unlock(&sh->lock);
    }
    mutex_unlock(&tg->sighand_lock);
    s->queued = (unsigned)t->kernel->sigqueued;
}

static uint64_t ns_of(const struct timeval *tv)
{
    return (uint64_t)tv->tv_sec * 1000000000ull + (uint64_t)tv->tv_usec * 1000ull;
}

static uint64_t ticks(uint64_t ns)
{
    return ns / (1000000000ull / PROC_HZ);
}

static void get_comm(struct task *t, char comm[16])
{
    mutex_lock(&t->lock);
    memcpy(comm, t->comm, 16);
    mutex_unlock(&t->lock);
    comm[15] = 0;
}

struct usage {
    uint64_t user, system, child_user, child_system; /* ns */
    uint64_t minor, major, child_minor, child_major;
};

static void get_usage(struct pseudo_ctx *c, struct task *t, struct usage *u)
{
    const struct rusage *child = &t->tg->child_usage;
    memset(u, 0, sizeof(*u));
    u->child_user = ns_of(&child->ru_utime);
    u->child_system = ns_of(&child->ru_stime);
    u->child_minor = (uint64_t)child->ru_minflt;
    u->child_major = (uint64_t)child->ru_majflt;
    if (c->node->task) {
        task_cpu_time(t, &u->user, &u->system);
        u->minor = t->min_faults;
        u->major = t->maj_faults;
        return;
    }
    struct rusage ru;
    thread_group_usage(t->tg, &ru);
    u->user = ns_of(&ru.ru_utime);
    u->system = ns_of(&ru.ru_stime);
    u->minor = (uint64_t)ru.ru_minflt;
    u->major = (uint64_t)ru.ru_majflt;
}

static void get_memory(struct task *t, struct mm_stats *st, struct mm_info *info)
{
    memset(st, 0, sizeof(*st));
    memset(info, 0, sizeof(*info));
    struct mm *mm = task_get_mm(t);
    if (!mm)
        return;
    mm_get_stats(mm, st);
    mm_info_lock(mm);
    *info = *mm_info(mm);
    mm_info_unlock(mm);
    mm_user_put(mm);
}

static int threads_of(struct task *t)
{
    mutex_lock(&t->tg->sighand_lock);
    int n = t->tg->ntasks;
    mutex_unlock(&t->tg->sighand_lock);
    return n;
}

static pid_t own_nr(struct pseudo_ctx *c, struct task *t)
{
    return proc_nr(c, c->node->task ? t->tid : t->tg->tgid);
}

static void put_stat(struct pseudo_ctx *c, struct task *t, struct text *out)
{
    struct thread_group *tg = t->tg;
    struct signals s;
    struct usage u;
    struct mm_stats ms;
    struct mm_info mi;
    char comm[16];
    unsigned tty;
    pid_t fg, sid = thread_group_sid(tg);
    get_comm(t, comm);
    get_signals(t, &s);
    get_usage(c, t, &u);
    get_memory(t, &ms, &mi);
    if (!tty_of_group(tg, &tty, &fg))
        hostfd_tty_of(c->k, sid, &tty, &fg);
    /* Addresses are for those who may look into the process. */
    if (c->reader && c->reader->tg != tg && !task_may_access(c->reader, t, false))
        memset(&mi, 0, sizeof(mi));
    int64_t start = c->node->task ? t->start_time : tg->start_time;
    int rt = t->sched_priority, policy = t->sched_policy;
    text_add(out, "%d (%s) %c %d %d %d %u %d 0", own_nr(c, t), comm, task_state_char(t),
             proc_nr(c, thread_group_ppid(tg)), proc_nr(c, thread_group_pgid(tg)), proc_nr(c, sid),
             tty, fg > 0 ? proc_nr(c, fg) : fg);
    text_add(out, " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, u.minor, u.child_minor, u.major,
             u.child_major);
    text_add(out, " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, ticks(u.user), ticks(u.system),
             ticks(u.child_user), ticks(u.child_system));
    text_add(out, " %d %d %d 0 %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64,
             rt ? -1 - rt : 20 + t->nice, (int)t->nice, threads_of(t),
             ticks((uint64_t)MAX(start, (int64_t)0)), ms.vm_size,
             (ms.rss_anon + ms.rss_file + ms.rss_shmem) >> PAGE_SHIFT, task_rlimit(t, RLIMIT_RSS));
    text_add(out, " %" PRIu64 " %" PRIu64 " %" PRIu64 " 0 0", mi.start_code, mi.end_code,
             mi.start_stack);
    text_add(out, " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " 0 0 0 %d 0 %d %d 0 0 0",
             s.pending & INT32_MAX, s.blocked & INT32_MAX, s.ignored & INT32_MAX,
             s.caught & INT32_MAX, tg->exit_signal, rt, policy);
    text_add(out,
             " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
             " %d\n",
             mi.start_data, mi.end_data, mi.start_brk, mi.arg_start, mi.arg_end, mi.env_start,
             mi.env_end, t->exit_code);
}

int proc_pid_stat(struct pseudo_ctx *c, struct text *out)
{
    struct task *t = proc_task(c);
    if (!t)
        return -ESRCH;
    put_stat(c, t, out);
    task_put(t);
    return 0;
}

int proc_pid_statm(struct pseudo_ctx *c, struct text *out)
{
    struct mm *mm = proc_mm(c);
    struct mm_stats st = {0};
    if (mm) {
        mm_get_stats(mm, &st);
        mm_user_put(mm);
    }
    uint64_t shared = st.rss_file + st.rss_shmem;
    text_add(out, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " 0 %" PRIu64 " 0\n",
             st.vm_size >> PAGE_SHIFT, (st.rss_anon + shared) >> PAGE_SHIFT, shared >> PAGE_SHIFT,
             st.vm_exec >> PAGE_SHIFT, (st.vm_data + st.vm_stack) >> PAGE_SHIFT);
    return 0;
}

/* ---- status ---- */

static const char *state_name(char state)
{
    switch (state) {
    case 'R':
        return "running";
    case 'S':
        return "sleeping";
    case 'D':
        return "disk sleep";
    case 'T':
        return "stopped";
    case 't':
        return "tracing stop";
    case 'Z':
        return "zombie";
    default:
        return "dead";
    }
}

static void put_ids(struct pseudo_ctx *pc, struct task *t, struct text *out)
{
    const struct user_ns *ns = proc_user_ns(pc);
    const struct cred *c = task_get_cred(t);
    if (!c)
        return;
    text_add(out, "Uid:\t%u\t%u\t%u\t%u\n", id_shown(ns, ID_UID, c->uid),
             id_shown(ns, ID_UID, c->euid), id_shown(ns, ID_UID, c->suid),
             id_shown(ns, ID_UID, c->fsuid));
    text_add(out, "Gid:\t%u\t%u\t%u\t%u\n", id_shown(ns, ID_GID, c->gid),
             id_shown(ns, ID_GID, c->egid), id_shown(ns, ID_GID, c->sgid),
             id_shown(ns, ID_GID, c->fsgid));
    struct fd_table *ft = task_get_files(t);
    text_add(out, "FDSize:\t%d\nGroups:\t", ft ? 64 : 0);
    if (ft)
        fd_table_put(ft);
    for (uint32_t k = 0; k < c->ngroups; k++)
        text_add(out, "%u ", id_shown(ns, ID_GID, c->groups[k]));
    text_add(out, "\n");
    cred_put(c);
}

static void put_caps(struct task *t, struct text *out)
{
    const struct cred *c = task_get_cred(t);
    if (!c)
        return;
    text_add(out, "CapInh:\t%016" PRIx64 "\nCapPrm:\t%016" PRIx64 "\nCapEff:\t%016" PRIx64 "\n",
             c->cap_inheritable, c->cap_permitted, c->cap_effective);
    text_add(out, "CapBnd:\t%016" PRIx64 "\nCapAmb:\t%016" PRIx64 "\n", c->cap_bounding,
             c->cap_ambient);
    cred_put(c);
}

static void put_kb(struct text *out, const char *name, uint64_t bytes)
{
    text_add(out, "%s:\t%8" PRIu64 " kB\n", name, bytes / 1024);
}

static void put_memory(struct task *t, struct text *out)
{
    struct mm_stats st;
    struct mm_info info;
    get_memory(t, &st, &info);
    if (!st.vm_size)
        return;
    uint64_t rss = st.rss_anon + st.rss_file + st.rss_shmem;
    uint64_t text = page_down(info.end_code + PAGE_SIZE - 1) - page_down(info.start_code);
    put_kb(out, "VmPeak", MAX(st.vm_peak, st.vm_size));
    put_kb(out, "VmSize", st.vm_size);
    put_kb(out, "VmLck", st.vm_locked);
    put_kb(out, "VmPin", st.vm_pinned);
    put_kb(out, "VmHWM", MAX(st.rss_peak, rss));
    put_kb(out, "VmRSS", rss);
    put_kb(out, "RssAnon", st.rss_anon);
    put_kb(out, "RssFile", st.rss_file);
    put_kb(out, "RssShmem", st.rss_shmem);
    put_kb(out, "VmData", st.vm_data);
    put_kb(out, "VmStk", st.vm_stack);
    put_kb(out, "VmExe", text);
    put_kb(out, "VmLib", st.vm_exec > text ? st.vm_exec - text : 0);
    put_kb(out, "VmPTE", rss / 512);
    put_kb(out, "VmSwap", 0);
    text_add(out, "HugetlbPages:\t       0 kB\nCoreDumping:\t0\nTHP_enabled:\t0\n");
}

static void put_cpus(struct pseudo_ctx *c, struct task *t, struct text *out)
{
    int n = MIN(MAX(c->k->ncpus, 1), TASK_CPUSET_WORDS * 64);
    int words = (n + 31) / 32;
    text_add(out, "Cpus_allowed:\t");
    for (int w = words - 1; w >= 0; w--) {
        uint32_t bits = (uint32_t)(t->cpuset[w / 2] >> (w % 2 * 32));
        if (w == words - 1) {
            int left = n - w * 32;
            if (left < 32)
                bits &= (1u << left) - 1;
            text_add(out, "%x", bits);
        } else {
            text_add(out, ",%08x", bits);
        }
    }
    text_add(out, "\nCpus_allowed_list:\t");
    bool first = true;
    for (int k = 0; k < n; k++) {
        int from = k;
        while (k < n && t->cpuset[k / 64] >> (k % 64) & 1)
            k++;
        if (k == from)
            continue;
        text_add(out, k - 1 > from ? "%s%d-%d" : "%s%d", first ? "" : ",", from, k - 1);
        first = false;
    }
    text_add(out, "\nMems_allowed:\t1\nMems_allowed_list:\t0\n");
}

/* A number as it is in t's namespaces, from the one that this proc shows down. TASK_TREE held. */
static void put_levels(struct pseudo_ctx *c, const char *name, const struct task *t,
                       const struct pid *pid, struct text *out)
{
    text_add(out, "%s:", name);
    for (int level = c->pid_ns->level; level <= t->pid->ns->level; level++) {
        const struct pid_ns *ns = t->pid->ns;
        while (ns->level > level)
            ns = ns->parent;
        text_add(out, "\t%d", pid ? pid_nr_in(pid, ns) : 0);
    }
    text_add(out, "\n");
}

static void put_numbers(struct pseudo_ctx *c, struct task *t, struct text *out)
{
    struct thread_group *tg = t->tg;
    MUTEX_GUARD(&c->k->tree_lock);
    const struct pid *pgrp = tg->pgrp ? tg->pgrp->pid : NULL;
    const struct pid *session = pgrp ? tg->pgrp->session->pid : NULL;
    put_levels(c, "NStgid", t, tg->pid, out);
    put_levels(c, "NSpid", t, c->node->task ? t->pid : tg->pid, out);
    put_levels(c, "NSpgid", t, pgrp, out);
    put_levels(c, "NSsid", t, session, out);
}

static void put_status(struct pseudo_ctx *c, struct task *t, struct text *out)
{
    struct thread_group *tg = t->tg;
    char comm[16], state = task_state_char(t);
    struct signals s;
    get_comm(t, comm);
    get_signals(t, &s);
    struct fs_context *fs = task_get_fs(t);
    text_add(out, "Name:\t%s\n", comm);
    if (fs) {
        text_add(out, "Umask:\t%04o\n", fs->umask);
        fs_context_put(fs);
    }
    text_add(out, "State:\t%c (%s)\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t%d\n",
             state, state_name(state), proc_nr(c, tg->tgid), own_nr(c, t),
             proc_nr(c, thread_group_ppid(tg)), proc_nr(c, ptrace_tracer_tid(t)));
    put_ids(c, t, out);
    put_numbers(c, t, out);
    put_memory(t, out);
    text_add(out, "Threads:\t%d\nSigQ:\t%u/%" PRIu64 "\n", threads_of(t), s.queued,
             task_rlimit(t, RLIMIT_SIGPENDING));
    text_add(out, "SigPnd:\t%016" PRIx64 "\nShdPnd:\t%016" PRIx64 "\nSigBlk:\t%016" PRIx64 "\n",
             s.pending, s.shared, s.blocked);
    text_add(out, "SigIgn:\t%016" PRIx64 "\nSigCgt:\t%016" PRIx64 "\n", s.ignored, s.caught);
    put_caps(t, out);
    text_add(out, "NoNewPrivs:\t%d\nSeccomp:\t%d\nSeccomp_filters:\t%d\n", t->no_new_privs,
             atomic_load(&t->seccomp_mode), atomic_load(&t->seccomp_filters));
    text_add(out, "Speculation_Store_Bypass:\tvulnerable\n"
                  "SpeculationIndirectBranch:\tconditional enabled\n");
    put_cpus(c, t, out);
    text_add(out,
             "voluntary_ctxt_switches:\t%" PRIu64 "\nnonvoluntary_ctxt_switches:\t%" PRIu64 "\n",
             (uint64_t)t->nvcsw, (uint64_t)t->nivcsw);
}

int proc_pid_status(struct pseudo_ctx *c, struct text *out)
{
    struct task *t = proc_task(c);
    if (!t)
        return -ESRCH;
    put_status(c, t, out);
    task_put(t);
    return 0;
}

/* ---- limits ---- */

static void put_limit(struct text *out, rlim_t v)
{
    if (v == RLIM_INFINITY)
        text_add(out, "%-20s ", "unlimited");
    else
        text_add(out, "%-20llu ", (unsigned long long)v);
}

int proc_pid_limits(struct pseudo_ctx *c, struct text *out)
{
    static const struct {
        const char *name, *unit;
        int which;
    } rows[] = {
        {"Max cpu time", "seconds", RLIMIT_CPU},
        {"Max file size", "bytes", RLIMIT_FSIZE},
        {"Max data size", "bytes", RLIMIT_DATA},
        {"Max stack size", "bytes", RLIMIT_STACK},
        {"Max core file size", "bytes", RLIMIT_CORE},
        {"Max resident set", "bytes", RLIMIT_RSS},
        {"Max processes", "processes", RLIMIT_NPROC},
        {"Max open files", "files", RLIMIT_NOFILE},
        {"Max locked memory", "bytes", RLIMIT_MEMLOCK},
        {"Max address space", "bytes", RLIMIT_AS},
        {"Max file locks", "locks", RLIMIT_LOCKS},
        {"Max pending signals", "signals", RLIMIT_SIGPENDING},
        {"Max msgqueue size", "bytes", RLIMIT_MSGQUEUE},
        {"Max nice priority", "", RLIMIT_NICE},
        {"Max realtime priority", "", RLIMIT_RTPRIO},
        {"Max realtime timeout", "us", RLIMIT_RTTIME},
    };
    struct rlimit limits[RLIM_NLIMITS];
    mutex_lock(&c->node->tg->limits_lock);
    memcpy(limits, c->node->tg->limits, sizeof(limits));
    mutex_unlock(&c->node->tg->limits_lock);
    text_add(out, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    for (size_t k = 0; k < ARRAY_SIZE(rows); k++) {
        text_add(out, "%-25s ", rows[k].name);
        put_limit(out, limits[rows[k].which].rlim_cur);
        put_limit(out, limits[rows[k].which].rlim_max);
        text_add(out, rows[k].unit[0] ? "%-10s\n" : "\n", rows[k].unit);
    }
    return 0;
}

int proc_pid_schedstat(struct pseudo_ctx *c, struct text *out)
{
    struct task *t = proc_task(c);
    if (!t)
        return -ESRCH;
    struct usage u;
    get_usage(c, t, &u);
    text_add(out, "%" PRIu64 " 0 %" PRIu64 "\n", u.user + u.system,
             (uint64_t)t->nvcsw + (uint64_t)t->nivcsw);
    task_put(t);
    return 0;
}
