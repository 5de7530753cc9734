/*
 * x86-64 four-level page tables, as a library of their own: no KVM, no sentry, no allocation.
 *
 *   root (L4) --512 GiB an entry--> L3 --1 GiB--> L2 --2 MiB--> L1 --4 KiB--> frame
 *                                    \-> 1 GiB frame  \-> 2 MiB frame
 *
 * Tables are reached only through struct pt_ops, so that the same walkers serve live tables that a
 * processor walks, an image being built, and a read-only image. A table may move when it is written
 * (copy on write of an image): the walker then updates its parent, up to the root. Tables come from
 * the alloc operation, which takes them from a reserve that was filled beforehand (pt_tables_needed
 * says how many a map can need); a walk never allocates by itself. Table contents are not trusted:
 * an entry that names no table of ours ends the walk with PT_CORRUPT.
 *
 * Entries are written with single 8-byte stores, parents after children, so that a processor that
 * walks the tables meanwhile sees either the old or the new mapping.
 *
 * After: gVisor's pagetables (range walks, find-first, shared upper half), the x86_64 crate's
 * mapper (single entries with named failures, parent flags, flush obligations, clean-up),
 * Hyperlight's vmem (table operations, movable tables, copy-on-write kinds, several roots), Intel
 * SDM vol. 3A chapter 4.
 *
 * Nothing here takes a lock: one writer at a time for a set of tables.
 */
#ifndef PICKET_PLATFORM_KVM_PAGETABLES_H
#define PICKET_PLATFORM_KVM_PAGETABLES_H

#include "base/compiler.h"

typedef uint64_t pt_phys_t; /* guest-physical address */
typedef uint64_t pt_virt_t; /* guest-virtual, canonical */

#define PT_PRESENT (1ull << 0)
#define PT_WRITE (1ull << 1)
#define PT_USER (1ull << 2)
#define PT_WRITE_THROUGH (1ull << 3)
#define PT_NO_CACHE (1ull << 4)
#define PT_ACCESSED (1ull << 5)
#define PT_DIRTY (1ull << 6)
#define PT_HUGE (1ull << 7) /* set by the library in level 2 and 3 entries that map a frame */
#define PT_GLOBAL (1ull << 8)
#define PT_COW (1ull << 9) /* ours: read-only until copied; takes PT_WRITE away */
#define PT_SOFT1 (1ull << 10)
#define PT_SOFT2 (1ull << 11)
#define PT_NO_EXEC (1ull << 63)
#define PT_FRAME_MASK 0x000ffffffffff000ull
/* Everything a caller may pass as flags. */
#define PT_FLAGS_MASK (~PT_FRAME_MASK & ~PT_HUGE & ~(0x7ffull << 52))
#define PT_PARENT_DEFAULT (PT_PRESENT | PT_WRITE | PT_USER | PT_ACCESSED)

#define PT_ENTRIES 512
#define PT_SIZE_4K (1ull << 12)
#define PT_SIZE_2M (1ull << 21)
#define PT_SIZE_1G (1ull << 30)

enum pt_error {
    PT_OK,
    PT_NO_TABLE,       /* the reserve is empty; what was done before stays done (pt_status.done) */
    PT_PARENT_HUGE,    /* a larger page maps the address */
    PT_ALREADY_MAPPED, /* single-entry map of a present entry */
    PT_NOT_MAPPED,
    PT_BAD_FRAME,   /* the frame's address is not aligned to its size, or has more than 52 bits */
    PT_BAD_ADDRESS, /* not canonical, not aligned, empty, or beyond the end */
    PT_SHARED,      /* in the upper half that other roots share */
    PT_CORRUPT,     /* an entry names no table */
    PT_READ_ONLY,   /* the tables cannot be written */
};
const char *pt_error_name(enum pt_error e);

struct pt_ops {
    /* The 512 entries of the table at pa for reading, or NULL if pa is no table. */
    const uint64_t *(*read)(void *arg, pt_phys_t pa);
    /* For writing. May move the table: then *pa is its new address, and the walker tells the
     * parent. NULL: cannot be written. */
    uint64_t *(*write)(void *arg, pt_phys_t *pa);
    /* A zeroed table, or 0 if the reserve is empty. */
    pt_phys_t (*alloc)(void *arg);
    /* A table that nothing points to any more. Processors may still hold it in their caches until
     * the flush obligation of the call that freed it has been met. */
    void (*free)(void *arg, pt_phys_t pa);
};

