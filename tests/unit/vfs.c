/*
 * Path walks, the dentry cache, descriptor tables and record locks, over tmpfs: single rules, and
 * random operations against naive models.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/vfs/walk.h"
#include "tests/unit/random.h"
#include <string.h>

static struct kernel kernel;
static struct thread_group group;
static struct task task;

static void setup(void)
{
    memset(&kernel, 0, sizeof kernel);
    memset(&group, 0, sizeof group);
    memset(&task, 0, sizeof task);
    ck_assert_int_eq(memory_file_create(&kernel.memory, 0, 0), 0);
    ck_assert_int_eq(clock_init(&kernel.clock, kernel.memory), 0);
    ck_assert_int_eq(user_ns_boot(&kernel, 100), 0);
    ck_assert_int_eq(vfs_create(&kernel), 0);
    struct super_block *sb;
    ck_assert_int_eq(tmpfs_create(&kernel, 0755, 0, &sb), 0);
    ck_assert_int_eq(vfs_mount(kernel.vfs->root_ns, sb, NULL, 0, "root"), 0);
    mutex_init(&group.limits_lock, LOCK_LEAF);
    for (int i = 0; i < RLIM_NLIMITS; i++)
        group.limits[i] = (struct rlimit){.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    group.limits[RLIMIT_NOFILE].rlim_cur = 1024;
    group.tgid = 7;
    mutex_init(&task.lock, LOCK_TASK_WAKE);
    task.kernel = group.kernel = &kernel;
    task.tg = &group;
    task.cred = cred_create(kernel.user_ns, 0, 0, NULL, 0);
    struct mount *m = kernel.vfs->root_ns->root;
    struct path_ref root = {.mnt = m, .dentry = m->root};
    task.fs = fs_context_create(&root, &root);
    task.fs->umask = 0;
    task.files = fd_table_create();
}

static void teardown(void)
{
    fd_table_exit(&task);
    fs_context_put(task.fs);
    cred_put(task.cred);
    vfs_destroy(kernel.vfs);
    user_ns_put(kernel.user_ns);
    struct memory_file_stats st;
    memory_file_stats(kernel.memory, &st);
    clock_destroy(&kernel.clock, kernel.memory);
    memory_file_stats(kernel.memory, &st);
    ck_assert_uint_eq(st.allocated, 0); /* every file's pages are gone */
    memory_file_destroy(kernel.memory);
}

/* ---- shorthand ---- */

static int make(const char *path)
{
    return vfs_mknod(&task, AT_FDCWD, path, S_IFREG | 0644, 0);
}
static int make_dir(const char *path)
{
    return vfs_mkdir(&task, AT_FDCWD, path, 0755);
}
static int make_link(const char *target, const char *path)
{
    return vfs_symlink(&task, target, AT_FDCWD, path);
}
static int remove_name(const char *path)
{
    return vfs_unlink(&task, AT_FDCWD, path, 0);
}
static int remove_dir(const char *path)
{
    return vfs_unlink(&task, AT_FDCWD, path, AT_REMOVEDIR);
}
static int move(const char *from, const char *to)
{
    return vfs_rename(&task, AT_FDCWD, from, AT_FDCWD, to, 0);
}
/* The inode number of path, or -errno. */
static int64_t look_flags(const char *path, unsigned flags)
{
    struct path_ref p;
    int err = vfs_lookup(&task, AT_FDCWD, path, flags, &p);
    if (err)
        return err;
    int64_t ino = (int64_t)p.dentry->inode->ino;
    path_put(&p);
    return ino;
}
static int64_t look(const char *path)
{
    return look_flags(path, LOOKUP_FOLLOW);
}
static void mount_on(const char *path)
{
    struct super_block *sb;
    struct path_ref p;
    ck_assert_int_eq(tmpfs_create(&kernel, 0755, 0, &sb), 0);
    ck_assert_int_eq(vfs_lookup(&task, AT_FDCWD, path, 0, &p), 0);
    ck_assert_int_eq(vfs_mount(kernel.vfs->root_ns, sb, &p, 0, "test"), 0);
    path_put(&p);
}
static const char *path_of(const char *path)
{
    static char buf[PATH_MAX];
    struct path_ref p;
    ck_assert_int_eq(vfs_lookup(&task, AT_FDCWD, path, LOOKUP_FOLLOW, &p), 0);
    int n = vfs_path_string(&task, &p, buf, sizeof buf);
    path_put(&p);
    ck_assert_int_gt(n, 0);
    return buf;
}

/* ---- walks ---- */

