/*
 * seccomp(2): modes, the checker, actions, inheritance, TSYNC.
 */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <ucontext.h>

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define RET(value) BPF_STMT(BPF_RET | BPF_K, value)
#define ON_CALL(call, action)                                                                      \
    LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1), RET(action), RET(SECCOMP_RET_ALLOW)
#define FILTER(...)                                                                                \
    &(struct sock_fprog)                                                                           \
    {                                                                                              \
        .len = sizeof((struct sock_filter[]){__VA_ARGS__}) / sizeof(struct sock_filter),           \
        .filter = (struct sock_filter[])                                                           \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define ALLOW_ALL FILTER(RET(SECCOMP_RET_ALLOW))

static int seccomp(unsigned op, unsigned flags, const void *args)
{
    return (int)syscall(SYS_seccomp, op, flags, args);
}

static int install(const struct sock_fprog *prog)
{
    return seccomp(SECCOMP_SET_MODE_FILTER, 0, prog);
}

static void no_new_privs(void)
{
    EXPECT_OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static void no_core(void)
{
    struct rlimit rl = {0, 0};
    EXPECT_OK(setrlimit(RLIMIT_CORE, &rl));
}

static long status_field(const char *name)
{
    char line[256];
    long value = -1;
    FILE *f = fopen("/proc/thread-self/status", "r");
    EXPECT(f != NULL);
    while (fgets(line, sizeof(line), f)) {
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
            value = atol(line + strlen(name) + 1);
    }
    fclose(f);
    return value;
}

/* ---- arguments ---- */

CASE(arguments)
{
    EXPECT_ERRNO(EINVAL, seccomp(17, 0, NULL));
    EXPECT_ERRNO(EINVAL, seccomp(SECCOMP_SET_MODE_STRICT, 1, NULL));
    EXPECT_ERRNO(EINVAL, seccomp(SECCOMP_SET_MODE_STRICT, 0, ""));
    EXPECT_ERRNO(EINVAL, seccomp(SECCOMP_SET_MODE_FILTER, 0x8000, ALLOW_ALL));
    EXPECT_ERRNO(EINVAL,
                 seccomp(SECCOMP_SET_MODE_FILTER,
                         SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_NEW_LISTENER, ALLOW_ALL));
    EXPECT_ERRNO(EFAULT, seccomp(SECCOMP_SET_MODE_FILTER, 0, NULL));
    EXPECT_ERRNO(EFAULT, seccomp(SECCOMP_SET_MODE_FILTER, 0, (void *)1));
    EXPECT_ERRNO(EINVAL, prctl(PR_SET_SECCOMP, 3, NULL));
    EXPECT_ERRNO(EINVAL, prctl(PR_SET_SECCOMP, 0, NULL));
    EXPECT_ERRNO(EFAULT, prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, 0));
    EXPECT_EQ(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), 0);
    struct sock_fprog nowhere = {.len = 1, .filter = NULL};
    no_new_privs();
    EXPECT_ERRNO(EINVAL, install(&nowhere));
    nowhere.filter = (void *)1;
    EXPECT_ERRNO(EFAULT, install(&nowhere));
    EXPECT_ERRNO(EINVAL, install(&(struct sock_fprog){.len = 0, .filter = NULL}));
    EXPECT_ERRNO(EINVAL, install(&(struct sock_fprog){.len = 4097, .filter = NULL}));
    EXPECT_EQ(status_field("Seccomp"), 0);
}

CASE(privilege)
{
    if (geteuid() == 0)
        EXPECT_OK(setresuid(1000, 1000, 1000));
    EXPECT_ERRNO(EACCES, install(ALLOW_ALL));
    EXPECT_ERRNO(EACCES, prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ALLOW_ALL));
    no_new_privs();
    EXPECT_OK(install(ALLOW_ALL));
    EXPECT_OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ALLOW_ALL));
    EXPECT_EQ(prctl(PR_GET_SECCOMP, 0, 0, 0, 0), 2);
    EXPECT_EQ(status_field("Seccomp"), 2);
    EXPECT_EQ(status_field("Seccomp_filters"), 2);
    EXPECT_EQ(status_field("NoNewPrivs"), 1);
    EXPECT_ERRNO(EINVAL, prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT, 0));
    EXPECT_ERRNO(EINVAL, seccomp(SECCOMP_SET_MODE_STRICT, 0, NULL));
}

