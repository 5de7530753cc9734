/*
 * Mapping sets: which mapping spaces map which offsets of a mappable, and where. A mappable keeps
 * one, feeds it from add_mapping/remove_mapping/copy_mapping, and asks it to invalidate.
 *
 * Locks: the mappable's own (MAPPABLE_MAPS) guards its set; invalidate is called with it held.
 */
#ifndef PICKET_MEMMAP_MAPPING_SET_H
#define PICKET_MEMMAP_MAPPING_SET_H

#include "base/range_set.h"
#include "memmap/memmap.h"

struct mapping_set {
    struct range_set ranges; /* over offsets; each node has a list of (space, addr, writable) */
};

void mapping_set_init(struct mapping_set *s);
/* Pre: empty. */
void mapping_set_destroy(struct mapping_set *s);
bool mapping_set_empty(const struct mapping_set *s);

/* Returns 0 or -ENOMEM (then nothing changed). */
MUST_CHECK int mapping_set_add(struct mapping_set *s, struct mapping_space *ms,
                               struct addr_range ar, uint64_t offset, bool writable);
/* Pre: that mapping (or one that contains it) was added. Never fails. */
void mapping_set_remove(struct mapping_set *s, struct mapping_space *ms, struct addr_range ar,
                        uint64_t offset, bool writable);
/* Calls invalidate on every space that maps an offset in mr, for just the addresses concerned. */
void mapping_set_invalidate(struct mapping_set *s, struct mappable_range mr,
                            const struct invalidate_opts *opts);
void mapping_set_invalidate_all(struct mapping_set *s, const struct invalidate_opts *opts);
/* Whether any writable shared mapping meets mr (memfd seals ask). */
bool mapping_set_has_writable(const struct mapping_set *s, struct mappable_range mr);

#endif
