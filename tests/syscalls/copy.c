/* sendfile, copy_file_range, memfd_create. */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>

static int make(const char *name, const char *text)
{
    int fd = EXPECT_OK(open(test_path(name), O_CREAT | O_RDWR | O_TRUNC, 0600));
    EXPECT_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    return fd;
}

static void expect_text(int fd, const char *text)
{
    char buf[256];
    ssize_t n = EXPECT_OK(pread(fd, buf, sizeof buf, 0));
    EXPECT_EQ(n, strlen(text));
    EXPECT_MEMEQ(buf, text, strlen(text));
}

/* ---- sendfile ---- */

CASE(sendfile_to_file)
{
    int in = make("in", "0123456789"), out = make("out", "");
    off_t off = 2;
    EXPECT_EQ(sendfile(out, in, &off, 3), 3);
    EXPECT_EQ(off, 5);
    EXPECT_EQ(lseek(in, 0, SEEK_CUR), 10);
    expect_text(out, "234");
    EXPECT_EQ(sendfile(out, in, &off, 100), 5);
    EXPECT_EQ(off, 10);
    expect_text(out, "23456789");
    EXPECT_EQ(sendfile(out, in, &off, 100), 0);
    EXPECT_EQ(lseek(in, 8, SEEK_SET), 8);
    EXPECT_EQ(sendfile(out, in, NULL, 1), 1);
    EXPECT_EQ(lseek(in, 0, SEEK_CUR), 9);
    expect_text(out, "234567898");
    EXPECT_EQ(sendfile(out, in, NULL, 0), 0);
}

CASE(sendfile_to_pipe)
{
    enum { N = 300000 };
    int in = make("in", ""), p[2];
    char *a = malloc(N), *b = malloc(N);
    for (int i = 0; i < N; i++)
        a[i] = (char)(i * 31 >> 3);
    EXPECT_EQ(write(in, a, N), N);
    EXPECT_OK(pipe(p));
    pid_t pid = FORK({
        close(p[0]);
        off_t off = 0;
        while (off < N)
            EXPECT_GT(sendfile(p[1], in, &off, N), 0);
    });
    close(p[1]);
    ssize_t n, done = 0;
    while ((n = read(p[0], b + done, (size_t)(N - done))) > 0)
        done += n;
    EXPECT_EQ(done, N);
    EXPECT_EQ(memcmp(a, b, N), 0);
    EXPECT_EXITED(pid, 0);
}

CASE(sendfile_to_full_pipe)
{
    int in = make("in", ""), p[2];
    static char big[1 << 20];
    off_t off = 0;
    EXPECT_EQ(write(in, big, sizeof big), (ssize_t)sizeof big);
    EXPECT_OK(pipe2(p, O_NONBLOCK));
    ssize_t n = EXPECT_OK(sendfile(p[1], in, &off, sizeof big));
    EXPECT_GT(n, 0);
    EXPECT_LT(n, (ssize_t)sizeof big);
    EXPECT_EQ(off, n);
    EXPECT_ERRNO(EAGAIN, sendfile(p[1], in, &off, sizeof big));
    EXPECT_EQ(off, n);
}

CASE(sendfile_errors)
{
    int in = make("in", "0123456789"), out = make("out", ""), p[2];
    off_t off = -1;
    EXPECT_OK(pipe(p));
    EXPECT_ERRNO(EBADF, sendfile(-1, in, NULL, 1));
    EXPECT_ERRNO(EBADF, sendfile(out, -1, NULL, 1));
    EXPECT_ERRNO(EBADF, sendfile(EXPECT_OK(open(test_path("out"), O_RDONLY)), in, NULL, 1));
    EXPECT_ERRNO(EBADF, sendfile(out, EXPECT_OK(open(test_path("in"), O_WRONLY)), NULL, 1));
    EXPECT_ERRNO(EINVAL, sendfile(out, in, &off, 1));
    off = 0;
    EXPECT_ERRNO(ESPIPE, sendfile(out, p[0], &off, 1));
    EXPECT_ERRNO(EFAULT, sendfile(out, in, (off_t *)1, 1));
    EXPECT_ERRNO(EINVAL,
                 sendfile(EXPECT_OK(open(test_path("out"), O_WRONLY | O_APPEND)), in, NULL, 1));
}

/* ---- copy_file_range ---- */

CASE(copying)
{
    int in = make("in", "0123456789"), out = make("out", "abcdef");
    off_t from = 3, to = 1;
    EXPECT_EQ(copy_file_range(in, &from, out, &to, 3, 0), 3);
    EXPECT_EQ(from, 6);
    EXPECT_EQ(to, 4);
    expect_text(out, "a345ef");
    EXPECT_EQ(lseek(in, 8, SEEK_SET), 8);
    EXPECT_EQ(lseek(out, 0, SEEK_END), 6);
    EXPECT_EQ(copy_file_range(in, NULL, out, NULL, 100, 0), 2);
    EXPECT_EQ(lseek(in, 0, SEEK_CUR), 10);
    EXPECT_EQ(lseek(out, 0, SEEK_CUR), 8);
    expect_text(out, "a345ef89");
    EXPECT_EQ(copy_file_range(in, NULL, out, NULL, 100, 0), 0);
    EXPECT_EQ(copy_file_range(in, &from, out, &to, 0, 0), 0);
    from = 0;
    to = 20;
    EXPECT_EQ(copy_file_range(in, &from, in, &to, 5, 0), 5); /* within one file */
    EXPECT_EQ(lseek(in, 0, SEEK_END), 25);
}

