/*
 * From a node and a path to a directory and one name in it. Only openat2 walks, and only beneath
 * the node; everything else is done with a single name, which no system call used here follows.
 */
#include "gofer/internal.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define OPEN_TRIES 100

static bool is_dots(const char *name, size_t len)
{
    return name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.'));
}

bool name_ok(const char *name)
{
    size_t len = strlen(name);
    return len && len <= NAME_MAX && !memchr(name, '/', len) && !is_dots(name, len);
}

bool path_ok(const char *path)
{
    if (!*path)
        return true;
    for (;;) {
        size_t len = strcspn(path, "/");
        if (!len || len > NAME_MAX || is_dots(path, len))
            return false;
        if (!path[len])
            return true;
        path += len + 1;
    }
}

int open_beneath(int dirfd, const char *path, int flags, mode_t mode)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)(flags | O_NOFOLLOW | O_CLOEXEC),
        .mode = flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? mode & 07777 : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
    };
    if (!(flags & O_PATH))
        how.flags |= O_NONBLOCK | O_NOCTTY;
    long r;
    int tries = 0;
    /* EAGAIN: a rename went on somewhere; or somebody holds a lease, and then for ever. */
    do
        r = syscall(SYS_openat2, dirfd, *path ? path : ".", &how, sizeof(how));
    while (r < 0 && (errno == EINTR || (errno == EAGAIN && tries++ < OPEN_TRIES)));
    return r < 0 ? -errno : (int)r;
}

int place_find(const struct gofer_node *n, const char *path, struct place *out)
{
    char parent[PATH_MAX];
    const char *slash = strrchr(path, '/');
    *out = (struct place){.fd = n->fd, .name = path};
    if (!slash)
        return 0;
    memcpy(parent, path, (size_t)(slash - path));
    parent[slash - path] = 0;
    out->fd = open_beneath(n->fd, parent, O_PATH | O_DIRECTORY, 0);
    out->owned = true;
    out->name = slash + 1;
    return out->fd < 0 ? out->fd : 0;
}

void place_drop(struct place *p)
{
    if (p->owned && p->fd >= 0)
        close(p->fd);
}

#define STAT_MASK (STATX_BASIC_STATS | STATX_BTIME)

int stat_fd(int fd, struct statx *out)
{
    return statx(fd, "", AT_EMPTY_PATH, STAT_MASK, (void *)out) < 0 ? -errno : 0;
}

int place_stat(const struct place *p, struct statx *out)
{
    int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*p->name ? 0 : AT_EMPTY_PATH);
    return statx(p->fd, p->name, flags, STAT_MASK, (void *)out) < 0 ? -errno : 0;
}

int check_identity(const struct gofer_request *rq, const struct statx *stx)
{
    if (!rq->ino)
        return 0;
    bool same =
        rq->ino == stx->stx_ino && rq->dev == makedev(stx->stx_dev_major, stx->stx_dev_minor);
    return same ? 0 : -ESTALE;
}
