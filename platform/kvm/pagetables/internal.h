/*
 * What the walkers share: arithmetic on levels, and the check of a range.
 */
#ifndef PICKET_PLATFORM_KVM_PAGETABLES_INTERNAL_H
#define PICKET_PLATFORM_KVM_PAGETABLES_INTERNAL_H

#include "platform/kvm/pagetables/pagetables.h"

/* Bytes that one entry of a table at this level (1 to 4) covers. */
static inline uint64_t entry_span(int level)
{
    return 1ull << (12 + 9 * (level - 1));
}
static inline unsigned entry_index(pt_virt_t va, int level)
{
    return (unsigned)(va >> (12 + 9 * (level - 1))) & (PT_ENTRIES - 1);
}
static inline bool is_canonical(pt_virt_t va)
{
    return (uint64_t)((int64_t)(va << 16) >> 16) == va;
}
static inline bool is_leaf(uint64_t entry, int level)
{
    return level == 1 || (entry & PT_HUGE);
}
/* The last byte of the entry that holds va, or of the range if that comes first. */
static inline pt_virt_t entry_last(pt_virt_t va, pt_virt_t last, int level)
{
    pt_virt_t end = va | (entry_span(level) - 1);
    return end < last ? end : last;
}
static inline int level_of_size(uint64_t size)
{
    return size == PT_SIZE_4K ? 1 : size == PT_SIZE_2M ? 2 : size == PT_SIZE_1G ? 3 : 0;
}

/* Ranges are kept as first and last byte, so that one may end with the address space. */
enum pt_error pt_check_range(pt_virt_t va, uint64_t length, pt_virt_t *last);

/* What a level adds to the effective flags of the pages below it. */
static inline uint64_t combine_flags(uint64_t above, uint64_t entry)
{
    return (above & entry & (PT_WRITE | PT_USER)) | ((above | entry) & PT_NO_EXEC);
}
#define PT_TOP_EFFECTIVE (PT_WRITE | PT_USER)

static inline void pt_describe(uint64_t entry, int level, pt_virt_t va, uint64_t above,
                               struct pt_translation *out)
{
    uint64_t span = entry_span(level);
    out->va = va & ~(span - 1);
    out->frame = entry & PT_FRAME_MASK & ~(span - 1);
    out->size = span;
    out->offset = va & (span - 1);
    out->flags = entry & ~PT_FRAME_MASK;
    out->effective = combine_flags(above, entry);
    out->kind = entry & PT_COW ? PT_COPY_ON_WRITE : PT_BASIC;
}

#endif
