/*
 * Reading, writing and waiting on host descriptors. See hostfd.h.
 */
#include "sentry/fs/hostfd/hostfd.h"
#include "sentry/kernel/kernel.h"
#include <errno.h>
#include <limits.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define TTY_READ 4096 /* as much as a terminal ever gives at once */

struct hostfd *hostfd_get(struct hostfd *h)
{
    ref_get(&h->ref);
    return h;
}

void hostfd_put(struct hostfd *h)
{
    if (!ref_put(&h->ref))
        return;
    if (h->watch)
        host_watch_remove(h->kernel, h->watch);
    wait_queue_destroy(&h->queue);
    mutex_destroy(&h->watch_lock);
    close(h->fd);
    free(h);
}

static void watch(struct hostfd *h)
{
    if (h->kind == HOSTFD_FILE || h->watch || h->watch_failed)
        return;
    MUTEX_GUARD(&h->watch_lock);
    struct host_watch *w;
    if (h->watch || h->watch_failed)
        return;
    if (host_watch_add(h->kernel, h->fd, &h->queue, &w))
        h->watch_failed = true;
    else
        h->watch = w;
}

static uint32_t ready(struct hostfd *h, uint32_t events)
{
    struct pollfd p = {.fd = h->fd, .events = (short)events};
    return poll(&p, 1, 0) > 0 ? (uint32_t)(unsigned short)p.revents : 0;
}

static int64_t size_of(const struct hostfd *h)
{
    struct stat st;
    return fstat(h->fd, &st) < 0 ? 0 : (int64_t)st.st_size;
}

/* ---- moving bytes ---- */

static const struct file_ops reopened_fops;

struct transfer {
    struct hostfd *h;
    const struct iovec *iov;
    int n;
    int64_t pos; /* -1: the description's own */
    bool write;
    int rwf;
};

static ssize_t call(const struct transfer *x, int rwf)
{
    ssize_t r;
    if (x->h->kind == HOSTFD_SOCKET) {
        struct msghdr m = {.msg_iov = (struct iovec *)x->iov, .msg_iovlen = (size_t)x->n};
        r = x->write ? sendmsg(x->h->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL)
                     : recvmsg(x->h->fd, &m, MSG_DONTWAIT);
    } else if (x->write) {
        r = pwritev2(x->h->fd, x->iov, x->n, x->pos, rwf);
    } else {
        r = preadv2(x->h->fd, x->iov, x->n, x->pos, rwf);
    }
    return r < 0 ? -errno : r;
}

/* A description that we share: no call may block. */
static ssize_t call_shared(const struct transfer *x)
{
    ssize_t r = call(x, x->rwf | RWF_NOWAIT);
    if (r != -EOPNOTSUPP)
        return r;
    uint32_t want = x->write ? POLLOUT : POLLIN;
    if (!(ready(x->h, want) & (want | POLLHUP | POLLERR)))
        return -EAGAIN;
    struct iovec one = x->iov[0];
    if (x->write && one.iov_len > PIPE_BUF)
        one.iov_len = PIPE_BUF;
    struct transfer cut = *x;
    cut.iov = &one;
    cut.n = 1;
    return call(&cut, x->rwf);
}

static ssize_t attempt(const struct transfer *x)
{
    ssize_t r;
    do {
        bool may_block =
            x->h->kind == HOSTFD_PIPE || x->h->kind == HOSTFD_TTY || x->h->kind == HOSTFD_OTHER;
        r = may_block && !x->h->own_description ? call_shared(x) : call(x, x->rwf);
    } while (r == -EINTR);
    return r;
}

/* Where a read may block although it should not (somebody else was quicker), and a fork must not
 * wait for it. */
static ssize_t read_copied(const struct transfer *how, struct uio *u)
{
    char buf[TTY_READ];
    struct iovec iov = {buf, MIN(sizeof(buf), u->resid)};
    struct transfer x = *how;
    x.iov = &iov;
    x.n = 1;
    ssize_t n = attempt(&x);
    return n > 0 ? uio_copy_to(u, buf, (size_t)n) : n;
}

