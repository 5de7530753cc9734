/*
 * The ELF64 parser: reads a file header and its program headers, both written by whoever made the
 * file, and answers with numbers that cannot overflow. It judges as Linux's binfmt_elf does: the
 * magic, the type, the machine and the size of the table count; the rest of e_ident, versions and
 * section headers are ignored, because there are programs that keep code in those bytes.
 * Overlapping and unordered segments are lawful: the later one is mapped over the earlier.
 */
#include "sentry/loader/elf.h"
#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

_Static_assert(ELF_MAX_SEGMENTS * sizeof(Elf64_Phdr) <= 65536, "Linux's limit on the table");

/* Program headers are read this many at a time. */
#define PHDR_BATCH 32

static access_t segment_perms(uint32_t p_flags)
{
    access_t perms = 0;
    if (p_flags & PF_R)
        perms |= ACCESS_READ;
    if (p_flags & PF_W)
        perms |= ACCESS_WRITE;
    if (p_flags & PF_X)
        perms |= ACCESS_EXEC;
    return perms;
}

/* Whether the segment lies in user space and its file part can be mapped. */
static bool load_is_sane(const Elf64_Phdr *ph)
{
    uint64_t end;
    if (ph->p_filesz > ph->p_memsz || __builtin_add_overflow(ph->p_vaddr, ph->p_memsz, &end) ||
        end > ELF_ADDRESS_LIMIT)
        return false;
    if (ph->p_filesz == 0)
        return true;
    return (ph->p_vaddr - ph->p_offset) % PAGE_SIZE == 0 &&
           !__builtin_add_overflow(ph->p_offset, ph->p_memsz, &end) && end <= INT64_MAX - PAGE_SIZE;
}

static int take_load(struct elf_image *img, const Elf64_Phdr *ph)
{
    if (!load_is_sane(ph))
        return -ENOEXEC;
    /* Alignments that are no power of two are skipped, as Linux does. */
    if (ph->p_align > img->align && (ph->p_align & (ph->p_align - 1)) == 0)
        img->align = ph->p_align;
    if (ph->p_offset <= img->phoff && img->phoff - ph->p_offset < ph->p_filesz)
        img->phdr_vaddr = img->phoff - ph->p_offset + ph->p_vaddr;
    if (ph->p_memsz == 0)
        return 0;

    img->segments[img->nsegments++] = (struct elf_segment){
        .vaddr = ph->p_vaddr,
        .memsz = ph->p_memsz,
        .filesz = ph->p_filesz,
        .offset = ph->p_offset,
        .perms = segment_perms(ph->p_flags),
    };
    img->low = MIN(img->low, page_down(ph->p_vaddr));
    /* Cannot overflow: load_is_sane keeps the end within user space. */
    img->high = MAX(img->high, page_down(ph->p_vaddr + ph->p_memsz + PAGE_SIZE - 1));
    return 0;
}

static int take_interp(struct elf_image *img, const Elf64_Phdr *ph)
{
    if (img->interp_size) /* the first one counts */
        return 0;
    if (ph->p_filesz < 2 || ph->p_filesz > PATH_MAX || ph->p_offset > INT64_MAX - PATH_MAX)
        return -ENOEXEC;
    img->interp_offset = ph->p_offset;
    img->interp_size = ph->p_filesz;
    return 0;
}

static int take_phdr(struct elf_image *img, const Elf64_Phdr *ph)
{
    switch (ph->p_type) {
    case PT_LOAD:
        return take_load(img, ph);
    case PT_INTERP:
        return take_interp(img, ph);
    case PT_GNU_STACK:
        img->exec_stack = (ph->p_flags & PF_X) != 0;
        return 0;
    default:
        return 0;
    }
}

static int parse_phdrs(const struct elf_reader *r, struct elf_image *img)
{
    Elf64_Phdr batch[PHDR_BATCH];

    for (unsigned done = 0; done < img->phnum;) {
        unsigned n = MIN((unsigned)PHDR_BATCH, img->phnum - done);
        size_t bytes = n * sizeof(batch[0]);
        if (r->read_at(r->arg, batch, bytes, img->phoff + done * sizeof(batch[0])) !=
            (ssize_t)bytes)
            return -ENOEXEC;
        for (unsigned i = 0; i < n; i++) {
            int err = take_phdr(img, &batch[i]);
            if (err)
                return err;
        }
        done += n;
    }
    return img->nsegments > 0 ? 0 : -ENOEXEC;
}

int elf_parse(const struct elf_reader *r, struct elf_image *out)
{
    /* A file may end within its header: what is missing reads as zero. */
    Elf64_Ehdr eh = {0};
    ssize_t n = r->read_at(r->arg, &eh, sizeof(eh), 0);
    if (n < SELFMAG)
        return n < 0 ? (int)n : -ENOEXEC;
    if (memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 || eh.e_machine != EM_X86_64 ||
        (eh.e_type != ET_EXEC && eh.e_type != ET_DYN) || eh.e_phentsize != sizeof(Elf64_Phdr) ||
        eh.e_phnum == 0 || eh.e_phnum > ELF_MAX_SEGMENTS)
        return -ENOEXEC;
    if (eh.e_phoff > INT64_MAX - 65536 || eh.e_entry >= ELF_ADDRESS_LIMIT)
        return -ENOEXEC;

    out->type = eh.e_type;
    out->entry = eh.e_entry;
    out->phoff = eh.e_phoff;
    out->phnum = eh.e_phnum;
    out->phentsize = eh.e_phentsize;
    out->phdr_vaddr = 0;
    out->nsegments = 0;
    out->low = UINT64_MAX;
    out->high = 0;
    out->align = PAGE_SIZE;
    out->interp_offset = out->interp_size = 0;
    out->exec_stack = false;
    return parse_phdrs(r, out);
}

int elf_read_interp(const struct elf_reader *r, const struct elf_image *img, char path[PATH_MAX])
{
    ssize_t n = r->read_at(r->arg, path, img->interp_size, img->interp_offset);
    if (n < 0)
        return (int)n;
    if ((uint64_t)n != img->interp_size)
        return -EIO;
    return path[n - 1] == '\0' ? 0 : -ENOEXEC;
}
