/* inotify(7). */
#include "tests/syscalls/test.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#endif

/* A fresh directory as working directory, and an instance. */
static int fresh(void)
{
    EXPECT_OK(chdir(test_dir()));
    return EXPECT_OK(inotify_init1(IN_NONBLOCK));
}

static void make(const char *path)
{
    int fd = EXPECT_OK(open(path, O_WRONLY | O_CREAT, 0600));
    close(fd);
}

static uint32_t last_cookie;

/* The next event is this one. */
static void check(int line, int in, int wd, uint32_t mask, const char *name)
{
    static char buf[65536] __attribute__((aligned(8)));
    static size_t used, at;
    static int owner = -1;
    if (owner != in || at == used) {
        ssize_t n = read(in, buf, sizeof buf);
        used = n > 0 ? (size_t)n : 0;
        at = 0;
        owner = in;
    }
    if (!mask) {
        if (used != at) {
            struct inotify_event *e = (void *)(buf + at);
            FAIL("line %d: unexpected event %#x of %d (%s)", line, e->mask, e->wd,
                 e->len ? e->name : "");
        }
        return;
    }
    if (used == at)
        FAIL("line %d: no event, not %#x of %d (%s)", line, mask, wd, name ? name : "");
    struct inotify_event *e = (void *)(buf + at);
    at += sizeof *e + e->len;
    last_cookie = e->cookie;
    if (e->mask != mask || e->wd != wd || strcmp(e->len ? e->name : "", name ? name : "") != 0)
        FAIL("line %d: %#x of %d (%s), not %#x of %d (%s)", line, e->mask, e->wd,
             e->len ? e->name : "", mask, wd, name ? name : "");
}
#define SEE(in, wd, mask, name) check(__LINE__, in, wd, mask, name)
#define NONE(in) check(__LINE__, in, 0, 0, NULL)

