/*
 * The MemoryManager: one application address space.
 *
 *   VMAs  (what should be there)    [text r-x file][data rw- file private][heap rw- anon]   ...
 *   PMAs  (what is there now)       [file pages   ][copy][file][copy    ][memory file   ]
 *   platform address space          a cache of the PMAs
 *
 * VMAs and PMAs are range sets over the same addresses. A PMA names pages (file, offset), holds
 * a reference on them, and says whether they must be copied before a write (need_cow).
 *
 * Locks: MM_MAPPING (reader-writer) guards the VMAs, MM_ACTIVE the PMAs and the platform's copy.
 * Functions here take what they need; callers hold neither.
 *
 * Addresses from the application are gva_t and may hold any value: every function checks them.
 * Errors are negative errnos as mmap(2), mremap(2), ... document them.
 */
#ifndef PICKET_MM_MM_H
#define PICKET_MM_MM_H

#include "base/refcount.h"
#include "memmap/memory_file.h"
#include "platform/platform.h"
#include <stdatomic.h>

struct mm;

/* Limits of the process that owns the mm, in bytes (RLIM_INFINITY: none); the kernel updates them
 * in place when a resource limit or a capability changes. */
struct mm_limits {
    _Atomic uint64_t as, data, stack, memlock;
    _Atomic bool may_lock_any; /* CAP_IPC_LOCK */
};

/* Sandbox-wide memory policy, owned by the kernel, outliving every mm. */
struct mm_config {
    struct platform *platform;
    struct memory_file *memory;
    /* vm.max_map_count; vm.overcommit_memory (0, 1, 2); vm.mmap_min_addr */
    _Atomic uint32_t max_map_count;
    _Atomic uint32_t overcommit;
    uint64_t min_addr;
    uint64_t total_memory;            /* for the overcommit heuristic and for limits; bytes */
    _Atomic uint64_t committed_as;    /* Committed_AS: bytes */
    _Atomic uint64_t next_anon_inode; /* shared anonymous memory is numbered, for /proc/PID/maps */
};

/* Where things go in a new address space (set by the loader before the first mapping). */
struct mm_layout {
    gva_t mmap_top;   /* the top of the downward mmap area: below the stack and its gap */
    gva_t mmap_floor; /* lowest address that gap search may return */
    gva_t stack_top;
    bool randomize; /* false: personality ADDR_NO_RANDOMIZE */
};

/* Addresses that /proc/PID/{stat,cmdline,environ,auxv} and prctl(PR_SET_MM) tell of. */
struct mm_info {
    gva_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack;
    gva_t arg_start, arg_end, env_start, env_end;
    uint64_t auxv[64];
    unsigned auxv_words;
    gva_t vdso;
};

/* A new empty mm with one user. Returns 0 or -errno. */
MUST_CHECK int mm_create(struct mm_config *cfg, const struct mm_limits *limits, struct mm **out);
/*
 * fork(2): a copy whose private pages are shared copy-on-write with the original. Honours
 * MADV_DONTFORK and MADV_WIPEONFORK; locks are not inherited. One user.
 */
MUST_CHECK int mm_fork(struct mm *mm, const struct mm_limits *limits, struct mm **out);
/* "Users" run in the address space; when the last is gone, all mappings are removed.
 * "References" only keep the structure (for /proc, process_vm_readv): mm_use fails when no user is
 * left. */
void mm_get(struct mm *mm);
void mm_put(struct mm *mm);
void mm_user_get(struct mm *mm);
MUST_CHECK bool mm_user_get_unless_zero(struct mm *mm);
/* Drops a user (and no reference: each user holds one of its own, which goes with it). */
void mm_user_put(struct mm *mm);

/* The platform's address space, to run contexts in. Valid as long as the caller is a user. */
struct address_space *mm_address_space(struct mm *mm);

/* Picks an ASLR layout (or the fixed one) for a stack limit; the loader calls it once. */
void mm_pick_layout(struct mm *mm, uint64_t stack_limit, bool randomize, struct mm_layout *out);
struct mm_info *mm_info(struct mm *mm); /* guarded by mm_info_lock */
void mm_info_lock(struct mm *mm);
void mm_info_unlock(struct mm *mm);
void mm_set_limits(struct mm *mm, const struct mm_limits *limits);

