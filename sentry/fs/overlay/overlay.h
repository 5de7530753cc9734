/*
 * The overlay: a lower tree that nobody changes, and what the sandbox made of it, in memory.
 *
 *                      inode.priv = ovl_node
 *      lower-only      lower -> inode of the lower tree     upper NULL
 *      copied up       lower -> the same                    upper -> tmpfs inode      (pinned)
 *      new             lower NULL                           upper -> tmpfs inode
 *
 * The upper half is no tree of paths. A node is found by its lower inode or by its upper inode
 * (two hash tables), so an object that was copied up is found through its old lower name, and
 * through every name it is given later. Copying up therefore makes one nameless tmpfs inode and
 * touches no directory, no ancestor and no other link; renaming a directory needs no redirect. The
 * price: a node that was copied up stays in memory (pinned) until its last name goes.
 *
 * The upper inode of a directory maps names to upper inodes; the super block's one whiteout inode
 * stands for "not here, whatever the lower directory says". A lookup asks the upper directory, then
 * the lower one.
 *
 * st_ino is the lower inode's number for everything that comes from below, before and after it is
 * copied up.
 *
 * Locks: the VFS's dir_lock of the overlay's directory guards its upper directory as well.
 * ovl_node.copy_lock (INODE_DIR, nested: nothing of that rank is taken inside but the lower
 * directory's) is held while one object is copied up. ovl_super.lock (LEAF) guards the tables.
 */
#ifndef PICKET_SENTRY_FS_OVERLAY_OVERLAY_H
#define PICKET_SENTRY_FS_OVERLAY_OVERLAY_H

#include "sentry/fs/tmpfs/tmpfs.h"
#include "sentry/vfs/vfs.h"

#define OVL_UPPER_INO (1ull << 44) /* added to the numbers of new inodes */

struct ovl_node {
    struct inode *inode;
    struct inode *lower;                      /* referenced, or NULL */
    _Atomic(struct inode *) upper;            /* referenced; set once, under copy_lock */
    struct ovl_node *lower_next, *upper_next; /* ovl_super.lock */
    bool in_lower, in_upper;                  /* likewise */
    _Atomic bool pinned;                      /* likewise for who changes it */
    dev_t dev;
    struct mutex copy_lock;

    /* Regular files: map.c. */
    struct mappable mappable;
    struct mutex maps_lock; /* MAPPABLE_MAPS */
    struct mapping_set maps;
    struct mapping_space proxy;          /* what the real mappable knows of us */
    _Atomic(struct mappable *) real_map; /* changes under copy_lock; NULL: never mapped */
};

struct ovl_table {
    struct ovl_node **buckets;
    size_t nbuckets, count;
};

struct ovl_super {
    struct super_block *sb;
    struct super_block *lower, *upper; /* active references */
    struct inode *whiteout;
    struct cred *cred; /* the overlay's own: copying up needs nobody's permission */
    struct mutex lock; /* LEAF */
    struct ovl_table by_lower, by_upper;
};

/* f->priv of files and directories: the same thing opened below. */
struct ovl_file {
    struct mutex lock;           /* LEAF: the switch */
    _Atomic(struct file *) real; /* of the upper inode once there is one */
    struct file *before;         /* of the lower inode, after the switch */
};

static inline struct ovl_super *ovl_super(const struct super_block *sb)
{
    return sb->priv;
}
static inline struct ovl_node *ovl_node(const struct inode *i)
{
    return i->priv;
}
static inline struct inode *ovl_upper(const struct inode *i)
{
    return ovl_node(i)->upper;
}
/* What holds i's attributes and contents now. */
static inline struct inode *ovl_real(const struct inode *i)
{
    struct inode *upper = ovl_upper(i);
    return upper ? upper : ovl_node(i)->lower;
}

/* node.c */
/* The overlay's inode for a lower or an upper one (one of them NULL); takes over that reference,
 * also on failure. Gives a reference. */
int ovl_get_inode(struct super_block *sb, struct inode *lower, struct inode *upper,
                  struct inode **out);
void ovl_evict(struct inode *i);
/* Takes attributes over from the real inode. No inode.lock held. atime is the overlay's own
 * business (the VFS moves it), but for those who set it. */
void ovl_sync(struct inode *i, bool with_atime);
uint64_t ovl_upper_ino(struct super_block *sb, struct inode *upper);
/* The node has an upper inode from now on: finds it by that as well, and pins it. */
void ovl_publish(struct inode *i, struct inode *upper);
void ovl_pin(struct inode *i);
void ovl_unpin(struct inode *i);
void ovl_unpin_all(struct ovl_super *os);
/* Sets the link count, also of the upper inode, and unpins what has no name any more. */
void ovl_set_nlink(struct inode *i, uint32_t nlink);

/* copy_up.c. `data`: false if the contents are about to be cut to nothing. */
int ovl_copy_up(struct inode *i, bool data);

/* dir.c */
extern const struct inode_ops ovl_dir_ops, ovl_shared_dir_ops;
extern const struct file_ops ovl_dir_fops;
/* file.c */
extern const struct inode_ops ovl_file_ops, ovl_link_ops, ovl_special_ops;
extern const struct file_ops ovl_file_fops;
int ovl_open_real(struct inode *real, const struct file *like, const struct cred *cred,
                  struct task *t, struct file **out);
/* What f reads from and writes to now: the upper file as soon as there is one. */
struct file *ovl_real_file(struct file *f);
int ovl_open(struct inode *i, struct file *f, struct task *t);
void ovl_release(struct file *f);
/* map.c */
void ovl_map_init(struct ovl_node *n);
void ovl_map_release(struct ovl_node *n);
int ovl_mmap(struct file *f, struct mmap_opts *opts);
/* Mappings show the upper inode from now on. copy_lock held. 0 or -ENOMEM, nothing changed. */
int ovl_map_copied_up(struct ovl_node *n, struct inode *upper);
/* attr.c */
int ovl_getattr(struct inode *i, struct kstat *out);
int ovl_setattr(struct inode *i, const struct iattr *attr);
ssize_t ovl_getxattr(struct inode *i, const char *name, void *value, size_t size);
int ovl_setxattr(struct inode *i, const char *name, const void *value, size_t size, int flags);
ssize_t ovl_listxattr(struct inode *i, char *list, size_t size);
int ovl_removexattr(struct inode *i, const char *name);

#endif
