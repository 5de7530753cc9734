#include "sentry/kernel/posix_timers.h"
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include "sentry/kernel/timer.h"
#include <stdlib.h>
#include <string.h>

#define MAX_TIMERS 16384
/* How long an ignored periodic timer waits at least, and between two looks at a CPU clock. */
#define IGNORED_PERIOD_NS 4000000
#define CPU_POLL_MIN_NS 1000000

/* All but the constants: SIGHAND of the process. */
struct posix_timer {
    struct refcount ref;
    struct ktimer ktimer;
    struct list_head link; /* timer_set.timers */
    struct kernel *kernel;
    struct thread_group *tg; /* outlives its timers: posix_timers_exit */
    int id;
    clockid_t clock;
    int notify;
    struct task *target;   /* SIGEV_THREAD_ID: referenced; or NULL */
    struct task *cpu_task; /* the CPU clock of one thread: referenced; or NULL */
    bool armed, deleted;
    int64_t expires; /* on `clock` */
    int64_t interval;
    int64_t overrun, last_overrun;
    struct sigqueue entry;
};

struct itimer {
    struct ktimer ktimer;
    struct thread_group *tg;
    int which;
    bool armed, waits_for_taking;
    int64_t expires, interval; /* real: host monotonic; else the CPU clock */
};

struct timer_set {
    struct list_head timers;
    int next_id, count;
    struct itimer itimers[3];
};

/* ---- clocks ---- */

static int64_t group_cpu(struct thread_group *tg, bool user_only)
{
    struct rusage u;
    thread_group_usage(tg, &u);
    int64_t ns = u.ru_utime.tv_sec * 1000000000ll + u.ru_utime.tv_usec * 1000ll;
    if (!user_only)
        ns += u.ru_stime.tv_sec * 1000000000ll + u.ru_stime.tv_usec * 1000ll;
    return ns;
}

static int64_t thread_cpu(struct task *t, bool user_only)
{
    uint64_t user, system;
    task_cpu_time(t, &user, &system);
    return (int64_t)(user_only ? user : user + system);
}

/* The dynamic clocks of clock_getcpuclockid(3): ~id << 3 | 4 for a thread | 0..2. */
#define CPU_CLOCK_THREAD 4
#define CPU_CLOCK_KIND 3
static int64_t dynamic_clock_now(struct task *t, clockid_t id)
{
    pid_t nr = ~(id >> 3);
    bool user_only = (id & CPU_CLOCK_KIND) == 1;
    if ((id & CPU_CLOCK_KIND) == 3)
        return -EINVAL;
    if (id & CPU_CLOCK_THREAD) {
        struct task *other = nr == 0 ? task_get(t) : task_find_for(t, nr);
        int64_t ns = other && other->tg == t->tg ? thread_cpu(other, user_only) : -EINVAL;
        task_put(other);
        return ns;
    }
    struct thread_group *tg = nr == 0 ? thread_group_get(t->tg) : thread_group_find_for(t, nr);
    int64_t ns = tg ? group_cpu(tg, user_only) : -EINVAL;
    thread_group_put(tg);
    return ns;
}

int64_t task_clock_now(struct task *t, clockid_t id)
{
    if (id < 0)
        return dynamic_clock_now(t, id);
    switch (id) {
    case CLOCK_PROCESS_CPUTIME_ID:
        return group_cpu(t->tg, false);
    case CLOCK_THREAD_CPUTIME_ID:
        return thread_cpu(t, false);
    default:
        return clock_now(&t->kernel->clock, id);
    }
}

static bool is_cpu_clock(clockid_t id)
{
    return id < 0 || id == CLOCK_PROCESS_CPUTIME_ID || id == CLOCK_THREAD_CPUTIME_ID;
}

/* The timer's clock. No lock held. */
static int64_t timer_now(struct posix_timer *pt)
{
    if (!is_cpu_clock(pt->clock))
        return clock_now(&pt->tg->kernel->clock, pt->clock);
    bool user_only = pt->clock < 0 && (pt->clock & CPU_CLOCK_KIND) == 1;
    return pt->cpu_task ? thread_cpu(pt->cpu_task, user_only) : group_cpu(pt->tg, user_only);
}

