#!/usr/bin/env bash
# What becomes of files of the host when the sandbox changes them: the same commands on a copy,
# natively, and in the layer over the original, which stays as it is.
. "$(dirname "$0")/lib.sh"
need python3 stat

make_tree() {
    mkdir -p "$1/dir/sub/deep" "$1/empty" "$1/full"
    echo one >"$1/file"
    ln "$1/file" "$1/hard"
    ln "$1/file" "$1/dir/hard"
    echo deep >"$1/dir/sub/deep/file"
    ln -s file "$1/link"
    touch "$1/full/a" "$1/full/b" "$1/full/c"
    python3 -c 'import os,sys; os.setxattr(sys.argv[1], "user.colour", b"blue")' "$1/file" ||
        skip 'no extended attributes here'
    mkfifo "$1/fifo"
    chmod 4711 "$1/full/a"
}

cat >changes <<'EOS'
cd "$1"
ino() { stat -c %i "$1"; }
same_ino() { [ "$2" = "$(ino "$1")" ] && echo "$1 same" || echo "$1 other"; }
getx() { python3 -c 'import os,sys; print(os.getxattr(sys.argv[1], sys.argv[2]))' "$1" "$2"; }
setx() { python3 -c 'import os,sys; os.setxattr(sys.argv[1], sys.argv[2], b"round")' "$1" "$2"; }
show() { stat -c '%n %h %a %F' "$@"; }

echo '-- copy up keeps the number, the links, the attributes'
i=$(ino file)
echo two >>hard
same_ino file "$i"; same_ino hard "$i"; same_ino dir/hard "$i"
cat file dir/hard
getx hard user.colour; setx dir/hard user.shape; getx file user.shape
show file hard dir/hard
ln file third; show third
rm hard; show file; cat third
chmod 600 dir/hard; show file

echo '-- directories move'
i=$(ino dir)
mv dir moved; same_ino moved "$i"
cat moved/sub/deep/file; ls -A . moved
echo more >>moved/sub/deep/file; cat moved/sub/deep/file
mkdir dir; ls -A dir; show dir moved
mv moved/sub dir/; cat dir/sub/deep/file; ls -A dir moved
mv empty moved/; ls -A moved; rmdir moved/empty

echo '-- what was removed stays away'
rm -r full; mkdir full; ls -A full; show full
touch full/b; ls -A full
rm full/b; rmdir full; [ -e full ] || echo gone
touch full; show full; rm full
rm link; ln -s other link; readlink link
mv fifo fifo2; show fifo2; [ -e fifo ] || echo gone

echo '-- open across a copy up'
exec 3<dir/sub/deep/file
echo third >>dir/sub/deep/file
cat <&3
exec 3<&-

echo '-- attributes only'
chmod 640 file; touch -d @1000000000 file; stat -c '%a %Y' file
touch -h -d @1000000000 link; stat -c %Y link
ls -lR --time-style=+ . | awk '{print $1, $2, $NF}' | grep -v ^total
EOS

make_tree tree
cp -a tree native
want=$(sh changes native 2>&1)
before=$(find tree -printf '%p %m %n %s %T@\n' | sort; cat tree/file)
got=$(sandbox -- sh changes tree 2>&1)
equal 'the layer behaves as a file system does' "$got" "$want"
equal 'and the host is as it was' "$(find tree -printf '%p %m %n %s %T@\n' | sort; cat tree/file)" "$before"
finish
