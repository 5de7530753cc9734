/*
 * Loading: from an open file to an address space and the registers at its entry point.
 *
 *      0x555555554000 + r   program          (a position-independent one with an interpreter)
 *            end + r        [heap]
 *            ...
 *            mmap area      interpreter, or a position-independent program without one;
 *                           [vvar][vdso] below that
 *            top - r        [stack]
 *
 * Everything happens in a fresh mm; if anything fails, it is dropped, and the caller's program goes
 * on as if nothing had been.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/loader/internal.h"
#include "sentry/loader/vdso/params.h"
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* Two thirds of user space, as Linux has it. */
#define PIE_BASE 0x555555554000ull
#define PIE_RANDOM_PAGES (1ull << 28)
#define BRK_RANDOM_PAGES (1ull << 18)

#define USER_CS 0x33
#define USER_SS 0x2b
#define EFLAGS_IF 0x200

int loader_create(struct kernel *k, struct loader **out)
{
    struct loader *l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    l->kernel = k;
    k->clock.params->ncpus = (uint32_t)k->ncpus;
    int err = vdso_init(&l->vdso, k->memory, k->clock.page);
    if (err) {
        free(l);
        return err;
    }
    *out = l;
    return 0;
}

void loader_destroy(struct loader *l)
{
    vdso_destroy(&l->vdso, l->kernel->memory);
    free(l);
}

/* ---- placing and mapping one image ---- */

int loader_find_gap(struct mm *mm, uint64_t length, uint64_t align, gva_t *addr)
{
    struct mmap_opts opts = {.is_private = true, .noreserve = true};
    if (__builtin_add_overflow(length, align - PAGE_SIZE, &opts.length))
        return -ENOMEM;
    gva_t found;
    int err = mm_mmap(mm, &opts, &found);
    if (err)
        return err;
    err = mm_munmap(mm, found, opts.length);
    *addr = (found + opts.length - length) & ~(align - 1);
    return err;
}

/* A file part, private: writes stay in this address space. */
static int map_file_part(struct mm *mm, struct file *f, const struct elf_segment *seg, gva_t addr)
{
    struct mmap_opts opts = {
        .addr = page_down(addr),
        .length = seg->filesz + addr % PAGE_SIZE,
        .offset = page_down(seg->offset),
        .identity = &f->identity,
        .perms = seg->perms,
        .max_perms = ACCESS_ANY,
        .is_private = true,
        .fixed = true,
        .unmap = true,
    };
    if (!f->ops->mmap)
        return -ENOEXEC;
    int err = f->ops->mmap(f, &opts);
    if (err)
        return err;
    gva_t at;
    return mm_mmap(mm, &opts, &at);
}

/* Zeroes that follow the file part: the rest of its last page, then anonymous pages. */
static int map_bss_part(struct mm *mm, const struct elf_segment *seg, gva_t addr)
{
    gva_t end = addr + seg->memsz, zero = addr, pages = page_down(addr);

    if (seg->filesz) {
        zero += seg->filesz;
        pages = page_down(zero + PAGE_SIZE - 1);
        /* Linux leaves the tail of a page that the program could not write anyway. */
        if (pages > zero && (seg->perms & ACCESS_WRITE) && mm_zero_out(mm, zero, pages - zero))
            return -ENOEXEC;
    }
    if (end <= pages)
        return 0;
    /* Writable whatever the segment says, as Linux has it. */
    struct mmap_opts opts = {
        .addr = pages,
        .length = end - pages,
        .perms = ACCESS_READ | ACCESS_WRITE | (seg->perms & ACCESS_EXEC),
        .max_perms = ACCESS_ANY,
        .is_private = true,
        .fixed = true,
        .unmap = true,
    };
    gva_t at;
    return mm_mmap(mm, &opts, &at);
}

/* Pre: bias + img->high is within user space. */
static int map_image(struct mm *mm, struct file *f, const struct elf_image *img, uint64_t bias)
{
    for (int i = 0; i < img->nsegments; i++) {
        const struct elf_segment *seg = &img->segments[i];
        gva_t addr = bias + seg->vaddr;
        int err = seg->filesz ? map_file_part(mm, f, seg, addr) : 0;
        if (!err && seg->memsz > seg->filesz)
            err = map_bss_part(mm, seg, addr);
        if (err)
            return err;
    }
    return 0;
}

