/*
 * ptrace(2): attaching, events, group stops, threads, tracers that go.
 */
#include "tests/syscalls/ptrace.h"
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <time.h>

static void go(pid_t pid, int sig)
{
    EXPECT_OK(trace(PTRACE_CONT, pid, 0, (unsigned long)sig));
}

static void options(pid_t pid, unsigned long which)
{
    EXPECT_OK(trace(PTRACE_SETOPTIONS, pid, 0, which));
}

static bool state_is(pid_t pid, char state)
{
    return status_of(pid, "State")[0] == state;
}

static void until_state(pid_t pid, char state)
{
    for (int i = 0; i < 1000 && !state_is(pid, state); i++)
        usleep(5000);
    EXPECT(state_is(pid, state));
}

/* ---- attaching ---- */

CASE(attach)
{
    int fds[2];
    char c;
    EXPECT_OK(pipe(fds));
    pid_t child = FORK({ _exit(read(fds[0], &c, 1) == 1 ? 7 : 1); });
    until_state(child, 'S');
    EXPECT_OK(trace(PTRACE_ATTACH, child, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGSTOP));
    EXPECT_OK(trace(PTRACE_DETACH, child, 0, 0));
    EXPECT_EQ(atoi(status_of(child, "TracerPid")), 0);
    EXPECT_EQ(write(fds[1], "x", 1), 1);
    EXPECT_EXITED(child, 7);
}

CASE(seize_and_interrupt)
{
    int fds[2];
    char c;
    EXPECT_OK(pipe(fds));
    pid_t child = FORK({ _exit(read(fds[0], &c, 1) == 1 ? 7 : 1); });
    until_state(child, 'S');
    EXPECT_OK(trace(PTRACE_SEIZE, child, 0, PTRACE_O_TRACESYSGOOD));
    EXPECT_EQ(waitpid(child, NULL, WNOHANG), 0);
    for (int i = 0; i < 5; i++) {
        EXPECT_OK(trace(PTRACE_INTERRUPT, child, 0, 0));
        EXPECT_STOP(child, STOPPED_AT(PTRACE_EVENT_STOP));
        go(child, 0);
    }
    EXPECT_EQ(write(fds[1], "x", 1), 1);
    EXPECT_EXITED(child, 7);
}

/* INTERRUPT is for those that were seized. */
CASE(interrupt_attached)
{
    pid_t child = TRACED({});
    EXPECT_ERRNO(EIO, trace(PTRACE_INTERRUPT, child, 0, 0));
    EXPECT_ERRNO(EIO, trace(PTRACE_LISTEN, child, 0, 0));
    go(child, 0);
    EXPECT_EQ(wait_all(child), 0);
}

CASE(spinning)
{
    pid_t child = FORK({
        for (;;)
            __asm__ volatile("");
    });
    for (int i = 0; i < 10; i++) {
        EXPECT_OK(trace(PTRACE_ATTACH, child, 0, 0));
        EXPECT_STOP(child, STOPPED_BY(SIGSTOP));
        EXPECT_OK(trace(PTRACE_DETACH, child, 0, 0));
    }
    kill(child, SIGKILL);
    EXPECT_KILLED(child, SIGKILL);
}

CASE(detach_with_signal)
{
    pid_t child = TRACED({ pause(); });
    EXPECT_OK(trace(PTRACE_DETACH, child, 0, SIGTERM));
    EXPECT_KILLED(child, SIGTERM);
}

/* What a sleeping task waits in. */
CASE(proc_syscall)
{
    char path[64], text[256] = {0}, want[64];
    int fds[2];
    EXPECT_OK(pipe(fds));
    pid_t child = FORK({
        char buf[77];
        EXPECT_EQ(read(fds[0], buf, sizeof(buf)), 0);
    });
    until_state(child, 'S');
    snprintf(path, sizeof(path), "/proc/%d/syscall", (int)child);
    int fd = EXPECT_OK(open(path, O_RDONLY));
    EXPECT_GT(read(fd, text, sizeof(text) - 1), 0);
    snprintf(want, sizeof(want), "%d 0x%x 0x", SYS_read, fds[0]);
    EXPECT_EQ(strncmp(text, want, strlen(want)), 0);
    EXPECT(strstr(text, " 0x4d 0x") != NULL);
    close(fd);
    fd = EXPECT_OK(open("/proc/self/syscall", O_RDONLY));
    memset(text, 0, sizeof(text));
    EXPECT_GT(read(fd, text, sizeof(text) - 1), 0);
    snprintf(want, sizeof(want), "%d 0x%x 0x", SYS_read, fd);
    EXPECT_EQ(strncmp(text, want, strlen(want)), 0);
    kill(child, SIGKILL);
}