START_TEST(walk_plain)
{
    ck_assert_int_eq(make_dir("/a"), 0);
    ck_assert_int_eq(make_dir("/a/b/"), 0);
    ck_assert_int_eq(make("/a/b/f"), 0);
    ck_assert(look("/a/b/f") > 0);
    ck_assert(look("a//b/.//./f") == look("/a/b/f"));
    ck_assert(look("/a/b/../../a/b/f") == look("/a/b/f"));
    ck_assert(look("/../../a") == look("/a"));
    ck_assert(look("/") == look("/.."));
    ck_assert_int_eq(look("/a/x"), -ENOENT);
    ck_assert_int_eq(look("/a/b/f/"), -ENOTDIR);
    ck_assert_int_eq(look("/a/b/f/x"), -ENOTDIR);
    ck_assert_int_eq(look("/a/b/f/.."), -ENOTDIR);
    ck_assert_int_eq(look_flags("/a/b/f", LOOKUP_DIRECTORY), -ENOTDIR);
    ck_assert_int_eq(look(""), -ENOENT);
    ck_assert(look_flags("", LOOKUP_EMPTY_PATH) == look("/"));
    ck_assert_str_eq(path_of("/a/b/f"), "/a/b/f");
    ck_assert_str_eq(path_of("/a/.."), "/");
}
END_TEST

START_TEST(walk_links)
{
    ck_assert_int_eq(make_dir("/d"), 0);
    ck_assert_int_eq(make("/d/f"), 0);
    ck_assert_int_eq(make_link("d", "/l"), 0);
    ck_assert_int_eq(make_link("/l/", "/slash"), 0);
    ck_assert_int_eq(make_link("f", "/d/g"), 0);
    ck_assert_int_eq(make_link("../slash/g", "/d/up"), 0);
    ck_assert_int_eq(make_link("missing", "/dangling"), 0);
    ck_assert_int_eq(make_link("self", "/self"), 0);
    for (int round = 0; round < 2; round++) { /* the second walks over cached bodies */
        ck_assert(look("/l/f") == look("/d/f"));
        ck_assert(look("/slash/up") == look("/d/f"));
        ck_assert(look("/slash/../l/g") == look("/d/f"));
        ck_assert(look_flags("/l", 0) != look("/d"));
        ck_assert(look_flags("/l/", 0) == look("/d"));
        ck_assert_int_eq(look("/dangling"), -ENOENT);
        ck_assert(look_flags("/dangling", 0) > 0);
        ck_assert_int_eq(look("/self"), -ELOOP);
        ck_assert_int_eq(look("/self/x"), -ELOOP);
        ck_assert_int_eq(look("/d/g/"), -ENOTDIR);
    }
    ck_assert_int_eq(make("/dangling"), -EEXIST);
    ck_assert_int_eq(remove_dir("/l"), -ENOTDIR);
    ck_assert_int_eq(remove_name("/l/"), -ENOTDIR);
}
END_TEST

START_TEST(walk_deep_links)
{
    char from[16], to[32];
    ck_assert_int_eq(make_dir("/0"), 0);
    /* Each link has something after it, so that all 40 are on the stack at once. */
    for (int i = 1; i <= 41; i++) {
        snprintf(to, sizeof to, "%d/.", i - 1);
        snprintf(from, sizeof from, "/%d", i);
        ck_assert_int_eq(make_link(to, from), 0);
    }
    for (int round = 0; round < 2; round++) {
        ck_assert(look("/40/") == look("/0"));
        ck_assert_int_eq(look("/41/"), -ELOOP);
        ck_assert_int_eq(look("/41"), -ELOOP);
    }
}
END_TEST

START_TEST(walk_mounts)
{
    ck_assert_int_eq(make_dir("/m"), 0);
    ck_assert_int_eq(make("/m/hidden"), 0);
    int64_t below = look("/m/hidden");
    ck_assert(below > 0);
    mount_on("/m");
    ck_assert_int_eq(look("/m/hidden"), -ENOENT);
    ck_assert_int_eq(make_dir("/m/n"), 0);
    mount_on("/m/n");
    ck_assert_int_eq(make_dir("/m/n/deep"), 0);
    ck_assert_str_eq(path_of("/m/n/deep"), "/m/n/deep");
    ck_assert_str_eq(path_of("/m/n/deep/../.."), "/m");
    ck_assert_str_eq(path_of("/m/n/.."), "/m");
    ck_assert_str_eq(path_of("/m/.."), "/");
    /* One on top of the other: the newest is seen. */
    mount_on("/m");
    ck_assert_int_eq(look("/m/n"), -ENOENT);
    ck_assert_str_eq(path_of("/m"), "/m");
    ck_assert_str_eq(path_of("/m/.."), "/");
    ck_assert_int_eq(remove_dir("/m"), -EBUSY);
    ck_assert_int_eq(move("/m", "/k"), -EBUSY);
    ck_assert_int_eq(vfs_umount(&task, "/m", 0), 0);
    ck_assert_str_eq(path_of("/m/n/deep"), "/m/n/deep");
    ck_assert_int_eq(vfs_umount(&task, "/m", 0), -EBUSY);
    ck_assert_int_eq(vfs_umount(&task, "/m/n/deep", 0), -EINVAL);
    ck_assert_int_eq(make("/m/file"), 0);
    ck_assert_int_eq(vfs_link(&task, AT_FDCWD, "/m/file", AT_FDCWD, "/link", 0), -EXDEV);
    ck_assert_int_eq(move("/m/file", "/file"), -EXDEV);
    ck_assert_int_eq(vfs_umount(&task, "/m", MNT_DETACH), 0);
    ck_assert(look("/m/hidden") == below);
    ck_assert_int_eq(vfs_umount(&task, "/", 0), -EBUSY);
}
END_TEST

