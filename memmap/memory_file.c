/*
 * Every page of the file is in one of these states; runs of pages in the same state (and with
 * the same count) are one node of `runs`, in order of offset:
 *
 *      clean      no node        nobody uses it, and it reads as zero
 *      used       USED, refs > 0
 *      dirty      DIRTY          nobody uses it, but it still has contents
 *      emptied    EMPTIED        nobody uses it, it reads as zero, but waits among the dirty ones
 *      leaving    PUNCHING       nobody uses it; the host is taking its pages away
 *
 *      clean --alloc--> used --last put--> dirty --alloc (zeroed by us)--> used
 *        ^                       |           |
 *        +------- punched -------+-- leaving +
 *
 * A host call for each page that is freed, and a host fault for each page that is used again, cost
 * 3 us and 2.5 us; zeroing a page that is still there costs 40 ns. So a few small dirty runs
 * wait for the next small allocation; large ones, and any excess, go back to the host, which is
 * asked without the lock held, since a node in state PUNCHING belongs to whoever made it so. Runs
 * that the platform has emptied wait with the dirty ones, as they are: who allocates as much next,
 * probably for the same address, gets the same place.
 */
#include "memmap/memory_file.h"
#include "base/list.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/range_set.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif

/* Allocations up to this size take dirty pages: their pages are likely to be resident. */
#define RECYCLE_MAX (4 * PAGE_SIZE)
/* Freed runs that are longer than this go back to the host at once. */
#define DIRTY_RUN_MAX (16 * PAGE_SIZE)
/* What may wait for reuse, in bytes, and how many runs an allocation looks at. */
#define DIRTY_MAX (1ul << 20)
#define DIRTY_PROBES 8

enum run_state { RUN_USED, RUN_DIRTY, RUN_EMPTIED, RUN_PUNCHING };

struct run {
    struct range_node node;
    enum run_state state;
    uint64_t refs;         /* of each page; 0 unless RUN_USED */
    struct list_head link; /* impl.dirty, newest first, or a list of runs to punch */
};

struct memory_file_impl {
    struct mutex lock; /* MEMORY_FILE */
    struct range_set runs;
    struct list_head dirty;
    uint64_t dirty_bytes;
    uint64_t allocated; /* bytes in state RUN_USED */
    uint64_t limit;
};

static struct memory_file *memory_file_of(struct memmap_file *f)
{
    return container_of(f, struct memory_file, file);
}

static struct run *run_of(struct range_node *n)
{
    return n ? container_of(n, struct run, node) : NULL;
}

static struct run *run_next(struct run *r)
{
    return run_of(range_node_next(&r->node));
}

static uint64_t run_length(const struct run *r)
{
    return r->node.end - r->node.start;
}

static struct run *run_create(enum run_state state, uint64_t refs)
{
    struct run *r = malloc(sizeof(*r));
    if (!r)
        return NULL;
    r->state = state;
    r->refs = refs;
    list_init(&r->link);
    return r;
}

/* Counts change where nothing may fail (fork, munmap), and they split runs. The sentry cannot go on
 * without its own memory. */
static struct range_node *run_split(struct range_node *n, UNUSED uint64_t key, UNUSED void *arg)
{
    struct run *low = run_of(n);
    struct run *high = run_create(low->state, low->refs);
    if (!high)
        panic("memory file: the host has no memory left for the sentry");
    return &high->node;
}

static void run_destroy(struct memory_file_impl *impl, struct run *r)
{
    list_del(&r->link);
    range_set_remove(&impl->runs, &r->node);
    free(r);
}

/* Merges the neighbours below and above into r if they are alike. */
static void run_merge(struct memory_file_impl *impl, struct run *r)
{
    struct run *prev = run_of(range_node_prev(&r->node));
    struct run *next = run_next(r);
    if (next && next->node.start == r->node.end && next->state == r->state &&
        next->refs == r->refs) {
        uint64_t end = next->node.end;
        run_destroy(impl, next);
        range_set_resize(&impl->runs, &r->node, r->node.start, end);
    }
    if (prev && prev->node.end == r->node.start && prev->state == r->state &&
        prev->refs == r->refs) {
        uint64_t start = prev->node.start;
        run_destroy(impl, prev);
        range_set_resize(&impl->runs, &r->node, start, r->node.end);
    }
}

static bool aligned_range(const struct memory_file *mf, struct file_range fr)
{
    return page_aligned(fr.start) && page_aligned(fr.end) && fr.start < fr.end &&
           fr.end <= mf->size;
}

