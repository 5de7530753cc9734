/* semget(2), semop(2), semctl(2), sysvipc(7). */
#include "tests/syscalls/ipc.h"
#include <limits.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/sem.h>

union semun {
    int val;
    struct semid_ds *buf;
    unsigned short *array;
    struct seminfo *info;
};

static int set(int n)
{
    own_ipc();
    int id = semget(IPC_PRIVATE, n, 0600);
    EXPECT(id >= 0);
    return id;
}

static int op(int id, int num, int add, int flags)
{
    struct sembuf b = {(unsigned short)num, (short)add, (short)flags};
    return semop(id, &b, 1);
}

static int value(int id, int num)
{
    return semctl(id, num, GETVAL);
}

static void set_value(int id, int num, int v)
{
    EXPECT_OK(semctl(id, num, SETVAL, v));
}

static void drop(int id)
{
    EXPECT_OK(semctl(id, 0, IPC_RMID));
}

static struct semid_ds stat_of(int id)
{
    struct semid_ds ds;
    EXPECT_OK(semctl(id, 0, IPC_STAT, &ds));
    return ds;
}

/* Until n tasks wait for a semaphore to grow, or to be zero. */
static void wait_count(int id, int num, int cmd, int n)
{
    for (int i = 0; i < 2000 && semctl(id, num, cmd) != n; i++)
        usleep(2000);
    EXPECT_EQ(semctl(id, num, cmd), n);
}

CASE(get)
{
    own_ipc();
    key_t key = own_key();
    EXPECT_ERRNO(ENOENT, semget(key, 1, 0600));
    EXPECT_ERRNO(EINVAL, semget(key, 0, IPC_CREAT | 0600));
    EXPECT_ERRNO(EINVAL, semget(key, -1, IPC_CREAT | 0600));
    EXPECT_ERRNO(EINVAL, semget(key, 1 << 30, IPC_CREAT | 0600));
    int id = semget(key, 3, IPC_CREAT | 0600);
    EXPECT(id >= 0);
    EXPECT_EQ(semget(key, 3, 0), id);
    EXPECT_EQ(semget(key, 0, 0), id);
    EXPECT_EQ(semget(key, 2, IPC_CREAT), id);
    EXPECT_ERRNO(EINVAL, semget(key, 4, 0));
    EXPECT_ERRNO(EEXIST, semget(key, 3, IPC_CREAT | IPC_EXCL | 0600));
    drop(id);
    EXPECT_ERRNO(ENOENT, semget(key, 3, 0));
}

CASE(status_of_a_new_set)
{
    own_ipc();
    key_t key = own_key();
    int id = semget(key, 5, IPC_CREAT | 0641);
    struct semid_ds ds = stat_of(id);
    EXPECT_EQ(ds.sem_perm.__key, key);
    EXPECT_EQ(ds.sem_perm.mode, 0641);
    EXPECT_EQ(ds.sem_perm.uid, geteuid());
    EXPECT_EQ(ds.sem_perm.cgid, getegid());
    EXPECT_EQ(ds.sem_nsems, 5);
    EXPECT_EQ(ds.sem_otime, 0);
    EXPECT(ds.sem_ctime != 0);
    for (int i = 0; i < 5; i++) {
        EXPECT_EQ(value(id, i), 0);
        EXPECT_EQ(semctl(id, i, GETPID), 0);
        EXPECT_EQ(semctl(id, i, GETNCNT), 0);
        EXPECT_EQ(semctl(id, i, GETZCNT), 0);
    }
    EXPECT_OK(op(id, 0, 1, 0));
    EXPECT(stat_of(id).sem_otime != 0);
    drop(id);
}

