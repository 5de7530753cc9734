/* Shared subtrees and mount namespaces: mount_namespaces(7), mount(2), unshare(2), clone(2). */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>

static void own_mounts(void)
{
    if (geteuid() != 0)
        SKIP("needs root");
    if (unshare(CLONE_NEWNS) < 0)
        SKIP("no mount namespace of its own: %s", strerror(errno));
    EXPECT_OK(mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL));
    /* A mount of our own to play in. */
    EXPECT_OK(mount("base", test_dir(), "tmpfs", 0, NULL));
}

static const char *dir(const char *name)
{
    const char *path = test_path(name);
    EXPECT_OK(mkdir(path, 0700));
    return path;
}

static void tmpfs_on(const char *name)
{
    EXPECT_OK(mount("t", test_path(name), "tmpfs", 0, NULL));
}

static void propagation(const char *name, unsigned long kind)
{
    EXPECT_OK(mount(NULL, test_path(name), NULL, kind, NULL));
}

static void bind(const char *from, const char *to, unsigned long flags)
{
    EXPECT_OK(mount(test_path(from), test_path(to), NULL, MS_BIND | flags, NULL));
}

static void touch(const char *name)
{
    EXPECT_OK(close(EXPECT_OK(open(test_path(name), O_CREAT | O_RDWR, 0600))));
}

static bool exists(const char *name)
{
    return access(test_path(name), F_OK) == 0;
}

/* The optional fields of the mount at name ("shared:1 master:2 "); NULL: no such mount. */
static const char *optional_fields(const char *name)
{
    static char fields[256];
    char line[2048], point[1024], rest[1024];
    FILE *f = fopen("/proc/self/mountinfo", "r");
    bool found = false;
    EXPECT(f != NULL);
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%*d %*d %*s %*s %1023s %*s %1023[^\n]", point, rest) != 2 ||
            strcmp(point, test_path(name)) != 0)
            continue;
        char *end = strncmp(rest, "- ", 2) == 0 ? rest : strstr(rest, " - ");
        EXPECT(end != NULL);
        snprintf(fields, sizeof fields, "%.*s", (int)(end - rest), rest);
        found = true; /* the last one is on top */
    }
    fclose(f);
    return found ? fields : NULL;
}

static int mounts_at(const char *name)
{
    char line[2048], point[1024];
    FILE *f = fopen("/proc/self/mountinfo", "r");
    int n = 0;
    EXPECT(f != NULL);
    while (fgets(line, sizeof line, f))
        n += sscanf(line, "%*d %*d %*s %*s %1023s", point) == 1 &&
             strcmp(point, test_path(name)) == 0;
    fclose(f);
    return n;
}

static int group_of(const char *name, const char *kind)
{
    const char *fields = optional_fields(name);
    EXPECT(fields != NULL);
    const char *s = strstr(fields, kind);
    return s ? atoi(s + strlen(kind)) : 0;
}

CASE(peers_see_each_other)
{
    own_mounts();
    dir("a"), dir("b");
    tmpfs_on("a");
    propagation("a", MS_SHARED);
    bind("a", "b", 0);
    EXPECT_NE(group_of("a", "shared:"), 0);
    EXPECT_EQ(group_of("a", "shared:"), group_of("b", "shared:"));
    dir("a/m");
    tmpfs_on("a/m");
    touch("a/m/f");
    EXPECT(exists("b/m/f"));
    EXPECT_EQ(group_of("a/m", "shared:"), group_of("b/m", "shared:"));
    dir("b/n");
    tmpfs_on("b/n");
    touch("b/n/f");
    EXPECT(exists("a/n/f"));
    EXPECT_OK(umount(test_path("b/m")));
    EXPECT(!exists("a/m/f"));
    EXPECT(!exists("b/m/f"));
    EXPECT_EQ(mounts_at("a/m"), 0);
    EXPECT_EQ(mounts_at("b/n"), 1);
}

