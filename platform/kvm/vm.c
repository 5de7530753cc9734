/*
 * The virtual machine: its memory slots, and the arena that page tables and vCPU pages come from.
 */
#include "base/log.h"
#include "platform/kvm/kvm.h"
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLOT_ARENA 0
#define SLOT_DUMMY 1
#define SLOT_FIRST 2
#define DUMMY_GPA (ARENA_GPA - PAGE_SIZE)
/* So many dead tables wait before KVM is made to forget them all. */
#define DEAD_PAGES_MAX 2048
#define ARENA_BATCH 32

extern const char kvm_trampoline_start[], kvm_trampoline_end[];
extern const char kvm_vsyscall_start[], kvm_vsyscall_end[];

/* ---- small stacks ---- */

static bool stack_push(struct page_stack *s, uint32_t value)
{
    if (s->count == s->capacity) {
        size_t capacity = s->capacity ? 2 * s->capacity : 256;
        uint32_t *items = realloc(s->items, capacity * sizeof(*items));
        if (!items)
            return false;
        s->items = items;
        s->capacity = capacity;
    }
    s->items[s->count++] = value;
    return true;
}

static uint32_t stack_top(const struct page_stack *s)
{
    return s->items[s->count - 1];
}

/* ---- slots ---- */

static int slot_set(struct kvm_vm *vm, unsigned slot, uint64_t gpa, const void *hva, uint64_t size)
{
    struct kvm_userspace_memory_region r = {.slot = slot,
                                            .guest_phys_addr = gpa,
                                            .memory_size = size,
                                            .userspace_addr = (uintptr_t)hva};
    return ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &r) ? -errno : 0;
}

void kvm_forget_everything(struct kvm_vm *vm)
{
    lock_assert_held(&vm->lock);
    int err = slot_set(vm, SLOT_DUMMY, DUMMY_GPA, vm->arena, PAGE_SIZE);
    if (!err)
        err = slot_set(vm, SLOT_DUMMY, DUMMY_GPA, vm->arena, 0);
    if (err)
        panic("kvm: cannot cycle the dummy memory slot: %s", strerror(-err));
    while (vm->dead_pages.count && stack_push(&vm->free_pages, stack_top(&vm->dead_pages)))
        vm->dead_pages.count--;
}

/* ---- the arena ---- */

/* The host gives pages in batches for less than one at a time. (If it does not, their first use is
 * what fails or waits.) */
static uint32_t arena_extend(struct kvm_vm *vm)
{
    if (vm->arena_used >= vm->arena_ready) {
        vm->arena_ready = MIN(vm->arena_used + ARENA_BATCH, (uint32_t)(ARENA_SIZE / PAGE_SIZE));
        madvise(vm->arena + (uint64_t)vm->arena_used * PAGE_SIZE,
                (uint64_t)(vm->arena_ready - vm->arena_used) * PAGE_SIZE, MADV_POPULATE_WRITE);
    }
    return vm->arena_used++;
}

uint32_t kvm_arena_alloc(struct kvm_vm *vm)
{
    uint32_t page = 0;
    lock_assert_held(&vm->lock);
    bool fresh = vm->arena_used < vm->arena_pages;
    if (!vm->free_pages.count && vm->dead_pages.count >= (fresh ? DEAD_PAGES_MAX : 1))
        kvm_forget_everything(vm);
    if (vm->free_pages.count) {
        page = vm->free_pages.items[--vm->free_pages.count];
        memset(vm->arena + (uint64_t)page * PAGE_SIZE, 0, PAGE_SIZE);
    } else if (fresh) {
        page = arena_extend(vm);
    }
    return page;
}

static const uint64_t *table_read(void *arg, pt_phys_t pa)
{
    const struct kvm_vm *vm = ((struct table_owner *)arg)->vm;
    uint64_t offset = pa - ARENA_GPA;
    return offset < ARENA_SIZE ? (const uint64_t *)(const void *)(vm->arena + offset) : NULL;
}
static uint64_t *table_write(void *arg, pt_phys_t *pa)
{
    return (uint64_t *)(uintptr_t)table_read(arg, *pa);
}
static pt_phys_t table_alloc(void *arg)
{
    struct table_owner *o = arg;
    MUTEX_GUARD(&o->vm->lock);
    uint64_t page = kvm_arena_alloc(o->vm);
    o->tables += page != 0;
    return page ? ARENA_GPA + page * PAGE_SIZE : 0;
}
static void table_free(void *arg, pt_phys_t pa)
{
    struct table_owner *o = arg;
    struct kvm_vm *vm = o->vm;
    MUTEX_GUARD(&vm->lock);
    o->tables--;
    if (!stack_push(&vm->dead_pages, (uint32_t)((pa - ARENA_GPA) / PAGE_SIZE)))
        log_warn("kvm: no memory to remember a free table");
}
const struct pt_ops kvm_table_ops = {table_read, table_write, table_alloc, table_free};