CASE(actions_available)
{
    static const uint32_t known[] = {
        SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO,
        SECCOMP_RET_USER_NOTIF,   SECCOMP_RET_TRACE,       SECCOMP_RET_LOG,  SECCOMP_RET_ALLOW};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        EXPECT_OK(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &known[i]));
    uint32_t unknown = 0x10000000;
    EXPECT_ERRNO(EOPNOTSUPP, seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &unknown));
    EXPECT_ERRNO(EINVAL, seccomp(SECCOMP_GET_ACTION_AVAIL, 1, &unknown));
    EXPECT_ERRNO(EFAULT, seccomp(SECCOMP_GET_ACTION_AVAIL, 0, NULL));
    struct seccomp_notif_sizes sizes;
    EXPECT_OK(seccomp(SECCOMP_GET_NOTIF_SIZES, 0, &sizes));
    EXPECT_EQ(sizes.seccomp_notif, sizeof(struct seccomp_notif));
    EXPECT_EQ(sizes.seccomp_notif_resp, sizeof(struct seccomp_notif_resp));
    EXPECT_EQ(sizes.seccomp_data, sizeof(struct seccomp_data));
    EXPECT_ERRNO(EINVAL, seccomp(SECCOMP_GET_NOTIF_SIZES, 1, &sizes));
    EXPECT_ERRNO(EFAULT, seccomp(SECCOMP_GET_NOTIF_SIZES, 0, NULL));
}

CASE(sysctl)
{
    char text[256] = {0};
    int fd = EXPECT_OK(open("/proc/sys/kernel/seccomp/actions_avail", O_RDONLY));
    EXPECT_OK(read(fd, text, sizeof(text) - 1));
    EXPECT_STREQ(text, "kill_process kill_thread trap errno user_notif trace log allow\n");
    close(fd);
    fd = EXPECT_OK(open("/proc/sys/kernel/seccomp/actions_logged", O_RDONLY));
    EXPECT_GT(read(fd, text, sizeof(text) - 1), 0);
    close(fd);
}

/* ---- the checker ---- */

CASE(malformed_programs)
{
    no_new_privs();
    /* It has to return. */
    EXPECT_ERRNO(EINVAL, install(FILTER(LOAD(nr))));
    EXPECT_ERRNO(EINVAL, install(FILTER(RET(SECCOMP_RET_ALLOW), LOAD(nr))));
    /* Jumps within the program. */
    EXPECT_ERRNO(EINVAL, install(FILTER(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1),
                                        RET(SECCOMP_RET_ALLOW))));
    EXPECT_ERRNO(EINVAL, install(FILTER(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0),
                                        RET(SECCOMP_RET_ALLOW))));
    EXPECT_ERRNO(EINVAL,
                 install(FILTER(BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0), RET(SECCOMP_RET_ALLOW))));
    EXPECT_ERRNO(EINVAL, install(FILTER(BPF_JUMP(BPF_JMP | BPF_JA, 0xffffffff, 0, 0),
                                        RET(SECCOMP_RET_ALLOW))));
    /* Aligned words of seccomp_data, nothing else. */
    EXPECT_ERRNO(EINVAL,
                 install(FILTER(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 2), RET(SECCOMP_RET_ALLOW))));
    EXPECT_ERRNO(EINVAL,
                 install(FILTER(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, sizeof(struct seccomp_data)),
                                RET(SECCOMP_RET_ALLOW))));
    EXPECT_ERRNO(EINVAL,
                 install(FILTER(BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 0), RET(SECCOMP_RET_ALLOW))));
    EXPECT_ERRNO(EINVAL,
                 install(FILTER(BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0), RET(SECCOMP_RET_ALLOW))));
    EXPECT_ERRNO(EINVAL,
                 install(FILTER(BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0), RET(SECCOMP_RET_ALLOW))));
    /* Scratch memory, initialised on all paths. */
    EXPECT_ERRNO(EINVAL, install(FILTER(BPF_STMT(BPF_ST, 16), RET(SECCOMP_RET_ALLOW))));
    EXPECT_ERRNO(EINVAL, install(FILTER(BPF_STMT(BPF_LD | BPF_MEM, 0), RET(SECCOMP_RET_ALLOW))));
    EXPECT_ERRNO(EINVAL,
                 install(FILTER(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), BPF_STMT(BPF_ST, 0),
                                BPF_STMT(BPF_LD | BPF_MEM, 0), RET(SECCOMP_RET_ALLOW))));
    EXPECT_OK(install(FILTER(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2), BPF_STMT(BPF_ST, 0),
                             BPF_STMT(BPF_LD | BPF_MEM, 0), RET(SECCOMP_RET_ALLOW))));
    /* Arithmetic. */
    EXPECT_ERRNO(EINVAL,
                 install(FILTER(BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), RET(SECCOMP_RET_ALLOW))));
    EXPECT_ERRNO(EINVAL,
                 install(FILTER(BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 32), RET(SECCOMP_RET_ALLOW))));
    EXPECT_ERRNO(EINVAL,
                 install(FILTER(BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 2), RET(SECCOMP_RET_ALLOW))));
    EXPECT_ERRNO(EINVAL, install(FILTER(BPF_STMT(0xffff, 0), RET(SECCOMP_RET_ALLOW))));
    EXPECT_ERRNO(EINVAL, install(FILTER(BPF_STMT(BPF_RET | BPF_X, 0))));
}

