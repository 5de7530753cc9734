#include "sentry/fs/dev/drivers.h"
#include "sentry/kernel/task.h"
#include <errno.h>
#include <linux/random.h>

/* random(4): the pool is the host's, always full, and nobody's to change. */
long dev_random_ioctl(UNUSED struct file *f, struct task *t, unsigned cmd, uint64_t arg)
{
    int bits = 256, ent;
    switch (cmd) {
    case RNDGETENTCNT:
        return MM_COPY_OUT(t->mm, arg, &bits);
    case RNDADDTOENTCNT:
        if (!task_capable(t, CAP_SYS_ADMIN))
            return -EPERM;
        if (MM_COPY_IN(t->mm, &ent, arg))
            return -EFAULT;
        return ent < 0 ? -EINVAL : 0;
    case RNDADDENTROPY:
    case RNDZAPENTCNT:
    case RNDCLEARPOOL:
    case RNDRESEEDCRNG:
        return task_capable(t, CAP_SYS_ADMIN) ? 0 : -EPERM;
    default:
        return -EINVAL;
    }
}
