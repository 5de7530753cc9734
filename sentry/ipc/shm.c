/*
 * Shared memory segments: shmget(2), shmop(2), shmctl(2).
 *
 *   ipc_ids --> shm_segment --> nameless tmpfs file (its pages, and the mappable)
 *                 ^ identity
 *   VMA, VMA -----'              each counts as one attachment, as Linux counts them
 *
 * mm tells of each VMA that comes and goes (vma_open, vma_close). A segment that was removed is
 * gone with the last of them.
 */
#include "sentry/ipc/ipc.h"
#include "sentry/vfs/vfs.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/sysmacros.h>

struct shm_segment {
    struct ipc_object obj; /* referenced by the table, and by VMAs through identity */
    struct mapping_identity identity;
    struct ipc_ns *ns; /* referenced while attached > 0 */
    struct file *file;
    uint64_t size;
    uint64_t attached;
    int64_t atime, dtime, ctime;
    pid_t creator, last;
    uid_t locker;  /* whose SHM_LOCK it is */
    char name[32]; /* as /proc/PID/maps shows it */
};

static struct shm_segment *segment_of(struct ipc_object *o)
{
    return container_of(o, struct shm_segment, obj);
}
static struct shm_segment *of_identity(struct mapping_identity *id)
{
    return container_of(id, struct shm_segment, identity);
}

static uint64_t pages_of(const struct shm_segment *s)
{
    return (s->size + PAGE_SIZE - 1) >> PAGE_SHIFT;
}

/* ---- life ---- */

/* No lock held if that may be the last reference. */
static void put(struct shm_segment *s)
{
    if (!ref_put(&s->obj.ref))
        return;
    if (s->file)
        file_put(s->file);
    free(s);
}

/* Lock held. Takes s off the table, whose reference is the caller's then. */
static void take_out(struct ipc_ns *ns, struct shm_segment *s)
{
    ns->shm_pages -= pages_of(s);
    ipc_remove(&ns->shm, &s->obj);
}

/* Lock held: one more that uses s. */
static void attach(struct shm_segment *s)
{
    if (s->attached++ == 0)
        ns_get(&s->ns->common);
}

/* Lock held: one less; the caller puts *ns and *gone, if set, without it. */
static void detach(struct shm_segment *s, struct ipc_ns **ns, struct shm_segment **gone)
{
    *ns = NULL;
    *gone = NULL;
    if (--s->attached)
        return;
    *ns = s->ns;
    if ((s->obj.mode & SHM_DEST) && !s->obj.removed) {
        take_out(s->ns, s);
        *gone = s;
    }
}

static void release(struct ipc_ns *ns, struct shm_segment *gone)
{
    if (gone)
        put(gone);
    if (ns)
        ns_put(&ns->common);
}

void shm_ns_clear(struct ipc_ns *ns)
{
    for (int i = 0; i < ns->shm.nslots; i++) {
        mutex_lock(&ns->shm.lock);
        struct ipc_object *o = ns->shm.slots[i];
        if (o)
            take_out(ns, segment_of(o));
        mutex_unlock(&ns->shm.lock);
        if (o)
            put(segment_of(o));
    }
}

/* ---- as a mapping ---- */

static void identity_get(struct mapping_identity *id)
{
    ref_get(&of_identity(id)->obj.ref);
}

static void identity_put(struct mapping_identity *id)
{
    put(of_identity(id));
}

static pid_t current_pid(void)
{
    const struct task *t = task_current();
    return t ? t->tg->tgid : 0;
}

static void vma_open(struct mapping_identity *id)
{
    struct shm_segment *s = of_identity(id);
    MUTEX_GUARD(&s->ns->shm.lock);
    attach(s);
    s->atime = ipc_now(s->ns);
    s->last = current_pid();
}

static void vma_close(struct mapping_identity *id)
{
    struct shm_segment *s = of_identity(id), *gone;
    struct ipc_ns *ns;
    mutex_lock(&s->ns->shm.lock);
    s->dtime = ipc_now(s->ns);
    s->last = current_pid();
    struct mutex *lock = &s->ns->shm.lock;
    detach(s, &ns, &gone);
    mutex_unlock(lock);
    release(ns, gone);
}

