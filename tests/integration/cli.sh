#!/usr/bin/env bash
# The command line itself: help, version, and mistakes, which end with 125 and one clear line.
. "$(dirname "$0")/lib.sh"

contains 'picket --help lists the commands' "$("$picket" --help)" 'run a command in a sandbox'
contains 'picket help do' "$("$picket" help 'do')" '--volume SRC:DST'
equal 'picket do --help is the same' "$("$picket" 'do' --help)" "$("$picket" help 'do')"
check 'picket version' grep -qE '^picket [0-9]+\.[0-9]+' <("$picket" version)
equal 'help succeeds' "$(status_of "$picket" help)" 0
equal '--version' "$("$picket" --version)" "$("$picket" version)"

mistake() { # TEXT ARGUMENT...
    local want=$1 out
    shift
    out=$("$picket" "$@" 2>&1 >/dev/null </dev/null)
    equal "125 for: picket $*" "$(status_of "$picket" "$@")" 125
    contains '... and why' "$out" "$want"
    equal '... in one line' "$(printf '%s\n' "$out" | wc -l)" 1
}
mistake 'no command given'
mistake '"dance"' dance
mistake '"dance"' help dance
mistake 'no command given' 'do'
mistake 'no command given' 'do' --hostname x
mistake '--no-such-flag' 'do' --no-such-flag -- true
mistake '-x' 'do' -x true
mistake '--cwd' 'do' --cwd
mistake '/no/such/dir' 'do' --rootfs /no/such/dir -- true
mistake 'Not a directory' 'do' --rootfs /etc/passwd -- true
mistake 'SOURCE:/TARGET' 'do' --volume /tmp -- true
mistake 'SOURCE:/TARGET' 'do' --volume /tmp:relative -- true
mistake '/no/such/source' 'do' --volume /no/such/source:/mnt -- true
mistake 'ro or rw' 'do' --volume /tmp:/mnt:rx -- true
mistake 'NAME=VALUE' 'do' --env NAME -- true
mistake '--memory' 'do' --memory lots -- true
mistake '--memory' 'do' --memory -5 -- true
mistake '--memory' 'do' --memory 99999999999T -- true
mistake '--platform' 'do' --platform xen -- true
mistake '--log-format' 'do' --log-format xml -- true
mistake '/no/such/dir/log' 'do' --log /no/such/dir/log -- true
mistake 'nobody-here' 'do' --user nobody-here -- true
mistake 'no-such-group' 'do' --user root:no-such-group -- true
mistake 'opennat' 'do' --strace=opennat -- true
finish
