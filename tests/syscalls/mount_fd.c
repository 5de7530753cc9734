/* Mounts by descriptor: fsopen, fsconfig, fsmount, fspick, open_tree, move_mount, mount_setattr. */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

static void own_mounts(void)
{
    if (geteuid() != 0)
        SKIP("needs root");
    if (unshare(CLONE_NEWNS) < 0)
        SKIP("no mount namespace of its own: %s", strerror(errno));
    EXPECT_OK(mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL));
    EXPECT_OK(mount("base", test_dir(), "tmpfs", 0, NULL));
    EXPECT_OK(mkdir(test_path("a"), 0700));
    EXPECT_OK(mkdir(test_path("b"), 0700));
}

static void touch_at(int dir, const char *name)
{
    EXPECT_OK(close(EXPECT_OK(openat(dir, name, O_CREAT | O_RDWR, 0600))));
}

static bool exists(const char *name)
{
    return access(test_path(name), F_OK) == 0;
}

static int new_tmpfs(void)
{
    int fs = EXPECT_OK(fsopen("tmpfs", FSOPEN_CLOEXEC));
    EXPECT_OK(fsconfig(fs, FSCONFIG_SET_STRING, "size", "64k", 0));
    EXPECT_OK(fsconfig(fs, FSCONFIG_SET_STRING, "mode", "711", 0));
    EXPECT_OK(fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
    return fs;
}

static unsigned long flags_of(const char *name)
{
    struct statvfs st;
    EXPECT_OK(statvfs(test_path(name), &st));
    return st.f_flag;
}

CASE(needs_privilege)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
    if (geteuid() == 0)
        EXPECT_OK(setresuid(1000, 1000, 1000));
    EXPECT_ERRNO(EPERM, fsopen("tmpfs", 0));
    EXPECT_ERRNO(EPERM, fspick(AT_FDCWD, "/", 0));
    EXPECT_ERRNO(EPERM, fsmount(0, 0, 0));
    EXPECT_ERRNO(EPERM, open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE));
    EXPECT_ERRNO(EPERM, move_mount(AT_FDCWD, "/", AT_FDCWD, "/", 0));
    EXPECT_ERRNO(EPERM, mount_setattr(AT_FDCWD, "/", 0, &attr, sizeof attr));
    EXPECT_OK(close(EXPECT_OK(open_tree(AT_FDCWD, "/", 0))));
}

CASE(make_a_file_system)
{
    struct stat st;
    own_mounts();
    int fs = new_tmpfs();
    EXPECT_EQ(fcntl(fs, F_GETFD), FD_CLOEXEC);
    int m = EXPECT_OK(fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NODEV | MOUNT_ATTR_NOATIME));
    EXPECT_EQ(fcntl(m, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(m, F_GETFL) & O_PATH, O_PATH);
    /* It is nowhere yet, but can be used. */
    touch_at(m, "f");
    EXPECT_OK(fstat(m, &st));
    EXPECT_EQ(st.st_mode & 07777, 0711);
    EXPECT(!exists("a/f"));
    EXPECT_OK(move_mount(m, "", AT_FDCWD, test_path("a"), MOVE_MOUNT_F_EMPTY_PATH));
    EXPECT(exists("a/f"));
    EXPECT_EQ(flags_of("a") & (ST_NODEV | ST_NOATIME | ST_NOSUID), ST_NODEV | ST_NOATIME);
    EXPECT_OK(close(m));
    EXPECT(exists("a/f"));
    EXPECT_OK(close(fs));
    EXPECT_OK(umount(test_path("a")));
}

CASE(goes_with_the_descriptor)
{
    own_mounts();
    int fs = new_tmpfs();
    int m = EXPECT_OK(fsmount(fs, 0, 0));
    touch_at(m, "f");
    int dir = EXPECT_OK(openat(m, ".", O_RDONLY));
    EXPECT_OK(close(m));
    EXPECT_OK(faccessat(dir, "f", F_OK, 0)); /* still there for who uses it */
    EXPECT_ERRNO(EINVAL, move_mount(dir, "", AT_FDCWD, test_path("a"), MOVE_MOUNT_F_EMPTY_PATH));
}