START_TEST(walk_bind_and_move)
{
    ck_assert_int_eq(make_dir("/src"), 0);
    ck_assert_int_eq(make_dir("/src/sub"), 0);
    ck_assert_int_eq(make_dir("/dst"), 0);
    ck_assert_int_eq(make_dir("/other"), 0);
    mount_on("/src/sub");
    ck_assert_int_eq(make("/src/sub/f"), 0);
    ck_assert_int_eq(vfs_do_mount(&task, "/src", "/dst", NULL, MS_BIND, NULL), 0);
    ck_assert(look("/dst/sub") > 0);
    ck_assert_int_eq(look("/dst/sub/f"), -ENOENT);
    ck_assert_int_eq(vfs_umount(&task, "/dst", 0), 0);
    ck_assert_int_eq(vfs_do_mount(&task, "/src", "/dst", NULL, MS_BIND | MS_REC, NULL), 0);
    ck_assert(look("/dst/sub/f") == look("/src/sub/f"));
    ck_assert_str_eq(path_of("/dst/sub/f"), "/dst/sub/f");
    ck_assert_int_eq(vfs_do_mount(&task, "/dst", "/other", NULL, MS_MOVE, NULL), 0);
    ck_assert(look("/other/sub/f") == look("/src/sub/f"));
    ck_assert_int_eq(look("/dst/sub"), -ENOENT);
    ck_assert_int_eq(vfs_do_mount(&task, "/other", "/other/sub", NULL, MS_MOVE, NULL), -ELOOP);
    ck_assert_int_eq(vfs_do_mount(&task, "/dst", "/src", NULL, MS_MOVE, NULL), -EINVAL);
    ck_assert_int_eq(
        vfs_do_mount(&task, NULL, "/other", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), 0);
    ck_assert_int_eq(make("/other/x"), -EROFS);
    ck_assert_int_eq(make_dir("/other/sub"), -EEXIST);
    ck_assert_int_eq(remove_name("/other/sub"), -EROFS);
    ck_assert_int_eq(make("/src/x"), 0);
    ck_assert_int_eq(vfs_do_mount(&task, NULL, "/other", NULL, MS_SHARED | MS_SLAVE, NULL),
                     -EINVAL);
    ck_assert_int_eq(vfs_do_mount(&task, NULL, "/other", NULL, MS_PRIVATE | MS_REC, NULL), 0);
    ck_assert_int_eq(vfs_do_mount(&task, "x", "/other", "nofs", 0, NULL), -ENODEV);
    ck_assert_int_eq(vfs_do_mount(&task, "x", "/other", "tmpfs", 0, "size=1x"), -EINVAL);
    ck_assert_int_eq(vfs_do_mount(&task, "x", "/other", "tmpfs", 0, "size=4k,mode=700"), 0);
}
END_TEST

START_TEST(mounts_without_end)
{
    char *text;
    size_t n;
    struct path_ref root = task.fs->root;
    ck_assert_int_eq(make_dir("/m"), 0);
    /* One on top of the other: deeper than any stack of calls. */
    kernel.vfs->nmounts = 89000; /* as if: the limit is near */
    for (int i = 0; i < 5000; i++)
        HOLDS(vfs_do_mount(&task, "/m", "/m", NULL, MS_BIND, NULL) == 0);
    ck_assert_int_eq(vfs_mounts_text(kernel.vfs->root_ns, &root, MOUNTS_INFO, &text, &n), 0);
    free(text);
    ck_assert_int_eq(make_dir("/r"), 0);
    ck_assert_int_eq(vfs_do_mount(&task, "/m", "/r", NULL, MS_BIND | MS_REC, NULL), 0);
    ck_assert_int_eq(vfs_umount(&task, "/r", MNT_DETACH), 0);
    ck_assert_int_eq(vfs_do_mount(&task, "/", "/r", NULL, MS_BIND | MS_REC, NULL), 0);
    ck_assert_int_eq(make_dir("/s"), 0);
    ck_assert_int_eq(vfs_do_mount(&task, "/", "/s", NULL, MS_BIND | MS_REC, NULL), -ENOSPC);
    ck_assert_int_eq(vfs_umount(&task, "/r", MNT_DETACH), 0);
    ck_assert_int_eq(kernel.vfs->nmounts, 94000);
    vfs_sync_all(kernel.vfs);
}
END_TEST

