/*
 * Random operations on several address spaces, against a model that is a plain array of pages.
 *
 * Each page has two words that the test looks at. What a word must read is either known, or, for a
 * private mapping of a file that was not written to, any value that the file had there since the
 * page was mapped (POSIX leaves open whether later writes to the file are seen, but not that time
 * runs backwards).
 *
 * TEST_SEED and TEST_STEPS choose another run; a failure prints both.
 */
#include "mm/mm.h"
#include "mm/safe_copy.h"
#include "tests/unit/fake_file.h"
#include "tests/unit/fake_platform.h"
#include <check.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define SPACE (48ul << 20)
#define NPAGES (SPACE >> PAGE_SHIFT)
#define NSPACES 4
#define NFILES 3
#define NOBJS 40 /* the files, then shared anonymous memory */
#define WORDS 2

struct word {
    bool live; /* v: the oldest version that may be seen; else: v is the value */
    uint64_t v;
};
struct page {
    bool mapped, private, wipe, dontfork, locked;
    bool random, charged; /* VMAs that differ in these do not merge */
    uint8_t prot;
    int16_t obj; /* -1: private anonymous */
    uint32_t index;
    struct word w[WORDS];
};
struct space {
    struct mm *mm;
    struct page *pages;
};
struct history {
    uint64_t *v;
    unsigned n, cap;
};
struct obj {
    bool used;
    struct fake_file *file; /* NULL: shared anonymous */
    uint64_t size;
    struct history (*h)[WORDS]; /* per page */
    uint64_t npages;
};

static struct {
    uint64_t rng, next_value;
    unsigned long step;
    bool trace, drops;
    struct memory_file *mf;
    struct fake_platform fp;
    struct {
        struct platform seen_by_mm; /* as small as the model */
        struct platform *p;         /* NULL: the fake */
        struct context *context;
        struct memmap_file code;
    } real;
    struct mm_config cfg;
    struct mm_limits limits;
    struct space spaces[NSPACES];
    struct obj objs[NOBJS];
    unsigned long counts[32], failures[32];
} T;

static const unsigned word_at[WORDS] = {8, 4080};

#define FAIL_AT(...)                                                                               \
    do {                                                                                           \
        fprintf(stderr, "step %lu: ", T.step);                                                     \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fprintf(stderr, "\n");                                                                     \
        abort();                                                                                   \
    } while (0)
#define MUST(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond))                                                                               \
            FAIL_AT("line %d: %s", __LINE__, #cond);                                               \
    } while (0)
#define TRACE(...)                                                                                 \
    do {                                                                                           \
        if (T.trace) {                                                                             \
            fprintf(stderr, "%lu: ", T.step);                                                      \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fprintf(stderr, "\n");                                                                 \
        }                                                                                          \
    } while (0)

static uint64_t rnd(uint64_t n)
{
    T.rng ^= T.rng << 13;
    T.rng ^= T.rng >> 7;
    T.rng ^= T.rng << 17;
    return (T.rng >> 11) % n;
}

static bool chance(unsigned percent)
{
    return rnd(100) < percent;
}

/* ---- objects ---- */

static void history_add(struct history *h, uint64_t v)
{
    if (h->n == h->cap) {
        h->cap = h->cap ? h->cap * 2 : 2;
        h->v = realloc(h->v, h->cap * sizeof(*h->v));
        MUST(h->v);
    }
    h->v[h->n++] = v;
}

static void obj_start(struct obj *o, uint64_t size, uint64_t npages)
{
    o->used = true;
    o->size = size;
    o->npages = npages;
    o->h = calloc(npages, sizeof(*o->h));
    MUST(o->h);
    for (uint64_t p = 0; p < npages; p++)
        for (int w = 0; w < WORDS; w++)
            history_add(&o->h[p][w], 0);
}

static void obj_end(struct obj *o)
{
    for (uint64_t p = 0; p < o->npages; p++)
        for (int w = 0; w < WORDS; w++)
            free(o->h[p][w].v);
    free(o->h);
    o->used = false;
}

static int obj_new_anon(uint64_t size)
{
    for (int i = NFILES; i < NOBJS; i++)
        if (!T.objs[i].used) {
            obj_start(&T.objs[i], size, size);
            return i;
        }
    return -1;
}

/* Forgets shared anonymous objects that nothing maps. */
static void obj_collect(void)
{
    bool seen[NOBJS] = {false};
    for (int s = 0; s < NSPACES; s++)
        for (uint64_t p = 0; T.spaces[s].mm && p < NPAGES; p++)
            if (T.spaces[s].pages[p].mapped && T.spaces[s].pages[p].obj >= 0)
                seen[T.spaces[s].pages[p].obj] = true;
    for (int i = NFILES; i < NOBJS; i++)
        if (T.objs[i].used && !seen[i])
            obj_end(&T.objs[i]);
}

