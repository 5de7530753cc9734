/*
 * The file system of message queues: one flat directory.
 */
#include "sentry/fs/mqueue/mqueue.h"
#include "sentry/vfs/internal.h"
#include "sentry/vfs/mount.h"
#include "sentry/vfs/notify.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#define MQUEUE_MAGIC 0x19800202
#define ROOT_INO 1
#define ENTRY_SIZE 20 /* what an entry adds to the directory's size, as on Linux */
#define QUEUE_SIZE 80 /* the size of every queue's file */
#define MEMORY_MAX (256ull << 20)
/* What RLIMIT_MSGQUEUE counts for a message beyond its text, and for a priority: getrlimit(2). */
#define COUNTED_MESSAGE 48
#define COUNTED_PRIORITY 48

struct entry {
    struct list_head link; /* oldest first */
    struct inode *inode;   /* referenced */
    uint64_t cookie;
    char name[];
};

/* What the queues of one user take from its RLIMIT_MSGQUEUE. */
struct queue_user {
    struct list_head link;
    uid_t uid;
    uint64_t bytes;
};

struct mqueue_super {
    _Atomic uint64_t limits[MQUEUE_LIMITS];
    _Atomic uint64_t memory, next_ino;
    struct list_head entries; /* root's dir_lock, as next_cookie */
    uint64_t next_cookie;
    struct mutex lock; /* LEAF: what follows */
    uint64_t queues;
    struct list_head users;
};

static struct mqueue_super *super_of(const struct super_block *sb)
{
    return sb->priv;
}

_Atomic uint64_t *mqueue_limit(struct super_block *sb, enum mqueue_limit which)
{
    return &super_of(sb)->limits[which];
}

int mqueue_charge_memory(struct mqueue_super *ms, uint64_t bytes)
{
    if (atomic_fetch_add(&ms->memory, bytes) + bytes <= MEMORY_MAX)
        return 0;
    mqueue_uncharge_memory(ms, bytes);
    return -ENOMEM;
}

void mqueue_uncharge_memory(struct mqueue_super *ms, uint64_t bytes)
{
    atomic_fetch_sub(&ms->memory, bytes);
}

/* ---- limits ---- */

/* With ms->lock held. NULL: no memory. */
static struct queue_user *find_user(struct mqueue_super *ms, uid_t uid)
{
    struct queue_user *u;
    list_for_each (u, &ms->users, link) {
        if (u->uid == uid)
            return u;
    }
    u = calloc(1, sizeof(*u));
    if (u) {
        u->uid = uid;
        list_add(&ms->users, &u->link);
    }
    return u;
}

static void give_back(struct mqueue_super *ms, uid_t uid, uint64_t bytes)
{
    MUTEX_GUARD(&ms->lock);
    ms->queues--;
    struct queue_user *u;
    list_for_each (u, &ms->users, link) {
        if (u->uid != uid)
            continue;
        u->bytes -= bytes;
        if (u->bytes == 0) {
            list_del(&u->link);
            free(u);
        }
        return;
    }
}

/* Counts a queue of `bytes` for t's user. 0, -ENOSPC, -EMFILE or -ENOMEM. */
static int take(struct mqueue_super *ms, struct task *t, uint64_t bytes)
{
    uint64_t limit = task_rlimit(t, RLIMIT_MSGQUEUE), sum;
    MUTEX_GUARD(&ms->lock);
    if (ms->queues >= ms->limits[MQUEUE_QUEUES_MAX] && !task_capable(t, CAP_SYS_RESOURCE))
        return -ENOSPC;
    struct queue_user *u = find_user(ms, t->cred->uid);
    if (!u)
        return -ENOMEM;
    if (__builtin_add_overflow(u->bytes, bytes, &sum) || (limit != RLIM_INFINITY && sum > limit)) {
        if (u->bytes == 0) {
            list_del(&u->link);
            free(u);
        }
        return -EMFILE;
    }
    u->bytes = sum;
    ms->queues++;
    return 0;
}

static int check_attr(const struct mqueue_super *ms, const struct task *t, const struct mq_attr *a)
{
    bool privileged = task_capable(t, CAP_SYS_RESOURCE);
    uint64_t most = privileged ? MQUEUE_HARD_MSG_MAX : ms->limits[MQUEUE_MSG_MAX];
    uint64_t longest = privileged ? MQUEUE_HARD_MSGSIZE_MAX : ms->limits[MQUEUE_MSGSIZE_MAX];
    if (a->mq_maxmsg <= 0 || a->mq_msgsize <= 0 || (uint64_t)a->mq_maxmsg > most ||
        (uint64_t)a->mq_msgsize > longest)
        return -EINVAL;
    return 0;
}