static void check_range(const struct memory_file *mf, struct file_range fr)
{
    if (unlikely(!aligned_range(mf, fr)))
        panic("memory file: bad range [%#lx, %#lx)", fr.start, fr.end);
}

/* ---- giving pages back ---- */

/* Without the lock: hands the pages of every run on `leaving` back to the host. */
static void punch_runs(struct memory_file *mf, struct list_head *leaving)
{
    if (list_empty(leaving))
        return;
    struct run *r, *tmp;
    list_for_each (r, leaving, link)
        memory_file_decommit(mf, (struct file_range){r->node.start, r->node.end});
    MUTEX_GUARD(&mf->impl->lock);
    list_for_each_safe (r, tmp, leaving, link)
        run_destroy(mf->impl, r);
}

static void run_leave(struct run *r, struct list_head *leaving)
{
    r->state = RUN_PUNCHING;
    list_del(&r->link);
    list_add_tail(leaving, &r->link);
}

/* Moves the oldest dirty runs to `leaving` until at most `keep` bytes are left. */
static void trim_dirty(struct memory_file_impl *impl, uint64_t keep, struct list_head *leaving)
{
    while (impl->dirty_bytes > keep) {
        struct run *r = list_entry(impl->dirty.prev, struct run, link);
        impl->dirty_bytes -= run_length(r);
        run_leave(r, leaving);
    }
}

/* It waits for the next small allocation. */
static void run_wait(struct memory_file_impl *impl, struct run *r, enum run_state state)
{
    r->state = state;
    impl->dirty_bytes += run_length(r);
    if (state == RUN_DIRTY)
        run_merge(impl, r);
    list_del(&r->link);
    list_add(&impl->dirty, &r->link);
}

/* A run whose last reference is gone. */
static void run_retire(struct memory_file_impl *impl, struct run *r, struct list_head *leaving)
{
    impl->allocated -= run_length(r);
    if (run_length(r) > DIRTY_RUN_MAX)
        run_leave(r, leaving);
    else
        run_wait(impl, r, RUN_DIRTY);
}

/* ---- references ---- */

/* The run that holds fr.start, after cutting runs at both ends of fr. Panics unless every page of
 * fr is in use. */
static struct run *isolate_used(struct memory_file_impl *impl, struct file_range fr)
{
    if (range_set_isolate(&impl->runs, fr.start, fr.end, run_split, NULL))
        panic("memory file: out of memory");
    struct run *first = run_of(range_set_find(&impl->runs, fr.start));
    uint64_t covered = fr.start;
    for (struct run *r = first; covered < fr.end; r = run_next(r)) {
        if (!r || r->node.start != covered || r->state != RUN_USED)
            panic("memory file: page %#lx of [%#lx, %#lx) has no reference", covered, fr.start,
                  fr.end);
        covered = r->node.end;
    }
    return first;
}

/*
 * After the counts in fr changed: merges runs that became alike, and retires those without
 * a reference. (Not while counting: a run that was counted may look like one that was not yet.)
 */
static void settle(struct memory_file_impl *impl, struct run *r, struct file_range fr,
                   struct list_head *leaving)
{
    for (; r && r->node.start < fr.end; r = run_next(r)) {
        run_merge(impl, r);
        if (r->refs == 0)
            run_retire(impl, r, leaving);
    }
}

void memory_file_get(struct memory_file *mf, struct file_range fr)
{
    check_range(mf, fr);
    struct memory_file_impl *impl = mf->impl;
    MUTEX_GUARD(&impl->lock);
    struct run *first = isolate_used(impl, fr);
    for (struct run *r = first; r && r->node.start < fr.end; r = run_next(r))
        r->refs++;
    settle(impl, first, fr, NULL);
}

void memory_file_put(struct memory_file *mf, struct file_range fr)
{
    check_range(mf, fr);
    struct memory_file_impl *impl = mf->impl;
    struct list_head leaving;
    list_init(&leaving);
    mutex_lock(&impl->lock);
    struct run *first = isolate_used(impl, fr);
    for (struct run *r = first; r && r->node.start < fr.end; r = run_next(r))
        r->refs--;
    settle(impl, first, fr, &leaving);
    if (impl->dirty_bytes > DIRTY_MAX)
        trim_dirty(impl, DIRTY_MAX / 2, &leaving);
    mutex_unlock(&impl->lock);
    punch_runs(mf, &leaving);
}

