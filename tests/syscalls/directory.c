/* getdents64, getcwd, chdir, chroot, mkdir, rmdir, unlink. */
#include "tests/syscalls/test.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>

#ifndef __clang__ /* buffers that are too small are the point */
#pragma GCC diagnostic ignored "-Wstringop-overflow"
#endif

struct entry {
    uint64_t ino;
    int64_t off;
    uint16_t reclen;
    uint8_t type;
    char name[];
};

static void become_nobody(void)
{
    EXPECT_OK(chmod(test_dir(), 0777));
    if (geteuid() == 0) {
        EXPECT_OK(setresgid(65534, 65534, 65534));
        EXPECT_OK(setresuid(65534, 65534, 65534));
    }
}

static void touch(const char *name)
{
    EXPECT_OK(close(EXPECT_OK(open(test_path(name), O_CREAT | O_RDWR, 0600))));
}

/* ---- getdents64 ---- */

CASE(lists_everything_once)
{
    enum { N = 1000 };
    char name[32], buf[512];
    int seen[N] = {0}, dots = 0;
    int dir = EXPECT_OK(open(test_dir(), O_RDONLY | O_DIRECTORY));
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "entry-%d", i);
        if (i % 3 == 0)
            EXPECT_OK(mkdir(test_path(name), 0700));
        else if (i % 3 == 1)
            touch(name);
        else
            EXPECT_OK(symlink("x", test_path(name)));
    }
    long n;
    while ((n = syscall(SYS_getdents64, dir, buf, sizeof buf)) > 0) {
        for (long at = 0; at < n;) {
            struct entry *e = (struct entry *)(buf + at);
            int i;
            struct stat st;
            EXPECT_EQ(e->reclen % 8, 0);
            EXPECT_NE(e->ino, 0);
            at += e->reclen;
            EXPECT_LE(at, n);
            if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0) {
                EXPECT_EQ(e->type, DT_DIR);
                dots++;
                continue;
            }
            EXPECT_EQ(sscanf(e->name, "entry-%d", &i), 1);
            seen[i]++;
            EXPECT_OK(lstat(test_path(e->name), &st));
            EXPECT_EQ(st.st_ino, e->ino);
            EXPECT_EQ(e->type, i % 3 == 0 ? DT_DIR : i % 3 == 1 ? DT_REG : DT_LNK);
        }
    }
    EXPECT_EQ(n, 0);
    EXPECT_EQ(dots, 2);
    for (int i = 0; i < N; i++)
        EXPECT_EQ(seen[i], 1);
    EXPECT_EQ(syscall(SYS_getdents64, dir, buf, sizeof buf), 0);
    EXPECT_EQ(lseek(dir, 0, SEEK_SET), 0);
    EXPECT_GT(syscall(SYS_getdents64, dir, buf, sizeof buf), 0);
}

CASE(continues_at_offsets)
{
    char name[32], buf[256];
    for (int i = 0; i < 50; i++) {
        snprintf(name, sizeof name, "e%d", i);
        touch(name);
    }
    int dir = EXPECT_OK(open(test_dir(), O_RDONLY | O_DIRECTORY));
    long n = EXPECT_OK(syscall(SYS_getdents64, dir, buf, sizeof buf));
    struct entry *first = (struct entry *)buf;
    struct entry *second = (struct entry *)(buf + first->reclen);
    EXPECT_GT(n, first->reclen);
    char want[256];
    strcpy(want, second->name);
    EXPECT_EQ(lseek(dir, first->off, SEEK_SET), first->off);
    EXPECT_GT(syscall(SYS_getdents64, dir, buf, sizeof buf), 0);
    EXPECT_STREQ(((struct entry *)buf)->name, want);
}

CASE(removing_while_listing)
{
    char name[32], buf[256];
    enum { N = 300 };
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "e%d", i);
        touch(name);
    }
    int dir = EXPECT_OK(open(test_dir(), O_RDONLY | O_DIRECTORY));
    int found = 0;
    long n;
    while ((n = EXPECT_OK(syscall(SYS_getdents64, dir, buf, sizeof buf))) > 0) {
        for (long at = 0; at < n;) {
            struct entry *e = (struct entry *)(buf + at);
            at += e->reclen;
            if (e->name[0] == '.')
                continue;
            EXPECT_OK(unlink(test_path(e->name)));
            found++;
        }
    }
    EXPECT_EQ(found, N);
}

