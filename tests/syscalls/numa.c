/*
 * Memory policies and the placement of pages, on whatever nodes the machine has: node 0 always.
 * (set_mempolicy, get_mempolicy, mbind, move_pages, migrate_pages, set_mempolicy_home_node)
 */
#include "tests/syscalls/test.h"
#include <linux/mempolicy.h>
#include <sys/mman.h>

#define PAGE 4096ul
#define BITS 64ul

static long set_policy(int mode, const unsigned long *nodes, unsigned long max)
{
    return syscall(SYS_set_mempolicy, mode, nodes, max);
}

static long get_policy(int *mode, unsigned long *nodes, unsigned long max, void *addr, int flags)
{
    return syscall(SYS_get_mempolicy, mode, nodes, max, addr, flags);
}

static long bind(void *addr, size_t length, int mode, const unsigned long *nodes, int flags)
{
    return syscall(SYS_mbind, addr, length, mode, nodes, BITS, flags);
}

static void need_numa(void)
{
    if (get_policy(NULL, NULL, 0, NULL, 0) < 0 && errno == ENOSYS)
        SKIP("a kernel without NUMA");
}

static char *map(size_t length)
{
    return EXPECT_OK(
        mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

CASE(default_policy)
{
    need_numa();
    int mode = -1;
    unsigned long nodes[16] = {~0ul, ~0ul};
    EXPECT_EQ(get_policy(&mode, nodes, 1024, NULL, 0), 0);
    EXPECT_EQ(mode, MPOL_DEFAULT);
    EXPECT_EQ(nodes[0], 0);
    EXPECT_EQ(nodes[1], 0);
    EXPECT_EQ(get_policy(NULL, nodes, 1024, NULL, MPOL_F_MEMS_ALLOWED), 0);
    EXPECT(nodes[0] & 1);
}

CASE(policies_are_kept_and_inherited)
{
    need_numa();
    static const int modes[] = {MPOL_BIND, MPOL_INTERLEAVE, MPOL_PREFERRED};
    for (int i = 0; i < 3; i++) {
        unsigned long nodes = 1, got[16];
        int mode;
        EXPECT_EQ(set_policy(modes[i], &nodes, BITS), 0);
        EXPECT_EQ(get_policy(&mode, got, 1024, NULL, 0), 0);
        EXPECT_EQ(mode, modes[i]);
        EXPECT_EQ(got[0], 1);
        EXPECT_EXITED(FORK({
                          EXPECT_EQ(get_policy(&mode, NULL, 0, NULL, 0), 0);
                          EXPECT_EQ(mode, modes[i]);
                      }),
                      0);
    }
    EXPECT_EQ(set_policy(MPOL_DEFAULT, NULL, 0), 0);
    int mode;
    EXPECT_EQ(get_policy(&mode, NULL, 0, NULL, 0), 0);
    EXPECT_EQ(mode, MPOL_DEFAULT);
}

CASE(flags_come_back)
{
    need_numa();
    unsigned long nodes = 5, got[16];
    int mode;
    EXPECT_EQ(set_policy(MPOL_BIND | MPOL_F_STATIC_NODES, &nodes, BITS), 0);
    EXPECT_EQ(get_policy(&mode, got, 1024, NULL, 0), 0);
    EXPECT_EQ(mode, MPOL_BIND | MPOL_F_STATIC_NODES);
    EXPECT_EQ(got[0], 5);
    nodes = 2;
    EXPECT_EQ(set_policy(MPOL_INTERLEAVE | MPOL_F_RELATIVE_NODES, &nodes, BITS), 0);
    EXPECT_EQ(get_policy(&mode, got, 1024, NULL, 0), 0);
    EXPECT_EQ(mode, MPOL_INTERLEAVE | MPOL_F_RELATIVE_NODES);
    EXPECT_EQ(got[0], 2);
}

CASE(preferred_nowhere_is_local)
{
    need_numa();
    int mode;
    EXPECT_EQ(set_policy(MPOL_PREFERRED, NULL, 0), 0);
    EXPECT_EQ(get_policy(&mode, NULL, 0, NULL, 0), 0);
    EXPECT_EQ(mode, MPOL_LOCAL);
}

CASE(set_mempolicy_refuses)
{
    need_numa();
    unsigned long one = 1, none = 0, far = 1ul << 60;
    EXPECT_ERRNO(EINVAL, set_policy(99, &one, BITS));
    EXPECT_ERRNO(EINVAL, set_policy(-1, &one, BITS));
    EXPECT_ERRNO(EINVAL, set_policy(MPOL_DEFAULT, &one, BITS));
    EXPECT_ERRNO(EINVAL, set_policy(MPOL_BIND, &none, BITS));
    EXPECT_ERRNO(EINVAL, set_policy(MPOL_BIND, NULL, 0));
    EXPECT_ERRNO(EINVAL, set_policy(MPOL_INTERLEAVE, NULL, 0));
    EXPECT_ERRNO(EINVAL, set_policy(MPOL_BIND, &far, BITS));
    EXPECT_ERRNO(EINVAL, set_policy(MPOL_LOCAL, &one, BITS));
    EXPECT_ERRNO(EINVAL,
                 set_policy(MPOL_BIND | MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES, &one, BITS));
    EXPECT_ERRNO(EINVAL, set_policy(MPOL_PREFERRED | MPOL_F_STATIC_NODES, NULL, 0));
    EXPECT_ERRNO(EINVAL, set_policy(MPOL_BIND, &one, PAGE * 8 + 2));
    EXPECT_ERRNO(EFAULT, set_policy(MPOL_BIND, (void *)8, BITS));
}

CASE(get_mempolicy_refuses)
{
    need_numa();
    int mode;
    unsigned long nodes[16];
    char *p = map(PAGE);
    EXPECT_ERRNO(EINVAL, get_policy(&mode, nodes, 0, NULL, 0));
    EXPECT_ERRNO(EINVAL, get_policy(&mode, nodes, 1024, NULL, 8));
    EXPECT_ERRNO(EINVAL, get_policy(&mode, nodes, 1024, p, 0));
    EXPECT_ERRNO(EINVAL, get_policy(&mode, NULL, 0, NULL, MPOL_F_NODE));
    EXPECT_ERRNO(EINVAL, get_policy(NULL, nodes, 1024, p, MPOL_F_MEMS_ALLOWED | MPOL_F_ADDR));
    EXPECT_ERRNO(EFAULT, get_policy((int *)8, NULL, 0, NULL, 0));
    EXPECT_ERRNO(EFAULT, get_policy(NULL, (unsigned long *)8, 1024, NULL, 0));
    EXPECT_EQ(munmap(p, PAGE), 0);
    EXPECT_ERRNO(EFAULT, get_policy(&mode, NULL, 0, p, MPOL_F_ADDR));
}

CASE(mbind_sets_a_range)
{
    need_numa();
    unsigned long nodes = 1, got[16];
    int mode;
    char *p = map(4 * PAGE);
    EXPECT_EQ(bind(p + PAGE, 2 * PAGE, MPOL_BIND, &nodes, 0), 0);
    EXPECT_EQ(get_policy(&mode, NULL, 0, p, MPOL_F_ADDR), 0);
    EXPECT_EQ(mode, MPOL_DEFAULT);
    EXPECT_EQ(get_policy(&mode, got, 1024, p + 3 * PAGE - 1, MPOL_F_ADDR), 0);
    EXPECT_EQ(mode, MPOL_BIND);
    EXPECT_EQ(got[0], 1);
    EXPECT_EQ(get_policy(&mode, NULL, 0, p + 3 * PAGE, MPOL_F_ADDR), 0);
    EXPECT_EQ(mode, MPOL_DEFAULT);
    p[PAGE] = 1;
    EXPECT_EQ(get_policy(&mode, NULL, 0, p + PAGE, MPOL_F_ADDR | MPOL_F_NODE), 0);
    EXPECT_EQ(mode, 0);
    EXPECT_EQ(bind(p, 4 * PAGE, MPOL_DEFAULT, NULL, MPOL_MF_STRICT | MPOL_MF_MOVE), 0);
    EXPECT_EQ(get_policy(&mode, NULL, 0, p + PAGE, MPOL_F_ADDR), 0);
    EXPECT_EQ(mode, MPOL_DEFAULT);
}

CASE(mbind_refuses)
{
    need_numa();
    unsigned long one = 1, far = 1ul << 60;
    char *p = map(3 * PAGE);
    EXPECT_ERRNO(EINVAL, bind(p + 1, PAGE, MPOL_BIND, &one, 0));
    EXPECT_ERRNO(EINVAL, bind(p, PAGE, 99, &one, 0));
    EXPECT_ERRNO(EINVAL, bind(p, PAGE, MPOL_BIND, &one, 64));
    EXPECT_ERRNO(EINVAL, bind(p, PAGE, MPOL_BIND, &far, 0));
    EXPECT_ERRNO(EINVAL, bind(p, PAGE, MPOL_DEFAULT, &one, 0));
    EXPECT_ERRNO(EINVAL, bind(p, -PAGE, MPOL_BIND, &one, 0));
    EXPECT_ERRNO(EFAULT, bind(p, PAGE, MPOL_BIND, (void *)8, 0));
    EXPECT_EQ(bind(p, 0, MPOL_BIND, &one, 0), 0);
    EXPECT_EQ(munmap(p + PAGE, PAGE), 0);
    EXPECT_ERRNO(EFAULT, bind(p, 3 * PAGE, MPOL_BIND, &one, 0));
    if (geteuid() == 0) {
        EXPECT_EXITED(FORK({
                          EXPECT_EQ(setuid(65534), 0);
                          EXPECT_ERRNO(EPERM, bind(p, PAGE, MPOL_BIND, &one, MPOL_MF_MOVE_ALL));
                      }),
                      0);
    }
}

static long move(pid_t pid, unsigned long n, void **pages, const int *nodes, int *status, int flags)
{
    return syscall(SYS_move_pages, pid, n, pages, nodes, status, flags);
}

CASE(move_pages_tells_where)
{
    need_numa();
    char *p = map(3 * PAGE);
    EXPECT_EQ(mprotect(p + PAGE, PAGE, PROT_NONE), 0); /* no large page for both */
    p[0] = 1;
    EXPECT_EQ(munmap(p + 2 * PAGE, PAGE), 0);
    void *pages[] = {p, p + PAGE, p + 2 * PAGE};
    int status[] = {99, 99, 99}, nodes[] = {0, 0, 0};
    EXPECT_EQ(move(0, 3, pages, NULL, status, 0), 0);
    EXPECT_EQ(status[0], 0);
    EXPECT_EQ(status[1], -ENOENT);
    EXPECT_EQ(status[2], -EFAULT);
    status[0] = 99;
    EXPECT_EQ(move(getpid(), 1, pages, nodes, status, MPOL_MF_MOVE), 0);
    EXPECT_EQ(status[0], 0);
}

CASE(move_pages_refuses)
{
    need_numa();
    char *p = map(PAGE);
    *p = 1;
    void *pages[] = {p};
    int status[1], nodes[] = {60};
    EXPECT_ERRNO(EINVAL, move(0, 1, pages, NULL, status, 1));
    EXPECT_ERRNO(ESRCH, move(1 << 22, 1, pages, NULL, status, 0));
    EXPECT_ERRNO(EFAULT, move(0, 1, (void **)8, NULL, status, 0));
    EXPECT_ERRNO(EFAULT, move(0, 1, pages, NULL, (int *)8, 0));
    EXPECT_ERRNO(EFAULT, move(0, 1, pages, (int *)8, status, MPOL_MF_MOVE));
    EXPECT_ERRNO(ENODEV, move(0, 1, pages, nodes, status, MPOL_MF_MOVE));
    nodes[0] = -1;
    EXPECT_ERRNO(ENODEV, move(0, 1, pages, nodes, status, MPOL_MF_MOVE));
    if (geteuid() == 0) {
        pid_t other = FORK({ pause(); });
        EXPECT_EXITED(FORK({
                          EXPECT_EQ(setuid(65534), 0);
                          EXPECT_ERRNO(EPERM, move(0, 1, pages, NULL, status, MPOL_MF_MOVE_ALL));
                          EXPECT_ERRNO(EPERM, move(other, 1, pages, NULL, status, 0));
                      }),
                      0);
        EXPECT_EQ(kill(other, SIGKILL), 0);
    }
}

CASE(migrate_pages_between_a_node_and_itself)
{
    need_numa();
    unsigned long from = 1, to = 1, none = 0;
    EXPECT_EQ(syscall(SYS_migrate_pages, 0, BITS, &from, &to), 0);
    EXPECT_ERRNO(EINVAL, syscall(SYS_migrate_pages, 0, BITS, &from, &none));
    EXPECT_ERRNO(EINVAL, syscall(SYS_migrate_pages, 0, PAGE * 8 + 2, &from, &to));
    EXPECT_ERRNO(EFAULT, syscall(SYS_migrate_pages, 0, BITS, 8, &to));
    EXPECT_ERRNO(EFAULT, syscall(SYS_migrate_pages, 0, BITS, &from, 8));
    EXPECT_ERRNO(ESRCH, syscall(SYS_migrate_pages, 1 << 22, BITS, &from, &to));
}

#ifndef SYS_set_mempolicy_home_node
#define SYS_set_mempolicy_home_node 450
#endif

CASE(home_node)
{
    need_numa();
    char *p = map(2 * PAGE);
    unsigned long one = 1;
    if (syscall(SYS_set_mempolicy_home_node, p, 0, 0, 0) < 0 && errno == ENOSYS)
        SKIP("a kernel before 5.17");
    EXPECT_EQ(bind(p, PAGE, MPOL_BIND, &one, 0), 0);
    EXPECT_EQ(syscall(SYS_set_mempolicy_home_node, p, PAGE, 0, 0), 0);
    EXPECT_ERRNO(EINVAL, syscall(SYS_set_mempolicy_home_node, p + 1, PAGE, 0, 0));
    EXPECT_ERRNO(EINVAL, syscall(SYS_set_mempolicy_home_node, p, PAGE, 0, 1));
    EXPECT_ERRNO(EINVAL, syscall(SYS_set_mempolicy_home_node, p, PAGE, 5000, 0));
    EXPECT_EQ(bind(p, PAGE, MPOL_INTERLEAVE, &one, 0), 0);
    EXPECT_ERRNO(EOPNOTSUPP, syscall(SYS_set_mempolicy_home_node, p, PAGE, 0, 0));
}

TEST_MAIN
