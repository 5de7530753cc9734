/*
 * The virtual file system: inodes, dentries, mounts, file descriptions, descriptor tables, path
 * walks.
 *
 *   descriptor -> struct file (file description) -> struct path (mount, dentry) -> inode -> super
 * block
 *
 * The shapes are Linux's own (Documentation/filesystems/vfs.rst), so what is said of them there
 * holds here. A file system fills three tables: super_ops, inode_ops, file_ops. A NULL operation
 * means that the file system lacks it, and the VFS answers with the errno Linux gives then.
 *
 * Locks (see base/lock_order.h): inode.dir_lock (INODE_DIR) for directory contents: held for
 * writing by the VFS around create, unlink, rename... and lookup, for reading around iterate;
 * inode.lock (INODE) for data and attributes: taken by file systems in read, write, setattr.
 * release, evict and destroy may run wherever a last reference is dropped, munmap included: they
 * take no lock that precedes MAPPABLE_MAPS.
 */
#ifndef PICKET_SENTRY_VFS_VFS_H
#define PICKET_SENTRY_VFS_VFS_H

#include "base/list.h"
#include "base/lock.h"
#include "base/refcount.h"
#include "memmap/memmap.h"
#include "mm/uio.h"
#include "sentry/kernel/wait.h"
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <stdio.h>
#include <sys/statfs.h>

struct kernel;
struct task;
struct cred;
struct inode;
struct dentry;
struct mount;
struct file;
struct super_block;
struct mount_ns;
struct ns_common;
struct peer_group;
struct fs_context;
struct path_ref;
struct file_owner;
struct lock_waits;
struct aio;

/* ---- attributes ---- */

struct timestamp {
    int64_t sec;
    uint32_t nsec;
};

struct kstat {
    uint64_t ino;
    dev_t dev, rdev;
    uint32_t mode; /* type and permissions */
    uint32_t nlink;
    uid_t uid;
    gid_t gid;
    uint64_t size, blocks; /* bytes; 512-byte units */
    uint32_t blksize;
    struct timestamp atime, mtime, ctime, btime;
    bool has_btime;
    uint64_t attributes, attributes_mask; /* STATX_ATTR_* */
};

#define ATTR_MODE 0x01u
#define ATTR_UID 0x02u
#define ATTR_GID 0x04u
#define ATTR_SIZE 0x08u
#define ATTR_ATIME 0x10u
#define ATTR_MTIME 0x20u
#define ATTR_CTIME 0x40u
struct iattr {
    uint32_t valid; /* ATTR_* */
    uint32_t mode;  /* permission bits only */
    uid_t uid;
    gid_t gid;
    uint64_t size;
    struct timestamp atime, mtime, ctime;
};

/* ---- super blocks ---- */

struct super_ops {
    int (*statfs)(struct super_block *sb, struct statfs *out);
    /* Appends ",size=..." to what /proc/mounts says. NULL: nothing. */
    void (*show_options)(struct super_block *sb, FILE *f);
    /* mount -o remount,DATA. NULL: takes no options, and ignores them. */
    int (*reconfigure)(struct super_block *sb, const char *data);
    int (*sync)(struct super_block *sb);
    /* The last active reference is gone: lets go of inodes that the file system itself holds.
     * Called before the root is dropped. */
    void (*shutdown)(struct super_block *sb);
    /* The last reference is gone; every inode has been evicted. */
    void (*destroy)(struct super_block *sb);
};

/*
 * Two counts, so that the root can hold the super block and the super block its root:
 *
 *   users (mounts, an overlay over it) --active--> super block --root--> dentry --> inode --ref-->
 * sb
 *
 * When the last active reference goes, the cached dentries and the root are dropped; destroy is
 * called when the inodes that somebody still held are gone as well.
 */
