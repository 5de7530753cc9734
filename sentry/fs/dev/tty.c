/*
 * /dev/tty: the controlling terminal. /dev/console: the terminal of the sandbox. Either may be that
 * of the host which was passed through.
 */
#include "sentry/tty/tty.h"
#include "sentry/fs/dev/drivers.h"
#include "sentry/fs/devpts/devpts.h"
#include "sentry/fs/hostfd/hostfd.h"
#include "sentry/kernel/kernel.h"
#include "sentry/tty/console.h"
#include <errno.h>

static int tty_open(UNUSED struct inode *i, struct file *f, struct task *t)
{
    struct tty *tty = tty_of_task(t);
    if (!tty)
        return hostfd_open_tty(f, t);
    int err = tty_slave_open(tty, f, t, true);
    tty_put(tty);
    return err;
}

static int console_open(UNUSED struct inode *i, struct file *f, struct task *t)
{
    struct tty *tty = t->kernel->console ? console_tty(t->kernel->console) : NULL;
    return tty ? tty_slave_open(tty, f, t, true) : hostfd_open_tty(f, t);
}

const struct dev_driver dev_tty_drivers[] = {
    {5, 0, "tty", 0666, NULL, tty_open},
    {5, 1, "console", 0600, NULL, console_open},
    {5, 2, "ptmx", 0666, NULL, devpts_open_master},
    {0, 0, NULL, 0, NULL, NULL},
};