/* What to add to the image's addresses. Programs with an interpreter have an area of their own;
 * interpreters, and programs that need none, go where mmap would put them. */
static int choose_bias(struct load *ld, const struct elf_image *img, bool own_area, uint64_t *bias)
{
    gva_t base = PIE_BASE;

    if (img->type == ET_EXEC) {
        *bias = 0;
        return 0;
    }
    if (own_area) {
        if (ld->rq->randomize)
            base += ld->random.pie % PIE_RANDOM_PAGES * PAGE_SIZE;
        base &= ~(img->align - 1);
    } else {
        int err = loader_find_gap(ld->mm, img->high - img->low, img->align, &base);
        if (err)
            return err;
    }
    if (base > ELF_ADDRESS_LIMIT - (img->high - img->low))
        return -ENOEXEC;
    *bias = base - img->low;
    return 0;
}

static int load_image(struct load *ld, struct file *f, const struct elf_image *img, bool own_area,
                      uint64_t *bias)
{
    int err = choose_bias(ld, img, own_area, bias);
    return err ? err : map_image(ld->mm, f, img, *bias);
}

/* ---- the two files ---- */

static ssize_t read_program(void *arg, void *buf, size_t n, uint64_t offset)
{
    return file_read_kernel(arg, buf, n, (int64_t)offset);
}

static struct elf_reader reader_of(struct file *f)
{
    return (struct elf_reader){.read_at = read_program, .arg = f, .size = f->inode->size};
}

/* The interpreter that the program names, opened and parsed. A file that is no program there is
 * -ELIBBAD. */
static int open_interp(struct load *ld)
{
    char path[PATH_MAX];
    struct elf_reader r = reader_of(ld->program);
    int err = elf_read_interp(&r, &ld->image, path);
    if (!err)
        err = vfs_open_exec(ld->rq->task, AT_FDCWD, path, 0, &ld->interp);
    if (err)
        return err;
    r = reader_of(ld->interp);
    err = elf_parse(&r, &ld->interp_image);
    return err == -ENOEXEC ? -ELIBBAD : err;
}

static int open_program(struct load *ld)
{
    int err = script_resolve(ld->rq, &ld->program);
    if (err)
        return err;
    struct elf_reader r = reader_of(ld->program);
    err = elf_parse(&r, &ld->image);
    if (!err && ld->image.interp_size)
        err = open_interp(ld);
    return err;
}

/* ---- the address space ---- */

static void place_heap(struct load *ld)
{
    const struct elf_image *img = &ld->image;
    gva_t start = ld->bias + img->high;

    if (ld->rq->randomize) {
        /* Away from the mmap area, where it would have no room to grow. */
        if (img->type == ET_DYN && !ld->interp)
            start = PIE_BASE;
        start += ld->random.brk % BRK_RANDOM_PAGES * PAGE_SIZE;
    }
    mm_set_brk(ld->mm, start);
}

static void describe_image(struct load *ld)
{
    const struct elf_image *img = &ld->image;
    gva_t start_code = UINT64_MAX, end_code = 0, start_data = 0, end_data = 0;

    for (int i = 0; i < img->nsegments; i++) {
        const struct elf_segment *seg = &img->segments[i];
        gva_t start = ld->bias + seg->vaddr, end = start + seg->filesz;
        start_code = MIN(start_code, start);
        start_data = MAX(start_data, start);
        end_data = MAX(end_data, end);
        if (seg->perms & ACCESS_EXEC)
            end_code = MAX(end_code, end);
    }
    mm_info_lock(ld->mm);
    struct mm_info *info = mm_info(ld->mm);
    info->start_code = start_code;
    info->end_code = end_code;
    info->start_data = start_data;
    info->end_data = end_data;
    info->vdso = ld->vdso;
    mm_info_unlock(ld->mm);
}

static int fill_address_space(struct load *ld, gva_t *sp)
{
    int err = load_image(ld, ld->program, &ld->image, ld->interp != NULL, &ld->bias);
    if (err)
        return err;
    if (ld->interp) {
        uint64_t bias;
        err = load_image(ld, ld->interp, &ld->interp_image, false, &bias);
        if (err)
            return err;
        ld->interp_base = ld->interp_image.type == ET_DYN ? bias : 0;
        ld->interp_entry = bias + ld->interp_image.entry;
    }
    place_heap(ld);
    err = vdso_map(&ld->loader->vdso, ld->mm, &ld->vdso);
    if (err)
        return err;
    describe_image(ld);
    return stack_setup(ld, sp);
}