CASE(arguments)
{
    int in = fresh();
    EXPECT_ERRNO(EINVAL, inotify_init1(1));
    EXPECT_ERRNO(EBADF, inotify_add_watch(-1, ".", IN_OPEN));
    EXPECT_ERRNO(EINVAL, inotify_add_watch(dup(2), ".", IN_OPEN));
    EXPECT_ERRNO(EINVAL, inotify_add_watch(in, ".", 0));
    EXPECT_ERRNO(EINVAL, inotify_add_watch(in, ".", IN_OPEN | IN_MASK_ADD | IN_MASK_CREATE));
    EXPECT_ERRNO(ENOENT, inotify_add_watch(in, "none", IN_OPEN));
    EXPECT_ERRNO(ENOENT, inotify_add_watch(in, "", IN_OPEN));
    EXPECT_ERRNO(EFAULT, inotify_add_watch(in, (char *)8, IN_OPEN));
    make("f");
    EXPECT_ERRNO(ENOTDIR, inotify_add_watch(in, "f", IN_OPEN | IN_ONLYDIR));
    EXPECT_ERRNO(EINVAL, inotify_rm_watch(in, 1));
    EXPECT_ERRNO(EBADF, inotify_rm_watch(-1, 1));
    EXPECT_ERRNO(EINVAL, inotify_rm_watch(open("f", O_RDONLY), 1));
    EXPECT_ERRNO(EBADF, write(in, "x", 1));
    EXPECT_EQ(fcntl(inotify_init1(IN_CLOEXEC), F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(inotify_init(), F_GETFD), 0);
}

CASE(descriptors)
{
    int in = fresh();
    make("a");
    make("b");
    EXPECT_EQ(inotify_add_watch(in, "a", IN_OPEN), 1);
    EXPECT_EQ(inotify_add_watch(in, "b", IN_OPEN), 2);
    EXPECT_EQ(inotify_add_watch(in, "a", IN_ATTRIB), 1);
    EXPECT_ERRNO(EEXIST, inotify_add_watch(in, "a", IN_OPEN | IN_MASK_CREATE));
    EXPECT_OK(link("a", "c"));
    SEE(in, 1, IN_ATTRIB, NULL);
    EXPECT_EQ(inotify_add_watch(in, "c", IN_CLOSE_NOWRITE | IN_MASK_ADD), 1);
    close(open("c", O_RDONLY));
    SEE(in, 1, IN_CLOSE_NOWRITE, NULL);
    EXPECT_OK(inotify_rm_watch(in, 1));
    SEE(in, 1, IN_IGNORED, NULL);
    EXPECT_ERRNO(EINVAL, inotify_rm_watch(in, 1));
    EXPECT_EQ(inotify_add_watch(in, "a", IN_OPEN), 3);
    NONE(in);
}

CASE(file_events)
{
    char buf[8];
    int in = fresh();
    int d = EXPECT_OK(inotify_add_watch(in, ".", IN_ALL_EVENTS));
    int fd = EXPECT_OK(open("f", O_RDWR | O_CREAT, 0600));
    SEE(in, d, IN_CREATE, "f");
    SEE(in, d, IN_OPEN, "f");
    int w = EXPECT_OK(inotify_add_watch(in, "f", IN_ALL_EVENTS));
    EXPECT_EQ(write(fd, "abc", 3), 3);
    SEE(in, d, IN_MODIFY, "f");
    SEE(in, w, IN_MODIFY, NULL);
    EXPECT_EQ(pread(fd, buf, 3, 0), 3);
    SEE(in, d, IN_ACCESS, "f");
    SEE(in, w, IN_ACCESS, NULL);
    EXPECT_EQ(pread(fd, buf, 3, 10), 0);
    EXPECT_OK(ftruncate(fd, 1));
    SEE(in, d, IN_MODIFY, "f");
    SEE(in, w, IN_MODIFY, NULL);
    EXPECT_OK(truncate("f", 2));
    SEE(in, d, IN_MODIFY, "f");
    SEE(in, w, IN_MODIFY, NULL);
    EXPECT_OK(fchmod(fd, 0640));
    SEE(in, d, IN_ATTRIB, "f");
    SEE(in, w, IN_ATTRIB, NULL);
    EXPECT_OK(utimensat(AT_FDCWD, "f", NULL, 0));
    SEE(in, d, IN_ATTRIB, "f");
    SEE(in, w, IN_ATTRIB, NULL);
    EXPECT_OK(chown("f", getuid(), getgid()));
    SEE(in, d, IN_ATTRIB, "f");
    SEE(in, w, IN_ATTRIB, NULL);
    EXPECT_OK(close(fd));
    SEE(in, d, IN_CLOSE_WRITE, "f");
    SEE(in, w, IN_CLOSE_WRITE, NULL);
    close(EXPECT_OK(open("f", O_RDONLY)));
    SEE(in, d, IN_OPEN, "f");
    SEE(in, w, IN_OPEN, NULL);
    SEE(in, d, IN_CLOSE_NOWRITE, "f");
    SEE(in, w, IN_CLOSE_NOWRITE, NULL);
    close(EXPECT_OK(open("f", O_PATH)));
    NONE(in);
}

CASE(both_descriptors_of_one_description)
{
    int in = fresh();
    make("f");
    int w = EXPECT_OK(inotify_add_watch(in, "f", IN_CLOSE));
    int fd = EXPECT_OK(open("f", O_RDONLY)), other = EXPECT_OK(dup(fd));
    close(fd);
    NONE(in);
    close(other);
    SEE(in, w, IN_CLOSE_NOWRITE, NULL);
}

CASE(directory_events)
{
    int in = fresh();
    int d = EXPECT_OK(inotify_add_watch(in, ".", IN_ALL_EVENTS));
    EXPECT_OK(mkdir("sub", 0700));
    SEE(in, d, IN_CREATE | IN_ISDIR, "sub");
    EXPECT_OK(symlink("sub", "s"));
    SEE(in, d, IN_CREATE, "s");
    EXPECT_OK(mkfifo("p", 0600));
    SEE(in, d, IN_CREATE, "p");
    EXPECT_OK(chmod("sub", 0755));
    SEE(in, d, IN_ATTRIB | IN_ISDIR, "sub");
    EXPECT_OK(chmod(".", 0755));
    SEE(in, d, IN_ATTRIB | IN_ISDIR, NULL);
    DIR *dir = opendir("sub");
    EXPECT(dir);
    SEE(in, d, IN_OPEN | IN_ISDIR, "sub");
    while (readdir(dir))
        ;
    SEE(in, d, IN_ACCESS | IN_ISDIR, "sub");
    closedir(dir);
    SEE(in, d, IN_CLOSE_NOWRITE | IN_ISDIR, "sub");
    EXPECT_OK(unlink("s"));
    SEE(in, d, IN_DELETE, "s");
    EXPECT_OK(link("p", "q"));
    SEE(in, d, IN_CREATE, "q");
    EXPECT_OK(rmdir("sub"));
    SEE(in, d, IN_DELETE | IN_ISDIR, "sub");
    NONE(in);
}

CASE(rename_cookies)
{
    int in = fresh();
    EXPECT_OK(mkdir("a", 0700));
    EXPECT_OK(mkdir("b", 0700));
    make("a/f");
    int a = EXPECT_OK(inotify_add_watch(in, "a", IN_ALL_EVENTS));
    int b = EXPECT_OK(inotify_add_watch(in, "b", IN_ALL_EVENTS));
    int f = EXPECT_OK(inotify_add_watch(in, "a/f", IN_ALL_EVENTS));
    EXPECT_OK(rename("a/f", "b/g"));
    SEE(in, a, IN_MOVED_FROM, "f");
    uint32_t cookie = last_cookie;
    EXPECT_NE(cookie, 0);
    SEE(in, b, IN_MOVED_TO, "g");
    EXPECT_EQ(last_cookie, cookie);
    SEE(in, f, IN_MOVE_SELF, NULL);
    EXPECT_EQ(last_cookie, 0);
    EXPECT_OK(rename("b", "a/b"));
    SEE(in, a, IN_MOVED_TO | IN_ISDIR, "b");
    EXPECT_NE(last_cookie, cookie);
    SEE(in, b, IN_MOVE_SELF, NULL);
    make("a/b/new");
    SEE(in, b, IN_CREATE, "new");
    SEE(in, b, IN_OPEN, "new");
    SEE(in, b, IN_CLOSE_WRITE, "new");
    NONE(in);
}

CASE(rename_over)
{
    int in = fresh();
    make("a");
    make("b");
    int d = EXPECT_OK(inotify_add_watch(in, ".", IN_ALL_EVENTS));
    int b = EXPECT_OK(inotify_add_watch(in, "b", IN_ALL_EVENTS));
    EXPECT_OK(rename("a", "b"));
    SEE(in, d, IN_MOVED_FROM, "a");
    SEE(in, d, IN_MOVED_TO, "b");
    SEE(in, b, IN_ATTRIB, NULL);
    SEE(in, b, IN_DELETE_SELF, NULL);
    SEE(in, b, IN_IGNORED, NULL);
    NONE(in);
    EXPECT_ERRNO(EINVAL, inotify_rm_watch(in, b));
}

CASE(rename_exchange)
{
    int in = fresh();
    make("a");
    EXPECT_OK(mkdir("b", 0700));
    int d = EXPECT_OK(inotify_add_watch(in, ".", IN_MOVE));
    EXPECT_OK(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE));
    SEE(in, d, IN_MOVED_FROM, "a");
    uint32_t cookie = last_cookie;
    SEE(in, d, IN_MOVED_TO, "b");
    EXPECT_EQ(last_cookie, cookie);
    SEE(in, d, IN_MOVED_FROM | IN_ISDIR, "b");
    EXPECT_NE(last_cookie, cookie);
    SEE(in, d, IN_MOVED_TO | IN_ISDIR, "a");
    NONE(in);
}

