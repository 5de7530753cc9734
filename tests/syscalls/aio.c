/* Linux native AIO, by raw calls: io_setup(2), io_submit(2), io_getevents(2), io_cancel(2). */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>

struct ring {
    uint32_t id, nr, head, tail, magic, compat, incompat, header_length;
    struct io_event events[];
};

static long io_setup(unsigned nr, aio_context_t *ctx)
{
    return syscall(SYS_io_setup, nr, ctx);
}
static long io_destroy(aio_context_t ctx)
{
    return syscall(SYS_io_destroy, ctx);
}
static long io_submit(aio_context_t ctx, long n, struct iocb **cbs)
{
    return syscall(SYS_io_submit, ctx, n, cbs);
}
static long io_getevents(aio_context_t ctx, long min, long nr, struct io_event *ev,
                         struct timespec *ts)
{
    return syscall(SYS_io_getevents, ctx, min, nr, ev, ts);
}

static aio_context_t context(unsigned nr)
{
    aio_context_t ctx = 0;
    EXPECT_OK(io_setup(nr, &ctx));
    EXPECT_NE(ctx, 0);
    return ctx;
}

static int file(void)
{
    return EXPECT_OK(open(test_path("f"), O_CREAT | O_RDWR, 0600));
}

static struct iocb prepare(int fd, int op, void *buf, size_t n, long long offset)
{
    return (struct iocb){.aio_fildes = (uint32_t)fd,
                         .aio_lio_opcode = (uint16_t)op,
                         .aio_buf = (uintptr_t)buf,
                         .aio_nbytes = n,
                         .aio_offset = offset,
                         .aio_data = 0x1234};
}

static long submit_one(aio_context_t ctx, struct iocb *cb)
{
    return io_submit(ctx, 1, &cb);
}

/* The result of a request that is alone. */
static long long run(aio_context_t ctx, struct iocb *cb)
{
    struct io_event ev = {0};
    EXPECT_EQ(EXPECT_OK(submit_one(ctx, cb)), 1);
    EXPECT_EQ(EXPECT_OK(io_getevents(ctx, 1, 1, &ev, NULL)), 1);
    EXPECT_EQ(ev.obj, (uintptr_t)cb);
    EXPECT_EQ(ev.data, cb->aio_data);
    EXPECT_EQ(ev.res2, 0);
    return ev.res;
}

CASE(read_and_write)
{
    char in[16] = "";
    aio_context_t ctx = context(8);
    int fd = file();
    struct iocb cb = prepare(fd, IOCB_CMD_PWRITE, "hello world", 11, 5);
    EXPECT_EQ(run(ctx, &cb), 11);
    cb = prepare(fd, IOCB_CMD_PREAD, in, sizeof in, 5);
    EXPECT_EQ(run(ctx, &cb), 11);
    EXPECT_STREQ(in, "hello world");
    cb = prepare(fd, IOCB_CMD_PREAD, in, sizeof in, 100);
    EXPECT_EQ(run(ctx, &cb), 0);
    EXPECT_EQ(lseek(fd, 0, SEEK_CUR), 0);
    EXPECT_OK(io_destroy(ctx));
}

CASE(vectors)
{
    char a[3] = "";
    char b[8] = "";
    aio_context_t ctx = context(8);
    int fd = file();
    struct iovec out[2] = {{"one", 3}, {"twothree", 8}};
    struct iovec in[2] = {{a, 3}, {b, 8}};
    struct iocb cb = prepare(fd, IOCB_CMD_PWRITEV, out, 2, 0);
    EXPECT_EQ(run(ctx, &cb), 11);
    cb = prepare(fd, IOCB_CMD_PREADV, in, 2, 0);
    EXPECT_EQ(run(ctx, &cb), 11);
    EXPECT_MEMEQ(a, "one", 3);
    EXPECT_MEMEQ(b, "twothree", 8);
    cb = prepare(fd, IOCB_CMD_PREADV, in, 5000, 0);
    EXPECT_ERRNO(EINVAL, submit_one(ctx, &cb));
}

CASE(sync)
{
    aio_context_t ctx = context(8);
    int fd = file();
    struct iocb cb = prepare(fd, IOCB_CMD_FSYNC, NULL, 0, 0);
    EXPECT_EQ(run(ctx, &cb), 0);
    cb = prepare(fd, IOCB_CMD_FDSYNC, NULL, 0, 0);
    EXPECT_EQ(run(ctx, &cb), 0);
    cb.aio_nbytes = 1;
    EXPECT_ERRNO(EINVAL, submit_one(ctx, &cb));
}

