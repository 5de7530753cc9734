/*
 * The walk itself: one component after the other, links and mounts on the way. See walk.h.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/walk.h"
#include <stdlib.h>
#include <string.h>

int getname(struct task *t, gva_t addr, unsigned flags, struct pathbuf *out)
{
    ssize_t n = mm_copy_in_string(t->mm, out->s, addr, sizeof out->s);
    if (n < 0)
        return (int)n;
    if (n == 0 && !(flags & LOOKUP_EMPTY_PATH))
        return -ENOENT;
    return 0;
}

int vfs_getname(struct task *t, gva_t addr, unsigned flags, char **out)
{
    struct pathbuf buf;
    int err = getname(t, addr, flags, &buf);
    if (err)
        return err;
    *out = strdup(buf.s);
    return *out ? 0 : -ENOMEM;
}

int user_path_at(struct task *t, int dfd, gva_t path, int flags, struct path_ref *out)
{
    struct pathbuf name;
    unsigned lookup = flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW;
    if (flags & AT_EMPTY_PATH)
        lookup |= LOOKUP_EMPTY_PATH;
    int err = 0;
    if (!path && flags & AT_EMPTY_PATH)
        name.s[0] = 0;
    else
        err = getname(t, path, lookup, &name);
    return err ? err : vfs_lookup(t, dfd, name.s, lookup, out);
}

/* ---- names in directories ---- */

static bool d_still_valid(struct dentry *dir, struct dentry *d, const char *name, size_t len)
{
    struct inode *i = dir->inode;
    return !i->ops->revalidate || i->ops->revalidate(i, d, name, len);
}

/* A cached dentry that still holds, with a reference. */
static struct dentry *d_find_valid(struct dentry *dir, const char *name, size_t len)
{
    struct dentry *d = d_find(dir, name, len);
    if (!d || d->mounts || d_still_valid(dir, d, name, len))
        return d;
    d_drop(d);
    dentry_put(d);
    return NULL;
}

int lookup_one_locked(struct dentry *dir, const char *name, size_t len, struct dentry **out)
{
    struct dentry *d = d_find_valid(dir, name, len);
    if (!d) {
        if (dir->inode->dead)
            return -ENOENT;
        if (!dir->inode->ops->lookup)
            return -ENOTDIR;
        d = d_alloc(dir->sb, dir, name, len);
        if (!d)
            return -ENOMEM;
        int err = dir->inode->ops->lookup(dir->inode, d);
        if (err) {
            dentry_put(d);
            return err;
        }
        d_add(d);
    }
    *out = d;
    return 0;
}

int lookup_one(struct dentry *dir, const char *name, size_t len, struct dentry **out)
{
    *out = d_find_valid(dir, name, len);
    if (*out)
        return 0;
    rwlock_write(&dir->inode->dir_lock);
    int err = lookup_one_locked(dir, name, len, out);
    rwlock_unlock(&dir->inode->dir_lock);
    return err;
}

/* ---- beginning and end ---- */

static void text_release(struct walk_text *text)
{
    if (text->link)
        inode_put(text->link);
    free(text->owned);
}

static int walk_start_at(struct walk *w, struct fs_context *fs, const char *path)
{
    bool scoped = w->resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT);
    w->root = fs->root;
    if (*path == '/' && !scoped)
        w->path = fs->root;
    else if (w->dfd_file)
        w->path = w->dfd_file->path;
    else
        w->path = fs->cwd;
    if (scoped)
        w->root = w->path;
    return *path == '/' && w->resolve & RESOLVE_BENEATH ? -EXDEV : 0;
}

int walk_start(struct walk *w, struct task *t, int dfd, const char *path, unsigned flags)
{
    w->t = t;
    w->dc = t->kernel->vfs->dcache;
    w->flags = flags;
    w->resolve = flags >> LOOKUP_RESOLVE_SHIFT;
    w->dfd_file = NULL;
    w->slash = w->jumped = false;
    w->links = w->depth = 0;
    w->text = (struct walk_text){.rest = path};
    if (dfd != AT_FDCWD && (*path != '/' || w->resolve & RESOLVE_IN_ROOT)) {
        w->dfd_file = fd_get_path(t, dfd);
        if (!w->dfd_file)
            return -EBADF;
        if (*path && !d_is_dir(w->dfd_file->path.dentry)) {
            file_put(w->dfd_file);
            return -ENOTDIR;
        }
    }
    mutex_lock(&t->fs->lock);
    rwlock_read(&w->dc->lock);
    w->fast = true;
    int err = walk_start_at(w, t->fs, path);
    if (err)
        walk_end(w);
    return err;
}

