/*
 * Pid namespaces: pid_namespaces(7).
 */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <linux/reboot.h>
#include <linux/sched.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/socket.h>

static void need_root(void)
{
    if (geteuid() != 0)
        SKIP("needs root");
}

/* A child that is process 1 of a new namespace runs fn. Its pid here. */
static pid_t start_init(void (*fn)(void))
{
    pid_t pid = (pid_t)EXPECT_OK(syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0));
    if (pid == 0) {
        fn();
        _exit(0);
    }
    return pid;
}

static int finish(pid_t pid)
{
    int status;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    return status;
}

static pid_t raw_getpid(void)
{
    return (pid_t)syscall(SYS_getpid);
}

static void look_at_numbers(void)
{
    EXPECT_EQ(raw_getpid(), 1);
    EXPECT_EQ(syscall(SYS_gettid), 1);
    EXPECT_EQ(getppid(), 0);
    EXPECT_EQ(getpgrp(), 0);
    EXPECT_EQ(getsid(0), 0);
    pid_t pid = EXPECT_OK(fork());
    if (pid == 0) {
        EXPECT_EQ(raw_getpid(), 2);
        EXPECT_EQ(getppid(), 1);
        EXPECT_EQ(setsid(), 2);
        EXPECT_EQ(getpgrp(), 2);
        _exit(7);
    }
    EXPECT_EQ(pid, 2);
    EXPECT_EQ(finish(2), 7 << 8);
}

CASE(numbers)
{
    need_root();
    pid_t pid = start_init(look_at_numbers);
    EXPECT_GT(pid, 1);
    EXPECT_EQ(finish(pid), 0);
}

static void look_outside(void)
{
    pid_t outer = 0;
    int fd = EXPECT_OK(open("/proc/self/status", O_RDONLY));
    char text[4096];
    ssize_t n = EXPECT_OK(read(fd, text, sizeof(text) - 1));
    text[n] = 0;
    const char *line = strstr(text, "\nPid:\t");
    EXPECT(line);
    outer = atoi(line + 6); /* this /proc is of the namespace above */
    EXPECT_GT(outer, 1);
    line = strstr(text, "\nNSpid:\t");
    EXPECT(line);
    int a, b;
    EXPECT_EQ(sscanf(line, "\nNSpid:\t%d\t%d", &a, &b), 2);
    EXPECT_EQ(a, outer);
    EXPECT_EQ(b, 1);
    EXPECT_ERRNO(ESRCH, kill(outer, 0));
    EXPECT_ERRNO(ESRCH, getpgid(outer));
    EXPECT_EQ(sched_getscheduler(1), SCHED_OTHER);
}

CASE(outer_numbers_mean_nothing_inside)
{
    need_root();
    EXPECT_EQ(finish(start_init(look_outside)), 0);
}

