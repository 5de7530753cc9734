/*
 * How pipes come about: pipe(2), and the opening of FIFOs. See fifo(7).
 */
#include "sentry/fs/pipefs/pipe.h"
#include "sentry/kernel/kernel.h"
#include <stdio.h>
#include <sys/stat.h>

static struct dentry *pipe_dentry(struct vfs *v, const struct cred *cred)
{
    static const struct inode_ops pipe_inode_ops = {.setattr = inode_simple_setattr};
    char name[32];
    uint64_t ino = atomic_fetch_add(&v->next_anon_ino, 1) + 2;
    struct inode *i =
        inode_create(v->pipe_sb, ino, S_IFIFO | 0600, &pipe_inode_ops, &pipe_file_ops);
    if (!i)
        return NULL;
    i->uid = cred->fsuid;
    i->gid = cred->fsgid;
    i->atime = i->mtime = i->ctime = vfs_now(v->pipe_sb);
    snprintf(name, sizeof name, "pipe:[%lu]", (unsigned long)ino);
    return d_make_anon(v->pipe_sb, name, i);
}

int pipe_create(struct kernel *k, unsigned flags, const struct cred *cred, struct file *out[2])
{
    struct vfs *v = k->vfs;
    struct dentry *d = pipe_dentry(v, cred);
    struct pipe *p = d ? pipe_alloc() : NULL;
    if (!p) {
        if (d)
            dentry_put(d);
        return -ENOMEM;
    }
    flags &= O_NONBLOCK | O_DIRECT;
    unsigned read_flags = flags & O_NONBLOCK; /* packets are the writer's */
    p->users = p->readers = p->reader_opens = 1;
    d->inode->pipe = p;
    out[0] = file_create(k, v->anon_mnt, d, read_flags | O_RDONLY, &pipe_file_ops, p, cred);
    if (out[0]) {
        out[0]->stream = true;
        p->writers = p->writer_opens = 1;
        p->users = 2;
        out[1] = file_create(k, v->anon_mnt, d, flags | O_WRONLY, &pipe_file_ops, p, cred);
        if (out[1])
            out[1]->stream = true;
        else
            p->users = 1;
    } else {
        pipe_free(p);
    }
    dentry_put(d);
    if (out[0] && out[1])
        return 0;
    if (out[0])
        file_put(out[0]);
    return -ENOMEM;
}

/* The inode's pipe with one more user. */
static struct pipe *fifo_get(struct inode *i)
{
    rwlock_write(&i->lock);
    struct pipe *p = i->pipe;
    if (p) {
        mutex_lock(&p->lock);
        p->users++;
        mutex_unlock(&p->lock);
    } else {
        p = i->pipe = pipe_alloc();
    }
    rwlock_unlock(&i->lock);
    return p;
}

/* Waits until somebody has opened the other end since `*opens` was `seen`. Lock held. */
static int fifo_wait(struct pipe *p, const unsigned *opens, unsigned seen, uint32_t event)
{
    int err = 0;
    while (!err && *opens == seen)
        err = pipe_wait(p, event, false);
    return err;
}

/* Lock held. Counts f in, and waits for its other end as fifo(7) says; not if it is a pipe without
 * a name (opened through /proc/PID/fd), whose other end may have come and gone. */
static int fifo_open_locked(struct pipe *p, struct file *f, bool nameless)
{
    bool nonblock = f->flags & O_NONBLOCK;
    if (!f->readable && nonblock && p->readers == 0 && !nameless)
        return -ENXIO;
    p->readers += f->readable;
    p->writers += f->writable;
    p->reader_opens += f->readable;
    p->writer_opens += f->writable;
    /* Whoever opens the other end now may be gone again before the lock is back. */
    unsigned readers = p->readers, writers = p->writers;
    unsigned reader_opens = p->reader_opens, writer_opens = p->writer_opens;
    mutex_unlock(&p->lock);
    pipe_announce_all(p, POLLIN | POLLOUT);
    mutex_lock(&p->lock);
    int err = 0;
    if (nameless)
        return 0;
    if (f->readable && !f->writable && writers == 0) {
        if (nonblock)
            f->pos = (int64_t)writer_opens + 1; /* see pipe_poll */
        else
            err = fifo_wait(p, &p->writer_opens, writer_opens, POLLIN);
    } else if (f->writable && !f->readable && readers == 0) {
        err = fifo_wait(p, &p->reader_opens, reader_opens, POLLOUT);
    }
    if (err) {
        p->readers -= f->readable;
        p->writers -= f->writable;
    }
    return err;
}

int fifo_open(struct inode *i, struct file *f, UNUSED struct task *t)
{
    struct pipe *p = fifo_get(i);
    if (!p)
        return -ENOMEM;
    mutex_lock(&p->lock);
    int err = fifo_open_locked(p, f, i->sb == f->kernel->vfs->pipe_sb);
    mutex_unlock(&p->lock);
    f->stream = true;
    f->priv = p;
    if (!err) {
        f->ops = &pipe_file_ops;
        return 0;
    }
    rwlock_write(&i->lock);
    mutex_lock(&p->lock);
    bool last = --p->users == 0;
    if (last)
        i->pipe = NULL;
    mutex_unlock(&p->lock);
    rwlock_unlock(&i->lock);
    if (last)
        pipe_free(p);
    else
        pipe_announce_all(p, POLLIN | POLLOUT | POLLHUP | POLLERR);
    return err;
}
