/* brk(2), as the kernel has it: it returns the break, moved or not. */
#include "tests/syscalls/memory.h"

static char *kbrk(const void *p)
{
    return (char *)syscall(SYS_brk, p);
}

CASE(query)
{
    char *b = kbrk(NULL);
    EXPECT((uintptr_t)b > 0);
    EXPECT_EQ((long)kbrk(NULL), (long)b);
    EXPECT_EQ((long)kbrk((void *)1), (long)b);
    EXPECT_EQ((long)kbrk((void *)-1), (long)b);
    EXPECT_EQ((long)kbrk((void *)(1ul << 47)), (long)b);
}

CASE(grow_and_shrink)
{
    catch_faults();
    char *b = kbrk(NULL);
    b = kbrk((char *)(((uintptr_t)b + PG - 1) & ~(PG - 1)));
    EXPECT_EQ((long)kbrk(b + 10 * PG), (long)(b + 10 * PG));
    for (size_t i = 0; i < 10 * PG; i++)
        EXPECT_EQ(b[i], 0);
    memset(b, 5, 10 * PG);
    EXPECT_EQ((long)kbrk(b + 4 * PG), (long)(b + 4 * PG));
    EXPECT_EQ(b[4 * PG - 1], 5);
    EXPECT_FAULT(READ_OF(b + 4 * PG), SIGSEGV, SEGV_MAPERR, b + 4 * PG);
    EXPECT_EQ((long)kbrk(b + 10 * PG), (long)(b + 10 * PG));
    EXPECT_EQ(b[4 * PG], 0); /* it comes back empty */
    EXPECT_EQ(b[4 * PG - 1], 5);
}

CASE(bytes)
{
    char *b = kbrk(NULL);
    b = kbrk((char *)(((uintptr_t)b + PG - 1) & ~(PG - 1)));
    EXPECT_EQ((long)kbrk(b + 1), (long)(b + 1));
    b[PG - 1] = 1; /* a whole page is there */
    EXPECT_EQ((long)kbrk(b + 2), (long)(b + 2));
    EXPECT_EQ(b[PG - 1], 1);
    EXPECT_EQ((long)kbrk(b), (long)b);
    EXPECT(!is_mapped(b));
}

CASE(something_in_the_way)
{
    char *b = kbrk(NULL);
    b = kbrk((char *)(((uintptr_t)b + PG - 1) & ~(PG - 1)));
    EXPECT_EQ((long)mmap(b + 8 * PG, PG, RW, ANON | MAP_FIXED, -1, 0), (long)(b + 8 * PG));
    EXPECT_EQ((long)kbrk(b + 9 * PG), (long)b);
    EXPECT_EQ((long)kbrk(b + 8 * PG), (long)b); /* a page must stay free */
    EXPECT_EQ((long)kbrk(b + 7 * PG), (long)(b + 7 * PG));
}

CASE(data_limit)
{
    char *b = kbrk(NULL);
    set_limit(RLIMIT_DATA, 8 << 20);
    EXPECT_EQ((long)kbrk(b + (64 << 20)), (long)b);
    EXPECT_EQ((long)kbrk(b + 4 * PG), (long)(b + 4 * PG));
}

CASE(named_heap)
{
    char line[512], *b = kbrk(NULL);
    b = kbrk((char *)(((uintptr_t)b + PG - 1) & ~(PG - 1)));
    EXPECT_EQ((long)kbrk(b + 4 * PG), (long)(b + 4 * PG));
    EXPECT(maps_line(b, line, sizeof(line)));
    EXPECT(strstr(line, "[heap]") != NULL);
    EXPECT(strstr(line, " rw-p ") != NULL);
}

CASE(inherited)
{
    char *b = kbrk(NULL);
    b = kbrk((char *)(((uintptr_t)b + PG - 1) & ~(PG - 1)) + 2 * PG);
    b[-1] = 7;
    EXPECT_EXITED(FORK({
                      EXPECT_EQ((long)kbrk(NULL), (long)b);
                      EXPECT_EQ(b[-1], 7);
                      EXPECT_EQ((long)kbrk(b + PG), (long)(b + PG));
                  }),
                  0);
    EXPECT_EQ((long)kbrk(NULL), (long)b);
}

CASE(many_steps)
{
    char *start = kbrk(NULL), *b = start;
    for (int i = 0; i < 2000; i++) {
        EXPECT_EQ((long)kbrk(b + 3000), (long)(b + 3000));
        memset(b, 1, 3000);
        b += 3000;
    }
    for (char *p = start; p < b; p++)
        EXPECT_EQ(*p, 1);
}

TEST_MAIN
