/*
 * Arguments and environment: how much of it execve(2) takes, and how it comes through.
 */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define MAX_STRING (32 * 4096) /* with its NUL */

/* A second life of this program: says how many arguments and variables it got, and the sum of their
 * bytes; 42 if that is what descriptor 201 tells. */
struct sums {
    long argc, envc, bytes;
};

__attribute__((constructor)) static void second_life(int argc, char **argv, char **envp)
{
    struct sums want, got = {argc, 0, 0};
    if (argc < 1 || strcmp(argv[0], "count") != 0)
        return;
    for (int i = 0; i < argc; i++)
        got.bytes += (long)strlen(argv[i]);
    for (; envp[got.envc]; got.envc++)
        got.bytes += (long)strlen(envp[got.envc]);
    if (pread(201, &want, sizeof(want), 0) != sizeof(want))
        _exit(1);
    _exit(memcmp(&want, &got, sizeof(want)) == 0 ? 42 : 43);
}

/* Executes this program with these; 0 if it came through unharmed, or an errno. */
static int run(char *const argv[], char *const envp[])
{
    struct sums want = {0};
    for (; argv && argv[want.argc]; want.argc++)
        want.bytes += (long)strlen(argv[want.argc]);
    for (; envp && envp[want.envc]; want.envc++)
        want.bytes += (long)strlen(envp[want.envc]);
    int file = EXPECT_OK(memfd_create("sums", 0)), fds[2], err = 0;
    EXPECT_EQ(write(file, &want, sizeof(want)), sizeof(want));
    EXPECT_OK(pipe2(fds, O_CLOEXEC));
    pid_t pid = FORK({
        dup2(file, 201);
        execve("/proc/self/exe", argv, envp);
        err = errno;
        EXPECT_EQ(write(fds[1], &err, sizeof(err)), sizeof(err));
    });
    close(file);
    close(fds[1]);
    ssize_t n = read(fds[0], &err, sizeof(err));
    close(fds[0]);
    EXPECT_EXITED(pid, n > 0 ? 0 : 42);
    return err;
}

static char *string(size_t length, char c)
{
    char *s = malloc(length + 1);
    memset(s, c, length);
    s[length] = '\0';
    return s;
}

/* `count` strings of this length behind "count". */
static char **vector(size_t count, size_t length)
{
    char **v = calloc(count + 2, sizeof(*v)), *s = string(length, 'x');
    v[0] = "count";
    for (size_t i = 0; i < count; i++)
        v[1 + i] = s;
    return v;
}

static char *none[] = {NULL};

CASE(few)
{
    EXPECT_EQ(run((char *[]){"count", NULL}, none), 0);
    EXPECT_EQ(run((char *[]){"count", "", "", NULL}, (char *[]){"A=b", "", "=", NULL}), 0);
    EXPECT_EQ(run((char *[]){"count", NULL}, NULL), 0);
}

CASE(longest_string)
{
    EXPECT_EQ(run(vector(1, MAX_STRING - 1), none), 0);
    EXPECT_EQ(run(vector(1, MAX_STRING), none), E2BIG);
    EXPECT_EQ(run((char *[]){"count", NULL}, vector(1, MAX_STRING - 1)), 0);
    EXPECT_EQ(run((char *[]){"count", NULL}, vector(1, MAX_STRING)), E2BIG);
}

CASE(many_strings)
{
    EXPECT_EQ(run(vector(5000, 10), vector(5000, 20)), 0);
    EXPECT_EQ(run(vector(60000, 1), none), 0);
}

static void limit_stack(rlim_t bytes)
{
    struct rlimit rl;
    EXPECT_OK(getrlimit(RLIMIT_STACK, &rl));
    if (rl.rlim_max < bytes)
        SKIP("the stack's hard limit is too low");
    rl.rlim_cur = bytes;
    EXPECT_OK(setrlimit(RLIMIT_STACK, &rl));
}

