/*
 * pty(7), ptmx(4), ioctl_tty(2): pairs, names, hang-up, packet mode, readiness.
 */
#include "tests/syscalls/pty.h"
#include <dirent.h>
#include <sys/epoll.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/vfs.h>

CASE(names)
{
    struct pty p = pty_open();
    struct stat st, by_name;
    char link[64], path[64];
    EXPECT_OK(fstat(p.slave, &st));
    EXPECT(S_ISCHR(st.st_mode));
    EXPECT_EQ(major(st.st_rdev), 136 + p.number / 256);
    EXPECT_EQ(minor(st.st_rdev), p.number % 256);
    EXPECT_EQ(st.st_uid, getuid());
    EXPECT_OK(stat(pty_name(p.number), &by_name));
    EXPECT_EQ(by_name.st_ino, st.st_ino);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", p.slave);
    ssize_t n = EXPECT_OK(readlink(path, link, sizeof(link) - 1));
    link[n] = 0;
    EXPECT_STREQ(link, pty_name(p.number));
    EXPECT_STREQ(ttyname(p.slave), pty_name(p.number));
    EXPECT(isatty(p.slave) && isatty(p.master));
    EXPECT_OK(fstat(p.master, &st));
    EXPECT_EQ(st.st_rdev, makedev(5, 2));
}

CASE(name_goes_with_master)
{
    struct pty p = pty_open();
    struct stat st;
    close(p.master);
    EXPECT_ERRNO(ENOENT, stat(pty_name(p.number), &st));
    EXPECT_ERRNO(ENOENT, open(pty_name(p.number), O_RDWR | O_NOCTTY));
}

CASE(is_listed)
{
    struct pty p = pty_open();
    char want[16];
    bool found = false;
    snprintf(want, sizeof(want), "%d", p.number);
    DIR *d = opendir("/dev/pts");
    EXPECT(d);
    for (struct dirent *e; (e = readdir(d));) {
        found |= strcmp(e->d_name, want) == 0;
        EXPECT(e->d_name[0] == '.' || e->d_type == DT_CHR);
    }
    EXPECT(found);
    struct statfs sf;
    EXPECT_OK(statfs("/dev/pts", &sf));
    EXPECT_EQ(sf.f_type, 0x1cd1);
}

CASE(directory_is_fixed)
{
    EXPECT(open("/dev/pts/new", O_RDWR | O_CREAT, 0600) < 0);
    EXPECT(mkdir("/dev/pts/new", 0700) < 0);
    struct pty p = pty_open();
    EXPECT_ERRNO(EPERM, unlink(pty_name(p.number)));
}

CASE(locked_at_first)
{
    int m = EXPECT_OK(open("/dev/ptmx", O_RDWR | O_NOCTTY)), n, locked = 7;
    EXPECT_OK(ioctl(m, TIOCGPTN, &n));
    EXPECT_OK(ioctl(m, TIOCGPTLCK, &locked));
    EXPECT_EQ(locked, 1);
    EXPECT_ERRNO(EIO, open(pty_name(n), O_RDWR | O_NOCTTY));
    locked = 0;
    EXPECT_OK(ioctl(m, TIOCSPTLCK, &locked));
    EXPECT_OK(open(pty_name(n), O_RDWR | O_NOCTTY));
}

CASE(library_calls)
{
    int m = EXPECT_OK(posix_openpt(O_RDWR | O_NOCTTY));
    EXPECT_OK(grantpt(m));
    EXPECT_OK(unlockpt(m));
    char name[64];
    EXPECT_EQ(ptsname_r(m, name, sizeof(name)), 0);
    int s = EXPECT_OK(open(name, O_RDWR | O_NOCTTY));
    pty_type(s, "hello\n");
    PTY_EXPECT(m, "hello\r\n");
}

