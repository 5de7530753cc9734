/* msgget(2), msgop(2), msgctl(2), sysvipc(7). */
#include "tests/syscalls/ipc.h"
#include <limits.h>
#include <pthread.h>
#include <sys/msg.h>

struct message {
    long type;
    char text[8192];
};
static struct message m, r;

static int queue(void)
{
    own_ipc();
    int id = msgget(IPC_PRIVATE, 0600);
    EXPECT(id >= 0);
    return id;
}

static void put(int id, long type, const char *text)
{
    m.type = type;
    strcpy(m.text, text);
    EXPECT_OK(msgsnd(id, &m, strlen(text), IPC_NOWAIT));
}

/* Receives without waiting; what came. */
static const char *get(int id, long type, int flags)
{
    memset(&r, 0, sizeof(r));
    ssize_t n = msgrcv(id, &r, sizeof(r.text) - 1, type, flags | IPC_NOWAIT);
    if (n < 0)
        return NULL;
    r.text[n] = 0;
    return r.text;
}

static struct msqid_ds stat_of(int id)
{
    struct msqid_ds ds;
    EXPECT_OK(msgctl(id, IPC_STAT, &ds));
    return ds;
}

static void drop(int id)
{
    EXPECT_OK(msgctl(id, IPC_RMID, NULL));
}

CASE(get_by_key)
{
    own_ipc();
    key_t key = own_key();
    EXPECT_ERRNO(ENOENT, msgget(key, 0600));
    int id = msgget(key, IPC_CREAT | 0600);
    EXPECT(id >= 0);
    EXPECT_EQ(msgget(key, 0), id);
    EXPECT_EQ(msgget(key, IPC_CREAT | 0600), id);
    EXPECT_EQ(msgget(key, IPC_EXCL), id);
    EXPECT_ERRNO(EEXIST, msgget(key, IPC_CREAT | IPC_EXCL | 0600));
    int other = msgget(IPC_PRIVATE, 0600);
    EXPECT(other >= 0 && other != id);
    drop(other);
    drop(id);
    EXPECT_ERRNO(ENOENT, msgget(key, 0600));
    EXPECT_ERRNO(EINVAL, msgctl(id, IPC_RMID, NULL));
}

CASE(identifier_is_not_used_again_soon)
{
    int id = queue();
    for (int i = 0; i < 200; i++) {
        drop(id);
        int next = msgget(IPC_PRIVATE, 0600);
        EXPECT(next >= 0);
        EXPECT_NE(next, id);
        EXPECT_ERRNO(EINVAL, msgsnd(id, &m, 0, 0));
        id = next;
    }
    drop(id);
}

CASE(status_of_a_new_queue)
{
    own_ipc();
    key_t key = own_key();
    time_t before = time(NULL);
    int id = msgget(key, IPC_CREAT | 0642);
    EXPECT(id >= 0);
    struct msqid_ds ds = stat_of(id);
    EXPECT_EQ(ds.msg_perm.__key, key);
    EXPECT_EQ(ds.msg_perm.uid, geteuid());
    EXPECT_EQ(ds.msg_perm.cuid, geteuid());
    EXPECT_EQ(ds.msg_perm.gid, getegid());
    EXPECT_EQ(ds.msg_perm.cgid, getegid());
    EXPECT_EQ(ds.msg_perm.mode, 0642);
    EXPECT_EQ(ds.msg_qnum, 0);
    EXPECT_EQ(ds.msg_lspid, 0);
    EXPECT_EQ(ds.msg_lrpid, 0);
    EXPECT_EQ(ds.msg_stime, 0);
    EXPECT_EQ(ds.msg_rtime, 0);
    EXPECT(ds.msg_ctime >= before - 1 && ds.msg_ctime <= time(NULL) + 1);
    EXPECT_EQ(ds.msg_qbytes, proc_number("/proc/sys/kernel/msgmnb"));
    drop(id);
}