/* When to look next. SIGHAND held; now: of the timer's clock. */
static void arm_ktimer(struct posix_timer *pt, int64_t now)
{
    if (!is_cpu_clock(pt->clock)) {
        ktimer_arm(&pt->ktimer,
                   clock_host_monotonic(&pt->tg->kernel->clock, pt->clock, pt->expires));
        return;
    }
    int64_t left = MAX(pt->expires - now, (int64_t)CPU_POLL_MIN_NS);
    ktimer_arm(&pt->ktimer, ktime_after(left / MAX(pt->tg->live_tasks, 1)));
}

/* ---- POSIX timers ---- */

static void posix_timer_put(struct posix_timer *pt)
{
    if (!ref_put(&pt->ref))
        return;
    task_put(pt->target);
    task_put(pt->cpu_task);
    atomic_fetch_sub_explicit(&pt->kernel->sigqueued, 1, memory_order_relaxed);
    free(pt);
}

/* Moves expires beyond now and returns how many periods went by, beside the one that fired. */
static int64_t forward(struct posix_timer *pt, int64_t now)
{
    if (pt->interval <= 0)
        return 0;
    int64_t missed = now > pt->expires ? (now - pt->expires) / pt->interval : 0;
    int64_t step;
    if (__builtin_mul_overflow(missed + 1, pt->interval, &step) ||
        __builtin_add_overflow(pt->expires, step, &pt->expires))
        pt->expires = INT64_MAX;
    return missed;
}

static void go_on(struct posix_timer *pt, int64_t now, int64_t not_before)
{
    if (pt->interval <= 0 || pt->deleted) {
        pt->armed = false;
        return;
    }
    pt->overrun += forward(pt, now);
    pt->expires = MAX(pt->expires, not_before);
    arm_ktimer(pt, now);
}

static void posix_timer_fire(struct ktimer *kt)
{
    struct posix_timer *pt = container_of(kt, struct posix_timer, ktimer);
    int64_t now = timer_now(pt);
    MUTEX_GUARD(&pt->tg->sighand_lock);
    if (pt->deleted || !pt->armed)
        return;
    if (now < pt->expires) {
        arm_ktimer(pt, now);
        return;
    }
    if (pt->notify == SIGEV_NONE) {
        go_on(pt, now, 0);
        return;
    }
    pt->entry.info.si_overrun = 0;
    switch (
        signal_send_timer(pt->tg, pt->notify == SIGEV_THREAD_ID ? pt->target : NULL, &pt->entry)) {
    case TIMER_QUEUED:
        ref_get(&pt->ref);
        if (pt->interval <= 0)
            pt->armed = false;
        break;
    case TIMER_STILL_QUEUED:
        pt->overrun++;
        pt->armed = pt->interval > 0;
        break;
    case TIMER_IGNORED:
        go_on(pt, now, now + IGNORED_PERIOD_NS);
        break;
    }
}

void posix_timer_taken(struct posix_timer *pt, siginfo_t *info)
{
    int64_t now = timer_now(pt);
    {
        MUTEX_GUARD(&pt->tg->sighand_lock);
        if (!pt->deleted && pt->armed && pt->interval > 0) {
            go_on(pt, now, 0);
        }
        pt->last_overrun = MIN(pt->overrun, (int64_t)INT32_MAX);
        pt->overrun = 0;
        info->si_overrun = (int)pt->last_overrun;
    }
    posix_timer_put(pt);
}

void posix_timer_discard(struct posix_timer *pt)
{
    /* Its signal is ignored from now on: it goes on, slowly, in case that changes. */
    if (!pt->deleted && pt->armed && pt->interval > 0)
        ktimer_arm(&pt->ktimer, ktime_after(IGNORED_PERIOD_NS));
    posix_timer_put(pt);
}

/* The process's set, made when first needed. */
static struct timer_set *get_set(struct task *t);

static struct posix_timer *find_timer(struct thread_group *tg, int id)
{
    struct posix_timer *pt;
    if (!tg->timers)
        return NULL;
    list_for_each (pt, &tg->timers->timers, link) {
        if (pt->id == id)
            return pt;
    }
    return NULL;
}

static int check_event(struct task *t, const struct sigevent *ev, struct task **target)
{
    *target = NULL;
    switch (ev->sigev_notify) {
    case SIGEV_NONE:
        return 0;
    case SIGEV_SIGNAL:
    case SIGEV_THREAD:
        break;
    case SIGEV_THREAD_ID | SIGEV_SIGNAL:
        *target = task_find_for(t, ev->_sigev_un._tid);
        if (!*target || (*target)->tg != t->tg) {
            task_put(*target);
            *target = NULL;
            return -EINVAL;
        }
        break;
    default:
        return -EINVAL;
    }
    if (ev->sigev_signo < 1 || ev->sigev_signo > SIG_MAX) {
        task_put(*target);
        *target = NULL;
        return -EINVAL;
    }
    return 0;
}