static void mount_proc(void)
{
    EXPECT_OK(unshare(CLONE_NEWNS));
    EXPECT_OK(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
    EXPECT_OK(mount("proc", "/proc", "proc", 0, NULL));
    char text[64];
    ssize_t n = EXPECT_OK(readlink("/proc/self", text, sizeof(text) - 1));
    text[n] = 0;
    EXPECT_STREQ(text, "1");
    struct stat st;
    EXPECT_OK(stat("/proc/1/status", &st));
    EXPECT_ERRNO(ENOENT, stat("/proc/2", &st));
    pid_t pid = EXPECT_OK(fork());
    if (pid == 0)
        _exit(stat("/proc/2/status", &st));
    EXPECT_EQ(finish(pid), 0);
}

CASE(proc_shows_its_own)
{
    need_root();
    EXPECT_EQ(finish(start_init(mount_proc)), 0);
}

/* unshare: the first child is process 1; a second one is in the same namespace. */
CASE(unshare_is_for_children)
{
    need_root();
    pid_t me = getpid();
    EXPECT_OK(unshare(CLONE_NEWPID));
    EXPECT_EQ(raw_getpid(), me);
    EXPECT_ERRNO(ENOENT, open("/proc/self/ns/pid_for_children", O_RDONLY));
    EXPECT_ERRNO(EINVAL, syscall(SYS_clone, CLONE_THREAD | CLONE_SIGHAND | CLONE_VM, 0, 0, 0, 0));
    int go[2];
    char c;
    EXPECT_OK(pipe(go));
    pid_t first = EXPECT_OK(fork());
    if (first == 0) {
        EXPECT_EQ(raw_getpid(), 1);
        EXPECT_EQ(getppid(), 0);
        close(go[1]);
        _exit(read(go[0], &c, 1) != 0);
    }
    char a[64], b[64];
    ssize_t n = EXPECT_OK(readlink("/proc/self/ns/pid_for_children", a, sizeof(a)));
    ssize_t m = EXPECT_OK(readlink("/proc/self/ns/pid", b, sizeof(b)));
    EXPECT(n != m || memcmp(a, b, (size_t)n) != 0);
    pid_t second = EXPECT_OK(fork());
    if (second == 0)
        _exit(raw_getpid() != 2 || getppid() != 0);
    EXPECT_EQ(finish(second), 0);
    close(go[1]);
    EXPECT_EQ(finish(first), 0);
    /* Process 1 is gone, and with it the namespace. */
    EXPECT_ERRNO(ENOMEM, fork());
    EXPECT_ERRNO(EINVAL, unshare(CLONE_NEWPID));
}

static void ignore_what_has_no_handler(void)
{
    EXPECT_OK(kill(1, SIGTERM));
    EXPECT_OK(kill(1, SIGINT));
    EXPECT_OK(kill(1, SIGKILL));
    EXPECT_OK(kill(1, SIGSTOP));
    EXPECT_OK(raise(SIGUSR1));
    pid_t pid = EXPECT_OK(fork());
    if (pid == 0) {
        EXPECT_OK(kill(1, SIGKILL));
        EXPECT_OK(kill(1, SIGHUP));
        _exit(0);
    }
    EXPECT_EQ(finish(pid), 0);
    _exit(42);
}

CASE(init_is_spared_from_inside)
{
    need_root();
    EXPECT_EQ(finish(start_init(ignore_what_has_no_handler)), 42 << 8);
}

static void sleep_long(void)
{
    for (;;)
        pause();
}

CASE(init_can_be_killed_from_outside)
{
    need_root();
    pid_t pid = start_init(sleep_long);
    EXPECT_OK(kill(pid, SIGTERM));
    usleep(20000);
    EXPECT_EQ(waitpid(pid, NULL, WNOHANG), 0);
    EXPECT_OK(kill(pid, SIGKILL));
    EXPECT_EQ(finish(pid), SIGKILL);
}

static volatile sig_atomic_t got;
static void on_signal(int sig)
{
    got = sig;
}
static void take_a_signal(void)
{
    struct sigaction sa = {.sa_handler = on_signal};
    EXPECT_OK(sigaction(SIGTERM, &sa, NULL));
    EXPECT_OK(kill(1, SIGTERM));
    EXPECT_EQ(got, SIGTERM);
}

CASE(init_hears_what_it_handles)
{
    need_root();
    EXPECT_EQ(finish(start_init(take_a_signal)), 0);
}

static void crash(void)
{
    signal(SIGSEGV, SIG_DFL);
    *(volatile int *)8 = 1;
}

CASE(init_dies_of_its_faults)
{
    need_root();
    EXPECT_EQ(finish(start_init(crash)) & 0x7f, SIGSEGV);
}

static int tell[2];
static void leave_a_child(void)
{
    if (EXPECT_OK(fork()) == 0) {
        if (EXPECT_OK(fork()) == 0)
            sleep_long(); /* a grandchild: holds the pipe until it is killed */
        sleep_long();
    }
    usleep(20000);
}

CASE(all_die_with_init)
{
    need_root();
    char c;
    EXPECT_OK(pipe(tell));
    pid_t pid = start_init(leave_a_child);
    close(tell[1]);
    EXPECT_EQ(finish(pid), 0);
    /* Nobody has the other end any more: init's end waited for that. */
    EXPECT_OK(fcntl(tell[0], F_SETFL, O_NONBLOCK));
    EXPECT_EQ(read(tell[0], &c, 1), 0);
}

static void adopt(void)
{
    if (EXPECT_OK(fork()) == 0) {
        if (EXPECT_OK(fork()) == 0) {
            usleep(30000);
            _exit(getppid() == 1 ? 5 : 6);
        }
        _exit(0);
    }
    EXPECT_EQ(finish(2), 0);
    EXPECT_EQ(finish(3), 5 << 8);
}

CASE(init_adopts)
{
    need_root();
    EXPECT_EQ(finish(start_init(adopt)), 0);
}

static void kill_all(void)
{
    pid_t pids[3];
    for (int i = 0; i < 3; i++) {
        pids[i] = EXPECT_OK(fork());
        if (pids[i] == 0)
            sleep_long();
    }
    EXPECT_OK(kill(-1, SIGKILL));
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(finish(pids[i]), SIGKILL);
    EXPECT_ERRNO(ESRCH, kill(-1, SIGKILL));
}

CASE(kill_all_stays_inside)
{
    need_root();
    EXPECT_EQ(finish(start_init(kill_all)), 0);
}

static int pair[2];
static void send_credentials(void)
{
    EXPECT_EQ(write(pair[1], "x", 1), 1);
    char c;
    EXPECT_EQ(read(pair[1], &c, 1), 1);
}

CASE(credentials_are_translated)
{
    need_root();
    int on = 1;
    char c, control[CMSG_SPACE(sizeof(struct ucred))];
    struct iovec iov = {&c, 1};
    struct msghdr h = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof(control)};
    EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    EXPECT_OK(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)));
    pid_t pid = start_init(send_credentials);
    EXPECT_EQ(recvmsg(pair[0], &h, 0), 1);
    struct cmsghdr *cm = CMSG_FIRSTHDR(&h);
    EXPECT(cm);
    EXPECT_EQ(cm->cmsg_type, SCM_CREDENTIALS);
    struct ucred u;
    memcpy(&u, CMSG_DATA(cm), sizeof(u));
    EXPECT_EQ(u.pid, pid);
    EXPECT_EQ(write(pair[0], "x", 1), 1);
    EXPECT_EQ(finish(pid), 0);
}

