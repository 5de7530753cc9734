/*
 * Names of Unix sockets: paths, where a socket inode remembers who is bound to it, and abstract
 * names, which have a hash table.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/socket/unix/unix.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define BUCKETS 256u
#define FAMILY_LEN offsetof(struct sockaddr_un, sun_path)
#define AUTOBIND_NAMES 0x100000u /* five hexadecimal digits */

struct unix_names {
    struct mutex lock;                  /* UNIX_NAMES */
    struct list_head abstract[BUCKETS]; /* unix_sock.name_link */
    uint32_t next_auto;
};

struct unix_names *unix_names_create(void)
{
    struct unix_names *n = calloc(1, sizeof *n);
    if (!n)
        return NULL;
    mutex_init(&n->lock, LOCK_UNIX_NAMES);
    for (unsigned i = 0; i < BUCKETS; i++)
        list_init(&n->abstract[i]);
    return n;
}

void unix_names_destroy(struct unix_names *n)
{
    if (!n)
        return;
    mutex_destroy(&n->lock);
    free(n);
}

static struct unix_names *names_of(const struct unix_sock *s)
{
    return s->sock.kernel->vfs->unix_names;
}

void unix_names_lock(const struct unix_sock *s)
{
    mutex_lock(&names_of(s)->lock);
}

void unix_names_unlock(const struct unix_sock *s)
{
    mutex_unlock(&names_of(s)->lock);
}

static struct list_head *bucket(struct unix_names *n, const struct sockaddr_un *un, socklen_t len)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < len - FAMILY_LEN; i++)
        h = (h ^ (unsigned char)un->sun_path[i]) * 16777619u;
    return &n->abstract[h % BUCKETS];
}

static struct unix_addr *addr_create(const struct sockaddr_un *un, socklen_t len)
{
    struct unix_addr *a = calloc(1, sizeof *a);
    if (!a)
        return NULL;
    ref_init(&a->ref);
    a->len = len;
    memcpy(&a->un, un, len);
    return a;
}

void unix_addr_put(struct unix_addr *a)
{
    if (a && ref_put(&a->ref))
        free(a);
}

/* What the application gave: *len gets the length that the name really has. */
static int check_addr(const struct sockaddr_storage *a, socklen_t *len, struct sockaddr_un *un)
{
    if (*len <= FAMILY_LEN || *len > sizeof *un || a->ss_family != AF_UNIX)
        return -EINVAL;
    memset(un, 0, sizeof *un);
    memcpy(un, a, *len);
    if (un->sun_path[0])
        *len = (socklen_t)(FAMILY_LEN + strnlen(un->sun_path, *len - FAMILY_LEN) + 1);
    return 0;
}

/* The path of an address: up to 108 characters without a NUL. */
static void copy_path(char *path, const struct sockaddr_un *un, socklen_t len)
{
    size_t n = MIN((size_t)len - FAMILY_LEN, sizeof un->sun_path);
    memcpy(path, un->sun_path, n);
    path[n] = 0;
}

/* ---- finding ---- */

static struct unix_sock *find_abstract(struct unix_names *n, const struct sockaddr_un *un,
                                       socklen_t len, int type)
{
    struct unix_sock *s;
    list_for_each (s, bucket(n, un, len), name_link)
        if (s->addr->len == len && memcmp(&s->addr->un, un, len) == 0 && s->sock.type == type)
            return s;
    return NULL;
}

static int lookup_abstract(struct unix_names *n, const struct sockaddr_un *un, socklen_t len,
                           int type, struct unix_sock **out)
{
    MUTEX_GUARD(&n->lock);
    struct unix_sock *s = find_abstract(n, un, len, type);
    if (!s)
        return -ECONNREFUSED;
    *out = unix_get(s);
    return 0;
}

static int lookup_path(struct task *t, struct unix_names *n, const struct sockaddr_un *un,
                       socklen_t len, int type, struct unix_sock **out)
{
    char path[sizeof un->sun_path + 1];
    struct path_ref p;
    copy_path(path, un, len);
    int err = vfs_lookup(t, AT_FDCWD, path, LOOKUP_FOLLOW, &p);
    if (err)
        return err;
    struct inode *i = p.dentry->inode;
    err = vfs_permission(&p, t->cred, MAY_WRITE);
    if (!err && !S_ISSOCK(i->mode))
        err = -ECONNREFUSED;
    if (!err) {
        MUTEX_GUARD(&n->lock);
        struct unix_sock *s = i->unix_sock;
        if (!s)
            err = -ECONNREFUSED;
        else if (s->sock.type != type)
            err = -EPROTOTYPE;
        else
            *out = unix_get(s);
    }
    path_put(&p);
    return err;
}

int unix_lookup(struct task *t, const struct sockaddr_storage *a, socklen_t len, int type,
                struct unix_sock **out)
{
    struct unix_names *n = t->kernel->vfs->unix_names;
    struct sockaddr_un un;
    int err = check_addr(a, &len, &un);
    if (err)
        return err;
    return un.sun_path[0] ? lookup_path(t, n, &un, len, type, out)
                          : lookup_abstract(n, &un, len, type, out);
}

