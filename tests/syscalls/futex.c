/* futex(2), futex_waitv(2), set_robust_list(2). */
#include "tests/syscalls/test.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

static long futex(volatile uint32_t *addr, int op, uint32_t val, const struct timespec *ts,
                  volatile uint32_t *addr2, uint32_t val3)
{
    return syscall(SYS_futex, addr, op, val, ts, addr2, val3);
}
#define N(n) ((const struct timespec *)(uintptr_t)(n))

static volatile uint32_t word, word2;
static volatile int woken, ready;

static int64_t now_ns(clockid_t c)
{
    struct timespec ts;
    clock_gettime(c, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}
static struct timespec ts_of(int64_t ns)
{
    return (struct timespec){ns / 1000000000, ns % 1000000000};
}

CASE(errors)
{
    struct timespec bad = {0, 1000000000}, negative = {-1, 0};
    EXPECT_ERRNO(EAGAIN, futex(&word, FUTEX_WAIT, 1, NULL, NULL, 0));
    EXPECT_ERRNO(EINVAL, futex(&word, FUTEX_WAIT, 0, &bad, NULL, 0));
    EXPECT_ERRNO(EINVAL, futex(&word, FUTEX_WAIT, 0, &negative, NULL, 0));
    EXPECT_ERRNO(EINVAL, futex((void *)((char *)&word + 1), FUTEX_WAIT, 0, NULL, NULL, 0));
    EXPECT_ERRNO(EFAULT, futex((void *)8, FUTEX_WAIT, 0, NULL, NULL, 0));
    EXPECT_ERRNO(EFAULT, futex((void *)8, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));
    EXPECT_ERRNO(EFAULT, futex(&word, FUTEX_WAIT, 0, (void *)8, NULL, 0));
    EXPECT_ERRNO(EINVAL, futex(&word, FUTEX_WAIT_BITSET, 0, NULL, NULL, 0));
    EXPECT_ERRNO(EINVAL, futex(&word, FUTEX_WAKE_BITSET, 1, NULL, NULL, 0));
    EXPECT_ERRNO(ENOSYS, futex(&word, 99, 0, NULL, NULL, 0));
    EXPECT_ERRNO(ENOSYS, futex(&word, FUTEX_WAKE | FUTEX_CLOCK_REALTIME, 0, NULL, NULL, 0));
    EXPECT_EQ(futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0), 0);
    EXPECT_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 1000, NULL, NULL, 0), 0);
    EXPECT_ERRNO(EAGAIN, futex(&word, FUTEX_CMP_REQUEUE, 1, N(1), &word2, 7));
    EXPECT_ERRNO(EINVAL, futex(&word, FUTEX_REQUEUE, 1, N(-1), &word2, 0));
}

CASE(timeouts)
{
    int64_t t0 = now_ns(CLOCK_MONOTONIC);
    struct timespec ts = ts_of(20000000);
    EXPECT_ERRNO(ETIMEDOUT, futex(&word, FUTEX_WAIT, 0, &ts, NULL, 0));
    EXPECT_GE(now_ns(CLOCK_MONOTONIC) - t0, 20000000);
    ts = ts_of(now_ns(CLOCK_MONOTONIC) + 20000000);
    EXPECT_ERRNO(ETIMEDOUT, futex(&word, FUTEX_WAIT_BITSET, 0, &ts, NULL, 1));
    EXPECT_GE(now_ns(CLOCK_MONOTONIC), ts.tv_sec * 1000000000ll + ts.tv_nsec);
    ts = ts_of(now_ns(CLOCK_REALTIME) + 20000000);
    EXPECT_ERRNO(ETIMEDOUT,
                 futex(&word, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &ts, NULL, 1));
    EXPECT_GE(now_ns(CLOCK_REALTIME), ts.tv_sec * 1000000000ll + ts.tv_nsec);
    ts = ts_of(1);
    EXPECT_ERRNO(ETIMEDOUT, futex(&word, FUTEX_WAIT_BITSET, 0, &ts, NULL, 1));
}

static void *waiter(void *arg)
{
    __atomic_add_fetch(&ready, 1, __ATOMIC_SEQ_CST);
    long bits = (long)arg;
    long r = bits ? futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 0, NULL, NULL, (uint32_t)bits)
                  : futex(&word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
    if (r == 0)
        __atomic_add_fetch(&woken, 1, __ATOMIC_SEQ_CST);
    return NULL;
}
static void start(pthread_t *t, int n, long bits)
{
    ready = woken = 0;
    for (int i = 0; i < n; i++)
        EXPECT_EQ(pthread_create(&t[i], NULL, waiter, (void *)bits), 0);
    while (ready < n)
        usleep(1000);
    usleep(30000);
}
static void join(pthread_t *t, int n)
{
    for (int i = 0; i < n; i++)
        pthread_join(t[i], NULL);
}

