/* open, openat, creat, close. */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

static int make(const char *name)
{
    int fd = EXPECT_OK(open(test_path(name), O_CREAT | O_RDWR | O_TRUNC, 0644));
    return fd;
}

/* Continues as a user without privileges, in a directory that he can use. */
static void become_nobody(void)
{
    EXPECT_OK(chmod(test_dir(), 0777));
    if (geteuid() == 0) {
        EXPECT_OK(setresgid(65534, 65534, 65534));
        EXPECT_OK(setresuid(65534, 65534, 65534));
    }
}

CASE(creates_with_umask)
{
    struct stat st;
    umask(027);
    int fd = EXPECT_OK(open(test_path("f"), O_CREAT | O_WRONLY, 0666));
    EXPECT_OK(fstat(fd, &st));
    EXPECT_EQ(st.st_mode, S_IFREG | 0640);
    EXPECT_EQ(st.st_size, 0);
    EXPECT_EQ(st.st_nlink, 1);
    EXPECT_EQ(st.st_uid, geteuid());
    EXPECT_OK(close(fd));
}

CASE(lowest_descriptor)
{
    int a = make("a"), b = make("b"), c = make("c");
    EXPECT_EQ(b, a + 1);
    EXPECT_EQ(c, a + 2);
    EXPECT_OK(close(a));
    EXPECT_OK(close(b));
    EXPECT_EQ(make("d"), a);
    EXPECT_EQ(make("e"), b);
    EXPECT_EQ(make("f"), c + 1);
}

CASE(exclusive)
{
    close(make("f"));
    EXPECT_ERRNO(EEXIST, open(test_path("f"), O_CREAT | O_EXCL | O_RDWR, 0600));
    EXPECT_OK(symlink("nowhere", test_path("dangling")));
    EXPECT_ERRNO(EEXIST, open(test_path("dangling"), O_CREAT | O_EXCL | O_RDWR, 0600));
    EXPECT_ERRNO(EEXIST, open(test_dir(), O_CREAT | O_EXCL | O_RDWR, 0600));
    EXPECT_ERRNO(EEXIST, open("/", O_CREAT | O_EXCL | O_RDWR, 0600));
    EXPECT_OK(open(test_path("g"), O_CREAT | O_EXCL | O_RDWR, 0600));
}

CASE(creates_through_dangling_link)
{
    EXPECT_OK(symlink("target", test_path("link")));
    int fd = EXPECT_OK(open(test_path("link"), O_CREAT | O_WRONLY, 0600));
    struct stat st;
    EXPECT_OK(lstat(test_path("target"), &st));
    EXPECT(S_ISREG(st.st_mode));
    EXPECT_OK(lstat(test_path("link"), &st));
    EXPECT(S_ISLNK(st.st_mode));
    EXPECT_OK(close(fd));
    /* Over a chain, and with an absolute target. */
    EXPECT_OK(symlink("one", test_path("two")));
    EXPECT_OK(symlink(test_path("end"), test_path("one")));
    EXPECT_OK(open(test_path("two"), O_CREAT | O_WRONLY, 0600));
    EXPECT_OK(access(test_path("end"), F_OK));
    EXPECT_ERRNO(ELOOP, open(test_path("two"), O_CREAT | O_WRONLY | O_NOFOLLOW, 0600));
}

CASE(truncates)
{
    int fd = make("f");
    struct stat st;
    EXPECT_EQ(write(fd, "hello", 5), 5);
    int again = EXPECT_OK(open(test_path("f"), O_WRONLY | O_TRUNC));
    EXPECT_OK(fstat(fd, &st));
    EXPECT_EQ(st.st_size, 0);
    EXPECT_OK(close(again));
    EXPECT_EQ(write(fd, "x", 1), 1); /* at offset 5 */
    EXPECT_OK(fstat(fd, &st));
    EXPECT_EQ(st.st_size, 6);
    char buf[8];
    EXPECT_EQ(pread(fd, buf, 8, 0), 6);
    EXPECT_MEMEQ(buf, "\0\0\0\0\0x", 6);
    /* Reading and truncating is allowed; Linux truncates. */
    close(EXPECT_OK(open(test_path("f"), O_RDONLY | O_TRUNC)));
    EXPECT_OK(fstat(fd, &st));
    EXPECT_EQ(st.st_size, 0);
}

