/*
 * Address spaces: what is mapped where (mappings), and the page-table entries made from it on
 * demand.
 */
#include "base/log.h"
#include "platform/kvm/kvm.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Entries are made in aligned blocks of so many bytes around a fault. Pages of host files are read
 * in first, which takes longer. Who goes through memory in order gets ever more blocks at once: an
 * entry costs less than 2 ns, an exit as much as all those of a dozen blocks. */
#define FILL_MEMORY (2ull << 20)
#define FILL_MEMORY_MAX (16ull << 20)
#define FILL_FILE (256ull << 10)

static struct kvm_space *space_of(struct address_space *as)
{
    return container_of(as, struct kvm_space, base);
}
static struct mapping *mapping_of(struct range_node *n)
{
    return n ? container_of(n, struct mapping, node) : NULL;
}
static char *mapping_hva(const struct mapping *m, gva_t at)
{
    return m->window->hva + m->offset + (at - m->node.start);
}

static uint64_t entry_flags(access_t perms)
{
    uint64_t flags = PT_USER | PT_ACCESSED | PT_DIRTY;
    if (perms & ACCESS_WRITE)
        flags |= PT_WRITE;
    if (!(perms & ACCESS_EXEC))
        flags |= PT_NO_EXEC;
    return flags;
}

/* ---- making entries ---- */

/* The host must be able to give every page that an entry shows: a page that it cannot give makes
 * KVM_RUN fail without saying where. */
static bool pages_there(const struct mapping *m, gva_t lo, gva_t hi, bool precommit)
{
    return (m->window->memory && !precommit) ||
           madvise(mapping_hva(m, lo), hi - lo,
                   m->perms & ACCESS_WRITE && m->window->writable ? MADV_POPULATE_WRITE
                                                                  : MADV_POPULATE_READ) == 0;
}

static enum fault_result fill(struct kvm_space *s, const struct mapping *m, gva_t lo, gva_t hi,
                              bool precommit)
{
    struct pt_status st;
    uint64_t pa = m->window->gpa + m->offset + (lo - m->node.start);
    if (!m->perms || !pages_there(m, lo, hi, precommit))
        return FAULT_BUS;
    /* The entries are new, or say what they said before with more access. */
    pt_flush_ignore(pt_map(&s->pt, lo, hi - lo, pa, entry_flags(m->perms), PT_SIZE_4K, &st));
    if (st.err == PT_NO_TABLE && st.done < MIN(hi - lo, FILL_MEMORY))
        return FAULT_NO_TABLE;
    return st.err == PT_OK || st.err == PT_NO_TABLE ? FAULT_SERVED : FAULT_BUS;
}

static void fill_around(const struct mapping *m, gva_t addr, gva_t *lo, gva_t *hi)
{
    uint64_t block = m->window->memory ? FILL_MEMORY : FILL_FILE;
    *lo = MAX(m->node.start, addr & ~(block - 1));
    *hi = MIN(m->node.end, (addr & ~(block - 1)) + block);
}

/* How far to fill for a fault of the application, which may go on where the last one was served. */
static void fill_ahead(struct kvm_space *s, const struct mapping *m, gva_t addr, gva_t *lo,
                       gva_t *hi)
{
    fill_around(m, addr, lo, hi);
    if (!m->window->memory)
        return;
    s->ahead = *lo == s->filled_to ? MIN(2 * s->ahead, FILL_MEMORY_MAX) : FILL_MEMORY;
    *hi = MIN(m->node.end, (addr & ~(FILL_MEMORY - 1)) + s->ahead);
    s->filled_to = *hi;
}

enum fault_result kvm_space_fault(struct kvm_space *s, gva_t addr, access_t access)
{
    gva_t lo, hi;
    MUTEX_GUARD(&s->lock);
    struct mapping *m = mapping_of(range_set_find(&s->mappings, addr));
    if (!m || (access & ~m->perms)) {
        s->hint = addr;
        return FAULT_UNKNOWN;
    }
    fill_ahead(s, m, addr, &lo, &hi);
    enum fault_result r = fill(s, m, lo, hi, false);
    lo = page_down(addr);
    return r == FAULT_BUS ? fill(s, m, lo, lo + PAGE_SIZE, false) : r;
}

