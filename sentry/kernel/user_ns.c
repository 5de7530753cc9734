#include "sentry/kernel/user_ns.h"
#include "sentry/kernel/cred.h"
#include "sentry/kernel/errno.h"
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/vfs.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* ---- counting ---- */

struct user_count {
    struct list_head link;
    uid_t uid;
    unsigned total;
    int n[NS_TYPES];
};

/* ns->lock held. */
static struct user_count *find_user(struct user_ns *ns, uid_t uid)
{
    struct user_count *u;
    list_for_each (u, &ns->users, link) {
        if (u->uid == uid)
            return u;
    }
    return NULL;
}

static void drop_one(struct user_count *u, enum ns_type type)
{
    u->n[type]--;
    if (--u->total == 0) {
        list_del(&u->link);
        free(u);
    }
}

static int charge_one(struct user_ns *ns, uid_t uid, enum ns_type type)
{
    MUTEX_GUARD(&ns->lock);
    struct user_count *u = find_user(ns, uid);
    if ((u ? u->n[type] : 0) >= atomic_load(&ns->limits[type]))
        return -ENOSPC;
    if (!u) {
        u = calloc(1, sizeof(*u));
        if (!u)
            return -ENOMEM;
        u->uid = uid;
        list_add(&ns->users, &u->link);
    }
    u->n[type]++;
    u->total++;
    return 0;
}

/* From ns up to, not including, `end`. */
static void uncharge_until(struct user_ns *ns, const struct user_ns *end, uid_t uid,
                           enum ns_type type)
{
    for (; ns != end; uid = ns->creator_uid, ns = user_ns_parent(ns)) {
        MUTEX_GUARD(&ns->lock);
        drop_one(find_user(ns, uid), type);
    }
}

int user_ns_charge(struct user_ns *ns, uid_t uid, enum ns_type type)
{
    uid_t first = uid;
    for (struct user_ns *at = ns; at; uid = at->creator_uid, at = user_ns_parent(at)) {
        int err = charge_one(at, uid, type);
        if (err) {
            uncharge_until(ns, at, first, type);
            return err;
        }
    }
    return 0;
}

void user_ns_uncharge(struct user_ns *ns, uid_t uid, enum ns_type type)
{
    uncharge_until(ns, NULL, uid, type);
}

/* ---- making ---- */

static void user_ns_destroy(struct ns_common *common)
{
    struct user_ns *ns = container_of(common, struct user_ns, common);
    for (int kind = 0; kind < ID_KINDS; kind++)
        free(ns->maps[kind]);
    mutex_destroy(&ns->lock);
    free(ns);
}

static struct user_ns *user_ns_alloc(int limit)
{
    struct user_ns *ns = calloc(1, sizeof(*ns));
    if (!ns)
        return NULL;
    mutex_init(&ns->lock, LOCK_LEAF);
    list_init(&ns->users);
    for (int type = 0; type < NS_TYPES; type++)
        ns->limits[type] = limit;
    return ns;
}

int user_ns_boot(struct kernel *k, int limit)
{
    struct user_ns *ns = user_ns_alloc(limit);
    if (!ns)
        return -ENOMEM;
    ns_init_first(k, &ns->common, NS_USER, user_ns_destroy);
    k->user_ns = ns;
    return 0;
}

int user_ns_create(struct kernel *k, const struct cred *maker, struct user_ns **out)
{
    struct user_ns *parent = maker->user_ns;
    if (parent->level >= USER_NS_MAX_LEVEL)
        return -ENOSPC;
    if (id_out(parent, ID_UID, maker->euid) == ID_INVALID ||
        id_out(parent, ID_GID, maker->egid) == ID_INVALID)
        return -EPERM;
    struct user_ns *ns = user_ns_alloc(INT_MAX);
    if (!ns)
        return -ENOMEM;
    int err = ns_init(k, &ns->common, NS_USER, parent, maker->euid, user_ns_destroy);
    if (err) {
        mutex_destroy(&ns->lock);
        free(ns);
        return err;
    }
    ns->level = parent->level + 1;
    ns->creator_uid = maker->euid;
    ns->creator_gid = maker->egid;
    ns->creator_could_setfcap = maker->cap_effective >> CAP_SETFCAP & 1;
    {
        MUTEX_GUARD(&parent->lock);
        ns->setgroups_denied = parent->setgroups_denied;
    }
    *out = ns;
    return 0;
}

