/*
 * From (mount, dentry) back to a string: getcwd, /proc/PID/{cwd,fd,maps,mountinfo}.
 *
 * The string is built from the end of the buffer towards its beginning.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/internal.h"
#include <stdlib.h>
#include <string.h>

struct back_buffer {
    char *start, *at; /* at: the first byte so far */
};

static int prepend(struct back_buffer *b, const char *s, size_t n)
{
    if ((size_t)(b->at - b->start) < n)
        return -ENAMETOOLONG;
    b->at -= n;
    memcpy(b->at, s, n);
    return 0;
}

/* Whether d has lost its name. A root never has one. */
static bool d_is_deleted(const struct dentry *d)
{
    return d->parent != d && !d->hashed;
}

/* A dentry that never was in a tree: its name is all that can be said. */
static bool path_is_anon(const struct path_ref *p)
{
    return p->dentry->parent == p->dentry && p->mnt && p->mnt->root != p->dentry;
}

/* Pre: dcache lock held. root may be cleared: up to the top. Returns 1 if root was not met. */
static int prepend_path(struct back_buffer *b, struct path_ref p, const struct path_ref *root)
{
    while (p.dentry != root->dentry || p.mnt != root->mnt) {
        if (p.dentry == p.mnt->root) {
            if (!p.mnt->mountpoint)
                return root->dentry ? 1 : 0;
            p = (struct path_ref){.mnt = p.mnt->parent, .dentry = p.mnt->mountpoint};
            continue;
        }
        if (p.dentry->parent == p.dentry)
            return 1;
        if (prepend(b, p.dentry->name, p.dentry->name_len) < 0 || prepend(b, "/", 1) < 0)
            return -ENAMETOOLONG;
        p.dentry = p.dentry->parent;
    }
    return 0;
}

/* The same with "/" for the root itself. */
static int path_to_back(struct back_buffer *b, const struct path_ref *p,
                        const struct path_ref *root)
{
    const char *end = b->at;
    int err = prepend_path(b, *p, root);
    if (err >= 0 && b->at == end && prepend(b, "/", 1) < 0)
        err = -ENAMETOOLONG;
    return err;
}

static int anon_string(const struct dentry *d, char *buf, size_t size)
{
    size_t n = d->name_len + 1;
    if (n > size)
        return -ENAMETOOLONG;
    memcpy(buf, d->name, n);
    return (int)n;
}

static int tree_string(struct task *t, const struct path_ref *p, const struct path_ref *root,
                       char *buf, size_t size)
{
    struct back_buffer b = {.start = buf, .at = buf + size};
    int err = prepend(&b, "", 1);
    if (!err && d_is_deleted(p->dentry))
        err = prepend(&b, " (deleted)", strlen(" (deleted)"));
    if (!err)
        err = path_to_back(&b, p, root);
    if (err == 1 && t)
        err = prepend(&b, "(unreachable)", strlen("(unreachable)"));
    if (err < 0)
        return err;
    size_t n = (size_t)(buf + size - b.at);
    memmove(buf, b.at, n);
    return (int)n;
}

int vfs_path_string(struct task *t, const struct path_ref *p, char *buf, size_t size)
{
    struct path_ref root = {0};
    struct dcache *dc = dcache_of(p->dentry->sb);
    if (t && t->fs) {
        MUTEX_GUARD(&t->fs->lock);
        root = t->fs->root;
        path_get(&root);
    }
    rwlock_read(&dc->lock);
    int n =
        path_is_anon(p) ? anon_string(p->dentry, buf, size) : tree_string(t, p, &root, buf, size);
    rwlock_unlock(&dc->lock);
    path_put(&root);
    return n;
}

/* ---- tables of mounts ---- */

struct flag_name {
    unsigned flag;
    const char *name;
};
static const struct flag_name mount_flag_names[] = {
    {MS_NOSUID, ",nosuid"},           {MS_NODEV, ",nodev"},           {MS_NOEXEC, ",noexec"},
    {MS_NOATIME, ",noatime"},         {MS_NODIRATIME, ",nodiratime"}, {MS_RELATIME, ",relatime"},
    {MS_NOSYMFOLLOW, ",nosymfollow"},
};

