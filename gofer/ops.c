/*
 * What the gofer does to the host, one function for each operation. Names and nodes were checked
 * (server.c). Nothing here follows a link, opens a device or a FIFO, or gives a directory away.
 */
#include "gofer/internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef SYS_getxattrat
#define SYS_getxattrat 464
#define SYS_listxattrat 465
#endif

/* linux/xattr.h of 6.13 */
struct xattr_at_args {
    uint64_t value __attribute__((aligned(8)));
    uint32_t size;
    uint32_t flags;
};

#define RECORD_MAX 280                /* bytes of a record of getdents64, at most */
#define BATCH_ROOM ((size_t)PATH_MAX) /* free for each name: a link's target, a small list */

static int result(long r)
{
    return r < 0 ? -errno : 0;
}

/* r bytes are in the answer; or -1 and errno. */
static int data(struct call *c, ssize_t r)
{
    if (r < 0)
        return -errno;
    c->answer->reply.len = (uint32_t)r;
    return 0;
}

static void give(struct gofer_answer *a, int fd)
{
    a->fds[a->reply.nfds++] = fd;
}

/* ---- opening ---- */

/* A regular file, and still the one that stx tells of; stx is what it is now. */
static int open_regular(const struct place *p, int flags, struct statx *stx)
{
    uint64_t ino = stx->stx_ino;
    uint32_t major = stx->stx_dev_major, minor = stx->stx_dev_minor;
    if (!S_ISREG(stx->stx_mode))
        return S_ISLNK(stx->stx_mode) ? -ELOOP : -ENXIO;
    int fd = open_beneath(p->fd, p->name, flags, 0);
    if (fd < 0)
        return fd;
    int err = stat_fd(fd, stx);
    if (!err && (!S_ISREG(stx->stx_mode) || stx->stx_ino != ino || stx->stx_dev_major != major ||
                 stx->stx_dev_minor != minor))
        err = -ESTALE;
    if (err)
        close(fd);
    return err ? err : fd;
}

/* Who may not list a directory may still walk through it. */
static int open_directory(const struct place *p)
{
    int fd = open_beneath(p->fd, p->name, O_RDONLY | O_DIRECTORY, 0);
    return fd == -EACCES ? open_beneath(p->fd, p->name, O_PATH | O_DIRECTORY, 0) : fd;
}

static int lookup_directory(struct call *c, const struct place *p)
{
    int fd = open_directory(p);
    if (fd < 0)
        return fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP ? -ESTALE : 0;
    int err = stat_fd(fd, &c->answer->reply.attr);
    if (err)
        close(fd);
    else
        c->answer->reply.node = node_add(c->server, fd, c->node[0], false);
    return err;
}

static int lookup_more(struct call *c, const struct place *p)
{
    struct gofer_answer *a = c->answer;
    uint32_t mode = a->reply.attr.stx_mode;
    if (S_ISDIR(mode) && (c->rq->flags & GOFER_WANT_NODE))
        return lookup_directory(c, p);
    if (S_ISLNK(mode) && c->room)
        return data(c, readlinkat(p->fd, p->name, (char *)a->data, c->room));
    if (S_ISREG(mode) && (c->rq->flags & GOFER_WANT_FILE)) {
        struct statx stx = a->reply.attr;
        int fd = open_regular(p, O_RDONLY, &stx);
        if (fd >= 0) {
            give(a, fd);
            a->reply.attr = stx;
        }
    }
    return 0;
}

static int op_lookup(struct call *c)
{
    struct place p;
    int err = place_find(c->node[0], c->name[0], &p);
    if (!err)
        err = place_stat(&p, &c->answer->reply.attr);
    if (!err)
        err = check_identity(c->rq, &c->answer->reply.attr);
    if (!err)
        err = lookup_more(c, &p);
    place_drop(&p);
    return err;
}

static int op_open_directory(struct call *c, const struct place *p)
{
    struct gofer_reply *r = &c->answer->reply;
    int fd = open_directory(p);
    if (fd < 0)
        return fd;
    int err = stat_fd(fd, &r->attr);
    if (!err)
        err = check_identity(c->rq, &r->attr);
    if (err) {
        close(fd);
        return err;
    }
    r->node = node_add(c->server, fd, c->node[0], false);
    return r->node ? 0 : -ENFILE;
}

