/*
 * System V IPC: message queues, semaphores, shared memory. See sysvipc(7).
 *
 *   struct ipc_ns --> ipc_ids (msg, sem, shm) --> slots[index] --> ipc_object (a queue, a set, ...)
 *
 * An identifier is seq * IPC_SLOTS + index. Slots are used in turn, and seq grows each time round,
 * so that an identifier that was removed stays invalid for long. One lock a kind guards the table
 * and the objects; user memory is never touched under it. A reference (ipc_object.ref) keeps the
 * structure alive for sleepers; `removed` tells them that it is off the table.
 */
#ifndef PICKET_SENTRY_IPC_IPC_H
#define PICKET_SENTRY_IPC_IPC_H

#include "base/list.h"
#include "base/lock.h"
#include "base/refcount.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/ns.h"
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#define IPC_SLOTS_SHIFT 15
#define IPC_SLOTS (1 << IPC_SLOTS_SHIFT)
#define IPC_KEY_BUCKETS 256

struct ipc_object {
    struct refcount ref;
    bool removed;
    int id;
    uint16_t seq;
    key_t key;
    uid_t uid, cuid;
    gid_t gid, cgid;
    uint32_t mode; /* permissions, and SHM_DEST and SHM_LOCKED */
    struct list_head key_link;
};

struct ipc_ids {
    struct mutex lock; /* IPC: everything of this kind */
    struct ipc_object **slots;
    int nslots;
    int in_use;
    int last_index;
    uint16_t seq;
    _Atomic int next_id; /* /proc/sys/kernel/xxx_next_id: wanted for the next object, or -1 */
    struct list_head keys[IPC_KEY_BUCKETS];
};

/* The numbers of /proc/sys/kernel that are per namespace. */
enum ipc_limit {
    IPC_MSGMAX,
    IPC_MSGMNB,
    IPC_MSGMNI,
    IPC_SEMMSL,
    IPC_SEMMNS,
    IPC_SEMOPM,
    IPC_SEMMNI,
    IPC_SHMMAX,
    IPC_SHMALL,
    IPC_SHMMNI,
    IPC_LIMITS
};

struct ipc_ns {
    struct ns_common common;
    struct kernel *kernel;
    _Atomic uint64_t limits[IPC_LIMITS];
    struct ipc_ids msg, sem, shm;
    uint64_t msg_count, msg_bytes;  /* in all queues (msg.lock) */
    uint64_t sems;                  /* in all sets (sem.lock) */
    uint64_t shm_pages;             /* of all segments (shm.lock) */
    _Atomic(struct mount *) mqueue; /* POSIX message queues, once used: fs/mqueue */
    _Atomic uint64_t memory;        /* bytes that the objects take from the sentry */
};

/* An empty namespace with one reference. Its end removes every object. maker: whose privileges
 * count in it; NULL: the first namespace. 0, -ENOSPC or -ENOMEM. */
MUST_CHECK int ipc_ns_create(struct kernel *k, const struct cred *maker, struct ipc_ns **out);

/* ---- ids.c: what the three kinds share ---- */

/* What the calls xxxget differ in. */
struct ipc_kind {
    /* An object of `size` (bytes, semaphores) on no table, owned by t. 0 or -errno. */
    int (*create)(struct ipc_ns *ns, struct task *t, key_t key, int flags, uint64_t size,
                  struct ipc_object **out);
    /* One that was never on the table. */
    void (*free)(struct ipc_ns *ns, struct ipc_object *o);
    /* Lock held: counts the object in, or refuses. */
    int (*enter)(struct ipc_ns *ns, struct ipc_object *o);
    /* Lock held: whether an existing object is good enough for `size`. */
    int (*check)(const struct ipc_object *o, uint64_t size);
    enum ipc_limit limit; /* on the number of objects */
};

/* xxxget: an identifier or -errno. */
long ipc_get(struct ipc_ns *ns, struct ipc_ids *ids, const struct ipc_kind *kind, struct task *t,
             key_t key, int flags, uint64_t size);
