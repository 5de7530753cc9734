/*
 * The gofer's protocol, from both ends: a sentry that lies, and a gofer that does.
 */
#include "gofer/server.h"
#include "sentry/fs/host/door.h"
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

/* top/{out/secret, rw/{f,d/g,l -> ../out,p (FIFO)}, ro/{f,d}}: exports 1 = rw, 2 = ro, 3 = rw/f */
static char top[] = "/tmp/picket-gofer-XXXXXX";
static struct gofer_server *server;
static struct gofer_answer answer;

enum { RW = 1, RO = 2, ONE = 3 };

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

static void setup(void)
{
    ck_assert_ptr_nonnull(mkdtemp(top));
    ck_assert_int_eq(chdir(top), 0);
    mkdir("out", 0755);
    mkdir("rw", 0755);
    mkdir("rw/d", 0755);
    mkdir("ro", 0755);
    mkdir("ro/d", 0755);
    write_file("out/secret", "secret");
    write_file("rw/f", "file");
    write_file("rw/d/g", "g");
    write_file("ro/f", "ro");
    ck_assert_int_eq(symlink("../out", "rw/l"), 0);
    ck_assert_int_eq(mkfifo("rw/p", 0644), 0);
    struct gofer_export exports[] = {
        {.fd = open("rw", O_PATH | O_CLOEXEC)},
        {open("ro", O_PATH | O_CLOEXEC), true, NULL},
        {open("rw", O_PATH | O_CLOEXEC), false, "f"},
    };
    ck_assert_int_eq(gofer_server_create(exports, 3, &server), 0);
}

static void teardown(void)
{
    char command[64];
    gofer_server_destroy(server);
    snprintf(command, sizeof(command), "rm -rf %s", top);
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_int_eq(system(command), 0);
}

static struct gofer_request request(int op, uint32_t node)
{
    return (struct gofer_request){
        .version = GOFER_VERSION, .op = (uint16_t)op, .node = {node, node}, .size = 4096};
}

/* Sends it as it is, with n0 and n1 bytes behind it. */
static int ask_bytes(struct gofer_request rq, const void *name0, size_t n0, const void *name1,
                     size_t n1)
{
    static uint8_t message[sizeof(rq) + 2 * GOFER_DATA_MAX];
    rq.len[0] = (uint32_t)n0;
    rq.len[1] = (uint32_t)n1;
    memcpy(message, &rq, sizeof(rq));
    memcpy(message + sizeof(rq), name0, n0);
    memcpy(message + sizeof(rq) + n0, name1, n1);
    gofer_server_answer(server, message, sizeof(rq) + n0 + n1, &answer);
    ck_assert_uint_le(answer.reply.nfds, answer.reply.op == GOFER_BATCH ? GOFER_BATCH_MAX : 1);
    if (answer.reply.error)
        ck_assert_uint_eq(answer.reply.nfds, 0);
    return answer.reply.error;
}

static int ask(struct gofer_request rq, const char *name0, const char *name1)
{
    return ask_bytes(rq, name0 ? name0 : "", name0 ? strlen(name0) + 1 : 0, name1 ? name1 : "",
                     name1 ? strlen(name1) + 1 : 0);
}

static int lookup(uint32_t node, const char *path)
{
    return ask(request(GOFER_LOOKUP, node), path, NULL);
}

static void drop_fd(void)
{
    ck_assert_uint_eq(answer.reply.nfds, 1);
    close(answer.fds[0]);
}

START_TEST(test_headers)
{
    struct gofer_request rq = request(GOFER_LOOKUP, RW);
    for (size_t n = 0; n < sizeof(rq); n++) {
        gofer_server_answer(server, &rq, n, &answer);
        ck_assert_int_eq(answer.reply.error, -EPROTO);
    }
    rq.version = GOFER_VERSION + 1;
    ck_assert_int_eq(ask(rq, "f", NULL), -EPROTO);
    rq = request(GOFER_OPS, RW);
    ck_assert_int_eq(ask(rq, "f", NULL), -EINVAL);
    rq = request(0xffff, RW);
    ck_assert_int_eq(ask(rq, "f", NULL), -EINVAL);
    rq = request(GOFER_LOOKUP, RW);
    rq.nclose = GOFER_CLOSE_MAX + 1;
    ck_assert_int_eq(ask(rq, "f", NULL), -EINVAL);
    rq.nclose = UINT32_MAX;
    ck_assert_int_eq(ask(rq, "f", NULL), -EINVAL);
    rq = request(GOFER_LOOKUP, RW);
    rq.reserved = 1;
    ck_assert_int_eq(ask(rq, "f", NULL), -EINVAL);
}
END_TEST

