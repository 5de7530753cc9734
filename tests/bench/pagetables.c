/*
 * What the page-table library costs a page: maps, looks up and unmaps 1 GiB in 4 KiB pages, beside
 * a plain loop over an array of as many entries. It is unmapped entry by entry, in pieces that
 * leave no table empty until its last, and (at once) as a whole, where tables are dropped unread.
 * Prints nanoseconds a page; with an argument, that figure alone.
 */
#include "platform/kvm/pagetables/pagetables.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TABLES 1024
#define PAGES 262144u
#define VA 0x7f0000000000ull

struct arena {
    uint64_t (*tables)[PT_ENTRIES];
    unsigned free_list[TABLES], nfree;
};
static const uint64_t *table_read(void *arg, pt_phys_t pa)
{
    struct arena *a = arg;
    uint64_t i = pa >> 12;
    return i == 0 || i >= TABLES ? NULL : a->tables[i];
}
static uint64_t *table_write(void *arg, pt_phys_t *pa)
{
    return (uint64_t *)(uintptr_t)table_read(arg, *pa);
}
static pt_phys_t table_alloc(void *arg)
{
    struct arena *a = arg;
    if (!a->nfree)
        return 0;
    unsigned i = a->free_list[--a->nfree];
    memset(a->tables[i], 0, sizeof a->tables[i]);
    return (pt_phys_t)i << 12;
}
static void table_free(void *arg, pt_phys_t pa)
{
    struct arena *a = arg;
    a->free_list[a->nfree++] = (unsigned)(pa >> 12);
}
static const struct pt_ops ops = {table_read, table_write, table_alloc, table_free};

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts); /* what others take does not count */
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}
static bool add_frame(void *arg, const struct pt_translation *page)
{
    *(uint64_t *)arg += page->frame;
    return true;
}

/* What is measured, in the order in which a round does it. */
static const char *const names[] = {"array", "map", "translate", "walk", "unmap", "unmap-at-once"};
enum { FIGURES = ARRAY_SIZE(names) };

static struct pt pt;
static uint64_t sum;
static volatile uint64_t *plain;

static void map_all(void)
{
    struct pt_status st;
    pt_flush_ignore(pt_map(&pt, VA, PT_SIZE_1G, 0x1000, PT_WRITE | PT_USER, PT_SIZE_4K, &st));
    if (st.err)
        exit(1);
}

/* In pieces of 100 pages: the borders of tables lie within them. */
static void unmap_in_pieces(void)
{
    struct pt_status st;
    for (uint64_t at = 0; at < PT_SIZE_1G; at += 100 * PT_SIZE_4K) {
        pt_flush_ignore(pt_unmap(&pt, VA + at, MIN(100 * PT_SIZE_4K, PT_SIZE_1G - at), &st));
        if (st.err)
            exit(1);
    }
}

static void translate_all(void)
{
    struct pt_translation t;
    for (unsigned i = 0; i < PAGES; i++) {
        if (pt_translate(&pt, VA + ((uint64_t)i << 12), &t) != PT_OK)
            exit(1);
        sum += t.frame;
    }
}

static void one_round(double *best)
{
    struct pt_status st;
    double at[FIGURES + 1];
    map_all();
    at[4] = now();
    unmap_in_pieces();
    at[5] = now();
    best[4] = MIN(best[4], at[5] - at[4]);
    pt_flush_ignore(pt_clean_up(&pt, &st));

    at[0] = now();
    for (unsigned i = 0; i < PAGES; i++)
        plain[i] = (uint64_t)i << 12 | 7;
    at[1] = now();
    map_all();
    at[2] = now();
    translate_all();
    at[3] = now();
    if (pt_walk(&pt, VA, PT_SIZE_1G, add_frame, &sum) != PT_OK)
        exit(1);
    at[4] = now();
    for (int i = 0; i < 4; i++)
        best[i] = MIN(best[i], at[i + 1] - at[i]);
    at[5] = now();
    pt_flush_ignore(pt_unmap(&pt, VA, PT_SIZE_1G, &st));
    at[6] = now();
    best[5] = MIN(best[5], at[6] - at[5]);
}

int main(int argc, char **argv)
{
    static struct arena a;
    double best[FIGURES] = {1e12, 1e12, 1e12, 1e12, 1e12, 1e12};
    plain = calloc(PAGES, sizeof *plain);
    a.tables = aligned_alloc(4096, TABLES * sizeof *a.tables);
    if (!plain || !a.tables)
        return 1;
    for (unsigned i = 1; i < TABLES; i++)
        a.free_list[a.nfree++] = i;
    if (pt_init(&pt, &ops, &a) != PT_OK)
        return 1;
    for (int round = 0; round < 7; round++)
        one_round(best);
    for (int i = 0; i < FIGURES; i++) {
        if (argc > 1 && strcmp(argv[1], names[i]) == 0)
            printf("%.3f\n", best[i] / PAGES);
        else if (argc == 1)
            printf("%-14s %6.2f\n", names[i], best[i] / PAGES);
    }
    return sum == 0;
}
