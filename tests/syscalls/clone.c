/* clone(2), clone3(2), set_tid_address(2), unshare(2). */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#define STACK (64 << 10)
static char stacks[4][STACK] __attribute__((aligned(16)));
#define TOP(i) (stacks[i] + STACK)

static long futex(volatile int *addr, int op, int val)
{
    return syscall(SYS_futex, addr, op, val, NULL, NULL, 0);
}
static void wait_zero(volatile int *word)
{
    int v;
    while ((v = *word) != 0)
        futex(word, FUTEX_WAIT, v);
}

#define THREAD_FLAGS                                                                               \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)

static volatile int ctid, ptid, value;
static int thread_body(void *arg)
{
    value = (int)(long)arg + (syscall(SYS_getpid) == syscall(SYS_gettid) ? 100 : 0);
    syscall(SYS_exit, 0);
    return 0;
}

CASE(thread_ids)
{
    ctid = 1;
    int tid = EXPECT_OK(
        clone(thread_body, TOP(0),
              THREAD_FLAGS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID,
              (void *)5L, &ptid, NULL, &ctid));
    wait_zero(&ctid);
    EXPECT_EQ(ptid, tid);
    EXPECT_EQ(value, 5);
    EXPECT_ERRNO(ECHILD, waitpid(tid, NULL, __WALL));
    /* The word is cleared a little before the thread is gone. */
    while (syscall(SYS_tgkill, getpid(), tid, 0) == 0)
        usleep(100);
    EXPECT_EQ(errno, ESRCH);
}

static int exit_body(void *arg)
{
    return (int)(long)arg;
}

CASE(exit_signal_and_wclone)
{
    pid_t p = EXPECT_OK(clone(exit_body, TOP(0), 0, (void *)3L));
    int status;
    EXPECT_ERRNO(ECHILD, waitpid(p, &status, 0));
    EXPECT_EQ(waitpid(p, &status, __WCLONE), p);
    EXPECT_EQ(status, 0x300);
    p = EXPECT_OK(clone(exit_body, TOP(0), SIGCHLD, (void *)4L));
    EXPECT_ERRNO(ECHILD, waitpid(p, &status, __WCLONE));
    EXPECT_EQ(waitpid(p, &status, __WALL), p);
    EXPECT_EQ(status, 0x400);
}

static volatile sig_atomic_t got_signal;
static void on_signal(int sig)
{
    got_signal = sig;
}

/* clone(2) takes any byte for the signal; what is none is not sent. */
CASE(exit_signal_that_is_none)
{
    static const int none[] = {65, 127, 255};
    for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++) {
        pid_t pid = (pid_t)syscall(SYS_clone, none[i], 0, 0, 0, 0);
        if (pid == 0)
            _exit(3);
        EXPECT_GT(pid, 0);
        int status;
        EXPECT_EQ(waitpid(pid, &status, __WCLONE), pid);
        EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    }
}

CASE(other_exit_signal)
{
    signal(SIGUSR2, on_signal);
    pid_t p = EXPECT_OK(clone(exit_body, TOP(0), SIGUSR2, (void *)0L));
    int status;
    pid_t r;
    do
        r = waitpid(p, &status, __WALL);
    while (r < 0 && errno == EINTR);
    EXPECT_EQ(r, p);
    EXPECT_EQ(got_signal, SIGUSR2);
}

static int close_fd(void *arg)
{
    return close((int)(long)arg) == 0 ? 0 : 1;
}

CASE(shared_and_copied_files)
{
    int fd = EXPECT_OK(open("/dev/null", O_RDONLY));
    pid_t p = EXPECT_OK(clone(close_fd, TOP(0), SIGCHLD, (void *)(long)fd));
    EXPECT_EXITED(p, 0);
    EXPECT_OK(fcntl(fd, F_GETFD));
    p = EXPECT_OK(clone(close_fd, TOP(0), SIGCHLD | CLONE_FILES, (void *)(long)fd));
    EXPECT_EXITED(p, 0);
    EXPECT_ERRNO(EBADF, fcntl(fd, F_GETFD));
}

static int go_to_tmp(void *arg)
{
    (void)arg;
    umask(0123);
    return chdir("/tmp") == 0 ? 0 : 1;
}

CASE(shared_fs_context)
{
    char cwd[4096];
    EXPECT_OK(chdir("/"));
    umask(022);
    EXPECT_EXITED(clone(go_to_tmp, TOP(0), SIGCHLD, NULL), 0);
    EXPECT_STREQ(getcwd(cwd, sizeof(cwd)), "/");
    EXPECT_EXITED(clone(go_to_tmp, TOP(0), SIGCHLD | CLONE_FS, NULL), 0);
    EXPECT_STREQ(getcwd(cwd, sizeof(cwd)), "/tmp");
    EXPECT_EQ(umask(022), 0123);
}