CASE(simple_operations)
{
    int id = set(2);
    EXPECT_OK(op(id, 1, 5, 0));
    EXPECT_EQ(value(id, 1), 5);
    EXPECT_EQ(value(id, 0), 0);
    EXPECT_EQ(semctl(id, 1, GETPID), getpid());
    EXPECT_EQ(semctl(id, 0, GETPID), 0);
    EXPECT_OK(op(id, 1, -3, 0));
    EXPECT_EQ(value(id, 1), 2);
    EXPECT_ERRNO(EAGAIN, op(id, 1, -3, IPC_NOWAIT));
    EXPECT_ERRNO(EAGAIN, op(id, 1, 0, IPC_NOWAIT));
    EXPECT_OK(op(id, 0, 0, IPC_NOWAIT));
    EXPECT_EQ(semctl(id, 0, GETPID), getpid());
    EXPECT_OK(op(id, 1, -2, IPC_NOWAIT));
    drop(id);
}

CASE(all_or_nothing)
{
    int id = set(3);
    set_value(id, 0, 2);
    struct sembuf ops[] = {{0, -1, IPC_NOWAIT}, {1, 4, 0}, {2, -1, IPC_NOWAIT}};
    EXPECT_ERRNO(EAGAIN, semop(id, ops, 3));
    EXPECT_EQ(value(id, 0), 2);
    EXPECT_EQ(value(id, 1), 0);
    set_value(id, 2, 1);
    EXPECT_OK(semop(id, ops, 3));
    EXPECT_EQ(value(id, 0), 1);
    EXPECT_EQ(value(id, 1), 4);
    EXPECT_EQ(value(id, 2), 0);
    drop(id);
}

CASE(operations_are_done_in_order)
{
    int id = set(1);
    struct sembuf lock[] = {{0, 0, IPC_NOWAIT}, {0, 1, 0}};
    struct sembuf twice[] = {{0, 1, 0}, {0, -2, IPC_NOWAIT}};
    struct sembuf down_first[] = {{0, -2, IPC_NOWAIT}, {0, 2, 0}};
    EXPECT_OK(semop(id, lock, 2));
    EXPECT_EQ(value(id, 0), 1);
    EXPECT_ERRNO(EAGAIN, semop(id, lock, 2));
    EXPECT_ERRNO(EAGAIN, semop(id, down_first, 2));
    EXPECT_OK(semop(id, twice, 2));
    EXPECT_EQ(value(id, 0), 0);
    drop(id);
}

CASE(operation_errors)
{
    int id = set(2);
    struct sembuf b = {0, 1, 0};
    struct timespec bad = {0, 1000000000}, negative = {-1, 0};
    static struct sembuf many[501];
    EXPECT_ERRNO(EINVAL, semop(-1, &b, 1));
    EXPECT_ERRNO(EINVAL, semop(id + 1, &b, 1));
    EXPECT_ERRNO(EINVAL, semop(id, &b, 0));
    EXPECT_ERRNO(E2BIG, semop(id, many, 501));
    EXPECT_ERRNO(EFAULT, semop(id, bad_address, 1));
    EXPECT_ERRNO(EFBIG, op(id, 2, 1, 0));
    EXPECT_ERRNO(EINVAL, semtimedop(id, &b, 1, &bad));
    EXPECT_ERRNO(EINVAL, semtimedop(id, &b, 1, &negative));
    EXPECT_ERRNO(EFAULT, semtimedop(id, &b, 1, bad_address));
    EXPECT_OK(semop(id, many, 500));
    drop(id);
}

CASE(ranges)
{
    int id = set(1);
    EXPECT_OK(op(id, 0, 32767, 0));
    EXPECT_ERRNO(ERANGE, op(id, 0, 1, 0));
    EXPECT_EQ(value(id, 0), 32767);
    EXPECT_ERRNO(ERANGE, semctl(id, 0, SETVAL, 32768));
    EXPECT_ERRNO(ERANGE, semctl(id, 0, SETVAL, -1));
    unsigned short all = 32768;
    EXPECT_ERRNO(ERANGE, semctl(id, 0, SETALL, &all));
    /* The adjustment has a range too. */
    EXPECT_OK(op(id, 0, -32767, SEM_UNDO));
    EXPECT_OK(op(id, 0, 32767, 0));
    EXPECT_ERRNO(ERANGE, op(id, 0, -1, SEM_UNDO));
    drop(id);
}

