/*
 * The vDSO: time and CPU number without entering the kernel. Runs in the application, with its
 * privileges and on its stack, so it may do nothing but read the parameters and the counter, and
 * make the real system call when those are not enough. The last field of a result is a VDSO_STORE:
 * those before it are written first, and a fault has the address that the caller passed.
 */
#include "params.h"
#include <stddef.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

/* One page below the first byte of this file: vdso.lds. */
extern const struct vdso_params vdso_params __attribute__((visibility("hidden")));

struct getcpu_cache;

#define VDSO_ALIAS(name) __attribute__((weak, alias(#name)))

int __vdso_clock_gettime(clockid_t id, struct timespec *ts);
int __vdso_clock_getres(clockid_t id, struct timespec *res);
int __vdso_gettimeofday(struct timeval *tv, struct timezone *tz);
time_t __vdso_time(time_t *t);
long __vdso_getcpu(unsigned *cpu, unsigned *node, struct getcpu_cache *unused);

static long syscall2(long nr, long a, long b)
{
    long ret;
    __asm__ volatile("syscall" : "=a"(ret) : "0"(nr), "D"(a), "S"(b) : "rcx", "r11", "memory");
    return ret;
}

/* The line that a clock reads, or -1: the kernel knows, or it is no clock. */
static int line_of(clockid_t id)
{
    switch (id) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_TAI:
        return VDSO_REALTIME;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME:
        return VDSO_MONOTONIC;
    case CLOCK_MONOTONIC_RAW:
        return VDSO_RAW;
    default:
        return -1;
    }
}

int __vdso_clock_gettime(clockid_t id, struct timespec *ts)
{
    struct vdso_time now;
    int line = line_of(id);

    if (line < 0 || !vdso_read(&vdso_params, (unsigned)line, &now))
        return (int)syscall2(SYS_clock_gettime, id, (long)ts);
    if (id == CLOCK_TAI)
        now.sec += (uint64_t)VDSO_LOAD(vdso_params.tai_offset);
    ts->tv_sec = (time_t)now.sec;
    VDSO_STORE(ts->tv_nsec, (long)now.nsec);
    return 0;
}

int __vdso_gettimeofday(struct timeval *tv, struct timezone *tz)
{
    struct vdso_time now;

    if (tz || !vdso_read(&vdso_params, VDSO_REALTIME, &now))
        return (int)syscall2(SYS_gettimeofday, (long)tv, (long)tz);
    if (tv) {
        tv->tv_sec = (time_t)now.sec;
        VDSO_STORE(tv->tv_usec, (suseconds_t)((uint32_t)now.nsec / 1000));
    }
    return 0;
}

time_t __vdso_time(time_t *t)
{
    struct vdso_time now;

    if (!vdso_read(&vdso_params, VDSO_REALTIME, &now))
        return syscall2(SYS_time, (long)t, 0);
    if (t)
        *t = (time_t)now.sec;
    return (time_t)now.sec;
}

int __vdso_clock_getres(clockid_t id, struct timespec *res)
{
    int line = line_of(id);
    if (line < 0)
        return (int)syscall2(SYS_clock_getres, id, (long)res);
    if (res) {
        bool coarse = id == CLOCK_REALTIME_COARSE || id == CLOCK_MONOTONIC_COARSE;
        res->tv_sec = 0;
        VDSO_STORE(res->tv_nsec, coarse ? VDSO_TICK_RESOLUTION : 1);
    }
    return 0;
}

/* The host's number of this CPU; false if it cannot be had here. */
static bool host_cpu(unsigned *cpu)
{
    unsigned long p;
    unsigned limit;

    switch (vdso_params.getcpu) {
    case VDSO_GETCPU_RDPID:
        __asm__ volatile("rdpid %0" : "=r"(p));
        *cpu = p & VDSO_CPU_MASK;
        return true;
    case VDSO_GETCPU_LSL:
        __asm__ volatile("lsl %1, %0" : "=r"(limit) : "r"(VDSO_CPU_SEGMENT));
        *cpu = limit & VDSO_CPU_MASK;
        return true;
    default:
        return false;
    }
}

/* One node; and of the CPUs, those that the application knows. */
long __vdso_getcpu(unsigned *cpu, unsigned *node, struct getcpu_cache *unused)
{
    unsigned number;

    (void)unused;
    if (!host_cpu(&number))
        return syscall2(SYS_getcpu, (long)cpu, (long)node);
    if (number >= vdso_params.ncpus)
        number %= vdso_params.ncpus;
    if (cpu)
        *cpu = number;
    if (node)
        *node = 0;
    return 0;
}

int clock_gettime(clockid_t id, struct timespec *ts) VDSO_ALIAS(__vdso_clock_gettime);
int clock_getres(clockid_t id, struct timespec *res) VDSO_ALIAS(__vdso_clock_getres);
int gettimeofday(struct timeval *restrict tv, void *restrict tz) VDSO_ALIAS(__vdso_gettimeofday);
time_t time(time_t *t) VDSO_ALIAS(__vdso_time);
long getcpu(unsigned *cpu, unsigned *node, struct getcpu_cache *unused) VDSO_ALIAS(__vdso_getcpu);
