/*
 * What /proc/PID says of memory: maps, smaps, mem, and the areas that the loader filled.
 */
#include "sentry/fs/proc/proc.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#define NAME_COLUMN 73

static void put_name(struct text *out, size_t line, const char *name)
{
    static const char spaces[NAME_COLUMN + 1] =
        "                                                                         ";
    size_t used = out->length - line;
    if (*name && used < NAME_COLUMN)
        text_bytes(out, spaces, NAME_COLUMN - used);
    for (; *name; name++) {
        if (*name == '\n')
            text_bytes(out, "\\012", 4);
        else
            text_bytes(out, name, 1);
    }
    text_bytes(out, "\n", 1);
}

static void put_vma(struct text *out, const struct mm_vma_info *v)
{
    size_t line = out->length;
    text_add(out, "%08llx-%08llx %c%c%c%c %08llx %02x:%02x %llu ", (unsigned long long)v->ar.start,
             (unsigned long long)v->ar.end, v->perms & ACCESS_READ ? 'r' : '-',
             v->perms & ACCESS_WRITE ? 'w' : '-', v->perms & ACCESS_EXEC ? 'x' : '-',
             v->is_private ? 'p' : 's', (unsigned long long)v->offset, major(v->device),
             minor(v->device), (unsigned long long)v->inode);
    put_name(out, line, v->name);
}

static void put_kb(struct text *out, const char *name, uint64_t bytes)
{
    text_add(out, "%-16s%8llu kB\n", name, (unsigned long long)bytes / 1024);
}

static void put_sizes(struct text *out, const struct mm_vma_info *v)
{
    uint64_t private = v->rss > v->shared ? v->rss - v->shared : 0;
    bool file = v->inode != 0;
    put_kb(out, "Rss:", v->rss);
    put_kb(out, "Pss:", v->pss);
    put_kb(out, "Pss_Dirty:", v->anonymous);
    put_kb(out, "Shared_Clean:", file ? v->shared : 0);
    put_kb(out, "Shared_Dirty:", file ? 0 : v->shared);
    put_kb(out, "Private_Clean:", private > v->anonymous ? private - v->anonymous : 0);
    put_kb(out, "Private_Dirty:", MIN(private, v->anonymous));
    put_kb(out, "Referenced:", v->rss);
    put_kb(out, "Anonymous:", v->anonymous);
    put_kb(out, "LazyFree:", 0);
    put_kb(out, "AnonHugePages:", 0);
    put_kb(out, "ShmemPmdMapped:", 0);
    put_kb(out, "FilePmdMapped:", 0);
    put_kb(out, "Shared_Hugetlb:", 0);
    put_kb(out, "Private_Hugetlb:", 0);
    put_kb(out, "Swap:", v->swap);
    put_kb(out, "SwapPss:", v->swap);
    put_kb(out, "Locked:", v->locked_bytes);
}

static void put_flags(struct text *out, const struct mm_vma_info *v)
{
    const struct {
        bool on;
        const char *name;
    } rows[] = {
        {v->perms & ACCESS_READ, "rd"},
        {v->perms & ACCESS_WRITE, "wr"},
        {v->perms & ACCESS_EXEC, "ex"},
        {!v->is_private, "sh"},
        {v->max_perms & ACCESS_READ, "mr"},
        {v->max_perms & ACCESS_WRITE, "mw"},
        {v->max_perms & ACCESS_EXEC, "me"},
        {!v->is_private, "ms"},
        {v->grows_down, "gd"},
        {v->locked, "lo"},
    };
    text_add(out, "VmFlags: ");
    for (size_t k = 0; k < ARRAY_SIZE(rows); k++) {
        if (rows[k].on)
            text_add(out, "%s ", rows[k].name);
    }
    text_add(out, "\n");
}

static int each_vma(struct pseudo_ctx *c, struct text *out, bool sizes)
{
    struct mm *mm = proc_mm(c);
    if (!mm)
        return 0;
    struct mm_vma_info *v = malloc(sizeof(*v));
    if (!v) {
        mm_user_put(mm);
        return -ENOMEM;
    }
    gva_t at = 0;
    while (!out->failed && mm_next_vma(mm, at, sizes, v)) {
        put_vma(out, v);
        if (sizes) {
            put_kb(out, "Size:", v->ar.end - v->ar.start);
            put_kb(out, "KernelPageSize:", PAGE_SIZE);
            put_kb(out, "MMUPageSize:", PAGE_SIZE);
            put_sizes(out, v);
            text_add(out, "THPeligible:           0\n");
            put_flags(out, v);
        }
        at = v->ar.end;
    }
    free(v);
    mm_user_put(mm);
    return 0;
}

int proc_pid_maps(struct pseudo_ctx *c, struct text *out)
{
    return each_vma(c, out, false);
}

