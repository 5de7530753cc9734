/* read, write, pread, pwrite, their vector forms, lseek. */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>

#ifndef __clang__ /* buffers that are too small are the point */
#pragma GCC diagnostic ignored "-Wstringop-overflow"
#pragma GCC diagnostic ignored "-Wstringop-overread"
#endif

static int make(void)
{
    return EXPECT_OK(open(test_path("f"), O_CREAT | O_RDWR | O_TRUNC, 0644));
}

static int64_t size_of(int fd)
{
    struct stat st;
    EXPECT_OK(fstat(fd, &st));
    return st.st_size;
}

/* Two pages of which the second is not there. */
static char *edge(void)
{
    char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(p != MAP_FAILED);
    EXPECT_OK(munmap(p + 4096, 4096));
    return p + 4096;
}

CASE(plain)
{
    char buf[16];
    int fd = make();
    EXPECT_EQ(read(fd, buf, 16), 0);
    EXPECT_EQ(write(fd, "hello world", 11), 11);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 11);
    EXPECT_EQ(read(fd, buf, 16), 0);
    EXPECT_EQ(lseek(fd, 6, SEEK_SET), 6);
    EXPECT_EQ(read(fd, buf, 16), 5);
    EXPECT_MEMEQ(buf, "world", 5);
    EXPECT_EQ(pread(fd, buf, 5, 0), 5);
    EXPECT_MEMEQ(buf, "hello", 5);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 11);
    EXPECT_EQ(pwrite(fd, "J", 1, 0), 1);
    EXPECT_EQ(pread(fd, buf, 16, 0), 11);
    EXPECT_MEMEQ(buf, "Jello world", 11);
    EXPECT_EQ(pread(fd, buf, 16, 11), 0);
    EXPECT_EQ(pread(fd, buf, 16, 1 << 20), 0);
    EXPECT_EQ(read(fd, NULL, 0), 0);
    EXPECT_EQ(write(fd, NULL, 0), 0);
    EXPECT_EQ(size_of(fd), 11);
}

CASE(holes_read_as_zero)
{
    int fd = make();
    char buf[3 * 4096], zero[3 * 4096] = {0};
    EXPECT_EQ(pwrite(fd, "end", 3, 10000), 3);
    EXPECT_EQ(size_of(fd), 10003);
    EXPECT_EQ(pread(fd, buf, sizeof buf, 0), 10003);
    EXPECT_MEMEQ(buf, zero, 10000);
    EXPECT_MEMEQ(buf + 10000, "end", 3);
    /* What lies beyond a shrunk end is zero when it comes back. */
    EXPECT_OK(ftruncate(fd, 10001));
    EXPECT_OK(ftruncate(fd, 12000));
    EXPECT_EQ(pread(fd, buf, sizeof buf, 0), 12000);
    EXPECT_EQ(buf[10000], 'e');
    EXPECT_MEMEQ(buf + 10001, zero, 1999);
}

CASE(large)
{
    enum { N = 3 << 20 };
    int fd = make();
    unsigned char *a = malloc(N), *b = malloc(N);
    for (size_t i = 0; i < N; i++)
        a[i] = (unsigned char)(i * 2654435761u >> 13);
    EXPECT_EQ(write(fd, a, N), N);
    EXPECT_EQ(pread(fd, b, N, 0), N);
    EXPECT_MEMEQ(a, b, N);
    for (int i = 0; i < 200; i++) {
        int64_t off = (int64_t)(i * 7919 * 13 % N), n = i * 977 % 70000 + 1;
        ssize_t want = off + n > N ? N - off : n;
        EXPECT_EQ(pread(fd, b, (size_t)n, off), want);
        EXPECT_EQ(memcmp(a + off, b, (size_t)want), 0);
        EXPECT_EQ(pwrite(fd, a + off, (size_t)want, off), want);
    }
    EXPECT_EQ(pread(fd, b, N, 0), N);
    EXPECT_EQ(memcmp(a, b, N), 0);
}

