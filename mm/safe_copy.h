/*
 * Memory operations on the sentry's own view of application pages. The host may refuse such a page
 * (a host file truncated by somebody, memory limits): the access then raises SIGBUS or SIGSEGV in
 * the sentry, and these functions return where they stopped instead of crashing. Everything else
 * that touches such memory is a bug.
 */
#ifndef PICKET_MM_SAFE_COPY_H
#define PICKET_MM_SAFE_COPY_H

#include "base/compiler.h"

/* Installs the SIGSEGV and SIGBUS handlers, once per process, before any other call here. A fault
 * outside of these functions ends the process as it would have without. Returns 0 or -errno. */
MUST_CHECK int safe_copy_init(void);

/* Return the number of bytes done before a fault (n: all). */
size_t safe_copy(void *dst, const void *src, size_t n);
size_t safe_zero(void *dst, size_t n);
/* 0 or -EFAULT. p is aligned. */
MUST_CHECK int safe_load32(const uint32_t *p, uint32_t *out);
MUST_CHECK int safe_cmpxchg32(uint32_t *p, uint32_t expected, uint32_t desired, uint32_t *old);

#endif
