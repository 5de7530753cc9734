#include "sentry/fs/nsfs/nsfs.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/ns.h"
#include "sentry/kernel/process.h"
#include <linux/nsfs.h>
#include <stdio.h>
#include <sys/stat.h>

static void nsfs_evict(struct inode *i)
{
    ns_put(i->priv);
}

static const struct inode_ops nsfs_inode_ops = {.evict = nsfs_evict};

/* A descriptor of ns, whose reference is taken over. */
static long open_namespace(struct task *t, struct ns_common *ns)
{
    struct path_ref p;
    struct file *f;
    int err = nsfs_path(t->kernel, ns, &p);
    if (err)
        return err;
    long fd = vfs_open_path(t, &p, O_RDONLY, &f);
    path_put(&p);
    if (fd < 0)
        return fd;
    fd = fd_install(t, f, 0, true);
    file_put(f);
    return fd;
}

/* Whoever cannot see a namespace from his own may not have it. */
static long open_user_ns(struct task *t, struct user_ns *ns)
{
    if (!ns || !user_ns_is_below(ns, t->cred->user_ns))
        return -EPERM;
    return open_namespace(t, &user_ns_get(ns)->common);
}

static long open_parent(struct task *t, struct ns_common *ns)
{
    if (ns->type == NS_USER)
        return open_user_ns(t, ns->owner);
    if (ns->type != NS_PID)
        return -EINVAL;
    struct pid_ns *parent = container_of(ns, struct pid_ns, common)->parent;
    if (!parent || !pid_ns_is_below(parent, task_pid_ns(t)))
        return -EPERM;
    return open_namespace(t, &pid_ns_get(parent)->common);
}

static long owner_uid(struct task *t, struct ns_common *ns, gva_t addr)
{
    if (ns->type != NS_USER)
        return -EINVAL;
    uid_t creator = container_of(ns, struct user_ns, common)->creator_uid;
    uid_t uid = id_shown(t->cred->user_ns, ID_UID, creator);
    return MM_COPY_OUT(t->mm, addr, &uid);
}

static long nsfs_ioctl(struct file *f, struct task *t, unsigned cmd, uint64_t arg)
{
    struct ns_common *ns = f->inode->priv;
    switch (cmd) {
    case NS_GET_USERNS:
        return open_user_ns(t, ns->owner);
    case NS_GET_PARENT:
        return open_parent(t, ns);
    case NS_GET_NSTYPE:
        return (long)ns_type_flag(ns->type);
    case NS_GET_OWNER_UID:
        return owner_uid(t, ns, arg);
    default:
        return -ENOTTY;
    }
}

static const struct file_ops nsfs_fops = {.ioctl = nsfs_ioctl};

int nsfs_path(struct kernel *k, struct ns_common *ns, struct path_ref *out)
{
    struct vfs *v = k->vfs;
    char name[32];
    struct inode *i =
        inode_create(v->ns_sb, ns->number, S_IFREG | 0444, &nsfs_inode_ops, &nsfs_fops);
    if (!i) {
        ns_put(ns);
        return -ENOMEM;
    }
    i->priv = ns;
    i->nlink = 1;
    snprintf(name, sizeof(name), "%s:[%u]", ns_type_name(ns->type), ns->number);
    struct dentry *d = d_make_anon(v->ns_sb, name, i);
    if (!d)
        return -ENOMEM;
    *out = (struct path_ref){.mnt = v->anon_mnt, .dentry = d};
    path_get(out);
    dentry_put(d);
    return 0;
}

struct ns_common *nsfs_namespace(const struct file *f)
{
    return f->inode->fops == &nsfs_fops ? f->inode->priv : NULL;
}
