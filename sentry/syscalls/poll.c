/*
 * poll, ppoll, select, pselect6.
 */
#include "sentry/syscalls/poll.h"
#include "sentry/kernel/timer.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/vfs.h"
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/personality.h>

#define ON_STACK 16
#define NSEC_PER_SEC 1000000000ll
#define ALWAYS (EPOLLERR | EPOLLHUP)

/* ---- shared with epoll ---- */

const ktime_t *poll_deadline_ms(int ms, ktime_t *at)
{
    if (ms < 0)
        return NULL;
    *at = ms ? ktime_after((int64_t)ms * 1000000) : 0;
    return at;
}

static const ktime_t *deadline_of(const struct timespec *ts, ktime_t *at)
{
    int64_t ns;
    if (__builtin_mul_overflow((int64_t)ts->tv_sec, NSEC_PER_SEC, &ns) ||
        __builtin_add_overflow(ns, (int64_t)ts->tv_nsec, &ns))
        ns = INT64_MAX;
    *at = ns ? ktime_after(ns) : 0;
    return at;
}

static bool timespec_valid(const struct timespec *ts)
{
    return ts->tv_sec >= 0 && ts->tv_nsec >= 0 && ts->tv_nsec < NSEC_PER_SEC;
}

int poll_deadline_timespec(struct task *t, gva_t addr, const ktime_t **at)
{
    struct timespec ts;
    ktime_t *room = (ktime_t *)(uintptr_t)*at;
    *at = NULL;
    if (!addr)
        return 0;
    if (MM_COPY_IN(t->mm, &ts, addr))
        return -EFAULT;
    if (!timespec_valid(&ts))
        return -EINVAL;
    *at = deadline_of(&ts, room);
    return 0;
}

int poll_set_mask(struct task *t, gva_t addr, uint64_t size)
{
    sigset64_t mask;
    if (!addr)
        return 0;
    if (size != sizeof mask)
        return -EINVAL;
    if (MM_COPY_IN(t->mm, &mask, addr))
        return -EFAULT;
    signal_set_temporary_mask(t, mask);
    return 0;
}

/* ---- waiting for several files ---- */

struct watch {
    struct file *f;
    uint32_t events, ready;
    struct wait_queue *q;
    struct wait_entry w;
};

static int watches_look(struct watch *ws, size_t n)
{
    int count = 0;
    for (size_t i = 0; i < n; i++) {
        if (ws[i].f)
            ws[i].ready = file_poll(ws[i].f, ws[i].events | ALWAYS) & (ws[i].events | ALWAYS);
        count += ws[i].ready != 0;
    }
    return count;
}

/* Waits until something is ready. How many are, or 0 after the deadline, or -ERESTARTSYS. */
static int watches_wait(struct task *t, struct watch *ws, size_t n, const ktime_t *deadline)
{
    int count = watches_look(ws, n), err = 0;
    if (count)
        return count;
    if (deadline && *deadline == 0) /* a signal counts, though there is no waiting */
        return task_interrupted(t) ? -ERESTARTSYS : 0;
    for (size_t i = 0; i < n; i++) {
        ws[i].q = ws[i].f ? file_poll_queue(ws[i].f) : NULL;
        if (!ws[i].q)
            continue;
        wait_entry_init_task(&ws[i].w, t, ws[i].events | ALWAYS);
        wait_add(ws[i].q, &ws[i].w);
    }
    while (!(count = watches_look(ws, n)) && !err)
        err = task_block(t, deadline);
    for (size_t i = 0; i < n; i++)
        if (ws[i].q)
            wait_remove(ws[i].q, &ws[i].w);
    return count || err == -ETIMEDOUT ? count : err;
}

static void watches_release(struct watch *ws, size_t n)
{
    for (size_t i = 0; i < n; i++)
        file_put(ws[i].f);
}

/* ---- poll ---- */

static void watches_open(struct task *t, struct watch *ws, const struct pollfd *fds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ws[i] = (struct watch){.events = (uint16_t)fds[i].events};
        if (fds[i].fd < 0)
            continue;
        ws[i].f = fd_get(t, fds[i].fd);
        ws[i].ready = ws[i].f ? 0 : POLLNVAL;
    }
}

static long poll_with(struct task *t, gva_t addr, struct pollfd *fds, struct watch *ws, size_t n,
                      const ktime_t *deadline)
{
    if (mm_copy_in(t->mm, fds, addr, n * sizeof *fds))
        return -EFAULT;
    watches_open(t, ws, fds, n);
    long r = watches_wait(t, ws, n, deadline);
    watches_release(ws, n);
    for (size_t i = 0; r >= 0 && i < n; i++) {
        uint16_t revents = (uint16_t)ws[i].ready;
        gva_t to = addr + i * sizeof *fds + offsetof(struct pollfd, revents);
        if (MM_COPY_OUT(t->mm, to, &revents))
            r = -EFAULT;
    }
    return r;
}