CASE(status_after_traffic)
{
    int id = queue();
    put(id, 1, "hello");
    put(id, 2, "");
    struct msqid_ds ds = stat_of(id);
    EXPECT_EQ(ds.msg_qnum, 2);
    EXPECT_EQ(ds.__msg_cbytes, 5);
    EXPECT_EQ(ds.msg_lspid, getpid());
    EXPECT_EQ(ds.msg_lrpid, 0);
    EXPECT(ds.msg_stime != 0);
    pid_t p = FORK({ EXPECT_STREQ(get(id, 0, 0), "hello"); });
    EXPECT_EXITED(p, 0);
    ds = stat_of(id);
    EXPECT_EQ(ds.msg_qnum, 1);
    EXPECT_EQ(ds.__msg_cbytes, 0);
    EXPECT_EQ(ds.msg_lrpid, p);
    EXPECT(ds.msg_rtime != 0);
    drop(id);
}

CASE(order_and_types)
{
    int id = queue();
    put(id, 3, "a");
    put(id, 1, "b");
    put(id, 2, "c");
    put(id, 1, "d");
    EXPECT_STREQ(get(id, 2, 0), "c");
    EXPECT_EQ(r.type, 2);
    EXPECT_STREQ(get(id, -2, 0), "b");
    EXPECT_EQ(r.type, 1);
    EXPECT(get(id, 7, 0) == NULL);
    EXPECT_EQ(errno, ENOMSG);
    EXPECT_STREQ(get(id, 3, MSG_EXCEPT), "d");
    EXPECT_STREQ(get(id, 0, 0), "a");
    EXPECT(get(id, 0, 0) == NULL);
    EXPECT_EQ(errno, ENOMSG);
    drop(id);
}

CASE(lowest_type_first)
{
    int id = queue();
    put(id, 5, "5");
    put(id, 4, "4a");
    put(id, 9, "9");
    put(id, 4, "4b");
    EXPECT_STREQ(get(id, LONG_MIN, 0), "4a");
    EXPECT_STREQ(get(id, -5, 0), "4b");
    EXPECT_STREQ(get(id, -100, 0), "5");
    EXPECT(get(id, -8, 0) == NULL);
    EXPECT_STREQ(get(id, LONG_MIN, 0), "9");
    drop(id);
}

CASE(too_long_for_the_receiver)
{
    int id = queue();
    put(id, 1, "0123456789");
    EXPECT_ERRNO(E2BIG, msgrcv(id, &r, 4, 0, IPC_NOWAIT));
    EXPECT_EQ(stat_of(id).msg_qnum, 1);
    EXPECT_EQ(msgrcv(id, &r, 4, 0, IPC_NOWAIT | MSG_NOERROR), 4);
    EXPECT_MEMEQ(r.text, "0123", 4);
    EXPECT_EQ(stat_of(id).msg_qnum, 0);
    EXPECT_EQ(stat_of(id).__msg_cbytes, 0);
    drop(id);
}

CASE(copy)
{
    int id = queue();
    put(id, 3, "zero");
    put(id, 7, "one");
    memset(&r, 0, sizeof(r));
    ssize_t n = msgrcv(id, &r, 100, 1, IPC_NOWAIT | MSG_COPY);
    if (n < 0 && errno == ENOSYS)
        SKIP("no MSG_COPY here");
    EXPECT_EQ(n, 3);
    EXPECT_EQ(r.type, 7);
    EXPECT_MEMEQ(r.text, "one", 3);
    EXPECT_EQ(stat_of(id).msg_qnum, 2);
    EXPECT_EQ(stat_of(id).msg_lrpid, 0);
    EXPECT_ERRNO(ENOMSG, msgrcv(id, &r, 100, 2, IPC_NOWAIT | MSG_COPY));
    EXPECT_ERRNO(EINVAL, msgrcv(id, &r, 100, 0, MSG_COPY));
    EXPECT_ERRNO(EINVAL, msgrcv(id, &r, 100, 0, IPC_NOWAIT | MSG_COPY | MSG_EXCEPT));
    EXPECT_ERRNO(E2BIG, msgrcv(id, &r, 2, 0, IPC_NOWAIT | MSG_COPY));
    drop(id);
}

