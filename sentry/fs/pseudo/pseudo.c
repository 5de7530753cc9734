/*
 * The engine below proc and sys: rows become inodes.
 */
#include "sentry/fs/pseudo/pseudo.h"
#include "sentry/kernel/cred.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define STORE_MAX 65536u
#define NAMES_BASE (1ll << 32) /* positions of names that come and go */

static const struct inode_ops pseudo_dir_ops, pseudo_own_dir_ops, pseudo_file_ops, pseudo_link_ops,
    pseudo_magic_ops;
static const struct file_ops pseudo_file_fops, pseudo_dir_fops;

struct pseudo_node *pseudo_node(const struct inode *i)
{
    return i->priv;
}

struct pseudo_node *pseudo_dir_node(const struct file *f)
{
    return f->ops == &pseudo_dir_fops ? pseudo_node(f->inode) : NULL;
}

void pseudo_ctx_init(struct pseudo_ctx *c, struct inode *i, struct task *reader)
{
    *c = (struct pseudo_ctx){
        .k = i->sb->kernel,
        .reader = reader ? reader : task_current(),
        .node = pseudo_node(i),
        .pid_ns = i->sb->priv,
    };
}

bool pseudo_number(const char *name, int *out)
{
    long n = 0;
    if (*name < '0' || *name > '9' || (*name == '0' && name[1]))
        return false;
    for (; *name; name++) {
        if (*name < '0' || *name > '9')
            return false;
        n = n * 10 + (*name - '0');
        if (n > INT32_MAX)
            return false;
    }
    *out = (int)n;
    return true;
}

int pseudo_show_const(struct pseudo_ctx *c, struct text *out)
{
    text_add(out, "%s", (const char *)c->node->row->arg);
    return 0;
}

/* ---- inodes ---- */

/* Stable as long as the row and what it is about are the same. */
static uint64_t number_of(const struct pseudo_node *n)
{
    uint64_t h = (uint64_t)(uintptr_t)n->row * 0x9e3779b97f4a7c15ull;
    h ^= n->tg ? (uint64_t)n->tg->tgid * 0xc2b2ae3d27d4eb4full : 0;
    h ^= n->task ? (uint64_t)n->task->tid * 0x165667b19e3779f9ull : 0;
    h ^= (uint64_t)(unsigned)n->number * 0x27d4eb2f165667c5ull;
    h ^= h >> 29;
    return (h & 0xffffffffull) | 0x100000000ull;
}

static const struct inode_ops *ops_of(const struct pseudo_row *row)
{
    if (S_ISDIR(row->mode))
        return row->flags & PSEUDO_OWN ? &pseudo_own_dir_ops : &pseudo_dir_ops;
    if (S_ISLNK(row->mode))
        return row->follow ? &pseudo_magic_ops : &pseudo_link_ops;
    return &pseudo_file_ops;
}

static void own(struct inode *i)
{
    struct pseudo_node *n = pseudo_node(i);
    struct task *t = n->task ? task_get(n->task) : n->tg ? thread_group_task(n->tg) : NULL;
    if (!t)
        return;
    const struct cred *c = task_get_cred(t);
    /* Directories tell whose process it is; what is in an undumpable one is root's. */
    bool plain = S_ISDIR(i->mode) && (n->row->mode & 0777) == 0555;
    if (c && (plain || t->tg->dumpable)) {
        i->uid = c->euid;
        i->gid = c->egid;
    }
    if (c)
        cred_put(c);
    task_put(t);
}

/* Takes over the references in *node. */
static int make_inode(struct super_block *sb, const struct pseudo_node *node, struct inode **out)
{
    const struct pseudo_row *row = node->row;
    struct pseudo_node *n = malloc(sizeof(*n));
    struct inode *i = n ? inode_create(sb, number_of(node), row->mode, ops_of(row),
                                       S_ISDIR(row->mode)   ? &pseudo_dir_fops
                                       : row->fops          ? row->fops
                                       : S_ISREG(row->mode) ? &pseudo_file_fops
                                                            : NULL)
                        : NULL;
    if (!i) {
        free(n);
        if (node->task)
            task_put(node->task);
        if (node->tg)
            thread_group_put(node->tg);
        return -ENOMEM;
    }
    *n = *node;
    i->priv = n;
    i->nlink = S_ISDIR(row->mode) ? 2 : 1;
    i->size = row->follow ? 64 : 0; /* as Linux says */
    i->atime = i->mtime = i->ctime = vfs_now(sb);
    own(i);
    *out = i;
    return 0;
}

