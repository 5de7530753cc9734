/*
 * splice, tee, vmsplice.
 */
#include "sentry/fs/pipefs/pipe.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/internal.h"

#define KNOWN_FLAGS (SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT)

static bool may_block(unsigned flags, const struct file *pipe)
{
    return !(flags & SPLICE_F_NONBLOCK) && !(pipe->flags & O_NONBLOCK);
}

/* Positions that the application gave, if any, for files that have positions. */
static int check_offset(const struct file *f, gva_t off, const int64_t *pos)
{
    if (!off)
        return 0;
    if (f->stream)
        return -EINVAL;
    return *pos < 0 ? -EINVAL : 0;
}

static ssize_t splice_from_file(struct task *t, struct file *in, int64_t *pos, struct file *out,
                                uint64_t n, bool block)
{
    if (!in->ops->read || S_ISDIR(in->inode->mode))
        return -EINVAL;
    return splice_file_to_pipe(t, in, pos, file_pipe(out), n, block);
}

static ssize_t splice_to_file(struct task *t, struct file *in, struct file *out, int64_t *pos,
                              uint64_t n, bool block)
{
    if (!out->ops->write || out->flags & O_APPEND)
        return -EINVAL;
    return splice_pipe_to_file(t, file_pipe(in), out, pos, n, block);
}

struct splice_args {
    gva_t off_in, off_out;
    int64_t in_pos, out_pos;
    uint64_t n;
    unsigned flags;
};

static ssize_t do_splice(struct task *t, struct file *in, struct file *out, struct splice_args *s)
{
    struct pipe *pin = file_pipe(in), *pout = file_pipe(out);
    uint64_t n = MIN(s->n, UIO_MAX_BYTES);
    if (!in->readable || !out->writable)
        return -EBADF;
    if ((pin && s->off_in) || (pout && s->off_out))
        return -ESPIPE;
    int err = pin ? 0 : check_offset(in, s->off_in, &s->in_pos);
    if (!err && !pout)
        err = check_offset(out, s->off_out, &s->out_pos);
    if (err)
        return err;
    if (pin && pout)
        return pin == pout
                   ? -EINVAL
                   : splice_pipe_to_pipe(
                         pin, pout, n, may_block(s->flags, in) && may_block(s->flags, out), false);
    if (pin)
        return splice_to_file(t, in, out, s->off_out ? &s->out_pos : NULL, n,
                              may_block(s->flags, in));
    if (pout)
        return splice_from_file(t, in, s->off_in ? &s->in_pos : NULL, out, n,
                                may_block(s->flags, out));
    return -EINVAL;
}

SYSCALL(splice)
{
    struct splice_args s = {
        .off_in = ARG_GVA(a, 1), .off_out = ARG_GVA(a, 3), .n = a->a[4], .flags = ARG_UINT(a, 5)};
    if (s.n == 0)
        return 0;
    if (s.flags & ~(unsigned)KNOWN_FLAGS)
        return -EINVAL;
    struct file *in = fd_get(t, ARG_INT(a, 0)), *out = fd_get(t, ARG_INT(a, 2));
    ssize_t r = in && out ? 0 : -EBADF;
    if (!r && s.off_in && !file_pipe(in) && MM_COPY_IN(t->mm, &s.in_pos, s.off_in))
        r = -EFAULT;
    if (!r && s.off_out && !file_pipe(out) && MM_COPY_IN(t->mm, &s.out_pos, s.off_out))
        r = -EFAULT;
    if (!r)
        r = do_splice(t, in, out, &s);
    file_put(in);
    file_put(out);
    if (r > 0 && s.off_in && MM_COPY_OUT(t->mm, s.off_in, &s.in_pos))
        r = -EFAULT;
    if (r > 0 && s.off_out && MM_COPY_OUT(t->mm, s.off_out, &s.out_pos))
        r = -EFAULT;
    return r;
}

static ssize_t do_tee(struct file *in, struct file *out, uint64_t n, unsigned flags)
{
    struct pipe *pin = file_pipe(in), *pout = file_pipe(out);
    if (!in->readable || !out->writable)
        return -EBADF;
    if (!pin || !pout || pin == pout)
        return -EINVAL;
    return splice_pipe_to_pipe(pin, pout, MIN(n, UIO_MAX_BYTES),
                               may_block(flags, in) && may_block(flags, out), true);
}

SYSCALL(tee)
{
    if (ARG_UINT(a, 3) & ~(unsigned)KNOWN_FLAGS)
        return -EINVAL;
    if (a->a[2] == 0)
        return 0;
    struct file *in = fd_get(t, ARG_INT(a, 0)), *out = fd_get(t, ARG_INT(a, 1));
    ssize_t r = in && out ? do_tee(in, out, a->a[2], ARG_UINT(a, 3)) : -EBADF;
    file_put(in);
    file_put(out);
    return r;
}

static ssize_t do_vmsplice(struct task *t, struct file *f, const struct sysargs *a)
{
    struct uio u;
    int rwf = ARG_UINT(a, 3) & SPLICE_F_NONBLOCK ? RWF_NOWAIT : 0;
    if (!file_pipe(f))
        return -EBADF;
    ssize_t r = uio_init_iovec(&u, t->mm, ARG_GVA(a, 1), a->a[2]);
    if (r)
        return r;
    r = f->writable ? file_write_task(t, f, &u, rwf) : file_read_rwf(f, &u, rwf);
    uio_release(&u);
    return r;
}

SYSCALL(vmsplice)
{
    if (ARG_UINT(a, 3) & ~(unsigned)KNOWN_FLAGS)
        return -EINVAL;
    struct file *f = fd_get(t, ARG_INT(a, 0));
    ssize_t r = f ? do_vmsplice(t, f, a) : -EBADF;
    file_put(f);
    return r;
}
