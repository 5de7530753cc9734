/* nanosleep(2), clock_nanosleep(2), setitimer(2), alarm(2), timer_create(2). */
#include "tests/syscalls/test.h"
#include <pthread.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/times.h>
#include <time.h>

static int64_t now_ns(clockid_t c)
{
    struct timespec ts;
    EXPECT_OK(clock_gettime(c, &ts));
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}
static struct timespec ts_of(int64_t ns)
{
    return (struct timespec){ns / 1000000000, ns % 1000000000};
}
static volatile sig_atomic_t count;
static volatile siginfo_t seen;
static void on_info(int sig, siginfo_t *info, void *uc)
{
    (void)sig;
    (void)uc;
    *(siginfo_t *)&seen = *info;
    count++;
}
static void catch (int sig, int flags)
{
    struct sigaction sa = {.sa_sigaction = on_info, .sa_flags = SA_SIGINFO | flags};
    EXPECT_OK(sigaction(sig, &sa, NULL));
}
#define MS 1000000ll

CASE(nanosleep_errors)
{
    struct timespec ts = {0, 1000000000};
    EXPECT_ERRNO(EINVAL, nanosleep(&ts, NULL));
    ts = (struct timespec){0, -1};
    EXPECT_ERRNO(EINVAL, nanosleep(&ts, NULL));
    ts = (struct timespec){-1, 0};
    EXPECT_ERRNO(EINVAL, nanosleep(&ts, NULL));
    EXPECT_ERRNO(EFAULT, nanosleep((void *)8, NULL));
    ts = (struct timespec){0, 0};
    EXPECT_OK(nanosleep(&ts, NULL));
    EXPECT_ERRNO(EINVAL, syscall(SYS_clock_nanosleep, 99, 0, &ts, NULL));
    EXPECT_ERRNO(EOPNOTSUPP, syscall(SYS_clock_nanosleep, CLOCK_THREAD_CPUTIME_ID, 0, &ts, NULL));
    EXPECT_ERRNO(EOPNOTSUPP, syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC_COARSE, 0, &ts, NULL));
    EXPECT_ERRNO(EOPNOTSUPP, syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC_RAW, 0, &ts, NULL));
}

CASE(sleeps_long_enough)
{
    static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI};
    for (int i = 0; i < 4; i++) {
        int64_t t0 = now_ns(clocks[i]);
        struct timespec ts = ts_of(10 * MS);
        EXPECT_OK(syscall(SYS_clock_nanosleep, clocks[i], 0, &ts, NULL));
        EXPECT_GE(now_ns(clocks[i]) - t0, 10 * MS);
        EXPECT_LT(now_ns(clocks[i]) - t0, 2000 * MS);
        t0 = now_ns(clocks[i]) + 10 * MS;
        ts = ts_of(t0);
        EXPECT_OK(syscall(SYS_clock_nanosleep, clocks[i], TIMER_ABSTIME, &ts, NULL));
        EXPECT_GE(now_ns(clocks[i]), t0);
        ts = ts_of(1);
        EXPECT_OK(syscall(SYS_clock_nanosleep, clocks[i], TIMER_ABSTIME, &ts, NULL));
    }
}

CASE(interrupted_sleep_tells_the_rest)
{
    struct timespec ts = {5, 0}, rem = {0, 0};
    catch (SIGALRM, SA_RESTART);
    ualarm(20000, 0);
    EXPECT_ERRNO(EINTR, nanosleep(&ts, &rem));
    EXPECT_EQ(rem.tv_sec, 4);
    EXPECT_GT(rem.tv_nsec, 0);
    ualarm(20000, 0);
    EXPECT_ERRNO(EINTR, nanosleep(&ts, NULL));
    ts = ts_of(now_ns(CLOCK_MONOTONIC) + 5000 * MS);
    ualarm(20000, 0);
    EXPECT_ERRNO(EINTR, syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, &rem));
}