CASE(bad_descriptors)
{
    char c = 0;
    struct iovec iov = {&c, 1};
    EXPECT_ERRNO(EBADF, read(-1, &c, 1));
    EXPECT_ERRNO(EBADF, write(-1, &c, 1));
    EXPECT_ERRNO(EBADF, read(9999, &c, 1));
    EXPECT_ERRNO(EBADF, pread(-1, &c, 1, 0));
    EXPECT_ERRNO(EBADF, readv(-1, &iov, 1));
    EXPECT_ERRNO(EBADF, lseek(-1, 0, SEEK_SET));
    EXPECT_ERRNO(EINVAL, pread(-1, &c, 1, -1)); /* the position is looked at first */
    int ro = EXPECT_OK(open("/dev/null", O_RDONLY));
    EXPECT_ERRNO(EBADF, write(ro, &c, 1));
    EXPECT_ERRNO(EBADF, write(ro, &c, 0));
    EXPECT_ERRNO(EBADF, writev(ro, &iov, 1));
}

CASE(bad_positions)
{
    int fd = make();
    char c = 0;
    EXPECT_ERRNO(EINVAL, pread(fd, &c, 1, -1));
    EXPECT_ERRNO(EINVAL, pwrite(fd, &c, 1, -1));
    EXPECT_ERRNO(EINVAL, pread(fd, &c, 1, INT64_MIN));
    EXPECT_ERRNO(EINVAL, pread(fd, &c, 2, INT64_MAX));
    EXPECT_ERRNO(EINVAL, pwrite(fd, &c, 2, INT64_MAX));
}

CASE(bad_lengths)
{
    int fd = make();
    char c = 0;
    EXPECT_ERRNO(EFAULT, syscall(SYS_read, fd, &c, (size_t)1 << 63));
    EXPECT_ERRNO(EFAULT, syscall(SYS_write, fd, &c, (size_t)-1));
    EXPECT_ERRNO(EFAULT, syscall(SYS_read, fd, (size_t)-4096, 4096));
    EXPECT_ERRNO(EFAULT, syscall(SYS_write, fd, (size_t)-4096, 4096));
}

CASE(faults)
{
    int fd = make();
    char *end = edge();
    EXPECT_ERRNO(EFAULT, write(fd, (void *)1, 1));
    EXPECT_ERRNO(EFAULT, write(fd, end, 1));
    EXPECT_EQ(size_of(fd), 0);
    EXPECT_EQ(write(fd, "0123456789", 10), 10);
    EXPECT_EQ(lseek(fd, 0, SEEK_SET), 0);
    EXPECT_ERRNO(EFAULT, read(fd, end, 1));
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 0);
    /* What fits is moved. */
    EXPECT_EQ(pread(fd, end - 4, 10, 0), 4);
    EXPECT_MEMEQ(end - 4, "0123", 4);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 0);
    /* Nothing to read: nothing to fault on. */
    EXPECT_EQ(pread(fd, (void *)1, 10, 10), 0);
    char *ro = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_ERRNO(EFAULT, pread(fd, ro, 4, 0));
    EXPECT_EQ(pwrite(fd, ro, 4, 0), 4);
}

