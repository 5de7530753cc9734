/* shmget(2), shmop(2), shmctl(2), sysvipc(7). */
#include "tests/syscalls/ipc.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>

#define PAGE 4096ul

static int segment(size_t size)
{
    own_ipc();
    int id = shmget(IPC_PRIVATE, size, 0600);
    EXPECT(id >= 0);
    return id;
}

static void *attach(int id, const void *addr, int flags)
{
    void *p = shmat(id, addr, flags);
    if (p == (void *)-1)
        FAIL("shmat: %s", strerror(errno));
    return p;
}

static struct shmid_ds stat_of(int id)
{
    struct shmid_ds ds;
    EXPECT_OK(shmctl(id, IPC_STAT, &ds));
    return ds;
}

static unsigned long attached(int id)
{
    return stat_of(id).shm_nattch;
}

static void drop(int id)
{
    EXPECT_OK(shmctl(id, IPC_RMID, NULL));
}

static void expect_gone(int id)
{
    struct shmid_ds ds;
    EXPECT_ERRNO(EINVAL, shmctl(id, IPC_STAT, &ds));
}

/* A free range of addresses. */
static char *room(size_t size)
{
    char *p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(p != MAP_FAILED);
    EXPECT_OK(munmap(p, size));
    return p;
}

CASE(get)
{
    own_ipc();
    key_t key = own_key();
    EXPECT_ERRNO(ENOENT, shmget(key, PAGE, 0600));
    EXPECT_ERRNO(EINVAL, shmget(key, 0, IPC_CREAT | 0600));
    EXPECT_ERRNO(EINVAL, shmget(key, (size_t)-1, IPC_CREAT | 0600));
    int id = shmget(key, 5000, IPC_CREAT | 0600);
    EXPECT(id >= 0);
    EXPECT_EQ(shmget(key, 5000, 0), id);
    EXPECT_EQ(shmget(key, 0, 0), id);
    EXPECT_ERRNO(EINVAL, shmget(key, 5001, 0));
    EXPECT_ERRNO(EEXIST, shmget(key, 5000, IPC_CREAT | IPC_EXCL | 0600));
    drop(id);
    EXPECT_ERRNO(ENOENT, shmget(key, PAGE, 0600));
}

CASE(status_of_a_new_segment)
{
    own_ipc();
    key_t key = own_key();
    int id = shmget(key, 5000, IPC_CREAT | 0640);
    struct shmid_ds ds = stat_of(id);
    EXPECT_EQ(ds.shm_perm.__key, key);
    EXPECT_EQ(ds.shm_perm.mode, 0640);
    EXPECT_EQ(ds.shm_perm.uid, geteuid());
    EXPECT_EQ(ds.shm_segsz, 5000);
    EXPECT_EQ(ds.shm_nattch, 0);
    EXPECT_EQ(ds.shm_cpid, getpid());
    EXPECT_EQ(ds.shm_lpid, 0);
    EXPECT_EQ(ds.shm_atime, 0);
    EXPECT_EQ(ds.shm_dtime, 0);
    EXPECT(ds.shm_ctime != 0);
    drop(id);
}

CASE(attach_write_detach)
{
    int id = segment(3 * PAGE);
    char *a = attach(id, NULL, 0), *b = attach(id, NULL, 0);
    EXPECT(a != b);
    for (size_t i = 0; i < 3 * PAGE; i++)
        EXPECT_EQ(a[i], 0);
    strcpy(a + PAGE, "hello");
    EXPECT_STREQ(b + PAGE, "hello");
    struct shmid_ds ds = stat_of(id);
    EXPECT_EQ(ds.shm_nattch, 2);
    EXPECT_EQ(ds.shm_lpid, getpid());
    EXPECT(ds.shm_atime != 0);
    EXPECT_EQ(ds.shm_dtime, 0);
    EXPECT_OK(shmdt(a));
    ds = stat_of(id);
    EXPECT_EQ(ds.shm_nattch, 1);
    EXPECT(ds.shm_dtime != 0);
    EXPECT_ERRNO(EINVAL, shmdt(a));
    EXPECT_OK(shmdt(b));
    EXPECT_EQ(attached(id), 0);
    a = attach(id, NULL, 0);
    EXPECT_STREQ(a + PAGE, "hello");
    EXPECT_OK(shmdt(a));
    drop(id);
}

