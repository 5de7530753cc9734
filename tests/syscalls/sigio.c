/* fcntl(2): O_ASYNC, F_SETOWN, F_SETSIG: signals when a descriptor becomes ready. */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>

static siginfo_t got[64];
static volatile int count;

static void on_signal(TEST_UNUSED int sig, siginfo_t *info, TEST_UNUSED void *uc)
{
    if (count < 64)
        got[count] = *info;
    count++;
}

static void catch (int sig)
{
    struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    EXPECT_OK(sigaction(sig, &sa, NULL));
}

static void add_flags(int fd, int flags)
{
    EXPECT_OK(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | flags));
}

/* SIGRTMIN for us when fd becomes ready. */
static void arm(int fd)
{
    catch (SIGRTMIN);
    EXPECT_OK(fcntl(fd, F_SETOWN, getpid()));
    EXPECT_OK(fcntl(fd, F_SETSIG, SIGRTMIN));
    add_flags(fd, O_ASYNC | O_NONBLOCK);
    count = 0;
}

static void wait_count(int n)
{
    for (int i = 0; i < 2000 && count < n; i++)
        usleep(1000);
    EXPECT_GE(count, n);
}

static void expect_input(int fd, int sig)
{
    wait_count(1);
    EXPECT_EQ(got[0].si_signo, sig);
    EXPECT_EQ(got[0].si_code, POLL_IN);
    EXPECT_EQ(got[0].si_fd, fd);
    EXPECT_EQ(got[0].si_band, POLLIN | POLLRDNORM);
}

CASE(owners)
{
    int p[2];
    struct f_owner_ex ex;
    EXPECT_OK(pipe(p));
    EXPECT_EQ(fcntl(p[0], F_GETOWN), 0);
    EXPECT_EQ(fcntl(p[0], F_GETSIG), 0);
    EXPECT_OK(fcntl(p[0], F_SETOWN, getpid()));
    EXPECT_EQ(fcntl(p[0], F_GETOWN), getpid());
    EXPECT_OK(fcntl(p[0], F_GETOWN_EX, &ex));
    EXPECT_EQ(ex.type, F_OWNER_PID);
    EXPECT_EQ(ex.pid, getpid());
    EXPECT_OK(fcntl(p[0], F_SETOWN, -getpgrp()));
    EXPECT_OK(fcntl(p[0], F_GETOWN_EX, &ex));
    EXPECT_EQ(ex.type, F_OWNER_PGRP);
    EXPECT_EQ(ex.pid, getpgrp());
    ex = (struct f_owner_ex){F_OWNER_TID, getpid()};
    EXPECT_OK(fcntl(p[0], F_SETOWN_EX, &ex));
    EXPECT_EQ(fcntl(p[0], F_GETOWN), getpid());
    EXPECT_OK(fcntl(p[0], F_SETOWN, 0));
    EXPECT_EQ(fcntl(p[0], F_GETOWN), 0);
    EXPECT_ERRNO(ESRCH, fcntl(p[0], F_SETOWN, 0x3fffffff));
    EXPECT_ERRNO(EINVAL, fcntl(p[0], F_SETOWN, INT32_MIN));
    ex.type = 9;
    EXPECT_ERRNO(EINVAL, fcntl(p[0], F_SETOWN_EX, &ex));
    EXPECT_ERRNO(EFAULT, fcntl(p[0], F_SETOWN_EX, 8));
    EXPECT_ERRNO(EINVAL, fcntl(p[0], F_SETSIG, 65));
    EXPECT_OK(fcntl(p[0], F_SETSIG, SIGUSR1));
    EXPECT_EQ(fcntl(p[0], F_GETSIG), SIGUSR1);
}

CASE(plain_sigio)
{
    int p[2];
    EXPECT_OK(pipe(p));
    catch (SIGIO);
    EXPECT_OK(fcntl(p[0], F_SETOWN, getpid()));
    add_flags(p[0], O_ASYNC);
    EXPECT(fcntl(p[0], F_GETFL) & O_ASYNC);
    EXPECT_EQ(write(p[1], "x", 1), 1);
    EXPECT_EQ(count, 1); /* at once */
    EXPECT_EQ(got[0].si_signo, SIGIO);
    EXPECT_EQ(got[0].si_code, SI_KERNEL);
    EXPECT_OK(fcntl(p[0], F_SETFL, 0));
    EXPECT_EQ(write(p[1], "x", 1), 1);
    EXPECT_EQ(count, 1);
}

