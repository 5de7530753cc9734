/*
 * A flat directory: ptmx, and a character device for each terminal whose master is open.
 */
#include "sentry/fs/devpts/devpts.h"
#include "sentry/fs/hostfd/hostfd.h"
#include "sentry/fs/pseudo/pseudo.h"
#include "sentry/kernel/kernel.h"
#include "sentry/tty/tty.h"
#include "sentry/vfs/internal.h"
#include <dirent.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>

#define TTY_GID 5 /* as mount -o gid=5,mode=620 */
#define ROOT_INO 1
#define PTMX_INO 2
#define FIRST_INO 3 /* of terminal 0 */

struct devpts {
    struct inode *ptmx;
    struct inode *host; /* the host's terminal, or NULL */
    struct mutex lock;  /* LEAF */
    struct inode
        *slaves[TTY_MAX]; /* by number; each is tty->node of a tty whose master is open, or host */
};

static struct devpts *devpts_of(const struct super_block *sb)
{
    return sb->priv;
}

/* ---- the slaves ---- */

static int slave_inode_open(struct inode *i, struct file *f, struct task *t)
{
    return tty_slave_open(i->priv, f, t, f->flags & O_NOCTTY);
}

static int node_setattr(struct inode *i, const struct iattr *attr)
{
    rwlock_write(&i->lock);
    if (attr->valid & ATTR_MODE)
        i->mode = (i->mode & S_IFMT) | (attr->mode & 07777);
    if (attr->valid & ATTR_UID)
        i->uid = attr->uid;
    if (attr->valid & ATTR_GID)
        i->gid = attr->gid;
    if (attr->valid & ATTR_ATIME)
        i->atime = attr->atime;
    if (attr->valid & ATTR_MTIME)
        i->mtime = attr->mtime;
    if (attr->valid & ATTR_CTIME)
        i->ctime = attr->ctime;
    rwlock_unlock(&i->lock);
    return 0;
}

static void slave_evict(struct inode *i)
{
    tty_put(i->priv);
}

static const struct inode_ops slave_ops = {
    .open = slave_inode_open,
    .setattr = node_setattr,
    .evict = slave_evict,
};

static int take_number(struct devpts *d, struct inode *i, unsigned *n)
{
    MUTEX_GUARD(&d->lock);
    for (*n = 0; *n < TTY_MAX; ++*n) {
        if (d->slaves[*n])
            continue;
        d->slaves[*n] = i;
        return 0;
    }
    return -ENOSPC;
}

int devpts_new(struct super_block *sb, const struct cred *cred, struct tty **out)
{
    struct tty *tty = tty_create(sb->kernel);
    struct inode *i = tty ? inode_create(sb, 0, S_IFCHR | 0620, &slave_ops, NULL) : NULL;
    if (!i) {
        tty_put(tty);
        return -ENOMEM;
    }
    i->priv = tty_get(tty);
    i->uid = cred ? cred->fsuid : 0;
    i->gid = TTY_GID;
    i->nlink = 1;
    i->atime = i->mtime = i->ctime = vfs_now(sb);
    int err = take_number(devpts_of(sb), i, &tty->index);
    if (err) {
        inode_put(i);
        tty_put(tty);
        return err;
    }
    i->ino = FIRST_INO + tty->index;
    i->rdev = makedev(TTY_SLAVE_MAJOR, tty->index);
    tty->node = i;
    *out = tty;
    return 0;
}

void devpts_remove(struct tty *tty)
{
    struct inode *i = tty->node;
    struct devpts *d = devpts_of(i->sb);
    {
        MUTEX_GUARD(&d->lock);
        d->slaves[tty->index] = NULL;
    }
    i->nlink = 0;
    tty->node = NULL;
    inode_put(i);
}

/* ---- the master ---- */