/* ---- somebody else's child ---- */

CASE(grandchild)
{
    int pids[2], status_pipe[2];
    EXPECT_OK(pipe(pids));
    EXPECT_OK(pipe(status_pipe));
    pid_t parent = FORK({
        pid_t p = FORK({
            pause();
            _exit(0);
        });
        EXPECT_EQ(write(pids[1], &p, sizeof(p)), sizeof(p));
        int status = test_wait(p);
        EXPECT_EQ(write(status_pipe[1], &status, sizeof(status)), sizeof(status));
    });
    pid_t grandchild;
    EXPECT_EQ(read(pids[0], &grandchild, sizeof(grandchild)), sizeof(grandchild));
    EXPECT_ERRNO(ECHILD, waitpid(grandchild, NULL, WNOHANG));
    EXPECT_OK(trace(PTRACE_ATTACH, grandchild, 0, 0));
    EXPECT_STOP(grandchild, STOPPED_BY(SIGSTOP));
    go(grandchild, 0);
    kill(grandchild, SIGTERM);
    EXPECT_STOP(grandchild, STOPPED_BY(SIGTERM));
    go(grandchild, SIGTERM);
    until_state(grandchild, 'Z');
    /* The tracer first. */
    int fl = fcntl(status_pipe[0], F_GETFL), status;
    EXPECT_OK(fcntl(status_pipe[0], F_SETFL, fl | O_NONBLOCK));
    usleep(30000);
    EXPECT_ERRNO(EAGAIN, read(status_pipe[0], &status, sizeof(status)));
    EXPECT_OK(fcntl(status_pipe[0], F_SETFL, fl));
    EXPECT_KILLED(grandchild, SIGTERM);
    EXPECT_EQ(read(status_pipe[0], &status, sizeof(status)), sizeof(status));
    EXPECT_EQ(status, SIGTERM);
    EXPECT_EXITED(parent, 0);
    EXPECT_ERRNO(ECHILD, waitpid(grandchild, NULL, WNOHANG));
}

/* ---- events ---- */

CASE(fork_event)
{
    pid_t child = TRACED({
        pid_t p = fork();
        if (p == 0)
            _exit(3);
        EXPECT_EXITED(p, 3);
    });
    options(child, PTRACE_O_TRACEFORK);
    go(child, 0);
    EXPECT_STOP(child, STOPPED_AT(PTRACE_EVENT_FORK));
    pid_t grandchild = (pid_t)event_message(child);
    EXPECT_STOP(grandchild, STOPPED_BY(SIGSTOP));
    EXPECT_EQ(atoi(status_of(grandchild, "TracerPid")), getpid());
    siginfo_t info;
    EXPECT_OK(trace(PTRACE_GETSIGINFO, child, 0, P(&info)));
    EXPECT_EQ(info.si_code, SIGTRAP | PTRACE_EVENT_FORK << 8);
    go(child, 0);
    go(grandchild, 0);
    EXPECT_EQ(wait_all(grandchild), 3 << 8);
    EXPECT_STOP(child, STOPPED_BY(SIGCHLD));
    go(child, SIGCHLD);
    EXPECT_EQ(wait_all(child), 0);
}

