/*
 * The memory devices: null, zero, full, random, urandom. One table row a device, one function an
 * operation.
 */
#include "sentry/fs/dev/drivers.h"
#include "sentry/kernel/task.h"
#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

static ssize_t null_read(UNUSED struct file *f, UNUSED struct uio *u, UNUSED int64_t *pos,
                         UNUSED int rwf)
{
    return 0;
}

static ssize_t null_write(UNUSED struct file *f, struct uio *u, UNUSED int64_t *pos, UNUSED int rwf)
{
    uint64_t n = u->resid;
    uio_skip(u, n);
    return (ssize_t)n;
}

#define ZERO_UNIT (1ull << 20)

static ssize_t zero_read(UNUSED struct file *f, struct uio *u, UNUSED int64_t *pos, UNUSED int rwf)
{
    struct task *t = task_current();
    ssize_t total = 0;
    while (u->resid) {
        ssize_t n = uio_zero_to(u, MIN(u->resid, ZERO_UNIT));
        if (n <= 0)
            return total ? total : n;
        total += n;
        if (t && task_interrupted(t))
            break;
    }
    return total;
}

static ssize_t full_write(UNUSED struct file *f, struct uio *u, UNUSED int64_t *pos, UNUSED int rwf)
{
    return u->resid ? -ENOSPC : 0;
}

static ssize_t random_read(UNUSED struct file *f, struct uio *u, UNUSED int64_t *pos,
                           UNUSED int rwf)
{
    struct task *t = task_current();
    char buf[4096];
    ssize_t total = 0;
    while (u->resid) {
        size_t want = MIN(u->resid, sizeof(buf));
        ssize_t got = getrandom(buf, want, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return total ? total : -EIO;
        ssize_t n = uio_copy_to(u, buf, (size_t)got);
        if (n <= 0)
            return total ? total : n;
        total += n;
        if (n < got || (t && task_interrupted(t)))
            break;
    }
    explicit_bzero(buf, sizeof(buf));
    return total;
}

/* Mixing in what applications offer would add nothing to the host's pool. */
static ssize_t random_write(struct file *f, struct uio *u, int64_t *pos, int rwf)
{
    return null_write(f, u, pos, rwf);
}

/* Anonymous memory under the device's name. */
static int zero_mmap(UNUSED struct file *f, struct mmap_opts *opts)
{
    opts->hint = opts->is_private ? "/dev/zero" : "/dev/zero (deleted)";
    opts->mappable = NULL;
    opts->identity = NULL;
    opts->offset = 0;
    return 0;
}

static int64_t no_seek(UNUSED struct file *f, UNUSED int64_t offset, UNUSED int whence)
{
    return 0;
}

static const struct file_ops null_fops = {
    .read = null_read,
    .write = null_write,
    .llseek = no_seek,
};
static const struct file_ops zero_fops = {
    .read = zero_read,
    .write = null_write,
    .llseek = no_seek,
    .mmap = zero_mmap,
};
static const struct file_ops full_fops = {
    .read = zero_read,
    .write = full_write,
    .llseek = no_seek,
};
/* Always seeded; and nobody needs to add to it. */
static uint32_t random_poll(UNUSED struct file *f, UNUSED uint32_t events)
{
    return POLLIN | POLLRDNORM;
}

static const struct file_ops random_fops = {
    .read = random_read,
    .write = random_write,
    .llseek = no_seek,
    .ioctl = dev_random_ioctl,
    .poll = random_poll,
};
static const struct file_ops urandom_fops = {
    .read = random_read,
    .write = random_write,
    .llseek = no_seek,
    .ioctl = dev_random_ioctl,
};

const struct dev_driver dev_mem_drivers[] = {
    {1, 3, "null", 0666, &null_fops, NULL},       {1, 5, "zero", 0666, &zero_fops, NULL},
    {1, 7, "full", 0666, &full_fops, NULL},       {1, 8, "random", 0666, &random_fops, NULL},
    {1, 9, "urandom", 0666, &urandom_fops, NULL}, {0, 0, NULL, 0, NULL, NULL},
};
