/*
 * Stub processes: getting them, giving their keepers work, getting rid of them.
 */
#include "base/log.h"
#include "platform/ptrace/ptrace.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_IDLE_PROCESSES 8
/* What the death watch writes to an event descriptor: more than any keeper does. */
#define EVENT_DEAD (1ull << 32)

static struct stub_page *slot_page(struct ptrace_platform *p, uint32_t slot)
{
    return (struct stub_page *)(p->commands + STUB_CODE_SIZE + (size_t)slot * STUB_PAGE_SIZE);
}

static int slot_get(struct ptrace_platform *p, uint32_t *slot)
{
    MUTEX_GUARD(&p->lock);
    if (p->nfree == 0)
        return -EAGAIN;
    *slot = p->free_slots[--p->nfree];
    p->slots_used = MAX(p->slots_used, *slot + 1);
    return 0;
}

static void slot_put(struct ptrace_platform *p, uint32_t slot)
{
    MUTEX_GUARD(&p->lock);
    p->free_slots[p->nfree++] = slot;
}

void stub_process_hold(struct stub_process *sp)
{
    ref_get(&sp->ref);
}

void stub_process_put(struct stub_process *sp)
{
    if (!ref_put(&sp->ref))
        return;
    guard_clear(sp);
    park_clear(sp);
    mutex_destroy(&sp->lock);
    free(sp);
}

/* Everything but the process itself. */
static int stub_process_alloc(struct ptrace_platform *p, struct stub_process **out)
{
    struct stub_process *sp = calloc(1, sizeof(*sp));
    if (!sp)
        return -ENOMEM;
    int err = slot_get(p, &sp->slot);
    if (err) {
        free(sp);
        return err;
    }
    sp->event_fd = eventfd(0, EFD_CLOEXEC);
    if (sp->event_fd < 0) {
        err = -errno;
        slot_put(p, sp->slot);
        free(sp);
        return err;
    }
    sp->platform = p;
    sp->pidfd = -1;
    sp->uffd = -1;
    sp->cpu = -1;
    ref_init(&sp->ref);
    mutex_init(&sp->lock, LOCK_PLATFORM);
    range_set_init(&sp->guard.ranges);
    range_set_init(&sp->park.ranges);
    list_init(&sp->threads);
    list_init(&sp->pool_link);
    sp->page = slot_page(p, sp->slot);
    atomic_store(&sp->page->generation, 0);
    sp->page->event_fd = sp->event_fd;
    sp->page->report_fd = p->report_fd;
    *out = sp;
    return 0;
}

static void stub_process_free(struct stub_process *sp)
{
    struct ptrace_platform *p = sp->platform;
    if (sp->pidfd >= 0)
        close(sp->pidfd);
    if (sp->uffd >= 0)
        close(sp->uffd);
    close(sp->event_fd);
    slot_put(p, sp->slot);
    stub_process_put(sp);
}

/* The service thread will see the process die. */
static int stub_process_watch(struct stub_process *sp)
{
    struct ptrace_platform *p = sp->platform;
    sp->pidfd = (int)syscall(SYS_pidfd_open, sp->pid, 0);
    if (sp->pidfd < 0)
        return -errno;
    MUTEX_GUARD(&p->lock);
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = sp->slot};
    if (epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, sp->pidfd, &ev) < 0)
        return -errno;
    p->by_slot[sp->slot] = sp;
    return 0;
}

static bool is_alive(struct stub_process *sp)
{
    struct pollfd pfd = {.fd = sp->pidfd, .events = POLLIN};
    return poll(&pfd, 1, 0) == 0 && !atomic_load(&sp->dead);
}

/* p->lock held. */
static void mark_dead(struct ptrace_platform *p, struct stub_process *sp)
{
    p->by_slot[sp->slot] = NULL;
    epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, sp->pidfd, NULL);
    log_warn("stub process %d was killed", sp->pid);
    atomic_store(&sp->dead, true);
    uint64_t v = EVENT_DEAD;
    if (write(sp->event_fd, &v, sizeof(v)) < 0)
        panic("telling of a dead stub: %d", errno);
}

/*
 * A killed process is not gone, and its pidfd says nothing, before every traced thread in it has
 * been waited for by its tracer, who may be the one that waits for the keeper. /proc knows.
 */
