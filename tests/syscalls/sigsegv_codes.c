/* Which signal, code and address a bad access becomes. */
#include "tests/syscalls/memory.h"
#include <sys/ucontext.h>

CASE(nothing_mapped)
{
    catch_faults();
    char *p = map_alone(1, RW, ANON);
    EXPECT_FAULT(READ_OF(p - 1), SIGSEGV, SEGV_MAPERR, p - 1);
    EXPECT_FAULT(WRITE_OF(p + PG + 3), SIGSEGV, SEGV_MAPERR, p + PG + 3);
    EXPECT_FAULT(READ_OF((char *)NULL), SIGSEGV, SEGV_MAPERR, 0);
    EXPECT_FAULT(WRITE_OF((char *)8), SIGSEGV, SEGV_MAPERR, 8);
    EXPECT_FAULT(CALL_OF(p - PG), SIGSEGV, SEGV_MAPERR, p - PG);
}

CASE(protection)
{
    catch_faults();
    char *p = map(3, PROT_READ, ANON);
    EXPECT_EQ(READ_OF(p), 0);
    EXPECT_FAULT(WRITE_OF(p + 9), SIGSEGV, SEGV_ACCERR, p + 9);
    EXPECT_FAULT(CALL_OF(p), SIGSEGV, SEGV_ACCERR, p);
    EXPECT_EQ(mprotect(p, PG, PROT_NONE), 0);
    EXPECT_FAULT(READ_OF(p + 1), SIGSEGV, SEGV_ACCERR, p + 1);
}

CASE(kernel_half)
{
    catch_faults();
    EXPECT_EQ(READ_OF((char *)0xffffffff81000000ul), SIGSEGV);
    EXPECT_EQ(WRITE_OF((char *)0xffff888000000000ul), SIGSEGV);
    EXPECT_EQ(READ_OF((char *)((1ul << 47) - 1)), SIGSEGV);
}

/* An address that is none: a general protection fault, which tells no address. */
CASE(not_canonical)
{
    catch_faults();
    EXPECT_EQ(READ_OF((char *)(1ul << 60)), SIGSEGV);
    EXPECT_EQ(test_fault.info.si_code, SI_KERNEL);
    EXPECT_EQ((long)test_fault.info.si_addr, 0);
}

CASE(unaligned_over_a_boundary)
{
    catch_faults();
    char *p = map_alone(1, RW, ANON);
    test_fault.info.si_signo = 0;
    if (sigsetjmp(test_fault.env, 1) == 0)
        *(volatile long *)(void *)(p + PG - 3) = 1;
    EXPECT_FAULT(test_fault.info.si_signo, SIGSEGV, SEGV_MAPERR, p + PG);
}

CASE(beyond_the_file)
{
    catch_faults();
    int fd = file_of("f", 1);
    char *p = mmap(NULL, 2 * PG, PROT_READ, MAP_PRIVATE, fd, 0);
    EXPECT(p != MAP_FAILED);
    EXPECT_FAULT(READ_OF(p + PG + 5), SIGBUS, BUS_ADRERR, p + PG + 5);
    EXPECT_FAULT(WRITE_OF(p + PG), SIGSEGV, SEGV_ACCERR, p + PG); /* permission comes first */
}

CASE(default_is_death)
{
    char *p = map_alone(1, PROT_READ, ANON);
    int fd = file_of("f", 0);
    char *q = mmap(NULL, PG, PROT_READ, MAP_SHARED, fd, 0);
    EXPECT(q != MAP_FAILED);
    EXPECT_KILLED(FORK({ *(volatile char *)p = 1; }), SIGSEGV);
    EXPECT_KILLED(FORK({ (void)*(volatile char *)(p - 1); }), SIGSEGV);
    EXPECT_KILLED(FORK({ (void)*(volatile char *)q; }), SIGBUS);
    EXPECT_KILLED(FORK({
                      signal(SIGSEGV, SIG_IGN); /* cannot be ignored */
                      *(volatile char *)p = 1;
                  }),
                  SIGSEGV);
    EXPECT_KILLED(FORK({
                      sigset_t set;
                      sigfillset(&set);
                      sigprocmask(SIG_BLOCK, &set, NULL);
                      *(volatile char *)p = 1;
                  }),
                  SIGSEGV);
}

static volatile unsigned long seen_error, seen_cr2, seen_trapno;
static char *fix_page;

static void on_fix(TEST_UNUSED int sig, siginfo_t *info, void *ctx)
{
    ucontext_t *uc = ctx;
    seen_error = (unsigned long)uc->uc_mcontext.gregs[REG_ERR];
    seen_cr2 = (unsigned long)uc->uc_mcontext.gregs[REG_CR2];
    seen_trapno = (unsigned long)uc->uc_mcontext.gregs[REG_TRAPNO];
    if ((char *)info->si_addr < fix_page || (char *)info->si_addr >= fix_page + PG ||
        mprotect(fix_page, PG, RW))
        _exit(98);
}

/* The context tells what the hardware told, and the instruction is done again. */
CASE(context)
{
    struct sigaction sa = {.sa_sigaction = on_fix, .sa_flags = SA_SIGINFO};
    EXPECT_EQ(sigaction(SIGSEGV, &sa, NULL), 0);
    fix_page = map(1, PROT_READ, ANON);
    EXPECT_EQ(fix_page[0], 0);
    *(volatile char *)(fix_page + 17) = 5;
    EXPECT_EQ(fix_page[17], 5);
    EXPECT_EQ(seen_cr2, fix_page + 17);
    EXPECT_EQ(seen_trapno, 14);
    EXPECT_EQ(seen_error & 6, 6); /* a write, by user code */
    EXPECT_EQ(mprotect(fix_page, PG, PROT_NONE), 0);
    EXPECT_EQ(*(volatile char *)(fix_page + 17), 5);
    EXPECT_EQ(seen_error & 6, 4);
}

CASE(system_calls_return_efault)
{
    int fds[2];
    char *p = map_alone(1, PROT_READ, ANON);
    EXPECT_EQ(pipe(fds), 0);
    EXPECT_EQ(write(fds[1], p, 16), 16);
    EXPECT_ERRNO(EFAULT, read(fds[0], p, 16));
    EXPECT_ERRNO(EFAULT, write(fds[1], p - PG, 16));
    EXPECT_ERRNO(EFAULT, write(fds[1], (void *)(1ul << 60), 16));
    EXPECT_ERRNO(EFAULT, write(fds[1], (void *)-16, 8));
    EXPECT_ERRNO(EFAULT, open(p - PG, O_RDONLY));
    EXPECT_ERRNO(EFAULT, pipe((int *)(void *)p));
}

/* A string may end right before a hole. */
CASE(string_at_the_edge)
{
    char *p = map_alone(1, RW, ANON);
    strcpy(p + PG - 10, "/dev/null");
    int fd = open(p + PG - 10, O_RDONLY);
    EXPECT_GE(fd, 0);
    strcpy(p + PG - 10, "/dev/nul");
    p[PG - 2] = 'l';
    p[PG - 1] = 'x';
    EXPECT_ERRNO(EFAULT, open(p + PG - 10, O_RDONLY));
}

TEST_MAIN
