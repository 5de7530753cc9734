/*
 * mm, call by call: what the platform is asked and how often, what is shared and what is copied,
 * futex keys, words, vectors, names, sums. (What system calls promise is in tests/syscalls; random
 * sequences are in mm_model.c.)
 */
#include "mm/mm.h"
#include "mm/safe_copy.h"
#include "mm/uio.h"
#include "tests/unit/fake_file.h"
#include "tests/unit/fake_platform.h"
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1ul << 20)
#define SPACE (1ul << 40)
#define RW (ACCESS_READ | ACCESS_WRITE)

static struct memory_file *mf;
static struct fake_platform fp;
static struct mm_config cfg;
static struct mm_limits limits;
static struct mm *mm;

/* The fake platform keeps a byte for each page: large spaces are for layouts only. */
static void start_with(uint64_t max_addr)
{
    fake_platform_init(&fp, max_addr);
    ck_assert_int_eq(memory_file_create(&mf, 8ul << 30, 0), 0);
    cfg = (struct mm_config){.platform = &fp.platform,
                             .memory = mf,
                             .min_addr = 0x10000,
                             .max_map_count = 65530,
                             .total_memory = 1ul << 32};
    atomic_init(&limits.as, UINT64_MAX);
    atomic_init(&limits.data, UINT64_MAX);
    atomic_init(&limits.stack, 8 * MIB);
    atomic_init(&limits.memlock, UINT64_MAX);
    ck_assert_int_eq(mm_create(&cfg, &limits, &mm), 0);
}

static void start(void)
{
    start_with(4096 * MIB);
}

static void finish(void)
{
    struct memory_file_stats st;
    mm_user_put(mm);
    memory_file_stats(mf, &st);
    ck_assert_uint_eq(st.allocated, 0);
    ck_assert_uint_eq(atomic_load(&cfg.committed_as), 0);
    ck_assert_int_eq(fp.spaces, 0);
    memory_file_destroy(mf);
}

static gva_t map_anon(uint64_t length, access_t perms)
{
    gva_t addr = 0;
    struct mmap_opts o = {
        .length = length, .perms = perms, .max_perms = ACCESS_ANY, .is_private = true};
    ck_assert_int_eq(mm_mmap(mm, &o, &addr), 0);
    return addr;
}

static gva_t map_shared(uint64_t length)
{
    gva_t addr = 0;
    struct mmap_opts o = {.length = length, .perms = RW, .max_perms = ACCESS_ANY};
    ck_assert_int_eq(mm_mmap(mm, &o, &addr), 0);
    return addr;
}

static gva_t map_file(struct fake_file *f, uint64_t offset, uint64_t length, access_t perms,
                      bool is_private)
{
    gva_t addr = 0;
    struct mmap_opts o = {.length = length,
                          .perms = perms,
                          .max_perms = ACCESS_ANY,
                          .is_private = is_private,
                          .mappable = &f->mappable,
                          .identity = &f->id,
                          .offset = offset};
    ck_assert_int_eq(mm_mmap(mm, &o, &addr), 0);
    return addr;
}

/* A touch by the application; whether it needed a fault. */
static bool touch_in(struct mm *m, gva_t addr, access_t at)
{
    struct mm_fault fault;
    bool faulted = false;
    if (!fake_allows(mm_address_space(m), addr, at)) {
        ck_assert_int_eq(mm_handle_fault(m, addr, at, 0, &fault), 0);
        ck_assert(fake_allows(mm_address_space(m), addr, at));
        faulted = true;
    }
    volatile char *p = fake_pointer(mm_address_space(m), addr);
    if (at & ACCESS_WRITE)
        *p = (char)(*p + 1);
    else
        (void)*p;
    return faulted;
}

static bool touch(gva_t addr, access_t at)
{
    return touch_in(mm, addr, at);
}

static void expect_signal(gva_t addr, access_t at, int signo, int code)
{
    struct mm_fault fault;
    ck_assert_int_lt(mm_handle_fault(mm, addr, at, 0, &fault), 0);
    ck_assert_int_eq(fault.signo, signo);
    ck_assert_int_eq(fault.code, code);
}

/* ---- how often the platform is asked ---- */

START_TEST(untouched_mapping_costs_no_trip)
{
    start();
    unsigned long before = fp.applies;
    gva_t a = map_anon(64 * MIB, RW);
    ck_assert_int_eq(mm_mprotect(mm, a, MIB, PROT_READ), 0);
    ck_assert_int_eq(mm_munmap(mm, a, 64 * MIB), 0);
    ck_assert_uint_eq(fp.applies, before);
    finish();
}
END_TEST

