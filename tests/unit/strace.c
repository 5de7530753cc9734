/*
 * The strace printer: every formatter that needs no application, and the system-call table.
 */
#include "sentry/syscalls/strace_format.h"

#include <asm/unistd_64.h>
#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

struct text {
    char buf[1024];
    struct strace_out out;
};

static struct strace_out *begin(struct text *t)
{
    t->buf[0] = '\0';
    t->out = (struct strace_out){.buf = t->buf, .size = sizeof(t->buf)};
    return &t->out;
}

/* Argument i of a call by number, with no application memory behind it. */
static const char *arg(struct text *t, uint64_t nr, unsigned i, struct sysargs args, long result)
{
    struct strace_call c = {.row = syscall_row(nr), .args = &args, .result = result};
    const struct strace_format *f = &strace_formats[c.row->args[i]];
    f->fn(begin(t), &c, i, f->data);
    return t->buf;
}
#define ARGS(...) ((struct sysargs){.a = {__VA_ARGS__}})
#define ARG(nr, i, ...) arg(&t, nr, i, ARGS(__VA_ARGS__), 0)

START_TEST(table_agrees_with_headers)
{
    ck_assert_str_eq(syscall_name(__NR_read), "read");
    ck_assert_str_eq(syscall_name(__NR_openat), "openat");
    ck_assert_str_eq(syscall_name(__NR_clone3), "clone3");
    ck_assert_str_eq(syscall_name(__NR_set_mempolicy_home_node), "set_mempolicy_home_node");
    ck_assert_str_eq(syscall_name(462), "mseal");
    ck_assert_ptr_null(syscall_name(335));
    ck_assert_ptr_null(syscall_name(463));
    /* Only the lower half of the register counts, as in Linux. */
    ck_assert_str_eq(syscall_name(0x100000000ull), "read");
    ck_assert_ptr_null(syscall_name(UINT64_MAX));
    ck_assert_uint_eq(syscall_row(__NR_mmap)->nargs, 6);
    ck_assert_uint_eq(syscall_row(__NR_getpid)->nargs, 0);
}
END_TEST

START_TEST(every_argument_can_be_printed)
{
    unsigned rows = 0;
    for (unsigned nr = 0; nr < SYSCALL_COUNT; nr++) {
        const struct syscall_row *row = syscall_row(nr);
        if (!row)
            continue;
        rows++;
        ck_assert_msg(row->missing != 0, "%s: no errno", row->name);
        for (unsigned i = 0; i < row->nargs; i++)
            ck_assert_msg(strace_formats[row->args[i]].fn != NULL, "%s: argument %u", row->name, i);
    }
    ck_assert_uint_eq(rows, 374);
}
END_TEST

/* Whatever the arguments are, nothing is read from outside the application. */
START_TEST(garbage_is_harmless)
{
    static const uint64_t values[] = {0, 1, 0x1000, 0x7fffffffffff, UINT64_MAX, 1ull << 63};
    struct text t;
    for (unsigned nr = 0; nr < SYSCALL_COUNT; nr++) {
        const struct syscall_row *row = syscall_row(nr);
        for (unsigned i = 0; row && i < row->nargs; i++)
            for (unsigned v = 0; v < ARRAY_SIZE(values); v++) {
                uint64_t x = values[v];
                arg(&t, nr, i, ARGS(x, x, x, x, x, x), v % 2 ? -EFAULT : 5);
                ck_assert_uint_lt(t.out.len, sizeof(t.buf));
            }
    }
}
END_TEST

