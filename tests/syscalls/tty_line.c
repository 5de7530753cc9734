/*
 * termios(3): the line discipline. Echoes are read at the master.
 */
#include "tests/syscalls/pty.h"

static void set_cc(int fd, int which, int c)
{
    struct termios tio;
    EXPECT_OK(tcgetattr(fd, &tio));
    tio.c_cc[which] = (cc_t)c;
    EXPECT_OK(tcsetattr(fd, TCSANOW, &tio));
}

static void set_oflag(int fd, tcflag_t flags)
{
    struct termios tio;
    EXPECT_OK(tcgetattr(fd, &tio));
    tio.c_oflag = flags;
    EXPECT_OK(tcsetattr(fd, TCSANOW, &tio));
}

/* No echoes. */
static struct pty quiet(void)
{
    struct pty p = pty_open();
    pty_modes(p.slave, 0, 0, ECHO, 0);
    return p;
}

CASE(defaults)
{
    struct pty p = pty_open();
    struct termios tio;
    EXPECT_OK(tcgetattr(p.slave, &tio));
    EXPECT_EQ(tio.c_iflag, ICRNL | IXON);
    EXPECT_EQ(tio.c_oflag, OPOST | ONLCR);
    EXPECT_EQ(tio.c_cflag, B38400 | CS8 | CREAD);
    EXPECT_EQ(tio.c_lflag, ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN);
    EXPECT_MEMEQ(tio.c_cc, "\003\034\177\025\004\0\1\0\021\023\032\0\022\017\027\026", 16);
    EXPECT_EQ(cfgetospeed(&tio), B38400);
}

CASE(kept_and_shared)
{
    struct pty p = pty_open();
    struct termios tio, other;
    EXPECT_OK(tcgetattr(p.master, &tio));
    tio.c_cc[VINTR] = 'x';
    tio.c_iflag |= IUTF8;
    cfsetspeed(&tio, B115200);
    EXPECT_OK(tcsetattr(p.master, TCSANOW, &tio));
    EXPECT_OK(tcgetattr(p.slave, &other));
    EXPECT_EQ(other.c_cc[VINTR], 'x');
    EXPECT(other.c_iflag & IUTF8);
    EXPECT_EQ(cfgetospeed(&other), B115200);
    /* A pty has eight bits and no parity, whatever is asked. */
    tio.c_cflag = (tio.c_cflag & ~(tcflag_t)CSIZE) | CS7 | PARENB;
    tcsetattr(p.slave, TCSANOW, &tio);
    EXPECT_OK(tcgetattr(p.slave, &other));
    EXPECT_EQ(other.c_cflag & (CSIZE | PARENB), CS8);
}

CASE(line_by_line)
{
    struct pty p = quiet();
    char buf[100];
    pty_type(p.master, "one\ntwo\n");
    EXPECT_EQ(read(p.slave, buf, sizeof(buf)), 4);
    EXPECT_MEMEQ(buf, "one\n", 4);
    EXPECT_EQ(read(p.slave, buf, 2), 2);
    EXPECT_EQ(read(p.slave, buf, sizeof(buf)), 2);
    EXPECT_MEMEQ(buf, "o\n", 2);
}

CASE(end_of_file)
{
    struct pty p = quiet();
    char buf[100];
    pty_type(p.master, "part\004\004rest\n");
    EXPECT_EQ(read(p.slave, buf, sizeof(buf)), 4);
    EXPECT_EQ(read(p.slave, buf, sizeof(buf)), 0);
    EXPECT_EQ(read(p.slave, buf, sizeof(buf)), 5);
}

CASE(end_of_file_behind_full_buffer)
{
    struct pty p = quiet();
    char buf[100];
    pty_type(p.master, "four\004next\n");
    EXPECT_EQ(read(p.slave, buf, 4), 4);
    EXPECT_EQ(read(p.slave, buf, sizeof(buf)), 5);
    EXPECT_MEMEQ(buf, "next\n", 5);
}

CASE(other_line_ends)
{
    struct pty p = quiet();
    char buf[100];
    set_cc(p.slave, VEOL, ';');
    set_cc(p.slave, VEOL2, '!');
    pty_type(p.master, "a;b!");
    EXPECT_EQ(read(p.slave, buf, sizeof(buf)), 2);
    EXPECT_MEMEQ(buf, "a;", 2);
    EXPECT_EQ(read(p.slave, buf, sizeof(buf)), 2);
    EXPECT_MEMEQ(buf, "b!", 2);
}

CASE(erase)
{
    struct pty p = pty_open();
    pty_type(p.master, "abc\177\177x\n");
    PTY_EXPECT(p.master, "abc\b \b\b \bx\r\n");
    PTY_EXPECT(p.slave, "ax\n");
    pty_type(p.master, "\177\177y\n");
    PTY_EXPECT(p.master, "y\r\n");
    PTY_EXPECT(p.slave, "y\n");
}