CASE(private_sees_nothing)
{
    own_mounts();
    dir("a"), dir("b");
    tmpfs_on("a");
    propagation("a", MS_SHARED);
    bind("a", "b", 0);
    propagation("b", MS_PRIVATE);
    EXPECT_STREQ(optional_fields("b"), "");
    dir("a/m"), dir("a/n");
    tmpfs_on("a/m");
    EXPECT_EQ(mounts_at("b/m"), 0);
    tmpfs_on("b/n");
    EXPECT_EQ(mounts_at("a/n"), 0);
}

CASE(slave_receives_only)
{
    own_mounts();
    dir("a"), dir("b");
    tmpfs_on("a");
    propagation("a", MS_SHARED);
    bind("a", "b", 0);
    propagation("b", MS_SLAVE);
    EXPECT_EQ(group_of("b", "shared:"), 0);
    EXPECT_EQ(group_of("b", "master:"), group_of("a", "shared:"));
    dir("a/m"), dir("a/n");
    tmpfs_on("a/m");
    touch("a/m/f");
    EXPECT(exists("b/m/f"));
    EXPECT_EQ(group_of("b/m", "master:"), group_of("a/m", "shared:"));
    EXPECT_EQ(group_of("b/m", "shared:"), 0);
    tmpfs_on("b/n");
    EXPECT_EQ(mounts_at("a/n"), 0);
    EXPECT_OK(umount(test_path("a/m")));
    EXPECT_EQ(mounts_at("b/m"), 0);
    /* The last peer goes: nobody is master any more. */
    EXPECT_OK(umount2(test_path("a"), MNT_DETACH));
    EXPECT_STREQ(optional_fields("b"), "");
}

CASE(alone_a_slave_is_private)
{
    own_mounts();
    dir("a");
    tmpfs_on("a");
    propagation("a", MS_SHARED);
    propagation("a", MS_SLAVE);
    EXPECT_STREQ(optional_fields("a"), "");
}

CASE(slave_and_shared)
{
    own_mounts();
    dir("a"), dir("b"), dir("c"), dir("d");
    tmpfs_on("a");
    propagation("a", MS_SHARED);
    bind("a", "b", 0);
    propagation("b", MS_SLAVE);
    propagation("b", MS_SHARED);
    bind("b", "c", 0); /* a peer of b, and a slave of a too */
    bind("c", "d", 0);
    propagation("d", MS_SLAVE); /* of b and c */
    EXPECT_EQ(group_of("b", "shared:"), group_of("c", "shared:"));
    EXPECT_EQ(group_of("c", "master:"), group_of("a", "shared:"));
    EXPECT_EQ(group_of("d", "master:"), group_of("b", "shared:"));
    dir("a/m"), dir("a/n");
    tmpfs_on("a/m");
    EXPECT_EQ(mounts_at("b/m"), 1);
    EXPECT_EQ(mounts_at("c/m"), 1);
    EXPECT_EQ(mounts_at("d/m"), 1);
    EXPECT_EQ(group_of("b/m", "shared:"), group_of("c/m", "shared:"));
    EXPECT_EQ(group_of("c/m", "master:"), group_of("a/m", "shared:"));
    EXPECT_EQ(group_of("d/m", "master:"), group_of("b/m", "shared:"));
    tmpfs_on("c/n");
    EXPECT_EQ(mounts_at("a/n"), 0);
    EXPECT_EQ(mounts_at("b/n"), 1);
    EXPECT_EQ(mounts_at("d/n"), 1);
    EXPECT_OK(umount(test_path("a/m")));
    EXPECT_EQ(mounts_at("b/m") + mounts_at("c/m") + mounts_at("d/m"), 0);
}

CASE(unbindable)
{
    own_mounts();
    dir("a"), dir("b");
    tmpfs_on("a");
    dir("a/u"), dir("a/v");
    tmpfs_on("a/u");
    tmpfs_on("a/v");
    propagation("a/u", MS_UNBINDABLE);
    EXPECT_STREQ(optional_fields("a/u"), "unbindable");
    EXPECT_ERRNO(EINVAL, mount(test_path("a/u"), test_path("b"), NULL, MS_BIND, NULL));
    bind("a", "b", MS_REC);
    EXPECT_EQ(mounts_at("b/u"), 0);
    EXPECT_EQ(mounts_at("b/v"), 1);
    propagation("a/u", MS_SHARED);
    EXPECT_NE(group_of("a/u", "shared:"), 0);
}

