#!/usr/bin/env bash
# Walks over trees of the host, in every order: what comes before it is asked for must be what is there.
. "$(dirname "$0")/lib.sh"
need python3 tar find grep

python3 - <<'END'
import os
os.makedirs("tree/big")
for k in range(3000):
    with open("tree/big/%04d" % (k * 7919 % 3000), "w") as f:
        f.write("%d needle\n" % k if k % 100 == 0 else "%d\n" % k)
for a in range(12):
    for b in range(9):
        d = "tree/dirs/%d/%d" % (a, b)
        os.makedirs(d + "/empty")
        for k in range(a):
            with open("%s/file%d" % (d, k), "w") as f:
                f.write("x" * (a * b * k))
        os.symlink("../" * b + "nowhere", d + "/link")
        os.mkfifo(d + "/fifo")
        if b:
            os.link("tree/dirs/%d/%d/link" % (a, b - 1), d + "/hard")
os.makedirs("tree/wide")
for k in range(700):
    os.makedirs("tree/wide/" + "%03d" % k + "w" * (k % 200))
    if k % 3 == 0:
        open("tree/wide/%03d%s/in" % (k, "w" * (k % 200)), "w").close()
os.makedirs(b"tree/names/\xff\xfe")
open(b"tree/names/a\nb", "w").close()
os.chmod("tree/wide/001w", 0)
END
printf 'xyz' >tree/big/file

same find tree -ls
same find tree -type f
same tar cf - tree
same ls -lR tree
same sh -c 'ls -fR tree | sort'
same du -a tree
same grep -rc needle tree/big
same sh -c 'find tree -name "file*" -exec cat {} + | sha256sum'
same sh -c 'cd tree/wide && ls -d */in'
same sh -c 'find tree | sort -R --random-source=/dev/zero | xargs -d "\n" stat -c "%n %s %h %f" | sha256sum'

# Out of order, twice, and again after the names were forgotten.
cat >walk.py <<'END'
import os, random, zlib
random.seed(1)
def look(dir, out):
    names = os.listdir(dir)
    order = random.sample(sorted(names), len(names))
    for name in order[::random.choice((1, 2, 3))] + ["missing"]:
        path = dir + "/" + name
        try:
            st = os.lstat(path)
        except OSError as e:
            out.append((path, e.errno))
            continue
        out.append((path, st.st_ino, st.st_size, st.st_mode, st.st_nlink))
        if os.path.islink(path):
            out.append(os.readlink(path))
        elif os.path.isfile(path) and random.random() < 0.5:
            with open(path, "rb") as f:
                out.append(f.read())
        elif os.path.isdir(path):
            look(path, out)
for turn in range(3):
    out = []
    look("tree", out)
    print(len(out), zlib.crc32(repr(sorted(map(repr, out))).encode()))
END
same python3 walk.py
# Several at once in the same directories.
same sh -c 'for i in 1 2 3; do find tree -ls | sha256sum & tar cf - tree | sha256sum & ls -lR tree | sha256sum & done | sort; wait'
# With few descriptors.
same sh -c 'ulimit -n 20; tar cf - tree | sha256sum; grep -rc needle tree/big | sort | sha256sum'

# What the application changed is seen, whatever came ahead.
equal 'changes in between' "$(sandbox -- sh -c 'cd tree/dirs/11/1; ls >/dev/null; cat file0; echo new >file1
    rm file2; mv file3 file4; mkdir file5x; cat file1; ls; cat file2 2>&1; stat -c %s file4')" \
    "$(cp -a tree tree2; cd tree2/dirs/11/1 && cat file0; echo new >file1
    rm file2; mv file3 file4; mkdir file5x; cat file1; ls; cat file2 2>&1; stat -c %s file4)"
finish
