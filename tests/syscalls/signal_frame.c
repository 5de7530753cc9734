/* Signal frames, rt_sigreturn(2), sigaltstack(2): what a handler sees, and what it may forge. */
#include "tests/syscalls/test.h"
#define ARCH_SET_GS 0x1001
#define ARCH_SET_FS 0x1002
#define ARCH_GET_FS 0x1003
#define ARCH_GET_GS 0x1004
#include <sys/mman.h>
#include <ucontext.h>

static volatile int ran;
static volatile uintptr_t handler_sp;
static volatile int ss_flags_seen;
static void on_stack(int sig)
{
    stack_t ss;
    (void)sig;
    handler_sp = (uintptr_t)__builtin_frame_address(0);
    sigaltstack(NULL, &ss);
    ss_flags_seen = ss.ss_flags;
    ran++;
}

CASE(altstack)
{
    static char mem[65536] __attribute__((aligned(16)));
    stack_t ss = {.ss_sp = mem, .ss_size = sizeof(mem)}, old;
    EXPECT_OK(sigaltstack(NULL, &old));
    EXPECT_EQ(old.ss_flags, SS_DISABLE);
    EXPECT_OK(sigaltstack(&ss, NULL));
    struct sigaction sa = {.sa_handler = on_stack, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &sa, NULL);
    raise(SIGUSR1);
    EXPECT_GT(handler_sp, (uintptr_t)mem);
    EXPECT_LT(handler_sp, (uintptr_t)mem + sizeof(mem));
    EXPECT_EQ(ss_flags_seen, SS_ONSTACK);
    sa.sa_flags = 0;
    sigaction(SIGUSR1, &sa, NULL);
    raise(SIGUSR1);
    EXPECT(handler_sp < (uintptr_t)mem || handler_sp > (uintptr_t)mem + sizeof(mem));
    EXPECT_EQ(ss_flags_seen, 0);
    ss.ss_size = 100;
    EXPECT_ERRNO(ENOMEM, sigaltstack(&ss, NULL));
    ss.ss_size = sizeof(mem);
    ss.ss_flags = 77;
    EXPECT_ERRNO(EINVAL, sigaltstack(&ss, NULL));
    EXPECT_ERRNO(EFAULT, syscall(SYS_sigaltstack, (void *)8, NULL));
    ss.ss_flags = SS_DISABLE;
    EXPECT_OK(sigaltstack(&ss, &old));
    EXPECT_EQ(old.ss_sp, mem);
    EXPECT_EQ(old.ss_size, sizeof(mem));
}

static int change_errno;
static void change_altstack(int sig)
{
    stack_t ss = {.ss_flags = SS_DISABLE};
    (void)sig;
    change_errno = sigaltstack(&ss, NULL) == 0 ? 0 : errno;
}
CASE(altstack_in_use_cannot_change)
{
    static char mem[65536];
    stack_t ss = {.ss_sp = mem, .ss_size = sizeof(mem)};
    sigaltstack(&ss, NULL);
    struct sigaction sa = {.sa_handler = change_altstack, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &sa, NULL);
    raise(SIGUSR1);
    EXPECT_EQ(change_errno, EPERM);
}

static void recurse(int sig)
{
    ran++;
    (void)sig;
}
CASE(stack_overflow_is_caught_on_the_altstack)
{
    pid_t p = FORK({
        static char mem[65536];
        stack_t ss = {.ss_sp = mem, .ss_size = sizeof(mem)};
        sigaltstack(&ss, NULL);
        struct sigaction sa = {.sa_handler = (void (*)(int))_exit, .sa_flags = SA_ONSTACK};
        sigaction(SIGSEGV, &sa, NULL);
        asm volatile("1: push %%rax\n\tjmp 1b" ::: "memory");
    });
    EXPECT_EXITED(p, SIGSEGV);
    /* Without one, nothing can be delivered. */
    p = FORK({
        signal(SIGSEGV, recurse);
        asm volatile("1: push %%rax\n\tjmp 1b" ::: "memory");
    });
    EXPECT_KILLED(p, SIGSEGV);
}

static void change_context(int sig, siginfo_t *info, void *ctx)
{
    ucontext_t *uc = ctx;
    (void)sig;
    (void)info;
    uc->uc_mcontext.gregs[REG_RAX] = 1234;
    uc->uc_mcontext.gregs[REG_R13] = 5678;
    sigaddset(&uc->uc_sigmask, SIGUSR2);
    uc->uc_mcontext.fpregs->_xmm[6].element[0] = 0x11223344;
}
CASE(handler_may_change_the_context)
{
    struct sigaction sa = {.sa_sigaction = change_context, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &sa, NULL);
    long rax, r13;
    int xmm;
    asm volatile("mov $0, %%r13\n\tpxor %%xmm6, %%xmm6\n\tmov %3, %%edi\n\tmov %4, %%esi\n\t"
                 "mov %5, %%edx\n\tmov $234, %%eax\n\tsyscall\n\tmov %%rax, %0\n\tmov %%r13, %1\n\t"
                 "movd %%xmm6, %2"
                 : "=m"(rax), "=m"(r13), "=m"(xmm)
                 : "r"(getpid()), "r"(gettid()), "i"(SIGUSR1)
                 : "rax", "rdi", "rsi", "rdx", "rcx", "r11", "r13", "xmm6", "memory");
    EXPECT_EQ(rax, 1234);
    EXPECT_EQ(r13, 5678);
    EXPECT_EQ(xmm, 0x11223344);
    sigset_t now;
    sigprocmask(SIG_SETMASK, NULL, &now);
    EXPECT(sigismember(&now, SIGUSR2));
}

