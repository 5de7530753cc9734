/*
 * The few attributes and helpers that every file wants.
 */
#ifndef PICKET_BASE_COMPILER_H
#define PICKET_BASE_COMPILER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MUST_CHECK __attribute__((warn_unused_result))
#define NORETURN __attribute__((noreturn))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define UNUSED __attribute__((unused))
#define CLEANUP(fn) __attribute__((cleanup(fn)))
/* For the result of a MUST_CHECK function that does not matter here. */
#define IGNORE(expr)                                                                               \
    do {                                                                                           \
        __auto_type ignored_ = (expr);                                                             \
        (void)ignored_;                                                                            \
    } while (0)
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#define CONCAT_(a, b) a##b
#define CONCAT(a, b) CONCAT_(a, b)

/* Each argument is evaluated once; the names differ at each use, so that uses may nest. */
#define MIN(a, b) PICK_(a, <, b, CONCAT(pick_a_, __COUNTER__), CONCAT(pick_b_, __COUNTER__))
#define MAX(a, b) PICK_(a, >, b, CONCAT(pick_a_, __COUNTER__), CONCAT(pick_b_, __COUNTER__))
#define PICK_(a, op, b, a_, b_)                                                                    \
    ({                                                                                             \
        __auto_type a_ = (a);                                                                      \
        __auto_type b_ = (b);                                                                      \
        a_ op b_ ? a_ : b_;                                                                        \
    })

#define PAGE_SHIFT 12
#define PAGE_SIZE (1UL << PAGE_SHIFT)
#define PAGE_MASK (~(PAGE_SIZE - 1))
#define HUGE_PAGE_SIZE (1UL << 21)

static inline bool page_aligned(uint64_t x)
{
    return (x & (PAGE_SIZE - 1)) == 0;
}
static inline uint64_t page_down(uint64_t x)
{
    return x & PAGE_MASK;
}
/* Rounds up; false if the result does not fit 64 bits. */
static inline bool page_up(uint64_t x, uint64_t *out)
{
    uint64_t r;
    if (__builtin_add_overflow(x, PAGE_SIZE - 1, &r))
        return false;
    *out = r & PAGE_MASK;
    return true;
}

#endif
