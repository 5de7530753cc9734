/*
 * ptrace(2): requests, memory, registers, signals, system calls.
 */
#include "tests/syscalls/ptrace.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <time.h>

static volatile long variable = 11;

/* ---- who may ---- */

CASE(errors)
{
    pid_t child = FORK({ pause(); });
    unsigned long word;
    EXPECT_ERRNO(ESRCH, trace(PTRACE_ATTACH, 0x7fffff, 0, 0));
    EXPECT_ERRNO(EPERM, trace(PTRACE_ATTACH, getpid(), 0, 0));
    EXPECT_ERRNO(ESRCH, trace(PTRACE_CONT, child, 0, 0));
    EXPECT_ERRNO(ESRCH, trace(PTRACE_PEEKDATA, child, P(&variable), P(&word)));
    EXPECT_ERRNO(ESRCH, trace(PTRACE_INTERRUPT, child, 0, 0));
    EXPECT_ERRNO(ESRCH, trace(12345, child, 0, 0));
    EXPECT_ERRNO(EIO, trace(PTRACE_SEIZE, child, 1, 0));
    EXPECT_ERRNO(EIO, trace(PTRACE_SEIZE, child, 0, 1ul << 40));
    EXPECT_OK(trace(PTRACE_SEIZE, child, 0, 0));
    EXPECT_ERRNO(EPERM, trace(PTRACE_SEIZE, child, 0, 0));
    EXPECT_ERRNO(EPERM, trace(PTRACE_ATTACH, child, 0, 0));
    /* It runs. */
    EXPECT_ERRNO(ESRCH, trace(PTRACE_CONT, child, 0, 0));
    EXPECT_ERRNO(ESRCH, trace(PTRACE_DETACH, child, 0, 0));
    EXPECT_ERRNO(ESRCH, trace(PTRACE_LISTEN, child, 0, 0));
    EXPECT_OK(trace(PTRACE_INTERRUPT, child, 0, 0));
    EXPECT_STOP(child, STOPPED_AT(PTRACE_EVENT_STOP));
    EXPECT_ERRNO(EIO, trace(12345, child, 0, 0));
    EXPECT_ERRNO(EIO, trace(PTRACE_CONT, child, 0, 65));
    EXPECT_ERRNO(EIO, trace(PTRACE_DETACH, child, 0, 65));
    EXPECT_ERRNO(EINVAL, trace(PTRACE_SETOPTIONS, child, 0, 1ul << 30));
    EXPECT_ERRNO(EIO, trace(PTRACE_PEEKDATA, child, 8, P(&word)));
    EXPECT_ERRNO(EFAULT, trace(PTRACE_PEEKDATA, child, P(&variable), 8));
    EXPECT_ERRNO(EIO, trace(PTRACE_POKEDATA, child, 8, 0));
    EXPECT_ERRNO(EIO, trace(PTRACE_PEEKUSER, child, 3, P(&word)));
    EXPECT_ERRNO(EIO, trace(PTRACE_PEEKUSER, child, 4096, P(&word)));
    EXPECT_OK(trace(PTRACE_CONT, child, 0, SIGKILL));
    EXPECT_OK(kill(child, SIGKILL));
    EXPECT_KILLED(child, SIGKILL);
}

CASE(traceme_twice)
{
    EXPECT_EXITED(FORK({
                      EXPECT_OK(trace(PTRACE_TRACEME, 0, 0, 0));
                      EXPECT_ERRNO(EPERM, trace(PTRACE_TRACEME, 0, 0, 0));
                  }),
                  0);
}

