/*
 * What is open of the host, shared by all opens of an inode, within a budget.
 */
#include "sentry/fs/host/host.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void host_slots_init(struct host_node *n)
{
    for (int k = 0; k < 2; k++) {
        n->slots[k].fd = -1;
        n->slots[k].node = n;
        list_init(&n->slots[k].idle_link);
    }
}

/* hs->lock held. */
static void use(struct host_super *hs, struct host_slot *s)
{
    if (s->users++ == 0 && !list_empty(&s->idle_link)) {
        list_del(&s->idle_link);
        hs->nidle--;
    }
}

struct closing {
    int fd;
    bool is_dir;
    struct host_file *mapped;
};

static struct closing detach(struct host_slot *s)
{
    struct closing c = {s->fd, S_ISDIR(s->node->inode->mode), s->mapped};
    s->fd = -1;
    s->mapped = NULL;
    return c;
}

static void close_any(struct host_super *hs, int fd, bool is_dir)
{
    if (is_dir)
        door_close_node(&hs->door, (uint32_t)fd);
    else
        door_close(fd);
}

static void finish(struct host_super *hs, struct closing c)
{
    if (c.mapped)
        host_file_put(c.mapped);
    if (c.fd >= 0)
        close_any(hs, c.fd, c.is_dir);
}

void host_slot_put(struct inode *i, struct host_slot *s)
{
    struct host_super *hs = host_super(i->sb);
    struct closing c = {.fd = -1};
    mutex_lock(&hs->lock);
    /* The only way to a nameless file is the descriptor we have. */
    if (--s->users == 0 && s->node->parent) {
        list_add_tail(&hs->idle, &s->idle_link);
        if (++hs->nidle > hs->max_idle) {
            struct host_slot *oldest = list_first(&hs->idle, struct host_slot, idle_link);
            list_del(&oldest->idle_link);
            hs->nidle--;
            c = detach(oldest);
        }
    }
    mutex_unlock(&hs->lock);
    finish(hs, c);
}

/* The inode is going: nobody uses its slots. */
void host_slots_close(struct host_node *n)
{
    struct host_super *hs = host_super(n->inode->sb);
    for (int k = 0; k < 2; k++) {
        mutex_lock(&hs->lock);
        if (!list_empty(&n->slots[k].idle_link)) {
            list_del(&n->slots[k].idle_link);
            hs->nidle--;
        }
        struct closing c = detach(&n->slots[k]);
        mutex_unlock(&hs->lock);
        finish(hs, c);
    }
    if (n->nameless)
        door_close_node(&hs->door, n->nameless);
}

void host_slot_install(struct inode *i, int which, int fd, struct host_slot **out)
{
    struct host_super *hs = host_super(i->sb);
    struct host_slot *s = &host_node(i)->slots[which];
    mutex_lock(&hs->lock);
    use(hs, s);
    bool taken = s->fd < 0;
    if (taken)
        s->fd = fd;
    mutex_unlock(&hs->lock);
    if (!taken)
        close_any(hs, fd, S_ISDIR(i->mode));
    *out = s;
}

static struct host_slot *peek(struct inode *i)
{
    struct host_super *hs = host_super(i->sb);
    struct host_node *n = host_node(i);
    MUTEX_GUARD(&hs->lock);
    for (int k = 0; k < 2; k++) {
        if (n->slots[k].fd >= 0) {
            use(hs, &n->slots[k]);
            return &n->slots[k];
        }
    }
    return NULL;
}

struct host_slot *host_slot_peek(struct inode *i)
{
    return S_ISREG(i->mode) ? peek(i) : NULL;
}

struct host_slot *host_slot_peek_dir(struct inode *i)
{
    return S_ISDIR(i->mode) ? peek(i) : NULL;
}

/* Puts a name before the path in w; false: it is too long for one call. */
static bool prepend(struct host_way *w, const char *name)
{
    size_t len = strlen(name), left = (size_t)(w->at.path - w->buf);
    if (left < len + 1)
        return false;
    char *p = w->buf + left;
    if (*p)
        *--p = '/';
    w->at.path = memcpy(p - len, name, len);
    return true;
}

