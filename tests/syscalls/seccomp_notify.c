/*
 * seccomp_unotify(2): a supervisor answers another process's system calls.
 */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>

static struct sock_fprog *filter_for(int nr)
{
    static struct sock_filter insns[4];
    static struct sock_fprog prog = {.len = 4, .filter = insns};
    const struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    memcpy(insns, program, sizeof(program));
    return &prog;
}

static int listen_to(int nr, unsigned flags)
{
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                        SECCOMP_FILTER_FLAG_NEW_LISTENER | flags, filter_for(nr));
}

static struct seccomp_notif receive(int fd)
{
    struct seccomp_notif n = {0};
    EXPECT_OK(ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &n));
    return n;
}

static int answer(int fd, uint64_t id, long val, int error, unsigned flags)
{
    struct seccomp_notif_resp r = {.id = id, .val = val, .error = error, .flags = flags};
    return ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &r);
}

static int poll_now(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
    EXPECT_OK(poll(&p, 1, 0));
    return p.revents;
}

CASE(values_and_errors)
{
    int fd = EXPECT_OK(listen_to(SYS_getppid, 0));
    EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(poll_now(fd), 0);
    pid_t child = FORK({
        EXPECT_EQ(syscall(SYS_getppid, 11, 22, 33, 44, 55, 66), 12345);
        EXPECT_ERRNO(EXDEV, syscall(SYS_getppid));
        EXPECT_EQ(syscall(SYS_getppid), getpgid(0) > 0 ? syscall(SYS_getppid) : 0);
    });
    struct seccomp_notif n = receive(fd);
    EXPECT_EQ(n.pid, child);
    EXPECT_EQ(n.flags, 0);
    EXPECT_EQ(n.data.nr, SYS_getppid);
    for (int i = 0; i < 6; i++)
        EXPECT_EQ(n.data.args[i], 11 * (i + 1));
    EXPECT_EQ(poll_now(fd), POLLOUT);
    EXPECT_OK(ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &n.id));
    EXPECT_ERRNO(EINVAL, answer(fd, n.id, 1, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE));
    EXPECT_ERRNO(EINVAL, answer(fd, n.id, 0, 0, 2));
    EXPECT_ERRNO(ENOENT, answer(fd, n.id + 1, 0, 0, 0));
    EXPECT_OK(answer(fd, n.id, 12345, 0, 0));
    uint64_t old = n.id;
    n = receive(fd);
    EXPECT_ERRNO(ENOENT, ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &old));
    EXPECT_ERRNO(ENOENT, answer(fd, old, 0, 0, 0));
    EXPECT_OK(answer(fd, n.id, 0, -EXDEV, 0));
    for (int i = 0; i < 2; i++) {
        n = receive(fd);
        EXPECT_OK(answer(fd, n.id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE));
    }
    EXPECT_EXITED(child, 0);
}

CASE(arguments)
{
    int fd = EXPECT_OK(listen_to(SYS_getppid, 0));
    struct seccomp_notif n = {.flags = 1};
    EXPECT_ERRNO(EINVAL, ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &n));
    EXPECT_ERRNO(EFAULT, ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, NULL));
    EXPECT_ERRNO(EFAULT, ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, NULL));
    EXPECT_ERRNO(EFAULT, ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, NULL));
    EXPECT_ERRNO(EINVAL, ioctl(fd, 0x1234, NULL));
    char c;
    EXPECT_ERRNO(EINVAL, read(fd, &c, 1));
    /* One listener in a chain. */
    EXPECT_ERRNO(EBUSY, listen_to(SYS_gettid, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
                                 SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, filter_for(SYS_gettid)));
}

CASE(closed_listener)
{
    int fd = EXPECT_OK(listen_to(SYS_getppid, 0));
    pid_t child = FORK({
        close(fd);
        EXPECT_ERRNO(ENOSYS, syscall(SYS_getppid));
        EXPECT_ERRNO(ENOSYS, syscall(SYS_getppid));
    });
    receive(fd);
    close(fd);
    EXPECT_EXITED(child, 0);
}

/* The listener outlives those whom it could listen to. The filter is the child's own. */
CASE(hang_up)
{
    int pair[2];
    EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    pid_t child = FORK({
        int fd = EXPECT_OK(listen_to(SYS_getppid, 0));
        char control[CMSG_SPACE(sizeof(int))] = {0};
        struct iovec iov = {.iov_base = "x", .iov_len = 1};
        struct msghdr m = {.msg_iov = &iov,
                           .msg_iovlen = 1,
                           .msg_control = control,
                           .msg_controllen = sizeof(control)};
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
        EXPECT_OK(sendmsg(pair[1], &m, 0));
        char done;
        EXPECT_EQ(read(pair[1], &done, 1), 1);
    });
    char control[CMSG_SPACE(sizeof(int))], byte;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof(control)};
    EXPECT_OK(recvmsg(pair[0], &m, 0));
    int fd;
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
    EXPECT_EQ(poll_now(fd), 0);
    EXPECT_EQ(write(pair[0], "x", 1), 1);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    EXPECT_EQ(poll(&p, 1, 10000), 1);
    EXPECT_EQ(p.revents, POLLHUP);
    EXPECT_EXITED(child, 0);
}

/* A signal interrupts the call; the supervisor's answer finds nobody. */
static void on_signal(TEST_UNUSED int sig)
{
}

