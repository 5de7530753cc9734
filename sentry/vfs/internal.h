/*
 * What the files of the VFS know of each other and nobody else needs.
 */
#ifndef PICKET_SENTRY_VFS_INTERNAL_H
#define PICKET_SENTRY_VFS_INTERNAL_H

#include "sentry/kernel/cred.h"
#include "sentry/kernel/errno.h"
#include "sentry/vfs/mount.h"
#include "sentry/vfs/vfs.h"
#include <limits.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* ---- dcache.c ---- */

/*
 *   buckets[hash] -> dentry -> dentry        one reference each is the cache's own
 *   lru: newest ... oldest                   every hashed dentry is on it
 *
 * Guarded by lock (DCACHE): reading to find, writing to add, drop, move. The mount tree's links
 * (mount.parent, mountpoint, children) are written with it held as well, so that a walk needs no
 * other lock.
 */
struct dcache {
    struct rwlock lock;
    struct dentry **buckets;
    uint32_t mask;
    uint32_t seed;
    struct list_head lru;
    size_t count; /* hashed dentries */
    size_t limit; /* above this, unused ones are dropped */
};

int dcache_create(struct dcache **out, size_t limit);
void dcache_destroy(struct dcache *dc);
/* The dcache that holds sb's dentries. */
struct dcache *dcache_of(const struct super_block *sb);
uint32_t d_hash(const struct dcache *dc, const struct dentry *parent, const char *name, size_t len);
/* Pre: dc->lock held. The dentry is not referenced. */
struct dentry *d_find_locked(const struct dcache *dc, const struct dentry *parent, const char *name,
                             size_t len);
/* A reference, or NULL. */
struct dentry *d_find(struct dentry *parent, const char *name, size_t len);
/* A new dentry of one reference, on no list, negative. parent may be NULL (itself). */
struct dentry *d_alloc(struct super_block *sb, struct dentry *parent, const char *name, size_t len);
/* Makes d findable. Pre: parent's dir_lock held for writing, and no dentry of that name. */
void d_add(struct dentry *d);
/* The inode of d has lost this name. Turns d negative if nobody else uses it, otherwise drops it.
 */
void d_delete(struct dentry *d);
/* d takes the name and parent of target (target is dropped), or they swap. Both directories'
 * dir_locks and the rename lock are held by the caller. */
int d_move(struct dentry *d, struct dentry *target, bool exchange);
/* Drops all unused children, after rmdir. */
void d_drop_children(struct dentry *dir);
/* Whether a is d or above it. */
bool d_is_ancestor(const struct dentry *a, const struct dentry *d);

static inline bool d_is_dir(const struct dentry *d)
{
    return d->inode && S_ISDIR(d->inode->mode);
}

/* ---- inode.c ---- */

/* Write access for an open file: -ETXTBSY while it is being executed. */
int inode_get_write(struct inode *i);
void inode_put_write(struct inode *i);
int inode_deny_write(struct inode *i);
void inode_allow_write(struct inode *i);
/* Whether cred owns i, or may act as if. */
bool inode_owner_or_capable(const struct inode *i, const struct cred *cred);
/* The mode of something new in dir, whose group it will get: nobody makes a set-gid program of a
 * group that he is not in. */
uint32_t inode_strip_foreign_sgid(const struct inode *dir, uint32_t mode, const struct cred *cred);
/* The mode without the bits that a write or chown by somebody unprivileged takes away. */
uint32_t inode_strip_privs(uint32_t mode);
/* Drops set-id bits before a write by t. */
int file_remove_privs(struct file *f);

/* ---- boot.c ---- */

/* k->vfs without any mount. */
int vfs_create(struct kernel *k);

/* ---- namei.c ---- */

/* A path on its way in: no allocation. */
struct pathbuf {
    char s[PATH_MAX];
};
int getname(struct task *t, gva_t addr, unsigned flags, struct pathbuf *out);
/* The file of (dfd, path, AT_* flags); with AT_EMPTY_PATH the path may be empty or NULL. */
int user_path_at(struct task *t, int dfd, gva_t path, int flags, struct path_ref *out);

/* The dentry of a name in dir, from the cache or the file system; never NULL on 0. Pre: dir_lock
 * held for writing. */
int lookup_one_locked(struct dentry *dir, const char *name, size_t len, struct dentry **out);
/* The same without the lock. */
int lookup_one(struct dentry *dir, const char *name, size_t len, struct dentry **out);

/* ---- attr.c ---- */

/* truncate(2): t for the size limit. The inode alone: permission and write access were checked. */
int vfs_truncate(struct task *t, const struct path_ref *p, uint64_t size);
int vfs_truncate_inode(struct task *t, struct inode *i, uint64_t size);
int file_truncate(struct task *t, struct file *f, uint64_t size);
int vfs_chmod(struct task *t, const struct path_ref *p, uint32_t mode);
int vfs_chown(struct task *t, const struct path_ref *p, uid_t uid, gid_t gid);
/* times: atime and mtime with UTIME_NOW and UTIME_OMIT, or NULL for now. */
int vfs_utimes(struct task *t, const struct path_ref *p, const struct timespec times[2]);

/* ---- file.c ---- */

/* The kernel's value: x86-64 programs see it in F_GETFL, glibc defines it as 0. */
#define KERNEL_O_LARGEFILE 0100000u

ssize_t file_read_rwf(struct file *f, struct uio *u, int rwf);
/* With RLIMIT_FSIZE of t. */
ssize_t file_write_task(struct task *t, struct file *f, struct uio *u, int rwf);
ssize_t file_pwrite_task(struct task *t, struct file *f, struct uio *u, int64_t pos, int rwf);
int64_t file_seek(struct file *f, int64_t offset, int whence);
/* file_ops.llseek of a stream that lets itself be sought, and stays where it is. */
int64_t file_seek_nowhere(struct file *f, int64_t offset, int whence);

/* ---- fd_table.c ---- */

/* Gives t a table of its own. */
int fd_table_unshare(struct task *t);

/* ---- locks.c ---- */

/* All POSIX locks that the process (its table) holds on f's inode: at each close. */
void locks_close(const struct fd_table *owner, struct file *f);
/* OFD and flock locks of the description: at its end. */
void locks_release(struct file *f);
void locks_free_context(struct file_lock_context *c);
int lock_waits_create(struct lock_waits **out);
void lock_waits_destroy(struct lock_waits *w);
/* op: LOCK_SH, LOCK_EX, LOCK_UN, and LOCK_NB. */
int locks_flock(struct task *t, struct file *f, int op);
/* F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW, F_GETLK, F_OFD_GETLK. fl is read, and written by
 * the last two. */
int locks_fcntl(struct task *t, struct file *f, unsigned cmd, struct flock *fl);

#endif
