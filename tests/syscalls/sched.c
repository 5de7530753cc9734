/*
 * Priorities of input and output, sched_setattr(2)'s flags and sizes, what a process has used, and
 * calls about the memory of other processes.
 */
#include "tests/syscalls/test.h"
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/uio.h>

#define PAGE 4096ul

/* ---- ioprio_set, ioprio_get ---- */

enum { WHO_PROCESS = 1, WHO_PGRP, WHO_USER };
enum { NONE, RT, BE, IDLE };
#define PRIO(class, level) ((class) << 13 | (level))

static long set_prio(int which, int who, int prio)
{
    return syscall(SYS_ioprio_set, which, who, prio);
}

static long get_prio(int which, int who)
{
    return syscall(SYS_ioprio_get, which, who);
}

CASE(ioprio_is_kept_and_inherited)
{
    EXPECT_EQ(set_prio(WHO_PROCESS, 0, PRIO(BE, 2)), 0);
    EXPECT_EQ(get_prio(WHO_PROCESS, 0), PRIO(BE, 2));
    EXPECT_EQ(get_prio(WHO_PROCESS, getpid()), PRIO(BE, 2));
    EXPECT_EXITED(FORK({ EXPECT_EQ(get_prio(WHO_PROCESS, 0), PRIO(BE, 2)); }), 0);
    EXPECT_EQ(set_prio(WHO_PROCESS, 0, PRIO(IDLE, 0)), 0);
    EXPECT_EQ(get_prio(WHO_PROCESS, 0), PRIO(IDLE, 0));
}

CASE(ioprio_of_a_group_is_the_best)
{
    int in[2];
    EXPECT_EQ(pipe(in), 0);
    EXPECT_EQ(setpgid(0, 0), 0);
    EXPECT_EQ(set_prio(WHO_PROCESS, 0, PRIO(BE, 6)), 0);
    pid_t child = FORK({
        EXPECT_EQ(set_prio(WHO_PROCESS, 0, PRIO(BE, 1)), 0);
        EXPECT_EQ(write(in[1], "x", 1), 1);
        pause();
    });
    char c;
    EXPECT_EQ(read(in[0], &c, 1), 1);
    EXPECT_EQ(get_prio(WHO_PGRP, 0), PRIO(BE, 1));
    EXPECT_EQ(set_prio(WHO_PGRP, getpid(), PRIO(BE, 3)), 0);
    EXPECT_EQ(get_prio(WHO_PROCESS, child), PRIO(BE, 3));
    EXPECT_EQ(kill(child, SIGKILL), 0);
}

CASE(ioprio_refuses)
{
    EXPECT_ERRNO(EINVAL, get_prio(-2147483647 - 1, 0));
    EXPECT_ERRNO(EINVAL, set_prio(-2147483647 - 1, 0, 0));
    EXPECT_ERRNO(EINVAL, get_prio(0, 0));
    EXPECT_ERRNO(EINVAL, get_prio(4, 0));
    EXPECT_ERRNO(EINVAL, set_prio(0, 0, PRIO(BE, 0)));
    EXPECT_ERRNO(EINVAL, set_prio(4, 0, PRIO(BE, 0)));
    EXPECT_ERRNO(EINVAL, set_prio(WHO_PROCESS, 0, PRIO(NONE, 1)));
    EXPECT_ERRNO(EINVAL, set_prio(WHO_PROCESS, 0, PRIO(4, 0)));
    EXPECT_ERRNO(ESRCH, get_prio(WHO_PROCESS, 1 << 22));
    EXPECT_ERRNO(ESRCH, set_prio(WHO_PROCESS, 1 << 22, PRIO(BE, 0)));
    EXPECT_ERRNO(ESRCH, get_prio(WHO_PGRP, 1 << 22));
    EXPECT_ERRNO(ESRCH, get_prio(WHO_USER, 123456));
    if (geteuid() != 0)
        return;
    pid_t other = FORK({ pause(); });
    EXPECT_EXITED(FORK({
                      EXPECT_EQ(setuid(65534), 0);
                      EXPECT_ERRNO(EPERM, set_prio(WHO_PROCESS, 0, PRIO(RT, 0)));
                      EXPECT_ERRNO(EPERM, set_prio(WHO_PROCESS, other, PRIO(BE, 0)));
                      EXPECT_EQ(set_prio(WHO_PROCESS, 0, PRIO(IDLE, 0)), 0);
                  }),
                  0);
    EXPECT_EQ(kill(other, SIGKILL), 0);
}

