/*
 * nsfs: the files that namespaces are. /proc/PID/ns/uts leads to one; who has it open keeps the
 * namespace, may enter it (setns) and ask about it (ioctl_ns(2)).
 */
#ifndef PICKET_SENTRY_FS_NSFS_NSFS_H
#define PICKET_SENTRY_FS_NSFS_NSFS_H

#include "sentry/kernel/ns_common.h"
#include "sentry/vfs/vfs.h"

/* The file of ns (whose reference is taken over, in failure too), with references. 0 or -ENOMEM. */
int nsfs_path(struct kernel *k, struct ns_common *ns, struct path_ref *out);
/* The namespace that f is a file of, not referenced; NULL if f is another file. */
struct ns_common *nsfs_namespace(const struct file *f);

#endif
