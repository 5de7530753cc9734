/*
 * The KVM platform: ring 3 of a virtual machine is the application, ring 0 is a page of stubs that
 * only exit, and the page tables are ours.
 *
 * Guest-physical memory:
 *
 *   4 GiB    the arena: page tables, trampoline, one page a vCPU       one slot
 *   8 GiB    the memory file, linear, in slots of 1 GiB made on demand
 *   ...top   windows of 16 MiB on host files, from the top down, made on demand
 *
 * Guest-virtual memory: the lower half is the application's. The top 512 GiB hold the trampoline,
 * shared by every root and never changed.
 *
 *   slot 511:  [code][IDT][vCPU 0: GDT TSS stack][vCPU 1 ...
 *
 * How a change of a present entry reaches processors: the host edits the entry and then drops the
 * frame from the *slot's* mapping (MADV_DONTNEED: the page itself stays in its file). The kernel's
 * MMU notifier removes every translation of that frame from every vCPU, running ones included,
 * before madvise returns; the next access walks the tables again. This holds with two-dimensional
 * paging and with shadow paging that does not see host writes. It holds for page entries only, so
 * tables are never unlinked from a live root (pt.keep_tables), and the tables of a dead root are
 * used again only after a dummy slot was added and removed, which makes KVM forget everything.
 *
 * The arena is a cache of tables: when it is used up, a space is stopped and its tables are taken;
 * its mappings stay, and its faults make the entries again.
 *
 * Locks: space.lock (PLATFORM) for one address space; vm.lock (PLATFORM_CPU), inside, for the
 * arena, the slots and the vCPU pool.
 */
#ifndef PICKET_PLATFORM_KVM_KVM_H
#define PICKET_PLATFORM_KVM_KVM_H

#include "base/list.h"
#include "base/lock.h"
#include "base/range_set.h"
#include "platform/kvm/pagetables/pagetables.h"
#include "platform/platform.h"
#include <linux/kvm.h>
#include <pthread.h>
#include <stdatomic.h>

#define ARENA_GPA (4ull << 30)
#define ARENA_SIZE (1ull << 30)
#define MEMORY_GPA (8ull << 30)
#define MEMORY_CHUNK (1ull << 30)
#define WINDOW_SIZE (16ull << 20)
#define WINDOWS_CACHED 128 /* windows without a mapping that are kept */
#define MAX_VCPUS 64

#define UPPER_VA 0xffffff8000000000ull /* level-4 slot 511 */
#define CODE_VA UPPER_VA
#define IDT_VA (UPPER_VA + 0x1000)
#define VCPU_VA(i) (UPPER_VA + 0x2000 + (uint64_t)(i)*0x1000)
#define VSYSCALL_VA 0xffffffffff600000ull
#define STUB_SIZE 16
#define SYSCALL_VECTOR 32 /* its stub follows those of the exceptions */
#define LSTAR_VA (CODE_VA + SYSCALL_VECTOR * STUB_SIZE)

#define SEL_KERNEL_CS 0x10
#define SEL_USER_DS 0x2b
#define SEL_USER_CS 0x33
#define SEL_TSS 0x40

/* Makes a vCPU leave KVM_RUN (its handler does nothing). Unblocked in threads that have a context.
 */
#define KVM_KICK_SIGNAL SIGUSR2

/* In each vCPU's page: what the processor needs to leave ring 3. */
#define VCPU_GDT 0x0
#define VCPU_TSS 0x100
#define VCPU_STACK_TOP 0x1000

/* A piece of a file that is a memory slot. */
struct window {
    struct list_head link; /* vm.windows */
    struct memmap_file *file;
    uint64_t offset; /* in file; a multiple of size */
    uint64_t size;
    uint64_t gpa;
    char *hva; /* the slot's own mapping */
    unsigned slot;
    unsigned users; /* mappings of address spaces */
    bool writable;
    bool memory; /* of the memory file: the host always has a page */
};

struct kvm_context;

struct vcpu {
    int index, fd;
    struct kvm_run *run;
    char *page;                /* the vCPU's page in the arena, as the host sees it */
    struct kvm_context *owner; /* whose state it holds, or NULL; vm.lock */
    bool running;              /* owner is in KVM_RUN; vm.lock */
    struct kvm_space *space;   /* where, if running; vm.lock */
    bool wanted;               /* its turn is over: who waits first gets it; vm.lock */
};

/* A stack of small numbers. */
struct page_stack {
    uint32_t *items;
    size_t count, capacity;
};

/* The tables of one root are counted. */
struct table_owner {
    struct kvm_vm *vm;
    uint32_t tables; /* vm.lock */
};

struct kvm_vm {
    struct platform base;
    int kvm_fd, vm_fd;
    size_t run_size;
    bool sync_events;  /* KVM_RUN tells of exceptions that it has not delivered yet */
    size_t xsave_size; /* what KVM_GET_XSAVE2 gives */
    struct kvm_cpuid2 *cpuid;
    _Atomic bool saw_ring3_syscall; /* the self-test saw that: */
    bool syscall_keeps_cpl;         /* SYSCALL arrives at LSTAR in ring 3: a software hypervisor */

    struct mutex lock;    /* PLATFORM_CPU */
    char *arena;          /* ARENA_SIZE bytes, as the host sees them */
    uint32_t arena_used;  /* pages taken from the start */
    uint32_t arena_pages; /* how many it may have */
    uint32_t arena_ready; /* how many the host has given */
    struct page_stack free_pages;
    struct page_stack dead_pages; /* KVM may still remember what they were */
    struct pt upper;              /* the shared half; ring 0 only */
    struct table_owner upper_tables;