START_TEST(test_lengths)
{
    struct {
        struct gofer_request rq;
        char names[8];
    } m = {.rq = request(GOFER_LOOKUP, RW), .names = "f"};
    static const uint32_t bad[][2] = {{3, 0},
                                      {1, 0},
                                      {0, 0},
                                      {UINT32_MAX, 3},
                                      {2, 1},
                                      {0x80000001, 0x80000001},
                                      {UINT32_MAX, UINT32_MAX}};
    for (size_t k = 0; k < ARRAY_SIZE(bad); k++) {
        memcpy(m.rq.len, bad[k], sizeof(m.rq.len));
        gofer_server_answer(server, &m, sizeof(m.rq) + 2, &answer);
        ck_assert_int_eq(answer.reply.error, -EINVAL);
    }
    m.rq.len[0] = 2;
    m.rq.len[1] = 0;
    gofer_server_answer(server, &m, sizeof(m.rq) + 2, &answer);
    ck_assert_int_eq(answer.reply.error, 0);
}
END_TEST

START_TEST(test_paths)
{
    static const char *const bad[] = {
        "/",       "/f",   "..", ".",   "../out/secret", "d/..",        "d/../../out/secret",
        "d/.",     "d//g", "d/", "./f", "d/./g",         "/etc/passwd", "//",
        "d/../..",
    };
    char name[PATH_MAX + 16];
    for (int op = 0; op < GOFER_OPS; op++) {
        for (size_t k = 0; k < ARRAY_SIZE(bad); k++) {
            ck_assert_int_lt(ask(request(op, RW), bad[k], "x") | (op == GOFER_CLOSE ? -1 : 0), 0);
            ck_assert_int_lt(ask(request(op, RW), bad[k], NULL) | (op == GOFER_CLOSE ? -1 : 0), 0);
        }
    }
    for (size_t k = 0; k < ARRAY_SIZE(bad); k++)
        ck_assert_int_eq(lookup(RW, bad[k]), -EINVAL);
    ck_assert_int_eq(ask_bytes(request(GOFER_LOOKUP, RW), "f\0x", 4, "", 0), -EINVAL);
    ck_assert_int_eq(ask_bytes(request(GOFER_LOOKUP, RW), "f", 1, "", 0), -EINVAL);
    memset(name, 'x', sizeof(name));
    name[256] = 0;
    ck_assert_int_eq(lookup(RW, name), -EINVAL);
    name[255] = 0;
    ck_assert_int_eq(lookup(RW, name), -ENOENT);
    for (size_t k = 0; k < sizeof(name); k++)
        name[k] = k % 2 ? '/' : 'x';
    name[PATH_MAX] = 'x';
    name[PATH_MAX + 1] = 0;
    ck_assert_int_eq(lookup(RW, name), -ENAMETOOLONG);
    ck_assert_int_eq(lookup(RW, "f"), 0);
    ck_assert_int_eq(lookup(RW, "d/g"), 0);
    ck_assert_int_eq(lookup(RW, ""), 0);
}
END_TEST

