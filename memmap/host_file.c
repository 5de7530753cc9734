/*
 * One window for each aligned 64 MiB of the file in which pages are referenced; it counts those
 * references, and maps its part of the file when somebody wants to look. Mapping costs the same for
 * any size, and large windows keep the sentry far from the host's limit on the number of mappings.
 * One idle window is kept, since programs map, copy and unmap the same places.
 */
#include "memmap/host_file.h"
#include "base/lock.h"
#include "base/log.h"
#include "base/range_set.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define WINDOW_SIZE (64ul << 20)

struct window {
    struct range_node node;
    uint64_t refs; /* references on pages, summed */
    char *addr;    /* or NULL: not mapped */
};

struct host_file {
    struct memmap_file file;
    bool writable;
    struct mutex lock; /* HOST_FILE */
    struct range_set windows;
    struct window *idle; /* the one window that may be there without references */
    bool held;           /* by the creator */
};

static struct host_file *host_file_of(struct memmap_file *f)
{
    return container_of(f, struct host_file, file);
}

static void window_destroy(struct host_file *hf, struct window *w)
{
    range_set_remove(&hf->windows, &w->node);
    if (w->addr)
        munmap(w->addr, WINDOW_SIZE);
    free(w);
}

static struct window *window_find(struct host_file *hf, uint64_t offset)
{
    struct range_node *n = range_set_find(&hf->windows, offset);
    return n ? container_of(n, struct window, node) : NULL;
}

static struct window *window_get(struct host_file *hf, uint64_t offset)
{
    struct window *w = window_find(hf, offset);
    if (w)
        return w;
    w = calloc(1, sizeof(*w));
    if (!w)
        panic("host file: the host has no memory left for the sentry");
    w->node.start = offset & ~(WINDOW_SIZE - 1);
    w->node.end = w->node.start + WINDOW_SIZE;
    range_set_insert(&hf->windows, &w->node);
    return w;
}

/* w has no reference left: it becomes the idle one. */
static void window_retire(struct host_file *hf, struct window *w)
{
    if (hf->idle)
        window_destroy(hf, hf->idle);
    hf->idle = w->addr ? w : NULL;
    if (!w->addr)
        window_destroy(hf, w);
}

static void host_file_free(struct host_file *hf)
{
    if (hf->idle)
        window_destroy(hf, hf->idle);
    close(hf->file.fd);
    mutex_destroy(&hf->lock);
    free(hf);
}

/* Whether nobody needs hf any more. */
static bool abandoned(const struct host_file *hf)
{
    return !hf->held && hf->windows.count == (hf->idle ? 1 : 0);
}

static uint64_t pages_in(const struct window *w, struct file_range fr)
{
    return (MIN(w->node.end, fr.end) - MAX(w->node.start, fr.start)) >> PAGE_SHIFT;
}

static void check_range(struct file_range fr)
{
    if (unlikely(!page_aligned(fr.start) || !page_aligned(fr.end) || fr.start >= fr.end ||
                 fr.end > INT64_MAX))
        panic("host file: bad range [%#lx, %#lx)", fr.start, fr.end);
}

static void host_file_inc_ref(struct memmap_file *f, struct file_range fr)
{
    struct host_file *hf = host_file_of(f);
    check_range(fr);
    MUTEX_GUARD(&hf->lock);
    for (uint64_t at = fr.start; at < fr.end;) {
        struct window *w = window_get(hf, at);
        if (w == hf->idle)
            hf->idle = NULL;
        w->refs += pages_in(w, fr);
        at = w->node.end;
    }
}

static void host_file_dec_ref(struct memmap_file *f, struct file_range fr)
{
    struct host_file *hf = host_file_of(f);
    check_range(fr);
    mutex_lock(&hf->lock);
    for (uint64_t at = fr.start; at < fr.end;) {
        struct window *w = window_find(hf, at);
        uint64_t pages = w ? pages_in(w, fr) : 0;
        if (!w || w->refs < pages)
            panic("host file: page %#lx of [%#lx, %#lx) has no reference", at, fr.start, fr.end);
        at = w->node.end;
        w->refs -= pages;
        if (w->refs == 0)
            window_retire(hf, w);
    }
    bool last = abandoned(hf);
    mutex_unlock(&hf->lock);
    if (last)
        host_file_free(hf);
}

static int window_map(struct host_file *hf, struct window *w)
{
    int prot = PROT_READ | (hf->writable ? PROT_WRITE : 0);
    void *addr = mmap(NULL, WINDOW_SIZE, prot, MAP_SHARED | MAP_NORESERVE, hf->file.fd,
                      (off_t)w->node.start);
    if (addr == MAP_FAILED)
        return -errno;
    madvise(addr, WINDOW_SIZE, MADV_DONTDUMP);
    madvise(addr, WINDOW_SIZE, MADV_DONTFORK);
    w->addr = addr;
    return 0;
}

static int host_file_map_internal(struct memmap_file *f, struct file_range fr, access_t at,
                                  struct iovec *blocks, int max)
{
    struct host_file *hf = host_file_of(f);
    if (max < 1 || fr.start >= fr.end || fr.end > INT64_MAX)
        return -EINVAL;
    if ((at & ACCESS_WRITE) && !hf->writable)
        return -EACCES;
    MUTEX_GUARD(&hf->lock);
    int n = 0;
    while (fr.start < fr.end && n < max) {
        struct window *w = window_find(hf, fr.start);
        if (!w || w->refs == 0)
            panic("host file: page %#lx has no reference", page_down(fr.start));
        int err = w->addr ? 0 : window_map(hf, w);
        if (err)
            return n ? n : err;
        blocks[n++] = (struct iovec){w->addr + (fr.start - w->node.start),
                                     MIN(fr.end, w->node.end) - fr.start};
        fr.start = w->node.end;
    }
    return n;
}

static const struct memmap_file_ops host_file_ops = {
    .inc_ref = host_file_inc_ref,
    .dec_ref = host_file_dec_ref,
    .map_internal = host_file_map_internal,
};

int host_file_create(int fd, bool writable, struct host_file **out)
{
    struct host_file *hf = calloc(1, sizeof(*hf));
    if (!hf)
        return -ENOMEM;
    hf->file.ops = &host_file_ops;
    hf->file.fd = fd;
    hf->writable = writable;
    hf->held = true;
    mutex_init(&hf->lock, LOCK_HOST_FILE);
    range_set_init(&hf->windows);
    *out = hf;
    return 0;
}

struct memmap_file *host_file_memmap(struct host_file *hf)
{
    return &hf->file;
}

void host_file_put(struct host_file *hf)
{
    mutex_lock(&hf->lock);
    hf->held = false;
    bool last = abandoned(hf);
    mutex_unlock(&hf->lock);
    if (last)
        host_file_free(hf);
}
