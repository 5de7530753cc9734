/*
 * Identifiers, keys, permissions and namespaces of System V IPC.
 */
#include "sentry/ipc/ipc.h"
#include "sentry/vfs/mount.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Of the sentry's memory, for the objects of one namespace. */
#define IPC_MEMORY_MAX (256ull << 20)
#define SLOTS_MIN 64 /* as many identifiers are handed out before a slot is used again */

/* ---- namespaces ---- */

static void ids_init(struct ipc_ids *ids)
{
    mutex_init(&ids->lock, LOCK_IPC);
    ids->last_index = -1;
    ids->next_id = -1;
    for (int i = 0; i < IPC_KEY_BUCKETS; i++)
        list_init(&ids->keys[i]);
}

static void ids_fini(struct ipc_ids *ids)
{
    free(ids->slots);
    mutex_destroy(&ids->lock);
}

static void ns_destroy(struct ns_common *common)
{
    struct ipc_ns *ns = container_of(common, struct ipc_ns, common);
    if (ns->mqueue)
        mount_put(ns->mqueue);
    msg_ns_clear(ns);
    sem_ns_clear(ns);
    shm_ns_clear(ns);
    ids_fini(&ns->msg);
    ids_fini(&ns->sem);
    ids_fini(&ns->shm);
    free(ns);
}

int ipc_ns_create(struct kernel *k, const struct cred *maker, struct ipc_ns **out)
{
    static const uint64_t defaults[IPC_LIMITS] = {
        [IPC_MSGMAX] = 8192,
        [IPC_MSGMNB] = 16384,
        [IPC_MSGMNI] = 32000,
        [IPC_SEMMSL] = 32000,
        [IPC_SEMMNS] = 1024000000,
        [IPC_SEMOPM] = 500,
        [IPC_SEMMNI] = 32000,
        [IPC_SHMMAX] = ULONG_MAX - (1ul << 24),
        [IPC_SHMALL] = ULONG_MAX - (1ul << 24),
        [IPC_SHMMNI] = 4096,
    };
    struct ipc_ns *ns = calloc(1, sizeof(*ns));
    if (!ns)
        return -ENOMEM;
    int err = 0;
    if (maker)
        err = ns_init(k, &ns->common, NS_IPC, maker->user_ns, maker->euid, ns_destroy);
    else
        ns_init_first(k, &ns->common, NS_IPC, ns_destroy);
    if (err) {
        free(ns);
        return err;
    }
    ns->kernel = k;
    for (int i = 0; i < IPC_LIMITS; i++)
        ns->limits[i] = defaults[i];
    ids_init(&ns->msg);
    ids_init(&ns->sem);
    ids_init(&ns->shm);
    *out = ns;
    return 0;
}

int ipc_charge(struct ipc_ns *ns, uint64_t bytes)
{
    uint64_t sum = bytes > IPC_MEMORY_MAX ? UINT64_MAX : atomic_fetch_add(&ns->memory, bytes);
    if (sum == UINT64_MAX)
        return -ENOMEM;
    if (sum + bytes <= IPC_MEMORY_MAX)
        return 0;
    ipc_uncharge(ns, bytes);
    return -ENOMEM;
}

void ipc_uncharge(struct ipc_ns *ns, uint64_t bytes)
{
    atomic_fetch_sub(&ns->memory, bytes);
}

int64_t ipc_now(const struct ipc_ns *ns)
{
    return clock_realtime(&ns->kernel->clock) / 1000000000;
}

/* ---- the table ---- */

static struct list_head *key_bucket(struct ipc_ids *ids, key_t key)
{
    uint32_t h = (uint32_t)key * 2654435761u;
    return &ids->keys[h >> 24];
}

static struct ipc_object *find_key(struct ipc_ids *ids, key_t key)
{
    struct ipc_object *o;
    list_for_each (o, key_bucket(ids, key), key_link) {
        if (o->key == key)
            return o;
    }
    return NULL;
}

struct ipc_object *ipc_at(const struct ipc_ids *ids, int index)
{
    return index >= 0 && index < ids->nslots ? ids->slots[index] : NULL;
}

