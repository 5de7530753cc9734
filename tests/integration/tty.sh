#!/usr/bin/env bash
# Terminals: an interactive shell at a terminal of the sandbox's own.
here=$(readlink -f "$(dirname "$0")")
. "$(dirname "$0")/lib.sh"
need python3 bash ps stty

for name in who interrupt jobs completion resize vi top much_output much_input restored hang_up \
    nobody_there; do
    check "$name" timeout -k 5 "$limit" python3 "$here/tty.py" "$picket" "$name"
done
finish