static void pseudo_evict(struct inode *i)
{
    struct pseudo_node *n = pseudo_node(i);
    if (n->task)
        task_put(n->task);
    if (n->tg)
        thread_group_put(n->tg);
    free(n);
}

static int pseudo_getattr(struct inode *i, struct kstat *out)
{
    inode_fill_stat(i, out);
    out->blocks = 0;
    out->blksize = 1024;
    out->has_btime = false;
    return 0;
}

static bool may(struct pseudo_ctx *c, unsigned flags)
{
    if (!(flags & (PSEUDO_ACCESS | PSEUDO_ATTACH)) || !c->reader)
        return true;
    struct task *t = c->node->task ? task_get(c->node->task) : thread_group_task(c->node->tg);
    bool ok = t && (t->tg == c->reader->tg || task_may_access(c->reader, t, flags & PSEUDO_ATTACH));
    if (t)
        task_put(t);
    return ok;
}

/* ---- directories ---- */

static int find_row(struct inode *dir, const char *name, struct pseudo_node *out)
{
    struct pseudo_node *n = pseudo_node(dir);
    for (const struct pseudo_row *r = n->row->children; r && r->name; r++) {
        if (strcmp(r->name, name) != 0)
            continue;
        *out = (struct pseudo_node){
            .row = r,
            .tg = n->tg ? thread_group_get(n->tg) : NULL,
            .task = n->task ? task_get(n->task) : NULL,
            .number = n->number,
        };
        return 0;
    }
    return -ENOENT;
}

static int pseudo_lookup(struct inode *dir, struct dentry *d)
{
    struct pseudo_node *n = pseudo_node(dir), found;
    struct pseudo_ctx c;
    struct inode *i;
    if (n->tg && n->tg->reaped)
        return 0; /* nothing is left to tell of */
    int err = find_row(dir, d->name, &found);
    pseudo_ctx_init(&c, dir, NULL);
    if (err && n->row->names)
        err = n->row->names->find(&c, d->name, &found);
    if (err == -ENOENT)
        return c.pid_ns ? err : 0; /* proc says so even to who wants to make something */
    if (!err)
        err = make_inode(dir->sb, &found, &i);
    if (!err)
        d_instantiate(d, i);
    return err;
}

static bool pseudo_revalidate(struct inode *dir, struct dentry *d, UNUSED const char *name,
                              UNUSED size_t len)
{
    const struct pseudo_names *names = pseudo_node(dir)->row->names;
    if (!names)
        return true;
    if (!d->inode)
        return false;
    return !names->valid || names->valid(pseudo_node(d->inode));
}

static int list_names(struct inode *dir, struct dir_emitter *e, int64_t *pos)
{
    const struct pseudo_names *names = pseudo_node(dir)->row->names;
    struct pseudo_ctx c;
    char name[32];
    uint64_t number;
    struct pseudo_node found;
    pseudo_ctx_init(&c, dir, NULL);
    while (names && names->next(&c, (uint64_t)(*pos - NAMES_BASE), &found, name, &number)) {
        int64_t next = NAMES_BASE + (int64_t)number + 1;
        bool taken =
            e->emit(e, name, strlen(name), number_of(&found), IFTODT(found.row->mode), next);
        if (found.task)
            task_put(found.task);
        if (found.tg)
            thread_group_put(found.tg);
        if (!taken)
            break;
        *pos = next;
    }
    return 0;
}

static int pseudo_iterate(struct file *f, struct dir_emitter *e, int64_t *pos)
{
    struct inode *dir = f->inode;
    struct pseudo_node *n = pseudo_node(dir);
    if (*pos < 0)
        return -EINVAL;
    if (*pos == 0) {
        if (!e->emit(e, ".", 1, dir->ino, DT_DIR, 1))
            return 0;
        *pos = 1;
    }
    if (*pos == 1) {
        struct dentry *up = f->path.dentry->parent;
        if (!e->emit(e, "..", 2, up->inode ? up->inode->ino : dir->ino, DT_DIR, 2))
            return 0;
        *pos = 2;
    }
    int64_t at = 2;
    for (const struct pseudo_row *r = n->row->children; r && r->name; r++, at++) {
        if (at < *pos)
            continue;
        struct pseudo_node child = {.row = r, .tg = n->tg, .task = n->task, .number = n->number};
        if (!e->emit(e, r->name, strlen(r->name), number_of(&child), IFTODT(r->mode), at + 1))
            return 0;
        *pos = at + 1;
    }
    if (!n->row->names)
        return 0;
    if (*pos < NAMES_BASE)
        *pos = NAMES_BASE;
    return list_names(dir, e, pos);
}

