/* Many threads and processes that map, unmap, protect, move and fork at once, each checking its own
 * memory all the while. */
#include "tests/syscalls/memory.h"

#define ARENA 64 /* pages */
#define THREADS 4

struct worker {
    pthread_t thread;
    uint64_t rng;
    char *arena;
    unsigned char value[ARENA]; /* what each page is full of */
    unsigned char prot[ARENA];  /* PROT_NONE: not mapped at all */
    int rounds;
};

static uint64_t rnd(struct worker *w, uint64_t n)
{
    w->rng ^= w->rng << 13;
    w->rng ^= w->rng >> 7;
    w->rng ^= w->rng << 17;
    return (w->rng >> 11) % n;
}

static void check_page(struct worker *w, size_t i)
{
    if (w->prot[i] == PROT_NONE)
        return;
    for (size_t k = 0; k < PG; k += 1021)
        EXPECT_EQ((unsigned char)w->arena[i * PG + k], w->value[i]);
}

static void fill_page(struct worker *w, size_t i)
{
    if (!(w->prot[i] & PROT_WRITE))
        return;
    w->value[i] = (unsigned char)rnd(w, 256);
    memset(w->arena + i * PG, w->value[i], PG);
}

static void do_map(struct worker *w, size_t i, size_t n)
{
    char *p = w->arena + i * PG;
    EXPECT_EQ((long)mmap(p, n * PG, RW, ANON | MAP_FIXED, -1, 0), (long)p);
    memset(w->value + i, 0, n);
    memset(w->prot + i, RW, n);
}

static void do_unmap(struct worker *w, size_t i, size_t n)
{
    /* The place stays reserved, or another thread's mapping would come there. */
    char *p = w->arena + i * PG;
    EXPECT_EQ((long)mmap(p, n * PG, PROT_NONE, ANON | MAP_FIXED | MAP_NORESERVE, -1, 0), (long)p);
    memset(w->prot + i, PROT_NONE, n);
}

static void do_protect(struct worker *w, size_t i, size_t n)
{
    unsigned char prot = rnd(w, 2) ? RW : PROT_READ;
    for (size_t k = i; k < i + n; k++)
        if (w->prot[k] != PROT_NONE) {
            EXPECT_EQ(mprotect(w->arena + k * PG, PG, prot), 0);
            w->prot[k] = prot;
        }
}

static void do_dontneed(struct worker *w, size_t i, size_t n)
{
    EXPECT_EQ(madvise(w->arena + i * PG, n * PG, MADV_DONTNEED), 0);
    memset(w->value + i, 0, n);
}

static void do_elsewhere(struct worker *w)
{
    size_t n = 1 + rnd(w, 600);
    char *p = map(n, RW, ANON);
    unsigned char v = (unsigned char)rnd(w, 256);
    for (size_t i = 0; i < n; i += 1 + rnd(w, 20))
        p[i * PG + v] = (char)v;
    char *q = mremap(p, n * PG, (n + 50) * PG, MREMAP_MAYMOVE);
    EXPECT(q != MAP_FAILED);
    EXPECT_EQ((unsigned char)q[v], v);
    EXPECT_EQ(munmap(q, (n + 50) * PG), 0);
}

static void do_fork(struct worker *w)
{
    pid_t pid = fork();
    EXPECT_GE(pid, 0);
    if (pid == 0) {
        for (size_t i = 0; i < ARENA; i++) {
            check_page(w, i);
            fill_page(w, i);
            check_page(w, i);
        }
        _exit(0);
    }
    for (size_t i = 0; i < ARENA; i++)
        fill_page(w, i);
    EXPECT_EXITED(pid, 0);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    w->arena = map(ARENA, PROT_NONE, ANON | MAP_NORESERVE);
    for (int r = 0; r < w->rounds; r++) {
        size_t i = rnd(w, ARENA), n = 1 + rnd(w, ARENA - i);
        switch (rnd(w, 16)) {
        case 0:
        case 1:
            do_map(w, i, n);
            break;
        case 2:
            do_unmap(w, i, n > 8 ? 8 : n);
            break;
        case 3:
        case 4:
            do_protect(w, i, n > 4 ? 4 : n);
            break;
        case 5:
            do_dontneed(w, i, n);
            break;
        case 6:
            do_elsewhere(w);
            break;
        case 7:
            if (r % 8 == 0)
                do_fork(w);
            break;
        default:
            for (size_t k = i; k < i + n && k < ARENA; k++) {
                check_page(w, k);
                fill_page(w, k);
            }
        }
    }
    for (size_t i = 0; i < ARENA; i++)
        check_page(w, i);
    munmap(w->arena, ARENA * PG);
    return NULL;
}

static void run_threads(int rounds, uint64_t seed)
{
    static struct worker workers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.rng = seed * 77 + (uint64_t)i + 1, .rounds = rounds};
        EXPECT_EQ(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        EXPECT_EQ(pthread_join(workers[i].thread, NULL), 0);
}

CASE(threads)
{
    run_threads(1500, 1);
}

CASE(processes_of_threads)
{
    pid_t pids[3];
    for (unsigned i = 0; i < 3; i++)
        pids[i] = FORK({ run_threads(500, i + 2); });
    for (unsigned i = 0; i < 3; i++)
        EXPECT_EXITED(pids[i], 0);
}

TEST_MAIN