CASE(control_errors)
{
    int id = set(2);
    struct semid_ds ds;
    EXPECT_ERRNO(EINVAL, semctl(-1, 0, GETVAL));
    EXPECT_ERRNO(EINVAL, semctl(id + 1, 0, GETVAL));
    EXPECT_ERRNO(EINVAL, semctl(id, 2, GETVAL));
    EXPECT_ERRNO(EINVAL, semctl(id, -1, GETPID));
    EXPECT_ERRNO(EINVAL, semctl(id, 2, SETVAL, 1));
    EXPECT_ERRNO(EINVAL, semctl(id, 0, 99));
    EXPECT_ERRNO(EFAULT, semctl(id, 0, IPC_STAT, bad_address));
    EXPECT_ERRNO(EFAULT, semctl(id, 0, IPC_SET, bad_address));
    EXPECT_ERRNO(EFAULT, semctl(id, 0, GETALL, bad_address));
    EXPECT_ERRNO(EFAULT, semctl(id, 0, SETALL, bad_address));
    EXPECT_ERRNO(EFAULT, semctl(id, 0, SEM_INFO, bad_address));
    drop(id);
    EXPECT_ERRNO(EINVAL, semctl(id, 0, IPC_STAT, &ds));
    EXPECT_ERRNO(EINVAL, semctl(id, 0, IPC_RMID));
}

CASE(all_values)
{
    int id = set(3);
    unsigned short in[3] = {1, 32767, 0}, out[3];
    EXPECT_OK(semctl(id, 0, SETALL, in));
    EXPECT_OK(semctl(id, 0, GETALL, out));
    EXPECT_MEMEQ(in, out, sizeof(in));
    EXPECT_EQ(semctl(id, 2, GETPID), getpid());
    drop(id);
}

CASE(set_changes_owner)
{
    int id = set(1);
    struct semid_ds ds = stat_of(id);
    ds.sem_perm.uid = 7;
    ds.sem_perm.gid = 8;
    ds.sem_perm.mode = 0604;
    EXPECT_OK(semctl(id, 0, IPC_SET, &ds));
    ds = stat_of(id);
    EXPECT_EQ(ds.sem_perm.uid, 7);
    EXPECT_EQ(ds.sem_perm.gid, 8);
    EXPECT_EQ(ds.sem_perm.cuid, geteuid());
    EXPECT_EQ(ds.sem_perm.mode, 0604);
    drop(id);
}

CASE(permissions)
{
    if (geteuid() != 0)
        SKIP("needs to change its user");
    own_ipc();
    int id = semget(IPC_PRIVATE, 1, 0604); /* others may read */
    EXPECT_EXITED(FORK({
                      struct semid_ds ds;
                      unsigned short v = 1;
                      become(1000, 1000);
                      EXPECT_EQ(value(id, 0), 0);
                      EXPECT_OK(semctl(id, 0, IPC_STAT, &ds));
                      EXPECT_OK(op(id, 0, 0, 0));
                      EXPECT_ERRNO(EACCES, op(id, 0, 1, 0));
                      EXPECT_ERRNO(EACCES, semctl(id, 0, SETVAL, 1));
                      EXPECT_ERRNO(EACCES, semctl(id, 0, SETALL, &v));
                      EXPECT_ERRNO(EPERM, semctl(id, 0, IPC_SET, &ds));
                      EXPECT_ERRNO(EPERM, semctl(id, 0, IPC_RMID));
                  }),
                  0);
    struct semid_ds ds = stat_of(id);
    ds.sem_perm.mode = 0602; /* others may write */
    EXPECT_OK(semctl(id, 0, IPC_SET, &ds));
    EXPECT_EXITED(FORK({
                      become(1000, 1000);
                      EXPECT_OK(op(id, 0, 1, 0));
                      EXPECT_OK(semctl(id, 0, SETVAL, 1));
                      EXPECT_ERRNO(EACCES, semctl(id, 0, GETVAL));
                      EXPECT_ERRNO(EACCES, semctl(id, 0, GETNCNT));
                      EXPECT_ERRNO(EACCES, op(id, 0, 0, IPC_NOWAIT));
                  }),
                  0);
    drop(id);
}