struct super_block {
    struct refcount ref;    /* inodes; and one for all active references together */
    struct refcount active; /* super_get, super_put */
    const struct super_ops *ops;
    struct kernel *kernel;
    const char *type; /* "tmpfs" */
    uint64_t magic;
    dev_t dev;                /* from vfs_new_dev */
    struct dentry *root;      /* owned */
    struct mutex rename_lock; /* RENAME: directories moving between parents */
    bool no_dentry_cache;     /* unreferenced dentries are dropped at once (proc) */
    _Atomic bool read_only;   /* mounted so: through every mount */
    void *priv;
};

/* A super block with one active reference and a fresh dev; sb->root is for the file system to set
 * (d_make_root). NULL: no memory. */
struct super_block *super_create(struct kernel *k, const char *type, uint64_t magic,
                                 const struct super_ops *ops, void *priv);
/* Active references. */
struct super_block *super_get(struct super_block *sb);
void super_put(struct super_block *sb);

/* ---- inodes ---- */

/* What lookup, create... get a name from, and give an inode to: d_instantiate. */
struct inode_ops {
    /* Finds d->name in dir; calls d_instantiate(d, inode) with a reference given, or leaves d
     * negative. 0 or -errno (not -ENOENT). Called with dir->dir_lock held for writing.
     */
    int (*lookup)(struct inode *dir, struct dentry *d);
    /* These make d positive. mode has the umask applied and the type bits set. The new inode's
     * owner comes from inode_init_owner. dir_lock held for writing; d is negative. */
    int (*create)(struct inode *dir, struct dentry *d, uint32_t mode, const struct cred *cred);
    int (*mkdir)(struct inode *dir, struct dentry *d, uint32_t mode, const struct cred *cred);
    int (*mknod)(struct inode *dir, struct dentry *d, uint32_t mode, dev_t rdev,
                 const struct cred *cred);
    int (*symlink)(struct inode *dir, struct dentry *d, const char *target,
                   const struct cred *cred);
    int (*link)(struct dentry *old, struct inode *dir, struct dentry *d);
    int (*unlink)(struct inode *dir, struct dentry *d);
    /* -ENOTEMPTY is its business. The victim's dir_lock is held for writing too; likewise that of a
     * directory which rename replaces. */
    int (*rmdir)(struct inode *dir, struct dentry *d);
    /* flags: RENAME_NOREPLACE was checked; RENAME_EXCHANGE, RENAME_WHITEOUT. The dentries are moved
     * by the VFS afterwards. */
    int (*rename)(struct inode *old_dir, struct dentry *old, struct inode *new_dir,
                  struct dentry *new_d, unsigned flags);
    /* O_TMPFILE: an inode without a name; reference given. */
    int (*tmpfile)(struct inode *dir, uint32_t mode, const struct cred *cred, struct inode **out);

    /* Symbolic links: the target, at most size - 1 bytes and a NUL; returns its length. t: who asks
     * (/proc/self depends on it), or NULL. */
    ssize_t (*readlink)(struct inode *i, struct task *t, char *buf, size_t size);
    /* Magic links (/proc/PID/fd/N): where to go, reference given. NULL for ordinary links. */
    int (*follow)(struct inode *i, struct task *t, struct path_ref *out);

    /* NULL: from the inode's fields. */
    int (*getattr)(struct inode *i, struct kstat *out);
    /* Permission was checked. NULL: -EPERM. Shrinking and growing come here as ATTR_SIZE. */
    int (*setattr)(struct inode *i, const struct iattr *attr);
    /* NULL: inode_permission_generic. mask: MAY_READ|MAY_WRITE|MAY_EXEC. */
    int (*permission)(struct inode *i, const struct cred *cred, int mask);

    /* Names include the prefix. get and list with size 0 return the size needed. */
    ssize_t (*getxattr)(struct inode *i, const char *name, void *value, size_t size);
    int (*setxattr)(struct inode *i, const char *name, const void *value, size_t size, int flags);
    ssize_t (*listxattr)(struct inode *i, char *list, size_t size);
    int (*removexattr)(struct inode *i, const char *name);