CASE(recursive_change)
{
    own_mounts();
    dir("a");
    tmpfs_on("a");
    dir("a/m");
    tmpfs_on("a/m");
    propagation("a", MS_SHARED);
    EXPECT_EQ(group_of("a/m", "shared:"), 0);
    propagation("a", MS_SHARED | MS_REC);
    EXPECT_NE(group_of("a/m", "shared:"), 0);
    EXPECT_NE(group_of("a/m", "shared:"), group_of("a", "shared:"));
    propagation("a", MS_PRIVATE | MS_REC);
    EXPECT_STREQ(optional_fields("a/m"), "");
}

CASE(propagation_errors)
{
    own_mounts();
    dir("a");
    EXPECT_ERRNO(EINVAL, mount(NULL, test_path("a"), NULL, MS_SHARED, NULL)); /* no mount */
    tmpfs_on("a");
    EXPECT_ERRNO(EINVAL, mount(NULL, test_path("a"), NULL, MS_SHARED | MS_SLAVE, NULL));
    EXPECT_ERRNO(EINVAL, mount(NULL, test_path("a"), NULL, MS_SHARED | MS_RDONLY, NULL));
}

CASE(bind_onto_its_own_inside)
{
    own_mounts();
    dir("a");
    tmpfs_on("a");
    dir("a/in");
    propagation("a", MS_SHARED);
    bind("a", "a/in", 0);
    EXPECT_EQ(mounts_at("a/in"), 1);
    EXPECT_EQ(mounts_at("a/in/in"), 0);
    dir("a/m");
    tmpfs_on("a/m");
    EXPECT_EQ(mounts_at("a/in/m"), 1);
    EXPECT_OK(umount(test_path("a/in/m")));
    EXPECT_EQ(mounts_at("a/m"), 0);
    EXPECT_OK(umount2(test_path("a"), MNT_DETACH));
    EXPECT_EQ(mounts_at("a"), 0);
}

CASE(tree_that_is_mounted_propagates)
{
    own_mounts();
    dir("a"), dir("b"), dir("src");
    tmpfs_on("a");
    propagation("a", MS_SHARED);
    bind("a", "b", 0);
    tmpfs_on("src");
    dir("src/in");
    tmpfs_on("src/in");
    touch("src/in/f");
    dir("a/to");
    bind("src", "a/to", MS_REC);
    EXPECT(exists("b/to/in/f"));
    EXPECT_ERRNO(EBUSY, umount(test_path("a/to")));
    EXPECT_OK(umount2(test_path("a/to"), MNT_DETACH));
    EXPECT_EQ(mounts_at("b/to/in"), 0);
    EXPECT_EQ(mounts_at("b/to"), 0);
    EXPECT(exists("src/in/f"));
}

/* What is there already stays on top of what comes by propagation. */
CASE(comes_beneath)
{
    own_mounts();
    dir("a"), dir("b");
    tmpfs_on("a");
    dir("a/m");
    propagation("a", MS_SHARED);
    bind("a", "b", 0);
    propagation("b", MS_SLAVE);
    tmpfs_on("b/m");
    touch("b/m/mine");
    tmpfs_on("a/m");
    touch("a/m/theirs");
    EXPECT_EQ(mounts_at("b/m"), 2);
    EXPECT(exists("b/m/mine"));
    EXPECT_OK(umount(test_path("a/m")));
    EXPECT_EQ(mounts_at("b/m"), 1);
    EXPECT(exists("b/m/mine"));
    EXPECT_OK(umount(test_path("b/m")));
    EXPECT_EQ(mounts_at("b/m"), 0);
}

