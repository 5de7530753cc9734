/* Calls about files that the other tests leave out: leases, handles, fallocate's other modes,
 * holes, statx masks, large descriptor tables, set-group-id directories, link counts. */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

static int make(const char *name, const char *text)
{
    int fd = EXPECT_OK(open(test_path(name), O_CREAT | O_RDWR | O_TRUNC, 0644));
    EXPECT_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    return fd;
}

static struct stat stat_of(const char *name)
{
    struct stat st;
    EXPECT_OK(lstat(test_path(name), &st));
    return st;
}

/* ---- what a kernel may lack ---- */

CASE(leases)
{
    int fd = make("f", "x");
    EXPECT_OK(close(fd));
    fd = EXPECT_OK(open(test_path("f"), O_RDONLY));
    if (fcntl(fd, F_SETLEASE, F_RDLCK) < 0) {
        EXPECT_EQ(errno, EINVAL);
        SKIP("no leases here");
    }
    EXPECT_EQ(fcntl(fd, F_GETLEASE), F_RDLCK);
    EXPECT_OK(fcntl(fd, F_SETLEASE, F_UNLCK));
    EXPECT_EQ(fcntl(fd, F_GETLEASE), F_UNLCK);
}

CASE(lease_errors)
{
    int fd = make("f", "x");
    EXPECT_ERRNO(EBADF, fcntl(-1, F_SETLEASE, F_RDLCK));
    EXPECT_ERRNO(EINVAL, fcntl(fd, F_SETLEASE, 99));
    int p[2];
    EXPECT_OK(pipe(p));
    EXPECT_ERRNO(EINVAL, fcntl(p[0], F_SETLEASE, F_RDLCK));
}

CASE(directory_notification)
{
    int fd = EXPECT_OK(open(test_dir(), O_RDONLY));
    if (fcntl(fd, F_NOTIFY, DN_CREATE) < 0) {
        EXPECT_EQ(errno, EINVAL);
        SKIP("no dnotify here");
    }
}

CASE(handles)
{
    struct {
        struct file_handle h;
        char room[128];
    } fh = {.h = {.handle_bytes = 128}};
    int id;
    make("f", "x");
    EXPECT_ERRNO(EINVAL, name_to_handle_at(AT_FDCWD, test_path("f"), &fh.h, &id, 0x40000000));
    EXPECT_ERRNO(ENOENT, name_to_handle_at(AT_FDCWD, test_path("no"), &fh.h, &id, 0));
    if (name_to_handle_at(AT_FDCWD, test_path("f"), &fh.h, &id, 0) < 0) {
        EXPECT_EQ(errno, EOPNOTSUPP);
        SKIP("no handles here");
    }
}

CASE(chmod_with_flags)
{
    make("f", "x");
    EXPECT_OK(symlink("f", test_path("l")));
    if (syscall(SYS_fchmodat2, AT_FDCWD, test_path("f"), 0600, 0) < 0 && errno == ENOSYS)
        SKIP("a kernel before fchmodat2");
    EXPECT_EQ(stat_of("f").st_mode & 07777, 0600);
    EXPECT_ERRNO(EOPNOTSUPP,
                 syscall(SYS_fchmodat2, AT_FDCWD, test_path("l"), 0640, AT_SYMLINK_NOFOLLOW));
    EXPECT_EQ(stat_of("f").st_mode & 07777, 0600);
    EXPECT_OK(syscall(SYS_fchmodat2, AT_FDCWD, test_path("f"), 0640, AT_SYMLINK_NOFOLLOW));
    EXPECT_EQ(stat_of("f").st_mode & 07777, 0640);
    int fd = EXPECT_OK(open(test_path("f"), O_PATH));
    EXPECT_OK(syscall(SYS_fchmodat2, fd, "", 0604, AT_EMPTY_PATH));
    EXPECT_EQ(stat_of("f").st_mode & 07777, 0604);
    EXPECT_ERRNO(ENOENT, syscall(SYS_fchmodat2, fd, "", 0604, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_fchmodat2, AT_FDCWD, test_path("f"), 0604, 0x40000000));
}

/* ---- space ---- */

static char letter_at(int fd, off_t pos)
{
    char c = '?';
    EXPECT_EQ(pread(fd, &c, 1, pos), 1);
    return c;
}

