#include "sentry/kernel/task.h"

/* Per thread, so not state of the kernel: it says who we are, not what there is. */
static _Thread_local struct task *current;

struct task *task_current(void)
{
    return current;
}

void task_set_current(struct task *t)
{
    current = t;
}