/* The thread whose CPU clock it is. */
static int check_clock(struct task *t, clockid_t clock, struct task **cpu_task)
{
    *cpu_task = NULL;
    if (clock == CLOCK_MONOTONIC_RAW || clock == CLOCK_REALTIME_COARSE ||
        clock == CLOCK_MONOTONIC_COARSE)
        return -EOPNOTSUPP;
    int64_t now = task_clock_now(t, clock);
    if (now < 0)
        return (int)now;
    if (clock == CLOCK_THREAD_CPUTIME_ID)
        *cpu_task = task_get(t);
    else if (clock < 0 && (clock & CPU_CLOCK_THREAD))
        *cpu_task = ~(clock >> 3) == 0 ? task_get(t) : task_find_for(t, ~(clock >> 3));
    else if (clock < 0 && ~(clock >> 3) != 0 && ~(clock >> 3) != t->tg->own_tgid)
        return -EINVAL;
    return 0;
}

static struct posix_timer *make_timer(struct task *t, clockid_t clock, const struct sigevent *ev)
{
    /* The signal that it may send is set aside now. */
    uint64_t limit = task_rlimit(t, RLIMIT_SIGPENDING);
    int queued = atomic_fetch_add_explicit(&t->kernel->sigqueued, 1, memory_order_relaxed);
    struct posix_timer *pt = (uint64_t)queued < limit ? calloc(1, sizeof(*pt)) : NULL;
    if (!pt) {
        atomic_fetch_sub_explicit(&t->kernel->sigqueued, 1, memory_order_relaxed);
        return NULL;
    }
    ref_init(&pt->ref);
    pt->kernel = t->kernel;
    pt->tg = t->tg;
    pt->clock = clock;
    pt->notify =
        ev->sigev_notify == (SIGEV_THREAD_ID | SIGEV_SIGNAL) ? SIGEV_THREAD_ID : ev->sigev_notify;
    ktimer_init(&pt->ktimer, t->kernel, posix_timer_fire);
    list_init(&pt->link);
    list_init(&pt->entry.link);
    pt->entry.timer = pt;
    pt->entry.info.si_signo = ev->sigev_signo;
    pt->entry.info.si_code = SI_TIMER;
    pt->entry.info.si_value = ev->sigev_value;
    return pt;
}

/* Gives pt its number. SIGHAND held. */
static int number_timer(struct timer_set *ts, struct thread_group *tg, struct posix_timer *pt)
{
    if (ts->count >= MAX_TIMERS)
        return -EAGAIN;
    while (find_timer(tg, ts->next_id))
        ts->next_id = (ts->next_id + 1) & INT32_MAX;
    pt->id = ts->next_id;
    pt->entry.info.si_timerid = pt->id;
    ts->next_id = (ts->next_id + 1) & INT32_MAX;
    ts->count++;
    list_add_tail(&ts->timers, &pt->link);
    return 0;
}

long posix_timer_create(struct task *t, clockid_t clock, const struct sigevent *ev, int *id)
{
    const struct sigevent usual = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    struct task *target, *cpu_task;
    int err = check_clock(t, clock, &cpu_task);
    if (err)
        return err;
    err = check_event(t, ev ? ev : &usual, &target);
    if (!err)
        err = ktimer_prepare(t->kernel);
    struct timer_set *ts = err ? NULL : get_set(t);
    struct posix_timer *pt = ts ? make_timer(t, clock, ev ? ev : &usual) : NULL;
    if (!pt) {
        task_put(target);
        task_put(cpu_task);
        return err ? err : -EAGAIN;
    }
    pt->target = target;
    pt->cpu_task = cpu_task;
    {
        MUTEX_GUARD(&t->tg->sighand_lock);
        err = number_timer(ts, t->tg, pt);
        if (!ev)
            pt->entry.info.si_value.sival_int = pt->id;
        *id = pt->id;
    }
    if (err)
        posix_timer_put(pt);
    return err;
}

/* Takes pt out of the world. SIGHAND held; the caller cancels its ktimer and drops the reference
 * afterwards. */
