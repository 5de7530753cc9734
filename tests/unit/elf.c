/*
 * The ELF parser: what it must refuse, what it must take because Linux does, and every program and
 * library of this machine.
 */
#include "sentry/loader/elf.h"
#include <check.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct elf_image img; /* too large for a stack */

/* ---- files in memory ---- */

struct fake {
    uint8_t bytes[131072];
    size_t size;
    Elf64_Ehdr *eh;
    Elf64_Phdr *ph;
};
static struct fake fake;

static ssize_t read_fake(void *arg, void *buf, size_t n, uint64_t offset)
{
    const struct fake *f = arg;
    if (offset >= f->size)
        return 0;
    n = MIN(n, f->size - offset);
    memcpy(buf, f->bytes + offset, n);
    return (ssize_t)n;
}

static const struct elf_reader fake_reader = {.read_at = read_fake, .arg = &fake};

static int parse(void)
{
    memset(&img, 0x55, offsetof(struct elf_image, segments[8]));
    img.nsegments = -1;
    return elf_parse(&fake_reader, &img);
}

/* A sound program: code, data with bss, an interpreter, a stack that is not executable. */
static void make_program(uint16_t type)
{
    uint64_t base = type == ET_EXEC ? 0x400000 : 0;
    memset(fake.bytes, 0, MAX(fake.size, 0x3000ul));
    fake.size = 0x3000;
    fake.eh = (Elf64_Ehdr *)fake.bytes;
    fake.ph = (Elf64_Phdr *)(fake.bytes + sizeof(Elf64_Ehdr));
    *fake.eh = (Elf64_Ehdr){
        .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = type,
        .e_machine = EM_X86_64,
        .e_version = EV_CURRENT,
        .e_entry = base + 0x1000,
        .e_phoff = sizeof(Elf64_Ehdr),
        .e_ehsize = sizeof(Elf64_Ehdr),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = 4,
    };
    fake.ph[0] = (Elf64_Phdr){PT_LOAD, PF_R | PF_X, 0, base, base, 0x1800, 0x1800, 0x1000};
    fake.ph[1] = (Elf64_Phdr){.p_type = PT_LOAD,
                              .p_flags = PF_R | PF_W,
                              .p_offset = 0x1e00,
                              .p_vaddr = base + 0x2e00,
                              .p_filesz = 0x400,
                              .p_memsz = 0x5000,
                              .p_align = 0x1000};
    fake.ph[2] = (Elf64_Phdr){PT_INTERP, PF_R, 0x200, base + 0x200, base + 0x200, 5, 5, 1};
    fake.ph[3] = (Elf64_Phdr){.p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W};
    memcpy(fake.bytes + 0x200, "/ld", 4);
}

static void setup(void)
{
    make_program(ET_DYN);
}

START_TEST(test_sound_program)
{
    ck_assert_int_eq(parse(), 0);
    ck_assert_uint_eq(img.type, ET_DYN);
    ck_assert_uint_eq(img.entry, 0x1000);
    ck_assert_uint_eq(img.phnum, 4);
    ck_assert_uint_eq(img.phentsize, 56);
    ck_assert_uint_eq(img.phdr_vaddr, 64);
    ck_assert_int_eq(img.nsegments, 2);
    ck_assert_int_eq(img.segments[0].perms, ACCESS_READ | ACCESS_EXEC);
    ck_assert_int_eq(img.segments[1].perms, ACCESS_READ | ACCESS_WRITE);
    ck_assert_uint_eq(img.segments[1].vaddr, 0x2e00);
    ck_assert_uint_eq(img.segments[1].memsz, 0x5000);
    ck_assert_uint_eq(img.segments[1].filesz, 0x400);
    ck_assert_uint_eq(img.segments[1].offset, 0x1e00);
    ck_assert_uint_eq(img.low, 0);
    ck_assert_uint_eq(img.high, 0x8000);
    ck_assert_uint_eq(img.align, 0x1000);
    ck_assert_uint_eq(img.interp_offset, 0x200);
    ck_assert_uint_eq(img.interp_size, 5);
    ck_assert(!img.exec_stack);

    char path[PATH_MAX];
    ck_assert_int_eq(elf_read_interp(&fake_reader, &img, path), 0);
    ck_assert_str_eq(path, "/ld");
}
END_TEST

