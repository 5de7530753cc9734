/*
 * What the processor does without the kernel's help, and what the kernel makes of its exceptions:
 * register state over calls, threads, fork and signals; exceptions as signals; code that changes.
 */
#include "tests/syscalls/test.h"
#include <asm/prctl.h>
#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

/* --- exceptions --- */

static siginfo_t caught;
static greg_t caught_rip;
static sigjmp_buf back;

static void on_fault(int sig, siginfo_t *info, void *uc)
{
    (void)sig;
    caught = *info;
    caught_rip = ((ucontext_t *)uc)->uc_mcontext.gregs[REG_RIP];
    siglongjmp(back, 1);
}

/* Does something that is to fail; `caught` says how, or is all zero. */
static __attribute__((noinline)) void attempt(void (*something)(void *), void *arg)
{
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
        sigaction(signals[i], &sa, NULL);
    memset(&caught, 0, sizeof(caught));
    if (sigsetjmp(back, 1) == 0)
        something(arg);
}

static void write_to(void *p)
{
    *(volatile char *)p = 1;
}
static void call(void *p)
{
    ((void (*)(void))p)();
}
static void divide(void *arg)
{
    (void)arg;
    __asm__ volatile("xor %%edx, %%edx\n mov $1, %%eax\n xor %%ecx, %%ecx\n div %%ecx"
                     :
                     :
                     : "rax", "rcx", "rdx", "cc");
}
static void ud2(void *arg)
{
    (void)arg;
    __asm__ volatile("ud2");
}
static void int3(void *arg)
{
    (void)arg;
    __asm__ volatile("int3");
}
static void hlt(void *arg)
{
    (void)arg;
    __asm__ volatile("hlt");
}
static void load_unaligned(void *p)
{
    __asm__ volatile("pushf\n"
                     "orl $0x40000, (%%rsp)\n"
                     "popf\n"
                     "movl 1(%0), %%eax\n"
                     "pushf\n"
                     "andl $~0x40000, (%%rsp)\n"
                     "popf"
                     :
                     : "r"(p)
                     : "rax", "memory", "cc");
}
static void divide_by_zero_in_floating_point(void *arg)
{
    volatile double zero = 0, one = 1;
    (void)arg;
    feenableexcept(FE_DIVBYZERO);
    one = one / zero;
}
static void get_vsyscall_time(void *p)
{
    *(time_t *)p = ((time_t(*)(time_t *))0xffffffffff600400ul)(NULL);
}

CASE(divide_by_zero)
{
    attempt(divide, NULL);
    EXPECT_EQ(caught.si_signo, SIGFPE);
    EXPECT_EQ(caught.si_code, FPE_INTDIV);
    EXPECT_EQ((greg_t)caught.si_addr, caught_rip);
}

CASE(undefined_instruction)
{
    attempt(ud2, NULL);
    EXPECT_EQ(caught.si_signo, SIGILL);
    EXPECT_EQ(caught.si_code, ILL_ILLOPN);
    EXPECT_EQ((greg_t)caught.si_addr, caught_rip);
}

CASE(breakpoint)
{
    attempt(int3, NULL);
    EXPECT_EQ(caught.si_signo, SIGTRAP);
    EXPECT_EQ(caught.si_code, SI_KERNEL);
    EXPECT_EQ(*(unsigned char *)(caught_rip - 1), 0xcc);
}

CASE(privileged_instruction)
{
    attempt(hlt, NULL);
    EXPECT_EQ(caught.si_signo, SIGSEGV);
    EXPECT_EQ(caught.si_code, SI_KERNEL);
    EXPECT_EQ(caught.si_addr, NULL);
    EXPECT_EQ(*(unsigned char *)caught_rip, 0xf4);
}

CASE(non_canonical_address)
{
    attempt(write_to, (void *)(1ul << 62));
    EXPECT_EQ(caught.si_signo, SIGSEGV);
    EXPECT_EQ(caught.si_code, SI_KERNEL);
    EXPECT_EQ(caught.si_addr, NULL);
}

CASE(kernel_address)
{
    attempt(write_to, (void *)0xffff800000000000ul);
    EXPECT_EQ(caught.si_signo, SIGSEGV);
    EXPECT_EQ(caught.si_code, SEGV_MAPERR);
}

CASE(alignment_check)
{
    static char buf[16] __attribute__((aligned(16)));
    attempt(load_unaligned, buf);
    __asm__ volatile("pushf\nandl $~0x40000, (%%rsp)\npopf" ::: "memory", "cc");
    EXPECT_EQ(caught.si_signo, SIGBUS);
    EXPECT_EQ(caught.si_code, BUS_ADRALN);
}

static volatile int steps;

