/*
 * Waiting for children: wait4(2), waitid(2).
 */
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include <string.h>
#include <sys/wait.h>

static bool matches(struct task *t, const struct wait_request *rq, struct thread_group *child)
{
    switch (rq->which) {
    case P_PID:
        if (rq->group ? child != rq->group : child->tgid != rq->id)
            return false;
        break;
    case P_PGID:
        if (!child->pgrp || child->pgrp->pid->nr != rq->id)
            return false;
        break;
    }
    if ((rq->options & __WNOTHREAD) && child->parent_task != t)
        return false;
    if (rq->options & __WALL)
        return true;
    bool is_clone = child->exit_signal != SIGCHLD;
    return is_clone == !!(rq->options & __WCLONE);
}

static void fill_common(struct task *t, struct thread_group *child, struct wait_result *out)
{
    memset(out, 0, sizeof(*out));
    out->pid = pid_nr_in(child->pid, task_pid_ns(t));
    if (child->leader) {
        const struct cred *cred = task_get_cred(child->leader);
        out->uid = id_shown(t->cred->user_ns, ID_UID, cred->uid);
        cred_put(cred);
    }
    out->usage = child->dead_usage;
    rusage_add(&out->usage, &child->child_usage);
}

static void set_exit(struct wait_result *out, int status)
{
    out->status = status;
    out->code = !(status & 0x7f) ? CLD_EXITED : status & 0x80 ? CLD_DUMPED : CLD_KILLED;
}

static bool take_exit(struct task *t, const struct wait_request *rq, struct thread_group *child,
                      struct wait_result *out)
{
    if (!child->zombie || !(rq->options & WEXITED))
        return false;
    fill_common(t, child, out);
    set_exit(out, child->exit_code);
    if (!(rq->options & WNOWAIT)) {
        rusage_add(&t->tg->child_usage, &out->usage);
        thread_group_reap(child);
    }
    return true;
}

static bool take_stop(struct task *t, const struct wait_request *rq, struct thread_group *child,
                      struct wait_result *out)
{
    struct task *tracer = child->leader ? child->leader->ptrace.tracer : NULL;
    MUTEX_GUARD(&child->sighand_lock);
    /* The parent that traces sees the stops of its tracee instead. */
    bool seen = tracer && tracer->tg == child->parent;
    if ((rq->options & WSTOPPED) && child->stop_unwaited && !seen) {
        fill_common(t, child, out);
        out->status = (child->stop_signal << 8) | 0x7f;
        out->code = CLD_STOPPED;
        if (!(rq->options & WNOWAIT))
            child->stop_unwaited = false;
        return true;
    }
    if ((rq->options & WCONTINUED) && child->cont_unwaited) {
        fill_common(t, child, out);
        out->status = 0xffff;
        out->code = CLD_CONTINUED;
        if (!(rq->options & WNOWAIT))
            child->cont_unwaited = false;
        return true;
    }
    return false;
}

/* ---- what is traced ---- */

static bool matches_traced(const struct wait_request *rq, struct task *p)
{
    switch (rq->which) {
    case P_PID:
        return rq->group ? p->tg == rq->group && p->tg->leader == p : p->tid == rq->id;
    case P_PGID:
        return p->tg->pgrp && p->tg->pgrp->pid->nr == rq->id;
    }
    return true;
}

static void fill_traced(struct task *t, struct task *p, struct wait_result *out)
{
    memset(out, 0, sizeof(*out));
    out->pid = pid_nr_in(p->pid, task_pid_ns(t));
    const struct cred *cred = task_get_cred(p);
    out->uid = id_shown(t->cred->user_ns, ID_UID, cred->uid);
    cred_put(cred);
    task_usage(p, &out->usage);
}