/* Links are told of, and never followed. */
START_TEST(test_links)
{
    ck_assert_int_eq(lookup(RW, "l"), 0);
    ck_assert(S_ISLNK(answer.reply.attr.stx_mode));
    ck_assert_uint_eq(answer.reply.len, 6);
    ck_assert_int_eq(memcmp(answer.data, "../out", 6), 0);
    ck_assert_int_eq(lookup(RW, "l/secret"), -ENOTDIR);
    struct gofer_request rq = request(GOFER_OPEN, RW);
    ck_assert_int_eq(ask(rq, "l", NULL), -ELOOP);
    rq.flags = O_DIRECTORY;
    ck_assert_int_lt(ask(rq, "l", NULL), 0);
    ck_assert_int_lt(ask(request(GOFER_SETXATTR, RW), "l", "user.x"), 0);
    rq = request(GOFER_SETATTR, RW);
    rq.valid = GOFER_SET_MTIME;
    struct stat before, after;
    ck_assert_int_eq(stat("out", &before), 0);
    ck_assert_int_eq(ask(rq, "l", NULL), 0);
    ck_assert_int_eq(stat("out", &after), 0);
    ck_assert_int_eq(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
    ck_assert_int_eq(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
}
END_TEST

START_TEST(test_special_files)
{
    struct gofer_request rq = request(GOFER_OPEN, RW);
    ck_assert_int_eq(ask(rq, "p", NULL), -ENXIO);
    rq.flags = O_RDWR;
    ck_assert_int_eq(ask(rq, "p", NULL), -ENXIO);
    rq = request(GOFER_LOOKUP, RW);
    rq.flags = GOFER_WANT_FILE | GOFER_WANT_NODE;
    ck_assert_int_eq(ask(rq, "p", NULL), 0);
    ck_assert_uint_eq(answer.reply.nfds, 0);
    rq = request(GOFER_MAKE, RW);
    static const uint32_t refused[] = {S_IFCHR | 0666, S_IFBLK | 0666, S_IFREG | 0666, 0, 0xf1ff};
    for (size_t k = 0; k < ARRAY_SIZE(refused); k++) {
        rq.mode = refused[k];
        ck_assert_int_lt(ask(rq, "dev", ""), 0);
        ck_assert_int_eq(lookup(RW, "dev"), -ENOENT);
    }
}
END_TEST

START_TEST(test_open_flags)
{
    struct gofer_request rq = request(GOFER_OPEN, RW);
    ck_assert_int_eq(ask(rq, "f", NULL), 0);
    ck_assert_int_eq(fcntl(answer.fds[0], F_GETFL) & O_ACCMODE, O_RDONLY);
    drop_fd();
    static const int bad[] = {
        O_WRONLY, O_PATH, O_CREAT | O_RDWR, O_TRUNC | O_RDWR, O_TMPFILE, O_DIRECTORY | O_RDWR, -1};
    for (size_t k = 0; k < ARRAY_SIZE(bad); k++) {
        rq.flags = (uint32_t)bad[k];
        ck_assert_int_eq(ask(rq, "f", NULL), -EINVAL);
    }
    rq.flags = O_RDONLY;
    ck_assert_int_eq(ask(rq, "d", NULL), -ENXIO); /* no descriptor of a directory, ever */
    rq.flags = O_RDWR;
    ck_assert_int_eq(ask(rq, "f", NULL), 0);
    drop_fd();
    rq.node[0] = RO;
    ck_assert_int_eq(ask(rq, "f", NULL), -EROFS);
}
END_TEST

START_TEST(test_read_only)
{
    struct stat dir, file, d2, f2;
    stat("ro", &dir);
    stat("ro/f", &file);
    static const struct {
        int op;
        const char *name0, *name1;
        uint32_t mode;
    } rows[] = {
        {GOFER_CREATE, "new", NULL, 0644},
        {GOFER_TMPFILE, NULL, NULL, 0644},
        {GOFER_MAKE, "new", "", S_IFDIR | 0755},
        {GOFER_MAKE, "new", "x", S_IFLNK},
        {GOFER_LINK, "f", "new", 0},
        {GOFER_UNLINK, "f", NULL, 0},
        {GOFER_RENAME, "f", "new", 0},
        {GOFER_SETATTR, "f", NULL, 0},
        {GOFER_SETXATTR, "f", "user.x", 0},
        {GOFER_REMOVEXATTR, "f", "user.x", 0},
    };
    for (size_t k = 0; k < ARRAY_SIZE(rows); k++) {
        struct gofer_request rq = request(rows[k].op, RO);
        rq.mode = rows[k].mode;
        rq.valid = GOFER_SET_MODE;
        ck_assert_int_eq(ask(rq, rows[k].name0, rows[k].name1), -EROFS);
    }
    /* Not through a directory of it that was opened, and not from another export either. */
    struct gofer_request rq = request(GOFER_OPEN, RO);
    rq.flags = O_DIRECTORY;
    ck_assert_int_eq(ask(rq, "d", NULL), 0);
    rq = request(GOFER_CREATE, answer.reply.node);
    rq.mode = 0644;
    ck_assert_int_eq(ask(rq, "new", NULL), -EROFS);
    rq = request(GOFER_LINK, RO);
    rq.node[1] = RW;
    ck_assert_int_eq(ask(rq, "f", "stolen"), -EROFS);
    rq.node[0] = RW;
    rq.node[1] = RO;
    ck_assert_int_eq(ask(rq, "f", "given"), -EROFS);
    stat("ro", &d2);
    stat("ro/f", &f2);
    ck_assert_int_eq(dir.st_ctim.tv_nsec, d2.st_ctim.tv_nsec);
    ck_assert_int_eq(file.st_ctim.tv_nsec, f2.st_ctim.tv_nsec);
}
END_TEST

START_TEST(test_nodes)
{
    static const uint32_t bad[] = {0, 4, 5, 1000, 65537, 0x80000000, UINT32_MAX};
    for (size_t k = 0; k < ARRAY_SIZE(bad); k++)
        ck_assert_int_eq(lookup(bad[k], "f"), -EBADF);
    struct gofer_request rq = request(GOFER_LOOKUP, RW);
    rq.flags = GOFER_WANT_NODE;
    ck_assert_int_eq(ask(rq, "d", NULL), 0);
    uint32_t d = answer.reply.node;
    ck_assert_uint_gt(d, ONE);
    ck_assert_int_eq(lookup(d, "g"), 0);
    ck_assert_int_eq(lookup(d, "../f"), -EINVAL);
    /* Closing: what it names, once; never an export. */
    rq = request(GOFER_CLOSE, 0);
    rq.nclose = 6;
    memcpy(rq.close, (uint32_t[]){d, d, RW, RO, 0, UINT32_MAX}, 6 * sizeof(uint32_t));
    ck_assert_int_eq(ask(rq, NULL, NULL), 0);
    ck_assert_int_eq(lookup(d, "g"), -EBADF);
    ck_assert_int_eq(lookup(RW, "f"), 0);
    ck_assert_uint_eq(gofer_server_nodes(server), 3);
    /* There is an end to how many there are. */
    rq = request(GOFER_LOOKUP, RW);
    rq.flags = GOFER_WANT_NODE;
    for (int k = 0; k < 70000; k++) {
        ck_assert_int_eq(ask(rq, "d", NULL), 0);
        if (!answer.reply.node)
            break;
    }
    ck_assert_uint_eq(answer.reply.node, 0);
    ck_assert_uint_le(gofer_server_nodes(server), 65536 + 3);
    ck_assert_int_eq(lookup(RW, "f"), 0);
}
END_TEST

START_TEST(test_one_file)
{
    ck_assert_int_eq(lookup(ONE, "f"), 0);
    ck_assert_int_eq(lookup(ONE, "d"), -EPERM);
    ck_assert_int_eq(lookup(ONE, "d/g"), -EPERM);
    struct gofer_request rq = request(GOFER_LOOKUP, ONE);
    rq.flags = GOFER_WANT_NODE;
    ck_assert_int_eq(ask(rq, "", NULL), 0);
    uint32_t again = answer.reply.node;
    ck_assert_uint_ne(again, 0);
    ck_assert_int_eq(lookup(again, "d"), -EPERM);
    ck_assert_int_eq(ask(request(GOFER_LIST, again), "", NULL), -EPERM);
    ck_assert_int_eq(ask(request(GOFER_BATCH, ONE), "", "d"), -EPERM);
    ck_assert_int_eq(ask(request(GOFER_UNLINK, ONE), "f", NULL), -EPERM);
    ck_assert_int_eq(ask(request(GOFER_CREATE, ONE), "new", NULL), -EPERM);
    ck_assert_int_eq(ask(request(GOFER_RENAME, ONE), "f", "g"), -EPERM);
    rq = request(GOFER_SETATTR, ONE);
    rq.valid = GOFER_SET_MODE;
    ck_assert_int_eq(ask(rq, "", NULL), -EPERM);
    ck_assert_int_eq(ask(rq, "d", NULL), -EPERM);
    rq.mode = 0600;
    ck_assert_int_eq(ask(rq, "f", NULL), 0);
}
END_TEST

/* A file without a name gets one in its own export, and is no directory. */
START_TEST(test_nameless)
{
    struct gofer_request rq = request(GOFER_TMPFILE, RW);
    rq.mode = 0640;
    if (ask(rq, NULL, NULL) == -EOPNOTSUPP)
        return;
    ck_assert_int_eq(answer.reply.error, 0);
    drop_fd();
    uint32_t file = answer.reply.node;
    ck_assert_int_eq(lookup(file, "x"), -EINVAL);
    ck_assert_int_eq(lookup(file, ""), -EINVAL);
    rq = request(GOFER_LINK_FILE, file);
    rq.node[1] = ONE;
    ck_assert_int_eq(ask(rq, NULL, "named"), -EXDEV);
    rq.node[1] = RW;
    ck_assert_int_eq(ask(rq, NULL, "../named"), -EINVAL);
    ck_assert_int_eq(ask(rq, NULL, "named"), 0);
    rq.node[0] = RW;
    ck_assert_int_eq(ask(rq, NULL, "named2"), -EINVAL);
    ck_assert_int_eq(access("rw/named", F_OK), 0);
}
END_TEST

START_TEST(test_identity)
{
    ck_assert_int_eq(lookup(RW, "f"), 0);
    struct gofer_request rq = request(GOFER_OPEN, RW);
    rq.ino = answer.reply.attr.stx_ino;
    rq.dev = makedev(answer.reply.attr.stx_dev_major, answer.reply.attr.stx_dev_minor);
    ck_assert_int_eq(ask(rq, "f", NULL), 0);
    drop_fd();
    rq.ino++;
    ck_assert_int_eq(ask(rq, "f", NULL), -ESTALE);
    rq.op = GOFER_SETATTR;
    rq.valid = GOFER_SET_MODE;
    ck_assert_int_eq(ask(rq, "f", NULL), -ESTALE);
    rq.op = GOFER_GETXATTR;
    ck_assert_int_eq(ask(rq, "f", "user.x"), -ESTALE);
}
END_TEST

/* Of the last GOFER_BATCH: the entry of that place, and what is behind it. */
static struct gofer_batch_entry entry(unsigned k, const char **data)
{
    struct gofer_batch_entry e;
    size_t at = 0;
    for (;; k--) {
        ck_assert_uint_le(at + sizeof(e), answer.reply.len);
        memcpy(&e, answer.data + at, sizeof(e));
        *data = (const char *)answer.data + at + sizeof(e);
        at += sizeof(e) + ((e.len + 7u) & ~7u);
        ck_assert_uint_le(at, answer.reply.len);
        if (!k)
            break;
    }
    return e;
}

START_TEST(test_batch)
{
    struct gofer_request rq = request(GOFER_BATCH, RW);
    struct gofer_batch_entry e;
    const char *data;
    rq.size = GOFER_DATA_MAX;
    ck_assert_int_eq(ask_bytes(rq, "", 1, "f\0none\0d\0l\0p", 13), 0);
    ck_assert_uint_eq(answer.reply.nfds, 0);
    e = entry(0, &data);
    ck_assert(!e.error && !e.len && !e.has && S_ISREG(e.attr.stx_mode));
    ck_assert_int_eq(entry(1, &data).error, -ENOENT);
    e = entry(2, &data);
    ck_assert(!e.error && !e.len && S_ISDIR(e.attr.stx_mode));
    e = entry(3, &data);
    ck_assert(S_ISLNK(e.attr.stx_mode) && e.len > 0);
    ck_assert(S_ISFIFO(entry(4, &data).attr.stx_mode));
    rq.flags = GOFER_WANT_FILE | GOFER_WANT_LIST;
    ck_assert_int_eq(ask_bytes(rq, "", 1, "f\0l\0p\0d", 8), 0);
    ck_assert_uint_eq(entry(0, &data).has, GOFER_HAS_FILE);
    drop_fd();
    ck_assert_uint_eq(entry(1, &data).has, 0);
    ck_assert_uint_eq(entry(2, &data).has, 0);
    e = entry(3, &data);
    ck_assert_uint_eq(e.has, GOFER_HAS_LIST);
    ck_assert_uint_gt(e.len, 0);
    ck_assert_int_eq(ask_bytes(rq, "d", 2, "g", 2), 0);
    drop_fd();
    ck_assert_int_eq(ask_bytes(rq, "l", 2, "g", 2), -ENOTDIR);
    ck_assert_int_eq(ask_bytes(rq, "none", 5, "g", 2), -ENOENT);
    ck_assert_int_eq(ask_bytes(rq, "..", 3, "g", 2), -EINVAL);
    ck_assert_int_eq(ask_bytes(rq, "", 1, "f\0../out\0", 9), -EINVAL);
    ck_assert_int_eq(ask_bytes(rq, "", 1, "f", 1), -EINVAL);
    ck_assert_int_eq(ask_bytes(rq, "", 1, "", 0), -EINVAL);
    rq.flags = GOFER_WANT_NODE;
    ck_assert_int_eq(ask_bytes(rq, "", 1, "f", 2), -EINVAL);
}
END_TEST

START_TEST(test_batch_bounds)
{
    struct gofer_request rq = request(GOFER_BATCH, RW);
    char many[2 * (GOFER_BATCH_MAX + 1)];
    const char *data;
    for (size_t k = 0; k < sizeof(many); k++)
        many[k] = k % 2 ? 0 : 'f';
    rq.size = UINT32_MAX;
    rq.flags = GOFER_WANT_FILE;
    ck_assert_int_eq(ask_bytes(rq, "", 1, many, sizeof(many)), -EINVAL);
    ck_assert_int_eq(ask_bytes(rq, "", 1, many, sizeof(many) - 2), 0);
    ck_assert_uint_eq(answer.reply.nfds, GOFER_BATCH_MAX);
    for (unsigned k = 0; k < GOFER_BATCH_MAX; k++) {
        ck_assert_uint_eq(entry(k, &data).has, GOFER_HAS_FILE);
        close(answer.fds[k]);
    }
    /* Fewer names than were asked for, where there is no room; never a piece of one. */
    rq.size = 6000;
    ck_assert_int_eq(ask_bytes(rq, "", 1, many, sizeof(many) - 2), 0);
    ck_assert_uint_gt(answer.reply.nfds, 0);
    ck_assert_uint_lt(answer.reply.nfds, GOFER_BATCH_MAX);
    ck_assert_uint_eq(answer.reply.len, answer.reply.nfds * sizeof(struct gofer_batch_entry));
    for (unsigned k = 0; k < answer.reply.nfds; k++)
        close(answer.fds[k]);
    rq.size = 100;
    ck_assert_int_eq(ask_bytes(rq, "", 1, "f", 2), 0);
    ck_assert_uint_eq(answer.reply.len, 0);
}
END_TEST

START_TEST(test_data)
{
    struct gofer_request rq;
    /* The answer has no more bytes than were asked for. */
    rq = request(GOFER_LOOKUP, RW);
    rq.size = 3;
    ck_assert_int_eq(ask(rq, "l", NULL), 0);
    ck_assert_uint_eq(answer.reply.len, 3);
    rq = request(GOFER_OPEN, RW);
    rq.flags = O_DIRECTORY;
    ck_assert_int_eq(ask(rq, "", NULL), 0);
    rq = request(GOFER_LIST, answer.reply.node);
    rq.size = UINT32_MAX;
    rq.flags = 1;
    ck_assert_int_eq(ask(rq, "", NULL), 0);
    ck_assert_uint_le(answer.reply.len, GOFER_DATA_MAX);
    ck_assert_uint_eq(answer.reply.value, 1);
    rq.flags = 2;
    ck_assert_int_eq(ask(rq, "", NULL), -EINVAL);
    ck_assert_int_eq(ask_bytes(request(GOFER_SETXATTR, RW), "f", 2, "user.x", 6), -EINVAL);
}
END_TEST

/* A directory that does not fit into one answer becomes a node. */
START_TEST(test_long_list)
{
    char name[300];
    unsigned records = 0;
    ck_assert_int_eq(mkdir("rw/many", 0755), 0);
    for (int k = 0; k < 40; k++) {
        snprintf(name, sizeof(name), "rw/many/%0200d", k);
        ck_assert_int_eq(mknod(name, S_IFREG | 0644, 0), 0);
    }
    struct gofer_request rq = request(GOFER_LIST, RW);
    rq.flags = 1;
    rq.size = 1000;
    size_t before = gofer_server_nodes(server);
    ck_assert_int_eq(ask(rq, "many", NULL), 0);
    uint32_t node = answer.reply.node;
    ck_assert_uint_ne(node, 0);
    ck_assert_uint_eq(answer.reply.value, 0);
    for (;;) {
        for (size_t at = 0; at < answer.reply.len; records++)
            at += ((const struct dirent64 *)(answer.data + at))->d_reclen;
        if (answer.reply.value)
            break;
        rq = request(GOFER_LIST, node);
        rq.size = 1000;
        ck_assert_int_eq(ask(rq, "", NULL), 0);
    }
    ck_assert_uint_eq(records, 42);
    rq = request(GOFER_LIST, RW);
    ck_assert_int_eq(ask(rq, "many", NULL), -EINVAL); /* to go on where nothing began */
    rq.flags = 1;
    rq.size = 65536;
    ck_assert_int_eq(ask(rq, "many", NULL), 0);
    ck_assert(answer.reply.value == 1 && !answer.reply.node);
    ck_assert_int_eq(ask(rq, "f", NULL), -ENOTDIR);
    ck_assert_int_eq(ask(rq, "l", NULL), -ENOTDIR);
    ck_assert_uint_eq(gofer_server_nodes(server), before + 1);
}
END_TEST

/* ---- a gofer that lies ---- */

static int liar[2];
static _Atomic int lost;
static struct gofer_client *client;
static void (*lie)(struct gofer_reply *r, struct iovec *data, int *fds, int *nfds);

static void count_lost(UNUSED void *arg)
{
    lost++;
}

static void *answer_falsely(UNUSED void *arg)
{
    static char buffer[GOFER_DATA_MAX];
    struct gofer_request rq;
    char names[8192];
    struct iovec in[2] = {{&rq, sizeof(rq)}, {names, sizeof(names)}};
    struct msghdr m = {.msg_iov = in, .msg_iovlen = 2};
    while (recvmsg(liar[1], &m, 0) > 0) {
        struct gofer_reply r = {.version = GOFER_VERSION, .op = rq.op, .seq = rq.seq};
        struct iovec out[2] = {{&r, sizeof(r)}, {buffer, 0}};
        int fds[2], nfds = 0;
        union {
            struct cmsghdr h;
            char space[CMSG_SPACE(sizeof(fds))];
        } c = {0};
        lie(&r, out, fds, &nfds);
        struct msghdr reply = {.msg_iov = out, .msg_iovlen = 2};
        if (nfds) {
            reply.msg_control = &c;
            reply.msg_controllen = CMSG_SPACE((size_t)nfds * sizeof(int));
            c.h = (struct cmsghdr){.cmsg_len = CMSG_LEN((size_t)nfds * sizeof(int)),
                                   .cmsg_level = SOL_SOCKET,
                                   .cmsg_type = SCM_RIGHTS};
            memcpy(CMSG_DATA(&c.h), fds, (size_t)nfds * sizeof(int));
        }
        sendmsg(liar[1], &reply, MSG_NOSIGNAL);
        for (int k = 0; k < nfds; k++)
            close(fds[k]);
    }
    return NULL;
}

static void lie_version(struct gofer_reply *r, UNUSED struct iovec *d, UNUSED int *f, UNUSED int *n)
{
    r->version++;
}
static void lie_seq(struct gofer_reply *r, UNUSED struct iovec *d, UNUSED int *f, UNUSED int *n)
{
    r->seq++;
}
static void lie_error(struct gofer_reply *r, UNUSED struct iovec *d, UNUSED int *f, UNUSED int *n)
{
    r->error = 5;
}
static void lie_short(UNUSED struct gofer_reply *r, struct iovec *d, UNUSED int *f, UNUSED int *n)
{
    d[0].iov_len = 20;
}
static void lie_len(struct gofer_reply *r, UNUSED struct iovec *d, UNUSED int *f, UNUSED int *n)
{
    r->len = 1;
}
static void lie_long(struct gofer_reply *r, struct iovec *d, UNUSED int *f, UNUSED int *n)
{
    r->len = 65536;
    d[1].iov_len = 65536;
}
static void lie_directory(struct gofer_reply *r, UNUSED struct iovec *d, int *fds, int *n)
{
    r->nfds = 1;
    fds[(*n)++] = open("/", O_PATH | O_CLOEXEC);
}
static void lie_two(struct gofer_reply *r, UNUSED struct iovec *d, int *fds, int *n)
{
    r->nfds = 1;
    fds[(*n)++] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    fds[(*n)++] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
}
static void lie_missing(struct gofer_reply *r, UNUSED struct iovec *d, UNUSED int *f, UNUSED int *n)
{
    r->nfds = 1;
}
static void lie_uncounted(UNUSED struct gofer_reply *r, UNUSED struct iovec *d, int *fds, int *n)
{
    fds[(*n)++] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
}

static int count_fds(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

START_TEST(test_liar)
{
    static void (*const lies[])(struct gofer_reply *, struct iovec *, int *, int *) = {
        lie_version, lie_seq,       lie_error, lie_short,   lie_len,
        lie_long,    lie_directory, lie_two,   lie_missing, lie_uncounted};
    for (size_t k = 0; k < ARRAY_SIZE(lies); k++) {
        pthread_t thread;
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, liar), 0);
        struct gofer_link link = {.nchannels = 1, .nprimary = 1, .channels = {liar[0]}};
        lie = lies[k];
        lost = 0;
        ck_assert_int_eq(gofer_client_create(&link, count_lost, NULL, &client), 0);
        int before = count_fds();
        ck_assert_int_eq(pthread_create(&thread, NULL, answer_falsely, NULL), 0);
        struct door door = {.gofer = client, .root = 1};
        int r = door_open_file(&door, (struct door_at){.node = 1, .path = "f"}, O_RDONLY);
        ck_assert_int_eq(r, -EIO);
        ck_assert_int_eq(lost, 1);
        gofer_client_destroy(client);
        pthread_join(thread, NULL);
        close(liar[1]);
        ck_assert_int_le(count_fds(), before);
    }
}
END_TEST

static void lie_records(struct gofer_reply *r, struct iovec *d, UNUSED int *f, UNUSED int *n)
{
    static const uint16_t reclens[] = {0, 8, 19, 24, 4096, 65535, 25, 32};
    static unsigned turn;
    struct dirent64 *e = d[1].iov_base;
    memset(e, 0, 32);
    e->d_reclen = reclens[turn++ % ARRAY_SIZE(reclens)];
    strcpy(e->d_name, e->d_reclen == 32 ? "a/b" : "a");
    if (e->d_reclen == 24)
        memset(e->d_name, 'a', 5);
    r->len = (uint32_t)(d[1].iov_len = e->d_reclen == 32 ? 32 : 24);
}

START_TEST(test_records)
{
    pthread_t thread;
    static char buf[GOFER_DATA_MAX];
    struct door_list list = {.buf = buf};
    struct door_at at = {.node = 1, .path = ""};
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, liar), 0);
    struct gofer_link link = {.nchannels = 1, .nprimary = 1, .channels = {liar[0]}};
    lie = lie_records;
    ck_assert_int_eq(gofer_client_create(&link, count_lost, NULL, &client), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, answer_falsely, NULL), 0);
    struct door door = {.gofer = client, .root = 1};
    for (int k = 0; k < 8; k++)
        ck_assert_int_eq(door_list(&door, at, true, &list), -EIO);
    gofer_client_destroy(client);
    pthread_join(thread, NULL);
    close(liar[1]);
}
END_TEST