/* ---- words ---- */

static bool beyond(const struct page *p)
{
    return p->obj >= 0 && p->index >= T.objs[p->obj].size;
}

static struct history *history_of(const struct page *p, int w)
{
    return &T.objs[p->obj].h[p->index][w];
}

/* As a page is after mapping, or after its contents were thrown away. */
static void page_fresh(struct page *p)
{
    for (int w = 0; w < WORDS; w++) {
        p->w[w].live = p->obj >= 0;
        p->w[w].v = p->obj >= 0 && p->index < T.objs[p->obj].npages ? history_of(p, w)->n - 1 : 0;
    }
}

static void expect_word(const struct space *s, uint64_t page, int w, uint64_t got)
{
    struct page *p = &s->pages[page];
    struct word *wd = &p->w[w];
    if (!p->private) {
        const struct history *h = history_of(p, w);
        if (h->v[h->n - 1] != got)
            FAIL_AT("shared page %#lx word %d: %lu, not %lu", page, w, got, h->v[h->n - 1]);
    } else if (!wd->live) {
        if (wd->v != got)
            FAIL_AT("page %#lx word %d: %lu, not %lu", page, w, got, wd->v);
    } else {
        const struct history *h = history_of(p, w);
        for (uint64_t i = wd->v; i < h->n; i++)
            if (h->v[i] == got) {
                wd->v = i;
                return;
            }
        FAIL_AT("private page %#lx word %d: %lu was never there", page, w, got);
    }
}

static void set_word(struct space *s, uint64_t page, int w, uint64_t value)
{
    struct page *p = &s->pages[page];
    if (p->private)
        p->w[w] = (struct word){false, value};
    else
        history_add(history_of(p, w), value);
}

/* ---- the application ---- */

static access_t effective(const struct page *p)
{
    return access_effective(p->prot);
}

/* What touching the page must do: 0, or the signal and code. */
static int expected_signal(const struct page *p, access_t at, int *code)
{
    *code = SEGV_MAPERR;
    if (!p->mapped)
        return SIGSEGV;
    *code = SEGV_ACCERR;
    if ((at & ~effective(p)) || !p->prot)
        return SIGSEGV;
    *code = BUS_ADRERR;
    return beyond(p) ? SIGBUS : 0;
}

/* ---- a real platform in place of the fake ---- */

#define CODE_ADDR 0x8000ul                                         /* below all that mm maps */
static const uint8_t real_code[] = {0x48, 0x8b, 0x07, 0x0f, 0x05,  /* 0: mov (%rdi),%rax; syscall */
                                    0x48, 0x89, 0x37, 0x0f, 0x05}; /* 5: mov %rsi,(%rdi); syscall */

static void no_references(UNUSED struct memmap_file *f, UNUSED struct file_range fr)
{
}
static const struct memmap_file_ops code_file_ops = {.inc_ref = no_references,
                                                     .dec_ref = no_references};

static int real_new_space(UNUSED struct platform *p, struct address_space **out)
{
    return T.real.p->ops->new_address_space(T.real.p, out);
}
static const struct platform_ops real_ops = {.new_address_space = real_new_space};

static void real_show_code(struct address_space *as)
{
    const struct as_op op = {.kind = AS_MAP,
                             .ar = {CODE_ADDR, CODE_ADDR + PAGE_SIZE},
                             .file = &T.real.code,
                             .perms = ACCESS_READ | ACCESS_EXEC};
    MUST(as->ops->apply(as, &op, 1) == 0);
}

static bool real_start(const struct platform_type *type)
{
    char why[200] = "";
    if (type->create(&T.real.p, why, sizeof(why))) {
        printf("skipped: %s\n", why);
        return false;
    }
    T.real.seen_by_mm = *T.real.p;
    T.real.seen_by_mm.ops = &real_ops;
    T.real.seen_by_mm.max_addr = SPACE;
    T.cfg.platform = &T.real.seen_by_mm;
    T.real.code = (struct memmap_file){.ops = &code_file_ops, .fd = memfd_create("code", 0)};
    MUST(write(T.real.code.fd, real_code, sizeof(real_code)) == sizeof(real_code));
    return true;
}

static void real_end(void)
{
    if (T.real.context)
        T.real.context->ops->release(T.real.context);
    close(T.real.code.fd);
    T.real.p->ops->release(T.real.p);
}

