#!/usr/bin/env bash
# An application that wants out of its volume, with somebody on the host who helps, and what a broken
# host does to it. No byte outside the exported directories is read or written.
# The races take 10,000 turns each here; PICKET_ATTACK_TURNS=500000 makes it a million.
programs=$(readlink -f "$(dirname "$0")/programs")
. "$(dirname "$0")/lib.sh"
need gcc python3
gcc -D_GNU_SOURCE -O1 -static -o attack "$programs/attack.c" || exit 1
turns=${PICKET_ATTACK_TURNS:-10000}
limit=$((60 + turns / 500))

# A root of its own: the host's would show what is outside.
mkdir root out
cp attack root/
printf 'outside%093d' 0 >out/secret
mkdir out/sub
cp out/secret out/sub/

fresh() {
    rm -rf rw
    mkdir -p rw/d/sub
    echo inside >rw/d/secret
    echo inside >rw/d/sub/secret
    ln -s ../out rw/l
}
outside() { (cd out && find . -printf '%p %y %m %s %n %u %T@ %C@\n' | sort && sha256sum secret sub/secret); }
inside() { sandbox --rootfs root --volume "$work/rw:/mnt" -- /attack "$@"; }

before=$(outside)
fresh
./attack swap rw &
swapper=$!
equal "a race with the host, $turns turns" "$(inside below /mnt "$turns")" 'opened some'
kill -KILL $swapper
wait $swapper 2>/dev/null
equal '... the outside is as it was' "$(outside)" "$before"

fresh
"$picket" 'do' --rootfs root --volume "$work/rw:/mnt" -- /attack swap /mnt </dev/null &
swapper=$!
equal "a race with another sandbox, $turns turns" "$(inside below /mnt "$turns")" 'opened some'
kill -KILL $swapper
wait $swapper 2>/dev/null
equal '... the outside is as it was' "$(outside)" "$before"

fresh
mkfifo rw/fifo
if mknod rw/null c 1 3 2>/dev/null; then
    equal 'other ways' "$(inside probe /mnt)" probed
    equal '... the outside is as it was' "$(outside)" "$before"
    equal '... the odd name is on the host' "$(cd rw && printf '%q' $'\xff'*)" "$(printf '%q' $'\xff\xfe\x80\n\x01')"
else
    printf 'not tested: other ways (device nodes can only be made by root)\n'
fi

# ---- a broken host ----

fresh
sandbox --volume "$work/rw:/mnt" -- bash -c 'exec 5</mnt/d/secret; cat /mnt/d/secret; echo >/mnt/ready
    while [ -e /mnt/ready ]; do sleep 0.05; done; cat <&5; ls /mnt/d; cat /mnt/d/secret; echo "status $?"' \
    </dev/null >gone.out 2>&1 &
wait_for rw/ready
rm -rf rw/d rw/ready
wait $!
got=$(sed -E 's/.*(No such file or directory|Stale file handle).*/gone/' gone.out | paste -sd ' ')
equal 'a file that vanishes on the host' "$got" 'inside inside gone gone status 1'

fresh
head -c 20000 /dev/zero >rw/mapped
sandbox --volume "$work/rw:/mnt" -- python3 -c '
import mmap, os, time
m = mmap.mmap(os.open("/mnt/mapped", os.O_RDONLY), 20000, prot=mmap.PROT_READ)
m[16384]
open("/mnt/ready", "w").write("ready")
while os.path.exists("/mnt/ready"):
    time.sleep(0.05)
print("first", m[0], flush=True)
print("last", m[16384])' </dev/null >bus.out 2>&1 &
wait_for rw/ready
truncate -s 100 rw/mapped
rm rw/ready
wait $!
equal 'a mapped file that is cut on the host: SIGBUS' "$? $(cat bus.out)" '135 first 0'

mkdir small
if mount -t tmpfs -o size=1M,nr_inodes=64 tmpfs small 2>/dev/null; then
    got=$(sandbox --volume "$work/small:/mnt" -- sh -c 'head -c 3000000 /dev/zero >/mnt/big; echo "status $?"; wc -c </mnt/big
        rm /mnt/big; for i in $(seq 100); do touch /mnt/$i || break; done 2>&1; mkdir /mnt/dir; ln -s x /mnt/link' 2>&1)
    contains 'a full disk of the host: no space' "$got" 'No space left on device'
    contains '... as much as there was' "$got" 1048576
    equal '... for files, directories and links' "$(grep -c 'No space left on device' <<<"$got")" 4
    umount small
else
    printf 'not tested: a full disk (only root can mount a small one)\n'
fi
contains 'a full tmpfs' "$(sandbox -- sh -c 'mkdir /t; mount -t tmpfs -o size=1M tmpfs /t
    head -c 3000000 /dev/zero >/t/big' 2>&1)" 'No space left on device'
finish