START_TEST(test_header)
{
    static const struct {
        size_t offset;
        uint8_t size;
        uint64_t value;
    } bad[] = {
#define FIELD(f, v) {offsetof(Elf64_Ehdr, f), sizeof(((Elf64_Ehdr *)0)->f), v}
        {0, 1, 0x7e},
        {1, 1, 'e'},
        {2, 1, 'l'},
        {3, 1, 'f'},
        FIELD(e_type, ET_REL),
        FIELD(e_type, ET_CORE),
        FIELD(e_type, ET_NONE),
        FIELD(e_type, 0xffff),
        FIELD(e_machine, EM_386),
        FIELD(e_machine, EM_AARCH64),
        FIELD(e_machine, 0),
        FIELD(e_phentsize, 0),
        FIELD(e_phentsize, 32),
        FIELD(e_phentsize, 57),
        FIELD(e_phentsize, 0xffff),
        FIELD(e_phnum, 0),
        FIELD(e_phnum, 1171),
        FIELD(e_phnum, 0xffff),
        FIELD(e_phoff, 0x3000),
        FIELD(e_phoff, 0x3000 - 4 * 56 + 1),
        FIELD(e_phoff, INT64_MAX),
        FIELD(e_phoff, UINT64_MAX),
        FIELD(e_phoff, UINT64_MAX - 4 * 56 + 1),
        FIELD(e_entry, 0x7ffffffff000),
        FIELD(e_entry, 0xffffffff81000000),
#undef FIELD
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        make_program(ET_EXEC);
        memcpy(fake.bytes + bad[i].offset, &bad[i].value, bad[i].size);
        ck_assert_msg(parse() == -ENOEXEC, "case %zu was taken", i);
    }
}
END_TEST

/* Linux never looks at these: programs that hide code in them run. */
START_TEST(test_ignored_fields)
{
    memset(fake.eh->e_ident + 4, 0xcc, 12);
    fake.eh->e_version = 77;
    fake.eh->e_ehsize = 1;
    fake.eh->e_flags = 0xffffffff;
    fake.eh->e_shoff = UINT64_MAX;
    fake.eh->e_shnum = fake.eh->e_shstrndx = fake.eh->e_shentsize = 0xffff;
    fake.ph[0].p_paddr = UINT64_MAX;
    fake.ph[0].p_flags |= 0xfffffff0;
    ck_assert_int_eq(parse(), 0);
}
END_TEST

START_TEST(test_short_files)
{
    for (size_t n = 0; n < sizeof(Elf64_Ehdr) + 4 * sizeof(Elf64_Phdr); n++) {
        fake.size = n;
        ck_assert_int_eq(parse(), -ENOEXEC);
    }
    fake.size++;
    fake.size = sizeof(Elf64_Ehdr) + 4 * sizeof(Elf64_Phdr);
    ck_assert_int_eq(parse(), 0);
}
END_TEST

static ssize_t read_fails(UNUSED void *arg, UNUSED void *buf, UNUSED size_t n,
                          UNUSED uint64_t offset)
{
    return -EIO;
}

START_TEST(test_read_error)
{
    struct elf_reader r = {.read_at = read_fails};
    ck_assert_int_eq(elf_parse(&r, &img), -EIO);
}
END_TEST

#define LIMIT 0x7ffffffff000ull

