/*
 * Host files as memmap_files: the view shows the file, lasts as long as its pages are referenced,
 * and goes with the last of them.
 */
#include "memmap/host_file.h"
#include "tests/unit/random.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define WINDOW (64ull << 20) /* as host_file.c has it; only to place tests at its borders */

static int fd;
static struct host_file *hf;
static struct memmap_file *mf;

static void create(bool writable)
{
    fd = memfd_create("host", 0);
    ck_assert_int_eq(ftruncate(fd, 5 * WINDOW), 0);
    ck_assert_int_eq(host_file_create(fd, writable, &hf), 0);
    mf = host_file_memmap(hf);
    ck_assert_int_eq(mf->fd, fd);
    ck_assert_ptr_null(mf->window);
}

static bool fd_is_open(void)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static int mappings(void)
{
    char line[512];
    int n = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (fgets(line, sizeof(line), maps))
        n += strstr(line, "memfd:host") != NULL;
    fclose(maps);
    return n;
}

static struct file_range range(uint64_t start, uint64_t length)
{
    return (struct file_range){start, start + length};
}

START_TEST(shows_the_file)
{
    struct iovec b[4];
    create(true);
    struct file_range fr = range(3 * PAGE_SIZE, 2 * PAGE_SIZE);
    mf->ops->inc_ref(mf, fr);
    ck_assert_int_eq(mappings(), 0); /* not before somebody looks */
    ck_assert_int_eq(pwrite(fd, "hello", 5, 3 * PAGE_SIZE + 10), 5);
    ck_assert_int_eq(mf->ops->map_internal(mf, range(3 * PAGE_SIZE + 10, 5), ACCESS_READ, b, 4), 1);
    ck_assert_uint_eq(b[0].iov_len, 5);
    ck_assert_mem_eq(b[0].iov_base, "hello", 5);
    ck_assert_int_eq(mf->ops->map_internal(mf, fr, ACCESS_WRITE, b, 4), 1);
    memcpy(b[0].iov_base, "there", 5);
    char buf[5];
    ck_assert_int_eq(pread(fd, buf, 5, 3 * PAGE_SIZE), 5);
    ck_assert_mem_eq(buf, "there", 5);
    mf->ops->dec_ref(mf, fr);
    host_file_put(hf);
    ck_assert(!fd_is_open());
    ck_assert_int_eq(mappings(), 0);
}
END_TEST

START_TEST(read_only)
{
    struct iovec b;
    create(false);
    mf->ops->inc_ref(mf, range(0, PAGE_SIZE));
    ck_assert_int_eq(mf->ops->map_internal(mf, range(0, 10), ACCESS_WRITE, &b, 1), -EACCES);
    ck_assert_int_eq(mf->ops->map_internal(mf, range(0, 10), ACCESS_READ, &b, 1), 1);
    ck_assert_int_eq(mf->ops->map_internal(mf, range(10, 0), ACCESS_READ, &b, 1), -EINVAL);
    ck_assert_int_eq(mf->ops->map_internal(mf, range(0, 10), ACCESS_READ, &b, 0), -EINVAL);
    mf->ops->dec_ref(mf, range(0, PAGE_SIZE));
    host_file_put(hf);
}
END_TEST

START_TEST(across_windows)
{
    struct iovec b[4];
    create(true);
    struct file_range all = range(WINDOW - PAGE_SIZE, 2 * PAGE_SIZE + WINDOW);
    mf->ops->inc_ref(mf, all);
    struct file_range look = range(all.start + 1, RANGE_LENGTH(all) - 2);
    ck_assert_int_eq(mf->ops->map_internal(mf, look, ACCESS_READ, b, 4), 3);
    ck_assert_uint_eq(b[0].iov_len, PAGE_SIZE - 1);
    ck_assert_uint_eq(b[1].iov_len, WINDOW);
    ck_assert_uint_eq(b[2].iov_len, PAGE_SIZE - 1);
    ck_assert_int_eq(pwrite(fd, "x", 1, (off_t)look.end - 1), 1);
    ck_assert_int_eq(((char *)b[2].iov_base)[b[2].iov_len - 1], 'x');
    ck_assert_int_eq(mf->ops->map_internal(mf, look, ACCESS_READ, b, 2), 2);
    /* The middle alone keeps its view; one idle window may stay. */
    mf->ops->dec_ref(mf, range(all.start, PAGE_SIZE));
    mf->ops->dec_ref(mf, range(all.end - PAGE_SIZE, PAGE_SIZE));
    ck_assert_int_le(mappings(), 2);
    ck_assert_int_eq(*(char *)b[1].iov_base, 0);
    mf->ops->dec_ref(mf, range(WINDOW, WINDOW));
    ck_assert_int_le(mappings(), 1);
    host_file_put(hf);
    ck_assert_int_eq(mappings(), 0);
}
END_TEST

START_TEST(outlives_its_owner)
{
    struct iovec b;
    create(true);
    mf->ops->inc_ref(mf, range(0, PAGE_SIZE));
    mf->ops->inc_ref(mf, range(0, PAGE_SIZE));
    host_file_put(hf);
    ck_assert(fd_is_open());
    mf->ops->dec_ref(mf, range(0, PAGE_SIZE));
    ck_assert_int_eq(mf->ops->map_internal(mf, range(0, 1), ACCESS_READ, &b, 1), 1);
    mf->ops->dec_ref(mf, range(0, PAGE_SIZE));
    ck_assert(!fd_is_open());
}
END_TEST

/* References at random places: a view is there for exactly the windows that are in use (and one).
 */
START_TEST(random_references)
{
    struct rng r = rng_seed("host_file");
    static unsigned refs[5][16]; /* at 16 pages of each window */
    create(true);
    for (uint64_t w = 0; w < 5; w++)
        for (uint64_t p = 0; p < 16; p++)
            HOLDS(pwrite(fd, &(char){(char)(w * 16 + p)}, 1, (off_t)(w * WINDOW + p * PAGE_SIZE)) ==
                  1);
    for (int i = 0; i < 20000; i++) {
        uint64_t w = rng_below(&r, 5), p = rng_below(&r, 16);
        struct file_range fr = range(w * WINDOW + p * PAGE_SIZE, PAGE_SIZE);
        struct iovec b;
        if (rng_below(&r, 9) < 4) {
            mf->ops->inc_ref(mf, fr);
            refs[w][p]++;
        } else if (refs[w][p]) {
            HOLDS(mf->ops->map_internal(mf, fr, ACCESS_READ, &b, 1) == 1);
            HOLDS(*(char *)b.iov_base == (char)(w * 16 + p));
            mf->ops->dec_ref(mf, fr);
            refs[w][p]--;
        }
    }
    for (uint64_t w = 0; w < 5; w++)
        for (uint64_t p = 0; p < 16; p++)
            while (refs[w][p] && refs[w][p]--)
                mf->ops->dec_ref(mf, range(w * WINDOW + p * PAGE_SIZE, PAGE_SIZE));
    ck_assert_int_le(mappings(), 1);
    host_file_put(hf);
    ck_assert(!fd_is_open());
}
END_TEST

int main(void)
{
    Suite *s = suite_create("host_file");
    TCase *t = tcase_create("host_file");
    tcase_add_test(t, shows_the_file);
    tcase_add_test(t, read_only);
    tcase_add_test(t, across_windows);
    tcase_add_test(t, outlives_its_owner);
    tcase_add_test(t, random_references);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