CASE(only_where_it_is_seen)
{
    own_mounts();
    dir("a"), dir("b");
    tmpfs_on("a");
    dir("a/x"), dir("a/x/m"), dir("a/y");
    propagation("a", MS_SHARED);
    bind("a/x", "b", 0);
    tmpfs_on("a/y"); /* not below x */
    tmpfs_on("a/x/m");
    EXPECT_EQ(mounts_at("b/m"), 1);
    EXPECT_EQ(mounts_at("b"), 1);
}

CASE(busy_elsewhere)
{
    own_mounts();
    dir("a"), dir("b");
    tmpfs_on("a");
    dir("a/m");
    propagation("a", MS_SHARED);
    bind("a", "b", 0);
    tmpfs_on("a/m");
    int fd = EXPECT_OK(open(test_path("b/m"), O_RDONLY));
    EXPECT_ERRNO(EBUSY, umount(test_path("a/m")));
    EXPECT_OK(close(fd));
    EXPECT_OK(umount(test_path("a/m")));
}

CASE(move)
{
    own_mounts();
    dir("a"), dir("to");
    tmpfs_on("a");
    dir("a/m");
    tmpfs_on("a/m");
    touch("a/m/f");
    EXPECT_OK(mount(test_path("a"), test_path("to"), NULL, MS_MOVE, NULL));
    EXPECT_EQ(mounts_at("a"), 0);
    EXPECT(exists("to/m/f"));
    EXPECT_ERRNO(ELOOP, mount(test_path("to"), test_path("to/m"), NULL, MS_MOVE, NULL));
    EXPECT_ERRNO(EINVAL, mount(test_path("a"), test_path("to"), NULL, MS_MOVE, NULL));
    touch("file");
    EXPECT_ERRNO(EINVAL, mount(test_path("to"), test_path("file"), NULL, MS_MOVE, NULL));
    EXPECT_ERRNO(EINVAL, mount("", test_path("a"), NULL, MS_MOVE, NULL));
    /* Not out of a shared mount. */
    propagation("to", MS_SHARED);
    EXPECT_ERRNO(EINVAL, mount(test_path("to/m"), test_path("a"), NULL, MS_MOVE, NULL));
    /* Not an unbindable one into a shared one. */
    tmpfs_on("a");
    propagation("a", MS_UNBINDABLE);
    dir("to/n");
    EXPECT_ERRNO(EINVAL, mount(test_path("a"), test_path("to/n"), NULL, MS_MOVE, NULL));
    propagation("a", MS_PRIVATE);
    EXPECT_OK(mount(test_path("a"), test_path("to/n"), NULL, MS_MOVE, NULL));
    EXPECT_NE(group_of("to/n", "shared:"), 0);
}

CASE(namespace_is_a_copy)
{
    int back[2];
    char c;
    own_mounts();
    dir("a"), dir("b");
    tmpfs_on("a");
    touch("a/f");
    EXPECT_OK(pipe(back));
    pid_t pid = FORK({
        EXPECT_OK(unshare(CLONE_NEWNS));
        EXPECT(exists("a/f"));
        EXPECT_OK(umount(test_path("a")));
        EXPECT(!exists("a/f"));
        tmpfs_on("b");
        EXPECT_EQ(mounts_at("b"), 1);
    });
    EXPECT_EXITED(pid, 0);
    EXPECT(exists("a/f"));
    EXPECT_EQ(mounts_at("b"), 0);
    EXPECT_OK(write(back[1], "x", 1));
    EXPECT_EQ(read(back[0], &c, 1), 1);
}

CASE(cwd_moves_with_the_namespace)
{
    own_mounts();
    dir("a");
    tmpfs_on("a");
    EXPECT_OK(chdir(test_path("a")));
    EXPECT_OK(unshare(CLONE_NEWNS));
    /* Our working directory is in the copy: a mount on a name in it is seen. */
    EXPECT_OK(mkdir("m", 0700));
    EXPECT_OK(mount("t", "m", "tmpfs", 0, NULL));
    touch("a/m/f");
    EXPECT_OK(access("m/f", F_OK));
    EXPECT_OK(chdir("/"));
    EXPECT_OK(umount(test_path("a/m")));
    EXPECT_OK(umount(test_path("a")));
}

