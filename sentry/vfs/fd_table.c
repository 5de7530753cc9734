/*
 * Descriptor tables: an array of descriptions with two bitmaps.
 *
 *      files     [f0][f1][  ][f3] ...      NULL where free
 *      open       1   1   0   1            also 1 while a descriptor is reserved
 *      cloexec    0   0   0   1
 *
 * The lowest free descriptor is found by words of the open bitmap from `hint`, below which none is
 * free. A table that only its own task uses is looked up without the lock: nobody else writes it.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/internal.h"
#include <stdlib.h>
#include <string.h>

#define FD_MAX (1 << 20) /* fs.nr_open */
#define WORD_BITS 64u

struct fd_table {
    struct refcount ref;
    struct mutex lock; /* FD_TABLE */
    struct file **files;
    uint64_t *open, *cloexec;
    unsigned size; /* a multiple of WORD_BITS */
    unsigned hint; /* no descriptor below it is free */
};

static bool bit_test(const uint64_t *map, unsigned n)
{
    return map[n / WORD_BITS] >> (n % WORD_BITS) & 1;
}
static void bit_assign(uint64_t *map, unsigned n, bool on)
{
    uint64_t bit = 1ull << (n % WORD_BITS);
    map[n / WORD_BITS] = on ? map[n / WORD_BITS] | bit : map[n / WORD_BITS] & ~bit;
}

/* Makes room for descriptor n. Lock held, or nobody else knows ft. */
static int fd_table_grow(struct fd_table *ft, unsigned n)
{
    if (n < ft->size)
        return 0;
    unsigned size = ft->size ? ft->size : WORD_BITS;
    while (size <= n)
        size *= 2;
    struct file **files = calloc(size, sizeof *files);
    uint64_t *maps = calloc(size / WORD_BITS, 2 * sizeof *maps);
    if (!files || !maps) {
        free(files);
        free(maps);
        return -ENOMEM;
    }
    uint64_t *cloexec = maps + size / WORD_BITS;
    if (ft->size) {
        memcpy(files, ft->files, ft->size * sizeof *files);
        memcpy(maps, ft->open, ft->size / 8);
        memcpy(cloexec, ft->cloexec, ft->size / 8);
    }
    free(ft->files);
    free(ft->open);
    ft->files = files;
    ft->open = maps;
    ft->cloexec = cloexec;
    ft->size = size;
    return 0;
}

struct fd_table *fd_table_create(void)
{
    struct fd_table *ft = calloc(1, sizeof *ft);
    if (!ft)
        return NULL;
    ref_init(&ft->ref);
    mutex_init(&ft->lock, LOCK_FD_TABLE);
    if (fd_table_grow(ft, 0) < 0) {
        mutex_destroy(&ft->lock);
        free(ft);
        return NULL;
    }
    return ft;
}

struct fd_table *fd_table_get(struct fd_table *ft)
{
    ref_get(&ft->ref);
    return ft;
}

/* What close does to a description, once it is off the table. */
static int file_close(struct task *t, const struct fd_table *ft, struct file *f)
{
    int err = 0;
    if (!(f->flags & O_PATH)) {
        locks_close(ft, f);
        if (f->ops->flush && t)
            err = f->ops->flush(f, t);
    }
    file_put(f);
    return err;
}

static void fd_table_drop(struct fd_table *ft, struct task *t)
{
    if (!ref_put(&ft->ref))
        return;
    for (unsigned w = 0; w < ft->size / WORD_BITS; w++) {
        while (ft->open[w]) {
            unsigned fd = w * WORD_BITS + (unsigned)__builtin_ctzll(ft->open[w]);
            bit_assign(ft->open, fd, false);
            if (ft->files[fd])
                file_close(t, ft, ft->files[fd]);
        }
    }
    mutex_destroy(&ft->lock);
    free(ft->files);
    free(ft->open);
    free(ft);
}

void fd_table_put(struct fd_table *ft)
{
    if (ft)
        fd_table_drop(ft, NULL);
}

