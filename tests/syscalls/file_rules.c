/* Rules about files and descriptors that cross families: who may link, what a full table changes,
 * what every description answers to fcntl and ioctl. */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <grp.h>
#include <linux/fs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <sys/xattr.h>

#ifndef FIOQSIZE
#define FIOQSIZE 0x5460
#endif
#define TMPFS_MAGIC 0x01021994

static int make(const char *name, mode_t mode)
{
    int fd = EXPECT_OK(open(test_path(name), O_CREAT | O_RDWR | O_TRUNC, 0600));
    EXPECT_EQ(write(fd, "12345", 5), 5);
    EXPECT_OK(fchmod(fd, mode));
    return fd;
}

static void become_nobody(void)
{
    if (geteuid() != 0)
        SKIP("needs root");
    EXPECT_OK(chmod(test_dir(), 0777));
    EXPECT_OK(setgroups(0, NULL));
    EXPECT_OK(setresgid(65534, 65534, 65534));
    EXPECT_OK(setresuid(65534, 65534, 65534));
}

/* ---- links to files of others ---- */

static bool links_are_protected(void)
{
    char c = '0';
    int fd = open("/proc/sys/fs/protected_hardlinks", O_RDONLY);
    bool on = fd >= 0 && read(fd, &c, 1) == 1 && c == '1';
    close(fd);
    return on;
}

CASE(links_to_files_of_others)
{
    make("unreadable", 0600);
    make("readable", 0644);
    make("writable", 0666);
    make("setuid", 04666);
    make("setgid", 02676);
    make("sgid_no_exec", 02666);
    EXPECT_OK(mkfifo(test_path("fifo"), 0666));
    EXPECT_OK(chmod(test_path("fifo"), 0666));
    if (!links_are_protected())
        SKIP("fs.protected_hardlinks is off");
    become_nobody();
    EXPECT_ERRNO(EPERM, link(test_path("unreadable"), test_path("l1")));
    EXPECT_ERRNO(EPERM, link(test_path("readable"), test_path("l2")));
    EXPECT_ERRNO(EPERM, link(test_path("setuid"), test_path("l3")));
    EXPECT_ERRNO(EPERM, link(test_path("setgid"), test_path("l4")));
    EXPECT_ERRNO(EPERM, link(test_path("fifo"), test_path("l5")));
    EXPECT_OK(link(test_path("writable"), test_path("l6")));
    EXPECT_OK(link(test_path("sgid_no_exec"), test_path("l7")));
    int fd = EXPECT_OK(open(test_path("own"), O_CREAT | O_RDWR, 0));
    EXPECT_OK(fchmod(fd, 04000));
    EXPECT_OK(link(test_path("own"), test_path("l8")));
}

/* ---- the order of errors ---- */

CASE(mount_walks_before_it_asks_who)
{
    become_nobody();
    EXPECT_ERRNO(ENOENT, mount("none", test_path("missing"), "tmpfs", 0, NULL));
    EXPECT_ERRNO(EPERM, mount("none", test_dir(), "tmpfs", 0, NULL));
    EXPECT_ERRNO(EFAULT, mount("none", (char *)8, "tmpfs", 0, NULL));
    EXPECT_ERRNO(ENOENT, umount2(test_path("missing"), 0));
    EXPECT_ERRNO(EINVAL, umount2(test_path("missing"), 0x100));
    EXPECT_ERRNO(EPERM, umount2(test_dir(), 0));
    EXPECT_ERRNO(EPERM, umount2(test_dir(), MNT_EXPIRE | MNT_DETACH));
}

/* ---- a process sees its own descriptors ---- */

CASE(own_descriptors_after_setuid)
{
    int fd = make("f", 0600);
    char path[64], target[4096];
    become_nobody(); /* no longer dumpable: the directory is root's */
    struct stat st;
    EXPECT_OK(stat("/proc/self/fd", &st));
    EXPECT_EQ(st.st_uid, 0);
    EXPECT_EQ(st.st_mode & 0777, 0500);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    EXPECT_GT(readlink(path, target, sizeof target), 0);
    EXPECT_OK(access("/proc/self/fd", R_OK | X_OK));
    EXPECT_OK(open("/proc/self/fd", O_RDONLY | O_DIRECTORY));
    FORK({
        snprintf(path, sizeof path, "/proc/%d/fd", getppid());
        EXPECT_ERRNO(EACCES, open(path, O_RDONLY | O_DIRECTORY));
    });
}

/* ---- a full table of descriptors ---- */

