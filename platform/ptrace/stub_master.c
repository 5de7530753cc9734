/*
 * The first stub process. It begins as a fork of the sentry and forgets everything: descriptors
 * stay shared (stubs map the sentry's files), memory, signal handlers, session and name go.
 */
#include "platform/ptrace/ptrace.h"
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/rseq.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Code of the child: the sanitizers' run-time libraries are the sentry's. */
#define IN_CHILD __attribute__((noinline, no_sanitize("address", "thread", "undefined")))

extern const char ptrace_stub_begin[], ptrace_stub_master[], ptrace_stub_exit[];

IN_CHILD uint64_t stub_address(const char *label)
{
    return STUB_CODE + (uint64_t)(label - ptrace_stub_begin);
}

/*
 * What the kernel lets a stub do natively. Only stub.S makes native calls, so this is a second
 * wall. The exception are the three calls of the vsyscall page, which the host kernel would serve
 * by itself, past PTRACE_SYSEMU: those stop for the tracer.
 */
#define ALLOW(nr)                                                                                  \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define TRACE(nr)                                                                                  \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE)

static const struct sock_filter stub_filter[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    ALLOW(SYS_futex),
    ALLOW(SYS_mmap),
    ALLOW(SYS_munmap),
    ALLOW(SYS_mprotect),
    ALLOW(SYS_userfaultfd),
    ALLOW(SYS_madvise),
    ALLOW(SYS_write),
    ALLOW(SYS_lseek),
    ALLOW(SYS_clone),
    ALLOW(SYS_pause),
    ALLOW(SYS_prctl),
    ALLOW(SYS_getppid),
    ALLOW(SYS_restart_syscall),
    ALLOW(SYS_exit),
    ALLOW(SYS_exit_group),
    TRACE(SYS_gettimeofday),
    TRACE(SYS_time),
    TRACE(SYS_getcpu),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
};

/* A system call that touches nothing of libc: errno is the sentry's, and the child is not it. */
static IN_CHILD long raw_call(long nr, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long ret;
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}

/* As the kernel has it. */
struct raw_sigaction {
    uint64_t handler, flags, restorer, mask;
};

/*
 * Stub threads stop at their faults, and the handler never runs. But without one the kernel would
 * take a signal like these from outside for the end of the process.
 */
static IN_CHILD bool catch_faults(uint64_t handler)
{
    const struct raw_sigaction sa = {.handler = handler};
    const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    for (unsigned i = 0; i < ARRAY_SIZE(faults); i++)
        if (raw_call(SYS_rt_sigaction, faults[i], (long)&sa, 0, sizeof(sa.mask), 0, 0) != 0)
            return false;
    return true;
}

/* The child's life as C: until it jumps into the stub. Anything that fails ends it. */
static NORETURN IN_CHILD void become_stub(int command_fd, long page_offset, long sentry,
                                          uint64_t entry)
{
    static const char name[] = "picket-stub";
    static const struct sock_fprog program = {ARRAY_SIZE(stub_filter),
                                              (struct sock_filter *)stub_filter};
    static const struct rlimit no_core = {0, 0};
    const long map_flags = MAP_SHARED | MAP_FIXED;

    bool ok = raw_call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0, 0) == 0 &&
              raw_call(SYS_getppid, 0, 0, 0, 0, 0, 0) == sentry &&
              catch_faults(stub_address(ptrace_stub_exit)) &&
              raw_call(SYS_setsid, 0, 0, 0, 0, 0, 0) > 0 &&
              raw_call(SYS_prctl, PR_SET_NAME, (long)name, 0, 0, 0, 0) == 0 &&
              raw_call(SYS_prlimit64, 0, RLIMIT_CORE, (long)&no_core, 0, 0, 0) == 0 &&
              raw_call(SYS_mmap, STUB_CODE, STUB_CODE_SIZE, PROT_READ | PROT_EXEC, map_flags,
                       command_fd, 0) == STUB_CODE &&
              raw_call(SYS_mmap, STUB_PAGE, STUB_PAGE_SIZE, PROT_READ, map_flags, command_fd,
                       page_offset) == STUB_PAGE &&
              raw_call(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0) == 0 &&
              raw_call(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                       (long)&program, 0, 0, 0) == 0;
    if (ok)
        __asm__ volatile("jmp *%0" : : "r"(entry) : "memory");
    for (;;)
        raw_call(SYS_exit_group, 1, 0, 0, 0, 0, 0);
}

/*
 * The calling thread gives up its rseq area, which the child would inherit and then unmap. The
 * length must be the one that libc registered, which it doesn't tell exactly.
 */
static void unregister_rseq(void)
{
    char *thread_pointer;
    __asm__("movq %%fs:0, %0" : "=r"(thread_pointer));
    struct rseq *area = (struct rseq *)(thread_pointer + __rseq_offset);
    if (__rseq_size == 0)
        return;
    for (unsigned len = 20; len <= 512; len += 4)
        if (syscall(SYS_rseq, area, len, RSEQ_FLAG_UNREGISTER, RSEQ_SIG) == 0)
            return;
}

pid_t stub_master_fork(struct ptrace_platform *p, uint32_t slot, const char **step)
{
    unregister_rseq();

    /* Every signal is blocked in the child, for ever: what somebody sends to a keeper stays
     * pending. (SIGKILL and SIGSTOP excepted, see service.c.) */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);

    struct clone_args args = {.flags = CLONE_FILES | CLONE_CLEAR_SIGHAND};
    long offset = STUB_CODE_SIZE + (long)slot * STUB_PAGE_SIZE;
    *step = "clone3";
    long pid = syscall(SYS_clone3, &args, sizeof(args));
    if (pid == 0)
        become_stub(p->command_fd, offset, p->pid, stub_address(ptrace_stub_master));
    int err = errno;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return pid < 0 ? -err : (pid_t)pid;
}
