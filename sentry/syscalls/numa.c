/*
 * NUMA: a machine with one memory node, 0. Policies are checked, kept and told as there; pages are
 * where they are. User-space masks have up to 64 nodes, as many as a kernel without a larger
 * CONFIG_NODES_SHIFT knows.
 */
#include "sentry/kernel/kernel.h"
#include "sentry/kernel/process.h"
#include "sentry/syscalls/syscalls.h"
#include <linux/capability.h>
#include <linux/mempolicy.h>
#include <string.h>

#define NODES_MAX 64
#define NODES_ONLINE 1ull
#define MODE_FLAGS_USER (MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES)
#define MPOL_PREFERRED_MANY_MODE 5
#define MPOL_F_NUMA_BALANCING_FLAG (1 << 13)
#define MPOL_KNOWN_FLAGS (MODE_FLAGS_USER | MPOL_F_NUMA_BALANCING_FLAG)

/* ---- masks of nodes ---- */

/* A mask of maxnode - 1 bits; those beyond NODES_MAX must be zero. */
static int copy_in_nodes(struct task *t, gva_t addr, uint64_t maxnode, uint64_t *nodes)
{
    *nodes = 0;
    maxnode--;
    if (maxnode == 0 || !addr)
        return 0;
    if (maxnode > PAGE_SIZE * 8)
        return -EINVAL;
    uint64_t words = (maxnode + 63) / 64, extra = 0;
    for (uint64_t i = 0; i < words; i++) {
        uint64_t word, bits = MIN(maxnode - i * 64, 64ull);
        if (MM_COPY_IN(t->mm, &word, addr + i * sizeof(word)) != 0)
            return -EFAULT;
        word &= bits == 64 ? ~0ull : (1ull << bits) - 1;
        if (i == 0)
            *nodes = word;
        else
            extra |= word;
    }
    return extra ? -EINVAL : 0;
}

static int copy_out_nodes(struct task *t, gva_t addr, uint64_t maxnode, uint64_t nodes)
{
    uint64_t bytes = (maxnode - 1 + 63) / 64 * 8;
    if (bytes > PAGE_SIZE)
        return -EINVAL;
    if (bytes > sizeof(nodes) &&
        mm_zero_out(t->mm, addr + sizeof(nodes), bytes - sizeof(nodes)) != 0)
        return -EFAULT;
    return mm_copy_out(t->mm, addr, &nodes, MIN(bytes, (uint64_t)sizeof(nodes)));
}

/* ---- policies ---- */

/* What set_mempolicy(2) and mbind(2) ask for, checked. MPOL_DEFAULT is all zeroes. */
static int make_policy(int mode, uint64_t nodes, struct mm_policy *out)
{
    int flags = mode & MPOL_KNOWN_FLAGS;
    mode &= ~flags;
    *out = (struct mm_policy){0};
    if (mode < 0 || mode > MPOL_PREFERRED_MANY_MODE ||
        (flags & MODE_FLAGS_USER) == MODE_FLAGS_USER ||
        ((flags & MPOL_F_NUMA_BALANCING_FLAG) && mode != MPOL_BIND))
        return -EINVAL;
    if (mode == MPOL_DEFAULT)
        return nodes ? -EINVAL : 0;
    if (mode == MPOL_PREFERRED && !nodes)
        mode = MPOL_LOCAL;
    if (mode == MPOL_LOCAL) {
        if (nodes || (flags & MODE_FLAGS_USER))
            return -EINVAL;
    } else if (!nodes || (!(nodes & NODES_ONLINE) && !(flags & MPOL_F_RELATIVE_NODES))) {
        /* Relative nodes are counted round the ones that there are. */
        return -EINVAL;
    }
    out->mode = (uint16_t)mode;
    out->flags = (uint16_t)flags;
    /* With these flags the wish is remembered, else what came of it. */
    out->nodes = flags & MODE_FLAGS_USER ? nodes : nodes & NODES_ONLINE;
    return 0;
}

SYSCALL(set_mempolicy)
{
    uint64_t nodes;
    struct mm_policy policy;
    int err = copy_in_nodes(t, ARG_GVA(a, 1), a->a[2], &nodes);
    if (!err)
        err = make_policy(ARG_INT(a, 0), nodes, &policy);
    if (!err)
        t->mempolicy = policy;
    return err;
}

SYSCALL(mbind)
{
    gva_t start = ARG_GVA(a, 0);
    uint64_t nodes, length = a->a[1];
    unsigned flags = ARG_UINT(a, 5);
    struct mm_policy policy;
    int err = copy_in_nodes(t, ARG_GVA(a, 3), a->a[4], &nodes);
    if (err)
        return err;
    if (flags & ~(unsigned)(MPOL_MF_STRICT | MPOL_MF_MOVE | MPOL_MF_MOVE_ALL))
        return -EINVAL;
    if ((flags & MPOL_MF_MOVE_ALL) && !task_capable(t, CAP_SYS_NICE))
        return -EPERM;
    if (start % PAGE_SIZE)
        return -EINVAL;
    length = (length + PAGE_SIZE - 1) & PAGE_MASK;
    if (start + length < start)
        return -EINVAL;
    if (length == 0)
        return 0;
    err = make_policy(ARG_INT(a, 2), nodes, &policy);
    return err ? err : mm_set_policy(t->mm, start, length, policy);
}