void memory_file_put_emptied(struct memory_file *mf, struct file_range fr)
{
    check_range(mf, fr);
    struct memory_file_impl *impl = mf->impl;
    struct list_head leaving;
    list_init(&leaving);
    mutex_lock(&impl->lock);
    struct run *r = isolate_used(impl, fr);
    if (r->node.end != fr.end || r->refs != 1)
        panic("memory file: [%#lx, %#lx) has more than one user", fr.start, fr.end);
    r->refs = 0;
    impl->allocated -= run_length(r);
    run_wait(impl, r, RUN_EMPTIED);
    if (impl->dirty_bytes > DIRTY_MAX)
        trim_dirty(impl, DIRTY_MAX / 2, &leaving);
    mutex_unlock(&impl->lock);
    punch_runs(mf, &leaving);
}

bool memory_file_exclusive(struct memory_file *mf, struct file_range fr)
{
    check_range(mf, fr);
    MUTEX_GUARD(&mf->impl->lock);
    struct run *r = run_of(range_set_find(&mf->impl->runs, fr.start));
    for (uint64_t covered = fr.start; covered < fr.end; r = run_next(r)) {
        if (!r || r->node.start > covered || r->refs != 1)
            return false;
        covered = r->node.end;
    }
    return true;
}

/* ---- allocation ---- */

/* Puts clean pages in use, as part of a neighbour if there is one with one reference. */
static int use_clean(struct memory_file_impl *impl, struct file_range fr)
{
    struct run *prev = fr.start ? run_of(range_set_find(&impl->runs, fr.start - 1)) : NULL;
    if (prev && prev->refs == 1) {
        range_set_resize(&impl->runs, &prev->node, prev->node.start, fr.end);
        run_merge(impl, prev);
        return 0;
    }
    struct run *next = run_of(range_set_find(&impl->runs, fr.end));
    if (next && next->refs == 1) {
        range_set_resize(&impl->runs, &next->node, fr.start, next->node.end);
        return 0;
    }
    struct run *r = run_create(RUN_USED, 1);
    if (!r)
        return -ENOMEM;
    r->node.start = fr.start;
    r->node.end = fr.end;
    range_set_insert(&impl->runs, &r->node);
    return 0;
}

/* Takes pages that were freed lately; *dirty: they still have their contents. */
static bool use_freed(struct memory_file_impl *impl, uint64_t length, struct file_range *out,
                      bool *dirty)
{
    int probes = 0;
    struct run *r;
    list_for_each (r, &impl->dirty, link) {
        if (run_length(r) >= length)
            break;
        if (++probes == DIRTY_PROBES)
            return false;
    }
    if (&r->link == &impl->dirty)
        return false;
    *out = (struct file_range){r->node.start, r->node.start + length};
    impl->dirty_bytes -= length;
    if (run_length(r) > length) {
        if (range_set_split(&impl->runs, &r->node, out->end, run_split, NULL))
            panic("memory file: out of memory");
        struct run *rest = run_next(r);
        list_add(&impl->dirty, &rest->link);
    }
    list_del(&r->link);
    *dirty = r->state == RUN_DIRTY;
    r->state = RUN_USED;
    r->refs = 1;
    run_merge(impl, r);
    return true;
}

static int find_clean(const struct memory_file *mf, uint64_t length, unsigned flags,
                      struct file_range *out)
{
    const struct range_set *runs = &mf->impl->runs;
    bool found = false;
    if (flags & MEMORY_FILE_HUGE)
        found = range_set_gap_down(runs, 0, mf->size, length, HUGE_PAGE_SIZE, &out->start);
    if (!found)
        found = range_set_gap_up(runs, 0, mf->size, length, PAGE_SIZE, &out->start);
    out->end = out->start + length;
    return found ? 0 : -ENOMEM;
}

/* Gives all dirty pages back, in case that their places are what is missing. */
static void flush_dirty(struct memory_file *mf)
{
    struct list_head leaving;
    list_init(&leaving);
    mutex_lock(&mf->impl->lock);
    trim_dirty(mf->impl, 0, &leaving);
    mutex_unlock(&mf->impl->lock);
    punch_runs(mf, &leaving);
}

