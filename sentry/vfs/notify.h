/*
 * Where the VFS tells inotify what happens to files. Cheap while nobody watches anything. All may
 * be called with any lock of the VFS held that precedes INOTIFY.
 */
#ifndef PICKET_SENTRY_VFS_NOTIFY_H
#define PICKET_SENTRY_VFS_NOTIFY_H

#include "sentry/kernel/kernel.h"
#include "sentry/vfs/vfs.h"
#include <sys/inotify.h>
#include <sys/stat.h>

static inline bool notify_wanted(const struct super_block *sb)
{
    return unlikely(atomic_load_explicit(&sb->kernel->vfs->nwatches, memory_order_relaxed) != 0);
}

void notify_inode_slow(struct inode *i, uint32_t mask);
void notify_dentry_slow(struct dentry *d, uint32_t mask);
void notify_name_slow(struct inode *dir, uint32_t mask, uint32_t cookie, const char *name,
                      size_t len);
void notify_gone_slow(struct inode *i);
void notify_unmount_slow(struct super_block *sb);

/* To those who watch i itself. */
static inline void notify_inode(struct inode *i, uint32_t mask)
{
    if (notify_wanted(i->sb))
        notify_inode_slow(i, mask);
}
/* To those who watch the file or its directory. */
static inline void notify_dentry(struct dentry *d, uint32_t mask)
{
    if (notify_wanted(d->sb))
        notify_dentry_slow(d, mask);
}
/* A name in dir came or went. mask with IN_ISDIR where it is a directory's. */
static inline void notify_name(struct inode *dir, uint32_t mask, const struct dentry *d)
{
    if (notify_wanted(dir->sb))
        notify_name_slow(dir, mask, 0, d->name, d->name_len);
}
/* A dentry lets go of i: if it was the last name, its watches end. */
static inline void notify_gone(struct inode *i)
{
    if (notify_wanted(i->sb) && (i->nlink == 0 || i->dead))
        notify_gone_slow(i);
}
static inline void notify_unmount(struct super_block *sb)
{
    if (notify_wanted(sb))
        notify_unmount_slow(sb);
}
static inline uint32_t notify_isdir(const struct inode *i)
{
    return S_ISDIR(i->mode) ? IN_ISDIR : 0;
}
/* Joins IN_MOVED_FROM with IN_MOVED_TO. */
uint32_t notify_cookie(struct super_block *sb);

#endif
