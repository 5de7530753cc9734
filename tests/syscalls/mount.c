/* mount, umount2, pivot_root, in a mount name space of our own where that can be had. */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statfs.h>

/* Where mounting may harm nobody: a name space of our own, or a system that has only us. */
static void own_mounts(void)
{
    if (geteuid() != 0)
        SKIP("needs root");
    if (unshare(CLONE_NEWNS) < 0 && errno != ENOSYS && errno != EINVAL && errno != EPERM)
        SKIP("no mount name space");
    if (mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
        SKIP("no CAP_SYS_ADMIN");
    EXPECT_OK(mkdir(test_path("m"), 0700));
}

static void touch(const char *name)
{
    EXPECT_OK(close(EXPECT_OK(open(test_path(name), O_CREAT | O_RDWR, 0600))));
}

CASE(needs_privilege)
{
    EXPECT_OK(chmod(test_dir(), 0777));
    if (geteuid() == 0)
        EXPECT_OK(setresuid(1000, 1000, 1000));
    EXPECT_ERRNO(EPERM, mount("x", "/tmp", "tmpfs", 0, NULL));
    EXPECT_ERRNO(EPERM, umount("/proc"));
    EXPECT_ERRNO(EPERM, syscall(SYS_pivot_root, "/", "/tmp"));
}

CASE(tmpfs)
{
    struct statfs st;
    struct stat root, dir;
    own_mounts();
    touch("m/hidden");
    EXPECT_OK(mount("thing", test_path("m"), "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=750"));
    EXPECT_ERRNO(ENOENT, access(test_path("m/hidden"), F_OK));
    EXPECT_OK(statfs(test_path("m"), &st));
    EXPECT_EQ(st.f_type, 0x01021994);
    EXPECT_OK(stat(test_path("m"), &root));
    EXPECT_EQ(root.st_mode & 07777, 0750);
    EXPECT_OK(stat(test_dir(), &dir));
    EXPECT_NE(root.st_dev, dir.st_dev);
    touch("m/f");
    EXPECT_ERRNO(EXDEV, rename(test_path("m/f"), test_path("f")));
    EXPECT_ERRNO(EXDEV, link(test_path("m/f"), test_path("f")));
    EXPECT_ERRNO(EBUSY, rmdir(test_path("m")));
    int fd = EXPECT_OK(open(test_path("m/f"), O_RDWR));
    EXPECT_ERRNO(EBUSY, umount(test_path("m")));
    EXPECT_OK(close(fd));
    EXPECT_OK(umount(test_path("m")));
    EXPECT_OK(access(test_path("m/hidden"), F_OK));
    EXPECT_ERRNO(EINVAL, umount(test_path("m")));
}

CASE(size_limit)
{
    static char buf[65536];
    own_mounts();
    EXPECT_OK(mount("thing", test_path("m"), "tmpfs", 0, "size=128k"));
    int fd = EXPECT_OK(open(test_path("m/f"), O_CREAT | O_RDWR, 0600));
    EXPECT_EQ(write(fd, buf, sizeof buf), (ssize_t)sizeof buf);
    EXPECT_EQ(write(fd, buf, sizeof buf), (ssize_t)sizeof buf);
    EXPECT_ERRNO(ENOSPC, write(fd, buf, sizeof buf));
    EXPECT_OK(close(fd));
    EXPECT_OK(umount(test_path("m")));
}

CASE(bind)
{
    struct stat a, b;
    own_mounts();
    EXPECT_OK(mkdir(test_path("src"), 0700));
    touch("src/f");
    EXPECT_OK(mount(test_path("src"), test_path("m"), NULL, MS_BIND, NULL));
    EXPECT_OK(stat(test_path("src/f"), &a));
    EXPECT_OK(stat(test_path("m/f"), &b));
    EXPECT_EQ(a.st_ino, b.st_ino);
    EXPECT_EQ(a.st_dev, b.st_dev);
    EXPECT_ERRNO(EXDEV, rename(test_path("m/f"), test_path("src/g")));
    EXPECT_OK(mount(NULL, test_path("m"), NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
    EXPECT_ERRNO(EROFS, open(test_path("m/f"), O_RDWR));
    EXPECT_ERRNO(EROFS, open(test_path("m/new"), O_CREAT | O_RDWR, 0600));
    EXPECT_ERRNO(EROFS, mkdir(test_path("m/new"), 0600));
    EXPECT_ERRNO(EEXIST, mkdir(test_path("m/f"), 0600));
    EXPECT_ERRNO(EROFS, unlink(test_path("m/f")));
    EXPECT_ERRNO(EROFS, chmod(test_path("m/f"), 0600));
    EXPECT_ERRNO(EROFS, truncate(test_path("m/f"), 0));
    EXPECT_ERRNO(EROFS, access(test_path("m/f"), W_OK));
    EXPECT_OK(open(test_path("m/f"), O_RDONLY));
    EXPECT_OK(open(test_path("src/f"), O_RDWR));
    EXPECT_OK(umount2(test_path("m"), MNT_DETACH));
    /* A file on a file. */
    touch("point");
    EXPECT_OK(mount(test_path("src/f"), test_path("point"), NULL, MS_BIND, NULL));
    EXPECT_OK(stat(test_path("point"), &b));
    EXPECT_EQ(a.st_ino, b.st_ino);
    EXPECT_ERRNO(EBUSY, unlink(test_path("point")));
    EXPECT_ERRNO(ENOTDIR, mount(test_path("src/f"), test_path("m"), NULL, MS_BIND, NULL));
    EXPECT_ERRNO(ENOTDIR, mount(test_path("src"), test_path("point"), NULL, MS_BIND, NULL));
    EXPECT_OK(umount(test_path("point")));
}

CASE(mount_flags)
{
    own_mounts();
    EXPECT_OK(mount("x", test_path("m"), "tmpfs", MS_NOEXEC, NULL));
    int fd = EXPECT_OK(open(test_path("m/prog"), O_CREAT | O_RDWR, 0700));
    EXPECT_EQ(write(fd, "#!/bin/true\n", 12), 12);
    EXPECT_OK(close(fd));
    EXPECT_ERRNO(EACCES, execl(test_path("m/prog"), "prog", NULL));
    EXPECT_ERRNO(EACCES, access(test_path("m/prog"), X_OK));
    EXPECT_OK(umount(test_path("m")));
    EXPECT_OK(mount("x", test_path("m"), "tmpfs", MS_NODEV, NULL));
    if (mknod(test_path("m/null"), S_IFCHR | 0666, 0x103) == 0)
        EXPECT_ERRNO(EACCES, open(test_path("m/null"), O_RDWR));
    EXPECT_OK(umount(test_path("m")));
}

CASE(detach_while_used)
{
    own_mounts();
    EXPECT_OK(mount("x", test_path("m"), "tmpfs", 0, NULL));
    int fd = EXPECT_OK(open(test_path("m/f"), O_CREAT | O_RDWR, 0600));
    int dir = EXPECT_OK(open(test_path("m"), O_RDONLY));
    EXPECT_OK(umount2(test_path("m"), MNT_DETACH));
    EXPECT_EQ(write(fd, "x", 1), 1);
    EXPECT_OK(faccessat(dir, "f", F_OK, 0));
    EXPECT_OK(faccessat(dir, "../f", F_OK, 0)); /* the top of what is left */
    EXPECT_ERRNO(ENOENT, access(test_path("m/f"), F_OK));
}

CASE(errors)
{
    own_mounts();
    EXPECT_ERRNO(ENODEV, mount("x", test_path("m"), "no-such-fs", 0, NULL));
    EXPECT_ERRNO(ENOENT, mount("x", test_path("no"), "tmpfs", 0, NULL));
    EXPECT_ERRNO(EINVAL, mount("x", test_path("m"), NULL, 0, NULL));
    EXPECT_ERRNO(EINVAL, mount("x", test_path("m"), "tmpfs", 0, "size=banana"));
    EXPECT_ERRNO(ENOENT, mount(test_path("no"), test_path("m"), NULL, MS_BIND, NULL));
    EXPECT_ERRNO(EINVAL, mount("x", test_path("m"), "tmpfs", MS_REMOUNT, NULL));
    EXPECT_ERRNO(EFAULT, mount("x", (char *)1, "tmpfs", 0, NULL));
    EXPECT_ERRNO(EINVAL, umount(test_path("m")));
    EXPECT_ERRNO(ENOENT, umount(test_path("no")));
    EXPECT_ERRNO(EINVAL, umount2(test_path("m"), 64));
    touch("f");
    EXPECT_ERRNO(ENOTDIR, mount("x", test_path("f"), "tmpfs", 0, NULL));
}

CASE(seen_in_proc)
{
    char line[1024];
    bool mounts = false, info = false;
    own_mounts();
    EXPECT_OK(mount("a name", test_path("m"), "tmpfs", MS_NOSUID, NULL));
    FILE *f = fopen("/proc/self/mounts", "r");
    EXPECT(f != NULL);
    while (fgets(line, sizeof line, f))
        mounts |= strncmp(line, "a\\040name ", 10) == 0 && strstr(line, " tmpfs rw,nosuid");
    fclose(f);
    f = fopen("/proc/self/mountinfo", "r");
    EXPECT(f != NULL);
    while (fgets(line, sizeof line, f))
        info |= strstr(line, test_path("m")) && strstr(line, " - tmpfs a\\040name ");
    fclose(f);
    EXPECT(mounts);
    EXPECT(info);
    EXPECT_OK(umount(test_path("m")));
}

CASE(pivot)
{
    char buf[256];
    own_mounts();
    EXPECT_OK(mount("x", test_path("m"), "tmpfs", 0, NULL));
    EXPECT_OK(mkdir(test_path("m/old"), 0700));
    touch("m/here");
    char back[600];
    snprintf(back, sizeof back, "/old%s", test_dir());
    EXPECT_EQ(syscall(SYS_pivot_root, test_dir(), test_path("m/old")), -1);
    EXPECT(errno == EBUSY || errno == EINVAL); /* no mount, or the one we stand in */
    EXPECT_EXITED(FORK({
                      EXPECT_OK(chdir(test_path("m")));
                      if (syscall(SYS_pivot_root, ".", "old") < 0)
                          SKIP("the root here cannot be pivoted");
                      EXPECT_OK(access("/here", F_OK));
                      EXPECT_OK(access(back, F_OK));
                      EXPECT_STREQ(getcwd(buf, sizeof buf), "/");
                      EXPECT_OK(umount2("/old", MNT_DETACH));
                      EXPECT_ERRNO(ENOENT, access(back, F_OK));
                  }),
                  0);
}

TEST_MAIN