/* From the nearest ancestor of n that is open, n included; w->slot is NULL if the way is too long:
 * then w->from has to be opened. hs->lock held. */
static int way_from(struct host_super *hs, struct host_node *n, struct host_way *w)
{
    w->slot = NULL;
    while (n->slots[SLOT_READ].fd < 0) {
        if (!n->parent)
            return -ENOENT;
        if (!prepend(w, n->name))
            break;
        n = host_node(n->parent);
    }
    if (n->slots[SLOT_READ].fd >= 0) {
        w->slot = &n->slots[SLOT_READ];
        use(hs, w->slot);
    }
    inode_get(n->inode);
    w->from = n->inode;
    return 0;
}

static void start_way(struct host_way *w)
{
    w->buf[sizeof(w->buf) - 1] = 0;
    w->at = (struct door_at){.path = w->buf + sizeof(w->buf) - 1};
}

/* No lock held. */
static int end_way(struct host_way *w, int err)
{
    if (!err && !w->slot) {
        err = host_slot_get(w->from, SLOT_READ, &w->slot);
        if (err)
            inode_put(w->from);
    }
    if (!err)
        w->at.node = (uint32_t)w->slot->fd;
    return err;
}

int host_way(struct inode *dir, const char *name, struct host_way *w)
{
    struct host_super *hs = host_super(dir->sb);
    start_way(w);
    if (*name)
        prepend(w, name);
    mutex_lock(&hs->lock);
    int err = way_from(hs, host_node(dir), w);
    mutex_unlock(&hs->lock);
    return end_way(w, err);
}

void host_way_end(struct host_way *w)
{
    host_slot_put(w->from, w->slot);
    inode_put(w->from);
}

/* The way to i itself, by its name. */
static int way_to(struct inode *i, struct host_way *w)
{
    struct host_super *hs = host_super(i->sb);
    struct host_node *n = host_node(i);
    start_way(w);
    mutex_lock(&hs->lock);
    int err = n->parent ? 0 : -ENOENT;
    if (!err) {
        prepend(w, n->name);
        err = way_from(hs, host_node(n->parent), w);
    }
    mutex_unlock(&hs->lock);
    w->at.dev = n->host_dev;
    w->at.ino = i->ino;
    return end_way(w, err);
}

static int open_at(struct inode *i, struct door_at at, int which)
{
    const struct door *door = &host_super(i->sb)->door;
    uint32_t node;
    int r;
    if (S_ISDIR(i->mode)) {
        r = door_open_dir(door, at, &node);
        r = r ? r : (int)node;
    } else {
        r = door_open_file(door, at, which == SLOT_WRITE ? O_RDWR : O_RDONLY);
    }
    return r == -ENOENT || r == -ELOOP || r == -ENOTDIR || r == -ENXIO ? -ESTALE : r;
}

/* Opens i anew. */
static int open_node(struct inode *i, int which)
{
    struct host_way w;
    int err = way_to(i, &w);
    if (err)
        return err;
    int fd = open_at(i, w.at, which);
    host_way_end(&w);
    return fd;
}

int host_slot_get(struct inode *i, int which, struct host_slot **out)
{
    struct host_super *hs = host_super(i->sb);
    struct host_slot *s = &host_node(i)->slots[which];
    mutex_lock(&hs->lock);
    /* A nameless file can be read through what it is written through. */
    if (s->fd < 0 && which == SLOT_READ && !host_node(i)->parent)
        s = &host_node(i)->slots[SLOT_WRITE];
    bool open = s->fd >= 0;
    if (open)
        use(hs, s);
    if (s->ahead)
        hs->unused_ahead = 0;
    s->ahead = false;
    mutex_unlock(&hs->lock);
    if (open) {
        *out = s;
        return 0;
    }
    if (!S_ISDIR(i->mode) && !S_ISREG(i->mode))
        return -ENXIO;
    int fd = open_node(i, which);
    if (fd < 0)
        return fd;
    if (S_ISREG(i->mode))
        host_ahead_opened(i);
    host_slot_install(i, which, fd, out);
    return 0;
}
