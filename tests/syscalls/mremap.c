/* mremap(2) */
#include "tests/syscalls/memory.h"

static void fill(char *p, size_t pages)
{
    for (size_t i = 0; i < pages; i++)
        memset(p + i * PG, 'A' + (int)i, PG);
}

static void expect_filled(const char *p, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        for (size_t j = 0; j < PG; j += 511)
            EXPECT_EQ(p[i * PG + j], 'A' + (int)i);
}

CASE(bad_arguments)
{
    char *p = map(2, RW, ANON);
    EXPECT_ERRNO(EINVAL, mremap(p + 1, PG, PG, 0));
    EXPECT_ERRNO(EINVAL, mremap(p, PG, 0, 0));
    EXPECT_ERRNO(EINVAL, mremap(p, PG, PG, 8));
    EXPECT_ERRNO(EINVAL, mremap(p, PG, PG, MREMAP_FIXED, p + 4 * PG));
    EXPECT_ERRNO(EINVAL, mremap(p, PG, PG, MREMAP_DONTUNMAP, 0));
    EXPECT_ERRNO(EINVAL, mremap(p, PG, 2 * PG, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0));
    EXPECT_ERRNO(EINVAL, mremap(p, 0, PG, MREMAP_MAYMOVE)); /* private: no second copy */
    p[0] = p[PG] = 1;
}

CASE(fixed_arguments)
{
    char *p = map(4, RW, ANON);
    int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    EXPECT_ERRNO(EINVAL, mremap(p, PG, PG, flags, p + 1));
    EXPECT_ERRNO(EINVAL, mremap(p, PG, PG, flags, p));
    EXPECT_ERRNO(EINVAL, mremap(p, 2 * PG, PG, flags, p + PG));
    EXPECT_ERRNO(EINVAL, mremap(p + PG, PG, 2 * PG, flags, p));
    EXPECT_ERRNO(EINVAL, mremap(p, PG, PG, flags, 1ul << 47));
    EXPECT_ERRNO(EINVAL, mremap(p, PG, PG, flags, -PG));
}

CASE(nothing_there)
{
    char *p = map_alone(2, RW, ANON);
    EXPECT_EQ(munmap(p, PG), 0);
    EXPECT_ERRNO(EFAULT, mremap(p, PG, PG, 0));
    EXPECT_ERRNO(EFAULT, mremap(p, PG, 2 * PG, MREMAP_MAYMOVE));
    EXPECT_ERRNO(EFAULT, mremap(p, 2 * PG, 4 * PG, MREMAP_MAYMOVE));
}

CASE(over_several_mappings)
{
    char *p = map_alone(4, RW, ANON);
    EXPECT_EQ(mprotect(p + 2 * PG, 2 * PG, PROT_READ), 0);
    EXPECT_ERRNO(EFAULT, mremap(p, 4 * PG, 8 * PG, MREMAP_MAYMOVE));
    EXPECT_EQ((long)mremap(p, 4 * PG, PG, 0), (long)p); /* but it may be cut */
    EXPECT(is_mapped(p) && !is_mapped(p + PG) && !is_mapped(p + 3 * PG));
}

CASE(same_size)
{
    char *p = map(2, RW, ANON);
    EXPECT_EQ((long)mremap(p, 2 * PG, 2 * PG, 0), (long)p);
    EXPECT_EQ((long)mremap(p, 2 * PG - 10, 2 * PG, MREMAP_MAYMOVE), (long)p);
}

CASE(shrink)
{
    char *p = map_alone(4, RW, ANON);
    fill(p, 4);
    EXPECT_EQ((long)mremap(p, 4 * PG, 2 * PG, 0), (long)p);
    expect_filled(p, 0, 2);
    EXPECT(!is_mapped(p + 2 * PG) && !is_mapped(p + 3 * PG));
}

CASE(grow_in_place)
{
    char *p = map_alone(4, RW, ANON);
    EXPECT_EQ(munmap(p + 2 * PG, 2 * PG), 0);
    fill(p, 2);
    EXPECT_EQ((long)mremap(p, 2 * PG, 4 * PG, 0), (long)p);
    expect_filled(p, 0, 2);
    EXPECT_EQ(p[2 * PG], 0);
    p[4 * PG - 1] = 1;
}

CASE(no_room_to_grow)
{
    char *p = map_alone(4, RW, ANON);
    EXPECT_EQ(mprotect(p + 2 * PG, 2 * PG, PROT_READ), 0);
    EXPECT_ERRNO(ENOMEM, mremap(p, 2 * PG, 4 * PG, 0));
    EXPECT_ERRNO(ENOMEM, mremap(p, PG, 2 * PG, 0)); /* in the middle of a mapping */
}

