/* openat2: the structure, and the RESOLVE_ flags. */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <linux/openat2.h>

static long try(int dir, const char *path, uint64_t flags, uint64_t resolve)
{
    struct open_how how = {.flags = flags, .resolve = resolve};
    return syscall(SYS_openat2, dir, path, &how, sizeof how);
}

/* test_dir()/base/{file, sub/, abs -> /etc, up -> .., in -> sub/../file, out -> ../outside};
 * outside */
static int base(void)
{
    EXPECT_OK(mkdir(test_path("base"), 0700));
    int fd = EXPECT_OK(open(test_path("base"), O_RDONLY | O_DIRECTORY));
    EXPECT_OK(close(EXPECT_OK(openat(fd, "file", O_CREAT | O_RDWR, 0600))));
    EXPECT_OK(mkdirat(fd, "sub", 0700));
    EXPECT_OK(symlinkat("/etc", fd, "abs"));
    EXPECT_OK(symlinkat("..", fd, "up"));
    EXPECT_OK(symlinkat("sub/../file", fd, "in"));
    EXPECT_OK(symlinkat("../outside", fd, "out"));
    EXPECT_OK(symlinkat("/file", fd, "root"));
    EXPECT_OK(close(EXPECT_OK(open(test_path("outside"), O_CREAT | O_RDWR, 0600))));
    return fd;
}

CASE(structure)
{
    struct {
        struct open_how how;
        char more[64];
    } big = {{.flags = O_RDONLY}, {0}};
    EXPECT_OK(syscall(SYS_openat2, AT_FDCWD, "/", &big, sizeof big));
    big.more[63] = 1;
    EXPECT_ERRNO(E2BIG, syscall(SYS_openat2, AT_FDCWD, "/", &big, sizeof big));
    EXPECT_OK(syscall(SYS_openat2, AT_FDCWD, "/", &big, sizeof big.how));
    EXPECT_ERRNO(EINVAL, syscall(SYS_openat2, AT_FDCWD, "/", &big, sizeof big.how - 1));
    EXPECT_ERRNO(EINVAL, syscall(SYS_openat2, AT_FDCWD, "/", &big, 0));
    EXPECT_ERRNO(E2BIG, syscall(SYS_openat2, AT_FDCWD, "/", &big, 1 << 20));
    EXPECT_ERRNO(EFAULT, syscall(SYS_openat2, AT_FDCWD, "/", (void *)1, sizeof big.how));
}

CASE(strict_flags)
{
    int dir = base();
    struct open_how how = {.flags = O_RDONLY, .mode = 0600};
    EXPECT_ERRNO(EINVAL, syscall(SYS_openat2, dir, "file", &how, sizeof how));
    how = (struct open_how){.flags = O_CREAT | O_RDWR, .mode = 010000};
    EXPECT_ERRNO(EINVAL, syscall(SYS_openat2, dir, "file", &how, sizeof how));
    how.mode = 0600;
    EXPECT_OK(syscall(SYS_openat2, dir, "new", &how, sizeof how));
    EXPECT_ERRNO(EINVAL, try(dir, "file", 1ull << 40, 0));
    EXPECT_ERRNO(EINVAL, try(dir, "file", 1u << 30, 0));
    EXPECT_ERRNO(EINVAL, try(dir, "file", O_RDONLY, 1 << 20));
    EXPECT_ERRNO(EINVAL, try(dir, "file", O_RDONLY, RESOLVE_BENEATH | RESOLVE_IN_ROOT));
    EXPECT_ERRNO(EINVAL, try(dir, "file", O_PATH | O_RDWR, 0));
    EXPECT_ERRNO(EINVAL, try(dir, ".", O_TMPFILE | O_RDONLY, 0));
    EXPECT_OK(try(dir, "file", O_PATH | O_NOFOLLOW | O_CLOEXEC, 0));
}

CASE(beneath)
{
    int dir = base();
    for (int round = 0; round < 2; round++) {
        EXPECT_OK(try(dir, "file", O_RDONLY, RESOLVE_BENEATH));
        EXPECT_OK(try(dir, "sub/../file", O_RDONLY, RESOLVE_BENEATH));
        EXPECT_OK(try(dir, "in", O_RDONLY, RESOLVE_BENEATH));
        EXPECT_OK(try(dir, "sub/..", O_RDONLY, RESOLVE_BENEATH));
        EXPECT_ERRNO(EXDEV, try(dir, "..", O_RDONLY, RESOLVE_BENEATH));
        EXPECT_ERRNO(EXDEV, try(dir, "/", O_RDONLY, RESOLVE_BENEATH));
        EXPECT_ERRNO(EXDEV, try(dir, "abs", O_RDONLY, RESOLVE_BENEATH));
        EXPECT_ERRNO(EXDEV, try(dir, "abs/passwd", O_RDONLY, RESOLVE_BENEATH));
        EXPECT_ERRNO(EXDEV, try(dir, "up", O_RDONLY, RESOLVE_BENEATH));
        EXPECT_ERRNO(EXDEV, try(dir, "up/outside", O_RDONLY, RESOLVE_BENEATH));
        EXPECT_ERRNO(EXDEV, try(dir, "out", O_RDONLY, RESOLVE_BENEATH));
        EXPECT_ERRNO(EXDEV, try(dir, "sub/../../outside", O_RDONLY, RESOLVE_BENEATH));
        EXPECT_ERRNO(ENOENT, try(dir, "missing", O_RDONLY, RESOLVE_BENEATH));
    }
    struct open_how how = {.flags = O_CREAT | O_RDWR, .mode = 0600, .resolve = RESOLVE_BENEATH};
    EXPECT_ERRNO(EXDEV, syscall(SYS_openat2, dir, "../x", &how, sizeof how));
    EXPECT_ERRNO(EXDEV, syscall(SYS_openat2, dir, "out", &how, sizeof how));
    EXPECT_OK(syscall(SYS_openat2, dir, "sub/x", &how, sizeof how));
}

