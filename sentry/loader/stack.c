/*
 * The initial stack, to the byte as Linux lays it out:
 *
 *      top     8 zero bytes
 *              path (AT_EXECFN)
 *              environment strings
 *              argument strings
 *              a random gap (up to 8 KiB), 16-byte alignment
 *              "x86_64" (AT_PLATFORM)
 *              16 random bytes (AT_RANDOM)
 *              alignment
 *              auxiliary vector
 *              envp[], NULL
 *              argv[], NULL
 *      sp      argc
 *
 * It is put together here and copied out in one piece.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/loader/internal.h"
#include <cpuid.h>
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

/* glibc's elf.h of today does not know it. */
#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

#define CLOCK_TICKS 100
#define HWCAP2_FSGSBASE 2ul
/* The stack is mapped this much further down at once. */
#define STACK_EXPAND (128ull << 10)

static const char platform_name[] = "x86_64";

struct auxv {
    uint64_t words[ARRAY_SIZE(((struct mm_info *)0)->auxv)];
    unsigned n;
};

static void aux(struct auxv *v, uint64_t type, uint64_t value)
{
    v->words[v->n++] = type;
    v->words[v->n++] = value;
}

/* Where everything goes. */
struct plan {
    gva_t execfn, env, args; /* strings */
    gva_t platform, random;
    gva_t sp;
};

/* The largest signal frame: siginfo and ucontext, XSAVE area and its trailing magic, and what
 * aligning both may cost; rounded up to 16. */
static uint64_t min_signal_stack(uint32_t xstate_size)
{
    const uint64_t frame = 440, magic2 = 4, frame_padding = 15, xsave_padding = 63;
    return (frame + frame_padding + xstate_size + magic2 + xsave_padding + 15) & ~15ull;
}

/* CPUID leaf 1, EDX. (Not getauxval: glibc makes up an AT_HWCAP of its own on x86.) */
static uint64_t cpu_features(void)
{
    unsigned a, b, c, d;
    __cpuid(1, a, b, c, d);
    return d;
}

static void fill_auxv(struct auxv *v, const struct load *ld, const struct plan *p)
{
    const struct elf_image *img = &ld->image;
    const struct cred *cred = ld->rq->cred;

    v->n = 0;
    aux(v, AT_SYSINFO_EHDR, ld->vdso);
    aux(v, AT_MINSIGSTKSZ, min_signal_stack(ld->loader->kernel->platform->xstate_size));
    aux(v, AT_HWCAP, cpu_features());
    aux(v, AT_PAGESZ, PAGE_SIZE);
    aux(v, AT_CLKTCK, CLOCK_TICKS);
    aux(v, AT_PHDR, ld->bias + img->phdr_vaddr);
    aux(v, AT_PHENT, img->phentsize);
    aux(v, AT_PHNUM, img->phnum);
    aux(v, AT_BASE, ld->interp_base);
    aux(v, AT_FLAGS, 0);
    aux(v, AT_ENTRY, ld->bias + img->entry);
    aux(v, AT_UID, id_shown(cred->user_ns, ID_UID, cred->uid));
    aux(v, AT_EUID, id_shown(cred->user_ns, ID_UID, cred->euid));
    aux(v, AT_GID, id_shown(cred->user_ns, ID_GID, cred->gid));
    aux(v, AT_EGID, id_shown(cred->user_ns, ID_GID, cred->egid));
    aux(v, AT_SECURE, ld->secure);
    aux(v, AT_RANDOM, p->random);
    aux(v, AT_HWCAP2, getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE);
    aux(v, AT_EXECFN, p->execfn);
    aux(v, AT_PLATFORM, p->platform);
    aux(v, AT_NULL, 0);
}

