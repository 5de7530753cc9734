/* chmod, chown, utimensat, truncate, fallocate, fsync and the rest about what files are. */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <sys/time.h>
#include <time.h>
#include <utime.h>

static int make(const char *name)
{
    return EXPECT_OK(open(test_path(name), O_CREAT | O_RDWR, 0644));
}
static struct stat stat_of(const char *name)
{
    struct stat st;
    EXPECT_OK(lstat(test_path(name), &st));
    return st;
}
static unsigned mode_of(const char *name)
{
    return stat_of(name).st_mode & 07777;
}
static void become(uid_t uid, gid_t gid)
{
    EXPECT_OK(chmod(test_dir(), 0777));
    EXPECT_OK(setresgid(gid, gid, gid));
    EXPECT_OK(setresuid(uid, uid, uid));
}

/* ---- chmod ---- */

CASE(chmod_calls)
{
    int fd = make("f");
    EXPECT_OK(chmod(test_path("f"), 0123));
    EXPECT_EQ(mode_of("f"), 0123);
    EXPECT_OK(fchmod(fd, 07654));
    EXPECT_EQ(mode_of("f"), 07654);
    EXPECT_OK(fchmodat(AT_FDCWD, test_path("f"), 0600, 0));
    EXPECT_OK(chmod(test_path("f"), 0100644)); /* type bits are ignored */
    EXPECT_EQ(mode_of("f"), 0644);
    EXPECT_OK(symlink("f", test_path("l")));
    EXPECT_OK(chmod(test_path("l"), 0600));
    EXPECT_EQ(mode_of("f"), 0600);
    EXPECT_ERRNO(ENOENT, chmod(test_path("no"), 0600));
    EXPECT_ERRNO(ENOTDIR, chmod(test_path("f/x"), 0600));
    EXPECT_ERRNO(EFAULT, syscall(SYS_chmod, (char *)1, 0600));
    EXPECT_ERRNO(EBADF, fchmod(-1, 0600));
    EXPECT_OK(mkdir(test_path("d"), 0700));
    EXPECT_OK(chmod(test_path("d"), 03711));
    EXPECT_EQ(mode_of("d"), 03711);
    struct stat st = stat_of("f");
    EXPECT_OK(chmod(test_path("f"), 0600));
    EXPECT_GE(stat_of("f").st_ctim.tv_sec, st.st_ctim.tv_sec);
    EXPECT_EQ(stat_of("f").st_mtim.tv_nsec, st.st_mtim.tv_nsec);
}

CASE(chmod_needs_ownership)
{
    if (geteuid() != 0)
        SKIP("needs several users");
    make("roots");
    EXPECT_OK(chmod(test_path("roots"), 0666));
    close(make("mine"));
    EXPECT_OK(chown(test_path("mine"), 1000, 2000));
    become(1000, 1000);
    EXPECT_ERRNO(EPERM, chmod(test_path("roots"), 0600));
    EXPECT_OK(chmod(test_path("mine"), 06755)); /* not our group: no set-gid */
    EXPECT_EQ(mode_of("mine"), 04755);
}

/* ---- chown ---- */

CASE(chown_calls)
{
    if (geteuid() != 0)
        SKIP("needs root");
    int fd = make("f");
    EXPECT_OK(chown(test_path("f"), 12, 34));
    EXPECT_EQ(stat_of("f").st_uid, 12);
    EXPECT_EQ(stat_of("f").st_gid, 34);
    EXPECT_OK(fchown(fd, (uid_t)-1, 56));
    EXPECT_EQ(stat_of("f").st_uid, 12);
    EXPECT_EQ(stat_of("f").st_gid, 56);
    EXPECT_OK(chown(test_path("f"), 78, (gid_t)-1));
    EXPECT_EQ(stat_of("f").st_uid, 78);
    EXPECT_OK(symlink("f", test_path("l")));
    EXPECT_OK(lchown(test_path("l"), 1, 2));
    EXPECT_EQ(stat_of("l").st_uid, 1);
    EXPECT_EQ(stat_of("f").st_uid, 78);
    EXPECT_OK(fchownat(AT_FDCWD, test_path("l"), 3, 4, 0));
    EXPECT_EQ(stat_of("f").st_uid, 3);
    EXPECT_OK(fchownat(fd, "", 5, 6, AT_EMPTY_PATH));
    EXPECT_EQ(stat_of("f").st_uid, 5);
    EXPECT_ERRNO(EINVAL, fchownat(AT_FDCWD, test_path("f"), 1, 1, 1));
    EXPECT_ERRNO(ENOENT, chown(test_path("no"), 1, 1));
    EXPECT_ERRNO(EBADF, fchown(-1, 1, 1));
    EXPECT_ERRNO(EFAULT, syscall(SYS_chown, (char *)1, 1, 1));
}