/* Lets an application touch addr. 0 and what it read, or the signal and its code. */
static int real_touch(struct space *s, gva_t addr, bool write, uint64_t *value, int *code)
{
    struct address_space *as = mm_address_space(s->mm);
    struct arch_context ac = {.regs = {.rip = CODE_ADDR + (write ? 5 : 0),
                                       .rdi = addr,
                                       .rsi = *value,
                                       .cs = 0x33,
                                       .ss = 0x2b,
                                       .eflags = 0x202,
                                       .orig_rax = (unsigned long)-1}};
    struct switch_event ev;
    struct mm_fault fault;
    if (!T.real.context)
        MUST(T.real.p->ops->new_context(T.real.p, as, &T.real.context) == 0);
    for (int tries = 0;; tries++) {
        enum switch_reason r = T.real.context->ops->run(T.real.context, as, &ac, &ev);
        MUST(tries < 5 && (r == SWITCH_SYSCALL || r == SWITCH_FAULT));
        if (r == SWITCH_SYSCALL) {
            *value = ac.regs.orig_rax;
            return 0;
        }
        if (page_down(ev.addr) == CODE_ADDR) {
            real_show_code(as);
            continue;
        }
        MUST(ev.addr == addr);
        if (mm_handle_fault(s->mm, addr, ev.access, 0, &fault)) {
            *code = fault.code;
            return fault.signo;
        }
    }
}

static void touch_by_application(struct space *s, uint64_t page, int w, bool write)
{
    gva_t addr = (page << PAGE_SHIFT) + word_at[w];
    int code, got_code = 0;
    int signo = expected_signal(&s->pages[page], write ? ACCESS_WRITE : ACCESS_READ, &code);
    uint64_t value = write ? ++T.next_value : 0;
    TRACE("%s %#lx in %ld", write ? "write" : "read", addr, s - T.spaces);
    int got = real_touch(s, addr, write, &value, &got_code);
    if (got != signo || (got && got_code != code))
        FAIL_AT("%#lx: signal %d code %d, not %d, %d", addr, got, got_code, signo, code);
    if (signo)
        return;
    if (write)
        set_word(s, page, w, T.next_value);
    else
        expect_word(s, page, w, value);
}

static void touch(struct space *s, uint64_t page, int w, bool write)
{
    if (T.real.p) {
        touch_by_application(s, page, w, write);
        return;
    }
    struct address_space *as = mm_address_space(s->mm);
    access_t at = write ? ACCESS_WRITE : ACCESS_READ;
    gva_t addr = (page << PAGE_SHIFT) + word_at[w];
    struct mm_fault fault = {0};
    int code, signo = expected_signal(&s->pages[page], at, &code);

    TRACE("%s %#lx in %ld", write ? "write" : "read", addr, s - T.spaces);
    for (int tries = 0; !fake_allows(as, addr, at); tries++) {
        MUST(tries < 3);
        if (mm_handle_fault(s->mm, addr, at, 0, &fault) == 0)
            continue;
        if (fault.signo != signo || fault.code != code)
            FAIL_AT("%#lx: signal %d code %d, not %d, %d", addr, fault.signo, fault.code, signo,
                    code);
        return;
    }
    if (signo)
        FAIL_AT("%#lx could be touched", addr);
    uint64_t *p = (uint64_t *)(void *)fake_pointer(as, addr);
    if (write) {
        *p = ++T.next_value;
        set_word(s, page, w, T.next_value);
    } else {
        expect_word(s, page, w, *p);
    }
}

/* ---- operations ---- */

static struct space *any_space(void)
{
    struct space *s;
    do {
        s = &T.spaces[rnd(NSPACES)];
    } while (!s->mm);
    return s;
}

static uint64_t any_length(void)
{
    if (chance(5))
        return 1 + rnd(2000);
    return chance(60) ? 1 + rnd(8) : 1 + rnd(80);
}

/* A page, more often than not a mapped one; the first of a run, sometimes. */
static uint64_t any_page(const struct space *s)
{
    uint64_t p = 16 + rnd(NPAGES - 16);
    if (chance(15))
        return p;
    for (uint64_t i = 0; i < NPAGES; i++, p = p + 1 < NPAGES ? p + 1 : 16)
        if (s->pages[p].mapped)
            break;
    return chance(50) ? p : MIN(p + rnd(64), NPAGES - 1);
}

static uint8_t any_prot(void)
{
    static const uint8_t prots[] = {0, 1, 1, 3, 3, 3, 3, 3, 5, 7, 2};
    return prots[rnd(sizeof(prots))];
}

static void model_map(struct space *s, uint64_t first, uint64_t n, const struct page *proto)
{
    for (uint64_t i = 0; i < n; i++) {
        struct page *p = &s->pages[first + i];
        *p = *proto;
        p->index = proto->index + (uint32_t)i;
        page_fresh(p);
    }
}

static void model_unmap(struct space *s, uint64_t first, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        s->pages[first + i].mapped = false;
}

static bool all_mapped(const struct space *s, uint64_t first, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (!s->pages[first + i].mapped)
            return false;
    return true;
}

