/*
 * The log. One sink per process (the exception to "no file-scope state": a log
 * must work before and after everything else). Off (LOG_NONE) until log_open.
 * Safe from every thread; never blocks on the guest; loses nothing that fits a line of 4 KiB.
 */
#ifndef PICKET_BASE_LOG_H
#define PICKET_BASE_LOG_H

#include "base/compiler.h"

enum log_level { LOG_NONE, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

/* Takes ownership of fd. Lines above `level` are dropped before they are formatted. */
void log_open(int fd, enum log_format format, enum log_level level);
bool log_enabled(enum log_level level);
void log_line(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...)                                                                              \
    do {                                                                                           \
        if (log_enabled(LOG_INFO))                                                                 \
            log_line(LOG_INFO, __VA_ARGS__);                                                       \
    } while (0)
#define log_debug(...)                                                                             \
    do {                                                                                           \
        if (log_enabled(LOG_DEBUG))                                                                \
            log_line(LOG_DEBUG, __VA_ARGS__);                                                      \
    } while (0)

/* A broken invariant of the sentry itself: logs, writes the line to stderr, aborts. Never for
 * anything that the application can cause. */
NORETURN void panic(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif
