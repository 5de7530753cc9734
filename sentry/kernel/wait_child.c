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

static void fill_common(struct thread_group *child, struct wait_result *out)
{
    memset(out, 0, sizeof(*out));
    out->pid = child->tgid;
    if (child->leader) {
        const struct cred *cred = task_get_cred(child->leader);
        out->uid = cred->uid;
        cred_put(cred);
    }
    out->usage = child->dead_usage;
    rusage_add(&out->usage, &child->child_usage);
}

static bool take_exit(struct task *t, const struct wait_request *rq, struct thread_group *child,
                      struct wait_result *out)
{
    if (!child->zombie || !(rq->options & WEXITED))
        return false;
    fill_common(child, out);
    out->status = child->exit_code;
    out->code = !(out->status & 0x7f) ? CLD_EXITED : out->status & 0x80 ? CLD_DUMPED : CLD_KILLED;
    if (!(rq->options & WNOWAIT)) {
        rusage_add(&t->tg->child_usage, &out->usage);
        thread_group_reap(child);
    }
    return true;
}

static bool take_stop(const struct wait_request *rq, struct thread_group *child,
                      struct wait_result *out)
{
    MUTEX_GUARD(&child->sighand_lock);
    if ((rq->options & WSTOPPED) && child->stop_unwaited) {
        fill_common(child, out);
        out->status = (child->stop_signal << 8) | 0x7f;
        out->code = CLD_STOPPED;
        if (!(rq->options & WNOWAIT))
            child->stop_unwaited = false;
        return true;
    }
    if ((rq->options & WCONTINUED) && child->cont_unwaited) {
        fill_common(child, out);
        out->status = 0xffff;
        out->code = CLD_CONTINUED;
        if (!(rq->options & WNOWAIT))
            child->cont_unwaited = false;
        return true;
    }
    return false;
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
        if (take_exit(t, rq, child, out) || (!child->zombie && take_stop(rq, child, out)))
            return 1;
    }
    return found;
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
