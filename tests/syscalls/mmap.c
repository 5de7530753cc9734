/* mmap(2) */
#include "tests/syscalls/memory.h"
#include <sys/statfs.h>

CASE(anonymous_is_zero)
{
    char *p = map(64, RW, ANON);
    for (size_t i = 0; i < 64 * PG; i++)
        EXPECT_EQ(p[i], 0);
    memset(p, 7, 64 * PG);
    EXPECT_EQ(p[64 * PG - 1], 7);
}

CASE(length_zero)
{
    EXPECT_ERRNO(EINVAL, mmap(NULL, 0, RW, ANON, -1, 0));
}

CASE(length_is_rounded_up)
{
    char *p = map_alone(2, PROT_NONE, ANON);
    EXPECT_EQ(munmap(p, 2 * PG), 0);
    EXPECT_EQ((long)mmap(p, 1, RW, ANON | MAP_FIXED, -1, 0), (long)p);
    p[PG - 1] = 1;
    EXPECT(!is_mapped(p + PG));
}

CASE(length_too_large)
{
    EXPECT_ERRNO(ENOMEM, mmap(NULL, SIZE_MAX, RW, ANON, -1, 0));
    EXPECT_ERRNO(ENOMEM, mmap(NULL, SIZE_MAX - PG, RW, ANON, -1, 0));
    EXPECT_ERRNO(ENOMEM, mmap(NULL, 1ul << 47, RW, ANON | MAP_NORESERVE, -1, 0));
    EXPECT_ERRNO(ENOMEM, mmap(NULL, 1ul << 63, RW, ANON | MAP_NORESERVE, -1, 0));
}

CASE(no_sharing_flag)
{
    EXPECT_ERRNO(EINVAL, mmap(NULL, PG, RW, MAP_ANONYMOUS, -1, 0));
    EXPECT_ERRNO(EINVAL, mmap(NULL, PG, RW, MAP_ANONYMOUS | MAP_SHARED_VALIDATE, -1, 0));
}

CASE(bad_descriptor)
{
    EXPECT_ERRNO(EBADF, mmap(NULL, PG, RW, MAP_PRIVATE, -1, 0));
    EXPECT_ERRNO(EBADF, mmap(NULL, PG, RW, MAP_PRIVATE, 1000, 0));
    int fd = EXPECT_OK(open("/dev/null", O_PATH));
    EXPECT_ERRNO(EBADF, mmap(NULL, PG, PROT_READ, MAP_PRIVATE, fd, 0));
}

CASE(anonymous_ignores_descriptor)
{
    char *p = mmap(NULL, PG, RW, ANON, 1000, 0);
    EXPECT(p != MAP_FAILED);
    EXPECT_EQ(p[0], 0);
}

CASE(unaligned_offset)
{
    int fd = file_of("f", 2);
    EXPECT_ERRNO(EINVAL, mmap(NULL, PG, PROT_READ, MAP_PRIVATE, fd, 1));
    EXPECT_ERRNO(EINVAL, mmap(NULL, PG, PROT_READ, MAP_PRIVATE, fd, 512));
    EXPECT_ERRNO(EINVAL, mmap(NULL, PG, PROT_READ, ANON, -1, 100));
}

CASE(offset_overflow)
{
    int fd = file_of("f", 1);
    EXPECT_ERRNO(EOVERFLOW, mmap(NULL, 2 * PG, PROT_READ, MAP_PRIVATE, fd, (off_t)-PG));
}

CASE(fixed_unaligned)
{
    char *p = map_alone(2, RW, ANON);
    EXPECT_ERRNO(EINVAL, mmap(p + 1, PG, RW, ANON | MAP_FIXED, -1, 0));
}

CASE(fixed_beyond_user_space)
{
    EXPECT_ERRNO(ENOMEM, mmap((void *)(1ul << 47), PG, RW, ANON | MAP_FIXED, -1, 0));
    EXPECT_ERRNO(ENOMEM, mmap((void *)((1ul << 47) - PG), PG, RW, ANON | MAP_FIXED, -1, 0));
    EXPECT_ERRNO(ENOMEM, mmap((void *)(-1ul & ~(PG - 1)), PG, RW, ANON | MAP_FIXED, -1, 0));
}

CASE(fixed_below_min_addr)
{
    drop_privileges();
    EXPECT_ERRNO(EPERM, mmap((void *)0, PG, RW, ANON | MAP_FIXED, -1, 0));
}