CASE(vfork_events)
{
    pid_t child = TRACED({
        pid_t p = vfork();
        if (p == 0)
            _exit(3);
        EXPECT_EXITED(p, 3);
    });
    EXPECT_OK(trace(PTRACE_DETACH, child, 0, SIGSTOP));
    until_state(child, 'T');
    EXPECT_OK(trace(PTRACE_SEIZE, child, 0, PTRACE_O_TRACEVFORK | PTRACE_O_TRACEVFORKDONE));
    EXPECT_STOP(child, (SIGSTOP | PTRACE_EVENT_STOP << 8) << 8 | 0x7f);
    kill(child, SIGCONT);
    go(child, 0);
    EXPECT_STOP(child, STOPPED_AT(PTRACE_EVENT_STOP));
    go(child, 0);
    EXPECT_STOP(child, STOPPED_BY(SIGCONT));
    go(child, 0);
    EXPECT_STOP(child, STOPPED_AT(PTRACE_EVENT_VFORK));
    pid_t grandchild = (pid_t)event_message(child);
    EXPECT_STOP(grandchild, STOPPED_AT(PTRACE_EVENT_STOP));
    go(child, 0);
    usleep(10000);
    EXPECT_EQ(waitpid(child, NULL, WNOHANG), 0);
    go(grandchild, 0);
    EXPECT_EQ(wait_all(grandchild), 3 << 8);
    EXPECT_STOP(child, STOPPED_AT(PTRACE_EVENT_VFORK_DONE));
    EXPECT_EQ(event_message(child), grandchild);
    go(child, 0);
    EXPECT_STOP(child, STOPPED_BY(SIGCHLD));
    go(child, 0);
    EXPECT_EQ(wait_all(child), 0);
}

/* The tracer hears of numbers as its own namespace has them. */
CASE(pid_namespace)
{
    if (geteuid() != 0)
        SKIP("needs root");
    pid_t child = TRACED({
        long p = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
        if (p < 0)
            _exit(TEST_STATUS_SKIPPED);
        if (p == 0) {
            pid_t q = vfork();
            if (q == 0)
                _exit(4);
            _exit(getpid() == 1 && q == 2 ? 3 : 1);
        }
        EXPECT_EXITED((pid_t)p, 3);
    });
    options(child, PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACEVFORKDONE);
    go(child, 0);
    int status = wait_all(child);
    if (status == TEST_STATUS_SKIPPED << 8)
        SKIP("no pid namespaces");
    EXPECT_EQ(status, STOPPED_AT(PTRACE_EVENT_FORK));
    pid_t init = (pid_t)event_message(child);
    EXPECT_STOP(init, STOPPED_BY(SIGSTOP));
    go(child, 0);
    go(init, 0);
    EXPECT_STOP(init, STOPPED_AT(PTRACE_EVENT_VFORK));
    pid_t second = (pid_t)event_message(init);
    EXPECT_NE(second, 2);
    EXPECT_STOP(second, STOPPED_BY(SIGSTOP));
    go(init, 0);
    go(second, 0);
    EXPECT_EQ(wait_all(second), 4 << 8);
    EXPECT_STOP(init, STOPPED_AT(PTRACE_EVENT_VFORK_DONE));
    EXPECT_EQ(event_message(init), second);
    EXPECT_OK(trace(PTRACE_DETACH, init, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGCHLD));
    go(child, 0);
    EXPECT_EQ(wait_all(child), 0);
}

static void *thread_body(TEST_UNUSED void *arg)
{
    return NULL;
}

/* Threads are waited for one by one; the first only when all others are gone. */
CASE(threads)
{
    int p[2];
    char byte;
    EXPECT_OK(pipe(p));
    pid_t child = TRACED({
        pthread_t thread;
        pthread_create(&thread, NULL, thread_body, NULL);
        pthread_join(thread, NULL);
        _exit(read(p[0], &byte, 1) == 1 ? 5 : 1); /* not while the thread is on its way out */
    });
    options(child, PTRACE_O_TRACECLONE);
    go(child, 0);
    EXPECT_STOP(child, STOPPED_AT(PTRACE_EVENT_CLONE));
    pid_t tid = (pid_t)event_message(child);
    EXPECT_STOP(tid, STOPPED_BY(SIGSTOP));
    go(child, 0);
    go(tid, 0);
    EXPECT_EQ(wait_all(tid), 0);
    EXPECT_EQ(write(p[1], "", 1), 1);
    EXPECT_EQ(wait_all(child), 5 << 8);
    EXPECT_ERRNO(ECHILD, waitpid(tid, NULL, __WALL));
}