CASE(erase_without_echoe)
{
    struct pty p = pty_open();
    pty_modes(p.slave, 0, 0, ECHOE, 0);
    pty_type(p.master, "ab\177\n");
    PTY_EXPECT(p.master, "ab^?\r\n");
    PTY_EXPECT(p.slave, "a\n");
}

CASE(erase_control)
{
    struct pty p = pty_open();
    pty_type(p.master, "a\001\177b\n");
    PTY_EXPECT(p.master, "a^A\b \b\b \bb\r\n");
    PTY_EXPECT(p.slave, "ab\n");
}

CASE(erase_tab)
{
    struct pty p = pty_open();
    pty_type(p.master, "abc\t\177d\n");
    PTY_EXPECT(p.master, "abc\t\b\b\b\b\bd\r\n");
    PTY_EXPECT(p.slave, "abcd\n");
    /* The line does not begin in the first column. */
    pty_type(p.slave, "$ ");
    PTY_EXPECT(p.master, "$ ");
    pty_type(p.master, "a\t\177\n");
    PTY_EXPECT(p.master, "a\t\b\b\b\b\b\r\n");
}

CASE(erase_utf8)
{
    struct pty p = pty_open();
    pty_modes(p.slave, 0, IUTF8, 0, 0);
    pty_type(p.master, "a\xc3\xa4\177b\n");
    PTY_EXPECT(p.master, "a\xc3\xa4\b \bb\r\n");
    PTY_EXPECT(p.slave, "ab\n");
}

CASE(erase_word)
{
    struct pty p = pty_open();
    pty_type(p.master, "ls a_b.c  \027\n");
    PTY_EXPECT(p.master, "ls a_b.c  \b \b\b \b\b \b\r\n");
    PTY_EXPECT(p.slave, "ls a_b.\n");
}

CASE(kill)
{
    struct pty p = pty_open();
    pty_type(p.master, "abc\025d\n");
    PTY_EXPECT(p.master, "abc\b \b\b \b\b \bd\r\n");
    PTY_EXPECT(p.slave, "d\n");
    pty_modes(p.slave, 0, 0, ECHOKE, 0);
    pty_type(p.master, "abc\025d\n");
    PTY_EXPECT(p.master, "abc^U\r\nd\r\n");
    PTY_EXPECT(p.slave, "d\n");
}

CASE(echoprt)
{
    struct pty p = pty_open();
    pty_modes(p.slave, 0, 0, 0, ECHOPRT);
    pty_type(p.master, "abc\177\177x\n");
    PTY_EXPECT(p.master, "abc\\cb/x\r\n");
    PTY_EXPECT(p.slave, "ax\n");
}

CASE(literal_next)
{
    struct pty p = pty_open();
    pty_type(p.master, "a\026\003b\026\177\n");
    PTY_EXPECT(p.master, "a^\b^Cb^\b^?\r\n");
    PTY_EXPECT(p.slave, "a\003b\177\n");
}

CASE(reprint)
{
    struct pty p = pty_open();
    pty_type(p.master, "abc\022d\n");
    PTY_EXPECT(p.master, "abc^R\r\nabcd\r\n");
    PTY_EXPECT(p.slave, "abcd\n");
}

CASE(no_iexten)
{
    struct pty p = quiet();
    pty_modes(p.slave, 0, 0, IEXTEN, 0);
    pty_type(p.master, "a b\027\026\n");
    PTY_EXPECT(p.slave, "a b\027\026\n");
}

CASE(echo_variants)
{
    struct pty p = pty_open();
    pty_modes(p.slave, 0, 0, ECHO, ECHONL);
    pty_type(p.master, "secret\n");
    PTY_EXPECT(p.master, "\r\n");
    pty_modes(p.slave, 0, 0, ECHOCTL, ECHO);
    pty_type(p.master, "\001\n");
    PTY_EXPECT(p.master, "\001\r\n");
    pty_modes(p.slave, 0, 0, ECHO | ECHONL, 0);
    pty_type(p.master, "nothing\n");
    PTY_SILENT(p.master);
}

