/*
 * Numbers. A process has one in its pid namespace and in every one above:
 *
 *      struct pid --ns--> level 2: 7          numbers[2]
 *                            |
 *                            v   level 1: 31  numbers[1]
 *                            |
 *                            v   level 0: 1042, which is `nr`: all of the sentry goes by that
 *
 * What comes from an application is translated with pid_in, what goes to one with pid_out.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include <stdlib.h>
#include <string.h>

/* Linux starts again here, once the numbers have been used up. */
#define FIRST_RECYCLED_PID 300
#define PID_TABLE_MIN 64

/* ---- namespaces ---- */

static void pid_ns_destroy(struct ns_common *common)
{
    struct pid_ns *ns = container_of(common, struct pid_ns, common), *parent = ns->parent;
    free(ns->by_nr);
    free(ns);
    if (parent)
        ns_put(&parent->common);
}

int pid_ns_boot(struct kernel *k)
{
    struct pid_ns *ns = calloc(1, sizeof(*ns));
    if (!ns)
        return -ENOMEM;
    ns_init_first(k, &ns->common, NS_PID, pid_ns_destroy);
    k->pid_ns = ns;
    return 0;
}

int pid_ns_create(struct kernel *k, struct pid_ns *parent, const struct cred *maker,
                  struct pid_ns **out)
{
    if (parent->level >= PID_NS_MAX_LEVEL)
        return -ENOSPC;
    /* The privileges over a namespace are those over the processes in it, which the parent's owner
     * sees as well. */
    if (!user_ns_is_below(maker->user_ns, parent->common.owner))
        return -EINVAL;
    struct pid_ns *ns = calloc(1, sizeof(*ns));
    if (!ns)
        return -ENOMEM;
    int err = ns_init(k, &ns->common, NS_PID, maker->user_ns, maker->euid, pid_ns_destroy);
    if (err) {
        free(ns);
        return err;
    }
    ns->parent = pid_ns_get(parent);
    ns->level = parent->level + 1;
    *out = ns;
    return 0;
}

bool pid_ns_is_below(const struct pid_ns *ns, const struct pid_ns *above)
{
    while (ns && ns->level > above->level)
        ns = ns->parent;
    return ns == above;
}

/* ---- numbers; TASK_TREE held ---- */

struct pid *pid_lookup(const struct pid_ns *ns, pid_t nr)
{
    return nr > 0 && nr < ns->capacity ? ns->by_nr[nr] : NULL;
}

struct pid *pid_next(const struct pid_ns *ns, pid_t from)
{
    for (pid_t nr = MAX(from, 1); nr < ns->capacity; nr++) {
        if (ns->by_nr[nr])
            return ns->by_nr[nr];
    }
    return NULL;
}

static int make_room(struct pid_ns *ns, pid_t nr)
{
    if (nr < ns->capacity)
        return 0;
    pid_t capacity = MAX(ns->capacity, PID_TABLE_MIN);
    while (capacity <= nr)
        capacity *= 2;
    struct pid **by_nr = realloc(ns->by_nr, (size_t)capacity * sizeof(*by_nr));
    if (!by_nr)
        return -ENOMEM;
    memset(by_nr + ns->capacity, 0, (size_t)(capacity - ns->capacity) * sizeof(*by_nr));
    ns->by_nr = by_nr;
    ns->capacity = capacity;
    return 0;
}

/* The next free number in ns, with room for it; or -errno. */
static pid_t next_free(struct pid_ns *ns)
{
    pid_t nr = ns->last;
    for (int i = 0; i < KERNEL_PID_MAX; i++) {
        if (++nr >= KERNEL_PID_MAX)
            nr = FIRST_RECYCLED_PID;
        if (pid_lookup(ns, nr))
            continue;
        int err = make_room(ns, nr);
        if (err)
            return err;
        ns->last = nr;
        return nr;
    }
    return -EAGAIN;
}

static pid_t chosen(struct pid_ns *ns, pid_t nr)
{
    if (nr < 1 || nr >= KERNEL_PID_MAX || (nr != 1 && !ns->init))
        return -EINVAL;
    if (pid_lookup(ns, nr))
        return -EEXIST;
    int err = make_room(ns, nr);
    return err ? err : nr;
}

/* Frees pid's numbers in ns and above, up to and without `end`. */
static void unlink_numbers(struct pid *pid, struct pid_ns *ns, const struct pid_ns *end)
{
    for (; ns != end; ns = ns->parent)
        ns->by_nr[pid->numbers[ns->level]] = NULL;
}