CASE(permission)
{
    if (geteuid() != 0)
        SKIP("needs root");
    pid_t victim = FORK({ pause(); });
    EXPECT_EXITED(FORK({
                      EXPECT_OK(setresuid(1000, 1000, 1000));
                      EXPECT_ERRNO(EPERM, trace(PTRACE_ATTACH, victim, 0, 0));
                      EXPECT_ERRNO(EPERM, trace(PTRACE_SEIZE, victim, 0, 0));
                  }),
                  0);
    pid_t undumpable = FORK({
        EXPECT_OK(setresuid(1000, 1000, 1000));
        prctl(PR_SET_DUMPABLE, 0);
        pause();
    });
    usleep(20000);
    EXPECT_EXITED(FORK({
                      EXPECT_OK(setresuid(1000, 1000, 1000));
                      EXPECT_ERRNO(EPERM, trace(PTRACE_ATTACH, undumpable, 0, 0));
                  }),
                  0);
    kill(victim, SIGKILL);
    kill(undumpable, SIGKILL);
}

/* Only the thread that attached is the tracer. */
static void *other_thread(void *pid)
{
    pid_t child = *(pid_t *)pid;
    EXPECT_ERRNO(ESRCH, trace(PTRACE_CONT, child, 0, 0));
    return NULL;
}

CASE(thread_is_tracer)
{
    pthread_t thread;
    pid_t child = TRACED({});
    EXPECT_EQ(pthread_create(&thread, NULL, other_thread, &child), 0);
    pthread_join(thread, NULL);
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    EXPECT_EQ(wait_all(child), 0);
}

CASE(proc)
{
    pid_t child = TRACED({});
    EXPECT_EQ(atoi(status_of(child, "TracerPid")), getpid());
    EXPECT_STREQ(status_of(child, "State"), "t (tracing stop)");
    EXPECT_OK(trace(PTRACE_DETACH, child, 0, 0));
    EXPECT_EQ(wait_all(child), 0);
}

/* ---- memory ---- */

CASE(data)
{
    pid_t child = TRACED({ _exit(variable == 33 ? 0 : 1); });
    EXPECT_EQ(peek(child, &variable), 11);
    EXPECT_OK(trace(PTRACE_POKEDATA, child, P(&variable), 33));
    EXPECT_EQ(peek(child, &variable), 33);
    EXPECT_EQ(variable, 11);
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    EXPECT_EQ(wait_all(child), 0);
}

__attribute__((noinline)) static int target(int x)
{
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}

/* A breakpoint in the text, which is a private mapping of a file that is only readable. */
CASE(breakpoint)
{
    pid_t child = TRACED({ _exit(target(1) + target(2)); });
    unsigned long old = peek(child, target);
    EXPECT_OK(trace(PTRACE_POKETEXT, child, P(target), (old & ~0xfful) | 0xcc));
    for (int i = 1; i <= 2; i++) {
        EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
        EXPECT_STOP(child, STOPPED_BY(SIGTRAP));
        siginfo_t info;
        EXPECT_OK(trace(PTRACE_GETSIGINFO, child, 0, P(&info)));
        EXPECT_EQ(info.si_code, SI_KERNEL);
        struct user_regs_struct regs = get_regs(child);
        EXPECT_EQ(regs.rip, P(target) + 1);
        EXPECT_EQ(regs.rdi, i);
        EXPECT_EQ(regs.orig_rax, -1);
        regs.rip = P(target);
        EXPECT_OK(trace(PTRACE_POKETEXT, child, P(target), old));
        EXPECT_OK(trace(PTRACE_SETREGS, child, 0, P(&regs)));
        EXPECT_OK(trace(PTRACE_SINGLESTEP, child, 0, 0));
        EXPECT_STOP(child, STOPPED_BY(SIGTRAP));
        EXPECT_OK(trace(PTRACE_GETSIGINFO, child, 0, P(&info)));
        EXPECT_EQ(info.si_code, TRAP_TRACE);
        EXPECT_OK(trace(PTRACE_POKETEXT, child, P(target), (old & ~0xfful) | 0xcc));
    }
    /* Nobody else sees it. */
    EXPECT_EQ(target(5), 6);
    EXPECT_EXITED(FORK({ _exit(target(7)); }), 8);
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    int status = wait_all(child);
    EXPECT_EQ(WEXITSTATUS(status), 5);
}