static uint32_t magic1, magic2;
static uint64_t uc_flags;
static int aligned;
static void look_at_frame(int sig, siginfo_t *info, void *ctx)
{
    ucontext_t *uc = ctx;
    (void)sig;
    (void)info;
    char *fp = (char *)uc->uc_mcontext.fpregs;
    uint32_t sw[3];
    uint32_t xsize;
    memcpy(sw, fp + 464, sizeof(sw));
    magic1 = sw[0];
    memcpy(&xsize, fp + 480, sizeof(xsize));
    memcpy(&magic2, fp + xsize, sizeof(magic2));
    uc_flags = uc->uc_flags;
    aligned = ((uintptr_t)fp & 63) == 0 && ((uintptr_t)__builtin_frame_address(0) & 15) == 0;
}
CASE(frame_layout)
{
    struct sigaction sa = {.sa_sigaction = look_at_frame, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &sa, NULL);
    raise(SIGUSR1);
    EXPECT_EQ(magic1, 0x46505853);
    EXPECT_EQ(magic2, 0x46505845);
    EXPECT_EQ(uc_flags & 7, 7);
    EXPECT(aligned);
}

static unsigned mxcsr_in_handler;
static void read_mxcsr(int sig)
{
    (void)sig;
    asm volatile("stmxcsr %0" : "=m"(mxcsr_in_handler));
}
CASE(handlers_start_with_a_clean_fpu)
{
    unsigned mine = 0x1f80 | 0x6000, after;
    signal(SIGUSR1, read_mxcsr);
    asm volatile("ldmxcsr %0" ::"m"(mine));
    raise(SIGUSR1);
    asm volatile("stmxcsr %0" : "=m"(after));
    EXPECT_EQ(mxcsr_in_handler & 0x6000, 0);
    EXPECT_EQ(after & 0x6000, 0x6000);
}

CASE(red_zone_is_left_alone)
{
    signal(SIGUSR1, recurse);
    unsigned long ok;
    asm volatile("mov $0x5a5a5a5a, %%rbx\n\tmov %%rbx, -8(%%rsp)\n\tmov %%rbx, -128(%%rsp)\n\t"
                 "mov $234, %%eax\n\tmov %1, %%edi\n\tmov %2, %%esi\n\tmov %3, %%edx\n\tsyscall\n\t"
                 "xor %%rax, %%rax\n\tcmp %%rbx, -8(%%rsp)\n\tjne 1f\n\tcmp %%rbx, -128(%%rsp)\n\t"
                 "jne 1f\n\tinc %%rax\n1: mov %%rax, %0"
                 : "=r"(ok)
                 : "r"(getpid()), "r"(gettid()), "i"(SIGUSR1)
                 : "rax", "rbx", "rcx", "rdi", "rsi", "rdx", "r11", "memory");
    EXPECT_EQ(ok, 1);
    EXPECT_EQ(ran, 1);
}

/* ---- forged frames: death or a plain SIGSEGV, nothing worse ---- */

static int what;
static void forge(int sig, siginfo_t *info, void *ctx)
{
    ucontext_t *uc = ctx;
    greg_t *g = uc->uc_mcontext.gregs;
    char *fp = (char *)uc->uc_mcontext.fpregs;
    (void)sig;
    (void)info;
    switch (what) {
    case 0:
        g[REG_RIP] = (greg_t)0x8000000000000000ull;
        break;
    case 1:
        g[REG_RIP] = (greg_t)0xffffffff81000000ull;
        break;
    case 2:
        g[REG_CSGSFS] = (greg_t)0x002b000000000010ll;
        break;
    case 3:
        g[REG_CSGSFS] = 0;
        break;
    case 4:
        memset(fp + 512, 0xff, 64); /* XSAVE header */
        break;
    case 5:
        memset(fp + 24, 0xff, 4); /* MXCSR */
        break;
    case 6:
        uc->uc_mcontext.fpregs = (void *)8;
        break;
    case 7:
        uc->uc_mcontext.fpregs = (void *)(fp + 1);
        break;
    case 8:
        g[REG_RSP] = (greg_t)0x8000000000000000ull;
        g[REG_RIP] = (greg_t)(uintptr_t)abort;
        break;
    case 9:
        g[REG_RIP] = 0x7ffffffff000ll;
        break;
    }
}
CASE(forged_frames_kill)
{
    struct sigaction sa = {.sa_sigaction = forge, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &sa, NULL);
    for (int i = 0; i < 10; i++) {
        pid_t p = FORK({
            what = i;
            raise(SIGUSR1);
        });
        int status = test_wait(p);
        if (!WIFSIGNALED(status) || (WTERMSIG(status) != SIGSEGV && WTERMSIG(status) != SIGBUS))
            FAIL("forgery %d: wait status 0x%x", i, status);
    }
}