static int set_handler(void *arg)
{
    (void)arg;
    signal(SIGUSR1, on_signal);
    return 0;
}

CASE(shared_handlers)
{
    struct sigaction sa;
    signal(SIGUSR1, SIG_DFL);
    EXPECT_EXITED(clone(set_handler, TOP(0), SIGCHLD | CLONE_VM, NULL), 0);
    EXPECT_OK(sigaction(SIGUSR1, NULL, &sa));
    EXPECT_EQ(sa.sa_handler, SIG_DFL);
    EXPECT_EXITED(clone(set_handler, TOP(0), SIGCHLD | CLONE_VM | CLONE_SIGHAND, NULL), 0);
    EXPECT_OK(sigaction(SIGUSR1, NULL, &sa));
    EXPECT_EQ(sa.sa_handler, on_signal);
}

CASE(bad_flags)
{
    EXPECT_ERRNO(EINVAL, syscall(SYS_clone, CLONE_THREAD | SIGCHLD, 0, 0, 0, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_clone, CLONE_SIGHAND | SIGCHLD, 0, 0, 0, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_clone, CLONE_FS | CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_clone, CLONE_THREAD | CLONE_SIGHAND | SIGCHLD, 0, 0, 0, 0));
}

static int report_parent(void *arg)
{
    *(volatile pid_t *)arg = getppid();
    return 0;
}

CASE(clone_parent_makes_a_sibling)
{
    volatile pid_t *seen =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t me = getpid();
    pid_t p = FORK({
        EXPECT_OK(clone(report_parent, TOP(1), CLONE_PARENT | SIGCHLD, (void *)seen));
        EXPECT_ERRNO(ECHILD, wait(NULL));
    });
    int status, n = 0;
    while (wait(&status) > 0) {
        EXPECT_EQ(status, 0);
        n++;
    }
    EXPECT_EQ(n, 2);
    EXPECT_EQ(*seen, me);
    (void)p;
}

CASE(pidfd)
{
    int pidfd = -1;
    pid_t p = (pid_t)syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, 0, &pidfd, 0, 0);
    EXPECT(p >= 0);
    if (p == 0) {
        pause();
        _exit(0);
    }
    EXPECT_GE(pidfd, 0);
    EXPECT_EQ(fcntl(pidfd, F_GETFD), FD_CLOEXEC);
    struct pollfd pfd = {pidfd, POLLIN, 0};
    EXPECT_EQ(poll(&pfd, 1, 0), 0);
    EXPECT_OK(syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0));
    EXPECT_EQ(poll(&pfd, 1, 5000), 1);
    EXPECT_EQ(pfd.revents, POLLIN);
    siginfo_t info;
    EXPECT_OK(waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED));
    EXPECT_EQ(info.si_pid, p);
    EXPECT_EQ(info.si_code, CLD_KILLED);
    EXPECT_EQ(info.si_status, SIGTERM);
    EXPECT_ERRNO(ESRCH, syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0));
}