CASE(proc_mem)
{
    char path[64];
    pid_t child = TRACED({ _exit(variable == 44 ? 0 : 1); });
    snprintf(path, sizeof(path), "/proc/%d/mem", (int)child);
    int fd = EXPECT_OK(open(path, O_RDWR));
    long value = 44;
    EXPECT_EQ(pwrite(fd, &value, sizeof(value), (off_t)P(&variable)), sizeof(value));
    unsigned char text[4];
    EXPECT_EQ(pread(fd, text, 4, (off_t)P(target)), 4);
    EXPECT_EQ(pwrite(fd, text, 4, (off_t)P(target)), 4);
    struct iovec local = {&value, sizeof(value)}, remote = {(void *)&variable, sizeof(value)};
    value = 0;
    EXPECT_EQ(process_vm_readv(child, &local, 1, &remote, 1, 0), sizeof(value));
    EXPECT_EQ(value, 44);
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    EXPECT_EQ(wait_all(child), 0);
}

static void tick(TEST_UNUSED int sig)
{
}

/* A signal does not cut it short. */
CASE(process_vm_with_signals)
{
    enum { SIZE = 16 << 20 };
    char *from = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *to = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pid_t child = FORK({ pause(); });
    struct sigaction sa = {.sa_handler = tick};
    struct itimerval every = {{0, 1000}, {0, 1000}};
    struct iovec local = {from, SIZE}, remote = {to, SIZE};
    sigaction(SIGALRM, &sa, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
    for (int i = 0; i < 5; i++) {
        EXPECT_EQ(process_vm_writev(child, &local, 1, &remote, 1, 0), SIZE);
        EXPECT_EQ(process_vm_readv(child, &local, 1, &remote, 1, 0), SIZE);
    }
    memset(&every, 0, sizeof(every));
    setitimer(ITIMER_REAL, &every, NULL);
    kill(child, SIGKILL);
    EXPECT_KILLED(child, SIGKILL);
}

CASE(no_access_pages)
{
    long *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    long *shared = mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    page[0] = 5;
    EXPECT_OK(mprotect(page, 4096, PROT_NONE));
    pid_t child = TRACED({});
    EXPECT_EQ(peek(child, page), 5);
    EXPECT_OK(trace(PTRACE_POKEDATA, child, P(page), 6));
    EXPECT_EQ(peek(child, page), 6);
    EXPECT_ERRNO(EIO, trace(PTRACE_POKEDATA, child, P(shared), 6));
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    EXPECT_EQ(wait_all(child), 0);
}

/* ---- registers ---- */

CASE(general_registers)
{
    pid_t child = TRACED({});
    struct user_regs_struct regs = get_regs(child), again;
    unsigned long word;
    EXPECT_EQ(regs.cs, 0x33);
    EXPECT_EQ(regs.ss, 0x2b);
    EXPECT_EQ(regs.eflags & 0x100, 0);
    EXPECT_OK(trace(PTRACE_PEEKUSER, child, offsetof(struct user, regs.rip), P(&word)));
    EXPECT_EQ(word, regs.rip);
    EXPECT_OK(trace(PTRACE_POKEUSER, child, offsetof(struct user, regs.r15), 0x1122334455667788));
    EXPECT_EQ(get_regs(child).r15, 0x1122334455667788);
    EXPECT_OK(trace(PTRACE_SETREGS, child, 0, P(&regs)));
    struct iovec iov = {&again, sizeof(again)};
    EXPECT_OK(trace(PTRACE_GETREGSET, child, NT_PRSTATUS, P(&iov)));
    EXPECT_EQ(iov.iov_len, sizeof(again));
    EXPECT_MEMEQ(&again, &regs, sizeof(regs));
    /* Less, more, and what does not fit. */
    iov.iov_len = 16;
    EXPECT_OK(trace(PTRACE_GETREGSET, child, NT_PRSTATUS, P(&iov)));
    EXPECT_EQ(iov.iov_len, 16);
    char large[512];
    iov = (struct iovec){large, sizeof(large)};
    EXPECT_OK(trace(PTRACE_GETREGSET, child, NT_PRSTATUS, P(&iov)));
    EXPECT_EQ(iov.iov_len, sizeof(regs));
    iov.iov_len = 17;
    EXPECT_ERRNO(EINVAL, trace(PTRACE_GETREGSET, child, NT_PRSTATUS, P(&iov)));
    iov.iov_len = 16;
    EXPECT_ERRNO(EINVAL, trace(PTRACE_GETREGSET, child, 0x7777, P(&iov)));
    EXPECT_ERRNO(EFAULT, trace(PTRACE_GETREGSET, child, NT_PRSTATUS, 8));
    EXPECT_ERRNO(EFAULT, trace(PTRACE_GETREGS, child, 0, 8));
    /* Nothing that would be dangerous. */
    const size_t cs = offsetof(struct user, regs.cs), fs = offsetof(struct user, regs.fs_base);
    EXPECT_ERRNO(EIO, trace(PTRACE_POKEUSER, child, cs, 0));
    EXPECT_ERRNO(EIO, trace(PTRACE_POKEUSER, child, fs, 1ul << 63));
    EXPECT_OK(
        trace(PTRACE_POKEUSER, child, offsetof(struct user, regs.eflags), 0xffffffff & ~0x100));
    EXPECT_EQ(get_regs(child).eflags & 0x3000, 0);
    EXPECT_OK(trace(PTRACE_SETREGS, child, 0, P(&regs)));
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    EXPECT_EQ(wait_all(child), 0);
}

CASE(floating_point_registers)
{
    int ready[2];
    EXPECT_OK(pipe(ready));
    pid_t child = TRACED({
        double x = 1.5, y;
        __asm__ volatile("movsd %1, %%xmm7\n\tint3\n\tmovsd %%xmm7, %0"
                         : "=m"(y)
                         : "m"(x)
                         : "xmm7");
        _exit(y == 2.5 ? 0 : 1);
    });
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGTRAP));
    struct user_fpregs_struct fp;
    double value;
    EXPECT_OK(trace(PTRACE_GETFPREGS, child, 0, P(&fp)));
    memcpy(&value, (char *)fp.xmm_space + 7 * 16, sizeof(value));
    EXPECT(value == 1.5);
    value = 2.0;
    memcpy((char *)fp.xmm_space + 7 * 16, &value, sizeof(value));
    EXPECT_OK(trace(PTRACE_SETFPREGS, child, 0, P(&fp)));
    fp.mxcsr = 0xffffffff;
    EXPECT_ERRNO(EINVAL, trace(PTRACE_SETFPREGS, child, 0, P(&fp)));

    static char state[16384];
    struct iovec iov = {state, sizeof(state)};
    EXPECT_OK(trace(PTRACE_GETREGSET, child, NT_X86_XSTATE, P(&iov)));
    EXPECT_GE(iov.iov_len, 576);
    memcpy(&value, state + 160 + 7 * 16, sizeof(value));
    EXPECT(value == 2.0);
    uint64_t features;
    memcpy(&features, state + 464, sizeof(features));
    EXPECT_EQ(features & 3, 3);
    value = 2.5;
    memcpy(state + 160 + 7 * 16, &value, sizeof(value));
    size_t size = iov.iov_len;
    EXPECT_OK(trace(PTRACE_SETREGSET, child, NT_X86_XSTATE, P(&iov)));
    iov.iov_len = size - 8;
    EXPECT_ERRNO(EFAULT, trace(PTRACE_SETREGSET, child, NT_X86_XSTATE, P(&iov)));
    /* Reserved bits of the header. */
    iov.iov_len = size;
    state[512 + 24] = 1;
    EXPECT_ERRNO(EINVAL, trace(PTRACE_SETREGSET, child, NT_X86_XSTATE, P(&iov)));
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    EXPECT_EQ(wait_all(child), 0);
}

