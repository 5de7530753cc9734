#!/usr/bin/env bash
# busybox-static: one static binary, many applets.
. "$(dirname "$0")/lib.sh"
need busybox

same busybox echo hello world
same busybox true
same busybox false
same busybox cat /etc/passwd
same busybox ls -la /usr/share
same busybox head -n 3 /etc/group
same busybox wc /etc/services /etc/passwd
same busybox sh -c 'for i in 1 2 3; do echo $((i * i)); done'
same busybox sh -c 'busybox seq 1 1000 | busybox grep 7 | busybox wc -l'
same busybox sh -c 'echo $(busybox basename /a/b/c.txt .txt); exit 3'
same busybox awk 'BEGIN { for (i = 0; i < 5; i++) print i, i * i, sqrt(i) }'
same busybox sed -n 's/root/toor/gp' /etc/passwd
same busybox sort -r /etc/group
same busybox md5sum /bin/busybox
same busybox sha1sum /bin/busybox
same busybox find /etc -name '*.conf' -type f
same busybox stat -c '%A %h %U %s %Y' /etc/passwd /bin/sh
same busybox dd if=/dev/zero bs=4096 count=100 status=none
same busybox tr a-z A-Z
same busybox expr 6 '*' 7
same busybox cut -d: -f1,3 /etc/passwd
same busybox sh -c 'cd $(busybox mktemp -d) && mkdir -p a/b && echo x > a/b/c && ln -s b a/l &&
    busybox tar cf t.tar a && rm -r a && busybox tar xf t.tar && cat a/l/c && ls -R . && rm -r "$PWD"'
same busybox sh -c 'busybox gzip -c /etc/services | busybox gunzip | busybox cmp - /etc/services'
same busybox no-such-applet
finish
