/*
 * The contract between things that can be mapped, the host files that hold their pages, and the
 * address spaces that map them. (After the memmap seed: gVisor's pkg/sentry/memmap.)
 *
 *   address space (mapping_space)            mappable                     memmap_file
 *   gva ranges  ---- VMA: (mappable, offset) ----> offsets ---- translate ----> file offsets
 * (pages, reference counted)
 *
 * A mappable is anything with an offset space that can be mapped: a tmpfs inode, a host file, a
 * shared anonymous segment. translate() says which pages of which memmap_file hold an offset now.
 * When that stops being true (truncation, eviction, checkpoint) the mappable calls
 * mapping_space->invalidate on everyone who maps it; they drop what they cached and ask again.
 *
 * All offsets are in bytes. All ranges are half-open and, unless said otherwise, page-aligned and
 * not empty.
 */
#ifndef PICKET_MEMMAP_MEMMAP_H
#define PICKET_MEMMAP_MEMMAP_H

#include "base/compiler.h"
#include <sys/types.h>
#include <sys/uio.h>

/* An address in the application. Never a pointer: only mm's copy functions reach behind it. */
typedef uint64_t gva_t;

struct addr_range {
    gva_t start, end;
};
struct mappable_range {
    uint64_t start, end;
};
struct file_range {
    uint64_t start, end;
};

#define RANGE_LENGTH(r) ((r).end - (r).start)
#define RANGE_WELL_FORMED(r) ((r).start <= (r).end)
#define RANGE_CONTAINS(r, x) ((r).start <= (x) && (x) < (r).end)
#define RANGE_SUPERSET(outer, inner) ((outer).start <= (inner).start && (inner).end <= (outer).end)

/* A set of access kinds. */
typedef uint8_t access_t;
#define ACCESS_READ ((access_t)1)
#define ACCESS_WRITE ((access_t)2)
#define ACCESS_EXEC ((access_t)4)
#define ACCESS_ANY ((access_t)7)
/* x86 cannot grant write or execute without read: the set that the hardware grants for `a`. */
static inline access_t access_effective(access_t a)
{
    return (access_t)(a ? a | ACCESS_READ : a);
}

/*
 * translate() fails with an ordinary negative errno, or, where the failure must reach the
 * application as SIGBUS (a page beyond the end of the file, an I/O error), with -EBUSERR.
 * Never seen by the application as an errno: copy functions turn it into -EFAULT.
 */
#define EBUSERR 600

struct memmap_file;
struct mappable;
struct mapping_space;
struct mapping_identity;

/*
 * A host file whose pages can be mapped into address spaces. All pages are reference counted; how
 * the first reference comes about is the implementation's affair.
 */
struct memmap_file_ops {
    /* Pre: at least one reference is held on every page of fr. */
    void (*inc_ref)(struct memmap_file *f, struct file_range fr);
    void (*dec_ref)(struct memmap_file *f, struct file_range fr);
    /*
     * Gives the sentry's own view of fr (which need not be page-aligned) as at most `max` blocks.
     * Returns the number of blocks, covering a prefix of fr (all of it if max allows), or -errno.
     * The blocks stay valid while a reference is held on their pages. Reading or writing them may
     * raise SIGBUS in the sentry if the host file was truncated behind our back: use
     * mm/safe_copy.h.
     */
    int (*map_internal)(struct memmap_file *f, struct file_range fr, access_t at,
                        struct iovec *blocks, int max);
};

struct memmap_file {
    const struct memmap_file_ops *ops;
    int fd; /* may only be mapped, as map_file in platform.h says */
    /* Not NULL if the whole file is mapped in the sentry, read-write, at this address and cannot
     * be truncated by others (the memory file): page X of the file is at window + X. */
    char *window;
};

/* One piece of the answer of translate(). */
struct translation {
    struct mappable_range source;
    struct memmap_file *file;
    uint64_t offset; /* in file, of source.start */
    access_t perms;  /* what mapping this piece may allow */
};

struct mappable_ops {
    /*
     * ms maps `ar` to offsets [offset, offset + length). `writable`: shared, and translate() may be
     * asked for ACCESS_WRITE; constant for the life of the mapping.
     * Pre: offset + length does not overflow. Returns 0 or -errno.
     */
    int (*add_mapping)(struct mappable *m, struct mapping_space *ms, struct addr_range ar,
                       uint64_t offset, bool writable);
    /* Undoes (part of) an add_mapping or copy_mapping with the same offset relation and flag. */
    void (*remove_mapping)(struct mappable *m, struct mapping_space *ms, struct addr_range ar,
                           uint64_t offset, bool writable);
    /* The mapping at src is being copied within ms to dst (mremap). The lengths may differ; src may
     * be empty. For most the same as add_mapping(dst). */
    int (*copy_mapping)(struct mappable *m, struct mapping_space *ms, struct addr_range src,
                        struct addr_range dst, uint64_t offset, bool writable);
    /*
     * Translates at least `required` and at most `optional` (a superset), for accesses `at`.
     * Writes at most max pieces to ts and their number to *n. Returns 0 if all of required is
     * covered; otherwise -errno (or -EBUSERR), and the pieces cover a (possibly empty) prefix of
     * it. If `max` is too small for required, -EAGAIN with a covered prefix of at least one piece:
     * call again for the rest. Every piece meets the postconditions of check_translate_result.
     * Translations are valid until invalidate() or until the caller removes its mapping of the
     * range; the mappable holds a reference on the pages until then.
     * Pre: the caller has a mapping of all of `required` and holds its MM_ACTIVE, which makes it
     * synchronise with invalidation: translate itself takes only locks after that (MAPPABLE_DATA).
     * A mappable that shrinks: with MAPPABLE_MAPS held, changes its size under MAPPABLE_DATA,
     * releases that, invalidates, and only then gives the pages up.
     */
    int (*translate)(struct mappable *m, struct mappable_range required,
                     struct mappable_range optional, access_t at, struct translation *ts, int max,
                     int *n);
    /* Invalidates translations that a checkpoint cannot keep. Races with no other call. */
    int (*invalidate_unsavable)(struct mappable *m);
};