CASE(sizes)
{
    static struct sock_filter insns[4097];
    for (int i = 0; i < 4097; i++)
        insns[i] = (struct sock_filter)RET(SECCOMP_RET_ALLOW);
    no_new_privs();
    EXPECT_ERRNO(EINVAL, install(&(struct sock_fprog){.len = 4097, .filter = insns}));
    /* 32768 in all, in whatever form the kernel counts them. */
    int n = 0;
    while (install(&(struct sock_fprog){.len = 4096, .filter = insns}) == 0)
        EXPECT_LE(++n, 8);
    EXPECT_EQ(errno, ENOMEM);
    EXPECT_GE(n, 2);
    EXPECT_EQ(status_field("Seccomp_filters"), n);
}

/* ---- what programs compute: the result is an errno of getppid ---- */

static int computed(const struct sock_fprog *tail)
{
    struct sock_filter insns[64] = {
        LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpgid, 1, 0), RET(SECCOMP_RET_ALLOW)};
    int out[2];
    int result = 0;
    memcpy(insns + 3, tail->filter, tail->len * sizeof(insns[0]));
    EXPECT_OK(pipe(out));
    pid_t pid = FORK({
        no_new_privs();
        EXPECT_OK(install(&(struct sock_fprog){.len = 3 + tail->len, .filter = insns}));
        int e = syscall(SYS_getpgid, 0x1111222233334444, 7) < 0 ? errno : 0;
        EXPECT_EQ(write(out[1], &e, sizeof(e)), sizeof(e));
    });
    close(out[1]);
    if (read(out[0], &result, sizeof(result)) != sizeof(result))
        result = -1;
    close(out[0]);
    test_wait(pid);
    return result;
}

#define RETURN_A                                                                                   \
    BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xfff),                                                    \
        BPF_STMT(BPF_ALU | BPF_OR | BPF_K, SECCOMP_RET_ERRNO), BPF_STMT(BPF_RET | BPF_A, 0)
#define A(k) BPF_STMT(BPF_LD | BPF_IMM, k)
#define X(k) BPF_STMT(BPF_LDX | BPF_IMM, k)
#define ALU(op, k) BPF_STMT(BPF_ALU | op | BPF_K, k)
#define ALUX(op) BPF_STMT(BPF_ALU | op | BPF_X, 0)