static void look_at_sender(void)
{
    sigset_t set;
    siginfo_t info;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    EXPECT_EQ(write(pair[1], "x", 1), 1);
    EXPECT_EQ(sigwaitinfo(&set, &info), SIGUSR1);
    EXPECT_EQ(info.si_code, SI_USER);
    EXPECT_EQ(info.si_pid, 0);
}

CASE(a_sender_outside_has_no_number)
{
    need_root();
    char c;
    EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    pid_t pid = start_init(look_at_sender);
    EXPECT_EQ(read(pair[0], &c, 1), 1);
    EXPECT_OK(kill(pid, SIGUSR1));
    EXPECT_EQ(finish(pid), 0);
}

static void reboot_off(void)
{
    EXPECT_ERRNO(EINVAL, reboot(0x12345));
    reboot(RB_POWER_OFF);
    sleep_long();
}
static void reboot_again(void)
{
    if (EXPECT_OK(fork()) == 0) {
        reboot(RB_AUTOBOOT);
        sleep_long();
    }
    sleep_long();
}

CASE(reboot_ends_the_namespace)
{
    need_root();
    EXPECT_EQ(finish(start_init(reboot_off)), SIGINT);
    EXPECT_EQ(finish(start_init(reboot_again)), SIGHUP);
}

static long clone3_tid(pid_t *tids, size_t n, uint64_t flags)
{
    struct clone_args args = {
        .flags = flags, .exit_signal = SIGCHLD, .set_tid = (uintptr_t)tids, .set_tid_size = n};
    return syscall(SYS_clone3, &args, sizeof(args));
}

CASE(chosen_numbers)
{
    need_root();
    pid_t tids[3] = {1, 30000, 0};
    EXPECT_ERRNO(EINVAL, clone3_tid(tids, 0, 0));
    EXPECT_ERRNO(EINVAL, clone3_tid(tids, 3, CLONE_NEWPID));
    tids[0] = 2;
    EXPECT_ERRNO(EINVAL, clone3_tid(tids, 1, CLONE_NEWPID));
    tids[0] = 0;
    EXPECT_ERRNO(EINVAL, clone3_tid(tids, 1, 0));
    tids[0] = getpid();
    EXPECT_ERRNO(EEXIST, clone3_tid(tids, 1, 0));
    tids[0] = 1;
    long pid = EXPECT_OK(clone3_tid(tids, 2, CLONE_NEWPID));
    if (pid == 0)
        _exit(raw_getpid() != 1);
    EXPECT_EQ(pid, 30000);
    EXPECT_EQ(finish((pid_t)pid), 0);
    EXPECT_OK(setresuid(1000, 1000, 1000));
    tids[0] = 30000;
    EXPECT_ERRNO(EPERM, clone3_tid(tids, 1, 0));
}

static void nest(void)
{
    EXPECT_EQ(raw_getpid(), 1);
    static int depth;
    if (++depth == 5)
        return;
    pid_t pid = start_init(nest);
    EXPECT_EQ(pid, 2);
    EXPECT_EQ(finish(pid), 0);
}

CASE(nested)
{
    need_root();
    EXPECT_EQ(finish(start_init(nest)), 0);
}

static void sleep_after_word(void)
{
    EXPECT_EQ(write(pair[1], "x", 1), 1);
    sleep_long();
}

CASE(setns_is_for_children)
{
    need_root();
    char c, path[64];
    EXPECT_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    int own = EXPECT_OK(open("/proc/self/ns/pid", O_RDONLY));
    pid_t init = start_init(sleep_after_word);
    EXPECT_EQ(read(pair[0], &c, 1), 1);
    snprintf(path, sizeof(path), "/proc/%d/ns/pid", init);
    int fd = EXPECT_OK(open(path, O_RDONLY));
    pid_t me = getpid();
    EXPECT_OK(setns(fd, CLONE_NEWPID));
    EXPECT_EQ(raw_getpid(), me);
    pid_t child = EXPECT_OK(fork());
    if (child == 0) {
        /* Upwards there is no way. */
        EXPECT_EQ(raw_getpid(), 2);
        EXPECT_ERRNO(EINVAL, setns(own, CLONE_NEWPID));
        _exit(3);
    }
    EXPECT_EQ(finish(child), 3 << 8);
    EXPECT_OK(setns(own, CLONE_NEWPID));
    EXPECT_OK(kill(init, SIGKILL));
    EXPECT_EQ(finish(init), SIGKILL);
}

TEST_MAIN