CASE(attach_errors)
{
    int id = segment(PAGE);
    char *p = attach(id, NULL, 0);
    EXPECT_ERRNO(EINVAL, shmat(-1, NULL, 0));
    EXPECT_ERRNO(EINVAL, shmat(id + 1, NULL, 0));
    EXPECT_ERRNO(EINVAL, shmat(id, p + 1, 0));
    EXPECT_ERRNO(EINVAL, shmat(id, p, 0)); /* something is there */
    EXPECT_ERRNO(EINVAL, shmat(id, NULL, SHM_REMAP));
    EXPECT_ERRNO(EINVAL, shmat(id, (void *)1, SHM_RND | SHM_REMAP));
    EXPECT_ERRNO(EINVAL, shmdt(p + 1));
    EXPECT_ERRNO(EINVAL, shmdt(room(PAGE)));
    EXPECT_ERRNO(EINVAL, shmdt(NULL));
    EXPECT_EQ(attached(id), 1);
    EXPECT_OK(shmdt(p));
    drop(id);
}

CASE(attach_at_an_address)
{
    int id = segment(2 * PAGE);
    char *want = room(4 * PAGE);
    EXPECT(attach(id, want, 0) == want);
    EXPECT_OK(shmdt(want));
    EXPECT(attach(id, want + 123, SHM_RND) == want);
    EXPECT_OK(shmdt(want));
    drop(id);
}

CASE(remap)
{
    int id = segment(2 * PAGE);
    char *p = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    p[0] = p[2 * PAGE] = 'x';
    EXPECT(attach(id, p, SHM_REMAP) == p);
    EXPECT_EQ(p[0], 0);
    EXPECT_EQ(p[2 * PAGE], 'x');
    EXPECT(attach(id, p, SHM_REMAP) == p);
    EXPECT_EQ(attached(id), 1);
    EXPECT_OK(shmdt(p));
    EXPECT_EQ(p[2 * PAGE], 'x');
    drop(id);
}

CASE(read_only)
{
    int id = segment(PAGE);
    char *w = attach(id, NULL, 0), *p = attach(id, NULL, SHM_RDONLY);
    w[0] = 'a';
    EXPECT_EQ(p[0], 'a');
    EXPECT_KILLED(FORK({ *(volatile char *)p = 'b'; }), SIGSEGV);
    EXPECT_ERRNO(EACCES, mprotect(p, PAGE, PROT_READ | PROT_WRITE));
    EXPECT_OK(mprotect(w, PAGE, PROT_NONE));
    EXPECT_OK(mprotect(w, PAGE, PROT_READ | PROT_WRITE));
    drop(id);
}

CASE(executable)
{
    int id = segment(PAGE);
    unsigned char *w = attach(id, NULL, 0);
    EXPECT_ERRNO(EACCES, geteuid() ? shmat(id, NULL, SHM_EXEC) : (errno = EACCES, (void *)-1));
    struct shmid_ds ds = stat_of(id);
    ds.shm_perm.mode = 0700;
    EXPECT_OK(shmctl(id, IPC_SET, &ds));
    int (*fn)(void) = (int (*)(void))attach(id, NULL, SHM_EXEC);
    memcpy(w, "\xb8\x2a\x00\x00\x00\xc3", 6); /* mov $42, %eax; ret */
    EXPECT_EQ(fn(), 42);
    drop(id);
}

CASE(last_partial_page)
{
    int id = segment(100);
    char *p = attach(id, NULL, 0);
    p[PAGE - 1] = 'z'; /* pages are whole */
    EXPECT_EQ(stat_of(id).shm_segsz, 100);
    EXPECT_OK(shmdt(p));
    drop(id);
}