CASE(sleep_goes_on_after_stop)
{
    pid_t p = FORK({
        struct timespec ts = {0, 200000000};
        int64_t t0 = now_ns(CLOCK_MONOTONIC);
        EXPECT_OK(nanosleep(&ts, NULL));
        EXPECT_GE(now_ns(CLOCK_MONOTONIC) - t0, 200 * MS);
        EXPECT_LT(now_ns(CLOCK_MONOTONIC) - t0, 1500 * MS);
    });
    for (int i = 0; i < 3; i++) {
        usleep(20000);
        kill(p, SIGSTOP);
        usleep(10000);
        kill(p, SIGCONT);
    }
    EXPECT_EXITED(p, 0);
}

CASE(alarm_returns_what_was_left)
{
    EXPECT_EQ(alarm(100), 0);
    EXPECT_EQ(alarm(50), 100);
    EXPECT_EQ(alarm(0), 50);
    EXPECT_EQ(alarm(0), 0);
    EXPECT_KILLED(FORK({
                      signal(SIGALRM, SIG_DFL);
                      ualarm(10000, 0);
                      pause();
                  }),
                  SIGALRM);
}

CASE(itimer_real)
{
    struct itimerval it = {{0, 10000}, {0, 10000}}, old;
    catch (SIGALRM, 0);
    EXPECT_ERRNO(EINVAL, setitimer(3, &it, NULL));
    EXPECT_ERRNO(EINVAL, getitimer(-1, &old));
    EXPECT_ERRNO(EFAULT, getitimer(ITIMER_REAL, (void *)8));
    struct itimerval bad = {{0, 0}, {0, 1000000}};
    EXPECT_ERRNO(EINVAL, setitimer(ITIMER_REAL, &bad, NULL));
    EXPECT_OK(setitimer(ITIMER_REAL, &it, NULL));
    while (count < 5)
        pause();
    EXPECT_EQ(seen.si_code, SI_KERNEL);
    EXPECT_OK(getitimer(ITIMER_REAL, &old));
    EXPECT_EQ(old.it_interval.tv_usec, 10000);
    EXPECT_LE(old.it_value.tv_usec, 10000);
    it = (struct itimerval){{0, 0}, {0, 0}};
    EXPECT_OK(setitimer(ITIMER_REAL, &it, &old));
    EXPECT_EQ(old.it_interval.tv_usec, 10000);
    EXPECT_OK(getitimer(ITIMER_REAL, &old));
    EXPECT_EQ(old.it_value.tv_sec + old.it_value.tv_usec, 0);
}

static void spin(int64_t ns)
{
    int64_t t0 = now_ns(CLOCK_MONOTONIC);
    while (now_ns(CLOCK_MONOTONIC) - t0 < ns) {
    }
}

CASE(itimer_of_cpu_time)
{
    struct itimerval it = {{0, 0}, {0, 20000}};
    catch (SIGPROF, 0);
    catch (SIGVTALRM, 0);
    EXPECT_OK(setitimer(ITIMER_PROF, &it, NULL));
    usleep(60000); /* asleep: no time passes */
    EXPECT_EQ(count, 0);
    for (int i = 0; i < 100 && !count; i++)
        spin(50 * MS);
    EXPECT_EQ(count, 1);
    EXPECT_EQ(seen.si_signo, SIGPROF);
    EXPECT_OK(setitimer(ITIMER_VIRTUAL, &it, NULL));
    for (int i = 0; i < 100 && count < 2; i++)
        spin(50 * MS);
    EXPECT_EQ(seen.si_signo, SIGVTALRM);
}

