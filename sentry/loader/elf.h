/*
 * What the ELF parser shares with its neighbours in this folder; see loader.h for the rest.
 */
#ifndef PICKET_SENTRY_LOADER_ELF_H
#define PICKET_SENTRY_LOADER_ELF_H

#include "sentry/loader/loader.h"
#include <limits.h>

/* The end of user space with four-level page tables: Linux's TASK_SIZE_MAX. */
#define ELF_ADDRESS_LIMIT 0x7ffffffff000ull

/*
 * Reads the interpreter's path, NUL-terminated. Pre: elf_parse filled img from r, and
 * img->interp_size is not 0. Returns 0, -EIO if the file is too short, -ENOEXEC if there is no NUL.
 */
MUST_CHECK int elf_read_interp(const struct elf_reader *r, const struct elf_image *img,
                               char path[PATH_MAX]);

#endif