CASE(missing_and_not_directory)
{
    char name[PATH_MAX];
    close(make("file"));
    EXPECT_ERRNO(ENOENT, open(test_path("missing"), O_RDONLY));
    EXPECT_ERRNO(ENOENT, open(test_path("missing/file"), O_RDONLY));
    EXPECT_ERRNO(ENOENT, open(test_path("missing/file"), O_RDONLY | O_CREAT, 0600));
    EXPECT_ERRNO(ENOENT, open("", O_RDONLY));
    EXPECT_ERRNO(ENOENT, open("", O_RDONLY | O_CREAT, 0600));
    EXPECT_ERRNO(ENOTDIR, open(test_path("file/x"), O_RDONLY));
    EXPECT_ERRNO(ENOTDIR, open(test_path("file/."), O_RDONLY));
    EXPECT_ERRNO(ENOTDIR, open(test_path("file/.."), O_RDONLY));
    EXPECT_ERRNO(ENOTDIR, open(test_path("file/"), O_RDONLY));
    EXPECT_ERRNO(ENOTDIR, open(test_path("file"), O_RDONLY | O_DIRECTORY));
    snprintf(name, sizeof name, "%s/missing/", test_dir());
    EXPECT_ERRNO(EISDIR, open(name, O_RDWR | O_CREAT, 0600));
    EXPECT_ERRNO(EISDIR, open(test_path("file/"), O_RDWR | O_CREAT, 0600));
}

CASE(names_too_long)
{
    char name[NAME_MAX + 2];
    memset(name, 'n', sizeof name);
    name[NAME_MAX] = 0;
    EXPECT_OK(open(test_path(name), O_CREAT | O_RDWR, 0600));
    name[NAME_MAX] = 'n';
    name[NAME_MAX + 1] = 0;
    EXPECT_ERRNO(ENAMETOOLONG, open(test_path(name), O_CREAT | O_RDWR, 0600));
    EXPECT_ERRNO(ENAMETOOLONG, open(test_path(name), O_RDONLY));

    /* PATH_MAX counts the NUL. */
    static char path[PATH_MAX + 1];
    for (size_t i = 0; i < PATH_MAX; i += 2)
        memcpy(path + i, "./", 2);
    path[PATH_MAX - 1] = 0;
    int fd = EXPECT_OK(open(path, O_RDONLY));
    close(fd);
    path[PATH_MAX - 1] = '/';
    path[PATH_MAX] = 0;
    EXPECT_ERRNO(ENAMETOOLONG, open(path, O_RDONLY));
}

CASE(directories)
{
    EXPECT_ERRNO(EISDIR, open(test_dir(), O_WRONLY));
    EXPECT_ERRNO(EISDIR, open(test_dir(), O_RDWR));
    EXPECT_ERRNO(EISDIR, open(test_dir(), O_RDONLY | O_TRUNC));
    EXPECT_ERRNO(EISDIR, open(test_dir(), O_RDONLY | O_CREAT, 0600));
    EXPECT_ERRNO(EISDIR, open("/", O_RDONLY | O_CREAT, 0600));
    EXPECT_ERRNO(EISDIR, open(".", O_RDONLY | O_CREAT, 0600));
    int fd = EXPECT_OK(open(test_dir(), O_RDONLY));
    char c;
    EXPECT_ERRNO(EISDIR, read(fd, &c, 1));
    EXPECT_ERRNO(EISDIR, read(fd, &c, 0));
    EXPECT_ERRNO(EBADF, write(fd, &c, 1));
    EXPECT_OK(close(fd));
    EXPECT_OK(open(test_dir(), O_RDONLY | O_DIRECTORY));
}

