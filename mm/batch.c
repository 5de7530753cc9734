/*
 * What the platform is told. The platform's address space is a cache of the PMAs; each trip into
 * it costs some microseconds, each operation on a trip about one. So work is gathered, neighbours
 * are joined, and references on pages that leave are dropped only after the trip.
 */
#include "mm/mm_internal.h"
#include <errno.h>

void batch_init(struct batch *b, struct mm *mm)
{
    b->mm = mm;
    b->nops = b->nputs = 0;
    b->err = 0;
}

void mm_platform_emptied(struct mm *mm)
{
    if (++mm->as_gen == 0)
        mm->as_gen = 1;
}

static int batch_do(struct batch *b)
{
    struct mm *mm = b->mm;
    int err = 0;
    if (b->nops && mm->as) {
        mm->trips++;
        mm->trip_ops += b->nops;
        err = mm->as->ops->apply(mm->as, b->ops, b->nops);
    }
    b->nops = 0;
    if (err == -ENOMEM)
        mm_platform_emptied(mm);
    for (size_t i = 0; i < b->nputs; i++)
        b->puts[i].file->ops->dec_ref(b->puts[i].file, b->puts[i].fr);
    b->nputs = 0;
    if (err && !b->err)
        b->err = err;
    return err;
}

int batch_flush(struct batch *b)
{
    batch_do(b);
    int err = b->err;
    b->err = 0;
    return err;
}

/* The operation that a new one of `kind` at start may be joined to. */
static struct as_op *batch_tail(struct batch *b, enum as_op_kind kind, gva_t start)
{
    if (b->nops == 0)
        return NULL;
    struct as_op *op = &b->ops[b->nops - 1];
    return op->kind == kind && op->ar.end == start ? op : NULL;
}

static struct as_op *batch_new(struct batch *b, enum as_op_kind kind, gva_t start, gva_t end)
{
    if (b->nops == BATCH_OPS)
        batch_do(b);
    struct as_op *op = &b->ops[b->nops++];
    *op = (struct as_op){.kind = kind, .ar = {start, end}};
    return op;
}

void batch_map(struct batch *b, struct pma *p, gva_t start, gva_t end, unsigned how)
{
    uint64_t offset = p->offset + (start - p->node.start);
    struct as_op *op = batch_tail(b, AS_MAP, start);

    if (op && op->file == p->file && op->perms == p->effective &&
        op->precommit == !!(how & MAP_PRECOMMIT) && op->huge == !!(how & MAP_HUGE) &&
        op->offset + (op->ar.end - op->ar.start) == offset) {
        op->ar.end = end;
    } else {
        op = batch_new(b, AS_MAP, start, end);
        op->file = p->file;
        op->offset = offset;
        op->perms = p->effective;
        op->precommit = how & MAP_PRECOMMIT;
        op->huge = how & MAP_HUGE;
    }
    p->pushed = b->mm->as_gen; /* after batch_new: a flush may have changed it */
}

void batch_unmap(struct batch *b, gva_t start, gva_t end)
{
    struct as_op *op = batch_tail(b, AS_UNMAP, start);
    if (op)
        op->ar.end = end;
    else
        batch_new(b, AS_UNMAP, start, end);
}

void batch_protect(struct batch *b, gva_t start, gva_t end, access_t was, access_t perms)
{
    struct as_op *op = batch_tail(b, AS_PROTECT, start);
    if (op && op->perms == perms && op->was == was) {
        op->ar.end = end;
        return;
    }
    op = batch_new(b, AS_PROTECT, start, end);
    op->was = was;
    op->perms = perms;
}

void batch_put(struct batch *b, struct memmap_file *file, struct file_range fr)
{
    if (b->nputs) {
        __auto_type last = &b->puts[b->nputs - 1];
        if (last->file == file && last->fr.end == fr.start) {
            last->fr.end = fr.end;
            return;
        }
        if (last->file == file && last->fr.start == fr.end) {
            last->fr.start = fr.start;
            return;
        }
    }
    if (b->nputs == BATCH_OPS)
        batch_do(b);
    b->puts[b->nputs].file = file;
    b->puts[b->nputs].fr = fr;
    b->nputs++;
}

bool batch_shows(const struct batch *b, gva_t addr)
{
    bool shown = false;
    for (size_t i = 0; i < b->nops; i++)
        if (RANGE_CONTAINS(b->ops[i].ar, addr))
            shown =
                b->ops[i].kind == AS_MAP || (b->ops[i].kind == AS_PROTECT && b->ops[i].perms != 0);
    return shown;
}
