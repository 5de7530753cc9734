/*
 * Asking ahead: who has read a directory and looks at one of its entries will look at others. One
 * message to the gofer brings many of them, and what comes next in a walk: of subdirectories their
 * lists, of files descriptors. Only in trees that nobody changes, where an answer stays true.
 *
 *   host_node.ahead -> the listing, which entries were asked for, and those that wait to be looked
 * up
 *
 * How many come at once doubles as long as they are used. Lists are wanted where subdirectories
 * were listed, descriptors where files were opened; a directory learns that from the one it is in.
 * What waits is bounded for the whole super block: the oldest is dropped.
 *
 * Locks: host_super.lock guards all of it. The directory's dir_lock is held in host_ahead_lookup.
 */
#include "sentry/fs/host/host.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define FIRST_WINDOW 8
#define SCAN_MAX 512          /* entries that a search passes */
#define WAITING_MAX 2048      /* entries */
#define WAITING_FDS_MAX 256   /* of them open */
#define UNUSED_FILES_MAX 128u /* opened for nothing, one after another */
#define TAKEN UINT32_MAX

/* Entries of one kind: directories, and others. */
struct window {
    unsigned size;    /* names in the next request */
    unsigned waiting; /* entries */
};

struct host_ahead {
    struct list_head link; /* super's aheads, while entries wait */
    struct host_node *dir;
    struct host_listing *list;
    uint32_t cursor; /* in the listing: what was looked up last, plus 1 */
    struct window windows[2];
    bool lists, files; /* wanted */
    struct host_entry *entries;
    unsigned first, count; /* entries[first..count), some of them TAKEN */
    uint8_t asked[];       /* a bit for each in the listing */
};

static struct host_dirent *entry_at(const struct host_listing *l, uint32_t k)
{
    return (struct host_dirent *)(l->data + l->at[k]);
}

static bool is_dir(const struct host_listing *l, uint32_t k)
{
    return entry_at(l, k)->type == DT_DIR;
}

static bool was_asked(const struct host_ahead *a, uint32_t k)
{
    return a->asked[k / 8] >> (k % 8) & 1;
}

static void set_asked(struct host_ahead *a, uint32_t k, bool asked)
{
    uint8_t bit = (uint8_t)(1u << (k % 8));
    a->asked[k / 8] = (uint8_t)((a->asked[k / 8] & ~bit) | (asked ? bit : 0));
}

void host_entry_drop(struct host_entry *e)
{
    if (e->fd >= 0)
        door_close(e->fd);
    if (e->listing)
        host_listing_put(e->listing);
    free(e->target);
}

/* ---- what waits ---- */

/* Entries that are not wanted any more, to be dropped without the lock. */
struct dropped {
    struct host_entry *entries;
    unsigned first, count;
    struct host_listing *list;
};

static void drop(struct dropped *d)
{
    for (unsigned k = d->first; k < d->count; k++) {
        if (d->entries[k].at != TAKEN)
            host_entry_drop(&d->entries[k]);
    }
    free(d->entries);
    if (d->list)
        host_listing_put(d->list);
}

static void count_entry(struct host_super *hs, struct host_ahead *a, const struct host_entry *e,
                        int by)
{
    struct window *w = &a->windows[is_dir(a->list, e->at)];
    w->waiting += (unsigned)by;
    hs->nahead += (unsigned)by;
    if (e->fd >= 0)
        hs->nahead_fds += (unsigned)by;
}

/* Empties a. Lock held. */
static struct dropped take_all(struct host_super *hs, struct host_ahead *a)
{
    struct dropped d = {a->entries, a->first, a->count, NULL};
    for (unsigned k = a->first; k < a->count; k++) {
        if (a->entries[k].at != TAKEN)
            count_entry(hs, a, &a->entries[k], -1);
    }
    a->entries = NULL;
    a->first = a->count = 0;
    if (!list_empty(&a->link))
        list_del(&a->link);
    return d;
}

static void keep_within_bounds(struct host_super *hs)
{
    for (;;) {
        struct dropped d = {0};
        mutex_lock(&hs->lock);
        bool over = hs->nahead > WAITING_MAX || hs->nahead_fds > WAITING_FDS_MAX;
        if (over)
            d = take_all(hs, list_first(&hs->aheads, struct host_ahead, link));
        mutex_unlock(&hs->lock);
        if (!over)
            return;
        drop(&d);
    }
}

/* Takes the entry of that place in the listing out, if it waits. Lock held. */
static bool take(struct host_super *hs, struct host_ahead *a, uint32_t at, struct host_entry *out)
{
    unsigned k = a->first;
    while (k < a->count && a->entries[k].at != at)
        k++;
    if (k == a->count)
        return false;
    *out = a->entries[k];
    count_entry(hs, a, out, -1);
    a->entries[k].at = TAKEN;
    while (a->first < a->count && a->entries[a->first].at == TAKEN)
        a->first++;
    if (a->first == a->count) {
        a->first = a->count = 0;
        list_del(&a->link);
    }
    return true;
}