CASE(links)
{
    close(make("file"));
    EXPECT_OK(symlink("file", test_path("link")));
    EXPECT_OK(symlink("loop", test_path("loop")));
    EXPECT_OK(symlink(test_dir(), test_path("dir")));
    EXPECT_OK(open(test_path("link"), O_RDONLY));
    EXPECT_ERRNO(ELOOP, open(test_path("link"), O_RDONLY | O_NOFOLLOW));
    EXPECT_ERRNO(ELOOP, open(test_path("loop"), O_RDONLY));
    EXPECT_ERRNO(ELOOP, open(test_path("loop"), O_RDWR | O_CREAT, 0600));
    EXPECT_OK(open(test_path("dir"), O_RDONLY));
    EXPECT_OK(open(test_path("dir/"), O_RDONLY | O_DIRECTORY));
    EXPECT_OK(open(test_path("dir/file"), O_RDONLY | O_NOFOLLOW));
    EXPECT_ERRNO(ENOTDIR, open(test_path("dir"), O_RDONLY | O_NOFOLLOW | O_DIRECTORY));
    EXPECT_OK(open(test_path("dir/"), O_RDONLY | O_NOFOLLOW));
    EXPECT_ERRNO(ENOTDIR, open(test_path("link/"), O_RDONLY));
}

CASE(forty_links)
{
    char from[16], to[16];
    close(make("l0"));
    for (int i = 1; i <= 41; i++) {
        snprintf(to, sizeof to, "l%d", i - 1);
        snprintf(from, sizeof from, "l%d", i);
        EXPECT_OK(symlink(to, test_path(from)));
    }
    EXPECT_OK(open(test_path("l40"), O_RDONLY));
    EXPECT_ERRNO(ELOOP, open(test_path("l41"), O_RDONLY));
    EXPECT_OK(open(test_path("l40"), O_RDONLY | O_CREAT, 0600));
    EXPECT_ERRNO(ELOOP, open(test_path("l41"), O_RDONLY | O_CREAT, 0600));
}

CASE(dots)
{
    EXPECT_OK(mkdir(test_path("a"), 0700));
    EXPECT_OK(mkdir(test_path("a/b"), 0700));
    close(make("f"));
    EXPECT_OK(open(test_path("a/../f"), O_RDONLY));
    EXPECT_OK(open(test_path("a/b/../../f"), O_RDONLY));
    EXPECT_OK(open(test_path("a/./b/.././../f"), O_RDONLY));
    EXPECT_OK(open(test_path("a//b///..//..//f"), O_RDONLY));
    EXPECT_ERRNO(ENOENT, open(test_path("x/../f"), O_RDONLY));
    EXPECT_OK(open("/../../..", O_RDONLY));
    EXPECT_OK(open(test_path("a/b/."), O_RDONLY));
    EXPECT_OK(symlink("a/b", test_path("ab")));
    EXPECT_OK(chdir(test_path("ab")));
    EXPECT_OK(open("../../f", O_RDONLY));
}

CASE(relative_to_descriptor)
{
    EXPECT_OK(mkdir(test_path("d"), 0700));
    int dir = EXPECT_OK(open(test_path("d"), O_RDONLY | O_DIRECTORY));
    int file = EXPECT_OK(openat(dir, "f", O_CREAT | O_RDWR, 0600));
    EXPECT_OK(access(test_path("d/f"), F_OK));
    EXPECT_ERRNO(ENOTDIR, openat(file, "f", O_RDONLY));
    EXPECT_ERRNO(EBADF, openat(-1, "f", O_RDONLY));
    EXPECT_ERRNO(EBADF, openat(9999, "f", O_RDONLY));
    EXPECT_ERRNO(ENOENT, openat(dir, "", O_RDONLY));
    EXPECT_OK(openat(-1, test_path("d/f"), O_RDONLY)); /* absolute: not looked at */
    EXPECT_OK(openat(file, test_path("d/f"), O_RDONLY));
    /* The descriptor goes on meaning the directory. */
    EXPECT_OK(rename(test_path("d"), test_path("e")));
    EXPECT_OK(openat(dir, "f", O_RDONLY));
    EXPECT_OK(openat(dir, "../e/f", O_RDONLY));
    EXPECT_OK(unlink(test_path("e/f")));
    EXPECT_OK(rmdir(test_path("e")));
    EXPECT_ERRNO(ENOENT, openat(dir, "f", O_RDONLY | O_CREAT, 0600));
    EXPECT_ERRNO(ENOENT, openat(dir, "f", O_RDONLY));
    EXPECT_OK(openat(dir, ".", O_RDONLY));
}

