#!/usr/bin/env bash
# --user, --hostname, --env, --cwd.
. "$(dirname "$0")/lib.sh"

equal 'hostname' "$(sandbox --hostname box7 -- uname -n)" box7
equal 'the default hostname' "$(sandbox -- uname -n)" picket
equal 'user and group' "$(sandbox --user 1000:100 -- sh -c 'id -u; id -g')" '1000
100'
equal 'user alone' "$(sandbox --user 54321 -- sh -c 'id -u; id -g')" '54321
54321'
equal 'user by name' "$(sandbox --user nobody -- id -un)" nobody
equal 'user and group by name' "$(sandbox --user daemon:sys -- sh -c 'id -un; id -gn')" 'daemon
sys'
equal 'a user has no power' "$(sandbox --user 1000 -- sh -c 'cat /etc/shadow 2>&1 | grep -o denied; chown 0 /tmp 2>/dev/null; echo $?')" 'denied
1'
export PICKET_A=from-outside PICKET_B=too
equal 'the environment comes along' "$(sandbox -- sh -c 'echo $PICKET_A $PICKET_B')" 'from-outside too'
equal '--env sets' "$(sandbox --env PICKET_A=1 --env C='x y=z' -- sh -c 'echo $PICKET_A $PICKET_B $C')" '1 too x y=z'
equal '--env, the last wins' "$(sandbox --env D=1 --env D=2 -- sh -c 'echo $D')" 2
equal 'an empty value' "$(sandbox --env D= -- sh -c 'echo ${D-unset}.')" .
equal '--cwd' "$(sandbox --cwd /usr/lib -- pwd)" /usr/lib
equal 'here by default' "$(sandbox -- pwd)" "$(pwd -P)"
equal '--cwd that is not there' "$(status_of sandbox --cwd /no/such/dir -- true)" 125
equal 'PATH is searched' "$(sandbox --env "PATH=$work" -- env 2>/dev/null; echo $?)" 127
printf '#!/bin/sh\necho mine\n' >./env
chmod +x ./env
equal 'in the sandbox' "$(sandbox --env "PATH=$work" -- env)" mine
equal 'lsblk finds no disk, and no fault' "$(sandbox -- lsblk 2>&1; echo $?)" 0
# shellcheck disable=SC2016 # for the shell in the sandbox
equal 'the cgroup says who is in it, and cannot be changed' "$(sandbox -- sh -c 'cd /sys/fs/cgroup
    cat memory.max cpu.max cgroup.procs; [ "$(cat pids.max)" -gt 1000 ] && cat pids.current
    (echo 5 >pids.max) 2>/dev/null || echo kept; mkdir x 2>/dev/null || echo none; stat -f -c %T .')" \
    'max
max 100000
1
2
2
kept
none
cgroup2fs'
finish
