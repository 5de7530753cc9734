/*
 * A memmap_file over a descriptor of a host file: offset X of it is offset X of the host file.
 *
 * The sentry's own view (map_internal) comes in aligned windows of 64 MiB, made when first asked
 * for, and unmapped when no page in them is referenced any more. The host file may shrink at
 * any time: touching the view may raise SIGBUS (mm/safe_copy.h).
 *
 * Any thread may call any function. Lock: HOST_FILE, inside.
 */
#ifndef PICKET_MEMMAP_HOST_FILE_H
#define PICKET_MEMMAP_HOST_FILE_H

#include "memmap/memmap.h"

struct host_file;

/*
 * Takes over fd on success. `writable`: fd is open for reading and writing, and map_internal may be
 * asked for ACCESS_WRITE (-EACCES otherwise). Returns 0 or -ENOMEM.
 *
 * inc_ref may take the first reference on a page: the host keeps the pages.
 */
MUST_CHECK int host_file_create(int fd, bool writable, struct host_file **out);
/* Valid until host_file_put, and beyond as long as any of its pages is referenced. */
struct memmap_file *host_file_memmap(struct host_file *hf);
/* Gives the creator's hold up; the descriptor is closed once no page is referenced. */
void host_file_put(struct host_file *hf);

#endif