void fd_table_exit(struct task *t)
{
    mutex_lock(&t->lock);
    struct fd_table *ft = t->files;
    t->files = NULL;
    mutex_unlock(&t->lock);
    if (ft)
        fd_table_drop(ft, t);
}

int fd_table_copy(struct fd_table *ft, struct fd_table **out)
{
    struct fd_table *copy = fd_table_create();
    if (!copy)
        return -ENOMEM;
    MUTEX_GUARD(&ft->lock);
    unsigned top = ft->size / WORD_BITS;
    while (top > 1 && !ft->open[top - 1])
        top--;
    if (fd_table_grow(copy, top * WORD_BITS - 1) < 0) {
        fd_table_put(copy);
        return -ENOMEM;
    }
    for (unsigned w = 0; w < top; w++) {
        for (uint64_t bits = ft->open[w]; bits; bits &= bits - 1) {
            unsigned fd = w * WORD_BITS + (unsigned)__builtin_ctzll(bits);
            if (!ft->files[fd])
                continue;
            copy->files[fd] = file_get(ft->files[fd]);
            bit_assign(copy->open, fd, true);
            bit_assign(copy->cloexec, fd, bit_test(ft->cloexec, fd));
        }
    }
    *out = copy;
    return 0;
}

int fd_table_unshare(struct task *t)
{
    struct fd_table *old = t->files, *copy;
    if (ref_read(&old->ref) == 1)
        return 0;
    int err = fd_table_copy(old, &copy);
    if (err)
        return err;
    mutex_lock(&t->lock);
    t->files = copy;
    mutex_unlock(&t->lock);
    fd_table_drop(old, t);
    return 0;
}

struct file *fd_get_path(struct task *t, int fd)
{
    struct fd_table *ft = t->files;
    struct file *f = NULL;
    if (ref_read(&ft->ref) == 1) {
        if ((unsigned)fd < ft->size && (f = ft->files[fd]))
            file_get(f);
        return f;
    }
    mutex_lock(&ft->lock);
    if ((unsigned)fd < ft->size && (f = ft->files[fd]))
        file_get(f);
    mutex_unlock(&ft->lock);
    return f;
}

struct file *fd_get(struct task *t, int fd)
{
    struct file *f = fd_get_path(t, fd);
    if (f && unlikely(f->flags & O_PATH)) {
        file_put(f);
        return NULL;
    }
    return f;
}

static unsigned fd_limit(struct task *t)
{
    uint64_t limit = task_rlimit(t, RLIMIT_NOFILE);
    return limit < FD_MAX ? (unsigned)limit : FD_MAX;
}

/* The lowest free descriptor >= min (perhaps just beyond the table). Lock held. */
static unsigned fd_find_free(struct fd_table *ft, unsigned min)
{
    unsigned start = MAX(min, ft->hint);
    for (unsigned w = start / WORD_BITS; w < ft->size / WORD_BITS; w++) {
        uint64_t avail = ~ft->open[w];
        if (w == start / WORD_BITS)
            avail &= ~0ull << (start % WORD_BITS);
        if (avail)
            return w * WORD_BITS + (unsigned)__builtin_ctzll(avail);
    }
    return MAX(start, ft->size);
}

int fd_install(struct task *t, struct file *f, int min, bool cloexec)
{
    struct fd_table *ft = t->files;
    unsigned limit = fd_limit(t);
    if (min < 0 || (unsigned)min >= limit)
        return min == 0 ? -EMFILE : -EINVAL;
    MUTEX_GUARD(&ft->lock);
    unsigned fd = fd_find_free(ft, (unsigned)min);
    if (fd >= limit)
        return -EMFILE;
    int err = fd_table_grow(ft, fd);
    if (err)
        return err;
    if ((unsigned)min <= ft->hint)
        ft->hint = fd + 1;
    ft->files[fd] = file_get(f);
    bit_assign(ft->open, fd, true);
    bit_assign(ft->cloexec, fd, cloexec);
    return (int)fd;
}

int fd_room(struct task *t)
{
    struct fd_table *ft = t->files;
    MUTEX_GUARD(&ft->lock);
    return fd_find_free(ft, 0) < fd_limit(t) ? 0 : -EMFILE;
}

