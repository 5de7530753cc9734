#include "sentry/fs/dev/dev.h"
#include "sentry/fs/dev/drivers.h"
#include "sentry/fs/tmpfs/tmpfs.h"
#include "sentry/kernel/cred.h"
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static const struct dev_driver *const tables[] = {dev_mem_drivers, dev_tty_drivers};

int dev_open(struct inode *i, struct file *f, struct task *t)
{
    if (!S_ISCHR(i->mode))
        return -ENXIO;
    for (size_t k = 0; k < ARRAY_SIZE(tables); k++) {
        for (const struct dev_driver *d = tables[k]; d->name; d++) {
            if (major(i->rdev) != d->major || minor(i->rdev) != d->minor)
                continue;
            if (d->fops)
                f->ops = d->fops;
            return d->open ? d->open(i, f, t) : 0;
        }
    }
    return -ENXIO;
}

static int add(struct inode *dir, const char *name, uint32_t mode, dev_t rdev, const char *target)
{
    struct inode *i;
    int err = tmpfs_new_inode(dir->sb, NULL, mode, rdev, target, NULL, &i);
    if (err)
        return err;
    err = tmpfs_dir_set(dir, name, strlen(name), i);
    if (!err && S_ISDIR(mode))
        dir->nlink++;
    inode_put(i);
    return err;
}

static int populate(struct super_block *sb)
{
    static const struct {
        const char *name, *target;
    } links[] = {
        {"fd", "/proc/self/fd"},
        {"stdin", "/proc/self/fd/0"},
        {"stdout", "/proc/self/fd/1"},
        {"stderr", "/proc/self/fd/2"},
    };
    struct inode *root = sb->root->inode;
    int err = add(root, "pts", S_IFDIR | 0755, 0, NULL);
    for (size_t k = 0; k < ARRAY_SIZE(tables); k++) {
        for (const struct dev_driver *d = tables[k]; d->name && !err; d++)
            err = add(root, d->name, S_IFCHR | d->mode, makedev(d->major, d->minor), NULL);
    }
    for (size_t k = 0; k < ARRAY_SIZE(links) && !err; k++)
        err = add(root, links[k].name, S_IFLNK | 0777, 0, links[k].target);
    if (!err)
        err = add(root, "mqueue", S_IFDIR | 0755, 0, NULL);
    return err ? err : add(root, "shm", S_IFDIR | 01777, 0, NULL);
}

int devfs_create(struct kernel *k, struct super_block **out)
{
    struct super_block *sb;
    int err = tmpfs_create(k, 0755, 0, &sb);
    if (err)
        return err;
    sb->type = "devtmpfs";
    err = populate(sb);
    if (err) {
        super_put(sb);
        return err;
    }
    *out = sb;
    return 0;
}