START_TEST(filling_needs_few_faults)
{
    start();
    gva_t a = map_anon(64 * MIB, RW);
    unsigned faults = 0;
    for (uint64_t i = 0; i < 64 * MIB; i += PAGE_SIZE)
        faults += touch(a + i, ACCESS_WRITE);
    ck_assert_uint_le(faults, 33);
    /* One mapping of the host's for each run, not for each unit. */
    ck_assert_uint_le(fp.ops, 40);
    finish();
}
END_TEST

START_TEST(sparse_touch_takes_little_memory)
{
    struct memory_file_stats st;
    start();
    gva_t a = map_anon(1024 * MIB, RW);
    for (uint64_t i = 0; i < 1024 * MIB; i += 8 * MIB)
        touch(a + i, ACCESS_WRITE);
    memory_file_stats(mf, &st);
    ck_assert_uint_le(st.resident, 128 * PAGE_SIZE);
    finish();
}
END_TEST

START_TEST(fork_and_exit_of_a_big_process)
{
    struct mm *child;
    start();
    gva_t a = map_anon(64 * MIB, RW);
    for (uint64_t i = 0; i < 64 * MIB; i += PAGE_SIZE)
        touch(a + i, ACCESS_WRITE);
    unsigned long before = fp.applies;
    ck_assert_int_eq(mm_fork(mm, &limits, &child), 0);
    ck_assert_uint_le(fp.applies - before, 1); /* one trip protects the parent */
    ck_assert(!fake_allows(mm_address_space(mm), a, ACCESS_WRITE));
    before = fp.applies;
    ck_assert(touch_in(child, a, ACCESS_READ)); /* and one fault shows the child a good deal */
    ck_assert(fake_allows(mm_address_space(child), a + 20 * MIB, ACCESS_READ));
    mm_user_put(child);
    /* The parent has its pages back, without copying, all at the first fault. */
    ck_assert(touch(a + 10 * MIB, ACCESS_WRITE));
    ck_assert(fake_allows(mm_address_space(mm), a, ACCESS_WRITE));
    struct memory_file_stats st;
    memory_file_stats(mf, &st);
    ck_assert_uint_eq(st.allocated, 64 * MIB);
    finish();
}
END_TEST

START_TEST(dontneed_keeps_the_mapping)
{
    start();
    gva_t a = map_anon(MIB, RW);
    touch(a, ACCESS_WRITE);
    unsigned long before = fp.applies;
    ck_assert_int_eq(mm_madvise(mm, a, MIB, MADV_DONTNEED), 0);
    ck_assert_uint_eq(fp.applies, before);
    ck_assert(!touch(a, ACCESS_READ));
    ck_assert_int_eq(*fake_pointer(mm_address_space(mm), a), 0);
    finish();
}
END_TEST

START_TEST(mremap_moves_pages)
{
    gva_t b;
    start();
    gva_t a = map_anon(16 * MIB, RW);
    for (uint64_t i = 0; i < 16 * MIB; i += PAGE_SIZE)
        touch(a + i, ACCESS_WRITE);
    gva_t stop = map_anon(PAGE_SIZE, RW); /* below, so that nothing else fits */
    (void)stop;
    unsigned long before = fp.applies;
    ck_assert_int_eq(mm_mremap(mm, a, 16 * MIB, 32 * MIB, MREMAP_MAYMOVE, 0, &b), 0);
    ck_assert_uint_le(fp.applies - before, 1);
    ck_assert(!touch(b + 5 * MIB, ACCESS_READ));
    ck_assert_int_eq(*fake_pointer(mm_address_space(mm), b + 5 * MIB), 1);
    finish();
}
END_TEST

START_TEST(segments_of_one_file_come_together)
{
    start();
    struct fake_file *f = fake_file_create(mf, 1, 64, 64, false);
    gva_t a = map_file(f, 0, 32 * PAGE_SIZE, ACCESS_READ, true);
    struct mmap_opts o = {.length = 8 * PAGE_SIZE,
                          .addr = a + 8 * PAGE_SIZE,
                          .fixed = true,
                          .unmap = true,
                          .perms = ACCESS_READ | ACCESS_EXEC,
                          .max_perms = ACCESS_ANY,
                          .is_private = true,
                          .mappable = &f->mappable,
                          .identity = &f->id,
                          .offset = 8 * PAGE_SIZE};
    gva_t at;
    ck_assert_int_eq(mm_mmap(mm, &o, &at), 0);
    ck_assert(touch(a + 9 * PAGE_SIZE, ACCESS_READ));
    ck_assert(!touch(a, ACCESS_READ));
    ck_assert(!touch(a + 31 * PAGE_SIZE, ACCESS_READ));
    ck_assert_int_eq(mm_munmap(mm, a, 32 * PAGE_SIZE), 0);
    fake_file_destroy(f);
    finish();
}
END_TEST

