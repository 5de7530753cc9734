/*
 * /dev/tty and /dev/console: the terminal that was passed through to the sandbox, if there is one.
 */
#include "sentry/fs/dev/drivers.h"
#include "sentry/fs/hostfd/hostfd.h"
#include <errno.h>

static int tty_open(UNUSED struct inode *i, struct file *f, struct task *t)
{
    return hostfd_open_tty(f, t);
}

const struct dev_driver dev_tty_drivers[] = {
    {5, 0, "tty", 0666, NULL, tty_open},
    {5, 1, "console", 0600, NULL, tty_open},
    {DEV_PTS_MAJOR, 0, "pts/0", 0620, NULL, tty_open},
    {0, 0, NULL, 0, NULL, NULL},
};
