/* mq_open(3), mq_send(3), mq_receive(3), mq_notify(3), mq_overview(7): the system calls. */
#include "tests/syscalls/ipc.h"
#include <dirent.h>
#include <limits.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/statfs.h>

static char buf[16384];

static const char *queue_name(void)
{
    static char name[64];
    snprintf(name, sizeof(name), "/picket-test.%d", (int)getpid());
    return name;
}

/* A queue without a name. */
static mqd_t queue(int flags, long maxmsg, long size)
{
    struct mq_attr attr = {.mq_maxmsg = maxmsg, .mq_msgsize = size};
    own_ipc();
    mqd_t q = mq_open(queue_name(), O_CREAT | O_EXCL | O_RDWR | flags, 0600, &attr);
    if (q < 0 && errno == ENOSYS)
        SKIP("no message queues here");
    EXPECT(q >= 0);
    EXPECT_OK(mq_unlink(queue_name()));
    return q;
}

static void put(mqd_t q, const char *text, unsigned priority)
{
    EXPECT_OK(mq_send(q, text, strlen(text), priority));
}

static const char *get(mqd_t q, unsigned *priority)
{
    ssize_t n = mq_receive(q, buf, sizeof(buf), priority);
    if (n < 0)
        return NULL;
    buf[n] = 0;
    return buf;
}

static long waiting(mqd_t q)
{
    struct mq_attr a;
    EXPECT_OK(mq_getattr(q, &a));
    return a.mq_curmsgs;
}

static struct timespec in_ms(int ms)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_nsec += ms * 1000000l;
    ts.tv_sec += ts.tv_nsec / 1000000000;
    ts.tv_nsec %= 1000000000;
    return ts;
}

CASE(open_and_unlink)
{
    own_ipc();
    const char *name = queue_name();
    EXPECT_ERRNO(ENOENT, mq_open(name, O_RDWR));
    mqd_t q = mq_open(name, O_CREAT | O_RDWR, 0600, NULL);
    EXPECT(q >= 0);
    EXPECT_EQ(fcntl(q, F_GETFD), FD_CLOEXEC);
    EXPECT_ERRNO(EEXIST, mq_open(name, O_CREAT | O_EXCL | O_RDWR, 0600, NULL));
    mqd_t again = mq_open(name, O_RDONLY | O_NONBLOCK);
    EXPECT(again >= 0);
    put(q, "x", 0);
    EXPECT_STREQ(get(again, NULL), "x");
    EXPECT_OK(mq_unlink(name));
    EXPECT_ERRNO(ENOENT, mq_unlink(name));
    EXPECT_ERRNO(ENOENT, mq_open(name, O_RDWR));
    put(q, "still here", 0);
    EXPECT_STREQ(get(again, NULL), "still here");
    EXPECT_OK(mq_close(q));
    EXPECT_OK(mq_close(again));
    EXPECT_ERRNO(EBADF, mq_close(q));
}

CASE(names)
{
    char longest[NAME_MAX + 3];
    own_ipc();
    memset(longest, 'n', sizeof(longest));
    longest[NAME_MAX + 1] = 0;
    EXPECT_ERRNO(ENOENT, syscall(SYS_mq_open, "", O_CREAT | O_RDWR, 0600, NULL));
    EXPECT_ERRNO(EACCES, syscall(SYS_mq_open, "a/b", O_CREAT | O_RDWR, 0600, NULL));
    EXPECT_ERRNO(EACCES, syscall(SYS_mq_open, "/a", O_CREAT | O_RDWR, 0600, NULL));
    EXPECT_ERRNO(EACCES, syscall(SYS_mq_open, ".", O_RDONLY, 0, NULL));
    EXPECT_ERRNO(EACCES, syscall(SYS_mq_open, "..", O_RDONLY, 0, NULL));
    EXPECT_ERRNO(ENAMETOOLONG, syscall(SYS_mq_open, longest, O_CREAT | O_RDWR, 0600, NULL));
    EXPECT_ERRNO(EFAULT, syscall(SYS_mq_open, bad_address, O_CREAT | O_RDWR, 0600, NULL));
    EXPECT_ERRNO(EFAULT, syscall(SYS_mq_open, "x", O_CREAT | O_RDWR, 0600, bad_address));
    EXPECT_ERRNO(EFAULT, syscall(SYS_mq_unlink, bad_address));
    longest[NAME_MAX] = 0;
    int q = EXPECT_OK(syscall(SYS_mq_open, longest, O_CREAT | O_RDWR, 0600, NULL));
    EXPECT_OK(syscall(SYS_mq_unlink, longest));
    close(q);
}