/* ---- sched_setattr ---- */

struct attr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t util_min, util_max;
    uint64_t later;
};
#define ATTR_V0 48u

CASE(setattr_sizes)
{
    struct attr attr = {.size = ATTR_V0 - 1};
    EXPECT_ERRNO(E2BIG, syscall(SYS_sched_setattr, 0, &attr, 0));
    EXPECT_GE(attr.size, 56);
    attr.size = PAGE + 1;
    EXPECT_ERRNO(E2BIG, syscall(SYS_sched_setattr, 0, &attr, 0));
    EXPECT_LE(attr.size, sizeof(attr));
    attr.size = 0;
    EXPECT_EQ(syscall(SYS_sched_setattr, 0, &attr, 0), 0);
    attr.size = ATTR_V0;
    EXPECT_EQ(syscall(SYS_sched_setattr, 0, &attr, 0), 0);
    attr.size = sizeof(attr);
    EXPECT_EQ(syscall(SYS_sched_setattr, 0, &attr, 0), 0);
    attr.later = 1;
    EXPECT_ERRNO(E2BIG, syscall(SYS_sched_setattr, 0, &attr, 0));
}

CASE(setattr_keeps)
{
    struct attr attr = {.size = ATTR_V0, .policy = SCHED_BATCH, .nice = 5}, got;
    EXPECT_EQ(syscall(SYS_sched_setattr, 0, &attr, 0), 0);
    attr = (struct attr){.size = ATTR_V0, .flags = 8, .nice = 7}; /* KEEP_POLICY */
    EXPECT_EQ(syscall(SYS_sched_setattr, 0, &attr, 0), 0);
    EXPECT_EQ(syscall(SYS_sched_getattr, 0, &got, sizeof(got), 0), 0);
    EXPECT_EQ(got.policy, SCHED_BATCH);
    EXPECT_EQ(got.nice, 7);
    attr = (struct attr){.size = ATTR_V0, .flags = 16, .policy = SCHED_OTHER}; /* KEEP_PARAMS */
    EXPECT_EQ(syscall(SYS_sched_setattr, 0, &attr, 0), 0);
    EXPECT_EQ(syscall(SYS_sched_getattr, 0, &got, sizeof(got), 0), 0);
    EXPECT_EQ(got.policy, SCHED_BATCH); /* it is one of them */
    EXPECT_EQ(got.nice, 7);
}

CASE(leaving_idle_takes_rights)
{
    if (geteuid() != 0)
        SKIP("not root");
    EXPECT_EXITED(FORK({
                      struct sched_param none = {0};
                      struct rlimit limit = {0, 0};
                      EXPECT_EQ(setrlimit(RLIMIT_NICE, &limit), 0);
                      EXPECT_EQ(setuid(65534), 0);
                      EXPECT_EQ(sched_setscheduler(0, SCHED_IDLE, &none), 0);
                      EXPECT_ERRNO(EPERM, sched_setscheduler(0, SCHED_OTHER, &none));
                      EXPECT_EQ(sched_setscheduler(0, SCHED_IDLE, &none), 0);
                  }),
                  0);
}

/* ---- usage ---- */