/* A fresh object: owner and mode from t and flags. */
void ipc_object_init(struct ipc_object *o, const struct task *t, key_t key, int flags);
/* Lock held for all that follow. NULL: no such identifier. */
struct ipc_object *ipc_find(const struct ipc_ids *ids, int id);
struct ipc_object *ipc_at(const struct ipc_ids *ids, int index);
/* The highest index in use, or 0 (what xxx_INFO returns). */
int ipc_max_index(const struct ipc_ids *ids);
/* Takes o off the table. Its reference is the caller's then. */
void ipc_remove(struct ipc_ids *ids, struct ipc_object *o);
/* Nobody finds o by its key any more. */
void ipc_forget_key(struct ipc_object *o);
/* 0 or -EACCES. wanted: permission bits as of the owner, group or others, any of them (0444). */
int ipc_permission(const struct ipc_object *o, const struct task *t, int wanted);
/* IPC_SET, IPC_RMID: 0 or -EPERM. */
int ipc_may_control(const struct ipc_object *o, const struct task *t);
/* IPC_SET: -EINVAL for an owner that cannot be. */
int ipc_set_perm(struct ipc_object *o, const struct ipc_perm *perm);
void ipc_fill_perm(const struct ipc_object *o, struct ipc_perm *out);
/* For xxx_STAT: o by identifier (IPC_STAT, with permission), by index (xxx_STAT; any: without). */
enum ipc_stat_how { IPC_BY_ID, IPC_BY_INDEX, IPC_BY_INDEX_ANY };
int ipc_find_stat(struct ipc_ids *ids, const struct task *t, int id, enum ipc_stat_how how,
                  struct ipc_object **out);
/* Sentry memory on behalf of an application. 0 or -ENOMEM. Any thread. */
MUST_CHECK int ipc_charge(struct ipc_ns *ns, uint64_t bytes);
void ipc_uncharge(struct ipc_ns *ns, uint64_t bytes);
int64_t ipc_now(const struct ipc_ns *ns); /* seconds */

/* ---- msg.c; results as the system calls', with structures in sentry memory ---- */

struct msg; /* a message on its way */
/* type > 0. Takes size bytes at text. */
MUST_CHECK int msg_create(struct task *t, long type, gva_t text, uint64_t size, struct msg **out);
void msg_free(struct ipc_ns *ns, struct msg *m);
long msg_get(struct task *t, key_t key, int flags);
/* Takes m over if it returns 0. */
long msg_send(struct task *t, int id, struct msg *m, int flags);
/* *out is the caller's. A copy (MSG_COPY) has at most `size` bytes. */
long msg_receive(struct task *t, int id, uint64_t size, long type, int flags, struct msg **out);
long msg_type(const struct msg *m);
uint64_t msg_size(const struct msg *m);
const void *msg_text(const struct msg *m);
long msg_stat(struct ipc_ns *ns, const struct task *t, int id, enum ipc_stat_how how,
              struct msqid_ds *out);
long msg_set(struct task *t, int id, const struct msqid_ds *ds);
long msg_remove(struct task *t, int id);
long msg_info(struct ipc_ns *ns, bool usage, struct msginfo *out);
void msg_ns_clear(struct ipc_ns *ns);

/* ---- sem.c ---- */

struct sem_undo_list;
long sem_get(struct task *t, key_t key, int nsems, int flags);
/* deadline: NULL for none. ops: checked for nothing yet, but n. */
long sem_op(struct task *t, int id, struct sembuf *ops, unsigned n, const ktime_t *deadline);
long sem_stat(struct ipc_ns *ns, const struct task *t, int id, enum ipc_stat_how how,
              struct semid_ds *out);
long sem_set_perm(struct task *t, int id, const struct semid_ds *ds);
long sem_remove(struct task *t, int id);
long sem_info(struct ipc_ns *ns, bool usage, struct seminfo *out);
/* GETVAL, GETPID, GETNCNT, GETZCNT. */
long sem_get_one(struct task *t, int id, int num, int cmd);
long sem_set_value(struct task *t, int id, int num, int value);
/* How many there are, for who may read (write: change) them; or -errno. */
long sem_count(struct task *t, int id, bool write);
/* values: as many as sem_count said. -EIDRM: the set is gone meanwhile. */
long sem_get_all(struct task *t, int id, uint16_t *values);
long sem_set_all(struct task *t, int id, const uint16_t *values);
/* CLONE_SYSVSEM: the child shares the parent's undo list. 0 or -ENOMEM. Parent's thread. */
MUST_CHECK int sem_share_undo(struct task *parent, struct task *child);
/* t has no undo list any more; if it was the last with it, what is on it is undone. */
void sem_exit(struct task *t);
void sem_ns_clear(struct ipc_ns *ns);

/* ---- shm.c ---- */

long shm_get(struct task *t, key_t key, uint64_t size, int flags);
long shm_attach(struct task *t, int id, gva_t addr, int flags);
long shm_detach(struct task *t, gva_t addr);
long shm_stat(struct ipc_ns *ns, const struct task *t, int id, enum ipc_stat_how how,
              struct shmid_ds *out, uint64_t *resident);
long shm_set(struct task *t, int id, const struct shmid_ds *ds);
long shm_remove(struct task *t, int id);
long shm_lock(struct task *t, int id, bool lock);
long shm_limits(struct ipc_ns *ns, struct shminfo *out);
long shm_usage(struct ipc_ns *ns, struct shm_info *out);
void shm_ns_clear(struct ipc_ns *ns);

#endif