CASE(listing_errors)
{
    char buf[64];
    int dir = EXPECT_OK(open(test_dir(), O_RDONLY | O_DIRECTORY));
    touch("f");
    int file = EXPECT_OK(open(test_path("f"), O_RDONLY));
    EXPECT_ERRNO(ENOTDIR, syscall(SYS_getdents64, file, buf, sizeof buf));
    EXPECT_ERRNO(EBADF, syscall(SYS_getdents64, -1, buf, sizeof buf));
    EXPECT_ERRNO(EINVAL, syscall(SYS_getdents64, dir, buf, 4));
    EXPECT_ERRNO(EFAULT, syscall(SYS_getdents64, dir, (char *)1, 4096));
    EXPECT_GT(syscall(SYS_getdents64, dir, buf, sizeof buf), 0);
    int path = EXPECT_OK(open(test_dir(), O_PATH));
    EXPECT_ERRNO(EBADF, syscall(SYS_getdents64, path, buf, sizeof buf));
    EXPECT_OK(mkdir(test_path("d"), 0700));
    int gone = EXPECT_OK(open(test_path("d"), O_RDONLY));
    EXPECT_OK(rmdir(test_path("d")));
    EXPECT_ERRNO(ENOENT, syscall(SYS_getdents64, gone, buf, sizeof buf));
}

CASE(legacy_getdents)
{
    char buf[1024];
    touch("abc");
    EXPECT_OK(mkdir(test_path("dir"), 0700));
    int dir = EXPECT_OK(open(test_dir(), O_RDONLY | O_DIRECTORY)), found = 0;
    long n = EXPECT_OK(syscall(SYS_getdents, dir, buf, sizeof buf));
    for (long at = 0; at < n;) {
        struct {
            unsigned long ino, off;
            unsigned short reclen;
            char name[];
        } *e = (void *)(buf + at);
        char type = buf[at + e->reclen - 1];
        if (strcmp(e->name, "abc") == 0) {
            EXPECT_EQ(type, DT_REG);
            found++;
        } else {
            EXPECT_EQ(type, DT_DIR);
        }
        at += e->reclen;
    }
    EXPECT_EQ(found, 1);
}

/* ---- where we stand ---- */

CASE(working_directory)
{
    char buf[PATH_MAX], want[PATH_MAX];
    EXPECT_OK(mkdir(test_path("a"), 0700));
    EXPECT_OK(mkdir(test_path("a/b"), 0700));
    EXPECT_OK(symlink("a/b", test_path("l")));
    EXPECT_OK(chdir(test_path("l")));
    snprintf(want, sizeof want, "%s/a/b", test_dir());
    EXPECT_EQ(syscall(SYS_getcwd, buf, sizeof buf), (long)strlen(want) + 1);
    EXPECT_STREQ(buf, want);
    EXPECT_EQ(syscall(SYS_getcwd, buf, strlen(want) + 1), (long)strlen(want) + 1);
    EXPECT_ERRNO(ERANGE, syscall(SYS_getcwd, buf, strlen(want)));
    EXPECT_ERRNO(ERANGE, syscall(SYS_getcwd, buf, 0));
    EXPECT_ERRNO(EFAULT, syscall(SYS_getcwd, (char *)1, sizeof buf));
    EXPECT_OK(chdir(".."));
    snprintf(want, sizeof want, "%s/a", test_dir());
    EXPECT_STREQ(getcwd(buf, sizeof buf), want);
    EXPECT_OK(rename(test_path("a"), test_path("z")));
    snprintf(want, sizeof want, "%s/z", test_dir());
    EXPECT_STREQ(getcwd(buf, sizeof buf), want);
    EXPECT_OK(chdir("/"));
    EXPECT_STREQ(getcwd(buf, sizeof buf), "/");
}

