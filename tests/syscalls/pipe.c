/* pipe(2), pipe(7), fifo(7), F_SETPIPE_SZ of fcntl(2). */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define KIB 1024

static int fds[2];
static char buf[256 * KIB];

static void make(int flags)
{
    EXPECT_OK(pipe2(fds, flags));
}

static int queued(void)
{
    int n = -1;
    EXPECT_OK(ioctl(fds[0], FIONREAD, &n));
    return n;
}

static short ready(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
    EXPECT_OK(poll(&p, 1, 0));
    return p.revents;
}

/* Writes until the pipe takes no more; how much that was. */
static size_t fill(size_t piece)
{
    size_t total = 0;
    ssize_t n;
    int flags = EXPECT_OK(fcntl(fds[1], F_GETFL));
    EXPECT_OK(fcntl(fds[1], F_SETFL, flags | O_NONBLOCK));
    while ((n = write(fds[1], buf, piece)) > 0)
        total += (size_t)n;
    EXPECT_EQ(errno, EAGAIN);
    EXPECT_OK(fcntl(fds[1], F_SETFL, flags));
    return total;
}

static void on_signal(int sig)
{
    (void)sig;
}

static void handle(int sig, int flags)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = flags};
    EXPECT_OK(sigaction(sig, &sa, NULL));
}

CASE(ends)
{
    struct stat st;
    make(0);
    EXPECT_ERRNO(EBADF, write(fds[0], "x", 1));
    EXPECT_ERRNO(EBADF, read(fds[1], buf, 1));
    EXPECT_EQ(fcntl(fds[0], F_GETFL) & O_ACCMODE, O_RDONLY);
    EXPECT_EQ(fcntl(fds[1], F_GETFL) & O_ACCMODE, O_WRONLY);
    EXPECT_EQ(fcntl(fds[0], F_GETFD), 0);
    EXPECT_OK(fstat(fds[0], &st));
    EXPECT(S_ISFIFO(st.st_mode));
    EXPECT_EQ(st.st_mode & 0777, 0600);
    EXPECT_EQ(st.st_size, 0);
    EXPECT_EQ(st.st_uid, geteuid());
    ino_t ino = st.st_ino;
    EXPECT_OK(fstat(fds[1], &st));
    EXPECT_EQ(st.st_ino, ino);
    EXPECT_ERRNO(ESPIPE, lseek(fds[0], 0, SEEK_CUR));
    EXPECT_ERRNO(ESPIPE, pread(fds[0], buf, 1, 0));
    EXPECT_ERRNO(ESPIPE, pwrite(fds[1], buf, 1, 0));
    EXPECT_ERRNO(EINVAL, ftruncate(fds[1], 0));
    EXPECT_ERRNO(EINVAL, fsync(fds[0]));
    EXPECT_ERRNO(ENODEV, (long)mmap(NULL, 4096, PROT_READ, MAP_SHARED, fds[0], 0));
    EXPECT_ERRNO(ENOTTY, ioctl(fds[0], TIOCGWINSZ, buf));
}

