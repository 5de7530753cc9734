#!/usr/bin/env bash
# An idle sandbox uses no CPU, and little memory.
. "$(dirname "$0")/lib.sh"

rm -f ready
: >ready
"$picket" 'do' --volume "$work:/mnt" -- sh -c 'echo > /mnt/ready; sleep 30' </dev/null >out 2>&1 &
pid=$!
wait_for ready
sleep 0.5

cpu() { # ticks of user and system time of all its processes
    local p sum=0 fields
    for p in $(tree_of $pid); do
        fields=$(sed 's/.*) //' "/proc/$p/stat" 2>/dev/null) || continue
        # shellcheck disable=SC2086
        set -- $fields
        sum=$((sum + ${12} + ${13}))
    done
    echo $sum
}
switches() {
    for p in $(tree_of $pid); do
        cat /proc/"$p"/task/*/status 2>/dev/null
    done | awk '/ctxt_switches/ { sum += $2 } END { print sum }'
}
pss() { # KiB
    for p in $(tree_of $pid); do
        awk '/^Pss:/ { print $2 }' "/proc/$p/smaps_rollup" 2>/dev/null
    done | awk '{ sum += $1 } END { print sum }'
}
before=$(cpu) switched=$(switches)
sleep 3
equal 'no CPU time in three seconds' $(($(cpu) - before)) 0
check "hardly a wake-up: $(($(switches) - switched))" [ $(($(switches) - switched)) -le 5 ]
size=$(pss)
most=10240
ldd "$binary" | grep -q 'lib[au]san' && most=1000000 # sanitizers have their own idea of memory
check "at most $most KiB: $size" [ "$size" -le $most ]
kill -TERM $pid
wait $pid
finish