/* ---- huge pages ---- */

START_TEST(huge_only_where_memory_is_filled)
{
    struct memory_file_stats st;
    start();
    gva_t a = map_anon(32 * MIB, RW);
    ck_assert_uint_eq(a % (2 * MIB), 0);
    for (uint64_t i = 0; i < 2 * MIB; i += PAGE_SIZE)
        touch(a + i, ACCESS_WRITE);
    memory_file_stats(mf, &st);
    ck_assert_uint_eq(st.resident, 2 * MIB);
    finish();
}
END_TEST

/* ---- faults ---- */

START_TEST(signals)
{
    start();
    struct fake_file *f = fake_file_create(mf, 1, 2, 1, false);
    gva_t a = map_anon(PAGE_SIZE, ACCESS_READ);
    gva_t none = map_anon(PAGE_SIZE, 0);
    gva_t file = map_file(f, 0, 4 * PAGE_SIZE, RW, false);
    gva_t copy = map_file(f, 0, 4 * PAGE_SIZE, RW, true);
    expect_signal(a, ACCESS_WRITE, SIGSEGV, SEGV_ACCERR);
    expect_signal(a, ACCESS_EXEC, SIGSEGV, SEGV_ACCERR);
    expect_signal(none, ACCESS_READ, SIGSEGV, SEGV_ACCERR);
    expect_signal(0, ACCESS_READ, SIGSEGV, SEGV_MAPERR);
    expect_signal(SPACE, ACCESS_READ, SIGSEGV, SEGV_MAPERR);
    expect_signal(UINT64_MAX, ACCESS_WRITE, SIGSEGV, SEGV_MAPERR);
    touch(file + PAGE_SIZE, ACCESS_WRITE);
    touch(copy + PAGE_SIZE, ACCESS_WRITE);
    expect_signal(file + 2 * PAGE_SIZE, ACCESS_READ, SIGBUS, BUS_ADRERR);
    expect_signal(copy + 3 * PAGE_SIZE, ACCESS_WRITE, SIGBUS, BUS_ADRERR);
    ck_assert_int_eq(mm_munmap(mm, 0x10000, 4096 * MIB - 0x10000), 0);
    fake_file_destroy(f);
    finish();
}
END_TEST

START_TEST(out_of_memory_kills)
{
    struct memory_file *small;
    struct mm_fault fault;
    start();
    ck_assert_int_eq(memory_file_create(&small, 64 * MIB, 64 * PAGE_SIZE), 0);
    cfg.memory = small;
    gva_t a = map_anon(256 * PAGE_SIZE, RW);
    int err = 0;
    for (uint64_t i = 0; i < 256 && !err; i++)
        err = mm_handle_fault(mm, a + i * PAGE_SIZE, ACCESS_WRITE, 0, &fault);
    ck_assert_int_eq(err, -ENOMEM);
    ck_assert_int_eq(fault.signo, SIGKILL);
    ck_assert_int_eq(mm_munmap(mm, a, 256 * PAGE_SIZE), 0);
    cfg.memory = mf;
    memory_file_destroy(small);
    finish();
}
END_TEST

/* ---- copying ---- */

START_TEST(copies_fault_and_stop)
{
    char buf[3 * PAGE_SIZE];
    start();
    gva_t a = map_anon(4 * PAGE_SIZE, RW);
    ck_assert_int_eq(mm_munmap(mm, a + 2 * PAGE_SIZE, PAGE_SIZE), 0);
    memset(buf, 'x', sizeof(buf));
    ck_assert_uint_eq(mm_copy_out_partial(mm, a + 100, buf, sizeof(buf)), 2 * PAGE_SIZE - 100);
    ck_assert_int_eq(mm_copy_out(mm, a, buf, sizeof(buf)), -EFAULT);
    ck_assert_int_eq(mm_copy_out(mm, a, buf, 2 * PAGE_SIZE), 0);
    memset(buf, 0, sizeof(buf));
    ck_assert_uint_eq(mm_copy_in_partial(mm, buf, a + PAGE_SIZE - 1, 2 * PAGE_SIZE), PAGE_SIZE + 1);
    ck_assert_int_eq(buf[PAGE_SIZE], 'x');
    ck_assert_int_eq(buf[PAGE_SIZE + 1], 0);
    ck_assert_int_eq(mm_copy_in(mm, buf, UINT64_MAX - 3, 8), -EFAULT);
    ck_assert_int_eq(mm_copy_in(mm, buf, SPACE * 2, 8), -EFAULT);
    ck_assert_int_eq(mm_copy_in(mm, buf, 0, 0), 0);
    ck_assert_int_eq(mm_zero_out(mm, a, 2 * PAGE_SIZE), 0);
    ck_assert_int_eq(mm_copy_in(mm, buf, a, 16), 0);
    ck_assert_int_eq(buf[7], 0);
    finish();
}
END_TEST