START_TEST(walk_chroot)
{
    struct path_ref jail, outside;
    ck_assert_int_eq(make_dir("/jail"), 0);
    ck_assert_int_eq(make_dir("/jail/in"), 0);
    ck_assert_int_eq(make("/secret"), 0);
    ck_assert_int_eq(make_link("/secret", "/jail/abs"), 0);
    ck_assert_int_eq(make_link("../../../secret", "/jail/in/rel"), 0);
    ck_assert_int_eq(vfs_lookup(&task, AT_FDCWD, "/jail", 0, &jail), 0);
    ck_assert_int_eq(vfs_lookup(&task, AT_FDCWD, "/secret", 0, &outside), 0);
    struct fs_context *free_fs = task.fs;
    task.fs = fs_context_create(&jail, &jail);
    ck_assert_int_eq(look("/../secret"), -ENOENT);
    ck_assert_int_eq(look("../../secret"), -ENOENT);
    ck_assert_int_eq(look("/abs"), -ENOENT);
    ck_assert_int_eq(look("/in/rel"), -ENOENT);
    ck_assert_str_eq(path_of("/in"), "/in");
    char buf[64];
    ck_assert_int_gt(vfs_path_string(&task, &outside, buf, sizeof buf), 0);
    ck_assert_str_eq(buf, "(unreachable)/secret");
    fs_context_put(task.fs);
    task.fs = free_fs;
    path_put(&jail);
    path_put(&outside);
}
END_TEST

static int64_t resolve(const char *path, unsigned how)
{
    return look_flags(path, LOOKUP_FOLLOW | how << LOOKUP_RESOLVE_SHIFT);
}

START_TEST(walk_resolve)
{
    ck_assert_int_eq(make_dir("/d"), 0);
    ck_assert_int_eq(make_dir("/d/e"), 0);
    ck_assert_int_eq(make("/d/f"), 0);
    ck_assert_int_eq(make("/f"), 0);
    ck_assert_int_eq(make_link("/f", "/d/abs"), 0);
    ck_assert_int_eq(make_link("../f", "/d/up"), 0);
    ck_assert_int_eq(make_link("e/../f", "/d/in"), 0);
    ck_assert_int_eq(make_dir("/d/m"), 0);
    mount_on("/d/m");
    struct path_ref d;
    ck_assert_int_eq(vfs_lookup(&task, AT_FDCWD, "/d", 0, &d), 0);
    struct fs_context *fs = task.fs;
    task.fs = fs_context_create(&fs->root, &d);
    for (int round = 0; round < 2; round++) {
        ck_assert_int_eq(resolve("abs", RESOLVE_BENEATH), -EXDEV);
        ck_assert_int_eq(resolve("up", RESOLVE_BENEATH), -EXDEV);
        ck_assert_int_eq(resolve("/d/f", RESOLVE_BENEATH), -EXDEV);
        ck_assert_int_eq(resolve("..", RESOLVE_BENEATH), -EXDEV);
        ck_assert(resolve("in", RESOLVE_BENEATH) == look("/d/f"));
        ck_assert(resolve("e/..", RESOLVE_BENEATH) == look("/d"));
        ck_assert(resolve("abs", RESOLVE_IN_ROOT) == look("/d/f"));
        ck_assert(resolve("up", RESOLVE_IN_ROOT) == look("/d/f"));
        ck_assert(resolve("/../../f", RESOLVE_IN_ROOT) == look("/d/f"));
        ck_assert_int_eq(resolve("in", RESOLVE_NO_SYMLINKS), -ELOOP);
        ck_assert(resolve("f", RESOLVE_NO_SYMLINKS) == look("/d/f"));
        ck_assert_int_eq(resolve("m", RESOLVE_NO_XDEV), -EXDEV);
        ck_assert(resolve("abs", RESOLVE_NO_XDEV) == look("/f"));
        ck_assert(resolve("abs", 0) == look("/f"));
    }
    ck_assert(resolve("f", RESOLVE_CACHED) == look("/d/f"));
    d_shrink(d.dentry->sb);
    ck_assert_int_eq(resolve("f", RESOLVE_CACHED), -EAGAIN);
    ck_assert(look("f") > 0);
    ck_assert(resolve("f", RESOLVE_CACHED) == look("/d/f"));
    fs_context_put(task.fs);
    task.fs = fs;
    path_put(&d);
}
END_TEST

START_TEST(walk_permissions)
{
    ck_assert_int_eq(make_dir("/open"), 0);
    ck_assert_int_eq(make("/open/f"), 0);
    ck_assert_int_eq(vfs_mkdir(&task, AT_FDCWD, "/closed", 0700), 0);
    ck_assert_int_eq(make("/closed/f"), 0);
    const struct cred *root = task.cred;
    task.cred = cred_create(kernel.user_ns, 1000, 1000, NULL, 0);
    ck_assert(look("/open/f") > 0);
    ck_assert_int_eq(look("/closed/f"), -EACCES);
    ck_assert_int_eq(look("/closed/.."), -EACCES);
    ck_assert_int_eq(look("/closed/missing"), -EACCES);
    ck_assert(look("/closed") > 0);
    ck_assert_int_eq(make("/open/g"), -EACCES);
    ck_assert_int_eq(remove_name("/open/f"), -EACCES);
    cred_put(task.cred);
    task.cred = root;
}
END_TEST

