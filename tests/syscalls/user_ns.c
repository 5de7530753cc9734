/*
 * User namespaces: user_namespaces(7), id maps, capabilities in them.
 */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <time.h>

/* The rest of the case is done by user 1000, or by whoever we are already. */
static uid_t become_user(void)
{
    if (geteuid() == 0) {
        EXPECT_OK(setgroups(0, NULL));
        EXPECT_OK(setresgid(1000, 1000, 1000));
        EXPECT_OK(setresuid(1000, 1000, 1000));
        EXPECT_OK(prctl(PR_SET_DUMPABLE, 1));
    }
    return geteuid();
}

static void need_user_namespaces(void)
{
    pid_t pid = EXPECT_OK(fork());
    if (pid == 0)
        _exit(unshare(CLONE_NEWUSER) < 0);
    int status;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    if (status)
        SKIP("user namespaces cannot be made here");
}

static int put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = write(fd, text, strlen(text));
    int err = errno;
    close(fd);
    errno = err;
    return n < 0 ? -1 : 0;
}

static void expect_text(const char *path, const char *want)
{
    char text[256];
    int fd = EXPECT_OK(open(path, O_RDONLY));
    ssize_t n = EXPECT_OK(read(fd, text, sizeof(text) - 1));
    text[n] = 0;
    close(fd);
    EXPECT_STREQ(text, want);
}

static uint64_t effective(void)
{
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2];
    EXPECT_OK(syscall(SYS_capget, &h, d));
    return (uint64_t)d[1].effective << 32 | d[0].effective;
}

CASE(before_there_is_a_map)
{
    need_user_namespaces();
    become_user();
    EXPECT_EQ(effective(), 0);
    EXPECT_OK(unshare(CLONE_NEWUSER));
    EXPECT_EQ(getuid(), 65534);
    EXPECT_EQ(geteuid(), 65534);
    EXPECT_EQ(getgid(), 65534);
    EXPECT(effective() >> CAP_SYS_ADMIN & 1);
    expect_text("/proc/self/uid_map", "");
    expect_text("/proc/self/gid_map", "");
    expect_text("/proc/self/setgroups", "allow\n");
    EXPECT_ERRNO(EINVAL, setuid(0));
    EXPECT_ERRNO(EINVAL, setresuid(0, -1, -1));
    EXPECT_ERRNO(EINVAL, setgid(0));
    EXPECT_ERRNO(EPERM, setgroups(0, NULL));
}

CASE(map_of_root)
{
    need_user_namespaces();
    char line[64], want[64];
    uid_t uid = become_user();
    gid_t gid = getegid();
    EXPECT_OK(unshare(CLONE_NEWUSER));
    snprintf(line, sizeof(line), "0 %u 1\n", uid);
    EXPECT_OK(put("/proc/self/uid_map", line));
    EXPECT_EQ(getuid(), 0);
    snprintf(want, sizeof(want), "%10u %10u %10u\n", 0, uid, 1);
    expect_text("/proc/self/uid_map", want);
    /* Once only. */
    EXPECT_ERRNO(EPERM, put("/proc/self/uid_map", line));
    snprintf(line, sizeof(line), "0 %u 1\n", gid);
    EXPECT_ERRNO(EPERM, put("/proc/self/gid_map", line));
    EXPECT_OK(put("/proc/self/setgroups", "deny"));
    EXPECT_ERRNO(EPERM, put("/proc/self/setgroups", "allow"));
    EXPECT_OK(put("/proc/self/gid_map", line));
    EXPECT_EQ(getgid(), 0);
    EXPECT_ERRNO(EPERM, setgroups(0, NULL));
    EXPECT_OK(setuid(0));
    EXPECT_ERRNO(EINVAL, setuid(1));
    EXPECT_ERRNO(EINVAL, setreuid(5, -1));
}

CASE(others_files)
{
    need_user_namespaces();
    struct stat st;
    char line[64], path[256];
    uid_t uid = become_user();
    snprintf(path, sizeof(path), "%s", test_path("mine"));
    EXPECT_OK(close(EXPECT_OK(open(path, O_CREAT | O_WRONLY, 0600))));
    EXPECT_OK(unshare(CLONE_NEWUSER));
    snprintf(line, sizeof(line), "7 %u 1\n", uid);
    EXPECT_OK(put("/proc/self/uid_map", line));
    EXPECT_OK(stat("/", &st));
    EXPECT_EQ(st.st_uid, 65534);
    EXPECT_EQ(st.st_gid, 65534);
    EXPECT_OK(stat(path, &st));
    EXPECT_EQ(st.st_uid, 7);
    /* Capabilities do not count for files whose owner has no id here. */
    EXPECT_ERRNO(EPERM, chmod("/", 0777));
    EXPECT_ERRNO(EINVAL, chown(path, 8, -1));
    EXPECT_OK(chmod(path, 0640));
}