CASE(send_errors)
{
    int id = queue();
    m.type = 1;
    EXPECT_ERRNO(EINVAL, msgsnd(-1, &m, 1, 0));
    EXPECT_ERRNO(EINVAL, msgsnd(id + 1, &m, 1, IPC_NOWAIT));
    EXPECT_ERRNO(EINVAL, msgsnd(id, &m, (size_t)-1, IPC_NOWAIT));
    EXPECT_ERRNO(EINVAL, msgsnd(id, &m, proc_number("/proc/sys/kernel/msgmax") + 1, IPC_NOWAIT));
    m.type = 0;
    EXPECT_ERRNO(EINVAL, msgsnd(id, &m, 1, IPC_NOWAIT));
    m.type = -1;
    EXPECT_ERRNO(EINVAL, msgsnd(id, &m, 1, IPC_NOWAIT));
    EXPECT_ERRNO(EFAULT, msgsnd(id, bad_address, 1, IPC_NOWAIT));
    EXPECT_EQ(stat_of(id).msg_qnum, 0);
    drop(id);
}

CASE(receive_errors)
{
    int id = queue();
    EXPECT_ERRNO(EINVAL, msgrcv(-1, &r, 1, 0, IPC_NOWAIT));
    EXPECT_ERRNO(EINVAL, msgrcv(id + 1, &r, 1, 0, IPC_NOWAIT));
    EXPECT_ERRNO(EINVAL, msgrcv(id, &r, (size_t)-1, 0, IPC_NOWAIT));
    EXPECT_ERRNO(ENOMSG, msgrcv(id, &r, 1, 0, IPC_NOWAIT));
    put(id, 1, "lost");
    EXPECT_ERRNO(EFAULT, msgrcv(id, bad_address, 100, 0, IPC_NOWAIT));
    EXPECT_EQ(stat_of(id).msg_qnum, 0);
    drop(id);
}

CASE(control_errors)
{
    int id = queue();
    struct msqid_ds ds = stat_of(id);
    EXPECT_ERRNO(EINVAL, msgctl(-1, IPC_STAT, &ds));
    EXPECT_ERRNO(EINVAL, msgctl(id + 1, IPC_STAT, &ds));
    EXPECT_ERRNO(EINVAL, msgctl(id, 77, &ds));
    EXPECT_ERRNO(EFAULT, msgctl(id, IPC_STAT, bad_address));
    EXPECT_ERRNO(EFAULT, msgctl(id, IPC_SET, bad_address));
    ds.msg_perm.uid = (uid_t)-1;
    EXPECT_ERRNO(EINVAL, msgctl(id, IPC_SET, &ds));
    drop(id);
}

CASE(full_queue)
{
    int id = queue();
    struct msqid_ds ds = stat_of(id);
    ds.msg_qbytes = 10;
    EXPECT_OK(msgctl(id, IPC_SET, &ds));
    put(id, 1, "0123456");
    EXPECT_ERRNO(EAGAIN, msgsnd(id, &m, 4, IPC_NOWAIT));
    EXPECT_OK(msgsnd(id, &m, 3, IPC_NOWAIT));
    /* Empty messages have a limit too: as many as bytes. */
    for (int i = 2; i < 10; i++)
        EXPECT_OK(msgsnd(id, &m, 0, IPC_NOWAIT));
    EXPECT_ERRNO(EAGAIN, msgsnd(id, &m, 0, IPC_NOWAIT));
    EXPECT_EQ(stat_of(id).msg_qnum, 10);
    drop(id);
}

CASE(set)
{
    int id = queue();
    struct msqid_ds ds = stat_of(id);
    ds.msg_perm.uid = 12;
    ds.msg_perm.gid = 34;
    ds.msg_perm.mode = 07123;
    ds.msg_qbytes = 100;
    EXPECT_OK(msgctl(id, IPC_SET, &ds));
    ds = stat_of(id);
    EXPECT_EQ(ds.msg_perm.uid, 12);
    EXPECT_EQ(ds.msg_perm.gid, 34);
    EXPECT_EQ(ds.msg_perm.cuid, geteuid());
    EXPECT_EQ(ds.msg_perm.mode, 0123);
    EXPECT_EQ(ds.msg_qbytes, 100);
    drop(id);
}