struct ipc_object *ipc_find(const struct ipc_ids *ids, int id)
{
    struct ipc_object *o = id < 0 ? NULL : ipc_at(ids, id & (IPC_SLOTS - 1));
    return o && o->id == id ? o : NULL;
}

int ipc_max_index(const struct ipc_ids *ids)
{
    for (int i = ids->nslots; i-- > 0;)
        if (ids->slots[i])
            return i;
    return 0;
}

/* Room for `n` slots. */
static int grow(struct ipc_ids *ids, int n)
{
    if (n <= ids->nslots)
        return 0;
    int want = MIN(MAX(n, MAX(ids->nslots * 2, SLOTS_MIN)), IPC_SLOTS);
    struct ipc_object **slots = realloc(ids->slots, (size_t)want * sizeof(struct ipc_object *));
    if (!slots)
        return -ENOMEM;
    memset(slots + ids->nslots, 0, (size_t)(want - ids->nslots) * sizeof(struct ipc_object *));
    ids->slots = slots;
    ids->nslots = want;
    return 0;
}

static int free_slot(const struct ipc_ids *ids, int from, int end)
{
    for (int i = from; i < end; i++)
        if (!ipc_at(ids, i))
            return i;
    return -1;
}

/* Slots are used in turn, among half as many more as there are objects. */
static int pick_slot(struct ipc_ids *ids, struct ipc_object *o)
{
    int wanted = atomic_exchange(&ids->next_id, -1);
    if (wanted >= 0) {
        int index = free_slot(ids, wanted & (IPC_SLOTS - 1), IPC_SLOTS);
        o->seq = (uint16_t)(wanted >> IPC_SLOTS_SHIFT);
        return index;
    }
    int end = MIN(MAX(ids->in_use * 3 / 2, SLOTS_MIN), IPC_SLOTS);
    int index = free_slot(ids, MIN(ids->last_index + 1, end), end);
    if (index < 0)
        index = free_slot(ids, 0, end);
    if (index < 0)
        return -1;
    if (index <= ids->last_index)
        ids->seq = (uint16_t)((ids->seq + 1) % (INT_MAX / IPC_SLOTS));
    ids->last_index = index;
    o->seq = ids->seq;
    return index;
}

static int insert(struct ipc_ids *ids, struct ipc_object *o)
{
    int index = pick_slot(ids, o);
    if (index < 0)
        return -ENOSPC;
    int err = grow(ids, index + 1);
    if (err)
        return err;
    o->id = (int)o->seq << IPC_SLOTS_SHIFT | index;
    ids->slots[index] = o;
    ids->in_use++;
    if (o->key != IPC_PRIVATE)
        list_add(key_bucket(ids, o->key), &o->key_link);
    return 0;
}

void ipc_forget_key(struct ipc_object *o)
{
    list_del(&o->key_link);
    o->key = IPC_PRIVATE;
}

void ipc_remove(struct ipc_ids *ids, struct ipc_object *o)
{
    lock_assert_held(&ids->lock);
    list_del(&o->key_link);
    ids->slots[o->id & (IPC_SLOTS - 1)] = NULL;
    ids->in_use--;
    o->removed = true;
}

/* ---- xxxget ---- */

void ipc_object_init(struct ipc_object *o, const struct task *t, key_t key, int flags)
{
    ref_init(&o->ref);
    o->key = key;
    o->uid = o->cuid = t->cred->euid;
    o->gid = o->cgid = t->cred->egid;
    o->mode = (uint32_t)flags & 0777;
    list_init(&o->key_link);
}

static long use_existing(const struct ipc_kind *kind, const struct ipc_object *o, struct task *t,
                         int flags, uint64_t size)
{
    if ((flags & IPC_CREAT) && (flags & IPC_EXCL))
        return -EEXIST;
    int err = kind->check ? kind->check(o, size) : 0;
    if (!err)
        err = ipc_permission(o, t, flags);
    return err ? err : o->id;
}

static long enter(struct ipc_ns *ns, struct ipc_ids *ids, const struct ipc_kind *kind,
                  struct ipc_object *o)
{
    if ((uint64_t)ids->in_use >= ns->limits[kind->limit])
        return -ENOSPC;
    /* The slot first: what enter counts, only remove takes back. */
    int err = insert(ids, o);
    if (!err && kind->enter && (err = kind->enter(ns, o)))
        ipc_remove(ids, o);
    return err ? err : o->id;
}

