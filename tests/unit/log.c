/*
 * The log: what it writes, in both formats, from many threads, with hostile text.
 */
#include "base/log.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int sink;
static char text[1 << 20];

static void open_log(enum log_format format, enum log_level level)
{
    sink = memfd_create("log", 0);
    ck_assert_int_ge(sink, 0);
    log_open(fcntl(sink, F_DUPFD, 0), format, level);
}

static const char *logged(void)
{
    ssize_t n = pread(sink, text, sizeof(text) - 1, 0);
    ck_assert_int_ge(n, 0);
    text[n] = 0;
    return text;
}

START_TEST(off_by_default)
{
    ck_assert(!log_enabled(LOG_ERROR));
    log_error("into the void");
}
END_TEST

START_TEST(levels)
{
    open_log(LOG_TEXT, LOG_WARN);
    ck_assert(log_enabled(LOG_ERROR));
    ck_assert(log_enabled(LOG_WARN));
    ck_assert(!log_enabled(LOG_INFO));
    ck_assert(!log_enabled(LOG_NONE));
    log_error("an %s", "error");
    log_warn("a warning");
    log_info("information");
    log_line(LOG_DEBUG, "details");
    ck_assert_ptr_nonnull(strstr(logged(), " error ["));
    ck_assert_ptr_nonnull(strstr(text, "] an error\n"));
    ck_assert_ptr_nonnull(strstr(text, "] a warning\n"));
    ck_assert_ptr_null(strstr(text, "information"));
    ck_assert_ptr_null(strstr(text, "details"));
}
END_TEST

START_TEST(time_is_now)
{
    open_log(LOG_TEXT, LOG_INFO);
    time_t before = time(NULL);
    log_info("x");
    time_t after = time(NULL);
    struct tm tm = {0};
    ck_assert_ptr_nonnull(strptime(logged(), "%Y-%m-%dT%H:%M:%S", &tm));
    time_t said = timegm(&tm);
    ck_assert_int_ge(said, before);
    ck_assert_int_le(said, after);
}
END_TEST

START_TEST(text_cannot_be_forged)
{
    open_log(LOG_TEXT, LOG_INFO);
    log_info("file \"a\nb\x1b[31m\x7f\x80\xc2\x9b\" \xc3\xa4 \xe2\x82\xac\n\n");
    ck_assert_ptr_nonnull(
        strstr(logged(), "file \"a\\x0ab\\x1b[31m\\x7f\\x80\\xc2\\x9b\" \xc3\xa4 \xe2\x82\xac\n"));
    ck_assert_ptr_eq(strchr(text, '\n'), text + strlen(text) - 1);
}
END_TEST

START_TEST(json_is_json)
{
    static const char *const messages[] = {
        "plain",
        "quote \" backslash \\ slash /",
        "tab\there",
        "line\nbreak",
        "euro \xe2\x82\xac",
        "\x01\x02\x1f\x7f",
        "bad \xff\xfe utf-8 \xc0\xaf \xed\xa0\x80 \xf4\x90\x80\x80 \xe2\x82",
    };
    open_log(LOG_JSON, LOG_INFO);
    for (size_t i = 0; i < ARRAY_SIZE(messages); i++)
        log_info("%s", messages[i]);
    const char *p = logged();
    for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
        const char *end = strchr(p, '\n');
        ck_assert_ptr_nonnull(end);
        json_error_t why;
        json_t *line = json_loadb(p, (size_t)(end - p), 0, &why);
        ck_assert_msg(line, "%s: %s", why.text, p);
        ck_assert_str_eq(json_string_value(json_object_get(line, "level")), "info");
        ck_assert_int_eq(json_integer_value(json_object_get(line, "tid")), getpid());
        const char *msg = json_string_value(json_object_get(line, "msg"));
        ck_assert_ptr_nonnull(msg);
        if (i < 6)
            ck_assert_str_eq(msg, messages[i]);
        json_decref(line);
        p = end + 1;
    }
    ck_assert_str_eq(p, "");
}
END_TEST

START_TEST(long_lines_are_cut)
{
    static char big[20000];
    memset(big, 'x', sizeof(big) - 1);
    open_log(LOG_TEXT, LOG_INFO);
    log_info("%s", big);
    memset(big, 1, sizeof(big) - 1);
    log_info("%s", big);
    const char *first_end = strchr(logged(), '\n');
    ck_assert_int_gt(first_end - text, 4095);
    ck_assert_int_lt(first_end - text, 4300);
    const char *second_end = strchr(first_end + 1, '\n');
    ck_assert_int_gt(second_end - first_end, 4 * 4095);
    ck_assert_str_eq(second_end, "\n");
}
END_TEST

START_TEST(errno_is_kept)
{
    open_log(LOG_TEXT, LOG_INFO);
    errno = EXDEV;
    log_info("x");
    ck_assert_int_eq(errno, EXDEV);
    log_open(-1, LOG_TEXT, LOG_DEBUG);
    ck_assert(!log_enabled(LOG_ERROR));
}
END_TEST

#define THREADS 4
#define LINES 500

static void *chatter(void *arg)
{
    for (int i = 0; i < LINES; i++)
        log_info("thread %ld line %d end", (long)arg, i);
    return NULL;
}

START_TEST(lines_stay_whole)
{
    pthread_t threads[THREADS];
    open_log(LOG_TEXT, LOG_INFO);
    for (long i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, chatter, (void *)i), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    int next[THREADS] = {0}, lines = 0;
    char *save;
    logged();
    for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save), lines++) {
        int thread, line, used = 0;
        const char *msg = strstr(l, "] ");
        ck_assert_ptr_nonnull(msg);
        ck_assert_int_eq(sscanf(msg, "] thread %d line %d end%n", &thread, &line, &used), 2);
        ck_assert_int_eq(msg[used], 0);
        ck_assert_int_eq(line, next[thread]++);
    }
    ck_assert_int_eq(lines, THREADS * LINES);
}
END_TEST

START_TEST(panic_says_and_aborts)
{
    int fds[2], status;
    char said[200] = "";
    ck_assert_int_eq(pipe(fds), 0);
    open_log(LOG_TEXT, LOG_ERROR);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDERR_FILENO);
        signal(SIGABRT, SIG_DFL);
        panic("the %s fell down", "sky");
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    ck_assert_int_gt(read(fds[0], said, sizeof(said) - 1), 0);
    ck_assert_str_eq(said, "picket: panic: the sky fell down\n");
    ck_assert_ptr_nonnull(strstr(logged(), "the sky fell down"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("log");
    TCase *t = tcase_create("log");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, off_by_default);
    tcase_add_test(t, levels);
    tcase_add_test(t, time_is_now);
    tcase_add_test(t, text_cannot_be_forged);
    tcase_add_test(t, json_is_json);
    tcase_add_test(t, long_lines_are_cut);
    tcase_add_test(t, errno_is_kept);
    tcase_add_test(t, lines_stay_whole);
    tcase_add_test(t, panic_says_and_aborts);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