int cred_unshare_user_ns(struct task *t, struct cred **out)
{
    /* A chroot would be left by mounting over it. */
    if (vfs_is_chrooted(t))
        return -EPERM;
    struct user_ns *ns;
    int err = user_ns_create(t->kernel, t->cred, &ns);
    if (err)
        return err;
    struct cred *c = cred_copy(t->cred, t->cred->ngroups);
    if (!c) {
        user_ns_put(ns);
        return -ENOMEM;
    }
    cred_enter_user_ns(c, ns);
    *out = c;
    return 0;
}

bool user_ns_is_below(const struct user_ns *ns, const struct user_ns *above)
{
    while (ns && ns->level > above->level)
        ns = user_ns_parent(ns);
    return ns == above;
}

/* ---- translating ---- */

uint32_t id_map_in(const struct user_ns *ns, enum id_kind kind, uint32_t id)
{
    const struct id_map *map = atomic_load_explicit(&ns->maps[kind], memory_order_acquire);
    for (uint32_t i = 0; map && i < map->n; i++) {
        const struct id_extent *e = &map->extents[i];
        if (id - e->first < e->count)
            return e->lower + (id - e->first);
    }
    return ID_INVALID;
}

uint32_t id_map_out(const struct user_ns *ns, enum id_kind kind, uint32_t id)
{
    const struct id_map *map = atomic_load_explicit(&ns->maps[kind], memory_order_acquire);
    for (uint32_t i = 0; map && i < map->n; i++) {
        const struct id_extent *e = &map->extents[i];
        if (id - e->lower < e->count)
            return e->first + (id - e->lower);
    }
    return ID_INVALID;
}

/* ---- writing a map ---- */

/* A number, and where it ends. Blanks in front are skipped. */
static bool parse_number(const char **text, uint32_t *out)
{
    const char *s = *text;
    uint64_t v = 0;
    while (*s == ' ' || *s == '\t')
        s++;
    if (*s < '0' || *s > '9')
        return false;
    for (; *s >= '0' && *s <= '9'; s++) {
        v = v * 10 + (uint64_t)(*s - '0');
        if (v > UINT32_MAX)
            return false;
    }
    *text = s;
    *out = (uint32_t)v;
    return true;
}

static bool wraps(uint32_t first, uint32_t count)
{
    return first > UINT32_MAX - count;
}

static bool ranges_meet(uint32_t a, uint32_t b, const struct id_extent *x,
                        const struct id_extent *y)
{
    return a <= b + (y->count - 1) && b <= a + (x->count - 1);
}

static bool meets_another(const struct id_map *map, const struct id_extent *e)
{
    for (uint32_t i = 0; i < map->n; i++) {
        const struct id_extent *old = &map->extents[i];
        if (ranges_meet(e->first, old->first, e, old) || ranges_meet(e->lower, old->lower, e, old))
            return true;
    }
    return false;
}

/* One line: "first lower count", and nothing after it but blanks. */
static bool parse_line(const char **text, struct id_extent *e)
{
    const char *s = *text;
    if (!parse_number(&s, &e->first) || (*s != ' ' && *s != '\t') || !parse_number(&s, &e->lower) ||
        (*s != ' ' && *s != '\t') || !parse_number(&s, &e->count))
        return false;
    while (*s == ' ' || *s == '\t')
        s++;
    if (*s && *s != '\n')
        return false;
    *text = *s ? s + 1 : s;
    return e->count != 0 && e->first != ID_INVALID && e->lower != ID_INVALID &&
           !wraps(e->first, e->count) && !wraps(e->lower, e->count);
}

static int parse_map(const char *text, struct id_map *map)
{
    map->n = 0;
    do {
        struct id_extent e;
        if (map->n == ID_MAP_EXTENTS || !parse_line(&text, &e) || meets_another(map, &e))
            return -EINVAL;
        map->extents[map->n++] = e;
    } while (*text);
    return 0;
}

static bool contains_root(const struct id_map *map)
{
    for (uint32_t i = 0; i < map->n; i++) {
        if (map->extents[i].lower == 0)
            return true;
    }
    return false;
}