CASE(posix_timer_errors)
{
    timer_t t;
    int id = 0;
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = 65};
    EXPECT_ERRNO(EINVAL, syscall(SYS_timer_create, 99, NULL, &id));
    EXPECT_ERRNO(EINVAL, syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
    ev.sigev_notify = 77;
    EXPECT_ERRNO(EINVAL, syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
    EXPECT_ERRNO(EFAULT, syscall(SYS_timer_create, CLOCK_MONOTONIC, (void *)8, &id));
    EXPECT_ERRNO(EFAULT, syscall(SYS_timer_create, CLOCK_MONOTONIC, NULL, (void *)8));
    EXPECT_ERRNO(EINVAL, syscall(SYS_timer_delete, 12345));
    EXPECT_ERRNO(EINVAL, syscall(SYS_timer_getoverrun, 12345));
    struct itimerspec its = {{0, 0}, {0, 1000000000}};
    EXPECT_OK(timer_create(CLOCK_MONOTONIC, NULL, &t));
    EXPECT_ERRNO(EINVAL, timer_settime(t, 0, &its, NULL));
    EXPECT_ERRNO(EINVAL, syscall(SYS_timer_settime, 12345, 0, &its, NULL));
    EXPECT_OK(timer_delete(t));
    EXPECT_ERRNO(EINVAL, timer_delete(t));
}

CASE(posix_timer_signal)
{
    timer_t t;
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN};
    ev.sigev_value.sival_int = 4711;
    catch (SIGRTMIN, 0);
    EXPECT_OK(timer_create(CLOCK_REALTIME, &ev, &t));
    struct itimerspec its = {{0, 10 * MS}, {0, 10 * MS}}, now;
    EXPECT_OK(timer_settime(t, 0, &its, NULL));
    while (count < 4)
        pause();
    EXPECT_EQ(seen.si_code, SI_TIMER);
    EXPECT_EQ(seen.si_value.sival_int, 4711);
    EXPECT_OK(timer_gettime(t, &now));
    EXPECT_EQ(now.it_interval.tv_nsec, 10 * MS);
    EXPECT_LE(now.it_value.tv_nsec, 10 * MS);
    EXPECT_GT(now.it_value.tv_nsec, 0);
    EXPECT_OK(timer_delete(t));
    int was = count;
    usleep(30000);
    EXPECT_EQ(count, was);
}

CASE(posix_timer_default_event)
{
    timer_t t;
    catch (SIGALRM, 0);
    EXPECT_OK(timer_create(CLOCK_MONOTONIC, NULL, &t));
    struct itimerspec its = {{0, 0}, {0, 5 * MS}};
    EXPECT_OK(timer_settime(t, 0, &its, NULL));
    while (!count)
        pause();
    EXPECT_EQ(seen.si_signo, SIGALRM);
    struct itimerspec now;
    EXPECT_OK(timer_gettime(t, &now));
    EXPECT_EQ(now.it_value.tv_sec + now.it_value.tv_nsec, 0);
}

CASE(posix_timer_absolute)
{
    timer_t t;
    catch (SIGALRM, 0);
    EXPECT_OK(timer_create(CLOCK_MONOTONIC, NULL, &t));
    int64_t when = now_ns(CLOCK_MONOTONIC) + 20 * MS;
    struct itimerspec its = {{0, 0}, ts_of(when)};
    EXPECT_OK(timer_settime(t, TIMER_ABSTIME, &its, NULL));
    while (!count)
        pause();
    EXPECT_GE(now_ns(CLOCK_MONOTONIC), when);
    count = 0;
    its.it_value = ts_of(1);
    EXPECT_OK(timer_settime(t, TIMER_ABSTIME, &its, NULL));
    for (int i = 0; i < 1000 && !count; i++)
        usleep(1000);
    EXPECT_EQ(count, 1);
}

CASE(posix_timer_overrun)
{
    timer_t t;
    sigset_t set;
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    catch (SIGUSR1, 0);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    EXPECT_OK(timer_create(CLOCK_MONOTONIC, &ev, &t));
    struct itimerspec its = {{0, 1 * MS}, {0, 1 * MS}}, off = {{0, 0}, {0, 0}};
    EXPECT_OK(timer_settime(t, 0, &its, NULL));
    usleep(50000);
    siginfo_t info;
    EXPECT_EQ(sigwaitinfo(&set, &info), SIGUSR1);
    EXPECT_GE(info.si_overrun, 30);
    EXPECT_EQ(timer_getoverrun(t), info.si_overrun);
    EXPECT_OK(timer_settime(t, 0, &off, NULL));
}