CASE(fixed_replaces)
{
    char *p = map_alone(4, RW, ANON);
    memset(p, 1, 4 * PG);
    EXPECT_EQ((long)mmap(p + PG, 2 * PG, RW, ANON | MAP_FIXED, -1, 0), (long)(p + PG));
    EXPECT_EQ(p[PG - 1], 1);
    EXPECT_EQ(p[PG], 0);
    EXPECT_EQ(p[3 * PG - 1], 0);
    EXPECT_EQ(p[3 * PG], 1);
}

CASE(fixed_noreplace)
{
    char *p = map_alone(4, RW, ANON);
    p[0] = 5;
    EXPECT_ERRNO(EEXIST, mmap(p, PG, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0));
    EXPECT_ERRNO(EEXIST, mmap(p - PG, 2 * PG, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0));
    EXPECT_EQ(p[0], 5);
    EXPECT_EQ(munmap(p, PG), 0);
    EXPECT_EQ((long)mmap(p, PG, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0), (long)p);
    EXPECT_EQ(p[0], 0);
}

CASE(hint_is_taken_if_free)
{
    char *p = map_alone(4, RW, ANON);
    EXPECT_EQ(munmap(p, 4 * PG), 0);
    EXPECT_EQ((long)mmap(p, 2 * PG, RW, ANON, -1, 0), (long)p);
    char *q = mmap(p, 2 * PG, RW, ANON, -1, 0);
    EXPECT(q != MAP_FAILED && q != p);
    EXPECT_EQ(munmap(p, 2 * PG), 0);
    EXPECT_EQ((long)mmap(p + 123, PG, RW, ANON, -1, 0), (long)p);
}

CASE(hint_out_of_range)
{
    char *p = mmap((void *)(1ul << 50), PG, RW, ANON, -1, 0);
    EXPECT(p != MAP_FAILED);
    p = mmap((void *)(1ul << 63), PG, RW, ANON, -1, 0);
    EXPECT(p != MAP_FAILED);
    p = mmap((void *)1, PG, RW, ANON, -1, 0);
    EXPECT(p != MAP_FAILED);
}

CASE(low_2_gib)
{
    for (int i = 0; i < 20; i++) {
        char *p = mmap(NULL, 1 << 20, RW, ANON | MAP_32BIT, -1, 0);
        EXPECT(p != MAP_FAILED);
        EXPECT_LE((unsigned long)p + (1 << 20), 1ul << 31);
        p[0] = 1;
    }
    EXPECT_ERRNO(ENOMEM, mmap(NULL, 3ul << 30, PROT_NONE, ANON | MAP_32BIT | MAP_NORESERVE, -1, 0));
}

CASE(downwards)
{
    char *a = map(8, RW, ANON), *b = map(8, RW, ANON);
    EXPECT(b < a || b > a); /* different; usually below */
    EXPECT_EQ((unsigned long)a % PG, 0);
}

CASE(private_file)
{
    int fd = file_of("f", 3);
    char *p = mmap(NULL, 3 * PG, RW, MAP_PRIVATE, fd, 0), c;
    EXPECT(p != MAP_FAILED);
    close(fd);
    EXPECT_EQ(p[0], 'a');
    EXPECT_EQ(p[PG], 'b');
    p[PG + 5] = 'X';
    EXPECT_EQ(p[PG + 5], 'X');
    EXPECT_EQ(p[PG + 6], 'b');
    EXPECT_EQ(p[2 * PG], 'c');
    fd = EXPECT_OK(open(test_path("f"), O_RDONLY));
    EXPECT_EQ(pread(fd, &c, 1, PG + 5), 1);
    EXPECT_EQ(c, 'b');
}

CASE(shared_file)
{
    int fd = file_of("f", 3);
    char *p = mmap(NULL, 2 * PG, RW, MAP_SHARED, fd, PG), c = 'Y';
    char *q = mmap(NULL, PG, PROT_READ, MAP_SHARED, fd, 2 * PG);
    EXPECT(p != MAP_FAILED && q != MAP_FAILED);
    EXPECT_EQ(p[0], 'b');
    p[PG] = 'Z';
    EXPECT_EQ(q[0], 'Z');
    EXPECT_EQ(pread(fd, &c, 1, 2 * PG), 1);
    EXPECT_EQ(c, 'Z');
    c = 'Q';
    EXPECT_EQ(pwrite(fd, &c, 1, 2 * PG + 1), 1);
    EXPECT_EQ(p[PG + 1], 'Q');
    EXPECT_EQ(q[1], 'Q');
}