/* ---- windows ---- */

static struct window *window_find(struct list_head *list, const struct memmap_file *file,
                                  uint64_t offset)
{
    struct window *w;
    list_for_each (w, list, link) {
        if (w->file == file && w->offset == offset)
            return w;
    }
    return NULL;
}

/* A window on a host file keeps the file by a reference on its first page. */
static struct file_range window_hold(const struct window *w)
{
    return (struct file_range){w->offset, w->offset + PAGE_SIZE};
}

static void window_destroy(struct kvm_vm *vm, struct window *w)
{
    if (slot_set(vm, w->slot, w->gpa, w->hva, 0))
        panic("kvm: cannot remove a memory slot: %s", strerror(errno));
    munmap(w->hva, w->size);
    if (!w->memory)
        w->file->ops->dec_ref(w->file, window_hold(w));
    if (!stack_push(&vm->free_slots, w->slot))
        log_warn("kvm: no memory to remember a free slot");
    list_del(&w->link);
    free(w);
}

static void window_evict(struct kvm_vm *vm)
{
    struct window *w = list_entry(vm->idle_windows.prev, struct window, link);
    window_destroy(vm, w);
    vm->nidle--;
}

static bool slot_take(struct kvm_vm *vm, unsigned *slot)
{
    if (vm->free_slots.count) {
        *slot = vm->free_slots.items[--vm->free_slots.count];
        return true;
    }
    if (vm->next_slot >= vm->max_slots)
        return false;
    *slot = vm->next_slot++;
    return true;
}

static int window_map(struct kvm_vm *vm, struct window *w)
{
    int fd = w->file->fd;
    void *hva = mmap(NULL, w->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
                     (off_t)w->offset);
    w->writable = hva != MAP_FAILED;
    if (hva == MAP_FAILED && errno == EACCES)
        hva = mmap(NULL, w->size, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, (off_t)w->offset);
    if (hva == MAP_FAILED)
        return -errno;
    madvise(hva, w->size, MADV_DONTFORK);
    madvise(hva, w->size, MADV_DONTDUMP);
    w->hva = hva;
    /* The memory file is linear, so its slots need no numbers of their own in the address. */
    w->gpa = w->memory ? MEMORY_GPA + w->offset : vm->top_gpa - (w->slot + 1ull) * WINDOW_SIZE;
    int err = slot_set(vm, w->slot, w->gpa, w->hva, w->size);
    if (err)
        munmap(hva, w->size);
    return err;
}

static int window_create(struct kvm_vm *vm, struct memmap_file *file, uint64_t offset,
                         uint64_t size, struct window **out)
{
    struct window *w = calloc(1, sizeof(*w));
    if (!w)
        return -ENOMEM;
    w->file = file;
    w->offset = offset;
    w->size = size;
    w->memory = file->window != NULL;
    if (!slot_take(vm, &w->slot)) {
        free(w);
        return -ENOMEM;
    }
    int err = window_map(vm, w);
    if (err) {
        if (!stack_push(&vm->free_slots, w->slot))
            log_warn("kvm: no memory to remember a free slot");
        free(w);
        return err;
    }
    if (!w->memory)
        file->ops->inc_ref(file, window_hold(w));
    list_add(&vm->windows, &w->link);
    *out = w;
    return 0;
}

int kvm_window_get(struct kvm_vm *vm, struct memmap_file *file, uint64_t offset,
                   struct window **out)
{
    uint64_t size = file->window ? MEMORY_CHUNK : WINDOW_SIZE;
    uint64_t start = offset & ~(size - 1);
    int err = 0;
    MUTEX_GUARD(&vm->lock);
    struct window *w = window_find(&vm->windows, file, start);
    if (!w && (w = window_find(&vm->idle_windows, file, start))) {
        list_del(&w->link);
        vm->nidle--;
        list_add(&vm->windows, &w->link);
    }
    if (!w)
        err = window_create(vm, file, start, size, &w);
    if (err == -ENOMEM && vm->nidle) {
        while (vm->nidle)
            window_evict(vm);
        err = window_create(vm, file, start, size, &w);
    }
    if (err)
        return err;
    w->users++;
    *out = w;
    return 0;
}

