/*
 * syslog(2): the kernel's log. What Picket has to say goes to the log of whoever started it; those
 * inside read the line that each Linux begins with.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include "sentry/syscalls/syscalls.h"
#include <linux/capability.h>
#include <string.h>

#define LOG_BUFFER_SIZE 262144 /* bytes */

enum {
    ACTION_CLOSE,
    ACTION_OPEN,
    ACTION_READ,
    ACTION_READ_ALL,
    ACTION_READ_CLEAR,
    ACTION_CLEAR,
    ACTION_CONSOLE_OFF,
    ACTION_CONSOLE_ON,
    ACTION_CONSOLE_LEVEL,
    ACTION_SIZE_UNREAD,
    ACTION_SIZE_BUFFER,
};

static const char text[] =
    "<5>[    0.000000] " KERNEL_SYSNAME " version " KERNEL_RELEASE " " KERNEL_VERSION "\n";
#define TEXT_LENGTH ((uint32_t)sizeof(text) - 1)

/* Each byte is read once; then one waits for more, which never comes. */
static long read_on(struct task *t, gva_t buf, uint32_t length)
{
    uint32_t from, n;
    while ((from = atomic_load(&t->kernel->klog_read)) == TEXT_LENGTH) {
        int err = task_block(t, NULL);
        if (err)
            return -ERESTARTSYS;
    }
    do {
        n = MIN(length, TEXT_LENGTH - from);
    } while (n && !atomic_compare_exchange_weak(&t->kernel->klog_read, &from, from + n));
    return mm_copy_out(t->mm, buf, text + from, n) ? -EFAULT : (long)n;
}

/* The lines that fit, of those since the last clearing. */
static long read_all(struct task *t, gva_t buf, uint32_t length, bool clear)
{
    bool cleared = clear ? atomic_exchange(&t->kernel->klog_cleared, true)
                         : atomic_load(&t->kernel->klog_cleared);
    if (cleared || length < TEXT_LENGTH)
        return 0;
    return mm_copy_out(t->mm, buf, text, TEXT_LENGTH) ? -EFAULT : (long)TEXT_LENGTH;
}

static long read_log(struct task *t, int action, gva_t buf, int length)
{
    if (!buf || length < 0)
        return -EINVAL;
    if (length == 0)
        return 0;
    if (action == ACTION_READ)
        return read_on(t, buf, (uint32_t)length);
    return read_all(t, buf, (uint32_t)length, action == ACTION_READ_CLEAR);
}

SYSCALL(syslog)
{
    int action = ARG_INT(a, 0), length = ARG_INT(a, 2);
    bool harmless = action == ACTION_READ_ALL || action == ACTION_SIZE_BUFFER;
    if (!harmless && !task_capable(t, CAP_SYSLOG) && !task_capable(t, CAP_SYS_ADMIN))
        return -EPERM;
    switch (action) {
    case ACTION_CLOSE:
    case ACTION_OPEN:
    case ACTION_CONSOLE_OFF: /* there is no console */
    case ACTION_CONSOLE_ON:
        return 0;
    case ACTION_READ:
    case ACTION_READ_ALL:
    case ACTION_READ_CLEAR:
        return read_log(t, action, ARG_GVA(a, 1), length);
    case ACTION_CLEAR:
        atomic_store(&t->kernel->klog_cleared, true);
        return 0;
    case ACTION_CONSOLE_LEVEL:
        return length < 1 || length > 8 ? -EINVAL : 0;
    case ACTION_SIZE_UNREAD:
        return TEXT_LENGTH - atomic_load(&t->kernel->klog_read);
    case ACTION_SIZE_BUFFER:
        return LOG_BUFFER_SIZE;
    default:
        return -EINVAL;
    }
}