/* mmap(2) after its flags were decoded. The caller's reference on opts->identity stays its own. */
MUST_CHECK int mm_mmap(struct mm *mm, const struct mmap_opts *opts, gva_t *addr);
MUST_CHECK int mm_munmap(struct mm *mm, gva_t addr, uint64_t length);
/* shmdt(2): removes what is left of the mapping of offset 0 that was made at addr, of an identity
 * with these operations. -EINVAL if nothing is. */
MUST_CHECK int mm_detach(struct mm *mm, gva_t addr, const struct mapping_identity_ops *ops);
/* prot: PROT_READ|WRITE|EXEC|GROWSDOWN|GROWSUP as mprotect(2) takes them. */
MUST_CHECK int mm_mprotect(struct mm *mm, gva_t addr, uint64_t length, int prot);
MUST_CHECK int mm_mremap(struct mm *mm, gva_t old_addr, uint64_t old_size, uint64_t new_size,
                         int flags, gva_t new_addr, gva_t *out);
/* remap_file_pages(2): the shared mapping at addr shows its file from `offset` on. Page-aligned. */
MUST_CHECK int mm_remap_file_pages(struct mm *mm, gva_t addr, uint64_t length, uint64_t offset);
/* Returns the new break, or the unchanged one if it could not move (as the system call does). */
gva_t mm_brk(struct mm *mm, gva_t addr);
/* Sets where the heap starts (loader). */
void mm_set_brk(struct mm *mm, gva_t start);
MUST_CHECK int mm_madvise(struct mm *mm, gva_t addr, uint64_t length, int advice);
/* Writes one byte a page to vec in the application. */
MUST_CHECK int mm_mincore(struct mm *mm, gva_t addr, uint64_t length, gva_t vec);
MUST_CHECK int mm_msync(struct mm *mm, gva_t addr, uint64_t length, int flags);
MUST_CHECK int mm_mlock(struct mm *mm, gva_t addr, uint64_t length, enum mlock_mode mode);
MUST_CHECK int mm_munlock(struct mm *mm, gva_t addr, uint64_t length);
MUST_CHECK int mm_mlockall(struct mm *mm, int flags);
void mm_munlockall(struct mm *mm);
/* prctl(PR_SET_VMA_ANON_NAME). name: NULL clears. */
MUST_CHECK int mm_set_anon_name(struct mm *mm, gva_t addr, uint64_t length, const char *name);

/* A NUMA policy (policy.c): MPOL_* mode and mode flags, and a mask of nodes. All zero: the default.
 */
struct mm_policy {
    uint16_t mode, flags;
    uint64_t nodes;
};
/* Pre: page-aligned. -EFAULT if not all of it is mapped, -ENOMEM. */
MUST_CHECK int mm_set_policy(struct mm *mm, gva_t addr, uint64_t length, struct mm_policy policy);
MUST_CHECK int mm_get_policy(struct mm *mm, gva_t addr, struct mm_policy *out);
/* Whether ok holds for every policy in the range that is not the default: 0, -EOPNOTSUPP, or
 * -ENOENT if there is none. */
MUST_CHECK int mm_check_policies(struct mm *mm, gva_t addr, uint64_t length,
                                 bool (*ok)(struct mm_policy));
/* 0 if the process has a page at addr, -ENOENT if nothing is there yet, -EFAULT if nothing can be.
 */
MUST_CHECK int mm_page_there(struct mm *mm, gva_t addr);

/* What a fault that cannot be served becomes. */
struct mm_fault {
    int signo; /* SIGSEGV or SIGBUS; SIGKILL if memory ran out */
    int code;  /* SEGV_MAPERR, SEGV_ACCERR, BUS_ADRERR */
};
/*
 * Serves a fault of the application at addr: afterwards the platform shows at least that page with
 * at least that access. `sp` is the stack pointer, for grows-down mappings. Returns 0, or a
 * negative errno with *out telling the signal.
 */
MUST_CHECK int mm_handle_fault(struct mm *mm, gva_t addr, access_t at, gva_t sp,
                               struct mm_fault *out);

/*
 * Copying. They fault pages in as the application would, except that no signal is raised: 0 or
 * -EFAULT, all or nothing as far as the caller may rely on. The _partial ones return how many bytes
 * were copied before the first failure (0 to length).
 * `ignore_perms`: as ptrace and /proc/PID/mem write, breaking copy-on-write of read-only pages.
 */