/* How a process ends that gives up its rights and makes a call. */
static int after_confining(long nr)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        if (gofer_confine())
            _exit(99);
        syscall(nr, -1, 0, 0, 0);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return status;
}

START_TEST(test_confine)
{
    static const long refused[] = {SYS_socket, SYS_execve, SYS_ptrace,
                                   SYS_mount,  SYS_kill,   SYS_close | 0x40000000 /* x32's */,
                                   100000};
    ck_assert_int_eq(after_confining(SYS_close), 0);
    ck_assert_int_eq(after_confining(SYS_openat2), 0);
    for (size_t k = 0; k < ARRAY_SIZE(refused); k++)
        ck_assert_int_eq(WTERMSIG(after_confining(refused[k])), SIGSYS);
}
END_TEST

#define BATCH_LIES 7

/* Two good entries, but for one thing. */
static void lie_batch(struct gofer_reply *r, struct iovec *d, int *fds, int *n)
{
    static unsigned turn;
    struct gofer_batch_entry *e = d[1].iov_base;
    memset(e, 0, 3 * sizeof(*e));
    e[0].attr.stx_mode = S_IFREG | 0644;
    e[1].attr.stx_mode = S_IFDIR | 0755;
    r->len = 2 * sizeof(*e);
    switch (turn++ % BATCH_LIES) {
    case 0:
        e[1].error = 1;
        break;
    case 1:
        e[1].len = 8;
        break;
    case 2:
        e[1].len = UINT32_MAX;
        break;
    case 3:
        r->len = 3 * sizeof(*e);
        break;
    case 4:
        r->len -= 8;
        break;
    case 5: /* a list of a file */
        e[0].has = GOFER_HAS_LIST;
        break;
    default: /* for neither */
        fds[(*n)++] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        r->nfds = 1;
    }
    d[1].iov_len = r->len;
}

