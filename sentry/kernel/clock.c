/*
 * Fitting the sandbox's clock to the host's.
 *
 * The parameters (loader/vdso/params.h) hold for one period: 10 ms at first, then 100 ms, then a
 * second. Whoever reads the clock after that takes a new sample of the host's clocks and draws the
 * next piece of the line: from no less than where the old one ended, so time never goes back, with
 * the slope measured since an earlier sample, a little flatter if we were ahead. Nobody reads a
 * piece beyond its end, so the order in which threads see the change does not matter.
 */
#include "sentry/kernel/clock.h"
#include "sentry/loader/vdso/params.h"
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#define NSEC_PER_SEC 1000000000ll
#define PERIOD_FIRST (10 * 1000000ll)
#define PERIOD_LAST NSEC_PER_SEC
/* The shortest time from which a slope is measured: an error of 20 ns is 200 ppm of it. */
#define BASELINE_MIN 100000ll
/* From this on the slope is so good that the next one may begin afresh. */
#define BASELINE_GOOD (NSEC_PER_SEC / 2)

/* ---- the host ---- */

static int64_t host_now(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

/*
 * Looks at all the clocks as if at one instant. The counter is read first, so what we later say of
 * an instant is, if anything, a few nanoseconds ahead of the host: who slept until a time finds
 * that it has passed.
 */
static void sample_host(struct clock_sample *s)
{
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 4; i++) {
        uint64_t tsc = vdso_read_tsc();
        int64_t monotonic = host_now(CLOCK_MONOTONIC);
        uint64_t width = vdso_read_tsc() - tsc;
        if (width < best) {
            best = width;
            s->tsc = tsc;
            s->monotonic = monotonic;
        }
    }
    s->spread = INT64_MAX;
    for (int i = 0; i < 4 && s->spread > 200; i++) {
        int64_t before = host_now(CLOCK_MONOTONIC);
        int64_t raw = host_now(CLOCK_MONOTONIC_RAW);
        int64_t realtime = host_now(CLOCK_REALTIME);
        int64_t tai = host_now(CLOCK_TAI);
        int64_t width = host_now(CLOCK_MONOTONIC) - before;
        if (width < s->spread) {
            int64_t since = before + width / 2 - s->monotonic;
            s->spread = width;
            s->raw = raw - since;
            s->realtime = realtime - since;
            s->tai_offset = (tai - realtime + NSEC_PER_SEC / 2) / NSEC_PER_SEC;
        }
    }
}

static bool tsc_is_invariant(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d >> 8 & 1);
}

/* Whether the host itself takes its time from the counter, on all CPUs alike. */
static bool host_trusts_tsc(void)
{
    static const char *const good[] = {"tsc", "kvm-clock", "hyperv_clocksource_tsc_page"};
    char name[64];

    int fd = open("/sys/devices/system/clocksource/clocksource0/current_clocksource",
                  O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, name, sizeof(name) - 1);
    close(fd);
    if (n <= 0)
        return false;
    name[strcspn((name[n] = '\0', name), "\n")] = '\0';
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        if (strcmp(name, good[i]) == 0)
            return true;
    return false;
}

/* The number of this CPU is in a register (rdpid), or in the limit of a segment. */
static uint32_t getcpu_method(void)
{
    unsigned a, b, c, d, limit;
    bool ok;

    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) && (c >> 22 & 1))
        return VDSO_GETCPU_RDPID;
    __asm__("lsl %2, %0" : "=r"(limit), "=@ccz"(ok) : "r"(VDSO_CPU_SEGMENT));
    return ok ? VDSO_GETCPU_LSL : VDSO_GETCPU_SYSCALL;
}

/* ---- the parameters ---- */

static void set_line(struct vdso_params *p, enum vdso_line which, int64_t ns, uint64_t mult)
{
    VDSO_STORE(p->line[which].mult, mult);
    VDSO_STORE(p->line[which].sec, (uint64_t)(ns / NSEC_PER_SEC));
    VDSO_STORE(p->line[which].nsec, (uint64_t)(ns % NSEC_PER_SEC));
}

static void publish(struct clock *c, uint64_t tsc, const int64_t base[VDSO_LINES],
                    const uint64_t mult[VDSO_LINES])
{
    struct vdso_params *p = c->params;
    uint64_t ticks = (uint64_t)(((unsigned __int128)c->period << VDSO_SHIFT) / c->mult[0]);

    VDSO_STORE(p->seq, p->seq + 1);
    VDSO_STORE(p->tsc_base, tsc);
    VDSO_STORE(p->max_delta, ticks);
    for (unsigned i = 0; i < VDSO_LINES; i++)
        set_line(p, i, base[i], mult[i]);
    VDSO_STORE(p->seq, p->seq + 1);
}

static int64_t line_base(const struct vdso_params *p, enum vdso_line which)
{
    return (int64_t)p->line[which].sec * NSEC_PER_SEC + (int64_t)p->line[which].nsec;
}

