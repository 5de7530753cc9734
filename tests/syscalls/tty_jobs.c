/*
 * Controlling terminals and job control: credentials(7), tty_ioctl(4), tcsetpgrp(3).
 */
#include "tests/syscalls/pty.h"
#include <sys/prctl.h>

/* The body runs in a child that leads a session whose controlling terminal is p's. */
#define SESSION(p, ...) CHILD(session_, lead_session((p).slave);, __VA_ARGS__)

/* FORK that may stand inside of another. */
#define CHILD(name, begin, ...)                                                                    \
    ({                                                                                             \
        pid_t name##pid = fork();                                                                  \
        if (name##pid < 0)                                                                         \
            FAIL("fork: %s", strerror(errno));                                                     \
        if (name##pid == 0) {                                                                      \
            begin __VA_ARGS__ _exit(0);                                                            \
        }                                                                                          \
        name##pid;                                                                                 \
    })

static void lead_session(int slave)
{
    signal(SIGHUP, SIG_DFL);
    EXPECT_OK(setsid());
    EXPECT_OK(ioctl(slave, TIOCSCTTY, 0));
}

static volatile sig_atomic_t caught;

static void on_signal(int sig)
{
    caught = sig;
}

static void catch (int sig)
{
    struct sigaction sa = {.sa_handler = on_signal};
    EXPECT_OK(sigaction(sig, &sa, NULL));
}

static void wait_caught(int sig)
{
    for (int i = 0; i < 300 && caught != sig; i++)
        usleep(10000);
    EXPECT_EQ(caught, sig);
    caught = 0;
}

static char stat_field(pid_t pid, const char *fmt, int *a, int *b)
{
    char path[64], line[512], state;
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    int fd = EXPECT_OK(open(path, O_RDONLY));
    ssize_t n = EXPECT_OK(read(fd, line, sizeof(line) - 1));
    close(fd);
    line[n] = 0;
    EXPECT_EQ(sscanf(strrchr(line, ')') + 1, fmt, &state, a, b), 3);
    return state;
}

CASE(tiocsctty)
{
    struct pty p = pty_open();
    pid_t pid = SESSION(p, {
        EXPECT_EQ(tcgetsid(p.slave), getpid());
        EXPECT_EQ(tcgetpgrp(p.slave), getpid());
        EXPECT_OK(ioctl(p.slave, TIOCSCTTY, 0));
        int fd = EXPECT_OK(open("/dev/tty", O_RDWR));
        pty_type(fd, "from tty");
        struct stat st;
        EXPECT_OK(fstat(fd, &st));
        int tty, fg;
        stat_field(getpid(), " %c %*d %*d %*d %d %d", &tty, &fg);
        EXPECT_EQ(tty, 136 << 8 | p.number);
        EXPECT_EQ(fg, getpid());
    });
    PTY_EXPECT(p.master, "from tty");
    EXPECT_EXITED(pid, 0);
}

CASE(acquired_by_opening)
{
    struct pty p = pty_open();
    pid_t pid = FORK({
        EXPECT_OK(setsid());
        EXPECT_ERRNO(ENXIO, open("/dev/tty", O_RDWR));
        int fd = EXPECT_OK(open(pty_name(p.number), O_RDWR | O_NOCTTY));
        EXPECT_ERRNO(ENXIO, open("/dev/tty", O_RDWR));
        EXPECT_ERRNO(ENOTTY, tcgetpgrp(fd));
        fd = EXPECT_OK(open(pty_name(p.number), O_WRONLY));
        EXPECT_ERRNO(ENXIO, open("/dev/tty", O_RDWR));
        fd = EXPECT_OK(open(pty_name(p.number), O_RDWR));
        EXPECT_OK(open("/dev/tty", O_RDWR));
        EXPECT_EQ(tcgetpgrp(fd), getpid());
    });
    EXPECT_EXITED(pid, 0);
}

CASE(only_a_leader_acquires)
{
    struct pty p = pty_open();
    pid_t pid = FORK({
        EXPECT_OK(setsid());
        pid_t child = CHILD(child_, , {
            EXPECT_ERRNO(EPERM, ioctl(p.slave, TIOCSCTTY, 0));
            EXPECT_OK(open(pty_name(p.number), O_RDWR));
            EXPECT_ERRNO(ENXIO, open("/dev/tty", O_RDWR));
        });
        EXPECT_EXITED(child, 0);
    });
    EXPECT_EXITED(pid, 0);
}

CASE(one_terminal_a_session)
{
    struct pty p = pty_open(), q = pty_open();
    pid_t pid = SESSION(p, { EXPECT_ERRNO(EPERM, ioctl(q.slave, TIOCSCTTY, 0)); });
    EXPECT_EXITED(pid, 0);
}

CASE(one_session_a_terminal)
{
    struct pty p = pty_open();
    pid_t pid = SESSION(p, {
        pid_t other = CHILD(child_, , {
            EXPECT_OK(setsid());
            EXPECT_ERRNO(EPERM, ioctl(p.slave, TIOCSCTTY, 0));
            EXPECT_ERRNO(ENOTTY, tcgetpgrp(p.slave));
            EXPECT_ERRNO(ENOTTY, tcgetsid(p.slave));
            EXPECT_ERRNO(ENOTTY, tcsetpgrp(p.slave, getpid()));
        });
        EXPECT_EXITED(other, 0);
    });
    EXPECT_EXITED(pid, 0);
}

CASE(master_tells_groups)
{
    struct pty p = pty_open();
    int ready[2];
    EXPECT_OK(pipe(ready));
    pid_t group = -1;
    EXPECT_OK(ioctl(p.master, TIOCGPGRP, &group));
    EXPECT_EQ(group, 0);
    EXPECT_ERRNO(ENOTTY, ioctl(p.master, TIOCGSID, &group));
    pid_t pid = SESSION(p, {
        EXPECT_EQ(write(ready[1], "x", 1), 1);
        pause();
    });
    char c;
    EXPECT_EQ(read(ready[0], &c, 1), 1);
    EXPECT_EQ(tcgetpgrp(p.master), pid);
    EXPECT_OK(ioctl(p.master, TIOCGSID, &group));
    EXPECT_EQ(group, pid);
    kill(pid, SIGKILL);
    EXPECT_KILLED(pid, SIGKILL);
}

CASE(tcsetpgrp_rules)
{
    struct pty p = pty_open();
    pid_t pid = SESSION(p, {
        pid_t outside = getppid(), child = CHILD(child_, , { pause(); });
        EXPECT_OK(setpgid(child, child));
        EXPECT_ERRNO(EINVAL, tcsetpgrp(p.slave, -1));
        EXPECT_ERRNO(ESRCH, tcsetpgrp(p.slave, 4000000));
        EXPECT_ERRNO(EPERM, tcsetpgrp(p.slave, getpgid(outside)));
        EXPECT_ERRNO(EFAULT, ioctl(p.slave, TIOCSPGRP, NULL));
        EXPECT_OK(tcsetpgrp(p.slave, child));
        EXPECT_EQ(tcgetpgrp(p.slave), child);
        kill(child, SIGKILL);
        EXPECT_KILLED(child, SIGKILL);
    });
    EXPECT_EXITED(pid, 0);
}

CASE(keys_signal_the_foreground)
{
    static const struct {
        const char *key, *echo;
        int sig;
    } rows[] = {{"\003", "^C", SIGINT}, {"\034", "^\\", SIGQUIT}, {"\032", "^Z", SIGTSTP}};
    struct pty p = pty_open();
    pid_t pid = SESSION(p, {
        for (int i = 0; i < 3; i++)
            catch (rows[i].sig);
        pty_type(p.slave, "ready");
        for (int i = 0; i < 3; i++) {
            wait_caught(rows[i].sig);
            pty_type(p.slave, "got it");
        }
    });
    PTY_EXPECT(p.master, "ready");
    for (int i = 0; i < 3; i++) {
        char want[32];
        pty_type(p.master, rows[i].key);
        snprintf(want, sizeof(want), "%sgot it", rows[i].echo);
        PTY_EXPECT(p.master, want);
    }
    EXPECT_EXITED(pid, 0);
}

CASE(not_the_background)
{
    struct pty p = pty_open();
    pid_t pid = SESSION(p, {
        signal(SIGTTOU, SIG_IGN);
        pid_t child = CHILD(child_, , {
            EXPECT_OK(setpgid(0, 0));
            EXPECT_OK(tcsetpgrp(p.slave, getpid()));
            pty_type(p.slave, "ready");
            pause();
        });
        EXPECT_KILLED(child, SIGINT);
        pty_type(p.slave, "I live");
    });
    PTY_EXPECT(p.master, "ready");
    pty_type(p.master, "\003");
    PTY_EXPECT(p.master, "^CI live");
    EXPECT_EXITED(pid, 0);
}

CASE(signal_key_flushes)
{
    struct pty p = pty_open();
    pid_t pid = SESSION(p, {
        catch (SIGINT);
        pty_type(p.slave, "ready");
        wait_caught(SIGINT);
        PTY_EXPECT(p.slave, "after\n");
        pty_modes(p.slave, 0, 0, 0, NOFLSH);
        pty_type(p.slave, "again");
        wait_caught(SIGINT);
        PTY_EXPECT(p.slave, "kept\n");
    });
    PTY_EXPECT(p.master, "ready");
    pty_type(p.master, "before");
    PTY_EXPECT(p.master, "before");
    pty_type(p.master, "\003after\n");
    PTY_EXPECT(p.master, "^Cafter\r\nagain");
    pty_type(p.master, "ke\003pt\n");
    PTY_EXPECT(p.master, "ke^Cpt\r\n");
    EXPECT_EXITED(pid, 0);
}

CASE(signal_through_the_master)
{
    struct pty p = pty_open();
    pid_t pid = SESSION(p, {
        catch (SIGQUIT);
        pty_type(p.slave, "ready");
        wait_caught(SIGQUIT);
    });
    PTY_EXPECT(p.master, "ready");
    EXPECT_ERRNO(EINVAL, ioctl(p.master, TIOCSIG, SIGKILL));
    EXPECT_OK(ioctl(p.master, TIOCSIG, SIGQUIT));
    EXPECT_EXITED(pid, 0);
}

CASE(read_is_interrupted)
{
    struct pty p = pty_open();
    pid_t pid = SESSION(p, {
        char c;
        catch (SIGINT);
        pty_type(p.slave, "ready");
        EXPECT_ERRNO(EINTR, read(p.slave, &c, 1));
    });
    PTY_EXPECT(p.master, "ready");
    usleep(50000);
    pty_type(p.master, "\003");
    EXPECT_EXITED(pid, 0);
}

CASE(window_change_signals)
{
    struct pty p = pty_open();
    struct winsize ws = {.ws_row = 10, .ws_col = 20};
    pid_t pid = SESSION(p, {
        catch (SIGWINCH);
        pty_type(p.slave, "ready");
        wait_caught(SIGWINCH);
    });
    PTY_EXPECT(p.master, "ready");
    EXPECT_OK(ioctl(p.master, TIOCSWINSZ, &ws));
    EXPECT_EXITED(pid, 0);
}

CASE(same_size_does_not)
{
    struct pty p = pty_open();
    struct winsize ws = {.ws_row = 10, .ws_col = 20};
    EXPECT_OK(ioctl(p.slave, TIOCSWINSZ, &ws));
    pid_t pid = SESSION(p, {
        catch (SIGWINCH);
        EXPECT_OK(ioctl(p.slave, TIOCSWINSZ, &ws));
        usleep(50000);
        EXPECT_EQ(caught, 0);
    });
    EXPECT_EXITED(pid, 0);
}

/* ---- the background ---- */

/* A child in a background group of its own, and how it fared. */
#define BACKGROUND(...) CHILD(background_, EXPECT_OK(setpgid(0, 0));, __VA_ARGS__)

static void expect_stopped(pid_t pid, int sig)
{
    int status;
    EXPECT_EQ(waitpid(pid, &status, WUNTRACED), pid);
    if (!WIFSTOPPED(status))
        FAIL("not stopped: wait status 0x%x", status);
    EXPECT_EQ(WSTOPSIG(status), sig);
}

CASE(background_read_stops)
{
    struct pty p = pty_open();
    pid_t pid = SESSION(p, {
        pid_t child = BACKGROUND({
            char buf[16];
            EXPECT_EQ(read(p.slave, buf, sizeof(buf)), 3);
        });
        expect_stopped(child, SIGTTIN);
        EXPECT_OK(tcsetpgrp(p.slave, child));
        EXPECT_OK(kill(-child, SIGCONT));
        EXPECT_EXITED(child, 0);
        signal(SIGTTOU, SIG_IGN);
        EXPECT_OK(tcsetpgrp(p.slave, getpid()));
    });
    pty_type(p.master, "hi\n");
    EXPECT_EXITED(pid, 0);
}

CASE(background_read_fails)
{
    struct pty p = pty_open();
    pid_t pid = SESSION(p, {
        pid_t child = BACKGROUND({
            char c;
            signal(SIGTTIN, SIG_IGN);
            EXPECT_ERRNO(EIO, read(p.slave, &c, 1));
            signal(SIGTTIN, SIG_DFL);
            sigset_t set;
            sigemptyset(&set);
            sigaddset(&set, SIGTTIN);
            EXPECT_OK(sigprocmask(SIG_BLOCK, &set, NULL));
            EXPECT_ERRNO(EIO, read(p.slave, &c, 1));
        });
        EXPECT_EXITED(child, 0);
    });
    EXPECT_EXITED(pid, 0);
}

CASE(background_write)
{
    struct pty p = pty_open();
    pid_t pid = SESSION(p, {
        pid_t child = BACKGROUND({ pty_type(p.slave, "may"); });
        EXPECT_EXITED(child, 0);
        pty_modes(p.slave, 0, 0, 0, TOSTOP);
        child = BACKGROUND({ pty_type(p.slave, "must not"); });
        expect_stopped(child, SIGTTOU);
        kill(child, SIGKILL);
        EXPECT_KILLED(child, SIGKILL);
        child = BACKGROUND({
            signal(SIGTTOU, SIG_IGN);
            pty_type(p.slave, " ignored");
        });
        EXPECT_EXITED(child, 0);
    });
    PTY_EXPECT(p.master, "may ignored");
    EXPECT_EXITED(pid, 0);
}

CASE(background_changes)
{
    struct pty p = pty_open();
    pid_t pid = SESSION(p, {
        pid_t child = BACKGROUND({
            struct termios tio;
            EXPECT_OK(tcgetattr(p.slave, &tio));
            tcsetattr(p.slave, TCSANOW, &tio);
        });
        expect_stopped(child, SIGTTOU);
        kill(child, SIGKILL);
        EXPECT_KILLED(child, SIGKILL);
        child = BACKGROUND({ tcsetpgrp(p.slave, getpid()); });
        expect_stopped(child, SIGTTOU);
        kill(child, SIGKILL);
        EXPECT_KILLED(child, SIGKILL);
        child = BACKGROUND({ tcflush(p.slave, TCIFLUSH); });
        expect_stopped(child, SIGTTOU);
        kill(child, SIGKILL);
        EXPECT_KILLED(child, SIGKILL);
        child = BACKGROUND({
            struct winsize ws = {.ws_row = 1};
            EXPECT_OK(ioctl(p.slave, TIOCSWINSZ, &ws));
            signal(SIGTTOU, SIG_IGN);
            EXPECT_OK(tcsetpgrp(p.slave, getpid()));
        });
        EXPECT_EXITED(child, 0);
    });
    EXPECT_EXITED(pid, 0);
}

CASE(orphans_fail)
{
    struct pty p = pty_open();
    int report[2];
    EXPECT_OK(pipe(report));
    EXPECT_OK(prctl(PR_SET_CHILD_SUBREAPER, 1));
    pid_t pid = SESSION(p, {
        pid_t middle = CHILD(child_, , {
            EXPECT_OK(setpgid(0, 0));
            pid_t parent = getpid();
            if (fork() == 0) {
                char c;
                while (getppid() == parent)
                    usleep(1000);
                char ok = read(p.slave, &c, 1) == -1 && errno == EIO ? 'y' : 'n';
                EXPECT_EQ(write(report[1], &ok, 1), 1);
                _exit(0);
            }
        });
        EXPECT_EXITED(middle, 0);
        pause();
    });
    char ok = 0;
    EXPECT_EQ(read(report[0], &ok, 1), 1);
    EXPECT_EQ(ok, 'y');
    kill(pid, SIGKILL);
}

/* ---- giving up and hanging up ---- */

CASE(leader_gives_up)
{
    struct pty p = pty_open();
    pid_t pid = SESSION(p, {
        signal(SIGTTOU, SIG_IGN);
        pid_t child = BACKGROUND({
            EXPECT_OK(tcsetpgrp(p.slave, getpid()));
            pty_type(p.slave, "x");
            pause();
        });
        PTY_EXPECT(p.master, "x");
        catch (SIGHUP);
        EXPECT_OK(ioctl(p.slave, TIOCNOTTY));
        EXPECT_KILLED(child, SIGHUP);
        EXPECT_EQ(caught, 0);
        EXPECT_ERRNO(ENXIO, open("/dev/tty", O_RDWR));
        EXPECT_ERRNO(ENOTTY, ioctl(p.slave, TIOCNOTTY));
        EXPECT_OK(ioctl(p.slave, TIOCSCTTY, 0));
    });
    EXPECT_EXITED(pid, 0);
}

CASE(member_gives_up)
{
    struct pty p = pty_open();
    pid_t pid = SESSION(p, {
        pid_t child = CHILD(child_, , {
            EXPECT_OK(ioctl(p.slave, TIOCNOTTY));
            EXPECT_ERRNO(ENXIO, open("/dev/tty", O_RDWR));
            EXPECT_ERRNO(ENOTTY, tcgetpgrp(p.slave));
            pid_t grandchild = CHILD(inner_, , { EXPECT_ERRNO(ENXIO, open("/dev/tty", O_RDWR)); });
            EXPECT_EXITED(grandchild, 0);
        });
        EXPECT_EXITED(child, 0);
        EXPECT_OK(open("/dev/tty", O_RDWR));
    });
    EXPECT_EXITED(pid, 0);
}

CASE(leader_exits)
{
    struct pty p = pty_open();
    int report[2];
    EXPECT_OK(pipe(report));
    pid_t pid = SESSION(p, {
        if (fork() == 0) {
            catch (SIGHUP);
            EXPECT_EQ(write(report[1], "r", 1), 1);
            wait_caught(SIGHUP);
            EXPECT_ERRNO(ENXIO, open("/dev/tty", O_RDWR));
            EXPECT_EQ(write(report[1], "h", 1), 1);
            _exit(0);
        }
        char c;
        EXPECT_EQ(read(report[0], &c, 1), 1);
    });
    EXPECT_EXITED(pid, 0);
    char c = 0;
    close(report[1]);
    EXPECT_EQ(read(report[0], &c, 1), 1);
    EXPECT_EQ(c, 'h');
    /* And the terminal is free for another session. */
    pid = SESSION(p, {});
    EXPECT_EXITED(pid, 0);
}

CASE(master_closes)
{
    struct pty p = pty_open();
    int report[2];
    EXPECT_OK(pipe(report));
    pid_t pid = SESSION(p, {
        char c;
        close(p.master);
        catch (SIGHUP);
        EXPECT_EQ(write(report[1], "r", 1), 1);
        ssize_t n = read(p.slave, &c, 1);
        EXPECT(n == 0 || (n == -1 && (errno == EINTR || errno == EIO)));
        wait_caught(SIGHUP);
        EXPECT_EQ(read(p.slave, &c, 1), 0);
        EXPECT_ERRNO(EIO, write(p.slave, "x", 1));
        EXPECT_ERRNO(ENXIO, open("/dev/tty", O_RDWR));
    });
    char c;
    EXPECT_EQ(read(report[0], &c, 1), 1);
    close(p.master);
    EXPECT_EXITED(pid, 0);
}

CASE(hang_up_kills)
{
    struct pty p = pty_open();
    int report[2];
    EXPECT_OK(pipe(report));
    pid_t pid = SESSION(p, {
        close(p.master);
        EXPECT_EQ(write(report[1], "r", 1), 1);
        pause();
    });
    char c;
    EXPECT_EQ(read(report[0], &c, 1), 1);
    close(p.master);
    EXPECT_KILLED(pid, SIGHUP);
}

CASE(stopped_leader_continues)
{
    struct pty p = pty_open();
    int report[2];
    EXPECT_OK(pipe(report));
    pid_t pid = SESSION(p, {
        close(p.master);
        signal(SIGHUP, SIG_IGN);
        raise(SIGSTOP);
        EXPECT_EQ(write(report[1], "c", 1), 1);
    });
    expect_stopped(pid, SIGSTOP);
    close(p.master);
    char c;
    EXPECT_EQ(read(report[0], &c, 1), 1);
    EXPECT_EXITED(pid, 0);
}

CASE(stopped_leader_has_no_terminal)
{
    struct pty p = pty_open();
    int tty = -1, fg = 0;
    pid_t pid = FORK({
        EXPECT_OK(setsid());
        raise(SIGSTOP);
    });
    expect_stopped(pid, SIGSTOP);
    stat_field(pid, " %c %*d %*d %*d %d %d", &tty, &fg);
    EXPECT_EQ(tty, 0);
    EXPECT_EQ(fg, -1);
    kill(pid, SIGCONT);
    EXPECT_EXITED(pid, 0);
    close(p.slave);
}
TEST_MAIN
