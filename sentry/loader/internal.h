/*
 * What the files of the loader tell each other.
 */
#ifndef PICKET_SENTRY_LOADER_INTERNAL_H
#define PICKET_SENTRY_LOADER_INTERNAL_H

#include "sentry/kernel/cred.h"
#include "sentry/loader/elf.h"
#include "sentry/loader/script.h"
#include "sentry/loader/strings.h"

/* ---- vdso.c ---- */

/* Pages of the memory file that every address space shows at the same offset from each other. */
struct special_mapping {
    struct mappable mappable;
    struct mapping_identity identity;
    const char *name;
    struct memmap_file *file;
    struct file_range pages;
    access_t perms; /* of the pages, which never change */
};

/* The vDSO as it is mapped: the parameters, then the code. */
struct vdso {
    struct special_mapping params, code;
};

MUST_CHECK int vdso_init(struct vdso *v, struct memory_file *mf, struct file_range params);
void vdso_destroy(struct vdso *v, struct memory_file *mf);
/* Maps both somewhere in mm's mmap area; *base is where the ELF header is. */
MUST_CHECK int vdso_map(struct vdso *v, struct mm *mm, gva_t *base);

/* ---- load.c ---- */

struct loader {
    struct kernel *kernel;
    struct vdso vdso;
};

/* Finds `length` free bytes in the mmap area at a multiple of align. Nothing is mapped. */
MUST_CHECK int loader_find_gap(struct mm *mm, uint64_t length, uint64_t align, gva_t *addr);

/* One load, under way. */
struct load {
    struct loader *loader;
    struct load_request *rq;
    struct mm *mm;
    struct mm_layout layout;
    struct file *program, *interp; /* interp: NULL if there is none */
    uint64_t bias;                 /* of the program */
    gva_t interp_base, interp_entry;
    gva_t vdso;
    bool secure;
    struct {
        uint64_t pie, brk, stack;
        uint8_t at_random[16];
    } random;
    /* Large, and filled by elf_parse: not zeroed with the rest. */
    struct elf_image image, interp_image;
};

/* ---- stack.c ---- */

/* Maps the stack and writes strings and vectors to it; tells mm_info where they are. *sp: the
 * initial stack pointer. */
MUST_CHECK int stack_setup(struct load *ld, gva_t *sp);

#endif