/* Mappables that are coherent with each other are the same object: futexes compare the pointers. */
struct mappable {
    const struct mappable_ops *ops;
};

/* Aborts with a description unless (ts, n, err) is a lawful answer to translate(). Compiled to
 * nothing in release builds. */
#ifdef PICKET_DEBUG
void check_translate_result(struct mappable_range required, struct mappable_range optional,
                            access_t at, const struct translation *ts, int n, int err);
#else
static inline void check_translate_result(UNUSED struct mappable_range required,
                                          UNUSED struct mappable_range optional, UNUSED access_t at,
                                          UNUSED const struct translation *ts, UNUSED int n,
                                          UNUSED int err)
{
}
#endif

struct invalidate_opts {
    bool invalidate_private; /* private copies in the range go too; their data is lost */
};

/* Someone who maps mappables: an mm. */
struct mapping_space_ops {
    /* What translate() said for the offsets mapped at ar holds no longer. Takes no lock that
     * precedes MM_ACTIVE. */
    void (*invalidate)(struct mapping_space *ms, struct addr_range ar,
                       const struct invalidate_opts *opts);
};
struct mapping_space {
    const struct mapping_space_ops *ops;
};

/* Keeps a mappable alive, and names it for /proc/PID/maps. Usually a file description. */
struct mapping_identity_ops {
    void (*get)(struct mapping_identity *id);
    void (*put)(struct mapping_identity *id);
    /* A VMA with this identity has come to be (mmap, fork, a split, a move), or is gone: for whom
     * they count. Either both or none; VMAs with them are never merged. Lock held: at most
     * MM_MAPPING; none for the close that may be the last. */
    void (*vma_open)(struct mapping_identity *id);
    void (*vma_close)(struct mapping_identity *id);
    /* Writes the name shown in /proc/PID/maps; returns its length as snprintf does. */
    int (*name)(struct mapping_identity *id, char *buf, size_t size);
    dev_t (*device)(struct mapping_identity *id);
    uint64_t (*inode)(struct mapping_identity *id);
    /* Writes mr back as fdatasync would. Returns 0 or -errno. */
    int (*msync)(struct mapping_identity *id, struct mappable_range mr);
    /* Frees mr as fallocate with FALLOC_FL_PUNCH_HOLE would: it reads as zero. NULL: cannot. */
    int (*punch)(struct mapping_identity *id, struct mappable_range mr);
};
struct mapping_identity {
    const struct mapping_identity_ops *ops;
};

/* Order matters: the stricter of two modes is the greater. */
enum mlock_mode {
    MLOCK_NONE,
    MLOCK_LAZY,  /* VM_LOCKED | VM_LOCKONFAULT */
    MLOCK_EAGER, /* VM_LOCKED */
};

/* A request for a mapping. Zero-initialise, then fill. */
struct mmap_opts {
    uint64_t length; /* bytes; rounded up to pages by mm_mmap */
    gva_t addr;      /* hint, or the place if `fixed` */
    uint64_t offset; /* into mappable */
    /* NULL: anonymous. A mapping that succeeds takes its own reference on identity, and identity
     * keeps mappable alive. Shared anonymous memory has a mappable too. */
    struct mappable *mappable;
    struct mapping_identity *identity;
    access_t perms;     /* as asked for */
    access_t max_perms; /* what mprotect may ever grant; translate() must support all of it */
    bool is_private;
    bool fixed;
    bool unmap;      /* with fixed: what is there is replaced; without: -EEXIST (NOREPLACE) */
    bool map_32bit;  /* everything below 4 GiB (2 GiB, as Linux does); ignored if fixed */
    bool grows_down; /* extended downwards by faults in the guard gap */
    bool stack;      /* MAP_STACK, for the hint only */
    bool precommit;  /* MAP_POPULATE: fault everything in now */
    bool noreserve;
    bool force;   /* skip address checks: special mappings only; needs fixed and unmap */
    bool is_vdso; /* special mapping: cannot be merged, counted or locked */
    enum mlock_mode mlock;
    const char *hint; /* static name for /proc/PID/maps ("[heap]"), or NULL */
};

#endif
