/*
 * Address spaces: a stub process, and the set of addresses at which something is mapped there.
 *
 * The set saves host calls: what was never touched needs no munmap, and mprotect, which stops at
 * the first hole, gets one piece at a time. "No access" is not mapped at all, so everything in the
 * set is at least readable.
 */
#include "platform/ptrace/ptrace.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>

struct mapped_range {
    struct range_node node;
};

static struct mapped_range *mapped_from(struct range_node *n)
{
    return container_of(n, struct mapped_range, node);
}

static void mapped_clear(struct range_set *s)
{
    struct range_node *n;
    while ((n = range_set_first(s))) {
        range_set_remove(s, n);
        free(mapped_from(n));
    }
}

/* Adds [start, end), merging neighbours. 0 or -ENOMEM. */
static int mapped_add(struct range_set *s, uint64_t start, uint64_t end)
{
    struct range_node *n = range_set_lower_bound(s, start ? start - 1 : 0);
    struct range_node *keep = NULL;
    while (n && n->start <= end) {
        if (n->start <= start && n->end >= end)
            return 0;
        struct range_node *next = range_node_next(n);
        start = MIN(start, n->start);
        end = MAX(end, n->end);
        range_set_remove(s, n);
        if (keep)
            free(mapped_from(n));
        else
            keep = n;
        n = next;
    }
    if (!keep) {
        struct mapped_range *m = calloc(1, sizeof(*m));
        if (!m)
            return -ENOMEM;
        keep = &m->node;
    }
    keep->start = start;
    keep->end = end;
    range_set_insert(s, keep);
    return 0;
}

static struct range_node *mapped_split(UNUSED struct range_node *n, UNUSED uint64_t key,
                                       UNUSED void *arg)
{
    struct mapped_range *m = calloc(1, sizeof(*m));
    return m ? &m->node : NULL;
}

/* 0 or -ENOMEM. */
static int mapped_remove(struct range_set *s, uint64_t start, uint64_t end)
{
    int err = range_set_isolate(s, start, end, mapped_split, NULL);
    if (err)
        return err;
    struct range_node *n = range_set_lower_bound(s, start);
    while (n && n->start < end) {
        struct range_node *next = range_node_next(n);
        range_set_remove(s, n);
        free(mapped_from(n));
        n = next;
    }
    return 0;
}

/* Host calls on their way to the keeper. */
struct batch {
    struct ptrace_space *space;
    size_t n;
    bool alone;                /* there is only one operation */
    struct addr_range touched; /* all that the n calls touch is within */
};

static int batch_flush(struct batch *b)
{
    size_t n = b->n;
    b->n = 0;
    return n ? stub_process_run(b->space->process, n) : 0;
}

/* Whether op goes on where last ends, so that one call does both. */
static bool batch_extend(struct stub_op *last, const struct stub_op *op)
{
    if (last->nr != op->nr || last->args[0] + last->args[1] != op->args[0])
        return false;
    if (op->nr != SYS_munmap && last->args[2] != op->args[2])
        return false;
    if (op->nr == SYS_mmap && (last->args[3] != op->args[3] || last->args[4] != op->args[4] ||
                               last->args[5] + last->args[1] != op->args[5]))
        return false;
    last->args[1] += op->args[1];
    return true;
}

static int batch_add(struct batch *b, const struct stub_op *op)
{
    struct stub_op *ops = b->space->process->page->ops;
    uint64_t start = op->args[0], end = start + op->args[1];
    b->touched.start = b->n ? MIN(b->touched.start, start) : start;
    b->touched.end = b->n ? MAX(b->touched.end, end) : end;
    if (b->n > 0 && batch_extend(&ops[b->n - 1], op))
        return 0;
    if (b->n == STUB_MAX_OPS) {
        int err = batch_flush(b);
        if (err)
            return err;
    }
    ops[b->n++] = *op;
    return 0;
}

static uint64_t prot_of(access_t perms)
{
    return (uint64_t)((perms & ACCESS_READ ? PROT_READ : 0) |
                      (perms & ACCESS_WRITE ? PROT_WRITE : 0) |
                      (perms & ACCESS_EXEC ? PROT_EXEC : 0));
}