/* ---- steps ---- */

extern char step_begin[], step_end[];

CASE(single_step)
{
    pid_t child = TRACED({
        __asm__ volatile("int3\n"
                         ".globl step_begin, step_end\n"
                         "step_begin: nop\n\txor %%eax, %%eax\n\tmov $39, %%eax\n\tsyscall\n\tnop\n"
                         "step_end: nop"
                         :
                         :
                         : "rax", "rcx", "r11", "memory");
    });
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGTRAP));
    static const int offsets[] = {1, 3, 8, 10, 11};
    for (size_t i = 0; i < 5; i++) {
        EXPECT_OK(trace(PTRACE_SINGLESTEP, child, 0, 0));
        EXPECT_STOP(child, STOPPED_BY(SIGTRAP));
        struct user_regs_struct regs = get_regs(child);
        EXPECT_EQ(regs.rip, P(step_begin) + offsets[i]);
        EXPECT_EQ(regs.eflags & 0x100, 0);
        if (offsets[i] == 10)
            EXPECT_EQ(regs.rax, child);
    }
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    EXPECT_EQ(wait_all(child), 0);
}

static volatile bool handled;
static void handler(TEST_UNUSED int sig)
{
    handled = true;
}

/* A step with a signal ends at the handler's first instruction. */
CASE(step_into_handler)
{
    pid_t child = TRACED({
        signal(SIGUSR1, handler);
        raise(SIGUSR1);
        _exit(handled ? 0 : 1);
    });
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGUSR1));
    EXPECT_OK(trace(PTRACE_SINGLESTEP, child, 0, SIGUSR1));
    EXPECT_STOP(child, STOPPED_BY(SIGTRAP));
    struct user_regs_struct regs = get_regs(child);
    EXPECT_EQ(regs.rip, P(handler));
    EXPECT_EQ(regs.rdi, SIGUSR1);
    EXPECT_OK(trace(PTRACE_SINGLESTEP, child, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGTRAP));
    EXPECT_NE(get_regs(child).rip, P(handler));
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    EXPECT_EQ(wait_all(child), 0);
}

