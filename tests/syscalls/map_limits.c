/* RLIMIT_AS, RLIMIT_DATA, vm.max_map_count, and requests that can never be met. */
#include "tests/syscalls/memory.h"

CASE(address_space)
{
    set_limit(RLIMIT_AS, 256 << 20);
    EXPECT_ERRNO(ENOMEM, mmap(NULL, 512 << 20, PROT_NONE, ANON | MAP_NORESERVE, -1, 0));
    char *p = map(1024, RW, ANON);
    EXPECT_ERRNO(ENOMEM, mremap(p, 1024 * PG, 512 << 20, MREMAP_MAYMOVE));
    EXPECT_EQ((long)mmap(p, 1024 * PG, RW, ANON | MAP_FIXED, -1, 0), (long)p);
    size_t n = 0;
    while (mmap(NULL, 1 << 20, PROT_NONE, ANON, -1, 0) != MAP_FAILED)
        EXPECT_LT(n++, 256);
    EXPECT_EQ(errno, ENOMEM);
    EXPECT_EQ(munmap(p, 1024 * PG), 0);
    EXPECT(mmap(NULL, 1 << 20, PROT_NONE, ANON, -1, 0) != MAP_FAILED);
}

CASE(data)
{
    set_limit(RLIMIT_DATA, 64 << 20);
    EXPECT_ERRNO(ENOMEM, mmap(NULL, 128 << 20, RW, ANON, -1, 0));
    char *p = mmap(NULL, 128 << 20, PROT_READ, ANON, -1, 0); /* is no data */
    EXPECT(p != MAP_FAILED);
    EXPECT_ERRNO(ENOMEM, mprotect(p, 128 << 20, RW));
    EXPECT(mmap(NULL, 128 << 20, RW, SHARED_ANON, -1, 0) != MAP_FAILED);
}

CASE(more_than_all_memory)
{
    /* The heuristic refuses what exceeds memory and swap together; NORESERVE asks for nothing. */
    FILE *f = fopen("/proc/sys/vm/overcommit_memory", "r");
    int mode = 0;
    if (f && fscanf(f, "%d", &mode) == 1 && mode != 0)
        SKIP("vm.overcommit_memory is %d", mode);
    EXPECT_ERRNO(ENOMEM, mmap(NULL, 1ul << 46, RW, ANON, -1, 0));
    EXPECT(mmap(NULL, 1ul << 44, RW, ANON | MAP_NORESERVE, -1, 0) != MAP_FAILED);
    EXPECT(mmap(NULL, 1ul << 44, PROT_NONE, ANON, -1, 0) != MAP_FAILED);
}

/* 65,530 mappings, as many as a process may have; all of them work. */
CASE(map_count)
{
    size_t pages = 140000, n = 0;
    char *p = mmap(NULL, pages * PG, RW, ANON | MAP_NORESERVE, -1, 0);
    EXPECT(p != MAP_FAILED);
    for (size_t i = 0; i + 1 < pages; i += 2, n++)
        if (mprotect(p + i * PG, PG, PROT_READ))
            break;
    EXPECT_EQ(errno, ENOMEM);
    EXPECT_GE(2 * n, 65000);
    EXPECT_LE(2 * n, 65600);
    EXPECT_ERRNO(ENOMEM, mprotect(p + (2 * n + 5) * PG, PG, PROT_READ));
    for (size_t i = 1; i < 2 * n; i += 2)
        p[i * PG] = (char)i;
    for (size_t i = 0; i < 2 * n; i++)
        EXPECT_EQ(p[i * PG], i % 2 ? (char)i : 0);
    EXPECT_EQ(munmap(p, pages * PG), 0);
    EXPECT(mmap(NULL, PG, RW, ANON, -1, 0) != MAP_FAILED);
}

/* At the limit, a mapping can still be taken away, also from the middle of another. */
CASE(munmap_at_the_limit)
{
    size_t pages = 140000, n = 0;
    char *p = mmap(NULL, pages * PG, RW, ANON | MAP_NORESERVE, -1, 0);
    EXPECT(p != MAP_FAILED);
    for (size_t i = 0; i + 1 < pages; i += 2, n++)
        if (mprotect(p + i * PG, PG, PROT_READ))
            break;
    EXPECT_EQ(munmap(p, PG), 0);
    EXPECT_EQ(munmap(p + PG, PG), 0);
    EXPECT_EQ(munmap(p + 2 * PG, 2 * PG), 0);
}

CASE(inherited_by_fork)
{
    size_t pages = 20000;
    char *p = mmap(NULL, pages * PG, RW, ANON | MAP_NORESERVE, -1, 0);
    EXPECT(p != MAP_FAILED);
    for (size_t i = 0; i < pages; i++)
        p[i * PG] = (char)i;
    for (size_t i = 0; i < pages; i += 2)
        EXPECT_EQ(mprotect(p + i * PG, PG, PROT_READ), 0);
    EXPECT_EXITED(FORK({
                      for (size_t i = 0; i < pages; i++)
                          EXPECT_EQ(p[i * PG], (char)i);
                      for (size_t i = 1; i < pages; i += 2)
                          p[i * PG] = 99;
                  }),
                  0);
    for (size_t i = 0; i < pages; i++)
        EXPECT_EQ(p[i * PG], (char)i);
}

TEST_MAIN