START_TEST(flags)
{
    struct text t;
    ck_assert_str_eq(ARG(__NR_openat, 2, 0, 0, O_RDONLY | O_CLOEXEC), "O_RDONLY|O_CLOEXEC");
    ck_assert_str_eq(ARG(__NR_openat, 2, 0, 0, O_RDWR | O_CREAT | O_TRUNC | 0100000),
                     "O_RDWR|O_CREAT|O_TRUNC|O_LARGEFILE");
    ck_assert_str_eq(ARG(__NR_openat, 2, 0, 0, O_WRONLY | O_TMPFILE), "O_WRONLY|O_TMPFILE");
    ck_assert_str_eq(ARG(__NR_mprotect, 2, 0, 0, 0), "PROT_NONE");
    ck_assert_str_eq(ARG(__NR_mprotect, 2, 0, 0, PROT_READ | PROT_EXEC | 0x100),
                     "PROT_READ|PROT_EXEC|0x100");
    ck_assert_str_eq(ARG(__NR_mmap, 3, 0, 0, 0, MAP_PRIVATE | MAP_ANONYMOUS),
                     "MAP_PRIVATE|MAP_ANONYMOUS");
    ck_assert_str_eq(ARG(__NR_mmap, 3, 0, 0, 0, MAP_SHARED_VALIDATE | MAP_SYNC),
                     "MAP_SHARED_VALIDATE|MAP_SYNC");
    ck_assert_str_eq(ARG(__NR_access, 1, 0, 0), "F_OK");
    ck_assert_str_eq(ARG(__NR_access, 1, 0, 5), "R_OK|X_OK");
    ck_assert_str_eq(ARG(__NR_lseek, 2, 0, 0, 9), "0x9");
    ck_assert_str_eq(ARG(__NR_socket, 1, 0, SOCK_STREAM | SOCK_CLOEXEC),
                     "SOCK_STREAM|SOCK_CLOEXEC");
    ck_assert_str_eq(ARG(__NR_futex, 1, 0, 128 | 9 | 256),
                     "FUTEX_WAIT_BITSET|FUTEX_PRIVATE_FLAG|FUTEX_CLOCK_REALTIME");
    ck_assert_str_eq(ARG(__NR_clone, 0, SIGCHLD), "SIGCHLD");
    ck_assert_str_eq(ARG(__NR_clone, 0, 0x4100 | SIGCHLD), "CLONE_VM|CLONE_VFORK|SIGCHLD");
    ck_assert_str_eq(ARG(__NR_ioctl, 1, 0, 0x5401), "TCGETS");
    ck_assert_str_eq(ARG(__NR_madvise, 2, 0, 0, 4), "MADV_DONTNEED");
}
END_TEST

START_TEST(numbers)
{
    struct text t;
    ck_assert_str_eq(ARG(__NR_openat, 0, (uint64_t)AT_FDCWD), "AT_FDCWD");
    ck_assert_str_eq(ARG(__NR_openat, 0, 0xffffff9c), "AT_FDCWD");
    ck_assert_str_eq(ARG(__NR_openat, 0, 7), "7");
    ck_assert_str_eq(ARG(__NR_openat, 1, 0, 0), "NULL");
    ck_assert_str_eq(ARG(__NR_openat, 1, 0, 0xdead), "0xdead");
    ck_assert_str_eq(ARG(__NR_openat, 3, 0, 0, O_CREAT, 0644), "0644");
    ck_assert_str_eq(ARG(__NR_chmod, 1, 0, 0), "000");
    ck_assert_str_eq(ARG(__NR_chown, 1, 0, UINT64_MAX), "-1");
    ck_assert_str_eq(ARG(__NR_kill, 1, 0, 9), "SIGKILL");
    ck_assert_str_eq(ARG(__NR_kill, 1, 0, 0), "0");
    ck_assert_str_eq(ARG(__NR_kill, 1, 0, 34), "SIGRT_2");
    ck_assert_str_eq(ARG(__NR_kill, 1, 0, 65), "65");
    ck_assert_str_eq(ARG(__NR_mknod, 1, 0, S_IFIFO | 0600), "S_IFIFO|0600");
}
END_TEST

START_TEST(strings)
{
    static const char zero_digit[] = {0, '1', 0, '9'};
    struct text t;
    strace_quote(begin(&t), "a\"b\\c\n\t\x01\x7f", 9, false);
    ck_assert_str_eq(t.buf, "\"a\\\"b\\\\c\\n\\t\\1\\177\"");
    /* A digit behind an octal escape must not become part of it. */
    strace_quote(begin(&t), zero_digit, sizeof(zero_digit), true);
    ck_assert_str_eq(t.buf, "\"\\0001\\09\"...");
    strace_quote(begin(&t), "", 0, false);
    ck_assert_str_eq(t.buf, "\"\"");
}
END_TEST