bool kvm_space_peek(struct kvm_space *s, gva_t addr, uint8_t *out)
{
    MUTEX_GUARD(&s->lock);
    const struct mapping *m = mapping_of(range_set_find(&s->mappings, addr));
    if (!m || !(m->perms & ACCESS_READ) ||
        !pages_there(m, page_down(addr), page_down(addr) + PAGE_SIZE, false))
        return false;
    *out = *(const volatile uint8_t *)mapping_hva(m, addr);
    return true;
}

/* ---- changing ---- */

/* Makes every vCPU forget what it knew of [lo, hi) of a mapping: see kvm.h. No table is meant: they
 * stay as long as the root does. */
static void forget_frames(void *arg, pt_virt_t lo, pt_virt_t hi, UNUSED bool tables)
{
    const struct mapping *m = arg;
    if (madvise(mapping_hva(m, lo), hi - lo, MADV_DONTNEED))
        panic("kvm: cannot drop frames from a slot: %s", strerror(errno));
}

static struct range_node *split_mapping(struct range_node *n, uint64_t key, void *arg)
{
    struct kvm_space *s = arg;
    struct mapping *low = mapping_of(n), *high = malloc(sizeof(*high));
    if (!high)
        return NULL;
    *high = *low;
    high->offset = low->offset + (key - n->start);
    kvm_window_add_user(s->vm, high->window);
    return &high->node;
}

/* Whether there were any. */
static bool unmap_entries(struct kvm_space *s, struct mapping *m)
{
    struct pt_status st;
    pt_flush(pt_unmap(&s->pt, m->node.start, m->node.end - m->node.start, &st), forget_frames, m);
    if (st.err)
        panic("kvm: cannot unmap: %s", pt_error_name(st.err));
    return st.replaced;
}

bool kvm_space_hide_files(struct kvm_space *s)
{
    bool any = false;
    MUTEX_GUARD(&s->lock);
    for (struct range_node *n = range_set_first(&s->mappings); n; n = range_node_next(n)) {
        if (!mapping_of(n)->window->memory)
            any |= unmap_entries(s, mapping_of(n));
    }
    return any;
}

static int unmap_range(struct kvm_space *s, gva_t start, gva_t end)
{
    int err = range_set_isolate(&s->mappings, start, end, split_mapping, s);
    if (err)
        return err;
    struct range_node *n = range_set_lower_bound(&s->mappings, start);
    while (n && n->start < end) {
        struct mapping *m = mapping_of(n);
        n = range_node_next(n);
        (void)unmap_entries(s, m);
        range_set_remove(&s->mappings, &m->node);
        kvm_window_put(s->vm, m->window);
        free(m);
    }
    return 0;
}

static void protect_one(struct kvm_space *s, struct mapping *m, access_t perms)
{
    struct pt_status st;
    access_t lost = m->perms & (access_t)~perms;
    m->perms = perms;
    if (!perms) {
        (void)unmap_entries(s, m);
        return;
    }
    struct pt_obligation must =
        pt_protect(&s->pt, m->node.start, m->node.end - m->node.start, entry_flags(perms), &st);
    if (st.err)
        panic("kvm: cannot protect: %s", pt_error_name(st.err));
    if (lost)
        pt_flush(must, forget_frames, m);
    else
        pt_flush_ignore(must); /* what is allowed now, a fault finds out */
}

static int protect_range(struct kvm_space *s, gva_t start, gva_t end, access_t perms)
{
    int err = range_set_isolate(&s->mappings, start, end, split_mapping, s);
    if (err)
        return err;
    struct range_node *n = range_set_lower_bound(&s->mappings, start);
    for (; n && n->start < end; n = range_node_next(n))
        protect_one(s, mapping_of(n), perms);
    return 0;
}

/* Whether [start, end) already shows just these pages; then only the access may change. */
static bool same_pages(struct kvm_space *s, const struct as_op *op)
{
    struct mapping *m = mapping_of(range_set_find(&s->mappings, op->ar.start));
    return m && m->node.end >= op->ar.end && m->window->file == op->file &&
           m->window->offset + m->offset + (op->ar.start - m->node.start) == op->offset;
}

