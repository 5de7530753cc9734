#!/usr/bin/env bash
# What the KVM platform may cost: no call on a vCPU but KVM_RUN, and few faults.
. "$(dirname "$0")/lib.sh"
need strace gcc awk

# The KVM ioctls of a run: how many KVM_RUN, and how many others.
ioctls() {
    strace -f -q -e trace=ioctl -o trace "$picket" 'do' -- "$@" </dev/null >/dev/null 2>&1
    runs=$(grep -c 'KVM_RUN' trace)
    others=$(grep 'KVM_' trace | grep -vc 'KVM_RUN\|resumed')
}

ioctls dd if=/dev/zero of=/dev/null bs=1 count=100
few=$runs base=$others
ioctls dd if=/dev/zero of=/dev/null bs=1 count=1100
check "2000 system calls more are $((runs - few)) times KVM_RUN more" [ $((runs - few)) -ge 1950 ]
check "... and hardly one for nothing" [ $((runs - few)) -le 2200 ]
equal '... and no other call' "$others" "$base"

cat >touch.c <<'C'
#include <stdlib.h>
#include <sys/mman.h>
int main(int argc, char **argv)
{
    size_t step = 64ul << 20, n = strtoul(argv[argc - 1], NULL, 10);
    for (size_t i = 0; i < n; i++) {
        volatile char *p = mmap((void *)((i + 16) * step), 4096, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        p[0] = 1;
    }
}
C
gcc -O1 -static -o touch touch.c
ioctls ./touch 10
few=$runs base=$others
ioctls ./touch 310
check "300 mappings and faults are $((runs - few)) times KVM_RUN" [ $((runs - few)) -ge 280 ]
check "... and hardly one for nothing" [ $((runs - few)) -le 620 ]
equal '... and no other call' "$others" "$base"

printf '#include <stdio.h>\nint main(void) { puts("hello"); }\n' >hello.c
gcc -O1 -static -o hello hello.c
sandbox --debug --log log -- ./hello >out
equal 'a static program says hello' "$(cat out)" hello
faults=$(sed -n 's/.*kvm: a context ends after \([0-9]*\) page faults.*/\1/p' log | sort -n | tail -n 1)
check "... after $faults faults" [ "${faults:-1000}" -lt 60 ]
finish