CASE(exec_event)
{
    char self[512];
    ssize_t n = EXPECT_OK(readlink("/proc/self/exe", self, sizeof(self) - 1));
    self[n] = '\0';
    pid_t child = TRACED({
        execl(self, self, "--list", NULL);
        _exit(9);
    });
    options(child, PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD);
    go(child, 0);
    EXPECT_STOP(child, STOPPED_AT(PTRACE_EVENT_EXEC));
    EXPECT_EQ(event_message(child), child);
    EXPECT_OK(trace(PTRACE_SYSCALL, child, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGTRAP | 0x80));
    struct user_regs_struct regs = get_regs(child);
    EXPECT_EQ(regs.orig_rax, SYS_execve);
    EXPECT_EQ(regs.rax, 0);
    EXPECT_OK(trace(PTRACE_KILL, child, 0, 0));
    EXPECT_KILLED(child, SIGKILL);
}

/* Without the option a SIGTRAP tells of it. */
CASE(exec_without_event)
{
    char self[512];
    ssize_t n = EXPECT_OK(readlink("/proc/self/exe", self, sizeof(self) - 1));
    self[n] = '\0';
    pid_t child = TRACED({
        execl(self, self, "--no-fork", "nothing", NULL);
        _exit(9);
    });
    go(child, 0);
    EXPECT_STOP(child, STOPPED_BY(SIGTRAP));
    siginfo_t info;
    EXPECT_OK(trace(PTRACE_GETSIGINFO, child, 0, P(&info)));
    EXPECT_EQ(info.si_code, SI_USER);
    go(child, 0);
    EXPECT_EQ(wait_all(child), 0);
}

CASE(nothing)
{
}

static char exec_path[512];
static void *thread_that_execs(TEST_UNUSED void *arg)
{
    execl(exec_path, exec_path, "--no-fork", "nothing", NULL);
    _exit(9);
}

/* A thread that is not the first takes over the first one's number. */
CASE(exec_by_thread)
{
    ssize_t n = EXPECT_OK(readlink("/proc/self/exe", exec_path, sizeof(exec_path) - 1));
    exec_path[n] = '\0';
    pid_t child = TRACED({
        pthread_t thread;
        pthread_create(&thread, NULL, thread_that_execs, NULL);
        for (;;)
            pause();
    });
    options(child, PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC);
    go(child, 0);
    EXPECT_STOP(child, STOPPED_AT(PTRACE_EVENT_CLONE));
    pid_t tid = (pid_t)event_message(child);
    EXPECT_STOP(tid, STOPPED_BY(SIGSTOP));
    go(child, 0);
    go(tid, 0);
    EXPECT_STOP(child, STOPPED_AT(PTRACE_EVENT_EXEC));
    EXPECT_EQ(event_message(child), tid);
    EXPECT_ERRNO(ECHILD, waitpid(tid, NULL, __WALL | WNOHANG));
    go(child, 0);
    EXPECT_EQ(wait_all(child), 0);
}

CASE(exit_event)
{
    pid_t child = TRACED({ _exit(6); });
    options(child, PTRACE_O_TRACEEXIT);
    go(child, 0);
    EXPECT_STOP(child, STOPPED_AT(PTRACE_EVENT_EXIT));
    EXPECT_EQ(event_message(child), 6 << 8);
    EXPECT_GT(get_regs(child).rip, 0);
    go(child, 0);
    EXPECT_EQ(wait_all(child), 6 << 8);
    child = TRACED({ pause(); });
    options(child, PTRACE_O_TRACEEXIT);
    go(child, 0);
    kill(child, SIGTERM);
    EXPECT_STOP(child, STOPPED_BY(SIGTERM));
    go(child, SIGTERM);
    EXPECT_STOP(child, STOPPED_AT(PTRACE_EVENT_EXIT));
    EXPECT_EQ(event_message(child), SIGTERM);
    go(child, 0);
    EXPECT_EQ(wait_all(child), SIGTERM);
}

/* ---- stopping the process ---- */

