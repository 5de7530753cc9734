/* sigaction(2), sigprocmask(2), sigpending(2), sigsuspend(2), kill(2), queues and siginfo. */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>

static volatile sig_atomic_t count, last;
static siginfo_t info_seen[64];
static int order[64];

static void on_info(int sig, siginfo_t *info, void *uc)
{
    (void)uc;
    if (count < 64) {
        info_seen[count] = *info;
        order[count] = sig;
    }
    count++;
    last = sig;
}

static void catch (int sig, int flags)
{
    struct sigaction sa = {.sa_sigaction = on_info, .sa_flags = SA_SIGINFO | flags};
    EXPECT_OK(sigaction(sig, &sa, NULL));
}

static void block(int how, int sig)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, sig);
    EXPECT_OK(sigprocmask(how, &set, NULL));
}

CASE(sigaction_errors)
{
    struct sigaction sa = {.sa_handler = SIG_IGN};
    EXPECT_ERRNO(EINVAL, sigaction(0, &sa, NULL));
    EXPECT_ERRNO(EINVAL, sigaction(65, &sa, NULL));
    EXPECT_ERRNO(EINVAL, sigaction(-1, &sa, NULL));
    EXPECT_ERRNO(EINVAL, sigaction(SIGKILL, &sa, NULL));
    EXPECT_ERRNO(EINVAL, sigaction(SIGSTOP, &sa, NULL));
    EXPECT_OK(sigaction(SIGKILL, NULL, &sa));
    EXPECT_ERRNO(EINVAL, syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 4));
    EXPECT_ERRNO(EFAULT, syscall(SYS_rt_sigaction, SIGUSR1, (void *)8, NULL, 8));
    EXPECT_ERRNO(EFAULT, syscall(SYS_rt_sigaction, SIGUSR1, NULL, (void *)8, 8));
}

CASE(sigaction_returns_the_old_one)
{
    struct sigaction sa = {.sa_handler = SIG_IGN, .sa_flags = SA_RESTART | SA_NODEFER}, old;
    sigaddset(&sa.sa_mask, SIGUSR2);
    sigaddset(&sa.sa_mask, SIGKILL);
    EXPECT_OK(sigaction(SIGUSR1, &sa, NULL));
    EXPECT_OK(sigaction(SIGUSR1, NULL, &old));
    EXPECT_EQ(old.sa_handler, SIG_IGN);
    EXPECT_EQ(old.sa_flags & (SA_RESTART | SA_NODEFER), SA_RESTART | SA_NODEFER);
    EXPECT(sigismember(&old.sa_mask, SIGUSR2));
    EXPECT(!sigismember(&old.sa_mask, SIGKILL));
}

CASE(sigprocmask_errors)
{
    sigset_t set;
    sigemptyset(&set);
    EXPECT_ERRNO(EINVAL, syscall(SYS_rt_sigprocmask, 99, &set, NULL, 8));
    EXPECT_ERRNO(EINVAL, syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, 16));
    EXPECT_ERRNO(EFAULT, syscall(SYS_rt_sigprocmask, SIG_BLOCK, (void *)8, NULL, 8));
    sigfillset(&set);
    EXPECT_OK(sigprocmask(SIG_BLOCK, &set, NULL));
    EXPECT_OK(sigprocmask(SIG_BLOCK, NULL, &set));
    EXPECT(!sigismember(&set, SIGKILL));
    EXPECT(!sigismember(&set, SIGSTOP));
    EXPECT(sigismember(&set, SIGTERM));
}

CASE(kill_errors)
{
    EXPECT_ERRNO(EINVAL, kill(getpid(), 65));
    EXPECT_ERRNO(EINVAL, kill(getpid(), -1));
    EXPECT_ERRNO(ESRCH, kill(0x3fffff, 0));
    EXPECT_ERRNO(ESRCH, kill(-0x3fffff, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_tgkill, 0, 1, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_tgkill, getpid(), -1, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_tkill, -1, 0));
    EXPECT_ERRNO(ESRCH, syscall(SYS_tgkill, getpid(), 0x3fffff, 0));
    EXPECT_OK(kill(getpid(), 0));
}

