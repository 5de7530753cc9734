/*
 * The vDSO's file, as a dynamic linker sees it; and its code, run here beside the page of
 * parameters of a real clock, as it is mapped in an application.
 */
#include "memmap/memory_file.h"
#include "sentry/kernel/clock.h"
#include "sentry/loader/loader.h"
#include "sentry/loader/vdso/params.h"
#include "sentry/loader/vdso_image.h"
#include <check.h>
#include <elf.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>

#define SEC 1000000000ll

static const Elf64_Ehdr *header(void)
{
    return (const Elf64_Ehdr *)vdso_image_start;
}

static const Elf64_Phdr *phdr(uint32_t type)
{
    const Elf64_Phdr *ph = (const void *)(vdso_image_start + header()->e_phoff), *found = NULL;
    for (int i = 0; i < header()->e_phnum; i++)
        if (ph[i].p_type == type) {
            ck_assert_ptr_null(found);
            found = &ph[i];
        }
    return found;
}

/* The value of a dynamic tag; 0 if there is none. */
static uint64_t dynamic(int64_t tag)
{
    const Elf64_Dyn *d = (const void *)(vdso_image_start + phdr(PT_DYNAMIC)->p_offset);
    for (; d->d_tag != DT_NULL; d++)
        if (d->d_tag == tag)
            return d->d_un.d_val;
    return 0;
}

static const char *string(uint64_t offset)
{
    return vdso_image_start + dynamic(DT_STRTAB) + offset;
}

static const Elf64_Sym *symbol(const char *name, unsigned *index)
{
    const Elf64_Sym *sym = (const void *)(vdso_image_start + dynamic(DT_SYMTAB));
    const uint32_t *hash = (const void *)(vdso_image_start + dynamic(DT_HASH));
    for (unsigned i = 0; i < hash[1]; i++)
        if (strcmp(string(sym[i].st_name), name) == 0) {
            *index = i;
            return &sym[i];
        }
    return NULL;
}

static ssize_t read_image(UNUSED void *arg, void *buf, size_t n, uint64_t offset)
{
    if (offset >= vdso_image_size())
        return 0;
    n = MIN(n, vdso_image_size() - offset);
    memcpy(buf, vdso_image_start + offset, n);
    return (ssize_t)n;
}

START_TEST(test_one_segment)
{
    static struct elf_image img;
    struct elf_reader r = {.read_at = read_image, .size = vdso_image_size()};

    ck_assert_int_eq(elf_parse(&r, &img), 0);
    ck_assert_int_eq(img.type, ET_DYN);
    ck_assert_int_eq(img.nsegments, 1);
    ck_assert_int_eq(img.segments[0].perms, ACCESS_READ | ACCESS_EXEC);
    ck_assert_uint_eq(img.segments[0].vaddr, 0);
    ck_assert_uint_eq(img.segments[0].filesz, img.segments[0].memsz);
    ck_assert_uint_eq(img.interp_size, 0);
    ck_assert_uint_le(vdso_image_size(), PAGE_SIZE);
    ck_assert_ptr_nonnull(phdr(PT_GNU_EH_FRAME));
    ck_assert_ptr_nonnull(phdr(PT_NOTE));
}
END_TEST

START_TEST(test_dynamic_section)
{
    ck_assert_str_eq(string(dynamic(DT_SONAME)), "linux-vdso.so.1");
    ck_assert_uint_ne(dynamic(DT_GNU_HASH), 0);
    static const int64_t unwanted[] = {DT_RELA, DT_REL,    DT_JMPREL, DT_TEXTREL,
                                       DT_INIT, DT_NEEDED, DT_PLTGOT, DT_RELR};
    for (size_t i = 0; i < ARRAY_SIZE(unwanted); i++)
        ck_assert_uint_eq(dynamic(unwanted[i]), 0);
}
END_TEST

START_TEST(test_symbols_and_versions)
{
    static const char *const names[] = {"clock_gettime", "gettimeofday", "time", "getcpu",
                                        "clock_getres"};
    const uint16_t *versions = (const void *)(vdso_image_start + dynamic(DT_VERSYM));
    const Elf64_Verdef *def = (const void *)(vdso_image_start + dynamic(DT_VERDEF));
    char prefixed[64];

    def = (const void *)((const char *)def + def->vd_next); /* the first is the file itself */
    const Elf64_Verdaux *aux = (const void *)((const char *)def + def->vd_aux);
    ck_assert_str_eq(string(aux->vda_name), "LINUX_2.6");
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        unsigned a, b;
        snprintf(prefixed, sizeof(prefixed), "__vdso_%s", names[i]);
        const Elf64_Sym *plain = symbol(names[i], &a), *vdso = symbol(prefixed, &b);
        ck_assert_ptr_nonnull(plain);
        ck_assert_ptr_nonnull(vdso);
        ck_assert_uint_eq(plain->st_value, vdso->st_value);
        ck_assert_int_eq(ELF64_ST_TYPE(vdso->st_info), STT_FUNC);
        ck_assert_uint_ne(vdso->st_shndx, SHN_UNDEF);
        ck_assert_uint_eq(versions[a], def->vd_ndx);
        ck_assert_uint_eq(versions[b], def->vd_ndx);
    }
}
END_TEST