START_TEST(strings)
{
    char buf[64];
    start();
    gva_t end = map_anon(2 * PAGE_SIZE, RW) + PAGE_SIZE;
    ck_assert_int_eq(mm_munmap(mm, end, PAGE_SIZE), 0);
    ck_assert_int_eq(mm_copy_out(mm, end - 6, "hello", 6), 0);
    ck_assert_int_eq(mm_copy_in_string(mm, buf, end - 6, sizeof(buf)), 5);
    ck_assert_str_eq(buf, "hello");
    ck_assert_int_eq(mm_copy_in_string(mm, buf, end - 6, 6), 5);
    ck_assert_int_eq(mm_copy_in_string(mm, buf, end - 6, 5), -ENAMETOOLONG);
    ck_assert_int_eq(mm_copy_in_string(mm, buf, end - 6, 0), -ENAMETOOLONG);
    ck_assert_int_eq(mm_copy_in_string(mm, buf, end - 1, sizeof(buf)), 0);
    ck_assert_int_eq(mm_copy_out(mm, end - 1, "o", 1), 0);
    ck_assert_int_eq(mm_copy_in_string(mm, buf, end - 6, sizeof(buf)), -EFAULT);
    ck_assert_int_eq(mm_copy_in_string(mm, buf, end, sizeof(buf)), -EFAULT);
    finish();
}
END_TEST

/* As a debugger writes: into read-only code, without changing the file; not into shared memory. */
START_TEST(forced)
{
    char c = 'Z', was = 0;
    start();
    struct fake_file *f = fake_file_create(mf, 1, 4, 4, false);
    gva_t code = map_file(f, 0, PAGE_SIZE, ACCESS_READ | ACCESS_EXEC, true);
    gva_t hidden = map_anon(PAGE_SIZE, 0);
    gva_t shared = map_shared(PAGE_SIZE);
    gva_t view = map_file(f, 0, PAGE_SIZE, ACCESS_READ, false);
    ck_assert_int_eq(mm_mprotect(mm, shared, PAGE_SIZE, PROT_READ), 0);
    ck_assert(touch(code, ACCESS_READ));
    ck_assert_int_eq(mm_copy_out(mm, code, &c, 1), -EFAULT);
    ck_assert_uint_eq(mm_copy_out_force(mm, code, &c, 1), 1);
    touch(code, ACCESS_READ);
    ck_assert_int_eq(*fake_pointer(mm_address_space(mm), code), 'Z');
    ck_assert(!fake_allows(mm_address_space(mm), code, ACCESS_WRITE));
    ck_assert_int_eq(mm_copy_in(mm, &was, view, 1), 0);
    ck_assert_int_eq(was, 0);
    ck_assert_uint_eq(mm_copy_in_force(mm, &was, hidden, 1), 1);
    ck_assert_uint_eq(mm_copy_out_force(mm, hidden, &c, 1), 1);
    ck_assert_uint_eq(mm_copy_in_force(mm, &was, hidden, 1), 1);
    ck_assert_int_eq(was, 'Z');
    expect_signal(hidden, ACCESS_READ, SIGSEGV, SEGV_ACCERR);
    ck_assert_uint_eq(mm_copy_out_force(mm, shared, &c, 1), 0);
    ck_assert_int_eq(mm_munmap(mm, 0x10000, 4096 * MIB - 0x10000), 0);
    fake_file_destroy(f);
    finish();
}
END_TEST

START_TEST(words)
{
    uint32_t v = 7, old;
    start();
    gva_t a = map_anon(PAGE_SIZE, RW);
    ck_assert_int_eq(mm_atomic_load32(mm, a + 2, &v), -EINVAL);
    ck_assert_int_eq(mm_atomic_load32(mm, a, &v), 0);
    ck_assert_uint_eq(v, 0);
    ck_assert_int_eq(mm_atomic_cmpxchg32(mm, a, 1, 2, &old), 0);
    ck_assert_uint_eq(old, 0);
    ck_assert_int_eq(mm_atomic_cmpxchg32(mm, a, 0, 2, &old), 0);
    ck_assert_int_eq(mm_atomic_load32(mm, a, &v), 0);
    ck_assert_uint_eq(v, 2);
    ck_assert_int_eq(mm_mprotect(mm, a, PAGE_SIZE, PROT_READ), 0);
    ck_assert_int_eq(mm_atomic_cmpxchg32(mm, a, 2, 3, &old), -EFAULT);
    ck_assert_int_eq(mm_atomic_load32(mm, a, &v), 0);
    ck_assert_int_eq(mm_atomic_load32(mm, a + PAGE_SIZE, &v), -EFAULT);
    finish();
}
END_TEST