CASE(siginfo_of_kill)
{
    catch (SIGUSR1, 0);
    EXPECT_OK(kill(getpid(), SIGUSR1));
    EXPECT_EQ(count, 1);
    EXPECT_EQ(info_seen[0].si_signo, SIGUSR1);
    EXPECT_EQ(info_seen[0].si_code, SI_USER);
    EXPECT_EQ(info_seen[0].si_pid, getpid());
    EXPECT_EQ(info_seen[0].si_uid, getuid());
    EXPECT_OK(syscall(SYS_tgkill, getpid(), gettid(), SIGUSR1));
    EXPECT_EQ(info_seen[1].si_code, SI_TKILL);
    union sigval v = {.sival_int = 77};
    EXPECT_OK(sigqueue(getpid(), SIGUSR1, v));
    EXPECT_EQ(info_seen[2].si_code, SI_QUEUE);
    EXPECT_EQ(info_seen[2].si_value.sival_int, 77);
    EXPECT_EQ(info_seen[2].si_pid, getpid());
}

CASE(standard_signals_do_not_queue)
{
    catch (SIGUSR1, 0);
    block(SIG_BLOCK, SIGUSR1);
    for (int i = 0; i < 5; i++)
        kill(getpid(), SIGUSR1);
    sigset_t pending;
    EXPECT_OK(sigpending(&pending));
    EXPECT(sigismember(&pending, SIGUSR1));
    EXPECT(!sigismember(&pending, SIGUSR2));
    block(SIG_UNBLOCK, SIGUSR1);
    EXPECT_EQ(count, 1);
}

CASE(realtime_signals_queue_in_order)
{
    for (int s = SIGRTMIN; s < SIGRTMIN + 3; s++) {
        catch (s, 0);
        block(SIG_BLOCK, s);
    }
    for (int i = 0; i < 4; i++)
        for (int s = SIGRTMIN + 2; s >= SIGRTMIN; s--) {
            union sigval v = {.sival_int = i};
            EXPECT_OK(sigqueue(getpid(), s, v));
        }
    sigset_t none;
    sigemptyset(&none);
    /* One handler nests in the other: the last one set up runs first, so look at each number. */
    EXPECT_OK(sigprocmask(SIG_SETMASK, &none, NULL));
    EXPECT_EQ(count, 12);
    int next[3] = {0};
    for (int i = 0; i < 12; i++) {
        int s = order[i] - SIGRTMIN;
        EXPECT_EQ(info_seen[i].si_value.sival_int, next[s]++);
    }
}

CASE(queue_limit)
{
    struct rlimit r = {4, 4};
    EXPECT_OK(setrlimit(RLIMIT_SIGPENDING, &r));
    block(SIG_BLOCK, SIGRTMIN);
    block(SIG_BLOCK, SIGUSR1);
    int sent = 0;
    while (sent < 100 && sigqueue(getpid(), SIGRTMIN, (union sigval){0}) == 0)
        sent++;
    EXPECT_LT(sent, 100);
    EXPECT_EQ(errno, EAGAIN);
    /* kill(2) gets through all the same. */
    EXPECT_OK(kill(getpid(), SIGUSR1));
    sigset_t pending;
    EXPECT_OK(sigpending(&pending));
    EXPECT(sigismember(&pending, SIGUSR1));
}

static volatile int depth, max_depth;
static void nesting(int sig)
{
    if (++depth > max_depth)
        max_depth = depth;
    if (++count < 4)
        raise(sig);
    depth--;
}
CASE(nodefer)
{
    struct sigaction sa = {.sa_handler = nesting};
    sigaction(SIGUSR1, &sa, NULL);
    raise(SIGUSR1);
    EXPECT_EQ(max_depth, 1);
    EXPECT_EQ(count, 4);
    count = max_depth = 0;
    sa.sa_flags = SA_NODEFER;
    sigaction(SIGUSR1, &sa, NULL);
    raise(SIGUSR1);
    EXPECT_EQ(max_depth, 4);
}