CASE(vectors)
{
    int fd = make();
    char a[4] = "abcd", b[3] = "efg", c[8];
    struct iovec out[] = {{a, 4}, {NULL, 0}, {b, 3}};
    EXPECT_EQ(writev(fd, out, 3), 7);
    EXPECT_EQ(pread(fd, c, 8, 0), 7);
    EXPECT_MEMEQ(c, "abcdefg", 7);
    char x[2], y[10];
    struct iovec in[] = {{x, 2}, {y, 10}};
    EXPECT_EQ(preadv(fd, in, 2, 1), 6);
    EXPECT_MEMEQ(x, "bc", 2);
    EXPECT_MEMEQ(y, "defg", 4);
    EXPECT_EQ(lseek(fd, 0, SEEK_SET), 0);
    EXPECT_EQ(readv(fd, in, 2), 7);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 7);
    EXPECT_EQ(pwritev(fd, out, 1, 5), 4);
    EXPECT_EQ(size_of(fd), 9);
    EXPECT_EQ(readv(fd, in, 0), 0);
    EXPECT_EQ(writev(fd, NULL, 0), 0);
    EXPECT_ERRNO(EINVAL, readv(fd, in, -1));
    EXPECT_ERRNO(EINVAL, writev(fd, in, IOV_MAX + 1));
    EXPECT_ERRNO(EFAULT, readv(fd, (void *)1, 1));
    EXPECT_ERRNO(EINVAL, preadv(fd, in, 2, -1));
    struct iovec many[IOV_MAX];
    for (int i = 0; i < IOV_MAX; i++)
        many[i] = (struct iovec){"z", 1};
    EXPECT_EQ(pwritev(fd, many, IOV_MAX, 0), IOV_MAX);
    struct iovec huge[] = {{c, (size_t)SSIZE_MAX}, {c, 1}};
    EXPECT_ERRNO(EINVAL, writev(fd, (struct iovec[]){{c, (size_t)-1}}, 1));
    EXPECT_ERRNO(EFAULT, writev(fd, huge, 2)); /* cut to MAX_RW_COUNT, then not there */
    EXPECT_ERRNO(EFAULT, readv(fd, (struct iovec[]){{(void *)1, 4}}, 1));
}

CASE(vector_faults)
{
    int fd = make();
    char *end = edge();
    struct iovec iov[] = {{"ab", 2}, {end, 4}, {"cd", 2}};
    EXPECT_EQ(pwritev(fd, iov, 3, 0), 2);
    EXPECT_EQ(size_of(fd), 2);
}

CASE(flags_of_preadv2)
{
    int fd = make();
    char buf[8];
    struct iovec iov = {"abcdef", 6}, in = {buf, 8};
    EXPECT_EQ(pwritev2(fd, &iov, 1, -1, 0), 6); /* at the position, which moves */
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 6);
    EXPECT_EQ(preadv2(fd, &in, 1, -1, 0), 0);
    EXPECT_EQ(preadv2(fd, &in, 1, 2, 0), 4);
    EXPECT_ERRNO(EINVAL, preadv2(fd, &in, 1, -2, 0));
    EXPECT_ERRNO(EOPNOTSUPP, preadv2(fd, &in, 1, 0, 1 << 30));
    EXPECT_ERRNO(EOPNOTSUPP, pwritev2(fd, &iov, 1, 0, 1 << 30));
    EXPECT_EQ(pwritev2(fd, &iov, 1, 0, RWF_APPEND), 6);
    EXPECT_EQ(size_of(fd), 12);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 6);
    EXPECT_EQ(pwritev2(fd, &iov, 1, 0, RWF_DSYNC), 6);
    EXPECT_EQ(pwritev2(fd, &iov, 1, 0, RWF_SYNC), 6);
}

CASE(seeking)
{
    int fd = make();
    EXPECT_EQ(write(fd, "0123456789", 10), 10);
    EXPECT_EQ(lseek(fd, 0, SEEK_END), 10);
    EXPECT_EQ(lseek(fd, -3, SEEK_END), 7);
    EXPECT_EQ(lseek(fd, 2, SEEK_CUR), 9);
    EXPECT_EQ(lseek(fd, 100, SEEK_SET), 100);
    EXPECT_EQ(size_of(fd), 10);
    EXPECT_ERRNO(EINVAL, lseek(fd, -1, SEEK_SET));
    EXPECT_ERRNO(EINVAL, lseek(fd, -11, SEEK_END));
    EXPECT_ERRNO(EINVAL, lseek(fd, -101, SEEK_CUR));
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 100);
    EXPECT_ERRNO(EINVAL, lseek(fd, 0, 5));
    EXPECT_ERRNO(EINVAL, lseek(fd, 0, -1));
    EXPECT_OK(lseek(fd, 0, SEEK_SET));
    EXPECT_EQ(lseek(fd, 3, SEEK_DATA), 3);
    EXPECT_EQ(lseek(fd, 3, SEEK_HOLE), 10);
    EXPECT_ERRNO(ENXIO, lseek(fd, 10, SEEK_DATA));
    EXPECT_ERRNO(ENXIO, lseek(fd, 10, SEEK_HOLE));
    EXPECT_ERRNO(ENXIO, lseek(fd, -1, SEEK_DATA));
    int p[2];
    EXPECT_OK(pipe(p));
    EXPECT_ERRNO(ESPIPE, lseek(p[0], 0, SEEK_SET));
    EXPECT_ERRNO(ESPIPE, lseek(p[0], 0, SEEK_CUR));
    EXPECT_ERRNO(ESPIPE, pread(p[0], &fd, 1, 0));
    EXPECT_ERRNO(ESPIPE, pwrite(p[1], &fd, 1, 0));
}

