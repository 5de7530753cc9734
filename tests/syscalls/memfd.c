/* memfd_create(2), F_ADD_SEALS in fcntl(2), sparse files and shared mappings of files in memory. */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <linux/falloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096

static int memfd(unsigned flags)
{
    return memfd_create("test", flags);
}

CASE(create_write_read)
{
    int fd = memfd(MFD_CLOEXEC);
    char buf[8] = "";
    struct stat st;
    EXPECT(fd >= 0);
    EXPECT(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    EXPECT_EQ(write(fd, "hello", 5), 5);
    EXPECT_EQ(pread(fd, buf, 8, 1), 4);
    EXPECT(memcmp(buf, "ello", 4) == 0);
    EXPECT_EQ(fstat(fd, &st), 0);
    EXPECT_EQ(st.st_size, 5);
    EXPECT_EQ(st.st_nlink, 0);
    EXPECT(S_ISREG(st.st_mode));
    EXPECT_EQ(st.st_blocks, 8);
    close(fd);
}

CASE(name_in_proc)
{
    int fd = memfd(0);
    char path[64], target[64] = "";
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    EXPECT(readlink(path, target, sizeof(target) - 1) > 0);
    EXPECT(strcmp(target, "/memfd:test (deleted)") == 0);
    /* and the link opens the same file anew */
    int other = open(path, O_RDWR);
    EXPECT(other >= 0);
    EXPECT_EQ(write(fd, "x", 1), 1);
    EXPECT_EQ(lseek(other, 0, SEEK_END), 1);
    EXPECT_EQ(lseek(other, 0, SEEK_SET), 0);
    close(other);
    close(fd);
}

CASE(bad_arguments)
{
    char name[300];
    memset(name, 'n', sizeof(name));
    name[249] = 0;
    int fd = memfd_create(name, 0);
    EXPECT(fd >= 0);
    close(fd);
    name[249] = 'n';
    name[250] = 0;
    EXPECT_ERRNO(EINVAL, memfd_create(name, 0));
    EXPECT_ERRNO(EINVAL, memfd_create("x", 0x4000));
}

CASE(no_seals_without_flag)
{
    int fd = memfd(0);
    EXPECT_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL);
    EXPECT_ERRNO(EPERM, fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
    close(fd);
}

CASE(seal_sizes)
{
    int fd = memfd(MFD_ALLOW_SEALING);
    EXPECT_EQ(fcntl(fd, F_GET_SEALS), 0);
    EXPECT_EQ(ftruncate(fd, 2 * PAGE), 0);
    EXPECT_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW), 0);
    EXPECT_ERRNO(EPERM, ftruncate(fd, 3 * PAGE));
    EXPECT_ERRNO(EPERM, pwrite(fd, "x", 1, 2 * PAGE));
    EXPECT_EQ(pwrite(fd, "x", 1, PAGE), 1);
    EXPECT_EQ(ftruncate(fd, PAGE), 0);
    EXPECT_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    EXPECT_ERRNO(EPERM, ftruncate(fd, 0));
    EXPECT_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_GROW | F_SEAL_SHRINK);
    EXPECT_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL), 0);
    EXPECT_ERRNO(EPERM, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    EXPECT_ERRNO(EINVAL, fcntl(fd, F_ADD_SEALS, 0x1000));
    close(fd);
}

