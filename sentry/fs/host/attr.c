/*
 * Attributes of host files.
 */
#include "sentry/fs/host/host.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

int host_getattr(struct inode *i, struct kstat *out)
{
    struct host_node *n = host_node(i);
    int err = host_refresh(i, false);
    if (err)
        return err;
    inode_fill_stat(i, out);
    out->dev = n->dev;
    out->blocks = n->blocks;
    out->blksize = n->blksize;
    out->btime = i->btime;
    out->has_btime = n->has_btime;
    out->attributes = n->attributes;
    out->attributes_mask = n->attributes_mask;
    return 0;
}

static struct timespec stamp(bool valid, struct timestamp t)
{
    if (!valid)
        return (struct timespec){.tv_nsec = UTIME_OMIT};
    return (struct timespec){.tv_sec = t.sec, .tv_nsec = t.nsec};
}

static int change(const struct door *door, int fd, const struct inode *i, const struct iattr *attr)
{
    int err = 0;
    if (attr->valid & (ATTR_UID | ATTR_GID))
        err = door_chown(door, fd, attr->valid & ATTR_UID ? attr->uid : (uid_t)-1,
                         attr->valid & ATTR_GID ? attr->gid : (gid_t)-1);
    if (!err && (attr->valid & ATTR_MODE) && !S_ISLNK(i->mode))
        err = door_chmod(door, fd, attr->mode);
    if (!err && (attr->valid & (ATTR_ATIME | ATTR_MTIME))) {
        struct timespec ts[2] = {stamp(attr->valid & ATTR_ATIME, attr->atime),
                                 stamp(attr->valid & ATTR_MTIME, attr->mtime)};
        err = door_utimes(door, fd, ts);
    }
    return err;
}

int host_setattr(struct inode *i, const struct iattr *attr)
{
    const struct door *door = &host_super(i->sb)->door;
    if (door->read_only)
        return -EROFS;
    int err = 0;
    if (attr->valid & ATTR_SIZE)
        err = S_ISREG(i->mode) ? host_resize(i, attr->size) : -EINVAL;
    if (!err && (attr->valid & ~(ATTR_SIZE | ATTR_CTIME))) {
        struct host_handle h;
        err = host_handle_get(i, &h);
        if (!err) {
            err = change(door, h.fd, i, attr);
            host_handle_put(i, &h);
        }
    }
    return err ? err : host_refresh(i, true);
}

/* ---- extended attributes ---- */

static bool may_read(const char *name)
{
    return strncmp(name, "trusted.", 8) != 0;
}

static bool may_write(const char *name)
{
    return strncmp(name, "user.", 5) == 0 && name[5];
}

/* Calls fn for i by its place, or by a descriptor where the host cannot do that. */
static ssize_t on_inode(struct inode *i, const char *name, void *buf, size_t size, bool list)
{
    struct host_slot *s = host_slot_peek(i);
    struct host_place p;
    ssize_t r = -ENOSYS;
    if (!s && host_place(i, &p) == 0) {
        r = list ? door_listxattr(p.fd, p.name, -1, buf, size)
                 : door_getxattr(p.fd, p.name, -1, name, buf, size);
        host_unplace(&p);
    }
    if (r != -ENOSYS)
        return r;
    if (!s && host_slot_get(i, SLOT_READ, &s))
        return list ? 0 : -ENODATA;
    r = list ? door_listxattr(-1, "", s->fd, buf, size)
             : door_getxattr(-1, "", s->fd, name, buf, size);
    host_slot_put(i, s);
    return r == -EBADF ? -ENODATA : r;
}

/* Most files have none, and ls asks each of them for three. */
static bool has_none(struct inode *i)
{
    struct host_node *n = host_node(i);
    if (!host_super(i->sb)->exclusive)
        return false;
    if (!n->no_xattrs && !n->asked_xattrs) {
        n->no_xattrs = on_inode(i, "", NULL, 0, true) == 0;
        n->asked_xattrs = true;
    }
    return n->no_xattrs;
}

ssize_t host_getxattr(struct inode *i, const char *name, void *value, size_t size)
{
    if (has_none(i))
        return -ENODATA;
    return may_read(name) ? on_inode(i, name, value, size, false) : -ENODATA;
}

ssize_t host_listxattr(struct inode *i, char *list, size_t size)
{
    ssize_t n = on_inode(i, "", list, size, true);
    if (n <= 0 || !size)
        return n;
    size_t out = 0;
    for (size_t at = 0; at < (size_t)n;) {
        size_t len = strnlen(list + at, (size_t)n - at) + 1;
        if (may_read(list + at)) {
            memmove(list + out, list + at, len);
            out += len;
        }
        at += len;
    }
    return (ssize_t)out;
}

static int on_open(struct inode *i, const char *name, const void *value, size_t size, int flags,
                   bool set)
{
    const struct door *door = &host_super(i->sb)->door;
    if (door->read_only)
        return -EROFS;
    if (!may_write(name))
        return -EOPNOTSUPP;
    struct host_slot *s;
    int err = host_slot_get(i, SLOT_READ, &s);
    if (err)
        return err == -ENXIO ? -EPERM : err;
    err = set ? door_setxattr(door, s->fd, name, value, size, flags)
              : door_removexattr(door, s->fd, name);
    host_slot_put(i, s);
    host_node(i)->stale = true;
    host_node(i)->asked_xattrs = host_node(i)->no_xattrs = false;
    return err;
}

int host_setxattr(struct inode *i, const char *name, const void *value, size_t size, int flags)
{
    return on_open(i, name, value, size, flags, true);
}

int host_removexattr(struct inode *i, const char *name)
{
    return on_open(i, name, NULL, 0, 0, false);
}