CASE(resethand)
{
    catch (SIGUSR1, SA_RESETHAND);
    raise(SIGUSR1);
    struct sigaction sa;
    EXPECT_OK(sigaction(SIGUSR1, NULL, &sa));
    EXPECT_EQ(sa.sa_handler, SIG_DFL);
    EXPECT_KILLED(FORK({ raise(SIGUSR1); }), SIGUSR1);
}

static void check_mask(int sig)
{
    sigset_t now;
    sigprocmask(SIG_SETMASK, NULL, &now);
    last = sigismember(&now, SIGUSR2) && sigismember(&now, sig);
}
CASE(mask_in_the_handler)
{
    struct sigaction sa = {.sa_handler = check_mask};
    sigaddset(&sa.sa_mask, SIGUSR2);
    sigaction(SIGUSR1, &sa, NULL);
    raise(SIGUSR1);
    EXPECT_EQ(last, 1);
    sigset_t now;
    sigprocmask(SIG_SETMASK, NULL, &now);
    EXPECT(!sigismember(&now, SIGUSR2));
    EXPECT(!sigismember(&now, SIGUSR1));
}

CASE(default_actions)
{
    static const int fatal[] = {SIGHUP,  SIGINT,    SIGQUIT, SIGILL,  SIGTRAP,   SIGABRT, SIGBUS,
                                SIGFPE,  SIGKILL,   SIGUSR1, SIGSEGV, SIGUSR2,   SIGPIPE, SIGALRM,
                                SIGTERM, SIGSTKFLT, SIGXCPU, SIGXFSZ, SIGVTALRM, SIGPROF, SIGIO,
                                SIGPWR,  SIGSYS,    34,      64};
    static const int ignored[] = {SIGCHLD, SIGCONT, SIGURG, SIGWINCH};
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++) {
        int sig = fatal[i];
        pid_t p = FORK({
            signal(sig, SIG_DFL);
            syscall(SYS_tgkill, getpid(), gettid(), sig);
        });
        int status = test_wait(p);
        EXPECT_EQ(status, sig);
    }
    for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
        EXPECT_EXITED(FORK({ raise(ignored[i]); }), 0);
}

CASE(ignoring_discards_what_is_pending)
{
    catch (SIGUSR1, 0);
    block(SIG_BLOCK, SIGUSR1);
    raise(SIGUSR1);
    signal(SIGUSR1, SIG_IGN);
    catch (SIGUSR1, 0);
    block(SIG_UNBLOCK, SIGUSR1);
    EXPECT_EQ(count, 0);
}

CASE(sigsuspend_swaps_the_mask)
{
    sigset_t none, now;
    sigemptyset(&none);
    catch (SIGALRM, SA_RESTART);
    block(SIG_BLOCK, SIGALRM);
    ualarm(10000, 0);
    EXPECT_ERRNO(EINTR, sigsuspend(&none));
    EXPECT_EQ(count, 1);
    sigprocmask(SIG_SETMASK, NULL, &now);
    EXPECT(sigismember(&now, SIGALRM));
    EXPECT_ERRNO(EINVAL, syscall(SYS_rt_sigsuspend, &none, 7));
}

CASE(pause_returns_after_a_handler)
{
    catch (SIGALRM, SA_RESTART);
    ualarm(10000, 0);
    EXPECT_ERRNO(EINTR, pause());
}

CASE(ignored_signals_do_not_interrupt)
{
    int fd[2];
    char c;
    EXPECT_OK(pipe(fd));
    signal(SIGUSR1, SIG_IGN);
    pid_t parent = getpid();
    pid_t p = FORK({
        for (int i = 0; i < 5; i++) {
            usleep(5000);
            kill(parent, SIGUSR1);
            kill(parent, SIGWINCH);
        }
        EXPECT_EQ(write(fd[1], "x", 1), 1);
    });
    EXPECT_EQ(read(fd[0], &c, 1), 1);
    EXPECT_EXITED(p, 0);
}

