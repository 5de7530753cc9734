#!/usr/bin/env bash
# Many sandboxes in a row leave no process behind. PICKET_MANY: how many (30 if not set; 500 on KVM).
. "$(dirname "$0")/lib.sh"

# By a name of its own, other sandboxes are told apart.
ln -s "$picket" "$work/picket-many"
ln -s "$binary" "$work/picket-many.binary"
picket=$work/picket-many
wrong=0
many=30
[ "$platform" != kvm ] || many=500
for i in $(seq "${PICKET_MANY:-$many}"); do
    sandbox -- sh -c "exit $((i % 100))" </dev/null >/dev/null 2>&1
    [ $? = $((i % 100)) ] || wrong=$((wrong + 1))
done
equal 'every sandbox ended with its own status' $wrong 0
equal 'no process stays' "$(pgrep -f "$picket")" ''
finish
