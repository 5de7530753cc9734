/*
 * Extended attributes. See xattr(7): who may touch which name space is decided here.
 */
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/internal.h"
#include "sentry/vfs/notify.h"
#include <linux/limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

/* Which file: by path, or by descriptor. */
enum target { BY_PATH, BY_LINK, BY_FD };

static int xattr_target(struct task *t, const struct sysargs *a, enum target how,
                        struct path_ref *out)
{
    if (how != BY_FD)
        return user_path_at(t, AT_FDCWD, ARG_GVA(a, 0), how == BY_LINK ? AT_SYMLINK_NOFOLLOW : 0,
                            out);
    struct file *f = fd_get(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    *out = f->path;
    path_get(out);
    file_put(f);
    return 0;
}

static int xattr_name(struct task *t, gva_t addr, char name[XATTR_NAME_MAX + 1])
{
    ssize_t n = mm_copy_in_string(t->mm, name, addr, XATTR_NAME_MAX + 1);
    if (n == 0 || n == -ENAMETOOLONG)
        return -ERANGE;
    return n < 0 ? (int)n : 0;
}

static bool has_prefix(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* user.* needs the file's own permissions; the others have rules of their own. */
static int user_xattr_permission(struct task *t, const struct path_ref *p, bool write)
{
    struct inode *i = p->dentry->inode;
    if (!S_ISREG(i->mode) && !S_ISDIR(i->mode))
        return write ? -EPERM : -ENODATA;
    if (S_ISDIR(i->mode) && i->mode & S_ISVTX && write && !inode_owner_or_capable(i, t->cred))
        return -EPERM;
    return inode_permission(i, t->cred, write ? MAY_WRITE : MAY_READ);
}

static int xattr_permission(struct task *t, const struct path_ref *p, const char *name, bool write)
{
    if (write) {
        int err = mount_want_write(p->mnt);
        if (err)
            return err;
    }
    if (has_prefix(name, "user."))
        return name[5] ? user_xattr_permission(t, p, write) : -EINVAL;
    if (has_prefix(name, "trusted.")) {
        if (!task_capable(t, CAP_SYS_ADMIN))
            return write ? -EPERM : -ENODATA;
        return 0;
    }
    if (has_prefix(name, "security.")) {
        int cap = strcmp(name, "security.capability") == 0 ? CAP_SETFCAP : CAP_SYS_ADMIN;
        return write && !task_capable(t, cap) ? -EPERM : 0;
    }
    return -EOPNOTSUPP;
}

/* ---- set ---- */

static int set_value(struct task *t, const struct path_ref *p, const char *name, gva_t value,
                     size_t size, int flags)
{
    struct inode *i = p->dentry->inode;
    int err = xattr_permission(t, p, name, true);
    if (err)
        return err;
    if (!i->ops->setxattr)
        return -EOPNOTSUPP;
    char *buf = malloc(size ? size : 1);
    if (!buf)
        return -ENOMEM;
    err = size ? mm_copy_in(t->mm, buf, value, size) : 0;
    if (!err)
        err = i->ops->setxattr(i, name, buf, size, flags);
    free(buf);
    if (!err)
        notify_dentry(p->dentry, IN_ATTRIB);
    return err;
}

static long do_setxattr(struct task *t, const struct sysargs *a, enum target how)
{
    char name[XATTR_NAME_MAX + 1];
    struct path_ref p;
    int flags = ARG_INT(a, 4);
    if (flags & ~(XATTR_CREATE | XATTR_REPLACE))
        return -EINVAL;
    int err = xattr_name(t, ARG_GVA(a, 1), name);
    if (!err && a->a[3] > XATTR_SIZE_MAX)
        err = -E2BIG;
    if (!err)
        err = xattr_target(t, a, how, &p);
    if (err)
        return err;
    err = set_value(t, &p, name, ARG_GVA(a, 2), a->a[3], flags);
    path_put(&p);
    return err;
}
SYSCALL(setxattr)
{
    return do_setxattr(t, a, BY_PATH);
}
SYSCALL(lsetxattr)
{
    return do_setxattr(t, a, BY_LINK);
}
SYSCALL(fsetxattr)
{
    return do_setxattr(t, a, BY_FD);
}

/* ---- get ---- */

static ssize_t get_value(struct task *t, const struct path_ref *p, const char *name, gva_t value,
                         size_t size)
{
    struct inode *i = p->dentry->inode;
    int err = xattr_permission(t, p, name, false);
    if (err)
        return err;
    if (!i->ops->getxattr)
        return -EOPNOTSUPP;
    if (size == 0)
        return i->ops->getxattr(i, name, NULL, 0);
    size = MIN(size, (size_t)XATTR_SIZE_MAX);
    char *buf = malloc(size);
    if (!buf)
        return -ENOMEM;
    ssize_t n = i->ops->getxattr(i, name, buf, size);
    if (n > 0 && mm_copy_out(t->mm, value, buf, (size_t)n))
        n = -EFAULT;
    free(buf);
    return n;
}

static long do_getxattr(struct task *t, const struct sysargs *a, enum target how)
{
    char name[XATTR_NAME_MAX + 1];
    struct path_ref p;
    int err = xattr_name(t, ARG_GVA(a, 1), name);
    if (!err)
        err = xattr_target(t, a, how, &p);
    if (err)
        return err;
    ssize_t n = get_value(t, &p, name, ARG_GVA(a, 2), a->a[3]);
    path_put(&p);
    return n;
}
SYSCALL(getxattr)
{
    return do_getxattr(t, a, BY_PATH);
}
SYSCALL(lgetxattr)
{
    return do_getxattr(t, a, BY_LINK);
}
SYSCALL(fgetxattr)
{
    return do_getxattr(t, a, BY_FD);
}

/* ---- list ---- */

/* Takes trusted.* out of a list for those who may not know of it. */
static ssize_t hide_trusted(struct task *t, char *list, ssize_t n)
{
    if (n <= 0 || task_capable(t, CAP_SYS_ADMIN))
        return n;
    char *from = list, *to = list, *end = list + n;
    while (from < end) {
        size_t len = strnlen(from, (size_t)(end - from)) + 1;
        if (!has_prefix(from, "trusted.")) {
            memmove(to, from, len);
            to += len;
        }
        from += len;
    }
    return to - list;
}

static ssize_t list_names(struct task *t, struct inode *i, gva_t list, size_t size)
{
    if (!i->ops->listxattr)
        return 0;
    char *buf = malloc(XATTR_LIST_MAX);
    if (!buf)
        return -ENOMEM;
    ssize_t n = hide_trusted(t, buf, i->ops->listxattr(i, buf, XATTR_LIST_MAX));
    if (n == -ERANGE)
        n = -E2BIG;
    else if (n > 0 && size && (size_t)n > size)
        n = -ERANGE;
    else if (n > 0 && size && mm_copy_out(t->mm, list, buf, (size_t)n))
        n = -EFAULT;
    free(buf);
    return n;
}

static long do_listxattr(struct task *t, const struct sysargs *a, enum target how)
{
    struct path_ref p;
    int err = xattr_target(t, a, how, &p);
    if (err)
        return err;
    ssize_t n = list_names(t, p.dentry->inode, ARG_GVA(a, 1), a->a[2]);
    path_put(&p);
    return n;
}
SYSCALL(listxattr)
{
    return do_listxattr(t, a, BY_PATH);
}
SYSCALL(llistxattr)
{
    return do_listxattr(t, a, BY_LINK);
}
SYSCALL(flistxattr)
{
    return do_listxattr(t, a, BY_FD);
}

/* ---- remove ---- */

static long do_removexattr(struct task *t, const struct sysargs *a, enum target how)
{
    char name[XATTR_NAME_MAX + 1];
    struct path_ref p;
    int err = xattr_name(t, ARG_GVA(a, 1), name);
    if (!err)
        err = xattr_target(t, a, how, &p);
    if (err)
        return err;
    struct inode *i = p.dentry->inode;
    err = xattr_permission(t, &p, name, true);
    if (!err)
        err = i->ops->removexattr ? i->ops->removexattr(i, name) : -EOPNOTSUPP;
    if (!err)
        notify_dentry(p.dentry, IN_ATTRIB);
    path_put(&p);
    return err;
}
SYSCALL(removexattr)
{
    return do_removexattr(t, a, BY_PATH);
}
SYSCALL(lremovexattr)
{
    return do_removexattr(t, a, BY_LINK);
}
SYSCALL(fremovexattr)
{
    return do_removexattr(t, a, BY_FD);
}
