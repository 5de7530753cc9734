/*
 * What execve(2) takes for a program: ELF files put together by hand.
 */
#include "tests/syscalls/test.h"
#include <elf.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>

#define BASE 0x10000000ull

/* mov $60, %eax; mov $42, %edi; syscall */
#define EXIT_42 "\xb8\x3c\x00\x00\x00\xbf\x2a\x00\x00\x00\x0f\x05"

struct program {
    unsigned char bytes[0x4000];
    size_t size;
    Elf64_Ehdr *eh;
    Elf64_Phdr *ph;
};
static struct program prog;

/* One segment with everything: headers, then code at 0x200. */
static void make(const void *code, size_t size)
{
    memset(&prog, 0, sizeof(prog));
    prog.eh = (Elf64_Ehdr *)prog.bytes;
    prog.ph = (Elf64_Phdr *)(prog.bytes + sizeof(Elf64_Ehdr));
    prog.size = 0x1000;
    *prog.eh = (Elf64_Ehdr){
        .e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_EXEC,
        .e_machine = EM_X86_64,
        .e_version = EV_CURRENT,
        .e_entry = BASE + 0x200,
        .e_phoff = sizeof(Elf64_Ehdr),
        .e_ehsize = sizeof(Elf64_Ehdr),
        .e_phentsize = sizeof(Elf64_Phdr),
        .e_phnum = 1,
    };
    prog.ph[0] = (Elf64_Phdr){.p_type = PT_LOAD,
                              .p_flags = PF_R | PF_X,
                              .p_vaddr = BASE,
                              .p_filesz = 0x1000,
                              .p_memsz = 0x1000,
                              .p_align = 0x1000};
    memcpy(prog.bytes + 0x200, code, size);
}

#define MAKE(code) make(code, sizeof(code) - 1)

static const char *write_program(const char *name)
{
    const char *path = test_path(name);
    int fd = EXPECT_OK(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755));
    EXPECT_EQ(write(fd, prog.bytes, prog.size), (ssize_t)prog.size);
    EXPECT_OK(close(fd));
    return path;
}

/* Runs prog; its wait status, or minus the errno of execve. */
static int run(void)
{
    int fds[2], err;
    const char *path = write_program("program");
    EXPECT_OK(pipe2(fds, O_CLOEXEC));
    pid_t pid = FORK({
        execl(path, path, NULL);
        err = errno;
        EXPECT_EQ(write(fds[1], &err, sizeof(err)), sizeof(err));
    });
    close(fds[1]);
    ssize_t n = read(fds[0], &err, sizeof(err));
    close(fds[0]);
    int status = test_wait(pid);
    return n == sizeof(err) ? -err : status;
}

#define EXITED(code) ((code) << 8)
#define EXPECT_RUNS(code) EXPECT_EQ(run(), EXITED(code))
#define EXPECT_REFUSED(err) EXPECT_EQ(run(), -(err))

CASE(smallest)
{
    MAKE(EXIT_42);
    EXPECT_RUNS(42);
}

/* On entry: an aligned stack, and nothing for atexit in rdx. */
CASE(entry_state)
{
    /* mov %rsp, %rdi; and $15, %edi; or %rdx, %rdi; mov $60, %eax; syscall */
    MAKE("\x48\x89\xe7\x83\xe7\x0f\x48\x09\xd7\xb8\x3c\x00\x00\x00\x0f\x05");
    EXPECT_RUNS(0);
    /* or %rbx, %rdx; or %rcx..., all general registers but rsp; exit(rdx != 0) */
    MAKE("\x48\x09\xda\x48\x09\xca\x48\x09\xc2\x48\x09\xf2\x48\x09\xfa\x48\x09\xea\x4c\x09\xc2"
         "\x4c\x09\xca\x4c\x09\xd2\x4c\x09\xda\x4c\x09\xe2\x4c\x09\xea\x4c\x09\xf2\x4c\x09\xfa"
         "\x31\xff\x48\x85\xd2\x40\x0f\x95\xc7\xb8\x3c\x00\x00\x00\x0f\x05");
    EXPECT_RUNS(0);
}