static bool keeper_is_zombie(struct stub_process *sp)
{
    char text[256];
    snprintf(text, sizeof(text), "/proc/%d/stat", sp->pid);
    int fd = open(text, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    const char *state = strrchr(text, ')');
    return state && (state[2] == 'Z' || state[2] == 'X');
}

/* Tasks that sleep and will never run again in sp hear of it. */
static void tell_users(struct stub_process *sp)
{
    MUTEX_GUARD(&sp->lock);
    struct stub_thread *st;
    list_for_each (st, &sp->threads, process_link)
        if (st->user && st->user->on_death)
            st->user->on_death(st->user->on_death_arg);
}

/* With a reference, if it has just died. */
static struct stub_process *take_dead(struct ptrace_platform *p, uint32_t slot, bool zombies)
{
    MUTEX_GUARD(&p->lock);
    struct stub_process *sp = p->by_slot[slot];
    /* Alive: an event that waited while the slot changed hands. */
    if (!sp || (is_alive(sp) && !(zombies && keeper_is_zombie(sp))))
        return NULL;
    mark_dead(p, sp);
    stub_process_hold(sp);
    return sp;
}

static void bury(struct ptrace_platform *p, uint32_t slot, bool zombies)
{
    struct stub_process *sp = take_dead(p, slot, zombies);
    if (!sp)
        return;
    /* Whoever holds its lock while he waits for the keeper waits no longer. */
    tell_users(sp);
    stub_process_put(sp);
}

/* The death watch: whoever waits for the keeper's answer waits no longer. */
void stub_process_noticed_dead(struct ptrace_platform *p, uint32_t slot)
{
    bury(p, slot, false);
}

/* How many slots there are to search for a process of which a task uses that thread. */
static uint32_t slots_to_search(struct ptrace_platform *p, pid_t tid)
{
    MUTEX_GUARD(&p->lock);
    struct host_thread *h;
    list_for_each (h, &p->host_threads, link)
        if (placement_uses(&p->placement, &h->placed, tid))
            return p->slots_used;
    return 0;
}

void stub_process_noticed_kill(struct ptrace_platform *p, pid_t tid)
{
    uint32_t n = slots_to_search(p, tid);
    for (uint32_t i = 0; i < n; i++)
        bury(p, i, true);
}

#define STUCK_TICKS 10

bool stub_process_unstick_all(struct ptrace_platform *p)
{
    bool any = false;
    MUTEX_GUARD(&p->lock);
    for (uint32_t i = 0; i < p->slots_used; i++) {
        struct stub_process *sp = p->by_slot[i];
        if (!sp)
            continue;
        sp->waited = atomic_load_explicit(&sp->waiting, memory_order_relaxed) ? sp->waited + 1 : 0;
        any |= sp->waited > 0;
        if (sp->waited >= STUCK_TICKS) {
            sp->waited = 0;
            if (keeper_is_zombie(sp))
                mark_dead(p, sp);
            else
                kill(sp->pid, SIGCONT);
        }
    }
    return any;
}

void stub_reap(pid_t tid)
{
    int status;
    do {
        while (waitpid(tid, &status, __WALL) < 0)
            if (errno != EINTR)
                return;
    } while (!WIFEXITED(status) && !WIFSIGNALED(status));
}

/*
 * Ends the process and all its threads, and waits until they are gone. The caller's reference goes
 * with it; stub threads that host threads still remember keep the structure.
 */
void stub_process_kill(struct stub_process *sp)
{
    struct ptrace_platform *p = sp->platform;
    mutex_lock(&p->lock);
    if (p->by_slot[sp->slot] == sp) {
        p->by_slot[sp->slot] = NULL;
        epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, sp->pidfd, NULL);
    }
    mutex_unlock(&p->lock);

    mutex_lock(&sp->lock);
    atomic_store(&sp->dead, true);
    if (sp->pid > 0)
        kill(sp->pid, SIGKILL);
    while (!list_empty(&sp->threads)) {
        struct stub_thread *st = list_first(&sp->threads, struct stub_thread, process_link);
        stub_reap(st->tid);
        atomic_store(&st->gone, true);
        list_del(&st->process_link);
    }
    if (sp->pid > 0)
        stub_reap(sp->pid);
    mutex_unlock(&sp->lock);
    stub_process_free(sp);
}

/* Wakes the keeper on the caller's CPU, if that is fixed: waking another one costs ten times more.
 */
static void keep_near(struct stub_process *sp)
{
    struct host_thread *h = host_thread_current(sp->platform);
    int cpu = h ? placed_cpu(&h->placed) : -1;
    if (cpu >= 0 && cpu != sp->cpu && placement_pin(&sp->platform->placement, sp->pid, cpu) == 0)
        sp->cpu = cpu;
}

