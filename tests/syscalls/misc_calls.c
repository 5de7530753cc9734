/* uname(2), sysinfo(2), getrandom(2), sched_*(2), getpriority(2), getcpu(2), kcmp(2),
 * membarrier(2), process_vm_readv(2), pidfd_open(2). */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <linux/kcmp.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <sys/utsname.h>

CASE(uname_fields)
{
    struct utsname u;
    EXPECT_OK(uname(&u));
    EXPECT_STREQ(u.sysname, "Linux");
    EXPECT_STREQ(u.machine, "x86_64");
    EXPECT_GT(atoi(u.release), 4);
    EXPECT_GT(strlen(u.nodename), 0);
    EXPECT_ERRNO(EFAULT, syscall(SYS_uname, 8));
}

CASE(hostname_needs_privilege)
{
    if (geteuid() == 0 && setuid(54321) < 0)
        SKIP("cannot leave root");
    EXPECT_ERRNO(EPERM, sethostname("x", 1));
    EXPECT_ERRNO(EPERM, setdomainname("x", 1));
}

CASE(sysinfo_fields)
{
    struct sysinfo s;
    EXPECT_OK(sysinfo(&s));
    EXPECT_GT(s.totalram, 0);
    EXPECT_LE(s.freeram, s.totalram);
    EXPECT_GT(s.procs, 0);
    EXPECT_GE(s.uptime, 0);
    EXPECT_GT(s.mem_unit, 0);
}

CASE(randomness)
{
    unsigned char a[64] = {0}, b[64] = {0};
    EXPECT_EQ(getrandom(a, 64, 0), 64);
    EXPECT_EQ(getrandom(b, 64, GRND_NONBLOCK), 64);
    EXPECT(memcmp(a, b, 64) != 0);
    EXPECT_ERRNO(EINVAL, getrandom(a, 64, 0x100));
    EXPECT_ERRNO(EFAULT, syscall(SYS_getrandom, 8, 64, 0));
    EXPECT_EQ(getrandom(a, 0, 0), 0);
    static char big[1 << 20];
    EXPECT_EQ(getrandom(big, sizeof(big), 0), sizeof(big));
}

CASE(affinity)
{
    cpu_set_t set, one;
    long n = EXPECT_OK(syscall(SYS_sched_getaffinity, 0, sizeof(set), &set));
    EXPECT_EQ(n % 8, 0);
    CPU_ZERO(&set);
    EXPECT_OK(sched_getaffinity(0, sizeof(set), &set));
    EXPECT_GT(CPU_COUNT(&set), 0);
    int first = 0;
    while (!CPU_ISSET(first, &set))
        first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    EXPECT_OK(sched_setaffinity(0, sizeof(one), &one));
    EXPECT_OK(sched_getaffinity(0, sizeof(set), &set));
    EXPECT(CPU_EQUAL(&one, &set));
    CPU_ZERO(&one);
    EXPECT_ERRNO(EINVAL, sched_setaffinity(0, sizeof(one), &one));
    EXPECT_ERRNO(EINVAL, syscall(SYS_sched_getaffinity, 0, 4, &set));
    EXPECT_ERRNO(ESRCH, sched_getaffinity(0x3fffff, sizeof(set), &set));
    EXPECT_EXITED(FORK({
                      EXPECT_OK(sched_getaffinity(0, sizeof(set), &set));
                      EXPECT_EQ(CPU_COUNT(&set), 1);
                  }),
                  0);
}