START_TEST(deleted_paths)
{
    struct path_ref f, d, r;
    char buf[64];
    ck_assert_int_eq(make_dir("/d"), 0);
    ck_assert_int_eq(make_dir("/d/e"), 0);
    ck_assert_int_eq(make("/d/e/f"), 0);
    ck_assert_int_eq(vfs_lookup(&task, AT_FDCWD, "/d/e/f", 0, &f), 0);
    ck_assert_int_eq(vfs_lookup(&task, AT_FDCWD, "/d/e", 0, &d), 0);
    ck_assert_int_eq(move("/d/e", "/d/moved to a longer name"), 0);
    ck_assert_int_gt(vfs_path_string(&task, &f, buf, sizeof buf), 0);
    ck_assert_str_eq(buf, "/d/moved to a longer name/f");
    ck_assert_int_eq(remove_name("/d/moved to a longer name/f"), 0);
    ck_assert_int_gt(vfs_path_string(&task, &f, buf, sizeof buf), 0);
    ck_assert_str_eq(buf, "/d/moved to a longer name/f (deleted)");
    ck_assert_int_eq(remove_dir("/d/moved to a longer name"), 0);
    ck_assert(d.dentry->inode->dead);
    /* Replaced by a rename: the old file keeps its name. */
    ck_assert_int_eq(make("/d/x"), 0);
    ck_assert_int_eq(make("/d/y"), 0);
    ck_assert_int_eq(vfs_lookup(&task, AT_FDCWD, "/d/y", 0, &r), 0);
    ck_assert_int_eq(move("/d/x", "/d/y"), 0);
    ck_assert_int_gt(vfs_path_string(&task, &r, buf, sizeof buf), 0);
    ck_assert_str_eq(buf, "/d/y (deleted)");
    ck_assert_int_eq(vfs_path_string(&task, &f, buf, 10), -ENAMETOOLONG);
    path_put(&f);
    path_put(&d);
    path_put(&r);
}
END_TEST

/* ---- random names against a model ---- */

#define NAMES 6
/* The tree: /0../5, each missing, a file or a directory with files and directories 0..5. */
struct model {
    struct {
        char kind; /* 0, 'f', 'd' */
        char child[NAMES];
    } top[NAMES];
};

static char kind_at(const struct model *m, int a, int b)
{
    return b < 0 ? m->top[a].kind : m->top[a].kind == 'd' ? m->top[a].child[b] : 0;
}
static bool has_parent(const struct model *m, int a, int b)
{
    return b < 0 || m->top[a].kind == 'd';
}
static bool is_empty(const struct model *m, int a, int b)
{
    static const char none[NAMES];
    return b >= 0 || memcmp(m->top[a].child, none, NAMES) == 0;
}
static void set_kind(struct model *m, int a, int b, char kind)
{
    if (b < 0)
        m->top[a].kind = kind;
    else
        m->top[a].child[b] = kind;
}
static const char *name_of(char buf[16], int a, int b)
{
    if (b < 0)
        snprintf(buf, 16, "/%d", a);
    else
        snprintf(buf, 16, "/%d/%d", a, b);
    return buf;
}
static int missing_parent(const struct model *m, int a)
{
    return m->top[a].kind == 'f' ? -ENOTDIR : -ENOENT;
}

static int model_make(struct model *m, int a, int b, char kind)
{
    if (!has_parent(m, a, b))
        return missing_parent(m, a);
    if (kind_at(m, a, b))
        return -EEXIST;
    set_kind(m, a, b, kind);
    return 0;
}

static int model_remove(struct model *m, int a, int b, bool dir)
{
    if (!has_parent(m, a, b))
        return missing_parent(m, a);
    char kind = kind_at(m, a, b);
    if (!kind)
        return -ENOENT;
    if (dir != (kind == 'd'))
        return dir ? -ENOTDIR : -EISDIR;
    if (dir && !is_empty(m, a, b))
        return -ENOTEMPTY;
    set_kind(m, a, b, 0);
    return 0;
}

static int model_move(struct model *m, int a, int b, int c, int d)
{
    if (!has_parent(m, a, b))
        return missing_parent(m, a);
    if (!has_parent(m, c, d))
        return missing_parent(m, c);
    char from = kind_at(m, a, b), to = kind_at(m, c, d);
    if (!from)
        return -ENOENT;
    if (b < 0 && d >= 0 && a == c)
        return -EINVAL; /* below itself */
    if (d < 0 && b >= 0 && a == c)
        return -ENOTEMPTY; /* over its own parent */
    if (a == c && b == d)
        return 0;
    if (to && (from == 'd') != (to == 'd'))
        return from == 'd' ? -ENOTDIR : -EISDIR;
    if (to == 'd' && !is_empty(m, c, d))
        return -ENOTEMPTY;
    if (b < 0 && d >= 0 && from == 'd' && !is_empty(m, a, b))
        return 1; /* three levels: the model does not follow */
    if (d < 0 && from == 'd') {
        char children[NAMES] = {0};
        if (b < 0)
            memcpy(children, m->top[a].child, NAMES);
        memset(m->top[a].child, 0, b < 0 ? NAMES : 0);
        memcpy(m->top[c].child, children, NAMES);
    }
    set_kind(m, a, b, 0);
    set_kind(m, c, d, from);
    return 0;
}

