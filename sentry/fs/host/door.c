#include "sentry/fs/host/door.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

/* ---- requests ---- */

static struct gofer_msg message(enum gofer_op op, uint32_t node)
{
    return (struct gofer_msg){.rq = {.op = (uint16_t)op, .node = {node}}};
}

static void set_name(struct gofer_msg *m, int k, const char *name)
{
    m->name[k] = name;
    m->rq.len[k] = (uint32_t)strlen(name) + 1;
}

static struct gofer_msg message_at(enum gofer_op op, struct door_at at)
{
    struct gofer_msg m = message(op, at.node);
    set_name(&m, 0, at.path);
    m.rq.dev = at.dev;
    m.rq.ino = at.ino;
    return m;
}

static struct gofer_msg message_new(enum gofer_op op, uint32_t dir, const struct door_new *new)
{
    struct gofer_msg m = message(op, dir);
    m.rq.mode = new->mode;
    m.rq.uid = new->uid;
    m.rq.gid = new->gid;
    return m;
}

static void set_room(struct gofer_msg *m, void *data, size_t size)
{
    m->data = data;
    m->rq.size = (uint32_t)MIN(size, (size_t)GOFER_DATA_MAX);
}

int door_lookup(const struct door *d, struct door_at at, unsigned want, struct door_found *out)
{
    struct gofer_msg m = message_at(GOFER_LOOKUP, at);
    m.rq.flags = want;
    m.wants_fd = want & GOFER_WANT_FILE;
    if (out->target)
        set_room(&m, out->target, PATH_MAX - 1);
    int err = gofer_call(d->gofer, &m);
    if (err)
        return err;
    out->stx = m.reply.attr;
    out->node = m.reply.node;
    out->fd = m.fd;
    out->target_len = m.reply.len;
    if (out->target)
        out->target[m.reply.len] = 0;
    return 0;
}

int door_stat_at(const struct door *d, struct door_at at, struct statx *out)
{
    struct gofer_msg m = message_at(GOFER_LOOKUP, at);
    int err = gofer_call(d->gofer, &m);
    if (!err)
        *out = m.reply.attr;
    return err;
}

int door_open_dir(const struct door *d, struct door_at at, uint32_t *node)
{
    struct gofer_msg m = message_at(GOFER_OPEN, at);
    m.rq.flags = O_DIRECTORY;
    int err = gofer_call(d->gofer, &m);
    if (!err && !m.reply.node)
        err = -EIO;
    *node = m.reply.node;
    return err;
}

int door_open_file(const struct door *d, struct door_at at, int flags)
{
    struct gofer_msg m = message_at(GOFER_OPEN, at);
    if (d->read_only && flags != O_RDONLY)
        return -EROFS;
    m.rq.flags = (uint32_t)flags;
    m.wants_fd = true;
    int err = gofer_call(d->gofer, &m);
    if (err)
        return err;
    return m.fd < 0 ? -ENFILE : m.fd;
}

void door_close_node(const struct door *d, uint32_t node)
{
    gofer_close_node(d->gofer, node);
}

/* Each record lies within the rest, and its name ends within it and is a single one. */
static int check_records(const char *buf, size_t size)
{
    for (size_t at = 0; at < size;) {
        const struct dirent64 *e = (const void *)(buf + at);
        size_t left = size - at, head = offsetof(struct dirent64, d_name);
        if (left <= head || e->d_reclen <= head || e->d_reclen > left || e->d_reclen % 8)
            return -EIO;
        size_t room = e->d_reclen - head, len = strnlen(e->d_name, room);
        if (!len || len == room || len > NAME_MAX || memchr(e->d_name, '/', len))
            return -EIO;
        at += e->d_reclen;
    }
    return 0;
}

ssize_t door_list(const struct door *d, struct door_at dir, bool rewind, struct door_list *out)
{
    struct gofer_msg m = message_at(GOFER_LIST, dir);
    m.rq.flags = rewind;
    set_room(&m, out->buf, GOFER_DATA_MAX);
    int err = gofer_call(d->gofer, &m);
    if (!err)
        err = check_records(out->buf, m.reply.len);
    out->end = m.reply.value;
    out->node = m.reply.node;
    return err ? err : (ssize_t)m.reply.len;
}