/* ---- signals ---- */

CASE(suppress_change_inject)
{
    pid_t child = TRACED({
        raise(SIGTERM);
        raise(SIGTERM);
    });
    siginfo_t info;
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGTERM));
    EXPECT_OK(trace(PTRACE_GETSIGINFO, child, 0, P(&info)));
    EXPECT_EQ(info.si_signo, SIGTERM);
    EXPECT_EQ(info.si_code, SI_TKILL);
    EXPECT_EQ(info.si_pid, child);
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGTERM));
    EXPECT_OK(trace(PTRACE_CONT, child, 0, SIGINT));
    EXPECT_KILLED(child, SIGINT);
}

static siginfo_t seen_info;
static void info_handler(TEST_UNUSED int sig, siginfo_t *info, TEST_UNUSED void *context)
{
    seen_info = *info;
}

CASE(set_siginfo)
{
    pid_t child = TRACED({
        struct sigaction sa = {.sa_sigaction = info_handler, .sa_flags = SA_SIGINFO};
        sigaction(SIGUSR1, &sa, NULL);
        raise(SIGUSR1);
        _exit(seen_info.si_value.sival_int == 77 ? 0 : 1);
    });
    siginfo_t info;
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGUSR1));
    EXPECT_OK(trace(PTRACE_GETSIGINFO, child, 0, P(&info)));
    info.si_value.sival_int = 77;
    EXPECT_ERRNO(EFAULT, trace(PTRACE_SETSIGINFO, child, 0, 8));
    EXPECT_OK(trace(PTRACE_SETSIGINFO, child, 0, P(&info)));
    EXPECT_OK(trace(PTRACE_CONT, child, 0, SIGUSR1));
    EXPECT_EQ(wait_all(child), 0);
}

/* Even of those that are ignored. */
CASE(ignored_signals)
{
    pid_t child = TRACED({
        signal(SIGUSR2, SIG_IGN);
        raise(SIGUSR2);
        raise(SIGWINCH);
    });
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGUSR2));
    EXPECT_OK(trace(PTRACE_CONT, child, 0, SIGUSR2));
    EXPECT_STOP(child, STOPPED_BY(SIGWINCH));
    EXPECT_OK(trace(PTRACE_CONT, child, 0, SIGWINCH));
    EXPECT_EQ(wait_all(child), 0);
}

