/*
 * What the files of mm share.
 *
 *   vma.c     VMAs: find, split, merge, gaps, accounting        mmap.c   mmap, munmap, brk, growth
 *   pma.c     PMAs: fill, copy-on-write, drop, invalidate        mprotect.c, mremap.c, madvise.c,
 *   batch.c   what the platform is told                          mlock.c  the calls of those names
 *   fault.c   faults and how much is mapped around them          io.c     copying, atomics, futex
 * keys mm.c      creation, fork, end                                maps.c   /proc and statistics
 *
 * Invariants, checked by mm_check:
 *   - every PMA lies within VMAs, and its `effective` is what pma_effective says;
 *   - a PMA that is pushed is shown by the platform, if at all, with exactly `effective`; one that
 *     is not pushed is not shown;
 *   - a page that the platform may show has a reference.
 */
#ifndef PICKET_MM_INTERNAL_H
#define PICKET_MM_INTERNAL_H

#include "base/lock.h"
#include "base/range_set.h"
#include "mm/mm.h"

/* Pages between a grows-down mapping and what lies below it. */
#define STACK_GUARD_GAP (256 * PAGE_SIZE)

#define VMA_PRIVATE 0x0001u
#define VMA_GROWS_DOWN 0x0002u
#define VMA_SPECIAL 0x0004u   /* vDSO and its like: not merged, counted or locked */
#define VMA_ACCOUNT 0x0008u   /* counted in Committed_AS */
#define VMA_NORESERVE 0x0010u /* never counted, but in overcommit mode 2 */
#define VMA_DONT_FORK 0x0020u
#define VMA_WIPE_ON_FORK 0x0040u
#define VMA_DONT_DUMP 0x0080u
#define VMA_HUGEPAGE 0x0100u
#define VMA_NOHUGEPAGE 0x0200u
#define VMA_RANDOM 0x0400u /* MADV_RANDOM: nothing is mapped ahead */
#define VMA_SEQUENTIAL 0x0800u

/* The name that PR_SET_VMA_ANON_NAME gave; shared by the parts of a split VMA. */
struct anon_name {
    struct refcount ref;
    char text[];
};

struct vma {
    struct range_node node;
    struct mappable *mappable;   /* NULL: private anonymous */
    struct mapping_identity *id; /* a reference, or NULL */
    uint64_t offset;             /* in mappable, of node.start; 0 if anonymous */
    uint32_t flags;              /* VMA_* */
    access_t perms;              /* as asked for */
    access_t effective;          /* as the hardware grants them */
    access_t max;                /* what mprotect may ask for */
    uint8_t mlock;               /* enum mlock_mode */
    const char *hint;            /* static, or NULL */
    struct anon_name *name;      /* a reference, or NULL */
    struct mm_policy policy;     /* policy.c */
    struct vma *drop_next;       /* on a vma_drop list */
};

struct pma {
    struct range_node node;
    struct memmap_file *file;
    uint64_t offset;          /* in file, of node.start; a reference is held on every page */
    access_t translate_perms; /* what the pages may be used for at all */
    access_t effective;       /* what the platform may show */
    bool is_private;          /* pages of the memory file that belong to this mm and its forks */
    bool need_cow;            /* must be copied, or taken over, before a write */
    uint32_t pushed;          /* mm->as_gen if the platform was told, else something else */
};

struct mm {
    struct mapping_space ms;
    struct refcount ref;
    atomic_int users;
    struct mm_config *cfg;
    _Atomic(const struct mm_limits *) limits;
    gva_t min_addr, max_addr; /* application addresses: [min_addr, max_addr) */

    struct rwlock pinned;  /* MM_PINNED */
    struct rwlock mapping; /* MM_MAPPING: down to the next blank line */
    struct range_set vmas;
    struct mm_layout layout;
    uint64_t total_vm, data_vm, stack_vm, exec_vm, locked_vm, peak_vm; /* bytes */
    unsigned mapped_ahead;                                             /* a count, for probes */
    enum mlock_mode def_mlock;                                         /* mlockall(MCL_FUTURE) */