/* The part of op from `at` that one window covers. */
static int map_piece(struct kvm_space *s, const struct as_op *op, gva_t at, gva_t *next)
{
    struct window *w;
    uint64_t offset = op->offset + (at - op->ar.start);
    struct mapping *m = malloc(sizeof(*m));
    if (!m)
        return -ENOMEM;
    int err = kvm_window_get(s->vm, op->file, offset, &w);
    if (err) {
        free(m);
        return err;
    }
    m->window = w;
    m->offset = offset - w->offset;
    m->perms = op->perms;
    m->node.start = at;
    m->node.end = MIN(op->ar.end, at + (w->size - m->offset));
    range_set_insert(&s->mappings, &m->node);
    *next = m->node.end;
    gva_t lo = m->node.start, hi = m->node.end;
    if (hi - lo > FILL_MEMORY && !op->precommit) {
        if (!RANGE_CONTAINS(m->node, s->hint))
            return 0;
        fill_around(m, s->hint, &lo, &hi);
    } else if (!w->memory && RANGE_CONTAINS(m->node, s->hint)) {
        fill_around(m, s->hint, &lo, &hi);
    } else if (!w->memory && hi - lo > FILL_FILE) {
        return 0;
    }
    /* A page that cannot be made now is a fault later. */
    (void)fill(s, m, lo, hi, op->precommit);
    return 0;
}

static int map_range(struct kvm_space *s, const struct as_op *op)
{
    int err;
    if (same_pages(s, op)) {
        err = protect_range(s, op->ar.start, op->ar.end, op->perms);
        struct mapping *m = mapping_of(range_set_find(&s->mappings, s->hint));
        gva_t lo = op->ar.start, hi = op->ar.end;
        if (!err && !op->precommit && m && RANGE_CONTAINS(op->ar, s->hint))
            fill_around(m, s->hint, &lo, &hi);
        else if (!op->precommit)
            return err;
        else
            m = mapping_of(range_set_find(&s->mappings, lo));
        if (!err)
            (void)fill(s, m, lo, hi, op->precommit);
        return err;
    }
    err = unmap_range(s, op->ar.start, op->ar.end);
    for (gva_t at = op->ar.start; !err && at < op->ar.end;)
        err = map_piece(s, op, at, &at);
    return err;
}

static void space_empty(struct kvm_space *s)
{
    struct range_node *n = range_set_first(&s->mappings);
    while (n) {
        struct mapping *m = mapping_of(n);
        n = range_node_next(n);
        (void)unmap_entries(s, m);
        range_set_remove(&s->mappings, &m->node);
        kvm_window_put(s->vm, m->window);
        free(m);
    }
}

/* ---- the interface ---- */

static int space_apply(struct address_space *as, const struct as_op *ops, size_t n)
{
    struct kvm_space *s = space_of(as);
    int err = 0;
    MUTEX_GUARD(&s->lock);
    for (size_t i = 0; !err && i < n; i++) {
        const struct as_op *op = &ops[i];
        if (op->ar.end > as->platform->max_addr || op->ar.start >= op->ar.end)
            err = -EINVAL;
        else if (op->kind == AS_MAP)
            err = map_range(s, op);
        else if (op->kind == AS_UNMAP)
            err = unmap_range(s, op->ar.start, op->ar.end);
        else
            err = protect_range(s, op->ar.start, op->ar.end, op->perms);
    }
    if (err == -ENOMEM)
        space_empty(s);
    return err;
}

static void space_clear(struct address_space *as)
{
    struct kvm_space *s = space_of(as);
    MUTEX_GUARD(&s->lock);
    space_empty(s);
}

static void space_release(struct address_space *as)
{
    struct kvm_space *s = space_of(as);
    struct range_node *n = range_set_first(&s->mappings);
    /* No vCPU will use this root again, so nothing needs to be forgotten. */
    while (n) {
        struct mapping *m = mapping_of(n);
        n = range_node_next(n);
        range_set_remove(&s->mappings, &m->node);
        kvm_window_put(s->vm, m->window);
        free(m);
    }
    /* Whoever takes its tables is let finish. */
    mutex_lock(&s->vm->lock);
    while (s->stopped) {
        LOCK_RELEASED(&s->vm->lock);
        pthread_cond_wait(&s->vm->changed, &s->vm->lock.m);
        LOCK_ACQUIRED(&s->vm->lock, false);
    }
    list_del(&s->link);
    s->vm->nspaces--;
    mutex_unlock(&s->vm->lock);
    pt_destroy(&s->pt);
    mutex_destroy(&s->lock);
    free(s);
}

