/*
 * Protecting pages from writes without a switch.
 *
 * Programs that protect a page do it again and again: collectors, compilers, databases. From the
 * second time on their pages are left writable in the stub's page tables and registered with a
 * userfaultfd, and then the sentry itself, with one ioctl, takes and gives the right to write. That
 * is ten times cheaper than to have the keeper call mprotect.
 *
 *      guarded_range.perms      what the stub's mapping allows, writing included
 *      guarded_range.closed     whether writing has been taken away since
 *
 * A write to a closed range raises SIGBUS (UFFD_FEATURE_SIGBUS), see event.c; nobody ever reads
 * from the userfaultfd. Whatever else happens to a range (unmapped, mapped anew, another
 * protection) ends its registration: the host drops it with the mapping, and we forget it.
 *
 * Where there is no userfaultfd (an old host, a seccomp filter around us) or the mapping is not of
 * memory, the keeper does it all.
 */
#include "platform/ptrace/ptrace.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

/* Larger ranges are better left to mprotect: they may be made of huge pages. */
#define GUARD_MAX_LENGTH (64 * PAGE_SIZE)
#define GUARD_MAX_RANGES 64u

struct guarded_range {
    struct range_node node;
    access_t perms;
    bool closed;
};

static struct guarded_range *guarded_of(struct range_node *n)
{
    return n ? container_of(n, struct guarded_range, node) : NULL;
}

static struct range_node *guarded_split(struct range_node *n, UNUSED uint64_t key, UNUSED void *arg)
{
    struct guarded_range *g = malloc(sizeof(*g));
    if (!g)
        return NULL;
    *g = *guarded_of(n);
    return &g->node;
}

static void guarded_remove(struct range_set *s, struct guarded_range *g)
{
    range_set_remove(s, &g->node);
    free(g);
}

/* ---- the userfaultfd ---- */

#define WANTED_FEATURES                                                                            \
    (UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_HUGETLBFS_SHMEM |      \
     UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MINOR_SHMEM)

static int make_uffd(struct stub_process *sp)
{
    static const struct stub_op op = {
        .nr = SYS_userfaultfd,
        .args = {O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY},
        .flags = STUB_OP_REPORT,
    };
    struct uffdio_api api = {.api = UFFD_API, .features = WANTED_FEATURES};
    int fd;
    int err = stub_process_report(sp, &op, &fd);
    if (err)
        return err;
    if (ioctl(fd, UFFDIO_API, &api) < 0) {
        err = -errno;
        close(fd);
        return err;
    }
    sp->uffd = fd;
    return 0;
}

bool guard_ready(struct stub_process *sp)
{
    if (sp->uffd >= 0)
        return true;
    if (atomic_load_explicit(&sp->platform->no_uffd, memory_order_relaxed))
        return false;
    int err = make_uffd(sp);
    if (err && err != -EMFILE && err != -ENFILE && err != -ESRCH)
        atomic_store(&sp->platform->no_uffd, true);
    return err == 0;
}

static int set_closed(struct stub_process *sp, uint64_t start, uint64_t end, bool closed)
{
    struct uffdio_writeprotect wp = {
        .range = {start, end - start},
        .mode = closed ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
    };
    return ioctl(sp->uffd, UFFDIO_WRITEPROTECT, &wp) < 0 ? -errno : 0;
}

/* ---- what was protected lately ---- */

static struct addr_range *recent_slot(struct guard *g, gva_t start)
{
    return &g->recent[(start >> PAGE_SHIFT) % ARRAY_SIZE(g->recent)];
}

/* Whether it was, not so long ago; now it certainly was. */
static bool protected_before(struct guard *g, struct addr_range ar)
{
    struct addr_range *r = recent_slot(g, ar.start);
    bool hit = r->start == ar.start && r->end == ar.end;
    *r = ar;
    return hit;
}

/* ---- the ranges ---- */

/* A range that covers ar, in which nothing else than ar is open or closed with it. NULL: none, or
 * no memory. */