/* No reader was told a greater value than this. */
static int64_t line_end(const struct clock *c, enum vdso_line which)
{
    const struct vdso_params *p = c->params;
    if (!c->fitted)
        return c->floor[which];
    return line_base(p, which) + (int64_t)vdso_scale(p->max_delta, p->line[which].mult);
}

/* ---- fitting ---- */

/* Nanoseconds per tick between two looks; 0 if they make no sense. */
static uint64_t slope(uint64_t ticks, int64_t ns)
{
    if ((int64_t)ticks <= 0 || ns <= 0)
        return 0;
    unsigned __int128 mult = ((unsigned __int128)ns << VDSO_SHIFT) / ticks;
    return mult >> 64 ? 0 : (uint64_t)mult;
}

static bool far_from(uint64_t mult, uint64_t old)
{
    uint64_t difference = mult > old ? mult - old : old - mult;
    return difference > old / 1000;
}

/* Slope of a line that starts `ahead` of the truth, to meet it at the end of the period. */
static uint64_t flatten(uint64_t mult, int64_t ahead, int64_t period)
{
    int64_t keep = period - MIN(ahead, period / 2);
    return (uint64_t)((unsigned __int128)mult * (uint64_t)keep / (uint64_t)period);
}

/*
 * The slopes since the anchor. False if they cannot be believed: a stretch in which the machine was
 * suspended or moved, or whose counter began again. Then the old ones are kept for a short period.
 */
static bool measure(const struct clock *c, const struct clock_sample *now, uint64_t *monotonic,
                    uint64_t *raw)
{
    int64_t elapsed = now->monotonic - c->anchor.monotonic;
    uint64_t ticks = now->tsc - c->anchor.tsc;

    *monotonic = slope(ticks, elapsed);
    *raw = slope(ticks, now->raw - c->anchor.raw);
    if (!*monotonic || !*raw)
        return false;
    return !c->fitted || elapsed <= 2 * PERIOD_FIRST || !far_from(*monotonic, c->mult[0]);
}

static void update_slopes(struct clock *c, const struct clock_sample *now)
{
    uint64_t monotonic, raw;

    if (measure(c, now, &monotonic, &raw)) {
        c->mult[0] = monotonic;
        c->mult[1] = raw;
        c->period = c->fitted ? MIN(10 * c->period, PERIOD_LAST) : PERIOD_FIRST;
        if (now->monotonic - c->anchor.monotonic >= BASELINE_GOOD)
            c->anchor = *now;
    } else {
        c->period = PERIOD_FIRST;
        c->anchor = *now;
    }
}

/* The distance between the two clocks is constant, but for what somebody sets; what is within the
 * error of measuring is no change. */
static void follow_realtime(struct clock *c, const struct clock_sample *now)
{
    int64_t offset = now->realtime - (now->monotonic - c->zero[VDSO_MONOTONIC]);
    int64_t change = offset - c->realtime_offset;
    if (change > now->spread || change < -now->spread)
        c->realtime_offset = offset;
    VDSO_STORE(c->params->tai_offset, now->tai_offset);
}

void clock_fit(struct clock *c, const struct clock_sample *now)
{
    const int64_t truth[] = {
        [VDSO_MONOTONIC] = now->monotonic - c->zero[VDSO_MONOTONIC],
        [VDSO_RAW] = now->raw - c->zero[VDSO_RAW],
    };
    int64_t base[VDSO_LINES];
    uint64_t mult[VDSO_LINES];

    update_slopes(c, now);
    if (c->mult[0] == 0)
        return;
    follow_realtime(c, now);
    for (unsigned i = 0; i < ARRAY_SIZE(truth); i++) {
        base[i] = MAX(truth[i], line_end(c, i));
        mult[i] = flatten(c->mult[i], base[i] - truth[i], c->period);
    }
    base[VDSO_REALTIME] = base[VDSO_MONOTONIC] + c->realtime_offset;
    mult[VDSO_REALTIME] = mult[VDSO_MONOTONIC];
    publish(c, now->tsc, base, mult);
    c->fitted = true;
}

/* ---- reading ---- */

/* There is no line yet. */
static int64_t first_look(struct clock *c, enum vdso_line which, const struct clock_sample *now)
{
    int64_t monotonic = now->monotonic - c->zero[VDSO_MONOTONIC];
    switch (which) {
    case VDSO_REALTIME:
        follow_realtime(c, now);
        return monotonic + c->realtime_offset;
    case VDSO_RAW:
        return c->floor[VDSO_RAW] = MAX(c->floor[VDSO_RAW], now->raw - c->zero[VDSO_RAW]);
    default:
        return c->floor[VDSO_MONOTONIC] = MAX(c->floor[VDSO_MONOTONIC], monotonic);
    }
}