CASE(removed_working_directory)
{
    char buf[PATH_MAX];
    EXPECT_OK(mkdir(test_path("d"), 0700));
    EXPECT_OK(chdir(test_path("d")));
    EXPECT_OK(rmdir(test_path("d")));
    EXPECT_ERRNO(ENOENT, syscall(SYS_getcwd, buf, sizeof buf));
    EXPECT_ERRNO(ENOENT, mkdir("x", 0700));
    EXPECT_ERRNO(ENOENT, open("x", O_CREAT | O_RDWR, 0600));
    EXPECT_ERRNO(ENOENT, symlink("y", "x"));
    struct stat st;
    EXPECT_OK(stat(".", &st));
    EXPECT_OK(chdir(".."));
    EXPECT_STREQ(getcwd(buf, sizeof buf), test_dir());
}

CASE(chdir_errors)
{
    touch("f");
    EXPECT_ERRNO(ENOTDIR, chdir(test_path("f")));
    EXPECT_ERRNO(ENOENT, chdir(test_path("no")));
    EXPECT_ERRNO(ENOENT, chdir(""));
    EXPECT_ERRNO(EFAULT, syscall(SYS_chdir, (char *)1));
    EXPECT_ERRNO(EBADF, fchdir(-1));
    int f = EXPECT_OK(open(test_path("f"), O_RDONLY));
    EXPECT_ERRNO(ENOTDIR, fchdir(f));
    EXPECT_OK(mkdir(test_path("dark"), 0600));
    EXPECT_OK(chmod(test_path("dark"), 0600));
    become_nobody();
    EXPECT_ERRNO(EACCES, chdir(test_path("dark")));
    int d = EXPECT_OK(open(test_path("dark"), O_PATH));
    EXPECT_ERRNO(EACCES, fchdir(d));
}

CASE(chroot_needs_privilege)
{
    become_nobody();
    EXPECT_ERRNO(EPERM, chroot(test_dir()));
    EXPECT_ERRNO(ENOENT, chroot(test_path("no")));
}

CASE(chroot_confines)
{
    char buf[PATH_MAX];
    EXPECT_OK(mkdir(test_path("jail"), 0755));
    EXPECT_OK(mkdir(test_path("jail/in"), 0755));
    touch("jail/f");
    touch("secret");
    EXPECT_OK(symlink("/f", test_path("jail/in/abs")));
    const char *outside = test_dir();
    if (chroot(test_path("jail")) < 0) {
        EXPECT_EQ(errno, EPERM);
        SKIP("needs CAP_SYS_CHROOT");
    }
    EXPECT_OK(chdir("/in"));
    EXPECT_STREQ(getcwd(buf, sizeof buf), "/in");
    EXPECT_OK(access("/f", F_OK));
    EXPECT_OK(access("abs", F_OK));
    EXPECT_OK(access("../../../f", F_OK));
    EXPECT_ERRNO(ENOENT, access("/../secret", F_OK));
    EXPECT_ERRNO(ENOENT, access("../../secret", F_OK));
    EXPECT_ERRNO(ENOENT, access(outside, F_OK));
    _exit(0); /* nothing below would find its way out */
}

CASE(chroot_leaves_the_working_directory)
{
    char buf[PATH_MAX];
    EXPECT_OK(mkdir(test_path("jail"), 0755));
    touch("secret");
    EXPECT_OK(chdir(test_dir()));
    if (chroot("jail") < 0)
        SKIP("needs CAP_SYS_CHROOT");
    EXPECT_OK(access("secret", F_OK));
    EXPECT_GT(syscall(SYS_getcwd, buf, sizeof buf), 0);
    EXPECT_EQ(strncmp(buf, "(unreachable)", 13), 0);
    _exit(0);
}

/* ---- making and removing ---- */

CASE(mkdir_modes)
{
    struct stat st;
    umask(027);
    EXPECT_OK(mkdir(test_path("a"), 0777));
    EXPECT_OK(stat(test_path("a"), &st));
    EXPECT_EQ(st.st_mode, S_IFDIR | 0750);
    EXPECT_OK(mkdir(test_path("b"), 01777));
    EXPECT_OK(stat(test_path("b"), &st));
    EXPECT_EQ(st.st_mode, S_IFDIR | 01750);
    EXPECT_OK(mkdir(test_path("c"), 07777)); /* set-id bits are ignored */
    EXPECT_OK(stat(test_path("c"), &st));
    EXPECT_EQ(st.st_mode, S_IFDIR | 01750);
    EXPECT_OK(chmod(test_path("a"), 02770));
    EXPECT_OK(mkdir(test_path("a/sub"), 0700));
    EXPECT_OK(stat(test_path("a/sub"), &st));
    EXPECT_EQ(st.st_mode, S_IFDIR | 02700); /* inherited */
}