    /* Prepares f (f->ops is i->fops; f->priv is the file system's). May replace f->ops (devices,
     * FIFOs). May block for FIFOs. NULL: nothing to do. */
    int (*open)(struct inode *i, struct file *f, struct task *t);
    /* The last reference and the last link (nlink 0), or the cache, let it go. */
    void (*evict)(struct inode *i);
    /* Whether what the dentry says still holds: asked at each walk over it. NULL: always. name:
     * what d was found by; with no lock held, d's own name may be changing. */
    bool (*revalidate)(struct inode *dir, struct dentry *d, const char *name, size_t len);
};

#define MAY_EXEC 1
#define MAY_WRITE 2
#define MAY_READ 4

struct inode {
    struct refcount ref;
    const struct inode_ops *ops;
    const struct file_ops *fops; /* what open gives to a file */
    struct super_block *sb;      /* referenced */
    struct rwlock dir_lock;      /* directories */
    struct rwlock lock;
    uint64_t ino;
    /* Guarded by lock for writers; readers may look without (each is a single word). */
    _Atomic uint32_t mode;
    _Atomic uint32_t nlink;
    _Atomic uid_t uid;
    _Atomic gid_t gid;
    dev_t rdev;
    _Atomic uint64_t size;
    struct timestamp atime, mtime, ctime, btime;
    _Atomic int write_count;               /* > 0: writers; < 0: being executed (-ETXTBSY) */
    struct file_lock_context *locks;       /* POSIX, OFD and flock locks, or NULL: vfs/locks.c */
    struct inotify_watch *_Atomic watches; /* INOTIFY: vfs/inotify.c */
    struct pipe *pipe;                     /* of a FIFO that somebody has open: fs/pipefs */
    struct unix_sock *unix_sock;           /* bound to this name (UNIX_NAMES): socket/unix */
    char *_Atomic link_body; /* of a symbolic link, once read: walks use it (VFS); not where
                                sb->no_dentry_cache: /proc/self differs between readers */
    bool linkable;           /* made by O_TMPFILE without O_EXCL: link may give it a name (VFS) */
    _Atomic uint8_t write_hint; /* F_SET_RW_HINT: RWH_* */
    bool dead;                  /* a directory that was removed (dir_lock; set by the VFS) */
    void *priv;
};

/* A fresh inode with one reference; takes a reference on sb. NULL: no memory. */
struct inode *inode_create(struct super_block *sb, uint64_t ino, uint32_t mode,
                           const struct inode_ops *ops, const struct file_ops *fops);
void inode_get(struct inode *i);
void inode_put(struct inode *i);
/* Owner, and group and set-gid bit from the directory as Linux does. */
void inode_init_owner(struct inode *i, const struct inode *dir, uint32_t mode,
                      const struct cred *cred);
int inode_permission(struct inode *i, const struct cred *cred, int mask);
/* Whether cred has a capability over i: in its own user namespace, where i's owner and group have
 * ids as well. */
bool inode_capable(const struct inode *i, const struct cred *cred, int cap);
int inode_permission_generic(struct inode *i, const struct cred *cred, int mask);
void inode_fill_stat(struct inode *i, struct kstat *out);
/* Mode, owner, group and the times of access and change of data. inode.lock held. */
void inode_copy_attr(struct inode *i, const struct iattr *attr);
/* inode_ops.setattr for what lives in memory and has no size: pipes, sockets. */
int inode_simple_setattr(struct inode *i, const struct iattr *attr);
/* Current time of the sandbox's realtime clock, for timestamps. */
struct timestamp vfs_now(struct super_block *sb);
/* f was read: moves the inode's atime as mount flags, O_NOATIME and relatime say. The VFS calls it
 * after read, getdents and mmap; file systems need not. */
void file_accessed(struct file *f);

/* ---- dentries ---- */

