/*
 * From one descriptor to another without passing through the application: sendfile,
 * copy_file_range; and memfd_create, whose files often take part.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/internal.h"
#include <linux/memfd.h>
#include <stdlib.h>
#include <string.h>

#define COPY_CHUNK (128 * 1024)

/* One piece: from in at *in_pos to out (at *out_pos, or at its own position if NULL). */
static ssize_t copy_piece(struct task *t, struct file *in, int64_t in_pos, struct file *out,
                          int64_t *out_pos, void *buf, size_t n)
{
    struct uio u;
    uio_init_kernel(&u, buf, n);
    ssize_t got = file_pread(in, &u, in_pos, 0);
    uio_release(&u);
    if (got <= 0)
        return got;
    uio_init_kernel(&u, buf, (size_t)got);
    ssize_t put =
        out_pos ? file_pwrite_task(t, out, &u, *out_pos, 0) : file_write_task(t, out, &u, 0);
    uio_release(&u);
    if (put > 0 && out_pos)
        *out_pos += put;
    return put;
}

/* Copies until n bytes, the end, an error, a full stream or a signal. */
static ssize_t copy_data(struct task *t, struct file *in, int64_t *in_pos, struct file *out,
                         int64_t *out_pos, uint64_t n)
{
    uint64_t done = 0;
    char *buf = malloc(MIN(n, (uint64_t)COPY_CHUNK));
    if (!buf)
        return -ENOMEM;
    ssize_t r = 0;
    while (done < n) {
        size_t want = MIN(n - done, (uint64_t)COPY_CHUNK);
        r = copy_piece(t, in, *in_pos, out, out_pos, buf, want);
        if (r <= 0)
            break;
        done += (uint64_t)r;
        *in_pos += r;
        if ((size_t)r < want || task_interrupted(t))
            break;
    }
    free(buf);
    return done ? (ssize_t)done : r;
}

/* ---- sendfile ---- */

static ssize_t send_between(struct task *t, struct file *out, struct file *in, int64_t *pos,
                            uint64_t n)
{
    if (!in->readable || !out->writable)
        return -EBADF;
    if (in->stream)
        return pos ? -ESPIPE : -EINVAL;
    if (!in->ops->read || S_ISDIR(in->inode->mode) || out->flags & O_APPEND)
        return -EINVAL;
    if (pos && *pos < 0)
        return -EINVAL;
    n = MIN(n, UIO_MAX_BYTES);
    if (n == 0)
        return 0;
    if (pos)
        return copy_data(t, in, pos, out, NULL, n);
    int64_t own;
    mutex_lock(&in->pos_lock);
    own = in->pos;
    mutex_unlock(&in->pos_lock);
    ssize_t r = copy_data(t, in, &own, out, NULL, n);
    if (r > 0) {
        mutex_lock(&in->pos_lock);
        in->pos = own;
        mutex_unlock(&in->pos_lock);
    }
    return r;
}

SYSCALL(sendfile)
{
    int64_t pos;
    gva_t addr = ARG_GVA(a, 2);
    if (addr && MM_COPY_IN(t->mm, &pos, addr))
        return -EFAULT;
    if ((int64_t)a->a[3] < 0)
        return -EINVAL;
    struct file *in = fd_get(t, ARG_INT(a, 1)), *out = fd_get(t, ARG_INT(a, 0));
    ssize_t r = -EBADF;
    if (in && out)
        r = send_between(t, out, in, addr ? &pos : NULL, a->a[3]);
    file_put(in);
    file_put(out);
    if (addr && r >= 0 && MM_COPY_OUT(t->mm, addr, &pos))
        r = -EFAULT;
    return r;
}

/* ---- copy_file_range ---- */

static int check_copy(struct file *in, struct file *out)
{
    if (S_ISDIR(in->inode->mode) || S_ISDIR(out->inode->mode))
        return -EISDIR;
    if (!S_ISREG(in->inode->mode) || !S_ISREG(out->inode->mode))
        return -EINVAL;
    if (!in->readable || !out->writable || out->flags & O_APPEND)
        return -EBADF;
    return in->inode->sb != out->inode->sb ? -EXDEV : 0;
}

