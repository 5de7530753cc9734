/*
 * The door: every host call of the host file system, and every request to the gofer, which has the
 * directories.
 *
 * A directory is a number of the gofer's (node). A place is a node and a path below it: names with
 * slashes between them, no "." or "..", or "" for the node itself; where `ino` is given, whatever
 * else is found there by now makes the call end with -ESTALE. Nothing here follows a symbolic link
 * of the host, leaves the exported directory, or opens a device. Functions return 0 (or a count,
 * a descriptor) or -errno. With `door` read-only, what would change the host ends with -EROFS.
 */
#ifndef PICKET_SENTRY_FS_HOST_DOOR_H
#define PICKET_SENTRY_FS_HOST_DOOR_H

#include "base/compiler.h"
#include "sentry/fs/host/client.h"
#include <sys/statfs.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

struct door {
    struct gofer_client *gofer;
    uint32_t root; /* node */
    bool read_only;
};

struct door_at {
    uint32_t node;
    const char *path;
    dev_t dev;
    uint64_t ino; /* 0: whatever is there */
};

/* ---- by the gofer ---- */

/* What is at a place. */
struct door_found {
    int error; /* door_batch only, as what follows `target` */
    struct statx stx;
    uint32_t node; /* of a directory, if asked for and to be had; or 0 */
    int fd;        /* of a regular file, for reading, likewise; or -1 */
    size_t target_len;
    char *target; /* of a symbolic link: the caller's buffer of PATH_MAX bytes, or NULL */
    bool has_file, has_list;
    uint32_t len;
    const void *data; /* of a link its target; if has_list, a directory's records */
};
/* want: GOFER_WANT_* */
int door_lookup(const struct door *d, struct door_at at, unsigned want, struct door_found *out);
int door_stat_at(const struct door *d, struct door_at at, struct statx *out);
/* Of several names in a directory, with NULs; out has room for them all. How many were answered,
 * the first ones, or -errno. buf, of GOFER_DATA_MAX bytes, holds what they point to. */
struct door_names {
    const char *text;
    size_t len;
    unsigned count; /* at most GOFER_BATCH_MAX */
};
int door_batch(const struct door *d, struct door_at dir, struct door_names names, unsigned want,
               void *buf, struct door_found *out);
int door_open_dir(const struct door *d, struct door_at at, uint32_t *node);
/* A regular file: O_RDONLY or O_RDWR. */
int door_open_file(const struct door *d, struct door_at at, int flags);
void door_close_node(const struct door *d, uint32_t node);
/* Records as getdents64 has them, checked: their bytes. node: of a directory that was none and has
 * more, to go on with and to be closed. One caller for a node at a time. */
struct door_list {
    char *buf; /* GOFER_DATA_MAX bytes */
    bool end;
    uint32_t node;
};
ssize_t door_list(const struct door *d, struct door_at dir, bool rewind, struct door_list *out);
ssize_t door_readlink(const struct door *d, struct door_at at, char *buf, size_t size);
int door_statfs(const struct door *d, struct statfs *out);
int door_syncfs(const struct door *d);
int door_sync_dir(const struct door *d, uint32_t node, bool data_only);

/* Something new: its owner and permissions, if the gofer may give files away. */
struct door_new {
    uint32_t mode; /* with type */
    uid_t uid;
    gid_t gid;
};
/* fd: -1 if there was no room for one. */
int door_create(const struct door *d, uint32_t dir, const char *name, const struct door_new *new,
                struct statx *stx, int *fd);
/* node: for door_link_file, and to be closed. */
int door_tmpfile(const struct door *d, uint32_t dir, const struct door_new *new, struct statx *stx,
                 uint32_t *node);
int door_make(const struct door *d, uint32_t dir, const char *name, const char *target,
              const struct door_new *new, struct statx *stx);
int door_link(const struct door *d, struct door_at old, uint32_t dir, const char *name);
int door_link_file(const struct door *d, uint32_t file, uint32_t dir, const char *name);
int door_unlink(const struct door *d, uint32_t dir, const char *name, bool directory);
int door_rename(const struct door *d, uint32_t old_dir, const char *old, uint32_t dir,
                const char *name, unsigned flags);

struct door_change {
    unsigned valid; /* GOFER_SET_* */
    uint32_t mode;
    uid_t uid;
    gid_t gid;
    struct timespec times[2];
};
int door_setattr(const struct door *d, struct door_at at, const struct door_change *c,
                 struct statx *stx);
/* size 0: the size needed. At most GOFER_XATTR_MAX. */
ssize_t door_getxattr(const struct door *d, struct door_at at, const char *attr, void *value,
                      size_t size);
ssize_t door_listxattr(const struct door *d, struct door_at at, char *list, size_t size);
int door_setxattr(const struct door *d, struct door_at at, const char *attr, const void *value,
                  size_t size, int flags);
int door_removexattr(const struct door *d, struct door_at at, const char *attr);

/* ---- on descriptors of regular files ---- */

int door_stat_fd(int fd, struct statx *out);
int64_t door_seek(int fd, int64_t offset, int whence);
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
int door_setattr_fd(const struct door *d, int fd, const struct door_change *c, struct statx *stx);
/* What the *_at calls do, for a file that has no name. attr NULL: the list of names. */
ssize_t door_getxattr_fd(int fd, const char *attr, void *value, size_t size);
/* value NULL: removes it. */
int door_setxattr_fd(const struct door *d, int fd, const char *attr, const void *value, size_t size,
                     int flags);

#endif
