/*
 * The benchmarks that run as an application: natively, and in the sandbox. `guest NAME` prints one
 * number, in the unit of its row; `guest --list` prints the rows. Static, so that
 * what is measured is the kernel and not the dynamic linker.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (1024UL * 1024)
#define PAGE 4096UL

static int64_t now_ns(void)
{
    struct timespec ts;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void check(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "guest: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

/* Runs body(arg) `n` times and gives nanoseconds a time; the best of three rounds. */
static double per_call(void (*body)(void *), void *arg, int n)
{
    double best = 0;
    for (int round = 0; round < 3; round++) {
        int64_t start = now_ns();
        for (int i = 0; i < n; i++)
            body(arg);
        double each = (double)(now_ns() - start) / n;
        if (round == 0 || each < best)
            best = each;
    }
    return best;
}

/* ---- single calls ---- */

static void do_getppid(void *arg)
{
    (void)arg;
    syscall(SYS_getppid);
}
static double bench_getppid(void)
{
    return per_call(do_getppid, NULL, 50000);
}

static void do_clock(void *arg)
{
    struct timespec ts;
    (void)arg;
    clock_gettime(CLOCK_MONOTONIC, &ts);
}
static double bench_clock(void)
{
    return per_call(do_clock, NULL, 2000000);
}

static void do_read(void *arg)
{
    char c;
    check(read(*(int *)arg, &c, 1) == 1, "read");
}
static double bench_read_zero(void)
{
    int fd = open("/dev/zero", O_RDONLY);
    check(fd >= 0, "/dev/zero");
    return per_call(do_read, &fd, 30000);
}

static void do_open_close(void *path)
{
    int fd = open(path, O_RDONLY);
    check(fd >= 0, path);
    close(fd);
}
static void do_stat(void *path)
{
    struct stat st;
    check(stat(path, &st) == 0, path);
}
static char scratch[64];
static char *make_scratch(void)
{
    snprintf(scratch, sizeof scratch, "/tmp/bench.%d", getpid());
    int fd = open(scratch, O_CREAT | O_RDWR | O_TRUNC, 0600);
    check(fd >= 0, scratch);
    close(fd);
    return scratch;
}
static double with_scratch(void (*body)(void *), int n)
{
    double r = per_call(body, make_scratch(), n);
    unlink(scratch);
    return r;
}
static double bench_open_root(void)
{
    return per_call(do_open_close, "/etc/passwd", 10000);
}
static double bench_open_tmp(void)
{
    return with_scratch(do_open_close, 10000);
}
static double bench_stat_root(void)
{
    return per_call(do_stat, "/etc/passwd", 10000);
}
static double bench_stat_tmp(void)
{
    return with_scratch(do_stat, 10000);
}
static void do_create_unlink(void *path)
{
    int fd = open(path, O_CREAT | O_EXCL | O_RDWR, 0600);
    check(fd >= 0, path);
    close(fd);
    check(unlink(path) == 0, "unlink");
}
static double bench_create_unlink(void)
{
    snprintf(scratch, sizeof scratch, "/tmp/bench.%d", getpid());
    return per_call(do_create_unlink, scratch, 3000) / 1000;
}

/* ---- hand-overs ---- */

static double bench_pipe_pingpong(void)
{
    int ab[2], ba[2];
    const int n = 5000;
    char c = 0;
    check(pipe(ab) == 0 && pipe(ba) == 0, "pipe");
    pid_t pid = fork();
    check(pid >= 0, "fork");
    if (pid == 0) {
        close(ab[1]);
        while (read(ab[0], &c, 1) == 1)
            check(write(ba[1], &c, 1) == 1, "write");
        _exit(0);
    }
    close(ab[0]);
    int64_t start = now_ns();
    for (int i = 0; i < n; i++)
        check(write(ab[1], &c, 1) == 1 && read(ba[0], &c, 1) == 1, "ping");
    double r = (double)(now_ns() - start) / n / 1000;
    close(ab[1]);
    waitpid(pid, NULL, 0);
    return r;
}