CASE(default_action_kills)
{
    EXPECT_KILLED(FORK({
                      int p[2];
                      EXPECT_OK(pipe(p));
                      EXPECT_OK(fcntl(p[0], F_SETOWN, getpid()));
                      add_flags(p[0], O_ASYNC);
                      EXPECT_EQ(write(p[1], "x", 1), 1);
                  }),
                  SIGIO);
}

CASE(pipe_input)
{
    int p[2];
    EXPECT_OK(pipe(p));
    arm(p[0]);
    EXPECT_EQ(write(p[1], "x", 1), 1);
    expect_input(p[0], SIGRTMIN);
}

CASE(pipe_output)
{
    int p[2];
    static char page[4096];
    EXPECT_OK(pipe(p));
    add_flags(p[1], O_NONBLOCK);
    while (write(p[1], page, sizeof(page)) > 0)
        ;
    arm(p[1]);
    EXPECT_EQ(read(p[0], page, sizeof(page)), sizeof(page));
    wait_count(1);
    EXPECT_EQ(got[0].si_code, POLL_OUT);
    EXPECT_EQ(got[0].si_fd, p[1]);
    EXPECT_EQ(got[0].si_band, POLLOUT | POLLWRNORM | POLLWRBAND);
}

CASE(end_of_pipe)
{
    int p[2];
    EXPECT_OK(pipe(p));
    arm(p[0]);
    EXPECT_OK(close(p[1]));
    wait_count(1);
    EXPECT_EQ(got[0].si_fd, p[0]);
}

CASE(fifo)
{
    const char *path = test_path("fifo");
    EXPECT_OK(mkfifo(path, 0600));
    int r = EXPECT_OK(open(path, O_RDWR));
    arm(r);
    int w = EXPECT_OK(open(path, O_WRONLY));
    count = 0;
    EXPECT_EQ(write(w, "x", 1), 1);
    wait_count(1);
    EXPECT_EQ(got[0].si_fd, r);
}

CASE(stream_socket)
{
    int s[2];
    char c;
    EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    arm(s[0]);
    EXPECT_EQ(write(s[1], "x", 1), 1);
    expect_input(s[0], SIGRTMIN);
    EXPECT_EQ(read(s[0], &c, 1), 1);
    EXPECT_EQ(count, 1);
    count = 0;
    EXPECT_OK(close(s[1]));
    wait_count(1);
}

CASE(datagram_socket)
{
    int s[2];
    EXPECT_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    arm(s[0]);
    EXPECT_EQ(write(s[1], "x", 1), 1);
    expect_input(s[0], SIGRTMIN);
}

/* Room is told only to who missed it. */
CASE(socket_output)
{
    int s[2];
    static char data[65536];
    EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    arm(s[0]);
    EXPECT_EQ(write(s[0], "x", 1), 1);
    EXPECT_EQ(read(s[1], data, 10), 1);
    EXPECT_EQ(count, 0);
    while (write(s[0], data, sizeof(data)) > 0)
        ;
    EXPECT_EQ(errno, EAGAIN);
    add_flags(s[1], O_NONBLOCK);
    while (read(s[1], data, sizeof(data)) > 0)
        ;
    wait_count(1);
    EXPECT_EQ(got[0].si_code, POLL_OUT);
    EXPECT_EQ(got[0].si_band, POLLOUT | POLLWRNORM | POLLWRBAND);
    EXPECT_EQ(count, 1);
}

CASE(listening_socket)
{
    struct sockaddr_un {
        sa_family_t family;
        char path[108];
    } a = {AF_UNIX, ""};
    socklen_t len = sizeof(a);
    int l = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0)),
        c = EXPECT_OK(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_OK(bind(l, (void *)&a, sizeof(a.family)));
    EXPECT_OK(listen(l, 5));
    EXPECT_OK(getsockname(l, (void *)&a, &len));
    arm(l);
    EXPECT_OK(connect(c, (void *)&a, len));
    expect_input(l, SIGRTMIN);
}