CASE(chown_drops_set_id)
{
    if (geteuid() != 0)
        SKIP("needs root");
    make("f");
    EXPECT_OK(chmod(test_path("f"), 06777));
    EXPECT_OK(chown(test_path("f"), 1, 1));
    EXPECT_EQ(mode_of("f"), 0777);
    EXPECT_OK(mkdir(test_path("d"), 0700));
    EXPECT_OK(chmod(test_path("d"), 06777));
    EXPECT_OK(chown(test_path("d"), 1, 1));
    EXPECT_EQ(mode_of("d"), 06777);
}

CASE(chown_without_privilege)
{
    if (geteuid() != 0)
        SKIP("needs several users");
    close(make("mine"));
    close(make("roots"));
    EXPECT_OK(chown(test_path("mine"), 1000, 1000));
    become(1000, 1000);
    EXPECT_ERRNO(EPERM, chown(test_path("mine"), 1001, (gid_t)-1));
    EXPECT_ERRNO(EPERM, chown(test_path("mine"), (uid_t)-1, 2000));
    EXPECT_OK(chown(test_path("mine"), 1000, 1000));
    EXPECT_OK(chown(test_path("mine"), (uid_t)-1, (gid_t)-1));
    EXPECT_ERRNO(EPERM, chown(test_path("roots"), 1000, (gid_t)-1));
}

/* ---- times ---- */

static void expect_times(const char *name, time_t a, long an, time_t m, long mn)
{
    struct stat st = stat_of(name);
    EXPECT_EQ(st.st_atim.tv_sec, a);
    EXPECT_EQ(st.st_atim.tv_nsec, an);
    EXPECT_EQ(st.st_mtim.tv_sec, m);
    EXPECT_EQ(st.st_mtim.tv_nsec, mn);
}

static bool is_recent(struct timespec ts)
{
    return time(NULL) - ts.tv_sec <= 10 && ts.tv_sec <= time(NULL) + 1;
}

CASE(setting_times)
{
    int fd = make("f");
    struct timespec ts[2] = {{1000, 123456789}, {2000, 987654321}};
    EXPECT_OK(utimensat(AT_FDCWD, test_path("f"), ts, 0));
    expect_times("f", 1000, 123456789, 2000, 987654321);
    EXPECT(is_recent(stat_of("f").st_ctim));
    ts[0].tv_nsec = UTIME_OMIT;
    ts[1] = (struct timespec){3000, 5};
    EXPECT_OK(futimens(fd, ts));
    expect_times("f", 1000, 123456789, 3000, 5);
    ts[1].tv_nsec = UTIME_NOW;
    EXPECT_OK(utimensat(AT_FDCWD, test_path("f"), ts, 0));
    EXPECT_EQ(stat_of("f").st_atim.tv_sec, 1000);
    EXPECT(is_recent(stat_of("f").st_mtim));
    EXPECT_OK(utimensat(AT_FDCWD, test_path("f"), NULL, 0));
    EXPECT(is_recent(stat_of("f").st_atim));
    struct timeval tv[2] = {{10, 11}, {12, 13}};
    EXPECT_OK(utimes(test_path("f"), tv));
    expect_times("f", 10, 11000, 12, 13000);
    struct utimbuf ub = {77, 88};
    EXPECT_OK(syscall(SYS_utime, test_path("f"), &ub));
    expect_times("f", 77, 0, 88, 0);
    EXPECT_OK(syscall(SYS_futimesat, AT_FDCWD, test_path("f"), tv));
    expect_times("f", 10, 11000, 12, 13000);
    EXPECT_OK(symlink("f", test_path("l")));
    ts[0] = ts[1] = (struct timespec){42, 0};
    EXPECT_OK(utimensat(AT_FDCWD, test_path("l"), ts, AT_SYMLINK_NOFOLLOW));
    EXPECT_EQ(stat_of("l").st_mtim.tv_sec, 42);
    expect_times("f", 10, 11000, 12, 13000);
    ts[0] = ts[1] = (struct timespec){-5, 0}; /* before 1970 */
    EXPECT_OK(utimensat(AT_FDCWD, test_path("f"), ts, 0));
    expect_times("f", -5, 0, -5, 0);
}