static _Atomic uint32_t turn;
static void turn_wait(uint32_t want)
{
    uint32_t v;
    while ((v = atomic_load(&turn)) != want)
        syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, v, NULL, NULL, 0);
}
static void turn_give(uint32_t to)
{
    atomic_store(&turn, to);
    syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
#define FUTEX_ROUNDS 5000
static void *futex_partner(void *arg)
{
    for (int i = 0; i < FUTEX_ROUNDS; i++) {
        turn_wait(1);
        turn_give(0);
    }
    return arg;
}
static double bench_futex_pingpong(void)
{
    pthread_t th;
    check(pthread_create(&th, NULL, futex_partner, NULL) == 0, "pthread_create");
    int64_t start = now_ns();
    for (int i = 0; i < FUTEX_ROUNDS; i++) {
        turn_give(1);
        turn_wait(0);
    }
    double r = (double)(now_ns() - start) / FUTEX_ROUNDS / 1000;
    pthread_join(th, NULL);
    return r;
}

/* ---- processes and threads ---- */

static void do_fork(void *arg)
{
    (void)arg;
    pid_t pid = fork();
    check(pid >= 0, "fork");
    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
}
static double bench_fork(void)
{
    return per_call(do_fork, NULL, 300) / 1000;
}
static double bench_fork_256m(void)
{
    char *p = mmap(NULL, 256 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(p != MAP_FAILED, "mmap");
    for (size_t i = 0; i < 256 * MIB; i += PAGE)
        p[i] = 1;
    double r = per_call(do_fork, NULL, 20) / 1000;
    munmap(p, 256 * MIB);
    return r;
}
static void do_fork_exec(void *self)
{
    pid_t pid = fork();
    check(pid >= 0, "fork");
    if (pid == 0) {
        execl(self, "guest", "exit", NULL);
        _exit(127);
    }
    int status;
    waitpid(pid, &status, 0);
    check(status == 0, "exec");
}
static char self_path[4096];
static double bench_fork_exec(void)
{
    return per_call(do_fork_exec, self_path, 100) / 1000;
}
static void *thread_nothing(void *arg)
{
    return arg;
}
static void do_thread(void *arg)
{
    pthread_t th;
    (void)arg;
    check(pthread_create(&th, NULL, thread_nothing, NULL) == 0, "pthread_create");
    pthread_join(th, NULL);
}
static double bench_thread(void)
{
    return per_call(do_thread, NULL, 1000) / 1000;
}
static void *thread_yield(void *arg)
{
    for (int i = 0; i < 20000; i++) {
        for (volatile int k = 0; k < 2000; k++)
            ;
        sched_yield();
    }
    return arg;
}
static double bench_yield_8(void)
{
    pthread_t th[8];
    int64_t start = now_ns();
    for (int i = 0; i < 8; i++)
        check(pthread_create(&th[i], NULL, thread_yield, NULL) == 0, "pthread_create");
    for (int i = 0; i < 8; i++)
        pthread_join(th[i], NULL);
    return (double)(now_ns() - start) / 1e6;
}

/* Eight threads that compute in phases, a millisecond each, and wait for each other as OpenMP's
 * threads do: looking at a counter, and yielding the CPU between looks. */
#define TEAM 8
#define PHASES 40
static _Atomic int arrived, phase;
static void spin_barrier(void)
{
    int now = atomic_load(&phase);
    if (atomic_fetch_add(&arrived, 1) == TEAM - 1) {
        atomic_store(&arrived, 0);
        atomic_store(&phase, now + 1);
        return;
    }
    while (atomic_load(&phase) == now)
        sched_yield();
}
static void *team_member(void *arg)
{
    for (int i = 0; i < PHASES; i++) {
        for (volatile int k = 0; k < 3000000; k++)
            ;
        spin_barrier();
    }
    return arg;
}
static double bench_spin_barrier(void)
{
    pthread_t th[TEAM];
    int64_t start = now_ns();
    for (int i = 0; i < TEAM; i++)
        check(pthread_create(&th[i], NULL, team_member, NULL) == 0, "pthread_create");
    for (int i = 0; i < TEAM; i++)
        pthread_join(th[i], NULL);
    return (double)(now_ns() - start) / 1e6;
}

/* ---- memory ---- */

static double bench_touch_256m(void)
{
    double best = 0;
    for (int round = 0; round < 3; round++) {
        char *p = mmap(NULL, 256 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        check(p != MAP_FAILED, "mmap");
        int64_t start = now_ns();
        for (size_t i = 0; i < 256 * MIB; i += PAGE)
            p[i] = 1;
        double each = (double)(now_ns() - start) / (double)(256 * MIB / PAGE);
        munmap(p, 256 * MIB);
        if (round == 0 || each < best)
            best = each;
    }
    return best;
}
/* The first touch of each 2 MiB of a mapping of 1 GiB, in ns; the best of three. */
static double first_touches(int flags, int fd)
{
    const size_t size = 1024 * MIB, step = 2 * MIB;
    double best = 0;
    for (int round = 0; round < 3; round++) {
        char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
        check(p != MAP_FAILED, "mmap");
        madvise(p, size, MADV_NOHUGEPAGE);
        int64_t start = now_ns();
        for (size_t i = 0; i < size; i += step)
            *(volatile char *)(p + i) = 1;
        double each = (double)(now_ns() - start) / (double)(size / step);
        munmap(p, size);
        if (round == 0 || each < best)
            best = each;
    }
    return best;
}
/* The pages are there: the platform may have mapped them ahead, or does it now. */
static double bench_fault_mapped(void)
{
    int fd = memfd_create("bench", 0);
    check(fd >= 0 && fallocate(fd, 0, 0, 1024 * MIB) == 0, "memfd");
    return first_touches(MAP_SHARED, fd);
}
/* They are not: the kernel is asked for each piece. */
static double bench_fault_fresh(void)
{
    return first_touches(MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
}
static void do_mmap_touch_munmap(void *arg)
{
    (void)arg;
    char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(p != MAP_FAILED, "mmap");
    *(volatile char *)p = 1;
    munmap(p, PAGE);
}
static double bench_mmap_touch_munmap(void)
{
    return per_call(do_mmap_touch_munmap, NULL, 3000) / 1000;
}
struct protect {
    char *page;
    int writable;
};
static void do_mprotect(void *arg)
{
    struct protect *p = arg;
    p->writable = !p->writable;
    check(mprotect(p->page, PAGE, p->writable ? PROT_READ | PROT_WRITE : PROT_READ) == 0,
          "mprotect");
}
static struct protect protect_page(void)
{
    struct protect p = {
        mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), 1};
    check(p.page != MAP_FAILED, "mmap");
    memset(p.page, 1, 16 * PAGE);
    p.page += 4 * PAGE;
    return p;
}
static double bench_mprotect(void)
{
    struct protect p = protect_page();
    return per_call(do_mprotect, &p, 3000) / 1000;
}
static void do_mprotect_touch(void *arg)
{
    struct protect *p = arg;
    do_mprotect(p);
    do_mprotect(p);
    *(volatile char *)p->page = 1;
}
static double bench_mprotect_touch(void)
{
    struct protect p = protect_page();
    return per_call(do_mprotect_touch, &p, 3000) / 1000;
}
static double bench_file_fault(void)
{
    const size_t size = 64 * MIB;
    int fd = open(make_scratch(), O_RDWR);
    static char block[64 * 1024];
    memset(block, 1, sizeof block);
    for (size_t i = 0; i < size; i += sizeof block)
        check(write(fd, block, sizeof block) == (ssize_t)sizeof block, "write");
    char *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    check(p != MAP_FAILED, "mmap");
    int64_t start = now_ns();
    for (size_t i = 0; i < size; i += PAGE)
        *(volatile char *)(p + i);
    double r = (double)(now_ns() - start) / (double)(size / PAGE);
    munmap(p, size);
    close(fd);
    unlink(scratch);
    return r;
}
/* mmap and munmap of a page, in microseconds, with `others` other VMAs around. */
static double mmap_with_vmas(int others)
{
    char *area = mmap(NULL, (size_t)others * 2 * PAGE + PAGE, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    check(area != MAP_FAILED, "mmap");
    for (int i = 0; i < others / 2; i++)
        check(mprotect(area + (size_t)i * 2 * PAGE, PAGE, PROT_READ) == 0, "mprotect");
    double best = 0;
    for (int round = 0; round < 3; round++) {
        int64_t start = now_ns();
        for (int i = 0; i < 1000; i++) {
            void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            check(p != MAP_FAILED, "mmap");
            munmap(p, PAGE);
        }
        double each = (double)(now_ns() - start) / 1000 / 1000;
        if (round == 0 || each < best)
            best = each;
    }
    munmap(area, (size_t)others * 2 * PAGE + PAGE);
    return best;
}
static double bench_mmap_10_vmas(void)
{
    return mmap_with_vmas(10);
}
static double bench_mmap_65k_vmas(void)
{
    return mmap_with_vmas(65400);
}

/* ---- signals ---- */

static void on_signal(int sig)
{
    (void)sig;
}
static void do_raise(void *arg)
{
    (void)arg;
    raise(SIGUSR1);
}
static double bench_signal(void)
{
    signal(SIGUSR1, on_signal);
    return per_call(do_raise, NULL, 3000) / 1000;
}
static char *fault_page;
static void on_segv(int sig)
{
    (void)sig;
    mprotect(fault_page, PAGE, PROT_READ | PROT_WRITE);
}
static void do_segv(void *arg)
{
    (void)arg;
    mprotect(fault_page, PAGE, PROT_READ);
    *(volatile char *)fault_page = 1;
}
static double bench_segv(void)
{
    signal(SIGSEGV, on_segv);
    fault_page = protect_page().page;
    return per_call(do_segv, NULL, 2000) / 1000;
}

/* ---- data ---- */

static double file_speed(int writing)
{
    const size_t size = 64 * MIB, piece = 64 * 1024;
    static char block[64 * 1024];
    memset(block, 1, sizeof block);
    int fd = open(make_scratch(), O_RDWR);
    double best = 0;
    for (int round = 0; round < 4; round++) {
        lseek(fd, 0, SEEK_SET);
        int64_t start = now_ns();
        for (size_t i = 0; i < size; i += piece) {
            ssize_t n = writing || round == 0 ? write(fd, block, piece) : read(fd, block, piece);
            check(n == (ssize_t)piece, "io");
        }
        double speed = (double)size / MIB * 1e9 / (double)(now_ns() - start);
        if (round > 0 && speed > best)
            best = speed;
    }
    close(fd);
    unlink(scratch);
    return best;
}
static double bench_file_write(void)
{
    return file_speed(1);
}
static double bench_file_read(void)
{
    return file_speed(0);
}
static double bench_unix_stream(void)
{
    const size_t size = 256 * MIB;
    static char block[64 * 1024];
    int sv[2];
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, sv) == 0, "socketpair");
    pid_t pid = fork();
    check(pid >= 0, "fork");
    if (pid == 0) {
        close(sv[0]);
        for (size_t done = 0; done < size; done += sizeof block)
            check(write(sv[1], block, sizeof block) == (ssize_t)sizeof block, "write");
        _exit(0);
    }
    close(sv[1]);
    int64_t start = now_ns();
    size_t got = 0;
    ssize_t n;
    while ((n = read(sv[0], block, sizeof block)) > 0)
        got += (size_t)n;
    double r = (double)got / MIB * 1e9 / (double)(now_ns() - start);
    waitpid(pid, NULL, 0);
    check(got == size, "stream");
    return r;
}
struct epoll_pair {
    int ep, ev;
};
static void do_epoll(void *arg)
{
    struct epoll_pair *p = arg;
    struct epoll_event e = {.events = EPOLLIN | EPOLLET};
    uint64_t one = 1;
    check(epoll_ctl(p->ep, EPOLL_CTL_MOD, p->ev, &e) == 0, "epoll_ctl");
    check(write(p->ev, &one, sizeof one) == sizeof one, "write");
    check(epoll_wait(p->ep, &e, 1, -1) == 1, "epoll_wait");
}
static double bench_epoll(void)
{
    struct epoll_pair p = {epoll_create1(0), eventfd(0, EFD_NONBLOCK)};
    struct epoll_event e = {.events = EPOLLIN | EPOLLET};
    check(p.ep >= 0 && p.ev >= 0, "epoll");
    check(epoll_ctl(p.ep, EPOLL_CTL_ADD, p.ev, &e) == 0, "epoll_ctl");
    return per_call(do_epoll, &p, 5000);
}

static const struct row {
    const char *name, *unit;
    double (*run)(void);
} rows[] = {
    {"getppid", "ns", bench_getppid},
    {"read-zero", "ns", bench_read_zero},
    {"clock_gettime", "ns", bench_clock},
    {"open-close-root", "ns", bench_open_root},
    {"open-close-tmp", "ns", bench_open_tmp},
    {"stat-root", "ns", bench_stat_root},
    {"stat-tmp", "ns", bench_stat_tmp},
    {"create-unlink", "us", bench_create_unlink},
    {"pipe-pingpong", "us", bench_pipe_pingpong},
    {"futex-pingpong", "us", bench_futex_pingpong},
    {"fork-exit-wait", "us", bench_fork},
    {"fork-256M", "us", bench_fork_256m},
    {"fork-exec-wait", "us", bench_fork_exec},
    {"thread-create-join", "us", bench_thread},
    {"yield-8-threads", "ms", bench_yield_8},
    {"spin-barrier-8", "ms", bench_spin_barrier},
    {"touch-256M-page", "ns", bench_touch_256m},
    {"fault-mapped", "ns", bench_fault_mapped},
    {"fault-fresh", "ns", bench_fault_fresh},
    {"mmap-touch-munmap", "us", bench_mmap_touch_munmap},
    {"mmap-munmap-10-vmas", "us", bench_mmap_10_vmas},
    {"mmap-munmap-65k-vmas", "us", bench_mmap_65k_vmas},
    {"mprotect-page", "us", bench_mprotect},
    {"2-mprotect-touch", "us", bench_mprotect_touch},
    {"file-fault-page", "ns", bench_file_fault},
    {"signal", "us", bench_signal},
    {"segv-mprotect", "us", bench_segv},
    {"file-write-64K", "MB/s", bench_file_write},
    {"file-read-64K", "MB/s", bench_file_read},
    {"unix-stream-64K", "MB/s", bench_unix_stream},
    {"epoll-3-calls", "ns", bench_epoll},
};

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "exit") == 0)
        _exit(0);
    ssize_t n = readlink("/proc/self/exe", self_path, sizeof self_path - 1);
    if (n < 0)
        snprintf(self_path, sizeof self_path, "%s", argv[0]);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (argc == 2 && strcmp(argv[1], "--list") == 0)
            printf("%s %s\n", rows[i].name, rows[i].unit);
        else if (argc == 2 && strcmp(argv[1], rows[i].name) == 0)
            printf("%.1f\n", rows[i].run());
    }
    return 0;
}