CASE(arithmetic)
{
    EXPECT_EQ(computed(FILTER(A(5), ALU(BPF_ADD, 7), RETURN_A)), 12);
    EXPECT_EQ(computed(FILTER(A(5), X(9), ALUX(BPF_ADD), RETURN_A)), 14);
    EXPECT_EQ(computed(FILTER(A(9), ALU(BPF_SUB, 7), RETURN_A)), 2);
    EXPECT_EQ(computed(FILTER(A(9), X(4), ALUX(BPF_SUB), RETURN_A)), 5);
    EXPECT_EQ(computed(FILTER(A(9), ALU(BPF_MUL, 7), RETURN_A)), 63);
    EXPECT_EQ(computed(FILTER(A(9), X(3), ALUX(BPF_MUL), RETURN_A)), 27);
    EXPECT_EQ(computed(FILTER(A(90), ALU(BPF_DIV, 7), RETURN_A)), 12);
    EXPECT_EQ(computed(FILTER(A(90), X(8), ALUX(BPF_DIV), RETURN_A)), 11);
    EXPECT_EQ(computed(FILTER(A(12), ALU(BPF_OR, 3), RETURN_A)), 15);
    EXPECT_EQ(computed(FILTER(A(12), X(6), ALUX(BPF_AND), RETURN_A)), 4);
    EXPECT_EQ(computed(FILTER(A(12), ALU(BPF_XOR, 6), RETURN_A)), 10);
    EXPECT_EQ(computed(FILTER(A(3), ALU(BPF_LSH, 4), RETURN_A)), 48);
    EXPECT_EQ(computed(FILTER(A(3), X(33), ALUX(BPF_LSH), RETURN_A)), 6);
    EXPECT_EQ(computed(FILTER(A(0x80000000), ALU(BPF_RSH, 28), RETURN_A)), 8);
    EXPECT_EQ(computed(FILTER(A(0xffffffff), BPF_STMT(BPF_ALU | BPF_NEG, 0), RETURN_A)), 1);
    EXPECT_EQ(computed(FILTER(A(4), BPF_STMT(BPF_MISC | BPF_TAX, 0), A(1), ALUX(BPF_ADD),
                              BPF_STMT(BPF_MISC | BPF_TXA, 0), RETURN_A)),
              4);
    EXPECT_EQ(computed(FILTER(A(4), BPF_STMT(BPF_ST, 15), A(0), X(5), BPF_STMT(BPF_STX, 0),
                              BPF_STMT(BPF_LD | BPF_MEM, 0), BPF_STMT(BPF_LDX | BPF_MEM, 15),
                              ALUX(BPF_ADD), RETURN_A)),
              9);
    EXPECT_EQ(computed(FILTER(BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), RETURN_A)), 64);
    EXPECT_EQ(computed(FILTER(BPF_STMT(BPF_LDX | BPF_W | BPF_LEN, 0),
                              BPF_STMT(BPF_MISC | BPF_TXA, 0), RETURN_A)),
              64);
    EXPECT_EQ(computed(FILTER(LOAD(args[1]), RETURN_A)), 7);
    EXPECT_EQ(computed(FILTER(LOAD(args[0]), RETURN_A)), 0x444);
    EXPECT_EQ(computed(FILTER(
                  BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0]) + 4),
                  RETURN_A)),
              0x222);
}

CASE(jumps)
{
    EXPECT_EQ(computed(FILTER(A(5), BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 5, 0, 1), A(1), RETURN_A)),
              5);
    EXPECT_EQ(computed(FILTER(A(5), BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 5, 0, 1), A(1), RETURN_A)),
              1);
    EXPECT_EQ(computed(FILTER(A(5), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 4, 0, 1), A(1), RETURN_A)),
              1);
    EXPECT_EQ(
        computed(FILTER(A(5), X(5), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_X, 0, 1, 0), A(1), RETURN_A)),
        5);
    EXPECT_EQ(
        computed(FILTER(A(5), X(9), BPF_JUMP(BPF_JMP | BPF_JGT | BPF_X, 0, 1, 0), A(1), RETURN_A)),
        1);
    EXPECT_EQ(
        computed(FILTER(A(5), X(5), BPF_JUMP(BPF_JMP | BPF_JGE | BPF_X, 0, 1, 0), A(1), RETURN_A)),
        5);
    EXPECT_EQ(
        computed(FILTER(A(5), X(2), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_X, 0, 1, 0), A(1), RETURN_A)),
        1);
    EXPECT_EQ(computed(FILTER(A(5), BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0), A(1), RETURN_A)), 5);
}

/* A division by zero ends the program with 0: the thread is killed. */
CASE(division_by_zero)
{
    no_core();
    pid_t pid = FORK({
        no_new_privs();
        install(FILTER(LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getppid, 1, 0),
                       RET(SECCOMP_RET_ALLOW), X(0), ALUX(BPF_DIV), RET(SECCOMP_RET_ALLOW)));
        syscall(SYS_getppid);
    });
    EXPECT_KILLED(pid, SIGSYS);
}

