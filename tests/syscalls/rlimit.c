/* getrlimit(2), setrlimit(2), prlimit(2), getrusage(2). */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

CASE(errors)
{
    struct rlimit r;
    EXPECT_ERRNO(EINVAL, getrlimit(RLIM_NLIMITS, &r));
    EXPECT_ERRNO(EINVAL, getrlimit((unsigned)-1, &r));
    EXPECT_ERRNO(EFAULT, syscall(SYS_getrlimit, RLIMIT_CORE, 8));
    EXPECT_ERRNO(EFAULT, syscall(SYS_setrlimit, RLIMIT_CORE, 8));
    r = (struct rlimit){2, 1};
    EXPECT_ERRNO(EINVAL, setrlimit(RLIMIT_CORE, &r));
    EXPECT_ERRNO(ESRCH, prlimit(0x3fffff, RLIMIT_CORE, NULL, &r));
    EXPECT_ERRNO(EINVAL, getrusage(99, (struct rusage *)&r));
}

CASE(set_and_get)
{
    struct rlimit r = {10, 20}, old;
    EXPECT_OK(setrlimit(RLIMIT_CORE, &r));
    EXPECT_OK(getrlimit(RLIMIT_CORE, &old));
    EXPECT_EQ(old.rlim_cur, 10);
    EXPECT_EQ(old.rlim_max, 20);
    struct rlimit next = {15, 15};
    EXPECT_OK(prlimit(getpid(), RLIMIT_CORE, &next, &old));
    EXPECT_EQ(old.rlim_cur, 10);
    EXPECT_EXITED(FORK({
                      EXPECT_OK(getrlimit(RLIMIT_CORE, &old));
                      EXPECT_EQ(old.rlim_cur, 15);
                  }),
                  0);
}

CASE(raising_needs_privilege)
{
    struct rlimit r = {1, 1};
    EXPECT_OK(setrlimit(RLIMIT_CORE, &r));
    if (geteuid() == 0 && setuid(54321) < 0)
        SKIP("cannot leave root");
    r.rlim_max = 2;
    EXPECT_ERRNO(EPERM, setrlimit(RLIMIT_CORE, &r));
    r = (struct rlimit){0, 0};
    EXPECT_OK(setrlimit(RLIMIT_CORE, &r));
}

CASE(nofile)
{
    struct rlimit r;
    EXPECT_OK(getrlimit(RLIMIT_NOFILE, &r));
    r.rlim_cur = 10;
    EXPECT_OK(setrlimit(RLIMIT_NOFILE, &r));
    int fd, last = -1;
    while ((fd = open("/dev/null", O_RDONLY)) >= 0)
        last = fd;
    EXPECT_EQ(errno, EMFILE);
    EXPECT_EQ(last, 9);
    EXPECT_ERRNO(EBADF, dup2(0, 10));
    EXPECT_ERRNO(EINVAL, fcntl(0, F_DUPFD, 10));
}

CASE(address_space)
{
    struct rlimit r = {64 << 20, 64 << 20};
    EXPECT_OK(setrlimit(RLIMIT_AS, &r));
    EXPECT_ERRNO(ENOMEM,
                 (long)mmap(NULL, 128 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

CASE(file_size)
{
    struct rlimit r = {100, 100};
    int fd = EXPECT_OK(open(test_path("f"), O_CREAT | O_RDWR, 0600));
    EXPECT_OK(setrlimit(RLIMIT_FSIZE, &r));
    static char buf[200];
    signal(SIGXFSZ, SIG_IGN);
    EXPECT_EQ(write(fd, buf, 200), 100);
    EXPECT_ERRNO(EFBIG, write(fd, buf, 1));
    EXPECT_ERRNO(EFBIG, ftruncate(fd, 101));
    EXPECT_KILLED(FORK({
                      signal(SIGXFSZ, SIG_DFL);
                      EXPECT_EQ(write(fd, buf, 1), -1);
                  }),
                  SIGXFSZ);
}

static void spin_until(double seconds)
{
    struct rusage ru;
    do {
        for (volatile int i = 0; i < 1000000; i++) {
        }
        getrusage(RUSAGE_SELF, &ru);
    } while ((double)ru.ru_utime.tv_sec + (double)ru.ru_stime.tv_sec +
                 (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6 <
             seconds);
}

static volatile int *xcpu; /* shared with the child */
static void on_xcpu(int sig)
{
    *xcpu += sig == SIGXCPU;
}

/* A warning each second after the soft limit, the end at the hard one. */
CASE(cpu_time)
{
    struct rlimit r = {1, 3};
    struct sigaction sa = {.sa_handler = on_xcpu};
    xcpu = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT_KILLED(FORK({
                      EXPECT_OK(sigaction(SIGXCPU, &sa, NULL));
                      EXPECT_OK(setrlimit(RLIMIT_CPU, &r));
                      while (*xcpu == 0)
                          spin_until(0.1);
                      EXPECT_OK(getrlimit(RLIMIT_CPU, &r));
                      EXPECT_EQ(r.rlim_cur, 2);
                      spin_until(20);
                  }),
                  SIGKILL);
    EXPECT_EQ(*xcpu, 2);
}

CASE(cpu_time_is_inherited)
{
    struct rlimit r = {1, 2};
    EXPECT_KILLED(FORK({
                      EXPECT_OK(setrlimit(RLIMIT_CPU, &r));
                      EXPECT_KILLED(FORK({ spin_until(20); }), SIGXCPU);
                      raise(SIGUSR1);
                  }),
                  SIGUSR1);
}

CASE(usage)
{
    struct rusage ru;
    EXPECT_OK(getrusage(RUSAGE_SELF, &ru));
    EXPECT_GT(ru.ru_maxrss, 0);
    EXPECT_OK(getrusage(RUSAGE_THREAD, &ru));
    EXPECT_OK(getrusage(RUSAGE_CHILDREN, &ru));
    EXPECT_ERRNO(EFAULT, syscall(SYS_getrusage, RUSAGE_SELF, 8));
}
TEST_MAIN