CASE(append_and_flags)
{
    aio_context_t ctx = context(8);
    int fd = file();
    EXPECT_EQ(write(fd, "abc", 3), 3);
    struct iocb cb = prepare(fd, IOCB_CMD_PWRITE, "def", 3, 0);
    cb.aio_rw_flags = RWF_APPEND | RWF_DSYNC;
    EXPECT_EQ(run(ctx, &cb), 3);
    EXPECT_EQ(lseek(fd, 0, SEEK_END), 6);
    cb.aio_rw_flags = 0x4000;
    EXPECT_ERRNO(EOPNOTSUPP, submit_one(ctx, &cb));
}

CASE(many_and_the_limit_of_the_ring)
{
    enum { N = 64 };
    static char bytes[N];
    static struct iocb cbs[N];
    struct iocb *list[N];
    struct io_event ev[N];
    struct timespec none = {0};
    aio_context_t ctx = context(N);
    int fd = file();
    for (int i = 0; i < N; i++) {
        bytes[i] = (char)('a' + i % 26);
        cbs[i] = prepare(fd, IOCB_CMD_PWRITE, &bytes[i], 1, i);
        cbs[i].aio_data = (uint64_t)i;
        list[i] = &cbs[i];
    }
    EXPECT_EQ(io_submit(ctx, N, list), N);
    bool seen[N] = {false};
    for (int got = 0; got < N;) {
        long n = EXPECT_OK(io_getevents(ctx, 1, 10, ev, NULL));
        EXPECT_LE(n, 10);
        for (int i = 0; i < n; i++) {
            EXPECT_EQ(ev[i].res, 1);
            EXPECT(!seen[ev[i].data]);
            seen[ev[i].data] = true;
        }
        got += (int)n;
    }
    EXPECT_EQ(io_getevents(ctx, 0, 10, ev, &none), 0);
    /* Events that nobody takes fill the ring in the end; the ones that are there stay. */
    long total = 0;
    long r;
    while ((r = io_submit(ctx, 1, list)) == 1)
        total++;
    EXPECT_EQ(r, -1);
    EXPECT_EQ(errno, EAGAIN);
    EXPECT_GE(total, N);
    for (long n; total > 0; total -= n)
        n = EXPECT_OK(io_getevents(ctx, 1, N, ev, &none));
    EXPECT_EQ(total, 0);
    EXPECT_EQ(io_submit(ctx, 1, list), 1);
}

/* What libaio looks at without a call. */
CASE(the_ring_is_mapped)
{
    aio_context_t ctx = context(4);
    struct ring *ring = (struct ring *)ctx;
    struct io_event ev;
    EXPECT_EQ(ring->magic, 0xa10a10a1);
    EXPECT_EQ(ring->compat, 1);
    EXPECT_EQ(ring->incompat, 0);
    EXPECT_EQ(ring->header_length, sizeof *ring);
    EXPECT_GE(ring->nr, 5);
    EXPECT_EQ(ring->head, ring->tail);
    struct iocb cb = prepare(file(), IOCB_CMD_PWRITE, "x", 1, 0);
    EXPECT_EQ(submit_one(ctx, &cb), 1);
    EXPECT_NE(ring->head, ring->tail);
    /* Taken here, it is not there for the kernel. */
    EXPECT_EQ(ring->events[ring->head].obj, (uintptr_t)&cb);
    ring->head = (ring->head + 1) % ring->nr;
    EXPECT_EQ(io_getevents(ctx, 0, 1, &ev, &(struct timespec){0}), 0);
    EXPECT_EQ(submit_one(ctx, &cb), 1);
    EXPECT_EQ(io_getevents(ctx, 1, 1, &ev, NULL), 1);
    EXPECT_EQ(ring->head, ring->tail);
    EXPECT_OK(io_destroy(ctx));
    EXPECT_ERRNO(ENOMEM, msync((void *)ctx, 1, MS_ASYNC)); /* nothing is mapped there */
}

