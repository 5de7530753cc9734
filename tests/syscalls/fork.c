/* fork(2), vfork(2), getpid(2), getppid(2). */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/times.h>

CASE(child_has_its_own_ids)
{
    pid_t parent = getpid();
    int fd[2];
    EXPECT_OK(pipe(fd));
    pid_t p = FORK({
        pid_t ids[3] = {getpid(), getppid(), gettid()};
        EXPECT_EQ(write(fd[1], ids, sizeof(ids)), sizeof(ids));
    });
    pid_t ids[3];
    EXPECT_EQ(read(fd[0], ids, sizeof(ids)), sizeof(ids));
    EXPECT_EQ(ids[0], p);
    EXPECT_EQ(ids[1], parent);
    EXPECT_EQ(ids[2], p);
    EXPECT_EXITED(p, 0);
}

CASE(memory_is_copied)
{
    volatile int *shared =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    volatile int *private =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(shared, MAP_FAILED);
    EXPECT_NE(private, MAP_FAILED);
    *shared = *private = 1;
    pid_t p = FORK({
        EXPECT_EQ(*private, 1);
        *shared = 2;
        *private = 2;
    });
    EXPECT_EXITED(p, 0);
    EXPECT_EQ(*shared, 2);
    EXPECT_EQ(*private, 1);
}

CASE(descriptors_are_copied_and_share_the_offset)
{
    int fd = EXPECT_OK(open(test_path("f"), O_RDWR | O_CREAT, 0600));
    pid_t p = FORK({
        EXPECT_EQ(write(fd, "abc", 3), 3);
        EXPECT_OK(close(fd));
    });
    EXPECT_EXITED(p, 0);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 3);
}

static volatile sig_atomic_t got;
static void handler(int sig)
{
    got = sig;
}

CASE(signal_state)
{
    /* Handlers and the mask are inherited, what is pending is not. */
    sigset_t set, pending;
    signal(SIGUSR1, handler);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    EXPECT_OK(sigprocmask(SIG_BLOCK, &set, NULL));
    raise(SIGUSR1);
    pid_t p = FORK({
        EXPECT_OK(sigpending(&pending));
        EXPECT(!sigismember(&pending, SIGUSR1));
        EXPECT_OK(sigprocmask(SIG_SETMASK, NULL, &set));
        EXPECT(sigismember(&set, SIGUSR1));
        raise(SIGUSR1);
        EXPECT_OK(sigprocmask(SIG_UNBLOCK, &set, NULL));
        EXPECT_EQ(got, SIGUSR1);
    });
    EXPECT_EXITED(p, 0);
    EXPECT_EQ(got, 0);
}

CASE(alarm_is_not_inherited)
{
    alarm(100);
    pid_t p = FORK({ EXPECT_EQ(alarm(0), 0); });
    EXPECT_EXITED(p, 0);
    EXPECT_GT(alarm(0), 0);
}

CASE(exit_status)
{
    EXPECT_EXITED(FORK({ _exit(0); }), 0);
    EXPECT_EXITED(FORK({ _exit(255); }), 255);
    EXPECT_EXITED(FORK({ _exit(256 + 7); }), 7);
    EXPECT_KILLED(FORK({ kill(getpid(), SIGKILL); }), SIGKILL);
    EXPECT_KILLED(FORK({ abort(); }), SIGABRT);
}

CASE(many_children)
{
    pid_t pids[64];
    for (int i = 0; i < 64; i++)
        pids[i] = FORK({ _exit(i); });
    for (int i = 63; i >= 0; i--)
        EXPECT_EXITED(pids[i], i);
    EXPECT_ERRNO(ECHILD, wait(NULL));
}

CASE(floating_point_state_is_inherited)
{
    unsigned mxcsr = 0x1f80 | 0x6000 /* round towards zero */, now;
    asm volatile("ldmxcsr %0" ::"m"(mxcsr));
    double kept;
    asm volatile("movsd %1, %%xmm7" ::"m"(kept), "m"((double){3.5}) : "xmm7");
    pid_t p = FORK({
        asm volatile("stmxcsr %0" : "=m"(now));
        EXPECT_EQ(now & 0x6000, 0x6000);
    });
    EXPECT_EXITED(p, 0);
}

CASE(grandchildren)
{
    pid_t p = FORK({
        pid_t q = FORK({
            pid_t r = FORK({ _exit(3); });
            EXPECT_EXITED(r, 3);
            _exit(4);
        });
        EXPECT_EXITED(q, 4);
        _exit(5);
    });
    EXPECT_EXITED(p, 5);
}

CASE(orphans_get_a_new_parent)
{
    int fd[2];
    EXPECT_OK(pipe(fd));
    pid_t p = FORK({
        pid_t middle = getpid();
        FORK({
            while (getppid() == middle)
                usleep(1000);
            pid_t now = getppid();
            EXPECT_EQ(write(fd[1], &now, sizeof(now)), sizeof(now));
        });
    });
    EXPECT_EXITED(p, 0);
    pid_t parent;
    EXPECT_EQ(read(fd[0], &parent, sizeof(parent)), sizeof(parent));
    EXPECT_NE(parent, p);
    EXPECT_NE(parent, getpid());
}

CASE(vfork_shares_memory_and_waits)
{
    static volatile int seen;
    pid_t p = vfork();
    EXPECT(p >= 0);
    if (p == 0) {
        usleep(20000);
        seen = 1;
        _exit(9);
    }
    EXPECT_EQ(seen, 1);
    EXPECT_EXITED(p, 9);
}

CASE(vfork_parent_goes_on_at_exec)
{
    static volatile int seen;
    char *argv[] = {"/proc/self/exe", "--list", NULL};
    pid_t p = vfork();
    EXPECT(p >= 0);
    if (p == 0) {
        seen = 1;
        int null = open("/dev/null", O_WRONLY);
        dup2(null, 1);
        dup2(null, 2);
        execv("/bin/true", argv);
        _exit(127);
    }
    EXPECT_EQ(seen, 1);
    EXPECT_EXITED(p, 0);
}

CASE(nproc_limit)
{
    if (geteuid() == 0 && setuid(54321) < 0)
        SKIP("cannot leave root: %s", strerror(errno));
    struct rlimit r = {0, 0};
    EXPECT_OK(setrlimit(RLIMIT_NPROC, &r));
    EXPECT_ERRNO(EAGAIN, fork());
}
TEST_MAIN