CASE(attributes)
{
    struct mq_attr a, old;
    mqd_t q = queue(0, 7, 100);
    put(q, "abc", 1);
    EXPECT_OK(mq_getattr(q, &a));
    EXPECT_EQ(a.mq_flags, 0);
    EXPECT_EQ(a.mq_maxmsg, 7);
    EXPECT_EQ(a.mq_msgsize, 100);
    EXPECT_EQ(a.mq_curmsgs, 1);
    a = (struct mq_attr){.mq_flags = O_NONBLOCK, .mq_maxmsg = 99, .mq_msgsize = 99};
    EXPECT_OK(mq_setattr(q, &a, &old));
    EXPECT_EQ(old.mq_flags, 0);
    EXPECT_OK(mq_getattr(q, &a));
    EXPECT_EQ(a.mq_flags, O_NONBLOCK);
    EXPECT_EQ(a.mq_maxmsg, 7);
    EXPECT(fcntl(q, F_GETFL) & O_NONBLOCK);
    a.mq_flags = O_APPEND;
    EXPECT_ERRNO(EINVAL, mq_setattr(q, &a, NULL));
    EXPECT_ERRNO(EBADF, mq_getattr(0x7fff, &a));
    EXPECT_ERRNO(EFAULT, syscall(SYS_mq_getsetattr, q, bad_address, NULL));
    EXPECT_ERRNO(EFAULT, syscall(SYS_mq_getsetattr, q, NULL, bad_address));
    int fd = open("/dev/null", O_RDWR);
    EXPECT_ERRNO(EBADF, mq_getattr(fd, &a));
}

CASE(default_attributes)
{
    struct mq_attr a;
    own_ipc();
    mqd_t q = mq_open(queue_name(), O_CREAT | O_RDWR, 0600, NULL);
    EXPECT(q >= 0);
    EXPECT_OK(mq_unlink(queue_name()));
    EXPECT_OK(mq_getattr(q, &a));
    EXPECT_EQ(a.mq_maxmsg, proc_number("/proc/sys/fs/mqueue/msg_default"));
    EXPECT_EQ(a.mq_msgsize, proc_number("/proc/sys/fs/mqueue/msgsize_default"));
}

CASE(bad_attributes)
{
    const long bad[][2] = {{0, 10}, {-1, 10}, {10, 0}, {10, -1}, {1 << 30, 10}, {10, 1 << 30}};
    own_ipc();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct mq_attr a = {.mq_maxmsg = bad[i][0], .mq_msgsize = bad[i][1]};
        EXPECT_ERRNO(EINVAL, mq_open(queue_name(), O_CREAT | O_RDWR, 0600, &a));
        EXPECT_ERRNO(ENOENT, mq_unlink(queue_name()));
    }
    if (geteuid() != 0)
        return;
    EXPECT_EXITED(FORK({ /* without privilege the limits are lower */
                         become(1000, 1000);
                         struct mq_attr a = {.mq_maxmsg = 11, .mq_msgsize = 10};
                         if (proc_number("/proc/sys/fs/mqueue/msg_max") != 10)
                             _exit(0);
                         EXPECT_ERRNO(EINVAL, mq_open(queue_name(), O_CREAT | O_RDWR, 0600, &a));
                         a.mq_maxmsg = 10;
                         EXPECT_OK(mq_open(queue_name(), O_CREAT | O_RDWR, 0600, &a));
                         EXPECT_OK(mq_unlink(queue_name()));
                  }),
                  0);
}

CASE(priorities)
{
    mqd_t q = queue(O_NONBLOCK, 10, 100);
    unsigned p;
    put(q, "low", 1);
    put(q, "high a", 9);
    put(q, "lowest", 0);
    put(q, "high b", 9);
    put(q, "highest", 32767);
    EXPECT_STREQ(get(q, &p), "highest");
    EXPECT_EQ(p, 32767);
    EXPECT_STREQ(get(q, &p), "high a");
    EXPECT_STREQ(get(q, &p), "high b");
    EXPECT_EQ(p, 9);
    EXPECT_STREQ(get(q, NULL), "low");
    EXPECT_STREQ(get(q, &p), "lowest");
    EXPECT_EQ(p, 0);
    EXPECT(get(q, NULL) == NULL);
    EXPECT_EQ(errno, EAGAIN);
}

