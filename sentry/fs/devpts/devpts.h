/*
 * devpts: the directory of terminals. Each mount is an instance with numbers of its own.
 */
#ifndef PICKET_SENTRY_FS_DEVPTS_DEVPTS_H
#define PICKET_SENTRY_FS_DEVPTS_DEVPTS_H

#include "sentry/vfs/vfs.h"

struct tty;

int devpts_create(struct kernel *k, struct super_block **out);
/* Number 0 is the host's terminal that was passed through. 0 or -ENOMEM. */
int devpts_add_host_terminal(struct super_block *sb);
/* A new terminal in an instance, with an open master. 0, -ENOSPC or -ENOMEM. */
int devpts_new(struct super_block *sb, const struct cred *cred, struct tty **out);
/* The master is closed: the name goes. */
void devpts_remove(struct tty *tty);
/* Opens /dev/ptmx, or ptmx in a devpts. */
int devpts_open_master(struct inode *i, struct file *f, struct task *t);
/* TIOCGPTPEER: a descriptor of the slave behind the master f. */
long devpts_open_peer(struct tty *tty, struct file *f, struct task *t, int flags);

#endif
