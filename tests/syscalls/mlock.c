/* mlock(2), mlock2(2), munlock(2), mlockall(2), munlockall(2) */
#include "tests/syscalls/memory.h"

#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif
#ifndef MCL_ONFAULT
#define MCL_ONFAULT 4
#endif

static bool resident(char *p)
{
    unsigned char vec;
    EXPECT_EQ(mincore(p, PG, &vec), 0);
    return vec & 1;
}

CASE(bad_arguments)
{
    char *p = map_alone(2, RW, ANON);
    EXPECT_ERRNO(ENOMEM, mlock(p - PG, PG));
    EXPECT_ERRNO(ENOMEM, mlock(p, 3 * PG));
    EXPECT_ERRNO(ENOMEM, munlock(p, 3 * PG));
    EXPECT_ERRNO(EINVAL, mlock(p, SIZE_MAX - PG));
    EXPECT_ERRNO(EINVAL, syscall(SYS_mlock2, p, PG, 2));
    EXPECT_EQ(mlock(p, 0), 0);
    EXPECT_ERRNO(EINVAL, mlockall(0));
    EXPECT_ERRNO(EINVAL, mlockall(8));
    EXPECT_ERRNO(EINVAL, mlockall(MCL_ONFAULT));
}

CASE(makes_pages_resident)
{
    char *p = map(8, RW, ANON);
    EXPECT_EQ(mlock(p + 100, 4 * PG), 0); /* need not be aligned: five pages */
    for (int i = 0; i < 5; i++)
        EXPECT(resident(p + (unsigned)i * PG));
    EXPECT_EQ(munlock(p, 8 * PG), 0);
}

CASE(on_fault)
{
    char *p = map_alone(4, RW, ANON);
    EXPECT_EQ(syscall(SYS_mlock2, p, 4 * PG, MLOCK_ONFAULT), 0);
    EXPECT(!resident(p));
    p[0] = 1;
    EXPECT(resident(p));
    EXPECT_ERRNO(EINVAL, madvise(p, PG, MADV_DONTNEED));
}

CASE(no_access)
{
    char *p = map(1, PROT_NONE, ANON);
    EXPECT_ERRNO(ENOMEM, mlock(p, PG));
}

CASE(counted)
{
    if (status_kb("VmLck") < 0)
        SKIP("no VmLck in /proc/self/status");
    char *p = map(16, RW, ANON);
    EXPECT_EQ(status_kb("VmLck"), 0);
    EXPECT_EQ(mlock(p, 8 * PG), 0);
    EXPECT_EQ(mlock(p, 4 * PG), 0);
    EXPECT_EQ(status_kb("VmLck"), 32);
    EXPECT_EQ(munlock(p, 2 * PG), 0);
    EXPECT_EQ(status_kb("VmLck"), 24);
    EXPECT_EQ(munmap(p, 16 * PG), 0);
    EXPECT_EQ(status_kb("VmLck"), 0);
}

CASE(not_inherited)
{
    char *p = map(1, RW, ANON);
    EXPECT_EQ(mlock(p, PG), 0);
    EXPECT_EXITED(FORK({ EXPECT_EQ(madvise(p, PG, MADV_DONTNEED), 0); }), 0);
    EXPECT_ERRNO(EINVAL, madvise(p, PG, MADV_DONTNEED));
}

CASE(all)
{
    char *p = map(4, RW, ANON);
    EXPECT_EQ(mlockall(MCL_CURRENT | MCL_FUTURE), 0);
    EXPECT(resident(p + 3 * PG));
    char *q = map(4, RW, ANON);
    EXPECT(resident(q + 3 * PG));
    EXPECT_EQ(munlockall(), 0);
    char *r = map_alone(4, RW, ANON);
    EXPECT(!resident(r));
    EXPECT_EQ(madvise(p, PG, MADV_DONTNEED), 0);
}

CASE(mmap_locked)
{
    char *p = mmap(NULL, 4 * PG, RW, ANON | MAP_LOCKED, -1, 0);
    EXPECT(p != MAP_FAILED);
    EXPECT(resident(p + 2 * PG));
    EXPECT_ERRNO(EINVAL, madvise(p, PG, MADV_DONTNEED));
}

CASE(limit)
{
    set_limit(RLIMIT_MEMLOCK, 8 * PG);
    drop_privileges();
    char *p = map_alone(16, RW, ANON);
    EXPECT_ERRNO(ENOMEM, mlock(p, 9 * PG));
    EXPECT_EQ(mlock(p, 8 * PG), 0);
    EXPECT_EQ(mlock(p, 8 * PG), 0); /* the same pages do not count twice */
    EXPECT_ERRNO(ENOMEM, mlock(p + 8 * PG, PG));
    EXPECT_ERRNO(EAGAIN, mmap(NULL, PG, RW, ANON | MAP_LOCKED, -1, 0));
    EXPECT_ERRNO(ENOMEM, mlockall(MCL_CURRENT));
    EXPECT_EQ(munlock(p, 4 * PG), 0);
    EXPECT_EQ(mlock(p + 8 * PG, 4 * PG), 0);
}

CASE(no_limit_at_all)
{
    set_limit(RLIMIT_MEMLOCK, 0);
    drop_privileges();
    char *p = map(1, RW, ANON);
    EXPECT_ERRNO(EPERM, mlock(p, PG));
    EXPECT_ERRNO(EPERM, mlockall(MCL_CURRENT));
    EXPECT_ERRNO(EPERM, mmap(NULL, PG, RW, ANON | MAP_LOCKED, -1, 0));
}

TEST_MAIN
