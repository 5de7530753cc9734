/*
 * Somebody who wants out of a directory.
 *
 *   attack swap DIR            exchanges DIR/d, a directory, and DIR/l, a link to ../out, for ever
 *   attack below DIR N         opens, writes, makes and removes files below DIR/d, N times
 *   attack probe DIR           all other ways out that are known
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define EXCHANGE 2
#define DEPTH 1500 /* of directories: together longer than PATH_MAX */

static int failed;

static void bad(const char *what, const char *where)
{
    printf("FAIL %s %s (%s)\n", what, where, strerror(errno));
    failed = 1;
}

static int swap(const char *dir)
{
    if (chdir(dir))
        return 1;
    for (;;)
        syscall(SYS_renameat2, AT_FDCWD, "d", AT_FDCWD, "l", EXCHANGE);
}

/* What was opened must be of the inside, or nothing. */
static void check_inside(int fd, const char *path)
{
    char text[16] = "";
    if (fd < 0)
        return;
    if (read(fd, text, sizeof(text) - 1) >= 0 && strncmp(text, "outside", 7) == 0)
        bad("read the outside by", path);
    close(fd);
}

static int below(const char *dir, long turns)
{
    static const char *const errors[] = {"d/secret", "d/sub/secret", "l/secret"};
    struct stat st;
    char buf[256];
    long opened = 0;
    if (chdir(dir))
        return 1;
    for (long k = 0; k < turns; k++) {
        const char *path = errors[k % 3];
        int fd = open(path, O_RDONLY);
        opened += fd >= 0;
        check_inside(fd, path);
        switch (k % 8) {
        case 0:
            fd = open("d/new", O_WRONLY | O_CREAT | O_TRUNC, 0644);
            if (fd >= 0 && write(fd, "new", 3) == 3)
                close(fd);
            break;
        case 1:
            unlink("d/new");
            break;
        case 2:
            if (mkdir("d/newdir", 0755) == 0)
                rmdir("d/newdir");
            break;
        case 3:
            rename("d/secret", "d/renamed");
            rename("d/renamed", "d/secret");
            break;
        case 4:
            chmod("d/secret", 0640);
            truncate("d/sub/secret", 7);
            break;
        case 5:
            if (link("d/secret", "stolen") == 0) {
                check_inside(open("stolen", O_RDONLY), "stolen");
                unlink("stolen");
            }
            break;
        case 6:
            setxattr("d/secret", "user.attack", "1", 1, 0);
            utimensat(AT_FDCWD, "d/secret", NULL, 0);
            break;
        default:
            if (stat("d/secret", &st) == 0 && st.st_size == 100)
                bad("the size of the outside by", "d/secret");
            if (readlink("d/secret", buf, sizeof(buf)) > 0)
                bad("a link", "d/secret");
        }
    }
    printf("opened %s\n", opened ? "some" : "none");
    return failed;
}

static void must_not_open(int dirfd, const char *path)
{
    int fd = openat(dirfd, path, O_RDONLY | O_NONBLOCK);
    check_inside(fd, path);
    fd = openat(dirfd, path, O_WRONLY | O_NONBLOCK | O_CREAT, 0600);
    if (fd >= 0 && strstr(path, "secret"))
        bad("opened for writing", path);
    if (fd >= 0)
        close(fd);
}

static void probe_dots(int fd)
{
    struct stat root, st;
    char path[256] = "/", proc[300];
    stat("/", &root);
    for (int k = 0; k < 20; k++) {
        strcat(path, "../");
        if (stat(path, &st) || st.st_ino != root.st_ino || st.st_dev != root.st_dev)
            bad("not the root:", path);
    }
    static const char *const ways[] = {
        "../out/secret",       "../../out/secret",   "l/secret",
        "l/../secret",         "d/../../out/secret", "d/sub/../../../out/secret",
        "../rw/../out/secret",
    };
    for (size_t k = 0; k < sizeof(ways) / sizeof(*ways); k++) {
        must_not_open(AT_FDCWD, ways[k]);
        must_not_open(fd, ways[k]);
        snprintf(proc, sizeof(proc), "/proc/self/cwd/%s", ways[k]);
        must_not_open(AT_FDCWD, proc);
        snprintf(proc, sizeof(proc), "/proc/self/fd/%d/%s", fd, ways[k]);
        must_not_open(AT_FDCWD, proc);
        snprintf(proc, sizeof(proc), "/proc/1/root/../../%s", ways[k]);
        must_not_open(AT_FDCWD, proc);
        snprintf(proc, sizeof(proc), "/proc/self/root/%s", ways[k]);
        must_not_open(AT_FDCWD, proc);
    }
}

static void probe_others(void)
{
    int fd = open("null", O_RDWR); /* made by the host: a device */
    if (fd >= 0 || errno == ENOENT)
        bad("a device of the host", "null");
    if (mknod("null2", S_IFCHR | 0666, makedev(1, 3)) == 0 && open("null2", O_RDWR) >= 0)
        bad("a device of ours", "null2");
    fd = open("fifo", O_RDONLY | O_NONBLOCK); /* the sandbox's own pipe */
    if (fd < 0)
        bad("no FIFO", "fifo");
    if (link("/attack", "attack") == 0 || errno != EXDEV)
        bad("a hard link in", "attack");
    if (link("d/secret", "/secret") == 0 || errno != EXDEV)
        bad("a hard link out", "/secret");
    if (rename("d/secret", "/secret") == 0 || errno != EXDEV)
        bad("a rename out", "/secret");
}

static void probe_names(void)
{
    char name[300];
    memset(name, 'n', sizeof(name));
    name[256] = 0;
    if (open(name, O_WRONLY | O_CREAT, 0600) >= 0 || errno != ENAMETOOLONG)
        bad("a name of 256 bytes", "");
    name[255] = 0;
    if (open(name, O_WRONLY | O_CREAT, 0600) < 0)
        bad("no name of 255 bytes", "");
    if (open("\xff\xfe\x80\n\x01", O_WRONLY | O_CREAT, 0600) < 0)
        bad("no name of odd bytes", "");
}

/* Deeper than any path is long, and up again: one level at a time leads to where it began. */
static void probe_depth(void)
{
    struct stat start, end;
    if (mkdir("deep", 0755) || chdir("deep") || stat(".", &start))
        bad("no", "deep");
    for (int k = 0; k < DEPTH; k++) {
        if (mkdir("12345678", 0755) || chdir("12345678")) {
            bad("no directory in", "deep");
            return;
        }
    }
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    if (fd < 0 || write(fd, "deep", 4) != 4)
        bad("no file at the bottom of", "deep");
    for (int k = 0; k < DEPTH; k++) {
        if (chdir(".."))
            bad("no way up in", "deep");
    }
    if (stat(".", &end) || start.st_ino != end.st_ino)
        bad("another end of", "deep");
}

static int probe(const char *dir)
{
    if (chdir(dir))
        return 1;
    int fd = open("d", O_RDONLY | O_DIRECTORY);
    if (fd < 0)
        bad("no", "d");
    probe_dots(fd);
    probe_others();
    probe_names();
    probe_depth();
    printf("probed\n");
    return failed;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "swap") == 0)
        return swap(argv[2]);
    if (argc == 4 && strcmp(argv[1], "below") == 0)
        return below(argv[2], atol(argv[3]));
    if (argc == 3 && strcmp(argv[1], "probe") == 0)
        return probe(argv[2]);
    return 2;
}