CASE(in_root)
{
    int dir = base();
    struct stat st, file;
    EXPECT_OK(fstatat(dir, "file", &file, 0));
    for (int round = 0; round < 2; round++) {
        static const char *const paths[] = {"root", "/file",   "../file",    "../../../file",
                                            "in",   "up/file", "/up/../file"};
        for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
            int fd = (int)EXPECT_OK(try(dir, paths[i], O_RDONLY, RESOLVE_IN_ROOT));
            EXPECT_OK(fstat(fd, &st));
            EXPECT_EQ(st.st_ino, file.st_ino);
        }
        EXPECT_ERRNO(ENOENT, try(dir, "abs", O_RDONLY, RESOLVE_IN_ROOT));
        EXPECT_ERRNO(ENOENT, try(dir, "out", O_RDONLY, RESOLVE_IN_ROOT));
        EXPECT_ERRNO(ENOENT, try(dir, "../outside", O_RDONLY, RESOLVE_IN_ROOT));
    }
}

CASE(no_symlinks)
{
    int dir = base();
    EXPECT_OK(try(dir, "file", O_RDONLY, RESOLVE_NO_SYMLINKS));
    EXPECT_OK(try(dir, "..", O_RDONLY, RESOLVE_NO_SYMLINKS));
    EXPECT_ERRNO(ELOOP, try(dir, "in", O_RDONLY, RESOLVE_NO_SYMLINKS));
    EXPECT_ERRNO(ELOOP, try(dir, "up/outside", O_RDONLY, RESOLVE_NO_SYMLINKS));
    EXPECT_OK(try(dir, "in", O_PATH | O_NOFOLLOW, RESOLVE_NO_SYMLINKS));
}

CASE(no_magic_links)
{
    char link[64];
    int dir = base();
    snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
    EXPECT_OK(try(AT_FDCWD, link, O_RDONLY, 0));
    EXPECT_ERRNO(ELOOP, try(AT_FDCWD, link, O_RDONLY, RESOLVE_NO_MAGICLINKS));
    EXPECT_ERRNO(ELOOP, try(AT_FDCWD, "/proc/self/cwd/x", O_RDONLY, RESOLVE_NO_MAGICLINKS));
    EXPECT_OK(try(dir, "in", O_RDONLY, RESOLVE_NO_MAGICLINKS)); /* ordinary links are */
    int proc = EXPECT_OK(open("/proc/self", O_RDONLY));
    EXPECT_ERRNO(EXDEV, try(proc, "cwd", O_RDONLY, RESOLVE_BENEATH));
    EXPECT_ERRNO(EXDEV, try(proc, "root", O_RDONLY, RESOLVE_IN_ROOT));
}

CASE(no_crossing)
{
    int root = EXPECT_OK(open("/", O_RDONLY)), proc = EXPECT_OK(open("/proc", O_RDONLY));
    EXPECT_ERRNO(EXDEV, try(root, "proc", O_RDONLY, RESOLVE_NO_XDEV));
    EXPECT_ERRNO(EXDEV, try(root, "proc/self/status", O_RDONLY, RESOLVE_NO_XDEV));
    EXPECT_ERRNO(EXDEV, try(proc, "..", O_RDONLY, RESOLVE_NO_XDEV));
    EXPECT_OK(try(proc, "/", O_RDONLY, RESOLVE_NO_XDEV)); /* where an absolute path begins */
    EXPECT_OK(try(proc, "self/status", O_RDONLY, RESOLVE_NO_XDEV));
    EXPECT_OK(try(root, "..", O_RDONLY, RESOLVE_NO_XDEV));
}

CASE(cached)
{
    int dir = base();
    EXPECT_ERRNO(EAGAIN, try(dir, "file", O_RDONLY | O_TRUNC, RESOLVE_CACHED));
    struct open_how how = {.flags = O_CREAT | O_RDWR, .mode = 0600, .resolve = RESOLVE_CACHED};
    EXPECT_ERRNO(EAGAIN, syscall(SYS_openat2, dir, "new", &how, sizeof how));
    EXPECT_OK(try(dir, "file", O_RDONLY, 0));
    long fd = try(dir, "file", O_RDONLY, RESOLVE_CACHED); /* a promise of nothing */
    EXPECT(fd >= 0 || errno == EAGAIN);
}

TEST_MAIN
