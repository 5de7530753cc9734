/* execve(2), execveat(2): what goes, what stays. The test runs itself with --no-fork and a case. */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/time.h>

/* This program, opened before anything else, so that it can be executed wherever it is. */
static char self[512];
__attribute__((constructor)) static void find_self(void)
{
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n > 0)
        self[n] = 0;
}

static void run_self(const char *name)
{
    char *argv[] = {"x", "--no-fork", "--only-child", NULL};
    setenv("EXEC_CASE", name, 1);
    execv(self, argv);
    _exit(126);
}

/* The second life: what the environment says, before main. */
__attribute__((constructor(65535))) static void second_life(void)
{
    const char *name = getenv("EXEC_CASE");
    if (!name)
        return;
    sigset_t set;
    struct sigaction sa;
    int ok = 1;
    if (!strcmp(name, "signals")) {
        sigprocmask(SIG_SETMASK, NULL, &set);
        ok = sigismember(&set, SIGUSR1);
        sigpending(&set);
        ok = ok && sigismember(&set, SIGUSR1);
        sigaction(SIGUSR2, NULL, &sa);
        ok = ok && sa.sa_handler == SIG_DFL;
        sigaction(SIGHUP, NULL, &sa);
        ok = ok && sa.sa_handler == SIG_IGN;
        stack_t ss;
        sigaltstack(NULL, &ss);
        ok = ok && ss.ss_flags == SS_DISABLE;
    } else if (!strcmp(name, "cloexec")) {
        ok = fcntl(100, F_GETFD) == -1 && fcntl(101, F_GETFD) == 0;
    } else if (!strcmp(name, "alarm")) {
        ok = alarm(0) > 0;
    } else if (!strcmp(name, "comm")) {
        char comm[17] = "";
        prctl(PR_GET_NAME, comm);
        ok = strncmp(comm, strrchr(self, '/') + 1, 15) == 0;
    } else if (!strcmp(name, "pid")) {
        ok = getpid() == atoi(getenv("EXEC_PID")) && getpid() == gettid();
    } else if (!strcmp(name, "exit")) {
        ok = 1;
    }
    _exit(ok ? 0 : 1);
}

static void handler(int sig)
{
    (void)sig;
}

CASE(errors)
{
    char *argv[] = {"x", NULL}, *envp[] = {NULL};
    EXPECT_ERRNO(ENOENT, execve("/no/such/file", argv, envp));
    EXPECT_ERRNO(EACCES, execve("/etc", argv, envp));
    EXPECT_ERRNO(EFAULT, syscall(SYS_execve, 8, argv, envp));
    EXPECT_ERRNO(EFAULT, syscall(SYS_execve, self, 8, envp));
    EXPECT_ERRNO(ENOTDIR, execve("/etc/passwd/x", argv, envp));
    EXPECT_ERRNO(ENOENT, execve("", argv, envp));
    int fd = open(test_path("noexec"), O_CREAT | O_WRONLY, 0600);
    EXPECT_ERRNO(EACCES, execve(test_path("noexec"), argv, envp));
    close(fd);
    fd = open(test_path("empty"), O_CREAT | O_WRONLY, 0700);
    EXPECT_ERRNO(ETXTBSY, execve(test_path("empty"), argv, envp));
    close(fd);
    EXPECT_ERRNO(ENOEXEC, execve(test_path("empty"), argv, envp));
    EXPECT_ERRNO(EINVAL, syscall(SYS_execveat, AT_FDCWD, self, argv, envp, 0x40000000));
    EXPECT_ERRNO(EBADF, syscall(SYS_execveat, 99, "x", argv, envp, 0));
}

CASE(signal_state)
{
    pid_t p = FORK({
        static char stack[65536];
        stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack)};
        sigset_t set;
        sigaltstack(&ss, NULL);
        sigemptyset(&set);
        sigaddset(&set, SIGUSR1);
        sigprocmask(SIG_BLOCK, &set, NULL);
        raise(SIGUSR1);
        signal(SIGUSR2, handler);
        signal(SIGHUP, SIG_IGN);
        run_self("signals");
    });
    EXPECT_EXITED(p, 0);
}