CASE(copying_errors)
{
    int in = make("in", "0123456789"), out = make("out", ""), p[2];
    int dir = EXPECT_OK(open(test_dir(), O_RDONLY));
    off_t zero = 0, two = 2, neg = -1, far = INT64_MAX;
    EXPECT_OK(pipe(p));
    EXPECT_ERRNO(EBADF, copy_file_range(-1, NULL, out, NULL, 1, 0));
    EXPECT_ERRNO(EBADF, copy_file_range(in, NULL, -1, NULL, 1, 0));
    EXPECT_ERRNO(EINVAL, copy_file_range(in, NULL, out, NULL, 1, 1));
    EXPECT_ERRNO(EISDIR, copy_file_range(dir, NULL, out, NULL, 1, 0));
    EXPECT_ERRNO(EINVAL, copy_file_range(p[0], NULL, out, NULL, 1, 0));
    EXPECT_ERRNO(EINVAL, copy_file_range(in, NULL, p[1], NULL, 1, 0));
    EXPECT_ERRNO(
        EBADF, copy_file_range(EXPECT_OK(open(test_path("in"), O_WRONLY)), NULL, out, NULL, 1, 0));
    EXPECT_ERRNO(
        EBADF, copy_file_range(in, NULL, EXPECT_OK(open(test_path("out"), O_RDONLY)), NULL, 1, 0));
    EXPECT_ERRNO(EBADF,
                 copy_file_range(in, NULL, EXPECT_OK(open(test_path("out"), O_WRONLY | O_APPEND)),
                                 NULL, 1, 0));
    EXPECT_ERRNO(EINVAL, copy_file_range(in, &zero, in, &two, 5, 0)); /* overlap */
    EXPECT_ERRNO(EOVERFLOW, copy_file_range(in, &neg, out, &zero, 5, 0));
    EXPECT_ERRNO(EFBIG, copy_file_range(in, &zero, out, &far, 5, 0));
    EXPECT_ERRNO(EFAULT, copy_file_range(in, (off_t *)1, out, NULL, 5, 0));
}

/* ---- memfd_create ---- */

CASE(memfd)
{
    char buf[64], proc[64];
    int fd = EXPECT_OK(memfd_create("thing", MFD_CLOEXEC));
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(fd, F_GETFL), O_RDWR | 0100000);
    EXPECT_EQ(write(fd, "hello", 5), 5);
    expect_text(fd, "hello");
    struct stat st;
    EXPECT_OK(fstat(fd, &st));
    EXPECT_EQ(st.st_mode, S_IFREG | 0777);
    EXPECT_EQ(st.st_nlink, 0);
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
    ssize_t n = EXPECT_OK(readlink(proc, buf, sizeof buf - 1));
    buf[n] = 0;
    EXPECT_STREQ(buf, "/memfd:thing (deleted)");
    EXPECT_OK(ftruncate(fd, 8192));
    char *m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT(m != MAP_FAILED);
    EXPECT_MEMEQ(m, "hello", 5);
    m[5000] = 'x';
    EXPECT_EQ(pread(fd, buf, 1, 5000), 1);
    EXPECT_EQ(buf[0], 'x');
    int again = EXPECT_OK(open(proc, O_RDWR));
    EXPECT_EQ(pread(again, buf, 5, 0), 5);
    EXPECT_ERRNO(EPERM, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    EXPECT_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL);
    EXPECT_ERRNO(EINVAL, fcntl(0, F_GET_SEALS));
}

CASE(memfd_errors)
{
    char name[260];
    memset(name, 'n', sizeof name);
    name[249] = 0;
    EXPECT_OK(memfd_create(name, 0));
    name[249] = 'n';
    name[250] = 0;
    EXPECT_ERRNO(EINVAL, memfd_create(name, 0));
    EXPECT_ERRNO(EINVAL, memfd_create("x", 0x100));
    EXPECT_ERRNO(EFAULT, memfd_create((char *)1, 0));
}

CASE(seals)
{
    int fd = EXPECT_OK(memfd_create("x", MFD_ALLOW_SEALING));
    char c;
    EXPECT_OK(ftruncate(fd, 4096));
    EXPECT_EQ(fcntl(fd, F_GET_SEALS), 0);
    EXPECT_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
    EXPECT_ERRNO(EPERM, ftruncate(fd, 100));
    EXPECT_OK(ftruncate(fd, 8192));
    EXPECT_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
    EXPECT_ERRNO(EPERM, ftruncate(fd, 10000));
    EXPECT_ERRNO(EPERM, pwrite(fd, "x", 1, 8192));
    EXPECT_EQ(pwrite(fd, "x", 1, 8191), 1);
    char *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT(m != MAP_FAILED);
    EXPECT_ERRNO(EBUSY, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    EXPECT_OK(munmap(m, 4096));
    EXPECT_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    EXPECT_ERRNO(EPERM, write(fd, "x", 1));
    EXPECT_EQ(pread(fd, &c, 1, 8191), 1);
    EXPECT_ERRNO(EPERM, mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    EXPECT(m != MAP_FAILED);
    m[0] = 1;
    EXPECT_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    EXPECT_OK(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
    EXPECT_ERRNO(EPERM, fcntl(fd, F_ADD_SEALS, 0));
    EXPECT_ERRNO(EINVAL, fcntl(fd, F_ADD_SEALS, 0x10000));
}

TEST_MAIN
