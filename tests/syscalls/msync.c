/* msync(2) */
#include "tests/syscalls/memory.h"

CASE(bad_arguments)
{
    char *p = map_alone(2, RW, ANON);
    EXPECT_ERRNO(EINVAL, msync(p + 1, PG, MS_SYNC));
    EXPECT_ERRNO(EINVAL, msync(p, PG, MS_SYNC | MS_ASYNC));
    EXPECT_ERRNO(EINVAL, msync(p, PG, 8));
    EXPECT_ERRNO(ENOMEM, msync(p - PG, PG, MS_SYNC));
    EXPECT_ERRNO(ENOMEM, msync(p, 3 * PG, MS_SYNC));
    EXPECT_ERRNO(ENOMEM, msync(p, SIZE_MAX & ~(PG - 1), MS_SYNC));
    EXPECT_EQ(msync(p, 0, MS_SYNC), 0);
    EXPECT_EQ(msync(p - PG, 0, MS_SYNC), 0);
    EXPECT_EQ(msync(p, PG, 0), 0);
}

CASE(every_kind_of_mapping)
{
    int fd = file_of("f", 2);
    char *p = mmap(NULL, 2 * PG, RW, MAP_SHARED, fd, 0);
    char *q = mmap(NULL, 2 * PG, RW, MAP_PRIVATE, fd, 0);
    EXPECT(p != MAP_FAILED && q != MAP_FAILED);
    p[0] = q[0] = 'X';
    EXPECT_EQ(msync(p, 2 * PG, MS_SYNC), 0);
    EXPECT_EQ(msync(p, 2 * PG, MS_ASYNC), 0);
    EXPECT_EQ(msync(p, PG + 1, MS_SYNC | MS_INVALIDATE), 0);
    EXPECT_EQ(msync(q, 2 * PG, MS_SYNC), 0);
    EXPECT_EQ(msync(map(2, RW, ANON), 2 * PG, MS_SYNC), 0);
    EXPECT_EQ(msync(map(2, RW, SHARED_ANON), 2 * PG, MS_SYNC), 0);
    EXPECT_EQ(q[0], 'X');
}

CASE(over_a_hole)
{
    int fd = file_of("f", 3);
    char *p = mmap(NULL, 3 * PG, RW, MAP_SHARED, fd, 0);
    EXPECT(p != MAP_FAILED);
    EXPECT_EQ(munmap(p + PG, PG), 0);
    EXPECT_ERRNO(ENOMEM, msync(p, 3 * PG, MS_SYNC));
}

CASE(locked_pages_are_not_invalidated)
{
    char *p = map(1, RW, ANON);
    EXPECT_EQ(mlock(p, PG), 0);
    EXPECT_ERRNO(EBUSY, msync(p, PG, MS_INVALIDATE));
    EXPECT_EQ(msync(p, PG, MS_SYNC), 0);
}

TEST_MAIN