void kvm_window_add_user(struct kvm_vm *vm, struct window *w)
{
    MUTEX_GUARD(&vm->lock);
    w->users++;
}

void kvm_window_put(struct kvm_vm *vm, struct window *w)
{
    MUTEX_GUARD(&vm->lock);
    if (--w->users > 0 || w->memory)
        return;
    list_del(&w->link);
    list_add(&vm->idle_windows, &w->link);
    if (++vm->nidle > WINDOWS_CACHED)
        window_evict(vm);
}

/* ---- the machine ---- */

static void idt_set(uint64_t *idt, unsigned vector, unsigned dpl)
{
    uint64_t at = CODE_VA + vector * STUB_SIZE;
    uint64_t *gate = idt + 2 * vector;
    gate[0] = (at & 0xffff) | (uint64_t)SEL_KERNEL_CS << 16 |
              (0x8e00ull | (uint64_t)dpl << 13) << 32 | (at >> 16 & 0xffff) << 48;
    gate[1] = at >> 32;
}

/* The shared half: code, IDT, and a page for each vCPU there may be. */
static int upper_create(struct kvm_vm *vm)
{
    struct pt_status st;
    uint64_t first;
    vm->upper_tables.vm = vm;
    if (pt_init(&vm->upper, &kvm_table_ops, &vm->upper_tables) != PT_OK)
        return -ENOMEM;
    mutex_lock(&vm->lock);
    first = kvm_arena_alloc(vm);
    for (unsigned i = 1; i < 2 + MAX_VCPUS; i++) {
        if (kvm_arena_alloc(vm) != first + i)
            first = 0;
    }
    mutex_unlock(&vm->lock);
    if (!first)
        return -ENOMEM;
    char *code = vm->arena + first * PAGE_SIZE;
    memcpy(code, kvm_trampoline_start, (size_t)(kvm_trampoline_end - kvm_trampoline_start));
    uint64_t *idt = (uint64_t *)(void *)(code + PAGE_SIZE);
    for (unsigned vector = 0; vector < 32; vector++)
        idt_set(idt, vector, vector == 3 || vector == 4 ? 3 : 0);
    pt_flush_ignore(pt_map(&vm->upper, CODE_VA, PAGE_SIZE, ARENA_GPA + first * PAGE_SIZE,
                           PT_ACCESSED, PAGE_SIZE, &st));
    if (st.err)
        return -ENOMEM;
    pt_flush_ignore(pt_map(&vm->upper, IDT_VA, (1 + MAX_VCPUS) * PAGE_SIZE,
                           ARENA_GPA + (first + 1) * PAGE_SIZE,
                           PT_WRITE | PT_ACCESSED | PT_DIRTY | PT_NO_EXEC, PAGE_SIZE, &st));
    if (st.err)
        return -ENOMEM;
    mutex_lock(&vm->lock);
    uint64_t vsyscall = kvm_arena_alloc(vm);
    mutex_unlock(&vm->lock);
    if (!vsyscall)
        return -ENOMEM;
    char *page = memset(vm->arena + vsyscall * PAGE_SIZE, 0xf4, PAGE_SIZE);
    memcpy(page, kvm_vsyscall_start, (size_t)(kvm_vsyscall_end - kvm_vsyscall_start));
    pt_flush_ignore(pt_map(&vm->upper, VSYSCALL_VA, PAGE_SIZE, ARENA_GPA + vsyscall * PAGE_SIZE,
                           PT_USER | PT_ACCESSED, PAGE_SIZE, &st));
    if (st.err)
        return -ENOMEM;
    for (int i = 0; i < MAX_VCPUS; i++)
        vm->vcpus[i].page = vm->arena + (first + 2 + (uint64_t)i) * PAGE_SIZE;
    return 0;
}

/* What programs are told with AT_HWCAP is the host's; the bits there that KVM leaves out are of no
 * use in ring 3. */
static void show_host_features(struct kvm_cpuid2 *cpuid)
{
    unsigned a, b, c, d;
    for (unsigned i = 0; i < cpuid->nent; i++) {
        if (cpuid->entries[i].function == 1 && __get_cpuid(1, &a, &b, &c, &d))
            cpuid->entries[i].edx |= d;
    }
}