CASE(terminal)
{
    int m = posix_openpt(O_RDWR | O_NOCTTY);
    if (m < 0)
        SKIP("no terminals");
    EXPECT_OK(grantpt(m));
    EXPECT_OK(unlockpt(m));
    int s = EXPECT_OK(open(ptsname(m), O_RDWR | O_NOCTTY));
    struct termios t;
    EXPECT_OK(tcgetattr(s, &t));
    cfmakeraw(&t);
    EXPECT_OK(tcsetattr(s, TCSANOW, &t));
    arm(s);
    EXPECT_EQ(write(m, "x", 1), 1);
    wait_count(1);
    EXPECT_EQ(got[0].si_code, POLL_IN);
    EXPECT_EQ(got[0].si_fd, s);
}

CASE(inotify)
{
    int fd = EXPECT_OK(inotify_init());
    EXPECT_OK(inotify_add_watch(fd, test_dir(), IN_CREATE));
    arm(fd);
    close(open(test_path("new"), O_CREAT | O_WRONLY, 0600));
    expect_input(fd, SIGRTMIN);
}

/* What cannot signal keeps the flag, but for the ioctl. */
CASE(eventfd_has_none)
{
    int fd = EXPECT_OK(eventfd(0, EFD_NONBLOCK)), on = 1;
    uint64_t one = 1;
    arm(fd);
    EXPECT_EQ(write(fd, &one, 8), 8);
    usleep(20000);
    EXPECT_EQ(count, 0);
    EXPECT_OK(fcntl(fd, F_SETFL, O_NONBLOCK));
    EXPECT_ERRNO(ENOTTY, ioctl(fd, FIOASYNC, &on));
}

CASE(by_ioctl)
{
    int p[2], on = 1, off = 0;
    EXPECT_OK(pipe(p));
    arm(p[0]);
    EXPECT_OK(ioctl(p[0], FIOASYNC, &off));
    EXPECT_EQ(fcntl(p[0], F_GETFL) & O_ASYNC, 0);
    EXPECT_EQ(write(p[1], "x", 1), 1);
    EXPECT_EQ(count, 0);
    EXPECT_OK(ioctl(p[0], FIOASYNC, &on));
    EXPECT_EQ(write(p[1], "x", 1), 1);
    expect_input(p[0], SIGRTMIN);
    EXPECT_ERRNO(EFAULT, ioctl(p[0], FIOASYNC, 8));
}

CASE(code_of_signals_with_codes_of_their_own)
{
    int p[2];
    EXPECT_OK(pipe(p));
    arm(p[0]);
    catch (SIGCHLD);
    EXPECT_OK(fcntl(p[0], F_SETSIG, SIGCHLD));
    EXPECT_EQ(write(p[1], "x", 1), 1);
    wait_count(1);
    EXPECT_EQ(got[0].si_signo, SIGCHLD);
    EXPECT_EQ(got[0].si_code, SI_SIGIO);
}

CASE(descriptor_of_the_last_setfl)
{
    int p[2];
    EXPECT_OK(pipe(p));
    int d = dup(p[0]);
    arm(d);
    EXPECT_OK(close(d));
    EXPECT_EQ(write(p[1], "x", 1), 1);
    expect_input(d, SIGRTMIN);
}

CASE(closing_ends_it)
{
    int p[2];
    EXPECT_OK(pipe(p));
    int s[2];
    EXPECT_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    arm(s[0]);
    EXPECT_OK(close(s[0]));
    count = 0;
    EXPECT_EQ(write(s[1], "x", 1), -1);
    EXPECT_EQ(count, 0);
}

CASE(another_process)
{
    int p[2];
    EXPECT_OK(pipe(p));
    arm(p[0]);
    EXPECT_EXITED(FORK({ EXPECT_EQ(write(p[1], "x", 1), 1); }), 0);
    expect_input(p[0], SIGRTMIN);
}

