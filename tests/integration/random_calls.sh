#!/usr/bin/env bash
# Processes that make system calls at random: the sandbox lives, and nothing outside changes.
#
# PICKET_SEED and PICKET_RUNS (each a few seconds) choose others and more.
programs=$(readlink -f "$(dirname "$0")/programs")
. "$(dirname "$0")/lib.sh"
need gcc

gcc -D_GNU_SOURCE -O1 -static -pthread -o random_calls "$programs/random_calls.c" || exit 1
mkdir host
echo untouched >host/file

seed=${PICKET_SEED:-1}
for run in $(seq "${PICKET_RUNS:-4}"); do
    what="seed $seed"
    sandbox --volume "$work/host:/mnt:ro" -- ./random_calls "$seed" 4 >out 2>err </dev/null
    equal "$what: status" $? 0
    contains "$what: process 1 saw the end" "$(tr -d '\0' <out)" processes
    equal "$what: no complaint" "$(grep -a '^picket\|ERROR\|runtime error' err)" ""
    seed=$((seed + 1000 + run))
done
equal "the host's file" "$(cat host/*)" untouched
equal "nothing was left" "$(ls host)" file
finish
