/*
 * mmap, munmap, mprotect, mremap, brk, madvise, mincore, msync, mlock and their kin: what the
 * arguments mean. The work is done by mm.
 */
#include "sentry/kernel/pidfd.h"
#include "sentry/kernel/process.h"
#include "sentry/syscalls/syscalls.h"
#include "sentry/vfs/vfs.h"
#include <linux/capability.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1u
#endif

/* Everything that MAP_SHARED_VALIDATE accepts (sizes of huge pages included): it refuses the rest,
 * others ignore it. */
#define MAP_HUGE_SIZES (0x3fu << 26)
#define MAP_KNOWN                                                                                  \
    (MAP_TYPE | MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_DENYWRITE |  \
     MAP_EXECUTABLE | MAP_LOCKED | MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK |       \
     MAP_32BIT | MAP_HUGETLB | MAP_HUGE_SIZES)

static access_t access_of_prot(const struct task *t, uint64_t prot, bool noexec)
{
    access_t a = 0;
    if ((prot & PROT_READ) && (t->personality & READ_IMPLIES_EXEC) && !noexec)
        a |= ACCESS_EXEC;
    a |= prot & PROT_READ ? ACCESS_READ : 0;
    a |= prot & PROT_WRITE ? ACCESS_WRITE : 0;
    a |= prot & PROT_EXEC ? ACCESS_EXEC : 0;
    return a;
}

static void decode_flags(struct mmap_opts *o, uint64_t flags)
{
    o->is_private = (flags & MAP_TYPE) == MAP_PRIVATE;
    o->fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE);
    o->unmap = o->fixed && !(flags & MAP_FIXED_NOREPLACE);
    o->map_32bit = flags & MAP_32BIT;
    o->grows_down = flags & MAP_GROWSDOWN;
    o->stack = flags & MAP_STACK;
    o->noreserve = flags & MAP_NORESERVE;
    o->precommit = (flags & (MAP_POPULATE | MAP_NONBLOCK)) == MAP_POPULATE;
    o->mlock = flags & MAP_LOCKED ? MLOCK_EAGER : MLOCK_NONE;
}

/* CAP_IPC_LOCK, or a limit that allows any locked memory at all. */
static bool may_lock(struct task *t)
{
    return task_capable(t, CAP_IPC_LOCK) || task_rlimit(t, RLIMIT_MEMLOCK) != 0;
}

/* What the description and its mount let a mapping do. */
static int mmap_file(struct mmap_opts *o, struct file *f, uint64_t flags)
{
    bool noexec = f->path.mnt && (f->path.mnt->flags & MS_NOEXEC);

    if (!o->is_private && (o->perms & ACCESS_WRITE) && !f->writable)
        return -EACCES;
    if (!f->readable)
        return -EACCES;
    if (noexec && (o->perms & ACCESS_EXEC))
        return -EPERM;
    if (!f->ops->mmap)
        return -ENODEV;
    if (flags & MAP_GROWSDOWN)
        return -EINVAL;
    if (noexec)
        o->max_perms &= (access_t)~ACCESS_EXEC;
    if (!o->is_private && !f->writable)
        o->max_perms &= (access_t)~ACCESS_WRITE;
    o->identity = &f->identity;
    return f->ops->mmap(f, o);
}

static int check_type(uint64_t flags)
{
    switch (flags & MAP_TYPE) {
    case MAP_PRIVATE:
    case MAP_SHARED:
        return 0;
    case MAP_SHARED_VALIDATE:
        if (flags & MAP_ANONYMOUS)
            return -EINVAL;
        return flags & ~(uint64_t)MAP_KNOWN ? -EOPNOTSUPP : 0;
    default:
        return -EINVAL;
    }
}

static long do_mmap(struct task *t, struct mmap_opts *o, struct file *f, uint64_t flags)
{
    gva_t addr;
    int err;

    if (o->length == 0)
        return -EINVAL;
    if ((flags & MAP_LOCKED) && !may_lock(t))
        return -EPERM;
    err = check_type(flags);
    if (!err && f)
        err = mmap_file(o, f, flags);
    else if (!err && (flags & MAP_GROWSDOWN) && !o->is_private)
        err = -EINVAL;
    if (!err)
        err = mm_mmap(t->mm, o, &addr);
    return err ? err : (long)addr;
}

SYSCALL(mmap)
{
    uint64_t flags = a->a[3];
    struct file *f = NULL;
    struct mmap_opts o = {
        .addr = ARG_GVA(a, 0), .length = a->a[1], .offset = a->a[5], .max_perms = ACCESS_ANY};

    if (!page_aligned(o.offset))
        return -EINVAL;
    if (flags & MAP_ANONYMOUS) {
        if (flags & MAP_HUGETLB) /* no huge pages are set aside */
            return -ENOMEM;
        o.offset = 0;
    } else {
        f = fd_get(t, ARG_INT(a, 4));
        if (!f)
            return -EBADF;
    }
    decode_flags(&o, flags);
    bool noexec = f && f->path.mnt && (f->path.mnt->flags & MS_NOEXEC);
    o.perms = access_of_prot(t, a->a[2], noexec);
    long r = flags & MAP_HUGETLB ? -EINVAL : do_mmap(t, &o, f, flags);
    if (f)
        file_put(f);
    return r;
}

SYSCALL(munmap)
{
    return mm_munmap(t->mm, ARG_GVA(a, 0), a->a[1]);
}