int pid_alloc(struct pid_ns *deepest, const pid_t *wanted, size_t nwanted, struct pid **out)
{
    if (deepest->dead)
        return -ENOMEM;
    struct pid *pid = calloc(1, sizeof(*pid) + ((size_t)deepest->level + 1) * sizeof(pid_t));
    if (!pid)
        return -ENOMEM;
    ref_init(&pid->ref);
    size_t i = 0;
    for (struct pid_ns *ns = deepest; ns; ns = ns->parent, i++) {
        pid_t nr = i < nwanted ? chosen(ns, wanted[i]) : next_free(ns);
        if (nr < 0) {
            unlink_numbers(pid, deepest, ns);
            free(pid);
            return nr;
        }
        pid->numbers[ns->level] = nr;
        ns->by_nr[nr] = pid;
    }
    pid->nr = pid->numbers[0];
    pid->ns = pid_ns_get(deepest);
    *out = pid;
    return 0;
}

bool pid_in_use(const struct pid *pid)
{
    return pid->task || pid->group || pid->pgrp || pid->session;
}

void pid_release(struct pid *pid)
{
    if (pid_in_use(pid))
        return;
    unlink_numbers(pid, pid->ns, NULL);
    pid_put(pid);
}

struct pid *pid_get(struct pid *pid)
{
    ref_get(&pid->ref);
    return pid;
}

void pid_put(struct pid *pid)
{
    if (!pid || !ref_put(&pid->ref))
        return;
    ns_put(&pid->ns->common);
    free(pid);
}

pid_t pid_nr_in(const struct pid *pid, const struct pid_ns *ns)
{
    return pid_ns_is_below(pid->ns, ns) ? pid->numbers[ns->level] : 0;
}

/* ---- translating ---- */

pid_t pid_in_locked(const struct task *t, pid_t nr)
{
    const struct pid_ns *ns = task_pid_ns(t);
    if (ns->level == 0)
        return nr;
    struct pid *pid = pid_lookup(ns, nr);
    return pid ? pid->nr : 0;
}

pid_t pid_out_locked(const struct task *t, pid_t nr)
{
    const struct pid_ns *ns = task_pid_ns(t);
    if (ns->level == 0)
        return nr;
    struct pid *pid = pid_lookup(t->kernel->pid_ns, nr);
    return pid ? pid_nr_in(pid, ns) : 0;
}

pid_t pid_in(const struct task *t, pid_t nr)
{
    if (task_pid_ns(t)->level == 0)
        return nr;
    MUTEX_GUARD(&t->kernel->tree_lock);
    return pid_in_locked(t, nr);
}

pid_t pid_number_in(struct kernel *k, const struct pid_ns *ns, pid_t nr)
{
    if (ns->level == 0)
        return nr;
    MUTEX_GUARD(&k->tree_lock);
    struct pid *pid = pid_lookup(k->pid_ns, nr);
    return pid ? pid_nr_in(pid, ns) : 0;
}

pid_t pid_out(const struct task *t, pid_t nr)
{
    return pid_number_in(t->kernel, task_pid_ns(t), nr);
}

struct task *task_find_in(struct kernel *k, const struct pid_ns *ns, pid_t nr)
{
    MUTEX_GUARD(&k->tree_lock);
    struct pid *pid = pid_lookup(ns, nr);
    return pid && pid->task ? task_get(pid->task) : NULL;
}

struct task *task_find_for(const struct task *t, pid_t nr)
{
    return task_find_in(t->kernel, task_pid_ns(t), nr);
}

struct thread_group *thread_group_find_in(struct kernel *k, const struct pid_ns *ns, pid_t nr)
{
    MUTEX_GUARD(&k->tree_lock);
    struct pid *pid = pid_lookup(ns, nr);
    return pid && pid->group ? thread_group_get(pid->group) : NULL;
}

struct thread_group *thread_group_find_for(const struct task *t, pid_t nr)
{
    return thread_group_find_in(t->kernel, task_pid_ns(t), nr);
}

struct thread_group *thread_group_next_in(struct kernel *k, const struct pid_ns *ns, pid_t from,
                                          pid_t *nr)
{
    MUTEX_GUARD(&k->tree_lock);
    struct pid *pid;
    for (; (pid = pid_next(ns, from)) != NULL; from = *nr + 1) {
        *nr = pid->numbers[ns->level];
        if (pid->group)
            return thread_group_get(pid->group);
    }
    return NULL;
}