/* A quarter of the stack's limit, for strings and pointers. */
CASE(quarter_of_the_stack)
{
    limit_stack(4 << 20);
    EXPECT_EQ(run(vector(9, 100000), none), 0);
    EXPECT_EQ(run(vector(11, 100000), none), E2BIG);
    EXPECT_EQ(run(vector(4, 100000), vector(5, 100000)), 0);
    EXPECT_EQ(run(vector(5, 100000), vector(6, 100000)), E2BIG);
    EXPECT_EQ(run(vector(90000, 1), none), 0);
    EXPECT_EQ(run(vector(110000, 1), none), E2BIG);
}

CASE(at_most_six_megabytes)
{
    limit_stack(64 << 20);
    EXPECT_EQ(run(vector(60, 100000), none), 0);
    EXPECT_EQ(run(vector(65, 100000), none), E2BIG);
}

CASE(at_least_128_kilobytes)
{
    limit_stack(256 << 10);
    EXPECT_EQ(run(vector(1, 100000), none), 0);
    EXPECT_EQ(run(vector(2, 100000), none), E2BIG);
}

CASE(bad_pointers)
{
    char *no = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(no != MAP_FAILED);
    EXPECT_OK(munmap(no + 4096, 4096));
    char **end = (char **)(no + 4096 - 16);
    end[0] = "count";
    end[1] = NULL; /* ends with its page */
    EXPECT_EQ(run(end, none), 0);

    char *path = "/proc/self/exe";
    EXPECT_ERRNO(EFAULT, execve(path, (char **)(no + 4096), none));
    EXPECT_ERRNO(EFAULT, execve(path, (char *[]){"count", no + 4096, NULL}, none));
    EXPECT_ERRNO(EFAULT, execve(path, (char *[]){"count", (char *)-1l, NULL}, none));
    EXPECT_ERRNO(EFAULT, syscall(SYS_execve, path, (char *[]){"count", NULL}, 8));
    EXPECT_ERRNO(EFAULT, execve(path, (char **)-8l, none));
    EXPECT_ERRNO(EFAULT, execve((char *)(no + 4096), (char *[]){"count", NULL}, none));
    end[1] = "more"; /* the next pointer is missing */
    EXPECT_ERRNO(EFAULT, execve(path, end, none));
    memset(no, 'x', 4096); /* a string that does not end */
    EXPECT_ERRNO(EFAULT, execve(path, (char *[]){"count", no, NULL}, none));
}

/* Pointers need not be aligned. */
CASE(unaligned_array)
{
    char buf[64];
    char *argv[] = {"count", "a", NULL};
    memcpy(buf + 3, argv, sizeof(argv));
    struct sums want = {2, 0, 6};
    int file = EXPECT_OK(memfd_create("sums", 0));
    EXPECT_EQ(write(file, &want, sizeof(want)), sizeof(want));
    pid_t pid = FORK({
        dup2(file, 201);
        syscall(SYS_execve, "/proc/self/exe", buf + 3, none);
        _exit(1);
    });
    EXPECT_EXITED(pid, 42);
}

/* A failed exec changes nothing. */
CASE(failure_changes_nothing)
{
    int x = 5, fd = EXPECT_OK(open("/dev/null", O_RDONLY | O_CLOEXEC));
    EXPECT_ERRNO(E2BIG, execve("/proc/self/exe", vector(1, MAX_STRING), none));
    EXPECT_ERRNO(ENOENT, execve("/nonexistent", (char *[]){"count", NULL}, none));
    EXPECT_ERRNO(EACCES, execve("/", (char *[]){"count", NULL}, none));
    EXPECT_EQ(x, 5);
    EXPECT_OK(fcntl(fd, F_GETFD));
}

CASE(arguments_within_the_stack_limit)
{
    static char text[60000];
    memset(text, 'x', sizeof(text) - 1);
    char *const argv[] = {"true", text, NULL}, *const envp[] = {NULL};
    struct rlimit limit = {16384, RLIM_INFINITY};
    EXPECT_EXITED(FORK({
                      EXPECT_EQ(setrlimit(RLIMIT_STACK, &limit), 0);
                      EXPECT_ERRNO(E2BIG, execve("/bin/true", argv, envp));
                  }),
                  0);
}

TEST_MAIN
