/*
 * What the sentry tells the vDSO: a page that every application maps read-only below the vDSO's
 * code, and the one formula that turns a time stamp into a time. The sentry's own clock
 * (kernel/clock.c) uses the same function on the same page.
 *
 *      nanoseconds
 *        |            __--   what the page says now: base + (tsc - tsc_base) * mult
 *        |        __--  :
 *        |    __--      :    beyond max_delta nobody may believe it
 *        |   o          :
 *        +---+----------+--> tsc
 *         tsc_base    + max_delta
 *
 * This header is compiled into the vDSO: nothing but the compiler's own headers.
 */
#ifndef PICKET_SENTRY_LOADER_VDSO_PARAMS_H
#define PICKET_SENTRY_LOADER_VDSO_PARAMS_H

#include <stdbool.h>
#include <stdint.h>

#define VDSO_NSEC_PER_SEC 1000000000u
/* What clock_getres says of the coarse clocks, ns: Linux with HZ=250. */
#define VDSO_TICK_RESOLUTION 4000000

enum vdso_line { VDSO_MONOTONIC, VDSO_RAW, VDSO_REALTIME, VDSO_LINES };

/* How getcpu finds out; in the order of preference. */
enum vdso_getcpu { VDSO_GETCPU_SYSCALL, VDSO_GETCPU_RDPID, VDSO_GETCPU_LSL };

struct vdso_params {
    uint32_t seq;    /* odd while the rest is being written */
    uint32_t getcpu; /* enum vdso_getcpu; it and ncpus do not change */
    uint32_t ncpus;  /* that the application knows of, numbered from 0 */
    uint64_t tsc_base;
    uint64_t max_delta; /* 0 (with tsc_base UINT64_MAX): always ask the kernel */
    int64_t tai_offset; /* seconds */
    struct {
        uint64_t mult;      /* 2^-VDSO_SHIFT nanoseconds per tick */
        uint64_t sec, nsec; /* at tsc_base */
    } line[VDSO_LINES];
};

/* Linux keeps the CPU's number in the limit of this segment (low 12 bits; the node above). */
#define VDSO_CPU_SEGMENT 0x7b
#define VDSO_CPU_MASK 0xfff

/* Time stamp counters of 4 MHz and more fit. */
#define VDSO_SHIFT 56

/* The counter, read after every load and store before it in the program. */
static inline uint64_t vdso_read_tsc(void)
{
    uint32_t low, high;
    __asm__ volatile("lfence\n\trdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

static inline uint64_t vdso_scale(uint64_t delta, uint64_t mult)
{
    return (uint64_t)(((unsigned __int128)delta * mult) >> VDSO_SHIFT);
}

struct vdso_time {
    uint64_t sec, nsec; /* nsec < VDSO_NSEC_PER_SEC */
};

/* No later load overtakes it, and no earlier store is overtaken: plain moves on x86. */
#define VDSO_LOAD(field) __atomic_load_n(&(field), __ATOMIC_ACQUIRE)
#define VDSO_STORE(field, value) __atomic_store_n(&(field), value, __ATOMIC_RELEASE)

/* The time on one line now; false if the page is out of date and the kernel must be asked. */
static inline bool vdso_read(const struct vdso_params *p, unsigned which, struct vdso_time *out)
{
    uint64_t delta, max, nsec, sec, mult;
    uint32_t seq;

    do {
        while (__builtin_expect((seq = VDSO_LOAD(p->seq)) & 1, 0))
            __builtin_ia32_pause();
        delta = vdso_read_tsc() - VDSO_LOAD(p->tsc_base);
        max = VDSO_LOAD(p->max_delta);
        mult = VDSO_LOAD(p->line[which].mult);
        nsec = VDSO_LOAD(p->line[which].nsec);
        sec = VDSO_LOAD(p->line[which].sec);
    } while (__builtin_expect(VDSO_LOAD(p->seq) != seq, 0));

    /* A counter before tsc_base wraps to a huge delta, and ends here too. */
    if (__builtin_expect(delta > max, 0))
        return false;
    nsec += vdso_scale(delta, mult);
    while (nsec >= VDSO_NSEC_PER_SEC) { /* at most a few times: cheaper than a division */
        nsec -= VDSO_NSEC_PER_SEC;
        sec++;
    }
    out->sec = sec;
    out->nsec = nsec;
    return true;
}

#endif
