/*
 * The mount tree that a sandbox starts with.
 */
#include "sentry/aio/aio.h"
#include "sentry/fs/devpts/devpts.h"
#include "sentry/fs/mqueue/mqueue.h"
#include "sentry/kernel/kernel.h"
#include "sentry/socket/socket.h"
#include "sentry/vfs/internal.h"
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define DCACHE_LIMIT (128 * 1024)

/* A walk needs somebody who walks: the boot's own task, which never runs. */
struct boot {
    struct kernel *k;
    struct task task;
    struct mount_ns *ns;
    char *why;
    size_t why_size;
};

dev_t vfs_new_dev(struct vfs *v)
{
    return makedev(0, atomic_fetch_add(&v->next_dev, 1) + 1);
}

static int boot_fail(struct boot *b, int err, const char *what, const char *where)
{
    snprintf(b->why, b->why_size, "cannot %s %s: %s", what, where, strerror(-err));
    return err;
}

/* ---- the parts that no walk reaches ---- */

static int anon_statfs(struct super_block *sb, struct statfs *out)
{
    *out = (struct statfs){.f_type = (long)sb->magic, .f_bsize = PAGE_SIZE, .f_namelen = NAME_MAX};
    return 0;
}
static const struct super_ops anon_super_ops = {.statfs = anon_statfs};

static struct super_block *anon_super(struct kernel *k, const char *type, uint64_t magic)
{
    static const struct inode_ops root_ops;
    struct super_block *sb = super_create(k, type, magic, &anon_super_ops, NULL);
    if (!sb)
        return NULL;
    struct inode *i = inode_create(sb, 1, S_IFDIR | 0555, &root_ops, NULL);
    sb->root = i ? d_make_root(sb, i) : NULL;
    if (sb->root)
        return sb;
    super_put(sb);
    return NULL;
}

int vfs_create(struct kernel *k)
{
    struct vfs *v = calloc(1, sizeof *v);
    if (!v)
        return -ENOMEM;
    v->kernel = k;
    mutex_init(&v->mount_lock, LOCK_MOUNT);
    mutex_init(&v->epoll_graph, LOCK_EPOLL_GRAPH);
    mutex_init(&v->inotify_lock, LOCK_INOTIFY);
    list_init(&v->inotify_instances);
    list_init(&v->mount_namespaces);
    k->vfs = v;
    int err = dcache_create(&v->dcache, DCACHE_LIMIT);
    if (!err)
        err = lock_waits_create(&v->lock_waits);
    if (!err)
        err = aio_create(&v->aio);
    if (err)
        return err;
    v->anon_sb = anon_super(k, "anon_inodefs", ANON_INODE_FS_MAGIC);
    v->pipe_sb = anon_super(k, "pipefs", PIPEFS_MAGIC);
    v->sock_sb = anon_super(k, "sockfs", SOCKFS_MAGIC);
    v->ns_sb = anon_super(k, "nsfs", NSFS_MAGIC);
    v->unix_names = unix_names_create();
    v->unix_gc = unix_gc_create();
    if (!v->anon_sb || !v->pipe_sb || !v->sock_sb || !v->ns_sb || !v->unix_names || !v->unix_gc)
        return -ENOMEM;
    err = mount_alloc(v, v->anon_sb, v->anon_sb->root, 0, "anon_inodefs", &v->anon_mnt);
    return err ? err : mount_ns_create(v, false, NULL, &v->root_ns);
}

void vfs_destroy(struct vfs *v)
{
    if (!v)
        return;
    struct super_block *shm = v->shm_sb;
    aio_destroy(v->aio);
    if (v->root_ns)
        mount_ns_empty(v->root_ns);
    mount_ns_put(v->root_ns);
    mount_put(v->anon_mnt);
    if (v->anon_sb)
        super_put(v->anon_sb);
    if (v->pipe_sb)
        super_put(v->pipe_sb);
    if (v->sock_sb)
        super_put(v->sock_sb);
    if (v->ns_sb)
        super_put(v->ns_sb);
    unix_names_destroy(v->unix_names);
    unix_gc_destroy(v->unix_gc);
    if (v->devpts)
        super_put(v->devpts);
    if (shm)
        super_put(shm);
    if (v->dcache)
        dcache_destroy(v->dcache);
    lock_waits_destroy(v->lock_waits);
    mutex_destroy(&v->mount_lock);
    mutex_destroy(&v->epoll_graph);
    mutex_destroy(&v->inotify_lock);
    free(v);
}

