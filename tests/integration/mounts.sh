#!/usr/bin/env bash
# mount, umount, unshare and findmnt of util-linux, and bubblewrap, in the sandbox.
. "$(dirname "$0")/lib.sh"
need mount umount unshare findmnt bwrap
[ "$(id -u)" = 0 ] || skip 'needs root'

inside() { sandbox -- sh -c "mount -t tmpfs none /mnt; $1" 2>&1; }

equal 'mount and umount a tmpfs' "$(inside '
mkdir -p /mnt/m && mount -t tmpfs -o size=1m,mode=750 none /mnt/m && touch /mnt/m/f &&
findmnt -n -o FSTYPE,OPTIONS /mnt/m && stat -c %a /mnt/m && umount /mnt/m && ls /mnt/m')" \
    'tmpfs  rw,relatime,size=1024k,mode=750
750'

equal 'bind, remount read-only, move' "$(inside '
mkdir -p /mnt/a /mnt/b /mnt/c && touch /mnt/a/f && mount --bind /mnt/a /mnt/b &&
mount -o remount,ro,bind /mnt/b && touch /mnt/b/g; ls /mnt/b; touch /mnt/a/g && ls /mnt/b &&
mount --move /mnt/b /mnt/c && ls /mnt/c && ls /mnt/b')" \
    "touch: cannot touch '/mnt/b/g': Read-only file system
f
f
g
f
g"

equal 'unshare -m keeps its mounts to itself' "$(inside '
mkdir -p /mnt/m && unshare -m sh -c "mount -t tmpfs none /mnt/m && touch /mnt/m/f && ls /mnt/m" && ls /mnt/m')" f

equal 'a shared mount is seen in a namespace' "$(inside '
mkdir -p /mnt/m && mount -t tmpfs none /mnt/m && mount --make-shared /mnt/m && mkdir /mnt/m/in &&
unshare -m --propagation unchanged sh -c "mount -t tmpfs none /mnt/m/in && touch /mnt/m/in/f" &&
ls /mnt/m/in && findmnt -n -o PROPAGATION /mnt/m')" "f
shared"

equal 'umount -l and -R' "$(inside '
mkdir -p /mnt/m && mount -t tmpfs none /mnt/m && mkdir /mnt/m/n && mount -t tmpfs none /mnt/m/n &&
umount /mnt/m; umount -R /mnt/m && mount -t tmpfs none /mnt/m && cd /mnt/m && umount -l /mnt/m &&
findmnt -n /mnt/m; echo $?')" "umount: /mnt/m: target is busy.
1"

equal 'mounting a file' "$(inside '
echo one > /mnt/one; echo two > /mnt/two; mount --bind /mnt/one /mnt/two && cat /mnt/two &&
umount /mnt/two && cat /mnt/two')" "one
two"

equal 'bubblewrap makes a root of its own' "$(inside '
bwrap --ro-bind /usr /usr --symlink usr/lib /lib --symlink usr/lib64 /lib64 --symlink usr/bin /bin \
    --tmpfs /tmp --dir /var --dev /dev --proc /proc --chdir / sh -c "
        ls /; touch /usr/x; touch /tmp/x && ls /tmp; test -c /dev/null && ls /proc/self/fd | wc -l"')" \
    "bin
dev
lib
lib64
proc
tmp
usr
var
touch: cannot touch '/usr/x': Read-only file system
x
4"

equal 'bubblewrap over the whole root' "$(inside 'bwrap --bind / / sh -c "cd /mnt && echo x > y && cat y"; cat /mnt/y')" "x
x"

finish