/* Returns -EAGAIN if flush_dirty may help. */
static int try_alloc(struct memory_file *mf, uint64_t length, unsigned flags,
                     struct file_range *out, bool *dirty)
{
    struct memory_file_impl *impl = mf->impl;
    MUTEX_GUARD(&impl->lock);
    if (length > impl->limit || impl->allocated > impl->limit - length)
        return -ENOMEM;
    *dirty = false;
    int err = 0;
    if (length > RECYCLE_MAX || (flags & MEMORY_FILE_HUGE) ||
        !use_freed(impl, length, out, dirty)) {
        err = find_clean(mf, length, flags, out);
        if (err)
            return impl->dirty_bytes ? -EAGAIN : err;
        err = use_clean(impl, *out);
    }
    if (!err)
        impl->allocated += length;
    return err;
}

int memory_file_alloc(struct memory_file *mf, uint64_t length, unsigned flags,
                      struct file_range *out)
{
    if (length == 0 || !page_aligned(length))
        return -EINVAL;
    bool dirty;
    int err = try_alloc(mf, length, flags, out, &dirty);
    if (err == -EAGAIN) {
        flush_dirty(mf);
        err = try_alloc(mf, length, flags, out, &dirty);
    }
    if (err)
        return -ENOMEM;
    if (dirty && !(flags & MEMORY_FILE_NOZERO))
        memset(mf->file.window + out->start, 0, length);
    return 0;
}

/* ---- what the host does ---- */

static int host_fallocate(struct memory_file *mf, int mode, struct file_range fr)
{
    int err;
    do {
        err = fallocate(mf->file.fd, mode, (off_t)fr.start, (off_t)RANGE_LENGTH(fr));
    } while (err < 0 && errno == EINTR);
    return err < 0 ? -errno : 0;
}

void memory_file_decommit(struct memory_file *mf, struct file_range fr)
{
    check_range(mf, fr);
    int err = host_fallocate(mf, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, fr);
    if (err)
        panic("memory file: cannot punch [%#lx, %#lx): error %d", fr.start, fr.end, -err);
}

int memory_file_commit(struct memory_file *mf, struct file_range fr)
{
    check_range(mf, fr);
    return host_fallocate(mf, 0, fr);
}

ssize_t memory_file_fill(struct memory_file *mf, uint64_t offset, const struct iovec *blocks, int n)
{
    ssize_t r;
    do {
        r = pwritev(mf->file.fd, blocks, n, (off_t)offset);
    } while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : r;
}