CASE(signal_masks)
{
    pid_t child = TRACED({
        sigset_t now;
        sigprocmask(SIG_BLOCK, NULL, &now);
        _exit(sigismember(&now, SIGUSR2) && !sigismember(&now, SIGUSR1) ? 0 : 1);
    });
    uint64_t mask;
    EXPECT_ERRNO(EINVAL, trace(PTRACE_GETSIGMASK, child, 4, P(&mask)));
    EXPECT_OK(trace(PTRACE_GETSIGMASK, child, 8, P(&mask)));
    mask |= 1ull << (SIGUSR2 - 1) | 1ull << (SIGKILL - 1);
    EXPECT_ERRNO(EINVAL, trace(PTRACE_SETSIGMASK, child, 4, P(&mask)));
    EXPECT_OK(trace(PTRACE_SETSIGMASK, child, 8, P(&mask)));
    EXPECT_OK(trace(PTRACE_GETSIGMASK, child, 8, P(&mask)));
    EXPECT_EQ(mask >> (SIGUSR2 - 1) & 1, 1);
    EXPECT_EQ(mask >> (SIGKILL - 1) & 1, 0);
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    EXPECT_EQ(wait_all(child), 0);
}

CASE(peek_siginfo)
{
    pid_t child = TRACED({
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGRTMIN);
        sigprocmask(SIG_BLOCK, &set, NULL);
        for (int i = 0; i < 3; i++) {
            union sigval v = {.sival_int = 100 + i};
            sigqueue(getpid(), SIGRTMIN, v);
        }
        raise(SIGSTOP);
    });
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGSTOP));
    siginfo_t info[5];
    struct __ptrace_peeksiginfo_args {
        uint64_t off;
        uint32_t flags;
        int32_t nr;
    } args = {.off = 1, .flags = 1, .nr = 5};
    EXPECT_EQ(trace(PTRACE_PEEKSIGINFO, child, P(&args), P(info)), 2);
    EXPECT_EQ(info[0].si_value.sival_int, 101);
    EXPECT_EQ(info[1].si_value.sival_int, 102);
    args = (struct __ptrace_peeksiginfo_args){.nr = 5};
    EXPECT_EQ(trace(PTRACE_PEEKSIGINFO, child, P(&args), P(info)), 0);
    args.flags = 2;
    EXPECT_ERRNO(EINVAL, trace(PTRACE_PEEKSIGINFO, child, P(&args), P(info)));
    args = (struct __ptrace_peeksiginfo_args){.nr = -1};
    EXPECT_ERRNO(EINVAL, trace(PTRACE_PEEKSIGINFO, child, P(&args), P(info)));
    EXPECT_OK(trace(PTRACE_KILL, child, 0, 0));
    EXPECT_KILLED(child, SIGKILL);
}

CASE(wait_says_trapped)
{
    pid_t child = TRACED({ raise(SIGUSR1); });
    siginfo_t info = {0};
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    /* No option asks for stops. */
    EXPECT_OK(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT));
    EXPECT_EQ(info.si_code, CLD_TRAPPED);
    EXPECT_EQ(info.si_status, SIGUSR1);
    EXPECT_STOP(child, STOPPED_BY(SIGUSR1));
    EXPECT_EQ(waitpid(child, NULL, WNOHANG), 0);
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    EXPECT_EQ(wait_all(child), 0);
}

/* ---- system calls ---- */

