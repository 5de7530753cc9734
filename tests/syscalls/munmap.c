/* munmap(2) */
#include "tests/syscalls/memory.h"

CASE(bad_arguments)
{
    char *p = map(1, RW, ANON);
    EXPECT_ERRNO(EINVAL, munmap(p + 1, PG));
    EXPECT_ERRNO(EINVAL, munmap(p, 0));
    EXPECT_ERRNO(EINVAL, munmap(p, SIZE_MAX));
    EXPECT_ERRNO(EINVAL, munmap((void *)(1ul << 47), PG));
    EXPECT_ERRNO(EINVAL, munmap((void *)(1ul << 46), 1ul << 47));
    EXPECT_ERRNO(EINVAL, munmap((void *)-PG, PG));
    p[0] = 1;
}

CASE(nothing_there)
{
    char *p = map_alone(1, RW, ANON);
    EXPECT_EQ(munmap(p, PG), 0);
    EXPECT_EQ(munmap(p, PG), 0);
}

CASE(length_is_rounded_up)
{
    char *p = map_alone(2, RW, ANON);
    EXPECT_EQ(munmap(p, 1), 0);
    EXPECT(!is_mapped(p));
    EXPECT(is_mapped(p + PG));
}

CASE(hole_in_the_middle)
{
    catch_faults();
    char *p = map_alone(5, RW, ANON);
    memset(p, 6, 5 * PG);
    EXPECT_EQ(munmap(p + 2 * PG, PG), 0);
    EXPECT_EQ(p[2 * PG - 1], 6);
    EXPECT_EQ(p[3 * PG], 6);
    EXPECT_FAULT(READ_OF(p + 2 * PG), SIGSEGV, SEGV_MAPERR, p + 2 * PG);
    EXPECT_FAULT(WRITE_OF(p + 3 * PG - 1), SIGSEGV, SEGV_MAPERR, p + 3 * PG - 1);
    EXPECT_EQ(munmap(p, 5 * PG), 0); /* over the hole */
    EXPECT_EQ(READ_OF(p + 4 * PG), SIGSEGV);
}

CASE(comes_back_empty)
{
    char *p = map_alone(3, RW, ANON);
    memset(p, 6, 3 * PG);
    EXPECT_EQ(munmap(p, 3 * PG), 0);
    EXPECT_EQ((long)mmap(p, 3 * PG, RW, ANON | MAP_FIXED, -1, 0), (long)p);
    for (size_t i = 0; i < 3 * PG; i++)
        EXPECT_EQ(p[i], 0);
}

/* The same pages go and come again and again: each time they are empty, may be protected, shared
 * with a child and given back, and once they are gone nothing of them is left. */
CASE(again_and_again)
{
    catch_faults();
    for (int i = 0; i < 60; i++) {
        size_t n = PG * (size_t)(1 + i / 10 % 2);
        char *p = map(n / PG, RW, ANON);
        for (size_t k = 0; k < n; k += 8)
            EXPECT_EQ(*(uint64_t *)(void *)(p + k), 0);
        memset(p, i + 1, n);
        if (i % 7 == 3) {
            EXPECT_EQ(mprotect(p, PG, PROT_READ), 0);
            EXPECT_FAULT(WRITE_OF(p), SIGSEGV, SEGV_ACCERR, p);
            EXPECT_EQ(mprotect(p, PG, PROT_READ | PROT_WRITE), 0);
        }
        if (i % 7 == 5) {
            EXPECT_EQ(madvise(p, PG, MADV_DONTNEED), 0);
            EXPECT_EQ(p[0], 0);
        }
        pid_t child = i % 5 == 4 ? FORK({
            EXPECT_EQ(p[PG - 1], i % 7 == 5 ? 0 : i + 1);
            p[0] = 99;
        })
                                 : 0;
        if (child) {
            EXPECT_EXITED(child, 0);
            EXPECT(p[0] != 99);
        }
        EXPECT_EQ(munmap(p, n), 0);
        EXPECT_FAULT(READ_OF(p), SIGSEGV, SEGV_MAPERR, p);
        EXPECT_FAULT(WRITE_OF(p + n - 1), SIGSEGV, SEGV_MAPERR, p + n - 1);
    }
}

CASE(shared_data_stays)
{
    int fd = file_of("f", 2);
    char *p = mmap(NULL, 2 * PG, RW, MAP_SHARED, fd, 0), c;
    EXPECT(p != MAP_FAILED);
    p[PG] = 'X';
    EXPECT_EQ(munmap(p, 2 * PG), 0);
    EXPECT_EQ(pread(fd, &c, 1, PG), 1);
    EXPECT_EQ(c, 'X');
}

CASE(several_mappings)
{
    int fd = file_of("f", 2);
    char *p = map_alone(6, RW, ANON);
    EXPECT((char *)mmap(p + PG, PG, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) == p + PG);
    EXPECT((char *)mmap(p + 3 * PG, PG, RW, SHARED_ANON | MAP_FIXED, -1, 0) == p + 3 * PG);
    p[0] = p[3 * PG] = p[5 * PG] = 2;
    EXPECT_EQ(munmap(p + PG, 4 * PG), 0);
    EXPECT(is_mapped(p) && is_mapped(p + 5 * PG));
    for (int i = 1; i < 5; i++)
        EXPECT(!is_mapped(p + (unsigned)i * PG));
    EXPECT_EQ(p[5 * PG], 2);
}

CASE(system_calls_see_it)
{
    int fds[2];
    char *p = map_alone(2, RW, ANON);
    EXPECT_EQ(pipe(fds), 0);
    memset(p, 3, 2 * PG);
    EXPECT_EQ(munmap(p + PG, PG), 0);
    EXPECT_ERRNO(EFAULT, write(fds[1], p + PG, 10));
    EXPECT_EQ(write(fds[1], p + PG - 10, 10), 10);
    EXPECT_ERRNO(EFAULT, read(fds[0], p + PG, 10));
}

static void *touch_until_gone(void *arg)
{
    volatile char *p = arg;
    for (;;)
        *p = 1;
    return NULL;
}

/* Unmapping under a running thread: it dies of SIGSEGV. */
CASE(under_a_thread)
{
    for (int i = 0; i < 5; i++)
        EXPECT_KILLED(FORK({
                          pthread_t t;
                          signal(SIGSEGV, SIG_DFL);
                          char *p = map(1, RW, ANON);
                          EXPECT_EQ(pthread_create(&t, NULL, touch_until_gone, p), 0);
                          usleep(2000);
                          EXPECT_EQ(munmap(p, PG), 0);
                          pthread_join(t, NULL);
                      }),
                      SIGSEGV);
}

TEST_MAIN