static int64_t pseudo_dir_llseek(struct file *f, int64_t offset, int whence)
{
    if (whence == SEEK_CUR && __builtin_add_overflow(offset, f->pos, &offset))
        return -EOVERFLOW;
    if ((whence != SEEK_SET && whence != SEEK_CUR) || offset < 0)
        return -EINVAL;
    f->pos = offset;
    return offset;
}

static int pseudo_dir_open(struct inode *i, UNUSED struct file *f, struct task *t)
{
    struct pseudo_ctx c;
    pseudo_ctx_init(&c, i, t);
    return may(&c, pseudo_node(i)->row->flags) ? 0 : -EACCES;
}

/* PSEUDO_OWN: a process sees its own, whoever the directory belongs to. */
static int pseudo_own_permission(struct inode *i, const struct cred *cred, int mask)
{
    struct pseudo_ctx c;
    int err = inode_permission_generic(i, cred, mask);
    pseudo_ctx_init(&c, i, NULL);
    return err && c.reader && c.node->tg == c.reader->tg ? 0 : err;
}

#define DIR_OPS                                                                                    \
    .lookup = pseudo_lookup, .revalidate = pseudo_revalidate, .open = pseudo_dir_open,             \
    .getattr = pseudo_getattr, .evict = pseudo_evict

static const struct inode_ops pseudo_dir_ops = {DIR_OPS};
static const struct inode_ops pseudo_own_dir_ops = {DIR_OPS, .permission = pseudo_own_permission};

static const struct file_ops pseudo_dir_fops = {
    .iterate = pseudo_iterate,
    .llseek = pseudo_dir_llseek,
};

/* ---- files ---- */

/* What a file said when it was last read from its beginning. */
struct pseudo_file {
    struct mutex lock; /* FILE_POS, nested: the descriptor's own lock may be held */
    struct text text;
    bool filled;
};

static int fill(struct file *f, struct pseudo_file *pf, struct task *t)
{
    struct pseudo_ctx c;
    pseudo_ctx_init(&c, f->inode, t);
    c.file = f;
    pf->text.length = 0;
    pf->filled = false;
    const struct pseudo_row *row = c.node->row;
    int err = row->show ? row->show(&c, &pf->text) : -EINVAL;
    if (!err && pf->text.failed)
        err = -ENOMEM;
    if (pf->text.failed) {
        free(pf->text.data);
        pf->text = (struct text){0};
    }
    pf->filled = !err;
    return err;
}

static int pseudo_open(struct inode *i, struct file *f, struct task *t)
{
    const struct pseudo_row *row = pseudo_node(i)->row;
    struct pseudo_ctx c;
    pseudo_ctx_init(&c, i, t);
    if (!may(&c, row->flags))
        return -EACCES;
    if (row->fops)
        return 0;
    if (f->writable && !row->store)
        return -EACCES;
    struct pseudo_file *pf = calloc(1, sizeof(*pf));
    if (!pf)
        return -ENOMEM;
    int err = row->flags & PSEUDO_AT_OPEN ? fill(f, pf, t) : 0;
    if (err) {
        free(pf->text.data);
        free(pf);
        return err;
    }
    mutex_init(&pf->lock, LOCK_FILE_POS);
    f->priv = pf;
    return 0;
}

static void pseudo_release(struct file *f)
{
    struct pseudo_file *pf = f->priv;
    if (!pf)
        return;
    mutex_destroy(&pf->lock);
    free(pf->text.data);
    free(pf);
}

static ssize_t pseudo_read(struct file *f, struct uio *u, int64_t *pos, UNUSED int rwf)
{
    struct pseudo_file *pf = f->priv;
    bool once = pseudo_node(f->inode)->row->flags & PSEUDO_AT_OPEN;
    mutex_lock_nested(&pf->lock);
    ssize_t n = 0;
    if (!once && (*pos == 0 || !pf->filled))
        n = fill(f, pf, NULL);
    if (!n && *pos >= 0 && (uint64_t)*pos < pf->text.length) {
        size_t left = pf->text.length - (size_t)*pos;
        n = uio_copy_to(u, pf->text.data + *pos, MIN(left, u->resid));
    }
    mutex_unlock(&pf->lock);
    if (n > 0)
        *pos += n;
    return n;
}