static void unlink_timer(struct thread_group *tg, struct posix_timer *pt)
{
    pt->deleted = true;
    pt->armed = false;
    list_del(&pt->link);
    tg->timers->count--;
    struct task *target = pt->notify == SIGEV_THREAD_ID ? pt->target : NULL;
    if (signal_unqueue_timer(tg, target, &pt->entry))
        posix_timer_put(pt);
}

long posix_timer_delete(struct task *t, int id)
{
    struct posix_timer *pt;
    {
        MUTEX_GUARD(&t->tg->sighand_lock);
        pt = find_timer(t->tg, id);
        if (!pt)
            return -EINVAL;
        unlink_timer(t->tg, pt);
    }
    ktimer_cancel(&pt->ktimer);
    posix_timer_put(pt);
    return 0;
}

/* A reference to the timer, or NULL. */
static struct posix_timer *get_timer(struct task *t, int id)
{
    MUTEX_GUARD(&t->tg->sighand_lock);
    struct posix_timer *pt = find_timer(t->tg, id);
    if (pt)
        ref_get(&pt->ref);
    return pt;
}

/* What timer_gettime says: a timer that has fired without interval reads 0; one that is due never
 * does. SIGHAND held. */
static void read_timer(struct posix_timer *pt, int64_t now, int64_t *value, int64_t *interval)
{
    *interval = pt->interval;
    *value = 0;
    if (!pt->armed)
        return;
    int64_t expires = pt->expires;
    if (expires <= now && pt->interval > 0)
        expires += ((now - expires) / pt->interval + 1) * pt->interval;
    if (expires > now)
        *value = expires - now;
    else if (pt->notify != SIGEV_NONE)
        *value = 1;
}

long posix_timer_set(struct task *t, int id, bool absolute, int64_t value, int64_t interval,
                     int64_t *old_value, int64_t *old_interval)
{
    struct posix_timer *pt = get_timer(t, id);
    if (!pt)
        return -EINVAL;
    int64_t now = timer_now(pt);
    {
        MUTEX_GUARD(&t->tg->sighand_lock);
        read_timer(pt, now, old_value, old_interval);
        ktimer_disarm(&pt->ktimer);
        pt->overrun = pt->last_overrun = 0;
        pt->armed = value > 0 && !pt->deleted;
        pt->interval = interval;
        if (absolute)
            pt->expires = value;
        else if (__builtin_add_overflow(now, value, &pt->expires))
            pt->expires = INT64_MAX;
        if (pt->armed)
            arm_ktimer(pt, now);
    }
    posix_timer_put(pt);
    return 0;
}

long posix_timer_get(struct task *t, int id, int64_t *value, int64_t *interval)
{
    struct posix_timer *pt = get_timer(t, id);
    if (!pt)
        return -EINVAL;
    int64_t now = timer_now(pt);
    {
        MUTEX_GUARD(&t->tg->sighand_lock);
        read_timer(pt, now, value, interval);
    }
    posix_timer_put(pt);
    return 0;
}

long posix_timer_overrun(struct task *t, int id)
{
    MUTEX_GUARD(&t->tg->sighand_lock);
    struct posix_timer *pt = find_timer(t->tg, id);
    return pt ? (long)pt->last_overrun : -EINVAL;
}

/* ---- interval timers ---- */

static int64_t itimer_now(struct itimer *it)
{
    if (it->which == ITIMER_REAL)
        return ktime_now();
    return group_cpu(it->tg, it->which == ITIMER_VIRTUAL);
}

/* SIGHAND held. A CPU clock cannot run faster than the process has threads. */
static void arm_itimer(struct itimer *it, int64_t now)
{
    if (it->which == ITIMER_REAL) {
        ktimer_arm(&it->ktimer, it->expires);
        return;
    }
    int64_t left = MAX(it->expires - now, (int64_t)CPU_POLL_MIN_NS);
    ktimer_arm(&it->ktimer, ktime_after(left / MAX(it->tg->live_tasks, 1)));
}

static void forward_itimer(struct itimer *it, int64_t now)
{
    int64_t missed = now > it->expires ? (now - it->expires) / it->interval : 0;
    int64_t step;
    if (__builtin_mul_overflow(missed + 1, it->interval, &step) ||
        __builtin_add_overflow(it->expires, step, &it->expires))
        it->expires = INT64_MAX;
}