static uint32_t add(uint32_t x, uint32_t y)
{
    return x + y;
}

static void *adder(void *arg)
{
    uint32_t old;
    for (int i = 0; i < 20000; i++)
        if (mm_atomic_rmw32(mm, *(gva_t *)arg, add, 1, &old))
            return arg;
    return NULL;
}

START_TEST(words_race)
{
    pthread_t t[3];
    uint32_t v;
    void *r;
    start();
    gva_t a = map_anon(PAGE_SIZE, RW);
    for (int i = 0; i < 3; i++)
        pthread_create(&t[i], NULL, adder, &a);
    for (int i = 0; i < 3; i++) {
        pthread_join(t[i], &r);
        ck_assert_ptr_null(r);
    }
    ck_assert_int_eq(mm_atomic_load32(mm, a, &v), 0);
    ck_assert_uint_eq(v, 60000);
    finish();
}
END_TEST

/* ---- futex keys ---- */

START_TEST(futex_keys)
{
    struct mm_futex_key k1, k2;
    start();
    struct fake_file *f = fake_file_create(mf, 1, 8, 1, false);
    gva_t p = map_anon(PAGE_SIZE, RW), s = map_shared(4 * PAGE_SIZE), s2;
    gva_t f1 = map_file(f, 0, 4 * PAGE_SIZE, RW, false);
    gva_t f2 = map_file(f, PAGE_SIZE, PAGE_SIZE, RW, false);
    ck_assert_int_eq(mm_futex_key(mm, p + 1, false, ACCESS_READ, &k1), -EINVAL);
    ck_assert_int_eq(mm_futex_key(mm, SPACE, false, ACCESS_READ, &k1), -EFAULT);
    ck_assert_int_eq(mm_futex_key(mm, p + 4, true, ACCESS_READ, &k1), 0);
    ck_assert_int_eq(mm_futex_key(mm, p + 4, false, ACCESS_READ, &k2), 0);
    ck_assert(k1.object == k2.object && k1.offset == k2.offset && !k1.identity);
    /* Two views of one page of a file are one futex. */
    ck_assert_int_eq(mm_futex_key(mm, f1 + PAGE_SIZE + 8, true, ACCESS_READ, &k1), 0);
    ck_assert_int_eq(mm_futex_key(mm, f2 + 8, true, ACCESS_READ, &k2), 0);
    ck_assert(k1.object == k2.object && k1.offset == k2.offset);
    k1.identity->ops->put(k1.identity);
    k2.identity->ops->put(k2.identity);
    ck_assert_int_eq(mm_futex_key(mm, s + PAGE_SIZE, true, ACCESS_READ, &k1), 0);
    ck_assert_int_eq(mm_mremap(mm, s, 0, 4 * PAGE_SIZE, MREMAP_MAYMOVE, 0, &s2), 0);
    ck_assert_int_eq(mm_futex_key(mm, s2 + PAGE_SIZE, true, ACCESS_READ, &k2), 0);
    ck_assert(k1.object == k2.object && k1.offset == k2.offset);
    k1.identity->ops->put(k1.identity);
    k2.identity->ops->put(k2.identity);
    ck_assert_int_eq(mm_futex_key(mm, p + PAGE_SIZE * 100, true, ACCESS_READ, &k1), -EFAULT);
    ck_assert_int_eq(mm_munmap(mm, 0x10000, 4096 * MIB - 0x10000), 0);
    fake_file_destroy(f);
    finish();
}
END_TEST

/* ---- vectors ---- */

