/* set*uid(2), set*gid(2), setgroups(2), capget(2), capset(2), and what they permit. */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>

#define NEED_ROOT                                                                                  \
    do {                                                                                           \
        if (geteuid() != 0)                                                                        \
            SKIP("needs root");                                                                    \
    } while (0)

static void expect_uids(uid_t r, uid_t e, uid_t s)
{
    uid_t a, b, c;
    EXPECT_OK(syscall(SYS_getresuid, &a, &b, &c));
    EXPECT_EQ(a, r);
    EXPECT_EQ(b, e);
    EXPECT_EQ(c, s);
}
static void expect_gids(gid_t r, gid_t e, gid_t s)
{
    gid_t a, b, c;
    EXPECT_OK(syscall(SYS_getresgid, &a, &b, &c));
    EXPECT_EQ(a, r);
    EXPECT_EQ(b, e);
    EXPECT_EQ(c, s);
}

struct caps {
    uint32_t effective, permitted, inheritable;
};
static uint64_t effective_caps(void)
{
    struct {
        uint32_t version;
        int pid;
    } h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct caps d[2];
    EXPECT_OK(syscall(SYS_capget, &h, d));
    return (uint64_t)d[1].effective << 32 | d[0].effective;
}

CASE(setuid_as_root_sets_all)
{
    NEED_ROOT;
    EXPECT_OK(syscall(SYS_setuid, 1000));
    expect_uids(1000, 1000, 1000);
    EXPECT_ERRNO(EPERM, syscall(SYS_setuid, 0));
    EXPECT_EQ(effective_caps(), 0);
    EXPECT_ERRNO(EINVAL, syscall(SYS_setuid, -1));
}

CASE(setresuid_rules)
{
    NEED_ROOT;
    EXPECT_OK(syscall(SYS_setresuid, 1, 2, 3));
    expect_uids(1, 2, 3);
    EXPECT_ERRNO(EPERM, syscall(SYS_setresuid, 4, -1, -1));
    EXPECT_OK(syscall(SYS_setresuid, 3, 1, 2));
    expect_uids(3, 1, 2);
    EXPECT_OK(syscall(SYS_setresuid, -1, -1, -1));
    EXPECT_OK(syscall(SYS_setuid, 3));
    expect_uids(3, 3, 2);
}

CASE(setreuid_rules)
{
    NEED_ROOT;
    EXPECT_OK(syscall(SYS_setresuid, 1, 2, 3));
    EXPECT_OK(syscall(SYS_setreuid, 2, -1));
    expect_uids(2, 2, 2);
    EXPECT_ERRNO(EPERM, syscall(SYS_setreuid, 5, -1));
    EXPECT_ERRNO(EPERM, syscall(SYS_setreuid, -1, 5));
}

CASE(groups_ids)
{
    NEED_ROOT;
    EXPECT_OK(syscall(SYS_setresgid, 1, 2, 3));
    expect_gids(1, 2, 3);
    EXPECT_OK(syscall(SYS_setregid, 5, 6));
    expect_gids(5, 6, 6);
    EXPECT_OK(syscall(SYS_setgid, 7));
    expect_gids(7, 7, 7);
    EXPECT_OK(syscall(SYS_setuid, 1000));
    EXPECT_ERRNO(EPERM, syscall(SYS_setgid, 0));
    EXPECT_ERRNO(EPERM, syscall(SYS_setresgid, 0, 0, 0));
}

CASE(supplementary_groups)
{
    NEED_ROOT;
    gid_t set[3] = {30, 10, 20}, got[3];
    EXPECT_OK(syscall(SYS_setgroups, 3, set));
    EXPECT_EQ(syscall(SYS_getgroups, 0, NULL), 3);
    EXPECT_ERRNO(EINVAL, syscall(SYS_getgroups, 2, got));
    EXPECT_ERRNO(EINVAL, syscall(SYS_getgroups, -1, got));
    EXPECT_EQ(syscall(SYS_getgroups, 3, got), 3);
    EXPECT_EQ(got[0] + got[1] + got[2], 60);
    EXPECT_ERRNO(EINVAL, syscall(SYS_setgroups, 65537, set));
    EXPECT_ERRNO(EFAULT, syscall(SYS_setgroups, 3, 8));
    EXPECT_OK(syscall(SYS_setgroups, 0, NULL));
    EXPECT_EQ(syscall(SYS_getgroups, 0, NULL), 0);
    EXPECT_OK(syscall(SYS_setuid, 1000));
    EXPECT_ERRNO(EPERM, syscall(SYS_setgroups, 0, NULL));
}