/* ---- actions ---- */

CASE(errno)
{
    no_new_privs();
    EXPECT_OK(install(FILTER(ON_CALL(SYS_getppid, SECCOMP_RET_ERRNO | 123))));
    EXPECT_ERRNO(123, syscall(SYS_getppid));
    EXPECT_OK(syscall(SYS_getpid));
    EXPECT_OK(install(FILTER(ON_CALL(SYS_getpid, SECCOMP_RET_ERRNO | 0))));
    EXPECT_EQ(syscall(SYS_getpid), 0);
    EXPECT_OK(install(FILTER(ON_CALL(SYS_gettid, SECCOMP_RET_ERRNO | 0xffff))));
    EXPECT_ERRNO(4095, syscall(SYS_gettid));
    /* The newest of equals decides; a stronger action wins. */
    EXPECT_OK(install(FILTER(ON_CALL(SYS_getppid, SECCOMP_RET_ERRNO | 45))));
    EXPECT_ERRNO(45, syscall(SYS_getppid));
    EXPECT_OK(install(FILTER(ON_CALL(SYS_getppid, SECCOMP_RET_ALLOW))));
    EXPECT_ERRNO(45, syscall(SYS_getppid));
}

CASE(log_allows)
{
    no_new_privs();
    EXPECT_OK(install(FILTER(ON_CALL(SYS_getppid, SECCOMP_RET_LOG))));
    EXPECT_EQ(syscall(SYS_getppid), getppid());
    EXPECT_OK(seccomp(SECCOMP_SET_MODE_FILTER,
                      SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW, ALLOW_ALL));
}

CASE(trace_without_tracer)
{
    no_new_privs();
    EXPECT_OK(install(FILTER(ON_CALL(SYS_getppid, SECCOMP_RET_TRACE))));
    EXPECT_ERRNO(ENOSYS, syscall(SYS_getppid));
}

CASE(unknown_action_kills)
{
    no_core();
    pid_t pid = FORK({
        no_new_privs();
        install(FILTER(ON_CALL(SYS_getppid, 0x10000000)));
        syscall(SYS_getppid);
    });
    EXPECT_KILLED(pid, SIGSYS);
}

static volatile int trap_count;
static siginfo_t trap_info;
static long trap_rax, trap_rip;

static void on_sigsys(TEST_UNUSED int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    trap_count++;
    trap_info = *info;
    trap_rax = uc->uc_mcontext.gregs[REG_RAX];
    trap_rip = uc->uc_mcontext.gregs[REG_RIP];
    uc->uc_mcontext.gregs[REG_RAX] = 4711;
}

CASE(trap)
{
    struct sigaction sa = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO};
    EXPECT_OK(sigaction(SIGSYS, &sa, NULL));
    no_new_privs();
    EXPECT_OK(install(FILTER(ON_CALL(SYS_getppid, SECCOMP_RET_TRAP | 77))));
    EXPECT_EQ(syscall(SYS_getppid), 4711);
    EXPECT_EQ(trap_count, 1);
    EXPECT_EQ(trap_info.si_signo, SIGSYS);
    EXPECT_EQ(trap_info.si_code, 1);
    EXPECT_EQ(trap_info.si_errno, 77);
    EXPECT_EQ(trap_info.si_syscall, SYS_getppid);
    EXPECT_EQ(trap_info.si_arch, AUDIT_ARCH_X86_64);
    EXPECT_EQ((long)trap_info.si_call_addr, trap_rip);
    EXPECT_EQ(trap_rax, SYS_getppid);
    EXPECT_EQ(((unsigned char *)trap_rip)[-1], 0x05);
}

CASE(trap_blocked_kills)
{
    no_core();
    pid_t pid = FORK({
        struct sigaction sa = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO};
        sigset_t set;
        sigaction(SIGSYS, &sa, NULL);
        sigemptyset(&set);
        sigaddset(&set, SIGSYS);
        sigprocmask(SIG_BLOCK, &set, NULL);
        no_new_privs();
        install(FILTER(ON_CALL(SYS_getppid, SECCOMP_RET_TRAP)));
        syscall(SYS_getppid);
    });
    EXPECT_KILLED(pid, SIGSYS);
}

