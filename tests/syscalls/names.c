/* rename, link, symlink. */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <pthread.h>

static void touch(const char *name, const char *text)
{
    int fd = EXPECT_OK(open(test_path(name), O_CREAT | O_WRONLY | O_TRUNC, 0600));
    EXPECT_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    EXPECT_OK(close(fd));
}

static const char *contents(const char *name)
{
    static char buf[64];
    int fd = open(test_path(name), O_RDONLY);
    if (fd < 0)
        return "-";
    ssize_t n = EXPECT_OK(read(fd, buf, sizeof buf - 1));
    buf[n] = 0;
    close(fd);
    return buf;
}

static ino_t inode_of(const char *name)
{
    struct stat st;
    EXPECT_OK(lstat(test_path(name), &st));
    return st.st_ino;
}

static int mv(const char *from, const char *to)
{
    return rename(test_path(from), test_path(to));
}
static int mv2(const char *from, const char *to, unsigned flags)
{
    return renameat2(AT_FDCWD, test_path(from), AT_FDCWD, test_path(to), flags);
}

/* ---- rename ---- */

CASE(moves_a_file)
{
    touch("a", "one");
    ino_t ino = inode_of("a");
    EXPECT_OK(mv("a", "b"));
    EXPECT_EQ(inode_of("b"), ino);
    EXPECT_STREQ(contents("a"), "-");
    EXPECT_STREQ(contents("b"), "one");
    EXPECT_OK(mkdir(test_path("d"), 0700));
    EXPECT_OK(mv("b", "d/c"));
    EXPECT_EQ(inode_of("d/c"), ino);
    EXPECT_OK(mv("d/c", "d/c")); /* onto itself */
    EXPECT_STREQ(contents("d/c"), "one");
    EXPECT_ERRNO(ENOENT, mv("b", "x"));
}

CASE(replaces_a_file)
{
    touch("a", "one");
    touch("b", "two");
    int fd = EXPECT_OK(open(test_path("b"), O_RDONLY));
    EXPECT_OK(mv("a", "b"));
    EXPECT_STREQ(contents("b"), "one");
    char buf[8];
    EXPECT_EQ(read(fd, buf, 8), 3);
    EXPECT_MEMEQ(buf, "two", 3);
    struct stat st;
    EXPECT_OK(fstat(fd, &st));
    EXPECT_EQ(st.st_nlink, 0);
}

CASE(links_to_the_same_file)
{
    touch("a", "one");
    EXPECT_OK(link(test_path("a"), test_path("b")));
    EXPECT_OK(mv("a", "b")); /* does nothing */
    EXPECT_EQ(inode_of("a"), inode_of("b"));
}

CASE(moves_directories)
{
    EXPECT_OK(mkdir(test_path("d"), 0700));
    touch("d/f", "deep");
    EXPECT_OK(mkdir(test_path("e"), 0700));
    EXPECT_OK(mv("d", "e/d"));
    EXPECT_STREQ(contents("e/d/f"), "deep");
    EXPECT_STREQ(contents("e/d/../d/f"), "deep");
    EXPECT_EQ(inode_of("e/d/.."), inode_of("e"));
    EXPECT_ERRNO(EINVAL, mv("e", "e/d/x"));
    EXPECT_ERRNO(EINVAL, mv("e", "e/x"));
    EXPECT_ERRNO(ENOTEMPTY, mv("e/d", "e"));
    EXPECT_OK(mkdir(test_path("empty"), 0700));
    EXPECT_OK(mv("e/d", "empty"));
    EXPECT_STREQ(contents("empty/f"), "deep");
    EXPECT_OK(mkdir(test_path("full"), 0700));
    touch("full/x", "");
    EXPECT_OK(mkdir(test_path("other"), 0700));
    if (mv("other", "full") >= 0)
        FAIL("replaced a directory that is not empty");
    EXPECT(errno == ENOTEMPTY || errno == EEXIST);
    EXPECT_OK(mv("other/", "new/"));
    EXPECT_OK(access(test_path("new"), F_OK));
}