static void compare_all(const struct model *m)
{
    char buf[16];
    for (int a = 0; a < NAMES; a++) {
        for (int b = -1; b < NAMES; b++) {
            int64_t r = look(name_of(buf, a, b));
            char kind = kind_at(m, a, b);
            if (!has_parent(m, a, b))
                HOLDS(r == missing_parent(m, a));
            else
                HOLDS(kind ? r > 0 : r == -ENOENT);
        }
    }
}

static void random_names(struct rng *r, int steps)
{
    struct model m = {0};
    char x[16], y[16];
    for (int i = 0; i < steps; i++) {
        int a = (int)rng_below(r, NAMES), b = (int)rng_below(r, NAMES + 2) - 2;
        int c = (int)rng_below(r, NAMES), d = (int)rng_below(r, NAMES + 2) - 2;
        b = MAX(b, -1);
        d = MAX(d, -1);
        const char *one = name_of(x, a, b), *two = name_of(y, c, d);
        switch (rng_below(r, 6)) {
        case 0:
            HOLDS(make(one) == model_make(&m, a, b, 'f'));
            break;
        case 1:
            HOLDS(make_dir(one) == model_make(&m, a, b, 'd'));
            if (b < 0 && m.top[a].kind == 'd' && look(one) < 0)
                ck_abort_msg("made and not there");
            break;
        case 2:
            HOLDS(remove_name(one) == model_remove(&m, a, b, false));
            break;
        case 3:
            HOLDS(remove_dir(one) == model_remove(&m, a, b, true));
            break;
        case 4: {
            struct model before = m;
            int want = model_move(&m, a, b, c, d);
            if (want == 1)
                m = before;
            else
                HOLDS(move(one, two) == want);
            break;
        }
        default:
            if (rng_below(r, 50) == 0)
                d_shrink(kernel.vfs->root_ns->root->sb);
            else
                HOLDS((look(one) > 0) == (has_parent(&m, a, b) && kind_at(&m, a, b)));
        }
        if (i % 64 == 0)
            compare_all(&m);
    }
    compare_all(&m);
}

START_TEST(names_against_model)
{
    struct rng r = rng_seed("vfs names");
    random_names(&r, 60000);
}
END_TEST

START_TEST(names_against_model_tiny_cache)
{
    struct rng r = rng_seed("vfs names, tiny cache");
    kernel.vfs->dcache->limit = 8;
    random_names(&r, 30000);
    HOLDS(kernel.vfs->dcache->count <= 64);
}
END_TEST

START_TEST(cache_is_bounded)
{
    char name[32];
    kernel.vfs->dcache->limit = 100;
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "/missing%d", i);
        HOLDS(look(name) == -ENOENT);
    }
    ck_assert_uint_le(kernel.vfs->dcache->count, 101);
}
END_TEST

/* ---- threads ---- */

#ifdef __SANITIZE_THREAD__
/* Directories are locked parents first, and renames make children of parents: in the long run every
 * order occurs. lock_order.h and rename_lock say why no two of them meet. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "detect_deadlocks=0";
}
#endif

/* A task of its own, at the same tree, root and descriptors. */
static void clone_task(struct task *t)
{
    memset(t, 0, sizeof *t);
    mutex_init(&t->lock, LOCK_TASK_WAKE);
    t->kernel = &kernel;
    t->tg = &group;
    t->cred = task.cred;
    t->fs = task.fs;
    t->files = fd_table_get(task.files);
}

static void open_and_close(struct task *t, const char *path)
{
    struct open_how how = {.flags = O_RDWR | O_CREAT, .mode = 0600};
    struct file *f;
    struct kstat st;
    char byte = 1;
    struct uio u;
    int err = vfs_open(t, AT_FDCWD, path, &how, &f);
    if (err) {
        HOLDS(err == -ENOENT || err == -EISDIR || err == -ENOTDIR);
        return;
    }
    int fd = fd_install(t, f, 0, false);
    HOLDS(fd >= 0);
    uio_init_kernel(&u, &byte, 1);
    HOLDS(file_write(f, &u) == 1);
    HOLDS(vfs_getattr(&f->path, &st) == 0);
    struct flock fl = {.l_type = F_WRLCK};
    err = locks_fcntl(t, f, F_OFD_SETLK, &fl);
    HOLDS(err == 0 || err == -EAGAIN);
    file_put(f);
    HOLDS(fd_close(t, fd) == 0);
}

