/*
 * The file systems that mount(2) and fsopen(2) know.
 */
#include "sentry/fs/devpts/devpts.h"
#include "sentry/fs/mqueue/mqueue.h"
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/internal.h"
#include <string.h>

static int mount_proc(struct kernel *k, UNUSED const char *source, UNUSED const char *data,
                      struct super_block **out)
{
    return procfs_create(k, out);
}
static int mount_sysfs(struct kernel *k, UNUSED const char *source, UNUSED const char *data,
                       struct super_block **out)
{
    return sysfs_create(k, out);
}
static int mount_cgroup2(struct kernel *k, UNUSED const char *source, UNUSED const char *data,
                         struct super_block **out)
{
    return cgroupfs_create(k, out);
}
static int mount_devtmpfs(struct kernel *k, UNUSED const char *source, UNUSED const char *data,
                          struct super_block **out)
{
    return devfs_create(k, out);
}

static int mount_devpts(struct kernel *k, UNUSED const char *source, UNUSED const char *data,
                        struct super_block **out)
{
    return devpts_create(k, out);
}

/* All mounts in an IPC namespace show the same. */
static int mount_mqueue(struct kernel *k, UNUSED const char *source, UNUSED const char *data,
                        struct super_block **out)
{
    return mqueuefs_create(k, out);
}

static const struct file_system_type types[] = {
    {"tmpfs", tmpfs_mount, tmpfs_check_option, true},
    {"ramfs", tmpfs_mount, tmpfs_check_option, true},
    {"proc", mount_proc, NULL, true},
    {"sysfs", mount_sysfs, NULL, true},
    {"cgroup2", mount_cgroup2, NULL, true},
    {"devtmpfs", mount_devtmpfs, NULL, true},
    {"devpts", mount_devpts, NULL, true},
    {"mqueue", mount_mqueue, NULL, true},
};

const struct file_system_type *file_system_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(types); i++)
        if (types[i].user_mountable && strcmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}
