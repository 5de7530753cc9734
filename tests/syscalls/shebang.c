/*
 * Interpreter scripts. See execve(2).
 */
#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <sys/auxv.h>
#include <sys/prctl.h>

#define MAX_ARGS 16

/* What a program saw of itself: name, path and arguments, NUL-terminated each. */
struct report {
    char data[16384];
    char *words[MAX_ARGS + 3];
    int n;
};

static const char *self(void)
{
    static char path[4096];
    ssize_t n = EXPECT_OK(readlink("/proc/self/exe", path, sizeof(path) - 1));
    path[n] = '\0';
    return path;
}

static const char *write_file(const char *name, const void *text, size_t size, mode_t mode)
{
    const char *path = test_path(name);
    int fd = EXPECT_OK(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    EXPECT_EQ(write(fd, text, size), (ssize_t)size);
    EXPECT_OK(fchmod(fd, mode));
    EXPECT_OK(close(fd));
    return path;
}

/* A script with this line; %s is replaced by `arg`. */
static const char *script(const char *name, const char *fmt, const char *arg)
{
    char text[2048];
    int n = snprintf(text, sizeof(text), fmt, arg);
    return write_file(name, text, (size_t)n, 0755);
}

/* Makes this program the reporter when it is the interpreter: a link whose name says so. */
static const char *reporter(void)
{
    const char *path = test_path("reporter");
    if (symlink(self(), path) < 0)
        EXPECT_EQ(errno, EEXIST);
    return path;
}

/* Runs before main: a reporter writes what it was given to descriptor 201, and is done. */
__attribute__((constructor)) static void report(int argc, char **argv)
{
    const char *name = strrchr(argv[0], '/');
    char comm[17] = {0}, exe[4096] = {0};
    if (strcmp(name ? name + 1 : argv[0], "reporter") != 0)
        return;
    prctl(PR_GET_NAME, comm);
    dprintf(201, "%s%c%s%c", comm, 0, (char *)getauxval(AT_EXECFN), 0);
    for (int i = 0; i < argc; i++)
        dprintf(201, "%s%c", argv[i], 0);
    (void)exe;
    _exit(0);
}

static void run(struct report *r, const char *path, char *const argv[])
{
    int fds[2];
    EXPECT_OK(pipe2(fds, O_CLOEXEC));
    pid_t pid = FORK({
        dup2(fds[1], 201);
        execv(path, argv);
        _exit(errno);
    });
    close(fds[1]);
    size_t n = 0;
    ssize_t got;
    while ((got = read(fds[0], r->data + n, sizeof(r->data) - n)) > 0)
        n += (size_t)got;
    close(fds[0]);
    EXPECT_EXITED(pid, 0);
    r->n = 0;
    for (char *p = r->data; p < r->data + n && r->n < MAX_ARGS + 2; p += strlen(p) + 1)
        r->words[r->n++] = p;
    r->words[r->n] = NULL;
}

/* The errno of executing path. */
static int failure(const char *path)
{
    int fds[2], err = 0;
    EXPECT_OK(pipe2(fds, O_CLOEXEC));
    pid_t pid = FORK({
        execl(path, path, NULL);
        int e = errno;
        EXPECT_EQ(write(fds[1], &e, sizeof(e)), sizeof(e));
    });
    EXPECT_EXITED(pid, 0);
    close(fds[1]);
    EXPECT_EQ(read(fds[0], &err, sizeof(err)), sizeof(err));
    close(fds[0]);
    return err;
}

static char *const args[] = {"lost", "a", "", "b c", NULL};

CASE(plain)
{
    struct report r;
    const char *s = script("s", "#!%s\nnonsense\n", reporter());
    run(&r, s, args);
    EXPECT_EQ(r.n, 2 + 5);
    EXPECT_STREQ(r.words[0], "s"); /* the name of the script, not of its interpreter */
    EXPECT_STREQ(r.words[1], s);
    EXPECT_STREQ(r.words[2], reporter());
    EXPECT_STREQ(r.words[3], s);
    EXPECT_STREQ(r.words[4], "a");
    EXPECT_STREQ(r.words[5], "");
    EXPECT_STREQ(r.words[6], "b c");
}

CASE(one_argument)
{
    struct report r;
    const char *s = script("s", "#! \t%s \t -x  y\t z \t \nnonsense\n", reporter());
    run(&r, s, args);
    EXPECT_EQ(r.n, 2 + 6);
    EXPECT_STREQ(r.words[2], reporter());
    EXPECT_STREQ(r.words[3], "-x  y\t z");
    EXPECT_STREQ(r.words[4], s);
    EXPECT_STREQ(r.words[5], "a");
}

CASE(without_newline)
{
    struct report r;
    run(&r, script("s", "#!%s -q", reporter()), args);
    EXPECT_STREQ(r.words[3], "-q");
    run(&r, script("s", "#!%s", reporter()), args);
    EXPECT_STREQ(r.words[3], test_path("s"));
}

/* argv[0] is dropped even if there is nothing else. */
CASE(no_arguments)
{
    struct report r;
    const char *s = script("s", "#!%s\n", reporter());
    run(&r, s, (char *[]){"lost", NULL});
    EXPECT_EQ(r.n, 2 + 2);
    EXPECT_STREQ(r.words[3], s);
    run(&r, s, (char *[]){NULL});
    EXPECT_EQ(r.n, 2 + 2);
    EXPECT_STREQ(r.words[3], s);
}

/* Each script is an argument of the next. */
CASE(chain)
{
    struct report r;
    const char *first = script("first", "#!%s one\n", reporter());
    const char *second = script("second", "#!%s two\n", first);
    run(&r, second, args);
    EXPECT_EQ(r.n, 2 + 8);
    EXPECT_STREQ(r.words[0], "second");
    EXPECT_STREQ(r.words[1], second);
    EXPECT_STREQ(r.words[2], reporter());
    EXPECT_STREQ(r.words[3], "one");
    EXPECT_STREQ(r.words[4], first);
    EXPECT_STREQ(r.words[5], "two");
    EXPECT_STREQ(r.words[6], second);
    EXPECT_STREQ(r.words[7], "a");
}

/* Five interpreters after another are too many if the fifth is a script, too. */
CASE(long_chain)
{
    struct report r;
    char name[2][16];
    const char *last = reporter();
    for (int i = 0; i < 8; i++) {
        snprintf(name[i % 2], sizeof(name[0]), "s%d", i);
        last = script(name[i % 2], "#!%s\n", last);
        if (i < 5) {
            run(&r, last, args);
            EXPECT_EQ(r.n, 2 + 5 + i);
        } else {
            EXPECT_EQ(failure(last), ELOOP);
        }
    }
    const char *loop = test_path("loop");
    EXPECT_EQ(failure(script("loop", "#!%s\n", loop)), ELOOP);
}

CASE(relative_interpreter)
{
    struct report r;
    reporter();
    const char *s = script("s", "#!reporter%s\n", "");
    EXPECT_OK(chdir(test_dir()));
    run(&r, s, args);
    EXPECT_STREQ(r.words[2], "reporter");
    run(&r, "./s", args);
    EXPECT_STREQ(r.words[3], "./s");
    EXPECT_OK(chdir("/"));
    EXPECT_EQ(failure(s), ENOENT);
}

CASE(longest_line)
{
    struct report r;
    char text[600];
    const char *path = reporter();
    memset(text, 'x', sizeof(text));
    /* The name fits, its argument is cut after byte 254 of the file. */
    int n = snprintf(text, sizeof(text), "#!%s ", path);
    text[n] = 'x';
    run(&r, write_file("s", text, sizeof(text), 0755), args);
    EXPECT_EQ(strlen(r.words[3]), 255 - n);
    /* The name does not fit. */
    memset(text, '/', sizeof(text));
    memcpy(text, "#!", 2);
    memcpy(text + 400, path, strlen(path));
    text[400 + strlen(path)] = '\n';
    EXPECT_EQ(failure(write_file("s", text, sizeof(text), 0755)), ENOEXEC);
}

CASE(failures)
{
    static const struct {
        const char *text;
        int err;
    } cases[] = {
        {"#!\n", ENOEXEC},
        {"#! \t \n", ENOEXEC},
        {"#!/nonexistent/interpreter\n", ENOENT},
        {"#!/bin/sh/x\n", ENOTDIR},
        {"#!/\n", EACCES},
        {"#!/dev/null\n", EACCES},
        {"#!", EACCES},
        {"# !/bin/sh\n", ENOEXEC},
        {"!#/bin/sh\n", ENOEXEC},
        {"#", ENOEXEC},
        {"", ENOEXEC},
        {"echo hello\n", ENOEXEC},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int err = failure(script("s", "%s", cases[i].text));
        if (err != cases[i].err)
            FAIL("case %zu (%s): %s", i, cases[i].text, strerrorname_np(err));
    }
    const char *plain = write_file("plain", "x", 1, 0644);
    EXPECT_EQ(failure(script("s", "#!%s\n", plain)), EACCES);
    plain = write_file("noexec", "#!/bin/sh\n", 10, 0644);
    EXPECT_EQ(failure(plain), EACCES);
}

CASE(carriage_return_belongs_to_the_name)
{
    EXPECT_EQ(failure(script("s", "#!%s\r\n", reporter())), ENOENT);
}

/* /proc/self/exe is the interpreter. */
CASE(exe_is_the_interpreter)
{
    int fds[2];
    char exe[4096] = {0};
    const char *s = script("s", "#!/bin/sh\nreadlink /proc/$$/exe\n%s", "");
    if (access("/bin/sh", X_OK) < 0)
        SKIP("no /bin/sh");
    EXPECT_OK(pipe2(fds, O_CLOEXEC));
    pid_t pid = FORK({
        dup2(fds[1], STDOUT_FILENO);
        execl(s, s, NULL);
        _exit(1);
    });
    EXPECT_EXITED(pid, 0);
    ssize_t n = EXPECT_OK(read(fds[0], exe, sizeof(exe) - 1));
    EXPECT_GT(n, 1);
    exe[n - 1] = '\0';
    char sh[4096];
    EXPECT(realpath("/bin/sh", sh) != NULL);
    EXPECT_STREQ(exe, sh);
}

/* fexecve: the script is opened again by the interpreter through /dev/fd. */
CASE(by_descriptor)
{
    struct report r;
    const char *s = script("s", "#!%s\n", reporter());
    int fd = EXPECT_OK(open(s, O_RDONLY));
    int fds[2];
    EXPECT_OK(pipe2(fds, O_CLOEXEC));
    pid_t pid = FORK({
        dup2(fds[1], 201);
        syscall(SYS_execveat, fd, "", args, environ, 0x1000 /* AT_EMPTY_PATH */);
        _exit(errno);
    });
    EXPECT_EXITED(pid, 0);
    ssize_t n = EXPECT_OK(read(fds[0], r.data, sizeof(r.data)));
    EXPECT_GT(n, 0);
    char expected[32];
    snprintf(expected, sizeof(expected), "/dev/fd/%d", fd);
    EXPECT(memmem(r.data, (size_t)n, expected, strlen(expected) + 1) != NULL);

    EXPECT_OK(fcntl(fd, F_SETFD, FD_CLOEXEC)); /* then it could not be opened */
    pid = FORK({
        syscall(SYS_execveat, fd, "", args, environ, 0x1000);
        EXPECT_EQ(errno, ENOENT);
    });
    EXPECT_EXITED(pid, 0);
}

TEST_MAIN