CASE(system_calls)
{
    pid_t child = TRACED({ _exit(syscall(SYS_getppid, 1, 2, 3) == 4711 ? 0 : 1); });
    EXPECT_OK(trace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESYSGOOD));
    EXPECT_OK(trace(PTRACE_SYSCALL, child, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGTRAP | 0x80));
    struct user_regs_struct regs = get_regs(child);
    EXPECT_EQ(regs.orig_rax, SYS_getppid);
    EXPECT_EQ(regs.rax, -ENOSYS);
    EXPECT_EQ(event_message(child), PTRACE_EVENTMSG_SYSCALL_ENTRY);
    struct ptrace_syscall_info si;
    EXPECT_EQ(trace(PTRACE_GET_SYSCALL_INFO, child, sizeof(si), P(&si)), 80);
    EXPECT_EQ(si.op, PTRACE_SYSCALL_INFO_ENTRY);
    EXPECT_EQ(si.arch, 0xc000003e);
    EXPECT_EQ(si.instruction_pointer, regs.rip);
    EXPECT_EQ(si.stack_pointer, regs.rsp);
    EXPECT_EQ(si.entry.nr, SYS_getppid);
    EXPECT_EQ(si.entry.args[2], 3);
    siginfo_t info;
    EXPECT_OK(trace(PTRACE_GETSIGINFO, child, 0, P(&info)));
    EXPECT_EQ(info.si_signo, SIGTRAP);
    EXPECT_EQ(info.si_code, SIGTRAP | 0x80);
    EXPECT_OK(trace(PTRACE_SYSCALL, child, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGTRAP | 0x80));
    EXPECT_EQ(event_message(child), PTRACE_EVENTMSG_SYSCALL_EXIT);
    regs = get_regs(child);
    EXPECT_EQ(regs.orig_rax, SYS_getppid);
    EXPECT_EQ(regs.rax, getpid());
    EXPECT_EQ(trace(PTRACE_GET_SYSCALL_INFO, child, sizeof(si), P(&si)), 33);
    EXPECT_EQ(si.op, PTRACE_SYSCALL_INFO_EXIT);
    EXPECT_EQ(si.exit.rval, getpid());
    EXPECT_EQ(si.exit.is_error, 0);
    regs.rax = 4711;
    EXPECT_OK(trace(PTRACE_SETREGS, child, 0, P(&regs)));
    EXPECT_OK(trace(PTRACE_SYSCALL, child, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGTRAP | 0x80));
    EXPECT_EQ(get_regs(child).orig_rax, SYS_exit_group);
    EXPECT_OK(trace(PTRACE_SYSCALL, child, 0, 0));
    EXPECT_EQ(wait_all(child), 0);
}

/* At the entry a tracer may choose another call, or none. */
CASE(other_calls)
{
    pid_t child = TRACED({
        if (syscall(SYS_getppid) != getpid())
            _exit(1);
        if (syscall(SYS_getppid) != 99)
            _exit(2);
        _exit(0);
    });
    EXPECT_OK(trace(PTRACE_SYSCALL, child, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGTRAP));
    EXPECT_OK(trace(PTRACE_POKEUSER, child, offsetof(struct user, regs.orig_rax), SYS_getpid));
    for (int i = 0; i < 4; i++) {
        EXPECT_OK(trace(PTRACE_SYSCALL, child, 0, 0));
        EXPECT_STOP(child, STOPPED_BY(SIGTRAP));
    }
    struct user_regs_struct regs = get_regs(child);
    EXPECT_EQ(regs.orig_rax, SYS_getppid);
    regs.orig_rax = -1ul;
    regs.rax = 99;
    EXPECT_OK(trace(PTRACE_SETREGS, child, 0, P(&regs)));
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    EXPECT_EQ(wait_all(child), 0);
}

CASE(emulated_calls)
{
    pid_t child = TRACED({ _exit(syscall(123456, 5) == 50 ? 0 : 1); });
    EXPECT_OK(trace(PTRACE_SYSEMU, child, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGTRAP));
    struct user_regs_struct regs = get_regs(child);
    EXPECT_EQ(regs.orig_rax, 123456);
    regs.rax = regs.rdi * 10;
    EXPECT_OK(trace(PTRACE_SETREGS, child, 0, P(&regs)));
    EXPECT_OK(trace(PTRACE_SYSEMU, child, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGTRAP));
    EXPECT_EQ(get_regs(child).orig_rax, SYS_exit_group);
    EXPECT_EQ(get_regs(child).rdi, 0);
    EXPECT_OK(trace(PTRACE_KILL, child, 0, 0));
    EXPECT_KILLED(child, SIGKILL);
}