static const struct address_space_ops space_ops = {
    .apply = space_apply, .clear = space_clear, .release = space_release};

/* ---- tables for others ---- */

/* A block of entries is within one table of level 1, so it takes three at most. */
#define TABLES_FOR_A_FAULT 3

static struct kvm_space *choose_victim(struct kvm_vm *vm)
{
    struct kvm_space *s, *best = NULL;
    uint32_t share = vm->arena_used / (2 * vm->nspaces + 1);
    list_for_each (s, &vm->spaces, link) {
        if (!s->stopped && s->tables.tables > share && (!best || s->last_run < best->last_run))
            best = s;
    }
    return best;
}

/* Nobody runs in s afterwards, until it is allowed to go on. */
static void stop(struct kvm_vm *vm, struct kvm_space *s)
{
    s->stopped = true;
    for (int i = 0; i < vm->nvcpus; i++) {
        if (vm->vcpus[i].running && vm->vcpus[i].space == s)
            kvm_vcpu_kick(&vm->vcpus[i]);
    }
    while (s->running) {
        LOCK_RELEASED(&vm->lock);
        pthread_cond_wait(&vm->changed, &vm->lock.m);
        LOCK_ACQUIRED(&vm->lock, false);
    }
}

static void drop_tables(struct kvm_space *s)
{
    struct pt_status st;
    MUTEX_GUARD(&s->lock);
    s->pt.keep_tables = false;
    pt_flush_ignore(pt_unmap(&s->pt, 0, s->vm->base.max_addr, &st));
    if (!st.err)
        pt_flush_ignore(pt_clean_up(&s->pt, &st));
    if (st.err)
        panic("kvm: cannot take the tables of a space: %s", pt_error_name(st.err));
    s->pt.keep_tables = true;
}

void kvm_reclaim_tables(struct kvm_vm *vm)
{
    MUTEX_GUARD(&vm->lock);
    size_t left = vm->free_pages.count + vm->dead_pages.count + (vm->arena_pages - vm->arena_used);
    if (left >= TABLES_FOR_A_FAULT)
        return; /* somebody was faster */
    struct kvm_space *s = choose_victim(vm);
    if (!s)
        return;
    log_debug("kvm: out of tables: taking %u", s->tables.tables);
    stop(vm, s);
    mutex_unlock(&vm->lock);
    drop_tables(s);
    mutex_lock(&vm->lock);
    /* The root stays, so KVM must forget what was below it before anyone runs there. */
    kvm_forget_everything(vm);
    s->stopped = false;
    pthread_cond_broadcast(&vm->changed);
}

/* ---- birth ---- */

static bool init_root(struct kvm_space *s)
{
    for (int tries = 0; tries < 8; tries++) {
        if (pt_init(&s->pt, &kvm_table_ops, &s->tables) == PT_OK)
            return true;
        kvm_reclaim_tables(s->vm);
    }
    return false;
}

int kvm_space_create(struct kvm_vm *vm, struct address_space **out)
{
    struct kvm_space *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->vm = vm;
    s->tables.vm = vm;
    if (!init_root(s)) {
        free(s);
        return -ENOMEM;
    }
    s->pt.keep_tables = true;
    s->ahead = FILL_MEMORY;
    if (pt_share_upper(&s->pt, &vm->upper, UPPER_VA) != PT_OK)
        panic("kvm: cannot share the trampoline");
    mutex_init(&s->lock, LOCK_PLATFORM);
    range_set_init(&s->mappings);
    s->base.ops = &space_ops;
    s->base.platform = &vm->base;
    mutex_lock(&vm->lock);
    list_add_tail(&vm->spaces, &s->link);
    vm->nspaces++;
    mutex_unlock(&vm->lock);
    *out = &s->base;
    return 0;
}