static void on_step(int sig, siginfo_t *info, void *uc)
{
    (void)sig;
    if (info->si_code == TRAP_TRACE)
        steps++;
    if (steps >= 1000) /* never ends: stop tracing */
        ((ucontext_t *)uc)->uc_mcontext.gregs[REG_EFL] &= ~0x100;
}

CASE(single_step)
{
    struct sigaction sa = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
    sigaction(SIGTRAP, &sa, NULL);
    steps = 0;
    __asm__ volatile("pushf\n"
                     "orl $0x100, (%%rsp)\n"
                     "popf\n"
                     "nop\n"
                     "nop\n"
                     "nop\n"
                     "pushf\n"
                     "andl $~0x100, (%%rsp)\n"
                     "popf\n"
                     "nop" ::
                         : "memory", "cc");
    /* nop nop nop pushf andl popf: one trap behind each. */
    EXPECT_EQ(steps, 6);
}

CASE(single_step_over_a_system_call)
{
    struct sigaction sa = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
    sigaction(SIGTRAP, &sa, NULL);
    steps = 0;
    long ret;
    __asm__ volatile("pushf\n"
                     "orl $0x100, (%%rsp)\n"
                     "popf\n"
                     "syscall\n"
                     "nop\n"
                     "pushf\n"
                     "andl $~0x100, (%%rsp)\n"
                     "popf\n"
                     "nop"
                     : "=a"(ret)
                     : "a"(SYS_getpid)
                     : "rcx", "r11", "memory", "cc");
    EXPECT_EQ(ret, getpid());
    EXPECT(steps >= 4 && steps <= 5);
}

/* --- code that changes --- */