CASE(tail_of_last_page_is_zero)
{
    int fd = EXPECT_OK(open(test_path("f"), O_RDWR | O_CREAT, 0600));
    EXPECT_EQ(write(fd, "hello", 5), 5);
    char *p = mmap(NULL, PG, RW, MAP_SHARED, fd, 0);
    EXPECT(p != MAP_FAILED);
    EXPECT_MEMEQ(p, "hello\0\0\0", 8);
    EXPECT_EQ(p[PG - 1], 0);
    p[10] = 1; /* does not reach the file */
    struct stat st;
    EXPECT_EQ(fstat(fd, &st), 0);
    EXPECT_EQ(st.st_size, 5);
}

CASE(beyond_end_of_file)
{
    catch_faults();
    int fd = file_of("f", 1);
    char *p = mmap(NULL, 3 * PG, RW, MAP_SHARED, fd, 0);
    char *q = mmap(NULL, 3 * PG, RW, MAP_PRIVATE, fd, 0);
    EXPECT(p != MAP_FAILED && q != MAP_FAILED);
    EXPECT_EQ(READ_OF(p), 0);
    EXPECT_FAULT(READ_OF(p + PG + 7), SIGBUS, BUS_ADRERR, p + PG + 7);
    EXPECT_FAULT(WRITE_OF(p + 2 * PG), SIGBUS, BUS_ADRERR, p + 2 * PG);
    EXPECT_FAULT(READ_OF(q + PG), SIGBUS, BUS_ADRERR, q + PG);
    EXPECT_FAULT(WRITE_OF(q + PG), SIGBUS, BUS_ADRERR, q + PG);
    EXPECT_EQ(ftruncate(fd, 2 * PG), 0); /* it may grow under a mapping */
    EXPECT_EQ(READ_OF(p + PG), 0);
    EXPECT_EQ(p[PG], 0);
    EXPECT_EQ(READ_OF(q + PG), 0);
    EXPECT_EQ(READ_OF(p + 2 * PG), SIGBUS);
}

CASE(truncated_file)
{
    catch_faults();
    int fd = file_of("f", 3);
    char *p = mmap(NULL, 3 * PG, RW, MAP_SHARED, fd, 0);
    char *q = mmap(NULL, 3 * PG, RW, MAP_PRIVATE, fd, 0);
    EXPECT(p != MAP_FAILED && q != MAP_FAILED);
    EXPECT_EQ(p[2 * PG], 'c');
    EXPECT_EQ(q[PG], 'b');
    q[2 * PG] = 'X'; /* a private copy goes too */
    EXPECT_EQ(ftruncate(fd, PG), 0);
    EXPECT_EQ(READ_OF(p), 0);
    EXPECT_FAULT(READ_OF(p + 2 * PG), SIGBUS, BUS_ADRERR, p + 2 * PG);
    EXPECT_FAULT(READ_OF(q + PG), SIGBUS, BUS_ADRERR, q + PG);
    EXPECT_FAULT(READ_OF(q + 2 * PG), SIGBUS, BUS_ADRERR, q + 2 * PG);
    EXPECT_EQ(lseek(fd, 0, SEEK_SET), 0);
    EXPECT_ERRNO(EFAULT, read(fd, p + PG, 1));
    EXPECT_EQ(ftruncate(fd, 3 * PG), 0);
    EXPECT_EQ(READ_OF(p + 2 * PG), 0);
    EXPECT_EQ(p[2 * PG], 0);
    EXPECT_EQ(q[2 * PG], 0);
}

CASE(access_mode)
{
    int fd = file_of("f", 1);
    close(fd);
    fd = EXPECT_OK(open(test_path("f"), O_RDONLY));
    EXPECT_ERRNO(EACCES, mmap(NULL, PG, RW, MAP_SHARED, fd, 0));
    EXPECT_ERRNO(EACCES, mmap(NULL, PG, PROT_WRITE, MAP_SHARED, fd, 0));
    EXPECT(mmap(NULL, PG, RW, MAP_PRIVATE, fd, 0) != MAP_FAILED);
    char *p = mmap(NULL, PG, PROT_READ, MAP_SHARED, fd, 0);
    EXPECT(p != MAP_FAILED);
    EXPECT_ERRNO(EACCES, mprotect(p, PG, RW));
    close(fd);
    fd = EXPECT_OK(open(test_path("f"), O_WRONLY));
    EXPECT_ERRNO(EACCES, mmap(NULL, PG, PROT_READ, MAP_SHARED, fd, 0));
    EXPECT_ERRNO(EACCES, mmap(NULL, PG, PROT_WRITE, MAP_SHARED, fd, 0));
    EXPECT_ERRNO(EACCES, mmap(NULL, PG, PROT_NONE, MAP_PRIVATE, fd, 0));
}

