/*
 * The mount calls that work with descriptors: fsopen, fsconfig, fsmount, fspick, open_tree,
 * move_mount, mount_setattr.
 */
#include "sentry/vfs/mount_fd.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/internal.h"
#include <stdlib.h>
#include <string.h>

#define NAME_LIMIT 256 /* of types, keys and values */

static int install(struct task *t, struct file *f, bool cloexec)
{
    int fd = fd_install(t, f, 0, cloexec);
    file_put(f);
    return fd;
}

/* A string of less than NAME_LIMIT bytes. */
static int short_string(struct task *t, gva_t addr, char *buf)
{
    ssize_t n = mm_copy_in_string(t->mm, buf, addr, NAME_LIMIT);
    return n == -ENAMETOOLONG ? -EINVAL : n < 0 ? (int)n : 0;
}

SYSCALL(fsopen)
{
    char type[NAME_LIMIT];
    struct file *f;
    unsigned flags = ARG_UINT(a, 1);
    if (!vfs_may_mount(t))
        return -EPERM;
    if (flags & ~(unsigned)FSOPEN_CLOEXEC)
        return -EINVAL;
    int err = short_string(t, ARG_GVA(a, 0), type);
    if (!err)
        err = fs_config_open(t, type, &f);
    return err ? err : install(t, f, flags & FSOPEN_CLOEXEC);
}

SYSCALL(fspick)
{
    struct path_ref p;
    struct file *f;
    unsigned flags = ARG_UINT(a, 2);
    if (!vfs_may_mount(t))
        return -EPERM;
    if (flags & ~(unsigned)(FSPICK_CLOEXEC | FSPICK_SYMLINK_NOFOLLOW | FSPICK_NO_AUTOMOUNT |
                            FSPICK_EMPTY_PATH))
        return -EINVAL;
    int at = (flags & FSPICK_SYMLINK_NOFOLLOW ? AT_SYMLINK_NOFOLLOW : 0) |
             (flags & FSPICK_EMPTY_PATH ? AT_EMPTY_PATH : 0);
    int err = user_path_at(t, ARG_INT(a, 0), ARG_GVA(a, 1), at, &p);
    if (err)
        return err;
    err = fs_config_pick(t, &p, &f);
    path_put(&p);
    return err ? err : install(t, f, flags & FSPICK_CLOEXEC);
}

/* What each command takes: aux is zero unless said otherwise. */
static int check_command(const struct sysargs *a)
{
    bool key = a->a[2], value = a->a[3];
    int aux = ARG_INT(a, 4);
    switch (ARG_UINT(a, 1)) {
    case FSCONFIG_SET_FLAG:
        return key && !value && !aux ? 0 : -EINVAL;
    case FSCONFIG_SET_STRING:
        return key && value && !aux ? 0 : -EINVAL;
    case FSCONFIG_CMD_CREATE:
    case FSCONFIG_CMD_RECONFIGURE:
        return !key && !value && !aux ? 0 : -EINVAL;
    /* No file system here has a parameter of these kinds. */
    case FSCONFIG_SET_BINARY:
    case FSCONFIG_SET_PATH:
    case FSCONFIG_SET_PATH_EMPTY:
    case FSCONFIG_SET_FD:
        return -EINVAL;
    default:
        return -EOPNOTSUPP;
    }
}