/* A file of n pages, each full of a letter of its own. */
static int lettered(const char *name, int n)
{
    char page[4096];
    int fd = make(name, "");
    for (int i = 0; i < n; i++) {
        memset(page, 'a' + i, sizeof page);
        EXPECT_EQ(pwrite(fd, page, sizeof page, (off_t)i * 4096), (ssize_t)sizeof page);
    }
    return fd;
}

CASE(zero_range)
{
    int fd = lettered("f", 4);
    if (fallocate(fd, FALLOC_FL_ZERO_RANGE, 100, 5000) < 0) {
        EXPECT_EQ(errno, EOPNOTSUPP);
        SKIP("not on this file system");
    }
    EXPECT_EQ(letter_at(fd, 99), 'a');
    EXPECT_EQ(letter_at(fd, 100), 0);
    EXPECT_EQ(letter_at(fd, 5099), 0);
    EXPECT_EQ(letter_at(fd, 5100), 'b');
    EXPECT_OK(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 3 * 4096, 8192));
    EXPECT_EQ(stat_of("f").st_size, 4 * 4096);
    EXPECT_OK(fallocate(fd, FALLOC_FL_ZERO_RANGE, 3 * 4096, 8192));
    EXPECT_EQ(stat_of("f").st_size, 5 * 4096);
}

CASE(collapse_and_insert)
{
    int fd = lettered("f", 5);
    if (fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 4096, 8192) < 0) {
        EXPECT_EQ(errno, EOPNOTSUPP);
        SKIP("not on this file system");
    }
    EXPECT_EQ(stat_of("f").st_size, 3 * 4096);
    EXPECT_EQ(letter_at(fd, 0), 'a');
    EXPECT_EQ(letter_at(fd, 4096), 'd');
    EXPECT_OK(fallocate(fd, FALLOC_FL_INSERT_RANGE, 4096, 4096));
    EXPECT_EQ(stat_of("f").st_size, 4 * 4096);
    EXPECT_EQ(letter_at(fd, 4096), 0);
    EXPECT_EQ(letter_at(fd, 8192), 'd');
    EXPECT_ERRNO(EINVAL, fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4 * 4096)); /* to the end */
    EXPECT_ERRNO(EINVAL, fallocate(fd, FALLOC_FL_INSERT_RANGE, 4 * 4096, 4096));
    EXPECT_ERRNO(EINVAL, fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 1, 4096));
}

CASE(fallocate_flags_that_exclude)
{
    int fd = lettered("f", 2);
    EXPECT_ERRNO(EOPNOTSUPP, fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096));
    EXPECT(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE, 0, 4096) < 0);
    EXPECT(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_KEEP_SIZE, 0, 4096) < 0);
    int dir = EXPECT_OK(open(test_dir(), O_RDONLY));
    EXPECT_ERRNO(EBADF, fallocate(dir, 0, 0, 4096));
    struct rlimit rl = {8192, RLIM_INFINITY};
    signal(SIGXFSZ, SIG_IGN);
    EXPECT_OK(setrlimit(RLIMIT_FSIZE, &rl));
    EXPECT_ERRNO(EFBIG, fallocate(fd, 0, 0, 8193));
    EXPECT_OK(fallocate(fd, 0, 0, 8192));
}

CASE(holes)
{
    int fd = make("f", "");
    EXPECT_OK(ftruncate(fd, 1 << 20));
    EXPECT_EQ(pwrite(fd, "x", 1, 512 << 10), 1);
    off_t data = EXPECT_OK(lseek(fd, 0, SEEK_DATA));
    EXPECT_GT(data, 0);
    EXPECT_LE(data, 512 << 10);
    EXPECT_EQ(lseek(fd, 0, SEEK_HOLE), 0);
    off_t hole = EXPECT_OK(lseek(fd, 512 << 10, SEEK_HOLE));
    EXPECT_GT(hole, 512 << 10);
    EXPECT_LT(hole, 1 << 20);
    EXPECT_ERRNO(ENXIO, lseek(fd, hole, SEEK_DATA));
    EXPECT_ERRNO(ENXIO, lseek(fd, 1 << 20, SEEK_DATA));
    EXPECT_ERRNO(ENXIO, lseek(fd, 1 << 20, SEEK_HOLE));
    EXPECT_ERRNO(ENXIO, lseek(fd, -1, SEEK_DATA));
    EXPECT_ERRNO(EINVAL, lseek(fd, 0, 5));
    int full = lettered("g", 2);
    EXPECT_EQ(lseek(full, 0, SEEK_HOLE), 8192); /* the one at the end */
    EXPECT_EQ(lseek(full, 4097, SEEK_DATA), 4097);
}

