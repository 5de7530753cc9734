/*
 * The host file system: a directory tree of the host.
 *
 *   (host device, host inode number) -> inode.priv = host_node -> parent node and name
 *                                                              -> slots: descriptors, opened when
 * needed
 *
 * A node is found by what it is, not by what it is called, so hard links share it. The gofer opens
 * it by the way to it: the nearest ancestor that is open, and the names from there. What was
 * opened is compared with what was looked up; if somebody exchanged it, the answer is -ESTALE.
 *
 * Slots hold what is open, for all opens of the inode together: of a file the descriptors for
 * reading (slot 0) and for reading and writing (slot 1); of a directory the gofer's number, for the
 * sentry has no descriptor of any directory. Unused ones stay open for the next, up to a budget;
 * the least recently used are closed first.
 *
 * Locks: host_super.lock (LEAF) guards the table, parents, names and slots.
 */
#ifndef PICKET_SENTRY_FS_HOST_HOST_H
#define PICKET_SENTRY_FS_HOST_HOST_H

#include "memmap/host_file.h"
#include "memmap/mapping_set.h"
#include "sentry/fs/host/door.h"
#include "sentry/vfs/vfs.h"
#include <limits.h>

struct host_node;

#define HOST_DEVS 64
#define HOST_CACHED_ENTRIES_MAX 65536u /* larger listings are read anew for each open directory */
struct host_super {
    struct super_block *sb;
    struct door door;
    bool exclusive;
    struct mutex lock; /* LEAF */
    struct host_node **buckets;
    size_t nbuckets, count;
    struct list_head idle; /* slots nobody uses, least recently used first */
    unsigned nidle, max_idle;
    bool may_ask_ahead;      /* nobody at all changes the tree */
    struct list_head aheads; /* that have entries, oldest first */
    unsigned nahead, nahead_fds, unused_ahead;
    /* Host devices below the root, and what the sandbox calls them. */
    dev_t host_devs[HOST_DEVS], devs[HOST_DEVS];
    unsigned ndevs;
};

struct host_slot {
    int fd;    /* -1: not open. Of a directory: its node at the gofer (door.h) */
    int users; /* open files, and calls in progress */
    struct host_file *mapped;
    bool noexec; /* mapped: it lies on a mount of the host that forbids execution */
    bool ahead;  /* opened before anybody asked, and not used since */
    struct list_head idle_link;
    struct host_node *node;
};
#define SLOT_READ 0
#define SLOT_WRITE 1

/* What a directory held when it was read. */
struct host_listing {
    struct refcount ref;
    uint32_t count;
    uint32_t *at; /* byte offsets of entries in data */
    char *data;
};
struct host_dirent {
    uint64_t ino;
    uint16_t name_len;
    uint8_t type;
    char name[];
} __attribute__((packed));

struct host_node {
    struct inode *inode;
    struct host_node *hash_next;
    bool in_table;
    dev_t host_dev;
    dev_t dev; /* in the sandbox */
    /* host_super.lock */
    struct inode *parent; /* referenced; NULL for the root and nameless files */
    char *name;
    struct host_slot slots[2];
    uint32_t nameless; /* made by O_TMPFILE: its node at the gofer, to give it a name; or 0 */
    struct host_ahead *_Atomic ahead; /* of a directory that was listed */
    char *_Atomic target;             /* of a link, once it is known */

    _Atomic bool stale; /* the host knows better than the inode's fields */
    _Atomic uint64_t blocks;
    _Atomic uint32_t blksize;
    _Atomic uint64_t attributes, attributes_mask;
    bool has_btime;                       /* never changes, as the inode's btime and rdev */
    _Atomic bool asked_xattrs, no_xattrs; /* whether it is known to have none (exclusive) */
    struct mutex list_lock;               /* LEAF: listing */
    struct mutex read_lock; /* HOST_DIR: the position at which the gofer reads the directory */
    struct host_listing *listing;

    /* Regular files. */
    struct mappable mappable;
    struct mutex maps_lock; /* MAPPABLE_MAPS */
    struct mapping_set maps;
    struct mutex data_lock; /* MAPPABLE_DATA: size for translate, slots[].mapped */
};

