/*
 * pipe(2), pipe2(2).
 */
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/vfs.h"

static long do_pipe(struct task *t, gva_t addr, unsigned flags)
{
    if (flags & ~(unsigned)(O_CLOEXEC | O_DIRECT | O_NONBLOCK))
        return -EINVAL;
    struct file *ends[2];
    int fds[2] = {-1, -1};
    int err = pipe_create(t->kernel, flags, t->cred, ends);
    if (err)
        return err;
    for (int i = 0; i < 2 && !err; i++) {
        fds[i] = fd_install(t, ends[i], 0, flags & O_CLOEXEC);
        err = MIN(fds[i], 0);
    }
    if (!err)
        err = MM_COPY_OUT(t->mm, addr, &fds);
    for (int i = 0; i < 2; i++) {
        if (err && fds[i] >= 0)
            fd_close(t, fds[i]);
        file_put(ends[i]);
    }
    return err;
}

SYSCALL(pipe)
{
    return do_pipe(t, ARG_GVA(a, 0), 0);
}
SYSCALL(pipe2)
{
    return do_pipe(t, ARG_GVA(a, 0), ARG_UINT(a, 1));
}
