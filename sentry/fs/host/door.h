/*
 * The door: every host call of the host file system, and nothing else. A file-server process may
 * stand behind it one day.
 *
 * Names are single components (no slash, not "." or ".."), or relative paths of such components for
 * door_open; nothing here ever follows a symbolic link of the host, leaves the directory that it
 * is given, or opens a device. Functions return 0 (or a count, a descriptor) or -errno. With `door`
 * read-only, what would change the host is refused here with -EROFS.
 */
#ifndef PICKET_SENTRY_FS_HOST_DOOR_H
#define PICKET_SENTRY_FS_HOST_DOOR_H

#include "base/compiler.h"
#include <linux/stat.h>
#include <sys/statfs.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

struct statx;

struct door {
    int root_fd;
    bool read_only;
    bool privileged; /* may give files away */
};

/* path: "" reopens dirfd itself ("."). flags: O_*; O_NOFOLLOW, O_CLOEXEC... are added. */
int door_open(const struct door *d, int dirfd, const char *path, int flags, mode_t mode);
int door_stat(int dirfd, const char *name, struct statx *out); /* "": dirfd itself */
ssize_t door_readlink(int dirfd, const char *name, char *buf, size_t size);
ssize_t door_getdents(int fd, void *buf, size_t size);
int door_rewind(int fd);
int64_t door_seek(int fd, int64_t offset, int whence);
int door_statfs(const struct door *d, struct statfs *out);
void door_close(int fd);
int door_dup(int fd);
/* Whether the host lets nobody execute what fd names, for the mount that it lies on. */
bool door_noexec(int fd);

ssize_t door_read(int fd, const struct iovec *iov, int n, int64_t pos, int rwf);
ssize_t door_write(const struct door *d, int fd, const struct iovec *iov, int n, int64_t pos,
                   int rwf);
int door_truncate(const struct door *d, int fd, uint64_t size);
int door_fallocate(const struct door *d, int fd, int mode, int64_t offset, int64_t length);
int door_sync(int fd, bool data_only);
int door_syncfs(const struct door *d);

int door_mkdir(const struct door *d, int dirfd, const char *name, mode_t mode);
/* FIFOs and sockets. */
int door_mknod(const struct door *d, int dirfd, const char *name, mode_t mode);
int door_symlink(const struct door *d, const char *target, int dirfd, const char *name);
int door_link(const struct door *d, int old_dirfd, const char *old, int dirfd, const char *name);
/* Gives a name to a file that was opened with O_TMPFILE. */
int door_link_fd(const struct door *d, int fd, int dirfd, const char *name);
int door_unlink(const struct door *d, int dirfd, const char *name, bool directory);
int door_rename(const struct door *d, int old_dirfd, const char *old, int dirfd, const char *name,
                unsigned flags);
/* fd: of the file, O_PATH is enough. */
int door_chmod(const struct door *d, int fd, mode_t mode);
int door_chown(const struct door *d, int fd, uid_t uid, gid_t gid);
int door_utimes(const struct door *d, int fd, const struct timespec ts[2]);

/* On dirfd/name itself; `fd` (or -1): the file opened, where the host lacks the *xattrat calls. */
ssize_t door_getxattr(int dirfd, const char *name, int fd, const char *attr, void *value,
                      size_t size);
ssize_t door_listxattr(int dirfd, const char *name, int fd, char *list, size_t size);
int door_setxattr(const struct door *d, int fd, const char *attr, const void *value, size_t size,
                  int flags);
int door_removexattr(const struct door *d, int fd, const char *attr);

#endif
