/*
 * The memory file: one sparse file in the host's memory that holds all application memory which no
 * host file backs.
 *
 *   0                                                                        size
 *   |[ small ranges, lowest gap first ->           <- 2 MiB-aligned runs, highest gap first ]|
 *
 * Pages are handed out in ranges, each page with a reference count (a range set of equal counts:
 * neighbours merge). When the last reference on a page goes, the page goes back to the host: at
 * once if it was part of a large range, else when a MiB of such pages has gathered, until which
 * they serve small allocations. Fresh ranges read as zero: because the host made the pages, because
 * the hole was punched, or, for those small ones, because the sentry zeroed them. Ranges come from
 * both ends so that 2 MiB runs stay whole.
 *
 * The whole file is mapped into the sentry once (file.window), without reserving memory.
 */
#ifndef PICKET_MEMMAP_MEMORY_FILE_H
#define PICKET_MEMMAP_MEMORY_FILE_H

#include "memmap/memmap.h"

struct memory_file {
    struct memmap_file file; /* all memmap_file operations work on it */
    uint64_t size;           /* bytes of offset space */
    bool huge;               /* the host gives 2 MiB pages where a mapping asks (MADV_HUGEPAGE) */
    struct memory_file_impl *impl;
};

#define MEMORY_FILE_HUGE 1u /* prefer an offset aligned to 2 MiB, from the top */
/* The caller overwrites every byte before anybody else can see the range: it need not be zero (it
 * may hold what another application left there). */
#define MEMORY_FILE_NOZERO 2u

struct memory_file_stats {
    uint64_t allocated; /* bytes that have a reference */
    uint64_t resident;  /* bytes that the host has given pages for */
};

/* size: bytes of offset space, 0 for a default derived from the machine's memory (at least twice
 * it). Allocation beyond `limit` bytes (0: none) fails with -ENOMEM. Returns 0 or -errno. */
MUST_CHECK int memory_file_create(struct memory_file **out, uint64_t size, uint64_t limit);
void memory_file_destroy(struct memory_file *mf);

/* Hands out `length` bytes (page-aligned, > 0) with one reference on each page. The range is
 * contiguous. Returns 0 or -ENOMEM. */
MUST_CHECK int memory_file_alloc(struct memory_file *mf, uint64_t length, unsigned flags,
                                 struct file_range *out);
/* Drops the contents of fr: it reads as zero and costs nothing until touched. References stay. */
void memory_file_decommit(struct memory_file *mf, struct file_range fr);
/* Makes the host provide the pages of fr now. Returns 0 or -errno. */
MUST_CHECK int memory_file_commit(struct memory_file *mf, struct file_range fr);
/* Whether every page of fr has exactly one reference. A hint unless the caller excludes others
 * from taking references (mm does: only holders of a PMA can). */
bool memory_file_exclusive(struct memory_file *mf, struct file_range fr);
/*
 * Writes n blocks of sentry memory to pages that nobody has touched yet, from `offset` on: the host
 * takes its pages and fills them in one go, without zeroing them and without a fault for each. Pre:
 * the caller holds references on the pages. Returns bytes written or -errno.
 */
MUST_CHECK ssize_t memory_file_fill(struct memory_file *mf, uint64_t offset,
                                    const struct iovec *blocks, int n);
void memory_file_stats(struct memory_file *mf, struct memory_file_stats *out);

/* The reference operations, for callers that know that they have a memory file. */
void memory_file_get(struct memory_file *mf, struct file_range fr);
void memory_file_put(struct memory_file *mf, struct file_range fr);
/* As memory_file_put, for the only reference on pages that read as zero already. */
void memory_file_put_emptied(struct memory_file *mf, struct file_range fr);

#ifdef PICKET_DEBUG
/* Reference count of the page at offset (0: free), and a full check of the invariants. */
uint64_t memory_file_refs(struct memory_file *mf, uint64_t offset);
void memory_file_check(struct memory_file *mf);
#endif

#endif