CASE(not_mappable)
{
    int fds[2];
    EXPECT_EQ(pipe(fds), 0);
    EXPECT_ERRNO(ENODEV, mmap(NULL, PG, PROT_READ, MAP_PRIVATE, fds[0], 0));
    int fd = EXPECT_OK(open("/", O_RDONLY | O_DIRECTORY));
    EXPECT_ERRNO(ENODEV, mmap(NULL, PG, PROT_READ, MAP_PRIVATE, fd, 0));
}

CASE(shared_validate)
{
    int fd = file_of("f", 1);
    char *p = mmap(NULL, PG, RW, MAP_SHARED_VALIDATE, fd, 0);
    EXPECT(p != MAP_FAILED);
    EXPECT_EQ(p[0], 'a');
    EXPECT_ERRNO(EOPNOTSUPP, mmap(NULL, PG, RW, MAP_SHARED_VALIDATE | 0x800000, fd, 0));
    EXPECT(mmap(NULL, PG, RW, MAP_SHARED | 0x800000, fd, 0) != MAP_FAILED);
}

CASE(dev_zero)
{
    int fd = EXPECT_OK(open("/dev/zero", O_RDWR));
    char *p = mmap(NULL, 2 * PG, RW, MAP_PRIVATE, fd, 0);
    EXPECT(p != MAP_FAILED);
    EXPECT_EQ(p[0], 0);
    p[PG] = 3;
    EXPECT_EQ(p[PG], 3);
    p = mmap(NULL, 2 * PG, RW, MAP_SHARED, fd, 0);
    EXPECT(p != MAP_FAILED);
    EXPECT_EXITED(FORK({ p[PG] = 4; }), 0);
    EXPECT_EQ(p[PG], 4);
}

CASE(shared_anonymous)
{
    char *p = map(4, RW, SHARED_ANON);
    EXPECT_EXITED(FORK({
                      EXPECT_EQ(p[0], 0);
                      p[3 * PG] = 9;
                  }),
                  0);
    EXPECT_EQ(p[3 * PG], 9);
    char *q = map(4, RW, SHARED_ANON);
    EXPECT_EQ(q[3 * PG], 0);
}

CASE(prot_none)
{
    catch_faults();
    char *p = map(2, PROT_NONE, ANON);
    EXPECT_FAULT(READ_OF(p), SIGSEGV, SEGV_ACCERR, p);
    EXPECT_FAULT(WRITE_OF(p + PG), SIGSEGV, SEGV_ACCERR, p + PG);
}

CASE(write_only_can_be_read)
{
    char *p = map(1, PROT_WRITE, ANON);
    p[3] = 4;
    EXPECT_EQ(p[3], 4);
}

CASE(execute)
{
    static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov $42, %eax; ret */
    char *p = map(1, RW, ANON);
    memcpy(p, code, sizeof(code));
    EXPECT_EQ(mprotect(p, PG, PROT_READ | PROT_EXEC), 0);
    EXPECT_EQ(((int (*)(void))(void *)p)(), 42);
    catch_faults();
    EXPECT_EQ(mprotect(p, PG, PROT_READ), 0);
    EXPECT_FAULT(CALL_OF(p), SIGSEGV, SEGV_ACCERR, p);
}

CASE(code_that_changes)
{
    unsigned char *p = (void *)map(1, RW | PROT_EXEC, ANON);
    static const unsigned char code[] = {0xb8, 0, 0, 0, 0, 0xc3};
    memcpy(p, code, sizeof(code));
    for (int i = 0; i < 1000; i++) {
        p[1] = (unsigned char)i;
        __builtin___clear_cache((char *)p, (char *)p + 6);
        EXPECT_EQ(((int (*)(void))(void *)p)(), i & 0xff);
    }
}

CASE(populate)
{
    char *p = map(256, RW, ANON | MAP_POPULATE);
    unsigned char vec[256];
    EXPECT_EQ(mincore(p, 256 * PG, vec), 0);
    for (int i = 0; i < 256; i++)
        EXPECT_EQ(vec[i] & 1, 1);
    EXPECT(mmap(NULL, 16 * PG, PROT_NONE, ANON | MAP_POPULATE, -1, 0) != MAP_FAILED);
}

