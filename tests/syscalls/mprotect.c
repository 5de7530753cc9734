/* mprotect(2) and pkey_mprotect(2) */
#include "tests/syscalls/memory.h"

#ifndef PROT_GROWSDOWN
#define PROT_GROWSDOWN 0x01000000
#define PROT_GROWSUP 0x02000000
#endif

CASE(bad_arguments)
{
    char *p = map_alone(2, RW, ANON);
    EXPECT_ERRNO(EINVAL, mprotect(p + 1, PG, PROT_READ));
    EXPECT_ERRNO(EINVAL, mprotect(p, PG, 0x40));
    EXPECT_ERRNO(EINVAL, mprotect(p, PG, PROT_GROWSDOWN | PROT_GROWSUP));
    EXPECT_ERRNO(EINVAL, mprotect(p, PG, PROT_READ | PROT_GROWSDOWN)); /* does not grow */
    EXPECT_ERRNO(EINVAL, mprotect(p, PG, PROT_READ | PROT_GROWSUP));
    EXPECT_EQ(mprotect(p, 0, PROT_NONE), 0);
    EXPECT_ERRNO(ENOMEM, mprotect(p, SIZE_MAX & ~(PG - 1), PROT_READ));
    EXPECT_ERRNO(ENOMEM, mprotect((void *)(1ul << 62), PG, PROT_READ));
    p[0] = 1;
}

CASE(hole)
{
    catch_faults();
    char *p = map_alone(4, RW, ANON);
    EXPECT_EQ(munmap(p + 2 * PG, PG), 0);
    EXPECT_ERRNO(ENOMEM, mprotect(p + 2 * PG, PG, PROT_READ));
    EXPECT_ERRNO(ENOMEM, mprotect(p, 4 * PG, PROT_READ));
    EXPECT_EQ(WRITE_OF(p), SIGSEGV); /* what precedes the hole was changed */
    EXPECT_EQ(WRITE_OF(p + 3 * PG), 0);
}

CASE(each_protection)
{
    catch_faults();
    char *p = map(1, RW, ANON);
    for (int round = 0; round < 3; round++)
        for (int prot = 0; prot < 8; prot++) {
            EXPECT_EQ(mprotect(p, PG, prot), 0);
            EXPECT_EQ(READ_OF(p), prot ? 0 : SIGSEGV); /* x86: all but none can be read */
            EXPECT_EQ(WRITE_OF(p + 1), prot & PROT_WRITE ? 0 : SIGSEGV);
            if (!(prot & PROT_WRITE))
                EXPECT_EQ(test_fault.info.si_code, SEGV_ACCERR);
        }
}

CASE(part_of_a_mapping)
{
    catch_faults();
    char *p = map_alone(6, RW, ANON);
    memset(p, 1, 6 * PG);
    EXPECT_EQ(mprotect(p + 2 * PG, 2 * PG, PROT_READ), 0);
    EXPECT_EQ(WRITE_OF(p + 2 * PG - 1), 0);
    EXPECT_FAULT(WRITE_OF(p + 2 * PG), SIGSEGV, SEGV_ACCERR, p + 2 * PG);
    EXPECT_EQ(READ_OF(p + 3 * PG), 0);
    EXPECT_EQ(WRITE_OF(p + 4 * PG), 0);
    EXPECT_EQ(mprotect(p, 6 * PG, RW), 0);
    EXPECT_EQ(WRITE_OF(p + 2 * PG), 0);
    EXPECT_EQ(p[3 * PG], 1);
}

CASE(over_several_mappings)
{
    catch_faults();
    int fd = file_of("f", 1);
    char *p = map_alone(3, RW, ANON);
    EXPECT((char *)mmap(p + PG, PG, RW, MAP_SHARED | MAP_FIXED, fd, 0) == p + PG);
    p[0] = p[PG] = p[2 * PG] = 1;
    EXPECT_EQ(mprotect(p, 3 * PG, PROT_READ), 0);
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(WRITE_OF(p + (unsigned)i * PG), SIGSEGV);
    EXPECT_EQ(mprotect(p, 3 * PG, RW), 0);
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(WRITE_OF(p + (unsigned)i * PG), 0);
}

