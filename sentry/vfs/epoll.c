/*
 * epoll: files are watched by items; items whose file may have something to say are on the ready
 * list of their instance.
 *
 *     eventpoll --table--> item --file--> watched file
 *         |                 |  <--epolls--
 *         +------ready------+  --w--> on the file's wait queue
 *
 * Whether an item is really ready is found out by polling the file, when somebody collects events
 * (ep_scan); a level-triggered item then goes back to the ready list.
 *
 * An item is held by its instance's table and by the file's list; it holds the instance, so
 * that either end may die first. The item does not hold the file. Whoever goes from item to file
 * does so through item_file, which fails once the file has lost its last reference; the file's last
 * act is epoll_forget, which cuts item->file.
 *
 * Locks: eventpoll.lock (EPOLL) for the table and the items' settings; nested, watcher before
 * watched, since epolls may watch epolls. ready_lock (EPOLL_READY), which wake-ups take, for the
 * lists and item->file. vfs.epoll_graph (EPOLL_GRAPH) for the edges between instances: no edge is
 * made that would close a loop or put more than NEST_MAX instances in a row, so that polling and
 * waking, which follow edges, end.
 */
#include "sentry/vfs/epoll.h"
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/internal.h"
#include <stdlib.h>
#include <string.h>

#define NEST_MAX 5 /* instances in a row */
#define CHUNK 32   /* events copied out at a time */
#define PRIVATE_EVENTS (EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE)
#define EXCLUSIVE_EVENTS                                                                           \
    (EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE)

struct eventpoll {
    struct refcount ref; /* the file, and every item */
    struct mutex lock;   /* EPOLL */
    struct item **table; /* by descriptor */
    uint32_t buckets, count;
    uint64_t scan; /* number of the last collection */
    struct wait_queue queue;

    struct mutex ready_lock; /* EPOLL_READY */
    struct list_head ready;  /* item.ready_link */
    struct list_head dead;   /* item.ready_link: the file is gone */
    bool closed;

    /* EPOLL_GRAPH */
    struct list_head watching; /* item.down_link of items that watch an instance */
    struct list_head watchers; /* item.up_link of items that watch this one */
    uint64_t visit;            /* the last search that came here, */
    unsigned reach;            /* and what it found */
};

struct item {
    struct refcount ref;
    struct eventpoll *ep; /* referenced */
    struct item *next;    /* in the table */
    int fd;
    struct epoll_event ev;
    _Atomic uint32_t armed; /* what wakes; 0 after EPOLLONESHOT fired */
    uint64_t scan;          /* the last collection that looked at it */
    struct wait_queue *queue;
    struct wait_entry wait;
    struct list_head file_link; /* file.epolls (FILE) */
    struct file *file;          /* ready_lock; not referenced */
    struct list_head ready_link;
    bool on_ready;
    /* EPOLL_GRAPH: the edge to another instance, if that is what it watches. */
    struct eventpoll *watched;
    struct list_head down_link, up_link;
};

static const struct file_ops epoll_ops;

bool file_is_epoll(const struct file *f)
{
    return f->ops == &epoll_ops;
}

/* ---- life ---- */

static void ep_put(struct eventpoll *ep)
{
    if (!ref_put(&ep->ref))
        return;
    wait_queue_destroy(&ep->queue);
    mutex_destroy(&ep->lock);
    mutex_destroy(&ep->ready_lock);
    free(ep->table);
    free(ep);
}

static void item_put(struct item *it)
{
    if (!ref_put(&it->ref))
        return;
    ep_put(it->ep);
    free(it);
}

/* The watched file with a reference, or NULL if it is going or gone. */
static struct file *item_file(struct item *it)
{
    MUTEX_GUARD(&it->ep->ready_lock);
    return it->file && ref_get_unless_zero(&it->file->ref) ? it->file : NULL;
}

/* ---- the ready list ---- */

static bool item_make_ready(struct item *it)
{
    struct eventpoll *ep = it->ep;
    MUTEX_GUARD(&ep->ready_lock);
    if (it->on_ready || !it->file)
        return false;
    it->on_ready = true;
    list_add_tail(&ep->ready, &it->ready_link);
    return true;
}