CASE(input_mapping)
{
    struct pty p = quiet();
    pty_type(p.master, "a\r");
    PTY_EXPECT(p.slave, "a\n");
    pty_modes(p.slave, ICRNL, 0, 0, 0);
    pty_type(p.master, "a\rb\n");
    PTY_EXPECT(p.slave, "a\rb\n");
    pty_modes(p.slave, 0, IGNCR | ICRNL, 0, 0);
    pty_type(p.master, "a\rb\n");
    PTY_EXPECT(p.slave, "ab\n");
    pty_modes(p.slave, IGNCR | ICRNL, INLCR, ICANON, 0);
    pty_type(p.master, "a\n");
    PTY_EXPECT(p.slave, "a\r");
    pty_modes(p.slave, INLCR, ISTRIP | IUCLC, 0, 0);
    pty_type(p.master, "\xc1"
                       "B");
    PTY_EXPECT(p.slave, "ab");
}

CASE(parmrk_doubles)
{
    struct pty p = quiet();
    pty_modes(p.slave, 0, PARMRK, 0, 0);
    pty_type(p.master, "a\377\n");
    PTY_EXPECT(p.slave, "a\377\377\n");
}

CASE(output_mapping)
{
    struct pty p = pty_open();
    set_oflag(p.slave, 0);
    pty_type(p.slave, "a\nb\r\t");
    PTY_EXPECT(p.master, "a\nb\r\t");
    set_oflag(p.slave, OPOST | OCRNL);
    pty_type(p.slave, "a\nb\r");
    PTY_EXPECT(p.master, "a\nb\n");
    set_oflag(p.slave, OPOST | ONLCR | XTABS);
    pty_type(p.slave, "\nab\tc\n");
    PTY_EXPECT(p.master, "\r\nab      c\r\n");
    set_oflag(p.slave, OPOST | ONOCR);
    pty_type(p.slave, "\ra\r\r");
    PTY_EXPECT(p.master, "a\r");
    set_oflag(p.slave, OPOST | OLCUC);
    pty_type(p.slave, "abc");
    PTY_EXPECT(p.master, "ABC");
}

CASE(long_line)
{
    struct pty p = quiet();
    static char buf[8192];
    memset(buf, 'x', 5000);
    /* What does not fit replaces the last character; the end of the line always has a place. */
    for (int done = 0; done < 5000; done += 500)
        EXPECT_EQ(write(p.master, buf, 500), 500);
    pty_type(p.master, "y\n");
    ssize_t n = EXPECT_OK(read(p.slave, buf, sizeof(buf)));
    EXPECT_EQ(n, 4096);
    EXPECT_EQ(buf[4095], '\n');
}

/* ---- without lines ---- */

CASE(minimum_only)
{
    struct pty p = pty_open();
    char buf[100];
    pty_raw(p.slave, 3, 0);
    pty_type(p.master, "ab");
    EXPECT_EQ(pty_ready(p.slave, POLLIN, 50), 0);
    pid_t pid = FORK({
        usleep(50000);
        pty_type(p.master, "c");
    });
    EXPECT_EQ(read(p.slave, buf, sizeof(buf)), 3);
    EXPECT_EXITED(pid, 0);
    pty_type(p.master, "de");
    EXPECT_EQ(read(p.slave, buf, 2), 2);
    pty_type(p.master, "fgh");
    EXPECT_EQ(pty_ready(p.slave, POLLIN, 1000), POLLIN);
}

CASE(minimum_in_pieces)
{
    struct pty p = pty_open();
    char buf[100];
    pty_raw(p.slave, 6, 0);
    pid_t pid = FORK({
        for (int i = 0; i < 6; i++) {
            usleep(20000);
            pty_type(p.master, "x");
        }
    });
    EXPECT_EQ(read(p.slave, buf, sizeof(buf)), 6);
    EXPECT_EXITED(pid, 0);
}

CASE(time_only)
{
    struct pty p = pty_open();
    char buf[100];
    pty_raw(p.slave, 0, 2);
    long begin = pty_ms();
    EXPECT_EQ(read(p.slave, buf, sizeof(buf)), 0);
    EXPECT_GE(pty_ms() - begin, 180);
    EXPECT_LT(pty_ms() - begin, 2000);
    pty_type(p.master, "a");
    begin = pty_ms();
    EXPECT_EQ(read(p.slave, buf, sizeof(buf)), 1);
    EXPECT_LT(pty_ms() - begin, 180);
}

CASE(minimum_and_time)
{
    struct pty p = pty_open();
    char buf[100];
    pty_raw(p.slave, 5, 2);
    pid_t pid = FORK({
        usleep(400000);
        pty_type(p.master, "ab");
    });
    long begin = pty_ms();
    /* The clock starts with the first byte. */
    EXPECT_EQ(read(p.slave, buf, sizeof(buf)), 2);
    EXPECT_GE(pty_ms() - begin, 550);
    EXPECT_EXITED(pid, 0);
}

CASE(neither)
{
    struct pty p = pty_open();
    char buf[100];
    pty_raw(p.slave, 0, 0);
    EXPECT_EQ(read(p.slave, buf, sizeof(buf)), 0);
    pty_type(p.master, "ab");
    EXPECT_EQ(read(p.slave, buf, sizeof(buf)), 2);
}

