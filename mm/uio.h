/*
 * Where a read goes to or a write comes from: application memory (a vector of guest ranges) or the
 * sentry's own. File systems see only this; each byte moves once.
 */
#ifndef PICKET_MM_UIO_H
#define PICKET_MM_UIO_H

#include "mm/mm.h"

struct uio_seg {
    uint64_t base; /* gva_t, or a sentry pointer if mm is NULL */
    uint64_t length;
};

struct uio {
    struct mm *mm; /* NULL: sentry memory */
    const struct uio_seg *segs;
    unsigned nsegs;
    unsigned seg;   /* current segment */
    uint64_t off;   /* in it */
    uint64_t resid; /* bytes left in all */
    struct uio_seg one;
    struct uio_seg *owned; /* freed by uio_release */
};

#define UIO_MAX_SEGS 1024u
#define UIO_MAX_BYTES 0x7ffff000ull /* MAX_RW_COUNT */

/* One application buffer. The length is cut to UIO_MAX_BYTES; -EFAULT if it leaves user space. */
MUST_CHECK int uio_init_user(struct uio *u, struct mm *mm, gva_t base, uint64_t length);
/* A struct iovec array in the application, read once. -EINVAL, -EFAULT, -ENOMEM as readv(2). */
MUST_CHECK int uio_init_iovec(struct uio *u, struct mm *mm, gva_t iov, uint64_t count);
void uio_init_kernel(struct uio *u, void *base, uint64_t length);
void uio_release(struct uio *u);

/* Move n bytes (at most resid) and advance. Return the bytes moved; -EFAULT if none could be. */
ssize_t uio_copy_to(struct uio *u, const void *src, size_t n);
ssize_t uio_copy_from(struct uio *u, void *dst, size_t n);
ssize_t uio_zero_to(struct uio *u, size_t n);
/* Advance without copying. Pre: n <= resid. */
void uio_skip(struct uio *u, uint64_t n);

/*
 * The next part of u as sentry memory, for a host call that reads or writes it directly: at most
 * `max` blocks and `limit` bytes, with references held on the pages behind them until uio_unpin.
 * Does not advance. Returns the number of bytes covered (0 only if resid is 0) or -EFAULT.
 * at: ACCESS_WRITE if the blocks will be written; then MM_PINNED is held until uio_unpin, and
 * nothing in between may wait for the application: a fork would leave its thread's data in a page
 * that the child sees and the parent, having written to it since, perhaps no longer does.
 */
#define UIO_PIN_BLOCKS 32
struct uio_pin {
    struct iovec blocks[UIO_PIN_BLOCKS];
    int nblocks;
    struct {
        struct memmap_file *file;
        struct file_range fr;
    } held[UIO_PIN_BLOCKS];
    int nheld;
    struct mm *written; /* whose MM_PINNED is held, or NULL */
};
ssize_t uio_pin(struct uio *u, struct uio_pin *pin, uint64_t limit, access_t at);
void uio_unpin(struct uio_pin *pin);

#endif