CASE(map_errors)
{
    need_user_namespaces();
    static const char *const wrong[] = {"",
                                        "0",
                                        "0 0",
                                        "a 0 1",
                                        "0 0 0",
                                        "0 0 1 2",
                                        "0 0 4294967296",
                                        "4294967295 0 1",
                                        "0 4294967295 1",
                                        "0 0 2\n1 5 1",
                                        "0 0 2\n7 1 1",
                                        "4294967290 0 10"};
    if (geteuid() != 0)
        SKIP("needs root");
    EXPECT_OK(unshare(CLONE_NEWUSER));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        if (wrong[i][0])
            EXPECT_ERRNO(EINVAL, put("/proc/self/uid_map", wrong[i]));
    }
    int fd = EXPECT_OK(open("/proc/self/uid_map", O_WRONLY));
    char big[5000];
    memset(big, ' ', sizeof(big));
    EXPECT_ERRNO(EINVAL, write(fd, big, sizeof(big)));
    EXPECT_ERRNO(EINVAL, put("/proc/self/setgroups", "maybe"));
}

/* Root of the parent namespace maps what it likes, many extents at once. */
CASE(map_by_the_parent)
{
    if (geteuid() != 0)
        SKIP("needs root");
    need_user_namespaces();
    int ready[2], go[2];
    char c, path[64], text[4096] = "";
    EXPECT_OK(pipe(ready));
    EXPECT_OK(pipe(go));
    pid_t pid = EXPECT_OK(fork());
    if (pid == 0) {
        EXPECT_OK(unshare(CLONE_NEWUSER));
        EXPECT_EQ(write(ready[1], "x", 1), 1);
        EXPECT_EQ(read(go[0], &c, 1), 1);
        EXPECT_EQ(getuid(), 0);
        gid_t groups[2] = {1000, 1001};
        EXPECT_OK(setgroups(2, groups));
        EXPECT_EQ(getgroups(2, groups), 2);
        EXPECT_EQ(groups[0], 1000);
        EXPECT_OK(setresgid(1003, 1003, 1003));
        EXPECT_OK(setresuid(1000, 1001, 1002));
        uid_t r, e, s;
        EXPECT_OK(getresuid(&r, &e, &s));
        EXPECT_EQ(r, 1000);
        EXPECT_EQ(e, 1001);
        EXPECT_EQ(s, 1002);
        _exit(0);
    }
    EXPECT_EQ(read(ready[0], &c, 1), 1);
    for (int i = 0; i < 340; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%d %d 1\n", i, i);
    snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
    if (strlen(text) < 4000) {
        strcat(text, "400 400 1\n");
        EXPECT_ERRNO(EINVAL, put(path, text)); /* 341 are too many */
    }
    EXPECT_OK(put(path, "0 0 1\n1000 101000 1000\n"));
    snprintf(path, sizeof(path), "/proc/%d/gid_map", pid);
    EXPECT_OK(put(path, "0 0 1\n1000 201000 1000"));
    EXPECT_EQ(write(go[1], "x", 1), 1);
    int status;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
}

CASE(unprivileged_writer_maps_but_himself)
{
    need_user_namespaces();
    char line[64];
    uid_t uid = become_user();
    EXPECT_OK(unshare(CLONE_NEWUSER));
    EXPECT_ERRNO(EPERM, put("/proc/self/uid_map", "0 0 1"));
    snprintf(line, sizeof(line), "0 %u 1", uid + 1);
    EXPECT_ERRNO(EPERM, put("/proc/self/uid_map", line));
    snprintf(line, sizeof(line), "0 %u 2", uid);
    EXPECT_ERRNO(EPERM, put("/proc/self/uid_map", line));
    snprintf(line, sizeof(line), "5 %u 1", uid);
    EXPECT_OK(put("/proc/self/uid_map", line));
    EXPECT_EQ(getuid(), 5);
}

CASE(capabilities_count_inside_only)
{
    need_user_namespaces();
    become_user();
    EXPECT_OK(unshare(CLONE_NEWUSER));
    EXPECT_ERRNO(EPERM, sethostname("x", 1));
    EXPECT_ERRNO(EPERM, mount("none", "/tmp", "tmpfs", 0, NULL));
    EXPECT_OK(unshare(CLONE_NEWUTS));
    EXPECT_OK(sethostname("x", 1));
    EXPECT_OK(unshare(CLONE_NEWNS | CLONE_NEWIPC));
    EXPECT_OK(mount("none", "/tmp", "tmpfs", 0, NULL));
    struct timespec ts = {0};
    EXPECT_ERRNO(EPERM, clock_settime(CLOCK_REALTIME, &ts));
    EXPECT_ERRNO(EPERM, kill(1, 0));
}

CASE(unshare_all_at_once)
{
    need_user_namespaces();
    become_user();
    EXPECT_OK(unshare(CLONE_NEWUSER | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNS | CLONE_NEWPID));
    pid_t pid = EXPECT_OK(fork());
    if (pid == 0)
        _exit(syscall(SYS_getpid) != 1);
    int status;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
}

CASE(entering)
{
    need_user_namespaces();
    int ready[2], go[2];
    char c, path[64];
    uid_t uid = become_user();
    EXPECT_OK(pipe(ready));
    EXPECT_OK(pipe(go));
    pid_t pid = EXPECT_OK(fork());
    if (pid == 0) {
        char line[32];
        EXPECT_OK(unshare(CLONE_NEWUSER | CLONE_NEWUTS));
        snprintf(line, sizeof(line), "3 %u 1", uid);
        EXPECT_OK(put("/proc/self/uid_map", line));
        EXPECT_EQ(write(ready[1], "x", 1), 1);
        close(go[1]);
        _exit(read(go[0], &c, 1) != 0);
    }
    EXPECT_EQ(read(ready[0], &c, 1), 1);
    snprintf(path, sizeof(path), "/proc/%d/ns/uts", pid);
    int uts = EXPECT_OK(open(path, O_RDONLY));
    snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
    int user = EXPECT_OK(open(path, O_RDONLY));
    uid_t owner;
    EXPECT_OK(ioctl(user, NS_GET_OWNER_UID, &owner));
    EXPECT_EQ(owner, uid);
    struct stat a, b;
    int parent = EXPECT_OK(ioctl(user, NS_GET_PARENT));
    EXPECT_OK(fstat(parent, &a));
    EXPECT_OK(stat("/proc/self/ns/user", &b));
    EXPECT_EQ(a.st_ino, b.st_ino);
    EXPECT_ERRNO(EPERM, ioctl(parent, NS_GET_PARENT));
    EXPECT_ERRNO(EPERM, setns(uts, 0));
    EXPECT_OK(setns(user, CLONE_NEWUSER));
    EXPECT_EQ(getuid(), 3);
    EXPECT(effective() >> CAP_SYS_ADMIN & 1);
    EXPECT_ERRNO(EINVAL, setns(user, CLONE_NEWUSER));
    EXPECT_ERRNO(EPERM, setns(parent, CLONE_NEWUSER));
    EXPECT_OK(setns(uts, 0));
    close(go[1]);
}

CASE(nested_no_deeper_than_33)
{
    need_user_namespaces();
    int depth = 0;
    uid_t uid = become_user();
    char line[32];
    while (unshare(CLONE_NEWUSER) == 0) {
        depth++;
        snprintf(line, sizeof(line), "%u %u 1", uid, uid);
        EXPECT_OK(put("/proc/self/uid_map", line));
        EXPECT_OK(put("/proc/self/setgroups", "deny"));
        snprintf(line, sizeof(line), "%u %u 1", getegid() == 65534 ? uid : getegid(), uid);
        EXPECT_OK(put("/proc/self/gid_map", line));
        EXPECT_LE(depth, 33);
    }
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_GE(depth, 30);
}

CASE(without_a_map_no_deeper)
{
    need_user_namespaces();
    become_user();
    EXPECT_OK(unshare(CLONE_NEWUSER));
    EXPECT_ERRNO(EPERM, unshare(CLONE_NEWUSER));
}

CASE(not_from_a_chroot)
{
    if (geteuid() != 0)
        SKIP("needs root");
    need_user_namespaces();
    EXPECT_OK(chroot("/tmp"));
    EXPECT_ERRNO(EPERM, unshare(CLONE_NEWUSER));
}

CASE(limit)
{
    if (geteuid() != 0)
        SKIP("needs root");
    need_user_namespaces();
    EXPECT_OK(unshare(CLONE_NEWUSER));
    EXPECT_OK(put("/proc/self/uid_map", "0 0 1"));
    EXPECT_OK(put("/proc/sys/user/max_uts_namespaces", "1"));
    EXPECT_OK(unshare(CLONE_NEWUTS));
    EXPECT_ERRNO(ENOSPC, unshare(CLONE_NEWUTS));
    EXPECT_OK(put("/proc/sys/user/max_uts_namespaces", "2"));
    EXPECT_OK(unshare(CLONE_NEWUTS));
}

static void *stay(void *arg)
{
    pause();
    return arg;
}

CASE(threads_share_their_identity)
{
    need_user_namespaces();
    static char stack[65536] __attribute__((aligned(16)));
    int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;
    EXPECT_OK(clone((int (*)(void *))(void *)stay, stack + sizeof(stack), flags, NULL));
    EXPECT_ERRNO(EINVAL, unshare(CLONE_NEWUSER));
}

TEST_MAIN