/* One stretch of u, or -EAGAIN. how: all but the blocks. */
static ssize_t move(const struct transfer *how, struct uio *u)
{
    const struct hostfd *h = how->h;
    if (!how->write && !h->own_description && (h->kind == HOSTFD_TTY || h->kind == HOSTFD_OTHER))
        return read_copied(how, u);
    struct uio_pin pin;
    ssize_t n = uio_pin(u, &pin, u->resid, how->write ? ACCESS_READ : ACCESS_WRITE);
    if (n <= 0)
        return n;
    struct transfer x = *how;
    x.iov = pin.blocks;
    x.n = pin.nblocks;
    n = attempt(&x);
    uio_unpin(&pin);
    if (n > 0)
        uio_skip(u, (uint64_t)n);
    return n;
}

static ssize_t wait_and_move(const struct transfer *how, struct uio *u)
{
    struct hostfd *h = how->h;
    struct task *t = task_current();
    struct wait_entry w;
    if (!t)
        return -EAGAIN;
    watch(h);
    wait_entry_init_task(&w, t, how->write ? POLLOUT : POLLIN);
    wait_add(&h->queue, &w);
    ssize_t n;
    while ((n = move(how, u)) == -EAGAIN) {
        int err = task_block(t, NULL);
        if (err) {
            n = err;
            break;
        }
    }
    wait_remove(&h->queue, &w);
    return n;
}

/* The host's description belongs to the caller of the sandbox; one that was opened again inside, by
 * /proc/self/fd or /dev/stdout, has a position of its own. */
static bool reopened(const struct file *f)
{
    return f->ops == &reopened_fops;
}

static bool appends(const struct file *f, int rwf)
{
    return ((f->flags & O_APPEND) && !(rwf & RWF_NOAPPEND)) || (rwf & RWF_APPEND);
}

static ssize_t transfer(struct file *f, struct uio *u, int64_t *pos, int rwf, bool write)
{
    struct hostfd *h = f->priv;
    bool nonblock = (f->flags & O_NONBLOCK) || (rwf & RWF_NOWAIT);
    bool host_position = f->stream || (pos == &f->pos && !reopened(f));
    bool append = write && reopened(f) && appends(f, rwf);
    struct transfer how = {.h = h, .pos = host_position ? -1 : *pos, .write = write};
    if (append) {
        how.rwf = RWF_APPEND;
        *pos = size_of(h);
    }
    ssize_t total = 0, n = 0;
    while (u->resid) {
        n = move(&how, u);
        /* A blocking read waits for the first bytes; a blocking write for room for all. */
        if (n == -EAGAIN && !nonblock && (write || !total))
            n = wait_and_move(&how, u);
        if (n <= 0)
            break;
        total += n;
        if (!host_position)
            how.pos += n;
        if (!write && f->stream)
            break;
    }
    if (!f->stream)
        *pos += total;
    if (n == -EPIPE && !total && task_current())
        signal_send_self(task_current(), SIGPIPE);
    return total ? total : n;
}

static ssize_t hostfd_read(struct file *f, struct uio *u, int64_t *pos, int rwf)
{
    return transfer(f, u, pos, rwf, false);
}

static ssize_t hostfd_write(struct file *f, struct uio *u, int64_t *pos, int rwf)
{
    return transfer(f, u, pos, rwf, true);
}

/* ---- the rest ---- */

static int64_t hostfd_llseek(struct file *f, int64_t offset, int whence)
{
    struct hostfd *h = f->priv;
    int64_t r = lseek(h->fd, offset, whence);
    if (r < 0)
        return -errno;
    f->pos = r;
    return r;
}

static int64_t reopened_llseek(struct file *f, int64_t offset, int whence)
{
    int64_t base, pos;
    switch (whence) {
    case SEEK_SET:
        base = 0;
        break;
    case SEEK_CUR:
        base = f->pos;
        break;
    case SEEK_END:
        base = size_of(f->priv);
        break;
    default:
        return -EINVAL;
    }
    if (__builtin_add_overflow(base, offset, &pos))
        return -EOVERFLOW;
    if (pos < 0)
        return -EINVAL;
    f->pos = pos;
    return pos;
}

static uint32_t hostfd_poll(struct file *f, uint32_t events)
{
    struct hostfd *h = f->priv;
    if (h->kind == HOSTFD_FILE)
        return events & (POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM);
    return ready(h, events);
}

static struct wait_queue *hostfd_poll_queue(struct file *f)
{
    struct hostfd *h = f->priv;
    if (h->kind == HOSTFD_FILE)
        return NULL;
    watch(h);
    return &h->queue;
}

