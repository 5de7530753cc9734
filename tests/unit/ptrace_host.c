/*
 * The ptrace platform and the host: what others on the host may do to it, and what it leaves
 * behind.
 */
#include "tests/unit/platform_world.h"
#include <dirent.h>

/* --- what is left behind --- */

static int count_entries(const char *path)
{
    DIR *d = opendir(path);
    ck_assert_ptr_nonnull(d);
    int n = 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* Processes named picket-stub whose session or parent leads to us: here, all children. */
static int count_children(pid_t parent)
{
    DIR *d = opendir("/proc");
    int n = 0;
    struct dirent *e;
    while ((e = readdir(d))) {
        char path[300], line[512];
        snprintf(path, sizeof(path), "/proc/%s/stat", e->d_name);
        FILE *f = e->d_name[0] >= '1' && e->d_name[0] <= '9' ? fopen(path, "r") : NULL;
        if (!f)
            continue;
        int ppid = 0;
        char *close_paren;
        if (fgets(line, sizeof(line), f) && (close_paren = strrchr(line, ')')) &&
            sscanf(close_paren + 1, " %*c %d", &ppid) == 1 && ppid == parent)
            n++;
        fclose(f);
    }
    closedir(d);
    return n;
}

/* --- what somebody on the host may do --- */

/* The stub process of the address space: the one that has the page of code at CODE. */
static pid_t find_stub(void)
{
    DIR *d = opendir("/proc");
    struct dirent *e;
    pid_t found = 0;
    while (!found && (e = readdir(d))) {
        pid_t pid = atoi(e->d_name);
        char path[300], line[512];
        snprintf(path, sizeof(path), "/proc/%d/maps", pid);
        FILE *f = pid > 0 && pid != getpid() ? fopen(path, "r") : NULL;
        if (!f)
            continue;
        bool code = false, stub = false;
        while (fgets(line, sizeof(line), f)) {
            code |= strncmp(line, "00400000-00401000 r-xs", 22) == 0 && strstr(line, "memfd:test");
            stub |= strstr(line, "memfd:picket-stub") != NULL;
        }
        fclose(f);
        snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        f = fopen(path, "r");
        int ppid = 0;
        if (f && fscanf(f, "%*d (%*[^)]) %*c %d", &ppid) == 1 && ppid == getpid() && code && stub)
            found = pid;
        if (f)
            fclose(f);
    }
    closedir(d);
    return found;
}

START_TEST(stub_sees_nothing)
{
    pid_t stub = find_stub();
    ck_assert_int_gt(stub, 0);
    char path[64], line[512];
    snprintf(path, sizeof(path), "/proc/%d/maps", stub);
    FILE *f = fopen(path, "r");
    int n = 0;
    while (fgets(line, sizeof(line), f)) {
        ck_assert_msg(strstr(line, "memfd:test") || strstr(line, "memfd:picket-stub") ||
                          strstr(line, "[vsyscall]"),
                      "%s", line);
        n++;
    }
    fclose(f);
    ck_assert_int_le(n, 6);
    /* Out of the terminal's reach. */
    ck_assert_int_ne(getsid(stub), getsid(0));
    ck_assert_int_ne(getpgid(stub), getpgid(0));
}
END_TEST

static void *kill_spinner(void *arg)
{
    struct spinner *s = arg;
    struct arch_context ac = {0};
    struct switch_event ev;
    s->c = new_context_in(w.as);
    start(&ac, CODE);
    atomic_store(&s->ready, 1);
    ck_assert_int_eq(run(s->c, &ac, &ev), SWITCH_DEAD);
    ck_assert_int_eq(run(s->c, &ac, &ev), SWITCH_DEAD);
    s->c->ops->interrupt(s->c);
    ck_assert_int_eq(s->c->ops->pull_fpu(s->c, &ac), 0);
    free(ac.xstate);
    s->c->ops->release(s->c);
    return NULL;
}

START_TEST(stub_killed)
{
    PUT_CODE(0xeb, 0xfe);
    struct spinner s[3] = {0};
    pthread_t t[3];
    for (int i = 0; i < 3; i++)
        pthread_create(&t[i], NULL, kill_spinner, &s[i]);
    for (int i = 0; i < 3; i++)
        while (!atomic_load(&s[i].ready))
            usleep(100);
    usleep(10000);
    ck_assert_int_eq(kill(find_stub(), SIGKILL), 0);
    for (int i = 0; i < 3; i++)
        pthread_join(t[i], NULL);
    ck_assert_int_lt(map_in(w.as, 0x900000, 1, 1, ACCESS_READ), 0);
    /* Others are not concerned. */
    w.as->ops->release(w.as);
    ck_assert_int_eq(w.p->ops->new_address_space(w.p, &w.as), 0);
    map_code_and_data(w.as);
    PUT_CODE(0x0f, 0x05, 0xeb, 0xfc);
    count_with_syscalls(NULL);
}
END_TEST

START_TEST(master_killed)
{
    /* The master is the child of ours that maps no page of an application. */
    pid_t stub = find_stub(), master = 0;
    for (pid_t pid = stub - 20; pid < stub; pid++)
        if (getsid(pid) == pid && getpgid(stub) == pid)
            master = pid;
    ck_assert_int_gt(master, 0);
    ck_assert_int_eq(kill(master, SIGKILL), 0);
    struct address_space *as[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(w.p->ops->new_address_space(w.p, &as[i]), 0);
    for (int i = 0; i < 4; i++)
        as[i]->ops->release(as[i]);
}
END_TEST

START_TEST(signals_from_outside)
{
    PUT_CODE(0xeb, 0xfe);
    struct spinner s = {0};
    pthread_t t;
    pthread_create(&t, NULL, spin, &s);
    while (!atomic_load(&s.ready))
        usleep(100);
    pid_t stub = find_stub();
    static const int signals[] = {SIGTERM, SIGINT,  SIGUSR1, SIGUSR2, SIGSTOP, SIGTSTP,
                                  SIGSEGV, SIGTRAP, SIGCHLD, SIGALRM, SIGHUP,  SIGCONT};
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
            kill(stub, signals[i]);
            usleep(500);
        }
    long seen = atomic_load(&s.interrupted);
    ck_assert_int_eq(seen, 0);
    s.c->ops->interrupt(s.c);
    wait_until(&s.interrupted, 1);
    /* A stopped keeper is set going again by whoever needs it. */
    kill(stub, SIGSTOP);
    ck_assert_int_eq(map_in(w.as, 0x900000, 1, 1, ACCESS_READ), 0);
    finish(&s, t);
    kill(stub, SIGSTOP);
    usleep(1000);
    ck_assert_int_eq(map_in(w.as, 0x900000, 1, 2, ACCESS_READ), 0);
}
END_TEST

START_TEST(cycles)
{
    PUT_CODE(0x0f, 0x05, 0xeb, 0xfc);
    struct address_space *first = w.as;
    int descriptors = 0, children = 0;
    for (int i = 0; i < 1000; i++) {
        struct address_space *many[12];
        int n = i % 100 == 0 ? 12 : 1;
        for (int k = 0; k < n; k++)
            ck_assert_int_eq(w.p->ops->new_address_space(w.p, &many[k]), 0);
        w.as = many[n - 1];
        map_code_and_data(w.as);
        struct context *c = new_context_in(w.as);
        struct arch_context ac = {0};
        struct switch_event ev;
        start(&ac, CODE);
        ck_assert_int_eq(run(c, &ac, &ev), SWITCH_SYSCALL);
        c->ops->release(c);
        for (int k = 0; k < n; k++)
            many[k]->ops->release(many[k]);
        if (i == 0) {
            descriptors = count_entries("/proc/self/fd");
            children = count_children(getpid());
        }
    }
    ck_assert_int_le(count_entries("/proc/self/fd"), descriptors);
    ck_assert_int_le(count_children(getpid()), children);
    w.as = first;
    w.as->ops->release(w.as);
    /* Threads that come and go leave none in the stub. */
    ck_assert_int_eq(w.p->ops->new_address_space(w.p, &w.as), 0);
    map_code_and_data(w.as);
    for (int i = 0; i < 50; i++) {
        pthread_t t;
        pthread_create(&t, NULL, count_with_syscalls, NULL);
        pthread_join(t, NULL);
    }
    usleep(20000);
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/task", find_stub());
    ck_assert_int_le(count_entries(path), 2 + 3);
}
END_TEST

START_TEST(whole_platform_cycles)
{
    tear_down();
    char why[200];
    int descriptors = count_entries("/proc/self/fd");
    for (int i = 0; i < 20; i++)
        ck_assert_msg(ptrace_platform_type.self_test(why, sizeof(why)) == 0, "%s", why);
    ck_assert_int_eq(count_entries("/proc/self/fd"), descriptors);
    ck_assert_int_eq(count_children(getpid()), 0);
    /* Threads that were pinned are free again. */
    cpu_set_t ours, given;
    sched_getaffinity(0, sizeof(ours), &ours);
    sched_getaffinity(getppid(), sizeof(given), &given);
    ck_assert(CPU_EQUAL(&ours, &given));
    set_up();
}
END_TEST

/* A sentry with stubs in every state, that waits to be killed. */
static NORETURN void victim(int ready)
{
    set_up();
    PUT_CODE(0xeb, 0xfe);
    struct spinner s = {0};
    pthread_t t;
    pthread_create(&t, NULL, spin, &s);
    while (!atomic_load(&s.ready))
        usleep(100);
    struct address_space *idle[3];
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(w.p->ops->new_address_space(w.p, &idle[i]), 0);
    idle[0]->ops->release(idle[0]);
    new_context_in(idle[1]);
    pid_t session = getsid(find_stub());
    if (write(ready, &session, sizeof(session)) != sizeof(session))
        _exit(1);
    for (;;)
        pause();
}

static int count_session(pid_t session)
{
    DIR *d = opendir("/proc");
    struct dirent *e;
    int n = 0;
    while ((e = readdir(d))) {
        pid_t pid = atoi(e->d_name);
        char path[64], state = 'Z';
        snprintf(path, sizeof(path), "/proc/%d/stat", pid);
        FILE *f = pid > 0 && getsid(pid) == session ? fopen(path, "r") : NULL;
        if (f && fscanf(f, "%*d (%*[^)]) %c", &state) == 1 && state != 'Z')
            n++;
        if (f)
            fclose(f);
    }
    closedir(d);
    return n;
}

START_TEST(sentry_killed)
{
    tear_down(); /* so that what forks has one thread */
    for (int i = 0; i < 5; i++) {
        int ready[2];
        ck_assert_int_eq(pipe(ready), 0);
        pid_t pid = fork();
        if (pid == 0)
            victim(ready[1]);
        pid_t session;
        ck_assert_int_eq(read(ready[0], &session, sizeof(session)), sizeof(session));
        ck_assert_int_ge(count_session(session), 4);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        int tries = 0;
        while (count_session(session) > 0 && tries++ < 200)
            usleep(10000);
        ck_assert_int_eq(count_session(session), 0);
        close(ready[0]);
        close(ready[1]);
    }
    set_up();
}
END_TEST

int main(void)
{
    const struct test_case cases[] = {
        {"host", {stub_sees_nothing, stub_killed, master_killed, signals_from_outside}},
        {"leftovers", {cycles, whole_platform_cycles, sentry_killed}},
    };
    return run_suite("ptrace_host", cases, ARRAY_SIZE(cases));
}