CASE(setting_times_errors)
{
    int fd = make("f");
    struct timespec bad[2] = {{1, 1000000000}, {1, 0}};
    struct timespec omit[2] = {{1, UTIME_OMIT}, {1, UTIME_OMIT}};
    EXPECT_ERRNO(EINVAL, utimensat(AT_FDCWD, test_path("f"), bad, 0));
    EXPECT_ERRNO(EINVAL, utimensat(AT_FDCWD, test_path("f"), NULL, 1));
    EXPECT_ERRNO(ENOENT, utimensat(AT_FDCWD, test_path("no"), NULL, 0));
    EXPECT_OK(syscall(SYS_utimensat, AT_FDCWD, test_path("no"), omit, 0)); /* nothing to do */
    EXPECT_ERRNO(EFAULT, syscall(SYS_utimensat, AT_FDCWD, NULL, NULL, 0));
    EXPECT_ERRNO(EBADF, syscall(SYS_utimensat, -1, NULL, NULL, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_utimensat, fd, NULL, NULL, AT_SYMLINK_NOFOLLOW));
    EXPECT_ERRNO(EFAULT, syscall(SYS_utimensat, AT_FDCWD, test_path("f"), (void *)1, 0));
    struct timeval tv[2] = {{1, 1000000}, {1, 0}};
    EXPECT_ERRNO(EINVAL, syscall(SYS_utimes, test_path("f"), tv));
}

CASE(times_and_permissions)
{
    if (geteuid() != 0)
        SKIP("needs several users");
    close(make("writable"));
    EXPECT_OK(chmod(test_path("writable"), 0666));
    close(make("readable"));
    become(1000, 1000);
    struct timespec ts[2] = {{1, 0}, {1, 0}};
    struct timespec one_now[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
    EXPECT_OK(utimensat(AT_FDCWD, test_path("writable"), NULL, 0));
    EXPECT_ERRNO(EPERM, utimensat(AT_FDCWD, test_path("writable"), ts, 0));
    EXPECT_ERRNO(EPERM, utimensat(AT_FDCWD, test_path("writable"), one_now, 0));
    EXPECT_ERRNO(EACCES, utimensat(AT_FDCWD, test_path("readable"), NULL, 0));
    EXPECT_ERRNO(EPERM, utimensat(AT_FDCWD, test_path("readable"), ts, 0));
}

static void reset_times(const char *name)
{
    struct timespec ts[2] = {{100, 0}, {100, 0}};
    EXPECT_OK(utimensat(AT_FDCWD, test_path(name), ts, 0));
}

CASE(what_moves_times)
{
    int fd = make("f");
    reset_times("f");
    EXPECT_EQ(write(fd, "x", 1), 1);
    EXPECT(is_recent(stat_of("f").st_mtim));
    EXPECT_EQ(stat_of("f").st_atim.tv_sec, 100);
    reset_times("f");
    EXPECT_OK(ftruncate(fd, 100));
    EXPECT(is_recent(stat_of("f").st_mtim));
    reset_times("f");
    EXPECT_OK(truncate(test_path("f"), 100)); /* also if the size stays */
    EXPECT(is_recent(stat_of("f").st_mtim));
    reset_times("f");
    close(EXPECT_OK(open(test_path("f"), O_WRONLY | O_TRUNC)));
    EXPECT(is_recent(stat_of("f").st_mtim));
    reset_times("f");
    EXPECT_EQ(write(fd, "x", 0), 0);
    EXPECT_EQ(stat_of("f").st_mtim.tv_sec, 100);
    EXPECT_OK(mkdir(test_path("d"), 0700));
    reset_times("d");
    close(make("d/x"));
    EXPECT(is_recent(stat_of("d").st_mtim));
    reset_times("d");
    EXPECT_OK(rename(test_path("d/x"), test_path("d/y")));
    EXPECT(is_recent(stat_of("d").st_mtim));
    reset_times("d");
    EXPECT_OK(unlink(test_path("d/y")));
    EXPECT(is_recent(stat_of("d").st_mtim));
}

/* ---- truncate ---- */

CASE(truncate_calls)
{
    int fd = make("f");
    EXPECT_EQ(write(fd, "0123456789", 10), 10);
    EXPECT_OK(truncate(test_path("f"), 4));
    EXPECT_EQ(stat_of("f").st_size, 4);
    EXPECT_OK(ftruncate(fd, 1 << 20));
    EXPECT_EQ(stat_of("f").st_size, 1 << 20);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 10);
    EXPECT_OK(ftruncate(fd, 0));
    EXPECT_ERRNO(EINVAL, truncate(test_path("f"), -1));
    EXPECT_ERRNO(EINVAL, ftruncate(fd, -1));
    EXPECT_ERRNO(EISDIR, truncate(test_dir(), 0));
    EXPECT_ERRNO(ENOENT, truncate(test_path("no"), 0));
    EXPECT_ERRNO(ENOTDIR, truncate(test_path("f/x"), 0));
    EXPECT_ERRNO(EINVAL, truncate("/dev/null", 0));
    EXPECT_ERRNO(EFAULT, syscall(SYS_truncate, (char *)1, 0));
    EXPECT_ERRNO(EBADF, ftruncate(-1, 0));
    EXPECT_ERRNO(EINVAL, ftruncate(EXPECT_OK(open(test_path("f"), O_RDONLY)), 0));
    int p[2];
    EXPECT_OK(pipe(p));
    EXPECT_ERRNO(EINVAL, ftruncate(p[1], 0));
}

