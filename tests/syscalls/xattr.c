/* Extended attributes. */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <linux/limits.h>
#include <sys/xattr.h>

static const char *file(void)
{
    const char *path = test_path("f");
    int fd = EXPECT_OK(open(path, O_CREAT | O_RDWR, 0644));
    close(fd);
    if (setxattr(path, "user.probe", "", 0, 0) < 0) {
        EXPECT_EQ(errno, EOPNOTSUPP);
        SKIP("this file system has no user attributes");
    }
    EXPECT_OK(removexattr(path, "user.probe"));
    return path;
}

CASE(set_get_list_remove)
{
    char buf[64];
    const char *f = file();
    EXPECT_OK(setxattr(f, "user.one", "1", 1, 0));
    EXPECT_OK(setxattr(f, "user.two", "22", 2, 0));
    EXPECT_EQ(getxattr(f, "user.one", buf, sizeof buf), 1);
    EXPECT_EQ(buf[0], '1');
    EXPECT_EQ(getxattr(f, "user.two", NULL, 0), 2);
    EXPECT_ERRNO(ERANGE, getxattr(f, "user.two", buf, 1));
    EXPECT_OK(setxattr(f, "user.one", "three", 5, 0));
    EXPECT_EQ(getxattr(f, "user.one", buf, sizeof buf), 5);
    EXPECT_MEMEQ(buf, "three", 5);
    ssize_t n = EXPECT_OK(listxattr(f, buf, sizeof buf)), found = 0;
    for (char *s = buf; s < buf + n; s += strlen(s) + 1)
        found += strcmp(s, "user.one") == 0 || strcmp(s, "user.two") == 0;
    EXPECT_EQ(found, 2);
    EXPECT_EQ(listxattr(f, NULL, 0), n);
    EXPECT_ERRNO(ERANGE, listxattr(f, buf, 3));
    EXPECT_OK(removexattr(f, "user.one"));
    EXPECT_ERRNO(ENODATA, getxattr(f, "user.one", buf, sizeof buf));
    EXPECT_ERRNO(ENODATA, removexattr(f, "user.one"));
    EXPECT_EQ(getxattr(f, "user.two", buf, sizeof buf), 2);
    EXPECT_OK(setxattr(f, "user.empty", NULL, 0, 0));
    EXPECT_EQ(getxattr(f, "user.empty", buf, sizeof buf), 0);
}

CASE(create_and_replace)
{
    const char *f = file();
    EXPECT_ERRNO(ENODATA, setxattr(f, "user.x", "1", 1, XATTR_REPLACE));
    EXPECT_OK(setxattr(f, "user.x", "1", 1, XATTR_CREATE));
    EXPECT_ERRNO(EEXIST, setxattr(f, "user.x", "1", 1, XATTR_CREATE));
    EXPECT_OK(setxattr(f, "user.x", "2", 1, XATTR_REPLACE));
    EXPECT_ERRNO(EINVAL, setxattr(f, "user.x", "1", 1, 4));
}

CASE(by_descriptor_and_link)
{
    char buf[8];
    const char *f = file();
    int fd = EXPECT_OK(open(f, O_RDWR));
    EXPECT_OK(fsetxattr(fd, "user.x", "1", 1, 0));
    EXPECT_EQ(fgetxattr(fd, "user.x", buf, sizeof buf), 1);
    EXPECT_GT(flistxattr(fd, NULL, 0), 0);
    EXPECT_OK(symlink("f", test_path("l")));
    EXPECT_EQ(getxattr(test_path("l"), "user.x", buf, sizeof buf), 1);
    EXPECT_ERRNO(ENODATA, lgetxattr(test_path("l"), "user.x", buf, sizeof buf));
    EXPECT_ERRNO(EPERM, lsetxattr(test_path("l"), "user.x", "1", 1, 0));
    EXPECT_EQ(llistxattr(f, NULL, 0), flistxattr(fd, NULL, 0));
    EXPECT_OK(fremovexattr(fd, "user.x"));
    EXPECT_ERRNO(ENODATA, lremovexattr(f, "user.x"));
    EXPECT_OK(unlink(f));
    EXPECT_OK(fsetxattr(fd, "user.x", "1", 1, 0));
    int path = EXPECT_OK(open(test_path("l"), O_PATH | O_NOFOLLOW));
    EXPECT_ERRNO(EBADF, fgetxattr(path, "user.x", buf, sizeof buf));
}

