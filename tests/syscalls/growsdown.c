/* Stacks, and mappings that grow like them. */
#include "tests/syscalls/memory.h"

/* A mapping of one page that grows, with `below` free pages below it, in the middle of nothing. */
static char *growing(size_t below)
{
    char *p = mmap(NULL, (below + 4) * PG, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
    EXPECT(p != MAP_FAILED);
    EXPECT_EQ(munmap(p, (below + 4) * PG), 0);
    char *top = p + (below + 2) * PG;
    EXPECT_EQ((long)mmap(top, PG, RW, ANON | MAP_FIXED | MAP_GROWSDOWN, -1, 0), (long)top);
    return top;
}

CASE(grows_on_touch)
{
    catch_faults();
    char *top = growing(1024);
    EXPECT_EQ(WRITE_OF(top), 0);
    EXPECT_EQ(WRITE_OF(top - 1), 0);
    EXPECT_EQ(WRITE_OF(top - 20 * PG), 0);
    EXPECT(is_mapped(top - 10 * PG));
    EXPECT_EQ(READ_OF(top - 30 * PG), 0);
}

CASE(system_calls_grow_it_too)
{
    int fds[2];
    char *top = growing(1024);
    EXPECT_EQ(pipe(fds), 0);
    EXPECT_EQ(write(fds[1], "0123456789", 10), 10);
    EXPECT_EQ(read(fds[0], top - 8 * PG, 10), 10);
    EXPECT_EQ(top[-(long)(8 * PG) + 9], '9');
}

CASE(not_above)
{
    catch_faults();
    char *top = growing(16);
    EXPECT_FAULT(READ_OF(top + PG), SIGSEGV, SEGV_MAPERR, top + PG);
}

CASE(guard_gap)
{
    catch_faults();
    char *top = growing(600);
    /* Something 300 pages below: growth must stop 256 pages above it. */
    char *low = top - 300 * PG;
    EXPECT_EQ((long)mmap(low, PG, RW, ANON | MAP_FIXED, -1, 0), (long)low);
    EXPECT_EQ(WRITE_OF(top - 40 * PG), 0);
    EXPECT_EQ(WRITE_OF(low + PG + 100 * PG), SIGSEGV);
    EXPECT_EQ(WRITE_OF(low), 0);
}

CASE(rlimit_stack)
{
    catch_faults();
    char *top = growing(4096);
    set_limit(RLIMIT_STACK, 64 * PG);
    EXPECT_EQ(WRITE_OF(top - 60 * PG), 0);
    EXPECT_EQ(WRITE_OF(top - 70 * PG), SIGSEGV);
}

CASE(mmap_keeps_away)
{
    char *top = growing(512);
    for (int i = 0; i < 200; i++) {
        char *p = map(1, RW, ANON);
        EXPECT(p >= top || p + PG + 256 * PG <= top);
    }
}

CASE(only_private_anonymous)
{
    int fd = file_of("f", 1);
    EXPECT_ERRNO(EINVAL, mmap(NULL, PG, RW, MAP_PRIVATE | MAP_GROWSDOWN, fd, 0) == MAP_FAILED
                             ? (void *)-1
                             : mmap(NULL, PG, RW, SHARED_ANON | MAP_GROWSDOWN, -1, 0));
}

static int recurse(int depth)
{
    volatile char frame[2000];
    frame[0] = (char)depth;
    return depth ? recurse(depth - 1) + frame[0] - (char)depth : 0;
}

CASE(main_stack_grows)
{
    set_limit(RLIMIT_STACK, 64 << 20);
    EXPECT_EQ(recurse(1000), 0);
    EXPECT_EQ(recurse(3500), 0); /* 7 MB */
}

CASE(main_stack_overflows)
{
    set_limit(RLIMIT_STACK, 1 << 20);
    EXPECT_KILLED(FORK({ _exit(recurse(10000) & 1); }), SIGSEGV);
}

CASE(overflow_on_alternate_stack)
{
    catch_faults();
    set_limit(RLIMIT_STACK, 1 << 20);
    test_fault.info.si_signo = 0;
    if (sigsetjmp(test_fault.env, 1) == 0)
        recurse(10000);
    EXPECT_EQ(test_fault.info.si_signo, SIGSEGV);
}

CASE(named_stack)
{
    char line[512], c = 0;
    EXPECT(maps_line(&c, line, sizeof(line)));
    EXPECT(strstr(line, "[stack]") != NULL);
    EXPECT(strstr(line, " rw-p ") != NULL);
}

TEST_MAIN