CASE(grow_and_move)
{
    catch_faults();
    char *p = map_alone(4, RW, ANON);
    fill(p, 4);
    EXPECT_EQ(mprotect(p + 2 * PG, 2 * PG, PROT_READ), 0);
    char *q = mremap(p, 2 * PG, 64 * PG, MREMAP_MAYMOVE);
    EXPECT(q != MAP_FAILED && q != p);
    expect_filled(q, 0, 2);
    for (size_t i = 2; i < 64; i++)
        EXPECT_EQ(q[i * PG], 0);
    EXPECT_FAULT(READ_OF(p), SIGSEGV, SEGV_MAPERR, p);
    EXPECT_EQ(p[3 * PG], 'D');
}

CASE(fixed)
{
    char *p = map_alone(3, RW, ANON), *q = map_alone(5, RW, ANON);
    fill(p, 3);
    memset(q, 9, 5 * PG);
    EXPECT_EQ((long)mremap(p, 3 * PG, 3 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, q + PG),
              (long)(q + PG));
    EXPECT_EQ(q[0], 9);
    expect_filled(q + PG, 0, 3);
    EXPECT_EQ(q[4 * PG], 9);
    EXPECT(!is_mapped(p));
}

CASE(fixed_shrinks_and_grows)
{
    char *p = map_alone(3, RW, ANON), *q = map_alone(8, PROT_NONE, ANON);
    fill(p, 3);
    EXPECT_EQ((long)mremap(p, 3 * PG, 2 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, q), (long)q);
    EXPECT(!is_mapped(p) && !is_mapped(p + 2 * PG));
    expect_filled(q, 0, 2);
    p = map_alone(8, PROT_NONE, ANON);
    EXPECT_EQ((long)mremap(q, 2 * PG, 6 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, p), (long)p);
    expect_filled(p, 0, 2);
    p[6 * PG - 1] = 1;
    EXPECT_EQ(p[3 * PG], 0);
}

CASE(middle_of_a_mapping)
{
    char *p = map_alone(5, RW, ANON);
    fill(p, 5);
    char *q = mremap(p + 2 * PG, PG, 2 * PG, MREMAP_MAYMOVE);
    EXPECT(q != MAP_FAILED);
    EXPECT_EQ(q[0], 'C');
    EXPECT(!is_mapped(p + 2 * PG));
    expect_filled(p, 0, 2);
    expect_filled(p, 3, 5);
}

CASE(dontunmap)
{
    char *p = map(3, RW, ANON);
    fill(p, 3);
    char *q = mremap(p, 3 * PG, 3 * PG, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);
    EXPECT(q != MAP_FAILED && q != p);
    expect_filled(q, 0, 3);
    for (size_t i = 0; i < 3 * PG; i += 100)
        EXPECT_EQ(p[i], 0);
    p[0] = 1;
    EXPECT_EQ(q[0], 'A');
    char *r = map_alone(3, RW, ANON);
    EXPECT_EQ((long)mremap(q, 3 * PG, 3 * PG, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, r),
              (long)r);
    expect_filled(r, 0, 3);
    EXPECT_EQ(q[0], 0);
}

CASE(shared_twice)
{
    char *p = map(2, RW, SHARED_ANON);
    fill(p, 2);
    EXPECT_ERRNO(ENOMEM, mremap(p, 0, 2 * PG, 0));
    char *q = mremap(p, 0, 2 * PG, MREMAP_MAYMOVE);
    EXPECT(q != MAP_FAILED && q != p);
    expect_filled(q, 0, 2);
    p[PG] = 'x';
    EXPECT_EQ(q[PG], 'x');
    EXPECT_EQ(munmap(p, 2 * PG), 0);
    EXPECT_EQ(q[PG], 'x');
}

CASE(shared_anonymous_has_an_end)
{
    catch_faults();
    char *p = map(2, RW, SHARED_ANON);
    char *q = mremap(p, 2 * PG, 4 * PG, MREMAP_MAYMOVE);
    EXPECT(q != MAP_FAILED);
    EXPECT_EQ(READ_OF(q + PG), 0);
    EXPECT_FAULT(READ_OF(q + 2 * PG), SIGBUS, BUS_ADRERR, q + 2 * PG);
}