CASE(position_independent)
{
    MAKE(EXIT_42);
    prog.eh->e_type = ET_DYN;
    prog.eh->e_entry = 0x200;
    prog.ph[0].p_vaddr = 0;
    EXPECT_RUNS(42);
    prog.ph[0].p_vaddr = 0x7000; /* need not begin at zero */
    prog.eh->e_entry = 0x7200;
    EXPECT_RUNS(42);
    prog.ph[0].p_align = 0x200000;
    EXPECT_RUNS(42);
}

/* Nobody looks at these. */
CASE(ignored_fields)
{
    MAKE(EXIT_42);
    memset(prog.eh->e_ident + 4, 0xaa, 12);
    prog.eh->e_version = 0;
    prog.eh->e_ehsize = 0;
    prog.eh->e_flags = 0xffffffff;
    prog.eh->e_shoff = UINT64_MAX;
    prog.eh->e_shnum = 0xffff;
    prog.ph[0].p_paddr = UINT64_MAX;
    prog.ph[0].p_align = 0;
    EXPECT_RUNS(42);
}

CASE(no_programs)
{
    static const struct {
        size_t offset;
        uint16_t value;
    } bad[] = {
        {0, 0x457e},
        {2, 0x464d},
        {offsetof(Elf64_Ehdr, e_type), ET_REL},
        {offsetof(Elf64_Ehdr, e_type), ET_CORE},
        {offsetof(Elf64_Ehdr, e_machine), EM_AARCH64},
        {offsetof(Elf64_Ehdr, e_machine), 0},
        {offsetof(Elf64_Ehdr, e_phentsize), 32},
        {offsetof(Elf64_Ehdr, e_phentsize), 0},
        {offsetof(Elf64_Ehdr, e_phnum), 0},
        {offsetof(Elf64_Ehdr, e_phnum), 1171},
        {offsetof(Elf64_Ehdr, e_phnum), 0xffff},
        {offsetof(Elf64_Ehdr, e_phoff), 0x1000},
        {offsetof(Elf64_Ehdr, e_phoff) + 6, 0x7fff},
        {offsetof(Elf64_Ehdr, e_phoff) + 6, 0xffff},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        MAKE(EXIT_42);
        memcpy(prog.bytes + bad[i].offset, &bad[i].value, 2);
        int r = run();
        if (r != -ENOEXEC)
            FAIL("case %zu: %d", i, r);
    }
}

CASE(short_files)
{
    static const size_t sizes[] = {0, 1, 3, 4, 16, 63, 64, 100, 119};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        MAKE(EXIT_42);
        prog.size = sizes[i];
        EXPECT_REFUSED(ENOEXEC);
    }
}

/* The file ends before the code: the rest of its last page is zeroes. */
CASE(file_shorter_than_its_segment)
{
    MAKE(EXIT_42);
    prog.size = 0x200 + sizeof(EXIT_42) - 1;
    EXPECT_RUNS(42);
    prog.ph[0].p_filesz = prog.ph[0].p_memsz = 0x100000;
    EXPECT_RUNS(42);
}

/* Ors up `length` bytes from BASE + from, and exits with the result. */
static void make_reader(uint32_t from, uint32_t length)
{
    static const unsigned char loop[] = "\x31\xc0\x0a\x06\x48\xff\xc6\xff\xc9\x75\xf7\x89\xc7"
                                        "\xb8\x3c\x00\x00\x00\x0f\x05";
    unsigned char code[64] = {0x48, 0xbe};
    uint64_t addr = BASE + from;
    memcpy(code + 2, &addr, 8);
    code[10] = 0xb9;
    memcpy(code + 11, &length, 4);
    memcpy(code + 15, loop, sizeof(loop) - 1);
    make(code, 15 + sizeof(loop) - 1);
}

/* A data segment after the code, from the file's second page. */
static void add_data(uint32_t flags, uint64_t filesz, uint64_t memsz)
{
    prog.eh->e_phnum = 2;
    prog.size = 0x3000;
    memset(prog.bytes + 0x1000, 0x11, 0x2000);
    prog.ph[1] = (Elf64_Phdr){.p_type = PT_LOAD,
                              .p_flags = flags,
                              .p_offset = 0x1000,
                              .p_vaddr = BASE + 0x2000,
                              .p_filesz = filesz,
                              .p_memsz = memsz,
                              .p_align = 0x1000};
}