CASE(restart_of_read)
{
    int fd[2];
    char c;
    EXPECT_OK(pipe(fd));
    catch (SIGALRM, SA_RESTART);
    pid_t p = FORK({
        usleep(60000);
        EXPECT_EQ(write(fd[1], "x", 1), 1);
    });
    ualarm(10000, 0);
    EXPECT_EQ(read(fd[0], &c, 1), 1);
    EXPECT_EQ(count, 1);
    catch (SIGALRM, 0);
    ualarm(10000, 0);
    EXPECT_ERRNO(EINTR, read(fd[0], &c, 1));
    EXPECT_EXITED(p, 0);
}

CASE(sigtimedwait_takes_what_is_pending)
{
    sigset_t set;
    siginfo_t info;
    struct timespec zero = {0, 0}, bad = {0, 1000000000};
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    EXPECT_ERRNO(EAGAIN, sigtimedwait(&set, &info, &zero));
    EXPECT_ERRNO(EINVAL, sigtimedwait(&set, &info, &bad));
    sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = 5});
    kill(getpid(), SIGUSR1);
    EXPECT_EQ(sigwaitinfo(&set, &info), SIGUSR1);
    EXPECT_EQ(info.si_code, SI_USER);
    EXPECT_EQ(sigwaitinfo(&set, &info), SIGRTMIN);
    EXPECT_EQ(info.si_value.sival_int, 5);
    struct timespec t0, t1, wait = {0, 30000000};
    clock_gettime(CLOCK_MONOTONIC, &t0);
    EXPECT_ERRNO(EAGAIN, sigtimedwait(&set, &info, &wait));
    clock_gettime(CLOCK_MONOTONIC, &t1);
    EXPECT_GE((t1.tv_sec - t0.tv_sec) * 1000000000 + t1.tv_nsec - t0.tv_nsec, 30000000);
}

CASE(sigtimedwait_sleeps)
{
    sigset_t set;
    siginfo_t info;
    pid_t parent = getpid();
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    pid_t p = FORK({
        usleep(20000);
        kill(parent, SIGUSR1);
    });
    EXPECT_EQ(sigwaitinfo(&set, &info), SIGUSR1);
    EXPECT_EQ(info.si_pid, p);
    EXPECT_EXITED(p, 0);
    catch (SIGALRM, SA_RESTART);
    ualarm(10000, 0);
    EXPECT_ERRNO(EINTR, sigwaitinfo(&set, &info));
}

CASE(rt_sigqueueinfo_may_not_lie)
{
    siginfo_t info = {.si_code = SI_USER};
    pid_t p = FORK({ pause(); });
    EXPECT_ERRNO(EPERM, syscall(SYS_rt_sigqueueinfo, p, SIGUSR1, &info));
    info.si_code = SI_KERNEL;
    EXPECT_ERRNO(EPERM, syscall(SYS_rt_sigqueueinfo, p, SIGUSR1, &info));
    info.si_code = SI_QUEUE;
    EXPECT_OK(syscall(SYS_rt_sigqueueinfo, p, SIGUSR1, &info));
    EXPECT_KILLED(p, SIGUSR1);
}

CASE(sigsegv_info)
{
    catch (SIGSEGV, SA_RESETHAND | SA_NODEFER);
    pid_t p = FORK({
        char *ro = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        struct sigaction sa = {.sa_sigaction = on_info, .sa_flags = SA_SIGINFO};
        (void)sa;
        *(volatile char *)(ro + 5) = 1;
    });
    EXPECT_KILLED(p, SIGSEGV);
}

static char *fault_page;
static volatile int fault_code;
static void *volatile fault_addr;
static volatile long fault_trap, fault_err, fault_cr2;
static void fix_fault(int sig, siginfo_t *info, void *ctx)
{
    ucontext_t *uc = ctx;
    (void)sig;
    fault_code = info->si_code;
    fault_addr = info->si_addr;
    fault_trap = uc->uc_mcontext.gregs[REG_TRAPNO];
    fault_err = uc->uc_mcontext.gregs[REG_ERR];
    fault_cr2 = uc->uc_mcontext.gregs[REG_CR2];
    if (mprotect(fault_page, 4096, PROT_READ | PROT_WRITE) < 0)
        mmap(fault_page, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
             0);
}
CASE(sigsegv_handler_may_repair)
{
    struct sigaction sa = {.sa_sigaction = fix_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &sa, NULL);
    fault_page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_EQ(*(volatile char *)fault_page, 0);
    *(volatile char *)(fault_page + 17) = 9;
    EXPECT_EQ(fault_page[17], 9);
    EXPECT_EQ(fault_code, SEGV_ACCERR);
    EXPECT_EQ(fault_addr, fault_page + 17);
    EXPECT_EQ(fault_trap, 14);
    EXPECT_EQ(fault_err, 7);
    EXPECT_EQ(fault_cr2, (long)(fault_page + 17));
    munmap(fault_page, 4096);
    *(volatile char *)(fault_page + 33) = 9;
    EXPECT_EQ(fault_code, SEGV_MAPERR);
    EXPECT_EQ(fault_addr, fault_page + 33);
}