CASE(stops_at_what_may_not_be_written)
{
    catch_faults();
    close(file_of("f", 1));
    int fd = EXPECT_OK(open(test_path("f"), O_RDONLY));
    char *p = map_alone(3, PROT_READ, ANON);
    EXPECT((char *)mmap(p + PG, PG, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == p + PG);
    EXPECT_ERRNO(EACCES, mprotect(p, 3 * PG, RW));
    EXPECT_EQ(WRITE_OF(p), 0);
    EXPECT_EQ(WRITE_OF(p + PG), SIGSEGV);
    EXPECT_EQ(WRITE_OF(p + 2 * PG), SIGSEGV);
}

CASE(keeps_contents)
{
    char *p = map(64, RW, ANON);
    for (int i = 0; i < 64; i++)
        p[(unsigned)i * PG] = (char)i;
    EXPECT_EQ(mprotect(p, 64 * PG, PROT_NONE), 0);
    EXPECT_EQ(mprotect(p + 10 * PG, PG, PROT_READ), 0);
    EXPECT_EQ(p[10 * PG], 10);
    EXPECT_EQ(mprotect(p, 64 * PG, RW), 0);
    for (int i = 0; i < 64; i++)
        EXPECT_EQ(p[(unsigned)i * PG], (char)i);
}

CASE(private_file_to_writable)
{
    int fd = file_of("f", 2);
    char *p = mmap(NULL, 2 * PG, PROT_READ, MAP_PRIVATE, fd, 0), c;
    EXPECT(p != MAP_FAILED);
    EXPECT_EQ(p[0], 'a');
    EXPECT_EQ(mprotect(p, 2 * PG, RW), 0);
    p[0] = 'X';
    EXPECT_EQ(p[1], 'a');
    EXPECT_EQ(p[PG], 'b');
    EXPECT_EQ(pread(fd, &c, 1, 0), 1);
    EXPECT_EQ(c, 'a');
    EXPECT_EQ(mprotect(p, 2 * PG, PROT_READ), 0);
    EXPECT_EQ(p[0], 'X');
}

CASE(system_calls_see_it)
{
    int fds[2];
    char *p = map(2, RW, ANON);
    EXPECT_EQ(pipe(fds), 0);
    EXPECT_EQ(write(fds[1], p, 10), 10);
    EXPECT_EQ(mprotect(p, PG, PROT_READ), 0);
    EXPECT_ERRNO(EFAULT, read(fds[0], p, 10));
    EXPECT_EQ(write(fds[1], p, 10), 10);
    EXPECT_EQ(mprotect(p, PG, PROT_NONE), 0);
    EXPECT_ERRNO(EFAULT, write(fds[1], p, 10));
    EXPECT_EQ(mprotect(p, PG, RW), 0);
    EXPECT_EQ(read(fds[0], p, 10), 10);
}

CASE(grows_down_reaches_the_start)
{
    catch_faults();
    char *p = map_alone(4, RW, ANON | MAP_GROWSDOWN);
    p[0] = p[3 * PG] = 1;
    EXPECT_EQ(mprotect(p + 3 * PG, PG, PROT_READ | PROT_GROWSDOWN), 0);
    EXPECT_EQ(WRITE_OF(p), SIGSEGV);
    EXPECT_EQ(WRITE_OF(p + 3 * PG), SIGSEGV);
}

CASE(pkeys)
{
    char *p = map(1, RW, ANON);
    EXPECT_EQ(syscall(SYS_pkey_mprotect, p, PG, PROT_READ, -1), 0);
    EXPECT_ERRNO(EINVAL, syscall(SYS_pkey_mprotect, p, PG, PROT_READ, 15));
    EXPECT_ERRNO(EINVAL, syscall(SYS_pkey_alloc, 1, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_pkey_free, 15));
}

/* A garbage collector's barrier: fault, unprotect in the handler, go on. */
static char *barrier;
static volatile int barrier_faults;

static void on_barrier(TEST_UNUSED int sig, siginfo_t *info, TEST_UNUSED void *ctx)
{
    char *page = (char *)((uintptr_t)info->si_addr & ~(PG - 1));
    if (page < barrier || page >= barrier + 64 * PG || mprotect(page, PG, RW))
        _exit(99);
    barrier_faults++;
}

CASE(handler_unprotects)
{
    struct sigaction sa = {.sa_sigaction = on_barrier, .sa_flags = SA_SIGINFO};
    EXPECT_EQ(sigaction(SIGSEGV, &sa, NULL), 0);
    barrier = map(64, RW, ANON);
    for (int round = 0; round < 3; round++) {
        EXPECT_EQ(mprotect(barrier, 64 * PG, PROT_READ), 0);
        barrier_faults = 0;
        for (int i = 0; i < 64; i++) {
            barrier[(unsigned)i * PG] = (char)(i + round);
            barrier[(unsigned)i * PG + 1] = 1;
        }
        EXPECT_EQ(barrier_faults, 64);
        for (int i = 0; i < 64; i++)
            EXPECT_EQ(barrier[(unsigned)i * PG], (char)(i + round));
    }
}

static volatile int toggle_stop;

static void *toggle(void *arg)
{
    while (!toggle_stop)
        if (mprotect(arg, PG, PROT_READ) || mprotect(arg, PG, RW))
            return (void *)1;
    return NULL;
}

/* Reads must always work while another thread takes the right to write away and gives it back. */
CASE(toggling_under_readers)
{
    pthread_t t;
    void *r;
    char *p = map(1, RW, ANON);
    p[5] = 77;
    EXPECT_EQ(pthread_create(&t, NULL, toggle, p), 0);
    for (int i = 0; i < 20000; i++)
        EXPECT_EQ(((volatile char *)p)[5], 77);
    toggle_stop = 1;
    EXPECT_EQ(pthread_join(t, &r), 0);
    EXPECT_EQ((long)r, 0);
}

TEST_MAIN