/* ---- the root ---- */

static int boot_overlay(struct kernel *k, struct super_block *lower, struct super_block **out)
{
    struct super_block *upper;
    int err = tmpfs_create(k, lower->root->inode->mode & 07777, 0, &upper);
    if (err) {
        super_put(lower);
        return err;
    }
    return overlay_create(k, lower, upper, out);
}

static int boot_root(struct boot *b)
{
    const struct kernel_config *c = b->k->config;
    struct super_block *sb;
    int err = hostfs_create(b->k, 0, c->overlay_root, c->overlay_root, &sb);
    if (!err && c->overlay_root)
        err = boot_overlay(b->k, sb, &sb);
    if (!err)
        err = vfs_mount(b->ns, sb, NULL, MS_RELATIME, "root");
    return err ? boot_fail(b, err, "mount", "the root directory") : 0;
}

static int boot_task(struct boot *b)
{
    struct mount *m = b->ns->root;
    struct path_ref root = {.mnt = m, .dentry = m->root};
    b->task.kernel = b->k;
    b->task.cred = cred_create(b->k->user_ns, 0, 0, NULL, 0);
    b->task.fs = fs_context_create(&root, &root);
    return b->task.cred && b->task.fs ? 0 : -ENOMEM;
}

/* ---- mounts on it ---- */

/* Makes the directories above path, and path itself as a directory or an empty file. */
static int boot_mount_point(struct boot *b, const char *path, bool is_dir)
{
    char part[PATH_MAX];
    size_t n = strlen(path);
    if (n >= sizeof part)
        return -ENAMETOOLONG;
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != 0)
            continue;
        memcpy(part, path, i);
        part[i] = 0;
        struct path_ref p;
        int err = vfs_lookup(&b->task, AT_FDCWD, part, LOOKUP_FOLLOW, &p);
        if (!err)
            path_put(&p);
        else if (err == -ENOENT && (is_dir || i < n))
            err = vfs_mkdir(&b->task, AT_FDCWD, part, 0755);
        else if (err == -ENOENT)
            err = vfs_mknod(&b->task, AT_FDCWD, part, S_IFREG | 0644, 0);
        if (err)
            return err;
    }
    return 0;
}

/* Takes the reference on sb. */
/* Takes over the reference on sb, and shows `root`, a dentry of it, at `where`. */
static int boot_mount_at(struct boot *b, struct super_block *sb, struct dentry *root,
                         const char *where, unsigned flags, const char *source)
{
    struct path_ref p;
    int err = boot_mount_point(b, where, S_ISDIR(root->inode->mode));
    if (!err)
        err = vfs_lookup(&b->task, AT_FDCWD, where, LOOKUP_FOLLOW, &p);
    if (err) {
        super_put(sb);
        return boot_fail(b, err, "make the mount point", where);
    }
    err = vfs_mount_at(b->ns, sb, root, &p, flags, source);
    path_put(&p);
    return err ? boot_fail(b, err, "mount", where) : 0;
}

static int boot_mount(struct boot *b, struct super_block *sb, const char *where, unsigned flags,
                      const char *source)
{
    return boot_mount_at(b, sb, sb->root, where, flags, source);
}

static int make_shm(struct kernel *k, struct super_block **out)
{
    return tmpfs_create(k, 01777, 0, out);
}

/* The instance that /dev/ptmx makes terminals in stays, even if it is unmounted. */
static int make_devpts(struct kernel *k, struct super_block **out)
{
    const struct kernel_config *c = k->config;
    int err = devpts_create(k, out);
    if (err)
        return err;
    bool host = false;
    for (int i = 0; c && i < 3 && !c->tty; i++)
        host |= c->stdio[i] >= 0 && isatty(c->stdio[i]);
    if (host)
        err = devpts_add_host_terminal(*out);
    if (err)
        super_put(*out);
    else
        k->vfs->devpts = super_get(*out);
    return err;
}