static ssize_t pseudo_write(struct file *f, struct uio *u, int64_t *pos, UNUSED int rwf)
{
    const struct pseudo_row *row = pseudo_node(f->inode)->row;
    struct pseudo_ctx c;
    uint64_t n = u->resid;
    if (!row->store)
        return -EINVAL;
    if (n > STORE_MAX)
        return -EINVAL;
    char *data = malloc(n + 1);
    if (!data)
        return -ENOMEM;
    ssize_t got = n ? uio_copy_from(u, data, n) : 0;
    if (got >= 0) {
        data[got] = 0;
        pseudo_ctx_init(&c, f->inode, NULL);
        c.file = f;
        int err = row->store(&c, data, (size_t)got);
        if (err)
            got = err;
        else
            *pos += got;
    }
    free(data);
    return got;
}

/* As seq_lseek: no end to seek from. */
static int64_t pseudo_llseek(struct file *f, int64_t offset, int whence)
{
    return pseudo_dir_llseek(f, offset, whence);
}

/* Truncating a control file is what a shell's > does before it writes. */
static int pseudo_setattr(struct inode *i, const struct iattr *attr)
{
    if (attr->valid & (ATTR_MODE | ATTR_UID | ATTR_GID))
        return -EPERM;
    (void)i;
    return 0;
}

static const struct inode_ops pseudo_file_ops = {
    .open = pseudo_open,
    .getattr = pseudo_getattr,
    .setattr = pseudo_setattr,
    .evict = pseudo_evict,
};

static const struct file_ops pseudo_file_fops = {
    .read = pseudo_read,
    .write = pseudo_write,
    .llseek = pseudo_llseek,
    .release = pseudo_release,
};

/* ---- links ---- */

static ssize_t pseudo_readlink(struct inode *i, struct task *t, char *buf, size_t size)
{
    const struct pseudo_row *row = pseudo_node(i)->row;
    struct pseudo_ctx c;
    struct text x = {0};
    pseudo_ctx_init(&c, i, t);
    if (!size)
        return -EINVAL;
    if (!may(&c, row->flags))
        return -EACCES;
    ssize_t n = row->show(&c, &x);
    if (!n && x.failed)
        n = -ENOMEM;
    if (!n) {
        n = (ssize_t)MIN(x.length, size - 1);
        memcpy(buf, x.data, (size_t)n);
        buf[n] = 0;
    }
    free(x.data);
    return n;
}

static int pseudo_follow(struct inode *i, struct task *t, struct path_ref *out)
{
    const struct pseudo_row *row = pseudo_node(i)->row;
    struct pseudo_ctx c;
    pseudo_ctx_init(&c, i, t);
    return may(&c, row->flags) ? row->follow(&c, out) : -EACCES;
}

static const struct inode_ops pseudo_link_ops = {
    .readlink = pseudo_readlink,
    .getattr = pseudo_getattr,
    .evict = pseudo_evict,
};
static const struct inode_ops pseudo_magic_ops = {
    .readlink = pseudo_readlink,
    .follow = pseudo_follow,
    .getattr = pseudo_getattr,
    .evict = pseudo_evict,
};

/* ---- super blocks ---- */

static int pseudo_statfs(struct super_block *sb, struct statfs *out)
{
    *out = (struct statfs){
        .f_type = (long)sb->magic,
        .f_bsize = PAGE_SIZE,
        .f_frsize = PAGE_SIZE,
        .f_namelen = NAME_MAX,
    };
    return 0;
}

static void pseudo_destroy(struct super_block *sb)
{
    struct pid_ns *ns = sb->priv;
    if (ns)
        ns_put(&ns->common);
}

static const struct super_ops pseudo_super_ops = {
    .statfs = pseudo_statfs,
    .destroy = pseudo_destroy,
};

int pseudo_create(struct kernel *k, const char *type, uint64_t magic, const struct pseudo_row *root,
                  struct pid_ns *pid_ns, struct super_block **out)
{
    struct super_block *sb =
        super_create(k, type, magic, &pseudo_super_ops, pid_ns ? pid_ns_get(pid_ns) : NULL);
    if (!sb) {
        if (pid_ns)
            ns_put(&pid_ns->common);
        return -ENOMEM;
    }
    sb->no_dentry_cache = pid_ns != NULL;
    struct pseudo_node node = {.row = root};
    struct inode *i;
    int err = make_inode(sb, &node, &i);
    if (!err && !(sb->root = d_make_root(sb, i)))
        err = -ENOMEM;
    if (err) {
        super_put(sb);
        return err;
    }
    *out = sb;
    return 0;
}