CASE(bad_addresses)
{
    EXPECT_ERRNO(EFAULT, syscall(SYS_open, (char *)1, O_RDONLY));
    EXPECT_ERRNO(EFAULT, syscall(SYS_open, NULL, O_RDONLY));
    EXPECT_ERRNO(EFAULT, syscall(SYS_open, (char *)0x7fffffffffffffff, O_RDONLY));
    EXPECT_ERRNO(EFAULT, syscall(SYS_open, (char *)-1, O_RDONLY));
}

CASE(access_modes)
{
    close(make("f"));
    char c = 'c';
    int fd = EXPECT_OK(open(test_path("f"), O_RDONLY));
    EXPECT_ERRNO(EBADF, write(fd, &c, 1));
    EXPECT_EQ(read(fd, &c, 1), 0);
    close(fd);
    fd = EXPECT_OK(open(test_path("f"), O_WRONLY));
    EXPECT_EQ(write(fd, &c, 1), 1);
    EXPECT_ERRNO(EBADF, read(fd, &c, 1));
    close(fd);
    fd = EXPECT_OK(open(test_path("f"), O_RDWR));
    EXPECT_EQ(read(fd, &c, 1), 1);
    EXPECT_EQ(write(fd, &c, 1), 1);
    close(fd);
    /* 3: neither, but needs both permissions; for ioctl. */
    fd = EXPECT_OK(open(test_path("f"), 3));
    EXPECT_ERRNO(EBADF, read(fd, &c, 1));
    EXPECT_ERRNO(EBADF, write(fd, &c, 1));
}

CASE(permissions)
{
    close(make("f"));
    EXPECT_OK(mkdir(test_path("d"), 0700));
    close(EXPECT_OK(open(test_path("d/f"), O_CREAT | O_RDWR, 0666)));
    become_nobody();
    int mine = EXPECT_OK(open(test_path("mine"), O_CREAT | O_EXCL | O_RDWR, 0000));
    EXPECT_EQ(write(mine, "x", 1), 1); /* the mode does not bind its maker */
    EXPECT_ERRNO(EACCES, open(test_path("mine"), O_RDONLY));
    EXPECT_OK(fchmod(mine, 0400));
    EXPECT_OK(open(test_path("mine"), O_RDONLY));
    EXPECT_ERRNO(EACCES, open(test_path("mine"), O_RDWR));
    EXPECT_ERRNO(EACCES, open(test_path("mine"), O_RDONLY | O_TRUNC));
    EXPECT_OK(fchmod(mine, 0200));
    EXPECT_OK(open(test_path("mine"), O_WRONLY));
    EXPECT_ERRNO(EACCES, open(test_path("mine"), O_RDONLY));
    EXPECT_OK(mkdir(test_path("dark"), 0300));
    EXPECT_ERRNO(EACCES, open(test_path("dark"), O_RDONLY));
    close(EXPECT_OK(open(test_path("dark/f"), O_CREAT | O_RDWR, 0600)));
    EXPECT_OK(chmod(test_path("dark"), 0600));
    EXPECT_ERRNO(EACCES, open(test_path("dark/f"), O_RDONLY));
    EXPECT_OK(chmod(test_path("dark"), 0500));
    EXPECT_ERRNO(EACCES, open(test_path("dark/g"), O_CREAT | O_RDWR, 0600));
    EXPECT_OK(open(test_path("dark/f"), O_CREAT | O_RDWR, 0600));
    EXPECT_OK(chmod(test_path("dark"), 0700));
}

