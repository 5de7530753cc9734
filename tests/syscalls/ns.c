/*
 * Namespaces: unshare(2), setns(2), clone(2) with CLONE_NEW*, /proc/PID/ns, ioctl_ns(2). What is in
 * user and pid namespaces has tests of its own.
 */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/utsname.h>

static int pidfd_open_(pid_t pid)
{
    return (int)syscall(SYS_pidfd_open, pid, 0);
}

static void need_root(void)
{
    if (geteuid() != 0)
        SKIP("needs root");
}

/* Forks; the child runs fn, and its EXPECTs are ours. */
static void in_child(void (*fn)(void))
{
    pid_t pid = EXPECT_OK(fork());
    if (pid == 0) {
        fn();
        _exit(0);
    }
    int status;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
}

static void ns_link(const char *name, char out[64])
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/ns/%s", name);
    ssize_t n = EXPECT_OK(readlink(path, out, 63));
    out[n] = 0;
}

static const char *const names[] = {"ipc", "mnt", "net", "pid", "user", "uts"};

CASE(links)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char text[64], path[64], want[64];
        struct stat st, again;
        ns_link(names[i], text);
        snprintf(path, sizeof(path), "/proc/self/ns/%s", names[i]);
        int fd = EXPECT_OK(open(path, O_RDONLY | O_CLOEXEC));
        EXPECT_OK(fstat(fd, &st));
        EXPECT_OK(stat(path, &again));
        EXPECT(S_ISREG(st.st_mode));
        EXPECT_EQ(st.st_ino, again.st_ino);
        EXPECT_EQ(st.st_dev, again.st_dev);
        snprintf(want, sizeof(want), "%s:[%lu]", names[i], (unsigned long)st.st_ino);
        EXPECT_STREQ(text, want);
        EXPECT_ERRNO(EINVAL, read(fd, text, 1));
        close(fd);
    }
    EXPECT_ERRNO(ENOENT, open("/proc/self/ns/none", O_RDONLY));
}

CASE(descriptor_shows_its_name)
{
    char text[64], want[64], path[64];
    int fd = EXPECT_OK(open("/proc/self/ns/uts", O_RDONLY));
    ns_link("uts", want);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ssize_t n = EXPECT_OK(readlink(path, text, sizeof(text) - 1));
    text[n] = 0;
    EXPECT_STREQ(text, want);
}

CASE(types)
{
    static const struct {
        const char *name;
        int type;
    } rows[] = {{"ipc", CLONE_NEWIPC}, {"mnt", CLONE_NEWNS},    {"net", CLONE_NEWNET},
                {"pid", CLONE_NEWPID}, {"user", CLONE_NEWUSER}, {"uts", CLONE_NEWUTS}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/self/ns/%s", rows[i].name);
        int fd = EXPECT_OK(open(path, O_RDONLY));
        EXPECT_EQ(ioctl(fd, NS_GET_NSTYPE), rows[i].type);
        EXPECT_ERRNO(ENOTTY, ioctl(fd, 0xb7ff));
        uid_t uid;
        if (rows[i].type != CLONE_NEWUSER)
            EXPECT_ERRNO(EINVAL, ioctl(fd, NS_GET_OWNER_UID, &uid));
        if (rows[i].type != CLONE_NEWUSER && rows[i].type != CLONE_NEWPID)
            EXPECT_ERRNO(EINVAL, ioctl(fd, NS_GET_PARENT));
        close(fd);
    }
}

CASE(owner)
{
    need_root();
    EXPECT_OK(unshare(CLONE_NEWUTS));
    int fd = EXPECT_OK(open("/proc/self/ns/uts", O_RDONLY));
    int user = EXPECT_OK(ioctl(fd, NS_GET_USERNS));
    struct stat a, b;
    EXPECT_OK(fstat(user, &a));
    EXPECT_OK(stat("/proc/self/ns/user", &b));
    EXPECT_EQ(a.st_ino, b.st_ino);
    EXPECT_EQ(a.st_dev, b.st_dev);
    EXPECT_EQ(fcntl(user, F_GETFD), FD_CLOEXEC);
}

CASE(unshare_flags)
{
    EXPECT_ERRNO(EINVAL, unshare(0x1));
    EXPECT_ERRNO(EINVAL, unshare(CLONE_PARENT));
    EXPECT_OK(unshare(0));
    EXPECT_OK(unshare(CLONE_FILES | CLONE_FS | CLONE_SYSVSEM));
    EXPECT_OK(unshare(CLONE_THREAD | CLONE_VM | CLONE_SIGHAND));
}

