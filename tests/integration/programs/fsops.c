/*
 * fsops SEED STEPS DIR: random file operations below DIR, and on stdout what each of them did: the
 * result, the errno, what stat says, what a directory holds, a checksum of contents. Run in two
 * places that hold the same tree, the two outputs are the same, or one of the file systems is
 * wrong.
 *
 * Nothing that may lawfully differ is printed: inode numbers are compared only with one another,
 * directories are sorted, sizes and blocks of directories are left out.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#define OPEN_MAX_FILES 8
#define FILE_MAX (1 << 20)

static uint64_t state;

static uint32_t rnd(uint32_t n)
{
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(state >> 33) % n;
}

static char names[4][256];

/* A path of one to three components out of few names, so that operations meet; the first of them
 * are often directories. */
static const char *path(int slot)
{
    static const char *const dirs[] = {"a", "b", "dir"};
    static const char *const parts[] = {"a", "b", "dir", "c", "d", "e", "file", "x", "y"};
    char *p = names[slot];
    *p = 0;
    for (uint32_t depth = rnd(3); depth; depth--) {
        strcat(p, rnd(50) ? dirs[rnd(sizeof(dirs) / sizeof(*dirs))] : ".");
        strcat(p, "/");
    }
    strcat(p, parts[rnd(sizeof(parts) / sizeof(*parts))]);
    return p;
}

static const char *error(long r)
{
    return r < 0 ? strerrorname_np(errno) : "ok";
}

static uint64_t sum(uint64_t h, const unsigned char *p, size_t n)
{
    for (size_t k = 0; k < n; k++)
        h = (h ^ p[k]) * 0x100000001b3ull;
    return h;
}

static char buf[FILE_MAX];

static void show_stat(const char *p)
{
    struct stat st;
    int r = lstat(p, &st);
    printf("  stat %s: %s", p, error(r));
    if (r == 0) {
        printf(" %o nlink", st.st_mode);
        if (S_ISDIR(st.st_mode))
            printf(" %s", st.st_nlink ? "+" : "0");
        else
            printf(" %ju size %jd", (uintmax_t)st.st_nlink, (intmax_t)st.st_size);
        printf(" %u:%u", st.st_uid, st.st_gid);
    }
    printf("\n");
}

static void show_fd(int fd)
{
    struct stat st;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode))
        return;
    uint64_t h = 0xcbf29ce484222325ull;
    ssize_t n, at = 0;
    while ((n = pread(fd, buf, sizeof(buf), at)) > 0) {
        h = sum(h, (unsigned char *)buf, (size_t)n);
        at += n;
    }
    printf("  data %jd nlink %ju %016" PRIx64 " %s\n", (intmax_t)st.st_size, (uintmax_t)st.st_nlink,
           h, error(n));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Everything below p, sorted; types, contents and link structure included. */
