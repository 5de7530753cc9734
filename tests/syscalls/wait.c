/* wait4(2), waitid(2), SIGCHLD, reparenting. */
#include "tests/syscalls/test.h"
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>

CASE(errors)
{
    EXPECT_ERRNO(ECHILD, waitpid(-1, NULL, 0));
    EXPECT_ERRNO(ECHILD, waitpid(-1, NULL, WNOHANG));
    EXPECT_ERRNO(EINVAL, waitpid(-1, NULL, 0x10000000));
    EXPECT_ERRNO(ESRCH, waitpid(INT32_MIN, NULL, 0));
    EXPECT_ERRNO(ECHILD, waitpid(getpid(), NULL, 0));
    siginfo_t info;
    EXPECT_ERRNO(EINVAL, waitid(P_ALL, 0, &info, 0));
    EXPECT_ERRNO(EINVAL, waitid(P_ALL, 0, &info, WNOHANG));
    EXPECT_ERRNO(EINVAL, waitid(P_PID, 0, &info, WEXITED));
    EXPECT_ERRNO(EINVAL, waitid(99, 1, &info, WEXITED));
    EXPECT_ERRNO(ECHILD, waitid(P_ALL, 0, &info, WEXITED));
    EXPECT_ERRNO(EBADF, waitid(P_PIDFD, 99, &info, WEXITED));
}

CASE(nohang)
{
    pid_t p = FORK({ pause(); });
    int status = 77;
    EXPECT_EQ(waitpid(p, &status, WNOHANG), 0);
    EXPECT_EQ(status, 77);
    siginfo_t info;
    memset(&info, 0xff, sizeof(info));
    EXPECT_OK(waitid(P_PID, (id_t)p, &info, WEXITED | WNOHANG));
    EXPECT_EQ(info.si_pid, 0);
    EXPECT_EQ(info.si_signo, 0);
    kill(p, SIGKILL);
    EXPECT_KILLED(p, SIGKILL);
}

CASE(nowait_leaves_the_zombie)
{
    pid_t p = FORK({ _exit(3); });
    siginfo_t info;
    for (int i = 0; i < 3; i++) {
        EXPECT_OK(waitid(P_PID, (id_t)p, &info, WEXITED | WNOWAIT));
        EXPECT_EQ(info.si_signo, SIGCHLD);
        EXPECT_EQ(info.si_code, CLD_EXITED);
        EXPECT_EQ(info.si_status, 3);
        EXPECT_EQ(info.si_pid, p);
        EXPECT_EQ(info.si_uid, getuid());
    }
    EXPECT_OK(kill(p, 0));
    EXPECT_EXITED(p, 3);
    EXPECT_ERRNO(ESRCH, kill(p, 0));
}

CASE(by_process_group)
{
    pid_t p = FORK({
        setpgid(0, 0);
        _exit(1);
    });
    setpgid(p, p);
    pid_t q = FORK({ _exit(2); });
    int status;
    EXPECT_EQ(waitpid(-p, &status, 0), p);
    EXPECT_EQ(waitpid(0, &status, 0), q);
    EXPECT_ERRNO(ECHILD, waitpid(-p, &status, 0));
}

CASE(stop_and_continue)
{
    pid_t p = FORK({
        for (;;)
            pause();
    });
    int status;
    kill(p, SIGSTOP);
    EXPECT_EQ(waitpid(p, &status, WUNTRACED), p);
    EXPECT(WIFSTOPPED(status));
    EXPECT_EQ(WSTOPSIG(status), SIGSTOP);
    EXPECT_EQ(waitpid(p, &status, WUNTRACED | WNOHANG), 0);
    kill(p, SIGCONT);
    EXPECT_EQ(waitpid(p, &status, WCONTINUED), p);
    EXPECT(WIFCONTINUED(status));
    EXPECT_EQ(waitpid(p, &status, WCONTINUED | WNOHANG), 0);
    siginfo_t info;
    kill(p, SIGTSTP);
    EXPECT_OK(waitid(P_PID, (id_t)p, &info, WSTOPPED));
    EXPECT_EQ(info.si_code, CLD_STOPPED);
    EXPECT_EQ(info.si_status, SIGTSTP);
    kill(p, SIGCONT);
    EXPECT_OK(waitid(P_PID, (id_t)p, &info, WCONTINUED));
    EXPECT_EQ(info.si_code, CLD_CONTINUED);
    EXPECT_EQ(info.si_status, SIGCONT);
    kill(p, SIGSTOP);
    kill(p, SIGKILL);
    EXPECT_KILLED(p, SIGKILL);
}

static volatile sig_atomic_t chld_count, chld_code, chld_status, chld_pid;
static void on_chld(int sig, siginfo_t *info, void *uc)
{
    (void)sig;
    (void)uc;
    chld_count++;
    chld_code = info->si_code;
    chld_status = info->si_status;
    chld_pid = info->si_pid;
}
static void catch_chld(int flags)
{
    struct sigaction sa = {.sa_sigaction = on_chld, .sa_flags = SA_SIGINFO | flags};
    EXPECT_OK(sigaction(SIGCHLD, &sa, NULL));
}