/* ---- beginning and end ---- */

static struct host_ahead *ahead_of(const struct inode *i)
{
    return i ? host_node(i)->ahead : NULL;
}

/* Whoever is in a directory that is walked walks on. Lock held. */
static void inherit(struct host_ahead *a)
{
    struct host_ahead *parent = ahead_of(a->dir->parent);
    if (!parent)
        return;
    parent->lists = true;
    a->lists = true;
    a->files = parent->files;
}

static void replace(struct host_super *hs, struct host_node *n, struct host_ahead *a)
{
    struct dropped d = {0};
    mutex_lock(&hs->lock);
    struct host_ahead *old = n->ahead;
    if (old) {
        d = take_all(hs, old);
        d.list = old->list;
    }
    n->ahead = a;
    if (a)
        inherit(a);
    mutex_unlock(&hs->lock);
    drop(&d);
    free(old);
}

void host_ahead_start(struct inode *dir, struct host_listing *l)
{
    struct host_super *hs = host_super(dir->sb);
    if (!hs->may_ask_ahead || l->count > HOST_CACHED_ENTRIES_MAX)
        return;
    struct host_ahead *a = calloc(1, sizeof(*a) + l->count / 8 + 1);
    if (!a)
        return;
    list_init(&a->link);
    a->dir = host_node(dir);
    a->windows[0].size = a->windows[1].size = FIRST_WINDOW;
    ref_get(&l->ref);
    a->list = l;
    replace(hs, a->dir, a);
}

void host_ahead_stop(struct host_node *n)
{
    if (n->ahead)
        replace(host_super(n->inode->sb), n, NULL);
}

void host_ahead_opened(struct inode *i)
{
    struct host_super *hs = host_super(i->sb);
    if (!hs->may_ask_ahead)
        return;
    MUTEX_GUARD(&hs->lock);
    hs->unused_ahead = 0;
    struct inode *dir = host_node(i)->parent;
    for (; ahead_of(dir) && !ahead_of(dir)->files; dir = host_node(dir)->parent)
        ahead_of(dir)->files = true;
}

/* ---- asking ---- */

struct request {
    uint32_t at[GOFER_BATCH_MAX]; /* in the listing */
    struct door_names names;
    unsigned want;
    struct host_ahead *ahead; /* to see whether it is still that one; not to be looked into */
    char text[GOFER_BATCH_MAX * (NAME_MAX + 1)];
    struct door_found found[GOFER_BATCH_MAX];
    struct host_entry entries[GOFER_BATCH_MAX];
    uint64_t buf[GOFER_DATA_MAX / sizeof(uint64_t)];
};

static void add_name(struct host_ahead *a, struct request *rq, uint32_t k)
{
    const struct host_dirent *e = entry_at(a->list, k);
    set_asked(a, k, true);
    memcpy(rq->text + rq->names.len, e->name, e->name_len + 1u);
    rq->names.len += e->name_len + 1u;
    rq->at[rq->names.count++] = k;
}

/* Where the name is in the listing, near the last one. Lock held. */
static bool find_name(const struct host_ahead *a, const char *name, size_t len, uint32_t *out)
{
    uint32_t n = a->list->count, k = a->cursor ? a->cursor - 1 : 0;
    for (uint32_t seen = 0; seen < MIN(n, (uint32_t)SCAN_MAX); seen++, k++) {
        if (k >= n)
            k = 0;
        const struct host_dirent *e = entry_at(a->list, k);
        if (e->name_len == len && memcmp(e->name, name, len) == 0) {
            *out = k;
            return true;
        }
    }
    return false;
}

/* As many as the window allows: more if the last ones were used, fewer if they still wait. */
static unsigned next_window(struct host_super *hs, struct host_ahead *a, bool dirs)
{
    struct window *w = &a->windows[dirs];
    if (w->waiting > w->size / 2)
        w->size = MAX(w->size / 4, 1u);
    unsigned n = w->size;
    w->size = MIN(w->size * 2, (unsigned)GOFER_BATCH_MAX);
    return a->files && !dirs ? MIN(n, hs->max_idle / 4) : n;
}

