#!/usr/bin/env bash
# bash and dash: processes, pipes, substitution, job control, traps.
. "$(dirname "$0")/lib.sh"

same bash -c 'echo one | cat | tr a-z A-Z | rev'
same bash -c 'x=$(echo $(echo $(echo deep))); echo "$x"'
same bash -c 'for i in $(seq 50); do /bin/true || echo no; done; echo done'
same bash -c 'set -o pipefail; seq 100000 | head -n 1; echo ${PIPESTATUS[@]}'
same bash -c 'diff <(seq 1 5) <(seq 2 6)'
same bash -c 'cat <<< "here string"; cat <<E
here document $((1 + 1))
E'
same bash -c '(sleep 0.2; echo late) & echo early; wait; echo all'
same bash -c 'sleep 10 & kill $!; wait $!; echo $?'
same bash -c 'trap "echo got USR1" USR1; kill -USR1 $$; echo after'
same bash -c 'trap "echo bye" EXIT; exit 5'
same bash -c 'ulimit -n 256; ulimit -n; ulimit -c 0; umask 027; umask'
same bash -c 'coproc { tr a-z A-Z; }; echo talk >&${COPROC[1]}; exec {COPROC[1]}>&-; cat <&${COPROC[0]}'
same bash -c 'exec 5<>/tmp/picket-fd.$$; echo line >&5; cat /tmp/picket-fd.$$; rm /tmp/picket-fd.$$'
same bash -c 'mkfifo /tmp/picket-fifo.$$; cat /tmp/picket-fifo.$$ & echo through > /tmp/picket-fifo.$$; wait; rm /tmp/picket-fifo.$$'
same bash -c 'read -t 0.1 x; echo "$? [$x]"'
same bash -c 'no_such_command_here; echo $?'
same bash -c 'declare -A m=([a]=1 [b]=2); for k in a b; do echo $k=${m[$k]}; done; [[ abc =~ b(.) ]]; echo ${BASH_REMATCH[1]}'
same bash -c 'printf "%s\n" {a..e}{1..3} | xargs -n 4 echo'
same bash -c 'seq 20 | xargs -P 4 -n 1 sh -c "exit 0"; echo $?'
same bash -c 'f() { [ $1 -le 1 ] && echo 1 || echo $(($1 * $(f $(($1 - 1))))); }; f 10'
same dash -c 'i=0; while [ $i -lt 1000 ]; do i=$((i + 1)); done; echo $i'
same dash -c 'echo $$ >/dev/null; echo ${HOME}; cd /usr/lib; pwd'
same bash -c 'set -m; sleep 0.1 & jobs; wait; echo ok'
same bash -c 'time -p true 2>/dev/null; TIMEFORMAT=; time :'
finish
