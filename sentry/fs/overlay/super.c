/*
 * Super blocks of overlays.
 */
#include "sentry/fs/overlay/overlay.h"
#include "sentry/kernel/cred.h"
#include "sentry/kernel/kernel.h"
#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/stat.h>

/* What can be written is limited by the upper half; without a limit of its own, by the memory that
 * nobody uses, for files or otherwise. */
static int ovl_statfs(struct super_block *sb, struct statfs *out)
{
    struct super_block *upper = ovl_super(sb)->upper;
    int err = upper->ops->statfs(upper, out);
    if (err)
        return err;
    out->f_type = OVERLAYFS_SUPER_MAGIC;
    if (!out->f_blocks) {
        struct memory_file_stats ms;
        memory_file_stats(sb->kernel->memory, &ms);
        uint64_t total = sb->kernel->mm_config.total_memory;
        out->f_blocks = total >> PAGE_SHIFT;
        out->f_bfree = out->f_bavail = (total - MIN(ms.resident, total)) >> PAGE_SHIFT;
    }
    return 0;
}

static void ovl_shutdown(struct super_block *sb)
{
    ovl_unpin_all(ovl_super(sb));
}

static void ovl_destroy(struct super_block *sb)
{
    struct ovl_super *os = ovl_super(sb);
    if (os->whiteout)
        inode_put(os->whiteout);
    if (os->cred)
        cred_put(os->cred);
    super_put(os->lower);
    super_put(os->upper);
    free(os->by_lower.buckets);
    free(os->by_upper.buckets);
    mutex_destroy(&os->lock);
    free(os);
}

static const struct super_ops ovl_super_ops = {
    .statfs = ovl_statfs,
    .shutdown = ovl_shutdown,
    .destroy = ovl_destroy,
};

static int make_root(struct ovl_super *os)
{
    struct inode *root;
    os->cred = cred_create(os->sb->kernel->user_ns, 0, 0, NULL, 0);
    if (!os->cred)
        return -ENOMEM;
    int err = tmpfs_new_inode(os->upper, NULL, S_IFCHR, 0, NULL, NULL, &os->whiteout);
    if (err)
        return err;
    inode_get(os->lower->root->inode);
    err = ovl_get_inode(os->sb, os->lower->root->inode, NULL, &root);
    if (err)
        return err;
    os->sb->root = d_make_root(os->sb, root);
    return os->sb->root ? 0 : -ENOMEM;
}

static bool make_tables(struct ovl_super *os)
{
    struct ovl_table *tables[] = {&os->by_lower, &os->by_upper};
    for (int k = 0; k < 2; k++) {
        tables[k]->nbuckets = 256;
        tables[k]->buckets = calloc(tables[k]->nbuckets, sizeof(struct ovl_node *));
        if (!tables[k]->buckets)
            return false;
    }
    return true;
}

int overlay_create(struct kernel *k, struct super_block *lower, struct super_block *upper,
                   struct super_block **out)
{
    struct ovl_super *os = calloc(1, sizeof(*os));
    struct super_block *sb = NULL;
    if (os) {
        os->lower = lower;
        os->upper = upper;
        mutex_init(&os->lock, LOCK_LEAF);
        if (make_tables(os))
            sb = super_create(k, "overlay", OVERLAYFS_SUPER_MAGIC, &ovl_super_ops, os);
    }
    if (!sb) {
        if (os) {
            free(os->by_lower.buckets);
            free(os->by_upper.buckets);
            mutex_destroy(&os->lock);
            free(os);
        }
        super_put(lower);
        super_put(upper);
        return -ENOMEM;
    }
    os->sb = sb;
    int err = make_root(os);
    if (err) {
        super_put(sb);
        return err;
    }
    *out = sb;
    return 0;
}