/* What the mm refuses because of what the file asked for makes it no program. */
static int load_error(int err)
{
    switch (err) {
    case -EEXIST:
    case -EINVAL:
    case -EFAULT:
    case -EPERM:
    case -EOVERFLOW:
        return -ENOEXEC;
    default:
        return err;
    }
}

static int build(struct load *ld, gva_t *sp)
{
    struct kernel *k = ld->loader->kernel;

    if (getrandom(&ld->random, sizeof(ld->random), 0) != sizeof(ld->random))
        return -EIO;
    int err = mm_create(&k->mm_config, ld->rq->limits, &ld->mm);
    if (err)
        return err;
    mm_pick_layout(ld->mm, ld->rq->stack_limit, ld->rq->randomize, &ld->layout);
    err = load_error(fill_address_space(ld, sp));
    if (err)
        mm_user_put(ld->mm);
    return err;
}

static void set_registers(struct arch_context *ac, gva_t entry, gva_t sp)
{
    *ac = (struct arch_context){0};
    ac->regs.rip = entry;
    ac->regs.rsp = sp;
    ac->regs.cs = USER_CS;
    ac->regs.ss = USER_SS;
    ac->regs.eflags = EFLAGS_IF;
    ac->regs.orig_rax = (unsigned long)-1;
}

static void set_comm(char comm[16], const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    memset(comm, 0, 16);
    memcpy(comm, name, strnlen(name, 15));
}

/* The command's name: the last part of the path, or for a program that was only a descriptor, of
 * the file's path. */
static void name_program(struct load *ld, char comm[16])
{
    static const char deleted[] = " (deleted)";
    char path[PATH_MAX];

    if (!ld->rq->name.nameless ||
        vfs_path_string(ld->rq->task, &ld->program->path, path, sizeof(path)) < 0) {
        set_comm(comm, ld->rq->name.path);
        return;
    }
    size_t length = strlen(path), suffix = sizeof(deleted) - 1;
    if (length > suffix && strcmp(path + length - suffix, deleted) == 0)
        path[length - suffix] = '\0';
    set_comm(comm, path);
}

/* Linux starts a program that was given no arguments with an empty argv[0]. */
static int check_strings(struct load_request *rq)
{
    if (rq->argv.count == 0) {
        int err = exec_strings_prepend(&rq->argv, "");
        if (err)
            return err;
    }
    uint64_t limit = exec_strings_limit(rq->stack_limit);
    uint64_t bytes = rq->argv.length + rq->envp.length + strlen(rq->name.path) + 1;
    uint64_t pages = (bytes + sizeof(gva_t) + PAGE_SIZE - 1) & PAGE_MASK;
    /* They are copied to a stack that must not outgrow its limit either. */
    if (pages > MAX(rq->stack_limit, PAGE_SIZE))
        return -E2BIG;
    return bytes + (rq->argv.count + rq->envp.count) * sizeof(gva_t) <= limit ? 0 : -E2BIG;
}

int loader_load(struct loader *l, struct load_request *rq, struct load_result *out)
{
    struct load *ld = malloc(sizeof(*ld)); /* too large for the stack */
    if (!ld)
        return -ENOMEM;
    memset(ld, 0, offsetof(struct load, image));
    ld->loader = l;
    ld->rq = rq;
    ld->secure = out->secure;

    gva_t sp;
    int err = check_strings(rq);
    if (!err)
        err = open_program(ld);
    if (!err)
        err = check_strings(rq); /* a #! line made them longer */
    if (!err)
        err = build(ld, &sp);
    if (!err) {
        out->mm = ld->mm;
        out->exe = file_get(ld->program);
        set_registers(&out->arch, ld->interp ? ld->interp_entry : ld->bias + ld->image.entry, sp);
        name_program(ld, out->comm);
    }
    if (ld->interp)
        file_put(ld->interp);
    if (ld->program)
        file_put(ld->program);
    free(ld);
    return err;
}