CASE(delete_self)
{
    int in = fresh();
    make("f");
    EXPECT_OK(link("f", "g"));
    EXPECT_OK(mkdir("d", 0700));
    int top = EXPECT_OK(inotify_add_watch(in, ".", IN_DELETE));
    int f = EXPECT_OK(inotify_add_watch(in, "f", IN_ALL_EVENTS));
    int d = EXPECT_OK(inotify_add_watch(in, "d", IN_DELETE_SELF));
    EXPECT_OK(unlink("f"));
    SEE(in, f, IN_ATTRIB, NULL);
    SEE(in, top, IN_DELETE, "f");
    EXPECT_OK(unlink("g"));
    SEE(in, f, IN_ATTRIB, NULL);
    SEE(in, f, IN_DELETE_SELF, NULL);
    SEE(in, f, IN_IGNORED, NULL);
    SEE(in, top, IN_DELETE, "g");
    EXPECT_OK(rmdir("d"));
    SEE(in, d, IN_DELETE_SELF, NULL);
    SEE(in, d, IN_IGNORED, NULL);
    SEE(in, top, IN_DELETE | IN_ISDIR, "d");
    NONE(in);
}

CASE(deleted_when_closed)
{
    int in = fresh();
    make("f");
    int f = EXPECT_OK(inotify_add_watch(in, "f", IN_DELETE_SELF | IN_MODIFY | IN_CLOSE));
    int fd = EXPECT_OK(open("f", O_WRONLY));
    EXPECT_OK(unlink("f"));
    NONE(in);
    EXPECT_EQ(write(fd, "x", 1), 1);
    SEE(in, f, IN_MODIFY, NULL);
    close(fd);
    SEE(in, f, IN_CLOSE_WRITE, NULL);
    SEE(in, f, IN_DELETE_SELF, NULL);
    SEE(in, f, IN_IGNORED, NULL);
    NONE(in);
}