/* ---- its code ---- */

static struct memory_file *memory;
static struct clock clk;
static char *mapped; /* parameters, code */

static int (*vdso_gettime)(clockid_t, struct timespec *);
static int (*vdso_getres)(clockid_t, struct timespec *);
static int (*vdso_gettimeofday)(struct timeval *, struct timezone *);
static time_t (*vdso_time)(time_t *);
static long (*vdso_getcpu)(unsigned *, unsigned *, void *);

static void *function(const char *name)
{
    unsigned index;
    return mapped + PAGE_SIZE + symbol(name, &index)->st_value;
}

static void set_up(void)
{
    ck_assert_int_eq(memory_file_create(&memory, 64 << 20, 0), 0);
    ck_assert_int_eq(clock_init(&clk, memory), 0);
    mapped = mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(mapped, MAP_FAILED);
    memcpy(mapped + PAGE_SIZE, vdso_image_start, vdso_image_size());
    ck_assert_int_eq(mprotect(mapped + PAGE_SIZE, PAGE_SIZE, PROT_READ | PROT_EXEC), 0);
    ck_assert_ptr_ne(mmap(mapped, PAGE_SIZE, PROT_READ, MAP_SHARED | MAP_FIXED, memory->file.fd,
                          (off_t)clk.page.start),
                     MAP_FAILED);
    vdso_gettime = function("__vdso_clock_gettime");
    vdso_getres = function("clock_getres");
    vdso_gettimeofday = function("gettimeofday");
    vdso_time = function("time");
    vdso_getcpu = function("__vdso_getcpu");
}

static void tear_down(void)
{
    munmap(mapped, 2 * PAGE_SIZE);
    clock_destroy(&clk, memory);
    memory_file_destroy(memory);
}

/* Parameters that hold for a second, unless this machine's counter is no clock. */
static bool make_valid(void)
{
    struct timespec pause = {.tv_nsec = 12000000}, longer = {.tv_nsec = 110000000};
    nanosleep(&pause, NULL);
    clock_monotonic(&clk);
    nanosleep(&pause, NULL);
    clock_monotonic(&clk);
    nanosleep(&longer, NULL);
    clock_monotonic(&clk);
    return clk.fitted;
}

static int64_t from_vdso(clockid_t id)
{
    struct timespec ts;
    ck_assert_int_eq(vdso_gettime(id, &ts), 0);
    ck_assert_int_ge(ts.tv_nsec, 0);
    ck_assert_int_lt(ts.tv_nsec, SEC);
    return ts.tv_sec * SEC + ts.tv_nsec;
}

/* The sentry and the vDSO in turns: time never goes back, not by a nanosecond. */
START_TEST(test_agrees_with_the_sentry)
{
    static const clockid_t ids[] = {CLOCK_REALTIME,
                                    CLOCK_MONOTONIC,
                                    CLOCK_MONOTONIC_RAW,
                                    CLOCK_REALTIME_COARSE,
                                    CLOCK_MONOTONIC_COARSE,
                                    CLOCK_BOOTTIME,
                                    CLOCK_TAI};
    if (!make_valid())
        return;
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
        for (int n = 0; n < 1000; n++) {
            int64_t before = clock_now(&clk, ids[i]);
            int64_t vdso = from_vdso(ids[i]);
            int64_t after = clock_now(&clk, ids[i]);
            ck_assert_int_le(before, vdso);
            ck_assert_int_le(vdso, after);
        }
}
END_TEST

START_TEST(test_gettimeofday_and_time)
{
    if (!make_valid())
        return;
    for (int n = 0; n < 1000; n++) {
        struct timeval tv;
        time_t stored, before = clock_realtime(&clk) / SEC;
        int64_t us = clock_realtime(&clk) / 1000;
        ck_assert_int_eq(vdso_gettimeofday(&tv, NULL), 0);
        ck_assert_int_le(us, tv.tv_sec * 1000000 + tv.tv_usec);
        time_t now = vdso_time(&stored);
        ck_assert_int_eq(now, stored);
        ck_assert_int_le(before, now);
        ck_assert_int_le(vdso_time(NULL), clock_realtime(&clk) / SEC);
    }
    ck_assert_int_eq(vdso_gettimeofday(NULL, NULL), 0);
}
END_TEST

/* Out of date, or a clock that it does not know: the kernel is asked (here, the host's). */
START_TEST(test_asks_the_kernel)
{
    struct timespec host;
    clk.params->max_delta = 0;
    clk.params->tsc_base = UINT64_MAX;
    clock_gettime(CLOCK_MONOTONIC, &host);
    int64_t ns = from_vdso(CLOCK_MONOTONIC);
    ck_assert_int_ge(ns, host.tv_sec * SEC + host.tv_nsec);
    ck_assert_int_le(vdso_time(NULL), time(NULL));

    struct timespec ts;
    ck_assert_int_eq(vdso_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts), 0);
    ck_assert_int_eq(vdso_gettime(999, &ts), -EINVAL);
    ck_assert_int_eq(vdso_getres(999, &ts), -EINVAL);
    struct timezone tz = {-1, -1};
    ck_assert_int_eq(vdso_gettimeofday(NULL, &tz), 0);
    ck_assert_int_ne(tz.tz_minuteswest, -1);
}
END_TEST

