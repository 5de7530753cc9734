/*
 * What the tests of System V IPC share: a key nobody else uses, waiting for somebody to sleep,
 * another user.
 */
#ifndef PICKET_TESTS_SYSCALLS_IPC_H
#define PICKET_TESTS_SYSCALLS_IPC_H

#include "tests/syscalls/test.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/prctl.h>
#include <time.h>

TEST_UNUSED static void *volatile bad_address = (void *)8;

/* A namespace of our own where that is possible, so that nobody else's objects are in the way. */
TEST_UNUSED static void own_ipc(void)
{
    if (unshare(CLONE_NEWIPC) < 0)
        errno = 0;
}

TEST_UNUSED static key_t own_key(void)
{
    static int n;
    return (key_t)(0x50000000 + getpid() * 8 + n++ % 8);
}

TEST_UNUSED static void become(uid_t uid, gid_t gid)
{
    EXPECT_OK(setresgid(gid, gid, gid));
    EXPECT_OK(setresuid(uid, uid, uid));
}

/* Until the process sleeps. */
TEST_UNUSED static void wait_asleep(pid_t pid)
{
    char path[64], state = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    for (int i = 0; i < 2000 && state != 'S'; i++) {
        usleep(2000);
        FILE *f = fopen(path, "r");
        EXPECT(f != NULL);
        EXPECT_EQ(fscanf(f, "%*d (%*[^)]) %c", &state), 1);
        fclose(f);
    }
    EXPECT_EQ(state, 'S');
}

TEST_UNUSED static void on_signal(TEST_UNUSED int sig)
{
}

TEST_UNUSED static void catch (int sig, int flags)
{
    struct sigaction sa = {.sa_handler = on_signal, .sa_flags = flags};
    EXPECT_OK(sigaction(sig, &sa, NULL));
}

TEST_UNUSED static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* The line of /proc/sysvipc/NAME about an identifier, or NULL. */
TEST_UNUSED static char *proc_line(const char *name, int id)
{
    static char line[512];
    char path[64];
    snprintf(path, sizeof(path), "/proc/sysvipc/%s", name);
    FILE *f = fopen(path, "r");
    EXPECT(f != NULL);
    while (fgets(line, sizeof(line), f)) {
        int key, got;
        if (sscanf(line, "%d %d", &key, &got) == 2 && got == id) {
            fclose(f);
            return line;
        }
    }
    fclose(f);
    return NULL;
}

TEST_UNUSED static unsigned long long proc_number(const char *path)
{
    unsigned long long v = 0;
    FILE *f = fopen(path, "r");
    EXPECT(f != NULL);
    EXPECT_EQ(fscanf(f, "%llu", &v), 1);
    fclose(f);
    return v;
}

TEST_UNUSED static int proc_write(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    if (fd < 0)
        return -1;
    int r = write(fd, text, strlen(text)) < 0 ? -1 : 0;
    int saved = errno;
    close(fd);
    errno = saved;
    return r;
}

#endif