/* One entry, at *at of the answer, and where the next is. */
static int take_entry(const struct gofer_msg *m, size_t *at, struct door_found *out)
{
    const uint8_t *data = m->data;
    struct gofer_batch_entry e;
    size_t left = m->reply.len - *at;
    if (left < sizeof(e))
        return -EIO;
    memcpy(&e, data + *at, sizeof(e));
    size_t padded = ((size_t)e.len + 7) & ~(size_t)7;
    bool list = e.has & GOFER_HAS_LIST;
    if (e.error > 0 || e.error < -4095 || padded > left - sizeof(e) ||
        (list && e.len > GOFER_DATA_MAX))
        return -EIO;
    *out = (struct door_found){.error = e.error, .stx = e.attr, .fd = -1, .has_list = list};
    out->data = data + *at + sizeof(e);
    out->len = e.len;
    out->has_file = e.has & GOFER_HAS_FILE;
    *at += sizeof(e) + padded;
    uint32_t mode = out->stx.stx_mode;
    if ((list && !S_ISDIR(mode)) || (out->has_file && !S_ISREG(mode)))
        return -EIO;
    return list ? check_records((const char *)out->data, e.len) : 0;
}

static int take_entries(struct gofer_msg *m, struct door_found *out, unsigned max)
{
    unsigned n = 0, fds = 0;
    int err = 0;
    for (size_t at = 0; !err && at < m->reply.len; n++) {
        err = n < max ? take_entry(m, &at, &out[n]) : -EIO;
        if (!err && out[n].has_file && fds < m->nfds)
            out[n].fd = m->fds[fds++];
    }
    if (!err && fds == m->nfds)
        return (int)n;
    for (unsigned k = 0; k < m->nfds; k++)
        close(m->fds[k]);
    return -EIO;
}

int door_batch(const struct door *d, struct door_at dir, struct door_names names, unsigned want,
               void *buf, struct door_found *out)
{
    int fds[GOFER_BATCH_MAX];
    struct gofer_msg m = message_at(GOFER_BATCH, dir);
    m.name[1] = names.text;
    m.rq.len[1] = (uint32_t)names.len;
    m.rq.flags = want;
    m.fds = fds;
    set_room(&m, buf, GOFER_DATA_MAX);
    int err = gofer_call(d->gofer, &m);
    return err ? err : take_entries(&m, out, names.count);
}

ssize_t door_readlink(const struct door *d, struct door_at at, char *buf, size_t size)
{
    struct gofer_msg m = message_at(GOFER_READLINK, at);
    set_room(&m, buf, size);
    int err = gofer_call(d->gofer, &m);
    return err ? err : (ssize_t)m.reply.len;
}

int door_statfs(const struct door *d, struct statfs *out)
{
    struct gofer_msg m = message(GOFER_STATFS, d->root);
    set_room(&m, out, sizeof(*out));
    int err = gofer_call(d->gofer, &m);
    return !err && m.reply.len != sizeof(*out) ? -EIO : err;
}

static int sync_node(const struct door *d, uint32_t node, uint32_t flags)
{
    struct gofer_msg m = message(GOFER_SYNC, node);
    m.rq.flags = flags;
    return d->read_only ? 0 : gofer_call(d->gofer, &m);
}

int door_syncfs(const struct door *d)
{
    return sync_node(d, d->root, GOFER_SYNC_FS);
}

int door_sync_dir(const struct door *d, uint32_t node, bool data_only)
{
    return sync_node(d, node, data_only ? GOFER_SYNC_DATA : 0);
}

/* ---- changes ---- */

/* What changes the host. */
static int change(const struct door *d, struct gofer_msg *m)
{
    return d->read_only ? -EROFS : gofer_call(d->gofer, m);
}

int door_create(const struct door *d, uint32_t dir, const char *name, const struct door_new *new,
                struct statx *stx, int *fd)
{
    struct gofer_msg m = message_new(GOFER_CREATE, dir, new);
    set_name(&m, 0, name);
    m.wants_fd = true;
    int err = change(d, &m);
    if (err)
        return err;
    *stx = m.reply.attr;
    *fd = m.fd;
    return 0;
}