    struct list_head windows; /* in use, and those that nobody uses, most recently used first */
    struct list_head idle_windows;
    unsigned nidle;
    unsigned next_slot, max_slots;
    struct page_stack free_slots;
    uint64_t top_gpa; /* windows lie below: slot n of them at top_gpa - (n + 1) * WINDOW_SIZE */

    struct vcpu vcpus[MAX_VCPUS];
    int nvcpus, max_vcpus;
    struct list_head waiting; /* contexts without a vCPU, in the order in which they get one */
    struct list_head spaces;
    uint32_t nspaces;
    uint64_t run_clock;
    pthread_cond_t changed; /* a space has stopped, or may go on */
};

/* A piece of an address space: [node.start, node.end) shows a window. Nothing else is ever mapped.
 */
struct mapping {
    struct range_node node;
    struct window *window;
    uint64_t offset; /* in the window, of node.start */
    access_t perms;
};

struct kvm_space {
    struct address_space base;
    struct kvm_vm *vm;
    struct mutex lock; /* PLATFORM */
    struct pt pt;
    struct range_set mappings;
    gva_t hint;      /* where the last fault was that the owner had to explain */
    gva_t filled_to; /* where the entries end that the last other fault made */
    uint64_t ahead;  /* how many bytes it made */
    /* vm.lock: */
    struct list_head link; /* vm.spaces */
    struct table_owner tables;
    unsigned running;  /* contexts in KVM_RUN with this root */
    uint64_t last_run; /* vm.run_clock when it was run last */
    bool stopped;      /* its tables are being taken: nobody may run in it */
};

struct kvm_context {
    struct context base;
    struct kvm_vm *vm;
    pthread_t thread;
    struct vcpu *vcpu; /* the one that holds its state, or NULL: then xsave has it; vm.lock */
    struct list_head waiting; /* vm.waiting */
    pthread_cond_t turn;      /* it was given a vCPU */
    int hand_over_error;      /* why it was given no vCPU; vm.lock */
    void *xsave;              /* vm.xsave_size bytes */
    uint64_t faults;          /* exits by a page fault */
    _Atomic bool interrupted;
    _Atomic uint64_t cpu_ns;  /* in KVM_RUN, all runs that ended */
    _Atomic uint64_t entered; /* CLOCK_MONOTONIC of the run in progress, or 0 */
    gva_t last_fault;         /* to notice a fault that does not go away */
    unsigned lost_pages;      /* how often KVM_RUN failed for want of a page, in this run */
    unsigned same_fault;
};

/* vm.c: the machine, its memory slots, its arena. */
int kvm_vm_create(struct kvm_vm **out, char *why, size_t why_size);
void kvm_vm_destroy(struct kvm_vm *vm);
extern const struct pt_ops kvm_table_ops;    /* arg: struct table_owner */
uint32_t kvm_arena_alloc(struct kvm_vm *vm); /* a zeroed page's number, or 0; vm.lock held */
/* Makes KVM forget every translation and every table; dead tables are free then. vm.lock held. */
void kvm_forget_everything(struct kvm_vm *vm);
/* The window of file that holds offset, with one more user. -errno. */
int kvm_window_get(struct kvm_vm *vm, struct memmap_file *file, uint64_t offset,
                   struct window **out);
void kvm_window_add_user(struct kvm_vm *vm, struct window *w);
void kvm_window_put(struct kvm_vm *vm, struct window *w);

/* vcpu.c */
int kvm_vcpu_create(struct kvm_vm *vm);
void kvm_vcpu_destroy(struct vcpu *v, size_t run_size);
/* After an exit that nothing explains: v is fit for another owner. */
void kvm_vcpu_reset(struct kvm_vm *vm, struct vcpu *v);
/* Code and stack segment of ring 3. */
void kvm_user_segments(struct kvm_sregs *s);
/* Gives the calling context a vCPU that holds its state, marked running in s. 0 or -errno. */
int kvm_vcpu_acquire(struct kvm_context *c, struct kvm_space *s);
void kvm_vcpu_release(struct kvm_context *c);
/* The floating-point state of v, which nobody runs, without the components that the application
 * does not have: KVM gives the protection keys of any processor that knows them. 0 or -errno. */
int kvm_vcpu_get_fpu(const struct kvm_vm *vm, struct vcpu *v, void *xsave);
/* Makes whoever runs on v look round. vm.lock held. */
void kvm_vcpu_kick(struct vcpu *v);

/* space.c */
int kvm_space_create(struct kvm_vm *vm, struct address_space **out);
enum fault_result { FAULT_UNKNOWN, FAULT_SERVED, FAULT_BUS, FAULT_NO_TABLE };
/* Makes the entry for a fault that the mappings explain. */
enum fault_result kvm_space_fault(struct kvm_space *s, gva_t addr, access_t access);
/*
 * The host could not give a page that an entry shows (a file has become shorter), and does not say
 * which one: takes away the entries of all host files. The next access faults, and is served only
 * if there is a page. False if there were none.
 */
bool kvm_space_hide_files(struct kvm_space *s);
/*
 * The arena has no table left: takes those of a space, which makes its entries again on demand. Of
 * the spaces that have at least half a fair share, it is the one that ran longest ago. Who calls
 * runs nowhere and holds no lock of the platform.
 */
void kvm_reclaim_tables(struct kvm_vm *vm);
/* The byte at addr, if something readable is mapped there and the host has the page. */
bool kvm_space_peek(struct kvm_space *s, gva_t addr, uint8_t *out);

/* context.c */
int kvm_context_create(struct kvm_vm *vm, struct context **out);

#endif