int proc_pid_smaps(struct pseudo_ctx *c, struct text *out)
{
    return each_vma(c, out, true);
}

int proc_pid_smaps_rollup(struct pseudo_ctx *c, struct text *out)
{
    struct mm *mm = proc_mm(c);
    if (!mm)
        return -ESRCH;
    struct mm_vma_info *v = malloc(sizeof(*v)), *sum = calloc(1, sizeof(*sum));
    int err = v && sum ? 0 : -ENOMEM;
    gva_t at = 0;
    for (bool first = true; !err && mm_next_vma(mm, at, true, v); first = false) {
        if (first)
            sum->ar.start = v->ar.start;
        sum->ar.end = at = v->ar.end;
        sum->rss += v->rss;
        sum->pss += v->pss;
        sum->anonymous += v->anonymous;
        sum->shared += v->shared;
        sum->swap += v->swap;
        sum->locked_bytes += v->locked_bytes;
    }
    if (!err) {
        sum->is_private = true;
        strcpy(sum->name, "[rollup]");
        put_vma(out, sum);
        put_sizes(out, sum);
    }
    free(v);
    free(sum);
    mm_user_put(mm);
    return err;
}

/* ---- what the loader put there ---- */

static void put_memory(struct text *out, struct mm *mm, gva_t start, gva_t end)
{
    char buf[4096];
    while (start < end && !out->failed) {
        size_t n = MIN(end - start, sizeof(buf));
        n = mm_copy_in_force(mm, buf, start, n);
        if (!n)
            break;
        text_bytes(out, buf, n);
        start += n;
    }
}

#define AREA_MAX (8u << 20)

static int show_area(struct pseudo_ctx *c, struct text *out, bool env)
{
    struct mm *mm = proc_mm(c);
    if (!mm)
        return 0; /* a zombie has none */
    mm_info_lock(mm);
    const struct mm_info *info = mm_info(mm);
    gva_t start = env ? info->env_start : info->arg_start;
    gva_t end = env ? info->env_end : info->arg_end;
    mm_info_unlock(mm);
    if (start < end)
        put_memory(out, mm, start, MIN(end, start + AREA_MAX));
    mm_user_put(mm);
    return 0;
}

int proc_pid_cmdline(struct pseudo_ctx *c, struct text *out)
{
    return show_area(c, out, false);
}

int proc_pid_environ(struct pseudo_ctx *c, struct text *out)
{
    return show_area(c, out, true);
}

int proc_pid_auxv(struct pseudo_ctx *c, struct text *out)
{
    struct mm *mm = proc_mm(c);
    if (!mm)
        return 0;
    mm_info_lock(mm);
    const struct mm_info *info = mm_info(mm);
    text_bytes(out, info->auxv, info->auxv_words * sizeof(info->auxv[0]));
    mm_info_unlock(mm);
    mm_user_put(mm);
    return 0;
}

/* ---- mem ---- */

static ssize_t mem_move(struct file *f, struct uio *u, int64_t *pos, bool write)
{
    struct pseudo_ctx c;
    char buf[4096];
    ssize_t total = 0;
    pseudo_ctx_init(&c, f->inode, NULL);
    struct mm *mm = proc_mm(&c);
    if (!mm)
        return 0;
    while (u->resid) {
        size_t n = MIN(u->resid, sizeof(buf));
        ssize_t moved;
        if (write) {
            moved = uio_copy_from(u, buf, n);
            if (moved > 0)
                moved = (ssize_t)mm_copy_out_force(mm, (gva_t)*pos, buf, (size_t)moved);
        } else {
            moved = (ssize_t)mm_copy_in_force(mm, buf, (gva_t)*pos, n);
            if (moved > 0)
                moved = uio_copy_to(u, buf, (size_t)moved);
        }
        if (moved <= 0) {
            if (!total)
                total = moved < 0 ? moved : -EIO;
            break;
        }
        *pos += moved;
        total += moved;
        if ((size_t)moved < n)
            break;
    }
    mm_user_put(mm);
    return total;
}

static ssize_t mem_read(struct file *f, struct uio *u, int64_t *pos, UNUSED int rwf)
{
    return mem_move(f, u, pos, false);
}

static ssize_t mem_write(struct file *f, struct uio *u, int64_t *pos, UNUSED int rwf)
{
    return mem_move(f, u, pos, true);
}

static int64_t mem_llseek(struct file *f, int64_t offset, int whence)
{
    if (whence == SEEK_CUR && __builtin_add_overflow(offset, f->pos, &offset))
        return -EOVERFLOW;
    if (whence != SEEK_SET && whence != SEEK_CUR)
        return -EINVAL;
    f->pos = offset;
    return offset;
}

const struct file_ops proc_mem_fops = {
    .read = mem_read,
    .write = mem_write,
    .llseek = mem_llseek,
};
