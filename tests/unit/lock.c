/*
 * The lock checker: lawful orders pass, unlawful ones end the process and name both ranks.
 */
#include "base/lock.h"
#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef PICKET_DEBUG

/* Runs fn in a child. Returns whether it aborted with both words on stderr. */
static bool dies_saying(void (*fn)(void), const char *a, const char *b)
{
    int fds[2], status;
    char said[4096];
    size_t n = 0;
    ck_assert_int_eq(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], STDERR_FILENO);
        close(fds[0]);
        close(fds[1]);
        signal(SIGABRT, SIG_DFL);
        fn();
        _exit(0);
    }
    close(fds[1]);
    ssize_t got;
    while (n < sizeof(said) - 1 && (got = read(fds[0], said + n, sizeof(said) - 1 - n)) > 0)
        n += (size_t)got;
    said[n] = 0;
    close(fds[0]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && strstr(said, a) && strstr(said, b);
}

static void wrong_order(void)
{
    struct mutex inner, outer;
    mutex_init(&inner, LOCK_WAIT_QUEUE);
    mutex_init(&outer, LOCK_MM_ACTIVE);
    mutex_lock(&inner);
    mutex_lock(&outer);
}

static void same_rank(void)
{
    struct mutex a, b;
    mutex_init(&a, LOCK_LEAF);
    mutex_init(&b, LOCK_LEAF);
    mutex_lock(&a);
    mutex_lock(&b);
}

static void recursive_nested(void)
{
    struct rwlock a;
    rwlock_init(&a, LOCK_INODE);
    rwlock_write(&a);
    rwlock_write_nested(&a);
}

static void nested_but_lower(void)
{
    struct mutex a, b;
    mutex_init(&a, LOCK_LEAF);
    mutex_init(&b, LOCK_INODE);
    mutex_lock(&a);
    mutex_lock_nested(&b);
}

static void not_held(void)
{
    struct mutex a;
    mutex_init(&a, LOCK_LEAF);
    mutex_unlock(&a);
}

static void assert_not_held(void)
{
    struct mutex a;
    mutex_init(&a, LOCK_LEAF);
    lock_assert_held(&a);
}

static void after_a_try(void)
{
    struct mutex outer, inner, next;
    mutex_init(&outer, LOCK_INODE);
    mutex_init(&inner, LOCK_LEAF);
    mutex_init(&next, LOCK_PIPE);
    mutex_lock(&inner);
    if (!mutex_trylock(&outer)) /* lawful, since it does not wait */
        _exit(1);
    mutex_lock(&next); /* unlawful: LEAF is held, whatever came last */
}

START_TEST(unlawful_orders_abort)
{
    ck_assert(dies_saying(wrong_order, "MM_ACTIVE", "WAIT_QUEUE"));
    ck_assert(dies_saying(wrong_order, "PMAs of an address space", "a wait queue"));
    ck_assert(dies_saying(same_rank, "LEAF", "LEAF"));
    ck_assert(dies_saying(recursive_nested, "INODE", "already held"));
    ck_assert(dies_saying(nested_but_lower, "INODE", "LEAF"));
    ck_assert(dies_saying(not_held, "does not hold", "released"));
    ck_assert(dies_saying(assert_not_held, "should be held", ""));
    ck_assert(dies_saying(after_a_try, "PIPE", "LEAF"));
}
END_TEST

#endif

START_TEST(lawful_orders_pass)
{
    struct mutex a, b, c;
    struct rwlock l;
    mutex_init(&a, LOCK_MOUNT);
    mutex_init(&b, LOCK_INODE);
    mutex_init(&c, LOCK_INODE);
    rwlock_init(&l, LOCK_LEAF);
    for (int i = 0; i < 3; i++) {
        mutex_lock(&a);
        mutex_lock(&b);
        mutex_lock_nested(&c);
        rwlock_read(&l);
        lock_assert_held(&a);
        lock_assert_held(&l);
        mutex_unlock(&b); /* in any order */
        rwlock_unlock(&l);
        mutex_unlock(&a);
        mutex_unlock(&c);
    }
    {
        MUTEX_GUARD(&b);
        lock_assert_held(&b);
    }
    ck_assert(mutex_trylock(&b));
    mutex_unlock(&b);
    rwlock_destroy(&l);
    mutex_destroy(&c);
    mutex_destroy(&b);
    mutex_destroy(&a);
}
END_TEST

static void *try_it(void *m)
{
    return mutex_trylock(m) ? m : NULL;
}

START_TEST(try_fails_on_a_held_lock)
{
    struct mutex m;
    mutex_init(&m, LOCK_LEAF);
    mutex_lock(&m);
    pthread_t thread;
    void *got;
    ck_assert_int_eq(pthread_create(&thread, NULL, try_it, &m), 0);
    pthread_join(thread, &got);
    ck_assert_ptr_null(got);
    mutex_unlock(&m);
}
END_TEST

static void *take_lower(void *m)
{
    mutex_lock(m);
    mutex_unlock(m);
    return m;
}

/* What one thread holds does not bind another. */
START_TEST(held_by_a_thread)
{
    struct mutex high, low;
    mutex_init(&high, LOCK_LEAF);
    mutex_init(&low, LOCK_INODE);
    mutex_lock(&high);
    pthread_t thread;
    void *got;
    ck_assert_int_eq(pthread_create(&thread, NULL, take_lower, &low), 0);
    pthread_join(thread, &got);
    ck_assert_ptr_eq(got, &low);
    mutex_unlock(&high);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("lock");
    TCase *t = tcase_create("lock");
#ifdef PICKET_DEBUG
    tcase_add_test(t, unlawful_orders_abort);
#endif
    tcase_add_test(t, lawful_orders_pass);
    tcase_add_test(t, try_fails_on_a_held_lock);
    tcase_add_test(t, held_by_a_thread);
    suite_add_tcase(s, t);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_ENV);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