static int op_open_file(struct call *c, const struct place *p, int flags)
{
    struct gofer_answer *a = c->answer;
    int err = place_stat(p, &a->reply.attr);
    if (!err)
        err = check_identity(c->rq, &a->reply.attr);
    if (err)
        return err;
    int fd = open_regular(p, flags, &a->reply.attr);
    if (fd < 0)
        return fd;
    give(a, fd);
    return 0;
}

static int op_open(struct call *c)
{
    int flags = (int)c->rq->flags;
    struct place p;
    if (flags != O_RDONLY && flags != O_RDWR && flags != O_DIRECTORY)
        return -EINVAL;
    if (flags == O_RDWR && c->node[0]->read_only)
        return -EROFS;
    int err = place_find(c->node[0], c->name[0], &p);
    if (!err)
        err = flags == O_DIRECTORY ? op_open_directory(c, &p) : op_open_file(c, &p, flags);
    place_drop(&p);
    return err;
}

/* ---- reading ---- */

/* Records of getdents64 from where fd is, as many as there is room for. Their bytes or -errno;
 * *end: there are no more. */
static ssize_t read_records(int fd, uint8_t *buf, size_t room, bool *end)
{
    size_t n = 0;
    *end = false;
    while (room - n >= RECORD_MAX) {
        ssize_t r = getdents64(fd, buf + n, room - n);
        if (r < 0)
            return n ? (ssize_t)n : -errno;
        *end = r == 0;
        if (*end)
            break;
        n += (size_t)r;
    }
    return (ssize_t)n;
}

/* A directory that is no node yet, and becomes one if its list does not end here. */
static int list_below(struct call *c)
{
    struct gofer_reply *r = &c->answer->reply;
    struct place p;
    bool end = false;
    int fd = -1, err = place_find(c->node[0], c->name[0], &p);
    if (!err) {
        fd = open_beneath(p.fd, p.name, O_RDONLY | O_DIRECTORY, 0);
        err = fd < 0 ? fd : stat_fd(fd, &r->attr);
    }
    place_drop(&p);
    if (!err)
        err = check_identity(c->rq, &r->attr);
    ssize_t n = err ? err : read_records(fd, c->answer->data, c->room, &end);
    err = n < 0 ? (int)n : data(c, n);
    r->value = end;
    if (!err && !end) {
        r->node = node_add(c->server, fd, c->node[0], false);
        return r->node ? 0 : -ENFILE;
    }
    if (fd >= 0)
        close(fd);
    return err;
}

static int op_list(struct call *c)
{
    int fd = c->node[0]->fd;
    bool end;
    if ((c->rq->flags & ~1u) || (*c->name[0] && !c->rq->flags) || c->room < RECORD_MAX)
        return -EINVAL;
    if (*c->name[0])
        return list_below(c);
    if ((c->rq->flags & 1) && lseek(fd, 0, SEEK_SET) < 0)
        return -errno;
    ssize_t n = read_records(fd, c->answer->data, c->room, &end);
    c->answer->reply.value = n >= 0 && end;
    return n < 0 ? (int)n : data(c, n);
}

/* ---- many names of one directory ---- */

struct batch {
    struct call *c;
    int dir;
    size_t used; /* of the answer's data */
};

