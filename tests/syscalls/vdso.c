/*
 * The vDSO, found and called as a C library does it. See vdso(7).
 */
#include "tests/syscalls/test.h"
#include <elf.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

#define SEC 1000000000ll

struct image {
    const char *base;
    uint64_t bias;
    const Elf64_Phdr *ph;
    int phnum;
    const Elf64_Sym *sym;
    const char *str;
    const uint32_t *hash;
    const uint16_t *versym;
    const Elf64_Verdef *verdef;
    const Elf64_Phdr *load;
};

static const void *dynamic(const struct image *v, const Elf64_Dyn *d, int64_t tag)
{
    for (; d->d_tag != DT_NULL; d++)
        if (d->d_tag == tag)
            return (const void *)(v->bias + d->d_un.d_ptr);
    return NULL;
}

static void find_image(struct image *v)
{
    const Elf64_Ehdr *eh = (const void *)getauxval(AT_SYSINFO_EHDR);
    EXPECT(eh != NULL);
    EXPECT_MEMEQ(eh->e_ident, ELFMAG, SELFMAG);
    EXPECT_EQ(eh->e_type, ET_DYN);
    EXPECT_EQ(eh->e_machine, EM_X86_64);
    const Elf64_Dyn *dyn = NULL;
    *v = (struct image){.base = (const char *)eh, .phnum = eh->e_phnum};
    v->ph = (const void *)(v->base + eh->e_phoff);
    for (int i = 0; i < v->phnum; i++) {
        if (v->ph[i].p_type == PT_LOAD)
            v->load = &v->ph[i];
        if (v->ph[i].p_type == PT_DYNAMIC)
            dyn = (const void *)(v->base + v->ph[i].p_offset);
    }
    EXPECT(v->load != NULL && dyn != NULL);
    v->bias = (uint64_t)v->base - v->load->p_vaddr + v->load->p_offset;
    v->sym = dynamic(v, dyn, DT_SYMTAB);
    v->str = dynamic(v, dyn, DT_STRTAB);
    v->hash = dynamic(v, dyn, DT_HASH);
    v->versym = dynamic(v, dyn, DT_VERSYM);
    v->verdef = dynamic(v, dyn, DT_VERDEF);
    EXPECT(v->sym && v->str);
}

static bool has_version(const struct image *v, unsigned index, const char *version)
{
    const Elf64_Verdef *def = v->verdef;
    while ((def->vd_ndx & 0x7fff) != (v->versym[index] & 0x7fff)) {
        if (!def->vd_next)
            return false;
        def = (const void *)((const char *)def + def->vd_next);
    }
    const Elf64_Verdaux *aux = (const void *)((const char *)def + def->vd_aux);
    return strcmp(v->str + aux->vda_name, version) == 0;
}

/* Some kernels leave out the old hash table: the symbols end where the strings begin. */
static unsigned symbol_count(const struct image *v)
{
    return v->hash ? v->hash[1] : (unsigned)(((const char *)v->str - (const char *)v->sym) / 24);
}

static void *function(const char *name)
{
    struct image v;
    find_image(&v);
    for (unsigned i = 0; i < symbol_count(&v); i++)
        if (strcmp(v.str + v.sym[i].st_name, name) == 0 && v.sym[i].st_shndx != SHN_UNDEF &&
            has_version(&v, i, "LINUX_2.6"))
            return (void *)(v.bias + v.sym[i].st_value);
    FAIL("no symbol %s of version LINUX_2.6", name);
}

typedef int (*gettime_fn)(clockid_t, struct timespec *);

static int64_t read_with(gettime_fn fn, clockid_t id)
{
    struct timespec ts = {-1, -1};
    EXPECT_EQ(fn(id, &ts), 0);
    EXPECT(ts.tv_nsec >= 0 && ts.tv_nsec < SEC);
    return ts.tv_sec * SEC + ts.tv_nsec;
}

static int raw_gettime(clockid_t id, struct timespec *ts)
{
    return (int)syscall(SYS_clock_gettime, id, ts);
}

CASE(is_a_shared_object)
{
    struct image v;
    find_image(&v);
    EXPECT_EQ((uintptr_t)v.base % 4096, 0);
    EXPECT_EQ(v.load->p_flags, PF_R | PF_X);
    bool unwind = false;
    for (int i = 0; i < v.phnum; i++)
        unwind |= v.ph[i].p_type == PT_GNU_EH_FRAME;
    EXPECT(unwind);
}