CASE(wake_counts)
{
    pthread_t t[5];
    start(t, 5, 0);
    EXPECT_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 2, NULL, NULL, 0), 2);
    EXPECT_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 100, NULL, NULL, 0), 3);
    join(t, 5);
    EXPECT_EQ(woken, 5);
}

CASE(bitsets)
{
    pthread_t t[2];
    start(t, 2, 4);
    EXPECT_EQ(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 3), 0);
    EXPECT_EQ(futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 10, NULL, NULL, 12), 2);
    join(t, 2);
}

CASE(requeue)
{
    pthread_t t[4];
    start(t, 4, 0);
    EXPECT_EQ(futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, N(2), &word2, 0), 3);
    EXPECT_EQ(futex(&word, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0), 1);
    EXPECT_EQ(futex(&word2, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0), 2);
    join(t, 4);
}

CASE(wake_op)
{
    pthread_t t[1];
    start(t, 1, 0);
    word2 = 5;
    uint32_t op = FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 5);
    EXPECT_EQ(futex(&word2, FUTEX_WAKE_OP_PRIVATE, 1, N(1), &word,
                    FUTEX_OP(FUTEX_OP_SET, 0, FUTEX_OP_CMP_GE, 0)),
              1);
    join(t, 1);
    EXPECT_EQ(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, N(1), &word2, op), 0);
    EXPECT_EQ(word2, 8);
    op = FUTEX_OP(FUTEX_OP_OR, 0x10, FUTEX_OP_CMP_LT, 0);
    EXPECT_EQ(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, N(1), &word2, op), 0);
    EXPECT_EQ(word2, 0x18);
    op = FUTEX_OP((FUTEX_OP_ANDN | 8), 3, FUTEX_OP_CMP_LT, 0);
    EXPECT_EQ(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, N(1), &word2, op), 0);
    EXPECT_EQ(word2, 0x10);
    op = FUTEX_OP(FUTEX_OP_ADD, -16, FUTEX_OP_CMP_LT, 0);
    EXPECT_EQ(futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, N(1), &word2, op), 0);
    EXPECT_EQ(word2, 0);
    EXPECT_ERRNO(ENOSYS, futex(&word, FUTEX_WAKE_OP_PRIVATE, 1, N(1), &word2, 0x7u << 28));
}

CASE(shared_between_processes)
{
    volatile uint32_t *a =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t p = FORK({
        while (*a == 0)
            futex(a, FUTEX_WAIT, 0, NULL, NULL, 0);
    });
    usleep(30000);
    *a = 1;
    EXPECT_EQ(futex(a, FUTEX_WAKE, 1, NULL, NULL, 0), 1);
    EXPECT_EXITED(p, 0);
}

CASE(shared_through_another_mapping)
{
    int fd = (int)EXPECT_OK(syscall(SYS_memfd_create, "x", 0));
    EXPECT_OK(ftruncate(fd, 8192));
    volatile uint32_t *a = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    volatile uint32_t *b = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 4096);
    pid_t p = FORK({
        while (b[3] == 0)
            futex(&b[3], FUTEX_WAIT, 0, NULL, NULL, 0);
    });
    usleep(30000);
    a[1024 + 3] = 1;
    EXPECT_EQ(futex(&a[1024 + 3], FUTEX_WAKE, 1, NULL, NULL, 0), 1);
    EXPECT_EXITED(p, 0);
}

CASE(private_memory_is_not_shared)
{
    pid_t p = FORK({
        struct timespec ts = {0, 100000000};
        EXPECT_ERRNO(ETIMEDOUT, futex(&word, FUTEX_WAIT, 0, &ts, NULL, 0));
    });
    usleep(30000);
    EXPECT_EQ(futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0), 0);
    EXPECT_EXITED(p, 0);
}

static volatile sig_atomic_t signals;
static void on_signal(int sig)
{
    (void)sig;
    signals++;
}
CASE(signals)
{
    struct sigaction sa = {.sa_handler = on_signal};
    sigaction(SIGALRM, &sa, NULL);
    ualarm(10000, 0);
    EXPECT_ERRNO(EINTR, futex(&word, FUTEX_WAIT, 0, NULL, NULL, 0));
    struct timespec ts = {10, 0};
    ualarm(10000, 0);
    EXPECT_ERRNO(EINTR, futex(&word, FUTEX_WAIT, 0, &ts, NULL, 0));
    sa.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &sa, NULL);
    ualarm(10000, 0);
    ts = ts_of(now_ns(CLOCK_MONOTONIC) + 50000000);
    /* With a timeout it is never restarted behind a handler. */
    EXPECT_ERRNO(EINTR, futex(&word, FUTEX_WAIT_BITSET, 0, &ts, NULL, 1));
    EXPECT_EQ(signals, 3);
}