/* attr is within the hard limits: no overflow. */
static uint64_t counted(const struct mq_attr *a)
{
    uint64_t n = (uint64_t)a->mq_maxmsg, size = (uint64_t)a->mq_msgsize;
    return n * COUNTED_MESSAGE + MIN(n, (uint64_t)MQUEUE_PRIORITIES) * COUNTED_PRIORITY + n * size;
}

/* ---- inodes ---- */

static int mqueue_setattr(struct inode *i, const struct iattr *attr)
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
    i->ctime = attr->valid & ATTR_CTIME ? attr->ctime : vfs_now(i->sb);
    rwlock_unlock(&i->lock);
    return 0;
}

static void queue_evict(struct inode *i)
{
    uid_t uid;
    uint64_t bytes = mqueue_charge(i->priv, &uid);
    mqueue_free(i->priv);
    give_back(super_of(i->sb), uid, bytes);
}

static int queue_open(struct inode *i, struct file *f, UNUSED struct task *t)
{
    f->priv = i->priv;
    return 0;
}

static const struct inode_ops queue_ops = {
    .open = queue_open,
    .setattr = mqueue_setattr,
    .evict = queue_evict,
};

static void touch(struct inode *dir, int64_t grow)
{
    dir->size = (uint64_t)((int64_t)dir->size + grow);
    dir->mtime = dir->ctime = dir->atime = vfs_now(dir->sb);
}

static struct entry *find_entry(const struct mqueue_super *ms, const char *name)
{
    struct entry *e;
    list_for_each (e, &ms->entries, link) {
        if (strcmp(e->name, name) == 0)
            return e;
    }
    return NULL;
}

static struct entry *make_entry(const struct dentry *d)
{
    struct entry *e = calloc(1, sizeof(*e) + d->name_len + 1);
    if (e)
        memcpy(e->name, d->name, d->name_len);
    return e;
}

/* A queue's inode with one reference. Its charge was taken, and goes with it. */
static int make_inode(struct inode *dir, uint32_t mode, const struct cred *cred,
                      const struct mq_attr *attr, struct inode **out)
{
    struct mqueue_super *ms = super_of(dir->sb);
    struct mqueue *q = mqueue_create(ms, attr, cred->uid, counted(attr));
    struct inode *i =
        q ? inode_create(dir->sb, ms->next_ino++, mode, &queue_ops, &mqueue_file_ops) : NULL;
    if (!i) {
        if (q)
            mqueue_free(q);
        give_back(ms, cred->uid, counted(attr));
        return -ENOMEM;
    }
    i->priv = q;
    i->size = QUEUE_SIZE;
    i->nlink = 1;
    i->atime = i->mtime = i->ctime = vfs_now(dir->sb);
    inode_init_owner(i, dir, mode, cred);
    *out = i;
    return 0;
}

/* dir_lock held for writing. attr was checked. */
static int create_queue(struct inode *dir, struct dentry *d, uint32_t mode, struct task *t,
                        const struct mq_attr *attr)
{
    struct mqueue_super *ms = super_of(dir->sb);
    struct entry *e = make_entry(d);
    if (!e)
        return -ENOMEM;
    struct inode *i;
    int err = take(ms, t, counted(attr));
    if (!err)
        err = make_inode(dir, S_IFREG | (mode & 07777), t->cred, attr, &i);
    if (err) {
        free(e);
        return err;
    }
    inode_get(i);
    e->inode = i;
    e->cookie = ms->next_cookie++;
    list_add_tail(&ms->entries, &e->link);
    touch(dir, ENTRY_SIZE);
    d_instantiate(d, i);
    return 0;
}

static struct mq_attr default_attr(const struct mqueue_super *ms)
{
    const _Atomic uint64_t *l = ms->limits;
    return (struct mq_attr){
        .mq_maxmsg = (long)MIN((uint64_t)l[MQUEUE_MSG_DEFAULT], (uint64_t)l[MQUEUE_MSG_MAX]),
        .mq_msgsize =
            (long)MIN((uint64_t)l[MQUEUE_MSGSIZE_DEFAULT], (uint64_t)l[MQUEUE_MSGSIZE_MAX]),
    };
}

/* open(2) with O_CREAT. */
static int root_create(struct inode *dir, struct dentry *d, uint32_t mode,
                       UNUSED const struct cred *cred)
{
    struct task *t = task_current();
    struct mq_attr attr = default_attr(super_of(dir->sb));
    return t ? create_queue(dir, d, mode, t, &attr) : -EACCES;
}