CASE(removal_while_attached)
{
    own_ipc();
    key_t key = own_key();
    int id = shmget(key, PAGE, IPC_CREAT | 0600);
    char *p = attach(id, NULL, 0);
    strcpy(p, "still");
    drop(id);
    struct shmid_ds ds = stat_of(id);
    EXPECT_EQ(ds.shm_perm.mode, 0600 | SHM_DEST);
    EXPECT_EQ(ds.shm_perm.__key, IPC_PRIVATE);
    EXPECT_ERRNO(ENOENT, shmget(key, PAGE, 0));
    EXPECT_STREQ(p, "still");
    char *q = attach(id, NULL, 0); /* Linux allows that */
    EXPECT_STREQ(q, "still");
    EXPECT_OK(shmdt(p));
    EXPECT_EQ(attached(id), 1);
    EXPECT_OK(shmdt(q));
    expect_gone(id);
}

CASE(fork_and_exit_count)
{
    int id = segment(PAGE);
    char *p = attach(id, NULL, 0);
    int go[2], done[2];
    char c;
    EXPECT_OK(pipe(go));
    EXPECT_OK(pipe(done));
    pid_t child = FORK({
        EXPECT_EQ(attached(id), 2);
        p[0] = 'c';
        EXPECT_EQ(write(done[1], "x", 1), 1);
        EXPECT_EQ(read(go[0], &c, 1), 1);
    });
    EXPECT_EQ(read(done[0], &c, 1), 1);
    EXPECT_EQ(attached(id), 2);
    EXPECT_EQ(p[0], 'c');
    EXPECT_EQ(write(go[1], "x", 1), 1);
    EXPECT_EXITED(child, 0);
    EXPECT_EQ(attached(id), 1);
    EXPECT_EQ(stat_of(id).shm_lpid, child);
    drop(id);
}

CASE(exit_of_the_last_destroys)
{
    int id = segment(PAGE);
    EXPECT_EXITED(FORK({
                      attach(id, NULL, 0);
                      drop(id);
                      EXPECT_EQ(attached(id), 1);
                  }),
                  0);
    expect_gone(id);
}

CASE(kill_detaches)
{
    int id = segment(PAGE);
    pid_t p = FORK({
        attach(id, NULL, 0);
        for (;;)
            pause();
    });
    for (int i = 0; i < 2000 && attached(id) == 0; i++)
        usleep(1000);
    EXPECT_EQ(attached(id), 1);
    EXPECT_OK(kill(p, SIGKILL));
    EXPECT_KILLED(p, SIGKILL);
    EXPECT_EQ(attached(id), 0);
    drop(id);
}

CASE(exec_detaches)
{
    int id = segment(PAGE);
    pid_t p = FORK({
        attach(id, NULL, 0);
        execl("/proc/self/exe", "sysv_shm", "--no-fork", "execed_helper", NULL);
        _exit(9);
    });
    EXPECT_EXITED(p, 0);
    EXPECT_EQ(attached(id), 0);
    EXPECT_EQ(stat_of(id).shm_lpid, p);
    drop(id);
}

CASE(execed_helper)
{
}

CASE(unmapping_detaches)
{
    int id = segment(4 * PAGE);
    char *p = attach(id, NULL, 0);
    EXPECT_OK(munmap(p + PAGE, PAGE)); /* a hole: two mappings */
    EXPECT_EQ(attached(id), 2);
    EXPECT_OK(munmap(p, PAGE));
    EXPECT_EQ(attached(id), 1);
    EXPECT_OK(munmap(p + 2 * PAGE, 2 * PAGE));
    EXPECT_EQ(attached(id), 0);
    drop(id);
}