CASE(group_stop)
{
    pid_t child = TRACED({ raise(SIGTSTP); });
    signal(SIGCHLD, SIG_DFL);
    go(child, SIGSTOP);
    EXPECT_STOP(child, STOPPED_BY(SIGSTOP));
    siginfo_t info;
    EXPECT_ERRNO(EINVAL, trace(PTRACE_GETSIGINFO, child, 0, P(&info)));
    /* CONT makes it run, stopped or not. */
    go(child, 0);
    EXPECT_STOP(child, STOPPED_BY(SIGTSTP));
    EXPECT_OK(trace(PTRACE_GETSIGINFO, child, 0, P(&info)));
    go(child, 0);
    EXPECT_EQ(wait_all(child), 0);
}

CASE(listen)
{
    pid_t child = FORK({ pause(); });
    EXPECT_OK(trace(PTRACE_SEIZE, child, 0, 0));
    kill(child, SIGSTOP);
    EXPECT_STOP(child, STOPPED_BY(SIGSTOP));
    EXPECT_ERRNO(EIO, trace(PTRACE_LISTEN, child, 0, 0));
    go(child, SIGSTOP);
    EXPECT_STOP(child, (SIGSTOP | PTRACE_EVENT_STOP << 8) << 8 | 0x7f);
    EXPECT_OK(trace(PTRACE_LISTEN, child, 0, 0));
    /* It is stopped, but not for requests. */
    EXPECT_ERRNO(ESRCH, trace(PTRACE_CONT, child, 0, 0));
    EXPECT_EQ(waitpid(child, NULL, WNOHANG), 0);
    EXPECT_OK(trace(PTRACE_INTERRUPT, child, 0, 0));
    EXPECT_STOP(child, (SIGSTOP | PTRACE_EVENT_STOP << 8) << 8 | 0x7f);
    EXPECT_OK(trace(PTRACE_LISTEN, child, 0, 0));
    kill(child, SIGCONT);
    EXPECT_STOP(child, STOPPED_AT(PTRACE_EVENT_STOP));
    go(child, 0);
    EXPECT_STOP(child, STOPPED_BY(SIGCONT));
    go(child, 0);
    kill(child, SIGKILL);
    EXPECT_KILLED(child, SIGKILL);
}

CASE(attach_stopped)
{
    pid_t child = FORK({ pause(); });
    kill(child, SIGSTOP);
    int status;
    EXPECT_EQ(waitpid(child, &status, WUNTRACED), child);
    EXPECT_EQ(status, STOPPED_BY(SIGSTOP));
    EXPECT_OK(trace(PTRACE_ATTACH, child, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGSTOP));
    EXPECT_OK(trace(PTRACE_DETACH, child, 0, 0));
    until_state(child, 'T');
    kill(child, SIGCONT);
    until_state(child, 'S');
    kill(child, SIGKILL);
    EXPECT_KILLED(child, SIGKILL);
}

/* ---- tracers that go ---- */

CASE(tracer_dies)
{
    int fds[2];
    char c;
    EXPECT_OK(pipe(fds));
    pid_t child = FORK({ _exit(read(fds[0], &c, 1) == 1 ? 8 : 1); });
    pid_t tracer = FORK({
        EXPECT_OK(trace(PTRACE_ATTACH, child, 0, 0));
        EXPECT_STOP(child, STOPPED_BY(SIGSTOP));
    });
    EXPECT_EXITED(tracer, 0);
    EXPECT_EQ(atoi(status_of(child, "TracerPid")), 0);
    EXPECT_EQ(write(fds[1], "x", 1), 1);
    EXPECT_EXITED(child, 8);
}

CASE(exit_kill)
{
    pid_t child = FORK({ pause(); });
    pid_t tracer = FORK({ EXPECT_OK(trace(PTRACE_SEIZE, child, 0, PTRACE_O_EXITKILL)); });
    EXPECT_EXITED(tracer, 0);
    EXPECT_KILLED(child, SIGKILL);
}

/* A zombie that the tracer did not wait for is its parent's again. */
CASE(tracer_dies_before_zombie)
{
    pid_t child = FORK({ pause(); });
    pid_t tracer = FORK({
        EXPECT_OK(trace(PTRACE_SEIZE, child, 0, 0));
        kill(child, SIGKILL);
        until_state(child, 'Z');
    });
    EXPECT_EXITED(tracer, 0);
    EXPECT_KILLED(child, SIGKILL);
}

/* ---- seccomp ---- */