CASE(truncate_needs_permission)
{
    if (geteuid() != 0)
        SKIP("needs several users");
    close(make("f"));
    become(1000, 1000);
    EXPECT_ERRNO(EACCES, truncate(test_path("f"), 0));
}

/* ---- fallocate ---- */

CASE(fallocate_calls)
{
    int fd = make("f");
    if (fallocate(fd, 0, 0, 10000) < 0 && errno == EOPNOTSUPP)
        SKIP("this file system does not preallocate");
    EXPECT_EQ(stat_of("f").st_size, 10000);
    EXPECT_OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 50000));
    EXPECT_EQ(stat_of("f").st_size, 10000);
    EXPECT_OK(fallocate(fd, 0, 5000, 1000));
    EXPECT_EQ(stat_of("f").st_size, 10000);
    EXPECT_ERRNO(EINVAL, fallocate(fd, 0, -1, 10));
    EXPECT_ERRNO(EINVAL, fallocate(fd, 0, 0, 0));
    EXPECT_ERRNO(EINVAL, fallocate(fd, 0, 0, -1));
    EXPECT_ERRNO(EFBIG, fallocate(fd, 0, INT64_MAX, 10));
    EXPECT_ERRNO(EOPNOTSUPP, fallocate(fd, 1 << 20, 0, 10));
    EXPECT_ERRNO(EBADF, fallocate(-1, 0, 0, 10));
    EXPECT_ERRNO(EBADF, fallocate(EXPECT_OK(open(test_path("f"), O_RDONLY)), 0, 0, 10));
    int p[2];
    EXPECT_OK(pipe(p));
    EXPECT_ERRNO(ESPIPE, fallocate(p[1], 0, 0, 10));
    EXPECT_ERRNO(ENODEV, fallocate(EXPECT_OK(open("/dev/null", O_WRONLY)), 0, 0, 10));
}

CASE(punching_holes)
{
    int fd = make("f");
    char buf[12288], want[12288];
    memset(want, 'x', sizeof want);
    EXPECT_EQ(write(fd, want, sizeof want), (ssize_t)sizeof want);
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 9000) < 0) {
        EXPECT_EQ(errno, EOPNOTSUPP);
        SKIP("this file system has no holes");
    }
    memset(want + 100, 0, 9000);
    EXPECT_EQ(pread(fd, buf, sizeof buf, 0), (ssize_t)sizeof buf);
    EXPECT_MEMEQ(buf, want, sizeof buf);
    EXPECT_ERRNO(EOPNOTSUPP, fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10));
}

/* ---- sync, hints ---- */

CASE(sync_calls)
{
    int fd = make("f"), p[2];
    EXPECT_OK(pipe(p));
    EXPECT_OK(fsync(fd));
    EXPECT_OK(fdatasync(fd));
    EXPECT_OK(fsync(EXPECT_OK(open(test_dir(), O_RDONLY))));
    EXPECT_ERRNO(EINVAL, fsync(p[0]));
    EXPECT_ERRNO(EINVAL, fdatasync(p[1]));
    EXPECT_ERRNO(EBADF, fsync(-1));
    EXPECT_ERRNO(EBADF, fdatasync(-1));
    EXPECT_ERRNO(EBADF, syncfs(-1));
    EXPECT_OK(syncfs(fd));
    EXPECT_OK(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
    EXPECT_ERRNO(EINVAL, sync_file_range(fd, 0, 0, 64));
    EXPECT_ERRNO(EINVAL, sync_file_range(fd, -1, 0, 0));
    EXPECT_ERRNO(ESPIPE, sync_file_range(p[0], 0, 0, 0));
    EXPECT_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED), 0);
    EXPECT_EQ(posix_fadvise(fd, 0, 0, 99), EINVAL);
    EXPECT_EQ(posix_fadvise(p[0], 0, 0, POSIX_FADV_NORMAL), ESPIPE);
    EXPECT_EQ(posix_fadvise(-1, 0, 0, POSIX_FADV_NORMAL), EBADF);
    EXPECT_OK(readahead(fd, 0, 4096));
    EXPECT_ERRNO(EINVAL, readahead(p[0], 0, 4096));
    EXPECT_ERRNO(EBADF, readahead(p[1], 0, 4096));
    EXPECT_ERRNO(EBADF, readahead(-1, 0, 4096));
}

TEST_MAIN
