/* What fork(2) copies, and when. */
#include "tests/syscalls/memory.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/uio.h>

CASE(private_is_private)
{
    char *p = map(64, RW, ANON);
    memset(p, 1, 64 * PG);
    int fds[2], back[2];
    char c = 0;
    EXPECT_EQ(pipe(fds), 0);
    EXPECT_EQ(pipe(back), 0);
    pid_t pid = FORK({
        for (size_t i = 0; i < 64; i += 2)
            p[i * PG] = 2;
        EXPECT_EQ(write(fds[1], &c, 1), 1);
        EXPECT_EQ(read(back[0], &c, 1), 1);
        for (size_t i = 0; i < 64; i++)
            EXPECT_EQ(p[i * PG], i % 2 ? 1 : 2);
    });
    EXPECT_EQ(read(fds[0], &c, 1), 1);
    for (size_t i = 0; i < 64; i++)
        EXPECT_EQ(p[i * PG], 1);
    memset(p, 3, 64 * PG);
    EXPECT_EQ(write(back[1], &c, 1), 1);
    EXPECT_EXITED(pid, 0);
    for (size_t i = 0; i < 64; i++)
        EXPECT_EQ(p[i * PG], 3);
}

CASE(shared_is_shared)
{
    char *p = map(4, RW, SHARED_ANON);
    p[0] = 1;
    EXPECT_EXITED(FORK({
                      EXPECT_EQ(p[0], 1);
                      p[0] = 2;
                      p[3 * PG] = 3; /* not touched before the fork */
                  }),
                  0);
    EXPECT_EQ(p[0], 2);
    EXPECT_EQ(p[3 * PG], 3);
}

CASE(generations)
{
    int *p = (void *)map(2, RW, ANON);
    p[0] = 0;
    for (int depth = 0; depth < 6; depth++) {
        pid_t pid = fork();
        EXPECT_GE(pid, 0);
        if (pid > 0) {
            int s = test_wait(pid);
            EXPECT(WIFEXITED(s) && WEXITSTATUS(s) == 0);
            EXPECT_EQ(p[0], depth);
            if (depth == 0)
                return;
            _exit(0);
        }
        p[0]++;
        EXPECT_EQ(p[0], depth + 1);
    }
    _exit(0);
}

CASE(writes_by_system_calls)
{
    int fds[2];
    char *p = map(4, RW, ANON);
    memset(p, 'p', 4 * PG);
    EXPECT_EQ(pipe(fds), 0);
    EXPECT_EXITED(FORK({
                      char buf[100];
                      memset(buf, 'c', sizeof(buf));
                      EXPECT_EQ(write(fds[1], buf, 100), 100);
                      EXPECT_EQ(read(fds[0], p + PG - 50, 100), 100);
                      EXPECT_EQ(p[PG - 51], 'p');
                      EXPECT_EQ(p[PG], 'c');
                      EXPECT_EQ(p[PG + 50], 'p');
                  }),
                  0);
    for (size_t i = 0; i < 4 * PG; i++)
        EXPECT_EQ(p[i], 'p');
}

CASE(read_only_stays)
{
    catch_faults();
    char *p = map(2, RW, ANON);
    p[0] = 1;
    EXPECT_EQ(mprotect(p, 2 * PG, PROT_READ), 0);
    EXPECT_EXITED(FORK({
                      EXPECT_EQ(p[0], 1);
                      EXPECT_FAULT(WRITE_OF(p), SIGSEGV, SEGV_ACCERR, p);
                      EXPECT_EQ(mprotect(p, 2 * PG, RW), 0);
                      p[0] = 2;
                  }),
                  0);
    EXPECT_EQ(p[0], 1);
}

CASE(private_file)
{
    int fd = file_of("f", 3);
    char *p = mmap(NULL, 3 * PG, RW, MAP_PRIVATE, fd, 0);
    EXPECT(p != MAP_FAILED);
    p[0] = 'X';
    EXPECT_EXITED(FORK({
                      EXPECT_EQ(p[0], 'X');
                      EXPECT_EQ(p[PG], 'b');
                      p[0] = 'Y';
                      p[PG] = 'Z';
                  }),
                  0);
    EXPECT_EQ(p[0], 'X');
    EXPECT_EQ(p[PG], 'b');
}

/* The page that the child took over when the parent ended, or let go, is its own. */
CASE(orphan_keeps_its_pages)
{
    int fds[2];
    char c;
    EXPECT_EQ(pipe(fds), 0);
    char *p = map(32, RW, ANON);
    memset(p, 4, 32 * PG);
    EXPECT_EXITED(FORK({
                      pid_t pid = fork();
                      if (pid == 0) {
                          usleep(20000);
                          c = 1;
                          for (size_t i = 0; i < 32; i++) {
                              if (p[i * PG] != 4)
                                  c = 0;
                              p[i * PG] = 5;
                          }
                          for (size_t i = 0; i < 32; i++)
                              if (p[i * PG] != 5 || p[i * PG + 1] != 4)
                                  c = 0;
                          EXPECT_EQ(write(fds[1], &c, 1), 1);
                      }
                  }),
                  0);
    EXPECT_EQ(read(fds[0], &c, 1), 1);
    EXPECT_EQ(c, 1);
    EXPECT_EQ(p[PG], 4);
}

