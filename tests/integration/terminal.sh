#!/usr/bin/env bash
# A terminal: its name, its size, job control, Ctrl-C and Ctrl-Z.
programs=$(readlink -f "$(dirname "$0")/programs")
. "$(dirname "$0")/lib.sh"
need python3 ps stty

check "a shell with job control" timeout -k 5 120 python3 "$programs/terminal.py" "$picket"
finish
