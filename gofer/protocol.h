/*
 * What the sentry and the gofer say to each other.
 *
 * A channel is a SOCK_SEQPACKET socket. One message is one request: the header and then two byte
 * strings, name[0] and name[1], of len[0] and len[1] bytes. It gets one reply: the header, and
 * `len` bytes of data; with it come nfds descriptors, always of regular files: at most one, but for
 * GOFER_BATCH. A channel carries one request at a time.
 *
 * Directories are named by numbers that the gofer gave out (nodes). 1, 2, 3... are the exported
 * roots, in the order of the exports; they are never closed. A path is relative to a node: names
 * with single slashes between them, none of them "." or "..", the whole shorter than PATH_MAX, its
 * NUL included in len. "" is the node itself. No symbolic link is followed anywhere.
 *
 * A directory is listed in records of getdents64. The first GOFER_LIST of one that is no node makes
 * it one, if there is more to come.
 *
 * `dev` and `ino`, where ino is not 0, say what the request means: if the path leads to something
 * else by now, the answer is -ESTALE.
 */
#ifndef PICKET_GOFER_PROTOCOL_H
#define PICKET_GOFER_PROTOCOL_H

#include <linux/stat.h>
#include <stdint.h>

#define GOFER_VERSION 2
#define GOFER_DATA_MAX                                                                             \
    (66u << 10) /* of a request or reply: an attribute of 64 KiB, and its name                     \
                 */
#define GOFER_CLOSE_MAX 8
#define GOFER_BATCH_MAX 64 /* names, and descriptors */
#define GOFER_XATTR_MAX (64u << 10)

enum gofer_op {
    GOFER_LOOKUP,      /* path; flags: GOFER_WANT_*: attr, node, descriptor, target of a link */
    GOFER_BATCH,       /* path of a directory, names with NULs; flags: GOFER_WANT_FILE, _LIST */
    GOFER_OPEN,        /* path; flags O_RDONLY, O_RDWR: a regular file. O_DIRECTORY: a node */
    GOFER_LIST,        /* path; flags 1: from the start. Records; value 1: up to the end */
    GOFER_READLINK,    /* path: the target */
    GOFER_CREATE,      /* node, name; mode, uid, gid: a new regular file, open for both */
    GOFER_TMPFILE,     /* node; mode, uid, gid: the same without a name, and its node */
    GOFER_MAKE,        /* node, name, target; mode with type: directory, link, FIFO, socket */
    GOFER_LINK,        /* path of node[0], new name in node[1] */
    GOFER_LINK_FILE,   /* node[0] of GOFER_TMPFILE, new name (name[1]) in node[1] */
    GOFER_UNLINK,      /* node, name; flags 1: a directory */
    GOFER_RENAME,      /* name in node[0], name in node[1]; flags RENAME_NOREPLACE, _EXCHANGE */
    GOFER_SETATTR,     /* path; valid: GOFER_SET_*: attr */
    GOFER_GETXATTR,    /* path, name: the value; value: its size */
    GOFER_LISTXATTR,   /* path: the names */
    GOFER_SETXATTR,    /* path, name NUL value; flags XATTR_* */
    GOFER_REMOVEXATTR, /* path, name */
    GOFER_STATFS,      /* node: a struct statfs */
    GOFER_SYNC,        /* node: a directory; flags: GOFER_SYNC_* */
    GOFER_CLOSE,       /* nothing but what `close` says */
    GOFER_OPS
};

#define GOFER_WANT_NODE 1u /* of a directory */
#define GOFER_WANT_FILE 2u /* a descriptor for reading, of a regular file */
#define GOFER_WANT_LIST 4u /* the records of a directory */

#define GOFER_SET_MODE 1u
#define GOFER_SET_UID 2u
#define GOFER_SET_GID 4u
#define GOFER_SET_ATIME 8u
#define GOFER_SET_MTIME 16u

#define GOFER_SYNC_DATA 1u
#define GOFER_SYNC_FS 2u

struct gofer_request {
    uint16_t version, op;
    uint32_t seq; /* comes back in the reply */
    uint32_t node[2];
    uint32_t len[2];
    uint32_t flags, valid;
    uint32_t mode, uid, gid;
    uint32_t size; /* at most so many bytes of data in the reply; xattrs: 0 asks for the size */
    uint64_t dev, ino;
    int64_t sec[2];
    uint32_t nsec[2];
    uint32_t nclose; /* nodes that are not needed any more: closed first */
    uint32_t close[GOFER_CLOSE_MAX];
    uint32_t reserved; /* 0 */
};

struct gofer_reply {
    uint16_t version, op;
    uint32_t seq;
    int32_t error; /* 0 or -errno */
    uint32_t node; /* a new one, or 0 */
    uint32_t len;
    uint32_t nfds;
    uint64_t value;
    struct statx attr;
};

/*
 * The answer to GOFER_BATCH: one of these for each name, in order, and `len` bytes after it, padded
 * to 8: of a link its target; of a directory, if wanted, all its records (GOFER_HAS_LIST). If there
 * is no room for more, the rest of the names is missing. Descriptors come in the order of the
 * entries that say GOFER_HAS_FILE.
 */
struct gofer_batch_entry {
    int32_t error;
    uint32_t len;
    uint32_t has, reserved;
    struct statx attr;
};
#define GOFER_HAS_FILE 1u
#define GOFER_HAS_LIST 2u

#endif