int fd_install_at(struct task *t, struct file *f, int newfd, bool cloexec)
{
    struct fd_table *ft = t->files;
    if (newfd < 0 || (unsigned)newfd >= fd_limit(t))
        return -EBADF;
    mutex_lock(&ft->lock);
    int err = fd_table_grow(ft, (unsigned)newfd);
    struct file *old = NULL;
    if (!err) {
        old = ft->files[newfd];
        ft->files[newfd] = file_get(f);
        bit_assign(ft->open, (unsigned)newfd, true);
        bit_assign(ft->cloexec, (unsigned)newfd, cloexec);
    }
    mutex_unlock(&ft->lock);
    if (old)
        file_close(t, ft, old);
    return err ? err : newfd;
}

/* Takes fd off the table. Lock held. */
static struct file *fd_take(struct fd_table *ft, unsigned fd)
{
    struct file *f = fd < ft->size ? ft->files[fd] : NULL;
    if (!f)
        return NULL;
    ft->files[fd] = NULL;
    bit_assign(ft->open, fd, false);
    bit_assign(ft->cloexec, fd, false);
    ft->hint = MIN(ft->hint, fd);
    return f;
}

int fd_close(struct task *t, int fd)
{
    struct fd_table *ft = t->files;
    mutex_lock(&ft->lock);
    struct file *f = fd_take(ft, (unsigned)fd);
    mutex_unlock(&ft->lock);
    return f ? file_close(t, ft, f) : -EBADF;
}

int fd_close_range(struct task *t, unsigned first, unsigned last, bool only_cloexec_flag)
{
    struct fd_table *ft = t->files;
    for (uint64_t fd = first; fd <= last; fd++) {
        mutex_lock(&ft->lock);
        struct file *f = NULL;
        if (fd >= ft->size) {
            mutex_unlock(&ft->lock);
            break;
        }
        if (!ft->open[fd / WORD_BITS])
            fd |= WORD_BITS - 1;
        else if (!only_cloexec_flag)
            f = fd_take(ft, (unsigned)fd);
        else if (ft->files[fd])
            bit_assign(ft->cloexec, (unsigned)fd, true);
        mutex_unlock(&ft->lock);
        if (f)
            file_close(t, ft, f);
    }
    return 0;
}

int fd_set_cloexec(struct task *t, int fd, bool on)
{
    struct fd_table *ft = t->files;
    MUTEX_GUARD(&ft->lock);
    if ((unsigned)fd >= ft->size || !ft->files[fd])
        return -EBADF;
    bit_assign(ft->cloexec, (unsigned)fd, on);
    return 0;
}

int fd_get_cloexec(struct task *t, int fd)
{
    struct fd_table *ft = t->files;
    MUTEX_GUARD(&ft->lock);
    if ((unsigned)fd >= ft->size || !ft->files[fd])
        return -EBADF;
    return bit_test(ft->cloexec, (unsigned)fd);
}

void fd_table_do_cloexec(struct task *t)
{
    struct fd_table *ft = t->files;
    for (unsigned w = 0;; w++) {
        mutex_lock(&ft->lock);
        if (w >= ft->size / WORD_BITS) {
            mutex_unlock(&ft->lock);
            return;
        }
        while (ft->cloexec[w]) {
            struct file *f = fd_take(ft, w * WORD_BITS + (unsigned)__builtin_ctzll(ft->cloexec[w]));
            mutex_unlock(&ft->lock);
            file_close(t, ft, f);
            mutex_lock(&ft->lock);
        }
        mutex_unlock(&ft->lock);
    }
}

int fd_table_next(struct fd_table *ft, int fd, struct file **out)
{
    MUTEX_GUARD(&ft->lock);
    for (unsigned n = fd < 0 ? 0 : (unsigned)fd; n < ft->size; n++) {
        if (!ft->open[n / WORD_BITS]) {
            n |= WORD_BITS - 1;
        } else if (ft->files[n]) {
            *out = file_get(ft->files[n]);
            return (int)n;
        }
    }
    return -1;
}