CASE(policies)
{
    struct sched_param p = {0};
    EXPECT_EQ(sched_getscheduler(0), SCHED_OTHER);
    EXPECT_OK(sched_getparam(0, &p));
    EXPECT_EQ(p.sched_priority, 0);
    EXPECT_EQ(sched_get_priority_max(SCHED_FIFO), 99);
    EXPECT_EQ(sched_get_priority_min(SCHED_RR), 1);
    EXPECT_EQ(sched_get_priority_max(SCHED_OTHER), 0);
    EXPECT_ERRNO(EINVAL, sched_get_priority_max(99));
    EXPECT_OK(sched_setscheduler(0, SCHED_BATCH, &p));
    EXPECT_EQ(sched_getscheduler(0), SCHED_BATCH);
    p.sched_priority = 1;
    EXPECT_ERRNO(EINVAL, sched_setscheduler(0, SCHED_OTHER, &p));
    EXPECT_ERRNO(EINVAL, sched_setscheduler(0, 99, &p));
    EXPECT_ERRNO(ESRCH, sched_getscheduler(0x3fffff));
    EXPECT_ERRNO(EINVAL, sched_getscheduler(-1));
    struct timespec ts;
    EXPECT_OK(sched_rr_get_interval(0, &ts));
    EXPECT_OK(sched_yield());
}

CASE(nice_values)
{
    /* Whoever started us may have been nice, too. */
    EXPECT(getpriority(PRIO_PROCESS, 0) <= 15);
    EXPECT_OK(setpriority(PRIO_PROCESS, 0, 16));
    EXPECT_EQ(getpriority(PRIO_PROCESS, 0), 16);
    EXPECT_EQ(getpriority(PRIO_PROCESS, getpid()), 16);
    EXPECT_OK(setpriority(PRIO_PROCESS, 0, 100));
    EXPECT_EQ(getpriority(PRIO_PROCESS, 0), 19);
    EXPECT_EXITED(FORK({ EXPECT_EQ(getpriority(PRIO_PROCESS, 0), 19); }), 0);
    EXPECT_ERRNO(EINVAL, getpriority(77, 0));
    EXPECT_ERRNO(ESRCH, getpriority(PRIO_PROCESS, 0x3fffff));
    EXPECT_ERRNO(ESRCH, setpriority(PRIO_PGRP, 0x3fffff, 0));
    if (geteuid() == 0 && setuid(54321) < 0)
        SKIP("cannot leave root");
    struct rlimit r = {0, 0};
    setrlimit(RLIMIT_NICE, &r);
    EXPECT_ERRNO(EACCES, setpriority(PRIO_PROCESS, 0, 0));
}

CASE(getcpu_in_range)
{
    unsigned cpu = 9999, node = 9999;
    EXPECT_OK(syscall(SYS_getcpu, &cpu, &node, NULL));
    EXPECT_LT(cpu, 4096);
    EXPECT_LT(node, 64);
    EXPECT_ERRNO(EFAULT, syscall(SYS_getcpu, 8, NULL, NULL));
}

CASE(kcmp_files)
{
    int me = getpid(), fd = open("/dev/null", O_RDONLY), same = dup(fd);
    int other = open("/dev/null", O_RDONLY);
    long r = syscall(SYS_kcmp, me, me, KCMP_FILE, fd, same);
    if (r < 0 && errno == ENOSYS)
        SKIP("no kcmp");
    EXPECT_EQ(r, 0);
    EXPECT_GT(syscall(SYS_kcmp, me, me, KCMP_FILE, fd, other), 0);
    EXPECT_EQ(syscall(SYS_kcmp, me, me, KCMP_VM, 0, 0), 0);
    EXPECT_ERRNO(EBADF, syscall(SYS_kcmp, me, me, KCMP_FILE, fd, 999));
    EXPECT_ERRNO(EINVAL, syscall(SYS_kcmp, me, me, 99, 0, 0));
    EXPECT_ERRNO(ESRCH, syscall(SYS_kcmp, me, 0x3fffff, KCMP_VM, 0, 0));
}

CASE(barriers)
{
    long known = EXPECT_OK(syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0));
    if (!(known & MEMBARRIER_CMD_PRIVATE_EXPEDITED))
        SKIP("no expedited barriers");
    EXPECT_ERRNO(EPERM, syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
    EXPECT_OK(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0));
    EXPECT_OK(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_membarrier, 0x40000000, 0, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 1, 0));
}

