"""A person at a terminal, for tty.sh: drives "picket do -t" and plain "picket do" through a pty.

    tty.py PICKET [TEST...]
"""

import fcntl
import os
import re
import select
import shutil
import signal
import struct
import sys
import termios
import time

PATIENCE = 60  # seconds until something that should be shown is given up


class Person:
    """Has a pty, on which a command runs as the session's leader does in a terminal emulator."""

    def __init__(self, *command, rows=24, cols=80):
        self.seen = ""
        self.shown = 0  # what expect() has consumed
        self.pid, self.fd = os.forkpty()
        if self.pid == 0:
            os.environ.update(TERM="xterm", PS1="$ ", HISTFILE="")
            os.execv(command[0], command)
        self.resize(rows, cols)

    def resize(self, rows, cols):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def type(self, text):
        os.write(self.fd, text.encode())

    def read(self, timeout):
        if self.fd < 0:
            time.sleep(timeout)
            return False
        if not select.select([self.fd], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            data = b""
        self.seen += data.decode(errors="replace")
        return bool(data)

    def expect(self, pattern, nudge=None):
        """Waits until it is shown; the match. Types `nudge` every now and then."""
        deadline = time.time() + PATIENCE
        while True:
            m = re.compile(pattern).search(self.seen, self.shown)
            if m:
                self.shown = m.end()
                return m
            left = deadline - time.time()
            if nudge and left > 0:
                self.type(nudge)
                self.read(0.3)
            elif left <= 0 or not self.read(left):
                raise AssertionError(f"{pattern!r} was not shown, but {self.seen[self.shown:]!r}")

    def modes(self):
        return termios.tcgetattr(self.fd)[:4]

    def status(self):
        deadline = time.time() + PATIENCE
        while time.time() < deadline:
            self.read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                while self.read(0.05):
                    pass
                return os.waitstatus_to_exitcode(status)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        raise AssertionError(f"still running; shown: {self.seen[self.shown:]!r}")

    def close(self):
        os.close(self.fd)
        self.fd = -1


def shell(*flags):
    p = Person(PICKET, "do", *flags, "-t", "--", "bash", "--norc", "--noprofile", "-i")
    p.expect(r"\$ ")
    return p


def leave(p):
    p.type("\rexit 7\r")
    assert p.status() == 7
    p.close()


def test_who():
    """The terminal is the controlling one, by its name, and of the right size."""
    p = Person(PICKET, "do", "-t", "--", "sh", "-c",
               "tty; stty size; ps -o tty= -p $$; test -t 0 && test -t 2 && echo yes >/dev/tty",
               rows=33, cols=77)
    p.expect(r"/dev/pts/0\r\n")
    p.expect(r"33 77\r\n")
    p.expect(r"pts/0\s*\r\n")
    p.expect(r"yes\r\n")
    assert p.status() == 0
    p.close()


def test_interrupt():
    p = shell()
    p.type("sleep 100\r")
    time.sleep(0.5)
    p.type("\x03")
    p.expect(r"\^C")
    p.expect(r"\$ ")
    p.type("echo status $?\r")
    p.expect(r"status 130\r\n")
    leave(p)


def test_jobs():
    p = shell()
    p.type("sleep 100\r")
    time.sleep(0.5)
    p.type("\x1a")
    p.expect(r"Stopped\s+sleep 100")
    p.expect(r"\$ ")
    p.type("bg\r")
    p.expect(r"\[1\]\+ sleep 100 &")
    p.type("jobs\r")
    p.expect(r"Running\s+sleep 100")
    p.type("fg\r")
    p.expect(r"sleep 100\r\n")
    time.sleep(0.3)
    p.type("\x03")
    p.expect(r"\$ ")
    p.type("cat &\r")
    p.expect(r"\[1\] \d+")
    time.sleep(0.5)
    p.type("\r")
    p.expect(r"Stopped\s+cat")
    p.type("fg\r")
    p.expect("fg\r\n.*cat\r\n")
    p.type("typed\r")
    p.expect("typed\r\ntyped\r\n")
    p.type("\x04")
    p.expect(r"\$ ")
    leave(p)


def test_completion():
    """Tab, and the keys of a line editor."""
    p = shell()
    p.type("cat /etc/passw\t")
    p.expect("passw\x07?d")
    p.type("\x15echo on\x7f\x7fgo\x01\x05ne\r")
    p.expect("gone\r\n")
    p.type("\x1b[A")
    p.expect("echo gone")
    leave(p)


def test_resize():
    p = shell()
    p.type("trap 'echo now $(stty size)' WINCH; echo re''ady\r")
    p.expect(r"ready\r\n")
    p.resize(40, 100)
    p.expect(r"now 40 100\r\n", nudge="\r")  # bash runs a trap when it has read a line
    leave(p)


def test_vi():
    if not os.path.exists("/usr/bin/vi"):
        return
    p = shell("--cwd", "/tmp")
    p.type("vi new.txt\r")
    p.expect("new.txt")
    p.type("iHello, world\x1b:wq\r")
    p.expect(r"\$ ")
    p.type("cat new.txt; echo done\r")
    p.expect("Hello, world\r\ndone\r\n")
    leave(p)


def test_top():
    if not os.path.exists("/usr/bin/top"):
        return
    p = shell()
    p.type("top -d 1\r")
    p.expect("Tasks:")
    p.expect("bash")
    p.type("q")
    p.expect(r"\$ ")
    leave(p)


def test_editors():
    p = shell("--cwd", "/tmp")
    for program, keys in (("vim.tiny", "iby vim.tiny\x1b:wq\r"), ("nano", "by nano\x0f\r\x18")):
        if not shutil.which(program):
            continue
        p.type(f"{program} by.{program}\r")
        p.expect(r"\x1b\[.*by\." + program)
        time.sleep(0.5)
        p.type(keys)
        p.expect(r"\$ ")
        p.type(f"clear; cat by.{program}; echo done\r")
        p.expect(f"by {program}\r\ndone\r\n")
    if shutil.which("less"):
        p.type("seq 1000 | less\r")
        p.expect("10\r\n")
        p.type("/^777\r")
        p.expect("777")
        p.type("G")
        p.expect(r"1000\r\n.*END")
        p.type("q")
        p.expect(r"\$ ")
    leave(p)


def test_tmux():
    """Two terminals of tmux's own, its server, and what it shows of them."""
    if not shutil.which("tmux"):
        return
    p = shell()
    p.type("tmux -f /dev/null new bash --norc\r")
    p.expect(r"\[0\] ?0:bash")
    p.type("echo $((6 * 7)) $(tty) | tr 0-9 a-j\r")
    p.expect("ec /dev/pts/[a-j]")
    time.sleep(0.5)  # keys that come together are taken for a paste
    p.type("\x02%")
    p.expect(r"[#$] ")
    p.type("tmux list-panes | wc -l | tr 2 B; sleep 100\r")
    p.expect("B")
    p.type("\x03")
    time.sleep(0.5)
    p.type("\x02")
    time.sleep(0.1)
    p.type("d")
    p.expect("detached")
    p.type("tmux kill-server; tmux ls\r")
    p.expect("no server running")
    leave(p)


def test_screen():
    if not shutil.which("screen"):
        return
    p = shell()
    p.type("screen -c /dev/null -s /bin/sh\r")
    time.sleep(2)
    p.type(" ")  # its greeting
    p.expect(r"[#$] ")
    p.type("echo $((6 * 7)) | tr 42 db\r")
    p.expect("db")
    p.type("\x01d")
    p.expect("detached")
    p.type("screen -ls | grep -c Detached; screen -X quit\r")
    p.expect(r"1\r\n")
    leave(p)


def test_login():
    """Users of the sandbox's own: su and login, with PAM. The root: ROOTFS, or else the host's."""
    root = os.environ.get("ROOTFS")
    if os.getuid() != 0 or not root and not os.path.exists("/usr/sbin/useradd"):
        return
    p = shell(*["--rootfs", root] if root else [])
    p.type("useradd -s /bin/bash -m joe && echo joe:secret | chpasswd; echo made $?\r")
    p.expect(r"made 0\r\n")
    p.type("su - joe\r")
    p.expect(r"joe@")
    p.type("echo $(id -un) $(tty) $(ps -o tty= -p $$) $HOME\r")
    p.expect(r"joe /dev/pts/0 pts/0 /home/joe\r\n")
    p.type("su -\r")
    p.expect("Password: ")
    p.type("wrong\r")
    p.expect("Authentication failure")
    p.type("exit\r")
    p.expect(r"\$ ")
    p.type("login joe\r")
    p.expect("Password: ")
    p.type("secret\r")
    p.expect(r"joe@.*\$ ")
    p.type("echo $(whoami) in $PWD; sleep 100\r")
    p.expect(r"joe in /home/joe\r\n")
    time.sleep(1)
    p.type("\x03")
    p.expect(r"\$ ")
    p.type("exit\r")
    p.expect(r"\$ ")
    leave(p)


def test_much_output():
    p = Person(PICKET, "do", "-t", "--", "sh", "-c", "seq 200000; echo end")
    assert p.status() == 0
    assert p.seen.endswith("200000\r\nend\r\n"), p.seen[-80:]
    assert p.seen.count("\n") == 200001
    p.close()


def test_much_input():
    p = Person(PICKET, "do", "-t", "--", "sh", "-c", "stty -echo; echo ready; cat | md5sum")
    p.expect("ready\r\n")
    for n in range(2000):
        p.type(f"line {n} of many\n")
    p.type("\x04")
    p.expect("[0-9a-f]{32}  -")
    assert p.status() == 0
    p.close()


def test_restored():
    """The host's terminal gets its modes back, however the end comes."""
    for sig in (None, signal.SIGTERM, signal.SIGKILL):
        p = Person(PICKET, "do", "-t", "--", "sh", "-c", "echo started; sleep 0.5" if sig is None
                   else "echo started; sleep 100")
        p.expect("started")
        assert not p.modes()[3] & termios.ECHO, "not raw"
        if sig:
            os.kill(p.pid, sig)
        status = p.status()
        assert status == {None: 0, signal.SIGTERM: 143, signal.SIGKILL: -9}[sig], status
        deadline = time.time() + 5
        while not p.modes()[3] & termios.ECHO and time.time() < deadline:
            time.sleep(0.05)
        iflag, oflag, _, lflag = p.modes()
        assert iflag & termios.ICRNL and oflag & termios.OPOST, "input and output modes"
        assert lflag & termios.ICANON and lflag & termios.ECHO and lflag & termios.ISIG, "modes"
        p.close()


def test_hang_up():
    """The host's terminal is closed: SIGHUP inside, and the end."""
    p = Person(PICKET, "do", "-t", "--", "sh", "-c", "echo started; sleep 100")
    p.expect("started")
    p.close()
    assert p.status() in (129, -1)


def test_nobody_there():
    """Without a terminal, -t is refused."""
    null = os.open("/dev/null", os.O_RDWR)
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(null, 0)
        os.dup2(w, 2)
        os.execv(PICKET, [PICKET, "do", "-t", "--", "true"])
    os.close(w)
    said = os.read(r, 4096).decode()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 125
    assert "not a terminal" in said, said


def main():
    names = sys.argv[2:] or [n[5:] for n in globals() if n.startswith("test_")]
    failed = 0
    for name in names:
        try:
            globals()["test_" + name]()
            print(f"ok    {name}", flush=True)
        except (AssertionError, OSError) as e:
            failed += 1
            print(f"FAIL  {name}: {e}", flush=True)
    sys.exit(1 if failed else 0)


PICKET = sys.argv[1]
main()