static int get_cpuid(struct kvm_vm *vm)
{
    for (unsigned n = 128; n <= 1024; n *= 2) {
        struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + n * sizeof(c->entries[0]));
        if (!c)
            return -ENOMEM;
        c->nent = n;
        if (ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, c) == 0) {
            show_host_features(c);
            vm->cpuid = c;
            return 0;
        }
        free(c);
        if (errno != E2BIG)
            return -errno;
    }
    return -E2BIG;
}

static int guest_physical_bits(const struct kvm_vm *vm)
{
    for (unsigned i = 0; i < vm->cpuid->nent; i++) {
        if (vm->cpuid->entries[i].function == 0x80000008)
            return (int)(vm->cpuid->entries[i].eax & 0xff);
    }
    return 36;
}

static int machine_create(struct kvm_vm *vm, char *why, size_t why_size)
{
    vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (vm->kvm_fd < 0) {
        int err = -errno;
        snprintf(why, why_size, "cannot open /dev/kvm: %s", strerror(-err));
        return err;
    }
    int sync = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS);
    if (ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION || (sync & 3) != 3) {
        snprintf(why, why_size, "this KVM is too old: it cannot synchronise registers");
        return -ENOTSUP;
    }
    vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
    int run_size = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (vm->vm_fd < 0 || run_size < (int)sizeof(struct kvm_run) || get_cpuid(vm)) {
        int err = -errno;
        snprintf(why, why_size, "KVM refuses to make a virtual machine: %s", strerror(-err));
        return err ? err : -EIO;
    }
    vm->run_size = (size_t)run_size;
    vm->sync_events = sync & KVM_SYNC_X86_EVENTS;
    int slots = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS);
    vm->max_slots = slots > 64 ? (unsigned)slots : 32;
    int xsave = ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
    vm->xsave_size = xsave > 4096 ? (size_t)xsave : 4096;
    int most = ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
    vm->max_vcpus = MAX(1, MIN(most, MAX_VCPUS));
    int bits = MIN(guest_physical_bits(vm), 46);
    if (bits < 36) {
        snprintf(why, why_size, "this KVM gives only %d bits of physical address", bits);
        return -ENOTSUP;
    }
    vm->top_gpa = 1ull << bits;
    return 0;
}

int kvm_vm_create(struct kvm_vm **out, char *why, size_t why_size)
{
    struct kvm_vm *vm = calloc(1, sizeof(*vm));
    if (!vm)
        return -ENOMEM;
    vm->kvm_fd = vm->vm_fd = -1;
    vm->arena_used = 1; /* page 0 is no table */
    vm->arena_pages = ARENA_SIZE / PAGE_SIZE;
    vm->next_slot = SLOT_FIRST;
    mutex_init(&vm->lock, LOCK_PLATFORM_CPU);
    pthread_cond_init(&vm->changed, NULL);
    list_init(&vm->waiting);
    list_init(&vm->spaces);
    list_init(&vm->windows);
    list_init(&vm->idle_windows);
    int err = machine_create(vm, why, why_size);
    if (!err) {
        vm->arena = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_WRITE,
                         MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (vm->arena == MAP_FAILED)
            vm->arena = NULL;
        err = vm->arena ? slot_set(vm, SLOT_ARENA, ARENA_GPA, vm->arena, ARENA_SIZE) : -ENOMEM;
        if (!err) {
            madvise(vm->arena, ARENA_SIZE, MADV_DONTFORK);
            err = upper_create(vm);
        }
        if (err)
            snprintf(why, why_size, "cannot set the virtual machine up: %s", strerror(-err));
    }
    if (err) {
        kvm_vm_destroy(vm);
        return err;
    }
    *out = vm;
    return 0;
}

void kvm_vm_destroy(struct kvm_vm *vm)
{
    for (int i = 0; i < vm->nvcpus; i++)
        kvm_vcpu_destroy(&vm->vcpus[i], vm->run_size);
    while (!list_empty(&vm->idle_windows))
        window_evict(vm);
    while (!list_empty(&vm->windows))
        window_destroy(vm, list_entry(vm->windows.next, struct window, link));
    if (vm->vm_fd >= 0)
        close(vm->vm_fd);
    if (vm->kvm_fd >= 0)
        close(vm->kvm_fd);
    if (vm->arena)
        munmap(vm->arena, ARENA_SIZE);
    free(vm->free_pages.items);
    free(vm->dead_pages.items);
    free(vm->free_slots.items);
    free(vm->cpuid);
    pthread_cond_destroy(&vm->changed);
    mutex_destroy(&vm->lock);
    free(vm);
}