/* A shared mount is a peer of its copy in a new namespace; a slave follows. */
CASE(namespaces_propagate)
{
    int go[2];
    int done[2];
    char c;
    own_mounts();
    dir("a");
    tmpfs_on("a");
    dir("a/m"), dir("a/n");
    propagation("a", MS_SHARED);
    EXPECT_OK(pipe(go));
    EXPECT_OK(pipe(done));
    pid_t pid = FORK({
        EXPECT_OK(unshare(CLONE_NEWNS));
        tmpfs_on("a/m");
        EXPECT_OK(mount(NULL, test_path("a"), NULL, MS_SLAVE, NULL));
        EXPECT_OK(write(done[1], "x", 1));
        EXPECT_EQ(read(go[0], &c, 1), 1);
        EXPECT_EQ(mounts_at("a/n"), 1);
        EXPECT_OK(umount(test_path("a/n")));
    });
    EXPECT_EQ(read(done[0], &c, 1), 1);
    EXPECT_EQ(mounts_at("a/m"), 1);
    tmpfs_on("a/n");
    EXPECT_OK(write(go[1], "x", 1));
    EXPECT_EXITED(pid, 0);
    EXPECT_EQ(mounts_at("a/n"), 1);
}

/* A name that is a mount point only in another namespace can go; the mount goes with it. */
CASE(removed_under_another_namespace)
{
    int go[2];
    int done[2];
    char c;
    own_mounts();
    dir("d"), dir("r");
    touch("f");
    EXPECT_OK(pipe(go));
    EXPECT_OK(pipe(done));
    pid_t pid = FORK({
        EXPECT_OK(unshare(CLONE_NEWNS));
        tmpfs_on("d");
        tmpfs_on("r");
        EXPECT_OK(mount("/dev/null", test_path("f"), NULL, MS_BIND, NULL));
        EXPECT_ERRNO(EBUSY, rmdir(test_path("d")));
        EXPECT_OK(write(done[1], "x", 1));
        EXPECT_EQ(read(go[0], &c, 1), 1);
        EXPECT_EQ(mounts_at("d"), 0);
        EXPECT_EQ(mounts_at("f"), 0);
        EXPECT(!exists("d"));
    });
    EXPECT_EQ(read(done[0], &c, 1), 1);
    EXPECT_OK(rmdir(test_path("d")));
    EXPECT_OK(unlink(test_path("f")));
    EXPECT_OK(rename(test_path("r"), test_path("r2")));
    EXPECT_OK(write(go[1], "x", 1));
    EXPECT_EXITED(pid, 0);
}

static int child_in_namespace(void *arg)
{
    (void)arg;
    if (mount("t", test_path("a"), "tmpfs", 0, NULL) < 0)
        return 1;
    return mounts_at("a") == 1 ? 0 : 2;
}

CASE(clone_newns)
{
    static char stack[65536] __attribute__((aligned(16)));
    own_mounts();
    dir("a");
    EXPECT_ERRNO(EINVAL, clone(child_in_namespace, stack + sizeof stack,
                               CLONE_NEWNS | CLONE_FS | SIGCHLD, NULL));
    pid_t pid =
        EXPECT_OK(clone(child_in_namespace, stack + sizeof stack, CLONE_NEWNS | SIGCHLD, NULL));
    EXPECT_EXITED(pid, 0);
    EXPECT_EQ(mounts_at("a"), 0);
    EXPECT_OK(setresuid(1000, 1000, 1000));
    EXPECT_ERRNO(EPERM, unshare(CLONE_NEWNS));
    EXPECT_ERRNO(EPERM,
                 clone(child_in_namespace, stack + sizeof stack, CLONE_NEWNS | SIGCHLD, NULL));
}

