/*
 * The clock. Time is the time stamp counter times a slope, both in the system calls and in the
 * vDSO, so that the two never disagree; the slope is fitted to the host's clocks and corrected
 * without ever going backwards.
 *
 * The vDSO reads struct vdso_params from a page mapped read-only below it; when the counter passes
 * `max_delta` it makes the real system call, whose handler corrects the parameters. So an idle
 * sandbox does nothing, and a busy one traps about once a second.
 *
 * CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW and CLOCK_BOOTTIME begin near zero when the sandbox starts,
 * as on a machine that has just booted. Their values are not the host's: whoever wants to sleep on
 * the host until one of them converts it with clock_host_monotonic.
 */
#ifndef PICKET_SENTRY_KERNEL_CLOCK_H
#define PICKET_SENTRY_KERNEL_CLOCK_H

#include "base/lock.h"
#include "memmap/memory_file.h"
#include <time.h>

struct vdso_params; /* loader/vdso/params.h */

/* One look at the host's clocks, nanoseconds, and the counter just before it. */
struct clock_sample {
    uint64_t tsc;
    int64_t monotonic, raw, realtime;
    int64_t tai_offset; /* seconds */
    int64_t spread;     /* raw and realtime may be wrong, relative to monotonic, by so much */
};

struct clock {
    struct mutex lock;          /* CLOCK: who recalibrates; guards what follows use_tsc */
    struct vdso_params *params; /* in the memory file, shared with every application */
    struct file_range page;
    bool use_tsc;     /* false: the host's counter is no clock; every read asks the host */
    int64_t zero[2];  /* host CLOCK_MONOTONIC and _RAW of the sandbox's zero; constant */
    bool fitted;      /* there are slopes */
    uint64_t mult[2]; /* measured slopes of the two, as params has them */
    struct clock_sample anchor; /* where the measuring begins */
    int64_t period;             /* for which the parameters hold, ns */
    int64_t floor[2];           /* largest values handed out before there was a slope */
    int64_t realtime_offset;    /* CLOCK_REALTIME - CLOCK_MONOTONIC of the sandbox */
};

MUST_CHECK int clock_init(struct clock *c, struct memory_file *mf);
/* The vDSO must ask the kernel for the CPU's number: no register has it. Before anything runs. */
void clock_hide_cpu(struct clock *c);
void clock_destroy(struct clock *c, struct memory_file *mf);

/*
 * Nanoseconds of a clock, exactly as the vDSO would say: CLOCK_REALTIME, CLOCK_MONOTONIC, their
 * _COARSE forms, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME (the same as CLOCK_MONOTONIC), CLOCK_TAI, and
 * the _ALARM clocks as those they are named after. -EINVAL for any other id (time is never
 * negative). Any thread, no lock on the usual path.
 */
int64_t clock_now(struct clock *c, clockid_t id);
/* The same for the two that everybody needs. */
int64_t clock_monotonic(struct clock *c);
int64_t clock_realtime(struct clock *c);
/* Nanoseconds between two readings, as clock_getres(2) says; -EINVAL for unknown clocks. */
int64_t clock_resolution(clockid_t id);
/* Host CLOCK_MONOTONIC of an instant of a sandbox clock (one that clock_now knows), for sleeping.
 * Saturates: instants in the far past or future stay there. */
int64_t clock_host_monotonic(struct clock *c, clockid_t id, int64_t ns);

/*
 * Draws the next piece of the line from a sample that was taken after the last piece ended. Under
 * the clock's lock; for clock.c and its test.
 */
void clock_fit(struct clock *c, const struct clock_sample *now);

#endif
