/*
 * The platform object: its parts in the order in which they come and go.
 */
#include "base/log.h"
#include "platform/ptrace/ptrace.h"
#include <cpuid.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define MAX_STUB_PROCESSES 16384u
#define XFEATURE_PKRU 9
#define XFEATURES_AMX (3ull << 17) /* an application has to ask for these first */
#define PKRU_DEFAULT 0x55555554u   /* what Linux gives a new thread */
#define MXCSR_DEFAULT 0x1f80u
#define MXCSR_OFFSET 24
#define XSTATE_BV_OFFSET 512
#define XSAVE_MIN 576u

extern const char ptrace_stub_begin[], ptrace_stub_end[];

static uint64_t read_xcr0(void)
{
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low | (uint64_t)high << 32;
}

/* The XSAVE area: what CPUID says for the features that the host's kernel has switched on. */
static int measure_xstate(struct ptrace_platform *p)
{
    uint32_t a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return -ENODEV;
    uint64_t xcr0 = read_xcr0();
    uint32_t host = XSAVE_MIN, visible = XSAVE_MIN;
    for (unsigned i = 2; i < 63; i++) {
        if (!(xcr0 >> i & 1))
            continue;
        __cpuid_count(0xd, i, a, b, c, d);
        host = MAX(host, a + b);
        if (!(XFEATURES_AMX >> i & 1))
            visible = MAX(visible, a + b);
    }
    p->host_xstate_size = host;
    p->base.xstate_size = visible;
    p->base.xfeatures = xcr0 & ~XFEATURES_AMX;

    char *image = calloc(1, host);
    if (!image)
        return -ENOMEM;
    memcpy(image + MXCSR_OFFSET, &(uint32_t){MXCSR_DEFAULT}, sizeof(uint32_t));
    if (xcr0 >> XFEATURE_PKRU & 1) {
        __cpuid_count(0xd, XFEATURE_PKRU, a, b, c, d);
        memcpy(image + b, &(uint32_t){PKRU_DEFAULT}, sizeof(uint32_t));
        memcpy(image + XSTATE_BV_OFFSET, &(uint64_t){1ull << XFEATURE_PKRU}, sizeof(uint64_t));
    }
    p->initial_xstate = image;
    return 0;
}

/* The file of command pages, and the stub's code in front of them. */
static int make_commands(struct ptrace_platform *p)
{
    size_t size = STUB_CODE_SIZE + (size_t)MAX_STUB_PROCESSES * STUB_PAGE_SIZE;
    p->command_fd = memfd_create("picket-stub", MFD_CLOEXEC);
    if (p->command_fd < 0 || ftruncate(p->command_fd, (off_t)size) < 0)
        return -errno;
    p->commands =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, p->command_fd, 0);
    if (p->commands == MAP_FAILED) {
        p->commands = NULL;
        return -errno;
    }
    memcpy(p->commands, ptrace_stub_begin, (size_t)(ptrace_stub_end - ptrace_stub_begin));

    p->nslots = MAX_STUB_PROCESSES;
    p->by_slot = calloc(p->nslots, sizeof(*p->by_slot));
    p->free_slots = calloc(p->nslots, sizeof(*p->free_slots));
    if (!p->by_slot || !p->free_slots)
        return -ENOMEM;
    for (uint32_t i = 0; i < p->nslots; i++)
        p->free_slots[i] = p->nslots - 1 - i;
    p->nfree = p->nslots;
    return 0;
}

static int make_descriptors(struct ptrace_platform *p)
{
    p->report_fd = memfd_create("picket-report", MFD_CLOEXEC);
    p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    p->signal_fd = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
    return p->report_fd < 0 || p->epoll_fd < 0 || p->wake_fd < 0 || p->signal_fd < 0 ? -errno : 0;
}

/*
 * A stop of a traced thread sends SIGCHLD unless this says otherwise: half a microsecond each. Of
 * deaths the service thread hears through signal_fd, as long as every thread of the process blocks
 * the signal: those that the caller makes from now on do.
 */
static int quiet_sigchld(void)
{
    struct sigaction sa;
    sigset_t chld;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    pthread_sigmask(SIG_BLOCK, &chld, NULL);
    if (sigaction(SIGCHLD, NULL, &sa) < 0)
        return -errno;
    sa.sa_flags |= SA_NOCLDSTOP;
    if (sa.sa_handler == SIG_IGN)
        sa.sa_handler = SIG_DFL; /* children must stay until they are waited for */
    return sigaction(SIGCHLD, &sa, NULL) < 0 ? -errno : 0;
}