CASE(large_and_sparse)
{
    char *p = mmap(NULL, 1ul << 40, RW, ANON | MAP_NORESERVE, -1, 0);
    EXPECT(p != MAP_FAILED);
    for (unsigned long i = 0; i < 1000; i++)
        p[i << 30] = (char)i;
    for (unsigned long i = 0; i < 1000; i++)
        EXPECT_EQ(p[i << 30], (char)i);
    EXPECT_EQ(munmap(p, 1ul << 40), 0);
}

CASE(many_small)
{
    char *p[500];
    for (int i = 0; i < 500; i++) {
        p[i] = map(1 + i % 3, RW, ANON);
        p[i][i % PG] = (char)i;
    }
    for (int i = 0; i < 500; i++) {
        EXPECT_EQ(p[i][i % PG], (char)i);
        EXPECT_EQ(munmap(p[i], (1 + i % 3) * PG), 0);
    }
}

CASE(huge_pages_or_not)
{
    char *p = mmap(NULL, 2 << 20, RW, ANON | MAP_HUGETLB, -1, 0);
    EXPECT(p != MAP_FAILED || errno == ENOMEM || errno == EINVAL || errno == EPERM);
}

CASE(maps_file_name)
{
    char line[1024], perms[8];
    int fd = file_of("named", 4);
    char *p = mmap(NULL, 2 * PG, PROT_READ, MAP_PRIVATE, fd, 2 * PG);
    EXPECT(p != MAP_FAILED);
    EXPECT(maps_line(p, line, sizeof(line)));
    unsigned long start, end, offset, inode;
    int major, minor, at;
    EXPECT_EQ(sscanf(line, "%lx-%lx %4s %lx %x:%x %lu %n", &start, &end, perms, &offset, &major,
                     &minor, &inode, &at),
              7);
    struct stat st;
    EXPECT_EQ(fstat(fd, &st), 0);
    EXPECT_EQ(start, p);
    EXPECT_EQ(end, p + 2 * PG);
    EXPECT_STREQ(perms, "r--p");
    EXPECT_EQ(offset, 2 * PG);
    EXPECT_EQ(inode, st.st_ino);
    EXPECT(strstr(line + at, "/named\n") != NULL);
}

CASE(maps_merge)
{
    char line[1024];
    char *p = map_alone(8, PROT_NONE, ANON);
    unsigned long start, end;
    for (int i = 0; i < 8; i++)
        EXPECT_EQ((long)mmap(p + (unsigned)i * PG, PG, RW, ANON | MAP_FIXED, -1, 0),
                  (long)(p + (unsigned)i * PG));
    EXPECT(maps_line(p, line, sizeof(line)));
    EXPECT_EQ(sscanf(line, "%lx-%lx", &start, &end), 2);
    EXPECT_EQ(end, p + 8 * PG);
    EXPECT(strstr(line, "rw-p 00000000 00:00 0"));
}

static volatile int race_stop;

static void *race_map(void *arg)
{
    char *where = arg;
    while (!race_stop) {
        if (mmap(where, 4 * PG, RW, ANON | MAP_FIXED, -1, 0) == MAP_FAILED)
            return (void *)1;
    }
    return NULL;
}

/* One thread replaces a mapping over and over; others touch it and must never see it gone. */
CASE(replacing_is_atomic)
{
    pthread_t t;
    void *r;
    char *p = map(4, RW, ANON);
    EXPECT_EQ(pthread_create(&t, NULL, race_map, p), 0);
    for (int i = 0; i < 2000; i++) {
        volatile char *q = p + (unsigned)(i % 4) * PG;
        char c = *q;
        EXPECT(c == 0 || c == 1);
        *q = 1;
    }
    race_stop = 1;
    EXPECT_EQ(pthread_join(t, &r), 0);
    EXPECT_EQ((long)r, 0);
}

static void *race_fill(void *arg)
{
    for (size_t i = 0; i < 512; i++)
        __atomic_fetch_add(&((long *)arg)[i * PG / sizeof(long)], 1, __ATOMIC_RELAXED);
    return NULL;
}

/* Threads that fault on the same fresh pages must meet in the same memory. */
CASE(first_touch_races)
{
    for (int round = 0; round < 10; round++) {
        pthread_t t[4];
        char *p = map(512, RW, ANON);
        for (int i = 0; i < 4; i++)
            EXPECT_EQ(pthread_create(&t[i], NULL, race_fill, p), 0);
        for (int i = 0; i < 4; i++)
            EXPECT_EQ(pthread_join(t[i], NULL), 0);
        for (size_t i = 0; i < 512; i++)
            EXPECT_EQ(*(long *)(void *)(p + i * PG), 4);
        EXPECT_EQ(munmap(p, 512 * PG), 0);
    }
}

TEST_MAIN
