/*
 * Mounts by descriptor: fsopen(2), fsconfig(2), fsmount(2), fspick(2), open_tree(2), move_mount(2),
 * mount_setattr(2). The caller has CAP_SYS_ADMIN where the call asks for it.
 */
#ifndef PICKET_SENTRY_VFS_MOUNT_FD_H
#define PICKET_SENTRY_VFS_MOUNT_FD_H

#include "sentry/vfs/mount.h"

/* ---- fs_config.c: a file system that is being configured ---- */

/* A new one of that type. -ENODEV. */
int fs_config_open(struct task *t, const char *type, struct file **out);
/* That of a mount, to be configured anew. */
int fs_config_pick(struct task *t, const struct path_ref *p, struct file **out);
/* f: -EINVAL unless it is one of those. value: NULL, or a string. */
int fs_config_set(struct task *t, struct file *f, unsigned cmd, const char *key, const char *value);
/* The new super block, once FSCONFIG_CMD_CREATE made it, with a reference; *source is malloc'ed or
 * NULL. The file system can be configured anew afterwards. */
int fs_config_take(struct file *f, struct super_block **sb, char **source);

/* ---- mount_fd.c ---- */

/* Whether these MOUNT_ATTR_* can be had. */
bool mount_attr_valid(uint64_t attr);
/* A tree of its own with one mount of sb, with such attributes, open as by O_PATH; it goes with
 * the description, unless it is moved somewhere before. */
int vfs_fsmount(struct task *t, struct super_block *sb, const char *source, uint64_t attr,
                struct file **out);
/* A copy of what is mounted at p, likewise. */
int vfs_clone_tree(struct task *t, const struct path_ref *p, bool recursive, struct file **out);
int vfs_move_mount(struct task *t, const struct path_ref *from, struct path_ref *to);
/* move_mount(MOVE_MOUNT_SET_GROUP): `to` joins the peer group and master of `from`. */
int vfs_set_group(struct task *t, const struct path_ref *from, const struct path_ref *to);
int vfs_mount_setattr(struct task *t, const struct path_ref *p, bool recursive,
                      const struct mount_attr *attr);

#endif