CASE(bss_is_zero)
{
    make_reader(0x2000 + 0x123, 0x5000 - 0x123);
    add_data(PF_R | PF_W, 0x123, 0x5000);
    EXPECT_RUNS(0);
    make_reader(0x2000, 0x5000); /* all of it, with the data */
    add_data(PF_R | PF_W, 0x123, 0x5000);
    EXPECT_RUNS(0x11);
    make_reader(0x2000 + 0x1000, 0x4000); /* data that fills its page */
    add_data(PF_R | PF_W, 0x1000, 0x5000);
    EXPECT_RUNS(0);
    make_reader(0x2000, 0x5000); /* nothing but zeroes; the offset says nothing */
    add_data(PF_R | PF_W, 0, 0x5000);
    prog.ph[1].p_offset = 0x12345;
    EXPECT_RUNS(0);
    make_reader(0x2000 + 0x123, 0x1000 - 0x123); /* only to the end of the page */
    add_data(PF_R | PF_W, 0x123, 0x124);
    EXPECT_RUNS(0);
}

/* The tail of a page that cannot be written shows what the file has there. */
CASE(read_only_tail)
{
    make_reader(0x2000 + 0x123, 0x1000 - 0x123);
    add_data(PF_R, 0x123, 0x200);
    EXPECT_RUNS(0x11);
}

CASE(unordered_segments)
{
    make_reader(0x2000, 0x100);
    add_data(PF_R, 0x200, 0x200);
    Elf64_Phdr first = prog.ph[0];
    prog.ph[0] = prog.ph[1];
    prog.ph[1] = first;
    EXPECT_RUNS(0x11);
    /* The program headers are found anyway. */
}

/* What comes later covers what was there. */
CASE(overlapping_segments)
{
    make_reader(0x800, 0x100);
    add_data(PF_R | PF_X, 0x2000, 0x2000);
    prog.ph[0].p_filesz = prog.ph[0].p_memsz = 0x1000;
    prog.ph[1].p_vaddr = BASE;
    memcpy(prog.bytes + 0x1000, prog.bytes, 0x400);
    EXPECT_RUNS(0x11);
}

static void make_stack_code(uint32_t flags)
{
    /* mov $(push $60; pop %rax; push $42; pop %rdi; syscall), %rax; push %rax; jmp *%rsp */
    MAKE("\x48\xb8\x6a\x3c\x58\x6a\x2a\x5f\x0f\x05\x50\xff\xe4");
    prog.eh->e_phnum = 2;
    prog.ph[1] = (Elf64_Phdr){.p_type = flags ? PT_GNU_STACK : PT_NULL, .p_flags = flags};
}

CASE(stack_permissions)
{
    make_stack_code(PF_R | PF_W | PF_X);
    EXPECT_RUNS(42);
    make_stack_code(PF_R | PF_W);
    EXPECT_EQ(run(), SIGSEGV);
    make_stack_code(0); /* nothing said */
    EXPECT_EQ(run(), SIGSEGV);
}

CASE(segment_permissions)
{
    MAKE(EXIT_42);
    prog.ph[0].p_flags = PF_R;
    EXPECT_EQ(run(), SIGSEGV);
    /* movb $1, BASE; then exit */
    MAKE("\xc6\x04\x25\x00\x00\x00\x10\x01" EXIT_42);
    EXPECT_EQ(run(), SIGSEGV);
    prog.ph[0].p_flags = PF_R | PF_W | PF_X;
    EXPECT_RUNS(42);
}

CASE(entry_outside)
{
    MAKE(EXIT_42);
    prog.eh->e_entry = BASE + 0x100000;
    EXPECT_EQ(run(), SIGSEGV);
}

static void make_with_interp(const char *interp, size_t size)
{
    MAKE(EXIT_42);
    prog.eh->e_phnum = 2;
    prog.ph[1] = (Elf64_Phdr){.p_type = PT_INTERP, .p_offset = 0x800, .p_filesz = size};
    memcpy(prog.bytes + 0x800, interp, size);
}