CASE(excl_unlink)
{
    int in = fresh();
    int with = EXPECT_OK(inotify_init1(IN_NONBLOCK));
    make("f");
    int d = EXPECT_OK(inotify_add_watch(in, ".", IN_MODIFY));
    EXPECT_OK(inotify_add_watch(with, ".", IN_MODIFY | IN_EXCL_UNLINK));
    int fd = EXPECT_OK(open("f", O_WRONLY));
    EXPECT_OK(unlink("f"));
    EXPECT_EQ(write(fd, "x", 1), 1);
    SEE(in, d, IN_MODIFY, "f");
    NONE(with);
}

CASE(oneshot)
{
    int in = fresh();
    int d = EXPECT_OK(inotify_add_watch(in, ".", IN_CREATE | IN_ONESHOT));
    make("a");
    make("b");
    SEE(in, d, IN_CREATE, "a");
    SEE(in, d, IN_IGNORED, NULL);
    NONE(in);
    EXPECT_EQ(inotify_add_watch(in, ".", IN_CREATE), d + 1);
}

CASE(dont_follow)
{
    int in = fresh();
    make("f");
    EXPECT_OK(symlink("f", "s"));
    int s = EXPECT_OK(inotify_add_watch(in, "s", IN_ALL_EVENTS | IN_DONT_FOLLOW));
    int f = EXPECT_OK(inotify_add_watch(in, "s", IN_OPEN));
    EXPECT_NE(s, f);
    close(open("s", O_RDONLY));
    SEE(in, f, IN_OPEN, NULL);
    EXPECT_OK(unlink("s"));
    SEE(in, s, IN_ATTRIB, NULL);
    SEE(in, s, IN_DELETE_SELF, NULL);
    SEE(in, s, IN_IGNORED, NULL);
    NONE(in);
}

CASE(repeated_events_are_one)
{
    int in = fresh();
    make("f");
    int w = EXPECT_OK(inotify_add_watch(in, "f", IN_MODIFY | IN_ACCESS));
    int fd = EXPECT_OK(open("f", O_RDWR));
    for (int i = 0; i < 5; i++)
        EXPECT_EQ(write(fd, "x", 1), 1);
    SEE(in, w, IN_MODIFY, NULL);
    NONE(in);
}

CASE(buffers)
{
    char buf[512];
    int bytes, in = fresh();
    EXPECT_ERRNO(EAGAIN, read(in, buf, sizeof buf));
    EXPECT_OK(ioctl(in, FIONREAD, &bytes));
    EXPECT_EQ(bytes, 0);
    EXPECT_OK(inotify_add_watch(in, ".", IN_CREATE));
    make("a");
    make("sixteen-letters-");
    EXPECT_OK(ioctl(in, FIONREAD, &bytes));
    EXPECT_EQ(bytes, 16 + 16 + 16 + 32);
    EXPECT_ERRNO(EINVAL, read(in, buf, 0));
    EXPECT_ERRNO(EINVAL, read(in, buf, 31));
    EXPECT_EQ(read(in, buf, 79), 32);
    struct inotify_event *e = (void *)buf;
    EXPECT_EQ(e->len, 16);
    for (unsigned i = 1; i < 16; i++)
        EXPECT_EQ(e->name[i], 0);
    EXPECT_EQ(read(in, buf, 48), 48);
    EXPECT_ERRNO(EAGAIN, read(in, buf, sizeof buf));
}