static struct guarded_range *cut_out(struct guard *g, struct addr_range ar)
{
    struct range_node *n = range_set_find(&g->ranges, ar.start);
    if (!n || n->end < ar.end)
        return NULL;
    if (range_set_isolate(&g->ranges, ar.start, ar.end, guarded_split, NULL))
        return NULL;
    return guarded_of(range_set_find(&g->ranges, ar.start));
}

/* Takes ar, which the stub has mapped with `perms`, among the guarded ranges, still open. */
static struct guarded_range *take_in(struct stub_process *sp, struct addr_range ar, access_t perms)
{
    struct guard *g = &sp->guard;
    if (g->ranges.count >= GUARD_MAX_RANGES || RANGE_LENGTH(ar) > GUARD_MAX_LENGTH ||
        range_set_intersects(&g->ranges, ar.start, ar.end) || !protected_before(g, ar) ||
        !guard_ready(sp))
        return NULL;
    struct guarded_range *r = malloc(sizeof(*r));
    struct uffdio_register reg = {
        .range = {ar.start, RANGE_LENGTH(ar)},
        .mode = UFFDIO_REGISTER_MODE_WP,
    };
    if (!r || ioctl(sp->uffd, UFFDIO_REGISTER, &reg) < 0) {
        free(r);
        return NULL;
    }
    *r = (struct guarded_range){
        .node = {.start = ar.start, .end = ar.end}, .perms = perms, .closed = false};
    range_set_insert(&g->ranges, &r->node);
    return r;
}

bool guard_protect(struct stub_process *sp, const struct as_op *op, bool alone)
{
    lock_assert_held(&sp->lock);
    bool closing = op->perms == (op->was & ~(unsigned)ACCESS_WRITE);
    struct guarded_range *r = cut_out(&sp->guard, op->ar);
    if (!r && alone && closing)
        r = take_in(sp, op->ar, op->was);
    if (!r || (op->perms | ACCESS_WRITE) != r->perms)
        return false;
    bool closed = !(op->perms & ACCESS_WRITE);
    if (closed != r->closed && set_closed(sp, r->node.start, r->node.end, closed) < 0)
        return false;
    r->closed = closed;
    return true;
}

bool guard_covers(const struct stub_process *sp, struct addr_range ar)
{
    return range_set_intersects(&sp->guard.ranges, ar.start, ar.end);
}

bool guard_has(struct stub_process *sp, gva_t addr)
{
    MUTEX_GUARD(&sp->lock);
    return range_set_find(&sp->guard.ranges, addr) != NULL;
}

int guard_forget(struct stub_process *sp, uint64_t start, uint64_t end)
{
    struct guard *g = &sp->guard;
    if (likely(!range_set_intersects(&g->ranges, start, end)))
        return 0;
    int err = range_set_isolate(&g->ranges, start, end, guarded_split, NULL);
    if (err)
        return err;
    struct range_node *n;
    while ((n = range_set_lower_bound(&g->ranges, start)) && n->start < end)
        guarded_remove(&g->ranges, guarded_of(n));
    return 0;
}

int guard_open(struct stub_process *sp, uint64_t start, uint64_t end)
{
    struct guard *g = &sp->guard;
    lock_assert_held(&sp->lock);
    int err = range_set_isolate(&g->ranges, start, end, guarded_split, NULL);
    struct range_node *n = err ? NULL : range_set_lower_bound(&g->ranges, start);
    for (; n && n->start < end; n = range_node_next(n))
        if (guarded_of(n)->closed)
            set_closed(sp, n->start, n->end, false); /* if it fails, a fault will mend it */
    return err ? err : guard_forget(sp, start, end);
}

void guard_clear(struct stub_process *sp)
{
    struct guard *g = &sp->guard;
    struct range_node *n;
    while ((n = range_set_first(&g->ranges)))
        guarded_remove(&g->ranges, guarded_of(n));
    memset(g->recent, 0, sizeof(g->recent));
}