static int identity_name(struct mapping_identity *id, char *buf, size_t size)
{
    return snprintf(buf, size, "%s", of_identity(id)->name);
}

static dev_t identity_device(struct mapping_identity *id)
{
    return of_identity(id)->file->inode->sb->dev;
}

static uint64_t identity_inode(struct mapping_identity *id)
{
    return (uint64_t)of_identity(id)->obj.id;
}

static int identity_msync(UNUSED struct mapping_identity *id, UNUSED struct mappable_range mr)
{
    return 0;
}

static int identity_punch(struct mapping_identity *id, struct mappable_range mr)
{
    struct file *f = of_identity(id)->file;
    return f->ops->fallocate(f, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (int64_t)mr.start,
                             (int64_t)RANGE_LENGTH(mr));
}

static const struct mapping_identity_ops shm_identity_ops = {
    .get = identity_get,
    .put = identity_put,
    .vma_open = vma_open,
    .vma_close = vma_close,
    .name = identity_name,
    .device = identity_device,
    .inode = identity_inode,
    .msync = identity_msync,
    .punch = identity_punch,
};

/* ---- shmget ---- */

static int check_size(const struct ipc_ns *ns, const struct task *t, uint64_t size, int flags)
{
    if (size == 0 || size > ns->limits[IPC_SHMMAX])
        return -EINVAL;
    if (size > INT64_MAX - PAGE_SIZE)
        return -ENOSPC;
    if (!(flags & SHM_HUGETLB))
        return 0;
    return task_capable(t, CAP_IPC_LOCK) ? -ENOMEM : -EPERM; /* no huge pages are set aside */
}

static int create(struct ipc_ns *ns, struct task *t, key_t key, int flags, uint64_t size,
                  struct ipc_object **out)
{
    int err = check_size(ns, t, size, flags);
    if (err)
        return err;
    struct shm_segment *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    ipc_object_init(&s->obj, t, key, flags);
    s->identity.ops = &shm_identity_ops;
    s->ns = ns;
    s->size = size;
    s->creator = t->tg->tgid;
    s->ctime = ipc_now(ns);
    snprintf(s->name, sizeof(s->name), "/SYSV%08x (deleted)", (unsigned)key);
    err = tmpfs_create_anon_file(t->kernel, s->name, size, 0, t->cred, &s->file);
    if (err) {
        s->file = NULL;
        put(s);
        return err;
    }
    *out = &s->obj;
    return 0;
}

static void discard(UNUSED struct ipc_ns *ns, struct ipc_object *o)
{
    put(segment_of(o));
}

static int enter(struct ipc_ns *ns, struct ipc_object *o)
{
    uint64_t sum, n = pages_of(segment_of(o));
    if (__builtin_add_overflow(ns->shm_pages, n, &sum) || sum > ns->limits[IPC_SHMALL])
        return -ENOSPC;
    ns->shm_pages = sum;
    return 0;
}

static int check(const struct ipc_object *o, uint64_t size)
{
    return size > container_of(o, const struct shm_segment, obj)->size ? -EINVAL : 0;
}

long shm_get(struct task *t, key_t key, uint64_t size, int flags)
{
    static const struct ipc_kind kind = {
        .create = create, .free = discard, .enter = enter, .check = check, .limit = IPC_SHMMNI};
    struct ipc_ns *ns = task_ipc_ns(t);
    return ipc_get(ns, &ns->shm, &kind, t, key, flags, size);
}

/* ---- shmat, shmdt ---- */