CASE(other_memory)
{
    static char here[64];
    char there[64] = "theirs";
    pid_t p = FORK({
        strcpy(there, "child");
        raise(SIGSTOP);
        EXPECT_STREQ(there, "hello");
    });
    int status;
    EXPECT_EQ(waitpid(p, &status, WUNTRACED), p);
    struct iovec local = {here, 6}, remote = {there, 6};
    EXPECT_EQ(syscall(SYS_process_vm_readv, p, &local, 1, &remote, 1, 0), 6);
    EXPECT_STREQ(here, "child");
    strcpy(here, "hello");
    EXPECT_EQ(syscall(SYS_process_vm_writev, p, &local, 1, &remote, 1, 0), 6);
    remote.iov_base = (void *)8;
    EXPECT_ERRNO(EFAULT, syscall(SYS_process_vm_readv, p, &local, 1, &remote, 1, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_process_vm_readv, p, &local, 1, &remote, 1, 1));
    EXPECT_ERRNO(ESRCH, syscall(SYS_process_vm_readv, 0x3fffff, &local, 1, &remote, 1, 0));
    kill(p, SIGCONT);
    EXPECT_EXITED(p, 0);
}

CASE(pidfds)
{
    EXPECT_ERRNO(EINVAL, syscall(SYS_pidfd_open, 0, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_pidfd_open, getpid(), 0x10000000));
    EXPECT_ERRNO(ESRCH, syscall(SYS_pidfd_open, 0x3fffff, 0));
    int fd = (int)EXPECT_OK(syscall(SYS_pidfd_open, getpid(), 0));
    EXPECT_OK(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0x40));
    EXPECT_ERRNO(EBADF, syscall(SYS_pidfd_send_signal, 0, 0, NULL, 0));
    int null = open("/dev/null", O_RDONLY);
    int got = (int)EXPECT_OK(syscall(SYS_pidfd_getfd, fd, null, 0));
    EXPECT_NE(got, null);
    EXPECT_EQ(fcntl(got, F_GETFD), FD_CLOEXEC);
    EXPECT_ERRNO(EBADF, syscall(SYS_pidfd_getfd, fd, 999, 0));
}
/* ---- syslog ---- */

CASE(kernel_log)
{
    enum { READ = 2, READ_ALL, SIZE_UNREAD = 9, SIZE_BUFFER };
    char buf[16];
    if (syscall(SYS_syslog, SIZE_UNREAD, NULL, 0) < 0)
        SKIP("no right to read the log");
    EXPECT_GT(syscall(SYS_syslog, SIZE_BUFFER, NULL, 0), 0);
    EXPECT_GE(syscall(SYS_syslog, READ_ALL, buf, sizeof(buf)), 0);
    EXPECT_EQ(syscall(SYS_syslog, READ_ALL, buf, 0), 0);
    EXPECT_EQ(syscall(SYS_syslog, 0, NULL, 0), 0);
    EXPECT_EQ(syscall(SYS_syslog, 1, NULL, 0), 0);
    EXPECT_ERRNO(EINVAL, syscall(SYS_syslog, READ_ALL, NULL, 10));
    EXPECT_ERRNO(EINVAL, syscall(SYS_syslog, READ_ALL, buf, -1));
    EXPECT_ERRNO(EINVAL, syscall(SYS_syslog, READ, NULL, 10));
    EXPECT_ERRNO(EINVAL, syscall(SYS_syslog, 8, NULL, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_syslog, 8, NULL, 9));
    EXPECT_ERRNO(EINVAL, syscall(SYS_syslog, 11, NULL, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_syslog, -1, NULL, 0));
    if (geteuid() == 0) {
        EXPECT_OK(setuid(54321));
        EXPECT_ERRNO(EPERM, syscall(SYS_syslog, READ, buf, sizeof(buf)));
        EXPECT_ERRNO(EPERM, syscall(SYS_syslog, SIZE_UNREAD, NULL, 0));
        EXPECT_ERRNO(EPERM, syscall(SYS_syslog, 5, NULL, 0));
    }
}

TEST_MAIN
