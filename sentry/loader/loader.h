/*
 * Loading programs: ELF64, interpreter scripts, the initial stack, the vDSO. See execve(2), elf(5).
 */
#ifndef PICKET_SENTRY_LOADER_LOADER_H
#define PICKET_SENTRY_LOADER_LOADER_H

#include "mm/mm.h"
#include "platform/arch.h"
#include "sentry/vfs/vfs.h"

struct kernel;
struct loader;

MUST_CHECK int loader_create(struct kernel *k, struct loader **out);
void loader_destroy(struct loader *l);

/* argv or envp, already copied into the sentry: `count` strings, one after the other, each with its
 * NUL. */
struct exec_strings {
    char *data;
    size_t length;
    size_t count;
};
/* Reads an application's pointer array. -E2BIG as Linux: MAX_ARG_STRLEN for one, a quarter of the
 * stack limit in all. */
MUST_CHECK int exec_strings_copy_in(struct exec_strings *s, struct mm *mm, gva_t array,
                                    uint64_t stack_limit);
MUST_CHECK int exec_strings_from(struct exec_strings *s, char *const *strings);
void exec_strings_release(struct exec_strings *s);

/* What the program is called. */
struct exec_name {
    const char *path;  /* as given: AT_EXECFN, argv[1] of a script; its last part is the comm */
    bool inaccessible; /* path leads through a close-on-exec descriptor: an interpreter could not
                          open it, so a script is -ENOENT */
    bool nameless;     /* path is nothing but a descriptor: the file's own name is the comm */
};

struct load_request {
    struct task *task;       /* for path walks (interpreters) */
    const struct cred *cred; /* of the new program: AT_UID and the like */
    struct file *file;       /* opened for execution; a reference is taken if it stays */
    struct exec_name name;
    struct exec_strings argv, envp; /* may be changed by a script's #! line */
    const struct mm_limits *limits;
    uint64_t stack_limit;
    bool randomize;
};
struct load_result {
    struct mm *mm;            /* one user, the caller's */
    struct arch_context arch; /* registers at the entry point; no xstate */
    struct file *exe;         /* the caller's reference: what /proc/self/exe shows */
    char comm[16];
    /* Set-id and capabilities: what the file asks for; exec decides (no_new_privs, nosuid). */
    bool secure; /* in: set by exec before load for AT_SECURE */
};
/* Returns 0, or -errno (-ENOEXEC for what is no program), with nothing changed. */
MUST_CHECK int loader_load(struct loader *l, struct load_request *rq, struct load_result *out);

/*
 * The parser alone, for the fuzzer: checks an ELF64 header and program headers in a buffer.
 */
struct elf_segment {
    uint64_t vaddr, memsz, filesz, offset;
    access_t perms;
};
#define ELF_MAX_SEGMENTS 1170 /* as many as Linux takes: 64 KiB of program headers */
struct elf_image {
    uint16_t type; /* ET_EXEC or ET_DYN */
    uint64_t entry, phoff;
    uint16_t phnum, phentsize;
    uint64_t phdr_vaddr; /* where the program headers are in memory, or 0 */
    /* In the file's order; none is empty. They may overlap: the later one counts. */
    struct elf_segment segments[ELF_MAX_SEGMENTS];
    int nsegments;
    uint64_t low, high, align;           /* page extent of the segments; largest alignment */
    uint64_t interp_offset, interp_size; /* 0: none */
    bool exec_stack;
};
struct elf_reader {
    /* As pread: bytes read, or -errno. */
    ssize_t (*read_at)(void *arg, void *buf, size_t n, uint64_t offset);
    void *arg;
    uint64_t size;
};
/*
 * Returns 0, -ENOEXEC for anything that is no sane x86-64 program, or the error of the first read.
 * On success every sum of fields that the loader needs fits its type: each segment's memory lies
 * below the end of user space, each file part begins congruent to its address modulo the page size.
 */
MUST_CHECK int elf_parse(const struct elf_reader *r, struct elf_image *out);

#endif
