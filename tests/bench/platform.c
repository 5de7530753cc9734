/*
 * What the operations of a platform cost without a kernel on top. Prints a row for each: the best
 * of several stretches, in nanoseconds.
 */
#include "platform/platform.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define STRETCHES 7
#define CODE 0x400000ul
#define DATA 0x800000ul
#define BUSY_THREADS 8
#define BUSY_CALLS 10000
#define PINGS 2000
#define FILE_SIZE (64ul << 20)

static struct platform *p;
static struct address_space *as;
static struct context *context;
static struct memmap_file file;

/* 0: syscall; jmp 0      4: mov %rax,(%rdi); syscall */
static const uint8_t program[] = {0x0f, 0x05, 0xeb, 0xfc, 0x48, 0x89, 0x07, 0x0f, 0x05};

static void check(bool ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "bench_platform: %s\n", what);
        exit(1);
    }
}

static void map(struct address_space *space, gva_t addr, uint64_t offset, access_t perms)
{
    const struct as_op op = {.kind = AS_MAP,
                             .ar = {addr, addr + PAGE_SIZE},
                             .file = &file,
                             .offset = offset,
                             .perms = perms};
    check(space->ops->apply(space, &op, 1) == 0, "map");
}

static void unmap(gva_t addr)
{
    const struct as_op op = {.kind = AS_UNMAP, .ar = {addr, addr + PAGE_SIZE}};
    check(as->ops->apply(as, &op, 1) == 0, "unmap");
}

static void run_from(struct context *c, struct address_space *space, unsigned offset,
                     enum switch_reason expected)
{
    struct switch_event ev;
    struct arch_context ac = {.regs = {.rip = CODE + offset,
                                       .rdi = DATA,
                                       .cs = 0x33,
                                       .ss = 0x2b,
                                       .eflags = 0x202,
                                       .orig_rax = (unsigned long)-1}};
    check(c->ops->run(c, space, &ac, &ev) == expected, "run");
}

static void system_call(void)
{
    run_from(context, as, 0, SWITCH_SYSCALL);
}

static void unmap_map_run(void)
{
    unmap(DATA);
    map(as, DATA, PAGE_SIZE, ACCESS_READ | ACCESS_WRITE);
    run_from(context, as, 4, SWITCH_SYSCALL);
}

static void fault_map_run_unmap(void)
{
    run_from(context, as, 4, SWITCH_FAULT);
    map(as, DATA, PAGE_SIZE, ACCESS_READ | ACCESS_WRITE);
    run_from(context, as, 4, SWITCH_SYSCALL);
    unmap(DATA);
}

static void protect(void)
{
    static access_t perms = ACCESS_READ | ACCESS_WRITE;
    perms ^= ACCESS_WRITE;
    const struct as_op op = {.kind = AS_PROTECT,
                             .ar = {DATA, DATA + PAGE_SIZE},
                             .was = perms ^ ACCESS_WRITE,
                             .perms = perms};
    check(as->ops->apply(as, &op, 1) == 0, "protect");
}

static void context_of_an_old_thread(void)
{
    struct context *c;
    check(p->ops->new_context(p, as, &c) == 0, "new_context");
    run_from(c, as, 0, SWITCH_SYSCALL);
    c->ops->release(c);
}

static void *thread_main(void *arg)
{
    (void)arg;
    context_of_an_old_thread();
    return NULL;
}

static void thread_with_context(void)
{
    pthread_t t;
    pthread_create(&t, NULL, thread_main, NULL);
    context->ops->will_block(context);
    pthread_join(t, NULL);
    context->ops->did_unblock(context);
}

static void *plain_thread_main(void *arg)
{
    return arg;
}

static void plain_thread(void)
{
    pthread_t t;
    pthread_create(&t, NULL, plain_thread_main, NULL);
    pthread_join(t, NULL);
}

static void *process_main(void *arg)
{
    struct address_space *space = arg;
    struct context *c;
    check(p->ops->new_context(p, space, &c) == 0, "new_context");
    map(space, CODE, 0, ACCESS_READ | ACCESS_EXEC);
    run_from(c, space, 0, SWITCH_SYSCALL);
    c->ops->release(c);
    return NULL;
}

static void space_and_thread(void)
{
    struct address_space *space;
    pthread_t t;
    check(p->ops->new_address_space(p, &space) == 0, "new_address_space");
    pthread_create(&t, NULL, process_main, space);
    context->ops->will_block(context);
    pthread_join(t, NULL);
    context->ops->did_unblock(context);
    space->ops->release(space);
}