/* Where, and with what access; *wanted: the permission that takes. */
static int decode(const struct task *t, gva_t addr, int flags, struct mmap_opts *o, int *wanted)
{
    if (addr && !page_aligned(addr)) {
        if (!(flags & SHM_RND))
            return -EINVAL;
        addr = page_down(addr);
        if (!addr && (flags & SHM_REMAP))
            return -EINVAL;
    } else if (!addr && (flags & SHM_REMAP)) {
        return -EINVAL;
    }
    bool exec = (flags & SHM_EXEC) || (t->personality & READ_IMPLIES_EXEC);
    *wanted = flags & SHM_RDONLY ? 0444 : 0666;
    *wanted |= flags & SHM_EXEC ? 0111 : 0;
    o->addr = addr;
    o->fixed = addr != 0;
    o->unmap = flags & SHM_REMAP;
    o->perms = (access_t)(ACCESS_READ | (flags & SHM_RDONLY ? 0 : ACCESS_WRITE) |
                          (exec ? ACCESS_EXEC : 0));
    o->max_perms = flags & SHM_RDONLY ? ACCESS_READ | ACCESS_EXEC : ACCESS_ANY;
    return 0;
}

/* Counts the caller in, so that the segment stays until it is mapped. */
static int hold(struct task *t, int id, int wanted, struct shm_segment **out)
{
    struct ipc_ns *ns = task_ipc_ns(t);
    MUTEX_GUARD(&ns->shm.lock);
    struct ipc_object *o = ipc_find(&ns->shm, id);
    int err = o ? ipc_permission(o, t, wanted) : -EINVAL;
    if (err)
        return err;
    *out = segment_of(o);
    ref_get(&o->ref);
    attach(*out);
    return 0;
}

static void let_go(struct shm_segment *s)
{
    struct shm_segment *gone;
    struct ipc_ns *ns;
    struct mutex *lock = &s->ns->shm.lock;
    mutex_lock(lock);
    detach(s, &ns, &gone);
    mutex_unlock(lock);
    release(NULL, gone);
    put(s);
    release(ns, NULL);
}

long shm_attach(struct task *t, int id, gva_t addr, int flags)
{
    struct mmap_opts o = {0};
    struct shm_segment *s;
    int wanted;
    int err = decode(t, addr, flags, &o, &wanted);
    if (!err)
        err = hold(t, id, wanted, &s);
    if (err)
        return err;
    o.length = s->size;
    o.identity = &s->identity;
    gva_t at;
    err = s->file->ops->mmap(s->file, &o);
    if (!err)
        err = mm_mmap(t->mm, &o, &at);
    let_go(s);
    if (err)
        return err == -EEXIST ? -EINVAL : err; /* something is there already */
    return (long)at;
}

long shm_detach(struct task *t, gva_t addr)
{
    return page_aligned(addr) ? mm_detach(t->mm, addr, &shm_identity_ops) : -EINVAL;
}

/* ---- shmctl ---- */

/* Bytes of s that are there. No lock held. */
static uint64_t resident_bytes(struct shm_segment *s)
{
    struct kstat st;
    inode_fill_stat(s->file->inode, &st);
    if (s->file->inode->ops->getattr)
        IGNORE(s->file->inode->ops->getattr(s->file->inode, &st));
    return st.blocks * 512;
}

long shm_stat(struct ipc_ns *ns, const struct task *t, int id, enum ipc_stat_how how,
              struct shmid_ds *out, uint64_t *resident)
{
    struct ipc_object *o;
    mutex_lock(&ns->shm.lock);
    int err = ipc_find_stat(&ns->shm, t, id, how, &o);
    if (err) {
        mutex_unlock(&ns->shm.lock);
        return err;
    }
    struct shm_segment *s = segment_of(o);
    *out = (struct shmid_ds){
        .shm_segsz = s->size,
        .shm_atime = s->atime,
        .shm_dtime = s->dtime,
        .shm_ctime = s->ctime,
        .shm_cpid = s->creator,
        .shm_lpid = s->last,
        .shm_nattch = s->attached,
    };
    ipc_fill_perm(o, &out->shm_perm);
    long r = how == IPC_BY_ID ? 0 : o->id;
    ref_get(&o->ref);
    mutex_unlock(&ns->shm.lock);
    if (resident)
        *resident = resident_bytes(s);
    put(s);
    return r;
}