/* Its list, if it fits in whole. False: it may in another answer. */
static bool batch_directory(struct batch *b, const struct place *p, struct gofer_batch_entry *e,
                            uint8_t *buf, size_t room)
{
    struct statx stx;
    bool end = false;
    if (!(b->c->rq->flags & GOFER_WANT_LIST))
        return true;
    int fd = open_beneath(p->fd, p->name, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return true;
    ssize_t n = stat_fd(fd, &stx) ? -1 : read_records(fd, buf, room, &end);
    close(fd);
    if (n >= 0 && end) {
        e->attr = stx;
        e->has |= GOFER_HAS_LIST;
        e->len = (uint32_t)n;
    }
    return n < 0 || end || b->used < b->c->room / 2;
}

static void batch_file(struct batch *b, const struct place *p, struct gofer_batch_entry *e)
{
    struct statx stx = e->attr;
    if (!(b->c->rq->flags & GOFER_WANT_FILE))
        return;
    int fd = open_regular(p, O_RDONLY, &stx);
    if (fd < 0)
        return;
    give(b->c->answer, fd);
    e->attr = stx;
    e->has |= GOFER_HAS_FILE;
}

/* Whether there was room. */
static bool batch_one(struct batch *b, const char *name)
{
    uint8_t *at = b->c->answer->data + b->used, *buf = at + sizeof(struct gofer_batch_entry);
    struct gofer_batch_entry e = {0};
    struct place p = {.fd = b->dir, .name = name};
    if (b->c->room - b->used < sizeof(e) + BATCH_ROOM)
        return false;
    size_t room = b->c->room - b->used - sizeof(e);
    e.error = place_stat(&p, &e.attr);
    if (!e.error && S_ISREG(e.attr.stx_mode))
        batch_file(b, &p, &e);
    if (!e.error && S_ISDIR(e.attr.stx_mode) && !batch_directory(b, &p, &e, buf, room))
        return false;
    if (!e.error && S_ISLNK(e.attr.stx_mode))
        e.len = (uint32_t)MAX(readlinkat(p.fd, p.name, (char *)buf, PATH_MAX - 1), 0);
    size_t padded = (e.len + 7u) & ~(size_t)7;
    memset(buf + e.len, 0, padded - e.len);
    memcpy(at, &e, sizeof(e));
    b->used += sizeof(e) + padded;
    return true;
}

static int check_names(const char *names, size_t len)
{
    unsigned n = 0;
    if (!len || names[len - 1])
        return -EINVAL;
    for (const char *name = names; name < names + len; name += strlen(name) + 1) {
        if (!name_ok(name) || ++n > GOFER_BATCH_MAX)
            return -EINVAL;
    }
    return 0;
}

static int op_batch(struct call *c)
{
    const char *name = c->name[1], *end = name + c->rq->len[1];
    struct batch b = {.c = c, .dir = c->node[0]->fd};
    int err = check_names(name, c->rq->len[1]);
    if (err || (c->rq->flags & ~(GOFER_WANT_FILE | GOFER_WANT_LIST)))
        return -EINVAL;
    if (*c->name[0])
        b.dir = open_beneath(c->node[0]->fd, c->name[0], O_PATH | O_DIRECTORY, 0);
    if (b.dir < 0)
        return b.dir;
    while (name < end && batch_one(&b, name))
        name += strlen(name) + 1;
    if (*c->name[0])
        close(b.dir);
    return data(c, (ssize_t)b.used);
}

static int op_readlink(struct call *c)
{
    struct place p;
    int err = c->room ? place_find(c->node[0], c->name[0], &p) : -EINVAL;
    if (!c->room)
        return err;
    if (!err && c->rq->ino) {
        err = place_stat(&p, &c->answer->reply.attr);
        if (!err)
            err = check_identity(c->rq, &c->answer->reply.attr);
    }
    if (!err)
        err = data(c, readlinkat(p.fd, p.name, (char *)c->answer->data, c->room));
    place_drop(&p);
    return err;
}

static int op_statfs(struct call *c)
{
    struct statfs sf;
    if (fstatfs(c->node[0]->fd, &sf) < 0)
        return -errno;
    memcpy(c->answer->data, &sf, sizeof(sf));
    return data(c, sizeof(sf));
}

static int op_sync(struct call *c)
{
    if (c->rq->flags & ~(GOFER_SYNC_DATA | GOFER_SYNC_FS))
        return -EINVAL;
    /* An O_PATH descriptor takes neither. */
    int fd = open_beneath(c->node[0]->fd, "", O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return fd;
    int err = result(c->rq->flags & GOFER_SYNC_FS     ? syncfs(fd)
                     : c->rq->flags & GOFER_SYNC_DATA ? fdatasync(fd)
                                                      : fsync(fd));
    close(fd);
    return err;
}

static int op_close(UNUSED struct call *c)
{
    return 0;
}

/* ---- making ---- */

/* Owner and permissions of something new that fd (O_PATH if path_fd) is open on. The set-id bits
 * come last: a change of the owner clears them. */
static int settle(struct call *c, int fd, bool path_fd)
{
    const struct gofer_request *rq = c->rq;
    if (c->server->privileged &&
        fchownat(fd, "", rq->uid, rq->gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (S_ISLNK(rq->mode))
        return 0;
    if (!path_fd)
        return result(fchmod(fd, rq->mode & 07777));
    return result(syscall(SYS_fchmodat2, fd, "", rq->mode & 07777, AT_EMPTY_PATH));
}

static int op_create(struct call *c)
{
    struct gofer_answer *a = c->answer;
    int dir = c->node[0]->fd;
    int fd = open_beneath(dir, c->name[0], O_RDWR | O_CREAT | O_EXCL, c->rq->mode);
    if (fd < 0)
        return fd;
    int err = settle(c, fd, false);
    if (!err)
        err = stat_fd(fd, &a->reply.attr);
    if (err) {
        close(fd);
        unlinkat(dir, c->name[0], 0);
        return err;
    }
    give(a, fd);
    return 0;
}

static int op_tmpfile(struct call *c)
{
    struct gofer_answer *a = c->answer;
    int fd = open_beneath(c->node[0]->fd, "", O_TMPFILE | O_RDWR, c->rq->mode);
    if (fd < 0)
        return fd;
    int own = -1, err = settle(c, fd, false);
    if (!err)
        err = stat_fd(fd, &a->reply.attr);
    if (!err) {
        own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        a->reply.node = own < 0 ? 0 : node_add(c->server, own, c->node[0], true);
        err = a->reply.node ? 0 : -ENFILE;
    }
    if (err)
        close(fd);
    else
        give(a, fd);
    return err;
}

static int make_node(struct call *c)
{
    const struct gofer_request *rq = c->rq;
    int dir = c->node[0]->fd;
    if ((*c->name[1] != 0) != S_ISLNK(rq->mode))
        return -EINVAL;
    if (S_ISDIR(rq->mode))
        return result(mkdirat(dir, c->name[0], rq->mode & 07777));
    if (S_ISLNK(rq->mode))
        return result(symlinkat(c->name[1], dir, c->name[0]));
    if (S_ISFIFO(rq->mode) || S_ISSOCK(rq->mode))
        return result(mknodat(dir, c->name[0], rq->mode & (S_IFMT | 07777), 0));
    return -EPERM;
}

/* fchmodat2 is young (6.6): without it a directory is opened, and others keep what umask 0 gave. */
static int settle_made(struct call *c, int fd)
{
    int err = settle(c, fd, true);
    if (err != -ENOSYS)
        return err;
    if (!S_ISDIR(c->rq->mode))
        return 0;
    int dir = open_beneath(fd, "", O_RDONLY | O_DIRECTORY, 0);
    err = dir < 0 ? dir : result(fchmod(dir, c->rq->mode & 07777));
    if (dir >= 0)
        close(dir);
    return err;
}

static int op_make(struct call *c)
{
    struct gofer_answer *a = c->answer;
    int dir = c->node[0]->fd, err = make_node(c);
    if (err)
        return err;
    int fd = open_beneath(dir, c->name[0], O_PATH, 0);
    err = fd < 0 ? fd : stat_fd(fd, &a->reply.attr);
    /* Somebody put something else in its place: that is none of ours. */
    if (!err && ((a->reply.attr.stx_mode ^ c->rq->mode) & S_IFMT))
        err = -ESTALE;
    else if (!err)
        err = settle_made(c, fd);
    if (!err)
        err = stat_fd(fd, &a->reply.attr);
    if (fd >= 0)
        close(fd);
    if (err && err != -ESTALE)
        unlinkat(dir, c->name[0], S_ISDIR(c->rq->mode) ? AT_REMOVEDIR : 0);
    return err;
}

/* ---- names ---- */

static int op_link(struct call *c)
{
    struct place p;
    int err = place_find(c->node[0], c->name[0], &p);
    if (!err)
        err = place_stat(&p, &c->answer->reply.attr);
    if (!err)
        err = check_identity(c->rq, &c->answer->reply.attr);
    if (!err)
        err = result(linkat(p.fd, p.name, c->node[1]->fd, c->name[1], 0));
    place_drop(&p);
    return err;
}

static int op_link_file(struct call *c)
{
    return result(linkat(c->node[0]->fd, "", c->node[1]->fd, c->name[1], AT_EMPTY_PATH));
}

static int op_unlink(struct call *c)
{
    if (c->rq->flags > 1)
        return -EINVAL;
    return result(unlinkat(c->node[0]->fd, c->name[0], c->rq->flags ? AT_REMOVEDIR : 0));
}

static int op_rename(struct call *c)
{
    if (c->rq->flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE))
        return -EINVAL;
    /* Not by the C library's function, which makes another call if there are no flags. */
    return result(syscall(SYS_renameat2, c->node[0]->fd, c->name[0], c->node[1]->fd, c->name[1],
                          c->rq->flags));
}

/* ---- attributes ---- */

#define SET_ALL (GOFER_SET_MODE | GOFER_SET_UID | GOFER_SET_GID | GOFER_SET_ATIME | GOFER_SET_MTIME)

/* What the request means, open (O_PATH, or as flags say), and what it is. */
static int open_meant(struct call *c, int flags, int *out)
{
    struct place p;
    struct statx *stx = &c->answer->reply.attr;
    int err = place_find(c->node[0], c->name[0], &p), fd = -1;
    if (!err && !(flags & O_PATH)) {
        /* Never open a device or a FIFO, just to see that it is one. */
        err = place_stat(&p, stx);
        if (!err && !S_ISREG(stx->stx_mode) && !S_ISDIR(stx->stx_mode))
            err = -ENXIO;
    }
    if (!err) {
        fd = open_beneath(p.fd, p.name, flags, 0);
        err = fd < 0 ? fd : stat_fd(fd, stx);
    }
    place_drop(&p);
    if (!err)
        err = check_identity(c->rq, stx);
    if (err && fd >= 0)
        close(fd);
    *out = fd;
    return err;
}

static int set_mode(struct call *c, int fd)
{
    uint32_t mode = c->rq->mode & 07777;
    if (syscall(SYS_fchmodat2, fd, "", mode, AT_EMPTY_PATH) == 0)
        return 0;
    if (errno != ENOSYS)
        return -errno;
    int own, err = open_meant(c, O_RDONLY, &own);
    if (err)
        return err;
    err = result(fchmod(own, mode));
    close(own);
    return err;
}

static struct timespec stamp(const struct gofer_request *rq, int k, uint32_t bit)
{
    if (!(rq->valid & bit))
        return (struct timespec){.tv_nsec = UTIME_OMIT};
    return (struct timespec){rq->sec[k], rq->nsec[k]};
}

static int set_attributes(struct call *c, int fd)
{
    const struct gofer_request *rq = c->rq;
    int err = 0;
    if (rq->valid & (GOFER_SET_UID | GOFER_SET_GID))
        err = result(fchownat(fd, "", rq->valid & GOFER_SET_UID ? rq->uid : (uid_t)-1,
                              rq->valid & GOFER_SET_GID ? rq->gid : (gid_t)-1,
                              AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
    if (!err && (rq->valid & GOFER_SET_MODE))
        err = set_mode(c, fd);
    if (!err && (rq->valid & (GOFER_SET_ATIME | GOFER_SET_MTIME))) {
        struct timespec ts[2] = {stamp(rq, 0, GOFER_SET_ATIME), stamp(rq, 1, GOFER_SET_MTIME)};
        err = result(syscall(SYS_utimensat, fd, "", ts, AT_EMPTY_PATH));
    }
    return err;
}

static int op_setattr(struct call *c)
{
    int fd;
    if (c->rq->valid & ~(uint32_t)SET_ALL)
        return -EINVAL;
    int err = open_meant(c, O_PATH, &fd);
    if (err)
        return err;
    err = set_attributes(c, fd);
    if (!err)
        err = stat_fd(fd, &c->answer->reply.attr);
    close(fd);
    return err;
}

/* ---- extended attributes ---- */

static ssize_t xattr_by_fd(int fd, const char *name, void *buf, size_t size)
{
    return name ? fgetxattr(fd, name, buf, size) : flistxattr(fd, buf, size);
}

/* name NULL: the list of names. O_PATH descriptors do without opening, on young hosts. */
static int get_xattr(struct call *c, const char *name)
{
    struct gofer_answer *a = c->answer;
    size_t room = MIN(c->room, (size_t)GOFER_XATTR_MAX);
    struct xattr_at_args args = {.value = (uint64_t)(uintptr_t)a->data, .size = (uint32_t)room};
    int fd, err = open_meant(c, O_PATH, &fd);
    if (err)
        return err;
    ssize_t r = name ? syscall(SYS_getxattrat, fd, "", AT_EMPTY_PATH, name, &args, sizeof(args))
                     : syscall(SYS_listxattrat, fd, "", AT_EMPTY_PATH, a->data, room);
    err = r < 0 ? -errno : 0;
    close(fd);
    if (err == -ENOSYS || err == -EBADF) {
        err = open_meant(c, O_RDONLY, &fd);
        if (err) /* of links and FIFOs old hosts know nothing */
            return err == -ENXIO || err == -ELOOP || err == -EACCES ? -ENODATA : err;
        r = xattr_by_fd(fd, name, a->data, room);
        err = r < 0 ? -errno : 0;
        close(fd);
    }
    if (err)
        return err;
    a->reply.value = (uint64_t)r;
    a->reply.len = room ? (uint32_t)r : 0;
    return 0;
}

static int op_getxattr(struct call *c)
{
    return get_xattr(c, c->name[1]);
}

static int op_listxattr(struct call *c)
{
    return get_xattr(c, NULL);
}

static int op_setxattr(struct call *c)
{
    const char *name = c->name[1];
    size_t len = strnlen(name, c->rq->len[1]);
    int fd;
    if (len == c->rq->len[1] || len > XATTR_NAME_MAX)
        return -EINVAL;
    int err = open_meant(c, O_RDONLY, &fd);
    if (err)
        return err;
    err = result(fsetxattr(fd, name, name + len + 1, c->rq->len[1] - len - 1, (int)c->rq->flags));
    close(fd);
    return err;
}

static int op_removexattr(struct call *c)
{
    int fd, err = open_meant(c, O_RDONLY, &fd);
    if (err)
        return err;
    err = result(fremovexattr(fd, c->name[1]));
    close(fd);
    return err;
}

const struct op gofer_ops[GOFER_OPS] = {
    [GOFER_LOOKUP] = {op_lookup, {NAME_PLACE}, 1, .single = true},
    [GOFER_BATCH] = {op_batch, {NAME_PLACE, NAME_BYTES}, 1, .changes = false},
    [GOFER_OPEN] = {op_open, {NAME_PLACE}, 1, .single = true},
    [GOFER_LIST] = {op_list, {NAME_PLACE}, 1, .changes = false},
    [GOFER_READLINK] = {op_readlink, {NAME_PATH}, 1, .single = true},
    [GOFER_CREATE] = {op_create, {NAME_ONE}, 1, .changes = true},
    [GOFER_TMPFILE] = {op_tmpfile, {NAME_NONE}, 1, .changes = true},
    [GOFER_MAKE] = {op_make, {NAME_ONE, NAME_TEXT}, 1, .changes = true},
    [GOFER_LINK] = {op_link, {NAME_PATH, NAME_ONE}, 2, .changes = true},
    [GOFER_LINK_FILE] = {op_link_file, {NAME_NONE, NAME_ONE}, 2, .changes = true, .file = true},
    [GOFER_UNLINK] = {op_unlink, {NAME_ONE}, 1, .changes = true},
    [GOFER_RENAME] = {op_rename, {NAME_ONE, NAME_ONE}, 2, .changes = true},
    [GOFER_SETATTR] = {op_setattr, {NAME_PLACE}, 1, .changes = true, .single = true},
    [GOFER_GETXATTR] = {op_getxattr, {NAME_PLACE, NAME_TEXT}, 1, .single = true},
    [GOFER_LISTXATTR] = {op_listxattr, {NAME_PLACE}, 1, .single = true},
    [GOFER_SETXATTR] = {op_setxattr, {NAME_PLACE, NAME_BYTES}, 1, .changes = true, .single = true},
    [GOFER_REMOVEXATTR] =
        {op_removexattr, {NAME_PLACE, NAME_TEXT}, 1, .changes = true, .single = true},
    [GOFER_STATFS] = {op_statfs, {NAME_NONE}, 1, .single = true},
    [GOFER_SYNC] = {op_sync, {NAME_NONE}, 1, .changes = true, .single = true},
    [GOFER_CLOSE] = {op_close, {NAME_NONE}, 0, .changes = false},
};