CASE(stop_and_continue_go_on_waiting)
{
    pid_t p = FORK({
        struct timespec ts = {0, 200000000};
        int64_t t0 = now_ns(CLOCK_MONOTONIC);
        EXPECT_ERRNO(ETIMEDOUT, futex(&word, FUTEX_WAIT, 0, &ts, NULL, 0));
        EXPECT_GE(now_ns(CLOCK_MONOTONIC) - t0, 200000000);
        EXPECT_LT(now_ns(CLOCK_MONOTONIC) - t0, 2000000000);
    });
    usleep(20000);
    kill(p, SIGSTOP);
    usleep(20000);
    kill(p, SIGCONT);
    EXPECT_EXITED(p, 0);
}

/* ---- priority inheritance ---- */

static pthread_mutex_t pi;
static volatile int counter;
static void *pi_worker(void *arg)
{
    for (int i = 0; i < 500; i++) {
        pthread_mutex_lock(&pi);
        counter++;
        pthread_mutex_unlock(&pi);
    }
    return arg;
}
CASE(pi_mutex)
{
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    EXPECT_EQ(pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT), 0);
    EXPECT_EQ(pthread_mutex_init(&pi, &a), 0);
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, pi_worker, NULL);
    join(t, 4);
    EXPECT_EQ(counter, 2000);
}

