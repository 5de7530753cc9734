#!/usr/bin/env bash
# --strace and --log.
. "$(dirname "$0")/lib.sh"
need python3

sandbox --strace -- cat /etc/hostname >out 2>trace
equal 'the program is not disturbed' "$(cat out)" "$(cat /etc/hostname)"
check 'every line names a process' test -z "$(grep -v '^\[pid [0-9]*\] ' trace)"
check 'openat' grep -qF 'openat(AT_FDCWD, "/etc/hostname", O_RDONLY' trace
check 'read shows what came' grep -q 'read(3, "[^"]*", 131072) *= [0-9]' trace
check 'mmap' grep -qE 'mmap\(NULL, [0-9]+, PROT_READ\|PROT_WRITE, MAP_PRIVATE\|MAP_ANONYMOUS, -1, 0\) += 0x' trace
check 'a structure' grep -qE 'st_mode=S_IFREG\|0[0-7]+, st_size=[0-9]+' trace
check 'the end' grep -q '+++ exited with 0 +++' trace
check 'exit_group' grep -qE 'exit_group\(0\) += \?' trace

sandbox --strace=openat,%process -- cat /no/such/file 2>trace
check 'an error' grep -qF 'openat(AT_FDCWD, "/no/such/file", O_RDONLY) = -1 ENOENT (No such file or directory)' trace
check 'a list leaves out the rest' test -z "$(grep -E 'mmap|read\(|close' trace)"
sandbox --strace='!%file,%memory,%desc' -- cat /etc/hostname >out 2>trace
check 'all but a list' test -z "$(grep -E 'openat|mmap|fstat' trace)"
sandbox --strace=%signal -- sh -c 'trap : USR1; kill -USR1 $$; (kill -SEGV $BASHPID 2>/dev/null || sh -c "kill -SEGV \$\$")' >out 2>trace
check 'a signal' grep -qE -- '--- SIGUSR1 \{si_signo=SIGUSR1, si_code=SI_USER, si_pid=[0-9]+, si_uid=[0-9]+\} ---' trace
check 'rt_sigaction' grep -qE 'rt_sigaction\(SIGUSR1, \{sa_handler=0x[0-9a-f]+, sa_mask=~?\[.*\], sa_flags=SA_RESTORER' trace
check 'a death' grep -q '+++ killed by SIGSEGV' trace
sandbox --strace=wait4 -- sh -c 'sleep 0.2; true' 2>trace
check 'a call that sleeps shows its first half' grep -q 'wait4(-1, .*<unfinished ...>' trace
check '... and its second' grep -qE '<... wait4 resumed>\[\{WIFEXITED\(s\) && WEXITSTATUS\(s\) == 0\}\], .*= [0-9]+' trace
sandbox --strace=getpid,+time -- python3 -c 'import os; os.getpid()' 2>trace
check 'the time taken' grep -qE 'getpid\(\) += [0-9]+ <0\.[0-9]{6}>' trace
sandbox --strace=%net -- python3 -c 'import ctypes; ctypes.CDLL(None).syscall(1000, 1, 2)' 2>trace
check 'other calls are quiet' test -z "$(grep syscall_ trace)"
sandbox --strace -- python3 -c 'import ctypes; ctypes.CDLL(None).syscall(1000, 1, 2)' 2>trace
check 'an unknown call' grep -qE 'syscall_0x3e8\(0x1, 0x2, .* = -1 ENOSYS \(Function not implemented\)' trace

sandbox --strace --log log.txt -- true 2>err
check 'with --log, it goes there' grep -qE 'execve|mmap' log.txt
equal 'and not to stderr' "$(cat err)" ''
sandbox --strace --log log.json --log-format json -- true
check 'json: each line is an object' python3 -c 'import json, sys
lines = [json.loads(line) for line in open("log.json")]
sys.exit(not any("mmap(" in str(line) for line in lines))'
sandbox --debug --log debug.txt -- true 2>err
equal '--debug with --log: nothing on stderr' "$(cat err)" ''
check '--debug says more' test -s debug.txt
finish