    struct rwlock active; /* MM_ACTIVE: down to the next blank line */
    struct range_set pmas;
    struct address_space *as; /* NULL after the last user is gone */
    uint32_t as_gen;          /* grows when the platform forgets everything; never 0 */
    uint64_t peak_rss;
    uint64_t trips, trip_ops; /* to the platform, for the log */

    _Atomic uint64_t minor_faults;
    _Atomic int touch_score; /* whether new small mappings are touched soon: see mm_map_ahead */
    struct mutex info_lock;  /* LEAF */
    struct mm_info info;
};

static inline struct vma *vma_of(struct range_node *n)
{
    return n ? container_of(n, struct vma, node) : NULL;
}
static inline struct pma *pma_of(struct range_node *n)
{
    return n ? container_of(n, struct pma, node) : NULL;
}
static inline struct vma *vma_find(struct mm *mm, gva_t addr)
{
    return vma_of(range_set_find(&mm->vmas, addr));
}
/* The first VMA that ends above addr. */
static inline struct vma *vma_lower_bound(struct mm *mm, gva_t addr)
{
    return vma_of(range_set_lower_bound(&mm->vmas, addr));
}
static inline struct vma *vma_next(struct vma *v)
{
    return vma_of(range_node_next(&v->node));
}
static inline struct vma *vma_prev(struct vma *v)
{
    return vma_of(range_node_prev(&v->node));
}
static inline struct pma *pma_find(struct mm *mm, gva_t addr)
{
    return pma_of(range_set_find(&mm->pmas, addr));
}
static inline struct pma *pma_lower_bound(struct mm *mm, gva_t addr)
{
    return pma_of(range_set_lower_bound(&mm->pmas, addr));
}
static inline struct pma *pma_next(struct pma *p)
{
    return pma_of(range_node_next(&p->node));
}
static inline struct pma *pma_prev(struct pma *p)
{
    return pma_of(range_node_prev(&p->node));
}
static inline struct addr_range node_range(const struct range_node *n)
{
    return (struct addr_range){n->start, n->end};
}
static inline uint64_t node_length(const struct range_node *n)
{
    return n->end - n->start;
}
/* The offset into v's mappable of addr. */
static inline uint64_t vma_offset(const struct vma *v, gva_t addr)
{
    return v->mappable ? v->offset + (addr - v->node.start) : 0;
}
static inline struct file_range pma_file_range(const struct pma *p, gva_t start, gva_t end)
{
    return (struct file_range){p->offset + (start - p->node.start),
                               p->offset + (end - p->node.start)};
}
/* Whether translate() may be asked for writable pages of v. */
static inline bool vma_writable_mapping(const struct vma *v)
{
    return !(v->flags & VMA_PRIVATE) && (v->max & ACCESS_WRITE);
}
static inline const struct mm_limits *mm_limits(struct mm *mm)
{
    return atomic_load_explicit(&mm->limits, memory_order_acquire);
}
static inline struct memory_file *mm_memory(struct mm *mm)
{
    return mm->cfg->memory;
}
/* Whether [addr, addr + length) lies within application addresses. */
static inline bool mm_range_ok(struct mm *mm, gva_t addr, uint64_t length)
{
    return addr <= mm->max_addr && length <= mm->max_addr - addr;
}

/* ---- vma.c: MM_MAPPING held, for writing unless a function only looks ---- */

/* VMAs that were taken out; their identities may be the last references to files, whose end takes
 * locks that precede ours: call vma_drop_all with no lock held. */
struct vma_drop {
    struct vma *first;
};
void vma_drop_all(struct vma_drop *d);

/* v becomes one of its identity's VMAs, with a reference; and no longer. */
void vma_open(struct vma *v);
void vma_close(struct vma *v);
/* A copy of v with references of its own; not in any set. NULL: no memory. */
struct vma *vma_clone(const struct vma *v);
void vma_free(struct vma *v);
bool vma_same_policy(const struct vma *a, const struct vma *b);
void anon_name_put(struct anon_name *n); /* NULL is fine */
/* Splits VMAs so that none crosses start or end. -ENOMEM also if that makes too many, where the
 * caller is about to take `leaving` of them out. */
