/* What the tests of the memory calls share. */
#ifndef PICKET_TESTS_SYSCALLS_MEMORY_H
#define PICKET_TESTS_SYSCALLS_MEMORY_H

#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define PG 4096ul
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define SHARED_ANON (MAP_SHARED | MAP_ANONYMOUS)

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

TEST_UNUSED static char *map(size_t pages, int prot, int flags)
{
    char *p = mmap(NULL, pages * PG, prot, flags, -1, 0);
    if (p == MAP_FAILED)
        FAIL("mmap of %zu pages: %s", pages, strerror(errno));
    return p;
}

/* `pages` pages with nothing on either side. */
TEST_UNUSED static char *map_alone(size_t pages, int prot, int flags)
{
    char *p = map(pages + 2, PROT_NONE, ANON | MAP_NORESERVE);
    EXPECT_EQ(munmap(p, (pages + 2) * PG), 0);
    EXPECT_EQ((long)mmap(p + PG, pages * PG, prot, flags | MAP_FIXED, -1, 0), (long)(p + PG));
    return p + PG;
}

/* A file of `pages` pages; page i is full of 'a' + i. */
TEST_UNUSED static int file_of(const char *name, size_t pages)
{
    char buf[PG];
    int fd = EXPECT_OK(open(test_path(name), O_RDWR | O_CREAT | O_TRUNC, 0600));
    for (size_t i = 0; i < pages; i++) {
        memset(buf, 'a' + (int)i, PG);
        EXPECT_EQ(write(fd, buf, PG), PG);
    }
    return fd;
}

/* ---- faults ---- */

static struct {
    sigjmp_buf env;
    siginfo_t info;
} test_fault;

static void test_on_fault(TEST_UNUSED int sig, siginfo_t *info, TEST_UNUSED void *ctx)
{
    test_fault.info = *info;
    siglongjmp(test_fault.env, 1);
}

TEST_UNUSED static void catch_faults(void)
{
    struct sigaction sa = {.sa_sigaction = test_on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    static char stack[65536];
    stack_t ss = {.ss_sp = stack, .ss_size = sizeof(stack)};
    EXPECT_EQ(sigaltstack(&ss, NULL), 0);
    EXPECT_EQ(sigaction(SIGSEGV, &sa, NULL), 0);
    EXPECT_EQ(sigaction(SIGBUS, &sa, NULL), 0);
}

enum test_touch { TEST_READ, TEST_WRITE, TEST_CALL };

/* Touches p; the signal that it caused, or 0. A function, for sigsetjmp's sake. */
__attribute__((noinline)) TEST_UNUSED static int touch(const volatile void *p, enum test_touch how)
{
    test_fault.info.si_signo = 0;
    if (sigsetjmp(test_fault.env, 1))
        return test_fault.info.si_signo;
    if (how == TEST_READ)
        (void)*(const volatile char *)p;
    else if (how == TEST_WRITE)
        *(volatile char *)(uintptr_t)p = 1;
    else
        ((void (*)(void))(uintptr_t)p)();
    return 0;
}

#define READ_OF(p) touch(p, TEST_READ)
#define WRITE_OF(p) touch(p, TEST_WRITE)
#define CALL_OF(p) touch(p, TEST_CALL)

#define EXPECT_FAULT(fault, signo, code, addr)                                                     \
    do {                                                                                           \
        EXPECT_EQ(fault, signo);                                                                   \
        EXPECT_EQ(test_fault.info.si_code, code);                                                  \
        EXPECT_EQ((long)test_fault.info.si_addr, (long)(addr));                                    \
    } while (0)

/* Whether something is mapped at p: msync says so without touching it. */
TEST_UNUSED static bool is_mapped(const void *p)
{
    return msync((void *)((uintptr_t)p & ~(PG - 1)), PG, MS_ASYNC) == 0;
}

/* An unprivileged user, for whom limits hold. */
TEST_UNUSED static void drop_privileges(void)
{
    if (geteuid() == 0)
        EXPECT_EQ(setresuid(65534, 65534, 65534), 0);
}

TEST_UNUSED static void set_limit(int which, rlim_t value)
{
    struct rlimit rl;
    EXPECT_EQ(getrlimit((__rlimit_resource_t)which, &rl), 0);
    rl.rlim_cur = value;
    EXPECT_EQ(setrlimit((__rlimit_resource_t)which, &rl), 0);
}

/* A number of /proc/self/status, in kB; -1 if it is not there. */
TEST_UNUSED static long status_kb(const char *key)
{
    char line[256];
    long value = -1;
    FILE *f = fopen("/proc/self/status", "r");
    if (!f)
        return -1;
    while (fgets(line, sizeof(line), f))
        if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':')
            value = atol(line + strlen(key) + 1);
    fclose(f);
    return value;
}

/* The line of /proc/self/maps that holds p. */
TEST_UNUSED static bool maps_line(const void *p, char *line, size_t size)
{
    FILE *f = fopen("/proc/self/maps", "r");
    bool found = false;
    unsigned long start, end;
    if (!f)
        SKIP("no /proc/self/maps");
    while (!found && fgets(line, (int)size, f))
        found = sscanf(line, "%lx-%lx", &start, &end) == 2 && start <= (unsigned long)p &&
                (unsigned long)p < end;
    fclose(f);
    return found;
}

#endif
