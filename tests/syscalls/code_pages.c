/* Instructions that reach into a second page, or that write to one: what may look like the other.
 */
#include "tests/syscalls/memory.h"
#include <sys/ucontext.h>
#include <ucontext.h>

#define STORE_SIZE 11
#define RX (PROT_READ | PROT_EXEC)
#define RWX (RW | PROT_EXEC)

/* movq $7, -disp32(%rdi) ; ret: called with the address that it shall write to, and 4096 more. */
static const unsigned char code[] = {
    0x48, 0xc7, 0x87, 0x00, 0xf0, 0xff, 0xff, 0x07, 0, 0, 0, 0xc3,
};

/* Forms of stores, each with what follows the opcode: ModRM, SIB, displacement, immediate. */
static const struct store {
    unsigned char size, code[15];
} stores[] = {
    {2, {0x88, 0x07}},                                      /* mov %al, (%rdi) */
    {3, {0x48, 0x89, 0x07}},                                /* mov %rax, (%rdi) */
    {4, {0x48, 0x89, 0x04, 0x27}},                          /* mov %rax, (%rdi) with a SIB byte */
    {4, {0x48, 0x89, 0x47, 0x00}},                          /* mov %rax, 0(%rdi) */
    {7, {0x48, 0x89, 0x87, 0, 0, 0, 0}},                    /* ... with 32 bits */
    {8, {0x48, 0x89, 0x84, 0x27, 0, 0, 0, 0}},              /* ... and a SIB byte */
    {4, {0x48, 0x83, 0x07, 0x05}},                          /* addq $5, (%rdi) */
    {7, {0x48, 0x81, 0x07, 5, 0, 0, 0}},                    /* addq $0x5, (%rdi) */
    {5, {0x66, 0x81, 0x07, 5, 0}},                          /* addw $0x5, (%rdi) */
    {5, {0x66, 0xc7, 0x07, 5, 0}},                          /* movw $5, (%rdi) */
    {9, {0x66, 0xc7, 0x87, 0, 0, 0, 0, 5, 0}},              /* movw $5, 0(%rdi) */
    {12, {0x48, 0xc7, 0x84, 0x27, 0, 0, 0, 0, 5, 0, 0, 0}}, /* movq $5, 0(%rdi) */
    {4, {0x0f, 0xa4, 0x07, 0x03}},                          /* shld $3, %eax, (%rdi) */
    {4, {0x0f, 0xba, 0x2f, 0x03}},                          /* bts $3, (%rdi) */
    {4, {0xf0, 0x0f, 0xc1, 0x07}},                          /* lock xadd %eax, (%rdi) */
    {3, {0x0f, 0x11, 0x07}},                                /* movups %xmm0, (%rdi) */
    {6, {0x66, 0x0f, 0x3a, 0x16, 0x07, 0x00}},              /* pextrd $0, %xmm0, (%rdi) */
    {2, {0xf6, 0x17}},                                      /* notb (%rdi) */
    {3, {0x48, 0xff, 0x07}},                                /* incq (%rdi) */
    {2, {0xd9, 0x3f}},                                      /* fnstcw (%rdi) */
    {3, {0x48, 0xd1, 0x27}},                                /* shl (%rdi) */
    {4, {0x48, 0xc1, 0x27, 0x01}},                          /* shl $1, (%rdi) */
    {1, {0xaa}},                                            /* stos */
};
#define STORES (sizeof(stores) / sizeof(*stores))

static int run(const void *at, void *target)
{
    test_fault.info.si_signo = 0;
    if (sigsetjmp(test_fault.env, 1))
        return test_fault.info.si_signo;
    ((void (*)(void *))(uintptr_t)at)(target);
    return 0;
}

static int code_file(size_t offset, const void *bytes, size_t size)
{
    int fd = EXPECT_OK(open(test_path("code"), O_RDWR | O_CREAT | O_TRUNC, 0600));
    EXPECT_EQ(ftruncate(fd, 2 * PG), 0);
    EXPECT_EQ(pwrite(fd, bytes, size, (off_t)offset), size);
    return fd;
}

/* The second page was not touched yet; `before` bytes of the instruction are on the first. */
static void untouched(int flags, int fd, size_t before, int prot)
{
    long data = 0;
    char *p = map(2, PROT_NONE, ANON);
    EXPECT(mmap(p, PG, RX, flags | MAP_FIXED, fd, 0) == p);
    EXPECT_EQ(READ_OF(p), 0);
    EXPECT(mmap(p + PG, PG, prot, flags | MAP_FIXED, fd, PG) == p + PG);
    EXPECT_EQ(run(p + PG - before, (char *)&data + PG), 0);
    EXPECT_EQ(data, 7);
    EXPECT_EQ(munmap(p, 2 * PG), 0);
}

CASE(fetch_from_an_untouched_page)
{
    catch_faults();
    for (size_t before = 1; before < sizeof(code); before++) {
        int fd = code_file(PG - before, code, sizeof(code));
        untouched(MAP_PRIVATE, fd, before, RX);
        untouched(MAP_SHARED, fd, before, RX);
        untouched(MAP_PRIVATE, fd, before, PROT_EXEC);
        close(fd);
    }
}