CASE(fsconfig_errors)
{
    own_mounts();
    EXPECT_ERRNO(ENODEV, fsopen("no-such-fs", 0));
    EXPECT_ERRNO(EINVAL, fsopen("tmpfs", 8));
    EXPECT_ERRNO(EFAULT, syscall(SYS_fsopen, (char *)1, 0));
    int fs = EXPECT_OK(fsopen("tmpfs", 0));
    int other = EXPECT_OK(open("/", O_RDONLY));
    EXPECT_ERRNO(EINVAL, fsconfig(other, FSCONFIG_SET_FLAG, "ro", NULL, 0));
    EXPECT_ERRNO(EINVAL, fsconfig(-1, FSCONFIG_SET_FLAG, "ro", NULL, 0));
    EXPECT_ERRNO(EBADF, fsconfig(999, FSCONFIG_SET_FLAG, "ro", NULL, 0));
    EXPECT_ERRNO(EOPNOTSUPP, fsconfig(fs, 99, "ro", NULL, 0));
    EXPECT_ERRNO(EINVAL, fsconfig(fs, FSCONFIG_SET_FLAG, NULL, NULL, 0));
    EXPECT_ERRNO(EINVAL, fsconfig(fs, FSCONFIG_SET_FLAG, "ro", "x", 0));
    EXPECT_ERRNO(EINVAL, fsconfig(fs, FSCONFIG_SET_STRING, "size", NULL, 0));
    EXPECT_ERRNO(EINVAL, fsconfig(fs, FSCONFIG_SET_STRING, "size", "1q", 0));
    EXPECT_ERRNO(EINVAL, fsconfig(fs, FSCONFIG_SET_STRING, "nonsense", "1", 0));
    EXPECT_ERRNO(EINVAL, fsconfig(fs, FSCONFIG_CMD_CREATE, "x", NULL, 0));
    EXPECT_ERRNO(EINVAL, fsmount(fs, 0, 0)); /* nothing made */
    EXPECT_OK(fsconfig(fs, FSCONFIG_SET_STRING, "source", "here", 0));
    EXPECT_ERRNO(EINVAL, fsconfig(fs, FSCONFIG_SET_STRING, "source", "there", 0));
    EXPECT_OK(fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
    EXPECT_ERRNO(EBUSY, fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
    EXPECT_ERRNO(EINVAL, fsmount(fs, 8, 0));
    EXPECT_ERRNO(EINVAL, fsmount(fs, 0, 0x40000000));
    EXPECT_ERRNO(EINVAL, fsmount(other, 0, 0));
    EXPECT_ERRNO(EBADF, fsmount(999, 0, 0));
    EXPECT_OK(fsmount(fs, 0, 0));
    EXPECT_ERRNO(EBUSY, fsmount(fs, 0, 0));
    char buf[64];
    fs = EXPECT_OK(fsopen("tmpfs", 0));
    EXPECT_ERRNO(ENODATA, read(fs, buf, sizeof buf)); /* no message */
}

CASE(read_only_file_system)
{
    own_mounts();
    int fs = EXPECT_OK(fsopen("tmpfs", 0));
    EXPECT_OK(fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0));
    EXPECT_OK(fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
    int m = EXPECT_OK(fsmount(fs, 0, 0));
    EXPECT_OK(move_mount(m, "", AT_FDCWD, test_path("a"), MOVE_MOUNT_F_EMPTY_PATH));
    EXPECT_ERRNO(EROFS, mkdir(test_path("a/d"), 0700));
    /* Configured anew. */
    int pick = EXPECT_OK(fspick(AT_FDCWD, test_path("a"), FSPICK_CLOEXEC));
    EXPECT_OK(fsconfig(pick, FSCONFIG_SET_FLAG, "rw", NULL, 0));
    EXPECT_OK(fsconfig(pick, FSCONFIG_CMD_RECONFIGURE, NULL, NULL, 0));
    EXPECT_OK(mkdir(test_path("a/d"), 0700));
    EXPECT_ERRNO(EINVAL, fspick(AT_FDCWD, test_path("a/d"), 0)); /* no root of a mount */
    EXPECT_ERRNO(EINVAL, fspick(AT_FDCWD, test_path("a"), 64));
    EXPECT_ERRNO(ENOENT, fspick(AT_FDCWD, test_path("no"), 0));
}

CASE(clone_a_tree)
{
    own_mounts();
    EXPECT_OK(mount("t", test_path("a"), "tmpfs", 0, NULL));
    EXPECT_OK(mkdir(test_path("a/in"), 0700));
    EXPECT_OK(mount("t", test_path("a/in"), "tmpfs", 0, NULL));
    touch_at(AT_FDCWD, test_path("a/in/f"));
    int one = EXPECT_OK(open_tree(AT_FDCWD, test_path("a"), OPEN_TREE_CLONE));
    EXPECT_ERRNO(ENOENT, faccessat(one, "in/f", F_OK, 0));
    int all = EXPECT_OK(
        open_tree(AT_FDCWD, test_path("a"), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
    EXPECT_EQ(fcntl(all, F_GETFD), FD_CLOEXEC);
    EXPECT_OK(faccessat(all, "in/f", F_OK, 0));
    EXPECT_OK(move_mount(all, "", AT_FDCWD, test_path("b"), MOVE_MOUNT_F_EMPTY_PATH));
    EXPECT(exists("b/in/f"));
    EXPECT_OK(umount2(test_path("a"), MNT_DETACH));
    EXPECT(exists("b/in/f"));
    EXPECT_ERRNO(EINVAL, open_tree(AT_FDCWD, "/", AT_RECURSIVE));
    EXPECT_ERRNO(EINVAL, open_tree(AT_FDCWD, "/", 0x40000000));
    EXPECT_ERRNO(ENOENT, open_tree(AT_FDCWD, test_path("no"), OPEN_TREE_CLONE));
    EXPECT_OK(mount(NULL, test_path("b"), NULL, MS_UNBINDABLE, NULL));
    EXPECT_ERRNO(EINVAL, open_tree(AT_FDCWD, test_path("b"), OPEN_TREE_CLONE));
}

CASE(move_what_is_mounted)
{
    own_mounts();
    EXPECT_OK(mount("t", test_path("a"), "tmpfs", 0, NULL));
    touch_at(AT_FDCWD, test_path("a/f"));
    EXPECT_OK(move_mount(AT_FDCWD, test_path("a"), AT_FDCWD, test_path("b"), 0));
    EXPECT(exists("b/f"));
    EXPECT(!exists("a/f"));
    int to = EXPECT_OK(open(test_path("a"), O_PATH));
    int from = EXPECT_OK(open(test_path("b"), O_PATH));
    EXPECT_OK(move_mount(from, "", to, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
    EXPECT(exists("a/f"));
    EXPECT_ERRNO(ENOENT, move_mount(from, "", to, "", MOVE_MOUNT_T_EMPTY_PATH));
    EXPECT_ERRNO(EINVAL, move_mount(AT_FDCWD, "/", AT_FDCWD, "/", 0x40000000));
    EXPECT_ERRNO(EINVAL,
                 move_mount(AT_FDCWD, test_path("b"), AT_FDCWD, test_path("a"), 0)); /* no mount */
    EXPECT_OK(symlink(test_path("b"), test_path("l")));
    EXPECT_OK(
        move_mount(AT_FDCWD, test_path("a"), AT_FDCWD, test_path("l"), MOVE_MOUNT_T_SYMLINKS));
    EXPECT(exists("b/f"));
}

CASE(set_group)
{
    own_mounts();
    EXPECT_OK(mount("t", test_path("a"), "tmpfs", 0, NULL));
    EXPECT_OK(mkdir(test_path("a/m"), 0700));
    EXPECT_OK(mount(test_path("a"), test_path("b"), NULL, MS_BIND, NULL));
    EXPECT_OK(mount(NULL, test_path("a"), NULL, MS_SHARED, NULL));
    if (move_mount(AT_FDCWD, test_path("a"), AT_FDCWD, test_path("b"), MOVE_MOUNT_SET_GROUP) < 0)
        SKIP("a kernel before MOVE_MOUNT_SET_GROUP");
    EXPECT_OK(mount("t", test_path("a/m"), "tmpfs", 0, NULL));
    touch_at(AT_FDCWD, test_path("a/m/f"));
    EXPECT(exists("b/m/f"));
    EXPECT_ERRNO(EINVAL, move_mount(AT_FDCWD, test_path("a"), AT_FDCWD, test_path("b"),
                                    MOVE_MOUNT_SET_GROUP));
}

CASE(setattr)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC};
    own_mounts();
    EXPECT_OK(mount("t", test_path("a"), "tmpfs", MS_NOSUID | MS_RELATIME, NULL));
    EXPECT_OK(mkdir(test_path("a/in"), 0700));
    EXPECT_OK(mount("t", test_path("a/in"), "tmpfs", 0, NULL));
    EXPECT_OK(mount_setattr(AT_FDCWD, test_path("a"), 0, &attr, sizeof attr));
    EXPECT_EQ(flags_of("a") & (ST_RDONLY | ST_NOEXEC | ST_NOSUID),
              ST_RDONLY | ST_NOEXEC | ST_NOSUID);
    EXPECT_EQ(flags_of("a/in") & (ST_RDONLY | ST_NOEXEC), 0);
    EXPECT_OK(mount_setattr(AT_FDCWD, test_path("a"), AT_RECURSIVE, &attr, sizeof attr));
    EXPECT_EQ(flags_of("a/in") & (ST_RDONLY | ST_NOEXEC), ST_RDONLY | ST_NOEXEC);
    attr = (struct mount_attr){.attr_clr = MOUNT_ATTR_RDONLY | MOUNT_ATTR__ATIME,
                               .attr_set = MOUNT_ATTR_NOATIME,
                               .propagation = MS_SHARED};
    EXPECT_OK(mount_setattr(AT_FDCWD, test_path("a"), AT_RECURSIVE, &attr, sizeof attr));
    EXPECT_EQ(flags_of("a") & (ST_RDONLY | ST_NOEXEC | ST_NOATIME | ST_RELATIME),
              ST_NOEXEC | ST_NOATIME);
    /* All or none. */
    int fd = EXPECT_OK(open(test_path("a/in/f"), O_CREAT | O_RDWR, 0600));
    attr = (struct mount_attr){.attr_set = MOUNT_ATTR_RDONLY};
    EXPECT_ERRNO(EBUSY, mount_setattr(AT_FDCWD, test_path("a"), AT_RECURSIVE, &attr, sizeof attr));
    EXPECT_EQ(flags_of("a") & ST_RDONLY, 0);
    EXPECT_OK(close(fd));
}

CASE(setattr_errors)
{
    char big[64] = {0};
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY};
    own_mounts();
    EXPECT_OK(mount("t", test_path("a"), "tmpfs", 0, NULL));
    EXPECT_OK(mkdir(test_path("a/d"), 0700));
    const char *a = test_path("a");
    EXPECT_ERRNO(EINVAL, mount_setattr(AT_FDCWD, a, 0x40000000, &attr, sizeof attr));
    EXPECT_ERRNO(EINVAL, mount_setattr(AT_FDCWD, a, 0, &attr, 8));
    EXPECT_ERRNO(E2BIG, mount_setattr(AT_FDCWD, a, 0, &attr, 8192));
    memcpy(big, &attr, sizeof attr);
    EXPECT_OK(mount_setattr(AT_FDCWD, a, 0, (void *)big, sizeof big));
    big[60] = 1;
    EXPECT_ERRNO(E2BIG, mount_setattr(AT_FDCWD, a, 0, (void *)big, sizeof big));
    EXPECT_ERRNO(EFAULT, mount_setattr(AT_FDCWD, a, 0, (void *)1, sizeof attr));
    EXPECT_ERRNO(EINVAL, mount_setattr(AT_FDCWD, test_path("a/d"), 0, &attr, sizeof attr));
    EXPECT_ERRNO(ENOENT, mount_setattr(AT_FDCWD, test_path("no"), 0, &attr, sizeof attr));
    attr = (struct mount_attr){.attr_set = 1u << 30};
    EXPECT_ERRNO(EINVAL, mount_setattr(AT_FDCWD, a, 0, &attr, sizeof attr));
    attr = (struct mount_attr){.attr_set = MOUNT_ATTR_NOATIME}; /* without clearing what was */
    EXPECT_ERRNO(EINVAL, mount_setattr(AT_FDCWD, a, 0, &attr, sizeof attr));
    attr = (struct mount_attr){.attr_clr = MOUNT_ATTR_NOATIME};
    EXPECT_ERRNO(EINVAL, mount_setattr(AT_FDCWD, a, 0, &attr, sizeof attr));
    attr = (struct mount_attr){.propagation = MS_SHARED | MS_SLAVE};
    EXPECT_ERRNO(EINVAL, mount_setattr(AT_FDCWD, a, 0, &attr, sizeof attr));
    attr = (struct mount_attr){0};
    EXPECT_OK(mount_setattr(AT_FDCWD, test_path("no"), 0, &attr, sizeof attr)); /* nothing asked */
}

TEST_MAIN