CASE(flags)
{
    make(O_CLOEXEC | O_NONBLOCK);
    EXPECT_EQ(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(fds[1], F_GETFD), FD_CLOEXEC);
    EXPECT(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
    EXPECT(fcntl(fds[1], F_GETFL) & O_NONBLOCK);
    EXPECT_ERRNO(EINVAL, pipe2(fds, O_APPEND));
    EXPECT_ERRNO(EINVAL, pipe2(fds, ~0));
    EXPECT_ERRNO(EFAULT, syscall(SYS_pipe2, 1L, 0));
    /* A failure leaves no descriptor behind. */
    int next = EXPECT_OK(dup(0));
    close(next);
    EXPECT_ERRNO(EFAULT, syscall(SYS_pipe, 1L));
    EXPECT_EQ(dup(0), next);
}

CASE(order_and_merging)
{
    make(0);
    EXPECT_EQ(write(fds[1], "abc", 3), 3);
    EXPECT_EQ(write(fds[1], "defg", 4), 4);
    EXPECT_EQ(write(fds[1], "", 0), 0);
    EXPECT_EQ(queued(), 7);
    EXPECT_EQ(read(fds[0], buf, 2), 2);
    EXPECT_MEMEQ(buf, "ab", 2);
    EXPECT_EQ(read(fds[0], buf, 0), 0);
    EXPECT_EQ(read(fds[0], buf, 100), 5);
    EXPECT_MEMEQ(buf, "cdefg", 5);
    EXPECT_EQ(queued(), 0);
}

CASE(vectors)
{
    char a[3], b[10];
    struct iovec out[3] = {{"one", 3}, {"", 0}, {"two", 3}};
    struct iovec in[2] = {{a, 3}, {b, 10}};
    make(0);
    EXPECT_EQ(writev(fds[1], out, 3), 6);
    EXPECT_EQ(readv(fds[0], in, 2), 6);
    EXPECT_MEMEQ(a, "one", 3);
    EXPECT_MEMEQ(b, "two", 3);
}

CASE(end_of_file)
{
    make(0);
    EXPECT_EQ(write(fds[1], "rest", 4), 4);
    int copy = EXPECT_OK(dup(fds[1]));
    close(fds[1]);
    EXPECT_EQ(read(fds[0], buf, 10), 4);
    EXPECT_EQ(ready(fds[0]), 0);
    close(copy);
    EXPECT_EQ(ready(fds[0]), POLLHUP);
    EXPECT_EQ(read(fds[0], buf, 10), 0);
    EXPECT_EQ(read(fds[0], buf, 10), 0);
}

CASE(broken)
{
    make(0);
    close(fds[0]);
    EXPECT_EQ(ready(fds[1]), POLLOUT | POLLERR);
    EXPECT_KILLED(FORK({
                      signal(SIGPIPE, SIG_DFL);
                      write(fds[1], "x", 1);
                  }),
                  SIGPIPE);
    signal(SIGPIPE, SIG_IGN);
    EXPECT_ERRNO(EPIPE, write(fds[1], "x", 1));
    EXPECT_EQ(write(fds[1], "", 0), 0);
}

CASE(nonblocking)
{
    make(O_NONBLOCK);
    EXPECT_ERRNO(EAGAIN, read(fds[0], buf, 1));
    EXPECT_EQ(fill(4096), 64 * KIB);
    EXPECT_EQ(ready(fds[1]), 0);
    EXPECT_EQ(ready(fds[0]), POLLIN);
    EXPECT_EQ(read(fds[0], buf, 4095), 4095);
    EXPECT_EQ(ready(fds[1]), 0); /* no whole page is free */
    EXPECT_ERRNO(EAGAIN, write(fds[1], buf, 1));
    EXPECT_EQ(read(fds[0], buf, 1), 1);
    EXPECT_EQ(ready(fds[1]), POLLOUT);
    EXPECT_EQ(write(fds[1], buf, 64 * KIB), 4096); /* what fits */
}

CASE(capacity)
{
    make(0);
    EXPECT_EQ(fcntl(fds[0], F_GETPIPE_SZ), 64 * KIB);
    EXPECT_EQ(fcntl(fds[0], F_SETPIPE_SZ, 1), 4096);
    EXPECT_EQ(fill(100), 4000);
    EXPECT_EQ(fcntl(fds[1], F_SETPIPE_SZ, 5000), 8192);
    EXPECT_EQ(fcntl(fds[0], F_GETPIPE_SZ), 8192);
    EXPECT_EQ(fill(4096), 4096);
    EXPECT_ERRNO(EBUSY, fcntl(fds[1], F_SETPIPE_SZ, 4096));
    EXPECT_EQ(fcntl(fds[1], F_SETPIPE_SZ, 1024 * KIB), 1024 * KIB);
    EXPECT_EQ(queued(), 8096);
    EXPECT_EQ(read(fds[0], buf, sizeof(buf)), 8096);
    EXPECT_EQ(fill(64 * KIB), 1024 * KIB);
    EXPECT_ERRNO(EBADF, fcntl(0x7fff, F_GETPIPE_SZ));
    int null = EXPECT_OK(open("/dev/null", O_RDWR));
    EXPECT_ERRNO(EBADF, fcntl(null, F_GETPIPE_SZ));
}

CASE(packets)
{
    make(O_DIRECT | O_NONBLOCK);
    EXPECT_EQ(write(fds[1], "one", 3), 3);
    EXPECT_EQ(write(fds[1], "second", 6), 6);
    EXPECT_EQ(write(fds[1], buf, 5000), 5000);
    EXPECT_EQ(read(fds[0], buf, 100), 3);
    EXPECT_EQ(read(fds[0], buf, 2), 2); /* the rest of the packet is lost */
    EXPECT_EQ(read(fds[0], buf, sizeof(buf)), 4096);
    EXPECT_EQ(read(fds[0], buf, sizeof(buf)), 904);
    EXPECT_ERRNO(EAGAIN, read(fds[0], buf, 1));
}

CASE(blocking_read)
{
    make(0);
    pid_t child = FORK({
        usleep(50000);
        write(fds[1], "late", 4);
        _exit(0);
    });
    EXPECT_EQ(read(fds[0], buf, 100), 4);
    EXPECT_EXITED(child, 0);
}

CASE(blocking_write)
{
    make(0);
    fill(4096);
    pid_t child = FORK({
        char in[4096];
        size_t got = 0;
        ssize_t n;
        usleep(50000);
        close(fds[1]);
        while ((n = read(fds[0], in, sizeof(in))) > 0)
            got += (size_t)n;
        EXPECT_EQ(got, 64 * KIB + 200 * KIB);
    });
    close(fds[0]);
    EXPECT_EQ(write(fds[1], buf, 200 * KIB), 200 * KIB);
    close(fds[1]);
    EXPECT_EXITED(child, 0);
}

/* Writes of up to PIPE_BUF bytes from several processes do not mix. */
CASE(atomic_writes)
{
    enum { WRITERS = 4, COUNT = 200, SIZE = 3000 };
    pid_t children[WRITERS];
    make(0);
    for (int w = 0; w < WRITERS; w++) {
        children[w] = FORK({
            memset(buf, 'a' + w, SIZE);
            for (int i = 0; i < COUNT; i++)
                EXPECT_EQ(write(fds[1], buf, SIZE), SIZE);
        });
    }
    close(fds[1]);
    int seen[WRITERS] = {0};
    for (size_t have = 0;;) {
        ssize_t n = read(fds[0], buf + have, SIZE - have);
        EXPECT_GE(n, 0);
        have += (size_t)n;
        if (n == 0) {
            EXPECT_EQ(have, 0);
            break;
        }
        if (have < SIZE)
            continue;
        for (int i = 1; i < SIZE; i++)
            if (buf[i] != buf[0])
                FAIL("writes mixed at byte %d", i);
        seen[buf[0] - 'a']++;
        have = 0;
    }
    for (int w = 0; w < WRITERS; w++) {
        EXPECT_EQ(seen[w], COUNT);
        EXPECT_EXITED(children[w], 0);
    }
}

CASE(interrupted_read)
{
    make(0);
    handle(SIGALRM, 0);
    pid_t parent = getpid();
    pid_t child = FORK({
        usleep(50000);
        kill(parent, SIGALRM);
    });
    EXPECT_ERRNO(EINTR, read(fds[0], buf, 1));
    EXPECT_EXITED(child, 0);
    handle(SIGALRM, SA_RESTART);
    child = FORK({
        usleep(50000);
        kill(parent, SIGALRM);
        usleep(50000);
        write(fds[1], "y", 1);
    });
    EXPECT_EQ(read(fds[0], buf, 1), 1);
    EXPECT_EXITED(child, 0);
}

/* What was written before the signal counts. */
CASE(interrupted_write)
{
    make(0);
    handle(SIGALRM, SA_RESTART);
    pid_t parent = getpid();
    pid_t child = FORK({
        usleep(50000);
        kill(parent, SIGALRM);
    });
    EXPECT_EQ(write(fds[1], buf, 100 * KIB), 64 * KIB);
    EXPECT_EXITED(child, 0);
}

CASE(bad_memory)
{
    char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(page != MAP_FAILED);
    EXPECT_OK(munmap(page + 4096, 4096));
    make(O_NONBLOCK);
    EXPECT_ERRNO(EFAULT, write(fds[1], page + 4096, 1));
    EXPECT_ERRNO(EAGAIN, read(fds[0], buf, 1));
    EXPECT_EQ(write(fds[1], "abcdef", 6), 6);
    EXPECT_ERRNO(EFAULT, read(fds[0], page + 4096, 3));
    EXPECT_EQ(queued(), 6); /* nothing was lost */
    EXPECT_EQ(read(fds[0], buf, 10), 6);
}

CASE(fifo)
{
    const char *path = test_path("fifo");
    struct stat st;
    EXPECT_OK(mkfifo(path, 0640));
    EXPECT_ERRNO(EEXIST, mkfifo(path, 0640));
    EXPECT_OK(stat(path, &st));
    EXPECT(S_ISFIFO(st.st_mode));
    EXPECT_ERRNO(ENXIO, open(path, O_WRONLY | O_NONBLOCK));
    int r = EXPECT_OK(open(path, O_RDONLY | O_NONBLOCK));
    EXPECT_EQ(ready(r), 0); /* nobody has written yet: no hang-up */
    EXPECT_EQ(read(r, buf, 10), 0);
    int w = EXPECT_OK(open(path, O_WRONLY | O_NONBLOCK));
    EXPECT_ERRNO(EAGAIN, read(r, buf, 10));
    EXPECT_EQ(write(w, "hello", 5), 5);
    EXPECT_EQ(ready(r), POLLIN);
    close(w);
    EXPECT_EQ(ready(r), POLLIN | POLLHUP);
    EXPECT_EQ(read(r, buf, 10), 5);
    EXPECT_EQ(ready(r), POLLHUP);
    EXPECT_ERRNO(ESPIPE, lseek(r, 0, SEEK_SET));
    close(r);
    /* What nobody read is gone with the last descriptor. */
    int rw = EXPECT_OK(open(path, O_RDWR | O_NONBLOCK));
    EXPECT_EQ(write(rw, "lost", 4), 4);
    close(rw);
    rw = EXPECT_OK(open(path, O_RDWR | O_NONBLOCK));
    EXPECT_ERRNO(EAGAIN, read(rw, buf, 10));
    EXPECT_OK(unlink(path));
    EXPECT_EQ(write(rw, "still", 5), 5);
    EXPECT_EQ(read(rw, buf, 10), 5);
}

CASE(fifo_open_waits)
{
    const char *path = test_path("fifo");
    EXPECT_OK(mkfifo(path, 0600));
    pid_t child = FORK({
        usleep(50000);
        int w = EXPECT_OK(open(path, O_WRONLY));
        EXPECT_EQ(write(w, "x", 1), 1);
    });
    int r = EXPECT_OK(open(path, O_RDONLY));
    EXPECT_EQ(read(r, buf, 10), 1);
    EXPECT_EXITED(child, 0);
    close(r);
    handle(SIGALRM, 0);
    pid_t parent = getpid();
    child = FORK({
        usleep(50000);
        kill(parent, SIGALRM);
    });
    EXPECT_ERRNO(EINTR, open(path, O_WRONLY));
    EXPECT_EXITED(child, 0);
    EXPECT_ERRNO(ENXIO, open(path, O_WRONLY | O_NONBLOCK)); /* nobody counts as open now */
}

CASE(through_proc)
{
    char path[64];
    make(O_NONBLOCK);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[0]);
    ssize_t n = EXPECT_OK(readlink(path, buf, sizeof(buf)));
    EXPECT(n > 6 && memcmp(buf, "pipe:[", 6) == 0);
    int w = EXPECT_OK(open(path, O_WRONLY | O_NONBLOCK));
    EXPECT_EQ(write(w, "back", 4), 4);
    EXPECT_EQ(read(fds[0], buf, 10), 4);
    close(w);
    close(fds[1]);
    EXPECT_EQ(read(fds[0], buf, 10), 0);
}