START_TEST(vectors)
{
    struct uio u;
    char buf[32] = {0};
    start();
    gva_t a = map_anon(3 * PAGE_SIZE, RW);
    struct iovec iov[4] = {
        {(void *)(a + PAGE_SIZE - 3), 6}, {NULL, 0}, {(void *)a, 2}, {(void *)1, 0}};
    gva_t at = a + 2 * PAGE_SIZE;
    ck_assert_int_eq(mm_copy_out(mm, at, iov, sizeof(iov)), 0);
    ck_assert_int_eq(uio_init_iovec(&u, mm, at, 4), 0);
    ck_assert_uint_eq(u.resid, 8);
    ck_assert_int_eq(uio_copy_to(&u, "abcd", 4), 4);
    ck_assert_int_eq(uio_copy_to(&u, "efghij", 6), 4);
    ck_assert_int_eq(uio_copy_to(&u, "k", 1), 0);
    uio_release(&u);
    ck_assert_int_eq(mm_copy_in(mm, buf, a + PAGE_SIZE - 3, 6), 0);
    ck_assert_str_eq(buf, "abcdef");
    ck_assert_int_eq(uio_init_iovec(&u, mm, at, 4), 0);
    uio_skip(&u, 5);
    ck_assert_int_eq(uio_copy_from(&u, buf, 32), 3);
    ck_assert_int_eq(memcmp(buf, "fgh", 3), 0);
    uio_release(&u);

    iov[0].iov_len = SIZE_MAX;
    ck_assert_int_eq(mm_copy_out(mm, at, iov, sizeof(iov)), 0);
    ck_assert_int_eq(uio_init_iovec(&u, mm, at, 1), -EINVAL);
    iov[0] = (struct iovec){(void *)UINT64_MAX, 5};
    ck_assert_int_eq(mm_copy_out(mm, at, iov, sizeof(iov)), 0);
    ck_assert_int_eq(uio_init_iovec(&u, mm, at, 2), -EFAULT);
    ck_assert_int_eq(uio_init_iovec(&u, mm, at, 1025), -EINVAL);
    ck_assert_int_eq(uio_init_iovec(&u, mm, 8, 1), -EFAULT);
    ck_assert_int_eq(uio_init_iovec(&u, mm, 8, 0), 0);
    uio_release(&u);
    ck_assert_int_eq(uio_init_user(&u, mm, a, UINT64_MAX), -EFAULT);
    ck_assert_int_eq(mm_munmap(mm, a + 2 * PAGE_SIZE, PAGE_SIZE), 0);
    ck_assert_int_eq(uio_init_user(&u, mm, a + 2 * PAGE_SIZE - 4, 100), 0);
    ck_assert_int_eq(uio_zero_to(&u, 100), 4);
    ck_assert_int_eq(uio_zero_to(&u, 96), -EFAULT);
    uio_init_kernel(&u, buf, 4);
    ck_assert_int_eq(uio_copy_to(&u, "WXYZ!", 5), 4);
    ck_assert_int_eq(memcmp(buf, "WXYZ", 4), 0);
    finish();
}
END_TEST

START_TEST(pins)
{
    struct uio u;
    struct uio_pin pin;
    struct memory_file_stats st;
    start();
    gva_t a = map_anon(8 * PAGE_SIZE, RW);
    ck_assert_int_eq(uio_init_user(&u, mm, a + 10, 4 * PAGE_SIZE), 0);
    ck_assert_int_eq(uio_pin(&u, &pin, UINT64_MAX, ACCESS_WRITE), 4 * PAGE_SIZE);
    ck_assert_int_eq(pin.nblocks, 1);
    memset(pin.blocks[0].iov_base, 'p', pin.blocks[0].iov_len);
    /* The pages live as long as they are pinned. */
    ck_assert_int_eq(mm_munmap(mm, a, 8 * PAGE_SIZE), 0);
    memory_file_stats(mf, &st);
    ck_assert_uint_gt(st.allocated, 0);
    memset(pin.blocks[0].iov_base, 'q', pin.blocks[0].iov_len);
    uio_unpin(&pin);
    memory_file_stats(mf, &st);
    ck_assert_uint_eq(st.allocated, 0);
    ck_assert_int_eq(uio_pin(&u, &pin, UINT64_MAX, ACCESS_WRITE), -EFAULT);
    uio_unpin(&pin);
    finish();
}
END_TEST

/* ---- pages that the host refuses ---- */