SYSCALL(mprotect)
{
    int prot = ARG_INT(a, 2);
    if ((prot & PROT_READ) && (t->personality & READ_IMPLIES_EXEC))
        prot |= PROT_EXEC;
    return mm_mprotect(t->mm, ARG_GVA(a, 0), a->a[1], prot);
}

/* Protection keys: as on a processor without them. */
SYSCALL(pkey_mprotect)
{
    return ARG_INT(a, 3) == -1 ? sys_mprotect(t, a) : -EINVAL;
}

SYSCALL(pkey_alloc)
{
    return a->a[0] || (a->a[1] & ~3ull) ? -EINVAL : -ENOSPC;
}

SYSCALL(pkey_free)
{
    return -EINVAL;
}

SYSCALL(mremap)
{
    gva_t addr;
    int err =
        mm_mremap(t->mm, ARG_GVA(a, 0), a->a[1], a->a[2], ARG_INT(a, 3), ARG_GVA(a, 4), &addr);
    return err ? err : (long)addr;
}

SYSCALL(remap_file_pages)
{
    uint64_t offset;
    gva_t start = page_down(ARG_GVA(a, 0));
    uint64_t length = page_down(a->a[1]);

    if (a->a[2] || start + length <= start || __builtin_mul_overflow(a->a[3], PAGE_SIZE, &offset) ||
        offset + length < offset)
        return -EINVAL;
    return mm_remap_file_pages(t->mm, start, length, offset);
}

SYSCALL(brk)
{
    return (long)mm_brk(t->mm, ARG_GVA(a, 0));
}

SYSCALL(madvise)
{
    return mm_madvise(t->mm, ARG_GVA(a, 0), a->a[1], ARG_INT(a, 2));
}

/* Advice about another process may be given that changes nothing it could notice. */
static bool is_remote_advice(int advice)
{
    return advice == MADV_COLD || advice == MADV_PAGEOUT || advice == MADV_WILLNEED;
}

static long advise_ranges(struct mm *mm, const struct uio *ranges, int advice)
{
    long done = 0;
    for (unsigned i = 0; i < ranges->nsegs; i++) {
        int err = mm_madvise(mm, ranges->segs[i].base, ranges->segs[i].length, advice);
        if (err)
            return done ? done : err;
        done += (long)ranges->segs[i].length;
    }
    return done;
}

static long advise_process(struct task *t, struct thread_group *tg, const struct uio *ranges,
                           int advice)
{
    struct task *other = thread_group_task(tg);
    struct mm *mm = other ? task_get_mm(other) : NULL;
    long r = -ESRCH;
    if (mm && !task_may_access(t, other, false))
        r = -EPERM;
    else if (mm && mm != t->mm && !task_capable(t, CAP_SYS_NICE))
        r = -EPERM;
    else if (mm)
        r = advise_ranges(mm, ranges, advice);
    if (mm)
        mm_user_put(mm);
    if (other)
        task_put(other);
    return r;
}

SYSCALL(process_madvise)
{
    struct uio ranges;
    if (a->a[4])
        return -EINVAL;
    int err = uio_init_iovec(&ranges, t->mm, ARG_GVA(a, 1), a->a[2]);
    if (err)
        return err;
    struct file *f = fd_get(t, ARG_INT(a, 0));
    struct thread_group *tg = f ? pidfd_group(f) : NULL;
    long r = -EBADF;
    if (tg)
        r = is_remote_advice(ARG_INT(a, 3)) ? advise_process(t, tg, &ranges, ARG_INT(a, 3))
                                            : -EINVAL;
    if (f)
        file_put(f);
    uio_release(&ranges);
    return r;
}

/* The memory of a process that is being killed goes by itself: there is nothing to help with. */
SYSCALL(process_mrelease)
{
    if (a->a[1])
        return -EINVAL;
    struct file *f = fd_get(t, ARG_INT(a, 0));
    struct thread_group *tg = f ? pidfd_group(f) : NULL;
    long r = -EBADF;
    if (tg) {
        MUTEX_GUARD(&tg->sighand_lock);
        r = tg->live_tasks == 0 ? -ESRCH : tg->group_exit ? 0 : -EINVAL;
    }
    if (f)
        file_put(f);
    return r;
}

SYSCALL(mincore)
{
    return mm_mincore(t->mm, ARG_GVA(a, 0), a->a[1], ARG_GVA(a, 2));
}

SYSCALL(msync)
{
    return mm_msync(t->mm, ARG_GVA(a, 0), a->a[1], ARG_INT(a, 2));
}

SYSCALL(mlock)
{
    return mm_mlock(t->mm, ARG_GVA(a, 0), a->a[1], MLOCK_EAGER);
}

SYSCALL(mlock2)
{
    if (a->a[2] & ~(uint64_t)MLOCK_ONFAULT)
        return -EINVAL;
    return mm_mlock(t->mm, ARG_GVA(a, 0), a->a[1], a->a[2] ? MLOCK_LAZY : MLOCK_EAGER);
}

SYSCALL(munlock)
{
    return mm_munlock(t->mm, ARG_GVA(a, 0), a->a[1]);
}

SYSCALL(mlockall)
{
    return mm_mlockall(t->mm, ARG_INT(a, 0));
}

SYSCALL(munlockall)
{
    mm_munlockall(t->mm);
    return 0;
}