static void forge_flags(int sig, siginfo_t *info, void *ctx)
{
    ucontext_t *uc = ctx;
    (void)sig;
    (void)info;
    /* IF off, IOPL 3, NT, VM: none of it may stick. */
    uc->uc_mcontext.gregs[REG_EFL] = 0x3000 | 0x4000 | 0x20000 | 0x2 | 0x1;
}
CASE(forged_flags_are_masked)
{
    struct sigaction sa = {.sa_sigaction = forge_flags, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &sa, NULL);
    raise(SIGUSR1);
    unsigned long flags;
    asm volatile("pushfq\n\tpop %0" : "=r"(flags));
    EXPECT_EQ(flags & 0x27000, 0);
    EXPECT_EQ(flags & 0x200, 0x200);
}

static void no_fp(int sig, siginfo_t *info, void *ctx)
{
    ucontext_t *uc = ctx;
    (void)sig;
    (void)info;
    uc->uc_mcontext.fpregs = NULL;
}
CASE(frame_without_fpu_state)
{
    struct sigaction sa = {.sa_sigaction = no_fp, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &sa, NULL);
    raise(SIGUSR1);
    double x = 2.0;
    asm volatile("addsd %0, %0" : "+x"(x));
    EXPECT(x == 4.0);
}

CASE(sigreturn_from_nowhere)
{
    EXPECT_KILLED(FORK({
                      asm volatile("mov $8, %%rsp\n\tmov $15, %%eax\n\tsyscall" ::: "memory");
                  }),
                  SIGSEGV);
}

CASE(no_restorer)
{
    pid_t p = FORK({
        struct {
            void (*h)(int);
            unsigned long flags;
            void *restorer;
            unsigned long mask;
        } sa = {recurse, 0, NULL, 0};
        EXPECT_OK(syscall(SYS_rt_sigaction, SIGUSR1, &sa, NULL, 8));
        raise(SIGUSR1);
    });
    EXPECT_KILLED(p, SIGSEGV);
}

CASE(bad_stack_pointer)
{
    EXPECT_KILLED(FORK({
                      signal(SIGSEGV, recurse);
                      signal(SIGUSR1, recurse);
                      int pid = getpid();
                      int tid = gettid();
                      asm volatile("mov %0, %%edi\n\tmov %1, %%esi\n\tmov %2, %%edx\n\t"
                                   "mov $0x10, %%rsp\n\tmov $234, %%eax\n\tsyscall"
                                   :
                                   : "r"(pid), "r"(tid), "i"(SIGUSR1)
                                   : "memory", "rdi", "rsi", "rdx", "rax");
                  }),
                  SIGSEGV);
}

CASE(fs_base)
{
    unsigned long fs, now;
    EXPECT_OK(syscall(SYS_arch_prctl, ARCH_GET_FS, &fs));
    EXPECT_OK(syscall(SYS_arch_prctl, ARCH_SET_GS, 0x12345000));
    EXPECT_OK(syscall(SYS_arch_prctl, ARCH_GET_GS, &now));
    EXPECT_EQ(now, 0x12345000);
    EXPECT_ERRNO(EPERM, syscall(SYS_arch_prctl, ARCH_SET_GS, 0x8000000000000000ul));
    EXPECT_ERRNO(EPERM, syscall(SYS_arch_prctl, ARCH_SET_FS, 0xffff800000000000ul));
    EXPECT_ERRNO(EINVAL, syscall(SYS_arch_prctl, 0x9999, 0));
    EXPECT_ERRNO(EFAULT, syscall(SYS_arch_prctl, ARCH_GET_GS, 8));
    EXPECT_OK(syscall(SYS_arch_prctl, ARCH_GET_FS, &now));
    EXPECT_EQ(fs, now);
}
CASE(altstack_tells_how_it_is_used)
{
    enum { AUTODISARM = 1 << 31 };
    static char memory[65536];
    stack_t ss = {.ss_sp = memory, .ss_size = sizeof(memory), .ss_flags = AUTODISARM | SS_ONSTACK};
    EXPECT_OK(sigaltstack(&ss, NULL));
    EXPECT_OK(sigaltstack(NULL, &ss));
    EXPECT_EQ(ss.ss_flags, AUTODISARM); /* nobody is on it */
    ss.ss_flags = SS_ONSTACK;
    EXPECT_OK(sigaltstack(&ss, NULL));
    EXPECT_OK(sigaltstack(NULL, &ss));
    EXPECT_EQ(ss.ss_flags, 0);
}

TEST_MAIN