CASE(errors)
{
    static char big[XATTR_SIZE_MAX + 1], name[XATTR_NAME_MAX + 2];
    char buf[8];
    const char *f = file();
    EXPECT_ERRNO(EOPNOTSUPP, setxattr(f, "nothing", "1", 1, 0));
    EXPECT_ERRNO(EOPNOTSUPP, setxattr(f, "other.x", "1", 1, 0));
    EXPECT_ERRNO(EOPNOTSUPP, getxattr(f, "other.x", buf, sizeof buf));
    EXPECT_ERRNO(ERANGE, setxattr(f, "", "1", 1, 0));
    EXPECT_ERRNO(E2BIG, setxattr(f, "user.x", big, sizeof big, 0));
    memset(name, 'n', sizeof name - 1);
    memcpy(name, "user.", 5);
    EXPECT_ERRNO(ERANGE, setxattr(f, name, "1", 1, 0));
    EXPECT_ERRNO(ENOENT, setxattr(test_path("no"), "user.x", "1", 1, 0));
    EXPECT_ERRNO(ENOENT, getxattr(test_path("no"), "user.x", buf, sizeof buf));
    EXPECT_ERRNO(ENOENT, listxattr(test_path("no"), buf, sizeof buf));
    EXPECT_ERRNO(EBADF, fsetxattr(-1, "user.x", "1", 1, 0));
    EXPECT_ERRNO(EBADF, flistxattr(-1, buf, sizeof buf));
    EXPECT_ERRNO(EFAULT, syscall(SYS_setxattr, f, (char *)1, "1", 1, 0));
    EXPECT_ERRNO(EFAULT, syscall(SYS_setxattr, f, "user.x", (char *)1, 1, 0));
    EXPECT_ERRNO(EFAULT, syscall(SYS_getxattr, (char *)1, "user.x", buf, 8));
    EXPECT_OK(setxattr(f, "user.x", "12", 2, 0));
    EXPECT_ERRNO(EFAULT, syscall(SYS_getxattr, f, "user.x", (char *)1, 8));
}

CASE(name_spaces)
{
    char buf[64];
    const char *f = file();
    EXPECT_OK(chmod(test_dir(), 0777));
    bool root = geteuid() == 0;
    if (root) {
        if (setxattr(f, "trusted.t", "1", 1, 0) < 0)
            SKIP("no CAP_SYS_ADMIN");
        EXPECT_EQ(getxattr(f, "trusted.t", buf, sizeof buf), 1);
        EXPECT_OK(setresuid(1000, 1000, 1000));
        EXPECT_ERRNO(EACCES, setxattr(f, "user.x", "1", 1, 0));
        EXPECT_ERRNO(ENODATA, getxattr(f, "user.x", buf, sizeof buf));
        ssize_t n = EXPECT_OK(listxattr(f, buf, sizeof buf));
        for (char *s = buf; s < buf + n; s += strlen(s) + 1)
            EXPECT(strncmp(s, "trusted.", 8) != 0);
    }
    EXPECT_ERRNO(EPERM, setxattr(f, "trusted.t", "1", 1, 0));
    EXPECT_ERRNO(ENODATA, getxattr(f, "trusted.t", buf, sizeof buf));
    EXPECT_ERRNO(EPERM, removexattr(f, "trusted.t"));
}

CASE(kinds_of_files)
{
    const char *f = file();
    char buf[8];
    EXPECT_OK(mkdir(test_path("d"), 0700));
    EXPECT_OK(setxattr(test_path("d"), "user.x", "1", 1, 0));
    EXPECT_OK(mkfifo(test_path("fifo"), 0600));
    EXPECT_ERRNO(EPERM, setxattr(test_path("fifo"), "user.x", "1", 1, 0));
    EXPECT_ERRNO(ENODATA, getxattr(test_path("fifo"), "user.x", buf, sizeof buf));
    EXPECT_OK(setxattr(f, "user.x", "1", 1, 0));
    EXPECT_OK(rename(f, test_path("g")));
    EXPECT_EQ(getxattr(test_path("g"), "user.x", buf, sizeof buf), 1);
}

TEST_MAIN
