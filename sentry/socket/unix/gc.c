/*
 * Sockets that nobody can reach any more.
 *
 *      a's queue --message--> file of b
 *      b's queue --message--> file of a         and no descriptor of either
 *
 * Files in messages keep each other alive. A socket is garbage if every reference to its file is in
 * a message (its references are as many as it is in flight), and each of those messages is in the
 * queue of a socket that is garbage itself. All others are kept, and what is in their queues.
 *
 * The lock (UNIX_GC) is held where a file goes into a message or comes out of one, so that during a
 * search nobody can get hold of a file that had no other reference.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/socket/unix/unix.h"
#include <stdlib.h>

/* How many files the messages of a user hold. */
struct sender_count {
    struct list_head link;
    uid_t uid;
    uint64_t n;
};

struct unix_gc {
    struct mutex lock;         /* UNIX_GC */
    struct list_head inflight; /* unix_sock.gc.link */
    struct list_head senders;
};

struct unix_gc *unix_gc_create(void)
{
    struct unix_gc *gc = calloc(1, sizeof *gc);
    if (!gc)
        return NULL;
    mutex_init(&gc->lock, LOCK_UNIX_GC);
    list_init(&gc->inflight);
    list_init(&gc->senders);
    return gc;
}

void unix_gc_destroy(struct unix_gc *gc)
{
    if (!gc)
        return;
    struct sender_count *c, *next;
    list_for_each_safe (c, next, &gc->senders, link)
        free(c);
    mutex_destroy(&gc->lock);
    free(gc);
}

static struct unix_sock *unix_of_file(const struct file *f)
{
    struct socket *s = file_socket(f);
    return s && s->family == AF_UNIX ? unix_of(s) : NULL;
}

/* ---- into messages and out; lock held ---- */

static struct sender_count *find_sender(struct unix_gc *gc, uid_t uid)
{
    struct sender_count *c;
    list_for_each (c, &gc->senders, link) {
        if (c->uid == uid)
            return c;
    }
    return NULL;
}

static int count_sender(struct unix_gc *gc, uid_t uid, unsigned n)
{
    struct sender_count *c = find_sender(gc, uid);
    if (!c) {
        c = calloc(1, sizeof *c);
        if (!c)
            return -ENOMEM;
        c->uid = uid;
        list_add(&gc->senders, &c->link);
    }
    c->n += n;
    return 0;
}

static void uncount_sender(struct unix_gc *gc, uid_t uid, unsigned n)
{
    struct sender_count *c = find_sender(gc, uid);
    c->n -= n;
    if (c->n == 0) {
        list_del(&c->link);
        free(c);
    }
}

static void take_off(struct unix_sock *s)
{
    if (--s->gc.inflight == 0)
        list_del(&s->gc.link);
}

int unix_files_launch(struct kernel *k, struct scm_files *files, uid_t uid)
{
    struct unix_gc *gc = k->vfs->unix_gc;
    if (!files || files->flying)
        return 0;
    MUTEX_GUARD(&gc->lock);
    if (count_sender(gc, uid, files->n))
        return -ENOMEM;
    files->flying = k;
    files->uid = uid;
    for (unsigned i = 0; i < files->n; i++) {
        struct unix_sock *s = unix_of_file(files->files[i]);
        if (!s)
            continue;
        if (s->gc.inflight++ == 0) {
            s->gc.file = files->files[i];
            list_add(&gc->inflight, &s->gc.link);
        }
    }
    return 0;
}

static void land_locked(struct unix_gc *gc, struct scm_files *files)
{
    uncount_sender(gc, files->uid, files->n);
    files->flying = NULL;
    for (unsigned i = 0; i < files->n; i++) {
        struct unix_sock *s = unix_of_file(files->files[i]);
        if (s)
            take_off(s);
    }
}

void unix_files_land(struct scm_files **from, struct scm_files **to)
{
    struct scm_files *files = *from;
    struct unix_gc *gc = files->flying ? files->flying->vfs->unix_gc : NULL;
    if (gc)
        mutex_lock(&gc->lock);
    *from = NULL;
    if (gc) {
        land_locked(gc, files);
        mutex_unlock(&gc->lock);
    }
    *to = files;
}

