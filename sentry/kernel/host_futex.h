/*
 * The host's futex, for the few places where the sentry's own threads sleep.
 */
#ifndef PICKET_SENTRY_KERNEL_HOST_FUTEX_H
#define PICKET_SENTRY_KERNEL_HOST_FUTEX_H

#include "sentry/kernel/wait.h"

/* Sleeps while *word == value, until woken or until the deadline (NULL: none). May return early.
 * Returns 0 or -ETIMEDOUT. */
int host_futex_wait(_Atomic uint32_t *word, uint32_t value, const ktime_t *deadline);
/* Wakes at most n threads. */
void host_futex_wake(_Atomic uint32_t *word, int n);

#endif