CASE(switching_modes)
{
    struct pty p = quiet();
    char buf[100];
    pty_type(p.master, "half");
    EXPECT_EQ(pty_ready(p.slave, POLLIN, 50), 0);
    pty_modes(p.slave, 0, 0, ICANON, 0);
    PTY_EXPECT(p.slave, "half");
    pty_type(p.master, "more");
    EXPECT_EQ(pty_ready(p.slave, POLLIN, 1000), POLLIN);
    pty_modes(p.slave, 0, 0, 0, ICANON);
    EXPECT_EQ(read(p.slave, buf, sizeof(buf)), 4);
}

/* ---- flow and flushing ---- */

CASE(stop_and_start)
{
    struct pty p = pty_open();
    EXPECT_OK(fcntl(p.slave, F_SETFL, O_NONBLOCK));
    pty_type(p.master, "\023");
    PTY_SILENT(p.master);
    EXPECT_ERRNO(EAGAIN, write(p.slave, "x", 1));
    EXPECT_EQ(pty_ready(p.slave, POLLOUT, 0), 0);
    pty_type(p.master, "echo\n");
    PTY_SILENT(p.master);
    pty_type(p.master, "\021");
    PTY_EXPECT(p.master, "echo\r\n");
    EXPECT_EQ(write(p.slave, "x", 1), 1);
    PTY_EXPECT(p.slave, "echo\n");
}

CASE(any_character_starts)
{
    struct pty p = pty_open();
    pty_modes(p.slave, 0, IXANY, 0, 0);
    pty_type(p.master, "\023");
    PTY_SILENT(p.master);
    pty_type(p.master, "a");
    PTY_EXPECT(p.master, "a");
}

CASE(stop_is_data_without_ixon)
{
    struct pty p = quiet();
    pty_modes(p.slave, IXON, 0, 0, 0);
    pty_type(p.master, "\023\021\n");
    PTY_EXPECT(p.slave, "\023\021\n");
}

CASE(tcflow_calls)
{
    struct pty p = pty_open();
    EXPECT_OK(fcntl(p.slave, F_SETFL, O_NONBLOCK));
    EXPECT_OK(tcflow(p.slave, TCOOFF));
    EXPECT_ERRNO(EAGAIN, write(p.slave, "x", 1));
    EXPECT_OK(tcflow(p.slave, TCOON));
    EXPECT_EQ(write(p.slave, "x", 1), 1);
    PTY_EXPECT(p.master, "x");
    EXPECT_OK(tcflow(p.slave, TCIOFF));
    EXPECT_OK(tcflow(p.slave, TCION));
    PTY_EXPECT(p.master, "\023\021");
}

CASE(writer_waits_for_start)
{
    struct pty p = pty_open();
    pty_type(p.master, "\023");
    pid_t pid = FORK({ pty_type(p.slave, "late"); });
    PTY_SILENT(p.master);
    pty_type(p.master, "\021");
    PTY_EXPECT(p.master, "late");
    EXPECT_EXITED(pid, 0);
}

CASE(flush_input)
{
    struct pty p = quiet();
    pty_type(p.master, "old\nol");
    EXPECT_EQ(pty_ready(p.slave, POLLIN, 1000), POLLIN);
    EXPECT_OK(tcflush(p.slave, TCIFLUSH));
    EXPECT_EQ(pty_ready(p.slave, POLLIN, 0), 0);
    pty_type(p.master, "new\n");
    PTY_EXPECT(p.slave, "new\n");
    struct termios tio;
    pty_type(p.master, "old\n");
    EXPECT_EQ(pty_ready(p.slave, POLLIN, 1000), POLLIN);
    EXPECT_OK(tcgetattr(p.slave, &tio));
    EXPECT_OK(tcsetattr(p.slave, TCSAFLUSH, &tio));
    EXPECT_EQ(pty_ready(p.slave, POLLIN, 0), 0);
}

CASE(bytes_waiting)
{
    struct pty p = quiet();
    int n = -1;
    pty_type(p.master, "abc\nde");
    EXPECT_EQ(pty_ready(p.slave, POLLIN, 1000), POLLIN);
    EXPECT_OK(ioctl(p.slave, TIOCINQ, &n));
    EXPECT_EQ(n, 4);
    pty_type(p.slave, "12345");
    EXPECT_EQ(pty_ready(p.master, POLLIN, 1000), POLLIN | 0);
    EXPECT_OK(ioctl(p.master, FIONREAD, &n));
    EXPECT_EQ(n, 5);
}
TEST_MAIN