struct dentry {
    struct refcount ref;
    struct dentry *parent; /* referenced; itself for a root. DCACHE */
    /* Referenced; NULL: negative. A dentry that somebody holds may become positive at any time, but
     * never negative again. */
    _Atomic(struct inode *) inode;
    struct super_block *sb;
    char *name; /* immutable but for rename (DCACHE) */
    uint32_t name_len, hash;
    struct list_head children, sibling; /* DCACHE */
    struct dentry *hash_next;
    struct list_head lru;
    bool hashed;
    _Atomic int mounts; /* mounts on it, in any namespace */
    void *priv;
};

void d_instantiate(struct dentry *d, struct inode *i); /* takes the caller's reference */
void dentry_get(struct dentry *d);
void dentry_put(struct dentry *d);
/* A root dentry for a super block; takes the caller's reference on i. */
struct dentry *d_make_root(struct super_block *sb, struct inode *i);
/* A dentry outside of any tree: pipes, sockets, memfds ("name" is what /proc/PID/fd shows). */
struct dentry *d_make_anon(struct super_block *sb, const char *name, struct inode *i);
/* Forgets d for later walks; its users keep it. */
void d_drop(struct dentry *d);
/* Forgets everything unused below sb (after a change behind our back). */
void d_shrink(struct super_block *sb);

/* ---- mounts and paths ---- */

struct path_ref {
    struct mount *mnt;
    struct dentry *dentry;
};
void path_get(const struct path_ref *p);
void path_put(struct path_ref *p); /* clears it; harmless on a cleared one */

struct mount {
    struct refcount ref;
    struct super_block *sb;
    struct dentry *root;       /* of this mount: a sub-directory for bind mounts */
    struct mount *parent;      /* MOUNT */
    struct dentry *mountpoint; /* MOUNT */
    struct list_head children, sibling;
    struct mount_ns *ns;          /* whose tree it is in; NULL: in none (MOUNT) */
    struct peer_group *group;     /* shared: with whom (MOUNT; vfs/propagate.c) */
    struct peer_group *master;    /* slave: of whom */
    struct list_head peer, slave; /* links of these two */
    struct list_head work;        /* a list that an operation on the trees makes (MOUNT) */
    _Atomic unsigned flags; /* MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME ... */
    _Atomic int writers;    /* files that are open for writing */
    _Atomic bool expiring;  /* umount2(MNT_EXPIRE) found it unused; any use clears it */
    bool unbindable;        /* MOUNT */
    unsigned char prune;    /* while a tree is taken away (MOUNT; propagate.c) */
    int id;
    char *source; /* as /proc/mounts shows */
};

/*
 * Mount namespaces. A task's own is that of its file-system context, t->fs->ns: root and working
 * directory are in it, and tasks that share a context share the namespace.
 */
struct mount_ns *mount_ns_get(struct mount_ns *ns);
void mount_ns_put(struct mount_ns *ns); /* NULL is harmless */
/* Gives fs, which nobody shares, a copy of its namespace: root and working directory move to the
 * copies of their mounts. Where maker is in another user namespace than the original's, the copy
 * changes nothing in the original (its mounts are slaves). 0, -ENOMEM or -ENOSPC. */
int mount_ns_unshare(struct fs_context *fs, const struct cred *maker);
struct ns_common *mount_ns_common(struct mount_ns *ns);
struct mount_ns *mount_ns_of(struct ns_common *ns);
/* setns(2): fs, which nobody shares, stands at the root of ns afterwards. */
int mount_ns_enter(struct fs_context *fs, struct mount_ns *ns);

/* ---- path walks (namei.c) ---- */

#define LOOKUP_FOLLOW 1u     /* follow a final symbolic link */
#define LOOKUP_DIRECTORY 2u  /* -ENOTDIR unless a directory */
#define LOOKUP_EMPTY_PATH 4u /* "" means dfd itself */
#define LOOKUP_NO_AUTOMOUNT 8u
/* openat2 RESOLVE_* may be or-ed in, shifted by this. */
#define LOOKUP_RESOLVE_SHIFT 16

