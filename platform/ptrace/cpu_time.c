/*
 * How much CPU time application code used in a context. The host counts it for each stub thread;
 * the only place where it tells one process about a thread of another is /proc. We ask when the
 * application asks, and when a stub thread changes hands; but not for a context that has had its
 * thread for a moment only: to ask costs as much as it can have used. What it used is counted for
 * the stub thread's next context.
 */
#include "platform/ptrace/ptrace.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define MOMENT_NS 500000u

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Nanoseconds that the thread used since it was made; 0 if it is gone. */
static uint64_t thread_cpu(pid_t process, pid_t tid)
{
    char text[128];
    snprintf(text, sizeof(text), "/proc/%d/task/%d/schedstat", process, tid);
    int fd = open(text, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return strtoull(text, NULL, 10);
}

/* cpu_lock held. */
static void catch_up(struct ptrace_context *c)
{
    if (!c->cpu_tid || now_ns() - c->cpu_since < MOMENT_NS)
        return;
    uint64_t now = thread_cpu(c->cpu_process, c->cpu_tid);
    if (now > c->cpu_seen) {
        c->cpu_used += now - c->cpu_seen;
        c->cpu_seen = now;
    }
}

void cpu_time_attach(struct ptrace_context *c)
{
    MUTEX_GUARD(&c->cpu_lock);
    c->cpu_process = c->stub->process->pid;
    c->cpu_tid = c->stub->tid;
    c->cpu_seen = c->stub->cpu_used;
    c->cpu_since = now_ns();
}

void cpu_time_detach(struct ptrace_context *c, bool last)
{
    MUTEX_GUARD(&c->cpu_lock);
    if (!last)
        catch_up(c);
    c->stub->cpu_used = c->cpu_seen;
    c->cpu_tid = 0;
}

uint64_t ptrace_context_cpu_time(struct context *base)
{
    struct ptrace_context *c = container_of(base, struct ptrace_context, base);
    MUTEX_GUARD(&c->cpu_lock);
    catch_up(c);
    return c->cpu_used;
}
