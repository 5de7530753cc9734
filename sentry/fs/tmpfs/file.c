/*
 * tmpfs files: reading, writing, space, seals; and the operations of links and special files.
 */
#include "sentry/fs/dev/dev.h"
#include "sentry/fs/tmpfs/tmpfs.h"
#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define WRITE_UNIT (2ull << 20) /* reserved at a time */

static ssize_t tmpfs_read(struct file *f, struct uio *u, int64_t *pos, UNUSED int rwf)
{
    struct inode *i = f->inode;
    struct tmpfs_file *tf = tmpfs_file(i);
    ssize_t total = 0, moved = 0;
    rwlock_read(&i->lock);
    while (u->resid && *pos >= 0 && (uint64_t)*pos < i->size) {
        char *p;
        uint64_t n;
        tmpfs_find(tf, (uint64_t)*pos, &p, &n);
        n = MIN(n, i->size - (uint64_t)*pos);
        n = MIN(n, u->resid);
        moved = p ? uio_copy_to(u, p, n) : uio_zero_to(u, n);
        if (moved <= 0)
            break;
        *pos += moved;
        total += moved;
        if ((uint64_t)moved < n)
            break;
    }
    rwlock_unlock(&i->lock);
    return total ? total : moved;
}

/* Into fresh pages: the host fills them. */
static ssize_t fill_stretch(struct tmpfs_super *ts, struct uio *u, const char *p, uint64_t n)
{
    struct uio_pin pin;
    ssize_t got = uio_pin(u, &pin, n, ACCESS_READ);
    if (got <= 0)
        return got;
    got = memory_file_fill(ts->memory, (uint64_t)(p - ts->memory->file.window), pin.blocks,
                           pin.nblocks);
    uio_unpin(&pin);
    if (got > 0)
        uio_skip(u, (uint64_t)got);
    return got;
}

#define FILL_MIN 1024u

/* One reserved stretch. Returns bytes moved, or -errno. */
static ssize_t write_unit(struct inode *i, struct uio *u, int64_t pos, uint64_t n)
{
    struct tmpfs_file *tf = tmpfs_file(i);
    uint64_t start = page_down((uint64_t)pos), end = page_down((uint64_t)pos + n + PAGE_SIZE - 1);
    uint64_t done, fresh;
    mutex_lock(&tf->data_lock);
    int err = tmpfs_reserve(tf, start, end, true, &done, &fresh);
    mutex_unlock(&tf->data_lock);
    if (done <= (uint64_t)pos)
        return err;
    n = MIN(n, done - (uint64_t)pos);
    ssize_t total = 0, moved = 0;
    while (n) {
        char *p;
        uint64_t len;
        tmpfs_find(tf, (uint64_t)pos, &p, &len);
        len = MIN(len, n);
        if ((uint64_t)pos < fresh)
            len = MIN(len, fresh - (uint64_t)pos);
        moved = (uint64_t)pos >= fresh && len >= FILL_MIN
                    ? fill_stretch(tmpfs_super(i->sb), u, p, len)
                    : uio_copy_from(u, p, len);
        if (moved <= 0)
            break;
        pos += moved;
        total += moved;
        n -= (uint64_t)moved;
        if ((uint64_t)pos > i->size)
            i->size = (uint64_t)pos;
    }
    return total ? total : moved ? moved : err;
}

/* A write goes page by page: under F_SEAL_GROW it ends before the first page in which it would make
 * the file longer. */