CASE(send_errors)
{
    mqd_t q = queue(O_NONBLOCK, 2, 10);
    struct timespec bad = {0, 1000000000}, negative = {-1, 0};
    EXPECT_ERRNO(EMSGSIZE, mq_send(q, buf, 11, 0));
    EXPECT_ERRNO(EINVAL, mq_send(q, buf, 1, 32768));
    EXPECT_ERRNO(EFAULT, mq_send(q, bad_address, 1, 0));
    EXPECT_ERRNO(EINVAL, mq_timedsend(q, buf, 1, 0, &bad));
    EXPECT_ERRNO(EINVAL, mq_timedsend(q, buf, 1, 0, &negative));
    EXPECT_ERRNO(EFAULT, mq_timedsend(q, buf, 1, 0, bad_address));
    EXPECT_ERRNO(EBADF, mq_send(0x7fff, buf, 1, 0));
    EXPECT_ERRNO(EBADF, mq_send(open("/dev/null", O_RDWR), buf, 1, 0));
    EXPECT_EQ(waiting(q), 0);
    EXPECT_OK(mq_send(q, buf, 0, 0));
    EXPECT_OK(mq_send(q, buf, 10, 0));
    EXPECT_ERRNO(EAGAIN, mq_send(q, buf, 1, 0));
}

CASE(receive_errors)
{
    mqd_t q = queue(O_NONBLOCK, 2, 10);
    put(q, "x", 0);
    EXPECT_ERRNO(EMSGSIZE, mq_receive(q, buf, 9, NULL));
    EXPECT_EQ(waiting(q), 1);
    EXPECT_ERRNO(EFAULT, mq_receive(q, bad_address, 10, NULL));
    EXPECT_EQ(waiting(q), 0); /* it is lost */
    EXPECT_ERRNO(EBADF, mq_receive(0x7fff, buf, 10, NULL));
    EXPECT_ERRNO(EAGAIN, mq_receive(q, buf, 10, NULL));
}

CASE(access_mode)
{
    own_ipc();
    mqd_t q = mq_open(queue_name(), O_CREAT | O_RDWR | O_NONBLOCK, 0600, NULL);
    mqd_t r = mq_open(queue_name(), O_RDONLY), w = mq_open(queue_name(), O_WRONLY);
    EXPECT(q >= 0 && r >= 0 && w >= 0);
    EXPECT_OK(mq_unlink(queue_name()));
    EXPECT_ERRNO(EBADF, mq_send(r, "x", 1, 0));
    EXPECT_ERRNO(EBADF, mq_receive(w, buf, sizeof(buf), NULL));
    put(w, "y", 0);
    EXPECT_STREQ(get(r, NULL), "y");
}

CASE(permissions)
{
    if (geteuid() != 0)
        SKIP("needs to change its user");
    own_ipc();
    umask(022);
    const char *name = queue_name();
    EXPECT(mq_open(name, O_CREAT | O_RDWR, 0666, NULL) >= 0);
    EXPECT_EXITED(FORK({
                      become(1000, 1000);
                      EXPECT_ERRNO(EACCES, mq_open(name, O_RDWR));
                      EXPECT_ERRNO(EACCES, mq_open(name, O_CREAT | O_WRONLY, 0600, NULL));
                      EXPECT(mq_open(name, O_RDONLY) >= 0);
                      errno = 0;
                      EXPECT_EQ(mq_unlink(name), -1);
                      EXPECT(errno == EPERM || errno == EACCES);
                  }),
                  0);
    EXPECT_OK(mq_unlink(name));
}

