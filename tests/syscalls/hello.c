/* The least that a program does: it starts, asks who it is, writes and ends. */
#include "tests/syscalls/test.h"

CASE(write_to_pipe)
{
    int fds[2];
    char buf[8];
    EXPECT_OK(pipe(fds));
    EXPECT_EQ(write(fds[1], "hello", 5), 5);
    EXPECT_EQ(read(fds[0], buf, sizeof(buf)), 5);
    EXPECT_MEMEQ(buf, "hello", 5);
}

CASE(unknown_call)
{
    EXPECT_ERRNO(ENOSYS, syscall(1000));
    EXPECT_ERRNO(ENOSYS, syscall(-1));
    EXPECT_ERRNO(ENOSYS, syscall(INT64_MAX));
}

CASE(pids)
{
    EXPECT_EQ(getpid(), syscall(SYS_gettid));
    EXPECT_EQ(getpgrp(), getpid());
    pid_t parent = getpid();
    EXPECT_EXITED(FORK({ EXPECT_EQ(getppid(), parent); }), 0);
}

CASE(exit_statuses)
{
    EXPECT_EXITED(FORK({ _exit(42); }), 42);
    EXPECT_EXITED(FORK({ _exit(0x1ff); }), 0xff);
    EXPECT_KILLED(FORK({ raise(SIGKILL); }), SIGKILL);
}

TEST_MAIN
