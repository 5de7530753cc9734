#!/usr/bin/env bash
# Signals from outside end the sandbox, and nothing of it stays.
. "$(dirname "$0")/lib.sh"
need python3

# start COMMAND...: in the background, its process in $pid, when it has written to "ready". (The
# shell lets its background processes ignore SIGINT and SIGQUIT, and Picket would respect that.)
start() {
    rm -f ready
    : >ready
    env --default-signal=INT,QUIT "$picket" 'do' --volume "$work:/mnt" -- "$@" </dev/null >out 2>&1 &
    pid=$!
    wait_for ready
    # shellcheck disable=SC2207
    all=($(tree_of $pid))
}

status() { # of $pid, within ten seconds
    local i
    for i in $(seq 200); do
        if ! kill -0 "$pid" 2>/dev/null || [ -z "$(still_running "$pid")" ]; then
            wait "$pid"
            return
        fi
        sleep 0.05
    done
    kill -KILL "$pid"
    printf '      still there after %s tries\n' "$i"
    return 99
}

for sig in TERM INT HUP QUIT; do
    start sh -c 'ulimit -c 0; sleep 30 & echo > /mnt/ready; wait'
    kill -$sig $pid
    status
    equal "SIG$sig ends it" $? $((128 + $(kill -l $sig)))
    check '... and everything in it' all_gone "${all[@]}"
done

start bash -c 'trap "echo tidy > /mnt/tidied; exit 9" TERM; echo > /mnt/ready; while :; do sleep 0.1; done'
kill -TERM $pid
status
equal 'a handler runs' $? 9
equal '... to its end' "$(cat tidied)" tidy

start sh -c 'trap "" INT TERM; echo > /mnt/ready; sleep 30; sleep 30'
kill -INT $pid
sleep 0.2
kill -INT $pid
sleep 0.2
check 'a program may ignore them' kill -0 $pid
kill -INT $pid
status
equal 'but not three in a row' $? $((128 + 9))
check '... and everything goes' all_gone "${all[@]}"

"$picket" 'do' -- sleep 1 </dev/null &
sleep 0.3
kill -INT $!
wait $!
equal 'ignored by the caller, ignored inside' $? 0

start sh -c 'echo > /mnt/ready; kill -STOP $$'
sleep 0.2
for i in 1 2 3; do
    kill -TERM $pid
    sleep 0.3
done
status
check 'a stopped program ends too' [ $? -ge 128 ]
check '... and everything goes' all_gone "${all[@]}"

# Closing the terminal.
python3 - "$picket" "$work" <<'P'
import os, pty, sys, time
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], [sys.argv[1], "do", "--volume", sys.argv[2] + ":/mnt", "--", "sh", "-c",
                           "echo > /mnt/ready2; sleep 30; sleep 30"])
while not os.path.exists("ready2"):
    time.sleep(0.05)
with open("pid", "w") as f:
    f.write(str(pid))
os.close(fd)
deadline = time.time() + 10
while time.time() < deadline:
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        sys.exit(os.waitstatus_to_exitcode(status))
    time.sleep(0.05)
os.kill(pid, 9)
sys.exit(99)
P
equal 'closing the terminal' $? 129
finish