CASE(permissions)
{
    if (geteuid() != 0)
        SKIP("needs to change its user");
    own_ipc();
    key_t key = own_key();
    int id = msgget(key, IPC_CREAT | 0640);
    put(id, 1, "x");
    EXPECT_EXITED(FORK({
                      become(1000, 1000);
                      struct msqid_ds ds;
                      EXPECT_ERRNO(EACCES, msgget(key, 0400));
                      EXPECT_EQ(msgget(key, 0), id);
                      EXPECT_ERRNO(EACCES, msgctl(id, IPC_STAT, &ds));
                      EXPECT_ERRNO(EACCES, msgrcv(id, &r, 10, 0, IPC_NOWAIT));
                      EXPECT_ERRNO(EACCES, msgsnd(id, &m, 1, IPC_NOWAIT));
                      EXPECT_ERRNO(EPERM, msgctl(id, IPC_RMID, NULL));
                      memset(&ds, 0, sizeof(ds));
                      EXPECT_ERRNO(EPERM, msgctl(id, IPC_SET, &ds));
                  }),
                  0);
    EXPECT_EXITED(FORK({ /* of the group: may read */
                         become(1000, 0);
                         EXPECT_EQ(msgget(key, 0400), id);
                         EXPECT_ERRNO(EACCES, msgget(key, 0600));
                         EXPECT_ERRNO(EACCES, msgsnd(id, &m, 1, IPC_NOWAIT));
                         EXPECT_EQ(msgrcv(id, &r, 10, 0, IPC_NOWAIT), 1);
                  }),
                  0);
    struct msqid_ds ds = stat_of(id);
    ds.msg_perm.uid = 1000;
    EXPECT_OK(msgctl(id, IPC_SET, &ds));
    EXPECT_EXITED(FORK({ /* the owner */
                         become(1000, 1000);
                         put(id, 1, "y");
                         struct msqid_ds mine = stat_of(id);
                         mine.msg_qbytes = proc_number("/proc/sys/kernel/msgmnb") + 1;
                         EXPECT_ERRNO(EPERM, msgctl(id, IPC_SET, &mine));
                         mine.msg_qbytes = 1;
                         EXPECT_OK(msgctl(id, IPC_SET, &mine));
                         drop(id);
                  }),
                  0);
}

CASE(information)
{
    struct msginfo info;
    struct msqid_ds ds;
    int id = queue();
    put(id, 1, "four");
    int max = msgctl(0, IPC_INFO, (struct msqid_ds *)&info);
    EXPECT(max >= 0);
    EXPECT_EQ(info.msgmax, proc_number("/proc/sys/kernel/msgmax"));
    EXPECT_EQ(info.msgmnb, proc_number("/proc/sys/kernel/msgmnb"));
    EXPECT_EQ(info.msgmni, proc_number("/proc/sys/kernel/msgmni"));
    max = msgctl(0, MSG_INFO, (struct msqid_ds *)&info);
    EXPECT(max >= 0);
    EXPECT(info.msgpool >= 1);
    EXPECT(info.msgmap >= 1);
    EXPECT(info.msgtql >= 4);
    int found = 0;
    for (int i = 0; i <= max; i++)
        found += msgctl(i, MSG_STAT, &ds) == id;
    EXPECT_EQ(found, 1);
    EXPECT_ERRNO(EINVAL, msgctl(max + 1, MSG_STAT, &ds));
    EXPECT_ERRNO(EFAULT, msgctl(0, IPC_INFO, bad_address));
    drop(id);
}