static bool none_mapped(const struct space *s, uint64_t first, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        if (s->pages[first + i].mapped)
            return false;
    return true;
}

static void op_mmap(void)
{
    struct space *s = any_space();
    uint64_t n = any_length(), first = 16 + rnd(NPAGES - 16);
    int kind = (int)rnd(10), file = (int)rnd(NFILES);
    gva_t addr = 0;
    struct mmap_opts o = {.length = n * PAGE_SIZE - rnd(100), .max_perms = ACCESS_ANY};
    struct page proto = {.mapped = true, .prot = any_prot(), .obj = -1};

    o.perms = proto.prot;
    proto.charged = kind < 7 && (proto.prot & PROT_WRITE);
    o.is_private = proto.private = kind < 7;
    o.precommit = chance(5);
    if (kind >= 4 && kind < 9) {
        proto.obj = (int16_t)file;
        proto.index = (uint32_t)rnd(64);
        o.mappable = &T.objs[file].file->mappable;
        o.identity = &T.objs[file].file->id;
        o.offset = (uint64_t)proto.index << PAGE_SHIFT;
        n = MIN(n, FAKE_FILE_PAGES - 64ul);
        o.length = n * PAGE_SIZE;
    }
    if (kind == 9) {
        obj_collect();
        proto.obj = (int16_t)obj_new_anon(n);
        if (proto.obj < 0)
            return;
    }
    if (chance(50)) {
        if (first + n > NPAGES)
            first = NPAGES - n;
        o.addr = first << PAGE_SHIFT;
        o.fixed = chance(70);
        o.unmap = o.fixed && chance(80);
    }
    bool was_free = o.addr == 0 || none_mapped(s, first, n);
    int err = mm_mmap(s->mm, &o, &addr);
    TRACE("mmap %lu pages, kind %d, prot %d, at %#lx%s in %ld: %#lx, %d", n, kind, proto.prot,
          o.addr, o.fixed ? " fixed" : "", s - T.spaces, addr, err);
    if (err == -EEXIST) {
        MUST(o.fixed && !o.unmap && !was_free);
        return;
    }
    if (err == -ENOMEM) {
        MUST(!o.fixed);
        T.failures[0]++;
        return;
    }
    MUST(err == 0 && page_aligned(addr) && addr + n * PAGE_SIZE <= SPACE);
    MUST(!o.fixed || addr == o.addr);
    MUST(o.unmap || was_free || addr != o.addr);
    first = addr >> PAGE_SHIFT;
    MUST(o.unmap || none_mapped(s, first, n));
    model_map(s, first, n, &proto);
}

static void op_munmap(void)
{
    struct space *s = any_space();
    uint64_t first = any_page(s), n = MIN(any_length(), NPAGES - first);
    TRACE("munmap %#lx, %lu pages in %ld", first << PAGE_SHIFT, n, s - T.spaces);
    MUST(mm_munmap(s->mm, first << PAGE_SHIFT, n << PAGE_SHIFT) == 0);
    model_unmap(s, first, n);
}

static void op_mprotect(void)
{
    struct space *s = any_space();
    uint64_t first = any_page(s), n = MIN(any_length(), NPAGES - first), i;
    uint8_t prot = any_prot();
    int err = mm_mprotect(s->mm, first << PAGE_SHIFT, n << PAGE_SHIFT, prot);
    TRACE("mprotect %#lx, %lu pages, %d in %ld: %d", first << PAGE_SHIFT, n, prot, s - T.spaces,
          err);
    for (i = 0; i < n && s->pages[first + i].mapped; i++) {
        struct page *p = &s->pages[first + i];
        p->prot = prot;
        p->charged = p->charged || (p->private && (prot & PROT_WRITE));
    }
    MUST(err == (i == n ? 0 : -ENOMEM));
}

/* Whether the pages are one VMA for certain: alike, and in step. */
static bool uniform(const struct space *s, uint64_t first, uint64_t n)
{
    const struct page *a = &s->pages[first];
    for (uint64_t i = 0; i < n; i++) {
        const struct page *p = &s->pages[first + i];
        if (!p->mapped || p->private != a->private || p->prot != a->prot || p->obj != a->obj ||
            p->random != a->random || p->charged != a->charged || p->wipe != a->wipe ||
            p->dontfork != a->dontfork || p->locked != a->locked ||
            (p->obj >= 0 && p->index != a->index + i))
            return false;
    }
    return true;
}