/* A call that sleeps: seen as ERESTARTSYS, then begun again, unless the tracer says no. */
CASE(restart)
{
    int fds[2];
    EXPECT_OK(pipe(fds));
    pid_t child = TRACED({
        char c;
        _exit(read(fds[0], &c, 1) == 1 ? 0 : 1);
    });
    EXPECT_OK(trace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESYSGOOD));
    EXPECT_OK(trace(PTRACE_SYSCALL, child, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGTRAP | 0x80));
    EXPECT_OK(trace(PTRACE_SYSCALL, child, 0, 0));
    usleep(20000);
    EXPECT_OK(kill(child, SIGUSR1));
    EXPECT_STOP(child, STOPPED_BY(SIGTRAP | 0x80));
    EXPECT_EQ(get_regs(child).rax, -512);
    EXPECT_OK(trace(PTRACE_SYSCALL, child, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGUSR1));
    struct user_regs_struct regs = get_regs(child);
    EXPECT_EQ(regs.orig_rax, SYS_read);
    EXPECT_EQ(regs.rax, -512);
    EXPECT_OK(trace(PTRACE_SYSCALL, child, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGTRAP | 0x80));
    EXPECT_EQ(get_regs(child).orig_rax, SYS_read);
    EXPECT_EQ(write(fds[1], "x", 1), 1);
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    EXPECT_EQ(wait_all(child), 0);
}

/* As a debugger calls a function in the middle of a system call. */
CASE(call_function_while_blocked)
{
    int fds[2];
    EXPECT_OK(pipe(fds));
    pid_t child = TRACED({
        char c;
        _exit(read(fds[0], &c, 1) == 1 ? (int)variable : 1);
    });
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    usleep(20000);
    EXPECT_OK(kill(child, SIGUSR1));
    EXPECT_STOP(child, STOPPED_BY(SIGUSR1));
    struct user_regs_struct saved = get_regs(child), regs = saved;
    EXPECT_EQ(regs.rax, -512);
    /* It returns to address 0. */
    regs.rsp = ((regs.rsp - 1024) & ~15ul) - 8;
    regs.rip = P(target);
    regs.rdi = 41;
    regs.orig_rax = -1ul;
    EXPECT_OK(trace(PTRACE_POKEDATA, child, regs.rsp, 0));
    EXPECT_OK(trace(PTRACE_SETREGS, child, 0, P(&regs)));
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    EXPECT_STOP(child, STOPPED_BY(SIGSEGV));
    regs = get_regs(child);
    EXPECT_EQ(regs.rip, 0);
    EXPECT_EQ(regs.rax, 42);
    EXPECT_OK(trace(PTRACE_POKEDATA, child, P(&variable), 42));
    EXPECT_OK(trace(PTRACE_SETREGS, child, 0, P(&saved)));
    EXPECT_OK(trace(PTRACE_CONT, child, 0, 0));
    usleep(20000);
    EXPECT_EQ(write(fds[1], "x", 1), 1);
    int status = wait_all(child);
    EXPECT_EQ(WEXITSTATUS(status), 42);
}

/* ---- races ---- */

/* The tracee is killed while its tracer works on it: errors, never nonsense. */
CASE(killed_while_stopped)
{
    for (int i = 0; i < 20; i++) {
        pid_t child = TRACED({ pause(); });
        pid_t killer = FORK({
            usleep((useconds_t)(i * 50));
            kill(child, SIGKILL);
        });
        struct user_regs_struct regs;
        while (trace(PTRACE_GETREGS, child, 0, P(&regs)) == 0) {
            if (trace(PTRACE_SETREGS, child, 0, P(&regs)) < 0)
                break;
        }
        EXPECT_EQ(errno, ESRCH);
        EXPECT_KILLED(child, SIGKILL);
        EXPECT_EXITED(killer, 0);
    }
}

TEST_MAIN
