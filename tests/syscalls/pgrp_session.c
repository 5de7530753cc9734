/* setpgid(2), getpgid(2), setsid(2), getsid(2), orphaned groups, kill(2) of groups. */
#include "tests/syscalls/test.h"

static void wait_byte(int fd)
{
    char c;
    EXPECT_EQ(read(fd, &c, 1), 1);
}

CASE(errors)
{
    EXPECT_ERRNO(EINVAL, setpgid(0, -1));
    EXPECT_ERRNO(ESRCH, setpgid(0x3fffff, 0));
    EXPECT_ERRNO(ESRCH, getpgid(0x3fffff));
    EXPECT_ERRNO(ESRCH, getsid(0x3fffff));
    EXPECT_ERRNO(EPERM, setpgid(0, 0x3fffff));
    EXPECT_ERRNO(ESRCH, setpgid(getppid(), 0));
    EXPECT_ERRNO(EPERM, setsid()); /* the case leads a group */
}

CASE(inherited)
{
    EXPECT_EQ(getpgid(0), getpgrp());
    EXPECT_EQ(getpgid(getpid()), getpgrp());
    pid_t group = getpgrp(), session = getsid(0);
    pid_t p = FORK({
        EXPECT_EQ(getpgrp(), group);
        EXPECT_EQ(getsid(0), session);
    });
    EXPECT_EXITED(p, 0);
}

CASE(new_group_and_back)
{
    pid_t group = getpgrp();
    pid_t p = FORK({
        EXPECT_OK(setpgid(0, 0));
        EXPECT_EQ(getpgrp(), getpid());
        EXPECT_OK(setpgid(0, group));
        EXPECT_EQ(getpgrp(), group);
    });
    EXPECT_EXITED(p, 0);
}

CASE(parent_moves_its_child)
{
    int fd[2];
    EXPECT_OK(pipe(fd));
    pid_t p = FORK({
        wait_byte(fd[0]);
        EXPECT_EQ(getpgrp(), getpid());
    });
    EXPECT_OK(setpgid(p, p));
    EXPECT_EQ(getpgid(p), p);
    EXPECT_EQ(write(fd[1], "x", 1), 1);
    EXPECT_EXITED(p, 0);
}

CASE(not_after_exec)
{
    int fd[2];
    EXPECT_OK(pipe2(fd, 02000000));
    pid_t p = FORK({
        char *argv[] = {"sleep", "5", NULL};
        execv("/bin/sleep", argv);
    });
    close(fd[1]);
    char c;
    EXPECT_EQ(read(fd[0], &c, 1), 0);
    EXPECT_ERRNO(EACCES, setpgid(p, p));
    kill(p, SIGKILL);
    EXPECT_KILLED(p, SIGKILL);
}

CASE(sessions)
{
    int fd[2];
    EXPECT_OK(pipe(fd));
    pid_t p = FORK({
        EXPECT_EQ(setsid(), getpid());
        EXPECT_EQ(getsid(0), getpid());
        EXPECT_EQ(getpgrp(), getpid());
        EXPECT_ERRNO(EPERM, setsid());
        EXPECT_ERRNO(EPERM, setpgid(0, 0));
        EXPECT_EQ(write(fd[1], "x", 1), 1);
        pause();
    });
    wait_byte(fd[0]);
    EXPECT_EQ(getsid(p), p);
    EXPECT_ERRNO(EPERM, setpgid(p, getpgrp()));
    kill(p, SIGKILL);
    EXPECT_KILLED(p, SIGKILL);
}

CASE(kill_a_group)
{
    pid_t p[3];
    for (int i = 0; i < 3; i++) {
        p[i] = FORK({
            for (;;)
                pause();
        });
        EXPECT_OK(setpgid(p[i], p[0]));
    }
    EXPECT_OK(kill(-p[0], 0));
    EXPECT_OK(kill(-p[0], SIGTERM));
    for (int i = 0; i < 3; i++)
        EXPECT_KILLED(p[i], SIGTERM);
    EXPECT_ERRNO(ESRCH, kill(-p[0], 0));
}

CASE(a_zombie_keeps_its_group)
{
    pid_t p = FORK({ _exit(0); });
    setpgid(p, p);
    siginfo_t info;
    EXPECT_OK(waitid(P_PID, (id_t)p, &info, WEXITED | WNOWAIT));
    EXPECT_EXITED(p, 0);
}

static volatile sig_atomic_t hup, cont;
static void on_signal(int sig)
{
    if (sig == SIGHUP)
        hup = 1;
    else
        cont = 1;
}
CASE(orphaned_stopped_groups_are_continued)
{
    int fd[2], status;
    EXPECT_OK(pipe(fd));
    pid_t p = FORK({
        setsid(); /* so that whoever adopts q is of another session */
        pid_t q = FORK({
            signal(SIGHUP, on_signal);
            signal(SIGCONT, on_signal);
            setpgid(0, 0);
            raise(SIGSTOP);
            char r[2] = {hup ? 'h' : '-', cont ? 'c' : '-'};
            EXPECT_EQ(write(fd[1], r, 2), 2);
        });
        setpgid(q, q);
        EXPECT_EQ(waitpid(q, &status, WUNTRACED), q);
        EXPECT(WIFSTOPPED(status));
    });
    EXPECT_EXITED(p, 0);
    char r[2];
    EXPECT_EQ(read(fd[0], r, 2), 2);
    EXPECT_EQ(r[0], 'h');
    EXPECT_EQ(r[1], 'c');
}

CASE(orphaned_groups_do_not_stop)
{
    pid_t p = FORK({
        setsid();
        signal(SIGTSTP, SIG_DFL);
        raise(SIGTSTP);
        raise(SIGTTIN);
        raise(SIGTTOU);
        _exit(4);
    });
    EXPECT_EXITED(p, 4);
}
CASE(setpgid_of_a_negative_process)
{
    EXPECT_ERRNO(EINVAL, setpgid(-1, 0));
    EXPECT_ERRNO(EINVAL, setpgid(0, -1));
    EXPECT_ERRNO(ESRCH, setpgid(-1, 1));
}

TEST_MAIN