bool unix_too_many_in_flight(struct task *t)
{
    struct unix_gc *gc = t->kernel->vfs->unix_gc;
    uint64_t limit = task_rlimit(t, RLIMIT_NOFILE);
    MUTEX_GUARD(&gc->lock);
    const struct sender_count *c = find_sender(gc, t->cred->uid);
    return c && c->n > limit && !task_capable(t, CAP_SYS_RESOURCE) &&
           !task_capable(t, CAP_SYS_ADMIN);
}

/* ---- the search; lock held ---- */

typedef void (*message_fn)(struct unix_msg *m, struct list_head *list);

/* Calls fn for every message that is lost if s is: in its queue, and in those of its embryos. */
static void each_message(struct unix_sock *s, message_fn fn, struct list_head *list)
{
    struct unix_msg *m;
    struct unix_sock *e;
    mutex_lock(&s->sock.lock);
    list_for_each (m, &s->msgs, link)
        fn(m, list);
    list_for_each (e, &s->embryos, accept_link) {
        mutex_lock_nested(&e->sock.lock);
        list_for_each (m, &e->msgs, link)
            fn(m, list);
        mutex_unlock(&e->sock.lock);
    }
    mutex_unlock(&s->sock.lock);
}

static struct unix_sock *candidate(const struct scm_files *files, unsigned i)
{
    struct unix_sock *s = unix_of_file(files->files[i]);
    return s && s->gc.suspect ? s : NULL;
}

/* A suspect in m is referred to by one message less from outside. */
static void discount(struct unix_msg *m, UNUSED struct list_head *list)
{
    for (unsigned i = 0; m->files && i < m->files->n; i++) {
        struct unix_sock *s = candidate(m->files, i);
        if (s)
            s->gc.outside--;
    }
}

static void clear(struct unix_sock *s, struct list_head *cleared)
{
    s->gc.suspect = false;
    list_add(cleared, &s->gc.work);
}

/* The suspects in m can be reached. */
static void clear_children(struct unix_msg *m, struct list_head *cleared)
{
    for (unsigned i = 0; m->files && i < m->files->n; i++) {
        struct unix_sock *s = candidate(m->files, i);
        if (s)
            clear(s, cleared);
    }
}

/* Takes m's files out, onto a list. */
static void seize(struct unix_msg *m, struct list_head *list)
{
    if (!m->files)
        return;
    list_add(list, &m->files->seized);
    m->files = NULL;
}

static void find_suspects(struct unix_gc *gc)
{
    struct unix_sock *s;
    list_for_each (s, &gc->inflight, gc.link) {
        s->gc.suspect = (unsigned)ref_read(&s->gc.file->ref) == s->gc.inflight;
        s->gc.outside = s->gc.inflight;
    }
    list_for_each (s, &gc->inflight, gc.link) {
        if (s->gc.suspect)
            each_message(s, discount, NULL);
    }
}

static void clear_reachable(struct unix_gc *gc)
{
    struct list_head cleared;
    struct unix_sock *s;
    list_init(&cleared);
    list_for_each (s, &gc->inflight, gc.link) {
        if (s->gc.suspect && s->gc.outside)
            clear(s, &cleared);
    }
    while ((s = list_first(&cleared, struct unix_sock, gc.work))) {
        list_del(&s->gc.work);
        each_message(s, clear_children, &cleared);
    }
}

void unix_collect(struct kernel *k)
{
    struct unix_gc *gc = k->vfs->unix_gc;
    struct list_head seized;
    struct scm_files *files, *next;
    struct unix_sock *s;
    list_init(&seized);
    {
        MUTEX_GUARD(&gc->lock);
        find_suspects(gc);
        clear_reachable(gc);
        list_for_each (s, &gc->inflight, gc.link) {
            if (s->gc.suspect)
                each_message(s, seize, &seized);
        }
        /* Not before: what is garbage must stay on the list until all of it was seen. */
        list_for_each (files, &seized, seized)
            land_locked(gc, files);
    }
    list_for_each_safe (files, next, &seized, seized) {
        list_del(&files->seized);
        scm_files_free(files);
    }
}
