/*
 * What dev.c finds drivers in.
 */
#ifndef PICKET_SENTRY_FS_DEV_DRIVERS_H
#define PICKET_SENTRY_FS_DEV_DRIVERS_H

#include "sentry/vfs/vfs.h"

#define DEV_PTS_MAJOR 136

struct dev_driver {
    unsigned major, minor;
    const char *name; /* in /dev; NULL ends a table */
    uint32_t mode;
    const struct file_ops *fops;
    int (*open)(struct inode *i, struct file *f, struct task *t); /* or NULL */
};

extern const struct dev_driver dev_mem_drivers[], dev_tty_drivers[];
long dev_random_ioctl(struct file *f, struct task *t, unsigned cmd, uint64_t arg);

#endif
