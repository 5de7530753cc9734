#!/usr/bin/env bash
# Dynamic programs of the host.
. "$(dirname "$0")/lib.sh"

same ls -laR /etc
same ls -ln /usr/bin
same sha256sum /usr/bin/bash /usr/bin/python3 /etc/passwd
same stat -c '%n %A %h %u %g %s %Y %b' /etc /etc/passwd /usr/bin/env /bin
same readlink -f /bin/sh
same du -s --apparent-size /etc/default
same cat /etc/passwd /no/such/file
same wc -l /etc/services
same cp /etc/passwd /dev/stdout
same sh -c 'dd if=/dev/zero bs=1M count=64 2>/dev/null | sha1sum'
same sh -c 'head -c 1000000 /dev/urandom | wc -c'
same env -i A=1 B=2 env
same id
same pwd
same date -u -d @1234567890
same sh -c 'cd "$(mktemp -d)" && seq 1 20 | split -l 5 && ls && cat x* | md5sum && rm -r "$PWD"'
same sh -c 'cd "$(mktemp -d)" && mkdir -p a/b/c && touch a/b/c/f && mv a z && find . | sort &&
    chmod 640 z/b/c/f && stat -c %a z/b/c/f && rm -r z && ls -A && rm -r "$PWD"'
same sh -c 'cd "$(mktemp -d)" && ln -s nowhere l && ls l; cat l; ln /etc/hostname h; rm -rf "$PWD"'

# 10 MB in, 10 MB out.
seq 1 1300000 | awk '{ print ($1 * 7919) % 1299709 }' | head -c 10000000 >input
same sort
same sort -n
same sha256sum
label='sort of a 10 MB file' same sort -u "$work/input"
finish
