/*
 * Character devices, found by number, wherever their node is; and /dev, a tmpfs that starts with
 * nodes for them.
 */
#ifndef PICKET_SENTRY_FS_DEV_DEV_H
#define PICKET_SENTRY_FS_DEV_DEV_H

#include "sentry/vfs/vfs.h"

/* The open operation of a character or block device node: gives f the driver's operations. -ENXIO
 * if there is no such device. */
int dev_open(struct inode *i, struct file *f, struct task *t);

#endif