CASE(sigbus_beyond_the_end)
{
    struct sigaction sa = {.sa_sigaction = fix_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGBUS, &sa, NULL);
    int fd = EXPECT_OK(open(test_path("f"), O_RDWR | O_CREAT, 0600));
    fault_page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    pid_t p = FORK({
        signal(SIGBUS, SIG_DFL);
        *(volatile char *)fault_page = 1;
    });
    EXPECT_KILLED(p, SIGBUS);
}

CASE(blocked_or_ignored_faults_kill)
{
    volatile char *volatile no_page = (volatile char *)8;
    EXPECT_KILLED(FORK({
                      block(SIG_BLOCK, SIGSEGV);
                      *no_page = 1;
                  }),
                  SIGSEGV);
    EXPECT_KILLED(FORK({
                      signal(SIGSEGV, SIG_IGN);
                      *no_page = 1;
                  }),
                  SIGSEGV);
}

static volatile int registers_ok;
CASE(registers_survive_a_handler)
{
    catch (SIGALRM, 0);
    struct itimerval it = {{0, 1000}, {0, 1000}};
    setitimer(ITIMER_REAL, &it, NULL);
    struct timespec t0, t1;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    long rounds = 0;
    do {
        unsigned long a = 1, b = 2, c = 3, d = 4;
        double x = 1.5, y;
        asm volatile(
            "movsd %5, %%xmm9\n\tmov $20000, %%r15\n"
            "1: add $1, %0\n\tadd $1, %1\n\tadd $1, %2\n\tadd $1, %3\n\tdec %%r15\n\tjnz 1b\n\t"
            "movsd %%xmm9, %4"
            : "+r"(a), "+r"(b), "+r"(c), "+r"(d), "=m"(y)
            : "m"(x)
            : "r15", "xmm9", "cc", "memory");
        EXPECT_EQ(a, 20001);
        EXPECT_EQ(d, 20004);
        EXPECT(y == 1.5);
        rounds++;
        clock_gettime(CLOCK_MONOTONIC, &t1);
    } while (t1.tv_sec - t0.tv_sec < 3 && count < 200);
    EXPECT_GT(count, 3);
    (void)registers_ok;
    (void)rounds;
}

static void *wait_for_signal(void *arg)
{
    (void)arg;
    while (!count)
        usleep(1000);
    return NULL;
}
CASE(process_signal_goes_to_a_thread_that_wants_it)
{
    catch (SIGUSR1, 0);
    pthread_t t;
    pthread_create(&t, NULL, wait_for_signal, NULL);
    block(SIG_BLOCK, SIGUSR1);
    kill(getpid(), SIGUSR1);
    pthread_join(t, NULL);
    EXPECT_EQ(count, 1);
}

CASE(sigpipe)
{
    int fd[2];
    EXPECT_OK(pipe(fd));
    close(fd[0]);
    EXPECT_KILLED(FORK({ EXPECT_EQ(write(fd[1], "x", 1), 1); }), SIGPIPE);
    catch (SIGPIPE, 0);
    EXPECT_ERRNO(EPIPE, write(fd[1], "x", 1));
    EXPECT_EQ(count, 1);
    EXPECT_EQ(info_seen[0].si_code, SI_USER);
    EXPECT_EQ(info_seen[0].si_pid, getpid());
}
TEST_MAIN