CASE(noatime_is_for_owners)
{
    close(make("f"));
    EXPECT_OK(chmod(test_path("f"), 0666));
    EXPECT_OK(open(test_path("f"), O_RDONLY | O_NOATIME));
    if (geteuid() != 0)
        SKIP("needs a file of somebody else");
    become_nobody();
    EXPECT_ERRNO(EPERM, open(test_path("f"), O_RDONLY | O_NOATIME));
}

CASE(running_program_is_busy)
{
    /* A copy of ourselves that sleeps in a pipe read. */
    int from = EXPECT_OK(open("/proc/self/exe", O_RDONLY));
    int to = EXPECT_OK(open(test_path("prog"), O_CREAT | O_WRONLY, 0755));
    static char buf[65536];
    ssize_t n;
    while ((n = read(from, buf, sizeof buf)) > 0)
        EXPECT_EQ(write(to, buf, (size_t)n), n);
    EXPECT_ERRNO(ETXTBSY, execl(test_path("prog"), "prog", "--list", NULL));
    close(to);
    int p[2];
    EXPECT_OK(pipe(p));
    pid_t pid = fork();
    if (pid == 0) {
        dup2(p[1], 1);
        close(p[0]);
        close(p[1]);
        execl(test_path("prog"), "prog", "--list", NULL);
        _exit(99);
    }
    close(p[1]);
    EXPECT_EXITED(pid, 0);
    EXPECT_GT(read(p[0], buf, sizeof buf), 0);
    EXPECT_OK(open(test_path("prog"), O_WRONLY));
    /* Ourselves: we are running. */
    static const int writing[] = {O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC};
    for (size_t i = 0; i < sizeof(writing) / sizeof(*writing); i++) {
        if (open("/proc/self/exe", writing[i]) >= 0)
            FAIL("could open the running program for writing");
        EXPECT(errno == ETXTBSY || errno == EACCES || errno == EROFS);
    }
    EXPECT_EQ(truncate("/proc/self/exe", 0), -1);
    EXPECT(errno == ETXTBSY || errno == EACCES || errno == EROFS);
}

CASE(append)
{
    int fd = make("f");
    EXPECT_EQ(write(fd, "abc", 3), 3);
    int ap = EXPECT_OK(open(test_path("f"), O_RDWR | O_APPEND));
    EXPECT_EQ(lseek(ap, 0, SEEK_SET), 0);
    EXPECT_EQ(write(ap, "def", 3), 3);
    EXPECT_EQ(lseek(ap, 0, SEEK_CUR), 6);
    EXPECT_EQ(pwrite(ap, "ghi", 3, 0), 3); /* Linux appends */
    char buf[16];
    EXPECT_EQ(pread(fd, buf, 16, 0), 9);
    EXPECT_MEMEQ(buf, "abcdefghi", 9);
}

CASE(descriptor_limit)
{
    struct rlimit rl = {.rlim_cur = 10, .rlim_max = 10};
    close(make("f"));
    int dupe;
    EXPECT_OK(setrlimit(RLIMIT_NOFILE, &rl));
    while ((dupe = open(test_path("f"), O_RDONLY)) >= 0)
        EXPECT_LT(dupe, 10);
    EXPECT_EQ(errno, EMFILE);
    EXPECT_ERRNO(EMFILE, dup(0));
    EXPECT_ERRNO(EINVAL, fcntl(0, F_DUPFD, 10));
    EXPECT_ERRNO(EBADF, dup2(0, 10));
    EXPECT_ERRNO(EMFILE, open(test_path("created anyway"), O_CREAT | O_RDWR, 0600));
    EXPECT_OK(close(5));
    EXPECT_EQ(open(test_path("f"), O_RDONLY), 5);
}

