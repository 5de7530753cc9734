/*
 * The auxiliary vector and the initial stack. See getauxval(3).
 */
#include "tests/syscalls/test.h"
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

extern char **environ;
extern const Elf64_Ehdr __ehdr_start;

static bool has(unsigned long type)
{
    errno = 0;
    return getauxval(type) != 0 || errno == 0;
}

/* The vector as it lies on the stack, behind the environment. (Nobody has moved environ yet.) */
static const Elf64_auxv_t *vector(void)
{
    char **p = environ;
    while (*p)
        p++;
    return (const Elf64_auxv_t *)(p + 1);
}

CASE(complete)
{
    static const unsigned long types[] = {
        AT_SYSINFO_EHDR, AT_MINSIGSTKSZ, AT_HWCAP,  AT_PAGESZ, AT_CLKTCK, AT_PHDR,    AT_PHENT,
        AT_PHNUM,        AT_BASE,        AT_FLAGS,  AT_ENTRY,  AT_UID,    AT_EUID,    AT_GID,
        AT_EGID,         AT_SECURE,      AT_RANDOM, AT_HWCAP2, AT_EXECFN, AT_PLATFORM};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (!has(types[i]))
            FAIL("no entry of type %lu", types[i]);
}

CASE(constants)
{
    EXPECT_EQ(getauxval(AT_PAGESZ), 4096);
    EXPECT_EQ(getauxval(AT_CLKTCK), 100);
    EXPECT_EQ(getauxval(AT_PHENT), sizeof(Elf64_Phdr));
    EXPECT_EQ(getauxval(AT_FLAGS), 0);
    EXPECT_STREQ((const char *)getauxval(AT_PLATFORM), "x86_64");
    EXPECT_EQ(getauxval(AT_SECURE), 0);
}

CASE(ids)
{
    EXPECT_EQ(getauxval(AT_UID), getuid());
    EXPECT_EQ(getauxval(AT_EUID), geteuid());
    EXPECT_EQ(getauxval(AT_GID), getgid());
    EXPECT_EQ(getauxval(AT_EGID), getegid());
}

CASE(program_headers)
{
    const Elf64_Ehdr *eh = &__ehdr_start;
    EXPECT_EQ(getauxval(AT_PHNUM), eh->e_phnum);
    EXPECT_EQ(getauxval(AT_PHDR), (uintptr_t)eh + eh->e_phoff);
    uint64_t bias = eh->e_type == ET_DYN ? (uintptr_t)eh : 0;
    EXPECT_EQ(getauxval(AT_ENTRY), eh->e_entry + bias);
    EXPECT_EQ(getauxval(AT_BASE), 0); /* static: no interpreter */
}

/* Each program gets 16 bytes of its own. */
CASE(random_bytes)
{
    const char *mine = (const char *)getauxval(AT_RANDOM);
    char theirs[2][16];
    EXPECT(mine != NULL);
    for (int i = 0; i < 2; i++) {
        int fds[2];
        EXPECT_OK(pipe(fds));
        char fd[16];
        snprintf(fd, sizeof(fd), "%d", fds[1]);
        pid_t pid = FORK({
            setenv("PICKET_TEST_RANDOM_FD", fd, 1);
            execl("/proc/self/exe", "auxv", "--no-fork", "helper_random", NULL);
            _exit(1);
        });
        close(fds[1]);
        EXPECT_EQ(read(fds[0], theirs[i], 16), 16);
        EXPECT_EXITED(pid, 0);
    }
    EXPECT(memcmp(theirs[0], theirs[1], 16) != 0);
    EXPECT(memcmp(theirs[0], mine, 16) != 0);
    static const char zero[16];
    EXPECT(memcmp(mine, zero, 16) != 0);
}

CASE(helper_random)
{
    const char *fd = getenv("PICKET_TEST_RANDOM_FD");
    if (fd)
        EXPECT_EQ(write(atoi(fd), (void *)getauxval(AT_RANDOM), 16), 16);
}

CASE(execfn)
{
    const char *name = (const char *)getauxval(AT_EXECFN);
    char fn[4096], exe[4096];
    EXPECT(name != NULL);
    EXPECT(realpath(name, fn) != NULL || name[0] != '/');
    ssize_t n = EXPECT_OK(readlink("/proc/self/exe", exe, sizeof(exe) - 1));
    exe[n] = '\0';
    if (name[0] == '/')
        EXPECT_STREQ(fn, exe);
}

/* HWCAP is CPUID leaf 1, EDX: this kernel runs on a 64-bit machine, which has at least SSE2. */
CASE(hwcap)
{
    /* From the vector: the C library's getauxval makes up an answer of its own. */
    const Elf64_auxv_t *av = vector();
    while (av->a_type != AT_HWCAP)
        av++;
    uint64_t hwcap = av->a_un.a_val;
    EXPECT(hwcap & (1ul << 26));
    unsigned a = 1, b, c, d;
    __asm__("cpuid" : "+a"(a), "=b"(b), "=c"(c), "=d"(d));
    /* The kernel may hide bits that it cannot use, never invent them. */
    EXPECT_EQ(hwcap & ~(uint64_t)d, 0);
}

