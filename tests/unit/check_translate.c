/*
 * The checker of translate's contract: lawful answers pass, each kind of unlawful one ends the
 * process. (Debug builds only: release builds have no checker.)
 */
#include "memmap/memmap.h"
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#ifdef PICKET_DEBUG

static struct memmap_file file;

/* In pages. */
static struct mappable_range mr(uint64_t start, uint64_t end)
{
    return (struct mappable_range){start * PAGE_SIZE, end * PAGE_SIZE};
}

static struct translation piece(uint64_t start, uint64_t end)
{
    return (struct translation){mr(start, end), &file, (100 + start) * PAGE_SIZE, ACCESS_ANY};
}

static struct answer {
    struct mappable_range required, optional;
    access_t at;
    struct translation ts[3];
    int n, err;
} lawful_answers[4], unlawful_answers[16];

static size_t nlawful, nunlawful;

static struct answer base_answer(void)
{
    return (struct answer){.required = mr(4, 8),
                           .optional = mr(2, 12),
                           .at = ACCESS_READ,
                           .ts = {piece(3, 6), piece(6, 10)},
                           .n = 2};
}

static void build(void)
{
    struct answer a = base_answer();
    lawful_answers[nlawful++] = a;
    a.n = 1;
    a.ts[0] = piece(2, 12);
    lawful_answers[nlawful++] = a;
    a.n = 0;
    a.err = -EBUSERR;
    lawful_answers[nlawful++] = a;
    a = base_answer();
    a.n = 1;
    a.err = -EAGAIN;
    lawful_answers[nlawful++] = a;

#define UNLAWFUL(change)                                                                           \
    do {                                                                                           \
        a = base_answer();                                                                         \
        change;                                                                                    \
        unlawful_answers[nunlawful++] = a;                                                         \
    } while (0)
    UNLAWFUL(a.n = 0);                /* no answer, no error */
    UNLAWFUL(a.n = 1);                /* too little */
    UNLAWFUL(a.err = -ENOMEM);        /* an error, yet all is there */
    UNLAWFUL(a.err = 1);              /* not an errno */
    UNLAWFUL(a.ts[0] = piece(5, 6));  /* misses the first page */
    UNLAWFUL(a.ts[1] = piece(7, 10)); /* a gap */
    UNLAWFUL(a.ts[1] = piece(5, 10)); /* an overlap */
    UNLAWFUL(a.ts[0] = piece(1, 6));  /* before optional */
    UNLAWFUL(a.ts[1] = piece(6, 13)); /* after optional */
    UNLAWFUL((a.ts[1] = piece(6, 9), a.ts[2] = piece(9, 10), a.n = 3)); /* not asked for */
    UNLAWFUL(a.ts[1].file = NULL);
    UNLAWFUL(a.ts[1].offset += 1);
    UNLAWFUL(a.ts[1].offset = UINT64_MAX & PAGE_MASK); /* wraps */
    UNLAWFUL(a.ts[0].source.start += 1);
    UNLAWFUL((a.at = ACCESS_WRITE, a.ts[1].perms = ACCESS_READ));
    UNLAWFUL(a.required = mr(1, 8)); /* the question itself: not within optional */
}

static void check(const struct answer *a)
{
    check_translate_result(a->required, a->optional, a->at, a->ts, a->n, a->err);
}

START_TEST(lawful)
{
    build();
    ck_assert_uint_eq(nlawful, 4);
    for (size_t i = 0; i < nlawful; i++)
        check(&lawful_answers[i]);
}
END_TEST

START_TEST(unlawful)
{
    build();
    ck_assert_uint_eq(nunlawful, ARRAY_SIZE(unlawful_answers));
    close(STDERR_FILENO);
    signal(SIGABRT, SIG_DFL);
    check(&unlawful_answers[_i]);
}
END_TEST

#endif

int main(void)
{
    Suite *s = suite_create("check_translate");
    TCase *t = tcase_create("check_translate");
#ifdef PICKET_DEBUG
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    tcase_add_test(t, lawful);
    tcase_add_loop_test_raise_signal(t, unlawful, SIGABRT, 0, ARRAY_SIZE(unlawful_answers));
#endif
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
