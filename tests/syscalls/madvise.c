/* madvise(2) */
#include "tests/syscalls/memory.h"

CASE(bad_arguments)
{
    char *p = map_alone(2, RW, ANON);
    EXPECT_ERRNO(EINVAL, madvise(p + 1, PG, MADV_NORMAL));
    EXPECT_ERRNO(EINVAL, madvise(p, PG, 12345));
    EXPECT_ERRNO(EINVAL, madvise(p, PG, -1));
    EXPECT_ERRNO(EINVAL, madvise(p, SIZE_MAX, MADV_NORMAL));
    EXPECT_EQ(madvise(p, 0, MADV_DONTNEED), 0);
    EXPECT_ERRNO(EINVAL, madvise(p, 0, 12345));
    EXPECT_ERRNO(ENOMEM, madvise(p - PG, PG, MADV_DONTNEED));
}

CASE(accepted)
{
    static const int advices[] = {MADV_NORMAL,   MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED,
                                  MADV_DONTFORK, MADV_DOFORK, MADV_DONTDUMP,   MADV_DODUMP,
                                  MADV_COLD,     MADV_PAGEOUT};
    char *p = map(2, RW, ANON);
    p[0] = 1;
    for (size_t i = 0; i < sizeof(advices) / sizeof(advices[0]); i++)
        EXPECT_EQ(madvise(p, 2 * PG, advices[i]), 0);
    EXPECT_EQ(p[0], 1);
}

CASE(dontneed_zeroes)
{
    char *p = map(16, RW, ANON);
    memset(p, 1, 16 * PG);
    EXPECT_EQ(madvise(p + 4 * PG, 8 * PG, MADV_DONTNEED), 0);
    for (size_t i = 0; i < 16; i++)
        EXPECT_EQ(p[i * PG + 100], i >= 4 && i < 12 ? 0 : 1);
    p[4 * PG] = 3;
    EXPECT_EQ(p[4 * PG], 3);
}

CASE(dontneed_over_a_hole)
{
    char *p = map_alone(4, RW, ANON);
    memset(p, 1, 4 * PG);
    EXPECT_EQ(munmap(p + PG, PG), 0);
    EXPECT_ERRNO(ENOMEM, madvise(p, 4 * PG, MADV_DONTNEED));
    EXPECT_EQ(p[0], 0); /* it was done where it could be */
    EXPECT_EQ(p[3 * PG], 0);
}

CASE(dontneed_private_file)
{
    int fd = file_of("f", 2);
    char *p = mmap(NULL, 2 * PG, RW, MAP_PRIVATE, fd, 0);
    EXPECT(p != MAP_FAILED);
    p[0] = 'X';
    EXPECT_EQ(madvise(p, 2 * PG, MADV_DONTNEED), 0);
    EXPECT_EQ(p[0], 'a');
}

CASE(dontneed_shared_keeps)
{
    char *p = map(2, RW, SHARED_ANON);
    p[0] = 5;
    EXPECT_EQ(madvise(p, 2 * PG, MADV_DONTNEED), 0);
    EXPECT_EQ(p[0], 5);
}

CASE(dontneed_locked)
{
    char *p = map(2, RW, ANON);
    p[0] = 1;
    EXPECT_EQ(mlock(p, 2 * PG), 0);
    EXPECT_ERRNO(EINVAL, madvise(p, PG, MADV_DONTNEED));
    EXPECT_EQ(p[0], 1);
    EXPECT_EQ(munlock(p, 2 * PG), 0);
    EXPECT_EQ(madvise(p, PG, MADV_DONTNEED), 0);
    EXPECT_EQ(p[0], 0);
}

CASE(dontneed_after_fork)
{
    char *p = map(4, RW, ANON);
    memset(p, 1, 4 * PG);
    EXPECT_EXITED(FORK({
                      EXPECT_EQ(madvise(p, 4 * PG, MADV_DONTNEED), 0);
                      EXPECT_EQ(p[0], 0);
                      p[0] = 9;
                  }),
                  0);
    EXPECT_EQ(p[0], 1);
    EXPECT_EQ(p[3 * PG], 1);
}

CASE(free_is_for_anonymous_memory)
{
    int fd = file_of("f", 1);
    char *p = map(4, RW, ANON), *q = mmap(NULL, PG, RW, MAP_PRIVATE, fd, 0);
    memset(p, 1, 4 * PG);
    EXPECT_EQ(madvise(p, 4 * PG, MADV_FREE), 0);
    EXPECT(p[0] == 1 || p[0] == 0);
    p[0] = 7;
    EXPECT_EQ(p[0], 7);
    EXPECT_ERRNO(EINVAL, madvise(q, PG, MADV_FREE));
    EXPECT_ERRNO(EINVAL, madvise(map(1, RW, SHARED_ANON), PG, MADV_FREE));
}

CASE(remove_punches_shared_memory)
{
    char *p = map(4, RW, SHARED_ANON);
    memset(p, 1, 4 * PG);
    EXPECT_EQ(madvise(p + PG, 2 * PG, MADV_REMOVE), 0);
    EXPECT_EQ(p[0], 1);
    EXPECT_EQ(p[PG], 0);
    EXPECT_EQ(p[3 * PG - 1], 0);
    EXPECT_EQ(p[3 * PG], 1);
    EXPECT_ERRNO(EINVAL, madvise(map(1, RW, ANON), PG, MADV_REMOVE));
    EXPECT_EQ(mlock(p, PG), 0);
    EXPECT_ERRNO(EINVAL, madvise(p, PG, MADV_REMOVE));
    int fd = file_of("f", 1);
    close(fd);
    fd = EXPECT_OK(open(test_path("f"), O_RDONLY));
    p = mmap(NULL, PG, PROT_READ, MAP_SHARED, fd, 0);
    EXPECT(p != MAP_FAILED);
    EXPECT_ERRNO(EACCES, madvise(p, PG, MADV_REMOVE));
}

