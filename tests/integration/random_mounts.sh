#!/usr/bin/env bash
# Mounts, binds, moves and unmounts at random: the tree and its peer groups are what Linux makes of them.
#
# PICKET_SEED and PICKET_RUNS choose others and more.
programs=$(readlink -f "$(dirname "$0")/programs")
. "$(dirname "$0")/lib.sh"
need gcc unshare
unshare -m true 2>/dev/null || skip 'needs the right to mount'

gcc -D_GNU_SOURCE -O1 -static -o mounts "$programs/mounts.c" || exit 1

seed=${PICKET_SEED:-1}
for run in $(seq "${PICKET_RUNS:-60}"); do
    same ./mounts $((seed + run)) 80
done
finish