/* ready_lock held. */
static void item_off_lists(struct item *it)
{
    list_del(&it->ready_link);
    it->on_ready = false;
}

/* The file has news. */
static bool item_wake(struct wait_entry *w, uint32_t events)
{
    struct item *it = w->owner;
    uint32_t armed = atomic_load(&it->armed);
    if (!(armed & events) && !(armed && events & (EPOLLERR | EPOLLHUP)))
        return false;
    item_make_ready(it);
    bool heard = wait_wake_nested(&it->ep->queue, EPOLLIN | EPOLLRDNORM);
    return heard || !w->exclusive;
}

static bool ep_maybe_ready(struct eventpoll *ep)
{
    MUTEX_GUARD(&ep->ready_lock);
    return !list_empty(&ep->ready);
}

/* ---- the table ---- */

static struct item **slot_of(const struct eventpoll *ep, int fd)
{
    return &ep->table[(uint32_t)fd & (ep->buckets - 1)];
}

static int table_grow(struct eventpoll *ep)
{
    uint32_t old_buckets = ep->buckets;
    struct item **old = ep->table;
    uint32_t buckets = old_buckets ? old_buckets * 2 : 8;
    struct item **table = calloc(buckets, sizeof(*table));
    if (!table)
        return -ENOMEM;
    ep->table = table;
    ep->buckets = buckets;
    for (uint32_t i = 0; i < old_buckets; i++) {
        for (struct item *it = old[i], *next; it; it = next) {
            next = it->next;
            struct item **slot = slot_of(ep, it->fd);
            it->next = *slot;
            *slot = it;
        }
    }
    free(old);
    return 0;
}

static struct item *table_find(struct eventpoll *ep, const struct file *f, int fd)
{
    MUTEX_GUARD(&ep->ready_lock);
    struct item *it = ep->buckets ? *slot_of(ep, fd) : NULL;
    while (it && (it->fd != fd || it->file != f))
        it = it->next;
    return it;
}

static int table_add(struct eventpoll *ep, struct item *it)
{
    int err = ep->count < ep->buckets ? 0 : table_grow(ep);
    if (err)
        return err;
    struct item **slot = slot_of(ep, it->fd);
    it->next = *slot;
    *slot = it;
    ep->count++;
    return 0;
}

/* Takes it off the table, and drops the table's reference. */
static void table_remove(struct eventpoll *ep, struct item *it)
{
    struct item **link = slot_of(ep, it->fd);
    while (*link != it)
        link = &(*link)->next;
    *link = it->next;
    ep->count--;
    item_put(it);
}

/* Items whose files are gone. */
static void ep_reap(struct eventpoll *ep)
{
    for (;;) {
        mutex_lock(&ep->ready_lock);
        struct item *it = list_first(&ep->dead, struct item, ready_link);
        if (it)
            list_del(&it->ready_link);
        mutex_unlock(&ep->ready_lock);
        if (!it)
            return;
        table_remove(ep, it);
    }
}

/* ---- epolls that watch epolls ---- */

/* The most instances in a row above ep, or below it; more than NEST_MAX if `loop` is among them. */
static unsigned graph_reach(struct eventpoll *ep, bool up, const struct eventpoll *loop,
                            uint64_t visit, unsigned depth)
{
    if (ep == loop || depth > NEST_MAX)
        return NEST_MAX + 1;
    if (ep->visit == visit)
        return ep->reach;
    unsigned reach = 0;
    struct item *it;
    if (up) {
        list_for_each (it, &ep->watchers, up_link)
            reach = MAX(reach, 1 + graph_reach(it->ep, up, loop, visit, depth + 1));
    } else {
        list_for_each (it, &ep->watching, down_link)
            reach = MAX(reach, 1 + graph_reach(it->watched, up, loop, visit, depth + 1));
    }
    ep->visit = visit;
    ep->reach = reach;
    return reach;
}

static int graph_link(struct vfs *v, struct item *it, struct eventpoll *below)
{
    MUTEX_GUARD(&v->epoll_graph);
    unsigned down = graph_reach(below, false, it->ep, ++v->epoll_visits, 1);
    unsigned up = graph_reach(it->ep, true, NULL, ++v->epoll_visits, 1);
    if (up + 1 + 1 + down > NEST_MAX)
        return -ELOOP;
    it->watched = below;
    list_add_tail(&it->ep->watching, &it->down_link);
    list_add_tail(&below->watchers, &it->up_link);
    return 0;
}