/* With what is there, or with *fresh, which is taken over then. -EAGAIN: make *fresh first. */
static long get_locked(struct ipc_ns *ns, struct ipc_ids *ids, const struct ipc_kind *kind,
                       struct task *t, key_t key, int flags, uint64_t size,
                       struct ipc_object **fresh)
{
    MUTEX_GUARD(&ids->lock);
    const struct ipc_object *found = key == IPC_PRIVATE ? NULL : find_key(ids, key);
    if (found)
        return use_existing(kind, found, t, flags, size);
    if (key != IPC_PRIVATE && !(flags & IPC_CREAT))
        return -ENOENT;
    if (!*fresh)
        return -EAGAIN;
    long r = enter(ns, ids, kind, *fresh);
    if (r >= 0)
        *fresh = NULL;
    return r;
}

long ipc_get(struct ipc_ns *ns, struct ipc_ids *ids, const struct ipc_kind *kind, struct task *t,
             key_t key, int flags, uint64_t size)
{
    struct ipc_object *fresh = NULL;
    long r = get_locked(ns, ids, kind, t, key, flags, size, &fresh);
    if (r != -EAGAIN)
        return r;
    r = kind->create(ns, t, key, flags, size, &fresh);
    if (!r)
        r = get_locked(ns, ids, kind, t, key, flags, size, &fresh);
    if (fresh)
        kind->free(ns, fresh);
    return r;
}

/* ---- permissions ---- */

/* In the namespace that t uses, which is o's. */
static bool capable(const struct task *t, int cap)
{
    return task_capable_in(t, task_ipc_ns(t)->common.owner, cap);
}

static bool owns(const struct ipc_object *o, const struct cred *c)
{
    return c->euid == o->cuid || c->euid == o->uid;
}

int ipc_permission(const struct ipc_object *o, const struct task *t, int wanted)
{
    unsigned asked = (unsigned)(wanted >> 6 | wanted >> 3 | wanted) & 7;
    unsigned granted = o->mode;
    if (owns(o, t->cred))
        granted >>= 6;
    else if (cred_in_group(t->cred, o->cgid) || cred_in_group(t->cred, o->gid))
        granted >>= 3;
    return asked & ~granted && !capable(t, CAP_IPC_OWNER) ? -EACCES : 0;
}

int ipc_may_control(const struct ipc_object *o, const struct task *t)
{
    return owns(o, t->cred) || capable(t, CAP_SYS_ADMIN) ? 0 : -EPERM;
}

int ipc_set_perm(struct ipc_object *o, const struct ipc_perm *perm)
{
    const struct user_ns *ns = task_current()->cred->user_ns;
    uid_t uid = id_in(ns, ID_UID, perm->uid);
    gid_t gid = id_in(ns, ID_GID, perm->gid);
    if (uid == ID_INVALID || gid == ID_INVALID)
        return -EINVAL;
    o->uid = uid;
    o->gid = gid;
    o->mode = (o->mode & ~0777u) | (perm->mode & 0777);
    return 0;
}

void ipc_fill_perm(const struct ipc_object *o, struct ipc_perm *out)
{
    const struct user_ns *ns = task_current()->cred->user_ns;
    memset(out, 0, sizeof(*out));
    out->__key = o->key;
    out->uid = id_shown(ns, ID_UID, o->uid);
    out->gid = id_shown(ns, ID_GID, o->gid);
    out->cuid = id_shown(ns, ID_UID, o->cuid);
    out->cgid = id_shown(ns, ID_GID, o->cgid);
    out->mode = (__typeof__(out->mode))o->mode;
    out->__seq = o->seq;
}

int ipc_find_stat(struct ipc_ids *ids, const struct task *t, int id, enum ipc_stat_how how,
                  struct ipc_object **out)
{
    struct ipc_object *o = how == IPC_BY_ID ? ipc_find(ids, id) : ipc_at(ids, id);
    if (!o)
        return -EINVAL;
    int err = how == IPC_BY_INDEX_ANY ? 0 : ipc_permission(o, t, 0444);
    *out = o;
    return err;
}