/* ---- attributes ---- */

CASE(statx_masks)
{
    struct statx stx;
    make("f", "hello");
    const char *f = test_path("f");
    for (unsigned mask = 1; mask <= STATX_BTIME; mask <<= 1) {
        memset(&stx, 0xff, sizeof stx);
        EXPECT_OK(statx(AT_FDCWD, f, 0, mask, &stx));
        EXPECT_EQ(stx.stx_mask & mask & STATX_BASIC_STATS, mask & STATX_BASIC_STATS);
        EXPECT_EQ(stx.stx_size, 5);
        EXPECT_NE(stx.stx_blksize, 0);
        for (size_t i = 0; i < sizeof stx.__spare3 / sizeof *stx.__spare3; i++)
            EXPECT_NE(stx.__spare3[i], ~0ull); /* all of it is written */
    }
    EXPECT_ERRNO(EINVAL, statx(AT_FDCWD, f, 0, STATX__RESERVED, &stx));
    EXPECT_ERRNO(EINVAL, statx(AT_FDCWD, f, AT_STATX_FORCE_SYNC | AT_STATX_DONT_SYNC, 0, &stx));
    EXPECT_ERRNO(EINVAL, statx(AT_FDCWD, f, 0x40000000, 0, &stx));
    EXPECT_OK(statx(AT_FDCWD, f, AT_STATX_FORCE_SYNC, STATX_ALL, &stx));
    EXPECT_OK(statx(AT_FDCWD, f, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_ALL, &stx));
    struct stat st = stat_of("f");
    EXPECT_EQ(stx.stx_ino, st.st_ino);
    EXPECT_EQ(stx.stx_blocks, st.st_blocks);
    EXPECT_EQ(stx.stx_mtime.tv_nsec, st.st_mtim.tv_nsec);
}

CASE(link_counts)
{
    EXPECT_OK(mkdir(test_path("d"), 0700));
    EXPECT_EQ(stat_of("d").st_nlink, 2);
    EXPECT_OK(mkdir(test_path("d/a"), 0700));
    EXPECT_OK(mkdir(test_path("d/b"), 0700));
    make("d/f", "x");
    EXPECT_EQ(stat_of("d").st_nlink, 4);
    EXPECT_OK(mkdir(test_path("e"), 0700));
    EXPECT_OK(rename(test_path("d/a"), test_path("e/a")));
    EXPECT_EQ(stat_of("d").st_nlink, 3);
    EXPECT_EQ(stat_of("e").st_nlink, 3);
    EXPECT_OK(rename(test_path("d/b"), test_path("e/a"))); /* over an empty one */
    EXPECT_EQ(stat_of("d").st_nlink, 2);
    EXPECT_EQ(stat_of("e").st_nlink, 3);
    EXPECT_OK(renameat2(AT_FDCWD, test_path("d/f"), AT_FDCWD, test_path("e/a"), RENAME_EXCHANGE));
    EXPECT_EQ(stat_of("d").st_nlink, 3);
    EXPECT_EQ(stat_of("e").st_nlink, 2);
    EXPECT_OK(rmdir(test_path("d/f")));
    EXPECT_EQ(stat_of("d").st_nlink, 2);
    int fd = EXPECT_OK(open(test_path("e/a"), O_RDONLY));
    EXPECT_OK(link(test_path("e/a"), test_path("l")));
    EXPECT_EQ(stat_of("l").st_nlink, 2);
    EXPECT_OK(unlink(test_path("e/a")));
    EXPECT_OK(unlink(test_path("l")));
    struct stat st;
    EXPECT_OK(fstat(fd, &st));
    EXPECT_EQ(st.st_nlink, 0);
}

