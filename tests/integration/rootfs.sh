#!/usr/bin/env bash
# --rootfs: another root, here one with nothing but busybox.
. "$(dirname "$0")/lib.sh"
need busybox

root=$work/root
mkdir -p "$root"/{bin,etc,tmp,proc,dev}
cp "$(command -v busybox)" "$root/bin/busybox"
for applet in sh ls cat echo id ps uname sleep; do
    ln -s busybox "$root/bin/$applet"
done
printf 'root:x:0:0:root:/root:/bin/sh\nuser:x:1234:1235::/home:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\nstaff:x:50:user\nusers:x:1235:\n' >"$root/etc/group"

r=(--rootfs "$root")
equal 'runs' "$(sandbox "${r[@]}" -- echo hello)" hello
equal 'sees only that' "$(sandbox "${r[@]}" -- cat /etc/passwd | wc -l)" 2
equal 'starts in /' "$(sandbox "${r[@]}" -- sh -c pwd)" /
equal 'writes stay in memory' "$(sandbox "${r[@]}" -- sh -c 'echo x > /tmp/x; cat /tmp/x'; ls "$root/tmp")" x
equal 'has /dev/null and /proc' "$(sandbox "${r[@]}" -- sh -c 'echo x > /dev/null && cat /proc/self/comm')" cat
equal 'cannot get out' "$(sandbox "${r[@]}" -- sh -c 'cd ../../..; ls -d usr home 2>/dev/null; echo $?')" 1
equal 'names are its own' "$(sandbox "${r[@]}" --user user -- sh -c 'id -u; id -g; id -G')" '1234
1235
1235 50'
equal 'not found in it' "$(status_of sandbox "${r[@]}" -- python3)" 127
finish