CASE(many_children)
{
    unsigned char *p = (void *)map(256, RW, ANON);
    pid_t pids[16];
    memset(p, 0xee, 256 * PG);
    for (unsigned i = 0; i < 16; i++)
        pids[i] = FORK({
            for (unsigned j = 0; j < 256; j++)
                p[j * PG + i] = (unsigned char)i;
            for (unsigned j = 0; j < 256; j++)
                for (unsigned k = 0; k < 16; k++)
                    EXPECT_EQ(p[j * PG + k], k == i ? i : 0xee);
        });
    for (unsigned i = 0; i < 16; i++)
        EXPECT_EXITED(pids[i], 0);
    for (unsigned j = 0; j < 256 * PG; j++)
        EXPECT_EQ(p[j], 0xee);
}

static volatile int writer_stop;

static void *writer(void *arg)
{
    volatile unsigned long *p = arg;
    for (unsigned long i = 1; !writer_stop; i++)
        for (size_t page = 0; page < 8; page++)
            p[page * PG / sizeof(*p)] = i;
    return NULL;
}

/* Forking while another thread writes: the child's copy stands still. */
CASE(under_a_writer)
{
    pthread_t t;
    volatile unsigned long *p = (void *)map(8, RW, ANON);
    EXPECT_EQ(pthread_create(&t, NULL, writer, (void *)(uintptr_t)p), 0);
    for (int i = 0; i < 50; i++)
        EXPECT_EXITED(FORK({
                          unsigned long before[8];
                          for (size_t page = 0; page < 8; page++)
                              before[page] = p[page * PG / sizeof(*p)];
                          for (int k = 0; k < 100; k++)
                              for (size_t page = 0; page < 8; page++)
                                  EXPECT_EQ(p[page * PG / sizeof(*p)], before[page]);
                      }),
                      0);
    writer_stop = 1;
    pthread_join(t, NULL);
}

CASE(vfork_shares)
{
    volatile int *p = (void *)map(1, RW, ANON);
    pid_t pid = vfork();
    if (pid == 0) {
        *p = 42;
        _exit(0);
    }
    EXPECT_EXITED(pid, 0);
    EXPECT_EQ(*p, 42);
}

CASE(large)
{
    size_t pages = 16384; /* 64 MiB */
    char *p = map(pages, RW, ANON);
    for (size_t i = 0; i < pages; i++)
        p[i * PG] = (char)i;
    EXPECT_EXITED(FORK({
                      for (size_t i = 0; i < pages; i += 7)
                          p[i * PG] = 1;
                      for (size_t i = 0; i < pages; i++)
                          EXPECT_EQ(p[i * PG], i % 7 ? (char)i : 1);
                  }),
                  0);
    for (size_t i = 0; i < pages; i++) {
        EXPECT_EQ(p[i * PG], (char)i);
        p[i * PG] = 3;
    }
}

/*
 * A process that forks while another of its threads reads a file into memory that both write to:
 * what is read is the reader's, in whatever page it lands.
 */
#define READ_SIZE (16 * PG)

static _Atomic bool done_forking;
static char *read_area;

static void *write_beside(TEST_UNUSED void *arg)
{
    for (unsigned char n = 0; !done_forking; n++)
        for (size_t i = 0; i <= READ_SIZE / PG; i++)
            ((volatile char *)read_area)[i * PG] = (char)n;
    return NULL;
}

static void *fork_often(TEST_UNUSED void *arg)
{
    for (int i = 0; i < 300; i++)
        EXPECT_EXITED(FORK({}), 0);
    done_forking = true;
    return NULL;
}

CASE(fork_during_read)
{
    static char want[READ_SIZE];
    pthread_t threads[2];
    struct iovec pieces[READ_SIZE / PG]; /* all of each page but its first and last byte */
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    EXPECT_GE(fd, 0);
    read_area = map(READ_SIZE / PG + 1, RW, ANON);
    for (size_t i = 0; i < READ_SIZE / PG; i++)
        pieces[i] = (struct iovec){read_area + i * PG + 1, PG - 2};
    const ssize_t size = READ_SIZE / PG * (PG - 2);
    EXPECT_EQ(pread(fd, want, (size_t)size, 0), size);
    EXPECT_EQ(pthread_create(&threads[0], NULL, write_beside, NULL), 0);
    EXPECT_EQ(pthread_create(&threads[1], NULL, fork_often, NULL), 0);
    while (!done_forking) {
        for (size_t i = 0; i < READ_SIZE / PG; i++)
            memset(pieces[i].iov_base, 0, PG - 2);
        EXPECT_EQ(preadv(fd, pieces, READ_SIZE / PG, 0), size);
        for (size_t i = 0; i < READ_SIZE / PG; i++)
            EXPECT(memcmp(pieces[i].iov_base, want + i * (PG - 2), PG - 2) == 0);
    }
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
}

TEST_MAIN
