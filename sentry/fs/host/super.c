/*
 * Super blocks of host directories.
 */
#include "sentry/fs/host/host.h"
#include "sentry/kernel/kernel.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>

static int host_statfs(struct super_block *sb, struct statfs *out)
{
    return door_statfs(&host_super(sb)->door, out);
}

static int host_sync(struct super_block *sb)
{
    return door_syncfs(&host_super(sb)->door);
}

static void host_destroy(struct super_block *sb)
{
    struct host_super *hs = host_super(sb);
    free(hs->buckets);
    mutex_destroy(&hs->lock);
    free(hs);
}

static const struct super_ops host_super_ops = {
    .statfs = host_statfs,
    .sync = host_sync,
    .destroy = host_destroy,
};

/* How many descriptors may stay open with nobody using them. */
static unsigned idle_budget(void)
{
    struct rlimit rl;
    if (getrlimit(RLIMIT_NOFILE, &rl))
        return 64;
    rlim_t n = rl.rlim_cur / 8;
    return (unsigned)(n < 32 ? 32 : n > 1024 ? 1024 : n);
}

static int make_root(struct super_block *sb)
{
    struct host_super *hs = host_super(sb);
    struct door_at root = {.node = hs->door.root, .path = ""};
    struct statx stx;
    struct inode *inode;
    struct host_slot *s;
    uint32_t node;
    int err = door_stat_at(&hs->door, root, &stx);
    if (!err)
        err = door_open_dir(&hs->door, root, &node);
    if (err)
        return err;
    err = host_get_inode(sb, &stx, NULL, NULL, &inode);
    if (err) {
        door_close_node(&hs->door, node);
        return err;
    }
    /* The root's own slot is never idle: it is the way to everything else. */
    host_slot_install(inode, SLOT_READ, (int)node, &s);
    host_slot_put(inode, s);
    sb->root = d_make_root(sb, inode);
    return sb->root ? 0 : -ENOMEM;
}

int hostfs_create(struct kernel *k, unsigned export, bool read_only, bool exclusive,
                  struct super_block **out)
{
    struct host_super *hs = calloc(1, sizeof(*hs));
    if (!hs)
        return -ENOMEM;
    struct statfs sf;
    hs->door = (struct door){k->gofer, export + 1, read_only};
    hs->exclusive = exclusive;
    hs->max_idle = idle_budget();
    mutex_init(&hs->lock, LOCK_LEAF);
    list_init(&hs->idle);
    list_init(&hs->aheads);
    hs->may_ask_ahead = exclusive && read_only;
    int err = door_statfs(&hs->door, &sf);
    struct super_block *sb =
        err ? NULL : super_create(k, "hostfs", (uint64_t)sf.f_type, &host_super_ops, hs);
    if (!sb) {
        mutex_destroy(&hs->lock);
        free(hs);
        return err ? err : -ENOMEM;
    }
    hs->sb = sb;
    err = make_root(sb);
    if (err)
        super_put(sb);
    else
        *out = sb;
    return err;
}