MUST_CHECK int vma_isolate(struct mm *mm, gva_t start, gva_t end, unsigned leaving);
/* Whether b, which may follow a, continues it in every respect. */
bool vma_can_merge(const struct vma *a, const struct vma *b);
/* Merges what may be merged among the VMAs that touch [start, end]. */
void vma_merge(struct mm *mm, gva_t start, gva_t end);
/* Adds (or subtracts) `length` bytes of v to the mm's sums. */
void vma_account(struct mm *mm, const struct vma *v, uint64_t length, bool add);
/* Whether every page of [start, end) is in some VMA. */
bool vma_covers(struct mm *mm, gva_t start, gva_t end);
/* Bytes of [start, end) that are in VMAs; in locked VMAs. */
uint64_t vma_mapped_bytes(struct mm *mm, gva_t start, gva_t end);
uint64_t vma_locked_bytes(struct mm *mm, gva_t start, gva_t end);
/* Whether `grow` more bytes of address space are allowed, of a data mapping or not. */
bool mm_may_expand(struct mm *mm, bool data, uint64_t grow);
static inline bool vma_is_data(uint32_t flags, access_t perms)
{
    return (flags & (VMA_PRIVATE | VMA_GROWS_DOWN | VMA_SPECIAL)) == VMA_PRIVATE &&
           (perms & ACCESS_WRITE);
}
/* Committed_AS: 0 or -ENOMEM as vm.overcommit_memory says. */
MUST_CHECK int mm_commit(struct mm_config *cfg, uint64_t bytes);
void mm_uncommit(struct mm_config *cfg, uint64_t bytes);
/* -EAGAIN, -EPERM, -ENOMEM are the caller's affair: whether `more` locked bytes are allowed. */
bool mm_may_lock(struct mm *mm, uint64_t more);

struct gap_request {
    gva_t hint; /* 0: none */
    uint64_t length;
    bool map_32bit;
    bool huge; /* aligned to 2 MiB if possible */
};
/* Where v's claim starts: below a growing stack, nothing is placed within the guard gap. */
gva_t vma_guarded_start(const struct vma *v);
/* Finds room. 0 or -ENOMEM. */
MUST_CHECK int vma_find_gap(struct mm *mm, const struct gap_request *rq, gva_t *out);

/* Removes everything in [start, end). -ENOMEM: nothing changed (but splits). */
MUST_CHECK int mm_unmap_locked(struct mm *mm, gva_t start, gva_t end, struct vma_drop *drop);
/*
 * Takes MM_MAPPING (for reading, or for writing if a stack had to grow) and returns the VMA of
 * addr, or NULL. The caller unlocks in either case.
 */
struct vma *mm_lock_vma(struct mm *mm, gva_t addr);

/* ---- batch.c: MM_ACTIVE held for writing ---- */

/*
 * Work for the platform, gathered so that one trip into the stub does it all, and the references
 * that may only be dropped when it is done. Adding flushes when full; batch_flush must be last.
 */
#define BATCH_OPS 64
struct batch {
    struct mm *mm;
    size_t nops, nputs;
    int err; /* of a flush that the owner did not ask for */
    struct as_op ops[BATCH_OPS];
    struct {
        struct memmap_file *file;
        struct file_range fr;
    } puts[BATCH_OPS];
};
void batch_init(struct batch *b, struct mm *mm);
#define MAP_PRECOMMIT 1u /* see struct as_op */
#define MAP_HUGE 2u
/* Shows p's pages in [start, end), a part of p, and marks all of p as pushed. */
void batch_map(struct batch *b, struct pma *p, gva_t start, gva_t end, unsigned how);
void batch_unmap(struct batch *b, gva_t start, gva_t end);
/* All that is shown of it allowed `was` so far. */
void batch_protect(struct batch *b, gva_t start, gva_t end, access_t was, access_t perms);
/* Drops the references after the operations before it are done. */
void batch_put(struct batch *b, struct memmap_file *file, struct file_range fr);
/* Whether an operation of the pending ones shows addr. */
bool batch_shows(const struct batch *b, gva_t addr);
/* 0; -ENOMEM: the platform has forgotten everything; else: the address space is dead. */
int batch_flush(struct batch *b);
static inline bool pma_pushed(const struct mm *mm, const struct pma *p)
{
    return p->pushed == mm->as_gen;
}
/* The platform has forgotten everything. */
void mm_platform_emptied(struct mm *mm);