static void show_tree(const char *p, int depth)
{
    DIR *d = opendir(p);
    if (!d) {
        printf("  opendir %s: %s\n", p, error(-1));
        return;
    }
    char *list[512];
    int n = 0;
    struct dirent *e;
    while ((e = readdir(d)) && n < 512) {
        struct stat st;
        char full[1024], line[2048], target[256] = "";
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(full, sizeof(full), "%s/%s", p, e->d_name);
        if (lstat(full, &st)) {
            snprintf(line, sizeof(line), "%s: %s", full, error(-1));
        } else {
            if (S_ISLNK(st.st_mode) && readlink(full, target, sizeof(target) - 1) < 0)
                strcpy(target, "?");
            snprintf(line, sizeof(line), "%s: %o %s%ju %jd type %d %s%s", full, st.st_mode,
                     S_ISDIR(st.st_mode) ? "d" : "",
                     S_ISDIR(st.st_mode) ? 0 : (uintmax_t)st.st_nlink,
                     S_ISDIR(st.st_mode) ? 0 : (intmax_t)st.st_size,
                     e->d_type == IFTODT(st.st_mode), target, e->d_ino == st.st_ino ? "" : " INO");
        }
        list[n++] = strdup(line);
    }
    closedir(d);
    qsort(list, (size_t)n, sizeof(*list), by_name);
    for (int k = 0; k < n; k++) {
        printf("  %s\n", list[k]);
        char *colon = strchr(list[k], ':');
        bool dir = colon && strncmp(colon, ": 4", 3) == 0 && strstr(colon, " d0 ");
        bool reg = colon && strncmp(colon, ": 10", 4) == 0;
        if (colon)
            *colon = 0;
        if (dir && depth < 12)
            show_tree(list[k], depth + 1);
        if (reg) {
            int fd = open(list[k], O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
            if (fd >= 0) {
                show_fd(fd);
                close(fd);
            }
        }
        free(list[k]);
    }
}

static int fds[OPEN_MAX_FILES];

static void fill(size_t n)
{
    uint32_t c = rnd(255) + 1;
    for (size_t k = 0; k < n; k++)
        buf[k] = (char)(c + k * 7);
}

static void op_open(void)
{
    static const int flags[] = {O_RDONLY,
                                O_RDWR,
                                O_RDWR | O_CREAT,
                                O_RDWR | O_CREAT | O_EXCL,
                                O_RDWR | O_TRUNC,
                                O_RDWR | O_CREAT | O_TRUNC,
                                O_WRONLY | O_APPEND | O_CREAT,
                                O_RDONLY | O_NOFOLLOW,
                                O_RDWR | O_CREAT | O_APPEND};
    int slot = (int)rnd(OPEN_MAX_FILES), f = flags[rnd(sizeof(flags) / sizeof(*flags))];
    const char *p = path(0);
    if (fds[slot] >= 0)
        close(fds[slot]);
    fds[slot] = open(p, f | O_NONBLOCK, 0600 + rnd(64));
    printf("open %s %x: %s\n", p, (unsigned)f, error(fds[slot]));
    show_stat(p);
}

static int some_fd(void)
{
    int fd = -1;
    for (int k = 0; k < 6 && fd < 0; k++)
        fd = fds[rnd(OPEN_MAX_FILES)];
    return fd;
}

static void op_write(void)
{
    int fd = some_fd();
    size_t n = rnd(4) ? rnd(5000) : rnd(200000);
    off_t at = rnd(2) ? rnd(10000) : rnd(500000);
    fill(n);
    ssize_t r = rnd(2) ? pwrite(fd, buf, n, at) : write(fd, buf, n);
    printf("write %zu %jd: %zd %s\n", n, (intmax_t)at, r, error(r));
    show_fd(fd);
}

static void op_read(void)
{
    int fd = some_fd();
    size_t n = rnd(8000);
    ssize_t r = rnd(2) ? pread(fd, buf, n, rnd(300000)) : read(fd, buf, n);
    printf("read %zu: %zd %s %016" PRIx64 "\n", n, r, error(r),
           r > 0 ? sum(1, (unsigned char *)buf, (size_t)r) : 0);
}

static void op_truncate(void)
{
    off_t n = rnd(3) ? rnd(20000) : rnd(600000);
    if (rnd(2)) {
        int fd = some_fd(), r = ftruncate(fd, n);
        printf("ftruncate %jd: %s\n", (intmax_t)n, error(r));
        show_fd(fd);
    } else {
        const char *p = path(0);
        int r = truncate(p, n);
        printf("truncate %s %jd: %s\n", p, (intmax_t)n, error(r));
        show_stat(p);
    }
}

/* A shared mapping and the file are the same bytes. */
static void op_map(void)
{
    int fd = some_fd();
    struct stat st;
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size == 0)
        return;
    bool write = rnd(2);
    size_t n = (size_t)st.st_size;
    char *m = mmap(NULL, n, PROT_READ | (write ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
    printf("mmap %zu %d: %s\n", n, write, error(m == MAP_FAILED ? -1 : 0));
    if (m == MAP_FAILED)
        return;
    printf("  mapped %016" PRIx64 "\n", sum(2, (unsigned char *)m, n));
    if (write) {
        for (int k = 0; k < 5; k++)
            m[rnd((uint32_t)n)] = (char)rnd(256);
        show_fd(fd);
        char c = (char)rnd(256);
        size_t at = rnd((uint32_t)n);
        if (pwrite(fd, &c, 1, (off_t)at) == 1)
            printf("  coherent %d\n", m[at] == c);
    }
    munmap(m, n);
}

/* Mappings that stay, also over what is done to the file by other names and descriptors. */
#define KEPT_MAX 4
static struct {
    char *p;
    size_t n;
    int fd;
} kept[KEPT_MAX];

static void op_keep(void)
{
    uint32_t k = rnd(KEPT_MAX);
    int fd = some_fd();
    struct stat st;
    if (kept[k].p) {
        munmap(kept[k].p, kept[k].n);
        close(kept[k].fd);
        kept[k].p = NULL;
    }
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size == 0)
        return;
    kept[k].n = (size_t)st.st_size;
    kept[k].p = mmap(NULL, kept[k].n, PROT_READ, MAP_SHARED, fd, 0);
    printf("keep %u %zu: %s\n", k, kept[k].n, error(kept[k].p == MAP_FAILED ? -1 : 0));
    if (kept[k].p == MAP_FAILED)
        kept[k].p = NULL;
    else
        kept[k].fd = dup(fd);
}

static void show_kept(void)
{
    for (int k = 0; k < KEPT_MAX; k++) {
        struct stat st;
        if (!kept[k].p || fstat(kept[k].fd, &st))
            continue;
        size_t n = (size_t)st.st_size < kept[k].n ? (size_t)st.st_size : kept[k].n;
        printf("  kept %d %zu %016" PRIx64 "\n", k, n, sum(3, (unsigned char *)kept[k].p, n));
    }
}

static void op_space(void)
{
    static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE};
    int fd = some_fd(), mode = modes[rnd(3)];
    off_t at = rnd(100000), n = rnd(100000);
    struct stat st;
    /* Where a directory ends is its file system's secret. */
    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        return;
    int r = fallocate(fd, mode, at, n);
    printf("fallocate %d %jd %jd: %s\n", mode, (intmax_t)at, (intmax_t)n, error(r));
    show_fd(fd);
    off_t end = lseek(fd, 0, SEEK_END);
    printf("  end %jd %s\n", (intmax_t)end, error(end));
}

