/*
 * What the tests of ptrace(2) share.
 */
#ifndef PICKET_TESTS_SYSCALLS_PTRACE_H
#define PICKET_TESTS_SYSCALLS_PTRACE_H

#include "tests/syscalls/test.h"
#include <elf.h>
#include <linux/ptrace.h>
#include <stddef.h>
#include <sys/uio.h>
#include <sys/user.h>

#ifndef PTRACE_GETREGS
#define PTRACE_GETREGS 12
#define PTRACE_SETREGS 13
#define PTRACE_GETFPREGS 14
#define PTRACE_SETFPREGS 15
#define PTRACE_SYSEMU 31
#define PTRACE_SYSEMU_SINGLESTEP 32
#endif
#ifndef PTRACE_PEEKUSER
#define PTRACE_PEEKUSER 3
#define PTRACE_POKEUSER 6
#endif

/* The system call itself: a request that peeks writes to data. */
TEST_UNUSED static long trace(long request, pid_t pid, unsigned long addr, unsigned long data)
{
    return syscall(SYS_ptrace, request, pid, addr, data);
}
#define P(pointer) ((unsigned long)(pointer))

TEST_UNUSED static int wait_all(pid_t pid)
{
    int status = 0;
    pid_t r;
    do
        r = waitpid(pid, &status, __WALL);
    while (r < 0 && errno == EINTR);
    if (r != pid)
        FAIL("waitpid(%d) returned %d: %s", (int)pid, (int)r, strerror(errno));
    return status;
}

#define STOPPED_BY(sig) ((sig) << 8 | 0x7f)
#define STOPPED_AT(event) ((SIGTRAP | (event) << 8) << 8 | 0x7f)
#define EXPECT_STOP(pid, status) EXPECT_EQ(wait_all(pid), status)

/* A child that is traced and stopped, and goes on with its body:  pid_t p = TRACED({ ... }); */
#define TRACED(...)                                                                                \
    ({                                                                                             \
        pid_t traced_pid_ = FORK({                                                                 \
            EXPECT_OK(trace(PTRACE_TRACEME, 0, 0, 0));                                             \
            raise(SIGSTOP);                                                                        \
            __VA_ARGS__                                                                            \
        });                                                                                        \
        EXPECT_STOP(traced_pid_, STOPPED_BY(SIGSTOP));                                             \
        traced_pid_;                                                                               \
    })

TEST_UNUSED static struct user_regs_struct get_regs(pid_t pid)
{
    struct user_regs_struct regs;
    EXPECT_OK(trace(PTRACE_GETREGS, pid, 0, P(&regs)));
    return regs;
}

TEST_UNUSED static unsigned long peek(pid_t pid, const volatile void *addr)
{
    unsigned long word;
    EXPECT_OK(trace(PTRACE_PEEKDATA, pid, P(addr), P(&word)));
    return word;
}

TEST_UNUSED static unsigned long event_message(pid_t pid)
{
    unsigned long message;
    EXPECT_OK(trace(PTRACE_GETEVENTMSG, pid, 0, P(&message)));
    return message;
}

/* A line of /proc/PID/status, behind the tab. */
TEST_UNUSED static const char *status_of(pid_t pid, const char *name)
{
    static char line[256];
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    EXPECT(f != NULL);
    while (fgets(line, sizeof(line), f)) {
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':') {
            fclose(f);
            line[strcspn(line, "\n")] = '\0';
            return line + strlen(name) + 2;
        }
    }
    fclose(f);
    return "";
}

#endif
