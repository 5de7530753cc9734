/* proc(5): what programs parse. */
#include "tests/syscalls/test.h"
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char text[1 << 20];

static ssize_t slurp(const char *path)
{
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return -1;
    ssize_t n, total = 0;
    while ((n = read(fd, text + total, sizeof(text) - 1 - (size_t)total)) > 0)
        total += n;
    close(fd);
    text[total] = 0;
    return n < 0 ? -1 : total;
}

/* The value of "Name:\t..." in text. */
static long field(const char *name)
{
    char key[64];
    snprintf(key, sizeof(key), "\n%s:", name);
    char *p = strstr(text, key);
    return p ? strtol(p + strlen(key), NULL, 0) : -1;
}

CASE(self_is_the_reader)
{
    char buf[32] = "", want[32];
    EXPECT(readlink("/proc/self", buf, sizeof(buf) - 1) > 0);
    EXPECT_EQ(atoi(buf), getpid());
    pid_t pid = fork();
    if (pid == 0) {
        ssize_t n = readlink("/proc/self", buf, sizeof(buf) - 1);
        buf[n < 0 ? 0 : n] = 0;
        _exit(atoi(buf) != getpid());
    }
    int status;
    waitpid(pid, &status, 0);
    EXPECT_EQ(status, 0);
    memset(buf, 0, sizeof(buf));
    EXPECT(readlink("/proc/thread-self", buf, sizeof(buf) - 1) > 0);
    snprintf(want, sizeof(want), "%d/task/%ld", getpid(), syscall(SYS_gettid));
    EXPECT(strcmp(buf, want) == 0);
}

CASE(stat_has_its_52_fields)
{
    EXPECT(slurp("/proc/self/stat") > 0);
    EXPECT_EQ(atoi(text), getpid());
    char *p = strrchr(text, ')');
    EXPECT(p && p[1] == ' ' && p[2] == 'R');
    int fields = 2;
    for (char *s = strtok(p + 2, " \n"); s; s = strtok(NULL, " \n")) {
        fields++;
        if (fields == 4)
            EXPECT_EQ(atoi(s), getppid());
        if (fields == 20)
            EXPECT_EQ(atoi(s), 1);
    }
    EXPECT_EQ(fields, 52);
}

CASE(status)
{
    EXPECT(slurp("/proc/self/status") > 0);
    EXPECT_EQ(field("Pid"), getpid());
    EXPECT_EQ(field("Tgid"), getpid());
    EXPECT_EQ(field("PPid"), getppid());
    EXPECT_EQ(field("Threads"), 1);
    EXPECT_EQ(field("Uid"), getuid());
    EXPECT(field("VmRSS") > 0);
    EXPECT(field("VmSize") >= field("VmRSS"));
    EXPECT(strstr(text, "\nSigBlk:\t0000000000000000\n") != NULL);
    EXPECT(strstr(text, "\nState:\tR (running)\n") != NULL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR1);
    signal(SIGUSR2, SIG_IGN);
    EXPECT(slurp("/proc/self/status") > 0);
    EXPECT(strstr(text, "\nSigBlk:\t0000000000000200\n") != NULL);
    char *ign = strstr(text, "\nSigIgn:\t");
    EXPECT(ign && strtoull(ign + 9, NULL, 16) & 0x800);
}

CASE(comm)
{
    EXPECT_EQ(prctl(PR_SET_NAME, "a name"), 0);
    EXPECT(slurp("/proc/self/comm") > 0);
    EXPECT(strcmp(text, "a name\n") == 0);
    int fd = open("/proc/self/comm", O_WRONLY);
    EXPECT_EQ(write(fd, "another one that is long", 24), 24);
    close(fd);
    char name[16];
    EXPECT_EQ(prctl(PR_GET_NAME, name), 0);
    EXPECT(strcmp(name, "another one tha") == 0);
}

