"""terminal.py PICKET: a shell with job control on a terminal of its own, in the sandbox.

Types lines, waits for what must appear, and prints one line for each step that went wrong."""

import fcntl
import os
import pty
import select
import struct
import sys
import termios
import time

LIMIT = 20  # seconds for one step
STEPS = [
    # typed, what must appear after it
    ("tty\n", "/dev/pts/0"),
    ("stty size\n", "33 101"),
    ("sleep 100\n", None),
    ("\x03", "^C"),
    ("echo status=$?\n", "status=130"),
    ("sleep 200 &\n", "[1] "),
    ("jobs\n", "Running"),
    ("cat\n", None),
    ("hello\n", "hello\r\nhello"),
    ("\x1a", "Stopped"),
    ("kill %1; kill -9 %2; fg; echo done=$((6*7))\n", "done=42"),
    ("ps -o tty= -p $$; echo ps=$?\n", "pts/0"),
    ("test -t 0 && cat < /dev/tty\n", None),
    ("from tty\n", "from tty\r\nfrom tty"),
    ("\x04", None),
    ("printf 'end%s\\n' ing\n", "ending"),
]


class Terminal:
    def __init__(self, command):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ["PS1"] = "ready$ "
            os.execvp(command[0], command)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))

    def read_until(self, text, limit=LIMIT):
        seen, end = "", time.monotonic() + limit
        while text is None or text not in seen:
            ready, _, _ = select.select([self.fd], [], [], 0.3)
            if ready:
                try:
                    data = os.read(self.fd, 65536)
                except OSError:
                    return seen
                if not data:
                    return seen
                seen += data.decode(errors="replace")
            elif text is None or time.monotonic() > end:
                return seen
        return seen


def main():
    term = Terminal([sys.argv[1], "do", "--", "bash", "--norc", "--noediting", "-i"])
    failures = 0
    if "ready$" not in term.read_until("ready$"):
        print("no prompt")
        failures += 1
    for typed, wanted in STEPS:
        time.sleep(0.4)
        os.write(term.fd, typed.encode())
        seen = term.read_until(wanted)
        if wanted is not None and wanted not in seen:
            print(f"typed {typed!r}: got {seen!r}, not {wanted!r}")
            failures += 1
    os.write(term.fd, b"exit 7\n")
    term.read_until("no such text", 3)
    _, status = os.waitpid(term.pid, 0)
    if os.waitstatus_to_exitcode(status) != 7:
        print(f"status {status:#x}")
        failures += 1
    return 1 if failures else 0


sys.exit(main())
