/*
 * POSIX message queues, and the file system of type mqueue in which they are files. See
 * mq_overview(7). Each IPC namespace has one; it is there from the first use on.
 */
#ifndef PICKET_SENTRY_FS_MQUEUE_MQUEUE_H
#define PICKET_SENTRY_FS_MQUEUE_MQUEUE_H

#include "sentry/ipc/ipc.h"
#include "sentry/vfs/vfs.h"
#include <mqueue.h>

/* The numbers of /proc/sys/fs/mqueue. */
enum mqueue_limit {
    MQUEUE_MSG_DEFAULT,
    MQUEUE_MSG_MAX,
    MQUEUE_MSGSIZE_DEFAULT,
    MQUEUE_MSGSIZE_MAX,
    MQUEUE_QUEUES_MAX,
    MQUEUE_LIMITS
};

#define MQUEUE_PRIORITIES 32768
#define MQUEUE_HARD_MSG_MAX 65536ull
#define MQUEUE_HARD_MSGSIZE_MAX (16ull << 20)

struct mqueue;
struct mqueue_super;

/* The namespace's file system, which a mount nobody reaches keeps alive. 0 or -ENOMEM. */
MUST_CHECK int mqueue_super_of(struct ipc_ns *ns, struct super_block **out);
/* A reference for mount(2). */
int mqueuefs_create(struct kernel *k, struct super_block **out);
_Atomic uint64_t *mqueue_limit(struct super_block *sb, enum mqueue_limit which);
/* NULL: not a queue. */
struct mqueue *file_mqueue(const struct file *f);

/* mq_open, mq_unlink without descriptors. name: as the kernel gets it, without a slash. attr: NULL
 * for the defaults. */
int mqueue_open(struct task *t, const char *name, int flags, uint32_t mode,
                const struct mq_attr *attr, struct file **out);
int mqueue_unlink(struct task *t, const char *name);

/* ---- queue.c ---- */

/* attr was checked. Counts nothing. NULL: no memory. */
struct mqueue *mqueue_create(struct mqueue_super *ms, const struct mq_attr *attr, uid_t uid,
                             uint64_t charged);
void mqueue_free(struct mqueue *q);
/* What was counted for q. */
uint64_t mqueue_charge(const struct mqueue *q, uid_t *uid);
extern const struct file_ops mqueue_file_ops;

/* f is open for writing (reading). deadline: NULL for ever. */
long mqueue_send(struct task *t, struct file *f, gva_t text, uint64_t size, unsigned priority,
                 const ktime_t *deadline);
/* Returns the number of bytes; *priority is that of the message. */
long mqueue_receive(struct task *t, struct file *f, gva_t text, uint64_t size, unsigned *priority,
                    const ktime_t *deadline);
/* sev: NULL takes t's registration back. SIGEV_NONE or SIGEV_SIGNAL. */
int mqueue_notify(struct task *t, struct mqueue *q, const struct sigevent *sev);
void mqueue_getattr(struct mqueue *q, const struct file *f, struct mq_attr *out);

/* Sentry memory for messages: 0 or -ENOMEM. */
MUST_CHECK int mqueue_charge_memory(struct mqueue_super *ms, uint64_t bytes);
void mqueue_uncharge_memory(struct mqueue_super *ms, uint64_t bytes);

#endif