static int boot_system_mounts(struct boot *b)
{
    static const struct {
        const char *where, *source;
        int (*create)(struct kernel *k, struct super_block **out);
        unsigned flags;
    } rows[] = {
        {"/proc", "proc", procfs_create, MS_NOSUID | MS_NODEV | MS_NOEXEC},
        {"/sys", "sysfs", sysfs_create, MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY},
        {"/sys/fs/cgroup", "cgroup2", cgroupfs_create,
         MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY},
        {"/dev", "devtmpfs", devfs_create, MS_NOSUID},
        {"/dev/pts", "devpts", make_devpts, MS_NOSUID | MS_NOEXEC},
        {"/dev/shm", "tmpfs", make_shm, MS_NOSUID | MS_NODEV},
        {"/dev/mqueue", "mqueue", mqueuefs_create, MS_NOSUID | MS_NODEV | MS_NOEXEC},
    };
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct super_block *sb;
        int err = rows[i].create(b->k, &sb);
        if (err)
            return boot_fail(b, err, "create the file system for", rows[i].where);
        err = boot_mount(b, sb, rows[i].where, rows[i].flags | MS_RELATIME, rows[i].source);
        if (err)
            return err;
    }
    return 0;
}

/* Takes over the reference on sb. */
static int boot_volume(struct boot *b, const struct kernel_volume *v, struct super_block *sb)
{
    unsigned flags = MS_RELATIME | (v->read_only ? MS_RDONLY : 0);
    struct dentry *file;
    if (!v->file)
        return boot_mount(b, sb, v->target, flags, v->source);
    int err = lookup_one(sb->root, v->file, strlen(v->file), &file);
    if (!err && !file->inode) {
        dentry_put(file);
        err = -ENOENT;
    }
    if (err) {
        super_put(sb);
        return boot_fail(b, err, "open the volume", v->source);
    }
    err = boot_mount_at(b, sb, file, v->target, flags, v->source);
    dentry_put(file);
    return err;
}

static int boot_volumes(struct boot *b)
{
    const struct kernel_config *c = b->k->config;
    for (size_t i = 0; i < c->nvolumes; i++) {
        const struct kernel_volume *v = &c->volumes[i];
        struct super_block *sb;
        if (v->target[0] != '/')
            return boot_fail(b, -EINVAL, "mount a volume at (the path must be absolute)",
                             v->target);
        int err = hostfs_create(b->k, v->export, v->read_only, false, &sb);
        if (err)
            return boot_fail(b, err, "open the volume", v->source);
        err = boot_volume(b, v, sb);
        if (err)
            return err;
    }
    return 0;
}

static int boot_cwd(struct boot *b, struct path_ref *cwd)
{
    const char *path = b->k->config->cwd ? b->k->config->cwd : "/";
    int err = vfs_lookup(&b->task, AT_FDCWD, path, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, cwd);
    return err ? boot_fail(b, err, "enter the working directory", path) : 0;
}

int vfs_boot_lookup(struct kernel *k, const char *path, struct path_ref *out)
{
    struct boot b = {.k = k, .ns = k->vfs->root_ns};
    int err = boot_task(&b);
    if (!err)
        err = vfs_lookup(&b.task, AT_FDCWD, path, LOOKUP_FOLLOW, out);
    fs_context_put(b.task.fs);
    if (b.task.cred)
        cred_put(b.task.cred);
    return err;
}

int vfs_boot(struct kernel *k, struct path_ref *root, struct path_ref *cwd, char *why,
             size_t why_size)
{
    struct boot b = {.k = k, .why = why, .why_size = why_size};
    int err = vfs_create(k);
    if (err)
        return boot_fail(&b, err, "make", "the file system tables");
    b.ns = k->vfs->root_ns;
    err = boot_root(&b);
    if (!err)
        err = boot_task(&b);
    if (!err)
        err = boot_system_mounts(&b);
    if (!err)
        err = boot_volumes(&b);
    if (!err)
        err = boot_cwd(&b, cwd);
    if (!err) {
        *root = b.task.fs->root;
        path_get(root);
    }
    fs_context_put(b.task.fs);
    if (b.task.cred)
        cred_put(b.task.cred);
    return err;
}