static void graph_unlink(struct vfs *v, struct item *it)
{
    MUTEX_GUARD(&v->epoll_graph);
    if (!it->watched)
        return;
    list_del(&it->down_link);
    list_del(&it->up_link);
    it->watched = NULL;
}

/* ---- between an item and its file ---- */

/* Pre: the caller holds a reference on f. */
static void item_attach(struct item *it, struct file *f)
{
    mutex_lock(&f->lock);
    ref_get(&it->ref);
    list_add_tail(&f->epolls, &it->file_link);
    mutex_unlock(&f->lock);
    it->queue = file_poll_queue(f);
    it->wait = (struct wait_entry){.mask = it->ev.events,
                                   .exclusive = it->ev.events & EPOLLEXCLUSIVE,
                                   .wake = item_wake,
                                   .owner = it};
    if (it->queue)
        wait_add(it->queue, &it->wait);
}

/* Pre: as item_attach. Drops the file's reference on it. */
static void item_detach(struct item *it, struct file *f)
{
    mutex_lock(&f->lock);
    list_del(&it->file_link);
    mutex_unlock(&f->lock);
    if (it->queue)
        wait_remove(it->queue, &it->wait);
    mutex_lock(&it->ep->ready_lock);
    it->file = NULL;
    item_off_lists(it);
    mutex_unlock(&it->ep->ready_lock);
    graph_unlink(f->kernel->vfs, it);
    item_put(it);
}

void epoll_forget(struct file *f)
{
    for (;;) {
        mutex_lock(&f->lock);
        struct item *it = list_first(&f->epolls, struct item, file_link);
        if (it)
            list_del(&it->file_link);
        mutex_unlock(&f->lock);
        if (!it)
            return;
        if (it->queue)
            wait_remove(it->queue, &it->wait);
        graph_unlink(f->kernel->vfs, it);
        struct eventpoll *ep = it->ep;
        mutex_lock(&ep->ready_lock);
        it->file = NULL;
        item_off_lists(it);
        if (!ep->closed)
            list_add_tail(&ep->dead, &it->ready_link);
        mutex_unlock(&ep->ready_lock);
        item_put(it);
    }
}

/* What of the item's events holds now. */
static uint32_t item_poll(struct item *it, struct file *f)
{
    uint32_t events = atomic_load(&it->armed);
    if (!events)
        return 0;
    events |= EPOLLERR | EPOLLHUP;
    return file_poll(f, events) & events;
}

/* ---- collecting ---- */

/* The next ready item that collection `scan` has not seen, with its file; off the list. */
static struct item *ep_pop(struct eventpoll *ep, uint64_t scan, struct file **f)
{
    MUTEX_GUARD(&ep->ready_lock);
    for (;;) {
        struct item *it = list_first(&ep->ready, struct item, ready_link);
        if (!it || it->scan == scan)
            return NULL;
        item_off_lists(it);
        it->scan = scan;
        if (it->file && ref_get_unless_zero(&it->file->ref)) {
            *f = it->file;
            return it;
        }
    }
}

/* Up to max events. ep->lock held. */
static int ep_scan(struct eventpoll *ep, uint64_t scan, struct epoll_event *out, int max)
{
    struct file *f;
    struct item *it;
    int n = 0;
    ep_reap(ep);
    while (n < max && (it = ep_pop(ep, scan, &f))) {
        uint32_t events = item_poll(it, f);
        if (events) {
            out[n].events = events;
            out[n++].data = it->ev.data;
            if (it->ev.events & EPOLLONESHOT)
                atomic_store(&it->armed, 0);
            else if (!(it->ev.events & EPOLLET))
                item_make_ready(it);
        }
        file_put(f);
    }
    return n;
}