static long hostfd_ioctl(struct file *f, struct task *t, unsigned cmd, uint64_t arg)
{
    struct hostfd *h = f->priv;
    int n;
    switch (cmd) {
    case FIONREAD:
    case TIOCOUTQ:
        if (ioctl(h->fd, cmd, &n) < 0)
            return -errno;
        return MM_COPY_OUT(t->mm, arg, &n);
    default:
        return h->kind == HOSTFD_TTY ? hostfd_tty_ioctl(h, t, cmd, arg) : -ENOTTY;
    }
}

static int hostfd_fsync(struct file *f, UNUSED int64_t start, UNUSED int64_t end, bool data_only)
{
    struct hostfd *h = f->priv;
    return (data_only ? fdatasync(h->fd) : fsync(h->fd)) < 0 ? -errno : 0;
}

static int hostfd_fallocate(struct file *f, int mode, int64_t offset, int64_t length)
{
    struct hostfd *h = f->priv;
    if (h->kind != HOSTFD_FILE)
        return -ESPIPE;
    return fallocate(h->fd, mode, offset, length) < 0 ? -errno : 0;
}

static void hostfd_release(struct file *f)
{
    if (f->priv)
        hostfd_put(f->priv);
}

const struct file_ops hostfd_fops = {
    .read = hostfd_read,
    .write = hostfd_write,
    .llseek = hostfd_llseek,
    .ioctl = hostfd_ioctl,
    .poll = hostfd_poll,
    .poll_queue = hostfd_poll_queue,
    .fsync = hostfd_fsync,
    .fallocate = hostfd_fallocate,
    .can_async = true,
    .release = hostfd_release,
};

static const struct file_ops reopened_fops = {
    .read = hostfd_read,
    .write = hostfd_write,
    .llseek = reopened_llseek,
    .fsync = hostfd_fsync,
    .fallocate = hostfd_fallocate,
    .release = hostfd_release,
};

/* Again, through /proc/self/fd: the same host description, which is all that there is of a stream.
 */
static int hostfd_open(struct inode *i, struct file *f, UNUSED struct task *t)
{
    struct hostfd *h = i->priv;
    if (h->kind == HOSTFD_SOCKET)
        return -ENXIO;
    f->priv = hostfd_get(h);
    f->ops = h->kind == HOSTFD_FILE ? &reopened_fops : &hostfd_fops;
    f->stream = h->kind != HOSTFD_FILE;
    return 0;
}

static struct timestamp stamp(struct timespec ts)
{
    return (struct timestamp){ts.tv_sec, (uint32_t)ts.tv_nsec};
}

static int hostfd_getattr(struct inode *i, struct kstat *out)
{
    struct hostfd *h = i->priv;
    struct stat st;
    inode_fill_stat(i, out);
    if (fstat(h->fd, &st) < 0)
        return -errno;
    out->mode = st.st_mode;
    out->rdev = st.st_rdev;
    out->nlink = (uint32_t)st.st_nlink;
    out->uid = st.st_uid;
    out->gid = st.st_gid;
    out->size = (uint64_t)st.st_size;
    out->blocks = (uint64_t)st.st_blocks;
    out->blksize = (uint32_t)st.st_blksize;
    out->atime = stamp(st.st_atim);
    out->mtime = stamp(st.st_mtim);
    out->ctime = stamp(st.st_ctim);
    out->has_btime = false;
    return 0;
}

static int hostfd_setattr(struct inode *i, const struct iattr *attr)
{
    struct hostfd *h = i->priv;
    if (attr->valid & (ATTR_MODE | ATTR_UID | ATTR_GID))
        return -EPERM;
    if (!(attr->valid & ATTR_SIZE))
        return 0;
    if (h->kind != HOSTFD_FILE)
        return -EINVAL;
    if (ftruncate(h->fd, (off_t)attr->size) < 0)
        return -errno;
    i->size = attr->size;
    return 0;
}

static void hostfd_evict(struct inode *i)
{
    hostfd_put(i->priv);
}

static const struct inode_ops hostfd_inode_ops = {
    .open = hostfd_open,
    .getattr = hostfd_getattr,
    .setattr = hostfd_setattr,
    .evict = hostfd_evict,
};

/* ---- taking a descriptor over ---- */