START_TEST(safe_copies)
{
    char name[] = "/tmp/picket-mm-XXXXXX", buf[2 * PAGE_SIZE];
    uint32_t word, old;
    int fd = mkstemp(name);
    ck_assert_int_ge(fd, 0);
    unlink(name);
    ck_assert_int_eq(ftruncate(fd, 2 * PAGE_SIZE), 0);
    char *p = mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ck_assert_ptr_ne(p, MAP_FAILED);
    memset(p, 7, 2 * PAGE_SIZE);
    memset(buf, 0, sizeof(buf));
    ck_assert_uint_eq(safe_copy(buf, p, sizeof(buf)), sizeof(buf));
    ck_assert_int_eq(buf[2 * PAGE_SIZE - 1], 7);
    for (size_t n = 0; n < 200; n++) {
        char small[256] = {0};
        ck_assert_uint_eq(safe_copy(small, p + n, n), n);
        ck_assert(n == 0 || small[n - 1] == 7);
        ck_assert_int_eq(small[n], 0);
    }
    ck_assert_int_eq(ftruncate(fd, PAGE_SIZE), 0);
    ck_assert_uint_eq(safe_copy(buf, p, sizeof(buf)), PAGE_SIZE);
    ck_assert_uint_eq(safe_copy(p + PAGE_SIZE - 100, buf, 200), 100);
    ck_assert_uint_eq(safe_zero(p + PAGE_SIZE - 5, 10), 5);
    ck_assert_uint_eq(safe_copy(buf, p + PAGE_SIZE, 4), 0);
    ck_assert_int_eq(safe_load32((uint32_t *)(void *)(p + PAGE_SIZE), &word), -EFAULT);
    ck_assert_int_eq(safe_load32((uint32_t *)(void *)p, &word), 0);
    ck_assert_uint_eq(word, 0x07070707);
    ck_assert_int_eq(safe_cmpxchg32((uint32_t *)(void *)(p + PAGE_SIZE), 0, 1, &old), -EFAULT);
    ck_assert_int_eq(safe_cmpxchg32((uint32_t *)(void *)p, 0x07070707, 1, &old), 0);
    ck_assert_uint_eq(old, 0x07070707);
    munmap(p, 2 * PAGE_SIZE);
    close(fd);
}
END_TEST

START_TEST(other_faults_still_kill)
{
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        fclose(stderr);
        *(volatile char *)8 = 1;
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
}
END_TEST

/* ---- sums, names, limits ---- */

START_TEST(sums)
{
    struct mm_stats st;
    start();
    gva_t a = map_anon(10 * PAGE_SIZE, RW);
    map_anon(5 * PAGE_SIZE, ACCESS_READ | ACCESS_EXEC);
    ck_assert_uint_eq(atomic_load(&cfg.committed_as), 10 * PAGE_SIZE);
    touch(a, ACCESS_WRITE);
    mm_get_stats(mm, &st);
    ck_assert_uint_eq(st.vm_size, 15 * PAGE_SIZE);
    ck_assert_uint_eq(st.vm_data, 10 * PAGE_SIZE);
    ck_assert_uint_eq(st.vm_exec, 5 * PAGE_SIZE);
    ck_assert_uint_eq(st.rss_anon, PAGE_SIZE);
    ck_assert_uint_eq(st.vmas, 2);
    ck_assert_int_eq(mm_munmap(mm, a, 8 * PAGE_SIZE), 0);
    mm_get_stats(mm, &st);
    ck_assert_uint_eq(st.vm_size, 7 * PAGE_SIZE);
    ck_assert_uint_eq(st.vm_peak, 15 * PAGE_SIZE);
    ck_assert_uint_eq(st.rss_anon, 0);
    ck_assert_uint_eq(st.rss_peak, PAGE_SIZE);
    ck_assert_uint_eq(atomic_load(&cfg.committed_as), 2 * PAGE_SIZE);
    finish();
}
END_TEST

START_TEST(overcommit)
{
    gva_t out;
    start();
    struct mmap_opts o = {
        .length = 3ul << 30, .perms = RW, .max_perms = ACCESS_ANY, .is_private = true};
    cfg.total_memory = 2ul << 30;
    ck_assert_int_eq(mm_mmap(mm, &o, &out), -ENOMEM);
    o.noreserve = true;
    ck_assert_int_eq(mm_mmap(mm, &o, &out), 0);
    ck_assert_int_eq(mm_munmap(mm, out, o.length), 0);
    o.noreserve = false;
    atomic_store(&cfg.overcommit, 1);
    ck_assert_int_eq(mm_mmap(mm, &o, &out), 0);
    ck_assert_int_eq(mm_munmap(mm, out, o.length), 0);
    atomic_store(&cfg.overcommit, 2); /* strict: half of memory, whoever asks */
    o.length = 900 * MIB;
    o.noreserve = true;
    ck_assert_int_eq(mm_mmap(mm, &o, &out), 0);
    ck_assert_int_eq(mm_mmap(mm, &o, &out), -ENOMEM);
    o.is_private = false;
    ck_assert_int_eq(mm_mmap(mm, &o, &out), -ENOMEM);
    finish();
}
END_TEST

static struct mm_vma_info info;