static void model_move(struct space *s, uint64_t from, uint64_t n, uint64_t to, uint64_t new_n,
                       bool keep)
{
    struct page *saved = malloc(MAX(n, new_n) * sizeof(*saved));
    struct page proto = s->pages[from];
    MUST(saved);
    for (uint64_t i = 0; i < n; i++)
        saved[i] = s->pages[from + i];
    for (uint64_t i = 0; i < n; i++)
        if (!keep)
            s->pages[from + i].mapped = false;
        else
            page_fresh(&s->pages[from + i]);
    if (keep) /* MREMAP_DONTUNMAP unlocks what stays */
        for (uint64_t i = 0; i < n; i++)
            s->pages[from + i].locked = false;
    model_map(s, to, new_n, &proto);
    for (uint64_t i = 0; i < MIN(n, new_n); i++)
        s->pages[to + i] = saved[i];
    free(saved);
}

static void op_mremap(void)
{
    struct space *s = any_space();
    uint64_t first = any_page(s), n = MIN(any_length(), NPAGES - first);
    uint64_t new_n = chance(40) ? n : any_length(), to = 16 + rnd(NPAGES - 16);
    int flags = chance(75) ? MREMAP_MAYMOVE : 0;
    gva_t out = 0;

    if (!all_mapped(s, first, n) && chance(80))
        return;
    if (flags && chance(30))
        flags |= MREMAP_FIXED;
    if (flags && chance(15)) {
        flags |= MREMAP_DONTUNMAP;
        new_n = n;
    }
    bool twice = chance(5) && !(flags & MREMAP_DONTUNMAP);
    if (to + new_n > NPAGES)
        to = NPAGES - new_n;
    if (s->pages[first].obj >= 0 &&
        s->pages[first].index + MAX(n, new_n) > T.objs[s->pages[first].obj].npages)
        return; /* the model has no such pages */
    const struct page *p = &s->pages[first];
    bool one = uniform(s, first, n);
    int err = mm_mremap(s->mm, first << PAGE_SHIFT, twice ? 0 : n << PAGE_SHIFT,
                        new_n << PAGE_SHIFT, flags, to << PAGE_SHIFT, &out);
    TRACE("mremap %#lx, %lu to %lu pages, flags %d, to %#lx%s in %ld: %#lx, %d",
          first << PAGE_SHIFT, twice ? 0 : n, new_n, flags, to << PAGE_SHIFT,
          one ? "" : " (several)", s - T.spaces, out, err);
    if (err) {
        T.failures[3]++;
        bool overlap = (flags & MREMAP_FIXED) && to < first + (twice ? 0 : n) && first < to + new_n;
        MUST(err == -EFAULT || err == -ENOMEM || err == -EINVAL);
        MUST(err != -EINVAL || overlap || (twice && p->private));
        MUST(err != -EFAULT || !one || !p->mapped);
        MUST(err != -ENOMEM || !(flags & MREMAP_FIXED));
        return;
    }
    uint64_t at = out >> PAGE_SHIFT;
    bool fixed = flags & MREMAP_FIXED, keep = flags & MREMAP_DONTUNMAP;
    MUST(!fixed || at == to);
    if (twice) {
        MUST(!p->private);
        struct page proto = *p;
        MUST(fixed || none_mapped(s, at, new_n));
        model_map(s, at, new_n, &proto);
        return;
    }
    if (at == first) {
        if (new_n < n)
            model_unmap(s, first + new_n, n - new_n);
        else if (new_n > n) {
            MUST(none_mapped(s, first + n, new_n - n));
            struct page proto = *p;
            proto.index += (uint32_t)n;
            model_map(s, first + n, new_n - n, &proto);
        }
        return;
    }
    MUST(flags & MREMAP_MAYMOVE);
    if (fixed)
        model_unmap(s, at, new_n);
    else
        MUST(none_mapped(s, at, new_n));
    if (n > new_n) { /* the tail goes, whatever it was */
        model_unmap(s, first + new_n, n - new_n);
        n = new_n;
    }
    MUST(uniform(s, first, n));
    model_move(s, first, n, at, new_n, keep);
}

static void op_brk(void)
{
    struct space *s = any_space();
    struct mm_info *info = mm_info(s->mm);
    gva_t old = info->brk, start = info->start_brk;
    gva_t want = chance(10) ? rnd(SPACE * 2) : start + rnd(80 * PAGE_SIZE);
    gva_t got = mm_brk(s->mm, want);
    uint64_t a = (old + PAGE_SIZE - 1) >> PAGE_SHIFT, b = (got + PAGE_SIZE - 1) >> PAGE_SHIFT;
    struct page proto = {.mapped = true, .private = true, .charged = true, .prot = 3, .obj = -1};
    TRACE("brk %#lx in %ld: %#lx", want, s - T.spaces, got);
    MUST(got == want || got == old);
    if (b > a) {
        MUST(none_mapped(s, a, b - a));
        model_map(s, a, b - a, &proto);
    } else {
        model_unmap(s, b, a - b);
    }
}