CASE(detach_takes_all_the_pieces)
{
    int id = segment(6 * PAGE);
    char *p = attach(id, NULL, 0), *other = attach(id, NULL, 0);
    EXPECT_OK(mprotect(p + PAGE, PAGE, PROT_READ));
    EXPECT_EQ(attached(id), 4);
    EXPECT_OK(mprotect(p + PAGE, PAGE, PROT_READ | PROT_WRITE));
    EXPECT_EQ(attached(id), 4); /* they do not merge again */
    EXPECT_OK(munmap(p + 4 * PAGE, PAGE));
    /* Something else in the hole stays. */
    char *anon = mmap(p + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    anon[0] = 'k';
    EXPECT_OK(shmdt(p));
    EXPECT_EQ(anon[0], 'k');
    EXPECT_EQ(attached(id), 1);
    unsigned char vec;
    EXPECT_ERRNO(ENOMEM, mincore(p, PAGE, &vec));
    EXPECT_ERRNO(ENOMEM, mincore(p + 5 * PAGE, PAGE, &vec));
    EXPECT_OK(shmdt(other));
    EXPECT_EQ(attached(id), 0);
    drop(id);
}

CASE(detach_without_the_first_page)
{
    int id = segment(4 * PAGE);
    char *p = attach(id, NULL, 0);
    EXPECT_OK(munmap(p, PAGE));
    EXPECT_OK(shmdt(p));
    EXPECT_EQ(attached(id), 0);
    drop(id);
}

CASE(moving)
{
    int id = segment(4 * PAGE);
    char *p = attach(id, NULL, 0);
    strcpy(p + PAGE, "moved");
    char *q = mremap(p, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, room(8 * PAGE));
    EXPECT(q != MAP_FAILED);
    EXPECT_STREQ(q + PAGE, "moved");
    EXPECT_EQ(attached(id), 1);
    EXPECT_ERRNO(EINVAL, shmdt(p));
    EXPECT_OK(shmdt(q));
    EXPECT_EQ(attached(id), 0);
    drop(id);
}

CASE(shrinking_and_beyond_the_end)
{
    int id = segment(2 * PAGE);
    char *p = attach(id, NULL, 0);
    EXPECT(mremap(p, 2 * PAGE, PAGE, 0) == p);
    EXPECT_EQ(attached(id), 1);
    EXPECT_OK(shmdt(p));
    p = attach(id, NULL, 0);
    char *q = mremap(p, 2 * PAGE, 3 * PAGE, MREMAP_MAYMOVE);
    EXPECT(q != MAP_FAILED);
    EXPECT_KILLED(FORK({ *(volatile char *)(q + 2 * PAGE) = 1; }), SIGBUS);
    drop(id);
}

CASE(permissions)
{
    if (geteuid() != 0)
        SKIP("needs to change its user");
    own_ipc();
    key_t key = own_key();
    int id = shmget(key, PAGE, IPC_CREAT | 0604);
    EXPECT_EXITED(FORK({
                      struct shmid_ds ds;
                      become(1000, 1000);
                      EXPECT_EQ(shmget(key, PAGE, 0400), id);
                      EXPECT_ERRNO(EACCES, shmget(key, PAGE, 0600));
                      EXPECT_ERRNO(EACCES, shmat(id, NULL, 0));
                      EXPECT_ERRNO(EACCES, shmat(id, NULL, SHM_EXEC | SHM_RDONLY));
                      attach(id, NULL, SHM_RDONLY);
                      EXPECT_OK(shmctl(id, IPC_STAT, &ds));
                      EXPECT_ERRNO(EPERM, shmctl(id, IPC_SET, &ds));
                      EXPECT_ERRNO(EPERM, shmctl(id, IPC_RMID, NULL));
                      EXPECT_ERRNO(EPERM, shmctl(id, SHM_LOCK, NULL));
                  }),
                  0);
    struct shmid_ds ds = stat_of(id);
    ds.shm_perm.mode = 0600;
    ds.shm_perm.uid = 1000;
    EXPECT_OK(shmctl(id, IPC_SET, &ds));
    EXPECT_EXITED(FORK({
                      become(1001, 1000);
                      struct shmid_ds other;
                      EXPECT_ERRNO(EACCES, shmctl(id, IPC_STAT, &other));
                      EXPECT_ERRNO(EACCES, shmctl(id & 32767, SHM_STAT, &other));
                      EXPECT_EQ(shmctl(id & 32767, SHM_STAT_ANY, &other), id);
                  }),
                  0);
    EXPECT_EXITED(FORK({
                      become(1000, 1000);
                      attach(id, NULL, 0);
                      drop(id);
                  }),
                  0);
    expect_gone(id);
}

CASE(control_errors)
{
    int id = segment(PAGE);
    struct shmid_ds ds = stat_of(id);
    EXPECT_ERRNO(EINVAL, shmctl(-1, IPC_STAT, &ds));
    EXPECT_ERRNO(EINVAL, shmctl(id + 1, IPC_STAT, &ds));
    EXPECT_ERRNO(EINVAL, shmctl(id, 99, &ds));
    EXPECT_ERRNO(EFAULT, shmctl(id, IPC_STAT, bad_address));
    EXPECT_ERRNO(EFAULT, shmctl(id, IPC_SET, bad_address));
    EXPECT_ERRNO(EINVAL, shmctl(id + 1, SHM_LOCK, NULL));
    drop(id);
    EXPECT_ERRNO(EINVAL, shmctl(id, IPC_RMID, NULL));
}

CASE(lock)
{
    int id = segment(PAGE);
    EXPECT_OK(shmctl(id, SHM_LOCK, NULL));
    EXPECT_EQ(stat_of(id).shm_perm.mode, 0600 | SHM_LOCKED);
    EXPECT_OK(shmctl(id, SHM_LOCK, NULL));
    EXPECT_OK(shmctl(id, SHM_UNLOCK, NULL));
    EXPECT_EQ(stat_of(id).shm_perm.mode, 0600);
    if (geteuid() == 0) {
        struct shmid_ds ds = stat_of(id);
        ds.shm_perm.uid = 1000;
        EXPECT_OK(shmctl(id, IPC_SET, &ds));
        EXPECT_EXITED(FORK({
                          struct rlimit none = {0, 0}, some = {100, 100};
                          EXPECT_OK(setrlimit(RLIMIT_MEMLOCK, &some));
                          become(1000, 1000);
                          EXPECT_ERRNO(ENOMEM, shmctl(id, SHM_LOCK, NULL));
                          EXPECT_OK(setrlimit(RLIMIT_MEMLOCK, &none));
                          EXPECT_ERRNO(EPERM, shmctl(id, SHM_LOCK, NULL));
                          EXPECT_OK(shmctl(id, SHM_UNLOCK, NULL));
                      }),
                      0);
    }
    drop(id);
}

CASE(information)
{
    struct shminfo limits;
    struct shm_info usage;
    struct shmid_ds ds;
    int id = segment(8 * PAGE);
    char *p = attach(id, NULL, 0);
    memset(p, 1, 3 * PAGE);
    EXPECT(shmctl(0, IPC_INFO, (struct shmid_ds *)&limits) >= 0);
    EXPECT_EQ(limits.shmmax, proc_number("/proc/sys/kernel/shmmax"));
    EXPECT_EQ(limits.shmall, proc_number("/proc/sys/kernel/shmall"));
    EXPECT_EQ(limits.shmmni, proc_number("/proc/sys/kernel/shmmni"));
    EXPECT_EQ(limits.shmmin, 1);
    int max = shmctl(0, SHM_INFO, (struct shmid_ds *)&usage);
    EXPECT(max >= 0);
    EXPECT(usage.used_ids >= 1);
    EXPECT(usage.shm_tot >= 8);
    EXPECT(usage.shm_rss >= 3);
    int found = 0;
    for (int i = 0; i <= max; i++)
        found += shmctl(i, SHM_STAT, &ds) == id;
    EXPECT_EQ(found, 1);
    char *line = proc_line("shm", id);
    EXPECT(line != NULL);
    unsigned perms, cpid, lpid, nattch;
    unsigned long size;
    EXPECT_EQ(sscanf(line, "%*d %*d %o %lu %u %u %u", &perms, &size, &cpid, &lpid, &nattch), 5);
    EXPECT_EQ(perms, 0600);
    EXPECT_EQ(size, 8 * PAGE);
    EXPECT_EQ(cpid, getpid());
    EXPECT_EQ(lpid, getpid());
    EXPECT_EQ(nattch, 1);
    drop(id);
}

CASE(maps_line)
{
    own_ipc();
    key_t key = own_key();
    int id = shmget(key, PAGE, IPC_CREAT | 0600);
    char *p = attach(id, NULL, 0), line[512], want[64];
    snprintf(want, sizeof(want), "/SYSV%08x (deleted)\n", (unsigned)key);
    FILE *f = fopen("/proc/self/maps", "r");
    int found = 0;
    while (fgets(line, sizeof(line), f)) {
        unsigned long start, inode;
        char perms[8];
        EXPECT_EQ(sscanf(line, "%lx-%*x %7s %*s %*s %lu", &start, perms, &inode), 3);
        if (start != (unsigned long)p)
            continue;
        found++;
        EXPECT_STREQ(perms, "rw-s");
        EXPECT_EQ(inode, id);
        EXPECT_STREQ(strchr(line, '/'), want);
    }
    fclose(f);
    EXPECT_EQ(found, 1);
    drop(id);
}

CASE(limit_of_segments)
{
    if (geteuid() != 0 || unshare(CLONE_NEWIPC) < 0)
        SKIP("needs a namespace of its own");
    EXPECT_OK(proc_write("/proc/sys/kernel/shmmni", "2"));
    int a = shmget(IPC_PRIVATE, PAGE, 0600), b = shmget(IPC_PRIVATE, PAGE, 0600);
    EXPECT(a >= 0 && b >= 0);
    EXPECT_ERRNO(ENOSPC, shmget(IPC_PRIVATE, PAGE, 0600));
    drop(a);
    EXPECT_OK(proc_write("/proc/sys/kernel/shmall", "2"));
    EXPECT_ERRNO(ENOSPC, shmget(IPC_PRIVATE, 2 * PAGE, 0600));
    a = shmget(IPC_PRIVATE, PAGE, 0600);
    EXPECT(a >= 0);
    EXPECT_OK(proc_write("/proc/sys/kernel/shmmax", "4095"));
    EXPECT_ERRNO(EINVAL, shmget(IPC_PRIVATE, PAGE, 0600));
    drop(a);
    drop(b);
}

CASE(chosen_identifier)
{
    if (geteuid() != 0 || unshare(CLONE_NEWIPC) < 0)
        SKIP("needs a namespace of its own");
    int fd = open("/proc/sys/kernel/shm_next_id", O_RDWR);
    if (fd < 0)
        SKIP("no shm_next_id here");
    int want = 3 << 15 | 9;
    EXPECT_EQ(dprintf(fd, "%d", want), 5);
    EXPECT_EQ(shmget(IPC_PRIVATE, PAGE, 0600), want);
    int next = shmget(IPC_PRIVATE, PAGE, 0600);
    EXPECT_NE(next, want + 1);
    drop(want);
    drop(next);
}

CASE(huge_pages_are_refused_or_there)
{
    own_ipc();
    int id = shmget(IPC_PRIVATE, 2u << 20, SHM_HUGETLB | 0600);
    if (id < 0)
        EXPECT(errno == ENOMEM || errno == EPERM || errno == EINVAL);
    else
        drop(id);
}

/* A futex in a segment is one for all who attach it, wherever. */
CASE(futex)
{
    int id = segment(PAGE);
    int *a = attach(id, NULL, 0), *b = attach(id, NULL, 0);
    pid_t p = FORK({ syscall(SYS_futex, a, FUTEX_WAIT, 0, NULL, NULL, 0); });
    wait_asleep(p);
    EXPECT_EQ(attached(id), 4);
    for (int i = 0; i < 1000 && syscall(SYS_futex, b, FUTEX_WAKE, 1, NULL, NULL, 0) == 0; i++)
        usleep(1000);
    EXPECT_EXITED(p, 0);
    EXPECT_EQ(attached(id), 2);
    drop(id);
}

static int race_id;
static void *attach_and_detach(void *arg)
{
    for (int i = 0; i < 400; i++) {
        int id = *(volatile int *)&race_id;
        char *p = shmat(id, NULL, 0);
        if (p == (void *)-1) {
            EXPECT(errno == EINVAL || errno == EIDRM);
            continue;
        }
        p[i % PAGE]++;
        if (i % 16 == (long)arg && shmctl(id, IPC_RMID, NULL) == 0)
            race_id = shmget(IPC_PRIVATE, PAGE, 0600);
        EXPECT_OK(shmdt(p));
    }
    return NULL;
}

CASE(attaching_and_removing_race)
{
    pthread_t t[4];
    race_id = segment(PAGE);
    for (long i = 0; i < 4; i++)
        EXPECT_EQ(pthread_create(&t[i], NULL, attach_and_detach, (void *)i), 0);
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(pthread_join(t[i], NULL), 0);
    shmctl(race_id, IPC_RMID, NULL);
}

TEST_MAIN