/* If the kernel says that the FS base can be read without it, then it can. */
CASE(hwcap2_fsgsbase)
{
    if (!(getauxval(AT_HWCAP2) & 2))
        SKIP("no FSGSBASE");
    unsigned long base, arch;
    __asm__ volatile("rdfsbase %0" : "=r"(base));
    EXPECT_OK(syscall(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, &arch));
    EXPECT_EQ(base, arch);
}

static void on_usr1(int sig)
{
    (void)sig;
}

/* A signal stack of the size that the kernel names is enough for its frame and a small handler. */
CASE(minsigstksz)
{
    size_t size = getauxval(AT_MINSIGSTKSZ);
    EXPECT_GE(size, 1024);
    EXPECT_LE(size, 65536);
    size_t room = size + 2048;
    char *stack = malloc(room);
    memset(stack, 0x5a, room);
    stack_t ss = {.ss_sp = stack, .ss_size = room};
    EXPECT_OK(sigaltstack(&ss, NULL));
    struct sigaction sa = {.sa_handler = on_usr1, .sa_flags = SA_ONSTACK};
    EXPECT_OK(sigaction(SIGUSR1, &sa, NULL));
    EXPECT_OK(raise(SIGUSR1));
    EXPECT_EQ(stack[0], 0x5a);
    /* One byte less than the least is refused. */
    ss.ss_size = 2047;
    EXPECT_ERRNO(ENOMEM, sigaltstack(&ss, NULL));
}

/* argv, envp and the vector follow each other, on a stack that was aligned for the program. */
CASE(layout)
{
    const Elf64_auxv_t *av = vector();
    bool null = false;
    for (int i = 0; i < 64 && !null; i++) {
        null = av[i].a_type == AT_NULL;
        if (av[i].a_type == AT_PAGESZ)
            EXPECT_EQ(av[i].a_un.a_val, 4096);
    }
    EXPECT(null);
    /* argc lies right below argv, which ends right below envp. */
    char **envp = environ, **argv_end = envp - 1;
    EXPECT(*argv_end == NULL);
    char **p = argv_end;
    long argc = 0;
    while ((long)p[-1] != argc)
        p--, argc++;
    EXPECT_EQ((uintptr_t)(p - 1) % 16, 0);
    /* Strings lie above everything, in the order argv, envp, path. */
    EXPECT_LT((uintptr_t)av, (uintptr_t)p[0]);
    if (envp[0])
        EXPECT_LT((uintptr_t)p[0], (uintptr_t)envp[0]);
    EXPECT_LT((uintptr_t)p[0], getauxval(AT_EXECFN));
    EXPECT_LT(getauxval(AT_PLATFORM), (uintptr_t)p[0]);
    EXPECT_LT(getauxval(AT_RANDOM), getauxval(AT_PLATFORM));
    EXPECT_GT(getauxval(AT_RANDOM), (uintptr_t)av);
    for (long i = 0; i + 1 < argc; i++)
        EXPECT_EQ(p[i] + strlen(p[i]) + 1 - p[i + 1], 0);
}

/* /proc/self/auxv, or prctl, shows the same. */
CASE(proc_auxv)
{
    char buf[1024];
    int fd = EXPECT_OK(open("/proc/self/auxv", O_RDONLY));
    ssize_t n = EXPECT_OK(read(fd, buf, sizeof(buf)));
    EXPECT_GE(n, 20 * (ssize_t)sizeof(Elf64_auxv_t));
    const Elf64_auxv_t *av = vector();
    for (size_t i = 0; av[i].a_type != AT_NULL; i++)
        EXPECT_MEMEQ(&av[i], buf + i * sizeof(*av), sizeof(*av));
}

CASE(proc_cmdline_and_environ)
{
    char buf[8192];
    int fds[2];
    EXPECT_OK(pipe(fds));
    pid_t pid = FORK({
        dup2(fds[1], STDOUT_FILENO);
        char *envp[] = {"A=1", "B=", NULL};
        execve("/proc/self/exe", (char *[]){"auxv", "--no-fork", "helper_dump", NULL}, envp);
        _exit(1);
    });
    close(fds[1]);
    size_t n = 0;
    ssize_t r;
    while ((r = read(fds[0], buf + n, sizeof(buf) - n)) > 0)
        n += (size_t)r;
    EXPECT_EXITED(pid, 0);
    static const char expected[] = "auxv\0--no-fork\0helper_dump\0A=1\0B=";
    EXPECT_EQ(n, sizeof(expected));
    EXPECT_MEMEQ(buf, expected, n);
}

static void dump(const char *path)
{
    char buf[4096];
    ssize_t n, fd = EXPECT_OK(open(path, O_RDONLY));
    while ((n = read((int)fd, buf, sizeof(buf))) > 0)
        EXPECT_EQ(write(STDOUT_FILENO, buf, (size_t)n), n);
    close((int)fd);
}

CASE(helper_dump)
{
    char name[16];
    if (getenv("A") == NULL || strcmp(getenv("A"), "1") != 0)
        return;
    EXPECT_OK(prctl(PR_GET_NAME, name));
    EXPECT_STREQ(name, "exe");
    dump("/proc/self/cmdline");
    dump("/proc/self/environ");
}

TEST_MAIN
