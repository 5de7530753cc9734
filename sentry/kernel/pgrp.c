/*
 * Process groups and sessions. Everything here is guarded by TASK_TREE.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include "sentry/tty/tty.h"
#include <stdlib.h>

struct process_group *pgrp_find(struct kernel *k, pid_t nr)
{
    struct pid *pid = pid_lookup(k->pid_ns, nr);
    return pid ? pid->pgrp : NULL;
}

void pgrp_join(struct process_group *pg, struct thread_group *tg)
{
    tg->pgrp = pg;
    list_add_tail(&pg->members, &tg->pgrp_link);
}

void pgrp_leave(struct thread_group *tg)
{
    struct process_group *pg = tg->pgrp;
    if (!pg)
        return;
    list_del(&tg->pgrp_link);
    tg->pgrp = NULL;
    if (!list_empty(&pg->members))
        return;
    struct session *s = pg->session;
    struct pid *pid = pg->pid;
    pid->pgrp = NULL;
    free(pg);
    if (--s->pgrps == 0) {
        tty_session_gone(s);
        s->pid->session = NULL;
        if (s->pid != pid)
            pid_release(s->pid);
        free(s);
    }
    pid_release(pid);
}

int pgrp_create(struct session *s, struct thread_group *tg)
{
    struct process_group *pg = calloc(1, sizeof(*pg));
    if (!pg)
        return -ENOMEM;
    pg->pid = tg->pid;
    pg->session = s;
    list_init(&pg->members);
    pg->pid->pgrp = pg;
    s->pgrps++;
    pgrp_leave(tg);
    pgrp_join(pg, tg);
    return 0;
}

int session_create(struct thread_group *tg)
{
    struct session *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->pid = tg->pid;
    int err = pgrp_create(s, tg);
    if (err)
        free(s);
    else
        s->pid->session = s;
    tg->gave_up_tty = false;
    return err;
}

bool pgrp_is_orphaned(struct process_group *pg, struct thread_group *ignored)
{
    struct thread_group *tg;
    list_for_each (tg, &pg->members, pgrp_link) {
        struct thread_group *parent = tg->parent;
        if (tg == ignored || tg->zombie || !parent || !parent->pgrp)
            continue;
        if (parent->pgrp != pg && parent->pgrp->session == pg->session)
            return false;
    }
    return true;
}

static bool has_stopped(struct process_group *pg)
{
    struct thread_group *tg;
    list_for_each (tg, &pg->members, pgrp_link) {
        MUTEX_GUARD(&tg->sighand_lock);
        if (tg->stop_state == STOP_STOPPED)
            return true;
    }
    return false;
}

/* `tg` was what kept pg from being orphaned, perhaps: if it is now, its stopped members would never
 * be continued by anybody. */
static void check_group(struct process_group *pg, struct thread_group *ignored)
{
    if (!pgrp_is_orphaned(pg, ignored) || !has_stopped(pg))
        return;
    siginfo_t info;
    siginfo_kernel(&info, SIGHUP);
    (void)signal_send_pgrp(pg, SIGHUP, &info);
    siginfo_kernel(&info, SIGCONT);
    (void)signal_send_pgrp(pg, SIGCONT, &info);
}

/* Whether a process with this parent keeps its group from being orphaned. */
static bool links(struct thread_group *tg, struct thread_group *parent)
{
    return tg->pgrp && parent && parent->pgrp && parent->pgrp != tg->pgrp &&
           parent->pgrp->session == tg->pgrp->session;
}

void pgrp_check_leaving(struct thread_group *tg)
{
    if (links(tg, tg->parent))
        check_group(tg->pgrp, tg);
}

void pgrp_check_reparented(struct thread_group *tg, struct thread_group *old_parent)
{
    if (links(tg, old_parent))
        check_group(tg->pgrp, NULL);
}
