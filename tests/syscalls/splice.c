/* splice(2), tee(2), vmsplice(2). */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

static int a[2], b[2];
static char buf[256 * 1024];

static void make(void)
{
    EXPECT_OK(pipe2(a, O_NONBLOCK));
    EXPECT_OK(pipe2(b, O_NONBLOCK));
}

static int queued(int fd)
{
    int n = -1;
    EXPECT_OK(ioctl(fd, FIONREAD, &n));
    return n;
}

static int file_with(const char *text)
{
    int fd = EXPECT_OK(open(test_path("file"), O_CREAT | O_TRUNC | O_RDWR, 0600));
    EXPECT_EQ(write(fd, text, strlen(text)), strlen(text));
    EXPECT_OK(lseek(fd, 0, SEEK_SET));
    return fd;
}

CASE(pipe_to_pipe)
{
    make();
    EXPECT_EQ(write(a[1], "hello world", 11), 11);
    EXPECT_EQ(splice(a[0], NULL, b[1], NULL, 5, 0), 5);
    EXPECT_EQ(read(b[0], buf, 100), 5);
    EXPECT_MEMEQ(buf, "hello", 5);
    EXPECT_EQ(splice(a[0], NULL, b[1], NULL, 100, 0), 6);
    EXPECT_EQ(read(b[0], buf, 100), 6);
    EXPECT_MEMEQ(buf, " world", 6);
    EXPECT_ERRNO(EAGAIN, splice(a[0], NULL, b[1], NULL, 1, 0));
    EXPECT_EQ(splice(a[0], NULL, b[1], NULL, 0, 0), 0);
    EXPECT_ERRNO(EINVAL, splice(a[0], NULL, a[1], NULL, 1, 0));
    /* Whole pages, until the target is full. */
    EXPECT_EQ(write(a[1], buf, 64 * 1024), 64 * 1024);
    EXPECT_EQ(write(b[1], buf, 8192), 8192);
    EXPECT_EQ(splice(a[0], NULL, b[1], NULL, 64 * 1024, 0), 56 * 1024);
    EXPECT_ERRNO(EAGAIN, splice(a[0], NULL, b[1], NULL, 64 * 1024, 0));
    close(a[1]);
    EXPECT_EQ(read(b[0], buf, sizeof(buf)), 64 * 1024);
    EXPECT_EQ(splice(a[0], NULL, b[1], NULL, 64 * 1024, 0), 8192);
    EXPECT_EQ(splice(a[0], NULL, b[1], NULL, 64 * 1024, 0), 0); /* the end */
}

CASE(tee_copies)
{
    make();
    EXPECT_EQ(write(a[1], "twice", 5), 5);
    EXPECT_EQ(tee(a[0], b[1], 100, 0), 5);
    EXPECT_EQ(tee(a[0], b[1], 2, 0), 2);
    EXPECT_EQ(queued(a[0]), 5);
    EXPECT_EQ(read(b[0], buf, 100), 7);
    EXPECT_MEMEQ(buf, "twicetw", 7);
    EXPECT_EQ(read(a[0], buf, 100), 5);
    EXPECT_ERRNO(EAGAIN, tee(a[0], b[1], 1, 0));
    EXPECT_ERRNO(EINVAL, tee(a[0], a[1], 1, 0));
    int file = file_with("x");
    EXPECT_ERRNO(EINVAL, tee(file, b[1], 1, 0));
    EXPECT_ERRNO(EBADF, tee(a[1], b[1], 1, 0));
}

CASE(file_to_pipe)
{
    make();
    int file = file_with("0123456789");
    loff_t pos = 4;
    EXPECT_EQ(splice(file, NULL, a[1], NULL, 3, 0), 3);
    EXPECT_EQ(lseek(file, 0, SEEK_CUR), 3);
    EXPECT_EQ(splice(file, &pos, a[1], NULL, 100, 0), 6);
    EXPECT_EQ(pos, 10);
    EXPECT_EQ(lseek(file, 0, SEEK_CUR), 3);
    EXPECT_EQ(splice(file, &pos, a[1], NULL, 100, 0), 0);
    EXPECT_EQ(read(a[0], buf, 100), 9);
    EXPECT_MEMEQ(buf, "012456789", 9);
    EXPECT_OK(ftruncate(file, 200 * 1024));
    pos = 0;
    ssize_t total = 0, n;
    while ((n = splice(file, &pos, a[1], NULL, 200 * 1024, SPLICE_F_NONBLOCK)) > 0)
        total += n;
    EXPECT_EQ(total, 64 * 1024);
    EXPECT_EQ(pos, total);
}

