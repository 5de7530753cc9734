/*
 * Path walks. See path_resolution(7), openat2(2).
 *
 * A walk starts with the dcache lock held for reading and takes no reference as long as every name
 * is cached and no file system must be asked: that is the fast way, in which most walks end. At the
 * first obstacle walk_unlazy takes references on where it stands, lets the lock go, and the walk
 * goes on the slow way. Both are the same code but for how a name is found.
 *
 *      "a/link/c"     name -> "c"        stack: what is left of the strings that held a link
 *           `-> "x/y"                    holder: whose body `name` points into
 */
#ifndef PICKET_SENTRY_VFS_WALK_H
#define PICKET_SENTRY_VFS_WALK_H

#include "sentry/vfs/internal.h"

#define WALK_MAX_LINKS 40

struct walk_text {
    const char *rest;
    struct inode *link; /* its body holds rest: referenced */
    char *owned;        /* or this: malloc'ed */
};

struct walk {
    struct task *t;
    struct dcache *dc;
    struct file *dfd_file;
    struct path_ref path, root;
    unsigned flags; /* LOOKUP_* */
    unsigned resolve;
    bool fast;        /* locks held, path and root not referenced */
    bool slash;       /* the path as given (or a link that ended it) ended in a slash */
    bool jumped;      /* the last component was a magic link: path is its target */
    int links, depth; /* followed so far; on the stack */
    struct walk_text text;
    struct walk_text stack[WALK_MAX_LINKS];
};

/* The last component, where a walk to the parent stops. */
struct last_name {
    char name[NAME_MAX + 1];
    size_t len;  /* 0: the path is its own parent ("/") */
    bool slash;  /* followed by slashes */
    bool is_dot; /* "." or ".." */
};

/* Begins at dfd or the root. On failure nothing is to be ended. */
int walk_start(struct walk *w, struct task *t, int dfd, const char *path, unsigned flags);
/* Walks to the end, or (last not NULL) to the parent of the last component. */
int walk_run(struct walk *w, struct last_name *last);
/* Afterwards path and root are referenced and no lock is held. */
void walk_unlazy(struct walk *w);
/* Continues with the target of link, which is in w->path. Not fast. */
int walk_follow(struct walk *w, struct inode *link);
/* Steps to d in the current directory, and to what is mounted on it. Not fast. */
int walk_step(struct walk *w, struct dentry *d);
/* Gives where the walk stands to the caller, with a reference. The walk can only end then. -EAGAIN
 * if a scoped walk (RESOLVE_BENEATH, IN_ROOT) is no longer where it may be. */
int walk_take(struct walk *w, struct path_ref *out);
/* Lets go of everything. */
void walk_end(struct walk *w);

#endif