static gva_t lowest_address(void)
{
    unsigned long lowest = PAGE_SIZE;
    FILE *f = fopen("/proc/sys/vm/mmap_min_addr", "re");
    if (f) {
        if (fscanf(f, "%lu", &lowest) != 1)
            lowest = PAGE_SIZE;
        fclose(f);
    }
    return MAX(PAGE_SIZE, (lowest + PAGE_SIZE - 1) & PAGE_MASK);
}

static void kill_idle(struct ptrace_platform *p)
{
    struct stub_process *sp;
    while ((sp = list_first(&p->idle, struct stub_process, pool_link))) {
        list_del(&sp->pool_link);
        stub_process_kill(sp);
    }
}

static void forget_host_threads(struct ptrace_platform *p)
{
    struct host_thread *h;
    while ((h = list_first(&p->host_threads, struct host_thread, link)))
        host_thread_forget(h);
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void platform_release(struct platform *base)
{
    struct ptrace_platform *p = container_of(base, struct ptrace_platform, base);
    kill_idle(p);
    forget_host_threads(p);
    if (p->master)
        stub_process_kill(p->master);
    if (p->service_started)
        service_stop(p);
    if (p->key_made)
        pthread_key_delete(p->host_thread_key);
    close_if_open(p->epoll_fd);
    close_if_open(p->signal_fd);
    close_if_open(p->wake_fd);
    close_if_open(p->report_fd);
    close_if_open(p->command_fd);
    if (p->commands)
        munmap(p->commands, STUB_CODE_SIZE + (size_t)p->nslots * STUB_PAGE_SIZE);
    placement_destroy(&p->placement);
    mutex_destroy(&p->lock);
    mutex_destroy(&p->report_lock);
    pthread_mutex_destroy(&p->boot_lock);
    pthread_cond_destroy(&p->boot_cond);
    free(p->by_slot);
    free(p->free_slots);
    free(p->initial_xstate);
    free(p);
}

static const struct platform_ops ptrace_ops = {
    .new_address_space = ptrace_new_address_space,
    .new_context = ptrace_new_context,
    .release = platform_release,
};

static struct ptrace_platform *alloc_platform(void)
{
    struct ptrace_platform *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    p->base = (struct platform){
        .ops = &ptrace_ops,
        .name = "ptrace",
        .min_addr = lowest_address(),
        .max_addr = STUB_CODE,
    };
    p->pid = getpid();
    p->command_fd = p->report_fd = p->epoll_fd = p->wake_fd = p->signal_fd = -1;
    mutex_init(&p->lock, LOCK_PLATFORM_POOL);
    mutex_init(&p->report_lock, LOCK_PLATFORM_REPORT);
    pthread_mutex_init(&p->boot_lock, NULL);
    pthread_cond_init(&p->boot_cond, NULL);
    list_init(&p->idle);
    list_init(&p->host_threads);
    return p;
}

static int set_up(struct ptrace_platform *p)
{
    int err;
    p->boot_step = "XSAVE";
    if ((err = measure_xstate(p)))
        return err;
    p->boot_step = "memfd_create";
    if ((err = make_commands(p)) || (err = make_descriptors(p)))
        return err;
    p->placement.wake_fd = p->wake_fd;
    p->boot_step = "thread-specific data";
    if ((err = -pthread_key_create(&p->host_thread_key, host_thread_exit)))
        return err;
    p->key_made = true;
    p->boot_step = "SIGCHLD";
    if ((err = quiet_sigchld()))
        return err;
    p->boot_step = "the service thread";
    if ((err = service_start(p)))
        return err;
    p->service_started = true;
    return service_make_master(p);
}

static int ptrace_create(struct platform **out, char *why, size_t why_size)
{
    struct ptrace_platform *p = alloc_platform();
    if (!p)
        return -ENOMEM;
    int err = placement_init(&p->placement);
    p->boot_step = "memory";
    if (!err)
        err = set_up(p);
    if (err) {
        snprintf(why, why_size, "ptrace platform: %s: %s", p->boot_step, strerror(-err));
        platform_release(&p->base);
        return err;
    }
    *out = &p->base;
    return 0;
}

static int ptrace_self_test(char *why, size_t why_size)
{
    uint64_t ns;
    return platform_measure(&ptrace_platform_type, &ns, why, why_size);
}

const struct platform_type ptrace_platform_type = {
    .name = "ptrace",
    .self_test = ptrace_self_test,
    .create = ptrace_create,
};