CASE(kill_process)
{
    no_core();
    pid_t pid = FORK({
        signal(SIGSYS, SIG_IGN);
        no_new_privs();
        install(FILTER(ON_CALL(SYS_getppid, SECCOMP_RET_KILL_PROCESS)));
        syscall(SYS_getppid);
    });
    EXPECT_KILLED(pid, SIGSYS);
}

static void *make_call(TEST_UNUSED void *arg)
{
    syscall(SYS_getppid);
    return NULL;
}

static void *kill_me(TEST_UNUSED void *arg)
{
    no_new_privs();
    install(FILTER(ON_CALL(SYS_getppid, SECCOMP_RET_KILL_THREAD)));
    syscall(SYS_getppid);
    return (void *)1;
}

CASE(kill_thread)
{
    pthread_t thread;
    EXPECT_EQ(pthread_create(&thread, NULL, kill_me, NULL), 0);
    void *result = NULL;
    EXPECT_EQ(pthread_join(thread, &result), 0);
    EXPECT(result != (void *)1);
    EXPECT_OK(syscall(SYS_getppid));
}

CASE(kill_process_from_thread)
{
    no_core();
    pid_t pid = FORK({
        pthread_t thread;
        no_new_privs();
        install(FILTER(ON_CALL(SYS_getppid, SECCOMP_RET_KILL_PROCESS)));
        pthread_create(&thread, NULL, make_call, NULL);
        pause();
    });
    EXPECT_KILLED(pid, SIGSYS);
}

/* ---- strict ---- */

CASE(strict)
{
    int fds[2];
    char c = 'x';
    EXPECT_OK(pipe(fds));
    pid_t pid = FORK({
        EXPECT_OK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
        if (write(fds[1], &c, 1) == 1 && read(fds[0], &c, 1) == 1)
            syscall(SYS_exit, 42);
    });
    EXPECT_EXITED(pid, 42);
    static const int refused[] = {SYS_getpid, SYS_exit_group, SYS_prctl, SYS_openat};
    for (size_t i = 0; i < 4; i++) {
        pid = FORK({
            EXPECT_OK(seccomp(SECCOMP_SET_MODE_STRICT, 0, NULL));
            syscall(refused[i], 0, 0, 0);
        });
        EXPECT_KILLED(pid, SIGKILL);
    }
}

/* ---- who gets them ---- */

CASE(fork_inherits)
{
    no_new_privs();
    EXPECT_OK(install(FILTER(ON_CALL(SYS_getppid, SECCOMP_RET_ERRNO | 5))));
    EXPECT_EXITED(FORK({
                      EXPECT_ERRNO(5, syscall(SYS_getppid));
                      EXPECT_EQ(status_field("Seccomp"), 2);
                      EXPECT_EQ(status_field("Seccomp_filters"), 1);
                      EXPECT_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
                  }),
                  0);
}

CASE(child_does_not_affect_parent)
{
    EXPECT_EXITED(FORK({
                      no_new_privs();
                      EXPECT_OK(install(FILTER(ON_CALL(SYS_getppid, SECCOMP_RET_ERRNO | 5))));
                      EXPECT_ERRNO(5, syscall(SYS_getppid));
                  }),
                  0);
    EXPECT_OK(syscall(SYS_getppid));
    EXPECT_EQ(status_field("Seccomp"), 0);
}

CASE(exec_keeps)
{
    no_core();
    char self[512];
    ssize_t n = EXPECT_OK(readlink("/proc/self/exe", self, sizeof(self) - 1));
    self[n] = '\0';
    pid_t pid = FORK({
        no_new_privs();
        EXPECT_OK(install(FILTER(ON_CALL(SYS_pidfd_open, SECCOMP_RET_KILL_PROCESS))));
        execl(self, self, "--no-fork", "calls_pidfd_open", NULL);
    });
    EXPECT_KILLED(pid, SIGSYS);
}

CASE(calls_pidfd_open)
{
    int fd = EXPECT_OK((int)syscall(SYS_pidfd_open, getpid(), 0));
    close(fd);
}

/* ---- TSYNC ---- */

static pthread_barrier_t before, after;
static _Atomic long thread_result, thread_tid;