CASE(limit_of_bytes)
{
    if (geteuid() != 0)
        SKIP("needs another user");
    own_ipc();
    EXPECT_EXITED(FORK({
                      /* 10 messages: 10 * (48 + 48) + 10 * 8192 */
                      struct rlimit lim = {82880, 82880};
                      char other[80];
                      snprintf(other, sizeof(other), "%s.b", queue_name());
                      EXPECT_OK(setrlimit(RLIMIT_MSGQUEUE, &lim));
                      become(54321, 54321);
                      struct mq_attr a = {.mq_maxmsg = 10, .mq_msgsize = 8192};
                      mqd_t q = mq_open(queue_name(), O_CREAT | O_RDWR, 0600, &a);
                      EXPECT(q >= 0);
                      EXPECT_ERRNO(EMFILE, mq_open(other, O_CREAT | O_RDWR, 0600, &a));
                      EXPECT_OK(mq_unlink(queue_name()));
                      EXPECT_OK(mq_close(q));
                      q = mq_open(other, O_CREAT | O_RDWR, 0600, &a);
                      EXPECT(q >= 0);
                      EXPECT_OK(mq_unlink(other));
                      a.mq_maxmsg = 1;
                      EXPECT_ERRNO(EMFILE, mq_open(other, O_CREAT | O_RDWR, 0600, &a));
                  }),
                  0);
}

/* ---- waiting ---- */

CASE(receiver_waits)
{
    mqd_t q = queue(0, 2, 10);
    pid_t p = FORK({ EXPECT_STREQ(get(q, NULL), "hello"); });
    wait_asleep(p);
    put(q, "hello", 3);
    EXPECT_EXITED(p, 0);
    EXPECT_EQ(waiting(q), 0);
}

CASE(sender_waits)
{
    mqd_t q = queue(0, 1, 10);
    put(q, "first", 0);
    pid_t p = FORK({ put(q, "second", 5); });
    wait_asleep(p);
    EXPECT_EQ(waiting(q), 1);
    EXPECT_STREQ(get(q, NULL), "first");
    EXPECT_EXITED(p, 0);
    EXPECT_STREQ(get(q, NULL), "second");
}

CASE(receivers_are_served_in_turn)
{
    mqd_t q = queue(0, 10, 10);
    pid_t p[4];
    for (int i = 0; i < 4; i++) {
        p[i] = FORK({
            EXPECT(get(q, NULL) != NULL);
            _exit(buf[0]);
        });
        wait_asleep(p[i]);
    }
    for (int i = 0; i < 4; i++)
        put(q, (char[]){(char)('a' + i), 0}, 0);
    for (int i = 0; i < 4; i++)
        EXPECT_EXITED(p[i], 'a' + i);
}

CASE(time_outs)
{
    mqd_t q = queue(0, 1, 10);
    struct timespec ts = in_ms(50), past = {1, 0};
    double start = now();
    EXPECT_ERRNO(ETIMEDOUT, mq_timedreceive(q, buf, 10, NULL, &ts));
    EXPECT(now() - start > 0.045);
    EXPECT_ERRNO(ETIMEDOUT, mq_timedreceive(q, buf, 10, NULL, &past));
    EXPECT_OK(mq_timedsend(q, "x", 1, 0, &past));
    ts = in_ms(50);
    start = now();
    EXPECT_ERRNO(ETIMEDOUT, mq_timedsend(q, "y", 1, 0, &ts));
    EXPECT(now() - start > 0.045);
    EXPECT_EQ(mq_timedreceive(q, buf, 10, NULL, &past), 1);
    EXPECT_EQ(waiting(q), 0);
}

CASE(signals)
{
    mqd_t q = queue(0, 1, 10);
    pid_t p = FORK({
        catch (SIGUSR1, 0);
        EXPECT_ERRNO(EINTR, mq_receive(q, buf, 10, NULL));
    });
    wait_asleep(p);
    usleep(10000);
    EXPECT_OK(kill(p, SIGUSR1));
    EXPECT_EXITED(p, 0);
    p = FORK({
        catch (SIGUSR1, SA_RESTART);
        EXPECT_STREQ(get(q, NULL), "z");
    });
    wait_asleep(p);
    usleep(10000);
    EXPECT_OK(kill(p, SIGUSR1));
    usleep(20000);
    put(q, "z", 0);
    EXPECT_EXITED(p, 0);
}

/* ---- readiness ---- */

