/*
 * The vDSO in the application: one copy of its code in the memory file for the whole sandbox, shown
 * in every address space with the page of parameters right below it, as vdso/vdso.lds wants it.
 */
#include "sentry/loader/internal.h"
#include "sentry/loader/vdso_image.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- pages that never change and never go, as a mappable ---- */

static struct special_mapping *of_mappable(struct mappable *m)
{
    return container_of(m, struct special_mapping, mappable);
}

static int special_add(UNUSED struct mappable *m, UNUSED struct mapping_space *ms,
                       UNUSED struct addr_range ar, UNUSED uint64_t offset, UNUSED bool writable)
{
    return 0;
}

static void special_remove(UNUSED struct mappable *m, UNUSED struct mapping_space *ms,
                           UNUSED struct addr_range ar, UNUSED uint64_t offset,
                           UNUSED bool writable)
{
}

static int special_copy(UNUSED struct mappable *m, UNUSED struct mapping_space *ms,
                        UNUSED struct addr_range src, UNUSED struct addr_range dst,
                        UNUSED uint64_t offset, UNUSED bool writable)
{
    return 0;
}

static int special_translate(struct mappable *m, struct mappable_range required,
                             struct mappable_range optional, access_t at, struct translation *ts,
                             UNUSED int max, int *n)
{
    struct special_mapping *s = of_mappable(m);
    uint64_t end = RANGE_LENGTH(s->pages);

    *n = 0;
    if (at & ~s->perms)
        return -EACCES;
    if (required.start >= end)
        return -EBUSERR;
    ts[0] = (struct translation){
        .source = {optional.start, MIN(optional.end, end)},
        .file = s->file,
        .offset = s->pages.start + optional.start,
        .perms = s->perms,
    };
    *n = 1;
    return required.end <= end ? 0 : -EBUSERR;
}

static int special_invalidate_unsavable(UNUSED struct mappable *m)
{
    return 0;
}

static const struct mappable_ops special_mappable_ops = {
    .add_mapping = special_add,
    .remove_mapping = special_remove,
    .copy_mapping = special_copy,
    .translate = special_translate,
    .invalidate_unsavable = special_invalidate_unsavable,
};

/* The loader owns it, and outlives every address space. */
static void special_get(UNUSED struct mapping_identity *id)
{
}

static int special_name(struct mapping_identity *id, char *buf, size_t size)
{
    return snprintf(buf, size, "%s", container_of(id, struct special_mapping, identity)->name);
}

static dev_t special_device(UNUSED struct mapping_identity *id)
{
    return 0;
}

static uint64_t special_inode(UNUSED struct mapping_identity *id)
{
    return 0;
}

static int special_msync(UNUSED struct mapping_identity *id, UNUSED struct mappable_range mr)
{
    return 0;
}

static const struct mapping_identity_ops special_identity_ops = {
    .get = special_get,
    .put = special_get,
    .name = special_name,
    .device = special_device,
    .inode = special_inode,
    .msync = special_msync,
};

static void special_init(struct special_mapping *s, const char *name, struct memory_file *mf,
                         struct file_range pages, access_t perms)
{
    *s = (struct special_mapping){
        .mappable = {.ops = &special_mappable_ops},
        .identity = {.ops = &special_identity_ops},
        .name = name,
        .file = &mf->file,
        .pages = pages,
        .perms = perms,
    };
}

/* ---- the two of them ---- */

int vdso_init(struct vdso *v, struct memory_file *mf, struct file_range params)
{
    struct file_range code;
    uint64_t size = (vdso_image_size() + PAGE_SIZE - 1) & PAGE_MASK;

    int err = memory_file_alloc(mf, size, 0, &code);
    if (err)
        return err;
    err = memory_file_commit(mf, code);
    if (err) {
        memory_file_put(mf, code);
        return err;
    }
    memcpy(mf->file.window + code.start, vdso_image_start, vdso_image_size());
    special_init(&v->params, "[vvar]", mf, params, ACCESS_READ);
    special_init(&v->code, "[vdso]", mf, code, ACCESS_READ | ACCESS_EXEC);
    return 0;
}

void vdso_destroy(struct vdso *v, struct memory_file *mf)
{
    memory_file_put(mf, v->code.pages);
}

/* The application may unmap, move or (privately) write what it got: only itself is the worse. */
static int special_map(struct special_mapping *s, struct mm *mm, gva_t addr, access_t max_perms)
{
    struct mmap_opts opts = {
        .addr = addr,
        .length = RANGE_LENGTH(s->pages),
        .mappable = &s->mappable,
        .identity = &s->identity,
        .perms = s->perms,
        .max_perms = max_perms,
        .is_private = true,
        .fixed = true,
        .unmap = true,
        .force = true,
        .is_vdso = true,
        .hint = s->name,
    };
    gva_t at;
    return mm_mmap(mm, &opts, &at);
}

int vdso_map(struct vdso *v, struct mm *mm, gva_t *base)
{
    uint64_t params_size = RANGE_LENGTH(v->params.pages);
    gva_t addr;

    int err = loader_find_gap(mm, params_size + RANGE_LENGTH(v->code.pages), PAGE_SIZE, &addr);
    if (!err)
        err = special_map(&v->params, mm, addr, ACCESS_READ);
    if (!err)
        err = special_map(&v->code, mm, addr + params_size, ACCESS_ANY);
    *base = addr + params_size;
    return err;
}