/* Events until there are no more or max is reached. */
static long ep_send(struct task *t, struct eventpoll *ep, gva_t to, int max)
{
    struct epoll_event chunk[CHUNK];
    uint64_t scan = 0;
    long done = 0;
    while (done < max) {
        int want = (int)MIN((long)CHUNK, max - done);
        mutex_lock(&ep->lock);
        scan = scan ? scan : ++ep->scan;
        int n = ep_scan(ep, scan, chunk, want);
        mutex_unlock(&ep->lock);
        if (n &&
            mm_copy_out(t->mm, to + (gva_t)done * sizeof *chunk, chunk, (size_t)n * sizeof *chunk))
            return done ? done : -EFAULT;
        done += n;
        if (n < want)
            break;
    }
    return done;
}

static long ep_wait(struct task *t, struct eventpoll *ep, gva_t to, int max,
                    const ktime_t *deadline)
{
    struct wait_entry w;
    long n = 0;
    int err = 0;
    wait_entry_init_task(&w, t, POLLIN);
    w.exclusive = true;
    wait_add(&ep->queue, &w);
    while (!n && !err) {
        if (ep_maybe_ready(ep))
            n = ep_send(t, ep, to, max);
        else
            err = task_block(t, deadline);
    }
    wait_remove(&ep->queue, &w);
    if (n)
        return n;
    return err == -ETIMEDOUT ? 0 : err;
}

long epoll_collect(struct task *t, struct file *epf, gva_t events, int max, const ktime_t *deadline)
{
    struct eventpoll *ep = epf->priv;
    long n = 0;
    if (ep_maybe_ready(ep))
        n = ep_send(t, ep, events, max);
    if (!n && !(deadline && *deadline == 0))
        n = ep_wait(t, ep, events, max, deadline);
    /* What is left may be for somebody else who sleeps. */
    if (ep_maybe_ready(ep))
        wait_wake(&ep->queue, EPOLLIN);
    return n;
}

/* ---- control ---- */

static void item_look(struct item *it, struct file *f)
{
    if (item_poll(it, f) && item_make_ready(it))
        wait_wake_nested(&it->ep->queue, EPOLLIN | EPOLLRDNORM);
}

static void item_set(struct item *it, const struct epoll_event *ev)
{
    it->ev = *ev;
    it->ev.events |= EPOLLERR | EPOLLHUP;
    atomic_store(&it->armed, it->ev.events & ~(uint32_t)PRIVATE_EVENTS);
}

static struct item *item_create(struct eventpoll *ep, int fd, struct file *f)
{
    struct item *it = calloc(1, sizeof *it);
    if (!it)
        return NULL;
    ref_init(&it->ref);
    list_init(&it->file_link);
    list_init(&it->ready_link);
    it->fd = fd;
    it->file = f;
    ref_get(&ep->ref);
    it->ep = ep;
    return it;
}

static int ep_add(struct eventpoll *ep, int fd, struct file *f, const struct epoll_event *ev)
{
    struct item *it = item_create(ep, fd, f);
    if (!it)
        return -ENOMEM;
    int err = file_is_epoll(f) ? graph_link(f->kernel->vfs, it, f->priv) : 0;
    if (!err) {
        err = table_add(ep, it);
        if (err)
            graph_unlink(f->kernel->vfs, it);
    }
    if (err) {
        item_put(it);
        return err;
    }
    item_set(it, ev);
    item_attach(it, f);
    item_look(it, f);
    return 0;
}

static int ep_modify(struct item *it, struct file *f, const struct epoll_event *ev)
{
    if (it->ev.events & EPOLLEXCLUSIVE)
        return -EINVAL;
    if (it->queue)
        wait_remove(it->queue, &it->wait);
    item_set(it, ev);
    it->wait.mask = it->ev.events;
    if (it->queue)
        wait_add(it->queue, &it->wait);
    item_look(it, f);
    return 0;
}

static int control_locked(struct eventpoll *ep, int op, int fd, struct file *f,
                          const struct epoll_event *ev)
{
    ep_reap(ep);
    struct item *it = table_find(ep, f, fd);
    if (op == EPOLL_CTL_ADD)
        return it ? -EEXIST : ep_add(ep, fd, f, ev);
    if (!it)
        return -ENOENT;
    if (op == EPOLL_CTL_MOD)
        return ep_modify(it, f, ev);
    item_detach(it, f);
    table_remove(ep, it);
    return 0;
}

