#include "sentry/fs/host/door.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
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

#define OPEN_TRIES 100

/* linux/xattr.h of 6.13 */
struct xattr_at_args {
    uint64_t value __attribute__((aligned(8)));
    uint32_t size;
    uint32_t flags;
};

static int check_name(const char *name)
{
    if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return -EINVAL;
    return 0;
}

static int check_change(const struct door *d, const char *name)
{
    if (d->read_only)
        return -EROFS;
    return check_name(name);
}

#define RETURN_CALL(call)                                                                          \
    do {                                                                                           \
        __auto_type result_ = (call);                                                              \
        return result_ < 0 ? -errno : result_;                                                     \
    } while (0)

static int64_t again(int64_t r)
{
    return r < 0 ? -errno : r;
}

int door_open(const struct door *d, int dirfd, const char *path, int flags, mode_t mode)
{
    if (d->read_only && ((flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC))))
        return -EROFS;
    if (flags & O_CREAT) {
        int err = check_name(path);
        if (err)
            return err;
    }
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
    do {
        r = syscall(SYS_openat2, dirfd, *path ? path : ".", &how, sizeof(how));
    } while (r < 0 && (errno == EINTR || (errno == EAGAIN && tries++ < OPEN_TRIES)));
    return r < 0 ? -errno : (int)r;
}

int door_stat(int dirfd, const char *name, struct statx *out)
{
    int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
    if (!*name)
        flags |= AT_EMPTY_PATH;
    else if (check_name(name))
        return -EINVAL;
    RETURN_CALL(statx(dirfd, name, flags, STATX_BASIC_STATS | STATX_BTIME, (void *)out));
}

ssize_t door_readlink(int dirfd, const char *name, char *buf, size_t size)
{
    int err = check_name(name);
    if (err)
        return err;
    RETURN_CALL(readlinkat(dirfd, name, buf, size));
}

ssize_t door_getdents(int fd, void *buf, size_t size)
{
    RETURN_CALL(getdents64(fd, buf, size));
}

int door_rewind(int fd)
{
    return lseek(fd, 0, SEEK_SET) < 0 ? -errno : 0;
}

int64_t door_seek(int fd, int64_t offset, int whence)
{
    RETURN_CALL(lseek(fd, offset, whence));
}

int door_statfs(const struct door *d, struct statfs *out)
{
    RETURN_CALL(fstatfs(d->root_fd, out));
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

int door_syncfs(const struct door *d)
{
    if (d->read_only)
        return 0;
    /* syncfs takes no O_PATH descriptor. */
    int fd = door_open(d, d->root_fd, "", O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return fd;
    int err = syncfs(fd) < 0 ? -errno : 0;
    close(fd);
    return err;
}

int door_mkdir(const struct door *d, int dirfd, const char *name, mode_t mode)
{
    int err = check_change(d, name);
    if (err)
        return err;
    RETURN_CALL(mkdirat(dirfd, name, mode));
}

int door_mknod(const struct door *d, int dirfd, const char *name, mode_t mode)
{
    int err = check_change(d, name);
    if (err)
        return err;
    if (!S_ISFIFO(mode) && !S_ISSOCK(mode))
        return -EPERM;
    RETURN_CALL(mknodat(dirfd, name, mode, 0));
}

int door_symlink(const struct door *d, const char *target, int dirfd, const char *name)
{
    int err = check_change(d, name);
    if (err)
        return err;
    RETURN_CALL(symlinkat(target, dirfd, name));
}

int door_link(const struct door *d, int old_dirfd, const char *old, int dirfd, const char *name)
{
    int err = check_change(d, name);
    if (!err)
        err = check_name(old);
    if (err)
        return err;
    RETURN_CALL(linkat(old_dirfd, old, dirfd, name, 0));
}

int door_link_fd(const struct door *d, int fd, int dirfd, const char *name)
{
    int err = check_change(d, name);
    if (err)
        return err;
    RETURN_CALL(linkat(fd, "", dirfd, name, AT_EMPTY_PATH));
}

int door_unlink(const struct door *d, int dirfd, const char *name, bool directory)
{
    int err = check_change(d, name);
    if (err)
        return err;
    RETURN_CALL(unlinkat(dirfd, name, directory ? AT_REMOVEDIR : 0));
}

int door_rename(const struct door *d, int old_dirfd, const char *old, int dirfd, const char *name,
                unsigned flags)
{
    int err = check_change(d, name);
    if (!err)
        err = check_name(old);
    if (err)
        return err;
    RETURN_CALL(renameat2(old_dirfd, old, dirfd, name, flags));
}

int door_chmod(const struct door *d, int fd, mode_t mode)
{
    if (d->read_only)
        return -EROFS;
    if (syscall(SYS_fchmodat2, fd, "", mode & 07777, AT_EMPTY_PATH) == 0)
        return 0;
    if (errno != ENOSYS)
        return -errno;
    RETURN_CALL(fchmod(fd, mode & 07777));
}

int door_chown(const struct door *d, int fd, uid_t uid, gid_t gid)
{
    if (d->read_only)
        return -EROFS;
    RETURN_CALL(fchownat(fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
}

int door_utimes(const struct door *d, int fd, const struct timespec ts[2])
{
    if (d->read_only)
        return -EROFS;
    RETURN_CALL((int)syscall(SYS_utimensat, fd, "", ts, AT_EMPTY_PATH));
}

ssize_t door_getxattr(int dirfd, const char *name, int fd, const char *attr, void *value,
                      size_t size)
{
    if (fd >= 0)
        RETURN_CALL(fgetxattr(fd, attr, value, size));
    if (*name && check_name(name))
        return -EINVAL;
    struct xattr_at_args args = {.value = (uint64_t)(uintptr_t)value, .size = (uint32_t)size};
    long r = syscall(SYS_getxattrat, dirfd, name, *name ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH, attr,
                     &args, sizeof(args));
    return r < 0 ? -errno : r;
}

ssize_t door_listxattr(int dirfd, const char *name, int fd, char *list, size_t size)
{
    if (fd >= 0)
        RETURN_CALL(flistxattr(fd, list, size));
    if (*name && check_name(name))
        return -EINVAL;
    long r = syscall(SYS_listxattrat, dirfd, name, *name ? AT_SYMLINK_NOFOLLOW : AT_EMPTY_PATH,
                     list, size);
    return r < 0 ? -errno : r;
}

int door_setxattr(const struct door *d, int fd, const char *attr, const void *value, size_t size,
                  int flags)
{
    if (d->read_only)
        return -EROFS;
    RETURN_CALL(fsetxattr(fd, attr, value, size, flags));
}

int door_removexattr(const struct door *d, int fd, const char *attr)
{
    if (d->read_only)
        return -EROFS;
    RETURN_CALL(fremovexattr(fd, attr));
}
