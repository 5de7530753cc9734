#!/usr/bin/env bash
# Programs that restrict themselves or others: libseccomp, bwrap, file(1).
programs=$(readlink -f "$(dirname "$0")/programs")
. "$(dirname "$0")/lib.sh"
need gcc bwrap file

gcc -O1 -o filtered "$programs/filtered.c" -lseccomp || exit 1
same ./filtered rules
same ./filtered notify
same file /bin/ls /etc/passwd /dev/null

./filtered export >filter
same bwrap --ro-bind / / --proc /proc --dev /dev --unshare-pid \
    sh -c 'echo $$; grep -e NoNewPrivs -e Seccomp: /proc/self/status'
# shellcheck disable=SC2016 # for the shell inside
same sh -c 'bwrap --ro-bind / / --proc /proc --dev /dev --seccomp 3 sh -c "grep Seccomp /proc/self/status; uname" 3<filter'
finish