static void op_madvise(void)
{
    static const int advices[] = {MADV_DONTNEED,   MADV_DONTNEED,   MADV_FREE,     MADV_WILLNEED,
                                  MADV_WIPEONFORK, MADV_KEEPONFORK, MADV_DONTFORK, MADV_DOFORK,
                                  MADV_COLD,       MADV_RANDOM,     MADV_NORMAL,   MADV_REMOVE};
    struct space *s = any_space();
    uint64_t first = any_page(s), n = MIN(any_length(), NPAGES - first);
    int advice = advices[rnd(ARRAY_SIZE(advices))];
    bool hole = false;
    int expect = 0;
    int err = mm_madvise(s->mm, first << PAGE_SHIFT, n << PAGE_SHIFT, advice);
    TRACE("madvise %#lx, %lu pages, %d in %ld: %d", first << PAGE_SHIFT, n, advice, s - T.spaces,
          err);
    for (uint64_t i = 0; i < n; i++) {
        struct page *p = &s->pages[first + i];
        if (!p->mapped) {
            hole = true;
            continue;
        }
        if ((advice == MADV_FREE || advice == MADV_WIPEONFORK) && p->obj >= 0)
            expect = -EINVAL;
        if ((advice == MADV_DONTNEED || advice == MADV_FREE || advice == MADV_COLD ||
             advice == MADV_REMOVE) &&
            p->locked)
            expect = -EINVAL;
        if (advice == MADV_REMOVE && expect == 0) {
            if (p->obj < 0)
                expect = -EINVAL;
            else if (p->private)
                expect = -EACCES;
            else if (p->obj < NFILES)
                expect = -EOPNOTSUPP;
            else if (!beyond(p))
                for (int w = 0; w < WORDS; w++)
                    history_add(history_of(p, w), 0);
        }
        if (expect)
            break;
        if ((advice == MADV_DONTNEED || advice == MADV_FREE) && p->private)
            page_fresh(p);
        p->random = advice == MADV_RANDOM || (p->random && advice != MADV_NORMAL);
        p->wipe = advice == MADV_WIPEONFORK || (p->wipe && advice != MADV_KEEPONFORK);
        p->dontfork = advice == MADV_DONTFORK || (p->dontfork && advice != MADV_DOFORK);
    }
    MUST(err == (expect ? expect : hole ? -ENOMEM : 0));
}

static void op_mlock(void)
{
    struct space *s = any_space();
    uint64_t first = any_page(s), n = MIN(any_length(), NPAGES - first), i;
    bool lock = chance(30);
    int err = lock ? mm_mlock(s->mm, first << PAGE_SHIFT, n << PAGE_SHIFT, MLOCK_LAZY)
                   : mm_munlock(s->mm, first << PAGE_SHIFT, n << PAGE_SHIFT);
    TRACE("%s %#lx, %lu pages in %ld: %d", lock ? "mlock" : "munlock", first << PAGE_SHIFT, n,
          s - T.spaces, err);
    for (i = 0; i < n && s->pages[first + i].mapped; i++)
        s->pages[first + i].locked = lock;
    MUST(err == (i == n ? 0 : -ENOMEM));
}

static void space_end(struct space *s)
{
    mm_user_put(s->mm);
    free(s->pages);
    s->mm = NULL;
}

static void op_fork(void)
{
    struct space *s = any_space(), *c = &T.spaces[rnd(NSPACES)];
    if (c == s)
        return;
    if (c->mm)
        space_end(c);
    TRACE("fork %ld to %ld", s - T.spaces, c - T.spaces);
    MUST(mm_fork(s->mm, &T.limits, &c->mm) == 0);
    c->pages = malloc(NPAGES * sizeof(*c->pages));
    MUST(c->pages);
    memcpy(c->pages, s->pages, NPAGES * sizeof(*c->pages));
    for (uint64_t i = 0; i < NPAGES; i++) {
        struct page *p = &c->pages[i];
        if (p->dontfork)
            p->mapped = false;
        else if (p->wipe && p->mapped)
            page_fresh(p);
        p->locked = false;
    }
}

