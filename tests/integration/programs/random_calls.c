/*
 * Hostile by chance: processes with several threads that make system calls with arguments which are
 * half plausible and half not. Whoever runs it sees whether the kernel survives. As process 1 it is
 * spared by its own children's kill(-1).
 *
 * Usage: random_calls FIRST_SEED SECONDS [COUNT]
 *      Each seed is a process of its own, which makes the same calls again (but for races).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CALLS 1500 /* of a thread */
#define THREADS 3
#define ARENA (1u << 20)
#define HIGHEST 463

static unsigned char *arena; /* shared by a process's threads: arguments change under the kernel */

struct rng {
    uint64_t s;
};
static uint64_t next(struct rng *r)
{
    uint64_t z = (r->s += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static uint64_t below(struct rng *r, uint64_t n)
{
    return next(r) % n;
}

/*
 * What the arguments of a call are: f descriptor, p path, b buffer, l length, F flags, o offset,
 * s signal, P process, t timespec or another structure of small numbers, v iovec array, a address
 * of a mapping, i small number, A anything.
 */
static const struct {
    int nr;
    const char *args;
} rows[] = {
    {SYS_read, "fbl"},
    {SYS_write, "fbl"},
    {SYS_open, "pFi"},
    {SYS_close, "f"},
    {SYS_stat, "pb"},
    {SYS_fstat, "fb"},
    {SYS_poll, "tii"},
    {SYS_lseek, "foi"},
    {SYS_mmap, "aliFfo"},
    {SYS_mprotect, "ali"},
    {SYS_munmap, "al"},
    {SYS_brk, "A"},
    {SYS_rt_sigaction, "sbbi"},
    {SYS_rt_sigprocmask, "ibbi"},
    {SYS_ioctl, "fAb"},
    {SYS_pread64, "fblo"},
    {SYS_pwrite64, "fblo"},
    {SYS_readv, "fvi"},
    {SYS_writev, "fvi"},
    {SYS_pipe2, "bF"},
    {SYS_select, "ibbbt"},
    {SYS_mremap, "aliia"},
    {SYS_msync, "alF"},
    {SYS_mincore, "alb"},
    {SYS_madvise, "ali"},
    {SYS_shmget, "ilF"},
    {SYS_shmat, "iaF"},
    {SYS_shmctl, "iib"},
    {SYS_shmdt, "a"},
    {SYS_dup2, "ff"},
    {SYS_dup3, "ffF"},
    {SYS_nanosleep, "tb"},
    {SYS_setitimer, "ibb"},
    {SYS_sendfile, "ffbl"},
    {SYS_socket, "iii"},
    {SYS_socketpair, "iiib"},
    {SYS_connect, "fbl"},
    {SYS_accept4, "fbbF"},
    {SYS_sendto, "fblFbl"},
    {SYS_recvfrom, "fblFbb"},
    {SYS_sendmsg, "fvF"},
    {SYS_recvmsg, "fvF"},
    {SYS_shutdown, "fi"},
    {SYS_bind, "fbl"},
    {SYS_listen, "fi"},
    {SYS_getsockname, "fbb"},
    {SYS_setsockopt, "fiibl"},
    {SYS_getsockopt, "fiibb"},
    {SYS_clone, "FabbA"},
    {SYS_wait4, "PbFb"},
    {SYS_kill, "Ps"},
    {SYS_semget, "iiF"},
    {SYS_semop, "ibi"},
    {SYS_semctl, "iiib"},
    {SYS_msgget, "iF"},
    {SYS_msgsnd, "iblF"},
    {SYS_msgrcv, "iblAF"},
    {SYS_msgctl, "iib"},
    {SYS_fcntl, "fii"},
    {SYS_fcntl, "fib"},
    {SYS_flock, "fi"},
    {SYS_ftruncate, "fo"},
    {SYS_getdents64, "fbl"},
    {SYS_getcwd, "bl"},
    {SYS_chdir, "p"},
    {SYS_fchdir, "f"},
    {SYS_rename, "pp"},
    {SYS_mkdir, "pi"},
    {SYS_rmdir, "p"},
    {SYS_link, "pp"},
    {SYS_unlink, "p"},
    {SYS_symlink, "pp"},
    {SYS_readlink, "pbl"},
    {SYS_chmod, "pi"},
    {SYS_fchmod, "fi"},
    {SYS_chown, "pii"},
    {SYS_ptrace, "iPab"},
    {SYS_setuid, "i"},
    {SYS_setpgid, "PP"},
    {SYS_setsid, ""},
    {SYS_setgroups, "ib"},
    {SYS_capset, "bb"},
    {SYS_rt_sigtimedwait, "bbti"},
    {SYS_rt_sigqueueinfo, "Psb"},
    {SYS_sigaltstack, "bb"},
    {SYS_mknod, "pii"},
    {SYS_personality, "A"},
    {SYS_statfs, "pb"},
    {SYS_getpriority, "iP"},
    {SYS_setpriority, "iPi"},
    {SYS_mlock, "al"},
    {SYS_prctl, "iAAAA"},
    {SYS_arch_prctl, "ia"},
    {SYS_setrlimit, "ib"},
    {SYS_chroot, "p"},
    {SYS_mount, "pppFb"},
    {SYS_umount2, "pF"},
    {SYS_gettid, ""},
    {SYS_setxattr, "ppblF"},
    {SYS_getxattr, "ppbl"},
    {SYS_listxattr, "pbl"},
    {SYS_tkill, "Ps"},
    {SYS_futex, "biAtbA"},
    {SYS_sched_setaffinity, "Plb"},
    {SYS_io_setup, "ib"},
    {SYS_io_submit, "Aib"},
    {SYS_io_getevents, "Aiibt"},
    {SYS_epoll_create1, "F"},
    {SYS_epoll_ctl, "fifb"},
    {SYS_epoll_wait, "fbii"},
    {SYS_remap_file_pages, "aliiF"},
    {SYS_timer_create, "ibb"},
    {SYS_timer_settime, "iFbb"},
    {SYS_timer_delete, "i"},
    {SYS_clock_nanosleep, "iFtb"},
    {SYS_tgkill, "PPs"},
    {SYS_utimes, "pb"},
    {SYS_mq_open, "pFib"},
    {SYS_mq_timedsend, "fblit"},
    {SYS_mq_timedreceive, "fblbt"},
    {SYS_mq_notify, "fb"},
    {SYS_waitid, "iPbFb"},
    {SYS_inotify_init1, "F"},
    {SYS_inotify_add_watch, "fpF"},
    {SYS_inotify_rm_watch, "fi"},
    {SYS_openat, "fpFi"},
    {SYS_mkdirat, "fpi"},
    {SYS_mknodat, "fpii"},
    {SYS_unlinkat, "fpF"},
    {SYS_renameat2, "fpfpF"},
    {SYS_linkat, "fpfpF"},
    {SYS_symlinkat, "pfp"},
    {SYS_newfstatat, "fpbF"},
    {SYS_unshare, "F"},
    {SYS_set_robust_list, "bl"},
    {SYS_splice, "fbfblF"},
    {SYS_tee, "fflF"},
    {SYS_vmsplice, "fviF"},
    {SYS_utimensat, "fpbF"},
    {SYS_signalfd4, "fblF"},
    {SYS_timerfd_create, "iF"},
    {SYS_timerfd_settime, "fFbb"},
    {SYS_eventfd2, "iF"},
    {SYS_fallocate, "fFoo"},
    {SYS_preadv2, "fvioAF"},
    {SYS_pwritev2, "fvioAF"},
    {SYS_recvmmsg, "fviFt"},
    {SYS_sendmmsg, "fviF"},
    {SYS_prlimit64, "Pibb"},
    {SYS_name_to_handle_at, "fpbbF"},
    {SYS_setns, "fF"},
    {SYS_process_vm_readv, "PviviF"},
    {SYS_process_vm_writev, "PviviF"},
    {SYS_kcmp, "PPiff"},
    {SYS_seccomp, "iFb"},
    {SYS_getrandom, "blF"},
    {SYS_memfd_create, "pF"},
    {SYS_execve, "pbb"},
    {SYS_execveat, "fpbbF"},
    {SYS_membarrier, "iFi"},
    {SYS_mlock2, "alF"},
    {SYS_copy_file_range, "fbfblF"},
    {SYS_statx, "fpFFb"},
    {SYS_rseq, "blFA"},
    {SYS_pidfd_open, "PF"},
    {SYS_pidfd_send_signal, "fsbF"},
    {SYS_pidfd_getfd, "ffF"},
    {SYS_open_tree, "fpF"},
    {SYS_move_mount, "fpfpF"},
    {SYS_fsopen, "pF"},
    {SYS_fsconfig, "fippi"},
    {SYS_fsmount, "fFF"},
    {SYS_mount_setattr, "fpFbl"},
    {SYS_clone3, "bl"},
    {SYS_close_range, "ffF"},
    {SYS_openat2, "fpbl"},
    {SYS_faccessat2, "fpiF"},
    {SYS_process_madvise, "fviiF"},
    {SYS_epoll_pwait2, "fbitb"},
    {SYS_process_mrelease, "fF"},
    {SYS_futex_waitv, "biFti"},
    {SYS_pivot_root, "pp"},
};

static const char *const paths[] = {
    "/tmp/r/a",
    "/tmp/r/b",
    "/tmp/r/c/d",
    "/tmp/r/c",
    "/tmp/r/../r/a",
    "a",
    "b",
    "c/d",
    "..",
    ".",
    "",
    "/",
    "/proc/self/mem",
    "/proc/self/maps",
    "/proc/self/fd/3",
    "/proc/self/exe",
    "/proc/self/cwd/a",
    "/proc/self/root",
    "/proc/self/ns/mnt",
    "/proc/self/ns/user",
    "/proc/self/uid_map",
    "/proc/self/oom_score_adj",
    "/proc/self/comm",
    "/proc/self/task",
    "/proc/sys/kernel/sem",
    "/proc/sysvipc/shm",
    "/proc/mounts",
    "/proc/self/mountinfo",
    "/proc",
    "/sys",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts/0",
    "/dev/shm/x",
    "/dev/mqueue",
    "/queue",
    "tmpfs",
    "proc",
    "overlay",
    "sysfs",
    "mqueue",
    "size=1m",
    "/etc/passwd",
    "/bin/true",
    "/usr/lib",
    "/mnt/file",
    "/mnt",
    "user.x",
    "security.capability",
    "\xff\xfe",
    "/tmp/r/fifo",
};

static uint64_t number(struct rng *r)
{
    static const uint64_t edges[] = {0,
                                     1,
                                     2,
                                     3,
                                     7,
                                     8,
                                     16,
                                     255,
                                     4095,
                                     4096,
                                     4097,
                                     65535,
                                     65536,
                                     0x7fffffff,
                                     0x80000000,
                                     0xffffffff,
                                     0x100000000,
                                     0x7fffffffffffffff,
                                     0x8000000000000000,
                                     0xffffffffffffffff,
                                     0xfffffffffffff000,
                                     0x7ffffffff000,
                                     0x7fffffffefff};
    switch (below(r, 4)) {
    case 0:
        return edges[below(r, sizeof(edges) / sizeof(*edges))];
    case 1:
        return below(r, 64);
    case 2:
        return (uint64_t)1 << below(r, 64);
    default:
        return next(r) >> below(r, 64);
    }
}

/* Somewhere in the arena; near its end with what lies behind it missing; or nowhere. */
static uint64_t address(struct rng *r)
{
    switch (below(r, 16)) {
    case 0:
        return number(r);
    case 1:
        return 0;
    case 2:
        return (uint64_t)(uintptr_t)arena + ARENA - below(r, 64);
    default:
        return (uint64_t)(uintptr_t)arena + (below(r, ARENA - 8192) & ~7ull);
    }
}

static uint64_t filled(struct rng *r, unsigned words)
{
    uint64_t a = address(r);
    uint64_t base = (uint64_t)(uintptr_t)arena;
    if (a < base || a > base + ARENA - 8192)
        return a;
    uint64_t *w = (uint64_t *)(uintptr_t)(a & ~7ull);
    for (unsigned i = 0; i < words; i++) {
        uint64_t kind = below(r, 5);
        w[i] = kind == 0 ? address(r) : kind == 1 ? number(r) : below(r, 8);
        if (kind == 4)
            w[i] |= below(r, 20) << 32;
    }
    return a;
}

static uint64_t argument(struct rng *r, char kind)
{
    if (below(r, 40) == 0)
        return number(r);
    switch (kind) {
    case 'f':
        return below(r, 8) ? below(r, 24) : (uint64_t)(int64_t)(-100 + (int)below(r, 2) * 99);
    case 'p':
        return (uint64_t)(uintptr_t)paths[below(r, sizeof(paths) / sizeof(*paths))];
    case 'b':
        return filled(r, 12);
    case 't':
        return filled(r, 4);
    case 'v':
        return filled(r, 32);
    case 'l':
        return below(r, 3) ? below(r, 8192) : number(r);
    case 'o':
        return below(r, 3) ? below(r, 1 << 20) : number(r);
    case 'F':
        return below(r, 2) ? (uint64_t)1 << below(r, 32) | (uint64_t)1 << below(r, 32)
                           : below(r, 4);
    case 's':
        return below(r, 4) ? 0 : below(r, 66);
    case 'P':
        return below(r, 3) ? (uint64_t)getpid() + below(r, 4) : below(r, 3) * (uint64_t)-1;
    case 'a':
        return (uint64_t)(uintptr_t)arena + ARENA * 2 + below(r, 64) * 4096;
    case 'i':
        return below(r, 4) ? below(r, 20) : number(r);
    default:
        return number(r);
    }
}

/* What would only end the run, or make it wait. */
static int unwanted(long nr)
{
    switch (nr) {
    case SYS_exit:
    case SYS_exit_group:
    case SYS_pause:
    case SYS_reboot:
    case SYS_rt_sigsuspend:
    case SYS_rt_sigreturn:
    case SYS_vfork:
    case SYS_alarm:
        return 1;
    default:
        return 0;
    }
}

static _Atomic int running = THREADS;

static void interrupted(int sig)
{
    (void)sig;
}

/* Process 1 is to stay as it is. */
static int concerns_init(long nr, const uint64_t *a)
{
    switch (nr) {
    case SYS_kill:
    case SYS_tkill:
    case SYS_tgkill:
    case SYS_rt_sigqueueinfo:
    case SYS_rt_tgsigqueueinfo:
    case SYS_pidfd_open:
    case SYS_ptrace:
    case SYS_prlimit64:
    case SYS_process_vm_writev:
        return (int)a[0] == 1 || (int)a[1] == 1;
    default:
        return 0;
    }
}

static void *calls(void *arg)
{
    struct rng r = {(uint64_t)(uintptr_t)arg};
    pid_t self = getpid();
    for (int i = 0; i < CALLS; i++) {
        uint64_t a[6];
        long nr;
        if (below(&r, 8)) {
            unsigned row = (unsigned)below(&r, sizeof(rows) / sizeof(*rows));
            const char *kind = rows[row].args;
            nr = rows[row].nr;
            for (int k = 0; k < 6; k++)
                a[k] = *kind ? argument(&r, *kind++) : number(&r);
        } else {
            nr = (long)below(&r, HIGHEST);
            for (int k = 0; k < 6; k++)
                a[k] = argument(&r, "fpblFA"[below(&r, 6)]);
        }
        if (unwanted(nr) || concerns_init(nr, a))
            continue;
        if ((nr == SYS_seccomp || nr == SYS_execve || nr == SYS_execveat) && below(&r, 8))
            continue;
        if (nr == SYS_clone) /* its child runs on our stack: no memory in common */
            a[0] &= ~(uint64_t)(0x100 | 0x4000 | 0x10000 | 0x800), a[1] = 0;
        syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
        if (getpid() != self)
            _exit(0);
    }
    running--;
    return NULL;
}

static void child(uint64_t seed)
{
    struct rng r = {seed};
    pthread_t t[THREADS];
    sigset_t all; /* kills come often; sooner or later some call lets one through */
    sigfillset(&all);
    sigdelset(&all, SIGURG);
    sigaction(SIGURG, &(struct sigaction){.sa_handler = interrupted}, NULL);
    if (below(&r, 4))
        sigprocmask(SIG_BLOCK, &all, NULL);
    struct rlimit few = {64, 64}, files = {256, 256}, mem = {1u << 30, 1u << 30};
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_NPROC, &few);
    setrlimit(RLIMIT_NOFILE, &files);
    setrlimit(RLIMIT_AS, &mem);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){64u << 20, 64u << 20});
    mkdir("/tmp/r", 0777);
    mkdir("/tmp/r/c", 0777);
    mkfifo("/tmp/r/fifo", 0666);
    if (chdir("/tmp/r"))
        _exit(1);
    int sv[2];
    if (below(&r, 2))
        (void)!pipe2(sv, O_NONBLOCK);
    if (below(&r, 2))
        syscall(SYS_socketpair, 1, (int)(1 + below(&r, 2)) | 04000, 0, sv);
    open("/tmp/r/a", O_RDWR | O_CREAT, 0666);
    open("/tmp/r", O_RDONLY | O_DIRECTORY);
    syscall(SYS_epoll_create1, 0);
    syscall(SYS_eventfd2, 0, 04000);
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&t[i], NULL, calls, (void *)(uintptr_t)next(&r)))
            _exit(1);
    for (int ticks = 0; running && ticks < 400; ticks++) { /* what blocks is interrupted */
        usleep(2000);
        for (int i = 0; i < THREADS; i++)
            pthread_kill(t[i], SIGURG);
    }
    _exit(0);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    uint64_t seed = strtoull(argv[1], NULL, 0);
    double end = now() + atof(argv[2]);
    uint64_t count = argc > 3 ? strtoull(argv[3], NULL, 0) : UINT64_MAX, done = 0;
    for (int s = 1; s < 65; s++)
        signal(s, SIG_IGN); /* those that a child sends to process 1 */
    signal(SIGCHLD, SIG_DFL);
    int null = open("/dev/null", O_RDWR); /* the children may remove it */
    for (; done < count && now() < end; done++, seed++) {
        pid_t pid = fork();
        if (pid == 0) {
            for (int s = 1; s < 65; s++)
                signal(s, SIG_DFL);
            dup2(null, 0);
            dup2(null, 1);
            dup2(null, 2);
            close(null);
            arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
            child(seed * 1000003);
        }
        if (pid < 0) {
            perror("fork");
            return 1;
        }
        for (int ms = 0; waitpid(pid, NULL, WNOHANG) == 0; ms += 5) {
            if (ms > 1500) {
                kill(pid, SIGKILL);
                kill(-pid, SIGKILL);
            }
            usleep(5000);
        }
        kill(-1, SIGKILL);
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
    }
    printf("%llu processes\n", (unsigned long long)done);
    return 0;
}