CASE(poll_and_epoll)
{
    mqd_t q = queue(O_NONBLOCK, 1, 10);
    struct pollfd pfd = {.fd = q, .events = POLLIN | POLLOUT};
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
    int ep = EXPECT_OK(epoll_create1(0));
    EXPECT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, q, &ev));
    EXPECT_EQ(poll(&pfd, 1, 0), 1);
    EXPECT_EQ(pfd.revents, POLLOUT);
    EXPECT_EQ(epoll_wait(ep, &ev, 1, 0), 0);
    put(q, "x", 0);
    EXPECT_EQ(poll(&pfd, 1, 0), 1);
    EXPECT_EQ(pfd.revents, POLLIN);
    EXPECT_EQ(epoll_wait(ep, &ev, 1, 0), 1);
    EXPECT_EQ(epoll_wait(ep, &ev, 1, 0), 0);
    EXPECT_STREQ(get(q, NULL), "x");
    pid_t p = FORK({
        usleep(30000);
        put(q, "y", 0);
    });
    pfd.events = POLLIN;
    EXPECT_EQ(poll(&pfd, 1, 5000), 1);
    EXPECT_EXITED(p, 0);
    pfd.events = POLLOUT;
    p = FORK({
        usleep(30000);
        EXPECT(get(q, NULL) != NULL);
    });
    EXPECT_EQ(poll(&pfd, 1, 5000), 1);
    EXPECT_EXITED(p, 0);
}

/* ---- notification ---- */

static siginfo_t got;
static volatile int count;
static void on_notify(TEST_UNUSED int sig, siginfo_t *info, TEST_UNUSED void *uc)
{
    got = *info;
    count++;
}

static struct sigevent wants_signal(int sig, int value)
{
    struct sigaction sa = {.sa_sigaction = on_notify, .sa_flags = SA_SIGINFO};
    EXPECT_OK(sigaction(sig, &sa, NULL));
    struct sigevent sev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = sig};
    sev.sigev_value.sival_int = value;
    return sev;
}

CASE(notification)
{
    mqd_t q = queue(O_NONBLOCK, 4, 10);
    struct sigevent sev = wants_signal(SIGUSR1, 42);
    EXPECT_OK(mq_notify(q, &sev));
    EXPECT_ERRNO(EBUSY, mq_notify(q, &sev));
    pid_t p = FORK({ put(q, "x", 0); });
    EXPECT_EXITED(p, 0);
    EXPECT_EQ(count, 1);
    EXPECT_EQ(got.si_signo, SIGUSR1);
    EXPECT_EQ(got.si_code, SI_MESGQ);
    EXPECT_EQ(got.si_pid, p);
    EXPECT_EQ(got.si_uid, getuid());
    EXPECT_EQ(got.si_value.sival_int, 42);
    /* Once only, and only from empty. */
    put(q, "y", 0);
    EXPECT_EQ(count, 1);
    EXPECT_OK(mq_notify(q, &sev));
    put(q, "z", 0);
    EXPECT_EQ(count, 1);
    while (get(q, NULL))
        ;
    put(q, "again", 0);
    EXPECT_EQ(count, 2);
}

CASE(notification_is_taken_back)
{
    mqd_t q = queue(O_NONBLOCK, 4, 10);
    struct sigevent sev = wants_signal(SIGUSR1, 0);
    EXPECT_OK(mq_notify(q, NULL));
    EXPECT_OK(mq_notify(q, &sev));
    EXPECT_EXITED(FORK({
                      EXPECT_ERRNO(EBUSY, mq_notify(q, &sev));
                      EXPECT_OK(mq_notify(q, NULL)); /* not ours: no effect */
                      EXPECT_ERRNO(EBUSY, mq_notify(q, &sev));
                      EXPECT_OK(close(q));
                  }),
                  0);
    EXPECT_ERRNO(EBUSY, mq_notify(q, &sev));
    EXPECT_OK(mq_notify(q, NULL));
    put(q, "x", 0);
    EXPECT_EQ(count, 0);
    EXPECT(get(q, NULL) != NULL);
    /* Closing any descriptor of it, too. */
    EXPECT_OK(mq_notify(q, &sev));
    EXPECT_OK(close(dup(q)));
    put(q, "x", 0);
    EXPECT_EQ(count, 0);
    EXPECT(get(q, NULL) != NULL);
    /* The exit of who registered. */
    EXPECT_EXITED(FORK({ EXPECT_OK(mq_notify(q, &sev)); }), 0);
    EXPECT_OK(mq_notify(q, &sev));
}

CASE(no_notification_if_somebody_receives)
{
    mqd_t q = queue(0, 4, 10);
    struct sigevent sev = wants_signal(SIGUSR1, 0);
    EXPECT_OK(mq_notify(q, &sev));
    pid_t p = FORK({ EXPECT(get(q, NULL) != NULL); });
    wait_asleep(p);
    put(q, "x", 0);
    EXPECT_EXITED(p, 0);
    EXPECT_EQ(count, 0);
    EXPECT_ERRNO(EBUSY, mq_notify(q, &sev));
    put(q, "y", 0);
    EXPECT_EQ(count, 1);
}