CASE(unshare_needs_privilege)
{
    need_root();
    EXPECT_OK(setresuid(1000, 1000, 1000));
    EXPECT_ERRNO(EPERM, unshare(CLONE_NEWUTS));
    EXPECT_ERRNO(EPERM, unshare(CLONE_NEWNS));
    EXPECT_ERRNO(EPERM, unshare(CLONE_NEWIPC));
    EXPECT_ERRNO(EPERM, unshare(CLONE_NEWPID));
    EXPECT_ERRNO(EPERM, syscall(SYS_clone, CLONE_NEWUTS | SIGCHLD, 0, 0, 0, 0));
}

CASE(clone_flags)
{
    EXPECT_ERRNO(EINVAL, syscall(SYS_clone, CLONE_NEWNS | CLONE_FS | SIGCHLD, 0, 0, 0, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_clone, CLONE_NEWUSER | CLONE_FS | SIGCHLD, 0, 0, 0, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_clone, CLONE_NEWIPC | CLONE_SYSVSEM | SIGCHLD, 0, 0, 0, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_clone, CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | CLONE_NEWPID,
                                 0, 0, 0, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_clone, CLONE_THREAD | CLONE_SIGHAND | CLONE_VM | CLONE_NEWUSER,
                                 0, 0, 0, 0));
}

/* ---- uts ---- */

static void rename_machine(void)
{
    struct utsname u;
    EXPECT_OK(unshare(CLONE_NEWUTS));
    EXPECT_OK(sethostname("other", 5));
    EXPECT_OK(uname(&u));
    EXPECT_STREQ(u.nodename, "other");
    char text[64] = "";
    int fd = EXPECT_OK(open("/proc/sys/kernel/hostname", O_RDONLY));
    EXPECT_OK(read(fd, text, sizeof(text) - 1));
    EXPECT_STREQ(text, "other\n");
}

CASE(uts_is_ones_own)
{
    need_root();
    struct utsname before, after;
    char link_before[64], link_after[64];
    EXPECT_OK(uname(&before));
    ns_link("uts", link_before);
    in_child(rename_machine);
    EXPECT_OK(uname(&after));
    ns_link("uts", link_after);
    EXPECT_STREQ(before.nodename, after.nodename);
    EXPECT_STREQ(link_before, link_after);
}

CASE(clone_gives_the_child_another)
{
    need_root();
    char mine[64], theirs[64], path[64];
    int go[2];
    EXPECT_OK(pipe(go));
    pid_t pid =
        (pid_t)EXPECT_OK(syscall(SYS_clone, CLONE_NEWUTS | CLONE_NEWIPC | SIGCHLD, 0, 0, 0, 0));
    if (pid == 0) {
        char c;
        close(go[1]);
        _exit(read(go[0], &c, 1) != 0);
    }
    ns_link("uts", mine);
    snprintf(path, sizeof(path), "/proc/%d/ns/uts", pid);
    ssize_t n = EXPECT_OK(readlink(path, theirs, sizeof(theirs) - 1));
    theirs[n] = 0;
    EXPECT(strcmp(mine, theirs) != 0);
    snprintf(path, sizeof(path), "/proc/%d/ns/mnt", pid);
    n = EXPECT_OK(readlink(path, theirs, sizeof(theirs) - 1));
    theirs[n] = 0;
    ns_link("mnt", mine);
    EXPECT_STREQ(mine, theirs);
    close(go[1]);
    int status;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
}

/* ---- ipc ---- */

static int queue;
static void look_for_queue(void)
{
    struct msqid_ds ds;
    EXPECT_OK(msgctl(queue, IPC_STAT, &ds));
    EXPECT_OK(unshare(CLONE_NEWIPC));
    EXPECT_ERRNO(EINVAL, msgctl(queue, IPC_STAT, &ds));
    EXPECT_OK(msgget(IPC_PRIVATE, 0600));
}

CASE(ipc_is_ones_own)
{
    need_root();
    queue = EXPECT_OK(msgget(IPC_PRIVATE, 0600));
    in_child(look_for_queue);
    EXPECT_OK(msgctl(queue, IPC_RMID, NULL));
}

/* ---- setns ---- */