CASE(symbols)
{
    static const char *const names[] = {
        "clock_gettime", "__vdso_clock_gettime", "gettimeofday", "__vdso_gettimeofday", "time",
        "__vdso_time",   "clock_getres",         "getcpu",       "__vdso_getcpu"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        EXPECT(function(names[i]) != NULL);
}

static const clockid_t fine[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW,
                                 CLOCK_BOOTTIME, CLOCK_TAI};

/* In turns: the two never contradict each other. */
CASE(agrees_with_system_call)
{
    gettime_fn vdso = function("__vdso_clock_gettime");
    for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
        for (int n = 0; n < 2000; n++) {
            int64_t a = read_with(raw_gettime, fine[i]);
            int64_t b = read_with(vdso, fine[i]);
            int64_t c = read_with(raw_gettime, fine[i]);
            EXPECT_LE(a, b);
            EXPECT_LE(b, c);
        }
}

CASE(coarse_clocks)
{
    gettime_fn vdso = function("__vdso_clock_gettime");
    for (int n = 0; n < 1000; n++) {
        int64_t coarse = read_with(vdso, CLOCK_MONOTONIC_COARSE);
        int64_t now = read_with(vdso, CLOCK_MONOTONIC);
        EXPECT_LE(coarse, now);
        EXPECT_LE(now - coarse, SEC);
        coarse = read_with(vdso, CLOCK_REALTIME_COARSE);
        now = read_with(vdso, CLOCK_REALTIME);
        EXPECT_LE(coarse, now);
    }
}

/* For a second and a half, through all corrections of the clock. */
CASE(never_goes_back)
{
    gettime_fn vdso = function("__vdso_clock_gettime");
    int64_t start = read_with(vdso, CLOCK_MONOTONIC), last = start, raw = 0, calls = 0;
    do {
        int64_t now = read_with(vdso, CLOCK_MONOTONIC);
        EXPECT_GE(now, last);
        last = now;
        now = read_with(vdso, CLOCK_MONOTONIC_RAW);
        EXPECT_GE(now, raw);
        raw = now;
        if (calls++ % 64 == 0) {
            now = read_with(raw_gettime, CLOCK_MONOTONIC);
            EXPECT_GE(now, last);
            last = now;
        }
    } while (last - start < 3 * SEC / 2);
}

static _Atomic int64_t latest;
static gettime_fn shared_gettime;

static void *race(void *arg)
{
    int64_t now, start = read_with(shared_gettime, CLOCK_MONOTONIC);
    do {
        int64_t seen = latest;
        now = read_with(shared_gettime, CLOCK_MONOTONIC);
        if (now < seen)
            return "time went back";
        while (seen < now && !atomic_compare_exchange_weak(&latest, &seen, now))
            ;
    } while (now - start < SEC / 2);
    return arg;
}

CASE(never_goes_back_among_threads)
{
    pthread_t threads[3];
    shared_gettime = function("__vdso_clock_gettime");
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(pthread_create(&threads[i], NULL, race, NULL), 0);
    for (int i = 0; i < 3; i++) {
        void *complaint;
        EXPECT_EQ(pthread_join(threads[i], &complaint), 0);
        EXPECT(complaint == NULL);
    }
}

CASE(other_clocks)
{
    gettime_fn vdso = function("clock_gettime");
    struct timespec ts;
    EXPECT_EQ(vdso(CLOCK_PROCESS_CPUTIME_ID, &ts), 0);
    EXPECT_EQ(vdso(CLOCK_THREAD_CPUTIME_ID, &ts), 0);
    EXPECT_EQ(vdso(1000, &ts), -EINVAL);
}

CASE(gettimeofday)
{
    int (*vdso)(struct timeval *, struct timezone *) = function("__vdso_gettimeofday");
    struct timeval tv;
    for (int n = 0; n < 1000; n++) {
        int64_t a = read_with(raw_gettime, CLOCK_REALTIME) / 1000;
        EXPECT_EQ(vdso(&tv, NULL), 0);
        int64_t c = read_with(raw_gettime, CLOCK_REALTIME) / 1000;
        EXPECT_LE(a, tv.tv_sec * 1000000 + tv.tv_usec);
        EXPECT_LE(tv.tv_sec * 1000000 + tv.tv_usec, c);
        EXPECT_LT(tv.tv_usec, 1000000);
    }
    struct timezone tz = {-1, -1};
    EXPECT_EQ(vdso(&tv, &tz), 0);
    EXPECT_NE(tz.tz_dsttime, -1);
    EXPECT_EQ(vdso(NULL, NULL), 0);
}

CASE(time_of_day)
{
    time_t (*vdso)(time_t *) = function("__vdso_time");
    time_t stored = 0;
    time_t now = vdso(&stored);
    EXPECT_EQ(now, stored);
    EXPECT_LE(llabs((long long)(now - read_with(raw_gettime, CLOCK_REALTIME) / SEC)), 1);
    EXPECT_GE(vdso(NULL), now);
}

CASE(getcpu)
{
    long (*vdso)(unsigned *, unsigned *, void *) = function("__vdso_getcpu");
    cpu_set_t all, one;
    EXPECT_OK(sched_getaffinity(0, sizeof(all), &all));
    for (unsigned c = 0; c < CPU_SETSIZE; c++) {
        unsigned cpu = 9999, node = 9999;
        if (!CPU_ISSET(c, &all))
            continue;
        CPU_ZERO(&one);
        CPU_SET(c, &one);
        if (sched_setaffinity(0, sizeof(one), &one) < 0)
            continue;
        EXPECT_EQ(vdso(&cpu, &node, NULL), 0);
        EXPECT_LT(cpu, CPU_SETSIZE);
        EXPECT_NE(node, 9999);
    }
    EXPECT_EQ(vdso(NULL, NULL, NULL), 0);
}

/* The addresses of a mapping of this name. */
static void find_mapping(const char *name, unsigned long *start, unsigned long *end)
{
    FILE *f = fopen("/proc/self/maps", "r");
    char line[512];
    EXPECT(f != NULL);
    while (fgets(line, sizeof(line), f))
        if (strstr(line, name) && sscanf(line, "%lx-%lx", start, end) == 2) {
            fclose(f);
            return;
        }
    FAIL("no %s in /proc/self/maps", name);
}

/* The time's page cannot be written, whoever asks. */
CASE(parameters_are_read_only)
{
    unsigned long start, end;
    find_mapping("[vvar]", &start, &end);
    EXPECT(mprotect((void *)start, end - start, PROT_READ | PROT_WRITE) < 0);
    pid_t pid = FORK({ *(volatile int *)start = 1; });
    EXPECT_KILLED(pid, SIGSEGV);
}

/* Breakpoints in the code are the affair of the process that sets them. */
CASE(code_is_private)
{
    struct image v;
    find_image(&v);
    char before = v.base[8];
    pid_t pid = FORK({
        void *page = (void *)v.base;
        if (mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC) == 0)
            *(char *)(v.base + 8) = 0x77;
    });
    EXPECT_EXITED(pid, 0);
    EXPECT_EQ(v.base[8], before);
    pid = FORK({ execl("/proc/self/exe", "vdso", "--no-fork", "symbols", NULL); });
    EXPECT_EXITED(pid, 0);
}