static long do_poll(struct task *t, gva_t addr, uint64_t n, const ktime_t *deadline)
{
    struct pollfd fds[ON_STACK];
    struct watch ws[ON_STACK];
    if (n > task_rlimit(t, RLIMIT_NOFILE))
        return -EINVAL;
    if (n <= ON_STACK)
        return poll_with(t, addr, fds, ws, n, deadline);
    struct pollfd *many_fds = calloc(n, sizeof *many_fds);
    struct watch *many_ws = calloc(n, sizeof *many_ws);
    long r = -ENOMEM;
    if (many_fds && many_ws)
        r = poll_with(t, addr, many_fds, many_ws, n, deadline);
    free(many_fds);
    free(many_ws);
    return r;
}

static long poll_restartable(struct task *t, gva_t addr, uint64_t n, const ktime_t *deadline);

static long poll_restart(struct task *t, struct restart_block *rb)
{
    ktime_t deadline = rb->deadline;
    return poll_restartable(t, rb->a[0], rb->a[1], rb->has_deadline ? &deadline : NULL);
}

static long poll_restartable(struct task *t, gva_t addr, uint64_t n, const ktime_t *deadline)
{
    long r = do_poll(t, addr, n, deadline);
    if (r != -ERESTARTSYS)
        return r;
    t->restart.fn = poll_restart;
    t->restart.a[0] = addr;
    t->restart.a[1] = n;
    t->restart.has_deadline = deadline != NULL;
    t->restart.deadline = deadline ? *deadline : 0;
    return -ERESTART_RESTARTBLOCK;
}

SYSCALL(poll)
{
    ktime_t at;
    return poll_restartable(t, ARG_GVA(a, 0), ARG_UINT(a, 1), poll_deadline_ms(ARG_INT(a, 2), &at));
}

/* The time that was left, where the call takes a struct timespec (or timeval). */
static struct timespec time_left(const ktime_t *deadline)
{
    int64_t left = *deadline ? *deadline - ktime_now() : 0;
    left = MAX(left, (int64_t)0);
    return (struct timespec){left / NSEC_PER_SEC, left % NSEC_PER_SEC};
}

/*
 * The end of a call with a mask and a timeout: the time left is written back. A call that was
 * interrupted starts again with that; if it could not be written, it must not.
 */
static long finish(struct task *t, long r, gva_t timeout, const ktime_t *deadline, bool timeval)
{
    if (r == -ERESTARTSYS)
        r = -ERESTARTNOHAND;
    else
        signal_restore_mask(t);
    if (!deadline || t->personality & STICKY_TIMEOUTS)
        return r;
    struct timespec left = time_left(deadline);
    if (timeval)
        left.tv_nsec /= 1000;
    if (MM_COPY_OUT(t->mm, timeout, &left) && r == -ERESTARTNOHAND)
        r = -EINTR;
    return r;
}

SYSCALL(ppoll)
{
    ktime_t room;
    const ktime_t *deadline = &room;
    int err = poll_deadline_timespec(t, ARG_GVA(a, 2), &deadline);
    if (!err)
        err = poll_set_mask(t, ARG_GVA(a, 3), a->a[4]);
    if (err)
        return err;
    long r = do_poll(t, ARG_GVA(a, 0), ARG_UINT(a, 1), deadline);
    return finish(t, r, ARG_GVA(a, 2), deadline, false);
}

/* ---- select ---- */

enum { SET_IN, SET_OUT, SET_EX, SETS };
#define WORD_BITS 64
#define FD_MAX (1 << 20) /* fs.nr_open */

static const uint32_t set_events[SETS] = {
    [SET_IN] = EPOLLRDNORM | EPOLLRDBAND | EPOLLIN | EPOLLHUP | EPOLLERR,
    [SET_OUT] = EPOLLWRBAND | EPOLLWRNORM | EPOLLOUT | EPOLLERR,
    [SET_EX] = EPOLLPRI,
};

struct fd_sets {
    int n;
    size_t words;
    gva_t addr[SETS];
    uint64_t *bits[SETS];
};

static bool in_set(const struct fd_sets *s, int set, int fd)
{
    return s->bits[set][fd / WORD_BITS] >> (fd % WORD_BITS) & 1;
}

static uint32_t select_events(const struct fd_sets *s, int fd)
{
    uint32_t events = 0;
    for (int set = 0; set < SETS; set++)
        if (in_set(s, set, fd))
            events |= set_events[set];
    return events;
}