CASE(information)
{
    struct seminfo info;
    struct semid_ds ds;
    int id = set(4);
    int msl, mns, opm, mni;
    FILE *f = fopen("/proc/sys/kernel/sem", "r");
    EXPECT(f != NULL);
    EXPECT_EQ(fscanf(f, "%d %d %d %d", &msl, &mns, &opm, &mni), 4);
    fclose(f);
    EXPECT(semctl(0, 0, IPC_INFO, &info) >= 0);
    EXPECT_EQ(info.semmsl, msl);
    EXPECT_EQ(info.semmns, mns);
    EXPECT_EQ(info.semopm, opm);
    EXPECT_EQ(info.semmni, mni);
    EXPECT_EQ(info.semvmx, 32767);
    EXPECT_EQ(info.semaem, 32767);
    int max = semctl(0, 0, SEM_INFO, &info);
    EXPECT(max >= 0);
    EXPECT(info.semusz >= 1);
    EXPECT(info.semaem >= 4);
    int found = 0;
    for (int i = 0; i <= max; i++)
        found += semctl(i, 0, SEM_STAT, &ds) == id;
    EXPECT_EQ(found, 1);
    EXPECT_EQ(semctl(id & 32767, 0, SEM_STAT_ANY, &ds), id);
    char *line = proc_line("sem", id);
    EXPECT(line != NULL);
    unsigned perms, n;
    EXPECT_EQ(sscanf(line, "%*d %*d %o %u", &perms, &n), 2);
    EXPECT_EQ(perms, 0600);
    EXPECT_EQ(n, 4);
    drop(id);
}

/* ---- waiting ---- */

CASE(wait_for_growth)
{
    int id = set(1);
    pid_t p = FORK({ EXPECT_OK(op(id, 0, -2, 0)); });
    wait_count(id, 0, GETNCNT, 1);
    EXPECT_EQ(semctl(id, 0, GETZCNT), 0);
    EXPECT_OK(op(id, 0, 1, 0));
    usleep(20000);
    EXPECT_EQ(semctl(id, 0, GETNCNT), 1);
    EXPECT_OK(op(id, 0, 2, 0));
    EXPECT_EXITED(p, 0);
    EXPECT_EQ(value(id, 0), 1);
    EXPECT_EQ(semctl(id, 0, GETNCNT), 0);
    EXPECT_EQ(semctl(id, 0, GETPID), p);
    drop(id);
}

CASE(wait_for_zero)
{
    int id = set(1);
    set_value(id, 0, 1);
    pid_t p = FORK({ EXPECT_OK(op(id, 0, 0, 0)); });
    wait_count(id, 0, GETZCNT, 1);
    EXPECT_EQ(semctl(id, 0, GETNCNT), 0);
    EXPECT_OK(op(id, 0, -1, 0));
    EXPECT_EXITED(p, 0);
    drop(id);
}

CASE(setting_a_value_wakes)
{
    int id = set(2);
    unsigned short all[2] = {0, 1};
    pid_t a = FORK({ EXPECT_OK(op(id, 0, -3, 0)); });
    pid_t b = FORK({ EXPECT_OK(op(id, 1, -1, 0)); });
    wait_count(id, 0, GETNCNT, 1);
    wait_count(id, 1, GETNCNT, 1);
    set_value(id, 0, 3);
    EXPECT_EXITED(a, 0);
    EXPECT_OK(semctl(id, 0, SETALL, all));
    EXPECT_EXITED(b, 0);
    drop(id);
}

