#include "sentry/kernel/pidfd.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include "sentry/vfs/vfs.h"
#include <stdio.h>
#include <sys/epoll.h>

static uint32_t pidfd_poll(struct file *f, UNUSED uint32_t events)
{
    struct thread_group *tg = f->priv;
    MUTEX_GUARD(&tg->kernel->tree_lock);
    return tg->zombie ? EPOLLIN | EPOLLRDNORM : 0;
}

static struct wait_queue *pidfd_poll_queue(struct file *f)
{
    struct thread_group *tg = f->priv;
    return &tg->exit_wait;
}

static void pidfd_release(struct file *f)
{
    thread_group_put(f->priv);
}

static int pidfd_show_fdinfo(struct file *f, char *buf, size_t size)
{
    struct thread_group *tg = f->priv;
    struct task *reader = task_current();
    MUTEX_GUARD(&tg->kernel->tree_lock);
    if (tg->reaped || !tg->pid)
        return snprintf(buf, size, "Pid:\t-1\nNSpid:\t-1\n");
    const struct pid_ns *ns = reader ? task_pid_ns(reader) : tg->kernel->pid_ns;
    pid_t pid = pid_nr_in(tg->pid, ns);
    int n = snprintf(buf, size, "Pid:\t%d\nNSpid:\t%d", pid, pid);
    for (int level = ns->level + 1; pid && level <= tg->pid->ns->level; level++)
        n += snprintf(buf + n, size - (size_t)n, "\t%d", tg->pid->numbers[level]);
    return n + snprintf(buf + n, size - (size_t)n, "\n");
}

static const struct file_ops pidfd_ops = {
    .poll = pidfd_poll,
    .poll_queue = pidfd_poll_queue,
    .release = pidfd_release,
    .show_fdinfo = pidfd_show_fdinfo,
};

int pidfd_create(struct task *t, struct thread_group *tg, unsigned flags)
{
    struct file *f;
    int err = file_create_anon(t->kernel, "[pidfd]", O_RDWR | flags, &pidfd_ops,
                               thread_group_get(tg), t->cred, &f);
    if (err) {
        thread_group_put(tg);
        return err;
    }
    f->stream = true;
    int fd = fd_install(t, f, 0, true);
    file_put(f);
    return fd;
}

struct thread_group *pidfd_group(struct file *f)
{
    return f->ops == &pidfd_ops ? f->priv : NULL;
}
