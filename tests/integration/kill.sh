#!/usr/bin/env bash
# kill -9 of any process of the sandbox leaves none behind, and the host as it was.
. "$(dirname "$0")/lib.sh"

start() {
    rm -f ready
    : >ready
    "$picket" 'do' --volume "$work:/mnt" -- bash -c 'sleep 30 & (sleep 30; true) & sh -c "sleep 30; true" &
        sleep 0.3; echo > /mnt/ready; wait' </dev/null >out 2>&1 &
    pid=$!
    wait_for ready
    # shellcheck disable=SC2207
    all=($(tree_of $pid))
}

start
[ "$platform" = kvm ] || # where the sentry is the only process
    check 'there are stubs to kill' [ ${#all[@]} -gt 3 ]
kill -KILL $pid
wait $pid
check 'the sentry killed: no process stays' all_gone "${all[@]}"

stubs=$((${#all[@]} - 1))
[ $stubs -le 6 ] || stubs=6
for i in $(seq $stubs); do
    start
    victim=${all[i]:-}
    [ -n "$victim" ] || continue
    kill -KILL "$victim"
    sleep 0.3
    for _ in 1 2 3; do
        kill -TERM $pid 2>/dev/null
        sleep 0.2
    done
    wait $pid
    status=$?
    check "stub $i killed: the sandbox can be ended (status $status)" [ $status -ne 0 ]
    check "... and no process stays" all_gone "${all[@]}"
done

# A process that sleeps dies when its stub does, not when it wakes up.
start
[ "$platform" = kvm ] || {
    kill -KILL "${all[@]:1}"
    for _ in $(seq 50); do
        kill -0 $pid 2>/dev/null || break
        sleep 0.1
    done
    check 'all stubs killed: the sandbox ends at once' all_gone $pid
}
kill -KILL $pid 2>/dev/null
wait $pid
check '... and no process stays' all_gone "${all[@]}"

for delay in 0.002 0.005 0.01 0.02 0.05; do
    "$picket" 'do' -- bash -c 'for i in $(seq 200); do /bin/true; done' </dev/null >out 2>&1 &
    pid=$!
    sleep $delay
    # shellcheck disable=SC2207
    all=($(tree_of $pid))
    kill -KILL $pid
    wait $pid 2>/dev/null
    check "the sentry killed after $delay s" all_gone "${all[@]}"
done
finish
