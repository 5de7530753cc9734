/*
 * Root, working directory and umask: what CLONE_FS shares.
 */
#include "sentry/vfs/internal.h"
#include <stdlib.h>

static struct fs_context *create_in(struct mount_ns *ns, const struct path_ref *root,
                                    const struct path_ref *cwd)
{
    struct fs_context *fc = calloc(1, sizeof *fc);
    if (!fc)
        return NULL;
    ref_init(&fc->ref);
    mutex_init(&fc->lock, LOCK_FS_CONTEXT);
    path_get(root);
    path_get(cwd);
    fc->root = *root;
    fc->cwd = *cwd;
    fc->ns = mount_ns_get(ns);
    fc->umask = 022;
    return fc;
}

struct fs_context *fs_context_create(const struct path_ref *root, const struct path_ref *cwd)
{
    return create_in(root->mnt->ns, root, cwd);
}

struct fs_context *fs_context_copy(struct fs_context *fc)
{
    MUTEX_GUARD(&fc->lock);
    struct fs_context *copy = create_in(fc->ns, &fc->root, &fc->cwd);
    if (copy)
        copy->umask = fc->umask;
    return copy;
}

struct fs_context *fs_context_get(struct fs_context *fc)
{
    ref_get(&fc->ref);
    return fc;
}

void fs_context_put(struct fs_context *fc)
{
    if (!fc || !ref_put(&fc->ref))
        return;
    path_put(&fc->cwd);
    path_put(&fc->root);
    mount_ns_put(fc->ns);
    mutex_destroy(&fc->lock);
    free(fc);
}
