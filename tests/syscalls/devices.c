/* The memory devices: null(4), zero, full(4), random(4), and the links in /dev. */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static void expect_device(const char *path, unsigned maj, unsigned min)
{
    struct stat st;
    EXPECT_EQ(stat(path, &st), 0);
    EXPECT(S_ISCHR(st.st_mode));
    EXPECT_EQ(st.st_rdev, makedev(maj, min));
}

CASE(numbers)
{
    expect_device("/dev/null", 1, 3);
    expect_device("/dev/zero", 1, 5);
    expect_device("/dev/full", 1, 7);
    expect_device("/dev/random", 1, 8);
    expect_device("/dev/urandom", 1, 9);
    expect_device("/dev/tty", 5, 0);
}

CASE(null)
{
    char buf[4] = "abc";
    int fd = open("/dev/null", O_RDWR);
    EXPECT(fd >= 0);
    EXPECT_EQ(read(fd, buf, 4), 0);
    EXPECT_EQ(write(fd, buf, 4), 4);
    EXPECT_EQ(lseek(fd, 100, SEEK_SET), 0);
    EXPECT_EQ(ftruncate(fd, 0), -1);
    EXPECT(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED);
    close(fd);
    fd = open("/dev/null", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    EXPECT(fd >= 0);
    close(fd);
}

CASE(zero)
{
    char buf[100], none[100] = "";
    memset(buf, 1, sizeof(buf));
    int fd = open("/dev/zero", O_RDWR);
    EXPECT_EQ(read(fd, buf, 100), 100);
    EXPECT(memcmp(buf, none, 100) == 0);
    EXPECT_EQ(write(fd, buf, 100), 100);
    char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    char *s = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT(p != MAP_FAILED);
    EXPECT(s != MAP_FAILED);
    EXPECT_EQ(p[5000], 0);
    p[5000] = 1;
    s[5000] = 2;
    EXPECT_EQ(s[4999], 0);
    EXPECT_EQ(p[5000] + s[5000], 3);
    munmap(p, 8192);
    munmap(s, 8192);
    close(fd);
}

CASE(full)
{
    char c = 1;
    int fd = open("/dev/full", O_RDWR);
    EXPECT_ERRNO(ENOSPC, write(fd, "x", 1));
    EXPECT_EQ(read(fd, &c, 1), 1);
    EXPECT_EQ(c, 0);
    close(fd);
}

CASE(random)
{
    static const char *const names[] = {"/dev/random", "/dev/urandom"};
    for (int k = 0; k < 2; k++) {
        unsigned char a[64], b[64];
        int fd = open(names[k], O_RDONLY);
        EXPECT_EQ(read(fd, a, 64), 64);
        EXPECT_EQ(read(fd, b, 64), 64);
        EXPECT(memcmp(a, b, 64) != 0);
        close(fd);
    }
    int fd = open("/dev/urandom", O_RDONLY);
    char *big = malloc(1 << 20);
    EXPECT_EQ(read(fd, big, 1 << 20), 1 << 20);
    char *nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_ERRNO(EFAULT, read(fd, nowhere, 10));
    free(big);
    close(fd);
}

CASE(links)
{
    char target[64] = "";
    EXPECT_EQ(readlink("/dev/fd", target, 63), 13);
    EXPECT(strcmp(target, "/proc/self/fd") == 0);
    int fds[2];
    EXPECT_EQ(pipe(fds), 0);
    char path[32], c = 0;
    snprintf(path, sizeof(path), "/dev/fd/%d", fds[1]);
    int w = open(path, O_WRONLY);
    EXPECT(w >= 0);
    EXPECT_EQ(write(w, "q", 1), 1);
    EXPECT_EQ(read(fds[0], &c, 1), 1);
    EXPECT_EQ(c, 'q');
}

CASE(tty_without_a_terminal)
{
    pid_t pid = fork();
    int status;
    if (pid == 0) {
        if (setsid() < 0 || open("/dev/tty", O_RDWR) >= 0)
            _exit(1);
        _exit(errno == ENXIO ? 0 : 2);
    }
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
}

TEST_MAIN