long shm_set(struct task *t, int id, const struct shmid_ds *ds)
{
    struct ipc_ns *ns = task_ipc_ns(t);
    MUTEX_GUARD(&ns->shm.lock);
    struct ipc_object *o = ipc_find(&ns->shm, id);
    int err = o ? ipc_may_control(o, t) : -EINVAL;
    if (!err)
        err = ipc_set_perm(o, &ds->shm_perm);
    if (!err)
        segment_of(o)->ctime = ipc_now(ns);
    return err;
}

long shm_remove(struct task *t, int id)
{
    struct ipc_ns *ns = task_ipc_ns(t);
    struct shm_segment *gone = NULL;
    mutex_lock(&ns->shm.lock);
    struct ipc_object *o = ipc_find(&ns->shm, id);
    int err = o ? ipc_may_control(o, t) : -EINVAL;
    if (!err && segment_of(o)->attached) {
        o->mode |= SHM_DEST;
        ipc_forget_key(o);
    } else if (!err) {
        gone = segment_of(o);
        take_out(ns, gone);
    }
    mutex_unlock(&ns->shm.lock);
    if (gone)
        put(gone);
    return err;
}

/* What a user has locked, against its limit; lock held. */
static bool may_lock(struct ipc_ns *ns, struct task *t, const struct shm_segment *s)
{
    uint64_t limit = task_rlimit(t, RLIMIT_MEMLOCK), sum = pages_of(s) << PAGE_SHIFT;
    if (limit == RLIM_INFINITY || task_capable(t, CAP_IPC_LOCK))
        return true;
    for (int i = 0; i < ns->shm.nslots; i++) {
        struct ipc_object *o = ns->shm.slots[i];
        if (o && (o->mode & SHM_LOCKED) && segment_of(o)->locker == t->cred->uid)
            sum += pages_of(segment_of(o)) << PAGE_SHIFT;
    }
    return sum <= limit;
}

long shm_lock(struct task *t, int id, bool lock)
{
    struct ipc_ns *ns = task_ipc_ns(t);
    MUTEX_GUARD(&ns->shm.lock);
    struct ipc_object *o = ipc_find(&ns->shm, id);
    if (!o)
        return -EINVAL;
    if (!task_capable(t, CAP_IPC_LOCK)) {
        uid_t euid = t->cred->euid;
        if ((euid != o->uid && euid != o->cuid) || (lock && !task_rlimit(t, RLIMIT_MEMLOCK)))
            return -EPERM;
    }
    if (!lock) {
        o->mode &= ~(uint32_t)SHM_LOCKED;
    } else if (!(o->mode & SHM_LOCKED)) {
        if (!may_lock(ns, t, segment_of(o)))
            return -ENOMEM;
        o->mode |= SHM_LOCKED;
        segment_of(o)->locker = t->cred->uid;
    }
    return 0;
}

long shm_limits(struct ipc_ns *ns, struct shminfo *out)
{
    MUTEX_GUARD(&ns->shm.lock);
    *out = (struct shminfo){
        .shmmax = ns->limits[IPC_SHMMAX],
        .shmmin = 1,
        .shmmni = ns->limits[IPC_SHMMNI],
        .shmseg = ns->limits[IPC_SHMMNI],
        .shmall = ns->limits[IPC_SHMALL],
    };
    return ipc_max_index(&ns->shm);
}

long shm_usage(struct ipc_ns *ns, struct shm_info *out)
{
    struct shmid_ds ds;
    uint64_t resident, sum = 0;
    for (int i = 0; i < IPC_SLOTS; i++) {
        {
            MUTEX_GUARD(&ns->shm.lock);
            if (i >= ns->shm.nslots)
                break;
        }
        if (shm_stat(ns, NULL, i, IPC_BY_INDEX_ANY, &ds, &resident) >= 0)
            sum += resident;
    }
    MUTEX_GUARD(&ns->shm.lock);
    *out = (struct shm_info){
        .used_ids = ns->shm.in_use,
        .shm_tot = ns->shm_pages,
        .shm_rss = sum >> PAGE_SHIFT,
    };
    return ipc_max_index(&ns->shm);
}