static int root_lookup(struct inode *dir, struct dentry *d)
{
    struct entry *e = find_entry(super_of(dir->sb), d->name);
    if (e) {
        inode_get(e->inode);
        d_instantiate(d, e->inode);
    }
    return 0;
}

static int root_unlink(struct inode *dir, struct dentry *d)
{
    struct entry *e = find_entry(super_of(dir->sb), d->name);
    if (!e)
        return -ENOENT;
    list_del(&e->link);
    e->inode->nlink = 0;
    touch(dir, -ENTRY_SIZE);
    inode_put(e->inode);
    free(e);
    return 0;
}

static int root_iterate(struct file *f, struct dir_emitter *e, int64_t *pos)
{
    const struct mqueue_super *ms = super_of(f->inode->sb);
    if (*pos < 0)
        return -EINVAL;
    for (; *pos < 2; ++*pos)
        if (!e->emit(e, &".."[1 - *pos], (size_t)*pos + 1, ROOT_INO, DT_DIR, *pos + 1))
            return 0;
    const struct entry *n;
    list_for_each (n, &ms->entries, link) {
        int64_t at = (int64_t)n->cookie;
        if (at < *pos)
            continue;
        if (!e->emit(e, n->name, strlen(n->name), n->inode->ino, DT_REG, at + 1))
            return 0;
        *pos = at + 1;
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
    .create = root_create,
    .unlink = root_unlink,
    .setattr = mqueue_setattr,
};
static const struct file_ops root_fops = {.iterate = root_iterate, .llseek = root_llseek};

/* ---- super blocks ---- */

static int mqueue_statfs(struct super_block *sb, struct statfs *out)
{
    *out = (struct statfs){
        .f_type = (long)sb->magic,
        .f_bsize = PAGE_SIZE,
        .f_frsize = PAGE_SIZE,
        .f_namelen = NAME_MAX,
    };
    return 0;
}

static void mqueue_shutdown(struct super_block *sb)
{
    struct entry *e, *next;
    list_for_each_safe (e, next, &super_of(sb)->entries, link) {
        list_del(&e->link);
        inode_put(e->inode);
        free(e);
    }
}

static void mqueue_destroy(struct super_block *sb)
{
    mutex_destroy(&super_of(sb)->lock);
    free(super_of(sb));
}

static const struct super_ops mqueue_super_ops = {
    .statfs = mqueue_statfs,
    .shutdown = mqueue_shutdown,
    .destroy = mqueue_destroy,
};

static struct mqueue_super *alloc_super(void)
{
    static const uint64_t defaults[MQUEUE_LIMITS] = {
        [MQUEUE_MSG_DEFAULT] = 10,   [MQUEUE_MSG_MAX] = 10,     [MQUEUE_MSGSIZE_DEFAULT] = 8192,
        [MQUEUE_MSGSIZE_MAX] = 8192, [MQUEUE_QUEUES_MAX] = 256,
    };
    struct mqueue_super *ms = calloc(1, sizeof(*ms));
    if (!ms)
        return NULL;
    for (int i = 0; i < MQUEUE_LIMITS; i++)
        ms->limits[i] = defaults[i];
    ms->next_ino = ROOT_INO + 1;
    ms->next_cookie = 2;
    list_init(&ms->entries);
    list_init(&ms->users);
    mutex_init(&ms->lock, LOCK_LEAF);
    return ms;
}

static int create_super(struct kernel *k, struct super_block **out)
{
    struct mqueue_super *ms = alloc_super();
    if (!ms)
        return -ENOMEM;
    struct super_block *sb = super_create(k, "mqueue", MQUEUE_MAGIC, &mqueue_super_ops, ms);
    if (!sb) {
        mutex_destroy(&ms->lock);
        free(ms);
        return -ENOMEM;
    }
    struct inode *root = inode_create(sb, ROOT_INO, S_IFDIR | 01777, &root_ops, &root_fops);
    if (root) {
        root->nlink = 2;
        root->size = 2 * ENTRY_SIZE;
        root->atime = root->mtime = root->ctime = vfs_now(sb);
        sb->root = d_make_root(sb, root);
    }
    if (!sb->root) {
        super_put(sb);
        return -ENOMEM;
    }
    *out = sb;
    return 0;
}

/* The mount through which mq_open opens; made by whoever is first. */
static int get_mount(struct ipc_ns *ns, struct mount **out)
{
    struct mount *expected = NULL;
    *out = ns->mqueue;
    if (*out)
        return 0;
    struct super_block *sb;
    int err = create_super(ns->kernel, &sb);
    if (!err)
        err = mount_alloc(ns->kernel->vfs, sb, sb->root, MS_NOSUID | MS_NODEV | MS_NOEXEC, "mqueue",
                          out);
    if (!err)
        super_put(sb); /* the mount has its own */
    if (err)
        return err;
    if (!atomic_compare_exchange_strong(&ns->mqueue, &expected, *out)) {
        mount_put(*out);
        *out = expected;
    }
    return 0;
}

int mqueue_super_of(struct ipc_ns *ns, struct super_block **out)
{
    struct mount *m;
    int err = get_mount(ns, &m);
    if (!err)
        *out = m->sb;
    return err;
}

int mqueuefs_create(struct kernel *k, struct super_block **out)
{
    const struct task *t = task_current();
    int err = mqueue_super_of(t ? task_ipc_ns(t) : k->ns->ipc, out);
    if (!err)
        super_get(*out);
    return err;
}

/* ---- by name ---- */

/* The directory, for a name that may be one of it. */
static int check_name(struct task *t, const char *name, struct mount **mnt)
{
    size_t n = strlen(name);
    int err = get_mount(task_ipc_ns(t), mnt);
    if (err)
        return err;
    if (strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return -EACCES;
    return n > NAME_MAX ? -ENAMETOOLONG : 0;
}

/* dir_lock held for writing. */
static int create_named(struct task *t, struct inode *dir, struct dentry *d, uint32_t mode,
                        const struct mq_attr *attr)
{
    struct mq_attr defaults = default_attr(super_of(dir->sb));
    int err = inode_permission(dir, t->cred, MAY_WRITE | MAY_EXEC);
    if (!err && attr)
        err = check_attr(super_of(dir->sb), t, attr);
    if (!err)
        err = create_queue(dir, d, mode, t, attr ? attr : &defaults);
    if (!err)
        notify_name(dir, IN_CREATE, d);
    return err;
}

/* dir_lock held for writing. */
static int use_existing(struct task *t, const struct dentry *d, int flags)
{
    static const int wanted[] = {
        [O_RDONLY] = MAY_READ, [O_WRONLY] = MAY_WRITE, [O_RDWR] = MAY_READ | MAY_WRITE};
    if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
        return -EEXIST;
    if ((flags & O_ACCMODE) == O_ACCMODE)
        return -EINVAL;
    return inode_permission(d->inode, t->cred, wanted[flags & O_ACCMODE]);
}

int mqueue_open(struct task *t, const char *name, int flags, uint32_t mode,
                const struct mq_attr *attr, struct file **out)
{
    struct mount *m;
    struct dentry *d;
    int err = check_name(t, name, &m);
    if (err)
        return err;
    struct inode *dir = m->root->inode;
    rwlock_write(&dir->dir_lock);
    err = lookup_one_locked(m->root, name, strlen(name), &d);
    if (!err) {
        if (d->inode)
            err = use_existing(t, d, flags);
        else
            err = flags & O_CREAT ? create_named(t, dir, d, mode, attr) : -ENOENT;
        if (err)
            dentry_put(d);
    }
    rwlock_unlock(&dir->dir_lock);
    if (err)
        return err;
    unsigned keep = (unsigned)flags & (O_ACCMODE | O_NONBLOCK);
    *out = file_create(t->kernel, m, d, keep, &mqueue_file_ops, d->inode->priv, t->cred);
    dentry_put(d);
    return *out ? 0 : -ENOMEM;
}

static int may_unlink(const struct inode *dir, const struct inode *i, const struct cred *c)
{
    if (i->uid == c->fsuid || dir->uid == c->fsuid || cred_capable(c, CAP_FOWNER))
        return 0;
    return -EPERM;
}

int mqueue_unlink(struct task *t, const char *name)
{
    struct mount *m;
    struct dentry *d;
    int err = check_name(t, name, &m);
    if (err)
        return err;
    struct inode *dir = m->root->inode;
    rwlock_write(&dir->dir_lock);
    err = lookup_one_locked(m->root, name, strlen(name), &d);
    if (!err) {
        err = d->inode ? inode_permission(dir, t->cred, MAY_WRITE | MAY_EXEC) : -ENOENT;
        if (!err)
            err = may_unlink(dir, d->inode, t->cred);
        if (!err)
            err = root_unlink(dir, d);
        if (!err) {
            d_delete(d);
            notify_name(dir, IN_DELETE, d);
        }
        dentry_put(d);
    }
    rwlock_unlock(&dir->dir_lock);
    return err;
}