static void *spin_thread(void *arg)
{
    spin(100 * MS);
    return arg;
}
CASE(cpu_clocks)
{
    int64_t p0 = now_ns(CLOCK_PROCESS_CPUTIME_ID), t0 = now_ns(CLOCK_THREAD_CPUTIME_ID);
    spin(100 * MS);
    int64_t p1 = now_ns(CLOCK_PROCESS_CPUTIME_ID), t1 = now_ns(CLOCK_THREAD_CPUTIME_ID);
    EXPECT_GT(p1 - p0, 5 * MS);
    EXPECT_GT(t1 - t0, 5 * MS);
    pthread_t th;
    pthread_create(&th, NULL, spin_thread, NULL);
    pthread_join(th, NULL);
    EXPECT_GT(now_ns(CLOCK_PROCESS_CPUTIME_ID) - p1, 5 * MS);
    EXPECT_LT(now_ns(CLOCK_THREAD_CPUTIME_ID) - t1, 60 * MS);
    struct rusage ru;
    EXPECT_OK(getrusage(RUSAGE_SELF, &ru));
    EXPECT_GT(ru.ru_utime.tv_sec * 1000000 + ru.ru_utime.tv_usec + ru.ru_stime.tv_sec * 1000000 +
                  ru.ru_stime.tv_usec,
              5000);
    struct tms tms;
    EXPECT_NE(times(&tms), (clock_t)-1);
    EXPECT_GT(tms.tms_utime + tms.tms_stime, 0);
    clockid_t c;
    EXPECT_EQ(clock_getcpuclockid(0, &c), 0);
    EXPECT_GT(now_ns(c), 0);
    EXPECT_EQ(pthread_getcpuclockid(pthread_self(), &c), 0);
    EXPECT_GT(now_ns(c), 0);
}

CASE(clocks_cannot_be_set)
{
    struct timespec ts = {1000000000, 0};
    if (geteuid() == 0 && setuid(54321) < 0)
        SKIP("cannot leave root");
    EXPECT_ERRNO(EPERM, clock_settime(CLOCK_REALTIME, &ts));
    EXPECT_ERRNO(EINVAL, clock_settime(CLOCK_MONOTONIC, &ts));
    struct timeval tv = {1000000000, 0};
    EXPECT_ERRNO(EPERM, settimeofday(&tv, NULL));
}

static void *thread_target(void *arg)
{
    *(volatile pid_t *)arg = gettid();
    while (!count)
        pause();
    return NULL;
}
CASE(posix_timer_for_a_thread)
{
    volatile pid_t tid = 0;
    pthread_t th;
    catch (SIGUSR2, 0);
    pthread_create(&th, NULL, thread_target, (void *)&tid);
    while (!tid)
        usleep(1000);
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL | SIGEV_THREAD_ID, .sigev_signo = SIGUSR2};
    ev._sigev_un._tid = tid;
    int id;
    EXPECT_OK(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
    struct itimerspec its = {{0, 0}, {0, 5 * MS}};
    EXPECT_OK(syscall(SYS_timer_settime, id, 0, &its, NULL));
    pthread_join(th, NULL);
    EXPECT_EQ(count, 1);
    ev._sigev_un._tid = 1;
    EXPECT_ERRNO(EINVAL, syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id));
}

CASE(timers_end_with_exec_and_are_not_inherited)
{
    timer_t t;
    EXPECT_OK(timer_create(CLOCK_MONOTONIC, NULL, &t));
    pid_t p = FORK({
        struct itimerspec its;
        EXPECT_ERRNO(EINVAL, timer_gettime(t, &its));
    });
    EXPECT_EXITED(p, 0);
}
CASE(timers_count_as_pending_signals)
{
    struct rlimit none = {0, 0};
    timer_t id;
    EXPECT_OK(timer_create(CLOCK_MONOTONIC, NULL, &id));
    EXPECT_OK(timer_delete(id));
    EXPECT_OK(setrlimit(RLIMIT_SIGPENDING, &none));
    EXPECT_ERRNO(EAGAIN, timer_create(CLOCK_MONOTONIC, NULL, &id));
}

TEST_MAIN