/* ---- pma.c: MM_ACTIVE held for writing, and MM_MAPPING for reading unless said otherwise ---- */

extern const struct mapping_space_ops mm_mapping_space_ops;
access_t pma_effective(const struct vma *v, const struct pma *p);
/*
 * Makes PMAs that allow `at` for all of [start, end), a part of v. Pre: v allows `at` (or the
 * caller forces). Returns 0, -EBUSERR, -ENOMEM or what translate says; a prefix may be done then.
 */
MUST_CHECK int pma_ensure(struct mm *mm, struct vma *v, gva_t start, gva_t end, access_t at,
                          struct batch *b);
/* Takes over, as pma_ensure does for a write, all private pages around addr that nobody shares any
 * more: a process that forked and whose child is gone has its memory back at one fault. */
void pma_take_over_around(struct mm *mm, gva_t addr, struct batch *b);
/* Splits PMAs so that none crosses start or end. */
MUST_CHECK int pma_isolate(struct mm *mm, gva_t start, gva_t end);
void pma_merge(struct mm *mm, gva_t start, gva_t end);
/* Takes out all PMAs in [start, end). Pre: isolated. Needs no MM_MAPPING. */
void pma_remove(struct mm *mm, gva_t start, gva_t end, struct batch *b);
/* Sets what PMAs of [start, end) in v may show after v changed. Pre: isolated. */
void pma_update(struct mm *mm, struct vma *v, gva_t start, gva_t end, struct batch *b);
/* The sentry's view of one piece of p's pages, at most `max` bytes from addr. NULL: -errno in
 * *err. *n is how many bytes are behind the pointer. */
char *pma_pointer(struct pma *p, gva_t addr, size_t max, access_t at, size_t *n, int *err);
/* Which pages of p in [start, end) the host has: a byte each, 0 or 1; and how many bytes that is.
 */
void pma_mincore(struct pma *p, gva_t start, gva_t end, unsigned char *vec);
uint64_t pma_resident(struct pma *p, gva_t start, gva_t end);

/* ---- io.c: no lock held ---- */

size_t mm_zero_out_partial(struct mm *mm, gva_t dst, size_t length);
/*
 * Calls fn for each run of pages behind [addr, addr + length), faulting them in for `at`: their
 * file and (page-aligned) range, the sentry's pointer to the first byte and the number of bytes. fn
 * runs with MM_ACTIVE held and may take references; false ends the visit. Returns the bytes
 * visited.
 */
typedef bool (*visit_fn)(void *arg, struct memmap_file *file, struct file_range fr, char *p,
                         size_t n);
size_t mm_visit_pages(struct mm *mm, gva_t addr, size_t length, access_t at, visit_fn fn,
                      void *arg);

/* ---- fault.c ---- */

/* Faults in [start, end) as far as VMAs and permissions allow; stops at the first failure and
 * returns it. No lock held. at: 0 means what each VMA allows, for MAP_POPULATE and mlock. */
int mm_populate(struct mm *mm, gva_t start, gva_t end, access_t at);
/*
 * A small anonymous mapping was made at [start, end). If such mappings use to be touched, shows it
 * at once, which is cheaper than a fault later. MM_MAPPING held for writing.
 */
void mm_map_ahead(struct mm *mm, gva_t start, gva_t end);
/* As much as can be, everywhere. */
void mm_populate_all(struct mm *mm);

/* ---- shared_anon.c ---- */

/* A mappable of `length` zero bytes with one reference on its identity; counted as committed. */
MUST_CHECK int shared_anon_create(struct mm_config *cfg, uint64_t length, bool account,
                                  struct mappable **m, struct mapping_identity **id);

#endif