int devpts_open_master(struct inode *i, struct file *f, struct task *t)
{
    bool inside = i->sb->magic == DEVPTS_SUPER_MAGIC;
    struct super_block *sb = inside ? i->sb : t->kernel->vfs->devpts;
    struct tty *tty;
    if (!sb)
        return -ENODEV;
    int err = devpts_new(sb, t->cred, &tty);
    if (err)
        return err;
    f->priv = tty;
    f->ops = &tty_master_fops;
    f->stream = true;
    return 0;
}

/* Where the instance of f is mounted, as f's opener sees it. */
static bool find_root(struct super_block *sb, struct file *f, struct task *t, struct path_ref *out)
{
    if (f->path.mnt->sb == sb) {
        *out = (struct path_ref){.mnt = f->path.mnt, .dentry = sb->root};
        path_get(out);
        return true;
    }
    if (vfs_lookup(t, AT_FDCWD, "/dev/pts", LOOKUP_FOLLOW | LOOKUP_DIRECTORY, out))
        return false;
    if (out->dentry == sb->root)
        return true;
    path_put(out);
    return false;
}

long devpts_open_peer(struct tty *tty, struct file *f, struct task *t, int flags)
{
    struct path_ref p;
    struct dentry *d;
    struct file *peer;
    char name[16];
    int n = snprintf(name, sizeof(name), "%u", tty->index);
    if (!find_root(tty->node->sb, f, t, &p))
        return -ENODEV;
    long err = lookup_one(p.dentry, name, (size_t)n, &d);
    if (!err) {
        struct path_ref slave = {.mnt = p.mnt, .dentry = d};
        err = d->inode ? vfs_open_path(t, &slave, flags, &peer) : -EIO;
        dentry_put(d);
    }
    path_put(&p);
    if (err)
        return err;
    err = fd_install(t, peer, 0, flags & O_CLOEXEC);
    file_put(peer);
    return err;
}

static const struct inode_ops ptmx_ops = {
    .open = devpts_open_master,
    .setattr = node_setattr,
};

static int host_terminal_open(UNUSED struct inode *i, struct file *f, struct task *t)
{
    return hostfd_open_tty(f, t);
}

static const struct inode_ops host_terminal_ops = {
    .open = host_terminal_open,
    .setattr = node_setattr,
};

/* ---- the directory ---- */

/* A reference, or NULL. */
static struct inode *find(struct devpts *d, unsigned n)
{
    if (n >= TTY_MAX)
        return NULL;
    MUTEX_GUARD(&d->lock);
    if (d->slaves[n])
        inode_get(d->slaves[n]);
    return d->slaves[n];
}

static int root_lookup(struct inode *dir, struct dentry *dentry)
{
    struct devpts *d = devpts_of(dir->sb);
    struct inode *i = NULL;
    int n;
    if (strcmp(dentry->name, "ptmx") == 0) {
        inode_get(d->ptmx);
        i = d->ptmx;
    } else if (pseudo_number(dentry->name, &n)) {
        i = find(d, (unsigned)n);
    }
    if (i)
        d_instantiate(dentry, i);
    return 0;
}

static bool root_revalidate(UNUSED struct inode *dir, struct dentry *d, UNUSED const char *name,
                            UNUSED size_t len)
{
    return d->inode && d->inode->nlink;
}

static int root_iterate(struct file *f, struct dir_emitter *e, int64_t *pos)
{
    static const char *const fixed[] = {".", "..", "ptmx"};
    struct devpts *d = devpts_of(f->inode->sb);
    if (*pos < 0)
        return -EINVAL;
    for (; *pos < 3; ++*pos) {
        uint64_t ino = *pos < 2 ? ROOT_INO : PTMX_INO;
        uint8_t type = *pos < 2 ? DT_DIR : DT_CHR;
        if (!e->emit(e, fixed[*pos], strlen(fixed[*pos]), ino, type, *pos + 1))
            return 0;
    }
    for (; *pos < 3 + TTY_MAX; ++*pos) {
        unsigned n = (unsigned)*pos - 3;
        struct inode *i = find(d, n);
        if (!i)
            continue;
        char name[16];
        int len = snprintf(name, sizeof(name), "%u", n);
        inode_put(i);
        if (!e->emit(e, name, (size_t)len, FIRST_INO + n, DT_CHR, *pos + 1))
            return 0;
    }
    return 0;
}

