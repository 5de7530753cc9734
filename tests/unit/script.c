/*
 * The first lines of scripts.
 */
#include "sentry/loader/script.h"
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct script_line line;

/* As read from a file that holds `text` (of length n, so that NULs may be in it). */
static int parse(const char *text, size_t n)
{
    char buf[SCRIPT_LINE_SIZE] = {0};
    memcpy(buf, text, n < sizeof(buf) ? n : sizeof(buf));
    ck_assert(script_is(buf));
    memset(&line, 0x55, sizeof(line));
    return script_parse(buf, &line);
}

#define PARSE(literal) parse(literal, sizeof(literal) - 1)

static void expect(const char *interp, const char *arg)
{
    ck_assert_str_eq(line.interp, interp);
    ck_assert_int_eq(line.has_arg, arg != NULL);
    if (arg)
        ck_assert_str_eq(line.arg, arg);
}

START_TEST(test_interpreter)
{
    ck_assert_int_eq(PARSE("#!/bin/sh\n"), 0);
    expect("/bin/sh", NULL);
    ck_assert_int_eq(PARSE("#! \t /bin/sh \t \nmore"), 0);
    expect("/bin/sh", NULL);
    ck_assert_int_eq(PARSE("#!/bin/sh"), 0); /* the file ends here */
    expect("/bin/sh", NULL);
    ck_assert_int_eq(PARSE("#!sh\n#!/bin/other x\n"), 0);
    expect("sh", NULL);
    ck_assert_int_eq(PARSE("#!/bin/sh\r\n"), 0);
    expect("/bin/sh\r", NULL);
}
END_TEST

START_TEST(test_argument)
{
    ck_assert_int_eq(PARSE("#!/usr/bin/awk -f\n"), 0);
    expect("/usr/bin/awk", "-f");
    ck_assert_int_eq(PARSE("#!/usr/bin/env \t python3 -u  -c \t\n"), 0);
    expect("/usr/bin/env", "python3 -u  -c");
    ck_assert_int_eq(PARSE("#!/a b"), 0);
    expect("/a", "b");
    ck_assert_int_eq(PARSE("#!/a b\0c\nd"), 0); /* a NUL ends everything */
    expect("/a", "b");
    ck_assert_int_eq(PARSE("#!/a\0b c\n"), 0);
    expect("/a", NULL);
}
END_TEST

START_TEST(test_no_name)
{
    ck_assert_int_eq(PARSE("#!\n/bin/sh"), -ENOEXEC);
    ck_assert_int_eq(PARSE("#!  \t\n"), -ENOEXEC);
    /* Nothing at all is the empty name, which no file has. */
    ck_assert_int_eq(PARSE("#!"), 0);
    expect("", NULL);
    ck_assert_int_eq(PARSE("#!  "), 0);
    expect("", NULL);
    char blanks[SCRIPT_LINE_SIZE];
    memset(blanks, ' ', sizeof(blanks));
    memcpy(blanks, "#!", 2);
    ck_assert_int_eq(parse(blanks, sizeof(blanks)), -ENOEXEC);
}
END_TEST

/* No newline within what Linux looks at: the argument may be cut off, the name may not. */
START_TEST(test_long_lines)
{
    char buf[SCRIPT_LINE_SIZE + 1];
    memset(buf, 'x', sizeof(buf));
    memcpy(buf, "#!/", 3);
    ck_assert_int_eq(parse(buf, SCRIPT_LINE_SIZE), -ENOEXEC);

    buf[100] = ' ';
    ck_assert_int_eq(parse(buf, SCRIPT_LINE_SIZE), 0);
    ck_assert_uint_eq(strlen(line.interp), 98);
    ck_assert(line.has_arg);
    ck_assert_uint_eq(strlen(line.arg), SCRIPT_LINE_SIZE - 1 - 101);

    buf[100] = 'x';
    buf[255] = '\n'; /* the longest name */
    ck_assert_int_eq(parse(buf, SCRIPT_LINE_SIZE), 0);
    ck_assert_uint_eq(strlen(line.interp), 253);
    ck_assert(!line.has_arg);
    buf[255] = ' ';
    ck_assert_int_eq(parse(buf, SCRIPT_LINE_SIZE), 0);
    ck_assert_uint_eq(strlen(line.interp), 253);
    ck_assert(!line.has_arg);
    ck_assert_int_eq(parse(buf, 255), 0);
    ck_assert_uint_eq(strlen(line.interp), 253);
}
END_TEST

/* Whatever comes, the answers are strings, without blanks in the name. */
START_TEST(test_random_lines)
{
    static const char alphabet[] = "ab/ \t\n\0-";
    srandom(4711);
    for (int n = 0; n < 200000; n++) {
        char buf[SCRIPT_LINE_SIZE] = {'#', '!'};
        size_t length = (size_t)random() % (sizeof(buf) - 2);
        for (size_t i = 2; i < 2 + length; i++)
            buf[i] = alphabet[(size_t)random() % (random() % 4 ? 3 : sizeof(alphabet) - 1)];
        int err = script_parse(buf, &line);
        if (err == -ENOEXEC)
            continue;
        if (err)
            ck_abort_msg("step %d: error %d", n, err);
        if (strnlen(line.interp, sizeof(line.interp)) == sizeof(line.interp) ||
            strpbrk(line.interp, " \t\n"))
            ck_abort_msg("step %d: interpreter", n);
        if (line.has_arg && (strnlen(line.arg, sizeof(line.arg)) == sizeof(line.arg) ||
                             strchr(line.arg, '\n') || line.arg[0] == ' ' || line.arg[0] == '\t'))
            ck_abort_msg("step %d: argument", n);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("script");
    TCase *tc = tcase_create("parse");
    tcase_add_test(tc, test_interpreter);
    tcase_add_test(tc, test_argument);
    tcase_add_test(tc, test_no_name);
    tcase_add_test(tc, test_long_lines);
    tcase_add_test(tc, test_random_lines);
    suite_add_tcase(s, tc);

    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