CASE(peer)
{
    struct pty p = pty_open();
    int s = EXPECT_OK(ioctl(p.master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
    EXPECT_EQ(fcntl(s, F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(s, F_GETFL) & O_ACCMODE, O_RDWR);
    EXPECT_STREQ(ttyname(s), pty_name(p.number));
    pty_type(s, "x");
    PTY_EXPECT(p.master, "x");
    EXPECT_ERRNO(EIO, ioctl(p.slave, TIOCGPTPEER, O_RDWR));
}

CASE(both_ways)
{
    struct pty p = pty_open();
    pty_raw(p.slave, 1, 0);
    pty_type(p.master, "down");
    PTY_EXPECT(p.slave, "down");
    pty_type(p.slave, "up");
    PTY_EXPECT(p.master, "up");
    struct iovec v[2] = {{"one ", 4}, {"two", 3}};
    EXPECT_EQ(writev(p.slave, v, 2), 7);
    PTY_EXPECT(p.master, "one two");
}

CASE(no_position)
{
    struct pty p = pty_open();
    char c;
    EXPECT_ERRNO(ESPIPE, lseek(p.slave, 0, SEEK_CUR));
    EXPECT_ERRNO(ESPIPE, pread(p.slave, &c, 1, 0));
}

CASE(would_block)
{
    struct pty p = pty_open();
    char c;
    EXPECT_OK(fcntl(p.slave, F_SETFL, O_NONBLOCK));
    EXPECT_OK(fcntl(p.master, F_SETFL, O_NONBLOCK));
    EXPECT_ERRNO(EAGAIN, read(p.slave, &c, 1));
    EXPECT_ERRNO(EAGAIN, read(p.master, &c, 1));
}

CASE(full)
{
    struct pty p = pty_open();
    static char block[65536];
    ssize_t n, total = 0;
    memset(block, 'x', sizeof(block));
    pty_raw(p.slave, 1, 0);
    EXPECT_OK(fcntl(p.slave, F_SETFL, O_NONBLOCK));
    while ((n = write(p.slave, block, sizeof(block))) > 0)
        total += n;
    EXPECT_EQ(n, -1);
    EXPECT_EQ(errno, EAGAIN);
    EXPECT_GE(total, 4096);
    EXPECT_EQ(pty_ready(p.slave, POLLOUT, 0) & POLLOUT, 0);
    for (ssize_t got = 0; got < total; got += n)
        n = EXPECT_OK(read(p.master, block, sizeof(block)));
    EXPECT_EQ(pty_ready(p.slave, POLLOUT, 1000) & POLLOUT, POLLOUT);
}

CASE(writer_waits_for_room)
{
    struct pty p = pty_open();
    enum { TOTAL = 300000 };
    pty_raw(p.slave, 1, 0);
    pid_t pid = FORK({
        static char block[TOTAL];
        memset(block, 'y', sizeof(block));
        EXPECT_EQ(write(p.slave, block, TOTAL), TOTAL);
    });
    char buf[1000];
    for (long got = 0, n; got < TOTAL; got += n) {
        n = EXPECT_OK(read(p.master, buf, sizeof(buf)));
        for (long i = 0; i < n; i++)
            EXPECT_EQ(buf[i], 'y');
    }
    EXPECT_EXITED(pid, 0);
}

CASE(master_waits_for_room)
{
    struct pty p = pty_open();
    enum { TOTAL = 300000 };
    pty_raw(p.slave, 1, 0);
    pid_t pid = FORK({
        static char block[TOTAL];
        memset(block, 'z', sizeof(block));
        EXPECT_EQ(write(p.master, block, TOTAL), TOTAL);
    });
    char buf[1000];
    for (long got = 0, n; got < TOTAL; got += n)
        n = EXPECT_OK(read(p.slave, buf, sizeof(buf)));
    EXPECT_EXITED(pid, 0);
}

CASE(last_slave_closes)
{
    struct pty p = pty_open();
    char buf[16];
    pty_type(p.slave, "bye");
    close(p.slave);
    EXPECT_EQ(pty_ready(p.master, POLLIN, 1000) & POLLHUP, POLLHUP);
    EXPECT_EQ(read(p.master, buf, sizeof(buf)), 3);
    EXPECT_ERRNO(EIO, read(p.master, buf, sizeof(buf)));
    /* And opened again, it goes on. */
    p.slave = EXPECT_OK(open(pty_name(p.number), O_RDWR | O_NOCTTY));
    EXPECT_EQ(pty_ready(p.master, POLLIN, 0) & POLLHUP, 0);
    pty_type(p.slave, "again");
    PTY_EXPECT(p.master, "again");
}

CASE(reader_hears_of_last_close)
{
    struct pty p = pty_open();
    pid_t pid = FORK({
        char c;
        close(p.slave);
        EXPECT_ERRNO(EIO, read(p.master, &c, 1));
    });
    usleep(50000);
    close(p.slave);
    EXPECT_EXITED(pid, 0);
}

CASE(no_slave_yet)
{
    int m = EXPECT_OK(open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK));
    char c;
    EXPECT_ERRNO(EAGAIN, read(m, &c, 1));
    EXPECT_EQ(pty_ready(m, POLLIN | POLLOUT, 0), POLLOUT);
    EXPECT_EQ(write(m, "typed ahead\n", 12), 12);
    PTY_EXPECT(m, "typed ahead\r\n");
}

CASE(master_closes)
{
    struct pty p = pty_open();
    char c;
    int n;
    struct termios tio;
    pty_type(p.master, "lost\n");
    close(p.master);
    EXPECT_EQ(read(p.slave, &c, 1), 0);
    EXPECT_ERRNO(EIO, write(p.slave, "x", 1));
    EXPECT_ERRNO(EIO, tcgetattr(p.slave, &tio));
    EXPECT_ERRNO(ENOTTY, ioctl(p.slave, TIOCSPGRP, &n));
    EXPECT_EQ(pty_ready(p.slave, POLLIN | POLLOUT, 0), POLLIN | POLLOUT | POLLERR | POLLHUP);
}

CASE(reader_hears_of_hang_up)
{
    struct pty p = pty_open();
    pid_t pid = FORK({
        char c;
        close(p.master);
        EXPECT_ERRNO(EIO, read(p.slave, &c, 1));
        EXPECT_EQ(read(p.slave, &c, 1), 0);
    });
    usleep(50000);
    close(p.master);
    EXPECT_EXITED(pid, 0);
}

CASE(readiness)
{
    struct pty p = pty_open();
    EXPECT_EQ(pty_ready(p.slave, POLLIN | POLLOUT, 0), POLLOUT);
    EXPECT_EQ(pty_ready(p.master, POLLIN | POLLOUT, 0), POLLOUT);
    pty_type(p.master, "no line yet");
    PTY_EXPECT(p.master, "no line yet");
    EXPECT_EQ(pty_ready(p.slave, POLLIN, 50), 0);
    pty_type(p.master, "\n");
    EXPECT_EQ(pty_ready(p.slave, POLLIN, 1000), POLLIN);
}

CASE(epoll_edges)
{
    struct pty p = pty_open();
    int ep = EXPECT_OK(epoll_create1(0));
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET};
    char buf[100];
    EXPECT_OK(epoll_ctl(ep, EPOLL_CTL_ADD, p.slave, &ev));
    EXPECT_EQ(epoll_wait(ep, &ev, 1, 0), 0);
    pty_type(p.master, "a\n");
    EXPECT_EQ(epoll_wait(ep, &ev, 1, 1000), 1);
    EXPECT_EQ(read(p.slave, buf, sizeof(buf)), 2);
    EXPECT_EQ(epoll_wait(ep, &ev, 1, 0), 0);
    pty_type(p.master, "b\n");
    EXPECT_EQ(epoll_wait(ep, &ev, 1, 1000), 1);
}

CASE(window_size)
{
    struct pty p = pty_open();
    struct winsize ws = {1, 2, 3, 4}, got;
    EXPECT_OK(ioctl(p.slave, TIOCGWINSZ, &got));
    EXPECT_EQ(got.ws_row, 0);
    EXPECT_OK(ioctl(p.master, TIOCSWINSZ, &ws));
    EXPECT_OK(ioctl(p.slave, TIOCGWINSZ, &got));
    EXPECT_MEMEQ(&got, &ws, sizeof(ws));
    ws.ws_row = 50;
    EXPECT_OK(ioctl(p.slave, TIOCSWINSZ, &ws));
    EXPECT_OK(ioctl(p.master, TIOCGWINSZ, &got));
    EXPECT_MEMEQ(&got, &ws, sizeof(ws));
    EXPECT_ERRNO(EFAULT, ioctl(p.slave, TIOCGWINSZ, NULL));
    EXPECT_ERRNO(EFAULT, ioctl(p.slave, TIOCSWINSZ, NULL));
}

CASE(exclusive)
{
    struct pty p = pty_open();
    int on = 7;
    EXPECT_OK(ioctl(p.slave, TIOCGEXCL, &on));
    EXPECT_EQ(on, 0);
    EXPECT_OK(ioctl(p.slave, TIOCEXCL));
    EXPECT_OK(ioctl(p.slave, TIOCGEXCL, &on));
    EXPECT_EQ(on, 1);
    if (geteuid() != 0)
        EXPECT_ERRNO(EBUSY, open(pty_name(p.number), O_RDWR | O_NOCTTY));
    EXPECT_OK(ioctl(p.slave, TIOCNXCL));
    EXPECT_OK(open(pty_name(p.number), O_RDWR | O_NOCTTY));
}

CASE(odd_requests)
{
    struct pty p = pty_open();
    int n = 0;
    EXPECT_ERRNO(ENOTTY, ioctl(p.slave, 0x5499, &n));
    EXPECT_ERRNO(ENOTTY, ioctl(p.slave, TIOCGPTN, &n));
    EXPECT_ERRNO(ENOTTY, ioctl(p.slave, TIOCPKT, &n));
    EXPECT_ERRNO(EFAULT, ioctl(p.master, TIOCGPTN, NULL));
    EXPECT_ERRNO(EFAULT, ioctl(p.master, TIOCSPTLCK, NULL));
    EXPECT_ERRNO(EFAULT, ioctl(p.slave, TCGETS, NULL));
    EXPECT_ERRNO(EFAULT, ioctl(p.slave, TCSETS, NULL));
    EXPECT_ERRNO(EINVAL, ioctl(p.slave, TCFLSH, 3));
    EXPECT_ERRNO(EINVAL, ioctl(p.slave, TCXONC, 4));
    EXPECT_OK(ioctl(p.slave, TIOCGETD, &n));
    EXPECT_EQ(n, 0);
    EXPECT_OK(ioctl(p.slave, TIOCOUTQ, &n));
    EXPECT_EQ(n, 0);
    EXPECT_OK(tcdrain(p.slave));
    EXPECT_OK(tcsendbreak(p.slave, 0));
    unsigned dev = 0;
    EXPECT_OK(ioctl(p.slave, TIOCGDEV, &dev));
    EXPECT_EQ(dev, 136 << 8 | p.number);
}

CASE(packet_mode)
{
    struct pty p = pty_open();
    int on = 1;
    char buf[100];
    EXPECT_OK(ioctl(p.master, TIOCPKT, &on));
    on = 0;
    EXPECT_OK(ioctl(p.master, TIOCGPKT, &on));
    EXPECT_EQ(on, 1);
    pty_type(p.slave, "data");
    EXPECT_EQ(read(p.master, buf, sizeof(buf)), 5);
    EXPECT_EQ(buf[0], TIOCPKT_DATA);
    EXPECT_MEMEQ(buf + 1, "data", 4);
    EXPECT_OK(tcflush(p.slave, TCIFLUSH));
    EXPECT_EQ(pty_ready(p.master, POLLIN | POLLPRI, 1000), POLLIN | POLLPRI);
    EXPECT_EQ(read(p.master, buf, sizeof(buf)), 1);
    EXPECT_EQ(buf[0], TIOCPKT_FLUSHREAD);
    EXPECT_OK(tcflow(p.slave, TCOOFF));
    EXPECT_EQ(read(p.master, buf, sizeof(buf)), 1);
    EXPECT_EQ(buf[0], TIOCPKT_STOP);
    EXPECT_OK(tcflow(p.slave, TCOON));
    EXPECT_EQ(read(p.master, buf, sizeof(buf)), 1);
    EXPECT_EQ(buf[0], TIOCPKT_START);
    pty_modes(p.slave, IXON, 0, 0, 0);
    EXPECT_EQ(read(p.master, buf, sizeof(buf)), 1);
    EXPECT_EQ(buf[0], TIOCPKT_NOSTOP);
    pty_modes(p.slave, 0, IXON, 0, 0);
    EXPECT_EQ(read(p.master, buf, sizeof(buf)), 1);
    EXPECT_EQ(buf[0], TIOCPKT_DOSTOP);
    on = 0;
    EXPECT_OK(ioctl(p.master, TIOCPKT, &on));
    pty_type(p.slave, "plain");
    PTY_EXPECT(p.master, "plain");
}

CASE(many)
{
    int masters[64];
    for (int i = 0; i < 64; i++)
        masters[i] = EXPECT_OK(open("/dev/ptmx", O_RDWR | O_NOCTTY));
    for (int i = 0; i < 64; i++) {
        int n, other;
        EXPECT_OK(ioctl(masters[i], TIOCGPTN, &n));
        for (int k = 0; k < i; k++) {
            EXPECT_OK(ioctl(masters[k], TIOCGPTN, &other));
            EXPECT_NE(n, other);
        }
    }
}

CASE(bad_buffers)
{
    struct pty p = pty_open();
    char *volatile bad = (char *)8;
    pty_type(p.master, "line\n");
    EXPECT_ERRNO(EFAULT, write(p.slave, bad, 5));
    EXPECT_ERRNO(EFAULT, write(p.master, bad, 5));
    EXPECT_ERRNO(EFAULT, read(p.slave, bad, 5));
    EXPECT_EQ(read(p.slave, bad, 0), 0);
}
TEST_MAIN