START_TEST(names)
{
    start();
    struct fake_file *f = fake_file_create(mf, 4711, 8, 1, false);
    gva_t a = map_file(f, PAGE_SIZE, PAGE_SIZE, ACCESS_READ, true);
    gva_t s = map_shared(PAGE_SIZE), p = map_anon(PAGE_SIZE, RW);
    mm_set_brk(mm, 0x100000);
    ck_assert_uint_eq(mm_brk(mm, 0x100001), 0x100001);
    ck_assert(mm_next_vma(mm, 0, true, &info));
    ck_assert_uint_eq(info.ar.start, 0x100000);
    ck_assert_str_eq(info.name, "[heap]");
    ck_assert(mm_next_vma(mm, a, false, &info));
    ck_assert_str_eq(info.name, "/file4711");
    ck_assert_uint_eq(info.inode, 4711);
    ck_assert_uint_eq(info.offset, PAGE_SIZE);
    ck_assert(mm_next_vma(mm, s, false, &info));
    ck_assert_str_eq(info.name, "/dev/zero (deleted)");
    ck_assert(!info.is_private);
    ck_assert_int_eq(mm_set_anon_name(mm, p, PAGE_SIZE, "pool"), 0);
    ck_assert(mm_next_vma(mm, p, false, &info));
    ck_assert_str_eq(info.name, "[anon:pool]");
    ck_assert_int_eq(mm_set_anon_name(mm, a, PAGE_SIZE, "x"), -EBADF);
    ck_assert_int_eq(mm_set_anon_name(mm, p, PAGE_SIZE, NULL), 0);
    ck_assert(mm_next_vma(mm, p, false, &info));
    ck_assert_str_eq(info.name, "");
    ck_assert(!mm_next_vma(mm, 4096 * MIB, false, &info));
    ck_assert_int_eq(mm_munmap(mm, 0x10000, 4096 * MIB - 0x10000), 0);
    fake_file_destroy(f);
    finish();
}
END_TEST

START_TEST(layouts)
{
    struct mm_layout l, prev = {0};
    start_with(1ul << 47);
    mm_pick_layout(mm, 8 * MIB, false, &l);
    ck_assert_uint_eq(l.stack_top, 1ul << 47);
    ck_assert_uint_le(l.mmap_top, l.stack_top - 128 * MIB);
    for (int i = 0; i < 100; i++) {
        mm_pick_layout(mm, i % 2 ? 8 * MIB : UINT64_MAX, true, &l);
        ck_assert(l.stack_top != prev.stack_top || l.mmap_top != prev.mmap_top);
        ck_assert(page_aligned(l.stack_top) && page_aligned(l.mmap_top));
        ck_assert_uint_lt(l.mmap_floor, l.mmap_top);
        ck_assert_uint_le(l.mmap_top + 8 * MIB + MIB, l.stack_top);
        prev = l;
    }
    finish();
}
END_TEST

START_TEST(many_mappings)
{
    start();
    gva_t a = map_anon(1024 * MIB, RW);
    int err = 0;
    uint64_t n = 0;
    for (; n < 200000 && !err; n++)
        err = mm_mprotect(mm, a + 2 * n * PAGE_SIZE, PAGE_SIZE, PROT_READ);
    ck_assert_int_eq(err, -ENOMEM);
    struct mm_stats st;
    mm_get_stats(mm, &st);
    ck_assert_uint_ge(st.vmas, 65529);
    ck_assert_uint_le(st.vmas, 65530);
    fp.max_pages = 1000; /* and a host that holds a thousandth of it */
    for (uint64_t i = 1; i < 20000; i += 2)
        touch(a + i * PAGE_SIZE, ACCESS_WRITE);
    for (uint64_t i = 1; i < 20000; i += 2) {
        touch(a + i * PAGE_SIZE, ACCESS_READ);
        ck_assert_int_eq(*fake_pointer(mm_address_space(mm), a + i * PAGE_SIZE), 1);
    }
    ck_assert_uint_gt(fp.exhausted, 0);
    fp.max_pages = 0;
    ck_assert_int_eq(mm_munmap(mm, a, 1024 * MIB), 0);
    finish();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        untouched_mapping_costs_no_trip,
        filling_needs_few_faults,
        sparse_touch_takes_little_memory,
        fork_and_exit_of_a_big_process,
        dontneed_keeps_the_mapping,
        mremap_moves_pages,
        segments_of_one_file_come_together,
        huge_only_where_memory_is_filled,
        signals,
        out_of_memory_kills,
        copies_fault_and_stop,
        strings,
        forced,
        words,
        words_race,
        futex_keys,
        vectors,
        pins,
        safe_copies,
        other_faults_still_kill,
        sums,
        overcommit,
        names,
        layouts,
        many_mappings,
    };
    if (safe_copy_init())
        return 1;
    Suite *s = suite_create("mm_calls");
    TCase *tc = tcase_create("calls");
    tcase_set_timeout(tc, 120);
    for (size_t i = 0; i < ARRAY_SIZE(tests); i++)
        tcase_add_test(tc, tests[i]);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