/* Blanks and backslashes as octal, so that fields stay fields. */
static void put_mangled(FILE *f, const char *s)
{
    for (; *s; s++)
        if (strchr(" \t\n\\#", *s))
            fprintf(f, "\\%03o", (unsigned char)*s);
        else
            fputc(*s, f);
}

static void put_flags(FILE *f, const struct mount *m)
{
    fputs(m->flags & MS_RDONLY ? "ro" : "rw", f);
    for (size_t i = 0; i < ARRAY_SIZE(mount_flag_names); i++)
        if (m->flags & mount_flag_names[i].flag)
            fputs(mount_flag_names[i].name, f);
}

/* What the file system itself was told. */
static void put_super_options(FILE *f, const struct mount *m)
{
    if (m->sb->ops->show_options)
        m->sb->ops->show_options(m->sb, f);
}

static void put_propagation(FILE *f, const struct mount *m, const struct path_ref *root)
{
    if (m->group)
        fprintf(f, " shared:%d", m->group->id);
    if (m->master) {
        int from = mount_dominating_group(m, root);
        fprintf(f, " master:%d", m->master->id);
        if (from)
            fprintf(f, " propagate_from:%d", from);
    }
    if (m->unbindable)
        fputs(" unbindable", f);
}

/* Where m is seen from root; false if it is not below it. */
static bool mount_target(const struct mount *m, const struct path_ref *root, char *buf, size_t size,
                         const char **out)
{
    struct path_ref p = {.mnt = (struct mount *)m, .dentry = m->root};
    struct back_buffer b = {.start = buf, .at = buf + size};
    if (prepend(&b, "", 1) < 0 || path_to_back(&b, &p, root) != 0)
        return false;
    *out = b.at;
    return true;
}

/* The directory of the file system that m shows. */
static const char *mount_source_root(const struct mount *m, char *buf, size_t size)
{
    struct back_buffer b = {.start = buf, .at = buf + size};
    struct dentry *d = m->root;
    int err = prepend(&b, "", 1);
    for (; !err && d->parent != d; d = d->parent) {
        err = prepend(&b, d->name, d->name_len);
        if (!err)
            err = prepend(&b, "/", 1);
    }
    return err || !*b.at ? "/" : b.at;
}

static void put_mount(FILE *f, const struct mount *m, const struct path_ref *root,
                      enum mounts_format format)
{
    char target_buf[PATH_MAX], source_buf[PATH_MAX];
    const char *target;
    if (!mount_target(m, root, target_buf, sizeof target_buf, &target))
        return;
    if (format == MOUNTS_STATS) {
        fputs("device ", f);
        put_mangled(f, m->source);
        fputs(" mounted on ", f);
        put_mangled(f, target);
        fprintf(f, " with fstype %s\n", m->sb->type);
        return;
    }
    if (format == MOUNTS_INFO) {
        fprintf(f, "%d %d %u:%u ", m->id, m->parent ? m->parent->id : m->id, major(m->sb->dev),
                minor(m->sb->dev));
        put_mangled(f, mount_source_root(m, source_buf, sizeof source_buf));
        fputc(' ', f);
        put_mangled(f, target);
        fputc(' ', f);
        put_flags(f, m);
        put_propagation(f, m, root);
        fprintf(f, " - %s ", m->sb->type);
        put_mangled(f, m->source);
        fputs(m->sb->read_only ? " ro" : " rw", f);
        put_super_options(f, m);
        fputc('\n', f);
        return;
    }
    put_mangled(f, m->source);
    fputc(' ', f);
    put_mangled(f, target);
    fprintf(f, " %s ", m->sb->type);
    put_flags(f, m);
    put_super_options(f, m);
    fputs(" 0 0\n", f);
}

int vfs_mounts_text(struct mount_ns *ns, const struct path_ref *root, enum mounts_format format,
                    char **out, size_t *length)
{
    FILE *f = open_memstream(out, length);
    if (!f)
        return -ENOMEM;
    mutex_lock(&ns->vfs->mount_lock);
    rwlock_read(&ns->vfs->dcache->lock);
    for (const struct mount *m = ns->root; m; m = mount_next(m, ns->root))
        put_mount(f, m, root, format);
    rwlock_unlock(&ns->vfs->dcache->lock);
    mutex_unlock(&ns->vfs->mount_lock);
    bool failed = ferror(f) != 0;
    if (fclose(f) != 0 || failed) {
        free(*out);
        return -ENOMEM;
    }
    return 0;
}