static bool take_traced_stop(struct task *t, const struct wait_request *rq, struct task *p,
                             struct wait_result *out)
{
    MUTEX_GUARD(&p->tg->sighand_lock);
    if (p->ptrace.state != PTRACE_STOPPED || !p->ptrace.unwaited)
        return false;
    fill_traced(t, p, out);
    out->status = p->ptrace.code << 8 | 0x7f;
    out->code = CLD_TRAPPED;
    if (!(rq->options & WNOWAIT))
        p->ptrace.unwaited = false;
    return true;
}

static void untrace(struct task *p)
{
    struct task *unlinked;
    {
        MUTEX_GUARD(&p->tg->sighand_lock);
        unlinked = ptrace_unlink(p);
    }
    task_put(unlinked);
}

/* A thread that has left, or another's child that is a zombie; its parent hears of it then. */
static bool take_traced_exit(struct task *t, const struct wait_request *rq, struct task *p,
                             struct wait_result *out)
{
    struct thread_group *tg = p->tg;
    if (!p->left || !(rq->options & WEXITED))
        return false;
    if (tg->leader != p) {
        fill_traced(t, p, out);
        set_exit(out, p->exit_code);
        if (!(rq->options & WNOWAIT))
            task_reap_thread(p);
        return true;
    }
    if (!tg->zombie)
        return false;
    if (tg->parent == t->tg)
        return take_exit(t, rq, tg, out);
    fill_common(t, tg, out);
    set_exit(out, tg->exit_code);
    if (!(rq->options & WNOWAIT)) {
        untrace(p);
        thread_group_notify_exit(tg);
    }
    return true;
}

static long look_traced_by(struct task *t, struct task *tracer, const struct wait_request *rq,
                           struct wait_result *out)
{
    struct task *p, *next;
    long found = -ECHILD;
    list_for_each_safe (p, next, &tracer->tracees, ptrace.link) {
        if (!matches_traced(rq, p))
            continue;
        found = 0;
        if (take_traced_exit(t, rq, p, out) || take_traced_stop(t, rq, p, out))
            return 1;
    }
    return found;
}

static long look_traced(struct task *t, const struct wait_request *rq, struct wait_result *out)
{
    if (rq->options & __WNOTHREAD)
        return look_traced_by(t, t, rq, out);
    struct task *other;
    long found = -ECHILD;
    list_for_each (other, &t->tg->tasks, group_link) {
        long r = look_traced_by(t, other, rq, out);
        if (r > 0)
            return r;
        if (r == 0)
            found = 0;
    }
    return found;
}

/* ---- both ---- */

/* A child whose end its tracer has to see first. */
static bool is_hidden(struct thread_group *child)
{
    return child->leader && child->leader->ptrace.tracer;
}

/* 1: *out is filled; 0: nothing yet; -ECHILD: there is nobody to wait for. */
static long look(struct task *t, const struct wait_request *rq, struct wait_result *out)
{
    MUTEX_GUARD(&t->kernel->tree_lock);
    struct thread_group *child, *next;
    long found = -ECHILD;
    list_for_each_safe (child, next, &t->tg->children, sibling) {
        if (!matches(t, rq, child))
            continue;
        found = 0;
        if ((!is_hidden(child) && take_exit(t, rq, child, out)) ||
            (!child->zombie && take_stop(t, rq, child, out)))
            return 1;
    }
    long traced = look_traced(t, rq, out);
    return traced >= 0 ? traced : found;
}

long task_wait(struct task *t, const struct wait_request *rq, struct wait_result *out)
{
    long found = look(t, rq, out);
    if (found || (rq->options & WNOHANG))
        return found;
    struct wait_entry entry;
    wait_entry_init_task(&entry, t, POLLIN);
    wait_add(&t->tg->child_wait, &entry);
    /* The SIGCHLD of the child that we wait for must not hide it: look once more. */
    int err = 0;
    while ((found = look(t, rq, out)) == 0 && err == 0)
        err = task_block(t, NULL);
    wait_remove(&t->tg->child_wait, &entry);
    return found ? found : err;
}