static void still_alive(void)
{
    struct timespec ts;
    EXPECT_OK(raw_gettime(CLOCK_MONOTONIC, &ts));
    pid_t child = (pid_t)syscall(SYS_fork);
    if (child == 0)
        _exit(7);
    EXPECT_EXITED(child, 7);
}

/* A program may throw it away, or move it: system calls do not need it. */
static sigjmp_buf on_fault;
static void *volatile fault_address;

static void remember_fault(int sig, siginfo_t *si, void *uc)
{
    (void)uc;
    fault_address = si->si_addr;
    siglongjmp(on_fault, sig);
}

/* A bad pointer faults at what was passed, not at a later field. A clock that the vDSO cannot tell
 * just now is asked of the kernel, which says EFAULT: then it is tried again. */
CASE(fault_address)
{
    int (*gettime)(clockid_t, struct timespec *) = function("__vdso_clock_gettime");
    int (*getres)(clockid_t, struct timespec *) = function("__vdso_clock_getres");
    int (*timeofday)(struct timeval *, struct timezone *) = function("__vdso_gettimeofday");
    time_t (*seconds)(time_t *) = function("__vdso_time");
    struct sigaction sa = {.sa_sigaction = remember_fault, .sa_flags = SA_SIGINFO};
    char *none = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(none != MAP_FAILED);
    EXPECT_OK(sigaction(SIGSEGV, &sa, NULL));
    for (volatile int i = 0, tries = 0; i < 4; i++) {
        fault_address = NULL;
        if (sigsetjmp(on_fault, 1) == 0) {
            struct timespec now;
            EXPECT_EQ(gettime(CLOCK_MONOTONIC, &now), 0);
            if (i == 0)
                gettime(CLOCK_MONOTONIC, (void *)(none + 64));
            else if (i == 1)
                getres(CLOCK_MONOTONIC, (void *)(none + 64));
            else if (i == 2)
                timeofday((void *)(none + 64), NULL);
            else
                seconds((void *)(none + 64));
            if (++tries == 100)
                FAIL("call %d did not fault", i);
            i--;
            continue;
        }
        EXPECT_EQ(fault_address, none + 64);
    }
}

CASE(unmapped)
{
    unsigned long start, end;
    find_mapping("[vdso]", &start, &end);
    EXPECT_EQ(start, getauxval(AT_SYSINFO_EHDR));
    EXPECT_OK(munmap((void *)start, end - start));
    still_alive();
    find_mapping("[vvar]", &start, &end);
    EXPECT_OK(munmap((void *)start, end - start));
    still_alive();
}

CASE(moved)
{
    unsigned long start, end;
    find_mapping("[vdso]", &start, &end);
    size_t size = end - start;
    void *target = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(target != MAP_FAILED);
    void *moved = mremap((void *)start, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, target);
    if (moved == MAP_FAILED)
        SKIP("this kernel does not let it be moved");
    EXPECT_MEMEQ(moved, ELFMAG, SELFMAG);
    still_alive();
}

TEST_MAIN