int door_tmpfile(const struct door *d, uint32_t dir, const struct door_new *new, struct statx *stx,
                 uint32_t *node)
{
    struct gofer_msg m = message_new(GOFER_TMPFILE, dir, new);
    m.wants_fd = true;
    int err = change(d, &m);
    if (err)
        return err;
    *stx = m.reply.attr;
    *node = m.reply.node;
    if (m.fd < 0)
        door_close_node(d, *node);
    return m.fd < 0 ? -ENFILE : m.fd;
}

int door_make(const struct door *d, uint32_t dir, const char *name, const char *target,
              const struct door_new *new, struct statx *stx)
{
    struct gofer_msg m = message_new(GOFER_MAKE, dir, new);
    set_name(&m, 0, name);
    set_name(&m, 1, target ? target : "");
    int err = change(d, &m);
    if (!err)
        *stx = m.reply.attr;
    return err;
}

static int change_two(const struct door *d, struct gofer_msg *m, uint32_t dir, const char *name)
{
    m->rq.node[1] = dir;
    set_name(m, 1, name);
    return change(d, m);
}

int door_link(const struct door *d, struct door_at old, uint32_t dir, const char *name)
{
    struct gofer_msg m = message_at(GOFER_LINK, old);
    return change_two(d, &m, dir, name);
}

int door_link_file(const struct door *d, uint32_t file, uint32_t dir, const char *name)
{
    struct gofer_msg m = message(GOFER_LINK_FILE, file);
    return change_two(d, &m, dir, name);
}

int door_unlink(const struct door *d, uint32_t dir, const char *name, bool directory)
{
    struct gofer_msg m = message(GOFER_UNLINK, dir);
    set_name(&m, 0, name);
    m.rq.flags = directory;
    return change(d, &m);
}

int door_rename(const struct door *d, uint32_t old_dir, const char *old, uint32_t dir,
                const char *name, unsigned flags)
{
    struct gofer_msg m = message(GOFER_RENAME, old_dir);
    set_name(&m, 0, old);
    m.rq.flags = flags;
    return change_two(d, &m, dir, name);
}

int door_setattr(const struct door *d, struct door_at at, const struct door_change *c,
                 struct statx *stx)
{
    struct gofer_msg m = message_at(GOFER_SETATTR, at);
    m.rq.valid = c->valid;
    m.rq.mode = c->mode;
    m.rq.uid = c->uid;
    m.rq.gid = c->gid;
    for (int k = 0; k < 2; k++) {
        m.rq.sec[k] = c->times[k].tv_sec;
        m.rq.nsec[k] = (uint32_t)c->times[k].tv_nsec;
    }
    int err = change(d, &m);
    if (!err)
        *stx = m.reply.attr;
    return err;
}

static ssize_t get_xattr(const struct door *d, struct gofer_msg *m, void *buf, size_t size)
{
    set_room(m, buf, MIN(size, (size_t)GOFER_XATTR_MAX));
    int err = gofer_call(d->gofer, m);
    if (err)
        return err;
    return (ssize_t)(size ? m->reply.len : MIN(m->reply.value, (uint64_t)GOFER_XATTR_MAX));
}

ssize_t door_getxattr(const struct door *d, struct door_at at, const char *attr, void *value,
                      size_t size)
{
    struct gofer_msg m = message_at(GOFER_GETXATTR, at);
    set_name(&m, 1, attr);
    return get_xattr(d, &m, value, size);
}

ssize_t door_listxattr(const struct door *d, struct door_at at, char *list, size_t size)
{
    struct gofer_msg m = message_at(GOFER_LISTXATTR, at);
    return get_xattr(d, &m, list, size);
}

int door_setxattr(const struct door *d, struct door_at at, const char *attr, const void *value,
                  size_t size, int flags)
{
    size_t head = strlen(attr) + 1;
    if (size > GOFER_XATTR_MAX)
        return -E2BIG;
    char *both = malloc(head + size);
    if (!both)
        return -ENOMEM;
    memcpy(both, attr, head);
    if (size)
        memcpy(both + head, value, size);
    struct gofer_msg m = message_at(GOFER_SETXATTR, at);
    m.name[1] = both;
    m.rq.len[1] = (uint32_t)(head + size);
    m.rq.flags = (uint32_t)flags;
    int err = change(d, &m);
    free(both);
    return err;
}

