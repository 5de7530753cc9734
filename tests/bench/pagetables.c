/*
 * What the page-table library costs a page: maps, looks up and unmaps 1 GiB in 4 KiB pages, beside
 * a plain loop over an array of as many entries. Prints nanoseconds a page.
 */
#include "platform/kvm/pagetables/pagetables.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TABLES 1024
#define PAGES 262144u

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
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}
static bool add_frame(void *arg, const struct pt_translation *page)
{
    *(uint64_t *)arg += page->frame;
    return true;
}

int main(void)
{
    static struct arena a;
    struct pt pt;
    struct pt_status st;
    struct pt_translation t;
    double best[5] = {1e9, 1e9, 1e9, 1e9, 1e9};
    uint64_t sum = 0;
    volatile uint64_t *plain = calloc(PAGES, sizeof *plain);
    a.tables = aligned_alloc(4096, TABLES * sizeof *a.tables);
    if (!plain || !a.tables)
        return 1;
    for (unsigned i = 1; i < TABLES; i++)
        a.free_list[a.nfree++] = i;
    if (pt_init(&pt, &ops, &a) != PT_OK)
        return 1;
    for (int round = 0; round < 7; round++) {
        const pt_virt_t va = 0x7f0000000000ull;
        double at[6];
        at[0] = now();
        for (unsigned i = 0; i < PAGES; i++)
            plain[i] = (uint64_t)i << 12 | 7;
        at[1] = now();
        pt_flush_ignore(pt_map(&pt, va, PT_SIZE_1G, 0x1000, PT_WRITE | PT_USER, PT_SIZE_4K, &st));
        at[2] = now();
        for (unsigned i = 0; i < PAGES; i++) {
            if (pt_translate(&pt, va + ((uint64_t)i << 12), &t) != PT_OK)
                return 1;
            sum += t.frame;
        }
        at[3] = now();
        if (pt_walk(&pt, va, PT_SIZE_1G, add_frame, &sum) != PT_OK)
            return 1;
        at[4] = now();
        pt_flush_ignore(pt_unmap(&pt, va, PT_SIZE_1G, &st));
        at[5] = now();
        for (int i = 0; i < 5; i++)
            best[i] = MIN(best[i], (at[i + 1] - at[i]) / PAGES);
    }
    printf("array loop %.2f  map %.2f  translate %.2f  walk %.2f  unmap %.2f  ns a page (%#lx)\n",
           best[0], best[1], best[2], best[3], best[4], (unsigned long)sum);
    return 0;
}