/* Tasks that do nothing but system calls: as many at a time as there are CPUs. */
static void *busy_main(void *arg)
{
    struct context *c;
    check(p->ops->new_context(p, as, &c) == 0, "new_context");
    for (int i = 0; i < BUSY_CALLS; i++)
        run_from(c, as, 0, SWITCH_SYSCALL);
    c->ops->release(c);
    return arg;
}

static void busy_threads(void)
{
    pthread_t t[BUSY_THREADS];
    for (int i = 0; i < BUSY_THREADS; i++)
        pthread_create(&t[i], NULL, busy_main, NULL);
    context->ops->will_block(context);
    for (int i = 0; i < BUSY_THREADS; i++)
        pthread_join(t[i], NULL);
    context->ops->did_unblock(context);
}

/* Two tasks that wake each other in turn. */
static pthread_mutex_t turn_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn_changed = PTHREAD_COND_INITIALIZER;
static int turn;

static void *ping_main(void *arg)
{
    int me = arg != NULL;
    struct context *c;
    check(p->ops->new_context(p, as, &c) == 0, "new_context");
    for (int i = 0; i < PINGS; i++) {
        pthread_mutex_lock(&turn_lock);
        c->ops->will_block(c);
        while (turn != me)
            pthread_cond_wait(&turn_changed, &turn_lock);
        c->ops->did_unblock(c);
        pthread_mutex_unlock(&turn_lock);
        run_from(c, as, 0, SWITCH_SYSCALL);
        pthread_mutex_lock(&turn_lock);
        turn = !me;
        pthread_cond_signal(&turn_changed);
        pthread_mutex_unlock(&turn_lock);
    }
    c->ops->release(c);
    return NULL;
}

static void ping_pong(void)
{
    pthread_t t[2];
    turn = 0;
    pthread_create(&t[0], NULL, ping_main, NULL);
    pthread_create(&t[1], NULL, ping_main, &turn);
    context->ops->will_block(context);
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    context->ops->did_unblock(context);
}

static void twelve_spaces(void)
{
    struct address_space *space[12];
    for (int i = 0; i < 12; i++)
        check(p->ops->new_address_space(p, &space[i]) == 0, "new_address_space");
    for (int i = 0; i < 12; i++)
        space[i]->ops->release(space[i]);
}

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* fn does the thing `times` times, and is called n times in a stretch. */
static void measure_many(const char *name, void (*fn)(void), int n, int times)
{
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < STRETCHES; i++) {
        uint64_t start = now_ns();
        for (int k = 0; k < n; k++)
            fn();
        uint64_t ns = (now_ns() - start) / (uint64_t)n / (uint64_t)times;
        best = MIN(best, ns);
    }
    printf("%-44s %8lu\n", name, (unsigned long)best);
}

static void measure(const char *name, void (*fn)(void), int n)
{
    measure_many(name, fn, n, 1);
}

int main(int argc, char **argv)
{
    char why[200];
    const struct platform_type *type = platform_type_find(argc > 1 ? argv[1] : "ptrace");
    check(type != NULL, "no such platform");
    uint64_t start = now_ns();
    check(type->create(&p, why, sizeof(why)) == 0, why);
    printf("%-44s %8lu\n", "create the platform", (unsigned long)(now_ns() - start));
    file.fd = memfd_create("bench", MFD_CLOEXEC);
    check(file.fd >= 0 && ftruncate(file.fd, FILE_SIZE) == 0 &&
              write(file.fd, program, sizeof(program)) == sizeof(program),
          "memfd");
    check(p->ops->new_address_space(p, &as) == 0, "new_address_space");
    check(p->ops->new_context(p, as, &context) == 0, "new_context");
    map(as, CODE, 0, ACCESS_READ | ACCESS_EXEC);
    map(as, DATA, PAGE_SIZE, ACCESS_READ | ACCESS_WRITE);

    measure("system call", system_call, 5000);
    measure("mprotect of a page", protect, 5000);
    measure("unmap, map, run", unmap_map_run, 2000);
    unmap(DATA);
    measure("fault, map, run, unmap", fault_map_run_unmap, 2000);
    measure("context on a thread that had one", context_of_an_old_thread, 1000);
    measure("host thread alone", plain_thread, 300);
    measure("host thread with context", thread_with_context, 300);
    measure("host thread with address space and context", space_and_thread, 300);
    measure_many("system call of eight busy tasks", busy_threads, 1, BUSY_THREADS * BUSY_CALLS);
    measure_many("ping-pong between two tasks", ping_pong, 1, PINGS);
    measure("twelve address spaces", twelve_spaces, 30);

    context->ops->release(context);
    as->ops->release(as);
    p->ops->release(p);
    return 0;
}
