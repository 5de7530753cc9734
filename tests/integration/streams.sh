#!/usr/bin/env bash
# Standard streams are passed through: files, pipes, terminals, closed ones.
. "$(dirname "$0")/lib.sh"
need python3

equal 'stdin from a pipe' "$(echo through | sandbox -- cat)" through
echo from-file >in
equal 'stdin from a file' "$(sandbox -- cat <in)" from-file
sandbox -- sh -c 'echo out; echo err >&2' >out 2>err
equal 'stdout to a file' "$(cat out)" out
equal 'stderr to another' "$(cat err)" err
echo first >out
sandbox -- echo second >>out
equal 'appending' "$(cat out)" 'first
second'
opened_again() { # what a shell does to its own output leaves the same bytes natively and inside
    local native
    echo start >out
    bash -c "$1" >out
    native=$(od -c out)
    echo start >out
    sandbox -- bash -c "$1" >out
    equal "opened again: $1" "$(od -c out)" "$native"
}
opened_again 'echo one; echo two >/dev/stdout'
opened_again 'echo one; echo two >>/dev/stdout; echo three'
opened_again 'printf 1234567; exec 3<>/dev/stdout; echo x >&3; echo end'
equal 'read again from its start' \
    "$(printf 'one\ntwo\n' >in; sandbox -- sh -c 'read x; cat /dev/stdin; cat' <in | tr '\n' ' ')" 'one two two '

equal 'ten megabytes through pipes' "$(head -c 10000000 /dev/zero | sandbox -- cat | wc -c)" 10000000
equal 'a reader that leaves' "$(sandbox -- seq 1 10000000 | head -n 1)" 1
equal 'closed stdin' "$(sandbox -- sh -c 'read x; echo $?' <&- 2>/dev/null)" 1
equal 'closed stdout' "$(sandbox -- sh -c 'echo x; echo $? >&2' 2>&1 >&- | tail -n 1)" 1
equal 'stdin at its end' "$(sandbox -- cat </dev/null | wc -c)" 0
equal 'position is shared' "$(printf 'one\ntwo\n' >in; (sandbox -- sh -c 'read x; echo $x'; cat) <in | sort | tr '\n' ' ')" 'one two '
equal 'closing reaches the other end' \
    "$("$picket" 'do' -- sh -c 'echo x; exec >&- 2>&-; sleep 3' 2>/dev/null | timeout 2 cat; echo "${PIPESTATUS[1]}")" 'x
0'

terminal() { # runs "picket do -- COMMAND" on a terminal of its own, typing $typed, resting at "|"
    timeout -k 5 "$limit" python3 - "$picket" "$@" <<'P'
import os, pty, sys, time
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], [sys.argv[1], "do", "--"] + sys.argv[2:])
for text in os.environ.get("typed", "").split("|"):
    time.sleep(0.5)
    os.write(fd, text.encode())
out = b""
try:
    while chunk := os.read(fd, 4096):
        out += chunk
except OSError:
    pass
sys.stdout.write(out.decode().replace("\r", ""))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
P
}
equal 'a terminal is one' "$(typed='' terminal sh -c 'test -t 0 && test -t 1 && stty size >/dev/null && echo yes')" yes
contains 'typing' "$(typed=$'hello\n' terminal sh -c 'read x; echo "got $x"')" 'got hello'
contains 'a shell on it' "$(typed=$'echo $((6 * 7))\nexit 3\n' terminal bash --norc -i)" 42
contains 'Ctrl-C is for the foreground' \
    "$(typed=$'sleep 30\n|\003|echo $? then\nexit\n' terminal bash --norc -i)" '130 then'
typed=$'\003' terminal sleep 30 >/dev/null
equal 'Ctrl-C' $? 130
finish
