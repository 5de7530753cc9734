/* stat and its family, statx, access, statfs, readlink. */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

static int make(const char *name, int mode)
{
    int fd = EXPECT_OK(open(test_path(name), O_CREAT | O_RDWR | O_TRUNC, 0600));
    EXPECT_OK(fchmod(fd, (mode_t)mode));
    return fd;
}

CASE(regular_file)
{
    struct stat st, st2, st3;
    int fd = make("f", 0640);
    EXPECT_EQ(write(fd, "hello", 5), 5);
    EXPECT_OK(fstat(fd, &st));
    EXPECT_EQ(st.st_mode, S_IFREG | 0640);
    EXPECT_EQ(st.st_size, 5);
    EXPECT_EQ(st.st_nlink, 1);
    EXPECT_EQ(st.st_uid, geteuid());
    EXPECT_GT(st.st_ino, 0);
    EXPECT_GT(st.st_blksize, 0);
    EXPECT_OK(stat(test_path("f"), &st2));
    EXPECT_OK(lstat(test_path("f"), &st3));
    EXPECT_MEMEQ(&st, &st2, sizeof st);
    EXPECT_MEMEQ(&st, &st3, sizeof st);
    EXPECT_OK(link(test_path("f"), test_path("g")));
    EXPECT_OK(stat(test_path("g"), &st2));
    EXPECT_EQ(st2.st_ino, st.st_ino);
    EXPECT_EQ(st2.st_dev, st.st_dev);
    EXPECT_EQ(st2.st_nlink, 2);
    close(make("h", 0600));
    EXPECT_OK(stat(test_path("h"), &st2));
    EXPECT_NE(st2.st_ino, st.st_ino);
}

CASE(directory_links)
{
    struct stat st;
    EXPECT_OK(mkdir(test_path("d"), 0755));
    EXPECT_OK(stat(test_path("d"), &st));
    EXPECT(S_ISDIR(st.st_mode));
    if (st.st_nlink == 1)
        SKIP("this file system does not count directories");
    EXPECT_EQ(st.st_nlink, 2);
    EXPECT_OK(mkdir(test_path("d/e"), 0755));
    EXPECT_OK(stat(test_path("d"), &st));
    EXPECT_EQ(st.st_nlink, 3);
    EXPECT_OK(rename(test_path("d/e"), test_path("e")));
    EXPECT_OK(stat(test_path("d"), &st));
    EXPECT_EQ(st.st_nlink, 2);
    int fd = EXPECT_OK(open(test_path("d"), O_RDONLY));
    EXPECT_OK(rmdir(test_path("d")));
    EXPECT_OK(fstat(fd, &st));
    EXPECT_EQ(st.st_nlink, 0);
}

CASE(symbolic_link)
{
    struct stat st;
    EXPECT_OK(symlink("some/where", test_path("l")));
    EXPECT_OK(lstat(test_path("l"), &st));
    EXPECT_EQ(st.st_mode, S_IFLNK | 0777);
    EXPECT_EQ(st.st_size, 10);
    EXPECT_ERRNO(ENOENT, stat(test_path("l"), &st));
    EXPECT_OK(fstatat(AT_FDCWD, test_path("l"), &st, AT_SYMLINK_NOFOLLOW));
}

CASE(errors)
{
    struct stat st;
    char name[NAME_MAX + 2];
    memset(name, 'x', sizeof name);
    name[NAME_MAX + 1] = 0;
    close(make("f", 0600));
    EXPECT_ERRNO(ENOENT, stat(test_path("missing"), &st));
    EXPECT_ERRNO(ENOENT, stat("", &st));
    EXPECT_ERRNO(ENOTDIR, stat(test_path("f/"), &st));
    EXPECT_ERRNO(ENOTDIR, lstat(test_path("f/x"), &st));
    EXPECT_ERRNO(ENAMETOOLONG, stat(test_path(name), &st));
    EXPECT_ERRNO(EFAULT, syscall(SYS_stat, (char *)1, &st));
    EXPECT_ERRNO(EFAULT, syscall(SYS_stat, "/", (void *)1));
    EXPECT_ERRNO(EFAULT, syscall(SYS_fstat, 0, (void *)1));
    EXPECT_ERRNO(EBADF, fstat(-1, &st));
    EXPECT_ERRNO(EINVAL, fstatat(AT_FDCWD, "/", &st, 1));
    EXPECT_ERRNO(EBADF, fstatat(-1, "x", &st, 0));
    EXPECT_ERRNO(EBADF, fstatat(-1, "", &st, AT_EMPTY_PATH));
    EXPECT_ERRNO(ENOENT, fstatat(0, "", &st, 0));
}