CASE(only_the_first_blocking_operation_counts)
{
    int id = set(2);
    set_value(id, 1, 1);
    struct sembuf ops[] = {{0, -1, 0}, {1, 0, 0}};
    pid_t p = FORK({ EXPECT_OK(semop(id, ops, 2)); });
    wait_count(id, 0, GETNCNT, 1);
    EXPECT_EQ(semctl(id, 1, GETZCNT), 0);
    EXPECT_OK(op(id, 0, 1, 0));
    wait_count(id, 1, GETZCNT, 1);
    EXPECT_EQ(semctl(id, 0, GETNCNT), 0);
    EXPECT_EQ(value(id, 0), 1);
    EXPECT_OK(op(id, 1, -1, 0));
    EXPECT_EXITED(p, 0);
    drop(id);
}

CASE(waiters_go_in_turn)
{
    int id = set(2);
    pid_t p[4];
    int order[4];
    for (int i = 0; i < 4; i++) {
        struct sembuf ops[] = {{0, -1, 0}, {1, 1, 0}};
        p[i] = FORK({
            EXPECT_OK(semop(id, ops, 2));
            _exit(0);
        });
        wait_count(id, 0, GETNCNT, i + 1);
    }
    for (int i = 0; i < 4; i++) {
        EXPECT_OK(op(id, 0, 1, 0));
        order[i] = semctl(id, 1, GETPID);
        EXPECT_EQ(value(id, 1), i + 1);
        EXPECT_EQ(order[i], p[i]);
        EXPECT_EXITED(p[i], 0);
    }
    drop(id);
}

CASE(removal_wakes)
{
    int id = set(1);
    pid_t p = FORK({ EXPECT_ERRNO(EIDRM, op(id, 0, -1, 0)); });
    wait_count(id, 0, GETNCNT, 1);
    drop(id);
    EXPECT_EXITED(p, 0);
}

CASE(signal_interrupts)
{
    int id = set(1);
    pid_t p = FORK({
        catch (SIGUSR1, SA_RESTART);
        EXPECT_ERRNO(EINTR, op(id, 0, -1, 0));
    });
    wait_count(id, 0, GETNCNT, 1);
    usleep(10000);
    EXPECT_OK(kill(p, SIGUSR1));
    EXPECT_EXITED(p, 0);
    EXPECT_EQ(semctl(id, 0, GETNCNT), 0);
    EXPECT_OK(op(id, 0, 1, 0));
    EXPECT_EQ(value(id, 0), 1);
    drop(id);
}

CASE(time_out)
{
    int id = set(1);
    struct sembuf b = {0, -1, 0};
    struct timespec ts = {0, 50000000}, zero = {0, 0};
    double start = now();
    EXPECT_ERRNO(EAGAIN, semtimedop(id, &b, 1, &ts));
    EXPECT(now() - start >= 0.049);
    EXPECT_ERRNO(EAGAIN, semtimedop(id, &b, 1, &zero));
    set_value(id, 0, 1);
    EXPECT_OK(semtimedop(id, &b, 1, &zero));
    EXPECT_EQ(semctl(id, 0, GETNCNT), 0);
    drop(id);
}

CASE(waiter_that_would_exceed_the_range)
{
    int id = set(2);
    struct sembuf ops[] = {{0, -1, 0}, {1, 2, 0}};
    set_value(id, 1, 32766);
    pid_t p = FORK({ EXPECT_ERRNO(ERANGE, semop(id, ops, 2)); });
    wait_count(id, 0, GETNCNT, 1);
    EXPECT_OK(op(id, 0, 1, 0));
    EXPECT_EXITED(p, 0);
    EXPECT_EQ(value(id, 0), 1);
    EXPECT_EQ(value(id, 1), 32766);
    drop(id);
}