CASE(mkdir_errors)
{
    char name[NAME_MAX + 2];
    touch("f");
    EXPECT_OK(symlink("nowhere", test_path("dangling")));
    EXPECT_ERRNO(EEXIST, mkdir(test_path("f"), 0700));
    EXPECT_ERRNO(EEXIST, mkdir(test_path("f/"), 0700));
    EXPECT_ERRNO(EEXIST, mkdir(test_path("dangling"), 0700));
    EXPECT_ERRNO(EEXIST, mkdir(test_dir(), 0700));
    EXPECT_ERRNO(EEXIST, mkdir("/", 0700));
    EXPECT_ERRNO(EEXIST, mkdir(".", 0700));
    EXPECT_ERRNO(EEXIST, mkdir("..", 0700));
    EXPECT_ERRNO(ENOENT, mkdir(test_path("x/."), 0700));
    EXPECT_ERRNO(ENOENT, mkdir(test_path("x/y"), 0700));
    EXPECT_ERRNO(ENOENT, mkdir("", 0700));
    EXPECT_ERRNO(ENOTDIR, mkdir(test_path("f/x"), 0700));
    memset(name, 'n', sizeof name);
    name[NAME_MAX + 1] = 0;
    EXPECT_ERRNO(ENAMETOOLONG, mkdir(test_path(name), 0700));
    EXPECT_ERRNO(EFAULT, syscall(SYS_mkdir, (char *)1, 0700));
    EXPECT_ERRNO(EBADF, mkdirat(-1, "x", 0700));
    int fd = EXPECT_OK(open(test_path("f"), O_RDONLY));
    EXPECT_ERRNO(ENOTDIR, mkdirat(fd, "x", 0700));
    EXPECT_OK(mkdir(test_path("slashes///"), 0700));
    EXPECT_OK(mkdir(test_path("ro"), 0500));
    become_nobody();
    EXPECT_ERRNO(EACCES, mkdir("/x", 0700));
}

CASE(rmdir_errors)
{
    touch("f");
    EXPECT_OK(mkdir(test_path("d"), 0700));
    EXPECT_OK(mkdir(test_path("d/e"), 0700));
    EXPECT_OK(symlink("d/e", test_path("l")));
    EXPECT_ERRNO(ENOTEMPTY, rmdir(test_path("d")));
    EXPECT_ERRNO(ENOTDIR, rmdir(test_path("f")));
    EXPECT_ERRNO(ENOTDIR, rmdir(test_path("l")));
    EXPECT_ERRNO(ENOENT, rmdir(test_path("no")));
    EXPECT_ERRNO(EINVAL, rmdir(test_path("d/.")));
    EXPECT_ERRNO(ENOTEMPTY, rmdir(test_path("d/e/..")));
    EXPECT_ERRNO(EBUSY, rmdir("/"));
    EXPECT_ERRNO(ENOTDIR, rmdir(test_path("f/x")));
    EXPECT_ERRNO(ENOTDIR, unlinkat(AT_FDCWD, test_path("f"), AT_REMOVEDIR));
    EXPECT_ERRNO(EINVAL, unlinkat(AT_FDCWD, test_path("f"), 1));
    EXPECT_OK(rmdir(test_path("d/e/")));
    EXPECT_OK(unlinkat(AT_FDCWD, test_path("d"), AT_REMOVEDIR));
}