CASE(empty_path)
{
    struct stat st, st2;
    int fd = make("f", 0600);
    EXPECT_OK(fstat(fd, &st));
    EXPECT_OK(fstatat(fd, "", &st2, AT_EMPTY_PATH));
    EXPECT_MEMEQ(&st, &st2, sizeof st);
    EXPECT_OK(chdir(test_dir()));
    EXPECT_OK(fstatat(AT_FDCWD, "", &st, AT_EMPTY_PATH));
    EXPECT_OK(stat(".", &st2));
    EXPECT_MEMEQ(&st, &st2, sizeof st);
    int p[2];
    EXPECT_OK(pipe(p));
    EXPECT_OK(fstatat(p[0], "", &st, AT_EMPTY_PATH));
    EXPECT(S_ISFIFO(st.st_mode));
}

CASE(statx_call)
{
    struct stat st;
    struct statx sx;
    int fd = make("f", 0604);
    EXPECT_EQ(write(fd, "hello", 5), 5);
    EXPECT_OK(fstat(fd, &st));
    EXPECT_OK(statx(AT_FDCWD, test_path("f"), 0, STATX_BASIC_STATS | STATX_BTIME, &sx));
    EXPECT_EQ(sx.stx_mask & STATX_BASIC_STATS, STATX_BASIC_STATS);
    EXPECT_EQ(sx.stx_ino, st.st_ino);
    EXPECT_EQ(sx.stx_size, 5);
    EXPECT_EQ(sx.stx_mode, st.st_mode);
    EXPECT_EQ(sx.stx_nlink, 1);
    EXPECT_EQ(sx.stx_uid, st.st_uid);
    EXPECT_EQ(makedev(sx.stx_dev_major, sx.stx_dev_minor), st.st_dev);
    EXPECT_EQ(sx.stx_mtime.tv_sec, st.st_mtim.tv_sec);
    EXPECT_EQ(sx.stx_mtime.tv_nsec, st.st_mtim.tv_nsec);
    EXPECT_EQ(sx.stx_blksize, st.st_blksize);
    EXPECT_EQ(sx.stx_blocks, st.st_blocks);
    EXPECT_OK(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &sx));
    EXPECT_EQ(sx.stx_size, 5);
    EXPECT_OK(statx(AT_FDCWD, test_path("f"), AT_STATX_FORCE_SYNC, STATX_SIZE, &sx));
    EXPECT_ERRNO(EINVAL, statx(AT_FDCWD, "/", AT_STATX_SYNC_TYPE, STATX_SIZE, &sx));
    EXPECT_ERRNO(EINVAL, statx(AT_FDCWD, "/", 1, STATX_SIZE, &sx));
    EXPECT_ERRNO(EINVAL, statx(AT_FDCWD, "/", 0, 0x80000000u, &sx));
    EXPECT_ERRNO(ENOENT, statx(AT_FDCWD, test_path("no"), 0, STATX_SIZE, &sx));
    EXPECT_ERRNO(EFAULT, syscall(SYS_statx, AT_FDCWD, "/", 0, STATX_SIZE, (void *)1));
    EXPECT_ERRNO(EFAULT, syscall(SYS_statx, AT_FDCWD, (void *)1, 0, STATX_SIZE, &sx));
    EXPECT_OK(symlink("f", test_path("l")));
    EXPECT_OK(statx(AT_FDCWD, test_path("l"), AT_SYMLINK_NOFOLLOW, STATX_TYPE, &sx));
    EXPECT(S_ISLNK(sx.stx_mode));
}

CASE(devices)
{
    struct stat st;
    EXPECT_OK(stat("/dev/null", &st));
    EXPECT(S_ISCHR(st.st_mode));
    EXPECT_EQ(st.st_rdev, makedev(1, 3));
    EXPECT_OK(stat("/dev/zero", &st));
    EXPECT_EQ(st.st_rdev, makedev(1, 5));
    int p[2];
    EXPECT_OK(pipe(p));
    EXPECT_OK(fstat(p[0], &st));
    EXPECT(S_ISFIFO(st.st_mode));
    EXPECT_EQ(st.st_nlink, 1);
}

CASE(device_numbers_differ)
{
    struct stat root, proc, proc2;
    EXPECT_OK(stat("/", &root));
    EXPECT_OK(stat("/proc", &proc));
    EXPECT_OK(stat("/proc/self", &proc2));
    EXPECT_NE(root.st_dev, proc.st_dev);
    EXPECT_EQ(proc.st_dev, proc2.st_dev);
}