/* Copies whole pages, or from or to their middles; the test's words lie in either half. */
static void op_copy(void)
{
    struct space *s = any_space();
    bool out = chance(50);
    uint64_t first = any_page(s), n = MIN(any_length(), NPAGES - first);
    uint64_t skip = chance(30) ? 2048 : 0, cut = chance(30) ? 2048 : 0, good, bytes;
    gva_t addr = (first << PAGE_SHIFT) + skip;
    int code;

    if (n * PAGE_SIZE <= skip + cut)
        return;
    bytes = n * PAGE_SIZE - skip - cut;
    char *buf = calloc(n, PAGE_SIZE);
    MUST(buf);
    for (uint64_t i = 0; out && i < n; i++)
        for (int w = 0; w < WORDS; w++) {
            uint64_t v = ++T.next_value;
            memcpy(buf + i * PAGE_SIZE + word_at[w], &v, sizeof(v));
        }
    size_t did = out ? mm_copy_out_partial(s->mm, addr, buf + skip, bytes)
                     : mm_copy_in_partial(s->mm, buf + skip, addr, bytes);
    TRACE("copy_%s %#lx, %lu bytes in %ld: %lu", out ? "out" : "in", addr, bytes, s - T.spaces,
          did);
    for (good = 0; good < n; good++)
        if (expected_signal(&s->pages[first + good], out ? ACCESS_WRITE : ACCESS_READ, &code))
            break;
    MUST(did == (good == n ? bytes : good * PAGE_SIZE > skip ? good * PAGE_SIZE - skip : 0));
    for (uint64_t i = 0; i < good; i++)
        for (int w = 0; w < WORDS; w++) {
            uint64_t at = i * PAGE_SIZE + word_at[w], v;
            memcpy(&v, buf + at, sizeof(v));
            if (at < skip || at + sizeof(v) > skip + bytes)
                continue;
            if (out)
                set_word(s, first + i, w, v);
            else
                expect_word(s, first + i, w, v);
        }
    free(buf);
}

static void op_truncate(void)
{
    int f = (int)rnd(NFILES);
    struct obj *o = &T.objs[f];
    uint64_t size = chance(50) ? rnd(256) : rnd(FAKE_FILE_PAGES);
    TRACE("truncate %d from %lu to %lu pages", f, o->size, size);
    fake_file_truncate(o->file, size);
    for (uint64_t p = size; p < o->size; p++)
        for (int w = 0; w < WORDS; w++)
            history_add(&o->h[p][w], 0);
    for (int i = 0; i < NSPACES; i++)
        for (uint64_t a = 0; T.spaces[i].mm && a < NPAGES; a++) {
            struct page *p = &T.spaces[i].pages[a];
            if (p->mapped && p->obj == f && p->index >= size && p->index < o->size)
                page_fresh(p);
        }
    o->size = size;
}

static void op_evict(void)
{
    struct obj *o = &T.objs[rnd(NFILES)];
    if (o->size == 0)
        return;
    uint64_t first = rnd(o->size);
    TRACE("evict %ld from page %lu", o - T.objs, first);
    fake_file_evict(o->file, first, 1 + rnd(64));
}

static void op_touch(void)
{
    struct space *s = any_space();
    uint64_t first = any_page(s), n = chance(20) ? MIN(rnd(64) + 1, NPAGES - first) : 1;
    for (uint64_t i = 0; i < n; i++)
        touch(s, first + i, (int)rnd(WORDS), chance(50));
}

static void op_drop(void)
{
    struct space *s = any_space();
    TRACE("drop in %ld", s - T.spaces);
    if (T.drops)
        mm_drop_platform_mappings(s->mm);
}

static void check_layout(struct space *s)
{
    static struct mm_vma_info v;
    uint64_t page = 0;
    for (gva_t addr = 0; mm_next_vma(s->mm, addr, false, &v); addr = v.ar.end) {
        for (; page < v.ar.start >> PAGE_SHIFT; page++)
            MUST(!s->pages[page].mapped);
        for (; page < v.ar.end >> PAGE_SHIFT; page++) {
            const struct page *p = &s->pages[page];
            MUST(p->mapped && p->prot == v.perms && p->private == v.is_private);
            MUST(p->locked == v.locked);
            if (p->obj >= 0)
                MUST(v.offset + ((page << PAGE_SHIFT) - v.ar.start) == (uint64_t)p->index
                                                                           << PAGE_SHIFT);
            if (p->obj >= 0 && p->obj < NFILES)
                MUST(v.inode == T.objs[p->obj].file->inode);
        }
    }
    for (; page < NPAGES; page++)
        MUST(!s->pages[page].mapped);
}

static const struct {
    void (*fn)(void);
    unsigned weight;
} operations[] = {
    {op_touch, 60}, {op_mmap, 14}, {op_munmap, 10}, {op_mprotect, 8}, {op_mremap, 6},
    {op_copy, 14},  {op_brk, 2},   {op_madvise, 6}, {op_fork, 1},     {op_truncate, 1},
    {op_evict, 2},  {op_drop, 2},  {op_mlock, 2},
};

static void one_step(void)
{
    unsigned sum = 0;
    for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
        sum += operations[i].weight;
    uint64_t pick = rnd(sum);
    for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
        if (pick < operations[i].weight) {
            T.counts[i]++;
            operations[i].fn();
            return;
        }
        pick -= operations[i].weight;
    }
}

static uint64_t from_env(const char *name, uint64_t otherwise)
{
    const char *v = getenv(name);
    return v ? strtoull(v, NULL, 0) : otherwise;
}

