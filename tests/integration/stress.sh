#!/usr/bin/env bash
# stress-ng --verify: what it checks must hold, whatever the calls and their order.
#
# PICKET_LONG=1: every stressor, ten seconds each. PICKET_STRESSORS: these.
. "$(dirname "$0")/lib.sh"
need stress-ng

quick='signal clone exec sem msg timer sigq sigsegv prctl dentry getdent link rename splice'
all='signal futex fork clone vfork exec pipe mq sem sem-sysv shm shm-sysv msg timer itimer nanosleep
    switch pthread wait zombie sigq sigsegv sigpending kill get set prctl seccomp rseq membarrier
    access chdir chmod chown copy-file dentry dir dirdeep dup eventfd fallocate fcntl file-ioctl
    filename flock fstat getdent inotify io iomix link locka lockf lockofd mknod open rename seek
    splice symlink sync-file tee touch utime vm-splice xattr'
seconds=1
if [ -n "${PICKET_LONG:-}" ]; then
    seconds=10 quick=$all
fi
limit=$((limit + 9 * seconds))

for stressor in ${PICKET_STRESSORS:-$quick}; do
    command=(stress-ng --verify "--$stressor" 2 --timeout "$seconds" --temp-path /tmp)
    as=()
    # It refuses to run programs as root.
    [ "$stressor" != exec ] || [ "$(id -u)" != 0 ] || as=(--user nobody)
    sandbox "${as[@]}" --cwd /tmp -- "${command[@]}" >log 2>&1 </dev/null
    status=$?
    if [ $status != 0 ]; then
        fail "$stressor: status $status" "$(grep -E 'fail|error' log | head -n 5)"
    elif grep -qE 'not implemented|skipp' log && ! "${command[@]}" 2>&1 | grep -q skipp; then
        fail "$stressor: left out" "$(grep -E 'not implemented|skipp' log | head -n 2)"
    else
        pass "$stressor"
    fi
done
finish