CASE(kinds_must_agree)
{
    touch("f", "");
    EXPECT_OK(mkdir(test_path("d"), 0700));
    EXPECT_OK(symlink("d", test_path("l")));
    EXPECT_ERRNO(EISDIR, mv("f", "d"));
    EXPECT_ERRNO(ENOTDIR, mv("d", "f"));
    EXPECT_ERRNO(ENOTDIR, mv("f/", "g"));
    EXPECT_ERRNO(ENOTDIR, mv("f", "g/"));
    EXPECT_ERRNO(ENOTDIR, mv("f/x", "g"));
    EXPECT_ERRNO(ENOENT, mv("no/x", "g"));
    EXPECT_ERRNO(ENOENT, mv("f", "no/x"));
    EXPECT_ERRNO(EBUSY, rename(test_path("d/."), test_path("x")));
    EXPECT_ERRNO(EBUSY, rename(test_path("d/.."), test_path("x")));
    EXPECT_ERRNO(EBUSY, rename(test_path("f"), test_path("d/.")));
    EXPECT_ERRNO(EBUSY, rename("/", "/x"));
    EXPECT_ERRNO(ENOENT, rename("", test_path("x")));
    EXPECT_ERRNO(ENOENT, rename(test_path("f"), ""));
    EXPECT_ERRNO(EFAULT, syscall(SYS_rename, (char *)1, test_path("x")));
    EXPECT_ERRNO(EFAULT, syscall(SYS_rename, test_path("f"), (char *)1));
    EXPECT_OK(mv("l", "m")); /* the link itself */
    EXPECT_EQ(readlink(test_path("m"), (char[8]){0}, 8), 1);
    EXPECT_OK(mv("f", "m"));
    EXPECT_OK(access(test_path("d"), F_OK));
}

CASE(no_replace)
{
    touch("a", "one");
    touch("b", "two");
    EXPECT_ERRNO(EEXIST, mv2("a", "b", RENAME_NOREPLACE));
    EXPECT_ERRNO(EEXIST, mv2("a", "a", RENAME_NOREPLACE));
    EXPECT_OK(mv2("a", "c", RENAME_NOREPLACE));
    EXPECT_STREQ(contents("b"), "two");
    EXPECT_STREQ(contents("c"), "one");
    EXPECT_ERRNO(EINVAL, mv2("b", "c", RENAME_NOREPLACE | RENAME_EXCHANGE));
    EXPECT_ERRNO(EINVAL, mv2("b", "c", 64));
    EXPECT_ERRNO(EEXIST, renameat2(AT_FDCWD, "/x", AT_FDCWD, "/", RENAME_NOREPLACE));
}

CASE(exchange)
{
    touch("a", "one");
    EXPECT_OK(mkdir(test_path("d"), 0700));
    touch("d/f", "in");
    if (mv2("a", "d", RENAME_EXCHANGE) < 0 && errno == EINVAL)
        SKIP("this file system does not exchange");
    EXPECT_STREQ(contents("d"), "one");
    EXPECT_STREQ(contents("a/f"), "in");
    EXPECT_EQ(inode_of("a/.."), inode_of("."));
    EXPECT_ERRNO(ENOENT, mv2("a", "no", RENAME_EXCHANGE));
    EXPECT_ERRNO(ENOENT, mv2("no", "a", RENAME_EXCHANGE));
    EXPECT_ERRNO(EINVAL, mv2("a", "a/f", RENAME_EXCHANGE));
    EXPECT_OK(mkdir(test_path("a/deep"), 0700));
    EXPECT_ERRNO(EINVAL, mv2("a/deep", "a", RENAME_EXCHANGE));
    EXPECT_OK(mv2("d", "a/f", RENAME_EXCHANGE));
    EXPECT_STREQ(contents("a/f"), "one");
    EXPECT_STREQ(contents("d"), "in");
}

CASE(rename_needs_write_to_both_directories)
{
    if (geteuid() != 0)
        SKIP("needs several users");
    EXPECT_OK(mkdir(test_path("closed"), 0755));
    EXPECT_OK(mkdir(test_path("open"), 0777));
    EXPECT_OK(chmod(test_path("open"), 0777));
    EXPECT_OK(chmod(test_dir(), 0777));
    touch("closed/f", "");
    touch("open/g", "");
    EXPECT_OK(mkdir(test_path("open/dir"), 0755));
    EXPECT_OK(setresuid(1000, 1000, 1000));
    EXPECT_ERRNO(EACCES, mv("closed/f", "open/f"));
    EXPECT_ERRNO(EACCES, mv("open/g", "closed/g"));
    EXPECT_OK(mv("open/g", "g"));
    /* Its ".." would change, and it is not ours to write. */
    EXPECT_ERRNO(EACCES, mv("open/dir", "dir"));
    EXPECT_OK(mv("open/dir", "open/dir2"));
}

/* ---- link ---- */

CASE(hard_links)
{
    struct stat st;
    touch("a", "one");
    EXPECT_OK(link(test_path("a"), test_path("b")));
    EXPECT_EQ(inode_of("a"), inode_of("b"));
    EXPECT_OK(stat(test_path("a"), &st));
    EXPECT_EQ(st.st_nlink, 2);
    touch("b", "two");
    EXPECT_STREQ(contents("a"), "two");
    EXPECT_OK(unlink(test_path("a")));
    EXPECT_OK(stat(test_path("b"), &st));
    EXPECT_EQ(st.st_nlink, 1);
    EXPECT_OK(mkdir(test_path("d"), 0700));
    EXPECT_ERRNO(EPERM, link(test_path("d"), test_path("e")));
    EXPECT_ERRNO(EEXIST, link(test_path("b"), test_path("d")));
    EXPECT_ERRNO(EEXIST, link(test_path("b"), test_path("b")));
    EXPECT_ERRNO(ENOENT, link(test_path("no"), test_path("e")));
    EXPECT_ERRNO(ENOENT, link(test_path("b"), test_path("no/e")));
    EXPECT_ERRNO(ENOENT, link(test_path("b"), test_path("e/")));
    EXPECT_ERRNO(ENOTDIR, link(test_path("b/x"), test_path("e")));
    EXPECT_ERRNO(EXDEV, link("/proc/self/status", test_path("e")));
    EXPECT_ERRNO(EINVAL, linkat(AT_FDCWD, test_path("b"), AT_FDCWD, test_path("e"), 1));
    EXPECT_ERRNO(EFAULT, syscall(SYS_link, (char *)1, test_path("e")));
}