static inline struct host_super *host_super(const struct super_block *sb)
{
    return sb->priv;
}
static inline struct host_node *host_node(const struct inode *i)
{
    return i->priv;
}

/* node.c */
/* The inode for what statx said; parent/name: where it was found (parent NULL: nowhere). Gives a
 * reference. */
int host_get_inode(struct super_block *sb, const struct statx *stx, struct inode *parent,
                   const char *name, struct inode **out);
void host_evict(struct inode *i);
/* i is gone from the host: its number may soon be another file's. */
void host_forget(struct inode *i);
void host_fill(struct inode *i, const struct statx *stx);
/* Asks the host again, unless what is known is sure to hold. */
int host_refresh(struct inode *i, bool force);
/* Where i is now: below its parent, or, an open directory, at itself. host_unplace afterwards.
 * -ENOENT if i has no name any more. */
struct host_place {
    struct inode *from;
    struct host_slot *slot; /* of from */
    struct door_at at;
    char name[256];
};
int host_place(struct inode *i, struct host_place *out);
void host_unplace(struct host_place *p);
/* i has this place now (parent NULL: none any more). 0 or -ENOMEM. */
int host_set_place(struct inode *i, struct inode *parent, const char *name);
bool host_is_at(struct inode *i, struct inode *parent, const char *name);

/* slots.c: a user of a slot, opened if needed. */
int host_slot_get(struct inode *i, int which, struct host_slot **out);
/* An already open slot of a file, or NULL: a descriptor of the inode itself. */
struct host_slot *host_slot_peek(struct inode *i);
/* The same of a directory. */
struct host_slot *host_slot_peek_dir(struct inode *i);
void host_slot_put(struct inode *i, struct host_slot *s);
/* Puts what was opened in, with one user, unless another did. Takes fd over. */
void host_slot_install(struct inode *i, int which, int fd, struct host_slot **out);
/* The way to a name in a directory ("": the directory itself), from the nearest one that is open.
 * host_way_end afterwards. */
struct host_way {
    struct door_at at;
    struct inode *from;
    struct host_slot *slot; /* of from */
    char buf[PATH_MAX];
};
int host_way(struct inode *dir, const char *name, struct host_way *w);
void host_way_end(struct host_way *w);
void host_slots_init(struct host_node *n);
void host_slots_close(struct host_node *n);

/* dir.c */
/* For trees that nobody else changes, and for others. */
extern const struct inode_ops host_dir_ops, host_shared_dir_ops;
extern const struct file_ops host_dir_fops;
void host_listing_put(struct host_listing *l);
/* From records as door.h has them. NULL: no memory. */
struct host_listing *host_listing_of(const void *records, size_t size);

/* ahead.c: what the gofer told before it was asked. */
struct host_entry {
    uint32_t at; /* in the listing */
    struct statx stx;
    int fd;                       /* of a file, or -1 */
    struct host_listing *listing; /* of a directory, or NULL */
    char *target;                 /* of a link, or NULL */
};
/* Somebody begins to read the directory, and may look at the entries next. */
void host_ahead_start(struct inode *dir, struct host_listing *l);
void host_ahead_stop(struct host_node *n);
/* A file was opened that the gofer had to be asked for. */
void host_ahead_opened(struct inode *i);
/* 1: *out is what there is, the caller's. 0: nothing is known. -errno: there is nothing. */
int host_ahead_lookup(struct inode *dir, const char *name, size_t len, struct host_entry *out);
void host_entry_drop(struct host_entry *e);
/* attr.c */
int host_getattr(struct inode *i, struct kstat *out);
int host_setattr(struct inode *i, const struct iattr *attr);
ssize_t host_getxattr(struct inode *i, const char *name, void *value, size_t size);
int host_setxattr(struct inode *i, const char *name, const void *value, size_t size, int flags);
ssize_t host_listxattr(struct inode *i, char *list, size_t size);
int host_removexattr(struct inode *i, const char *name);
/* file.c, map.c */
extern const struct inode_ops host_file_ops, host_link_ops, host_special_ops;
extern const struct file_ops host_file_fops;
int host_mmap(struct file *f, struct mmap_opts *opts);
int host_resize(struct inode *i, uint64_t size);
void host_node_init_map(struct host_node *n);
void host_node_release_map(struct host_node *n);

#endif