SYSCALL(fsconfig)
{
    char key[NAME_LIMIT], value[NAME_LIMIT];
    unsigned cmd = ARG_UINT(a, 1);
    bool is_set = cmd == FSCONFIG_SET_FLAG || cmd == FSCONFIG_SET_STRING;
    if (ARG_INT(a, 0) < 0)
        return -EINVAL;
    int err = check_command(a);
    if (err)
        return err;
    struct file *f = fd_get(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    if (is_set)
        err = short_string(t, ARG_GVA(a, 2), key);
    if (!err && cmd == FSCONFIG_SET_STRING)
        err = short_string(t, ARG_GVA(a, 3), value);
    if (!err && !is_set && !vfs_may_mount(t))
        err = -EPERM;
    if (!err)
        err = fs_config_set(t, f, cmd, key, cmd == FSCONFIG_SET_STRING ? value : NULL);
    file_put(f);
    return err;
}

SYSCALL(fsmount)
{
    struct super_block *sb;
    struct file *mount;
    char *source;
    unsigned flags = ARG_UINT(a, 1);
    if (!vfs_may_mount(t))
        return -EPERM;
    if (flags & ~(unsigned)FSMOUNT_CLOEXEC || !mount_attr_valid(ARG_UINT(a, 2)))
        return -EINVAL;
    struct file *f = fd_get(t, ARG_INT(a, 0));
    if (!f)
        return -EBADF;
    int err = fs_config_take(f, &sb, &source);
    file_put(f);
    if (err)
        return err;
    err = vfs_fsmount(t, sb, source, ARG_UINT(a, 2), &mount);
    super_put(sb);
    free(source);
    return err ? err : install(t, mount, flags & FSMOUNT_CLOEXEC);
}

SYSCALL(open_tree)
{
    struct path_ref p;
    struct file *f;
    unsigned flags = ARG_UINT(a, 2);
    bool clone = flags & OPEN_TREE_CLONE;
    if (flags & ~(unsigned)(AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW |
                            OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC))
        return -EINVAL;
    if (flags & AT_RECURSIVE && !clone)
        return -EINVAL;
    if (clone && !vfs_may_mount(t))
        return -EPERM;
    int err = user_path_at(t, ARG_INT(a, 0), ARG_GVA(a, 1),
                           (int)flags & (AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW), &p);
    if (err)
        return err;
    err =
        clone ? vfs_clone_tree(t, &p, flags & AT_RECURSIVE, &f) : vfs_open_path(t, &p, O_PATH, &f);
    path_put(&p);
    return err ? err : install(t, f, flags & OPEN_TREE_CLOEXEC);
}

SYSCALL(move_mount)
{
    struct path_ref from, to;
    unsigned flags = ARG_UINT(a, 4);
    if (!vfs_may_mount(t))
        return -EPERM;
    if (flags &
        ~(unsigned)(MOVE_MOUNT_F_SYMLINKS | MOVE_MOUNT_F_AUTOMOUNTS | MOVE_MOUNT_F_EMPTY_PATH |
                    MOVE_MOUNT_T_SYMLINKS | MOVE_MOUNT_T_AUTOMOUNTS | MOVE_MOUNT_T_EMPTY_PATH |
                    MOVE_MOUNT_SET_GROUP))
        return -EINVAL;
    int f_at = (flags & MOVE_MOUNT_F_SYMLINKS ? 0 : AT_SYMLINK_NOFOLLOW) |
               (flags & MOVE_MOUNT_F_EMPTY_PATH ? AT_EMPTY_PATH : 0);
    int t_at = (flags & MOVE_MOUNT_T_SYMLINKS ? 0 : AT_SYMLINK_NOFOLLOW) |
               (flags & MOVE_MOUNT_T_EMPTY_PATH ? AT_EMPTY_PATH : 0);
    int err = user_path_at(t, ARG_INT(a, 0), ARG_GVA(a, 1), f_at, &from);
    if (err)
        return err;
    err = user_path_at(t, ARG_INT(a, 2), ARG_GVA(a, 3), t_at, &to);
    if (!err) {
        err = flags & MOVE_MOUNT_SET_GROUP ? vfs_set_group(t, &from, &to)
                                           : vfs_move_mount(t, &from, &to);
        path_put(&to);
    }
    path_put(&from);
    return err;
}

SYSCALL(mount_setattr)
{
    struct mount_attr attr;
    struct path_ref p;
    unsigned flags = ARG_UINT(a, 2);
    if (flags & ~(unsigned)(AT_EMPTY_PATH | AT_RECURSIVE | AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT))
        return -EINVAL;
    if (a->a[4] > PAGE_SIZE)
        return -E2BIG;
    if (a->a[4] < sizeof attr)
        return -EINVAL;
    if (!vfs_may_mount(t))
        return -EPERM;
    int err = copy_in_struct(t, ARG_GVA(a, 3), a->a[4], &attr, sizeof attr);
    if (err)
        return err;
    if (!attr.attr_set && !attr.attr_clr && !attr.propagation)
        return 0;
    err = user_path_at(t, ARG_INT(a, 0), ARG_GVA(a, 1),
                       (int)flags & (AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW), &p);
    if (err)
        return err;
    err = vfs_mount_setattr(t, &p, flags & AT_RECURSIVE, &attr);
    path_put(&p);
    return err;
}
