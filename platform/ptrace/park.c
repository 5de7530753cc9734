/*
 * Unmapping and mapping a few pages without a switch.
 *
 * Allocators map and unmap the same addresses again and again. From the second time on, what is
 * unmapped stays mapped in the stub, but closed: it is registered with the userfaultfd of guard.c
 * for missing pages and for pages that lack only a page table entry, and its pages are taken out of
 * the file, which takes them from all page tables. Whoever touches it now gets a SIGBUS, whatever
 * the file holds there by then: no page can come into a page table but by an ioctl of ours. When
 * the same pages of the file are mapped there again, that ioctl makes them, zeroed, and shows them.
 * Both cost a third of what the keeper's work costs.
 *
 *      closed ---- UFFDIO_ZEROPAGE ----> open         in space.mapped: the open ones only
 *        ^                                |
 *        +----------- punch hole ---------+
 *
 * An open page may get lost (the file's contents are dropped, the host swaps): a touch is then
 * a SIGBUS, too, for which event.c says "fault", and mm maps the range anew, in the ordinary way.
 * Everything else that happens to a range (another mapping, munmap, mprotect) ends its being
 * parked.
 */
#include "platform/ptrace/ptrace.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#define PARK_MAX_RANGES 16u
#define PARK_MODES (UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR)

struct parked_range {
    struct range_node node;
    struct memmap_file *file;
    uint64_t offset; /* of node.start */
    access_t perms;
    bool open;
};

static struct parked_range *parked_of(struct range_node *n)
{
    return n ? container_of(n, struct parked_range, node) : NULL;
}

static struct range_node *parked_split(struct range_node *n, uint64_t key, UNUSED void *arg)
{
    struct parked_range *r = malloc(sizeof(*r));
    if (!r)
        return NULL;
    *r = *parked_of(n);
    r->offset += key - n->start;
    return &r->node;
}

static void parked_remove(struct park *park, struct range_node *n)
{
    range_set_remove(&park->ranges, n);
    free(parked_of(n));
}

/* The range that is exactly this one. */
static struct parked_range *find(struct park *park, const struct shown *s)
{
    struct parked_range *r = parked_of(range_set_find(&park->ranges, s->ar.start));
    bool same = r && r->node.start == s->ar.start && r->node.end == s->ar.end &&
                r->file == s->file && r->offset == s->offset && r->perms == s->perms;
    return same ? r : NULL;
}

/* Whether it was unmapped not so long ago, too; now it certainly is. */
static bool unmapped_before(struct park *park, struct addr_range ar)
{
    struct addr_range *r = &park->recent[(ar.start >> PAGE_SHIFT) % ARRAY_SIZE(park->recent)];
    bool hit = r->start == ar.start && r->end == ar.end;
    *r = ar;
    return hit;
}

/* Makes an ordinary mapping, of which the keeper's page is not needed, a parked one, open. */
static struct parked_range *take_in(struct stub_process *sp, const struct shown *s)
{
    struct park *park = &sp->park;
    if (park->ranges.count >= PARK_MAX_RANGES ||
        range_set_intersects(&park->ranges, s->ar.start, s->ar.end) || guard_covers(sp, s->ar) ||
        !unmapped_before(park, s->ar) || !guard_ready(sp))
        return NULL;
    struct parked_range *r = malloc(sizeof(*r));
    struct uffdio_register reg = {
        .range = {s->ar.start, RANGE_LENGTH(s->ar)},
        .mode = PARK_MODES,
    };
    if (!r || ioctl(sp->uffd, UFFDIO_REGISTER, &reg) < 0) {
        free(r);
        return NULL;
    }
    *r = (struct parked_range){
        .node = {.start = s->ar.start, .end = s->ar.end},
        .file = s->file,
        .offset = s->offset,
        .perms = s->perms,
        .open = true,
    };
    range_set_insert(&park->ranges, &r->node);
    return r;
}

bool park_close(struct stub_process *sp, const struct shown *s)
{
    lock_assert_held(&sp->lock);
    struct parked_range *r = find(&sp->park, s);
    if (!r)
        r = take_in(sp, s);
    if (!r || fallocate(s->file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)s->offset,
                        (off_t)RANGE_LENGTH(s->ar)) < 0)
        return false;
    r->open = false;
    return true;
}

bool park_open(struct stub_process *sp, const struct shown *s)
{
    lock_assert_held(&sp->lock);
    struct parked_range *r = find(&sp->park, s);
    if (!r || r->open)
        return false;
    struct uffdio_range range = {s->ar.start, RANGE_LENGTH(s->ar)};
    struct uffdio_zeropage zero = {.range = range};
    struct uffdio_continue old = {.range = range};
    /* A page that the sentry has written to is there already. */
    if (ioctl(sp->uffd, UFFDIO_ZEROPAGE, &zero) < 0 &&
        (errno != EEXIST || ioctl(sp->uffd, UFFDIO_CONTINUE, &old) < 0))
        return false;
    r->open = true;
    return true;
}

bool park_is_full(const struct stub_process *sp)
{
    return sp->park.ranges.count >= PARK_MAX_RANGES;
}

struct addr_range park_pop_closed(struct stub_process *sp)
{
    for (struct range_node *n = range_set_first(&sp->park.ranges); n; n = range_node_next(n)) {
        if (parked_of(n)->open)
            continue;
        struct addr_range ar = {n->start, n->end};
        parked_remove(&sp->park, n);
        return ar;
    }
    return (struct addr_range){0, 0};
}

int park_forget(struct stub_process *sp, uint64_t start, uint64_t end)
{
    struct range_set *s = &sp->park.ranges;
    if (likely(!range_set_intersects(s, start, end)))
        return 0;
    int err = range_set_isolate(s, start, end, parked_split, NULL);
    if (err)
        return err;
    struct range_node *n;
    while ((n = range_set_lower_bound(s, start)) && n->start < end)
        parked_remove(&sp->park, n);
    return 0;
}

int park_release(struct stub_process *sp, uint64_t start, uint64_t end)
{
    struct range_node *n = range_set_lower_bound(&sp->park.ranges, start), *next;
    for (; n && n->start < end; n = next) {
        next = range_node_next(n);
        struct uffdio_range range = {n->start, n->end - n->start};
        if (!parked_of(n)->open)
            continue;
        if (ioctl(sp->uffd, UFFDIO_UNREGISTER, &range) < 0)
            return -ENOMEM;
        parked_remove(&sp->park, n);
    }
    return 0;
}

void park_clear(struct stub_process *sp)
{
    struct range_node *n;
    while ((n = range_set_first(&sp->park.ranges)))
        parked_remove(&sp->park, n);
    memset(sp->park.recent, 0, sizeof(sp->park.recent));
}

bool park_has(struct stub_process *sp, gva_t addr)
{
    MUTEX_GUARD(&sp->lock);
    return range_set_find(&sp->park.ranges, addr) != NULL;
}
