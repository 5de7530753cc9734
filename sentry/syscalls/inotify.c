/*
 * inotify_init, inotify_init1, inotify_add_watch, inotify_rm_watch.
 */
#include "sentry/vfs/inotify.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/internal.h"
#include <sys/inotify.h>

#define ALL_BITS                                                                                   \
    (IN_ALL_EVENTS | IN_UNMOUNT | IN_Q_OVERFLOW | IN_IGNORED | IN_ONLYDIR | IN_DONT_FOLLOW |       \
     IN_EXCL_UNLINK | IN_MASK_CREATE | IN_MASK_ADD | IN_ISDIR | IN_ONESHOT)

static long do_init(struct task *t, unsigned flags)
{
    struct file *f;
    if (flags & ~(unsigned)(IN_CLOEXEC | IN_NONBLOCK))
        return -EINVAL;
    int err = inotify_create_file(t, flags, &f);
    if (err)
        return err;
    int fd = fd_install(t, f, 0, flags & IN_CLOEXEC);
    file_put(f);
    return fd;
}
SYSCALL(inotify_init)
{
    (void)a;
    return do_init(t, 0);
}
SYSCALL(inotify_init1)
{
    return do_init(t, ARG_UINT(a, 0));
}

static long add_watch(struct task *t, struct file *f, gva_t path, uint32_t mask)
{
    struct pathbuf name;
    struct path_ref p;
    if (mask & IN_MASK_ADD && mask & IN_MASK_CREATE)
        return -EINVAL;
    if (!file_is_inotify(f))
        return -EINVAL;
    long r = getname(t, path, 0, &name);
    if (!r)
        r = vfs_lookup(t, AT_FDCWD, name.s,
                       (mask & IN_DONT_FOLLOW ? 0 : LOOKUP_FOLLOW) |
                           (mask & IN_ONLYDIR ? LOOKUP_DIRECTORY : 0),
                       &p);
    if (r)
        return r;
    r = inode_permission(p.dentry->inode, t->cred, MAY_READ);
    if (!r)
        r = inotify_add(f, p.dentry->inode, mask);
    path_put(&p);
    return r;
}
SYSCALL(inotify_add_watch)
{
    uint32_t mask = ARG_UINT(a, 2);
    if (!(mask & ALL_BITS))
        return -EINVAL;
    struct file *f = fd_get(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    long r = add_watch(t, f, ARG_GVA(a, 1), mask);
    file_put(f);
    return r;
}

SYSCALL(inotify_rm_watch)
{
    struct file *f = fd_get(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    int err = file_is_inotify(f) ? inotify_remove(f, ARG_INT(a, 1)) : -EINVAL;
    file_put(f);
    return err;
}