CASE(access_as_owner)
{
    close(make("r", 0400));
    close(make("w", 0200));
    close(make("x", 0100));
    close(make("none", 0000));
    EXPECT_OK(chmod(test_dir(), 0777));
    if (geteuid() == 0)
        for (const char *const *n = (const char *const[]){"r", "w", "x", "none", NULL}; *n; n++)
            EXPECT_OK(chown(test_path(*n), 1000, 1000));
    pid_t pid = FORK({
        if (geteuid() == 0)
            EXPECT_OK(setresuid(1000, 1000, 1000));
        EXPECT_OK(access(test_path("r"), F_OK));
        EXPECT_OK(access(test_path("r"), R_OK));
        EXPECT_ERRNO(EACCES, access(test_path("r"), W_OK));
        EXPECT_ERRNO(EACCES, access(test_path("r"), X_OK));
        EXPECT_ERRNO(EACCES, access(test_path("r"), R_OK | W_OK));
        EXPECT_OK(access(test_path("w"), W_OK));
        EXPECT_ERRNO(EACCES, access(test_path("w"), R_OK));
        EXPECT_OK(access(test_path("x"), X_OK));
        EXPECT_OK(access(test_path("none"), F_OK));
        EXPECT_ERRNO(EACCES, access(test_path("none"), R_OK));
        EXPECT_OK(access(test_dir(), R_OK | W_OK | X_OK));
    });
    EXPECT_EXITED(pid, 0);
}

CASE(access_as_root)
{
    if (geteuid() != 0)
        SKIP("needs root");
    close(make("none", 0000));
    close(make("x", 0001));
    EXPECT_OK(access(test_path("none"), R_OK | W_OK));
    EXPECT_ERRNO(EACCES, access(test_path("none"), X_OK));
    EXPECT_OK(access(test_path("x"), R_OK | W_OK | X_OK));
}

CASE(access_uses_real_ids)
{
    if (geteuid() != 0)
        SKIP("needs root");
    close(make("f", 0600));
    EXPECT_OK(chmod(test_dir(), 0777));
    EXPECT_OK(setresuid(1000, 0, 0));
    EXPECT_ERRNO(EACCES, access(test_path("f"), R_OK));
    EXPECT_OK(faccessat(AT_FDCWD, test_path("f"), R_OK, AT_EACCESS));
    EXPECT_OK(open(test_path("f"), O_RDONLY));
    EXPECT_OK(setresuid(0, 1000, 0));
    EXPECT_OK(access(test_path("f"), R_OK));
    EXPECT_ERRNO(EACCES, faccessat(AT_FDCWD, test_path("f"), R_OK, AT_EACCESS));
}

CASE(access_errors)
{
    EXPECT_ERRNO(EINVAL, access("/", 8));
    EXPECT_ERRNO(EINVAL, access("/", -1));
    EXPECT_ERRNO(ENOENT, access(test_path("no"), F_OK));
    EXPECT_ERRNO(ENOENT, access("", F_OK));
    EXPECT_ERRNO(EFAULT, syscall(SYS_access, (char *)1, F_OK));
    EXPECT_ERRNO(EINVAL, syscall(SYS_faccessat2, AT_FDCWD, "/", F_OK, 1));
    EXPECT_OK(symlink("nowhere", test_path("l")));
    EXPECT_ERRNO(ENOENT, access(test_path("l"), F_OK));
    EXPECT_OK(syscall(SYS_faccessat2, AT_FDCWD, test_path("l"), F_OK, AT_SYMLINK_NOFOLLOW));
    int fd = make("f", 0600);
    EXPECT_OK(syscall(SYS_faccessat2, fd, "", R_OK, AT_EMPTY_PATH));
}

CASE(readlink_call)
{
    char buf[64];
    EXPECT_OK(symlink("target", test_path("l")));
    memset(buf, 'z', sizeof buf);
    EXPECT_EQ(readlink(test_path("l"), buf, sizeof buf), 6);
    EXPECT_MEMEQ(buf, "targetz", 7);
    memset(buf, 'z', sizeof buf);
    EXPECT_EQ(readlink(test_path("l"), buf, 3), 3);
    EXPECT_MEMEQ(buf, "tarz", 4);
    EXPECT_ERRNO(EINVAL, readlink(test_path("l"), buf, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_readlink, test_path("l"), buf, -1));
    EXPECT_ERRNO(EINVAL, readlink(test_dir(), buf, sizeof buf));
    EXPECT_ERRNO(ENOENT, readlink(test_path("no"), buf, sizeof buf));
    EXPECT_ERRNO(ENOENT, readlink("", buf, sizeof buf));
    EXPECT_ERRNO(EINVAL, readlink("/dev/null", buf, sizeof buf));
    EXPECT_ERRNO(EFAULT, syscall(SYS_readlink, test_path("l"), (char *)1, 64));
    EXPECT_ERRNO(EFAULT, syscall(SYS_readlink, (char *)1, buf, 64));
    close(make("f", 0600));
    EXPECT_ERRNO(EINVAL, readlink(test_path("f"), buf, sizeof buf));
    EXPECT_ERRNO(ENOTDIR, readlink(test_path("f/x"), buf, sizeof buf));
    int d = EXPECT_OK(open(test_dir(), O_RDONLY));
    EXPECT_EQ(readlinkat(d, "l", buf, sizeof buf), 6);
    EXPECT_ERRNO(ENOENT, readlinkat(d, "", buf, sizeof buf));
    EXPECT_ERRNO(EBADF, readlinkat(-1, "l", buf, sizeof buf));
}

