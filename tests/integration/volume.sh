#!/usr/bin/env bash
# --volume: the one way to the host's files.
. "$(dirname "$0")/lib.sh"

mkdir -p vol
echo host >vol/file
v=(--volume "$work/vol:/mnt")
equal 'read' "$(sandbox "${v[@]}" -- cat /mnt/file)" host
sandbox "${v[@]}" -- sh -c 'echo sandbox > /mnt/file; mkdir /mnt/dir; echo a > /mnt/dir/a; ln -s file /mnt/link;
    chmod 600 /mnt/dir/a; mv /mnt/dir/a /mnt/dir/b; touch -d @1000000000 /mnt/link'
equal 'a write reaches the host' "$(cat vol/file)" sandbox
equal 'a new file too' "$(stat -c '%a %s' vol/dir/b)" '600 2'
equal 'and a link' "$(readlink vol/link)" file
equal 'and times' "$(stat -c %Y vol/file)" 1000000000
sandbox "${v[@]}" -- rm -r /mnt/dir
check 'and a removal' test ! -e vol/dir
check 'its file system is synced' sandbox "${v[@]}" -- sync -f /mnt/file
equal 'it cannot be left' "$(sandbox "${v[@]}" -- sh -c 'cd /mnt/..; pwd; ls -d mnt')" '/
mnt'
ln -s /etc/hostname vol/out
equal 'a link leads within the sandbox' "$(sandbox "${v[@]}" -- sh -c 'rm /etc/hostname; cat /mnt/out 2>/dev/null; echo gone')" gone

ro=(--volume "$work/vol:/mnt:ro")
equal 'ro: read' "$(sandbox "${ro[@]}" -- cat /mnt/file)" sandbox
equal 'ro: no write' "$(sandbox "${ro[@]}" -- sh -c 'echo x > /mnt/file' 2>&1 | grep -o 'Read-only file system')" 'Read-only file system'
sandbox "${ro[@]}" -- sh -c 'rm /mnt/file; touch /mnt/new; chmod 777 /mnt/file; mv /mnt/file /mnt/x' >/dev/null 2>&1
equal 'ro: the host is as it was' "$(ls vol)" "$(printf 'file\nlink\nout')"

mkdir -p two
echo 2 >two/x
equal 'several' "$(sandbox "${v[@]}" --volume "$work/two:/srv:ro" -- cat /mnt/file /srv/x)" 'sandbox
2'
equal 'a file' "$(sandbox --volume "$work/two/x:/etc/hostname" -- cat /etc/hostname)" 2
sandbox --volume "$work/two/x:/srv/file" -- sh -c 'echo 3 > /srv/file; rm -f /srv/file' 2>/dev/null
equal 'a file, written and not removed' "$(cat two/x)" 3
echo 2 >two/x
equal 'at a directory that the host lacks' "$(sandbox --volume "$work/two:/not/there/yet" -- cat /not/there/yet/x)" 2
equal 'a program on it runs' "$(cp /bin/echo two/; sandbox --volume "$work/two:/mnt" -- /mnt/echo ran)" ran
finish