/* Path strings are sentry copies (vfs_getname). dfd: AT_FDCWD or a descriptor of t. */
int vfs_lookup(struct task *t, int dfd, const char *path, unsigned flags, struct path_ref *out);
/* The parent directory of the last component, which is copied to last (NAME_MAX + 1 bytes) and may
 * be
 * ".", ".." or end in a slash (*slash). */
int vfs_lookup_parent(struct task *t, int dfd, const char *path, unsigned flags,
                      struct path_ref *parent, char *last, bool *slash);
/* A path string from the application: malloc'ed, at most PATH_MAX with its NUL. -EFAULT,
 * -ENAMETOOLONG, -ENOENT for "" unless LOOKUP_EMPTY_PATH. */
int vfs_getname(struct task *t, gva_t addr, unsigned flags, char **out);
/* The path as seen from root, for getcwd and /proc: length with NUL; "(unreachable)" prefix and
 * " (deleted)" suffix as Linux. -ENAMETOOLONG. */
int vfs_path_string(struct task *t, const struct path_ref *p, char *buf, size_t size);

/* Whether t's root is not that of its mount namespace. */
bool vfs_is_chrooted(struct task *t);

int vfs_open(struct task *t, int dfd, const char *path, const struct open_how *how,
             struct file **out);
/* Opens what p names (no walk): flags as open(2). */
int vfs_open_path(struct task *t, const struct path_ref *p, int flags, struct file **out);
/* A program: a regular file with execute permission, not on a noexec mount; nobody may write it
 * (-ETXTBSY) until the description is gone. flags: AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW. */
int vfs_open_exec(struct task *t, int dfd, const char *path, int flags, struct file **out);
int vfs_mkdir(struct task *t, int dfd, const char *path, uint32_t mode);
int vfs_mknod(struct task *t, int dfd, const char *path, uint32_t mode, dev_t dev);
int vfs_symlink(struct task *t, const char *target, int dfd, const char *path);
int vfs_link(struct task *t, int old_dfd, const char *old, int dfd, const char *path, int flags);
int vfs_unlink(struct task *t, int dfd, const char *path, int flags); /* AT_REMOVEDIR */
int vfs_rename(struct task *t, int old_dfd, const char *old, int new_dfd, const char *path,
               unsigned flags);
int vfs_getattr(const struct path_ref *p, struct kstat *out);
int vfs_setattr(struct task *t, const struct path_ref *p, const struct iattr *attr);
/* access(2) and the like: -EROFS included. */
int vfs_permission(const struct path_ref *p, const struct cred *cred, int mask);

/* ---- file descriptions ---- */

/* Receives directory entries. Returns false when the buffer is full (the entry was not taken). */
struct dir_emitter {
    bool (*emit)(struct dir_emitter *e, const char *name, size_t len, uint64_t ino, uint8_t type,
                 int64_t next_offset);
};