static void trace_call(int nr, int data)
{
    struct sock_filter insns[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)nr, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE | (unsigned)data),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {.len = 4, .filter = insns};
    EXPECT_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    EXPECT_OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
}

CASE(seccomp_event)
{
    pid_t child = TRACED({
        trace_call(SYS_getppid, 77);
        EXPECT_EQ(syscall(SYS_getppid), getpgid(0) ? getppid() : 0);
        EXPECT_EQ(syscall(SYS_getppid), 1234);
        EXPECT_EQ(syscall(SYS_getppid), getpid());
    });
    options(child, PTRACE_O_TRACESECCOMP);
    go(child, 0);
    for (int i = 0; i < 2; i++) {
        EXPECT_STOP(child, STOPPED_AT(PTRACE_EVENT_SECCOMP));
        EXPECT_EQ(event_message(child), 77);
        struct user_regs_struct regs = get_regs(child);
        EXPECT_EQ(regs.orig_rax, SYS_getppid);
        struct ptrace_syscall_info si;
        EXPECT_EQ(trace(PTRACE_GET_SYSCALL_INFO, child, sizeof(si), P(&si)), 84);
        EXPECT_EQ(si.op, PTRACE_SYSCALL_INFO_SECCOMP);
        EXPECT_EQ(si.seccomp.ret_data, 77);
        EXPECT_EQ(si.seccomp.nr, SYS_getppid);
        go(child, 0);
    }
    EXPECT_STOP(child, STOPPED_AT(PTRACE_EVENT_SECCOMP));
    struct user_regs_struct regs = get_regs(child);
    regs.orig_rax = -1ul;
    regs.rax = 1234;
    EXPECT_OK(trace(PTRACE_SETREGS, child, 0, P(&regs)));
    go(child, 0);
    EXPECT_STOP(child, STOPPED_AT(PTRACE_EVENT_SECCOMP));
    regs = get_regs(child);
    regs.orig_rax = SYS_getpid;
    EXPECT_OK(trace(PTRACE_SETREGS, child, 0, P(&regs)));
    /* On to the exit of the call. */
    EXPECT_OK(trace(PTRACE_SYSCALL, child, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGTRAP));
    EXPECT_EQ(get_regs(child).rax, child);
    go(child, 0);
    EXPECT_EQ(wait_all(child), 0);
}

CASE(seccomp_event_unwanted)
{
    pid_t child = TRACED({
        trace_call(SYS_getppid, 1);
        EXPECT_ERRNO(ENOSYS, syscall(SYS_getppid));
    });
    go(child, 0);
    EXPECT_EQ(wait_all(child), 0);
}

/* ---- many at once ---- */

static void *busy(void *arg)
{
    _Atomic bool *over = arg;
    while (!*over)
        syscall(SYS_getppid);
    return NULL;
}

static _Atomic bool busy_over;

/* Threads of a process are attached to, stopped and let go while they make system calls. */
CASE(attach_threads)
{
    int tids[2];
    EXPECT_OK(pipe(tids));
    pid_t child = FORK({
        pthread_t threads[3];
        for (int i = 0; i < 3; i++)
            pthread_create(&threads[i], NULL, busy, &busy_over);
        pid_t pid = getpid();
        EXPECT_EQ(write(tids[1], &pid, sizeof(pid)), sizeof(pid));
        pause();
    });
    pid_t pid;
    EXPECT_EQ(read(tids[0], &pid, sizeof(pid)), sizeof(pid));
    for (int round = 0; round < 10; round++) {
        for (pid_t tid = child; tid <= child + 3; tid++) {
            if (trace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACESYSGOOD) < 0)
                continue;
            EXPECT_OK(trace(PTRACE_INTERRUPT, tid, 0, 0));
            EXPECT_STOP(tid, STOPPED_AT(PTRACE_EVENT_STOP));
            if (tid != child) {
                EXPECT_OK(trace(PTRACE_SYSCALL, tid, 0, 0));
                EXPECT_STOP(tid, STOPPED_BY(SIGTRAP | 0x80));
            }
            EXPECT_OK(trace(PTRACE_DETACH, tid, 0, 0));
        }
    }
    kill(child, SIGKILL);
    EXPECT_KILLED(child, SIGKILL);
}

TEST_MAIN
