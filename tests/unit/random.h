/*
 * Seeded random numbers for model tests. TEST_SEED=N repeats a run; the seed is printed at the
 * start of each, so that it stands above any failure.
 */
#ifndef PICKET_TESTS_UNIT_RANDOM_H
#define PICKET_TESTS_UNIT_RANDOM_H

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct rng {
    uint64_t state;
};

static inline struct rng rng_seed(const char *what)
{
    const char *given = getenv("TEST_SEED");
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    uint64_t seed =
        given ? strtoull(given, NULL, 0) : (uint64_t)ts.tv_sec * 1000000007u + (uint64_t)ts.tv_nsec;
    printf("%s: TEST_SEED=%llu\n", what, (unsigned long long)seed);
    fflush(stdout);
    return (struct rng){seed};
}

/* splitmix64. */
static inline uint64_t rng_next(struct rng *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* An assertion for inner loops: Check's own write to a file each time that they hold. */
#define HOLDS(cond)                                                                                \
    do {                                                                                           \
        if (!(cond))                                                                               \
            ck_abort_msg("does not hold: %s", #cond);                                              \
    } while (0)

/* 0 to n - 1. */
static inline uint64_t rng_below(struct rng *r, uint64_t n)
{
    return rng_next(r) % n;
}

#endif