CASE(set_group_id_directories)
{
    if (geteuid() != 0)
        SKIP("needs root");
    EXPECT_OK(mkdir(test_path("d"), 0777));
    EXPECT_OK(chown(test_path("d"), 0, 1234));
    EXPECT_OK(chmod(test_path("d"), 02777));
    EXPECT_OK(chmod(test_dir(), 0777));
    EXPECT_EXITED(FORK({
                      EXPECT_OK(setresgid(1000, 1000, 1000));
                      EXPECT_OK(setresuid(1000, 1000, 1000));
                      umask(0);
                      EXPECT_OK(mkdir(test_path("d/sub"), 0755));
                      EXPECT_EQ(stat_of("d/sub").st_gid, 1234);
                      EXPECT_EQ(stat_of("d/sub").st_mode & 07777, 02755);
                      EXPECT_OK(close(EXPECT_OK(open(test_path("d/f"), O_CREAT | O_RDWR, 02755))));
                      EXPECT_EQ(stat_of("d/f").st_gid, 1234);
                      EXPECT_EQ(stat_of("d/f").st_mode & 07777, 0755); /* not of that group */
                      EXPECT_OK(mknod(test_path("d/p"), S_IFIFO | 02711, 0));
                      EXPECT_EQ(stat_of("d/p").st_mode & 07777, 0711);
                      EXPECT_OK(symlink("x", test_path("d/l")));
                      EXPECT_EQ(stat_of("d/l").st_gid, 1234);
                      EXPECT_OK(chmod(test_path("d/f"), 02755)); /* drops the bit, says nothing */
                      EXPECT_EQ(stat_of("d/f").st_mode & 07777, 0755);
                      EXPECT_OK(close(EXPECT_OK(open(test_path("own"), O_CREAT | O_RDWR, 02755))));
                      EXPECT_EQ(stat_of("own").st_mode & 07777, 02755);
                      EXPECT_OK(chown(test_path("own"), -1, 1000));
                      EXPECT_EQ(stat_of("own").st_mode & 07777, 0755);
                  }),
                  0);
}

CASE(sticky_renames)
{
    if (geteuid() != 0)
        SKIP("needs root");
    EXPECT_OK(chmod(test_dir(), 01777));
    make("root", "x");
    EXPECT_OK(mkdir(test_path("rootdir"), 0777));
    EXPECT_OK(chmod(test_path("rootdir"), 0777));
    EXPECT_EXITED(FORK({
                      EXPECT_OK(setresuid(1000, 1000, 1000));
                      make("mine", "x");
                      EXPECT_ERRNO(EPERM, rename(test_path("root"), test_path("x")));
                      EXPECT_ERRNO(EPERM, rename(test_path("mine"), test_path("root")));
                      EXPECT_ERRNO(EPERM, renameat2(AT_FDCWD, test_path("mine"), AT_FDCWD,
                                                    test_path("root"), RENAME_EXCHANGE));
                      EXPECT_OK(rename(test_path("mine"), test_path("rootdir/mine")));
                      EXPECT_ERRNO(EPERM, rmdir(test_path("rootdir")));
                  }),
                  0);
}

/* ---- names ---- */

CASE(whiteout)
{
    if (geteuid() != 0)
        SKIP("needs root");
    make("f", "x");
    if (renameat2(AT_FDCWD, test_path("f"), AT_FDCWD, test_path("g"), RENAME_WHITEOUT) < 0) {
        EXPECT_EQ(errno, EINVAL);
        SKIP("not on this file system");
    }
    struct stat st = stat_of("f");
    EXPECT_EQ(st.st_mode & S_IFMT, S_IFCHR);
    EXPECT_EQ(st.st_rdev, 0);
    EXPECT_EQ(stat_of("g").st_size, 1);
    EXPECT_ERRNO(EINVAL, renameat2(AT_FDCWD, test_path("g"), AT_FDCWD, test_path("h"),
                                   RENAME_WHITEOUT | RENAME_EXCHANGE));
}

CASE(temporary_files)
{
    struct stat st;
    char path[64];
    int fd = EXPECT_OK(open(test_dir(), O_TMPFILE | O_RDWR, 0640));
    EXPECT_OK(fstat(fd, &st));
    EXPECT_EQ(st.st_nlink, 0);
    EXPECT_EQ(st.st_mode & 07777, 0640);
    EXPECT_EQ(write(fd, "hello", 5), 5);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    EXPECT_OK(linkat(AT_FDCWD, path, AT_FDCWD, test_path("named"), AT_SYMLINK_FOLLOW));
    EXPECT_EQ(stat_of("named").st_size, 5);
    EXPECT_EQ(stat_of("named").st_nlink, 1);
    EXPECT_EQ(stat_of("named").st_ino, st.st_ino);
    fd = EXPECT_OK(open(test_dir(), O_TMPFILE | O_WRONLY | O_EXCL, 0600));
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    EXPECT_ERRNO(ENOENT, linkat(AT_FDCWD, path, AT_FDCWD, test_path("never"), AT_SYMLINK_FOLLOW));
    EXPECT_ERRNO(EINVAL, open(test_dir(), O_TMPFILE | O_RDONLY, 0600));
    EXPECT_ERRNO(ENOTDIR, open(test_path("named"), O_TMPFILE | O_RDWR, 0600));
    EXPECT_ERRNO(ENOENT, open(test_path("no"), O_TMPFILE | O_RDWR, 0600));
}