START_TEST(lines_do_not_overflow)
{
    char buf[8];
    struct strace_out o = {.buf = buf, .size = sizeof(buf)};
    strace_printf(&o, "%s", "0123456789");
    strace_printf(&o, "%s", "0123456789");
    ck_assert_str_eq(buf, "0123456");
    ck_assert_uint_eq(o.len, 7);
}
END_TEST

START_TEST(signals)
{
    struct text t;
    strace_sigset(begin(&t), SIG_BIT(SIGINT) | SIG_BIT(SIGTERM));
    ck_assert_str_eq(t.buf, "[INT TERM]");
    strace_sigset(begin(&t), 0);
    ck_assert_str_eq(t.buf, "[]");
    strace_sigset(begin(&t), ~(SIG_BIT(SIGKILL) | SIG_BIT(SIGSTOP)));
    ck_assert_str_eq(t.buf, "~[KILL STOP]");
    strace_sigset(begin(&t), SIG_BIT(33));
    ck_assert_str_eq(t.buf, "[RT_1]");

    siginfo_t info = {.si_signo = SIGSEGV, .si_code = SEGV_MAPERR};
    strace_siginfo(begin(&t), &info);
    ck_assert_str_eq(t.buf, "{si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=NULL}");
    info = (siginfo_t){.si_signo = SIGTERM, .si_code = SI_USER};
    info.si_pid = 12;
    strace_siginfo(begin(&t), &info);
    ck_assert_str_eq(t.buf, "{si_signo=SIGTERM, si_code=SI_USER, si_pid=12, si_uid=0}");
    info = (siginfo_t){.si_signo = SIGCHLD, .si_code = CLD_KILLED};
    info.si_pid = 3;
    info.si_status = SIGABRT;
    strace_siginfo(begin(&t), &info);
    ck_assert_str_eq(t.buf, "{si_signo=SIGCHLD, si_code=CLD_KILLED, si_pid=3, si_uid=0, "
                            "si_status=SIGABRT, si_utime=0, si_stime=0}");
}
END_TEST

START_TEST(lists)
{
    static const struct {
        const char *list;
        bool openat, read, mmap, unknown;
    } cases[] = {
        {NULL, true, true, true, true},
        {"all", true, true, true, true},
        {"+time", true, true, true, true},
        {"none", false, false, false, false},
        {"openat", true, false, false, false},
        {"openat,mmap,+time", true, false, true, false},
        {"%file", true, false, false, false},
        {"%desc,!mmap", true, true, false, false},
        {"!%file", false, true, true, true},
        {"!read,mmap", true, false, false, true},
        {"!read,!mmap", true, false, false, true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct strace_config *c = NULL;
        char why[256];
        ck_assert_int_eq(strace_config_create(cases[i].list, &c, why, sizeof(why)), 0);
        ck_assert_msg(strace_wants(c, __NR_openat) == cases[i].openat, "%s", cases[i].list);
        ck_assert_msg(strace_wants(c, __NR_read) == cases[i].read, "%s", cases[i].list);
        ck_assert_msg(strace_wants(c, __NR_mmap) == cases[i].mmap, "%s", cases[i].list);
        ck_assert_msg(strace_wants(c, 1000) == cases[i].unknown, "%s", cases[i].list);
        strace_config_destroy(c);
    }
}
END_TEST

START_TEST(bad_lists)
{
    static const char *const bad[] = {"opennat", "%files", "read,x", "!!read"};
    struct strace_config *c;
    char why[256];
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        why[0] = '\0';
        ck_assert_int_eq(strace_config_create(bad[i], &c, why, sizeof(why)), -EINVAL);
        ck_assert_ptr_nonnull(strstr(why, "--strace"));
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("strace");
    TCase *tc = tcase_create("strace");
    tcase_add_test(tc, table_agrees_with_headers);
    tcase_add_test(tc, every_argument_can_be_printed);
    tcase_add_test(tc, garbage_is_harmless);
    tcase_add_test(tc, flags);
    tcase_add_test(tc, numbers);
    tcase_add_test(tc, strings);
    tcase_add_test(tc, lines_do_not_overflow);
    tcase_add_test(tc, signals);
    tcase_add_test(tc, lists);
    tcase_add_test(tc, bad_lists);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
