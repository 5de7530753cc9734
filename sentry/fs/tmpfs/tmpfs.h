/*
 * tmpfs: everything in memory. Names and attributes in the sentry's heap, contents in the memory
 * file.
 *
 *   inode.priv -> tmpfs_dir   entries by name (hash) and by cookie (range set), each holding an
 * inode
 *              -> tmpfs_file  extents: offset -> place in the memory file; mapping set; seals
 *              -> tmpfs_link  target of a symbolic link
 *
 * Locks. Directory contents: inode.dir_lock, taken by the VFS. Reading takes inode.lock shared and
 * writing takes it exclusively, so pages stay while bytes are copied to and from the application:
 * only truncation and hole punching give pages up, and they hold it exclusively as well. Faults
 * (translate) take data_lock alone: they look extents up and add pages, they remove none.
 */
#ifndef PICKET_SENTRY_FS_TMPFS_TMPFS_H
#define PICKET_SENTRY_FS_TMPFS_TMPFS_H

#include "base/range_set.h"
#include "memmap/mapping_set.h"
#include "memmap/memory_file.h"
#include "sentry/vfs/vfs.h"
#include <limits.h>
#include <linux/fs.h>

/* Newer than the C library's headers. */
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

struct tmpfs_super {
    struct super_block *sb;
    struct memory_file *memory;
    _Atomic uint64_t max_pages; /* 0: no limit */
    _Atomic uint64_t max_inodes;
    _Atomic unsigned given; /* which mount options were (options.c) */
    _Atomic uint64_t used_pages, used_inodes, next_ino;
    /* Directories that are torn down with everything below them (deep trees: no recursion). */
    struct mutex doom_lock; /* LEAF */
    struct list_head doomed;
    bool draining;
};

struct tmpfs_xattr {
    struct list_head link;
    char *name;
    size_t size;
    char value[];
};

struct tmpfs_node {
    struct inode *inode;
    struct list_head doomed;
    struct list_head xattrs; /* inode.lock */
    size_t xattr_bytes;
};

struct tmpfs_dirent {
    struct range_node by_cookie; /* [cookie, cookie + 1) */
    struct tmpfs_dirent *hash_next;
    struct inode *inode; /* referenced */
    uint32_t hash;
    uint16_t name_len;
    char name[];
};

struct tmpfs_dir {
    struct tmpfs_node node;
    struct tmpfs_dirent **buckets;
    size_t nbuckets, count;
    struct range_set order;
    uint64_t next_cookie;
    uint64_t parent_ino;
};

struct tmpfs_extent {
    struct range_node n; /* offsets in the file */
    uint64_t place;      /* of n.start in the memory file */
    struct tmpfs_extent *next_detached;
};

struct tmpfs_file {
    struct tmpfs_node node;
    struct mappable mappable;
    struct mutex maps_lock; /* MAPPABLE_MAPS */
    struct mapping_set maps;
    struct mutex data_lock; /* MAPPABLE_DATA: extents, ahead_*; the size with inode.lock */
    struct range_set extents;
    /* Pages at the end that were allocated ahead of a growing file: not charged, never seen. */
    uint64_t ahead_start, ahead_end;
    _Atomic unsigned seals;
    bool shared_anon; /* nobody can tell holes from zeroes: faults may allocate ahead */
};

struct tmpfs_link {
    struct tmpfs_node node;
    size_t length;
    char target[];
};

static inline struct tmpfs_super *tmpfs_super(const struct super_block *sb)
{
    return sb->priv;
}
static inline struct tmpfs_node *tmpfs_node(const struct inode *i)
{
    return i->priv;
}
static inline struct tmpfs_dir *tmpfs_dir(const struct inode *i)
{
    return i->priv;
}
static inline struct tmpfs_file *tmpfs_file(const struct inode *i)
{
    return i->priv;
}