static void itimer_fire(struct ktimer *kt)
{
    static const int signals[] = {SIGALRM, SIGVTALRM, SIGPROF};
    struct itimer *it = container_of(kt, struct itimer, ktimer);
    struct thread_group *tg = it->tg;
    int64_t now = itimer_now(it);
    MUTEX_GUARD(&tg->sighand_lock);
    if (!it->armed)
        return;
    if (now < it->expires) {
        arm_itimer(it, now);
        return;
    }
    siginfo_t info;
    siginfo_kernel(&info, signals[it->which]);
    (void)signal_send_locked(tg, NULL, signals[it->which], &info);
    if (it->interval <= 0) {
        it->armed = false;
    } else if (it->which == ITIMER_REAL) {
        it->waits_for_taking = true;
    } else {
        forward_itimer(it, now);
        arm_itimer(it, now);
    }
}

void posix_timers_alarm_taken(struct thread_group *tg)
{
    struct itimer *it = &tg->timers->itimers[ITIMER_REAL];
    if (!it->waits_for_taking)
        return;
    it->waits_for_taking = false;
    int64_t now = ktime_now();
    forward_itimer(it, now);
    arm_itimer(it, now);
}

static struct timer_set *get_set(struct task *t)
{
    struct thread_group *tg = t->tg;
    struct timer_set *ts = calloc(1, sizeof(*ts));
    if (!ts)
        return NULL;
    list_init(&ts->timers);
    for (int i = 0; i < 3; i++) {
        ktimer_init(&ts->itimers[i].ktimer, t->kernel, itimer_fire);
        ts->itimers[i].tg = tg;
        ts->itimers[i].which = i;
    }
    MUTEX_GUARD(&tg->sighand_lock);
    if (tg->timers)
        free(ts);
    else
        tg->timers = ts;
    return tg->timers;
}

/* SIGHAND held. */
static void read_itimer(struct itimer *it, int64_t now, int64_t *value, int64_t *interval)
{
    *interval = it->interval;
    *value = it->armed ? MAX(it->expires - now, (int64_t)1000) : 0;
}

int itimer_set(struct task *t, int which, int64_t value, int64_t interval, int64_t *old_value,
               int64_t *old_interval)
{
    struct timer_set *ts = get_set(t);
    if (!ts)
        return -ENOMEM;
    int err = ktimer_prepare(t->kernel);
    if (err)
        return err;
    struct itimer *it = &ts->itimers[which];
    int64_t now = itimer_now(it);
    MUTEX_GUARD(&t->tg->sighand_lock);
    read_itimer(it, now, old_value, old_interval);
    ktimer_disarm(&it->ktimer);
    it->armed = value > 0;
    it->waits_for_taking = false;
    it->interval = interval;
    if (__builtin_add_overflow(now, value, &it->expires))
        it->expires = INT64_MAX;
    if (it->armed)
        arm_itimer(it, now);
    return 0;
}

void itimer_get(struct task *t, int which, int64_t *value, int64_t *interval)
{
    *value = *interval = 0;
    struct timer_set *ts;
    {
        MUTEX_GUARD(&t->tg->sighand_lock);
        ts = t->tg->timers;
    }
    if (!ts)
        return;
    struct itimer *it = &ts->itimers[which];
    int64_t now = itimer_now(it);
    MUTEX_GUARD(&t->tg->sighand_lock);
    read_itimer(it, now, value, interval);
}

/* ---- the end ---- */

static void delete_all(struct thread_group *tg)
{
    for (;;) {
        struct posix_timer *pt;
        {
            MUTEX_GUARD(&tg->sighand_lock);
            pt = tg->timers ? list_first(&tg->timers->timers, struct posix_timer, link) : NULL;
            if (!pt)
                return;
            unlink_timer(tg, pt);
        }
        ktimer_cancel(&pt->ktimer);
        posix_timer_put(pt);
    }
}

void posix_timers_exec(struct thread_group *tg)
{
    delete_all(tg);
}

void posix_timers_exit(struct thread_group *tg)
{
    delete_all(tg);
    struct timer_set *ts;
    {
        MUTEX_GUARD(&tg->sighand_lock);
        ts = tg->timers;
        for (int i = 0; ts && i < 3; i++)
            ts->itimers[i].armed = ts->itimers[i].waits_for_taking = false;
    }
    for (int i = 0; ts && i < 3; i++)
        ktimer_cancel(&ts->itimers[i].ktimer);
}

void posix_timers_free(struct timer_set *ts)
{
    free(ts);
}