/* Puts the names together, `at` first. False: it is not worth it. Lock held. */
static bool plan(struct host_super *hs, struct host_ahead *a, uint32_t at, struct request *rq)
{
    bool dirs = is_dir(a->list, at);
    unsigned max = next_window(hs, a, dirs);
    uint32_t n = a->list->count, k = at + 1;
    rq->ahead = a;
    rq->names = (struct door_names){.text = rq->text};
    rq->want = 0;
    if (a->lists && dirs)
        rq->want = GOFER_WANT_LIST;
    if (a->files && !dirs && hs->unused_ahead < UNUSED_FILES_MAX)
        rq->want = GOFER_WANT_FILE;
    add_name(a, rq, at);
    for (uint32_t seen = 1; seen < MIN(n, (uint32_t)SCAN_MAX) && rq->names.count < max;
         seen++, k++) {
        if (k >= n)
            k = 0;
        if (!was_asked(a, k) && is_dir(a->list, k) == dirs)
            add_name(a, rq, k);
    }
    return rq->names.count > 1 || rq->want;
}

/* Keeps what came, but for the first. */
static void keep_rest(struct host_super *hs, struct inode *dir, struct request *rq, unsigned n)
{
    unsigned kept = 1;
    mutex_lock(&hs->lock);
    struct host_ahead *a = host_node(dir)->ahead;
    bool same = a && a == rq->ahead;
    for (unsigned k = n; same && k < rq->names.count; k++)
        set_asked(a, rq->at[k], false);
    struct host_entry *room =
        same && n > 1 ? reallocarray(a->entries, a->count + n, sizeof(*room)) : NULL;
    if (room) {
        a->entries = room;
        if (a->first == a->count)
            list_add_tail(&hs->aheads, &a->link);
        for (; kept < n; kept++) {
            a->entries[a->count++] = rq->entries[kept];
            count_entry(hs, a, &rq->entries[kept], 1);
        }
    }
    mutex_unlock(&hs->lock);
    for (; kept < n; kept++)
        host_entry_drop(&rq->entries[kept]);
}

/* What the message said, in our own memory. */
static void copy_found(const struct door_found *f, struct host_entry *out)
{
    *out = (struct host_entry){.stx = f->stx, .fd = f->fd};
    if (f->has_list)
        out->listing = host_listing_of(f->data, f->len);
    else if (S_ISLNK(f->stx.stx_mode) && f->len)
        out->target = strndup(f->data, f->len);
}

/* Asks. 1, 0 or -errno as host_ahead_lookup. */
static int ask(struct inode *dir, struct request *rq, struct host_entry *out)
{
    struct host_super *hs = host_super(dir->sb);
    struct host_way w;
    int err = host_way(dir, "", &w);
    if (err)
        return 0;
    int n = door_batch(&hs->door, w.at, rq->names, rq->want, rq->buf, rq->found);
    host_way_end(&w);
    if (n <= 0)
        return n == -EIO ? n : 0;
    unsigned kept = 0;
    for (unsigned k = 0; k < (unsigned)n; k++) {
        if (rq->found[k].error && k)
            continue; /* whoever looks it up is told then */
        copy_found(&rq->found[k], &rq->entries[kept]);
        rq->entries[kept++].at = rq->at[k];
    }
    for (unsigned k = (unsigned)n; k < rq->names.count; k++)
        rq->at[kept + k - (unsigned)n] = rq->at[k];
    rq->names.count -= (unsigned)n - kept;
    *out = rq->entries[0];
    keep_rest(hs, dir, rq, kept);
    keep_within_bounds(hs);
    return rq->found[0].error ? rq->found[0].error : 1;
}

enum known { NOTHING, WAITING, WORTH_ASKING };

static enum known look(struct inode *dir, const char *name, size_t len, struct host_entry *out)
{
    struct host_super *hs = host_super(dir->sb);
    uint32_t at;
    MUTEX_GUARD(&hs->lock);
    struct host_ahead *a = host_node(dir)->ahead;
    if (!a || !find_name(a, name, len, &at))
        return NOTHING;
    a->cursor = at + 1;
    if (take(hs, a, at, out))
        return WAITING;
    return was_asked(a, at) ? NOTHING : WORTH_ASKING;
}

static bool plan_for(struct inode *dir, const char *name, size_t len, struct request *rq)
{
    struct host_super *hs = host_super(dir->sb);
    uint32_t at;
    MUTEX_GUARD(&hs->lock);
    struct host_ahead *a = host_node(dir)->ahead;
    return a && find_name(a, name, len, &at) && plan(hs, a, at, rq);
}

int host_ahead_lookup(struct inode *dir, const char *name, size_t len, struct host_entry *out)
{
    if (!host_node(dir)->ahead)
        return 0;
    enum known known = look(dir, name, len, out);
    if (known != WORTH_ASKING)
        return known == WAITING;
    struct request *rq = malloc(sizeof(*rq));
    if (!rq)
        return 0;
    int r = plan_for(dir, name, len, rq) ? ask(dir, rq, out) : 0;
    free(rq);
    return r;
}
