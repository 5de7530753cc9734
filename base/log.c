/*
 * Lines are built on the stack and written with one write(2), without allocation and without
 * stdio, so that logging also works when memory has run out. What an application can put into
 * a line (file names, mostly) is made harmless: control characters and malformed UTF-8 are escaped,
 * so nobody forges a line or talks to the reader's terminal.
 */
#include "base/log.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_MAX 4096
/* A byte of the message becomes at most 6 characters; the rest is for what stands around it. */
#define LINE_MAX_BYTES (MESSAGE_MAX * 6 + 256)

/* The process's one log: see the header. A plain mutex, since the lock checker itself logs. */
static struct {
    pthread_mutex_t lock;
    int fd;
    _Atomic int format;
    _Atomic int level;
} sink = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

struct line {
    size_t n;
    char text[LINE_MAX_BYTES];
};

static const char *const level_names[] = {"none", "error", "warn", "info", "debug"};

void log_open(int fd, enum log_format format, enum log_level level)
{
    pthread_mutex_lock(&sink.lock);
    if (sink.fd >= 0 && sink.fd != fd)
        close(sink.fd);
    sink.fd = fd;
    atomic_store_explicit(&sink.format, format, memory_order_relaxed);
    atomic_store_explicit(&sink.level, fd < 0 ? LOG_NONE : level, memory_order_relaxed);
    pthread_mutex_unlock(&sink.lock);
}

bool log_enabled(enum log_level level)
{
    return level != LOG_NONE &&
           (int)level <= atomic_load_explicit(&sink.level, memory_order_relaxed);
}

static void line_add(struct line *l, const char *s, size_t n)
{
    n = MIN(n, sizeof(l->text) - l->n);
    memcpy(l->text + l->n, s, n);
    l->n += n;
}

PRINTF_LIKE(2, 3) static void line_printf(struct line *l, const char *fmt, ...)
{
    char buf[256];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(buf, sizeof(buf), fmt, ap);
    va_end(ap);
    if (n > 0)
        line_add(l, buf, MIN((size_t)n, sizeof(buf) - 1));
}

/* The length of the well-formed UTF-8 sequence at s, or 0. (RFC 3629, section 4.) */
static size_t utf8_length(const unsigned char *s, size_t n)
{
    size_t len = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (len == 0 || len > n || s[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    bool no_character = (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f);
    bool c1_control = s[0] == 0xc2 && s[1] < 0xa0;
    return overlong || no_character || c1_control ? 0 : len;
}

static void line_add_escaped(struct line *l, const char *text, size_t n, bool json)
{
    const unsigned char *s = (const unsigned char *)text;
    while (n > 0) {
        size_t len = utf8_length(s, n);
        bool control = len == 1 && (*s < 0x20 || *s == 0x7f);
        if (len > 0 && !control) {
            if (json && (*s == '"' || *s == '\\'))
                line_add(l, "\\", 1);
            line_add(l, (const char *)s, len);
        } else if (control && json) {
            line_printf(l, "\\u%04x", *s);
        } else if (json) {
            line_add(l, "\xef\xbf\xbd", 3); /* U+FFFD, the replacement character */
        } else {
            line_printf(l, "\\x%02x", *s);
        }
        len = len ? len : 1;
        s += len;
        n -= len;
    }
}

/* Days since 1970 to a date of the Gregorian calendar. Years are counted from March, so that the
 * leap day is the last one. (gmtime_r would read the time zone file, which a sandboxed sentry
 * cannot.) */
static void civil_date(int64_t days, int64_t *year, int *month, int *day)
{
    days += 719468; /* 0000-03-01 */
    int64_t era = (days >= 0 ? days : days - 146096) / 146097;
    int doe = (int)(days - era * 146097);
    int yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int mp = (5 * doy + 2) / 153;
    *day = doy - (153 * mp + 2) / 5 + 1;
    *month = mp < 10 ? mp + 3 : mp - 9;
    *year = yoe + era * 400 + (*month <= 2);
}

static void line_add_time(struct line *l)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    int64_t year;
    int month, day, second = (int)(ts.tv_sec % 86400);
    civil_date(ts.tv_sec / 86400, &year, &month, &day);
    line_printf(l, "%04lld-%02d-%02dT%02d:%02d:%02d.%06ldZ", (long long)year, month, day,
                second / 3600, second / 60 % 60, second % 60, ts.tv_nsec / 1000);
}

static void line_format(struct line *l, enum log_level level, const char *message, size_t n,
                        bool json)
{
    long tid = syscall(SYS_gettid);
    if (json) {
        line_printf(l, "{\"time\":\"");
        line_add_time(l);
        line_printf(l, "\",\"level\":\"%s\",\"tid\":%ld,\"msg\":\"", level_names[level], tid);
        line_add_escaped(l, message, n, true);
        line_add(l, "\"}\n", 3);
    } else {
        line_add_time(l);
        line_printf(l, " %-5s [%ld] ", level_names[level], tid);
        line_add_escaped(l, message, n, false);
        line_add(l, "\n", 1);
    }
}

/* One write(2) as a rule; more only where the descriptor takes less than a line. A reader that is
 * stuck costs a second, not the sandbox. */
static void write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, p, n);
        if (done >= 0) {
            p += done;
            n -= (size_t)done;
        } else if (errno == EAGAIN) {
            struct pollfd pfd = {.fd = fd, .events = POLLOUT};
            if (poll(&pfd, 1, 1000) == 0)
                return;
        } else if (errno != EINTR) {
            return;
        }
    }
}

static void log_message(enum log_level level, const char *message, size_t n)
{
    struct line l;
    l.n = 0;
    while (n > 0 && message[n - 1] == '\n')
        n--;
    line_format(&l, level, message, n,
                atomic_load_explicit(&sink.format, memory_order_relaxed) == LOG_JSON);
    pthread_mutex_lock(&sink.lock);
    if (sink.fd >= 0)
        write_all(sink.fd, l.text, l.n);
    pthread_mutex_unlock(&sink.lock);
}

void log_line(enum log_level level, const char *fmt, ...)
{
    if (!log_enabled(level))
        return;
    int saved = errno;
    char message[MESSAGE_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    if (n > 0)
        log_message(level, message, MIN((size_t)n, sizeof(message) - 1));
    errno = saved;
}

void panic(const char *fmt, ...)
{
    static const char prefix[] = "picket: panic: ";
    char message[MESSAGE_MAX];
    size_t n = sizeof(prefix) - 1;
    memcpy(message, prefix, n);
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(message + n, sizeof(message) - n - 1, fmt, ap);
    va_end(ap);
    if (len > 0)
        n += MIN((size_t)len, sizeof(message) - n - 2);
    message[n] = '\n';
    write_all(STDERR_FILENO, message, n + 1);
    if (log_enabled(LOG_ERROR))
        log_message(LOG_ERROR, message, n);
    abort();
}