/* ---- giving ---- */

/* UNIX_NAMES held. Takes the reference on a. */
static void set_addr(struct unix_sock *s, struct unix_addr *a)
{
    MUTEX_GUARD(&s->sock.lock);
    s->addr = a;
}

static int bind_abstract(struct unix_sock *s, struct unix_addr *a)
{
    struct unix_names *n = names_of(s);
    MUTEX_GUARD(&n->lock);
    if (s->addr)
        return -EINVAL;
    if (find_abstract(n, &a->un, a->len, s->sock.type))
        return -EADDRINUSE;
    set_addr(s, a);
    list_add(bucket(n, &a->un, a->len), &s->name_link);
    return 0;
}

static int bind_path(struct unix_sock *s, struct task *t, struct unix_addr *a)
{
    struct unix_names *n = names_of(s);
    char path[sizeof a->un.sun_path + 1];
    struct path_ref p;
    copy_path(path, &a->un, a->len);
    int err = vfs_mknod(t, AT_FDCWD, path, S_IFSOCK | 0777, 0);
    if (!err)
        err = vfs_lookup(t, AT_FDCWD, path, 0, &p);
    if (err)
        return err == -EEXIST ? -EADDRINUSE : err;
    mutex_lock(&n->lock);
    struct inode *i = p.dentry->inode;
    if (s->addr || !S_ISSOCK(i->mode) || i->unix_sock) {
        err = s->addr ? -EINVAL : -EADDRINUSE;
    } else {
        set_addr(s, a);
        s->path = p;
        i->unix_sock = s;
    }
    mutex_unlock(&n->lock);
    if (err)
        path_put(&p);
    return err;
}

int unix_autobind(struct unix_sock *s)
{
    struct unix_names *n = names_of(s);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    const socklen_t len = FAMILY_LEN + 6;
    struct unix_addr *a = addr_create(&un, len);
    if (!a)
        return -ENOMEM;
    int err = -ENOSPC;
    {
        MUTEX_GUARD(&n->lock);
        for (uint32_t i = 0; i < AUTOBIND_NAMES && err == -ENOSPC && !s->addr; i++) {
            snprintf(&a->un.sun_path[1], 6, "%05x", n->next_auto++ % AUTOBIND_NAMES);
            if (find_abstract(n, &a->un, len, s->sock.type))
                continue;
            set_addr(s, a);
            list_add(bucket(n, &a->un, len), &s->name_link);
            err = 0;
        }
        if (err && s->addr) {
            unix_addr_put(a);
            return 0;
        }
    }
    if (err)
        unix_addr_put(a);
    return err;
}

static bool path_exists(struct task *t, const struct sockaddr_un *un, socklen_t len)
{
    char path[sizeof un->sun_path + 1];
    struct path_ref p;
    if (!un->sun_path[0])
        return false;
    copy_path(path, un, len);
    if (vfs_lookup(t, AT_FDCWD, path, 0, &p))
        return false;
    path_put(&p);
    return true;
}

int unix_bind(struct socket *sock, struct task *t, const struct sockaddr_storage *a, socklen_t len)
{
    struct unix_sock *s = unix_of(sock);
    struct sockaddr_un un;
    if (len == FAMILY_LEN && a->ss_family == AF_UNIX)
        return unix_autobind(s);
    int err = check_addr(a, &len, &un);
    if (err)
        return err;
    mutex_lock(&names_of(s)->lock);
    bool bound = s->addr;
    mutex_unlock(&names_of(s)->lock);
    if (bound)
        return path_exists(t, &un, len) ? -EADDRINUSE : -EINVAL;
    struct unix_addr *addr = addr_create(&un, MIN(len, (socklen_t)sizeof un));
    if (!addr)
        return -ENOMEM;
    addr->len = len; /* one more than fits, for a path of 108 characters */
    err = un.sun_path[0] ? bind_path(s, t, addr) : bind_abstract(s, addr);
    if (err)
        unix_addr_put(addr);
    return err;
}

void unix_unname(struct unix_sock *s)
{
    struct path_ref p;
    mutex_lock(&names_of(s)->lock);
    list_del(&s->name_link);
    p = s->path;
    s->path = (struct path_ref){0};
    if (p.dentry)
        p.dentry->inode->unix_sock = NULL;
    mutex_unlock(&names_of(s)->lock);
    path_put(&p);
}

int unix_getname(struct socket *sock, bool peer, struct sockaddr_storage *a, socklen_t *len)
{
    struct unix_sock *s = peer ? unix_peer_get(unix_of(sock)) : unix_get(unix_of(sock));
    if (!s)
        return -ENOTCONN;
    mutex_lock(&s->sock.lock);
    memset(a, 0, sizeof *a);
    a->ss_family = AF_UNIX;
    *len = FAMILY_LEN;
    if (s->addr) {
        *len = s->addr->len;
        memcpy(a, &s->addr->un, sizeof s->addr->un);
    }
    mutex_unlock(&s->sock.lock);
    unix_put(s);
    return 0;
}