CASE(shared_position)
{
    int fd = make();
    EXPECT_EQ(write(fd, "0123456789", 10), 10);
    int other = EXPECT_OK(dup(fd));
    EXPECT_EQ(lseek(other, 4, SEEK_SET), 4);
    char c;
    EXPECT_EQ(read(fd, &c, 1), 1);
    EXPECT_EQ(c, '4');
    pid_t pid = FORK({
        char d;
        EXPECT_EQ(read(other, &d, 1), 1);
        EXPECT_EQ(d, '5');
    });
    EXPECT_EXITED(pid, 0);
    EXPECT_EQ(read(fd, &c, 1), 1);
    EXPECT_EQ(c, '6');
    int fresh = EXPECT_OK(open(test_path("f"), O_RDONLY));
    EXPECT_EQ(lseek(fresh, 0, SEEK_CUR), 0);
}

static volatile sig_atomic_t signals;
static void on_signal(int sig)
{
    (void)sig;
    signals++;
}

CASE(file_size_limit)
{
    int fd = make();
    struct rlimit rl = {.rlim_cur = 100, .rlim_max = RLIM_INFINITY};
    char buf[200];
    memset(buf, 'x', sizeof buf);
    EXPECT_OK(getrlimit(RLIMIT_FSIZE, &rl));
    rl.rlim_cur = 100;
    EXPECT_OK(setrlimit(RLIMIT_FSIZE, &rl));
    signal(SIGXFSZ, on_signal);
    EXPECT_EQ(write(fd, buf, 200), 100);
    EXPECT_EQ(signals, 0);
    EXPECT_ERRNO(EFBIG, write(fd, buf, 1));
    EXPECT_EQ(signals, 1);
    EXPECT_EQ(write(fd, buf, 0), 0);
    EXPECT_EQ(pwrite(fd, buf, 50, 70), 30);
    EXPECT_ERRNO(EFBIG, ftruncate(fd, 101));
    EXPECT_EQ(signals, 2);
    EXPECT_ERRNO(EFBIG, truncate(test_path("f"), 1000));
    EXPECT_OK(ftruncate(fd, 100));
    EXPECT_OK(ftruncate(fd, 10));
    EXPECT_ERRNO(EFBIG, fallocate(fd, 0, 0, 101));
    EXPECT_EQ(size_of(fd), 10);
    int p[2];
    EXPECT_OK(pipe(p));
    EXPECT_EQ(write(p[1], buf, 200), 200);
    signal(SIGXFSZ, SIG_DFL);
    EXPECT_KILLED(FORK(if (pwrite(fd, buf, 1, 100) < 0) _exit(3);), SIGXFSZ);
}

