/* fcntl, dup, close_range, flock, ioctl: descriptors and descriptions. */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>

static int make(void)
{
    return EXPECT_OK(open(test_path("f"), O_CREAT | O_RDWR, 0600));
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* ---- duplicates ---- */

CASE(dup_calls)
{
    int fd = make(), other;
    EXPECT_EQ(dup(fd), fd + 1);
    EXPECT_EQ(dup2(fd, 100), 100);
    EXPECT_EQ(dup2(fd, fd), fd);
    EXPECT_ERRNO(EBADF, dup(-1));
    EXPECT_ERRNO(EBADF, dup2(-1, 3));
    EXPECT_ERRNO(EBADF, dup2(99, 99));
    EXPECT_ERRNO(EBADF, dup2(fd, -1));
    EXPECT_ERRNO(EBADF, dup2(fd, 1 << 30));
    EXPECT_ERRNO(EINVAL, dup3(fd, fd, 0));
    EXPECT_ERRNO(EINVAL, dup3(fd, 101, O_NONBLOCK));
    EXPECT_EQ(dup3(fd, 101, O_CLOEXEC), 101);
    EXPECT_EQ(fcntl(101, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(dup2(101, 102), 102);
    EXPECT_EQ(fcntl(102, F_GETFD), 0);
    EXPECT_EQ(dup2(101, 101), 101);
    EXPECT_EQ(fcntl(101, F_GETFD), FD_CLOEXEC);
    other = EXPECT_OK(open("/dev/null", O_RDONLY));
    EXPECT_EQ(dup2(fd, other), other); /* closes what was there */
    EXPECT_EQ(write(other, "x", 1), 1);
}

CASE(dupfd)
{
    int fd = make();
    EXPECT_EQ(fcntl(fd, F_DUPFD, 50), 50);
    EXPECT_EQ(fcntl(fd, F_DUPFD, 50), 51);
    EXPECT_EQ(fcntl(fd, F_DUPFD_CLOEXEC, 50), 52);
    EXPECT_EQ(fcntl(52, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(51, F_GETFD), 0);
    EXPECT_ERRNO(EINVAL, fcntl(fd, F_DUPFD, -1));
    EXPECT_ERRNO(EINVAL, fcntl(fd, F_DUPFD, 1 << 30));
    EXPECT_ERRNO(EBADF, fcntl(-1, F_DUPFD, 0));
    EXPECT_ERRNO(EINVAL, fcntl(fd, 9999, 0));
    EXPECT_ERRNO(EBADF, fcntl(9999, F_GETFL));
}

CASE(many_descriptors)
{
    struct rlimit rl;
    int fd = make();
    EXPECT_OK(syscall(SYS_close_range, fd + 1, ~0u, 0)); /* what we were started with */
    EXPECT_OK(getrlimit(RLIMIT_NOFILE, &rl));
    int n = rl.rlim_cur < 5000 ? (int)rl.rlim_cur : 5000;
    for (int i = fd + 1; i < n; i++)
        EXPECT_EQ(dup(fd), i);
    for (int i = fd + 1; i < n; i += 2)
        EXPECT_OK(close(i));
    for (int i = fd + 1; i < n; i += 2)
        EXPECT_EQ(dup(fd), i);
}

CASE(close_range_call)
{
    int fd = make();
    for (int i = 50; i < 60; i++)
        EXPECT_EQ(dup2(fd, i), i);
    EXPECT_OK(syscall(SYS_close_range, 52, 54, 0));
    EXPECT(is_open(51) && !is_open(52) && !is_open(54) && is_open(55));
    EXPECT_OK(syscall(SYS_close_range, 55, 56, CLOSE_RANGE_CLOEXEC));
    EXPECT_EQ(fcntl(55, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(57, F_GETFD), 0);
    EXPECT_ERRNO(EINVAL, syscall(SYS_close_range, 60, 50, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_close_range, 50, 60, 1 << 10));
    EXPECT_OK(syscall(SYS_close_range, 55, ~0u, CLOSE_RANGE_UNSHARE));
    EXPECT(!is_open(55) && !is_open(59) && is_open(50) && is_open(fd));
    EXPECT_OK(syscall(SYS_close_range, 1000, ~0u, 0));
}

/* ---- flags ---- */

CASE(status_flags)
{
    int fd = make(), other = EXPECT_OK(dup(fd));
    EXPECT_EQ(fcntl(fd, F_GETFL), O_RDWR | 0100000);
    EXPECT_OK(fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK));
    EXPECT_EQ(fcntl(other, F_GETFL), O_RDWR | O_APPEND | O_NONBLOCK | 0100000);
    /* Access mode and creation flags are ignored. */
    EXPECT_OK(fcntl(fd, F_SETFL, O_RDONLY | O_CREAT | O_TRUNC | O_EXCL));
    EXPECT_EQ(fcntl(fd, F_GETFL), O_RDWR | 0100000);
    EXPECT_OK(fcntl(fd, F_SETFD, FD_CLOEXEC));
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(other, F_GETFD), 0);
    EXPECT_OK(fcntl(fd, F_SETFD, ~1));
    EXPECT_EQ(fcntl(fd, F_GETFD), 0);
}

CASE(close_on_exec)
{
    int stay = make(), go = EXPECT_OK(open("/dev/null", O_RDONLY | O_CLOEXEC));
    char script[128];
    snprintf(script, sizeof script, "test -e /proc/self/fd/%d && ! test -e /proc/self/fd/%d", stay,
             go);
    pid_t pid = FORK({
        execl("/bin/sh", "sh", "-c", script, NULL);
        _exit(99);
    });
    EXPECT_EXITED(pid, 0);
}

CASE(ioctl_calls)
{
    int fd = make(), p[2], on = 1, off = 0, n;
    EXPECT_OK(pipe(p));
    EXPECT_OK(ioctl(p[0], FIONBIO, &on));
    EXPECT_EQ(fcntl(p[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    char c;
    EXPECT_ERRNO(EAGAIN, read(p[0], &c, 1));
    EXPECT_OK(ioctl(p[0], FIONBIO, &off));
    EXPECT_EQ(fcntl(p[0], F_GETFL) & O_NONBLOCK, 0);
    EXPECT_ERRNO(EFAULT, ioctl(p[0], FIONBIO, (void *)1));
    EXPECT_OK(ioctl(fd, FIOCLEX));
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    EXPECT_OK(ioctl(fd, FIONCLEX));
    EXPECT_EQ(fcntl(fd, F_GETFD), 0);
    EXPECT_EQ(write(p[1], "abc", 3), 3);
    EXPECT_OK(ioctl(p[0], FIONREAD, &n));
    EXPECT_EQ(n, 3);
    EXPECT_EQ(write(fd, "0123456789", 10), 10);
    EXPECT_EQ(lseek(fd, 4, SEEK_SET), 4);
    EXPECT_OK(ioctl(fd, FIONREAD, &n));
    EXPECT_EQ(n, 6);
    EXPECT_OK(ioctl(fd, FIGETBSZ, &n));
    EXPECT_GT(n, 0);
    EXPECT_ERRNO(ENOTTY, ioctl(fd, 0x12345678, &n));
    EXPECT_ERRNO(ENOTTY, ioctl(fd, TCGETS, &n));
    EXPECT_ERRNO(EBADF, ioctl(-1, FIONBIO, &on));
    EXPECT_ERRNO(EBADF, ioctl(EXPECT_OK(open(test_path("f"), O_PATH)), FIONBIO, &on));
}

CASE(owners)
{
    int p[2];
    EXPECT_OK(pipe(p));
    EXPECT_EQ(fcntl(p[0], F_GETOWN), 0);
    EXPECT_OK(fcntl(p[0], F_SETOWN, getpid()));
    EXPECT_EQ(fcntl(p[0], F_GETOWN), getpid());
    EXPECT_ERRNO(ESRCH, fcntl(p[0], F_SETOWN, 0x3fffffff));
    EXPECT_OK(fcntl(p[0], F_SETOWN, -getpgrp()));
    EXPECT_EQ(fcntl(p[0], F_GETOWN), -getpgrp());
    EXPECT_ERRNO(ESRCH, fcntl(p[0], F_SETOWN, -0x3fffffff));
    struct f_owner_ex ex = {F_OWNER_PID, getpid()}, got = {0};
    EXPECT_OK(fcntl(p[0], F_SETOWN_EX, &ex));
    EXPECT_OK(fcntl(p[0], F_GETOWN_EX, &got));
    EXPECT_EQ(got.type, F_OWNER_PID);
    EXPECT_EQ(got.pid, getpid());
    ex.type = 99;
    EXPECT_ERRNO(EINVAL, fcntl(p[0], F_SETOWN_EX, &ex));
    EXPECT_OK(fcntl(p[0], F_SETOWN, 0));
    EXPECT_EQ(fcntl(p[0], F_GETSIG), 0);
    EXPECT_OK(fcntl(p[0], F_SETSIG, SIGUSR1));
    EXPECT_EQ(fcntl(p[0], F_GETSIG), SIGUSR1);
    EXPECT_ERRNO(EINVAL, fcntl(p[0], F_SETSIG, 65));
    EXPECT_ERRNO(EINVAL, fcntl(p[0], F_SETSIG, -1));
}

/* ---- record locks ---- */

static int lock_cmd(int fd, int cmd, short type, off_t start, off_t len)
{
    struct flock fl = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
    return fcntl(fd, cmd, &fl);
}
static int lock(int fd, short type, off_t start, off_t len)
{
    return lock_cmd(fd, F_SETLK, type, start, len);
}
static int ofd_lock(int fd, short type, off_t start, off_t len)
{
    return lock_cmd(fd, F_OFD_SETLK, type, start, len);
}

CASE(record_locks_between_processes)
{
    int fd = make();
    EXPECT_OK(lock(fd, F_WRLCK, 10, 10));
    EXPECT_OK(lock(fd, F_WRLCK, 10, 10)); /* again: ours */
    EXPECT_EXITED(FORK({
                      struct flock fl = {.l_type = F_RDLCK, .l_start = 0, .l_len = 0};
                      EXPECT_OK(fcntl(fd, F_GETLK, &fl));
                      EXPECT_EQ(fl.l_type, F_WRLCK);
                      EXPECT_EQ(fl.l_start, 10);
                      EXPECT_EQ(fl.l_len, 10);
                      EXPECT_EQ(fl.l_pid, getppid());
                      EXPECT_ERRNO(EAGAIN, lock(fd, F_RDLCK, 19, 1));
                      EXPECT_OK(lock(fd, F_WRLCK, 0, 10));
                      EXPECT_OK(lock(fd, F_WRLCK, 20, 0));
                  }),
                  0);
    EXPECT_OK(lock(fd, F_WRLCK, 0, 0)); /* the child is gone, and its locks with it */
    EXPECT_OK(lock(fd, F_RDLCK, 0, 0));
    EXPECT_EXITED(FORK({
                      EXPECT_OK(lock(fd, F_RDLCK, 0, 0));
                      EXPECT_ERRNO(EAGAIN, lock(fd, F_WRLCK, 5, 1));
                  }),
                  0);
    EXPECT_OK(lock(fd, F_UNLCK, 5, 1));
    EXPECT_EXITED(FORK({
                      EXPECT_OK(lock(fd, F_WRLCK, 5, 1));
                      EXPECT_ERRNO(EAGAIN, lock(fd, F_WRLCK, 4, 1));
                      EXPECT_ERRNO(EAGAIN, lock(fd, F_WRLCK, 6, 1));
                  }),
                  0);
}

CASE(any_close_drops_record_locks)
{
    int fd = make();
    EXPECT_OK(lock(fd, F_WRLCK, 0, 0));
    int other = EXPECT_OK(open(test_path("f"), O_RDONLY));
    EXPECT_OK(close(other));
    EXPECT_EXITED(FORK(EXPECT_OK(lock(fd, F_WRLCK, 0, 0));), 0);
}

CASE(record_lock_errors)
{
    int fd = make();
    int ro = EXPECT_OK(open(test_path("f"), O_RDONLY));
    int wo = EXPECT_OK(open(test_path("f"), O_WRONLY));
    struct flock fl = {.l_type = F_RDLCK, .l_whence = 9};
    EXPECT_ERRNO(EBADF, lock(ro, F_WRLCK, 0, 1));
    EXPECT_ERRNO(EBADF, lock(wo, F_RDLCK, 0, 1));
    EXPECT_OK(lock(ro, F_RDLCK, 0, 1));
    EXPECT_OK(lock(ro, F_UNLCK, 0, 1));
    EXPECT_ERRNO(EINVAL, lock(fd, 77, 0, 1));
    EXPECT_ERRNO(EINVAL, fcntl(fd, F_SETLK, &fl));
    EXPECT_ERRNO(EINVAL, lock(fd, F_RDLCK, -1, 1));
    EXPECT_ERRNO(EINVAL, lock(fd, F_RDLCK, 5, -6));
    EXPECT_OK(lock(fd, F_RDLCK, 5, -5));
    EXPECT_ERRNO(EOVERFLOW, lock(fd, F_RDLCK, INT64_MAX, 2));
    EXPECT_ERRNO(EFAULT, fcntl(fd, F_SETLK, (void *)1));
    EXPECT_ERRNO(EFAULT, fcntl(fd, F_GETLK, (void *)1));
    EXPECT_ERRNO(EINVAL, lock_cmd(fd, F_GETLK, F_UNLCK, 0, 1));
    fl = (struct flock){.l_type = F_RDLCK, .l_pid = 1};
    EXPECT_ERRNO(EINVAL, fcntl(fd, F_OFD_SETLK, &fl));
}

CASE(locks_relative_to_position_and_end)
{
    int fd = make();
    EXPECT_EQ(write(fd, "0123456789", 10), 10);
    EXPECT_EQ(lseek(fd, 4, SEEK_SET), 4);
    struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_CUR, .l_start = 1, .l_len = 1};
    EXPECT_OK(fcntl(fd, F_SETLK, &fl));
    fl = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_END, .l_start = -1, .l_len = 1};
    EXPECT_OK(fcntl(fd, F_SETLK, &fl));
    EXPECT_EXITED(FORK({
                      EXPECT_ERRNO(EAGAIN, lock(fd, F_WRLCK, 5, 1));
                      EXPECT_ERRNO(EAGAIN, lock(fd, F_WRLCK, 9, 1));
                      EXPECT_OK(lock(fd, F_WRLCK, 0, 5));
                      EXPECT_OK(lock(fd, F_WRLCK, 6, 3));
                      EXPECT_OK(lock(fd, F_WRLCK, 10, 0));
                  }),
                  0);
}

static void msleep(int ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

CASE(waits_for_a_record)
{
    int fd = make(), p[2];
    EXPECT_OK(pipe(p));
    EXPECT_OK(lock(fd, F_WRLCK, 0, 0));
    pid_t pid = FORK({
        char c = 'x';
        EXPECT_EQ(write(p[1], &c, 1), 1);
        EXPECT_OK(lock_cmd(fd, F_SETLKW, F_WRLCK, 0, 0));
        EXPECT_EQ(write(p[1], &c, 1), 1);
        msleep(50);
    });
    char c;
    EXPECT_EQ(read(p[0], &c, 1), 1);
    msleep(50);
    EXPECT_OK(fcntl(p[0], F_SETFL, O_NONBLOCK));
    EXPECT_ERRNO(EAGAIN, read(p[0], &c, 1));
    EXPECT_OK(fcntl(p[0], F_SETFL, 0));
    EXPECT_OK(lock(fd, F_UNLCK, 0, 0));
    EXPECT_EQ(read(p[0], &c, 1), 1);
    EXPECT_OK(lock_cmd(fd, F_SETLKW, F_RDLCK, 0, 0)); /* until the child exits */
    EXPECT_EXITED(pid, 0);
}

static void on_signal(int sig)
{
    (void)sig;
}

CASE(waiting_is_interrupted)
{
    int fd = make();
    EXPECT_OK(lock(fd, F_WRLCK, 0, 0));
    int other = make();
    EXPECT_OK(flock(other, LOCK_EX));
    pid_t pid = FORK({
        struct sigaction sa = {.sa_handler = on_signal};
        sigaction(SIGALRM, &sa, NULL);
        alarm(1);
        EXPECT_ERRNO(EINTR, lock_cmd(fd, F_SETLKW, F_WRLCK, 0, 0));
        int mine = make();
        alarm(1);
        EXPECT_ERRNO(EINTR, flock(mine, LOCK_EX));
    });
    EXPECT_EXITED(pid, 0);
}

CASE(deadlock)
{
    int fd = make(), p[2];
    EXPECT_OK(pipe(p));
    EXPECT_OK(lock(fd, F_WRLCK, 0, 1));
    pid_t pid = FORK({
        EXPECT_OK(lock(fd, F_WRLCK, 1, 1));
        EXPECT_EQ(write(p[1], "x", 1), 1);
        EXPECT_OK(lock_cmd(fd, F_SETLKW, F_WRLCK, 0, 1)); /* waits for the parent */
    });
    char c;
    EXPECT_EQ(read(p[0], &c, 1), 1);
    msleep(100);
    EXPECT_ERRNO(EDEADLK, lock_cmd(fd, F_SETLKW, F_WRLCK, 1, 1));
    EXPECT_OK(lock(fd, F_UNLCK, 0, 1));
    EXPECT_EXITED(pid, 0);
}

CASE(ofd_locks)
{
    int a = make(), b = make(), c = EXPECT_OK(dup(a));
    EXPECT_OK(ofd_lock(a, F_WRLCK, 0, 10));
    EXPECT_ERRNO(EAGAIN, ofd_lock(b, F_WRLCK, 5, 1));
    EXPECT_ERRNO(EAGAIN, lock(b, F_WRLCK, 5, 1)); /* also against POSIX locks */
    EXPECT_OK(ofd_lock(c, F_RDLCK, 0, 10));       /* the same description */
    EXPECT_OK(ofd_lock(b, F_RDLCK, 5, 1));
    struct flock fl = {.l_type = F_WRLCK, .l_start = 6, .l_len = 1};
    EXPECT_OK(fcntl(b, F_OFD_GETLK, &fl));
    EXPECT_EQ(fl.l_type, F_RDLCK);
    EXPECT_EQ(fl.l_pid, -1);
    EXPECT_OK(close(a));
    EXPECT_ERRNO(EAGAIN, ofd_lock(b, F_WRLCK, 6, 1)); /* c still holds it */
    EXPECT_OK(close(c));
    EXPECT_OK(ofd_lock(b, F_WRLCK, 0, 0));
    EXPECT_OK(close(make())); /* no effect on OFD locks */
    int d = make();
    EXPECT_ERRNO(EAGAIN, ofd_lock(d, F_RDLCK, 0, 1));
}

/* ---- flock ---- */

CASE(flock_calls)
{
    int a = make(), b = make(), c = EXPECT_OK(dup(a));
    EXPECT_OK(flock(a, LOCK_SH));
    EXPECT_OK(flock(b, LOCK_SH));
    EXPECT_ERRNO(EWOULDBLOCK, flock(a, LOCK_EX | LOCK_NB));
    EXPECT_OK(flock(b, LOCK_UN));
    EXPECT_OK(flock(a, LOCK_EX | LOCK_NB));
    EXPECT_ERRNO(EWOULDBLOCK, flock(b, LOCK_SH | LOCK_NB));
    EXPECT_OK(flock(c, LOCK_EX | LOCK_NB)); /* the same description */
    EXPECT_OK(close(a));
    EXPECT_ERRNO(EWOULDBLOCK, flock(b, LOCK_SH | LOCK_NB));
    EXPECT_OK(flock(c, LOCK_UN));
    EXPECT_OK(flock(b, LOCK_EX | LOCK_NB));
    EXPECT_OK(lock(c, F_WRLCK, 0, 0)); /* another kind of lock */
    EXPECT_ERRNO(EINVAL, flock(b, 0));
    EXPECT_ERRNO(EINVAL, flock(b, LOCK_SH | LOCK_EX));
    EXPECT_ERRNO(EBADF, flock(-1, LOCK_SH));
    EXPECT_OK(flock(b, LOCK_UN));
    EXPECT_OK(flock(b, LOCK_UN));
}

CASE(flock_is_inherited_and_waits)
{
    int fd = make(), p[2];
    EXPECT_OK(pipe(p));
    EXPECT_OK(flock(fd, LOCK_EX));
    pid_t pid = FORK({
        int mine = make();
        EXPECT_OK(flock(fd, LOCK_EX | LOCK_NB));
        EXPECT_ERRNO(EWOULDBLOCK, flock(mine, LOCK_SH | LOCK_NB));
        EXPECT_EQ(write(p[1], "x", 1), 1);
        EXPECT_OK(close(fd));
        EXPECT_OK(flock(mine, LOCK_EX));
    });
    char c;
    EXPECT_EQ(read(p[0], &c, 1), 1);
    msleep(50);
    EXPECT_OK(flock(fd, LOCK_UN));
    EXPECT_EXITED(pid, 0);
}

/* A counter in a file, guarded by locks, that several processes raise. */
static void count_with(bool records)
{
    enum { ROUNDS = 200 };
    int fd = make(), zero = 0;
    pid_t pid[3];
    EXPECT_EQ(pwrite(fd, &zero, sizeof zero, 0), (ssize_t)sizeof zero);
    for (int i = 0; i < 3; i++)
        pid[i] = FORK({
            int mine = make(), v;
            for (int k = 0; k < ROUNDS; k++) {
                EXPECT_OK(records ? lock_cmd(mine, F_SETLKW, F_WRLCK, 0, 0) : flock(mine, LOCK_EX));
                EXPECT_EQ(pread(mine, &v, sizeof v, 0), (ssize_t)sizeof v);
                v++;
                EXPECT_EQ(pwrite(mine, &v, sizeof v, 0), (ssize_t)sizeof v);
                EXPECT_OK(records ? lock(mine, F_UNLCK, 0, 0) : flock(mine, LOCK_UN));
            }
        });
    for (int i = 0; i < 3; i++)
        EXPECT_EXITED(pid[i], 0);
    int v;
    EXPECT_EQ(pread(fd, &v, sizeof v, 0), (ssize_t)sizeof v);
    EXPECT_EQ(v, 3 * ROUNDS);
}

CASE(counting_with_records)
{
    count_with(true);
}

CASE(counting_with_flock)
{
    count_with(false);
}

/* ---- threads at one table ---- */

static void *table_racer(void *arg)
{
    unsigned seed = (unsigned)(size_t)arg;
    int keep = open("/dev/zero", O_RDONLY);
    for (int i = 0; i < 3000; i++) {
        int fd = dup(keep);
        char c = 1;
        if (fd < 0 || read(fd, &c, 1) != 1 || c != 0)
            return (void *)1;
        if (rand_r(&seed) % 4 == 0 && dup2(keep, fd) != fd)
            return (void *)2;
        if (close(fd) != 0)
            return (void *)3;
    }
    return NULL;
}

CASE(races)
{
    pthread_t t[4];
    for (size_t i = 0; i < 4; i++)
        EXPECT_EQ(pthread_create(&t[i], NULL, table_racer, (void *)(i + 1)), 0);
    for (size_t i = 0; i < 4; i++) {
        void *r;
        pthread_join(t[i], &r);
        EXPECT_EQ((size_t)r, 0);
    }
}

TEST_MAIN