CASE(names_are_bytes)
{
    static const char *const odd[] = {"\xff\xfe", "a\nb", "\x01\x7f", " ", "...", "\xc3\x28", "-"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        make(odd[i], "x");
        EXPECT_EQ(stat_of(odd[i]).st_size, 1);
        EXPECT_OK(unlink(test_path(odd[i])));
    }
    char name[257];
    memset(name, 0xe9, 256);
    name[256] = 0;
    EXPECT_ERRNO(ENAMETOOLONG, open(test_path(name), O_CREAT | O_RDWR, 0600));
    name[255] = 0;
    make(name, "x");
}

/* ---- descriptors ---- */

CASE(a_million_descriptors)
{
    struct rlimit rl = {1048576, 1048576};
    if (setrlimit(RLIMIT_NOFILE, &rl) < 0)
        SKIP("the limit cannot be raised: %s", strerror(errno));
    int fd = make("f", "x");
    EXPECT_EQ(dup2(fd, 1048575), 1048575);
    EXPECT_ERRNO(EBADF, dup2(fd, 1048576));
    EXPECT_EQ(fcntl(fd, F_DUPFD, 1000000), 1000000);
    EXPECT_EQ(fcntl(fd, F_DUPFD_CLOEXEC, 1000000), 1000001);
    EXPECT_ERRNO(EMFILE, fcntl(fd, F_DUPFD, 1048575));
    EXPECT_ERRNO(EINVAL, fcntl(fd, F_DUPFD, 1048576));
    EXPECT_EQ(lseek(1048575, 0, SEEK_END), 1);
    EXPECT_EXITED(FORK({ EXPECT_EQ(lseek(1048575, 0, SEEK_END), 1); }), 0);
    EXPECT_OK(syscall(SYS_close_range, 1000001, ~0u, 0));
    EXPECT_ERRNO(EBADF, fcntl(1048575, F_GETFD));
    EXPECT_EQ(fcntl(1000000, F_GETFD), 0);
    rl.rlim_cur = 100;
    EXPECT_OK(setrlimit(RLIMIT_NOFILE, &rl));
    EXPECT_EQ(fcntl(1000000, F_GETFD), 0); /* what is open stays */
    EXPECT_ERRNO(EBADF, dup2(fd, 100));
    EXPECT_OK(close(1000000));
}

/* ---- moving bytes ---- */

CASE(flags_of_vectored_calls)
{
    char buf[8] = "";
    int fd = make("f", "0123456789");
    struct iovec iov = {"AB", 2};
    EXPECT_EQ(pwritev2(fd, &iov, 1, 0, RWF_APPEND), 2);
    EXPECT_EQ(stat_of("f").st_size, 12);
    EXPECT_EQ(pwritev2(fd, &iov, 1, 3, RWF_DSYNC), 2);
    EXPECT_EQ(pwritev2(fd, &iov, 1, 5, RWF_SYNC), 2);
    EXPECT_EQ(lseek(fd, 0, SEEK_SET), 0);
    EXPECT_EQ(pwritev2(fd, &iov, 1, -1, 0), 2); /* at the position */
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 2);
    iov = (struct iovec){buf, 7};
    EXPECT_EQ(preadv2(fd, &iov, 1, 0, 0), 7);
    EXPECT_STREQ(buf, "AB2ABAB");
    EXPECT_ERRNO(EOPNOTSUPP, preadv2(fd, &iov, 1, 0, 0x4000));
    ssize_t n = preadv2(fd, &iov, 1, 0, RWF_NOWAIT);
    if (n < 0)
        EXPECT(errno == EAGAIN || errno == EOPNOTSUPP);
    int p[2];
    EXPECT_OK(pipe(p));
    EXPECT_ERRNO(EAGAIN, preadv2(p[0], &iov, 1, -1, RWF_NOWAIT));
    EXPECT_ERRNO(ESPIPE, preadv2(p[0], &iov, 1, 0, 0));
}