START_TEST(test_bad_segments)
{
    static const struct {
        uint64_t vaddr, offset, filesz, memsz;
    } bad[] = {
        {0x2000, 0x1000, 0x401, 0x400},                      /* more in the file than in memory */
        {0x2000, 0x1000, UINT64_MAX, 0x400},                 /* likewise */
        {0x2001, 0x1000, 0x400, 0x400},                      /* not congruent */
        {0x2000, 0x1fff, 0x400, 0x400},                      /* likewise */
        {UINT64_MAX - 0xfff, 0x1000, 0x400, 0x2000},         /* wraps */
        {0x1000, 0x1000, 0x400, UINT64_MAX},                 /* likewise */
        {LIMIT - 0x1000, 0x1000, 0x400, 0x1001},             /* leaves user space */
        {LIMIT, 0x1000, 0, 1},                               /* lies outside */
        {0x8000000000000000, 0x1000, 0x400, 0x400},          /* likewise */
        {0xffffffff80000000, 0x1000, 0x400, 0x400},          /* the kernel's */
        {0, 0x7ffffffffffff000, 0x1000, 0x1000},             /* beyond any file */
        {0, 0xfffffffffffff000, 0x1000, 0x1000},             /* likewise */
        {0, 0x7fff800000001000, LIMIT - 4096, LIMIT - 4096}, /* likewise */
    };
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        make_program(ET_DYN);
        fake.ph[1].p_vaddr = bad[i].vaddr;
        fake.ph[1].p_offset = bad[i].offset;
        fake.ph[1].p_filesz = bad[i].filesz;
        fake.ph[1].p_memsz = bad[i].memsz;
        ck_assert_msg(parse() == -ENOEXEC, "case %zu was taken", i);
    }
}
END_TEST

/* Odd, but Linux maps them. */
START_TEST(test_odd_segments)
{
    fake.ph[1].p_vaddr = 0x800; /* overlaps the first, with the file's end behind its last page */
    fake.ph[1].p_offset = 0x7ffff800;
    ck_assert_int_eq(parse(), 0);

    make_program(ET_EXEC);
    fake.ph[0].p_vaddr = 0x900000; /* unordered */
    ck_assert_int_eq(parse(), 0);
    ck_assert_uint_eq(img.low, 0x402000);
    ck_assert_uint_eq(img.high, 0x902000);

    make_program(ET_DYN);
    fake.ph[1].p_filesz = 0; /* only zeroes: the offset means nothing */
    fake.ph[1].p_offset = UINT64_MAX;
    ck_assert_int_eq(parse(), 0);
    fake.ph[1].p_memsz = 0; /* nothing at all */
    ck_assert_int_eq(parse(), 0);
    ck_assert_int_eq(img.nsegments, 1);

    make_program(ET_DYN);
    fake.ph[1].p_vaddr = LIMIT - 0x1000;
    fake.ph[1].p_offset = 0;
    fake.ph[1].p_filesz = fake.ph[1].p_memsz = 0x1000; /* the very last page */
    ck_assert_int_eq(parse(), 0);
    ck_assert_uint_eq(img.high, LIMIT);

    make_program(ET_DYN);
    fake.ph[0].p_align = 3; /* no power of two: as if it were not there */
    fake.ph[1].p_align = 0x200000;
    ck_assert_int_eq(parse(), 0);
    ck_assert_uint_eq(img.align, 0x200000);
    fake.ph[1].p_align = 1ull << 63;
    ck_assert_int_eq(parse(), 0);
}
END_TEST

START_TEST(test_nothing_to_load)
{
    fake.ph[0].p_type = fake.ph[1].p_type = PT_NOTE;
    ck_assert_int_eq(parse(), -ENOEXEC);
    fake.ph[0].p_type = PT_LOAD;
    fake.ph[0].p_filesz = fake.ph[0].p_memsz = 0;
    ck_assert_int_eq(parse(), -ENOEXEC);
}
END_TEST

