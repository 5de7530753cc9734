#!/usr/bin/env bash
# strace, gdb and ltrace inside the sandbox, on programs inside: as natively.
programs=$(readlink -f "$(dirname "$0")/programs")
. "$(dirname "$0")/lib.sh"
need strace gdb ltrace gcc

gcc -g -O0 -pthread -o debuggee "$programs/debuggee.c" || exit 1
unset DEBUGINFOD_URLS

# ---- strace: the same calls, in any order where there are several tasks ----

# Names of calls and of errors; the halves of an interrupted line are one call.
calls() {
    grep -v -e resumed -e '^strace: ' -e '^+++' -e '^---' "$1" | grep -o -e '^[0-9]* *[a-z][a-z0-9_]*(' |
        sed 's/^[0-9]* *//'
}
traced() { # WHAT COMMAND...: with what the command prints
    local what=$1
    shift
    strace -f -o native.trace "$@" >native.out 2>&1
    sandbox --volume "$work:$work" -- strace -f -o sandbox.trace "$@" >sandbox.out 2>&1
    equal "strace: $what: output" "$(cat sandbox.out)" "$(cat native.out)"
    calls native.trace >native.calls
    calls sandbox.trace >sandbox.calls
    if [ "$what" = one ]; then
        check "strace: $what: calls" cmp native.calls sandbox.calls
    else
        # What two tasks do to each other depends on who is faster.
        for name in clone vfork execve exit_group exit clone3 pipe2 pipe dup2; do
            equal "strace: $what: $name" "$(grep -c "^$name(" sandbox.calls)" "$(grep -c "^$name(" native.calls)"
        done
    fi
    equal "strace: $what: ends" "$(grep -c '+++ exited' sandbox.trace)" "$(grep -c '+++ exited' native.trace)"
}
traced one ls /etc
traced pipeline sh -c 'seq 100 | sort -n | tail -n 1'
traced threads ./debuggee threads
traced child ./debuggee child

out=$(sandbox -- strace -e trace=none -e signal=all sh -c 'kill -TERM $$' 2>&1)
contains "strace: a signal" "$out" '--- SIGTERM {si_signo=SIGTERM, si_code=SI_USER'
contains "strace: killed by it" "$out" '+++ killed by SIGTERM +++'

out=$(sandbox -- strace -f --inject=getppid:retval=4711 sh -c 'echo $PPID' 2>&1 | grep -v getppid)
contains "strace: a result changed" "$out" 4711
out=$(sandbox -- strace --inject=openat:error=EMFILE:when=2 cat /etc/passwd 2>&1)
contains "strace: an error injected" "$out" 'EMFILE (Too many open files) (INJECTED)'
out=$(sandbox -- strace --seccomp-bpf -f -e trace=execve ./debuggee child 2>&1 | grep -c execve)
equal "strace: with a filter of its own" "$out" 2

out=$(sandbox -- sh -c './debuggee loop & sleep 0.2
    timeout -s INT 1 strace -p $! 2>&1 | grep -c nanosleep >count; kill $!; wait $!; echo $? $(cat count)')
equal "strace: attaches and lets go" "${out%% *}" 143
check "strace: sees calls of what it attached to" test "${out##* }" -gt 3

# ---- gdb ----

# What the program prints would come between gdb's words. Addresses, process ids and temporary names differ between any two runs.
cat >run_gdb <<'END'
#!/bin/sh
exec gdb -nx -batch -ex 'set debuginfod enabled off' -ex 'set width 0' "$@" 2>&1 </dev/null
END
chmod +x run_gdb
settled() {
    sed -E -e 's/0x[0-9a-f]{6,}/ADDRESS/g' -e 's/(process|LWP) [0-9]+/\1 N/g' -e '/libthread_db/d' -e 's/  +/ /g'
}
debugged() { # WHAT ARGUMENTS OF GDB...
    local what=$1
    shift
    ./run_gdb "$@" | settled >native.gdb
    sandbox -- ./run_gdb "$@" | settled >sandbox.gdb
    if cmp -s native.gdb sandbox.gdb; then
        pass "gdb: $what"
    else
        fail "gdb: $what" "$(differences native.gdb sandbox.gdb 30)"
    fi
}
debugged "breakpoint, backtrace, variables" -ex 'break factorial if n == 2' -ex 'run >/dev/null' -ex bt -ex 'print n' \
    -ex 'info registers rip rdi' -ex 'print $eflags & 0x100' -ex finish -ex delete -ex c ./debuggee
debugged "steps" -ex 'break twice' -ex 'run >/dev/null' -ex stepi -ex step -ex next -ex up -ex 'x/3i $pc' -ex 'delete' -ex c ./debuggee
debugged "a watchpoint in software" -ex 'set can-use-hw-watchpoints 0' -ex 'break twice' -ex 'run >/dev/null' \
    -ex 'watch watched' -ex c -ex c -ex delete -ex c ./debuggee
debugged "a signal is caught" -ex 'run >/dev/null' -ex bt -ex 'print $_siginfo.si_signo' -ex c ./debuggee
debugged "a function is called" -ex 'break factorial' -ex 'run >/dev/null' -ex 'print twice(21)' -ex 'print watched' \
    -ex 'print factorial(4)' -ex delete -ex 'set var n = 3' -ex c ./debuggee
debugged "system calls are caught" -ex 'catch syscall wait4' -ex 'run >/dev/null' -ex c -ex c --args ./debuggee child
debugged "a child is followed" -ex 'set follow-fork-mode child' -ex 'catch exec' -ex 'run >/dev/null' -ex 'info inferiors' \
    -ex c --args ./debuggee child
debugged "floating point" -ex 'break factorial' -ex 'run >/dev/null' -ex 'set $xmm3.v2_double[0] = 2.5' -ex stepi \
    -ex 'print $xmm3.v2_double[0]' -ex 'print $mxcsr' -ex 'print $st0' -ex kill ./debuggee

out=$(sandbox -- ./run_gdb -ex 'break work' -ex run -ex 'info threads' -ex 'thread apply all bt 1' \
    -ex delete -ex c --args ./debuggee threads)
contains "gdb: threads: a breakpoint" "$out" 'hit Breakpoint 1, work'
equal "gdb: threads: new ones" "$(grep -c '^\[New Thread' <<<"$out")" 3
contains "gdb: threads: they go on" "$out" 'counted 9'
contains "gdb: threads: the end" "$out" 'exited normally]'

out=$(sandbox -- bash -c './debuggee loop & sleep 0.3
    ./run_gdb -p $! -ex bt -ex "print twice(21)" -ex "print watched" -ex detach; kill $!; wait $!; echo status $?')
contains "gdb: attach: where it is" "$out" 'main (argc=2'
contains "gdb: attach: a call" "$out" '$1 = 42'
contains "gdb: attach: its effect" "$out" '$2 = 21'
contains "gdb: attach: detached" "$out" 'detached]'
contains "gdb: attach: it goes on" "$out" 'status 143'

# ---- ltrace ----

out=$(sandbox -- ltrace ./debuggee child 2>&1)
contains "ltrace: a call" "$out" 'fork()'
contains "ltrace: its arguments" "$out" 'printf("child %d\n", 0'
contains "ltrace: the end" "$out" '+++ exited (status 0) +++'
finish
