/* Writes and reads a file through libaio, many requests at a time, and polls a pipe with it. */
#include <fcntl.h>
#include <libaio.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N = 32, SIZE = 4096 };
static char out[N][SIZE], in[N][SIZE];

static void check(int ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    exit(1);
}

static void all(io_context_t ctx, int fd, int write)
{
    struct iocb cbs[N], *list[N];
    struct io_event events[N];
    int got = 0;
    for (int i = 0; i < N; i++) {
        list[i] = &cbs[i];
        if (write)
            io_prep_pwrite(&cbs[i], fd, out[i], SIZE, (long long)i * SIZE);
        else
            io_prep_pread(&cbs[i], fd, in[i], SIZE, (long long)i * SIZE);
        cbs[i].data = &cbs[i];
    }
    check(io_submit(ctx, N, list) == N, "io_submit");
    while (got < N) {
        int n = io_getevents(ctx, 1, N, events, NULL);
        check(n > 0, "io_getevents");
        for (int i = 0; i < n; i++)
            check(events[i].res == SIZE && events[i].data == events[i].obj, "event");
        got += n;
    }
}

int main(void)
{
    io_context_t ctx = NULL;
    struct io_event event;
    struct timespec now = {0};
    struct iocb cb, *list = &cb;
    int fd = open("data", O_CREAT | O_RDWR | O_TRUNC, 0600), p[2];
    check(fd >= 0, "open");
    check(io_setup(N, &ctx) == 0, "io_setup");
    for (int i = 0; i < N; i++)
        memset(out[i], 'a' + i % 26, SIZE);
    all(ctx, fd, 1);
    all(ctx, fd, 0);
    check(memcmp(in, out, sizeof in) == 0, "contents");
    check(pipe(p) == 0, "pipe");
    io_prep_poll(&cb, p[0], POLLIN);
    check(io_submit(ctx, 1, &list) == 1, "io_submit of a poll");
    check(io_getevents(ctx, 0, 1, &event, &now) == 0, "nothing yet"); /* looks at the ring itself */
    check(write(p[1], "x", 1) == 1, "write");
    check(io_getevents(ctx, 1, 1, &event, NULL) == 1 && event.res & POLLIN, "poll");
    check(io_destroy(ctx) == 0, "io_destroy");
    puts("done");
    return 0;
}