static void *reader(void *arg)
{
    char c;
    (void)arg;
    return (void *)(long)read(fds[0], &c, 1);
}

/* A byte wakes a reader, the end wakes all. */
CASE(many_readers)
{
    enum { N = 8 };
    pthread_t threads[N];
    void *r;
    long sum = 0;
    make(0);
    for (int i = 0; i < N; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, reader, NULL), 0);
    usleep(50000);
    EXPECT_EQ(write(fds[1], "xyz", 3), 3);
    usleep(50000);
    close(fds[1]);
    for (int i = 0; i < N; i++) {
        EXPECT_EQ(pthread_join(threads[i], &r), 0);
        sum += (long)r;
    }
    EXPECT_EQ(sum, 3);
}

CASE(opened_again_through_proc)
{
    int p[2];
    char path[64], c;
    EXPECT_EQ(pipe(p), 0);
    EXPECT_EQ(write(p[1], "a", 1), 1);
    close(p[1]);
    snprintf(path, sizeof path, "/proc/self/fd/%d", p[0]);
    int fd = open(path, O_RDONLY); /* does not wait for a writer */
    EXPECT(fd >= 0);
    EXPECT_EQ(read(fd, &c, 1), 1);
    EXPECT_EQ(read(fd, &c, 1), 0);
    close(fd);
    fd = open(path, O_WRONLY | O_NONBLOCK);
    EXPECT(fd >= 0);
    EXPECT_EQ(write(fd, "b", 1), 1);
    EXPECT_EQ(read(p[0], &c, 1), 1);
    EXPECT_EQ(c, 'b');
}

CASE(attributes)
{
    int p[2];
    struct stat st;
    EXPECT_OK(pipe2(p, O_DIRECT | O_NONBLOCK));
    EXPECT_EQ(fcntl(p[0], F_GETFL), O_NONBLOCK);
    EXPECT_EQ(fcntl(p[1], F_GETFL), O_NONBLOCK | O_DIRECT | O_WRONLY);
    EXPECT_OK(fchmod(p[0], 0640));
    EXPECT_OK(fstat(p[1], &st));
    EXPECT_EQ(st.st_mode, S_IFIFO | 0640);
    EXPECT_OK(fchown(p[1], getuid(), getgid()));
    EXPECT_ERRNO(EINVAL, ftruncate(p[1], 0));
}

TEST_MAIN