CASE(silent_notification)
{
    mqd_t q = queue(0, 4, 10);
    struct sigevent none = {.sigev_notify = SIGEV_NONE};
    EXPECT_OK(mq_notify(q, &none));
    EXPECT_ERRNO(EBUSY, mq_notify(q, &none));
    put(q, "x", 0);
    EXPECT_OK(mq_notify(q, &none));
}

CASE(notification_errors)
{
    mqd_t q = queue(0, 4, 10);
    struct sigevent sev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = 65};
    EXPECT_ERRNO(EINVAL, syscall(SYS_mq_notify, q, &sev));
    sev = (struct sigevent){.sigev_notify = 77};
    EXPECT_ERRNO(EINVAL, syscall(SYS_mq_notify, q, &sev));
    EXPECT_ERRNO(EFAULT, syscall(SYS_mq_notify, q, bad_address));
    EXPECT_ERRNO(EBADF, syscall(SYS_mq_notify, 0x7fff, NULL));
    EXPECT_ERRNO(EBADF, syscall(SYS_mq_notify, open("/dev/null", O_RDONLY), NULL));
    char cookie[32] = {0};
    sev = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_signo = 0x7fff};
    sev.sigev_value.sival_ptr = cookie;
    EXPECT_ERRNO(EBADF, syscall(SYS_mq_notify, q, &sev));
    sev.sigev_signo = open("/dev/null", O_RDONLY);
    EXPECT_ERRNO(ENOTSOCK, syscall(SYS_mq_notify, q, &sev));
    sev.sigev_signo = socket(AF_UNIX, SOCK_STREAM, 0);
    EXPECT_ERRNO(EINVAL, syscall(SYS_mq_notify, q, &sev));
}

/* ---- as files ---- */

CASE(as_a_file)
{
    mqd_t q = queue(O_NONBLOCK, 4, 100);
    struct stat st;
    EXPECT_OK(fstat(q, &st));
    EXPECT(S_ISREG(st.st_mode));
    EXPECT_EQ(st.st_mode & 07777, 0600);
    EXPECT_EQ(st.st_size, 80);
    EXPECT_EQ(st.st_nlink, 0);
    put(q, "12345", 0);
    put(q, "678", 0);
    struct sigevent sev = wants_signal(SIGUSR1, 0);
    EXPECT_OK(mq_notify(q, &sev));
    char want[128];
    snprintf(want, sizeof(want), "QSIZE:%-10d NOTIFY:%-5d SIGNO:%-5d NOTIFY_PID:%-6d\n", 8,
             SIGEV_SIGNAL, SIGUSR1, (int)getpid());
    ssize_t n = read(q, buf, sizeof(buf));
    EXPECT(n > 0);
    buf[n] = 0;
    EXPECT_STREQ(buf, want);
    EXPECT_EQ(read(q, buf, sizeof(buf)), 0);
    EXPECT_ERRNO(EINVAL, write(q, "x", 1));
}