/* The node of the page at addr, which is made for it. */
static long node_of_page(struct task *t, gva_t addr)
{
    char byte;
    return mm_copy_in(t->mm, &byte, addr, 1) ? -EFAULT : 0;
}

static long look_up_policy(struct task *t, gva_t addr, unsigned flags, int *mode, uint64_t *nodes)
{
    struct mm_policy policy = t->mempolicy;
    if (flags & MPOL_F_ADDR) {
        int err = mm_get_policy(t->mm, addr, &policy);
        if (err)
            return err;
    } else if (addr) {
        return -EINVAL;
    }
    *mode = policy.mode | policy.flags;
    *nodes = policy.nodes;
    if (!(flags & MPOL_F_NODE))
        return 0;
    *mode = 0;
    if (flags & MPOL_F_ADDR)
        return node_of_page(t, addr);
    return policy.mode == MPOL_INTERLEAVE ? 0 : -EINVAL;
}

SYSCALL(get_mempolicy)
{
    gva_t addr = ARG_GVA(a, 3);
    unsigned flags = ARG_UINT(a, 4);
    int mode = 0;
    uint64_t nodes = NODES_ONLINE;
    if ((a->a[1] && a->a[2] < 1) ||
        (flags & ~(unsigned)(MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED)) ||
        ((flags & MPOL_F_MEMS_ALLOWED) && (flags & (MPOL_F_NODE | MPOL_F_ADDR))))
        return -EINVAL;
    long err = flags & MPOL_F_MEMS_ALLOWED ? 0 : look_up_policy(t, addr, flags, &mode, &nodes);
    if (!err && a->a[0])
        err = MM_COPY_OUT(t->mm, ARG_GVA(a, 0), &mode);
    if (!err && a->a[1])
        err = copy_out_nodes(t, ARG_GVA(a, 1), a->a[2], nodes);
    return err;
}

static bool may_have_home(struct mm_policy policy)
{
    return policy.mode == MPOL_BIND || policy.mode == MPOL_PREFERRED_MANY_MODE;
}

SYSCALL(set_mempolicy_home_node)
{
    gva_t start = ARG_GVA(a, 0);
    uint64_t length = (a->a[1] + PAGE_SIZE - 1) & PAGE_MASK;
    if (start % PAGE_SIZE || a->a[3] || a->a[2] != 0 || start + length < start)
        return -EINVAL;
    return length ? mm_check_policies(t->mm, start, length, may_have_home) : 0;
}

/* ---- moving pages: they are where they should be ---- */

/* Another task's mm, or one's own (pid 0), with a user. */
static int find_mm(struct task *t, pid_t pid, int gone, struct mm **out)
{
    struct task *other = pid ? task_find_for(t, pid) : task_get(t);
    if (!other)
        return -ESRCH;
    int err = task_may_access(t, other, false) ? 0 : -EPERM;
    if (!err) {
        *out = task_get_mm(other);
        err = *out ? 0 : gone;
    }
    task_put(other);
    return err;
}

SYSCALL(migrate_pages)
{
    uint64_t from, to;
    struct mm *mm;
    int err = copy_in_nodes(t, ARG_GVA(a, 2), a->a[1], &from);
    if (!err)
        err = copy_in_nodes(t, ARG_GVA(a, 3), a->a[1], &to);
    if (!err)
        err = find_mm(t, ARG_INT(a, 0), -EINVAL, &mm);
    if (err)
        return err;
    mm_user_put(mm);
    if ((to & ~NODES_ONLINE) && !task_capable(t, CAP_SYS_NICE))
        return -EPERM;
    return to & NODES_ONLINE ? 0 : -EINVAL;
}

/* Page i of the request: its status, or in *err why the whole call ends. */
static int page_status(struct task *t, struct mm *mm, const struct sysargs *a, uint64_t i, int *err)
{
    gva_t page;
    int node = 0;
    *err = MM_COPY_IN(t->mm, &page, ARG_GVA(a, 2) + i * sizeof(page));
    if (!*err && a->a[3])
        *err = MM_COPY_IN(t->mm, &node, ARG_GVA(a, 3) + i * sizeof(node));
    if (!*err && node)
        *err = -ENODEV;
    return *err ? 0 : mm_page_there(mm, page);
}

static long each_page(struct task *t, struct mm *mm, const struct sysargs *a)
{
    for (uint64_t i = 0; i < a->a[1]; i++) {
        int err, status = page_status(t, mm, a, i, &err);
        if (err)
            return err;
        if (MM_COPY_OUT(t->mm, ARG_GVA(a, 4) + i * sizeof(status), &status) != 0)
            return -EFAULT;
        if (atomic_load(&t->work) & TASK_WORK_EXIT)
            return -EINTR;
    }
    return 0;
}

SYSCALL(move_pages)
{
    unsigned flags = ARG_UINT(a, 5);
    struct mm *mm;
    if (flags & ~(unsigned)(MPOL_MF_MOVE | MPOL_MF_MOVE_ALL))
        return -EINVAL;
    if ((flags & MPOL_MF_MOVE_ALL) && !task_capable(t, CAP_SYS_NICE))
        return -EPERM;
    int err = find_mm(t, ARG_INT(a, 0), -EINVAL, &mm);
    if (err)
        return err;
    long r = each_page(t, mm, a);
    mm_user_put(mm);
    return r;
}