CASE(waiting)
{
    char buf[512];
    int in = fresh();
    struct pollfd p = {.fd = in, .events = POLLIN};
    int ep = EXPECT_OK(epoll_create1(0));
    struct epoll_event ev = {.events = EPOLLIN};
    EXPECT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, in, &ev));
    EXPECT_OK(inotify_add_watch(in, ".", IN_CREATE));
    EXPECT_EQ(poll(&p, 1, 0), 0);
    EXPECT_EQ(epoll_wait(ep, &ev, 1, 0), 0);
    pid_t pid = fork();
    if (pid == 0) {
        usleep(50000);
        make("a");
        usleep(50000);
        make("b");
        _exit(0);
    }
    EXPECT_EQ(epoll_wait(ep, &ev, 1, 5000), 1);
    EXPECT_EQ(poll(&p, 1, 0), 1);
    EXPECT_EQ(p.revents, POLLIN);
    EXPECT_EQ(read(in, buf, 32), 32);
    EXPECT_OK(fcntl(in, F_SETFL, 0));
    EXPECT_EQ(read(in, buf, sizeof buf), 32);
    EXPECT_STREQ(((struct inotify_event *)(void *)buf)->name, "b");
    EXPECT_EXITED(pid, 0);
}

CASE(overflow)
{
    static char buf[65536] __attribute__((aligned(8)));
    int limit = 16384, seen = 0, in = fresh();
    FILE *f = fopen("/proc/sys/fs/inotify/max_queued_events", "r");
    if (f) {
        EXPECT_EQ(fscanf(f, "%d", &limit), 1);
        fclose(f);
    }
    if (limit > 100000)
        SKIP("a queue of %d events", limit);
    make("a");
    make("b");
    EXPECT_OK(inotify_add_watch(in, "a", IN_ATTRIB));
    EXPECT_OK(inotify_add_watch(in, "b", IN_ATTRIB));
    for (int i = 0; i < limit / 2 + 50; i++) {
        EXPECT_OK(chmod("a", 0600));
        EXPECT_OK(chmod("b", 0600));
    }
    struct inotify_event last = {0};
    for (ssize_t n; (n = read(in, buf, sizeof buf)) > 0; seen += (int)(n / 16))
        memcpy(&last, buf + n - 16, sizeof last);
    EXPECT_EQ(last.mask, IN_Q_OVERFLOW);
    EXPECT_EQ(last.wd, -1);
    EXPECT_EQ(seen, limit + 1);
    EXPECT_OK(chmod("a", 0600));
    SEE(in, 1, IN_ATTRIB, NULL);
    NONE(in);
}

CASE(many_instances)
{
    int n = 0;
    fresh();
    while (n < 2000 && inotify_init() >= 0)
        n++;
    EXPECT_EQ(errno, EMFILE);
}

CASE(two_instances)
{
    int one = fresh(), two = EXPECT_OK(inotify_init1(IN_NONBLOCK));
    int a = EXPECT_OK(inotify_add_watch(one, ".", IN_CREATE));
    int b = EXPECT_OK(inotify_add_watch(two, ".", IN_CREATE | IN_DELETE));
    make("x");
    SEE(one, a, IN_CREATE, "x");
    NONE(one);
    SEE(two, b, IN_CREATE, "x");
    close(one);
    EXPECT_OK(unlink("x"));
    SEE(two, b, IN_DELETE, "x");
    NONE(two);
}

CASE(watched_through_other_names)
{
    int in = fresh();
    make("f");
    EXPECT_OK(link("f", "g"));
    int f = EXPECT_OK(inotify_add_watch(in, "f", IN_OPEN));
    close(open("g", O_RDONLY));
    SEE(in, f, IN_OPEN, NULL);
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", EXPECT_OK(open("f", O_PATH)));
    EXPECT_EQ(inotify_add_watch(in, path, IN_OPEN), f);
    NONE(in);
}

CASE(unmounted)
{
    int in = fresh();
    EXPECT_OK(mkdir("m", 0700));
    if (mount("none", "m", "tmpfs", 0, "") < 0)
        SKIP("mount: %s", strerror(errno));
    EXPECT_OK(mkdir("m/d", 0700));
    int d = inotify_add_watch(in, "m/d", IN_OPEN);
    EXPECT_OK(umount("m"));
    SEE(in, d, IN_UNMOUNT | IN_ISDIR, NULL);
    SEE(in, d, IN_IGNORED, NULL);
    NONE(in);
    EXPECT_ERRNO(EINVAL, inotify_rm_watch(in, d));
}

TEST_MAIN