/* An open /proc/PID stands for the process too; what is below it does not. */
CASE(proc_directory_as_pidfd)
{
    pid_t p = fork();
    if (p == 0) {
        pause();
        _exit(0);
    }
    char name[64];
    snprintf(name, sizeof(name), "/proc/%d", p);
    int fd = open(name, O_RDONLY | O_DIRECTORY), path = open(name, O_PATH);
    snprintf(name, sizeof(name), "/proc/%d/task", p);
    int below = open(name, O_RDONLY | O_DIRECTORY), proc = open("/proc", O_RDONLY | O_DIRECTORY);
    EXPECT(fd >= 0 && path >= 0 && below >= 0 && proc >= 0);
    EXPECT_OK(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
    EXPECT_ERRNO(EBADF, syscall(SYS_pidfd_send_signal, path, 0, NULL, 0));
    EXPECT_ERRNO(EBADF, syscall(SYS_pidfd_send_signal, below, 0, NULL, 0));
    EXPECT_ERRNO(EBADF, syscall(SYS_pidfd_send_signal, proc, 0, NULL, 0));
    EXPECT_OK(syscall(SYS_pidfd_send_signal, fd, SIGTERM, NULL, 0));
    int status;
    EXPECT_EQ(waitpid(p, &status, 0), p);
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    EXPECT_ERRNO(ESRCH, syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
}

struct args3 {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
    uint64_t set_tid, set_tid_size, cgroup, beyond;
};

CASE(clone3_fork)
{
    struct args3 a = {.exit_signal = SIGCHLD};
    pid_t p = (pid_t)syscall(SYS_clone3, &a, 64);
    if (p == 0)
        _exit(6);
    EXPECT(p > 0);
    EXPECT_EXITED(p, 6);
}

CASE(clone3_errors)
{
    struct args3 a = {.exit_signal = SIGCHLD};
    EXPECT_ERRNO(EINVAL, syscall(SYS_clone3, &a, 63));
    EXPECT_ERRNO(E2BIG, syscall(SYS_clone3, &a, 4097));
    EXPECT_ERRNO(EFAULT, syscall(SYS_clone3, NULL, 64));
    a.beyond = 1;
    EXPECT_ERRNO(E2BIG, syscall(SYS_clone3, &a, sizeof(a)));
    a = (struct args3){.exit_signal = 65};
    EXPECT_ERRNO(EINVAL, syscall(SYS_clone3, &a, 88));
    a = (struct args3){.exit_signal = SIGCHLD, .flags = SIGCHLD};
    EXPECT_ERRNO(EINVAL, syscall(SYS_clone3, &a, 88));
    a = (struct args3){.exit_signal = SIGCHLD, .stack = 4096};
    EXPECT_ERRNO(EINVAL, syscall(SYS_clone3, &a, 88));
    a = (struct args3){.exit_signal = SIGCHLD, .stack_size = 4096};
    EXPECT_ERRNO(EINVAL, syscall(SYS_clone3, &a, 88));
    a = (struct args3){.exit_signal = SIGCHLD, .set_tid_size = 1};
    EXPECT_ERRNO(EINVAL, syscall(SYS_clone3, &a, 88));
}

static void *churn(void *arg)
{
    return arg;
}
CASE(threads_come_and_go)
{
    for (int i = 0; i < 200; i++) {
        pthread_t t[4];
        for (long j = 0; j < 4; j++)
            EXPECT_EQ(pthread_create(&t[j], NULL, churn, (void *)j), 0);
        for (long j = 0; j < 4; j++) {
            void *r;
            EXPECT_EQ(pthread_join(t[j], &r), 0);
            EXPECT_EQ(r, (void *)j);
        }
    }
}

static void *sleeper(void *arg)
{
    pause();
    return arg;
}
CASE(exit_group_ends_all_threads)
{
    pid_t p = FORK({
        pthread_t t;
        for (int i = 0; i < 8; i++)
            pthread_create(&t, NULL, sleeper, NULL);
        _exit(11);
    });
    EXPECT_EXITED(p, 11);
}

static void *exit_group_from_thread(void *arg)
{
    usleep(10000);
    _exit((int)(long)arg);
}
CASE(exit_group_from_another_thread)
{
    pid_t p = FORK({
        pthread_t t;
        pthread_create(&t, NULL, exit_group_from_thread, (void *)12L);
        pause();
    });
    EXPECT_EXITED(p, 12);
}

static void *late(void *arg)
{
    usleep(30000);
    syscall(SYS_exit, (int)(long)arg);
    return NULL;
}
CASE(last_thread_gives_the_status)
{
    pid_t p = FORK({
        pthread_t t;
        pthread_create(&t, NULL, late, (void *)22L);
        syscall(SYS_exit, 21);
    });
    EXPECT_EXITED(p, 22);
}

CASE(unshare_files)
{
    EXPECT_OK(unshare(CLONE_FILES | CLONE_FS));
    EXPECT_ERRNO(EINVAL, unshare(CLONE_PARENT_SETTID));
}
CASE(clone3_refuses_what_goes_to_one_place)
{
    int number;
    struct {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
        uint64_t set_tid, set_tid_size, cgroup;
    } args = {.flags = CLONE_PIDFD | CLONE_PARENT_SETTID,
              .pidfd = (uintptr_t)&number,
              .parent_tid = (uintptr_t)&number,
              .exit_signal = SIGCHLD};
    EXPECT_ERRNO(EINVAL, syscall(SYS_clone3, &args, 64));
    args.flags = 0x200000000ull; /* CLONE_INTO_CGROUP */
    EXPECT_ERRNO(EINVAL, syscall(SYS_clone3, &args, 64));
    args.cgroup = 1ull << 31;
    EXPECT_ERRNO(EINVAL, syscall(SYS_clone3, &args, 88));
    args.cgroup = INT32_MAX;
    EXPECT_ERRNO(EBADF, syscall(SYS_clone3, &args, 88));
}

TEST_MAIN