/* Pre: the strings were checked against exec_strings_limit, so nothing here can wrap. */
static void make_plan(struct plan *p, const struct load *ld, const struct auxv *v)
{
    const struct load_request *rq = ld->rq;

    p->execfn = ld->layout.stack_top - sizeof(gva_t) - (strlen(rq->name.path) + 1);
    p->env = p->execfn - rq->envp.length;
    p->args = p->env - rq->argv.length;

    gva_t at = p->args;
    if (rq->randomize)
        at -= ld->random.stack % 8192;
    p->platform = (at & ~15ull) - sizeof(platform_name);
    p->random = p->platform - sizeof(ld->random.at_random);

    size_t words = 1 + rq->argv.count + 1 + rq->envp.count + 1 + v->n;
    p->sp = (p->random - words * sizeof(uint64_t)) & ~15ull;
}

/* Pointers to each string of s, which begin at addr, and a NULL. */
static uint64_t *put_vector(uint64_t *out, const struct exec_strings *s, gva_t addr)
{
    const char *string = s->data;
    for (size_t i = 0; i < s->count; i++) {
        size_t n = strlen(string) + 1;
        *out++ = addr;
        addr += n;
        string += n;
    }
    *out++ = 0;
    return out;
}

static void put(char *block, const struct plan *p, gva_t addr, const void *src, size_t n)
{
    if (n)
        memcpy(block + (addr - p->sp), src, n);
}

static void write_block(char *block, const struct plan *p, const struct load *ld,
                        const struct auxv *v)
{
    const struct load_request *rq = ld->rq;
    uint64_t *out = (uint64_t *)block;

    *out++ = rq->argv.count;
    out = put_vector(out, &rq->argv, p->args);
    out = put_vector(out, &rq->envp, p->env);
    memcpy(out, v->words, v->n * sizeof(v->words[0]));

    put(block, p, p->random, ld->random.at_random, sizeof(ld->random.at_random));
    put(block, p, p->platform, platform_name, sizeof(platform_name));
    put(block, p, p->args, rq->argv.data, rq->argv.length);
    put(block, p, p->env, rq->envp.data, rq->envp.length);
    put(block, p, p->execfn, rq->name.path, strlen(rq->name.path) + 1);
}

static int map_stack(struct load *ld, gva_t sp)
{
    gva_t top = ld->layout.stack_top;
    uint64_t used = top - page_down(sp);
    uint64_t wanted = MIN(used + STACK_EXPAND, ld->rq->stack_limit & PAGE_MASK);
    struct mmap_opts opts = {
        .length = MAX(used, wanted),
        .perms = ACCESS_READ | ACCESS_WRITE,
        .max_perms = ACCESS_ANY,
        .is_private = true,
        .fixed = true,
        .grows_down = true,
        .stack = true,
        .hint = "[stack]",
    };
    opts.addr = top - opts.length;
    if (ld->image.exec_stack)
        opts.perms |= ACCESS_EXEC;
    gva_t at;
    return mm_mmap(ld->mm, &opts, &at);
}

static void describe_stack(struct load *ld, const struct plan *p, const struct auxv *v)
{
    mm_info_lock(ld->mm);
    struct mm_info *info = mm_info(ld->mm);
    info->start_stack = p->sp;
    info->arg_start = p->args;
    info->arg_end = info->env_start = p->env;
    info->env_end = p->execfn;
    memcpy(info->auxv, v->words, v->n * sizeof(v->words[0]));
    info->auxv_words = v->n;
    mm_info_unlock(ld->mm);
}

int stack_setup(struct load *ld, gva_t *sp)
{
    struct plan p = {0};
    struct auxv v;

    fill_auxv(&v, ld, &p); /* for its length */
    make_plan(&p, ld, &v);
    fill_auxv(&v, ld, &p);

    size_t size = ld->layout.stack_top - p.sp;
    char *block = calloc(1, size);
    if (!block)
        return -ENOMEM;
    write_block(block, &p, ld, &v);
    int err = map_stack(ld, p.sp);
    if (!err)
        err = mm_copy_out(ld->mm, p.sp, block, size);
    free(block);
    if (err)
        return err;
    describe_stack(ld, &p, &v);
    *sp = p.sp;
    return 0;
}