static void walk_unlock(struct walk *w)
{
    rwlock_unlock(&w->dc->lock);
    mutex_unlock(&w->t->fs->lock);
    w->fast = false;
}

void walk_unlazy(struct walk *w)
{
    if (!w->fast)
        return;
    path_get(&w->path);
    path_get(&w->root);
    walk_unlock(w);
    if (w->dfd_file) {
        file_put(w->dfd_file);
        w->dfd_file = NULL;
    }
}

/* The slow way, because the fast one does not go on. */
static int walk_leave_fast(struct walk *w)
{
    if (w->fast && w->resolve & RESOLVE_CACHED)
        return -EAGAIN;
    walk_unlazy(w);
    return 0;
}

void walk_end(struct walk *w)
{
    if (w->fast) {
        walk_unlock(w);
    } else {
        path_put(&w->path);
        path_put(&w->root);
    }
    if (w->dfd_file)
        file_put(w->dfd_file);
    text_release(&w->text);
    while (w->depth > 0)
        text_release(&w->stack[--w->depth]);
}

/* ---- steps ---- */

/* Moves to `to`, which the locked dcache keeps alive; lets the lock go unless fast. */
static void walk_move_locked(struct walk *w, struct path_ref to)
{
    if (w->fast) {
        w->path = to;
        return;
    }
    struct path_ref old = w->path;
    path_get(&to);
    rwlock_unlock(&w->dc->lock);
    w->path = to;
    path_put(&old);
}

static void walk_lock_tree(struct walk *w)
{
    if (!w->fast)
        rwlock_read(&w->dc->lock);
}
static void walk_unlock_tree(struct walk *w)
{
    if (!w->fast)
        rwlock_unlock(&w->dc->lock);
}

int walk_step(struct walk *w, struct dentry *d)
{
    walk_lock_tree(w);
    struct path_ref to = {.mnt = w->path.mnt, .dentry = d};
    if (mount_cross_down(&to) && w->resolve & RESOLVE_NO_XDEV) {
        walk_unlock_tree(w);
        return -EXDEV;
    }
    walk_move_locked(w, to);
    return 0;
}

static int walk_dotdot(struct walk *w)
{
    walk_lock_tree(w);
    struct path_ref to = w->path;
    int err = 0;
    for (;;) {
        if (to.dentry == w->root.dentry && to.mnt == w->root.mnt) {
            if (w->resolve & RESOLVE_BENEATH)
                err = -EXDEV;
            break;
        }
        if (to.dentry != to.mnt->root) {
            to.dentry = to.dentry->parent;
            break;
        }
        if (!to.mnt->mountpoint)
            break;
        if (w->resolve & RESOLVE_NO_XDEV)
            err = -EXDEV;
        to = (struct path_ref){.mnt = to.mnt->parent, .dentry = to.mnt->mountpoint};
    }
    if (mount_cross_down(&to) && w->resolve & RESOLVE_NO_XDEV)
        err = -EXDEV;
    if (err) {
        walk_unlock_tree(w);
        return err;
    }
    walk_move_locked(w, to);
    return 0;
}

static int walk_to_root(struct walk *w)
{
    if (w->resolve & RESOLVE_BENEATH)
        return -EXDEV;
    if (w->resolve & RESOLVE_NO_XDEV && w->path.mnt != w->root.mnt)
        return -EXDEV;
    walk_lock_tree(w);
    walk_move_locked(w, w->root);
    return 0;
}

/* Whether the caller may search the current directory. */
static int walk_may_search(struct walk *w)
{
    struct inode *i = w->path.dentry->inode;
    if (i->ops->permission && w->fast) {
        int err = walk_leave_fast(w);
        if (err)
            return err;
    }
    return inode_permission(i, w->t->cred, MAY_EXEC);
}

