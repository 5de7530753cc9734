/*
 * The trees of mounts: what the files of the VFS know of them.
 *
 * All links of a tree change with mount_lock (MOUNT) and the dcache lock held for writing, and are
 * read with either. Peer groups are guarded by mount_lock alone.
 */
#ifndef PICKET_SENTRY_VFS_MOUNT_H
#define PICKET_SENTRY_VFS_MOUNT_H

#include "sentry/kernel/ns_common.h"
#include "sentry/vfs/vfs.h"
#include <errno.h>
#include <sys/mount.h>

/* ---- mount.c: trees ---- */

/*
 * A namespace is a tree with users: file-system contexts (fs_context.ns) and descriptors. An
 * anonymous one holds what open_tree and fsmount made, and belongs to one description.
 */
struct mount_ns {
    struct ns_common common;
    struct vfs *vfs;
    struct mount *root;    /* NULL: empty. MOUNT */
    struct list_head link; /* vfs->mount_namespaces (MOUNT); not if anonymous */
    bool anonymous;
};

/* maker: whose privileges will count in it; NULL: the first one. 0, -ENOMEM, -ENOSPC. */
int mount_ns_create(struct vfs *v, bool anonymous, const struct cred *maker, struct mount_ns **out);
/* All mounts of ns go, without telling anybody's peers. */
void mount_ns_empty(struct mount_ns *ns);

void mount_get(struct mount *m);
void mount_put(struct mount *m);
/* While p is a mount point, goes to the root of what is mounted there. Pre: dcache lock held; no
 * references move. Returns whether anything was crossed. */
bool mount_cross_down(struct path_ref *p);
/* While p is the root of a mount that has a parent, goes to its mount point. As above. */
bool mount_cross_up(struct path_ref *p);
/* The mount on p itself, or NULL. As above. */
struct mount *mount_over(const struct path_ref *p);
/* A mount outside of any tree. source may be NULL. 0, -ENOMEM, or -ENOSPC: too many. */
int mount_alloc(struct vfs *v, struct super_block *sb, struct dentry *root, unsigned flags,
                const char *source, struct mount **out);
/* The mount after m in the tree below top, parents before children and older siblings first; the
 * second one leaves out what is below m. NULL: m was the last. Nests as deep as anybody likes, so
 * nothing here is recursive. Pre: mount_lock or the dcache lock held. */
struct mount *mount_next(const struct mount *m, const struct mount *top);
struct mount *mount_next_skip(const struct mount *m, const struct mount *top);
bool mount_is_below(const struct mount *m, const struct mount *top);

/* ---- the same, with mount_lock held ---- */

/* Hangs m, which hangs nowhere, on `at`, over what is mounted there. The tree takes over the
 * caller's reference on m. */
void mount_link(struct mount *m, const struct path_ref *at);
/* Hangs m, a whole tree, on `at`, but under what may be mounted there already. */
void mount_link_beneath(struct mount *m, const struct path_ref *at);
/* Takes m from its parent, with all that is below it. The tree's reference is the caller's. */
void mount_unhang(struct mount *m);
/* m and all below it belong to ns (NULL: to none). */
void mount_set_ns(struct mount *m, struct mount_ns *ns);
/* Takes m and all below it apart: the parent links go, so that ".." from inside ends at a mount's
 * root, and they leave their peer groups. The tree's references go. */
void mount_unlink(struct mount *m);
/* The root of a mount of ns? */
bool mount_is_root(const struct path_ref *p, const struct mount_ns *ns);

/* ---- propagate.c: shared subtrees ---- */

/*
 *   peer group 1   members: m1, m2            what is mounted in one appears in the others,
 *        |         slaves: m3, m4
 *        `-> m3 (private slave)               and in slaves, but not the other way
 *        `-> m4 in peer group 2, slave of 1
 *
 * All members of a group have the same master. A group lives as long as it has members; when the
 * last one leaves, its slaves become those of its own master.
 */
struct peer_group {
    int id;
    struct list_head members; /* mount.peer */
    struct list_head slaves;  /* mount.slave */
    bool fresh;               /* made for a tree that is being grafted: not in force yet */
};

enum { MOUNT_COPY_SLAVE = 1, MOUNT_COPY_SHARED = 2, MOUNT_COPY_UNBINDABLE = 4 };