struct file_ops {
    /*
     * Move at most u->resid bytes at *pos and advance it (streams ignore pos). Return bytes moved,
     * 0 at the end, or -errno. f->flags & O_NONBLOCK, or rwf & RWF_NOWAIT, means -EAGAIN instead
     * of sleeping. write: O_APPEND is the file system's business; limits are the VFS's.
     */
    ssize_t (*read)(struct file *f, struct uio *u, int64_t *pos, int rwf);
    ssize_t (*write)(struct file *f, struct uio *u, int64_t *pos, int rwf);
    /* Returns the new offset. NULL: seeks as on a regular file of inode size; see also f->stream.
     */
    int64_t (*llseek)(struct file *f, int64_t offset, int whence);
    int (*iterate)(struct file *f, struct dir_emitter *e, int64_t *pos);
    long (*ioctl)(struct file *f, struct task *t, unsigned cmd, uint64_t arg);
    /* Fills opts->mappable (and may restrict max_perms). identity is already the file's own.
     * NULL: -ENODEV. */
    int (*mmap)(struct file *f, struct mmap_opts *opts);
    /* What is ready now, as poll(2) bits; NULL: always EPOLLIN|EPOLLOUT|EPOLLRDNORM|EPOLLWRNORM. */
    uint32_t (*poll)(struct file *f, uint32_t events);
    /* Where changes of readiness are announced; NULL (or returns NULL): never changes. */
    struct wait_queue *(*poll_queue)(struct file *f);
    int (*fsync)(struct file *f, int64_t start, int64_t end, bool data_only);
    int (*fallocate)(struct file *f, int mode, int64_t offset, int64_t length);
    /* Each close of a descriptor / the last reference. */
    int (*flush)(struct file *f, struct task *t);
    void (*release)(struct file *f);
    /* A line or more for /proc/PID/fdinfo; as snprintf. */
    int (*show_fdinfo)(struct file *f, char *buf, size_t size);
    /* F_SETFL changed O_NONBLOCK, O_APPEND, O_ASYNC, O_DIRECT: may refuse. */
    int (*set_flags)(struct file *f, unsigned flags);
    /* fcntl commands that belong to the object: F_ADD_SEALS, F_GET_SEALS, F_SETPIPE_SZ,
     * F_GETPIPE_SZ. NULL: -EINVAL (-EBADF for the pipe commands). */
    long (*fcntl)(struct file *f, struct task *t, unsigned cmd, uint64_t arg);
    /* O_ASYNC works: wake-ups of poll_queue become signals. */
    bool can_async;
    /* Its queue tells of EPOLLPRI, which is SIGURG to the owner. */
    bool async_urgent;
    /* Where it is noted (true) that somebody missed room for output: only then POLLOUT becomes a
     * signal. NULL: always. */
    _Atomic bool *(*async_out)(struct file *f);
};

struct file {
    struct refcount ref;
    struct mapping_identity identity; /* mmap holds the description through this */
    const struct file_ops *ops;
    struct path_ref path;
    struct inode *inode; /* path.dentry->inode at open; referenced */
    struct kernel *kernel;
    _Atomic unsigned flags; /* O_* as F_GETFL shows, plus O_PATH */
    bool readable, writable;
    bool holds_write;      /* counted in inode.write_count: opened for writing */
    bool denies_write;     /* the other way: opened for execution */
    bool opened;           /* by a walk: its end is an event for inotify */
    bool stream;           /* no position: pipes, sockets, terminals; llseek is -ESPIPE */
    struct mutex pos_lock; /* FILE_POS: read, write, lseek, getdents that move pos */
    int64_t pos;
    const struct cred *cred;  /* of the opener */
    struct mutex lock;        /* FILE */
    struct list_head epolls;  /* epoll items watching this file: vfs/epoll.c */
    struct file_owner *owner; /* F_SETOWN, F_SETSIG; NULL: nobody (FILE): vfs/fasync.c */
    void *priv;
};

/* A description for an inode that needs no walk: pipes, epoll, memfd... Takes a reference on d,
 * which the caller keeps. flags: O_*. NULL: no memory. */
struct file *file_create(struct kernel *k, struct mount *mnt, struct dentry *d, unsigned flags,
                         const struct file_ops *ops, void *priv, const struct cred *cred);
/* An anonymous inode's file ("anon_inode:[eventfd]"). */
int file_create_anon(struct kernel *k, const char *name, unsigned flags, const struct file_ops *ops,
                     void *priv, const struct cred *cred, struct file **out);
struct file *file_get(struct file *f);
void file_put(struct file *f);
/* f, which has no reference left, is off all interest lists afterwards (epoll.c; file_put). */
void epoll_forget(struct file *f);

/* With the descriptor's checks (mode, limits) and position; what read(2), pread(2)... do. */
ssize_t file_read(struct file *f, struct uio *u);
ssize_t file_write(struct file *f, struct uio *u);
ssize_t file_pread(struct file *f, struct uio *u, int64_t pos, int rwf);
ssize_t file_pwrite(struct file *f, struct uio *u, int64_t pos, int rwf);
/* The loader's: sentry memory, no limits. Returns bytes (short at the end) or -errno. */
ssize_t file_read_kernel(struct file *f, void *buf, size_t n, int64_t pos);
uint32_t file_poll(struct file *f, uint32_t events);
struct wait_queue *file_poll_queue(struct file *f);
/* The largest offset: shortens *n for a write at pos; -EFBIG if nothing is left. RLIMIT_FSIZE is
 * applied by the VFS before the file system is called. */