static int add_advice(struct batch *b, struct addr_range ar, int advice)
{
    return batch_add(b, &(struct stub_op){.nr = SYS_madvise,
                                          .args = {ar.start, RANGE_LENGTH(ar), (uint64_t)advice},
                                          .flags = STUB_OP_ADVICE});
}

/* Whether it was parked here, and is shown again. */
static bool map_parked(struct batch *b, const struct as_op *op)
{
    const struct shown s = {op->ar, op->file, op->offset, op->perms};
    return b->n == 0 && park_open(b->space->process, &s);
}

/* It is mapped anew, or unmapped. */
static int forget(struct stub_process *sp, struct addr_range ar)
{
    int err = guard_forget(sp, ar.start, ar.end);
    return err ? err : park_forget(sp, ar.start, ar.end);
}

static int add_map(struct batch *b, const struct as_op *op)
{
    struct stub_process *sp = b->space->process;
    if (map_parked(b, op))
        return mapped_add(&b->space->mapped, op->ar.start, op->ar.end);
    int err = forget(sp, op->ar);
    if (!err)
        err = mapped_add(&b->space->mapped, op->ar.start, op->ar.end);
    if (err)
        return err;
    bool populate = op->precommit && !op->huge;
    int flags = MAP_SHARED | MAP_FIXED | (populate ? MAP_POPULATE : 0);
    err = batch_add(b, &(struct stub_op){
                           .nr = SYS_mmap,
                           .args = {op->ar.start, RANGE_LENGTH(op->ar), prot_of(op->perms),
                                    (uint64_t)flags, (uint64_t)op->file->fd, op->offset},
                       });
    if (!err && op->huge)
        err = add_advice(b, op->ar, MADV_HUGEPAGE);
    if (!err && op->huge && op->precommit)
        err = add_advice(b, op->ar,
                         op->perms & ACCESS_WRITE ? MADV_POPULATE_WRITE : MADV_POPULATE_READ);
    return err;
}

/* munmap or mprotect of the pieces of the range that are mapped. */
static int add_pieces(struct batch *b, struct addr_range ar, uint64_t nr, uint64_t prot)
{
    struct range_node *n = range_set_lower_bound(&b->space->mapped, ar.start);
    for (; n && n->start < ar.end; n = range_node_next(n)) {
        uint64_t start = MAX(n->start, ar.start), end = MIN(n->end, ar.end);
        int err = batch_add(b, &(struct stub_op){.nr = nr, .args = {start, end - start, prot}});
        if (err)
            return err;
    }
    return 0;
}

/* One munmap from the first mapped byte of the range to the last: holes cost nothing. */
static int add_unmap(struct batch *b, struct addr_range ar)
{
    struct range_set *mapped = &b->space->mapped;
    struct range_node *first = range_set_lower_bound(mapped, ar.start);
    if (!first || first->start >= ar.end)
        return 0;
    struct range_node *after = range_set_lower_bound(mapped, ar.end - 1);
    struct range_node *last = after && after->start < ar.end ? after
                              : after                        ? range_node_prev(after)
                                                             : range_set_last(mapped);
    uint64_t start = MAX(first->start, ar.start), end = MIN(last->end, ar.end);
    int err = forget(b->space->process, (struct addr_range){start, end});
    if (!err)
        err = mapped_remove(mapped, start, end);
    if (err)
        return err;
    return batch_add(b, &(struct stub_op){.nr = SYS_munmap, .args = {start, end - start}});
}

/* Whether all of the range is mapped. */
static bool is_mapped(const struct ptrace_space *s, struct addr_range ar)
{
    const struct range_node *n = range_set_find(&s->mapped, ar.start);
    return n && n->end >= ar.end;
}

static int add_protect(struct batch *b, const struct as_op *op)
{
    struct stub_process *sp = b->space->process;
    int err = park_release(sp, op->ar.start, op->ar.end);
    if (err)
        return err;
    if ((op->perms ^ op->was) == ACCESS_WRITE && is_mapped(b->space, op->ar)) {
        if (b->n > 0 && op->ar.start < b->touched.end && b->touched.start < op->ar.end)
            err = batch_flush(b);
        if (err || guard_protect(sp, op, b->alone))
            return err;
    }
    err = add_pieces(b, op->ar, SYS_mprotect, prot_of(op->perms));
    if (err || likely(!guard_covers(sp, op->ar)))
        return err;
    err = batch_flush(b);
    return err ? err : guard_open(sp, op->ar.start, op->ar.end);
}