static void *thread_main(void *arg)
{
    struct rng r = {(uint64_t)(uintptr_t)arg};
    struct task t;
    char x[16], y[16], buf[64];
    clone_task(&t);
    for (int i = 0; i < 4000; i++) {
        const char *one = name_of(x, (int)rng_below(&r, 3), (int)rng_below(&r, 3) - 1);
        const char *two = name_of(y, (int)rng_below(&r, 3), (int)rng_below(&r, 3) - 1);
        struct path_ref p;
        switch (rng_below(&r, 8)) {
        case 0:
            (void)vfs_mkdir(&t, AT_FDCWD, one, 0700);
            break;
        case 1:
            (void)vfs_unlink(&t, AT_FDCWD, one, 0);
            break;
        case 2:
            (void)vfs_unlink(&t, AT_FDCWD, one, AT_REMOVEDIR);
            break;
        case 3:
        case 4:
            (void)vfs_rename(&t, AT_FDCWD, one, AT_FDCWD, two,
                             rng_below(&r, 3) == 0 ? RENAME_EXCHANGE : 0);
            break;
        case 5:
            (void)vfs_link(&t, AT_FDCWD, one, AT_FDCWD, two, 0);
            break;
        case 6:
            if (vfs_lookup(&t, AT_FDCWD, one, LOOKUP_FOLLOW, &p) == 0) {
                HOLDS(vfs_path_string(&t, &p, buf, sizeof buf) > 0);
                path_put(&p);
            }
            break;
        default:
            open_and_close(&t, one);
        }
    }
    fd_table_exit(&t);
    return NULL;
}

START_TEST(threads_at_one_tree)
{
    enum { N = 4 };
    pthread_t threads[N];
    kernel.vfs->dcache->limit = 6;
    for (uintptr_t i = 0; i < N; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, thread_main, (void *)(i + 1)), 0);
    for (int i = 0; i < N; i++)
        pthread_join(threads[i], NULL);
}
END_TEST

/* ---- descriptor tables ---- */

static struct file *any_file(void)
{
    struct open_how how = {.flags = O_RDWR | O_CREAT, .mode = 0600};
    struct file *f;
    ck_assert_int_eq(vfs_open(&task, AT_FDCWD, "/file", &how, &f), 0);
    return f;
}

START_TEST(fd_table_against_model)
{
    enum { N = 300 };
    struct rng r = rng_seed("fd table");
    struct file *f = any_file();
    bool open[N] = {0}, cloexec[N] = {0};
    group.limits[RLIMIT_NOFILE].rlim_cur = N;
    for (int i = 0; i < 200000; i++) {
        int fd = (int)rng_below(&r, N);
        bool flag = rng_below(&r, 2);
        switch (rng_below(&r, 7)) {
        case 0:
        case 1: {
            int want = fd;
            while (want < N && open[want])
                want++;
            HOLDS(fd_install(&task, f, fd, flag) == (want < N ? want : -EMFILE));
            if (want < N) {
                open[want] = true;
                cloexec[want] = flag;
            }
            break;
        }
        case 2:
            HOLDS(fd_install_at(&task, f, fd, flag) == fd);
            open[fd] = true;
            cloexec[fd] = flag;
            break;
        case 3:
        case 4:
            HOLDS(fd_close(&task, fd) == (open[fd] ? 0 : -EBADF));
            open[fd] = cloexec[fd] = false;
            break;
        case 5: {
            struct file *got = fd_get(&task, fd);
            HOLDS(got == (open[fd] ? f : NULL));
            file_put(got);
            HOLDS(fd_get_cloexec(&task, fd) == (open[fd] ? cloexec[fd] : -EBADF));
            break;
        }
        default:
            if (rng_below(&r, 40))
                break;
            if (flag) {
                fd_table_do_cloexec(&task);
                for (int n = 0; n < N; n++)
                    open[n] = open[n] && !cloexec[n];
            } else {
                int last = (int)rng_below(&r, N);
                HOLDS(fd_close_range(&task, (unsigned)fd, (unsigned)last, false) == 0);
                for (int n = fd; n <= last; n++)
                    open[n] = cloexec[n] = false;
            }
            for (int n = 0; n < N; n++)
                cloexec[n] = cloexec[n] && open[n];
        }
    }
    struct fd_table *copy;
    ck_assert_int_eq(fd_table_copy(task.files, &copy), 0);
    for (int n = 0, at = 0; n < N; n++) {
        struct file *got;
        if (!open[n])
            continue;
        ck_assert_int_eq(fd_table_next(copy, at, &got), n);
        file_put(got);
        at = n + 1;
    }
    fd_table_put(copy);
    ck_assert_int_eq(fd_close_range(&task, 0, ~0u, false), 0);
    ck_assert_int_eq(ref_read(&f->ref), 1);
    file_put(f);
}
END_TEST

START_TEST(fd_edges)
{
    struct file *f = any_file();
    ck_assert_int_eq(fd_install(&task, f, -1, false), -EINVAL);
    ck_assert_int_eq(fd_install(&task, f, 1024, false), -EINVAL);
    ck_assert_int_eq(fd_install_at(&task, f, 1024, false), -EBADF);
    ck_assert_int_eq(fd_install_at(&task, f, -1, false), -EBADF);
    ck_assert_ptr_null(fd_get(&task, -1));
    ck_assert_ptr_null(fd_get(&task, INT32_MAX));
    ck_assert_int_eq(fd_close(&task, -5), -EBADF);
    group.limits[RLIMIT_NOFILE].rlim_cur = RLIM_INFINITY;
    ck_assert_int_eq(fd_install_at(&task, f, (1 << 20) - 1, false), (1 << 20) - 1);
    ck_assert_int_eq(fd_install_at(&task, f, 1 << 20, false), -EBADF);
    ck_assert_int_eq(fd_install(&task, f, 0, false), 0);
    ck_assert_int_eq(fd_install(&task, f, (1 << 20) - 1, false), -EMFILE);
    file_put(f);
}
END_TEST