CASE(close_on_exec)
{
    pid_t p = FORK({
        int fd = open("/dev/null", O_RDONLY);
        EXPECT_OK(dup3(fd, 100, O_CLOEXEC));
        EXPECT_OK(dup2(fd, 101));
        run_self("cloexec");
    });
    EXPECT_EXITED(p, 0);
}

CASE(alarm_stays)
{
    pid_t p = FORK({
        alarm(100);
        run_self("alarm");
    });
    EXPECT_EXITED(p, 0);
}

CASE(name)
{
    pid_t p = FORK({
        prctl(PR_SET_NAME, "other");
        run_self("comm");
    });
    EXPECT_EXITED(p, 0);
}

static void *sleeper(void *arg)
{
    for (;;)
        pause();
    return arg;
}
static void *exec_in_thread(void *arg)
{
    usleep(10000);
    run_self("pid");
    return arg;
}
CASE(threads_are_gone)
{
    pid_t p = FORK({
        char text[20];
        snprintf(text, sizeof(text), "%d", getpid());
        setenv("EXEC_PID", text, 1);
        pthread_t t;
        for (int i = 0; i < 4; i++)
            pthread_create(&t, NULL, sleeper, NULL);
        run_self("pid");
    });
    EXPECT_EXITED(p, 0);
}
CASE(a_thread_takes_over)
{
    for (int i = 0; i < 20; i++) {
        pid_t p = FORK({
            char text[20];
            snprintf(text, sizeof(text), "%d", getpid());
            setenv("EXEC_PID", text, 1);
            pthread_t t;
            pthread_create(&t, NULL, sleeper, NULL);
            pthread_create(&t, NULL, exec_in_thread, NULL);
            pause();
        });
        EXPECT_EXITED(p, 0);
    }
}
CASE(two_threads_race)
{
    for (int i = 0; i < 20; i++) {
        pid_t p = FORK({
            char text[20];
            snprintf(text, sizeof(text), "%d", getpid());
            setenv("EXEC_PID", text, 1);
            pthread_t t;
            pthread_create(&t, NULL, exec_in_thread, NULL);
            pthread_create(&t, NULL, exec_in_thread, NULL);
            pause();
        });
        EXPECT_EXITED(p, 0);
    }
}

static char stack[65536] __attribute__((aligned(16)));
static int exec_child(void *arg)
{
    (void)arg;
    run_self("exit");
    return 1;
}
CASE(shared_table_is_copied)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    pid_t p = clone(exec_child, stack + sizeof(stack),
                    CLONE_FILES | CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    EXPECT_EXITED(p, 0);
    EXPECT_OK(fcntl(fd, F_GETFD)); /* ours was not closed */
}

CASE(shared_handlers_are_copied)
{
    struct sigaction sa;
    signal(SIGUSR2, handler);
    pid_t p = clone(exec_child, stack + sizeof(stack),
                    CLONE_SIGHAND | CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
    EXPECT_EXITED(p, 0);
    EXPECT_OK(sigaction(SIGUSR2, NULL, &sa));
    EXPECT_EQ(sa.sa_handler, handler);
}

CASE(by_descriptor)
{
    pid_t p = FORK({
        int fd = EXPECT_OK(open(self, O_PATH));
        char *argv[] = {"x", NULL};
        char *envp[] = {"EXEC_CASE=exit", NULL};
        syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH);
        _exit(126);
    });
    EXPECT_EXITED(p, 0);
}

CASE(arguments_too_long)
{
    enum { MANY = 100 };
    static char *argv[MANY + 1];
    char *big = malloc(131072 + 10);
    memset(big, 'a', 131072);
    big[131072] = 0;
    argv[0] = big;
    EXPECT_ERRNO(E2BIG, execv(self, argv));
    big[100000] = 0;
    for (int i = 0; i < MANY; i++)
        argv[i] = big;
    EXPECT_ERRNO(E2BIG, execv(self, argv));
}
TEST_MAIN