int stub_process_run(struct stub_process *sp, size_t n)
{
    lock_assert_held(&sp->lock);
    if (atomic_load(&sp->dead))
        return -ESRCH;
    keep_near(sp);
    placement_arm(&sp->platform->placement);
    sp->page->count = (uint32_t)n;
    atomic_fetch_add(&sp->page->generation, 1);
    syscall(SYS_futex, &sp->page->generation, FUTEX_WAKE, 1, NULL, NULL, 0);
    atomic_store_explicit(&sp->waiting, true, memory_order_relaxed);
    uint64_t answer;
    while (read(sp->event_fd, &answer, sizeof(answer)) < 0)
        if (errno != EINTR)
            panic("reading a keeper's answer: %d", errno);
    atomic_store_explicit(&sp->waiting, false, memory_order_relaxed);
    if (answer >= EVENT_DEAD)
        return -ESRCH;
    return 1 - (int)answer;
}

int stub_process_report(struct stub_process *sp, const struct stub_op *op, int *result)
{
    struct ptrace_platform *p = sp->platform;
    MUTEX_GUARD(&p->report_lock);
    sp->page->ops[0] = *op;
    int err = stub_process_run(sp, 1);
    if (err)
        return err;
    *result = (int)lseek(p->report_fd, 0, SEEK_CUR);
    return 0;
}

int stub_process_new_master(struct ptrace_platform *p, struct stub_process **out)
{
    struct stub_process *sp;
    p->boot_step = "eventfd";
    int err = stub_process_alloc(p, &sp);
    if (err)
        return err;
    sp->pid = stub_master_fork(p, sp->slot, &p->boot_step);
    if (sp->pid < 0) {
        err = sp->pid;
        stub_process_free(sp);
        return err;
    }
    p->boot_step = "pidfd_open";
    err = stub_process_watch(sp);
    if (err) {
        stub_process_kill(sp);
        return err;
    }
    p->boot_step = "starting the first stub process";
    *out = sp;
    return 0;
}

struct stub_process *stub_process_master(struct ptrace_platform *p)
{
    MUTEX_GUARD(&p->lock);
    stub_process_hold(p->master);
    return p->master;
}

static int master_fork(struct ptrace_platform *p, struct stub_process *child)
{
    const struct stub_op op = {
        .nr = SYS_clone,
        .args = {CLONE_PARENT | CLONE_FILES, 0, 0, 0,
                 STUB_CODE_SIZE + (uint64_t)child->slot * STUB_PAGE_SIZE,
                 (uint64_t)(uint32_t)p->command_fd | (uint64_t)p->pid << 32},
        .flags = STUB_OP_REPORT | STUB_OP_FORK,
    };
    struct stub_process *master = stub_process_master(p);
    mutex_lock(&master->lock);
    int err = stub_process_report(master, &op, &child->pid);
    child->cpu = master->cpu;
    mutex_unlock(&master->lock);
    stub_process_put(master);
    return err;
}

static struct stub_process *pool_get(struct ptrace_platform *p)
{
    MUTEX_GUARD(&p->lock);
    struct stub_process *sp = list_first(&p->idle, struct stub_process, pool_link);
    if (sp) {
        list_del(&sp->pool_link);
        p->nidle--;
    }
    return sp;
}

int stub_process_get(struct ptrace_platform *p, struct stub_process **out)
{
    struct stub_process *sp;
    while ((sp = pool_get(p))) {
        if (is_alive(sp)) {
            *out = sp;
            return 0;
        }
        stub_process_kill(sp);
    }

    int err = stub_process_alloc(p, &sp);
    if (err)
        return err;
    err = master_fork(p, sp);
    if (err == -ESRCH) {
        err = service_make_master(p);
        if (!err)
            err = master_fork(p, sp);
    }
    if (err) {
        stub_process_free(sp);
        return err;
    }
    err = stub_process_watch(sp);
    if (err) {
        stub_process_kill(sp);
        return err;
    }
    *out = sp;
    return 0;
}

void stub_process_recycle(struct stub_process *sp)
{
    struct ptrace_platform *p = sp->platform;
    mutex_lock(&p->lock);
    bool keep = p->nidle < MAX_IDLE_PROCESSES && !atomic_load(&sp->dead);
    if (keep) {
        list_add(&p->idle, &sp->pool_link);
        p->nidle++;
    }
    mutex_unlock(&p->lock);
    if (!keep)
        stub_process_kill(sp);
}