CASE(copy_file_range_on_one_file)
{
    char buf[16] = "";
    int fd = make("f", "0123456789");
    off_t in = 0;
    off_t out = 20;
    EXPECT_EQ(copy_file_range(fd, &in, fd, &out, 5, 0), 5);
    EXPECT_EQ(in, 5);
    EXPECT_EQ(out, 25);
    EXPECT_EQ(pread(fd, buf, 5, 20), 5);
    EXPECT_STREQ(buf, "01234");
    in = 0;
    out = 2;
    EXPECT_ERRNO(EINVAL, copy_file_range(fd, &in, fd, &out, 5, 0)); /* they overlap */
    EXPECT_ERRNO(EINVAL, copy_file_range(fd, &in, fd, &out, 5, 1));
    in = 1000;
    out = 100;
    EXPECT_EQ(copy_file_range(fd, &in, fd, &out, 5, 0), 0);
    int append = EXPECT_OK(open(test_path("f"), O_WRONLY | O_APPEND));
    in = 0;
    EXPECT_ERRNO(EBADF, copy_file_range(fd, &in, append, NULL, 5, 0));
    int dir = EXPECT_OK(open(test_dir(), O_RDONLY));
    EXPECT_ERRNO(EISDIR, copy_file_range(dir, NULL, fd, NULL, 5, 0));
    int p[2];
    EXPECT_OK(pipe(p));
    EXPECT_ERRNO(EINVAL, copy_file_range(p[0], NULL, fd, NULL, 5, 0));
}

CASE(advice)
{
    int fd = make("f", "x");
    int p[2];
    EXPECT_OK(pipe(p));
    for (int advice = POSIX_FADV_NORMAL; advice <= POSIX_FADV_NOREUSE; advice++)
        EXPECT_EQ(posix_fadvise(fd, 0, 0, advice), 0);
    EXPECT_EQ(posix_fadvise(fd, 0, 0, 99), EINVAL);
    EXPECT_EQ(posix_fadvise(fd, 0, -1, POSIX_FADV_NORMAL), EINVAL);
    EXPECT_EQ(posix_fadvise(-1, 0, 0, POSIX_FADV_NORMAL), EBADF);
    EXPECT_EQ(posix_fadvise(p[0], 0, 0, POSIX_FADV_NORMAL), ESPIPE);
    EXPECT_OK(readahead(fd, 0, 100));
    EXPECT_ERRNO(EBADF, readahead(-1, 0, 100));
    EXPECT_ERRNO(EINVAL, readahead(p[0], 0, 100));
    EXPECT_ERRNO(EBADF, readahead(EXPECT_OK(open(test_path("f"), O_WRONLY)), 0, 100));
}

CASE(syncing)
{
    int fd = make("f", "x");
    int p[2];
    EXPECT_OK(pipe(p));
    EXPECT_OK(fsync(fd));
    EXPECT_OK(fdatasync(fd));
    EXPECT_OK(syncfs(fd));
    EXPECT_OK(fsync(EXPECT_OK(open(test_dir(), O_RDONLY))));
    EXPECT_ERRNO(EINVAL, fsync(p[0]));
    EXPECT_ERRNO(EBADF, fsync(-1));
    EXPECT_ERRNO(EBADF, syncfs(EXPECT_OK(open(test_path("f"), O_PATH))));
    EXPECT_OK(sync_file_range(fd, 0, 1, SYNC_FILE_RANGE_WRITE));
    EXPECT_ERRNO(EINVAL, sync_file_range(fd, 0, 1, 99));
    EXPECT_ERRNO(EINVAL, sync_file_range(fd, -1, 1, 0));
    EXPECT_ERRNO(ESPIPE, sync_file_range(p[0], 0, 1, 0));
    int sync = EXPECT_OK(open(test_path("f"), O_WRONLY | O_SYNC));
    EXPECT_EQ(fcntl(sync, F_GETFL) & O_SYNC, O_SYNC);
    EXPECT_EQ(write(sync, "y", 1), 1);
}

CASE(inode_flags)
{
    int fd = make("f", "x");
    unsigned flags = 0;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) < 0)
        EXPECT_EQ(errno, ENOTTY);
    int n = -1;
    EXPECT_OK(ioctl(fd, FIONREAD, &n));
    EXPECT_EQ(n, 0); /* at the end */
    EXPECT_EQ(lseek(fd, 0, SEEK_SET), 0);
    EXPECT_OK(ioctl(fd, FIONREAD, &n));
    EXPECT_EQ(n, 1);
    EXPECT_ERRNO(ENOTTY, ioctl(fd, 0x12345678, &n));
    EXPECT_OK(ioctl(fd, FIGETBSZ, &n));
    EXPECT_EQ(n, (int)stat_of("f").st_blksize);
}

TEST_MAIN