CASE(interrupted)
{
    int fd = EXPECT_OK(listen_to(SYS_getppid, 0));
    pid_t child = FORK({
        struct sigaction sa = {.sa_handler = on_signal};
        sigaction(SIGUSR1, &sa, NULL);
        EXPECT_ERRNO(EINTR, syscall(SYS_getppid));
    });
    struct seccomp_notif n = receive(fd);
    EXPECT_OK(kill(child, SIGUSR1));
    EXPECT_EXITED(child, 0);
    EXPECT_ERRNO(ENOENT, answer(fd, n.id, 1, 0, 0));
    EXPECT_ERRNO(ENOENT, ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &n.id));
    EXPECT_EQ(poll_now(fd), 0);
}

CASE(wait_killable)
{
    int fd = EXPECT_OK(listen_to(SYS_getppid, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV));
    pid_t child = FORK({
        struct sigaction sa = {.sa_handler = on_signal};
        sigaction(SIGUSR1, &sa, NULL);
        EXPECT_EQ(syscall(SYS_getppid), 99);
    });
    struct seccomp_notif n = receive(fd);
    EXPECT_OK(kill(child, SIGUSR1));
    usleep(50000);
    EXPECT_OK(ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &n.id));
    EXPECT_OK(answer(fd, n.id, 99, 0, 0));
    EXPECT_EXITED(child, 0);
    child = FORK({ syscall(SYS_getppid); });
    n = receive(fd);
    EXPECT_OK(kill(child, SIGKILL));
    EXPECT_KILLED(child, SIGKILL);
    EXPECT_ERRNO(ENOENT, answer(fd, n.id, 99, 0, 0));
}

CASE(receive_interrupted)
{
    int fd = EXPECT_OK(listen_to(SYS_getppid, 0));
    struct sigaction sa = {.sa_handler = on_signal};
    sigaction(SIGALRM, &sa, NULL);
    ualarm(50000, 0);
    struct seccomp_notif n = {0};
    EXPECT_ERRNO(EINTR, ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &n));
}

static int addfd(int fd, uint64_t id, unsigned flags, int srcfd, int newfd, unsigned newfd_flags)
{
    struct seccomp_notif_addfd a = {.id = id,
                                    .flags = flags,
                                    .srcfd = (uint32_t)srcfd,
                                    .newfd = (uint32_t)newfd,
                                    .newfd_flags = newfd_flags};
    return ioctl(fd, SECCOMP_IOCTL_NOTIF_ADDFD, &a);
}

CASE(add_descriptors)
{
    int fd = EXPECT_OK(listen_to(SYS_getppid, 0));
    int fds[2];
    EXPECT_OK(pipe(fds));
    EXPECT_OK(fcntl(fds[1], F_SETFD, FD_CLOEXEC));
    pid_t child = FORK({
        close(fds[0]);
        close(fds[1]);
        int got = (int)syscall(SYS_getppid);
        EXPECT_EQ(write(got, "a", 1), 1);
        EXPECT_EQ(fcntl(got, F_GETFD), 0);
        EXPECT_EQ(write(77, "b", 1), 1);
        EXPECT_EQ(fcntl(77, F_GETFD), FD_CLOEXEC);
        got = (int)syscall(SYS_getppid);
        EXPECT_EQ(write(got, "c", 1), 1);
    });
    struct seccomp_notif n = receive(fd);
    EXPECT_ERRNO(EINVAL, addfd(fd, n.id, 4, fds[1], 0, 0));
    EXPECT_ERRNO(EINVAL, addfd(fd, n.id, 0, fds[1], 0, O_APPEND));
    EXPECT_ERRNO(EINVAL, addfd(fd, n.id, 0, fds[1], 5, 0));
    EXPECT_ERRNO(EBADF, addfd(fd, n.id, 0, 999, 0, 0));
    EXPECT_ERRNO(ENOENT, addfd(fd, n.id + 1, 0, fds[1], 0, 0));
    EXPECT_ERRNO(EBADF, addfd(fd, n.id, SECCOMP_ADDFD_FLAG_SETFD, fds[1], 1 << 25, 0));
    int remote = EXPECT_OK(addfd(fd, n.id, 0, fds[1], 0, 0));
    EXPECT_EQ(addfd(fd, n.id, SECCOMP_ADDFD_FLAG_SETFD, fds[1], 77, O_CLOEXEC), 77);
    EXPECT_OK(answer(fd, n.id, remote, 0, 0));
    n = receive(fd);
    EXPECT_OK(addfd(fd, n.id, SECCOMP_ADDFD_FLAG_SEND, fds[1], 0, 0));
    EXPECT_ERRNO(ENOENT, answer(fd, n.id, 0, 0, 0));
    close(fds[1]);
    char text[4] = {0};
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(read(fds[0], text + i, 1), 1);
    EXPECT_STREQ(text, "abc");
    EXPECT_EXITED(child, 0);
}

/* Many tasks ask at once; each gets its own answer. */
CASE(many)
{
    enum { TASKS = 8, CALLS = 25 };
    int fd = EXPECT_OK(listen_to(SYS_getppid, 0));
    pid_t children[TASKS];
    for (int i = 0; i < TASKS; i++)
        children[i] = FORK({
            for (int j = 0; j < CALLS; j++)
                EXPECT_EQ(syscall(SYS_getppid, i, j), 1000 * i + j);
        });
    for (int i = 0; i < TASKS * CALLS; i++) {
        struct seccomp_notif n = receive(fd);
        EXPECT_EQ(n.pid, children[n.data.args[0]]);
        EXPECT_OK(answer(fd, n.id, (long)(1000 * n.data.args[0] + n.data.args[1]), 0, 0));
    }
    for (int i = 0; i < TASKS; i++)
        EXPECT_EXITED(children[i], 0);
}

TEST_MAIN