/* One id, one's own, may be mapped without privilege. map: lower ids are still the parent's. */
static bool maps_own_id(struct user_ns *ns, enum id_kind kind, const struct id_map *map,
                        const struct cred *opener)
{
    if (map->n != 1 || map->extents[0].count != 1 || ns->creator_uid != opener->euid)
        return false;
    uint32_t id = id_in(user_ns_parent(ns), kind, map->extents[0].lower);
    if (kind == ID_UID)
        return id == opener->euid;
    return kind == ID_GID && ns->setgroups_denied && id == opener->egid;
}

static bool may_write(struct user_ns *ns, enum id_kind kind, const struct id_map *map,
                      const struct cred *writer, const struct cred *opener)
{
    struct user_ns *parent = user_ns_parent(ns);
    /* Files with capabilities would count for the root of the parent: who may make them? */
    if (kind == ID_UID && contains_root(map)) {
        bool fine = opener->user_ns == ns ? ns->creator_could_setfcap
                                          : cred_capable_in(opener, parent, CAP_SETFCAP);
        if (!fine)
            return false;
    }
    if (maps_own_id(ns, kind, map, opener) || kind == ID_PROJECT)
        return true;
    int cap = kind == ID_UID ? CAP_SETUID : CAP_SETGID;
    return cred_capable_in(writer, parent, cap) && cred_capable_in(opener, parent, cap);
}

/* The parent's ids become the first namespace's. Each range must lie in one of the parent's. */
static bool map_down(const struct user_ns *parent, enum id_kind kind, struct id_map *map)
{
    const struct id_map *up = atomic_load_explicit(&parent->maps[kind], memory_order_acquire);
    for (uint32_t i = 0; parent->level && i < map->n; i++) {
        struct id_extent *e = &map->extents[i];
        bool found = false;
        for (uint32_t j = 0; up && j < up->n && !found; j++) {
            uint32_t offset = e->lower - up->extents[j].first;
            found = offset < up->extents[j].count && e->count <= up->extents[j].count - offset;
            if (found)
                e->lower = up->extents[j].lower + offset;
        }
        if (!found)
            return false;
    }
    return true;
}

int user_ns_write_map(struct user_ns *ns, enum id_kind kind, const char *text, size_t n,
                      const struct cred *writer, const struct cred *opener)
{
    struct user_ns *parent = user_ns_parent(ns);
    if (!parent || (opener->user_ns != ns && opener->user_ns != parent))
        return -EPERM;
    if (n >= PAGE_SIZE)
        return -EINVAL;
    struct id_map *map = calloc(1, sizeof(*map) + ID_MAP_EXTENTS * sizeof(map->extents[0]));
    if (!map)
        return -ENOMEM;
    MUTEX_GUARD(&ns->lock);
    int err = ns->maps[kind] ? -EPERM : 0;
    if (!err && kind != ID_PROJECT && !cred_capable_in(opener, ns, CAP_SYS_ADMIN))
        err = -EPERM;
    if (!err)
        err = parse_map(text, map);
    if (!err && (!may_write(ns, kind, map, writer, opener) || !map_down(parent, kind, map)))
        err = -EPERM;
    if (err)
        free(map);
    else
        atomic_store_explicit(&ns->maps[kind], map, memory_order_release);
    return err;
}

int user_ns_write_setgroups(struct user_ns *ns, const char *text, size_t n,
                            const struct cred *opener)
{
    if (!cred_capable_in(opener, ns, CAP_SYS_ADMIN))
        return -EPERM;
    while (n && strchr(" \t\n", text[n - 1]))
        n--;
    bool allow = n == 5 && memcmp(text, "allow", 5) == 0;
    if (!allow && !(n == 4 && memcmp(text, "deny", 4) == 0))
        return -EINVAL;
    MUTEX_GUARD(&ns->lock);
    if (allow)
        return ns->setgroups_denied ? -EPERM : 0;
    /* Too late once groups can be dropped. */
    if (ns->level == 0 || ns->maps[ID_GID])
        return -EPERM;
    ns->setgroups_denied = true;
    return 0;
}

bool user_ns_may_setgroups(struct user_ns *ns)
{
    if (ns->level == 0)
        return true;
    MUTEX_GUARD(&ns->lock);
    return ns->maps[ID_GID] && !ns->setgroups_denied;
}