/* A copy of one mount, showing `root`: a peer of m if m is shared, and a slave of the same master;
 * or (MOUNT_COPY_SLAVE) a slave of m's group. MOUNT_COPY_SHARED: in a group of its own if in no
 * other. In no tree. */
int mount_copy(const struct mount *m, struct dentry *root, unsigned how, struct mount **out);
/* A copy of m, showing `root`, and of the mounts below that; unbindable ones are left out unless
 * MOUNT_COPY_UNBINDABLE. In no namespace: mount_link or mount_unlink it. */
int mount_copy_tree(struct mount *m, struct dentry *root, unsigned how, struct mount **out);
/* m, which is private, joins the groups of `other`. */
void mount_join(struct mount *m, const struct mount *other);
/* Leaves its groups. */
void mount_make_private(struct mount *m);
/* kind: MS_SHARED, MS_PRIVATE, MS_SLAVE or MS_UNBINDABLE. 0 or -ENOMEM. */
int mount_set_propagation(struct mount *m, unsigned kind);
/* Hangs the tree m, which hangs nowhere, on `at`, and copies of it wherever at->mnt propagates to:
 * into m itself too, unless it is a copy that is in no namespace yet. On failure m hangs nowhere,
 * but may have become shared. */
int mount_graft(struct mount *m, const struct path_ref *at);
/* Whether m, or what propagation would take away with it, is used by anybody. */
bool mount_is_busy(struct mount *m);
/* Takes m's tree away, and where its mounts were propagated to what is there. */
void mount_prune(struct mount *m);
/* For mountinfo: the group nearest above m, other than its master, with a member that is seen from
 * root; 0 if none. Pre: the dcache lock held as well. */
int mount_dominating_group(const struct mount *m, const struct path_ref *root);

/* ---- mount_calls.c ---- */

/* vfs_mount of a part of sb: only `root` and what is below it shows. */
int vfs_mount_at(struct mount_ns *ns, struct super_block *sb, struct dentry *root,
                 const struct path_ref *mountpoint, unsigned flags, const char *source);
/* The MS_* flags of mount(2) that a mount keeps, with one way of counting access times. */
unsigned mount_flags(unsigned long flags);
/* CAP_SYS_ADMIN where it counts: in the user namespace that owns the mount namespace. */
bool vfs_may_mount(struct task *t);
/* mount(2), umount2(2), which check after the walk who may; and pivot_root(2), whose caller may.
 * data: NULL or a string. */
int vfs_do_mount(struct task *t, const char *source, const char *target, const char *type,
                 unsigned long flags, const char *data);
int vfs_umount(struct task *t, const char *target, int flags);
int vfs_pivot_root(struct task *t, const char *new_root, const char *put_old);
/* Begins a change at *p, which may have been covered since it was looked up: goes on top. On 0
 * mount_lock is held. -ENOENT: a directory that was removed can carry nothing. */
int mount_place_lock(struct vfs *v, struct path_ref *p);
/* Parts of the above, for descriptors of mounts. Pre: mount_lock held. */
int mount_move_locked(struct mount_ns *ns, const struct path_ref *from, const struct path_ref *at);
/* -EBUSY: read-only, but files are open for writing. */
int mount_change_flags(struct mount *m, unsigned flags);
int super_change(struct vfs *v, struct super_block *sb, bool read_only, const char *data);
/* Every file system that is mounted. */
void vfs_sync_all(struct vfs *v);
/* The root of a mount of the file system with that device number; reference given. -EINVAL. */
int vfs_find_dev(struct vfs *v, dev_t dev, struct path_ref *out);
/* Whether d carries a mount of t's namespace: it is not to be removed then. */
bool mount_is_local_point(struct task *t, const struct dentry *d);
/* d was removed: what other namespaces have mounted on it goes. */
void mount_detach_all(struct dentry *d);

/* 0, or -EROFS: both the mount and the super block allow writes. */
static inline int mount_want_write(const struct mount *m)
{
    return m && (m->flags & MS_RDONLY || m->sb->read_only) ? -EROFS : 0;
}

/* ---- mount_types.c ---- */

const struct file_system_type *file_system_find(const char *name);

#endif