CASE(children_have_had_memory)
{
    enum { SIZE = 32 << 20 };
    struct rusage usage;
    pid_t child = FORK({
        char *p =
            EXPECT_OK(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        for (size_t i = 0; i < SIZE; i += PAGE)
            p[i] = 1;
    });
    int status;
    EXPECT_EQ(wait4(child, &status, 0, &usage), child);
    EXPECT_GE(usage.ru_maxrss, SIZE / 1024);
    EXPECT_EQ(getrusage(RUSAGE_CHILDREN, &usage), 0);
    EXPECT_GE(usage.ru_maxrss, SIZE / 1024);
    child = FORK({});
    EXPECT_EQ(wait4(child, &status, 0, &usage), child);
    EXPECT_GT(usage.ru_maxrss, 0);
    EXPECT_LT(usage.ru_maxrss, SIZE / 1024);
}

/* ---- process_madvise, process_mrelease ---- */

#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#ifndef SYS_process_mrelease
#define SYS_process_mrelease 448
#endif
#ifndef MADV_COLD
#define MADV_COLD 20
#endif

static long advise(int fd, const struct iovec *v, size_t n, int advice, unsigned flags)
{
    return syscall(SYS_process_madvise, fd, v, n, advice, flags);
}

CASE(process_madvise)
{
    char *p =
        EXPECT_OK(mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    struct iovec v[] = {{p, PAGE}, {p + PAGE, PAGE}};
    int fd = (int)EXPECT_OK(syscall(SYS_pidfd_open, getpid(), 0));
    EXPECT_EQ(advise(fd, v, 2, MADV_COLD, 0), 2 * PAGE);
    EXPECT_ERRNO(EINVAL, advise(fd, v, 2, MADV_COLD, 1));
    EXPECT_ERRNO(EINVAL, advise(fd, v, 2, 12345, 0));
    EXPECT_ERRNO(EINVAL, advise(fd, v, 1025, MADV_COLD, 0));
    EXPECT_ERRNO(EBADF, advise(-1, v, 2, MADV_COLD, 0));
    EXPECT_ERRNO(EFAULT, advise(fd, (void *)8, 2, MADV_COLD, 0));
    v[0].iov_base = p + 1;
    EXPECT_ERRNO(EINVAL, advise(fd, v, 2, MADV_COLD, 0));
    v[0].iov_base = p;
    EXPECT_EQ(munmap(p + PAGE, PAGE), 0);
    EXPECT_EQ(advise(fd, v, 2, MADV_COLD, 0), PAGE);
    EXPECT_ERRNO(ENOMEM, advise(fd, v + 1, 1, MADV_COLD, 0));
    pid_t gone = FORK({});
    fd = (int)EXPECT_OK(syscall(SYS_pidfd_open, gone, 0));
    EXPECT_EXITED(gone, 0);
    EXPECT_ERRNO(ESRCH, advise(fd, v, 1, MADV_COLD, 0));
}

CASE(process_mrelease)
{
    pid_t child = FORK({ pause(); });
    int fd = (int)EXPECT_OK(syscall(SYS_pidfd_open, child, 0));
    if (syscall(SYS_process_mrelease, fd, 1) < 0 && errno == ENOSYS)
        SKIP("a kernel before 5.15");
    EXPECT_ERRNO(EINVAL, syscall(SYS_process_mrelease, fd, 1));
    EXPECT_ERRNO(EINVAL, syscall(SYS_process_mrelease, fd, 0));
    EXPECT_ERRNO(EBADF, syscall(SYS_process_mrelease, -1, 0));
    EXPECT_EQ(kill(child, SIGKILL), 0);
    EXPECT_KILLED(child, SIGKILL);
    EXPECT_ERRNO(ESRCH, syscall(SYS_process_mrelease, fd, 0));
}

/* ---- ports ---- */

CASE(ports)
{
    if (syscall(SYS_ioperm, 0, 1, 0) < 0 && errno == ENOSYS)
        SKIP("a kernel without ports");
    EXPECT_ERRNO(EINVAL, syscall(SYS_ioperm, 65536, 1, 1));
    EXPECT_ERRNO(EINVAL, syscall(SYS_ioperm, 0, 0, 1));
    EXPECT_ERRNO(EINVAL, syscall(SYS_iopl, 4));
    EXPECT_EXITED(FORK({
                      if (geteuid() == 0)
                          EXPECT_EQ(setuid(65534), 0);
                      EXPECT_ERRNO(EPERM, syscall(SYS_ioperm, 0, 1, 1));
                      EXPECT_ERRNO(EPERM, syscall(SYS_iopl, 3));
                  }),
                  0);
}

/* ---- affinity ---- */

static int cpu_by_call(void)
{
    unsigned cpu = ~0u;
    syscall(SYS_getcpu, &cpu, NULL, NULL);
    return (int)cpu;
}

static void only(pid_t tid, int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    EXPECT_EQ(sched_setaffinity(tid, sizeof(set), &set), 0);
}

/* A task runs where it may, and so do its children, asleep in between or not. */
CASE(affinity_is_obeyed)
{
    cpu_set_t all;
    EXPECT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
    for (int round = 0; round < 6; round++) {
        for (int cpu = 0; cpu < 64; cpu++) {
            if (!CPU_ISSET((size_t)cpu, &all))
                continue;
            only(0, cpu);
            for (int i = 0; i < 200; i++) {
                EXPECT_EQ(sched_getcpu(), cpu);
                EXPECT_EQ(cpu_by_call(), cpu);
                if (i % 50 == 0)
                    usleep(3000);
            }
            EXPECT_EXITED(FORK({
                              for (int i = 0; i < 100; i++)
                                  EXPECT_EQ(sched_getcpu(), cpu);
                          }),
                          0);
        }
    }
}

/* Another process is moved while it computes. */
CASE(affinity_from_outside)
{
    cpu_set_t all;
    volatile int *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT_EQ(sched_getaffinity(0, sizeof(all), &all), 0);
    pid_t child = FORK({
        for (;;)
            *at = sched_getcpu();
    });
    for (int cpu = 0; cpu < 64; cpu++) {
        if (!CPU_ISSET((size_t)cpu, &all))
            continue;
        only(child, cpu);
        usleep(50000);
        for (int i = 0; i < 50; i++) {
            EXPECT_EQ(*at, cpu);
            usleep(1000);
        }
    }
    kill(child, SIGKILL);
    EXPECT_KILLED(child, SIGKILL);
}

/* ---- what prctl keeps ---- */

CASE(mce_kill)
{
    EXPECT_EQ(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0), PR_MCE_KILL_DEFAULT);
    EXPECT_EQ(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0), 0);
    EXPECT_EQ(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0), PR_MCE_KILL_EARLY);
    EXPECT_EXITED(FORK({ EXPECT_EQ(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0), PR_MCE_KILL_EARLY); }), 0);
    EXPECT_EQ(prctl(PR_MCE_KILL, PR_MCE_KILL_CLEAR, 0, 0, 0), 0);
    EXPECT_EQ(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0), PR_MCE_KILL_DEFAULT);
    EXPECT_ERRNO(EINVAL, prctl(PR_MCE_KILL, PR_MCE_KILL_CLEAR, 1, 0, 0));
    EXPECT_ERRNO(EINVAL, prctl(PR_MCE_KILL, PR_MCE_KILL_SET, 3, 0, 0));
    EXPECT_ERRNO(EINVAL, prctl(PR_MCE_KILL, PR_MCE_KILL_SET, 1, 1, 0));
    EXPECT_ERRNO(EINVAL, prctl(PR_MCE_KILL, 2, 0, 0, 0));
    EXPECT_ERRNO(EINVAL, prctl(PR_MCE_KILL_GET, 1, 0, 0, 0));
}

TEST_MAIN