CASE(unlink_errors)
{
    touch("f");
    EXPECT_OK(mkdir(test_path("d"), 0700));
    EXPECT_OK(symlink("d", test_path("l")));
    EXPECT_ERRNO(EISDIR, unlink(test_path("d")));
    EXPECT_ERRNO(EISDIR, unlink(test_path("d/")));
    EXPECT_ERRNO(EISDIR, unlink("/"));
    EXPECT_ERRNO(EISDIR, unlink("."));
    EXPECT_ERRNO(EISDIR, unlink(".."));
    EXPECT_ERRNO(ENOTDIR, unlink(test_path("f/")));
    EXPECT_ERRNO(ENOTDIR, unlink(test_path("l/")));
    EXPECT_ERRNO(ENOENT, unlink(test_path("no")));
    EXPECT_ERRNO(ENOENT, unlink(test_path("no/")));
    EXPECT_ERRNO(ENOENT, unlink(""));
    EXPECT_ERRNO(ENOTDIR, unlink(test_path("f/x")));
    EXPECT_ERRNO(EFAULT, syscall(SYS_unlink, (char *)1));
    EXPECT_ERRNO(EBADF, unlinkat(-1, "x", 0));
    EXPECT_OK(unlink(test_path("l"))); /* the link, not what it names */
    EXPECT_OK(access(test_path("d"), F_OK));
}

CASE(sticky_directories)
{
    if (geteuid() != 0)
        SKIP("needs several users");
    EXPECT_OK(mkdir(test_path("s"), 0));
    EXPECT_OK(chmod(test_path("s"), 01777));
    touch("s/roots");
    touch("s/mine");
    EXPECT_OK(chown(test_path("s/mine"), 1000, 1000));
    EXPECT_OK(chmod(test_dir(), 0777));
    EXPECT_OK(setresuid(1000, 1000, 1000));
    EXPECT_ERRNO(EPERM, unlink(test_path("s/roots")));
    EXPECT_ERRNO(EPERM, rename(test_path("s/roots"), test_path("s/x")));
    EXPECT_ERRNO(EPERM, rename(test_path("s/mine"), test_path("s/roots")));
    EXPECT_OK(rename(test_path("s/mine"), test_path("s/still mine")));
    EXPECT_OK(unlink(test_path("s/still mine")));
}

CASE(mknod_kinds)
{
    struct stat st;
    EXPECT_OK(mknod(test_path("reg"), 0640, 0));
    EXPECT_OK(stat(test_path("reg"), &st));
    EXPECT(S_ISREG(st.st_mode));
    EXPECT_OK(mknod(test_path("reg2"), S_IFREG | 0640, 0));
    EXPECT_OK(mkfifo(test_path("fifo"), 0640));
    EXPECT_OK(stat(test_path("fifo"), &st));
    EXPECT_EQ(st.st_mode, S_IFIFO | 0640);
    EXPECT_ERRNO(EEXIST, mkfifo(test_path("fifo"), 0640));
    EXPECT_OK(mknod(test_path("sock"), S_IFSOCK | 0600, 0));
    EXPECT_OK(stat(test_path("sock"), &st));
    EXPECT(S_ISSOCK(st.st_mode));
    EXPECT_ERRNO(EPERM, mknod(test_path("d"), S_IFDIR | 0600, 0));
    EXPECT_ERRNO(EINVAL, mknod(test_path("x"), S_IFLNK | 0600, 0));
    EXPECT_ERRNO(EINVAL, mknod(test_path("x"), 0130000, 0));
    EXPECT_ERRNO(ENOENT, mknod(test_path("x/"), S_IFREG | 0600, 0));
    become_nobody();
    EXPECT_ERRNO(EPERM, mknod(test_path("dev"), S_IFCHR | 0600, 259));
    EXPECT_OK(mkfifo(test_path("fifo2"), 0640));
}

CASE(deep_directories)
{
    /* Deeper than PATH_MAX, step by step; and up again. */
    enum { DEPTH = 600 };
    char buf[PATH_MAX * 4];
    EXPECT_OK(chdir(test_dir()));
    for (int i = 0; i < DEPTH; i++) {
        EXPECT_OK(mkdir("a-directory", 0700));
        EXPECT_OK(chdir("a-directory"));
    }
    EXPECT_ERRNO(ENAMETOOLONG, syscall(SYS_getcwd, buf, sizeof buf));
    for (int i = 0; i < DEPTH; i++) {
        EXPECT_OK(chdir(".."));
        EXPECT_OK(rmdir("a-directory"));
    }
    EXPECT_STREQ(getcwd(buf, sizeof buf), test_dir());
}

CASE(umask_call)
{
    umask(0);
    EXPECT_EQ(umask(07777), 0);
    EXPECT_EQ(umask(022), 0777);
    EXPECT_EQ(umask(0), 022);
}

TEST_MAIN