static int check_copy_range(struct file *in, int64_t in_pos, struct file *out, int64_t out_pos,
                            uint64_t *n)
{
    uint64_t in_end, out_end;
    if (__builtin_add_overflow((uint64_t)in_pos, *n, &in_end) ||
        __builtin_add_overflow((uint64_t)out_pos, *n, &out_end))
        return -EOVERFLOW;
    if (in_pos < 0 || out_pos < 0)
        return -EINVAL;
    if (out_pos == INT64_MAX)
        return -EFBIG;
    *n = MIN(*n, (uint64_t)(INT64_MAX - out_pos));
    int64_t size = (int64_t)in->inode->size;
    *n = in_pos >= size ? 0 : MIN(*n, (uint64_t)(size - in_pos));
    *n = MIN(*n, UIO_MAX_BYTES);
    if (in->inode == out->inode && *n && in_pos < out_pos + (int64_t)*n &&
        out_pos < in_pos + (int64_t)*n)
        return -EINVAL;
    return 0;
}

/* Positions that come from the descriptions go back to them. */
static int64_t own_position(struct file *f)
{
    MUTEX_GUARD(&f->pos_lock);
    return f->pos;
}
static void set_own_position(struct file *f, int64_t pos)
{
    MUTEX_GUARD(&f->pos_lock);
    f->pos = pos;
}

static ssize_t copy_range(struct task *t, struct file *in, int64_t *in_arg, struct file *out,
                          int64_t *out_arg, uint64_t n)
{
    int err = check_copy(in, out);
    if (err)
        return err;
    int64_t in_pos = in_arg ? *in_arg : own_position(in);
    int64_t out_pos = out_arg ? *out_arg : own_position(out);
    err = check_copy_range(in, in_pos, out, out_pos, &n);
    if (err || n == 0)
        return err;
    ssize_t r = copy_data(t, in, &in_pos, out, &out_pos, n);
    if (r <= 0)
        return r;
    if (in_arg)
        *in_arg = in_pos;
    else
        set_own_position(in, in_pos);
    if (out_arg)
        *out_arg = out_pos;
    else
        set_own_position(out, out_pos);
    return r;
}

SYSCALL(copy_file_range)
{
    int64_t in_pos, out_pos;
    gva_t in_addr = ARG_GVA(a, 1), out_addr = ARG_GVA(a, 3);
    struct file *in = fd_get(t, ARG_INT(a, 0)), *out = fd_get(t, ARG_INT(a, 2));
    ssize_t r = -EBADF;
    if (in && out) {
        r = 0;
        if ((in_addr && MM_COPY_IN(t->mm, &in_pos, in_addr)) ||
            (out_addr && MM_COPY_IN(t->mm, &out_pos, out_addr)))
            r = -EFAULT;
        else if (a->a[5])
            r = -EINVAL;
        else
            r = copy_range(t, in, in_addr ? &in_pos : NULL, out, out_addr ? &out_pos : NULL,
                           a->a[4]);
    }
    file_put(in);
    file_put(out);
    if (r > 0 && ((in_addr && MM_COPY_OUT(t->mm, in_addr, &in_pos)) ||
                  (out_addr && MM_COPY_OUT(t->mm, out_addr, &out_pos))))
        r = -EFAULT;
    return r;
}

/* ---- memfd_create ---- */

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#define MFD_EXEC 16u
#endif
#define MEMFD_NAME_MAX 249 /* NAME_MAX less "memfd:" */

SYSCALL(memfd_create)
{
    static const char prefix[] = "/memfd:", suffix[] = " (deleted)";
    char name[sizeof prefix + MEMFD_NAME_MAX + 1 + sizeof suffix];
    unsigned flags = ARG_UINT(a, 1);
    if (flags & MFD_HUGETLB)
        return -ENOSYS;
    if (flags & ~(MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC) ||
        (flags & MFD_EXEC && flags & MFD_NOEXEC_SEAL))
        return -EINVAL;
    memcpy(name, prefix, sizeof prefix);
    ssize_t n =
        mm_copy_in_string(t->mm, name + sizeof prefix - 1, ARG_GVA(a, 0), MEMFD_NAME_MAX + 1);
    if (n < 0)
        return n == -ENAMETOOLONG ? -EINVAL : n;
    memcpy(name + sizeof prefix - 1 + n, suffix, sizeof suffix);
    struct file *f;
    int err = tmpfs_create_anon_file(t->kernel, name, 0, flags, t->cred, &f);
    if (err)
        return err;
    f->flags |= KERNEL_O_LARGEFILE;
    int fd = fd_install(t, f, 0, flags & MFD_CLOEXEC);
    file_put(f);
    return fd;
}