/* An interpreter that is itself written by hand: exit(AT_BASE + 0x200 - its own address). */
CASE(interpreter)
{
    char path[512];
    MAKE(EXIT_42);
    prog.eh->e_type = ET_DYN;
    prog.eh->e_entry = 0x200;
    prog.ph[0].p_vaddr = 0;
    snprintf(path, sizeof(path), "%s", write_program("interp"));

    make_with_interp(path, strlen(path) + 1);
    prog.bytes[0x206] = 43; /* the program itself would say so */
    EXPECT_RUNS(42);
    prog.eh->e_type = ET_DYN; /* likewise for one that is position-independent */
    prog.ph[0].p_vaddr = 0;
    prog.eh->e_entry = 0x200;
    EXPECT_RUNS(42);

    /* At an address of its own choice. */
    MAKE(EXIT_42);
    prog.ph[0].p_vaddr = 0x30000000;
    prog.eh->e_entry = 0x30000200;
    write_program("interp");
    make_with_interp(path, strlen(path) + 1);
    EXPECT_RUNS(42);
}

CASE(bad_interpreters)
{
    make_with_interp("/nonexistent", 13);
    EXPECT_REFUSED(ENOENT);
    make_with_interp("/", 2);
    EXPECT_REFUSED(EACCES);
    make_with_interp("/nonexistent", 12); /* no NUL */
    EXPECT_REFUSED(ENOEXEC);
    make_with_interp("", 1);
    EXPECT_REFUSED(ENOEXEC);
    make_with_interp("", 0);
    EXPECT_REFUSED(ENOEXEC);
    make_with_interp("/nonexistent", 13);
    prog.ph[1].p_filesz = 4097;
    EXPECT_REFUSED(ENOEXEC);
    prog.ph[1].p_filesz = 100;
    prog.ph[1].p_offset = 0xff0; /* beyond the end */
    EXPECT_REFUSED(EIO);

    char path[512];
    snprintf(path, sizeof(path), "%s", test_path("interp"));
    int fd = EXPECT_OK(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755));
    make_with_interp(path, strlen(path) + 1);
    for (int i = 0; i < 100; i++)
        EXPECT_EQ(write(fd, "no program", 10), 10);
    EXPECT_OK(close(fd));
    EXPECT_REFUSED(ELIBBAD);
    EXPECT_OK(chmod(path, 0644));
    EXPECT_REFUSED(EACCES);
}

CASE(busy)
{
    MAKE(EXIT_42);
    const char *path = write_program("busy");
    int fd = EXPECT_OK(open(path, O_WRONLY));
    EXPECT_ERRNO(ETXTBSY, execl(path, path, NULL));
    EXPECT_OK(close(fd));
}

/* Segments that cannot be: an error, or a quick death; nothing else. */
CASE(hostile_segments)
{
    static const struct {
        uint64_t vaddr, offset, filesz, memsz;
    } bad[] = {
        {BASE, 0, 0x2000, 0x1000},
        {BASE + 1, 0, 0x1000, 0x1000},
        {UINT64_MAX - 0xfff, 0, 0x1000, 0x1000},
        {0x7ffffffff000, 0, 0x1000, 0x1000},
        {0x7fffffffe000, 0, 0x1000, 0x1001},
        {0xffffffff80000000, 0, 0x1000, 0x1000},
        {BASE, 0, 0x1000, UINT64_MAX},
        {BASE, 0, 0x1000, 0x7fffffffffff},
        {BASE, 0, 0x1000, 1ull << 46},
        {0, 0, 0x1000, 0x1000},
        {BASE, 0x7ffffffffffff000, 0x1000, 0x1000},
        {BASE, 0xfffffffffffff000, 0x1000, 0x1000},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (bad[i].vaddr == 0 && geteuid() == 0)
            continue; /* root may map the zero page */
        MAKE(EXIT_42);
        prog.ph[0].p_vaddr = bad[i].vaddr;
        prog.ph[0].p_offset = bad[i].offset;
        prog.ph[0].p_filesz = bad[i].filesz;
        prog.ph[0].p_memsz = bad[i].memsz;
        int r = run();
        if (r >= 0 && !WIFSIGNALED(r))
            FAIL("case %zu: %d", i, r);
    }
}

/* Random damage to a program: it runs, it dies or it is refused, and we go on. */
CASE(damaged)
{
    srandom(1);
    for (int n = 0; n < 200; n++) {
        MAKE(EXIT_42);
        for (int hits = 0; hits < 2; hits++)
            prog.bytes[(size_t)random() % (64 + 56)] ^= 1u << random() % 8;
        run();
    }
    MAKE(EXIT_42);
    EXPECT_RUNS(42);
}

TEST_MAIN