/* ---- symbolic links ---- */

/* The body of link: its own cached string, or a malloc'ed one in *owned. */
static int link_body(struct walk *w, struct inode *link, const char **body, char **owned)
{
    *owned = NULL;
    *body = link->link_body;
    if (*body)
        return 0;
    if (!link->ops->readlink)
        return -EINVAL;
    char buf[PATH_MAX];
    ssize_t n = link->ops->readlink(link, w->t, buf, sizeof buf);
    if (n < 0)
        return (int)n;
    char *copy = strndup(buf, (size_t)n);
    if (!copy)
        return -ENOMEM;
    *body = copy;
    char *none = NULL;
    if (link->sb->no_dentry_cache || !atomic_compare_exchange_strong(&link->link_body, &none, copy))
        *owned = copy;
    return 0;
}

static int walk_follow_magic(struct walk *w, struct inode *link)
{
    if (w->resolve & (RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS))
        return -ELOOP;
    if (w->resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT))
        return -EXDEV;
    struct path_ref to = {0};
    int err = link->ops->follow(link, w->t, &to);
    if (err)
        return err;
    if (w->resolve & RESOLVE_NO_XDEV && to.mnt != w->path.mnt) {
        path_put(&to);
        return -EXDEV;
    }
    path_put(&w->path);
    w->path = to;
    w->jumped = true;
    return 0;
}

/* Puts what is left of the current string aside, unless nothing is. */
static void walk_push(struct walk *w)
{
    const char *rest = w->text.rest;
    if (*rest == '/' && rest[strspn(rest, "/")] == 0)
        w->slash = w->slash || w->depth == 0;
    if (rest[strspn(rest, "/")])
        w->stack[w->depth++] = w->text;
    else
        text_release(&w->text);
}

int walk_follow(struct walk *w, struct inode *link)
{
    if (++w->links > WALK_MAX_LINKS || w->resolve & RESOLVE_NO_SYMLINKS)
        return -ELOOP;
    if (w->path.mnt->flags & MS_NOSYMFOLLOW)
        return -ELOOP;
    if (link->ops->follow) {
        int err = walk_leave_fast(w);
        return err ? err : walk_follow_magic(w, link);
    }
    struct walk_text text = {.link = link};
    inode_get(link);
    int err = 0;
    if (!link->link_body)
        err = walk_leave_fast(w);
    if (!err)
        err = link_body(w, link, &text.rest, &text.owned);
    if (!err && !*text.rest)
        err = -ENOENT;
    if (!err && *text.rest == '/')
        err = walk_to_root(w);
    if (err) {
        text_release(&text);
        return err;
    }
    walk_push(w);
    w->text = text;
    return 0;
}

/* ---- the loop ---- */

/* Steps to a name that is neither "." nor "..". last: a link stays as it is. */
static int walk_name(struct walk *w, const char *name, size_t len, bool stop_at_link)
{
    struct dentry *dir = w->path.dentry, *d = NULL;
    bool fast = w->fast && !dir->inode->ops->revalidate;
    if (fast)
        d = d_find_locked(w->dc, dir, name, len);
    if (!d) {
        int err = walk_leave_fast(w);
        if (!err)
            err = lookup_one(dir, name, len, &d);
        if (err)
            return err;
    }
    bool slow = !w->fast;
    struct inode *i = d->inode;
    int err;
    if (!i) {
        err = -ENOENT;
    } else if (S_ISLNK(i->mode) && !stop_at_link) {
        inode_get(i);
        err = walk_follow(w, i);
        inode_put(i);
    } else {
        err = walk_step(w, d);
    }
    if (slow)
        dentry_put(d);
    return err;
}

/* The next component of the current string, or of those it was put aside for. 0: no more. */
static size_t walk_next(struct walk *w, const char **name)
{
    for (;;) {
        const char *s = w->text.rest;
        s += strspn(s, "/");
        size_t len = strcspn(s, "/");
        w->text.rest = s + len;
        *name = s;
        if (len || w->depth == 0)
            return len;
        text_release(&w->text);
        w->text = w->stack[--w->depth];
    }
}