/* The ring is the application's to spoil; nobody else is the worse. */
CASE(a_spoilt_ring)
{
    aio_context_t ctx = context(4);
    struct ring *ring = (struct ring *)ctx;
    struct io_event ev[4];
    struct iocb cb = prepare(file(), IOCB_CMD_PWRITE, "x", 1, 0);
    ring->head = 0x7fffffff;
    ring->tail = 0x12345678;
    for (int i = 0; i < 1000; i++) {
        submit_one(ctx, &cb);
        io_getevents(ctx, 0, 4, ev, &(struct timespec){0});
        ring->head = (uint32_t)i * 7919;
    }
    EXPECT_OK(munmap((void *)ctx, 4096));
    submit_one(ctx, &cb);
    io_destroy(ctx);
}

CASE(eventfd_is_told)
{
    uint64_t n;
    aio_context_t ctx = context(8);
    int efd = EXPECT_OK(eventfd(0, EFD_NONBLOCK));
    struct iocb cb = prepare(file(), IOCB_CMD_PWRITE, "x", 1, 0);
    cb.aio_flags = IOCB_FLAG_RESFD;
    cb.aio_resfd = (uint32_t)efd;
    EXPECT_EQ(run(ctx, &cb), 1);
    EXPECT_EQ(run(ctx, &cb), 1);
    EXPECT_EQ(read(efd, &n, sizeof n), 8);
    EXPECT_EQ(n, 2);
    cb.aio_resfd = (uint32_t)cb.aio_fildes; /* no eventfd */
    EXPECT_ERRNO(EINVAL, submit_one(ctx, &cb));
    cb.aio_resfd = 999;
    EXPECT_ERRNO(EBADF, submit_one(ctx, &cb));
}

CASE(poll_waits)
{
    int p[2];
    struct io_event ev;
    aio_context_t ctx = context(8);
    EXPECT_OK(pipe(p));
    struct iocb cb = prepare(p[0], IOCB_CMD_POLL, NULL, 0, 0);
    cb.aio_buf = POLLIN;
    EXPECT_EQ(submit_one(ctx, &cb), 1);
    EXPECT_EQ(io_getevents(ctx, 0, 1, &ev, &(struct timespec){0}), 0);
    EXPECT_EQ(io_getevents(ctx, 1, 1, &ev, &(struct timespec){.tv_nsec = 20000000}), 0);
    pid_t pid = FORK({
        usleep(30000);
        EXPECT_EQ(write(p[1], "x", 1), 1);
    });
    EXPECT_EQ(io_getevents(ctx, 1, 1, &ev, NULL), 1);
    EXPECT_EQ(ev.res & POLLIN, POLLIN);
    EXPECT_EQ(ev.obj, (uintptr_t)&cb);
    EXPECT_EXITED(pid, 0);
    /* Ready at once; and only once. */
    EXPECT_EQ(run(ctx, &cb) & POLLIN, POLLIN);
    EXPECT_EQ(io_getevents(ctx, 0, 1, &ev, &(struct timespec){0}), 0);
    cb.aio_nbytes = 1;
    EXPECT_ERRNO(EINVAL, submit_one(ctx, &cb));
    cb = prepare(p[0], IOCB_CMD_POLL, NULL, 0, 0);
    cb.aio_buf = 0x10000;
    EXPECT_ERRNO(EINVAL, submit_one(ctx, &cb));
    EXPECT_OK(close(p[0]));
    EXPECT_OK(close(p[1]));
}

/* The event of a poll of an eventfd goes to that eventfd. */
CASE(poll_of_who_is_told)
{
    uint64_t one = 1;
    struct io_event ev;
    aio_context_t ctx = context(8);
    int efd = EXPECT_OK(eventfd(0, 0));
    struct iocb cb = prepare(efd, IOCB_CMD_POLL, NULL, 0, 0);
    cb.aio_buf = POLLIN;
    cb.aio_flags = IOCB_FLAG_RESFD;
    cb.aio_resfd = (uint32_t)efd;
    EXPECT_EQ(submit_one(ctx, &cb), 1);
    EXPECT_EQ(write(efd, &one, sizeof one), 8);
    EXPECT_EQ(io_getevents(ctx, 1, 1, &ev, NULL), 1);
    EXPECT_EQ(ev.res & POLLIN, POLLIN);
    for (int i = 0; i < 100 && one != 2; i++) {
        EXPECT_EQ(read(efd, &one, sizeof one), 8);
        if (one == 1 && i == 0) { /* read before it was told */
            EXPECT_EQ(read(efd, &one, sizeof one), 8);
            break;
        }
    }
}