CASE(writing_drops_set_id)
{
    if (geteuid() != 0)
        SKIP("needs another user to write as");
    int fd = make();
    struct stat st;
    EXPECT_OK(fchmod(fd, 06777));
    EXPECT_EQ(write(fd, "x", 1), 1);
    EXPECT_OK(fstat(fd, &st));
    EXPECT_EQ(st.st_mode & 07777, 06777); /* root may */
    EXPECT_OK(chmod(test_dir(), 0777));
    pid_t pid = FORK({
        EXPECT_OK(setresuid(1000, 1000, 1000));
        int mine = EXPECT_OK(open(test_path("f"), O_RDWR));
        EXPECT_EQ(write(mine, "x", 0), 0);
        EXPECT_OK(fstat(mine, &st));
        EXPECT_EQ(st.st_mode & 07777, 06777);
        EXPECT_EQ(write(mine, "x", 1), 1);
        EXPECT_OK(fstat(mine, &st));
        EXPECT_EQ(st.st_mode & 07777, 0777);
    });
    /* test_path() in the child: the directory of the case. */
    EXPECT_EXITED(pid, 0);
    EXPECT_OK(fchmod(fd, 02767)); /* no group execute: mandatory locking, stays */
    EXPECT_OK(fstat(fd, &st));
    EXPECT_EQ(st.st_mode & 07777, 02767);
}

/* Writers append records of their own; none may be torn or lost. */
enum { RECORDS = 500 };
static void *appender(void *arg)
{
    int fd = open(test_path("log"), O_WRONLY | O_APPEND);
    char line[32];
    memset(line, 'a' + (int)(size_t)arg, sizeof line);
    line[31] = '\n';
    for (int i = 0; i < RECORDS; i++)
        if (write(fd, line, sizeof line) != sizeof line)
            return (void *)1;
    close(fd);
    return NULL;
}

CASE(appends_do_not_tear)
{
    int fd = EXPECT_OK(open(test_path("log"), O_CREAT | O_RDWR, 0600));
    pthread_t t[4];
    for (size_t i = 0; i < 4; i++)
        EXPECT_EQ(pthread_create(&t[i], NULL, appender, (void *)i), 0);
    for (size_t i = 0; i < 4; i++) {
        void *r;
        pthread_join(t[i], &r);
        EXPECT(r == NULL);
    }
    static char all[4 * RECORDS * 32];
    EXPECT_EQ(read(fd, all, sizeof all), (ssize_t)sizeof all);
    int count[4] = {0};
    for (size_t i = 0; i < sizeof all; i += 32) {
        EXPECT(all[i] >= 'a' && all[i] <= 'd');
        count[all[i] - 'a']++;
        for (int j = 0; j < 31; j++)
            EXPECT_EQ(all[i + (size_t)j], all[i]);
        EXPECT_EQ(all[i + 31], '\n');
    }
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(count[i], RECORDS);
}

/* Threads that read one description never read the same byte twice. */
static int shared_fd;
static _Atomic int seen[20000];
static void *sharer(void *arg)
{
    uint32_t v;
    while (read(shared_fd, &v, 4) == 4)
        seen[v]++;
    return arg;
}

CASE(position_is_atomic)
{
    shared_fd = make();
    static uint32_t all[20000];
    for (uint32_t i = 0; i < 20000; i++)
        all[i] = i;
    EXPECT_EQ(write(shared_fd, all, sizeof all), (ssize_t)sizeof all);
    EXPECT_EQ(lseek(shared_fd, 0, SEEK_SET), 0);
    pthread_t t[3];
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(pthread_create(&t[i], NULL, sharer, NULL), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    for (int i = 0; i < 20000; i++)
        EXPECT_EQ(seen[i], 1);
}

CASE(mapped_and_written)
{
    int fd = make();
    char buf[8];
    EXPECT_OK(ftruncate(fd, 8192));
    char *m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT(m != MAP_FAILED);
    EXPECT_EQ(pwrite(fd, "through", 7, 4090), 7);
    EXPECT_MEMEQ(m + 4090, "through", 7);
    memcpy(m + 100, "mapped", 6);
    EXPECT_EQ(pread(fd, buf, 6, 100), 6);
    EXPECT_MEMEQ(buf, "mapped", 6);
    /* From and to its own mapping. */
    EXPECT_EQ(pwrite(fd, m, 4096, 4096), 4096);
    EXPECT_MEMEQ(m + 4196, "mapped", 6);
    EXPECT_EQ(pread(fd, m + 4096, 100, 100), 100);
    EXPECT_MEMEQ(m + 4096, "mapped", 6);
}

TEST_MAIN
