#!/usr/bin/env bash
# The root is the host's, read-only under memory: nothing that happens in the sandbox is left.
. "$(dirname "$0")/lib.sh"

echo host >file
mkdir -p dir/sub
echo deep >dir/sub/deep
chmod 640 file
before=$(find . ! -name '*.out' ! -name '*.err' -printf '%p %m %s %T@\n' | sort; cat file)
out=$(sandbox -- sh -c 'echo sandbox > file && cat file && rm -r dir && ls -d dir; echo new > new &&
    chmod 777 . && mv file moved && ln new hard && touch -d 2001-01-01 new && ls' 2>&1)
contains 'writes are seen inside' "$out" sandbox
contains 'new names are seen inside' "$out" hard
equal 'the host is as it was' "$(find . ! -name '*.out' ! -name '*.err' -printf '%p %m %s %T@\n' | sort; cat file)" "$before"

sandbox -- sh -c 'rm -rf /usr /etc /bin /home' >/dev/null 2>&1
check 'the host survives rm -rf' test -e /usr/bin/env -a -e /etc/passwd
sandbox -- sh -c 'echo x > /etc/picket-test; rm /etc/passwd; test ! -e /etc/passwd' >/dev/null 2>&1
equal '/etc can be changed inside' $? 0
check 'and not outside' test ! -e /etc/picket-test -a -e /etc/passwd
equal 'a second sandbox starts afresh' "$(sandbox -- sh -c 'cat file; ls -d dir/sub/deep')" 'host
dir/sub/deep'
equal 'a big file in memory' "$(sandbox -- sh -c 'head -c 50000000 /dev/zero > big; stat -c %s big')" 50000000
check 'nothing new in the work directory' test ! -e big -a ! -e new
finish
