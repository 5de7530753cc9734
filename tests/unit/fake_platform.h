/*
 * A platform for tests of mm: each address space is a reserved region of the test process, in which
 * "application" address A lies at base + A, and files are mapped for real. So a test can read and
 * write application memory as an application would, and see whether the platform was told right.
 *
 * It can be told to run out of room (a limit on mapped pages), and counts what it is asked.
 */
#ifndef PICKET_TESTS_FAKE_PLATFORM_H
#define PICKET_TESTS_FAKE_PLATFORM_H

#include "base/compiler.h"
#include "platform/platform.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Larger spaces can be laid out, but not touched above this. */
#define FAKE_SPACE_MAX (4ul << 30)

struct fake_platform {
    struct platform platform;
    size_t max_pages; /* mapped at once in one space; then -ENOMEM */
    unsigned long applies, ops, exhausted, drops;
    int spaces;
};

struct fake_space {
    struct address_space as;
    char *base;
    size_t pages, mapped;
    unsigned char *shown; /* per page: 0x80 | perms */
};

static inline struct fake_space *fake_space_of(struct address_space *as)
{
    return container_of(as, struct fake_space, as);
}
static inline struct fake_platform *fake_platform_of(struct address_space *as)
{
    return container_of(as->platform, struct fake_platform, platform);
}

static inline int fake_prot(access_t a)
{
    return (a & ACCESS_READ ? PROT_READ : 0) | (a & ACCESS_WRITE ? PROT_WRITE : 0);
}

static inline void fake_die(const char *what)
{
    fprintf(stderr, "fake platform: %s (errno %d)\n", what, errno);
    abort();
}

static inline void fake_hide(struct fake_space *s, gva_t start, gva_t end)
{
    if (mmap(s->base + start, end - start, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
        fake_die("hide");
    for (gva_t a = start >> PAGE_SHIFT; a < end >> PAGE_SHIFT; a++) {
        s->mapped -= s->shown[a] != 0;
        s->shown[a] = 0;
    }
}

static inline void fake_clear(struct address_space *as)
{
    struct fake_space *s = fake_space_of(as);
    fake_hide(s, 0, s->pages << PAGE_SHIFT);
}

static inline void fake_map(struct fake_space *s, const struct as_op *op)
{
    if (!op->perms || !page_aligned(op->offset))
        fake_die("lawless AS_MAP");
    fake_hide(s, op->ar.start, op->ar.end);
    if (mmap(s->base + op->ar.start, RANGE_LENGTH(op->ar), fake_prot(op->perms),
             MAP_SHARED | MAP_FIXED, op->file->fd, (off_t)op->offset) == MAP_FAILED)
        fake_die("map");
    for (gva_t a = op->ar.start >> PAGE_SHIFT; a < op->ar.end >> PAGE_SHIFT; a++) {
        s->shown[a] = 0x80 | op->perms;
        s->mapped++;
    }
}

static inline void fake_protect(struct fake_space *s, const struct as_op *op)
{
    for (gva_t a = op->ar.start >> PAGE_SHIFT; a < op->ar.end >> PAGE_SHIFT; a++) {
        if (!s->shown[a])
            continue;
        if (s->shown[a] != (0x80 | op->was))
            fake_die("AS_PROTECT of what had other rights");
        s->shown[a] = 0x80 | op->perms;
        if (mprotect(s->base + (a << PAGE_SHIFT), PAGE_SIZE, fake_prot(op->perms)))
            fake_die("protect");
    }
}

static inline int fake_apply(struct address_space *as, const struct as_op *ops, size_t n)
{
    struct fake_space *s = fake_space_of(as);
    struct fake_platform *fp = fake_platform_of(as);
    fp->applies++;
    fp->ops += n;
    for (size_t i = 0; i < n; i++) {
        const struct addr_range *ar = &ops[i].ar;
        if (ar->start >= ar->end || !page_aligned(ar->start) || !page_aligned(ar->end) ||
            ar->end > s->pages << PAGE_SHIFT)
            fake_die("bad range");
        if (ops[i].kind == AS_MAP && fp->max_pages && s->mapped >= fp->max_pages) {
            fake_clear(as);
            fp->exhausted++;
            return -ENOMEM;
        }
        if (ops[i].kind == AS_MAP)
            fake_map(s, &ops[i]);
        else if (ops[i].kind == AS_UNMAP)
            fake_hide(s, ar->start, ar->end);
        else
            fake_protect(s, &ops[i]);
    }
    return 0;
}

/* Every other time. Checks that it is told what was shown, and drops the contents as it must. */
static inline bool fake_drop(struct address_space *as, const struct as_op *op)
{
    struct fake_space *s = fake_space_of(as);
    if (fake_platform_of(as)->drops++ % 2)
        return false;
    for (gva_t a = op->ar.start; a < op->ar.end; a += PAGE_SIZE) {
        if (!s->shown[a >> PAGE_SHIFT])
            return false;
        if (s->shown[a >> PAGE_SHIFT] != (0x80 | op->perms) ||
            memcmp(s->base + a, op->file->window + op->offset + (a - op->ar.start), PAGE_SIZE) != 0)
            fake_die("drop of what was not shown");
    }
    fake_hide(s, op->ar.start, op->ar.end);
    if (fallocate(op->file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)op->offset,
                  (off_t)RANGE_LENGTH(op->ar)) < 0)
        fake_die("punch");
    return true;
}

static inline void fake_release(struct address_space *as)
{
    struct fake_space *s = fake_space_of(as);
    fake_platform_of(as)->spaces--;
    munmap(s->base, s->pages << PAGE_SHIFT);
    free(s->shown);
    free(s);
}

static const struct address_space_ops fake_space_ops = {
    .apply = fake_apply, .drop = fake_drop, .clear = fake_clear, .release = fake_release};

static inline int fake_new_space(struct platform *p, struct address_space **out)
{
    struct fake_space *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->as.ops = &fake_space_ops;
    s->as.platform = p;
    s->pages = MIN(p->max_addr, FAKE_SPACE_MAX) >> PAGE_SHIFT;
    s->shown = calloc(s->pages, 1);
    s->base = mmap(NULL, s->pages << PAGE_SHIFT, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (!s->shown || s->base == MAP_FAILED)
        fake_die("no room");
    container_of(p, struct fake_platform, platform)->spaces++;
    *out = &s->as;
    return 0;
}

static const struct platform_ops fake_platform_ops = {.new_address_space = fake_new_space};

static inline void fake_platform_init(struct fake_platform *fp, uint64_t max_addr)
{
    *fp = (struct fake_platform){
        .platform = {.ops = &fake_platform_ops,
                     .name = "fake",
                     .min_addr = 0x10000,
                     .max_addr = max_addr,
                     .lazy_faults_ok = true},
    };
}

/* Where application address addr lies in the test, and whether the platform lets it do `at`. */
static inline char *fake_pointer(struct address_space *as, gva_t addr)
{
    return fake_space_of(as)->base + addr;
}
static inline bool fake_allows(struct address_space *as, gva_t addr, access_t at)
{
    unsigned char s = fake_space_of(as)->shown[addr >> PAGE_SHIFT];
    return s && !(at & ~s);
}

#endif