CASE(full_table_changes_nothing)
{
    make("f", 0600);
    struct rlimit r = {8, 8};
    EXPECT_OK(setrlimit(RLIMIT_NOFILE, &r));
    while (dup(0) >= 0)
        ;
    EXPECT_EQ(errno, EMFILE);
    EXPECT_ERRNO(EMFILE, open(test_path("new"), O_CREAT | O_RDWR, 0600));
    EXPECT_ERRNO(ENOENT, access(test_path("new"), F_OK));
    EXPECT_ERRNO(EMFILE, open(test_path("f"), O_WRONLY | O_TRUNC));
    EXPECT_ERRNO(EMFILE, open(test_path("missing"), O_RDONLY));
    EXPECT_ERRNO(EFAULT, open((char *)8, O_RDONLY));
    struct stat st;
    EXPECT_OK(stat(test_path("f"), &st));
    EXPECT_EQ(st.st_size, 5);
}

/* ---- append at the end of all files ---- */

CASE(failed_append_stays)
{
    int fd = make("f", 0600);
    struct statfs fs;
    EXPECT_OK(fstatfs(fd, &fs));
    if (fs.f_type != TMPFS_MAGIC || ftruncate(fd, INT64_MAX) < 0)
        SKIP("needs files of any size");
    int append = EXPECT_OK(open(test_path("f"), O_RDWR | O_APPEND));
    EXPECT_EQ(lseek(append, 3, SEEK_SET), 3);
    EXPECT_ERRNO(EFBIG, write(append, "x", 1));
    EXPECT_EQ(lseek(append, 0, SEEK_CUR), 3);
}

/* ---- fcntl ---- */

CASE(flags_that_do_not_apply)
{
    int fd = make("f", 0600), dir = EXPECT_OK(open(test_dir(), O_RDONLY));
    EXPECT_OK(fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK));
    EXPECT_EQ(fcntl(fd, F_GETFL) & (O_ASYNC | O_NONBLOCK), O_NONBLOCK);
    EXPECT_ERRNO(EINVAL, fcntl(dir, F_SETFL, O_DIRECT));
    EXPECT_OK(fcntl(dir, F_SETFL, O_NONBLOCK));
}

CASE(seals_are_for_memfd)
{
    make("f", 0600);
    int r = EXPECT_OK(open(test_path("f"), O_RDONLY)), w = EXPECT_OK(open(test_path("f"), O_RDWR));
    EXPECT_ERRNO(EPERM, fcntl(r, F_ADD_SEALS, F_SEAL_SEAL));
    struct statfs fs;
    EXPECT_OK(fstatfs(w, &fs));
    if (fs.f_type == TMPFS_MAGIC && fcntl(w, F_GET_SEALS) >= 0) {
        EXPECT_EQ(fcntl(w, F_GET_SEALS), F_SEAL_SEAL);
        EXPECT_ERRNO(EPERM, fcntl(w, F_ADD_SEALS, F_SEAL_WRITE));
    } else {
        EXPECT_ERRNO(EINVAL, fcntl(w, F_GET_SEALS));
        EXPECT_ERRNO(EINVAL, fcntl(w, F_ADD_SEALS, F_SEAL_WRITE));
    }
    EXPECT_ERRNO(EBADF, fcntl(w, F_GETPIPE_SZ));
    EXPECT_ERRNO(EBADF, fcntl(w, F_SETPIPE_SZ, 4096));
}

CASE(write_hints)
{
    int fd = make("f", 0644), other = EXPECT_OK(open(test_path("f"), O_RDONLY));
    uint64_t hint = 99;
    EXPECT_OK(fcntl(fd, F_GET_RW_HINT, &hint));
    EXPECT_EQ(hint, RWH_WRITE_LIFE_NOT_SET);
    hint = RWH_WRITE_LIFE_LONG;
    EXPECT_OK(fcntl(fd, F_SET_RW_HINT, &hint));
    hint = 0;
    EXPECT_OK(fcntl(other, F_GET_RW_HINT, &hint)); /* of the file, not of the description */
    EXPECT_EQ(hint, RWH_WRITE_LIFE_LONG);
    hint = RWH_WRITE_LIFE_EXTREME + 1;
    EXPECT_ERRNO(EINVAL, fcntl(fd, F_SET_RW_HINT, &hint));
    EXPECT_ERRNO(EFAULT, fcntl(fd, F_SET_RW_HINT, (void *)8));
    EXPECT_ERRNO(EFAULT, fcntl(fd, F_GET_RW_HINT, (void *)8));
    int path = EXPECT_OK(open(test_path("f"), O_PATH));
    EXPECT_ERRNO(EBADF, fcntl(path, F_GET_RW_HINT, &hint));
}

/* ---- ioctl ---- */

CASE(size_in_blocks)
{
    int fd = make("f", 0600), p[2];
    int64_t bytes = -1;
    EXPECT_OK(ioctl(fd, FIOQSIZE, &bytes));
    EXPECT_GE(bytes, 0);
    EXPECT_ERRNO(EFAULT, ioctl(fd, FIOQSIZE, (void *)8));
    EXPECT_OK(pipe(p));
    EXPECT_ERRNO(ENOTTY, ioctl(p[0], FIOQSIZE, &bytes));
}

