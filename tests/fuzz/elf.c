/*
 * A file that somebody wants executed: whatever is in it, the parsers end, stay within the buffer,
 * and promise only what the loader may rely on. Seeds: any small program; dictionary: elf.dict.
 */
#include "sentry/loader/elf.h"
#include "sentry/loader/script.h"
#include <stdlib.h>
#include <string.h>

struct input {
    const uint8_t *data;
    size_t size;
};

static ssize_t read_input(void *arg, void *buf, size_t n, uint64_t offset)
{
    const struct input *in = arg;
    if (offset >= in->size)
        return 0;
    n = MIN(n, in->size - offset);
    memcpy(buf, in->data + offset, n);
    return (ssize_t)n;
}

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void check_image(const struct elf_image *img)
{
    require(img->nsegments >= 1 && img->nsegments <= ELF_MAX_SEGMENTS);
    require(page_aligned(img->low) && page_aligned(img->high));
    require(img->low < img->high && img->high <= ELF_ADDRESS_LIMIT);
    require((img->align & (img->align - 1)) == 0 && img->align >= PAGE_SIZE);
    require(img->entry < ELF_ADDRESS_LIMIT);
    for (int i = 0; i < img->nsegments; i++) {
        const struct elf_segment *s = &img->segments[i];
        require(s->memsz > 0 && s->filesz <= s->memsz);
        require(s->vaddr >= img->low && s->vaddr + s->memsz <= img->high);
        require(s->filesz == 0 || (s->vaddr % PAGE_SIZE == s->offset % PAGE_SIZE &&
                                   s->offset <= INT64_MAX - s->memsz));
    }
}

static void parse_elf(const struct elf_reader *r)
{
    struct elf_image *img = malloc(sizeof(*img));
    if (elf_parse(r, img) == 0) {
        char path[PATH_MAX];
        check_image(img);
        if (img->interp_size && elf_read_interp(r, img, path) == 0)
            require(strlen(path) < PATH_MAX);
    }
    free(img);
}

static void parse_script(const uint8_t *data, size_t size)
{
    char buf[SCRIPT_LINE_SIZE] = {0};
    struct script_line line;

    memcpy(buf, data, MIN(size, sizeof(buf)));
    if (!script_is(buf) || script_parse(buf, &line) != 0)
        return;
    require(strlen(line.interp) < SCRIPT_LINE_SIZE && !strpbrk(line.interp, " \t\n"));
    require(!line.has_arg || strlen(line.arg) < SCRIPT_LINE_SIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct elf_reader r = {.read_at = read_input, .arg = &in, .size = size};

    parse_elf(&r);
    parse_script(data, size);
    return 0;
}