/* Told before the writer goes to sleep in the same call. */
CASE(writer_that_blocks)
{
    int p[2];
    static char data[1 << 18];
    EXPECT_OK(pipe(p));
    arm(p[0]);
    pid_t w = FORK({ EXPECT_EQ(write(p[1], data, sizeof(data)), sizeof(data)); });
    wait_count(1);
    EXPECT_OK(close(p[1]));
    EXPECT_OK(fcntl(p[0], F_SETFL, 0));
    for (size_t n = 0; n < sizeof(data);) {
        ssize_t r = read(p[0], data, sizeof(data));
        EXPECT(r > 0);
        n += (size_t)r;
    }
    EXPECT_EXITED(w, 0);
}

CASE(process_group)
{
    int p[2], ready[2];
    char c;
    EXPECT_OK(pipe(p));
    EXPECT_OK(pipe(ready));
    pid_t child[2];
    for (int i = 0; i < 2; i++)
        child[i] = FORK({
            catch (SIGIO);
            EXPECT_EQ(write(ready[1], "r", 1), 1);
            wait_count(1);
        });
    for (int i = 0; i < 2; i++)
        EXPECT_EQ(read(ready[0], &c, 1), 1);
    catch (SIGIO);
    EXPECT_OK(fcntl(p[0], F_SETOWN, -getpgrp()));
    add_flags(p[0], O_ASYNC);
    EXPECT_EQ(write(p[1], "x", 1), 1);
    EXPECT_EQ(count, 1);
    EXPECT_EXITED(child[0], 0);
    EXPECT_EXITED(child[1], 0);
}

static pthread_barrier_t barrier;
static volatile pid_t thread_id, handled_by;
static void on_thread_signal(TEST_UNUSED int sig)
{
    handled_by = (pid_t)syscall(SYS_gettid);
}

static void *thread(void *arg)
{
    thread_id = (pid_t)syscall(SYS_gettid);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 2000 && !handled_by; i++)
        usleep(1000);
    return arg;
}

CASE(one_thread)
{
    int p[2];
    pthread_t t;
    EXPECT_OK(pipe(p));
    signal(SIGIO, on_thread_signal);
    pthread_barrier_init(&barrier, NULL, 2);
    EXPECT_EQ(pthread_create(&t, NULL, thread, NULL), 0);
    pthread_barrier_wait(&barrier);
    struct f_owner_ex ex = {F_OWNER_TID, thread_id};
    EXPECT_OK(fcntl(p[0], F_SETOWN_EX, &ex));
    add_flags(p[0], O_ASYNC);
    EXPECT_EQ(write(p[1], "x", 1), 1);
    EXPECT_EQ(pthread_join(t, NULL), 0);
    EXPECT_EQ(handled_by, thread_id);
}

/* The owner was set by somebody who may not signal that process. */
CASE(permission)
{
    if (geteuid() != 0)
        SKIP("needs to change its user");
    int p[2];
    EXPECT_OK(pipe(p));
    catch (SIGIO);
    pid_t parent = getpid();
    EXPECT_EXITED(FORK({
                      EXPECT_OK(setresuid(1000, 1000, 1000));
                      EXPECT_OK(fcntl(p[0], F_SETOWN, parent));
                      add_flags(p[0], O_ASYNC);
                  }),
                  0);
    EXPECT_EQ(write(p[1], "x", 1), 1);
    usleep(10000);
    EXPECT_EQ(count, 0);
    EXPECT_OK(fcntl(p[0], F_SETOWN, parent));
    EXPECT_EQ(write(p[1], "x", 1), 1);
    EXPECT_EQ(count, 1);
}

static void *churn(void *arg)
{
    int *s = arg;
    for (int i = 0; i < 3000; i++) {
        int flags = fcntl(s[0], F_GETFL);
        fcntl(s[0], F_SETFL, i & 1 ? flags | O_ASYNC : flags & ~O_ASYNC);
    }
    return NULL;
}

CASE(turning_it_on_and_off_while_data_comes)
{
    int s[2];
    char c;
    pthread_t t;
    EXPECT_OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
    arm(s[0]);
    EXPECT_EQ(pthread_create(&t, NULL, churn, s), 0);
    for (int i = 0; i < 3000; i++) {
        EXPECT_EQ(write(s[1], "x", 1), 1);
        EXPECT_EQ(read(s[0], &c, 1), 1);
    }
    EXPECT_EQ(pthread_join(t, NULL), 0);
}

TEST_MAIN
