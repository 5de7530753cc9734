#!/usr/bin/env bash
# The gofer has the host's directories, the sentry none; and neither outlives the other.
. "$(dirname "$0")/lib.sh"

mkdir -p vol ro
echo rw >vol/file
echo ro >ro/file
start() { # then $pid is the sentry, $gofer its file server
    rm -f vol/ready
    : >vol/ready
    "$picket" 'do' ${platform:+"--platform=$platform"} --volume "$work/vol:/mnt" --volume "$work/ro:/ro:ro" -- \
        bash -c 'exec 5</mnt/file 6</ro/file 7</; cd /usr/share; ls -lR /etc >/dev/null; find /mnt /ro >/dev/null
            mkdir -p /mnt/a/b; cat /mnt/a/b/none 2>/dev/null; echo >/mnt/ready; sleep 30' </dev/null >out 2>err &
    pid=$!
    wait_for vol/ready
    # shellcheck disable=SC2207
    all=($(tree_of $pid))
    gofer=
    for p in "${all[@]}"; do
        [ "$(cat "/proc/$p/comm" 2>/dev/null)" != picket-gofer ] || gofer=$p
    done
}

# Descriptors of a process that are directories, and its working and root directory if not "/".
directories() {
    local fd target
    for fd in "/proc/$1"/fd/*; do
        target=$(readlink "$fd")
        case $target in /*) [ ! -d "$fd" ] || printf '%s ' "$target" ;; esac
    done
}

start
check 'there is a gofer' [ -n "$gofer" ]
equal 'the sentry has no directory open' "$(directories $pid)" ''
check 'it has files open' test "$(readlink /proc/$pid/fd/* | grep -c "^$work/vol/file\|/file$")" -gt 0
check 'the gofer has directories' test "$(directories "$gofer" | wc -w)" -gt 1
equal 'and no file' "$(for fd in /proc/"$gofer"/fd/*; do [ ! -f "$fd" ] || readlink "$fd"; done)" ''
equal 'it has no new privileges to get' "$(sed -n 's/^NoNewPrivs:\s*//p' /proc/"$gofer"/status)" 1
equal 'and a filter' "$(sed -n 's/^Seccomp:\s*//p' /proc/"$gofer"/status)" 2
if [ "$(id -u)" = 0 ]; then
    # CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID
    equal 'and few capabilities' "$(sed -n 's/^CapEff:\s*//p' /proc/"$gofer"/status)" 000000000000001f
    # As a sentry that has been taken over would: the same file anew, with other rights.
    readonly_fd=
    for fd in /proc/$pid/fd/*; do
        [ ! -f "$fd" ] || [ "$(head -c 3 "$fd" 2>/dev/null | tr -d '\0')" != ro ] || readonly_fd=$fd
    done
    check 'the sentry has the read-only file open' [ -n "$readonly_fd" ]
    check 'and cannot open it for writing' sh -c '! { echo hacked >"$0"; } 2>/dev/null' "$readonly_fd"
    check 'nor change its mode' sh -c '! chmod 777 "$0" 2>/dev/null' "$readonly_fd"
fi

before=$(date +%s%N)
kill -KILL "$gofer"
wait $pid
status=$?
took=$((($(date +%s%N) - before) / 1000000))
equal 'the gofer killed: the sandbox ends with 125' $status 125
check "... at once ($took ms)" [ $took -lt 2000 ]
equal '... with one line' "$(cat err)" \
    'picket: the file server process (gofer) was killed by signal 9: the sandbox is over'
check '... and no process stays' all_gone "${all[@]}"

start
kill -KILL "$pid"
wait $pid
check 'the sentry killed: the gofer ends' all_gone "${all[@]}"

start
kill -TERM "$pid"
wait $pid
check 'SIGTERM: all end' all_gone "${all[@]}"

start
kill -STOP "$gofer"
kill -KILL "$pid"
wait $pid
check 'a stopped gofer ends too' all_gone "${all[@]}"
for i in 1 2 3; do
    "$picket" 'do' -- sh -c 'find / -xdev -maxdepth 3 2>/dev/null | wc -l; sleep 5' </dev/null >out 2>err &
    pid=$!
    sleep 0.0$i
    # shellcheck disable=SC2207
    all=($(tree_of $pid))
    [ ${#all[@]} -gt 1 ] || continue
    kill -KILL "${all[1]}"
    wait $pid 2>/dev/null
    check "the first child killed after 0.0$i s: Picket ends (status $?)" all_gone "${all[@]}"
done
finish