/* inode.c. mode has its type bits; cred may be NULL (root). */
int tmpfs_new_inode(struct super_block *sb, const struct inode *dir, uint32_t mode, dev_t rdev,
                    const char *target, const struct cred *cred, struct inode **out);
void tmpfs_evict(struct inode *i);
int tmpfs_getattr(struct inode *i, struct kstat *out);
int tmpfs_setattr(struct inode *i, const struct iattr *attr);
void tmpfs_touch(struct inode *i, bool modified);

/* options.c */
int tmpfs_reconfigure(struct super_block *sb, const char *data);
void tmpfs_show_options(struct super_block *sb, FILE *f);

/* dir.c */
extern const struct inode_ops tmpfs_dir_ops;
extern const struct file_ops tmpfs_dir_fops;
void tmpfs_dir_init(struct tmpfs_dir *d);
void tmpfs_dir_release(struct tmpfs_dir *d, struct tmpfs_super *ts);
/* For the overlay, which keeps its upper names here: a map from names to inodes, whose link counts
 * are not touched. find gives no reference; set takes one of its own. */
struct inode *tmpfs_dir_find(struct inode *dir, const char *name, size_t len);
int tmpfs_dir_set(struct inode *dir, const char *name, size_t len, struct inode *i);
void tmpfs_dir_remove(struct inode *dir, const char *name, size_t len);
/* The first entry with a cookie of at least `from`, or NULL. */
struct tmpfs_dirent *tmpfs_dir_next(struct inode *dir, uint64_t from);

/* xattr.c */
ssize_t tmpfs_getxattr(struct inode *i, const char *name, void *value, size_t size);
int tmpfs_setxattr(struct inode *i, const char *name, const void *value, size_t size, int flags);
ssize_t tmpfs_listxattr(struct inode *i, char *list, size_t size);
int tmpfs_removexattr(struct inode *i, const char *name);
void tmpfs_xattrs_release(struct tmpfs_node *n);

/* pages.c: where the bytes are. */
void tmpfs_file_init(struct tmpfs_file *tf);
void tmpfs_file_release(struct tmpfs_file *tf, struct tmpfs_super *ts);
/* The pages of [start, end) exist afterwards, up to *done. data_lock held; bounds page-aligned.
 * `grow`: a growing file, allocate ahead. 0, -ENOSPC or -ENOMEM. *fresh (if not NULL): from where
 * on, up to *done, all pages are new and untouched. */
int tmpfs_reserve(struct tmpfs_file *tf, uint64_t start, uint64_t end, bool grow, uint64_t *done,
                  uint64_t *fresh);
/* The extent that holds off (*len: from off to its end, *p the sentry's view), or a hole (*p NULL,
 * *len: to the next extent, or UINT64_MAX - off). Takes data_lock. */
void tmpfs_find(struct tmpfs_file *tf, uint64_t off, char **p, uint64_t *len);
/* Drops pages wholly inside [start, end) (UINT64_MAX: to the end), and invalidates mappings.
 * new_size: UINT64_MAX leaves the size alone. inode.lock held exclusively. 0 or -ENOMEM. */
int tmpfs_drop(struct tmpfs_file *tf, uint64_t start, uint64_t end, uint64_t new_size,
               bool private_too);
/* Zeroes the bytes of [start, end) that have pages. */
void tmpfs_zero(struct tmpfs_file *tf, uint64_t start, uint64_t end);
void tmpfs_trim_ahead(struct tmpfs_file *tf);
uint64_t tmpfs_blocks(struct tmpfs_file *tf);
uint64_t tmpfs_next_data(struct tmpfs_file *tf, uint64_t off);
uint64_t tmpfs_next_hole(struct tmpfs_file *tf, uint64_t off);
int tmpfs_truncate(struct inode *i, uint64_t size);

/* file.c */
extern const struct inode_ops tmpfs_file_ops, tmpfs_link_ops, tmpfs_special_ops;
extern const struct file_ops tmpfs_file_fops;

#endif
