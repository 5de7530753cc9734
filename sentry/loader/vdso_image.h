/*
 * The vDSO's ELF file, as vdso/ builds it, inside the sentry (vdso_image.S).
 */
#ifndef PICKET_SENTRY_LOADER_VDSO_IMAGE_H
#define PICKET_SENTRY_LOADER_VDSO_IMAGE_H

#include <stddef.h>

extern const char vdso_image_start[], vdso_image_end[];

static inline size_t vdso_image_size(void)
{
    return (size_t)(vdso_image_end - vdso_image_start);
}

#endif