MUST_CHECK int mm_copy_in(struct mm *mm, void *dst, gva_t src, size_t length);
MUST_CHECK int mm_copy_out(struct mm *mm, gva_t dst, const void *src, size_t length);
size_t mm_copy_in_partial(struct mm *mm, void *dst, gva_t src, size_t length);
size_t mm_copy_out_partial(struct mm *mm, gva_t dst, const void *src, size_t length);
size_t mm_copy_in_force(struct mm *mm, void *dst, gva_t src, size_t length);
size_t mm_copy_out_force(struct mm *mm, gva_t dst, const void *src, size_t length);
MUST_CHECK int mm_zero_out(struct mm *mm, gva_t dst, size_t length);
/*
 * A NUL-terminated string of at most size - 1 bytes into buf. Returns its length, -EFAULT, or
 * -ENAMETOOLONG if there is no NUL within size bytes.
 */
MUST_CHECK ssize_t mm_copy_in_string(struct mm *mm, char *buf, gva_t src, size_t size);

/* Typed convenience: sizeof(*ptr) bytes. */
#define MM_COPY_IN(mm, ptr, gva) mm_copy_in(mm, ptr, gva, sizeof(*(ptr)))
#define MM_COPY_OUT(mm, gva, ptr) mm_copy_out(mm, gva, ptr, sizeof(*(ptr)))

/* Atomic operations on an aligned 32-bit word of the application. 0 or -EFAULT (-EINVAL:
 * unaligned). */
MUST_CHECK int mm_atomic_load32(struct mm *mm, gva_t addr, uint32_t *out);
MUST_CHECK int mm_atomic_cmpxchg32(struct mm *mm, gva_t addr, uint32_t expected, uint32_t desired,
                                   uint32_t *old);
/* Replaces the word by fn(word, arg); *old is what it was. fn must be pure: it may run again. */
MUST_CHECK int mm_atomic_rmw32(struct mm *mm, gva_t addr, uint32_t (*fn)(uint32_t, uint32_t),
                               uint32_t arg, uint32_t *old);

/*
 * What a futex at addr is: for a private key, (mm, addr); for a shared mapping (mappable, offset).
 * Takes a reference on *identity if not NULL (put it with its own put).
 */
struct mm_futex_key {
    const void *object; /* the mm or the mappable: compared, never followed */
    uint64_t offset;
    struct mapping_identity *identity;
};
MUST_CHECK int mm_futex_key(struct mm *mm, gva_t addr, bool shared, access_t at,
                            struct mm_futex_key *key);

/* One VMA as /proc/PID/maps and smaps show it. */
struct mm_vma_info {
    struct addr_range ar;
    access_t perms;
    access_t max_perms;
    bool is_private, grows_down, locked, special;
    uint64_t offset;
    dev_t device;
    uint64_t inode;
    char name[4200]; /* path, "[stack]", ... or "" */
    /* only if sizes were asked for, bytes */
    uint64_t rss, anonymous, shared, swap, pss, locked_bytes;
};
/* The first VMA that ends above `addr`. False if there is none. */
MUST_CHECK bool mm_next_vma(struct mm *mm, gva_t addr, bool sizes, struct mm_vma_info *out);

struct mm_stats {
    uint64_t vm_size, vm_peak, vm_locked, vm_data, vm_stack, vm_exec, vm_pinned; /* bytes */
    uint64_t rss_anon, rss_file, rss_shmem, rss_peak;                            /* bytes */
    uint64_t vmas;
    uint64_t minor_faults;
};
void mm_get_stats(struct mm *mm, struct mm_stats *out);
/* Bytes that were resident at most, for a process that leaves. Of pages still shared since a fork
 * only some are looked at: with much memory that would take longer than all the rest of an exit. */
uint64_t mm_peak_rss(struct mm *mm);

/* The platform's copy may be dropped at any time; tests and memory pressure do. */
void mm_drop_platform_mappings(struct mm *mm);

#ifdef PICKET_DEBUG
/* Checks VMAs, PMAs and their relation; aborts if an invariant is broken. */
void mm_check(struct mm *mm);
#endif

#endif