struct pt {
    const struct pt_ops *ops;
    void *arg;
    pt_phys_t root;        /* what goes into CR3 */
    pt_virt_t upper_start; /* from here up the entries belong to another root; 0: none */
    /* Tables stay linked while the root lives: unmap clears their entries one by one. For
     * hypervisors that do not see table entries (as opposed to page entries) go away. */
    bool keep_tables;
};

/*
 * What must be flushed after a change: translations that a processor may have cached and that
 * hold no longer. Making a mapping where none was needs no flush. The compiler does not let a
 * caller drop one: hand it to pt_flush (which calls fn for the range), keep it with pt_flush_merge,
 * or say pt_flush_ignore where no processor uses these tables.
 */
struct pt_obligation {
    pt_virt_t start, end; /* empty: nothing to do */
    bool tables;          /* tables were freed or moved: paging-structure caches too */
};
typedef void (*pt_flush_fn)(void *arg, pt_virt_t start, pt_virt_t end, bool tables);
void pt_flush(struct pt_obligation o, pt_flush_fn fn, void *arg);
void pt_flush_ignore(struct pt_obligation o);
MUST_CHECK struct pt_obligation pt_flush_merge(struct pt_obligation a, struct pt_obligation b);

struct pt_status {
    enum pt_error err;
    bool replaced; /* map: something present was there. unmap, protect: something was there */
    uint64_t done; /* bytes of the range dealt with; all of them if err is PT_OK */
};

/* A new root from the reserve. PT_NO_TABLE if it is empty. */
MUST_CHECK enum pt_error pt_init(struct pt *pt, const struct pt_ops *ops, void *arg);
/* Existing tables. */
void pt_attach(struct pt *pt, const struct pt_ops *ops, void *arg, pt_phys_t root);
/* Shares everything from `start` (a multiple of 512 GiB) up with `upper`, whose tables there must
 * stay as they are while it is shared. */
MUST_CHECK enum pt_error pt_share_upper(struct pt *pt, const struct pt *upper, pt_virt_t start);
/* Frees every table below the root (the shared upper half excepted) and the root. No processor uses
 * them, and no other root shares them: for roots that do, pt_destroy_roots. */
void pt_destroy(struct pt *pt);

/* The most tables that pt_map of this range can take from the reserve, splits included. */
uint64_t pt_tables_needed(pt_virt_t va, uint64_t length);

/* ---- ranges: va and length multiples of 4 KiB ---- */

/* Maps [va, va + length) to physical memory from pa, with the largest pages (up to max_size) that
 * the alignment of both allows. What was there is replaced; large pages are split as needed. */
MUST_CHECK struct pt_obligation pt_map(struct pt *pt, pt_virt_t va, uint64_t length, pt_phys_t pa,
                                       uint64_t flags, uint64_t max_size, struct pt_status *st);
MUST_CHECK struct pt_obligation pt_unmap(struct pt *pt, pt_virt_t va, uint64_t length,
                                         struct pt_status *st);
/* Gives every present entry of the range these flags; accessed and dirty bits are kept. */
MUST_CHECK struct pt_obligation pt_protect(struct pt *pt, pt_virt_t va, uint64_t length,
                                           uint64_t flags, struct pt_status *st);
MUST_CHECK enum pt_error pt_is_empty(const struct pt *pt, pt_virt_t va, uint64_t length,
                                     bool *empty);
/* Frees empty tables, everywhere or where they lie wholly or partly in the range. */
MUST_CHECK struct pt_obligation pt_clean_up(struct pt *pt, struct pt_status *st);
MUST_CHECK struct pt_obligation pt_clean_up_range(struct pt *pt, pt_virt_t va, uint64_t length,
                                                  struct pt_status *st);

/* ---- single entries: size is PT_SIZE_4K, _2M or _1G ---- */

/* Parents that exist get parent_flags added; new ones have just those (and PT_PRESENT). */
MUST_CHECK struct pt_obligation pt_map_page(struct pt *pt, pt_virt_t va, pt_phys_t pa,
                                            uint64_t size, uint64_t flags, uint64_t parent_flags,
                                            struct pt_status *st);
