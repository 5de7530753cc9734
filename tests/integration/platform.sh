#!/usr/bin/env bash
# --platform: each by its name, and what it says where /dev/kvm is missing or may not be used. With
# auto, the sandbox runs all the same.
. "$(dirname "$0")/lib.sh"
need setpriv unshare mount
[ "$(id -u)" = 0 ] || skip 'only root can take /dev/kvm away'

# Status, lines and text of picket do --platform=NAME, run by COMMAND...
attempt() { # NAME COMMAND...
    local name=$1
    shift
    status=$("$@" timeout "$limit" "$binary" 'do' --platform="$name" -- true >out 2>&1 </dev/null; echo $?)
    lines=$(wc -l <out)
}
refused() { # WHAT TEXT COMMAND...
    local what=$1 text=$2
    shift 2
    attempt kvm "$@"
    equal "$what: kvm ends with" "$status" 125
    equal '... and one line' "$lines" 1
    contains '... that says why' "$(cat out)" "$text"
    for name in auto ptrace; do
        attempt "$name" "$@"
        equal "$what: $name runs" "$status, $(cat out)" '0, '
    done
}

attempt ptrace env
equal 'ptrace runs' "$status" 0
attempt auto env
equal 'auto runs' "$status" 0
if [ -w /dev/kvm ]; then
    attempt kvm env
    equal 'kvm runs' "$status" 0
fi
chmod 755 .
if [ -e /dev/kvm ] && ! setpriv --reuid 65534 --regid 65534 --clear-groups test -w /dev/kvm; then
    refused 'no permission' 'cannot open /dev/kvm: Permission denied' \
        setpriv --reuid 65534 --regid 65534 --clear-groups
fi

# In a namespace of mounts of its own, /dev/kvm goes, or is something else.
# shellcheck disable=SC2016 # for that shell
without_kvm='mount -t tmpfs dev "$0/dev" && mkdir "$0/dev/shm" &&
    for n in null zero tty urandom random full; do
        touch "$0/dev/$n" && mount --bind "/dev/$n" "$0/dev/$n" || exit 1
    done && mount --rbind "$0/dev" /dev && exec "$@"'
mkdir dev
if unshare -m true 2>/dev/null; then
    refused 'no device' 'cannot open /dev/kvm: No such file or directory' \
        unshare -m sh -c "$without_kvm" "$work"
    if [ -e /dev/kvm ]; then
        # shellcheck disable=SC2016 # for the shell in the namespace
        refused 'another device' 'this KVM is too old' \
            unshare -m sh -c 'mount --bind /dev/null /dev/kvm && exec "$@"' sh
    fi
fi

"$binary" 'do' --platform=auto --debug --log log -- true </dev/null
check 'the log says how auto chose' grep -q 'platform \(kvm\|ptrace\).*\(fastest\|system call\)' log
finish