static int add_op(struct batch *b, const struct as_op *op)
{
    switch (op->kind) {
    case AS_MAP:
        return add_map(b, op);
    case AS_PROTECT:
        return op->perms ? add_protect(b, op) : add_unmap(b, op->ar);
    case AS_UNMAP:
        return add_unmap(b, op->ar);
    }
    return -EINVAL;
}

/* process->lock held. 0 or -errno; the set is empty afterwards. */
static int unmap_everything(struct ptrace_space *s)
{
    struct stub_process *sp = s->process;
    mapped_clear(&s->mapped);
    guard_clear(sp);
    park_clear(sp);
    sp->page->ops[0] = (struct stub_op){.nr = SYS_munmap, .args = {0, STUB_CODE}};
    return stub_process_run(sp, 1);
}

static int space_apply(struct address_space *as, const struct as_op *ops, size_t n)
{
    struct ptrace_space *s = container_of(as, struct ptrace_space, base);
    MUTEX_GUARD(&s->process->lock);
    struct batch b = {.space = s, .alone = n == 1};
    int err = 0;
    for (size_t i = 0; i < n && !err; i++) {
        if (ops[i].ar.start >= ops[i].ar.end || ops[i].ar.end > STUB_CODE)
            err = -EINVAL;
        else
            err = add_op(&b, &ops[i]);
    }
    if (!err)
        err = batch_flush(&b);
    /* Memory, or the host's limit of mappings. What part of the batch was done is unknown. */
    if (err && unmap_everything(s) != 0)
        return -ESRCH;
    return err;
}

/* Unmaps all ranges that are closed, now that there is no room for more. */
static int unpark(struct ptrace_space *s)
{
    struct batch b = {.space = s};
    struct addr_range ar;
    int err = 0;
    while (!err && (ar = park_pop_closed(s->process)).end)
        err = batch_add(&b,
                        &(struct stub_op){.nr = SYS_munmap, .args = {ar.start, RANGE_LENGTH(ar)}});
    return err ? err : batch_flush(&b);
}

static bool space_drop(struct address_space *as, const struct as_op *op)
{
    struct ptrace_space *s = container_of(as, struct ptrace_space, base);
    const struct shown shown = {op->ar, op->file, op->offset, op->perms};
    MUTEX_GUARD(&s->process->lock);
    if (!is_mapped(s, op->ar))
        return false;
    if (park_is_full(s->process) && unpark(s)) /* the next apply will see what is wrong, too */
        return false;
    if (!park_close(s->process, &shown))
        return false;
    if (mapped_remove(&s->mapped, op->ar.start, op->ar.end)) {
        /* The set says too much: it will be unmapped once more. */
    }
    return true;
}

static void space_clear(struct address_space *as)
{
    struct ptrace_space *s = container_of(as, struct ptrace_space, base);
    MUTEX_GUARD(&s->process->lock);
    if (s->mapped.count > 0 || s->process->park.ranges.count > 0)
        unmap_everything(s);
}

static void space_release(struct address_space *as)
{
    struct ptrace_space *s = container_of(as, struct ptrace_space, base);
    space_clear(as);
    stub_process_recycle(s->process);
    free(s);
}

static const struct address_space_ops space_ops = {
    .apply = space_apply,
    .drop = space_drop,
    .clear = space_clear,
    .release = space_release,
};

int ptrace_new_address_space(struct platform *base, struct address_space **out)
{
    struct ptrace_platform *p = container_of(base, struct ptrace_platform, base);
    struct ptrace_space *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    int err = stub_process_get(p, &s->process);
    if (err) {
        free(s);
        /* Descriptors, processes: limits of the host that the application knows nothing of. */
        return err == -ENOMEM ? err : -EAGAIN;
    }
    s->base.ops = &space_ops;
    s->base.platform = base;
    range_set_init(&s->mapped);
    *out = &s->base;
    return 0;
}