CASE(links_to_links)
{
    struct stat st;
    touch("f", "one");
    EXPECT_OK(symlink("f", test_path("l")));
    EXPECT_OK(link(test_path("l"), test_path("m")));
    EXPECT_OK(lstat(test_path("m"), &st));
    EXPECT(S_ISLNK(st.st_mode));
    EXPECT_EQ(st.st_nlink, 2);
    EXPECT_OK(linkat(AT_FDCWD, test_path("l"), AT_FDCWD, test_path("n"), AT_SYMLINK_FOLLOW));
    EXPECT_EQ(inode_of("n"), inode_of("f"));
}

CASE(link_of_a_removed_file)
{
    char proc[64];
    int fd = EXPECT_OK(open(test_path("f"), O_CREAT | O_RDWR, 0600));
    EXPECT_OK(unlink(test_path("f")));
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
    EXPECT_ERRNO(ENOENT, linkat(AT_FDCWD, proc, AT_FDCWD, test_path("g"), AT_SYMLINK_FOLLOW));
}

/* ---- symlink ---- */

CASE(symbolic_links)
{
    static char longer[PATH_MAX + 1];
    memset(longer, 'x', PATH_MAX);
    touch("f", "one");
    EXPECT_OK(symlink("f", test_path("l")));
    EXPECT_STREQ(contents("l"), "one");
    EXPECT_ERRNO(EEXIST, symlink("f", test_path("l")));
    EXPECT_ERRNO(EEXIST, symlink("f", test_path("f")));
    EXPECT_ERRNO(ENOENT, symlink("", test_path("m")));
    EXPECT_ERRNO(ENOENT, symlink("f", ""));
    EXPECT_ERRNO(ENOENT, symlink("f", test_path("no/m")));
    EXPECT_ERRNO(ENOENT, symlink("f", test_path("m/")));
    EXPECT_ERRNO(ENOTDIR, symlink("f", test_path("f/m")));
    EXPECT_ERRNO(ENAMETOOLONG, symlink(longer, test_path("m")));
    EXPECT_ERRNO(EFAULT, syscall(SYS_symlink, (char *)1, test_path("m")));
    EXPECT_ERRNO(EFAULT, syscall(SYS_symlink, "f", (char *)1));
    EXPECT_ERRNO(EBADF, symlinkat("f", -1, "m"));
}

/* Renames in circles, from several threads: no name is ever lost, and nothing hangs. */
static void *mover(void *arg)
{
    unsigned seed = (unsigned)(size_t)arg;
    static const char *const dirs[] = {"p", "q", "p/r"};
    char from[600], to[600];
    for (int i = 0; i < 1500; i++) {
        snprintf(from, sizeof from, "%s/%s/%d", test_dir_name(test_case_pid),
                 dirs[rand_r(&seed) % 3], rand_r(&seed) % 3);
        snprintf(to, sizeof to, "%s/%s/%d", test_dir_name(test_case_pid), dirs[rand_r(&seed) % 3],
                 rand_r(&seed) % 3);
        if (renameat2(AT_FDCWD, from, AT_FDCWD, to, rand_r(&seed) % 2 ? RENAME_NOREPLACE : 0) < 0)
            EXPECT(errno == ENOENT || errno == EEXIST || errno == ENOTEMPTY || errno == EINVAL);
    }
    return NULL;
}

CASE(races)
{
    pthread_t t[3];
    EXPECT_OK(mkdir(test_path("p"), 0700));
    EXPECT_OK(mkdir(test_path("q"), 0700));
    EXPECT_OK(mkdir(test_path("p/r"), 0700));
    EXPECT_OK(mkdir(test_path("p/0"), 0700));
    EXPECT_OK(mkdir(test_path("q/1"), 0700));
    EXPECT_OK(mkdir(test_path("p/r/2"), 0700));
    for (size_t i = 0; i < 3; i++)
        EXPECT_EQ(pthread_create(&t[i], NULL, mover, (void *)(i + 1)), 0);
    for (size_t i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    EXPECT_OK(access(test_path("p/r"), F_OK));
}

TEST_MAIN