CASE(clone_errors)
{
    int from = make("f", 0600), to = make("g", 0600), p[2];
    int dir = EXPECT_OK(open(test_dir(), O_RDONLY)), ro = EXPECT_OK(open(test_path("g"), O_RDONLY));
    EXPECT_OK(pipe(p));
    EXPECT_ERRNO(EBADF, ioctl(to, FICLONE, -1));
    EXPECT_ERRNO(EXDEV, ioctl(to, FICLONE, p[0]));
    EXPECT_ERRNO(EISDIR, ioctl(to, FICLONE, dir));
    EXPECT_ERRNO(EBADF, ioctl(ro, FICLONE, from));
    if (ioctl(to, FICLONE, from) < 0)
        EXPECT_EQ(errno, EOPNOTSUPP);
    EXPECT_ERRNO(EFAULT, ioctl(to, FICLONERANGE, (void *)8));
    struct file_clone_range range = {.src_fd = -1};
    EXPECT_ERRNO(EBADF, ioctl(to, FICLONERANGE, &range));
}

/* ---- errors of making and removing ---- */

CASE(nothing_is_made_in_proc)
{
    EXPECT_ERRNO(ENOENT, mkdir("/proc/nothing", 0755));
    EXPECT_ERRNO(ENOENT, open("/proc/nothing", O_CREAT | O_RDWR, 0600));
    EXPECT_ERRNO(ENOENT, symlink("a", "/proc/self/nothing"));
    EXPECT_ERRNO(EEXIST, mkdir("/proc/self", 0755));
    EXPECT_ERRNO(ENOENT, access("/proc/nothing", F_OK));
}

CASE(read_only_before_missing)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNS) < 0)
        SKIP("needs the right to mount");
    EXPECT_OK(mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL));
    EXPECT_OK(mount(test_dir(), test_dir(), NULL, MS_BIND, NULL));
    EXPECT_OK(mount(NULL, test_dir(), NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
    EXPECT_ERRNO(EROFS, unlink(test_path("missing")));
    EXPECT_ERRNO(EROFS, rmdir(test_path("missing")));
    EXPECT_ERRNO(EROFS, rename(test_path("missing"), test_path("other")));
    EXPECT_OK(umount2(test_dir(), 0));
    EXPECT_ERRNO(ENOENT, unlink(test_path("missing")));
}

/* ---- where copies end ---- */

CASE(copy_beyond_the_end)
{
    int from = make("f", 0600), to = make("g", 0600);
    off_t pos = INT64_MAX;
    EXPECT_EQ(copy_file_range(from, &pos, to, NULL, 1, 0), 0);
    off_t start = 0;
    EXPECT_ERRNO(EFBIG, copy_file_range(from, &start, to, &pos, 1, 0));
    start = 1;
    EXPECT_ERRNO(EOVERFLOW, copy_file_range(from, &start, to, NULL, SIZE_MAX, 0));
}

CASE(sealed_growth_ends_a_write)
{
    int fd = EXPECT_OK(memfd_create("m", MFD_ALLOW_SEALING));
    char data[100] = {0};
    EXPECT_OK(ftruncate(fd, 8192));
    EXPECT_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
    EXPECT_EQ(pwrite(fd, data, 100, 8190), 2);
    EXPECT_ERRNO(EPERM, pwrite(fd, data, 100, 8192));
    EXPECT_EQ(pwrite(fd, data, 100, 8092), 100);
}

CASE(splice_from_an_empty_socket)
{
    int s[2], p[2];
    EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    EXPECT_OK(pipe(p));
    EXPECT_ERRNO(EAGAIN, splice(s[0], NULL, p[1], NULL, 10, SPLICE_F_NONBLOCK));
    EXPECT_EQ(write(s[1], "abc", 3), 3);
    EXPECT_EQ(splice(s[0], NULL, p[1], NULL, 3, 0), 3);
}

/* ---- what has no name has attributes all the same ---- */

CASE(attributes_of_pipes_and_sockets)
{
    int p[2], s[2];
    struct stat st;
    EXPECT_OK(pipe(p));
    EXPECT_OK(fchmod(p[0], 0640));
    EXPECT_OK(fstat(p[1], &st)); /* one inode */
    EXPECT_EQ(st.st_mode, S_IFIFO | 0640);
    EXPECT_EQ(flistxattr(p[0], NULL, 0), 0);
    EXPECT_ERRNO(ENODATA, fgetxattr(p[0], "user.x", NULL, 0));
    EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    EXPECT_OK(fchmod(s[0], 0600));
    EXPECT_OK(fstat(s[0], &st));
    EXPECT_EQ(st.st_mode, S_IFSOCK | 0600);
    if (geteuid() == 0) {
        EXPECT_OK(fchown(p[1], 1, 2));
        EXPECT_OK(fstat(p[0], &st));
        EXPECT_EQ(st.st_uid, 1);
        EXPECT_EQ(st.st_gid, 2);
    }
}

TEST_MAIN