static int check_event(int op, const struct file *f, const struct epoll_event *ev)
{
    if (op != EPOLL_CTL_ADD && op != EPOLL_CTL_MOD && op != EPOLL_CTL_DEL)
        return -EINVAL;
    if (op == EPOLL_CTL_DEL || !(ev->events & EPOLLEXCLUSIVE))
        return 0;
    bool lawful =
        op == EPOLL_CTL_ADD && !file_is_epoll(f) && !(ev->events & ~(uint32_t)EXCLUSIVE_EVENTS);
    return lawful ? 0 : -EINVAL;
}

int epoll_control(struct file *epf, int op, int fd, struct file *f, const struct epoll_event *ev)
{
    if (!f->ops->poll)
        return -EPERM;
    if (f == epf || !file_is_epoll(epf))
        return -EINVAL;
    int err = check_event(op, f, ev);
    if (err)
        return err;
    struct eventpoll *ep = epf->priv;
    MUTEX_GUARD(&ep->lock);
    return control_locked(ep, op, fd, f, ev);
}

/* ---- as a file ---- */

static uint32_t epoll_file_poll(struct file *f, UNUSED uint32_t events)
{
    struct eventpoll *ep = f->priv;
    if (!ep_maybe_ready(ep))
        return 0;
    mutex_lock_nested(&ep->lock);
    uint64_t scan = ++ep->scan;
    struct file *watched;
    struct item *it;
    bool ready = false;
    while (!ready && (it = ep_pop(ep, scan, &watched))) {
        ready = item_poll(it, watched);
        if (ready)
            item_make_ready(it);
        file_put(watched);
    }
    mutex_unlock(&ep->lock);
    return ready ? EPOLLIN | EPOLLRDNORM : 0;
}

static struct wait_queue *epoll_poll_queue(struct file *f)
{
    struct eventpoll *ep = f->priv;
    return &ep->queue;
}

static void epoll_release(struct file *epf)
{
    struct eventpoll *ep = epf->priv;
    mutex_lock(&ep->ready_lock);
    ep->closed = true;
    mutex_unlock(&ep->ready_lock);
    for (uint32_t i = 0; i < ep->buckets; i++) {
        while (ep->table[i]) {
            struct item *it = ep->table[i];
            struct file *f = item_file(it);
            if (f)
                item_detach(it, f);
            file_put(f);
            mutex_lock(&ep->ready_lock);
            item_off_lists(it);
            mutex_unlock(&ep->ready_lock);
            table_remove(ep, it);
        }
    }
    ep_put(ep);
}

static int epoll_show_fdinfo(struct file *f, char *buf, size_t size)
{
    struct eventpoll *ep = f->priv;
    int n = 0;
    MUTEX_GUARD(&ep->lock);
    for (uint32_t i = 0; i < ep->buckets; i++) {
        for (struct item *it = ep->table[i]; it; it = it->next) {
            struct file *w = item_file(it);
            if (!w)
                continue;
            size_t used = MIN((size_t)n, size);
            n += snprintf(buf + used, size - used,
                          "tfd: %8d events: %8x data: %16llx  pos:%lli ino:%lx sdev:%lx\n", it->fd,
                          it->ev.events, (unsigned long long)it->ev.data.u64, (long long)w->pos,
                          (unsigned long)w->inode->ino, (unsigned long)w->inode->sb->dev);
            file_put(w);
        }
    }
    return n;
}

static const struct file_ops epoll_ops = {
    .llseek = file_seek_nowhere,
    .poll = epoll_file_poll,
    .poll_queue = epoll_poll_queue,
    .release = epoll_release,
    .show_fdinfo = epoll_show_fdinfo,
};

int epoll_create_file(struct task *t, struct file **out)
{
    struct eventpoll *ep = calloc(1, sizeof *ep);
    if (!ep)
        return -ENOMEM;
    ref_init(&ep->ref);
    mutex_init(&ep->lock, LOCK_EPOLL);
    mutex_init(&ep->ready_lock, LOCK_EPOLL_READY);
    wait_queue_init(&ep->queue);
    list_init(&ep->ready);
    list_init(&ep->dead);
    list_init(&ep->watching);
    list_init(&ep->watchers);
    int err =
        file_create_anon(t->kernel, "anon_inode:[eventpoll]", O_RDWR, &epoll_ops, ep, t->cred, out);
    if (err)
        ep_put(ep);
    return err;
}