CASE(information_about_what_one_may_not_read)
{
    if (geteuid() != 0)
        SKIP("needs to change its user");
    struct msqid_ds ds;
    int id = queue();
    int index = id & 32767;
    EXPECT_EXITED(FORK({
                      become(1000, 1000);
                      EXPECT_ERRNO(EACCES, msgctl(index, MSG_STAT, &ds));
                      int any = msgctl(index, MSG_STAT_ANY, &ds);
                      EXPECT_EQ(any, id);
                  }),
                  0);
    drop(id);
}

CASE(proc_file)
{
    int id = queue();
    put(id, 1, "12345");
    unsigned perms, lspid, lrpid;
    unsigned long bytes, num;
    char *line = proc_line("msg", id);
    EXPECT(line != NULL);
    EXPECT_EQ(sscanf(line, "%*d %*d %o %lu %lu %u %u", &perms, &bytes, &num, &lspid, &lrpid), 5);
    EXPECT_EQ(perms, 0600);
    EXPECT_EQ(bytes, 5);
    EXPECT_EQ(num, 1);
    EXPECT_EQ(lspid, getpid());
    EXPECT_EQ(lrpid, 0);
    drop(id);
    EXPECT(proc_line("msg", id) == NULL);
}

CASE(receiver_waits)
{
    int id = queue();
    pid_t p = FORK({
        EXPECT_EQ(msgrcv(id, &r, 100, 5, 0), 4);
        EXPECT_MEMEQ(r.text, "mine", 4);
    });
    wait_asleep(p);
    put(id, 4, "other");
    usleep(20000);
    EXPECT_EQ(stat_of(id).msg_qnum, 1);
    put(id, 5, "mine");
    EXPECT_EXITED(p, 0);
    EXPECT_EQ(stat_of(id).msg_qnum, 1);
    EXPECT_EQ(stat_of(id).msg_lrpid, p);
    drop(id);
}

CASE(waiting_receiver_with_too_little_room)
{
    int id = queue();
    pid_t p = FORK({ EXPECT_ERRNO(E2BIG, msgrcv(id, &r, 2, 0, 0)); });
    wait_asleep(p);
    put(id, 1, "too long");
    EXPECT_EXITED(p, 0);
    EXPECT_EQ(stat_of(id).msg_qnum, 1);
    drop(id);
}

CASE(receivers_are_served_in_turn)
{
    int id = queue();
    pid_t p[4];
    for (int i = 0; i < 4; i++) {
        p[i] = FORK({
            EXPECT_EQ(msgrcv(id, &r, 100, 0, 0), 1);
            _exit(r.text[0]);
        });
        wait_asleep(p[i]);
    }
    for (int i = 0; i < 4; i++)
        put(id, 1, (char[]){(char)('a' + i), 0});
    for (int i = 0; i < 4; i++)
        EXPECT_EXITED(p[i], 'a' + i);
    drop(id);
}

CASE(sender_waits)
{
    int id = queue();
    struct msqid_ds ds = stat_of(id);
    ds.msg_qbytes = 8;
    EXPECT_OK(msgctl(id, IPC_SET, &ds));
    put(id, 1, "12345678");
    pid_t p = FORK({
        m.type = 2;
        EXPECT_OK(msgsnd(id, &m, 5, 0));
    });
    wait_asleep(p);
    EXPECT_EQ(stat_of(id).msg_qnum, 1);
    EXPECT(get(id, 0, 0) != NULL);
    EXPECT_EXITED(p, 0);
    EXPECT_EQ(stat_of(id).msg_qnum, 1);
    drop(id);
}

CASE(more_room_lets_a_sender_go)
{
    int id = queue();
    struct msqid_ds ds = stat_of(id);
    ds.msg_qbytes = 1;
    EXPECT_OK(msgctl(id, IPC_SET, &ds));
    m.type = 1;
    pid_t p = FORK({ EXPECT_OK(msgsnd(id, &m, 5, 0)); });
    wait_asleep(p);
    ds.msg_qbytes = 5;
    EXPECT_OK(msgctl(id, IPC_SET, &ds));
    EXPECT_EXITED(p, 0);
    drop(id);
}