/* ---- undo ---- */

CASE(exit_undoes)
{
    int id = set(2);
    set_value(id, 0, 5);
    EXPECT_EXITED(FORK({
                      EXPECT_OK(op(id, 0, -3, SEM_UNDO));
                      EXPECT_OK(op(id, 1, 4, SEM_UNDO));
                      EXPECT_OK(op(id, 1, 1, 0));
                      EXPECT_EQ(value(id, 0), 2);
                      EXPECT_EQ(value(id, 1), 5);
                  }),
                  0);
    EXPECT_EQ(value(id, 0), 5);
    EXPECT_EQ(value(id, 1), 1);
    drop(id);
}

CASE(kill_undoes_and_wakes)
{
    int id = set(1);
    set_value(id, 0, 1);
    pid_t holder = FORK({
        EXPECT_OK(op(id, 0, -1, SEM_UNDO));
        for (;;)
            pause();
    });
    for (int i = 0; i < 2000 && value(id, 0); i++)
        usleep(1000);
    pid_t next = FORK({ EXPECT_OK(op(id, 0, -1, 0)); });
    wait_count(id, 0, GETNCNT, 1);
    EXPECT_OK(kill(holder, SIGKILL));
    EXPECT_KILLED(holder, SIGKILL);
    EXPECT_EXITED(next, 0);
    drop(id);
}

CASE(undo_stops_at_zero)
{
    int id = set(1);
    EXPECT_EXITED(FORK({
                      EXPECT_OK(op(id, 0, 3, SEM_UNDO));
                      EXPECT_OK(op(id, 0, -2, 0));
                  }),
                  0);
    EXPECT_EQ(value(id, 0), 0);
    drop(id);
}

CASE(setting_a_value_forgets_undo)
{
    int id = set(2);
    EXPECT_EXITED(FORK({
                      EXPECT_OK(op(id, 0, 3, SEM_UNDO));
                      EXPECT_OK(op(id, 1, 3, SEM_UNDO));
                      set_value(id, 0, 7);
                  }),
                  0);
    EXPECT_EQ(value(id, 0), 7);
    EXPECT_EQ(value(id, 1), 0);
    EXPECT_EXITED(FORK({
                      unsigned short all[2] = {1, 2};
                      EXPECT_OK(op(id, 0, 3, SEM_UNDO));
                      EXPECT_OK(semctl(id, 0, SETALL, all));
                  }),
                  0);
    EXPECT_EQ(value(id, 0), 1);
    drop(id);
}

CASE(fork_does_not_inherit_undo)
{
    int id = set(1);
    EXPECT_EXITED(FORK({
                      EXPECT_OK(op(id, 0, 3, SEM_UNDO));
                      EXPECT_EXITED(FORK({}), 0);
                      EXPECT_EQ(value(id, 0), 3);
                  }),
                  0);
    EXPECT_EQ(value(id, 0), 0);
    drop(id);
}

CASE(undo_of_a_set_that_is_gone)
{
    int id = set(1);
    EXPECT_EXITED(FORK({
                      EXPECT_OK(op(id, 0, 3, SEM_UNDO));
                      drop(id);
                  }),
                  0);
    EXPECT_ERRNO(EINVAL, semctl(id, 0, GETVAL));
}

static int thread_set;
static void *add_with_undo(void *arg)
{
    EXPECT_OK(op(thread_set, 0, 2, SEM_UNDO));
    return arg;
}

CASE(threads_share_undo)
{
    thread_set = set(1);
    EXPECT_EXITED(FORK({
                      pthread_t t;
                      EXPECT_EQ(pthread_create(&t, NULL, add_with_undo, NULL), 0);
                      EXPECT_EQ(pthread_join(t, NULL), 0);
                      usleep(20000);
                      EXPECT_EQ(value(thread_set, 0), 2);
                  }),
                  0);
    EXPECT_EQ(value(thread_set, 0), 0);
    drop(thread_set);
}