/* Clears the bits of fd that are not ready. Returns how many stay. */
static int select_report(struct fd_sets *s, int fd, uint32_t ready)
{
    int count = 0;
    for (int set = 0; set < SETS; set++) {
        if (!in_set(s, set, fd))
            continue;
        if (ready & set_events[set])
            count++;
        else
            s->bits[set][fd / WORD_BITS] &= ~(1ull << (fd % WORD_BITS));
    }
    return count;
}

/* The watches of all descriptors in the sets; -EBADF if one is not open. */
static long select_open(struct task *t, const struct fd_sets *s, struct watch *ws, size_t *n)
{
    *n = 0;
    for (int fd = 0; fd < s->n; fd++) {
        uint32_t events = select_events(s, fd);
        if (!events)
            continue;
        struct file *f = fd_get(t, fd);
        if (!f)
            return -EBADF;
        ws[(*n)++] = (struct watch){.f = f, .events = events};
    }
    return 0;
}

static size_t select_count(const struct fd_sets *s)
{
    size_t n = 0;
    for (int fd = 0; fd < s->n; fd++)
        n += select_events(s, fd) != 0;
    return n;
}

static long select_with(struct task *t, struct fd_sets *s, const ktime_t *deadline)
{
    struct watch on_stack[ON_STACK], *ws = on_stack;
    size_t n = select_count(s);
    if (n > ON_STACK)
        ws = calloc(n, sizeof *ws);
    if (!ws)
        return -ENOMEM;
    long r = select_open(t, s, ws, &n);
    if (!r)
        r = watches_wait(t, ws, n, deadline);
    if (r >= 0) {
        r = 0;
        for (int fd = 0, i = 0; fd < s->n; fd++)
            if (select_events(s, fd))
                r += select_report(s, fd, ws[i++].ready);
    }
    watches_release(ws, n);
    if (ws != on_stack)
        free(ws);
    return r;
}

static long sets_copy_in(struct task *t, struct fd_sets *s)
{
    for (int set = 0; set < SETS; set++)
        if (s->addr[set] && mm_copy_in(t->mm, s->bits[set], s->addr[set], s->words * 8))
            return -EFAULT;
    /* Bits beyond n are not looked at, and come back clear. */
    for (int set = 0; set < SETS && s->n % WORD_BITS; set++)
        s->bits[set][s->words - 1] &= (1ull << (s->n % WORD_BITS)) - 1;
    return 0;
}

static long do_select(struct task *t, const struct sysargs *a, const ktime_t *deadline)
{
    int n = ARG_INT(a, 0);
    if (n < 0)
        return -EINVAL;
    n = MIN(n, FD_MAX);
    struct fd_sets s = {.n = n,
                        .words = ((size_t)n + WORD_BITS - 1) / WORD_BITS,
                        .addr = {ARG_GVA(a, 1), ARG_GVA(a, 2), ARG_GVA(a, 3)}};
    uint64_t *bits = calloc(SETS * s.words + 1, sizeof *bits);
    if (!bits)
        return -ENOMEM;
    for (int set = 0; set < SETS; set++)
        s.bits[set] = bits + (size_t)set * s.words;
    long r = sets_copy_in(t, &s);
    if (!r)
        r = select_with(t, &s, deadline);
    for (int set = 0; r >= 0 && set < SETS; set++)
        if (s.addr[set] && mm_copy_out(t->mm, s.addr[set], s.bits[set], s.words * 8))
            r = -EFAULT;
    free(bits);
    return r;
}

SYSCALL(select)
{
    struct timeval tv;
    ktime_t room;
    const ktime_t *deadline = NULL;
    if (a->a[4]) {
        if (MM_COPY_IN(t->mm, &tv, ARG_GVA(a, 4)))
            return -EFAULT;
        struct timespec ts = {.tv_nsec = tv.tv_usec % 1000000 * 1000};
        if (__builtin_add_overflow(tv.tv_sec, tv.tv_usec / 1000000, &ts.tv_sec) ||
            !timespec_valid(&ts))
            return -EINVAL;
        deadline = deadline_of(&ts, &room);
    }
    return finish(t, do_select(t, a, deadline), ARG_GVA(a, 4), deadline, true);
}

SYSCALL(pselect6)
{
    struct {
        gva_t mask;
        uint64_t size;
    } sig = {0, 0};
    ktime_t room;
    const ktime_t *deadline = &room;
    if (a->a[5] && MM_COPY_IN(t->mm, &sig, ARG_GVA(a, 5)))
        return -EFAULT;
    int err = poll_deadline_timespec(t, ARG_GVA(a, 4), &deadline);
    if (!err)
        err = poll_set_mask(t, sig.mask, sig.size);
    if (err)
        return err;
    return finish(t, do_select(t, a, deadline), ARG_GVA(a, 4), deadline, false);
}
