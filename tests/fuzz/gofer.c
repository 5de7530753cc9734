/*
 * A sentry that has been taken over: whatever it sends, the gofer answers within the protocol,
 * gives away no descriptor but of regular files, and neither reads nor changes anything outside
 * its exports, nor changes the read-only one.
 *
 * An input is a list of messages: two bytes of length, then so many bytes. Most of them are made
 * to pass the first checks (see `plausible`), or the fuzzer would see little else. The directory,
 * in /dev/shm:  out/secret   rw/ (exported)   ro/file, ro/dir (exported read-only)
 */
#include "gofer/server.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define MESSAGES_MAX 64

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    require(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    return ftw->level ? remove(path) : 0;
}

struct world {
    char path[64];
    int before; /* libFuzzer's working directory */
    struct stat secret, file, dir;
};

/* Made once; what an input did to rw/ is removed before the next. */
static struct world *world(void)
{
    static struct world w;
    if (w.path[0])
        return &w;
    w.before = open(".", O_PATH | O_CLOEXEC);
    snprintf(w.path, sizeof(w.path), "/dev/shm/picket-fuzz.%d", getpid());
    require(mkdir(w.path, 0700) == 0 && chdir(w.path) == 0);
    require(mkdir("out", 0700) == 0 && mkdir("rw", 0700) == 0 && mkdir("ro", 0755) == 0 &&
            mkdir("ro/dir", 0755) == 0);
    write_file("out/secret", "secret");
    write_file("ro/file", "read only");
    require(stat("out/secret", &w.secret) == 0 && stat("ro/file", &w.file) == 0 &&
            stat("ro", &w.dir) == 0);
    return &w;
}

static void refill(void)
{
    nftw("rw", remove_one, 16, FTW_DEPTH | FTW_PHYS);
    require(mkdir("rw/a", 0755) == 0 && mkdir("rw/a/b", 0755) == 0);
    write_file("rw/f", "f");
    require(symlink("../../out", "rw/a/l") == 0 && symlink("../out/secret", "rw/s") == 0 &&
            mkfifo("rw/p", 0644) == 0);
}

static bool same(const struct stat *a, const char *path)
{
    struct stat b;
    return stat(path, &b) == 0 && a->st_mode == b.st_mode && a->st_size == b.st_size &&
           a->st_nlink == b.st_nlink && a->st_uid == b.st_uid &&
           a->st_mtim.tv_nsec == b.st_mtim.tv_nsec && a->st_ctim.tv_nsec == b.st_ctim.tv_nsec;
}

/* Whole entries, as many of them with a descriptor as there are descriptors. */
static void check_batch(const struct world *w, const struct gofer_answer *a)
{
    struct gofer_batch_entry e;
    uint32_t files = 0;
    for (size_t at = 0; at < a->reply.len;) {
        require(a->reply.len - at >= sizeof(e));
        memcpy(&e, a->data + at, sizeof(e));
        at += sizeof(e) + ((e.len + 7u) & ~7u);
        require(at <= a->reply.len && e.error <= 0 && e.attr.stx_ino != w->secret.st_ino);
        require(!e.has || e.has == (S_ISDIR(e.attr.stx_mode) ? GOFER_HAS_LIST : GOFER_HAS_FILE));
        files += e.has == GOFER_HAS_FILE;
    }
    require(files == a->reply.nfds);
}

static void check_answer(const struct world *w, struct gofer_answer *a)
{
    struct stat st;
    const struct gofer_reply *r = &a->reply;
    require(r->version == GOFER_VERSION && r->error <= 0 && r->error > -4096);
    require(r->len <= GOFER_DATA_MAX && r->nfds <= (r->op == GOFER_BATCH ? GOFER_BATCH_MAX : 1));
    require(!r->error || (!r->len && !r->nfds));
    if (r->attr.stx_ino)
        require(r->attr.stx_ino != w->secret.st_ino);
    if (r->op == GOFER_BATCH && !r->error)
        check_batch(w, a);
    for (uint32_t k = 0; k < r->nfds; k++) {
        int fd = a->fds[k];
        require(fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_ino != w->secret.st_ino);
        require(st.st_ino != w->file.st_ino || (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
        close(fd);
    }
}

static void plausible(uint8_t *message, size_t n)
{
    struct gofer_request rq;
    if (n < sizeof(rq))
        return;
    memcpy(&rq, message, sizeof(rq));
    if (rq.seq % 8 == 7)
        return;
    size_t rest = n - sizeof(rq);
    rq.version = GOFER_VERSION;
    rq.op %= GOFER_OPS;
    rq.node[0] %= 8;
    rq.node[1] %= 8;
    rq.nclose %= 3;
    rq.reserved = 0;
    rq.ino = rq.seq & 64 ? rq.ino : 0;
    if (rq.seq & 16)
        rq.size = GOFER_DATA_MAX;
    rq.len[0] = (uint32_t)(rest ? rq.len[0] % (rest + 1) : 0);
    rq.len[1] = (uint32_t)rest - rq.len[0];
    if (rq.len[0] && rq.seq % 8)
        message[sizeof(rq) + rq.len[0] - 1] = 0;
    if (rq.len[1] && rq.seq % 8)
        message[n - 1] = 0;
    memcpy(message, &rq, sizeof(rq));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct gofer_answer a;
    static uint8_t message[65536 + 1];
    struct world *w = world();
    struct gofer_server *s;
    require(chdir(w->path) == 0);
    refill();
    struct gofer_export exports[] = {{.fd = open("rw", O_PATH | O_DIRECTORY | O_CLOEXEC)},
                                     {open("ro", O_PATH | O_DIRECTORY | O_CLOEXEC), true, NULL},
                                     {open("rw", O_PATH | O_DIRECTORY | O_CLOEXEC), true, "f"}};
    require(gofer_server_create(exports, 3, &s) == 0);
    for (int k = 0; k < MESSAGES_MAX && size >= 2; k++) {
        size_t n = data[0] | (size_t)data[1] << 8;
        data += 2;
        size -= 2;
        n = n < size ? n : size;
        memcpy(message, data, n);
        plausible(message, n);
        gofer_server_answer(s, message, n, &a);
        check_answer(w, &a);
        data += n;
        size -= n;
    }
    gofer_server_destroy(s);
    require(same(&w->secret, "out/secret") && same(&w->file, "ro/file") && same(&w->dir, "ro"));
    require(fchdir(w->before) == 0);
    return 0;
}