static void *waits(void *own_filter)
{
    thread_tid = syscall(SYS_gettid);
    if (own_filter) {
        no_new_privs();
        EXPECT_OK(install(ALLOW_ALL));
    }
    pthread_barrier_wait(&before);
    pthread_barrier_wait(&after);
    thread_result = syscall(SYS_getppid) == -1 ? errno : 0;
    EXPECT_EQ(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0), 1);
    return NULL;
}

static pthread_t start_waiter(bool own_filter)
{
    pthread_t thread;
    pthread_barrier_init(&before, NULL, 2);
    pthread_barrier_init(&after, NULL, 2);
    EXPECT_EQ(pthread_create(&thread, NULL, waits, own_filter ? &thread : NULL), 0);
    pthread_barrier_wait(&before);
    return thread;
}

CASE(tsync)
{
    pthread_t thread = start_waiter(false);
    no_new_privs();
    EXPECT_OK(install(ALLOW_ALL));
    EXPECT_EQ(seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC,
                      FILTER(ON_CALL(SYS_getppid, SECCOMP_RET_ERRNO | 9))),
              0);
    pthread_barrier_wait(&after);
    pthread_join(thread, NULL);
    EXPECT_EQ(thread_result, 9);
}

CASE(tsync_refused)
{
    pthread_t thread = start_waiter(true);
    const struct sock_fprog *prog = FILTER(ON_CALL(SYS_getppid, SECCOMP_RET_ERRNO | 9));
    no_new_privs();
    EXPECT_EQ(seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, prog), thread_tid);
    EXPECT_ERRNO(ESRCH, seccomp(SECCOMP_SET_MODE_FILTER,
                                SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH, prog));
    EXPECT_EQ(status_field("Seccomp"), 0);
    EXPECT_OK(syscall(SYS_getppid));
    pthread_barrier_wait(&after);
    pthread_join(thread, NULL);
    EXPECT_EQ(thread_result, 0);
}

/* Threads come and go while filters are spread: whoever exists afterwards has them. */
static void *nothing(TEST_UNUSED void *arg)
{
    return NULL;
}
static _Atomic bool churn_over;
static void *churn(TEST_UNUSED void *arg)
{
    pthread_t thread;
    while (!churn_over) {
        if (pthread_create(&thread, NULL, nothing, NULL) == 0)
            pthread_join(thread, NULL);
    }
    return syscall(SYS_getppid) == -1 && errno == 9 ? NULL : (void *)1;
}

CASE(tsync_race)
{
    pthread_t threads[3];
    void *result;
    no_new_privs();
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, churn, NULL), 0);
    for (int i = 0; i < 30; i++)
        EXPECT_EQ(seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC,
                          FILTER(ON_CALL(SYS_getppid, SECCOMP_RET_ERRNO | 9))),
                  0);
    churn_over = true;
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], &result);
        EXPECT(result == NULL);
    }
}

/* ---- numbers ---- */

CASE(foreign_numbers)
{
    EXPECT_ERRNO(ENOSYS, syscall(-1));
    no_new_privs();
    EXPECT_OK(install(FILTER(LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 100000, 0, 1),
                             RET(SECCOMP_RET_ERRNO | 61), RET(SECCOMP_RET_ALLOW))));
    EXPECT_ERRNO(61, syscall(100000));
    EXPECT_OK(install(FILTER(LOAD(nr), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0xffffffff, 0, 1),
                             RET(SECCOMP_RET_ERRNO | 62), RET(SECCOMP_RET_ALLOW))));
    EXPECT_ERRNO(62, syscall(-1));
    EXPECT_OK(
        install(FILTER(LOAD(arch), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
                       RET(SECCOMP_RET_KILL_PROCESS), RET(SECCOMP_RET_ALLOW))));
    EXPECT_OK(syscall(SYS_getpid));
}

/* The clock is read without a system call. */
CASE(vdso_unaffected)
{
    struct timespec ts;
    EXPECT_OK(clock_gettime(CLOCK_MONOTONIC, &ts));
    no_new_privs();
    EXPECT_OK(install(FILTER(ON_CALL(SYS_getppid, SECCOMP_RET_ERRNO | 5))));
    EXPECT_OK(clock_gettime(CLOCK_MONOTONIC, &ts));
}

TEST_MAIN