void memory_file_stats(struct memory_file *mf, struct memory_file_stats *out)
{
    struct stat st;
    mutex_lock(&mf->impl->lock);
    out->allocated = mf->impl->allocated;
    mutex_unlock(&mf->impl->lock);
    out->resident = fstat(mf->file.fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

/* ---- the memmap_file ---- */

static void file_inc_ref(struct memmap_file *f, struct file_range fr)
{
    memory_file_get(memory_file_of(f), fr);
}

static void file_dec_ref(struct memmap_file *f, struct file_range fr)
{
    memory_file_put(memory_file_of(f), fr);
}

static int file_map_internal(struct memmap_file *f, struct file_range fr, UNUSED access_t at,
                             struct iovec *blocks, int max)
{
    if (max < 1 || fr.start >= fr.end || fr.end > memory_file_of(f)->size)
        return -EINVAL;
    blocks[0] = (struct iovec){f->window + fr.start, RANGE_LENGTH(fr)};
    return 1;
}

static const struct memmap_file_ops memory_file_ops = {
    .inc_ref = file_inc_ref,
    .dec_ref = file_dec_ref,
    .map_internal = file_map_internal,
};

/* Four times the machine's memory, so that fragmentation is never what stops an allocation. */
static uint64_t default_size(void)
{
    uint64_t ram = (uint64_t)sysconf(_SC_PHYS_PAGES) * PAGE_SIZE;
    uint64_t size = MAX(ram * 4, 64ull << 30);
    return (size + HUGE_PAGE_SIZE - 1) & ~(HUGE_PAGE_SIZE - 1);
}

/* The seals keep the file's size for ever: nobody who gets hold of the descriptor can take pages
 * from under the window. The pages can be mapped executable all the same. */
static int open_memfd(uint64_t size)
{
    int fd = memfd_create("picket-memory", MFD_CLOEXEC | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) /* Linux before 6.3 */
        fd = memfd_create("picket-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)size) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        int err = -errno;
        close(fd);
        return err;
    }
    return fd;
}

/*
 * A nameless file on a tmpfs that nobody else can reach: unlike a memfd's, its mappings may ask for
 * huge pages, which are many times cheaper to touch and to give back. Mounting takes privileges.
 * There are no seals here.
 */
static int open_tmpfs(uint64_t size)
{
    int fs = fsopen("tmpfs", FSOPEN_CLOEXEC), mnt = -1, fd = -1;
    if (fs >= 0 && fsconfig(fs, FSCONFIG_SET_STRING, "huge", "advise", 0) == 0 &&
        fsconfig(fs, FSCONFIG_SET_STRING, "size", "0", 0) == 0 &&
        fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
        mnt = fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    if (mnt >= 0)
        fd = openat(mnt, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (mnt >= 0)
        close(mnt);
    if (fs >= 0)
        close(fs);
    if (fd >= 0 && ftruncate(fd, (off_t)size) < 0) {
        close(fd);
        fd = -1;
    }
    return fd < 0 ? -ENOTSUP : fd;
}

static int open_file(uint64_t size, bool *huge)
{
    int fd = open_tmpfs(size);
    *huge = fd >= 0;
    return fd >= 0 ? fd : open_memfd(size);
}

static int map_window(struct memory_file *mf)
{
    char *w =
        mmap(NULL, mf->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, mf->file.fd, 0);
    if (w == MAP_FAILED)
        return -errno;
    /* Not in core dumps of the sentry, and not in processes that it forks. */
    madvise(w, mf->size, MADV_DONTDUMP);
    madvise(w, mf->size, MADV_DONTFORK);
    mf->file.window = w;
    return 0;
}

int memory_file_create(struct memory_file **out, uint64_t size, uint64_t limit)
{
    if (size == 0)
        size = default_size();
    if (!page_aligned(size) || size > INT64_MAX)
        return -EINVAL;
    struct memory_file *mf = calloc(1, sizeof(*mf));
    struct memory_file_impl *impl = calloc(1, sizeof(*impl));
    int err = mf && impl ? open_file(size, &mf->huge) : -ENOMEM;
    if (err >= 0) {
        mf->file.ops = &memory_file_ops;
        mf->file.fd = err;
        mf->size = size;
        mf->impl = impl;
        err = map_window(mf);
        if (err)
            close(mf->file.fd);
    }
    if (err) {
        free(impl);
        free(mf);
        return err;
    }
    mutex_init(&impl->lock, LOCK_MEMORY_FILE);
    range_set_init(&impl->runs);
    list_init(&impl->dirty);
    impl->limit = limit ? limit : UINT64_MAX;
    *out = mf;
    return 0;
}

void memory_file_destroy(struct memory_file *mf)
{
    struct memory_file_impl *impl = mf->impl;
    while (impl->runs.root)
        run_destroy(impl, run_of(impl->runs.root));
    munmap(mf->file.window, mf->size);
    close(mf->file.fd);
    mutex_destroy(&impl->lock);
    free(impl);
    free(mf);
}

#ifdef PICKET_DEBUG

uint64_t memory_file_refs(struct memory_file *mf, uint64_t offset)
{
    MUTEX_GUARD(&mf->impl->lock);
    const struct run *r = run_of(range_set_find(&mf->impl->runs, offset));
    return r ? r->refs : 0;
}

void memory_file_check(struct memory_file *mf)
{
    struct memory_file_impl *impl = mf->impl;
    MUTEX_GUARD(&impl->lock);
    range_set_check(&impl->runs);
    uint64_t used = 0, dirty = 0, listed = 0;
    const struct run *prev = NULL;
    for (struct run *r = run_of(range_set_first(&impl->runs)); r; r = run_next(r)) {
        used += r->state == RUN_USED ? run_length(r) : 0;
        dirty += r->state == RUN_DIRTY || r->state == RUN_EMPTIED ? run_length(r) : 0;
        if ((r->refs > 0) != (r->state == RUN_USED))
            panic("memory file: run %#lx in state %d has %lu references", r->node.start, r->state,
                  r->refs);
        if (!page_aligned(r->node.start) || !page_aligned(r->node.end) || r->node.end > mf->size)
            panic("memory file: run [%#lx, %#lx)", r->node.start, r->node.end);
        if (prev && prev->node.end == r->node.start && prev->state == r->state &&
            prev->refs == r->refs && (r->state == RUN_USED || r->state == RUN_DIRTY))
            panic("memory file: runs at %#lx should have merged", r->node.start);
        prev = r;
    }
    struct run *r;
    list_for_each (r, &impl->dirty, link)
        listed += run_length(r);
    if (used != impl->allocated || dirty != impl->dirty_bytes || listed != dirty)
        panic("memory file: %lu used, %lu dirty, %lu listed; counted %lu and %lu", used, dirty,
              listed, impl->allocated, impl->dirty_bytes);
}

#endif