static int check_write_seals(const struct tmpfs_file *tf, int64_t pos, uint64_t *n)
{
    unsigned seals = tf->seals;
    uint64_t size = tf->node.inode->size;
    if (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
        return -EPERM;
    if (!(seals & F_SEAL_GROW) || (uint64_t)pos + *n <= size)
        return 0;
    if (page_down(size) <= (uint64_t)pos)
        return -EPERM;
    *n = page_down(size) - (uint64_t)pos;
    return 0;
}

static ssize_t write_locked(struct file *f, struct uio *u, int64_t *pos)
{
    struct inode *i = f->inode;
    uint64_t n = u->resid;
    int err = vfs_write_limit(f, *pos, &n);
    if (!err)
        err = check_write_seals(tmpfs_file(i), *pos, &n);
    if (err)
        return err;
    uint64_t size = i->size;
    if ((uint64_t)*pos > size && !page_aligned(size))
        tmpfs_zero(tmpfs_file(i), size, MIN((uint64_t)*pos, page_down(size) + PAGE_SIZE));
    ssize_t total = 0, moved = 0;
    while (n) {
        uint64_t unit = MIN(n, WRITE_UNIT - ((uint64_t)*pos & (WRITE_UNIT - 1)));
        moved = write_unit(i, u, *pos, unit);
        if (moved <= 0)
            break;
        *pos += moved;
        total += moved;
        n -= (uint64_t)moved;
        if ((uint64_t)moved < unit)
            break;
    }
    if (total)
        i->mtime = i->ctime = vfs_now(i->sb);
    return total ? total : moved;
}

static ssize_t tmpfs_write(struct file *f, struct uio *u, int64_t *pos, int rwf)
{
    struct inode *i = f->inode;
    if (!u->resid)
        return 0;
    rwlock_write(&i->lock);
    bool append = ((f->flags & O_APPEND) && !(rwf & RWF_NOAPPEND)) || (rwf & RWF_APPEND);
    if (append)
        *pos = (int64_t)i->size;
    ssize_t r = *pos < 0 ? -EINVAL : write_locked(f, u, pos);
    rwlock_unlock(&i->lock);
    return r;
}

static int64_t seek_data_hole(struct inode *i, int64_t offset, int whence)
{
    uint64_t size = i->size;
    if (offset < 0 || (uint64_t)offset >= size)
        return -ENXIO;
    uint64_t r = whence == SEEK_DATA ? tmpfs_next_data(tmpfs_file(i), (uint64_t)offset)
                                     : tmpfs_next_hole(tmpfs_file(i), (uint64_t)offset);
    if (whence == SEEK_DATA && r >= size)
        return -ENXIO;
    return (int64_t)MIN(r, size);
}

static int64_t tmpfs_llseek(struct file *f, int64_t offset, int whence)
{
    struct inode *i = f->inode;
    int64_t base = 0;
    switch (whence) {
    case SEEK_SET:
        break;
    case SEEK_CUR:
        base = f->pos;
        break;
    case SEEK_END:
        base = (int64_t)i->size;
        break;
    case SEEK_DATA:
    case SEEK_HOLE:
        rwlock_read(&i->lock);
        offset = seek_data_hole(i, offset, whence);
        rwlock_unlock(&i->lock);
        if (offset < 0)
            return offset;
        break;
    default:
        return -EINVAL;
    }
    if (__builtin_add_overflow(base, offset, &offset) || offset < 0)
        return -EINVAL;
    f->pos = offset;
    return offset;
}

static int punch(struct inode *i, uint64_t start, uint64_t end)
{
    struct tmpfs_file *tf = tmpfs_file(i);
    if (tf->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
        return -EPERM;
    uint64_t from = page_down(start + PAGE_SIZE - 1), to = page_down(end);
    if (from >= to) {
        tmpfs_zero(tf, start, end);
        return 0;
    }
    int err = tmpfs_drop(tf, from, to, UINT64_MAX, false);
    if (!err) {
        tmpfs_zero(tf, start, from);
        tmpfs_zero(tf, to, end);
    }
    return err;
}

static int preallocate(struct file *f, uint64_t start, uint64_t end, bool keep_size)
{
    struct inode *i = f->inode;
    struct tmpfs_file *tf = tmpfs_file(i);
    if ((tf->seals & F_SEAL_GROW) && end > i->size)
        return -EPERM;
    uint64_t from = page_down(start), to = page_down(end + PAGE_SIZE - 1), done;
    struct tmpfs_super *ts = tmpfs_super(i->sb);
    if (ts->max_pages && (to - from) >> PAGE_SHIFT > ts->max_pages)
        return -ENOSPC;
    mutex_lock(&tf->data_lock);
    int err = tmpfs_reserve(tf, from, to, false, &done, NULL);
    mutex_unlock(&tf->data_lock);
    if (err)
        return err;
    return !keep_size && end > i->size ? tmpfs_truncate(i, end) : 0;
}

static int tmpfs_fallocate(struct file *f, int mode, int64_t offset, int64_t length)
{
    struct inode *i = f->inode;
    int64_t end;
    if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE))
        return -EOPNOTSUPP;
    if ((mode & FALLOC_FL_PUNCH_HOLE) && !(mode & FALLOC_FL_KEEP_SIZE))
        return -EOPNOTSUPP;
    if (offset < 0 || length <= 0)
        return -EINVAL;
    if (__builtin_add_overflow(offset, length, &end) || end > INT64_MAX - (int64_t)PAGE_SIZE)
        return -EFBIG;
    rwlock_write(&i->lock);
    int err = mode & FALLOC_FL_PUNCH_HOLE
                  ? punch(i, (uint64_t)offset, (uint64_t)end)
                  : preallocate(f, (uint64_t)offset, (uint64_t)end, mode & FALLOC_FL_KEEP_SIZE);
    if (!err)
        i->mtime = i->ctime = vfs_now(i->sb);
    rwlock_unlock(&i->lock);
    return err;
}