CASE(maps_show_mappings)
{
    char *p = mmap(NULL, 3 * 4096, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    mprotect(p + 4096, 4096, PROT_READ | PROT_WRITE);
    EXPECT(slurp("/proc/self/maps") > 0);
    char want[64];
    snprintf(want, sizeof(want), "%lx-%lx r--s ", (long)p, (long)p + 4096);
    EXPECT(strstr(text, want) != NULL);
    snprintf(want, sizeof(want), "%lx-%lx rw-s ", (long)p + 4096, (long)p + 8192);
    EXPECT(strstr(text, want) != NULL);
    char *stack = strstr(text, "[stack]\n");
    EXPECT(stack != NULL);
    while (stack > text && stack[-1] != '\n')
        stack--;
    EXPECT_EQ(strstr(stack, "[stack]") - stack, 73);
    EXPECT(slurp("/proc/self/smaps") > 0);
    EXPECT(strstr(text, "\nVmFlags: ") != NULL);
}

CASE(file_in_maps)
{
    char path[] = "/tmp/proc-test-XXXXXX", want[64];
    int fd = mkstemp(path);
    EXPECT_EQ(ftruncate(fd, 8192), 0);
    char *p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 4096);
    EXPECT(slurp("/proc/self/maps") > 0);
    snprintf(want, sizeof(want), "%lx-%lx r--p 00001000 ", (long)p, (long)p + 4096);
    char *line = strstr(text, want);
    EXPECT(line != NULL);
    EXPECT(line && strncmp(line + 73, path, strlen(path)) == 0);
    unlink(path);
    EXPECT(slurp("/proc/self/maps") > 0);
    line = strstr(text, want);
    EXPECT(line && strstr(line, " (deleted)\n") != NULL);
}

CASE(cmdline_environ_auxv)
{
    EXPECT(slurp("/proc/self/cmdline") > 0);
    EXPECT(text[0] != 0);
    EXPECT(slurp("/proc/self/environ") >= 0);
    ssize_t n = slurp("/proc/self/auxv");
    EXPECT(n > 0 && n % 16 == 0);
    unsigned long *aux = (unsigned long *)text;
    bool page_size = false;
    for (ssize_t k = 0; k < n / 16; k++) {
        if (aux[2 * k] == 6)
            page_size = aux[2 * k + 1] == 4096;
    }
    EXPECT(page_size);
}

CASE(fd_links)
{
    int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC), seen = 0;
    char path[64], target[64] = "";
    struct stat a, b;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    EXPECT_EQ(readlink(path, target, 63), 11);
    EXPECT(strcmp(target, "/etc/passwd") == 0);
    EXPECT_EQ(lstat(path, &a), 0);
    EXPECT_EQ(a.st_mode, S_IFLNK | 0500);
    EXPECT_EQ(stat(path, &a), 0);
    EXPECT_EQ(fstat(fd, &b), 0);
    EXPECT(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
    DIR *d = opendir("/proc/self/fd");
    struct dirent *e;
    while ((e = readdir(d)))
        seen += atoi(e->d_name) == fd && e->d_name[0] != '.';
    closedir(d);
    EXPECT_EQ(seen, 1);
    lseek(fd, 7, SEEK_SET);
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    EXPECT(slurp(path) > 0);
    EXPECT(strncmp(text, "pos:\t7\n", 7) == 0);
    EXPECT_EQ(strtol(strstr(text, "flags:\t") + 7, NULL, 8) & (O_ACCMODE | O_CLOEXEC), O_CLOEXEC);
    close(fd);
    EXPECT_ERRNO(ENOENT, readlink(path, target, 63));
}

CASE(exe_cwd_root)
{
    char buf[256] = "", cwd[256];
    EXPECT(readlink("/proc/self/exe", buf, 255) > 0);
    EXPECT(strstr(buf, "proc") != NULL);
    int fd = open("/proc/self/exe", O_RDONLY);
    EXPECT_EQ(read(fd, buf, 4), 4);
    EXPECT(memcmp(buf, "\177ELF", 4) == 0);
    EXPECT_EQ(chdir("/usr"), 0);
    memset(buf, 0, sizeof(buf));
    EXPECT_EQ(readlink("/proc/self/cwd", buf, 255), 4);
    EXPECT(strcmp(buf, "/usr") == 0);
    EXPECT(getcwd(cwd, sizeof(cwd)) != NULL);
    EXPECT_EQ(readlink("/proc/self/root", buf, 255), 1);
}

static void *linger(void *arg)
{
    read(*(int *)arg, text, 1);
    return NULL;
}

CASE(threads)
{
    int fds[2], seen = 0;
    pthread_t t;
    EXPECT_EQ(pipe(fds), 0);
    EXPECT_EQ(pthread_create(&t, NULL, linger, &fds[0]), 0);
    DIR *d = opendir("/proc/self/task");
    struct dirent *e;
    while ((e = readdir(d)))
        seen += e->d_name[0] != '.';
    closedir(d);
    EXPECT_EQ(seen, 2);
    EXPECT(slurp("/proc/self/status") > 0);
    EXPECT_EQ(field("Threads"), 2);
    EXPECT_EQ(write(fds[1], "x", 1), 1);
    pthread_join(t, NULL);
}