/* A path into another namespace can be opened, but nothing can be mounted there. */
CASE(not_in_another_namespace)
{
    int go[2];
    char c;
    char path[64];
    own_mounts();
    dir("a");
    EXPECT_OK(pipe(go));
    pid_t pid = FORK({ EXPECT_EQ(read(go[0], &c, 1), 1); });
    EXPECT_OK(unshare(CLONE_NEWNS));
    snprintf(path, sizeof path, "/proc/%d/root%s", (int)pid, test_path("a"));
    EXPECT_OK(access(path, F_OK));
    EXPECT_ERRNO(EINVAL, mount("t", path, "tmpfs", 0, NULL));
    EXPECT_ERRNO(EINVAL, mount(path, test_path("a"), NULL, MS_BIND, NULL));
    EXPECT_OK(write(go[1], "x", 1));
    EXPECT_EXITED(pid, 0);
}

CASE(expire)
{
    own_mounts();
    dir("a");
    tmpfs_on("a");
    touch("a/f");
    EXPECT_ERRNO(EINVAL, umount2(test_path("a"), MNT_EXPIRE | MNT_FORCE));
    EXPECT_ERRNO(EINVAL, umount2(test_path("a"), MNT_EXPIRE | MNT_DETACH));
    int fd = EXPECT_OK(open(test_path("a/f"), O_RDONLY));
    EXPECT_ERRNO(EBUSY, umount2(test_path("a"), MNT_EXPIRE));
    EXPECT_OK(close(fd));
    EXPECT_ERRNO(EAGAIN, umount2(test_path("a"), MNT_EXPIRE));
    EXPECT_OK(access(test_path("a/f"), F_OK)); /* used: not expired */
    EXPECT_ERRNO(EAGAIN, umount2(test_path("a"), MNT_EXPIRE));
    EXPECT_OK(umount2(test_path("a"), MNT_EXPIRE));
    EXPECT_EQ(mounts_at("a"), 0);
}

CASE(umount_nofollow)
{
    own_mounts();
    dir("a");
    tmpfs_on("a");
    EXPECT_OK(symlink(test_path("a"), test_path("link")));
    EXPECT_ERRNO(EINVAL, umount2(test_path("link"), UMOUNT_NOFOLLOW));
    EXPECT_OK(umount2(test_path("link"), 0));
    EXPECT_EQ(mounts_at("a"), 0);
}