CASE(removal_wakes)
{
    int id = queue();
    pid_t reader = FORK({ EXPECT_ERRNO(EIDRM, msgrcv(id, &r, 100, 9, 0)); });
    struct msqid_ds ds = stat_of(id);
    ds.msg_qbytes = 1;
    EXPECT_OK(msgctl(id, IPC_SET, &ds));
    m.type = 1;
    pid_t writer = FORK({ EXPECT_ERRNO(EIDRM, msgsnd(id, &m, 5, 0)); });
    wait_asleep(reader);
    wait_asleep(writer);
    drop(id);
    EXPECT_EXITED(reader, 0);
    EXPECT_EXITED(writer, 0);
}

CASE(signals_interrupt)
{
    int id = queue();
    pid_t reader = FORK({
        catch (SIGUSR1, SA_RESTART);
        EXPECT_ERRNO(EINTR, msgrcv(id, &r, 100, 9, 0));
    });
    struct msqid_ds ds = stat_of(id);
    ds.msg_qbytes = 1;
    EXPECT_OK(msgctl(id, IPC_SET, &ds));
    m.type = 1;
    pid_t writer = FORK({
        catch (SIGUSR1, SA_RESTART);
        EXPECT_ERRNO(EINTR, msgsnd(id, &m, 5, 0));
    });
    wait_asleep(reader);
    wait_asleep(writer);
    usleep(20000);
    EXPECT_OK(kill(reader, SIGUSR1));
    EXPECT_OK(kill(writer, SIGUSR1));
    EXPECT_EXITED(reader, 0);
    EXPECT_EXITED(writer, 0);
    drop(id);
}

CASE(largest_message)
{
    int id = queue();
    struct {
        long type;
        char text[8192];
    } big = {.type = 1}, got;
    memset(big.text, 'z', sizeof(big.text));
    if (proc_number("/proc/sys/kernel/msgmax") != 8192)
        SKIP("msgmax was changed");
    EXPECT_OK(msgsnd(id, &big, 8192, IPC_NOWAIT));
    EXPECT_EQ(msgrcv(id, &got, 8192, 0, IPC_NOWAIT), 8192);
    EXPECT_MEMEQ(got.text, big.text, 8192);
    drop(id);
}

/* ---- many at once ---- */

#define THREADS 4
#define MESSAGES 2000
static int shared;
static long sum_sent, sum_received;

static void *sender(void *arg)
{
    for (int i = 0; i < MESSAGES; i++) {
        struct {
            long type, value;
        } x = {1 + (i & 1), (long)arg * 100000 + i};
        EXPECT_OK(msgsnd(shared, &x, sizeof(long), 0));
        __atomic_add_fetch(&sum_sent, x.value, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void *receiver(void *arg)
{
    struct {
        long type, value;
    } x;
    for (int i = 0; i < MESSAGES; i++) {
        long want = (long)arg & 1 ? 2 : 1;
        EXPECT_EQ(msgrcv(shared, &x, sizeof(long), want, 0), sizeof(long));
        EXPECT_EQ(x.type, want);
        __atomic_add_fetch(&sum_received, x.value, __ATOMIC_RELAXED);
    }
    return NULL;
}

CASE(many_senders_and_receivers)
{
    pthread_t t[2 * THREADS];
    shared = queue();
    struct msqid_ds ds = stat_of(shared);
    ds.msg_qbytes = 256;
    EXPECT_OK(msgctl(shared, IPC_SET, &ds));
    for (long i = 0; i < THREADS; i++) {
        EXPECT_EQ(pthread_create(&t[2 * i], NULL, sender, (void *)i), 0);
        EXPECT_EQ(pthread_create(&t[2 * i + 1], NULL, receiver, (void *)i), 0);
    }
    for (int i = 0; i < 2 * THREADS; i++)
        EXPECT_EQ(pthread_join(t[i], NULL), 0);
    EXPECT_EQ(sum_sent, sum_received);
    EXPECT_EQ(stat_of(shared).msg_qnum, 0);
    drop(shared);
}

TEST_MAIN
