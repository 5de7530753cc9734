/*
 * Extended attributes: a short list for each inode. Who may see and set which namespace is the
 * VFS's business.
 */
#include "sentry/fs/tmpfs/tmpfs.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#define XATTR_BYTES_MAX (128u << 10) /* names and values of one inode */

static bool known_namespace(const char *name)
{
    static const char *const prefixes[] = {"user.", "trusted.", "security."};
    for (size_t k = 0; k < ARRAY_SIZE(prefixes); k++) {
        size_t n = strlen(prefixes[k]);
        if (strncmp(name, prefixes[k], n) == 0 && name[n])
            return true;
    }
    return false;
}

static struct tmpfs_xattr *find(struct tmpfs_node *n, const char *name)
{
    struct tmpfs_xattr *x;
    list_for_each (x, &n->xattrs, link) {
        if (strcmp(x->name, name) == 0)
            return x;
    }
    return NULL;
}

static size_t cost(const struct tmpfs_xattr *x)
{
    return sizeof(*x) + strlen(x->name) + 1 + x->size;
}

static void drop(struct tmpfs_node *n, struct tmpfs_xattr *x)
{
    n->xattr_bytes -= cost(x);
    list_del(&x->link);
    free(x->name);
    free(x);
}

ssize_t tmpfs_getxattr(struct inode *i, const char *name, void *value, size_t size)
{
    if (!known_namespace(name))
        return -EOPNOTSUPP;
    rwlock_read(&i->lock);
    struct tmpfs_xattr *x = find(tmpfs_node(i), name);
    ssize_t r = x ? (ssize_t)x->size : -ENODATA;
    if (x && size) {
        if (size < x->size)
            r = -ERANGE;
        else
            memcpy(value, x->value, x->size);
    }
    rwlock_unlock(&i->lock);
    return r;
}

static struct tmpfs_xattr *make(const char *name, const void *value, size_t size)
{
    struct tmpfs_xattr *x = malloc(sizeof(*x) + size);
    if (!x)
        return NULL;
    x->name = strdup(name);
    x->size = size;
    if (size)
        memcpy(x->value, value, size);
    list_init(&x->link);
    if (!x->name) {
        free(x);
        return NULL;
    }
    return x;
}

int tmpfs_setxattr(struct inode *i, const char *name, const void *value, size_t size, int flags)
{
    if (!known_namespace(name))
        return -EOPNOTSUPP;
    struct tmpfs_xattr *fresh = make(name, value, size);
    if (!fresh)
        return -ENOMEM;
    struct tmpfs_node *n = tmpfs_node(i);
    rwlock_write(&i->lock);
    struct tmpfs_xattr *old = find(n, name);
    size_t bytes = n->xattr_bytes - (old ? cost(old) : 0) + cost(fresh);
    int err = 0;
    if (old && (flags & XATTR_CREATE))
        err = -EEXIST;
    else if (!old && (flags & XATTR_REPLACE))
        err = -ENODATA;
    else if (bytes > XATTR_BYTES_MAX)
        err = -ENOSPC;
    if (!err) {
        if (old)
            drop(n, old);
        n->xattr_bytes += cost(fresh);
        list_add_tail(&n->xattrs, &fresh->link);
        i->ctime = vfs_now(i->sb);
    }
    rwlock_unlock(&i->lock);
    if (err) {
        free(fresh->name);
        free(fresh);
    }
    return err;
}

ssize_t tmpfs_listxattr(struct inode *i, char *list, size_t size)
{
    ssize_t total = 0;
    struct tmpfs_xattr *x;
    rwlock_read(&i->lock);
    list_for_each (x, &tmpfs_node(i)->xattrs, link) {
        size_t n = strlen(x->name) + 1;
        if (size) {
            if ((size_t)total + n > size) {
                total = -ERANGE;
                break;
            }
            memcpy(list + total, x->name, n);
        }
        total += (ssize_t)n;
    }
    rwlock_unlock(&i->lock);
    return total;
}

int tmpfs_removexattr(struct inode *i, const char *name)
{
    if (!known_namespace(name))
        return -EOPNOTSUPP;
    rwlock_write(&i->lock);
    struct tmpfs_xattr *x = find(tmpfs_node(i), name);
    if (x) {
        drop(tmpfs_node(i), x);
        i->ctime = vfs_now(i->sb);
    }
    rwlock_unlock(&i->lock);
    return x ? 0 : -ENODATA;
}

void tmpfs_xattrs_release(struct tmpfs_node *n)
{
    struct tmpfs_xattr *x, *tmp;
    list_for_each_safe (x, tmp, &n->xattrs, link)
        drop(n, x);
}