static void *pages(int prot)
{
    void *p = mmap(NULL, 8192, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

CASE(code_written_and_run)
{
    unsigned char *p = pages(PROT_READ | PROT_WRITE | PROT_EXEC);
    EXPECT(p != NULL);
    for (int i = 0; i < 1000; i++) {
        const unsigned char code[] = {0xb8, (unsigned char)i, (unsigned char)(i >> 8), 0, 0, 0xc3};
        memcpy(p, code, sizeof(code));
        if (((int (*)(void))p)() != i)
            EXPECT_EQ(((int (*)(void))p)(), i);
    }
}

CASE(code_that_writes_itself)
{
    unsigned char *p = pages(PROT_READ | PROT_WRITE | PROT_EXEC);
    /* movb $7, 1(%rip): the immediate of the mov that follows; mov $0, %eax; ret */
    const unsigned char code[] = {0xc6, 0x05, 1, 0, 0, 0, 7, 0xb8, 0, 0, 0, 0, 0xc3};
    memcpy(p, code, sizeof(code));
    EXPECT_EQ(((int (*)(void))p)(), 7);
}

CASE(write_then_protect_then_run)
{
    unsigned char *p = pages(PROT_READ | PROT_WRITE);
    for (int i = 0; i < 50; i++) {
        const unsigned char code[] = {0xb8, (unsigned char)i, 0, 0, 0, 0xc3};
        EXPECT_EQ(mprotect(p, 4096, PROT_READ | PROT_WRITE), 0);
        memcpy(p, code, sizeof(code));
        EXPECT_EQ(mprotect(p, 4096, PROT_READ | PROT_EXEC), 0);
        EXPECT_EQ(((int (*)(void))p)(), i);
    }
    attempt(write_to, p);
    EXPECT_EQ(caught.si_signo, SIGSEGV);
    EXPECT_EQ(caught.si_code, SEGV_ACCERR);
    EXPECT_EQ(caught.si_addr, p);
}

CASE(code_seen_through_two_mappings)
{
    int fd = memfd_create("code", 0);
    EXPECT(fd >= 0);
    EXPECT_EQ(ftruncate(fd, 4096), 0);
    unsigned char *rw = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    unsigned char *rx = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    EXPECT(rw != MAP_FAILED && rx != MAP_FAILED);
    for (int i = 0; i < 50; i++) {
        const unsigned char code[] = {0xb8, (unsigned char)i, 0, 0, 0, 0xc3};
        memcpy(rw, code, sizeof(code));
        EXPECT_EQ(((int (*)(void))rx)(), i);
    }
}

CASE(no_execution_of_data)
{
    unsigned char *p = pages(PROT_READ | PROT_WRITE);
    p[0] = 0xc3;
    attempt(call, p);
    EXPECT_EQ(caught.si_signo, SIGSEGV);
    EXPECT_EQ(caught.si_code, SEGV_ACCERR);
    EXPECT_EQ(caught.si_addr, p);
    EXPECT_EQ(caught_rip, (greg_t)p);
}

CASE(instruction_across_two_pages)
{
    unsigned char *p = pages(PROT_READ | PROT_WRITE);
    const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3};
    memcpy(p + 4096 - 3, code, sizeof(code));
    EXPECT_EQ(mprotect(p, 8192, PROT_READ | PROT_EXEC), 0);
    EXPECT_EQ(((int (*)(void))(p + 4096 - 3))(), 42);
    EXPECT_EQ(mprotect(p + 4096, 4096, PROT_READ | PROT_WRITE), 0);
    attempt(call, p + 4096 - 3);
    EXPECT_EQ(caught.si_signo, SIGSEGV);
    EXPECT_EQ(caught.si_code, SEGV_ACCERR);
    EXPECT_EQ(caught.si_addr, p + 4096);
}

/* Data that begins where code ends: a write that could be taken for a fetch. */
CASE(data_behind_code)
{
    unsigned char *p = pages(PROT_READ | PROT_WRITE);
    /* movl $1, 2(%rip); ret; nop: it writes the first word of the page behind. */
    unsigned char *at = p + 4096 - 12;
    const unsigned char code[] = {0xc7, 0x05, 2, 0, 0, 0, 1, 0, 0, 0, 0xc3, 0x90};
    memcpy(at, code, sizeof(code));
    EXPECT_EQ(mprotect(p, 4096, PROT_READ | PROT_EXEC), 0);
    pid_t pid = fork(); /* the page behind is now to be copied when it is written */
    if (pid == 0)
        _exit(0);
    ((void (*)(void))at)();
    EXPECT_EQ(*(int *)(p + 4096), 1);
    EXPECT_EQ(waitpid(pid, NULL, 0), pid);
}

/* --- registers --- */

CASE(general_registers_survive_a_call)
{
    uint64_t rbx = 1, r12 = 2, r13 = 3, rdi = 4, r8 = 5, r9 = 6, r10 = 7;
    __asm__ volatile("mov $0x11, %%rbx\n mov $0x12, %%r12\n mov $0x13, %%r13\n"
                     "mov $0x14, %%rdi\n mov $0x15, %%r8\n mov $0x16, %%r9\n mov $0x17, %%r10\n"
                     "mov %[nr], %%eax\n syscall\n"
                     "mov %%rbx, %[rbx]\n mov %%r12, %[r12]\n mov %%r13, %[r13]\n"
                     "mov %%rdi, %[rdi]\n mov %%r8, %[r8]\n mov %%r9, %[r9]\n mov %%r10, %[r10]\n"
                     : [rbx] "=m"(rbx), [r12] "=m"(r12), [r13] "=m"(r13), [rdi] "=m"(rdi),
                       [r8] "=m"(r8), [r9] "=m"(r9), [r10] "=m"(r10)
                     : [nr] "i"(SYS_getppid)
                     : "rax", "rbx", "rcx", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
                       "memory");
    EXPECT_EQ(rbx, 0x11);
    EXPECT_EQ(r12, 0x12);
    EXPECT_EQ(r13, 0x13);
    EXPECT_EQ(rdi, 0x14);
    EXPECT_EQ(r8, 0x15);
    EXPECT_EQ(r9, 0x16);
    EXPECT_EQ(r10, 0x17);
}

/* xmm15, and the upper parts of ymm15 and zmm31 where there are any. */
static void set_vectors(const uint8_t *from)
{
    __asm__ volatile("movdqu (%0), %%xmm15" : : "r"(from) : "xmm15");
    if (__builtin_cpu_supports("avx2"))
        __asm__ volatile("vmovdqu (%0), %%ymm14" : : "r"(from) : "xmm14");
    if (__builtin_cpu_supports("avx512f"))
        __asm__ volatile("vmovdqu64 (%0), %%zmm13\n vmovdqu64 (%0), %%zmm31\n kmovw %1, %%k3"
                         :
                         : "r"(from), "r"((unsigned)from[0])
                         : "xmm13");
}

static int vectors_are(const uint8_t *expected)
{
    uint8_t got[64];
    unsigned k;
    __asm__ volatile("movdqu %%xmm15, (%0)" : : "r"(got) : "memory");
    int same = memcmp(got, expected, 16) == 0;
    if (__builtin_cpu_supports("avx2")) {
        __asm__ volatile("vmovdqu %%ymm14, (%0)" : : "r"(got) : "memory");
        same &= memcmp(got, expected, 32) == 0;
    }
    if (__builtin_cpu_supports("avx512f")) {
        __asm__ volatile("vmovdqu64 %%zmm13, (%1)\n kmovw %%k3, %0"
                         : "=r"(k)
                         : "r"(got)
                         : "memory");
        same &= memcmp(got, expected, 64) == 0 && k == expected[0];
        __asm__ volatile("vmovdqu64 %%zmm31, (%0)" : : "r"(got) : "memory");
        same &= memcmp(got, expected, 64) == 0;
    }
    return same;
}

static void fill(uint8_t *v, int seed)
{
    for (int i = 0; i < 64; i++)
        v[i] = (uint8_t)(seed * 37 + i);
}

static void *vectors_in_a_thread(void *arg)
{
    uint8_t v[64];
    fill(v, (int)(intptr_t)arg);
    set_vectors(v);
    for (int i = 0; i < 2000; i++) {
        if (i % 3)
            syscall(SYS_getppid);
        else
            syscall(SYS_sched_yield);
        if (!vectors_are(v))
            return (void *)1;
    }
    return NULL;
}

CASE(vectors_survive_calls_of_many_threads)
{
    pthread_t t[6];
    for (intptr_t i = 0; i < 6; i++)
        EXPECT_EQ(pthread_create(&t[i], NULL, vectors_in_a_thread, (void *)(i + 1)), 0);
    for (int i = 0; i < 6; i++) {
        void *bad = NULL;
        pthread_join(t[i], &bad);
        EXPECT_EQ(bad, NULL);
    }
}

static void clobber_vectors(int sig)
{
    (void)sig;
    uint8_t v[64];
    fill(v, 99);
    set_vectors(v);
}

CASE(vectors_survive_signals)
{
    uint8_t v[64];
    fill(v, 5);
    signal(SIGUSR1, clobber_vectors);
    set_vectors(v);
    for (int i = 0; i < 100; i++)
        syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1);
    EXPECT(vectors_are(v));
}