CASE(remove_punches_files)
{
    char c;
    int fd = EXPECT_OK(memfd_create("m", 0));
    EXPECT_EQ(ftruncate(fd, 3 * PG), 0);
    char *p = mmap(NULL, 3 * PG, RW, MAP_SHARED, fd, 0);
    EXPECT(p != MAP_FAILED);
    memset(p, 1, 3 * PG);
    EXPECT_EQ(madvise(p + PG, PG, MADV_REMOVE), 0);
    EXPECT_EQ(p[PG], 0);
    EXPECT_EQ(p[2 * PG], 1);
    EXPECT_EQ(pread(fd, &c, 1, PG), 1);
    EXPECT_EQ(c, 0);
}

CASE(dontfork)
{
    char *p = map_alone(3, RW, ANON);
    memset(p, 1, 3 * PG);
    EXPECT_EQ(madvise(p + PG, PG, MADV_DONTFORK), 0);
    EXPECT_EXITED(FORK({
                      EXPECT(is_mapped(p) && !is_mapped(p + PG) && is_mapped(p + 2 * PG));
                      EXPECT_EQ(p[2 * PG], 1);
                  }),
                  0);
    EXPECT_EQ(p[PG], 1);
    EXPECT_EQ(madvise(p + PG, PG, MADV_DOFORK), 0);
    EXPECT_EXITED(FORK({ EXPECT_EQ(p[PG], 1); }), 0);
}

CASE(wipeonfork)
{
    char *p = map(3, RW, ANON);
    memset(p, 1, 3 * PG);
    EXPECT_EQ(madvise(p + PG, PG, MADV_WIPEONFORK), 0);
    EXPECT_EXITED(FORK({
                      EXPECT_EQ(p[0], 1);
                      EXPECT_EQ(p[PG], 0);
                      EXPECT_EQ(p[2 * PG], 1);
                      p[PG] = 2;
                      EXPECT_EXITED(FORK({ EXPECT_EQ(p[PG], 0); }), 0);
                  }),
                  0);
    EXPECT_EQ(p[PG], 1);
    EXPECT_EQ(madvise(p, 3 * PG, MADV_KEEPONFORK), 0);
    EXPECT_EXITED(FORK({ EXPECT_EQ(p[PG], 1); }), 0);
    EXPECT_ERRNO(EINVAL, madvise(map(1, RW, SHARED_ANON), PG, MADV_WIPEONFORK));
}

CASE(populate_write)
{
    unsigned char vec[32];
    char *p = map_alone(32, RW, ANON);
    EXPECT_EQ(madvise(p, 32 * PG, MADV_POPULATE_WRITE), 0);
    EXPECT_EQ(mincore(p, 32 * PG, vec), 0);
    for (int i = 0; i < 32; i++)
        EXPECT_EQ(vec[i] & 1, 1);
    EXPECT_EQ(p[PG], 0);
    EXPECT_EQ(mprotect(p, PG, PROT_READ), 0);
    EXPECT_ERRNO(EINVAL, madvise(p, 32 * PG, MADV_POPULATE_WRITE));
    EXPECT_EQ(madvise(p, 32 * PG, MADV_POPULATE_READ), 0);
    EXPECT_EQ(munmap(p + 5 * PG, PG), 0);
    EXPECT_ERRNO(ENOMEM, madvise(p, 32 * PG, MADV_POPULATE_READ));
    EXPECT_EQ(mprotect(p, PG, PROT_NONE), 0);
    EXPECT_ERRNO(EINVAL, madvise(p, PG, MADV_POPULATE_READ));
}

CASE(populate_file)
{
    int fd = file_of("f", 2);
    char *p = mmap(NULL, 4 * PG, RW, MAP_PRIVATE, fd, 0), c;
    EXPECT(p != MAP_FAILED);
    EXPECT_EQ(madvise(p, 2 * PG, MADV_POPULATE_READ), 0);
    EXPECT_EQ(madvise(p, 2 * PG, MADV_POPULATE_WRITE), 0);
    c = 'Z';
    EXPECT_EQ(pwrite(fd, &c, 1, 0), 1);
    EXPECT_EQ(p[0], 'a'); /* it was copied */
    EXPECT_ERRNO(EFAULT, madvise(p + 2 * PG, PG, MADV_POPULATE_READ));
}

CASE(gives_memory_back)
{
    long before = status_kb("RssAnon");
    if (before < 0)
        SKIP("no RssAnon in /proc/self/status");
    char *p = map(8192, RW, ANON);
    memset(p, 1, 8192 * PG);
    long full = status_kb("RssAnon");
    EXPECT_GE(full, before + 30000);
    EXPECT_EQ(madvise(p, 8192 * PG, MADV_DONTNEED), 0);
    EXPECT_LE(status_kb("RssAnon"), full - 30000);
}

TEST_MAIN