START_TEST(test_as_many_segments_as_linux)
{
    fake.eh->e_phnum = ELF_MAX_SEGMENTS;
    for (int i = 0; i < ELF_MAX_SEGMENTS; i++)
        fake.ph[i] = (Elf64_Phdr){PT_LOAD, PF_R, 0, (uint64_t)i << 12, 0, 0x1000, 0x1000, 0};
    fake.size = sizeof(fake.bytes);
    ck_assert_int_eq(parse(), 0);
    ck_assert_int_eq(img.nsegments, ELF_MAX_SEGMENTS);
    ck_assert_uint_eq(img.segments[ELF_MAX_SEGMENTS - 1].vaddr, (ELF_MAX_SEGMENTS - 1ul) << 12);
    ck_assert_uint_eq(img.align, PAGE_SIZE);
}
END_TEST

START_TEST(test_phdr_address)
{
    fake.eh->e_phoff = 0x1e40; /* in the data segment */
    memmove(fake.bytes + 0x1e40, fake.ph, 4 * sizeof(Elf64_Phdr));
    ck_assert_int_eq(parse(), 0);
    ck_assert_uint_eq(img.phdr_vaddr, 0x2e40);
    fake.eh->e_phoff = 0x2f00; /* in no segment */
    memmove(fake.bytes + 0x2f00, fake.bytes + 0x1e40, 4 * sizeof(Elf64_Phdr));
    ck_assert_int_eq(parse(), 0);
    ck_assert_uint_eq(img.phdr_vaddr, 0);
}
END_TEST

START_TEST(test_stack)
{
    fake.ph[3].p_flags |= PF_X;
    ck_assert_int_eq(parse(), 0);
    ck_assert(img.exec_stack);
    fake.ph[3].p_type = PT_NULL; /* not said: not executable on x86-64 */
    ck_assert_int_eq(parse(), 0);
    ck_assert(!img.exec_stack);
}
END_TEST

START_TEST(test_interpreter)
{
    static const uint64_t bad_sizes[] = {0, 1, PATH_MAX + 1, UINT64_MAX};
    char path[PATH_MAX];

    for (size_t i = 0; i < ARRAY_SIZE(bad_sizes); i++) {
        make_program(ET_DYN);
        fake.ph[2].p_filesz = bad_sizes[i];
        ck_assert_int_eq(parse(), -ENOEXEC);
    }
    make_program(ET_DYN);
    fake.ph[2].p_offset = UINT64_MAX;
    ck_assert_int_eq(parse(), -ENOEXEC);

    fake.ph[2].p_offset = fake.size - 2; /* cut off */
    ck_assert_int_eq(parse(), 0);
    ck_assert_int_eq(elf_read_interp(&fake_reader, &img, path), -EIO);
    fake.ph[2].p_offset = 0x200;
    fake.ph[2].p_filesz = 3; /* no NUL */
    ck_assert_int_eq(parse(), 0);
    ck_assert_int_eq(elf_read_interp(&fake_reader, &img, path), -ENOEXEC);
    fake.ph[2].p_filesz = PATH_MAX;
    ck_assert_int_eq(parse(), 0);
    ck_assert_int_eq(elf_read_interp(&fake_reader, &img, path), 0);
    ck_assert_str_eq(path, "/ld");

    fake.ph[3] = fake.ph[2]; /* a second one is not looked at */
    fake.ph[3].p_filesz = 1;
    ck_assert_int_eq(parse(), 0);
    ck_assert_uint_eq(img.interp_size, PATH_MAX);
}
END_TEST

/* ---- random damage ---- */

static bool segment_is_sane(const struct elf_segment *s)
{
    return s->memsz > 0 && s->filesz <= s->memsz && s->vaddr >= img.low &&
           s->vaddr + s->memsz <= img.high &&
           (s->filesz == 0 ||
            (s->vaddr % PAGE_SIZE == s->offset % PAGE_SIZE && s->offset <= INT64_MAX - s->memsz));
}