CASE(pipe_to_file)
{
    make();
    int file = file_with("----------");
    loff_t pos = 6;
    EXPECT_EQ(write(a[1], "abcdef", 6), 6);
    EXPECT_EQ(splice(a[0], NULL, file, NULL, 2, 0), 2);
    EXPECT_EQ(splice(a[0], NULL, file, &pos, 100, 0), 4);
    EXPECT_EQ(pos, 10);
    EXPECT_EQ(lseek(file, 0, SEEK_CUR), 2);
    EXPECT_EQ(pread(file, buf, 100, 0), 10);
    EXPECT_MEMEQ(buf, "ab----cdef", 10);
    EXPECT_OK(fcntl(file, F_SETFL, O_APPEND));
    EXPECT_EQ(write(a[1], "x", 1), 1);
    EXPECT_ERRNO(EINVAL, splice(a[0], NULL, file, NULL, 1, 0));
    EXPECT_EQ(queued(a[0]), 1);
}

/* What the target does not take stays in the pipe, in order. */
CASE(pipe_to_full_socket)
{
    int sv[2];
    make();
    EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv));
    for (size_t i = 0; i < sizeof(buf); i++)
        buf[i] = (char)(i % 253);
    size_t in = 0, out = 0;
    while (out < 1024 * 1024) {
        ssize_t n = write(a[1], buf + in % 253, 5000);
        if (n > 0)
            in += (size_t)n;
        while (splice(a[0], NULL, sv[0], NULL, 3333, SPLICE_F_NONBLOCK) > 0)
            ;
        char got[30000];
        n = read(sv[1], got, (size_t)(1 + (out * 7) % sizeof(got)));
        for (ssize_t i = 0; i < n; i++, out++)
            if ((unsigned char)got[i] != out % 253)
                FAIL("byte %zu is %d", out, got[i]);
    }
}

CASE(socket_to_pipe)
{
    int sv[2];
    make();
    EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
    EXPECT_EQ(write(sv[0], "from afar", 9), 9);
    EXPECT_EQ(splice(sv[1], NULL, a[1], NULL, 4, 0), 4);
    EXPECT_EQ(splice(sv[1], NULL, a[1], NULL, 100, 0), 5);
    EXPECT_EQ(read(a[0], buf, 100), 9);
    EXPECT_MEMEQ(buf, "from afar", 9);
}

CASE(errors)
{
    loff_t pos = 0;
    make();
    int file = file_with("x"), other = EXPECT_OK(dup(file));
    EXPECT_ERRNO(EBADF, splice(999, NULL, a[1], NULL, 1, 0));
    EXPECT_ERRNO(EBADF, splice(file, NULL, 999, NULL, 1, 0));
    EXPECT_ERRNO(EBADF, splice(a[1], NULL, b[1], NULL, 1, 0));
    EXPECT_ERRNO(EBADF, splice(a[0], NULL, b[0], NULL, 1, 0));
    EXPECT_ERRNO(EINVAL, splice(file, NULL, other, NULL, 1, 0));
    EXPECT_ERRNO(EINVAL, splice(file, NULL, a[1], NULL, 1, 0x100));
    EXPECT_ERRNO(ESPIPE, splice(a[0], &pos, file, NULL, 1, 0));
    EXPECT_ERRNO(ESPIPE, splice(file, NULL, a[1], &pos, 1, 0));
    EXPECT_ERRNO(EFAULT, syscall(SYS_splice, file, 8L, a[1], NULL, 1, 0));
    pos = -1;
    EXPECT_ERRNO(EINVAL, splice(file, &pos, a[1], NULL, 1, 0));
    close(b[0]);
    signal(SIGPIPE, SIG_IGN);
    EXPECT_ERRNO(EPIPE, splice(file, NULL, b[1], NULL, 1, 0));
}

CASE(blocking)
{
    EXPECT_OK(pipe(a));
    EXPECT_OK(pipe(b));
    pid_t child = FORK({
        usleep(50000);
        EXPECT_EQ(write(a[1], "later", 5), 5);
    });
    EXPECT_EQ(splice(a[0], NULL, b[1], NULL, 100, 0), 5);
    EXPECT_EXITED(child, 0);
    EXPECT_ERRNO(EAGAIN, splice(a[0], NULL, b[1], NULL, 100, SPLICE_F_NONBLOCK));
}

CASE(user_memory)
{
    make();
    struct iovec out[2] = {{"one", 3}, {"two", 3}}, in = {buf, 100};
    EXPECT_EQ(vmsplice(a[1], out, 2, 0), 6);
    EXPECT_EQ(vmsplice(a[0], &in, 1, 0), 6);
    EXPECT_MEMEQ(buf, "onetwo", 6);
    EXPECT_ERRNO(EINVAL, vmsplice(a[1], out, 2, 0x100));
    EXPECT_ERRNO(EBADF, vmsplice(file_with("x"), out, 2, 0));
}

TEST_MAIN