CASE(shared_file)
{
    int fd = file_of("f", 8);
    char *p = mmap(NULL, 2 * PG, RW, MAP_SHARED, fd, 2 * PG), c;
    EXPECT(p != MAP_FAILED);
    EXPECT_EQ(p[0], 'c');
    char *q = mremap(p, 2 * PG, 6 * PG, MREMAP_MAYMOVE);
    EXPECT(q != MAP_FAILED);
    for (int i = 0; i < 6; i++)
        EXPECT_EQ(q[(unsigned)i * PG], 'c' + i);
    q[5 * PG] = 'X';
    EXPECT_EQ(pread(fd, &c, 1, 7 * PG), 1);
    EXPECT_EQ(c, 'X');
    p = mremap(q + 3 * PG, 0, PG, MREMAP_MAYMOVE); /* another view of the middle */
    EXPECT(p != MAP_FAILED);
    EXPECT_EQ(p[0], 'f');
}

CASE(private_file_with_copies)
{
    int fd = file_of("f", 4);
    char *p = mmap(NULL, 4 * PG, RW, MAP_PRIVATE, fd, 0);
    EXPECT(p != MAP_FAILED);
    p[PG] = 'X';
    char *r = map_alone(8, PROT_NONE, ANON);
    char *q = mremap(p, 4 * PG, 4 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, r);
    EXPECT_EQ((long)q, (long)r);
    EXPECT_EQ(q[0], 'a');
    EXPECT_EQ(q[PG], 'X');
    EXPECT_EQ(q[3 * PG], 'd');
}

CASE(after_fork)
{
    char *p = map(4, RW, ANON);
    fill(p, 4);
    EXPECT_EXITED(FORK({
                      char *q = mremap(p, 4 * PG, 4 * PG, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);
                      EXPECT(q != MAP_FAILED);
                      expect_filled(q, 0, 4);
                      q[0] = 'Q';
                      EXPECT_EQ(p[0], 0);
                  }),
                  0);
    expect_filled(p, 0, 4);
}

CASE(keeps_protection)
{
    catch_faults();
    char *p = map(2, RW, ANON);
    fill(p, 2);
    EXPECT_EQ(mprotect(p, 2 * PG, PROT_READ), 0);
    char *r = map_alone(2, RW, ANON);
    EXPECT_EQ((long)mremap(p, 2 * PG, 2 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, r), (long)r);
    expect_filled(r, 0, 2);
    EXPECT_FAULT(WRITE_OF(r), SIGSEGV, SEGV_ACCERR, r);
}

CASE(sizes_that_cannot_be)
{
    char *p = map(1, RW, ANON);
    EXPECT(mremap(p, PG, 1ul << 48, MREMAP_MAYMOVE) == MAP_FAILED &&
           (errno == ENOMEM || errno == EINVAL));
    EXPECT(mremap(p, PG, SIZE_MAX, MREMAP_MAYMOVE) == MAP_FAILED &&
           (errno == ENOMEM || errno == EINVAL));
    EXPECT(mremap(p, SIZE_MAX, PG, MREMAP_MAYMOVE) == MAP_FAILED &&
           (errno == EFAULT || errno == EINVAL));
}

CASE(realloc_of_a_big_buffer)
{
    size_t pages = 16;
    char *p = map(pages, RW, ANON);
    memset(p, 1, pages * PG);
    while (pages < 16384) {
        p = mremap(p, pages * PG, 2 * pages * PG, MREMAP_MAYMOVE);
        EXPECT(p != MAP_FAILED);
        for (size_t i = pages; i < 2 * pages; i += 13)
            EXPECT_EQ(p[i * PG], 0);
        for (size_t i = 0; i < pages; i += 13)
            EXPECT_EQ(p[i * PG], 1);
        for (size_t i = pages; i < 2 * pages; i++)
            p[i * PG] = 1;
        pages *= 2;
    }
    EXPECT_EQ(munmap(p, pages * PG), 0);
}

CASE(remap_file_pages_turns_a_file_round)
{
    int fd = file_of("f", 4);
    char *p = mmap(NULL, 4 * PG, RW, MAP_SHARED, fd, 0);
    EXPECT(p != MAP_FAILED);
    for (unsigned i = 0; i < 4; i++)
        if (remap_file_pages(p + i * PG, PG, 0, 3 - i, 0))
            SKIP("remap_file_pages is not there: %s", strerror(errno));
    for (int i = 0; i < 4; i++)
        EXPECT_EQ(p[(unsigned)i * PG], 'a' + 3 - i);
    EXPECT_ERRNO(EINVAL, remap_file_pages(p, PG, PROT_READ, 0, 0));
    char *q = map(1, RW, ANON);
    EXPECT_ERRNO(EINVAL, remap_file_pages(q, PG, 0, 0, 0));
    EXPECT_ERRNO(EINVAL, remap_file_pages(p, 0, 0, 0, 0));
}

TEST_MAIN