CASE(unshare_undoes)
{
    int id = set(1);
    EXPECT_EXITED(FORK({
                      EXPECT_OK(op(id, 0, 2, SEM_UNDO));
                      EXPECT_OK(unshare(CLONE_SYSVSEM));
                      EXPECT_EQ(value(id, 0), 0);
                      EXPECT_OK(op(id, 0, 1, SEM_UNDO));
                  }),
                  0);
    EXPECT_EQ(value(id, 0), 0);
    drop(id);
}

static int run_child(void *arg)
{
    EXPECT_OK(op(*(int *)arg, 0, 2, SEM_UNDO));
    return 0;
}

CASE(clone_shares_undo)
{
    static char stack[65536] __attribute__((aligned(16)));
    int id = set(1);
    EXPECT_EXITED(FORK({
                      pid_t p =
                          clone(run_child, stack + sizeof(stack), CLONE_SYSVSEM | SIGCHLD, &id);
                      EXPECT(p > 0);
                      EXPECT_EXITED(p, 0);
                      EXPECT_EQ(value(id, 0), 2); /* until the last of us has gone */
                  }),
                  0);
    EXPECT_EQ(value(id, 0), 0);
    drop(id);
}

CASE(exec_keeps_undo)
{
    int id = set(1);
    char text[32];
    snprintf(text, sizeof(text), "%d", id);
    EXPECT_EXITED(FORK({
                      EXPECT_OK(op(id, 0, 2, SEM_UNDO));
                      execl("/proc/self/exe", "sysv_sem", "--no-fork", "execed_helper", NULL);
                      _exit(9);
                  }),
                  0);
    EXPECT_EQ(value(id, 0), 0);
    drop(id);
}

CASE(execed_helper)
{
}

/* ---- many at once ---- */

#define PROCESSES 6
#define ROUNDS 1500

CASE(mutual_exclusion)
{
    int id = set(1);
    int *counter = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t p[PROCESSES];
    set_value(id, 0, 1);
    for (int i = 0; i < PROCESSES; i++)
        p[i] = FORK({
            for (int k = 0; k < ROUNDS; k++) {
                EXPECT_OK(op(id, 0, -1, SEM_UNDO));
                int v = *(volatile int *)counter;
                if (k % 64 == 0)
                    sched_yield();
                *(volatile int *)counter = v + 1;
                EXPECT_OK(op(id, 0, 1, SEM_UNDO));
            }
        });
    for (int i = 0; i < PROCESSES; i++)
        EXPECT_EXITED(p[i], 0);
    EXPECT_EQ(*counter, PROCESSES * ROUNDS);
    EXPECT_EQ(value(id, 0), 1);
    drop(id);
}

static void *come_and_go(void *arg)
{
    unsigned seed = (unsigned)(long)arg;
    for (int k = 0; k < 300; k++) {
        int id = *(volatile int *)&thread_set;
        struct timespec ts = {0, 1000 * (rand_r(&seed) % 300)};
        struct sembuf b = {0, (short)(rand_r(&seed) % 2 ? 1 : -1), SEM_UNDO};
        if (semtimedop(id, &b, 1, &ts) < 0)
            EXPECT(errno == EAGAIN || errno == EIDRM || errno == EINVAL || errno == ERANGE);
        if (rand_r(&seed) % 20 == 0 && semctl(id, 0, IPC_RMID) == 0)
            thread_set = semget(IPC_PRIVATE, 1, 0600);
    }
    return NULL;
}

CASE(sets_come_and_go)
{
    pthread_t t[4];
    thread_set = set(1);
    for (long i = 0; i < 4; i++)
        EXPECT_EQ(pthread_create(&t[i], NULL, come_and_go, (void *)i), 0);
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(pthread_join(t[i], NULL), 0);
    semctl(thread_set, 0, IPC_RMID);
}

TEST_MAIN