int door_removexattr(const struct door *d, struct door_at at, const char *attr)
{
    struct gofer_msg m = message_at(GOFER_REMOVEXATTR, at);
    set_name(&m, 1, attr);
    return change(d, &m);
}

/* ---- descriptors ---- */

#define RETURN_CALL(call)                                                                          \
    do {                                                                                           \
        __auto_type result_ = (call);                                                              \
        return result_ < 0 ? -errno : result_;                                                     \
    } while (0)

static int64_t again(int64_t r)
{
    return r < 0 ? -errno : r;
}

int door_stat_fd(int fd, struct statx *out)
{
    RETURN_CALL(statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, (void *)out));
}

int64_t door_seek(int fd, int64_t offset, int whence)
{
    RETURN_CALL(lseek(fd, offset, whence));
}

void door_close(int fd)
{
    close(fd);
}

int door_dup(int fd)
{
    RETURN_CALL(fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

bool door_noexec(int fd)
{
    struct statvfs v;
    return fstatvfs(fd, &v) == 0 && (v.f_flag & ST_NOEXEC);
}

ssize_t door_read(int fd, const struct iovec *iov, int n, int64_t pos, int rwf)
{
    int64_t r;
    do {
        r = again(preadv2(fd, iov, n, pos, rwf));
    } while (r == -EINTR);
    return r;
}

ssize_t door_write(const struct door *d, int fd, const struct iovec *iov, int n, int64_t pos,
                   int rwf)
{
    if (d->read_only)
        return -EROFS;
    int64_t r;
    do {
        r = again(pwritev2(fd, iov, n, pos, rwf));
    } while (r == -EINTR);
    return r;
}

int door_truncate(const struct door *d, int fd, uint64_t size)
{
    if (d->read_only)
        return -EROFS;
    RETURN_CALL(ftruncate(fd, (off_t)size));
}

int door_fallocate(const struct door *d, int fd, int mode, int64_t offset, int64_t length)
{
    if (d->read_only)
        return -EROFS;
    int64_t r;
    do {
        r = again(fallocate(fd, mode, offset, length));
    } while (r == -EINTR);
    return (int)r;
}

int door_sync(int fd, bool data_only)
{
    RETURN_CALL(data_only ? fdatasync(fd) : fsync(fd));
}

int door_setattr_fd(const struct door *d, int fd, const struct door_change *c, struct statx *stx)
{
    int r = 0;
    if (d->read_only)
        return -EROFS;
    if (c->valid & (GOFER_SET_UID | GOFER_SET_GID))
        r = fchown(fd, c->valid & GOFER_SET_UID ? c->uid : (uid_t)-1,
                   c->valid & GOFER_SET_GID ? c->gid : (gid_t)-1);
    if (r == 0 && (c->valid & GOFER_SET_MODE))
        r = fchmod(fd, c->mode & 07777);
    if (r == 0 && (c->valid & (GOFER_SET_ATIME | GOFER_SET_MTIME))) {
        struct timespec ts[2] = {c->times[0], c->times[1]};
        if (!(c->valid & GOFER_SET_ATIME))
            ts[0].tv_nsec = UTIME_OMIT;
        if (!(c->valid & GOFER_SET_MTIME))
            ts[1].tv_nsec = UTIME_OMIT;
        r = futimens(fd, ts);
    }
    return r < 0 ? -errno : door_stat_fd(fd, stx);
}

ssize_t door_getxattr_fd(int fd, const char *attr, void *value, size_t size)
{
    RETURN_CALL(attr ? fgetxattr(fd, attr, value, size) : flistxattr(fd, value, size));
}

int door_setxattr_fd(const struct door *d, int fd, const char *attr, const void *value, size_t size,
                     int flags)
{
    if (d->read_only)
        return -EROFS;
    RETURN_CALL(value ? fsetxattr(fd, attr, value, size, flags) : fremovexattr(fd, attr));
}