/* False if there is no such platform here. */
static bool start(bool drops, size_t max_pages, const struct platform_type *type)
{
    memset(&T, 0, sizeof(T));
    T.rng = from_env("TEST_SEED", 20240607) * 0x9e3779b97f4a7c15ull | 1;
    T.trace = getenv("TEST_TRACE");
    T.drops = drops;
    fake_platform_init(&T.fp, SPACE);
    T.fp.max_pages = max_pages;
    MUST(memory_file_create(&T.mf, 4ul << 30, 0) == 0);
    T.cfg = (struct mm_config){
        .platform = &T.fp.platform, .memory = T.mf, .min_addr = 0x10000, .max_map_count = 65530};
    if (type && !real_start(type)) {
        memory_file_destroy(T.mf);
        return false;
    }
    atomic_init(&T.limits.as, UINT64_MAX);
    atomic_init(&T.limits.data, UINT64_MAX);
    atomic_init(&T.limits.stack, UINT64_MAX);
    atomic_init(&T.limits.memlock, UINT64_MAX);
    for (int i = 0; i < NFILES; i++) {
        uint64_t size = i == 0 ? FAKE_FILE_PAGES : 64;
        obj_start(&T.objs[i], size, FAKE_FILE_PAGES);
        T.objs[i].file = fake_file_create(T.mf, 1000 + (uint64_t)i, size, 1u << (3 * i), i == 1);
    }
    T.spaces[0].pages = calloc(NPAGES, sizeof(struct page));
    MUST(T.spaces[0].pages && mm_create(&T.cfg, &T.limits, &T.spaces[0].mm) == 0);
    mm_set_brk(T.spaces[0].mm, 0x100000 + 123);
    return true;
}

static void finish(void)
{
    struct memory_file_stats st;
    for (int i = 0; i < NSPACES; i++)
        if (T.spaces[i].mm)
            space_end(&T.spaces[i]);
    for (int i = 0; i < NOBJS; i++) {
        if (T.objs[i].file)
            fake_file_destroy(T.objs[i].file);
        if (T.objs[i].used)
            obj_end(&T.objs[i]);
    }
    memory_file_stats(T.mf, &st);
    MUST(st.allocated == 0 && T.fp.spaces == 0 && atomic_load(&T.cfg.committed_as) == 0);
    if (T.real.p)
        real_end();
    memory_file_destroy(T.mf);
}

/* type: NULL for the fake platform. */
static void run(bool drops, size_t max_pages, const struct platform_type *type)
{
    if (!start(drops, max_pages, type))
        return;
    unsigned long most = type ? 15000 : max_pages ? 20000 : drops ? 50000 : 110000;
    unsigned long steps = from_env("TEST_STEPS", most);
    for (T.step = 0; T.step < steps; T.step++) {
        one_step();
#ifdef PICKET_DEBUG
        if (T.step % 64 == 0 || T.trace)
            for (int i = 0; i < NSPACES; i++)
                if (T.spaces[i].mm)
                    mm_check(T.spaces[i].mm);
#endif
        if (T.step % 512 == 0 || T.trace)
            for (int i = 0; i < NSPACES; i++)
                if (T.spaces[i].mm)
                    check_layout(&T.spaces[i]);
    }
    /* In the end, everything once. */
    for (int i = 0; i < NSPACES; i++)
        for (uint64_t p = T.real.p ? 16 : 0; T.spaces[i].mm && p < NPAGES; p++)
            touch(&T.spaces[i], p, (int)(p % WORDS), false);
    if (getenv("TEST_VERBOSE"))
        fprintf(stderr, "%lu steps, %lu trips, %lu operations, %lu times full\n", steps,
                T.fp.applies, T.fp.ops, T.fp.exhausted);
    finish();
}

START_TEST(random_operations)
{
    run(false, 0, NULL);
}
END_TEST

START_TEST(platform_forgets)
{
    run(true, 0, NULL);
}
END_TEST

START_TEST(platform_is_small)
{
    run(true, 300, NULL);
    ck_assert_uint_gt(T.fp.exhausted, 0);
}
END_TEST

START_TEST(under_ptrace)
{
    run(true, 0, &ptrace_platform_type);
}
END_TEST

START_TEST(under_kvm)
{
    run(true, 0, &kvm_platform_type);
}
END_TEST

int main(void)
{
    if (safe_copy_init())
        return 1;
    Suite *s = suite_create("mm_model");
    TCase *tc = tcase_create("model");
    tcase_set_timeout(tc, 600);
    tcase_add_test(tc, random_operations);
    tcase_add_test(tc, platform_forgets);
    tcase_add_test(tc, platform_is_small);
    tcase_add_test(tc, under_ptrace);
    tcase_add_test(tc, under_kvm);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