CASE(cancel)
{
    int p[2];
    struct io_event ev = {0};
    aio_context_t ctx = context(8);
    EXPECT_OK(pipe(p));
    struct iocb cb = prepare(p[0], IOCB_CMD_POLL, NULL, 0, 0);
    cb.aio_buf = POLLIN;
    EXPECT_EQ(submit_one(ctx, &cb), 1);
    EXPECT_ERRNO(EINPROGRESS, syscall(SYS_io_cancel, ctx, &cb, &ev));
    EXPECT_EQ(io_getevents(ctx, 1, 1, &ev, NULL), 1);
    EXPECT_EQ(ev.obj, (uintptr_t)&cb);
    EXPECT_EQ(ev.res, 0);
    EXPECT_ERRNO(EINVAL, syscall(SYS_io_cancel, ctx, &cb, &ev));
    EXPECT_ERRNO(EINVAL, syscall(SYS_io_cancel, ctx + 1, &cb, &ev));
    EXPECT_ERRNO(EFAULT, syscall(SYS_io_cancel, ctx, (void *)8, &ev));
    /* And at the end of the context, or of the process. */
    EXPECT_EQ(submit_one(ctx, &cb), 1);
    EXPECT_OK(io_destroy(ctx));
    EXPECT_EQ(write(p[1], "x", 1), 1);
    ctx = context(8);
    EXPECT_EQ(submit_one(ctx, &cb), 1);
}

CASE(setup_errors)
{
    aio_context_t ctx = 0;
    EXPECT_ERRNO(EFAULT, io_setup(8, NULL));
    EXPECT_ERRNO(EINVAL, io_setup(0, &ctx));
    ctx = 1;
    EXPECT_ERRNO(EINVAL, io_setup(8, &ctx));
    ctx = 0;
    EXPECT_ERRNO(EINVAL, io_setup(0x7fffffff, &ctx));
    FILE *f = fopen("/proc/sys/fs/aio-max-nr", "r");
    unsigned max = 0;
    EXPECT(f != NULL);
    EXPECT_EQ(fscanf(f, "%u", &max), 1);
    fclose(f);
    EXPECT_ERRNO(EAGAIN, io_setup(max + 1, &ctx));
    EXPECT_ERRNO(EINVAL, io_destroy(0));
    ctx = context(4);
    EXPECT_OK(io_destroy(ctx));
    EXPECT_ERRNO(EINVAL, io_destroy(ctx));
}

CASE(submit_errors)
{
    char buf[8];
    aio_context_t ctx = context(8);
    int fd = file();
    struct iocb good = prepare(fd, IOCB_CMD_PWRITE, "x", 1, 0), bad = good;
    struct iocb *list[2] = {&good, &bad};
    EXPECT_ERRNO(EINVAL, io_submit(ctx, -1, list));
    EXPECT_EQ(io_submit(ctx, 0, list), 0);
    EXPECT_ERRNO(EINVAL, io_submit(ctx + 4096, 1, list));
    EXPECT_ERRNO(EFAULT, io_submit(ctx, 1, (struct iocb **)8));
    EXPECT_ERRNO(EFAULT, submit_one(ctx, (struct iocb *)8));
    bad.aio_fildes = 999;
    EXPECT_EQ(io_submit(ctx, 2, list), 1); /* those before the first bad one */
    EXPECT_ERRNO(EBADF, submit_one(ctx, &bad));
    bad = good;
    bad.aio_lio_opcode = 99;
    EXPECT_ERRNO(EINVAL, submit_one(ctx, &bad));
    bad.aio_lio_opcode = IOCB_CMD_NOOP;
    EXPECT_ERRNO(EINVAL, submit_one(ctx, &bad));
    bad = good;
    bad.aio_reserved2 = 1;
    EXPECT_ERRNO(EINVAL, submit_one(ctx, &bad));
    bad = good;
    bad.aio_nbytes = (uint64_t)-1;
    EXPECT_ERRNO(EINVAL, submit_one(ctx, &bad));
    int ro = EXPECT_OK(open(test_path("f"), O_RDONLY));
    bad = prepare(ro, IOCB_CMD_PWRITE, buf, 1, 0);
    EXPECT_ERRNO(EBADF, submit_one(ctx, &bad));
    int wo = EXPECT_OK(open(test_path("f"), O_WRONLY));
    bad = prepare(wo, IOCB_CMD_PREAD, buf, 1, 0);
    EXPECT_ERRNO(EBADF, submit_one(ctx, &bad));
    int dir = EXPECT_OK(open(test_dir(), O_RDONLY));
    bad = prepare(dir, IOCB_CMD_PREAD, buf, 1, 0);
    EXPECT_ERRNO(EINVAL, submit_one(ctx, &bad));
    bad = prepare(fd, IOCB_CMD_PREAD, buf, 1, -1);
    EXPECT_ERRNO(EINVAL, submit_one(ctx, &bad));
    EXPECT_OK(close(fd));
}

