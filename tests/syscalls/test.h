/*
 * The harness of the conformance tests. A test is one static C program that runs natively and in
 * the sandbox, and cannot tell where it is:
 *
 *      #include "tests/syscalls/test.h"
 *
 *      CASE(closed_descriptor)
 *      {
 *              EXPECT_ERRNO(EBADF, read(-1, NULL, 0));
 *      }
 *      TEST_MAIN
 *
 * Each case runs in a forked child, which leads a process group of its own, with a timeout; what it
 * leaves running is killed, and its test_dir() removed. The first EXPECT that does not hold ends
 * the case (the process it is called in, with status 1). SKIP says why and ends it too.
 *
 * Usage: sys_NAME [--list] [--timeout SECONDS] [--no-fork] [CASE...]
 *      CASE is a name or a shell pattern. Status: 0, 1 if a case failed, 77 if all were skipped.
 */
#ifndef PICKET_TESTS_SYSCALLS_TEST_H
#define PICKET_TESTS_SYSCALLS_TEST_H

#include <errno.h>
#include <fnmatch.h>
#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEST_UNUSED __attribute__((unused))
#define TEST_STATUS_FAILED 1
#define TEST_STATUS_SKIPPED 77

struct test_case {
    const char *name;
    void (*run)(void);
    struct test_case *next;
};
static struct test_case *test_cases, **test_cases_end = &test_cases;

