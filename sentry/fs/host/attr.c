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

static struct door_change change_of(const struct inode *i, const struct iattr *attr)
{
    struct door_change c = {.mode = attr->mode & 07777, .uid = attr->uid, .gid = attr->gid};
    if (attr->valid & ATTR_UID)
        c.valid |= GOFER_SET_UID;
    if (attr->valid & ATTR_GID)
        c.valid |= GOFER_SET_GID;
    if ((attr->valid & ATTR_MODE) && !S_ISLNK(i->mode))
        c.valid |= GOFER_SET_MODE;
    if (attr->valid & ATTR_ATIME)
        c.valid |= GOFER_SET_ATIME;
    if (attr->valid & ATTR_MTIME)
        c.valid |= GOFER_SET_MTIME;
    c.times[0] = (struct timespec){attr->atime.sec, attr->atime.nsec};
    c.times[1] = (struct timespec){attr->mtime.sec, attr->mtime.nsec};
    return c;
}

/* By a descriptor, if there is one: that file may have no name any more. */
static int change(struct inode *i, const struct door_change *c, struct statx *stx)
{
    const struct door *door = &host_super(i->sb)->door;
    struct host_slot *s = host_slot_peek(i);
    struct host_place p;
    int err;
    if (s) {
        err = door_setattr_fd(door, s->fd, c, stx);
        host_slot_put(i, s);
        return err;
    }
    err = host_place(i, &p);
    if (err)
        return err;
    err = door_setattr(door, p.at, c, stx);
    host_unplace(&p);
    return err;
}

int host_setattr(struct inode *i, const struct iattr *attr)
{
    struct door_change c = change_of(i, attr);
    struct statx stx;
    int err = 0;
    if (host_super(i->sb)->door.read_only)
        return -EROFS;
    if (attr->valid & ATTR_SIZE)
        err = S_ISREG(i->mode) ? host_resize(i, attr->size) : -EINVAL;
    if (err || !c.valid)
        return err ? err : host_refresh(i, true);
    err = change(i, &c, &stx);
    if (err)
        return err;
    rwlock_write_nested(&i->lock);
    host_fill(i, &stx);
    rwlock_unlock(&i->lock);
    return 0;
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

/* name NULL: the list of names. */
static ssize_t read_xattr(struct inode *i, const char *name, void *buf, size_t size)
{
    const struct door *door = &host_super(i->sb)->door;
    struct host_slot *s = host_slot_peek(i);
    struct host_place p;
    ssize_t r;
    if (s) {
        r = door_getxattr_fd(s->fd, name, buf, size);
        host_slot_put(i, s);
        return r;
    }
    if (host_place(i, &p))
        return name ? -ENODATA : 0;
    r = name ? door_getxattr(door, p.at, name, buf, size) : door_listxattr(door, p.at, buf, size);
    host_unplace(&p);
    return !name && r == -ENODATA ? 0 : r;
}

/* Most files have none, and ls asks each of them for three. */
static bool has_none(struct inode *i)
{
    struct host_node *n = host_node(i);
    if (!host_super(i->sb)->exclusive)
        return false;
    if (!n->no_xattrs && !n->asked_xattrs) {
        n->no_xattrs = read_xattr(i, NULL, NULL, 0) == 0;
        n->asked_xattrs = true;
    }
    return n->no_xattrs;
}

ssize_t host_getxattr(struct inode *i, const char *name, void *value, size_t size)
{
    if (has_none(i))
        return -ENODATA;
    return may_read(name) ? read_xattr(i, name, value, size) : -ENODATA;
}

ssize_t host_listxattr(struct inode *i, char *list, size_t size)
{
    ssize_t n = read_xattr(i, NULL, list, size);
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

/* value NULL: removes it. */
static int write_xattr(struct inode *i, const char *name, const void *value, size_t size, int flags)
{
    const struct door *door = &host_super(i->sb)->door;
    struct host_slot *s = host_slot_peek(i);
    struct host_place p;
    int err;
    if (s) {
        err = door_setxattr_fd(door, s->fd, name, value, size, flags);
        host_slot_put(i, s);
        return err;
    }
    err = host_place(i, &p);
    if (err)
        return err;
    err = value ? door_setxattr(door, p.at, name, value, size, flags)
                : door_removexattr(door, p.at, name);
    host_unplace(&p);
    return err;
}

static int change_xattr(struct inode *i, const char *name, const void *value, size_t size,
                        int flags)
{
    if (host_super(i->sb)->door.read_only)
        return -EROFS;
    if (!may_write(name))
        return -EOPNOTSUPP;
    if (!S_ISREG(i->mode) && !S_ISDIR(i->mode))
        return -EPERM;
    int err = write_xattr(i, name, value, size, flags);
    host_node(i)->stale = true;
    host_node(i)->asked_xattrs = host_node(i)->no_xattrs = false;
    return err;
}

int host_setxattr(struct inode *i, const char *name, const void *value, size_t size, int flags)
{
    return change_xattr(i, name, value ? value : "", size, flags);
}

int host_removexattr(struct inode *i, const char *name)
{
    return change_xattr(i, name, NULL, 0, 0);
}