CASE(pi_errors)
{
    uint32_t tid = (uint32_t)gettid();
    word = tid;
    EXPECT_ERRNO(EDEADLK, futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    EXPECT_OK(futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    EXPECT_EQ(word, 0);
    EXPECT_ERRNO(EPERM, futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    EXPECT_OK(futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
    EXPECT_EQ(word, tid);
    EXPECT_OK(futex(&word, FUTEX_UNLOCK_PI, 0, NULL, NULL, 0));
    EXPECT_OK(futex(&word, FUTEX_TRYLOCK_PI, 0, NULL, NULL, 0));
    EXPECT_EQ(word, tid);
    word = 0x3ffffff;
    EXPECT_ERRNO(ESRCH, futex(&word, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
}

static void *pi_timeout(void *arg)
{
    struct timespec ts = ts_of(now_ns(CLOCK_REALTIME) + 30000000);
    (void)arg;
    EXPECT_ERRNO(ETIMEDOUT, futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, &ts, NULL, 0));
    EXPECT_ERRNO(EAGAIN, futex(&word, FUTEX_TRYLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
    return NULL;
}
CASE(pi_timeouts)
{
    pthread_t t;
    word = (uint32_t)gettid();
    pthread_create(&t, NULL, pi_timeout, NULL);
    pthread_join(t, NULL);
    EXPECT_EQ(word & FUTEX_TID_MASK, gettid());
    EXPECT_OK(futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0, NULL, NULL, 0));
}

/* ---- waitv ---- */

static void *wake_second(void *arg)
{
    (void)arg;
    usleep(20000);
    word2 = 1;
    while (futex(&word2, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) == 0)
        usleep(1000);
    return NULL;
}
CASE(waitv)
{
    struct {
        uint64_t val, uaddr;
        uint32_t flags, reserved;
    } w[2] = {{0, (uintptr_t)&word, 2 | 128, 0}, {0, (uintptr_t)&word2, 2 | 128, 0}};
    if (syscall(449, NULL, 0, 0, NULL, 0) < 0 && errno == ENOSYS)
        SKIP("no futex_waitv");
    pthread_t t;
    pthread_create(&t, NULL, wake_second, NULL);
    EXPECT_EQ(syscall(449, w, 2, 0, NULL, 0), 1);
    pthread_join(t, NULL);
    EXPECT_ERRNO(EAGAIN, syscall(449, w, 2, 0, NULL, 0));
    EXPECT_ERRNO(EINVAL, syscall(449, w, 0, 0, NULL, 0));
    EXPECT_ERRNO(EINVAL, syscall(449, w, 129, 0, NULL, 0));
    EXPECT_ERRNO(EINVAL, syscall(449, w, 2, 1, NULL, 0));
    w[0].flags = 0x40;
    EXPECT_ERRNO(EINVAL, syscall(449, w, 2, 0, NULL, 0));
    w[0].flags = 2;
    word2 = 0;
    struct timespec ts = ts_of(now_ns(CLOCK_MONOTONIC) + 20000000);
    EXPECT_ERRNO(ETIMEDOUT, syscall(449, w, 2, 0, &ts, CLOCK_MONOTONIC));
}

/* ---- robust lists ---- */

static pthread_mutex_t *robust;
/* Beside it: somebody has locked it. */
static volatile int *robust_held(void)
{
    return (volatile int *)((char *)robust + 2048);
}
static void wait_until_held(void)
{
    while (!*robust_held())
        usleep(1000);
    *robust_held() = 0;
}
static void lock_robust(void)
{
    pthread_mutex_lock(robust);
    *robust_held() = 1;
    usleep(20000);
}
static void make_robust(int protocol, int shared)
{
    pthread_mutexattr_t a;
    pthread_mutexattr_init(&a);
    pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setprotocol(&a, protocol);
    pthread_mutexattr_setpshared(&a, shared);
    robust = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    EXPECT_EQ(pthread_mutex_init(robust, &a), 0);
}
static void *lock_and_leave(void *arg)
{
    lock_robust();
    return arg;
}
CASE(robust_thread)
{
    for (int protocol = PTHREAD_PRIO_NONE; protocol <= PTHREAD_PRIO_INHERIT; protocol++) {
        make_robust(protocol, PTHREAD_PROCESS_PRIVATE);
        pthread_t t;
        pthread_create(&t, NULL, lock_and_leave, NULL);
        wait_until_held();
        EXPECT_EQ(pthread_mutex_lock(robust), EOWNERDEAD);
        pthread_join(t, NULL);
        EXPECT_EQ(pthread_mutex_consistent(robust), 0);
        EXPECT_EQ(pthread_mutex_unlock(robust), 0);
        EXPECT_EQ(pthread_mutex_lock(robust), 0);
        pthread_mutex_unlock(robust);
    }
}
CASE(robust_process)
{
    for (int protocol = PTHREAD_PRIO_NONE; protocol <= PTHREAD_PRIO_INHERIT; protocol++) {
        make_robust(protocol, PTHREAD_PROCESS_SHARED);
        pid_t p = FORK({
            lock_robust();
            kill(getpid(), SIGKILL);
        });
        wait_until_held();
        EXPECT_EQ(pthread_mutex_lock(robust), EOWNERDEAD);
        EXPECT_KILLED(p, SIGKILL);
        pthread_mutex_consistent(robust);
        pthread_mutex_unlock(robust);
    }
}
CASE(robust_list_calls)
{
    void *head;
    size_t len;
    EXPECT_OK(syscall(SYS_get_robust_list, 0, &head, &len));
    EXPECT_EQ(len, 24);
    EXPECT_ERRNO(EINVAL, syscall(SYS_set_robust_list, head, 23));
    EXPECT_OK(syscall(SYS_set_robust_list, head, 24));
    EXPECT_ERRNO(ESRCH, syscall(SYS_get_robust_list, 0x3fffff, &head, &len));
}
CASE(broken_robust_lists)
{
    static struct {
        void *next;
        long offset;
        void *pending;
    } head;
    for (int i = 0; i < 3; i++) {
        pid_t p = FORK({
            head.next = i == 0 ? (void *)&head.offset : i == 1 ? (void *)8 : (void *)-16;
            head.offset = i == 2 ? (long)0x8000000000000000ull : 0;
            head.pending = i == 2 ? (void *)-1 : NULL;
            syscall(SYS_set_robust_list, &head, 24);
        });
        EXPECT_EXITED(p, 0);
    }
}

/* ---- stress ---- */

static volatile uint32_t turn;
static void *ping(void *arg)
{
    uint32_t me = (uint32_t)(long)arg;
    for (int i = 0; i < 2000; i++) {
        while (turn != me)
            futex(&turn, FUTEX_WAIT_PRIVATE, !me, NULL, NULL, 0);
        turn = !me;
        futex(&turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
    return NULL;
}
CASE(ping_pong)
{
    pthread_t t[2];
    for (long i = 0; i < 2; i++)
        pthread_create(&t[i], NULL, ping, (void *)i);
    join(t, 2);
}

static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t c = PTHREAD_COND_INITIALIZER;
static int items;
static void *consumer(void *arg)
{
    for (int i = 0; i < 300; i++) {
        pthread_mutex_lock(&m);
        while (!items)
            pthread_cond_wait(&c, &m);
        items--;
        pthread_mutex_unlock(&m);
    }
    return arg;
}
CASE(condition_variables)
{
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, consumer, NULL);
    for (int i = 0; i < 1200; i++) {
        pthread_mutex_lock(&m);
        items++;
        if (i % 10)
            pthread_cond_signal(&c);
        else
            pthread_cond_broadcast(&c);
        pthread_mutex_unlock(&m);
    }
    join(t, 4);
    EXPECT_EQ(items, 0);
}
TEST_MAIN