static enum hostfd_kind kind_of(int fd, const struct stat *st)
{
    if (S_ISREG(st->st_mode) || S_ISBLK(st->st_mode) || S_ISDIR(st->st_mode))
        return HOSTFD_FILE;
    if (S_ISFIFO(st->st_mode))
        return HOSTFD_PIPE;
    if (S_ISSOCK(st->st_mode))
        return HOSTFD_SOCKET;
    if (isatty(fd))
        return HOSTFD_TTY;
    /* /dev/null and its like never block, and cannot be waited for. */
    return S_ISCHR(st->st_mode) && major(st->st_rdev) == 1 ? HOSTFD_FILE : HOSTFD_OTHER;
}

/* A description of our own, which may have O_NONBLOCK. */
static void reopen(struct hostfd *h, int flags)
{
    char path[32];
    if (h->kind != HOSTFD_PIPE && h->kind != HOSTFD_TTY)
        return;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", h->fd);
    int fd = open(path, (flags & (O_ACCMODE | O_APPEND)) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return;
    close(h->fd);
    h->fd = fd;
    h->own_description = true;
}

static void describe(const struct hostfd *h, const struct stat *st, char *buf, size_t size)
{
    unsigned long long ino = st->st_ino;
    if (h->kind == HOSTFD_PIPE)
        snprintf(buf, size, "pipe:[%llu]", ino);
    else if (h->kind == HOSTFD_SOCKET)
        snprintf(buf, size, "socket:[%llu]", ino);
    else if (S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3))
        snprintf(buf, size, "/dev/null");
    else if (h->kind != HOSTFD_TTY || ttyname_r(h->fd, buf, size))
        snprintf(buf, size, "host:[%llu]", ino);
}

/* The terminal is /dev/pts/0: whoever looks the name up finds what the descriptor says. */
static int make_tty_file(struct kernel *k, struct hostfd *h, unsigned flags,
                         const struct cred *cred, struct file **out)
{
    struct path_ref p;
    int err = vfs_boot_lookup(k, "/dev/pts/0", &p);
    if (err)
        return err;
    struct file *f = file_create(k, p.mnt, p.dentry, flags, &hostfd_fops, h, cred);
    path_put(&p);
    if (!f)
        return -ENOMEM;
    f->stream = true;
    *out = f;
    return 0;
}

static int make_file(struct kernel *k, struct hostfd *h, const struct stat *st, int flags,
                     const struct cred *cred, struct file **out)
{
    unsigned keep = (unsigned)flags & (O_ACCMODE | O_APPEND | O_NONBLOCK | O_LARGEFILE);
    if (h->kind == HOSTFD_TTY && make_tty_file(k, h, keep, cred, out) == 0)
        return 0;
    char name[64];
    /* A FIFO's mode would have the VFS open it as one of its own. */
    uint32_t mode = S_ISFIFO(st->st_mode) ? S_IFCHR | (st->st_mode & 07777) : st->st_mode;
    struct inode *i =
        inode_create(k->vfs->anon_sb, st->st_ino, mode, &hostfd_inode_ops, &hostfd_fops);
    if (!i)
        return -ENOMEM;
    i->priv = hostfd_get(h);
    i->uid = st->st_uid;
    i->gid = st->st_gid;
    i->rdev = st->st_rdev;
    i->size = (uint64_t)st->st_size;
    describe(h, st, name, sizeof(name));
    struct dentry *d = d_make_anon(k->vfs->anon_sb, name, i);
    if (!d)
        return -ENOMEM;
    struct file *f = file_create(k, k->vfs->anon_mnt, d, keep, &hostfd_fops, h, cred);
    dentry_put(d);
    if (!f)
        return -ENOMEM;
    f->stream = h->kind != HOSTFD_FILE;
    *out = f;
    return 0;
}

int hostfd_create(struct kernel *k, int host_fd, const struct cred *cred, struct file **out)
{
    struct stat st;
    int flags = fcntl(host_fd, F_GETFL);
    if (flags < 0 || fstat(host_fd, &st) < 0)
        return -errno;
    struct hostfd *h = calloc(1, sizeof(*h));
    if (!h)
        return -ENOMEM;
    ref_init(&h->ref);
    h->kernel = k;
    h->fd = host_fd;
    h->kind = kind_of(host_fd, &st);
    wait_queue_init(&h->queue);
    mutex_init(&h->watch_lock, LOCK_FILE);
    reopen(h, flags);
    int err = h->kind == HOSTFD_TTY ? hostfd_register_tty(k, h) : 0;
    if (!err)
        err = make_file(k, h, &st, flags, cred, out);
    if (err)
        hostfd_put(h);
    return err;
}
