#!/usr/bin/env bash
# The same random file operations natively and on each of the sandbox's file systems.
programs=$(readlink -f "$(dirname "$0")/programs")
. "$(dirname "$0")/lib.sh"
need gcc python3

gcc -D_GNU_SOURCE -O1 -static -o fsops "$programs/fsops.c" || exit 1

make_tree() {
    mkdir -p "$1"/a/b/c "$1"/dir/x "$1"/d
    echo hello >"$1"/a/file
    echo 2 >"$1"/a/b/x
    ln "$1"/a/file "$1"/dir/y
    ln -s a/file "$1"/e
    ln -s nowhere "$1"/a/y
    head -c 300000 /usr/bin/python3 >"$1"/x
    cp "$1"/x "$1"/dir/x/file
    ln "$1"/x "$1"/d/e
    mkfifo "$1"/c
    python3 -c "import os, sys; os.setxattr(sys.argv[1], 'user.one', b'v1')" "$1"/a/file
}

listing() {
    (cd "$1" && find . -printf '%p %y %m %s %n %l %T@\n' | sort &&
        find . -type f -exec sha256sum {} + | sort)
}

make_tree probe || skip "no user.* extended attributes here"
declare -f make_tree >make_tree.sh

# The upper bound of steps is the price of one run; other seeds are for other days.
for seed in ${PICKET_FSOPS_SEEDS:-1 2 3}; do
    steps=${PICKET_FSOPS_STEPS:-3000}
    make_tree native
    make_tree lower
    make_tree volume
    before=$(listing lower)
    ./fsops "$seed" "$steps" native >native.out
    equal "overlay, seed $seed: status" "$(status_of sandbox -- "$work"/fsops "$seed" 1 "$work"/lower)" 0
    sandbox -- "$work"/fsops "$seed" "$steps" "$work"/lower >overlay.out
    sandbox --volume "$work"/volume:/vol -- "$work"/fsops "$seed" "$steps" /vol >volume.out
    sandbox -- bash -c ". $work/make_tree.sh; make_tree /dev/shm/t
        exec $work/fsops $seed $steps /dev/shm/t" >tmpfs.out
    for fs in overlay volume tmpfs; do
        if cmp -s native.out $fs.out; then
            pass "$fs, seed $seed: $(wc -l <$fs.out) lines"
        else
            fail "$fs, seed $seed" "$(differences native.out $fs.out)"
        fi
    done
    equal "overlay, seed $seed: the host's tree is as it was" "$(listing lower)" "$before"
    equal "volume, seed $seed: the host's tree is the native one" \
        "$(listing volume | grep -v -E ' [dlp] ' | sed 's/ [0-9.]*$//')" \
        "$(listing native | grep -v -E ' [dlp] ' | sed 's/ [0-9.]*$//')"
    rm -rf native lower volume
done
finish
