#!/usr/bin/env bash
# Terminals: an interactive shell at a terminal of the sandbox's own.
here=$(readlink -f "$(dirname "$0")")
. "$(dirname "$0")/lib.sh"
need python3 bash ps stty

for name in who interrupt jobs completion resize vi editors top tmux screen login much_output much_input restored hang_up \
    nobody_there; do
    check "$name" timeout -k 5 "$limit" python3 "$here/tty.py" "$picket" "$name"
done

# With PICKET_LONG=1: another root, made by debootstrap from a mirror.
if [ -n "${PICKET_LONG:-}" ]; then
    need debootstrap
    debootstrap --variant=minbase --include=login,passwd,procps bookworm root \
        "${PICKET_MIRROR:-http://deb.debian.org/debian}" >log 2>&1 || fail debootstrap "$(tail log)"
    check 'login to a root of its own' env ROOTFS="$work/root" \
        timeout -k 5 "$limit" python3 "$here/tty.py" "$picket" login
fi
finish
