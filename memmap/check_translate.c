/*
 * The postconditions of translate(), in one place: whatever a file system answers, mm may rely on
 * what is checked here. (The same list as in the memmap seed's CheckTranslateResult.)
 */
#include "memmap/memmap.h"

#ifdef PICKET_DEBUG

#include "base/log.h"

#define CHECK(cond, what)                                                                          \
    do {                                                                                           \
        if (!(cond))                                                                               \
            panic("translate([%#lx, %#lx), optional [%#lx, %#lx), access %u): piece %d of %d, "    \
                  "error %d: " what,                                                               \
                  required.start, required.end, optional.start, optional.end, at, i, n, err);      \
    } while (0)

static bool aligned(uint64_t start, uint64_t end)
{
    return page_aligned(start) && page_aligned(end);
}

void check_translate_result(struct mappable_range required, struct mappable_range optional,
                            access_t at, const struct translation *ts, int n, int err)
{
    int i = -1;
    CHECK(RANGE_WELL_FORMED(required) && RANGE_LENGTH(required) > 0, "required is empty");
    CHECK(aligned(required.start, required.end), "required is not page-aligned");
    CHECK(aligned(optional.start, optional.end), "optional is not page-aligned");
    CHECK(RANGE_SUPERSET(optional, required), "optional does not contain required");
    CHECK(err <= 0, "the error is positive");
    CHECK(n >= 0, "a negative number of pieces");

    uint64_t covered = required.start;
    for (i = 0; i < n; i++) {
        const struct translation *t = &ts[i];
        uint64_t end;
        CHECK(RANGE_WELL_FORMED(t->source) && RANGE_LENGTH(t->source) > 0, "the source is empty");
        CHECK(aligned(t->source.start, t->source.end), "the source is not page-aligned");
        CHECK(t->file, "there is no file");
        CHECK(page_aligned(t->offset), "the file offset is not page-aligned");
        CHECK(!__builtin_add_overflow(t->offset, RANGE_LENGTH(t->source), &end),
              "the file range overflows");
        CHECK(RANGE_SUPERSET(optional, t->source), "the source leaves optional");
        CHECK(t->source.start < required.end && t->source.end > required.start,
              "no part of the source is required");
        CHECK((t->perms & at) == at, "the permissions do not allow the access");
        if (i == 0)
            CHECK(t->source.start <= required.start && required.start < t->source.end,
                  "the first piece does not hold the first required page");
        else
            CHECK(t->source.start == covered, "there is a gap or an overlap before it");
        covered = t->source.end;
    }
    i = -1;
    CHECK(err != 0 || covered >= required.end, "success, but required is not covered");
    CHECK(err == 0 || covered < required.end, "an error, but required is covered");
}

#endif