CASE(mounted)
{
    struct statfs sfs;
    struct stat st;
    bool own = geteuid() == 0 && unshare(CLONE_NEWNS | CLONE_NEWIPC) == 0;
    if (!own) {
        if (statfs("/dev/mqueue", &sfs) < 0 || sfs.f_type != 0x19800202)
            SKIP("may not mount, and nobody did");
    } else {
        EXPECT_OK(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
        EXPECT_OK(mount("none", test_dir(), "tmpfs", 0, NULL));
    }
    char dir[512] = "/dev/mqueue", path[600];
    if (own) { /* what /dev/mqueue shows are still the old namespace's */
        snprintf(dir, sizeof(dir), "%s", test_dir());
        EXPECT_OK(mount("none", dir, "mqueue", 0, NULL));
        EXPECT_OK(statfs(dir, &sfs));
        EXPECT_EQ(sfs.f_type, 0x19800202);
    }
    EXPECT_OK(stat(dir, &st));
    EXPECT_EQ(st.st_mode, (mode_t)(S_IFDIR | 01777));
    mqd_t q = mq_open(queue_name(), O_CREAT | O_RDWR, 0640, NULL);
    EXPECT(q >= 0);
    snprintf(path, sizeof(path), "%s%s", dir, queue_name());
    EXPECT_OK(stat(path, &st));
    EXPECT(S_ISREG(st.st_mode));
    EXPECT_EQ(st.st_size, 80);
    DIR *d = opendir(dir);
    int found = 0;
    for (struct dirent *e; (e = readdir(d));)
        found += strcmp(e->d_name, queue_name() + 1) == 0;
    closedir(d);
    EXPECT_EQ(found, 1);
    put(q, "ab", 0);
    int fd = EXPECT_OK(open(path, O_RDONLY));
    ssize_t n = read(fd, buf, sizeof(buf));
    EXPECT(n > 8);
    EXPECT_MEMEQ(buf, "QSIZE:2 ", 8);
    EXPECT_EQ(mq_receive(fd, buf, sizeof(buf), NULL), 2);
    EXPECT_ERRNO(EPERM, mkdir(path, 0700) < 0 && errno == EEXIST ? (errno = EPERM, -1) : 0);
    EXPECT_OK(unlink(path));
    EXPECT_ERRNO(ENOENT, mq_open(queue_name(), O_RDWR));
    /* And the other way: open(2) makes a queue. */
    fd = EXPECT_OK(open(path, O_CREAT | O_RDWR, 0600));
    EXPECT_OK(mq_send(fd, "x", 1, 0));
    EXPECT_OK(mq_unlink(queue_name()));
    EXPECT_ERRNO(ENOENT, stat(path, &st));
}

CASE(limits_in_proc)
{
    if (geteuid() != 0 || unshare(CLONE_NEWIPC) < 0)
        SKIP("needs a namespace of its own");
    EXPECT_OK(proc_write("/proc/sys/fs/mqueue/msg_default", "3"));
    EXPECT_OK(proc_write("/proc/sys/fs/mqueue/msgsize_default", "200"));
    mqd_t q = mq_open("/picket", O_CREAT | O_RDWR, 0600, NULL);
    struct mq_attr a;
    EXPECT_OK(mq_getattr(q, &a));
    EXPECT_EQ(a.mq_maxmsg, 3);
    EXPECT_EQ(a.mq_msgsize, 200);
    EXPECT_ERRNO(EINVAL, proc_write("/proc/sys/fs/mqueue/msg_max", "0"));
    EXPECT_ERRNO(EINVAL, proc_write("/proc/sys/fs/mqueue/msgsize_max", "100"));
    EXPECT_OK(proc_write("/proc/sys/fs/mqueue/queues_max", "1"));
    EXPECT_EXITED(FORK({
                      become(1000, 1000);
                      EXPECT_ERRNO(ENOSPC, mq_open("/more", O_CREAT | O_RDWR, 0600, NULL));
                  }),
                  0);
    EXPECT_OK(mq_unlink("/picket"));
}

/* ---- many at once ---- */

#define THREADS 4
#define MESSAGES 2000
static mqd_t shared;
static long sum_sent, sum_received;

static void *sender(void *arg)
{
    for (long i = 0; i < MESSAGES; i++) {
        long v = (long)arg * 100000 + i;
        EXPECT_OK(mq_send(shared, (char *)&v, sizeof(v), (unsigned)i % 7));
        __atomic_add_fetch(&sum_sent, v, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void *receiver(void *arg)
{
    for (long i = 0, v; i < MESSAGES; i++) {
        EXPECT_EQ(mq_receive(shared, (char *)&v, sizeof(v), NULL), sizeof(v));
        __atomic_add_fetch(&sum_received, v, __ATOMIC_RELAXED);
    }
    return arg;
}

CASE(many_senders_and_receivers)
{
    pthread_t t[2 * THREADS];
    shared = queue(0, 3, 8);
    for (long i = 0; i < THREADS; i++) {
        EXPECT_EQ(pthread_create(&t[2 * i], NULL, sender, (void *)i), 0);
        EXPECT_EQ(pthread_create(&t[2 * i + 1], NULL, receiver, NULL), 0);
    }
    for (int i = 0; i < 2 * THREADS; i++)
        EXPECT_EQ(pthread_join(t[i], NULL), 0);
    EXPECT_EQ(sum_sent, sum_received);
    EXPECT_EQ(waiting(shared), 0);
}

TEST_MAIN
