/*
 * Moving bytes through descriptors.
 */
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/internal.h"

enum direction { READ, WRITE };

/* Where in the file: at the description's own position, or at pos. */
struct transfer {
    enum direction dir;
    bool at;
    int64_t pos;
    int rwf;
};

static ssize_t transfer(struct task *t, struct file *f, struct uio *u, const struct transfer *tr)
{
    if (tr->dir == READ)
        return tr->at ? file_pread(f, u, tr->pos, tr->rwf) : file_read_rwf(f, u, tr->rwf);
    ssize_t n =
        tr->at ? file_pwrite_task(t, f, u, tr->pos, tr->rwf) : file_write_task(t, f, u, tr->rwf);
    return n;
}

static long rw_buffer(struct task *t, const struct sysargs *a, const struct transfer *tr)
{
    struct uio u;
    if (tr->at && tr->pos < 0)
        return -EINVAL;
    struct file *f = fd_get(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    ssize_t n;
    if (tr->at && f->stream)
        n = -ESPIPE;
    else if (tr->dir == READ ? !f->readable : !f->writable)
        n = -EBADF;
    else
        n = uio_init_user(&u, t->mm, ARG_GVA(a, 1), a->a[2]);
    if (n == 0) {
        n = transfer(t, f, &u, tr);
        uio_release(&u);
    }
    file_put(f);
    return n;
}

static long rw_vector(struct task *t, const struct sysargs *a, const struct transfer *tr)
{
    struct uio u;
    if (tr->at && tr->pos < 0)
        return -EINVAL;
    struct file *f = fd_get(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    ssize_t n;
    if (tr->at && f->stream)
        n = -ESPIPE;
    else if (tr->dir == READ ? !f->readable : !f->writable)
        n = -EBADF;
    else
        n = uio_init_iovec(&u, t->mm, ARG_GVA(a, 1), a->a[2]);
    if (n == 0) {
        n = transfer(t, f, &u, tr);
        uio_release(&u);
    }
    file_put(f);
    return n;
}

SYSCALL(read)
{
    return rw_buffer(t, a, &(struct transfer){.dir = READ});
}
SYSCALL(write)
{
    return rw_buffer(t, a, &(struct transfer){.dir = WRITE});
}
SYSCALL(pread64)
{
    return rw_buffer(t, a, &(struct transfer){.dir = READ, .at = true, .pos = (int64_t)a->a[3]});
}
SYSCALL(pwrite64)
{
    return rw_buffer(t, a, &(struct transfer){.dir = WRITE, .at = true, .pos = (int64_t)a->a[3]});
}
SYSCALL(readv)
{
    return rw_vector(t, a, &(struct transfer){.dir = READ});
}
SYSCALL(writev)
{
    return rw_vector(t, a, &(struct transfer){.dir = WRITE});
}
SYSCALL(preadv)
{
    return rw_vector(t, a, &(struct transfer){.dir = READ, .at = true, .pos = (int64_t)a->a[3]});
}
SYSCALL(pwritev)
{
    return rw_vector(t, a, &(struct transfer){.dir = WRITE, .at = true, .pos = (int64_t)a->a[3]});
}

/* Position -1 means the description's own. */
static long rw_vector2(struct task *t, const struct sysargs *a, enum direction dir)
{
    int64_t pos = (int64_t)a->a[3];
    return rw_vector(
        t, a, &(struct transfer){.dir = dir, .at = pos != -1, .pos = pos, .rwf = ARG_INT(a, 5)});
}
SYSCALL(preadv2)
{
    return rw_vector2(t, a, READ);
}
SYSCALL(pwritev2)
{
    return rw_vector2(t, a, WRITE);
}

SYSCALL(lseek)
{
    struct file *f = fd_get(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    unsigned whence = ARG_UINT(a, 2);
    long r = whence > SEEK_HOLE ? -EINVAL : file_seek(f, (int64_t)a->a[1], (int)whence);
    file_put(f);
    return r;
}