/* What the loader relies on. (No ck_assert for each: they are slow.) */
static bool image_is_sane(void)
{
    if (img.nsegments < 1 || img.nsegments > ELF_MAX_SEGMENTS || !page_aligned(img.low) ||
        !page_aligned(img.high) || img.low >= img.high || img.high > ELF_ADDRESS_LIMIT ||
        (img.align & (img.align - 1)) != 0 || img.interp_size > PATH_MAX)
        return false;
    for (int i = 0; i < img.nsegments; i++)
        if (!segment_is_sane(&img.segments[i]))
            return false;
    return true;
}

START_TEST(test_random_damage)
{
    static const uint64_t values[] = {0,          1,          0xfff,      0x1000,
                                      UINT64_MAX, 1ull << 63, LIMIT,      INT64_MAX,
                                      0x7fffffff, 0xffffffff, -0x1000ull, LIMIT - 1};
    int taken = 0;
    srandom(99);
    for (int n = 0; n < 300000; n++) {
        make_program(random() % 2 ? ET_EXEC : ET_DYN);
        for (long hits = 1 + random() % 3; hits > 0; hits--) {
            size_t at = (size_t)random() % (64 + 4 * 56 - 8);
            uint64_t v = random() % 2 ? values[(size_t)random() % ARRAY_SIZE(values)]
                                      : (uint64_t)random() << (random() % 40);
            memcpy(fake.bytes + at, &v, 1ul << (random() % 4));
        }
        int err = parse();
        taken += err == 0;
        if (err ? err != -ENOEXEC : !image_is_sane())
            ck_abort_msg("step %d: error %d", n, err);
    }
    ck_assert_int_gt(taken, 1000);
}
END_TEST

/* ---- this machine's files ---- */

static int files_seen;

static ssize_t read_fd(void *arg, void *buf, size_t n, uint64_t offset)
{
    ssize_t r = pread(*(int *)arg, buf, n, (off_t)offset);
    return r < 0 ? -errno : r;
}

static bool is_program(int fd)
{
    Elf64_Ehdr eh;
    return pread(fd, &eh, sizeof(eh), 0) == sizeof(eh) &&
           memcmp(eh.e_ident, ELFMAG, SELFMAG) == 0 && eh.e_machine == EM_X86_64 &&
           (eh.e_type == ET_EXEC || eh.e_type == ET_DYN);
}

static int visit(const char *path, UNUSED const struct stat *st, int type, UNUSED struct FTW *ftw)
{
    if (type != FTW_F)
        return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return 0;
    if (is_program(fd)) {
        struct elf_reader r = {.read_at = read_fd, .arg = &fd};
        int err = elf_parse(&r, &img);
        ck_assert_msg(err == 0 && image_is_sane(), "%s: error %d", path, err);
        files_seen++;
    }
    close(fd);
    return 0;
}

START_TEST(test_files_of_this_machine)
{
    static const char *const dirs[] = {"/usr/bin", "/usr/sbin", "/usr/lib/x86_64-linux-gnu",
                                       "/usr/libexec", "/lib64"};
    for (size_t i = 0; i < ARRAY_SIZE(dirs); i++)
        nftw(dirs[i], visit, 32, FTW_PHYS);
    ck_assert_int_gt(files_seen, 100);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("elf");
    TCase *tc = tcase_create("parse");
    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_sound_program);
    tcase_add_test(tc, test_header);
    tcase_add_test(tc, test_ignored_fields);
    tcase_add_test(tc, test_short_files);
    tcase_add_test(tc, test_read_error);
    tcase_add_test(tc, test_bad_segments);
    tcase_add_test(tc, test_odd_segments);
    tcase_add_test(tc, test_nothing_to_load);
    tcase_add_test(tc, test_as_many_segments_as_linux);
    tcase_add_test(tc, test_phdr_address);
    tcase_add_test(tc, test_stack);
    tcase_add_test(tc, test_interpreter);
    tcase_add_test(tc, test_random_damage);
    tcase_add_test(tc, test_files_of_this_machine);
    suite_add_tcase(s, tc);

    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