MUST_CHECK struct pt_obligation pt_identity_map(struct pt *pt, pt_phys_t pa, uint64_t size,
                                                uint64_t flags, struct pt_status *st);
MUST_CHECK struct pt_obligation pt_unmap_page(struct pt *pt, pt_virt_t va, uint64_t size,
                                              pt_phys_t *pa, struct pt_status *st);
MUST_CHECK struct pt_obligation pt_update_flags(struct pt *pt, pt_virt_t va, uint64_t size,
                                                uint64_t flags, struct pt_status *st);
/* The flags of the table entry above va at level 4, 3 or 2. */
MUST_CHECK struct pt_obligation pt_update_parent_flags(struct pt *pt, pt_virt_t va, int level,
                                                       uint64_t flags, struct pt_status *st);
MUST_CHECK enum pt_error pt_parent_flags(const struct pt *pt, pt_virt_t va, int level,
                                         uint64_t *flags);

/* ---- looking ---- */

enum pt_kind { PT_UNMAPPED, PT_BASIC, PT_COPY_ON_WRITE };

struct pt_translation {
    pt_virt_t va;    /* start of the page */
    pt_phys_t frame; /* start of the frame */
    uint64_t size;
    uint64_t offset;    /* of the address asked for, in both */
    uint64_t flags;     /* of the entry alone */
    uint64_t effective; /* PT_WRITE and PT_USER only if every level has them; PT_NO_EXEC if any */
    enum pt_kind kind;
};
/* The page that holds va. PT_NOT_MAPPED if there is none. */
MUST_CHECK enum pt_error pt_translate(const struct pt *pt, pt_virt_t va,
                                      struct pt_translation *out);
/* As pt_translate, or if va is not mapped the next page above it, in this half of the space. */
MUST_CHECK enum pt_error pt_find_first(const struct pt *pt, pt_virt_t va,
                                       struct pt_translation *out);
/* Calls fn for each page that meets the range, ascending, until it returns false. */
typedef bool (*pt_visit_fn)(void *arg, const struct pt_translation *page);
MUST_CHECK enum pt_error pt_walk(const struct pt *pt, pt_virt_t va, uint64_t length, pt_visit_fn fn,
                                 void *arg);

/* ---- several roots ---- */

/*
 * `seen` is working memory for the tables that were met (a hash table: half as much again as there
 * are tables makes it quick); its contents need not be initialised.
 *
 * Walks roots[0..n) in order. A table that was reached before, from this root or an earlier one at
 * the same level, is reported through `shared` (with the root and address where it was first met)
 * and not walked again. PT_NO_TABLE if max_seen does not suffice.
 */
struct pt_seen {
    pt_phys_t table;
    pt_virt_t va;
    uint16_t root;
    uint8_t level;
};
struct pt_roots_visitor {
    bool (*page)(void *arg, unsigned root, const struct pt_translation *page);
    bool (*shared)(void *arg, unsigned root, pt_virt_t va, int level, const struct pt_seen *first);
    void *arg;
};
MUST_CHECK enum pt_error pt_walk_roots(const struct pt *roots, unsigned n, struct pt_seen *seen,
                                       size_t max_seen, const struct pt_roots_visitor *v);
/*
 * Builds copies of roots[0..n) in the tables of dst_ops: dst[i] for roots[i], with the same pages
 * (frames given by `frame`, which may renumber them) and with tables shared where the originals
 * share them. seen and seen_dst are of max_seen each.
 */
typedef pt_phys_t (*pt_frame_fn)(void *arg, pt_phys_t frame, uint64_t size);
MUST_CHECK enum pt_error pt_rebuild_roots(const struct pt *roots, unsigned n, struct pt *dst,
                                          const struct pt_ops *dst_ops, void *dst_arg,
                                          pt_frame_fn frame, void *frame_arg, struct pt_seen *seen,
                                          pt_phys_t *seen_dst, size_t max_seen);
/* pt_destroy for roots that share sub-tables with each other: each table is freed once.
 * PT_NO_TABLE (nothing was freed) if seen does not suffice. */
MUST_CHECK enum pt_error pt_destroy_roots(struct pt *roots, unsigned n, struct pt_seen *seen,
                                          size_t max_seen);

#endif