START_TEST(test_lying_batch)
{
    pthread_t thread;
    static char buf[GOFER_DATA_MAX];
    struct door_found found[2];
    struct door_names names = {"a\0b", 4, 2};
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, liar), 0);
    struct gofer_link link = {.nchannels = 1, .nprimary = 1, .channels = {liar[0]}};
    lie = lie_batch;
    ck_assert_int_eq(gofer_client_create(&link, count_lost, NULL, &client), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, answer_falsely, NULL), 0);
    struct door door = {.gofer = client, .root = 1};
    int before = count_fds();
    for (int k = 0; k < BATCH_LIES; k++)
        ck_assert_int_eq(
            door_batch(&door, (struct door_at){1, "", 0, 0}, names, GOFER_WANT_FILE, buf, found),
            -EIO);
    gofer_client_destroy(client);
    pthread_join(thread, NULL);
    close(liar[1]);
    ck_assert_int_eq(count_fds(), before - 2);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("gofer");
    TCase *tc = tcase_create("a hostile sentry");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, test_headers);
    tcase_add_test(tc, test_lengths);
    tcase_add_test(tc, test_paths);
    tcase_add_test(tc, test_links);
    tcase_add_test(tc, test_special_files);
    tcase_add_test(tc, test_open_flags);
    tcase_add_test(tc, test_read_only);
    tcase_add_test(tc, test_nodes);
    tcase_add_test(tc, test_one_file);
    tcase_add_test(tc, test_nameless);
    tcase_add_test(tc, test_identity);
    tcase_add_test(tc, test_batch);
    tcase_add_test(tc, test_batch_bounds);
    tcase_add_test(tc, test_long_list);
    tcase_add_test(tc, test_data);
    tcase_add_test(tc, test_confine);
    suite_add_tcase(s, tc);
    tc = tcase_create("a lying gofer");
    tcase_add_test(tc, test_liar);
    tcase_add_test(tc, test_records);
    tcase_add_test(tc, test_lying_batch);
    suite_add_tcase(s, tc);
    SRunner *sr = srunner_create(s);
    srunner_run_all(sr, CK_NORMAL);
    int failed = srunner_ntests_failed(sr);
    srunner_free(sr);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