CASE(seal_write)
{
    int fd = memfd(MFD_ALLOW_SEALING);
    EXPECT_EQ(ftruncate(fd, PAGE), 0);
    char *m = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT(m != MAP_FAILED);
    EXPECT_ERRNO(EBUSY, fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
    munmap(m, PAGE);
    EXPECT_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
    EXPECT_ERRNO(EPERM, pwrite(fd, "x", 1, 0));
    EXPECT(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    EXPECT_EQ(errno, EPERM);
    EXPECT_ERRNO(EPERM, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE));
    m = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    EXPECT(m != MAP_FAILED);
    m[0] = 1;
    munmap(m, PAGE);
    close(fd);
}

CASE(seal_future_write)
{
    int fd = memfd(MFD_ALLOW_SEALING);
    EXPECT_EQ(ftruncate(fd, PAGE), 0);
    char *m = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT_EQ(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
    m[0] = 7; /* who had it keeps it */
    EXPECT_ERRNO(EPERM, pwrite(fd, "x", 1, 0));
    char *r = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
    EXPECT(r != MAP_FAILED);
    EXPECT_EQ(r[0], 7);
    EXPECT_ERRNO(EACCES, mprotect(r, PAGE, PROT_READ | PROT_WRITE));
    munmap(r, PAGE);
    munmap(m, PAGE);
    close(fd);
}

CASE(holes)
{
    int fd = memfd(0);
    struct stat st;
    EXPECT_EQ(ftruncate(fd, 64 * PAGE), 0);
    EXPECT_EQ(pwrite(fd, "x", 1, 10 * PAGE + 5), 1);
    EXPECT_EQ(pwrite(fd, "x", 1, 20 * PAGE), 1);
    EXPECT_EQ(fstat(fd, &st), 0);
    EXPECT_EQ(st.st_blocks, 16);
    EXPECT_EQ(lseek(fd, 0, SEEK_DATA), 10 * PAGE);
    EXPECT_EQ(lseek(fd, 10 * PAGE + 7, SEEK_DATA), 10 * PAGE + 7);
    EXPECT_EQ(lseek(fd, 10 * PAGE, SEEK_HOLE), 11 * PAGE);
    EXPECT_EQ(lseek(fd, 11 * PAGE, SEEK_DATA), 20 * PAGE);
    EXPECT_EQ(lseek(fd, 0, SEEK_HOLE), 0);
    EXPECT_ERRNO(ENXIO, lseek(fd, 21 * PAGE, SEEK_DATA));
    EXPECT_ERRNO(ENXIO, lseek(fd, 64 * PAGE, SEEK_HOLE));
    EXPECT_EQ(lseek(fd, 30 * PAGE, SEEK_HOLE), 30 * PAGE);
    close(fd);
}

CASE(growing_file_is_not_charged_ahead)
{
    int fd = memfd(0);
    char *block = calloc(1, 1 << 16);
    struct stat st;
    for (int k = 0; k < 40; k++)
        EXPECT_EQ(write(fd, block, 1 << 16), 1 << 16);
    EXPECT_EQ(fstat(fd, &st), 0);
    EXPECT_EQ(st.st_blocks, 40 * 128);
    EXPECT_EQ(lseek(fd, 0, SEEK_HOLE), 40 << 16);
    EXPECT_EQ(ftruncate(fd, 100 << 16), 0);
    EXPECT_EQ(lseek(fd, 0, SEEK_HOLE), 40 << 16);
    EXPECT_EQ(pwrite(fd, "x", 1, 90 << 16), 1);
    EXPECT_EQ(lseek(fd, 40 << 16, SEEK_DATA), 90 << 16);
    free(block);
    close(fd);
}

CASE(punch_hole)
{
    int fd = memfd(0);
    char buf[4 * PAGE], zero[4 * PAGE] = "";
    struct stat st;
    memset(buf, 'x', sizeof(buf));
    EXPECT_EQ(write(fd, buf, sizeof(buf)), sizeof(buf));
    char *m = mmap(NULL, sizeof(buf), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    EXPECT_EQ(m[PAGE], 'x');
    EXPECT_ERRNO(EOPNOTSUPP, fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, PAGE));
    EXPECT_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 2 * PAGE), 0);
    EXPECT_EQ(m[99], 'x');
    EXPECT(memcmp(m + 100, zero, 2 * PAGE) == 0);
    EXPECT_EQ(m[100 + 2 * PAGE], 'x');
    EXPECT_EQ(fstat(fd, &st), 0);
    EXPECT_EQ(st.st_size, sizeof(buf));
    m[PAGE] = 'y';
    EXPECT_EQ(pread(fd, buf, 1, PAGE), 1);
    EXPECT_EQ(buf[0], 'y');
    munmap(m, sizeof(buf));
    close(fd);
}

CASE(allocate)
{
    int fd = memfd(0);
    struct stat st;
    EXPECT_EQ(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 4 * PAGE), 0);
    EXPECT_EQ(fstat(fd, &st), 0);
    EXPECT_EQ(st.st_size, 0);
    EXPECT_EQ(st.st_blocks, 32);
    EXPECT_EQ(fallocate(fd, 0, 0, 8 * PAGE + 1), 0);
    EXPECT_EQ(fstat(fd, &st), 0);
    EXPECT_EQ(st.st_size, 8 * PAGE + 1);
    EXPECT_ERRNO(EINVAL, fallocate(fd, 0, -1, 10));
    EXPECT_ERRNO(EINVAL, fallocate(fd, 0, 0, 0));
    EXPECT_ERRNO(EOPNOTSUPP, fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, PAGE));
    close(fd);
}

static sigjmp_buf jump;
static volatile int bus_code;
static void on_bus(int sig, siginfo_t *info, void *ctx)
{
    (void)sig;
    (void)ctx;
    bus_code = info->si_code;
    siglongjmp(jump, 1);
}

CASE(truncate_below_a_mapping)
{
    struct sigaction sa = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGBUS, &sa, NULL);
    int fd = memfd(0);
    EXPECT_EQ(ftruncate(fd, 4 * PAGE), 0);
    volatile char *m = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    m[3 * PAGE] = 1;
    m[PAGE + 1] = 2;
    EXPECT_EQ(ftruncate(fd, PAGE + 1), 0);
    bus_code = 0;
    if (!sigsetjmp(jump, 1))
        m[3 * PAGE] = 1;
    EXPECT_EQ(bus_code, BUS_ADRERR);
    EXPECT_EQ(m[PAGE + 1], 0); /* the rest of the last page was zeroed */
    /* beyond the end within the page: kept by the mapping, never part of the file */
    m[PAGE + 100] = 9;
    EXPECT_EQ(ftruncate(fd, 4 * PAGE), 0);
    EXPECT_EQ(m[3 * PAGE], 0);
    EXPECT_EQ(m[PAGE + 1], 0);
    munmap((void *)m, 4 * PAGE);
    close(fd);
}

CASE(private_copies_survive_a_hole)
{
    int fd = memfd(0);
    EXPECT_EQ(ftruncate(fd, 2 * PAGE), 0);
    volatile char *m = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    m[0] = 5;
    EXPECT_EQ(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE), 0);
    EXPECT_EQ(m[0], 5);
    munmap((void *)m, 2 * PAGE);
    close(fd);
}

CASE(large_sparse_file)
{
    int fd = memfd(0);
    off_t far = 1ll << 40;
    char c = 0;
    EXPECT_EQ(pwrite(fd, "z", 1, far), 1);
    EXPECT_EQ(lseek(fd, 0, SEEK_DATA), far);
    EXPECT_EQ(pread(fd, &c, 1, far), 1);
    EXPECT_EQ(c, 'z');
    EXPECT_EQ(pread(fd, &c, 1, far - 1), 1);
    EXPECT_EQ(c, 0);
    EXPECT_EQ(ftruncate(fd, 1), 0);
    EXPECT_EQ(pread(fd, &c, 1, far), 0);
    close(fd);
}

TEST_MAIN