CASE(longest_link)
{
    static char target[PATH_MAX], buf[PATH_MAX];
    memset(target, 't', sizeof target);
    target[PATH_MAX - 1] = 0;
    EXPECT_OK(symlink(target, test_path("l")));
    EXPECT_EQ(readlink(test_path("l"), buf, sizeof buf), PATH_MAX - 1);
    EXPECT_MEMEQ(buf, target, PATH_MAX - 1);
    EXPECT_ERRNO(ENAMETOOLONG, open(test_path("l"), O_RDONLY));
}

CASE(magic_links)
{
    char link[64], buf[PATH_MAX];
    struct stat st, st2;
    int fd = make("f", 0600);
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = EXPECT_OK(readlink(link, buf, sizeof buf));
    buf[n] = 0;
    EXPECT_STREQ(buf, test_path("f"));
    EXPECT_OK(lstat(link, &st));
    EXPECT(S_ISLNK(st.st_mode));
    EXPECT_OK(stat(link, &st));
    EXPECT_OK(fstat(fd, &st2));
    EXPECT_EQ(st.st_ino, st2.st_ino);
    EXPECT_OK(unlink(test_path("f")));
    n = EXPECT_OK(readlink(link, buf, sizeof buf));
    buf[n] = 0;
    char want[PATH_MAX];
    snprintf(want, sizeof want, "%s (deleted)", test_path("f"));
    EXPECT_STREQ(buf, want);
    EXPECT_OK(stat(link, &st));
    EXPECT_EQ(st.st_nlink, 0);
    EXPECT_OK(chdir(test_dir()));
    n = EXPECT_OK(readlink("/proc/self/cwd", buf, sizeof buf));
    buf[n] = 0;
    EXPECT_STREQ(buf, test_dir());
    n = EXPECT_OK(readlink("/proc/self", buf, sizeof buf));
    buf[n] = 0;
    EXPECT_EQ(atoi(buf), getpid());
    int p[2];
    EXPECT_OK(pipe(p));
    snprintf(link, sizeof link, "/proc/self/fd/%d", p[0]);
    n = EXPECT_OK(readlink(link, buf, sizeof buf));
    buf[n] = 0;
    EXPECT_EQ(strncmp(buf, "pipe:[", 6), 0);
}

CASE(statfs_call)
{
    struct statfs st, st2;
    EXPECT_OK(statfs(test_dir(), &st));
    EXPECT_GT(st.f_bsize, 0);
    EXPECT_EQ(st.f_namelen, NAME_MAX);
    int fd = make("f", 0600);
    EXPECT_OK(fstatfs(fd, &st2));
    EXPECT_EQ(st.f_type, st2.f_type);
    EXPECT_EQ(memcmp(&st.f_fsid, &st2.f_fsid, sizeof st.f_fsid), 0);
    EXPECT_OK(statfs("/proc", &st));
    EXPECT_EQ(st.f_type, PROC_SUPER_MAGIC);
    int p[2];
    EXPECT_OK(pipe(p));
    EXPECT_OK(fstatfs(p[0], &st));
    EXPECT_EQ(st.f_type, PIPEFS_MAGIC);
    EXPECT_ERRNO(ENOENT, statfs(test_path("no"), &st));
    EXPECT_ERRNO(EBADF, fstatfs(-1, &st));
    EXPECT_ERRNO(EFAULT, syscall(SYS_statfs, "/", (void *)1));
    EXPECT_ERRNO(EFAULT, syscall(SYS_statfs, (void *)1, &st));
    EXPECT_ERRNO(ENOTDIR, statfs(test_path("f/"), &st));
}

CASE(ustat_call)
{
    struct {
        int free_blocks;
        unsigned long free_inodes;
        char names[12];
    } u;
    struct stat st;
    EXPECT_OK(stat(test_dir(), &st));
    if (syscall(SYS_ustat, st.st_dev, &u) < 0)
        SKIP("ustat does not know this device");
    EXPECT_ERRNO(EFAULT, syscall(SYS_ustat, st.st_dev, (void *)1));
    EXPECT_ERRNO(EINVAL, syscall(SYS_ustat, 0xffff, &u));
}

TEST_MAIN