static bool is_dotdot(const char *name, size_t len)
{
    return len == 2 && name[0] == '.' && name[1] == '.';
}
static bool is_dot(const char *name, size_t len)
{
    return len == 1 && name[0] == '.';
}

static void last_set(struct walk *w, struct last_name *last, const char *name, size_t len)
{
    memcpy(last->name, name, len);
    last->name[len] = 0;
    last->len = len;
    last->slash = w->slash || (len && *w->text.rest == '/');
    last->is_dot = is_dot(name, len) || is_dotdot(name, len);
}

/* One component. *done: the walk has arrived. */
static int walk_component(struct walk *w, struct last_name *last, bool *done)
{
    const char *name;
    size_t len = walk_next(w, &name);
    *done = len == 0;
    if (*done) {
        if (last)
            last_set(w, last, "", 0);
        return 0;
    }
    w->jumped = false;
    if (!d_is_dir(w->path.dentry))
        return -ENOTDIR;
    int err = walk_may_search(w);
    if (err)
        return err;
    if (len > NAME_MAX)
        return -ENAMETOOLONG;
    bool is_last = w->depth == 0 && w->text.rest[strspn(w->text.rest, "/")] == 0;
    if (is_last && last) {
        last_set(w, last, name, len);
        *done = true;
        return 0;
    }
    if (is_dot(name, len))
        return 0;
    if (is_dotdot(name, len))
        return walk_dotdot(w);
    bool follow = !is_last || w->flags & LOOKUP_FOLLOW || *w->text.rest == '/' || w->slash;
    return walk_name(w, name, len, !follow);
}

int walk_run(struct walk *w, struct last_name *last)
{
    bool done = false;
    int err = 0;
    while (!err && !done) {
        /* A trailing slash is remembered from the component before it. */
        err = walk_component(w, last, &done);
        if (!err && !last && w->depth == 0 && *w->text.rest == '/' &&
            w->text.rest[strspn(w->text.rest, "/")] == 0)
            w->slash = true;
    }
    return err;
}

/* Whether a scoped walk is where it may be. */
static int walk_check_scope(struct walk *w)
{
    rwlock_read(&w->dc->lock);
    struct path_ref p = w->path;
    while (p.dentry != w->root.dentry || p.mnt != w->root.mnt) {
        if (p.dentry != p.mnt->root)
            p.dentry = p.dentry->parent;
        else if (!mount_cross_up(&p))
            break;
    }
    bool inside = p.dentry == w->root.dentry && p.mnt == w->root.mnt;
    rwlock_unlock(&w->dc->lock);
    /* A rename or a mount moved the ground while we walked. */
    return inside ? 0 : -EAGAIN;
}

int walk_take(struct walk *w, struct path_ref *out)
{
    if (w->resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT)) {
        walk_unlazy(w);
        int err = walk_check_scope(w);
        if (err)
            return err;
    }
    *out = w->path;
    if (w->fast) {
        path_get(out);
        walk_unlock(w);
        w->root = (struct path_ref){0};
    }
    w->path = (struct path_ref){0};
    return 0;
}

int vfs_lookup(struct task *t, int dfd, const char *path, unsigned flags, struct path_ref *out)
{
    struct walk w;
    if (!*path && !(flags & LOOKUP_EMPTY_PATH))
        return -ENOENT;
    int err = walk_start(&w, t, dfd, path, flags);
    if (err)
        return err;
    err = walk_run(&w, NULL);
    if (!err && (w.slash || flags & LOOKUP_DIRECTORY) && !d_is_dir(w.path.dentry))
        err = -ENOTDIR;
    if (!err)
        err = walk_take(&w, out);
    walk_end(&w);
    return err;
}

int vfs_lookup_parent(struct task *t, int dfd, const char *path, unsigned flags,
                      struct path_ref *parent, char *last, bool *slash)
{
    struct walk w;
    struct last_name name;
    if (!*path)
        return -ENOENT;
    int err = walk_start(&w, t, dfd, path, flags);
    if (err)
        return err;
    err = walk_run(&w, &name);
    if (!err)
        err = walk_take(&w, parent);
    if (!err) {
        memcpy(last, name.name, name.len + 1);
        *slash = name.slash;
    }
    walk_end(&w);
    return err;
}