CASE(close_twice)
{
    int fd = make("f");
    EXPECT_OK(close(fd));
    EXPECT_ERRNO(EBADF, close(fd));
    EXPECT_ERRNO(EBADF, close(-1));
    EXPECT_ERRNO(EBADF, close(1 << 30));
    EXPECT_ERRNO(EBADF, read(fd, NULL, 0));
}

CASE(path_descriptor)
{
    close(make("f"));
    struct stat st, st2;
    char c, proc[64];
    int fd = EXPECT_OK(open(test_path("f"), O_PATH));
    EXPECT_EQ(fcntl(fd, F_GETFL), O_PATH);
    EXPECT_ERRNO(EBADF, read(fd, &c, 1));
    EXPECT_ERRNO(EBADF, write(fd, &c, 1));
    EXPECT_ERRNO(EBADF, lseek(fd, 0, SEEK_SET));
    EXPECT_ERRNO(EBADF, fchmod(fd, 0600));
    EXPECT_ERRNO(EBADF, fchown(fd, 0, 0));
    EXPECT_ERRNO(EBADF, ftruncate(fd, 0));
    EXPECT_ERRNO(EBADF, fsync(fd));
    EXPECT_ERRNO(EBADF, fcntl(fd, F_SETFL, O_NONBLOCK));
    EXPECT_OK(fstat(fd, &st));
    EXPECT_OK(fstatat(fd, "", &st2, AT_EMPTY_PATH));
    EXPECT_EQ(st.st_ino, st2.st_ino);
    EXPECT_OK(dup(fd));
    EXPECT_OK(fcntl(fd, F_DUPFD_CLOEXEC, 0));
    EXPECT_EQ(fcntl(fd, F_GETFD), 0);
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
    EXPECT_OK(open(proc, O_RDWR));
    EXPECT_OK(close(fd));

    EXPECT_OK(symlink("f", test_path("link")));
    fd = EXPECT_OK(open(test_path("link"), O_PATH | O_NOFOLLOW));
    EXPECT_OK(fstat(fd, &st));
    EXPECT(S_ISLNK(st.st_mode));
    char target[8];
    EXPECT_EQ(readlinkat(fd, "", target, sizeof target), 1);
    EXPECT_OK(close(fd));

    fd = EXPECT_OK(open(test_dir(), O_PATH));
    EXPECT_OK(openat(fd, "f", O_RDONLY));
    EXPECT_OK(fchdir(fd));
    EXPECT_OK(access("f", F_OK));
    EXPECT_ERRNO(ENOTDIR, open(test_path("f"), O_PATH | O_DIRECTORY));
}

CASE(tmpfile)
{
    struct stat st;
    char proc[64];
    EXPECT_ERRNO(EINVAL, open(test_dir(), O_TMPFILE | O_RDONLY, 0600));
    int fd = open(test_dir(), O_TMPFILE | O_RDWR, 0640);
    if (fd < 0 && errno == EOPNOTSUPP)
        SKIP("this file system has no O_TMPFILE");
    EXPECT_OK(fd);
    EXPECT_OK(fstat(fd, &st));
    EXPECT_EQ(st.st_nlink, 0);
    EXPECT_EQ(st.st_mode & 07777, 0640 & ~022);
    EXPECT_EQ(write(fd, "hello", 5), 5);
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
    EXPECT_OK(linkat(AT_FDCWD, proc, AT_FDCWD, test_path("named"), AT_SYMLINK_FOLLOW));
    EXPECT_OK(fstat(fd, &st));
    EXPECT_EQ(st.st_nlink, 1);
    EXPECT_OK(stat(test_path("named"), &st));
    EXPECT_EQ(st.st_size, 5);
    int secret = EXPECT_OK(open(test_dir(), O_TMPFILE | O_RDWR | O_EXCL, 0600));
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", secret);
    EXPECT_ERRNO(ENOENT, linkat(AT_FDCWD, proc, AT_FDCWD, test_path("never"), AT_SYMLINK_FOLLOW));
    close(make("f"));
    EXPECT_ERRNO(ENOTDIR, open(test_path("f"), O_TMPFILE | O_RDWR, 0600));
    EXPECT_ERRNO(ENOENT, open(test_path("missing"), O_TMPFILE | O_RDWR, 0600));
}