CASE(read_only_mount_and_super)
{
    own_mounts();
    dir("a"), dir("b");
    tmpfs_on("a");
    touch("a/f");
    bind("a", "b", 0);
    int fd = EXPECT_OK(open(test_path("b/f"), O_RDWR));
    EXPECT_ERRNO(EBUSY, mount(NULL, test_path("b"), NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
    /* The other mount of it has no writer, but the file system has. */
    EXPECT_ERRNO(EBUSY, mount(NULL, test_path("a"), NULL, MS_REMOUNT | MS_RDONLY, NULL));
    EXPECT_OK(mount(NULL, test_path("a"), NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
    EXPECT_ERRNO(EROFS, open(test_path("a/g"), O_CREAT | O_RDWR, 0600));
    touch("b/g");
    EXPECT_OK(close(fd));
    EXPECT_OK(mount(NULL, test_path("a"), NULL, MS_REMOUNT | MS_RDONLY, NULL));
    EXPECT_ERRNO(EROFS, open(test_path("b/h"), O_CREAT | O_RDWR, 0600));
    EXPECT_OK(mount(NULL, test_path("a"), NULL, MS_REMOUNT, NULL));
    touch("a/h");
    touch("b/i");
}

CASE(atime_flags_survive_remount)
{
    char line[2048];
    bool kept = false;
    own_mounts();
    dir("a");
    EXPECT_OK(mount("t", test_path("a"), "tmpfs", MS_NOATIME | MS_NODEV, NULL));
    EXPECT_OK(mount(NULL, test_path("a"), NULL, MS_REMOUNT | MS_BIND | MS_NOSUID, NULL));
    FILE *f = fopen("/proc/self/mounts", "r");
    EXPECT(f != NULL);
    while (fgets(line, sizeof line, f))
        if (strstr(line, test_path("a")))
            kept = strstr(line, " rw,nosuid,noatime") != NULL;
    fclose(f);
    EXPECT(kept);
}

/* What bubblewrap and runc do: the new root over the old one, which is then taken away. */
CASE(pivot_over_itself)
{
    char name[64] = "";
    own_mounts();
    dir("root");
    tmpfs_on("root");
    touch("root/here");
    EXPECT_OK(mkdir(test_path("root/proc"), 0700));
    EXPECT_OK(mount("/proc", test_path("root/proc"), NULL, MS_BIND | MS_REC, NULL));
    pid_t other = FORK({ pause(); });
    int old = EXPECT_OK(open("/", O_RDONLY | O_DIRECTORY));
    EXPECT_OK(chdir(test_path("root")));
    if (syscall(SYS_pivot_root, ".", ".") < 0)
        SKIP("the root here cannot be pivoted: %s", strerror(errno));
    EXPECT_OK(fchdir(old));
    EXPECT_OK(umount2(".", MNT_DETACH));
    EXPECT_OK(chdir("/"));
    EXPECT_OK(access("/here", F_OK));
    EXPECT_ERRNO(ENOENT, access("/usr", F_OK));
    EXPECT_OK(access("/../here", F_OK));
    /* Everybody who had the old root has the new one. */
    snprintf(name, sizeof name, "/proc/%d/root/here", (int)other);
    EXPECT_OK(access(name, F_OK));
    EXPECT_OK(kill(other, SIGKILL));
    EXPECT_KILLED(other, SIGKILL);
    EXPECT_OK(close(old));
}

CASE(tmpfs_limits)
{
    own_mounts();
    dir("a");
    EXPECT_OK(
        mount("t", test_path("a"), "tmpfs", 0, "size=64k,nr_inodes=5,mode=711,uid=12,gid=34"));
    struct stat st;
    EXPECT_OK(stat(test_path("a"), &st));
    EXPECT_EQ(st.st_mode & 07777, 0711);
    EXPECT_EQ(st.st_uid, 12);
    EXPECT_EQ(st.st_gid, 34);
    for (int i = 0; i < 4; i++) {
        char name[8];
        snprintf(name, sizeof name, "a/%d", i);
        touch(name);
    }
    EXPECT_ERRNO(ENOSPC, open(test_path("a/more"), O_CREAT | O_RDWR, 0600));
    EXPECT_ERRNO(ENOSPC, mkdir(test_path("a/more"), 0700));
    int fd = EXPECT_OK(open(test_path("a/0"), O_RDWR));
    char page[4096] = "x";
    for (int i = 0; i < 16; i++)
        EXPECT_EQ(write(fd, page, sizeof page), (ssize_t)sizeof page);
    EXPECT_ERRNO(ENOSPC, write(fd, page, sizeof page));
    EXPECT_ERRNO(EINVAL, mount(NULL, test_path("a"), NULL, MS_REMOUNT, "size=32k"));
    EXPECT_ERRNO(EINVAL, mount(NULL, test_path("a"), NULL, MS_REMOUNT, "nr_inodes=3"));
    EXPECT_OK(mount(NULL, test_path("a"), NULL, MS_REMOUNT, "size=128k,nr_inodes=20"));
    EXPECT_EQ(write(fd, page, sizeof page), (ssize_t)sizeof page);
    touch("a/more");
    EXPECT_OK(ftruncate(fd, 0));
    EXPECT_OK(mount(NULL, test_path("a"), NULL, MS_REMOUNT, "size=32k"));
    EXPECT_ERRNO(EINVAL, mount("t", test_path("a"), "tmpfs", 0, "size=64q"));
    EXPECT_ERRNO(EINVAL, mount("t", test_path("a"), "tmpfs", 0, "mode=9"));
    EXPECT_ERRNO(EINVAL, mount("t", test_path("a"), "tmpfs", 0, "nonsense"));
    EXPECT_ERRNO(EINVAL, mount("t", test_path("a"), "tmpfs", 0, "size"));
}

TEST_MAIN