CASE(sigchld_siginfo)
{
    catch_chld(SA_RESTART);
    pid_t p = FORK({ _exit(42); });
    EXPECT_EXITED(p, 42);
    EXPECT_EQ(chld_count, 1);
    EXPECT_EQ(chld_code, CLD_EXITED);
    EXPECT_EQ(chld_status, 42);
    EXPECT_EQ(chld_pid, p);
    p = FORK({ raise(SIGKILL); });
    EXPECT_KILLED(p, SIGKILL);
    EXPECT_EQ(chld_count, 2);
    EXPECT_EQ(chld_code, CLD_KILLED);
    EXPECT_EQ(chld_status, SIGKILL);
}

CASE(sigchld_of_stops)
{
    catch_chld(SA_RESTART);
    pid_t p = FORK({
        raise(SIGSTOP);
        pause();
    });
    int status;
    EXPECT_EQ(waitpid(p, &status, WUNTRACED), p);
    EXPECT_EQ(chld_code, CLD_STOPPED);
    EXPECT_EQ(chld_status, SIGSTOP);
    catch_chld(SA_RESTART | SA_NOCLDSTOP);
    chld_count = 0;
    kill(p, SIGCONT);
    EXPECT_EQ(waitpid(p, &status, WCONTINUED), p);
    EXPECT_EQ(chld_count, 0);
    kill(p, SIGKILL);
    EXPECT_KILLED(p, SIGKILL);
    EXPECT_EQ(chld_count, 1);
}

CASE(ignored_sigchld_reaps)
{
    signal(SIGCHLD, SIG_IGN);
    pid_t p = FORK({ _exit(1); });
    EXPECT_ERRNO(ECHILD, waitpid(p, NULL, 0));
    EXPECT_ERRNO(ESRCH, kill(p, 0));
    catch_chld(SA_NOCLDWAIT | SA_RESTART);
    p = FORK({ _exit(1); });
    EXPECT_ERRNO(ECHILD, waitpid(p, NULL, 0));
    EXPECT_EQ(chld_count, 1);
}

static void on_alarm(int sig)
{
    (void)sig;
}
CASE(interrupted)
{
    struct sigaction sa = {.sa_handler = on_alarm};
    pid_t p = FORK({
        usleep(300000);
        _exit(8);
    });
    sigaction(SIGALRM, &sa, NULL);
    ualarm(20000, 0);
    EXPECT_ERRNO(EINTR, waitpid(p, NULL, 0));
    sa.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &sa, NULL);
    ualarm(20000, 0);
    EXPECT_EXITED(p, 8);
}

static void *wait_in_thread(void *arg)
{
    int status = -1;
    EXPECT_EQ(waitpid(*(pid_t *)arg, &status, 0), *(pid_t *)arg);
    return (void *)(long)status;
}
CASE(any_thread_may_wait)
{
    pid_t p = FORK({
        usleep(20000);
        _exit(5);
    });
    pthread_t t;
    void *status;
    pthread_create(&t, NULL, wait_in_thread, &p);
    pthread_join(t, &status);
    EXPECT_EQ((long)status, 0x500);
}

CASE(child_subreaper)
{
    int on = 0;
    EXPECT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    EXPECT_OK(prctl(PR_GET_CHILD_SUBREAPER, &on));
    EXPECT_EQ(on, 1);
    pid_t me = getpid();
    pid_t p = FORK({
        FORK({
            while (getppid() != me)
                usleep(1000);
            _exit(33);
        });
        _exit(0);
    });
    EXPECT_EXITED(p, 0);
    int status;
    EXPECT(wait(&status) > 0);
    EXPECT_EQ(WEXITSTATUS(status), 33);
}

CASE(parent_death_signal)
{
    int fd[2];
    char c;
    EXPECT_OK(pipe(fd));
    pid_t p = FORK({
        int ready[2];
        EXPECT_OK(pipe(ready));
        FORK({
            close(fd[0]);
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            EXPECT_EQ(write(ready[1], "x", 1), 1);
            pause();
        });
        EXPECT_EQ(read(ready[0], &c, 1), 1);
    });
    EXPECT_EXITED(p, 0);
    close(fd[1]);
    EXPECT_EQ(read(fd[0], &c, 1), 0); /* the grandchild is gone */
}

CASE(usage_of_children)
{
    struct rusage ru;
    int status;
    pid_t p = FORK({
        for (volatile long i = 0; i < 30000000; i++) {
        }
    });
    EXPECT_EQ(wait4(p, &status, 0, &ru), p);
    EXPECT_GT(ru.ru_utime.tv_sec * 1000000 + ru.ru_utime.tv_usec, 0);
    struct rusage all;
    EXPECT_OK(getrusage(RUSAGE_CHILDREN, &all));
    EXPECT_GE(all.ru_utime.tv_sec * 1000000 + all.ru_utime.tv_usec,
              ru.ru_utime.tv_sec * 1000000 + ru.ru_utime.tv_usec);
}

CASE(crash_reports_the_signal)
{
    EXPECT_KILLED(FORK({ *(volatile int *)8 = 1; }), SIGSEGV);
    EXPECT_KILLED(FORK({ asm volatile("ud2"); }), SIGILL);
    EXPECT_KILLED(FORK({ asm volatile("int3"); }), SIGTRAP);
    EXPECT_KILLED(FORK({ asm volatile("hlt"); }), SIGSEGV);
    EXPECT_KILLED(FORK({
                      volatile int zero = 0;
                      zero = 5 / zero;
                  }),
                  SIGFPE);
}
TEST_MAIN