int vfs_write_limit(struct file *f, int64_t pos, uint64_t *n);

/* ---- descriptor tables (fd_table.c) ---- */

struct fd_table;
struct fd_table *fd_table_create(void);
struct fd_table *fd_table_get(struct fd_table *ft);
void fd_table_put(struct fd_table *ft);
/* fork: a copy, each description with one more reference. */
int fd_table_copy(struct fd_table *ft, struct fd_table **out);
/* exec, unshare(CLONE_FILES): a copy of its own for t, if anybody shares its table. 0 or -ENOMEM.
 */
int fd_table_unshare(struct task *t);
/* A reference to the description, or NULL (-EBADF). fd_get refuses O_PATH descriptions. */
struct file *fd_get(struct task *t, int fd);
struct file *fd_get_path(struct task *t, int fd);
/* The lowest free descriptor >= min; takes a reference of its own. -EMFILE at RLIMIT_NOFILE. */
int fd_install(struct task *t, struct file *f, int min, bool cloexec);
/* 0, or -EMFILE: fd_install(t, .., 0, ..) would fail now. */
int fd_room(struct task *t);
/* dup2: replaces what newfd was. Returns newfd or -errno. */
int fd_install_at(struct task *t, struct file *f, int newfd, bool cloexec);
int fd_close(struct task *t, int fd);
int fd_close_range(struct task *t, unsigned first, unsigned last, bool only_cloexec_flag);
int fd_set_cloexec(struct task *t, int fd, bool on);
int fd_get_cloexec(struct task *t, int fd);
/* exec: unshares happen before; closes what is close-on-exec. */
void fd_table_do_cloexec(struct task *t);
/* For /proc/PID/fd: the next open descriptor >= fd, with a reference; -1 if none. */
int fd_table_next(struct fd_table *ft, int fd, struct file **out);
/* Drops the table of an exiting task: closes everything if it is the last user. */
void fd_table_exit(struct task *t);

/* ---- per-process file-system context ---- */

struct fs_context {
    struct refcount ref;
    struct mutex lock; /* FS_CONTEXT */
    struct path_ref root, cwd;
    struct mount_ns *ns; /* they are in; referenced */
    uint32_t umask;
};
/* The namespace is that of root's mount. */
struct fs_context *fs_context_create(const struct path_ref *root, const struct path_ref *cwd);
struct fs_context *fs_context_copy(struct fs_context *fc);
struct fs_context *fs_context_get(struct fs_context *fc);
void fs_context_put(struct fs_context *fc);

/* ---- the whole ---- */

struct vfs {
    struct kernel *kernel;
    struct mount_ns *root_ns;
    struct super_block *anon_sb; /* anonymous inodes */
    struct super_block *pipe_sb;
    struct super_block *sock_sb;
    struct super_block *ns_sb;            /* fs/nsfs */
    struct unix_names *unix_names;        /* socket/unix */
    struct unix_gc *unix_gc;              /* likewise: files in messages that nobody has read */
    struct mount *anon_mnt;               /* their mount, reachable by no walk */
    struct super_block *devpts;           /* that /dev/ptmx belongs to */
    _Atomic(struct super_block *) shm_sb; /* nameless tmpfs files; made on first use */
    struct aio *aio;
    struct dcache *dcache;
    struct lock_waits *lock_waits; /* who waits for whom: vfs/locks.c */
    struct mutex mount_lock;       /* MOUNT */
    struct list_head mount_namespaces;
    int next_peer_group; /* MOUNT */
    _Atomic unsigned nmounts;
    struct mutex epoll_graph;  /* EPOLL_GRAPH */
    uint64_t epoll_visits;     /* searches of that graph: numbers them */
    struct mutex inotify_lock; /* INOTIFY */
    struct list_head inotify_instances;
    _Atomic uint32_t nwatches; /* of all of them */
    _Atomic uint32_t inotify_cookie;
    _Atomic uint32_t next_dev, next_mount_id;
    _Atomic uint64_t next_anon_ino; /* pipes, sockets */
};
struct file_system_type {
    const char *name;
    /* source, data as mount(2). Gives a super block with one reference and its root set. */
    int (*mount)(struct kernel *k, const char *source, const char *data, struct super_block **out);
    /* Whether it would take that one option ("size=1m"); NULL: all. */
    int (*check)(const struct kernel *k, const char *option);
    bool user_mountable; /* mount(2) in the sandbox may ask for it */
};