static void op_names(void)
{
    const char *p = path(0), *q = path(1);
    int r;
    switch (rnd(10)) {
    case 0:
        r = mkdir(p, 0700 + rnd(64));
        printf("mkdir %s: %s\n", p, error(r));
        break;
    case 1:
        r = rmdir(p);
        printf("rmdir %s: %s\n", p, error(r));
        break;
    case 2:
        r = unlink(p);
        printf("unlink %s: %s\n", p, error(r));
        break;
    case 3:
        r = link(p, q);
        printf("link %s %s: %s\n", p, q, error(r));
        break;
    case 4:
        r = symlink(q, p);
        printf("symlink %s %s: %s\n", q, p, error(r));
        break;
    case 5:
        r = mknod(p, S_IFIFO | 0600, 0);
        printf("mkfifo %s: %s\n", p, error(r));
        break;
    case 6:
        r = (int)syscall(SYS_renameat2, AT_FDCWD, p, AT_FDCWD, q, RENAME_EXCHANGE);
        printf("exchange %s %s: %s\n", p, q, error(r));
        break;
    case 7:
        r = (int)syscall(SYS_renameat2, AT_FDCWD, p, AT_FDCWD, q, RENAME_NOREPLACE);
        printf("rename-noreplace %s %s: %s\n", p, q, error(r));
        break;
    default:
        r = rename(p, q);
        printf("rename %s %s: %s\n", p, q, error(r));
    }
    show_stat(p);
    show_stat(q);
}

static void op_attr(void)
{
    const char *p = path(0);
    char value[64];
    struct timespec ts[2] = {{.tv_sec = rnd(1000000)}, {.tv_sec = rnd(1000000), .tv_nsec = 5}};
    struct stat st;
    int r;
    ssize_t n;
    switch (rnd(6)) {
    case 0:
        r = chmod(p, rnd(07777) & ~06000u);
        printf("chmod %s: %s\n", p, error(r));
        break;
    case 1:
        r = lchown(p, rnd(3), rnd(3));
        printf("lchown %s: %s\n", p, error(r));
        break;
    case 2:
        r = utimensat(AT_FDCWD, p, ts, AT_SYMLINK_NOFOLLOW);
        printf("utimens %s: %s\n", p, error(r));
        if (lstat(p, &st) == 0)
            printf("  %jd %jd\n", (intmax_t)st.st_atime, (intmax_t)st.st_mtime);
        break;
    case 3:
        snprintf(value, sizeof(value), "%u", rnd(1000));
        r = lsetxattr(p, rnd(2) ? "user.one" : "user.two", value, strlen(value), (int)rnd(3));
        printf("setxattr %s: %s\n", p, error(r));
        break;
    case 4:
        n = lgetxattr(p, rnd(2) ? "user.one" : "user.two", value, sizeof(value));
        printf("getxattr %s: %zd %s\n", p, n, error(n));
        break;
    default:
        r = lremovexattr(p, "user.one");
        printf("removexattr %s: %s\n", p, error(r));
    }
    show_stat(p);
}

int main(int argc, char **argv)
{
    if (argc != 4 || chdir(argv[3])) {
        fprintf(stderr, "usage: fsops SEED STEPS DIR\n");
        return 2;
    }
    state = strtoull(argv[1], NULL, 10) * 0x9e3779b97f4a7c15ull + 1;
    long steps = atol(argv[2]);
    umask(0);
    for (int k = 0; k < OPEN_MAX_FILES; k++)
        fds[k] = -1;
    show_tree(".", 0);
    for (long k = 0; k < steps; k++) {
        static void (*const ops[])(void) = {op_open,  op_open,  op_write, op_write,    op_read,
                                            op_map,   op_keep,  op_space, op_truncate, op_names,
                                            op_names, op_names, op_names, op_names,    op_attr};
        printf("%ld ", k);
        ops[rnd(sizeof(ops) / sizeof(*ops))]();
        if (k % 16 == 15)
            show_kept();
        if (k % 64 == 63)
            show_tree(".", 0);
    }
    show_tree(".", 0);
    return 0;
}