/* Written as data, then made code, one page after the other. */
CASE(fetch_from_a_page_made_code)
{
    catch_faults();
    for (size_t before = 1; before < sizeof(code); before++) {
        long data = 0;
        char *p = map(2, RW, ANON);
        memcpy(p + PG - before, code, sizeof(code));
        EXPECT_EQ(mprotect(p, PG, RX), 0);
        EXPECT_EQ(READ_OF(p), 0);
        EXPECT_EQ(mprotect(p + PG, PG, RX), 0);
        EXPECT_EQ(run(p + PG - before, (char *)&data + PG), 0);
        EXPECT_EQ(data, 7);
        EXPECT_EQ(munmap(p, 2 * PG), 0);
    }
}

CASE(fetch_denied)
{
    catch_faults();
    for (size_t before = 1; before < STORE_SIZE; before++) {
        long data = 0;
        char *p = map_alone(2, RWX, ANON);
        memcpy(p + PG - before, code, sizeof(code));
        EXPECT_EQ(mprotect(p + PG, PG, RW), 0);
        EXPECT_FAULT(run(p + PG - before, (char *)&data + PG), SIGSEGV, SEGV_ACCERR, p + PG);
        EXPECT_EQ(mprotect(p + PG, PG, PROT_NONE), 0);
        EXPECT_FAULT(run(p + PG - before, (char *)&data + PG), SIGSEGV, SEGV_ACCERR, p + PG);
        EXPECT_EQ(munmap(p + PG, PG), 0);
        EXPECT_FAULT(run(p + PG - before, (char *)&data + PG), SIGSEGV, SEGV_MAPERR, p + PG);
        EXPECT_EQ(data, 0);
        EXPECT_EQ(munmap(p, PG), 0);
    }
}

static volatile char *fault_rip;

static void on_fault(int sig, siginfo_t *info, void *ctx)
{
    fault_rip = (char *)((ucontext_t *)ctx)->uc_mcontext.gregs[REG_RIP];
    test_on_fault(sig, info, ctx);
}

/* Runs the store at the end of page p, which writes to the next; where does it end? */
static void run_store(char *p, const struct store *s, char *expected_rip, int code)
{
    EXPECT_FAULT(run(p + PG - s->size, p + PG), SIGSEGV, code, p + PG);
    EXPECT_EQ((long)fault_rip, (long)expected_rip);
}

/* The last instruction of a page writes to the first byte of the next, where data is, and runs into
 * it. */
CASE(store_to_the_next_page)
{
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    catch_faults();
    EXPECT_EQ(sigaction(SIGSEGV, &sa, NULL), 0);
    for (size_t i = 0; i < STORES; i++) {
        const struct store *s = &stores[i];
        char *p = map_alone(2, RW, ANON), *start = p + PG - s->size;
        memcpy(start, s->code, s->size);
        EXPECT_EQ(mprotect(p, PG, RX), 0);
        run_store(p, s, p + PG, SEGV_ACCERR); /* to a page that was not there yet */
        p[PG] = 1;
        pid_t child = FORK({ run_store(p, s, p + PG, SEGV_ACCERR); }); /* to one to be copied */
        EXPECT_EXITED(child, 0);
        EXPECT_EQ(mprotect(p + PG, PG, PROT_READ), 0);
        run_store(p, s, start, SEGV_ACCERR);
        EXPECT_EQ(munmap(p + PG, PG), 0);
        run_store(p, s, start, SEGV_MAPERR);
        EXPECT_EQ(munmap(p, PG), 0);
    }
}

/* It ends on the page that it writes to, which a fork has made read-only for now. */
CASE(store_to_its_own_end)
{
    catch_faults();
    for (size_t before = 1; before < STORE_SIZE; before++) {
        char *p = map_alone(2, RWX, ANON);
        memcpy(p + PG - before, code, sizeof(code));
        pid_t child = FORK({
            EXPECT_EQ(run(p + PG - before, p + 2 * PG + 64), 0);
            EXPECT_EQ(p[PG + 64], 7);
        });
        EXPECT_EXITED(child, 0);
        EXPECT_EQ(mprotect(p + PG, PG, RX), 0);
        EXPECT_FAULT(run(p + PG - before, p + 2 * PG + 64), SIGSEGV, SEGV_ACCERR, p + PG + 64);
        EXPECT_EQ(munmap(p, 2 * PG), 0);
    }
}

/* It writes to the first byte of the page that it ends on: over itself. */
CASE(store_over_its_own_end)
{
    catch_faults();
    for (size_t before = 1; before < STORE_SIZE; before++) {
        char *p = map_alone(2, RWX, ANON);
        memcpy(p + PG - before, code, sizeof(code));
        memset(p + PG + STORE_SIZE - before, 0xc3, 16);
        EXPECT_EQ(mprotect(p + PG, PG, RX), 0);
        EXPECT_FAULT(run(p + PG - before, p + 2 * PG), SIGSEGV, SEGV_ACCERR, p + PG);
        EXPECT_EQ(mprotect(p + PG, PG, RWX), 0);
        pid_t child = FORK({
            run(p + PG - before, p + 2 * PG); /* what comes after it may be overwritten */
            EXPECT_EQ(p[PG], 7);
        });
        EXPECT_EXITED(child, 0);
        EXPECT_EQ(munmap(p, 2 * PG), 0);
    }
}

TEST_MAIN