static int64_t root_llseek(struct file *f, int64_t offset, int whence)
{
    if (whence == SEEK_CUR && __builtin_add_overflow(offset, f->pos, &offset))
        return -EOVERFLOW;
    if ((whence != SEEK_SET && whence != SEEK_CUR) || offset < 0)
        return -EINVAL;
    f->pos = offset;
    return offset;
}

static const struct inode_ops root_ops = {
    .lookup = root_lookup,
    .revalidate = root_revalidate,
    .setattr = node_setattr,
};
static const struct file_ops root_fops = {
    .iterate = root_iterate,
    .llseek = root_llseek,
};

/* ---- instances ---- */

static int devpts_statfs(struct super_block *sb, struct statfs *out)
{
    *out = (struct statfs){.f_type = (long)sb->magic,
                           .f_bsize = PAGE_SIZE,
                           .f_frsize = PAGE_SIZE,
                           .f_namelen = NAME_MAX};
    return 0;
}

static void devpts_shutdown(struct super_block *sb)
{
    struct devpts *d = devpts_of(sb);
    if (d->ptmx)
        inode_put(d->ptmx);
    d->ptmx = NULL;
    struct inode *host = d->host;
    if (!host)
        return;
    {
        MUTEX_GUARD(&d->lock);
        d->host = d->slaves[0] = NULL;
    }
    inode_put(host);
}

static void devpts_destroy(struct super_block *sb)
{
    struct devpts *d = devpts_of(sb);
    mutex_destroy(&d->lock);
    free(d);
}

static const struct super_ops devpts_super_ops = {
    .statfs = devpts_statfs,
    .shutdown = devpts_shutdown,
    .destroy = devpts_destroy,
};

static struct inode *make_node(struct super_block *sb, uint64_t ino, uint32_t mode,
                               const struct inode_ops *ops, const struct file_ops *fops)
{
    struct inode *i = inode_create(sb, ino, mode, ops, fops);
    if (!i)
        return NULL;
    i->nlink = S_ISDIR(mode) ? 2 : 1;
    i->atime = i->mtime = i->ctime = vfs_now(sb);
    return i;
}

int devpts_create(struct kernel *k, struct super_block **out)
{
    struct devpts *d = calloc(1, sizeof(*d));
    if (!d)
        return -ENOMEM;
    mutex_init(&d->lock, LOCK_LEAF);
    struct super_block *sb = super_create(k, "devpts", DEVPTS_SUPER_MAGIC, &devpts_super_ops, d);
    if (!sb) {
        mutex_destroy(&d->lock);
        free(d);
        return -ENOMEM;
    }
    sb->no_dentry_cache = true;
    d->ptmx = make_node(sb, PTMX_INO, S_IFCHR | 0666, &ptmx_ops, NULL);
    struct inode *root = make_node(sb, ROOT_INO, S_IFDIR | 0755, &root_ops, &root_fops);
    if (d->ptmx)
        d->ptmx->rdev = makedev(5, 2);
    if (root)
        sb->root = d_make_root(sb, root);
    if (!d->ptmx || !sb->root) {
        super_put(sb);
        return -ENOMEM;
    }
    *out = sb;
    return 0;
}

int devpts_add_host_terminal(struct super_block *sb)
{
    struct devpts *d = devpts_of(sb);
    unsigned n;
    d->host = make_node(sb, FIRST_INO, S_IFCHR | 0620, &host_terminal_ops, NULL);
    if (!d->host)
        return -ENOMEM;
    d->host->rdev = makedev(TTY_SLAVE_MAJOR, 0);
    d->host->gid = TTY_GID;
    return take_number(d, d->host, &n);
}