static int tmpfs_mmap(struct file *f, struct mmap_opts *opts)
{
    struct tmpfs_file *tf = tmpfs_file(f->inode);
    if (!opts->is_private && (tf->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))) {
        if (opts->perms & ACCESS_WRITE)
            return -EPERM;
        opts->max_perms &= (access_t)~ACCESS_WRITE;
    }
    opts->mappable = &tf->mappable;
    return 0;
}

static int tmpfs_fsync(UNUSED struct file *f, UNUSED int64_t start, UNUSED int64_t end,
                       UNUSED bool data_only)
{
    return 0;
}

static void tmpfs_release(struct file *f)
{
    if (f->writable)
        tmpfs_trim_ahead(tmpfs_file(f->inode));
}

#define ALL_SEALS                                                                                  \
    (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_EXEC)

static int add_seals(struct file *f, unsigned seals)
{
    struct inode *i = f->inode;
    struct tmpfs_file *tf = tmpfs_file(i);
    if (!f->writable)
        return -EPERM;
    if (seals & ~(unsigned)ALL_SEALS)
        return -EINVAL;
    int err = 0;
    rwlock_write(&i->lock);
    mutex_lock(&tf->maps_lock);
    if (tf->seals & F_SEAL_SEAL)
        err = -EPERM;
    else if ((seals & F_SEAL_WRITE) && !(tf->seals & F_SEAL_WRITE) &&
             mapping_set_has_writable(&tf->maps, (struct mappable_range){0, page_down(UINT64_MAX)}))
        err = -EBUSY;
    if (!err) {
        /* A file that nobody may make executable any more, and that is, is sealed as code. */
        if ((seals & F_SEAL_EXEC) && (i->mode & 0111))
            seals |= F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_FUTURE_WRITE;
        tf->seals |= seals;
    }
    mutex_unlock(&tf->maps_lock);
    rwlock_unlock(&i->lock);
    return err;
}

static long tmpfs_fcntl(struct file *f, UNUSED struct task *t, unsigned cmd, uint64_t arg)
{
    switch (cmd) {
    case F_GET_SEALS:
        return tmpfs_file(f->inode)->seals;
    case F_ADD_SEALS:
        return arg > UINT32_MAX ? -EINVAL : add_seals(f, (unsigned)arg);
    default:
        return -EINVAL;
    }
}

/* The mode of a file sealed with F_SEAL_EXEC keeps its execute bits as they are. */
static int tmpfs_file_setattr(struct inode *i, const struct iattr *attr)
{
    if ((attr->valid & ATTR_MODE) && (tmpfs_file(i)->seals & F_SEAL_EXEC) &&
        ((attr->mode ^ i->mode) & 0111))
        return -EPERM;
    return tmpfs_setattr(i, attr);
}

const struct file_ops tmpfs_file_fops = {
    .read = tmpfs_read,
    .write = tmpfs_write,
    .llseek = tmpfs_llseek,
    .mmap = tmpfs_mmap,
    .fsync = tmpfs_fsync,
    .fallocate = tmpfs_fallocate,
    .release = tmpfs_release,
    .fcntl = tmpfs_fcntl,
};

#define COMMON_OPS                                                                                 \
    .getattr = tmpfs_getattr, .getxattr = tmpfs_getxattr, .setxattr = tmpfs_setxattr,              \
    .listxattr = tmpfs_listxattr, .removexattr = tmpfs_removexattr, .evict = tmpfs_evict

const struct inode_ops tmpfs_file_ops = {
    .setattr = tmpfs_file_setattr,
    COMMON_OPS,
};

static ssize_t tmpfs_readlink(struct inode *i, UNUSED struct task *t, char *buf, size_t size)
{
    const struct tmpfs_link *l = i->priv;
    if (!size)
        return -EINVAL;
    size_t n = MIN(l->length, size - 1);
    memcpy(buf, l->target, n);
    buf[n] = 0;
    return (ssize_t)n;
}

const struct inode_ops tmpfs_link_ops = {
    .readlink = tmpfs_readlink,
    .setattr = tmpfs_setattr,
    COMMON_OPS,
};

static int tmpfs_special_open(struct inode *i, struct file *f, struct task *t)
{
    return S_ISCHR(i->mode) || S_ISBLK(i->mode) ? dev_open(i, f, t) : -ENXIO;
}

const struct inode_ops tmpfs_special_ops = {
    .open = tmpfs_special_open,
    .setattr = tmpfs_setattr,
    COMMON_OPS,
};