#define CASE(case_name)                                                                            \
    static void case_##case_name(void);                                                            \
    __attribute__((constructor)) static void case_register_##case_name(void)                       \
    {                                                                                              \
        static struct test_case tc = {#case_name, case_##case_name, NULL};                         \
        *test_cases_end = &tc;                                                                     \
        test_cases_end = &tc.next;                                                                 \
    }                                                                                              \
    static void case_##case_name(void)

#define TEST_MAIN                                                                                  \
    int main(int argc, char **argv)                                                                \
    {                                                                                              \
        return test_main(argc, argv);                                                              \
    }

/* One write, so that lines of several processes do not mix. Keeps errno. */
__attribute__((format(printf, 1, 2))) TEST_UNUSED static void test_print(const char *fmt, ...)
{
    int saved = errno;
    char line[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    if (n >= (int)sizeof(line))
        n = sizeof(line) - 1;
    if (write(STDERR_FILENO, line, (size_t)n) < 0)
        _exit(TEST_STATUS_FAILED);
    errno = saved;
}

#define TEST_FAIL(...)                                                                             \
    do {                                                                                           \
        test_print(__VA_ARGS__);                                                                   \
        _exit(TEST_STATUS_FAILED);                                                                 \
    } while (0)

#define FAIL(fmt, ...) TEST_FAIL("%s:%d: " fmt "\n", __FILE__, __LINE__, ##__VA_ARGS__)

#define SKIP(fmt, ...)                                                                             \
    do {                                                                                           \
        test_print("  skipped: " fmt "\n", ##__VA_ARGS__);                                         \
        _exit(TEST_STATUS_SKIPPED);                                                                \
    } while (0)

#define EXPECT(cond)                                                                               \
    do {                                                                                           \
        if (!(cond))                                                                               \
            FAIL("%s does not hold (errno %d, %s)", #cond, errno, strerror(errno));                \
    } while (0)

/* Two integers (or pointers), compared as long long. */
#define TEST_COMPARE(a, op, b)                                                                     \
    do {                                                                                           \
        long long test_a_ = (long long)(a);                                                        \
        long long test_b_ = (long long)(b);                                                        \
        if (!(test_a_ op test_b_))                                                                 \
            FAIL("%s %s %s does not hold: %lld (0x%llx) and %lld (0x%llx)", #a, #op, #b, test_a_,  \
                 (unsigned long long)test_a_, test_b_, (unsigned long long)test_b_);               \
    } while (0)
#define EXPECT_EQ(a, b) TEST_COMPARE(a, ==, b)
#define EXPECT_NE(a, b) TEST_COMPARE(a, !=, b)
#define EXPECT_LT(a, b) TEST_COMPARE(a, <, b)
#define EXPECT_LE(a, b) TEST_COMPARE(a, <=, b)
#define EXPECT_GT(a, b) TEST_COMPARE(a, >, b)
#define EXPECT_GE(a, b) TEST_COMPARE(a, >=, b)

/* expr is a call that returns -1 (or MAP_FAILED) and sets errno. */
#define EXPECT_ERRNO(err, expr)                                                                    \
    do {                                                                                           \
        errno = 0;                                                                                 \
        long long test_r_ = (long long)(expr);                                                     \
        int test_e_ = errno;                                                                       \
        if (test_r_ != -1)                                                                         \
            FAIL("%s returned %lld, not %s", #expr, test_r_, #err);                                \
        if (test_e_ != (err))                                                                      \
            FAIL("%s failed with %s, not %s", #expr, strerrorname_np(test_e_) ?: "?", #err);       \
    } while (0)

/* The result of expr, which must not be -1. */
#define EXPECT_OK(expr)                                                                            \
    ({                                                                                             \
        errno = 0;                                                                                 \
        __typeof__(expr) test_r_ = (expr);                                                         \
        if ((long long)test_r_ == -1)                                                              \
            FAIL("%s failed with %s", #expr, strerrorname_np(errno) ?: "?");                       \
        test_r_;                                                                                   \
    })

#define EXPECT_STREQ(a, b)                                                                         \
    do {                                                                                           \
        const char *test_a_ = (a), *test_b_ = (b);                                                 \
        if (strcmp(test_a_, test_b_) != 0)                                                         \
            FAIL("%s and %s differ: \"%.200s\" and \"%.200s\"", #a, #b, test_a_, test_b_);         \
    } while (0)

#define EXPECT_MEMEQ(a, b, n)                                                                      \
    do {                                                                                           \
        const unsigned char *test_a_ = (const void *)(a), *test_b_ = (const void *)(b);            \
        size_t test_n_ = (n);                                                                      \
        for (size_t test_i_ = 0; test_i_ < test_n_; test_i_++)                                     \
            if (test_a_[test_i_] != test_b_[test_i_])                                              \
                FAIL("%s and %s differ at byte %zu: 0x%02x and 0x%02x", #a, #b, test_i_,           \
                     test_a_[test_i_], test_b_[test_i_]);                                          \
    } while (0)

/* Waits for a child; its wait status. */
TEST_UNUSED static int test_wait(pid_t pid)
{
    int status = 0;
    pid_t r;
    do
        r = waitpid(pid, &status, 0);
    while (r < 0 && errno == EINTR);
    if (r != pid)
        TEST_FAIL("waitpid(%d) returned %d: %s\n", (int)pid, (int)r, strerror(errno));
    return status;
}

#define EXPECT_EXITED(pid, code)                                                                   \
    do {                                                                                           \
        int test_s_ = test_wait(pid);                                                              \
        if (!WIFEXITED(test_s_) || WEXITSTATUS(test_s_) != (code))                                 \
            FAIL("%s did not exit with %s: wait status 0x%x", #pid, #code, test_s_);               \
    } while (0)
#define EXPECT_KILLED(pid, sig)                                                                    \
    do {                                                                                           \
        int test_s_ = test_wait(pid);                                                              \
        if (!WIFSIGNALED(test_s_) || WTERMSIG(test_s_) != (sig))                                   \
            FAIL("%s was not killed by %s: wait status 0x%x", #pid, #sig, test_s_);                \
    } while (0)

/* Runs its body in a forked child, which exits with 0 at the end:  pid_t p = FORK({ ... }); */
#define FORK(...)                                                                                  \
    ({                                                                                             \
        pid_t test_pid_ = fork();                                                                  \
        if (test_pid_ < 0)                                                                         \
            FAIL("fork: %s", strerror(errno));                                                     \
        if (test_pid_ == 0) {                                                                      \
            __VA_ARGS__                                                                            \
            _exit(0);                                                                              \
        }                                                                                          \
        test_pid_;                                                                                 \
    })

static pid_t test_case_pid;

TEST_UNUSED static const char *test_dir_name(pid_t pid)
{
    static _Thread_local char dir[256]; /* cases have threads */
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof(dir), "%s/picket-test.%d", tmp && *tmp ? tmp : "/tmp", (int)pid);
    return dir;
}

/* An empty directory of this case (made at the first call), removed after it. */
TEST_UNUSED static const char *test_dir(void)
{
    const char *dir = test_dir_name(test_case_pid);
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        TEST_FAIL("mkdir %s: %s\n", dir, strerror(errno));
    return dir;
}

/* The path of `name` in test_dir(). Eight results live at a time. */
TEST_UNUSED static const char *test_path(const char *name)
{
    static _Thread_local char paths[8][512];
    static _Thread_local unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof(paths[0]), "%s/%s", test_dir(), name);
    return path;
}

static int test_remove(const char *path, TEST_UNUSED const struct stat *st, TEST_UNUSED int flag,
                       TEST_UNUSED struct FTW *ftw)
{
    if (remove(path) < 0)
        test_print("  cannot remove %s: %s\n", path, strerror(errno));
    return 0;
}

/* After a case: nothing that it started or made may stay. */
static void test_clean_up(pid_t pid)
{
    struct stat st;
    kill(-pid, SIGKILL);
    if (lstat(test_dir_name(pid), &st) == 0)
        nftw(test_dir_name(pid), test_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static void test_on_alarm(TEST_UNUSED int sig)
{
}

/* The wait status of the case; -1 if its time was over. */
static int test_wait_case(pid_t pid, unsigned timeout)
{
    struct sigaction sa = {.sa_handler = test_on_alarm};
    int status;
    sigaction(SIGALRM, &sa, NULL);
    alarm(timeout);
    pid_t r = waitpid(pid, &status, 0);
    alarm(0);
    if (r == pid)
        return status;
    kill(-pid, SIGKILL);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return -1;
}

enum test_outcome { TEST_PASSED, TEST_FAILED, TEST_SKIPPED };

static enum test_outcome test_judge(const char *name, int status, unsigned timeout)
{
    if (status == -1)
        test_print("FAIL  %s: not done after %u s\n", name, timeout);
    else if (WIFSIGNALED(status))
        test_print("FAIL  %s: killed by signal %d (SIG%s)\n", name, WTERMSIG(status),
                   sigabbrev_np(WTERMSIG(status)) ?: "?");
    else if (WEXITSTATUS(status) == TEST_STATUS_SKIPPED) {
        test_print("skip  %s\n", name);
        return TEST_SKIPPED;
    } else if (WEXITSTATUS(status) != 0)
        test_print("FAIL  %s: status %d\n", name, WEXITSTATUS(status));
    else {
        test_print("ok    %s\n", name);
        return TEST_PASSED;
    }
    return TEST_FAILED;
}

static enum test_outcome test_run_case(const struct test_case *tc, unsigned timeout, bool forked)
{
    if (!forked) {
        test_case_pid = getpid();
        tc->run();
        test_print("ok    %s\n", tc->name);
        return TEST_PASSED;
    }
    pid_t pid = fork();
    if (pid < 0) {
        test_print("FAIL  %s: fork: %s\n", tc->name, strerror(errno));
        return TEST_FAILED;
    }
    if (pid == 0) {
        test_case_pid = getpid();
        setpgid(0, 0);
        tc->run();
        fflush(NULL);
        _exit(0);
    }
    setpgid(pid, pid);
    enum test_outcome outcome = test_judge(tc->name, test_wait_case(pid, timeout), timeout);
    test_clean_up(pid);
    return outcome;
}

static bool test_selected(const struct test_case *tc, char **patterns)
{
    if (!*patterns)
        return true;
    for (; *patterns; patterns++)
        if (fnmatch(*patterns, tc->name, 0) == 0)
            return true;
    return false;
}

static int test_main(TEST_UNUSED int argc, char **argv)
{
    unsigned timeout = 20, count[3] = {0, 0, 0};
    bool forked = true, list = false;
    char **arg = argv + 1;
    for (; *arg && (*arg)[0] == '-'; arg++) {
        if (strcmp(*arg, "--list") == 0)
            list = true;
        else if (strcmp(*arg, "--no-fork") == 0)
            forked = false;
        else if (strcmp(*arg, "--timeout") == 0 && arg[1])
            timeout = (unsigned)atoi(*++arg);
        else {
            test_print("usage: %s [--list] [--timeout SECONDS] [--no-fork] [CASE...]\n", argv[0]);
            return 2;
        }
    }
    for (struct test_case *tc = test_cases; tc; tc = tc->next) {
        if (!test_selected(tc, arg))
            continue;
        if (list)
            printf("%s\n", tc->name);
        else
            count[test_run_case(tc, timeout, forked)]++;
    }
    if (list)
        return 0;
    const char *name = strrchr(argv[0], '/');
    test_print("%s: %u passed, %u failed, %u skipped\n", name ? name + 1 : argv[0],
               count[TEST_PASSED], count[TEST_FAILED], count[TEST_SKIPPED]);
    if (count[TEST_FAILED] || (!count[TEST_PASSED] && !count[TEST_SKIPPED]))
        return 1;
    return count[TEST_PASSED] ? 0 : TEST_STATUS_SKIPPED;
}

#endif