START_TEST(test_resolution)
{
    for (clockid_t id = 0; id < 12; id++) {
        struct timespec ts;
        int64_t expected = clock_resolution(id);
        if (expected < 0 || id == CLOCK_REALTIME_ALARM || id == CLOCK_BOOTTIME_ALARM)
            continue; /* the kernel's word */
        ck_assert_int_eq(vdso_getres(id, &ts), 0);
        ck_assert_int_eq(vdso_getres(id, NULL), 0);
        ck_assert_int_eq(ts.tv_sec * SEC + ts.tv_nsec, expected);
    }
}
END_TEST

START_TEST(test_getcpu)
{
    cpu_set_t all, one;
    ck_assert_int_eq(sched_getaffinity(0, sizeof(all), &all), 0);
    clk.params->ncpus = CPU_SETSIZE;
    for (unsigned method = VDSO_GETCPU_SYSCALL; method <= VDSO_GETCPU_LSL; method++) {
        if (method == VDSO_GETCPU_RDPID && clk.params->getcpu != VDSO_GETCPU_RDPID)
            continue;
        clk.params->getcpu = method;
        for (unsigned c = 0; c < 64; c++) {
            unsigned cpu = 99, node = 99;
            if (!CPU_ISSET(c, &all))
                continue;
            CPU_ZERO(&one);
            CPU_SET(c, &one);
            ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
            ck_assert_int_eq(vdso_getcpu(&cpu, &node, NULL), 0);
            ck_assert_uint_eq(cpu, c);
            ck_assert_uint_ne(node, 99);
            ck_assert_int_eq(vdso_getcpu(NULL, NULL, NULL), 0);
        }
        ck_assert_int_eq(sched_setaffinity(0, sizeof(all), &all), 0);
    }
}
END_TEST

/* No number that the application would not expect. */
START_TEST(test_few_cpus)
{
    unsigned cpu = 99;
    clk.params->ncpus = 1;
    if (clk.params->getcpu == VDSO_GETCPU_SYSCALL)
        return;
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(vdso_getcpu(&cpu, NULL, NULL), 0);
        ck_assert_uint_eq(cpu, 0);
    }
}
END_TEST

/* The formula at its edges. */
START_TEST(test_formula)
{
    struct vdso_params p = {.max_delta = UINT64_MAX / 2};
    struct vdso_time t;
    ck_assert_uint_eq(vdso_scale(0, UINT64_MAX), 0);
    ck_assert_uint_eq(vdso_scale(1, 1ull << VDSO_SHIFT), 1);
    ck_assert_uint_eq(vdso_scale(3, 1ull << (VDSO_SHIFT - 1)), 1);
    ck_assert_uint_eq(vdso_scale(1ull << 40, 255ull << VDSO_SHIFT), 255ull << 40);

    p.line[VDSO_RAW].sec = 7; /* a slope of 0: time stands still */
    p.line[VDSO_RAW].nsec = VDSO_NSEC_PER_SEC - 1;
    ck_assert(vdso_read(&p, VDSO_RAW, &t));
    ck_assert_uint_eq(t.sec, 7);
    ck_assert_uint_eq(t.nsec, VDSO_NSEC_PER_SEC - 1);
    p.line[VDSO_RAW].nsec = 3ull * VDSO_NSEC_PER_SEC + 5;
    ck_assert(vdso_read(&p, VDSO_RAW, &t));
    ck_assert_uint_eq(t.sec, 10);
    ck_assert_uint_eq(t.nsec, 5);

    p.max_delta = 0;
    p.tsc_base = UINT64_MAX;
    ck_assert(!vdso_read(&p, VDSO_RAW, &t));
    p.tsc_base = vdso_read_tsc() + (1ull << 40); /* a counter from before the base */
    p.max_delta = 1ull << 50;
    ck_assert(!vdso_read(&p, VDSO_RAW, &t));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("vdso");
    TCase *tc = tcase_create("file");
    tcase_add_test(tc, test_one_segment);
    tcase_add_test(tc, test_dynamic_section);
    tcase_add_test(tc, test_symbols_and_versions);
    tcase_add_test(tc, test_formula);
    suite_add_tcase(s, tc);
    tc = tcase_create("code");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, test_agrees_with_the_sentry);
    tcase_add_test(tc, test_gettimeofday_and_time);
    tcase_add_test(tc, test_asks_the_kernel);
    tcase_add_test(tc, test_resolution);
    tcase_add_test(tc, test_getcpu);
    tcase_add_test(tc, test_few_cpus);
    suite_add_tcase(s, tc);

    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