CASE(setns_errors)
{
    EXPECT_ERRNO(EBADF, setns(-1, 0));
    int null = EXPECT_OK(open("/dev/null", O_RDONLY));
    EXPECT_ERRNO(EINVAL, setns(null, 0));
    int uts = EXPECT_OK(open("/proc/self/ns/uts", O_RDONLY));
    EXPECT_ERRNO(EINVAL, setns(uts, CLONE_NEWIPC));
    EXPECT_ERRNO(EINVAL, setns(uts, CLONE_NEWUTS | CLONE_NEWIPC));
    int user = EXPECT_OK(open("/proc/self/ns/user", O_RDONLY));
    EXPECT_ERRNO(EINVAL, setns(user, CLONE_NEWUSER));
    int self = EXPECT_OK(pidfd_open_(getpid()));
    EXPECT_ERRNO(EINVAL, setns(self, 0));
    EXPECT_ERRNO(EINVAL, setns(self, CLONE_THREAD));
}

CASE(setns_needs_privilege)
{
    need_root();
    int fd = EXPECT_OK(open("/proc/self/ns/uts", O_RDONLY));
    EXPECT_OK(setresuid(1000, 1000, 1000));
    EXPECT_ERRNO(EPERM, setns(fd, CLONE_NEWUTS));
}

CASE(setns_back)
{
    need_root();
    char before[64], between[64], after[64];
    static const struct {
        const char *name;
        int flag;
    } rows[] = {{"uts", CLONE_NEWUTS}, {"ipc", CLONE_NEWIPC}, {"mnt", CLONE_NEWNS}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char path[64];
        snprintf(path, sizeof(path), "/proc/self/ns/%s", rows[i].name);
        int fd = EXPECT_OK(open(path, O_RDONLY));
        ns_link(rows[i].name, before);
        EXPECT_OK(unshare(rows[i].flag));
        ns_link(rows[i].name, between);
        EXPECT(strcmp(before, between) != 0);
        EXPECT_OK(setns(fd, 0));
        ns_link(rows[i].name, after);
        EXPECT_STREQ(before, after);
        close(fd);
    }
}

CASE(setns_by_pidfd)
{
    need_root();
    int ready[2], go[2];
    char c, mine[64], theirs[64];
    EXPECT_OK(pipe(ready));
    EXPECT_OK(pipe(go));
    pid_t pid = EXPECT_OK(fork());
    if (pid == 0) {
        EXPECT_OK(unshare(CLONE_NEWUTS | CLONE_NEWIPC));
        EXPECT_OK(sethostname("there", 5));
        EXPECT_EQ(write(ready[1], "x", 1), 1);
        close(go[1]);
        _exit(read(go[0], &c, 1) != 0);
    }
    EXPECT_EQ(read(ready[0], &c, 1), 1);
    int fd = EXPECT_OK(pidfd_open_(pid));
    ns_link("ipc", mine);
    EXPECT_OK(setns(fd, CLONE_NEWUTS));
    struct utsname u;
    EXPECT_OK(uname(&u));
    EXPECT_STREQ(u.nodename, "there");
    ns_link("ipc", theirs);
    EXPECT_STREQ(mine, theirs);
    EXPECT_OK(setns(fd, CLONE_NEWIPC | CLONE_NEWUTS));
    ns_link("ipc", theirs);
    EXPECT(strcmp(mine, theirs) != 0);
    close(go[1]);
    int status;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
    EXPECT_ERRNO(ESRCH, setns(fd, CLONE_NEWUTS));
}

/* A namespace lives as long as a descriptor of it. */
CASE(kept_by_a_descriptor)
{
    need_root();
    int ready[2], go[2];
    char c, path[64];
    EXPECT_OK(pipe(ready));
    EXPECT_OK(pipe(go));
    pid_t pid = EXPECT_OK(fork());
    if (pid == 0) {
        EXPECT_OK(unshare(CLONE_NEWUTS));
        EXPECT_OK(sethostname("kept", 4));
        EXPECT_EQ(write(ready[1], "x", 1), 1);
        close(go[1]);
        _exit(read(go[0], &c, 1) != 0);
    }
    EXPECT_EQ(read(ready[0], &c, 1), 1);
    snprintf(path, sizeof(path), "/proc/%d/ns/uts", pid);
    int fd = EXPECT_OK(open(path, O_RDONLY));
    close(go[1]);
    EXPECT_EQ(waitpid(pid, NULL, 0), pid);
    EXPECT_OK(setns(fd, CLONE_NEWUTS));
    struct utsname u;
    EXPECT_OK(uname(&u));
    EXPECT_STREQ(u.nodename, "kept");
}

TEST_MAIN