CASE(keepcaps)
{
    NEED_ROOT;
    EXPECT_OK(prctl(PR_SET_KEEPCAPS, 1));
    EXPECT_OK(syscall(SYS_setresuid, 1000, 1000, 1000));
    struct {
        uint32_t version;
        int pid;
    } h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct caps d[2];
    EXPECT_OK(syscall(SYS_capget, &h, d));
    EXPECT_EQ(d[0].effective, 0);
    EXPECT_NE(d[0].permitted, 0);
    d[0].effective = 1 << CAP_SETUID;
    EXPECT_OK(syscall(SYS_capset, &h, d));
    EXPECT_OK(syscall(SYS_setuid, 0));
}

CASE(capset_rules)
{
    struct {
        uint32_t version;
        int pid;
    } h = {0x1234, 0};
    struct caps d[2] = {{0, 0, 0}, {0, 0, 0}};
    EXPECT_ERRNO(EINVAL, syscall(SYS_capget, &h, d));
    EXPECT_EQ(h.version, _LINUX_CAPABILITY_VERSION_3);
    h.pid = 0x3fffff;
    EXPECT_ERRNO(ESRCH, syscall(SYS_capget, &h, d));
    h.pid = -1;
    EXPECT_ERRNO(EINVAL, syscall(SYS_capget, &h, d));
    h.pid = 0;
    EXPECT_OK(syscall(SYS_capset, &h, d));
    EXPECT_EQ(effective_caps(), 0);
    d[0].effective = 1;
    EXPECT_ERRNO(EPERM, syscall(SYS_capset, &h, d));
    d[0].permitted = 1;
    EXPECT_ERRNO(EPERM, syscall(SYS_capset, &h, d));
}

CASE(fsuid)
{
    NEED_ROOT;
    EXPECT_EQ(setfsuid(1000), 0);
    EXPECT_EQ(setfsuid((uid_t)-1), 1000);
    EXPECT_EQ(setfsgid(1000), 0);
    EXPECT_EQ(setfsgid((gid_t)-1), 1000);
}

CASE(kill_needs_the_same_user)
{
    NEED_ROOT;
    pid_t p = FORK({ pause(); });
    pid_t q = FORK({
        EXPECT_OK(syscall(SYS_setuid, 1000));
        EXPECT_ERRNO(EPERM, kill(p, SIGTERM));
        EXPECT_ERRNO(EPERM, kill(p, 0));
        EXPECT_ERRNO(EPERM, syscall(SYS_tgkill, p, p, SIGTERM));
        EXPECT_ERRNO(EPERM, kill(1, SIGKILL));
    });
    EXPECT_EXITED(q, 0);
    kill(p, SIGKILL);
    EXPECT_KILLED(p, SIGKILL);
}

CASE(set_user_id_programs)
{
    NEED_ROOT;
    char self[512];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    EXPECT_GT(n, 0);
    self[n] = 0;
    char command[2048];
    snprintf(command, sizeof(command),
             "cp /usr/bin/id %s; chmod 755 %s; chown 1234 %s; chmod 4755 %s", test_path("id"),
             test_dir(), test_path("id"), test_path("id"));
    EXPECT_EQ(system(command), 0);
    snprintf(command, sizeof(command), "test $(%s -u) = 1234", test_path("id"));
    if (system(command) != 0) {
        struct stat st;
        EXPECT_OK(stat(test_path("id"), &st));
        EXPECT_EQ(st.st_mode & 04777, 04755);
        SKIP("the directory is on a nosuid mount");
    }
    EXPECT_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    EXPECT_NE(system(command), 0);
}
TEST_MAIN