CASE(zombie)
{
    char path[64];
    pid_t pid = fork();
    if (pid == 0)
        _exit(3);
    siginfo_t info;
    EXPECT_EQ(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    EXPECT(slurp(path) > 0);
    EXPECT_EQ(strrchr(text, ')')[2], 'Z');
    snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
    EXPECT_EQ(slurp(path), 0);
    snprintf(path, sizeof(path), "/proc/%d", pid);
    int fd = open(path, O_RDONLY | O_DIRECTORY);
    EXPECT_EQ(waitpid(pid, NULL, 0), pid);
    EXPECT_ERRNO(ENOENT, open(path, O_RDONLY));
    EXPECT(openat(fd, "stat", O_RDONLY) < 0);
}

CASE(rereading)
{
    char a[64] = "", b[64] = "";
    prctl(PR_SET_NAME, "first");
    int fd = open("/proc/self/comm", O_RDONLY);
    EXPECT_EQ(read(fd, a, 63), 6);
    prctl(PR_SET_NAME, "second");
    EXPECT_EQ(pread(fd, b, 63, 0), 7);
    EXPECT_EQ(lseek(fd, 0, SEEK_SET), 0);
    memset(b, 0, sizeof(b));
    EXPECT_EQ(read(fd, b, 3), 3);
    EXPECT_EQ(read(fd, b + 3, 60), 4);
    EXPECT(strcmp(b, "second\n") == 0);
    close(fd);
}

CASE(memory_file)
{
    volatile long v = 42;
    long got = 0, put = 43;
    int fd = open("/proc/self/mem", O_RDWR);
    EXPECT(fd >= 0);
    EXPECT_EQ(pread(fd, &got, sizeof(got), (off_t)(uintptr_t)&v), sizeof(got));
    EXPECT_EQ(got, 42);
    EXPECT_EQ(pwrite(fd, &put, sizeof(put), (off_t)(uintptr_t)&v), sizeof(put));
    EXPECT_EQ(v, 43);
    EXPECT_ERRNO(EIO, pread(fd, &got, 8, 8));
    close(fd);
}

CASE(system_files)
{
    static const char *const paths[] = {
        "/proc/cpuinfo",
        "/proc/stat",
        "/proc/loadavg",
        "/proc/uptime",
        "/proc/version",
        "/proc/filesystems",
        "/proc/mounts",
        "/proc/self/mountinfo",
        "/proc/self/limits",
        "/proc/self/statm",
        "/proc/self/cgroup",
        "/proc/sys/kernel/osrelease",
        "/proc/sys/kernel/hostname",
        "/proc/sys/kernel/random/boot_id",
        "/proc/sys/fs/nr_open",
        "/proc/sys/vm/overcommit_memory",
        "/sys/devices/system/cpu/online",
    };
    for (size_t k = 0; k < sizeof(paths) / sizeof(*paths); k++) {
        ssize_t n = slurp(paths[k]);
        EXPECT(n > 0);
        EXPECT(n > 0 && text[n - 1] == '\n');
    }
    EXPECT(slurp("/proc/meminfo") > 0);
    EXPECT(strncmp(text, "MemTotal:", 9) == 0);
    EXPECT(field("MemFree") > 0);
    EXPECT(field("MemAvailable") > 0);
    EXPECT(slurp("/proc/sys/kernel/random/uuid") == 37);
    char first[64];
    strcpy(first, text);
    slurp("/proc/sys/kernel/random/uuid");
    EXPECT(strcmp(first, text) != 0);
    slurp("/proc/sys/kernel/random/boot_id");
    strcpy(first, text);
    slurp("/proc/sys/kernel/random/boot_id");
    EXPECT(strcmp(first, text) == 0);
}

CASE(hostile_names)
{
    static const char *const bad[] = {
        "/proc/0",           "/proc/-1",          "/proc/01",         "/proc/99999999999999",
        "/proc/1x",          "/proc/self/fd/-1",  "/proc/self/fd/00", "/proc/self/fd/4294967296",
        "/proc/self/task/0", "/proc/self/nothing"};
    struct stat st;
    for (size_t k = 0; k < sizeof(bad) / sizeof(*bad); k++)
        EXPECT_ERRNO(ENOENT, stat(bad[k], &st));
    EXPECT(open("/proc/self/newfile", O_CREAT | O_RDWR, 0600) < 0);
    EXPECT(mkdir("/proc/newdir", 0700) < 0);
    EXPECT(unlink("/proc/self/comm") < 0);
    EXPECT(rename("/proc/self/comm", "/proc/self/other") < 0);
}

TEST_MAIN
