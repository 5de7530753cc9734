/* mincore(2) */
#include "tests/syscalls/memory.h"

CASE(bad_arguments)
{
    unsigned char vec[8];
    char *p = map_alone(4, RW, ANON);
    EXPECT_ERRNO(EINVAL, mincore(p + 1, PG, vec));
    EXPECT_ERRNO(ENOMEM, mincore(p - PG, PG, vec));
    EXPECT_ERRNO(ENOMEM, mincore(p, 5 * PG, vec));
    EXPECT_ERRNO(ENOMEM, mincore(p, SIZE_MAX, vec));
    EXPECT_EQ(mincore(p, 0, vec), 0);
    EXPECT_ERRNO(EFAULT, syscall(SYS_mincore, p, PG, 8));
    EXPECT_ERRNO(EFAULT, syscall(SYS_mincore, p, PG, -1));
    EXPECT_EQ(munmap(p + PG, PG), 0);
    EXPECT_ERRNO(ENOMEM, mincore(p, 4 * PG, vec));
}

CASE(touched_pages)
{
    unsigned char vec[64];
    char *p = map(64, RW, ANON);
    memset(vec, 0xff, sizeof(vec));
    EXPECT_EQ(mincore(p, 64 * PG, vec), 0);
    for (int i = 0; i < 64; i++)
        EXPECT_EQ(vec[i] & 1, 0);
    p[3 * PG] = p[60 * PG + 7] = 1;
    EXPECT_EQ(mincore(p, 64 * PG, vec), 0);
    EXPECT_EQ(vec[3] & 1, 1);
    EXPECT_EQ(vec[60] & 1, 1);
    EXPECT_EQ(vec[30] & 1, 0);
}

CASE(length_is_rounded_up)
{
    unsigned char vec[3] = {9, 9, 9};
    char *p = map(2, RW, ANON);
    EXPECT_EQ(mincore(p, PG + 1, vec), 0);
    EXPECT_EQ(vec[2], 9);
    EXPECT_EQ(vec[1] & 0xfe, 0);
}

CASE(dontneed_is_gone)
{
    unsigned char vec[4];
    char *p = map(4, RW, ANON);
    memset(p, 1, 4 * PG);
    EXPECT_EQ(madvise(p + PG, PG, MADV_DONTNEED), 0);
    EXPECT_EQ(mincore(p, 4 * PG, vec), 0);
    EXPECT_EQ(vec[0] & 1, 1);
    EXPECT_EQ(vec[1] & 1, 0);
    EXPECT_EQ(vec[2] & 1, 1);
}

CASE(shared_and_file)
{
    unsigned char vec[2];
    char *p = map(2, RW, SHARED_ANON);
    p[0] = 1;
    EXPECT_EQ(mincore(p, 2 * PG, vec), 0);
    EXPECT_EQ(vec[0] & 1, 1);
    int fd = file_of("f", 2);
    p = mmap(NULL, 2 * PG, RW, MAP_PRIVATE, fd, 0);
    EXPECT(p != MAP_FAILED);
    EXPECT_EQ(p[0], 'a');
    EXPECT_EQ(mincore(p, 2 * PG, vec), 0);
    EXPECT_EQ(vec[0] & 1, 1);
}

CASE(large)
{
    size_t pages = 20000;
    unsigned char *vec = calloc(pages, 1);
    char *p = map(pages, RW, ANON | MAP_NORESERVE);
    p[12345 * PG] = 1;
    EXPECT_EQ(mincore(p, pages * PG, vec), 0);
    EXPECT_EQ(vec[12345] & 1, 1);
    EXPECT_EQ(vec[19999] & 1, 0);
}

TEST_MAIN
