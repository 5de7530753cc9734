/*
 * Interval timers (setitimer(2), alarm(2)) and POSIX timers (timer_create(2)) of a process.
 *
 * As in Linux, a periodic timer is armed again when its signal is taken off the queue, so that a
 * process that blocks the signal cannot make the kernel run for nothing; what it missed is counted
 * (overrun). Timers on CPU clocks look at the clock when the time could have been used up, at the
 * earliest.
 */
#ifndef PICKET_SENTRY_KERNEL_POSIX_TIMERS_H
#define PICKET_SENTRY_KERNEL_POSIX_TIMERS_H

#include "sentry/kernel/signal.h"
#include "sentry/kernel/wait.h"
#include <sys/time.h>
#include <time.h>

struct task;
struct thread_group;
struct posix_timer;
struct timer_set;

/* A timer's queue entry was thrown away. SIGHAND of the process may be held. */
void posix_timer_discard(struct posix_timer *timer);
/* A timer's signal was taken off the queue: fills in the overrun and goes on. No lock held. */
void posix_timer_taken(struct posix_timer *timer, siginfo_t *info);
/* SIGALRM was taken off the process's queue: ITIMER_REAL goes on. SIGHAND held. */
void posix_timers_alarm_taken(struct thread_group *tg);
/* The process ends, or a new program begins (itimers stay). No lock held. */
void posix_timers_exit(struct thread_group *tg);
void posix_timers_exec(struct thread_group *tg);
void posix_timers_free(struct timer_set *ts);

/* The CPU and wall clocks of clock_gettime, from t's point of view: ns, or -EINVAL. */
int64_t task_clock_now(struct task *t, clockid_t id);

/* Times in ns. value 0 disarms. old: NULL or what was left. which: ITIMER_*. */
MUST_CHECK int itimer_set(struct task *t, int which, int64_t value, int64_t interval,
                          int64_t *old_value, int64_t *old_interval);
void itimer_get(struct task *t, int which, int64_t *value, int64_t *interval);

/* The timer's id or -errno. ev: NULL for the default. */
long posix_timer_create(struct task *t, clockid_t clock, const struct sigevent *ev, int *id);
long posix_timer_delete(struct task *t, int id);
long posix_timer_set(struct task *t, int id, bool absolute, int64_t value, int64_t interval,
                     int64_t *old_value, int64_t *old_interval);
long posix_timer_get(struct task *t, int id, int64_t *value, int64_t *interval);
long posix_timer_overrun(struct task *t, int id);

/* Queues a timer's own entry (signal.c): cannot fail. SIGHAND held. */
enum timer_sent { TIMER_QUEUED, TIMER_STILL_QUEUED, TIMER_IGNORED };
enum timer_sent signal_send_timer(struct thread_group *tg, struct task *t, struct sigqueue *q);
/* Takes it off again; false if it is not queued. SIGHAND held. */
bool signal_unqueue_timer(struct thread_group *tg, struct task *t, struct sigqueue *q);

#endif