CASE(flags_that_stay)
{
    int fd = EXPECT_OK(open(
        test_path("f"),
        O_CREAT | O_EXCL | O_TRUNC | O_NOCTTY | O_RDWR | O_APPEND | O_NONBLOCK | O_CLOEXEC, 0600));
    EXPECT_EQ(fcntl(fd, F_GETFL), O_RDWR | O_APPEND | O_NONBLOCK | 0100000);
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    fd = EXPECT_OK(open(test_dir(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    EXPECT_EQ(fcntl(fd, F_GETFL), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | 0100000);
    /* Unknown bits are ignored. */
    EXPECT_OK(open(test_path("f"), O_RDONLY | 1 << 30));
}

CASE(creat_call)
{
    int fd = EXPECT_OK(creat(test_path("f"), 0600));
    EXPECT_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_WRONLY);
    EXPECT_EQ(write(fd, "abc", 3), 3);
    struct stat st;
    close(EXPECT_OK(creat(test_path("f"), 0600)));
    EXPECT_OK(fstat(fd, &st));
    EXPECT_EQ(st.st_size, 0);
}

CASE(unlinked_file_lives)
{
    int fd = make("f");
    struct stat st;
    EXPECT_OK(unlink(test_path("f")));
    EXPECT_EQ(write(fd, "data", 4), 4);
    EXPECT_OK(fstat(fd, &st));
    EXPECT_EQ(st.st_nlink, 0);
    EXPECT_EQ(st.st_size, 4);
    char buf[4], proc[64];
    EXPECT_EQ(pread(fd, buf, 4, 0), 4);
    EXPECT_MEMEQ(buf, "data", 4);
    /* Another file of the same name is another file. */
    int other = make("f");
    EXPECT_EQ(read(other, buf, 4), 0);
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
    int again = EXPECT_OK(open(proc, O_RDONLY));
    EXPECT_EQ(read(again, buf, 4), 4);
}

CASE(socket_file)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s", test_path("sock"));
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    if (s < 0)
        SKIP("no Unix sockets");
    EXPECT_OK(bind(s, (struct sockaddr *)&addr, sizeof addr));
    EXPECT_ERRNO(ENXIO, open(addr.sun_path, O_RDWR));
    EXPECT_OK(open(addr.sun_path, O_PATH));
}

/* Threads make, open and remove the same few names; each call either works or fails for a reason
 * that the race explains. */
static void *racer(void *arg)
{
    unsigned seed = (unsigned)(size_t)arg;
    char path[512];
    for (int i = 0; i < 2000; i++) {
        snprintf(path, sizeof path, "%s/r%d", (char *)test_dir_name(test_case_pid),
                 rand_r(&seed) % 3);
        int fd;
        switch (rand_r(&seed) % 3) {
        case 0:
            fd = open(path, O_CREAT | O_EXCL | O_RDWR, 0600);
            if (fd < 0)
                EXPECT_EQ(errno, EEXIST);
            else
                EXPECT_EQ(write(fd, "x", 1), 1);
            break;
        case 1:
            fd = open(path, O_CREAT | O_RDWR, 0600);
            EXPECT_GE(fd, 0);
            break;
        default:
            fd = open(path, O_RDONLY);
            if (fd < 0)
                EXPECT_EQ(errno, ENOENT);
            if (unlink(path) < 0)
                EXPECT_EQ(errno, ENOENT);
        }
        if (fd >= 0)
            EXPECT_EQ(close(fd), 0);
    }
    return NULL;
}

CASE(races)
{
    pthread_t t[4];
    test_dir();
    for (size_t i = 0; i < 4; i++)
        EXPECT_EQ(pthread_create(&t[i], NULL, racer, (void *)(i + 1)), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
}

TEST_MAIN
