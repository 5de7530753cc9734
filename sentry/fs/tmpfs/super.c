/*
 * tmpfs super blocks, and files that have no name.
 */
#include "sentry/fs/tmpfs/tmpfs.h"
#include "sentry/kernel/cred.h"
#include "sentry/kernel/kernel.h"
#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

static int tmpfs_statfs(struct super_block *sb, struct statfs *out)
{
    struct tmpfs_super *ts = tmpfs_super(sb);
    uint64_t used = ts->used_pages, inodes = ts->used_inodes;
    out->f_type = TMPFS_MAGIC;
    out->f_bsize = out->f_frsize = PAGE_SIZE;
    out->f_namelen = NAME_MAX;
    uint64_t max_pages = ts->max_pages;
    if (max_pages) {
        out->f_blocks = max_pages;
        out->f_bfree = out->f_bavail = max_pages - MIN(used, max_pages);
    }
    uint64_t max_inodes = ts->max_inodes;
    if (max_inodes != UINT64_MAX) {
        out->f_files = max_inodes;
        out->f_ffree = max_inodes - MIN(inodes, max_inodes);
    }
    return 0;
}

static void tmpfs_destroy(struct super_block *sb)
{
    struct tmpfs_super *ts = tmpfs_super(sb);
    mutex_destroy(&ts->doom_lock);
    free(ts);
}

static const struct super_ops tmpfs_super_ops = {
    .statfs = tmpfs_statfs,
    .show_options = tmpfs_show_options,
    .reconfigure = tmpfs_reconfigure,
    .destroy = tmpfs_destroy,
};

int tmpfs_create(struct kernel *k, uint32_t root_mode, uint64_t max_bytes, struct super_block **out)
{
    struct tmpfs_super *ts = calloc(1, sizeof(*ts));
    if (!ts)
        return -ENOMEM;
    ts->memory = k->memory;
    ts->max_pages = max_bytes ? MAX(max_bytes >> PAGE_SHIFT, 1ull) : 0;
    ts->max_inodes = MAX(k->mm_config.total_memory / 2 >> PAGE_SHIFT, 1ull << 16);
    ts->next_ino = 1;
    mutex_init(&ts->doom_lock, LOCK_LEAF);
    list_init(&ts->doomed);
    struct super_block *sb = super_create(k, "tmpfs", TMPFS_MAGIC, &tmpfs_super_ops, ts);
    if (!sb) {
        mutex_destroy(&ts->doom_lock);
        free(ts);
        return -ENOMEM;
    }
    ts->sb = sb;
    struct inode *root;
    int err = tmpfs_new_inode(sb, NULL, S_IFDIR | (root_mode & 07777), 0, NULL, NULL, &root);
    if (!err && !(sb->root = d_make_root(sb, root)))
        err = -ENOMEM;
    if (err) {
        super_put(sb);
        return err;
    }
    *out = sb;
    return 0;
}

/* The super block of nameless files, made by whoever is first. */
static int shm_super(struct kernel *k, struct super_block **out)
{
    struct super_block *sb = k->vfs->shm_sb, *expected = NULL;
    if (!sb) {
        int err = tmpfs_create(k, 0755, 0, &sb);
        if (err)
            return err;
        if (!atomic_compare_exchange_strong(&k->vfs->shm_sb, &expected, sb)) {
            super_put(sb);
            sb = expected;
        }
    }
    *out = sb;
    return 0;
}

int tmpfs_create_anon_file(struct kernel *k, const char *name, uint64_t size, unsigned flags,
                           const struct cred *cred, struct file **out)
{
    struct super_block *sb;
    struct inode *i;
    int err = size > INT64_MAX ? -EINVAL : shm_super(k, &sb);
    if (!err)
        err = tmpfs_new_inode(sb, NULL, S_IFREG | (flags & MFD_NOEXEC_SEAL ? 0666 : 0777), 0, NULL,
                              cred, &i);
    if (err)
        return err;
    struct tmpfs_file *tf = tmpfs_file(i);
    i->nlink = 0;
    i->uid = cred ? cred->fsuid : 0;
    i->gid = cred ? cred->fsgid : 0;
    i->size = size;
    if (flags & MFD_NOEXEC_SEAL)
        tf->seals = F_SEAL_EXEC;
    else if (flags & MFD_ALLOW_SEALING)
        tf->seals = 0;
    struct dentry *d = d_make_anon(sb, name, i);
    if (!d)
        return -ENOMEM;
    *out = file_create(k, k->vfs->anon_mnt, d, O_RDWR | O_LARGEFILE, &tmpfs_file_fops, NULL, cred);
    dentry_put(d);
    return *out ? 0 : -ENOMEM;
}
