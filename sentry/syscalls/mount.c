/*
 * Mounting. Everything here needs CAP_SYS_ADMIN.
 */
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/internal.h"

#ifndef MS_MGC_VAL
#define MS_MGC_VAL 0xC0ED0000
#define MS_MGC_MSK 0xffff0000
#endif

/* An optional string; s is NULL if addr is. */
static int optional_name(struct task *t, gva_t addr, struct pathbuf *buf, const char **s)
{
    *s = addr ? buf->s : NULL;
    return addr ? getname(t, addr, LOOKUP_EMPTY_PATH, buf) : 0;
}

SYSCALL(mount)
{
    struct pathbuf source_buf, target, type_buf, data_buf;
    const char *source, *type, *data;
    unsigned long flags = a->a[3];
    int err = optional_name(t, ARG_GVA(a, 2), &type_buf, &type);
    if (!err)
        err = optional_name(t, ARG_GVA(a, 0), &source_buf, &source);
    if (!err)
        err = optional_name(t, ARG_GVA(a, 4), &data_buf, &data);
    if (!err)
        err = getname(t, ARG_GVA(a, 1), 0, &target);
    if (err)
        return err;
    if ((flags & MS_MGC_MSK) == MS_MGC_VAL)
        flags &= ~(unsigned long)MS_MGC_MSK;
    return vfs_do_mount(t, source, target.s, type, flags, data);
}

SYSCALL(umount2)
{
    struct pathbuf target;
    int err = getname(t, ARG_GVA(a, 0), 0, &target);
    return err ? err : vfs_umount(t, target.s, ARG_INT(a, 1));
}

SYSCALL(pivot_root)
{
    struct pathbuf new_root, put_old;
    if (!vfs_may_mount(t))
        return -EPERM;
    int err = getname(t, ARG_GVA(a, 0), 0, &new_root);
    if (!err)
        err = getname(t, ARG_GVA(a, 1), 0, &put_old);
    return err ? err : vfs_pivot_root(t, new_root.s, put_old.s);
}

/* ---- handles: a file system would have to find an inode by number ---- */

SYSCALL(name_to_handle_at)
{
    struct path_ref p;
    int flags = ARG_INT(a, 4);
    if (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
        return -EINVAL;
    int at = (flags & AT_EMPTY_PATH) | (flags & AT_SYMLINK_FOLLOW ? 0 : AT_SYMLINK_NOFOLLOW);
    int err = user_path_at(t, ARG_INT(a, 0), ARG_GVA(a, 1), at, &p);
    if (err)
        return err;
    path_put(&p);
    return -EOPNOTSUPP;
}

SYSCALL(open_by_handle_at)
{
    return task_capable(t, CAP_DAC_READ_SEARCH) ? -EOPNOTSUPP : -EPERM;
}
