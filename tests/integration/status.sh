#!/usr/bin/env bash
# Exit statuses: the command's, 128 + n for signals, and Picket's own.
. "$(dirname "$0")/lib.sh"

for n in 0 1 2 77 125 255; do
    equal "exit $n" "$(status_of sandbox -- sh -c "exit $n")" $n
done
for sig in HUP INT QUIT ILL ABRT FPE KILL SEGV PIPE ALRM TERM USR1 SYS; do
    # shellcheck disable=SC2086
    equal "killed by SIG$sig" "$(status_of sandbox -- sh -c "ulimit -c 0; kill -$sig \$\$; sleep 5")" \
        $((128 + $(kill -l $sig)))
done
same bash -c 'exec 2>/dev/null; ulimit -c 0; bash -c "kill -SEGV \$\$"; echo $?'
same python3 -c 'import ctypes; ctypes.string_at(1)'
same sh -c 'sh -c "exit 3"; echo $?'

equal 'not found' "$(status_of sandbox -- no-such-program)" 127
equal 'not found, with a path' "$(status_of sandbox -- /no/such/program)" 127
equal 'a directory' "$(status_of sandbox -- /etc)" 126
equal 'not executable' "$(status_of sandbox -- /etc/passwd)" 126
printf 'nonsense' >junk
chmod +x junk
equal 'no program' "$(status_of sandbox -- "$work/junk")" 126
printf '#!/no/such/interpreter\n' >script
chmod +x script
equal 'a missing interpreter' "$(status_of sandbox -- "$work/script")" 127

complaint=$(sandbox -- no-such-program 2>&1)
equal 'one line on stderr' "$(printf '%s\n' "$complaint" | wc -l)" 1
contains '... that names the program' "$complaint" no-such-program
finish