static int64_t time_ns(const struct vdso_time *t)
{
    return (int64_t)t->sec * NSEC_PER_SEC + (int64_t)t->nsec;
}

static int64_t read_slow(struct clock *c, enum vdso_line which)
{
    MUTEX_GUARD(&c->lock);
    struct vdso_time t;
    struct clock_sample now;

    if (vdso_read(c->params, which, &t)) /* somebody else was here */
        return time_ns(&t);
    sample_host(&now);
    /* A counter a little behind that of the CPU where the line was drawn: stand still. */
    if (c->fitted && c->params->tsc_base - now.tsc <= c->params->max_delta)
        return line_base(c->params, which);
    if (c->fitted || now.monotonic - c->anchor.monotonic >= BASELINE_MIN)
        clock_fit(c, &now);
    return c->fitted ? line_base(c->params, which) : first_look(c, which, &now);
}

/* The counter is of no use: every reading is the host's own. */
static int64_t read_host(const struct clock *c, enum vdso_line which)
{
    switch (which) {
    case VDSO_REALTIME:
        return host_now(CLOCK_REALTIME);
    case VDSO_RAW:
        return host_now(CLOCK_MONOTONIC_RAW) - c->zero[VDSO_RAW];
    default:
        return host_now(CLOCK_MONOTONIC) - c->zero[VDSO_MONOTONIC];
    }
}

static int64_t read_line(struct clock *c, enum vdso_line which)
{
    struct vdso_time t;
    if (likely(vdso_read(c->params, which, &t)))
        return time_ns(&t);
    return c->use_tsc ? read_slow(c, which) : read_host(c, which);
}

int64_t clock_monotonic(struct clock *c)
{
    return read_line(c, VDSO_MONOTONIC);
}

int64_t clock_realtime(struct clock *c)
{
    return read_line(c, VDSO_REALTIME);
}

int64_t clock_now(struct clock *c, clockid_t id)
{
    switch (id) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
    case CLOCK_REALTIME_ALARM:
        return read_line(c, VDSO_REALTIME);
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME:
    case CLOCK_BOOTTIME_ALARM:
        return read_line(c, VDSO_MONOTONIC);
    case CLOCK_MONOTONIC_RAW:
        return read_line(c, VDSO_RAW);
    case CLOCK_TAI: {
        int64_t ns = read_line(c, VDSO_REALTIME); /* may bring the offset up to date */
        return ns + VDSO_LOAD(c->params->tai_offset) * NSEC_PER_SEC;
    }
    default:
        return -EINVAL;
    }
}

int64_t clock_resolution(clockid_t id)
{
    switch (id) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_ALARM:
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_BOOTTIME:
    case CLOCK_BOOTTIME_ALARM:
    case CLOCK_TAI:
        return 1;
    case CLOCK_REALTIME_COARSE:
    case CLOCK_MONOTONIC_COARSE:
        return VDSO_TICK_RESOLUTION;
    default:
        return -EINVAL;
    }
}

int64_t clock_host_monotonic(struct clock *c, clockid_t id, int64_t ns)
{
    int64_t wait, deadline;
    /* In this order, so that the deadline is rather too late than too early. */
    int64_t now = clock_now(c, id);
    int64_t host = host_now(CLOCK_MONOTONIC);

    if (__builtin_sub_overflow(ns, now, &wait))
        return ns < 0 ? 0 : INT64_MAX;
    if (__builtin_add_overflow(host, wait, &deadline))
        return INT64_MAX;
    return MAX(deadline, 0);
}

/* ---- life ---- */

int clock_init(struct clock *c, struct memory_file *mf)
{
    memset(c, 0, sizeof(*c));
    int err = memory_file_alloc(mf, PAGE_SIZE, 0, &c->page);
    if (err)
        return err;
    err = memory_file_commit(mf, c->page);
    if (err) {
        memory_file_put(mf, c->page);
        return err;
    }
    c->params = (struct vdso_params *)(mf->file.window + c->page.start);
    c->params->tsc_base = UINT64_MAX; /* every counter is beyond max_delta: ask the kernel */
    c->params->getcpu = getcpu_method();
    c->params->ncpus = UINT32_MAX; /* until somebody knows better */
    mutex_init(&c->lock, LOCK_CLOCK);

    sample_host(&c->anchor);
    c->zero[VDSO_MONOTONIC] = c->anchor.monotonic;
    c->zero[VDSO_RAW] = c->anchor.raw;
    c->realtime_offset = c->anchor.realtime;
    c->params->tai_offset = c->anchor.tai_offset;
    c->use_tsc = tsc_is_invariant() && host_trusts_tsc();
    return 0;
}

void clock_hide_cpu(struct clock *c)
{
    c->params->getcpu = VDSO_GETCPU_SYSCALL;
}

void clock_destroy(struct clock *c, struct memory_file *mf)
{
    mutex_destroy(&c->lock);
    memory_file_put(mf, c->page);
}