/* ---- record locks ---- */

#define BYTES 64
#define OWNERS 3

static short model_conflict(short held[OWNERS][BYTES], int owner, short type, int first, int last)
{
    for (int o = 0; o < OWNERS; o++)
        for (int b = first; b <= last && o != owner; b++)
            if (held[o][b] != F_UNLCK && (held[o][b] == F_WRLCK || type == F_WRLCK))
                return held[o][b];
    return F_UNLCK;
}

START_TEST(record_locks_against_model)
{
    struct rng r = rng_seed("record locks");
    struct open_how how = {.flags = O_RDWR | O_CREAT, .mode = 0600};
    struct file *f[OWNERS];
    short held[OWNERS][BYTES];
    for (int o = 0; o < OWNERS; o++) {
        ck_assert_int_eq(vfs_open(&task, AT_FDCWD, "/locked", &how, &f[o]), 0);
        for (int b = 0; b < BYTES; b++)
            held[o][b] = F_UNLCK;
    }
    static const short types[] = {F_RDLCK, F_WRLCK, F_UNLCK};
    for (int i = 0; i < 100000; i++) {
        int o = (int)rng_below(&r, OWNERS), first = (int)rng_below(&r, BYTES);
        int last = first + (int)rng_below(&r, (uint64_t)(BYTES - first));
        short type = types[rng_below(&r, 3)];
        struct flock fl = {.l_type = type, .l_start = first, .l_len = last - first + 1};
        short other = type == F_UNLCK ? F_UNLCK : model_conflict(held, o, type, first, last);
        if (type != F_UNLCK && rng_below(&r, 4) == 0) {
            HOLDS(locks_fcntl(&task, f[o], F_OFD_GETLK, &fl) == 0);
            HOLDS((fl.l_type == F_UNLCK) == (other == F_UNLCK));
            continue;
        }
        HOLDS(locks_fcntl(&task, f[o], F_OFD_SETLK, &fl) == (other == F_UNLCK ? 0 : -EAGAIN));
        for (int b = first; b <= last && other == F_UNLCK; b++)
            held[o][b] = type;
    }
    for (int o = 0; o < OWNERS; o++)
        file_put(f[o]);
}
END_TEST

static int lock_range(struct file *f, short whence, int64_t start, int64_t len)
{
    struct flock fl = {.l_type = F_WRLCK, .l_whence = whence, .l_start = start, .l_len = len};
    return locks_fcntl(&task, f, F_OFD_SETLK, &fl);
}

START_TEST(record_lock_ranges)
{
    struct file *f = any_file(), *g = any_file();
    ck_assert_int_eq(lock_range(f, SEEK_SET, -1, 1), -EINVAL);
    ck_assert_int_eq(lock_range(f, SEEK_SET, 0, -1), -EINVAL);
    ck_assert_int_eq(lock_range(f, SEEK_SET, 10, -11), -EINVAL);
    ck_assert_int_eq(lock_range(f, SEEK_SET, INT64_MAX, 2), -EOVERFLOW);
    ck_assert_int_eq(lock_range(f, SEEK_SET, INT64_MAX, 1), 0);
    ck_assert_int_eq(lock_range(g, SEEK_SET, 5, 0), -EAGAIN);
    ck_assert_int_eq(lock_range(g, SEEK_SET, 10, -10), 0);
    ck_assert_int_eq(lock_range(f, SEEK_SET, 9, 1), -EAGAIN);
    ck_assert_int_eq(lock_range(f, SEEK_SET, 10, 0), 0);
    ck_assert_int_eq(lock_range(f, 7, 0, 1), -EINVAL);
    struct flock fl = {.l_type = F_RDLCK, .l_start = 3, .l_len = 100};
    ck_assert_int_eq(locks_fcntl(&task, g, F_OFD_GETLK, &fl), 0);
    ck_assert_int_eq(fl.l_type, F_WRLCK);
    ck_assert_int_eq(fl.l_start, 10);
    ck_assert_int_eq(fl.l_len, 0);
    ck_assert_int_eq(fl.l_pid, -1);
    file_put(f);
    ck_assert_int_eq(lock_range(g, SEEK_SET, 0, 0), 0);
    file_put(g);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        walk_plain,
        walk_links,
        walk_deep_links,
        walk_mounts,
        walk_bind_and_move,
        mounts_without_end,
        walk_chroot,
        walk_resolve,
        walk_permissions,
        deleted_paths,
        names_against_model,
        names_against_model_tiny_cache,
        cache_is_bounded,
        threads_at_one_tree,
        fd_table_against_model,
        fd_edges,
        record_locks_against_model,
        record_lock_ranges,
    };
    Suite *s = suite_create("vfs");
    TCase *tc = tcase_create("vfs");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    for (size_t i = 0; i < ARRAY_SIZE(tests); i++)
        tcase_add_test(tc, tests[i]);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
