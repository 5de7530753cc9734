/*
 * The clock. Time is the time stamp counter times a slope, both in the system calls and in the
 * vDSO, so that the two never disagree; the slope is fitted to the host's clocks and corrected
 * without ever going backwards.
 *
 * The vDSO reads struct vdso_params from a page mapped read-only below it; when the counter passes
 * `expires` it makes the real system call, whose handler corrects the parameters. So an idle
 * sandbox does nothing, and a busy one traps about once a second.
 */
#ifndef PICKET_SENTRY_KERNEL_CLOCK_H
#define PICKET_SENTRY_KERNEL_CLOCK_H

#include "base/lock.h"
#include "memmap/memory_file.h"
#include <time.h>

struct vdso_params; /* loader/vdso/params.h */

struct clock {
    struct mutex lock;          /* CLOCK: who recalibrates */
    struct vdso_params *params; /* in the memory file, shared with every application */
    struct file_range page;
};

MUST_CHECK int clock_init(struct clock *c, struct memory_file *mf);
void clock_destroy(struct clock *c, struct memory_file *mf);
/* Nanoseconds of CLOCK_MONOTONIC (CLOCK_BOOTTIME is the same in the sandbox) and of CLOCK_REALTIME,
 * exactly as the vDSO would say. Any thread, no lock on the usual path. */
int64_t clock_monotonic(struct clock *c);
int64_t clock_realtime(struct clock *c);
/* Host CLOCK_MONOTONIC of a sandbox CLOCK_MONOTONIC or CLOCK_REALTIME instant, for sleeping. */
int64_t clock_host_monotonic(struct clock *c, clockid_t clock, int64_t ns);

#endif