CASE(vectors_are_inherited)
{
    uint8_t v[64];
    fill(v, 6);
    set_vectors(v);
    long pid = syscall(SYS_fork);
    if (pid == 0)
        syscall(SYS_exit_group, vectors_are(v) ? 0 : 1);
    EXPECT(vectors_are(v));
    int status;
    EXPECT_EQ(waitpid((pid_t)pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
}

CASE(rounding_mode_is_inherited)
{
    fesetround(FE_UPWARD);
    pid_t pid = fork();
    if (pid == 0)
        _exit(fegetround() == FE_UPWARD ? 0 : 1);
    int status;
    EXPECT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
    for (int i = 0; i < 100; i++)
        sched_yield();
    EXPECT_EQ(fegetround(), FE_UPWARD);
}

CASE(floating_point_exceptions)
{
    attempt(divide_by_zero_in_floating_point, NULL);
    EXPECT_EQ(caught.si_signo, SIGFPE);
    EXPECT_EQ(caught.si_code, FPE_FLTDIV);
}

CASE(segment_bases)
{
    static uint64_t words[4] = {10, 20, 30, 40};
    unsigned long base = 0, value;
    EXPECT_EQ(syscall(SYS_arch_prctl, ARCH_SET_GS, &words[1]), 0);
    EXPECT_EQ(syscall(SYS_arch_prctl, ARCH_GET_GS, &base), 0);
    EXPECT_EQ(base, (unsigned long)&words[1]);
    __asm__ volatile("mov %%gs:8, %0" : "=r"(value));
    EXPECT_EQ(value, 30);
    EXPECT_EQ(syscall(SYS_arch_prctl, ARCH_GET_FS, &base), 0);
    __asm__ volatile("mov %%fs:0, %0" : "=r"(value));
    EXPECT_EQ(base, value);
    EXPECT_EQ(syscall(SYS_arch_prctl, ARCH_SET_GS, 0xffff800000000000ul), -1);

    if (!(getauxval(AT_HWCAP2) & 2)) /* HWCAP2_FSGSBASE */
        return;
    __asm__ volatile("wrgsbase %0" : : "r"(&words[2]));
    sched_yield();
    __asm__ volatile("rdgsbase %0" : "=r"(value));
    EXPECT_EQ(value, (unsigned long)&words[2]);
    EXPECT_EQ(syscall(SYS_arch_prctl, ARCH_GET_GS, &base), 0);
    EXPECT_EQ(base, value);
}

CASE(time_stamp_counter)
{
    uint32_t low, high;
    uint64_t last = 0;
    for (int i = 0; i < 1000; i++) {
        __asm__ volatile("lfence\n rdtsc" : "=a"(low), "=d"(high));
        uint64_t now = low | (uint64_t)high << 32;
        if (now < last)
            EXPECT(now >= last);
        last = now;
        if (i % 100 == 0)
            sched_yield();
    }
}

CASE(vsyscall_page)
{
    time_t now = time(NULL), got = 0;
    attempt(get_vsyscall_time, &got);
    if (caught.si_signo)
        SKIP("no vsyscall page here");
    EXPECT(got >= now && got <= now + 2);
}

TEST_MAIN
