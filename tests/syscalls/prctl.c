/* prctl(2), personality(2). */
#include "tests/syscalls/test.h"
#include <linux/capability.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>

CASE(names)
{
    char name[17] = "";
    EXPECT_OK(prctl(PR_SET_NAME, "a-name-that-is-too-long"));
    EXPECT_OK(prctl(PR_GET_NAME, name));
    EXPECT_STREQ(name, "a-name-that-is-");
    EXPECT_OK(prctl(PR_SET_NAME, ""));
    EXPECT_OK(prctl(PR_GET_NAME, name));
    EXPECT_STREQ(name, "");
    EXPECT_ERRNO(EFAULT, prctl(PR_SET_NAME, 8));
    EXPECT_ERRNO(EFAULT, prctl(PR_GET_NAME, 8));
    /* A short name at the very end of a page. */
    char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(p + 4096, 4096);
    memcpy(p + 4092, "abc", 4);
    EXPECT_OK(prctl(PR_SET_NAME, p + 4092));
    EXPECT_OK(prctl(PR_GET_NAME, name));
    EXPECT_STREQ(name, "abc");
}

CASE(unknown)
{
    EXPECT_ERRNO(EINVAL, prctl(9999, 0, 0, 0, 0));
    EXPECT_ERRNO(EINVAL, prctl(-1, 0, 0, 0, 0));
}

CASE(parent_death_signal)
{
    int sig = -1;
    EXPECT_OK(prctl(PR_GET_PDEATHSIG, &sig));
    EXPECT_EQ(sig, 0);
    EXPECT_OK(prctl(PR_SET_PDEATHSIG, SIGUSR1));
    EXPECT_OK(prctl(PR_GET_PDEATHSIG, &sig));
    EXPECT_EQ(sig, SIGUSR1);
    EXPECT_ERRNO(EINVAL, prctl(PR_SET_PDEATHSIG, 65));
    EXPECT_EXITED(FORK({
                      EXPECT_OK(prctl(PR_GET_PDEATHSIG, &sig));
                      EXPECT_EQ(sig, 0);
                  }),
                  0);
}

CASE(no_new_privs)
{
    EXPECT_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 0);
    EXPECT_ERRNO(EINVAL, prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    EXPECT_ERRNO(EINVAL, prctl(PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0));
    EXPECT_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    EXPECT_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
    EXPECT_EXITED(FORK({ EXPECT_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1); }), 0);
    EXPECT_ERRNO(EINVAL, prctl(PR_GET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

CASE(dumpable)
{
    EXPECT_EQ(prctl(PR_GET_DUMPABLE), 1);
    EXPECT_OK(prctl(PR_SET_DUMPABLE, 0));
    EXPECT_EQ(prctl(PR_GET_DUMPABLE), 0);
    EXPECT_ERRNO(EINVAL, prctl(PR_SET_DUMPABLE, 2));
}

CASE(keepcaps)
{
    EXPECT_EQ(prctl(PR_GET_KEEPCAPS), 0);
    EXPECT_OK(prctl(PR_SET_KEEPCAPS, 1));
    EXPECT_EQ(prctl(PR_GET_KEEPCAPS), 1);
    EXPECT_ERRNO(EINVAL, prctl(PR_SET_KEEPCAPS, 2));
}

CASE(timer_slack)
{
    int was = prctl(PR_GET_TIMERSLACK);
    EXPECT_GT(was, 0);
    EXPECT_OK(prctl(PR_SET_TIMERSLACK, 1234));
    EXPECT_EQ(prctl(PR_GET_TIMERSLACK), 1234);
    EXPECT_OK(prctl(PR_SET_TIMERSLACK, 0));
    EXPECT_EQ(prctl(PR_GET_TIMERSLACK), was);
}

CASE(capabilities)
{
    EXPECT_GE(prctl(PR_CAPBSET_READ, CAP_CHOWN), 0);
    EXPECT_ERRNO(EINVAL, prctl(PR_CAPBSET_READ, 64));
    EXPECT_EQ(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0), 0);
    EXPECT_ERRNO(EINVAL, prctl(PR_CAP_AMBIENT, 99, 0, 0, 0));
    EXPECT_ERRNO(EINVAL, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 1, 0));
    EXPECT_OK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
    EXPECT_EQ(prctl(PR_GET_SECCOMP), 0);
}

CASE(tid_address)
{
    int *word = NULL;
    int mine;
    if (prctl(PR_GET_TID_ADDRESS, &word) < 0)
        SKIP("built without CONFIG_CHECKPOINT_RESTORE");
    EXPECT_EQ(syscall(SYS_set_tid_address, &mine), gettid());
    EXPECT_OK(prctl(PR_GET_TID_ADDRESS, &word));
    EXPECT_EQ(word, &mine);
}

CASE(personalities)
{
    int was = personality(0xffffffff);
    EXPECT_EQ(personality((unsigned long)was | ADDR_NO_RANDOMIZE), was);
    EXPECT_EQ(personality(0xffffffff), was | ADDR_NO_RANDOMIZE);
    EXPECT_EXITED(FORK({ EXPECT_EQ(personality(0xffffffff), was | ADDR_NO_RANDOMIZE); }), 0);
}
TEST_MAIN