/* Makes k->vfs, the root (host directory, overlay), /proc, /dev, /sys, the volumes as config says.
 * root and cwd (config->cwd) come with references, for fs_context_create. */
int vfs_boot(struct kernel *k, struct path_ref *root, struct path_ref *cwd, char *why,
             size_t why_size);
/* A path as the boot sees it, before there is a task. */
int vfs_boot_lookup(struct kernel *k, const char *path, struct path_ref *out);
void vfs_destroy(struct vfs *v);
dev_t vfs_new_dev(struct vfs *v);
/* Mounts sb at mountpoint (or as the namespace's root if NULL). Takes the caller's reference on sb.
 */
int vfs_mount(struct mount_ns *ns, struct super_block *sb, struct path_ref *mountpoint,
              unsigned flags, const char *source);
/* What /proc/PID/{mounts,mountinfo,mountstats} say to somebody whose root is `root`: malloc'ed. */
enum mounts_format { MOUNTS_TAB, MOUNTS_INFO, MOUNTS_STATS };
int vfs_mounts_text(struct mount_ns *ns, const struct path_ref *root, enum mounts_format format,
                    char **out, size_t *length);
/* A pair of pipe ends. */
int pipe_create(struct kernel *k, unsigned flags, const struct cred *cred, struct file *out[2]);
/* Opens a FIFO, of any file system: f->ops and f->priv are the pipe's afterwards. May block. */
int fifo_open(struct inode *i, struct file *f, struct task *t);
/* A description of a host descriptor that was passed through (stdin, ...). Takes over host_fd. */
int hostfd_create(struct kernel *k, int host_fd, const struct cred *cred, struct file **out);

/* The file systems' constructors (fs/NAME/). */
int tmpfs_create(struct kernel *k, uint32_t root_mode, uint64_t max_bytes,
                 struct super_block **out);
/* As file_system_type.mount: data are mount options. */
int tmpfs_mount(struct kernel *k, const char *source, const char *data, struct super_block **out);
int tmpfs_check_option(const struct kernel *k, const char *option);
/* A nameless tmpfs file for memfd_create, shared anonymous memory (mm), System V shared memory,
 * open for reading and writing. name: as /proc/PID/fd and maps show it ("/memfd:x (deleted)",
 * "/dev/zero (deleted)"). flags: MFD_ALLOW_SEALING, MFD_NOEXEC_SEAL; without them the file takes no
 * seals. */
int tmpfs_create_anon_file(struct kernel *k, const char *name, uint64_t size, unsigned flags,
                           const struct cred *cred, struct file **out);
/* Directory `export` of the gofer's, which was told whether it is read_only. exclusive: nobody else
 * changes the tree, so everything may be cached. */
int hostfs_create(struct kernel *k, unsigned export, bool read_only, bool exclusive,
                  struct super_block **out);
/* Both given with a reference, which the overlay takes over. */
int overlay_create(struct kernel *k, struct super_block *lower, struct super_block *upper,
                   struct super_block **out);
int procfs_create(struct kernel *k, struct super_block **out);
int sysfs_create(struct kernel *k, struct super_block **out);
int cgroupfs_create(struct kernel *k, struct super_block **out);
int devfs_create(struct kernel *k, struct super_block **out);

#endif