CASE(getevents_errors)
{
    struct io_event ev;
    aio_context_t ctx = context(8);
    EXPECT_ERRNO(EINVAL, io_getevents(ctx, -1, 1, &ev, NULL));
    EXPECT_ERRNO(EINVAL, io_getevents(ctx, 2, 1, &ev, NULL));
    EXPECT_ERRNO(EINVAL, io_getevents(ctx + 4096, 0, 1, &ev, NULL));
    EXPECT_ERRNO(EFAULT, io_getevents(ctx, 0, 1, &ev, (struct timespec *)8));
    struct iocb cb = prepare(file(), IOCB_CMD_PWRITE, "x", 1, 0);
    EXPECT_EQ(submit_one(ctx, &cb), 1);
    EXPECT_ERRNO(EFAULT, io_getevents(ctx, 1, 1, (struct io_event *)8, NULL));
    EXPECT_EQ(io_getevents(ctx, 1, 1, &ev, NULL), 1); /* it is still there */
}

static void on_signal(int sig)
{
    (void)sig;
}

CASE(interrupted)
{
    struct io_event ev;
    aio_context_t ctx = context(8);
    struct sigaction sa = {.sa_handler = on_signal};
    EXPECT_OK(sigaction(SIGALRM, &sa, NULL));
    ualarm(20000, 0);
    EXPECT_ERRNO(EINTR, io_getevents(ctx, 1, 1, &ev, NULL));
    struct {
        sigset_t *mask;
        size_t size;
    } sig;
    sigset_t all;
    sigset_t none;
    sigfillset(&all);
    sigemptyset(&none);
    EXPECT_OK(sigprocmask(SIG_SETMASK, &all, NULL));
    EXPECT_OK(raise(SIGALRM));
    struct timespec ts = {.tv_nsec = 10000000};
    EXPECT_EQ(syscall(SYS_io_pgetevents, ctx, 1L, 1L, &ev, &ts, NULL), 0);
    sig.mask = &none;
    sig.size = 8;
    EXPECT_ERRNO(EINTR, syscall(SYS_io_pgetevents, ctx, 1L, 1L, &ev, NULL, &sig));
    sig.size = 4;
    EXPECT_ERRNO(EINVAL, syscall(SYS_io_pgetevents, ctx, 1L, 1L, &ev, NULL, &sig));
}

CASE(a_child_has_none)
{
    struct io_event ev;
    aio_context_t ctx = context(8);
    EXPECT_EXITED(FORK({ EXPECT_ERRNO(EINVAL, io_getevents(ctx, 0, 1, &ev, NULL)); }), 0);
    EXPECT_EQ(io_getevents(ctx, 0, 1, &ev, &(struct timespec){0}), 0);
}

static void *submitter(void *arg)
{
    aio_context_t ctx = *(aio_context_t *)arg;
    int fd = EXPECT_OK(open(test_path("f"), O_RDWR));
    char buf[64];
    struct iocb cb = prepare(fd, IOCB_CMD_PREAD, buf, sizeof buf, 0);
    for (int i = 0; i < 500; i++)
        while (submit_one(ctx, &cb) != 1)
            EXPECT_EQ(errno, EAGAIN);
    EXPECT_OK(close(fd));
    return NULL;
}

CASE(threads)
{
    pthread_t th[3];
    struct io_event ev[16];
    aio_context_t ctx = context(16);
    EXPECT_OK(close(file()));
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(pthread_create(&th[i], NULL, submitter, &ctx), 0);
    for (long got = 0; got < 1500;)
        got += EXPECT_OK(io_getevents(ctx, 1, 16, ev, NULL));
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(pthread_join(th[i], NULL), 0);
}

CASE(no_io_uring)
{
    char params[256] = {0};
    long r = syscall(425, 4, params);
    if (r >= 0)
        SKIP("this kernel has io_uring");
    EXPECT(errno == ENOSYS || errno == EPERM);
}

TEST_MAIN
